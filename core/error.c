// Formatting of error texts; see error.h. Nothing here allocates, so an out-of-memory error can
// always be reported.
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const char *edt_status_name(edt_status status)
{
    switch (status) {
    case EDT_OK: return "ok";
    case EDT_END: return "end";
    case EDT_ERR_USAGE: return "usage";
    case EDT_ERR_NOT_FOUND: return "not found";
    case EDT_ERR_IO: return "i/o";
    case EDT_ERR_FORMAT: return "format";
    case EDT_ERR_CORRUPT: return "corrupt";
    case EDT_ERR_INVALID: return "invalid";
    case EDT_ERR_MISMATCH: return "mismatch";
    case EDT_ERR_UNSUPPORTED: return "unsupported";
    case EDT_ERR_NOMEM: return "out of memory";
    case EDT_ERR_CANCELLED: return "cancelled";
    case EDT_ERR_NUMERIC: return "not finite";
    case EDT_ERR_DEVICE: return "device";
    case EDT_ERR_INTERNAL: return "internal";
    }
    return "unknown";
}

int edt_status_exit_code(edt_status status)
{
    switch (status) {
    case EDT_OK:
    case EDT_END: return 0;
    case EDT_ERR_USAGE: return 2;
    default: return 1;
    }
}

edt_status edt_error_set(edt_error *err, edt_status status, const char *fmt, ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        (void)vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
    }
    return status;
}

edt_status edt_error_set_errno(edt_error *err, edt_status status, int errno_value, const char *fmt,
                               ...)
{
    if (err != NULL) {
        va_list args;
        va_start(args, fmt);
        err->status = status;
        (void)vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        const size_t used = strlen(err->text);
        char reason[128];
        // The GNU strerror_r may return a static string instead of filling the buffer.
        const char *text = strerror_r(errno_value, reason, sizeof reason);
        (void)snprintf(err->text + used, sizeof err->text - used, ": %s", text);
    }
    return status;
}

edt_status edt_error_add_context(edt_error *err, edt_status status, const char *fmt, ...)
{
    if (err != NULL) {
        char cause[EDT_ERROR_TEXT_BYTES];
        memcpy(cause, err->text, sizeof cause);
        va_list args;
        va_start(args, fmt);
        (void)vsnprintf(err->text, sizeof err->text, fmt, args);
        va_end(args);
        const size_t used = strlen(err->text);
        (void)snprintf(err->text + used, sizeof err->text - used, ": %s", cause);
        err->status = status;
    }
    return status;
}
