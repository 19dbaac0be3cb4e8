// Tables and lookups of coco_json.h. Annotations are put together by image with a counting
// sort, which keeps the order of the file.
#include <inttypes.h>
#include <string.h>

#include "dataio/coco_json_priv.h"

static void swap_rows(char *a, char *b, size_t n_bytes)
{
    char kept[sizeof(edt_coco_annotation)];
    memcpy(kept, a, n_bytes);
    memcpy(a, b, n_bytes);
    memcpy(b, kept, n_bytes);
}

// `image_id` is the first member of every row type. Rows change places in the table itself, so
// that a large file does not need it twice.
static edt_status group_rows(edt_coco_table *rows, size_t row_bytes, edt_coco_grouping *out,
                             edt_error *err)
{
    edt_status status = EDT_OK;
    char *table = rows->rows;
    int64_t *place = edt_mem_calloc(EDT_MEM_TEXT, (size_t)rows->n + 1, sizeof *place);
    if (place == NULL) {
        goto no_memory;
    }
    for (int64_t i = 0; i < rows->n; ++i) {
        int64_t image_id;
        memcpy(&image_id, table + (size_t)i * row_bytes, sizeof image_id);
        EDT_TRY_GOTO(edt_id_map_add(&out->groups, image_id, (int64_t)out->groups.n_used, err,
                                    &place[i]));
    }
    out->start = edt_mem_calloc(EDT_MEM_TEXT, out->groups.n_used + 2, sizeof *out->start);
    if (out->start == NULL) {
        goto no_memory;
    }
    // start[g + 2] counts group g; after the sums start[g + 1] is where its next row goes, and
    // when all rows have a place, where it ends.
    for (int64_t i = 0; i < rows->n; ++i) {
        ++out->start[place[i] + 2];
    }
    for (size_t g = 2; g < out->groups.n_used + 2; ++g) {
        out->start[g] += out->start[g - 1];
    }
    for (int64_t i = 0; i < rows->n; ++i) {
        place[i] = out->start[place[i] + 1]++;
    }
    // Each swap brings a row to its place.
    for (int64_t i = 0; i < rows->n; ++i) {
        while (place[i] != i) {
            const int64_t to = place[i];
            swap_rows(table + (size_t)i * row_bytes, table + (size_t)to * row_bytes, row_bytes);
            place[i] = place[to];
            place[to] = to;
        }
    }
    edt_mem_free(place);
    return EDT_OK;

no_memory:
    status =
        edt_error_set(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " annotations", rows->n);
fail:
    edt_mem_free(place);
    return status;
}

static edt_status read_text(edt_coco_json *coco, edt_span text, const char *path, unsigned what,
                            edt_convert_report *report, edt_error *err)
{
    EDT_TRY(edt_coco_json_read(coco, text, path, what, report, err));
    EDT_TRY(group_rows(&coco->annotations, sizeof(edt_coco_annotation), &coco->by_image, err));
    return group_rows(&coco->captions, sizeof(edt_coco_caption), &coco->captions_by_image, err);
}

static edt_status create(edt_error *err, edt_coco_json **out_coco)
{
    edt_coco_json *coco = edt_mem_calloc(EDT_MEM_TEXT, 1, sizeof *coco);
    if (coco == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for annotations");
    }
    edt_arena_init(&coco->arena, EDT_MEM_TEXT, 0);
    *out_coco = coco;
    return EDT_OK;
}

edt_status edt_coco_json_open(const char *path, unsigned what, edt_convert_report *report,
                              edt_error *err, edt_coco_json **out_coco)
{
    edt_coco_json *coco = NULL;
    EDT_TRY(create(err, &coco));
    edt_status status = edt_mapped_file_open(path, err, &coco->file);
    if (status == EDT_OK) {
        status = read_text(coco, coco->file.span, path, what, report, err);
    }
    if (status == EDT_OK) {
        *out_coco = coco;
    } else {
        edt_coco_json_close(coco);
    }
    return status;
}

edt_status edt_coco_json_parse(edt_span text, const char *path, unsigned what,
                               edt_convert_report *report, edt_error *err,
                               edt_coco_json **out_coco)
{
    edt_coco_json *coco = NULL;
    EDT_TRY(create(err, &coco));
    const edt_status status = read_text(coco, text, path, what, report, err);
    if (status == EDT_OK) {
        *out_coco = coco;
    } else {
        edt_coco_json_close(coco);
    }
    return status;
}

void edt_coco_json_close(edt_coco_json *coco)
{
    if (coco == NULL) {
        return;
    }
    edt_mem_free(coco->images.rows);
    edt_mem_free(coco->categories.rows);
    edt_mem_free(coco->annotations.rows);
    edt_mem_free(coco->captions.rows);
    edt_id_map_deinit(&coco->by_image.groups);
    edt_id_map_deinit(&coco->captions_by_image.groups);
    edt_mem_free(coco->by_image.start);
    edt_mem_free(coco->captions_by_image.start);
    edt_arena_deinit(&coco->arena);
    edt_mapped_file_close(&coco->file);
    edt_mem_free(coco);
}

int64_t edt_coco_json_n_images(const edt_coco_json *coco)
{
    return coco->images.n;
}

const edt_coco_image *edt_coco_json_image(const edt_coco_json *coco, int64_t i)
{
    return (const edt_coco_image *)coco->images.rows + i;
}

int64_t edt_coco_json_n_categories(const edt_coco_json *coco)
{
    return coco->categories.n;
}

const edt_coco_class *edt_coco_json_category(const edt_coco_json *coco, int64_t i)
{
    return (const edt_coco_class *)coco->categories.rows + i;
}

int64_t edt_coco_json_n_annotations(const edt_coco_json *coco)
{
    return coco->annotations.n;
}

int64_t edt_coco_json_n_captions(const edt_coco_json *coco)
{
    return coco->captions.n;
}

// First row of the image's group, -1 when it has none.
static int64_t find_rows(const edt_coco_grouping *rows, int64_t image_id, int64_t *out_n)
{
    const int64_t group = edt_id_map_get(&rows->groups, image_id);
    if (group < 0) {
        *out_n = 0;
        return -1;
    }
    *out_n = rows->start[group + 1] - rows->start[group];
    return rows->start[group];
}

const edt_coco_annotation *edt_coco_json_annotations(const edt_coco_json *coco,
                                                     int64_t image_id, int64_t *out_n)
{
    const int64_t first = find_rows(&coco->by_image, image_id, out_n);
    return first < 0 ? NULL : (const edt_coco_annotation *)coco->annotations.rows + first;
}

const edt_coco_caption *edt_coco_json_captions(const edt_coco_json *coco, int64_t image_id,
                                               int64_t *out_n)
{
    const int64_t first = find_rows(&coco->captions_by_image, image_id, out_n);
    return first < 0 ? NULL : (const edt_coco_caption *)coco->captions.rows + first;
}
