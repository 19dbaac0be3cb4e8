// Mixing: one source picture with the objects of several samples, made before GridMask,
// AutoAugment and the geometry see it (augment/mosaic.h, copy_paste.h, mixup.h, in this order).
// The partners are other samples of the data set, drawn from the sample's own stream.
#ifndef EDT_DATAIO_SAMPLE_MIX_H
#define EDT_DATAIO_SAMPLE_MIX_H

#include "augment/objects.h"
#include "core/arena.h"
#include "dataio/preprocess.h"
#include "dataio/sample_picture.h"

// Partners open at once, and those tried in a row before the sample counts as bad: the data set
// is broken then.
enum { EDT_SAMPLE_MAX_PARTNERS = 3, EDT_SAMPLE_MAX_PARTNER_TRIES = 100 };

// Buffers of one thread: the partners' decoders and the mixed picture.
typedef struct edt_sample_mixer edt_sample_mixer;

// `config` is borrowed.
edt_status edt_sample_mixer_create(const edt_preprocess_config *config, edt_error *err,
                                   edt_sample_mixer **out_mixer);
void edt_sample_mixer_destroy(edt_sample_mixer *mixer); // NULL is fine

// Draws from sample->draws->mixing, for each kind whose probability is not 0, whether it
// happens, and does it. `own` is the sample's picture, open, h x w, with `objects`. What came
// out replaces `objects` (arrays in the arena) and is *out_image, which may be written to and
// lasts until the mixer's or own's next call; its data are NULL when the sample stays as it is
// and `own` is still to be decoded. Errors of the partners as sample->partners has them.
edt_status edt_sample_mix(edt_sample_mixer *mixer, const edt_sample *sample,
                          edt_sample_picture *own, int64_t h, int64_t w, edt_arena *arena,
                          edt_error *err, edt_objects *objects, edt_image *out_image);

// Seconds spent so far in opening and decoding partners, and in reading their records.
double edt_sample_mixer_decode_seconds(const edt_sample_mixer *mixer);
double edt_sample_mixer_read_seconds(const edt_sample_mixer *mixer);

#endif
