// metrics.jsonl: its lines, and what a resumed run keeps of them.
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file.h"
#include "core/mem.h"
#include "tests/support/test_dirs.h"
#include "train/metrics.h"

static const char *fresh_path(void)
{
    return edt_test_path(edt_test_temp_dir(), "metrics.jsonl");
}

static edt_metrics *open_metrics(const char *path, int64_t keep_step)
{
    edt_error err = {0};
    edt_metrics *m = NULL;
    cr_assert_eq(edt_metrics_open(path, keep_step, &err, &m), EDT_OK, "%s", err.text);
    return m;
}

static void write_steps(edt_metrics *m, int64_t first, int64_t last)
{
    edt_error err = {0};
    for (int64_t step = first; step <= last; ++step) {
        const edt_metric row = {"loss", 0.5 * (double)step};
        cr_assert_eq(edt_metrics_write(m, step, &row, 1, &err), EDT_OK, "%s", err.text);
    }
}

static void expect_text(const char *path, const char *want)
{
    edt_error err = {0};
    char *text;
    size_t n_bytes;
    cr_assert_eq(edt_file_read(path, 1 << 20, &err, &text, &n_bytes), EDT_OK, "%s", err.text);
    cr_expect_str_eq(text, want);
    edt_mem_free(text);
}

Test(metrics, numbers_are_json, .timeout = 10)
{
    const char *path = fresh_path();
    edt_metrics *m = open_metrics(path, 0);
    const edt_metric rows[] = {{"a", 0.1},  {"b", NAN},   {"c", -INFINITY},
                               {"d", 12.0}, {"e", 1e300}, {"f", -2.5e-7}};
    edt_error err = {0};
    cr_assert_eq(edt_metrics_write(m, 3, rows, 6, &err), EDT_OK, "%s", err.text);
    edt_metrics_close(m);
    expect_text(path, "{\"step\": 3, \"a\": 0.1, \"b\": null, \"c\": null, \"d\": 12, "
                      "\"e\": 1e+300, \"f\": -2.5e-07}\n");
}

Test(metrics, a_line_is_in_the_file_once_it_is_written, .timeout = 10)
{
    const char *path = fresh_path();
    edt_metrics *m = open_metrics(path, 0);
    write_steps(m, 1, 1);
    expect_text(path, "{\"step\": 1, \"loss\": 0.5}\n");
    edt_metrics_close(m);
    edt_metrics_close(NULL);
}

Test(metrics, a_resumed_run_keeps_the_steps_it_does_not_repeat, .timeout = 10)
{
    const char *path = fresh_path();
    edt_metrics *m = open_metrics(path, 0);
    write_steps(m, 1, 4);
    edt_metrics_close(m);
    m = open_metrics(path, 2);
    write_steps(m, 3, 3);
    edt_metrics_close(m);
    expect_text(path, "{\"step\": 1, \"loss\": 0.5}\n{\"step\": 2, \"loss\": 1}\n"
                      "{\"step\": 3, \"loss\": 1.5}\n");
    edt_metrics_close(open_metrics(path, -1));
    expect_text(path, "");
}

Test(metrics, a_torn_line_and_later_steps_go_wherever_they_stand, .timeout = 10)
{
    // An evaluation of step 2 in another process wrote behind step 3.
    static const char text[] = "{\"step\": 1, \"loss\": 1}\n{\"step\": 3, \"loss\": 2}\n"
                               "{\"step\": 2, \"AP\": 0.25}\n{\"step\": 2, \"lo";
    const char *path = fresh_path();
    edt_error err = {0};
    cr_assert_eq(edt_file_write(path, text, strlen(text), &err), EDT_OK, "%s", err.text);
    edt_metrics_close(open_metrics(path, 2));
    expect_text(path, "{\"step\": 1, \"loss\": 1}\n{\"step\": 2, \"AP\": 0.25}\n");
}

Test(metrics, a_path_that_cannot_be_opened_is_named, .timeout = 10)
{
    edt_error err = {0};
    edt_metrics *m = NULL;
    cr_expect_eq(edt_metrics_open("/nonexistent/metrics.jsonl", 0, &err, &m), EDT_ERR_IO);
    cr_expect_not_null(strstr(err.text, "/nonexistent/metrics.jsonl"), "%s", err.text);
}

Test(metrics, a_step_is_found_by_its_first_value, .timeout = 10)
{
    const char *path = fresh_path();
    edt_error err = {0};
    bool has = true;
    cr_assert_eq(edt_metrics_has(path, 1, "loss", &err, &has), EDT_OK, "%s", err.text);
    cr_expect_not(has, "without a file");
    edt_metrics *m = open_metrics(path, 0);
    write_steps(m, 1, 12);
    const edt_metric row = {"AP", 0.5};
    cr_assert_eq(edt_metrics_write(m, 12, &row, 1, &err), EDT_OK, "%s", err.text);
    edt_metrics_close(m);
    const struct {
        int64_t step;
        const char *name;
        bool want;
    } cases[] = {{12, "AP", true}, {1, "AP", false}, {1, "loss", true}, {2, "los", false}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
        cr_assert_eq(edt_metrics_has(path, cases[i].step, cases[i].name, &err, &has), EDT_OK);
        cr_expect_eq(has, cases[i].want, "case %zu", i);
    }
}

Test(metrics, the_best_evaluation_and_how_many_came_after_it, .timeout = 10)
{
    static const struct {
        int64_t step;
        const char *name;
        double value;
    } lines[] = {
        {2, "AP", 0.25}, {3, "loss", 9.0},  {4, "AP", 0.5},
        {4, "AP", 0.75}, {6, "AP", 0.5},    {8, "AP", -1.0},
        {9, "APs", 0.9}, {10, "AP", 0.125}, {12, "AP", (double)NAN},
    };
    const char *path = fresh_path();
    edt_metrics_best best;
    edt_error err = {0};
    (void)remove(path);
    cr_assert_eq(edt_metrics_find_best(path, "AP", &err, &best), EDT_OK);
    cr_expect_eq(best.n, 0);
    edt_metrics *m = open_metrics(path, INT64_MAX);
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; ++i) {
        const edt_metric rows[2] = {{lines[i].name, lines[i].value}, {"more", 1.0}};
        cr_assert_eq(edt_metrics_write(m, lines[i].step, rows, 2, &err), EDT_OK);
    }
    cr_assert_eq(edt_metrics_find_best(path, "AP", &err, &best), EDT_OK, "%s", err.text);
    edt_metrics_close(m);
    // A second line of step 4, step 8 without a meaning and step 12 do not count.
    cr_expect_eq(best.n, 4);
    cr_expect_eq(best.step, 4);
    cr_expect_eq(best.value, 0.5);
    cr_expect_eq(best.n_since, 2);
}
