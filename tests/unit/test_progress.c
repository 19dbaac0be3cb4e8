#include <criterion/criterion.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/progress.h"

// What `n_updates` updates of a progress line write to `fd`, as read from `read_fd`.
static void run(edt_progress_spec spec, int n_updates, int read_fd, char *out, size_t out_bytes)
{
    edt_progress progress;
    edt_progress_begin(&progress, &spec);
    for (int i = 1; i <= n_updates; ++i) {
        edt_progress_update(&progress, i, "loss %.1f", 0.5);
    }
    edt_progress_end(&progress);
    const ssize_t n = read(read_fd, out, out_bytes - 1);
    out[n > 0 ? n : 0] = '\0';
}

static int count(const char *text, char wanted)
{
    int n = 0;
    for (; *text != '\0'; ++text) {
        n += *text == wanted;
    }
    return n;
}

Test(progress, pipes_get_whole_lines_and_one_at_the_end, .timeout = 10)
{
    int ends[2];
    char text[8192];
    cr_assert_eq(pipe2(ends, O_NONBLOCK), 0);
    const edt_progress_spec every = {
        .what = "convert", .unit = "images", .total = 4, .plain_interval_s = -1, .fd = ends[1]};
    run(every, 4, ends[0], text, sizeof text);
    cr_assert_eq(count(text, '\n'), 5, "%s", text);
    cr_assert_eq(count(text, '\r'), 0);
    cr_assert_not_null(strstr(text, "convert: 2/4 (50.0%)"), "%s", text);
    cr_assert_not_null(strstr(text, "images/s ETA 00:"), "%s", text);
    cr_assert_not_null(strstr(text, " in 00:00 loss 0.5\n"), "%s", text);

    const edt_progress_spec rare = {
        .what = "scan", .unit = "files", .plain_interval_s = 3600, .fd = ends[1]};
    run(rare, 100, ends[0], text, sizeof text);
    cr_assert_eq(count(text, '\n'), 1, "%s", text);
    cr_assert_eq(strncmp(text, "scan: 100 ", 10), 0, "%s", text);

    edt_log_set_level(EDT_LOG_QUIET);
    run(every, 4, ends[0], text, sizeof text);
    cr_assert_str_empty(text);
}

Test(progress, terminals_redraw_one_line, .timeout = 10)
{
    char text[8192];
    const int master = posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK);
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        cr_skip_test("no pseudo-terminals here");
    }
    const int terminal = open(ptsname(master), O_RDWR | O_NOCTTY);
    cr_assert_geq(terminal, 0);
    const edt_progress_spec spec = {
        .what = "train", .unit = "images", .total = 10, .fd = terminal};
    run(spec, 10, master, text, sizeof text);
    cr_assert_eq(text[0], '\r');
    cr_assert_eq(count(text, '\n'), 1, "%s", text);
    cr_assert_not_null(strstr(text, "train: 10/10 (100.0%)"), "%s", text);
}
