// Layouts of TensorFlow checkpoints that others write: published ones (raw values, averages,
// global_step), moved and renamed files, several data files, other byte orders and types.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/path.h"
#include "model/io/checkpoint.h"
#include "model/io/tensor_stats.h"
#include "model/io/weights.h"
#include "tests/support/test_bundle.h"
#include "tests/support/test_dirs.h"

static edt_arena arena;

static void setup(void)
{
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
}

static void teardown(void)
{
    edt_arena_deinit(&arena);
}

TestSuite(weights_bundle, .init = setup, .fini = teardown, .timeout = 30);

static const float RAW[4] = {1, -2, 3.5F, 1e-20F}, AVERAGE[4] = {0.5F, -1, 2, 1e20F};
static const int64_t STEP = 270000;

// As published: raw values, averages, the step.
static const edt_test_tensor PUBLISHED[] = {
    {.name = "class_net/class-0/bias", .desc = {EDT_DTYPE_F32, {1, {4}}}, .data = RAW},
    {.name = "class_net/class-0/bias/ExponentialMovingAverage",
     .desc = {EDT_DTYPE_F32, {1, {4}}},
     .data = AVERAGE},
    {.name = "global_step", .desc = {EDT_DTYPE_I64, {0}}, .data = &STEP},
};

static void write_text(const char *path, const char *text)
{
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, text, strlen(text), &err), EDT_OK, "%s", err.text);
}

static void expect_published(const char *path)
{
    edt_error err = {0};
    edt_weights *weights = NULL;
    cr_assert_eq(edt_weights_open(path, &err, &weights), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_weights_get_format(weights), EDT_WEIGHTS_TF_NAMES);
    cr_assert_eq(edt_weights_count(weights), 3);
    const char *const names[2] = {PUBLISHED[0].name, PUBLISHED[1].name};
    const float *const want[2] = {RAW, AVERAGE};
    for (int k = 0; k < 2; ++k) {
        float got[4];
        const int i = edt_weights_find(weights, names[k]);
        cr_assert_geq(i, 0, "%s", names[k]);
        cr_assert_eq(edt_weights_read(weights, i, got, sizeof got, &err), EDT_OK, "%s",
                     err.text);
        cr_assert_eq(memcmp(got, want[k], sizeof got), 0, "%s", names[k]);
        cr_assert_eq(edt_weights_read(weights, i, got, 8, &err), EDT_ERR_MISMATCH);
    }
    int64_t step = 0;
    const int i = edt_weights_find(weights, "global_step");
    cr_assert_eq(edt_weights_read(weights, i, &step, sizeof step, &err), EDT_OK);
    cr_assert_eq(step, STEP);
    edt_weights_close(weights);
}

Test(weights_bundle, every_way_to_name_a_published_checkpoint)
{
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    const char *prefix = edt_arena_printf(&arena, "%s/model", dir);
    edt_test_bundle_write(prefix, &(edt_test_bundle_options){0}, PUBLISHED, 3);
    write_text(edt_test_path(dir, "model.meta"), "a graph that nobody reads");
    const char *const names[] = {prefix, edt_arena_printf(&arena, "%s.index", prefix),
                                 edt_arena_printf(&arena, "%s.data-00000-of-00001", prefix),
                                 edt_arena_printf(&arena, "%s.meta", prefix)};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        expect_published(names[i]);
    }
    const char *const states[] = {
        "model_checkpoint_path: \"model\"\nall_model_checkpoint_paths: \"model\"\n",
        "model_checkpoint_path: \"/mnt/tpu/jobs/17/model\"\n", // another machine's
        "model_checkpoint_path: \"d0_export/model\"\n",        // another folder's
    };
    for (size_t i = 0; i < sizeof states / sizeof states[0]; ++i) {
        write_text(edt_test_path(dir, "checkpoint"), states[i]);
        expect_published(dir);
        expect_published(edt_arena_printf(&arena, "%s/", dir));
    }
    write_text(edt_test_path(dir, "checkpoint"), "model_checkpoint_path: \"/mnt/other\"\n");
    edt_weights *weights = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_weights_open(dir, &err, &weights), EDT_ERR_NOT_FOUND);
    edt_test_remove_tree(dir);
}

Test(weights_bundle, other_writers_forms_read_as_the_same_tensors)
{
    static const edt_test_bundle_options forms[] = {
        {.snappy = true}, {.big_endian = true}, {.n_shards = 3}};
    for (size_t k = 0; k < sizeof forms / sizeof forms[0]; ++k) {
        const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
        const char *prefix = edt_arena_printf(&arena, "%s/model.ckpt-9", dir);
        edt_test_tensor tensors[3];
        memcpy(tensors, PUBLISHED, sizeof tensors);
        for (int i = 0; i < 3 && forms[k].n_shards > 1; ++i) {
            tensors[i].shard = 2 - i;
        }
        edt_test_bundle_write(prefix, &forms[k], tensors, 3);
        expect_published(prefix);
        if (forms[k].n_shards > 1) {
            const char *shard = edt_arena_printf(&arena, "%s.data-00001-of-00003", prefix);
            expect_published(shard);
            (void)remove(shard);
            edt_weights *weights = NULL;
            edt_error err = {0};
            cr_assert_eq(edt_weights_open(prefix, &err, &weights), EDT_ERR_NOT_FOUND);
            cr_assert_not_null(strstr(err.text, shard), "%s", err.text);
        }
        edt_test_remove_tree(dir);
    }
}

Test(weights_bundle, names_of_replicas_and_texts)
{
    static const edt_test_tensor tensors[] = {
        {.name = "box_net/replica_3/box-0/bias",
         .desc = {EDT_DTYPE_F32, {1, {4}}},
         .data = RAW},
        {.name = "edt/config", .text = {"num_classes: 3\n", 15}},
        {.name = "halves",
         .desc = {EDT_DTYPE_F32, {1, {4}}},
         .data = RAW,
         .is_partitioned = true},
    };
    for (int k = 0; k < 2; ++k) {
        const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
        const char *prefix = edt_arena_printf(&arena, "%s/m", dir);
        edt_test_bundle_write(prefix, &(edt_test_bundle_options){.big_endian = k == 1}, tensors,
                              3);
        edt_weights *weights = NULL;
        edt_error err = {0};
        cr_assert_eq(edt_weights_open(prefix, &err, &weights), EDT_OK, "%s", err.text);
        cr_assert_geq(edt_weights_find(weights, "box_net/box-0/bias"), 0);
        const char *text = NULL;
        cr_assert_eq(edt_weights_read_text(weights, "edt/config", &arena, &err, &text), EDT_OK,
                     "%s", err.text);
        cr_assert_str_eq(text, "num_classes: 3\n");
        cr_assert_eq(edt_weights_read_text(weights, "edt/other", &arena, &err, &text),
                     EDT_ERR_NOT_FOUND);
        float values[4];
        int i = edt_weights_find(weights, "edt/config");
        cr_assert(edt_weights_get(weights, i)->is_text);
        cr_assert_eq(edt_weights_read(weights, i, values, 4, &err), EDT_ERR_UNSUPPORTED);
        i = edt_weights_find(weights, "halves");
        cr_assert_eq(edt_weights_read(weights, i, values, sizeof values, &err),
                     EDT_ERR_UNSUPPORTED);
        cr_assert_not_null(strstr(err.text, "partitions"), "%s", err.text);
        edt_weights_close(weights);
        edt_test_remove_tree(dir);
    }
}

Test(weights_bundle, statistics_of_every_type)
{
    static const uint16_t bf16[4] = {0x3f80, 0xc000, 0x4060, 0x7fc0}; // 1, -2, 3.5, NaN
    static const uint16_t f16[4] = {0x3c00, 0xc000, 0x4300, 0x7c00};  // 1, -2, 3.5, infinite
    static const double f64[4] = {1, -2, 3.5, (double)NAN};
    static const edt_test_tensor tensors[] = {
        {.name = "bf16", .desc = {EDT_DTYPE_BF16, {1, {4}}}, .data = bf16},
        {.name = "f16", .desc = {EDT_DTYPE_F16, {1, {4}}}, .data = f16},
        {.name = "f64", .desc = {EDT_DTYPE_F64, {1, {4}}}, .data = f64},
    };
    for (int k = 0; k < 2; ++k) {
        const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
        const char *prefix = edt_arena_printf(&arena, "%s/m", dir);
        edt_test_bundle_write(prefix, &(edt_test_bundle_options){.big_endian = k == 1}, tensors,
                              3);
        edt_weights *weights = NULL;
        edt_error err = {0};
        cr_assert_eq(edt_weights_open(prefix, &err, &weights), EDT_OK, "%s", err.text);
        for (int i = 0; i < 3; ++i) {
            edt_tensor_stats s;
            cr_assert_eq(edt_tensor_stats_read(weights, i, &err, &s), EDT_OK, "%s", err.text);
            cr_expect_eq(s.n_not_finite, 1);
            cr_expect_eq(s.min, -2.0);
            cr_expect_eq(s.max, 3.5);
        }
        edt_weights_close(weights);
        edt_test_remove_tree(dir);
    }
}

Test(weights_bundle, what_is_no_weight_file_is_called_by_its_name)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
        edt_status status;
    } files[] = {
        {"\x1f\x8b\x08\0\0", 5, "gzip", EDT_ERR_UNSUPPORTED},
        {"PK\x03\x04zip", 7, "PyTorch", EDT_ERR_UNSUPPORTED},
        {"version https://git-lfs.github.com/spec/v1\n", 43, "git-lfs", EDT_ERR_UNSUPPORTED},
        {"\x08\x01\x12\x02", 4, "08 01 12 02", EDT_ERR_FORMAT},
        {"\x80\x02}q", 4, "pickle", EDT_ERR_UNSUPPORTED},
        {"<!DOCTYPE html><html></html>", 28, "a web page", EDT_ERR_UNSUPPORTED},
        {"model_checkpoint_path: \"a\"\n", 27, "name the folder", EDT_ERR_UNSUPPORTED},
        {"\x1c\0\0\0TFL3", 8, "TensorFlow Lite", EDT_ERR_UNSUPPORTED},
        {"", 0, "is empty", EDT_ERR_FORMAT},
    };
    // What the name promises must not hide what the file is.
    static const char *const names[] = {"weights", "weights.h5", "weights.safetensors",
                                        "w.keras"};
    const char *dir = edt_arena_strdup(&arena, edt_test_temp_dir());
    for (size_t i = 0; i < 4 * sizeof files / sizeof files[0]; ++i) {
        const char *path = edt_arena_printf(&arena, "%s/%s", dir, names[i % 4]);
        edt_weights *weights = NULL;
        edt_error err = {0};
        const size_t k = i / 4;
        if (files[k].bytes[0] == '\x08' && i % 4 > 0) {
            continue; // nothing known: the name's format refuses it in its own words
        }
        cr_assert_eq(edt_file_write(path, files[k].bytes, files[k].n, &err), EDT_OK);
        cr_expect_eq(edt_weights_open(path, &err, &weights), files[k].status, "%s", err.text);
        cr_expect_not_null(strstr(err.text, files[k].word), "%s", err.text);
        cr_expect_not_null(strstr(err.text, path), "%s", err.text);
    }
    edt_test_remove_tree(dir);
}
