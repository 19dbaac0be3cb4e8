// Log lines on stderr: "I 12:34:56 message". One process-wide level; thread-safe, one write per
// line.
#ifndef EDT_CORE_LOG_H
#define EDT_CORE_LOG_H

#include "core/error.h"

typedef enum edt_log_level {
    EDT_LOG_DEBUG,
    EDT_LOG_INFO,
    EDT_LOG_WARNING,
    EDT_LOG_ERROR,
    EDT_LOG_QUIET, // as a threshold: nothing is written
} edt_log_level;

// Lines below `level` are dropped. Default: EDT_LOG_INFO.
void edt_log_set_level(edt_log_level level);
edt_log_level edt_log_get_level(void);

// "debug", "info", "warning", "error" or "quiet"; EDT_ERR_USAGE for anything else.
edt_status edt_log_level_parse(const char *text, edt_error *err, edt_log_level *out_level);

// Redirects the lines (tests); the sink is called by any thread, by one at a time. NULL
// restores stderr. `line` has no trailing newline.
typedef void edt_log_sink(void *ctx, edt_log_level level, const char *line);
void edt_log_set_sink(edt_log_sink *sink, void *ctx);

void edt_log_write(edt_log_level level, const char *fmt, ...) EDT_PRINTF(2, 3);

#define EDT_DEBUG(...) edt_log_write(EDT_LOG_DEBUG, __VA_ARGS__)
#define EDT_INFO(...) edt_log_write(EDT_LOG_INFO, __VA_ARGS__)
#define EDT_WARN(...) edt_log_write(EDT_LOG_WARNING, __VA_ARGS__)
#define EDT_ERROR(...) edt_log_write(EDT_LOG_ERROR, __VA_ARGS__)

#endif
