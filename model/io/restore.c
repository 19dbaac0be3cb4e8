// Loads a checkpoint into parameters in two passes: first every variable is looked up and its
// shape compared, so that a checkpoint that does not fit is refused before anything changes;
// then values, averages and slots are copied. See restore.h.
#include "model/io/restore.h"

#include <string.h>

#include "core/mem.h"

static const char AVERAGE[] = "ExponentialMovingAverage";
static const char VALUE_SUFFIX[] = "/.ATTRIBUTES/VARIABLE_VALUE";
static const char SLOT_PART[] = "/.OPTIMIZER_SLOT/optimizer/";
static const char CLASS_BIAS[] = "class_net/class-predict/bias";
static const char BOX_BIAS[] = "box_net/box-predict/bias";

// Slot names of name-based checkpoints and what object-based ones call them (NULL: not stored
// in that form there).
typedef struct slot_name {
    const char *name, *object_name;
    const char *run; // that writes it
} slot_name;
static const slot_name SLOTS[] = {
    {"Momentum", NULL, "optimizer=sgd, semantics=tf1"},
    {"KerasMomentum", "momentum", "optimizer=sgd, semantics=tf2"},
    {"Adam", "m", "optimizer=adam"},
    {"Adam_1", "v", "optimizer=adam"},
    {"RMSProp", NULL, "RMSProp"},
    {"RMSProp_1", NULL, "RMSProp"},
};
enum { N_SLOTS = sizeof SLOTS / sizeof SLOTS[0] };

// Entries of the checkpoint for one variable, -1 where there is none.
typedef struct place {
    int i_param;
    int i_value;   // for VALUES
    int i_average; // for EMA
    int i_slot[2];
} place;

typedef struct restorer {
    edt_params *params;
    const edt_tf_bundle *bundle;
    const edt_restore_options *options;
    edt_restore_report *report;
    bool object_based;
    edt_arena keys; // reset for each variable
    bool *used;     // per entry of the bundle
    int n_places;
    place *places;
    bool any_average;
    int n_stored[N_SLOTS]; // variables that have that slot in the checkpoint
    void *scratch;
    size_t scratch_bytes;
} restorer;

static const char *text_or_empty(const char *text)
{
    return text == NULL ? "" : text;
}

// Looks up base + rest; remembers that the entry is known.
static int find(restorer *r, const char *base, const char *middle, const char *rest)
{
    const char *key = edt_arena_printf(&r->keys, "%s%s%s%s", base, middle, rest,
                                       r->object_based ? VALUE_SUFFIX : "");
    const int i = key == NULL ? -1 : edt_tf_bundle_find(r->bundle, key);
    if (i >= 0) {
        r->used[i] = true;
    }
    return i;
}

static int find_slot(restorer *r, const char *base, const slot_name *slot)
{
    if (!r->object_based) {
        return find(r, base, "/", slot->name);
    }
    if (slot->object_name == NULL) {
        return -1;
    }
    const char *averaged = edt_arena_printf(&r->keys, "%sawg_optimizer/", SLOT_PART);
    const int i = averaged == NULL ? -1 : find(r, base, averaged, slot->object_name);
    return i >= 0 ? i : find(r, base, SLOT_PART, slot->object_name);
}

// Where variable `name` is to be found; "" when it has no place in this kind of checkpoint.
static const char *base_name(restorer *r, const edt_param_entry *entry)
{
    if (r->object_based) {
        return text_or_empty(entry->object_path);
    }
    return edt_arena_printf(&r->keys, "%s%s", text_or_empty(r->options->ckpt_scope),
                            entry->name + strlen(text_or_empty(r->options->model_scope)));
}

static edt_status locate(restorer *r, int i_param, edt_error *err, place *out_place)
{
    const edt_param_entry *entry = &r->params->entries[i_param];
    edt_arena_reset(&r->keys);
    const char *base = base_name(r, entry);
    if (base == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", edt_tf_bundle_prefix(r->bundle));
    }
    place p = {.i_param = i_param, .i_slot = {-1, -1}};
    const int raw = base[0] == '\0' ? -1 : find(r, base, "", "");
    const int average =
        r->object_based ? find(r, base, SLOT_PART, "average") : find(r, base, "/", AVERAGE);
    r->any_average = r->any_average || average >= 0;
    p.i_value = raw;
    // Object-based files of averaging runs hold the averages as the values themselves.
    if (r->options->use_ema && !r->object_based && (average >= 0 || r->options->strict)) {
        p.i_value = average;
    }
    p.i_average = average >= 0 ? average : raw;
    for (int s = 0; s < N_SLOTS; ++s) {
        const int i = find_slot(r, base, &SLOTS[s]);
        r->n_stored[s] += i >= 0;
        for (int k = 0; k < 2; ++k) {
            const char *wanted = r->options->slot_names[k];
            if (wanted != NULL && strcmp(wanted, SLOTS[s].name) == 0) {
                p.i_slot[k] = i;
            }
        }
    }
    *out_place = p;
    return EDT_OK;
}

static edt_status fill_row(restorer *r, const place *p, edt_error *err, edt_restore_row *row)
{
    const edt_param_entry *entry = &r->params->entries[p->i_param];
    edt_restore_report *report = r->report;
    *row = (edt_restore_row){.name = edt_arena_strdup(&report->arena, entry->name),
                             .model_shape = entry->shape,
                             .outcome = EDT_RESTORE_MISSING};
    if (row->name == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", report->prefix);
    }
    if (p->i_value < 0) {
        ++report->n_missing;
        return EDT_OK;
    }
    const edt_tf_entry *stored = edt_tf_bundle_entry(r->bundle, p->i_value);
    row->ckpt_shape = stored->shape;
    if (!edt_shape_equal(&stored->shape, &entry->shape)) {
        row->outcome = EDT_RESTORE_SHAPE_DIFFERS;
        ++report->n_shape_differs;
        return EDT_OK;
    }
    if (stored->dtype != EDT_DTYPE_F32 && stored->dtype != EDT_DTYPE_F64) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%s: variable '%s' is stored as %s; float32 and float64 can be loaded",
                 report->prefix, stored->name, edt_dtype_name(stored->dtype));
    }
    row->outcome = EDT_RESTORE_LOADED;
    row->from_average = r->options->use_ema && !r->object_based && p->i_value == p->i_average &&
                        strstr(stored->name, AVERAGE) != NULL;
    row->average_from_raw =
        r->options->load_ema && p->i_value == p->i_average && !row->from_average;
    ++report->n_loaded;
    return EDT_OK;
}

// Classes of a checkpoint or model by the width of its class predictor, 0 when unknown.
static int64_t class_count(const edt_params *params, const edt_shape *class_bias)
{
    const int i = edt_params_find(params, BOX_BIAS);
    const int64_t per_cell = i < 0 ? 0 : params->entries[i].n / 4;
    const int64_t n = edt_shape_count(class_bias);
    return per_cell > 0 && n % per_cell == 0 ? n / per_cell : 0;
}

static edt_status refuse_shape(const restorer *r, edt_error *err)
{
    const edt_restore_report *report = r->report;
    const edt_restore_row *first = NULL;
    for (int i = 0; i < report->n_rows; ++i) {
        const edt_restore_row *row = &report->rows[i];
        if (row->outcome != EDT_RESTORE_SHAPE_DIFFERS) {
            continue;
        }
        first = first == NULL ? row : first;
        if (strcmp(row->name, CLASS_BIAS) == 0) {
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
    char stored[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES];
    EDT_FAIL(
        err, EDT_ERR_MISMATCH,
        "%s: %d of %d variables have another shape than in the model, first '%s': stored %s, "
        "model %s; is model_name the one it was trained with?",
        report->prefix, report->n_shape_differs, report->n_rows, first->name,
        edt_shape_text(&first->ckpt_shape, stored),
        edt_shape_text(&first->model_shape, wanted));
}

static edt_status refuse_missing(const restorer *r, edt_error *err)
{
    const edt_restore_report *report = r->report;
    if (r->options->use_ema && r->options->strict && !r->any_average && !r->object_based) {
        EDT_FAIL(
            err, EDT_ERR_MISMATCH,
            "%s: the checkpoint holds no averaged weights (X/%s); set moving_average_decay=0 "
            "to use its raw weights",
            report->prefix, AVERAGE);
    }
    const char *first = "";
    for (int i = report->n_rows - 1; i >= 0; --i) {
        if (report->rows[i].outcome == EDT_RESTORE_MISSING) {
            first = report->rows[i].name;
        }
    }
    EDT_FAIL(
        err, EDT_ERR_MISMATCH,
        "%s: %d of %d variables of the model are missing, first '%s'; is model_name the one it "
        "was trained with?",
        report->prefix, report->n_missing, report->n_rows, first);
}

static edt_status judge(const restorer *r, edt_error *err)
{
    const edt_restore_report *report = r->report;
    const bool lenient = r->options->skip_mismatch && !r->options->strict;
    if (report->n_rows == 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "%s: the model has no variable whose name begins with '%s'", report->prefix,
                 text_or_empty(r->options->model_scope));
    }
    if (report->n_shape_differs > 0 && !lenient) {
        return refuse_shape(r, err);
    }
    if (report->n_missing > 0 && !lenient) {
        return refuse_missing(r, err);
    }
    if (report->n_loaded == 0) {
        EDT_FAIL(err, EDT_ERR_MISMATCH,
                 "%s: no tensor of the checkpoint fits the model%s%s%s; is it of another "
                 "architecture, or ckpt_var_scope wrong?",
                 report->prefix, r->options->ckpt_scope != NULL ? " under the scope '" : "",
                 text_or_empty(r->options->ckpt_scope),
                 r->options->ckpt_scope != NULL ? "'" : "");
    }
    return EDT_OK;
}

static bool fits(const restorer *r, const place *p, int i_entry)
{
    if (i_entry < 0) {
        return false;
    }
    const edt_tf_entry *stored = edt_tf_bundle_entry(r->bundle, i_entry);
    return (stored->dtype == EDT_DTYPE_F32 || stored->dtype == EDT_DTYPE_F64) &&
           edt_shape_equal(&stored->shape, &r->params->entries[p->i_param].shape);
}

static edt_status refuse_misfit(const restorer *r, const place *p, int i_entry, edt_error *err)
{
    const edt_tf_entry *stored = edt_tf_bundle_entry(r->bundle, i_entry);
    char had[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES];
    EDT_FAIL(
        err, EDT_ERR_MISMATCH,
        "%s: '%s' is %s %s, its variable in the model float32 %s; the checkpoint is damaged "
        "or not of this model: take another one",
        r->report->prefix, stored->name, edt_dtype_name(stored->dtype),
        edt_shape_text(&stored->shape, had),
        edt_shape_text(&r->params->entries[p->i_param].shape, wanted));
}

static edt_status refuse_slot(const restorer *r, const place *p, int k, edt_error *err)
{
    const edt_restore_report *report = r->report;
    const edt_param_entry *entry = &r->params->entries[p->i_param];
    const char *wanted = r->options->slot_names[k];
    if (p->i_slot[k] >= 0) {
        return refuse_misfit(r, p, p->i_slot[k], err);
    }
    int most = 0;
    int i_wanted = -1;
    for (int s = 0; s < N_SLOTS; ++s) {
        most = r->n_stored[s] > r->n_stored[most] ? s : most;
        i_wanted = strcmp(SLOTS[s].name, wanted) == 0 ? s : i_wanted;
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
             report->prefix, wanted, entry->name, SLOTS[most].name, SLOTS[most].run,
             report->prefix);
}

// A run that goes on must find all of its averages and slots.
static edt_status judge_state(const restorer *r, edt_error *err)
{
    const edt_restore_options *options = r->options;
    bool any_slot = false;
    for (int s = 0; s < N_SLOTS; ++s) {
        any_slot = any_slot || r->n_stored[s] > 0;
    }
    for (int i = 0; options->strict && i < r->n_places; ++i) {
        const place *p = &r->places[i];
        if (options->load_ema && !fits(r, p, p->i_average)) {
            return refuse_misfit(r, p, p->i_average, err);
        }
        const bool has_slot = options->has_slot != NULL
                                  ? options->has_slot[p->i_param]
                                  : r->params->entries[p->i_param].trainable;
        if (!has_slot || (options->weights_only_allowed && !any_slot)) {
            continue;
        }
        for (int k = 0; k < 2; ++k) {
            if (options->slot_names[k] != NULL && !fits(r, p, p->i_slot[k])) {
                return refuse_slot(r, p, k, err);
            }
        }
    }
    return EDT_OK;
}

static edt_status copy_tensor(restorer *r, edt_params_arena which, int i_param, int i_entry,
                              edt_error *err)
{
    const edt_tf_entry *stored = edt_tf_bundle_entry(r->bundle, i_entry);
    const edt_param_entry *entry = &r->params->entries[i_param];
    const size_t n_bytes = (size_t)stored->n_bytes;
    if (n_bytes > r->scratch_bytes) {
        void *grown = edt_mem_realloc(EDT_MEM_PARAM, r->scratch, n_bytes);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", r->report->prefix);
        }
        r->scratch = grown;
        r->scratch_bytes = n_bytes;
    }
    EDT_TRY(edt_tf_bundle_read(r->bundle, i_entry, r->scratch, n_bytes, err));
    if (stored->dtype == EDT_DTYPE_F64) {
        return edt_params_set_f64(r->params, which, i_param, r->scratch, entry->n, err);
    }
    return edt_params_set_f32(r->params, which, i_param, r->scratch, entry->n, err);
}

static edt_status load_places(restorer *r, edt_error *err)
{
    static const edt_params_arena slots[2] = {EDT_PARAMS_SLOT0, EDT_PARAMS_SLOT1};
    for (int i = 0; i < r->n_places; ++i) {
        const place *p = &r->places[i];
        if (r->report->rows[i].outcome != EDT_RESTORE_LOADED) {
            continue;
        }
        EDT_TRY(copy_tensor(r, EDT_PARAMS_VALUES, p->i_param, p->i_value, err));
        if (r->options->load_ema && fits(r, p, p->i_average)) {
            EDT_TRY(copy_tensor(r, EDT_PARAMS_EMA, p->i_param, p->i_average, err));
            r->report->n_averages += !r->report->rows[i].average_from_raw;
        }
        for (int k = 0; k < 2; ++k) {
            if (fits(r, p, p->i_slot[k])) {
                EDT_TRY(copy_tensor(r, slots[k], p->i_param, p->i_slot[k], err));
                ++r->report->n_slots;
            }
        }
    }
    return EDT_OK;
}

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

// Keys that no variable stands for, but that belong to a training checkpoint.
static bool is_bookkeeping(const char *name)
{
    static const char *const names[] = {"global_step", "beta1_power", "beta2_power",
                                        "moving_normalizer", "save_counter"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; ++i) {
        if (begins_with(name, names[i])) {
            return true;
        }
    }
    return begins_with(name, "edt/") || begins_with(name, "optimizer/") ||
           begins_with(name, "_CHECKPOINTABLE_OBJECT_GRAPH");
}

static edt_status list_unused(restorer *r, edt_error *err)
{
    edt_restore_report *report = r->report;
    const int n = edt_tf_bundle_count(r->bundle);
    report->unused = edt_arena_calloc(&report->arena, (size_t)n + 1, sizeof *report->unused);
    if (report->unused == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", report->prefix);
    }
    for (int i = 0; i < n; ++i) {
        const char *name = edt_tf_bundle_entry(r->bundle, i)->name;
        if (r->used[i] || is_bookkeeping(name)) {
            continue;
        }
        const char *copy = edt_arena_strdup(&report->arena, name);
        if (copy == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", report->prefix);
        }
        report->unused[report->n_unused++] = copy;
    }
    return EDT_OK;
}

static edt_status read_global_step(restorer *r, edt_error *err)
{
    r->report->global_step = -1;
    const int i = edt_tf_bundle_find(
        r->bundle,
        r->object_based ? "optimizer/iter/.ATTRIBUTES/VARIABLE_VALUE" : "global_step");
    if (i < 0 || edt_tf_bundle_entry(r->bundle, i)->dtype != EDT_DTYPE_I64 ||
        edt_tf_bundle_entry(r->bundle, i)->n_bytes != (int64_t)sizeof r->report->global_step) {
        return EDT_OK;
    }
    return edt_tf_bundle_read(r->bundle, i, &r->report->global_step,
                              sizeof r->report->global_step, err);
}

static edt_status restore(restorer *r, edt_error *err)
{
    edt_restore_report *report = r->report;
    const size_t n_params = (size_t)r->params->n_params;
    report->prefix = edt_arena_strdup(&report->arena, edt_tf_bundle_prefix(r->bundle));
    report->rows = edt_arena_calloc(&report->arena, n_params + 1, sizeof *report->rows);
    r->places = edt_mem_calloc(EDT_MEM_PARAM, n_params + 1, sizeof *r->places);
    r->used = edt_mem_calloc(EDT_MEM_PARAM, (size_t)edt_tf_bundle_count(r->bundle) + 1,
                             sizeof *r->used);
    if (report->prefix == NULL || report->rows == NULL || r->places == NULL ||
        r->used == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", edt_tf_bundle_prefix(r->bundle));
    }
    r->object_based = edt_tf_bundle_is_object_based(r->bundle);
    for (int i = 0; i < r->params->n_params; ++i) {
        if (!begins_with(r->params->entries[i].name, text_or_empty(r->options->model_scope))) {
            continue;
        }
        EDT_TRY(locate(r, i, err, &r->places[r->n_places]));
        EDT_TRY(fill_row(r, &r->places[r->n_places], err, &report->rows[r->n_places]));
        report->n_rows = ++r->n_places;
    }
    EDT_TRY(judge(r, err));
    EDT_TRY(judge_state(r, err));
    EDT_TRY(load_places(r, err));
    EDT_TRY(list_unused(r, err));
    return read_global_step(r, err);
}

static edt_status check_arenas(const edt_params *params, const edt_restore_options *options,
                               edt_error *err)
{
    if ((options->load_ema && params->memory[EDT_PARAMS_EMA] == NULL) ||
        (options->slot_names[0] != NULL && params->memory[EDT_PARAMS_SLOT0] == NULL) ||
        (options->slot_names[1] != NULL && params->memory[EDT_PARAMS_SLOT1] == NULL)) {
        EDT_FAIL(
            err, EDT_ERR_INTERNAL,
            "restoring averages or optimizer slots into parameters without memory for them");
    }
    return EDT_OK;
}

edt_status edt_restore(edt_params *params, const char *prefix,
                       const edt_restore_options *options, edt_error *err,
                       edt_restore_report *out_report)
{
    EDT_TRY(check_arenas(params, options, err));
    edt_tf_bundle *bundle = NULL;
    EDT_TRY_CTX(edt_tf_bundle_open(prefix, err, &bundle), err, "loading checkpoint");
    edt_restore_report report = {.global_step = -1};
    edt_arena_init(&report.arena, EDT_MEM_TEXT, 0);
    restorer r = {.params = params, .bundle = bundle, .options = options, .report = &report};
    edt_arena_init(&r.keys, EDT_MEM_TEXT, 4096);
    const edt_status status = restore(&r, err);
    edt_mem_free(r.scratch);
    edt_mem_free(r.places);
    edt_mem_free(r.used);
    edt_arena_deinit(&r.keys);
    edt_tf_bundle_close(bundle);
    if (status != EDT_OK) {
        edt_restore_report_deinit(&report);
        return edt_error_add_context(err, status, "loading checkpoint");
    }
    if (out_report != NULL) {
        *out_report = report;
    } else {
        edt_restore_report_deinit(&report);
    }
    return EDT_OK;
}
