// Helpers played by shell scripts, which end in every way that a program can end.
#include <criterion/criterion.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/file.h"
#include "core/helper.h"
#include "tests/support/test_dirs.h"

static edt_error err;
static bool died;

// A folder of plug-ins with one program, "helper".
static const char *set_script(const char *text)
{
    const char *dir = edt_test_temp_dir();
    const char *path = edt_test_path(dir, "helper");
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    (void)fprintf(file, "#!/bin/sh\n%s\n", text);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(chmod(path, 0755), 0);
    cr_assert_eq(setenv("EDT_PLUGIN_DIR", dir, 1), 0);
    return dir;
}

static edt_status run_call(const char *script, const edt_helper_call *call)
{
    const char *dir = set_script(script);
    err = (edt_error){0};
    const edt_status status = edt_helper_run(call, &err, &died);
    edt_test_remove_tree(dir);
    return status;
}

static edt_status run(const char *script)
{
    return run_call(script, &(edt_helper_call){.program = "helper"});
}

Test(helper, reports_come_back_as_they_were_made, .timeout = 30)
{
    cr_assert_eq(run("printf A >&3"), EDT_OK, "%s", err.text);
    cr_assert_not(died);
    // EDT_ERR_FORMAT is the letter F.
    cr_assert_eq(run("printf 'Ftwo\\033\\303\\244 words' >&3"), EDT_ERR_FORMAT);
    cr_assert_not(died);
    cr_assert_str_eq(err.text, "two??? words");
    // In pieces, and longer than any error text is.
    cr_assert_eq(run("printf F >&3; i=0; while [ $i -lt 500 ]; do printf 'word %d ' $i >&3; "
                     "i=$((i+1)); done"),
                 EDT_ERR_FORMAT);
    cr_assert_eq(strncmp(err.text, "word 0 word 1 ", 14), 0, "%s", err.text);
}

Test(helper, every_other_end_is_told, .timeout = 30)
{
    static const struct {
        const char *script, *words;
    } rows[] = {
        {"kill -SEGV $$", "killed by signal 11"},
        {"printf A >&3; kill -ABRT $$", "killed by signal 6"},
        {"kill -XCPU $$", "too much processor time"},
        {"exit 3", "ended with code 3"},
        {"exit 0", "ended with code 0"},
        {"printf A >&3; exit 1", "ended with code 1"},
        {"printf '~what' >&3", "without a report"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        cr_expect_eq(run(rows[i].script), EDT_ERR_CORRUPT, "%s", rows[i].script);
        cr_expect(died);
        cr_expect_not_null(strstr(err.text, rows[i].words), "%s: %s", rows[i].script, err.text);
    }
}

Test(helper, one_that_hangs_is_killed_whatever_it_ignores, .timeout = 60)
{
    const edt_helper_call call = {.program = "helper", .timeout_s = 0.1};
    // This process ignores and blocks what the helper must not.
    (void)signal(SIGTERM, SIG_IGN);
    cr_assert_eq(run_call("trap '' TERM INT; while :; do :; done", &call), EDT_ERR_CORRUPT);
    cr_assert(died);
    cr_assert_not_null(strstr(err.text, "not done after"), "%s", err.text);
    // Neither does a helper that closes its pipe keep anyone waiting for it to end by itself.
    cr_assert_eq(run("exec 3>&-; exit 4"), EDT_ERR_CORRUPT);
    cr_assert_not_null(strstr(err.text, "code 4"), "%s", err.text);
}

Test(helper, files_and_arguments_are_handed_over_and_nothing_else, .timeout = 30)
{
    int ends[2];
    cr_assert_eq(pipe2(ends, O_CLOEXEC), 0);
    const int in = memfd_create("in", MFD_CLOEXEC);
    // Numbers that the helper's own will have, in the other order.
    cr_assert_eq(write(in, "text", 4), 4);
    cr_assert_eq(lseek(in, 0, SEEK_SET), 0);
    const edt_helper_call call = {.program = "helper",
                                  .n_args = 2,
                                  .args = {"a b", "c"},
                                  .n_fds = 2,
                                  .fds = {in, ends[1]}};
    cr_assert_eq(run_call("cat <&4 >&5; echo \"$1|$2\" >&5; ls /proc/self/fd >&5; tty >&5; "
                          "printf A >&3",
                          &call),
                 EDT_OK, "%s", err.text);
    char text[256] = {0};
    cr_assert_gt(read(ends[0], text, sizeof text - 1), 0);
    // ls itself has the next free number open.
    cr_assert_str_eq(text, "texta b|c\n0\n1\n2\n3\n4\n5\n6\nnot a tty\n");
}

Test(helper, works_where_ended_children_are_not_waited_for, .timeout = 30)
{
    (void)signal(SIGCHLD, SIG_IGN);
    cr_assert_eq(run("printf A >&3"), EDT_OK, "%s", err.text);
    cr_assert_eq(run("kill -SEGV $$"), EDT_ERR_CORRUPT);
    cr_assert(died);
}

Test(helper, one_that_is_not_there_or_cannot_run_is_named, .timeout = 30)
{
    const char *dir = set_script("");
    const edt_helper_call call = {.program = "other"};
    cr_assert_eq(edt_helper_run(&call, &err, &died), EDT_ERR_UNSUPPORTED);
    cr_assert_not_null(strstr(err.text, "/other is not there"), "%s", err.text);
    cr_assert_eq(chmod(edt_test_path(dir, "helper"), 0644), 0);
    const edt_helper_call there = {.program = "helper"};
    cr_assert_eq(edt_helper_run(&there, &err, &died), EDT_ERR_IO);
    cr_assert_not_null(strstr(err.text, "/helper"), "%s", err.text);
    cr_assert_not(died);
    edt_test_remove_tree(dir);
}

static bool can_map(size_t n_bytes)
{
    void *data =
        mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED) {
        return false;
    }
    (void)munmap(data, n_bytes);
    return true;
}

Test(helper, limits_count_from_what_the_process_has, .timeout = 30)
{
    cr_assert_eq(edt_helper_limit(100, 64 << 20, 0, &err), EDT_OK, "%s", err.text);
    cr_assert(can_map(16 << 20));
    cr_assert_not(can_map((size_t)1 << 30));
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_CPU, &limit), 0);
    // The system's signal for it comes before its kill.
    cr_assert(limit.rlim_cur == 100 && limit.rlim_max == 101);
    cr_assert_eq(getrlimit(RLIMIT_CORE, &limit), 0);
    cr_assert_eq(limit.rlim_cur, 0);
    // Once more: limits only become narrower.
    cr_assert_eq(edt_helper_limit(100, (uint64_t)8 << 30, 0, &err), EDT_OK, "%s", err.text);
    cr_assert_not(can_map((size_t)1 << 30));
}
