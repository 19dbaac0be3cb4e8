// The inference network: one batch in, class and box outputs left on the device; and, where
// post-processing runs on the device too, from the batch to final detections on the host.
#include "core/clock.h"
#include "core/signal.h"
#include "eval/evaluate.h"
#include "eval/predict.h"
#include "model/io/restore.h"
#include "train/bench_priv.h"

edt_status edt_bench_load_weights(const edt_bench *b, edt_params *params, edt_error *err)
{
    if (b->options->ckpt == NULL) {
        return edt_params_init_random(params, 1, err);
    }
    const edt_restore_options restore = {
        .use_ema = b->hp->moving_average_decay > 0.0,
        .strict = true,
    };
    edt_restore_report report = {0};
    const edt_status status = edt_restore(params, b->options->ckpt, &restore, err, &report);
    if (status == EDT_OK) {
        edt_restore_report_log(&report);
    }
    edt_restore_report_deinit(&report);
    return status;
}

static edt_status report(edt_bench *b, edt_bench_samples *seconds, double macs, edt_error *err)
{
    const double median = edt_bench_median(seconds);
    EDT_TRY(edt_bench_put(b, "network best", 1e3 * edt_bench_smallest(seconds), "ms", err));
    EDT_TRY(edt_bench_put(b, "network median", 1e3 * median, "ms", err));
    EDT_TRY(edt_bench_put(b, "network", (double)b->batch_size / median, "images/s", err));
    return edt_bench_put_peak(b, "network", macs, median, err);
}

static edt_status put_memory(edt_bench *b, edt_predictor *predictor, edt_error *err)
{
    edt_exec_memory memory;
    edt_exec_get_memory(edt_predictor_exec(predictor), &memory);
    const int64_t parameters =
        edt_predictor_params(predictor)->n_elements * (int64_t)sizeof(float);
    const int64_t bytes = memory.activation_bytes + memory.input_bytes + memory.low_bytes +
                          memory.workspace_bytes + parameters;
    EDT_TRY(edt_bench_put(b, "network activations", (double)memory.activation_bytes / (1 << 20),
                          "MiB", err));
    return edt_bench_put(b, "network memory", (double)bytes / (1 << 20), "MiB", err);
}

// Network and post-processing as evaluation has them.
static edt_status run_detections(edt_bench *b, edt_predictor *predictor, const edt_batch *batch,
                                 edt_error *err)
{
    edt_bench_samples seconds = {0};
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_bench_samples_init(&seconds, b->options->runs, err));
    for (int64_t i = -b->options->warmup; i < b->options->runs; ++i) {
        const edt_detection *found;
        const int64_t *n_valid;
        EDT_TRY_GOTO(edt_interrupt_check(err));
        const double start = edt_clock_now_s();
        EDT_TRY_GOTO(edt_predictor_run(predictor, batch, err, &found, &n_valid));
        if (i >= 0) {
            edt_bench_samples_add(&seconds, edt_clock_now_s() - start);
        }
    }
    EDT_TRY_GOTO(edt_bench_put(b, "network and detections best",
                               1e3 * edt_bench_smallest(&seconds), "ms", err));
    EDT_TRY_GOTO(edt_bench_put(b, "network and detections median",
                               1e3 * edt_bench_median(&seconds), "ms", err));
fail:
    edt_bench_samples_deinit(&seconds);
    return status;
}

edt_status edt_bench_network(edt_bench *b, edt_error *err)
{
    const edt_predictor_options po = {
        .batch_size = b->batch_size,
        .slot_format = EDT_SLOT_F32,
        .post_mode = EDT_POST_PER_CLASS,
        .real = b->real,
        .n_threads = b->n_threads,
    };
    edt_hparams hp = {0};
    edt_predictor *predictor = NULL;
    edt_bench_samples seconds = {0};
    edt_bench_nodes nodes = {0};
    edt_batch batch;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_SLOT, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_hparams_copy(b->hp, err, &hp));
    edt_evaluation_settings(&hp);
    EDT_TRY_GOTO(edt_predictor_create_standalone(&hp, b->backend, &po, err, &predictor));
    EDT_TRY_GOTO(put_memory(b, predictor, err));
    EDT_TRY_GOTO(edt_bench_load_weights(b, edt_predictor_params(predictor), err));
    EDT_TRY_GOTO(
        edt_bench_make_batch(b->hp, b->batch_size, EDT_SLOT_F32, false, &arena, err, &batch));
    EDT_TRY_GOTO(edt_bench_samples_init(&seconds, b->options->runs, err));
    edt_exec *exec = edt_predictor_exec(predictor);
    const edt_graph *graph = edt_predictor_model(predictor)->graph;
    for (int64_t i = -b->options->warmup; i < b->options->runs; ++i) {
        EDT_TRY_GOTO(edt_interrupt_check(err));
        if (i == 0 && b->options->per_op) {
            EDT_TRY_GOTO(edt_bench_nodes_init(&nodes, graph, exec, err));
        }
        const double start = edt_clock_now_s();
        EDT_TRY_GOTO(edt_predictor_run_network(predictor, &batch, err));
        EDT_TRY_GOTO(b->backend->table->synchronize(b->backend, err));
        if (i >= 0) {
            edt_bench_samples_add(&seconds, edt_clock_now_s() - start);
        }
        if (nodes.graph != NULL) {
            (void)edt_bench_nodes_update(&nodes);
        }
    }
    EDT_TRY_GOTO(edt_bench_update_peak(b, err));
    EDT_TRY_GOTO(report(b, &seconds, edt_bench_exec_macs(graph, exec), err));
    if (edt_predictor_detects_on_device(predictor) && !b->options->per_op) {
        EDT_TRY_GOTO(run_detections(b, predictor, &batch, err));
    }
    if (b->options->per_op) {
        EDT_TRY_GOTO(edt_bench_put(b, "network sum of best op times",
                                   1e3 * edt_bench_nodes_sum(&nodes, false), "ms", err));
        EDT_TRY_GOTO(edt_bench_put_ops(b, &nodes, err));
    }
fail:
    edt_bench_nodes_deinit(&nodes);
    edt_predictor_destroy(predictor);
    edt_bench_samples_deinit(&seconds);
    edt_hparams_deinit(&hp);
    edt_arena_deinit(&arena);
    return status;
}
