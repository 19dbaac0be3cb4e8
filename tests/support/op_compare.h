// Runs one op on random inputs on the reference backend (float and double) and on another
// backend, and compares every output and every operand that is updated in place. The cases of
// all kinds are in op_cases.h; a backend's test is a loop over them.
#ifndef EDT_TESTS_SUPPORT_OP_COMPARE_H
#define EDT_TESTS_SUPPORT_OP_COMPARE_H

#include "backend/backend.h"

enum { EDT_OP_CASE_NAME_BYTES = 96 };

typedef struct edt_op_case {
    char name[EDT_OP_CASE_NAME_BYTES];
    // kind, attrs, n_in, n_out and in[] with f32 for the real, wide and f32 operands; out[] is
    // inferred.
    edt_op_desc desc;
    // Largest |difference| to the double reference that an f32 result may have, as a multiple
    // of the largest |value| of that output. u8 and 16-bit outputs must agree exactly with the
    // float reference.
    double tolerance;
    uint64_t seed;       // of the inputs
    uint32_t absent_out; // bit i: output i's pointer is NULL
} edt_op_case;

typedef struct edt_op_report {
    double worst;      // largest error relative to the largest value, over all outputs
    double ref_worst;  // the same of the float reference: what float itself costs
    int worst_operand; // output index; EDT_OP_MAX_OUT + i for the in-place input i
} edt_op_report;

// Runs a prepared description on host memory: prepare, upload, run, download, release. in[] of
// in-place operands and out[] are host arrays that receive the results; out[] is uploaded first
// (so that `accumulate` finds it). NULL for absent ones. `desc` must have been inferred.
edt_status edt_op_execute(edt_backend *backend, const edt_op_desc *desc, const edt_run_ctx *ctx,
                          void *const *in, void *const *out, edt_error *err);

// The description with every real operand and attribute turned to `real`, every wide one to
// what goes with it, and outputs inferred.
edt_status edt_op_retype(const edt_op_desc *desc, edt_dtype real, edt_error *err,
                         edt_op_desc *out_desc);

// Inputs that make sense for the kind (variances positive, indices inside windows, labels in
// range, ...), a pure function of seed. `in` points to arrays of desc->in[] types; real values
// are generated as float and widened, so that f32 and f64 get the same numbers.
void edt_op_fill(const edt_op_desc *desc, uint64_t seed, void *const *in);

// `real`: type of the backend's run. Its inputs, rounded to that type, are what the references
// get, so that only arithmetic and the rounding of results differ: a result of a 16-bit type
// may be off by the type's unit roundoff (dense convolutions: by two) on top of the case's
// tolerance (and, for f16, by half the smallest subnormal); wide results are held to the case's
// tolerance whatever `real` is. Casts must agree exactly. EDT_ERR_MISMATCH with case, operand,
// index, both values and the tolerance; the backend's own EDT_ERR_UNSUPPORTED passes through.
edt_status edt_op_compare_typed(edt_backend *backend, const edt_op_case *op_case,
                                edt_dtype real, edt_error *err, edt_op_report *out_report);
// In f32.
edt_status edt_op_compare(edt_backend *backend, const edt_op_case *op_case, edt_error *err,
                          edt_op_report *out_report);

#endif
