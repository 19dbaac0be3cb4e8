// Settings that training would not act on are refused by name.
#include <criterion/criterion.h>
#include <string.h>

#include "train/preflight.h"

static edt_status check(const char *override, const char *device, edt_error *err)
{
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, err), EDT_OK, "%s", err->text);
    cr_assert_eq(edt_hparams_override(&hp, override, err), EDT_OK, "%s", err->text);
    const edt_status status = edt_preflight_check_hparams(&hp, device, err);
    edt_hparams_deinit(&hp);
    return status;
}

Test(preflight, settings_without_effect_are_refused_by_name, .timeout = 10)
{
    static const char *const refused[] = {
        "loss_scale=1024",      "grad_reduce=tpu,mixed_precision=true,loss_scale=8",
        "save_freq=0",          "use_keras_model=false",
        "is_training_bn=false", "map_freq=1",
        "seg_num_classes=4",
    };
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; ++i) {
        edt_error err = {0};
        char name[64] = "";
        memcpy(name, refused[i], strcspn(refused[i], "="));
        cr_expect_eq(check(refused[i], "cuda", &err), EDT_ERR_UNSUPPORTED, "%s", refused[i]);
        cr_expect_not_null(strstr(err.text, name), "%s: %s", refused[i], err.text);
    }
}

Test(preflight, defaults_and_settings_with_effect_pass, .timeout = 10)
{
    static const char *const passed[] = {
        "",
        "sync_bn=full,comm_deadline_s=3,verbose=0,early_stop_evals=3",
        "freeze_bn=true,semantics=tf2,accumulate_steps=2,positives_momentum=0.9",
        "grad_checkpoint=true",
        "semantics=tf2,map_freq=1,save_freq=100",
        "save_freq=100",
        "grad_reduce=tpu",
        "heads=['segmentation'],seg_num_classes=7",
        "mixed_precision=true,loss_scale=1024"};
    for (size_t i = 0; i < sizeof passed / sizeof passed[0]; ++i) {
        edt_error err = {0};
        cr_expect_eq(check(passed[i], "cuda", &err), EDT_OK, "%s", err.text);
    }
}

Test(preflight, a_loss_scale_is_for_gpus, .timeout = 10)
{
    edt_error err = {0};
    cr_expect_eq(check("mixed_precision=true,loss_scale=1024", "cpu", &err),
                 EDT_ERR_UNSUPPORTED);
    cr_expect_not_null(strstr(err.text, "bf16"), "%s", err.text);
}
