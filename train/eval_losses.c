// See eval_losses.h.
#include "train/eval_losses.h"

#include <string.h>

#include "core/mem.h"
#include "train/optimizer.h"

struct edt_eval_losses {
    const edt_hparams *hp;
    const edt_params *params;
    edt_params_arena arena; // that the predictor reads
    edt_target_maker *targets;
    bool *decays; // per parameter: part of the L2 term
};

// As the optimizer has it: frozen variables count with semantics=tf1 only.
static edt_status select_decaying(edt_eval_losses *l, edt_error *err)
{
    const int n = l->params->n_params;
    const bool tf2 = strcmp(l->hp->semantics, "tf2") == 0;
    edt_status status = EDT_OK;
    const char **names = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n, sizeof *names);
    bool *trainable = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n, sizeof *trainable);
    l->decays = edt_mem_calloc(EDT_MEM_EVAL, (size_t)n, sizeof *l->decays);
    if (names == NULL || trainable == NULL || l->decays == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for %d parameter flags", n);
        goto fail;
    }
    for (int i = 0; i < n; ++i) {
        names[i] = l->params->entries[i].name;
        trainable[i] = l->params->entries[i].trainable;
    }
    if (tf2) {
        EDT_TRY_GOTO(
            edt_freeze_select(l->hp->var_freeze_expr, n, names, trainable, err, l->decays));
    }
    for (int i = 0; i < n; ++i) {
        l->decays[i] = !l->decays[i] && l->params->entries[i].decay;
    }
fail:
    edt_mem_free(names);
    edt_mem_free(trainable);
    return status;
}

edt_status edt_eval_losses_create(const edt_hparams *hp, edt_predictor *predictor, bool use_ema,
                                  int n_threads, edt_error *err, edt_eval_losses **out_losses)
{
    edt_status status = EDT_OK;
    edt_eval_losses *l = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *l);
    if (l == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the losses of an evaluation");
    }
    l->hp = hp;
    l->params = edt_predictor_params(predictor);
    l->arena = use_ema ? EDT_PARAMS_EMA : EDT_PARAMS_VALUES;
    EDT_TRY_GOTO(edt_target_maker_create(hp, n_threads, err, &l->targets));
    EDT_TRY_GOTO(select_decaying(l, err));
    *out_losses = l;
    return EDT_OK;
fail:
    edt_eval_losses_destroy(l);
    return status;
}

void edt_eval_losses_destroy(edt_eval_losses *l)
{
    if (l == NULL) {
        return;
    }
    edt_target_maker_destroy(l->targets);
    edt_mem_free(l->decays);
    edt_mem_free(l);
}

void edt_eval_losses_enter(edt_eval_losses *l, edt_evaluation_options *options)
{
    options->targets = edt_target_maker_run;
    options->targets_ctx = l->targets;
    options->n_threads = edt_target_maker_threads(l->targets);
}

static edt_status sum_squares(const edt_eval_losses *l, edt_error *err, double *out_sum)
{
    int64_t most = 1;
    for (int i = 0; i < l->params->n_params; ++i) {
        const int64_t n = l->params->entries[i].n;
        most = l->decays[i] && n > most ? n : most;
    }
    double *values = edt_mem_alloc(EDT_MEM_EVAL, (size_t)most * sizeof *values);
    if (values == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a variable of %lld elements",
                 (long long)most);
    }
    edt_status status = EDT_OK;
    double sum = 0.0;
    for (int i = 0; i < l->params->n_params && status == EDT_OK; ++i) {
        const int64_t n = l->params->entries[i].n;
        if (l->decays[i]) {
            status = edt_params_get_f64(l->params, l->arena, i, values, n, err);
            for (int64_t k = 0; k < n && status == EDT_OK; ++k) {
                sum += values[k] * values[k];
            }
        }
    }
    edt_mem_free(values);
    *out_sum = sum;
    return status;
}

edt_status edt_eval_losses_rows(const edt_eval_losses *l, const edt_evaluation *e,
                                edt_error *err, edt_metric rows[EDT_EVAL_LOSSES_MAX_ROWS],
                                int *out_n)
{
    double squares = 0.0;
    EDT_TRY(sum_squares(l, err, &squares));
    const edt_loss_values *v = &e->losses;
    const bool has_iou = l->hp->iou_loss_type != NULL;
    const double l2 = l->hp->weight_decay * 0.5 * squares;
    const double det = v->cls_loss + l->hp->box_loss_weight * v->box_loss +
                       (has_iou ? l->hp->iou_loss_weight * v->box_iou_loss : 0.0);
    int n = 0;
    rows[n++] = (edt_metric){"val_loss", det + l2};
    rows[n++] = (edt_metric){"val_det_loss", det};
    rows[n++] = (edt_metric){"val_cls_loss", v->cls_loss};
    rows[n++] = (edt_metric){"val_box_loss", v->box_loss};
    if (has_iou) {
        rows[n++] = (edt_metric){"val_box_iou_loss", v->box_iou_loss};
    }
    rows[n++] = (edt_metric){"val_reg_l2_loss", l2};
    *out_n = n;
    return EDT_OK;
}
