#include <criterion/criterion.h>
#include <math.h>

#include "model/box_coder.h"

Test(box_coder, decode_inverts_encode, .timeout = 10)
{
    const float anchor[4] = {-12, 4, 20, 68};
    const float box[4] = {3.5F, 10.25F, 90.0F, 31.0F};
    float code[4], back[4];
    edt_box_encode(anchor, box, code);
    cr_assert_float_eq(code[0], (46.75F - 4.0F) / 32.0F, 1e-6);
    cr_assert_float_eq(code[3], logf(20.75F / 64.0F), 1e-6);
    edt_box_decode(anchor, code, back);
    for (int i = 0; i < 4; ++i) {
        cr_assert_float_eq(back[i], box[i], 1e-4);
    }
}

Test(box_coder, degenerate_box_gives_finite_codes, .timeout = 10)
{
    const float anchor[4] = {0, 0, 32, 32};
    const float box[4] = {5, 9, 5, 2};
    float code[4];
    edt_box_encode(anchor, box, code);
    cr_assert_float_eq(code[2], logf(1e-8F / 32.0F), 1e-5);
    cr_assert_eq(code[2], code[3]);
    cr_assert_float_eq(code[1], (5.5F - 16.0F) / 32.0F, 1e-6);
}
