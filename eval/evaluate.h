// One evaluation: every picture of a data set through the predictor, detections through the
// COCO evaluator. The same code for train --mode=eval, evaluation inside training and the tests
// (spec/eval_infer_export.md 2.1).
#ifndef EDT_EVAL_EVALUATE_H
#define EDT_EVAL_EVALUATE_H

#include <stdatomic.h>

#include "core/hparams.h"
#include "dist/comm.h"
#include "eval/coco_eval.h"
#include "eval/predict.h"

#define EDT_EVALUATE_TEST_DEV_FILE "detections_test-dev2017_test_results.json"

typedef struct edt_evaluation_options {
    const char *val_file_pattern; // shards
    const char *val_json_file;    // COCO ground truth, or NULL: from the records
    // A directory, or NULL. Then there is no ground truth and no result: rank 0 writes the
    // detections of all pictures, padding rows (category 0) included, into
    // EDT_EVALUATE_TEST_DEV_FILE there (spec/eval_infer_export.md 2.5).
    const char *testdev_dir;
    int64_t eval_samples; // at most this many pictures; 0: all
    int n_threads;        // loader workers; 0: all cores
    // Ranks that share the pictures and call edt_evaluate together; NULL: one.
    edt_comm *comm;
    // For a predictor with losses: what turns boxes into targets, on n_threads threads.
    edt_target_fn *targets;
    void *targets_ctx;
    bool quiet;                // no line of progress
    const atomic_bool *cancel; // another thread sets it: ends with EDT_ERR_CANCELLED after the
                               // batch at hand. NULL: Ctrl-C and SIGTERM alone do that, on
                               // any rank for all of them (dist/stop_vote.h)
} edt_evaluation_options;

// The rule of every evaluation (main.py's): the best 5000 candidates, where the configuration
// does not say otherwise (spec/eval_infer_export.md 1.1). `hp` is a copy that the evaluation
// owns.
void edt_evaluation_settings(edt_hparams *hp);

// Raw detections and the metrics (none for test-dev), on rank 0; other ranks have n_images and
// seconds only. Destroy with edt_evaluation_deinit.
typedef struct edt_evaluation {
    edt_coco_dt *detections;
    edt_coco_gt *gt;
    edt_coco_result *result;
    edt_loss_values losses; // 0 of a predictor without
    int64_t n_images;
    double seconds;
} edt_evaluation;

// `predictor` was created with slot format EDT_SLOT_F32 and batch size batch_size, of one rank.
// The metrics do not depend on the number of ranks.
edt_status edt_evaluate(const edt_hparams *hp, edt_predictor *predictor, int64_t batch_size,
                        const edt_evaluation_options *options, edt_error *err,
                        edt_evaluation *out_evaluation);
// The same for one batch that carries its ground truth (train --overfit_one_batch).
edt_status edt_evaluate_batch(const edt_hparams *hp, edt_predictor *predictor,
                              const edt_batch *batch, edt_error *err,
                              edt_evaluation *out_evaluation);
void edt_evaluation_deinit(edt_evaluation *evaluation);

#endif
