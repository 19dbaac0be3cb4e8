// What reaches the sink of the log: the level's letter, the time, the words.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"

static char last[512];

static void keep(void *ctx, edt_log_level level, const char *line)
{
    (void)ctx;
    (void)level;
    (void)snprintf(last, sizeof last, "%s", line);
}

Test(log, what_a_message_quotes_steers_no_terminal, .timeout = 30)
{
    edt_log_set_sink(keep, NULL);
    EDT_WARN("tensor '%s'\n\tnext", "\x1b[31mr\xc3\xa4t\a\x7f\r");
    edt_log_set_sink(NULL, NULL);
    cr_assert_eq(last[0], 'W');
    cr_expect_str_eq(last + 11, "tensor '?[31mr\xc3\xa4t\?\?\?'\n\tnext");
}
