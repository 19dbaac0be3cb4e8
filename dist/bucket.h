// Cuts a gradient arena into contiguous ranges that are summed over ranks one by one, each as
// soon as the backward pass has written its last gradient. Pure arithmetic on offsets.
#ifndef EDT_DIST_BUCKET_H
#define EDT_DIST_BUCKET_H

#include <stdint.h>

#include "core/error.h"

// Target sizes: large enough to use the link, small enough that the first sum starts early.
enum { EDT_BUCKET_DEVICE_BYTES = 4 << 20, EDT_BUCKET_HOST_BYTES = 1 << 20 };

// Gradient of one variable, or a range of the arena: `offset` and `n` in elements. ready_at:
// index of the last node that writes it; < 0: nothing does (it is 0 from the start).
typedef struct edt_bucket_segment {
    int64_t offset, n;
    int64_t ready_at;
} edt_bucket_segment;

typedef struct edt_bucket_plan {
    edt_bucket_segment
        *buckets; // by ready_at, then by falling offset; ready_at < 0: before node 0
    int64_t n_buckets;
} edt_bucket_plan;

// `segments` in any order, not overlapping. Every element of a segment is in exactly one
// bucket. Gaps between neighbours shorter than EDT_MEM_ALIGN bytes of float (padding) may be
// inside a bucket, longer ones never. A bucket is closed once it holds target_n elements or
// more; a segment is never cut. EDT_ERR_INTERNAL for overlapping or empty segments. Free with
// edt_bucket_plan_deinit.
edt_status edt_bucket_plan_init(const edt_bucket_segment *segments, int64_t n_segments,
                                int64_t target_n, edt_error *err, edt_bucket_plan *out_plan);
void edt_bucket_plan_deinit(edt_bucket_plan *plan);

#endif
