// Log sink; see log.h.
#include "core/log.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static atomic_int log_level = EDT_LOG_INFO;
static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static edt_log_sink *sink_function;
static void *sink_ctx;

void edt_log_set_level(edt_log_level level)
{
    atomic_store(&log_level, (int)level);
}

edt_log_level edt_log_get_level(void)
{
    return (edt_log_level)atomic_load(&log_level);
}

edt_status edt_log_level_parse(const char *text, edt_error *err, edt_log_level *out_level)
{
    static const char *const names[] = {"debug", "info", "warning", "error", "quiet"};
    for (int i = 0; i < (int)(sizeof names / sizeof names[0]); ++i) {
        if (strcmp(text, names[i]) == 0) {
            *out_level = (edt_log_level)i;
            return EDT_OK;
        }
    }
    EDT_FAIL(err, EDT_ERR_USAGE,
             "log level '%s' is not known; use debug, info, warning, error or quiet", text);
}

void edt_log_set_sink(edt_log_sink *sink, void *ctx)
{
    pthread_mutex_lock(&sink_lock);
    sink_function = sink;
    sink_ctx = ctx;
    pthread_mutex_unlock(&sink_lock);
}

void edt_log_write(edt_log_level level, const char *fmt, ...)
{
    if ((int)level < atomic_load(&log_level)) {
        return;
    }
    char line[EDT_ERROR_TEXT_BYTES + 64];
    const time_t now = time(NULL);
    struct tm local;
    localtime_r(&now, &local);
    const int used = snprintf(line, sizeof line, "%c %02d:%02d:%02d ", "DIWE"[level],
                              local.tm_hour, local.tm_min, local.tm_sec);
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(line + used, sizeof line - (size_t)used, fmt, args);
    va_end(args);
    // Messages quote files; what those hold must not steer a terminal.
    for (char *c = line + used; *c != '\0'; ++c) {
        if (((unsigned char)*c < ' ' && *c != '\n' && *c != '\t') || *c == 0x7f) {
            *c = '?';
        }
    }
    pthread_mutex_lock(&sink_lock);
    if (sink_function != NULL) {
        sink_function(sink_ctx, level, line);
    } else {
        // A progress line may stand on the terminal's last row; it is drawn again below.
        (void)fprintf(stderr, "%s%s\n", isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "", line);
    }
    pthread_mutex_unlock(&sink_lock);
}
