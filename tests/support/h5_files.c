#include "tests/support/h5_files.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

float test_h5_value(int i)
{
    return (float)i + 0.5f;
}

static void put_texts(hid_t object, const char *attribute, test_h5_texts texts, int n,
                      const char *const *names)
{
    const hsize_t dim = (hsize_t)n;
    const hid_t space = H5Screate_simple(1, &dim, NULL);
    const hid_t type = H5Tcopy(H5T_C_S1);
    size_t width = 1;
    for (int i = 0; i < n; ++i) {
        width = strlen(names[i]) > width ? strlen(names[i]) : width;
    }
    width += texts == TEST_H5_TERMINATED ? 1 : 3;
    char *fixed = calloc((size_t)n + 1, width);
    for (int i = 0; i < n; ++i) {
        char *text = fixed + (size_t)i * width;
        const size_t n_text = strlen(names[i]);
        memcpy(text, names[i], n_text);
        for (size_t k = n_text; k < width && texts == TEST_H5_BLANKS; ++k) {
            text[k] = ' ';
        }
    }
    cr_assert_geq(H5Tset_size(type, texts == TEST_H5_VARIABLE ? H5T_VARIABLE : width), 0);
    cr_assert_geq(H5Tset_strpad(type, texts == TEST_H5_BLANKS       ? H5T_STR_SPACEPAD
                                      : texts == TEST_H5_TERMINATED ? H5T_STR_NULLTERM
                                                                    : H5T_STR_NULLPAD),
                  0);
    if (texts == TEST_H5_VARIABLE) {
        cr_assert_geq(H5Tset_cset(type, H5T_CSET_UTF8), 0);
    }
    const hid_t made = H5Acreate2(object, attribute, type, space, H5P_DEFAULT, H5P_DEFAULT);
    cr_assert_geq(made, 0);
    const void *data = texts == TEST_H5_VARIABLE ? (const void *)names : fixed;
    cr_assert_geq(H5Awrite(made, type, data), 0);
    (void)H5Aclose(made);
    (void)H5Tclose(type);
    (void)H5Sclose(space);
    free(fixed);
}

void test_h5_list(hid_t object, const char *attribute, test_h5_texts texts, int n,
                  const char *const *names)
{
    if (n == 0) {
        const hsize_t none = 0;
        const hid_t space = H5Screate_simple(1, &none, NULL);
        const hid_t made =
            H5Acreate2(object, attribute, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT);
        cr_assert_geq(made, 0);
        (void)H5Aclose(made);
        (void)H5Sclose(space);
        return;
    }
    if (texts != TEST_H5_SPLIT) {
        put_texts(object, attribute, texts, n, names);
        return;
    }
    for (int i = 0; i < n; ++i) {
        char part[64];
        (void)snprintf(part, sizeof part, "%s%d", attribute, i);
        put_texts(object, part, TEST_H5_FIXED, 1, names + i);
    }
}

hid_t test_h5_begin(const char *path, test_h5_texts texts, int n_weights,
                    const char *const *weights, hid_t *out_file)
{
    static const char *const layers[] = {"layer"};
    const hid_t file = H5Fcreate(path, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    cr_assert_geq(file, 0);
    const hid_t group = H5Gcreate2(file, "layer", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    cr_assert_geq(group, 0);
    test_h5_list(file, "layer_names", texts, 1, layers);
    test_h5_list(group, "weight_names", texts, n_weights, weights);
    *out_file = file;
    return group;
}

void test_h5_dataset(hid_t group, const char *name, hid_t type, hid_t properties)
{
    static const hsize_t dims[2] = {2, 3};
    float values[TEST_H5_VALUES];
    for (int i = 0; i < TEST_H5_VALUES; ++i) {
        values[i] = test_h5_value(i);
    }
    const hid_t space = H5Screate_simple(2, dims, NULL);
    const hid_t parents = H5Pcreate(H5P_LINK_CREATE);
    cr_assert_geq(H5Pset_create_intermediate_group(parents, 1), 0);
    const hid_t set = H5Dcreate2(group, name, type, space, parents, properties, H5P_DEFAULT);
    cr_assert_geq(set, 0, "%s", name);
    cr_assert_geq(H5Dwrite(set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, values), 0);
    (void)H5Dclose(set);
    (void)H5Pclose(parents);
    (void)H5Sclose(space);
}
