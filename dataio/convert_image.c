// See convert_image.h.
#include "dataio/convert_image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dataio/jpeg_probe.h"

// Reads a whole file into the worker's buffer, which only ever grows. 0 or an errno value.
static int read_file(edt_convert_worker *worker, const char *path, size_t *out_n)
{
    int fd;
    do {
        // Opening a named pipe must not wait for its writer.
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    if (fd < 0) {
        return errno;
    }
    int code = 0;
    size_t used = 0;
    struct stat info;
    if (fstat(fd, &info) != 0) {
        code = errno;
    } else if (!S_ISREG(info.st_mode)) {
        code = S_ISDIR(info.st_mode) ? EISDIR : ENOTSUP;
    }
    // One byte more than the size tells the end of the file from a file that grows.
    size_t wanted = code == 0 ? (size_t)info.st_size + 1 : 0;
    while (code == 0) {
        if (wanted > worker->capacity) {
            uint8_t *grown = edt_mem_realloc(EDT_MEM_MISC, worker->buffer, wanted + wanted / 2);
            if (grown == NULL) {
                code = ENOMEM;
                break;
            }
            worker->buffer = grown;
            worker->capacity = wanted + wanted / 2;
        }
        const ssize_t n = read(fd, worker->buffer + used, worker->capacity - used);
        if (n == 0) {
            break;
        }
        if (n > 0) {
            used += (size_t)n;
            wanted = used + 1;
        } else if (errno != EINTR) {
            code = errno;
        }
    }
    (void)close(fd);
    *out_n = used;
    return code;
}

static edt_status check_header(edt_convert_report *report, const edt_convert_image *image,
                               edt_span encoded, edt_error *err, bool *out_good)
{
    edt_error problem = {0};
    edt_image_header header;
    if (encoded.n_bytes == 0) {
        return edt_convert_report_bad(report, EDT_BAD_UNREADABLE, image->order, err,
                                      "image '%s' (%s) is an empty file", image->path,
                                      image->where);
    }
    if (edt_jpeg_probe(encoded, &problem, &header) != EDT_OK) {
        return edt_convert_report_bad(report, EDT_BAD_HEADER, image->order, err,
                                      "image '%s' (%s): %s", image->path, image->where,
                                      problem.text);
    }
    if (image->jpeg_only && header.format != EDT_IMAGE_JPEG) {
        return edt_convert_report_bad(report, EDT_BAD_HEADER, image->order, err,
                                      "image '%s' (%s): Image format not JPEG: it is a %s file",
                                      image->path, image->where,
                                      edt_image_format_name(header.format));
    }
    if (!edt_jpeg_probe_is_whole(encoded, &header)) {
        return edt_convert_report_bad(
            report, EDT_BAD_HEADER, image->order, err,
            "image '%s' (%s): the JPEG has no end marker in its %zu bytes: it is cut off",
            image->path, image->where, encoded.n_bytes);
    }
    if (header.height != image->height || header.width != image->width) {
        return edt_convert_report_bad(report, EDT_BAD_SIZE, image->order, err,
                                      "image '%s' (%s) is %" PRId64 " x %" PRId64
                                      " (height x width), its annotation says %" PRId64
                                      " x %" PRId64,
                                      image->path, image->where, header.height, header.width,
                                      image->height, image->width);
    }
    if (header.format != EDT_IMAGE_JPEG) {
        edt_convert_report_note(report, EDT_NOTE_NOT_JPEG, 1);
    }
    *out_good = true;
    return EDT_OK;
}

static edt_status reencode(edt_convert_worker *worker, const edt_convert_image *image,
                           edt_span encoded, edt_error *err, bool *out_good,
                           edt_reencoded *out_picture)
{
    edt_error problem = {0};
    *out_picture =
        (edt_reencoded){.bytes = encoded, .height = image->height, .width = image->width};
    if (image->reencode == NULL || edt_reencode_is_idle(image->reencode)) {
        return EDT_OK;
    }
    if (worker->reencoder == NULL) {
        EDT_TRY(edt_reencoder_create(err, &worker->reencoder));
    }
    const edt_status status =
        edt_reencoder_run(worker->reencoder, encoded, image->height, image->width,
                          image->reencode, &problem, out_picture);
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "image '%s': %s", image->path, problem.text);
    }
    if (status != EDT_OK) {
        *out_good = false;
        return edt_convert_report_bad(worker->report, EDT_BAD_PIXELS, image->order, err,
                                      "image '%s' (%s): %s", image->path, image->where,
                                      problem.text);
    }
    return EDT_OK;
}

edt_status edt_convert_read_image(edt_convert_worker *worker, const edt_convert_image *image,
                                  edt_error *err, bool *out_good, edt_reencoded *out_picture)
{
    size_t n_bytes = 0;
    *out_good = false;
    const int code = read_file(worker, image->path, &n_bytes);
    if (code == ENOMEM || code == EMFILE || code == ENFILE) {
        return edt_error_set_errno(err, EDT_ERR_IO, code, "cannot read image '%s'",
                                   image->path);
    }
    if (code != 0) {
        return edt_convert_report_bad(worker->report, EDT_BAD_UNREADABLE, image->order, err,
                                      "cannot read image '%s' (%s): %s", image->path,
                                      image->where, strerror(code));
    }
    const edt_span encoded = {.data = worker->buffer, .n_bytes = n_bytes};
    EDT_TRY(check_header(worker->report, image, encoded, err, out_good));
    return *out_good ? reencode(worker, image, encoded, err, out_good, out_picture) : EDT_OK;
}

void edt_convert_worker_deinit(edt_convert_worker *worker)
{
    edt_arena_deinit(&worker->arena);
    edt_sha256_destroy(worker->sha);
    edt_reencoder_destroy(worker->reencoder);
    edt_mem_free(worker->buffer);
}
