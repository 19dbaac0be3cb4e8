#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/path.h"
#include "model/io/tf_bundle.h"
#include "model/io/tf_bundle_entry.h"
#include "model/io/tf_table.h"
#include "tests/support/test_dirs.h"

static edt_tf_bundle *open_bundle(const char *prefix)
{
    edt_tf_bundle *bundle = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_open(prefix, &err, &bundle), EDT_OK, "%s", err.text);
    return bundle;
}

typedef struct summary {
    double sum, abs_sum, first, last;
} summary;

static double element(const edt_tf_entry *entry, const uint8_t *bytes, int64_t i)
{
    if (entry->dtype == EDT_DTYPE_I64) {
        int64_t v;
        memcpy(&v, bytes + 8 * i, 8);
        return (double)v;
    }
    float v;
    memcpy(&v, bytes + 4 * i, 4);
    return (double)v;
}

static summary summarize(const edt_tf_bundle *bundle, int i_entry)
{
    const edt_tf_entry *entry = edt_tf_bundle_entry(bundle, i_entry);
    edt_span bytes = {0};
    edt_error err = {0};
    cr_assert(entry->dtype == EDT_DTYPE_F32 || entry->dtype == EDT_DTYPE_I64);
    cr_assert_eq(edt_tf_bundle_view(bundle, i_entry, &err, &bytes), EDT_OK, "%s", err.text);
    const int64_t n = edt_shape_count(&entry->shape);
    summary s = {0};
    for (int64_t i = 0; i < n; ++i) {
        const double v = element(entry, bytes.data, i);
        s.sum += v;
        s.abs_sum += fabs(v);
    }
    s.first = element(entry, bytes.data, 0);
    s.last = element(entry, bytes.data, n - 1);
    return s;
}

static void expect(const char *name, const char *what, double have, double want, double abs_sum,
                   double tolerance)
{
    cr_assert(fabs(have - want) <= tolerance * (fabs(abs_sum) + 1e-30),
              "%s: %s is %.12g, want %.12g", name, what, have, want);
}

// Rows name, shape, dtype, count, sum, abs_sum, first, last.
static void compare_row(const edt_tf_bundle *bundle, int i_entry, char *const *field)
{
    const edt_tf_entry *entry = edt_tf_bundle_entry(bundle, i_entry);
    char shape[128] = "";
    for (int d = 0; d < entry->shape.n_dims; ++d) {
        const size_t used = strlen(shape);
        (void)snprintf(shape + used, sizeof shape - used, "%s%lld", d ? "," : "",
                       (long long)entry->shape.dim[d]);
    }
    char want_shape[128]; // "scalar" or "3x3x64x1"
    size_t n = 0;
    for (const char *p = strcmp(field[1], "scalar") == 0 ? "" : field[1];
         *p != '\0' && n + 1 < sizeof want_shape; ++p) {
        want_shape[n++] = *p == 'x' ? ',' : *p;
    }
    want_shape[n] = '\0';
    cr_assert_str_eq(shape, want_shape, "%s: shape %s, want %s", field[0], shape, field[1]);
    cr_assert_eq(edt_shape_count(&entry->shape), atoll(field[3]), "%s", field[0]);
    const summary s = summarize(bundle, i_entry);
    const double abs_sum = atof(field[5]);
    expect(field[0], "sum", s.sum, atof(field[4]), abs_sum, 1e-11);
    expect(field[0], "abs_sum", s.abs_sum, abs_sum, abs_sum, 1e-11);
    expect(field[0], "first", s.first, atof(field[6]), s.first, 1e-8);
    expect(field[0], "last", s.last, atof(field[7]), s.last, 1e-8);
}

static int split(char *line, char **field, int max)
{
    int n = 0;
    line[strcspn(line, "\n")] = '\0';
    for (char *p = line; n < max;) {
        field[n++] = p;
        p = strchr(p, '\t');
        if (p == NULL) {
            break;
        }
        *p++ = '\0';
    }
    return n;
}

Test(tf_bundle_golden, every_value_of_the_d0_checkpoint, .timeout = 60)
{
    const char *table =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0.values.tsv");
    EDT_TEST_NEEDS_FILE(table);
    edt_tf_bundle *bundle =
        open_bundle(edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model"));
    cr_assert(!edt_tf_bundle_is_object_based(bundle));
    FILE *file = fopen(table, "r");
    char line[1024];
    cr_assert_not_null(fgets(line, sizeof line, file));
    int n_rows = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *field[8];
        cr_assert_eq(split(line, field, 8), 8);
        const int i = edt_tf_bundle_find(bundle, field[0]);
        cr_assert_geq(i, 0, "%s is missing", field[0]);
        compare_row(bundle, i, field);
        ++n_rows;
    }
    (void)fclose(file);
    cr_assert_eq(n_rows, edt_tf_bundle_count(bundle));
    int64_t step = 0;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_read(bundle, edt_tf_bundle_find(bundle, "global_step"), &step,
                                    sizeof step, &err),
                 EDT_OK);
    cr_assert_eq(step, 270000);
    edt_tf_bundle_close(bundle);
}

Test(tf_bundle_golden, object_based_container, .timeout = 60)
{
    const char *keys =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0-tf2.keys.tsv");
    EDT_TEST_NEEDS_FILE(keys);
    edt_tf_bundle *bundle = open_bundle(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-lite0-tf2/emackpt-1"));
    cr_assert(edt_tf_bundle_is_object_based(bundle));
    FILE *file = fopen(keys, "r");
    char line[2048];
    cr_assert_not_null(fgets(line, sizeof line, file));
    int n_rows = 0;
    while (fgets(line, sizeof line, file) != NULL) {
        char *field[2];
        cr_assert_eq(split(line, field, 2), 2);
        const int i = edt_tf_bundle_find(bundle, field[0]);
        cr_assert_geq(i, 0, "%s is missing", field[0]);
        (void)summarize(bundle, i);
        ++n_rows;
    }
    (void)fclose(file);
    cr_assert_eq(n_rows + 1, edt_tf_bundle_count(bundle));

    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    const edt_text *texts = NULL;
    int64_t n = 0;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_read_strings(
                     bundle, edt_tf_bundle_find(bundle, "_CHECKPOINTABLE_OBJECT_GRAPH"), &arena,
                     &err, &texts, &n),
                 EDT_OK, "%s", err.text);
    cr_assert_eq(n, 1);
    cr_assert_not_null(memmem(texts[0].data, texts[0].n_bytes, "VARIABLE_VALUE", 14));
    edt_arena_deinit(&arena);
    edt_tf_bundle_close(bundle);
}

typedef struct copy {
    edt_tf_table_writer *writer;
    int n;
} copy;

// Parses and packs every message on the way, so that both layers must reproduce TensorFlow's
// bytes.
static edt_status copy_entry(void *ctx, edt_span key, edt_span value, edt_error *err)
{
    copy *c = ctx;
    ++c->n;
    edt_tf_bytes message = {0};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_TEXT, 0);
    if (key.n_bytes == 0) {
        edt_tf_header header = {0};
        cr_assert_eq(edt_tf_header_parse(value, "golden", err, &header), EDT_OK);
        cr_assert_eq(edt_tf_header_pack(&header, &message, err), EDT_OK);
    } else {
        edt_tf_entry entry = {0};
        cr_assert_eq(edt_tf_entry_parse(key, value, "golden", &arena, err, &entry), EDT_OK);
        cr_assert_eq(edt_tf_entry_pack(&entry, &message, err), EDT_OK);
    }
    const edt_status status =
        edt_tf_table_writer_add(c->writer, key, (edt_span){message.data, message.n_bytes}, err);
    edt_tf_bytes_deinit(&message);
    edt_arena_deinit(&arena);
    return status;
}

static void rewrite_index(const char *path)
{
    edt_mapped_file file = {0};
    edt_error err = {0};
    cr_assert_eq(edt_mapped_file_open(path, &err, &file), EDT_OK, "%s", err.text);
    copy c = {0};
    cr_assert_eq(edt_tf_table_writer_create(0, &err, &c.writer), EDT_OK);
    cr_assert_eq(edt_tf_table_scan(file.span, path, copy_entry, &c, &err), EDT_OK, "%s",
                 err.text);
    edt_span out = {0};
    cr_assert_eq(edt_tf_table_writer_finish(c.writer, &err, &out), EDT_OK);
    cr_assert_eq(out.n_bytes, file.span.n_bytes, "%s", path);
    cr_assert_eq(memcmp(out.data, file.span.data, out.n_bytes), 0, "%s", path);
    cr_assert_gt(c.n, 500);
    edt_tf_table_writer_destroy(c.writer);
    edt_mapped_file_close(&file);
}

Test(tf_bundle_golden, rewritten_indexes_equal_tensorflows_bytes, .timeout = 60)
{
    const char *d0 =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index");
    EDT_TEST_NEEDS_FILE(d0);
    rewrite_index(d0);
    rewrite_index(edt_test_path(edt_test_golden_dir(),
                                "model/ckpt/efficientdet-lite0-tf2/emackpt-1.index"));
}

Test(tf_bundle_golden, written_checkpoint_reads_back_tensor_for_tensor, .timeout = 60)
{
    const char *prefix =
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model");
    EDT_TEST_NEEDS_FILE(
        edt_test_path(edt_test_golden_dir(), "model/ckpt/efficientdet-d0/model.index"));
    edt_tf_bundle *in = open_bundle(prefix);
    const char *out_prefix = edt_test_path(edt_test_temp_dir(), "model.ckpt-7");
    edt_tf_bundle_writer *writer = NULL;
    edt_error err = {0};
    cr_assert_eq(edt_tf_bundle_writer_create(out_prefix, &err, &writer), EDT_OK, "%s",
                 err.text);
    for (int i = edt_tf_bundle_count(in) - 1; i >= 0; --i) { // any order
        const edt_tf_entry *e = edt_tf_bundle_entry(in, i);
        edt_span bytes = {0};
        cr_assert_eq(edt_tf_bundle_view(in, i, &err, &bytes), EDT_OK);
        const edt_tensor_desc desc = {e->dtype, e->shape};
        cr_assert_eq(edt_tf_bundle_writer_add(writer, e->name, &desc, bytes.data, &err),
                     EDT_OK);
    }
    cr_assert_eq(edt_tf_bundle_writer_commit(writer, &err), EDT_OK, "%s", err.text);
    edt_tf_bundle_writer_destroy(writer);
    edt_tf_bundle *back = open_bundle(out_prefix);
    cr_assert_eq(edt_tf_bundle_count(back), edt_tf_bundle_count(in));
    for (int i = 0; i < edt_tf_bundle_count(in); ++i) {
        const edt_tf_entry *a = edt_tf_bundle_entry(in, i), *b = edt_tf_bundle_entry(back, i);
        edt_span x = {0}, y = {0};
        cr_assert_str_eq(a->name, b->name);
        cr_assert(a->dtype == b->dtype && edt_shape_equal(&a->shape, &b->shape));
        cr_assert_eq(edt_tf_bundle_view(in, i, &err, &x), EDT_OK);
        cr_assert_eq(edt_tf_bundle_view(back, i, &err, &y), EDT_OK, "%s", err.text);
        cr_assert(x.n_bytes == y.n_bytes && memcmp(x.data, y.data, x.n_bytes) == 0, "%s",
                  a->name);
    }
    edt_tf_bundle_close(back);
    edt_tf_bundle_close(in);
}

Test(tf_bundle_golden, trained_lite0_weights_have_their_averages, .timeout = 60)
{
    const char *index = edt_test_path(edt_test_weights_dir(), "efficientdet-lite0/model.index");
    EDT_TEST_NEEDS_FILE(index);
    edt_tf_bundle *bundle =
        open_bundle(edt_test_path(edt_test_weights_dir(), "efficientdet-lite0/model"));
    int n_averages = 0;
    for (int i = 0; i < edt_tf_bundle_count(bundle); ++i) {
        n_averages +=
            strstr(edt_tf_bundle_entry(bundle, i)->name, "/ExponentialMovingAverage") != NULL;
        (void)summarize(bundle, i);
    }
    cr_assert_eq(n_averages, 588);
    edt_tf_bundle_close(bundle);
}
