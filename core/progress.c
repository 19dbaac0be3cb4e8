// Progress line; see progress.h.
#include "core/progress.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"

enum { LINE_BYTES = 640, MIN_COLUMNS = 20 };
static const double redraw_interval_s = 0.1;
static const double default_plain_interval_s = 10.0;

void edt_progress_begin(edt_progress *progress, const edt_progress_spec *spec)
{
    *progress = (edt_progress){.spec = *spec, .done = spec->done};
    progress->spec.fd = spec->fd > 0 ? spec->fd : STDERR_FILENO;
    if (spec->plain_interval_s == 0.0) {
        progress->spec.plain_interval_s = default_plain_interval_s;
    }
    progress->is_terminal = isatty(progress->spec.fd) == 1;
    progress->begin_s = edt_clock_now_s();
    progress->shown_s = progress->begin_s;
}

// "1:02:03" or "02:03".
static void format_duration(double seconds, char *out, size_t out_bytes)
{
    const long long s = seconds < 1e9 ? llround(seconds) : 1000000000;
    if (s >= 3600) {
        (void)snprintf(out, out_bytes, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    } else {
        (void)snprintf(out, out_bytes, "%02lld:%02lld", s / 60, s % 60);
    }
}

static int format_line(const edt_progress *progress, double now_s, bool is_end, char *out,
                       int out_bytes)
{
    const edt_progress_spec *spec = &progress->spec;
    const double elapsed_s = now_s - progress->begin_s;
    const int64_t n_new = progress->done - spec->done;
    const double rate = elapsed_s > 0 && n_new > 0 ? (double)n_new / elapsed_s : 0.0;
    char count[64];
    char when[48];
    char duration[32];
    if (spec->total > 0) {
        (void)snprintf(count, sizeof count, "%lld/%lld (%.1f%%)", (long long)progress->done,
                       (long long)spec->total,
                       100.0 * (double)progress->done / (double)spec->total);
    } else {
        (void)snprintf(count, sizeof count, "%lld", (long long)progress->done);
    }
    if (!is_end && spec->total > 0 && rate > 0) {
        format_duration((double)(spec->total - progress->done) / rate, duration,
                        sizeof duration);
        (void)snprintf(when, sizeof when, "ETA %s", duration);
    } else {
        format_duration(elapsed_s, duration, sizeof duration);
        (void)snprintf(when, sizeof when, "in %s", duration);
    }
    const int n = snprintf(out, (size_t)out_bytes, "%s: %s %.*f %s/s %s%s%s", spec->what, count,
                           rate < 10 ? 2 : 1, rate, spec->unit, when,
                           progress->suffix[0] != '\0' ? " " : "", progress->suffix);
    return n < out_bytes ? n : out_bytes - 1;
}

static int terminal_columns(int fd)
{
    struct winsize size = {0};
    return ioctl(fd, TIOCGWINSZ, &size) == 0 && size.ws_col >= MIN_COLUMNS ? size.ws_col : 80;
}

static void draw(edt_progress *progress, double now_s, bool is_end)
{
    progress->shown_s = now_s;
    if (edt_log_get_level() >= EDT_LOG_ERROR) {
        return;
    }
    char line[LINE_BYTES];
    int n = format_line(progress, now_s, is_end, line, LINE_BYTES);
    // One write per line keeps lines of several threads and processes apart. A lost line of
    // progress is no reason to fail.
    if (progress->is_terminal) {
        // A line that wraps cannot be redrawn.
        const int n_columns = terminal_columns(progress->spec.fd) - 1;
        n = n < n_columns ? n : n_columns;
        (void)dprintf(progress->spec.fd, "\r%.*s\033[K%s", n, line, is_end ? "\n" : "");
    } else {
        (void)dprintf(progress->spec.fd, "%.*s\n", n, line);
    }
}

void edt_progress_update(edt_progress *progress, int64_t done, const char *fmt, ...)
{
    progress->done = done;
    const double now_s = edt_clock_now_s();
    const double interval_s =
        progress->is_terminal ? redraw_interval_s : progress->spec.plain_interval_s;
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(progress->suffix, sizeof progress->suffix, fmt, args);
    va_end(args);
    if (now_s - progress->shown_s >= interval_s) {
        draw(progress, now_s, false);
    }
}

void edt_progress_end(edt_progress *progress)
{
    draw(progress, edt_clock_now_s(), true);
}
