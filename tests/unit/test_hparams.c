#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/hparams.h"

static edt_hparams hp;
static edt_error err;

static void setup(void)
{
    cr_assert_eq(edt_hparams_init(&hp, &err), EDT_OK, "%s", err.text);
}

static void teardown(void)
{
    edt_hparams_deinit(&hp);
    cr_assert_eq(edt_mem_get_total().n_live, 0);
}

TestSuite(hparams, .init = setup, .fini = teardown, .timeout = 30);

static void accept(const char *text)
{
    cr_assert_eq(edt_hparams_override(&hp, text, &err), EDT_OK, "%s: %s", text, err.text);
}

// The message must contain every one of up to three parts.
static void reject(const char *text, const char *a, const char *b, const char *c)
{
    cr_assert_eq(edt_hparams_override(&hp, text, &err), EDT_ERR_USAGE, "%s passed", text);
    const char *parts[] = {a, b, c};
    for (int i = 0; i < 3; ++i) {
        cr_assert(parts[i] == NULL || strstr(err.text, parts[i]) != NULL, "%s: '%s' lacks '%s'",
                  text, err.text, parts[i]);
    }
}

Test(hparams, official_defaults)
{
    cr_assert_str_eq(hp.name, "efficientdet-d1");
    cr_assert_str_eq(hp.act_type, "swish");
    cr_assert(hp.image_size.h == 640 && hp.image_size.w == 640);
    cr_assert(hp.target_size.h == 0 && hp.target_size.w == 0);
    cr_assert(hp.input_rand_hflip && !hp.grid_mask && hp.skip_crowd_during_training);
    cr_assert(hp.jitter_min == 0.1 && hp.jitter_max == 2.0);
    cr_assert_null(hp.autoaugment_policy);
    cr_assert(hp.num_classes == 90 && hp.seg_num_classes == 3 && hp.map_freq == 5);
    cr_assert(hp.heads.n == 1 && strcmp(hp.heads.v[0], "object_detection") == 0);
    cr_assert(hp.label_map.source == NULL && hp.label_map.n == 0);
    cr_assert_eq(hp.max_instances_per_image, 100);
    cr_assert(hp.min_level == 3 && hp.max_level == 7 && hp.num_scales == 3);
    cr_assert_eq(hp.aspect_ratios.n, 3);
    cr_assert(hp.aspect_ratios.ax[1] == sqrt(2.0) && hp.aspect_ratios.ay[1] == 1 / sqrt(2.0));
    cr_assert(hp.anchor_scale.n == 1 && hp.anchor_scale.v[0] == 4.0);
    cr_assert(hp.is_training_bn && hp.momentum == 0.9 && strcmp(hp.optimizer, "sgd") == 0);
    cr_assert(hp.learning_rate == 0.08 && hp.lr_warmup_init == 0.008 &&
              hp.lr_warmup_epoch == 1);
    cr_assert(hp.first_lr_drop_epoch == 200 && hp.second_lr_drop_epoch == 250);
    cr_assert(hp.poly_lr_power == 0.9 && hp.clip_gradients_norm == 10 && hp.num_epochs == 300);
    cr_assert(hp.mean_rgb.n == 3 && hp.mean_rgb.v[1] == 116.28 && hp.mean_rgb.v[2] == 103.53);
    cr_assert(hp.stddev_rgb.n == 3 && hp.stddev_rgb.v[0] == 58.395);
    cr_assert(!hp.scale_range && hp.label_smoothing == 0 && hp.alpha == 0.25 &&
              hp.gamma == 1.5);
    cr_assert(hp.delta == 0.1 && hp.box_loss_weight == 50 && hp.iou_loss_weight == 1);
    cr_assert(hp.iou_loss_type == NULL && hp.weight_decay == 4e-5 && hp.strategy == NULL);
    cr_assert(hp.box_class_repeats == 3 && hp.fpn_cell_repeats == 3 &&
              hp.fpn_num_filters == 88);
    cr_assert(hp.separable_conv && hp.apply_bn_for_resampling && !hp.conv_after_downsample);
    cr_assert(!hp.conv_bn_act_pattern && hp.drop_remainder);
    cr_assert_str_eq(hp.nms_configs.method, "gaussian");
    cr_assert(hp.nms_configs.iou_thresh == 0 && hp.nms_configs.sigma == 0 &&
              !hp.nms_configs.pyfunc);
    cr_assert(hp.nms_configs.max_nms_inputs == 0 && hp.nms_configs.max_output_size == 100);
    cr_assert(hp.fpn_name == NULL && hp.fpn_weight_method == NULL && hp.survival_prob == 0);
    cr_assert(strcmp(hp.lr_decay_method, "cosine") == 0 && hp.moving_average_decay == 0.9998);
    cr_assert(hp.skip_mismatch && strcmp(hp.backbone_name, "efficientnet-b1") == 0);
    cr_assert(hp.use_keras_model && hp.verbose == 1 && strcmp(hp.save_freq, "epoch") == 0);
    cr_assert(isnan(hp.negatives_ratio) && hp.accumulate_steps == 1 &&
              hp.nan_skip_budget == 10);
    cr_assert(strcmp(hp.sync_bn, "stats") == 0 && strcmp(hp.semantics, "tf1") == 0);
    cr_assert_eq(edt_hparams_check(&hp, &err), EDT_OK, "%s", err.text);
}

Test(hparams, every_row_is_enumerated_once)
{
    edt_hparam_info a, b;
    int n = 0;
    for (; edt_hparams_info(n, &a); ++n) {
        cr_assert(a.help[0] != '\0' && a.type[0] != '\0');
        for (int k = 0; k < n; ++k) {
            cr_assert(edt_hparams_info(k, &b) && strcmp(a.name, b.name) != 0, "%s twice",
                      a.name);
        }
    }
    cr_assert_gt(n, 90);
}

Test(hparams, python_literals_become_values)
{
    accept("learning_rate=1e-3,num_epochs=0x10,fpn_num_filters=1_000,momentum=.5");
    cr_assert(hp.learning_rate == 1e-3 && hp.num_epochs == 16 && hp.momentum == 0.5);
    cr_assert_eq(hp.fpn_num_filters, 1000);
    accept(" grid_mask =true,input_rand_hflip=False,separable_conv=0,,scale_range= True");
    cr_assert(hp.grid_mask && !hp.input_rand_hflip && !hp.separable_conv && hp.scale_range);
    accept("heads=['segmentation'],label_map={1:'x'},anchor_scale=[5]");
    cr_assert(hp.heads.n == 1 && strcmp(hp.heads.v[0], "segmentation") == 0);
    cr_assert(hp.label_map.n == 1 && hp.label_map.entries[0].id == 1);
    cr_assert_str_eq(hp.label_map.entries[0].name, "x");
    cr_assert(hp.anchor_scale.n == 1 && hp.anchor_scale.v[0] == 5);
    accept("heads=object_detection*segmentation,aspect_ratios=1.0*0.5*2*3,mean_rgb=127.0");
    cr_assert(hp.heads.n == 2 && hp.aspect_ratios.n == 4 && hp.mean_rgb.n == 1);
    accept("label_map=coco,act_type='relu6',name=\"\\x41b\",autoaugment_policy=v0");
    cr_assert_str_eq(hp.label_map.source, "coco");
    cr_assert_eq(hp.label_map.n, 0);
    cr_assert_str_eq(hp.act_type, "relu6");
    cr_assert_str_eq(hp.name, "Ab");
    accept("autoaugment_policy=None,max_instances_per_image=None,save_freq=100");
    cr_assert(hp.autoaugment_policy == NULL && hp.max_instances_per_image == 100);
    cr_assert_str_eq(hp.save_freq, "100");
    accept("nms_configs.method=hard,nms_configs.iou_thresh=0.6,nms_configs.iou_thresh=0.7");
    cr_assert(strcmp(hp.nms_configs.method, "hard") == 0 && hp.nms_configs.iou_thresh == 0.7);
    cr_assert_eq(hp.nms_configs.max_output_size, 100);
    accept("nms_configs={'sigma':0.25}");
    cr_assert(hp.nms_configs.sigma == 0.25 && hp.nms_configs.iou_thresh == 0.7);
    accept("");
}

Test(hparams, image_sizes)
{
    accept("image_size=1280x720");
    cr_assert(hp.image_size.h == 720 && hp.image_size.w == 1280);
    accept("image_size=0x200,target_size=640X512");
    cr_assert(hp.image_size.h == 512 && hp.image_size.w == 512);
    cr_assert(hp.target_size.h == 512 && hp.target_size.w == 640);
    accept("target_size=None");
    cr_assert_eq(hp.target_size.h, 0);
    cr_assert_eq(edt_hparams_set(&hp, "image_size", "(720, 1280)", &err), EDT_OK, "%s",
                 err.text);
    cr_assert(hp.image_size.h == 720 && hp.image_size.w == 1280);
    reject("image_size=640*640", "image_size", "a list", "WIDTHxHEIGHT");
    reject("image_size=640xx", "640xx", NULL, NULL);
    reject("image_size=0", "image_size", "from 1 to 65535", NULL);
}

Test(hparams, refusals_say_what_is_allowed)
{
    reject("learning_rte=1", "learning_rte", "did you mean 'learning_rate'", NULL);
    reject("nms_configs.metod=hard", "did you mean 'nms_configs.method'", NULL, NULL);
    reject("nms_configs=hard", "group", "nms_configs.method", NULL);
    reject("learning_rate.x=1", "'learning_rate' has no parts", NULL, NULL);
    reject("optimizer=adamw", "optimizer", "adamw", "sgd, adam");
    reject("autoaugment_policy=none", "randaug, or None", NULL, NULL);
    reject("grid_mask=yes", "yes", "true or false", NULL);
    reject("grid_mask= true", "true or false", NULL, NULL);
    reject("num_classes=0", "from 1 to", NULL, NULL);
    reject("num_classes=2.5", "2.5", "an integer", NULL);
    reject("num_classes=010", "010", "an integer", NULL);
    reject("num_classes=99999999999999999999", "num_classes", NULL, NULL);
    reject("momentum=inf", "inf", "from 0 to 1", NULL);
    reject("moving_average_decay=None", "None", "a number", NULL);
    reject("fpn_config=x", "nodes", "inputs_offsets", NULL);
    reject("optimizer=sgd|adam", "sgd, adam", NULL, NULL);
    reject("dataset_type=sstable", "tfrecord", NULL, NULL);
    reject("mean_rgb=[1.0,2.0,3.0]", "not of the form key=value", "a*b*c", NULL);
    reject("a=b=c", "not of the form", NULL, NULL);
    reject("d0", "neither", ".yaml", NULL);
    reject("model_name=efficientdet-d0", "model_name", "program flag", NULL);
    reject("anchor_scale=1*2*3*4*5*6*7*8*9*1*2*3*4*5*6*7*8", "at most 16", NULL, NULL);
}

Test(hparams, a_failed_override_changes_nothing)
{
    reject("learning_rate=1.0,act_type=relu,momentum=7", "momentum", NULL, NULL);
    cr_assert_eq(hp.learning_rate, 0.08);
    cr_assert_str_eq(hp.act_type, "swish");
}

Test(hparams, cross_field_rules)
{
    const char *bad[][2] = {{"max_level=3", "levels"},
                            {"image_size=64", "too small"},
                            {"anchor_scale=1*2", "one per level"},
                            {"mean_rgb=1*2", "1 or 3"},
                            {"jitter_min=3", "jitter_max"},
                            {"positives_momentum=1", "positives_momentum"},
                            {"label_map={91:'x'}", "num_classes is 90"}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; ++i) {
        edt_hparams copy;
        cr_assert_eq(edt_hparams_copy(&hp, &err, &copy), EDT_OK);
        cr_assert_eq(edt_hparams_override(&copy, bad[i][0], &err), EDT_OK, "%s", err.text);
        cr_assert_eq(edt_hparams_check(&copy, &err), EDT_ERR_USAGE, "%s", bad[i][0]);
        cr_assert_not_null(strstr(err.text, bad[i][1]), "%s", err.text);
        edt_hparams_deinit(&copy);
    }
}

Test(hparams, copies_are_deep)
{
    accept("label_map={2:'b'},act_type=relu,heads=segmentation*object_detection");
    edt_hparams copy;
    cr_assert_eq(edt_hparams_copy(&hp, &err, &copy), EDT_OK);
    edt_hparams_deinit(&hp);
    cr_assert_str_eq(copy.act_type, "relu");
    cr_assert_str_eq(copy.heads.v[1], "object_detection");
    cr_assert_str_eq(copy.label_map.entries[0].name, "b");
    edt_hparams_deinit(&copy);
}

static edt_status yaml(const char *text)
{
    return edt_hparams_override_yaml_text(&hp, (edt_span){(const uint8_t *)text, strlen(text)},
                                          &err);
}

Test(hparams, yaml_follows_version_1_1)
{
    cr_assert_eq(yaml("learning_rate: 4e-5\n"
                      "weight_decay: 1.5e+3\n"
                      "num_epochs: 12:30\n"
                      "num_classes: 010\n"
                      "grid_mask: yes\n"
                      "separable_conv: off\n"
                      "sync_bn: off\n"
                      "image_size: 640x480\n"
                      "target_size: !!python/tuple [480, 640]\n"
                      "autoaugment_policy: ~\n"
                      "aspect_ratios: [[1.4, 0.7], 2.0]\n"
                      "label_map: {1: person, 3: 'car', 2: on}\n"
                      "nms_configs:\n"
                      "    method: 'hard'\n"
                      "    iou_thresh: null\n"
                      "mean_rgb: [1, 2, 3.5]\n"),
                 EDT_OK, "%s", err.text);
    cr_assert(hp.learning_rate == 4e-5 && hp.weight_decay == 1500 && hp.num_epochs == 750);
    cr_assert(hp.num_classes == 8 && hp.grid_mask && !hp.separable_conv);
    cr_assert_str_eq(hp.sync_bn, "off");
    cr_assert(hp.image_size.h == 480 && hp.image_size.w == 640);
    cr_assert(hp.target_size.h == 480 && hp.target_size.w == 640);
    cr_assert(hp.aspect_ratios.n == 2 && hp.aspect_ratios.ax[0] == 1.4 &&
              hp.aspect_ratios.ay[0] == 0.7 && hp.aspect_ratios.ax[1] == sqrt(2.0));
    cr_assert(hp.label_map.n == 3 && hp.label_map.entries[1].id == 2);
    cr_assert_str_eq(hp.label_map.entries[2].name, "car");
    cr_assert_str_eq(hp.nms_configs.method, "hard");
    cr_assert_eq(hp.mean_rgb.v[2], 3.5);
    cr_assert_eq(yaml(""), EDT_OK);
    cr_assert_eq(yaml("# nothing\n---\n"), EDT_OK);
}

Test(hparams, yaml_errors_name_the_line)
{
    cr_assert_eq(yaml("act_type: relu\nnum_classes: many\n"), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "line 2: hparam num_classes"), "%s", err.text);
    cr_assert_str_eq(hp.act_type, "swish");
    cr_assert_eq(yaml("nms_configs:\n    methd: hard\n"), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "nms_configs.method"), "%s", err.text);
    cr_assert_eq(yaml("image_size: [640, 640]\n"), EDT_ERR_USAGE);
    cr_assert_eq(yaml("autoaugment_policy: None\n"), EDT_ERR_USAGE);
    cr_assert_eq(yaml("steps_per_execution: 1\n"), EDT_ERR_USAGE);
    cr_assert_not_null(strstr(err.text, "steps_per_execution"), "%s", err.text);
    cr_assert_eq(yaml("a: [1\nb: 2\n"), EDT_ERR_FORMAT);
    cr_assert_eq(yaml("just text\n"), EDT_ERR_USAGE);
    cr_assert_eq(edt_hparams_override(&hp, "/no/such.yaml", &err), EDT_ERR_NOT_FOUND);
}

// Two tables are equal when they are written alike.
static void round_trip(void)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *first, *second;
    edt_hparams back;
    cr_assert_eq(edt_hparams_to_yaml(&hp, &arena, &err, &first), EDT_OK);
    cr_assert_eq(edt_hparams_init(&back, &err), EDT_OK);
    const edt_span span = {(const uint8_t *)first, strlen(first)};
    cr_assert_eq(edt_hparams_override_yaml_text(&back, span, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_to_yaml(&back, &arena, &err, &second), EDT_OK);
    cr_assert_str_eq(first, second);
    cr_assert_eq(memcmp(&hp.aspect_ratios, &back.aspect_ratios, sizeof hp.aspect_ratios), 0);
    cr_assert_eq(memcmp(&hp.mean_rgb, &back.mean_rgb, sizeof hp.mean_rgb), 0);
    cr_assert(hp.image_size.h == back.image_size.h && hp.image_size.w == back.image_size.w);
    cr_assert(hp.weight_decay == back.weight_decay && hp.label_map.n == back.label_map.n);
    edt_hparams_deinit(&back);
    edt_arena_deinit(&arena);
}

Test(hparams, to_yaml_round_trips)
{
    round_trip();
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *text;
    cr_assert_eq(edt_hparams_to_yaml(&hp, &arena, &err, &text), EDT_OK);
    cr_assert_not_null(strstr(text, "\naspect_ratios: [1.0, 2.0, 0.5]\n"), "%s", text);
    cr_assert_not_null(strstr(text, "\nnms_configs:\n    iou_thresh: null\n"), "%s", text);
    cr_assert_not_null(strstr(text, "\nweight_decay: 4.0e-05\n"), "%s", text);
    cr_assert_not_null(strstr(text, "\nimage_size: 640\n"));
    edt_arena_deinit(&arena);
    cr_assert_eq(
        yaml("image_size: 640x480\nlabel_map: {1: 'a: b', 2: \"x\\ty'\", 7: 'yes', 8: é}\n"
             "aspect_ratios: [[1.4, 0.7], 0.3, 3.0, 1.7]\nsync_bn: off\n"
             "negatives_ratio: 0.25\ndataset_weights: [0.1, 1e-7]\nname: '100'\n"
             "label_smoothing: 0.1\nsave_freq: 100\nautoaugment_policy: v0\n"
             "target_size: 512\nheads: [segmentation]\nlearning_rate: 0.1234567890123\n"),
        EDT_OK, "%s", err.text);
    round_trip();
}
