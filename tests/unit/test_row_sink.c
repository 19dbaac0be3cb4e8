// Rows written through a band arrive once, in order, whatever the portions they are made in.
#include <criterion/criterion.h>
#include <string.h>

#include "dataio/row_sink.h"

enum { H = 53, W = 3 };

typedef struct taken {
    int64_t n_rows, n_calls;
} taken;

static edt_status take(void *ctx, int64_t y, const edt_image *rows, edt_error *err)
{
    (void)err;
    taken *t = ctx;
    cr_assert_eq(y, t->n_rows);
    cr_assert(rows->w == W && rows->stride == 3 * W && rows->h >= 1);
    for (int64_t i = 0; i < rows->h * rows->stride; ++i) {
        cr_assert_eq(rows->data[i], (uint8_t)(y + i / rows->stride));
    }
    t->n_rows += rows->h;
    ++t->n_calls;
    return EDT_OK;
}

Test(row_sink, rows_arrive_once_and_in_order, .timeout = 10)
{
    edt_row_buffer buffer = {0};
    for (int64_t wanted = 0; wanted <= H + 1; ++wanted) {
        for (int64_t portion = 1; portion <= 40; ++portion) {
            taken t = {0};
            const edt_row_sink sink = {take, &t};
            edt_row_band band;
            const int64_t n = wanted < 1 || wanted > H ? H : wanted;
            cr_assert_eq(edt_row_band_begin(&band, &buffer, &sink, H, W, wanted, NULL), EDT_OK);
            cr_assert_eq(band.n_rows, n);
            for (int64_t y = 0; y < n;) {
                const int64_t room = edt_row_band_room(&band, y);
                cr_assert(room >= 1 && room <= EDT_ROW_BAND_ROWS);
                const int64_t end = y + (room < portion ? room : portion);
                for (; y < end; ++y) {
                    memset(edt_row_band_at(&band, y), (int)y, 3 * W);
                }
                cr_assert_eq(edt_row_band_complete(&band, end, NULL), EDT_OK);
            }
            cr_assert_eq(edt_row_band_room(&band, n), 0);
            cr_assert_eq(t.n_rows, n);
            cr_assert_eq(t.n_calls, (n + EDT_ROW_BAND_ROWS - 1) / EDT_ROW_BAND_ROWS);
        }
    }
    edt_row_buffer_deinit(&buffer);
}
