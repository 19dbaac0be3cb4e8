#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"
#include "model/postprocess.h"
#include "model/topk.h"
#include "tests/support/cuda_device.h"
#include "tests/support/detect_op.h"
#include "tests/support/golden_case.h"
#include "tests/support/golden_file.h"
#include "tests/support/golden_gen.h"
#include "tests/support/test_anchor_hparams.h"
#include "tests/support/test_dirs.h"

enum { N_LEVELS = 5, BATCH = 2, CLASSES = 90 };

// Below this score order and choice depend on rounding (golden/model/README.md, post).
static const float COMPARED_SCORE = 0.003F;

typedef struct inputs {
    golden_file *file;
    edt_anchors *anchors;
    float *cls[N_LEVELS], *box[N_LEVELS]; // whole batch
    int64_t n[N_LEVELS];                  // anchors of a level
} inputs;

static float *at_anchor(const inputs *in, float *const *tensor, int64_t width, int32_t picture,
                        int64_t anchor)
{
    int l = 0;
    while (anchor >= in->n[l]) {
        anchor -= in->n[l++];
    }
    return tensor[l] + (picture * in->n[l] + anchor) * width;
}

static void check_probes(const inputs *in, const char *kind, int level, const float *values)
{
    char name[64];
    (void)snprintf(name, sizeof name, "%s_%d.idx", kind, level);
    const golden_tensor *idx = golden_find(in->file, name);
    (void)snprintf(name, sizeof name, "%s_%d.val", kind, level);
    const golden_tensor *val = golden_find(in->file, name);
    for (int64_t i = 0; i < idx->shape.dim[0]; ++i) {
        cr_assert_eq(values[((const int32_t *)idx->data)[i]], ((const float *)val->data)[i]);
    }
}

static inputs open_inputs(const char *path)
{
    inputs in = {.file = golden_open(path)};
    edt_error err = {0};
    const edt_hparams hp = edt_test_anchor_hparams(512, 512, 7, 4);
    cr_assert_eq(edt_anchors_create(&hp, &err, &in.anchors), EDT_OK);
    const char *prefix = golden_metadata(in.file, "key_prefix");
    for (int l = 0; l < N_LEVELS; ++l) {
        in.n[l] = in.anchors->level_h[l + 3] * in.anchors->level_w[l + 3] * 9;
        in.cls[l] = calloc((size_t)(BATCH * in.n[l] * CLASSES), sizeof(float));
        in.box[l] = calloc((size_t)(BATCH * in.n[l] * 4), sizeof(float));
        char key[128];
        (void)snprintf(key, sizeof key, "%spost/cls_%d", prefix, l + 3);
        golden_gen(key, -7, 1, BATCH * in.n[l] * CLASSES, in.cls[l]);
        (void)snprintf(key, sizeof key, "%spost/box_%d", prefix, l + 3);
        golden_gen(key, 0, 0.3, BATCH * in.n[l] * 4, in.box[l]);
    }
    const golden_tensor *index = golden_find(in.file, "set_cls.index");
    const float *value = golden_find(in.file, "set_cls.value")->data;
    for (int64_t i = 0; i < index->shape.dim[0]; ++i) {
        const int32_t *at = (const int32_t *)index->data + 3 * i;
        at_anchor(&in, in.cls, CLASSES, at[0], at[1])[at[2]] = value[i];
    }
    index = golden_find(in.file, "set_box.index");
    value = golden_find(in.file, "set_box.value")->data;
    for (int64_t i = 0; i < index->shape.dim[0]; ++i) {
        const int32_t *at = (const int32_t *)index->data + 2 * i;
        memcpy(at_anchor(&in, in.box, 4, at[0], at[1]), value + 4 * i, 4 * sizeof(float));
    }
    for (int l = 0; l < N_LEVELS; ++l) {
        check_probes(&in, "cls", l + 3, in.cls[l]);
        check_probes(&in, "box", l + 3, in.box[l]);
    }
    return in;
}

static void close_inputs(inputs *in)
{
    for (int l = 0; l < N_LEVELS; ++l) {
        free(in->cls[l]);
        free(in->box[l]);
    }
    edt_anchors_destroy(in->anchors);
    golden_close(in->file);
}

static void pointers_of(const inputs *in, int picture, const float **cls, const float **box)
{
    for (int l = 0; l < N_LEVELS; ++l) {
        cls[l] = in->cls[l] + picture * in->n[l] * CLASSES;
        box[l] = in->box[l] + picture * in->n[l] * 4;
    }
}

// What a golden row says, whatever its layout.
static edt_detection golden_row(const golden_file *file, const golden_case *c, int picture,
                                int64_t row, int64_t n_rows)
{
    const int64_t at = picture * n_rows + row;
    const golden_tensor *rows = golden_find(file, c->name);
    if (rows != NULL) { // image_id, xmin, ymin, xmax, ymax, score, class
        const float *r = (const float *)rows->data + 7 * at;
        return (edt_detection){r[2], r[1], r[4], r[3], r[5], (int32_t)r[6]};
    }
    char name[160];
    (void)snprintf(name, sizeof name, "%s.boxes", c->name);
    const float *b = (const float *)golden_find(file, name)->data + 4 * at;
    (void)snprintf(name, sizeof name, "%s.scores", c->name);
    const float score = ((const float *)golden_find(file, name)->data)[at];
    (void)snprintf(name, sizeof name, "%s.classes", c->name);
    const float label = ((const float *)golden_find(file, name)->data)[at];
    return (edt_detection){b[0], b[1], b[2], b[3], score, (int32_t)label};
}

static bool near(float a, float b, float tolerance)
{
    return fabsf(a - b) <= tolerance;
}

static int64_t compare_picture(const inputs *in, const golden_case *c, int picture,
                               const edt_detection *have, int64_t n_rows, int64_t n_valid)
{
    char name[160];
    (void)snprintf(name, sizeof name, "%s.valid", c->name);
    const golden_tensor *valid = golden_find(in->file, name);
    if (valid != NULL) {
        cr_assert_eq(n_valid, ((const int32_t *)valid->data)[picture],
                     "%s picture %d: %lld valid", c->name, picture, (long long)n_valid);
    }
    int64_t n_compared = 0;
    for (int64_t i = 0; i < n_rows; ++i) {
        const edt_detection want = golden_row(in->file, c, picture, i, n_rows);
        const edt_detection *d = &have[i];
        cr_assert(near(d->score, want.score, 1e-6F),
                  "%s picture %d row %lld: score %.9g, want %.9g", c->name, picture,
                  (long long)i, (double)d->score, (double)want.score);
        // Padding of the global mode repeats candidate 0, which is any one of an unordered top
        // k.
        const bool open = want.score > 0 || golden_case_number(c, "max_nms_inputs", 0) > 0;
        if (want.score < COMPARED_SCORE && open) {
            continue;
        }
        ++n_compared;
        cr_assert_eq(d->label, want.label, "%s picture %d row %lld: label %d, want %d", c->name,
                     picture, (long long)i, d->label, want.label);
        cr_assert(near(d->ymin, want.ymin, 2e-4F) && near(d->xmin, want.xmin, 2e-4F) &&
                      near(d->ymax, want.ymax, 2e-4F) && near(d->xmax, want.xmax, 2e-4F),
                  "%s picture %d row %lld: box %.9g %.9g %.9g %.9g, want %.9g %.9g %.9g %.9g",
                  c->name, picture, (long long)i, (double)d->ymin, (double)d->xmin,
                  (double)d->ymax, (double)d->xmax, (double)want.ymin, (double)want.xmin,
                  (double)want.ymax, (double)want.xmax);
    }
    return n_compared;
}

// The op of the device, where it has these settings: the very rows of the host.
static void compare_device(edt_backend *backend, const inputs *in, const edt_post *post,
                           int64_t n_rows, const float *scales, int picture,
                           const edt_detection *want, int64_t n_want)
{
    edt_detect_attrs attrs;
    if (!edt_post_describe(post, &attrs)) {
        return;
    }
    const float *cls[N_LEVELS], *box[N_LEVELS];
    pointers_of(in, picture, cls, box);
    const edt_test_heads heads = {in->anchors, 1, cls, box, &scales[picture]};
    edt_detection *have = calloc((size_t)n_rows, sizeof *have);
    int64_t n_have = 0;
    edt_test_detect(backend, &attrs, EDT_DTYPE_F32, &heads, have, &n_have);
    cr_assert_eq(n_have, n_want);
    edt_test_same_rows(backend, "golden", n_rows, have, want);
    free(have);
}

// `backend`: NULL for the host alone.
static void compare_case(const inputs *in, const golden_case *c, edt_backend *backend)
{
    edt_hparams hp = edt_test_anchor_hparams(512, 512, 7, 4);
    char method[32] = "gaussian", mode_name[32] = "";
    (void)golden_case_text(c, "method", method, sizeof method);
    hp.nms_configs.method = method;
    hp.nms_configs.max_nms_inputs = (int64_t)golden_case_number(c, "max_nms_inputs", 0);
    hp.nms_configs.max_output_size = (int64_t)golden_case_number(c, "max_output_size", 100);
    hp.nms_configs.iou_thresh = golden_case_number(c, "iou_thresh", 0);
    hp.nms_configs.score_thresh = golden_case_number(c, "score_thresh", 0);
    hp.nms_configs.sigma = golden_case_number(c, "sigma", 0);
    hp.nms_configs.pyfunc = golden_case_is_true(c, "pyfunc");
    if (!golden_case_text(c, "mode", mode_name, sizeof mode_name)) {
        (void)snprintf(mode_name, sizeof mode_name, "%s",
                       strstr(c->name, "global") != NULL ? "global" : "per_class");
    }
    const edt_post_mode mode = strcmp(mode_name, "global") == 0     ? EDT_POST_GLOBAL
                               : strcmp(mode_name, "combined") == 0 ? EDT_POST_COMBINED
                                                                    : EDT_POST_PER_CLASS;
    edt_error err = {0};
    edt_post *post = NULL;
    cr_assert_eq(edt_post_create(&hp, in->anchors, mode, &err, &post), EDT_OK, "%s", err.text);
    const int64_t n_rows = hp.nms_configs.max_output_size;
    edt_detection *rows = calloc((size_t)n_rows, sizeof *rows);
    const float *scales = golden_find(in->file, "image_scales")->data;
    for (int picture = 0; picture < BATCH; ++picture) {
        const float *cls[N_LEVELS], *box[N_LEVELS];
        pointers_of(in, picture, cls, box);
        int64_t n_valid = -1;
        const int64_t n_total = edt_mem_get_total().n_total;
        cr_assert_eq(edt_post_run(post, cls, box, scales[picture], rows, &n_valid, &err),
                     EDT_OK, "%s", err.text);
        cr_assert_eq(edt_mem_get_total().n_total, n_total, "a run must not allocate");
        if (backend != NULL) {
            compare_device(backend, in, post, n_rows, scales, picture, rows, n_valid);
        }
        if (golden_case_is_true(c, "flip")) {
            edt_detections_flip(rows, n_valid, scales[picture], 512);
        }
        cr_assert_gt(compare_picture(in, c, picture, rows, n_rows, n_valid), 10, "%s", c->name);
    }
    free(rows);
    edt_post_destroy(post);
}

static void compare_all(edt_backend *backend)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "model/post/post.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    inputs in = open_inputs(path);
    golden_case c;
    int n = 0;
    while (golden_case_at(golden_metadata(in.file, "cases"), n, &c)) {
        compare_case(&in, &c, backend);
        ++n;
    }
    cr_assert_gt(n, 0);
    close_inputs(&in);
}

Test(post_golden, every_case_gives_the_references_rows, .timeout = 120)
{
    compare_all(NULL);
}

Test(post_golden, the_op_of_the_device_gives_the_same_rows, .timeout = 600)
{
    edt_backend *backend = edt_test_cuda_backend();
    compare_all(backend);
    edt_backend_destroy(&backend);
}

static void compare_candidates(const inputs *in, int64_t max_nms_inputs)
{
    edt_hparams hp = edt_test_anchor_hparams(512, 512, 7, 4);
    hp.nms_configs.max_nms_inputs = max_nms_inputs;
    edt_error err = {0};
    edt_post *post = NULL;
    cr_assert_eq(edt_post_create(&hp, in->anchors, EDT_POST_GLOBAL, &err, &post), EDT_OK);
    char name[64];
    (void)snprintf(name, sizeof name, "pre_nms_%lld.top200_boxes", (long long)max_nms_inputs);
    const golden_tensor *boxes = golden_find(in->file, name);
    (void)snprintf(name, sizeof name, "pre_nms_%lld.top200_scores", (long long)max_nms_inputs);
    const golden_tensor *scores = golden_find(in->file, name);
    (void)snprintf(name, sizeof name, "pre_nms_%lld.top200_classes", (long long)max_nms_inputs);
    const golden_tensor *classes = golden_find(in->file, name);
    const int64_t n = boxes->shape.dim[1];
    for (int picture = 0; picture < BATCH; ++picture) {
        const float *cls[N_LEVELS], *box[N_LEVELS];
        pointers_of(in, picture, cls, box);
        edt_detection rows[100];
        int64_t n_valid = 0;
        cr_assert_eq(edt_post_run(post, cls, box, 1.0F, rows, &n_valid, &err), EDT_OK);
        const edt_post_candidates have = edt_post_get_candidates(post);
        cr_assert_eq(have.n, max_nms_inputs == 0 ? in->anchors->n : max_nms_inputs);
        uint64_t *order = calloc((size_t)have.n * 2, sizeof *order);
        for (int64_t i = 0; i < have.n; ++i) {
            order[i] = edt_topk_key(have.scores[i], (uint32_t)i);
        }
        edt_topk_sort(order, order + have.n, have.n);
        for (int64_t i = 0; i < n; ++i) {
            const int64_t at = picture * n + i;
            const int64_t k = edt_topk_index(order[i]);
            const float want = ((const float *)scores->data)[at];
            cr_assert(near(have.scores[k], want, 1e-6F), "candidate %lld", (long long)i);
            if (want < COMPARED_SCORE) {
                continue;
            }
            cr_assert_eq(have.classes[k], ((const int32_t *)classes->data)[at]);
            for (int d = 0; d < 4; ++d) {
                cr_assert(near(have.boxes[4 * k + d], ((const float *)boxes->data)[4 * at + d],
                               2e-4F));
            }
        }
        free(order);
    }
    edt_post_destroy(post);
}

Test(post_golden, candidates_before_suppression, .timeout = 60)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "model/post/post.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    inputs in = open_inputs(path);
    compare_candidates(&in, 0);
    compare_candidates(&in, 5000);
    close_inputs(&in);
}
