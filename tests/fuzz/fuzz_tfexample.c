// Messages of arbitrary bytes: no overrun; what is read can be written, and reads back the
// same.
#include <stdlib.h>
#include <string.h>

#include "dataio/example.h"
#include "dataio/tfexample.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static edt_span join(const edt_tfexample_pieces *pieces, edt_arena *arena)
{
    uint8_t *joined = edt_arena_alloc(arena, pieces->n_bytes + 1);
    if (joined == NULL) {
        abort();
    }
    size_t at = 0;
    for (size_t i = 0; i < pieces->n_pieces; ++i) {
        memcpy(joined + at, pieces->pieces[i].data, pieces->pieces[i].n_bytes);
        at += pieces->pieces[i].n_bytes;
    }
    return (edt_span){joined, at};
}

static bool equal_values(const edt_feature *a, const edt_feature *b)
{
    if (a->kind != b->kind || a->n != b->n) {
        return false;
    }
    switch (a->kind) {
    case EDT_FEATURE_INT64: return memcmp(a->value.ints, b->value.ints, 8 * a->n) == 0;
    case EDT_FEATURE_FLOAT: return memcmp(a->value.floats, b->value.floats, 4 * a->n) == 0;
    default: break;
    }
    for (size_t i = 0; i < a->n; ++i) {
        const edt_span x = a->value.bytes[i];
        const edt_span y = b->value.bytes[i];
        if (x.n_bytes != y.n_bytes ||
            (x.n_bytes > 0 && memcmp(x.data, y.data, x.n_bytes) != 0)) {
            return false;
        }
    }
    return true;
}

static void check_round_trip(const edt_tfexample *message, edt_arena *arena)
{
    edt_feature *features = edt_arena_calloc(arena, message->n_entries + 1, sizeof *features);
    for (size_t i = 0; i < message->n_entries; ++i) {
        const edt_text key = message->entries[i].key;
        if (edt_tfexample_decode(&message->entries[i], arena, NULL, &features[i]) != EDT_OK ||
            key.n_bytes == 0 || memchr(key.data, '\0', key.n_bytes) != NULL) {
            return;
        }
    }
    edt_tfexample_pieces pieces;
    edt_tfexample again;
    if (edt_tfexample_write(features, message->n_entries, arena, NULL, &pieces) != EDT_OK ||
        edt_tfexample_parse(join(&pieces, arena), arena, NULL, &again) != EDT_OK ||
        again.n_entries != message->n_entries) {
        abort();
    }
    for (size_t i = 0; i < again.n_entries; ++i) {
        edt_feature feature;
        if (edt_tfexample_decode(&again.entries[i], arena, NULL, &feature) != EDT_OK ||
            !equal_values(&feature, &features[i])) {
            abort();
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const edt_span payload = {data, n};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_error err = {0};
    edt_tfexample message;
    if (edt_tfexample_parse(payload, &arena, &err, &message) == EDT_OK) {
        check_round_trip(&message, &arena);
    } else if (err.text[0] == '\0') {
        abort();
    }
    edt_example example;
    if (edt_example_decode(payload, EDT_EXAMPLE_MASKS | EDT_EXAMPLE_TEXTS, &arena, NULL,
                           &example) == EDT_OK) {
        volatile float sum = 0;
        for (int64_t i = 0; i < example.n_boxes; ++i) {
            sum = sum + example.boxes[4 * i + 3] + example.area[i] + (float)example.labels[i];
        }
    }
    edt_arena_deinit(&arena);
    return 0;
}

static edt_text text(const char *s)
{
    return (edt_text){s, strlen(s)};
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const int64_t ints[] = {1, -1, 300};
    static const float floats[] = {0.25f, 0.5f, 1.0f};
    static const edt_span bytes[] = {
        {(const uint8_t *)"abc", 3}, {(const uint8_t *)"", 0}, {(const uint8_t *)"de", 2}};
    const size_t n = (size_t)i; // values per list
    const edt_feature features[] = {
        {.key = text("image/encoded"), .kind = EDT_FEATURE_BYTES, .n = 1, .value.bytes = bytes},
        {.key = text("image/source_id"),
         .kind = EDT_FEATURE_BYTES,
         .n = 1,
         .value.bytes = bytes},
        {.key = text("image/height"), .kind = EDT_FEATURE_INT64, .n = 1, .value.ints = ints},
        {.key = text("image/object/bbox/xmin"),
         .kind = EDT_FEATURE_FLOAT,
         .n = n,
         .value.floats = floats},
        {.key = text("image/object/bbox/xmax"),
         .kind = EDT_FEATURE_FLOAT,
         .n = n,
         .value.floats = floats},
        {.key = text("image/object/bbox/ymin"),
         .kind = EDT_FEATURE_FLOAT,
         .n = n,
         .value.floats = floats},
        {.key = text("image/object/bbox/ymax"),
         .kind = EDT_FEATURE_FLOAT,
         .n = n,
         .value.floats = floats},
        {.key = text("image/object/area"),
         .kind = EDT_FEATURE_FLOAT,
         .n = n,
         .value.floats = floats},
        {.key = text("image/object/class/label"),
         .kind = EDT_FEATURE_INT64,
         .n = n,
         .value.ints = ints},
        {.key = text("image/object/is_crowd"),
         .kind = EDT_FEATURE_INT64,
         .n = n,
         .value.ints = ints},
        {.key = text("image/object/class/text"),
         .kind = EDT_FEATURE_BYTES,
         .n = n,
         .value.bytes = bytes},
    };
    if (i > 3) {
        return 0;
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_tfexample_pieces pieces;
    size_t n_bytes = 0;
    if (edt_tfexample_write(features, sizeof features / sizeof *features, &arena, NULL,
                            &pieces) == EDT_OK &&
        pieces.n_bytes <= cap) {
        n_bytes = pieces.n_bytes;
        memcpy(out, join(&pieces, &arena).data, n_bytes);
    }
    edt_arena_deinit(&arena);
    return n_bytes;
}
