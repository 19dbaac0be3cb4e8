// The geometric operations of AutoAugment (spec/augment.md 5): the map of pixels and what it
// does to a box, with the reference's f32 arithmetic and truncations. Zero arguments move no
// pixel but still round boxes to whole pixels.
#ifndef EDT_AUGMENT_BOX_WARP_H
#define EDT_AUGMENT_BOX_WARP_H

#include <stdbool.h>
#include <stdint.h>

typedef enum edt_warp_kind {
    EDT_WARP_TRANSLATE_X, // content moves left by `argument` pixels
    EDT_WARP_TRANSLATE_Y, // up
    EDT_WARP_SHEAR_X,     // row y moves left by argument * y
    EDT_WARP_SHEAR_Y,     // column x moves up by argument * x
    EDT_WARP_ROTATE,      // counter-clockwise by `argument` degrees
} edt_warp_kind;

typedef struct edt_warp {
    edt_warp_kind kind;
    double argument;
} edt_warp;

// Truncates to an integer; what f32 holds beyond +-2^30 becomes that, NaN becomes 0. Every box
// of a record may come here.
int64_t edt_trunc_f32(float value);

// Output pixel (x, y) of a region of h x w shows input (a[0]*x + a[1]*y + a[2], b[0]*x + ...).
void edt_warp_map(const edt_warp *warp, int64_t h, int64_t w, float out_a[static 3],
                  float out_b[static 3]);

// Moves a normalised box (ymin,xmin,ymax,xmax) in a picture of h x w, in place; the result lies
// in [0,1]. A box without height or width at the border becomes a strip of 0.05 there, as in
// the reference. False when the box has left the picture: nothing of it lay inside.
bool edt_warp_box(const edt_warp *warp, int64_t h, int64_t w, float box[static 4]);

#endif
