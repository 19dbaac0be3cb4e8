// Canonical names, and how items are found in a list of weights.
#include <criterion/criterion.h>
#include <string.h>

#include "model/io/weights_priv.h"
#include "tests/support/test_dirs.h"

Test(weights, canonical_names_have_no_output_number_replica_or_layer_number, .timeout = 30)
{
    static const char *const rows[][2] = {
        {"a/b/kernel:0", "a/b/kernel"},
        {"replica_1/a/kernel", "a/kernel"},
        {"a/replica_12/kernel:0", "a/kernel"},
        {"a/replica_/kernel", "a/replica_/kernel"},
        {"a/replica_x1/kernel:1", "a/replica_x1/kernel:1"},
        {"a/replica_1", "a/replica_1"},
        {":0", ":0"},
        {"", ""},
        {"a//b/", "a//b/"},
        // Numbers of a process that has built other models, where Keras makes names.
        {"efficientnet-b0/stem_1/conv2d_12/kernel:0", "efficientnet-b0/stem/conv2d/kernel"},
        {"efficientnet-b0/stem/conv2d_3/kernel", "efficientnet-b0/stem/conv2d/kernel"},
        {"efficientnet-b0/stem_2/tpu_batch_normalization/gamma",
         "efficientnet-b0/stem/tpu_batch_normalization/gamma"},
        {"efficientnet-b0/blocks_1/conv2d_1/kernel",
         "efficientnet-b0/blocks_1/conv2d_1/kernel"},
        {"efficientnet-b0/stem_x/conv2d_1/kernel", "efficientnet-b0/stem_x/conv2d_1/kernel"},
        {"other/stem_1/conv2d_1/kernel", "other/stem_1/conv2d_1/kernel"},
        {"efficientnet-b0/stem_1", "efficientnet-b0/stem_1"},
    };
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        cr_expect_str_eq(edt_weights_canonical(&arena, rows[i][0]), rows[i][1]);
    }
    edt_arena_deinit(&arena);
}

Test(weights, items_are_found_by_each_of_their_names, .timeout = 30)
{
    static const edt_weights_ops ops = {0};
    edt_error err = {0};
    edt_weights *weights = NULL;
    cr_assert_eq(edt_weights_create("file", EDT_WEIGHTS_TF_OBJECTS, &ops, &err, &weights),
                 EDT_OK);
    const edt_weights_item items[] = {{.key = "k3", .name = "b", .object_path = "p/1"},
                                      {.key = "k2", .object_path = "p/0"},
                                      {.key = "k1", .name = "a"},
                                      {.key = "k0", .name = "b"},
                                      {.key = "k4", .unreadable = "of a reason"}};
    for (size_t i = 0; i < sizeof items / sizeof items[0]; ++i) {
        cr_assert_eq(edt_weights_push(weights, &items[i], &err), EDT_OK);
    }
    cr_assert_eq(edt_weights_seal(weights, &err), EDT_OK);
    cr_expect_eq(edt_weights_find(weights, "a"), 2);
    cr_expect_eq(edt_weights_find(weights, "b"), 0, "the first stored one");
    cr_expect_eq(edt_weights_find(weights, "c"), -1);
    cr_expect_eq(edt_weights_find(weights, ""), -1);
    cr_expect_eq(edt_weights_find_path(weights, "p/0"), 1);
    cr_expect_eq(edt_weights_find_path(weights, "p"), -1);
    cr_expect_eq(edt_weights_find_key(weights, "k0"), 3);
    cr_expect_eq(edt_weights_read(weights, 4, NULL, 0, &err), EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "of a reason"), "%s", err.text);
    edt_weights_close(weights);
}
