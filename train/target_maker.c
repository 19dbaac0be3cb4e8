// See target_maker.h.
#include "train/target_maker.h"

#include "core/mem.h"
#include "core/thread.h"
#include "model/assign.h"

struct edt_target_maker {
    edt_anchors *anchors;
    int n_assigners;
    edt_assigner **assigners;
};

edt_status edt_target_maker_create(const edt_hparams *hp, int n_threads, edt_error *err,
                                   edt_target_maker **out_maker)
{
    edt_status status = EDT_OK;
    edt_target_maker *m = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *m);
    if (m == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the anchor assigners");
    }
    EDT_TRY_GOTO(edt_anchors_create(hp, err, &m->anchors));
    m->n_assigners = n_threads > 0 ? n_threads : edt_thread_cpu_count();
    m->assigners = edt_mem_calloc(EDT_MEM_MISC, (size_t)m->n_assigners, sizeof *m->assigners);
    if (m->assigners == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the anchor assigners");
        goto fail;
    }
    for (int i = 0; i < m->n_assigners; ++i) {
        EDT_TRY_GOTO(
            edt_assigner_create(m->anchors, hp->reference_defects, err, &m->assigners[i]));
    }
    *out_maker = m;
    return EDT_OK;
fail:
    edt_target_maker_destroy(m);
    return status;
}

void edt_target_maker_destroy(edt_target_maker *m)
{
    if (m == NULL) {
        return;
    }
    for (int i = 0; m->assigners != NULL && i < m->n_assigners; ++i) {
        edt_assigner_destroy(m->assigners[i]);
    }
    edt_mem_free(m->assigners);
    edt_anchors_destroy(m->anchors);
    edt_mem_free(m);
}

int edt_target_maker_threads(const edt_target_maker *m)
{
    return m->n_assigners;
}

int64_t edt_target_maker_n_anchors(const edt_target_maker *m)
{
    return m->anchors->n;
}

edt_status edt_target_maker_run(void *ctx, int worker, const float *boxes, const int64_t *labels,
                                int64_t n_boxes, int32_t *out_cls, float *out_box,
                                float *out_num_positives, edt_error *err)
{
    const edt_target_maker *m = ctx;
    if (worker < 0 || worker >= m->n_assigners) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "worker %d of %d asks for targets", worker, m->n_assigners);
    }
    return edt_assign(m->assigners[worker], boxes, labels, n_boxes, out_cls, out_box,
                      out_num_positives, err);
}
