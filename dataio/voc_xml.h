// One PASCAL VOC annotation file, as the reference reads it (spec/data.md 4.3). Nothing is ever
// fetched, entities beyond XML's five are unknown, a document type declaration is refused and
// sizes are limited, so that a file from anywhere may be read.
#ifndef EDT_DATAIO_VOC_XML_H
#define EDT_DATAIO_VOC_XML_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

enum {
    EDT_VOC_XML_MAX_BYTES = 16 << 20, // of a file
    EDT_VOC_MAX_OBJECTS = 1 << 16,
};

typedef struct edt_voc_object {
    const char *name; // class, blanks around it removed
    const char *pose; // as it stands, "" when empty
    int64_t truncated;
    bool difficult;
    double box[4]; // ymin,xmin,ymax,xmax in the file's 1-based pixels, finite, not checked else
} edt_voc_object;

typedef struct edt_voc_annotation {
    const char *folder, *filename; // blanks around them removed
    int64_t height, width;         // 1 .. 2^31 - 1
    int64_t n_objects;
    const edt_voc_object *objects; // in file order
} edt_voc_annotation;

// Texts and objects live in `arena`. Of a repeated element the last counts, objects apart.
// With `ignore_difficult` objects marked so are left out, whatever else they lack.
// EDT_ERR_FORMAT with the line for what is not well-formed XML, EDT_ERR_INVALID naming the
// element for one that is missing or not of its type. `err` does not name the file.
edt_status edt_voc_xml_parse(edt_span xml, bool ignore_difficult, edt_arena *arena,
                             edt_error *err, edt_voc_annotation *out_annotation);

// Version of libxml2, for the list of libraries.
const char *edt_voc_xml_library_version(void);

#endif
