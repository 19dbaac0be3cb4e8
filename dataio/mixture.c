// See mixture.h. Strata are numbered 2 * set + (1 for records without objects, when they are
// told apart).
#include "dataio/mixture.h"

#include <inttypes.h>
#include <math.h>

#include "core/mem.h"
#include "core/rng.h"

// What the seeds of the strata's permutations are drawn from.
static const uint32_t stage_mixture = 0x6d697874;

typedef struct stratum {
    int64_t first_member, n_members; // in `members`
    int64_t first_slot, n_slots;     // of every epoch
    double remainder;
    uint64_t seed;
} stratum;

struct edt_mixture {
    int64_t n_records;
    int64_t n_strata;
    stratum *strata;
    uint32_t *members; // [n_records] grouped by stratum, in order
    uint32_t *slots;   // [n_records] of the positions, when not shuffled
    bool shuffled;
    uint64_t seed;
};

static int64_t stratum_of(const edt_mixture_options *o, int64_t i)
{
    const int64_t set = o->set_of != NULL ? o->set_of[i] : 0;
    return 2 * set + (!isnan(o->negatives_ratio) && o->n_objects[i] == 0);
}

static void gather_members(const edt_mixture_options *o, edt_mixture *m)
{
    for (int64_t i = 0; i < m->n_records; ++i) {
        ++m->strata[stratum_of(o, i)].n_members;
    }
    for (int64_t s = 1; s < m->n_strata; ++s) {
        m->strata[s].first_member = m->strata[s - 1].first_member + m->strata[s - 1].n_members;
    }
    for (int64_t s = 0; s < m->n_strata; ++s) {
        m->strata[s].n_members = 0;
    }
    for (int64_t i = 0; i < m->n_records; ++i) {
        stratum *s = &m->strata[stratum_of(o, i)];
        m->members[s->first_member + s->n_members++] = (uint32_t)i;
    }
}

static edt_status check_share(const edt_mixture_options *o, const edt_mixture *m, int64_t i,
                              double share, edt_error *err)
{
    const stratum *s = &m->strata[i];
    const stratum *other = &m->strata[i ^ 1];
    const char *name = o->names[i / 2];
    if (share <= 0.0) {
        return EDT_OK;
    }
    if (s->n_members == 0 && other->n_members == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "dataset_weights: %s has weight %g but no records; give it weight 0 or leave "
                 "it out",
                 name, o->weights != NULL ? o->weights[i / 2] : 1.0);
    }
    if (s->n_members == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "negatives_ratio=%g: of the %" PRId64 " records of %s, %" PRId64
                 " are without objects and %" PRId64
                 " have some; %s need%s records of both kinds (0 and 1 leave one kind out)",
                 o->negatives_ratio, s->n_members + other->n_members, name,
                 (i & 1) != 0 ? s->n_members : other->n_members,
                 (i & 1) != 0 ? other->n_members : s->n_members,
                 o->n_sets > 1 ? "all data sets with a weight" : "the data set",
                 o->n_sets > 1 ? "" : "s");
    }
    if (s->n_slots == 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "%s%s would get %g of the %" PRId64
                 " samples of an epoch, that is none; raise its share (dataset_weights, "
                 "negatives_ratio) or set it to 0",
                 isnan(o->negatives_ratio) ? ""
                 : (i & 1) != 0            ? "the records without objects of "
                                           : "the records with objects of ",
                 name, share * (double)m->n_records, m->n_records);
    }
    return EDT_OK;
}

// Largest remainder; of equal remainders the first stratum's.
static edt_status share_out(const edt_mixture_options *o, edt_mixture *m, edt_error *err)
{
    double sum = 0.0;
    for (int64_t d = 0; d < o->n_sets; ++d) {
        sum += o->weights != NULL ? o->weights[d] : 1.0;
    }
    if (!(sum > 0.0) || !isfinite(sum)) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "dataset_weights: the weights add up to %g; at least one must be above 0",
                 sum);
    }
    const double ratio = isnan(o->negatives_ratio) ? 0.0 : o->negatives_ratio;
    int64_t left = m->n_records;
    for (int64_t i = 0; i < m->n_strata; ++i) {
        stratum *s = &m->strata[i];
        const double weight = (o->weights != NULL ? o->weights[i / 2] : 1.0) / sum;
        const double share = weight * ((i & 1) != 0 ? ratio : 1.0 - ratio);
        const double exact = share * (double)m->n_records;
        // What rounding has taken from a whole number is given back.
        s->n_slots = (int64_t)floor(exact + 1e-12 * (double)m->n_records);
        s->remainder = share > 0.0 ? exact - (double)s->n_slots : -INFINITY;
        left -= s->n_slots;
    }
    for (; left > 0; --left) {
        stratum *best = &m->strata[0];
        for (int64_t i = 1; i < m->n_strata; ++i) {
            best = m->strata[i].remainder > best->remainder ? &m->strata[i] : best;
        }
        ++best->n_slots;
        best->remainder -= 1.0;
    }
    for (int64_t i = 0, first = 0; i < m->n_strata; ++i) {
        m->strata[i].first_slot = first;
        first += m->strata[i].n_slots;
        const double weight = (o->weights != NULL ? o->weights[i / 2] : 1.0) / sum;
        EDT_TRY(check_share(o, m, i, weight * ((i & 1) != 0 ? ratio : 1.0 - ratio), err));
    }
    return EDT_OK;
}

// Strata side by side as evenly as can be: the k-th of n stands at (k + 1/2) / n of the epoch.
static edt_status interleave(edt_mixture *m, edt_error *err)
{
    int64_t *taken = edt_mem_calloc(EDT_MEM_MISC, (size_t)m->n_strata, sizeof *taken);
    if (taken == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to mix data sets");
    }
    for (int64_t p = 0; p < m->n_records; ++p) {
        int64_t next = -1;
        double next_at = INFINITY;
        for (int64_t i = 0; i < m->n_strata; ++i) {
            const double at = ((double)taken[i] + 0.5) /
                              (double)(m->strata[i].n_slots > 0 ? m->strata[i].n_slots : 1);
            if (taken[i] < m->strata[i].n_slots && at < next_at) {
                next = i;
                next_at = at;
            }
        }
        m->slots[p] = (uint32_t)(m->strata[next].first_slot + taken[next]++);
    }
    edt_mem_free(taken);
    return EDT_OK;
}

static edt_status init(const edt_mixture_options *o, edt_mixture *m, edt_error *err)
{
    if (o->n_records > UINT32_MAX) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "dataset_weights and negatives_ratio mix at most %" PRIu32
                 " records; there are %" PRId64,
                 UINT32_MAX, o->n_records);
    }
    const size_t n = (size_t)o->n_records + 1;
    m->n_records = o->n_records;
    m->n_strata = 2 * o->n_sets;
    m->shuffled = o->shuffled;
    m->seed = o->seed;
    m->strata = edt_mem_calloc(EDT_MEM_MISC, (size_t)m->n_strata, sizeof *m->strata);
    m->members = edt_mem_alloc(EDT_MEM_MISC, n * sizeof *m->members);
    m->slots = o->shuffled ? NULL : edt_mem_alloc(EDT_MEM_MISC, n * sizeof *m->slots);
    if (m->strata == NULL || m->members == NULL || (m->slots == NULL && !o->shuffled)) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to mix %" PRId64 " records", o->n_records);
    }
    for (int64_t i = 0; i < m->n_strata; ++i) {
        edt_rng rng;
        edt_rng_init(&rng, o->seed, 0, (uint64_t)i, stage_mixture);
        m->strata[i].seed = edt_rng_next_u64(&rng);
    }
    gather_members(o, m);
    EDT_TRY(share_out(o, m, err));
    return o->shuffled ? EDT_OK : interleave(m, err);
}

edt_status edt_mixture_create(const edt_mixture_options *options, edt_error *err,
                              edt_mixture **out_mixture)
{
    edt_mixture *m = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *m);
    if (m == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to mix data sets");
    }
    const edt_status status = init(options, m, err);
    if (status != EDT_OK) {
        edt_mixture_destroy(m);
        return status;
    }
    *out_mixture = m;
    return EDT_OK;
}

void edt_mixture_destroy(edt_mixture *mixture)
{
    if (mixture != NULL) {
        edt_mem_free(mixture->strata);
        edt_mem_free(mixture->members);
        edt_mem_free(mixture->slots);
        edt_mem_free(mixture);
    }
}

int64_t edt_mixture_record(const edt_mixture *mixture, int64_t epoch, int64_t position,
                           int64_t *out_repeat)
{
    const edt_mixture *m = mixture;
    const int64_t slot = m->shuffled
                             ? edt_rng_permute(m->seed, (uint64_t)epoch, m->n_records, position)
                             : (int64_t)m->slots[position];
    const stratum *s = m->strata;
    while (slot - s->first_slot >= s->n_slots) {
        ++s;
    }
    // Passes over the stratum go on from epoch to epoch.
    const int64_t t = epoch * s->n_slots + slot - s->first_slot;
    const int64_t pass = t / s->n_members;
    const int64_t i = t % s->n_members;
    *out_repeat = pass - epoch * s->n_slots / s->n_members;
    return m->members[s->first_member +
                      (m->shuffled ? edt_rng_permute(s->seed, (uint64_t)pass, s->n_members, i)
                                   : i)];
}

int64_t edt_mixture_n_strata(const edt_mixture *mixture)
{
    return mixture->n_strata;
}

int64_t edt_mixture_n_members(const edt_mixture *mixture, int64_t i_stratum)
{
    return mixture->strata[i_stratum].n_members;
}

int64_t edt_mixture_n_places(const edt_mixture *mixture, int64_t i_stratum)
{
    return mixture->strata[i_stratum].n_slots;
}
