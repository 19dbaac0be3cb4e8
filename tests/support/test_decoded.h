// Pictures that follow from their index, and decoded caches of them.
#ifndef EDT_TESTS_SUPPORT_TEST_DECODED_H
#define EDT_TESTS_SUPPORT_TEST_DECODED_H

#include "dataio/decoded_cache.h"

// Sizes from 1 x 1 on, most of them odd; rows `stride_extra` bytes further apart than they are
// wide. Free `data` with edt_mem_free.
edt_image edt_test_picture(int64_t index, int64_t stride_extra);
bool edt_test_is_picture(int64_t index, const edt_image *image);

// Aborts the test on failure.
edt_decoded_cache *edt_test_open_cache(const char *path, const char *fingerprint,
                                       int64_t max_bytes, int zstd_level);
// Offers pictures [begin, end) until the queue takes them.
void edt_test_fill_cache(edt_decoded_cache *cache, int64_t begin, int64_t end);

typedef struct edt_test_found {
    int64_t n_right, n_missing, n_wrong;
} edt_test_found;
// Looks at pictures [begin, end).
edt_test_found edt_test_read_cache(edt_decoded_cache *cache, int64_t begin, int64_t end);

#endif
