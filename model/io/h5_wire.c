// See h5_wire.h. Elements are ordered by their size, so that all of them are aligned without
// gaps.
#include "model/io/h5_wire.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/json.h"

edt_status edt_h5_wire_memory(const char *name, edt_error *err, int *out_fd)
{
    const int fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot make a file in memory");
    }
    *out_fd = fd;
    return EDT_OK;
}

static void put_tensor(edt_json_writer *w, const edt_h5_tensor *tensor)
{
    char dtype[16] = {0};
    (void)snprintf(dtype, sizeof dtype, "%s", edt_dtype_name(tensor->desc.dtype));
    for (char *c = dtype; *c != '\0'; ++c) {
        *c = (char)toupper((unsigned char)*c);
    }
    edt_json_key(w, tensor->name);
    edt_json_begin_object(w);
    edt_json_put_text(w, "dtype", dtype);
    edt_json_key(w, "shape");
    edt_json_begin_array(w);
    for (int k = 0; k < tensor->desc.shape.n_dims; ++k) {
        edt_json_i64(w, tensor->desc.shape.dim[k]);
    }
    edt_json_end_array(w);
    edt_json_key(w, "data_offsets");
    edt_json_begin_array(w);
    edt_json_i64(w, (int64_t)tensor->begin);
    edt_json_i64(w, (int64_t)(tensor->begin + edt_tensor_bytes(&tensor->desc)));
    edt_json_end_array(w);
    edt_json_end_object(w);
}

// The header's text; total: bytes of all elements.
static edt_status make_header(edt_json_writer *w, edt_h5_tensor *tensors, int64_t n,
                              const edt_safetensors_meta *meta, int64_t n_meta, edt_error *err,
                              edt_text *out_text, uint64_t *out_total)
{
    uint64_t total = 0;
    edt_json_begin_object(w);
    edt_json_key(w, "__metadata__");
    edt_json_begin_object(w);
    for (int64_t i = 0; i < n_meta; ++i) {
        edt_json_put_text(w, meta[i].key, meta[i].value);
    }
    edt_json_end_object(w);
    for (size_t size = 8; size > 0; size /= 2) {
        for (int64_t i = 0; i < n; ++i) {
            if (edt_dtype_bytes(tensors[i].desc.dtype) == size) {
                tensors[i].begin = total;
                put_tensor(w, &tensors[i]);
                total += edt_tensor_bytes(&tensors[i].desc);
            }
        }
    }
    edt_json_end_object(w);
    *out_total = total;
    return edt_json_writer_finish(w, err, out_text);
}

edt_status edt_h5_wire_create(int fd, edt_h5_tensor *tensors, int64_t n,
                              const edt_safetensors_meta *meta, int64_t n_meta, edt_error *err,
                              edt_h5_wire *out_wire)
{
    enum { PREFIX_BYTES = 8 };
    edt_json_writer writer = {.compact = true};
    edt_text header;
    uint64_t total = 0;
    edt_status status = make_header(&writer, tensors, n, meta, n_meta, err, &header, &total);
    if (status == EDT_OK) {
        const uint64_t n_padded = (header.n_bytes + 7) / 8 * 8;
        edt_h5_wire wire = {.fd = fd, .n_bytes = PREFIX_BYTES + n_padded + total};
        void *data = MAP_FAILED;
        if (ftruncate(fd, (off_t)wire.n_bytes) == 0) {
            data = mmap(NULL, wire.n_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        }
        if (data == MAP_FAILED) {
            status = edt_error_set_errno(err, EDT_ERR_NOMEM, errno,
                                         "no place for %zu bytes of tensors", wire.n_bytes);
        } else {
            wire.data = data;
            for (int k = 0; k < PREFIX_BYTES; ++k) {
                wire.data[k] = (uint8_t)(n_padded >> (8 * k));
            }
            memcpy(wire.data + PREFIX_BYTES, header.data, header.n_bytes);
            memset(wire.data + PREFIX_BYTES + header.n_bytes, ' ', n_padded - header.n_bytes);
            for (int64_t i = 0; i < n; ++i) {
                tensors[i].data = wire.data + PREFIX_BYTES + n_padded + tensors[i].begin;
            }
            *out_wire = wire;
        }
    }
    edt_json_writer_deinit(&writer);
    return status;
}

edt_status edt_h5_wire_map(int fd, edt_error *err, edt_h5_wire *out_wire)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "fstat");
    }
    edt_h5_wire wire = {.fd = fd, .n_bytes = (size_t)info.st_size};
    if (wire.n_bytes > 0) {
        void *data = mmap(NULL, wire.n_bytes, PROT_READ, MAP_SHARED, fd, 0);
        if (data == MAP_FAILED) {
            return edt_error_set_errno(err, EDT_ERR_NOMEM, errno, "cannot map %zu bytes",
                                       wire.n_bytes);
        }
        wire.data = data;
    }
    *out_wire = wire;
    return EDT_OK;
}

void edt_h5_wire_unmap(edt_h5_wire *wire)
{
    if (wire->data != NULL) {
        (void)munmap(wire->data, wire->n_bytes);
    }
    *wire = (edt_h5_wire){.fd = -1};
}
