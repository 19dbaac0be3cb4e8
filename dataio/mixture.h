// Mixing: epochs in which data sets, and within them pictures with and without objects, have
// the shares that were asked for instead of those they have in the data.
//
// A stratum is a data set, or where a share of pictures without objects is asked for, one of
// its two halves. An epoch has as many places as there are records; each stratum gets its share
// of them by largest remainder, the same in every epoch. It is gone through in permutations of
// its own, one after another across the ends of epochs, so that all its records are seen
// equally often.
#ifndef EDT_DATAIO_MIXTURE_H
#define EDT_DATAIO_MIXTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

typedef struct edt_mixture edt_mixture;

typedef struct edt_mixture_options {
    int64_t n_records;
    int64_t n_sets;
    const int32_t *set_of;     // [n_records] 0 .. n_sets-1; NULL: all 0
    const double *weights;     // [n_sets] at least 0, relative to each other; NULL: all 1
    const char *const *names;  // [n_sets] of the data sets, for messages
    double negatives_ratio;    // share of records without objects in each set; NaN: as it is
    const uint32_t *n_objects; // [n_records]; may be NULL where the ratio is NaN
    bool shuffled;             // else strata are interleaved evenly, their records in order
    uint64_t seed;
} edt_mixture_options;

// Nothing of `options` need outlive the call. EDT_ERR_USAGE, with counts, for weights without a
// positive one, for a set or a kind of record that is asked for and has no records, and for one
// so rare that an epoch would have none of it.
edt_status edt_mixture_create(const edt_mixture_options *options, edt_error *err,
                              edt_mixture **out_mixture);
void edt_mixture_destroy(edt_mixture *mixture); // NULL is fine

// The record at `position` (0 .. n_records-1) of an epoch. `out_repeat` counts how often the
// record's stratum has begun anew since the epoch began: no record has one value twice within
// an epoch. O(strata), any number of threads.
int64_t edt_mixture_record(const edt_mixture *mixture, int64_t epoch, int64_t position,
                           int64_t *out_repeat);

// Strata, their records, and their places in every epoch. A stratum without places is left out.
int64_t edt_mixture_n_strata(const edt_mixture *mixture);
int64_t edt_mixture_n_members(const edt_mixture *mixture, int64_t i_stratum);
int64_t edt_mixture_n_places(const edt_mixture *mixture, int64_t i_stratum);

#endif
