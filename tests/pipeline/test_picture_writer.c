// Pictures written beside the caller's work: each under its number, as if one after the other,
// and the error of the first one that cannot be written, whichever thread met it when.
#include "eval/picture_writer.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "core/mem.h"
#include "core/path.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"
#include "tests/support/test_training.h"

enum { N_PICTURES = 40, SIDE = 48 };

static edt_error err;

typedef struct fixture {
    char dir[256];
    edt_hparams hp;
    edt_model model; // without a segmentation head
    edt_picture_writer *writer;
    edt_row_buffer pixels; // as a reader's
} fixture;

static void begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "%s", edt_test_temp_dir());
    edt_test_train_hparams("", &f->hp);
}

static void open_writer(fixture *f, int n_network_threads)
{
    const edt_picture_writer_options options = {.hp = &f->hp,
                                                .model = &f->model,
                                                .dir = f->dir,
                                                .draw = {.max_boxes = 10},
                                                .max_found = 10,
                                                .n_network_threads = n_network_threads};
    cr_assert_eq(edt_picture_writer_create(&options, &err, &f->writer), EDT_OK, "%s", err.text);
}

static void end(fixture *f)
{
    edt_picture_writer_destroy(f->writer);
    edt_row_buffer_deinit(&f->pixels);
    edt_hparams_deinit(&f->hp);
    edt_test_remove_tree(f->dir);
}

// A grey of its own and one box.
static edt_status add(fixture *f, int number)
{
    cr_assert_eq(edt_row_buffer_reserve(&f->pixels, SIDE * SIDE * 3, &err), EDT_OK);
    memset(f->pixels.data, 5 * number, SIDE * SIDE * 3);
    edt_picture picture = {.image = {f->pixels.data, SIDE, SIDE, SIDE * 3},
                           .pixels = &f->pixels};
    const edt_detection box = {
        .ymin = 8, .xmin = 8, .ymax = 40, .xmax = 40, .score = 0.9F, .label = 1 + number % 3};
    const edt_picture_found found = {
        .number = number, .found = &box, .n_found = 1, .image_scale = 1};
    return edt_picture_writer_add(f->writer, &picture, &found, &err);
}

// The files of all numbers, one behind the other.
static edt_span read_all(const fixture *f)
{
    uint8_t *all = NULL;
    size_t n = 0;
    for (int i = 0; i < N_PICTURES; ++i) {
        const edt_span one = edt_test_read_file(edt_test_path(f->dir, "%d.jpg", i));
        all = edt_mem_realloc(EDT_MEM_MISC, all, n + one.n_bytes);
        memcpy(all + n, one.data, one.n_bytes);
        n += one.n_bytes;
        edt_mem_free((void *)one.data);
    }
    return (edt_span){all, n};
}

Test(picture_writer, every_picture_gets_its_own_file, .timeout = 30)
{
    edt_span seen[2];
    for (int k = 0; k < 2; ++k) {
        fixture f;
        begin(&f);
        open_writer(&f, k);
        for (int i = 0; i < N_PICTURES; ++i) {
            cr_assert_eq(add(&f, i), EDT_OK, "%s", err.text);
            if (k == 0) { // one after the other
                cr_assert_eq(edt_picture_writer_finish(f.writer, &err), EDT_OK, "%s", err.text);
            }
        }
        cr_assert_eq(edt_picture_writer_finish(f.writer, &err), EDT_OK, "%s", err.text);
        cr_expect_gt(edt_picture_writer_seconds(f.writer), 0.0);
        seen[k] = read_all(&f);
        end(&f);
    }
    cr_expect_eq(seen[0].n_bytes, seen[1].n_bytes);
    cr_expect(memcmp(seen[0].data, seen[1].data, seen[0].n_bytes) == 0);
    edt_mem_free((void *)seen[0].data);
    edt_mem_free((void *)seen[1].data);
}

Test(picture_writer, the_first_picture_that_fails_is_the_error, .timeout = 30)
{
    fixture f;
    begin(&f);
    // A folder stands where these two are to be.
    cr_assert_eq(mkdir(edt_test_path(f.dir, "3.jpg"), 0777), 0);
    cr_assert_eq(mkdir(edt_test_path(f.dir, "4.jpg"), 0777), 0);
    open_writer(&f, 1);
    edt_status status = EDT_OK;
    for (int i = 0; i < N_PICTURES && status == EDT_OK; ++i) {
        status = add(&f, i);
    }
    status = status == EDT_OK ? edt_picture_writer_finish(f.writer, &err) : status;
    cr_expect_neq(status, EDT_OK);
    cr_expect_not_null(strstr(err.text, "3.jpg"), "%s", err.text);
    cr_expect(edt_test_exists(edt_test_path(f.dir, "2.jpg")));
    end(&f);
}

Test(picture_writer, what_was_given_is_written_also_without_finish, .timeout = 30)
{
    fixture f;
    begin(&f);
    open_writer(&f, 0);
    cr_assert_eq(add(&f, 0), EDT_OK);
    cr_assert_eq(add(&f, 1), EDT_OK);
    edt_picture_writer_destroy(f.writer);
    f.writer = NULL;
    cr_expect(edt_test_exists(edt_test_path(f.dir, "1.jpg")));
    end(&f);
}
