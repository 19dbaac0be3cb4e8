// Detectors by table name for tests.
#ifndef EDT_TESTS_SUPPORT_TEST_MODEL_H
#define EDT_TESTS_SUPPORT_TEST_MODEL_H

#include "model/efficientdet.h"
#include "model/scaling.h"

// The row of a model over fresh defaults, with `height` x `width` instead of its own size
// unless 0. Synchronised batch norm is off (the goldens' single device). Fails the test on an
// error.
void edt_test_model_hparams(const char *model_name, int64_t height, int64_t width,
                            edt_hparams *out_hp);

edt_model *edt_test_model(const edt_hparams *hp, const edt_model_options *options);

// Lines of a text file split at tabs: calls `row` for each line after the first `n_skip`, with
// n_fields pointers into a scratch buffer. Returns the number of rows.
typedef void (*edt_test_row_fn)(void *user, int n_fields, char **fields);
int edt_test_read_tsv(const char *path, int n_skip, edt_test_row_fn row, void *user);

#endif
