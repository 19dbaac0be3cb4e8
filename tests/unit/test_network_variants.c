// Variants of the network that no published model has: whole small detectors in double against
// central differences of their loss, the cpu backend against `ref`, and names and shapes of
// their variables (spec/model.md 6).
#include <criterion/criterion.h>
#include <math.h>
#include <string.h>

#include "model/count.h"
#include "tests/support/tiny_model.h"

#ifdef __SANITIZE_THREAD__
#define SKIP_UNDER_TSAN() cr_skip_test("one thread only")
#else
#define SKIP_UNDER_TSAN() (void)0
#endif

static void set(edt_hparams *hp, const char *pairs)
{
    edt_error err = {0};
    cr_assert_eq(edt_hparams_override(hp, pairs, &err), EDT_OK, "%s: %s", pairs, err.text);
}

static void set_yaml(edt_hparams *hp, const char *text)
{
    edt_error err = {0};
    const edt_span span = {(const uint8_t *)text, strlen(text)};
    cr_assert_eq(edt_hparams_override_yaml_text(hp, span, &err), EDT_OK, "%s: %s", text,
                 err.text);
}

// Five levels in five blocks.
static void micro_backbone(edt_hparams *hp)
{
    set(hp, "fpn_cell_repeats=1,"
            "backbone_config=r1_k3_s11_e1_i8_o8_se0.25*r1_k3_s22_e2_i8_o8*r1_k3_s22_e2_i8_o16*"
            "r1_k5_s22_e1_i16_o16_se0.5*r1_k3_s22_e2_i16_o16_noskip");
}

static void qufpn(edt_hparams *hp)
{
    micro_backbone(hp);
    set(hp, "fpn_name=qufpn,fpn_weight_method=channel_fastattn,act_type=silu,num_classes=1");
}

static void plain_convolutions(edt_hparams *hp)
{
    micro_backbone(hp);
    set(hp, "separable_conv=false,conv_bn_act_pattern=true,fpn_weight_method=channel_attn,"
            "act_type=mish,survival_prob=0.6,aspect_ratios=1.0*3.0,num_scales=2");
}

static void plain_convolutions_with_bias(edt_hparams *hp)
{
    micro_backbone(hp);
    set(hp, "separable_conv=false,apply_bn_for_resampling=false,conv_after_downsample=true,"
            "fpn_weight_method=attn,fpn_name=qufpn,min_level=4,max_level=6");
}

static void explicit_nodes(edt_hparams *hp)
{
    micro_backbone(hp);
    set(hp, "min_level=2,max_level=4,act_type=swish_native");
    set_yaml(hp, "fpn_config:\n"
                 "    weight_method: fastattn\n"
                 "    nodes:\n"
                 "    - {feat_level: 3, inputs_offsets: [1, 2]}\n"
                 "    - {feat_level: 2, inputs_offsets: [0, 3, 2]}\n"
                 "    - {feat_level: 4, inputs_offsets: [0, 1, 2, 3, 4, 2, 1]}\n"
                 "    - {feat_level: 3, inputs_offsets: [5, 4, 3, 1]}\n");
}

static void other_blocks(edt_hparams *hp)
{
    set_yaml(hp, "backbone_config:\n"
                 "    blocks:\n"
                 "    - r2_k3_s11_e1_i8_o8_c1\n"
                 "    - {num_repeat: 2, kernel_size: 3, strides: [2, 2], expand_ratio: 2,\n"
                 "       input_filters: 8, output_filters: 8, conv_type: 1, se_ratio: 0.25}\n"
                 "    - r2_k3_s22_e1_i8_o16_f1_se0.25\n"
                 "    - r1_k2_s22_e2_i16_o16_f1\n"
                 "    - r1_k7_s22_e1_i16_o24\n");
    set(hp, "min_level=1,max_level=5,fpn_cell_repeats=1,fpn_weight_method=sum");
}

typedef void change(edt_hparams *hp);

static void check_by_differences(change *variant)
{
    SKIP_UNDER_TSAN();
    edt_tiny t;
    edt_tiny_create("efficientdet-d1", variant, &edt_tiny_options, &t);
    edt_tiny_check_gradients(&t, 1, 9, 1e-5);
    edt_tiny_destroy(&t);
}

Test(network_variants, gradients_of_qufpn_with_weights_per_channel, .timeout = 60)
{
    check_by_differences(qufpn);
}

Test(network_variants, gradients_of_plain_convolutions, .timeout = 60)
{
    check_by_differences(plain_convolutions);
}

Test(network_variants, gradients_of_resampling_without_norm_and_with_late_projection,
     .timeout = 60)
{
    check_by_differences(plain_convolutions_with_bias);
}

Test(network_variants, gradients_of_explicit_nodes_with_seven_inputs, .timeout = 60)
{
    check_by_differences(explicit_nodes);
}

Test(network_variants, gradients_of_fused_blocks_and_blocks_without_depthwise, .timeout = 60)
{
    check_by_differences(other_blocks);
}

static double *read_arena(const edt_tiny *t, edt_params_arena arena, int i)
{
    edt_error err = {0};
    const int64_t n = t->params->entries[i].n;
    double *values = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *values);
    cr_assert_eq(edt_params_get_f64(t->params, arena, i, values, n, &err), EDT_OK, "%s",
                 err.text);
    return values;
}

// Loss, moving statistics and gradients, the latter against the largest of their variable's
// kind: float noise of a gradient that nearly cancels is as large as that of its neighbours.
static void compare_with_cpu(change *variant, const char *what)
{
    edt_error err = {0};
    edt_backend *cpu = NULL;
    edt_tiny ref;
    edt_tiny got;
    edt_model_options options = edt_tiny_options;
    edt_tiny_create("efficientdet-d1", variant, &options, &ref);
    options.real = EDT_DTYPE_F32;
    cr_assert_eq(edt_backend_cpu_create(2, &err, &cpu), EDT_OK, "%s", err.text);
    edt_tiny_create_on(cpu, "efficientdet-d1", variant, &options, &got);
    const double want = edt_tiny_total_loss(&ref);
    const double loss = edt_tiny_total_loss(&got);
    cr_expect_float_eq(loss, want, 1e-5 * want, "%s: loss", what);
    static const edt_params_arena arenas[] = {EDT_PARAMS_VALUES, EDT_PARAMS_GRADS};
    for (int a = 0; a < 2; a++) {
        double largest = 0;
        double worst = 0;
        const char *name = "";
        for (int i = 0; i < ref.params->n_params; i++) {
            double *x = read_arena(&ref, arenas[a], i);
            double *y = read_arena(&got, arenas[a], i);
            for (int64_t k = 0; k < ref.params->entries[i].n; k++) {
                largest = fmax(largest, fabs(x[k]));
                if (fabs(x[k] - y[k]) > worst) {
                    worst = fabs(x[k] - y[k]);
                    name = ref.params->entries[i].name;
                }
            }
            edt_mem_free(x);
            edt_mem_free(y);
        }
        cr_expect_lt(worst, 1e-4 * largest, "%s, arena %d: %s differs by %.3g of %.3g", what, a,
                     name, worst, largest);
    }
    edt_tiny_destroy(&got);
    edt_tiny_destroy(&ref);
}

Test(network_variants, cpu_agrees_with_ref, .timeout = 120)
{
    SKIP_UNDER_TSAN();
    compare_with_cpu(qufpn, "qufpn");
    compare_with_cpu(plain_convolutions, "plain convolutions");
    compare_with_cpu(plain_convolutions_with_bias, "late projection");
    compare_with_cpu(explicit_nodes, "explicit nodes");
    compare_with_cpu(other_blocks, "other blocks");
}

static const char *act_name; // of the variant below

static void with_act(edt_hparams *hp)
{
    micro_backbone(hp);
    hp->act_type = act_name;
    hp->max_level = 4;
}

Test(network_variants, cpu_agrees_with_ref_for_every_activation, .timeout = 120)
{
    SKIP_UNDER_TSAN();
    static const char *const names[] = {"swish", "relu", "relu6", "hswish", "mish", "srelu"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        act_name = names[i];
        compare_with_cpu(with_act, names[i]);
    }
}

// Every pair of levels that the backbone allows, at a size that is neither square nor even.
Test(network_variants, all_level_ranges_build_and_train, .timeout = 60)
{
    for (int low = 1; low <= 5; low++) {
        for (int high = low + 1; high <= low + 7 && high <= 9; high++) {
            edt_hparams hp;
            edt_test_model_hparams("efficientdet-d0", (1 << (high - 1)) + 1, 301, &hp);
            micro_backbone(&hp);
            hp.min_level = low;
            hp.max_level = high;
            hp.fpn_name = high % 2 == 0 ? "qufpn" : NULL;
            const edt_model_options options = {.mode = EDT_MODEL_TRAIN,
                                               .real = EDT_DTYPE_F32,
                                               .batch_size = 1,
                                               .losses = true};
            edt_model *model = edt_test_model(&hp, &options);
            int64_t n_anchors = 0;
            for (int l = low; l <= high; l++) {
                n_anchors += model->level_h[l] * model->level_w[l] * 9;
            }
            cr_expect_eq(model->n_anchors, n_anchors, "levels %d to %d", low, high);
            // What no level needs is built all the same, as in the reference, and has no
            // gradient.
            const int top =
                edt_graph_find_param(model->graph, "efficientnet-b0/blocks_4/conv2d_1/kernel");
            cr_assert_geq(top, 0);
            cr_expect_eq(model->graph->params[top].grad == EDT_NO_VALUE, high < 5,
                         "levels %d to %d", low, high);
            edt_model_destroy(model);
            edt_hparams_deinit(&hp);
        }
    }
}

typedef struct variable {
    const char *name, *path;
    int n_dims;
    int64_t dim[4]; // n_dims -1: the variable must not exist
} variable;

static void check_variables(const char *model_name, change *variant, const variable *want)
{
    edt_hparams hp;
    edt_test_model_hparams(model_name, 129, 129, &hp);
    variant(&hp);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(&hp, &options);
    for (; want->name != NULL; want++) {
        const int i = edt_graph_find_param(model->graph, want->name);
        cr_assert_eq(i < 0, want->n_dims < 0, "%s: %d", want->name, i);
        if (i < 0) {
            continue;
        }
        const edt_param *param = &model->graph->params[i];
        cr_expect_str_eq(param->object_path, want->path, "%s", want->name);
        cr_expect_eq(param->shape.n_dims, want->n_dims, "%s", want->name);
        for (int k = 0; k < want->n_dims; k++) {
            cr_expect_eq(param->shape.dim[k], want->dim[k], "%s, axis %d", want->name, k);
        }
    }
    edt_model_destroy(model);
    edt_hparams_deinit(&hp);
}

static void only_qufpn(edt_hparams *hp)
{
    set(hp, "fpn_name=qufpn,fpn_weight_method=channel_attn,separable_conv=false");
}

static void only_pattern(edt_hparams *hp)
{
    set(hp, "conv_bn_act_pattern=true,apply_bn_for_resampling=false");
}

Test(network_variants, names_and_shapes_of_their_variables, .timeout = 30)
{
    static const variable of_qufpn[] = {
        {"fpn_cells/cell_0/fnode0/WSM", "fpn_cells/cells/0/fnodes/0/WSM", 1, {64}},
        {"fpn_cells/cell_2/fnode20/WSM_1", "fpn_cells/cells/2/fnodes/20/WSM_1", 1, {64}},
        {"fpn_cells/cell_2/fnode20/WSM_2", "", -1, {0}},
        {"fpn_cells/cell_2/fnode21/WSM", "", -1, {0}},
        // Node 9 joins features 1 and 0 at level 4: the backbone's P4 and P3.
        {"fpn_cells/cell_0/fnode8/resample_0_1_13/conv2d/kernel",
         "fpn_cells/cells/0/fnodes/8/resample_layers/0/conv2d/kernel",
         4,
         {1, 1, 112, 64}},
        {"fpn_cells/cell_0/fnode8/resample_1_0_13/bn/gamma",
         "fpn_cells/cells/0/fnodes/8/resample_layers/1/bn/gamma",
         1,
         {64}},
        {"fpn_cells/cell_1/fnode8/resample_0_1_13/conv2d/kernel", "", -1, {0}},
        {"fpn_cells/cell_2/fnode20/op_after_combine25/conv/kernel",
         "fpn_cells/cells/2/fnodes/20/op_after_combine/conv_op/kernel",
         4,
         {3, 3, 64, 64}},
        {"fpn_cells/cell_2/fnode20/op_after_combine25/conv/bias",
         "fpn_cells/cells/2/fnodes/20/op_after_combine/conv_op/bias",
         1,
         {64}},
        {"fpn_cells/cell_2/fnode20/op_after_combine25/conv/pointwise_kernel", "", -1, {0}},
        {"class_net/class-0/kernel", "class_net/conv_ops/0/kernel", 4, {3, 3, 64, 64}},
        {"class_net/class-predict/kernel", "class_net/classes/kernel", 4, {3, 3, 64, 810}},
        {"class_net/class-predict/bias", "class_net/classes/bias", 1, {810}},
        {"box_net/box-predict/kernel", "box_net/boxes/kernel", 4, {3, 3, 64, 36}},
        {NULL, NULL, 0, {0}},
    };
    check_variables("efficientdet-d0", only_qufpn, of_qufpn);
    static const variable of_pattern[] = {
        {"fpn_cells/cell_0/fnode0/op_after_combine5/conv/pointwise_kernel",
         "fpn_cells/cells/0/fnodes/0/op_after_combine/conv_op/pointwise_kernel",
         4,
         {1, 1, 64, 64}},
        {"fpn_cells/cell_0/fnode0/op_after_combine5/conv/bias", "", -1, {0}},
        {"resample_p6/conv2d/bias", "resample_layers/0/conv2d/bias", 1, {64}},
        {"resample_p6/bn/gamma", "", -1, {0}},
        {NULL, NULL, 0, {0}},
    };
    check_variables("efficientdet-d0", only_pattern, of_pattern);
    static const variable of_blocks[] = {
        {"efficientnet-b1/stem/conv2d/kernel",
         "backbone/_stem/_conv_stem/kernel",
         4,
         {3, 3, 3, 8}},
        // Blocks without depthwise convolution: 3 of them by the depth of b1; the first has
        // expansion 1.
        {"efficientnet-b1/blocks_0/conv2d/kernel",
         "backbone/_blocks/0/_project_conv/kernel",
         4,
         {1, 1, 8, 8}},
        {"efficientnet-b1/blocks_0/tpu_batch_normalization/gamma",
         "backbone/_blocks/0/_bn1/gamma",
         1,
         {8}},
        {"efficientnet-b1/blocks_0/conv2d_1/kernel", "", -1, {0}},
        {"efficientnet-b1/blocks_3/conv2d/kernel",
         "backbone/_blocks/3/_expand_conv/kernel",
         4,
         {3, 3, 8, 16}},
        {"efficientnet-b1/blocks_3/conv2d_1/kernel",
         "backbone/_blocks/3/_project_conv/kernel",
         4,
         {1, 1, 16, 8}},
        {"efficientnet-b1/blocks_3/se/conv2d/kernel", "", -1, {0}},
        {"efficientnet-b1/blocks_6/conv2d/kernel",
         "backbone/_blocks/6/_fused_conv/kernel",
         4,
         {3, 3, 8, 8}},
        {"efficientnet-b1/blocks_6/tpu_batch_normalization/beta",
         "backbone/_blocks/6/_bn1/beta",
         1,
         {8}},
        {"efficientnet-b1/blocks_6/se/conv2d/kernel",
         "backbone/_blocks/6/_se/_se_reduce/kernel",
         4,
         {1, 1, 8, 2}},
        {"efficientnet-b1/blocks_6/conv2d_1/kernel",
         "backbone/_blocks/6/_project_conv/kernel",
         4,
         {1, 1, 8, 16}},
        {"efficientnet-b1/blocks_11/depthwise_conv2d/depthwise_kernel",
         "backbone/_blocks/11/_depthwise_conv/depthwise_kernel",
         4,
         {7, 7, 16, 1}},
        {NULL, NULL, 0, {0}},
    };
    check_variables("efficientdet-d1", other_blocks, of_blocks);
}

static void refuse(const char *blocks, const char *word)
{
    edt_hparams hp;
    edt_test_model_hparams("efficientdet-d0", 129, 129, &hp);
    set(&hp, blocks);
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_error err = {0};
    edt_model *model = NULL;
    cr_expect_eq(edt_model_create(&hp, &options, &err, &model), EDT_ERR_USAGE, "%s", blocks);
    cr_expect_not_null(strstr(err.text, word), "'%s' lacks '%s'", err.text, word);
    cr_expect_null(model);
    edt_hparams_deinit(&hp);
}

Test(network_variants, backbones_whose_levels_do_not_fit_are_refused, .timeout = 30)
{
    refuse("backbone_config=r1_k3_s22_e1_i8_o8*r1_k3_s22_e1_i8_o8*r1_k3_s22_e1_i8_o8*"
           "r1_k3_s22_e1_i8_o8",
           "the first of which has stride 2");
    refuse("backbone_config=r1_k3_s11_e1_i8_o8*r1_k3_s22_e1_i8_o8", "2 levels");
    refuse("backbone_config=r1_k3_s11_e1_i8_o8*r1_k3_s22_e1_i8_o8*r1_k3_s22_e1_i8_o8*"
           "r1_k3_s22_e1_i8_o8*r1_k3_s22_e1_i8_o8*r1_k3_s22_e1_i8_o8",
           "6 levels");
    refuse("backbone_name=efficientnet-l2,backbone_config=r64_k3_s11_e1_i8_o8", "256 blocks");
}

// Parameters and multiply-accumulates of a backbone, from its table alone: stem, then for each
// block expansion, depthwise convolution, squeeze-excite, projection, each convolution with
// batch norm.
static void count_backbone(double width, double depth, int64_t side, int64_t *out_params,
                           int64_t *out_macs)
{
    static const int table[7][6] = {
        {3, 1, 32, 16, 1, 1},   {3, 2, 16, 24, 6, 2},  {5, 2, 24, 40, 6, 2},
        {3, 3, 40, 80, 6, 2},   {5, 3, 80, 112, 6, 1}, {5, 4, 112, 192, 6, 2},
        {3, 1, 192, 320, 6, 1},
    };
    const int64_t stem = edt_round_filters(32, width);
    side = (side + 1) / 2;
    int64_t params = 27 * stem + 2 * stem;
    int64_t macs = 27 * stem * side * side;
    for (int s = 0; s < 7; s++) {
        const int64_t k = table[s][0];
        const int64_t n = (int64_t)ceil(depth * table[s][1]);
        for (int64_t i = 0; i < n; i++) {
            const int64_t out = edt_round_filters(table[s][3], width);
            const int64_t in = i == 0 ? edt_round_filters(table[s][2], width) : out;
            const int64_t mid = in * table[s][4];
            if (table[s][4] != 1) {
                params += in * mid + 2 * mid;
                macs += in * mid * side * side;
            }
            if (i == 0 && table[s][5] == 2) {
                side = (side + 1) / 2;
            }
            params += k * k * mid + 2 * mid;
            macs += k * k * mid * side * side;
            const int64_t r = in / 4;
            params += 2 * mid * r + r + mid;
            macs += 2 * mid * r;
            params += mid * out + 2 * out;
            macs += mid * out * side * side;
        }
    }
    *out_params = params;
    *out_macs = macs;
}

Test(network_variants, the_two_backbones_without_a_model_have_their_sizes, .timeout = 60)
{
    static const struct {
        const char *name;
        double width, depth;
    } rows[] = {{"efficientnet-b0", 1.0, 1.0},
                {"efficientnet-b8", 2.2, 3.6},
                {"efficientnet-l2", 4.3, 5.3}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        edt_hparams hp;
        edt_test_model_hparams("efficientdet-d0", 129, 129, &hp);
        hp.backbone_name = rows[r].name;
        const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
        edt_model *model = edt_test_model(&hp, &options);
        int64_t params = 0;
        int64_t macs = 0;
        const size_t n = strlen(rows[r].name);
        for (int i = 0; i < model->graph->n_params; i++) {
            const edt_param *param = &model->graph->params[i];
            if (param->trainable && strncmp(param->name, rows[r].name, n) == 0) {
                params += edt_shape_count(&param->shape);
            }
        }
        for (int i = 0; i < model->graph->n_nodes; i++) {
            edt_op_desc desc;
            edt_graph_describe(model->graph, i, &desc);
            if (strncmp(model->graph->nodes[i].name, rows[r].name, n) == 0) {
                macs += edt_op_conv_macs(&desc);
            }
        }
        int64_t want_params;
        int64_t want_macs;
        count_backbone(rows[r].width, rows[r].depth, 129, &want_params, &want_macs);
        cr_expect_eq(params, want_params, "%s: %lld, want %lld", rows[r].name,
                     (long long)params, (long long)want_params);
        cr_expect_eq(macs, want_macs, "%s: %lld, want %lld", rows[r].name, (long long)macs,
                     (long long)want_macs);
        // b0's own figure, which the reference's tests assert.
        cr_expect(r > 0 || params == 3595388);
        edt_model_destroy(model);
        edt_hparams_deinit(&hp);
    }
}
