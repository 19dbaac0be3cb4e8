// See pixel_levels.h. The tables are made by the reference's f32 formulas, one level at a time;
// only the statistics and the look-up touch pixels.
#include "augment/pixel_levels.h"

#include <string.h>

static void map_brightness(float factor, uint8_t *table)
{
    for (int v = 0; v < EDT_N_LEVELS; ++v) {
        table[v] = edt_level_blend(0.0F, (float)v, factor);
    }
}

static void map_contrast(const edt_pixel_kernels *kernels, float factor,
                         const edt_image *region, uint8_t *table)
{
    int64_t sum = 0;
    for (int64_t y = 0; y < region->h; ++y) {
        sum += kernels->gray_sum(region->data + y * region->stride, region->w);
    }
    const float mean = (float)(sum / (region->h * region->w));
    for (int v = 0; v < EDT_N_LEVELS; ++v) {
        table[v] = edt_level_blend(mean, (float)v, factor);
    }
}

static void map_auto_contrast(const edt_pixel_kernels *kernels, const edt_image *region,
                              uint8_t (*table)[EDT_N_LEVELS])
{
    uint8_t lo[3] = {255, 255, 255}, hi[3] = {0, 0, 0};
    for (int64_t y = 0; y < region->h; ++y) {
        kernels->range(region->data + y * region->stride, region->w, lo, hi);
    }
    for (int c = 0; c < 3; ++c) {
        const float scale = 255.0F / (float)(hi[c] - lo[c]);
        const float offset = -(float)lo[c] * scale;
        for (int v = 0; v < EDT_N_LEVELS; ++v) {
            table[c][v] =
                hi[c] <= lo[c] ? (uint8_t)v : edt_level_from_f32((float)v * scale + offset);
        }
    }
}

// Two sets of counters take turns, so that neighbours of one colour don't wait for each other.
static void count_levels(const edt_image *region, uint32_t (*out_counts)[EDT_N_LEVELS])
{
    uint32_t counts[6][EDT_N_LEVELS] = {0};
    for (int64_t y = 0; y < region->h; ++y) {
        const uint8_t *p = region->data + y * region->stride;
        int64_t x = 0;
        for (; x + 1 < region->w; x += 2, p += 6) {
            ++counts[0][p[0]];
            ++counts[1][p[1]];
            ++counts[2][p[2]];
            ++counts[3][p[3]];
            ++counts[4][p[4]];
            ++counts[5][p[5]];
        }
        if (x < region->w) {
            ++counts[0][p[0]];
            ++counts[1][p[1]];
            ++counts[2][p[2]];
        }
    }
    for (int c = 0; c < 3; ++c) {
        for (int v = 0; v < EDT_N_LEVELS; ++v) {
            out_counts[c][v] = counts[c][v] + counts[c + 3][v];
        }
    }
}

static void map_equalize(const edt_image *region, uint8_t (*table)[EDT_N_LEVELS])
{
    uint32_t counts[3][EDT_N_LEVELS];
    count_levels(region, counts);
    for (int c = 0; c < 3; ++c) {
        int last = EDT_N_LEVELS - 1;
        while (last > 0 && counts[c][last] == 0) {
            --last;
        }
        const int64_t step = (region->h * region->w - counts[c][last]) / 255;
        int64_t below = step / 2; // plus the pixels of lower levels
        for (int v = 0; v < EDT_N_LEVELS; ++v) {
            const int64_t level = step == 0 || v == 0 ? v : below / step;
            table[c][v] = (uint8_t)(level > 255 ? 255 : level);
            below += counts[c][v];
        }
    }
}

static void map_posterize(int32_t bits, uint8_t *table)
{
    const int shift = bits < 1 ? 7 : (bits > 8 ? 0 : 8 - bits);
    for (int v = 0; v < EDT_N_LEVELS; ++v) {
        table[v] = (uint8_t)(v >> shift << shift);
    }
}

static void map_solarize(int32_t threshold, uint8_t *table)
{
    for (int v = 0; v < EDT_N_LEVELS; ++v) {
        table[v] = (uint8_t)(v < threshold ? v : 255 - v);
    }
}

static void map_solarize_add(int32_t addition, uint8_t *table)
{
    const int most = addition > 255 ? 255 : addition;
    for (int v = 0; v < EDT_N_LEVELS; ++v) {
        const int sum = v < 128 ? v + most : v;
        table[v] = (uint8_t)(sum > 255 ? 255 : sum);
    }
}

static bool is_identity(const edt_level_map *map)
{
    for (int c = 0; c < (map->one ? 1 : 3); ++c) {
        for (int v = 0; v < EDT_N_LEVELS; ++v) {
            if (map->table[c][v] != v) {
                return false;
            }
        }
    }
    return true;
}

bool edt_level_map_make(const edt_pixel_kernels *kernels, const edt_pixel_op *op,
                        const edt_image *region, edt_level_map *out_map)
{
    out_map->one = true;
    switch (op->kind) {
    case EDT_PIXEL_BRIGHTNESS: map_brightness(op->factor, out_map->table[0]); break;
    case EDT_PIXEL_CONTRAST:
        map_contrast(kernels, op->factor, region, out_map->table[0]);
        break;
    case EDT_PIXEL_POSTERIZE: map_posterize(op->amount, out_map->table[0]); break;
    case EDT_PIXEL_SOLARIZE: map_solarize(op->amount, out_map->table[0]); break;
    case EDT_PIXEL_SOLARIZE_ADD: map_solarize_add(op->amount, out_map->table[0]); break;
    case EDT_PIXEL_AUTO_CONTRAST:
        out_map->one = false;
        map_auto_contrast(kernels, region, out_map->table);
        break;
    case EDT_PIXEL_EQUALIZE:
        out_map->one = false;
        map_equalize(region, out_map->table);
        break;
    default: return false;
    }
    return !is_identity(out_map);
}

void edt_level_map_apply(const edt_pixel_kernels *kernels, const edt_level_map *map,
                         const edt_image *region)
{
    for (int64_t y = 0; y < region->h; ++y) {
        kernels->lookup(map->table, map->one, region->data + y * region->stride, region->w);
    }
}
