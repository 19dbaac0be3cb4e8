// Picture libraries that run out of memory: what they say must not be taken for a damaged
// picture, which a training run may go on without. Their malloc is this program's, which
// refuses one call after the other.
#include <criterion/criterion.h>
#include <stdlib.h>

#include "core/mem.h"
#include "dataio/image_decode.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED
#endif

static _Thread_local int n_calls_left; // until one is refused; 0 and below: none is

#ifndef IS_SANITIZED // a sanitizer has a malloc of its own
void *__libc_malloc(size_t n_bytes);

void *malloc(size_t n_bytes)
{
    return n_calls_left > 0 && --n_calls_left == 0 ? NULL : __libc_malloc(n_bytes);
}
#endif

static edt_status decode(edt_span picture, edt_error *err)
{
    edt_image_decoder *decoder = NULL;
    edt_image image;
    int64_t h, w;
    edt_status status = edt_image_decoder_create(NULL, err, &decoder);
    if (status == EDT_OK) {
        status = edt_image_open(decoder, picture, err, &h, &w);
    }
    if (status == EDT_OK) {
        status = edt_image_decode(decoder, 0, err, &image);
    }
    edt_image_decoder_destroy(decoder);
    return status;
}

Test(image_memory, want_of_memory_is_no_damage, .timeout = 60)
{
    static const char *const formats[] = {"rgb8.png", "palette4.png", "two_frames.gif"};
    static const char *const jpegs[] = {"baseline_420.jpg", "progressive_420.jpg"};
#ifdef IS_SANITIZED
    cr_skip_test("the sanitizer has malloc");
#endif
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    for (int i = 0; i < 5; ++i) {
        const char *path =
            i < 3 ? edt_test_path(edt_test_golden_dir(), "data/decode/formats/%s", formats[i])
                  : edt_test_path(edt_test_data_dir(), "jpeg-corpus/%s", jpegs[i - 3]);
        const edt_span picture = edt_test_read_file(path);
        int n_refused = 0;
        for (int k = 1;; ++k) {
            edt_error err = {0};
            n_calls_left = k;
            const edt_status status = decode(picture, &err);
            const bool was_refused = n_calls_left <= 0;
            n_calls_left = 0;
            cr_assert(status == EDT_OK || (was_refused && status == EDT_ERR_NOMEM),
                      "%s, call %d: status %d, %s", path, k, (int)status, err.text);
            n_refused += status == EDT_ERR_NOMEM;
            if (!was_refused) {
                break;
            }
        }
        cr_expect_gt(n_refused, 2, "%s: %d", path, n_refused);
        edt_mem_free((void *)picture.data);
    }
}
