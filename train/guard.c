// See guard.h. Ranks put together what they know of a bad step, as the fault may be in the rows
// of one of them.
#include "train/guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/strbuf.h"
#include "train/bad_batch.h"

enum {
    MOST_EXPLAINED = 5, // skipped steps that are looked into and kept as files; so is the last
    QUIET_STEPS = 100   // after a line on a high loss
};

typedef struct story {
    char ids[512];
    char fault[600];
    const char *path; // of the batch, NULL: not written
} story;

static edt_status tell_ids(const edt_training *r, const edt_step_report *report, story *s,
                           edt_error *err)
{
    edt_comm_parts parts;
    EDT_TRY(edt_comm_gather(edt_comm_host(r->comm), true, report->bad_source_ids,
                            (size_t)report->n_bad_source_ids * sizeof(int64_t), err, &parts));
    const size_t n_bytes = parts.begin[edt_comm_world_size(r->comm)];
    size_t used = 0;
    for (size_t at = 0; at < n_bytes && used < sizeof s->ids - 32; at += sizeof(int64_t)) {
        int64_t id;
        memcpy(&id, parts.data + at, sizeof id);
        used += (size_t)snprintf(s->ids + used, sizeof s->ids - used, "%s%" PRId64,
                                 at == 0 ? "" : ", ", id);
        if (used >= sizeof s->ids - 32) {
            (void)snprintf(s->ids + used, sizeof s->ids - used, ", ...");
        }
    }
    edt_comm_parts_deinit(&parts);
    return EDT_OK;
}

// The first fault of all ranks.
static edt_status tell_fault(const edt_training *r, story *s, edt_error *err)
{
    edt_step_fault mine, first = {.i_node = -1};
    edt_comm_parts parts;
    int first_rank = 0;
    EDT_TRY(edt_step_find_fault(r->step, err, &mine));
    EDT_TRY(edt_comm_gather(edt_comm_host(r->comm), true, &mine, sizeof mine, err, &parts));
    const int world = edt_comm_world_size(r->comm);
    for (int rank = 0; rank < world; ++rank) {
        edt_step_fault other;
        memcpy(&other, parts.data + parts.begin[rank], sizeof other);
        const bool earlier =
            other.i_node >= 0 && (first.i_node < 0 || other.i_node < first.i_node);
        if (rank == 0 || earlier) {
            first = other;
            first_rank = rank;
        }
    }
    edt_comm_parts_deinit(&parts);
    if (world > 1 && first.i_node >= 0) {
        (void)snprintf(s->fault, sizeof s->fault, "on rank %d, %s", first_rank, first.text);
    } else {
        (void)snprintf(s->fault, sizeof s->fault, "%s", first.text);
    }
    return EDT_OK;
}

static void keep_batch(edt_training *r, const edt_step_report *report, const edt_batch *batch,
                       story *s)
{
    edt_error err = {0};
    const edt_bad_batch_info info = {
        .step = report->first_not_finite,
        .n_before = r->state.n_skipped - 1,
        .loss = report->first_bad.loss,
        .rank = edt_comm_rank(r->comm),
        .world_size = edt_comm_world_size(r->comm),
        .reason = s->fault,
    };
    if (edt_bad_batch_write(r->options->model_dir, r->hp, batch, &info, &r->arena, &err,
                            &s->path) != EDT_OK) {
        EDT_WARN("the batch of step %" PRId64 " could not be kept: %s", info.step, err.text);
    }
}

static edt_status end_run(const edt_training *r, const edt_step_report *report, const story *s,
                          edt_error *err)
{
    char saved[128] = "No checkpoint was saved yet", loss[32];
    if (r->saved_step >= 0) {
        (void)snprintf(saved, sizeof saved, "The last checkpoint is from before, step %" PRId64,
                       r->saved_step);
    }
    (void)edt_format_f64(report->first_bad.loss, loss);
    EDT_FAIL(err, EDT_ERR_NUMERIC,
             "step %" PRId64 ": the loss (%s) or a gradient is not finite; pictures of the "
             "batch: %s; %s%s%s. %" PRId64 " such steps, nan_skip_budget is %" PRId64
             ". %s (%s). What to try: a lower learning_rate or clip_gradients_norm, a longer "
             "lr_warmup_epoch, a look at these pictures with inspect_records; the same command "
             "%s",
             report->first_not_finite, loss, s->ids,
             s->fault[0] != '\0' ? s->fault : "the steps after it hide where it began",
             s->path != NULL ? "; the batch is kept in " : "", s->path != NULL ? s->path : "",
             r->state.n_skipped, r->hp->nan_skip_budget, saved, r->options->model_dir,
             r->saved_step >= 0 ? "goes on from that checkpoint" : "starts anew");
}

static edt_status judge_not_finite(edt_training *r, const edt_step_report *report,
                                   const edt_batch *batch, edt_error *err)
{
    // With streams a loss that is not finite has already reached the moving statistics: only a
    // gradient leaves a state to go on from.
    const bool spoilt = report->n_bad_losses > 0 && r->backend->table->streams != NULL;
    r->state.n_skipped += report->n_not_finite;
    const bool ends = spoilt || r->state.n_skipped > r->hp->nan_skip_budget;
    story s = {.ids = ""};
    EDT_TRY(tell_ids(r, report, &s, err));
    // Where steps are queued, the values of an older one are gone.
    const bool is_here = batch != NULL && !report->last.finite;
    if (is_here && (ends || r->state.n_skipped <= MOST_EXPLAINED)) {
        EDT_TRY(tell_fault(r, &s, err));
        if (report->first_not_finite == report->last_step) {
            keep_batch(r, report, batch, &s);
        }
    }
    if (ends) {
        return end_run(r, report, &s, err);
    }
    char loss[32];
    (void)edt_format_f64(report->first_bad.loss, loss);
    EDT_WARN("step %" PRId64 ": the loss (%s) or a gradient is not finite, nothing is updated "
             "(%" PRId64 " of %" PRId64
             " such steps allowed); pictures of the batch: %s%s%s%s%s",
             report->first_not_finite, loss, r->state.n_skipped, r->hp->nan_skip_budget, s.ids,
             s.fault[0] != '\0' ? "; " : "", s.fault,
             s.path != NULL ? "; the batch is kept in " : "", s.path != NULL ? s.path : "");
    return EDT_OK;
}

static void watch_loss(edt_training *r, const edt_step_report *report)
{
    if (report->worst_z < EDT_LOSS_WATCH_Z) {
        return;
    }
    r->loss_z = report->worst_z > r->loss_z ? report->worst_z : r->loss_z;
    if (r->high_step < 0 || report->worst_step >= r->high_step + QUIET_STEPS) {
        EDT_WARN("step %" PRId64 ": the loss %.4g lies %.1f standard deviations above its mean "
                 "of the steps before; metrics.jsonl has such values as loss_z",
                 report->worst_step, report->worst_loss, report->worst_z);
    }
    r->high_step = report->worst_step;
}

edt_status edt_guard_judge(edt_training *r, const edt_step_report *report,
                           const edt_batch *batch, edt_error *err, bool *out_skipped)
{
    *out_skipped = report->n_not_finite > 0;
    watch_loss(r, report);
    // Loss scaling overflows to find its scale, but not at the end of its range.
    const bool seeks_scale = report->n_bad_losses == 0 && report->last.loss_scale > 1.0;
    return report->n_not_finite == 0 || seeks_scale ? EDT_OK
                                                    : judge_not_finite(r, report, batch, err);
}
