// See shard_file.h.
#include "dataio/shard_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/mem.h"
#include "dataio/shard_zstd.h"

enum { DETECT_BYTES = 1 << 16 };
static const size_t max_io_bytes = (size_t)1 << 30;

struct edt_record_scratch {
    uint8_t *buffer;
    size_t capacity;
    edt_zstd_decoder *decoder; // made by the first zstd record
};

struct edt_shard_file {
    char *path;
    edt_shard_reader_options options;
    edt_shard_format format;
    bool is_stream;
    int fd; // -1: opened for every read
    uint64_t device, inode;
    uint64_t n_bytes;
    int64_t modified_ns;
    edt_zstd_seek_table table; // zstd
};

edt_status edt_record_scratch_create(edt_error *err, edt_record_scratch **out_scratch)
{
    edt_record_scratch *scratch = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *scratch);
    if (scratch == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to read records");
    }
    *out_scratch = scratch;
    return EDT_OK;
}

void edt_record_scratch_destroy(edt_record_scratch *scratch)
{
    if (scratch != NULL) {
        edt_zstd_decoder_destroy(scratch->decoder);
        edt_mem_free(scratch->buffer);
        edt_mem_free(scratch);
    }
}

static edt_status fail_system(edt_error *err, const char *action, const char *path)
{
    const int code = errno;
    return edt_error_set_errno(err, code == ENOENT ? EDT_ERR_NOT_FOUND : EDT_ERR_IO, code,
                               "cannot %s '%s'", action, path);
}

static int open_retrying(const char *path)
{
    int fd;
    do {
        // Opening a named pipe must not wait for its writer.
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

// Reads until n_bytes are there or the file ends. -1 with errno.
static ssize_t read_fully(int fd, uint64_t offset, uint8_t *out, size_t n_bytes)
{
    size_t done = 0;
    while (done < n_bytes) {
        const size_t wanted = n_bytes - done < max_io_bytes ? n_bytes - done : max_io_bytes;
        const ssize_t n = pread(fd, out + done, wanted, (off_t)(offset + done));
        if (n == 0) {
            break;
        }
        if (n > 0) {
            done += (size_t)n;
        } else if (errno != EINTR) {
            return -1;
        }
    }
    return (ssize_t)done;
}

static edt_status fail_changed(const edt_shard_file *file, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_MISMATCH,
             "'%s' is not the shard any more that was opened (%" PRIu64
             " bytes): it was cut off or replaced while in use; restore it and start again",
             file->path, file->n_bytes);
}

// A descriptor to read from, for the call or for good.
static edt_status borrow_fd(const edt_shard_file *file, edt_error *err, int *out_fd)
{
    if (file->fd >= 0) {
        *out_fd = file->fd;
        return EDT_OK;
    }
    const int fd = open_retrying(file->path);
    struct stat info;
    if (fd < 0) {
        return fail_system(err, "open", file->path);
    }
    if (fstat(fd, &info) != 0 || (uint64_t)info.st_dev != file->device ||
        (uint64_t)info.st_ino != file->inode) {
        (void)close(fd);
        return fail_changed(file, err);
    }
    *out_fd = fd;
    return EDT_OK;
}

static void return_fd(const edt_shard_file *file, int fd)
{
    if (file->fd < 0) {
        (void)close(fd);
    }
}

typedef struct source {
    const edt_shard_file *file;
    int fd;
} source;

// All of n_bytes, which lie inside the file as it was opened.
static edt_status read_all(void *ctx, uint64_t offset, uint8_t *out, size_t n_bytes,
                           edt_error *err)
{
    const source *from = ctx;
    const ssize_t n = read_fully(from->fd, offset, out, n_bytes);
    if (n < 0) {
        return fail_system(err, "read", from->file->path);
    }
    return (size_t)n == n_bytes ? EDT_OK : fail_changed(from->file, err);
}

static edt_status detect(edt_shard_file *file, int fd, edt_error *err)
{
    uint8_t *head = edt_mem_alloc(EDT_MEM_MISC, DETECT_BYTES);
    if (head == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to open '%s'", file->path);
    }
    // Most shards say what they are by their first record header.
    size_t wanted = EDT_TFRECORD_HEADER_BYTES;
    ssize_t n = read_fully(fd, 0, head, wanted);
    if (n == EDT_TFRECORD_HEADER_BYTES &&
        !edt_tfrecord_is_header((edt_span){head, (size_t)n})) {
        wanted = DETECT_BYTES;
        n = read_fully(fd, 0, head, wanted);
    }
    edt_status status = EDT_OK;
    if (n < 0) {
        status = fail_system(err, "read", file->path);
    } else if ((size_t)n < wanted && (uint64_t)n < file->n_bytes) {
        status = fail_changed(file, err);
    } else {
        file->format = edt_shard_detect_format((edt_span){head, (size_t)n});
    }
    edt_mem_free(head);
    return status;
}

static edt_status read_seek_table(edt_shard_file *file, int fd, edt_error *err)
{
    source from = {.file = file, .fd = fd};
    uint8_t footer[EDT_ZSTD_FOOTER_BYTES];
    uint64_t n_bytes = 0;
    if (file->n_bytes >= sizeof footer) {
        EDT_TRY(read_all(&from, file->n_bytes - sizeof footer, footer, sizeof footer, err));
        n_bytes = edt_zstd_seek_table_find(footer, file->n_bytes);
    }
    if (n_bytes == 0) {
        file->is_stream = true;
        return EDT_OK;
    }
    uint8_t *bytes = edt_mem_alloc(EDT_MEM_MISC, (size_t)n_bytes);
    if (bytes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "'%s': no memory for its seek table", file->path);
    }
    edt_status status = read_all(&from, file->n_bytes - n_bytes, bytes, (size_t)n_bytes, err);
    if (status == EDT_OK) {
        status = edt_zstd_seek_table_parse((edt_span){bytes, (size_t)n_bytes}, file->n_bytes,
                                           file->path, err, &file->table);
    }
    edt_mem_free(bytes);
    return status;
}

static edt_status inspect(edt_shard_file *file, int fd, edt_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0) {
        return fail_system(err, "read", file->path);
    }
    if (!S_ISREG(info.st_mode)) {
        EDT_FAIL(err, EDT_ERR_INVALID, "cannot read records from '%s': it is %s", file->path,
                 S_ISDIR(info.st_mode) ? "a directory" : "not a regular file");
    }
    file->device = (uint64_t)info.st_dev;
    file->inode = (uint64_t)info.st_ino;
    file->n_bytes = (uint64_t)info.st_size;
    file->modified_ns =
        (int64_t)info.st_mtim.tv_sec * 1000000000 + (int64_t)info.st_mtim.tv_nsec;
    EDT_TRY(detect(file, fd, err));
    file->is_stream = file->format == EDT_SHARD_GZIP || file->format == EDT_SHARD_ZLIB;
    if (file->format == EDT_SHARD_ZSTD) {
        EDT_TRY(read_seek_table(file, fd, err));
    }
    return file->options.take_streams ? EDT_OK : edt_shard_file_check_random(file, err);
}

edt_status edt_shard_file_check_random(const edt_shard_file *file, edt_error *err)
{
    if (!file->is_stream) {
        return EDT_OK;
    }
    const bool is_zstd = file->format == EDT_SHARD_ZSTD;
    EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
             "'%s' is a compressed shard (%s%s): its records can only be read one after "
             "another, but here they are needed in any order; train with shuffle=window, which "
             "reads in order (as evaluation does), convert the data set again without "
             "compression or with --compression=zstd, or decompress the shard%s",
             file->path, edt_shard_format_name(file->format),
             is_zstd ? " without a seek table" : "",
             is_zstd                          ? " (zstd -d)"
             : file->format == EDT_SHARD_GZIP ? " (gzip -dc)"
                                              : "");
}

edt_status edt_shard_file_open(const char *path, const edt_shard_reader_options *options,
                               bool keep_open, edt_error *err, edt_shard_file **out_file)
{
    const int fd = open_retrying(path);
    if (fd < 0) {
        return fail_system(err, "open", path);
    }
    edt_status status = EDT_OK;
    edt_shard_file *file = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *file);
    if (file != NULL) {
        file->fd = -1;
        file->path = edt_mem_strdup(EDT_MEM_MISC, path);
    }
    if (file == NULL || file->path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to open '%s'", path);
        goto fail;
    }
    if (options != NULL) {
        file->options = *options;
    }
    EDT_TRY_GOTO(inspect(file, fd, err));
    if (keep_open) {
        file->fd = fd;
    } else {
        (void)close(fd);
    }
    *out_file = file;
    return EDT_OK;

fail:
    (void)close(fd);
    edt_shard_file_close(file);
    return status;
}

void edt_shard_file_close(edt_shard_file *file)
{
    if (file != NULL) {
        if (file->fd >= 0) {
            (void)close(file->fd);
        }
        edt_zstd_seek_table_deinit(&file->table);
        edt_mem_free(file->path);
        edt_mem_free(file);
    }
}

const char *edt_shard_file_path(const edt_shard_file *file)
{
    return file->path;
}

edt_shard_format edt_shard_file_format(const edt_shard_file *file)
{
    return file->format;
}

uint64_t edt_shard_file_bytes(const edt_shard_file *file)
{
    return file->n_bytes;
}

bool edt_shard_file_is_stream(const edt_shard_file *file)
{
    return file->is_stream;
}

uint64_t edt_shard_file_stream_bytes(const edt_shard_file *file)
{
    if (file->is_stream) {
        return 0;
    }
    return file->format == EDT_SHARD_ZSTD ? edt_zstd_seek_table_stream_bytes(&file->table)
                                          : file->n_bytes;
}

int64_t edt_shard_file_modified_ns(const edt_shard_file *file)
{
    return file->modified_ns;
}

bool edt_shard_file_has_record(const edt_shard_file *file, uint64_t offset, uint64_t n_bytes)
{
    if (file->format != EDT_SHARD_PLAIN) {
        return true;
    }
    int fd;
    if (borrow_fd(file, NULL, &fd) != EDT_OK) {
        return false;
    }
    uint8_t header[EDT_TFRECORD_HEADER_BYTES];
    uint8_t want[EDT_TFRECORD_HEADER_BYTES];
    const ssize_t n = read_fully(fd, offset, header, sizeof header);
    return_fd(file, fd);
    edt_tfrecord_put_header(n_bytes, want);
    return n == (ssize_t)sizeof header && memcmp(header, want, sizeof want) == 0;
}

void edt_shard_file_advise(const edt_shard_file *file, uint64_t offset, uint64_t n_bytes)
{
    if (file->fd < 0 || file->is_stream || n_bytes == 0) {
        return;
    }
    uint64_t end = offset + n_bytes;
    if (file->format == EDT_SHARD_ZSTD) {
        if (end > edt_shard_file_stream_bytes(file)) {
            return;
        }
        const edt_zstd_place *places = file->table.places;
        offset = places[edt_zstd_seek_table_frame(&file->table, offset)].file_offset;
        end = places[edt_zstd_seek_table_frame(&file->table, end - 1) + 1].file_offset;
    }
    (void)posix_fadvise(file->fd, (off_t)offset, (off_t)(end - offset), POSIX_FADV_WILLNEED);
}

static edt_status make_room(edt_record_scratch *scratch, size_t n_bytes, const char *path,
                            edt_error *err)
{
    if (n_bytes > scratch->capacity) {
        const size_t capacity = n_bytes + n_bytes / 2;
        // The old contents are of no use, so they need not be copied.
        edt_mem_free(scratch->buffer);
        scratch->capacity = 0;
        scratch->buffer = edt_mem_alloc(EDT_MEM_MISC, capacity);
        if (scratch->buffer == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "'%s': no memory for a record of %zu bytes", path,
                     n_bytes);
        }
        scratch->capacity = capacity;
    }
    return EDT_OK;
}

static edt_status load(const edt_shard_file *file, uint64_t offset, size_t n_bytes,
                       edt_record_scratch *scratch, edt_error *err)
{
    EDT_TRY(make_room(scratch, n_bytes, file->path, err));
    if (file->format == EDT_SHARD_ZSTD && scratch->decoder == NULL) {
        EDT_TRY(edt_zstd_decoder_create(err, &scratch->decoder));
    }
    source from = {.file = file};
    EDT_TRY(borrow_fd(file, err, &from.fd));
    const edt_status status =
        file->format == EDT_SHARD_ZSTD
            ? edt_zstd_decode_range(scratch->decoder, &file->table, read_all, &from, file->path,
                                    offset, scratch->buffer, n_bytes, err)
            : read_all(&from, offset, scratch->buffer, n_bytes, err);
    return_fd(file, from.fd);
    return status;
}

edt_status edt_shard_file_read(const edt_shard_file *file, uint64_t offset, uint64_t n_bytes,
                               int64_t i_record, edt_record_scratch *scratch, edt_error *err,
                               edt_span *out_payload)
{
    EDT_TRY(edt_shard_file_check_random(file, err));
    const uint64_t frame = EDT_TFRECORD_HEADER_BYTES + EDT_TFRECORD_FOOTER_BYTES;
    const uint64_t stream_bytes = edt_shard_file_stream_bytes(file);
    if (offset > stream_bytes || stream_bytes - offset < frame ||
        n_bytes > stream_bytes - offset - frame) {
        return edt_tfrecord_fail(err, EDT_TFRECORD_TRUNCATED, file->path, i_record, offset);
    }
    const size_t total = (size_t)(frame + n_bytes);
    EDT_TRY_CTX(load(file, offset, total, scratch, err), err, "record %" PRId64, i_record);
    edt_span payload;
    uint64_t next;
    const edt_tfrecord_fault fault = edt_tfrecord_get(
        (edt_span){scratch->buffer, total}, 0, !file->options.skip_data_crc, &payload, &next);
    if (fault == EDT_TFRECORD_OK && payload.n_bytes == n_bytes) {
        *out_payload = payload;
        return EDT_OK;
    }
    if (fault == EDT_TFRECORD_OK || fault == EDT_TFRECORD_TRUNCATED) {
        // A sound header with another length: these are not the bytes that were indexed.
        return edt_error_add_context(err, fail_changed(file, err), "record %" PRId64, i_record);
    }
    return edt_tfrecord_fail(err, fault, file->path, i_record, offset);
}
