// Loads stored weights into parameters in two passes: first every variable is looked up and its
// shape compared, so that a file that does not fit is refused before anything changes; then
// values, averages and slots are copied. See restore.h.
#include <string.h>

#include "core/mem.h"
#include "model/io/restore_priv.h"
#include "model/io/tensor_stats.h"

const edt_restore_slot edt_restore_slots[EDT_RESTORE_N_SLOTS] = {
    {"Momentum", "optimizer=sgd, semantics=tf1"},
    {"KerasMomentum", "optimizer=sgd, semantics=tf2"},
    {"Adam", "optimizer=adam"},
    {"Adam_1", "optimizer=adam"},
    {"RMSProp", "RMSProp"},
    {"RMSProp_1", "RMSProp"},
};

static bool begins_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

// Item of a variable ("" for `ending`) or of what belongs to it. The path of an object says
// more than its name: Keras numbers some names by what else the writing process had built.
static int find(edt_restorer *r, const char *path, const char *name, const char *ending)
{
    const char *slash = ending[0] == '\0' ? "" : "/";
    int i = -1;
    if (path != NULL && edt_weights_get_format(r->weights) == EDT_WEIGHTS_TF_OBJECTS) {
        const char *full = edt_arena_printf(&r->keys, "%s%s%s", path, slash, ending);
        i = full == NULL ? -1 : edt_weights_find_path(r->weights, full);
    }
    if (i < 0) {
        const char *full = edt_arena_printf(&r->keys, "%s%s%s", name, slash, ending);
        i = full == NULL ? -1 : edt_weights_find(r->weights, full);
    }
    if (i >= 0) {
        r->used[i] = true;
    }
    return i;
}

static edt_status locate(edt_restorer *r, int i_param, edt_error *err,
                         edt_restore_place *out_place)
{
    const edt_param_entry *entry = &r->params->entries[i_param];
    const edt_restore_options *options = r->options;
    edt_arena_reset(&r->keys);
    const char *path = entry->object_path;
    const char *name =
        edt_arena_printf(&r->keys, "%s%s", edt_restore_text(options->ckpt_scope),
                         entry->name + strlen(edt_restore_text(options->model_scope)));
    if (name == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", edt_weights_path(r->weights));
    }
    edt_restore_place p = {.i_param = i_param, .i_slot = {-1, -1}};
    const int raw = find(r, path, name, "");
    const int average = find(r, path, name, EDT_RESTORE_AVERAGE);
    // Only name-based checkpoints hold averages of everything, under names of their own; the
    // other formats may hold none, their values being the averages already.
    const bool is_needed =
        options->strict && edt_weights_get_format(r->weights) == EDT_WEIGHTS_TF_NAMES;
    r->any_average = r->any_average || average >= 0;
    p.i_value = options->use_ema && (average >= 0 || is_needed) ? average : raw;
    p.i_average = average >= 0 ? average : raw;
    p.has_average = average >= 0;
    for (int s = 0; s < EDT_RESTORE_N_SLOTS; ++s) {
        const int i = find(r, path, name, edt_restore_slots[s].name);
        r->n_stored[s] += i >= 0;
        for (int k = 0; k < 2; ++k) {
            const char *wanted = options->slot_names[k];
            if (wanted != NULL && strcmp(wanted, edt_restore_slots[s].name) == 0) {
                p.i_slot[k] = i;
            }
        }
    }
    *out_place = p;
    return EDT_OK;
}

static bool is_fresh(const edt_restorer *r, const char *name)
{
    for (int i = 0; i < 2; ++i) {
        const char *scope = r->options->fresh_scopes[i];
        if (scope != NULL && begins_with(name, scope)) {
            return true;
        }
    }
    return false;
}

static edt_status fill_row(edt_restorer *r, const edt_restore_place *p, edt_error *err,
                           edt_restore_row *row)
{
    const edt_param_entry *entry = &r->params->entries[p->i_param];
    edt_restore_report *report = r->report;
    *row = (edt_restore_row){.name = edt_arena_strdup(&report->arena, entry->name),
                             .model_shape = entry->shape,
                             .outcome = EDT_RESTORE_MISSING};
    if (row->name == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", report->prefix);
    }
    if (is_fresh(r, entry->name)) {
        row->outcome = EDT_RESTORE_FRESH;
        ++report->n_fresh;
        return EDT_OK;
    }
    if (p->i_value < 0) {
        ++report->n_missing;
        return EDT_OK;
    }
    const edt_weights_item *stored = edt_weights_get(r->weights, p->i_value);
    row->ckpt_shape = stored->shape;
    if (stored->unreadable != NULL) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "%s: variable '%s' cannot be read: %s",
                 report->prefix, stored->key, stored->unreadable);
    }
    if (!edt_shape_equal(&stored->shape, &entry->shape)) {
        row->outcome = EDT_RESTORE_SHAPE_DIFFERS;
        ++report->n_shape_differs;
        return EDT_OK;
    }
    if (!edt_weights_is_real(stored)) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%s: variable '%s' is stored as %s; float32, float64, bfloat16 and float16 "
                 "can be loaded",
                 report->prefix, stored->key, edt_dtype_name(stored->dtype));
    }
    row->outcome = EDT_RESTORE_LOADED;
    row->from_average = r->options->use_ema && p->has_average;
    row->average_from_raw = r->options->load_ema && !p->has_average;
    ++report->n_loaded;
    return EDT_OK;
}

static edt_status reserve_scratch(edt_restorer *r, size_t n_bytes, edt_error *err)
{
    if (n_bytes > r->scratch_bytes) {
        void *grown = edt_mem_realloc(EDT_MEM_PARAM, r->scratch, n_bytes);
        if (grown == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", r->report->prefix);
        }
        r->scratch = grown;
        r->scratch_bytes = n_bytes;
    }
    return EDT_OK;
}

static edt_status copy_tensor(edt_restorer *r, edt_params_arena which, int i_param, int i_item,
                              edt_error *err)
{
    const edt_weights_item *stored = edt_weights_get(r->weights, i_item);
    const size_t n = (size_t)r->params->entries[i_param].n;
    const size_t n_bytes = (size_t)stored->n_bytes;
    const bool is_half = stored->dtype == EDT_DTYPE_BF16 || stored->dtype == EDT_DTYPE_F16;
    // Half precision is widened behind the stored elements.
    EDT_TRY(reserve_scratch(r, n_bytes + (is_half ? n * sizeof(float) + 4 : 0), err));
    EDT_TRY(edt_weights_read(r->weights, i_item, r->scratch, n_bytes, err));
    if (stored->dtype == EDT_DTYPE_F64) {
        return edt_params_set_f64(r->params, which, i_param, r->scratch, (int64_t)n, err);
    }
    const float *values = r->scratch;
    if (is_half) {
        float *wide = (float *)r->scratch + (n_bytes + 3) / 4;
        const uint8_t *at = r->scratch;
        for (size_t i = 0; i < n; ++i) {
            wide[i] = (float)edt_tensor_element(at + 2 * i, stored->dtype);
        }
        values = wide;
    }
    return edt_params_set_f32(r->params, which, i_param, values, (int64_t)n, err);
}

static edt_status load_places(edt_restorer *r, edt_error *err)
{
    static const edt_params_arena slots[2] = {EDT_PARAMS_SLOT0, EDT_PARAMS_SLOT1};
    for (int i = 0; i < r->n_places; ++i) {
        const edt_restore_place *p = &r->places[i];
        if (r->report->rows[i].outcome != EDT_RESTORE_LOADED) {
            continue;
        }
        EDT_TRY(copy_tensor(r, EDT_PARAMS_VALUES, p->i_param, p->i_value, err));
        r->report->n_averages += r->report->rows[i].from_average;
        if (r->options->load_ema && edt_restore_fits(r, p, p->i_average)) {
            EDT_TRY(copy_tensor(r, EDT_PARAMS_EMA, p->i_param, p->i_average, err));
            r->report->n_averages += !r->report->rows[i].average_from_raw;
        }
        for (int k = 0; k < 2; ++k) {
            if (edt_restore_fits(r, p, p->i_slot[k])) {
                EDT_TRY(copy_tensor(r, slots[k], p->i_param, p->i_slot[k], err));
                ++r->report->n_slots;
            }
        }
    }
    return EDT_OK;
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

static edt_status list_unused(edt_restorer *r, edt_error *err)
{
    edt_restore_report *report = r->report;
    const int n = edt_weights_count(r->weights);
    report->unused = edt_arena_calloc(&report->arena, (size_t)n + 1, sizeof *report->unused);
    if (report->unused == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", report->prefix);
    }
    const char *scope = edt_restore_text(r->options->ckpt_scope);
    for (int i = 0; i < n; ++i) {
        const edt_weights_item *item = edt_weights_get(r->weights, i);
        const char *name = item->name != NULL ? item->name : item->key;
        if (r->used[i] || is_bookkeeping(item->key) || is_bookkeeping(name)) {
            continue;
        }
        const char *copy = edt_arena_strdup(&report->arena, item->key);
        if (copy == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", report->prefix);
        }
        report->unused[report->n_unused++] = copy;
        if (r->options->refuse_unused && begins_with(name, scope)) {
            EDT_FAIL(err, EDT_ERR_MISMATCH,
                     "%s: the model has no variable for '%s', and none may be left over; is "
                     "model_name the one it was trained with?",
                     report->prefix, copy);
        }
    }
    return EDT_OK;
}

static edt_status read_global_step(edt_restorer *r, edt_error *err)
{
    const int i = edt_weights_find(r->weights, "global_step");
    const edt_weights_item *item = i < 0 ? NULL : edt_weights_get(r->weights, i);
    if (item == NULL || item->dtype != EDT_DTYPE_I64 || item->unreadable != NULL ||
        item->n_bytes != (int64_t)sizeof r->report->global_step) {
        return EDT_OK;
    }
    int64_t step = -1;
    EDT_TRY(edt_weights_read(r->weights, i, &step, sizeof step, err));
    r->report->global_step = step < 0 ? -1 : step; // no run counts so: as if none was stored
    return EDT_OK;
}

static edt_status restore(edt_restorer *r, edt_error *err)
{
    edt_restore_report *report = r->report;
    const size_t n_params = (size_t)r->params->n_params;
    report->prefix = edt_arena_strdup(&report->arena, edt_weights_path(r->weights));
    report->rows = edt_arena_calloc(&report->arena, n_params + 1, sizeof *report->rows);
    r->places = edt_mem_calloc(EDT_MEM_PARAM, n_params + 1, sizeof *r->places);
    r->used = edt_mem_calloc(EDT_MEM_PARAM, (size_t)edt_weights_count(r->weights) + 1,
                             sizeof *r->used);
    if (report->prefix == NULL || report->rows == NULL || r->places == NULL ||
        r->used == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", edt_weights_path(r->weights));
    }
    report->format = edt_weights_get_format(r->weights);
    for (int i = 0; i < r->params->n_params; ++i) {
        if (!begins_with(r->params->entries[i].name,
                         edt_restore_text(r->options->model_scope))) {
            continue;
        }
        EDT_TRY(locate(r, i, err, &r->places[r->n_places]));
        EDT_TRY(fill_row(r, &r->places[r->n_places], err, &report->rows[r->n_places]));
        report->n_rows = ++r->n_places;
    }
    EDT_TRY(edt_restore_judge(r, err));
    EDT_TRY(list_unused(r, err));
    EDT_TRY(load_places(r, err));
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

edt_status edt_restore(edt_params *params, const char *path, const edt_restore_options *options,
                       edt_error *err, edt_restore_report *out_report)
{
    EDT_TRY(check_arenas(params, options, err));
    edt_weights *weights = NULL;
    EDT_TRY_CTX(edt_weights_open(path, err, &weights), err, "loading checkpoint");
    edt_restore_report report = {.global_step = -1};
    edt_arena_init(&report.arena, EDT_MEM_TEXT, 0);
    edt_restorer r = {
        .params = params, .weights = weights, .options = options, .report = &report};
    edt_arena_init(&r.keys, EDT_MEM_TEXT, 4096);
    const edt_status status = restore(&r, err);
    edt_mem_free(r.scratch);
    edt_mem_free(r.places);
    edt_mem_free(r.used);
    edt_arena_deinit(&r.keys);
    edt_weights_close(weights);
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
