// Keras weight files from arbitrary bytes, through the program that has the HDF5 library: that
// library may crash over them, which is its own affair; here every outcome is a list of weights
// that lie inside what was handed back, or an error with words. In process it would stop at the
// library's known defects at once.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "model/io/h5_write.h"
#include "model/io/weights.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

enum { END_AT = 40, HEAD_BYTES = 64 }; // the length in a superblock of version 0

static void need(int holds)
{
    if (!holds) {
        abort();
    }
}

static const char *file_name(void)
{
    static char path[64];
    if (path[0] == '\0') {
        // .h5: then the opener also sees what does not begin as such files do.
        (void)snprintf(path, sizeof path, "%s/edt-fuzz-XXXXXX.h5",
                       access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        const int fd = mkstemps(path, 3);
        need(fd >= 0 && close(fd) == 0);
    }
    return path;
}

static long n_accepted, n_refused, n_died;

static void finish(void)
{
    (void)unlink(file_name());
    printf("%ld files accepted, %ld refused, %ld ended the program that read them\n",
           n_accepted, n_refused, n_died);
}

static int read_file(const uint8_t *data, size_t n)
{
    static int is_registered;
    if (!is_registered) {
        is_registered = 1;
        need(atexit(finish) == 0);
    }
    FILE *file = fopen(file_name(), "wb");
    need(file != NULL && fwrite(data, 1, n, file) == n && fclose(file) == 0);
    edt_error err = {0};
    edt_weights *weights = NULL;
    if (edt_weights_open(file_name(), &err, &weights) != EDT_OK) {
        need(strstr(err.text, file_name()) != NULL);
        ++*(strstr(err.text, "the HDF5 library could not read") != NULL ? &n_died : &n_refused);
        return strstr(err.text, " is cut") != NULL;
    }
    ++n_accepted;
    for (int i = 0; i < edt_weights_count(weights); ++i) {
        const edt_weights_item *item = edt_weights_get(weights, i);
        need(edt_weights_find_key(weights, item->key) == i);
        void *values = malloc(item->n_bytes > 0 ? (size_t)item->n_bytes : 1);
        const edt_status status =
            edt_weights_read(weights, i, values, (size_t)item->n_bytes, &err);
        need((status == EDT_OK) == (item->unreadable == NULL));
        free(values);
    }
    edt_weights_close(weights);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (read_file(data, n) && n >= HEAD_BYTES) {
        // Once more with a length that agrees, so that the library gets to see it.
        uint8_t *other = malloc(n);
        need(other != NULL);
        memcpy(other, data, n);
        for (int k = 0; k < 8; ++k) {
            other[END_AT + k] = (uint8_t)((uint64_t)n >> (8 * k));
        }
        (void)read_file(other, n);
        free(other);
    }
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    if (i > 0) {
        return 0;
    }
    edt_error err = {0};
    edt_backend *backend = NULL;
    edt_graph *graph = NULL;
    edt_params *params = NULL;
    char *text = NULL;
    size_t n = 0;
    need(edt_backend_ref_create(&err, &backend) == EDT_OK);
    need(edt_graph_create(EDT_DTYPE_F32, &err, &graph) == EDT_OK);
    const edt_init init = {.kind = EDT_INIT_NORMAL, .a = 1};
    (void)edt_graph_param(graph, "b0/stem/conv2d/kernel", "backbone/_stem/_conv_stem/kernel",
                          edt_shape_4(1, 1, 2, 3), init, true);
    (void)edt_graph_param(graph, "fpn_cells/WSM", "fpn_cells/WSM", (edt_shape){0}, init, true);
    need(edt_params_create(graph, backend, &err, &params) == EDT_OK);
    need(edt_h5_write(params, EDT_PARAMS_VALUES, file_name(), &err) == EDT_OK);
    need(edt_file_read(file_name(), cap, &err, &text, &n) == EDT_OK);
    memcpy(out, text, n);
    edt_mem_free(text);
    edt_params_destroy(params);
    edt_graph_destroy(graph);
    edt_backend_destroy(&backend);
    return n;
}
