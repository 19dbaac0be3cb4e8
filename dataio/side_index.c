// See side_index.h. The file is written and read as it lies in memory (little endian); every
// number in it is checked before it is used.
#include "dataio/side_index.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "core/path.h"
#include "dataio/side_index_priv.h"

struct edt_side_index {
    edt_mapped_file file; // or
    uint8_t *owned;       // memory of ours, or someone else's
    edt_span bytes;
    edt_side_summary summary;
    const edt_side_record *records;
    const edt_side_box *boxes;
    const edt_side_file_label *labels;
    const char *text;
};

const char *edt_side_index_path(edt_arena *arena, const char *shard_path)
{
    const char *slash = strrchr(shard_path, '/');
    const int n_dir = slash != NULL ? (int)(slash - shard_path) + 1 : 0;
    return edt_arena_printf(arena, "%.*s.edt/%s.index", n_dir, shard_path,
                            slash != NULL ? slash + 1 : shard_path);
}

static edt_status fail_format(const char *name, const char *what, edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_FORMAT, "side index '%s': %s", name, what);
}

// Takes n * item_bytes from the rest of the file.
static bool take(edt_span *rest, uint64_t n, size_t item_bytes, edt_span *out)
{
    if (n > rest->n_bytes / item_bytes) {
        return false;
    }
    *out = (edt_span){rest->data, (size_t)n * item_bytes};
    rest->data += out->n_bytes;
    rest->n_bytes -= out->n_bytes;
    return true;
}

static bool records_fit(const edt_side_index *index)
{
    const edt_side_summary *s = &index->summary;
    const uint64_t frame = EDT_TFRECORD_HEADER_BYTES + EDT_TFRECORD_FOOTER_BYTES;
    uint64_t end = 0;
    uint64_t n_boxes = 0;
    for (int64_t i = 0; i < s->n_records; ++i) {
        const edt_side_record *r = &index->records[i];
        if (r->offset != end || s->stream_bytes - end < frame ||
            r->n_bytes > s->stream_bytes - end - frame || r->first_box != n_boxes ||
            r->n_boxes > (uint64_t)s->n_boxes - n_boxes) {
            return false;
        }
        end += frame + r->n_bytes;
        n_boxes += r->n_boxes;
    }
    return end <= s->stream_bytes && n_boxes == (uint64_t)s->n_boxes;
}

static edt_status parse(edt_side_index *index, const char *name, edt_error *err)
{
    edt_span rest = index->bytes;
    edt_span part;
    if (!take(&rest, 1, sizeof(edt_side_file_header), &part)) {
        return fail_format(name, "it is shorter than its header", err);
    }
    edt_side_file_header h;
    memcpy(&h, part.data, sizeof h);
    if (memcmp(h.magic, EDT_SIDE_MAGIC, sizeof h.magic) != 0) {
        return fail_format(name, "it is not a side index of this version", err);
    }
    if (edt_crc32c(0, &h, offsetof(edt_side_file_header, header_crc)) != h.header_crc) {
        EDT_FAIL(err, EDT_ERR_CORRUPT, "side index '%s': the CRC of its header does not match",
                 name);
    }
    edt_span records;
    edt_span boxes;
    edt_span labels;
    if (!take(&rest, h.n_records, sizeof(edt_side_record), &records) ||
        !take(&rest, h.n_boxes, sizeof(edt_side_box), &boxes) ||
        !take(&rest, h.n_labels, sizeof(edt_side_file_label), &labels) ||
        rest.n_bytes != h.text_bytes || h.format > EDT_SHARD_ZSTD) {
        return fail_format(name, "its size is not what its header says", err);
    }
    const edt_span labels_and_text = {labels.data, labels.n_bytes + rest.n_bytes};
    const struct {
        edt_span bytes;
        uint32_t crc;
        const char *what;
    } tables[] = {{records, h.records_crc, "records"},
                  {boxes, h.boxes_crc, "boxes"},
                  {labels_and_text, h.labels_crc, "labels"}};
    for (size_t i = 0; i < sizeof tables / sizeof tables[0]; ++i) {
        if (edt_crc32c(0, tables[i].bytes.data, tables[i].bytes.n_bytes) != tables[i].crc) {
            EDT_FAIL(err, EDT_ERR_CORRUPT, "side index '%s': the CRC of its %s does not match",
                     name, tables[i].what);
        }
    }
    index->summary = (edt_side_summary){.format = (edt_shard_format)h.format,
                                        .shard_bytes = h.shard_bytes,
                                        .stream_bytes = h.stream_bytes,
                                        .n_records = (int64_t)h.n_records,
                                        .n_boxes = (int64_t)h.n_boxes,
                                        .n_labels = (int64_t)h.n_labels,
                                        .lengths_crc = h.lengths_crc};
    // The header is a multiple of 8 bytes and so is every row; mappings and blocks are aligned.
    index->records = (const edt_side_record *)(const void *)records.data;
    index->boxes = (const edt_side_box *)(const void *)boxes.data;
    index->labels = (const edt_side_file_label *)(const void *)labels.data;
    index->text = (const char *)rest.data;
    for (int64_t i = 0; i < index->summary.n_labels; ++i) {
        const edt_side_file_label *label = &index->labels[i];
        if (label->first > rest.n_bytes || label->n_bytes > rest.n_bytes - label->first) {
            return fail_format(name, "a class name lies outside it", err);
        }
    }
    return records_fit(index) ? EDT_OK
                              : fail_format(name, "its records do not fit its shard", err);
}

edt_status edt_side_index_open_memory(edt_span bytes, const char *name, edt_error *err,
                                      edt_side_index **out_index)
{
    if ((uintptr_t)bytes.data % _Alignof(uint64_t) != 0) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "side index '%s': its memory is not aligned", name);
    }
    edt_side_index *index = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *index);
    if (index == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the side index '%s'", name);
    }
    index->bytes = bytes;
    const edt_status status = parse(index, name, err);
    if (status != EDT_OK) {
        edt_side_index_close(index);
        return status;
    }
    *out_index = index;
    return EDT_OK;
}

edt_status edt_side_index_adopt(uint8_t *take_bytes, size_t n_bytes, edt_error *err,
                                edt_side_index **out_index)
{
    EDT_TRY(edt_side_index_open_memory((edt_span){take_bytes, n_bytes}, "new", err, out_index));
    (*out_index)->owned = take_bytes;
    return EDT_OK;
}

edt_status edt_side_index_open(const char *path, edt_error *err, edt_side_index **out_index)
{
    edt_mapped_file file;
    EDT_TRY(edt_mapped_file_open(path, err, &file));
    const edt_status status = edt_side_index_open_memory(file.span, path, err, out_index);
    if (status != EDT_OK) {
        edt_mapped_file_close(&file);
        return status;
    }
    (*out_index)->file = file;
    return EDT_OK;
}

void edt_side_index_close(edt_side_index *index)
{
    if (index != NULL) {
        edt_mapped_file_close(&index->file);
        edt_mem_free(index->owned);
        edt_mem_free(index);
    }
}

const edt_side_summary *edt_side_index_summary(const edt_side_index *index)
{
    return &index->summary;
}

const edt_side_record *edt_side_index_records(const edt_side_index *index)
{
    return index->records;
}

const edt_side_box *edt_side_index_boxes(const edt_side_index *index)
{
    return index->boxes;
}

edt_side_label edt_side_index_label(const edt_side_index *index, int64_t i)
{
    const edt_side_file_label *label = &index->labels[i];
    return (edt_side_label){.label = label->label,
                            .name = {index->text + label->first, label->n_bytes}};
}

edt_span edt_side_index_bytes(const edt_side_index *index)
{
    return index->bytes;
}

edt_status edt_side_dir_create(const char *path, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 1024);
    edt_status status = EDT_OK;
    const char *dir = edt_path_dirname(&arena, path);
    const char *parent = dir != NULL ? edt_path_dirname(&arena, dir) : NULL;
    if (parent == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a path");
        goto fail;
    }
    const char *written_to = edt_path_is_dir(dir) ? dir : parent;
    struct stat info;
    if (stat(written_to, &info) == 0 && (info.st_mode & 0222) == 0) {
        status = edt_error_set(err, EDT_ERR_IO, "the directory '%s' is read-only", written_to);
        goto fail;
    }
    EDT_TRY_GOTO(edt_path_mkdirs(dir, err));
fail:
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_side_index_save(const edt_side_index *index, const char *shard_path,
                               edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    edt_atomic_file *file = NULL;
    const char *path = edt_side_index_path(&arena, shard_path);
    if (path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a path");
        goto fail;
    }
    EDT_TRY_GOTO(edt_side_dir_create(path, err));
    EDT_TRY_GOTO(edt_atomic_file_open(path, err, &file));
    EDT_TRY_GOTO(edt_atomic_file_append(file, index->bytes.data, index->bytes.n_bytes, err));
    // Whoever finds it damaged makes it again, so it need not be synced.
    EDT_TRY_GOTO(edt_atomic_file_commit_unsynced(file, err));
fail:
    edt_atomic_file_close(file);
    edt_arena_deinit(&arena);
    return status;
}

edt_status edt_side_index_remove(const char *shard_path, edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_status status = EDT_OK;
    const char *path = edt_side_index_path(&arena, shard_path);
    if (path == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for a path");
    } else if (unlink(path) != 0 && errno != ENOENT && errno != ENOTDIR) {
        status = edt_error_set_errno(err, EDT_ERR_IO, errno,
                                     "cannot remove the outdated side index '%s'", path);
    }
    edt_arena_deinit(&arena);
    return status;
}
