// COCO annotations and images to TFRecord shards: options only, the work is
// dataio/convert_coco.h.
#include "core/cli.h"
#include "core/log.h"
#include "core/signal.h"
#include "dataio/convert_coco.h"
#include "dist/rank.h"

typedef struct settings {
    edt_convert_coco_options convert;
    int64_t num_threads;
    const char *on_bad;
    const char *compression;
    const char *reencode;
} settings;

static edt_status parse(settings *s, int argc, char **argv, edt_arena *arena, edt_error *err,
                        bool *out_exit)
{
    edt_convert_coco_options *c = &s->convert;
    edt_convert_options *common = &c->run;
    const edt_cli_option options[] = {
        {"image_dir", EDT_CLI_TEXT, "", "directory of the images; required", &c->image_dir,
         NULL, NULL, 0, 0, NULL},
        {"image_info_file", EDT_CLI_TEXT, "",
         "JSON whose `images` decide which images are written and in which order; without it "
         "the "
         "first annotation file does",
         &c->image_info_file, NULL, NULL, 0, 0, NULL},
        {"object_annotations_file", EDT_CLI_TEXT, "", "instances JSON: boxes and categories",
         &c->object_annotations_file, NULL, NULL, 0, 0, NULL},
        {"caption_annotations_file", EDT_CLI_TEXT, "", "captions JSON",
         &c->caption_annotations_file, NULL, NULL, 0, 0, NULL},
        {"output_file_prefix", EDT_CLI_TEXT, "/tmp/train",
         "shards are PREFIX-SSSSS-of-NNNNN.tfrecord; directories are created",
         &common->output_file_prefix, NULL, NULL, 0, 0, NULL},
        {"num_shards", EDT_CLI_INT, "32", "number of shard files", &common->num_shards, NULL,
         NULL, 0, 0, NULL},
        {"num_threads", EDT_CLI_INT, "0", "threads; 0: one per processor", &s->num_threads,
         NULL, NULL, 0, 1024, NULL},
        {"on_bad", EDT_CLI_TEXT, "fail",
         "what to do with bad input (unreadable or cut images, missing fields, unknown "
         "categories, "
         "other sizes than the JSON's, duplicate ids): end the run, or leave it out, count and "
         "report",
         &s->on_bad, NULL, "fail|skip", 0, 0, NULL},
        {"clip_boxes", EDT_CLI_BOOL, "false",
         "cut boxes to the image instead of dropping those that stick out", &common->clip_boxes,
         NULL, NULL, 0, 0, NULL},
        {"report", EDT_CLI_TEXT, "", "JSON file with counts and everything that was left out",
         &common->report_file, NULL, NULL, 0, 0, NULL},
        {"include_masks", EDT_CLI_BOOL, "false",
         "store instance masks as PNG (polygons and run-length masks of the instances JSON)",
         &c->include_masks, NULL, NULL, 0, 0, NULL},
        {"compression", EDT_CLI_TEXT, "none",
         "none (.tfrecord) and gzip (.tfrecord.gz) or zlib (.tfrecord.zz), which are read in "
         "order, are what TensorFlow reads; zstd (.tfrecord.zst) is edt's own, with random "
         "access",
         &s->compression, NULL, "none|gzip|zlib|zstd", 0, 0, NULL},
        {"reencode", EDT_CLI_TEXT, "",
         "QUALITY[,420]: store all pictures as JPEGs encoded anew with this quality, chroma in "
         "full size "
         "or, "
         "with ,420, in half size (faster to decode); without it the files' bytes are stored",
         &s->reencode, NULL, NULL, 0, 0, NULL},
        {"max_side", EDT_CLI_INT, "0",
         "make larger pictures smaller, so that no side is longer than this; boxes, areas and "
         "masks "
         "follow; quality 95 unless --reencode says another; 0: no limit",
         &common->reencode.max_side, NULL, NULL, 0, 65500, NULL},
        {"verify_pixels", EDT_CLI_BOOL, "false",
         "decode every picture, so that damaged ones are found here", &common->reencode.verify,
         NULL, NULL, 0, 0, NULL},
    };
    const edt_cli_program program = {
        .name = "create_coco_records",
        .summary = "Converts COCO annotations and images to TFRecord shards",
        .description =
            "Images go round robin into the shards, in the order of the list. Annotations "
            "without "
            "area, and those that stick out at the right or the bottom, are dropped and "
            "counted. "
            "The bytes written do not depend on the number of threads. Finished shards wait in "
            "PREFIX.converting and get their names when all of them are complete; a conversion "
            "that was ended early goes on from there when the same command runs again. Several "
            "processes started by mpirun or srun share the work.",
        .examples = "create_coco_records --image_dir=val2017 "
                    "--object_annotations_file=annotations/instances_val2017.json "
                    "--output_file_prefix=tfrecord/val --num_shards=32",
        .options = options,
        .n_options = (int)(sizeof options / sizeof options[0]),
    };
    return edt_cli_parse(&program, argc, argv, arena, err, out_exit);
}

static edt_status run(settings *s, edt_error *err)
{
    edt_convert_options *common = &s->convert.run;
    common->num_threads = (int)s->num_threads;
    common->skip_bad = s->on_bad[0] == 's';
    EDT_TRY(edt_shard_compression_parse(s->compression, err, &common->compression));
    EDT_TRY(edt_reencode_parse(s->reencode, err, &common->reencode));
    EDT_TRY(edt_rank_from_environment(&common->rank, &common->world_size, err));
    // With several ranks one line of progress is enough.
    common->show_progress = common->rank == 0;
    EDT_TRY(edt_interrupt_install(err));
    return edt_convert_coco(&s->convert, err, NULL);
}

int main(int argc, char **argv)
{
    settings s = {.on_bad = NULL};
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    bool is_done = false;
    edt_status status = parse(&s, argc, argv, &arena, &err, &is_done);
    if (status == EDT_OK && !is_done) {
        status = run(&s, &err);
    }
    if (status != EDT_OK) {
        EDT_ERROR("%s", err.text);
    }
    edt_arena_deinit(&arena);
    return edt_status_exit_code(status);
}
