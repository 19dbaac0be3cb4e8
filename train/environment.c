// See environment.h.
#include "train/environment.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "core/plugin.h"
#include "core/thread.h"
#include "dataio/dataio_libraries.h"
#include "dist/nccl_plugin.h"
#include "dist/transport.h"
#include "model/io/h5_library.h"

void edt_environment_processor(char *out_text, int n_bytes)
{
    (void)snprintf(out_text, (size_t)n_bytes, "unknown processor");
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[256];
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, "model name", 10) == 0 && colon != NULL && colon[1] == ' ') {
            (void)snprintf(out_text, (size_t)n_bytes, "%.*s", (int)strcspn(colon + 2, "\n"),
                           colon + 2);
            break;
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

static void read_features(char *out_text, size_t n_bytes)
{
    out_text[0] = '\0';
    size_t n = 0;
    __builtin_cpu_init();
#define FEATURE(name)                                                                          \
    if (__builtin_cpu_supports(name)) {                                                        \
        n += (size_t)snprintf(out_text + n, n_bytes - n, "%s%s", n > 0 ? " " : "", name);      \
    }
    FEATURE("sse4.2")
    FEATURE("avx")
    FEATURE("avx2")
    FEATURE("fma")
    FEATURE("avx512f")
    FEATURE("avx512bw")
    FEATURE("avx512dq")
    FEATURE("avx512vl")
    FEATURE("avx512vnni")
    FEATURE("avx512bf16")
#undef FEATURE
}

static void read_backend(const char *name, edt_environment_backend *out)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    *out = (edt_environment_backend){.name = name};
    out->can_run = edt_backend_create(name, &(edt_backend_options){.n_threads = 0}, &err,
                                      &backend) == EDT_OK;
    if (out->can_run) {
        edt_backend_describe(backend, out->text, sizeof out->text);
    } else {
        (void)snprintf(out->text, sizeof out->text, "%.500s", err.text);
    }
    edt_backend_destroy(&backend);
}

// "nccl: NCCL 2.27.3", or why ranks cannot talk through it here.
static size_t put_plugin(const char *name, void (*describe)(char *out_text, size_t n_bytes),
                         const edt_error *err, char *out_text, size_t n_bytes)
{
    char text[256];
    (void)snprintf(text, sizeof text, "not here: %.200s", err->text);
    if (describe != NULL) {
        describe(text, sizeof text);
    }
    const int n = snprintf(out_text, n_bytes, "%s: %s\n", name, text);
    return n > 0 && (size_t)n < n_bytes ? (size_t)n : 0;
}

static void read_devices(char *out_text, size_t n_bytes)
{
    const edt_backend_plugin *cuda = NULL;
    const void *nccl = NULL, *mpi = NULL;
    edt_error err = {0};
    size_t n = 0;
    out_text[0] = '\0';
    if (edt_backend_cuda_plugin_open(&err, &cuda) == EDT_OK) {
        cuda->describe_machine(out_text, n_bytes);
        n = strlen(out_text);
    }
    (void)edt_plugin_open("libedt_nccl.so", EDT_NCCL_PLUGIN_SYMBOL, &err, &nccl);
    n += put_plugin("nccl", nccl != NULL ? ((const edt_nccl_plugin *)nccl)->describe : NULL,
                    &err, out_text + n, n_bytes - n);
    (void)edt_plugin_open("libedt_mpi.so", EDT_TRANSPORT_MPI_SYMBOL, &err, &mpi);
    (void)put_plugin("mpi", mpi != NULL ? ((const edt_transport_plugin *)mpi)->describe : NULL,
                     &err, out_text + n, n_bytes - n);
}

void edt_environment_read(edt_environment *out)
{
    *out = (edt_environment){.n_cores = edt_thread_cpu_count()};
    (void)snprintf(out->version, sizeof out->version, "%s", EDT_VERSION);
#ifdef __clang__
    const char *compiler = __VERSION__; // begins with its name
#else
    const char *compiler = "gcc " __VERSION__;
#endif
    (void)snprintf(out->compiler, sizeof out->compiler, "%.90s", compiler);
    edt_environment_processor(out->processor, (int)sizeof out->processor);
    out->memory_gib = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE) /
                      (1024.0 * 1024.0 * 1024.0);
    read_features(out->cpu_features, sizeof out->cpu_features);
    out->n_libraries = edt_core_libraries(out->libraries);
    out->n_libraries += edt_dataio_libraries(out->libraries + out->n_libraries);
    edt_h5_library(&out->libraries[out->n_libraries++]);
    static const char *const names[EDT_ENVIRONMENT_BACKENDS] = {"cpu", "ref", "cuda"};
    for (int i = 0; i < EDT_ENVIRONMENT_BACKENDS; ++i) {
        read_backend(names[i], &out->backends[i]);
    }
    read_devices(out->devices, sizeof out->devices);
}
