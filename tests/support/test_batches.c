// See test_batches.h.
#include "tests/support/test_batches.h"

#include "dataio/fingerprint64.h"
#include "tests/support/test_dirs.h"

edt_hparams edt_test_loader_hparams(const char *overrides)
{
    edt_hparams hp;
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_override(&hp, "image_size=96,num_classes=90", &err), EDT_OK, "%s",
                 err.text);
    if (overrides != NULL) {
        cr_assert_eq(edt_hparams_override(&hp, overrides, &err), EDT_OK, "%s", err.text);
    }
    return hp;
}

const char *edt_test_coco_pattern(void)
{
    return edt_test_path(edt_test_golden_dir(), "data/tfrecord/coco-*-of-00002.tfrecord");
}

edt_loader_options edt_test_train_options(const char *pattern)
{
    return (edt_loader_options){.file_pattern = pattern,
                                .training = true,
                                .batch_size = 5,
                                .n_threads = 2,
                                .prefetch = 1,
                                .seed = 42,
                                .world_size = 1,
                                .keep_groundtruth = true,
                                .drop_remainder = true,
                                .n_anchors = EDT_TEST_N_ANCHORS,
                                .targets = edt_test_fake_targets};
}

edt_loader *edt_test_open_loader(const edt_hparams *hp, const edt_loader_options *options)
{
    edt_loader *loader = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_loader_create(hp, options, &err, &loader), EDT_OK, "%s", err.text);
    return loader;
}

edt_status edt_test_fake_targets(void *ctx, int worker, const float *boxes,
                                 const int64_t *labels, int64_t n_boxes, int32_t *out_cls,
                                 float *out_box, float *out_num_positives, edt_error *err)
{
    (void)ctx, (void)worker, (void)err;
    for (int i = 0; i < EDT_TEST_N_ANCHORS; ++i) {
        out_cls[i] = i < n_boxes ? (int32_t)labels[i] - 1 : -1;
        for (int k = 0; k < 4; ++k) {
            out_box[4 * i + k] = i < n_boxes ? boxes[4 * i + k] : 0.0f;
        }
    }
    *out_num_positives = (float)n_boxes;
    return EDT_OK;
}

static uint64_t mix(uint64_t hash, const void *data, size_t n_bytes)
{
    const edt_span span = {.data = data, .n_bytes = n_bytes};
    return (hash ^ edt_fingerprint64(span)) * UINT64_C(0x9e3779b97f4a7c15);
}

uint64_t edt_test_hash_row(const edt_batch *b, int64_t i, uint64_t h)
{
    const size_t pixel = b->format == EDT_SLOT_F32 ? 4 : 1;
    const size_t image = (size_t)(b->height * b->width * 3) * pixel;
    h = mix(h, (const char *)b->images + (size_t)i * image, image);
    h = mix(h, b->valid_hw + 2 * i, 2 * sizeof *b->valid_hw);
    h = mix(h, b->cls_targets + i * b->n_anchors, (size_t)b->n_anchors * 4);
    h = mix(h, b->box_targets + i * b->n_anchors * 4, (size_t)b->n_anchors * 16);
    h = mix(h, b->num_positives + i, 4);
    h = mix(h, b->image_scales + i, 4);
    h = mix(h, b->source_ids + i, 8);
    h = mix(h, b->sample_indices + i, 8);
    return mix(h, b->groundtruth + i * b->max_instances * 7, (size_t)b->max_instances * 28);
}

uint64_t edt_test_hash_batch(const edt_batch *b)
{
    uint64_t h = mix(1, &b->n_valid, sizeof b->n_valid);
    h = mix(h, &b->epoch, sizeof b->epoch);
    for (int64_t i = 0; i < b->batch_size; ++i) {
        h = edt_test_hash_row(b, i, h);
    }
    return h;
}

void edt_test_take_batches(edt_loader *loader, int n, uint64_t *out_hashes)
{
    for (int i = 0; i < n; ++i) {
        const edt_batch *batch;
        edt_error err = {0};
        cr_assert_eq(edt_loader_next(loader, &err, &batch), EDT_OK, "%s", err.text);
        out_hashes[i] = edt_test_hash_batch(batch);
        edt_loader_release(loader, batch);
    }
}
