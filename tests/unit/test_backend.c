// Backends by name.
#include <criterion/criterion.h>
#include <string.h>

#include "backend/backend.h"

Test(backend, ref_is_created_by_name_and_destroyed_twice, .timeout = 30)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_assert_eq(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = 0}, &err, &backend),
        EDT_OK, "%s", err.text);
    cr_expect_str_eq(backend->table->name, "ref");
    edt_backend_destroy(&backend);
    cr_expect_null(backend);
    edt_backend_destroy(&backend);
}

Test(backend, absent_and_unknown_ones_say_what_to_use, .timeout = 30)
{
    edt_error err = {0};
    edt_backend *backend = NULL;
    cr_expect_eq(
        edt_backend_create("cuda", &(edt_backend_options){.n_threads = 0}, &err, &backend),
        EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "libedt_cuda.so"), "%s", err.text);
    cr_expect_eq(
        edt_backend_create("gpu", &(edt_backend_options){.n_threads = 0}, &err, &backend),
        EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "use ref, cpu or cuda"), "%s", err.text);
    cr_expect_eq(
        edt_backend_create("ref", &(edt_backend_options){.n_threads = -1}, &err, &backend),
        EDT_ERR_USAGE);
    cr_expect_null(backend);
}

Test(backend, ref_computes_in_32_and_64_bits_and_casts_all_types, .timeout = 30)
{
    edt_error err = {0};
    edt_backend *ref = NULL;
    cr_assert_eq(edt_backend_create("ref", &(edt_backend_options){.n_threads = 0}, &err, &ref),
                 EDT_OK);
    edt_op_desc desc = {.kind = EDT_OP_ACT, .n_in = 1, .n_out = 1};
    desc.in[0] = (edt_tensor_desc){EDT_DTYPE_F16, edt_shape_1(4)};
    edt_kernel *kernel = NULL;
    size_t workspace_bytes;
    cr_expect_eq(ref->table->supports(ref, &desc, &err), EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "act on f16; f32 and f64 are there"), "%s", err.text);
    cr_expect_eq(ref->table->prepare(ref, &desc, &err, &kernel, &workspace_bytes),
                 EDT_ERR_UNSUPPORTED);
    cr_expect_null(kernel);
    desc.kind = EDT_OP_CAST;
    desc.attrs.cast_dtype = EDT_DTYPE_BF16;
    cr_expect_eq(ref->table->supports(ref, &desc, &err), EDT_OK, "%s", err.text);
    edt_backend_destroy(&ref);
}
