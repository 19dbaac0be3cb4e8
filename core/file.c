// Whole-file access; see file.h.
#include "core/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "core/mem.h"

enum {
    WRITE_BUFFER_BYTES = 1 << 20,
    READ_FIRST_BYTES = 1 << 16,
    MAX_TEMP_FILES = 10000,
    MAX_PIECES = 64, // of one pwritev; the system allows 1024
};
// The kernel moves at most about 2 GiB at once.
static const size_t max_io_bytes = (size_t)1 << 30;

static const char *hint(int code)
{
    switch (code) {
    case ENOSPC: return "free some space or write to another disk";
    case EDQUOT: return "the disk quota is used up; remove files or write elsewhere";
    case EACCES:
    case EPERM: return "check the permissions of the file and of its directory";
    case EROFS: return "the file system is read-only; choose another directory";
    case ENOENT: return "check the spelling; directories are not created here";
    case ENOTDIR: return "a part of the path is a file, not a directory";
    case EISDIR: return "it is a directory; give a file";
    case EMFILE:
    case ENFILE: return "too many open files; raise the limit (ulimit -n)";
    case EFBIG: return "larger than the file system or 'ulimit -f' allows";
    case ENAMETOOLONG: return "use a shorter name";
    default: return "check the disk and its file system";
    }
}

static edt_status fail_system(edt_error *err, int code, const char *action, const char *path)
{
    const edt_status status = code == ENOENT ? EDT_ERR_NOT_FOUND : EDT_ERR_IO;
    return edt_error_set(err, status, "cannot %s '%s': %s; %s", action, path, strerror(code),
                         hint(code));
}

static int open_retrying(const char *path, int flags, mode_t mode)
{
    int fd;
    do {
        fd = open(path, flags | O_CLOEXEC, mode);
    } while (fd < 0 && errno == EINTR);
    return fd;
}

// Reads until `n_bytes` are there or the file ends: the count, or -1 with errno.
static ssize_t read_fully(int fd, char *data, size_t n_bytes)
{
    size_t done = 0;
    while (done < n_bytes) {
        const size_t wanted = n_bytes - done;
        const ssize_t n = read(fd, data + done, wanted < max_io_bytes ? wanted : max_io_bytes);
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

// Returns 0 or an errno value.
static int write_fully(int fd, const uint8_t *data, size_t n_bytes)
{
    while (n_bytes > 0) {
        const ssize_t n = write(fd, data, n_bytes < max_io_bytes ? n_bytes : max_io_bytes);
        if (n >= 0) {
            data += n;
            n_bytes -= (size_t)n;
        } else if (errno != EINTR) {
            return errno;
        }
    }
    return 0;
}

static edt_status fail_too_large(edt_error *err, const char *path, size_t max_bytes)
{
    EDT_FAIL(err, EDT_ERR_INVALID, "'%s' holds more than the %zu bytes allowed here", path,
             max_bytes);
}

edt_status edt_file_read(const char *path, size_t max_bytes, edt_error *err, char **out_text,
                         size_t *out_bytes)
{
    edt_status status = EDT_OK;
    char *text = NULL;
    size_t used = 0;
    const int fd = open_retrying(path, O_RDONLY, 0);
    if (fd < 0) {
        return fail_system(err, errno, "open", path);
    }
    struct stat info;
    size_t capacity = READ_FIRST_BYTES;
    if (fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_size > 0) {
        if ((uint64_t)info.st_size > max_bytes) {
            status = fail_too_large(err, path, max_bytes);
            goto fail;
        }
        capacity = (size_t)info.st_size;
    }
    // One byte more than expected tells the end of the file from a file that has grown.
    for (;;) {
        char *grown = edt_mem_realloc(EDT_MEM_TEXT, text, capacity + 1);
        if (grown == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to read '%s' (%zu bytes)",
                                   path, capacity);
            goto fail;
        }
        text = grown;
        const ssize_t n = read_fully(fd, text + used, capacity + 1 - used);
        if (n < 0) {
            status = fail_system(err, errno, "read", path);
            goto fail;
        }
        used += (size_t)n;
        if (used > max_bytes) {
            status = fail_too_large(err, path, max_bytes);
            goto fail;
        }
        if (used <= capacity) {
            break;
        }
        capacity *= 2;
    }
    (void)close(fd);
    text[used] = '\0';
    *out_text = text;
    *out_bytes = used;
    return EDT_OK;

fail:
    (void)close(fd);
    edt_mem_free(text);
    return status;
}

edt_status edt_mapped_file_open(const char *path, edt_error *err, edt_mapped_file *out_file)
{
    const int fd = open_retrying(path, O_RDONLY, 0);
    if (fd < 0) {
        return fail_system(err, errno, "open", path);
    }
    edt_status status = EDT_OK;
    edt_mapped_file file = {0};
    struct stat info;
    if (fstat(fd, &info) != 0) {
        status = fail_system(err, errno, "read", path);
    } else if (S_ISDIR(info.st_mode)) {
        status = fail_system(err, EISDIR, "read", path);
    } else if (!S_ISREG(info.st_mode)) {
        status =
            edt_error_set(err, EDT_ERR_INVALID, "cannot map '%s': not a regular file", path);
    } else if (info.st_size > 0) {
        file.span.n_bytes = (size_t)info.st_size;
        void *data = mmap(NULL, file.span.n_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (data == MAP_FAILED) {
            status = fail_system(err, errno, "map", path);
        } else {
            file.span.data = data;
        }
    }
    (void)close(fd);
    if (status == EDT_OK) {
        *out_file = file;
    }
    return status;
}

void edt_mapped_file_forget(const edt_mapped_file *file, size_t begin, size_t end)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t first = (begin + page - 1) / page * page;
    const size_t last = end / page * page;
    if (file->span.data != NULL && first < last && last <= file->span.n_bytes) {
        (void)madvise((void *)(uintptr_t)(file->span.data + first), last - first,
                      MADV_DONTNEED);
    }
}

void edt_mapped_file_close(edt_mapped_file *file)
{
    if (file->span.data != NULL) {
        (void)munmap((void *)(uintptr_t)file->span.data, file->span.n_bytes);
    }
    *file = (edt_mapped_file){0};
}

enum { COMMIT_FAILED = -1 };

struct edt_atomic_file {
    int fd;      // -1: closed
    bool exists; // the temporary file does
    // 0, the errno of a write that failed, or COMMIT_FAILED. Writers at offsets may be several
    // threads: those that come after the one that failed say the same.
    atomic_int failure;
    char *path;
    char *temp_path;
    uint8_t *buffer; // allocated by the first append
    size_t buffered_bytes;
    uint64_t n_bytes;
};

static edt_status check_target(const char *path, edt_error *err)
{
    struct stat info;
    if (stat(path, &info) != 0) {
        return EDT_OK;
    }
    if (S_ISDIR(info.st_mode)) {
        return fail_system(err, EISDIR, "write", path);
    }
    if (!S_ISREG(info.st_mode)) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "cannot write '%s': it exists and is not a regular file; give a file name",
                 path);
    }
    return EDT_OK;
}

edt_status edt_atomic_file_open(const char *path, edt_error *err, edt_atomic_file **out_file)
{
    EDT_TRY(check_target(path, err));
    edt_status status = EDT_OK;
    const size_t temp_bytes = strlen(path) + 48;
    edt_atomic_file *file = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *file);
    if (file == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to write '%s'", path);
    }
    file->fd = -1;
    file->path = edt_mem_strdup(EDT_MEM_MISC, path);
    file->temp_path = edt_mem_alloc(EDT_MEM_MISC, temp_bytes);
    if (file->path == NULL || file->temp_path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to write '%s'", path);
        goto fail;
    }
    // Creating exclusively finds a number that no other writer of this process uses.
    for (int i = 0; file->fd < 0; ++i) {
        (void)snprintf(file->temp_path, temp_bytes, "%s.tmp-%ld-%d", path, (long)getpid(), i);
        file->fd = open_retrying(file->temp_path, O_WRONLY | O_CREAT | O_EXCL, 0666);
        if (file->fd < 0 && (errno != EEXIST || i == MAX_TEMP_FILES)) {
            status = fail_system(err, errno, "create", file->temp_path);
            goto fail;
        }
    }
    file->exists = true;
    *out_file = file;
    return EDT_OK;

fail:
    edt_atomic_file_close(file);
    return status;
}

static edt_status write_out(edt_atomic_file *file, const uint8_t *data, size_t n_bytes,
                            edt_error *err)
{
    const int code = write_fully(file->fd, data, n_bytes);
    if (code != 0) {
        file->failure = code;
        return fail_system(err, code, "write", file->path);
    }
    return EDT_OK;
}

static edt_status flush_buffer(edt_atomic_file *file, edt_error *err)
{
    const size_t n_bytes = file->buffered_bytes;
    file->buffered_bytes = 0;
    return write_out(file, file->buffer, n_bytes, err);
}

static edt_status check_usable(const edt_atomic_file *file, edt_error *err)
{
    const int code = file->failure;
    if (code > 0) {
        return fail_system(err, code, "write", file->path);
    }
    if (code == COMMIT_FAILED || !file->exists) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "'%s' is used after its commit", file->path);
    }
    return EDT_OK;
}

edt_status edt_atomic_file_append(edt_atomic_file *file, const void *data, size_t n_bytes,
                                  edt_error *err)
{
    EDT_TRY(check_usable(file, err));
    if (file->buffer == NULL) {
        file->buffer = edt_mem_alloc(EDT_MEM_MISC, WRITE_BUFFER_BYTES);
        if (file->buffer == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to write '%s'", file->path);
        }
    }
    if (n_bytes > WRITE_BUFFER_BYTES - file->buffered_bytes) {
        EDT_TRY(flush_buffer(file, err));
    }
    if (n_bytes >= WRITE_BUFFER_BYTES) {
        EDT_TRY(write_out(file, data, n_bytes, err));
    } else if (n_bytes > 0) {
        memcpy(file->buffer + file->buffered_bytes, data, n_bytes);
        file->buffered_bytes += n_bytes;
    }
    file->n_bytes += n_bytes;
    return EDT_OK;
}

// Writes pieces of at most MAX_PIECES, going on after a short write. Returns 0 or an errno
// value.
static int write_pieces_at(int fd, uint64_t offset, const edt_span *pieces, size_t n_pieces)
{
    size_t i = 0;
    size_t skip = 0; // bytes of piece i that are written
    while (i < n_pieces) {
        struct iovec parts[MAX_PIECES];
        int n_parts = 0;
        size_t n_bytes = 0;
        for (size_t k = i; k < n_pieces && n_parts < MAX_PIECES && n_bytes < max_io_bytes;
             ++k) {
            const size_t from = k == i ? skip : 0;
            const size_t left = pieces[k].n_bytes - from;
            const size_t room = max_io_bytes - n_bytes;
            // writev takes a mutable pointer but only reads through it.
            parts[n_parts].iov_base = (void *)(uintptr_t)(pieces[k].data + from);
            parts[n_parts].iov_len = left < room ? left : room;
            n_bytes += parts[n_parts++].iov_len;
        }
        const ssize_t n = n_bytes == 0 ? 0 : pwritev(fd, parts, n_parts, (off_t)offset);
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            return errno;
        }
        if (n == 0 && n_bytes > 0) {
            return EIO;
        }
        offset += (uint64_t)n;
        skip += (size_t)n;
        while (i < n_pieces && skip >= pieces[i].n_bytes) {
            skip -= pieces[i++].n_bytes;
        }
    }
    return 0;
}

edt_status edt_atomic_file_write_at(edt_atomic_file *file, uint64_t offset,
                                    const edt_span *pieces, size_t n_pieces, edt_error *err)
{
    EDT_TRY(check_usable(file, err));
    const int code = write_pieces_at(file->fd, offset, pieces, n_pieces);
    if (code != 0) {
        file->failure = code;
        return fail_system(err, code, "write", file->path);
    }
    return EDT_OK;
}

uint64_t edt_atomic_file_tell(const edt_atomic_file *file)
{
    return file->n_bytes;
}

// Makes the rename itself durable. File systems that cannot sync a directory say EINVAL.
static int sync_directory(const char *path)
{
    char *dir = edt_mem_strdup(EDT_MEM_MISC, path);
    if (dir == NULL) {
        return ENOMEM;
    }
    char *slash = strrchr(dir, '/');
    if (slash == NULL) {
        dir[0] = '\0';
    } else {
        slash[slash == dir] = '\0';
    }
    int code = 0;
    const int fd = open_retrying(dir[0] == '\0' ? "." : dir, O_RDONLY | O_DIRECTORY, 0);
    // A directory may be writable without being readable; the rename stands either way.
    if (fd >= 0) {
        if (fsync(fd) != 0 && errno != EINVAL && errno != EROFS) {
            code = errno;
        }
        (void)close(fd);
    }
    edt_mem_free(dir);
    return code;
}

edt_status edt_atomic_file_sync(edt_atomic_file *file, edt_error *err)
{
    EDT_TRY(check_usable(file, err));
    EDT_TRY(flush_buffer(file, err));
    int code;
    do {
        code = fsync(file->fd) == 0 ? 0 : errno;
    } while (code == EINTR);
    if (code != 0 && code != EINVAL) {
        file->failure = COMMIT_FAILED;
        return fail_system(err, code, "write", file->path);
    }
    return EDT_OK;
}

static edt_status commit(edt_atomic_file *file, bool sync, edt_error *err)
{
    EDT_TRY(check_usable(file, err));
    EDT_TRY(sync ? edt_atomic_file_sync(file, err) : flush_buffer(file, err));
    file->failure = COMMIT_FAILED;
    const int fd = file->fd;
    file->fd = -1;
    if (close(fd) != 0 && errno != EINTR) {
        return fail_system(err, errno, "write", file->path);
    }
    if (rename(file->temp_path, file->path) != 0) {
        return fail_system(err, errno, "create", file->path);
    }
    file->exists = false;
    const int code = sync ? sync_directory(file->path) : 0;
    if (code != 0) {
        return fail_system(err, code, "sync the directory of", file->path);
    }
    file->failure = 0;
    return EDT_OK;
}

edt_status edt_atomic_file_commit(edt_atomic_file *file, edt_error *err)
{
    return commit(file, true, err);
}

edt_status edt_atomic_file_commit_unsynced(edt_atomic_file *file, edt_error *err)
{
    return commit(file, false, err);
}

void edt_atomic_file_close(edt_atomic_file *file)
{
    if (file == NULL) {
        return;
    }
    if (file->fd >= 0) {
        (void)close(file->fd);
    }
    if (file->exists) {
        (void)unlink(file->temp_path);
    }
    edt_mem_free(file->buffer);
    edt_mem_free(file->temp_path);
    edt_mem_free(file->path);
    edt_mem_free(file);
}

edt_status edt_file_write(const char *path, const void *data, size_t n_bytes, edt_error *err)
{
    edt_atomic_file *file = NULL;
    EDT_TRY(edt_atomic_file_open(path, err, &file));
    edt_status status = edt_atomic_file_append(file, data, n_bytes, err);
    if (status == EDT_OK) {
        status = edt_atomic_file_commit(file, err);
    }
    edt_atomic_file_close(file);
    return status;
}
