// The trace of a loader at work: a line per worker whose events nest, also where samples fail
// half-way, and the consumer's waits.
#include <criterion/criterion.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "core/json.h"
#include "core/log.h"
#include "core/mem.h"
#include "core/trace.h"
#include "tests/support/test_batches.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"

enum { MAX_THREADS = 16, MAX_DEPTH = 8, N_NAMES = 10 };

static const char *const names[N_NAMES] = {
    "row",    "read",    "mix",       "decode",        "bands_into_slot",
    "resize", "targets", "pixel_ops", "wait_for_slot", "wait_for_batch"};

typedef struct thread_line {
    double id;
    const char *open[MAX_DEPTH];
    int depth;
} thread_line;

static thread_line *line_of(thread_line *lines, int *n, double id)
{
    for (int i = 0; i < *n; ++i) {
        if (lines[i].id == id) {
            return &lines[i];
        }
    }
    cr_assert_lt(*n, MAX_THREADS);
    lines[*n] = (thread_line){.id = id};
    return &lines[(*n)++];
}

static void check_begin(thread_line *line, const char *name, int counts[N_NAMES])
{
    const bool is_outer = strncmp(name, "wait_for_", 9) == 0 || strcmp(name, "row") == 0;
    cr_assert_eq(is_outer, line->depth == 0, "%s at depth %d", name, line->depth);
    cr_assert_lt(line->depth, MAX_DEPTH);
    line->open[line->depth++] = name;
    for (int i = 0; i < N_NAMES; ++i) {
        counts[i] += strcmp(names[i], name) == 0;
    }
}

static void check_trace(const char *path, int counts[N_NAMES])
{
    edt_error err = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_span text = edt_test_read_file(path);
    const edt_json_node *root;
    cr_assert_eq(edt_json_parse(text, &arena, &err, &root), EDT_OK, "%s", err.text);
    thread_line lines[MAX_THREADS];
    int n_lines = 0;
    const edt_json_node *event = edt_json_get(root, "traceEvents")->first;
    for (; event != NULL; event = event->next) {
        const char *kind = edt_json_get(event, "ph")->text;
        thread_line *line = line_of(lines, &n_lines, edt_json_get(event, "tid")->number);
        if (strcmp(kind, "B") == 0) {
            check_begin(line, edt_json_get(event, "name")->text, counts);
        } else if (strcmp(kind, "E") == 0) {
            cr_assert_gt(line->depth, 0, "an end without a begin");
            --line->depth;
        }
    }
    for (int i = 0; i < n_lines; ++i) {
        cr_expect_eq(lines[i].depth, 0, "'%s' has no end", lines[i].open[0]);
    }
    edt_mem_free((void *)text.data);
    edt_arena_deinit(&arena);
}

Test(loader_trace, events_of_every_stage_nest_on_each_worker, .timeout = 60)
{
    EDT_TEST_NEEDS_DIR(edt_test_data_dir());
    edt_log_set_level(EDT_LOG_QUIET);
    char root[256], shard[320], path[320];
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(shard, sizeof shard, "%s/some-00000-of-00001.tfrecord", root);
    (void)snprintf(path, sizeof path, "%s/trace.json", root);
    const edt_span jpeg =
        edt_test_read_file(edt_test_path(edt_test_data_dir(), "jpeg-corpus/baseline_420.jpg"));
    const float box[4] = {0.1f, 0.2f, 0.7f, 0.9f};
    edt_span payloads[9];
    for (int i = 0; i < 9; ++i) {
        // Every third is cut off or no picture at all.
        const size_t n = i % 3 != 2 ? jpeg.n_bytes : i == 2 ? 10 : jpeg.n_bytes / 2;
        const int64_t label = 1 + i;
        payloads[i] = edt_test_make_example((edt_span){jpeg.data, n}, "1", box, &label, 1);
    }
    edt_test_write_shard(shard, payloads, 9);
    static const char *const settings[] = {"autoaugment_policy=v1,on_bad_sample=substitute",
                                           "mixup_prob=0.5,on_bad_sample=skip"};
    int counts[N_NAMES] = {0};
    for (int k = 0; k < 2; ++k) {
        edt_hparams hp = edt_test_loader_hparams(settings[k]);
        edt_loader_options options = edt_test_train_options(shard);
        options.n_threads = 3;
        uint64_t hashes[12];
        cr_assert_eq(edt_trace_start(path, NULL), EDT_OK);
        edt_loader *loader = edt_test_open_loader(&hp, &options);
        // All slots are full, and the workers wait.
        while (edt_loader_get_stats(loader).idle_seconds == 0.0) {
            (void)sched_yield();
        }
        edt_test_take_batches(loader, 12, hashes);
        edt_loader_destroy(loader);
        cr_assert_eq(edt_trace_stop(NULL), EDT_OK);
        check_trace(path, counts);
        edt_hparams_deinit(&hp);
    }
    for (int i = 0; i < N_NAMES; ++i) {
        cr_expect_gt(counts[i], 0, "no event '%s'", names[i]);
    }
    cr_expect_geq(counts[0], 2 * 12 * 5, "a row of some batch is missing");
    for (int i = 0; i < 9; ++i) {
        edt_mem_free((void *)payloads[i].data);
    }
    edt_mem_free((void *)jpeg.data);
    edt_test_remove_tree(root);
}
