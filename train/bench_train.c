// A whole training step on a fabricated batch: forward, losses, backward, update. On a backend
// with streams steps are queued as a trainer queues them, recorded and from pinned memory; what
// single ops take is measured in steps of their own, node by node.
#include <string.h>

#include "core/clock.h"
#include "core/signal.h"
#include "train/bench_priv.h"
#include "train/prefetch.h"
#include "train/step.h"

enum { STEPS_PER_EPOCH = 1000, QUEUED_STEPS = 10, TIMED_STEPS = 3 };

typedef struct train_bench {
    edt_bench *bench;
    edt_step *step;
    edt_batch batch;
    edt_slot_memory memory;
    void *pinned[5]; // the batch's arrays that a device reads
    int64_t n_steps;
    edt_bench_samples seconds, rest;
    edt_bench_nodes nodes;
} train_bench;

static edt_status make_step(train_bench *t, bool capture, edt_error *err)
{
    const edt_bench *b = t->bench;
    edt_step_options so = {
        .real = b->real,
        .batch_size = b->batch_size,
        .slot_format = EDT_SLOT_U8,
        .drop_connect = true,
        .seed = 1,
        .capture = capture,
    };
    EDT_TRY(edt_schedule_init(&so.schedule, b->hp, b->batch_size,
                              b->batch_size * STEPS_PER_EPOCH, err));
    EDT_TRY(edt_step_create(b->hp, b->backend, &so, err, &t->step));
    edt_params *params = edt_step_params(t->step);
    EDT_TRY(edt_params_init_random(params, 1, err));
    if (params->memory[EDT_PARAMS_EMA] != NULL) {
        EDT_TRY(edt_params_copy_arena(params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, err));
    }
    t->n_steps = 0;
    return EDT_OK;
}

static edt_status pin_array(train_bench *t, int i, const void *from, size_t n_bytes,
                            edt_error *err)
{
    EDT_TRY(t->memory.alloc(t->memory.user, n_bytes, err, &t->pinned[i]));
    memcpy(t->pinned[i], from, n_bytes);
    return EDT_OK;
}

static edt_status make_batch(train_bench *t, edt_arena *arena, edt_error *err)
{
    const edt_bench *b = t->bench;
    EDT_TRY(
        edt_bench_make_batch(b->hp, b->batch_size, EDT_SLOT_U8, true, arena, err, &t->batch));
    t->memory = edt_prefetch_slot_memory(b->backend);
    if (t->memory.alloc == NULL) {
        return EDT_OK;
    }
    edt_batch *p = &t->batch;
    const size_t n = (size_t)p->batch_size;
    const size_t n_anchors = n * (size_t)p->n_anchors;
    EDT_TRY(pin_array(t, 0, p->images, n * (size_t)(p->height * p->width * 3), err));
    EDT_TRY(pin_array(t, 1, p->valid_hw, 2 * n * sizeof *p->valid_hw, err));
    p->images = t->pinned[0];
    p->valid_hw = t->pinned[1];
    if (n_anchors > 0) {
        EDT_TRY(pin_array(t, 2, p->cls_targets, n_anchors * sizeof *p->cls_targets, err));
        EDT_TRY(pin_array(t, 3, p->box_targets, 4 * n_anchors * sizeof *p->box_targets, err));
        p->cls_targets = t->pinned[2];
        p->box_targets = t->pinned[3];
    }
    if (p->seg_mask != NULL) {
        const size_t n_pixels = n * (size_t)(p->mask_h * p->mask_w);
        EDT_TRY(pin_array(t, 4, p->seg_mask, n_pixels * sizeof *p->seg_mask, err));
        p->seg_mask = t->pinned[4];
    }
    p->pinned = true;
    return EDT_OK;
}

// Such a step ends before the update: its time means nothing.
static edt_status check_finite(const edt_step_report *report, edt_error *err)
{
    if (report->n_not_finite > 0) {
        EDT_FAIL(err, EDT_ERR_NUMERIC, "step %lld has a loss or gradient that is not finite",
                 (long long)report->first_not_finite);
    }
    return EDT_OK;
}

static edt_status submit_steps(train_bench *t, int64_t n, edt_error *err)
{
    edt_step_report report;
    const edt_batch *done;
    for (int64_t i = 0; i < n; ++i) {
        EDT_TRY(edt_interrupt_check(err));
        EDT_TRY(edt_step_submit(t->step, &t->batch, t->n_steps++, err));
        do {
            EDT_TRY(edt_step_take_done(t->step, false, err, &done));
        } while (done != NULL);
    }
    EDT_TRY(edt_step_collect(t->step, err, &report));
    do {
        EDT_TRY(edt_step_take_done(t->step, true, err, &done));
    } while (done != NULL);
    return check_finite(&report, err);
}

// Each sample is the mean of a few steps in a row, as the device sees them in training.
static edt_status run_queued(train_bench *t, edt_error *err)
{
    const int64_t warmup = t->bench->options->warmup;
    EDT_TRY(submit_steps(t, warmup > 2 ? warmup : 2, err)); // the second one is recorded
    for (int64_t i = 0; i < t->bench->options->runs; ++i) {
        const double start = edt_clock_now_s();
        EDT_TRY(submit_steps(t, QUEUED_STEPS, err));
        edt_bench_samples_add(&t->seconds, (edt_clock_now_s() - start) / QUEUED_STEPS);
    }
    return EDT_OK;
}

// Steps one by one, with the time of every node; `seconds` NULL: the nodes alone are wanted.
static edt_status run_timed(train_bench *t, int64_t warmup, int64_t runs,
                            edt_bench_samples *seconds, edt_error *err)
{
    const edt_graph *graph = edt_step_model(t->step)->graph;
    for (int64_t i = -warmup; i < runs; ++i) {
        EDT_TRY(edt_interrupt_check(err));
        if (i == 0) {
            EDT_TRY(edt_bench_nodes_init(&t->nodes, graph, edt_step_exec(t->step), err));
        }
        const double start = edt_clock_now_s();
        EDT_TRY(submit_steps(t, 1, err));
        if (i >= 0) {
            const double all = edt_clock_now_s() - start;
            const double in_nodes = edt_bench_nodes_update(&t->nodes);
            if (seconds != NULL) {
                edt_bench_samples_add(seconds, all);
            }
            edt_bench_samples_add(&t->rest, all - in_nodes);
        }
    }
    return EDT_OK;
}

static edt_status report(train_bench *t, edt_error *err)
{
    edt_bench *b = t->bench;
    const double best = edt_bench_smallest(&t->seconds);
    const double median = edt_bench_median(&t->seconds);
    const double forward = edt_bench_nodes_sum(&t->nodes, false);
    const double backward = edt_bench_nodes_sum(&t->nodes, true);
    EDT_TRY(edt_bench_put(b, "train best", 1e3 * best, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train median", 1e3 * median, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train best forward", 1e3 * forward, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train best backward", 1e3 * backward, "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train best update and inputs", 1e3 * edt_bench_smallest(&t->rest),
                          "ms/step", err));
    EDT_TRY(edt_bench_put(b, "train", (double)b->batch_size / median, "images/s", err));
    EDT_TRY(edt_bench_put_peak(b, "train", edt_bench_exec_macs(t->nodes.graph, t->nodes.exec),
                               median, err));
    double busy;
    if (edt_bench_nodes_busy(b, &t->nodes, &busy)) {
        EDT_TRY(edt_bench_put(b, "train threads busy", busy, "%", err));
    }
    return b->options->per_op ? edt_bench_put_ops(b, &t->nodes, err) : EDT_OK;
}

static edt_status run_all(train_bench *t, edt_error *err)
{
    const edt_bench_options *o = t->bench->options;
    if (t->memory.alloc == NULL) {
        EDT_TRY(make_step(t, false, err));
        return run_timed(t, o->warmup, o->runs, &t->seconds, err);
    }
    EDT_TRY(make_step(t, true, err));
    EDT_TRY(run_queued(t, err));
    // One set of activations at a time: a batch may fill the device.
    edt_step_destroy(t->step);
    t->step = NULL;
    EDT_TRY(make_step(t, false, err));
    return run_timed(t, 1, TIMED_STEPS < o->runs ? TIMED_STEPS : o->runs, NULL, err);
}

edt_status edt_bench_train(edt_bench *b, edt_error *err)
{
    train_bench t = {.bench = b};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_SLOT, 0);
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(make_batch(&t, &arena, err));
    EDT_TRY_GOTO(edt_bench_samples_init(&t.seconds, b->options->runs, err));
    EDT_TRY_GOTO(edt_bench_samples_init(&t.rest, b->options->runs, err));
    EDT_TRY_GOTO(run_all(&t, err));
    EDT_TRY_GOTO(edt_bench_update_peak(b, err));
    status = report(&t, err);
fail:
    edt_bench_nodes_deinit(&t.nodes);
    edt_step_destroy(t.step);
    for (int i = 0; t.memory.free != NULL && i < 5; ++i) {
        t.memory.free(t.memory.user, t.pinned[i]);
    }
    edt_bench_samples_deinit(&t.seconds);
    edt_bench_samples_deinit(&t.rest);
    edt_arena_deinit(&arena);
    return status;
}
