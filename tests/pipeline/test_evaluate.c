// A data set through a predictor with a ground truth in a file: what was matched in the
// background must be what the whole list of detections evaluates to.
#include "eval/evaluate.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/strbuf.h"
#include "dataio/labels.h"
#include "tests/support/coco_random.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"

enum { N_PICTURES = 7, BATCH = 3, N_BOXES = 180 };

static edt_error err;

static void write_json(const char *path)
{
    edt_strbuf out = {0};
    edt_strbuf_puts(&out, "{\"images\": [");
    for (int i = 0; i < N_PICTURES; ++i) {
        edt_strbuf_printf(&out, "%s{\"id\": %d}", i > 0 ? ", " : "", 100 + i);
    }
    edt_strbuf_puts(&out, "], \"annotations\": [");
    // So many boxes that a network of random weights hits some.
    for (int i = 0; i < N_PICTURES * N_BOXES; ++i) {
        const int side = 20 + 20 * (i % 3);
        edt_strbuf_printf(&out,
                          "%s{\"id\": %d, \"image_id\": %d, \"category_id\": %d, \"bbox\": "
                          "[%d, %d, %d, %d], \"area\": %d}",
                          i > 0 ? ", " : "", i + 1, 100 + i / N_BOXES, 1 + i / 3 % 3,
                          i / 9 % 5 * 15 - 5, i / 45 % 4 * 15 - 5, side, side, side * side);
    }
    edt_strbuf_puts(&out, "], \"categories\": [{\"id\": 1, \"name\": \"a\"}, {\"id\": 2, "
                          "\"name\": \"b\"}, {\"id\": 3, \"name\": \"c\"}]}");
    cr_assert_eq(edt_file_write(path, out.text, out.n_bytes, &err), EDT_OK, "%s", err.text);
    edt_strbuf_deinit(&out);
}

static void check(const edt_hparams *hp, edt_predictor *predictor, const char *pattern,
                  const char *json, int64_t n_pictures)
{
    const edt_evaluation_options options = {
        .val_file_pattern = pattern, .val_json_file = json, .n_threads = 1};
    edt_evaluation e;
    edt_coco_result *whole;
    cr_assert_eq(edt_evaluate(hp, predictor, BATCH, &options, &err, &e), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(e.n_images, n_pictures);
    cr_assert_eq(edt_coco_dt_count(e.detections), n_pictures * 100);
    cr_assert_eq(edt_coco_evaluate(e.gt, e.detections,
                                   &(edt_coco_params){.only_images_with_detections = true},
                                   &err, &whole),
                 EDT_OK);
    cr_expect(edt_coco_same_result(e.result, whole));
    cr_expect_eq(edt_coco_result_n_images(e.result), N_PICTURES);
    cr_expect_gt(edt_coco_result_stats(whole)[8], 0); // some recall, or nothing is tested
    edt_coco_result_destroy(whole);
    edt_evaluation_deinit(&e);
}

static edt_predictor *create_predictor(const edt_hparams *hp, edt_backend **out_backend)
{
    edt_predictor *predictor;
    const edt_predictor_options options = {.batch_size = BATCH,
                                           .slot_format = EDT_SLOT_F32,
                                           .post_mode = EDT_POST_PER_CLASS,
                                           .n_threads = 1};
    cr_assert_eq(
        edt_backend_create("cpu", &(edt_backend_options){.n_threads = 1}, &err, out_backend),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_predictor_create_standalone(hp, *out_backend, &options, &err, &predictor),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_params_init_random(edt_predictor_params(predictor), 5, &err), EDT_OK);
    return predictor;
}

// Converted shards know what their classes are called; a label map has the last word.
static void check_names(const char *label_map, const char *want)
{
    edt_hparams hp;
    edt_backend *backend;
    edt_evaluation e;
    char overrides[128];
    (void)snprintf(overrides, sizeof overrides, "num_classes=90%s", label_map);
    edt_test_train_hparams(overrides, &hp);
    cr_assert_eq(edt_labels_resolve(&hp, &err), EDT_OK, "%s", err.text);
    edt_predictor *predictor = create_predictor(&hp, &backend);
    const edt_evaluation_options options = {.val_file_pattern = edt_test_coco_pattern(),
                                            .n_threads = 1};
    cr_assert_eq(edt_evaluate(&hp, predictor, BATCH, &options, &err, &e), EDT_OK, "%s",
                 err.text);
    int64_t n, n_named = 0;
    bool found = false;
    const edt_coco_category *categories = edt_coco_result_categories(e.result, &n);
    for (int64_t i = 0; i < n; ++i) {
        n_named += categories[i].name != NULL && categories[i].name[0] != '\0';
        found = found || (categories[i].id == 1 && strcmp(categories[i].name, want) == 0);
    }
    cr_expect(found, "%s: class 1 is not called %s", label_map, want);
    cr_expect(n > 1 && n_named == n, "%d of %d classes have a name", (int)n_named, (int)n);
    edt_evaluation_deinit(&e);
    edt_predictor_destroy(predictor);
    edt_backend_destroy(&backend);
    edt_hparams_deinit(&hp);
}

Test(evaluate, classes_have_the_names_that_the_shards_hold, .timeout = 120)
{
    check_names("", "person");
    check_names(",label_map=waymo", "vehicle");
}

Test(evaluate, batches_matched_in_the_background_give_the_same_numbers, .timeout = 120)
{
    edt_hparams hp;
    edt_backend *backend;
    char root[256], first[300], second[300], json[300], both[700];
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(first, sizeof first, "%s/a.tfrecord", root);
    (void)snprintf(second, sizeof second, "%s/b.tfrecord", root);
    (void)snprintf(json, sizeof json, "%s/gt.json", root);
    (void)snprintf(both, sizeof both, "%s,%s", first, second);
    edt_test_write_drawn_shard(first, N_PICTURES, -1);
    edt_test_write_drawn_shard(second, N_PICTURES, -1);
    write_json(json);
    edt_test_train_hparams("", &hp);
    edt_predictor *predictor = create_predictor(&hp, &backend);
    check(&hp, predictor, first, json, N_PICTURES);
    // Every picture twice: its second batch cannot be matched alone.
    check(&hp, predictor, both, json, 2 * N_PICTURES);
    edt_predictor_destroy(predictor);
    edt_backend_destroy(&backend);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(root);
}

Test(evaluate, mixed_precision_means_the_type_that_the_device_has, .timeout = 30)
{
    edt_hparams hp;
    edt_backend *cpu;
    edt_test_train_hparams("mixed_precision=true", &hp);
    edt_predictor *predictor = create_predictor(&hp, &cpu);
    cr_expect_eq(edt_predictor_real(predictor), EDT_DTYPE_BF16);
    cr_expect_eq(edt_inference_real(&hp, "cuda"), EDT_DTYPE_BF16);
    cr_expect_eq(edt_inference_real(&hp, "ref"), EDT_DTYPE_F32);
    hp.loss_scale = 128; // trained in f16
    cr_expect_eq(edt_inference_real(&hp, "cuda"), EDT_DTYPE_F16);
    cr_expect_eq(edt_inference_real(&hp, "cpu"), EDT_DTYPE_F32);
    hp.mixed_precision = false;
    cr_expect_eq(edt_inference_real(&hp, "cpu"), EDT_DTYPE_F32);
    edt_predictor_destroy(predictor);
    edt_backend_destroy(&cpu);
    edt_hparams_deinit(&hp);
}
