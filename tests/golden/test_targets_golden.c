#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/assign.h"
#include "tests/support/golden_case.h"
#include "tests/support/golden_file.h"
#include "tests/support/test_anchor_hparams.h"
#include "tests/support/test_dirs.h"

static const golden_tensor *tensor(const golden_file *file, const golden_case *c,
                                   const char *what)
{
    char name[160];
    (void)snprintf(name, sizeof name, "%s.%s", c->name, what);
    const golden_tensor *t = golden_find(file, name);
    cr_assert_not_null(t, "%s", name);
    return t;
}

static void compare(const golden_file *file, const golden_case *c)
{
    double size[2];
    cr_assert_eq(golden_case_numbers(c, "size_hw", size, 2), 2);
    edt_hparams hp = edt_test_anchor_hparams((int64_t)size[0], (int64_t)size[1],
                                             (int64_t)golden_case_number(c, "max_level", 7),
                                             golden_case_number(c, "anchor_scale", 4));
    hp.min_level = (int64_t)golden_case_number(c, "min_level", 3);
    edt_error err = {0};
    edt_anchors *anchors = NULL;
    edt_assigner *assigner = NULL;
    cr_assert_eq(edt_anchors_create(&hp, &err, &anchors), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_assigner_create(anchors, true, &err, &assigner), EDT_OK, "%s", err.text);

    const golden_tensor *gt = tensor(file, c, "gt_boxes");
    const float *gt_classes = tensor(file, c, "gt_classes")->data;
    const int64_t n_boxes = gt->shape.dim[0];
    int64_t *labels = calloc((size_t)n_boxes + 1, sizeof *labels);
    for (int64_t i = 0; i < n_boxes; ++i) {
        labels[i] = (int64_t)gt_classes[i];
    }
    int32_t *cls = calloc((size_t)anchors->n, sizeof *cls);
    float *box = calloc((size_t)anchors->n * 4, sizeof *box);
    float n_positive = -1;
    cr_assert_eq(edt_assign(assigner, gt->data, labels, n_boxes, cls, box, &n_positive, &err),
                 EDT_OK, "%s", err.text);

    const golden_tensor *rows = tensor(file, c, "positive_rows");
    const int32_t *want_cls = tensor(file, c, "positive_classes")->data;
    const float *want_box = tensor(file, c, "positive_boxes")->data;
    const int32_t *want_per_level = tensor(file, c, "positives_per_level")->data;
    const int64_t n = rows->shape.dim[0];
    cr_assert_eq((int64_t)n_positive, n, "%s: %g positives, want %lld", c->name,
                 (double)n_positive, (long long)n);
    int64_t i = 0;
    for (int64_t a = 0; a < anchors->n; ++a) {
        if (i < n && ((const int32_t *)rows->data)[i] == a) {
            cr_assert_eq(cls[a], want_cls[i], "%s: anchor %lld is %d, want %d", c->name,
                         (long long)a, cls[a], want_cls[i]);
            for (int k = 0; k < 4; ++k) {
                cr_assert(fabsf(box[4 * a + k] - want_box[4 * i + k]) <= 5e-7F,
                          "%s: anchor %lld target %d is %.9g, want %.9g", c->name, (long long)a,
                          k, (double)box[4 * a + k], (double)want_box[4 * i + k]);
            }
            ++i;
            continue;
        }
        const float zeros[4] = {0};
        cr_assert(cls[a] == -1 && memcmp(box + 4 * a, zeros, sizeof zeros) == 0,
                  "%s: anchor %lld should be background", c->name, (long long)a);
    }
    for (int level = anchors->min_level; level <= anchors->max_level; ++level) {
        const int64_t end =
            level < anchors->max_level ? anchors->level_offset[level + 1] : anchors->n;
        int32_t count = 0;
        for (int64_t a = anchors->level_offset[level]; a < end; ++a) {
            count += cls[a] >= 0;
        }
        cr_assert_eq(count, want_per_level[level - anchors->min_level], "%s: level %d", c->name,
                     level);
    }
    free(labels);
    free(cls);
    free(box);
    edt_assigner_destroy(assigner);
    edt_anchors_destroy(anchors);
}

Test(targets_golden, assignment_equals_the_references, .timeout = 60)
{
    const char *path =
        edt_test_path(edt_test_golden_dir(), "model/targets/targets.safetensors");
    EDT_TEST_NEEDS_FILE(path);
    golden_file *file = golden_open(path);
    golden_case c;
    int n = 0;
    while (golden_case_at(golden_metadata(file, "cases"), n, &c)) {
        compare(file, &c);
        ++n;
    }
    cr_assert_gt(n, 0);
    golden_close(file);
}
