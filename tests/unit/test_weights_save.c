// Weights to files and back: every container with averages kept, folded and left out; what is
// left behind when writing fails.
#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>

#include "core/file.h"
#include "core/mem.h"
#include "model/io/weights_save.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_model.h"

typedef struct fixture {
    edt_hparams hp;
    edt_model *model;
    edt_backend *backend;
    edt_params *params;
    edt_arena arena;
    const char *dir;
} fixture;

// Random values, and other random averages if asked.
static fixture setup(bool averages)
{
    fixture f = {0};
    edt_error err = {0};
    edt_test_model_hparams("efficientdet-d0", 128, 128, &f.hp);
    f.model =
        edt_test_model(&f.hp, &(edt_model_options){.real = EDT_DTYPE_F32, .batch_size = 1});
    cr_assert_eq(edt_backend_ref_create(&err, &f.backend), EDT_OK);
    cr_assert_eq(edt_params_create(f.model->graph, f.backend, &err, &f.params), EDT_OK);
    if (averages) {
        cr_assert_eq(edt_params_add_arena(f.params, EDT_PARAMS_EMA, &err), EDT_OK);
        cr_assert_eq(edt_params_init_random(f.params, 2, &err), EDT_OK);
        cr_assert_eq(edt_params_copy_arena(f.params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, &err),
                     EDT_OK);
    }
    cr_assert_eq(edt_params_init_random(f.params, 1, &err), EDT_OK);
    edt_arena_init(&f.arena, EDT_MEM_TEXT, 0);
    f.dir = edt_arena_strdup(&f.arena, edt_test_temp_dir());
    return f;
}

static void teardown(fixture *f)
{
    edt_test_remove_tree(f->dir);
    edt_arena_deinit(&f->arena);
    edt_params_destroy(f->params);
    edt_backend_destroy(&f->backend);
    edt_model_destroy(f->model);
    edt_hparams_deinit(&f->hp);
}

static int count_files(const char *dir)
{
    DIR *listing = opendir(dir);
    cr_assert_not_null(listing);
    int n = -2; // . and ..
    while (readdir(listing) != NULL) {
        ++n;
    }
    (void)closedir(listing);
    return n;
}

static void expect_equal_files(const char *a, const char *b)
{
    edt_error err = {0};
    char *x = NULL, *y = NULL;
    size_t n_x = 0, n_y = 0;
    cr_assert_eq(edt_file_read(a, SIZE_MAX / 2, &err, &x, &n_x), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_file_read(b, SIZE_MAX / 2, &err, &y, &n_y), EDT_OK, "%s", err.text);
    cr_expect(n_x == n_y && memcmp(x, y, n_x) == 0, "%s and %s differ", a, b);
    edt_mem_free(x);
    edt_mem_free(y);
}

static const edt_weights_format FORMATS[] = {EDT_WEIGHTS_TF_NAMES, EDT_WEIGHTS_TF_OBJECTS,
                                             EDT_WEIGHTS_SAFETENSORS};

Test(weights_save, every_container_reads_back_bit_for_bit, .timeout = 60)
{
    fixture f = setup(true);
    edt_error err = {0};
    const int n_params = f.params->n_params;
    const edt_safetensors_meta meta[] = {{"format", "tf"}, {"model_name", "efficientdet-d0"}};
    for (size_t i = 0; i < 3; ++i) {
        for (int averages = EDT_WEIGHTS_KEEP; averages <= EDT_WEIGHTS_RAW; ++averages) {
            const edt_weights_save_options options = {.format = FORMATS[i],
                                                      .averages =
                                                          (edt_weights_averages)averages,
                                                      .global_step = averages == 0 ? 700 : -1,
                                                      .n_meta = 2,
                                                      .meta = meta};
            const char *path = edt_arena_printf(&f.arena, "%s/%zu-%d", f.dir, i, averages);
            cr_assert_eq(edt_weights_save(f.params, path, &options, &err), EDT_OK, "%s",
                         err.text);
            int n = 0;
            cr_assert_eq(edt_weights_verify(f.params, path, &options, &err, &n), EDT_OK, "%s",
                         err.text);
            const bool both =
                averages == EDT_WEIGHTS_KEEP || (averages == EDT_WEIGHTS_FOLD && i == 0);
            cr_expect_eq(n, n_params * (both ? 2 : 1) + (averages == 0), "%s: %d", path, n);
        }
    }
    teardown(&f);
}

Test(weights_save, equal_weights_give_equal_bytes_and_replace_what_was_there, .timeout = 60)
{
    fixture f = setup(true);
    edt_error err = {0};
    for (size_t i = 0; i < 3; ++i) {
        const edt_weights_save_options options = {.format = FORMATS[i], .global_step = 7};
        const char *first = edt_arena_printf(&f.arena, "%s/first%zu", f.dir, i);
        const char *second = edt_arena_printf(&f.arena, "%s/second%zu", f.dir, i);
        const edt_weights_save_options raw = {
            .format = FORMATS[i], .averages = EDT_WEIGHTS_RAW, .global_step = 8};
        bool exist = true;
        cr_assert_eq(edt_weights_exist(second, FORMATS[i], &err, &exist), EDT_OK);
        cr_expect_not(exist);
        cr_assert_eq(edt_weights_save(f.params, first, &options, &err), EDT_OK);
        cr_assert_eq(edt_weights_save(f.params, second, &raw, &err), EDT_OK);
        cr_assert_eq(edt_weights_exist(second, FORMATS[i], &err, &exist), EDT_OK);
        cr_expect(exist);
        cr_assert_eq(edt_weights_save(f.params, second, &options, &err), EDT_OK);
        const bool bundle = FORMATS[i] != EDT_WEIGHTS_SAFETENSORS;
        static const char *const ENDINGS[] = {".index", ".data-00000-of-00001", ""};
        for (int k = bundle ? 0 : 2; k < (bundle ? 2 : 3); ++k) {
            expect_equal_files(edt_arena_printf(&f.arena, "%s%s", first, ENDINGS[k]),
                               edt_arena_printf(&f.arena, "%s%s", second, ENDINGS[k]));
        }
    }
    cr_expect_eq(count_files(f.dir), 10);
    teardown(&f);
}

Test(weights_save, other_weights_are_noticed, .timeout = 60)
{
    fixture f = setup(true);
    const char *path = edt_arena_printf(&f.arena, "%s/w", f.dir);
    for (size_t i = 0; i < 3; ++i) {
        edt_error err = {0};
        edt_weights_save_options options = {.format = FORMATS[i], .global_step = 7};
        cr_assert_eq(edt_weights_save(f.params, path, &options, &err), EDT_OK);
        int n = 0;
        options.global_step = 6;
        cr_expect_eq(edt_weights_verify(f.params, path, &options, &err, &n), EDT_ERR_CORRUPT);
        cr_expect_not_null(strstr(err.text, "global_step"), "%s", err.text);
        options.global_step = 7;
        const int i_param = edt_params_find(f.params, "box_net/box-predict/bias");
        float values[36], changed[36];
        cr_assert_eq(edt_params_get_f32(f.params, EDT_PARAMS_EMA, i_param, values, 36, &err),
                     EDT_OK);
        memcpy(changed, values, sizeof values);
        changed[35] = changed[35] == 0.0f ? -0.0f : changed[35] + 1.0f;
        cr_assert_eq(edt_params_set_f32(f.params, EDT_PARAMS_EMA, i_param, changed, 36, &err),
                     EDT_OK);
        cr_expect_eq(edt_weights_verify(f.params, path, &options, &err, &n), EDT_ERR_CORRUPT);
        cr_expect_not_null(strstr(err.text, "box_net/box-predict/bias/Exp"), "%s", err.text);
        cr_assert_eq(edt_params_set_f32(f.params, EDT_PARAMS_EMA, i_param, values, 36, &err),
                     EDT_OK);
    }
    teardown(&f);
}

Test(weights_save, averages_that_have_no_place_or_are_not_there, .timeout = 60)
{
    fixture f = setup(false);
    edt_error err = {0};
    const char *path = edt_arena_printf(&f.arena, "%s/w", f.dir);
    edt_weights_save_options options = {.global_step = -1};
    cr_expect_eq(edt_weights_save(f.params, path, &options, &err), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "there are none"), "%s", err.text);
    options.averages = EDT_WEIGHTS_FOLD; // copies, so that a reader of averages is content
    cr_expect_eq(edt_weights_save(f.params, path, &options, &err), EDT_OK, "%s", err.text);
    int n = 0;
    cr_expect_eq(edt_weights_verify(f.params, path, &options, &err, &n), EDT_OK, "%s",
                 err.text);
    cr_expect_eq(n, 2 * f.params->n_params);
    cr_assert_eq(edt_params_add_arena(f.params, EDT_PARAMS_EMA, &err), EDT_OK);
    options = (edt_weights_save_options){.format = EDT_WEIGHTS_KERAS_H5, .global_step = -1};
    cr_expect_eq(edt_weights_save(f.params, path, &options, &err), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "HDF5"), "%s", err.text);
    teardown(&f);
}

Test(weights_save, variables_that_keras_does_not_keep_are_not_dropped, .timeout = 60)
{
    fixture f = setup(false);
    const char *path = edt_arena_printf(&f.arena, "%s/w", f.dir);
    const char *object_path = f.params->entries[5].object_path;
    f.params->entries[5].object_path = NULL;
    for (int format = EDT_WEIGHTS_TF_NAMES; format <= EDT_WEIGHTS_SAFETENSORS; ++format) {
        edt_error err = {0};
        const bool is_keras =
            format == EDT_WEIGHTS_TF_OBJECTS || format == EDT_WEIGHTS_KERAS_H5;
        const edt_weights_save_options options = {.format = (edt_weights_format)format,
                                                  .averages = EDT_WEIGHTS_RAW,
                                                  .global_step = -1};
        cr_expect_eq(edt_weights_save(f.params, path, &options, &err),
                     is_keras ? EDT_ERR_UNSUPPORTED : EDT_OK, "%s", err.text);
        cr_expect(!is_keras || strstr(err.text, f.params->entries[5].name) != NULL, "%s",
                  err.text);
    }
    f.params->entries[5].object_path = object_path;
    teardown(&f);
}

Test(weights_save, a_full_disk_leaves_what_was_there, .timeout = 60)
{
    fixture f = setup(true);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (size_t i = 0; i < 3; ++i) {
        edt_error err = {0};
        edt_weights_save_options options = {
            .format = FORMATS[i], .averages = EDT_WEIGHTS_RAW, .global_step = 7};
        const char *path = edt_arena_printf(&f.arena, "%s/w%zu", f.dir, i);
        cr_assert_eq(edt_weights_save(f.params, path, &options, &err), EDT_OK);
        const int n_files = count_files(f.dir);
        struct rlimit before;
        cr_assert_eq(getrlimit(RLIMIT_FSIZE, &before), 0);
        const struct rlimit small = {.rlim_cur = 20 << 20, .rlim_max = before.rlim_max};
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
        edt_weights_save_options larger = options;
        larger.averages = EDT_WEIGHTS_KEEP;
        cr_expect_eq(edt_weights_save(f.params, path, &larger, &err), EDT_ERR_IO);
        cr_assert_eq(setrlimit(RLIMIT_FSIZE, &before), 0);
        cr_expect_not_null(strstr(err.text, path), "%s", err.text);
        cr_expect_eq(count_files(f.dir), n_files);
        int n = 0;
        err = (edt_error){0};
        cr_expect_eq(edt_weights_verify(f.params, path, &options, &err, &n), EDT_OK, "%s",
                     err.text);
    }
    teardown(&f);
}
