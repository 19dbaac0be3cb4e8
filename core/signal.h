// Ctrl-C and SIGTERM as a request: loops ask, finish what they hold and leave cleanly.
#ifndef EDT_CORE_SIGNAL_H
#define EDT_CORE_SIGNAL_H

#include <stdbool.h>

#include "core/error.h"

// Handles SIGINT and SIGTERM from now on. The first one sets the flag and restores the default,
// so that a second Ctrl-C ends the program at once.
edt_status edt_interrupt_install(edt_error *err);
// Any thread; as cheap as reading a variable.
bool edt_interrupt_requested(void);
// EDT_OK, or EDT_ERR_CANCELLED with the words "interrupted".
edt_status edt_interrupt_check(edt_error *err);

#endif
