// Where the images of a conversion go: image after image of each part to shard after shard, and
// shards in groups, which are finished together and of which each rank converts its share.
#ifndef EDT_DATAIO_CONVERT_ORDER_H
#define EDT_DATAIO_CONVERT_ORDER_H

#include "dataio/convert_run.h"

// At least 1.
int edt_convert_world_size(const edt_convert_spec *spec);

// Shards per group: few, so that much of a killed conversion is kept and ranks get equal
// shares, and several, so that threads do not wait for each other in a shard. Shard i belongs
// to group i modulo their number.
int64_t edt_convert_count_groups(const edt_convert_spec *spec);

// The shard of image i.
int64_t edt_convert_shard_of(const edt_convert_spec *spec, int64_t i);
// The first image of a shard, and the one that follows image `i` in its shard; n_images where
// there is none.
int64_t edt_convert_first_in_shard(const edt_convert_spec *spec, int64_t i_shard);
int64_t edt_convert_next_in_shard(const edt_convert_spec *spec, int64_t i);

#endif
