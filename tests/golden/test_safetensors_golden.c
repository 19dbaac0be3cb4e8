// Files that another implementation wrote: every tensor opens, and the file written back from
// them opens to the same.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/safetensors.h"
#include "tests/support/test_dirs.h"

static void check(const char *name)
{
    const char *path = edt_test_path(edt_test_golden_dir(), "%s", name);
    EDT_TEST_NEEDS_FILE(path);
    edt_error err = {0};
    edt_safetensors *file, *back;
    cr_assert_eq(edt_safetensors_open(path, &err, &file), EDT_OK, "%s", err.text);
    cr_assert_gt(file->n, 0);
    const char *copy = edt_test_path(edt_test_temp_dir(), "copy.safetensors");
    cr_assert_eq(
        edt_safetensors_write(copy, file->items, file->n, file->meta, file->n_meta, &err),
        EDT_OK, "%s", err.text);
    cr_assert_eq(edt_safetensors_open(copy, &err, &back), EDT_OK, "%s", err.text);
    cr_assert(back->n == file->n && back->n_meta == file->n_meta);
    for (int64_t i = 0; i < file->n; ++i) {
        const edt_safetensors_item *a = &file->items[i], *b = &back->items[i];
        cr_assert_str_eq(a->name, b->name);
        cr_assert(a->desc.dtype == b->desc.dtype &&
                  edt_shape_equal(&a->desc.shape, &b->desc.shape));
        cr_assert(a->data.n_bytes == b->data.n_bytes &&
                  memcmp(a->data.data, b->data.data, a->data.n_bytes) == 0);
    }
    for (int64_t i = 0; i < file->n_meta; ++i) {
        cr_assert_str_eq(edt_safetensors_meta_get(back, file->meta[i].key),
                         file->meta[i].value);
    }
    edt_safetensors_close(file);
    edt_safetensors_close(back);
    (void)unlink(copy);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(safetensors_golden, files_of_another_writer_round_trip, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    check("model/anchors/anchors.safetensors");
    check("model/post/post.safetensors");
    check("model/targets/targets.safetensors");
    check("model/forward/forward_d0_hashed_train.safetensors");
}
