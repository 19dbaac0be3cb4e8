// See loss_values.h.
#include "eval/loss_values.h"

#include <stdio.h>
#include <string.h>

#include "core/mem.h"
#include "model/anchors.h"

enum { MAX_LEVELS = 16, NOTE_COLUMNS = 4 };

struct edt_loss_reader {
    const edt_model *model;
    edt_exec *exec;
    int64_t batch_size;
    edt_value_id cls_targets, box_targets, norm;
    int n_levels;
    edt_value_id cls[MAX_LEVELS], box[MAX_LEVELS], iou; // EDT_NO_VALUE: not computed
    int32_t *classes; // of a batch with padding, whose rows are to be ignored
};

static edt_status bind_anchors(const edt_loss_reader *r, const edt_hparams *hp, edt_error *err)
{
    const edt_value_id value = edt_graph_find_input(r->model->graph, "anchors");
    if (value == EDT_NO_VALUE) {
        return EDT_OK;
    }
    edt_anchors *anchors = NULL;
    EDT_TRY(edt_anchors_create(hp, err, &anchors));
    const edt_status status = edt_exec_set_input(
        r->exec, value, anchors->boxes, (size_t)anchors->n * 4 * sizeof *anchors->boxes, err);
    edt_anchors_destroy(anchors);
    return status;
}

edt_status edt_loss_reader_create(const edt_hparams *hp, const edt_model *model, edt_exec *exec,
                                  int64_t batch_size, edt_error *err,
                                  edt_loss_reader **out_reader)
{
    const edt_graph *g = model->graph;
    edt_status status = EDT_OK;
    edt_loss_reader *r = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *r);
    if (r == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the losses of an evaluation");
    }
    r->model = model;
    r->exec = exec;
    r->batch_size = batch_size;
    r->cls_targets = edt_graph_find_input(g, "cls_targets");
    r->box_targets = edt_graph_find_input(g, "box_targets");
    r->norm = edt_graph_find_input(g, "norm");
    r->iou = edt_graph_find_output(g, "iou_loss");
    for (int l = model->min_level; l <= model->max_level; ++l) {
        char name[32];
        (void)snprintf(name, sizeof name, "cls_loss_%d", l);
        r->cls[r->n_levels] = edt_graph_find_output(g, name);
        (void)snprintf(name, sizeof name, "box_loss_%d", l);
        r->box[r->n_levels++] = edt_graph_find_output(g, name);
    }
    r->classes = edt_mem_calloc(EDT_MEM_EVAL, (size_t)(batch_size * model->n_anchors),
                                sizeof *r->classes);
    if (r->classes == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the targets of a batch");
        goto fail;
    }
    EDT_TRY_GOTO(bind_anchors(r, hp, err));
    *out_reader = r;
    return EDT_OK;
fail:
    edt_loss_reader_destroy(r);
    return status;
}

void edt_loss_reader_destroy(edt_loss_reader *r)
{
    if (r == NULL) {
        return;
    }
    edt_mem_free(r->classes);
    edt_mem_free(r);
}

// Padding of an evaluation is background: pictures without an object. Here it is to be nothing.
static const int32_t *classes_of(const edt_loss_reader *r, const edt_batch *b)
{
    if (b->n_valid == b->batch_size) {
        return b->cls_targets;
    }
    const int64_t n_valid = b->n_valid * b->n_anchors, n = b->batch_size * b->n_anchors;
    memcpy(r->classes, b->cls_targets, (size_t)n_valid * sizeof *r->classes);
    for (int64_t i = n_valid; i < n; ++i) {
        r->classes[i] = EDT_CLS_IGNORED;
    }
    return r->classes;
}

edt_status edt_loss_reader_bind(edt_loss_reader *r, const edt_batch *b, edt_error *err)
{
    if (b->cls_targets == NULL || b->n_anchors != r->model->n_anchors ||
        b->batch_size != r->batch_size) {
        EDT_FAIL(err, EDT_ERR_INVALID,
                 "a batch of %lld with targets for %lld anchors, where losses need %lld and "
                 "%lld",
                 (long long)b->batch_size,
                 (long long)(b->cls_targets != NULL ? b->n_anchors : 0),
                 (long long)r->batch_size, (long long)r->model->n_anchors);
    }
    double positives = 0.0;
    for (int64_t i = 0; i < b->n_valid; ++i) {
        positives += (double)b->num_positives[i];
    }
    const float norm = (float)(positives + 1.0);
    const size_t n = (size_t)(b->batch_size * b->n_anchors);
    EDT_TRY(edt_exec_set_input(r->exec, r->cls_targets, classes_of(r, b),
                               n * sizeof *b->cls_targets, err));
    EDT_TRY(edt_exec_set_input(r->exec, r->box_targets, b->box_targets,
                               4 * n * sizeof *b->box_targets, err));
    return edt_exec_set_input(r->exec, r->norm, &norm, sizeof norm, err);
}

static edt_status add_value(const edt_loss_reader *r, edt_value_id value, edt_error *err,
                            double *sum)
{
    float part = 0.0F;
    if (value != EDT_NO_VALUE) {
        EDT_TRY(edt_exec_get(r->exec, value, &part, sizeof part, err));
    }
    *sum += (double)part;
    return EDT_OK;
}

edt_status edt_loss_reader_get(edt_loss_reader *r, edt_error *err, edt_loss_values *out_values)
{
    edt_loss_values v = {0};
    for (int i = 0; i < r->n_levels; ++i) {
        EDT_TRY(add_value(r, r->cls[i], err, &v.cls_loss));
        EDT_TRY(add_value(r, r->box[i], err, &v.box_loss));
    }
    EDT_TRY(add_value(r, r->iou, err, &v.box_iou_loss));
    *out_values = v;
    return EDT_OK;
}

edt_status edt_loss_notes_add(edt_loss_notes *notes, int64_t n_valid, const edt_loss_values *v,
                              edt_error *err)
{
    if (notes->n == notes->cap) {
        const int64_t cap = notes->cap > 0 ? 2 * notes->cap : 256;
        double *moved = edt_mem_realloc(EDT_MEM_EVAL, notes->rows,
                                        (size_t)cap * NOTE_COLUMNS * sizeof *moved);
        if (moved == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the losses of an evaluation");
        }
        notes->rows = moved;
        notes->cap = cap;
    }
    double *row = notes->rows + notes->n++ * NOTE_COLUMNS;
    row[0] = (double)n_valid;
    row[1] = v->cls_loss;
    row[2] = v->box_loss;
    row[3] = v->box_iou_loss;
    return EDT_OK;
}

void edt_loss_notes_deinit(edt_loss_notes *notes)
{
    edt_mem_free(notes->rows);
    *notes = (edt_loss_notes){0};
}

edt_status edt_loss_notes_average(const edt_loss_notes *notes, edt_comm *comm, int64_t n_wanted,
                                  edt_error *err, edt_loss_values *out_mean)
{
    enum { ROW_BYTES = NOTE_COLUMNS * (int)sizeof(double) };
    edt_comm_parts parts = {0};
    const size_t world_size = (size_t)edt_comm_world_size(comm);
    *out_mean = (edt_loss_values){0};
    EDT_TRY(
        edt_comm_gather(comm, false, notes->rows, (size_t)notes->n * ROW_BYTES, err, &parts));
    double sums[NOTE_COLUMNS] = {0};
    for (size_t i = 0; edt_comm_rank(comm) == 0 && sums[0] < (double)n_wanted; ++i) {
        const size_t rank = i % world_size;
        const size_t at = parts.begin[rank] + i / world_size * ROW_BYTES;
        if (at >= parts.begin[rank + 1]) {
            break;
        }
        double row[NOTE_COLUMNS];
        memcpy(row, parts.data + at, ROW_BYTES);
        sums[0] += row[0];
        for (int c = 1; c < NOTE_COLUMNS && row[0] > 0.0; ++c) {
            sums[c] += row[0] * row[c];
        }
    }
    edt_comm_parts_deinit(&parts);
    if (sums[0] > 0.0) {
        *out_mean = (edt_loss_values){sums[1] / sums[0], sums[2] / sums[0], sums[3] / sums[0]};
    }
    return EDT_OK;
}
