// What a rank writes, line by line, on its way to the supervisor's stderr: each line whole, in
// one write, with "[rank 1] " before it, so that lines of several ranks do not mix.
#ifndef EDT_DIST_RANK_OUTPUT_H
#define EDT_DIST_RANK_OUTPUT_H

#include <stddef.h>
#include <stdint.h>

enum {
    EDT_RANK_LINE_BYTES = 64 * 1024, // a longer line is passed on in parts of this size
    EDT_RANK_LAST_LINES = 5,
    EDT_RANK_LAST_LINE_BYTES = 4096, // what is kept of one
};

// Zero-initialised but for the first two. 84 KiB.
typedef struct edt_rank_output {
    int rank, to_fd;
    size_t n; // of `line`, without what stands before it
    int64_t n_lines;
    char line[EDT_RANK_LINE_BYTES + 64];
    char last[EDT_RANK_LAST_LINES][EDT_RANK_LAST_LINE_BYTES]; // line i in i mod LAST_LINES
} edt_rank_output;

// Takes what was read from the rank's pipe; passes on the lines that it completes. Carriage
// returns are left out.
void edt_rank_output_take(edt_rank_output *output, const char *bytes, size_t n_bytes);
// Passes on a last line without its end.
void edt_rank_output_end(edt_rank_output *output);
// Line `back` from the end (1: the newest), cut where it was longer; NULL: there is none.
const char *edt_rank_output_last(const edt_rank_output *output, int64_t back);

#endif
