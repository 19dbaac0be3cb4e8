// Networks as the golden forward and train files describe them: weights, pictures, comparison
// (golden/model/README.md 1 and 2). Nothing is taken from a file's name. Everything here fails
// the running test on an error.
#ifndef EDT_TESTS_SUPPORT_GOLDEN_MODEL_H
#define EDT_TESTS_SUPPORT_GOLDEN_MODEL_H

#include "model/exec.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_model.h"

typedef struct golden_net {
    edt_hparams hp;
    edt_model_options options;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
    edt_exec *exec;
} golden_net;

// Files of one kind ("forward", "train") that the manifest lists and that exist, in its order.
// Calls `visit` for each that names a model.
void golden_for_each(const char *kind, void (*visit)(const golden_file *file, void *user),
                     void *user);

// hp gets the file's model at the file's size. Change it before golden_net_create.
void golden_net_hparams(const golden_file *file, edt_hparams *out_hp);
// `options` without the batch size, which the picture gives. The image arrives as real numbers,
// or as bytes when options.u8_input. Parameters are set as the file says; gradients have memory
// when the graph is a training one.
void golden_net_create(const golden_file *file, const edt_hparams *take_hp,
                       const edt_model_options *options, const char *backend_name,
                       golden_net *out_net);
void golden_net_destroy(golden_net *net);
void golden_net_run(golden_net *net);

// A value read back as double; free with edt_mem_free. *out_n elements.
double *golden_net_read(golden_net *net, edt_value_id value, int64_t *out_n);

// JSON metadata is read by key, which is enough for these flat objects: the number or the text
// after the n-th occurrence of "key": ; false when there is none (or it is null).
bool golden_json_number(const char *json, const char *key, int i_occurrence,
                        double *out_number);
bool golden_json_text(const char *json, const char *key, char *out_text, int n_text);

#endif
