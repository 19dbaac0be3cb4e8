// EXIF orientation of a JPEG, and turning its decoded picture upright.
#ifndef EDT_DATAIO_IMAGE_EXIF_H
#define EDT_DATAIO_IMAGE_EXIF_H

#include <stdbool.h>

#include "augment/image.h"
#include "core/span.h"

// Tag 0x0112 of the first EXIF segment before the scans (CIPA DC-008, 4.6.4): 1 (upright) to 8;
// 1 where the segment is missing, cut off or holds another value. Never reads past `jpeg`.
int edt_exif_orientation(edt_span jpeg);

// 5 to 8: height and width change places.
bool edt_exif_swaps_sides(int orientation);

// Writes the upright picture of `stored` to `upright`, which has the turned size and does not
// overlap it.
void edt_exif_turn(const edt_image *stored, int orientation, const edt_image *upright);

#endif
