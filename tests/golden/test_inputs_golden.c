// The per-sample pipeline against the reference's parser: pictures, boxes, ground truth,
// targets.
#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <inttypes.h>
#include <math.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/preprocess.h"
#include "dataio/record_index.h"
#include "model/assign.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static const cJSON *member(const cJSON *object, const char *key)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    cr_assert_not_null(item, "no %s", key);
    return item;
}

static double number(const cJSON *object, const char *key)
{
    return cJSON_GetNumberValue(member(object, key));
}

static const golden_tensor *tensor_of(const golden_file *file, const char *name,
                                      const char *part)
{
    char full[160];
    (void)snprintf(full, sizeof full, "%s/%s", name, part);
    return golden_find(file, full);
}

static edt_f64_list rgb_of(const cJSON *value)
{
    edt_f64_list list = {.n = 1, .v = {cJSON_GetNumberValue(value)}};
    if (cJSON_IsArray(value)) {
        list.n = 3;
        for (int c = 0; c < 3; ++c) {
            list.v[c] = cJSON_GetNumberValue(cJSON_GetArrayItem(value, c));
        }
    }
    return list;
}

static edt_hparams hparams_of(const cJSON *params)
{
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    const cJSON *size = member(params, "image_size");
    hp.image_size.h = (int64_t)cJSON_GetNumberValue(cJSON_GetArrayItem(size, 0));
    hp.image_size.w = (int64_t)cJSON_GetNumberValue(cJSON_GetArrayItem(size, 1));
    const cJSON *target = member(params, "target_size");
    if (cJSON_IsNumber(target)) {
        hp.target_size.h = hp.target_size.w = (int64_t)cJSON_GetNumberValue(target);
    }
    hp.mean_rgb = rgb_of(member(params, "mean_rgb"));
    hp.stddev_rgb = rgb_of(member(params, "stddev_rgb"));
    hp.scale_range = cJSON_IsTrue(member(params, "scale_range"));
    hp.jitter_min = number(params, "jitter_min");
    hp.jitter_max = number(params, "jitter_max");
    hp.input_rand_hflip = cJSON_IsTrue(member(params, "input_rand_hflip"));
    hp.skip_crowd_during_training = cJSON_IsTrue(member(params, "skip_crowd_during_training"));
    hp.anchor_scale = (edt_f64_list){.n = 1, .v = {number(params, "anchor_scale")}};
    hp.reference_defects = true;
    return hp;
}

// The serialised record of a case; free `data` with edt_mem_free.
static edt_span record_of(const cJSON *source)
{
    const cJSON *record_file = cJSON_GetObjectItemCaseSensitive(source, "record_file");
    if (record_file == NULL) {
        const edt_span jpeg = edt_test_read_file(edt_test_path(
            edt_test_data_dir(), "jpeg-corpus/%s", member(source, "corpus_file")->valuestring));
        const edt_span record = edt_test_make_example(
            jpeg, member(source, "image_source_id")->valuestring, NULL, NULL, 0);
        edt_mem_free((void *)jpeg.data);
        return record;
    }
    const char *path =
        edt_test_path(edt_test_golden_dir(), "data/tfrecord/%s", record_file->valuestring);
    edt_record_index *index = NULL;
    edt_span payload;
    cr_assert_eq(edt_record_index_create(&path, 1, NULL, NULL, &index), EDT_OK);
    cr_assert_eq(
        edt_record_index_read(index, (int64_t)number(source, "record_index"), NULL, &payload),
        EDT_OK);
    uint8_t *copy = edt_mem_alloc(EDT_MEM_TEXT, payload.n_bytes);
    memcpy(copy, payload.data, payload.n_bytes);
    edt_record_index_destroy(index);
    return (edt_span){.data = copy, .n_bytes = payload.n_bytes};
}

typedef struct draw_list {
    const cJSON *draws;
    int n_used;
} draw_list;

static float next_draw(void *ctx)
{
    draw_list *list = ctx;
    const cJSON *draw = cJSON_GetArrayItem(list->draws, list->n_used++);
    cr_assert_not_null(draw, "more draws than the reference makes");
    return (float)number(draw, "u");
}

static edt_status assign(void *ctx, int worker, const float *boxes, const int64_t *labels,
                         int64_t n_boxes, int32_t *out_cls, float *out_box,
                         float *out_num_positives, edt_error *err)
{
    (void)worker;
    return edt_assign(ctx, boxes, labels, n_boxes, out_cls, out_box, out_num_positives, err);
}

static void check_image(const golden_file *file, const cJSON *c, const char *name,
                        const float *image, int64_t h, int64_t w)
{
    const size_t n_bytes = (size_t)(h * w * 3) * sizeof(float);
    const golden_tensor *whole = tensor_of(file, name, "image");
    cr_assert(whole == NULL || memcmp(whole->data, image, n_bytes) == 0, "%s: picture", name);
    const golden_tensor *at = tensor_of(file, name, "probe_yx");
    const golden_tensor *rgb = tensor_of(file, name, "probe_rgb");
    const int32_t *yx = at->data;
    for (int64_t i = 0; i < at->shape.dim[0]; ++i) {
        cr_assert_eq(memcmp(image + (yx[2 * i] * w + yx[2 * i + 1]) * 3,
                            (const float *)rgb->data + 3 * i, 12),
                     0, "%s: pixel y=%d x=%d", name, yx[2 * i], yx[2 * i + 1]);
    }
    unsigned char digest[32];
    char hex[65];
    cr_assert_eq(EVP_Digest(image, n_bytes, digest, NULL, EVP_sha256(), NULL), 1);
    for (int i = 0; i < 32; ++i) {
        (void)snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    }
    cr_assert_str_eq(hex, member(c, "sha256_of_f32")->valuestring, "%s", name);
}

static void check_boxes(const golden_file *file, const char *name, const edt_sample_info *info,
                        const float *groundtruth)
{
    const golden_tensor *boxes = tensor_of(file, name, "boxes_px");
    const golden_tensor *classes = tensor_of(file, name, "classes");
    const golden_tensor *gt = tensor_of(file, name, "groundtruth");
    cr_assert_eq(info->n_boxes, boxes->shape.dim[0], "%s: %d boxes", name, (int)info->n_boxes);
    cr_assert(info->n_boxes == 0 ||
                  memcmp(boxes->data, info->boxes, (size_t)info->n_boxes * 16) == 0,
              "%s: boxes", name);
    for (int64_t i = 0; i < info->n_boxes; ++i) {
        cr_assert_eq(((const float *)classes->data)[i], (float)info->labels[i], "%s", name);
    }
    const float *want = gt->data;
    for (int64_t i = 0; i < gt->shape.dim[0] * 7; ++i) {
        cr_assert_eq(groundtruth[i], want[i],
                     "%s: ground truth row %d column %d: %.9g, want %.9g", name, (int)(i / 7),
                     (int)(i % 7), (double)groundtruth[i], (double)want[i]);
    }
}

static void check_targets(const golden_file *file, const cJSON *c, const char *name,
                          int64_t n_anchors, const int32_t *cls, const float *box,
                          float num_positives)
{
    const golden_tensor *anchor = tensor_of(file, name, "positive_anchor");
    const golden_tensor *label = tensor_of(file, name, "positive_class");
    const golden_tensor *target = tensor_of(file, name, "positive_box_target");
    cr_assert_eq(n_anchors, (int64_t)number(c, "num_anchors"), "%s", name);
    cr_assert_eq(num_positives, (float)number(c, "num_positives"), "%s", name);
    const int64_t n_positive = anchor->shape.dim[0];
    int64_t k = 0;
    for (int64_t a = 0; a < n_anchors; ++a) {
        if (k < n_positive && ((const int32_t *)anchor->data)[k] == a) {
            cr_assert_eq(cls[a], ((const int32_t *)label->data)[k], "%s: anchor %d", name,
                         (int)a);
            for (int i = 0; i < 4; ++i) {
                cr_assert_leq(fabsf(box[4 * a + i] - ((const float *)target->data)[4 * k + i]),
                              5e-7f, "%s: anchor %d", name, (int)a);
            }
            ++k;
            continue;
        }
        cr_assert_eq(cls[a], -1, "%s: anchor %d", name, (int)a);
        for (int i = 0; i < 4; ++i) {
            cr_assert_eq(box[4 * a + i], 0.0f, "%s: anchor %d", name, (int)a);
        }
    }
    cr_assert_eq(k, n_positive);
}

static void check_case(const golden_file *file, const cJSON *c)
{
    const char *name = member(c, "name")->valuestring;
    edt_error err = {0};
    edt_hparams hp = hparams_of(member(c, "params"));
    edt_anchors *anchors = NULL;
    edt_assigner *assigner = NULL;
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_assigner_create(anchors, true, &err, &assigner), EDT_OK, "%s", err.text);
    edt_preprocess_config config;
    cr_assert_eq(edt_preprocess_configure(&hp, cJSON_IsTrue(member(c, "training")),
                                          EDT_SLOT_F32, &err, &config),
                 EDT_OK, "%s", err.text);
    config.targets = assign;
    config.targets_ctx = assigner;
    config.n_anchors = anchors->n;
    const size_t n_values = (size_t)(config.image_size.h * config.image_size.w * 3);
    int32_t valid_hw[2];
    int64_t source_id;
    float num_positives, image_scale;
    const edt_sample_row row = {
        .image = edt_mem_calloc(EDT_MEM_SLOT, n_values, sizeof(float)),
        .valid_hw = valid_hw,
        .cls_targets = edt_mem_calloc(EDT_MEM_SLOT, (size_t)anchors->n, sizeof(int32_t)),
        .box_targets = edt_mem_calloc(EDT_MEM_SLOT, (size_t)anchors->n, 4 * sizeof(float)),
        .num_positives = &num_positives,
        .image_scale = &image_scale,
        .source_id = &source_id,
        .groundtruth =
            edt_mem_calloc(EDT_MEM_SLOT, (size_t)config.max_instances, 7 * sizeof(float))};
    edt_preprocessor *p = NULL;
    cr_assert_eq(edt_preprocessor_create(&config, 0, &err, &p), EDT_OK, "%s", err.text);
    const edt_span record = record_of(member(c, "source"));
    draw_list list = {.draws = member(c, "draws")};
    const edt_sample_draws draws = {.geometry = {.uniform = next_draw, .ctx = &list}};
    const edt_sample sample = {.record = record, .draws = &draws};
    cr_assert_eq(edt_preprocess_run(p, &sample, &row, &err), EDT_OK, "%s: %s", name, err.text);
    cr_assert_eq(list.n_used, cJSON_GetArraySize(list.draws), "%s", name);

    const edt_sample_info *info = edt_preprocess_last(p);
    cr_assert_eq(info->scale.scale, (float)number(c, "scale"), "%s", name);
    cr_assert_eq(info->scale.scaled_h, (int64_t)number(c, "scaled_height"), "%s", name);
    cr_assert_eq(info->scale.scaled_w, (int64_t)number(c, "scaled_width"), "%s", name);
    cr_assert_eq(info->scale.offset_y, (int64_t)number(c, "offset_y"), "%s", name);
    cr_assert_eq(info->scale.offset_x, (int64_t)number(c, "offset_x"), "%s", name);
    cr_assert_eq(image_scale, (float)number(c, "image_scale"), "%s", name);
    cr_assert_eq((float)source_id, (float)number(c, "source_id"), "%s", name);
    check_image(file, c, name, row.image, config.image_size.h, config.image_size.w);
    check_boxes(file, name, info, row.groundtruth);
    check_targets(file, c, name, anchors->n, row.cls_targets, row.box_targets, num_positives);

    edt_mem_free((void *)record.data);
    edt_preprocessor_destroy(p);
    edt_mem_free(row.image);
    edt_mem_free(row.cls_targets);
    edt_mem_free(row.box_targets);
    edt_mem_free(row.groundtruth);
    edt_assigner_destroy(assigner);
    edt_anchors_destroy(anchors);
    edt_hparams_deinit(&hp);
}

static int check_all(const char *stem)
{
    const edt_span text =
        edt_test_read_file(edt_test_path(edt_test_golden_dir(), "data/inputs/%s.json", stem));
    golden_file *file =
        golden_open(edt_test_path(edt_test_golden_dir(), "data/inputs/%s.safetensors", stem));
    cJSON *cases = cJSON_ParseWithLength((const char *)text.data, text.n_bytes);
    cr_assert(cJSON_IsArray(cases));
    int n_cases = 0;
    for (const cJSON *c = cases->child; c != NULL; c = c->next) {
        check_case(file, c);
        ++n_cases;
    }
    cJSON_Delete(cases);
    golden_close(file);
    edt_mem_free((void *)text.data);
    return n_cases;
}

Test(inputs_golden, evaluation, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    cr_assert_eq(check_all("eval"), 26);
}

Test(inputs_golden, training, .timeout = 120)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    cr_assert_eq(check_all("train"), 53);
}
