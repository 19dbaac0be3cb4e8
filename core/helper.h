// Work that another process of ours does, because the library it takes may crash, hang or eat
// memory over a damaged file. The helper is a program beside ours: started afresh, not forked,
// so that threads and locks of this process do not matter to it and its end does not matter to
// us.
#ifndef EDT_CORE_HELPER_H
#define EDT_CORE_HELPER_H

#include <stdbool.h>
#include <stdint.h>

#include "core/error.h"

enum {
    EDT_HELPER_REPORT_FD = 3, // the helper's end of the pipe for edt_helper_report
    EDT_HELPER_FIRST_FD = 4,  // the first of edt_helper_call.fds
    EDT_HELPER_MAX_FDS = 2,
    EDT_HELPER_MAX_ARGS = 6,
};

typedef struct edt_helper_call {
    const char *program; // a plain name, found by edt_plugin_find
    int n_args;          // at most EDT_HELPER_MAX_ARGS
    const char *args[EDT_HELPER_MAX_ARGS];
    int n_fds; // the helper has fds[i] as EDT_HELPER_FIRST_FD + i
    int fds[EDT_HELPER_MAX_FDS];
    double timeout_s; // then it is killed; 0: never
} edt_helper_call;

// Runs the helper to its end. Its own error is returned as it reported it, with '?' for what is
// not printable ASCII. When it ends in any
// other way, *out_died is true, the status EDT_ERR_CORRUPT and the text says how ("killed by
// signal 11"). The helper gets no terminal: Ctrl-C does not reach it, standard input, output
// and error are /dev/null. Any thread.
edt_status edt_helper_run(const edt_helper_call *call, edt_error *err, bool *out_died);

// --- in the helper ---

// Limits of the calling process from now on: processor time, memory beyond what it has already,
// and the size of a file that it writes (0: as before). It ends with its parent and leaves no
// core file.
edt_status edt_helper_limit(unsigned cpu_s, uint64_t memory_bytes, uint64_t file_bytes,
                            edt_error *err);
// Tells the parent how it went and ends the process, without destructors.
_Noreturn void edt_helper_report(edt_status status, const edt_error *err);

#endif
