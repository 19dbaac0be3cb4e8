// The structured hyper-parameters: forms that fpn_config and backbone_config are given in,
// their YAML, and what is refused.
#include <criterion/criterion.h>
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

TestSuite(hparams_network, .init = setup, .fini = teardown, .timeout = 30);

static edt_status yaml(const char *text)
{
    return edt_hparams_override_yaml_text(&hp, (edt_span){(const uint8_t *)text, strlen(text)},
                                          &err);
}

static void accept_yaml(const char *text)
{
    cr_assert_eq(yaml(text), EDT_OK, "%s: %s", text, err.text);
}

static void accept(const char *pairs)
{
    cr_assert_eq(edt_hparams_override(&hp, pairs, &err), EDT_OK, "%s: %s", pairs, err.text);
}

static void refuse(const char *text, const char *word)
{
    const bool pairs = strchr(text, '=') != NULL;
    const edt_status status = pairs ? edt_hparams_override(&hp, text, &err) : yaml(text);
    cr_expect_eq(status, EDT_ERR_USAGE, "%s passed", text);
    cr_expect_not_null(strstr(err.text, word), "%s: '%s' lacks '%s'", text, err.text, word);
}

// The table's own YAML makes an equal table.
static void check_round_trip(void)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *first;
    const char *second;
    edt_hparams copy;
    edt_hparams back;
    cr_assert_eq(edt_hparams_copy(&hp, &err, &copy), EDT_OK);
    cr_assert_eq(edt_hparams_to_yaml(&copy, &arena, &err, &first), EDT_OK);
    edt_hparams_deinit(&copy);
    cr_assert_eq(edt_hparams_init(&back, &err), EDT_OK);
    const edt_span span = {(const uint8_t *)first, strlen(first)};
    cr_assert_eq(edt_hparams_override_yaml_text(&back, span, &err), EDT_OK, "%s", err.text);
    cr_assert_eq(edt_hparams_to_yaml(&back, &arena, &err, &second), EDT_OK);
    cr_expect_str_eq(first, second);
    edt_hparams_deinit(&back);
    edt_arena_deinit(&arena);
}

static const char two_nodes[] =
    "min_level: 3\n"
    "max_level: 4\n"
    "fpn_config:\n"
    "    weight_method: attn\n"
    "    nodes:\n"
    "    - feat_level: 4\n"
    "      inputs_offsets: [0, 1]\n"
    "    - {inputs_offsets: [0, 1, 2, 0, 1, 2, 0], feat_level: 3}\n";

Test(hparams_network, explicit_nodes)
{
    cr_expect(hp.fpn_config.n == 0 && hp.fpn_config.weight_method == NULL);
    accept_yaml(two_nodes);
    const edt_fpn_config *config = &hp.fpn_config;
    cr_assert(config->n == 2 && config->nodes[0].level == 4 && config->nodes[1].level == 3);
    cr_expect(config->nodes[0].n_inputs == 2 && config->nodes[0].inputs[1] == 1);
    cr_expect(config->nodes[1].n_inputs == 7 && config->nodes[1].inputs[5] == 2);
    cr_expect_str_eq(config->weight_method, "attn");
    cr_expect_eq(edt_hparams_check(&hp, &err), EDT_OK, "%s", err.text);
    check_round_trip();
    // Parts that are not told keep their value.
    accept("fpn_config.weight_method=channel_fastattn");
    cr_expect(hp.fpn_config.n == 2 &&
              strcmp(hp.fpn_config.weight_method, "channel_fastattn") == 0);
    check_round_trip();
    accept("fpn_config=None");
    cr_expect(hp.fpn_config.n == 0 && hp.fpn_config.weight_method == NULL);
    check_round_trip();
}

Test(hparams_network, wrong_nodes_are_refused)
{
    refuse("fpn_config: 3\n", "nodes");
    refuse("fpn_config: {knots: []}\n", "knots");
    refuse("fpn_config: {nodes: []}\n", "1 to 64 nodes");
    refuse("fpn_config: {nodes: [3]}\n", "node 0");
    refuse("fpn_config: {nodes: [{feat_level: 3}]}\n", "inputs_offsets");
    refuse("fpn_config: {nodes: [{feat_level: x, inputs_offsets: [1]}]}\n", "feat_level: x");
    refuse("fpn_config: {nodes: [{feat_level: 3, inputs_offsets: [0, 1, 2, 3, 4, 5, 6, 7]}]}\n",
           "has 8 inputs_offsets; allowed: 1 to 7");
    refuse("fpn_config: {nodes: [{feat_level: 3, inputs_offsets: [-1]}]}\n", "-1");
    refuse("fpn_config: {nodes: [{feat_level: 3, inputs_offsets: [0], weight_method: sum}]}\n",
           "never reads");
    refuse("fpn_config.weight_method=mean", "fastattn");
    refuse("fpn_config.weight_method=attn|sum", "fastattn");
    accept("fpn_config.weight_method=sum");
    cr_expect_eq(edt_hparams_check(&hp, &err), EDT_ERR_USAGE);
    cr_expect_not_null(strstr(err.text, "no nodes"), "%s", err.text);
}

static void check_blocks(void)
{
    const edt_backbone_config *config = &hp.backbone_config;
    cr_assert_eq(config->n, 2);
    const edt_block_args *b = config->blocks;
    cr_expect(b[0].repeats == 1 && b[0].kernel == 3 && b[0].stride == 1 && b[0].expand == 1);
    cr_expect(b[0].c_in == 32 && b[0].c_out == 16 && b[0].se_ratio == 0.25 && b[0].skip);
    cr_expect(!b[0].fused && !b[0].without_depthwise);
    cr_expect(b[1].repeats == 2 && b[1].kernel == 5 && b[1].stride == 2 && b[1].expand == 6);
    cr_expect(b[1].c_in == 16 && b[1].c_out == 24 && b[1].se_ratio == 0 && !b[1].skip);
    cr_expect(b[1].fused && !b[1].without_depthwise);
    check_round_trip();
    hp.backbone_config = (edt_backbone_config){0};
}

Test(hparams_network, blocks_as_strings_and_records)
{
    accept("backbone_config=r1_k3_s11_e1_i32_o16_se0.25*r2_k5_s22_e6_i16_o24_f1_noskip");
    check_blocks();
    accept("backbone_config.blocks=r1_k3_s11_e1_i32_o16_c0_f0_p0_se0.25*"
           "noskip_f1_o24_i16_e6_s22_k5_r2");
    check_blocks();
    accept_yaml("backbone_config:\n"
                "    blocks:\n"
                "    - r1_k3_s11_e1_i32_o16_se0.25\n"
                "    - {num_repeat: 2, kernel_size: 5, strides: [2, 2], expand_ratio: 6,\n"
                "       input_filters: 16, output_filters: 24, id_skip: false, fused_conv: 1,\n"
                "       conv_type: 0, super_pixel: 0, condconv: false, se_ratio: null}\n");
    check_blocks();
    accept("backbone_config=r1_k3_s11_e1_i32_o16_c1");
    cr_expect(hp.backbone_config.n == 1 && hp.backbone_config.blocks[0].without_depthwise);
    check_round_trip();
    accept("backbone_config=None");
    cr_expect_eq(hp.backbone_config.n, 0);
    check_round_trip();
}

Test(hparams_network, wrong_blocks_are_refused)
{
    refuse("backbone_config=3", "block strings");
    refuse("backbone_config=r1_k3_s11_e1_i32", "lacks o<number> (output_filters)");
    refuse("backbone_config=r1_k3_s1_e1_i32_o16", "'s1' is not understood");
    refuse("backbone_config=r1_k3_s12_e1_i32_o16", "differ per axis");
    refuse("backbone_config=r1_k3_s33_e1_i32_o16", "strides is 3");
    refuse("backbone_config=r1_k3_s11_e1_i32_o16_p1", "super_pixel (p1) is not built in");
    refuse("backbone_config=r1_k3_s11_e1_i32_o16_cc", "error in the reference");
    refuse("backbone_config=r1_k5_s11_e1_i32_o16_c1", "write k3");
    refuse("backbone_config=r1_k13_s11_e1_i32_o16",
           "kernel_size is 13; allowed: an integer from 1 to 11");
    refuse("backbone_config=r0_k3_s11_e1_i32_o16", "num_repeat is 0");
    refuse("backbone_config=r1_k3_s11_e1_i32_o16_se2", "se_ratio is 2");
    refuse("backbone_config=r1_k3_s11_e1_i32_o16_x4", "'x4' is not understood");
    refuse("backbone_config=r1_k3_s11_e1_i32_o16_k3", "each once");
    refuse("backbone_config=r1__k3_s11_e1_i32_o16", "'' is not understood");
    refuse("backbone_config: {blocks: [{num_repeat: 1}]}\n", "lacks k");
    refuse("backbone_config: {blocks: [{num_repeat: 1, strides: 2}]}\n", "strides");
    refuse("backbone_config: {blocks: [{repeats: 1}]}\n", "num_repeat");
    refuse("backbone_config: {stages: []}\n", "one part, 'blocks'");
    refuse("backbone_config: {blocks: []}\n", "allowed");
}
