// TensorFlow bundles as other writers make them and ours does not: several data files,
// big-endian ones, compressed indexes, partitioned tensors.
#ifndef EDT_TESTS_SUPPORT_TEST_BUNDLE_H
#define EDT_TESTS_SUPPORT_TEST_BUNDLE_H

#include <stdbool.h>

#include "core/tensor.h"
#include "model/io/tf_table_format.h"

typedef struct edt_test_tensor {
    const char *name;
    edt_tensor_desc desc; // dtype NONE: `text` as a string scalar
    const void *data;     // in this machine's order
    edt_text text;
    int shard;
    bool is_partitioned;
} edt_test_tensor;

typedef struct edt_test_bundle_options {
    int n_shards; // 0: 1
    bool big_endian, snappy;
} edt_test_bundle_options;

// Sorted by name. Aborts the test on failure.
void edt_test_bundle_write(const char *prefix, const edt_test_bundle_options *options,
                           const edt_test_tensor *tensors, int n);

// Literals and copies of all kinds that pay.
void edt_test_snappy_pack(edt_span bytes, edt_tf_bytes *out);
// A table with one data block -> the same with both blocks compressed.
void edt_test_table_compress(edt_tf_bytes *table);

#endif
