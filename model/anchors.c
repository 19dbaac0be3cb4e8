// Anchor generation (spec/model.md 4.1; reference tf2/anchors.py). Every coordinate is computed
// in double in the reference's order of operations and rounded to f32 once, so the table is
// bit-identical to the reference's.
#include "model/anchors.h"

#include <math.h>

#include "core/mem.h"

enum { MAX_LEVEL = 15, MAX_SIDE = 65536, MAX_ANCHORS = 1 << 26 };

static edt_status check_settings(const edt_hparams *hp, edt_error *err)
{
    if (hp->image_size.h < 1 || hp->image_size.w < 1 || hp->image_size.h > MAX_SIDE ||
        hp->image_size.w > MAX_SIDE) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "image_size %lldx%lld: both sides must be between 1 and %d pixels",
                 (long long)hp->image_size.h, (long long)hp->image_size.w, MAX_SIDE);
    }
    if (hp->min_level < 0 || hp->max_level < hp->min_level || hp->max_level > MAX_LEVEL) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "min_level %lld, max_level %lld: want 0 <= min_level <= max_level <= %d",
                 (long long)hp->min_level, (long long)hp->max_level, MAX_LEVEL);
    }
    if (hp->num_scales < 1 || hp->num_scales > 64) {
        EDT_FAIL(err, EDT_ERR_USAGE, "num_scales %lld: must be between 1 and 64",
                 (long long)hp->num_scales);
    }
    if (hp->aspect_ratios.n < 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "aspect_ratios is empty: give at least one ratio");
    }
    for (int i = 0; i < hp->aspect_ratios.n; ++i) {
        if (!(hp->aspect_ratios.ax[i] > 0 && hp->aspect_ratios.ay[i] > 0)) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "aspect_ratios[%d]: multipliers %g, %g must be positive", i,
                     hp->aspect_ratios.ax[i], hp->aspect_ratios.ay[i]);
        }
    }
    const int64_t n_levels = hp->max_level - hp->min_level + 1;
    if (hp->anchor_scale.n != 1 && hp->anchor_scale.n != n_levels) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "anchor_scale has %d values: give one, or one for each of the %lld levels",
                 hp->anchor_scale.n, (long long)n_levels);
    }
    for (int i = 0; i < hp->anchor_scale.n; ++i) {
        if (!(hp->anchor_scale.v[i] > 0)) {
            EDT_FAIL(err, EDT_ERR_USAGE, "anchor_scale[%d] = %g: must be positive", i,
                     hp->anchor_scale.v[i]);
        }
    }
    return EDT_OK;
}

static float *write_level(const edt_hparams *hp, const edt_anchors *anchors, int level,
                          float *out)
{
    const double stride_y = (double)anchors->image_h / (double)anchors->level_h[level];
    const double stride_x = (double)anchors->image_w / (double)anchors->level_w[level];
    const double scale =
        hp->anchor_scale.v[hp->anchor_scale.n == 1 ? 0 : level - (int)hp->min_level];
    // The reference's grid is numpy.arange(stride/2, size, stride): start + i * step with the
    // step taken from the first two rounded elements.
    const double start_y = stride_y / 2, start_x = stride_x / 2;
    const double step_y = (start_y + stride_y) - start_y;
    const double step_x = (start_x + stride_x) - start_x;
    for (int64_t y = 0; y < anchors->level_h[level]; ++y) {
        const double cy = start_y + (double)y * step_y;
        for (int64_t x = 0; x < anchors->level_w[level]; ++x) {
            const double cx = start_x + (double)x * step_x;
            for (int64_t s = 0; s < hp->num_scales; ++s) {
                const double octave = pow(2.0, (double)s / (double)hp->num_scales);
                const double base_y = scale * stride_y * octave;
                const double base_x = scale * stride_x * octave;
                for (int a = 0; a < hp->aspect_ratios.n; ++a) {
                    const double half_y = base_y * hp->aspect_ratios.ay[a] / 2.0;
                    const double half_x = base_x * hp->aspect_ratios.ax[a] / 2.0;
                    out[0] = (float)(cy - half_y);
                    out[1] = (float)(cx - half_x);
                    out[2] = (float)(cy + half_y);
                    out[3] = (float)(cx + half_x);
                    out += 4;
                }
            }
        }
    }
    return out;
}

edt_status edt_anchors_create(const edt_hparams *hp, edt_error *err, edt_anchors **out_anchors)
{
    EDT_TRY(check_settings(hp, err));
    edt_anchors *anchors = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *anchors);
    if (anchors == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "anchors: out of memory");
    }
    anchors->image_h = hp->image_size.h;
    anchors->image_w = hp->image_size.w;
    anchors->min_level = (int)hp->min_level;
    anchors->max_level = (int)hp->max_level;
    anchors->per_cell = hp->num_scales * hp->aspect_ratios.n;
    int64_t h = anchors->image_h, w = anchors->image_w;
    for (int level = 0; level <= anchors->max_level; ++level) {
        anchors->level_h[level] = h;
        anchors->level_w[level] = w;
        if (level >= anchors->min_level) {
            anchors->level_offset[level] = anchors->n;
            anchors->n += h * w * anchors->per_cell;
        }
        h = (h - 1) / 2 + 1;
        w = (w - 1) / 2 + 1;
    }
    if (anchors->n > MAX_ANCHORS) {
        const int64_t n = anchors->n;
        edt_anchors_destroy(anchors);
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "image_size %lldx%lld with min_level %lld has %lld anchors; at most %d are "
                 "possible",
                 (long long)hp->image_size.h, (long long)hp->image_size.w,
                 (long long)hp->min_level, (long long)n, MAX_ANCHORS);
    }
    anchors->boxes =
        edt_mem_alloc(EDT_MEM_MISC, (size_t)anchors->n * 4 * sizeof *anchors->boxes);
    if (anchors->boxes == NULL) {
        const int64_t n = anchors->n;
        edt_anchors_destroy(anchors);
        EDT_FAIL(err, EDT_ERR_NOMEM, "anchors: out of memory for %lld boxes", (long long)n);
    }
    float *out = anchors->boxes;
    for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
        out = write_level(hp, anchors, level, out);
    }
    *out_anchors = anchors;
    return EDT_OK;
}

void edt_anchors_destroy(edt_anchors *anchors)
{
    if (anchors == NULL) {
        return;
    }
    edt_mem_free(anchors->boxes);
    edt_mem_free(anchors);
}
