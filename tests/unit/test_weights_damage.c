// Damaged weight files of each kind: nothing crashes, nothing takes memory that the file does
// not justify, every refusal names the file.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/safetensors.h"
#include "model/io/object_graph.h"
#include "model/io/tensor_stats.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"
#include "model/io/weights.h"
#include "tests/support/test_dirs.h"

enum { N_MUTATIONS = 250, CONST_BYTES = 4 << 20, MAX_FILE = 1 << 16 };

static uint64_t state = 88172645463325252U;

static size_t draw(size_t n)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % n;
}

static size_t mutate(uint8_t *data, size_t n)
{
    for (size_t k = 1 + draw(4); k > 0 && n > 0; --k) {
        const size_t at = draw(n);
        size_t run = 1 + draw(16);
        run = run < n - at ? run : n - at;
        switch (draw(6)) {
        case 0: data[at] = (uint8_t)draw(256); break;
        case 1: data[at] ^= (uint8_t)(1U << draw(8)); break;
        case 2: n = at; break;
        case 3: memset(data + at, draw(2) == 0 ? 0 : 0xff, run); break;
        case 4:
            memmove(data + at, data + at + run, n - at - run);
            n -= run;
            break;
        default: // two bytes change places
        {
            const size_t other = draw(n);
            const uint8_t byte = data[at];
            data[at] = data[other];
            data[other] = byte;
        }
        }
    }
    return n;
}

static void write_bytes(const char *path, const void *data, size_t n)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file, "%s", path);
    cr_assert_eq(fwrite(data, 1, n, file), n);
    cr_assert_eq(fclose(file), 0);
}

static bool is_refusal(edt_status status)
{
    return status == EDT_ERR_FORMAT || status == EDT_ERR_CORRUPT ||
           status == EDT_ERR_UNSUPPORTED || status == EDT_ERR_NOT_FOUND;
}

// Opens and reads everything; true when nothing was wrong.
static bool try_all(const char *path)
{
    edt_weights *weights = NULL;
    edt_error err = {0};
    const edt_status status = edt_weights_open(path, &err, &weights);
    if (status != EDT_OK) {
        cr_assert(is_refusal(status), "%d: %s", status, err.text);
        cr_assert_not_null(strstr(err.text, path), "%s", err.text);
        return false;
    }
    bool is_sound = true;
    for (int i = 0; i < edt_weights_count(weights); ++i) {
        edt_tensor_stats stats;
        err = (edt_error){0};
        const edt_status read = edt_tensor_stats_read(weights, i, &err, &stats);
        cr_assert(read == EDT_OK || is_refusal(read), "%d: %s", read, err.text);
        is_sound = is_sound && read != EDT_ERR_CORRUPT;
    }
    edt_weights_close(weights);
    return is_sound;
}

// Mutations of one file of the checkpoint `path`; returns how many went unnoticed.
static int damage(const char *path, const char *file)
{
    char *whole = NULL;
    size_t n = 0;
    edt_error err = {0};
    cr_assert_eq(edt_file_read(file, MAX_FILE, &err, &whole, &n), EDT_OK, "%s", err.text);
    uint8_t *data = malloc(n);
    int n_unnoticed = 0;
    const int64_t before = edt_mem_get_total().live_bytes;
    for (int i = 0; i < N_MUTATIONS; ++i) {
        memcpy(data, whole, n);
        const size_t left = mutate(data, n);
        const bool is_same = left == n && memcmp(data, whole, n) == 0;
        write_bytes(file, data, left);
        n_unnoticed += try_all(path) && !is_same;
    }
    // Every cut at the end is noticed.
    for (size_t cut = 1; cut < n; cut += 1 + cut / 2) {
        write_bytes(file, whole, n - cut);
        cr_expect_not(try_all(path), "%s without its last %zu bytes", file, cut);
    }
    const int64_t peak = edt_mem_get_total().peak_bytes - before;
    cr_expect_leq(peak, (int64_t)(2 * n) + CONST_BYTES, "%lld bytes for %zu", (long long)peak,
                  n);
    write_bytes(file, whole, n);
    cr_assert(try_all(path));
    free(data);
    edt_mem_free(whole);
    return n_unnoticed;
}

static const float VALUES[64] = {1, 2, 3};

static void write_bundle(const char *prefix, bool objects)
{
    edt_error err = {0};
    edt_tf_bundle_writer *writer = NULL;
    edt_object_graph *graph = NULL;
    cr_assert_eq(edt_tf_bundle_writer_create(prefix, &err, &writer), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_object_graph_create(&err, &graph), EDT_OK);
    for (int i = 0; i < 40; ++i) {
        char path[64], key[128];
        int object;
        (void)snprintf(path, sizeof path, "layers/%02d/kernel", i);
        (void)snprintf(key, sizeof key, "%s%s", path, objects ? EDT_OBJECT_VALUE_SUFFIX : "");
        const edt_tensor_desc desc = {EDT_DTYPE_F32, edt_shape_2(1 + i % 8, 8)};
        cr_assert_eq(edt_object_graph_add(graph, path, path, &err, &object), EDT_OK);
        cr_assert_eq(edt_tf_bundle_writer_add(writer, key, &desc, VALUES, &err), EDT_OK);
    }
    edt_text message;
    cr_assert_eq(edt_object_graph_pack(graph, &err, &message), EDT_OK);
    if (objects) {
        cr_assert_eq(edt_tf_bundle_writer_add_strings(writer, EDT_OBJECT_GRAPH_KEY,
                                                      &(edt_shape){0}, &message, &err),
                     EDT_OK);
    }
    cr_assert_eq(edt_tf_bundle_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    edt_object_graph_destroy(graph);
    edt_tf_bundle_writer_destroy(writer);
}

Test(weights_damage, bundles_by_name_and_of_objects, .timeout = 60)
{
    for (int k = 0; k < 2; ++k) {
        char dir[256], prefix[512], file[600];
        (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
        (void)snprintf(prefix, sizeof prefix, "%s/m", dir);
        write_bundle(prefix, k == 1);
        // The footer has padding and a handle that nobody needs; all else is checked.
        (void)snprintf(file, sizeof file, "%s.index", prefix);
        const int n_index = damage(prefix, file);
        cr_expect_leq(n_index, N_MUTATIONS / 20, "%d", n_index);
        (void)snprintf(file, sizeof file, "%s.data-00000-of-00001", prefix);
        cr_expect_eq(damage(prefix, file), 0);
        edt_test_remove_tree(dir);
    }
}

Test(weights_damage, safetensors_files, .timeout = 60)
{
    char dir[256], path[512];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    (void)snprintf(path, sizeof path, "%s/m.safetensors", dir);
    edt_safetensors_item items[40];
    char names[40][32];
    for (int i = 0; i < 40; ++i) {
        (void)snprintf(names[i], sizeof names[i], "layers/%02d/kernel", i);
        items[i] =
            (edt_safetensors_item){.name = names[i],
                                   .desc = {EDT_DTYPE_F32, edt_shape_2(1 + i % 8, 8)},
                                   .data = {(const uint8_t *)VALUES, (size_t)(1 + i % 8) * 32}};
    }
    edt_error err = {0};
    cr_assert_eq(edt_safetensors_write(path, items, 40, NULL, 0, &err), EDT_OK);
    // The format has no checksums: other values and names are other weights.
    (void)damage(path, path);
    static const struct {
        uint8_t n_header[8]; // all zero: the right one
        const char *json, *word;
    } absurd[] = {
        {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, "{}", "281474976710655 bytes"},
        {{0, 0, 0, 0, 0, 0, 0, 8}, "{\"a\":{}}", "576460752303423488"}, // big-endian
        {{0},
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[9007199254740991],\"data_offsets\":[0,0]}}",
         "F32[9007199254740991] needs another number"},
        {{0},
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
         "F32[4294967296,4294967296] needs"},
        {{0},
         "{\"a\":{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,0]}}",
         "-1 is negative"},
    };
    for (size_t i = 0; i < sizeof absurd / sizeof absurd[0]; ++i) {
        uint8_t data[256] = {0};
        static const uint8_t right[8];
        const size_t n = strlen(absurd[i].json);
        memcpy(data, absurd[i].n_header, 8);
        data[0] = memcmp(data, right, 8) == 0 ? (uint8_t)n : data[0];
        memcpy(data + 8, absurd[i].json, n);
        write_bytes(path, data, 8 + n);
        edt_weights *weights = NULL;
        cr_expect_eq(edt_weights_open(path, &err, &weights), EDT_ERR_FORMAT);
        cr_expect_not_null(strstr(err.text, absurd[i].word), "%s", err.text);
        cr_expect_not_null(strstr(err.text, path), "%s", err.text);
    }
    edt_test_remove_tree(dir);
}

static void write_index(const char *prefix, const edt_tf_header *header,
                        const edt_tf_entry *entry)
{
    edt_tf_table_writer *writer = NULL;
    edt_tf_bytes message = {0};
    edt_error err = {0};
    edt_span table;
    char path[600];
    cr_assert_eq(edt_tf_table_writer_create(0, &err, &writer), EDT_OK);
    cr_assert_eq(edt_tf_header_pack(header, &message, &err), EDT_OK);
    cr_assert_eq(edt_tf_table_writer_add(writer, (edt_span){0},
                                         (edt_span){message.data, message.n_bytes}, &err),
                 EDT_OK);
    message.n_bytes = 0;
    cr_assert_eq(edt_tf_entry_pack(entry, &message, &err), EDT_OK);
    cr_assert_eq(edt_tf_table_writer_add(writer, (edt_span){(const uint8_t *)"a", 1},
                                         (edt_span){message.data, message.n_bytes}, &err),
                 EDT_OK);
    cr_assert_eq(edt_tf_table_writer_finish(writer, &err, &table), EDT_OK);
    (void)snprintf(path, sizeof path, "%s.index", prefix);
    write_bytes(path, table.data, table.n_bytes);
    edt_tf_bytes_deinit(&message);
    edt_tf_table_writer_destroy(writer);
}

Test(weights_damage, absurd_entries_of_bundles_are_refused_with_what_they_say, .timeout = 30)
{
    const int64_t huge = INT64_C(1) << 40;
    const struct {
        edt_tf_header header;
        edt_tf_entry entry;
        const char *word;
    } rows[] = {
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(4), .n_bytes = 16, .offset = 8},
         "'a' wants 16 bytes from byte 8 on, the file has 16"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(huge), .n_bytes = 4 * huge},
         "'a' wants 4398046511104 bytes"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(huge), .n_bytes = 16},
         "'a' has 16 bytes, its shape wants 4398046511104"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_2(huge, huge), .n_bytes = 16},
         "'a' has an impossible shape"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(-4), .n_bytes = -16},
         "'a' has an impossible shape"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(4), .n_bytes = 16, .offset = -8},
         "'a' lies at byte -8"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(4), .n_bytes = 16, .shard = 7},
         "'a' lies in data file 7 of 1"},
        {{2000000000, false}, {.dtype = EDT_DTYPE_F32, .n_bytes = 4}, "2000000000 data files"},
        {{-1, false}, {.dtype = EDT_DTYPE_F32, .n_bytes = 4}, "-1 data files"},
        {{99999, false}, {.dtype = EDT_DTYPE_F32, .n_bytes = 4}, "m.data-00000-of-99999"},
        {{1, false},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(4), .n_bytes = 16},
         "checksum of tensor 'a'"},
        {{1, true},
         {.dtype = EDT_DTYPE_F32, .shape = edt_shape_1(4), .n_bytes = 16},
         "checksum of tensor 'a'"},
    };
    char dir[256], prefix[512], path[600];
    (void)snprintf(dir, sizeof dir, "%s", edt_test_temp_dir());
    (void)snprintf(prefix, sizeof prefix, "%s/m", dir);
    (void)snprintf(path, sizeof path, "%s.data-00000-of-00001", prefix);
    write_bytes(path, VALUES, 16);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        write_index(prefix, &rows[i].header, &rows[i].entry);
        edt_weights *weights = NULL;
        edt_error err = {0};
        edt_status status = edt_weights_open(prefix, &err, &weights);
        if (status == EDT_OK) {
            edt_tensor_stats stats;
            status = edt_tensor_stats_read(weights, 0, &err, &stats);
            edt_weights_close(weights);
        }
        cr_expect(is_refusal(status), "row %zu: %d", i, status);
        cr_expect_not_null(strstr(err.text, rows[i].word), "row %zu: %s", i, err.text);
        cr_expect_not_null(strstr(err.text, prefix), "%s", err.text);
    }
    edt_test_remove_tree(dir);
}
