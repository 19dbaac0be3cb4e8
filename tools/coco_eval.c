// COCO detection metrics of a result file: options only, the work is eval/coco_eval.h.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/cli.h"
#include "core/clock.h"
#include "core/log.h"
#include "eval/coco_eval.h"
#include "eval/coco_notes.h"
#include "eval/error_breakdown.h"
#include "eval/eval_report.h"
#include "eval/results_json.h"
#include "eval/voc_metric.h"

typedef struct settings {
    const char *gt, *gt_records, *dt, *json, *arrays, *iou_type, *metric, *curves;
    edt_cli_texts files, max_dets, classes, iou_thresholds, recall_thresholds, area_ranges,
        image_ids;
    bool per_class, use_cats, lenient, errors;
    bool has_max_dets; // given
    int64_t num_threads;
} settings;

static edt_status parse(settings *s, int argc, char **argv, edt_arena *arena, edt_error *err,
                        bool *out_exit)
{
    const edt_cli_option options[] = {
        {"gt", EDT_CLI_TEXT, "", "ground truth: COCO instances JSON", &s->gt, NULL, NULL, 0, 0,
         NULL},
        {"dt", EDT_CLI_TEXT, "",
         "detections: a result list, or an object with `annotations` that carry scores", &s->dt,
         NULL, NULL, 0, 0, NULL},
        {"json", EDT_CLI_TEXT, "",
         "file for the twelve numbers in full precision, those of each class, counts and times",
         &s->json, NULL, NULL, 0, 0, NULL},
        {"arrays", EDT_CLI_TEXT, "",
         "safetensors file for precision and scores [10,101,K,4,3] and recall [10,K,4,3]",
         &s->arrays, NULL, NULL, 0, 0, NULL},
        {"per_class", EDT_CLI_BOOL, "false", "print a table of classes as well", &s->per_class,
         NULL, NULL, 0, 0, NULL},
        {"classes", EDT_CLI_TEXTS, "", "only these classes: names or ids", &s->classes, NULL,
         NULL, 0, 0, NULL},
        {"use_cats", EDT_CLI_BOOL, "true", "false: match boxes whatever their classes",
         &s->use_cats, NULL, NULL, 0, 0, NULL},
        {"max_dets", EDT_CLI_TEXTS, "1,10,100",
         "limits of detections per image and class; the twelve numbers need three",
         &s->max_dets, NULL, NULL, 0, 0, &s->has_max_dets},
        {"lenient", EDT_CLI_BOOL, "false",
         "evaluate a defective ground truth as pycocotools would instead of refusing it",
         &s->lenient, NULL, NULL, 0, 0, NULL},
        {"num_threads", EDT_CLI_INT, "0", "threads; 0: one per processor", &s->num_threads,
         NULL, NULL, 0, 1024, NULL},
        {"iou_type", EDT_CLI_TEXT, "bbox", "what overlaps: bbox, or segm for masks",
         &s->iou_type, NULL, NULL, 0, 0, NULL},
        {"metric", EDT_CLI_TEXT, "coco",
         "coco, or PASCAL VOC's AP per class at one IoU: voc2007 (11 points) or voc2010 (every "
         "point)",
         &s->metric, NULL, "coco|voc2007|voc2010", 0, 0, NULL},
        {"curves", EDT_CLI_TEXT, "",
         "directory for a page with pictures (precision and recall, AP per class, confusion "
         "matrix, scores, errors) and their numbers as CSV and JSON",
         &s->curves, NULL, NULL, 0, 0, NULL},
        {"errors", EDT_CLI_BOOL, "false",
         "print what kinds of errors cost how much AP, in the manner of TIDE", &s->errors, NULL,
         NULL, 0, 0, NULL},
        {"gt_records", EDT_CLI_TEXT, "",
         "ground truth from shards instead of --gt: a file name pattern", &s->gt_records, NULL,
         NULL, 0, 0, NULL},
        {"iou_thresholds", EDT_CLI_TEXTS, "", "overlaps to match at; default 0.5:0.05:0.95",
         &s->iou_thresholds, NULL, NULL, 0, 0, NULL},
        {"recall_thresholds", EDT_CLI_TEXTS, "",
         "recalls to read precision at; default 0:0.01:1", &s->recall_thresholds, NULL, NULL, 0,
         0, NULL},
        {"area_ranges", EDT_CLI_TEXTS, "",
         "label:low:high of areas, both ends included; default all:0:1e10, small:0:1024, "
         "medium:1024:9216, large:9216:1e10",
         &s->area_ranges, NULL, NULL, 0, 0, NULL},
        {"image_ids", EDT_CLI_TEXTS, "", "only these images", &s->image_ids, NULL, NULL, 0, 0,
         NULL},
    };
    const edt_cli_program program = {
        .name = "coco_eval",
        .summary = "COCO detection metrics, equal to pycocotools to the last bit",
        .description =
            "Prints pycocotools' twelve lines. A ground truth with duplicate ids, annotations "
            "of unknown images or categories or images without size is refused with a list of "
            "all defects. Results do not depend on the number of threads. For --metric=voc... "
            "the IoU is 0.5 or what --iou_thresholds says, and objects marked as difficult or "
            "ignore are left out as the VOC development kit does.",
        .examples = "coco_eval annotations/instances_val2017.json detections.json\n"
                    "coco_eval --gt=instances.json --dt=detections.json --json=result.json\n"
                    "coco_eval GT.json DT.json --errors --curves=report\n"
                    "coco_eval pascal_test.json DT.json --metric=voc2007",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
        .arguments = "[GT.json DT.json]",
        .argument_target = &s->files,
        .max_arguments = 2,
    };
    EDT_TRY(edt_cli_parse(&program, argc, argv, arena, err, out_exit));
    int n = 0;
    if (s->gt[0] == '\0' && s->gt_records[0] == '\0' && n < s->files.n) {
        s->gt = s->files.v[n++];
    }
    if (s->dt[0] == '\0' && n < s->files.n) {
        s->dt = s->files.v[n++];
    }
    const bool has_gt = (s->gt[0] != '\0') != (s->gt_records[0] != '\0');
    if (!*out_exit && (n < s->files.n || !has_gt || s->dt[0] == '\0')) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "two files are needed: coco_eval GT.json DT.json, or --gt or --gt_records, and "
            "--dt (--help)");
    }
    return EDT_OK;
}

static edt_status parse_iou_type(const settings *s, edt_coco_params *params, edt_error *err)
{
    const bool is_segm = strcmp(s->iou_type, "segm") == 0;
    if (!is_segm && strcmp(s->iou_type, "bbox") != 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--iou_type=%s: allowed are bbox and segm", s->iou_type);
    }
    params->iou_type = is_segm ? EDT_COCO_SEGM : EDT_COCO_BBOX;
    return EDT_OK;
}

static edt_status parse_max_dets(const settings *s, edt_coco_params *params, edt_error *err)
{
    bool ok = s->max_dets.n >= 1 && s->max_dets.n <= EDT_COCO_MOST_MAX_DETS;
    for (int i = 0; ok && i < s->max_dets.n; ++i) {
        char *end;
        const long n = strtol(s->max_dets.v[i], &end, 10);
        ok = *end == '\0' && n >= 1 && n <= 1000000000;
        params->max_dets[i] = (int)n;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--max_dets needs one to %d positive integers, e.g. 1,10,100",
                 EDT_COCO_MOST_MAX_DETS);
    }
    return EDT_OK;
}

static edt_status parse_numbers(const char *flag, const edt_cli_texts *texts, edt_arena *arena,
                                edt_error *err, const double **out_numbers, int64_t *out_n)
{
    double *numbers = edt_arena_calloc(arena, (size_t)texts->n, sizeof *numbers);
    if (numbers == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for --%s", flag);
    }
    for (int i = 0; i < texts->n; ++i) {
        char *end;
        numbers[i] = strtod(texts->v[i], &end);
        if (end == texts->v[i] || *end != '\0') {
            EDT_FAIL(err, EDT_ERR_USAGE, "--%s: '%s' is no number", flag, texts->v[i]);
        }
    }
    *out_numbers = numbers;
    *out_n = texts->n;
    return EDT_OK;
}

static edt_status parse_area(const char *text, edt_arena *arena, edt_error *err,
                             edt_coco_area_range *out_area)
{
    const char *low = strchr(text, ':');
    char *high = NULL, *end = NULL;
    if (low != NULL) {
        out_area->label = edt_arena_strndup(arena, text, (size_t)(low - text));
        out_area->low = strtod(low + 1, &high);
    }
    if (low != NULL && high > low + 1 && *high == ':') {
        out_area->high = strtod(high + 1, &end);
    }
    if (end == NULL || end == high + 1 || *end != '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "--area_ranges: '%s' is not label:low:high", text);
    }
    if (out_area->label == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for --area_ranges");
    }
    return EDT_OK;
}

static edt_status parse_lists(const settings *s, edt_arena *arena, edt_coco_params *params,
                              edt_error *err)
{
    EDT_TRY(parse_numbers("iou_thresholds", &s->iou_thresholds, arena, err,
                          &params->iou_thresholds, &params->n_iou_thresholds));
    EDT_TRY(parse_numbers("recall_thresholds", &s->recall_thresholds, arena, err,
                          &params->recall_thresholds, &params->n_recall_thresholds));
    edt_coco_area_range *areas =
        edt_arena_calloc(arena, (size_t)s->area_ranges.n, sizeof *areas);
    int64_t *ids = edt_arena_calloc(arena, (size_t)s->image_ids.n, sizeof *ids);
    if (areas == NULL || ids == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the options");
    }
    for (int i = 0; i < s->area_ranges.n; ++i) {
        EDT_TRY(parse_area(s->area_ranges.v[i], arena, err, &areas[i]));
    }
    for (int i = 0; i < s->image_ids.n; ++i) {
        char *end;
        errno = 0;
        ids[i] = strtoll(s->image_ids.v[i], &end, 10);
        if (errno != 0 || end == s->image_ids.v[i] || *end != '\0') {
            EDT_FAIL(err, EDT_ERR_USAGE, "--image_ids: '%s' is no integer below 2^63",
                     s->image_ids.v[i]);
        }
    }
    params->areas = areas;
    params->n_areas = s->area_ranges.n;
    params->image_ids = ids;
    params->n_image_ids = s->image_ids.n;
    return EDT_OK;
}

static edt_status find_classes(const settings *s, const edt_coco_gt *gt, edt_arena *arena,
                               edt_coco_params *params, edt_error *err)
{
    int64_t n_categories;
    const edt_coco_category *categories = edt_coco_gt_categories(gt, &n_categories);
    int64_t *ids = edt_arena_calloc(arena, (size_t)s->classes.n, sizeof *ids);
    if (ids == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %d classes", s->classes.n);
    }
    for (int i = 0; i < s->classes.n; ++i) {
        const char *text = s->classes.v[i];
        char *end;
        const int64_t id = strtoll(text, &end, 10);
        const bool is_id = text[0] != '\0' && *end == '\0';
        bool found = false;
        for (int64_t k = 0; k < n_categories && !found; ++k) {
            found = strcmp(categories[k].name, text) == 0 || (is_id && categories[k].id == id);
            ids[i] = categories[k].id;
        }
        if (!found) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "--classes: the ground truth has no class with name or id '%s'", text);
        }
    }
    params->category_ids = ids;
    params->n_category_ids = s->classes.n;
    return EDT_OK;
}

static void print_classes(const edt_coco_result *result)
{
    int64_t n;
    const edt_coco_category *categories = edt_coco_result_categories(result, &n);
    printf("\n%8s  %-24s %8s %6s %6s %6s %6s %6s %6s %6s\n", "id", "class", "objects", "AP",
           "AP50", "AP75", "APs", "APm", "APl", "AR");
    for (int64_t k = 0; k < n; ++k) {
        double stats[EDT_COCO_N_STATS];
        edt_coco_result_category_stats(result, k, stats);
        printf("%8lld  %-24s %8lld", (long long)categories[k].id, categories[k].name,
               (long long)edt_coco_result_category_objects(result, k));
        static const int shown[] = {0, 1, 2, 3, 4, 5, 8};
        for (size_t i = 0; i < sizeof shown / sizeof shown[0]; ++i) {
            if (stats[shown[i]] > -1) {
                printf(" %6.3f", stats[shown[i]]);
            } else {
                printf(" %6s", "-");
            }
        }
        printf("\n");
    }
}

static edt_status run_voc(const settings *s, const edt_coco_gt *gt, const edt_coco_dt *dt,
                          const edt_coco_params *params, edt_error *err)
{
    const edt_voc_params voc = {
        .rule = strcmp(s->metric, "voc2007") == 0 ? EDT_VOC_2007 : EDT_VOC_2010,
        .iou = params->n_iou_thresholds == 1 ? params->iou_thresholds[0] : 0,
        .coco = params};
    edt_voc_result *result;
    edt_status status = EDT_OK;
    EDT_TRY(edt_voc_evaluate(gt, dt, &voc, err, &result));
    edt_voc_print(result, stdout);
    if (fflush(stdout) != 0) {
        status = edt_error_set(err, EDT_ERR_IO, "writing to stdout failed");
    }
    if (status == EDT_OK && s->json[0] != '\0') {
        status = edt_voc_write_json(result, s->json, err);
    }
    edt_voc_result_destroy(result);
    return status;
}

// What the numbers do not say; on stderr, as stdout is pycocotools'.
static void log_notes(const edt_coco_notes *notes)
{
    for (int i = 0; i < notes->n; ++i) {
        EDT_INFO("%s", notes->text[i]);
    }
}

static edt_status run_coco(const settings *s, const edt_coco_gt *gt, const edt_coco_dt *dt,
                           const edt_coco_params *params, double load_s, edt_arena *arena,
                           edt_error *err)
{
    edt_status status = EDT_OK;
    edt_coco_result *result = NULL;
    edt_error_breakdown errors;
    edt_coco_notes notes;
    EDT_TRY(edt_coco_evaluate(gt, dt, params, err, &result));
    edt_coco_print_summary(result, stdout);
    if (s->per_class) {
        print_classes(result);
    }
    if (s->errors) {
        EDT_TRY_GOTO(edt_error_breakdown_make(gt, dt, params, NULL, err, &errors));
        edt_error_breakdown_print(&errors, stdout);
    }
    if (fflush(stdout) != 0) {
        status = edt_error_set(err, EDT_ERR_IO, "writing to stdout failed");
        goto fail;
    }
    EDT_TRY_GOTO(edt_coco_notes_make(gt, dt, result, arena, err, &notes));
    log_notes(&notes);
    if (s->json[0] != '\0') {
        const edt_coco_json_extras extras = {.errors = s->errors ? &errors : NULL,
                                             .notes = &notes};
        EDT_TRY_GOTO(edt_coco_result_write_json_with(result, &extras, load_s, s->json, err));
    }
    if (s->arrays[0] != '\0') {
        EDT_TRY_GOTO(edt_coco_result_write_arrays(result, s->arrays, err));
    }
    if (s->curves[0] != '\0') {
        const edt_eval_report_options options = {.dir = s->curves,
                                                 .gt_name =
                                                     s->gt[0] != '\0' ? s->gt : s->gt_records,
                                                 .dt_name = s->dt};
        EDT_TRY_GOTO(edt_eval_report_write(gt, dt, result, &options, err));
    }
fail:
    edt_coco_result_destroy(result);
    return status;
}

// What goes together.
static edt_status check_metric(const settings *s, const edt_coco_params *params, edt_error *err)
{
    if (strcmp(s->metric, "coco") == 0) {
        if (s->errors && !s->use_cats) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "--errors tells errors by class; it needs --use_cats=true");
        }
        if (s->per_class && !s->use_cats) {
            EDT_FAIL(err, EDT_ERR_USAGE, "--per_class needs --use_cats=true");
        }
        return EDT_OK;
    }
    if (s->errors || s->curves[0] != '\0' || s->arrays[0] != '\0') {
        EDT_FAIL(err, EDT_ERR_USAGE, "--metric=%s goes without --errors, --curves and --arrays",
                 s->metric);
    }
    if (s->has_max_dets || params->n_recall_thresholds > 0 || params->n_areas > 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--metric=%s counts all detections and areas; it goes without --max_dets, "
                 "--recall_thresholds and --area_ranges",
                 s->metric);
    }
    if (params->iou_type == EDT_COCO_SEGM || params->n_iou_thresholds > 1) {
        EDT_FAIL(err, EDT_ERR_USAGE, "--metric=%s is for boxes at one of --iou_thresholds",
                 s->metric);
    }
    return EDT_OK;
}

static edt_status run(const settings *s, edt_arena *arena, edt_error *err)
{
    edt_status status = EDT_OK;
    edt_coco_gt *gt = NULL;
    edt_coco_dt *dt = NULL;
    edt_coco_params params = {.n_threads = (int)s->num_threads,
                              .ignore_categories = !s->use_cats};
    EDT_TRY(parse_iou_type(s, &params, err));
    EDT_TRY(parse_max_dets(s, &params, err));
    EDT_TRY(parse_lists(s, arena, &params, err));
    EDT_TRY(check_metric(s, &params, err));
    const bool is_voc = strcmp(s->metric, "coco") != 0;
    const double begin_s = edt_clock_now_s();
    const edt_coco_gt_options options = {.lenient = s->lenient,
                                         .n_threads = (int)s->num_threads,
                                         .iou_type = params.iou_type,
                                         .difficult_as_crowd = is_voc};
    EDT_TRY_GOTO(s->gt_records[0] != '\0'
                     ? edt_coco_gt_open_records(s->gt_records, &options, err, &gt)
                     : edt_coco_gt_open(s->gt, &options, err, &gt));
    EDT_TRY_GOTO(edt_coco_dt_open(s->dt, gt, err, &dt));
    const double load_s = edt_clock_now_s() - begin_s;
    EDT_TRY_GOTO(find_classes(s, gt, arena, &params, err));
    EDT_TRY_GOTO(is_voc ? run_voc(s, gt, dt, &params, err)
                        : run_coco(s, gt, dt, &params, load_s, arena, err));
fail:
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    return status;
}

int main(int argc, char **argv)
{
    settings s = {0};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    bool is_done = false;
    edt_status status = parse(&s, argc, argv, &arena, &err, &is_done);
    if (status == EDT_OK && !is_done) {
        status = run(&s, &arena, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
