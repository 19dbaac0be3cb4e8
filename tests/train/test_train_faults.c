// What goes wrong while training: the message says it and the checkpoints before it stay good.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/path.h"
#include "core/safetensors.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"
#include "tests/support/test_training.h"

enum { N_STEPS = 4 };

static char root[256], pattern[300], model_dir[300];

static void setup(void)
{
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(pattern, sizeof pattern, "%s/shard.tfrecord", root);
    (void)snprintf(model_dir, sizeof model_dir, "%s/model", root);
}

static void teardown(void)
{
    edt_test_remove_tree(root);
}

TestSuite(train_faults, .init = setup, .fini = teardown, .timeout = 240);

static edt_train_options options(void)
{
    edt_train_options o = edt_test_training_options(model_dir, pattern, N_STEPS);
    o.save_checkpoints_steps = 2;
    return o;
}

static void expect_run(const char *overrides, const edt_train_options *o, int want_code,
                       const char *want_text)
{
    const char *error;
    const int code = edt_test_train_run(overrides, o, &error);
    cr_expect_eq(code, want_code, "exit %d, not %d: %s", code, want_code, error);
    cr_expect_not_null(strstr(error, want_text), "wanted '%s': %s", want_text, error);
}

static bool has_checkpoint(int step)
{
    return edt_test_exists(edt_test_path(model_dir, "model.ckpt-%d.index", step));
}

Test(train_faults, missing_shards_are_named_before_anything_is_built)
{
    const edt_train_options o = options();
    expect_run("", &o, EDT_ERR_NOT_FOUND, pattern);
    cr_expect_not(has_checkpoint(0));
}

Test(train_faults, a_record_with_a_bad_checksum_ends_the_run_with_file_and_record)
{
    edt_test_write_drawn_shard(pattern, 6, -1);
    const edt_span shard = edt_test_read_file(pattern);
    uint8_t *bytes = (uint8_t *)shard.data;
    bytes[shard.n_bytes - 40] ^= 0x10; // in the payload of the last record
    FILE *file = fopen(pattern, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, shard.n_bytes, file), shard.n_bytes);
    cr_assert_eq(fclose(file), 0);
    edt_mem_free(bytes);
    edt_train_options o = options();
    expect_run("", &o, EDT_ERR_CORRUPT, "record 5");
    // The same command with the sample left out trains, and again from its checkpoint.
    const char *report = edt_test_path(model_dir, "quarantine.json");
    cr_expect_not(edt_test_exists(report));
    expect_run("on_bad_sample=skip", &o, 0, "");
    cr_expect(has_checkpoint(N_STEPS));
    const edt_span text = edt_test_read_file(report);
    cr_expect_not_null(memmem(text.data, text.n_bytes, "\"record\": 5", 11));
    cr_expect_not_null(memmem(text.data, text.n_bytes, "\"bad_records\": 1", 16));
    edt_mem_free((void *)text.data);
}

Test(train_faults, a_data_set_without_a_usable_sample_ends_instead_of_turning_for_ever)
{
    edt_test_write_drawn_shard(pattern, 1, 0);
    const edt_train_options o = options();
    expect_run("on_bad_sample=skip,drop_remainder=false", &o, EDT_ERR_INVALID, "no sample of");
}

static const edt_safetensors_item *find_item(const edt_safetensors *file, const char *name,
                                             edt_dtype dtype, edt_shape shape)
{
    edt_error err = {0};
    const edt_safetensors_item *found = NULL;
    cr_assert_eq(edt_safetensors_get(file, name, dtype, &shape, &err, &found), EDT_OK, "%s",
                 err.text);
    return found;
}

// The batch that could not be trained on is there, with boxes that lie in its pictures.
static void expect_kept_batch(const char *path)
{
    edt_error err = {0};
    edt_safetensors *file = NULL;
    cr_assert_eq(edt_safetensors_open(path, &err, &file), EDT_OK, "%s", err.text);
    (void)find_item(file, "images", EDT_DTYPE_U8, edt_shape_4(2, 96, 96, 3));
    const edt_safetensors_item *ids =
        find_item(file, "source_ids", EDT_DTYPE_I64, edt_shape_1(2));
    int64_t id;
    memcpy(&id, ids->data.data, sizeof id);
    cr_expect(id >= 100 && id < 106, "source id %lld", (long long)id);
    const edt_safetensors_item *boxes = edt_safetensors_find(file, "boxes");
    cr_assert_not_null(boxes);
    const int64_t n = boxes->desc.shape.dim[0];
    cr_expect(n >= 1 && n <= 2, "%lld boxes in two pictures of one object", (long long)n);
    for (int64_t i = 0; i < n; ++i) {
        float box[6];
        memcpy(box, (const char *)boxes->data.data + (size_t)i * sizeof box, sizeof box);
        cr_expect(box[0] >= 0.0F && box[0] < 2.0F && box[1] >= 1.0F && box[1] <= 3.0F);
        cr_expect(box[2] > -1.0F && box[2] < box[4] && box[4] < 97.0F, "box %lld",
                  (long long)i);
        cr_expect(box[3] > -1.0F && box[3] < box[5] && box[5] < 97.0F, "box %lld",
                  (long long)i);
    }
    cr_expect_not_null(strstr(edt_safetensors_meta_get(file, "reason"), "not finite"));
    edt_safetensors_close(file);
}

static const char diverging[] =
    "learning_rate=1e30,lr_warmup_init=1e30,lr_warmup_epoch=0,clip_gradients_norm=0";

Test(train_faults, a_loss_that_is_not_finite_keeps_the_checkpoint_from_before)
{
    edt_test_write_drawn_shard(pattern, 6, -1);
    edt_train_options o = options();
    o.save_checkpoints_steps = 1;
    o.num_examples_per_epoch = 2 * 40;
    char overrides[256];
    (void)snprintf(overrides, sizeof overrides, "%s,nan_skip_budget=2", diverging);
    expect_run(overrides, &o, EDT_ERR_NUMERIC, "is not finite; pictures of the batch: 1");
    cr_expect(has_checkpoint(1));
    cr_expect_not(has_checkpoint(2), "steps that did nothing were counted");
    cr_expect(edt_test_exists(edt_test_path(model_dir, "checkpoint")));
    expect_kept_batch(edt_test_path(model_dir, "bad_batches/step-1.safetensors"));
    // From the same checkpoint to the same end, which says where it began and what to try.
    expect_run(overrides, &o, EDT_ERR_NUMERIC, "the first value that is not finite comes from");
    expect_run(overrides, &o, EDT_ERR_NUMERIC,
               "3 such steps, nan_skip_budget is 2. The last "
               "checkpoint is from before, step 1");
    expect_run(overrides, &o, EDT_ERR_NUMERIC, "What to try: a lower learning_rate");
    cr_expect_not(has_checkpoint(2));
}

// A full disk, as a limit on the size of files: the checkpoint that fits no more leaves neither
// pieces nor damage, and the run goes on from the one before when there is space again.
Test(train_faults, a_full_disk_leaves_the_older_checkpoint)
{
    edt_test_write_drawn_shard(pattern, 6, -1);
    edt_train_options o = options();
    o.num_examples_per_epoch = 2 * 2;
    expect_run("num_epochs=1", &o, 0, "");
    cr_assert(has_checkpoint(2));
    struct rlimit before;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
    const struct rlimit small = {.rlim_cur = 3 << 20, .rlim_max = before.rlim_max};
    (void)signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    expect_run("num_epochs=2", &o, EDT_ERR_IO, "model.ckpt-4");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
    cr_expect_not(has_checkpoint(4));
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    edt_path_list files;
    edt_error err = {0};
    cr_expect_eq(edt_path_glob(edt_test_path(model_dir, "*.tmp-*"), &arena, &err, &files),
                 EDT_ERR_NOT_FOUND, "pieces are left");
    edt_arena_deinit(&arena);
    expect_run("num_epochs=2", &o, 0, "");
    cr_expect(has_checkpoint(4));
}

Test(train_faults, a_directory_with_traces_of_checkpoints_is_not_started_over)
{
    edt_test_write_drawn_shard(pattern, 6, -1);
    const edt_train_options o = options();
    expect_run("", &o, 0, "");
    cr_assert(has_checkpoint(4));
    // As after a kill between the first checkpoint and its line in the state file.
    cr_assert_eq(unlink(edt_test_path(model_dir, "checkpoint")), 0);
    expect_run("num_epochs=2", &o, 0, "");
    cr_assert(edt_test_exists(edt_test_path(model_dir, "checkpoint")));
    cr_assert(has_checkpoint(2 * N_STEPS));
    cr_assert_eq(unlink(edt_test_path(model_dir, "model.ckpt-8.index")), 0);
    expect_run("num_epochs=2", &o, EDT_ERR_NOT_FOUND, "is gone; restore its files");
}

Test(train_faults, a_run_that_failed_leaves_its_trace_too)
{
    edt_test_write_drawn_shard(pattern, 1, 0);
    edt_train_options o = options();
    char trace[320];
    (void)snprintf(trace, sizeof trace, "%s/trace.json", root);
    o.trace_path = trace;
    expect_run("on_bad_sample=skip,drop_remainder=false", &o, EDT_ERR_INVALID, "no sample of");
    cr_expect(edt_test_exists(trace));
}

Test(train_faults, weights_for_other_classes_start_a_run_unless_told_not_to)
{
    edt_test_write_drawn_shard(pattern, 6, -1);
    const edt_train_options first = options();
    expect_run("", &first, 0, "");
    char other[300];
    (void)snprintf(other, sizeof other, "%s/other", root);
    edt_train_options second = options();
    second.model_dir = other;
    second.ckpt = model_dir;
    expect_run("num_classes=5,skip_mismatch=false", &second, EDT_ERR_MISMATCH, "class");
    cr_expect_not(edt_test_exists(edt_test_path(other, "checkpoint")));
    expect_run("num_classes=5", &second, 0, "");
    // As a run to go on with, it is refused whatever skip_mismatch says.
    expect_run("num_classes=5", &first, EDT_ERR_MISMATCH, "class");
}
