// The images of a PASCAL VOC devkit with their annotations (spec/data.md 4.2, 4.3): which lists
// are read, in which order, and what every XML file says. Pictures are not touched.
#ifndef EDT_DATAIO_VOC_SET_H
#define EDT_DATAIO_VOC_SET_H

#include "dataio/convert_report.h"
#include "dataio/voc_xml.h"

typedef struct edt_voc_class {
    const char *name;
    int64_t id;
} edt_voc_class;

typedef struct edt_voc_image {
    const char *year;        // "VOC2007"
    const char *id;          // as in the list: "2007_000027"
    bool left_out;           // bad and skipped; the annotation is not there then
    edt_voc_annotation note; // without dropped difficult objects
    const int64_t *labels;   // [note.n_objects]
} edt_voc_image;

typedef struct edt_voc_set_options {
    const char *data_dir;
    const char *set;             // "train", "val", "trainval", "test"
    const char *annotations_dir; // relative to data_dir/YEAR
    const char *year;            // "VOC2007", "VOC2012" or "merged": both, in this order
    const char *label_map_path;  // JSON {name: id}; NULL or "": the built-in one
    bool ignore_difficult;
    int64_t num_images; // at most, per year; 0: all
    int n_threads;      // that parse; 0: one per processor
    // The list is CLASS_SET.txt of the label map's second class, as the reference has it,
    // instead of SET.txt with that as a fallback.
    bool reference_list;
} edt_voc_set_options;

typedef struct edt_voc_set edt_voc_set;

enum { EDT_VOC_MAX_YEARS = 2 };

// Bad items (a missing or malformed XML file, an unknown class, an id listed twice) go to
// `report` with the image's number as order: the first one ends the opening, or they are left
// out. EDT_ERR_USAGE for the options, EDT_ERR_NOT_FOUND for the directory or its lists,
// EDT_ERR_FORMAT for the label map.
edt_status edt_voc_set_open(const edt_voc_set_options *options, edt_convert_report *report,
                            edt_error *err, edt_voc_set **out_set);
void edt_voc_set_close(edt_voc_set *set); // NULL is fine

// Everything belongs to the set. Images are in the order of conversion, 1-based image ids are
// their numbers plus 1.
int64_t edt_voc_set_n_images(const edt_voc_set *set);
const edt_voc_image *edt_voc_set_image(const edt_voc_set *set, int64_t i);
// First image of each year.
int edt_voc_set_years(const edt_voc_set *set, const int64_t **out_first);
// The label map in its order, background first where it has one.
int edt_voc_set_classes(const edt_voc_set *set, const edt_voc_class **out_classes);

#endif
