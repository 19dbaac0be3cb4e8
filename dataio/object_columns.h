// Where the converters gather a record's features: a list of features under their keys, and one
// column per property of the objects (boxes) of an image. Everything is borrowed by the list
// and must outlive its writing (edt_tfexample_write).
#ifndef EDT_DATAIO_OBJECT_COLUMNS_H
#define EDT_DATAIO_OBJECT_COLUMNS_H

#include <stdbool.h>

#include "core/arena.h"
#include "dataio/tfexample.h"

enum { EDT_FEATURE_LIST_MAX = 20 };

typedef struct edt_feature_list {
    edt_feature items[EDT_FEATURE_LIST_MAX];
    size_t n;
} edt_feature_list;

// `values` are n of the type that the function names. At most EDT_FEATURE_LIST_MAX in all: the
// keys of a record are the program's.
void edt_feature_list_add_floats(edt_feature_list *list, const char *key, size_t n,
                                 const float *values);
void edt_feature_list_add_ints(edt_feature_list *list, const char *key, size_t n,
                               const int64_t *values);
void edt_feature_list_add_bytes(edt_feature_list *list, const char *key, size_t n,
                                const edt_span *values);

// Each column has the capacity that edt_object_columns_create was given, zeroed; the first n
// entries are taken.
typedef struct edt_object_columns {
    size_t n;
    float *xmin, *xmax, *ymin, *ymax; // normalised to 0..1 of the image as listed
    float *area;
    int64_t *label;
    int64_t *flag[2]; // COCO: is_crowd, none. VOC: difficult, truncated.
    edt_span *text;   // name of the class
    edt_span *detail; // COCO: the mask as PNG. VOC: the pose.
} edt_object_columns;

// In the arena; false when out of memory.
bool edt_object_columns_create(edt_arena *arena, size_t capacity, edt_object_columns *out);

// The value, cut to 0..high.
double edt_object_clamp(double value, double high);

#endif
