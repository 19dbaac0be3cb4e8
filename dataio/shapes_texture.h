// Backgrounds of drawn pictures: value noise, gradients, stripes and tiles in muted colours.
#ifndef EDT_DATAIO_SHAPES_TEXTURE_H
#define EDT_DATAIO_SHAPES_TEXTURE_H

#include "augment/image.h"
#include "core/rng.h"

// Hue in turns, saturation and value in [0, 1] -> R,G,B in [0, 1].
void edt_shapes_hsv(double hue, double saturation, double value, double out_rgb[static 3]);

// Fills the whole picture.
void edt_shapes_texture_fill(const edt_image *image, edt_rng *rng);

#endif
