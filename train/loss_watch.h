// Watches the loss from step to step: its running mean and variance, and how many standard
// deviations a new loss lies above them. A pure function of the losses in their order, so that
// a resumed run goes on with the same numbers.
#ifndef EDT_TRAIN_LOSS_WATCH_H
#define EDT_TRAIN_LOSS_WATCH_H

#include <stdint.h>

// Zero-initialised is new.
typedef struct edt_loss_watch {
    double n; // losses seen, a whole number
    double mean, variance;
} edt_loss_watch;

// A loss that lies so many standard deviations above its mean is worth a line.
#define EDT_LOSS_WATCH_Z 8.0

// The deviation of `loss`, above (> 0) or below the mean of those before; 0 during the first
// EDT_LOSS_WATCH_WARM_UP and for a loss that is not finite, which is not added.
enum { EDT_LOSS_WATCH_WARM_UP = 50 };
double edt_loss_watch_add(edt_loss_watch *watch, double loss);

#endif
