// The configuration table itself: names, defaults, ranges and one line of help per
// hyper-parameter (spec/model.md 5.1; ours: docs). Everything else about hparams is derived
// from these rows.
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "core/hparams_priv.h"

#define AT(field) .offset = offsetof(edt_hparams, field)
#define BOOL(field, text, words)                                                               \
    {                                                                                          \
#field, EDT_HROW_BOOL, AT(field), text, .help = words                                  \
    }
#define INT(field, text, low, high, words)                                                     \
    {                                                                                          \
#field, EDT_HROW_INT, AT(field), text, .lo = low, .hi = high, .help = words            \
    }
#define REAL(field, text, low, high, words)                                                    \
    {                                                                                          \
#field, EDT_HROW_FLOAT, AT(field), text, .lo = low, .hi = high, .help = words          \
    }
#define OPT_INT(field, low, high, words)                                                       \
    {                                                                                          \
#field, EDT_HROW_INT, AT(field), "None", .lo = low, .hi = high, .optional = true,      \
                                                 .help = words                                 \
    }
#define OPT_REAL(field, low, high, none, words)                                                \
    {                                                                                          \
#field, EDT_HROW_FLOAT, AT(field), "None", .lo = low, .hi = high, .optional = true,    \
                                                   .none_number = none, .help = words          \
    }
#define TEXT(field, text, allowed, words)                                                      \
    {                                                                                          \
#field, EDT_HROW_TEXT, AT(field), text, .choices = allowed, .help = words              \
    }
#define OPT_TEXT(field, allowed, words)                                                        \
    {                                                                                          \
#field, EDT_HROW_TEXT, AT(field), "None", .optional = true, .choices = allowed,        \
                                                  .help = words                                \
    }
#define REALS(field, text, low, high, words)                                                   \
    {                                                                                          \
#field, EDT_HROW_FLOATS, AT(field), text, .lo = low, .hi = high, .help = words         \
    }

#define BIG DBL_MAX
#define TINY DBL_MIN
#define MANY 2147483647.0 // integers that later become int
#define HUGE_INT 9007199254740992.0

static const edt_hrow rows[] = {
    TEXT(name, "efficientdet-d1", NULL, "model name"),
    TEXT(act_type, "swish", "swish|silu|swish_native|relu6|relu|hswish|mish|srelu",
         "activation of backbone, feature network and heads"),
    {"image_size", EDT_HROW_SIZE, AT(image_size), "640",
     .help = "input size in pixels: one side, WIDTHxHEIGHT, or (height, width)"},
    {"target_size", EDT_HROW_SIZE, AT(target_size), "None", .optional = true,
     .help = "size that random scaling refers to (None: image_size)"},
    BOOL(input_rand_hflip, "True", "random horizontal flip in training"),
    REAL(jitter_min, "0.1", TINY, 100, "smallest random scale"),
    REAL(jitter_max, "2.0", TINY, 100, "largest random scale"),
    OPT_TEXT(autoaugment_policy, "v0|v1|v2|v3|test|randaug",
             "AutoAugment: v0 (the published one), v1, v2, v3, test, or randaug"),
    BOOL(grid_mask, "False", "grid-mask augmentation"),
    OPT_TEXT(sample_image, NULL, "JPEG file whose detections are shown in training summaries"),
    INT(map_freq, "5", 1, MANY, "epochs between COCO evaluations in training (semantics=tf2)"),
    INT(num_classes, "90", 1, 100000, "class channels per anchor: the largest label id"),
    INT(seg_num_classes, "3", 1, 100000, "segmentation classes"),
    {"heads", EDT_HROW_TEXTS, AT(heads), "['object_detection']",
     .choices = "object_detection|segmentation", .help = "output heads"},
    BOOL(skip_crowd_during_training, "True", "drop crowd boxes in training"),
    {"label_map", EDT_HROW_LABELS, AT(label_map), "None", .optional = true,
     .help = "{id: name}, coco, voc, waymo, or a *.yaml file"},
    {"max_instances_per_image", EDT_HROW_INT, AT(max_instances_per_image), "100", .lo = 1,
     .hi = 1000000, .optional = true, .none_number = 100,
     .help = "ground-truth boxes kept per image (None: 100)"},
    BOOL(regenerate_source_id, "False",
         "hash the encoded image instead of using the stored id"),
    INT(min_level, "3", 1, 15, "first pyramid level"),
    INT(max_level, "7", 1, 15, "last pyramid level"),
    INT(num_scales, "3", 1, 16, "anchor scales per octave"),
    {"aspect_ratios", EDT_HROW_ASPECTS, AT(aspect_ratios), "[1.0, 2.0, 0.5]", .lo = TINY,
     .hi = 1e6, .help = "width/height ratios, or [x, y] multiplier pairs"},
    REALS(anchor_scale, "4.0", TINY, 1e6,
          "anchor size over stride: one number or one per level"),
    BOOL(is_training_bn, "True", "batch norm for training (TF1: implied by the mode)"),
    REAL(momentum, "0.9", 0, 1, "momentum of SGD; beta_1 of Adam with semantics=tf2"),
    TEXT(optimizer, "sgd", "sgd|adam", "optimizer"),
    REAL(learning_rate, "0.08", 0, BIG, "for batch 64; scaled by batch/64"),
    REAL(lr_warmup_init, "0.008", 0, BIG, "learning rate at the first step"),
    REAL(lr_warmup_epoch, "1.0", 0, BIG, "epochs of linear warm-up"),
    REAL(first_lr_drop_epoch, "200.0", 0, BIG, "stepwise schedule: rate x0.1 from here"),
    REAL(second_lr_drop_epoch, "250.0", 0, BIG, "stepwise schedule: rate x0.01 from here"),
    REAL(poly_lr_power, "0.9", 0, BIG, "exponent of the polynomial schedule"),
    REAL(clip_gradients_norm, "10.0", 0, BIG, "per-tensor, then global norm clip; 0: off"),
    REAL(num_epochs, "300", 0, MANY, "epochs in total"),
    TEXT(data_format, "channels_last", "channels_last|channels_first",
         "layout that the reference computes in; no effect here"),
    REALS(mean_rgb, "[123.675, 116.28, 103.53]", -BIG, BIG,
          "subtracted from pixels: 1 or 3 numbers"),
    REALS(stddev_rgb, "[58.395, 57.12, 57.375]", TINY, BIG,
          "pixels are divided by: 1 or 3 numbers"),
    BOOL(scale_range, "False", "map normalised pixels by x*2/255-1 (Det-AdvProp checkpoints)"),
    REAL(label_smoothing, "0.0", 0, 1, "of the class targets"),
    REAL(alpha, "0.25", 0, 1, "focal loss: weight of positives"),
    REAL(gamma, "1.5", 0, BIG, "focal loss: exponent"),
    REAL(delta, "0.1", TINY, BIG, "Huber loss: width of the quadratic part"),
    REAL(box_loss_weight, "50.0", 0, BIG, "weight of the box loss"),
    OPT_TEXT(iou_loss_type, "iou|giou|diou|ciou", "adds an IoU loss"),
    REAL(iou_loss_weight, "1.0", 0, BIG, "weight of the IoU loss"),
    REAL(weight_decay, "4e-5", 0, BIG, "L2 on kernels"),
    OPT_TEXT(strategy, "gpus|multi-gpus|tpu", "the program's flag decides"),
    BOOL(mixed_precision, "False", "16-bit computation on devices that have it"),
    OPT_REAL(loss_scale, 0, BIG, 0, "initial dynamic loss scale of float16"),
    INT(box_class_repeats, "3", 0, 64, "layers of the heads before the prediction"),
    INT(fpn_cell_repeats, "3", 1, 64, "feature network cells"),
    INT(fpn_num_filters, "88", 1, 65536, "feature network channels"),
    BOOL(separable_conv, "True", "in feature network and heads"),
    BOOL(apply_bn_for_resampling, "True",
         "batch norm after 1x1 projections of the feature network"),
    BOOL(conv_after_downsample, "False", "project after pooling instead of before"),
    BOOL(conv_bn_act_pattern, "False", "conv, BN, activation instead of activation, conv, BN"),
    BOOL(drop_remainder, "True", "drop the incomplete final batch"),
    TEXT(nms_configs.method, "gaussian", "gaussian|hard|linear|diou", "suppression method"),
    OPT_REAL(nms_configs.iou_thresh, 0, 1, 0, "overlap limit of hard suppression (None: 0.5)"),
    {"nms_configs.score_thresh", EDT_HROW_FLOAT, AT(nms_configs.score_thresh), "0.0", .lo = 0,
     .hi = 1, .optional = true,
     .help = "lowest score kept (0: none for hard, 0.001 for gaussian)"},
    OPT_REAL(nms_configs.sigma, 0, BIG, 0, "width of gaussian suppression (None: 0.5)"),
    BOOL(nms_configs.pyfunc, "False", "the reference's numpy variant of suppression"),
    INT(nms_configs.max_nms_inputs, "0", 0, MANY,
        "best candidates kept (0: one class per anchor)"),
    INT(nms_configs.max_output_size, "100", 1, MANY, "detections per image"),
    INT(tflite_max_detections, "100", 1, MANY, "detections of a TFLite export"),
    OPT_TEXT(fpn_name, "bifpn|bifpn_dyn|qufpn", "feature network (None: bifpn)"),
    OPT_TEXT(fpn_weight_method, "fastattn|attn|sum|channel_fastattn|channel_attn",
             "fusion weights (None: fastattn)"),
    {"fpn_config", EDT_HROW_FPN, AT(fpn_config), "None", .optional = true,
     .choices = "fastattn|attn|sum|channel_fastattn|channel_attn",
     .help = "explicit feature network {nodes: [{feat_level, inputs_offsets}], weight_method}"},
    OPT_REAL(survival_prob, 0, 1, 0, "stochastic depth of the heads (None: off)"),
    OPT_INT(img_summary_steps, 1, MANY, "steps between image summaries"),
    TEXT(lr_decay_method, "cosine", "cosine|stepwise|polynomial|constant", "schedule"),
    REAL(moving_average_decay, "0.9998", 0, 1, "average of the weights; 0: off"),
    OPT_TEXT(ckpt_var_scope, NULL, "scope of the backbone in --backbone_ckpt"),
    BOOL(skip_mismatch, "True", "skip variables whose shape or name differs in a checkpoint"),
    TEXT(backbone_name, "efficientnet-b1", NULL, "backbone"),
    {"backbone_config", EDT_HROW_BACKBONE, AT(backbone_config), "None", .optional = true,
     .help = "own blocks for backbone_name's scaling: {blocks: [r1_k3_s11_e1_i32_o16, ...]}"},
    OPT_TEXT(var_freeze_expr, NULL, "regular expression of variables that stay fixed"),
    BOOL(use_keras_model, "True", "the reference's builder; no effect here"),
    OPT_TEXT(dataset_type, "tfrecord", "record format"),
    OPT_REAL(positives_momentum, -1, 1, 0,
             "moving average of the number of positives (negative: mean over ranks)"),
    BOOL(grad_checkpoint, "False", "recompute activations in the backward pass to save memory"),
    INT(verbose, "1", 0, 2, "0: no line of the log for each checkpoint; 1 and 2 are the same"),
    TEXT(save_freq, "epoch", NULL,
         "checkpoints: a number of steps between them; epoch: --save_checkpoints_steps, with "
         "semantics=tf2 the end of each epoch, too"),

    BOOL(reference_defects, "False",
         "restore the reference's defects where results depend on them"),
    OPT_TEXT(slot_format, "u8|f32",
             "pixels in a batch (None: u8 in training, f32 in evaluation)"),
    TEXT(shuffle, "global", "global|window|none",
         "order of training records: global, window (reads the shards in order, gzip too), "
         "none"),
    INT(shuffle_window, "4096", 1, HUGE_INT,
        "records of a window when shuffle=window; two windows are in memory"),
    OPT_TEXT(decoded_cache, NULL, "LMDB directory for decoded images"),
    INT(decoded_cache_bytes, "0", 0, HUGE_INT, "size limit of decoded_cache; 0: none"),
    INT(decoded_cache_zstd, "0", 0, 19, "compression level of decoded_cache; 0: none"),
    TEXT(on_bad_sample, "fail", "fail|skip|substitute",
         "at a damaged record: fail, skip it, or substitute another"),
    {"dataset_weights", EDT_HROW_FLOATS, AT(dataset_weights), "None", .lo = 0, .hi = BIG,
     .optional = true,
     .help = "shares of several file patterns (a*b*c), relative to each other"},
    OPT_REAL(negatives_ratio, 0, 1, (double)NAN,
             "share of images without objects in an epoch (None: as in the data)"),
    BOOL(exif_rotate, "False", "apply the EXIF orientation"),
    REAL(mosaic_prob, "0", 0, 1, "share of mosaics of four images"),
    REAL(mixup_prob, "0", 0, 1, "share of blended images"),
    REAL(copy_paste_prob, "0", 0, 1, "share of images with pasted objects"),
    BOOL(autoaugment_drop_outside, "False",
         "remove boxes that augmentation moved out of the image (False: keep a strip)"),
    BOOL(randaug_corrected, "False",
         "randaug with its probabilities, magnitude 10 and thresholds that do not wrap"),
    BOOL(grid_mask_corrected, "False",
         "grid mask with uniform draws, one period range for both axes, grey squares"),
    TEXT(semantics, "tf1", "tf1|tf2", "whose training arithmetic: main.py or tf2/train.py"),
    TEXT(
        grad_reduce, "global", "global|tpu|tf1_gpus",
        "how ranks' gradients are combined; global: as those of one batch; tpu, tf1_gpus: each "
        "clipped alone, then averaged or added up, as the reference does"),
    BOOL(freeze_bn, "False", "moving statistics in training, not updated"),
    INT(accumulate_steps, "1", 1, 65536, "micro-batches per optimizer step"),
    TEXT(sync_bn, "stats", "off|stats|full", "batch norm over ranks"),
    REAL(comm_deadline_s, "600", TINY, 1e9, "seconds until a silent rank counts as lost"),
    INT(nan_skip_budget, "10", 0, MANY,
        "steps with a non-finite loss or gradient that may be skipped"),
    INT(early_stop_evals, "0", 0, MANY,
        "stop after so many evaluations without progress; 0: never"),
};

const edt_hrow *edt_hrow_get(int i_row)
{
    const int n = (int)(sizeof rows / sizeof rows[0]);
    return i_row >= 0 && i_row < n ? &rows[i_row] : NULL;
}

const edt_hrow *edt_hrow_find(const char *name)
{
    const edt_hrow *row;
    for (int i = 0; (row = edt_hrow_get(i)) != NULL; ++i) {
        if (strcmp(row->name, name) == 0) {
            return row;
        }
    }
    return NULL;
}
