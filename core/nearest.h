// "Did you mean": the known name that is closest to a mistyped one, for flags, hparams and
// models.
#ifndef EDT_CORE_NEAREST_H
#define EDT_CORE_NEAREST_H

// Returns the i-th known name, NULL past the end.
typedef const char *edt_nearest_get(const void *ctx, int i);

// The name with the smallest edit distance (insert, delete, replace, swap of neighbours) to
// `text`, or NULL when none comes closer than half of the longer one's length. Earlier names
// win ties.
const char *edt_nearest_name(const char *text, edt_nearest_get *get, const void *ctx);

#endif
