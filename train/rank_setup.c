// See rank_setup.h.
#include "train/rank_setup.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/thread.h"

// A launcher that binds each rank to its own processors has divided them already.
static bool shares_processors(const edt_comm *comm)
{
    return (long)edt_thread_cpu_count() * edt_comm_local_size(comm) >
           sysconf(_SC_NPROCESSORS_ONLN);
}

int edt_rank_setup_free_threads(const edt_comm *comm, int n_threads)
{
    const int n_mine = edt_thread_cpu_count();
    const int n_ranks = shares_processors(comm) ? edt_comm_local_size(comm) : 1;
    const int n_taken = n_threads > 0 ? n_threads * n_ranks : n_mine;
    return n_taken < n_mine ? n_mine - n_taken : 0;
}

int edt_rank_setup_threads(const edt_comm *comm, int64_t wanted)
{
    const int n_local = edt_comm_local_size(comm);
    if (wanted > 0 || n_local == 1) {
        return (int)wanted;
    }
    const int n_mine = edt_thread_cpu_count();
    const int n = shares_processors(comm) ? n_mine / n_local : n_mine;
    return n < 1 ? 1 : n;
}

edt_status edt_rank_setup_backend(const char *device, edt_comm *comm,
                                  const edt_backend_options *wanted, edt_error *err,
                                  edt_backend **out_backend)
{
    edt_backend_options options = *wanted;
    if (strcmp(device, "cuda") == 0) {
        int n_devices;
        EDT_TRY(edt_backend_cuda_count_devices(err, &n_devices));
        // One that sees a single device was given it by its launcher. NCCL_HOSTID lets ranks
        // share one (dist/launch.h).
        if (n_devices > 1 && edt_comm_local_size(comm) > n_devices &&
            getenv("NCCL_HOSTID") == NULL) {
            EDT_FAIL(err, EDT_ERR_USAGE,
                     "%d ranks on %s, which has %d GPUs: start one rank per GPU",
                     edt_comm_local_size(comm), edt_comm_host_name(comm, edt_comm_rank(comm)),
                     n_devices);
        }
        options.device = edt_comm_local_rank(comm) % n_devices;
    }
    return edt_backend_create(device, &options, err, out_backend);
}

edt_status edt_rank_setup_comm(const edt_hparams *hp, edt_backend *backend, edt_comm *host,
                               edt_error *err, edt_comm **out_comm)
{
    if (backend->table->streams == NULL || edt_comm_world_size(host) == 1) {
        *out_comm = host;
        return EDT_OK;
    }
    return edt_comm_device_create(
        backend, &(edt_comm_options){.deadline_s = hp->comm_deadline_s}, host, err, out_comm);
}

edt_status edt_rank_setup_batch(int world_size, int64_t train_batch_size, edt_error *err,
                                int64_t *out_rows)
{
    if (train_batch_size % world_size != 0) {
        EDT_FAIL(err, EDT_ERR_USAGE,
                 "--train_batch_size=%" PRId64 " is the batch of all %d ranks together and "
                 "must be a multiple of %d",
                 train_batch_size, world_size, world_size);
    }
    *out_rows = train_batch_size / world_size;
    return EDT_OK;
}

void edt_rank_setup_step(const edt_hparams *hp, const char *device, const edt_comm *comm,
                         edt_step_options *o)
{
    const bool on_gpu = strcmp(device, "cuda") == 0;
    const bool on_cpu = strcmp(device, "cpu") == 0;
    o->real = EDT_DTYPE_F32;
    if (hp->mixed_precision && (on_gpu || on_cpu)) {
        o->real = hp->loss_scale > 0.0 ? EDT_DTYPE_F16 : EDT_DTYPE_BF16;
        o->loss_scale = hp->loss_scale;
        if (on_cpu && !edt_backend_cpu_multiplies_bf16()) {
            EDT_WARN("mixed_precision=true: this processor has no bf16 products (AVX512_BF16): "
                     "activations take half the memory, but steps are no faster than in f32");
        }
    } else if (hp->mixed_precision) {
        EDT_WARN("mixed_precision=true: device %s computes in 32 bits", device);
    }
    o->bn_ranks =
        strcmp(hp->sync_bn, "full") == 0 && !hp->freeze_bn ? edt_comm_world_size(comm) : 0;
    o->capture = on_gpu;
}
