// Inside of a training step, shared by step.c (one step), step_create.c (its life), step_plan.c
// (what it is built of), step_record.c (its values on their way back) and step_guard.c (what is
// not finite).
#ifndef EDT_TRAIN_STEP_PRIV_H
#define EDT_TRAIN_STEP_PRIV_H

#include "train/optimizer.h"
#include "train/prefetch.h"
#include "train/rank_sum.h"
#include "train/replicas.h"
#include "train/step.h"

// Losses, normaliser, statistics and loss scale lie side by side on the device, each in a cell
// of its own, so that one copy brings all of them back.
enum {
    EDT_STEP_MAX_LEVELS = 16,
    EDT_STEP_CELL_BYTES = 64,
    EDT_STEP_MAX_CELLS = 2 * EDT_STEP_MAX_LEVELS + 6,
    EDT_STEP_RING = 8, // steps whose values may be on their way
    EDT_STEP_MAX_OUT = 8,
    EDT_STEP_MAX_INPUTS = 8,
};

// What the host knows about a step that was submitted.
typedef struct edt_step_pending {
    int64_t global_step;
    double learning_rate, num_positives;
    bool updated; // false: the optimizer did not run (no streams, loss not finite)
    int64_t n_valid;
    int64_t *source_ids; // [n_valid], room for batch_size
    edt_event *arrived;  // with streams
    void *cells;         // where they arrive: pinned memory with streams
} edt_step_pending;

typedef struct edt_step_record {
    edt_backend *backend;
    edt_comm *comm;
    edt_dtype wide;
    int n_cls, n_box, n_iou, n_seg; // cells of losses, in this order from cell 0 on
    int norm_cell, stats_cell, scale_cell, n_cells;
    int replica_cell; // statistics of this rank's gradient; only with replicas
    bool scaled;
    double box_loss_weight, iou_loss_weight, positives_momentum;
    bool has_replicas;             // train/replicas.h
    double sum_divisor, l2_factor; // of losses summed over ranks; of a rank's L2 term
    char *device;
    edt_step_pending pending[EDT_STEP_RING]; // step i in i mod EDT_STEP_RING
    int64_t n_submitted, n_folded;
    edt_step_report report; // of the steps folded since the last collect
    edt_loss_watch watch;
    int64_t *bad_ids; // [batch_size]
} edt_step_record;

// The counts of losses are set by the caller before.
edt_status edt_step_record_init(edt_step_record *record, edt_backend *backend,
                                int64_t batch_size, edt_error *err);
void edt_step_record_deinit(edt_step_record *record);
void *edt_step_record_cell(const edt_step_record *record, int i_cell);
// The entry of the next step; folds old ones into the report to make room.
edt_status edt_step_record_open(edt_step_record *record, edt_error *err,
                                edt_step_pending **out_pending);
// Copies the cells to the host: at once, or queued behind the step.
edt_status edt_step_record_read(edt_step_record *record, edt_step_pending *pending,
                                edt_error *err);
// Of cells that have been read: the losses of all heads; whether losses and gradients are
// finite.
double edt_step_record_loss(const edt_step_record *record, const edt_step_pending *pending);
bool edt_step_record_is_finite(const edt_step_record *record, const edt_step_pending *pending);
// The step of the entry that was opened counts from now on.
void edt_step_record_close(edt_step_record *record);
// Waits for all steps; the report starts anew.
edt_status edt_step_record_collect(edt_step_record *record, edt_error *err,
                                   edt_step_report *out_report);

// A batch that was submitted and not yet given back.
typedef struct edt_step_out {
    const edt_batch *batch;
    int64_t i_queued; // number of its copies (prefetch.h); -1: nothing reads it any more
} edt_step_out;

// Where moving statistics lie in the arena of values, in bytes.
typedef struct edt_step_piece {
    size_t begin, end;
} edt_step_piece;

// A copy of the moving statistics, to take a step back (step_guard.c).
typedef struct edt_step_guard {
    const edt_params *params;
    int n_pieces;
    edt_step_piece *pieces;
    char *saved;
} edt_step_guard;

edt_status edt_step_guard_init(edt_step_guard *guard, const edt_params *params, edt_error *err);
void edt_step_guard_deinit(edt_step_guard *guard);
// Copies them aside, and back.
edt_status edt_step_guard_keep(const edt_step_guard *guard, edt_error *err);
edt_status edt_step_guard_restore(const edt_step_guard *guard, edt_error *err);

// The inputs that change with every batch.
typedef struct edt_step_input {
    edt_value_id value;
    int64_t n;       // elements of a batch
    edt_dtype dtype; // of the host's array
    void *batch; // with micro-steps: the batch's elements on the backend, of which each takes
                 // its n_micro-th part; NULL: they go straight into the graph's input
} edt_step_input;

struct edt_step {
    const edt_hparams *hp;
    edt_backend *backend;
    edt_step_options options;
    edt_model *model;
    edt_params *params;
    edt_exec *exec;
    edt_optimizer *optimizer;
    edt_rank_sum *sum;      // several ranks
    edt_replicas *replicas; // several ranks and grad_reduce other than global
    bool *frozen;
    void *staging;                            // f64 graphs: converted inputs
    float norm, seg_norm;                     // this rank's parts; side by side in one cell
    float moving_normalizer, kept_normalizer; // positives_momentum; before the step
    float *drop_draws;                        // [n_micro,R,N / n_micro]
    int64_t n_micro;                          // runs of the graph that make a step
    int n_inputs;
    edt_step_input inputs[EDT_STEP_MAX_INPUTS];
    edt_step_record record;
    edt_step_guard guard;
    edt_prefetch *prefetch; // with streams
    edt_capture *capture;   // with streams, from the second step on
    int n_out;
    edt_step_out out[EDT_STEP_MAX_OUT];
};

size_t edt_step_input_bytes(const edt_step_input *input);
// Host reals go in as they are, or widened through `staging`. `data`: input->n elements.
edt_status edt_step_set_input(edt_step *step, const edt_step_input *input, const void *data,
                              edt_error *err);

// Forward and backward pass of the batch, in n_micro parts, with the sums over ranks; what
// `begin` takes was told before.
edt_status edt_step_run_graph(edt_step *step, const edt_run_ctx *ctx, edt_error *err);

edt_model_options edt_step_model_options(const edt_hparams *hp, const edt_step_options *options,
                                         const bool *wants_grad);
// EDT_ERR_USAGE when accumulate_steps does not divide the batch.
edt_status edt_step_check_parts(const edt_hparams *hp, const edt_step_options *options,
                                edt_error *err);
// Per parameter: frozen by var_freeze_expr; wants a gradient. Free both with edt_mem_free.
edt_status edt_step_select_frozen(const edt_hparams *hp, const edt_step_options *options,
                                  edt_error *err, bool **out_frozen, bool **out_wants);

#endif
