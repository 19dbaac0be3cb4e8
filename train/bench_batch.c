// Batches without files: noise for pictures, random boxes for ground truth.
#include "core/rng.h"
#include "model/bifpn.h"
#include "train/bench_priv.h"
#include "train/target_maker.h"

enum { BOXES_PER_PICTURE = 8, STAGE_BENCH = 0x200 };

static edt_status no_memory(int64_t batch_size, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a batch of %lld pictures",
             (long long)batch_size);
}

static void draw_pixels(edt_batch *b, edt_rng *rng)
{
    const int64_t n = b->batch_size * b->height * b->width * 3;
    for (int64_t i = 0; i < n; ++i) {
        const uint32_t draw = edt_rng_next_u32(rng);
        if (b->format == EDT_SLOT_U8) {
            ((uint8_t *)b->images)[i] = (uint8_t)(draw >> 24);
        } else {
            ((float *)b->images)[i] = (float)(draw >> 8) * (4.0F / 16777216.0F) - 2.0F;
        }
    }
}

// Sides from an eighth to half of the picture's.
static void draw_boxes(const edt_hparams *hp, edt_rng *rng, float *boxes, int64_t *labels)
{
    const double size[2] = {(double)hp->image_size.h, (double)hp->image_size.w};
    for (int i = 0; i < BOXES_PER_PICTURE; ++i) {
        for (int axis = 0; axis < 2; ++axis) {
            const double side = edt_rng_uniform_range(rng, 0.125, 0.5) * size[axis];
            const double from = edt_rng_uniform_range(rng, 0.0, size[axis] - side);
            boxes[4 * i + axis] = (float)from;
            boxes[4 * i + 2 + axis] = (float)(from + side);
        }
        labels[i] = 1 + (int64_t)edt_rng_below(rng, (uint64_t)hp->num_classes);
    }
}

static edt_status make_targets(const edt_hparams *hp, edt_batch *b, edt_rng *rng,
                               edt_arena *arena, edt_error *err)
{
    edt_target_maker *maker = NULL;
    edt_status status = EDT_OK;
    EDT_TRY(edt_target_maker_create(hp, 1, err, &maker));
    const size_t n_anchors = (size_t)edt_target_maker_n_anchors(maker);
    const size_t n = (size_t)b->batch_size;
    b->n_anchors = (int64_t)n_anchors;
    b->cls_targets = edt_arena_calloc(arena, n * n_anchors, sizeof *b->cls_targets);
    b->box_targets = edt_arena_calloc(arena, n * n_anchors * 4, sizeof *b->box_targets);
    b->num_positives = edt_arena_calloc(arena, n, sizeof *b->num_positives);
    if (b->cls_targets == NULL || b->box_targets == NULL || b->num_positives == NULL) {
        status = no_memory(b->batch_size, err);
        goto fail;
    }
    for (size_t i = 0; i < n; ++i) {
        float boxes[4 * BOXES_PER_PICTURE];
        int64_t labels[BOXES_PER_PICTURE];
        draw_boxes(hp, rng, boxes, labels);
        EDT_TRY_GOTO(edt_target_maker_run(
            maker, 0, boxes, labels, BOXES_PER_PICTURE, b->cls_targets + i * n_anchors,
            b->box_targets + i * n_anchors * 4, &b->num_positives[i], err));
    }
fail:
    edt_target_maker_destroy(maker);
    return status;
}

// Pixels of all classes, as many of each.
static edt_status make_masks(const edt_hparams *hp, edt_batch *b, edt_rng *rng,
                             edt_arena *arena, edt_error *err)
{
    edt_pyramid_sizes sizes;
    EDT_TRY(edt_pyramid_sizes_compute(hp, err, &sizes));
    b->mask_h = 2 * sizes.h[sizes.min_level];
    b->mask_w = 2 * sizes.w[sizes.min_level];
    const size_t n = (size_t)(b->batch_size * b->mask_h * b->mask_w);
    b->seg_mask = edt_arena_calloc(arena, n, sizeof *b->seg_mask);
    if (b->seg_mask == NULL) {
        return no_memory(b->batch_size, err);
    }
    for (size_t i = 0; i < n; ++i) {
        b->seg_mask[i] = (int32_t)edt_rng_below(rng, (uint64_t)hp->seg_num_classes);
    }
    return EDT_OK;
}

edt_status edt_bench_make_batch(const edt_hparams *hp, int64_t batch_size,
                                edt_slot_format format, bool targets, edt_arena *arena,
                                edt_error *err, edt_batch *out_batch)
{
    const size_t n = (size_t)batch_size;
    const size_t pixel_bytes = format == EDT_SLOT_U8 ? 1 : sizeof(float);
    const size_t picture = (size_t)(hp->image_size.h * hp->image_size.w * 3);
    edt_batch b = {
        .batch_size = batch_size,
        .n_valid = batch_size,
        .height = hp->image_size.h,
        .width = hp->image_size.w,
        .format = format,
        .images = edt_arena_calloc(arena, n * picture, pixel_bytes),
        .valid_hw = edt_arena_calloc(arena, 2 * n, sizeof(int32_t)),
        .image_scales = edt_arena_calloc(arena, n, sizeof(float)),
        .source_ids = edt_arena_calloc(arena, n, sizeof(int64_t)),
        .sample_indices = edt_arena_calloc(arena, n, sizeof(int64_t)),
    };
    if (b.images == NULL || b.valid_hw == NULL || b.image_scales == NULL ||
        b.source_ids == NULL || b.sample_indices == NULL) {
        return no_memory(batch_size, err);
    }
    for (size_t i = 0; i < n; ++i) {
        b.valid_hw[2 * i] = (int32_t)b.height;
        b.valid_hw[2 * i + 1] = (int32_t)b.width;
        b.image_scales[i] = 1.0F;
        b.sample_indices[i] = (int64_t)i;
    }
    edt_rng rng;
    edt_rng_init(&rng, 1, 0, 0, STAGE_BENCH);
    draw_pixels(&b, &rng);
    if (targets && edt_hparams_has_head(hp, "object_detection")) {
        EDT_TRY(make_targets(hp, &b, &rng, arena, err));
    }
    if (targets && edt_hparams_has_head(hp, "segmentation")) {
        EDT_TRY(make_masks(hp, &b, &rng, arena, err));
    }
    *out_batch = b;
    return EDT_OK;
}
