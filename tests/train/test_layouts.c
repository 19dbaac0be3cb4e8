// One recipe in several layouts, in double: 1 rank of 8 pictures, 2 of 4, 4 of 2, and batches
// that go through the network in parts, end with the same weights.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "dataio/loader.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_ranks.h"
#include "tests/support/test_training.h"
#include "train/step.h"
#include "train/target_maker.h"

enum { BATCH = 8, STEPS = 20 };

// A network small enough for 20 steps in double on the reference backend.
static const char NETWORK[] =
    "image_size=64,min_level=3,max_level=5,fpn_num_filters=8,fpn_cell_repeats=1,"
    "box_class_repeats=1,num_scales=1,act_type=swish,"
    "backbone_config=r1_k3_s11_e1_i8_o8*r1_k3_s22_e2_i8_o8_se0.25*r2_k3_s22_e2_i8_o8_se0.25*"
    "r1_k3_s22_e2_i8_o16_se0.25*r1_k3_s22_e2_i16_o16_se0.25";

typedef struct layout {
    int world, parts;
    const char *batch_norm; // overrides
    const char *pattern;
    const char *out; // where rank 0 leaves its weights
} layout;

static edt_status take_steps(const edt_hparams *hp, const layout *l, edt_comm *comm,
                             edt_backend *backend, edt_target_maker *targets, edt_error *err,
                             edt_step **out_step)
{
    edt_step_options so = {.real = EDT_DTYPE_F64,
                           .batch_size = BATCH / l->world,
                           .slot_format = EDT_SLOT_U8,
                           .drop_connect = true,
                           .seed = 11,
                           .comm = comm,
                           .bn_ranks = strcmp(hp->sync_bn, "full") == 0 ? l->world : 0};
    EDT_TRY(edt_schedule_init(&so.schedule, hp, BATCH, (int64_t)BATCH * STEPS, err));
    EDT_TRY(edt_step_create(hp, backend, &so, err, out_step));
    EDT_TRY(edt_params_init_random(edt_step_params(*out_step), 5, err));
    const edt_loader_options lo = {.file_pattern = l->pattern,
                                   .training = true,
                                   .batch_size = so.batch_size,
                                   .n_threads = 1,
                                   .prefetch = 1,
                                   .seed = 3,
                                   .rank = edt_comm_rank(comm),
                                   .world_size = l->world,
                                   .n_anchors = edt_target_maker_n_anchors(targets),
                                   .targets = edt_target_maker_run,
                                   .targets_ctx = targets};
    edt_loader *loader;
    EDT_TRY(edt_loader_create(hp, &lo, err, &loader));
    edt_status status = EDT_OK;
    for (int64_t i = 0; i < STEPS && status == EDT_OK; ++i) {
        const edt_batch *batch;
        edt_step_metrics metrics;
        status = edt_loader_next(loader, err, &batch);
        if (status == EDT_OK) {
            status = edt_step_run(*out_step, batch, i, err, &metrics);
            edt_loader_release(loader, batch);
        }
        if (status == EDT_OK && !(metrics.finite && metrics.num_positives > 0)) {
            status =
                edt_error_set(err, EDT_ERR_INVALID, "a step without objects or not finite");
        }
    }
    edt_loader_destroy(loader);
    return status;
}

static edt_status write_weights(const edt_params *params, const char *path, edt_error *err)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        EDT_FAIL(err, EDT_ERR_IO, "%s", path);
    }
    edt_status status = EDT_OK;
    for (int i = 0; i < params->n_params && status == EDT_OK; ++i) {
        const int64_t n = params->entries[i].n;
        double *values = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *values);
        status = edt_params_get_f64(params, EDT_PARAMS_VALUES, i, values, n, err);
        (void)fwrite(values, sizeof *values, (size_t)n, file);
        edt_mem_free(values);
    }
    return fclose(file) == 0 ? status : EDT_ERR_IO;
}

static int train_rank(edt_comm *comm, void *arg)
{
    const layout *l = arg;
    edt_error err = {0};
    edt_hparams hp;
    edt_backend *backend = NULL;
    edt_target_maker *targets = NULL;
    edt_step *step = NULL;
    char overrides[512];
    (void)snprintf(overrides, sizeof overrides, "%s,%s,accumulate_steps=%d", NETWORK,
                   l->batch_norm, l->parts);
    edt_log_set_level(EDT_LOG_QUIET);
    edt_test_train_hparams(overrides, &hp);
    edt_status status =
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 1}, &err, &backend);
    if (status == EDT_OK) {
        status = edt_target_maker_create(&hp, 1, &err, &targets);
    }
    if (status == EDT_OK) {
        status = take_steps(&hp, l, comm, backend, targets, &err, &step);
    }
    if (status == EDT_OK && edt_comm_rank(comm) == 0) {
        status = write_weights(edt_step_params(step), l->out, &err);
    }
    if (status != EDT_OK) {
        (void)fprintf(stderr, "rank %d of %d: %s\n", edt_comm_rank(comm), l->world, err.text);
    }
    edt_step_destroy(step);
    edt_target_maker_destroy(targets);
    edt_backend_destroy(&backend);
    edt_hparams_deinit(&hp);
    return status == EDT_OK ? 0 : 1;
}

// Largest difference of two files of weights, relative to 1 or the weight.
static double largest_difference(const char *a, const char *b)
{
    edt_error err = {0};
    const char *paths[2] = {a, b};
    char *bytes[2];
    size_t n_bytes[2];
    for (int i = 0; i < 2; ++i) {
        cr_assert_eq(edt_file_read(paths[i], 1U << 28, &err, &bytes[i], &n_bytes[i]), EDT_OK,
                     "%s", err.text);
    }
    cr_assert_eq(n_bytes[0], n_bytes[1]);
    cr_assert_gt(n_bytes[0], 5000 * sizeof(double));
    double largest = 0;
    for (size_t at = 0; at < n_bytes[0]; at += sizeof(double)) {
        double x, y;
        memcpy(&x, bytes[0] + at, sizeof x);
        memcpy(&y, bytes[1] + at, sizeof y);
        const double d = fabs(x - y) / fmax(1, fabs(x));
        largest = d > largest || isnan(d) ? d : largest;
    }
    edt_mem_free(bytes[0]);
    edt_mem_free(bytes[1]);
    return largest;
}

static void expect_equal_layouts(const char *batch_norm, int n, const int layouts[][2])
{
    const char *dir = edt_test_temp_dir();
    const char *pattern = edt_test_path(dir, "data.tfrecord");
    edt_test_write_drawn_shard(pattern, 2 * BATCH, -1);
    const char *first = NULL;
    for (int i = 0; i < n; ++i) {
        char name[32];
        (void)snprintf(name, sizeof name, "%d-%d.bin", layouts[i][0], layouts[i][1]);
        layout l = {.world = layouts[i][0],
                    .parts = layouts[i][1],
                    .batch_norm = batch_norm,
                    .pattern = pattern,
                    .out = edt_test_path(dir, name)};
        test_ranks_expect(l.world, train_rank, &l);
        if (first == NULL) {
            first = l.out;
            continue;
        }
        const double d = largest_difference(first, l.out);
        cr_expect_leq(d, 1e-9, "%d ranks, %d parts: %g", l.world, l.parts, d);
        cr_expect_neq(d, 0, "%d ranks, %d parts: sums in another order give other digits",
                      l.world, l.parts);
    }
}

Test(layouts, ranks_with_full_batch_norm_equal_one_rank, .timeout = 120)
{
    expect_equal_layouts("sync_bn=full,positives_momentum=0.9", 3,
                         (const int[][2]){{1, 1}, {2, 1}, {4, 1}});
}

Test(layouts, parts_with_frozen_batch_norm_equal_the_whole_batch, .timeout = 120)
{
    expect_equal_layouts("freeze_bn=true", 4, (const int[][2]){{1, 1}, {1, 4}, {1, 8}, {2, 2}});
}
