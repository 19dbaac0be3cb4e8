// TensorFlow bundles as lists of weights. In name-based ones keys are the names.
#include <string.h>

#include "model/io/restore.h"
#include "model/io/weights_priv.h"

static edt_status read_item(edt_weights *weights, int i_item, void *out, edt_error *err)
{
    return edt_tf_bundle_read(weights->state, i_item, out,
                              (size_t)weights->items[i_item].n_bytes, err);
}

static void close_bundle(void *state)
{
    edt_tf_bundle_close(state);
}

static edt_status read_text(edt_weights *weights, const char *key, edt_arena *arena,
                            edt_error *err, const char **out_text)
{
    return edt_weights_bundle_text(weights->state, key, arena, err, out_text);
}

static const edt_weights_ops OPS = {
    .read = read_item, .close = close_bundle, .read_text = read_text};

edt_status edt_weights_bundle_text(const edt_tf_bundle *bundle, const char *key,
                                   edt_arena *arena, edt_error *err, const char **out_text)
{
    return edt_tf_bundle_find(bundle, key) < 0
               ? EDT_OK
               : edt_checkpoint_read_text(bundle, key, arena, err, out_text);
}

void edt_weights_describe(const edt_tf_entry *entry, edt_weights_item *out_item)
{
    *out_item = (edt_weights_item){.key = entry->name,
                                   .dtype = entry->dtype,
                                   .is_text = entry->is_string,
                                   .shape = entry->shape,
                                   .n_bytes = entry->n_bytes,
                                   .unreadable = entry->unreadable};
    if (entry->is_string && entry->unreadable == NULL) {
        out_item->unreadable = "it holds text, not numbers";
    }
}

edt_status edt_weights_open_bundle(edt_tf_bundle *bundle, edt_error *err,
                                   edt_weights **out_weights)
{
    if (edt_tf_bundle_is_object_based(bundle)) {
        return edt_weights_open_objects(bundle, err, out_weights);
    }
    const char *prefix = edt_tf_bundle_prefix(bundle);
    edt_weights *weights = NULL;
    edt_status status = edt_weights_create(prefix, EDT_WEIGHTS_TF_NAMES, &OPS, err, &weights);
    if (status != EDT_OK) {
        edt_tf_bundle_close(bundle);
        return status;
    }
    weights->state = bundle;
    for (int i = 0; i < edt_tf_bundle_count(bundle); ++i) {
        edt_weights_item item;
        edt_weights_describe(edt_tf_bundle_entry(bundle, i), &item);
        item.name = edt_weights_canonical(&weights->arena, item.key);
        if (item.name == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "%s: out of memory", prefix);
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
