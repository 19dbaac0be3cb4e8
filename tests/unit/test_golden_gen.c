// The generator of golden inputs against the README's check values.
#include <criterion/criterion.h>

#include "tests/support/golden_gen.h"

Test(golden_gen, gives_the_documented_check_values, .timeout = 30)
{
    float value = 0;
    golden_gen("golden:stem", 0, 1, 1, &value);
    cr_expect_eq(value, -0.63780617713928223f);
    float bias[4];
    golden_gen("golden:class_net/class-predict/bias", -3, 1, 4, bias);
    const float want[4] = {-2.91011858f, -2.43440628f, -2.63015938f, -3.67733574f};
    for (int i = 0; i < 4; i++) {
        cr_expect_eq(bias[i], want[i]);
    }
    golden_gen("golden:fpn_cells/cell_0/fnode0/WSM", 0.7, 0.8, 1, &value);
    cr_expect_eq(value, 0.119193837f);
}
