// See verify.h. Workers look at one record each; what needs all records (duplicates, names of
// labels) is gathered in order.
#include "dataio/verify.h"

#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "core/clock.h"
#include "core/mem.h"
#include "core/utf8.h"
#include "dataio/example.h"
#include "dataio/fingerprint64.h"
#include "dataio/id_map.h"
#include "dataio/image_decode.h"
#include "dataio/jpeg_probe.h"
#include "dataio/label_names.h"
#include "dataio/record_info.h"
#include "dataio/record_scan.h"
#include "dataio/sha256.h"
#include "dataio/tfexample.h"

enum { MAX_FINDINGS = 1000, MAX_OF_RECORD = 8 };

struct edt_verify_report {
    edt_arena arena;
    edt_verify_totals totals;
    int64_t counts[EDT_VERIFY_N_CODES];
    edt_verify_finding *findings;
    int64_t n_findings, capacity;
};

// What a worker says of a record.
typedef struct record_result {
    struct {
        edt_verify_code code;
        char *words;
    } found[MAX_OF_RECORD];
    int n_found;
    bool is_example;
    edt_text source_id;
    int64_t image_id; // with has_id
    bool has_id;
    int64_t fingerprint; // of the picture
    int64_t n_boxes;
    const int64_t *labels;
    int64_t n_texts;
    const edt_span *texts;
} record_result;

typedef struct verify_worker {
    edt_sha256 *sha;
    edt_image_decoder *decoder;
} verify_worker;

// Where an id or picture was seen first.
typedef struct first_place {
    int64_t i_file, i_record;
} first_place;

typedef struct verifier {
    const edt_verify_options *options;
    edt_verify_report *report;
    verify_worker *workers;
    int n_workers;
    edt_id_map ids, pictures; // to the number of a place
    first_place *places;
    int64_t n_places, places_capacity;
    edt_label_names *names;
} verifier;

static const struct {
    const char *name, *advice;
} codes[EDT_VERIFY_N_CODES] = {
    [EDT_VERIFY_UNREADABLE] = {"unreadable", "the file cannot be opened"},
    [EDT_VERIFY_LENGTH_CRC] =
        {"length_crc", "the length of a record is damaged: copy the shard again, or save "
                       "the good records with --repair"},
    [EDT_VERIFY_DATA_CRC] = {"data_crc",
                             "the bytes of a record are damaged: copy the shard again, or save "
                             "the good records with --repair"},
    [EDT_VERIFY_TRUNCATED] = {"truncated",
                              "the shard is cut off: copy it again, or save the good records "
                              "with --repair"},
    [EDT_VERIFY_TOO_LARGE] = {"too_large", "a record that no file can hold"},
    [EDT_VERIFY_STREAM] = {"stream",
                           "the compressed stream is damaged: copy the shard again, or "
                           "save the records before it with --repair"},
    [EDT_VERIFY_EXAMPLE] = {"example", "not a record of detection data that training takes"},
    [EDT_VERIFY_IMAGE] = {"image",
                          "the picture does not decode: convert it again, or train with "
                          "--hparams=on_bad_sample=skip"},
    [EDT_VERIFY_SIZE] = {"size", "stored size and picture differ: were boxes made for another "
                                 "version of the picture, or for one turned by EXIF "
                                 "(then train with --hparams=exif_rotate=true)?"},
    [EDT_VERIFY_BOX_RANGE] = {"box_range",
                              "boxes reach beyond the picture: training cuts them; "
                              "convert with --clip_boxes to mend them"},
    [EDT_VERIFY_BOX_EMPTY] = {"box_empty", "boxes without area teach nothing; training drops "
                                           "them"},
    [EDT_VERIFY_LABEL] = {"label", "labels run from 1 to num_classes; others are learnt as "
                                   "background"},
    [EDT_VERIFY_LABEL_NAME] = {"label_name", "was the data set made with two label maps?"},
    [EDT_VERIFY_ID] = {"id", "results are matched to pictures by a number: "
                             "--hparams=regenerate_source_id=true makes one"},
    [EDT_VERIFY_DUPLICATE_ID] = {"duplicate_id", "evaluation would mix up these pictures"},
    [EDT_VERIFY_SHA256] = {"sha256", "the picture is not the one that was converted"},
    [EDT_VERIFY_MASK] = {"mask", "instance masks are PNGs of the picture's size"},
    [EDT_VERIFY_NOT_JPEG] = {"not_jpeg",
                             "PNG, GIF or BMP bytes: decoded as well, but other programs "
                             "may expect JPEG"},
    [EDT_VERIFY_DUPLICATE_IMAGE] = {"duplicate_image",
                                    "the same picture under two ids: beware of "
                                    "it in training and validation"},
};

const char *edt_verify_code_name(edt_verify_code code)
{
    return (unsigned)code < EDT_VERIFY_N_CODES ? codes[code].name : "unknown";
}

const char *edt_verify_code_advice(edt_verify_code code)
{
    return (unsigned)code < EDT_VERIFY_N_CODES ? codes[code].advice : "";
}

// One finding of a worker; more than fit are only of a record that is thoroughly broken.
EDT_PRINTF(4, 5)
static void find(edt_scan_item *item, record_result *r, edt_verify_code code, const char *fmt,
                 ...)
{
    if (r->n_found == MAX_OF_RECORD) {
        return;
    }
    char words[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(words, sizeof words, fmt, args);
    va_end(args);
    r->found[r->n_found].code = code;
    r->found[r->n_found].words = edt_arena_strdup(item->arena, words);
    ++r->n_found;
}

// EDT_ERR_NOMEM, which is no finding.
static edt_status check_picture(verify_worker *w, edt_scan_item *item,
                                const edt_example *example, record_result *r, edt_error *err,
                                edt_image_header *out_size)
{
    edt_error words = {0};
    edt_image_header size = {.format = edt_image_format_of(example->encoded)};
    edt_image image;
    edt_status status =
        edt_image_open(w->decoder, example->encoded, &words, &size.height, &size.width);
    if (status == EDT_OK) {
        status = edt_image_decode(w->decoder, 0, &words, &image);
    }
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "%s", words.text);
    }
    if (status != EDT_OK) {
        find(item, r, EDT_VERIFY_IMAGE, "%s", words.text);
        return EDT_OK;
    }
    if (size.format != EDT_IMAGE_JPEG) {
        find(item, r, EDT_VERIFY_NOT_JPEG, "the picture is a %s file",
             edt_image_format_name(size.format));
    }
    *out_size = size;
    if (example->height != -1 &&
        (example->height != size.height || example->width != size.width)) {
        find(item, r, EDT_VERIFY_SIZE,
             "stored as %" PRId64 " x %" PRId64 ", the picture has %" PRId64 " x %" PRId64
             " (height x width)",
             example->height, example->width, size.height, size.width);
    }
    return EDT_OK;
}

static void check_boxes(const verifier *v, edt_scan_item *item, const edt_example *example,
                        record_result *r)
{
    bool range = false, empty = false, label = false;
    for (int64_t i = 0; i < example->n_boxes; ++i) {
        const float *b = &example->boxes[4 * i];
        bool inside = true;
        for (int k = 0; k < 4; ++k) {
            inside = inside && b[k] >= 0 && b[k] <= 1; // false for what is not a number
        }
        // One finding of a kind per record: the first box tells the story.
        if (!inside && !range) {
            range = true;
            find(item, r, EDT_VERIFY_BOX_RANGE,
                 "box %" PRId64 ": ymin %g, xmin %g, ymax %g, xmax %g is not inside 0..1", i,
                 (double)b[0], (double)b[1], (double)b[2], (double)b[3]);
        }
        if (!(b[0] < b[2] && b[1] < b[3]) && !empty && isfinite(b[0] + b[1] + b[2] + b[3])) {
            empty = true;
            find(item, r, EDT_VERIFY_BOX_EMPTY,
                 "box %" PRId64 ": ymin %g, xmin %g, ymax %g, xmax %g has no area", i,
                 (double)b[0], (double)b[1], (double)b[2], (double)b[3]);
        }
        const int64_t value = example->labels[i];
        if ((value < 1 || (v->options->num_classes > 0 && value > v->options->num_classes)) &&
            !label) {
            label = true;
            if (v->options->num_classes > 0) {
                find(item, r, EDT_VERIFY_LABEL,
                     "box %" PRId64 ": label %" PRId64 " is not in 1..%" PRId64, i, value,
                     v->options->num_classes);
            } else {
                find(item, r, EDT_VERIFY_LABEL, "box %" PRId64 ": label %" PRId64 " is below 1",
                     i, value);
            }
        }
    }
}

static void check_masks(edt_scan_item *item, const edt_example *example,
                        const edt_image_header *size, record_result *r)
{
    for (int64_t i = 0; i < example->n_masks && size->height > 0; ++i) {
        edt_image_header header = {0};
        edt_error words = {0};
        if (edt_jpeg_probe(example->masks[i], &words, &header) != EDT_OK ||
            header.format != EDT_IMAGE_PNG) {
            find(item, r, EDT_VERIFY_MASK, "mask %" PRId64 " is no PNG: %s", i, words.text);
            return;
        }
        if (header.height != size->height || header.width != size->width) {
            find(item, r, EDT_VERIFY_MASK,
                 "mask %" PRId64 " has %" PRId64 " x %" PRId64 " pixels, the picture %" PRId64
                 " x %" PRId64,
                 i, header.height, header.width, size->height, size->width);
            return;
        }
    }
}

static void check_id(edt_scan_item *item, const edt_example *example, record_result *r)
{
    unsigned flag = 0;
    r->source_id = example->source_id;
    r->image_id = edt_record_info_image_id(example->source_id, &flag);
    r->has_id = flag == EDT_RECORD_INFO_NUMBER;
    if (example->source_id.n_bytes == 0) {
        find(item, r, EDT_VERIFY_ID, "key 'image/source_id' is missing or empty");
    } else if (!r->has_id) {
        find(item, r, EDT_VERIFY_ID, "image id '%.*s' is no whole number",
             (int)(example->source_id.n_bytes < 64 ? example->source_id.n_bytes : 64),
             example->source_id.data);
    }
}

static edt_status check_sha(verify_worker *w, edt_scan_item *item, const edt_example *example,
                            record_result *r, edt_error *err)
{
    edt_tfexample message;
    edt_feature stored;
    char hex[EDT_SHA256_HEX_BYTES + 1];
    const char *const key = "image/key/sha256";
    if (edt_tfexample_parse(item->payload, item->arena, NULL, &message) != EDT_OK ||
        edt_tfexample_find(&message, key) == NULL) {
        return EDT_OK;
    }
    EDT_TRY(edt_sha256_run(w->sha, example->encoded, err, hex));
    if (edt_tfexample_get_list(&message, key, EDT_FEATURE_BYTES, item->arena, NULL, &stored) !=
            EDT_OK ||
        stored.n != 1 || stored.value.bytes[0].n_bytes != EDT_SHA256_HEX_BYTES ||
        memcmp(stored.value.bytes[0].data, hex, EDT_SHA256_HEX_BYTES) != 0) {
        find(item, r, EDT_VERIFY_SHA256, "key '%s' is not the picture's %s", key, hex);
    }
    return EDT_OK;
}

// See edt_scan_spec.
static edt_status check_record(void *ctx, int worker, edt_scan_item *item, edt_error *err)
{
    verifier *v = ctx;
    verify_worker *w = &v->workers[worker];
    record_result *r = item->result;
    edt_example example;
    edt_error words = {0};
    edt_image_header size = {0};
    const edt_status status = edt_example_decode(
        item->payload, EDT_EXAMPLE_MASKS | EDT_EXAMPLE_TEXTS, item->arena, &words, &example);
    if (status == EDT_ERR_NOMEM) {
        return edt_error_set(err, status, "%s", words.text);
    }
    if (status != EDT_OK) {
        find(item, r, EDT_VERIFY_EXAMPLE, "%s", words.text);
        return EDT_OK;
    }
    r->is_example = true;
    r->n_boxes = example.n_boxes;
    r->labels = example.labels;
    r->n_texts = example.n_texts;
    r->texts = example.texts;
    r->fingerprint = edt_fingerprint64_source_id(example.encoded);
    EDT_TRY(check_picture(w, item, &example, r, err, &size));
    check_boxes(v, item, &example, r);
    check_masks(item, &example, &size, r);
    check_id(item, &example, r);
    return check_sha(w, item, &example, r, err);
}

static edt_status add_finding(verifier *v, edt_verify_code code, const edt_scan_item *item,
                              int64_t i_record, edt_text id, const char *words, edt_error *err)
{
    edt_verify_report *report = v->report;
    const int64_t n = ++report->counts[code];
    if (code < EDT_VERIFY_N_DEFECTS) {
        ++report->totals.n_defects;
    } else {
        ++report->totals.n_warnings;
    }
    if (n > MAX_FINDINGS) {
        return EDT_OK;
    }
    if (report->n_findings == report->capacity) {
        const int64_t capacity = report->capacity > 0 ? 2 * report->capacity : 64;
        edt_verify_finding *grown =
            edt_mem_realloc(EDT_MEM_MISC, report->findings, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the report");
        }
        report->findings = grown;
        report->capacity = capacity;
    }
    edt_verify_finding *finding = &report->findings[report->n_findings];
    *finding = (edt_verify_finding){
        .code = code,
        .path = item->path,
        .i_record = i_record,
        .offset = item->offset,
        .id = edt_arena_strndup(&report->arena, id.n_bytes > 0 ? id.data : "",
                                id.n_bytes < 256 ? id.n_bytes : 256),
        .words = edt_arena_strdup(&report->arena, words != NULL ? words : ""),
    };
    if (finding->id == NULL || finding->words == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the report");
    }
    ++report->n_findings;
    return EDT_OK;
}

// The place where `key` was seen before, NULL for the first time.
static edt_status look_up(verifier *v, edt_id_map *map, int64_t key, const edt_scan_item *item,
                          edt_error *err, const first_place **out_first)
{
    int64_t i_place;
    EDT_TRY(edt_id_map_add(map, key, v->n_places, err, &i_place));
    if (i_place < v->n_places) {
        *out_first = &v->places[i_place];
        return EDT_OK;
    }
    if (v->n_places == v->places_capacity) {
        const int64_t capacity = v->places_capacity > 0 ? 2 * v->places_capacity : 1024;
        first_place *grown =
            edt_mem_realloc(EDT_MEM_MISC, v->places, (size_t)capacity * sizeof *grown);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " ids", capacity);
        }
        v->places = grown;
        v->places_capacity = capacity;
    }
    v->places[v->n_places++] = (first_place){item->i_file, item->i_record};
    *out_first = NULL;
    return EDT_OK;
}

static edt_status check_duplicates(verifier *v, const edt_scan_item *item,
                                   const record_result *r, edt_error *err)
{
    const first_place *first = NULL;
    char words[512];
    if (r->has_id) {
        EDT_TRY(look_up(v, &v->ids, r->image_id, item, err, &first));
        if (first != NULL) {
            (void)snprintf(words, sizeof words,
                           "image id %" PRId64 " is also record %" PRId64 " of '%s'",
                           r->image_id, first->i_record, v->options->paths[first->i_file]);
            EDT_TRY(add_finding(v, EDT_VERIFY_DUPLICATE_ID, item, item->i_record, r->source_id,
                                words, err));
        }
    }
    EDT_TRY(look_up(v, &v->pictures, r->fingerprint, item, err, &first));
    if (first != NULL) {
        (void)snprintf(words, sizeof words, "the same picture is record %" PRId64 " of '%s'",
                       first->i_record, v->options->paths[first->i_file]);
        EDT_TRY(add_finding(v, EDT_VERIFY_DUPLICATE_IMAGE, item, item->i_record, r->source_id,
                            words, err));
    }
    return EDT_OK;
}

static edt_status check_names(verifier *v, const edt_scan_item *item, const record_result *r,
                              edt_error *err)
{
    for (int64_t i = 0; i < r->n_texts && i < r->n_boxes; ++i) {
        const edt_text name = {(const char *)r->texts[i].data, r->texts[i].n_bytes};
        const char *other = NULL;
        EDT_TRY(edt_label_names_add(v->names, r->labels[i], name, err, &other));
        if (other != NULL) {
            char words[512];
            (void)snprintf(words, sizeof words,
                           "label %" PRId64 " is '%.*s' here and '%s' in an earlier record",
                           r->labels[i], (int)(name.n_bytes < 100 ? name.n_bytes : 100),
                           name.data, other);
            EDT_TRY(add_finding(v, EDT_VERIFY_LABEL_NAME, item, item->i_record, r->source_id,
                                words, err));
            return EDT_OK;
        }
    }
    return EDT_OK;
}

static edt_verify_code code_of_fault(edt_tfrecord_fault fault)
{
    switch (fault) {
    case EDT_TFRECORD_LENGTH_CRC: return EDT_VERIFY_LENGTH_CRC;
    case EDT_TFRECORD_DATA_CRC: return EDT_VERIFY_DATA_CRC;
    case EDT_TFRECORD_TOO_LARGE: return EDT_VERIFY_TOO_LARGE;
    case EDT_TFRECORD_TRUNCATED:
    case EDT_TFRECORD_OK: break;
    }
    return EDT_VERIFY_TRUNCATED;
}

static edt_status take_damage(verifier *v, const edt_scan_item *item, edt_error *err)
{
    const edt_text no_id = {0};
    char words[400];
    switch (item->kind) {
    case EDT_SCAN_NO_FILE:
        ++v->report->totals.n_files;
        return add_finding(v, EDT_VERIFY_UNREADABLE, item, -1, no_id, item->words, err);
    case EDT_SCAN_STREAM:
        return add_finding(v, EDT_VERIFY_STREAM, item, item->i_record, no_id, item->words, err);
    case EDT_SCAN_DAMAGE:
        (void)snprintf(words, sizeof words, "%s; %" PRIu64 " bytes are lost", item->words,
                       item->lost_bytes);
        return add_finding(v, code_of_fault(item->fault), item, item->i_record, no_id,
                           item->lost_bytes > 0 ? words : item->words, err);
    case EDT_SCAN_FILE_END: ++v->report->totals.n_files; break;
    case EDT_SCAN_RECORD: break;
    }
    return EDT_OK;
}

// See edt_scan_spec.
static edt_status take_record(void *ctx, const edt_scan_item *item, edt_error *err)
{
    verifier *v = ctx;
    const record_result *r = item->result;
    if (item->kind != EDT_SCAN_RECORD) {
        return take_damage(v, item, err);
    }
    ++v->report->totals.n_records;
    v->report->totals.payload_bytes += item->payload.n_bytes;
    if (item->fault != EDT_TFRECORD_OK) {
        return add_finding(v, code_of_fault(item->fault), item, item->i_record, (edt_text){0},
                           item->words, err);
    }
    v->report->totals.n_boxes += r->n_boxes;
    v->report->totals.n_empty_records += r->is_example && r->n_boxes == 0;
    for (int i = 0; i < r->n_found; ++i) {
        EDT_TRY(add_finding(v, r->found[i].code, item, item->i_record, r->source_id,
                            r->found[i].words, err));
    }
    if (r->is_example) {
        EDT_TRY(check_names(v, item, r, err));
        EDT_TRY(check_duplicates(v, item, r, err));
    }
    return EDT_OK;
}

static edt_status run(verifier *v, edt_error *err)
{
    v->n_workers = edt_record_scan_workers(v->options->n_threads);
    v->workers = edt_mem_calloc(EDT_MEM_MISC, (size_t)v->n_workers, sizeof *v->workers);
    if (v->workers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d workers", v->n_workers);
    }
    for (int i = 0; i < v->n_workers; ++i) {
        EDT_TRY(edt_sha256_create(err, &v->workers[i].sha));
        EDT_TRY(edt_image_decoder_create(NULL, err, &v->workers[i].decoder));
    }
    EDT_TRY(edt_label_names_create(err, &v->names));
    const edt_scan_spec spec = {.paths = v->options->paths,
                                .n_files = v->options->n_files,
                                .n_threads = v->n_workers,
                                .check_data_crc = true,
                                .progress = v->options->show_progress ? "verify" : NULL,
                                .result_bytes = sizeof(record_result),
                                .ctx = v,
                                .work = check_record,
                                .consume = take_record};
    return edt_record_scan(&spec, err);
}

edt_status edt_verify_run(const edt_verify_options *options, edt_error *err,
                          edt_verify_report **out_report)
{
    const double begin_s = edt_clock_now_s();
    verifier v = {.options = options};
    v.report = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *v.report);
    if (v.report == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the report");
    }
    edt_arena_init(&v.report->arena, EDT_MEM_TEXT, 0);
    const edt_status status = run(&v, err);
    for (int i = 0; v.workers != NULL && i < v.n_workers; ++i) {
        edt_sha256_destroy(v.workers[i].sha);
        edt_image_decoder_destroy(v.workers[i].decoder);
    }
    edt_mem_free(v.workers);
    edt_mem_free(v.places);
    edt_id_map_deinit(&v.ids);
    edt_id_map_deinit(&v.pictures);
    edt_label_names_destroy(v.names);
    v.report->totals.seconds = edt_clock_now_s() - begin_s;
    if (status != EDT_OK) {
        edt_verify_report_destroy(v.report);
        return status;
    }
    *out_report = v.report;
    return EDT_OK;
}

void edt_verify_report_destroy(edt_verify_report *report)
{
    if (report != NULL) {
        edt_arena_deinit(&report->arena);
        edt_mem_free(report->findings);
        edt_mem_free(report);
    }
}

edt_verify_totals edt_verify_get_totals(const edt_verify_report *report)
{
    return report->totals;
}

int64_t edt_verify_count(const edt_verify_report *report, edt_verify_code code)
{
    return report->counts[code];
}

int64_t edt_verify_n_findings(const edt_verify_report *report)
{
    return report->n_findings;
}

const edt_verify_finding *edt_verify_finding_at(const edt_verify_report *report, int64_t i)
{
    return &report->findings[i];
}
