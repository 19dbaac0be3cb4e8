// Reads the object graph of an object-based TensorFlow bundle (spec/model.md 6.2, 7.4): which
// stored tensor is which variable or optimizer slot, under its name and under its paths.
#ifndef EDT_MODEL_IO_OBJECT_GRAPH_READ_H
#define EDT_MODEL_IO_OBJECT_GRAPH_READ_H

#include "core/error.h"
#include "core/span.h"

// A stored value. Texts belong to the reader.
typedef struct edt_object_value {
    const char *key;  // in the bundle's index
    const char *name; // canonical as in edt_weights_item, or NULL
    const char *path; // as in edt_weights_item; NULL where it is too long or leads nowhere
} edt_object_value;

typedef struct edt_object_reader edt_object_reader;

// EDT_ERR_FORMAT names `where`. The message is copied.
edt_status edt_object_reader_open(edt_span message, const char *where, edt_error *err,
                                  edt_object_reader **out_reader);
void edt_object_reader_close(edt_object_reader *reader); // NULL is fine

int edt_object_reader_count(const edt_object_reader *reader);
const edt_object_value *edt_object_reader_get(const edt_object_reader *reader, int i_value);
// Follows the references from the root; "a/b/KerasMomentum" is the slot of what "a/b" leads to.
// Index of the value, or -1.
int edt_object_reader_find_path(const edt_object_reader *reader, const char *path);

#endif
