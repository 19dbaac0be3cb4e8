// Shared by the hparams files: the table's rows and the untyped values that texts turn into
// before they are checked against a row.
#ifndef EDT_CORE_HPARAMS_PRIV_H
#define EDT_CORE_HPARAMS_PRIV_H

#include "core/hparams.h"
#include "core/strbuf.h"

typedef enum edt_hvalue_kind {
    EDT_HV_NONE,
    EDT_HV_BOOL,
    EDT_HV_INT,
    EDT_HV_FLOAT,
    EDT_HV_TEXT,
    EDT_HV_LIST,
    EDT_HV_TUPLE,
    EDT_HV_MAP,
} edt_hvalue_kind;

typedef struct edt_hvalue {
    edt_hvalue_kind kind;
    const char *raw;          // as written, for messages and for text fields
    const char *text;         // EDT_HV_TEXT
    int64_t i;                // EDT_HV_INT, EDT_HV_BOOL
    double f;                 // EDT_HV_FLOAT, EDT_HV_INT
    int n;                    // list items, or pairs of a map
    struct edt_hvalue *items; // a map holds key, value, key, value ...
    int line;                 // of the YAML file, 0 elsewhere
} edt_hvalue;

// The value of "key=value" by the rules of spec/model.md 5.3 (3 and 4). With `star_lists` text
// with
// '*' is a list. Only memory can fail. Everything lives in `arena`.
edt_status edt_hvalue_parse(const char *text, bool star_lists, edt_arena *arena, edt_error *err,
                            edt_hvalue *out_value);

// A plain (unquoted) YAML 1.1 scalar as PyYAML's full loader resolves it.
void edt_hvalue_resolve_yaml(const char *text, edt_hvalue *out_value);

typedef enum edt_hrow_type {
    EDT_HROW_BOOL,
    EDT_HROW_INT,
    EDT_HROW_FLOAT,
    EDT_HROW_TEXT,
    EDT_HROW_SIZE,   // edt_hw
    EDT_HROW_FLOATS, // edt_f64_list
    EDT_HROW_TEXTS,  // edt_text_list
    EDT_HROW_ASPECTS,
    EDT_HROW_LABELS,
    EDT_HROW_FPN,      // edt_fpn_config
    EDT_HROW_BACKBONE, // edt_backbone_config
} edt_hrow_type;

typedef struct edt_hrow {
    const char *name; // dotted official name
    edt_hrow_type type;
    size_t offset; // in edt_hparams
    const char *default_text;
    double lo, hi;       // numbers: allowed range, ends included
    bool optional;       // None is legal
    double none_number;  // what None stores in a number
    const char *choices; // texts: "a|b|c"; NULL: anything
    const char *help;
} edt_hrow;

// NULL past the end.
const edt_hrow *edt_hrow_get(int i_row);
const edt_hrow *edt_hrow_find(const char *name);

// Stores `value` under `key` (a row's name or a group such as "nms_configs") after checking it.
edt_status edt_hparams_assign(edt_hparams *hp, const char *key, const edt_hvalue *value,
                              edt_error *err);

// EDT_ERR_USAGE: `value` is not allowed for `row`, with what is.
edt_status edt_hrow_refuse(const edt_hrow *row, const edt_hvalue *value, edt_error *err);

// `text` is one of "a|b|c"; anything is where `choices` is NULL.
bool edt_hrow_is_choice(const char *choices, const char *text);

// The text of a scalar as it was written (off, 100); NULL for what is none and for bytes that are
// no UTF-8.
const char *edt_hvalue_as_text(const edt_hvalue *value);

// The structured rows (hparams_network.c): storing of None or a map, of which absent parts keep
// their value; copying of arrays into `arena` (false: no memory); writing as YAML after "name:".
edt_status edt_hparams_store_fpn(edt_hparams *hp, const edt_hrow *row, const edt_hvalue *value,
                                 edt_error *err);
edt_status edt_hparams_store_backbone(edt_hparams *hp, const edt_hrow *row,
                                      const edt_hvalue *value, edt_error *err);
bool edt_fpn_config_copy(edt_arena *arena, edt_fpn_config *config);
bool edt_backbone_config_copy(edt_arena *arena, edt_backbone_config *config);
void edt_fpn_config_write(const edt_fpn_config *config, edt_strbuf *w);
void edt_backbone_config_write(const edt_backbone_config *config, edt_strbuf *w);

#endif
