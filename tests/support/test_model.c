// See test_model.h.
#include "tests/support/test_model.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

void edt_test_model_hparams(const char *model_name, int64_t height, int64_t width,
                            edt_hparams *out_hp)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(out_hp, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_scaling_apply(out_hp, model_name, &err), EDT_OK, "%s", err.text);
    if (height > 0) {
        out_hp->image_size = (edt_hw){.h = height, .w = width};
    }
    out_hp->sync_bn = "off";
}

edt_model *edt_test_model(const edt_hparams *hp, const edt_model_options *options)
{
    edt_error err = {0};
    edt_model *model = NULL;
    cr_assert_eq(edt_model_create(hp, options, &err, &model), EDT_OK, "%s", err.text);
    return model;
}

int edt_test_read_tsv(const char *path, int n_skip, edt_test_row_fn row, void *user)
{
    FILE *file = fopen(path, "r");
    cr_assert_not_null(file, "%s cannot be opened", path);
    char line[4096];
    int n_rows = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (n_skip > 0) {
            n_skip--;
            continue;
        }
        char *fields[16];
        int n_fields = 0;
        char *rest = line;
        while (rest != NULL && n_fields < 16) {
            fields[n_fields++] = rest;
            rest = strchr(rest, '\t');
            if (rest != NULL) {
                *rest++ = '\0';
            }
        }
        row(user, n_fields, fields);
        n_rows++;
    }
    fclose(file);
    return n_rows;
}
