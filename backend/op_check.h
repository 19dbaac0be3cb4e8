// What the shape inference of all kinds (op_infer*.c) shares: an op under inspection and checks
// of its operands and attributes. Every check fails with EDT_ERR_INVALID and a message that
// names the op, the operand, what it has and what it must have. Inside edt_op only.
#ifndef EDT_BACKEND_OP_CHECK_H
#define EDT_BACKEND_OP_CHECK_H

#include "backend/op.h"

// `real` is the element type of the op's first real operand, `wide` the one that goes with it
// (op.h); both are set by edt_op_take_real.
typedef struct edt_op_checker {
    edt_op_desc *desc;
    edt_error *err;
    edt_dtype real, wide;
} edt_op_checker;

bool edt_op_is_real(edt_dtype dtype);
edt_status edt_op_fail_attr(const edt_op_checker *c, const char *what, double value,
                            const char *allowed);
// Input i has this type and no empty axis.
edt_status edt_op_check_dtype(const edt_op_checker *c, int i, const char *operand,
                              edt_dtype want);
edt_status edt_op_check_shape(const edt_op_checker *c, int i, const char *operand,
                              edt_dtype dtype, edt_shape want);
// The first real operand: N,H,W,C or a flat arena; its type is the op's.
edt_status edt_op_take_real(edt_op_checker *c, int i, const char *operand, int n_dims);
edt_status edt_op_check_real(const edt_op_checker *c, int i, const char *operand,
                             edt_shape want);
edt_status edt_op_check_wide(const edt_op_checker *c, int i, const char *operand,
                             edt_shape want);
// Describes output i where the op has been asked for so many.
void edt_op_set_out(const edt_op_checker *c, int i, edt_dtype dtype, edt_shape shape);

edt_status edt_op_check_conv_attrs(const edt_op_checker *c);
// Shape that a SAME window makes of x.
edt_shape edt_op_windowed(const edt_op_checker *c, const edt_shape *x, int64_t channels);
// attrs.out_shape of ops that take their output's shape from there; `what`: the output's name.
edt_status edt_op_check_out_shape(const edt_op_checker *c, const char *what);
// One of those that are a function of x alone.
edt_status edt_op_check_act(const edt_op_checker *c, edt_act act);
edt_status edt_op_check_bn_attrs(const edt_op_checker *c);
extern const char *const edt_op_bn_names[4]; // gamma, beta, mm, mv
// n wide operands [C] from input `first` on.
edt_status edt_op_check_channels(const edt_op_checker *c, int first, int n,
                                 const char *const *names, int64_t channels);

// The kinds of a family; the others return EDT_OK without outputs.
edt_status edt_op_infer_conv(edt_op_checker *c); // op_infer_conv.c
edt_status edt_op_infer_norm(edt_op_checker *c); // op_infer_norm.c
edt_status edt_op_infer_loss(edt_op_checker *c); // op_infer_loss.c, with the optimizer
edt_status edt_op_infer_detect(edt_op_checker *c); // op_infer_detect.c

#endif
