// The words that go with a failed edt_status: the cause, written once where it is known, and
// frames of context added by callers. An edt_error lives on the caller's stack and needs no cleanup.
#ifndef EDT_CORE_ERROR_H
#define EDT_CORE_ERROR_H

#include <stddef.h>

#include "core/status.h"

enum { EDT_ERROR_TEXT_BYTES = 2048 };

// `text` reads from the outermost context to the cause: "reading shard a.tfrecord: record 3: ...".
// Long texts are cut, never overrun. Zero-initialise before use: edt_error err = {0}.
typedef struct edt_error {
    edt_status status;
    char text[EDT_ERROR_TEXT_BYTES];
} edt_error;

// Records the cause and returns `status`. `err` may be NULL (the words are dropped).
edt_status edt_error_set(edt_error *err, edt_status status, const char *fmt, ...) EDT_PRINTF(3, 4);

// As edt_error_set, with ": <strerror(errno_value)>" appended.
edt_status edt_error_set_errno(edt_error *err, edt_status status, int errno_value, const char *fmt, ...)
    EDT_PRINTF(4, 5);

// Puts "<context>: " before the recorded text and returns `status` unchanged.
edt_status edt_error_add_context(edt_error *err, edt_status status, const char *fmt, ...)
    EDT_PRINTF(3, 4);

// Propagates any status other than EDT_OK (so EDT_END travels up too).
#define EDT_TRY(expr)                              \
    do {                                           \
        const edt_status edt_try_status_ = (expr); \
        if (edt_try_status_ != EDT_OK) {           \
            return edt_try_status_;                \
        }                                          \
    } while (0)

// As EDT_TRY, adding a frame of context on the way up.
#define EDT_TRY_CTX(expr, err, ...)                                             \
    do {                                                                        \
        const edt_status edt_try_status_ = (expr);                              \
        if (edt_try_status_ != EDT_OK) {                                        \
            return edt_error_add_context((err), edt_try_status_, __VA_ARGS__);  \
        }                                                                       \
    } while (0)

// Records the cause and returns from the calling function.
#define EDT_FAIL(err, status, ...) return edt_error_set((err), (status), __VA_ARGS__)

// For functions with a `fail:` label and a local `edt_status status`.
#define EDT_TRY_GOTO(expr)     \
    do {                       \
        status = (expr);       \
        if (status != EDT_OK) { \
            goto fail;         \
        }                      \
    } while (0)

#endif
