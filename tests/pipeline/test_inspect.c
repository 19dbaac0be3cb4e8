#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "dataio/inspect.h"
#include "dataio/jpeg_decode.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

static edt_hparams make_hparams(void)
{
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    cr_assert_eq(edt_hparams_set(&hp, "image_size", "128", NULL), EDT_OK);
    return hp;
}

Test(inspect, pictures_gallery_and_contact_sheet, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = make_hparams();
    // A copy: the buffers of edt_test_path rotate.
    char *dir = edt_mem_strdup(EDT_MEM_TEXT, edt_test_path(edt_test_temp_dir(), "new/pictures"));
    const edt_inspect_options options = {
        .file_pattern =
            edt_test_path(edt_test_golden_dir(), "data/tfrecord/coco-*-of-00002.tfrecord"),
        .save_dir = dir,
        .n_samples = 40,
        .eval = true};
    edt_inspect_result result;
    edt_error err = {0};
    cr_assert_eq(edt_inspect_samples(&hp, &options, &err, &result), EDT_OK, "%s", err.text);
    cr_assert_eq(result.n_samples, 24);
    cr_assert_eq(result.n_saved, 22);
    cr_assert_eq(result.n_without_boxes, 2);
    int n_files = 0;
    edt_jpeg_decoder *decoder = NULL;
    cr_assert_eq(edt_jpeg_decoder_create(NULL, &decoder), EDT_OK);
    for (int i = 0; i < 24; ++i) {
        const char *path = edt_test_path(dir, "sample%d.jpg", i);
        if (!edt_test_exists(path)) {
            continue;
        }
        const edt_span bytes = edt_test_read_file(path);
        int64_t h, w;
        cr_assert_eq(edt_jpeg_open(decoder, bytes, &err, &h, &w), EDT_OK, "%s", err.text);
        cr_assert(h == 128 && w == 128);
        edt_mem_free((void *)bytes.data);
        ++n_files;
    }
    edt_jpeg_decoder_destroy(decoder);
    cr_assert_eq(n_files, 22);
    cr_assert(edt_test_exists(edt_test_path(dir, "samples.jpg")));
    const edt_span page = edt_test_read_file(edt_test_path(dir, "index.html"));
    cr_assert_not_null(memmem(page.data, page.n_bytes, "sample3.jpg", 11));
    cr_assert_not_null(memmem(page.data, page.n_bytes, "person", 6));
    edt_mem_free((void *)page.data);
    edt_mem_free(dir);
    edt_hparams_deinit(&hp);
}

Test(inspect, the_training_view_is_the_same_every_time, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_golden_dir());
    edt_hparams hp = make_hparams();
    const char *dir[2] = {edt_test_temp_dir(), edt_test_temp_dir()};
    edt_span sheet[2];
    for (int i = 0; i < 2; ++i) {
        const edt_inspect_options options = {
            .file_pattern = edt_test_path(edt_test_golden_dir(),
                                          "data/tfrecord/coco-00000-of-00002.tfrecord"),
            .save_dir = dir[i],
            .n_samples = 6,
            .n_threads = 1 + 2 * i};
        edt_inspect_result result;
        edt_error err = {0};
        cr_assert_eq(edt_inspect_samples(&hp, &options, &err, &result), EDT_OK, "%s", err.text);
        cr_assert_eq(result.n_samples, 6);
        sheet[i] = edt_test_read_file(edt_test_path(dir[i], "samples.jpg"));
    }
    cr_assert_eq(sheet[0].n_bytes, sheet[1].n_bytes);
    cr_assert_eq(memcmp(sheet[0].data, sheet[1].data, sheet[0].n_bytes), 0);
    edt_mem_free((void *)sheet[0].data);
    edt_mem_free((void *)sheet[1].data);
    edt_hparams_deinit(&hp);
}

Test(inspect, nothing_to_draw_is_an_error, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_hparams hp = make_hparams();
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "empty.tfrecord");
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    const edt_span record = edt_test_make_example(jpeg, "1", NULL, NULL, 0);
    edt_test_write_shard(path, &record, 1);
    edt_mem_free((void *)jpeg.data);
    edt_mem_free((void *)record.data);
    edt_inspect_result result;
    edt_error err = {0};
    edt_inspect_options options = {
        .file_pattern = path, .save_dir = dir, .n_samples = 3, .eval = true};
    cr_assert_eq(edt_inspect_samples(&hp, &options, &err, &result), EDT_ERR_INVALID);
    cr_assert_not_null(strstr(err.text, "has a box"), "%s", err.text);
    options.n_samples = 0;
    cr_assert_eq(edt_inspect_samples(&hp, &options, &err, &result), EDT_ERR_USAGE);
    edt_hparams_deinit(&hp);
}
