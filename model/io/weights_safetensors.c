// Safetensors files as lists of weights: keys are names, as a name-based checkpoint has them.
#include <string.h>

#include "core/safetensors.h"
#include "model/io/weights_priv.h"

static edt_status read_item(edt_weights *weights, int i_item, void *out, edt_error *err)
{
    (void)err;
    const edt_safetensors *file = weights->state;
    const edt_span data = file->items[i_item].data;
    if (data.n_bytes > 0) {
        memcpy(out, data.data, data.n_bytes);
    }
    return EDT_OK;
}

static edt_status read_text(edt_weights *weights, const char *key, edt_arena *arena,
                            edt_error *err, const char **out_text)
{
    const char *text = edt_safetensors_meta_get(weights->state, key);
    *out_text = text == NULL ? NULL : edt_arena_strdup(arena, text);
    if (text != NULL && *out_text == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "%s: out of memory", weights->path);
    }
    return EDT_OK;
}

static void close_file(void *state)
{
    edt_safetensors_close(state);
}

static const edt_weights_ops OPS = {
    .read = read_item, .close = close_file, .read_text = read_text};

edt_status edt_weights_open_safetensors(const char *path, edt_error *err,
                                        edt_weights **out_weights)
{
    edt_safetensors *file = NULL;
    EDT_TRY(edt_safetensors_open(path, err, &file));
    edt_weights *weights = NULL;
    edt_status status = edt_weights_create(path, EDT_WEIGHTS_SAFETENSORS, &OPS, err, &weights);
    if (status != EDT_OK) {
        edt_safetensors_close(file);
        return status;
    }
    weights->state = file;
    for (int64_t i = 0; i < file->n; ++i) {
        const edt_safetensors_item *stored = &file->items[i];
        const edt_weights_item item = {.key = stored->name,
                                       .name =
                                           edt_weights_canonical(&weights->arena, stored->name),
                                       .dtype = stored->desc.dtype,
                                       .shape = stored->desc.shape,
                                       .n_bytes = (int64_t)stored->data.n_bytes};
        if (item.name == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", path);
            goto fail;
        }
        EDT_TRY_GOTO(edt_weights_push(weights, &item, err));
    }
    EDT_TRY_GOTO(edt_weights_seal(weights, err));
    *out_weights = weights;
    return EDT_OK;
fail:
    edt_weights_close(weights);
    return status;
}
