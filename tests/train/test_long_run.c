// Memory over a long run: 2000 steps of a small network with checkpoints, evaluations and lines
// of metrics, at the end as much as in the middle.
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tests/support/test_dirs.h"
#include "tests/support/test_training.h"

// A sanitizer has a malloc of its own, which keeps what was freed, and is slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define IS_SANITIZED true
enum { N_STEPS = 200, LOG_STEPS = 10, EPOCHS = 2 };
#else
#define IS_SANITIZED false
enum { N_STEPS = 2000, LOG_STEPS = 50, EPOCHS = 4 };
#endif

static double value_of(const char *line, const char *key)
{
    const char *at = strstr(line, key);
    double value = -1.0;
    cr_assert(at != NULL && sscanf(at + strlen(key), "%lf", &value) == 1, "%s: %s", key, line);
    return value;
}

typedef struct range {
    double least, most;
} range;

static void widen(range *r, double value, bool first)
{
    r->least = first || value < r->least ? value : r->least;
    r->most = first || value > r->most ? value : r->most;
}

// Frozen, with statistics that stay, the backbone costs a forward pass only: it is not what
// could grow.
static const char overrides[] =
    "image_size=32,max_level=5,fpn_cell_repeats=1,box_class_repeats=1,fpn_num_filters=8,"
    "learning_rate=0.001,var_freeze_expr=efficientnet,freeze_bn=true,moving_average_decay=0.9";

Test(long_run, memory_is_the_same_at_the_end_as_in_the_middle, .timeout = 240)
{
    char root[256], pattern[300], model_dir[300];
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(pattern, sizeof pattern, "%s/shard.tfrecord", root);
    (void)snprintf(model_dir, sizeof model_dir, "%s/model", root);
    edt_test_write_drawn_shard(pattern, 7, -1);
    edt_train_options o = edt_test_training_options(model_dir, pattern, N_STEPS);
    o.mode = EDT_TRAIN_MODE_TRAIN_AND_EVAL;
    o.val_file_pattern = pattern;
    o.train_batch_size = 1;
    o.num_examples_per_epoch = N_STEPS / EPOCHS;
    o.log_steps = LOG_STEPS;
    o.save_checkpoints_steps = N_STEPS / 8;
    const char *error;
    char with_epochs[512];
    (void)snprintf(with_epochs, sizeof with_epochs, "%s,num_epochs=%d", overrides, EPOCHS);
    const int code = edt_test_train_run(with_epochs, &o, &error);
    cr_assert_eq(code, 0, "exit %d: %s", code, error);

    FILE *file = fopen(edt_test_path(model_dir, "metrics.jsonl"), "r");
    cr_assert_not_null(file);
    char line[4096];
    int n = 0;
    range live = {0}, resident = {0};
    while (fgets(line, sizeof line, file) != NULL) {
        int64_t step;
        cr_assert_eq(sscanf(line, "{\"step\": %" SCNd64, &step), 1);
        if (step <= N_STEPS / 2 || strstr(line, "\"loss\"") == NULL) {
            continue;
        }
        widen(&live, value_of(line, "\"memory_bytes\": "), n == 0);
        widen(&resident, value_of(line, "\"resident_bytes\": "), n == 0);
        ++n;
    }
    (void)fclose(file);
    cr_assert_eq(n, N_STEPS / 2 / LOG_STEPS);
    cr_expect_eq(live.least, live.most, "from %.0f to %.0f bytes allocated", live.least,
                 live.most);
    cr_expect(IS_SANITIZED || resident.most - resident.least <= 1 << 20,
              "from %.0f to %.0f bytes resident", resident.least, resident.most);
    cr_log_info("%.0f bytes allocated, %.0f to %.0f resident", live.most, resident.least,
                resident.most);
    edt_test_remove_tree(root);
}
