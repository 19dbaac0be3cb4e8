// Properties of bucket plans over random arenas.
#include <criterion/criterion.h>

#include "core/mem.h"
#include "core/rng.h"
#include "dist/bucket.h"

enum { N_SEGMENTS = 300 };

static int64_t draw(edt_rng *rng, int64_t n)
{
    return (int64_t)(edt_rng_uniform_f32(rng) * (float)n);
}

// Segments one after another with padding to 16 elements and now and then a hole.
static int64_t make_arena(uint64_t seed, edt_bucket_segment *out)
{
    edt_rng rng;
    edt_rng_init(&rng, seed, 0, 0, 0);
    int64_t at = 0;
    for (int64_t i = 0; i < N_SEGMENTS; ++i) {
        const int64_t n = 1 + draw(&rng, i % 20 == 0 ? 60000 : 900);
        out[i] = (edt_bucket_segment){
            .offset = at, .n = n, .ready_at = N_SEGMENTS - i + draw(&rng, 9) - 4};
        at = (at + n + 15) / 16 * 16 + (draw(&rng, 25) == 0 ? 160 : 0);
    }
    return at;
}

Test(bucket, every_gradient_is_in_one_bucket_that_waits_for_it, .timeout = 30)
{
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        edt_bucket_segment segments[N_SEGMENTS];
        edt_error err = {0};
        edt_bucket_plan plan;
        (void)make_arena(seed, segments);
        const int64_t target = 1000 * (int64_t)seed;
        cr_assert_eq(edt_bucket_plan_init(segments, N_SEGMENTS, target, &err, &plan), EDT_OK,
                     "%s", err.text);
        int64_t n_inside = 0;
        for (int64_t b = 0; b < plan.n_buckets; ++b) {
            const edt_bucket_segment *bucket = &plan.buckets[b];
            int64_t latest = INT64_MIN, filled = 0, smallest_n = INT64_MAX;
            for (int i = 0; i < N_SEGMENTS; ++i) {
                const edt_bucket_segment *s = &segments[i];
                const bool touches =
                    s->offset < bucket->offset + bucket->n && bucket->offset < s->offset + s->n;
                if (!touches) {
                    continue;
                }
                cr_assert(s->offset >= bucket->offset &&
                          s->offset + s->n <= bucket->offset + bucket->n);
                latest = s->ready_at > latest ? s->ready_at : latest;
                filled += s->n;
                ++n_inside;
                // The segment of the lowest offset is the one that closed the bucket.
                smallest_n = s->offset == bucket->offset ? s->n : smallest_n;
            }
            cr_assert_eq(latest, bucket->ready_at);
            cr_assert_lt(bucket->n - smallest_n, target + 16);
            cr_assert_gt(filled, 0);
            cr_assert(b == 0 || plan.buckets[b - 1].ready_at <= bucket->ready_at);
        }
        cr_assert_eq(n_inside, N_SEGMENTS);
        edt_bucket_plan_deinit(&plan);
    }
}

Test(bucket, holes_are_never_summed, .timeout = 10)
{
    const edt_bucket_segment segments[] = {
        {.offset = 0, .n = 10, .ready_at = 3},
        {.offset = 16, .n = 16, .ready_at = 2}, // padding before it
        {.offset = 48, .n = 4, .ready_at = 1},  // a frozen variable before it
    };
    edt_error err = {0};
    edt_bucket_plan plan;
    cr_assert_eq(edt_bucket_plan_init(segments, 3, 1000, &err, &plan), EDT_OK);
    cr_assert_eq(plan.n_buckets, 2);
    cr_assert(plan.buckets[0].offset == 48 && plan.buckets[0].n == 4);
    cr_assert(plan.buckets[1].offset == 0 && plan.buckets[1].n == 32);
    cr_assert_eq(plan.buckets[1].ready_at, 3);
    edt_bucket_plan_deinit(&plan);
}

Test(bucket, overlapping_segments_are_refused, .timeout = 10)
{
    const edt_bucket_segment segments[] = {{.offset = 0, .n = 10, .ready_at = 3},
                                           {.offset = 9, .n = 4, .ready_at = 1}};
    edt_error err = {0};
    edt_bucket_plan plan;
    cr_assert_eq(edt_bucket_plan_init(segments, 2, 4, &err, &plan), EDT_ERR_INTERNAL);
    cr_assert_eq(edt_bucket_plan_init(segments, 0, 4, &err, &plan), EDT_OK);
    cr_assert_eq(plan.n_buckets, 0);
    edt_bucket_plan_deinit(&plan);
}
