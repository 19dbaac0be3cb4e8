// The record index refuses what has no random access, and says what to do.
#include <criterion/criterion.h>
#include <string.h>

#include "core/file.h"
#include "dataio/record_index.h"
#include "tests/support/test_dirs.h"

Test(record_index, a_compressed_shard_is_refused_with_the_remedy, .timeout = 30)
{
    // An empty gzip stream.
    static const char gzip[] = "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"
                               "\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "a.tfrecord");
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, gzip, sizeof gzip - 1, &err), EDT_OK, "%s", err.text);
    edt_record_index *index = NULL;
    cr_expect_eq(edt_record_index_create(&path, 1, NULL, &err, &index), EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "a.tfrecord"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "gzip"), "%s", err.text);
    cr_expect_not_null(strstr(err.text, "without compression"), "%s", err.text);
    edt_test_remove_tree(dir);
}
