// Result codes shared by every layer. A function that can fail returns edt_status; EDT_END is the
// one non-error value besides EDT_OK (the end of a stream or a cancelled wait).
#ifndef EDT_CORE_STATUS_H
#define EDT_CORE_STATUS_H

// clang checks every ignored edt_status (tools/test.sh runs it for that); gcc knows the attribute for
// functions only.
#ifdef __clang__
#define EDT_WARN_UNUSED __attribute__((warn_unused_result))
#else
#define EDT_WARN_UNUSED
#endif
#define EDT_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))

typedef enum EDT_WARN_UNUSED edt_status {
    EDT_OK = 0,
    EDT_END,             // no more items; not an error
    EDT_ERR_USAGE,       // wrong flag, hparam or combination of them (exit code 2)
    EDT_ERR_NOT_FOUND,   // a named thing does not exist: file, variable, class, key
    EDT_ERR_IO,          // the operating system refused: open, read, write, rename, disk full
    EDT_ERR_FORMAT,      // malformed input: JSON, TFRecord framing, JPEG, protobuf
    EDT_ERR_CORRUPT,     // a checksum does not match
    EDT_ERR_INVALID,     // a value outside what is allowed
    EDT_ERR_MISMATCH,    // two things that must agree do not: shape, fingerprint, class count
    EDT_ERR_UNSUPPORTED, // legal, but not something this build or backend does
    EDT_ERR_NOMEM,
    EDT_ERR_CANCELLED,   // someone else failed first or the user interrupted
    EDT_ERR_NUMERIC,     // NaN or infinity where a finite value is required
    EDT_ERR_DEVICE,      // a device or communication library reported an error
    EDT_ERR_INTERNAL,    // a broken invariant of ours: always a bug
} edt_status;

// Short lower-case name of a status, e.g. "not found". Never NULL.
const char *edt_status_name(edt_status status);

// The exit code of a program that ends with `status`: 0 (EDT_OK, EDT_END), 2 (EDT_ERR_USAGE), else 1.
int edt_status_exit_code(edt_status status);

#endif
