// Programs write all rows of a result file in one form: the same keys in the same order with
// the same blanks. A form is learnt from the first row; a row that has it is read by comparing
// bytes and scanning numbers, several times as fast as by parsing. Every other row is left to
// the parser, and with it every message.
#ifndef EDT_EVAL_COCO_ROW_FORM_H
#define EDT_EVAL_COCO_ROW_FORM_H

#include "core/span.h"
#include "eval/coco_eval.h"

// What a number is.
typedef enum edt_coco_slot_kind {
    EDT_COCO_SLOT_X,
    EDT_COCO_SLOT_Y,
    EDT_COCO_SLOT_WIDTH,
    EDT_COCO_SLOT_HEIGHT,
    EDT_COCO_SLOT_SCORE,
    EDT_COCO_SLOT_IMAGE,
    EDT_COCO_SLOT_CATEGORY,
    EDT_COCO_SLOT_OTHER, // a number that nobody asks for
} edt_coco_slot_kind;

enum { EDT_COCO_FORM_SLOTS = 12, EDT_COCO_FORM_WORDS = 3 };

// Text of at most 24 bytes, compared eight at a time.
typedef struct edt_coco_literal {
    uint64_t words[EDT_COCO_FORM_WORDS], masks[EDT_COCO_FORM_WORDS];
    size_t n_bytes;
} edt_coco_literal;

typedef struct edt_coco_row_form {
    int n_slots; // 0: no form
    edt_coco_slot_kind kinds[EDT_COCO_FORM_SLOTS];
    edt_coco_literal before[EDT_COCO_FORM_SLOTS + 1]; // a slot; the last: the end of the row
} edt_coco_row_form;

// Learns the form of the row that `text` begins with; no form where it is not made of numbers
// alone, or lacks one of the kinds.
void edt_coco_row_form_learn(edt_coco_row_form *form, edt_span text);

// Reads the row that `text` begins with if it has this form and plain numbers: its bytes, or 0.
size_t edt_coco_row_form_read(const edt_coco_row_form *form, edt_span text,
                              edt_coco_detection *out_detection);

#endif
