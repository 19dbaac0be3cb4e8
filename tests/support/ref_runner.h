// One op of the reference backend on double arrays, in either element type, for tests that
// compare with values worked out by hand.
#ifndef EDT_TESTS_SUPPORT_REF_RUNNER_H
#define EDT_TESTS_SUPPORT_REF_RUNNER_H

#include "backend/backend.h"

enum { REF_RUNNER_ROOM = 4096 };

// For TestSuite: the backend behind all runners.
void ref_runner_setup(void);
void ref_runner_teardown(void);
edt_backend *ref_runner_backend(void);

// An op on double arrays that runs in either element type. Operands are given as doubles; u8,
// i32 ones are converted.
typedef struct ref_runner {
    edt_op_desc desc;
    edt_run_ctx ctx;
    const double *in[EDT_OP_MAX_IN];
    double out[EDT_OP_MAX_OUT][REF_RUNNER_ROOM];
    double inout[EDT_OP_MAX_IN][REF_RUNNER_ROOM]; // in-place operands after the run
} ref_runner;

// The one runner there is, emptied, for an op with n_out outputs.
ref_runner *ref_runner_begin(edt_op_kind kind, int n_out);
// The next operand; NULL: left out.
void ref_runner_give_typed(ref_runner *r, edt_dtype dtype, edt_shape shape,
                           const double *values);
void ref_runner_give(ref_runner *r, edt_shape shape, const double *values); // of reals
void ref_runner_run(ref_runner *r, edt_dtype real);
// Within `tolerance`, relative to values above 1.
void ref_runner_expect(const double *got, int n, const double *want, double tolerance,
                       const char *what);

#endif
