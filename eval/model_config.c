// See model_config.h.
#include "eval/model_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "dataio/labels.h"
#include "model/io/checkpoint.h"
#include "model/io/restore.h"
#include "model/scaling.h"

enum { COCO_CLASSES = 90 };

// Text of the stored table, or NULL where another program wrote the weights.
static edt_status read_stored(const char *path, edt_arena *arena, edt_error *err,
                              const char **out_text)
{
    edt_weights *weights = NULL;
    EDT_TRY(edt_weights_open(path, err, &weights));
    edt_status status = edt_weights_read_text(weights, "edt/config", arena, err, out_text);
    edt_weights_close(weights);
    if (status == EDT_ERR_NOT_FOUND) {
        *out_text = NULL;
        status = EDT_OK;
    }
    return status;
}

edt_status edt_model_config_load(edt_hparams *hp, const char *model_name, const char *ckpt,
                                 const char *hparams, edt_arena *arena, edt_error *err,
                                 const char **out_prefix)
{
    const bool named = model_name != NULL && model_name[0] != '\0';
    const char *prefix = NULL, *stored = NULL;
    if (ckpt != NULL && ckpt[0] != '\0' && strcmp(ckpt, "_") != 0) {
        EDT_TRY(edt_checkpoint_resolve(ckpt, arena, err, &prefix));
        EDT_TRY(read_stored(prefix, arena, err, &stored));
    }
    EDT_TRY(edt_scaling_apply(hp, named ? model_name : "efficientdet-d0", err));
    if (stored != NULL) {
        const edt_span text = {(const uint8_t *)stored, strlen(stored)};
        EDT_TRY_CTX(edt_hparams_override_yaml_text(hp, text, err), err, "%s: edt/config", prefix);
        if (named && strcmp(hp->name, model_name) != 0) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "--model_name=%s, but %s was trained as %s; leave --model_name out", model_name,
                     prefix, hp->name);
        }
    }
    EDT_TRY_CTX(edt_hparams_override(hp, hparams != NULL ? hparams : "", err), err, "--hparams");
    EDT_TRY(edt_labels_resolve(hp, err));
    EDT_TRY(edt_hparams_check(hp, err));
    *out_prefix = prefix;
    return EDT_OK;
}

const char *edt_model_config_class_name(const edt_hparams *hp, int64_t class_id,
                                        char buffer[static 32])
{
    const edt_label_map *map = &hp->label_map;
    if (map->n == 0 && hp->num_classes == COCO_CLASSES) {
        map = edt_labels_predefined("coco");
    }
    const char *name = edt_labels_find(map, class_id);
    if (name == NULL) {
        (void)snprintf(buffer, 32, "class %" PRId64, class_id);
        name = buffer;
    }
    return name;
}
