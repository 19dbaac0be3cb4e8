// The names that records give to labels, gathered over a data set.
#ifndef EDT_DATAIO_LABEL_NAMES_H
#define EDT_DATAIO_LABEL_NAMES_H

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"
#include "dataio/id_map.h"

typedef struct edt_label_names edt_label_names;

edt_status edt_label_names_create(edt_error *err, edt_label_names **out_names);
void edt_label_names_destroy(edt_label_names *names); // NULL is fine

// Notes that `label` is called `name`. The first name stays; `*out_other` is that one when it
// is another, else NULL. Empty names are passed over.
edt_status edt_label_names_add(edt_label_names *names, int64_t label, edt_text name,
                               edt_error *err, const char **out_other);
// NULL when no record named it.
const char *edt_label_names_find(const edt_label_names *names, int64_t label);

#endif
