// See bucket.h. The backward pass writes the arena roughly from its end to its beginning, so
// buckets are filled from the end: what lies together is then ready together.
#include "dist/bucket.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "core/mem.h"

enum { MAX_GAP = EDT_MEM_ALIGN / 4 };

static int by_falling_offset(const void *a, const void *b)
{
    const edt_bucket_segment *x = a, *y = b;
    return (x->offset < y->offset) - (x->offset > y->offset);
}

static int by_readiness(const void *a, const void *b)
{
    const edt_bucket_segment *x = a, *y = b;
    if (x->ready_at != y->ready_at) {
        return x->ready_at < y->ready_at ? -1 : 1;
    }
    return by_falling_offset(a, b);
}

edt_status edt_bucket_plan_init(const edt_bucket_segment *segments, int64_t n_segments,
                                int64_t target_n, edt_error *err, edt_bucket_plan *out_plan)
{
    edt_bucket_segment *s = edt_mem_calloc(EDT_MEM_MISC, (size_t)n_segments, sizeof *s);
    if (s == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " buckets of gradients",
                 n_segments);
    }
    if (n_segments > 0) {
        memcpy(s, segments, (size_t)n_segments * sizeof *s);
        qsort(s, (size_t)n_segments, sizeof *s, by_falling_offset);
    }
    // Buckets overwrite the segments that they have swallowed.
    int64_t n_buckets = 0;
    for (int64_t i = 0; i < n_segments; ++i) {
        const edt_bucket_segment next = s[i];
        edt_bucket_segment *open = n_buckets > 0 ? &s[n_buckets - 1] : NULL;
        if (next.n <= 0 || next.offset < 0 ||
            (open != NULL && next.offset + next.n > open->offset)) {
            edt_mem_free(s);
            EDT_FAIL(err, EDT_ERR_INTERNAL,
                     "gradient segment of %" PRId64 " elements at %" PRId64
                     " is empty or overlaps its neighbour",
                     next.n, next.offset);
        }
        if (open != NULL && open->n < target_n &&
            open->offset - (next.offset + next.n) < MAX_GAP) {
            open->n = open->offset + open->n - next.offset;
            open->offset = next.offset;
            open->ready_at = open->ready_at > next.ready_at ? open->ready_at : next.ready_at;
        } else {
            s[n_buckets++] = next;
        }
    }
    qsort(s, (size_t)n_buckets, sizeof *s, by_readiness);
    *out_plan = (edt_bucket_plan){.buckets = s, .n_buckets = n_buckets};
    return EDT_OK;
}

void edt_bucket_plan_deinit(edt_bucket_plan *plan)
{
    edt_mem_free(plan->buckets);
    *plan = (edt_bucket_plan){0};
}
