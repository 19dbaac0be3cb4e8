// The cuda backend against `ref`, op by op, in every type it has: all cases of op_cases.h. Runs
// on the emulated device and, where there is one, on a real one (tests/CMakeLists.txt).
#include <criterion/criterion.h>

#include "tests/support/cuda_device.h"
#include "tests/support/op_cases.h"

static void compare_all(edt_dtype real)
{
    edt_backend *backend = edt_test_cuda_backend();
    edt_op_case op_case;
    int n_failed = 0;
    for (int i = 0; edt_op_case_get(i, &op_case); i++) {
        const edt_op_kind kind = op_case.desc.kind;
        if ((kind == EDT_OP_DEPTHWISE_BN_ACT && op_case.desc.n_out > 1) ||
            kind == EDT_OP_CONV2D_DEPTHWISE_BN_ACT) {
            continue; // refused: no pooled mean, no chains
        }
        edt_op_report report = {0};
        edt_error err = {0};
        if (edt_op_compare_typed(backend, &op_case, real, &err, &report) != EDT_OK) {
            n_failed++;
            cr_log_error("%s", err.text);
        }
    }
    cr_assert_eq(n_failed, 0, "%d cases differ from ref in %s", n_failed, edt_dtype_name(real));
    edt_backend_destroy(&backend);
}

Test(cuda_ops, agree_with_ref_in_f32, .timeout = 600)
{
    compare_all(EDT_DTYPE_F32);
}

Test(cuda_ops, agree_with_ref_in_bf16, .timeout = 600)
{
    compare_all(EDT_DTYPE_BF16);
}

Test(cuda_ops, agree_with_ref_in_f16, .timeout = 600)
{
    compare_all(EDT_DTYPE_F16);
}
