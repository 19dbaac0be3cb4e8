// Object graphs from arbitrary bytes: every refusal has a message, every value that is found is
// one of the values, and no path leads outside.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "model/io/object_graph.h"
#include "model/io/object_graph_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    edt_error err = {0};
    edt_object_reader *reader = NULL;
    if (edt_object_reader_open((edt_span){data, n}, "fuzz", &err, &reader) != EDT_OK) {
        if (err.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    const int n_values = edt_object_reader_count(reader);
    for (int i = 0; i < n_values; ++i) {
        const edt_object_value *value = edt_object_reader_get(reader, i);
        if (value->key[0] == '\0' || (value->name != NULL && strlen(value->name) > n + 64)) {
            abort();
        }
        if (value->path != NULL &&
            edt_object_reader_find_path(reader, value->path) >= n_values) {
            abort();
        }
    }
    static const char *const paths[] = {"", "/", "a/b/c", "optimizer/iter", "a/KerasMomentum"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; ++i) {
        if (edt_object_reader_find_path(reader, paths[i]) >= n_values) {
            abort();
        }
    }
    edt_object_reader_close(reader);
    return 0;
}

static edt_status fill(edt_object_graph *graph, int kind)
{
    edt_error err = {0};
    int a, b, c;
    EDT_TRY(
        edt_object_graph_add(graph, kind == 1 ? "base_model/x:0" : "a/b/c", "x/y", &err, &a));
    EDT_TRY(edt_object_graph_add(graph, "optimizer/iter", "iter", &err, &b));
    if (kind == 2) {
        EDT_TRY(edt_object_graph_add(graph, "a/d/0", "x/z_1", &err, &c));
        EDT_TRY(edt_object_graph_alias(graph, "a/e", c, &err));
        EDT_TRY(edt_object_graph_add_slot(graph, "optimizer", a, "average", "s", "k", &err));
        return edt_object_graph_add_slot(graph, "optimizer/awg_optimizer", c, "momentum", "t",
                                         "l", &err);
    }
    return EDT_OK;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    edt_object_graph *graph = NULL;
    edt_error err = {0};
    edt_text bytes;
    size_t n = 0;
    if (i < 3 && edt_object_graph_create(&err, &graph) == EDT_OK && fill(graph, i) == EDT_OK &&
        edt_object_graph_pack(graph, &err, &bytes) == EDT_OK && bytes.n_bytes <= cap) {
        memcpy(out, bytes.data, bytes.n_bytes);
        n = bytes.n_bytes;
    }
    edt_object_graph_destroy(graph);
    return n;
}
