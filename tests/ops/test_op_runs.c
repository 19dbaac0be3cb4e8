// What the executor relies on beyond right numbers, on all cases of op_cases.h: output 0 may
// lie over the input that the op table names, a run repeated gives the same bits, and derived
// weights follow params_version.
#include <criterion/criterion.h>
#include <string.h>

#include "tests/support/op_cases.h"

// Operands of one case on the host, which is where `ref` and `cpu` compute.
typedef struct operands {
    edt_op_desc desc;
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
} operands;

static void fill_outputs(operands *o)
{
    for (int i = 0; i < o->desc.n_out; ++i) {
        if (o->out[i] != NULL) {
            memset(o->out[i], 0, edt_tensor_bytes(&o->desc.out[i]));
        }
    }
}

static void operands_create(const edt_op_case *c, operands *o)
{
    edt_error err = {0};
    *o = (operands){0};
    cr_assert_eq(edt_op_retype(&c->desc, EDT_DTYPE_F32, &err, &o->desc), EDT_OK, "%s",
                 err.text);
    for (int i = 0; i < o->desc.n_in; ++i) {
        if (o->desc.in[i].dtype != EDT_DTYPE_NONE) {
            o->in[i] = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(&o->desc.in[i]));
        }
    }
    for (int i = 0; i < o->desc.n_out; ++i) {
        if ((c->absent_out >> i & 1) == 0) {
            o->out[i] = edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(&o->desc.out[i]));
        }
    }
    edt_op_fill(&o->desc, c->seed, o->in);
}

static void operands_destroy(operands *o)
{
    for (int i = 0; i < EDT_OP_MAX_IN; ++i) {
        edt_mem_free(o->in[i]);
    }
    for (int i = 0; i < EDT_OP_MAX_OUT; ++i) {
        edt_mem_free(o->out[i]);
    }
}

// A prepared kernel with its workspace.
typedef struct prepared {
    edt_backend *backend;
    edt_kernel *kernel;
    void *workspace;
} prepared;

static bool prepare(edt_backend *backend, const edt_op_desc *desc, prepared *p)
{
    const edt_backend_table *table = backend->table;
    edt_error err = {0};
    size_t n_bytes = 0;
    *p = (prepared){.backend = backend};
    if (table->supports(backend, desc, &err) == EDT_ERR_UNSUPPORTED) {
        return false;
    }
    cr_assert_eq(table->prepare(backend, desc, &err, &p->kernel, &n_bytes), EDT_OK, "%s",
                 err.text);
    cr_assert_eq(table->alloc(backend, EDT_MEM_WORKSPACE, n_bytes + 1, &err, &p->workspace),
                 EDT_OK);
    return true;
}

static void release(prepared *p)
{
    p->backend->table->free(p->backend, p->workspace);
    p->backend->table->release(p->backend, p->kernel);
}

static void run(const prepared *p, uint64_t version, void *const *in, void *const *out)
{
    const edt_run_ctx ctx = {
        .params_version = version, .learning_rate = 0.05, .ema_decay = 0.9, .adam_t = 3};
    edt_error err = {0};
    cr_assert_eq(
        p->backend->table->run(p->backend, p->kernel, &ctx, in, out, p->workspace, &err),
        EDT_OK, "%s", err.text);
}

static void run_once(edt_backend *backend, operands *o)
{
    prepared p;
    cr_assert(prepare(backend, &o->desc, &p));
    run(&p, 1, o->in, o->out);
    release(&p);
}

static bool same_outputs(const operands *a, const operands *b)
{
    bool same = true;
    for (int i = 0; i < a->desc.n_out; ++i) {
        same = same && (a->out[i] == NULL ||
                        memcmp(a->out[i], b->out[i], edt_tensor_bytes(&a->desc.out[i])) == 0);
    }
    return same;
}

static bool same_updated(const operands *a, const operands *b)
{
    const uint32_t inout = edt_op_get_info(a->desc.kind)->inout_mask;
    bool same = true;
    for (int i = 0; i < a->desc.n_in; ++i) {
        const bool updated = (inout >> i & 1) != 0 && a->in[i] != NULL &&
                             !(a->desc.kind == EDT_OP_OPTIMIZER && i == 1); // the gradients
        same = same &&
               (!updated || memcmp(a->in[i], b->in[i], edt_tensor_bytes(&a->desc.in[i])) == 0);
    }
    return same;
}

static edt_backend *open_backend(const char *name, int n_threads)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(edt_backend_create(name, &(edt_backend_options){.n_threads = n_threads}, &err,
                                    &backend),
                 EDT_OK, "%s", err.text);
    return backend;
}

static bool supported(edt_backend *backend, const edt_op_case *c)
{
    edt_error err = {0};
    edt_op_desc desc;
    cr_assert_eq(edt_op_retype(&c->desc, EDT_DTYPE_F32, &err, &desc), EDT_OK);
    return backend->table->supports(backend, &desc, &err) == EDT_OK;
}

static void check_alias(const char *name, int n_threads)
{
    edt_backend *backend = open_backend(name, n_threads);
    bool seen[EDT_OP_N_KINDS] = {false};
    edt_op_case c;
    for (int i = 0; edt_op_case_get(i, &c); ++i) {
        const int alias = edt_op_get_info(c.desc.kind)->alias_in;
        if (alias < 0 || (c.absent_out & 1) != 0 || !supported(backend, &c)) {
            continue;
        }
        operands apart, over;
        operands_create(&c, &apart);
        operands_create(&c, &over);
        run_once(backend, &apart);
        const size_t n_bytes = edt_tensor_bytes(&over.desc.out[0]);
        cr_assert_eq(n_bytes, edt_tensor_bytes(&over.desc.in[alias]), "%s", c.name);
        void *own = over.out[0];
        over.out[0] = over.in[alias];
        run_once(backend, &over);
        cr_expect(same_outputs(&apart, &over), "%s, %d threads: %s differs in place", name,
                  n_threads, c.name);
        over.out[0] = own;
        operands_destroy(&apart);
        operands_destroy(&over);
        seen[c.desc.kind] = true;
    }
    for (int kind = 0; kind < EDT_OP_N_KINDS; ++kind) {
        const edt_op_info *info = edt_op_get_info((edt_op_kind)kind);
        cr_expect(seen[kind] || info->alias_in < 0, "no case of %s ran", info->name);
    }
    edt_backend_destroy(&backend);
}

Test(op_runs, output_over_its_input_on_ref, .timeout = 120)
{
    check_alias("ref", 1);
}

Test(op_runs, output_over_its_input_on_cpu, .timeout = 120)
{
    check_alias("cpu", 1);
    check_alias("cpu", 2);
}

// Another kernel, other memory, the same bits.
Test(op_runs, a_repeated_run_gives_the_same_bits_on_cpu, .timeout = 120)
{
    for (int n_threads = 1; n_threads <= 2; ++n_threads) {
        edt_backend *backend = open_backend("cpu", n_threads);
        edt_op_case c;
        for (int i = 0; edt_op_case_get(i, &c); ++i) {
            if (!supported(backend, &c)) {
                continue;
            }
            operands first, again;
            operands_create(&c, &first);
            operands_create(&c, &again);
            run_once(backend, &first);
            run_once(backend, &again);
            cr_expect(same_outputs(&first, &again) && same_updated(&first, &again),
                      "%d threads: %s differs", n_threads, c.name);
            operands_destroy(&first);
            operands_destroy(&again);
        }
        edt_backend_destroy(&backend);
    }
}

static void halve(const operands *o, int i)
{
    const int64_t n = edt_shape_count(&o->desc.in[i].shape);
    for (int64_t k = 0; k < n; ++k) {
        ((float *)o->in[i])[k] *= 0.5F;
    }
}

// One kernel, whose parameters change in place between the runs.
static void check_version(edt_backend *backend, const edt_op_case *c)
{
    const bool gradient = c->desc.kind == EDT_OP_CONV2D_DATA;
    for (int i_param = 1; i_param < (gradient ? 2 : c->desc.n_in); ++i_param) {
        operands o, fresh;
        prepared p;
        operands_create(c, &o);
        operands_create(c, &fresh);
        cr_assert(prepare(backend, &o.desc, &p));
        run(&p, 7, o.in, o.out);
        halve(&o, i_param);
        halve(&fresh, i_param);
        run(&p, 7, o.in, o.out); // may use what it derived before
        fill_outputs(&o);
        run(&p, 8, o.in, o.out);
        run_once(backend, &fresh);
        cr_expect(same_outputs(&o, &fresh), "%s: operand %d is not seen", c->name, i_param);
        release(&p);
        operands_destroy(&o);
        operands_destroy(&fresh);
    }
}

Test(op_runs, derived_weights_follow_the_version_on_cpu, .timeout = 120)
{
    static const edt_op_kind kinds[] = {EDT_OP_CONV2D, EDT_OP_CONV2D_DATA, EDT_OP_CONV2D_BN_ACT,
                                        EDT_OP_DEPTHWISE_BN_ACT};
    enum { N_KINDS = sizeof kinds / sizeof kinds[0] };
    int n_seen[N_KINDS] = {0};
    edt_backend *backend = open_backend("cpu", 1);
    edt_op_case c;
    for (int i = 0; edt_op_case_get(i, &c); ++i) {
        for (int k = 0; k < N_KINDS; ++k) {
            if (c.desc.kind == kinds[k] && supported(backend, &c)) {
                check_version(backend, &c);
                ++n_seen[k];
            }
        }
    }
    for (int k = 0; k < N_KINDS; ++k) {
        cr_expect_gt(n_seen[k], 0, "%s", edt_op_get_info(kinds[k])->name);
    }
    edt_backend_destroy(&backend);
}
