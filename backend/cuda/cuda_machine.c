// What there is to run on: devices, driver and libraries, in figures for launch geometry and in
// words for people.
#include <cudnn.h>
#include <stdio.h>
#include <stdlib.h>

#include "backend/cuda/cuda_priv.h"

static edt_status no_device(cudaError_t code, edt_error *err)
{
    (void)cudaGetLastError();
    if (code == cudaErrorInsufficientDriver) {
        int driver = 0;
        (void)cudaDriverGetVersion(&driver);
        if (driver == 0) {
            EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                     "this machine has no NVIDIA driver (libcuda.so.1); install one for CUDA "
                     "%d.%d or later",
                     CUDART_VERSION / 1000, CUDART_VERSION % 1000 / 10);
        }
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "the NVIDIA driver is for CUDA %d.%d, this program needs one for %d.%d or "
                 "later; install a newer driver",
                 driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                 CUDART_VERSION % 1000 / 10);
    }
    const char *visible = getenv("CUDA_VISIBLE_DEVICES");
    if (code == cudaErrorNoDevice) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "no NVIDIA GPU is visible to this process (CUDA_VISIBLE_DEVICES is %s%s%s)",
                 visible == NULL ? "" : "'", visible == NULL ? "not set" : visible,
                 visible == NULL ? "" : "'");
    }
    EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "the CUDA runtime finds no device: %s (%s)",
             cudaGetErrorString(code), cudaGetErrorName(code));
}

edt_status edt_cuda_count_devices(edt_error *err, int *out_n_devices)
{
    int n = 0;
    const cudaError_t code = cudaGetDeviceCount(&n);
    if (code != cudaSuccess || n == 0) {
        return no_device(code == cudaSuccess ? cudaErrorNoDevice : code, err);
    }
    *out_n_devices = n;
    return EDT_OK;
}

edt_status edt_cuda_read_limits(int device, edt_error *err, edt_cuda_limits *out_limits)
{
    struct cudaDeviceProp properties;
    EDT_CUDA_TRY(cudaGetDeviceProperties(&properties, device), err);
    *out_limits = (edt_cuda_limits){
        .major = properties.major,
        .minor = properties.minor,
        .n_multiprocessors = properties.multiProcessorCount,
        .threads_per_multiprocessor = properties.maxThreadsPerMultiProcessor,
        .shared_bytes_per_block = properties.sharedMemPerBlock,
        .grid_x = properties.maxGridSize[0],
        .grid_y = properties.maxGridSize[1],
        .grid_z = properties.maxGridSize[2],
        .l2_bytes = properties.l2CacheSize,
        .memory_bytes = (int64_t)properties.totalGlobalMem,
    };
    return EDT_OK;
}

// cuBLASLt counts 13.0.2 as 130002, cuDNN 9.10.2 as 91002.
static int libraries_text(char *out_text, size_t n_bytes, const char *separator)
{
    const size_t lt = cublasLtGetVersion();
    const size_t dnn = cudnnGetVersion();
    return snprintf(out_text, n_bytes, "cuBLASLt %zu.%zu.%zu%scuDNN %zu.%zu.%zu", lt / 10000,
                    lt / 100 % 100, lt % 100, separator, dnn / 10000, dnn / 100 % 100,
                    dnn % 100);
}

void edt_cuda_describe(const edt_backend *base, char *out_text, size_t n_bytes)
{
    const edt_cuda_backend *backend = (const edt_cuda_backend *)base;
    struct cudaDeviceProp properties = {0};
    char libraries[96];
    (void)cudaGetDeviceProperties(&properties, backend->device);
    (void)libraries_text(libraries, sizeof(libraries), ", ");
    (void)snprintf(out_text, n_bytes, "%s (%d.%d, %d SMs, %.1f GB), CUDA %d.%d, %s%s%s",
                   properties.name, backend->limits.major, backend->limits.minor,
                   backend->limits.n_multiprocessors,
                   (double)backend->limits.memory_bytes * 1e-9, CUDART_VERSION / 1000,
                   CUDART_VERSION % 1000 / 10, libraries, backend->tf32 ? ", TF32" : "",
                   backend->deterministic ? ", deterministic" : "");
}

void edt_cuda_describe_machine(char *out_text, size_t n_bytes)
{
    int driver = 0;
    int n_devices = 0;
    edt_error err = {0};
    char libraries[96];
    (void)cudaDriverGetVersion(&driver);
    (void)libraries_text(libraries, sizeof(libraries), ", ");
    const edt_status status = edt_cuda_count_devices(&err, &n_devices);
    size_t n = 0;
    const int head = snprintf(out_text, n_bytes,
                              "cuda driver: %d.%d\ncuda runtime: %d.%d\ncuda libraries: %s\n",
                              driver / 1000, driver % 1000 / 10, CUDART_VERSION / 1000,
                              CUDART_VERSION % 1000 / 10, libraries);
    n += head > 0 ? (size_t)head : 0;
    if (status != EDT_OK && n < n_bytes) {
        (void)snprintf(out_text + n, n_bytes - n, "cuda devices: none: %s\n", err.text);
    }
    for (int i = 0; i < n_devices && n < n_bytes; i++) {
        struct cudaDeviceProp properties = {0};
        char bus[32] = "?";
        (void)cudaGetDeviceProperties(&properties, i);
        (void)cudaDeviceGetPCIBusId(bus, sizeof(bus), i);
        const int line = snprintf(
            out_text + n, n_bytes - n, "cuda device %d: %s, %d.%d, %d SMs, %.1f GB, %s\n", i,
            properties.name, properties.major, properties.minor, properties.multiProcessorCount,
            (double)properties.totalGlobalMem * 1e-9, bus);
        n += line > 0 ? (size_t)line : 0;
    }
}
