// Gradients as the reference combines those of its replicas (hparam grad_reduce other than
// global; spec/train.md 4.1, 5.2). A replica is a rank: its losses are normalised by its own
// positives, its gradient, L2 included, is clipped, then all are added up. `tpu` divides the
// loss by the number of replicas before, `tf1_gpus` does not.
#ifndef EDT_TRAIN_REPLICAS_H
#define EDT_TRAIN_REPLICAS_H

#include "core/hparams.h"
#include "dist/comm.h"
#include "model/params.h"

typedef struct edt_replicas edt_replicas;

// Whether `hp` asks for it and there is more than one rank.
bool edt_replicas_are_wanted(const edt_hparams *hp, const edt_comm *comm);

// Everything is borrowed until destroy. `segments` are the optimizer's, one per parameter;
// `stats` is device memory for EDT_OPTIMIZER_STATS elements of the parameters' type: those of
// this rank's gradient before and after clipping, with its part of the L2 term.
edt_status edt_replicas_create(edt_params *params, const edt_hparams *hp, edt_comm *comm,
                               const edt_param_segment *segments, void *stats, edt_error *err,
                               edt_replicas **out_replicas);
void edt_replicas_destroy(edt_replicas *replicas); // NULL is fine

// What this rank's loss is divided by, and what a sum of losses over ranks must be to be their
// mean.
double edt_replicas_loss_divisor(const edt_replicas *replicas);
double edt_replicas_sum_divisor(const edt_replicas *replicas);
// This rank's normaliser from its own positives and those of all ranks; the former count with
// semantics=tf1 alone, and where positives_momentum asks for no mean: tf2 has the mean over
// replicas. `*moving` is the moving normaliser of positives_momentum > 0.
float edt_replicas_normalizer(const edt_replicas *replicas, double own_positives,
                              double all_positives, float *moving);

// The optimizer's gradients: what edt_replicas_queue makes.
void *edt_replicas_gradients(const edt_replicas *replicas);
// Clips this rank's gradients (the params' GRADS stay) and adds up those of all ranks. All
// ranks call it together, after the last run of the graph.
edt_status edt_replicas_queue(edt_replicas *replicas, const edt_run_ctx *ctx, edt_error *err);

#endif
