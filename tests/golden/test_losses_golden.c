// The three detection losses and the gradient of their weighted sum against the reference's own
// values, on the ref backend in float and in double. The stored CIoU gradients contain the one
// of v (they differ from the form with v held by far more than rounding), so ciou_v_gradient is
// set.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend/ref/ref_iou_pair.h"
#include "model/anchors.h"
#include "tests/support/golden_case.h"
#include "tests/support/golden_file.h"
#include "tests/support/golden_gen.h"
#include "tests/support/op_compare.h"
#include "tests/support/test_anchor_hparams.h"
#include "tests/support/test_dirs.h"

enum { ANCHORS_PER_CELL = 9, MAX_LEVELS = 8 };
#define TENSOR_TOLERANCE 2e-6 // of the largest value
#define SUM_TOLERANCE 1e-6    // relative

// What all cases of a file share, in the element type under test.
typedef struct bench {
    golden_file *file;
    edt_backend *ref;
    edt_dtype real;
    edt_anchors *anchors;
    int64_t batch, n_classes;
    int min_level, max_level;
    void *logits[MAX_LEVELS], *box[MAX_LEVELS]; // by level - min_level
    int32_t *classes;                           // [B,T]
    void *box_targets;                          // [B,T,4]
    void *anchor_boxes;                         // [T,4]
} bench;

// Losses of one case: values, and det_loss's gradients per level.
typedef struct outcome {
    double cls_level[MAX_LEVELS], box_level[MAX_LEVELS];
    double cls, box, iou;
    double *cls_grad[MAX_LEVELS], *box_grad[MAX_LEVELS];
} outcome;

static void *alloc(int64_t n, size_t item_bytes)
{
    return edt_mem_calloc(EDT_MEM_MISC, (size_t)n + 1, item_bytes);
}

static void *from_floats(edt_dtype real, int64_t n, const float *values)
{
    void *out = alloc(n, edt_dtype_bytes(real));
    for (int64_t i = 0; i < n; ++i) {
        if (real == EDT_DTYPE_F64) {
            ((double *)out)[i] = (double)values[i];
        } else {
            ((float *)out)[i] = values[i];
        }
    }
    return out;
}

static double at(edt_dtype real, const void *values, int64_t i)
{
    return real == EDT_DTYPE_F64 ? ((const double *)values)[i]
                                 : (double)((const float *)values)[i];
}

static const golden_tensor *find(const golden_file *file, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static const golden_tensor *find(const golden_file *file, const char *fmt, ...)
{
    char name[160];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(name, sizeof name, fmt, args);
    va_end(args);
    return golden_find(file, name);
}

static int64_t level_anchors(const bench *b, int level)
{
    return b->anchors->level_h[level] * b->anchors->level_w[level] * ANCHORS_PER_CELL;
}

static void *generate(const bench *b, const char *what, int level, double a, double scale,
                      int64_t n)
{
    char key[160];
    (void)snprintf(key, sizeof key, "%sloss/%s_%d", golden_metadata(b->file, "key_prefix"),
                   what, level);
    float *values = alloc(n, sizeof *values);
    golden_gen(key, a, scale, n, values);
    void *out = from_floats(b->real, n, values);
    edt_mem_free(values);
    return out;
}

// Rows of a level ([B * level's anchors]) into the flat [B,T] targets.
static int64_t flat_row(const bench *b, int level, int64_t row)
{
    const int64_t n_level = level_anchors(b, level);
    return row / n_level * b->anchors->n + b->anchors->level_offset[level] + row % n_level;
}

static void read_targets(bench *b)
{
    const int64_t n = b->batch * b->anchors->n;
    float *boxes = alloc(n * 4, sizeof *boxes);
    b->classes = alloc(n, sizeof *b->classes);
    for (int64_t i = 0; i < n; ++i) {
        b->classes[i] = -1;
    }
    for (int l = b->min_level; l <= b->max_level; ++l) {
        const golden_tensor *rows = find(b->file, "target_rows_%d", l);
        const golden_tensor *ignored = find(b->file, "ignored_rows_%d", l);
        const int32_t *classes = find(b->file, "target_classes_%d", l)->data;
        const float *targets = find(b->file, "target_boxes_%d", l)->data;
        for (int64_t i = 0; ignored != NULL && i < ignored->shape.dim[0]; ++i) {
            b->classes[flat_row(b, l, ((const int32_t *)ignored->data)[i])] = -2;
        }
        for (int64_t i = 0; i < rows->shape.dim[0]; ++i) {
            const int64_t to = flat_row(b, l, ((const int32_t *)rows->data)[i]);
            b->classes[to] = classes[i];
            memcpy(boxes + 4 * to, targets + 4 * i, 4 * sizeof *boxes);
        }
    }
    b->box_targets = from_floats(b->real, n * 4, boxes);
    edt_mem_free(boxes);
}

// The class count is the width of any stored class gradient.
static int64_t count_classes(const golden_file *file)
{
    for (int i = 0; i < golden_count(file); ++i) {
        const golden_tensor *t = golden_at(file, i);
        if (strstr(t->name, ".grad_cls_") != NULL) {
            return t->shape.dim[1];
        }
    }
    return 90;
}

static bench open_bench(const char *path, edt_dtype real)
{
    edt_error err = {0};
    bench b = {.file = golden_open(path), .real = real, .min_level = 3};
    cr_assert_eq(edt_backend_ref_create(&err, &b.ref), EDT_OK);
    for (b.max_level = b.min_level; find(b.file, "target_rows_%d", b.max_level + 1) != NULL;) {
        ++b.max_level;
    }
    long size[2];
    cr_assert_eq(sscanf(golden_metadata(b.file, "size_hw"), "[%ld, %ld]", &size[0], &size[1]),
                 2);
    const edt_hparams hp = edt_test_anchor_hparams(size[0], size[1], b.max_level, 4);
    cr_assert_eq(edt_anchors_create(&hp, &err, &b.anchors), EDT_OK, "%s", err.text);
    b.batch = golden_find(b.file, "num_positives")->shape.dim[0];
    b.n_classes = count_classes(b.file);
    b.anchor_boxes = from_floats(real, b.anchors->n * 4, b.anchors->boxes);
    for (int l = b.min_level; l <= b.max_level; ++l) {
        const int64_t n = b.batch * level_anchors(&b, l);
        b.logits[l - b.min_level] = generate(&b, "cls", l, -2, 4, n * b.n_classes);
        b.box[l - b.min_level] = generate(&b, "box", l, 0, 0.3, n * 4);
    }
    read_targets(&b);
    return b;
}

static void close_bench(bench *b)
{
    for (int i = 0; i < MAX_LEVELS; ++i) {
        edt_mem_free(b->logits[i]);
        edt_mem_free(b->box[i]);
    }
    edt_mem_free(b->classes);
    edt_mem_free(b->box_targets);
    edt_mem_free(b->anchor_boxes);
    edt_anchors_destroy(b->anchors);
    edt_backend_destroy(&b->ref);
    golden_close(b->file);
}

static edt_tensor_desc real_of(const bench *b, edt_shape shape)
{
    return (edt_tensor_desc){b->real, shape};
}

// Runs a loss op; `out` gets the value, grads[i] += gradient i.
static double run_loss(const bench *b, edt_op_desc *desc, void *const *in, int n_grads,
                       double *const *grads)
{
    static const edt_run_ctx ctx = {0};
    edt_error err = {0};
    void *out[EDT_OP_MAX_OUT] = {0};
    desc->n_out = 1 + n_grads;
    cr_assert_eq(edt_op_infer(desc, &err), EDT_OK, "%s", err.text);
    for (int i = 0; i < desc->n_out; ++i) {
        out[i] = alloc(edt_shape_count(&desc->out[i].shape), edt_dtype_bytes(b->real));
    }
    cr_assert_eq(edt_op_execute(b->ref, desc, &ctx, in, out, &err), EDT_OK, "%s", err.text);
    const double loss = at(b->real, out[0], 0);
    for (int g = 0; g < n_grads; ++g) {
        for (int64_t i = 0; i < edt_shape_count(&desc->out[1 + g].shape); ++i) {
            grads[g][i] += at(b->real, out[1 + g], i);
        }
    }
    for (int i = 0; i < desc->n_out; ++i) {
        edt_mem_free(out[i]);
    }
    return loss;
}

static edt_shape output_shape(const bench *b, int64_t batch, int level, int64_t per_anchor)
{
    return edt_shape_4(batch, b->anchors->level_h[level], b->anchors->level_w[level],
                       ANCHORS_PER_CELL * per_anchor);
}

static void add_in(edt_op_desc *desc, void **in, edt_tensor_desc t, void *data)
{
    in[desc->n_in] = data;
    desc->in[desc->n_in++] = t;
}

// Adds IOU_LOSS over all levels when the case has one.
static double run_iou(const bench *b, const golden_case *c, int64_t batch, void *norm,
                      double *const *grads)
{
    static const char *const kinds[] = {"iou", "giou", "diou", "ciou"};
    char kind[16];
    if (!golden_case_text(c, "iou_loss_type", kind, sizeof kind)) {
        return 0;
    }
    edt_op_desc desc = {.kind = EDT_OP_IOU_LOSS};
    void *in[EDT_OP_MAX_IN];
    for (int k = 0; k < 4; ++k) {
        if (strcmp(kind, kinds[k]) == 0) {
            desc.attrs.loss.iou_kind = (edt_iou_loss_kind)k;
        }
    }
    desc.attrs.loss.weight = golden_case_number(c, "iou_loss_weight", 1);
    desc.attrs.loss.anchors_per_cell = ANCHORS_PER_CELL;
    desc.attrs.loss.misaligned_rows = true;
    desc.attrs.loss.ciou_v_gradient = true;
    for (int l = b->min_level; l <= b->max_level; ++l) {
        add_in(&desc, in, real_of(b, output_shape(b, batch, l, 4)), b->box[l - b->min_level]);
    }
    add_in(&desc, in, real_of(b, edt_shape_2(b->anchors->n, 4)), b->anchor_boxes);
    add_in(&desc, in, real_of(b, edt_shape_3(batch, b->anchors->n, 4)), b->box_targets);
    add_in(&desc, in, real_of(b, edt_shape_1(1)), norm);
    return run_loss(b, &desc, in, b->max_level - b->min_level + 1, grads);
}

static outcome run_case(const bench *b, const golden_case *c, int64_t batch)
{
    outcome o = {0};
    const float *positives = golden_find(b->file, "num_positives")->data;
    float sum = 1;
    for (int64_t i = 0; i < batch; ++i) {
        sum += positives[i];
    }
    void *norm = from_floats(b->real, 1, &sum);
    for (int l = b->min_level; l <= b->max_level; ++l) {
        const int i = l - b->min_level;
        const edt_loss_attrs loss = {
            .alpha = golden_case_number(c, "alpha", 0.25),
            .gamma = golden_case_number(c, "gamma", 1.5),
            .label_smoothing = golden_case_number(c, "label_smoothing", 0),
            .delta = golden_case_number(c, "delta", 0.1),
            .weight = golden_case_number(c, "box_loss_weight", 50),
            .num_classes = b->n_classes,
            .anchors_per_cell = ANCHORS_PER_CELL,
            .anchor_offset = b->anchors->level_offset[l],
        };
        const edt_shape cls = output_shape(b, batch, l, b->n_classes);
        const edt_shape box = output_shape(b, batch, l, 4);
        o.cls_grad[i] = alloc(edt_shape_count(&cls), sizeof(double));
        o.box_grad[i] = alloc(edt_shape_count(&box), sizeof(double));
        edt_op_desc focal = {.kind = EDT_OP_FOCAL_LOSS, .attrs.loss = loss};
        void *in[EDT_OP_MAX_IN];
        add_in(&focal, in, real_of(b, cls), b->logits[i]);
        add_in(&focal, in, (edt_tensor_desc){EDT_DTYPE_I32, edt_shape_2(batch, b->anchors->n)},
               b->classes);
        add_in(&focal, in, real_of(b, edt_shape_1(1)), norm);
        o.cls_level[i] = run_loss(b, &focal, in, 1, &o.cls_grad[i]);
        edt_op_desc huber = {.kind = EDT_OP_BOX_LOSS, .attrs.loss = loss};
        add_in(&huber, in, real_of(b, box), b->box[i]);
        add_in(&huber, in, real_of(b, edt_shape_3(batch, b->anchors->n, 4)), b->box_targets);
        add_in(&huber, in, real_of(b, edt_shape_1(1)), norm);
        o.box_level[i] = run_loss(b, &huber, in, 1, &o.box_grad[i]);
        o.cls += o.cls_level[i];
        o.box += o.box_level[i];
    }
    o.iou = run_iou(b, c, batch, norm, o.box_grad);
    edt_mem_free(norm);
    return o;
}

static void free_outcome(outcome *o)
{
    for (int i = 0; i < MAX_LEVELS; ++i) {
        edt_mem_free(o->cls_grad[i]);
        edt_mem_free(o->box_grad[i]);
    }
}

static void expect_sum(const golden_case *c, const char *key, double got)
{
    const double want = golden_case_number(c, key, NAN);
    if (!isnan(want)) {
        cr_expect(fabs(got - want) <= SUM_TOLERANCE * fabs(want), "%s: %s is %.9g, want %.9g",
                  c->name, key, got, want);
    }
}

static void expect_levels(const bench *b, const golden_case *c, const char *suffix,
                          const double *got)
{
    const golden_tensor *want = find(b->file, "%s.%s", c->name, suffix);
    for (int i = 0; want != NULL && i <= b->max_level - b->min_level; ++i) {
        const double w = (double)((const float *)want->data)[i];
        cr_expect(fabs(got[i] - w) <= SUM_TOLERANCE * fabs(w), "%s.%s[%d] is %.9g, want %.9g",
                  c->name, suffix, i, got[i], w);
    }
}

// Row i of `want` is row rows[i] (or i * every) of `got`; rows past the case's batch are not
// stored.
static void expect_rows(const golden_tensor *want, const int32_t *rows, int64_t every,
                        int64_t n_got_rows, const double *got)
{
    const float *values = want->data;
    const int64_t width = want->shape.dim[1];
    const int64_t n = edt_shape_count(&want->shape);
    double largest = 0;
    for (int64_t i = 0; i < n; ++i) {
        largest = fmax(largest, fabs((double)values[i]));
    }
    for (int64_t i = 0; i < n; ++i) {
        const int64_t row = rows != NULL ? rows[i / width] : i / width * every;
        cr_assert_lt(row, n_got_rows);
        const double g = got[row * width + i % width];
        cr_assert(fabs(g - (double)values[i]) <= TENSOR_TOLERANCE * largest,
                  "%s: row %ld column %ld is %.9g, want %.9g (largest %.3g)", want->name,
                  (long)row, (long)(i % width), g, (double)values[i], largest);
    }
}

static void expect_class_gradients(const bench *b, const golden_case *c, int level,
                                   int64_t n_rows, const double *got)
{
    char start[160];
    (void)snprintf(start, sizeof start, "%s.grad_cls_%d.every", c->name, level);
    for (int i = 0; i < golden_count(b->file); ++i) {
        const golden_tensor *t = golden_at(b->file, i);
        if (strncmp(t->name, start, strlen(start)) == 0) {
            expect_rows(t, NULL, strtol(t->name + strlen(start), NULL, 10), n_rows, got);
        }
    }
    const golden_tensor *positive = find(b->file, "%s.grad_cls_%d.positive", c->name, level);
    if (positive != NULL) {
        expect_rows(positive, find(b->file, "target_rows_%d", level)->data, 0, n_rows, got);
    }
}

static void expect_box_gradients(const bench *b, const golden_case *c, int level,
                                 int64_t n_rows, const double *got)
{
    const golden_tensor *rows = find(b->file, "%s.grad_box_rows_%d", c->name, level);
    const golden_tensor *want = find(b->file, "%s.grad_box_%d", c->name, level);
    if (want == NULL) {
        return;
    }
    expect_rows(want, rows->data, 0, n_rows, got);
    int64_t n_nonzero = 0;
    for (int64_t row = 0; row < n_rows; ++row) {
        const double *g = got + 4 * row;
        n_nonzero += g[0] != 0 || g[1] != 0 || g[2] != 0 || g[3] != 0;
    }
    cr_expect_eq(n_nonzero, rows->shape.dim[0],
                 "%s: level %d has %ld rows with a gradient, want %ld", c->name, level,
                 (long)n_nonzero, (long)rows->shape.dim[0]);
}

static void compare_case(const bench *b, const golden_case *c)
{
    const int64_t batch = (int64_t)golden_case_number(c, "batch", (double)b->batch);
    outcome o = run_case(b, c, batch);
    expect_sum(c, "cls_loss", o.cls);
    expect_sum(c, "box_loss", o.box);
    expect_sum(c, "box_iou_loss", o.iou);
    expect_sum(c, "det_loss",
               o.cls + golden_case_number(c, "box_loss_weight", 50) * o.box +
                   golden_case_number(c, "iou_loss_weight", 1) * o.iou);
    expect_levels(b, c, "cls_loss_level", o.cls_level);
    expect_levels(b, c, "box_loss_level", o.box_level);
    for (int l = b->min_level; l <= b->max_level; ++l) {
        const int64_t n_rows = batch * level_anchors(b, l);
        expect_class_gradients(b, c, l, n_rows, o.cls_grad[l - b->min_level]);
        expect_box_gradients(b, c, l, n_rows, o.box_grad[l - b->min_level]);
    }
    free_outcome(&o);
}

static void compare_all(edt_dtype real)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "model/losses/losses.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    bench b = open_bench(path, real);
    golden_case c;
    int n = 0;
    while (golden_case_at(golden_metadata(b.file, "cases"), n, &c)) {
        compare_case(&b, &c);
        ++n;
    }
    cr_assert_gt(n, 0);
    close_bench(&b);
}

Test(losses_golden, float_equals_the_reference, .timeout = 120)
{
    compare_all(EDT_DTYPE_F32);
}

Test(losses_golden, double_equals_the_reference, .timeout = 120)
{
    compare_all(EDT_DTYPE_F64);
}

Test(losses_golden, box_pairs_equal_the_reference, .timeout = 30)
{
    static const char *const kinds[] = {"iou", "giou", "diou", "ciou"};
    const char *path = edt_test_path(edt_test_golden_dir(), "model/losses/losses.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    golden_file *file = golden_open(path);
    const golden_tensor *preds = golden_find(file, "pairs.pred");
    const float *pred = preds->data;
    const float *target = golden_find(file, "pairs.target")->data;
    for (int kind = 0; kind < 4; ++kind) {
        const int64_t n = preds->shape.dim[0];
        double *losses = alloc(n, sizeof *losses);
        double *gradients = alloc(n * 4, sizeof *gradients);
        for (int64_t i = 0; i < n; ++i) {
            double p[4];
            double t[4];
            for (int k = 0; k < 4; ++k) {
                p[k] = (double)pred[4 * i + k];
                t[k] = (double)target[4 * i + k];
            }
            losses[i] =
                edt_ref_iou_pair_loss((edt_iou_loss_kind)kind, true, p, t, gradients + 4 * i);
        }
        golden_tensor want = *find(file, "pairs.%s", kinds[kind]);
        want.shape = edt_shape_2(n, 1);
        expect_rows(&want, NULL, 1, n, losses);
        expect_rows(find(file, "pairs.%s.grad", kinds[kind]), NULL, 1, n, gradients);
        edt_mem_free(losses);
        edt_mem_free(gradients);
    }
    golden_close(file);
}
