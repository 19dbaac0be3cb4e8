// Everything a run needs to go on as if it had not stopped, in one checkpoint: parameters,
// averages, optimizer slots, step, loader cursor, seed, configuration.
#ifndef EDT_TRAIN_STATE_H
#define EDT_TRAIN_STATE_H

#include "core/hparams.h"
#include "dataio/loader.h"
#include "model/params.h"
#include "train/loss_scale.h"
#include "train/loss_watch.h"

enum { EDT_TRAIN_FINGERPRINT_BYTES = 32 };

typedef struct edt_train_state {
    int64_t global_step;
    int64_t seed;
    edt_cursor cursor;
    int64_t n_skipped;   // steps without an update because a loss or gradient was not finite
    int64_t total_steps; // of the schedule; a resumed run has that of the run before
    edt_loss_watch loss_watch; // zero: new
    // Of the data set that `cursor` walks (edt_loader_fingerprint), as bytes; all 0: not known.
    uint8_t data_fingerprint[EDT_TRAIN_FINGERPRINT_BYTES];
    edt_loss_scale_state loss_scale; // scale 0: none is kept
    float moving_normalizer;         // positives_momentum > 0; 0: new
} edt_train_state;

// Writes model_dir/model.ckpt-<global_step> and makes it the latest, keeping the newest five
// and `spared` ("model.ckpt-100", NULL: none). frozen[n_params] have no slots.
edt_status edt_train_state_save(const char *model_dir, const edt_hparams *hp,
                                edt_params *params, const bool *frozen,
                                const edt_train_state *state, const char *spared,
                                edt_error *err);

// Loads the latest checkpoint of model_dir: the one its state file names or, without a state
// file, the newest one there, with a warning. EDT_END when there is none; EDT_ERR_NOT_FOUND
// when the state file names one that is gone: a run never starts over the traces of another. A
// checkpoint of the reference (no cursor of ours) resumes at its step with the pictures from
// the start of the data set and, where it has none, slots of zero. `default_seed` holds where
// none is stored.
edt_status edt_train_state_resume(const char *model_dir, const edt_hparams *hp,
                                  edt_params *params, int64_t default_seed, edt_error *err,
                                  edt_train_state *out_state);

// Puts the data set that was opened into the state. EDT_ERR_MISMATCH when the state comes from
// another one: its cursor would mean other pictures there. `fingerprint` is hex text.
edt_status edt_train_state_set_data(edt_train_state *state, const char *fingerprint,
                                    const char *file_pattern, edt_error *err);

// Where initial weights come from: at most one of the three (NULL or "": none), in any format.
typedef struct edt_train_init {
    const char *ckpt;            // the whole detector (spec/train.md 11.1 "Ours")
    const char *pretrained_ckpt; // all but the heads, which start fresh
    const char *backbone_ckpt;   // the backbone, from under ckpt_var_scope
    bool strict; // every variable must be there and fit, whatever skip_mismatch says, and no
                 // other may be
} edt_train_init;

// Loads them and reports what was loaded, what was not and why. `params` hold initial values
// already.
edt_status edt_train_state_init_from(const edt_train_init *from, const edt_hparams *hp,
                                     edt_params *params, edt_error *err);

// Checkpoint variable suffixes of the optimizer slots under hp->semantics and hp->optimizer.
void edt_train_slot_names(const edt_hparams *hp, const char *out_names[static 2]);

#endif
