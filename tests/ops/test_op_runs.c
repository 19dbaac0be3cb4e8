// What the executor relies on beyond right numbers, on all cases of op_cases.h: output 0 may
// lie over the input that the op table names, a run repeated or recorded and replayed gives the
// same bits, and derived weights follow params_version.
#include <criterion/criterion.h>
#include <string.h>

#include "backend/ref/ref_cast.h"
#include "tests/support/cuda_device.h"
#include "tests/support/op_cases.h"

// Operands of one case: on the host as they are before a run, in the backend's memory, and what
// came out.
typedef struct operands {
    edt_backend *backend;
    edt_op_desc desc;
    void *host_in[EDT_OP_MAX_IN];
    void *in[EDT_OP_MAX_IN];
    void *out[EDT_OP_MAX_OUT];
    void *got_in[EDT_OP_MAX_IN];
    void *got_out[EDT_OP_MAX_OUT];
} operands;

static void *zeroed(const edt_tensor_desc *t)
{
    return edt_mem_calloc(EDT_MEM_MISC, 1, edt_tensor_bytes(t));
}

static void *on_device(edt_backend *backend, const edt_tensor_desc *t)
{
    edt_error err = {0};
    void *block = NULL;
    cr_assert_eq(
        backend->table->alloc(backend, EDT_MEM_MISC, edt_tensor_bytes(t), &err, &block), EDT_OK,
        "%s", err.text);
    return block;
}

// Inputs as they were filled, outputs zero.
static void operands_reset(operands *o)
{
    const edt_backend_table *table = o->backend->table;
    edt_error err = {0};
    for (int i = 0; i < o->desc.n_in; ++i) {
        if (o->in[i] != NULL) {
            cr_assert_eq(table->upload(o->backend, o->in[i], o->host_in[i],
                                       edt_tensor_bytes(&o->desc.in[i]), &err),
                         EDT_OK, "%s", err.text);
        }
    }
    for (int i = 0; i < o->desc.n_out; ++i) {
        if (o->out[i] != NULL) {
            cr_assert_eq(
                table->zero(o->backend, o->out[i], edt_tensor_bytes(&o->desc.out[i]), &err),
                EDT_OK, "%s", err.text);
        }
    }
}

static void operands_create(edt_backend *backend, const edt_op_case *c, edt_dtype real,
                            operands *o)
{
    edt_error err = {0};
    *o = (operands){.backend = backend};
    cr_assert_eq(edt_op_retype(&c->desc, real, &err, &o->desc), EDT_OK, "%s", err.text);
    for (int i = 0; i < o->desc.n_in; ++i) {
        if (o->desc.in[i].dtype != EDT_DTYPE_NONE) {
            o->host_in[i] = zeroed(&o->desc.in[i]);
            o->got_in[i] = zeroed(&o->desc.in[i]);
            o->in[i] = on_device(backend, &o->desc.in[i]);
        }
    }
    for (int i = 0; i < o->desc.n_out; ++i) {
        if ((c->absent_out >> i & 1) == 0) {
            o->got_out[i] = zeroed(&o->desc.out[i]);
            o->out[i] = on_device(backend, &o->desc.out[i]);
        }
    }
    edt_op_fill(&o->desc, c->seed, o->host_in);
    operands_reset(o);
}

static void operands_destroy(operands *o)
{
    for (int i = 0; i < EDT_OP_MAX_IN; ++i) {
        edt_mem_free(o->host_in[i]);
        edt_mem_free(o->got_in[i]);
        o->backend->table->free(o->backend, o->in[i]);
    }
    for (int i = 0; i < EDT_OP_MAX_OUT; ++i) {
        edt_mem_free(o->got_out[i]);
        o->backend->table->free(o->backend, o->out[i]);
    }
}

// Outputs, and inputs that the op updates.
static void operands_fetch(operands *o)
{
    const edt_backend_table *table = o->backend->table;
    const uint32_t inout = edt_op_get_info(o->desc.kind)->inout_mask;
    edt_error err = {0};
    for (int i = 0; i < o->desc.n_out; ++i) {
        if (o->out[i] != NULL) {
            cr_assert_eq(table->download(o->backend, o->got_out[i], o->out[i],
                                         edt_tensor_bytes(&o->desc.out[i]), &err),
                         EDT_OK, "%s", err.text);
        }
    }
    for (int i = 0; i < o->desc.n_in; ++i) {
        if (o->in[i] != NULL && (inout >> i & 1) != 0) {
            cr_assert_eq(table->download(o->backend, o->got_in[i], o->in[i],
                                         edt_tensor_bytes(&o->desc.in[i]), &err),
                         EDT_OK, "%s", err.text);
        }
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

static const edt_run_ctx *context(uint64_t version, edt_run_ctx *ctx)
{
    *ctx = (edt_run_ctx){
        .params_version = version, .learning_rate = 0.05, .ema_decay = 0.9, .adam_t = 3};
    return ctx;
}

static void queue(const prepared *p, uint64_t version, const operands *o)
{
    edt_run_ctx ctx;
    edt_error err = {0};
    cr_assert_eq(p->backend->table->run(p->backend, p->kernel, context(version, &ctx), o->in,
                                        o->out, p->workspace, &err),
                 EDT_OK, "%s", err.text);
}

static void begin(edt_backend *backend, uint64_t version)
{
    edt_run_ctx ctx;
    edt_error err = {0};
    if (backend->table->begin != NULL) {
        cr_assert_eq(backend->table->begin(backend, context(version, &ctx), &err), EDT_OK, "%s",
                     err.text);
    }
}

static void run(const prepared *p, uint64_t version, operands *o)
{
    begin(p->backend, version);
    queue(p, version, o);
    operands_fetch(o);
}

static void run_once(operands *o)
{
    prepared p;
    cr_assert(prepare(o->backend, &o->desc, &p));
    run(&p, 1, o);
    release(&p);
}

static bool same_outputs(const operands *a, const operands *b)
{
    bool same = true;
    for (int i = 0; i < a->desc.n_out; ++i) {
        same = same &&
               (a->got_out[i] == NULL ||
                memcmp(a->got_out[i], b->got_out[i], edt_tensor_bytes(&a->desc.out[i])) == 0);
    }
    return same;
}

static bool same_updated(const operands *a, const operands *b)
{
    const uint32_t inout = edt_op_get_info(a->desc.kind)->inout_mask;
    bool same = true;
    for (int i = 0; i < a->desc.n_in; ++i) {
        const bool updated = (inout >> i & 1) != 0 && a->got_in[i] != NULL &&
                             !(a->desc.kind == EDT_OP_OPTIMIZER && i == 1); // the gradients
        same = same && (!updated || memcmp(a->got_in[i], b->got_in[i],
                                           edt_tensor_bytes(&a->desc.in[i])) == 0);
    }
    return same;
}

static edt_backend *open_backend(const char *name, int n_threads)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    if (strcmp(name, "cuda") == 0) {
        return edt_test_cuda_backend();
    }
    cr_assert_eq(edt_backend_create(name, &(edt_backend_options){.n_threads = n_threads}, &err,
                                    &backend),
                 EDT_OK, "%s", err.text);
    return backend;
}

static bool supported(edt_backend *backend, const edt_op_case *c, edt_dtype real)
{
    edt_error err = {0};
    edt_op_desc desc;
    cr_assert_eq(edt_op_retype(&c->desc, real, &err, &desc), EDT_OK);
    return backend->table->supports(backend, &desc, &err) == EDT_OK;
}

static void check_alias(const char *name, int n_threads, edt_dtype real)
{
    edt_backend *backend = open_backend(name, n_threads);
    bool seen[EDT_OP_N_KINDS] = {false};
    edt_op_case c;
    for (int i = 0; edt_op_case_get(i, &c); ++i) {
        const int alias = edt_op_get_info(c.desc.kind)->alias_in;
        if (alias < 0 || (c.absent_out & 1) != 0 || !supported(backend, &c, real)) {
            continue;
        }
        operands apart, over;
        operands_create(backend, &c, real, &apart);
        operands_create(backend, &c, real, &over);
        run_once(&apart);
        const size_t n_bytes = edt_tensor_bytes(&over.desc.out[0]);
        if (n_bytes == edt_tensor_bytes(&over.desc.in[alias])) { // a cast may change it
            void *own = over.out[0];
            over.out[0] = over.in[alias];
            run_once(&over);
            cr_expect(same_outputs(&apart, &over), "%s, %d threads: %s differs in place in %s",
                      name, n_threads, c.name, edt_dtype_name(real));
            over.out[0] = own;
            seen[c.desc.kind] = true;
        }
        operands_destroy(&apart);
        operands_destroy(&over);
    }
    for (int kind = 0; kind < EDT_OP_N_KINDS; ++kind) {
        const edt_op_info *info = edt_op_get_info((edt_op_kind)kind);
        cr_expect(seen[kind] || info->alias_in < 0, "no case of %s ran", info->name);
    }
    edt_backend_destroy(&backend);
}

Test(op_runs, output_over_its_input_on_ref, .timeout = 120)
{
    check_alias("ref", 1, EDT_DTYPE_F32);
}

Test(op_runs, output_over_its_input_on_cpu, .timeout = 120)
{
    check_alias("cpu", 1, EDT_DTYPE_F32);
    check_alias("cpu", 2, EDT_DTYPE_F32);
}

Test(op_runs, output_over_its_input_on_cuda, .timeout = 300)
{
    check_alias("cuda", 1, EDT_DTYPE_F32);
    check_alias("cuda", 1, EDT_DTYPE_BF16);
}

// Another kernel, other memory, the same bits.
static void check_repeated(const char *name, int n_threads, edt_dtype real)
{
    edt_backend *backend = open_backend(name, n_threads);
    edt_op_case c;
    for (int i = 0; edt_op_case_get(i, &c); ++i) {
        if (!supported(backend, &c, real)) {
            continue;
        }
        operands first, again;
        operands_create(backend, &c, real, &first);
        operands_create(backend, &c, real, &again);
        run_once(&first);
        run_once(&again);
        cr_expect(same_outputs(&first, &again) && same_updated(&first, &again),
                  "%s, %d threads: %s differs in %s", name, n_threads, c.name,
                  edt_dtype_name(real));
        operands_destroy(&first);
        operands_destroy(&again);
    }
    edt_backend_destroy(&backend);
}

Test(op_runs, a_repeated_run_gives_the_same_bits_on_cpu, .timeout = 120)
{
    check_repeated("cpu", 1, EDT_DTYPE_F32);
    check_repeated("cpu", 2, EDT_DTYPE_F32);
}

Test(op_runs, a_repeated_run_gives_the_same_bits_on_cuda, .timeout = 300)
{
    check_repeated("cuda", 1, EDT_DTYPE_F32);
    check_repeated("cuda", 1, EDT_DTYPE_F16);
}

static edt_capture *record(const prepared *p, const operands *o)
{
    const edt_stream_table *streams = p->backend->table->streams;
    edt_error err = {0};
    edt_capture *capture = NULL;
    cr_assert_eq(streams->capture_begin(p->backend, &err), EDT_OK, "%s", err.text);
    queue(p, 1, o);
    cr_assert_eq(streams->capture_end(p->backend, &err, &capture), EDT_OK, "%s: %s",
                 edt_op_get_info(o->desc.kind)->name, err.text);
    return capture;
}

// A kernel recorded before it ever ran, carried out twice on the same inputs.
static void check_replayed(edt_backend *backend, const edt_op_case *c, edt_dtype real)
{
    operands direct, replayed;
    prepared p;
    edt_error err = {0};
    operands_create(backend, c, real, &direct);
    operands_create(backend, c, real, &replayed);
    run_once(&direct);
    cr_assert(prepare(backend, &replayed.desc, &p));
    edt_capture *capture = record(&p, &replayed);
    operands_fetch(&replayed);
    for (int turn = 0; turn < 2; ++turn) {
        operands_reset(&replayed);
        begin(backend, 1);
        cr_assert_eq(backend->table->streams->replay(backend, capture, &err), EDT_OK, "%s",
                     err.text);
        operands_fetch(&replayed);
        cr_expect(same_outputs(&direct, &replayed) && same_updated(&direct, &replayed),
                  "%s in %s: replay %d differs from a run", c->name, edt_dtype_name(real),
                  turn);
    }
    backend->table->streams->capture_destroy(backend, capture);
    release(&p);
    operands_destroy(&direct);
    operands_destroy(&replayed);
}

Test(op_runs, a_recorded_run_gives_the_same_bits_on_cuda, .timeout = 300)
{
    static const edt_dtype types[] = {EDT_DTYPE_F32, EDT_DTYPE_BF16};
    edt_backend *backend = open_backend("cuda", 1);
    edt_op_case c;
    for (int t = 0; t < 2; ++t) {
        for (int i = 0; edt_op_case_get(i, &c); ++i) {
            if (supported(backend, &c, types[t])) {
                check_replayed(backend, &c, types[t]);
            }
        }
    }
    edt_backend_destroy(&backend);
}

static void halve(operands *o, int i)
{
    edt_error err = {0};
    const edt_tensor_desc *t = &o->desc.in[i];
    for (int64_t k = 0; k < edt_shape_count(&t->shape); ++k) {
        edt_ref_real_put(t->dtype, o->host_in[i], k,
                         0.5 * edt_ref_real_get(t->dtype, o->host_in[i], k));
    }
    cr_assert_eq(o->backend->table->upload(o->backend, o->in[i], o->host_in[i],
                                           edt_tensor_bytes(t), &err),
                 EDT_OK, "%s", err.text);
}

// One kernel, whose parameters change in place between the runs.
static void check_version(edt_backend *backend, const edt_op_case *c, edt_dtype real)
{
    const bool gradient = c->desc.kind == EDT_OP_CONV2D_DATA;
    for (int i_param = 1; i_param < (gradient ? 2 : c->desc.n_in); ++i_param) {
        operands o, fresh;
        prepared p;
        operands_create(backend, c, real, &o);
        operands_create(backend, c, real, &fresh);
        cr_assert(prepare(backend, &o.desc, &p));
        run(&p, 7, &o);
        halve(&o, i_param);
        halve(&fresh, i_param);
        run(&p, 7, &o); // may use what it derived before
        operands_reset(&o);
        run(&p, 8, &o);
        run_once(&fresh);
        cr_expect(same_outputs(&o, &fresh), "%s in %s: operand %d is not seen", c->name,
                  edt_dtype_name(real), i_param);
        release(&p);
        operands_destroy(&o);
        operands_destroy(&fresh);
    }
}

static void check_versions(const char *name, edt_dtype real)
{
    static const edt_op_kind kinds[] = {EDT_OP_CONV2D, EDT_OP_CONV2D_DATA, EDT_OP_CONV2D_BN_ACT,
                                        EDT_OP_DEPTHWISE_BN_ACT,
                                        EDT_OP_CONV2D_DEPTHWISE_BN_ACT};
    enum { N_KINDS = sizeof kinds / sizeof kinds[0] };
    int n_seen[N_KINDS] = {0};
    edt_backend *backend = open_backend(name, 1);
    edt_op_case c;
    for (int i = 0; edt_op_case_get(i, &c); ++i) {
        for (int k = 0; k < N_KINDS; ++k) {
            if (c.desc.kind == kinds[k] && supported(backend, &c, real)) {
                check_version(backend, &c, real);
                ++n_seen[k];
            }
        }
    }
    for (int k = 0; k < N_KINDS; ++k) {
        const bool there =
            kinds[k] != EDT_OP_CONV2D_DEPTHWISE_BN_ACT || strcmp(name, "cpu") == 0;
        cr_expect_eq(n_seen[k] > 0, there, "%s", edt_op_get_info(kinds[k])->name);
    }
    edt_backend_destroy(&backend);
}

Test(op_runs, derived_weights_follow_the_version_on_cpu, .timeout = 120)
{
    check_versions("cpu", EDT_DTYPE_F32);
}

Test(op_runs, derived_weights_follow_the_version_on_cuda, .timeout = 300)
{
    check_versions("cuda", EDT_DTYPE_F32);
    check_versions("cuda", EDT_DTYPE_BF16);
}
