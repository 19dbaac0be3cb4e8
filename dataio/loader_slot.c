// Memory of the loader's slots: the arrays that a device reads come from the caller, where it
// has memory of its own for them.
#include <inttypes.h>

#include "core/mem.h"
#include "dataio/loader_priv.h"

enum { GT_COLUMNS = 7 };

static edt_status alloc_shared(edt_loader *loader, size_t rows, size_t row_bytes,
                               edt_error *err, void **out_block)
{
    const edt_slot_memory *m = &loader->slot_memory;
    if (m->alloc != NULL) {
        return m->alloc(m->user, rows * row_bytes, err, out_block);
    }
    *out_block = edt_mem_calloc(EDT_MEM_SLOT, rows, row_bytes);
    if (*out_block == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu rows of %zu bytes", rows, row_bytes);
    }
    return EDT_OK;
}

// The arrays that a device reads.
static edt_status alloc_batch(edt_loader *loader, edt_batch *b, edt_error *err)
{
    const size_t rows = (size_t)b->batch_size;
    const size_t image_values = (size_t)b->height * (size_t)b->width * 3;
    const size_t value_bytes = b->format == EDT_SLOT_F32 ? sizeof(float) : 1;
    const size_t n_anchors = (size_t)b->n_anchors;
    void *block = NULL;
    b->pinned = loader->slot_memory.alloc != NULL;
    EDT_TRY(alloc_shared(loader, rows, image_values * value_bytes, err, &b->images));
    EDT_TRY(alloc_shared(loader, rows, 2 * sizeof *b->valid_hw, err, &block));
    b->valid_hw = block;
    if (n_anchors > 0) {
        EDT_TRY(alloc_shared(loader, rows, n_anchors * sizeof *b->cls_targets, err, &block));
        b->cls_targets = block;
        EDT_TRY(
            alloc_shared(loader, rows, n_anchors * 4 * sizeof *b->box_targets, err, &block));
        b->box_targets = block;
    }
    if (b->mask_h > 0) {
        const size_t n_pixels = (size_t)b->mask_h * (size_t)b->mask_w;
        EDT_TRY(alloc_shared(loader, rows, n_pixels * sizeof *b->seg_mask, err, &block));
        b->seg_mask = block;
    }
    return EDT_OK;
}

static edt_status alloc_slot(edt_loader *loader, const edt_loader_options *options,
                             edt_error *err, edt_loader_slot *slot)
{
    edt_batch *b = &slot->batch;
    const size_t rows = (size_t)b->batch_size;
    EDT_TRY(alloc_batch(loader, b, err));
    b->image_scales = edt_mem_calloc(EDT_MEM_SLOT, rows, sizeof *b->image_scales);
    b->source_ids = edt_mem_calloc(EDT_MEM_SLOT, rows, sizeof *b->source_ids);
    b->sample_indices = edt_mem_calloc(EDT_MEM_SLOT, rows, sizeof *b->sample_indices);
    slot->skipped = edt_mem_calloc(EDT_MEM_SLOT, rows, sizeof *slot->skipped);
    bool ok = b->image_scales != NULL && b->source_ids != NULL && b->sample_indices != NULL &&
              slot->skipped != NULL;
    if (b->n_anchors > 0) {
        b->num_positives = edt_mem_calloc(EDT_MEM_SLOT, rows, sizeof *b->num_positives);
        ok = ok && b->num_positives != NULL;
    }
    if (options->keep_groundtruth) {
        b->groundtruth = edt_mem_calloc(EDT_MEM_SLOT, rows,
                                        (size_t)b->max_instances * GT_COLUMNS * sizeof(float));
        ok = ok && b->groundtruth != NULL;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the rows of a batch");
    }
    return EDT_OK;
}

edt_status edt_loader_slot_init(edt_loader *loader, const edt_loader_options *options,
                                edt_error *err, edt_loader_slot *slot)
{
    const edt_preprocess_config *c = &loader->config;
    slot->batch = (edt_batch){.batch_size = options->batch_size,
                              .height = c->image_size.h,
                              .width = c->image_size.w,
                              .format = c->format,
                              .n_anchors = c->n_anchors,
                              .mask_h = c->mask_h,
                              .mask_w = c->mask_w,
                              .max_instances = c->max_instances};
    EDT_TRY_CTX(alloc_slot(loader, options, err, slot), err,
                "slots for %" PRId64 " batches of %" PRId64 " pictures of %" PRId64 "x%" PRId64
                ": lower batch_size, image_size or prefetch",
                loader->n_slots, options->batch_size, c->image_size.w, c->image_size.h);
    return EDT_OK;
}

static void free_shared(const edt_loader *loader, void *block)
{
    const edt_slot_memory *m = &loader->slot_memory;
    if (m->alloc != NULL) {
        m->free(m->user, block);
    } else {
        edt_mem_free(block);
    }
}

void edt_loader_slot_deinit(const edt_loader *loader, edt_loader_slot *slot)
{
    edt_batch *b = &slot->batch;
    free_shared(loader, b->images);
    free_shared(loader, b->valid_hw);
    free_shared(loader, b->cls_targets);
    free_shared(loader, b->box_targets);
    free_shared(loader, b->seg_mask);
    edt_mem_free(b->image_scales);
    edt_mem_free(b->source_ids);
    edt_mem_free(b->sample_indices);
    edt_mem_free(b->num_positives);
    edt_mem_free(b->groundtruth);
    edt_mem_free(slot->skipped);
    edt_mem_free(slot->met.indexes);
}

edt_status edt_met_records_add(edt_met_records *met, const int64_t *indexes, int64_t n,
                               edt_error *err)
{
    if (met->n + n > met->capacity) {
        const int64_t capacity = 2 * (met->n + n);
        int64_t *grown = edt_mem_realloc(EDT_MEM_MISC, met->indexes,
                                         (size_t)capacity * sizeof *met->indexes);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to note bad records");
        }
        met->indexes = grown;
        met->capacity = capacity;
    }
    for (int64_t i = 0; i < n; ++i) {
        met->indexes[met->n++] = indexes[i];
    }
    return EDT_OK;
}
