// core/plugin.h: what a missing or unusable plug-in is told apart by.
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/plugin.h"

Test(plugin, names_the_file_that_is_not_there, .timeout = 10)
{
    edt_error err = {0};
    const void *symbol = NULL;
    cr_assert_eq(setenv("EDT_PLUGIN_DIR", "/nonexistent", 1), 0);
    cr_expect_eq(edt_plugin_open("libedt_x.so", "x", &err, &symbol), EDT_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "/nonexistent/libedt_x.so") != NULL, "%s", err.text);
}

Test(plugin, tells_a_file_that_cannot_be_loaded_from_a_missing_one, .timeout = 10)
{
    char folder[] = "/tmp/edt-plugin-XXXXXX";
    char path[64];
    cr_assert_not_null(mkdtemp(folder));
    (void)snprintf(path, sizeof path, "%s/libedt_x.so", folder);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert_eq(fclose(file), 0);
    cr_assert_eq(setenv("EDT_PLUGIN_DIR", folder, 1), 0);
    edt_error err = {0};
    const void *symbol = NULL;
    cr_expect_eq(edt_plugin_open("libedt_x.so", "x", &err, &symbol), EDT_ERR_UNSUPPORTED);
    cr_expect(strstr(err.text, "cannot be loaded") != NULL, "%s", err.text);
    (void)unlink(path);
    (void)rmdir(folder);
}
