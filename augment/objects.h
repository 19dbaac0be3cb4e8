// The objects in one picture, as columns.
#ifndef EDT_AUGMENT_OBJECTS_H
#define EDT_AUGMENT_OBJECTS_H

#include <stdbool.h>
#include <stdint.h>

// Whoever hands out a value says who owns the arrays; all have n rows.
typedef struct edt_objects {
    int64_t n;
    float *boxes;    // [n,4] ymin,xmin,ymax,xmax in parts of the picture's size
    int64_t *labels; // 1-based
    bool *is_crowd;
    float *area; // as stored in the record
} edt_objects;

#endif
