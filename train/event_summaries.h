// What a run shows in TensorBoard: the numbers of metrics.jsonl under the reference's tags,
// evaluations, settings; pictures and histograms go into the same files (event_pictures.h,
// event_histogram.h). Of rank 0 alone.
#ifndef EDT_TRAIN_EVENT_SUMMARIES_H
#define EDT_TRAIN_EVENT_SUMMARIES_H

#include <stdbool.h>

#include "core/hparams.h"
#include "eval/coco_eval.h"
#include "train/event_file.h"
#include "train/metrics.h"

// Event files by what is written there. With semantics=tf1 all but evaluations lie in
// model_dir, evaluations in eval/ or eval_<name>/; with tf2 in train/, coco/, train_images/,
// test_images/ and validation/, as the two programs of the reference have them.
typedef enum edt_summary_kind {
    EDT_SUMMARY_TRAIN,
    EDT_SUMMARY_EVAL,
    EDT_SUMMARY_BATCH,      // training pictures
    EDT_SUMMARY_SAMPLE,     // detections on sample_image
    EDT_SUMMARY_VALIDATION, // losses of evaluations; with semantics=tf1 they are in those of
                            // EVAL
    EDT_SUMMARY_N_KINDS
} edt_summary_kind;

typedef struct edt_summaries_options {
    const char *model_dir;
    const char *eval_name;  // NULL or "": none
    bool waits;             // mode eval: evaluations in eval/ whatever the semantics
    double steps_per_epoch; // 0: unknown
    int64_t batch_size;     // global
    int64_t resumed_step; // behind which readers shall forget what earlier files have; -1: all
                          // of it stays
} edt_summaries_options;

typedef struct edt_summaries edt_summaries;

// Writes nothing yet: files appear with the first event. `hp` is borrowed. EDT_ERR_NOMEM.
edt_status edt_summaries_create(const edt_hparams *hp, const edt_summaries_options *options,
                                edt_error *err, edt_summaries **out_summaries);
// NULL is fine; `succeeded`: how the session ended.
void edt_summaries_destroy(edt_summaries *summaries, bool succeeded);

// The file of a kind, for pictures and histograms. Settings of the run stand before the first
// event of training.
edt_event_file *edt_summaries_file(edt_summaries *summaries, edt_summary_kind kind);

// The values of one line of metrics.jsonl. Nothing is allocated from the second call on.
void edt_summaries_train(edt_summaries *summaries, int64_t step, const edt_metric *rows,
                         int n_rows);
// The same of an evaluation, losses (val_<name>) as its program of the reference calls them,
// and AP_/<class> for each class of `result` (may be NULL).
void edt_summaries_eval(edt_summaries *summaries, int64_t step, const edt_metric *rows,
                        int n_rows, const edt_coco_result *result);

#endif
