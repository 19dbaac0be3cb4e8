// Every hparam, one after the other, at another value than its default: it changes what
// training computes, or the run is refused in words that name it. Rows that do neither in a
// short run on the cpu say what they are for.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/mem.h"
#include "core/path.h"
#include "model/io/tf_bundle.h"
#include "model/scaling.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"
#include "tests/support/test_training.h"

enum { N_STEPS = 2, MAX_BASES = 24 };

// A small network, so that a run is little more than its start.
#define SMALL                                                                                  \
    "max_level=5,fpn_cell_repeats=1,box_class_repeats=2,fpn_num_filters=16,image_size=64,"     \
    "jitter_min=0.8,jitter_max=1.2"

typedef struct row {
    const char *name;
    const char *value;
    const char *with;  // settings that it wants beside it
    const char *trace; // text that an event file has then, instead of other numbers
    const char *quiet; // why a short run neither changes nor is refused
    bool may_change;   // it may all the same
} row;

static const char evaluation[] = "suppression after the network: evaluation and detection";
static const char needs_data[] = "acts on data that the drawn shard lacks; tested beside it";

// clang-format off
#define ACTS(name, value) {name, value, "", NULL, NULL, false}
#define ACTS_WITH(with, name, value) {name, value, with, NULL, NULL, false}
#define SHOWS(name, value, trace) {name, value, "", trace, NULL, false}
#define QUIET(name, value, reason) {name, value, "", NULL, reason, false}
// What it does depends on the machine.
#define EITHER(name, value, reason) {name, value, "", NULL, reason, true}
// clang-format on

static const row rows[] = {
    QUIET("name", "efficientdet-d0", "what the model is called"),
    ACTS("act_type", "swish"),
    ACTS("image_size", "96"),
    ACTS("target_size", "48"),
    ACTS("input_rand_hflip", "false"),
    ACTS("jitter_min", "0.5"),
    ACTS("jitter_max", "1.9"),
    ACTS("autoaugment_policy", "v0"),
    ACTS("grid_mask", "true"),
    ACTS("sample_image", "nowhere.jpg"),
    ACTS("map_freq", "2"),
    ACTS("num_classes", "5"),
    ACTS("seg_num_classes", "4"),
    ACTS("heads", "[segmentation]"),
    QUIET("skip_crowd_during_training", "false", needs_data),
    QUIET("label_map", "voc", "names in pictures and tables"),
    QUIET("max_instances_per_image", "7",
          "room for ground truth; training learns from all boxes"),
    QUIET("regenerate_source_id", "true", "ids in messages and evaluation"),
    ACTS("min_level", "4"),
    ACTS_WITH("image_size=96", "max_level", "6"),
    ACTS("num_scales", "2"),
    ACTS("aspect_ratios", "1.0*3.0"),
    ACTS("anchor_scale", "2.0"),
    ACTS("is_training_bn", "false"),
    ACTS("momentum", "0.5"),
    ACTS("optimizer", "adam"),
    ACTS("learning_rate", "0.01"),
    ACTS_WITH("lr_warmup_epoch=0.75", "lr_warmup_init", "0.001"),
    ACTS("lr_warmup_epoch", "0.75"),
    ACTS_WITH("lr_decay_method=stepwise", "first_lr_drop_epoch", "0.5"),
    ACTS_WITH("lr_decay_method=stepwise,first_lr_drop_epoch=0.25", "second_lr_drop_epoch",
              "0.5"),
    ACTS_WITH("lr_decay_method=polynomial", "poly_lr_power", "0.5"),
    ACTS("clip_gradients_norm", "0.5"),
    ACTS("num_epochs", "2"),
    QUIET("data_format", "channels_first",
          "the layout of the reference's tensors; its numbers stay"),
    ACTS("mean_rgb", "100.0"),
    ACTS("stddev_rgb", "70.0"),
    ACTS_WITH("mean_rgb=0.0,stddev_rgb=1.0", "scale_range", "true"),
    ACTS("label_smoothing", "0.1"),
    ACTS("alpha", "0.5"),
    ACTS("gamma", "2.0"),
    ACTS("delta", "0.01"),
    ACTS("box_loss_weight", "10.0"),
    ACTS("iou_loss_type", "ciou"),
    ACTS_WITH("iou_loss_type=diou", "iou_loss_weight", "2.0"),
    ACTS("weight_decay", "0.01"),
    QUIET("strategy", "gpus", "the flag --strategy decides, as in the reference"),
    EITHER("mixed_precision", "true", "a warning where the device has no 16-bit type"),
    ACTS("loss_scale", "128.0"),
    ACTS("box_class_repeats", "1"),
    ACTS("fpn_cell_repeats", "2"),
    ACTS("fpn_num_filters", "8"),
    ACTS("separable_conv", "false"),
    ACTS("apply_bn_for_resampling", "false"),
    ACTS_WITH("max_level=6,image_size=96", "conv_after_downsample", "true"),
    ACTS("conv_bn_act_pattern", "true"),
    QUIET("drop_remainder", "false",
          "the end of an epoch of the loader, whose order it leaves alone"),
    QUIET("nms_configs.method", "hard", evaluation),
    QUIET("nms_configs.iou_thresh", "0.4", evaluation),
    QUIET("nms_configs.score_thresh", "0.1", evaluation),
    QUIET("nms_configs.sigma", "0.4", evaluation),
    QUIET("nms_configs.pyfunc", "true", evaluation),
    QUIET("nms_configs.max_nms_inputs", "50", evaluation),
    QUIET("nms_configs.max_output_size", "10", evaluation),
    QUIET("tflite_max_detections", "10", "the export to TFLite"),
    ACTS("fpn_name", "qufpn"),
    ACTS("fpn_weight_method", "attn"),
    ACTS("fpn_config", "{'nodes': []}"), // a list of nodes is for YAML: test_network_variants
    ACTS("survival_prob", "0.5"),
    SHOWS("img_summary_steps", "1", "input_image/image/0"),
    ACTS("lr_decay_method", "constant"),
    ACTS("moving_average_decay", "0.1"),
    QUIET("ckpt_var_scope", "other", "goes with --backbone_ckpt; see test_restore_golden"),
    QUIET("skip_mismatch", "false", "goes with --ckpt; see test_state"),
    ACTS("backbone_name", "efficientnet-lite1"),
    ACTS("backbone_config", "r1_k3_s11_e1_i8_o8*r1_k3_s22_e2_i8_o8*r1_k3_s22_e2_i8_o16*"
                            "r1_k5_s22_e1_i16_o16*r1_k3_s22_e2_i16_o16"),
    ACTS("var_freeze_expr", "efficientnet"),
    ACTS("use_keras_model", "false"),
    ACTS("dataset_type", "sstable"),
    ACTS("positives_momentum", "0.9"),
    QUIET("grad_checkpoint", "true", "less memory for more time; the numbers stay"),
    QUIET("verbose", "0", "no line of the log per checkpoint"),
    QUIET("save_freq", "2", "when checkpoints are written; see test_epochs"),
    ACTS_WITH("iou_loss_type=diou,image_size=72x100", "reference_defects", "true"),
    ACTS("slot_format", "f32"),
    ACTS("shuffle", "none"),
    ACTS_WITH("shuffle=window", "shuffle_window", "2"),
    QUIET("decoded_cache", "cache", "speed; the pixels stay"),
    QUIET("decoded_cache_bytes", "1000000", "size of the cache"),
    QUIET("decoded_cache_zstd", "1", "size of the cache"),
    QUIET("on_bad_sample", "skip", needs_data),
    ACTS("dataset_weights", "1.0*2.0"),
    ACTS("negatives_ratio", "0.5"),
    QUIET("exif_rotate", "true", needs_data),
    ACTS("mosaic_prob", "1.0"),
    ACTS("mixup_prob", "1.0"),
    ACTS("copy_paste_prob", "1.0"),
    QUIET("autoaugment_drop_outside", "true", needs_data),
    ACTS_WITH("autoaugment_policy=randaug", "randaug_corrected", "true"),
    ACTS_WITH("grid_mask=true", "grid_mask_corrected", "true"),
    ACTS("semantics", "tf2"),
    QUIET("grad_reduce", "tpu", "several ranks; see test_replicas"),
    ACTS("freeze_bn", "true"),
    ACTS("accumulate_steps", "2"),
    ACTS("sync_bn", "full"),
    QUIET("comm_deadline_s", "5", "ranks that wait; see test_transports"),
    QUIET("nan_skip_budget", "0", "steps that are not finite; see test_train_faults"),
    ACTS("early_stop_evals", "1"),
};
enum { N_ROWS = sizeof rows / sizeof rows[0] };

static char root[256], pattern[300];

// Empty: `overrides` are taken; else what was said against them.
static void check_overrides(const char *overrides, char *out_error, size_t n_out)
{
    edt_error err = {0};
    edt_hparams hp;
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK);
    edt_status status = edt_scaling_apply(&hp, "efficientdet-lite0", &err);
    if (status == EDT_OK) {
        status = edt_hparams_override(&hp, "image_size=64,num_classes=3", &err);
    }
    if (status == EDT_OK) {
        status = edt_hparams_override(&hp, overrides, &err);
    }
    if (status == EDT_OK) {
        status = edt_hparams_check(&hp, &err);
    }
    (void)snprintf(out_error, n_out, "%.1000s", status == EDT_OK ? "" : err.text);
    edt_hparams_deinit(&hp);
}

typedef struct result {
    bool refused;
    char error[1024];
    char dir[300];
} result;

static void run(const char *overrides, const char *dir_name, result *out)
{
    *out = (result){0};
    (void)snprintf(out->dir, sizeof out->dir, "%s/%s", root, dir_name);
    check_overrides(overrides, out->error, sizeof out->error);
    if (out->error[0] == '\0') {
        edt_train_options o = edt_test_training_options(out->dir, pattern, N_STEPS);
        const char *error;
        const int code = edt_test_train_run(overrides, &o, &error);
        cr_assert_lt(code, 1000, "%s: signal %d", overrides, code - 1000);
        (void)snprintf(out->error, sizeof out->error, "%.1000s", error);
        cr_assert((code == 0) == (error[0] == '\0'), "%s: exit %d: %s", overrides, code, error);
    }
    out->refused = out->error[0] != '\0';
}

// Names, shapes and checksums of everything in the last checkpoint but the trainer's own words.
static edt_tf_bundle *open_checkpoint(const result *r)
{
    edt_error err;
    edt_tf_bundle *bundle = NULL;
    const char *prefix = edt_test_path(r->dir, "model.ckpt-%d", N_STEPS);
    if (edt_tf_bundle_open(prefix, &err, &bundle) != EDT_OK) {
        return NULL; // another number of steps
    }
    return bundle;
}

static const edt_tf_entry *next_tensor(const edt_tf_bundle *b, int *i)
{
    while (*i < edt_tf_bundle_count(b)) {
        const edt_tf_entry *e = edt_tf_bundle_entry(b, (*i)++);
        if (strncmp(e->name, "edt/", 4) != 0 && !e->is_string) {
            return e;
        }
    }
    return NULL;
}

static bool same_checkpoints(const result *a, const result *b)
{
    edt_tf_bundle *x = open_checkpoint(a), *y = open_checkpoint(b);
    bool same = x != NULL && y != NULL;
    for (int i = 0, k = 0; same;) {
        const edt_tf_entry *p = next_tensor(x, &i), *q = next_tensor(y, &k);
        if (p == NULL || q == NULL) {
            same = p == q;
            break;
        }
        same = strcmp(p->name, q->name) == 0 && p->n_bytes == q->n_bytes &&
               p->masked_crc == q->masked_crc;
    }
    edt_tf_bundle_close(x);
    edt_tf_bundle_close(y);
    return same;
}

// Losses and rates of metrics.jsonl, which stand before what depends on the clock.
static bool same_metrics(const result *a, const result *b)
{
    FILE *x = fopen(edt_test_path(a->dir, "metrics.jsonl"), "r");
    FILE *y = fopen(edt_test_path(b->dir, "metrics.jsonl"), "r");
    bool same = x != NULL && y != NULL;
    char p[4096], q[4096];
    while (same) {
        const char *r = fgets(p, sizeof p, x), *s = fgets(q, sizeof q, y);
        if (r == NULL || s == NULL) {
            same = r == s;
            break;
        }
        p[strcspn(p, "\n")] = q[strcspn(q, "\n")] = '\0';
        char *end_p = strstr(p, ", \"images_per_second\""),
             *end_q = strstr(q, ", \"images_per_second\"");
        cr_assert(end_p != NULL && end_q != NULL);
        *end_p = *end_q = '\0';
        same = strcmp(p, q) == 0;
    }
    if (x != NULL) {
        (void)fclose(x);
    }
    if (y != NULL) {
        (void)fclose(y);
    }
    return same;
}

static bool events_hold(const result *r, const char *text)
{
    edt_arena arena;
    edt_error err;
    edt_path_list files;
    bool found = false;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    cr_assert_eq(edt_path_glob(edt_test_path(r->dir, "events.*"), &arena, &err, &files),
                 EDT_OK);
    for (int64_t i = 0; i < files.n; ++i) {
        const edt_span bytes = edt_test_read_file(files.path[i]);
        found = found || memmem(bytes.data, bytes.n_bytes, text, strlen(text)) != NULL;
        edt_mem_free((void *)bytes.data);
    }
    edt_arena_deinit(&arena);
    return found;
}

static struct {
    const char *with;
    result result;
} bases[MAX_BASES];
static int n_bases;

static const result *base_for(const char *with)
{
    for (int i = 0; i < n_bases; ++i) {
        if (strcmp(bases[i].with, with) == 0) {
            return &bases[i].result;
        }
    }
    cr_assert_lt(n_bases, MAX_BASES);
    char overrides[512], name[32];
    (void)snprintf(overrides, sizeof overrides, SMALL "%s%s", with[0] != '\0' ? "," : "", with);
    (void)snprintf(name, sizeof name, "base%d", n_bases);
    bases[n_bases].with = with;
    run(overrides, name, &bases[n_bases].result);
    cr_assert_not(bases[n_bases].result.refused, "%s: %s", overrides,
                  bases[n_bases].result.error);
    return &bases[n_bases++].result;
}

static void check_row(const row *r)
{
    const result *base = base_for(r->with);
    char overrides[512];
    (void)snprintf(overrides, sizeof overrides, SMALL "%s%s,%s=%s",
                   r->with[0] != '\0' ? "," : "", r->with, r->name, r->value);
    result changed;
    run(overrides, "changed", &changed);
    if (changed.refused) {
        cr_expect_not_null(strstr(changed.error, r->name),
                           "%s=%s is refused without its name: %s", r->name, r->value,
                           changed.error);
    } else if (r->trace != NULL) {
        cr_expect(events_hold(&changed, r->trace) && !events_hold(base, r->trace),
                  "%s=%s: no '%s' in the event files", r->name, r->value, r->trace);
    } else if (r->quiet == NULL) {
        cr_expect_not(same_metrics(&changed, base) && same_checkpoints(&changed, base),
                      "%s=%s is taken and changes nothing", r->name, r->value);
    } else {
        cr_expect(r->may_change || same_metrics(&changed, base),
                  "%s=%s (%s) changes the training", r->name, r->value, r->quiet);
    }
    edt_test_remove_tree(changed.dir);
}

Test(hparams_honoured, every_row_of_the_table_acts_or_is_refused_or_has_its_reason,
     .timeout = 600)
{
    edt_hparam_info info;
    int n = 0;
    for (; edt_hparams_info(n, &info); ++n) {
        int found = 0;
        for (int i = 0; i < N_ROWS; ++i) {
            found += strcmp(rows[i].name, info.name) == 0;
        }
        cr_expect_eq(found, 1, "hparam %s stands %d times in this test", info.name, found);
    }
    cr_expect_eq(n, N_ROWS);
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(pattern, sizeof pattern, "%s/shard.tfrecord", root);
    edt_test_write_drawn_shard(pattern, 7, -1);
    cr_assert_eq(chdir(root), 0); // what values name lies there
    for (int i = 0; i < N_ROWS; ++i) {
        check_row(&rows[i]);
    }
    edt_test_remove_tree(root);
}
