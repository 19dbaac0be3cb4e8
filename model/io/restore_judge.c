// Whether what a file holds is enough for what was asked, and the words when it is not. See
// restore.h.
#include <stdio.h>
#include <string.h>

#include "model/io/restore_priv.h"

enum { HINT_BYTES = 192 };

static const char BACKBONE[] = "efficientnet-"; // how the names of all of them begin
static const char CLASS_BIAS[] = "class_net/class-predict/bias";
static const char BOX_BIAS[] = "box_net/box-predict/bias";

// Classes of a checkpoint or model by the width of its class predictor, 0 when unknown.
static int64_t class_count(const edt_params *params, const edt_shape *class_bias)
{
    const int i = edt_params_find(params, BOX_BIAS);
    const int64_t per_cell = i < 0 ? 0 : params->entries[i].n / 4;
    const int64_t n = edt_shape_count(class_bias);
    return per_cell > 0 && n % per_cell == 0 ? n / per_cell : 0;
}

// " the file holds 'efficientnet-b1', the model 'efficientnet-b0':" where the backbones are not
// the same, else "".
static const char *backbone_hint(const edt_restorer *r, char out_text[HINT_BYTES])
{
    const char *mine = NULL, *other = NULL;
    for (int i = 0; i < r->params->n_params && mine == NULL; ++i) {
        const char *name = r->params->entries[i].name;
        mine = strncmp(name, BACKBONE, strlen(BACKBONE)) == 0 ? name : NULL;
    }
    const size_t n_mine = mine == NULL ? 0 : strcspn(mine, "/");
    for (int i = 0; i < edt_weights_count(r->weights) && mine != NULL; ++i) {
        const char *name = edt_weights_get(r->weights, i)->name;
        if (name == NULL || strncmp(name, BACKBONE, strlen(BACKBONE)) != 0) {
            continue;
        }
        if (strncmp(name, mine, n_mine) == 0 && name[n_mine] == '/') {
            return "";
        }
        other = name;
    }
    if (other == NULL) {
        return "";
    }
    (void)snprintf(out_text, HINT_BYTES,
                   " the file holds '%.*s', the model '%.*s':", (int)strcspn(other, "/"), other,
                   (int)n_mine, mine);
    return out_text;
}

static edt_status refuse_shape(const edt_restorer *r, edt_error *err)
{
    const edt_restore_report *report = r->report;
    const edt_restore_row *first = NULL;
    bool other_anchors = false; // then the width of the class predictor says nothing
    for (int i = 0; i < report->n_rows; ++i) {
        const edt_restore_row *row = &report->rows[i];
        other_anchors |=
            row->outcome == EDT_RESTORE_SHAPE_DIFFERS && strcmp(row->name, BOX_BIAS) == 0;
    }
    for (int i = 0; i < report->n_rows; ++i) {
        const edt_restore_row *row = &report->rows[i];
        if (row->outcome != EDT_RESTORE_SHAPE_DIFFERS) {
            continue;
        }
        first = first == NULL ? row : first;
        if (!other_anchors && strcmp(row->name, CLASS_BIAS) == 0) {
            const int64_t stored = class_count(r->params, &row->ckpt_shape);
            const int64_t wanted = class_count(r->params, &row->model_shape);
            if (stored > 0 && wanted > 0) {
                EDT_FAIL(
                    err, EDT_ERR_MISMATCH,
                    "%s: the checkpoint has %lld classes, the model %lld; set "
                    "num_classes=%lld, "
                    "or start a training from it with skip_mismatch=true, which initialises "
                    "the class predictor anew",
                    report->prefix, (long long)stored, (long long)wanted, (long long)stored);
            }
        }
    }
    char stored[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES], hint[HINT_BYTES];
    const char *words = backbone_hint(r, hint);
    if (words[0] == '\0' && other_anchors) {
        words = " are num_scales and aspect_ratios those it was trained with, and";
    }
    EDT_FAIL(
        err, EDT_ERR_MISMATCH,
        "%s: %d of %d variables have another shape than in the model, first '%s': stored %s, "
        "model %s;%s is model_name the one it was trained with?",
        report->prefix, report->n_shape_differs, report->n_rows, first->name,
        edt_shape_text(&first->ckpt_shape, stored), edt_shape_text(&first->model_shape, wanted),
        words);
}

static edt_status refuse_missing(const edt_restorer *r, edt_error *err)
{
    const edt_restore_report *report = r->report;
    bool any_stored = false; // under its name or as an average
    for (int i = 0; i < r->n_places; ++i) {
        any_stored = any_stored || r->places[i].i_value >= 0 || r->places[i].i_average >= 0;
    }
    if (r->options->use_ema && r->options->strict && !r->any_average && any_stored &&
        report->format == EDT_WEIGHTS_TF_NAMES) {
        EDT_FAIL(
            err, EDT_ERR_MISMATCH,
            "%s: the checkpoint holds no averaged weights (X/%s); set moving_average_decay=0 "
            "to use its raw weights",
            report->prefix, EDT_RESTORE_AVERAGE);
    }
    char text[HINT_BYTES];
    const char *hint = backbone_hint(r, text);
    const int n_stored = edt_weights_count(r->weights);
    if (hint[0] == '\0' && !any_stored && n_stored > 0) {
        (void)snprintf(text, sizeof text,
                       " the file has none of them (of its %d tensors the first is '%.100s'):",
                       n_stored, edt_weights_get(r->weights, 0)->key);
        hint = text;
    }
    const char *first = "";
    for (int i = report->n_rows - 1; i >= 0; --i) {
        if (report->rows[i].outcome == EDT_RESTORE_MISSING) {
            first = report->rows[i].name;
        }
    }
    EDT_FAIL(
        err, EDT_ERR_MISMATCH,
        "%s: %d of %d variables of the model are missing, first '%s';%s is model_name the one "
        "it was trained with?",
        report->prefix, report->n_missing, report->n_rows, first, hint);
}

static edt_status judge(const edt_restorer *r, edt_error *err)
{
    const edt_restore_report *report = r->report;
    const bool lenient = r->options->skip_mismatch && !r->options->strict;
    if (report->n_rows == 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "%s: the model has no variable whose name begins with '%s'", report->prefix,
                 edt_restore_text(r->options->model_scope));
    }
    if (report->n_shape_differs > 0 && !lenient) {
        return refuse_shape(r, err);
    }
    if (report->n_missing > 0 && !lenient) {
        return refuse_missing(r, err);
    }
    if (report->n_loaded == 0) {
        char hint[HINT_BYTES];
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "%s: no tensor of the checkpoint fits the model%s%s%s;%s is it of another "
                 "architecture, or ckpt_var_scope wrong?",
                 report->prefix, r->options->ckpt_scope != NULL ? " under the scope '" : "",
                 edt_restore_text(r->options->ckpt_scope),
                 r->options->ckpt_scope != NULL ? "'" : "", backbone_hint(r, hint));
    }
    return EDT_OK;
}

bool edt_restore_fits(const edt_restorer *r, const edt_restore_place *p, int i_item)
{
    if (i_item < 0) {
        return false;
    }
    const edt_weights_item *stored = edt_weights_get(r->weights, i_item);
    return edt_weights_is_real(stored) && stored->unreadable == NULL &&
           edt_shape_equal(&stored->shape, &r->params->entries[p->i_param].shape);
}

static edt_status refuse_misfit(const edt_restorer *r, const edt_restore_place *p, int i_item,
                                edt_error *err)
{
    const edt_weights_item *stored = edt_weights_get(r->weights, i_item);
    char had[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES];
    EDT_FAIL(
        err, EDT_ERR_MISMATCH,
        "%s: '%s' is %s %s, its variable in the model float32 %s; the checkpoint is damaged "
        "or not of this model: take another one",
        r->report->prefix, stored->key, edt_dtype_name(stored->dtype),
        edt_shape_text(&stored->shape, had),
        edt_shape_text(&r->params->entries[p->i_param].shape, wanted));
}

static edt_status refuse_slot(const edt_restorer *r, const edt_restore_place *p, int k,
                              edt_error *err)
{
    const edt_restore_report *report = r->report;
    const edt_param_entry *entry = &r->params->entries[p->i_param];
    const char *wanted = r->options->slot_names[k];
    if (p->i_slot[k] >= 0) {
        return refuse_misfit(r, p, p->i_slot[k], err);
    }
    int most = 0;
    int i_wanted = -1;
    for (int s = 0; s < EDT_RESTORE_N_SLOTS; ++s) {
        most = r->n_stored[s] > r->n_stored[most] ? s : most;
        i_wanted = strcmp(edt_restore_slots[s].name, wanted) == 0 ? s : i_wanted;
    }
    if (i_wanted >= 0 && r->n_stored[i_wanted] > 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "%s: '%s' is to be trained but has no optimizer slot '%s', as %d other "
                 "variables have; it was frozen in that run: resume with the same "
                 "var_freeze_expr, or start a new model_dir with --ckpt=%s",
                 report->prefix, entry->name, wanted, r->n_stored[i_wanted], report->prefix);
    }
    if (r->n_stored[most] == 0) {
        EDT_FAIL(
            err, EDT_ERR_MISMATCH,
            "%s: no optimizer slot '%s' for '%s': the checkpoint holds weights only; start "
            "a new model_dir with --ckpt=%s",
            report->prefix, wanted, entry->name, report->prefix);
    }
    EDT_FAIL(err, EDT_ERR_MISMATCH,
             "%s: no optimizer slot '%s' for '%s': the checkpoint holds '%s' (%s); resume with "
             "that optimizer, or start a new model_dir with --ckpt=%s",
             report->prefix, wanted, entry->name, edt_restore_slots[most].name,
             edt_restore_slots[most].run, report->prefix);
}

// A run that goes on must find all of its averages and slots.
static edt_status judge_state(const edt_restorer *r, edt_error *err)
{
    const edt_restore_options *options = r->options;
    bool any_slot = false;
    for (int s = 0; s < EDT_RESTORE_N_SLOTS; ++s) {
        any_slot = any_slot || r->n_stored[s] > 0;
    }
    for (int i = 0; options->strict && i < r->n_places; ++i) {
        const edt_restore_place *p = &r->places[i];
        if (options->load_ema && !edt_restore_fits(r, p, p->i_average)) {
            return refuse_misfit(r, p, p->i_average, err);
        }
        const bool has_slot = options->has_slot != NULL
                                  ? options->has_slot[p->i_param]
                                  : r->params->entries[p->i_param].trainable;
        if (!has_slot || (options->weights_only_allowed && !any_slot)) {
            continue;
        }
        for (int k = 0; k < 2; ++k) {
            if (options->slot_names[k] != NULL && !edt_restore_fits(r, p, p->i_slot[k])) {
                return refuse_slot(r, p, k, err);
            }
        }
    }
    return EDT_OK;
}

edt_status edt_restore_judge(const edt_restorer *r, edt_error *err)
{
    EDT_TRY(judge(r, err));
    return judge_state(r, err);
}
