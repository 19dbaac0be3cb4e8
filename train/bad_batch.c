// See bad_batch.h. Training batches carry targets, not boxes; matched anchors give the boxes
// back, each anchor its own copy, which differ by rounding only.
#include "train/bad_batch.h"

#include <inttypes.h>
#include <math.h>

#include "core/path.h"
#include "core/safetensors.h"
#include "model/anchors.h"
#include "model/box_coder.h"

enum { BOX_COLUMNS = 6, MOST_BOXES = 4096 };
static const float same_pixels = 0.05F;

static bool is_known(const float *boxes, int64_t n, const float box[BOX_COLUMNS])
{
    for (int64_t i = 0; i < n; ++i) {
        const float *other = boxes + i * BOX_COLUMNS;
        bool same = other[0] == box[0] && other[1] == box[1];
        for (int k = 2; k < BOX_COLUMNS && same; ++k) {
            same = fabsf(other[k] - box[k]) <= same_pixels;
        }
        if (same) {
            return true;
        }
    }
    return false;
}

static edt_status decode_boxes(const edt_hparams *hp, const edt_batch *b, edt_arena *arena,
                               edt_error *err, float **out_boxes, int64_t *out_n)
{
    edt_anchors *anchors = NULL;
    int64_t n = 0;
    float *boxes = edt_arena_alloc(arena, MOST_BOXES * BOX_COLUMNS * sizeof *boxes);
    if (boxes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the boxes of a batch");
    }
    EDT_TRY(edt_anchors_create(hp, err, &anchors));
    // None with masks alone.
    const int64_t per_row = anchors->n == b->n_anchors ? anchors->n : 0;
    for (int64_t i = 0; i < b->n_valid * per_row && n < MOST_BOXES; ++i) {
        if (b->cls_targets[i] < 0) {
            continue;
        }
        float box[BOX_COLUMNS] = {(float)(i / per_row), (float)(b->cls_targets[i] + 1)};
        edt_box_decode(anchors->boxes + i % per_row * 4, b->box_targets + i * 4, box + 2);
        if (!is_known(boxes, n, box)) {
            for (int k = 0; k < BOX_COLUMNS; ++k) {
                boxes[n * BOX_COLUMNS + k] = box[k];
            }
            ++n;
        }
    }
    edt_anchors_destroy(anchors);
    *out_boxes = boxes;
    *out_n = n;
    return EDT_OK;
}

static edt_safetensors_item item(const char *name, edt_dtype dtype, edt_shape shape,
                                 const void *data)
{
    edt_safetensors_item i = {.name = name, .desc = {dtype, shape}};
    i.data = (edt_span){data, edt_tensor_bytes(&i.desc)};
    return i;
}

edt_status edt_bad_batch_write(const char *model_dir, const edt_hparams *hp, const edt_batch *b,
                               const edt_bad_batch_info *info, edt_arena *arena, edt_error *err,
                               const char **out_path)
{
    enum { N_META = 6 };
    float *boxes = NULL;
    int64_t n_boxes = 0;
    EDT_TRY(decode_boxes(hp, b, arena, err, &boxes, &n_boxes));
    const char *dir = edt_path_join(arena, model_dir, EDT_BAD_BATCH_DIR);
    const char *rank =
        info->world_size > 1 ? edt_arena_printf(arena, "-rank-%d", info->rank) : "";
    const char *number =
        info->n_before > 0 ? edt_arena_printf(arena, "-%" PRId64, info->n_before + 1) : "";
    const char *path = dir == NULL || rank == NULL || number == NULL
                           ? NULL
                           : edt_arena_printf(arena, "%s/step-%" PRId64 "%s%s.safetensors", dir,
                                              info->step, number, rank);
    const edt_safetensors_meta meta[N_META] = {
        {"step", edt_arena_printf(arena, "%" PRId64, info->step)},
        {"loss", edt_arena_printf(arena, "%.9g", info->loss)},
        {"epoch", edt_arena_printf(arena, "%" PRId64, b->epoch)},
        {"position", edt_arena_printf(arena, "%" PRId64, b->position)},
        {"n_valid", edt_arena_printf(arena, "%" PRId64, b->n_valid)},
        {"reason", info->reason},
    };
    bool ok = path != NULL;
    for (int i = 0; i < N_META; ++i) {
        ok = ok && meta[i].value != NULL;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to write a batch");
    }
    const int64_t n = b->batch_size, t = b->n_anchors;
    const edt_dtype pixels = b->format == EDT_SLOT_U8 ? EDT_DTYPE_U8 : EDT_DTYPE_F32;
    edt_safetensors_item items[10] = {
        item("images", pixels, edt_shape_4(n, b->height, b->width, 3), b->images),
        item("image_scales", EDT_DTYPE_F32, edt_shape_1(n), b->image_scales),
        item("source_ids", EDT_DTYPE_I64, edt_shape_1(n), b->source_ids),
        item("sample_indices", EDT_DTYPE_I64, edt_shape_1(n), b->sample_indices),
        item("boxes", EDT_DTYPE_F32, edt_shape_2(n_boxes, BOX_COLUMNS), boxes),
    };
    int64_t n_items = 5;
    if (t > 0) {
        items[n_items++] =
            item("cls_targets", EDT_DTYPE_I32, edt_shape_2(n, t), b->cls_targets);
        items[n_items++] =
            item("box_targets", EDT_DTYPE_F32, edt_shape_3(n, t, 4), b->box_targets);
        items[n_items++] =
            item("num_positives", EDT_DTYPE_F32, edt_shape_1(n), b->num_positives);
    }
    if (b->seg_mask != NULL) {
        items[n_items++] =
            item("seg_mask", EDT_DTYPE_I32, edt_shape_3(n, b->mask_h, b->mask_w), b->seg_mask);
    }
    if (b->format == EDT_SLOT_U8) {
        items[n_items++] = item("valid_hw", EDT_DTYPE_I32, edt_shape_2(n, 2), b->valid_hw);
    }
    EDT_TRY(edt_path_mkdirs(dir, err));
    EDT_TRY(edt_safetensors_write(path, items, n_items, meta, N_META, err));
    *out_path = path;
    return EDT_OK;
}
