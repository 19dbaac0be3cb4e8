// Hyper-parameter texts: arbitrary YAML and k=v input ends in a message or in a table that its
// own YAML reproduces.
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/hparams.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

static void check_round_trip(const edt_hparams *hp)
{
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const char *first, *second;
    edt_hparams back;
    if (edt_hparams_to_yaml(hp, &arena, &err, &first) != EDT_OK ||
        edt_hparams_init(&back, &err) != EDT_OK ||
        edt_hparams_override_yaml_text(&back, (edt_span){(const uint8_t *)first, strlen(first)},
                                       &err) != EDT_OK ||
        edt_hparams_to_yaml(&back, &arena, &err, &second) != EDT_OK ||
        strcmp(first, second) != 0) {
        (void)fprintf(stderr, "%s\n%s\n", err.text, first);
        abort();
    }
    edt_hparams_deinit(&back);
    edt_arena_deinit(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    edt_hparams hp;
    edt_error err = {0};
    char *text = malloc(n + 1);
    if (text == NULL || edt_hparams_init(&hp, &err) != EDT_OK) {
        abort();
    }
    memcpy(text, data, n);
    text[n] = '\0';
    // Reading files is not this target's business.
    const bool is_pairs = strchr(text, '=') != NULL;
    if (edt_hparams_override_yaml_text(&hp, (edt_span){data, n}, &err) == EDT_OK ||
        (is_pairs && edt_hparams_override(&hp, text, &err) == EDT_OK)) {
        check_round_trip(&hp);
    } else if (err.text[0] == '\0') {
        abort();
    }
    (void)edt_hparams_check(&hp, &err);
    edt_hparams_deinit(&hp);
    free(text);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const seeds[] = {
        "learning_rate=1e-3,heads=['segmentation'],label_map={1:'x\\n'},image_size=640x480",
        "nms_configs.method=hard,aspect_ratios=1.0*2.0*0x3,name='a\\u00e9',momentum=.5",
        "anchor_scale=[1, (2), {3}],mean_rgb=None,grid_mask=true,num_epochs=1_0",
        "image_size: 640x480\nlabel_map: {1: 'a: b', 2: \"x\\ty\", 7: yes}\n"
        "aspect_ratios: [[1.4, 0.7], 0.3, 3.0]\nsync_bn: off\nweight_decay: 4e-5\n",
        "nms_configs: &n\n    method: hard\n    iou_thresh: .5\nheads: [segmentation]\n"
        "target_size: !!python/tuple [480, 640]\nnum_epochs: 12:30\nname: \"\\x41 b\"\n",
        "backbone_config=r1_k3_s11_e1_i32_o16_se0.25*r2_k5_s22_e6_i16_o24_f1_noskip,fpn_name=qufpn",
        "fpn_config: {weight_method: sum, nodes: [{feat_level: 6, inputs_offsets: [3, 4]}]}\n"
        "backbone_config: {blocks: [{num_repeat: 1, kernel_size: 3, strides: [1, 1],\n"
        "    expand_ratio: 1, input_filters: 8, output_filters: 8, se_ratio: .5, conv_type: 1}]}\n"};
    if (i >= (int)(sizeof seeds / sizeof seeds[0]) || strlen(seeds[i]) > cap) {
        return 0;
    }
    memcpy(out, seeds[i], strlen(seeds[i]));
    return strlen(seeds[i]);
}
