// Object graphs as they are written, read back by the reader of stored ones.
#include <criterion/criterion.h>
#include <string.h>

#include "model/io/object_graph.h"
#include "model/io/object_graph_read.h"

static edt_object_graph *graph;
static edt_error err;

static void setup(void)
{
    cr_assert_eq(edt_object_graph_create(&err, &graph), EDT_OK);
}

static void teardown(void)
{
    edt_object_graph_destroy(graph);
}

TestSuite(object_graph, .init = setup, .fini = teardown, .timeout = 30);

static int add(const char *path, const char *full_name)
{
    int object = -1;
    cr_assert_eq(edt_object_graph_add(graph, path, full_name, &err, &object), EDT_OK, "%s",
                 err.text);
    return object;
}

static edt_object_reader *read_back(edt_text *out_bytes)
{
    edt_object_reader *reader = NULL;
    cr_assert_eq(edt_object_graph_pack(graph, &err, out_bytes), EDT_OK, "%s", err.text);
    const edt_span message = {(const uint8_t *)out_bytes->data, out_bytes->n_bytes};
    cr_assert_eq(edt_object_reader_open(message, "test", &err, &reader), EDT_OK, "%s",
                 err.text);
    return reader;
}

static const edt_object_value *value_at(const edt_object_reader *reader, const char *path)
{
    const int i = edt_object_reader_find_path(reader, path);
    cr_assert_geq(i, 0, "%s", path);
    return edt_object_reader_get(reader, i);
}

Test(object_graph, values_aliases_and_slots_are_found_by_their_paths)
{
    const int kernel = add("backbone/_blocks/0/_conv/kernel", "bb/blocks_0/conv2d/kernel");
    const int fusion = add("cells/0/WSM", "cell_0/WSM");
    cr_assert_eq(edt_object_graph_alias(graph, "cells/0/vars/0", fusion, &err), EDT_OK);
    cr_assert_eq(edt_object_graph_add_slot(graph, "optimizer", kernel, "average",
                                           "MovingAverage/bb/blocks_0/conv2d/kernel/average",
                                           "slot key", &err),
                 EDT_OK, "%s", err.text);
    (void)add("optimizer/iter", "iter");
    edt_text bytes;
    edt_object_reader *reader = read_back(&bytes);
    cr_assert_eq(edt_object_reader_count(reader), 4);
    const edt_object_value *value = value_at(reader, "backbone/_blocks/0/_conv/kernel");
    cr_expect_str_eq(value->name, "bb/blocks_0/conv2d/kernel");
    cr_expect_str_eq(value->key, "backbone/_blocks/0/_conv/kernel/.ATTRIBUTES/VARIABLE_VALUE");
    cr_expect_str_eq(value_at(reader, "cells/0/vars/0")->name, "cell_0/WSM");
    cr_expect_str_eq(value_at(reader, "cells/0/WSM")->key,
                     "cells/0/WSM/.ATTRIBUTES/VARIABLE_VALUE");
    value = value_at(reader, "backbone/_blocks/0/_conv/kernel/ExponentialMovingAverage");
    cr_expect_str_eq(value->key, "slot key");
    cr_expect_str_eq(value->name, "bb/blocks_0/conv2d/kernel/ExponentialMovingAverage");
    cr_expect_str_eq(value_at(reader, "optimizer/iter")->name, "global_step");
    cr_expect_eq(edt_object_reader_find_path(reader, "backbone/_blocks/1"), -1);
    edt_object_reader_close(reader);

    // Written again: the same bytes.
    const size_t n = bytes.n_bytes;
    char copy[2048];
    cr_assert_leq(n, sizeof copy);
    memcpy(copy, bytes.data, n);
    cr_assert_eq(edt_object_graph_pack(graph, &err, &bytes), EDT_OK);
    cr_expect(bytes.n_bytes == n && memcmp(bytes.data, copy, n) == 0);
}

Test(object_graph, bytes_of_a_small_graph)
{
    (void)add("a", "A");
    edt_text bytes;
    cr_assert_eq(edt_object_graph_pack(graph, &err, &bytes), EDT_OK);
    static const char expected[] = "\x0a\x13"             // the root
                                   "\x0a\x06\x12\x04root" // refers to itself
                                   "\x0a\x05\x08\x01\x12\x01"
                                   "a"
                                   "\x2a\x02\x08\x01" // has values
                                   "\x0a\x37"         // the variable
                                   "\x12\x31\x0a\x0eVARIABLE_VALUE\x12\x01"
                                   "A\x1a\x1c"
                                   "a/.ATTRIBUTES/VARIABLE_VALUE"
                                   "\x2a\x02\x08\x01";
    cr_expect_eq(bytes.n_bytes, sizeof expected - 1, "%zu", bytes.n_bytes);
    cr_expect_eq(memcmp(bytes.data, expected, sizeof expected - 1), 0);
}

Test(object_graph, a_path_is_taken_once_and_has_no_empty_element)
{
    (void)add("a/b", "B");
    int object = -1;
    cr_expect_eq(edt_object_graph_add(graph, "a/b", "C", &err, &object), EDT_ERR_INVALID);
    cr_expect_not_null(strstr(err.text, "a/b"), "%s", err.text);
    cr_expect_eq(edt_object_graph_add(graph, "a", "C", &err, &object), EDT_ERR_INVALID);
    static const char *const BAD[] = {"", "/a", "a//c", "a/c/"};
    for (int i = 0; i < 4; ++i) {
        cr_expect_eq(edt_object_graph_add(graph, BAD[i], "C", &err, &object), EDT_ERR_INVALID,
                     "'%s'", BAD[i]);
    }
}
