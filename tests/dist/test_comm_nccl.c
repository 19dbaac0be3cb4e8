// The NCCL communicator between forked processes on the emulated device: values, order against
// the compute stream, capture and replay, a rank that is gone.
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backend/backend.h"
#include "tests/support/test_ranks.h"

enum { N = 100003 };

typedef struct rank_state {
    edt_backend *backend;
    edt_comm *comm;
    float *device; // [N]
    float host[N];
} rank_state;

static bool has_emulated_nccl(void)
{
    char path[4096];
    const char *bin = getenv("EDT_BIN_DIR");
    (void)snprintf(path, sizeof path, "%s/../emulated", bin != NULL ? bin : "bin");
    char file[4200];
    (void)snprintf(file, sizeof file, "%s/libedt_nccl.so", path);
    if (access(file, F_OK) != 0) {
        return false;
    }
    (void)setenv("EDT_PLUGIN_DIR", path, 1);
    return true;
}

#define SKIP_WITHOUT_NCCL()                                                                    \
    if (!has_emulated_nccl()) {                                                                \
        cr_skip("no emulated NCCL in this build\n");                                           \
    }

static edt_status set_up(edt_comm *host, rank_state *s, edt_error *err)
{
    EDT_TRY(
        edt_backend_create("cuda", &(edt_backend_options){.n_threads = 1}, err, &s->backend));
    EDT_TRY(s->backend->table->alloc(s->backend, EDT_MEM_MISC, sizeof s->host, err,
                                     (void **)&s->device));
    return edt_comm_device_create(s->backend, &(edt_comm_options){.deadline_s = 20.0}, host,
                                  err, &s->comm);
}

static int finish(rank_state *s, int code)
{
    s->backend->table->free(s->backend, s->device);
    edt_comm_destroy(s->comm);
    edt_backend_destroy(&s->backend);
    return code;
}

static edt_status upload(rank_state *s, float base, edt_error *err)
{
    for (int i = 0; i < N; ++i) {
        s->host[i] = base + (float)(i % 7);
    }
    return s->backend->table->upload(s->backend, s->device, s->host, sizeof s->host, err);
}

static bool holds(rank_state *s, float base, float scale, edt_error *err)
{
    if (s->backend->table->download(s->backend, s->host, s->device, sizeof s->host, err) !=
        EDT_OK) {
        return false;
    }
    for (int i = 0; i < N; ++i) {
        if (s->host[i] != base + scale * (float)(i % 7)) {
            return false;
        }
    }
    return true;
}

static rank_state state; // of one rank, too large for a stack

static int sums(edt_comm *host, void *arg)
{
    (void)arg;
    edt_error err = {0};
    const int world = edt_comm_world_size(host), me = edt_comm_rank(host);
    if (set_up(host, &state, &err) != EDT_OK) {
        (void)fprintf(stderr, "%s\n", err.text);
        return 1;
    }
    TEST_RANK_ASSERT(edt_comm_on_device(state.comm) && edt_comm_host(state.comm) == host);
    TEST_RANK_ASSERT(strcmp(edt_comm_kind(state.comm), "nccl") == 0);
    TEST_RANK_ASSERT(edt_comm_join(state.comm, &err) == EDT_OK);
    TEST_RANK_ASSERT(upload(&state, (float)me, &err) == EDT_OK);
    TEST_RANK_ASSERT(
        edt_comm_all_reduce(state.comm, state.device, N / 2, EDT_DTYPE_F32, &err) == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_all_reduce(state.comm, state.device + N / 2, N - N / 2,
                                         EDT_DTYPE_F32, &err) == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_join(state.comm, &err) == EDT_OK);
    TEST_RANK_ASSERT(holds(&state, (float)(world * (world - 1) / 2), (float)world, &err));
    // Bytes of the host go on as before.
    double x = 1.0;
    TEST_RANK_ASSERT(edt_comm_broadcast(state.comm, 0, &x, sizeof x, &err) == EDT_OK);
    return finish(&state, 0);
}

Test(comm_nccl, sums_device_memory_over_two_and_four_ranks, .timeout = 60)
{
    SKIP_WITHOUT_NCCL();
    test_ranks_expect(2, sums, NULL);
    test_ranks_expect(4, sums, NULL);
}

// A recorded sum is made again at every replay, between what computes before and after it.
static int captures(edt_comm *host, void *arg)
{
    (void)arg;
    edt_error err = {0};
    const float world = (float)edt_comm_world_size(host);
    TEST_RANK_ASSERT(set_up(host, &state, &err) == EDT_OK);
    const edt_stream_table *streams = state.backend->table->streams;
    edt_capture *capture;
    edt_event *event;
    TEST_RANK_ASSERT(streams->event_create(state.backend, &err, &event) == EDT_OK);
    TEST_RANK_ASSERT(streams->capture_begin(state.backend, &err) == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_all_reduce(state.comm, state.device, N, EDT_DTYPE_F32, &err) ==
                     EDT_OK);
    TEST_RANK_ASSERT(edt_comm_join(state.comm, &err) == EDT_OK);
    TEST_RANK_ASSERT(edt_comm_all_reduce(state.comm, state.device, N, EDT_DTYPE_F32, &err) ==
                     EDT_OK);
    TEST_RANK_ASSERT(edt_comm_join(state.comm, &err) == EDT_OK);
    TEST_RANK_ASSERT(streams->capture_end(state.backend, &err, &capture) == EDT_OK);
    for (int i = 0; i < 3; ++i) {
        TEST_RANK_ASSERT(upload(&state, (float)i, &err) == EDT_OK);
        TEST_RANK_ASSERT(streams->replay(state.backend, capture, &err) == EDT_OK);
        TEST_RANK_ASSERT(
            streams->event_record(state.backend, event, EDT_STREAM_COMPUTE, &err) == EDT_OK);
        TEST_RANK_ASSERT(edt_comm_wait(state.comm, event, &err) == EDT_OK);
        TEST_RANK_ASSERT(holds(&state, world * world * (float)i, world * world, &err));
    }
    streams->capture_destroy(state.backend, capture);
    streams->event_destroy(state.backend, event);
    return finish(&state, 0);
}

Test(comm_nccl, sums_inside_a_capture, .timeout = 60)
{
    SKIP_WITHOUT_NCCL();
    test_ranks_expect(2, captures, NULL);
}

static int loses(edt_comm *host, void *arg)
{
    (void)arg;
    edt_error err = {0};
    TEST_RANK_ASSERT(set_up(host, &state, &err) == EDT_OK);
    if (edt_comm_rank(host) == 1) {
        (void)raise(SIGKILL);
    }
    const edt_stream_table *streams = state.backend->table->streams;
    edt_event *event;
    TEST_RANK_ASSERT(streams->event_create(state.backend, &err, &event) == EDT_OK);
    edt_status status = edt_comm_all_reduce(state.comm, state.device, N, EDT_DTYPE_F32, &err);
    if (status == EDT_OK) {
        TEST_RANK_ASSERT(
            streams->event_record(state.backend, event, EDT_STREAM_COMPUTE, &err) == EDT_OK);
        status = edt_comm_wait(state.comm, event, &err);
    }
    TEST_RANK_ASSERT(status == EDT_ERR_DEVICE);
    TEST_RANK_ASSERT(strstr(err.text, "rank 0 on ") != NULL);
    TEST_RANK_ASSERT(strstr(err.text, "remote process exited") != NULL);
    TEST_RANK_ASSERT(edt_comm_join(state.comm, &err) == EDT_ERR_DEVICE); // it stays failed
    edt_comm_abort(state.comm, err.text);
    streams->event_destroy(state.backend, event);
    return finish(&state, 0);
}

Test(comm_nccl, a_lost_rank_is_an_error_of_the_next_wait, .timeout = 60)
{
    SKIP_WITHOUT_NCCL();
    (void)setenv("EDT_EMULATED_NCCL_MS", "300", 1);
    int codes[2];
    test_ranks_run(2, 60.0, loses, NULL, codes);
    cr_assert_eq(codes[0], 0);
    cr_assert_eq(codes[1], 128 + SIGKILL);
}
