// What a file of weights is, by its first and last bytes. See weights_priv.h.
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/path.h"
#include "model/io/tf_table_format.h"
#include "model/io/weights_priv.h"

enum { HEAD_BYTES = 16, MAX_USER_BLOCK = 1 << 20 };

static const uint8_t HDF5_MAGIC[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static bool has_bytes(FILE *file, long at, int whence, const uint8_t *want, size_t n)
{
    uint8_t have[HEAD_BYTES];
    return fseek(file, at, whence) == 0 && fread(have, 1, n, file) == n &&
           memcmp(have, want, n) == 0;
}

// The superblock lies at the beginning or behind a user block of 512 bytes times a power of
// two.
static bool is_hdf5(FILE *file)
{
    if (has_bytes(file, 0, SEEK_SET, HDF5_MAGIC, sizeof HDF5_MAGIC)) {
        return true;
    }
    for (long at = 512; at <= MAX_USER_BLOCK; at *= 2) {
        if (has_bytes(file, at, SEEK_SET, HDF5_MAGIC, sizeof HDF5_MAGIC)) {
            return true;
        }
    }
    return false;
}

static bool is_index(FILE *file)
{
    uint8_t magic[8];
    for (size_t i = 0; i < sizeof magic; ++i) {
        magic[i] = (uint8_t)(EDT_TF_TABLE_MAGIC >> (8 * i));
    }
    return has_bytes(file, -(long)sizeof magic, SEEK_END, magic, sizeof magic);
}

edt_weights_kind edt_weights_kind_of(const char *path)
{
    struct stat info;
    const bool is_file = stat(path, &info) == 0 && S_ISREG(info.st_mode);
    FILE *file = is_file ? fopen(path, "rb") : NULL;
    if (file == NULL) {
        return EDT_WEIGHTS_KIND_NONE;
    }
    uint8_t head[HEAD_BYTES] = {0};
    const size_t n_head = fread(head, 1, sizeof head, file);
    edt_weights_kind kind = EDT_WEIGHTS_KIND_OTHER;
    if (is_hdf5(file)) {
        kind = EDT_WEIGHTS_KIND_H5;
    } else if (is_index(file)) {
        kind = EDT_WEIGHTS_KIND_INDEX;
    } else if (n_head > 8 && head[8] == '{' && head[6] == 0 && head[7] == 0) {
        kind = EDT_WEIGHTS_KIND_SAFETENSORS;
    } else if (edt_path_has_suffix(path, ".safetensors")) { // damaged: its reader says how
        kind = EDT_WEIGHTS_KIND_SAFETENSORS;
    } else if (edt_path_has_suffix(path, ".h5") || edt_path_has_suffix(path, ".hdf5") ||
               edt_path_has_suffix(path, ".keras")) {
        kind = EDT_WEIGHTS_KIND_H5;
    }
    (void)fclose(file);
    return kind;
}

// What people take for weights, by the first bytes.
edt_status edt_weights_refuse(const char *path, edt_error *err)
{
    static const struct {
        const char *magic;
        const char *text;
    } known[] = {
        {"\x1f\x8b", "a gzip archive: unpack it and name the folder"},
        {"PK\x03\x04", "a zip archive, as PyTorch and Keras 3 save models: save the weights as "
                       ".h5 or .safetensors there"},
        {"BZh", "a bzip2 archive: unpack it"},
        {"version https://git-lfs", "a pointer of git-lfs: fetch the file itself"},
    };
    char head[32] = {0};
    FILE *file = fopen(path, "rb");
    const size_t n = file == NULL ? 0 : fread(head, 1, sizeof head - 1, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
        if (strncmp(head, known[i].magic, strlen(known[i].magic)) == 0) {
            EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s is %s", path, known[i].text);
        }
    }
    EDT_FAIL(
        err, EDT_ERR_FORMAT,
        "%s (it begins with %02x %02x %02x %02x) is no file of weights: neither HDF5 nor "
        "safetensors, and no TensorFlow checkpoint has this prefix (%s.index is not there)",
        path, n > 0 ? (uint8_t)head[0] : 0U, n > 1 ? (uint8_t)head[1] : 0U,
        n > 2 ? (uint8_t)head[2] : 0U, n > 3 ? (uint8_t)head[3] : 0U, path);
}
