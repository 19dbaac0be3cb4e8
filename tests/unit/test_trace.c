#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "core/thread.h"
#include "core/trace.h"
#include "tests/support/test_dirs.h"

// Not by strstr: the sanitizers' version walks the rest of the text at every call.
static int count(const char *text, const char *part)
{
    const size_t n_bytes = strlen(part);
    int n = 0;
    for (const char *p = text; *p != '\0'; ++p) {
        n += *p == *part && strncmp(p, part, n_bytes) == 0;
    }
    return n;
}

static void trace_some(void *ctx)
{
    (void)ctx;
    for (int i = 0; i < 3000; ++i) {
        edt_trace_begin("decode \"x\"");
        edt_trace_begin("inner");
        edt_trace_end();
        edt_trace_end();
    }
}

static void run_threads(const char *name)
{
    edt_error err = {0};
    edt_thread threads[4] = {0};
    for (int i = 0; i < 4; ++i) {
        cr_assert_eq(edt_thread_start(&threads[i], name, trace_some, NULL, &err), EDT_OK);
    }
    for (int i = 0; i < 4; ++i) {
        edt_thread_join(&threads[i]);
    }
}

Test(trace, writes_balanced_events_of_all_threads, .timeout = 30)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "trace.json");
    edt_error err = {0};
    trace_some(NULL);
    for (int round = 0; round < 2; ++round) {
        cr_assert_eq(edt_trace_start(path, &err), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_trace_start(path, &err), EDT_ERR_INVALID);
        run_threads("decoder");
        cr_assert_eq(edt_trace_stop(&err), EDT_OK, "%s", err.text);
        trace_some(NULL);
        char *text = NULL;
        size_t n_bytes = 0;
        cr_assert_eq(edt_file_read(path, 1 << 24, &err, &text, &n_bytes), EDT_OK, "%s",
                     err.text);
        cr_assert_eq(count(text, "\"ph\":\"B\""), 24000);
        cr_assert_eq(count(text, "\"ph\":\"E\""), 24000);
        cr_assert_eq(count(text, "\"name\":\"decode \\\"x\\\"\""), 12000);
        cr_assert_eq(count(text, "\"args\":{\"name\":\"decoder\"}"), 4);
        cr_assert_eq(strcmp(text + n_bytes - 3, "]}\n"), 0);
        edt_mem_free(text);
    }
    cr_assert_eq(edt_trace_stop(&err), EDT_OK);
    cr_assert_eq(edt_trace_start("/nowhere/trace.json", &err), EDT_ERR_NOT_FOUND);
}

Test(trace, stopping_while_threads_record_is_safe, .timeout = 60)
{
    const char *path = edt_test_path(edt_test_temp_dir(), "trace.json");
    edt_error err = {0};
    edt_thread threads[3] = {0};
    for (int i = 0; i < 3; ++i) {
        cr_assert_eq(edt_thread_start(&threads[i], "busy", trace_some, NULL, &err), EDT_OK);
    }
    for (int i = 0; i < 5; ++i) {
        cr_assert_eq(edt_trace_start(path, &err), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_trace_stop(&err), EDT_OK, "%s", err.text);
    }
    for (int i = 0; i < 3; ++i) {
        edt_thread_join(&threads[i]);
    }
}
