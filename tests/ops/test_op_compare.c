// The comparison harness itself: ref agrees with ref on every case, in float within each case's
// tolerance of double, and a wrong backend is caught.
#include "tests/support/op_cases.h"

#include <criterion/criterion.h>
#include <stdio.h>

Test(op_compare, float_reference_is_within_tolerance_of_double_on_every_case, .timeout = 120)
{
    edt_error err = {0};
    edt_backend *ref = NULL;
    cr_assert_eq(edt_backend_ref_create(&err, &ref), EDT_OK);
    bool seen[EDT_OP_N_KINDS] = {false};
    edt_op_case c;
    for (int i = 0; edt_op_case_get(i, &c); ++i) {
        edt_op_report report;
        cr_expect_eq(edt_op_compare(ref, &c, &err, &report), EDT_OK, "%s", err.text);
        seen[c.desc.kind] = true;
    }
    seen[EDT_OP_DETECT] = true; // held to model/postprocess.c exactly, in test_detect_op.c
    for (int kind = 0; kind < EDT_OP_N_KINDS; ++kind) {
        cr_expect(seen[kind], "no case for %s", edt_op_get_info((edt_op_kind)kind)->name);
    }
    edt_backend_destroy(&ref);
}

static edt_backend_table wrong_table;
static edt_status (*right_run)(edt_backend *, edt_kernel *, const edt_run_ctx *, void *const *,
                               void *const *, void *, edt_error *);

static edt_status run_wrong(edt_backend *backend, edt_kernel *kernel, const edt_run_ctx *ctx,
                            void *const *in, void *const *out, void *workspace, edt_error *err)
{
    const edt_status status = right_run(backend, kernel, ctx, in, out, workspace, err);
    ((float *)out[0])[1] *= 1.001F;
    return status;
}

Test(op_compare, one_wrong_value_is_a_mismatch, .timeout = 30)
{
    edt_error err = {0};
    edt_backend *ref = NULL;
    cr_assert_eq(edt_backend_ref_create(&err, &ref), EDT_OK);
    wrong_table = *ref->table;
    right_run = wrong_table.run;
    wrong_table.run = run_wrong;
    edt_backend wrong = {.table = &wrong_table};
    edt_op_case c;
    edt_op_report report;
    cr_assert(edt_op_case_get(0, &c));
    cr_expect_eq(edt_op_compare(&wrong, &c, &err, &report), EDT_ERR_MISMATCH);
    edt_backend_destroy(&ref);
}
