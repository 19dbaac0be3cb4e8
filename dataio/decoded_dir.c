// See decoded_dir.h. Locks are flock(2)'s: they belong to the open file, end with the process
// that holds them, and exist on read-only file systems too.
#include "dataio/decoded_dir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/strbuf.h"

static const char marker_name[] = "decoded.cache";
static const char marker_text[] =
    "Decoded pictures; may be deleted while no program uses it.\n";
static const char index_name[] = "decoded.mdb";
static const char index_lock_name[] = "decoded.mdb-lock";
static const char pixels_name[] = "decoded.pixels";
static const char seal_name[] = "decoded.seal";

typedef struct seal {
    char magic[8];
    uint64_t n_bytes; // of the index
    uint32_t crc;     // of the index
    uint32_t seal_crc;
} seal;
static const char seal_magic[8] = {'E', 'D', 'T', 'S', 'E', 'A', 'L', '1'};

static char *join(const char *dir, const char *name)
{
    const size_t n_dir = strlen(dir);
    const size_t n_name = strlen(name);
    char *path = edt_mem_alloc(EDT_MEM_TEXT, n_dir + n_name + 2);
    if (path != NULL) {
        memcpy(path, dir, n_dir);
        path[n_dir] = '/';
        memcpy(path + n_dir + 1, name, n_name + 1);
    }
    return path;
}

// The names that may stand in a directory without a marker: what is left of an emptied cache,
// or made by another process right now.
static bool is_harmless(const char *name)
{
    static const char *const known[] = {".",        "..",        marker_name,
                                        index_name, pixels_name, index_lock_name,
                                        seal_name,  "lost+found"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; ++i) {
        if (strcmp(name, known[i]) == 0) {
            return true;
        }
    }
    return false;
}

static edt_status check_empty(const char *path, edt_error *err)
{
    DIR *dir = opendir(path);
    if (dir == NULL) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno,
                                   "cannot list the decoded cache's directory '%s'", path);
    }
    edt_status status = EDT_OK;
    const struct dirent *entry;
    while (status == EDT_OK && (entry = readdir(dir)) != NULL) {
        if (!is_harmless(entry->d_name)) {
            status = edt_error_set(err, EDT_ERR_FORMAT,
                                   "'%s' holds '%s' and is no decoded cache: name a new or an "
                                   "empty directory",
                                   path, entry->d_name);
        }
    }
    (void)closedir(dir);
    return status;
}

static bool may_not_write(int code)
{
    return code == EACCES || code == EPERM || code == EROFS;
}

static edt_status open_marker(edt_decoded_dir *dir, edt_error *err)
{
    dir->lock_fd = open(dir->marker, O_RDWR | O_CLOEXEC);
    if (dir->lock_fd < 0 && errno == ENOENT) {
        EDT_TRY(check_empty(dir->path, err));
        dir->lock_fd = open(dir->marker, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (dir->lock_fd >= 0 &&
            pwrite(dir->lock_fd, marker_text, sizeof marker_text - 1, 0) < 0) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot write '%s'",
                                       dir->marker);
        }
    } else if (dir->lock_fd < 0 && may_not_write(errno)) {
        dir->lock_fd = open(dir->marker, O_RDONLY | O_CLOEXEC);
        dir->is_read_only = true;
    }
    if (dir->lock_fd < 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno,
                                   "cannot open '%s' of the decoded cache; name a directory "
                                   "that may be written to",
                                   dir->marker);
    }
    if (access(dir->path, W_OK) != 0 && may_not_write(errno)) {
        dir->is_read_only = true;
    }
    return EDT_OK;
}

edt_status edt_decoded_dir_open(const char *path, edt_error *err, edt_decoded_dir *out_dir)
{
    edt_decoded_dir dir = {.path = edt_mem_strdup(EDT_MEM_TEXT, path),
                           .index = join(path, index_name),
                           .pixels = join(path, pixels_name),
                           .index_lock = join(path, index_lock_name),
                           .seal = join(path, seal_name),
                           .marker = join(path, marker_name),
                           .lock_fd = -1};
    edt_status status = EDT_OK;
    if (dir.path == NULL || dir.index == NULL || dir.pixels == NULL || dir.index_lock == NULL ||
        dir.seal == NULL || dir.marker == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory for the decoded cache '%s'", path);
        goto fail;
    }
    EDT_TRY_GOTO(edt_path_mkdirs(path, err));
    EDT_TRY_GOTO(open_marker(&dir, err));
    *out_dir = dir;
    return EDT_OK;

fail:
    edt_decoded_dir_close(&dir);
    return status;
}

void edt_decoded_dir_close(edt_decoded_dir *dir)
{
    if (dir->path != NULL && dir->lock_fd >= 0) {
        (void)close(dir->lock_fd);
    }
    edt_mem_free(dir->path);
    edt_mem_free(dir->index);
    edt_mem_free(dir->pixels);
    edt_mem_free(dir->index_lock);
    edt_mem_free(dir->seal);
    edt_mem_free(dir->marker);
    *dir = (edt_decoded_dir){.lock_fd = -1};
}

static int lock(int fd, int how)
{
    int rc;
    do {
        rc = flock(fd, how);
    } while (rc != 0 && errno == EINTR);
    return rc;
}

static edt_status fail_lock(const edt_decoded_dir *dir, edt_error *err)
{
    return edt_error_set_errno(err, EDT_ERR_IO, errno,
                               "cannot lock '%s' (a decoded cache belongs on a disk of this "
                               "machine)",
                               dir->marker);
}

edt_status edt_decoded_dir_try_alone(edt_decoded_dir *dir, edt_error *err, bool *out_is_alone)
{
    const bool is_alone = lock(dir->lock_fd, LOCK_EX | LOCK_NB) == 0;
    if (!is_alone && errno != EWOULDBLOCK) {
        return fail_lock(dir, err);
    }
    *out_is_alone = is_alone;
    return EDT_OK;
}

edt_status edt_decoded_dir_share(edt_decoded_dir *dir, edt_error *err)
{
    return lock(dir->lock_fd, LOCK_SH) == 0 ? EDT_OK : fail_lock(dir, err);
}

edt_status edt_decoded_dir_empty(edt_decoded_dir *dir, edt_error *err)
{
    // The index goes first: without it nothing else is believed.
    const char *const files[] = {dir->index, dir->index_lock, dir->seal, dir->pixels};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; ++i) {
        if (unlink(files[i]) != 0 && errno != ENOENT) {
            return edt_error_set_errno(err, EDT_ERR_IO, errno,
                                       "cannot empty the decoded cache: removing '%s'",
                                       files[i]);
        }
    }
    return EDT_OK;
}

edt_status edt_decoded_dir_check_seal(const edt_decoded_dir *dir, edt_error *err,
                                      edt_decoded_seal_state *out_state)
{
    *out_state = EDT_DECODED_UNSEALED;
    edt_mapped_file file;
    edt_error ignored = {0};
    edt_status status = edt_mapped_file_open(dir->seal, &ignored, &file);
    if (status == EDT_ERR_NOT_FOUND) {
        return EDT_OK;
    }
    seal s = {0};
    bool is_good = status == EDT_OK && file.span.n_bytes == sizeof s;
    if (is_good) {
        memcpy(&s, file.span.data, sizeof s);
    }
    if (status == EDT_OK) {
        edt_mapped_file_close(&file);
    }
    is_good = is_good && memcmp(s.magic, seal_magic, sizeof s.magic) == 0 &&
              edt_crc32c(0, &s, offsetof(seal, seal_crc)) == s.seal_crc;
    if (is_good) {
        status = edt_mapped_file_open(dir->index, err, &file);
        if (status == EDT_OK) {
            is_good = file.span.n_bytes == s.n_bytes &&
                      edt_crc32c(0, file.span.data, file.span.n_bytes) == s.crc;
            edt_mapped_file_close(&file);
        } else if (status == EDT_ERR_NOT_FOUND) {
            is_good = false;
        } else {
            return status;
        }
    }
    *out_state = is_good ? EDT_DECODED_SEALED : EDT_DECODED_SEAL_BROKEN;
    return EDT_OK;
}

edt_status edt_decoded_dir_unseal(edt_decoded_dir *dir, edt_error *err)
{
    if (unlink(dir->seal) != 0) {
        return errno == ENOENT ? EDT_OK
                               : edt_error_set_errno(err, EDT_ERR_IO, errno,
                                                     "cannot remove '%s'", dir->seal);
    }
    // A seal that came back after a power failure would call the index damaged.
    const int fd = open(dir->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0) {
        (void)fsync(fd);
        (void)close(fd);
    }
    return EDT_OK;
}

edt_status edt_decoded_dir_seal(edt_decoded_dir *dir, edt_error *err)
{
    edt_mapped_file file;
    EDT_TRY(edt_mapped_file_open(dir->index, err, &file));
    seal s = {.n_bytes = file.span.n_bytes,
              .crc = edt_crc32c(0, file.span.data, file.span.n_bytes)};
    edt_mapped_file_close(&file);
    memcpy(s.magic, seal_magic, sizeof s.magic);
    s.seal_crc = edt_crc32c(0, &s, offsetof(seal, seal_crc));
    return edt_file_write(dir->seal, &s, sizeof s, err);
}
