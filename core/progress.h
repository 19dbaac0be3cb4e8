// One progress line on stderr: done, total, rate, time left and free words. A terminal's line
// is redrawn in place; anything else (log files, CI) gets a plain line now and then. Silent
// when the log level is error or quiet. One owner, not thread-safe; lines of two owners would
// redraw each other on a terminal, so show one at a time.
#ifndef EDT_CORE_PROGRESS_H
#define EDT_CORE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/status.h"

enum { EDT_PROGRESS_SUFFIX_BYTES = 256 };

typedef struct edt_progress_spec {
    const char *what; // "convert", "epoch 3"; borrowed until the end
    const char *unit; // "images"; borrowed until the end
    int64_t total;    // 0: unknown
    int64_t done;     // at the start, when a run is resumed; does not count for the rate
    // Seconds between plain lines; 0: 10 s, negative: a line at every update.
    double plain_interval_s;
    int fd; // 0: stderr
} edt_progress_spec;

typedef struct edt_progress {
    edt_progress_spec spec;
    bool is_terminal;
    double begin_s, shown_s;
    int64_t done;
    char suffix[EDT_PROGRESS_SUFFIX_BYTES];
} edt_progress;

void edt_progress_begin(edt_progress *progress, const edt_progress_spec *spec);
// `fmt` gives the words after the figures, "" for none. Draws at most 10 times a second.
void edt_progress_update(edt_progress *progress, int64_t done, const char *fmt, ...)
    EDT_PRINTF(3, 4);
// Draws the last state for good. Once; nothing to free.
void edt_progress_end(edt_progress *progress);

#endif
