// Anchor targets as the loader's callback: anchors shared, one assigner per worker.
#ifndef EDT_TRAIN_TARGET_MAKER_H
#define EDT_TRAIN_TARGET_MAKER_H

#include "core/hparams.h"
#include "dataio/batch.h"

typedef struct edt_target_maker edt_target_maker;

// n_threads 0: all cores.
edt_status edt_target_maker_create(const edt_hparams *hp, int n_threads, edt_error *err,
                                   edt_target_maker **out_maker);
void edt_target_maker_destroy(edt_target_maker *maker);
int edt_target_maker_threads(const edt_target_maker *maker);
int64_t edt_target_maker_n_anchors(const edt_target_maker *maker);

// An edt_target_fn; ctx is the maker. Workers at or above its thread count are EDT_ERR_INTERNAL.
edt_status edt_target_maker_run(void *ctx, int worker, const float *boxes, const int64_t *labels,
                                int64_t n_boxes, int32_t *out_cls, float *out_box,
                                float *out_num_positives, edt_error *err);

#endif
