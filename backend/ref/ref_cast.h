// Conversions between the element types of activations: f32, f64, bf16 and f16, each rounded
// once, to nearest, ties to even. Shared by the CAST op and by tests.
#ifndef EDT_BACKEND_REF_REF_CAST_H
#define EDT_BACKEND_REF_REF_CAST_H

#include "core/tensor.h"

// Element i of an array of a real type, exactly.
double edt_ref_real_get(edt_dtype dtype, const void *from, int64_t i);
// Stores `value` rounded to the type: infinities and NaN stay what they are (NaN quiet), values
// beyond the largest finite one become infinite, small ones subnormal or a zero with their
// sign.
void edt_ref_real_put(edt_dtype dtype, void *to, int64_t i, double value);

#endif
