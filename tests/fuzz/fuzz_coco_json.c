// Annotation files of arbitrary bytes: no overrun, tables that agree with themselves, and words
// for every refusal.
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "dataio/coco_json.h"
#include "dataio/coco_segmentation.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void read_segmentation(const edt_coco_annotation *row)
{
    edt_arena arena;
    edt_rle mask;
    edt_error err = {0};
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    if (row->segmentation.n_bytes > 0 &&
        edt_coco_segmentation_read(row->segmentation, 9, 9, 9, 9, &arena, &err, &mask) !=
            EDT_OK &&
        err.text[0] == '\0') {
        abort();
    }
    edt_arena_deinit(&arena);
}

static void check_tables(const edt_coco_json *coco)
{
    int64_t n_grouped = 0;
    for (int64_t i = 0; i < edt_coco_json_n_images(coco); ++i) {
        const edt_coco_image *image = edt_coco_json_image(coco, i);
        int64_t n;
        const edt_coco_annotation *rows = edt_coco_json_annotations(coco, image->id, &n);
        for (int64_t k = 0; k < n; ++k) {
            if (rows[k].image_id != image->id || rows[k].i_category < 0 ||
                rows[k].i_category >= edt_coco_json_n_categories(coco)) {
                abort();
            }
            read_segmentation(&rows[k]);
        }
        n_grouped += n;
        const edt_coco_caption *captions = edt_coco_json_captions(coco, image->id, &n);
        for (int64_t k = 0; k < n; ++k) {
            volatile char last = '\0';
            if (captions[k].text.n_bytes > 0) {
                last = captions[k].text.data[captions[k].text.n_bytes - 1];
            }
            (void)last;
        }
    }
    if (n_grouped > edt_coco_json_n_annotations(coco)) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const unsigned wanted[] = {EDT_COCO_IMAGES, EDT_COCO_IMAGES | EDT_COCO_INSTANCES,
                                      EDT_COCO_CAPTIONS, EDT_COCO_INSTANCES | EDT_COCO_MASKS};
    edt_log_set_level(EDT_LOG_QUIET);
    for (int i = 0; i < 8; ++i) {
        edt_error err = {0};
        edt_convert_report *report = NULL;
        edt_coco_json *coco = NULL;
        if (edt_convert_report_create(i % 2 == 1, &err, &report) != EDT_OK) {
            abort();
        }
        if (edt_coco_json_parse((edt_span){data, n}, "fuzz", wanted[i / 2], report, &err,
                                &coco) == EDT_OK) {
            check_tables(coco);
        } else if (err.text[0] == '\0') {
            abort();
        }
        edt_coco_json_close(coco);
        edt_convert_report_destroy(report);
    }
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "{\"images\":[{\"id\":1,\"file_name\":\"a.jpg\",\"height\":4,\"width\":5},{\"id\":2,"
        "\"file_name\":\"\\u00e9\",\"height\":4,\"width\":5}],\"categories\":[{\"id\":1,"
        "\"name\":"
        "\"x\"},{\"id\":1,\"name\":\"y\"}],\"annotations\":[{\"id\":1,\"image_id\":2,\"bbox\":["
        "1,2,"
        "3,4.5],\"category_id\":1,\"iscrowd\":false,\"area\":1e2},{\"id\":2,\"image_id\":1,"
        "\"bbox\":"
        "[0,0,1,1],\"category_id\":1,\"iscrowd\":1,\"area\":3,\"segmentation\":{\"counts\":[1]}"
        "}]}",
        "{\"images\":[{\"id\":1}],\"annotations\":[{\"id\":1,\"image_id\":1,\"caption\":"
        "\"c\\n\"}]}",
    };
    if (i >= (int)(sizeof seeds / sizeof *seeds) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
