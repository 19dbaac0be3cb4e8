// The values of steps: from their cells on the device through a ring in host memory into one
// report.
#include <math.h>
#include <string.h>

#include "train/step_priv.h"

static size_t record_bytes(const edt_step_record *r)
{
    return (size_t)r->n_cells * EDT_STEP_CELL_BYTES;
}

static void clear_report(edt_step_record *r)
{
    r->report = (edt_step_report){.last_step = -1, .first_not_finite = -1};
}

edt_status edt_step_record_init(edt_step_record *r, edt_backend *backend, int64_t batch_size,
                                edt_error *err)
{
    const edt_backend_table *table = backend->table;
    r->backend = backend;
    r->norm_cell = r->n_cls + r->n_box + r->n_iou + r->n_seg;
    r->stats_cell = r->norm_cell + 1;
    r->scale_cell = r->norm_cell + 2;
    r->replica_cell = r->norm_cell + 3;
    r->n_cells = r->norm_cell + 4;
    r->sum_divisor = 1.0;
    clear_report(r);
    void *block = NULL;
    EDT_TRY(table->alloc(backend, EDT_MEM_MISC, record_bytes(r), err, &block));
    r->device = block;
    EDT_TRY(table->zero(backend, r->device, record_bytes(r), err));
    const size_t ids_bytes = (size_t)batch_size * sizeof(int64_t);
    r->bad_ids = edt_mem_alloc(EDT_MEM_MISC, ids_bytes);
    bool ok = r->bad_ids != NULL;
    for (int i = 0; i < EDT_STEP_RING; ++i) {
        edt_step_pending *p = &r->pending[i];
        p->source_ids = edt_mem_alloc(EDT_MEM_MISC, ids_bytes);
        if (table->streams != NULL) {
            EDT_TRY(table->streams->host_alloc(backend, record_bytes(r), err, &p->cells));
            EDT_TRY(table->streams->event_create(backend, err, &p->arrived));
        } else {
            p->cells = edt_mem_alloc(EDT_MEM_MISC, record_bytes(r));
        }
        ok = ok && p->source_ids != NULL && p->cells != NULL;
    }
    if (!ok) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the values of steps");
    }
    return EDT_OK;
}

void edt_step_record_deinit(edt_step_record *r)
{
    if (r->backend == NULL) {
        return;
    }
    const edt_backend_table *table = r->backend->table;
    for (int i = 0; i < EDT_STEP_RING; ++i) {
        edt_step_pending *p = &r->pending[i];
        if (table->streams != NULL) {
            table->streams->host_free(r->backend, p->cells);
            table->streams->event_destroy(r->backend, p->arrived);
        } else {
            edt_mem_free(p->cells);
        }
        edt_mem_free(p->source_ids);
    }
    edt_mem_free(r->bad_ids);
    table->free(r->backend, r->device);
}

void *edt_step_record_cell(const edt_step_record *r, int i_cell)
{
    return r->device + (size_t)i_cell * EDT_STEP_CELL_BYTES;
}

static double value_at(const edt_step_pending *p, edt_dtype dtype, int i_cell, int i)
{
    const char *cell = (const char *)p->cells + (size_t)i_cell * EDT_STEP_CELL_BYTES;
    if (dtype == EDT_DTYPE_F64) {
        double value;
        memcpy(&value, cell + (size_t)i * sizeof value, sizeof value);
        return value;
    }
    float value;
    memcpy(&value, cell + (size_t)i * sizeof value, sizeof value);
    return (double)value;
}

static double sum_cells(const edt_step_record *r, const edt_step_pending *p, int first, int n)
{
    double sum = 0.0;
    for (int i = first; i < first + n; ++i) {
        sum += value_at(p, r->wide, i, 0);
    }
    return sum;
}

static void decode_losses(const edt_step_record *r, const edt_step_pending *p,
                          edt_step_metrics *m)
{
    m->cls_loss = sum_cells(r, p, 0, r->n_cls) / r->sum_divisor;
    m->box_loss = sum_cells(r, p, r->n_cls, r->n_box) / r->sum_divisor;
    m->box_iou_loss = sum_cells(r, p, r->n_cls + r->n_box, r->n_iou) / r->sum_divisor;
    m->det_loss =
        m->cls_loss + r->box_loss_weight * m->box_loss + r->iou_loss_weight * m->box_iou_loss;
    m->seg_loss = sum_cells(r, p, r->n_cls + r->n_box + r->n_iou, r->n_seg) / r->sum_divisor;
}

double edt_step_record_loss(const edt_step_record *r, const edt_step_pending *p)
{
    edt_step_metrics m = {0};
    decode_losses(r, p, &m);
    return m.det_loss + m.seg_loss;
}

static edt_step_metrics decode(const edt_step_record *r, const edt_step_pending *p)
{
    edt_step_metrics m = {.learning_rate = p->learning_rate, .num_positives = p->num_positives};
    decode_losses(r, p, &m);
    // A moving normaliser tells nothing of this step, nor does one of several: positives were
    // summed on the host.
    const int world = edt_comm_world_size(r->comm);
    if (r->n_cls > 0 && world > 1 && r->positives_momentum <= 0.0 && !r->has_replicas) {
        m.num_positives = value_at(p, r->wide, r->norm_cell, 0) -
                          (r->positives_momentum < 0.0 ? (double)world : 1.0);
    }
    m.finite = isfinite(m.det_loss + m.seg_loss);
    if (p->updated) {
        const int raw_cell = r->has_replicas ? r->replica_cell : r->stats_cell;
        m.reg_l2_loss = value_at(p, r->wide, raw_cell, EDT_OPTIMIZER_STAT_L2) *
                        (r->has_replicas ? r->l2_factor : 1.0);
        m.raw_gradient_norm = value_at(p, r->wide, raw_cell, EDT_OPTIMIZER_STAT_RAW_NORM);
        m.gradient_norm = value_at(p, r->wide, r->stats_cell, EDT_OPTIMIZER_STAT_NORM);
        m.finite =
            m.finite && value_at(p, r->wide, r->stats_cell, EDT_OPTIMIZER_STAT_FINITE) != 0.0;
    }
    m.loss_scale = r->scaled ? value_at(p, EDT_DTYPE_F32, r->scale_cell, 0) : 0.0;
    m.loss = m.det_loss + m.seg_loss + m.reg_l2_loss;
    return m;
}

bool edt_step_record_is_finite(const edt_step_record *r, const edt_step_pending *p)
{
    return decode(r, p).finite;
}

static edt_status fold_oldest(edt_step_record *r, edt_error *err)
{
    const edt_step_pending *p = &r->pending[r->n_folded % EDT_STEP_RING];
    const edt_stream_table *streams = r->backend->table->streams;
    if (streams != NULL) {
        EDT_TRY(edt_comm_on_device(r->comm)
                    ? edt_comm_wait(r->comm, p->arrived, err)
                    : streams->event_synchronize(r->backend, p->arrived, err));
    }
    ++r->n_folded;
    edt_step_report *report = &r->report;
    const edt_step_metrics m = decode(r, p);
    ++report->n_steps;
    report->last_step = p->global_step;
    report->last = m;
    report->n_bad_losses += isfinite(m.det_loss + m.seg_loss) ? 0 : 1;
    if (m.finite) {
        const double z = edt_loss_watch_add(&r->watch, m.loss);
        if (z > report->worst_z) {
            report->worst_z = z;
            report->worst_step = p->global_step;
            report->worst_loss = m.loss;
        }
        return EDT_OK;
    }
    if (report->n_not_finite++ == 0) {
        report->first_not_finite = p->global_step;
        report->first_bad = m;
        memcpy(r->bad_ids, p->source_ids, (size_t)p->n_valid * sizeof *r->bad_ids);
        report->bad_source_ids = r->bad_ids;
        report->n_bad_source_ids = p->n_valid;
    }
    return EDT_OK;
}

edt_status edt_step_record_open(edt_step_record *r, edt_error *err,
                                edt_step_pending **out_pending)
{
    if (r->n_submitted - r->n_folded == EDT_STEP_RING) {
        EDT_TRY(fold_oldest(r, err));
    }
    *out_pending = &r->pending[r->n_submitted % EDT_STEP_RING];
    return EDT_OK;
}

edt_status edt_step_record_read(edt_step_record *r, edt_step_pending *p, edt_error *err)
{
    const edt_backend_table *table = r->backend->table;
    if (table->streams == NULL) {
        return table->download(r->backend, p->cells, r->device, record_bytes(r), err);
    }
    EDT_TRY(table->streams->copy(r->backend, EDT_STREAM_COMPUTE, p->cells, r->device,
                                 record_bytes(r), err));
    return table->streams->event_record(r->backend, p->arrived, EDT_STREAM_COMPUTE, err);
}

void edt_step_record_close(edt_step_record *r)
{
    ++r->n_submitted;
}

edt_status edt_step_record_collect(edt_step_record *r, edt_error *err,
                                   edt_step_report *out_report)
{
    while (r->n_folded < r->n_submitted) {
        EDT_TRY(fold_oldest(r, err));
    }
    *out_report = r->report;
    clear_report(r);
    return EDT_OK;
}
