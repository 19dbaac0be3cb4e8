// Records in windows, for small records that say who they are: whatever the storage, the order,
// the window, the world and the threads, each position gives its record; ends and errors.
#include <criterion/criterion.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/thread.h"
#include "dataio/record_source.h"
#include "dataio/shard_writer.h"
#include "tests/support/test_dirs.h"

enum { N_SHARDS = 3, N = 37, PAYLOAD_BYTES = 3000, MAX_THREADS = 4 };

static const int shard_sizes[N_SHARDS] = {11, 0, 26};

typedef struct shards {
    char dir[256];
    const char *paths[N_SHARDS];
    edt_record_index *index;
    edt_shard_order *order;
} shards;

// Record i begins with its number; lengths differ, contents do not compress away.
static size_t make_payload(int64_t i, uint8_t *out)
{
    const size_t n = (size_t)(i * 571 % PAYLOAD_BYTES) + 8;
    uint32_t state = (uint32_t)i + 1;
    for (size_t k = 0; k < n; ++k) {
        state = state * 1664525u + 1013904223u;
        out[k] = (uint8_t)(state >> 24);
    }
    memcpy(out, &i, 8);
    return n;
}

static void write_shard(shards *s, int i_shard, int64_t first, edt_shard_compression how)
{
    edt_error err = {0};
    edt_shard_writer *writer = NULL;
    const edt_shard_writer_options options = {
        .prefix = edt_test_path(s->dir, "%d", i_shard), .n_shards = 1, .compression = how};
    cr_assert_eq(edt_shard_writer_open(&options, &err, &writer), EDT_OK, "%s", err.text);
    for (int64_t i = first; i < first + shard_sizes[i_shard]; ++i) {
        uint8_t payload[PAYLOAD_BYTES + 8];
        const edt_span piece = {payload, make_payload(i, payload)};
        const uint64_t at = edt_shard_writer_reserve(writer, 0, piece.n_bytes);
        cr_assert_eq(edt_shard_writer_put(writer, 0, at, &piece, 1, &err), EDT_OK);
    }
    s->paths[i_shard] = edt_test_path(s->dir, "%d-00000-of-00001%s", i_shard,
                                      edt_shard_compression_suffix(how));
    cr_assert_eq(edt_shard_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    edt_shard_writer_close(writer);
}

static void open_index(shards *s)
{
    const edt_shard_reader_options options = {.take_streams = true};
    edt_error err = {0};
    cr_assert_eq(edt_record_index_create(s->paths, N_SHARDS, &options, &err, &s->index), EDT_OK,
                 "%s", err.text);
}

// Shard i is stored as how[i].
static shards make_shards(const edt_shard_compression how[static N_SHARDS])
{
    shards s = {0};
    edt_error err = {0};
    (void)snprintf(s.dir, sizeof s.dir, "%s", edt_test_temp_dir());
    int64_t sizes[N_SHARDS];
    for (int64_t i = 0, first = 0; i < N_SHARDS; first += shard_sizes[i++]) {
        write_shard(&s, (int)i, first, how[i]);
        sizes[i] = shard_sizes[i];
    }
    open_index(&s);
    cr_assert_eq(edt_shard_order_create(sizes, N_SHARDS, 5, &err, &s.order), EDT_OK);
    return s;
}

static void release(shards *s)
{
    edt_record_index_destroy(s->index);
    edt_shard_order_destroy(s->order);
    edt_test_remove_tree(s->dir);
}

static edt_record_source *open_source(const shards *s, const edt_sampler *sampler,
                                      edt_cursor start, bool reads_others)
{
    edt_record_source *source = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_record_source_create(
                     &(edt_record_source_options){s->index, sampler, start, reads_others}, &err,
                     &source),
                 EDT_OK, "%s", err.text);
    return source;
}

static bool is_record(edt_span payload, int64_t i)
{
    uint8_t want[PAYLOAD_BYTES + 8];
    const size_t n = make_payload(i, want);
    return payload.n_bytes == n && memcmp(payload.data, want, n) == 0;
}

// What the loader does, without pictures: threads take rows in order, and a batch gives back
// what lies before the lowest unfinished one.
typedef struct consumer {
    const edt_sampler *sampler;
    edt_record_source *source;
    edt_cursor cursor;
    edt_sampler_batch batches[64];
    int64_t n_begun, n_batches, i_row; // batches opened, to do; row of the one being taken
    int64_t n_done[64];
    int64_t n_right, n_rows;
    bool others; // also reads the positions of the batch that are other ranks'
    pthread_mutex_t mutex;
} consumer;

static int64_t first_of(const consumer *c, int64_t i)
{
    return c->batches[i].position - c->sampler->rank * c->sampler->batch_size;
}

static bool take(consumer *c, int64_t *out_batch, int64_t *out_row)
{
    (void)pthread_mutex_lock(&c->mutex);
    if (c->n_begun == 0 || c->i_row == c->sampler->batch_size) {
        if (c->n_begun == c->n_batches ||
            !edt_sampler_next(c->sampler, &c->cursor, &c->batches[c->n_begun])) {
            (void)pthread_mutex_unlock(&c->mutex);
            return false;
        }
        ++c->n_begun;
        c->i_row = 0;
    }
    *out_batch = c->n_begun - 1;
    *out_row = c->i_row++;
    (void)pthread_mutex_unlock(&c->mutex);
    return true;
}

static void done(consumer *c, int64_t i_batch, bool is_right)
{
    (void)pthread_mutex_lock(&c->mutex);
    ++c->n_done[i_batch];
    ++c->n_rows;
    c->n_right += is_right;
    int64_t lowest = 0;
    while (lowest < c->n_begun && c->n_done[lowest] == c->sampler->batch_size) {
        ++lowest;
    }
    const edt_cursor low = lowest < c->n_begun
                               ? (edt_cursor){c->batches[lowest].epoch, first_of(c, lowest)}
                               : c->cursor;
    edt_record_source_retire(c->source, low);
    (void)pthread_mutex_unlock(&c->mutex);
}

static bool read_right(consumer *c, edt_record_scratch *scratch, int64_t epoch, int64_t p)
{
    edt_error err = {0};
    edt_span payload;
    return edt_record_source_read(c->source, epoch, p, scratch, &err, &payload) == EDT_OK &&
           is_record(payload, edt_sampler_index(c->sampler, epoch, p));
}

static void consume(void *ctx)
{
    consumer *c = ctx;
    edt_record_scratch *scratch = NULL;
    int64_t i_batch, row;
    if (edt_record_scratch_create(NULL, &scratch) != EDT_OK) {
        return;
    }
    while (take(c, &i_batch, &row)) {
        const edt_sampler_batch *b = &c->batches[i_batch];
        bool is_right = true;
        if (row < b->n_valid) {
            is_right = read_right(c, scratch, b->epoch, b->position + row);
            const edt_sampler_span w =
                edt_sampler_window(c->sampler, b->epoch, b->position + row);
            if (c->others && w.n < N) {
                is_right = is_right && read_right(c, scratch, b->epoch, w.first) &&
                           read_right(c, scratch, b->epoch, w.first + w.n - 1);
            }
        }
        for (int k = (int)(b->position + row) % 5; k > 0; --k) {
            (void)sched_yield();
        }
        done(c, i_batch, is_right);
    }
    edt_record_scratch_destroy(scratch);
}

static void run(const shards *s, const edt_sampler *sampler, edt_cursor start, bool others,
                int n_threads, int64_t n_batches)
{
    static consumer c;
    c = (consumer){.sampler = sampler,
                   .source = open_source(s, sampler, start, others),
                   .cursor = start,
                   .n_batches = n_batches,
                   .others = others};
    (void)pthread_mutex_init(&c.mutex, NULL);
    edt_thread threads[MAX_THREADS] = {0};
    for (int i = 0; i < n_threads; ++i) {
        cr_assert_eq(edt_thread_start(&threads[i], "consumer", consume, &c, NULL), EDT_OK);
    }
    for (int i = 0; i < n_threads; ++i) {
        edt_thread_join(&threads[i]);
    }
    cr_assert_eq(c.n_right, c.n_rows, "window %d, batch %d of %d, %d threads",
                 (int)sampler->window, (int)sampler->batch_size, (int)sampler->world_size,
                 n_threads);
    cr_assert_eq(c.n_rows, c.n_begun * sampler->batch_size);
    edt_record_source_destroy(c.source);
    (void)pthread_mutex_destroy(&c.mutex);
}

static void run_all(const shards *s, edt_sample_order order)
{
    static const int64_t windows[] = {1, 2, 5, 16, 100};
    static const int64_t batches[] = {1, 3, 8};
    for (int w = 0; w < 5; ++w) {
        for (int b = 0; b < 3; ++b) {
            for (int64_t world = 1; world <= 3; world += 2) {
                edt_sampler sampler = {.n_samples = N,
                                       .batch_size = batches[b],
                                       .world_size = world,
                                       .rank = w % world,
                                       .order = order,
                                       .window = windows[w],
                                       .shards = s->order,
                                       .drop_remainder = (w + b) % 2 == 0,
                                       .endless = true,
                                       .seed = 5};
                const edt_cursor start = {w % 2, (w * 9 + b) % N};
                run(s, &sampler, start, world > 1 && b < 2, 1 + (w + b) % MAX_THREADS, 30);
                sampler.endless = sampler.drop_remainder = false;
                run(s, &sampler, start, false, 1 + b, 64);
            }
        }
    }
}

Test(record_source, every_position_gives_its_record_from_plain_shards, .timeout = 60)
{
    static const edt_shard_compression plain[N_SHARDS] = {0};
    shards s = make_shards(plain);
    run_all(&s, EDT_ORDER_WINDOW);
    release(&s);
}

Test(record_source, every_position_gives_its_record_from_streams, .timeout = 60)
{
    static const edt_shard_compression streams[N_SHARDS] = {
        EDT_SHARD_COMPRESS_ZLIB, EDT_SHARD_COMPRESS_GZIP, EDT_SHARD_COMPRESS_GZIP};
    shards s = make_shards(streams);
    run_all(&s, EDT_ORDER_WINDOW);
    run_all(&s, EDT_ORDER_NONE);
    release(&s);
}

Test(record_source, every_position_gives_its_record_from_shards_of_both_kinds, .timeout = 60)
{
    static const edt_shard_compression both[N_SHARDS] = {
        EDT_SHARD_COMPRESS_GZIP, EDT_SHARD_COMPRESS_NONE, EDT_SHARD_COMPRESS_ZSTD};
    shards s = make_shards(both);
    run_all(&s, EDT_ORDER_WINDOW);
    run_all(&s, EDT_ORDER_NONE);
    release(&s);
}

Test(record_source, random_orders_read_at_random_or_say_what_else_to_do, .timeout = 30)
{
    edt_sampler sampler = {.n_samples = N,
                           .batch_size = 2,
                           .world_size = 1,
                           .order = EDT_ORDER_GLOBAL,
                           .endless = true};
    static const edt_shard_compression seekable[N_SHARDS] = {EDT_SHARD_COMPRESS_ZSTD};
    shards s = make_shards(seekable);
    edt_record_source *source = open_source(&s, &sampler, (edt_cursor){0}, true);
    cr_expect_eq(edt_record_source_n_windows(source), 0);
    edt_record_source_destroy(source);
    run(&s, &sampler, (edt_cursor){0}, false, 3, 40);
    release(&s);
    static const edt_shard_compression streams[N_SHARDS] = {EDT_SHARD_COMPRESS_NONE,
                                                            EDT_SHARD_COMPRESS_ZLIB};
    s = make_shards(streams);
    edt_error err = {0};
    cr_expect_eq(
        edt_record_source_create(&(edt_record_source_options){s.index, &sampler, {0}, false},
                                 &err, &source),
        EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "shuffle=window"), "%s", err.text);
    // For single records a stream is read up to them.
    for (int64_t i = N - 1; i >= 0; i -= 5) {
        edt_span payload;
        cr_assert_eq(edt_record_index_read(s.index, i, &err, &payload), EDT_OK, "%s", err.text);
        cr_expect(is_record(payload, i));
    }
    release(&s);
}

typedef struct waiter {
    edt_record_source *source;
    int64_t position;
    edt_status status;
} waiter;

static void wait_for_it(void *ctx)
{
    waiter *w = ctx;
    edt_record_scratch *scratch = NULL;
    edt_span payload;
    w->status = edt_record_scratch_create(NULL, &scratch);
    if (w->status == EDT_OK) {
        w->status = edt_record_source_read(w->source, 0, w->position, scratch, NULL, &payload);
    }
    edt_record_scratch_destroy(scratch);
}

Test(record_source, whoever_waits_is_woken_by_a_stop, .timeout = 30)
{
    static const edt_shard_compression streams[N_SHARDS] = {
        EDT_SHARD_COMPRESS_GZIP, EDT_SHARD_COMPRESS_GZIP, EDT_SHARD_COMPRESS_GZIP};
    shards s = make_shards(streams);
    const edt_sampler sampler = {.n_samples = N,
                                 .batch_size = 2,
                                 .world_size = 1,
                                 .order = EDT_ORDER_WINDOW,
                                 .window = 4,
                                 .shards = s.order,
                                 .endless = true};
    for (int i = 0; i < 50; ++i) {
        edt_record_source *source = open_source(&s, &sampler, (edt_cursor){0}, false);
        cr_assert_eq(edt_record_source_n_windows(source), 2);
        // Nothing is given back, so that the end is never read.
        waiter waiters[3];
        edt_thread threads[3] = {0};
        for (int k = 0; k < 3; ++k) {
            waiters[k] = (waiter){.source = source, .position = N - 1 - k};
            cr_assert_eq(
                edt_thread_start(&threads[k], "waiter", wait_for_it, &waiters[k], NULL),
                EDT_OK);
        }
        for (int k = i; k > 0; --k) {
            (void)sched_yield();
        }
        edt_record_source_stop(source);
        for (int k = 0; k < 3; ++k) {
            edt_thread_join(&threads[k]);
            cr_assert_eq(waiters[k].status, EDT_ERR_CANCELLED);
        }
        edt_record_source_destroy(source);
    }
    release(&s);
}

// Reads an epoch in windows of 5 and counts how each record went.
static void read_epoch(const shards *s, int64_t epoch, edt_status out_status[static N])
{
    const edt_sampler sampler = {.n_samples = N,
                                 .batch_size = 1,
                                 .world_size = 1,
                                 .order = EDT_ORDER_WINDOW,
                                 .window = 5,
                                 .shards = s->order,
                                 .endless = true};
    edt_record_source *source = open_source(s, &sampler, (edt_cursor){.epoch = epoch}, false);
    edt_record_scratch *scratch = NULL;
    cr_assert_eq(edt_record_scratch_create(NULL, &scratch), EDT_OK);
    for (int64_t p = 0; p < N; ++p) {
        edt_error err = {0};
        edt_span payload;
        const int64_t i = edt_sampler_index(&sampler, epoch, p);
        edt_record_source_retire(source, (edt_cursor){epoch, p});
        out_status[i] = edt_record_source_read(source, epoch, p, scratch, &err, &payload);
        cr_expect(out_status[i] == EDT_OK ? is_record(payload, i) : err.text[0] != '\0');
    }
    edt_record_scratch_destroy(scratch);
    edt_record_source_destroy(source);
}

// Writes the last shard again, its first n_kept records with a byte of one changed, which
// leaves their lengths and offsets as indexed.
static void rewrite(const shards *s, int64_t i_bad, int64_t n_kept)
{
    const edt_shard_reader_options options = {.skip_data_crc = true};
    edt_error err = {0};
    edt_shard_reader *reader = NULL;
    edt_record record;
    const char *raw = edt_test_path(s->dir, "raw");
    edt_atomic_file *file = NULL;
    cr_assert_eq(edt_shard_reader_open(s->paths[2], &options, &err, &reader), EDT_OK);
    cr_assert_eq(edt_atomic_file_open(raw, &err, &file), EDT_OK);
    for (int64_t i = 0; i < n_kept && edt_shard_reader_next(reader, &err, &record) == EDT_OK;
         ++i) {
        const size_t n =
            EDT_TFRECORD_HEADER_BYTES + record.payload.n_bytes + EDT_TFRECORD_FOOTER_BYTES;
        uint8_t *copy = edt_mem_alloc(EDT_MEM_MISC, n);
        memcpy(copy, record.payload.data - EDT_TFRECORD_HEADER_BYTES, n);
        copy[EDT_TFRECORD_HEADER_BYTES + 5] ^= i == i_bad;
        cr_assert_eq(edt_atomic_file_append(file, copy, n, &err), EDT_OK);
        edt_mem_free(copy);
    }
    cr_assert_eq(edt_atomic_file_commit(file, &err), EDT_OK);
    edt_atomic_file_close(file);
    edt_shard_reader_close(reader);
    char command[2048];
    (void)snprintf(command, sizeof command, "gzip -c '%s' > '%s'", raw, s->paths[2]);
    cr_assert_eq(system(command), 0);
}

Test(record_source, damage_is_told_at_the_records_that_have_it, .timeout = 30)
{
    static const edt_shard_compression streams[N_SHARDS] = {
        EDT_SHARD_COMPRESS_NONE, EDT_SHARD_COMPRESS_NONE, EDT_SHARD_COMPRESS_GZIP};
    shards s = make_shards(streams);
    edt_status status[N];
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
        read_epoch(&s, epoch, status);
        for (int i = 0; i < N; ++i) {
            cr_assert_eq(status[i], EDT_OK);
        }
    }
    // A wrong data CRC is one record's matter.
    rewrite(&s, 7, 100);
    for (int64_t epoch = 0; epoch < 3; ++epoch) {
        read_epoch(&s, epoch, status);
        for (int i = 0; i < N; ++i) {
            cr_assert_eq(status[i], i == 11 + 7 ? EDT_ERR_CORRUPT : EDT_OK, "record %d: %d", i,
                         (int)status[i]);
        }
    }
    // A shard with fewer records than were indexed is another shard. The byte is right again.
    rewrite(&s, 7, 9);
    read_epoch(&s, 1, status);
    for (int i = 0; i < N; ++i) {
        cr_assert_eq(status[i], i >= 11 + 9 ? EDT_ERR_MISMATCH : EDT_OK, "record %d: %d", i,
                     (int)status[i]);
    }
    // One that is cut off.
    cr_assert_eq(truncate(s.paths[2], 2000), 0);
    read_epoch(&s, 2, status);
    int n_ok = 0;
    for (int i = 11; i < N; ++i) {
        cr_assert(status[i] == EDT_OK || status[i] == EDT_ERR_FORMAT);
        cr_assert(status[i] != EDT_OK || status[i - 1] == EDT_OK || i == 11);
        n_ok += status[i] == EDT_OK;
    }
    cr_assert(n_ok > 0 && n_ok < 9);
    cr_assert_eq(unlink(s.paths[2]), 0);
    read_epoch(&s, 0, status);
    cr_assert_eq(status[10], EDT_OK);
    cr_assert_eq(status[11], EDT_ERR_NOT_FOUND);
    cr_assert_eq(status[36], EDT_ERR_NOT_FOUND);
    release(&s);
}
