// Lines of a rank as they reach the supervisor's stderr: whole, one write each, the last ones
// kept.
#include "dist/rank_output.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"

static edt_rank_output *create(int to_fd)
{
    edt_rank_output *o = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *o);
    o->rank = 3;
    o->to_fd = to_fd;
    return o;
}

// What `n_bytes` of `text`, given in pieces of `step`, come out as. The caller frees.
static char *pass(const char *text, size_t n_bytes, size_t step, edt_rank_output **out_output)
{
    FILE *file = tmpfile();
    cr_assert_not_null(file);
    edt_rank_output *o = create(fileno(file));
    for (size_t at = 0; at < n_bytes; at += step) {
        edt_rank_output_take(o, text + at, n_bytes - at < step ? n_bytes - at : step);
    }
    edt_rank_output_end(o);
    const size_t n = (size_t)lseek(fileno(file), 0, SEEK_END);
    char *out = edt_mem_calloc(EDT_MEM_MISC, n + 1, 1);
    cr_assert_eq(pread(fileno(file), out, n, 0), (ssize_t)n);
    (void)fclose(file);
    *out_output = o;
    return out;
}

Test(rank_output, passes_lines_on_with_their_rank, .timeout = 10)
{
    static const char text[] = "one\n\ntwo\r\nthree";
    for (size_t step = 1; step <= sizeof text; ++step) {
        edt_rank_output *o;
        char *out = pass(text, sizeof text - 1, step, &o);
        cr_expect_str_eq(out, "[rank 3] one\n[rank 3] \n[rank 3] two\n[rank 3] three\n");
        cr_expect_str_eq(edt_rank_output_last(o, 1), "three");
        cr_expect_str_eq(edt_rank_output_last(o, 4), "one");
        cr_expect_null(edt_rank_output_last(o, 5));
        edt_mem_free(out);
        edt_mem_free(o);
    }
}

Test(rank_output, keeps_the_newest_lines, .timeout = 10)
{
    edt_rank_output *o;
    char *out = pass("1\n2\n3\n4\n5\n6\n7\n", 14, 5, &o);
    cr_expect_str_eq(edt_rank_output_last(o, 1), "7");
    cr_expect_str_eq(edt_rank_output_last(o, 5), "3");
    cr_expect_null(edt_rank_output_last(o, 6));
    edt_mem_free(out);
    edt_mem_free(o);
}

// 64 KiB stay one line; one byte more begins another. What is kept of them is cut.
Test(rank_output, passes_long_lines_on_whole, .timeout = 10)
{
    enum { N = EDT_RANK_LINE_BYTES };
    char *text = edt_mem_calloc(EDT_MEM_MISC, N + 2, 1);
    for (size_t n = N; n <= N + 1; ++n) {
        memset(text, 'x', n);
        text[n] = '\n';
        edt_rank_output *o;
        char *out = pass(text, n + 1, 4096, &o);
        const char *end = strchr(out, '\n');
        cr_expect_eq(end - out, (ptrdiff_t)(strlen("[rank 3] ") + N));
        cr_expect_str_eq(end + 1, n == N ? "" : "[rank 3] x\n");
        const char *kept = edt_rank_output_last(o, n == N ? 1 : 2);
        cr_expect_eq(strlen(kept), (size_t)EDT_RANK_LAST_LINE_BYTES - 1);
        cr_expect_str_eq(kept + strlen(kept) - 7, "x [...]");
        edt_mem_free(out);
        edt_mem_free(o);
    }
    edt_mem_free(text);
}
