// What the two halves of restoring share: where each variable's tensors lie, and the judgement
// on it (restore_judge.c) before anything is loaded (restore.c).
#ifndef EDT_MODEL_IO_RESTORE_PRIV_H
#define EDT_MODEL_IO_RESTORE_PRIV_H

#include "model/io/restore.h"
#include "model/io/weights.h"

#define EDT_RESTORE_AVERAGE "ExponentialMovingAverage"

enum { EDT_RESTORE_N_SLOTS = 6 };

// Slot names and the run that writes them.
typedef struct edt_restore_slot {
    const char *name, *run;
} edt_restore_slot;
extern const edt_restore_slot edt_restore_slots[EDT_RESTORE_N_SLOTS];

// Items of the file for one variable, -1 where there is none.
typedef struct edt_restore_place {
    int i_param;
    int i_value;   // for VALUES
    int i_average; // for EMA
    bool has_average;
    int i_slot[2];
} edt_restore_place;

typedef struct edt_restorer {
    edt_params *params;
    edt_weights *weights;
    const edt_restore_options *options;
    edt_restore_report *report;
    edt_arena keys; // reset for each variable
    bool *used;     // per item
    int n_places;
    edt_restore_place *places;
    bool any_average;
    int n_stored[EDT_RESTORE_N_SLOTS]; // variables that have that slot in the file
    void *scratch;
    size_t scratch_bytes;
} edt_restorer;

static inline const char *edt_restore_text(const char *text)
{
    return text == NULL ? "" : text;
}

// True when the item can be loaded into that variable.
bool edt_restore_fits(const edt_restorer *r, const edt_restore_place *p, int i_item);
// EDT_ERR_MISMATCH when what was found is not enough for the options.
edt_status edt_restore_judge(const edt_restorer *r, edt_error *err);

#endif
