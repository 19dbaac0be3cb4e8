// A detector small enough for finite differences, on one backend: two pictures of 65x70, 8
// filters, two cells, 3 classes. `ref` in double unless told otherwise.
#ifndef EDT_TESTS_SUPPORT_TINY_MODEL_H
#define EDT_TESTS_SUPPORT_TINY_MODEL_H

#include "model/exec.h"
#include "tests/support/test_model.h"

typedef struct edt_tiny {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
    edt_exec *exec;
} edt_tiny;

// Training in double with drops and losses.
extern const edt_model_options edt_tiny_options;

// The row of `model_name`, made small, then `change`d; variables from a fixed seed, inputs and
// targets from fixed draws. Fails the test on an error.
void edt_tiny_create(const char *model_name, void (*change)(edt_hparams *hp),
                     const edt_model_options *options, edt_tiny *t);
// The same on a backend of the caller's, which the detector takes: inputs and variables are
// equal but for rounding.
void edt_tiny_create_on(edt_backend *take_backend, const char *model_name,
                        void (*change)(edt_hparams *hp), const edt_model_options *options,
                        edt_tiny *t);
void edt_tiny_destroy(edt_tiny *t);

// Runs once; all losses weighted and added up.
double edt_tiny_total_loss(edt_tiny *t);

// One element of every `stride`-th trainable variable from `first` on: gradient against central
// differences over 2h.
void edt_tiny_check_gradients(edt_tiny *t, int first, int stride, double h);

#endif
