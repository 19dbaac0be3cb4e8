// Lists of names in attributes of HDF5 objects, and what reading and writing share of the
// library.
#include <stdio.h>
#include <string.h>

#include "model/io/h5_wire.h"
#include "model/io/hdf5/hdf5_priv.h"
#include "model/io/hdf5/hdf5_program.h"

enum { MAX_LIST_BYTES = 64 << 20, MAX_SPLITS = 10000 };

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for the lists of an HDF5 file");
}

edt_status edt_hdf5_version(int text_fd, edt_error *err)
{
    unsigned major = 0, minor = 0, release = 0;
    if (H5get_libversion(&major, &minor, &release) < 0 ||
        dprintf(text_fd, "%u.%u.%u", major, minor, release) < 0) {
        EDT_FAIL(err, EDT_ERR_IO, "the HDF5 library does not tell its version");
    }
    return EDT_OK;
}

hid_t edt_hdf5_access(int fd, char path[static EDT_HDF5_PATH_BYTES])
{
    (void)snprintf(path, EDT_HDF5_PATH_BYTES, "/proc/self/fd/%d", fd);
    const hid_t access = H5Pcreate(H5P_FILE_ACCESS);
    // Some file systems have no locks, and nobody writes this file meanwhile.
#if H5_VERSION_GE(1, 12, 1) ||                                                                 \
    (H5_VERS_MAJOR == 1 && H5_VERS_MINOR == 10 && H5_VERS_RELEASE >= 7)
    (void)H5Pset_file_locking(access, 0, 1);
#endif
    return access;
}

// The last words of the library's own account: the place where it found something wrong.
static herr_t keep_words(unsigned n, const H5E_error2_t *entry, void *ctx)
{
    (void)n;
    char *words = ctx;
    if (entry->desc != NULL && entry->desc[0] != '\0') {
        (void)snprintf(words, EDT_HDF5_WORDS_BYTES, "%s", entry->desc);
    }
    return 0;
}

const char *edt_hdf5_words(char words[EDT_HDF5_WORDS_BYTES])
{
    (void)snprintf(words, EDT_HDF5_WORDS_BYTES, "no reason given");
    (void)H5Ewalk2(H5E_DEFAULT, H5E_WALK_DOWNWARD, keep_words, words);
    return words;
}

edt_status edt_hdf5_damaged(edt_error *err, const char *what, const char *name)
{
    char words[EDT_HDF5_WORDS_BYTES];
    EDT_FAIL(err, EDT_ERR_CORRUPT, "%s '%.300s' cannot be read: %s; damaged?", what, name,
             edt_hdf5_words(words));
}

static edt_status add_name(edt_arena *arena, edt_hdf5_names *list, int64_t *cap,
                           const char *text, size_t n, edt_error *err)
{
    if (list->n == *cap) {
        const int64_t grown_cap = *cap == 0 ? 64 : *cap * 2;
        char **grown = edt_arena_calloc(arena, (size_t)grown_cap, sizeof *grown);
        if (grown == NULL) {
            return no_memory(err);
        }
        if (list->n > 0) {
            memcpy(grown, list->names, (size_t)list->n * sizeof *grown);
        }
        list->names = grown;
        *cap = grown_cap;
    }
    if (n > EDT_H5_MAX_NAME) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "a name has %zu bytes, at most %d are allowed", n,
                 EDT_H5_MAX_NAME);
    }
    char *name = edt_arena_strndup(arena, text, n);
    if (name == NULL) {
        return no_memory(err);
    }
    list->names[list->n++] = name;
    return EDT_OK;
}

static edt_status read_fixed_texts(edt_arena *arena, hid_t attribute, hid_t type,
                                   size_t n_texts, const char *what, edt_hdf5_names *list,
                                   int64_t *cap, edt_error *err)
{
    const size_t width = H5Tget_size(type);
    if (width == 0 || n_texts > MAX_LIST_BYTES / width) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "attribute '%s': %zu texts of %zu bytes are too much",
                 what, n_texts, width);
    }
    char *texts = edt_arena_calloc(arena, n_texts + 1, width);
    if (texts == NULL) {
        return no_memory(err);
    }
    if (H5Aread(attribute, type, texts) < 0) {
        return edt_hdf5_damaged(err, "attribute", what);
    }
    const bool has_blanks = H5Tget_strpad(type) == H5T_STR_SPACEPAD;
    for (size_t i = 0; i < n_texts; ++i) {
        const char *text = texts + i * width;
        size_t n = strnlen(text, width);
        while (has_blanks && n > 0 && text[n - 1] == ' ') {
            --n;
        }
        EDT_TRY(add_name(arena, list, cap, text, n, err));
    }
    return EDT_OK;
}

static edt_status read_free_texts(edt_arena *arena, hid_t attribute, hid_t type, hid_t space,
                                  size_t n_texts, const char *what, edt_hdf5_names *list,
                                  int64_t *cap, edt_error *err)
{
    char **texts = edt_arena_calloc(arena, n_texts + 1, sizeof *texts);
    if (texts == NULL) {
        return no_memory(err);
    }
    const hid_t memory = H5Tcopy(H5T_C_S1);
    edt_status status = EDT_OK;
    if (memory < 0 || H5Tset_size(memory, H5T_VARIABLE) < 0 ||
        H5Tset_cset(memory, H5Tget_cset(type)) < 0 || H5Aread(attribute, memory, texts) < 0) {
        status = edt_hdf5_damaged(err, "attribute", what);
    } else {
        for (size_t i = 0; status == EDT_OK && i < n_texts; ++i) {
            const char *text = texts[i] != NULL ? texts[i] : "";
            status = add_name(arena, list, cap, text, strlen(text), err);
        }
        (void)H5Dvlen_reclaim(memory, space, H5P_DEFAULT, texts);
    }
    (void)H5Tclose(memory);
    return status;
}

static edt_status read_attribute(edt_arena *arena, hid_t object, const char *what,
                                 edt_hdf5_names *list, int64_t *cap, edt_error *err)
{
    const hid_t attribute = H5Aopen(object, what, H5P_DEFAULT);
    const hid_t type = attribute < 0 ? -1 : H5Aget_type(attribute);
    const hid_t space = type < 0 ? -1 : H5Aget_space(attribute);
    const hssize_t n = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    edt_status status = EDT_OK;
    if (n < 0) {
        status = edt_hdf5_damaged(err, "attribute", what);
    } else if (n > EDT_H5_MAX_TENSORS) {
        status = edt_error_set(err, EDT_ERR_FORMAT,
                               "attribute '%s' lists %lld names, at most "
                               "%d are allowed",
                               what, (long long)n, EDT_H5_MAX_TENSORS);
    } else if (n > 0 && H5Tget_class(type) != H5T_STRING) {
        // Without elements any type will do: h5py stores an empty list as numbers.
        status = edt_error_set(err, EDT_ERR_FORMAT, "attribute '%s' is no list of texts", what);
    } else if (n > 0 && H5Tis_variable_str(type) > 0) {
        status =
            read_free_texts(arena, attribute, type, space, (size_t)n, what, list, cap, err);
    } else if (n > 0) {
        status = read_fixed_texts(arena, attribute, type, (size_t)n, what, list, cap, err);
    }
    (void)H5Sclose(space);
    (void)H5Tclose(type);
    (void)H5Aclose(attribute);
    return status;
}

bool edt_hdf5_has_names(hid_t object, const char *what)
{
    char first[64];
    (void)snprintf(first, sizeof first, "%s0", what);
    return H5Aexists(object, what) > 0 || H5Aexists(object, first) > 0;
}

edt_status edt_hdf5_read_names(edt_arena *arena, hid_t object, const char *what, edt_error *err,
                               edt_hdf5_names *out_list)
{
    edt_hdf5_names list = {0};
    int64_t cap = 0;
    if (H5Aexists(object, what) > 0) {
        EDT_TRY(read_attribute(arena, object, what, &list, &cap, err));
    } else {
        for (int i = 0; i < MAX_SPLITS; ++i) {
            char part[64];
            (void)snprintf(part, sizeof part, "%s%d", what, i);
            if (H5Aexists(object, part) <= 0) {
                break;
            }
            EDT_TRY(read_attribute(arena, object, part, &list, &cap, err));
        }
    }
    if (list.n > EDT_H5_MAX_TENSORS) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "'%s' lists %lld names, at most %d are allowed", what,
                 (long long)list.n, EDT_H5_MAX_TENSORS);
    }
    *out_list = list;
    return EDT_OK;
}
