// For compare_masks.py: reads lines "HEIGHT WIDTH SEGMENTATION-JSON" and prints for each the
// compressed runs, the area, the box (ymin xmin ymax xmax) and the PNG file in hexadecimal.
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dataio/coco_segmentation.h"
#include "dataio/png_mask.h"

int main(void)
{
    char *line = NULL;
    size_t capacity = 0;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    while (getline(&line, &capacity, stdin) > 0) {
        edt_error err = {0};
        edt_rle mask;
        edt_text text;
        edt_span png;
        int64_t box[4];
        char *p = line;
        const int64_t h = strtoll(p, &p, 10);
        const int64_t w = strtoll(p, &p, 10);
        const edt_text json = {p, strlen(p)};
        edt_arena_reset(&arena);
        if (edt_coco_segmentation_read(json, h, w, h, w, &arena, &err, &mask) != EDT_OK ||
            edt_rle_to_text(&mask, &arena, &err, &text) != EDT_OK ||
            edt_png_mask_encode(&mask, &arena, &err, &png) != EDT_OK) {
            printf("error: %s\n", err.text);
            continue;
        }
        edt_rle_box(&mask, box);
        printf("%s %" PRId64, text.data, edt_rle_area(&mask));
        for (int i = 0; i < 4; ++i) {
            printf(" %" PRId64, box[i]);
        }
        printf(" ");
        for (size_t i = 0; i < png.n_bytes; ++i) {
            printf("%02x", png.data[i]);
        }
        printf("\n");
    }
    free(line);
    edt_arena_deinit(&arena);
    return 0;
}
