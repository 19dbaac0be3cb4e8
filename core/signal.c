// Interrupts; see signal.h. A handler has no context, hence the one process-wide flag.
#include "core/signal.h"

#include <errno.h>
#include <signal.h>
#include <stdatomic.h>

static atomic_bool interrupt_flag;

static void on_signal(int number)
{
    (void)number;
    atomic_store(&interrupt_flag, true);
    // sigaction is async-signal-safe. Both, as Ctrl-C may follow a SIGTERM.
    struct sigaction action = {.sa_handler = SIG_DFL};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
}

edt_status edt_interrupt_install(edt_error *err)
{
    atomic_store(&interrupt_flag, false);
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGINT, &action, NULL) != 0 || sigaction(SIGTERM, &action, NULL) != 0) {
        return edt_error_set_errno(err, EDT_ERR_IO, errno, "cannot handle interrupts");
    }
    return EDT_OK;
}

bool edt_interrupt_requested(void)
{
    return atomic_load_explicit(&interrupt_flag, memory_order_relaxed);
}

edt_status edt_interrupt_check(edt_error *err)
{
    if (edt_interrupt_requested()) {
        EDT_FAIL(err, EDT_ERR_CANCELLED, "interrupted");
    }
    return EDT_OK;
}
