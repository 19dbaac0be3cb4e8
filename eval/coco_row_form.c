// See coco_row_form.h.
#include "eval/coco_row_form.h"

#include <string.h>

#include "core/json_number.h"
#include "core/json_pull.h"

enum {
    LITERAL_BYTES = EDT_COCO_FORM_WORDS * 8,
    NUMBER_BYTES = 24, // that scanning may look at
    // Of a row at most, so that its bytes need no further check.
    ROW_BYTES = EDT_COCO_FORM_SLOTS * (LITERAL_BYTES + NUMBER_BYTES) + LITERAL_BYTES,
};

static bool set_literal(edt_coco_literal *literal, const uint8_t *text, size_t n)
{
    uint8_t bytes[LITERAL_BYTES] = {0}, masks[LITERAL_BYTES] = {0};
    if (n > LITERAL_BYTES) {
        return false;
    }
    memcpy(bytes, text, n);
    memset(masks, 0xFF, n);
    memcpy(literal->words, bytes, sizeof bytes);
    memcpy(literal->masks, masks, sizeof masks);
    literal->n_bytes = n;
    return true;
}

// `p` has LITERAL_BYTES behind it.
static inline bool is_literal(const edt_coco_literal *literal, const uint8_t *p)
{
    uint64_t words[EDT_COCO_FORM_WORDS], differ = 0;
    memcpy(words, p, sizeof words);
    for (int i = 0; i < EDT_COCO_FORM_WORDS; ++i) {
        differ |= (words[i] ^ literal->words[i]) & literal->masks[i];
    }
    return differ == 0;
}

typedef struct learner {
    edt_coco_row_form form;
    edt_json_pull pull;
    edt_span text;
    size_t end; // of the last number
    unsigned has;
} learner;

// The number that comes next is a slot of this kind.
static bool add_slot(learner *l, edt_coco_slot_kind kind)
{
    edt_coco_row_form *form = &l->form;
    if (form->n_slots == EDT_COCO_FORM_SLOTS ||
        (kind != EDT_COCO_SLOT_OTHER && (l->has & 1u << kind) != 0) ||
        edt_json_pull_expect(&l->pull, EDT_JSON_NUMBER, NULL) != EDT_OK) {
        return false;
    }
    const size_t end = edt_json_pull_tell(&l->pull), begin = end - l->pull.text.n_bytes;
    form->kinds[form->n_slots] = kind;
    if (!set_literal(&form->before[form->n_slots], l->text.data + l->end, begin - l->end)) {
        return false;
    }
    ++form->n_slots;
    l->end = end;
    l->has |= 1u << kind;
    return true;
}

static bool learn_box(learner *l)
{
    bool more = edt_json_pull_expect(&l->pull, EDT_JSON_ARRAY_BEGIN, NULL) == EDT_OK;
    for (int i = 0; more; ++i) {
        if (edt_json_pull_next_item(&l->pull, NULL, &more) != EDT_OK) {
            return false;
        }
        if (!more) {
            return i == 4;
        }
        more = i < 4 && add_slot(l, (edt_coco_slot_kind)i);
    }
    return false;
}

static bool learn_row(learner *l)
{
    static const struct {
        const char *key;
        edt_coco_slot_kind kind;
    } keys[] = {{"score", EDT_COCO_SLOT_SCORE},
                {"image_id", EDT_COCO_SLOT_IMAGE},
                {"category_id", EDT_COCO_SLOT_CATEGORY}};
    bool ok = edt_json_pull_expect(&l->pull, EDT_JSON_OBJECT_BEGIN, NULL) == EDT_OK;
    while (ok) {
        edt_text key;
        bool more;
        if (edt_json_pull_next_key(&l->pull, NULL, &key, &more) != EDT_OK) {
            return false;
        }
        if (!more) {
            break;
        }
        if (edt_text_is(key, "bbox")) {
            ok = learn_box(l);
            continue;
        }
        edt_coco_slot_kind kind = EDT_COCO_SLOT_OTHER;
        for (size_t i = 0; i < sizeof keys / sizeof keys[0]; ++i) {
            kind = edt_text_is(key, keys[i].key) ? keys[i].kind : kind;
        }
        ok = add_slot(l, kind);
    }
    const unsigned all = (1u << EDT_COCO_SLOT_OTHER) - 1;
    return ok && (l->has & all) == all &&
           set_literal(&l->form.before[l->form.n_slots], l->text.data + l->end,
                       edt_json_pull_tell(&l->pull) - l->end);
}

void edt_coco_row_form_learn(edt_coco_row_form *form, edt_span text)
{
    learner l = {.text = text};
    edt_json_pull_init(&l.pull, text, (edt_json_pull_options){.allow_nan = true});
    // The reader would pass over a byte-order mark, which is none inside a list.
    if (text.n_bytes > 0 && text.data[0] == '{' && learn_row(&l)) {
        *form = l.form;
    } else {
        form->n_slots = 0;
    }
    edt_json_pull_deinit(&l.pull);
}

size_t edt_coco_row_form_read(const edt_coco_row_form *form, edt_span text,
                              edt_coco_detection *out_detection)
{
    if (form->n_slots == 0 || text.n_bytes < ROW_BYTES) {
        return 0;
    }
    const uint8_t *p = text.data;
    double numbers[EDT_COCO_SLOT_SCORE + 1];
    int64_t ids[2] = {0, 0};
    for (int i = 0; i < form->n_slots; ++i) {
        edt_json_decimal d;
        if (!is_literal(&form->before[i], p)) {
            return 0;
        }
        p = edt_json_scan_decimal(p + form->before[i].n_bytes, &d);
        if (p == NULL) {
            return 0;
        }
        const edt_coco_slot_kind kind = form->kinds[i];
        if (kind <= EDT_COCO_SLOT_SCORE) {
            double value;
            if (!edt_json_number_to_f64(d.mantissa, d.exponent, &value)) {
                return 0;
            }
            numbers[kind] = d.negative ? -value : value;
        } else if (kind != EDT_COCO_SLOT_OTHER) {
            if (d.exponent != 0 || d.mantissa > INT64_MAX) {
                return 0;
            }
            ids[kind - EDT_COCO_SLOT_IMAGE] =
                d.negative ? -(int64_t)d.mantissa : (int64_t)d.mantissa;
        }
    }
    const edt_coco_literal *last = &form->before[form->n_slots];
    if (!is_literal(last, p)) {
        return 0;
    }
    *out_detection =
        (edt_coco_detection){.image_id = ids[0],
                             .category_id = ids[1],
                             .bbox = {numbers[0], numbers[1], numbers[2], numbers[3]},
                             .score = numbers[EDT_COCO_SLOT_SCORE]};
    return (size_t)(p - text.data) + last->n_bytes;
}
