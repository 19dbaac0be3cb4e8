// The order in which an epoch of windowed shuffle goes through the shards: all shards one after
// another, in an order of its own each epoch, and within a shard in the order of the file.
#ifndef EDT_DATAIO_SHARD_ORDER_H
#define EDT_DATAIO_SHARD_ORDER_H

#include <stdint.h>

#include "core/error.h"

typedef struct edt_shard_order edt_shard_order;

// n_records[n_shards] are the sizes of the shards, which may be empty; the array is copied.
edt_status edt_shard_order_create(const int64_t *n_records, int64_t n_shards, uint64_t seed,
                                  edt_error *err, edt_shard_order **out_order);
void edt_shard_order_destroy(edt_shard_order *order); // NULL is fine

// The record that stands at `place` (0 .. all records - 1) of an epoch's order. Records are
// numbered through all shards as they were listed. Any number of threads; a pure function,
// though the tables of the last few epochs are kept.
int64_t edt_shard_order_record(edt_shard_order *order, int64_t epoch, int64_t place);

#endif
