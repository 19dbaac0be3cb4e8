// Runs a trained network over batches of pictures: inference graph, EMA or raw weights,
// post-processing on several threads. Used by evaluation, detect and benchmark.
#ifndef EDT_EVAL_PREDICT_H
#define EDT_EVAL_PREDICT_H

#include "core/hparams.h"
#include "dataio/batch.h"
#include "eval/loss_values.h"
#include "model/efficientdet.h"
#include "model/exec.h"
#include "model/params.h"
#include "model/postprocess.h"

typedef struct edt_predictor edt_predictor;

typedef struct edt_predictor_options {
    int64_t batch_size;
    edt_slot_format slot_format; // format of the batches it will be given
    edt_post_mode post_mode;
    bool use_ema;   // read parameters from the EMA arena
    edt_dtype real; // of activations (outputs are f32 always); NONE: edt_inference_real
    int n_threads;  // post-processing; 0: all cores
    bool losses;    // the losses of detection, too: batches must have targets
} edt_predictor_options;

// What hparam mixed_precision means where backend `device` ("cpu", "cuda", "ref") runs a
// network: bf16, or f16 on a GPU where loss_scale says that training used it, else f32.
edt_dtype edt_inference_real(const edt_hparams *hp, const char *device);

// Without detection among the heads there are no detections: n_valid is 0 for all rows.
// A graph without parameters memory of its own: `params` may be a trainer's. Borrowed until
// destroy.
edt_status edt_predictor_create(const edt_hparams *hp, edt_params *params,
                                const edt_predictor_options *options, edt_error *err,
                                edt_predictor **out_predictor);
// Stand-alone: creates parameters on `backend` too (see edt_predictor_params), zeroed.
edt_status edt_predictor_create_standalone(const edt_hparams *hp, edt_backend *backend,
                                           const edt_predictor_options *options, edt_error *err,
                                           edt_predictor **out_predictor);
void edt_predictor_destroy(edt_predictor *predictor);

edt_params *edt_predictor_params(edt_predictor *predictor);
// Of activations.
edt_dtype edt_predictor_real(const edt_predictor *predictor);
edt_exec *edt_predictor_exec(edt_predictor *predictor);
const edt_model *edt_predictor_model(const edt_predictor *predictor);
int64_t edt_predictor_max_detections(const edt_predictor *predictor);

// The network alone: binds the batch's images and runs (benchmark --what=network). Images with
// EDT_MEM_ALIGN are read where they are if the backend's memory is the host's.
edt_status edt_predictor_run_network(edt_predictor *predictor, const edt_batch *batch,
                                     edt_error *err);
// Network and post-processing of rows [0, n_valid). *out_detections: [B][max_detections], owned
// by the predictor until the next run; out_n_valid[B].
edt_status edt_predictor_run(edt_predictor *predictor, const edt_batch *batch, edt_error *err,
                             const edt_detection **out_detections, const int64_t **out_n_valid);

// The losses of the last batch, of a predictor with losses; see edt_loss_reader_get.
edt_status edt_predictor_losses(edt_predictor *predictor, edt_error *err,
                                edt_loss_values *out_values);
bool edt_predictor_has_losses(const edt_predictor *predictor);

// The network's outputs for one row after edt_predictor_run, on the host until the next run,
// per level: another post-processing of the same pictures. Arrays of at least 16 pointers.
// Fetches them from the device where post-processing did not.
edt_status edt_predictor_outputs(edt_predictor *predictor, int64_t row, edt_error *err,
                                 const float **out_cls, const float **out_box);
// As above the logits [mask_h,mask_w,mask_classes] of the segmentation head.
// EDT_ERR_UNSUPPORTED without one.
edt_status edt_predictor_segmentation(edt_predictor *predictor, int64_t row, edt_error *err,
                                      const float **out_logits);
// EDT_ERR_UNSUPPORTED, saying what `needs` boxes, where detection is not among the heads.
edt_status edt_predictor_need_detection(const edt_predictor *predictor, const char *needs,
                                        edt_error *err);
// Whether post-processing runs on the device too (eval/device_post.h).
bool edt_predictor_detects_on_device(const edt_predictor *predictor);

#endif
