// Record files made by the tests themselves: payloads framed as a TFRecord shard.
#ifndef EDT_TESTS_SUPPORT_TEST_RECORDS_H
#define EDT_TESTS_SUPPORT_TEST_RECORDS_H

#include "core/span.h"

// Writes a shard with the given payloads. Aborts the test on failure.
void edt_test_write_shard(const char *path, const edt_span *payloads, int n_payloads);

// A serialised Example with an encoded image, a source id and n_boxes normalised boxes [n,4]
// with their labels. The caller frees `data` with edt_mem_free.
edt_span edt_test_make_example(edt_span encoded, const char *source_id, const float *boxes,
                               const int64_t *labels, int n_boxes);

// The same with a mask (PNG) per box, unless `masks` is NULL.
edt_span edt_test_make_masked_example(edt_span encoded, const char *source_id,
                                      const float *boxes, const int64_t *labels,
                                      const edt_span *masks, int n_boxes);

// The bytes of a file; free `data` with edt_mem_free.
edt_span edt_test_read_file(const char *path);

#endif
