// Writing of training state and reading of its extra tensors. See restore.h.
#include <string.h>

#include "core/mem.h"
#include "model/io/restore.h"

typedef struct saver {
    const edt_params *params;
    edt_tf_bundle_writer *writer;
    void *scratch; // one parameter
    edt_arena names;
} saver;

static edt_status add_param(saver *s, edt_params_arena which, int i_param, const char *suffix,
                            edt_error *err)
{
    const edt_param_entry *entry = &s->params->entries[i_param];
    edt_arena_reset(&s->names);
    const char *name = edt_arena_printf(&s->names, "%s%s%s", entry->name,
                                        suffix[0] == '\0' ? "" : "/", suffix);
    if (name == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "checkpoint: out of memory");
    }
    // f64 parameters (the reference backend's) stay f64, so that a resumed run is exact.
    const edt_tensor_desc desc = {s->params->real, entry->shape};
    if (desc.dtype == EDT_DTYPE_F64) {
        EDT_TRY(edt_params_get_f64(s->params, which, i_param, s->scratch, entry->n, err));
    } else {
        EDT_TRY(edt_params_get_f32(s->params, which, i_param, s->scratch, entry->n, err));
    }
    return edt_tf_bundle_writer_add(s->writer, name, &desc, s->scratch, err);
}

static edt_status add_params(saver *s, const edt_checkpoint_save_options *options,
                             edt_error *err)
{
    static const edt_params_arena slots[2] = {EDT_PARAMS_SLOT0, EDT_PARAMS_SLOT1};
    for (int i = 0; i < s->params->n_params; ++i) {
        EDT_TRY(add_param(s, EDT_PARAMS_VALUES, i, "", err));
        if (s->params->memory[EDT_PARAMS_EMA] != NULL) {
            EDT_TRY(add_param(s, EDT_PARAMS_EMA, i, "ExponentialMovingAverage", err));
        }
        const bool has_slot =
            options->has_slot != NULL ? options->has_slot[i] : s->params->entries[i].trainable;
        for (int k = 0; k < 2 && has_slot; ++k) {
            if (options->slot_names[k] != NULL) {
                EDT_TRY(add_param(s, slots[k], i, options->slot_names[k], err));
            }
        }
    }
    return EDT_OK;
}

static edt_status add_extras(saver *s, const edt_checkpoint_save_options *options,
                             edt_error *err)
{
    const edt_tensor_desc step = {.dtype = EDT_DTYPE_I64};
    EDT_TRY(
        edt_tf_bundle_writer_add(s->writer, "global_step", &step, &options->global_step, err));
    for (int i = 0; i < options->n_extras; ++i) {
        const edt_checkpoint_extra *extra = &options->extras[i];
        if (extra->desc.dtype == EDT_DTYPE_NONE) {
            const edt_shape scalar = {0};
            EDT_TRY(edt_tf_bundle_writer_add_strings(s->writer, extra->name, &scalar,
                                                     &extra->text, err));
        } else {
            EDT_TRY(edt_tf_bundle_writer_add(s->writer, extra->name, &extra->desc, extra->data,
                                             err));
        }
    }
    return EDT_OK;
}

edt_status edt_checkpoint_save(const edt_params *params, const char *prefix,
                               const edt_checkpoint_save_options *options, edt_error *err)
{
    int64_t n_largest = 1;
    for (int i = 0; i < params->n_params; ++i) {
        n_largest = params->entries[i].n > n_largest ? params->entries[i].n : n_largest;
    }
    saver s = {.params = params};
    edt_arena_init(&s.names, EDT_MEM_TEXT, 4096);
    edt_status status = EDT_OK;
    s.scratch = edt_mem_alloc(EDT_MEM_PARAM, (size_t)n_largest * edt_dtype_bytes(params->real));
    if (s.scratch == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "out of memory");
        goto fail;
    }
    EDT_TRY_GOTO(edt_tf_bundle_writer_create(prefix, err, &s.writer));
    EDT_TRY_GOTO(add_params(&s, options, err));
    EDT_TRY_GOTO(add_extras(&s, options, err));
    EDT_TRY_GOTO(edt_tf_bundle_writer_commit(s.writer, err));
fail:
    edt_tf_bundle_writer_destroy(s.writer);
    edt_mem_free(s.scratch);
    edt_arena_deinit(&s.names);
    if (status != EDT_OK) {
        return edt_error_add_context(err, status, "writing checkpoint %s", prefix);
    }
    return EDT_OK;
}

static edt_status find_extra(const edt_tf_bundle *bundle, const char *name, edt_error *err,
                             int *out_entry)
{
    const int i = edt_tf_bundle_find(bundle, name);
    if (i < 0) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND, "%s: the checkpoint has no tensor '%s'",
                 edt_tf_bundle_prefix(bundle), name);
    }
    *out_entry = i;
    return EDT_OK;
}

edt_status edt_checkpoint_read_extra(const edt_tf_bundle *bundle, const char *name,
                                     const edt_tensor_desc *desc, void *out, edt_error *err)
{
    int i = -1;
    EDT_TRY(find_extra(bundle, name, err, &i));
    const edt_tf_entry *entry = edt_tf_bundle_entry(bundle, i);
    if (entry->dtype != desc->dtype || !edt_shape_equal(&entry->shape, &desc->shape)) {
        char stored[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES];
        EDT_FAIL(err, EDT_ERR_MISMATCH, "%s: tensor '%s' is %s %s, wanted %s %s",
                 edt_tf_bundle_prefix(bundle), name, edt_dtype_name(entry->dtype),
                 edt_shape_text(&entry->shape, stored), edt_dtype_name(desc->dtype),
                 edt_shape_text(&desc->shape, wanted));
    }
    return edt_tf_bundle_read(bundle, i, out, edt_tensor_bytes(desc), err);
}

edt_status edt_checkpoint_read_text(const edt_tf_bundle *bundle, const char *name,
                                    edt_arena *arena, edt_error *err, const char **out_text)
{
    int i = -1;
    EDT_TRY(find_extra(bundle, name, err, &i));
    const edt_text *texts = NULL;
    int64_t n = 0;
    EDT_TRY(edt_tf_bundle_read_strings(bundle, i, arena, err, &texts, &n));
    if (n != 1) {
        EDT_FAIL(err, EDT_ERR_MISMATCH, "%s: tensor '%s' holds %lld texts, wanted one",
                 edt_tf_bundle_prefix(bundle), name, (long long)n);
    }
    const char *text = edt_arena_strndup(arena, texts[0].data, texts[0].n_bytes);
    if (text == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", edt_tf_bundle_prefix(bundle));
    }
    *out_text = text;
    return EDT_OK;
}
