// The decoded cache in one process: what goes in comes out, in this run and the next; limits,
// other data sets, several users; and who may read while nothing can be written.
#include "dataio/decoded_cache.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/parallel.h"
#include "tests/support/test_decoded.h"
#include "tests/support/test_dirs.h"

enum { N = 60 };
static const char set_a[] = "aaaa";
static const char set_b[] = "bbbb";
static char base[512], path[520];

// The lines logged so far, one after another.
static char logged[4096];
static void keep_line(void *ctx, edt_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    const size_t n = strlen(logged);
    (void)snprintf(logged + n, sizeof logged - n, "%s\n", line);
}

static void set_up(void)
{
    (void)snprintf(base, sizeof base, "%s", edt_test_temp_dir());
    (void)snprintf(path, sizeof path, "%s/cache", base);
    logged[0] = '\0';
    edt_log_set_sink(keep_line, NULL);
}
static void tear_down(void)
{
    edt_log_set_sink(NULL, NULL);
    edt_test_remove_tree(base);
}
TestSuite(decoded_cache, .init = set_up, .fini = tear_down, .timeout = 60);

#define EXPECT_FOUND(cache, begin, end, right, missing)                                        \
    do {                                                                                       \
        const edt_test_found found = edt_test_read_cache(cache, begin, end);                   \
        cr_expect_eq(found.n_wrong, 0);                                                        \
        cr_expect_eq(found.n_right, right, "%lld right", (long long)found.n_right);            \
        cr_expect_eq(found.n_missing, missing, "%lld missing", (long long)found.n_missing);    \
    } while (0)

static edt_status try_open_at(const char *dir, const char *fingerprint, const char *transform,
                              edt_error *err)
{
    const edt_decoded_cache_options options = {
        .path = dir, .fingerprint = fingerprint, .transform = transform};
    edt_decoded_cache *cache = NULL;
    *err = (edt_error){0};
    const edt_status status = edt_decoded_cache_open(&options, err, &cache);
    edt_decoded_cache_close(cache);
    return status;
}

static edt_status try_open(const char *fingerprint, const char *transform, edt_error *err)
{
    return try_open_at(path, fingerprint, transform, err);
}

static void round_trip(int zstd_level)
{
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, zstd_level);
    EXPECT_FOUND(cache, 0, N, 0, N);
    edt_test_fill_cache(cache, 0, N);
    edt_decoded_flush(cache);
    EXPECT_FOUND(cache, 0, N + 3, N, 3);
    const edt_decoded_cache_stats stats = edt_decoded_cache_get_stats(cache);
    cr_expect_eq(stats.n_stored, N);
    cr_expect_eq(stats.n_entries, N);
    cr_expect_eq(stats.n_hits, N);
    cr_expect_eq(stats.n_misses, N + 3);
    edt_decoded_cache_close(cache);

    cache = edt_test_open_cache(path, set_a, 0, 0);
    EXPECT_FOUND(cache, 0, N, N, 0);
    cr_expect_eq(edt_decoded_cache_get_stats(cache).n_stored, 0);
    edt_decoded_cache_close(cache);
    cr_expect_str_empty(logged);
}

Test(decoded_cache, gives_back_what_was_put_in)
{
    round_trip(0);
}

Test(decoded_cache, gives_back_what_it_compressed)
{
    round_trip(3);
    struct stat st;
    int64_t n_raw = 0;
    for (int64_t i = 0; i < N; ++i) {
        n_raw += (1 + i * 37 % 211) * (1 + i * 53 % 307) * 3;
    }
    cr_assert_eq(stat(edt_test_path(path, "decoded.pixels"), &st), 0);
    cr_expect_lt(st.st_size, n_raw / 2);
}

Test(decoded_cache, keeps_one_picture_larger_than_its_queue)
{
    edt_image image = {.h = 5001, .w = 7001, .stride = 7001 * 3};
    image.data = edt_mem_calloc(EDT_MEM_IMAGE, 5001, 7001 * 3);
    cr_assert_not_null(image.data);
    image.data[5000 * 7001 * 3] = 77;
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    for (int64_t i = 0; i < 3; ++i) {
        cr_expect(edt_decoded_put_wait(cache, i, &image));
    }
    edt_decoded_flush(cache);
    edt_decoded_reader *reader = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_decoded_reader_create(cache, &err, &reader), EDT_OK);
    for (int64_t i = 0; i < 3; ++i) {
        bool found = false;
        edt_image got = {0};
        cr_assert_eq(edt_decoded_get(reader, i, &err, &found, &got), EDT_OK);
        cr_assert(found);
        cr_expect_arr_eq(got.data, image.data, (size_t)(image.h * image.stride));
    }
    edt_decoded_reader_destroy(reader);
    edt_decoded_cache_close(cache);
    edt_mem_free(image.data);
}

// Without waiting, what the writer has no time for is dropped, and comes again another time.
Test(decoded_cache, counts_what_it_has_no_time_for)
{
    enum { N_OFFERS = 120 };
    edt_image image = {.h = 577, .w = 1023, .stride = 1023 * 3};
    image.data = edt_mem_calloc(EDT_MEM_IMAGE, 577, 1023 * 3);
    cr_assert_not_null(image.data);
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    for (int64_t i = 0; i < N_OFFERS; ++i) {
        edt_decoded_put(cache, i, &image);
    }
    edt_decoded_flush(cache);
    const edt_decoded_cache_stats stats = edt_decoded_cache_get_stats(cache);
    cr_expect_gt(stats.n_stored, 0);
    cr_expect_eq(stats.n_stored + stats.n_refused, N_OFFERS);
    cr_expect_eq(stats.n_entries, stats.n_stored);
    for (int64_t i = 0; i < N_OFFERS; ++i) {
        cr_expect(edt_decoded_put_wait(cache, i, &image));
    }
    edt_decoded_flush(cache);
    cr_expect_eq(edt_decoded_cache_get_stats(cache).n_stored, N_OFFERS);
    edt_decoded_cache_close(cache);
    edt_mem_free(image.data);
}

typedef struct job {
    edt_decoded_cache *cache;
    edt_decoded_reader *readers[4];
    _Atomic int64_t n_hits;
} job;

// As loader threads do: look, else decode and offer.
static edt_status use(void *ctx, int worker, int64_t i, edt_error *err)
{
    job *j = ctx;
    bool found;
    edt_image image = {0};
    const int64_t index = i * 7 % N;
    EDT_TRY(edt_decoded_get(j->readers[worker], index, err, &found, &image));
    if (found) {
        j->n_hits += 1;
        return edt_test_is_picture(index, &image) ? EDT_OK : EDT_ERR_CORRUPT;
    }
    image = edt_test_picture(index, 0);
    edt_decoded_put(j->cache, index, &image);
    edt_mem_free(image.data);
    if (i % 50 == 0) {
        edt_decoded_flush(j->cache);
    }
    return EDT_OK;
}

Test(decoded_cache, serves_many_threads_at_once)
{
    edt_error err = {0};
    job j = {.cache = edt_test_open_cache(path, set_a, 0, 1)};
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(edt_decoded_reader_create(j.cache, &err, &j.readers[i]), EDT_OK);
    }
    cr_expect_eq(edt_parallel_for(4, N, use, &j, &err), EDT_OK, "%s", err.text);
    edt_decoded_flush(j.cache);
    cr_expect_eq(edt_parallel_for(4, N * 20, use, &j, &err), EDT_OK, "%s", err.text);
    edt_decoded_flush(j.cache);
    const int64_t n_hits = j.n_hits;
    cr_expect_eq(edt_parallel_for(4, N, use, &j, &err), EDT_OK, "%s", err.text);
    cr_expect_eq(j.n_hits - n_hits, N);
    for (int i = 0; i < 4; ++i) {
        edt_decoded_reader_destroy(j.readers[i]);
    }
    edt_decoded_cache_close(j.cache);
}

Test(decoded_cache, is_one_for_all_users_of_a_process)
{
    edt_error err = {0};
    edt_decoded_cache *first = edt_test_open_cache(path, set_a, 0, 0);
    edt_decoded_cache *second = edt_test_open_cache(edt_test_path(path, "."), set_a, 0, 0);
    cr_expect_eq(first, second);
    edt_test_fill_cache(first, 0, N);
    edt_decoded_cache_close(first);
    edt_decoded_flush(second);
    EXPECT_FOUND(second, 0, N, N, 0);
    cr_expect_eq(try_open(set_b, "rgb8", &err), EDT_ERR_MISMATCH);
    cr_expect_neq(strstr(err.text, set_a), NULL, "%s", err.text);
    cr_expect_eq(try_open(set_a, "rgb8 exif", &err), EDT_ERR_MISMATCH);
    cr_expect_neq(strstr(err.text, "another directory"), NULL, "%s", err.text);
    edt_decoded_cache_close(second);
}

Test(decoded_cache, is_emptied_for_another_data_set)
{
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    edt_test_fill_cache(cache, 0, N);
    edt_decoded_cache_close(cache);
    cr_expect_str_empty(logged);
    cache = edt_test_open_cache(path, set_b, 0, 0);
    cr_expect_neq(strstr(logged, set_a), NULL, "%s", logged);
    cr_expect_neq(strstr(logged, set_b), NULL, "%s", logged);
    cr_expect_eq(edt_decoded_cache_get_stats(cache).n_entries, 0);
    EXPECT_FOUND(cache, 0, N, 0, N);
    edt_test_fill_cache(cache, 5, 9);
    edt_decoded_flush(cache);
    EXPECT_FOUND(cache, 0, N, 4, N - 4);
    edt_decoded_cache_close(cache);
}

Test(decoded_cache, is_emptied_for_another_decoding)
{
    edt_error err = {0};
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, 0, 0);
    edt_test_fill_cache(cache, 0, N);
    edt_decoded_cache_close(cache);
    cr_expect_eq(try_open(set_a, edt_decoded_transform(true), &err), EDT_OK);
    cr_expect_neq(strstr(logged, "'rgb8', not 'rgb8 exif'"), NULL, "%s", logged);
    cache = edt_test_open_cache(path, set_a, 0, 0);
    EXPECT_FOUND(cache, 0, N, 0, N);
    edt_decoded_cache_close(cache);
}

Test(decoded_cache, stops_at_its_limit_and_says_so_once)
{
    const int64_t limit = 2000000;
    edt_decoded_cache *cache = edt_test_open_cache(path, set_a, limit, 0);
    cr_expect(edt_decoded_is_filling(cache));
    for (int64_t i = 0; i < 300; ++i) {
        const edt_image image = edt_test_picture(i, 0);
        edt_decoded_put(cache, i, &image);
        edt_mem_free(image.data);
        edt_decoded_flush(cache);
    }
    cr_expect_not(edt_decoded_is_filling(cache));
    const edt_decoded_cache_stats stats = edt_decoded_cache_get_stats(cache);
    cr_expect_gt(stats.n_bytes, limit * 8 / 10);
    cr_expect_leq(stats.n_bytes, limit);
    cr_expect_gt(stats.n_refused, 0);
    const char *words = strstr(logged, "limit");
    cr_expect_neq(words, NULL, "%s", logged);
    cr_expect_null(words != NULL ? strstr(words + 1, "limit") : NULL);
    EXPECT_FOUND(cache, 0, 300, stats.n_entries, 300 - stats.n_entries);
    edt_decoded_cache_close(cache);

    // With a higher limit it goes on.
    cache = edt_test_open_cache(path, set_a, 0, 0);
    EXPECT_FOUND(cache, 0, 300, stats.n_entries, 300 - stats.n_entries);
    edt_test_fill_cache(cache, 0, 300);
    edt_decoded_flush(cache);
    EXPECT_FOUND(cache, 0, 300, 300, 0);
    edt_decoded_cache_close(cache);
}

Test(decoded_cache, refuses_a_directory_that_holds_something_else)
{
    edt_error err = {0};
    cr_assert_eq(mkdir(path, 0777), 0);
    const char *file = edt_test_path(path, "thesis.txt");
    cr_assert_eq(edt_file_write(file, "x", 1, &err), EDT_OK);
    cr_expect_eq(try_open(set_a, "rgb8", &err), EDT_ERR_FORMAT);
    cr_expect_neq(strstr(err.text, "thesis.txt"), NULL, "%s", err.text);
    cr_expect(edt_test_exists(file));
    cr_expect_not(edt_test_exists(edt_test_path(path, "decoded.cache")));
    cr_expect_neq(try_open_at(file, set_a, "rgb8", &err), EDT_OK);
}

// Beside the cache, other files are left alone.
Test(decoded_cache, leaves_other_files_in_its_directory_alone)
{
    edt_error err = {0};
    cr_assert_eq(try_open(set_a, "rgb8", &err), EDT_OK);
    const char *file = edt_test_path(path, "notes.txt");
    cr_assert_eq(edt_file_write(file, "x", 1, &err), EDT_OK);
    cr_expect_eq(try_open(set_b, "rgb8", &err), EDT_OK, "%s", err.text);
    cr_expect(edt_test_exists(file));
}
