#include <criterion/criterion.h>
#include <string.h>

#include "core/file.h"
#include "dataio/labels.h"
#include "tests/support/test_dirs.h"

static edt_status resolve(edt_hparams *hp, const char *source, edt_error *err)
{
    hp->label_map = (edt_label_map){.source = source};
    return edt_labels_resolve(hp, err);
}

Test(labels, sources_of_a_label_map, .timeout = 10)
{
    edt_hparams hp;
    edt_error err = {0};
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK);
    cr_assert_eq(edt_labels_resolve(&hp, &err), EDT_OK);
    cr_assert_eq(hp.label_map.n, 0);
    cr_assert_null(edt_labels_find(&hp.label_map, 1));
    cr_assert_eq(resolve(&hp, "coco", &err), EDT_OK);
    cr_assert_eq(hp.label_map.n, 80);
    cr_assert_str_eq(edt_labels_find(&hp.label_map, 90), "toothbrush");
    cr_assert_null(edt_labels_find(&hp.label_map, 12));
    cr_assert_eq(resolve(&hp, "kitti", &err), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "'kitti'"));

    static const char text[] = "7: cat\n0: background\n2: 'a dog'\n";
    const char *path = edt_test_path(edt_test_temp_dir(), "labels.yaml");
    cr_assert_eq(edt_file_write(path, text, strlen(text), &err), EDT_OK);
    cr_assert_eq(resolve(&hp, path, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(hp.label_map.n, 3);
    cr_assert_eq(hp.label_map.entries[0].id, 0);
    cr_assert_str_eq(edt_labels_find(&hp.label_map, 2), "a dog");
    edt_hparams_deinit(&hp);
}

Test(labels, files_of_another_form_are_refused, .timeout = 10)
{
    static const char *const texts[] = {"", "- cat\n", "cat: 1\n", "1: cat\n1: dog\n",
                                        "1: [a]\n"};
    const char *path = edt_test_path(edt_test_temp_dir(), "labels.yaml");
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, NULL), EDT_OK);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; ++i) {
        edt_error err = {0};
        cr_assert_eq(edt_file_write(path, texts[i], strlen(texts[i]), &err), EDT_OK);
        cr_assert_eq(resolve(&hp, path, &err), EDT_ERR_FORMAT, "%zu", i);
        cr_assert_not_null(strstr(err.text, path), "%s", err.text);
    }
    edt_hparams_deinit(&hp);
}
