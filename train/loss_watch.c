// See loss_watch.h. An exponential average over about a hundred steps; until so many were seen,
// the plain mean and variance.
#include "train/loss_watch.h"

#include <math.h>

static const double memory_steps = 100.0;
// A loss that hardly moves has no deviation to speak of: less than this part of the mean is
// none.
static const double least_deviation = 1e-2;

double edt_loss_watch_add(edt_loss_watch *w, double loss)
{
    if (!isfinite(loss)) {
        return 0.0;
    }
    const double off = loss - w->mean;
    double z = 0.0;
    if (w->n >= EDT_LOSS_WATCH_WARM_UP) {
        const double least = least_deviation * fabs(w->mean);
        const double deviation = sqrt(w->variance);
        const double unit = deviation > least ? deviation : least;
        z = unit > 0.0 ? off / unit : 0.0;
    }
    w->n += 1.0;
    const double share = 1.0 / (w->n < memory_steps ? w->n : memory_steps);
    w->mean += share * off;
    w->variance = (1.0 - share) * (w->variance + share * off * off);
    return z;
}
