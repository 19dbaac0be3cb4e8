// What stands in which event file under which tag, for both semantics; a resumed run; names
// that are not UTF-8; no allocation per line.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "core/path.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"
#include "train/event_summaries.h"

static char root[300];
static edt_hparams hp;

static const edt_metric rows[] = {
    {"epoch", 1.5},        {"loss", 2.0},          {"cls_loss", 0.5},
    {"learning_rate", .1}, {"gradient_norm", 3.0}, {"images_per_second", 8.0},
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static edt_summaries *create(const char *overrides, edt_summaries_options options)
{
    edt_error err = {0};
    edt_summaries *s = NULL;
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    options.model_dir = root;
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK);
    cr_assert_eq(edt_hparams_override(&hp, overrides, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_summaries_create(&hp, &options, &err, &s), EDT_OK, "%s", err.text);
    return s;
}

static void finish(edt_summaries *s)
{
    edt_summaries_destroy(s, true);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(root);
}

// Whether some event file of `dir` holds these bytes.
static bool has_bytes(const char *dir, const char *field, int n)
{
    edt_arena arena;
    edt_error err;
    edt_path_list files;
    bool found = false;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    if (edt_path_glob(edt_test_path(dir, "events.*"), &arena, &err, &files) == EDT_OK) {
        for (int64_t i = 0; i < files.n; ++i) {
            const edt_span bytes = edt_test_read_file(files.path[i]);
            found = found || memmem(bytes.data, bytes.n_bytes, field, (size_t)n) != NULL;
            edt_mem_free((void *)bytes.data);
        }
    }
    edt_arena_deinit(&arena);
    return found;
}

// `tag` as a tag: field 1, its length, its bytes.
static bool has_tag(const char *dir, const char *tag)
{
    char field[128];
    const int n = snprintf(field, sizeof field, "\x0a%c%s", (int)strlen(tag), tag);
    return has_bytes(dir, field, n);
}

static void expect_tags(const char *dir, int n, const char *const *tags)
{
    for (int i = 0; i < n; ++i) {
        cr_expect(has_tag(dir, tags[i]), "%s: no %s", dir, tags[i]);
    }
}

// Two classes, one of them with a name that is not UTF-8, and one detection of each.
static edt_coco_result *evaluate(void)
{
    static const edt_coco_category categories[] = {{1, "cat"}, {2, "d\xffg"}};
    edt_error err = {0};
    edt_coco_gt *gt = NULL;
    edt_coco_dt *dt = NULL;
    edt_coco_result *result = NULL;
    const int64_t images[] = {1};
    const edt_coco_object objects[] = {
        {.id = 1, .image_id = 1, .category_id = 1, .bbox = {0, 0, 10, 10}, .area = 100},
        {.id = 2, .image_id = 1, .category_id = 2, .bbox = {20, 20, 10, 10}, .area = 100}};
    cr_assert_eq(edt_coco_gt_create(images, 1, categories, 2, objects, 2, &err, &gt), EDT_OK,
                 "%s", err.text);
    cr_assert_eq(edt_coco_dt_create(&err, &dt), EDT_OK);
    const float box[4] = {0, 0, 10, 10};
    cr_assert_eq(edt_coco_dt_add_f32(dt, 1, 1, box, 0.9f, &err), EDT_OK);
    cr_assert_eq(edt_coco_evaluate(gt, dt, &(edt_coco_params){.n_threads = 1}, &err, &result),
                 EDT_OK, "%s", err.text);
    edt_coco_dt_destroy(dt);
    edt_coco_gt_destroy(gt);
    return result;
}

static const edt_summaries_options fresh = {
    .steps_per_epoch = 10.0, .batch_size = 4, .resumed_step = -1};

Test(event_summaries, tf1_has_the_tags_of_main_py_in_one_directory, .timeout = 30)
{
    static const char *const train[] = {
        "train_epochs",       "trainloss/loss", "loss",
        "trainloss/cls_loss", "lrn_rate",       "gradient_norm",
        "global_step/sec",    "config.yaml",    "_hparams_/session_start_info"};
    static const char *const eval[] = {"AP", "AP_/cat", "AP_/d?g", "loss", "cls_loss"};
    edt_summaries *s = create("semantics=tf1", fresh);
    cr_expect_not(edt_test_exists(edt_test_path(root, "eval")),
                  "nothing before the first event");
    edt_summaries_train(s, 15, rows, N_ROWS);
    expect_tags(root, 9, train);
    cr_expect(edt_summaries_file(s, EDT_SUMMARY_BATCH) ==
              edt_summaries_file(s, EDT_SUMMARY_TRAIN));
    edt_coco_result *result = evaluate();
    const edt_metric evaluated[] = {{"AP", 0.5}, {"val_loss", 2}, {"val_cls_loss", 1}};
    edt_summaries_eval(s, 15, evaluated, 3, result);
    edt_coco_result_destroy(result);
    expect_tags(edt_test_path(root, "eval"), 5, eval);
    cr_expect_not(has_tag(root, "AP"));
    finish(s);
}

Test(event_summaries, tf2_has_the_tags_of_keras_in_directories_of_their_own, .timeout = 30)
{
    static const char *const train[] = {"batch_loss", "batch_learning_rate",
                                        "batch_gradient_norm", "epoch_loss"};
    edt_summaries *s = create("semantics=tf2", fresh);
    edt_summaries_train(s, 9, rows, N_ROWS);
    cr_expect_not(has_tag(edt_test_path(root, "train"), "epoch_loss"));
    edt_summaries_train(s, 11, rows, N_ROWS); // behind the end of the first epoch
    expect_tags(edt_test_path(root, "train"), 4, train);
    edt_summaries_eval(s, 10, (edt_metric[]){{"AP", 0.5}, {"val_loss", 2}}, 2, NULL);
    cr_expect(has_tag(edt_test_path(root, "coco"), "AP"));
    cr_expect_not(has_tag(edt_test_path(root, "coco"), "val_loss"));
    cr_expect(has_tag(edt_test_path(root, "validation"), "epoch_loss"));
    edt_event_image image = {.tag = "Test image", .h = 1, .w = 1};
    edt_event_file_image(edt_summaries_file(s, EDT_SUMMARY_SAMPLE), 3, &image);
    edt_event_file_image(edt_summaries_file(s, EDT_SUMMARY_BATCH), 3, &image);
    cr_expect(has_tag(edt_test_path(root, "test_images"), "Test image"));
    cr_expect(has_tag(edt_test_path(root, "train_images"), "Test image"));
    finish(s);
}

// num_epochs=0.3 and 2.3: the first epoch and the third, which Keras counts from 0.
Test(event_summaries, tf2_counts_a_part_of_an_epoch_as_that_epoch, .timeout = 30)
{
    static const char below_zero[] = "\x10\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
    static const char two[] = "\x10\x02", three[] = "\x10\x03";
    edt_summaries *s = create("semantics=tf2", fresh);
    edt_summaries_eval(s, 3, (edt_metric[]){{"AP", 0.5}, {"val_loss", 2}}, 2, NULL);
    cr_expect(has_tag(edt_test_path(root, "validation"), "epoch_loss"));
    cr_expect_not(has_bytes(edt_test_path(root, "validation"), below_zero, 11));
    edt_summaries_eval(s, 23, (edt_metric[]){{"AP", 0.5}, {"val_loss", 2}}, 2, NULL);
    cr_expect(has_bytes(edt_test_path(root, "validation"), two, 2));
    cr_expect(has_bytes(edt_test_path(root, "coco"), three, 2));
    finish(s);
}

Test(event_summaries, a_named_evaluation_has_its_directory, .timeout = 30)
{
    edt_summaries_options options = fresh;
    options.eval_name = "half";
    options.waits = true;
    edt_summaries *s = create("semantics=tf2", options);
    edt_summaries_eval(s, 10, &(edt_metric){"AP", 0.5}, 1, NULL);
    cr_expect(has_tag(edt_test_path(root, "eval_half"), "AP"));
    cr_expect_not(has_tag(edt_test_path(root, "eval_half"), "config.yaml"));
    finish(s);
}

Test(event_summaries, a_line_allocates_nothing, .timeout = 30)
{
    edt_summaries *s = create("semantics=tf2", fresh);
    edt_summaries_train(s, 1, rows, N_ROWS);
    edt_summaries_train(s, 2, rows, N_ROWS);
    const int64_t before = edt_mem_get_total().n_total;
    for (int64_t step = 3; step < 40; ++step) {
        edt_summaries_train(s, step, rows, N_ROWS);
    }
    cr_expect_eq(edt_mem_get_total().n_total, before);
    finish(s);
}
