// Keras weight files as lists of weights. The HDF5 library reads them in a program of its own
// (h5_wire.h), so what a damaged file does to that library is an error here and no more. What
// can be told without it, that the file is cut, is told first.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/helper.h"
#include "core/mem.h"
#include "model/io/h5_wire.h"
#include "model/io/weights_priv.h"

enum { HEAD_BYTES = 64, TIMEOUT_S = 600 };

typedef struct h5_state {
    edt_h5_wire wire;
    edt_safetensors *image;
} h5_state;

static int open_file(const char *path)
{
    int fd;
    do {
        fd = open(path, O_RDONLY | O_CLOEXEC);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

static size_t read_head(int fd, int64_t at, uint8_t head[HEAD_BYTES])
{
    ssize_t n;
    do {
        n = pread(fd, head, HEAD_BYTES, at);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? 0 : (size_t)n;
}

static uint64_t read_u64(const uint8_t *bytes)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; --i) {
        value = value << 8 | bytes[i];
    }
    return value;
}

// The superblock: a version and a length that the file must have.
static edt_status check_head(int fd, const char *path, uint64_t n_bytes, edt_error *err)
{
    uint8_t head[HEAD_BYTES] = {0};
    const int64_t at = edt_weights_find_hdf5(fd);
    if (at < 0) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s is no HDF5 file: it does not begin with HDF5's mark",
                 path);
    }
    if (read_head(fd, at, head) < HEAD_BYTES) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "%s is cut: it has %" PRIu64 " bytes", path, n_bytes);
    }
    const unsigned version = head[8];
    if (version > 3) {
        EDT_FAIL(err, EDT_ERR_FORMAT, "%s: HDF5 superblock version %u is none of 0 to 3", path,
                 version);
    }
    const uint8_t n_address = version < 2 ? head[13] : head[9];
    if (n_address != 8) {
        return EDT_OK; // the library knows other widths
    }
    const size_t base_at = version == 0 ? 24 : version == 1 ? 28 : 12;
    const uint64_t base = read_u64(head + base_at);
    const uint64_t end = read_u64(head + base_at + 16);
    if (at == 0 && base == 0 && end > n_bytes) { // else the library has to see to it
        EDT_FAIL(err, EDT_ERR_CORRUPT,
                 "%s is cut or damaged: it has %" PRIu64 " bytes, its head says %" PRIu64, path,
                 n_bytes, end);
    }
    return EDT_OK;
}

static edt_status run_helper(int fd, const char *path, uint64_t n_bytes, edt_error *err,
                             h5_state *state)
{
    int image_fd = -1;
    EDT_TRY(edt_h5_wire_memory("edt_h5_image", err, &image_fd));
    const edt_helper_call call = {
        .program = EDT_H5_PROGRAM,
        .n_args = 1,
        .args = {EDT_H5_READ},
        .n_fds = 2,
        .fds = {image_fd, fd},
        .timeout_s = TIMEOUT_S + (double)n_bytes * 1e-6, // a slow network disk
    };
    bool died = false;
    edt_error why = {0};
    edt_status status = edt_helper_run(&call, &why, &died);
    if (status != EDT_OK) {
        status = died ? edt_error_set(err, EDT_ERR_CORRUPT,
                                      "the HDF5 library could not read %s (%s): damaged?", path,
                                      why.text)
                      : edt_error_set(err, status, "%s: %s", path, why.text);
    } else {
        status = edt_h5_wire_map(image_fd, err, &state->wire);
    }
    (void)close(image_fd);
    if (status == EDT_OK) {
        const edt_span bytes = {state->wire.data, state->wire.n_bytes};
        status = edt_safetensors_open_span(bytes, err, &state->image);
        if (status != EDT_OK) {
            status =
                edt_error_add_context(err, status, "%s, as the HDF5 library read it", path);
        }
    }
    return status;
}

static edt_status read_item(edt_weights *weights, int i_item, void *out, edt_error *err)
{
    (void)err;
    const h5_state *state = weights->state;
    const edt_span data = state->image->items[i_item].data;
    if (data.n_bytes > 0) {
        memcpy(out, data.data, data.n_bytes);
    }
    return EDT_OK;
}

static void close_state(void *opened)
{
    h5_state *state = opened;
    edt_safetensors_close(state->image);
    edt_h5_wire_unmap(&state->wire);
    edt_mem_free(state);
}

static const edt_weights_ops OPS = {.read = read_item, .close = close_state};

static edt_status push_items(edt_weights *weights, edt_error *err)
{
    const h5_state *state = weights->state;
    char meta[EDT_H5_MAX_NAME * 2 + 32];
    for (int64_t i = 0; i < state->image->n; ++i) {
        const edt_safetensors_item *stored = &state->image->items[i];
        edt_weights_item item = {.key = stored->name,
                                 .dtype = stored->desc.dtype,
                                 .shape = stored->desc.shape,
                                 .n_bytes = (int64_t)stored->data.n_bytes};
        (void)snprintf(meta, sizeof meta, EDT_H5_NAME "%s", stored->name);
        const char *name = edt_safetensors_meta_get(state->image, meta);
        (void)snprintf(meta, sizeof meta, EDT_H5_UNREADABLE "%s", stored->name);
        item.unreadable = edt_safetensors_meta_get(state->image, meta);
        if (item.unreadable != NULL) {
            item.dtype = EDT_DTYPE_NONE;
        }
        item.name = name == NULL ? NULL : edt_weights_canonical(&weights->arena, name);
        if (name != NULL && item.name == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", weights->path);
        }
        EDT_TRY(edt_weights_push(weights, &item, err));
    }
    return EDT_OK;
}

edt_status edt_weights_open_h5(const char *path, edt_error *err, edt_weights **out_weights)
{
    edt_weights *weights = NULL;
    edt_status status = EDT_OK;
    struct stat info;
    const int fd = open_file(path);
    if (fd < 0 || fstat(fd, &info) != 0) {
        status = edt_error_set_errno(err, errno == ENOENT ? EDT_ERR_NOT_FOUND : EDT_ERR_IO,
                                     errno, "cannot open '%s'", path);
        goto fail;
    }
    EDT_TRY_GOTO(check_head(fd, path, (uint64_t)info.st_size, err));
    EDT_TRY_GOTO(edt_weights_create(path, EDT_WEIGHTS_KERAS_H5, &OPS, err, &weights));
    weights->state = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof(h5_state));
    if (weights->state == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", path);
        goto fail;
    }
    EDT_TRY_GOTO(run_helper(fd, path, (uint64_t)info.st_size, err, weights->state));
    EDT_TRY_GOTO(push_items(weights, err));
    EDT_TRY_GOTO(edt_weights_seal(weights, err));
    (void)close(fd);
    *out_weights = weights;
    return EDT_OK;
fail:
    if (fd >= 0) {
        (void)close(fd);
    }
    edt_weights_close(weights);
    return status;
}
