// Checkpoints <-> parameters: which stored tensor goes where (spec/model.md 8.1, 8.2, "Ours" of
// spec/train.md 11.1), what happens when one is missing or has another shape, and writing all
// training state back.
#ifndef EDT_MODEL_IO_RESTORE_H
#define EDT_MODEL_IO_RESTORE_H

#include "core/span.h"
#include "model/io/tf_bundle.h"
#include "model/io/weights.h"
#include "model/params.h"

typedef struct edt_restore_options {
    // Only variables whose name begins with `model_scope` are loaded, from the name with
    // `ckpt_scope` in its place (--backbone_ckpt). NULL or "": everything.
    const char *model_scope, *ckpt_scope;
    bool use_ema;  // VALUES from X/ExponentialMovingAverage (evaluation, inference)
    bool load_ema; // also fill EDT_PARAMS_EMA (which must exist), from the average or else from
                   // X
    // Also fill SLOT0, SLOT1 (which must exist) from X/<name>: "Momentum" (semantics tf1),
    // "KerasMomentum" (tf2), "Adam" and "Adam_1". NULL: not. A missing slot keeps its value
    // unless strict.
    const char *slot_names[2];
    const bool *has_slot; // per parameter: strict wants its slots; NULL: all trainable ones
    // A missing tensor or a different shape: strict: error, also where with use_ema only the
    // average is missing, where with load_ema an average does not fit, and where a wanted slot
    // is missing or does not fit; else with skip_mismatch: the parameter keeps its value and is
    // reported; else error.
    bool strict;
    bool weights_only_allowed; // strict passes a checkpoint without a slot of any kind
    bool skip_mismatch;
    // A tensor under ckpt_scope that no variable asks for (and that no trainer keeps beside the
    // variables) is an error too.
    bool refuse_unused;
    // Variables whose names begin with one of these keep their values, whatever is stored (""
    // is everything). NULL: none.
    const char *fresh_scopes[2];
} edt_restore_options;

typedef enum edt_restore_outcome {
    EDT_RESTORE_LOADED,
    EDT_RESTORE_SHAPE_DIFFERS, // kept its initial value
    EDT_RESTORE_MISSING,       // kept its initial value
    EDT_RESTORE_FRESH,         // kept its initial value, as the options say
} edt_restore_outcome;

typedef struct edt_restore_row {
    const char *name; // of the variable, owned by the report
    edt_restore_outcome outcome;
    bool from_average;     // VALUES came from the average
    bool average_from_raw; // EMA came from the plain value: the checkpoint has no average
    edt_shape model_shape, ckpt_shape;
} edt_restore_row;

typedef struct edt_restore_report {
    edt_arena arena;
    const char *prefix; // or file
    edt_weights_format format;
    int n_rows; // variables inside model_scope
    edt_restore_row *rows;
    int n_loaded, n_shape_differs, n_missing, n_fresh;
    int n_averages; // averages loaded, into EMA or (use_ema) as values
    int n_slots;    // slot tensors loaded
    int n_unused;   // tensors of the checkpoint that no variable of the model asked for
    const char **unused;
    int64_t global_step; // -1: none stored
} edt_restore_report;

// Loads what `path` names, in any format (edt_weights_open). Half precision and f64 are
// converted. out_report may be NULL; deinit it otherwise. EDT_ERR_MISMATCH where nothing fits
// the model at all, or as the options say; the message names the class counts when those are
// the reason. In object-based checkpoints a variable is found by its object path, or else by
// name. With use_ema only name-based checkpoints must have averages; other formats may have
// folded them into the values. On error some parameters may have been overwritten.
edt_status edt_restore(edt_params *params, const char *path, const edt_restore_options *options,
                       edt_error *err, edt_restore_report *out_report);
void edt_restore_report_deinit(edt_restore_report *report); // a zeroed one is legal

// One log line with the counts and a warning for each variable that was not loaded (at most
// 20).
void edt_restore_report_log(const edt_restore_report *report);

// Anything else that a checkpoint shall hold (trainer state such as "edt/cursor").
typedef struct edt_checkpoint_extra {
    const char *name;
    edt_tensor_desc desc; // dtype EDT_DTYPE_NONE: `text` is stored as a string scalar
    const void *data;
    edt_text text;
} edt_checkpoint_extra;

typedef struct edt_checkpoint_save_options {
    int64_t global_step;
    const char *slot_names[2]; // as in edt_restore_options; NULL: that slot is not stored
    const bool *has_slot;      // per parameter; NULL: all trainable ones
    int n_extras;
    const edt_checkpoint_extra *extras;
} edt_checkpoint_save_options;

// Writes raw values, averages (where the arena exists), slots, global_step and the extras.
// Equal state gives equal bytes, wherever it is written. The `checkpoint` file is
// edt_checkpoint_enter's.
edt_status edt_checkpoint_save(const edt_params *params, const char *prefix,
                               const edt_checkpoint_save_options *options, edt_error *err);

// Reads one stored extra: EDT_ERR_NOT_FOUND, EDT_ERR_MISMATCH when type or shape differ.
edt_status edt_checkpoint_read_extra(const edt_tf_bundle *bundle, const char *name,
                                     const edt_tensor_desc *desc, void *out, edt_error *err);
// A string scalar, in `arena`, null-terminated.
edt_status edt_checkpoint_read_text(const edt_tf_bundle *bundle, const char *name,
                                    edt_arena *arena, edt_error *err, const char **out_text);

#endif
