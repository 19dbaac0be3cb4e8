// What libedt_nccl.so exports: NCCL without a word of it in the interface. comm_device.c
// decides, this carries out. All calls of one thread, whose current device is the backend's.
#ifndef EDT_DIST_NCCL_PLUGIN_H
#define EDT_DIST_NCCL_PLUGIN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"
#include "core/tensor.h"

#define EDT_NCCL_PLUGIN_SYMBOL "edt_nccl_plugin_table"

enum { EDT_NCCL_ID_BYTES = 128 };

typedef struct edt_nccl edt_nccl;

typedef struct edt_nccl_plugin {
    // Rank 0 makes the name of the group; the others get it through another communicator.
    edt_status (*get_id)(uint8_t out_id[EDT_NCCL_ID_BYTES], edt_error *err);
    // All ranks together. `stream` is a cudaStream_t of the current device. Gives up after
    // deadline_s.
    edt_status (*open)(void *stream, const uint8_t id[EDT_NCCL_ID_BYTES], int rank,
                       int world_size, double deadline_s, edt_error *err, edt_nccl **out_nccl);
    // Queues data[n] = sum over ranks on the stream.
    edt_status (*all_reduce)(edt_nccl *nccl, void *data, int64_t n, edt_dtype dtype,
                             edt_error *err);
    // EDT_ERR_DEVICE with NCCL's words when something went wrong meanwhile.
    edt_status (*poll)(edt_nccl *nccl, edt_error *err);
    // Frees everything. abort: without waiting for other ranks, stopping what is on the device.
    void (*close)(edt_nccl *nccl, bool abort);
    // One line for people: the library and its version.
    void (*describe)(char *out_text, size_t n_bytes);
} edt_nccl_plugin;

#endif
