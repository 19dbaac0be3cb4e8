// Checkpoint indexes from arbitrary bytes: the table scan and the two messages behind it. Every
// refusal must carry a message; what is accepted must be in order.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static edt_status visit(void *ctx, edt_span key, edt_span value, edt_error *err)
{
    edt_arena *arena = ctx;
    if (key.n_bytes == 0) {
        edt_tf_header header;
        return edt_tf_header_parse(value, "fuzz", err, &header);
    }
    edt_tf_entry entry;
    const edt_status status = edt_tf_entry_parse(key, value, "fuzz", arena, err, &entry);
    if (status == EDT_OK &&
        (entry.n_bytes < 0 || entry.offset < 0 || entry.shape.n_dims > EDT_MAX_DIMS) &&
        entry.unreadable == NULL) {
        abort();
    }
    return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_error err = {0};
    if (edt_tf_table_scan((edt_span){data, n}, "fuzz", visit, &arena, &err) != EDT_OK &&
        err.text[0] == '\0') {
        abort();
    }
    // Without the table around it: random bytes rarely pass the checksums.
    err = (edt_error){0};
    const edt_span all = {data, n};
    const edt_span name = {(const uint8_t *)"name", 4};
    if ((visit(&arena, name, all, &err) != EDT_OK && err.text[0] == '\0')) {
        abort();
    }
    (void)visit(&arena, (edt_span){data, 0}, all, &err);
    edt_arena_deinit(&arena);
    return 0;
}

static bool add(edt_tf_table_writer *writer, const char *key, const edt_tf_bytes *message)
{
    edt_error err = {0};
    return edt_tf_table_writer_add(writer, (edt_span){(const uint8_t *)key, strlen(key)},
                                   (edt_span){message->data, message->n_bytes}, &err) == EDT_OK;
}

static bool fill(edt_tf_table_writer *writer, int n_entries, edt_tf_bytes *message)
{
    edt_error err = {0};
    const edt_tf_header header = {.n_shards = 1};
    if (edt_tf_header_pack(&header, message, &err) != EDT_OK || !add(writer, "", message)) {
        return false;
    }
    for (int i = 0; i < n_entries; ++i) {
        const char name[] = {(char)('a' + i % 26), '/', (char)('a' + i / 26), '\0'};
        const char sorted[] = {name[2], name[1], name[0], '\0'};
        const edt_tf_entry entry = {.dtype = EDT_DTYPE_F32,
                                    .shape = edt_shape_4(3, 3, i + 1, 1),
                                    .n_bytes = 36 * (i + 1),
                                    .offset = 1000 * i,
                                    .masked_crc = 0x12345678U};
        message->n_bytes = 0;
        if (edt_tf_entry_pack(&entry, message, &err) != EDT_OK ||
            !add(writer, sorted, message)) {
            return false;
        }
    }
    return true;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const int n_entries[] = {0, 1, 40, 200};
    static const size_t block_bytes[] = {0, 0, 200, 1000};
    if (i < 0 || i >= 4) {
        return 0;
    }
    edt_tf_table_writer *writer = NULL;
    edt_tf_bytes message = {0};
    edt_error err = {0};
    edt_span file = {0};
    size_t n = 0;
    if (edt_tf_table_writer_create(block_bytes[i], &err, &writer) == EDT_OK &&
        fill(writer, n_entries[i], &message) &&
        edt_tf_table_writer_finish(writer, &err, &file) == EDT_OK && file.n_bytes <= cap) {
        memcpy(out, file.data, file.n_bytes);
        n = file.n_bytes;
    }
    edt_tf_bytes_deinit(&message);
    edt_tf_table_writer_destroy(writer);
    return n;
}
