// See eval_beside.h. Shared with training are, by design, only what is safe from any thread:
// log, trace, memory statistics, the interrupt flag, and read-only files.
#include "train/eval_beside.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

#include "core/log.h"
#include "core/thread.h"
#include "core/trace.h"
#include "train/rank_setup.h"

struct edt_eval_beside {
    edt_train_options options; // the run's, as one rank with the threads of the evaluation
    edt_backend *backend;
    edt_eval_loop *loop;
    void *staging; // between the memories of two devices; NULL: not needed
    // Of the evaluation under way.
    edt_thread thread;
    bool is_under_way;
    int64_t step;
    char *prefix;
    atomic_bool cancel;
    pthread_mutex_t lock; // guards has_ended
    pthread_cond_t ended;
    bool has_ended; // what follows is written before by the thread alone
    edt_status status;
    edt_error err;
    edt_evaluation evaluation;
};

bool edt_eval_beside_wanted(const edt_train_options *o)
{
    return o->eval_device != NULL && o->eval_device[0] != '\0' && !o->overfit_one_batch;
}

static edt_status choose_threads(const edt_train_options *o, edt_error *err, int *out_n)
{
    const int n_train = edt_rank_setup_threads(o->comm, o->num_threads);
    const int n_free = edt_rank_setup_free_threads(o->comm, n_train);
    *out_n = (int)o->eval_threads;
    if (o->eval_threads > 0) {
        return EDT_OK;
    }
    if (n_free == 0 && strcmp(o->eval_device, "cuda") != 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--eval_device=%s: training takes all %d processors (--num_threads=%" PRId64
                 ") and leaves none to evaluation; choose a smaller --num_threads, or give "
                 "--eval_threads to share them",
                 o->eval_device, edt_thread_cpu_count(), o->num_threads);
    }
    *out_n = n_free > 0 ? n_free : 1;
    return EDT_OK;
}

static edt_status choose_device(const edt_train_options *o, edt_error *err, int *out_device)
{
    *out_device = 0;
    if (strcmp(o->eval_device, "cuda") != 0) {
        return EDT_OK;
    }
    int n_devices;
    EDT_TRY(edt_backend_cuda_count_devices(err, &n_devices));
    *out_device = strcmp(o->device, "cuda") == 0 ? edt_comm_local_size(o->comm) : 0;
    if (*out_device >= n_devices) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--eval_device=cuda: training takes the %d GPU%s visible here and leaves none "
                 "to evaluation; make another one visible (CUDA_VISIBLE_DEVICES), train with "
                 "fewer ranks, or use --eval_device=cpu",
                 n_devices, n_devices == 1 ? " that is" : "s that are");
    }
    return EDT_OK;
}

static edt_status build(edt_eval_beside *b, const edt_hparams *hp, edt_error *err)
{
    const edt_train_options *run = &b->options;
    edt_backend_options wanted = {.deterministic = run->deterministic, .tf32 = run->tf32};
    EDT_TRY(choose_threads(run, err, &wanted.n_threads));
    EDT_TRY(choose_device(run, err, &wanted.device));
    b->options.num_threads = wanted.n_threads;
    b->options.comm = NULL;
    EDT_TRY(edt_backend_create(run->eval_device, &wanted, err, &b->backend));
    EDT_TRY(edt_eval_loop_create(hp, &b->options, b->backend, NULL, err, &b->loop));
    if (b->backend->table->streams != NULL && strcmp(run->device, "cuda") == 0) {
        const edt_params *own = edt_eval_loop_params(b->loop);
        b->staging =
            edt_mem_alloc(EDT_MEM_EVAL, (size_t)own->n_elements * edt_dtype_bytes(own->real));
        if (b->staging == NULL) {
            EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to copy weights to the evaluation");
        }
    }
    EDT_INFO("evaluations run beside training, on %s with %d thread%s", run->eval_device,
             wanted.n_threads, wanted.n_threads == 1 ? "" : "s");
    return EDT_OK;
}

edt_status edt_eval_beside_create(const edt_hparams *hp, const edt_train_options *options,
                                  edt_error *err, edt_eval_beside **out_beside)
{
    edt_eval_beside *b = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *b);
    if (b == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the evaluation beside training");
    }
    b->options = *options;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&b->ended, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&b->lock, NULL);
    const edt_status status = build(b, hp, err);
    if (status != EDT_OK) {
        edt_eval_beside_destroy(b);
        return status;
    }
    *out_beside = b;
    return EDT_OK;
}

void edt_eval_beside_destroy(edt_eval_beside *b)
{
    if (b == NULL) {
        return;
    }
    atomic_store(&b->cancel, true);
    edt_thread_join(&b->thread);
    edt_evaluation_deinit(&b->evaluation);
    edt_eval_loop_destroy(b->loop);
    edt_mem_free(b->staging);
    edt_mem_free(b->prefix);
    edt_backend_destroy(&b->backend);
    (void)pthread_cond_destroy(&b->ended);
    (void)pthread_mutex_destroy(&b->lock);
    edt_mem_free(b);
}

void edt_eval_beside_set_summaries(edt_eval_beside *b, edt_summaries *summaries)
{
    edt_eval_loop_set_summaries(b->loop, summaries);
}

// All that a network of inference reads lies in one arena: averages of the trainables and
// moving statistics, or the values of both. The table of variables is that of the network,
// whatever the graph.
static edt_status copy_weights(edt_eval_beside *b, const edt_params *from, edt_error *err)
{
    edt_params *to = edt_eval_loop_params(b->loop);
    if (from->n_params != to->n_params || from->n_elements != to->n_elements ||
        from->real != to->real) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "the evaluation has other variables than training");
    }
    const edt_backend_table *source = from->backend->table;
    const void *values = from->memory[EDT_PARAMS_EMA] != NULL ? from->memory[EDT_PARAMS_EMA]
                                                              : from->memory[EDT_PARAMS_VALUES];
    void *own = to->memory[EDT_PARAMS_VALUES];
    const size_t n_bytes = (size_t)from->n_elements * edt_dtype_bytes(from->real);
    edt_trace_begin("copy_weights");
    edt_status status = EDT_OK;
    if (source->streams != NULL && b->staging == NULL) {
        status = source->download(from->backend, own, values, n_bytes, err);
    } else {
        if (source->streams != NULL) {
            status = source->download(from->backend, b->staging, values, n_bytes, err);
            values = b->staging;
        }
        if (status == EDT_OK) {
            status = b->backend->table->upload(b->backend, own, values, n_bytes, err);
        }
    }
    edt_trace_end();
    ++to->version;
    return status;
}

static void evaluate(void *ctx)
{
    edt_eval_beside *b = ctx;
    edt_trace_begin("evaluate");
    b->status = edt_eval_loop_compute(b->loop, &b->cancel, &b->err, &b->evaluation);
    edt_trace_end();
    pthread_mutex_lock(&b->lock);
    b->has_ended = true;
    pthread_cond_signal(&b->ended);
    pthread_mutex_unlock(&b->lock);
}

static edt_status start(edt_eval_beside *b, int64_t step, const char *prefix, edt_error *err)
{
    edt_mem_free(b->prefix);
    b->prefix = edt_mem_strdup(EDT_MEM_EVAL, prefix);
    if (b->prefix == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a file name");
    }
    b->step = step;
    b->has_ended = false;
    b->status = EDT_OK;
    b->err = (edt_error){0};
    EDT_TRY(edt_thread_start(&b->thread, "evaluation", evaluate, b, err));
    b->is_under_way = true;
    return EDT_OK;
}

edt_status edt_eval_beside_start(edt_eval_beside *b, const edt_params *params, int64_t step,
                                 const char *prefix, edt_error *err)
{
    EDT_TRY(copy_weights(b, params, err));
    return start(b, step, prefix, err);
}

edt_status edt_eval_beside_start_checkpoint(edt_eval_beside *b, int64_t step,
                                            const char *prefix, edt_error *err)
{
    EDT_TRY(edt_eval_loop_load(b->loop, prefix, err));
    return start(b, step, prefix, err);
}

bool edt_eval_beside_is_under_way(const edt_eval_beside *b)
{
    return b != NULL && b->is_under_way;
}

const char *edt_eval_beside_checkpoint(const edt_eval_beside *b)
{
    if (!edt_eval_beside_is_under_way(b)) {
        return NULL;
    }
    const char *slash = strrchr(b->prefix, '/');
    return slash != NULL ? slash + 1 : b->prefix;
}

bool edt_eval_beside_wait(edt_eval_beside *b, double seconds)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    if (seconds > 0.0) {
        until.tv_sec += (time_t)seconds;
        until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
        until.tv_sec += until.tv_nsec / 1000000000;
        until.tv_nsec %= 1000000000;
    }
    pthread_mutex_lock(&b->lock);
    int waited = 0;
    while (!b->has_ended && waited == 0 && seconds != 0.0) {
        waited = seconds < 0.0 ? pthread_cond_wait(&b->ended, &b->lock)
                               : pthread_cond_timedwait(&b->ended, &b->lock, &until);
    }
    const bool has_ended = b->has_ended;
    pthread_mutex_unlock(&b->lock);
    return has_ended;
}

edt_status edt_eval_beside_collect(edt_eval_beside *b, edt_metrics *metrics, edt_error *err)
{
    edt_thread_join(&b->thread);
    b->is_under_way = false;
    if (b->status != EDT_OK) {
        *err = b->err;
        return b->status;
    }
    edt_evaluation evaluation = b->evaluation;
    b->evaluation = (edt_evaluation){0};
    return edt_eval_loop_publish(b->loop, b->step, b->prefix, metrics, &evaluation, err);
}

edt_status edt_eval_beside_cancel(edt_eval_beside *b, edt_metrics *metrics, edt_error *err)
{
    if (!edt_eval_beside_is_under_way(b)) {
        return EDT_OK;
    }
    atomic_store(&b->cancel, true);
    const edt_status status = edt_eval_beside_collect(b, metrics, err);
    atomic_store(&b->cancel, false);
    if (status == EDT_ERR_CANCELLED) {
        EDT_INFO("the evaluation of step %" PRId64
                 " was interrupted; the same command begins with it",
                 b->step);
        return EDT_OK;
    }
    return status;
}

edt_status edt_eval_beside_plan(const edt_hparams *hp, const edt_train_options *options,
                                edt_error *err, int64_t *out_n_bytes)
{
    const edt_model_options mo = {.mode = EDT_MODEL_INFER,
                                  .real = edt_inference_real(hp, options->eval_device),
                                  .batch_size = options->eval_batch_size,
                                  .losses = edt_eval_loop_has_losses(options),
                                  .no_mask_loss = true,
                                  .wide_outputs = true};
    edt_model *model = NULL;
    edt_plan_summary summary;
    EDT_TRY(edt_model_create(hp, &mo, err, &model));
    const edt_status status = edt_plan_summarize(model->graph, err, &summary);
    edt_model_destroy(model);
    EDT_TRY(status);
    *out_n_bytes = summary.param_bytes + summary.low_bytes + summary.activation_bytes +
                   summary.input_bytes;
    return EDT_OK;
}
