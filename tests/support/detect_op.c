// See detect_op.h.
#include "tests/support/detect_op.h"

#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref_cast.h"
#include "tests/support/op_compare.h"

static void *convert(const edt_tensor_desc *to, const float *values)
{
    void *block = calloc(1, edt_tensor_bytes(to));
    for (int64_t i = 0; i < edt_shape_count(&to->shape); ++i) {
        edt_ref_real_put(to->dtype, block, i, (double)values[i]);
    }
    return block;
}

void edt_test_detect(edt_backend *backend, const edt_detect_attrs *attrs, edt_dtype real,
                     const edt_test_heads *heads, edt_detection *out_rows, int64_t *out_n_valid)
{
    const edt_anchors *anchors = heads->anchors;
    const int n_levels = anchors->max_level - anchors->min_level + 1;
    edt_op_desc desc = {.kind = EDT_OP_DETECT, .n_in = 2 * n_levels + 2, .n_out = 3};
    void *in[EDT_OP_MAX_IN] = {0};
    void *out[EDT_OP_MAX_OUT] = {0};
    desc.attrs.detect = *attrs;
    for (int l = 0; l < n_levels; ++l) {
        const int64_t h = anchors->level_h[anchors->min_level + l];
        const int64_t w = anchors->level_w[anchors->min_level + l];
        const int64_t width[2] = {anchors->per_cell * attrs->num_classes,
                                  anchors->per_cell * 4};
        const float *const values[2] = {heads->cls[l], heads->box[l]};
        for (int i = 0; i < 2; ++i) {
            const int at = i * n_levels + l;
            desc.in[at] = (edt_tensor_desc){real, edt_shape_4(heads->n_images, h, w, width[i])};
            in[at] = convert(&desc.in[at], values[i]);
        }
    }
    const int at = 2 * n_levels;
    desc.in[at] = (edt_tensor_desc){edt_dtype_wide(real), edt_shape_2(anchors->n, 4)};
    in[at] = convert(&desc.in[at], anchors->boxes);
    desc.in[at + 1] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(heads->n_images)};
    in[at + 1] = convert(&desc.in[at + 1], heads->image_scales);
    edt_error err = {0};
    cr_assert_eq(edt_op_infer(&desc, &err), EDT_OK, "%s", err.text);
    for (int i = 0; i < 3; ++i) {
        out[i] = calloc(1, edt_tensor_bytes(&desc.out[i]));
    }
    const edt_run_ctx ctx = {0};
    cr_assert_eq(edt_op_execute(backend, &desc, &ctx, in, out, &err), EDT_OK, "%s", err.text);
    for (int64_t i = 0; i < heads->n_images * attrs->max_output; ++i) {
        const float *row = (const float *)out[0] + i * 5;
        out_rows[i] = (edt_detection){row[0], row[1], row[2],
                                      row[3], row[4], ((const int32_t *)out[1])[i]};
    }
    for (int64_t i = 0; i < heads->n_images; ++i) {
        out_n_valid[i] = ((const int32_t *)out[2])[i];
    }
    for (int i = 0; i < desc.n_in; ++i) {
        free(in[i]);
    }
    for (int i = 0; i < 3; ++i) {
        free(out[i]);
    }
}

static bool near(float a, float b, float largest)
{
    return fabsf(a - b) <= 1e-6F * fmaxf(largest, fabsf(b));
}

static bool same(const edt_detection *a, const edt_detection *b, bool exact)
{
    if (a->label != b->label) {
        return false;
    }
    if (exact) {
        return a->ymin == b->ymin && a->xmin == b->xmin && a->ymax == b->ymax &&
               a->xmax == b->xmax && a->score == b->score;
    }
    const float largest =
        fmaxf(fmaxf(fabsf(b->ymin), fabsf(b->xmin)), fmaxf(fabsf(b->ymax), fabsf(b->xmax)));
    return near(a->ymin, b->ymin, largest) && near(a->xmin, b->xmin, largest) &&
           near(a->ymax, b->ymax, largest) && near(a->xmax, b->xmax, largest) &&
           near(a->score, b->score, 0);
}

void edt_test_same_rows(const edt_backend *backend, const char *what, int64_t n,
                        const edt_detection *have, const edt_detection *want)
{
    enum { NEIGHBOURS = 3 };
    char device[512];
    edt_backend_describe(backend, device, sizeof device);
    const bool exact =
        strcmp(backend->table->name, "cuda") != 0 || strstr(device, "emulated device") != NULL;
    const int64_t reach = exact ? 0 : NEIGHBOURS;
    for (int64_t i = 0; i < n; ++i) {
        bool found = false;
        for (int64_t j = i - reach; j <= i + reach; ++j) {
            found = found || (j >= 0 && j < n && same(&have[i], &want[j], exact));
        }
        const edt_detection *a = &have[i];
        const edt_detection *b = &want[i];
        cr_assert(found,
                  "%s, row %d: %.9g %.9g %.9g %.9g score %.9g label %d, want %.9g %.9g %.9g "
                  "%.9g score %.9g label %d",
                  what, (int)i, (double)a->ymin, (double)a->xmin, (double)a->ymax,
                  (double)a->xmax, (double)a->score, a->label, (double)b->ymin, (double)b->xmin,
                  (double)b->ymax, (double)b->xmax, (double)b->score, b->label);
    }
}
