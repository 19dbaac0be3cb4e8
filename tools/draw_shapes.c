// Draws the shapes data set: options only, the work is dataio/shapes.h.
#include <inttypes.h>
#include <stdio.h>

#include "core/cli.h"
#include "core/log.h"
#include "core/signal.h"
#include "dataio/shapes.h"

typedef struct settings {
    edt_shapes_options draw;
    int64_t seed, num_threads;
} settings;

static edt_status parse(settings *s, int argc, char **argv, edt_arena *arena, edt_error *err,
                        bool *out_exit)
{
    edt_shapes_options *d = &s->draw;
    const edt_cli_option options[] = {
        {.name = "output_dir",
         .type = EDT_CLI_TEXT,
         .default_text = "shapes",
         .target = &d->output_dir,
         .help = "gets train/, val/ and annotations/instances_{train,val}.json"},
        {.name = "num_train",
         .type = EDT_CLI_INT,
         .default_text = "2000",
         .target = &d->num_train,
         .hi = 999999,
         .help = "training pictures"},
        {.name = "num_val",
         .type = EDT_CLI_INT,
         .default_text = "200",
         .target = &d->num_val,
         .hi = 999999,
         .help = "validation pictures"},
        {.name = "image_size",
         .type = EDT_CLI_INT,
         .default_text = "192",
         .target = &d->style.image_size,
         .lo = 32,
         .hi = 4096,
         .help = "height and width in pixels"},
        {.name = "min_side",
         .type = EDT_CLI_INT,
         .default_text = "32",
         .target = &d->style.min_side,
         .lo = 8,
         .hi = 4096,
         .help = "smallest shape: longer side of its box in pixels"},
        {.name = "max_side",
         .type = EDT_CLI_INT,
         .default_text = "96",
         .target = &d->style.max_side,
         .lo = 8,
         .hi = 4096,
         .help = "largest shape"},
        {.name = "max_turn",
         .type = EDT_CLI_FLOAT,
         .default_text = "20",
         .target = &d->style.max_turn,
         .hi = 180,
         .help = "shapes are turned by up to so many degrees, either way"},
        {.name = "max_objects",
         .type = EDT_CLI_INT,
         .default_text = "5",
         .target = &d->style.max_objects,
         .lo = 1,
         .hi = EDT_SHAPES_MAX_OBJECTS,
         .help = "most shapes per picture"},
        {.name = "masks",
         .type = EDT_CLI_BOOL,
         .default_text = "false",
         .target = &d->masks,
         .help = "annotate polygons too, for segmentation"},
        {.name = "quality",
         .type = EDT_CLI_INT,
         .default_text = "90",
         .target = &d->quality,
         .lo = 1,
         .hi = 100,
         .help = "of the JPEG files"},
        {.name = "seed",
         .type = EDT_CLI_INT,
         .default_text = "1",
         .target = &s->seed,
         .hi = 9e15,
         .help = "another seed draws another data set"},
        {.name = "num_threads",
         .type = EDT_CLI_INT,
         .default_text = "0",
         .target = &s->num_threads,
         .hi = 1024,
         .help = "threads; 0: one per processor"},
    };
    const edt_cli_program program = {
        .name = "draw_shapes",
        .summary = "Draws a data set of coloured shapes with COCO annotations",
        .description =
            "Circles, squares, triangles, stars, rings and crosses of any colour, size and "
            "rotation on textured backgrounds. The bytes depend on the options alone, not on "
            "the number of threads.",
        .examples = "draw_shapes --output_dir=shapes --num_train=2000 --num_val=200 --seed=7",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

int main(int argc, char **argv)
{
    settings s = {.seed = 0};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    bool is_done = false;
    edt_status status = parse(&s, argc, argv, &arena, &err, &is_done);
    if (status == EDT_OK && !is_done) {
        s.draw.seed = (uint64_t)s.seed;
        s.draw.n_threads = (int)s.num_threads;
        s.draw.show_progress = true;
        edt_shapes_result result;
        status = edt_interrupt_install(&err);
        if (status == EDT_OK) {
            status = edt_shapes_write(&s.draw, &err, &result);
        }
        if (status == EDT_OK) {
            printf("%s: train %" PRId64 " pictures with %" PRId64 " shapes, val %" PRId64
                   " pictures with %" PRId64 " shapes\n",
                   s.draw.output_dir, result.n_images[0], result.n_objects[0],
                   result.n_images[1], result.n_objects[1]);
        }
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
