// Evaluation of detections that arrive batch by batch, in the background: a batch is matched
// while the next is still being computed, and its boxes are forgotten. The result is that of
// edt_coco_evaluate over all batches, to the last bit, whatever their order.
//
//     edt_coco_stream *stream; edt_coco_result *result;
//     edt_coco_stream_create(gt, &(edt_coco_params){0}, &err, &stream);
//     while (...) {
//         edt_coco_dt *batch;
//         edt_coco_dt_create(&err, &batch);
//         edt_coco_dt_add_f32(batch, image_id, category_id, xywh, score, &err);
//         edt_coco_stream_add(stream, batch, &err);
//     }
//     edt_coco_stream_finish(stream, &err, &result);
//     edt_coco_stream_destroy(stream);
#ifndef EDT_EVAL_COCO_STREAM_H
#define EDT_EVAL_COCO_STREAM_H

#include "eval/coco_eval.h"

typedef struct edt_coco_stream edt_coco_stream;

// Starts the threads (params->n_threads; 0: one, to leave the cores to whoever makes the
// detections). `gt` is borrowed until the stream is destroyed, params for the call.
edt_status edt_coco_stream_create(const edt_coco_gt *gt, const edt_coco_params *params,
                                  edt_error *err, edt_coco_stream **out_stream);
// Hands over a batch (freed by the stream, also on errors). It holds all detections of its
// images: a second batch for an image is EDT_ERR_INVALID. From any thread; waits while too many
// batches are pending, so memory grows only by 32 bytes per detection of an evaluated category.
// Reports what went wrong with earlier batches as well. A batch that is refused leaves no
// trace.
edt_status edt_coco_stream_add(edt_coco_stream *stream, edt_coco_dt *take_batch,
                               edt_error *err);
// Waits for pending batches and computes the result; once, after the last add has returned.
edt_status edt_coco_stream_finish(edt_coco_stream *stream, edt_error *err,
                                  edt_coco_result **out_result);
// Stops the threads, whether finished or not.
void edt_coco_stream_destroy(edt_coco_stream *stream);

#endif
