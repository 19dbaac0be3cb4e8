// See test_training.h.
#include "tests/support/test_training.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/rng.h"
#include "core/signal.h"
#include "dataio/jpeg_encode.h"
#include "model/scaling.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { WIDTH = 80, HEIGHT = 64, N_CLASSES = 3, MAX_PICTURES = 64, BATCH = 2 };

edt_span edt_test_draw_jpeg(uint64_t seed, const float box[4])
{
    static uint8_t pixels[HEIGHT * WIDTH * 3];
    edt_rng rng;
    edt_rng_init(&rng, seed, 0, 0, 0);
    for (int y = 0; y < HEIGHT; ++y) {
        for (int x = 0; x < WIDTH; ++x) {
            const float fy = ((float)y + 0.5f) / HEIGHT, fx = ((float)x + 0.5f) / WIDTH;
            const bool inside = fy > box[0] && fy < box[2] && fx > box[1] && fx < box[3];
            for (int c = 0; c < 3; ++c) {
                const float noise = 60.0f * edt_rng_uniform_f32(&rng);
                pixels[(y * WIDTH + x) * 3 + c] =
                    (uint8_t)(noise +
                              (inside ? 50.0f * (float)((seed + (uint64_t)c) % 4) : 20.0f));
            }
        }
    }
    const edt_image image = {.data = pixels, .h = HEIGHT, .w = WIDTH, .stride = WIDTH * 3};
    edt_error err = {0};
    uint8_t *data = NULL;
    size_t n_bytes = 0;
    cr_assert_eq(edt_jpeg_encode(&image, NULL, &err, &data, &n_bytes), EDT_OK, "%s", err.text);
    return (edt_span){.data = data, .n_bytes = n_bytes};
}

void edt_test_write_drawn_shard(const char *path, int n_pictures, int i_bad)
{
    edt_span payloads[MAX_PICTURES];
    cr_assert_leq(n_pictures, MAX_PICTURES);
    for (int i = 0; i < n_pictures; ++i) {
        const float at = 0.05f * (float)(i % 7);
        const float box[4] = {at, 0.3f - at / 2, at + 0.5f, 0.9f - at};
        const int64_t label = 1 + i % N_CLASSES;
        edt_span jpeg = edt_test_draw_jpeg((uint64_t)i, box);
        const size_t n_bytes = i == i_bad ? jpeg.n_bytes / 2 : jpeg.n_bytes;
        char id[16];
        (void)snprintf(id, sizeof id, "%d", 100 + i);
        payloads[i] = edt_test_make_example((edt_span){jpeg.data, n_bytes}, id, box, &label, 1);
        edt_mem_free((void *)jpeg.data);
    }
    edt_test_write_shard(path, payloads, n_pictures);
    for (int i = 0; i < n_pictures; ++i) {
        edt_mem_free((void *)payloads[i].data);
    }
}

void edt_test_train_hparams(const char *overrides, edt_hparams *out_hp)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(out_hp, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_scaling_apply(out_hp, "efficientdet-lite0", &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_override(out_hp,
                                      "image_size=96,num_classes=3,num_epochs=1,"
                                      "lr_warmup_epoch=0.25,sync_bn=off",
                                      &err),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_override(out_hp, overrides, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_check(out_hp, &err), EDT_OK, "%s", err.text);
}

edt_train_options edt_test_training_options(const char *model_dir, const char *pattern,
                                         int64_t n_steps)
{
    return (edt_train_options){
        .mode = EDT_TRAIN_MODE_TRAIN,
        .model_dir = model_dir,
        .train_file_pattern = pattern,
        .train_batch_size = BATCH,
        .eval_batch_size = 1,
        .save_checkpoints_steps = 1000,
        .log_steps = 1,
        .num_examples_per_epoch = n_steps * BATCH,
        .tf_random_seed = 7,
        .device = "cpu",
        .num_threads = 1,
    };
}

int edt_test_train_fork(const char *overrides, const edt_train_options *options)
{
    char error_path[4096];
    (void)snprintf(error_path, sizeof error_path, "%s.error", options->model_dir);
    (void)unlink(error_path);
    edt_error err = {0};
    edt_hparams hp;
    edt_test_train_hparams(overrides, &hp);
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid > 0) {
        edt_hparams_deinit(&hp);
        return (int)pid;
    }
    // No assertion from here on: Criterion's belong to the parent.
    edt_log_set_level(EDT_LOG_QUIET);
    edt_status status = edt_interrupt_install(&err);
    if (status == EDT_OK) {
        status = edt_train_run(&hp, options, &err);
    }
    if (status != EDT_OK) {
        edt_error ignored;
        (void)edt_file_write(error_path, err.text, strlen(err.text), &ignored);
    }
    edt_hparams_deinit(&hp);
    _exit((int)status);
}

int edt_test_train_wait(int pid)
{
    int status = 0;
    cr_assert_eq(waitpid((pid_t)pid, &status, 0), (pid_t)pid);
    return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

int edt_test_train_run(const char *overrides, const edt_train_options *options,
                       const char **out_error)
{
    static char text[4096];
    char error_path[4096];
    const int code = edt_test_train_wait(edt_test_train_fork(overrides, options));
    (void)snprintf(error_path, sizeof error_path, "%s.error", options->model_dir);
    memset(text, 0, sizeof text);
    FILE *file = fopen(error_path, "r");
    if (file != NULL) {
        (void)!fread(text, 1, sizeof text - 1, file);
        (void)fclose(file);
    }
    *out_error = text;
    return code;
}

bool edt_test_files_equal(const char *path_a, const char *path_b)
{
    if (!edt_test_exists(path_a) || !edt_test_exists(path_b)) {
        return false;
    }
    const edt_span a = edt_test_read_file(path_a), b = edt_test_read_file(path_b);
    const bool equal = a.n_bytes == b.n_bytes && memcmp(a.data, b.data, a.n_bytes) == 0;
    edt_mem_free((void *)a.data);
    edt_mem_free((void *)b.data);
    return equal;
}
