// Side indexes of arbitrary bytes, as they are and with their checksums made right: no overrun,
// and every row, box and label of one that is accepted lies inside it.
#include <stdlib.h>
#include <string.h>

#include "core/crc32c.h"
#include "core/mem.h"
#include "dataio/side_index.h"
#include "dataio/side_index_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void check(edt_span bytes)
{
    edt_side_index *index = NULL;
    edt_error err = {0};
    if (edt_side_index_open_memory(bytes, "fuzz", &err, &index) != EDT_OK) {
        if (err.text[0] == '\0') {
            abort();
        }
        return;
    }
    const edt_side_summary *s = edt_side_index_summary(index);
    uint64_t sum = 0;
    for (int64_t i = 0; i < s->n_records; ++i) {
        const edt_side_record *r = &edt_side_index_records(index)[i];
        if (r->offset + r->n_bytes + 16 > s->stream_bytes) {
            abort();
        }
        for (uint32_t k = 0; k < r->n_boxes; ++k) {
            sum += (uint64_t)edt_side_index_boxes(index)[r->first_box + k].label;
        }
    }
    for (int64_t i = 0; i < s->n_labels; ++i) {
        const edt_side_label label = edt_side_index_label(index, i);
        for (size_t k = 0; k < label.name.n_bytes; ++k) {
            sum += (uint8_t)label.name.data[k];
        }
    }
    volatile uint64_t used = sum;
    (void)used;
    edt_side_index_close(index);
}

// The tables as the header counts them, as far as they are there.
static void fix_checksums(uint8_t *bytes, size_t n)
{
    edt_side_file_header h;
    if (n < sizeof h) {
        return;
    }
    memcpy(&h, bytes, sizeof h);
    const size_t left = n - sizeof h;
    const uint8_t *at = bytes + sizeof h;
    const uint8_t *end = bytes + n;
    if (h.n_records <= left / sizeof(edt_side_record)) {
        const size_t records = (size_t)h.n_records * sizeof(edt_side_record);
        h.records_crc = edt_crc32c(0, at, records);
        at += records;
    }
    if (h.n_boxes <= (size_t)(end - at) / sizeof(edt_side_box)) {
        const size_t boxes = (size_t)h.n_boxes * sizeof(edt_side_box);
        h.boxes_crc = edt_crc32c(0, at, boxes);
        at += boxes;
    }
    h.labels_crc = edt_crc32c(0, at, (size_t)(end - at));
    memcpy(h.magic, EDT_SIDE_MAGIC, sizeof h.magic);
    h.header_crc = edt_crc32c(0, &h, offsetof(edt_side_file_header, header_crc));
    memcpy(bytes, &h, sizeof h);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint8_t *bytes = edt_mem_alloc(EDT_MEM_MISC, n);
    if (bytes == NULL) {
        abort();
    }
    if (n > 0) {
        memcpy(bytes, data, n);
    }
    check((edt_span){bytes, n});
    fix_checksums(bytes, n);
    check((edt_span){bytes, n});
    edt_mem_free(bytes);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    if (i > 2) {
        return 0;
    }
    static const float boxes[8] = {0, 0, 0.5F, 0.5F, 0.25F, 0.25F, 1, 1};
    static const int64_t labels[2] = {1, 90};
    static const edt_text names[2] = {{"person", 6}, {"toothbrush", 10}};
    edt_side_builder *builder = NULL;
    edt_side_index *index = NULL;
    if (edt_side_builder_create(NULL, &builder) != EDT_OK) {
        abort();
    }
    uint64_t offset = 0;
    for (int k = 0; k < 3 * i; ++k) {
        const edt_record_info info = {.flags = EDT_RECORD_INFO_EXAMPLE,
                                      .image_id = k,
                                      .height = 480,
                                      .width = 640,
                                      .n_boxes = k % 3,
                                      .boxes = boxes,
                                      .labels = labels,
                                      .names = names};
        const uint64_t n_bytes = (uint64_t)(100 * k);
        if (edt_side_builder_add(builder, offset, n_bytes, &info, NULL) != EDT_OK) {
            abort();
        }
        offset += n_bytes + 16;
    }
    if (edt_side_builder_finish(builder, EDT_SHARD_PLAIN, offset, offset, NULL, &index) !=
        EDT_OK) {
        abort();
    }
    const edt_span bytes = edt_side_index_bytes(index);
    const size_t n = bytes.n_bytes <= cap ? bytes.n_bytes : 0;
    memcpy(out, bytes.data, n);
    edt_side_index_close(index);
    edt_side_builder_destroy(builder);
    return n;
}
