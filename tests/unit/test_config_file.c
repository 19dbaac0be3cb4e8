// config.yaml of a model directory: what is listed when a run goes on with other settings.
#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"
#include "train/config_file.h"

Test(config_file, changes_are_listed_with_both_values, .timeout = 10)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    static const char was[] = "alpha: 0.25\ngamma: 1.5\nnms_configs:\n    method: hard\n";
    static const char now[] =
        "alpha: 0.25\ngamma: 2.0\nnew: 1\nnms_configs:\n    method: soft\n";
    cr_expect_str_eq(edt_config_file_changes(was, was, &arena), "");
    cr_expect_str_eq(edt_config_file_changes(now, was, &arena),
                     "gamma: 2.0 (was 1.5), new: 1 (was unset), method: soft (was hard)");
    edt_arena_deinit(&arena);
}

Test(config_file, the_first_settings_stay, .timeout = 10)
{
    edt_error err = {0};
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
    const char *dir = edt_test_temp_dir();
    cr_assert_eq(edt_config_file_enter(dir, &hp, &err), EDT_OK, "%s", err.text);
    const edt_span first = edt_test_read_file(edt_test_path(dir, "config.yaml"));
    hp.gamma = 3.0;
    cr_assert_eq(edt_config_file_enter(dir, &hp, &err), EDT_OK, "%s", err.text);
    const edt_span second = edt_test_read_file(edt_test_path(dir, "config.yaml"));
    cr_expect_eq(first.n_bytes, second.n_bytes);
    cr_expect_eq(memcmp(first.data, second.data, first.n_bytes), 0);
    edt_mem_free((void *)first.data);
    edt_mem_free((void *)second.data);
    edt_hparams_deinit(&hp);
    edt_test_remove_tree(dir);
}
