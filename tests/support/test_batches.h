// Loaders and their batches in tests: options, targets that show what the callback was given,
// and hashes over everything that a row holds.
#ifndef EDT_TESTS_SUPPORT_TEST_BATCHES_H
#define EDT_TESTS_SUPPORT_TEST_BATCHES_H

#include "dataio/loader.h"

enum { EDT_TEST_N_ANCHORS = 6 };

// image_size 96, 90 classes, then `overrides` (k=v,...; may be NULL). Aborts on failure; the
// caller deinitialises.
edt_hparams edt_test_loader_hparams(const char *overrides);
// The 24 records of the COCO shards in the goldens.
const char *edt_test_coco_pattern(void);
// Batches of 5 with targets and ground truth, 2 threads, seed 42.
edt_loader_options edt_test_train_options(const char *pattern);
edt_loader *edt_test_open_loader(const edt_hparams *hp, const edt_loader_options *options);

// Targets that depend on everything a callback is given: the first boxes and labels as they
// are.
edt_status edt_test_fake_targets(void *ctx, int worker, const float *boxes,
                                 const int64_t *labels, int64_t n_boxes, int32_t *out_cls,
                                 float *out_box, float *out_num_positives, edt_error *err);

// Row i of a batch with targets and ground truth, chained to `h`.
uint64_t edt_test_hash_row(const edt_batch *batch, int64_t i, uint64_t h);
uint64_t edt_test_hash_batch(const edt_batch *batch);
// Takes n batches; their hashes go to out_hashes. Aborts on failure.
void edt_test_take_batches(edt_loader *loader, int n, uint64_t *out_hashes);

#endif
