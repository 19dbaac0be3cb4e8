// A timeline of what each thread does, in Chrome's trace event format (chrome://tracing,
// ui.perfetto.dev). Off by default, when a begin or end costs one load and a branch.
#ifndef EDT_CORE_TRACE_H
#define EDT_CORE_TRACE_H

#include "core/error.h"

// Switches recording on; the file is written by edt_trace_stop. EDT_ERR_INVALID: already on;
// EDT_ERR_NOT_FOUND, EDT_ERR_IO: the path cannot be written.
edt_status edt_trace_start(const char *path, edt_error *err);
// Switches recording off and writes the file. EDT_OK without a start.
edt_status edt_trace_stop(edt_error *err);

// Pairs on one thread, properly nested; from any number of threads at once. `name` is a
// literal: it must live until the stop. Events that find no memory are left out.
void edt_trace_begin(const char *name);
void edt_trace_end(void);

#endif
