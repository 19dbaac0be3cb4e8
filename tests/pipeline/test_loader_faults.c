// Whole loaders on a machine that refuses something: every single allocation, thread, lock and
// read in turn. The outcome is the right batches or one clear error, never a hang, a leak, a
// bad sample or another batch. The program is linked with --wrap for what is refused (see
// tests/CMakeLists.txt).
#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/mem.h"
#include "dataio/shard_writer.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

// Calls to go until one is refused; 0 or below: none is.
typedef struct fault {
    atomic_llong left;
    bool for_good; // all later ones too
    atomic_llong n_refused;
} fault;

static fault allocations, threads, locks, reads;

typedef enum read_fault { READ_EIO, READ_EOF, READ_SHORT, READ_EINTR } read_fault;
static read_fault read_kind;

static bool is_refused(fault *f)
{
    const long long left = atomic_fetch_sub(&f->left, 1);
    const bool refused =
        left == 1 || (f->for_good && left < 1 && atomic_load(&f->n_refused) > 0);
    if (refused) {
        (void)atomic_fetch_add(&f->n_refused, 1);
    }
    return refused;
}

static void arm(fault *f, long long k, bool for_good)
{
    f->for_good = for_good;
    atomic_store(&f->n_refused, 0);
    atomic_store(&f->left, k);
}

// Nothing is refused any more; whether something was.
static bool disarm(fault *f)
{
    atomic_store(&f->left, 0);
    f->for_good = false;
    return atomic_load(&f->n_refused) > 0;
}

void *__real_edt_mem_alloc(edt_mem_kind kind, size_t n_bytes);
void *__real_edt_mem_calloc(edt_mem_kind kind, size_t n_items, size_t item_bytes);
void *__real_edt_mem_realloc(edt_mem_kind kind, void *block, size_t n_bytes);
char *__real_edt_mem_strdup(edt_mem_kind kind, const char *text);
int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __real_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int __real_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
ssize_t __real_pread(int fd, void *out, size_t n_bytes, off_t offset);
void *__wrap_edt_mem_alloc(edt_mem_kind kind, size_t n_bytes);
void *__wrap_edt_mem_calloc(edt_mem_kind kind, size_t n_items, size_t item_bytes);
void *__wrap_edt_mem_realloc(edt_mem_kind kind, void *block, size_t n_bytes);
char *__wrap_edt_mem_strdup(edt_mem_kind kind, const char *text);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg);
int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr);
int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr);
ssize_t __wrap_pread(int fd, void *out, size_t n_bytes, off_t offset);

void *__wrap_edt_mem_alloc(edt_mem_kind kind, size_t n_bytes)
{
    return is_refused(&allocations) ? NULL : __real_edt_mem_alloc(kind, n_bytes);
}

void *__wrap_edt_mem_calloc(edt_mem_kind kind, size_t n_items, size_t item_bytes)
{
    return is_refused(&allocations) ? NULL : __real_edt_mem_calloc(kind, n_items, item_bytes);
}

void *__wrap_edt_mem_realloc(edt_mem_kind kind, void *block, size_t n_bytes)
{
    return is_refused(&allocations) ? NULL : __real_edt_mem_realloc(kind, block, n_bytes);
}

char *__wrap_edt_mem_strdup(edt_mem_kind kind, const char *text)
{
    return is_refused(&allocations) ? NULL : __real_edt_mem_strdup(kind, text);
}

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*run)(void *),
                          void *arg)
{
    return is_refused(&threads) ? EAGAIN : __real_pthread_create(thread, attr, run, arg);
}

int __wrap_pthread_mutex_init(pthread_mutex_t *mutex, const pthread_mutexattr_t *attr)
{
    return is_refused(&locks) ? ENOMEM : __real_pthread_mutex_init(mutex, attr);
}

int __wrap_pthread_cond_init(pthread_cond_t *cond, const pthread_condattr_t *attr)
{
    return is_refused(&locks) ? ENOMEM : __real_pthread_cond_init(cond, attr);
}

ssize_t __wrap_pread(int fd, void *out, size_t n_bytes, off_t offset)
{
    if (!is_refused(&reads)) {
        return __real_pread(fd, out, n_bytes, offset);
    }
    switch (read_kind) {
    case READ_EIO: errno = EIO; return -1;
    case READ_EINTR: errno = EINTR; return -1;
    case READ_EOF: return 0;
    default: return __real_pread(fd, out, n_bytes > 1 ? n_bytes / 2 : n_bytes, offset);
    }
}

enum { N_RECORDS = 7, N_BATCHES = 4 };

static char root[256], shard[300], stream[320], report[300], cache[300];

// The same records as one gzip stream, which is read in order only.
static void write_stream(const edt_span *payloads)
{
    edt_error err = {0};
    char prefix[280];
    edt_shard_writer *writer = NULL;
    (void)snprintf(prefix, sizeof prefix, "%s/stream", root);
    (void)snprintf(stream, sizeof stream, "%s-00000-of-00001%s", prefix,
                   edt_shard_compression_suffix(EDT_SHARD_COMPRESS_GZIP));
    const edt_shard_writer_options options = {
        .prefix = prefix, .n_shards = 1, .compression = EDT_SHARD_COMPRESS_GZIP};
    cr_assert_eq(edt_shard_writer_open(&options, &err, &writer), EDT_OK, "%s", err.text);
    for (int i = 0; i < N_RECORDS; ++i) {
        const uint64_t at = edt_shard_writer_reserve(writer, 0, payloads[i].n_bytes);
        cr_assert_eq(edt_shard_writer_put(writer, 0, at, &payloads[i], 1, &err), EDT_OK);
    }
    cr_assert_eq(edt_shard_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    edt_shard_writer_close(writer);
}

static void set_up(void)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(shard, sizeof shard, "%s/some-00000-of-00001.tfrecord", root);
    (void)snprintf(report, sizeof report, "%s/quarantine.json", root);
    (void)snprintf(cache, sizeof cache, "%s/cache", root);
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/size_33x33.jpg"));
    edt_span payloads[N_RECORDS];
    for (int i = 0; i < N_RECORDS; ++i) {
        char id[8];
        (void)snprintf(id, sizeof id, "%d", 100 + i);
        const float boxes[8] = {0.1f, 0.2f, 0.7f, 0.9f, 0.3f, 0.1f, 0.6f, 0.5f};
        const int64_t labels[2] = {1 + i, 2};
        // Every third has no object: for negatives_ratio.
        payloads[i] = edt_test_make_example(jpeg, id, boxes, labels, i % 3 == 2 ? 0 : 2);
    }
    edt_test_write_shard(shard, payloads, N_RECORDS);
    write_stream(payloads);
    for (int i = 0; i < N_RECORDS; ++i) {
        edt_mem_free((void *)payloads[i].data);
    }
    edt_mem_free((void *)jpeg.data);
}

static void tear_down(void)
{
    edt_test_remove_tree(root);
}

TestSuite(loader_faults, .init = set_up, .fini = tear_down, .timeout = 300);

typedef struct scenario {
    const char *hparams; // beside image_size and classes
    bool has_cache, has_bad, is_stream;
} scenario;

static const scenario scenarios[] = {
    {.hparams = "on_bad_sample=fail"},
    {.hparams = "autoaugment_policy=v1,grid_mask=true,on_bad_sample=skip"},
    {.hparams = "shuffle=window,shuffle_window=3,on_bad_sample=substitute"},
    {.hparams = "mosaic_prob=0.7,mixup_prob=0.7,copy_paste_prob=0.7,on_bad_sample=skip"},
    {.hparams = "negatives_ratio=0.5"},
    {.hparams = "on_bad_sample=skip", .has_cache = true},
    {.hparams = "on_bad_sample=substitute,mixup_prob=0.5", .has_bad = true},
    {.hparams = "on_bad_sample=skip,mosaic_prob=1", .has_bad = true},
    {.hparams = "shuffle=window,shuffle_window=3,on_bad_sample=skip", .is_stream = true},
};
enum { N_SCENARIOS = sizeof scenarios / sizeof scenarios[0] };

typedef struct outcome {
    edt_status status;
    edt_error error;
    int n_batches;
    uint64_t hashes[N_BATCHES];
    int64_t n_bad;
} outcome;

static edt_hparams hparams_of(const scenario *s)
{
    char text[700];
    (void)snprintf(text, sizeof text, "image_size=32,%s%s%s", s->hparams,
                   s->has_cache ? ",decoded_cache=" : "", s->has_cache ? cache : "");
    return edt_test_loader_hparams(text);
}

// Creates, takes batches, destroys; `f`, unless NULL, refuses its call `k` in all of that.
static outcome run(const edt_hparams *hp, const scenario *s, fault *f, long long k,
                   bool for_good)
{
    outcome o = {.status = EDT_OK};
    edt_loader_options options = edt_test_train_options(s->is_stream ? stream : shard);
    options.batch_size = 3;
    options.quarantine_path = s->has_bad ? report : NULL;
    edt_loader *loader = NULL;
    if (s->has_cache) {
        edt_test_remove_tree(cache);
    }
    (void)unlink(report);
    if (f != NULL) {
        arm(f, k, for_good);
    }
    o.status = edt_loader_create(hp, &options, &o.error, &loader);
    while (o.status == EDT_OK && o.n_batches < N_BATCHES) {
        const edt_batch *batch;
        o.status = edt_loader_next(loader, &o.error, &batch);
        if (o.status == EDT_OK) {
            o.hashes[o.n_batches++] = edt_test_hash_batch(batch);
            edt_loader_release(loader, batch);
        }
    }
    o.n_bad = loader != NULL ? edt_loader_get_stats(loader).n_bad : 0;
    edt_loader_destroy(loader);
    return o;
}

// Spoils one record: its payload, not its framing.
static void spoil_shard(void)
{
    const edt_span file = edt_test_read_file(shard);
    uint8_t *at = memmem(file.data, file.n_bytes, "103", 3);
    cr_assert_not_null(at);
    *at ^= 0x20;
    FILE *out = fopen(shard, "wb");
    cr_assert(out != NULL && fwrite(file.data, 1, file.n_bytes, out) == file.n_bytes);
    cr_assert_eq(fclose(out), 0);
    edt_mem_free((void *)file.data);
}

// Call 1, 2, ... of `f` is refused until a run needs fewer calls than that. With `step` > 1
// only every so many.
static void refuse_each(const scenario *s, fault *f, edt_status want, bool for_good, int step)
{
    if (s->has_bad) {
        spoil_shard();
    }
    edt_hparams hp = hparams_of(s);
    const int64_t n_live = edt_mem_get_total().n_live;
    const outcome good = run(&hp, s, NULL, 0, false);
    cr_assert_eq(good.status, EDT_OK, "%s", good.error.text);
    cr_assert_eq(edt_mem_get_total().n_live, n_live, "%s: leaks without a fault", s->hparams);
    int n_failed = 0;
    bool has_refused = true;
    for (long long k = 1; has_refused; k += step) {
        const outcome o = run(&hp, s, f, k, for_good);
        has_refused = disarm(f);
        cr_assert_eq(edt_mem_get_total().n_live, n_live, "%s: call %d leaks after '%s'",
                     s->hparams, (int)k, o.error.text);
        cr_assert_eq(memcmp(o.hashes, good.hashes, (size_t)o.n_batches * sizeof o.hashes[0]), 0,
                     "%s: call %d changes a batch", s->hparams, (int)k);
        if (o.status == EDT_OK) {
            cr_assert_eq(o.n_batches, N_BATCHES);
        } else {
            ++n_failed;
            cr_assert(o.status == want && has_refused, "%s: call %d: %s: '%s'", s->hparams,
                      (int)k, edt_status_name(o.status), o.error.text);
            cr_assert_neq(o.error.text[0], '\0');
        }
        cr_assert(s->has_bad || o.n_bad == 0, "%s: call %d makes a sample bad", s->hparams,
                  (int)k);
    }
    cr_expect_gt(n_failed, 0, "%s: nothing failed", s->hparams);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(root);
    set_up();
}

Test(loader_faults, every_allocation)
{
    for (int i = 0; i < N_SCENARIOS; ++i) {
        refuse_each(&scenarios[i], &allocations, EDT_ERR_NOMEM, false, 1);
    }
}

Test(loader_faults, memory_that_ends_for_good)
{
    for (int i = 0; i < N_SCENARIOS; ++i) {
        refuse_each(&scenarios[i], &allocations, EDT_ERR_NOMEM, true, 5);
    }
}

Test(loader_faults, every_thread)
{
    for (int i = 0; i < N_SCENARIOS; ++i) {
        refuse_each(&scenarios[i], &threads, EDT_ERR_IO, false, 1);
    }
}

Test(loader_faults, every_lock)
{
    for (int i = 0; i < N_SCENARIOS; ++i) {
        refuse_each(&scenarios[i], &locks, EDT_ERR_NOMEM, false, 1);
    }
}

Test(loader_faults, every_read_that_fails)
{
    read_kind = READ_EIO;
    for (int i = 0; i < N_SCENARIOS; ++i) {
        refuse_each(&scenarios[i], &reads, EDT_ERR_IO, false, 1);
    }
}

Test(loader_faults, every_read_that_finds_the_file_ended)
{
    read_kind = READ_EOF;
    for (int i = 0; i < N_SCENARIOS; ++i) {
        refuse_each(&scenarios[i], &reads, EDT_ERR_MISMATCH, false, 1);
    }
}

// Reads that are interrupted or come in pieces are no faults at all.
Test(loader_faults, reads_in_pieces_change_nothing)
{
    static const read_fault kinds[] = {READ_SHORT, READ_EINTR};
    const scenario *s = &scenarios[0];
    edt_hparams hp = hparams_of(s);
    const outcome good = run(&hp, s, NULL, 0, false);
    for (int i = 0; i < 2; ++i) {
        read_kind = kinds[i];
        bool has_refused = true;
        for (long long k = 1; has_refused; ++k) {
            const outcome o = run(&hp, s, &reads, k, false);
            has_refused = disarm(&reads);
            cr_assert_eq(o.status, EDT_OK, "%s", o.error.text);
            cr_assert_eq(memcmp(o.hashes, good.hashes, sizeof o.hashes), 0);
        }
    }
    edt_hparams_deinit(&hp);
}
