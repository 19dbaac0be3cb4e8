// See benchmark.h: set-up of one measurement and its report.
#include "train/benchmark.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/thread.h"
#include "train/bench_priv.h"
#include "train/environment.h"

typedef struct measurement {
    const char *what;
    edt_status (*run)(edt_bench *bench, edt_error *err);
    int64_t batch_size; // default
    bool wants_backend;
} measurement;

static const measurement measurements[] = {
    {"network", edt_bench_network, 1, true},       {"train", edt_bench_train, 2, true},
    {"loader", edt_bench_loader, 16, false},       {"decode", edt_bench_decode, 1, false},
    {"end_to_end", edt_bench_end_to_end, 1, true},
};
enum { N_MEASUREMENTS = sizeof measurements / sizeof measurements[0] };

// "AMD EPYC 9354, 2 cores".
static void name_machine(char *out_text, size_t n_bytes)
{
    char name[96];
    edt_environment_processor(name, (int)sizeof name);
    (void)snprintf(out_text, n_bytes, "%s, %d cores", name, edt_thread_cpu_count());
}

edt_status edt_bench_put(const edt_bench *b, const char *what, double value, const char *unit,
                         edt_error *err)
{
    if (!b->options->json) {
        printf("%-36s %12.3f %s\n", what, value, unit);
        (void)fflush(stdout);
        return EDT_OK;
    }
    char size[64];
    (void)snprintf(size, sizeof size, "%" PRId64 "x%" PRId64, b->hp->image_size.w,
                   b->hp->image_size.h);
    edt_json_writer w = {0};
    edt_json_begin_object(&w);
    edt_json_put_text(&w, "what", what);
    edt_json_key(&w, "value");
    edt_json_f64_or_null(&w, value);
    edt_json_put_text(&w, "unit", unit);
    if (b->backend != NULL) {
        edt_json_put_text(&w, "device", b->backend->table->name);
        edt_json_put_text(&w, "precision",
                          b->options->precision == NULL ? "f32" : b->options->precision);
    }
    edt_json_put_i64(&w, "threads", b->n_threads);
    edt_json_put_text(&w, "machine", b->machine);
    edt_json_put_text(&w, "version", EDT_VERSION);
    edt_json_put_text(&w, "model", b->hp->name);
    edt_json_put_text(&w, "image_size", size);
    edt_json_put_i64(&w, "batch_size", b->batch_size);
    edt_json_end_object(&w);
    edt_text text;
    const edt_status status = edt_json_writer_finish(&w, err, &text);
    if (status == EDT_OK) {
        printf("%.*s\n", (int)text.n_bytes, text.data);
        (void)fflush(stdout);
    }
    edt_json_writer_deinit(&w);
    return status;
}

edt_status edt_bench_update_peak(edt_bench *b, edt_error *err)
{
    edt_backend_peak peak;
    const edt_status status = edt_backend_measure_peak(b->backend, err, &peak);
    if (status == EDT_ERR_UNSUPPORTED) {
        return EDT_OK;
    }
    EDT_TRY(status);
    b->has_peak = true;
    b->peak.gflops = fmax(b->peak.gflops, peak.gflops);
    b->peak.gflops_16bit = fmax(b->peak.gflops_16bit, peak.gflops_16bit);
    b->peak.gbytes_per_s = fmax(b->peak.gbytes_per_s, peak.gbytes_per_s);
    return EDT_OK;
}

double edt_bench_peak_gflops(const edt_bench *b)
{
    const bool is_16_bit = b->real == EDT_DTYPE_BF16 || b->real == EDT_DTYPE_F16;
    return is_16_bit ? b->peak.gflops_16bit : b->peak.gflops;
}

edt_status edt_bench_put_peak(const edt_bench *b, const char *what, double macs, double seconds,
                              edt_error *err)
{
    const double gflops = 2e-9 * macs / seconds;
    char name[64];
    (void)snprintf(name, sizeof name, "%s convolutions", what);
    EDT_TRY(edt_bench_put(b, name, gflops, "GFLOP/s", err));
    if (!b->has_peak) {
        return EDT_OK;
    }
    const double ceiling = edt_bench_peak_gflops(b);
    if (!(ceiling > 0.0)) {
        return edt_bench_put(b, "ceiling: memory triad", b->peak.gbytes_per_s, "GB/s", err);
    }
    (void)snprintf(name, sizeof name, "ceiling: %s matrix product",
                   b->options->precision == NULL ? "f32" : b->options->precision);
    EDT_TRY(edt_bench_put(b, name, ceiling, "GFLOP/s", err));
    EDT_TRY(edt_bench_put(b, "ceiling: memory triad", b->peak.gbytes_per_s, "GB/s", err));
    (void)snprintf(name, sizeof name, "%s share of the ceiling", what);
    return edt_bench_put(b, name, 100.0 * gflops / ceiling, "%", err);
}

edt_status edt_bench_samples_init(edt_bench_samples *s, int64_t capacity, edt_error *err)
{
    *s = (edt_bench_samples){.capacity = capacity};
    s->value = edt_mem_calloc(EDT_MEM_MISC, (size_t)capacity, sizeof *s->value);
    if (s->value == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for %" PRId64 " measurements", capacity);
    }
    return EDT_OK;
}

void edt_bench_samples_deinit(edt_bench_samples *s)
{
    edt_mem_free(s->value);
    *s = (edt_bench_samples){0};
}

// Kept sorted: there are few of them, and they are added outside of what is measured.
void edt_bench_samples_add(edt_bench_samples *s, double value)
{
    if (s->n == s->capacity) {
        return;
    }
    int64_t i = s->n++;
    for (; i > 0 && s->value[i - 1] > value; --i) {
        s->value[i] = s->value[i - 1];
    }
    s->value[i] = value;
}

double edt_bench_smallest(const edt_bench_samples *s)
{
    return s->n > 0 ? s->value[0] : NAN;
}

double edt_bench_median(const edt_bench_samples *s)
{
    return s->n > 0 ? 0.5 * (s->value[(s->n - 1) / 2] + s->value[s->n / 2]) : NAN;
}

double edt_bench_largest(const edt_bench_samples *s)
{
    return s->n > 0 ? s->value[s->n - 1] : NAN;
}

// The type of activations; whether matrix products of f32 may be rounded to TF32.
static edt_status parse_precision(const char *text, edt_error *err, edt_dtype *out_real,
                                  bool *out_tf32)
{
    static const struct {
        const char *text;
        edt_dtype real;
        bool tf32;
    } rows[] = {
        {"f32", EDT_DTYPE_F32, false},
        {"tf32", EDT_DTYPE_F32, true},
        {"bf16", EDT_DTYPE_BF16, false},
        {"f16", EDT_DTYPE_F16, false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        if (text == NULL || strcmp(text, rows[i].text) == 0) {
            *out_real = rows[i].real;
            *out_tf32 = rows[i].tf32;
            return EDT_OK;
        }
    }
    EDT_FAIL(err, EDT_ERR_USAGE, "--precision=%s is not known; use f32, tf32, bf16 or f16",
             text);
}

static const measurement *find(const char *what)
{
    for (int i = 0; i < N_MEASUREMENTS; ++i) {
        if (strcmp(measurements[i].what, what) == 0) {
            return &measurements[i];
        }
    }
    return NULL;
}

edt_status edt_bench_run(const edt_hparams *hp, const edt_bench_options *o, edt_error *err)
{
    const measurement *m = find(o->what);
    if (m == NULL) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--what=%s is not measured here; use network, train, loader, decode or "
                 "end_to_end",
                 o->what);
    }
    edt_bench b = {.hp = hp, .options = o};
    b.n_threads = o->n_threads > 0 ? o->n_threads : edt_thread_cpu_count();
    b.batch_size = o->batch_size > 0 ? o->batch_size : m->batch_size;
    name_machine(b.machine, sizeof b.machine);
    edt_status status = EDT_OK;
    if (m->wants_backend) {
        char text[128];
        edt_backend_options bo = {.n_threads = b.n_threads};
        EDT_TRY(parse_precision(o->precision, err, &b.real, &bo.tf32));
        EDT_TRY(edt_backend_create(o->device, &bo, err, &b.backend));
        if (bo.tf32 && b.backend->table->streams == NULL) {
            status = edt_error_set(err, EDT_ERR_USAGE,
                                   "--precision=tf32: device %s has no such products; use f32",
                                   o->device);
            goto fail;
        }
        b.n_threads = b.backend->n_threads;
        edt_backend_describe(b.backend, text, sizeof text);
        EDT_INFO("%s; %s", b.machine, text);
        if (b.backend->table->streams != NULL) {
            const size_t n = strlen(b.machine);
            (void)snprintf(b.machine + n, sizeof b.machine - n, "; %s", text);
        }
        EDT_TRY_GOTO(edt_bench_update_peak(&b, err));
    } else {
        EDT_INFO("%s; %d threads", b.machine, b.n_threads);
    }
    status = m->run(&b, err);
fail:
    edt_backend_destroy(&b.backend);
    return status;
}
