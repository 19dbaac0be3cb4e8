// Operations that map each channel's 256 levels by a table: Brightness, Contrast, AutoContrast,
// Equalize, Posterize, Solarize and SolarizeAdd (spec/augment.md 4).
#ifndef EDT_AUGMENT_PIXEL_LEVELS_H
#define EDT_AUGMENT_PIXEL_LEVELS_H

#include "augment/pixel_kernels.h"

typedef struct edt_level_map {
    bool one; // table[0] holds for all channels
    uint8_t table[3][EDT_N_LEVELS];
} edt_level_map;

// The map of `op` for the pixels in `region`, whose statistics it may take. False when `op` is
// none of the operations above or leaves every pixel as it is.
bool edt_level_map_make(const edt_pixel_kernels *kernels, const edt_pixel_op *op,
                        const edt_image *region, edt_level_map *out_map);
void edt_level_map_apply(const edt_pixel_kernels *kernels, const edt_level_map *map,
                         const edt_image *region);

#endif
