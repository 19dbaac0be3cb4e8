// The losses of an evaluation as the trainer shows them beside the twelve numbers: targets for
// its pictures, the L2 term of the weights, the weighted sum (spec/train.md 4.5, 4.6, 16).
#ifndef EDT_TRAIN_EVAL_LOSSES_H
#define EDT_TRAIN_EVAL_LOSSES_H

#include "eval/evaluate.h"
#include "train/metrics.h"
#include "train/target_maker.h"

typedef struct edt_eval_losses edt_eval_losses;

enum { EDT_EVAL_LOSSES_MAX_ROWS = 6 };

// `predictor` was created with losses and, with `use_ema`, reads the averages; n_threads are
// the loader's. `hp` and `predictor` are borrowed until destroy.
edt_status edt_eval_losses_create(const edt_hparams *hp, edt_predictor *predictor, bool use_ema,
                                  int n_threads, edt_error *err, edt_eval_losses **out_losses);
void edt_eval_losses_destroy(edt_eval_losses *losses); // NULL is fine

// What edt_evaluate needs to compute them.
void edt_eval_losses_enter(edt_eval_losses *losses, edt_evaluation_options *options);
// val_loss, val_det_loss, val_cls_loss, val_box_loss, (val_box_iou_loss,) val_reg_l2_loss: the
// names that tf2/train.py gives them. Returns how many there are through out_n.
edt_status edt_eval_losses_rows(const edt_eval_losses *losses, const edt_evaluation *evaluation,
                                edt_error *err, edt_metric rows[EDT_EVAL_LOSSES_MAX_ROWS],
                                int *out_n);

#endif
