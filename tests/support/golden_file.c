// Reads the safetensors layout (golden/model/README.md): 8-byte header length, JSON header,
// data. The header is a map of flat records, so a few scanning functions take the place of a
// parser.
#include "tests/support/golden_file.h"

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/arena.h"

typedef struct pair {
    const char *key, *value;
} pair;

struct golden_file {
    edt_arena arena;
    int n_tensors, n_metadata;
    golden_tensor *tensors;
    pair *metadata;
    const char *path;
};

enum { MAX_TENSORS = 8192, MAX_METADATA = 256 };

typedef struct scanner {
    golden_file *file;
    const char *at;
} scanner;

static void skip_space(scanner *s)
{
    while (*s->at == ' ' || *s->at == '\n' || *s->at == '\t') {
        s->at++;
    }
}

static bool take(scanner *s, char c)
{
    skip_space(s);
    if (*s->at != c) {
        return false;
    }
    s->at++;
    return true;
}

static void need(scanner *s, char c)
{
    cr_assert(take(s, c), "%s: '%c' expected at '%.20s'", s->file->path, c, s->at);
}

static const char *take_string(scanner *s)
{
    need(s, '"');
    const char *end = strchr(s->at, '"');
    while (end != NULL && end[-1] == '\\') {
        end = strchr(end + 1, '"');
    }
    cr_assert_not_null(end, "%s: unterminated string", s->file->path);
    char *text = edt_arena_alloc(&s->file->arena, (size_t)(end - s->at) + 1);
    char *to = text;
    while (*s->at != '"') {
        cr_assert_neq(*s->at, '\0', "%s: unterminated string", s->file->path);
        if (*s->at == '\\') {
            s->at++;
            cr_assert(strchr("\"\\/nt", *s->at) != NULL, "%s: escape \\%c", s->file->path,
                      *s->at);
            *to++ = (char)(*s->at == 'n' ? '\n' : *s->at == 't' ? '\t' : *s->at);
        } else {
            *to++ = *s->at;
        }
        s->at++;
    }
    s->at++;
    *to = '\0';
    return text;
}

static int take_numbers(scanner *s, int64_t *out, int n_max)
{
    int n = 0;
    need(s, '[');
    while (!take(s, ']')) {
        cr_assert_lt(n, n_max, "%s: more numbers than expected", s->file->path);
        char *end = NULL;
        skip_space(s);
        out[n++] = strtoll(s->at, &end, 10);
        cr_assert_neq(end, s->at, "%s: a number is missing", s->file->path);
        s->at = end;
        (void)take(s, ',');
    }
    return n;
}

static edt_dtype parse_dtype(const char *text)
{
    static const struct {
        const char *text;
        edt_dtype dtype;
    } names[] = {{"F32", EDT_DTYPE_F32}, {"F64", EDT_DTYPE_F64}, {"I32", EDT_DTYPE_I32},
                 {"I64", EDT_DTYPE_I64}, {"U8", EDT_DTYPE_U8},   {"BOOL", EDT_DTYPE_BOOL}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(names[i].text, text) == 0) {
            return names[i].dtype;
        }
    }
    return EDT_DTYPE_NONE;
}

static void take_tensor(scanner *s, const char *name, const char *data, int64_t n_data)
{
    golden_file *file = s->file;
    cr_assert_lt(file->n_tensors, MAX_TENSORS);
    golden_tensor *tensor = &file->tensors[file->n_tensors++];
    tensor->name = name;
    int64_t range[2] = {0, 0};
    need(s, '{');
    do {
        const char *key = take_string(s);
        need(s, ':');
        if (strcmp(key, "dtype") == 0) {
            tensor->dtype = parse_dtype(take_string(s));
        } else if (strcmp(key, "shape") == 0) {
            tensor->shape.n_dims = take_numbers(s, tensor->shape.dim, EDT_MAX_DIMS);
        } else {
            cr_assert_str_eq(key, "data_offsets");
            cr_assert_eq(take_numbers(s, range, 2), 2);
        }
    } while (take(s, ','));
    need(s, '}');
    const edt_tensor_desc desc = {.dtype = tensor->dtype, .shape = tensor->shape};
    cr_assert(tensor->dtype != EDT_DTYPE_NONE && range[0] >= 0 && range[1] <= n_data &&
                  range[1] - range[0] == (int64_t)edt_tensor_bytes(&desc),
              "%s: tensor %s", file->path, name);
    // A copy, because the file aligns nothing.
    void *copy = edt_arena_alloc(&file->arena, (size_t)(range[1] - range[0]) + 1);
    memcpy(copy, data + range[0], (size_t)(range[1] - range[0]));
    tensor->data = copy;
}

static void take_metadata(scanner *s)
{
    need(s, '{');
    if (take(s, '}')) {
        return;
    }
    do {
        cr_assert_lt(s->file->n_metadata, MAX_METADATA);
        pair *entry = &s->file->metadata[s->file->n_metadata++];
        entry->key = take_string(s);
        need(s, ':');
        entry->value = take_string(s);
    } while (take(s, ','));
    need(s, '}');
}

golden_file *golden_open(const char *path)
{
    FILE *stream = fopen(path, "rb");
    cr_assert_not_null(stream, "%s cannot be opened", path);
    fseek(stream, 0, SEEK_END);
    const int64_t n_bytes = ftell(stream);
    rewind(stream);
    char *bytes = edt_mem_alloc(EDT_MEM_MISC, (size_t)n_bytes + 1);
    cr_assert_eq(fread(bytes, 1, (size_t)n_bytes, stream), (size_t)n_bytes, "%s", path);
    fclose(stream);

    golden_file *file = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *file);
    edt_arena_init(&file->arena, EDT_MEM_MISC, (size_t)1 << 20);
    file->path = edt_arena_strdup(&file->arena, path);
    file->tensors = edt_arena_calloc(&file->arena, MAX_TENSORS, sizeof *file->tensors);
    file->metadata = edt_arena_calloc(&file->arena, MAX_METADATA, sizeof *file->metadata);
    uint64_t n_header = 0;
    cr_assert_gt(n_bytes, 8);
    memcpy(&n_header, bytes, 8);
    cr_assert_leq(n_header, (uint64_t)n_bytes - 8, "%s: header of %llu bytes", path,
                  (unsigned long long)n_header);
    char *header = edt_mem_alloc(EDT_MEM_MISC, n_header + 1);
    memcpy(header, bytes + 8, n_header);
    header[n_header] = '\0';
    scanner s = {.file = file, .at = header};
    need(&s, '{');
    do {
        const char *name = take_string(&s);
        need(&s, ':');
        if (strcmp(name, "__metadata__") == 0) {
            take_metadata(&s);
        } else {
            take_tensor(&s, name, bytes + 8 + n_header, n_bytes - 8 - (int64_t)n_header);
        }
    } while (take(&s, ','));
    need(&s, '}');
    edt_mem_free(header);
    edt_mem_free(bytes);
    return file;
}

void golden_close(golden_file *file)
{
    if (file != NULL) {
        edt_arena_deinit(&file->arena);
        edt_mem_free(file);
    }
}

const char *golden_path(const golden_file *file)
{
    return file->path;
}

int golden_count(const golden_file *file)
{
    return file->n_tensors;
}

const golden_tensor *golden_at(const golden_file *file, int i_tensor)
{
    return &file->tensors[i_tensor];
}

const golden_tensor *golden_find(const golden_file *file, const char *name)
{
    for (int i = 0; i < file->n_tensors; i++) {
        if (strcmp(file->tensors[i].name, name) == 0) {
            return &file->tensors[i];
        }
    }
    return NULL;
}

const char *golden_metadata(const golden_file *file, const char *key)
{
    for (int i = 0; i < file->n_metadata; i++) {
        if (strcmp(file->metadata[i].key, key) == 0) {
            return file->metadata[i].value;
        }
    }
    return NULL;
}
