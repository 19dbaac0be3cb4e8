// See schedule.h. Constants are formed in double and rounded to float once, then everything is
// float arithmetic: that is how the reference's graph evaluates it.
#include "train/schedule.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

edt_status edt_schedule_init(edt_schedule *schedule, const edt_hparams *hp, int64_t batch_size,
                             int64_t examples_per_epoch, edt_error *err)
{
    static const struct {
        const char *name;
        edt_lr_method method;
    } methods[] = {
        {"cosine", EDT_LR_COSINE},
        {"polynomial", EDT_LR_POLYNOMIAL},
        {"stepwise", EDT_LR_STEPWISE},
        {"constant", EDT_LR_CONSTANT},
    };
    edt_schedule s = {0};
    const char *name = hp->lr_decay_method != NULL ? hp->lr_decay_method : "";
    bool known = false;
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; ++i) {
        if (strcmp(name, methods[i].name) == 0) {
            s.method = methods[i].method;
            known = true;
        }
    }
    if (!known) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "lr_decay_method '%s' is not known; use cosine, polynomial, stepwise or constant",
                 name);
    }
    if (batch_size <= 0 || examples_per_epoch <= 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "batch size %" PRId64 " and num_examples_per_epoch %" PRId64
                 " must both be at least 1",
                 batch_size, examples_per_epoch);
    }
    const bool tf2 = strcmp(hp->semantics, "tf2") == 0;
    s.steps_per_epoch = tf2 ? (double)(examples_per_epoch / batch_size)
                            : (double)examples_per_epoch / (double)batch_size;
    s.total_steps = tf2 ? (int64_t)(hp->num_epochs * s.steps_per_epoch)
                        : (int64_t)(hp->num_epochs * (double)examples_per_epoch) / batch_size;
    if (s.steps_per_epoch <= 0.0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "an epoch of %" PRId64 " examples has no whole batch of %" PRId64
                 "; lower the batch size",
                 examples_per_epoch, batch_size);
    }
    s.decay_steps = (int64_t)(hp->num_epochs * s.steps_per_epoch);
    s.warmup_steps = (int64_t)(hp->lr_warmup_epoch * s.steps_per_epoch);
    s.first_drop_step = (int64_t)(hp->first_lr_drop_epoch * s.steps_per_epoch);
    s.second_drop_step = (int64_t)(hp->second_lr_drop_epoch * s.steps_per_epoch);
    s.power = hp->poly_lr_power;
    s.base_lr = hp->learning_rate * (double)batch_size / 64.0;
    s.warmup_lr = tf2 ? hp->lr_warmup_init : hp->lr_warmup_init * (double)batch_size / 64.0;
    if (s.method == EDT_LR_COSINE && s.decay_steps > 0 && s.decay_steps <= s.warmup_steps) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "the cosine schedule needs more steps (%" PRId64 ") than the warm-up (%" PRId64
                 "); raise num_epochs or lower lr_warmup_epoch",
                 s.decay_steps, s.warmup_steps);
    }
    *schedule = s;
    return EDT_OK;
}

static float after_warmup(const edt_schedule *s, int64_t step)
{
    const float base = (float)s->base_lr;
    switch (s->method) {
    case EDT_LR_COSINE: {
        const float pi = (float)M_PI;
        const float angle = pi * (float)step / (float)(s->decay_steps - s->warmup_steps);
        return (float)(0.5 * s->base_lr) * (1.0F + cosf(angle));
    }
    case EDT_LR_POLYNOMIAL: {
        const float left = 1.0F - (float)step / (float)s->decay_steps;
        return left > 0.0F ? base * powf(left, (float)s->power) : 0.0F;
    }
    case EDT_LR_STEPWISE:
        return step < s->first_drop_step    ? base
               : step < s->second_drop_step ? (float)(0.1 * s->base_lr)
                                            : (float)(0.01 * s->base_lr);
    case EDT_LR_CONSTANT: break;
    }
    return base;
}

double edt_schedule_lr(const edt_schedule *s, int64_t step)
{
    if (s->method != EDT_LR_CONSTANT && step < s->warmup_steps) {
        const float rise = (float)(s->base_lr - s->warmup_lr);
        return (double)((float)s->warmup_lr + (float)step / (float)s->warmup_steps * rise);
    }
    return (double)after_warmup(s, step);
}

double edt_ema_decay(double max_decay, int64_t step, bool tf2_semantics)
{
    const double s = (double)(tf2_semantics ? step : step + 1);
    const double ramp = (1.0 + s) / (10.0 + s);
    return ramp < max_decay ? ramp : max_decay;
}
