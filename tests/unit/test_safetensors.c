#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/safetensors.h"

static edt_error err;

static char *temporary(void)
{
    static char dir[] = "/tmp/edt_safetensors_XXXXXX", path[64];
    cr_assert_not_null(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/a.safetensors", dir);
    return path;
}

static void cleanup(char *path)
{
    (void)unlink(path);
    *strrchr(path, '/') = '\0';
    (void)rmdir(path);
}

Test(safetensors, round_trip, .timeout = 30)
{
    const float f[6] = {1, 2, 3, 4, 5, -6.5f};
    const uint8_t u[3] = {7, 8, 9};
    const int64_t i[1] = {-1};
    const edt_safetensors_item items[] = {
        {"b/u", {EDT_DTYPE_U8, edt_shape_1(3)}, {u, sizeof u}},
        {"a", {EDT_DTYPE_F32, edt_shape_2(2, 3)}, {(const uint8_t *)f, sizeof f}},
        {"scalar", {EDT_DTYPE_I64, {0}}, {(const uint8_t *)i, sizeof i}},
        {"empty", {EDT_DTYPE_F32, edt_shape_2(0, 4)}, {NULL, 0}},
    };
    const edt_safetensors_meta meta[] = {{"z", "last"}, {"format", "pt \"x\""}};
    char *path = temporary();
    cr_assert_eq(edt_safetensors_write(path, items, 4, meta, 2, &err), EDT_OK, "%s", err.text);
    edt_safetensors *file;
    cr_assert_eq(edt_safetensors_open(path, &err, &file), EDT_OK, "%s", err.text);
    cr_assert(file->n == 4 && file->n_meta == 2);
    cr_assert_str_eq(file->items[0].name, "a");
    cr_assert_str_eq(edt_safetensors_meta_get(file, "format"), "pt \"x\"");
    cr_assert_null(edt_safetensors_meta_get(file, "none"));
    const edt_shape shape = edt_shape_2(2, 3);
    const edt_safetensors_item *item;
    cr_assert_eq(edt_safetensors_get(file, "a", EDT_DTYPE_F32, &shape, &err, &item), EDT_OK);
    cr_assert_eq(memcmp(item->data.data, f, sizeof f), 0);
    cr_assert_eq((uintptr_t)item->data.data % sizeof(float), 0);
    item = edt_safetensors_find(file, "scalar");
    cr_assert(item->desc.shape.n_dims == 0 && memcmp(item->data.data, i, sizeof i) == 0);
    cr_assert_eq((uintptr_t)item->data.data % sizeof(int64_t), 0);
    cr_assert_eq(edt_safetensors_find(file, "empty")->data.n_bytes, 0);
    cr_assert_eq(edt_safetensors_get(file, "a", EDT_DTYPE_F64, NULL, &err, &item),
                 EDT_ERR_MISMATCH);
    cr_assert_eq(edt_safetensors_get(file, "x", EDT_DTYPE_F64, NULL, &err, &item),
                 EDT_ERR_NOT_FOUND);
    edt_safetensors_close(file);

    // The order of the arguments leaves no trace.
    char *first, *second;
    size_t n_first, n_second;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &first, &n_first), EDT_OK);
    const edt_safetensors_item turned[] = {items[3], items[2], items[1], items[0]};
    const edt_safetensors_meta meta_turned[] = {meta[1], meta[0]};
    cr_assert_eq(edt_safetensors_write(path, turned, 4, meta_turned, 2, &err), EDT_OK);
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &second, &n_second), EDT_OK);
    cr_assert(n_first == n_second && memcmp(first, second, n_first) == 0);
    edt_mem_free(first);
    edt_mem_free(second);
    const edt_safetensors_item twice[] = {items[0], items[0]};
    cr_assert_eq(edt_safetensors_write(path, twice, 2, NULL, 0, &err), EDT_ERR_INVALID);
    cr_assert_eq(edt_safetensors_write(path, NULL, 0, NULL, 0, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_safetensors_open(path, &err, &file), EDT_OK, "%s", err.text);
    cr_assert_eq(file->n, 0);
    edt_safetensors_close(file);
    cleanup(path);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static edt_status open_text(const char *header, size_t n_data)
{
    static uint8_t bytes[4096];
    const size_t n = strlen(header);
    memset(bytes, 0, sizeof bytes);
    bytes[0] = (uint8_t)n;
    bytes[1] = (uint8_t)(n >> 8);
    memcpy(bytes + 8, header, n);
    edt_safetensors *file = NULL;
    const edt_status status =
        edt_safetensors_open_span((edt_span){bytes, 8 + n + n_data}, &err, &file);
    edt_safetensors_close(file);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
    return status;
}

Test(safetensors, every_offset_is_checked, .timeout = 30)
{
    static const struct {
        const char *header;
        size_t n_data;
        edt_status status;
    } cases[] = {
        {"{}", 0, EDT_OK},
        {"{}  ", 0, EDT_OK},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 8, EDT_OK},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 7, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}", 9, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[1,9]}}", 9, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}", 8, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}",
         3, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
         "\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
         4, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}",
         0, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,0]}}", 0, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"I8\",\"shape\":[1],\"data_offsets\":[0,1]}}", 1,
         EDT_ERR_UNSUPPORTED},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1],\"data_offsets\":[0,1]}}", 1,
         EDT_ERR_UNSUPPORTED},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1]}}", 1, EDT_ERR_FORMAT},
        {"{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0]}}", 1, EDT_ERR_FORMAT},
        {"{\"__metadata__\":{\"a\":1}}", 0, EDT_ERR_FORMAT},
        {"{} x", 0, EDT_ERR_FORMAT},
        {"[]", 0, EDT_ERR_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cr_assert_eq(open_text(cases[i].header, cases[i].n_data), cases[i].status, "%s: %s",
                     cases[i].header, err.text);
    }
    const uint8_t huge[8] = {255, 255, 255, 255, 255, 255, 255, 255};
    edt_safetensors *file;
    cr_assert_eq(edt_safetensors_open_span((edt_span){huge, 8}, &err, &file), EDT_ERR_FORMAT);
    cr_assert_eq(edt_safetensors_open_span((edt_span){NULL, 0}, &err, &file), EDT_ERR_FORMAT);
    cr_assert_eq(edt_safetensors_open("/no/such", &err, &file), EDT_ERR_NOT_FOUND);
}
