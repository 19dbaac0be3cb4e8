#include <criterion/criterion.h>
#include <string.h>

#include "core/buf.h"
#include "core/thread.h"

static void drop(void *ctx)
{
    edt_buf *buf = ctx;
    memset(edt_buf_data(buf), 0, 0);
    edt_buf_unref(&buf);
}

Test(buf, the_last_of_many_holders_frees_it, .timeout = 30)
{
    edt_error err = {0};
    edt_buf *buf = NULL;
    cr_assert_eq(edt_buf_create(EDT_MEM_SLOT, 1000, &err, &buf), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_buf_bytes(buf), 1000);
    memset(edt_buf_data(buf), 7, 1000);
    edt_thread threads[8] = {0};
    for (int i = 0; i < 8; ++i) {
        cr_assert_eq(edt_thread_start(&threads[i], "holder", drop, edt_buf_ref(buf), &err),
                     EDT_OK);
    }
    edt_buf_unref(&buf);
    cr_assert_null(buf);
    edt_buf_unref(&buf);
    for (int i = 0; i < 8; ++i) {
        edt_thread_join(&threads[i]);
    }
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

static void count_release(void *ctx, void *data)
{
    *(int *)ctx += *(const int *)data;
}

Test(buf, wrapped_bytes_go_back_once, .timeout = 10)
{
    edt_error err = {0};
    edt_buf *buf = NULL;
    int data = 5;
    int sum = 0;
    cr_assert_eq(edt_buf_wrap(&data, sizeof data, count_release, &sum, &err, &buf), EDT_OK);
    edt_buf *other = edt_buf_ref(buf);
    edt_buf_unref(&buf);
    cr_assert_eq(sum, 0);
    edt_buf_unref(&other);
    cr_assert_eq(sum, 5);
}
