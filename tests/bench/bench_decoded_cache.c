// Speed of a decoded cache of pictures of COCO's usual size, from the page cache, one thread:
// storing, the first use of each picture in a process (its CRC is checked), later ones, and the
// same compressed. All pixels are read, in random order. Ceilings of the same run: the same
// bytes read from a plain mapping, new or used before. One JSON line each.
//   bench_decoded_cache [PICTURES]   (default 1000: 0.92 GB)
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/mem.h"
#include "dataio/decoded_cache.h"

enum { H = 480, W = 640, PICTURE_BYTES = H * W * 3, N_PASSES = 5 };

typedef struct bench {
    char dir[512];
    int64_t n_pictures;
    int zstd_level;
    edt_decoded_cache *cache;
    edt_decoded_reader *reader;
    const uint8_t *map; // of the file of pixels
    uint64_t sum;       // keeps the work from being optimised away
} bench;

typedef edt_status pass_function(bench *b, edt_error *err);

static int compare_f64(const void *a, const void *b)
{
    const double x = *(const double *)a;
    const double y = *(const double *)b;
    return (x > y) - (x < y);
}

// Stores the best rate in pictures/s.
static edt_status measure(const char *what, pass_function *before, pass_function *pass,
                          bench *b, edt_error *err, double *out_rate)
{
    double rates[N_PASSES];
    for (int i = 0; i < N_PASSES; ++i) {
        if (before != NULL) {
            EDT_TRY(before(b, err));
        }
        const double begin = edt_clock_now_s();
        EDT_TRY(pass(b, err));
        rates[i] = (double)b->n_pictures / (edt_clock_now_s() - begin);
    }
    qsort(rates, N_PASSES, sizeof rates[0], compare_f64);
    *out_rate = rates[N_PASSES - 1];
    printf("{\"what\":\"%s\",\"value\":%.0f,\"median\":%.0f,\"unit\":\"pictures/s\","
           "\"gb_per_s\":%.2f,\"threads\":1,\"pictures\":%" PRId64 ",\"bytes\":%d}\n",
           what, rates[N_PASSES - 1], rates[N_PASSES / 2],
           rates[N_PASSES - 1] * PICTURE_BYTES * 1e-9, b->n_pictures, PICTURE_BYTES);
    return EDT_OK;
}

static int64_t at_random(const bench *b, int64_t i)
{
    return (int64_t)(((uint64_t)i * 2654435761u + 12345) % (uint64_t)b->n_pictures);
}

static uint64_t sum_of(const uint8_t *bytes)
{
    uint64_t sum[8] = {0};
    for (size_t at = 0; at < PICTURE_BYTES; at += 64) {
        uint64_t words[8];
        memcpy(words, bytes + at, sizeof words);
        for (int k = 0; k < 8; ++k) {
            sum[k] += words[k];
        }
    }
    return sum[0] ^ sum[1] ^ sum[2] ^ sum[3] ^ sum[4] ^ sum[5] ^ sum[6] ^ sum[7];
}

static edt_status map_again(bench *b, edt_error *err)
{
    char path[600];
    (void)snprintf(path, sizeof path, "%s/decoded.pixels", b->dir);
    const size_t n = (size_t)b->n_pictures * PICTURE_BYTES;
    if (b->map != NULL) {
        (void)munmap((void *)(uintptr_t)b->map, n);
    }
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    void *map = fd >= 0 ? mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (map == MAP_FAILED) {
        EDT_FAIL(err, EDT_ERR_IO, "cannot map %s", path);
    }
    (void)close(fd);
    b->map = map;
    return EDT_OK;
}

static edt_status pass_mapping(bench *b, edt_error *err)
{
    (void)err;
    for (int64_t i = 0; i < b->n_pictures; ++i) {
        b->sum += sum_of(b->map + at_random(b, i) * PICTURE_BYTES);
    }
    return EDT_OK;
}

static edt_status open_again(bench *b, edt_error *err)
{
    edt_decoded_reader_destroy(b->reader);
    edt_decoded_cache_close(b->cache);
    b->reader = NULL;
    b->cache = NULL;
    const edt_decoded_cache_options options = {.path = b->dir,
                                               .zstd_level = b->zstd_level,
                                               .fingerprint = "bench",
                                               .transform = edt_decoded_transform(false)};
    EDT_TRY(edt_decoded_cache_open(&options, err, &b->cache));
    return edt_decoded_reader_create(b->cache, err, &b->reader);
}

static edt_status get_all(bench *b, bool reads, edt_error *err)
{
    for (int64_t i = 0; i < b->n_pictures; ++i) {
        bool found;
        edt_image image;
        EDT_TRY(edt_decoded_get(b->reader, at_random(b, i), err, &found, &image));
        if (!found) {
            EDT_FAIL(err, EDT_ERR_NOT_FOUND, "picture %" PRId64 " is not there", i);
        }
        b->sum += reads ? sum_of(image.data) : image.data[0];
    }
    return EDT_OK;
}

static edt_status pass_hits(bench *b, edt_error *err)
{
    return get_all(b, true, err);
}

static edt_status pass_lookups(bench *b, edt_error *err)
{
    return get_all(b, false, err);
}

static void close_and_remove(bench *b)
{
    static const char *const files[] = {"decoded.mdb", "decoded.mdb-lock", "decoded.seal",
                                        "decoded.pixels", "decoded.cache"};
    edt_decoded_reader_destroy(b->reader);
    edt_decoded_cache_close(b->cache);
    b->reader = NULL;
    b->cache = NULL;
    for (size_t i = 0; i < sizeof files / sizeof files[0]; ++i) {
        char path[600];
        (void)snprintf(path, sizeof path, "%s/%s", b->dir, files[i]);
        (void)unlink(path);
    }
}

static edt_status empty_cache(bench *b, edt_error *err)
{
    close_and_remove(b);
    return open_again(b, err);
}

// Smooth with some noise, as photographs are to a compressor.
static edt_status pass_store(bench *b, edt_error *err)
{
    static uint8_t pixels[PICTURE_BYTES];
    uint64_t state = 88172645463325252u;
    for (size_t k = 0; k < PICTURE_BYTES; ++k) {
        state = state * 6364136223846793005u + 1442695040888963407u;
        pixels[k] = (uint8_t)(k / 3 % W / 64 + k / 3 / W / 64 + (state >> 62));
    }
    const edt_image image = {.data = pixels, .h = H, .w = W, .stride = W * 3};
    for (int64_t i = 0; i < b->n_pictures; ++i) {
        pixels[i % PICTURE_BYTES] ^= 1;
        if (!edt_decoded_put_wait(b->cache, i, &image)) {
            EDT_FAIL(err, EDT_ERR_IO, "picture %" PRId64 " was not stored", i);
        }
    }
    edt_decoded_flush(b->cache);
    return EDT_OK;
}

static edt_status run(bench *b, edt_error *err)
{
    double ceiling_first;
    double ceiling;
    double first;
    double hits;
    double ignored;
    EDT_TRY(measure("decoded cache: store", empty_cache, pass_store, b, err, &ignored));
    EDT_TRY(
        measure("plain mapping: first use", map_again, pass_mapping, b, err, &ceiling_first));
    EDT_TRY(measure("decoded cache: first use", open_again, pass_hits, b, err, &first));
    EDT_TRY(measure("plain mapping: later use", NULL, pass_mapping, b, err, &ceiling));
    EDT_TRY(measure("decoded cache: later use", NULL, pass_hits, b, err, &hits));
    EDT_TRY(measure("decoded cache: look-up alone", NULL, pass_lookups, b, err, &ignored));
    printf("{\"what\":\"later use over plain mapping\",\"value\":%.3f,\"unit\":\"ratio\"}\n",
           hits / ceiling);
    printf("{\"what\":\"first use over plain mapping\",\"value\":%.3f,\"unit\":\"ratio\"}\n",
           first / ceiling_first);
    b->zstd_level = 1;
    EDT_TRY(measure("decoded cache, zstd 1: store", empty_cache, pass_store, b, err, &ignored));
    return measure("decoded cache, zstd 1: later use", NULL, pass_hits, b, err, &ignored);
}

int main(int argc, char **argv)
{
    bench b = {.n_pictures = argc > 1 ? strtoll(argv[1], NULL, 10) : 1000};
    edt_error err = {0};
    const char *tmp = getenv("TMPDIR");
    (void)snprintf(b.dir, sizeof b.dir, "%s/bench_decoded_cache.XXXXXX",
                   tmp != NULL ? tmp : "/tmp");
    if (b.n_pictures < 1 || mkdtemp(b.dir) == NULL) {
        (void)fprintf(stderr, "no directory %s\n", b.dir);
        return 1;
    }
    const edt_status status = run(&b, &err);
    if (status != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    close_and_remove(&b);
    (void)rmdir(b.dir);
    return b.sum == 1 ? 2 : edt_status_exit_code(status);
}
