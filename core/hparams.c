// The table as a whole: defaults, overrides from text, copies and the rules between fields.
// Storing a single value is hparams_store.c's.
#include "core/hparams.h"

#include <ctype.h>
#include <string.h>

#include "core/hparams_priv.h"

static void *field_at(edt_hparams *hp, const edt_hrow *row)
{
    return (char *)hp + row->offset;
}

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
}

// Text of before stays in the arena, so the old values are whole again.
static void restore(edt_hparams *hp, const edt_hparams *saved)
{
    const edt_arena arena = hp->arena;
    *hp = *saved;
    hp->arena = arena;
}

static edt_status set_text(edt_hparams *hp, const char *key, const char *text, bool star_lists,
                           edt_error *err)
{
    edt_arena scratch;
    edt_arena_init(&scratch, EDT_MEM_TEXT, 1024);
    edt_hvalue value;
    edt_status status = edt_hvalue_parse(text, star_lists, &scratch, err, &value);
    if (status == EDT_OK) {
        status = edt_hparams_assign(hp, key, &value, err);
    }
    edt_arena_deinit(&scratch);
    return status;
}

edt_status edt_hparams_set(edt_hparams *hp, const char *key, const char *value, edt_error *err)
{
    const edt_hparams saved = *hp;
    const edt_status status = set_text(hp, key, value, true, err);
    if (status != EDT_OK) {
        restore(hp, &saved);
    }
    return status;
}

// Every piece is checked before any is applied: a list written with commas is told as such.
static edt_status check_pairs(const char *text, edt_error *err)
{
    while (*text != '\0') {
        const size_t n = strcspn(text, ",");
        const char *equals = memchr(text, '=', n);
        if (n > 0 && (equals == NULL ||
                      memchr(equals + 1, '=', n - (size_t)(equals + 1 - text)) != NULL)) {
            EDT_FAIL(
                err, EDT_ERR_USAGE,
                "hparams: '%.*s' is not of the form key=value; pairs are separated by commas, "
                "so a list is written a*b*c or in a YAML file",
                (int)(n < 200 ? n : 200), text);
        }
        text += n + (text[n] == ',');
    }
    return EDT_OK;
}

static edt_status override_pairs(edt_hparams *hp, char *text, edt_error *err)
{
    EDT_TRY(check_pairs(text, err));
    while (text != NULL) {
        char *piece = text;
        text = strchr(text, ',');
        if (text != NULL) {
            *text++ = '\0';
        }
        char *equals = strchr(piece, '=');
        if (equals == NULL) {
            continue;
        }
        *equals = '\0';
        while (isspace((unsigned char)*piece)) {
            ++piece;
        }
        for (char *end = equals; end > piece && isspace((unsigned char)end[-1]); --end) {
            end[-1] = '\0';
        }
        EDT_TRY(set_text(hp, piece, equals + 1, true, err));
    }
    return EDT_OK;
}

edt_status edt_hparams_override(edt_hparams *hp, const char *text, edt_error *err)
{
    const size_t n = strlen(text);
    if (n == 0) {
        return EDT_OK;
    }
    if (strchr(text, '=') == NULL) {
        if (n > 5 && strcmp(text + n - 5, ".yaml") == 0) {
            return edt_hparams_override_yaml_file(hp, text, err);
        }
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "hparams '%.200s' is neither key=value,key2=value2 nor the path of a *.yaml file",
            text);
    }
    char *copy = edt_mem_strdup(EDT_MEM_TEXT, text);
    if (copy == NULL) {
        return no_memory(err);
    }
    const edt_hparams saved = *hp;
    const edt_status status = override_pairs(hp, copy, err);
    if (status != EDT_OK) {
        restore(hp, &saved);
    }
    edt_mem_free(copy);
    return status;
}

edt_status edt_hparams_init(edt_hparams *hp, edt_error *err)
{
    *hp = (edt_hparams){0};
    edt_arena_init(&hp->arena, EDT_MEM_ARENA, 4096);
    const edt_hrow *row;
    for (int i = 0; (row = edt_hrow_get(i)) != NULL; ++i) {
        const edt_status status = set_text(hp, row->name, row->default_text, false, err);
        if (status != EDT_OK) {
            edt_hparams_deinit(hp);
            return status;
        }
    }
    return EDT_OK;
}

void edt_hparams_deinit(edt_hparams *hp)
{
    if (hp != NULL) {
        edt_arena_deinit(&hp->arena);
        *hp = (edt_hparams){0};
    }
}

// The labels' array with its texts in `arena`.
static edt_status copy_labels(const edt_label_map *from, edt_arena *arena, edt_label_map *to)
{
    edt_label_entry *entries = edt_arena_calloc(arena, (size_t)from->n, sizeof *entries);
    bool ok = entries != NULL;
    for (int i = 0; ok && i < from->n; ++i) {
        entries[i] = (edt_label_entry){from->entries[i].id,
                                       edt_arena_strdup(arena, from->entries[i].name)};
        ok = entries[i].name != NULL;
    }
    *to = (edt_label_map){.n = from->n, .entries = from->n > 0 ? entries : NULL};
    if (ok && from->source != NULL) {
        to->source = edt_arena_strdup(arena, from->source);
        ok = to->source != NULL;
    }
    return ok ? EDT_OK : EDT_ERR_NOMEM;
}

edt_status edt_hparams_copy(const edt_hparams *from, edt_error *err, edt_hparams *out_hp)
{
    edt_hparams hp = *from;
    edt_arena_init(&hp.arena, EDT_MEM_ARENA, 4096);
    bool ok = true;
    const edt_hrow *row;
    for (int i = 0; ok && (row = edt_hrow_get(i)) != NULL; ++i) {
        void *field = field_at(&hp, row);
        if (row->type == EDT_HROW_TEXT) {
            const char **text = field;
            if (*text != NULL) {
                *text = edt_arena_strdup(&hp.arena, *text);
                ok = *text != NULL;
            }
        } else if (row->type == EDT_HROW_TEXTS) {
            edt_text_list *list = field;
            for (int k = 0; ok && k < list->n; ++k) {
                list->v[k] = edt_arena_strdup(&hp.arena, list->v[k]);
                ok = list->v[k] != NULL;
            }
        } else if (row->type == EDT_HROW_FPN) {
            ok = edt_fpn_config_copy(&hp.arena, field);
        } else if (row->type == EDT_HROW_BACKBONE) {
            ok = edt_backbone_config_copy(&hp.arena, field);
        } else if (row->type == EDT_HROW_LABELS) {
            edt_label_map *map = field;
            const edt_label_map old = *map;
            ok = copy_labels(&old, &hp.arena, map) == EDT_OK;
        }
    }
    if (!ok) {
        edt_arena_deinit(&hp.arena);
        return no_memory(err);
    }
    *out_hp = hp;
    return EDT_OK;
}

static const char *type_name(edt_hrow_type type)
{
    switch (type) {
    case EDT_HROW_BOOL: return "bool";
    case EDT_HROW_INT: return "int";
    case EDT_HROW_FLOAT: return "number";
    case EDT_HROW_TEXT: return "text";
    case EDT_HROW_SIZE: return "size";
    case EDT_HROW_FLOATS: return "numbers";
    case EDT_HROW_TEXTS: return "texts";
    case EDT_HROW_ASPECTS: return "ratios";
    case EDT_HROW_LABELS: return "labels";
    case EDT_HROW_FPN: return "feature network";
    case EDT_HROW_BACKBONE: return "blocks";
    }
    return "";
}

bool edt_hparams_info(int i_row, edt_hparam_info *out_info)
{
    const edt_hrow *row = edt_hrow_get(i_row);
    if (row == NULL) {
        return false;
    }
    *out_info =
        (edt_hparam_info){row->name, type_name(row->type), row->default_text, row->help};
    return true;
}

edt_status edt_hparams_check(const edt_hparams *hp, edt_error *err)
{
    const int64_t n_levels = hp->max_level - hp->min_level + 1;
    if (n_levels < 2 || n_levels > EDT_HPARAMS_MAX_LEVELS) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "min_level %ld and max_level %ld give %ld levels; allowed: 2 to %d",
                 hp->min_level, hp->max_level, n_levels, EDT_HPARAMS_MAX_LEVELS);
    }
    if (hp->min_level > 5) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "min_level %ld is beyond the backbone's last level; allowed: 1 to 5",
                 hp->min_level);
    }
    const int64_t least = (int64_t)1 << (hp->max_level - 1);
    if (hp->image_size.h <= least || hp->image_size.w <= least) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "image_size %ldx%ld (WxH) is too small for max_level %ld: both sides must "
                 "exceed %ld",
                 hp->image_size.w, hp->image_size.h, hp->max_level, least);
    }
    if (hp->anchor_scale.n != 1 && hp->anchor_scale.n != n_levels) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "anchor_scale has %d values; allowed: 1, or %ld (one per level %ld to %ld)",
                 hp->anchor_scale.n, n_levels, hp->min_level, hp->max_level);
    }
    EDT_TRY(edt_fpn_config_check(hp, err));
    if (hp->positives_momentum >= 1.0) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "positives_momentum is %g: the moving average of the positives would stay at 0, "
            "which losses are divided by; allowed: below 1",
            hp->positives_momentum);
    }
    if ((hp->mean_rgb.n != 1 && hp->mean_rgb.n != 3) ||
        (hp->stddev_rgb.n != 1 && hp->stddev_rgb.n != 3)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "mean_rgb has %d and stddev_rgb %d values; allowed: 1 or 3", hp->mean_rgb.n,
                 hp->stddev_rgb.n);
    }
    if (hp->jitter_min > hp->jitter_max) {
        EDT_FAIL(err, EDT_ERR_USAGE, "jitter_min %g is above jitter_max %g", hp->jitter_min,
                 hp->jitter_max);
    }
    for (int i = 0; i < hp->heads.n; ++i) {
        for (int k = 0; k < i; ++k) {
            if (strcmp(hp->heads.v[i], hp->heads.v[k]) == 0) {
                EDT_FAIL(err, EDT_ERR_USAGE, "heads lists %s twice", hp->heads.v[i]);
            }
        }
    }
    for (int i = 0; i < hp->label_map.n; ++i) {
        const edt_label_entry *label = &hp->label_map.entries[i];
        if (label->id < 1 || label->id > hp->num_classes) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "label_map names class %ld ('%s') but num_classes is %ld; allowed ids: 1 "
                     "to %ld",
                     label->id, label->name, hp->num_classes, hp->num_classes);
        }
    }
    if (hp->lr_warmup_epoch > hp->num_epochs && hp->num_epochs > 0) {
        EDT_FAIL(err, EDT_ERR_USAGE, "lr_warmup_epoch %g is longer than num_epochs %g",
                 hp->lr_warmup_epoch, hp->num_epochs);
    }
    return EDT_OK;
}

bool edt_hparams_has_head(const edt_hparams *hp, const char *name)
{
    for (int i = 0; i < hp->heads.n; ++i) {
        if (strcmp(hp->heads.v[i], name) == 0) {
            return true;
        }
    }
    return false;
}
