// Checking and storing of one hyper-parameter: an untyped value (hparams_value.c) is held
// against its row (hparams_table.c), and a refusal says what is allowed.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hparams_priv.h"
#include "core/nearest.h"
#include "core/utf8.h"

static void *field_at(edt_hparams *hp, const edt_hrow *row)
{
    return (char *)hp + row->offset;
}

static const char *kind_name(const edt_hvalue *v)
{
    switch (v->kind) {
    case EDT_HV_NONE: return "None";
    case EDT_HV_BOOL: return "a boolean";
    case EDT_HV_INT: return "an integer";
    case EDT_HV_FLOAT: return "a number";
    case EDT_HV_TEXT: return "text";
    case EDT_HV_LIST: return "a list";
    case EDT_HV_TUPLE: return "a tuple";
    case EDT_HV_MAP: return "a map";
    }
    return "unknown";
}

// Writes "a | b | c" as "a, b, c" and similar; the words after "allowed: ".
static void describe_allowed(const edt_hrow *row, char *out, size_t n_out)
{
    char range[96];
    if (row->lo > -1e300 && row->hi < 1e15) {
        const double lo = row->lo < 1e-300 && row->lo > 0 ? 0 : row->lo;
        (void)snprintf(range, sizeof range, " %s %g to %g", lo < row->lo ? "above" : "from", lo,
                       row->hi);
    } else if (row->lo > -1e300) {
        (void)snprintf(range, sizeof range, "%s",
                       row->lo > 0 && row->lo < 1e-300 ? " above 0" : "");
        if (range[0] == '\0') {
            (void)snprintf(range, sizeof range, " of at least %g", row->lo);
        }
    } else {
        range[0] = '\0';
    }
    const char *none = row->optional ? ", or None" : "";
    switch (row->type) {
    case EDT_HROW_BOOL: (void)snprintf(out, n_out, "true or false"); break;
    case EDT_HROW_INT: (void)snprintf(out, n_out, "an integer%s%s", range, none); break;
    case EDT_HROW_FLOAT: (void)snprintf(out, n_out, "a number%s%s", range, none); break;
    case EDT_HROW_FLOATS:
        (void)snprintf(out, n_out, "a number or a list (a*b*c) of at most %d numbers%s%s",
                       EDT_HPARAMS_MAX_LIST, range, none);
        break;
    case EDT_HROW_ASPECTS:
        (void)snprintf(
            out, n_out,
            "a list (1.0*2.0*0.5) of 1 to %d positive ratios, in YAML also of [x, y] pairs",
            EDT_HPARAMS_MAX_LIST);
        break;
    case EDT_HROW_SIZE:
        (void)snprintf(out, n_out,
                       "one side (640), WIDTHxHEIGHT (1280x720) or (height, width), "
                       "sides from 1 to 65535%s",
                       none);
        break;
    case EDT_HROW_LABELS:
        (void)snprintf(out, n_out, "{id: 'name'}, coco, voc, waymo, a *.yaml file, or None");
        break;
    case EDT_HROW_FPN:
        (void)snprintf(
            out, n_out,
            "None or, in YAML, {nodes: [{feat_level: 6, inputs_offsets: [3, 4]}, ...], "
            "weight_method: sum}");
        break;
    case EDT_HROW_BACKBONE:
        (void)snprintf(
            out, n_out,
            "None, block strings (r1_k3_s11_e1_i32_o16*r2_...) or, in YAML, {blocks: "
            "[...]} of block strings or records");
        break;
    case EDT_HROW_TEXT:
    case EDT_HROW_TEXTS:
        if (row->choices == NULL) {
            (void)snprintf(out, n_out, "UTF-8 text%s", none);
            break;
        }
        size_t n = 0;
        for (const char *p = row->choices; *p != '\0' && n + 3 < n_out; ++p) {
            out[n++] = *p == '|' ? ',' : *p;
            if (*p == '|') {
                out[n++] = ' ';
            }
        }
        (void)snprintf(out + n, n_out - n, "%s", none);
        break;
    }
}

edt_status edt_hrow_refuse(const edt_hrow *row, const edt_hvalue *v, edt_error *err)
{
    char allowed[512], line[32] = "";
    describe_allowed(row, allowed, sizeof allowed);
    if (v->line > 0) {
        (void)snprintf(line, sizeof line, "line %d: ", v->line);
    }
    // A list as Python writes it, on the command line.
    const bool is_list = v->line <= 0 && v->raw[0] == '[';
    EDT_FAIL(err, EDT_ERR_USAGE, "%shparam %s: %.200s%s%s is not allowed; allowed: %s%s", line,
             row->name, v->raw[0] == '\0' ? "empty text" : v->raw,
             v->kind == EDT_HV_NONE ? "" : ", ", v->kind == EDT_HV_NONE ? "" : kind_name(v),
             allowed, is_list ? " (outside of YAML a list is written a*b*c, without [])" : "");
}

static edt_status no_memory(edt_error *err)
{
    EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
}

// Numbers that a dialect took for text (4e-5 in YAML, 1e400 apart) still are numbers; 010 is
// not.
static bool as_number(const edt_hvalue *v, double *out_number)
{
    if (v->kind == EDT_HV_INT || v->kind == EDT_HV_FLOAT) {
        *out_number = v->f;
        return isfinite(v->f);
    }
    if (v->kind != EDT_HV_TEXT || strlen(v->text) > 64) {
        return false;
    }
    const char *s = v->text + (v->text[0] == '-' || v->text[0] == '+');
    const size_t n = strspn(s, "0123456789.eE+-");
    if (s[n] != '\0' || (s[0] == '0' && isdigit((unsigned char)s[1])) ||
        (!isdigit((unsigned char)s[0]) && s[0] != '.')) {
        return false;
    }
    char *end;
    *out_number = strtod(v->text, &end);
    return *end == '\0' && isfinite(*out_number);
}

static bool in_range(const edt_hrow *row, double x)
{
    return x >= row->lo && x <= row->hi;
}

bool edt_hrow_is_choice(const char *choices, const char *text)
{
    if (choices == NULL) {
        return true;
    }
    if (strchr(text, '|') != NULL) {
        return false;
    }
    const size_t n = strlen(text);
    for (const char *p = choices; n > 0; ++p) {
        if (strncmp(p, text, n) == 0 && (p[n] == '|' || p[n] == '\0')) {
            return true;
        }
        p = strchr(p, '|');
        if (p == NULL) {
            break;
        }
    }
    return false;
}

const char *edt_hvalue_as_text(const edt_hvalue *v)
{
    switch (v->kind) {
    case EDT_HV_TEXT: return edt_utf8_valid(v->text, strlen(v->text)) ? v->text : NULL;
    case EDT_HV_BOOL:
    case EDT_HV_INT:
    case EDT_HV_FLOAT: return v->raw;
    default: return NULL;
    }
}

static edt_status store_number(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                               edt_error *err)
{
    double x = row->none_number;
    if (v->kind != EDT_HV_NONE) {
        // 0 is how the reference's users write None for a limit.
        if (!as_number(v, &x) || (!in_range(row, x) && !(x == 0 && row->optional))) {
            return edt_hrow_refuse(row, v, err);
        }
        if (x == 0 && row->optional && !in_range(row, x)) {
            x = row->none_number;
        }
    }
    if (row->type == EDT_HROW_FLOAT) {
        *(double *)field_at(hp, row) = x;
        return EDT_OK;
    }
    // Every integer range lies within the exact integers of a double.
    if (x != floor(x)) {
        return edt_hrow_refuse(row, v, err);
    }
    *(int64_t *)field_at(hp, row) = (int64_t)x;
    return EDT_OK;
}

static edt_status store_numbers(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                                edt_error *err)
{
    edt_f64_list list = {0};
    const bool is_list = v->kind == EDT_HV_LIST || v->kind == EDT_HV_TUPLE;
    const edt_hvalue *items = is_list ? v->items : v;
    list.n = is_list ? v->n : v->kind == EDT_HV_NONE ? 0 : 1;
    if (list.n > EDT_HPARAMS_MAX_LIST || (list.n == 0 && !row->optional)) {
        return edt_hrow_refuse(row, v, err);
    }
    for (int i = 0; i < list.n; ++i) {
        if (!as_number(&items[i], &list.v[i]) || !in_range(row, list.v[i])) {
            return edt_hrow_refuse(row, v, err);
        }
    }
    *(edt_f64_list *)field_at(hp, row) = list;
    return EDT_OK;
}

static edt_status store_aspects(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                                edt_error *err)
{
    edt_aspect_list list = {0};
    const bool is_list = v->kind == EDT_HV_LIST || v->kind == EDT_HV_TUPLE;
    const edt_hvalue *items = is_list ? v->items : v;
    list.n = is_list ? v->n : 1;
    if (list.n < 1 || list.n > EDT_HPARAMS_MAX_LIST) {
        return edt_hrow_refuse(row, v, err);
    }
    for (int i = 0; i < list.n; ++i) {
        const edt_hvalue *item = &items[i];
        double *ax = &list.ax[i], *ay = &list.ay[i];
        double r;
        if (as_number(item, &r) && in_range(row, r)) {
            *ax = sqrt(r);
            *ay = 1 / *ax;
        } else if ((item->kind != EDT_HV_LIST && item->kind != EDT_HV_TUPLE) || item->n != 2 ||
                   !as_number(&item->items[0], ax) || !as_number(&item->items[1], ay) ||
                   !in_range(row, *ax) || !in_range(row, *ay)) {
            return edt_hrow_refuse(row, v, err);
        }
    }
    *(edt_aspect_list *)field_at(hp, row) = list;
    return EDT_OK;
}

static edt_status store_text(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                             edt_error *err)
{
    const char *text = edt_hvalue_as_text(v);
    const bool none =
        v->kind == EDT_HV_NONE || (text != NULL && text[0] == '\0' && row->optional);
    if (none ? !row->optional
             : (text == NULL || text[0] == '\0' || !edt_hrow_is_choice(row->choices, text))) {
        return edt_hrow_refuse(row, v, err);
    }
    char *copy = NULL;
    if (!none && (copy = edt_arena_strdup(&hp->arena, text)) == NULL) {
        return no_memory(err);
    }
    *(const char **)field_at(hp, row) = copy;
    return EDT_OK;
}

static edt_status store_texts(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                              edt_error *err)
{
    edt_text_list list = {0};
    const bool is_list = v->kind == EDT_HV_LIST || v->kind == EDT_HV_TUPLE;
    const edt_hvalue *items = is_list ? v->items : v;
    list.n = is_list ? v->n : 1;
    if (list.n < 1 || list.n > EDT_HPARAMS_MAX_LIST) {
        return edt_hrow_refuse(row, v, err);
    }
    for (int i = 0; i < list.n; ++i) {
        const char *text = edt_hvalue_as_text(&items[i]);
        if (text == NULL || !edt_hrow_is_choice(row->choices, text)) {
            return edt_hrow_refuse(row, v, err);
        }
        list.v[i] = edt_arena_strdup(&hp->arena, text);
        if (list.v[i] == NULL) {
            return no_memory(err);
        }
    }
    *(edt_text_list *)field_at(hp, row) = list;
    return EDT_OK;
}

// "WxH" in any case; one number n is n x n.
static bool parse_size_text(const char *text, edt_hw *out_size)
{
    int64_t sides[2] = {0, 0};
    for (int i = 0; i < 2; ++i) {
        if (!isdigit((unsigned char)*text)) {
            return false;
        }
        while (isdigit((unsigned char)*text)) {
            sides[i] = sides[i] * 10 + (*text++ - '0');
            if (sides[i] > 65535) {
                return false;
            }
        }
        if (i == 0 && *text != 'x' && *text != 'X') {
            sides[1] = sides[0];
            break;
        }
        text += i == 0;
    }
    *out_size = (edt_hw){.h = sides[1], .w = sides[0]};
    return *text == '\0';
}

static edt_status store_size(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                             edt_error *err)
{
    edt_hw size = {0};
    bool ok = true;
    if (v->kind == EDT_HV_INT) {
        size = (edt_hw){v->i, v->i};
    } else if (v->kind == EDT_HV_TUPLE && v->n == 2 && v->items[0].kind == EDT_HV_INT &&
               v->items[1].kind == EDT_HV_INT) {
        size = (edt_hw){v->items[0].i, v->items[1].i};
    } else if (v->kind == EDT_HV_TEXT) {
        ok = parse_size_text(v->text, &size);
    } else {
        ok = v->kind == EDT_HV_NONE && row->optional;
    }
    const bool none = size.h == 0 && size.w == 0 && row->optional;
    if (!ok || (!none && (size.h < 1 || size.w < 1 || size.h > 65535 || size.w > 65535))) {
        return edt_hrow_refuse(row, v, err);
    }
    *(edt_hw *)field_at(hp, row) = size;
    return EDT_OK;
}

static int compare_labels(const void *a, const void *b)
{
    const edt_label_entry *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static edt_status store_labels(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                               edt_error *err)
{
    edt_label_map map = {0};
    const char *text = edt_hvalue_as_text(v);
    if (v->kind == EDT_HV_TEXT && text != NULL) {
        if (text[0] != '\0' && (map.source = edt_arena_strdup(&hp->arena, text)) == NULL) {
            return no_memory(err);
        }
    } else if (v->kind == EDT_HV_MAP) {
        edt_label_entry *entries = edt_arena_calloc(&hp->arena, (size_t)v->n, sizeof *entries);
        if (entries == NULL) {
            return no_memory(err);
        }
        for (int i = 0; i < v->n; ++i) {
            const edt_hvalue *key = &v->items[2 * i];
            const char *name = edt_hvalue_as_text(&v->items[2 * i + 1]);
            if (key->kind != EDT_HV_INT || key->i < 0 || name == NULL) {
                return edt_hrow_refuse(row, v, err);
            }
            int at = 0;
            while (at < map.n && entries[at].id != key->i) {
                ++at;
            }
            map.n += at == map.n;
            entries[at] = (edt_label_entry){key->i, edt_arena_strdup(&hp->arena, name)};
            if (entries[at].name == NULL) {
                return no_memory(err);
            }
        }
        qsort(entries, (size_t)map.n, sizeof *entries, compare_labels);
        map.entries = map.n > 0 ? entries : NULL;
    } else if (v->kind != EDT_HV_NONE) {
        return edt_hrow_refuse(row, v, err);
    }
    *(edt_label_map *)field_at(hp, row) = map;
    return EDT_OK;
}

static edt_status store(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *v,
                        edt_error *err)
{
    if (v->kind == EDT_HV_NONE && !row->optional) {
        return edt_hrow_refuse(row, v, err);
    }
    switch (row->type) {
    case EDT_HROW_BOOL:
        if (v->kind != EDT_HV_BOOL && !(v->kind == EDT_HV_INT && (v->i == 0 || v->i == 1))) {
            return edt_hrow_refuse(row, v, err);
        }
        *(bool *)field_at(hp, row) = v->i != 0;
        return EDT_OK;
    case EDT_HROW_INT:
    case EDT_HROW_FLOAT: return store_number(hp, row, v, err);
    case EDT_HROW_TEXT: return store_text(hp, row, v, err);
    case EDT_HROW_SIZE: return store_size(hp, row, v, err);
    case EDT_HROW_FLOATS: return store_numbers(hp, row, v, err);
    case EDT_HROW_TEXTS: return store_texts(hp, row, v, err);
    case EDT_HROW_ASPECTS: return store_aspects(hp, row, v, err);
    case EDT_HROW_LABELS: return store_labels(hp, row, v, err);
    case EDT_HROW_FPN: return edt_hparams_store_fpn(hp, row, v, err);
    case EDT_HROW_BACKBONE: return edt_hparams_store_backbone(hp, row, v, err);
    }
    return EDT_ERR_INTERNAL;
}

static const char *row_name(const void *ctx, int i)
{
    (void)ctx;
    const edt_hrow *row = edt_hrow_get(i);
    return row == NULL ? NULL : row->name;
}

static bool is_group(const char *key)
{
    const size_t n = strlen(key);
    const edt_hrow *row;
    for (int i = 0; (row = edt_hrow_get(i)) != NULL; ++i) {
        if (strncmp(row->name, key, n) == 0 && row->name[n] == '.') {
            return true;
        }
    }
    return false;
}

// The row that "fpn_config.weight_method" is a part of; NULL when there is none.
static const edt_hrow *structured_part(const char *key)
{
    const edt_hrow *row;
    for (int i = 0; (row = edt_hrow_get(i)) != NULL; ++i) {
        const size_t n = strlen(row->name);
        if ((row->type == EDT_HROW_FPN || row->type == EDT_HROW_BACKBONE) &&
            strncmp(row->name, key, n) == 0 && key[n] == '.') {
            return row;
        }
    }
    return NULL;
}

static edt_status unknown_key(const char *key, int at_line, edt_error *err)
{
    // Keys that the reference's trainers write into config.yaml beside the hyper-parameters.
    static const char *const trainer_keys[] = {"model_name",
                                               "iterations_per_loop",
                                               "model_dir",
                                               "num_shards",
                                               "num_examples_per_epoch",
                                               "backbone_ckpt",
                                               "ckpt",
                                               "mode",
                                               "profile",
                                               "steps_per_execution",
                                               "val_json_file",
                                               "testdev_dir",
                                               "batch_size",
                                               "debug",
                                               "steps_per_epoch",
                                               "eval_samples",
                                               "tf_random_seed"};
    char line[32] = "";
    if (at_line > 0) {
        (void)snprintf(line, sizeof line, "line %d: ", at_line);
    }
    for (size_t i = 0; i < sizeof trainer_keys / sizeof trainer_keys[0]; ++i) {
        if (strcmp(key, trainer_keys[i]) == 0) {
            EDT_FAIL(
                err, EDT_ERR_USAGE,
                "%s'%s' is not a hyper-parameter but a setting that the reference's trainers "
                "add to config.yaml; remove it here and give it as a program flag",
                line, key);
        }
    }
    char prefix[64];
    const size_t n_prefix = strcspn(key, ".");
    if (key[n_prefix] == '.' && n_prefix < sizeof prefix) {
        memcpy(prefix, key, n_prefix);
        prefix[n_prefix] = '\0';
        if (edt_hrow_find(prefix) != NULL) {
            EDT_FAIL(err, EDT_ERR_USAGE, "%sunknown hparam '%s': '%s' has no parts", line, key,
                     prefix);
        }
    }
    const char *nearest = edt_nearest_name(key, row_name, NULL);
    EDT_FAIL(err, EDT_ERR_USAGE, "%sunknown hparam '%.200s'%s%s%s; --help lists all", line, key,
             nearest != NULL ? "; did you mean '" : "", nearest != NULL ? nearest : "",
             nearest != NULL ? "'?" : "");
}

edt_status edt_hparams_assign(edt_hparams *hp, const char *key, const edt_hvalue *value,
                              edt_error *err)
{
    const edt_hrow *row = edt_hrow_find(key);
    if (row != NULL) {
        return store(hp, row, value, err);
    }
    row = structured_part(key);
    if (row != NULL) {
        edt_hvalue pair[2] = {{.kind = EDT_HV_TEXT, .line = value->line}, *value};
        pair[0].raw = pair[0].text = key + strlen(row->name) + 1;
        const edt_hvalue map = {
            .kind = EDT_HV_MAP, .raw = value->raw, .n = 1, .items = pair, .line = value->line};
        return store(hp, row, &map, err);
    }
    if (!is_group(key)) {
        return unknown_key(key, value->line, err);
    }
    if (value->kind != EDT_HV_MAP) {
        EDT_FAIL(
            err, EDT_ERR_USAGE,
            "hparam %s: %.200s is not allowed; it is a group: set its parts (%s.method=hard)",
            key, value->raw, key);
    }
    for (int i = 0; i < value->n; ++i) {
        const edt_hvalue *part = &value->items[2 * i];
        char dotted[160];
        (void)snprintf(dotted, sizeof dotted, "%s.%.100s", key, part->raw);
        if (part->kind == EDT_HV_TEXT) {
            (void)snprintf(dotted, sizeof dotted, "%s.%.100s", key, part->text);
        }
        EDT_TRY(edt_hparams_assign(hp, dotted, &value->items[2 * i + 1], err));
    }
    return EDT_OK;
}
