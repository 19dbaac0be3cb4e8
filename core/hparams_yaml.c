// Hyper-parameters from and to YAML. Reading follows PyYAML's view of YAML 1.1, so that a file
// means here what it means to the reference; writing gives sorted keys with an indent of 4.
#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hparams_priv.h"
#include "core/strbuf.h"
#include "core/utf8.h"
#include "core/yaml.h"

static bool tag_ends(const edt_yaml_node *node, const char *suffix)
{
    const size_t n_tag = node->tag == NULL ? 0 : strlen(node->tag), n = strlen(suffix);
    return n_tag >= n && strcmp(node->tag + n_tag - n, suffix) == 0;
}

static edt_status from_node(const edt_yaml_node *node, edt_arena *arena, edt_error *err,
                            edt_hvalue *out_value)
{
    edt_hvalue v = {.line = node->line};
    if (node->kind == EDT_YAML_SCALAR) {
        const bool typed =
            node->tag != NULL && !tag_ends(node, ":str") && strcmp(node->tag, "!") != 0;
        if (node->plain || typed) {
            edt_hvalue_resolve_yaml(node->text, &v);
        } else {
            v.kind = EDT_HV_TEXT;
            v.raw = node->text;
            v.text = node->text;
        }
        v.line = node->line;
        *out_value = v;
        return EDT_OK;
    }
    const bool is_map = node->kind == EDT_YAML_MAP;
    const int per_item = is_map ? 2 : 1;
    v.kind = is_map ? EDT_HV_MAP : tag_ends(node, "python/tuple") ? EDT_HV_TUPLE : EDT_HV_LIST;
    v.raw = is_map ? "a YAML map" : "a YAML list";
    v.n = node->n;
    v.items = edt_arena_calloc(arena, (size_t)node->n * (size_t)per_item, sizeof *v.items);
    if (v.items == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
    }
    for (int i = 0; i < node->n; ++i) {
        if (is_map) {
            EDT_TRY(from_node(node->keys[i], arena, err, &v.items[2 * i]));
        }
        EDT_TRY(from_node(node->values[i], arena, err, &v.items[per_item * i + per_item - 1]));
    }
    *out_value = v;
    return EDT_OK;
}

static edt_status apply_root(edt_hparams *hp, const edt_yaml_node *root, edt_arena *scratch,
                             edt_error *err)
{
    if (root == NULL) {
        return EDT_OK;
    }
    if (root->kind != EDT_YAML_MAP) {
        EDT_FAIL(err, EDT_ERR_USAGE, "line %d: a map of hparams (key: value) is expected",
                 root->line);
    }
    for (int i = 0; i < root->n; ++i) {
        const edt_yaml_node *key = root->keys[i];
        if (key->kind != EDT_YAML_SCALAR) {
            EDT_FAIL(err, EDT_ERR_USAGE, "line %d: the name of an hparam is expected",
                     key->line);
        }
        edt_hvalue value;
        EDT_TRY(from_node(root->values[i], scratch, err, &value));
        EDT_TRY(edt_hparams_assign(hp, key->text, &value, err));
    }
    return EDT_OK;
}

static edt_status apply_and_release(edt_hparams *hp, edt_status parsed,
                                    const edt_yaml_node *root, edt_arena *scratch,
                                    edt_error *err)
{
    const edt_hparams saved = *hp;
    edt_status status = parsed;
    if (status == EDT_OK) {
        status = apply_root(hp, root, scratch, err);
        if (status != EDT_OK) {
            const edt_arena arena = hp->arena;
            *hp = saved;
            hp->arena = arena;
        }
    }
    edt_arena_deinit(scratch);
    return status;
}

edt_status edt_hparams_override_yaml_text(edt_hparams *hp, edt_span text, edt_error *err)
{
    edt_arena scratch;
    edt_arena_init(&scratch, EDT_MEM_TEXT, 0);
    const edt_yaml_node *root = NULL;
    const edt_status parsed = edt_yaml_parse(text, &scratch, err, &root);
    return apply_and_release(hp, parsed, root, &scratch, err);
}

edt_status edt_hparams_override_yaml_file(edt_hparams *hp, const char *path, edt_error *err)
{
    edt_arena scratch;
    edt_arena_init(&scratch, EDT_MEM_TEXT, 0);
    const edt_yaml_node *root = NULL;
    const edt_status parsed = edt_yaml_read_file(path, &scratch, err, &root);
    const edt_status status = apply_and_release(hp, parsed, root, &scratch, err);
    if (parsed == EDT_OK && status != EDT_OK) {
        return edt_error_add_context(err, status, "%s", path);
    }
    return status;
}

static void put(edt_strbuf *w, const char *text)
{
    edt_strbuf_puts(w, text);
}

static void put_bytes(edt_strbuf *w, const char *bytes, size_t n)
{
    edt_strbuf_append(w, bytes, n);
}

static void put_number(edt_strbuf *w, double x)
{
    if (isnan(x)) {
        put(w, "null");
        return;
    }
    char digits[32];
    const size_t n = edt_format_f64(x, digits);
    // YAML 1.1 sees a float only with a dot.
    const char *e = memchr(digits, 'e', n);
    const size_t n_mantissa = e != NULL ? (size_t)(e - digits) : n;
    put_bytes(w, digits, n_mantissa);
    put(w, memchr(digits, '.', n_mantissa) == NULL ? ".0" : "");
    put_bytes(w, digits + n_mantissa, n - n_mantissa);
}

static void put_text(edt_strbuf *w, const char *text)
{
    edt_hvalue v;
    edt_hvalue_resolve_yaml(text, &v);
    bool plain = v.kind == EDT_HV_TEXT && (isalpha((unsigned char)text[0]) || text[0] == '/');
    bool printable = true;
    for (const unsigned char *p = (const unsigned char *)text; *p != '\0'; ++p) {
        plain = plain && (isalnum(*p) || strchr("_-./", *p) != NULL);
        printable = printable && *p >= 0x20 && *p < 0x7F;
    }
    if (plain) {
        put(w, text);
        return;
    }
    put(w, printable ? "'" : "\"");
    for (const char *p = text; *p != '\0';) {
        uint32_t code = (uint8_t)*p;
        const size_t n = edt_utf8_decode(p, strlen(p), &code);
        if (printable) {
            put(w, *p == '\'' ? "''" : (char[]){*p, '\0'});
        } else if (code < 0x20 || code >= 0x7F) {
            edt_strbuf_printf(w, code > 0xFFFF ? "\\U%08x" : "\\u%04x", code);
        } else {
            put(w, *p == '"' || *p == '\\' ? "\\" : "");
            put_bytes(w, p, 1);
        }
        p += n > 0 ? n : 1;
    }
    put(w, printable ? "'" : "\"");
}

static void put_ratios(edt_strbuf *w, const edt_aspect_list *list)
{
    put(w, "[");
    for (int i = 0; i < list->n; ++i) {
        const double ax = list->ax[i], ay = list->ay[i];
        put(w, i > 0 ? ", " : "");
        // The square may be off by one unit; its neighbours are tried before a pair is written.
        double r = ax * ax;
        for (int k = 0; k < 3 && sqrt(r) != ax; ++k) {
            r = k == 0 ? nextafter(ax * ax, 0) : k == 1 ? nextafter(ax * ax, INFINITY) : NAN;
        }
        char short_form[40];
        (void)snprintf(short_form, sizeof short_form, "%.15g", r);
        const double rounded = strtod(short_form, NULL);
        r = sqrt(rounded) == ax ? rounded : r;
        if (sqrt(r) == ax && 1 / ax == ay) {
            put_number(w, r);
        } else {
            put(w, "[");
            put_number(w, ax);
            put(w, ", ");
            put_number(w, ay);
            put(w, "]");
        }
    }
    put(w, "]");
}

static void put_labels(edt_strbuf *w, const edt_label_map *map)
{
    if (map->source != NULL) {
        put_text(w, map->source);
        return;
    }
    if (map->n == 0) {
        put(w, "null");
    }
    for (int i = 0; i < map->n; ++i) {
        char id[32];
        (void)snprintf(id, sizeof id, "\n    %lld: ", (long long)map->entries[i].id);
        put(w, id);
        put_text(w, map->entries[i].name);
    }
}

static void put_value(edt_strbuf *w, const edt_hrow *row, const edt_hparams *hp)
{
    const void *field = (const char *)hp + row->offset;
    char text[64];
    switch (row->type) {
    case EDT_HROW_BOOL: put(w, *(const bool *)field ? "true" : "false"); break;
    case EDT_HROW_INT: {
        const int64_t i = *(const int64_t *)field;
        (void)snprintf(text, sizeof text, "%lld", (long long)i);
        put(w, row->optional && (double)i == row->none_number ? "null" : text);
        break;
    }
    case EDT_HROW_FLOAT: {
        const double x = *(const double *)field;
        if (row->optional && x == row->none_number && strcmp(row->default_text, "None") == 0) {
            put(w, "null");
        } else {
            put_number(w, x);
        }
        break;
    }
    case EDT_HROW_TEXT: {
        const char *s = *(const char *const *)field;
        if (s == NULL) {
            put(w, "null");
        } else {
            put_text(w, s);
        }
        break;
    }
    case EDT_HROW_TEXTS: {
        const edt_text_list *list = field;
        put(w, "[");
        for (int i = 0; i < list->n; ++i) {
            put(w, i > 0 ? ", " : "");
            put_text(w, list->v[i]);
        }
        put(w, "]");
        break;
    }
    case EDT_HROW_FLOATS: {
        const edt_f64_list *list = field;
        put(w, list->n > 1 ? "[" : "");
        for (int i = 0; i < list->n; ++i) {
            put(w, i > 0 ? ", " : "");
            put_number(w, list->v[i]);
        }
        put(w, list->n > 1 ? "]" : list->n == 0 ? "null" : "");
        break;
    }
    case EDT_HROW_SIZE: {
        const edt_hw *size = field;
        if (size->h == size->w) {
            (void)snprintf(text, sizeof text, "%lld", (long long)size->h);
        } else {
            (void)snprintf(text, sizeof text, "%lldx%lld", (long long)size->w,
                           (long long)size->h);
        }
        put(w, size->h == 0 ? "null" : text);
        break;
    }
    case EDT_HROW_ASPECTS: put_ratios(w, field); break;
    case EDT_HROW_LABELS: put_labels(w, field); break;
    case EDT_HROW_FPN: edt_fpn_config_write(field, w); break;
    case EDT_HROW_BACKBONE: edt_backbone_config_write(field, w); break;
    }
}

static bool is_several_lines(const edt_hrow *row, const edt_hparams *hp)
{
    switch (row->type) {
    case EDT_HROW_LABELS: return hp->label_map.source == NULL && hp->label_map.n > 0;
    case EDT_HROW_FPN: return hp->fpn_config.n > 0 || hp->fpn_config.weight_method != NULL;
    case EDT_HROW_BACKBONE: return hp->backbone_config.n > 0;
    default: return false;
    }
}

static int compare_rows(const void *a, const void *b)
{
    return strcmp((*(const edt_hrow *const *)a)->name, (*(const edt_hrow *const *)b)->name);
}

edt_status edt_hparams_to_yaml(const edt_hparams *hp, edt_arena *arena, edt_error *err,
                               const char **out_text)
{
    int n = 0;
    while (edt_hrow_get(n) != NULL) {
        ++n;
    }
    edt_strbuf w = {0};
    const edt_hrow **sorted = edt_arena_calloc(arena, (size_t)n, sizeof *sorted);
    if (sorted == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
    }
    for (int i = 0; i < n; ++i) {
        sorted[i] = edt_hrow_get(i);
    }
    qsort(sorted, (size_t)n, sizeof *sorted, compare_rows);
    const char *group = "";
    size_t n_group = 0;
    for (int i = 0; i < n; ++i) {
        const char *name = sorted[i]->name;
        const char *dot = strchr(name, '.');
        if (dot != NULL &&
            (n_group != (size_t)(dot - name) || strncmp(group, name, n_group) != 0)) {
            group = name;
            n_group = (size_t)(dot - name);
            put_bytes(&w, group, n_group);
            put(&w, ":\n");
        }
        put(&w, dot != NULL ? "    " : "");
        put(&w, dot != NULL ? dot + 1 : name);
        put(&w, is_several_lines(sorted[i], hp) ? ":" : ": ");
        put_value(&w, sorted[i], hp);
        put(&w, "\n");
    }
    const char *text = w.failed ? NULL : edt_arena_strndup(arena, w.text, w.n_bytes);
    edt_strbuf_deinit(&w);
    if (text == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for hparams");
    }
    *out_text = text;
    return EDT_OK;
}
