// The one configuration table: every official hyper-parameter under its official name, plus
// ours (shared/design/cli.md). Filled in this order, later wins: defaults <- model row
// (model/scaling.h) <- YAML or "k=v,k2=v2" text <- program flags. An unknown key is an error
// that names the nearest known one.
//
// Plain data: text fields point into `arena`, which belongs to the struct; NULL text is None.
#ifndef EDT_CORE_HPARAMS_H
#define EDT_CORE_HPARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "core/arena.h"
#include "core/error.h"
#include "core/span.h"

enum {
    EDT_HPARAMS_MAX_LIST = 16,
    EDT_HPARAMS_MAX_LEVELS = 8,
    EDT_HPARAMS_MAX_FPN_NODES = 64,
    EDT_HPARAMS_MAX_FPN_INPUTS = 7,
    EDT_HPARAMS_MAX_BLOCKS = 64,
};

typedef struct edt_hw {
    int64_t h, w; // pixels; {0,0} is None
} edt_hw;

typedef struct edt_f64_list {
    int n;
    double v[EDT_HPARAMS_MAX_LIST];
} edt_f64_list;

typedef struct edt_text_list {
    int n;
    const char *v[EDT_HPARAMS_MAX_LIST];
} edt_text_list;

// Box multipliers; a number r in the configuration becomes ax = sqrt(r), ay = 1/sqrt(r).
typedef struct edt_aspect_list {
    int n;
    double ax[EDT_HPARAMS_MAX_LIST], ay[EDT_HPARAMS_MAX_LIST];
} edt_aspect_list;

typedef struct edt_label_entry {
    int64_t id;
    const char *name;
} edt_label_entry;

// `source` is the text given ("coco", "voc", "waymo", a *.yaml path) or NULL for none or a
// dictionary; `entries` is filled for a dictionary and, after edt_labels_resolve
// (dataio/labels.h), for the others. Sorted by id.
typedef struct edt_label_map {
    const char *source;
    int n;
    const edt_label_entry *entries;
} edt_label_map;

// One node of a feature network cell: joins features by their ids, which are 0.. for the cell's
// inputs from min_level up, then one per node in order.
typedef struct edt_fpn_node {
    int level;
    int n_inputs;
    int inputs[EDT_HPARAMS_MAX_FPN_INPUTS];
} edt_fpn_node;

// fpn_config; n is 0 for None. weight_method NULL: fpn_weight_method decides.
typedef struct edt_fpn_config {
    const char *weight_method;
    int n;
    const edt_fpn_node *nodes;
} edt_fpn_config;

// One stage of backbone_config before the backbone's scaling, as the reference's block strings
// have it: r<repeats>_k<kernel>_s<stride><stride>_e<expand>_i<c_in>_o<c_out>_c<conv type>
// _f<fused>_p0[_se<ratio>][_noskip].
typedef struct edt_block_args {
    int repeats, kernel, stride, expand;
    int64_t c_in, c_out;
    double se_ratio;        // 0: no squeeze-excite
    bool skip;              // residual where stride and filters allow
    bool without_depthwise; // c1: a 3x3 expansion, then a strided projection
    bool fused;             // f1: one kernel x kernel convolution instead of expansion and
                            // depthwise convolution
} edt_block_args;

// backbone_config; n is 0 for None: the table of EfficientNet.
typedef struct edt_backbone_config {
    int n;
    const edt_block_args *blocks;
} edt_backbone_config;

typedef struct edt_nms_configs {
    const char *method; // "gaussian" | "hard" (others: spec eval 1.1)
    double iou_thresh;  // 0: None
    double score_thresh;
    double sigma; // 0: None
    bool pyfunc;
    int64_t max_nms_inputs; // 0: per-anchor maximum
    int64_t max_output_size;
} edt_nms_configs;

// Shape transfer: official names, official defaults (spec/model.md 5.1). None is 0, NULL or an
// empty list as the field's type has it.
typedef struct edt_hparams {
    edt_arena arena;

    const char *name;
    const char *act_type;
    edt_hw image_size;
    edt_hw target_size;
    bool input_rand_hflip;
    double jitter_min, jitter_max;
    const char *autoaugment_policy;
    bool grid_mask;
    const char *sample_image;
    int64_t map_freq;
    int64_t num_classes;
    int64_t seg_num_classes;
    edt_text_list heads;
    bool skip_crowd_during_training;
    edt_label_map label_map;
    int64_t max_instances_per_image;
    bool regenerate_source_id;

    int64_t min_level, max_level;
    int64_t num_scales;
    edt_aspect_list aspect_ratios;
    edt_f64_list anchor_scale; // one value, or one per level

    bool is_training_bn;
    double momentum;
    const char *optimizer;
    double learning_rate;
    double lr_warmup_init;
    double lr_warmup_epoch;
    double first_lr_drop_epoch, second_lr_drop_epoch;
    double poly_lr_power;
    double clip_gradients_norm;
    double num_epochs;
    const char *data_format;
    edt_f64_list mean_rgb, stddev_rgb; // 1 or 3 values, in RGB order
    bool scale_range;

    double label_smoothing;
    double alpha, gamma;
    double delta;
    double box_loss_weight;
    const char *iou_loss_type;
    double iou_loss_weight;
    double weight_decay;

    const char *strategy;
    bool mixed_precision;
    double loss_scale;

    int64_t box_class_repeats;
    int64_t fpn_cell_repeats;
    int64_t fpn_num_filters;
    bool separable_conv;
    bool apply_bn_for_resampling;
    bool conv_after_downsample;
    bool conv_bn_act_pattern;
    bool drop_remainder;
    edt_nms_configs nms_configs;
    int64_t tflite_max_detections;
    const char *fpn_name;
    const char *fpn_weight_method;
    edt_fpn_config fpn_config;
    double survival_prob;
    int64_t img_summary_steps;
    const char *lr_decay_method;
    double moving_average_decay;
    const char *ckpt_var_scope;
    bool skip_mismatch;
    const char *backbone_name;
    edt_backbone_config backbone_config;
    const char *var_freeze_expr;
    bool use_keras_model;
    const char *dataset_type;
    double positives_momentum;
    bool grad_checkpoint;
    int64_t verbose;
    const char *save_freq;

    // Ours.
    bool reference_defects;
    const char *slot_format; // "u8" | "f32"; NULL: u8 in training, f32 in evaluation
    const char *shuffle;     // "global" | "window" | "none"
    int64_t shuffle_window;  // records
    const char *decoded_cache;
    int64_t decoded_cache_bytes;
    int64_t decoded_cache_zstd;
    const char *on_bad_sample; // "fail" | "skip" | "substitute"
    edt_f64_list dataset_weights;
    double negatives_ratio; // NaN: as in the data
    bool exif_rotate;
    double mosaic_prob, mixup_prob, copy_paste_prob;
    bool autoaugment_drop_outside;
    bool randaug_corrected;
    bool grid_mask_corrected;
    const char *semantics;   // "tf1" | "tf2"
    const char *grad_reduce; // "global" | "tpu" | "tf1_gpus"
    bool freeze_bn;
    int64_t accumulate_steps;
    const char *sync_bn; // "off" | "stats" | "full"
    double comm_deadline_s;
    int64_t nan_skip_budget;
    int64_t early_stop_evals;
} edt_hparams;

// Official defaults. deinit frees the arena; a zeroed struct is legal there.
edt_status edt_hparams_init(edt_hparams *hp, edt_error *err);
void edt_hparams_deinit(edt_hparams *hp);

// Sets one field by its dotted official name ("nms_configs.method") from the text form of
// spec/model.md 5.3. EDT_ERR_USAGE names the key, the value, what is allowed and, for an
// unknown key, the nearest known one. On error `hp` keeps the values it had.
edt_status edt_hparams_set(edt_hparams *hp, const char *key, const char *value, edt_error *err);

// "" -> nothing; text with '=' -> comma-separated pairs; "*.yaml" -> file; else EDT_ERR_USAGE.
edt_status edt_hparams_override(edt_hparams *hp, const char *text, edt_error *err);
edt_status edt_hparams_override_yaml_file(edt_hparams *hp, const char *path, edt_error *err);
edt_status edt_hparams_override_yaml_text(edt_hparams *hp, edt_span text, edt_error *err);

// Whole table as YAML (indent 4, sorted keys), the form that edt_hparams_override_yaml_file
// reads back to an equal table. The result lives in `arena`.
edt_status edt_hparams_to_yaml(const edt_hparams *hp, edt_arena *arena, edt_error *err,
                               const char **out_text);

// Cross-field rules: levels, sizes, counts, names of enumerations. EDT_ERR_USAGE.
edt_status edt_hparams_check(const edt_hparams *hp, edt_error *err);

// A deep copy: hp must be uninitialised.
edt_status edt_hparams_copy(const edt_hparams *from, edt_error *err, edt_hparams *out_hp);
// Whether `heads` lists it.
bool edt_hparams_has_head(const edt_hparams *hp, const char *name);

// What edt_hparams_check asks of fpn_config: levels and ids that exist, a node for every level.
edt_status edt_fpn_config_check(const edt_hparams *hp, edt_error *err);

// Enumerates the table for --help and the docs: returns false past the end.
typedef struct edt_hparam_info {
    const char *name;
    const char *type;
    const char *default_text;
    const char *help;
} edt_hparam_info;
bool edt_hparams_info(int i_row, edt_hparam_info *out_info);

#endif
