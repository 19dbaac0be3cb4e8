#include <criterion/criterion.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "core/signal.h"

Test(signal, the_first_interrupt_is_a_request, .timeout = 10)
{
    edt_error err = {0};
    cr_assert_eq(edt_interrupt_install(&err), EDT_OK, "%s", err.text);
    cr_assert_not(edt_interrupt_requested());
    cr_assert_eq(edt_interrupt_check(&err), EDT_OK);
    raise(SIGTERM);
    cr_assert(edt_interrupt_requested());
    cr_assert_eq(edt_interrupt_check(&err), EDT_ERR_CANCELLED);
    cr_assert_eq(edt_interrupt_install(&err), EDT_OK);
    cr_assert_not(edt_interrupt_requested());
}

Test(signal, the_second_one_ends_the_program, .timeout = 10, .signal = SIGINT)
{
    edt_error err = {0};
    cr_assert_eq(edt_interrupt_install(&err), EDT_OK, "%s", err.text);
    raise(SIGINT);
    cr_assert(edt_interrupt_requested());
    raise(SIGINT);
}
