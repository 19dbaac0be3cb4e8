// A whole training step on a fabricated batch: forward, losses, backward, update.
#include "core/clock.h"
#include "core/signal.h"
#include "train/bench_priv.h"
#include "train/step.h"

static edt_status make_step(const edt_bench *b, edt_error *err, edt_step **out_step)
{
    enum { STEPS_PER_EPOCH = 1000 };
    edt_step_options so = {
        .real = EDT_DTYPE_F32,
        .batch_size = b->batch_size,
        .slot_format = EDT_SLOT_U8,
        .drop_connect = true,
        .seed = 1,
    };
    EDT_TRY(edt_schedule_init(&so.schedule, b->hp, b->batch_size,
                              b->batch_size * STEPS_PER_EPOCH, err));
    EDT_TRY(edt_step_create(b->hp, b->backend, &so, err, out_step));
    edt_params *params = edt_step_params(*out_step);
    EDT_TRY(edt_params_init_random(params, 1, err));
    if (params->memory[EDT_PARAMS_EMA] != NULL) {
        EDT_TRY(edt_params_copy_arena(params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, err));
    }
    return EDT_OK;
}

static edt_status run_steps(const edt_bench *b, edt_step *step, const edt_batch *batch,
                            edt_bench_samples *seconds, edt_bench_samples *rest,
                            edt_bench_nodes *nodes, edt_error *err)
{
    const edt_graph *graph = edt_step_model(step)->graph;
    for (int64_t i = -b->options->warmup; i < b->options->runs; ++i) {
        EDT_TRY(edt_interrupt_check(err));
        if (i == 0) {
            EDT_TRY(edt_bench_nodes_init(nodes, graph, edt_step_exec(step), err));
        }
        edt_step_metrics metrics;
        const double start = edt_clock_now_s();
        EDT_TRY(edt_step_run(step, batch, i + b->options->warmup, err, &metrics));
        if (i >= 0) {
            const double end = edt_clock_now_s();
            edt_bench_samples_add(seconds, end - start);
            edt_bench_samples_add(rest, end - start - edt_bench_nodes_update(nodes));
        }
        if (!metrics.finite) { // such a step ends before the update: its time means nothing
            EDT_FAIL(err, EDT_ERR_NUMERIC,
                     "step %lld has a loss or gradient that is not finite",
                     (long long)(i + b->options->warmup));
        }
    }
    return EDT_OK;
}

static edt_status report(edt_bench *b, const edt_bench_nodes *nodes,
                         const edt_bench_samples *seconds, const edt_bench_samples *rest,
                         edt_error *err)
{
    const double best = edt_bench_smallest(seconds), median = edt_bench_median(seconds);
    const double forward = edt_bench_nodes_sum(nodes, false);
    const double backward = edt_bench_nodes_sum(nodes, true);
    EDT_TRY(edt_bench_put(b, "train best", 1e3 * best, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train median", 1e3 * median, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train best forward", 1e3 * forward, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train best backward", 1e3 * backward, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train best update and inputs", 1e3 * edt_bench_smallest(rest),
                          "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train", (double)b->batch_size / median, "images/s", err));
    EDT_TRY(edt_bench_put_peak(b, "train", edt_bench_exec_macs(nodes->graph, nodes->exec),
                               median, err));
    return b->options->per_op ? edt_bench_put_ops(b, nodes, err) : EDT_OK;
}

edt_status edt_bench_train(edt_bench *b, edt_error *err)
{
    edt_step *step = NULL;
    edt_bench_samples seconds = {0}, rest = {0};
    edt_bench_nodes nodes = {0};
    edt_batch batch;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_SLOT, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(make_step(b, err, &step));
    EDT_TRY_GOTO(
        edt_bench_make_batch(b->hp, b->batch_size, EDT_SLOT_U8, true, &arena, err, &batch));
    EDT_TRY_GOTO(edt_bench_samples_init(&seconds, b->options->runs, err));
    EDT_TRY_GOTO(edt_bench_samples_init(&rest, b->options->runs, err));
    EDT_TRY_GOTO(run_steps(b, step, &batch, &seconds, &rest, &nodes, err));
    EDT_TRY_GOTO(edt_bench_update_peak(b, err));
    status = report(b, &nodes, &seconds, &rest, err);
fail:
    edt_bench_nodes_deinit(&nodes);
    edt_step_destroy(step);
    edt_bench_samples_deinit(&seconds);
    edt_bench_samples_deinit(&rest);
    edt_arena_deinit(&arena);
    return status;
}
