// A coordinate of a warp along one output row, exactly as the reference computes it in f32.
// Rounding is monotone, hence so is the coordinate: where it passes a limit is one place, found
// by trying the formula itself around an estimate.
#ifndef EDT_AUGMENT_PIXEL_LINE_H
#define EDT_AUGMENT_PIXEL_LINE_H

#include <stdbool.h>
#include <stdint.h>

// (slope*x + shift) + last
typedef struct edt_line {
    float slope, shift, last;
} edt_line;

static inline float edt_line_at(edt_line l, int64_t x)
{
    return (l.slope * (float)x + l.shift) + l.last;
}

// What edt_line_first_past looks for; each is false up to some x and true from there on, for a
// line that rises (slope >= 0) or falls.
typedef enum edt_line_past {
    EDT_LINE_AT_LEAST,  // value >= limit; rising
    EDT_LINE_ABOVE,     // value > limit; rising
    EDT_LINE_BELOW,     // value < limit; falling
    EDT_LINE_NOT_ABOVE, // value <= limit; falling
} edt_line_past;

static inline bool edt_line_is_past(edt_line l, int64_t x, edt_line_past past, float limit)
{
    const float v = edt_line_at(l, x);
    switch (past) {
    case EDT_LINE_AT_LEAST: return v >= limit;
    case EDT_LINE_ABOVE: return v > limit;
    case EDT_LINE_BELOW: return !(v >= limit);
    default: return !(v > limit);
    }
}

// The first x in [begin, end] that is past; `end` when none before it is.
static inline int64_t edt_line_first_past(edt_line l, int64_t begin, int64_t end,
                                          edt_line_past past, float limit)
{
    int64_t lo = begin, hi = end; // not past below lo, past from hi on
    const double estimate =
        ((double)limit - (double)l.last - (double)l.shift) / (double)l.slope;
    if (estimate >= (double)(begin + 1) && estimate < (double)(end - 1)) {
        const int64_t x = (int64_t)estimate;
        if (edt_line_is_past(l, x - 1, past, limit)) {
            hi = x - 1;
        } else if (edt_line_is_past(l, x + 1, past, limit)) {
            lo = x;
            hi = x + 1;
        } else {
            lo = x + 2;
        }
    }
    while (lo < hi) {
        const int64_t mid = lo + (hi - lo) / 2;
        if (edt_line_is_past(l, mid, past, limit)) {
            hi = mid;
        } else {
            lo = mid + 1;
        }
    }
    return lo;
}

#endif
