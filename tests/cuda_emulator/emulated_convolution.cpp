// A convolution and its gradients, summed in double.
#include "tests/cuda_emulator/emulated_convolution.h"

#include <vector>

#include "tests/cuda_emulator/emulator.h"

using namespace edt_emulator;

namespace
{

// All triples of x, w, y that a window joins.
template <typename F> void for_each_window(const convolution &c, F visit)
{
    for (int64_t n = 0; n < c.y.dim[0]; ++n) {
        for (int64_t oy = 0; oy < c.y.dim[2]; ++oy) {
            for (int64_t ox = 0; ox < c.y.dim[3]; ++ox) {
                for (int64_t ky = 0; ky < c.w.dim[2]; ++ky) {
                    for (int64_t kx = 0; kx < c.w.dim[3]; ++kx) {
                        const int64_t iy = oy * c.stride[0] + ky - c.before[0];
                        const int64_t ix = ox * c.stride[1] + kx - c.before[1];
                        if (iy >= 0 && iy < c.x.dim[2] && ix >= 0 && ix < c.x.dim[3]) {
                            visit(((n * c.x.dim[2] + iy) * c.x.dim[3] + ix) * c.x.dim[1],
                                  (ky * c.w.dim[3] + kx) * c.w.dim[1],
                                  ((n * c.y.dim[2] + oy) * c.y.dim[3] + ox) * c.y.dim[1]);
                        }
                    }
                }
            }
        }
    }
}

std::vector<double> unpack(const tensor &t, const void *from, bool rounds)
{
    std::vector<double> out((size_t)t.count());
    for (int64_t i = 0; i < t.count(); ++i) {
        float v = read_element(t.type, from, i);
        out[(size_t)i] = (double)(rounds ? __bfloat162float(__float2bfloat16_rn(v)) : v);
    }
    return out;
}

} // namespace

void edt_emulator::convolve(const convolution &c, bool rounds_inputs, void *const pointers[4],
                            size_t workspace_bytes)
{
    const tensor *tensors[3] = {&c.x, &c.w, &c.y};
    const int to = c.kind == FORWARD ? 2 : c.kind == DATA ? 0 : 1;
    for (int i = 0; i < 3; ++i) {
        if (!check_device("cudnnBackendExecute: tensor", pointers[i],
                          (size_t)tensors[i]->count() * element_bytes(tensors[i]->type))) {
            return;
        }
    }
    if (workspace_bytes > 0) {
        if (!check_device("cudnnBackendExecute: workspace", pointers[3], workspace_bytes)) {
            return;
        }
        memset(pointers[3], 0xff, workspace_bytes);
    }
    std::vector<double> values[3];
    for (int i = 0; i < 3; ++i) {
        values[i] = i == to ? std::vector<double>((size_t)tensors[i]->count(), 0.0)
                            : unpack(*tensors[i], pointers[i], rounds_inputs);
    }
    double *x = values[0].data();
    double *w = values[1].data();
    double *y = values[2].data();
    const int64_t ci = c.x.dim[1];
    const int64_t co = c.y.dim[1];
    const int64_t filter = c.w.dim[1] * c.w.dim[2] * c.w.dim[3]; // from one co to the next
    for_each_window(c, [&](int64_t at_x, int64_t at_w, int64_t at_y) {
        for (int64_t o = 0; o < co; ++o) {
            double *wo = w + o * filter + at_w;
            for (int64_t i = 0; i < ci; ++i) {
                switch (c.kind) {
                case FORWARD: y[at_y + o] += x[at_x + i] * wo[i]; break;
                case DATA: x[at_x + i] += y[at_y + o] * wo[i]; break;
                case WEIGHT: wo[i] += x[at_x + i] * y[at_y + o]; break;
                }
            }
        }
    });
    for (int64_t i = 0; i < tensors[to]->count(); ++i) {
        write_element(tensors[to]->type, pointers[to], i, (float)values[to][(size_t)i]);
    }
}
