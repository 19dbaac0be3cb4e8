// See coco_random.h.
#include "tests/support/coco_random.h"

#include <criterion/criterion.h>
#include <string.h>

#include "core/mem.h"
#include "eval/coco_priv.h"

enum { PICTURE = 96, MOST_OBJECTS = 8, MOST_DETECTIONS = 14 };

static uint32_t draw(uint32_t *state, uint32_t m)
{
    *state = *state * 1664525u + 1013904223u;
    return (*state >> 8) % m;
}

static void draw_box(uint32_t *state, double box[4])
{
    box[2] = 4 + draw(state, 160) / 4.0;
    box[3] = 4 + draw(state, 160) / 4.0;
    box[0] = draw(state, (uint32_t)(4 * (PICTURE - box[2]))) / 4.0;
    box[1] = draw(state, (uint32_t)(4 * (PICTURE - box[3]))) / 4.0;
}

// A box with one corner cut off.
static edt_rle draw_mask(const double box[4], edt_arena *arena)
{
    const double right = box[0] + box[2], bottom = box[1] + box[3];
    const double xy[10] = {box[0],
                           box[1],
                           right,
                           box[1],
                           right,
                           bottom,
                           box[0] + box[2] / 2,
                           bottom,
                           box[0],
                           box[1] + box[3] / 2};
    edt_error err = {0};
    edt_rle rle;
    cr_assert_eq(edt_rle_from_polygon(xy, 5, PICTURE, PICTURE, arena, &err, &rle), EDT_OK);
    return rle;
}

static void add_detection(uint32_t *state, edt_coco_random *made, int64_t image_id,
                          int64_t category_id, const double box[4], edt_arena *arena,
                          bool with_masks)
{
    edt_error err = {0};
    edt_coco_detection d = {.image_id = image_id,
                            .category_id = category_id,
                            .score = (1 + draw(state, 31)) / 32.0};
    memcpy(d.bbox, box, sizeof d.bbox);
    const edt_rle mask = draw_mask(box, arena);
    cr_assert_eq(edt_coco_dt_add(made->dt, &d, with_masks ? &mask : NULL, &err), EDT_OK);
}

edt_coco_random edt_coco_random_make(uint32_t seed, int64_t n_images, bool with_masks)
{
    static const int64_t ids[EDT_COCO_RANDOM_CATEGORIES] = {18, 1, 3, 90};
    edt_coco_category categories[EDT_COCO_RANDOM_CATEGORIES];
    edt_coco_random made = {.n_images = n_images};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    uint32_t state = seed;
    int64_t *images = edt_arena_calloc(&arena, (size_t)n_images, sizeof *images);
    edt_coco_object *objects =
        edt_arena_calloc(&arena, (size_t)n_images * MOST_OBJECTS, sizeof *objects);
    edt_rle *masks = edt_arena_calloc(&arena, (size_t)n_images * MOST_OBJECTS, sizeof *masks);
    cr_assert(images != NULL && objects != NULL && masks != NULL);
    cr_assert_eq(edt_coco_dt_create(&err, &made.dt), EDT_OK);
    for (int k = 0; k < EDT_COCO_RANDOM_CATEGORIES; ++k) {
        categories[k] = (edt_coco_category){ids[k], "thing"};
    }
    int64_t n = 0;
    for (int64_t i = 0; i < n_images; ++i) {
        images[i] = 10 + 7 * i;
        for (uint32_t left = draw(&state, MOST_OBJECTS + 1); left > 0; --left) {
            edt_coco_object *o = &objects[n];
            *o = (edt_coco_object){.id = 100 + 3 * n,
                                   .image_id = images[i],
                                   .category_id = ids[draw(&state, 3)],
                                   .is_crowd = draw(&state, 10) == 0};
            draw_box(&state, o->bbox);
            o->area = 0.75 * o->bbox[2] * o->bbox[3];
            masks[n] = draw_mask(o->bbox, &arena);
            o->mask = with_masks ? &masks[n] : NULL;
            ++n;
            for (uint32_t near = draw(&state, 3); near > 0; --near) {
                double box[4];
                for (int c = 0; c < 4; ++c) {
                    box[c] = o->bbox[c] + (draw(&state, 17) - 8.0) / 8;
                }
                add_detection(&state, &made, images[i],
                              draw(&state, 5) > 0 ? o->category_id : ids[draw(&state, 4)], box,
                              &arena, with_masks);
            }
        }
        for (uint32_t left = draw(&state, MOST_DETECTIONS); left > 0; --left) {
            double box[4];
            draw_box(&state, box);
            add_detection(&state, &made, images[i],
                          draw(&state, 20) > 0 ? ids[draw(&state, 4)] : 7, box, &arena,
                          with_masks);
        }
    }
    cr_assert_eq(edt_coco_gt_create(images, n_images, categories, EDT_COCO_RANDOM_CATEGORIES,
                                    objects, n, &err, &made.gt),
                 EDT_OK, "%s", err.text);
    edt_arena_deinit(&arena);
    return made;
}

void edt_coco_random_free(edt_coco_random *made)
{
    edt_coco_dt_destroy(made->dt);
    edt_coco_gt_destroy(made->gt);
    *made = (edt_coco_random){0};
}

edt_coco_dt *edt_coco_random_part(const edt_coco_random *made, int64_t begin, int64_t end)
{
    edt_error err = {0};
    edt_coco_dt *part;
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_coco_dt_create(&err, &part), EDT_OK);
    for (const edt_coco_dt_block *block = made->dt->first; block != NULL; block = block->next) {
        for (int64_t i = 0; i < block->n; ++i) {
            const edt_coco_detection *d = &block->items[i];
            if (d->image_id < 10 + 7 * begin || d->image_id >= 10 + 7 * end) {
                continue;
            }
            edt_rle rle;
            if (block->masks != NULL) {
                const edt_coco_mask *mask = block->masks[i];
                cr_assert_eq(edt_rle_from_text((edt_text){mask->text, mask->n_bytes}, mask->h,
                                               mask->w, &arena, &err, &rle),
                             EDT_OK, "%s", err.text);
            }
            cr_assert_eq(edt_coco_dt_add(part, d, block->masks != NULL ? &rle : NULL, &err),
                         EDT_OK);
        }
    }
    edt_arena_deinit(&arena);
    return part;
}

bool edt_coco_same_result(const edt_coco_result *a, const edt_coco_result *b)
{
    const edt_coco_arrays x = edt_coco_result_arrays(a), y = edt_coco_result_arrays(b);
    const size_t n_recall =
        (size_t)(x.n_thresholds * x.n_categories * x.n_areas * x.n_max_dets);
    const size_t n = n_recall * (size_t)x.n_recalls;
    return x.n_thresholds == y.n_thresholds && x.n_recalls == y.n_recalls &&
           x.n_categories == y.n_categories && x.n_areas == y.n_areas &&
           x.n_max_dets == y.n_max_dets &&
           memcmp(x.precision, y.precision, n * sizeof *x.precision) == 0 &&
           memcmp(x.scores, y.scores, n * sizeof *x.scores) == 0 &&
           memcmp(x.recall, y.recall, n_recall * sizeof *x.recall) == 0 &&
           memcmp(edt_coco_result_stats(a), edt_coco_result_stats(b),
                  EDT_COCO_N_STATS * sizeof(double)) == 0;
}
