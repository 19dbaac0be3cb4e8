// The cuda backend beside its ops: pinned memory, events, copies on their own stream, values of
// a run that a replay reads anew, and what is said where there is no device.
#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>

#include "tests/support/cuda_device.h"

#define OK(call) cr_assert_eq(call, EDT_OK, "%s", err.text)

enum { N = 8 };

Test(cuda_streams, copies_in_order_through_events, .timeout = 60)
{
    edt_error err = {0};
    edt_backend *backend = edt_test_cuda_backend();
    const edt_backend_table *table = backend->table;
    const edt_stream_table *streams = table->streams;
    void *from = NULL;
    void *to = NULL;
    void *device = NULL;
    edt_event *copied = NULL;
    edt_event *done = NULL;
    OK(streams->host_alloc(backend, N, &err, &from));
    OK(streams->host_alloc(backend, N, &err, &to));
    OK(table->alloc(backend, EDT_MEM_MISC, N, &err, &device));
    OK(streams->event_create(backend, &err, &copied));
    OK(streams->event_create(backend, &err, &done));
    memset(from, 7, N);
    bool passed = false;
    OK(streams->event_query(backend, copied, &err, &passed));
    cr_expect(passed, "an event that was never recorded");
    OK(streams->copy(backend, EDT_STREAM_COPY, device, from, N, &err));
    OK(streams->event_record(backend, copied, EDT_STREAM_COPY, &err));
    OK(streams->event_wait(backend, copied, EDT_STREAM_COMPUTE, &err));
    OK(streams->copy(backend, EDT_STREAM_COMPUTE, to, device, N, &err));
    OK(streams->event_record(backend, done, EDT_STREAM_COMPUTE, &err));
    OK(streams->event_synchronize(backend, done, &err));
    cr_expect_eq(memcmp(from, to, N), 0);
    OK(streams->event_query(backend, done, &err, &passed));
    cr_expect(passed);
    double seconds = -1;
    OK(streams->event_seconds(backend, copied, done, &err, &seconds));
    cr_expect_geq(seconds, 0);
    cr_expect_not_null(streams->native(backend, EDT_STREAM_COMM));
    streams->event_destroy(backend, copied);
    streams->event_destroy(backend, done);
    streams->event_destroy(backend, NULL);
    table->free(backend, device);
    streams->host_free(backend, from);
    streams->host_free(backend, to);
    edt_backend_destroy(&backend);
}

// v -= lr * g, recorded once.
Test(cuda_streams, a_replay_takes_the_values_of_the_last_begin, .timeout = 60)
{
    static const edt_param_segment segment = {.n = N, .update = true};
    edt_error err = {0};
    edt_backend *backend = edt_test_cuda_backend();
    const edt_backend_table *table = backend->table;
    edt_op_desc desc = {.kind = EDT_OP_OPTIMIZER, .n_in = 3, .n_out = 1};
    desc.attrs.optimizer =
        (edt_optimizer_attrs){.segments = &segment, .n_segments = 1, .momentum = 0};
    for (int i = 0; i < 3; i++) {
        desc.in[i] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(N)};
    }
    OK(edt_op_infer(&desc, &err));
    edt_kernel *kernel = NULL;
    size_t workspace_bytes = 0;
    OK(table->prepare(backend, &desc, &err, &kernel, &workspace_bytes));
    void *in[3];
    void *out[1];
    void *workspace = NULL;
    float host[N];
    for (int i = 0; i < N; i++) {
        host[i] = 1;
    }
    for (int i = 0; i < 3; i++) {
        OK(table->alloc(backend, EDT_MEM_PARAM, sizeof(host), &err, &in[i]));
        OK(i == 1 ? table->upload(backend, in[i], host, sizeof(host), &err)
                  : table->zero(backend, in[i], sizeof(host), &err));
    }
    OK(table->alloc(backend, EDT_MEM_MISC, edt_tensor_bytes(&desc.out[0]), &err, &out[0]));
    OK(table->alloc(backend, EDT_MEM_WORKSPACE, workspace_bytes + 1, &err, &workspace));
    edt_run_ctx ctx = {.learning_rate = 100, .adam_t = 1};
    edt_capture *capture = NULL;
    OK(table->begin(backend, &ctx, &err));
    OK(table->streams->capture_begin(backend, &err));
    OK(table->run(backend, kernel, &ctx, in, out, workspace, &err));
    OK(table->streams->capture_end(backend, &err, &capture));
    float want = 0;
    // More begins than values that can be on their way.
    for (int i = 1; i <= 20; i++) {
        ctx.learning_rate = i;
        OK(table->upload(backend, in[1], host, sizeof(host), &err));
        OK(table->begin(backend, &ctx, &err));
        OK(table->streams->replay(backend, capture, &err));
        want -= (float)i;
    }
    float got[N];
    OK(table->download(backend, got, in[0], sizeof(got), &err));
    cr_expect_float_eq(got[N - 1], want, 1e-3F);
    table->streams->capture_destroy(backend, capture);
    table->release(backend, kernel);
    for (int i = 0; i < 3; i++) {
        table->free(backend, in[i]);
    }
    table->free(backend, out[0]);
    table->free(backend, workspace);
    edt_backend_destroy(&backend);
}

Test(cuda_streams, what_would_wait_is_refused_while_recording, .timeout = 60)
{
    edt_error err = {0};
    edt_backend *backend = edt_test_cuda_backend();
    const edt_backend_table *table = backend->table;
    const edt_run_ctx ctx = {0};
    float host = 1;
    void *device = NULL;
    void *more = NULL;
    edt_capture *capture = NULL;
    OK(table->alloc(backend, EDT_MEM_MISC, sizeof(host), &err, &device));
    OK(table->streams->capture_begin(backend, &err));
    cr_expect_eq(table->upload(backend, device, &host, sizeof(host), &err), EDT_ERR_USAGE);
    cr_expect_eq(table->download(backend, &host, device, sizeof(host), &err), EDT_ERR_USAGE);
    cr_expect_eq(table->alloc(backend, EDT_MEM_MISC, 1, &err, &more), EDT_ERR_USAGE);
    cr_expect_eq(table->synchronize(backend, &err), EDT_ERR_USAGE);
    cr_expect_eq(table->begin(backend, &ctx, &err), EDT_ERR_USAGE);
    cr_expect_eq(table->streams->capture_begin(backend, &err), EDT_ERR_USAGE);
    OK(table->zero(backend, device, sizeof(host), &err));
    OK(table->streams->capture_end(backend, &err, &capture));
    OK(table->upload(backend, device, &host, sizeof(host), &err));
    OK(table->streams->replay(backend, capture, &err));
    OK(table->download(backend, &host, device, sizeof(host), &err));
    cr_expect_eq(host, 0);
    cr_expect_eq(table->streams->capture_end(backend, &err, &capture), EDT_ERR_USAGE);
    table->streams->capture_destroy(backend, capture);
    table->free(backend, device);
    edt_backend_destroy(&backend);
}

Test(cuda_streams, a_device_that_is_not_there_is_named, .timeout = 60)
{
    edt_error err = {0};
    edt_backend *backend = edt_test_cuda_backend();
    edt_backend_destroy(&backend);
    const edt_backend_options options = {.device = 99};
    cr_expect_eq(edt_backend_create("cuda", &options, &err, &backend), EDT_ERR_USAGE);
    cr_expect(strstr(err.text, "cuda:99") != NULL, "%s", err.text);
}

// The emulated runtime's own settings; a real one does not read them.
static void expect_unsupported(const char *name, const char *value, const char *text)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    const edt_backend_plugin *plugin = NULL;
    const edt_backend_options options = {0};
    char lines[4096];
    cr_assert_eq(setenv(name, value, 1), 0);
    const edt_status status = edt_backend_create("cuda", &options, &err, &backend);
    if (status == EDT_OK) {
        edt_backend_destroy(&backend);
        cr_skip_test("a real device");
    }
    cr_expect_eq(status, EDT_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, text) != NULL, "%s", err.text);
    cr_assert_eq(edt_backend_cuda_plugin_open(&err, &plugin), EDT_OK, "%s", err.text);
    plugin->describe_machine(lines, sizeof(lines));
    cr_expect(strstr(lines, text) != NULL, "%s", lines);
}

Test(cuda_streams, no_device_is_said, .timeout = 60)
{
    edt_backend *backend = edt_test_cuda_backend();
    edt_backend_destroy(&backend);
    expect_unsupported("EDT_EMULATED_DEVICES", "0", "no NVIDIA GPU is visible");
}

Test(cuda_streams, an_old_driver_is_said, .timeout = 60)
{
    edt_backend *backend = edt_test_cuda_backend();
    edt_backend_destroy(&backend);
    expect_unsupported("EDT_EMULATED_DRIVER", "11080", "the NVIDIA driver is for CUDA 11.8");
}

Test(cuda_streams, a_machine_is_described, .timeout = 60)
{
    edt_error err = {0};
    edt_backend *backend = edt_test_cuda_backend();
    const edt_backend_plugin *plugin = NULL;
    char text[4096];
    int n_devices = 0;
    OK(edt_backend_cuda_plugin_open(&err, &plugin));
    OK(plugin->count_devices(&err, &n_devices));
    cr_expect_gt(n_devices, 0);
    plugin->describe_machine(text, sizeof(text));
    cr_expect(strstr(text, "cuda device 0: ") != NULL, "%s", text);
    plugin->describe_machine(text, 10);
    cr_expect_eq(strlen(text), 9);
    edt_backend_describe(backend, text, sizeof(text));
    cr_expect(strstr(text, "cuDNN ") != NULL, "%s", text);
    edt_backend_peak peak = {0};
    OK(edt_backend_measure_peak(backend, &err, &peak));
    cr_expect(peak.gflops > 0 && peak.gflops_16bit > 0 && peak.gbytes_per_s > 0);
    edt_backend_destroy(&backend);
}
