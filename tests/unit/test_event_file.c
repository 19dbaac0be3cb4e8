// Event files: whole records whatever happens, nothing before the first event, nothing
// allocated per step, and training that goes on where they cannot be written.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/log.h"
#include "core/mem.h"
#include "dataio/tfrecord.h"
#include "tests/support/test_dirs.h"
#include "train/event_file.h"

static const char *dir;
static int n_warnings;

static void count_warnings(void *ctx, edt_log_level level, const char *line)
{
    (void)ctx;
    (void)line;
    n_warnings += level == EDT_LOG_WARNING;
}

static edt_event_file *open_events(const char *name)
{
    edt_error err = {0};
    edt_event_file *file = NULL;
    dir = edt_test_temp_dir();
    edt_log_set_sink(count_warnings, NULL);
    cr_assert_eq(edt_event_file_create(edt_test_path(dir, "%s", name), &err, &file), EDT_OK,
                 "%s", err.text);
    return file;
}

static void write_step(edt_event_file *file, int64_t step)
{
    static const char *const tags[] = {"loss", "gradient_norm", "learning_rate"};
    edt_event_scalar scalars[3];
    for (int i = 0; i < 3; ++i) {
        scalars[i] = (edt_event_scalar){tags[i], (double)step + 0.5 * i};
    }
    edt_event_file_scalars(file, step, scalars, 3);
}

// Whole records with right sums, and nothing behind them; -1 otherwise.
static int count_records(const char *path)
{
    edt_error err;
    edt_mapped_file file;
    cr_assert_eq(edt_mapped_file_open(path, &err, &file), EDT_OK, "%s", err.text);
    uint64_t at = 0;
    int n = 0;
    while (at < file.span.n_bytes) {
        edt_span payload;
        if (edt_tfrecord_get(file.span, at, true, &payload, &at) != EDT_TFRECORD_OK) {
            n = -1;
            break;
        }
        ++n;
    }
    edt_mapped_file_close(&file);
    return n;
}

Test(event_file, appears_with_the_first_event_under_the_name_that_tensorboard_looks_for,
     .timeout = 30)
{
    edt_event_file *file = open_events("run");
    cr_expect_not(edt_test_exists(edt_test_path(dir, "run")));
    cr_expect_null(edt_event_file_path(file));
    write_step(file, 1);
    cr_assert_not_null(edt_event_file_path(file));
    cr_expect_not_null(strstr(edt_event_file_path(file), "/run/events.out.tfevents."));
    cr_expect_eq(count_records(edt_event_file_path(file)), 2, "version and one event");
    edt_error err;
    char *bytes;
    size_t n_bytes;
    cr_assert_eq(edt_file_read(edt_event_file_path(file), 1 << 20, &err, &bytes, &n_bytes),
                 EDT_OK);
    // wall_time (9 bytes), then field 3: the words that readers ask for.
    cr_expect_eq(memcmp(bytes + EDT_TFRECORD_HEADER_BYTES + 9,
                        "\x1a\x0d"
                        "brain.Event:2",
                        15),
                 0);
    edt_mem_free(bytes);
    edt_event_file_destroy(file);
    edt_test_remove_tree(dir);
}

Test(event_file, two_of_one_process_do_not_share_a_file, .timeout = 30)
{
    edt_event_file *a = open_events("run"), *b = NULL;
    edt_error err;
    cr_assert_eq(edt_event_file_create(edt_test_path(dir, "run"), &err, &b), EDT_OK);
    write_step(a, 1);
    write_step(b, 1);
    cr_expect_str_neq(edt_event_file_path(a), edt_event_file_path(b));
    edt_event_file_destroy(a);
    edt_event_file_destroy(b);
    edt_test_remove_tree(dir);
}

Test(event_file, a_step_allocates_nothing, .timeout = 30)
{
    edt_event_file *file = open_events("run");
    write_step(file, 1);
    const edt_mem_stats before = edt_mem_get_total();
    for (int64_t step = 2; step < 100; ++step) {
        write_step(file, step);
    }
    cr_expect_eq(edt_mem_get_total().n_total, before.n_total);
    cr_expect_eq(count_records(edt_event_file_path(file)), 100);
    edt_event_file_destroy(file);
    edt_test_remove_tree(dir);
}

// A limit on the size of files stands for a full disk: the last write comes through in part.
Test(event_file, a_full_disk_leaves_whole_records_and_is_told_once, .timeout = 30)
{
    edt_event_file *file = open_events("run");
    write_step(file, 1);
    struct stat st;
    cr_assert_eq(stat(edt_event_file_path(file), &st), 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    struct rlimit old;
    cr_assert_eq(getrlimit(RLIMIT_FSIZE, &old), 0);
    const struct rlimit limit = {.rlim_cur = (rlim_t)st.st_size + 20, .rlim_max = old.rlim_max};
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (int64_t step = 2; step < 6; ++step) {
        write_step(file, step);
        cr_expect_eq(count_records(edt_event_file_path(file)), 2);
    }
    cr_expect_eq(n_warnings, 1);
    cr_expect_eq(edt_event_file_n_lost(file), 4);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &old), 0);
    write_step(file, 6);
    cr_expect_eq(count_records(edt_event_file_path(file)), 3);
    edt_event_file_destroy(file);
    cr_expect_eq(n_warnings, 2, "how many were lost is told at the end");
    edt_test_remove_tree(dir);
}

Test(event_file, a_directory_that_cannot_be_made_ends_nothing, .timeout = 30)
{
    edt_event_file *file = open_events("taken/run");
    edt_error err;
    cr_assert_eq(edt_file_write(edt_test_path(dir, "taken"), "x", 1, &err), EDT_OK);
    write_step(file, 1);
    write_step(file, 2);
    cr_expect_eq(edt_event_file_n_lost(file), 2);
    cr_expect_eq(n_warnings, 1);
    // Room is made: from here on there are events.
    cr_assert_eq(unlink(edt_test_path(dir, "taken")), 0);
    write_step(file, 3);
    cr_expect_eq(count_records(edt_event_file_path(file)), 2);
    edt_event_file_destroy(file);
    edt_test_remove_tree(dir);
}
