// Trains one network side by side, from one checkpoint and over the same batches: on the cpu
// backend in f32, which is the run that counts, and as asked for on `ref` in double and on the
// cpu backend in bf16. At some steps spread over the run a step on `ref` in double is given the
// weights and slots that the run has there and its batch, and must agree with it; the losses of
// the other runs, averaged over some steps, must stay near its own.
//
//     compare_backends --ckpt=PATH --train_file_pattern=GLOB [--nocurve] [--help]
#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "core/cli.h"
#include "core/log.h"
#include "core/mem.h"
#include "dataio/loader.h"
#include "model/io/restore.h"
#include "model/scaling.h"
#include "train/step.h"
#include "train/target_maker.h"

typedef struct options {
    const char *ckpt, *pattern, *model_name, *hparams;
    int64_t image_size, batch_size, n_steps, n_probes, window, n_threads, seed;
    double loss_tolerance, gradient_tolerance, curve_tolerance;
    bool curve, bf16;
} options;

// One training: `name` is what the report calls it.
typedef struct training {
    const char *name;
    edt_backend *backend;
    edt_step *step;
    double *losses; // [n_steps]
} training;

typedef struct comparison {
    const options *o;
    edt_hparams hp;
    edt_target_maker *targets;
    edt_loader *loader;
    training run, probe, curve, bf16; // those not asked for have no step
    double *mine, *theirs;            // [largest parameter]
    int64_t largest;
    double worst_loss, worst_gradient, worst_update;
} comparison;

static edt_status open_training(comparison *c, const char *name, const char *backend,
                                edt_dtype real, edt_error *err, training *out)
{
    const options *o = c->o;
    const edt_backend_options bo = {.n_threads = (int)o->n_threads};
    out->name = name;
    EDT_TRY(edt_backend_create(backend, &bo, err, &out->backend));
    edt_step_options so = {
        .real = real,
        .batch_size = o->batch_size,
        .slot_format = EDT_SLOT_U8,
        .drop_connect = true,
        .seed = (uint64_t)o->seed,
    };
    EDT_TRY(edt_schedule_init(&so.schedule, &c->hp, o->batch_size, o->batch_size * o->n_steps,
                              err));
    EDT_TRY(edt_step_create(&c->hp, out->backend, &so, err, &out->step));
    out->losses = edt_mem_calloc(EDT_MEM_MISC, (size_t)o->n_steps, sizeof *out->losses);
    if (out->losses == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " losses", o->n_steps);
    }
    const edt_restore_options restore = {.load_ema = true, .strict = true};
    return edt_restore(edt_step_params(out->step), o->ckpt, &restore, err, NULL);
}

static void close_training(training *t)
{
    edt_step_destroy(t->step);
    edt_backend_destroy(&t->backend);
    edt_mem_free(t->losses);
}

static edt_status open_loader(comparison *c, edt_error *err)
{
    const options *o = c->o;
    EDT_TRY(edt_target_maker_create(&c->hp, 1, err, &c->targets));
    const edt_loader_options lo = {
        .file_pattern = o->pattern,
        .training = true,
        .batch_size = o->batch_size,
        .n_threads = 1,
        .prefetch = 1,
        .seed = (uint64_t)o->seed,
        .world_size = 1,
        .n_anchors = edt_target_maker_n_anchors(c->targets),
        .targets = edt_target_maker_run,
        .targets_ctx = c->targets,
    };
    return edt_loader_create(&c->hp, &lo, err, &c->loader);
}

static edt_status make_hparams(comparison *c, edt_error *err)
{
    char text[128];
    EDT_TRY(edt_hparams_init(&c->hp, err));
    EDT_TRY(edt_scaling_apply(&c->hp, c->o->model_name, err));
    (void)snprintf(text, sizeof text,
                   "image_size=%" PRId64 ",num_epochs=1,lr_warmup_epoch=0.1,mixed_precision=%s",
                   c->o->image_size, c->o->bf16 ? "true" : "false");
    EDT_TRY(edt_hparams_override(&c->hp, text, err));
    EDT_TRY(edt_hparams_override(&c->hp, c->o->hparams, err));
    return edt_hparams_check(&c->hp, err);
}

static edt_status open_comparison(comparison *c, edt_error *err)
{
    EDT_TRY(make_hparams(c, err));
    EDT_TRY(open_loader(c, err));
    EDT_TRY(open_training(c, "cpu f32", "cpu", EDT_DTYPE_F32, err, &c->run));
    EDT_TRY(open_training(c, "ref f64 at steps", "ref", EDT_DTYPE_F64, err, &c->probe));
    if (c->o->curve) {
        EDT_TRY(open_training(c, "ref f64", "ref", EDT_DTYPE_F64, err, &c->curve));
    }
    if (c->o->bf16) {
        EDT_TRY(open_training(c, "cpu bf16", "cpu", EDT_DTYPE_BF16, err, &c->bf16));
    }
    const edt_params *params = edt_step_params(c->run.step);
    for (int i = 0; i < params->n_params; ++i) {
        c->largest = params->entries[i].n > c->largest ? params->entries[i].n : c->largest;
    }
    c->mine = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->largest, sizeof *c->mine);
    c->theirs = edt_mem_calloc(EDT_MEM_MISC, (size_t)c->largest, sizeof *c->theirs);
    if (c->mine == NULL || c->theirs == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " numbers", c->largest);
    }
    return EDT_OK;
}

static void close_comparison(comparison *c)
{
    edt_loader_destroy(c->loader);
    close_training(&c->run);
    close_training(&c->probe);
    close_training(&c->curve);
    close_training(&c->bf16);
    edt_target_maker_destroy(c->targets);
    edt_mem_free(c->mine);
    edt_mem_free(c->theirs);
    edt_hparams_deinit(&c->hp);
}

// Gives the probe what the run has: values with moving statistics, slots and averages.
static edt_status copy_state(comparison *c, edt_error *err)
{
    const edt_params *from = edt_step_params(c->run.step);
    edt_params *to = edt_step_params(c->probe.step);
    static const edt_params_arena arenas[] = {EDT_PARAMS_VALUES, EDT_PARAMS_SLOT0,
                                              EDT_PARAMS_SLOT1, EDT_PARAMS_EMA};
    for (size_t a = 0; a < sizeof arenas / sizeof *arenas; ++a) {
        for (int i = 0; from->memory[arenas[a]] != NULL && i < from->n_params; ++i) {
            const int64_t n = from->entries[i].n;
            EDT_TRY(edt_params_get_f64(from, arenas[a], i, c->mine, n, err));
            EDT_TRY(edt_params_set_f64(to, arenas[a], i, c->mine, n, err));
        }
    }
    return EDT_OK;
}

// |run - probe| / |probe| over one arena of all variables that are trained.
static edt_status compare_arena(comparison *c, edt_params_arena which, edt_error *err,
                                double *out_ratio)
{
    const edt_params *mine = edt_step_params(c->run.step);
    const edt_params *theirs = edt_step_params(c->probe.step);
    double norm2 = 0.0, difference2 = 0.0;
    for (int i = 0; i < mine->n_params; ++i) {
        const int64_t n = mine->entries[i].n;
        if (!mine->entries[i].trainable) {
            continue;
        }
        EDT_TRY(edt_params_get_f64(mine, which, i, c->mine, n, err));
        EDT_TRY(edt_params_get_f64(theirs, which, i, c->theirs, n, err));
        for (int64_t k = 0; k < n; ++k) {
            const double d = c->mine[k] - c->theirs[k];
            norm2 += c->theirs[k] * c->theirs[k];
            difference2 += d * d;
        }
    }
    *out_ratio = norm2 > 0.0 ? sqrt(difference2 / norm2) : (double)INFINITY;
    return EDT_OK;
}

static edt_status take_step(training *t, const edt_batch *batch, int64_t i, edt_error *err,
                            edt_step_metrics *out)
{
    EDT_TRY(edt_step_run(t->step, batch, i, err, out));
    if (!out->finite) {
        EDT_FAIL(err, EDT_ERR_NUMERIC, "step %" PRId64 " of '%s' is not finite", i, t->name);
    }
    t->losses[i] = out->loss;
    return EDT_OK;
}

static edt_status compare_step(comparison *c, const edt_batch *batch, int64_t i,
                               const edt_step_metrics *m, edt_error *err)
{
    edt_step_metrics r;
    double gradient, slot;
    EDT_TRY(take_step(&c->probe, batch, i, err, &r));
    EDT_TRY(compare_arena(c, EDT_PARAMS_GRADS, err, &gradient));
    EDT_TRY(compare_arena(c, EDT_PARAMS_SLOT0, err, &slot));
    const double loss = fabs(m->loss - r.loss) / fabs(r.loss);
    c->worst_loss = fmax(c->worst_loss, loss);
    c->worst_gradient = fmax(c->worst_gradient, gradient);
    c->worst_update = fmax(c->worst_update, slot);
    printf("| %" PRId64 " | %.6f | %.6f | %.1e | %.4g | %.1e | %.1e |\n", i, m->loss, r.loss,
           loss, r.raw_gradient_norm, gradient, slot);
    (void)fflush(stdout);
    return EDT_OK;
}

static edt_status train_all(comparison *c, edt_error *err)
{
    const options *o = c->o;
    printf(
        "| step | loss, cpu | loss, ref | difference | gradient norm | gradient's difference "
        "| momentum's |\n|---|---|---|---|---|---|---|\n");
    for (int64_t i = 0, n_probed = 0; i < o->n_steps; ++i) {
        const edt_batch *batch;
        edt_step_metrics m, other;
        EDT_TRY(edt_loader_next(c->loader, err, &batch));
        // The first step, the last one, and the others between them.
        const bool probed =
            n_probed < o->n_probes && i * (o->n_probes - 1) >= n_probed * (o->n_steps - 1);
        if (probed) {
            n_probed++;
            EDT_TRY(copy_state(c, err));
        }
        EDT_TRY(take_step(&c->run, batch, i, err, &m));
        if (probed) {
            EDT_TRY(compare_step(c, batch, i, &m, err));
        }
        if (o->curve) {
            EDT_TRY(take_step(&c->curve, batch, i, err, &other));
        }
        if (o->bf16) {
            EDT_TRY(take_step(&c->bf16, batch, i, err, &other));
        }
        edt_loader_release(c->loader, batch);
    }
    return EDT_OK;
}

// Prints both curves in windows; returns the largest difference, relative to the run.
static double compare_curves(const comparison *c, const training *other)
{
    const options *o = c->o;
    double worst = 0.0;
    if (other->step == NULL) {
        return worst;
    }
    printf("\n| steps | loss, %s | loss, %s | difference |\n|---|---|---|---|\n", c->run.name,
           other->name);
    for (int64_t i = 0; i + o->window <= o->n_steps; i += o->window) {
        double a = 0.0, b = 0.0;
        for (int64_t k = i; k < i + o->window; ++k) {
            a += c->run.losses[k] / (double)o->window;
            b += other->losses[k] / (double)o->window;
        }
        const double ratio = fabs(a - b) / fabs(b);
        worst = fmax(worst, ratio);
        printf("| %" PRId64 " to %" PRId64 " | %.5f | %.5f | %.2f %% |\n", i, i + o->window - 1,
               a, b, 100.0 * ratio);
    }
    return worst;
}

static edt_status compare(const options *o, edt_error *err)
{
    comparison c = {.o = o};
    double curve = 0.0, bf16 = 0.0;
    edt_status status = open_comparison(&c, err);
    if (status == EDT_OK) {
        status = train_all(&c, err);
    }
    if (status == EDT_OK) {
        curve = compare_curves(&c, &c.curve);
        bf16 = compare_curves(&c, &c.bf16);
        printf(
            "\nlargest differences: loss %.2e (limit %g), gradient %.2e (limit %g), momentum "
            "%.2e, curve %.2e (limit %g), curve in bf16 %.2e\n",
            c.worst_loss, o->loss_tolerance, c.worst_gradient, o->gradient_tolerance,
            c.worst_update, curve, o->curve_tolerance, bf16);
        if (c.worst_loss > o->loss_tolerance || c.worst_gradient > o->gradient_tolerance ||
            curve > o->curve_tolerance) {
            status = edt_error_set(err, EDT_ERR_MISMATCH, "a difference is beyond its limit");
        }
    }
    close_comparison(&c);
    return status;
}

int main(int argc, char **argv)
{
    options o = {0};
    const edt_cli_option table[] = {
        {"ckpt", EDT_CLI_TEXT, "", "weights that all start from", .target = &o.ckpt},
        {"train_file_pattern", EDT_CLI_TEXT, "", "records", .target = &o.pattern},
        {"model_name", EDT_CLI_TEXT, "efficientdet-d0", "network", .target = &o.model_name},
        {"hparams", EDT_CLI_TEXT, "", "k=v,... over the defaults", .target = &o.hparams},
        {"image_size", EDT_CLI_INT, "128", "pixels", .target = &o.image_size, .lo = 32,
         .hi = 2048},
        {"batch_size", EDT_CLI_INT, "4", "pictures", .target = &o.batch_size, .lo = 1,
         .hi = 64},
        {"steps", EDT_CLI_INT, "200", "length of a run", .target = &o.n_steps, .lo = 2,
         .hi = 100000},
        {"probes", EDT_CLI_INT, "10", "steps compared one by one", .target = &o.n_probes,
         .lo = 2, .hi = 100000},
        {"window", EDT_CLI_INT, "20", "steps that curves are averaged over",
         .target = &o.window, .lo = 1, .hi = 100000},
        {"num_threads", EDT_CLI_INT, "1", "of each backend", .target = &o.n_threads, .lo = 1,
         .hi = 256},
        {"seed", EDT_CLI_INT, "1", "order and changes of the pictures", .target = &o.seed},
        {"loss_tolerance", EDT_CLI_FLOAT, "1e-4", "relative", .target = &o.loss_tolerance},
        {"gradient_tolerance", EDT_CLI_FLOAT, "2e-2", "of the gradient's global norm",
         .target = &o.gradient_tolerance},
        {"curve_tolerance", EDT_CLI_FLOAT, "0.05", "relative, of averaged losses",
         .target = &o.curve_tolerance},
        {"curve", EDT_CLI_BOOL, "true", "run all steps on ref too (slow)", .target = &o.curve},
        {"bf16", EDT_CLI_BOOL, "false", "run all steps on cpu in bf16 too (reported only)",
         .target = &o.bf16},
    };
    const edt_cli_program program = {
        .name = "compare_backends",
        .summary = "Compares training on the cpu backend with the reference backend.",
        .options = table,
        .n_options = (int)(sizeof table / sizeof *table),
    };
    edt_arena arena = {0};
    edt_error err = {0};
    bool done = false;
    edt_status status = edt_cli_parse(&program, argc, argv, &arena, &err, &done);
    if (status == EDT_OK && !done) {
        status = compare(&o, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
