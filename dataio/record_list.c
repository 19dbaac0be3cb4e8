// See record_list.h: the lines. Taking a record out is record_extract.c.
#include "dataio/record_list.h"

#include <errno.h>
#include <inttypes.h>

#include "dataio/example.h"
#include "dataio/record_scan.h"

typedef struct lister {
    FILE *out;
    int64_t n_bad;
    bool failed;
} lister;

typedef struct line_result {
    bool good;
    edt_example example;
    edt_error why;
} line_result;

// See edt_scan_spec.
static edt_status read_record(void *ctx, int worker, edt_scan_item *item, edt_error *err)
{
    (void)ctx, (void)worker;
    line_result *line = item->result;
    const edt_status status =
        edt_example_decode(item->payload, 0, item->arena, &line->why, &line->example);
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "%s", line->why.text);
    }
    line->good = status == EDT_OK;
    return EDT_OK;
}

static void put_text(FILE *out, const char *text, size_t n_bytes)
{
    for (size_t i = 0; i < n_bytes; ++i) {
        const unsigned char c = (unsigned char)text[i];
        (void)fputc(c < 0x20 || c == 0x7f ? '?' : c, out);
    }
}

// See edt_scan_spec.
static edt_status take_line(void *ctx, const edt_scan_item *item, edt_error *err)
{
    lister *l = ctx;
    const line_result *line = item->result;
    if (item->kind == EDT_SCAN_FILE_END) {
        return EDT_OK;
    }
    (void)fprintf(l->out, "%s\t%" PRId64 "\t%" PRIu64 "\t%zu\t", item->path, item->i_record,
                  item->offset, item->payload.n_bytes);
    if (item->kind != EDT_SCAN_RECORD || !line->good) {
        const char *words = item->kind != EDT_SCAN_RECORD ? item->words : line->why.text;
        ++l->n_bad;
        (void)fprintf(l->out, "\t\t\t\tcannot be read: %s\n", words);
    } else {
        const edt_example *e = &line->example;
        put_text(l->out, e->source_id.data, e->source_id.n_bytes);
        (void)fprintf(l->out, "\t%" PRId64 "\t%" PRId64 "\t%" PRId64 "\t", e->height, e->width,
                      e->n_boxes);
        put_text(l->out, e->filename.data, e->filename.n_bytes);
        (void)fputc('\n', l->out);
    }
    if (ferror(l->out)) {
        EDT_FAIL(err, EDT_ERR_IO, "cannot write the list");
    }
    return EDT_OK;
}

edt_status edt_record_list(const edt_list_options *options, FILE *out, edt_error *err,
                           int64_t *out_n_bad)
{
    lister l = {.out = out};
    const edt_scan_spec spec = {.paths = options->paths,
                                .n_files = options->n_files,
                                .n_threads = options->n_threads,
                                .result_bytes = sizeof(line_result),
                                .ctx = &l,
                                .work = read_record,
                                .consume = take_line};
    (void)fprintf(out, "shard\trecord\toffset\tbytes\tid\theight\twidth\tboxes\tfile_name\n");
    EDT_TRY(edt_record_scan(&spec, err));
    if (fflush(out) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot write the list");
    }
    *out_n_bad = l.n_bad;
    return EDT_OK;
}
