// What a file of weights is, by its first and last bytes. See weights_priv.h.
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/path.h"
#include "model/io/tf_table_format.h"
#include "model/io/weights_priv.h"

enum { HEAD_BYTES = 32, MAX_USER_BLOCK = 1 << 20 };

static const uint8_t HDF5_MAGIC[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};

static bool has_bytes(FILE *file, long at, int whence, const uint8_t *want, size_t n)
{
    uint8_t have[HEAD_BYTES];
    return fseek(file, at, whence) == 0 && fread(have, 1, n, file) == n &&
           memcmp(have, want, n) == 0;
}

// The superblock lies at the beginning or behind a user block of 512 bytes times a power of
// two.
int64_t edt_weights_find_hdf5(int fd)
{
    for (int64_t at = 0; at <= MAX_USER_BLOCK; at = at == 0 ? 512 : 2 * at) {
        uint8_t have[sizeof HDF5_MAGIC];
        ssize_t n;
        do {
            n = pread(fd, have, sizeof have, at);
        } while (n < 0 && errno == EINTR);
        if (n != (ssize_t)sizeof have) {
            return -1;
        }
        if (memcmp(have, HDF5_MAGIC, sizeof have) == 0) {
            return at;
        }
    }
    return -1;
}

// What people take for weights, by the first bytes.
static const struct {
    size_t at;
    const char *magic;
    const char *text;
} FOREIGN[] = {
    {0, "\x1f\x8b", "a gzip archive: unpack it and name the folder"},
    {0, "PK\x03\x04",
     "a zip archive, as PyTorch and Keras 3 save models: save the weights as .h5 or "
     ".safetensors there"},
    {0, "BZh", "a bzip2 archive: unpack it"},
    {257, "ustar", "a tar archive: unpack it and name the folder"},
    {0, "\x80\x02",
     "a Python pickle, as PyTorch saved models: save the weights as .safetensors "
     "there"},
    {0, "version https://git-lfs", "a pointer of git-lfs: fetch the file itself"},
    {0, "<!DOCTYPE", "a web page, not what was to be downloaded: fetch the file itself"},
    {0, "<!doctype", "a web page, not what was to be downloaded: fetch the file itself"},
    {0, "<html", "a web page, not what was to be downloaded: fetch the file itself"},
    {0, "<?xml", "an answer of a server, not what was to be downloaded: fetch the file itself"},
    {0, "model_checkpoint_path:",
     "the list of a folder's checkpoints: name the folder, or one of them by its prefix"},
    {4, "TFL3",
     "a TensorFlow Lite model, whose weights are not read: take the checkpoint it "
     "was made from"},
};

// What the file is called in FOREIGN, or NULL.
static const char *foreign_text(FILE *file)
{
    for (size_t i = 0; i < sizeof FOREIGN / sizeof FOREIGN[0]; ++i) {
        if (has_bytes(file, (long)FOREIGN[i].at, SEEK_SET, (const uint8_t *)FOREIGN[i].magic,
                      strlen(FOREIGN[i].magic))) {
            return FOREIGN[i].text;
        }
    }
    return NULL;
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
    if (stat(path, &info) != 0 || !S_ISREG(info.st_mode)) {
        return EDT_WEIGHTS_KIND_NONE;
    }
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return EDT_WEIGHTS_KIND_OTHER; // edt_weights_refuse says why
    }
    uint8_t head[HEAD_BYTES] = {0};
    const size_t n_head = fread(head, 1, sizeof head, file);
    edt_weights_kind kind = EDT_WEIGHTS_KIND_OTHER;
    if (edt_weights_find_hdf5(fileno(file)) >= 0) {
        kind = EDT_WEIGHTS_KIND_H5;
    } else if (is_index(file)) {
        kind = EDT_WEIGHTS_KIND_INDEX;
    } else if (n_head > 8 && head[8] == '{' && head[6] == 0 && head[7] == 0) {
        kind = EDT_WEIGHTS_KIND_SAFETENSORS;
    } else if (n_head == 0 || foreign_text(file) != NULL) { // whatever its name says
        kind = EDT_WEIGHTS_KIND_OTHER;
    } else if (edt_path_has_suffix(path, ".safetensors")) { // damaged: its reader says how
        kind = EDT_WEIGHTS_KIND_SAFETENSORS;
    } else if (edt_path_has_suffix(path, ".h5") || edt_path_has_suffix(path, ".hdf5") ||
               edt_path_has_suffix(path, ".keras")) {
        kind = EDT_WEIGHTS_KIND_H5;
    }
    (void)fclose(file);
    return kind;
}

edt_status edt_weights_refuse(const char *path, edt_error *err)
{
    uint8_t head[4] = {0};
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot open '%s'", path);
    }
    const char *foreign = foreign_text(file);
    rewind(file);
    const size_t n = fread(head, 1, sizeof head, file);
    (void)fclose(file);
    if (foreign != NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s is %s", path, foreign);
    }
    if (n == 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s is empty: no file of weights; fetch it again", path);
    }
    EDT_FAIL(
        err, EDT_ERR_FORMAT,
        "%s (it begins with %02x %02x %02x %02x) is no file of weights: neither HDF5 nor "
        "safetensors, and no TensorFlow checkpoint has this prefix (%s.index is not there)",
        path, head[0], head[1], head[2], head[3], path);
}
