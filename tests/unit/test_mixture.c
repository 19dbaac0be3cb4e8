// Shares of data sets and of pictures without objects, and how evenly their records are used.
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "dataio/mixture.h"
#include "dataio/sampler.h"

enum { N = 60 };

static const char *const names[] = {"'a-*'", "'b-*'", "'c-*'"};

typedef struct data {
    int32_t set_of[N];
    uint32_t n_objects[N];
} data;

// Sets of 30, 20 and 10 records; every fifth record is without objects.
static data make_data(void)
{
    data d;
    for (int i = 0; i < N; ++i) {
        d.set_of[i] = i < 30 ? 0 : i < 50 ? 1 : 2;
        d.n_objects[i] = i % 5 == 0 ? 0 : (uint32_t)i;
    }
    return d;
}

static edt_mixture_options options_of(const data *d, const double *weights, double ratio)
{
    return (edt_mixture_options){.n_records = N,
                                 .n_sets = 3,
                                 .set_of = d->set_of,
                                 .weights = weights,
                                 .names = names,
                                 .negatives_ratio = ratio,
                                 .n_objects = d->n_objects,
                                 .shuffled = true,
                                 .seed = 5};
}

static edt_mixture *make_mixture(const edt_mixture_options *o)
{
    edt_mixture *m = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_mixture_create(o, &err, &m), EDT_OK, "%s", err.text);
    return m;
}

// Every epoch has the stated shares; over epochs the records of a stratum are used equally
// often, but for the pass at work.
static void check_use(const edt_mixture_options *o, int64_t n_epochs)
{
    edt_mixture *m = make_mixture(o);
    int64_t count[N] = {0};
    for (int64_t e = 0; e < n_epochs; ++e) {
        int64_t places[6] = {0};
        bool seen[N][32] = {{false}};
        for (int64_t p = 0; p < N; ++p) {
            int64_t repeat = -1;
            const int64_t i = edt_mixture_record(m, e, p, &repeat);
            cr_assert(i >= 0 && i < N && repeat >= 0 && repeat < 32);
            cr_assert(!seen[i][repeat], "one name for two");
            seen[i][repeat] = true;
            ++count[i];
            ++places[2 * o->set_of[i] + (!isnan(o->negatives_ratio) && o->n_objects[i] == 0)];
        }
        for (int64_t s = 0; s < edt_mixture_n_strata(m); ++s) {
            cr_assert_eq(places[s], edt_mixture_n_places(m, s));
        }
    }
    for (int64_t i = 0; i < N; ++i) {
        const int64_t s =
            2 * o->set_of[i] + (!isnan(o->negatives_ratio) && o->n_objects[i] == 0);
        const int64_t n_shown = n_epochs * edt_mixture_n_places(m, s);
        const int64_t least = n_shown / edt_mixture_n_members(m, s);
        cr_assert(count[i] == least ||
                      (count[i] == least + 1 && n_shown % edt_mixture_n_members(m, s) != 0),
                  "record %d: %d times, %d expected", (int)i, (int)count[i], (int)least);
    }
    edt_mixture_destroy(m);
}

Test(mixture, shares_are_exact_and_records_are_used_equally, .timeout = 30)
{
    const data d = make_data();
    static const double weights[][3] = {{1, 1, 1}, {1, 0, 3}, {0.1, 0.2, 0.7}, {5, 1, 1}};
    static const double ratios[] = {NAN, 0.0, 0.1, 0.5, 1.0};
    for (int i = 0; i < 4; ++i) {
        for (int k = 0; k < 5; ++k) {
            edt_mixture_options o = options_of(&d, weights[i], ratios[k]);
            for (int shuffled = 0; shuffled < 2; ++shuffled) {
                o.shuffled = shuffled;
                check_use(&o, 1);
                check_use(&o, 7);
                check_use(&o, 60);
            }
        }
    }
}

Test(mixture, places_follow_the_largest_remainder, .timeout = 10)
{
    const data d = make_data();
    const double sevenths[3] = {5, 1, 1}; // 42.857, 8.571, 8.571 of 60
    edt_mixture_options o = options_of(&d, sevenths, NAN);
    edt_mixture *m = make_mixture(&o);
    cr_expect_eq(edt_mixture_n_places(m, 0), 43);
    cr_expect_eq(edt_mixture_n_places(m, 2), 9);
    cr_expect_eq(edt_mixture_n_places(m, 4), 8);
    cr_expect_eq(edt_mixture_n_members(m, 2), 20);
    edt_mixture_destroy(m);
    const double tenths[3] = {0.1, 0.2, 0.7}; // whole numbers but for rounding
    o = options_of(&d, tenths, 0.5);
    m = make_mixture(&o);
    static const int64_t want[6] = {3, 3, 6, 6, 21, 21};
    for (int64_t s = 0; s < 6; ++s) {
        cr_expect_eq(edt_mixture_n_places(m, s), want[s], "stratum %d", (int)s);
    }
    edt_mixture_destroy(m);
}

Test(mixture, an_even_mixture_in_order_alternates, .timeout = 10)
{
    const data d = make_data();
    const double weights[3] = {1, 0, 1};
    edt_mixture_options o = options_of(&d, weights, NAN);
    o.shuffled = false;
    edt_mixture *m = make_mixture(&o);
    for (int64_t p = 0; p < N; ++p) {
        int64_t repeat;
        const int64_t i = edt_mixture_record(m, 0, p, &repeat);
        cr_assert_eq(i, p % 2 == 0 ? p / 2 : 50 + p / 2 % 10);
        cr_assert_eq(repeat, p % 2 == 0 ? 0 : p / 20);
    }
    edt_mixture_destroy(m);
}

Test(mixture, a_sampler_takes_its_order_and_names_repeats_apart, .timeout = 10)
{
    const data d = make_data();
    const double weights[3] = {0, 0, 1};
    const edt_mixture_options o = options_of(&d, weights, NAN);
    edt_mixture *m = make_mixture(&o);
    const edt_sampler s = {.n_samples = N,
                           .batch_size = 4,
                           .world_size = 1,
                           .order = EDT_ORDER_GLOBAL,
                           .mixture = m,
                           .seed = 5};
    for (int64_t e = 0; e < 3; ++e) {
        bool used[6 * N] = {false};
        for (int64_t p = 0; p < N; ++p) {
            const edt_sampler_pick pick = edt_sampler_get(&s, e, p);
            cr_assert_geq(pick.index, 50);
            cr_assert_eq(pick.drawn_as % N, pick.index);
            cr_assert(pick.drawn_as < 6 * N && !used[pick.drawn_as]);
            used[pick.drawn_as] = true;
        }
    }
    cr_assert_eq(edt_sampler_window(&s, 0, 7).n, N);
    edt_mixture_destroy(m);
}

static void refuse(const edt_mixture_options *o, const char *words)
{
    edt_mixture *m = NULL;
    edt_error err = {0};
    cr_expect_eq(edt_mixture_create(o, &err, &m), EDT_ERR_USAGE, "%s", words);
    cr_expect_not_null(strstr(err.text, words), "%s", err.text);
}

Test(mixture, what_the_data_cannot_give_is_refused_with_counts, .timeout = 10)
{
    data d = make_data();
    const double one[3] = {1, 1, 1}, none[3] = {0, 0, 0}, rare[3] = {1, 1, 1e-6};
    edt_mixture_options o = options_of(&d, none, NAN);
    refuse(&o, "at least one must be above 0");
    o.weights = rare;
    refuse(&o, "'c-*' would get");
    for (int i = 0; i < N; ++i) {
        d.n_objects[i] += 1;
    }
    o = options_of(&d, one, 0.25);
    refuse(&o, "of the 30 records of 'a-*', 0 are without objects and 30 have some");
    o.negatives_ratio = 0.0;
    edt_mixture_destroy(make_mixture(&o));
    memset(d.n_objects, 0, sizeof d.n_objects);
    o.negatives_ratio = 0.75;
    refuse(&o, "30 are without objects and 0 have some");
    for (int i = 0; i < N; ++i) {
        d.set_of[i] = 1;
    }
    o.negatives_ratio = NAN;
    refuse(&o, "'a-*' has weight 1 but no records");
}
