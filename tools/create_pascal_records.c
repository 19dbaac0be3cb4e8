// PASCAL VOC annotations and images to TFRecord shards: options only, the work is
// dataio/convert_voc.h.
#include "core/cli.h"
#include "core/log.h"
#include "core/signal.h"
#include "dataio/convert_voc.h"
#include "dist/rank.h"

typedef struct settings {
    edt_convert_voc_options convert;
    int64_t num_threads;
    const char *on_bad, *compression, *reencode;
} settings;

static edt_status parse(settings *s, int argc, char **argv, edt_arena *arena, edt_error *err,
                        bool *out_exit)
{
    edt_convert_voc_options *c = &s->convert;
    edt_convert_options *common = &c->run;
    const edt_cli_option options[] = {
        {"data_dir", EDT_CLI_TEXT, "",
         "VOCdevkit: the directory that holds the years; required", &c->data.data_dir, NULL,
         NULL, 0, 0, NULL},
        {"set", EDT_CLI_TEXT, "train", "part of the data set: ImageSets/Main/SET.txt lists it",
         &c->data.set, NULL, "train|val|trainval|test", 0, 0, NULL},
        {"annotations_dir", EDT_CLI_TEXT, "Annotations",
         "directory of the XML files, below data_dir/YEAR", &c->data.annotations_dir, NULL,
         NULL, 0, 0, NULL},
        {"year", EDT_CLI_TEXT, "VOC2007", "merged: 2007, then 2012", &c->data.year, NULL,
         "VOC2007|VOC2012|merged", 0, 0, NULL},
        {"output_path", EDT_CLI_TEXT, "",
         "shards are PREFIX-SSSSS-of-NNNNN.tfrecord, the ground truth for coco_eval is "
         "json_PREFIX.json beside them; directories are created; required",
         &common->output_file_prefix, NULL, NULL, 0, 0, NULL},
        {"label_map_json_path", EDT_CLI_TEXT, "",
         "JSON object {name: id}; without it the 20 classes of VOC and background",
         &c->data.label_map_path, NULL, NULL, 0, 0, NULL},
        {"ignore_difficult_instances", EDT_CLI_BOOL, "false",
         "leave out objects marked as difficult", &c->data.ignore_difficult, NULL, NULL, 0, 0,
         NULL},
        {"num_shards", EDT_CLI_INT, "100", "number of shard files", &common->num_shards, NULL,
         NULL, 0, 0, NULL},
        {"num_images", EDT_CLI_INT, "0", "at most this many images per year; 0: all",
         &c->data.num_images, NULL, NULL, 0, 0, NULL},
        {"num_threads", EDT_CLI_INT, "0", "threads; 0: one per processor", &s->num_threads,
         NULL, NULL, 0, 1024, NULL},
        {"compression", EDT_CLI_TEXT, "none",
         "of the shards: gzip and zlib are read in order only, zstd (ours) at random too",
         &s->compression, NULL, "none|gzip|zlib|zstd", 0, 0, NULL},
        {"on_bad", EDT_CLI_TEXT, "fail",
         "what to do with bad input (missing or malformed XML files, unknown classes, images "
         "that are no JPEG, cut off or of another size than the XML's, ids listed twice): end "
         "the run, or leave the image out, count and report",
         &s->on_bad, NULL, "fail|skip", 0, 0, NULL},
        {"clip_boxes", EDT_CLI_BOOL, "false",
         "cut boxes to the image and drop those that lie outside", &common->clip_boxes, NULL,
         NULL, 0, 0, NULL},
        {"report", EDT_CLI_TEXT, "", "JSON file with counts and everything that was left out",
         &common->report_file, NULL, NULL, 0, 0, NULL},
        {"reencode", EDT_CLI_TEXT, "",
         "QUALITY[,420]: store all pictures encoded anew with this quality, chroma in full "
         "size "
         "or, with ,420, in half size (faster to decode); without it the files' bytes are "
         "stored",
         &s->reencode, NULL, NULL, 0, 0, NULL},
        {"max_side", EDT_CLI_INT, "0",
         "make larger pictures smaller, so that no side is longer than this; boxes follow; "
         "quality 95 unless --reencode says another; 0: no limit",
         &common->reencode.max_side, NULL, NULL, 0, 65500, NULL},
        {"verify_pixels", EDT_CLI_BOOL, "false",
         "decode every picture, so that damaged ones are found here", &common->reencode.verify,
         NULL, NULL, 0, 0, NULL},
        {"reference_defects", EDT_CLI_BOOL, "false",
         "list the images by CLASS_SET.txt of the label map's second class, and repeat the "
         "categories of the JSON for each year, as the reference does",
         &c->reference_defects, NULL, NULL, 0, 0, NULL},
    };
    const edt_cli_program program = {
        .name = "create_pascal_records",
        .summary = "Converts PASCAL VOC annotations and images to TFRecord shards",
        .description =
            "Images go round robin into the shards, in the order of the list, anew for each "
            "year; their ids are 1, 2, 3 … in that order. Boxes are the XML's 1-based pixels "
            "divided by the image's size. The bytes written do not depend on the number of "
            "threads, nor on the number of processes when mpirun starts several.",
        .examples = "create_pascal_records --data_dir=VOCdevkit --year=VOC2012 --set=trainval "
                    "--output_path=tfrecord/pascal --num_shards=10",
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
    common->show_progress = common->rank == 0;
    EDT_TRY(edt_interrupt_install(err));
    return edt_convert_voc(&s->convert, err, NULL);
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
