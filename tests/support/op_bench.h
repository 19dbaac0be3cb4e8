// One op of the reference backend in double, with its operands, and the comparison of a
// gradient with central differences.
#ifndef EDT_TESTS_SUPPORT_OP_BENCH_H
#define EDT_TESTS_SUPPORT_OP_BENCH_H

#include "backend/backend.h"

// For TestSuite: the backend behind all benches.
void op_bench_setup(void);
void op_bench_teardown(void);
edt_backend *op_bench_backend(void);

// An op with its operands in host memory.
typedef struct op_bench {
    edt_op_desc desc;
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
} op_bench;

// Descriptions: an op without operands, its next operand, and kinds of these.
edt_op_desc op_bench_desc(edt_op_kind kind, int n_out);
void op_bench_add_in(edt_op_desc *desc, edt_tensor_desc t);
edt_tensor_desc op_bench_real(int64_t n, int64_t h, int64_t w, int64_t c);
edt_tensor_desc op_bench_vector(int64_t n);

// Operands as edt_op_fill has them. Drop it afterwards.
op_bench op_bench_make(const edt_op_desc *desc, uint64_t seed);
void op_bench_drop(op_bench *b);
void op_bench_copy_in(op_bench *to, int i, const void *from);
// In-place operands are put back, so that a run can be repeated.
void op_bench_run(op_bench *b);

// `analytic` is scale times the gradient over input j of the sum of dy and output 0, element by
// element.
void op_bench_check(op_bench *forward, const double *dy, int j, const double *analytic,
                    double scale, const char *what);
// The parameter gradients of `backward` are outputs first_param..; running it again with
// accumulate adds them once more.
void op_bench_check_accumulate(op_bench *backward, int first_param, const char *what);

#endif
