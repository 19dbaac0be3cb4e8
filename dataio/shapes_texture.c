// See shapes_texture.h.
#include "dataio/shapes_texture.h"

#include <math.h>

enum { LATTICE = 17, N_OCTAVES = 4, N_KINDS = 4 };

static const double pi = 3.14159265358979323846;

void edt_shapes_hsv(double hue, double saturation, double value, double out_rgb[static 3])
{
    static const double offset[3] = {5, 3, 1};
    for (int c = 0; c < 3; ++c) {
        const double k = fmod(offset[c] + hue * 6, 6);
        const double ramp = fmax(0, fmin(fmin(k, 4 - k), 1));
        out_rgb[c] = value - value * saturation * ramp;
    }
}

// Smooth noise in [0, 1]: random values on lattices of 2, 4, 8, 16 cells, added with halving
// weights.
typedef struct noise {
    float values[N_OCTAVES][LATTICE][LATTICE];
} noise;

static void noise_init(noise *n, edt_rng *rng)
{
    for (int o = 0; o < N_OCTAVES; ++o) {
        for (int y = 0; y < LATTICE; ++y) {
            for (int x = 0; x < LATTICE; ++x) {
                n->values[o][y][x] = edt_rng_uniform_f32(rng);
            }
        }
    }
}

// v, u in [0, 1).
static double noise_at(const noise *n, double v, double u)
{
    double sum = 0, weight = 0.5;
    for (int o = 0; o < N_OCTAVES; ++o) {
        const double y = v * (2 << o), x = u * (2 << o);
        const int iy = (int)y, ix = (int)x;
        const double fy = y - iy, fx = x - ix;
        const double ty = fy * fy * (3 - 2 * fy), tx = fx * fx * (3 - 2 * fx);
        const float *row = n->values[o][iy] + ix, *below = n->values[o][iy + 1] + ix;
        const double top = row[0] + (row[1] - row[0]) * tx;
        const double bottom = below[0] + (below[1] - below[0]) * tx;
        sum += weight * (top + (bottom - top) * ty);
        weight /= 2;
    }
    return sum / (1 - 1.0 / (1 << N_OCTAVES));
}

// How the second colour mixes with the first, in [0, 1], by kind of texture.
typedef struct pattern {
    int kind;
    double cos_angle, sin_angle;
    double period, bend;
    noise noise;
} pattern;

static double pattern_at(const pattern *p, double v, double u)
{
    const double cloud = noise_at(&p->noise, v, u);
    const double along = u * p->cos_angle + v * p->sin_angle;
    const double across = v * p->cos_angle - u * p->sin_angle;
    const double phase = along + p->bend * (cloud - 0.5);
    switch (p->kind) {
    case 0: return cloud;
    case 1: return fmin(fmax(0.5 + 0.6 * (phase - 0.5), 0), 1);
    case 2: return 0.5 + 0.5 * tanh(3 * sin(2 * pi * phase / p->period));
    default:
        return 0.5 + 0.5 * tanh(4 * sin(2 * pi * phase / p->period) *
                                sin(2 * pi * across / p->period));
    }
}

static uint8_t to_byte(double x)
{
    return (uint8_t)(fmin(fmax(x, 0), 1) * 255 + 0.5);
}

void edt_shapes_texture_fill(const edt_image *image, edt_rng *rng)
{
    pattern p = {.kind = (int)edt_rng_below(rng, N_KINDS)};
    const double angle = edt_rng_uniform_range(rng, 0, 2 * pi);
    p.cos_angle = cos(angle);
    p.sin_angle = sin(angle);
    p.period = edt_rng_uniform_range(rng, 0.08, 0.3);
    p.bend = edt_rng_uniform_range(rng, 0, 0.3);
    noise_init(&p.noise, rng);
    double colors[2][3];
    for (int i = 0; i < 2; ++i) {
        const double hue = edt_rng_uniform_f64(rng);
        const double saturation = edt_rng_uniform_range(rng, 0.05, 0.4);
        edt_shapes_hsv(hue, saturation, edt_rng_uniform_range(rng, 0.25, 0.85), colors[i]);
    }
    const double strength = edt_rng_uniform_range(rng, 0.5, 1);
    const double grain = edt_rng_uniform_range(rng, 0.01, 0.06);
    for (int64_t y = 0; y < image->h; ++y) {
        uint8_t *row = image->data + y * image->stride;
        for (int64_t x = 0; x < image->w; ++x) {
            const double v = (double)y / (double)image->h, u = (double)x / (double)image->w;
            const double mix = strength * pattern_at(&p, v, u);
            const double shade = grain * (edt_rng_uniform_f32(rng) - 0.5);
            for (int c = 0; c < 3; ++c) {
                const double color = colors[0][c] + (colors[1][c] - colors[0][c]) * mix;
                row[x * 3 + c] = to_byte(color + shade);
            }
        }
    }
}
