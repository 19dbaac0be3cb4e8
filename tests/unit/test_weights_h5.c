// Keras weight files of every layout that is about, and everything that must be refused: the
// file is named, and what its bytes do to the HDF5 library does nothing to this process.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/rng.h"
#include "model/io/weights.h"
#include "tests/support/h5_files.h"
#include "tests/support/test_dirs.h"

static edt_error err;

static edt_status open_status(const char *path, edt_weights **out_weights)
{
    err = (edt_error){0};
    *out_weights = NULL;
    const edt_status status = edt_weights_open(path, &err, out_weights);
    cr_assert_eq(status == EDT_OK, *out_weights != NULL);
    return status;
}

static edt_weights *open_ok(const char *path)
{
    edt_weights *weights;
    cr_assert_eq(open_status(path, &weights), EDT_OK, "%s", err.text);
    return weights;
}

static void expect_refused(const char *path, edt_status wanted, const char *words)
{
    edt_weights *weights;
    const edt_status status = open_status(path, &weights);
    cr_expect_eq(status, wanted, "%s: %s", words, err.text);
    cr_expect_not_null(strstr(err.text, words), "'%s' is not in: %s", words, err.text);
    cr_expect_not_null(strstr(err.text, path), "the file's name is not in: %s", err.text);
    edt_weights_close(weights);
}

// The item has the usual values in this type.
static void expect_values(edt_weights *weights, const char *name, edt_dtype dtype)
{
    const int i = edt_weights_find(weights, name);
    cr_assert_geq(i, 0, "%s", name);
    const edt_weights_item *item = edt_weights_get(weights, i);
    cr_assert_null(item->unreadable);
    cr_assert_eq(item->dtype, dtype, "%s: %s", name, edt_dtype_name(item->dtype));
    const edt_shape shape = edt_shape_2(2, 3);
    cr_assert(edt_shape_equal(&item->shape, &shape));
    union {
        float f32[TEST_H5_VALUES];
        double f64[TEST_H5_VALUES];
        uint16_t f16[TEST_H5_VALUES];
        int32_t i32[TEST_H5_VALUES];
        int64_t i64[TEST_H5_VALUES];
        uint8_t u8[TEST_H5_VALUES];
    } v;
    cr_assert_eq(edt_weights_read(weights, i, &v, (size_t)item->n_bytes, &err), EDT_OK);
    static const uint16_t halves[TEST_H5_VALUES] = {0x3800, 0x3e00, 0x4100,
                                                    0x4300, 0x4480, 0x4580};
    for (int k = 0; k < TEST_H5_VALUES; ++k) {
        const double wanted = test_h5_value(k);
        switch (dtype) {
        case EDT_DTYPE_F32: cr_assert_eq(v.f32[k], wanted); break;
        case EDT_DTYPE_F64: cr_assert_eq(v.f64[k], wanted); break;
        case EDT_DTYPE_F16: cr_assert_eq(v.f16[k], halves[k]); break;
        case EDT_DTYPE_I32: cr_assert_eq(v.i32[k], floor(wanted)); break;
        case EDT_DTYPE_I64: cr_assert_eq(v.i64[k], floor(wanted)); break;
        default: cr_assert_eq(v.u8[k], floor(wanted)); break;
        }
    }
}

static hid_t half_type(void)
{
    const hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    cr_assert_geq(H5Tset_fields(type, 15, 10, 5, 0, 10), 0);
    cr_assert_geq(H5Tset_ebias(type, 15), 0);
    cr_assert_geq(H5Tset_precision(type, 16), 0);
    cr_assert_geq(H5Tset_size(type, 2), 0);
    return type;
}

Test(weights_h5, names_stand_in_texts_of_any_kind, .timeout = 30)
{
    static const char *const names[] = {"layer/conv/kernel:0", "layer/b:0", "layer/WSM:0"};
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    for (test_h5_texts texts = TEST_H5_FIXED; texts <= TEST_H5_SPLIT; ++texts) {
        hid_t file;
        const hid_t group = test_h5_begin(path, texts, 3, names, &file);
        for (int i = 0; i < 2; ++i) {
            test_h5_dataset(group, names[i], H5T_IEEE_F32LE, H5P_DEFAULT);
        }
        const hid_t scalar = H5Screate(H5S_SCALAR);
        const float one = 0.25f;
        const hid_t set = H5Dcreate2(group, names[2], H5T_IEEE_F32LE, scalar, H5P_DEFAULT,
                                     H5P_DEFAULT, H5P_DEFAULT);
        cr_assert_geq(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, &one), 0);
        (void)H5Dclose(set);
        (void)H5Sclose(scalar);
        (void)H5Gclose(group);
        (void)H5Fclose(file);
        edt_weights *weights = open_ok(path);
        cr_assert_eq(edt_weights_count(weights), 3);
        expect_values(weights, "layer/conv/kernel", EDT_DTYPE_F32);
        expect_values(weights, "layer/b", EDT_DTYPE_F32);
        const int i = edt_weights_find(weights, "layer/WSM");
        cr_assert_geq(i, 0);
        cr_assert_str_eq(edt_weights_get(weights, i)->key, "layer/layer/WSM:0");
        cr_assert_eq(edt_weights_get(weights, i)->shape.n_dims, 0);
        float value = 0;
        cr_assert_eq(edt_weights_read(weights, i, &value, sizeof value, &err), EDT_OK);
        cr_assert_eq(value, 0.25f);
        edt_weights_close(weights);
    }
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(weights_h5, elements_of_many_types_and_layouts_are_read, .timeout = 30)
{
    static const hsize_t chunk[2] = {1, 2};
    static const char *const names[] = {"f32", "f64", "f16",  "f32be",   "i8",   "u8",
                                        "i64", "u32", "gzip", "compact", "text", "u64"};
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    hid_t file;
    const hid_t group = test_h5_begin(path, TEST_H5_FIXED, 12, names, &file);
    const hid_t half = half_type(), packed = H5Pcreate(H5P_DATASET_CREATE),
                compact = H5Pcreate(H5P_DATASET_CREATE), text = H5Tcopy(H5T_C_S1);
    cr_assert_geq(H5Pset_chunk(packed, 2, chunk), 0);
    cr_assert_geq(H5Pset_shuffle(packed), 0);
    cr_assert_geq(H5Pset_deflate(packed, 6), 0);
    cr_assert_geq(H5Pset_fletcher32(packed), 0);
    cr_assert_geq(H5Pset_layout(compact, H5D_COMPACT), 0);
    const struct {
        hid_t type, properties;
        edt_dtype dtype;
    } rows[] = {
        {H5T_IEEE_F32LE, H5P_DEFAULT, EDT_DTYPE_F32},
        {H5T_IEEE_F64LE, H5P_DEFAULT, EDT_DTYPE_F64},
        {half, H5P_DEFAULT, EDT_DTYPE_F16},
        {H5T_IEEE_F32BE, H5P_DEFAULT, EDT_DTYPE_F32},
        {H5T_STD_I8LE, H5P_DEFAULT, EDT_DTYPE_I32},
        {H5T_STD_U8LE, H5P_DEFAULT, EDT_DTYPE_U8},
        {H5T_STD_I64BE, H5P_DEFAULT, EDT_DTYPE_I64},
        {H5T_STD_U32LE, H5P_DEFAULT, EDT_DTYPE_I64},
        {H5T_IEEE_F32LE, packed, EDT_DTYPE_F32},
        {H5T_IEEE_F64BE, compact, EDT_DTYPE_F64},
    };
    for (int i = 0; i < 10; ++i) {
        test_h5_dataset(group, names[i], rows[i].type, rows[i].properties);
    }
    const hid_t scalar = H5Screate(H5S_SCALAR);
    (void)H5Dclose(
        H5Dcreate2(group, "text", text, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    (void)H5Dclose(
        H5Dcreate2(group, "u64", H5T_STD_U64LE, scalar, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
    (void)H5Tclose(text);
    (void)H5Tclose(half);
    (void)H5Pclose(packed);
    (void)H5Pclose(compact);
    (void)H5Sclose(scalar);
    (void)H5Gclose(group);
    (void)H5Fclose(file);
    edt_weights *weights = open_ok(path);
    for (int i = 0; i < 10; ++i) {
        expect_values(weights, names[i], rows[i].dtype);
    }
    for (int i = 10; i < 12; ++i) {
        const int at = edt_weights_find(weights, names[i]);
        cr_assert_geq(at, 0);
        cr_assert_not_null(edt_weights_get(weights, at)->unreadable);
        cr_assert_eq(edt_weights_read(weights, at, NULL, 0, &err), EDT_ERR_UNSUPPORTED);
    }
    edt_weights_close(weights);
    edt_test_remove_tree(dir);
}

Test(weights_h5, whole_models_and_weights_of_the_model_itself, .timeout = 30)
{
    static const char *const own[] = {"scale:0"};
    static const char *const layers[] = {"empty"};
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "model.bin");
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t inner =
        H5Gcreate2(file, "model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t empty = H5Gcreate2(inner, "empty", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t top =
        H5Gcreate2(inner, "top_level_model_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    const hid_t other =
        H5Gcreate2(file, "optimizer_weights", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    test_h5_list(inner, "layer_names", TEST_H5_FIXED, 1, layers);
    test_h5_list(empty, "weight_names", TEST_H5_FIXED, 0, NULL);
    test_h5_list(top, "weight_names", TEST_H5_VARIABLE, 1, own);
    test_h5_dataset(top, "scale:0", H5T_IEEE_F32LE, H5P_DEFAULT);
    test_h5_dataset(other, "Adam/m:0", H5T_IEEE_F32LE, H5P_DEFAULT);
    (void)H5Gclose(inner);
    (void)H5Gclose(empty);
    (void)H5Gclose(top);
    (void)H5Gclose(other);
    (void)H5Fclose(file);
    edt_weights *weights = open_ok(path); // by its contents, whatever it is called
    cr_assert_eq(edt_weights_count(weights), 1);
    expect_values(weights, "scale", EDT_DTYPE_F32);
    edt_weights_close(weights);
    edt_test_remove_tree(dir);
}

// Makes the one weight "w" of a file in ways that must be refused.
typedef void make_fn(hid_t file, hid_t group, const char *dir);

static void make_nothing(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)group, (void)dir;
}

static void make_soft_link(hid_t file, hid_t group, const char *dir)
{
    (void)dir;
    test_h5_dataset(file, "elsewhere", H5T_IEEE_F32LE, H5P_DEFAULT);
    cr_assert_geq(H5Lcreate_soft("/elsewhere", group, "w", H5P_DEFAULT, H5P_DEFAULT), 0);
}

static void make_external_link(hid_t file, hid_t group, const char *dir)
{
    (void)file;
    const char *path = edt_test_path(dir, "other.h5");
    const hid_t other = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    test_h5_dataset(other, "x", H5T_IEEE_F32LE, H5P_DEFAULT);
    (void)H5Fclose(other);
    cr_assert_geq(H5Lcreate_external(path, "x", group, "w", H5P_DEFAULT, H5P_DEFAULT), 0);
}

static void make_external_storage(hid_t file, hid_t group, const char *dir)
{
    (void)file;
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    const char *path = edt_test_path(dir, "raw");
    cr_assert_geq(H5Pset_external(properties, path, 0, 24), 0);
    test_h5_dataset(group, "w", H5T_IEEE_F32LE, properties);
    (void)H5Pclose(properties);
}

static void make_shape(hid_t group, int n_dims, hsize_t dim, bool chunked)
{
    hsize_t dims[8], chunk[8];
    for (int i = 0; i < n_dims; ++i) {
        dims[i] = dim;
        chunk[i] = 1;
    }
    const hid_t space = H5Screate_simple(n_dims, dims, NULL);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    if (chunked) {
        cr_assert_geq(H5Pset_chunk(properties, n_dims, chunk), 0);
    }
    const hid_t set =
        H5Dcreate2(group, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    cr_assert_geq(set, 0);
    (void)H5Dclose(set);
    (void)H5Pclose(properties);
    (void)H5Sclose(space);
}

static void make_huge(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)dir;
    make_shape(group, 2, (hsize_t)1 << 31, true);
}

static void make_large(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)dir;
    make_shape(group, 2, 10000, false);
}

static void make_unwritten(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)dir;
    make_shape(group, 1, 5, false);
}

static void make_half_written(hid_t file, hid_t group, const char *dir)
{
    static const hsize_t dims[2] = {2, 3}, chunk[2] = {1, 3}, first[2] = {0, 0};
    static const float values[3] = {0};
    (void)file, (void)dir;
    const hid_t space = H5Screate_simple(2, dims, NULL), row = H5Screate_simple(2, chunk, NULL);
    const hid_t properties = H5Pcreate(H5P_DATASET_CREATE);
    cr_assert_geq(H5Pset_chunk(properties, 2, chunk), 0);
    const hid_t set =
        H5Dcreate2(group, "w", H5T_IEEE_F32LE, space, H5P_DEFAULT, properties, H5P_DEFAULT);
    cr_assert_geq(H5Sselect_hyperslab(space, H5S_SELECT_SET, first, NULL, chunk, NULL), 0);
    cr_assert_geq(H5Dwrite(set, H5T_NATIVE_FLOAT, row, space, H5P_DEFAULT, values), 0);
    (void)H5Dclose(set);
    (void)H5Pclose(properties);
    (void)H5Sclose(row);
    (void)H5Sclose(space);
}

static void make_group(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)dir;
    (void)H5Gclose(H5Gcreate2(group, "w", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void make_no_list(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)dir;
    test_h5_dataset(group, "w", H5T_IEEE_F32LE, H5P_DEFAULT);
    cr_assert_geq(H5Adelete(group, "weight_names"), 0);
}

static void make_no_layers(hid_t file, hid_t group, const char *dir)
{
    (void)group, (void)dir;
    cr_assert_geq(H5Adelete(file, "layer_names"), 0);
}

static void make_keras_3(hid_t file, hid_t group, const char *dir)
{
    make_no_layers(file, group, dir);
    (void)H5Gclose(H5Gcreate2(file, "layers", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}

static void make_numbers(hid_t file, hid_t group, const char *dir)
{
    (void)file, (void)dir;
    cr_assert_geq(H5Adelete(group, "weight_names"), 0);
    const hsize_t dim = 3;
    const hid_t space = H5Screate_simple(1, &dim, NULL);
    (void)H5Aclose(
        H5Acreate2(group, "weight_names", H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT));
    (void)H5Sclose(space);
}

static void make_layer_that_is_none(hid_t file, hid_t group, const char *dir)
{
    static const char *const layers[] = {"layer", "data"};
    (void)dir;
    test_h5_dataset(group, "w", H5T_IEEE_F32LE, H5P_DEFAULT);
    test_h5_dataset(file, "data", H5T_IEEE_F32LE, H5P_DEFAULT);
    cr_assert_geq(H5Adelete(file, "layer_names"), 0);
    test_h5_list(file, "layer_names", TEST_H5_FIXED, 2, layers);
}

static void make_twice(hid_t file, hid_t group, const char *dir)
{
    static const char *const names[] = {"w", "w"};
    (void)file, (void)dir;
    test_h5_dataset(group, "w", H5T_IEEE_F32LE, H5P_DEFAULT);
    cr_assert_geq(H5Adelete(group, "weight_names"), 0);
    test_h5_list(group, "weight_names", TEST_H5_FIXED, 2, names);
}

Test(weights_h5, what_is_no_keras_file_is_refused_with_the_reason, .timeout = 60)
{
    static const char *const names[] = {"w"};
    static const struct {
        make_fn *make;
        edt_status status;
        const char *words;
    } rows[] = {
        {make_nothing, EDT_ERR_FORMAT, "'w' is listed but not there"},
        {make_soft_link, EDT_ERR_UNSUPPORTED, "'w' is a link to another place"},
        {make_external_link, EDT_ERR_UNSUPPORTED, "'w' is a link to another place"},
        {make_external_storage, EDT_ERR_UNSUPPORTED, "'layer/w' lie in another file"},
        {make_huge, EDT_ERR_FORMAT, "'layer/w' has more elements than"},
        {make_large, EDT_ERR_FORMAT, "'layer/w' has more elements than"},
        {make_unwritten, EDT_ERR_CORRUPT, "'layer/w' was never written"},
        {make_half_written, EDT_ERR_CORRUPT, "'layer/w' was never written"},
        {make_group, EDT_ERR_FORMAT, "'layer/w' is no dataset"},
        {make_no_list, EDT_ERR_FORMAT, "'layer' has no attribute 'weight_names'"},
        {make_no_layers, EDT_ERR_FORMAT, "neither an attribute 'layer_names' nor"},
        {make_keras_3, EDT_ERR_UNSUPPORTED, "Keras 3"},
        {make_numbers, EDT_ERR_FORMAT, "'weight_names' is no list of texts"},
        {make_layer_that_is_none, EDT_ERR_FORMAT, "layer 'data' is no group"},
        {make_twice, EDT_ERR_FORMAT, "layer/w"},
    };
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "bad.h5");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        hid_t file;
        const hid_t group = test_h5_begin(path, TEST_H5_FIXED, 1, names, &file);
        rows[i].make(file, group, dir);
        (void)H5Gclose(group);
        (void)H5Fclose(file);
        expect_refused(path, rows[i].status, rows[i].words);
    }
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static char *small_file(const char *path, size_t *out_bytes)
{
    static const char *const names[] = {"layer/conv/kernel:0", "layer/conv/bias:0",
                                        "layer/z:0"};
    static const hsize_t chunk[2] = {1, 2};
    hid_t file;
    const hid_t group = test_h5_begin(path, TEST_H5_VARIABLE, 3, names, &file);
    const hid_t packed = H5Pcreate(H5P_DATASET_CREATE);
    cr_assert_geq(H5Pset_chunk(packed, 2, chunk), 0);
    cr_assert_geq(H5Pset_deflate(packed, 6), 0);
    test_h5_dataset(group, names[0], H5T_IEEE_F32LE, H5P_DEFAULT);
    test_h5_dataset(group, names[1], H5T_IEEE_F64LE, H5P_DEFAULT);
    test_h5_dataset(group, names[2], H5T_IEEE_F32LE, packed);
    (void)H5Pclose(packed);
    (void)H5Gclose(group);
    (void)H5Fclose(file);
    char *bytes;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &bytes, out_bytes), EDT_OK);
    return bytes;
}

static void put_bytes(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    cr_assert_not_null(file);
    cr_assert_eq(fwrite(bytes, 1, n, file), n);
    cr_assert_eq(fclose(file), 0);
}

Test(weights_h5, cut_files_and_other_files_are_told_apart, .timeout = 60)
{
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "cut.h5");
    size_t n;
    char *bytes = small_file(path, &n);
    for (size_t kept = 64; kept < n; kept += n / 97 + 1) {
        put_bytes(path, bytes, kept);
        expect_refused(path, EDT_ERR_CORRUPT, "is cut");
    }
    put_bytes(path, bytes, 20);
    expect_refused(path, EDT_ERR_CORRUPT, "is cut");
    put_bytes(path, bytes, 0);
    expect_refused(path, EDT_ERR_FORMAT, "is empty");
    put_bytes(path, "\x89HDX\r\n\x1a\n not found", 18);
    expect_refused(path, EDT_ERR_FORMAT, "does not begin with HDF5's mark");
    char *other = malloc(n);
    memcpy(other, bytes, n);
    other[8] = 9;
    put_bytes(path, other, n);
    expect_refused(path, EDT_ERR_FORMAT, "superblock version 9");
    // A head that agrees with the file's length: the library has to see to it.
    for (int i = 1; i < 12; ++i) {
        const uint64_t kept = n * (uint64_t)i / 12;
        memcpy(other, bytes, n);
        memcpy(other + 40, &kept, sizeof kept);
        put_bytes(path, other, kept < 128 ? 128 : kept);
        edt_weights *weights;
        const edt_status status = open_status(path, &weights);
        cr_expect_neq(status, EDT_OK);
        cr_expect_not_null(strstr(err.text, path), "%s", err.text);
        edt_weights_close(weights);
    }
    free(other);
    edt_mem_free(bytes);
    edt_test_remove_tree(dir);
}

Test(weights_h5, a_user_block_before_the_file_is_passed_over, .timeout = 30)
{
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "block.h5");
    size_t n;
    char *bytes = small_file(path, &n);
    char *whole = calloc(1, 2048 + n);
    for (size_t n_block = 512; n_block <= 2048; n_block *= 2) {
        memcpy(whole + n_block, bytes, n);
        put_bytes(path, whole, n_block + n);
        edt_weights *weights = open_ok(path);
        expect_values(weights, "layer/conv/kernel", EDT_DTYPE_F32);
        edt_weights_close(weights);
        memset(whole + n_block, 0, n);
    }
    memcpy(whole + 512, bytes, n);
    put_bytes(path, whole, 512 + n / 2);
    expect_refused(path, EDT_ERR_CORRUPT, "damaged");
    memmove(whole + 500, bytes, n);
    put_bytes(path, whole, 500 + n);
    expect_refused(path, EDT_ERR_FORMAT, "does not begin with HDF5's mark");
    free(whole);
    edt_mem_free(bytes);
    edt_test_remove_tree(dir);
}

Test(weights_h5, no_flipped_byte_does_harm, .timeout = 120)
{
    enum { N_FILES = 60 };
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "flipped.h5");
    size_t n;
    char *bytes = small_file(path, &n);
    int n_refused = 0;
    edt_rng rng;
    edt_rng_init(&rng, 7, 0, 0, 0);
    for (int i = 0; i < N_FILES; ++i) {
        char *other = malloc(n);
        memcpy(other, bytes, n);
        for (int k = 0; k <= i % 3; ++k) {
            const size_t at = edt_rng_below(&rng, n);
            other[at] = (char)(other[at] ^ (char)(1 << edt_rng_below(&rng, 8)));
        }
        put_bytes(path, other, n);
        edt_weights *weights;
        if (open_status(path, &weights) != EDT_OK) {
            ++n_refused;
            cr_expect_not_null(strstr(err.text, path), "%s", err.text);
        }
        edt_weights_close(weights);
        free(other);
    }
    // Most bytes are padding between the library's tables, or elements, which nothing guards.
    cr_assert_gt(n_refused, 5);
    edt_mem_free(bytes);
    edt_test_remove_tree(dir);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

Test(weights_h5, a_library_that_crashes_is_an_error_that_names_the_file, .timeout = 30)
{
    const char *dir = edt_test_temp_dir(), *path = edt_test_path(dir, "a.h5");
    const char *program = edt_test_path(dir, "edt_hdf5");
    size_t n;
    edt_mem_free(small_file(path, &n));
    static const char script[] = "#!/bin/sh\nkill -SEGV $$\n";
    put_bytes(program, script, sizeof script - 1);
    cr_assert_eq(chmod(program, 0755), 0);
    cr_assert_eq(setenv("EDT_PLUGIN_DIR", dir, 1), 0);
    char wanted[512];
    (void)snprintf(wanted, sizeof wanted,
                   "the HDF5 library could not read %s (killed by signal 11): damaged?", path);
    expect_refused(path, EDT_ERR_CORRUPT, wanted);
    edt_test_remove_tree(dir);
}
