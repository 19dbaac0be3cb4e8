// See epochs.h.
#include "train/epochs.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

int64_t edt_epochs_parse_save_freq(const char *save_freq)
{
    if (strcmp(save_freq, "epoch") == 0) {
        return 0;
    }
    char *end;
    errno = 0;
    const long long n = strtoll(save_freq, &end, 10);
    return save_freq[0] >= '0' && save_freq[0] <= '9' && *end == '\0' && errno == 0 && n >= 1
               ? (int64_t)n
               : -1;
}

edt_status edt_epochs_init(edt_epochs *epochs, const edt_hparams *hp,
                           const edt_schedule *schedule, int64_t examples, int64_t batch,
                           int64_t save_checkpoints_steps, edt_error *err)
{
    const int64_t save_freq = edt_epochs_parse_save_freq(hp->save_freq);
    const bool tf2 = strcmp(hp->semantics, "tf2") == 0;
    if (save_freq < 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "save_freq is '%s': it is 'epoch', or a number of steps from 1 on",
                 hp->save_freq);
    }
    *epochs = (edt_epochs){
        .n = (int64_t)ceil(hp->num_epochs),
        .total_steps = schedule->total_steps,
        .examples = examples,
        .batch = batch,
        .whole_steps = tf2 ? (int64_t)schedule->steps_per_epoch : 0,
        .map_freq = tf2 ? hp->map_freq : 1,
        .save_steps = save_freq > 0 ? save_freq : save_checkpoints_steps,
        .saves_epochs = tf2 && save_freq == 0,
    };
    return EDT_OK;
}

int64_t edt_epochs_end(const edt_epochs *epochs, int64_t e)
{
    const int64_t end = epochs->whole_steps > 0 ? e * epochs->whole_steps
                                                : e * epochs->examples / epochs->batch;
    return e >= epochs->n || end > epochs->total_steps ? epochs->total_steps : end;
}

bool edt_epochs_evaluates(const edt_epochs *epochs, int64_t e)
{
    return e % epochs->map_freq == 0 || edt_epochs_end(epochs, e) >= epochs->total_steps;
}

int64_t edt_epochs_count_evaluations(const edt_epochs *epochs, int64_t step)
{
    int64_t n = 0;
    for (int64_t e = 1; e <= epochs->n; ++e) {
        const int64_t end = edt_epochs_end(epochs, e);
        n += end > step && end > edt_epochs_end(epochs, e - 1) &&
             edt_epochs_evaluates(epochs, e);
    }
    return n;
}

bool edt_epochs_saves(const edt_epochs *epochs, int64_t step)
{
    return step % epochs->save_steps == 0 ||
           (epochs->saves_epochs && step % epochs->whole_steps == 0);
}
