// Node lists of the feature networks against the reference's own (spec/model.md 2.4).
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "model/fpn_nodes.h"

static void expect(const char *name, int min_level, int max_level, const char *want)
{
    edt_hparams hp = {.fpn_name = name, .min_level = min_level, .max_level = max_level};
    edt_error err = {0};
    edt_fpn_plan plan;
    cr_assert_eq(edt_fpn_plan_create(&hp, &err, &plan), EDT_OK, "%s", err.text);
    cr_expect_eq(plan.method, EDT_FUSE_FASTATTN);
    char got[1024] = "";
    for (int i = 0; i < plan.n; i++) {
        char node[64];
        int n = snprintf(node, sizeof node, "%s%d:", i > 0 ? " " : "", plan.nodes[i].level);
        for (int j = 0; j < plan.nodes[i].n_inputs; j++) {
            n += snprintf(node + n, sizeof node - (size_t)n, "%s%d", j > 0 ? "," : "",
                          plan.nodes[i].inputs[j]);
        }
        strcat(got, node);
    }
    cr_expect_str_eq(got, want);
}

Test(fpn_nodes, bifpn, .timeout = 30)
{
    expect(NULL, 3, 7, "6:3,4 5:2,5 4:1,6 3:0,7 4:1,7,8 5:2,6,9 6:3,5,10 7:4,11");
    expect("bifpn", 2, 7,
           "6:4,5 5:3,6 4:2,7 3:1,8 2:0,9 3:1,9,10 4:2,8,11 5:3,7,12 6:4,6,13 7:5,14");
    expect("bifpn_dyn", 3, 8,
           "7:4,5 6:3,6 5:2,7 4:1,8 3:0,9 4:1,9,10 5:2,8,11 6:3,7,12 7:4,6,13 8:5,14");
}

Test(fpn_nodes, qufpn, .timeout = 30)
{
    expect("qufpn", 3, 7,
           "6:3,4 5:2,5 4:1,6 3:0,7 4:1,7,8 5:2,6,9 6:3,5,10 7:4,11 4:1,0 5:2,13 6:3,14 7:4,15 "
           "6:3,15,16 5:2,14,17 4:1,13,18 3:0,19 7:12,16 6:11,17 5:10,18 4:9,19 3:8,20");
    // Two levels have no inner ones.
    expect("qufpn", 4, 5, "4:0,1 5:1,2 5:1,0 4:0,4 5:3,4 4:2,5");
}

Test(fpn_nodes, the_longest_lists_fit, .timeout = 30)
{
    edt_hparams hp = {.fpn_name = "qufpn", .min_level = 5, .max_level = 12};
    edt_error err = {0};
    edt_fpn_plan plan;
    cr_assert_eq(edt_fpn_plan_create(&hp, &err, &plan), EDT_OK, "%s", err.text);
    cr_expect_eq(plan.n, 36);
}

static void refused(edt_fpn_config config, const char *word)
{
    edt_hparams hp = {.min_level = 3, .max_level = 4, .fpn_config = config};
    edt_error err = {0};
    edt_fpn_plan plan;
    cr_expect_eq(edt_fpn_plan_create(&hp, &err, &plan), EDT_ERR_USAGE, "%s", word);
    cr_expect_not_null(strstr(err.text, word), "'%s' lacks '%s'", err.text, word);
}

Test(fpn_nodes, explicit_nodes_must_be_possible, .timeout = 30)
{
    const edt_fpn_node good[] = {{4, 2, {0, 1}}, {3, 3, {0, 1, 2}}};
    const edt_fpn_node later[] = {{4, 2, {0, 2}}, {3, 1, {0}}};
    const edt_fpn_node above[] = {{5, 2, {0, 1}}, {3, 1, {0}}};
    edt_hparams hp = {.min_level = 3,
                      .max_level = 4,
                      .fpn_weight_method = "attn",
                      .fpn_config = {.n = 2, .nodes = good}};
    edt_error err = {0};
    edt_fpn_plan plan;
    cr_assert_eq(edt_fpn_plan_create(&hp, &err, &plan), EDT_OK, "%s", err.text);
    cr_expect(plan.n == 2 && plan.method == EDT_FUSE_ATTN && plan.nodes[1].inputs[2] == 2);
    hp.fpn_config.weight_method = "sum";
    cr_assert_eq(edt_fpn_plan_create(&hp, &err, &plan), EDT_OK, "%s", err.text);
    cr_expect_eq(plan.method, EDT_FUSE_SUM);
    refused((edt_fpn_config){.n = 2, .nodes = later}, "feature 2 does not exist yet");
    refused((edt_fpn_config){.n = 2, .nodes = above}, "feat_level is 5");
    refused((edt_fpn_config){.n = 1, .nodes = good}, "1 of the 2 levels");
    refused((edt_fpn_config){.weight_method = "sum"}, "no nodes");
}
