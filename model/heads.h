// Class and box networks: convolutions shared over the levels, batch norm per level
// (spec/model.md 3.1).
#ifndef EDT_MODEL_HEADS_H
#define EDT_MODEL_HEADS_H

#include "model/bifpn.h"

typedef enum edt_head_kind { EDT_HEAD_CLASS, EDT_HEAD_BOX } edt_head_kind;

// Draws of drop connect that both heads take (hparam survival_prob).
int edt_heads_drop_rows(const edt_hparams *hp);

// Output [N,h,w,c_out] of one head at one level.
edt_value_id edt_head_build(edt_layers *layers, const edt_hparams *hp, edt_head_kind kind,
                            int level, int64_t c_out, edt_value_id feature);

#endif
