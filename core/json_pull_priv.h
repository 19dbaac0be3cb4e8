// What the files of the pull parser share (json_pull.h).
#ifndef EDT_CORE_JSON_PULL_PRIV_H
#define EDT_CORE_JSON_PULL_PRIV_H

#include "core/json_pull.h"

// What may come next: edt_json_pull.state.
enum {
    EDT_JSON_STATE_VALUE,
    EDT_JSON_STATE_FIRST_ITEM,
    EDT_JSON_STATE_FIRST_KEY,
    EDT_JSON_STATE_AFTER_KEY,
    EDT_JSON_STATE_AFTER_VALUE,
    EDT_JSON_STATE_DONE,
};

static inline bool edt_json_is_digit(const uint8_t *p, const uint8_t *end)
{
    return p < end && (uint8_t)(*p - '0') < 10;
}

#endif
