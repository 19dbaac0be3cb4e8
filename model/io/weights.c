// Lists of stored tensors and how they are found in them; which container a path means. See
// weights.h and weights_priv.h.
#include "model/io/weights.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "model/io/checkpoint.h"
#include "model/io/weights_priv.h"

edt_status edt_weights_create(const char *path, edt_weights_format format,
                              const edt_weights_ops *ops, edt_error *err,
                              edt_weights **out_weights)
{
    edt_weights *weights = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *weights);
    if (weights == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", path);
    }
    weights->ops = ops;
    weights->format = format;
    edt_arena_init(&weights->arena, EDT_MEM_TEXT, 0);
    weights->path = edt_arena_strdup(&weights->arena, path);
    if (weights->path == NULL) {
        edt_weights_close(weights);
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", path);
    }
    *out_weights = weights;
    return EDT_OK;
}

void edt_weights_close(edt_weights *weights)
{
    if (weights == NULL) {
        return;
    }
    if (weights->state != NULL) {
        weights->ops->close(weights->state);
    }
    edt_mem_free(weights->by_key);
    edt_mem_free(weights->by_path);
    edt_mem_free(weights->by_name);
    edt_mem_free(weights->items);
    edt_arena_deinit(&weights->arena);
    edt_mem_free(weights);
}

edt_status edt_weights_push(edt_weights *weights, const edt_weights_item *item, edt_error *err)
{
    if (weights->n_items == weights->cap_items) {
        if (weights->cap_items > INT_MAX / 2) {
            EDT_FAIL(err, EDT_ERR_FORMAT, "%s: more than %d tensors", weights->path,
                     weights->cap_items);
        }
        const int cap = weights->cap_items == 0 ? 256 : 2 * weights->cap_items;
        edt_weights_item *grown =
            edt_mem_realloc(EDT_MEM_TEXT, weights->items, (size_t)cap * sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", weights->path);
        }
        weights->items = grown;
        weights->cap_items = cap;
    }
    weights->items[weights->n_items++] = *item;
    return EDT_OK;
}

typedef const char *text_of_fn(const edt_weights_item *item);

static const char *name_of(const edt_weights_item *item)
{
    return item->name;
}

static const char *path_of(const edt_weights_item *item)
{
    return item->object_path;
}

static const char *key_of(const edt_weights_item *item)
{
    return item->key;
}

typedef struct sort_row {
    const char *text;
    int i_item;
} sort_row;

// By text, items without one first; equal texts in the order stored.
static int compare_rows(const void *left, const void *right)
{
    const sort_row *a = left, *b = right;
    if (a->text != NULL && b->text != NULL) {
        const int order = strcmp(a->text, b->text);
        if (order != 0) {
            return order;
        }
    } else if (a->text != b->text) {
        return a->text == NULL ? -1 : 1;
    }
    return a->i_item < b->i_item ? -1 : 1;
}

static edt_status make_index(const edt_weights *weights, text_of_fn *text_of, edt_error *err,
                             int **out_index)
{
    const size_t n = (size_t)weights->n_items;
    sort_row *rows = edt_mem_calloc(EDT_MEM_TEXT, n + 1, sizeof *rows);
    int *index = edt_mem_calloc(EDT_MEM_TEXT, n + 1, sizeof *index);
    if (rows == NULL || index == NULL) {
        edt_mem_free(rows);
        edt_mem_free(index);
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", weights->path);
    }
    for (size_t i = 0; i < n; ++i) {
        rows[i] = (sort_row){text_of(&weights->items[i]), (int)i};
    }
    qsort(rows, n, sizeof *rows, compare_rows);
    for (size_t i = 0; i < n; ++i) {
        index[i] = rows[i].i_item;
    }
    edt_mem_free(rows);
    *out_index = index;
    return EDT_OK;
}

edt_status edt_weights_seal(edt_weights *weights, edt_error *err)
{
    EDT_TRY(make_index(weights, name_of, err, &weights->by_name));
    EDT_TRY(make_index(weights, path_of, err, &weights->by_path));
    return make_index(weights, key_of, err, &weights->by_key);
}

static int find_in(const edt_weights *weights, const int *index, text_of_fn *text_of,
                   const char *text)
{
    int low = 0, high = weights->n_items; // the first one that is not smaller
    while (low < high) {
        const int middle = low + (high - low) / 2;
        const char *have = text_of(&weights->items[index[middle]]);
        if (have == NULL || strcmp(have, text) < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    if (low == weights->n_items) {
        return -1;
    }
    const char *found = text_of(&weights->items[index[low]]);
    return strcmp(found, text) == 0 ? index[low] : -1;
}

int edt_weights_find(const edt_weights *weights, const char *name)
{
    return find_in(weights, weights->by_name, name_of, name);
}

int edt_weights_find_key(const edt_weights *weights, const char *key)
{
    return find_in(weights, weights->by_key, key_of, key);
}

int edt_weights_find_path(const edt_weights *weights, const char *object_path)
{
    const int i = find_in(weights, weights->by_path, path_of, object_path);
    return i < 0 && weights->ops->find_path != NULL
               ? weights->ops->find_path(weights, object_path)
               : i;
}

const char *edt_weights_path(const edt_weights *weights)
{
    return weights->path;
}

edt_weights_format edt_weights_get_format(const edt_weights *weights)
{
    return weights->format;
}

const char *edt_weights_format_name(edt_weights_format format)
{
    static const char *const names[] = {
        [EDT_WEIGHTS_TF_NAMES] = "TensorFlow checkpoint",
        [EDT_WEIGHTS_TF_OBJECTS] = "object-based TensorFlow checkpoint",
        [EDT_WEIGHTS_KERAS_H5] = "Keras HDF5 file",
        [EDT_WEIGHTS_SAFETENSORS] = "safetensors file",
    };
    return names[format];
}

int edt_weights_count(const edt_weights *weights)
{
    return weights->n_items;
}

const edt_weights_item *edt_weights_get(const edt_weights *weights, int i_item)
{
    return &weights->items[i_item];
}

bool edt_weights_is_real(const edt_weights_item *item)
{
    return item->dtype == EDT_DTYPE_F32 || item->dtype == EDT_DTYPE_F64 ||
           item->dtype == EDT_DTYPE_BF16 || item->dtype == EDT_DTYPE_F16;
}

edt_status edt_weights_read(edt_weights *weights, int i_item, void *out, size_t n_bytes,
                            edt_error *err)
{
    const edt_weights_item *item = &weights->items[i_item];
    if (item->unreadable != NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s: tensor '%s' cannot be read: %s", weights->path,
                 item->key, item->unreadable);
    }
    if ((uint64_t)item->n_bytes != n_bytes) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "%s: tensor '%s' has %lld bytes, %zu are wanted",
                 weights->path, item->key, (long long)item->n_bytes, n_bytes);
    }
    return weights->ops->read(weights, i_item, out, err);
}

edt_status edt_weights_read_text(edt_weights *weights, const char *key, edt_arena *arena,
                                 edt_error *err, const char **out_text)
{
    const char *text = NULL;
    if (weights->ops->read_text != NULL) {
        EDT_TRY(weights->ops->read_text(weights, key, arena, err, &text));
    }
    if (text == NULL) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "%s: the file holds no text '%s'", weights->path, key);
    }
    *out_text = text;
    return EDT_OK;
}

// Length of `plain` where a part of a name is that with a number ("stem_1"), else 0.
static size_t without_number(const char *part, size_t n_part, const char *plain)
{
    const size_t n = strlen(plain);
    if (n_part < n + 2 || memcmp(part, plain, n) != 0 || part[n] != '_') {
        return 0;
    }
    for (size_t i = n + 1; i < n_part; ++i) {
        if (part[i] < '0' || part[i] > '9') {
            return 0;
        }
    }
    return n;
}

const char *edt_weights_canonical(edt_arena *arena, const char *text)
{
    size_t n = strlen(text);
    if (n > 2 && strcmp(text + n - 2, ":0") == 0) {
        n -= 2;
    }
    char *name = edt_arena_strndup(arena, text, n);
    if (name == NULL) {
        return NULL;
    }
    // The layers of the stem have no names of their own: Keras numbers them in a process that
    // has built other models before.
    const bool is_backbone = strncmp(text, "efficientnet-", 13) == 0;
    bool in_stem = false;
    size_t n_kept = 0;
    int i_part = 0;
    for (size_t at = 0; at < n; ++i_part) {
        const char *part = text + at;
        const char *slash = memchr(part, '/', n - at);
        const size_t n_part = slash != NULL ? (size_t)(slash - part) : n - at;
        size_t n_copied = n_part;
        if (is_backbone && slash != NULL && i_part == 1) {
            const size_t n_plain = without_number(part, n_part, "stem");
            in_stem = n_plain > 0 || (n_part == 4 && memcmp(part, "stem", 4) == 0);
            n_copied = n_plain > 0 ? n_plain : n_part;
        } else if (in_stem && slash != NULL && i_part == 2) {
            const size_t n_plain = without_number(part, n_part, "conv2d");
            n_copied = n_plain > 0 ? n_plain : n_part;
        }
        at += n_part;
        if (slash == NULL || without_number(part, n_part, "replica") == 0) {
            memcpy(name + n_kept, part, n_copied);
            n_kept += n_copied;
            if (slash != NULL) {
                name[n_kept++] = '/';
            }
        }
        at += slash != NULL ? 1 : 0;
    }
    name[n_kept] = '\0';
    return name;
}

static edt_status open_resolved(const char *path, edt_error *err, edt_weights **out_weights)
{
    switch (edt_weights_kind_of(path)) {
    case EDT_WEIGHTS_KIND_SAFETENSORS:
        return edt_weights_open_safetensors(path, err, out_weights);
    case EDT_WEIGHTS_KIND_H5: return edt_weights_open_h5(path, err, out_weights);
    case EDT_WEIGHTS_KIND_NONE:
    case EDT_WEIGHTS_KIND_OTHER:
    case EDT_WEIGHTS_KIND_INDEX: break;
    }
    edt_tf_bundle *bundle = NULL;
    EDT_TRY(edt_tf_bundle_open(path, err, &bundle));
    return edt_weights_open_bundle(bundle, err, out_weights);
}

edt_status edt_weights_open(const char *path, edt_error *err, edt_weights **out_weights)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *resolved = NULL;
    edt_status status = edt_checkpoint_resolve(path, &arena, err, &resolved);
    if (status == EDT_OK) {
        status = open_resolved(resolved, err, out_weights);
    }
    edt_arena_deinit(&arena);
    return status;
}
