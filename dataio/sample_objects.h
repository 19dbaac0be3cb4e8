// What a record says about one sample besides its pixels: its id and its objects, checked and
// filtered as training or evaluation wants them, and their way to network pixels and
// ground-truth rows (spec/data.md 7.3, 7.6, 7.7, 13).
#ifndef EDT_DATAIO_SAMPLE_OBJECTS_H
#define EDT_DATAIO_SAMPLE_OBJECTS_H

#include "augment/geometry.h"
#include "augment/objects.h"
#include "core/arena.h"
#include "dataio/example.h"
#include "dataio/preprocess.h"

// The stored text as an integer, or the hash of the picture. EDT_ERR_FORMAT for another text.
edt_status edt_sample_source_id(const edt_preprocess_config *config, const edt_example *example,
                                edt_error *err, int64_t *out_id);

// Checks labels (1 to num_classes) and corners (finite), unless reference_defects is on, and
// copies the objects into the arena; training without crowds leaves them out. `out_source`,
// unless NULL, is each object's number in the record, in the arena too. EDT_ERR_INVALID with
// the box's number and what to do, EDT_ERR_NOMEM.
edt_status edt_sample_objects_read(const edt_preprocess_config *config,
                                   const edt_example *example, edt_arena *arena, edt_error *err,
                                   edt_objects *out_objects, int64_t **out_source);

// Parts of the picture -> network pixels: mirrored, scaled, moved to the crop, clipped and
// filtered (edt_boxes_to_network); the columns of those that stay are compacted. EDT_ERR_NOMEM.
edt_status edt_sample_objects_place(const edt_preprocess_config *config,
                                    const edt_scale_params *scale, bool flipped,
                                    edt_arena *arena, edt_error *err, edt_objects *objects);

// Columns of all objects of a sample, before any was left out.
typedef struct edt_sample_columns {
    int64_t n;
    const bool *is_crowd;
    const float *area;
} edt_sample_columns;

// Rows ymin xmin ymax xmax (original pixels) is_crowd area class, -1 padding, from objects in
// network pixels. With reference_defects the columns is_crowd and area are those of
// `unfiltered` in its order, as the reference leaves them (spec/data.md 13, #1), and a table
// that is full or too short is EDT_ERR_INVALID (#2); else rows beyond max_instances are cut.
edt_status edt_sample_groundtruth_fill(const edt_preprocess_config *config,
                                       const edt_scale_params *scale,
                                       const edt_objects *objects,
                                       const edt_sample_columns *unfiltered, edt_error *err,
                                       float *out_rows);
// The same rows without any object.
void edt_sample_groundtruth_clear(const edt_preprocess_config *config, float *out_rows);

#endif
