// See shard_order.h. The shards' order is a permutation without memory; finding a place in it
// needs the running sum of their sizes, which is kept for the epochs at work: usually one or
// two, more when epochs are shorter than the batches in flight.
#include "dataio/shard_order.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdbool.h>

#include "core/mem.h"
#include "core/rng.h"

enum { N_TABLES = 4 };

typedef struct epoch_table {
    int64_t epoch;       // -1: none yet
    int64_t *first;      // [n + 1] place of the first record of the shard that comes i-th
    int64_t *from_shard; // [n] which shard that is
} epoch_table;

struct edt_shard_order {
    int64_t n_shards;
    int64_t *first; // [n + 1] number of the first record of shard i
    uint64_t seed;
    epoch_table tables[N_TABLES]; // epoch e in table e mod N_TABLES
    pthread_mutex_t mutex;        // guards the tables
    bool has_mutex;
};

static edt_status alloc_tables(edt_shard_order *order, edt_error *err)
{
    const size_t n = (size_t)order->n_shards + 1;
    order->first = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *order->first);
    bool ok = order->first != NULL;
    for (int i = 0; i < N_TABLES; ++i) {
        epoch_table *t = &order->tables[i];
        t->epoch = -1;
        t->first = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *t->first);
        t->from_shard = edt_mem_calloc(EDT_MEM_MISC, n, sizeof *t->from_shard);
        ok = ok && t->first != NULL && t->from_shard != NULL;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the order of %" PRId64 " shards",
                 order->n_shards);
    }
    if (pthread_mutex_init(&order->mutex, NULL) != 0) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "the system has no mutex left");
    }
    order->has_mutex = true;
    return EDT_OK;
}

edt_status edt_shard_order_create(const int64_t *n_records, int64_t n_shards, uint64_t seed,
                                  edt_error *err, edt_shard_order **out_order)
{
    edt_shard_order *order = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *order);
    if (order == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the order of %" PRId64 " shards", n_shards);
    }
    order->n_shards = n_shards;
    order->seed = seed;
    const edt_status status = alloc_tables(order, err);
    if (status != EDT_OK) {
        edt_shard_order_destroy(order);
        return status;
    }
    for (int64_t i = 0; i < n_shards; ++i) {
        order->first[i + 1] = order->first[i] + n_records[i];
    }
    *out_order = order;
    return EDT_OK;
}

void edt_shard_order_destroy(edt_shard_order *order)
{
    if (order == NULL) {
        return;
    }
    if (order->has_mutex) {
        (void)pthread_mutex_destroy(&order->mutex);
    }
    for (int i = 0; i < N_TABLES; ++i) {
        edt_mem_free(order->tables[i].first);
        edt_mem_free(order->tables[i].from_shard);
    }
    edt_mem_free(order->first);
    edt_mem_free(order);
}

static void make_table(const edt_shard_order *order, int64_t epoch, epoch_table *t)
{
    t->epoch = epoch;
    t->first[0] = 0;
    for (int64_t i = 0; i < order->n_shards; ++i) {
        // The complement keeps this permutation apart from the one of all samples.
        const int64_t shard =
            edt_rng_permute(~order->seed, (uint64_t)epoch, order->n_shards, i);
        t->from_shard[i] = shard;
        t->first[i + 1] = t->first[i] + order->first[shard + 1] - order->first[shard];
    }
}

int64_t edt_shard_order_record(edt_shard_order *order, int64_t epoch, int64_t place)
{
    (void)pthread_mutex_lock(&order->mutex);
    epoch_table *t = &order->tables[epoch % N_TABLES];
    if (t->epoch != epoch) {
        make_table(order, epoch, t);
    }
    // The last shard that begins at or before the place, behind any empty ones.
    int64_t low = 0, high = order->n_shards;
    while (high - low > 1) {
        const int64_t middle = low + (high - low) / 2;
        if (t->first[middle] <= place) {
            low = middle;
        } else {
            high = middle;
        }
    }
    const int64_t record = order->first[t->from_shard[low]] + place - t->first[low];
    (void)pthread_mutex_unlock(&order->mutex);
    return record;
}
