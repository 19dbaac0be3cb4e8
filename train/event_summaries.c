// See event_summaries.h. Rows of metrics.jsonl have one name; this table says what the
// reference calls them.
#include "train/event_summaries.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "core/path.h"
#include "core/strbuf.h"
#include "core/utf8.h"
#include "dataio/draw.h"

enum { MAX_ROWS = 96, MAX_SESSION = 192 };

struct edt_summaries {
    const edt_hparams *hp;
    edt_summaries_options options;
    bool tf2;
    edt_arena arena;
    edt_event_file *files[EDT_SUMMARY_N_KINDS]; // several kinds may share one
    bool has_begun[EDT_SUMMARY_N_KINDS];        // the file's first words are written
    int64_t n_epochs;                           // whole ones that were summed up (tf2)
};

static const struct {
    const char *name;
    const char *tf1;       // tag under tf1; NULL: the name
    const char *tf1_again; // one more
    const char *tf2;       // tag per step under tf2; NULL: the name
    const char *tf2_epoch; // tag per epoch
} tags[] = {
    {"epoch", "train_epochs", NULL, NULL, NULL},
    {"loss", "trainloss/loss", "loss", "batch_loss", "epoch_loss"},
    {"det_loss", "trainloss/det_loss", NULL, "batch_det_loss", "epoch_det_loss"},
    {"cls_loss", "trainloss/cls_loss", NULL, "batch_cls_loss", "epoch_cls_loss"},
    {"box_loss", "trainloss/box_loss", NULL, "batch_box_loss", "epoch_box_loss"},
    {"box_iou_loss", "trainloss/box_iou_loss", NULL, "batch_box_iou_loss",
     "epoch_box_iou_loss"},
    {"seg_loss", "trainloss/seg_loss", NULL, "batch_seg_loss", "epoch_seg_loss"},
    {"reg_l2_loss", "trainloss/reg_l2_loss", NULL, "batch_reg_l2_loss", "epoch_reg_l2_loss"},
    {"learning_rate", "lrn_rate", NULL, "batch_learning_rate", "epoch_learning_rate"},
    {"gradient_norm", NULL, NULL, "batch_gradient_norm", "epoch_gradient_norm"},
};
enum { N_TAGS = sizeof tags / sizeof tags[0] };

static int find_tag(const char *name)
{
    for (int i = 0; i < N_TAGS; ++i) {
        if (strcmp(tags[i].name, name) == 0) {
            return i;
        }
    }
    return -1;
}

static const char *directory(edt_summaries *s, edt_summary_kind kind)
{
    static const char *const tf2_names[] = {"train", "coco", "train_images", "test_images",
                                            "validation"};
    const char *model_dir = s->options.model_dir;
    const char *eval_name = s->options.eval_name;
    if (kind == EDT_SUMMARY_EVAL && (!s->tf2 || s->options.waits)) {
        const bool named = eval_name != NULL && eval_name[0] != '\0';
        const char *name = named ? edt_arena_printf(&s->arena, "eval_%s", eval_name) : "eval";
        return name != NULL ? edt_path_join(&s->arena, model_dir, name) : NULL;
    }
    return s->tf2 ? edt_path_join(&s->arena, model_dir, tf2_names[kind]) : model_dir;
}

edt_status edt_summaries_create(const edt_hparams *hp, const edt_summaries_options *options,
                                edt_error *err, edt_summaries **out_summaries)
{
    edt_status status = EDT_OK;
    edt_summaries *s = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *s);
    if (s == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for event files");
    }
    edt_arena_init(&s->arena, EDT_MEM_ARENA, 0);
    s->hp = hp;
    s->options = *options;
    s->tf2 = strcmp(hp->semantics, "tf2") == 0;
    if (options->resumed_step > 0 && options->steps_per_epoch > 0.0) {
        s->n_epochs = (int64_t)((double)options->resumed_step / options->steps_per_epoch);
    }
    for (int kind = 0; kind < EDT_SUMMARY_N_KINDS; ++kind) {
        if (kind != EDT_SUMMARY_EVAL && kind != EDT_SUMMARY_TRAIN && !s->tf2) {
            s->files[kind] = s->files[EDT_SUMMARY_TRAIN];
            continue;
        }
        const char *dir = directory(s, (edt_summary_kind)kind);
        if (dir == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for event files");
            goto fail;
        }
        EDT_TRY_GOTO(edt_event_file_create(dir, err, &s->files[kind]));
    }
    *out_summaries = s;
    return EDT_OK;
fail:
    edt_summaries_destroy(s, false);
    return status;
}

void edt_summaries_destroy(edt_summaries *s, bool succeeded)
{
    if (s == NULL) {
        return;
    }
    if (s->has_begun[EDT_SUMMARY_TRAIN]) {
        edt_event_file_session_end(s->files[EDT_SUMMARY_TRAIN], succeeded);
    }
    for (int kind = 0; kind < EDT_SUMMARY_N_KINDS; ++kind) {
        if (kind == EDT_SUMMARY_TRAIN || s->files[kind] != s->files[EDT_SUMMARY_TRAIN]) {
            edt_event_file_destroy(s->files[kind]);
        }
    }
    edt_arena_deinit(&s->arena);
    edt_mem_free(s);
}

// One line "key: value" of the table's YAML as a setting; false for parts of lists and for
// nothing.
static bool parse_setting(char *line, edt_event_hparam *out)
{
    char *colon = strstr(line, ": ");
    if (line[0] == ' ' || line[0] == '-' || colon == NULL || colon[2] == '\0') {
        return false;
    }
    *colon = '\0';
    char *value = colon + 2;
    char *end;
    *out = (edt_event_hparam){.name = line};
    const size_t n = strlen(value);
    if (strcmp(value, "true") == 0 || strcmp(value, "false") == 0) {
        out->is_flag = true;
        out->number = value[0] == 't' ? 1.0 : 0.0;
        return true;
    }
    out->number = strtod(value, &end);
    if (*end == '\0' && isfinite(out->number)) {
        return true;
    }
    if (n >= 2 && value[0] == value[n - 1] && (value[0] == '\'' || value[0] == '"')) {
        value[n - 1] = '\0';
        ++value;
    }
    out->text = value;
    return true;
}

// Names of files may be any bytes; protobuf's readers refuse what is not UTF-8.
static void make_utf8(char *text)
{
    for (size_t n = strlen(text); n > 0;) {
        uint32_t code;
        const size_t n_char = edt_utf8_decode(text, n, &code);
        if (n_char == 0) {
            *text = '?';
        }
        text += n_char > 0 ? n_char : 1;
        n -= n_char > 0 ? n_char : 1;
    }
}

// The settings: as columns of the table of the hparams dashboard, and word for word.
static void write_settings(edt_summaries *s)
{
    edt_event_file *file = s->files[EDT_SUMMARY_TRAIN];
    edt_error err;
    const char *yaml;
    edt_strbuf text = {0};
    if (edt_hparams_to_yaml(s->hp, &s->arena, &err, &yaml) != EDT_OK) {
        EDT_WARN("the settings are not in TensorBoard: %s", err.text);
        return;
    }
    char *lines = edt_arena_strdup(&s->arena, yaml);
    if (lines == NULL) {
        return;
    }
    make_utf8(lines);
    for (const char *at = lines; *at != '\0';) {
        const size_t n_line = strcspn(at, "\n");
        edt_strbuf_puts(&text, "    "); // a block of code
        edt_strbuf_append(&text, at, n_line);
        edt_strbuf_puts(&text, "\n");
        at += n_line + (at[n_line] == '\n');
    }
    edt_event_hparam settings[MAX_SESSION];
    int n = 0;
    char *rest = NULL;
    for (char *line = strtok_r(lines, "\n", &rest); line != NULL && n < MAX_SESSION - 1;
         line = strtok_r(NULL, "\n", &rest)) {
        n += parse_setting(line, &settings[n]) ? 1 : 0;
    }
    settings[n++] =
        (edt_event_hparam){.name = "train_batch_size", .number = (double)s->options.batch_size};
    edt_event_file_session(file, settings, n);
    if (!text.failed) {
        edt_event_file_text(file, 0, "config.yaml", text.text);
    }
    edt_strbuf_deinit(&text);
}

// What step a number of training steps is in files of a kind: evaluations under tf2 count
// epochs, a last one that is but a part as the one it is of.
static int64_t step_of_kind(const edt_summaries *s, edt_summary_kind kind, int64_t step)
{
    const bool in_epochs = (kind == EDT_SUMMARY_EVAL || kind == EDT_SUMMARY_VALIDATION) &&
                           s->tf2 && !s->options.waits && s->options.steps_per_epoch > 0.0;
    if (!in_epochs) {
        return step;
    }
    const int64_t n_epochs = (int64_t)ceil((double)step / s->options.steps_per_epoch);
    return kind == EDT_SUMMARY_EVAL ? n_epochs : n_epochs - 1; // Keras counts from 0
}

edt_event_file *edt_summaries_file(edt_summaries *s, edt_summary_kind kind)
{
    edt_event_file *file = s->files[kind];
    if (file == s->files[EDT_SUMMARY_TRAIN]) {
        kind = EDT_SUMMARY_TRAIN;
    }
    if (!s->has_begun[kind]) {
        s->has_begun[kind] = true;
        if (s->options.resumed_step >= 0) {
            edt_event_file_restart(file, step_of_kind(s, kind, s->options.resumed_step) + 1);
        }
        if (kind == EDT_SUMMARY_TRAIN) {
            write_settings(s);
        }
    }
    return file;
}

// Values of the last step before, at the end of each epoch: Keras' scalars, whose step is the
// epoch from 0 on.
static void write_epoch(edt_summaries *s, int64_t step, const edt_metric *rows, int n_rows)
{
    edt_event_scalar scalars[MAX_ROWS];
    int n = 0;
    const double per_epoch = s->options.steps_per_epoch;
    const int64_t n_epochs = per_epoch > 0.0 ? (int64_t)((double)step / per_epoch) : 0;
    if (n_epochs <= s->n_epochs) {
        return;
    }
    s->n_epochs = n_epochs;
    for (int i = 0; i < n_rows && n < MAX_ROWS; ++i) {
        const int tag = find_tag(rows[i].name);
        if (tag >= 0 && tags[tag].tf2_epoch != NULL) {
            scalars[n++] = (edt_event_scalar){tags[tag].tf2_epoch, rows[i].value};
        }
    }
    edt_event_file_scalars(s->files[EDT_SUMMARY_TRAIN], n_epochs - 1, scalars, n);
}

void edt_summaries_train(edt_summaries *s, int64_t step, const edt_metric *rows, int n_rows)
{
    edt_event_file *file = edt_summaries_file(s, EDT_SUMMARY_TRAIN);
    edt_event_scalar scalars[MAX_ROWS];
    int n = 0;
    for (int i = 0; i < n_rows && n < MAX_ROWS - 2; ++i) {
        const int tag = find_tag(rows[i].name);
        const char *name = tag < 0 ? NULL : s->tf2 ? tags[tag].tf2 : tags[tag].tf1;
        scalars[n++] = (edt_event_scalar){name != NULL ? name : rows[i].name, rows[i].value};
        if (tag >= 0 && !s->tf2 && tags[tag].tf1_again != NULL) {
            scalars[n++] = (edt_event_scalar){tags[tag].tf1_again, rows[i].value};
        }
        if (!s->tf2 && strcmp(rows[i].name, "images_per_second") == 0) {
            scalars[n++] = (edt_event_scalar){"global_step/sec",
                                              rows[i].value / (double)s->options.batch_size};
        }
    }
    edt_event_file_scalars(file, step, scalars, n);
    if (s->tf2) {
        write_epoch(s, step, rows, n_rows);
    }
}

// AP of one category of the result as pycocotools shapes its numbers.
static void write_classes(edt_event_file *file, int64_t step, const edt_coco_result *result)
{
    int64_t n_categories;
    const edt_coco_category *categories = edt_coco_result_categories(result, &n_categories);
    edt_strbuf tag = {0};
    for (int64_t i = 0; i < n_categories; ++i) {
        double stats[EDT_COCO_N_STATS];
        edt_coco_result_category_stats(result, i, stats);
        edt_strbuf_clear(&tag);
        if (categories[i].name != NULL && categories[i].name[0] != '\0') {
            char name[EDT_DRAW_TEXT_BYTES]; // valid UTF-8, as tags must be
            edt_draw_clean_text(categories[i].name, name);
            edt_strbuf_printf(&tag, "AP_/%s", name);
        } else {
            edt_strbuf_printf(&tag, "AP_/%lld", (long long)categories[i].id);
        }
        if (!tag.failed) {
            edt_event_file_scalars(file, step, &(edt_event_scalar){tag.text, stats[0]}, 1);
        }
    }
    edt_strbuf_deinit(&tag);
}

// The name of a loss of an evaluation without "val_"; NULL: it is none.
static const char *loss_name(const edt_metric *row)
{
    return strncmp(row->name, "val_", 4) == 0 ? row->name + 4 : NULL;
}

// As Keras has them: scalars per epoch beside those of training.
static void write_validation(edt_summaries *s, int64_t step, const edt_metric *rows, int n_rows)
{
    edt_event_scalar scalars[MAX_ROWS];
    int n = 0;
    for (int i = 0; i < n_rows && n < MAX_ROWS; ++i) {
        const char *name = loss_name(&rows[i]);
        const int tag = name != NULL ? find_tag(name) : -1;
        if (tag >= 0) {
            scalars[n++] = (edt_event_scalar){tags[tag].tf2_epoch, rows[i].value};
        }
    }
    if (n > 0) {
        edt_event_file_scalars(edt_summaries_file(s, EDT_SUMMARY_VALIDATION),
                               step_of_kind(s, EDT_SUMMARY_VALIDATION, step), scalars, n);
    }
}

void edt_summaries_eval(edt_summaries *s, int64_t step, const edt_metric *rows, int n_rows,
                        const edt_coco_result *result)
{
    edt_event_file *file = edt_summaries_file(s, EDT_SUMMARY_EVAL);
    edt_event_scalar scalars[MAX_ROWS];
    int n = 0;
    const int64_t at = step_of_kind(s, EDT_SUMMARY_EVAL, step);
    const bool apart = s->tf2 && !s->options.waits;
    for (int i = 0; i < n_rows && n < MAX_ROWS; ++i) {
        const char *loss = loss_name(&rows[i]);
        if (loss == NULL || !apart) {
            scalars[n++] =
                (edt_event_scalar){loss != NULL ? loss : rows[i].name, rows[i].value};
        }
    }
    edt_event_file_scalars(file, at, scalars, n);
    if (apart) {
        write_validation(s, step, rows, n_rows);
    }
    if (result != NULL) {
        write_classes(file, at, result);
    }
}
