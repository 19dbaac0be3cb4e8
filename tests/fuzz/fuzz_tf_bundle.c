// Whole bundles from arbitrary bytes, opened as weights and read to the last tensor. The input:
// a byte of flags, the length of the index in two, the index, the data file. The index is taken
// as it is, or (flag 1) as a list of keys and values that become a sound table, whose tensors'
// checksums are made right where possible (flag 2): what lies behind the checksums is reached.
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "model/io/tensor_stats.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"
#include "model/io/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { IS_LIST = 1, FIX_SUMS = 2 };

static char dir[64];

static void path_of(char path[128], const char *suffix)
{
    (void)snprintf(path, 128, "%s/m%s", dir, suffix);
}

static void remove_dir(void)
{
    char path[128];
    path_of(path, ".index");
    (void)unlink(path);
    path_of(path, ".data-00000-of-00001");
    (void)unlink(path);
    (void)rmdir(dir);
}

static void write_file(const char *suffix, edt_span bytes)
{
    if (dir[0] == '\0') {
        (void)snprintf(dir, sizeof dir, "%s/edt-fuzz-XXXXXX",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (mkdtemp(dir) == NULL || atexit(remove_dir) != 0) {
            abort();
        }
    }
    char path[128];
    path_of(path, suffix);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (fd < 0 ||
        (bytes.n_bytes > 0 && write(fd, bytes.data, bytes.n_bytes) != (ssize_t)bytes.n_bytes) ||
        close(fd) != 0) {
        abort();
    }
}

// The entry with the checksum of what it points at, where that lies in the data file.
static void fix_sum(edt_span key, edt_span file, edt_tf_bytes *value)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_error err = {0};
    edt_tf_entry entry;
    if (key.n_bytes > 0 &&
        edt_tf_entry_parse(key, (edt_span){value->data, value->n_bytes}, "fuzz", &arena, &err,
                           &entry) == EDT_OK &&
        entry.unreadable == NULL && entry.offset <= (int64_t)file.n_bytes &&
        entry.n_bytes <= (int64_t)file.n_bytes - entry.offset && entry.n_bytes > 0) {
        entry.masked_crc =
            edt_crc32c_mask(edt_crc32c(0, file.data + entry.offset, (size_t)entry.n_bytes));
        value->n_bytes = 0;
        if (edt_tf_entry_pack(&entry, value, &err) != EDT_OK) {
            abort();
        }
    }
    edt_arena_deinit(&arena);
}

// Keys that do not ascend are left out.
static void write_list(edt_span list, edt_span file, bool fixes)
{
    edt_tf_table_writer *writer = NULL;
    edt_error err = {0};
    edt_tf_bytes value = {0};
    if (edt_tf_table_writer_create(0, &err, &writer) != EDT_OK) {
        abort();
    }
    size_t at = 0;
    while (at + 2 <= list.n_bytes) {
        const size_t n_key = list.data[at], n_value = list.data[at + 1];
        at += 2;
        if (n_key + n_value > list.n_bytes - at) {
            break;
        }
        const edt_span key = {list.data + at, n_key};
        value.n_bytes = 0;
        if (!edt_tf_bytes_append(&value, list.data + at + n_key, n_value)) {
            abort();
        }
        if (fixes) {
            fix_sum(key, file, &value);
        }
        (void)edt_tf_table_writer_add(writer, key, (edt_span){value.data, value.n_bytes}, &err);
        at += n_key + n_value;
    }
    edt_span table = {0};
    if (edt_tf_table_writer_finish(writer, &err, &table) != EDT_OK) {
        abort();
    }
    write_file(".index", table);
    edt_tf_bytes_deinit(&value);
    edt_tf_table_writer_destroy(writer);
}

static void read_all(edt_weights *weights)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    for (int i = 0; i < edt_weights_count(weights); ++i) {
        const edt_weights_item *item = edt_weights_get(weights, i);
        edt_error err = {0};
        edt_tensor_stats stats;
        const char *text;
        if (edt_tensor_stats_read(weights, i, &err, &stats) != EDT_OK && err.text[0] == '\0') {
            abort();
        }
        if (edt_weights_find_key(weights, item->key) != i ||
            (item->name != NULL && edt_weights_find(weights, item->name) < 0) ||
            (item->object_path != NULL &&
             edt_weights_find_path(weights, item->object_path) < 0)) {
            abort();
        }
        err = (edt_error){0};
        if (edt_weights_read_text(weights, item->key, &arena, &err, &text) != EDT_OK &&
            err.text[0] == '\0') {
            abort();
        }
    }
    edt_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < 3) {
        return 0;
    }
    const size_t n_claimed = (size_t)data[1] | (size_t)data[2] << 8;
    const size_t n_index = n_claimed < n - 3 ? n_claimed : n - 3;
    const edt_span index = {data + 3, n_index}, file = {data + 3 + n_index, n - 3 - n_index};
    write_file(".data-00000-of-00001", file);
    if ((data[0] & IS_LIST) != 0) {
        write_list(index, file, (data[0] & FIX_SUMS) != 0);
    } else {
        write_file(".index", index);
    }
    char prefix[128];
    path_of(prefix, "");
    edt_error err = {0};
    edt_weights *weights = NULL;
    if (edt_weights_open(prefix, &err, &weights) == EDT_OK) {
        read_all(weights);
        edt_weights_close(weights);
    } else if (strstr(err.text, prefix) == NULL) {
        abort();
    }
    return 0;
}

static bool append_item(edt_tf_bytes *out, const char *key, const edt_tf_bytes *value)
{
    const uint8_t lengths[2] = {(uint8_t)strlen(key), (uint8_t)value->n_bytes};
    return edt_tf_bytes_append(out, lengths, 2) && edt_tf_bytes_append(out, key, strlen(key)) &&
           edt_tf_bytes_append(out, value->data, value->n_bytes);
}

static bool append_tensor(edt_tf_bytes *out, const char *key, const edt_tf_entry *entry)
{
    edt_tf_bytes value = {0};
    edt_error err = {0};
    const bool ok =
        edt_tf_entry_pack(entry, &value, &err) == EDT_OK && append_item(out, key, &value);
    edt_tf_bytes_deinit(&value);
    return ok;
}

// A text of one byte with its sums: "x" at byte 16 of the data.
static const uint8_t ONE_TEXT[6] = {1, 0, 0, 0, 0, 'x'};

static bool fill(edt_tf_bytes *list, bool big_endian)
{
    const edt_tf_header header = {.n_shards = 1, .big_endian = big_endian};
    edt_tf_bytes value = {0};
    edt_error err = {0};
    const bool ok =
        edt_tf_header_pack(&header, &value, &err) == EDT_OK && append_item(list, "", &value);
    edt_tf_bytes_deinit(&value);
    const edt_tf_entry entries[] = {
        {.dtype = EDT_DTYPE_F32, .shape = edt_shape_2(2, 2), .n_bytes = 16},
        {.dtype = EDT_DTYPE_F16, .shape = edt_shape_1(4), .n_bytes = 8, .offset = 8},
        {.is_string = true, .n_bytes = sizeof ONE_TEXT, .offset = 16},
        {.dtype = EDT_DTYPE_I64, .n_bytes = 8, .offset = 4},
    };
    return ok && append_tensor(list, "a/b", &entries[0]) &&
           append_tensor(list, "a/replica_1/c:0", &entries[1]) &&
           append_tensor(list, "edt/config", &entries[2]) &&
           append_tensor(list, "global_step", &entries[3]);
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    edt_tf_bytes list = {0};
    uint8_t file[16 + sizeof ONE_TEXT] = {0, 0, 0x80, 0x3f};
    memcpy(file + 16, ONE_TEXT, sizeof ONE_TEXT);
    const uint32_t crc = edt_crc32c_mask(edt_crc32c(0, (const uint8_t *)"\1\0\0\0", 4));
    memcpy(file + 17, &crc, 4);
    size_t n = 0;
    if (i < 2 && fill(&list, i == 1) && 3 + list.n_bytes + sizeof file <= cap) {
        out[0] = IS_LIST | FIX_SUMS;
        out[1] = (uint8_t)list.n_bytes;
        out[2] = (uint8_t)(list.n_bytes >> 8);
        memcpy(out + 3, list.data, list.n_bytes);
        memcpy(out + 3 + list.n_bytes, file, sizeof file);
        n = 3 + list.n_bytes + sizeof file;
    }
    edt_tf_bytes_deinit(&list);
    return n;
}
