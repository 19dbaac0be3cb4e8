// HDF5 files as others may write them, made with the library itself: layouts of Keras'
// versions, rare features, and what a reader must refuse. Only in builds with HDF5.
#ifndef EDT_TESTS_SUPPORT_H5_FILES_H
#define EDT_TESTS_SUPPORT_H5_FILES_H

#include <hdf5.h>

enum { TEST_H5_VALUES = 6 };
// 0.5, 1.5, ... of every dataset [2,3]; exact in half precision.
float test_h5_value(int i);

typedef enum test_h5_texts {
    TEST_H5_FIXED,      // padded with zeros, as numpy writes
    TEST_H5_TERMINATED, // one byte longer than the longest
    TEST_H5_BLANKS,     // padded with blanks
    TEST_H5_VARIABLE,   // as newer h5py writes
    TEST_H5_SPLIT,      // weight_names0, weight_names1, ...: one each
} test_h5_texts;

// A list of names as an attribute (n 0: an empty list of float64, as h5py writes it).
void test_h5_list(hid_t object, const char *attribute, test_h5_texts texts, int n,
                  const char *const *names);
// "layer" with its list of weights, in a file whose root lists this one layer. Returns the
// group.
hid_t test_h5_begin(const char *path, test_h5_texts texts, int n_weights,
                    const char *const *weights, hid_t *out_file);
// A dataset [2,3] of the usual values, stored as `type`, at a path below the group whose
// parents are made; `properties` H5P_DEFAULT or of creation.
void test_h5_dataset(hid_t group, const char *name, hid_t type, hid_t properties);

#endif
