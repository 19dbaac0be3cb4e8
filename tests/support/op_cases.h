// One list of op cases that covers every kind: odd and even sizes, strides, kernels, batches,
// activations, optional operands, and shapes as they occur in D0. Backends are compared with
// `ref` on all of them.
#ifndef EDT_TESTS_SUPPORT_OP_CASES_H
#define EDT_TESTS_SUPPORT_OP_CASES_H

#include "tests/support/op_compare.h"

// Writes case i; false when there are no more. Cases carry their tolerance for f32.
bool edt_op_case_get(int i, edt_op_case *out_case);

#endif
