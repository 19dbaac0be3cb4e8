// Building side indexes; see side_index.h. Rows come in any order (converters have several
// threads); the finished bytes depend on the rows only.
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "dataio/side_index.h"
#include "dataio/side_index_priv.h"

enum { N_BUCKETS = 256, MAX_LABELS = 1 << 16 };

typedef struct label_entry {
    struct label_entry *next; // of its bucket
    int64_t label;
    const char *name;
    uint32_t n_bytes;
} label_entry;

struct edt_side_builder {
    edt_side_record *records; // first_box: in arrival order until finish
    int64_t n_records, records_capacity;
    edt_side_box *boxes;
    int64_t n_boxes, boxes_capacity;
    edt_arena labels;
    label_entry *buckets[N_BUCKETS];
    int64_t n_labels;
    size_t text_bytes;
};

edt_status edt_side_builder_create(edt_error *err, edt_side_builder **out_builder)
{
    edt_side_builder *builder = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *builder);
    if (builder == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a side index");
    }
    edt_arena_init(&builder->labels, EDT_MEM_TEXT, 0);
    *out_builder = builder;
    return EDT_OK;
}

void edt_side_builder_destroy(edt_side_builder *builder)
{
    if (builder != NULL) {
        edt_arena_deinit(&builder->labels);
        edt_mem_free(builder->records);
        edt_mem_free(builder->boxes);
        edt_mem_free(builder);
    }
}

static bool grow(void **block, int64_t *capacity, int64_t wanted, size_t item_bytes)
{
    if (wanted <= *capacity) {
        return true;
    }
    const int64_t larger = wanted > 2 * *capacity ? wanted + 64 : 2 * *capacity;
    void *grown = edt_mem_realloc(EDT_MEM_MISC, *block, (size_t)larger * item_bytes);
    if (grown == NULL) {
        return false;
    }
    *block = grown;
    *capacity = larger;
    return true;
}

static bool add_label(edt_side_builder *builder, int64_t label, edt_text name)
{
    label_entry **at = &builder->buckets[(uint64_t)label % N_BUCKETS];
    for (; *at != NULL; at = &(*at)->next) {
        if ((*at)->label == label && (*at)->n_bytes == name.n_bytes &&
            memcmp((*at)->name, name.data, name.n_bytes) == 0) {
            return true;
        }
    }
    // A data set with a name of its own for every box is no label map.
    if (builder->n_labels == MAX_LABELS || name.n_bytes > UINT16_MAX) {
        return true;
    }
    label_entry *entry = edt_arena_calloc(&builder->labels, 1, sizeof *entry);
    char *copy = edt_arena_strndup(&builder->labels, name.data, name.n_bytes);
    if (entry == NULL || copy == NULL) {
        return false;
    }
    *entry = (label_entry){.label = label, .name = copy, .n_bytes = (uint32_t)name.n_bytes};
    *at = entry;
    ++builder->n_labels;
    builder->text_bytes += name.n_bytes;
    return true;
}

static int32_t clamp_side(int64_t value)
{
    return value < -1 ? -1 : value > INT32_MAX ? INT32_MAX : (int32_t)value;
}

edt_status edt_side_builder_add(edt_side_builder *builder, uint64_t offset, uint64_t n_bytes,
                                const edt_record_info *info, edt_error *err)
{
    static const edt_record_info unknown = {.height = -1, .width = -1};
    const edt_record_info *in = info != NULL ? info : &unknown;
    void *records = builder->records;
    void *boxes = builder->boxes;
    const bool grown = grow(&records, &builder->records_capacity, builder->n_records + 1,
                            sizeof *builder->records) &&
                       grow(&boxes, &builder->boxes_capacity, builder->n_boxes + in->n_boxes,
                            sizeof *builder->boxes);
    builder->records = records;
    builder->boxes = boxes;
    if (!grown) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to index %" PRId64 " records",
                 builder->n_records + 1);
    }
    for (int64_t i = 0; i < in->n_boxes; ++i) {
        edt_side_box *box = &builder->boxes[builder->n_boxes + i];
        *box = (edt_side_box){.label = in->labels[i],
                              .is_crowd = in->is_crowd != NULL && in->is_crowd[i]};
        memcpy(box->box, &in->boxes[4 * i], sizeof box->box);
        if (in->names != NULL && !add_label(builder, in->labels[i], in->names[i])) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for class names");
        }
    }
    builder->records[builder->n_records++] =
        (edt_side_record){.offset = offset,
                          .n_bytes = n_bytes,
                          .image_id = in->image_id,
                          .height = clamp_side(in->height),
                          .width = clamp_side(in->width),
                          .first_box = (uint64_t)builder->n_boxes,
                          .n_boxes = (uint32_t)in->n_boxes,
                          .flags = in->flags};
    builder->n_boxes += in->n_boxes;
    return EDT_OK;
}

static int by_offset(const void *a, const void *b)
{
    const uint64_t x = ((const edt_side_record *)a)->offset;
    const uint64_t y = ((const edt_side_record *)b)->offset;
    return (x > y) - (x < y);
}

static int by_label(const void *a, const void *b)
{
    const label_entry *x = *(const label_entry *const *)a;
    const label_entry *y = *(const label_entry *const *)b;
    if (x->label != y->label) {
        return x->label < y->label ? -1 : 1;
    }
    const uint32_t n = x->n_bytes < y->n_bytes ? x->n_bytes : y->n_bytes;
    const int order = memcmp(x->name, y->name, n);
    return order != 0 ? order : (x->n_bytes > y->n_bytes) - (x->n_bytes < y->n_bytes);
}

static uint32_t crc_of_lengths(const edt_side_builder *builder)
{
    uint32_t crc = 0;
    for (int64_t i = 0; i < builder->n_records; ++i) {
        uint8_t header[EDT_TFRECORD_HEADER_BYTES];
        edt_tfrecord_put_header(builder->records[i].n_bytes, header);
        crc = edt_crc32c(crc, header + 8, 4);
    }
    return crc;
}

// Boxes in the order of the records, and their numbers in the records.
static void put_boxes(const edt_side_builder *builder, edt_side_record *records,
                      edt_side_box *boxes)
{
    uint64_t n = 0;
    for (int64_t i = 0; i < builder->n_records; ++i) {
        edt_side_record *r = &records[i];
        if (r->n_boxes > 0) {
            memcpy(&boxes[n], &builder->boxes[r->first_box], r->n_boxes * sizeof *boxes);
        }
        r->first_box = n;
        n += r->n_boxes;
    }
}

static edt_status put_labels(const edt_side_builder *builder, edt_side_file_label *labels,
                             char *text, edt_error *err)
{
    const size_t n = (size_t)builder->n_labels;
    const label_entry **order = edt_mem_alloc(EDT_MEM_MISC, (n + 1) * sizeof *order);
    if (order == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %zu class names", n);
    }
    size_t k = 0;
    for (size_t i = 0; i < N_BUCKETS; ++i) {
        for (const label_entry *e = builder->buckets[i]; e != NULL; e = e->next) {
            order[k++] = e;
        }
    }
    qsort(order, n, sizeof *order, by_label);
    uint32_t first = 0;
    for (size_t i = 0; i < n; ++i) {
        labels[i] = (edt_side_file_label){
            .label = order[i]->label, .first = first, .n_bytes = order[i]->n_bytes};
        memcpy(text + first, order[i]->name, order[i]->n_bytes);
        first += order[i]->n_bytes;
    }
    edt_mem_free(order);
    return EDT_OK;
}

edt_status edt_side_builder_finish(edt_side_builder *builder, edt_shard_format format,
                                   uint64_t shard_bytes, uint64_t stream_bytes, edt_error *err,
                                   edt_side_index **out_index)
{
    const size_t records_bytes = (size_t)builder->n_records * sizeof(edt_side_record);
    const size_t boxes_bytes = (size_t)builder->n_boxes * sizeof(edt_side_box);
    const size_t labels_bytes =
        (size_t)builder->n_labels * sizeof(edt_side_file_label) + builder->text_bytes;
    const size_t n_bytes =
        sizeof(edt_side_file_header) + records_bytes + boxes_bytes + labels_bytes;
    uint8_t *bytes = edt_mem_alloc(EDT_MEM_MISC, n_bytes);
    if (bytes == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a side index of %zu bytes", n_bytes);
    }
    if (builder->n_records > 0) {
        qsort(builder->records, (size_t)builder->n_records, sizeof *builder->records,
              by_offset);
    }
    uint8_t *records = bytes + sizeof(edt_side_file_header);
    uint8_t *boxes = records + records_bytes;
    uint8_t *labels = boxes + boxes_bytes;
    edt_side_file_header h = {.format = (uint32_t)format,
                              .shard_bytes = shard_bytes,
                              .stream_bytes = stream_bytes,
                              .n_records = (uint64_t)builder->n_records,
                              .n_boxes = (uint64_t)builder->n_boxes,
                              .n_labels = (uint64_t)builder->n_labels,
                              .text_bytes = builder->text_bytes,
                              .lengths_crc = crc_of_lengths(builder)};
    memcpy(h.magic, EDT_SIDE_MAGIC, sizeof h.magic);
    // put_boxes renumbers in place, so a builder is finished once.
    put_boxes(builder, builder->records, (edt_side_box *)(void *)boxes);
    if (records_bytes > 0) {
        memcpy(records, builder->records, records_bytes);
    }
    edt_status status = put_labels(
        builder, (edt_side_file_label *)(void *)labels,
        (char *)labels + (size_t)builder->n_labels * sizeof(edt_side_file_label), err);
    if (status == EDT_OK) {
        h.records_crc = edt_crc32c(0, records, records_bytes);
        h.boxes_crc = edt_crc32c(0, boxes, boxes_bytes);
        h.labels_crc = edt_crc32c(0, labels, labels_bytes);
        h.header_crc = edt_crc32c(0, &h, offsetof(edt_side_file_header, header_crc));
        memcpy(bytes, &h, sizeof h);
        status = edt_side_index_adopt(bytes, n_bytes, err, out_index);
    }
    if (status != EDT_OK) {
        edt_mem_free(bytes);
    }
    return status;
}
