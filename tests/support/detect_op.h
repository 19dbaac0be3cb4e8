// Runs the op DETECT of a backend on outputs of heads that lie on the host.
#ifndef EDT_TESTS_SUPPORT_DETECT_OP_H
#define EDT_TESTS_SUPPORT_DETECT_OP_H

#include "backend/backend.h"
#include "model/postprocess.h"

// Outputs of n_images pictures, by level from the anchors' min_level on: cls[i]
// [n_images,h*w*A*K] and box[i] [n_images,h*w*A*4].
typedef struct edt_test_heads {
    const edt_anchors *anchors;
    int64_t n_images;
    const float *const *cls;
    const float *const *box;
    const float *image_scales;
} edt_test_heads;

// In a Criterion test; fails it on any error. Values are rounded to `real`. Writes
// [n_images][max_output] rows and [n_images] numbers of valid ones as edt_post_run would.
void edt_test_detect(edt_backend *backend, const edt_detect_attrs *attrs, edt_dtype real,
                     const edt_test_heads *heads, edt_detection *out_rows,
                     int64_t *out_n_valid);

// In a Criterion test: n rows of the backend are those of the host. To the bit on the emulated
// device and the reference; on a real device, whose exponentials may differ in the last bit,
// within 1e-6 of the values, rows of such scores in any order.
void edt_test_same_rows(const edt_backend *backend, const char *what, int64_t n,
                        const edt_detection *have, const edt_detection *want);

#endif
