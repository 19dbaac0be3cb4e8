// A page of pictures with boxes (index.html) and a contact sheet (samples.jpg) for people who
// look at what a network is fed. The page stands alone: relative links to the pictures beside
// it, style inside, no script, nothing from elsewhere.
#ifndef EDT_DATAIO_GALLERY_H
#define EDT_DATAIO_GALLERY_H

#include "augment/image.h"
#include "core/arena.h"
#include "core/error.h"
#include "dataio/draw.h"

typedef struct edt_gallery edt_gallery;

typedef struct edt_gallery_info {
    const char *dir;     // exists
    const char *title;   // "training view"
    const char *details; // a line: data set, model, network size; UTF-8
} edt_gallery_info;

typedef struct edt_gallery_picture {
    const char *file_name;    // in the directory
    const edt_image *image;   // with its boxes drawn
    int64_t valid_h, valid_w; // part of it that is picture, not padding
    const char *id;           // image id as stored, "" when there is none
    const char *name;         // the file it came from, "" when unknown
    const char *shard;        // without directory
    int64_t i_record;
    int64_t height, width; // of the stored picture; -1 when unknown
    double scale;          // stored pixels = pixels of `image` * scale
    int64_t n_boxes;
    const edt_draw_box *boxes; // in pixels of `image`
} edt_gallery_picture;

edt_status edt_gallery_create(const edt_gallery_info *info, edt_error *err,
                              edt_gallery **out_gallery);
void edt_gallery_destroy(edt_gallery *gallery); // NULL is fine

// Nothing is borrowed afterwards. The contact sheet takes the first 60 pictures.
edt_status edt_gallery_add(edt_gallery *gallery, const edt_gallery_picture *picture,
                           edt_error *err);
// Writes index.html and, when there is a picture, samples.jpg. `closing` is a line for the end
// of the page, or NULL. Once.
edt_status edt_gallery_write(edt_gallery *gallery, const char *closing, edt_error *err);

#endif
