// The whole training path against the reference: targets, losses, gradients and three optimizer
// steps of every train/ file, in both semantics, in double on `ref` and in f32 on `cpu`.
// Tolerances: golden/model/README.md 3. One file, because every stage starts from the state
// that the one before it left.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/assign.h"
#include "tests/support/golden_model.h"
#include "tests/support/test_dirs.h"
#include "train/optimizer.h"
#include "train/schedule.h"

#define OK(expr) cr_assert_eq((expr), EDT_OK, "%s", err.text)

enum { MAX_VARIABLES = 4096, N_STEPS = 3 };

// Row of *.variables.tsv.
typedef struct variable {
    int64_t start, n; // probes
    int i_param;
    bool updated;
    double grad_norm, grad_max, float32_error;
} variable;

typedef struct run {
    int n_files; // of the kind, counted
    const golden_file *file;
    bool exact; // computed in double
    const char *backend;
    const char *only; // part of the file's name; NULL: all files
    golden_net net;
    int n_params;
    bool *frozen;
    edt_optimizer *optimizer;
    edt_schedule schedule;
    int n_variables;
    variable *variables;
    double *slack; // by variable: see measure_slack
    double weight_decay;
    double raw_norm;
} run;

static const char *metadata(const run *r, const char *key)
{
    const char *text = golden_metadata(r->file, key);
    cr_assert_not_null(text, "metadata '%s' is missing", key);
    return text;
}

static double number(const char *json, const char *key)
{
    double value = NAN;
    cr_assert(golden_json_number(json, key, 0, &value), "'%s' is missing", key);
    return value;
}

// Every "key": value of the flat hparams object that is a hyper-parameter of ours too.
static void apply_hparams(const char *json, edt_hparams *hp)
{
    edt_error err = {0};
    for (const char *at = strchr(json, '"'); at != NULL; at = strchr(at, '"')) {
        char key[64];
        char value[256];
        snprintf(key, sizeof key, "%.*s", (int)strcspn(at + 1, "\""), at + 1);
        at = strchr(at + 1, ':') + 2;
        const bool text = *at == '"';
        at += text;
        const size_t n_value = strcspn(at, text ? "\"" : ",}");
        snprintf(value, sizeof value, "%.*s", (int)n_value, at);
        at += n_value + text;
        if (strcmp(value, "null") != 0 && strcmp(key, "batch_size") != 0 &&
            strcmp(key, "steps_per_epoch") != 0) {
            OK(edt_hparams_set(hp, key, value, &err));
        }
    }
}

static void read_variable(void *user, int n_fields, char **fields)
{
    run *r = user;
    cr_assert_geq(n_fields, 8);
    cr_assert_lt(r->n_variables, MAX_VARIABLES);
    const int i_param = edt_params_find(r->net.params, fields[2]);
    cr_assert_geq(i_param, 0, "%s", fields[2]);
    r->variables[r->n_variables++] = (variable){
        .start = atoll(fields[0]),
        .n = atoll(fields[1]),
        .i_param = i_param,
        .updated = fields[4][0] == '1',
        .grad_norm = atof(fields[5]),
        .grad_max = atof(fields[6]),
        .float32_error = atof(fields[7]),
    };
}

// Frozen variables by the file's expression; the graph that lists them is thrown away.
static void select_frozen(run *r, const edt_hparams *hp)
{
    edt_error err = {0};
    const edt_model_options options = {.real = EDT_DTYPE_F32, .batch_size = 1};
    edt_model *model = edt_test_model(hp, &options);
    const int n = model->graph->n_params;
    r->n_params = n;
    const char **names = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *names);
    bool *trainable = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *trainable);
    r->frozen = edt_mem_calloc(EDT_MEM_MISC, (size_t)n, sizeof *r->frozen);
    for (int i = 0; i < n; i++) {
        names[i] = model->graph->params[i].name;
        trainable[i] = model->graph->params[i].trainable;
    }
    OK(edt_freeze_select(hp->var_freeze_expr, n, names, trainable, &err, r->frozen));
    edt_mem_free(names);
    edt_mem_free(trainable);
    edt_model_destroy(model);
}

static void set_input(run *r, const char *name, const void *data, size_t n_bytes)
{
    edt_error err = {0};
    OK(edt_exec_set_input(r->net.exec, edt_graph_find_input(r->net.model->graph, name), data,
                          n_bytes, &err));
}

static void set_reals(run *r, const char *name, const float *values, int64_t n)
{
    if (r->net.options.real == EDT_DTYPE_F32) {
        set_input(r, name, values, (size_t)n * sizeof *values);
        return;
    }
    double *wide = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *wide);
    for (int64_t i = 0; i < n; i++) {
        wide[i] = values[i];
    }
    set_input(r, name, wide, (size_t)n * sizeof *wide);
    edt_mem_free(wide);
}

// gt_<i> -> assignment -> the graph's target inputs, the box targets' sizes moved by `shift`.
static void set_targets(run *r, float shift)
{
    edt_error err = {0};
    edt_anchors *anchors = NULL;
    edt_assigner *assigner = NULL;
    OK(edt_anchors_create(&r->net.hp, &err, &anchors));
    OK(edt_assigner_create(anchors, false, &err, &assigner));
    const int64_t n_images = r->net.options.batch_size;
    const int64_t t = r->net.model->n_anchors;
    cr_assert_eq(anchors->n, t);
    int32_t *cls = edt_mem_alloc(EDT_MEM_MISC, (size_t)(n_images * t) * sizeof *cls);
    float *box = edt_mem_alloc(EDT_MEM_MISC, (size_t)(n_images * t * 4) * sizeof *box);
    const golden_tensor *positives = golden_find(r->file, "num_positives");
    float norm = 1;
    for (int64_t i = 0; i < n_images; i++) {
        char name[32];
        snprintf(name, sizeof name, "gt_%lld", (long long)i);
        const golden_tensor *gt = golden_find(r->file, name);
        cr_assert_not_null(gt, "%s", name);
        float boxes[4 * 128];
        int64_t labels[128];
        const int64_t n_boxes = gt->shape.dim[0];
        cr_assert_leq(n_boxes, 128);
        for (int64_t k = 0; k < n_boxes; k++) {
            memcpy(boxes + 4 * k, (const float *)gt->data + 5 * k, 4 * sizeof(float));
            labels[k] = (int64_t)((const float *)gt->data)[5 * k + 4];
        }
        float n_positives = 0;
        OK(edt_assign(assigner, boxes, labels, n_boxes, cls + i * t, box + i * t * 4,
                      &n_positives, &err));
        cr_expect_eq(n_positives, ((const float *)positives->data)[i], "positives of %s", name);
        norm += n_positives;
    }
    for (int64_t i = 0; i < n_images * t * 4; i++) {
        if (i % 4 >= 2 && box[i] != 0) {
            box[i] += i * 7919 / 4 % 2 == 0 ? shift : -shift;
        }
    }
    set_input(r, "cls_targets", cls, (size_t)(n_images * t) * sizeof *cls);
    set_reals(r, "box_targets", box, n_images * t * 4);
    set_reals(r, "norm", &norm, 1);
    if (r->net.hp.iou_loss_type != NULL) {
        set_reals(r, "anchors", anchors->boxes, t * 4);
    }
    edt_mem_free(cls);
    edt_mem_free(box);
    edt_assigner_destroy(assigner);
    edt_anchors_destroy(anchors);
}

static void run_create(run *r)
{
    edt_error err = {0};
    const char *json = metadata(r, "hparams");
    edt_hparams hp;
    golden_net_hparams(r->file, &hp);
    apply_hparams(json, &hp);
    hp.semantics = metadata(r, "semantics");
    select_frozen(r, &hp);
    bool *wants = edt_mem_calloc(EDT_MEM_MISC, MAX_VARIABLES, sizeof *wants);
    for (int i = 0; i < r->n_params; i++) {
        wants[i] = !r->frozen[i];
    }
    const edt_model_options options = {.mode = EDT_MODEL_TRAIN,
                                       .real = r->exact ? EDT_DTYPE_F64 : EDT_DTYPE_F32,
                                       .losses = true,
                                       .wants_grad = wants};
    golden_net_create(r->file, &hp, &options, r->backend, &r->net);
    edt_mem_free(wants);
    const int64_t batch = (int64_t)number(json, "batch_size");
    cr_assert_eq(batch, r->net.options.batch_size);
    OK(edt_schedule_init(&r->schedule, &r->net.hp, batch,
                         batch * (int64_t)number(json, "steps_per_epoch"), &err));
    OK(edt_optimizer_create(r->net.params, &r->net.hp, r->frozen, &err, &r->optimizer));
    OK(edt_params_copy_arena(r->net.params, EDT_PARAMS_EMA, EDT_PARAMS_VALUES, &err));
    set_targets(r, 0);
    r->variables = edt_mem_calloc(EDT_MEM_MISC, MAX_VARIABLES, sizeof *r->variables);
    char path[1024];
    snprintf(path, sizeof path, "%.*s.variables.tsv",
             (int)(strlen(golden_path(r->file)) - strlen(".safetensors")),
             golden_path(r->file));
    edt_test_read_tsv(path, 1, read_variable, r);
    cr_assert_eq(r->n_variables, r->net.params->n_params);
    r->weight_decay = r->net.hp.weight_decay;
    r->raw_norm = atof(metadata(r, "raw_gradient_norm"));
}

static void run_destroy(run *r)
{
    edt_optimizer_destroy(r->optimizer);
    golden_net_destroy(&r->net);
    edt_mem_free(r->frozen);
    edt_mem_free(r->variables);
    edt_mem_free(r->slack);
}

static double *read_param(const run *r, edt_params_arena arena, int i_param)
{
    edt_error err = {0};
    const int64_t n = r->net.params->entries[i_param].n;
    double *values = edt_mem_alloc(EDT_MEM_MISC, (size_t)n * sizeof *values);
    OK(edt_params_get_f64(r->net.params, arena, i_param, values, n, &err));
    return values;
}

// The gradient of the total loss: the optimizer adds the L2 term itself.
static double *read_gradient(const run *r, int i_param)
{
    double *grad = read_param(r, EDT_PARAMS_GRADS, i_param);
    if (r->net.params->entries[i_param].decay) {
        double *values = read_param(r, EDT_PARAMS_VALUES, i_param);
        for (int64_t i = 0; i < r->net.params->entries[i_param].n; i++) {
            grad[i] += r->weight_decay * values[i];
        }
        edt_mem_free(values);
    }
    return grad;
}

static double gradient_tolerance(const run *r, const variable *v)
{
    return r->exact ? 1e-5 * v->grad_max : fmax(5 * v->float32_error, 1e-3 * v->grad_max);
}

// Its exact gradient is zero (a bias before batch norm): what is computed is rounding.
static bool is_noise(const run *r, const variable *v)
{
    return v->grad_norm < 1e-6 * r->raw_norm;
}

// Sizes of box targets are logarithms in f32, known to 5e-7 (the README's row for box targets);
// in double that shows in gradients that are small differences of large sums (some fusion
// weights). The slack of a variable is what such an error of the targets does to its gradient.
static void measure_slack(run *r)
{
    edt_error err = {0};
    r->slack = edt_mem_calloc(EDT_MEM_MISC, MAX_VARIABLES, sizeof *r->slack);
    if (!r->exact) {
        return;
    }
    double **shifted = edt_mem_calloc(EDT_MEM_MISC, MAX_VARIABLES, sizeof *shifted);
    for (int pass = 0; pass < 2; pass++) {
        set_targets(r, pass == 0 ? 5e-7f : 0);
        golden_net_run(&r->net);
        // The averages hold the start; the pass has moved the statistics.
        OK(edt_params_copy_arena(r->net.params, EDT_PARAMS_VALUES, EDT_PARAMS_EMA, &err));
        for (int i = 0; i < r->n_variables; i++) {
            double *grad = read_param(r, EDT_PARAMS_GRADS, r->variables[i].i_param);
            const int64_t n = r->net.params->entries[r->variables[i].i_param].n;
            for (int64_t k = 0; pass == 1 && k < n; k++) {
                r->slack[i] = fmax(r->slack[i], fabs(grad[k] - shifted[i][k]));
            }
            if (pass == 0) {
                shifted[i] = grad;
            } else {
                edt_mem_free(grad);
                edt_mem_free(shifted[i]);
            }
        }
    }
    edt_mem_free(shifted);
}

static void check_gradients(const run *r)
{
    const golden_tensor *idx = golden_find(r->file, "probe_idx");
    const golden_tensor *probe = golden_find(r->file, "probe_grad");
    int n_checked = 0;
    int n_slack = 0;
    for (int i = 0; i < r->n_variables; i++) {
        const variable *v = &r->variables[i];
        const edt_param_entry *entry = &r->net.params->entries[v->i_param];
        cr_expect_eq(v->updated, entry->trainable && !r->frozen[v->i_param], "%s", entry->name);
        if (!v->updated || is_noise(r, v)) {
            continue;
        }
        double *grad = read_gradient(r, v->i_param);
        double allowed = gradient_tolerance(r, v);
        double norm = 0;
        double worst = 0;
        for (int64_t k = 0; k < entry->n; k++) {
            norm += grad[k] * grad[k];
        }
        for (int64_t k = v->start; k < v->start + v->n; k++) {
            const int32_t at = ((const int32_t *)idx->data)[k];
            worst = fmax(worst, fabs(grad[at] - (double)((const float *)probe->data)[k]));
        }
        char full_name[512];
        snprintf(full_name, sizeof full_name, "grad:%s", entry->name);
        const golden_tensor *full = golden_find(r->file, full_name);
        for (int64_t k = 0; full != NULL && k < entry->n; k++) {
            worst = fmax(worst, fabs(grad[k] - (double)((const float *)full->data)[k]));
        }
        double norm_allowed = 1e-5 * v->grad_norm;
        if (worst > allowed && r->slack[i] > 0) {
            n_slack++;
            allowed += r->slack[i];
            norm_allowed += r->slack[i] * sqrt((double)entry->n);
        }
        cr_expect(worst <= allowed, "gradient of %s: difference %.3g, allowed %.3g",
                  entry->name, worst, allowed);
        cr_expect(!r->exact || fabs(sqrt(norm) - v->grad_norm) <= norm_allowed,
                  "gradient norm of %s: %.9g, expected %.9g", entry->name, sqrt(norm),
                  v->grad_norm);
        n_checked++;
        edt_mem_free(grad);
    }
    cr_expect_gt(n_checked, 20);
    cr_expect(n_slack * 100 <= n_checked, "%d of %d variables needed the slack", n_slack,
              n_checked);
}

static double sum_outputs(run *r, const char *prefix)
{
    double sum = 0;
    const edt_graph *graph = r->net.model->graph;
    for (int i = 0; i < graph->n_outputs; i++) {
        if (strncmp(graph->outputs[i].name, prefix, strlen(prefix)) == 0) {
            int64_t n = 0;
            double *loss = golden_net_read(&r->net, graph->outputs[i].value, &n);
            sum += loss[0];
            edt_mem_free(loss);
        }
    }
    return sum;
}

static void check_number(const run *r, const char *key, int k, double got, double relative)
{
    double want = NAN;
    // Not every key occurs in logs[0], which precedes the first step; those count from step 1.
    const bool from_first =
        strcmp(key, "learning_rate") == 0 || strcmp(key, "gradient_norm") == 0;
    cr_assert(golden_json_number(metadata(r, "logs"), key, from_first ? k - 1 : k, &want), "%s",
              key);
    cr_expect(fabs(got - want) <= relative * fabs(want), "step %d: %s is %.12g, expected %.12g",
              k, key, got, want);
}

static void check_losses(run *r, int k, const double *stats, double relative)
{
    const edt_hparams *hp = &r->net.hp;
    const double cls = sum_outputs(r, "cls_loss_");
    const double box = sum_outputs(r, "box_loss_");
    double det = cls + hp->box_loss_weight * box;
    if (hp->iou_loss_type != NULL) {
        const double iou = sum_outputs(r, "iou_loss");
        check_number(r, "box_iou_loss", k, iou, relative);
        det += hp->iou_loss_weight * iou;
    }
    check_number(r, "cls_loss", k, cls, relative);
    check_number(r, "box_loss", k, box, relative);
    check_number(r, "det_loss", k, det, relative);
    check_number(r, "reg_l2_loss", k, stats[EDT_OPTIMIZER_STAT_L2], relative);
    check_number(r, "loss", k, det + stats[EDT_OPTIMIZER_STAT_L2], relative);
    check_number(r, "gradient_norm", k, stats[EDT_OPTIMIZER_STAT_NORM], relative);
}

// probe_<what><k> against an arena, variable by variable. Allowed: `part` of the largest change
// since the start among the variable's probes (slots: of the largest value), and the rounding
// of what is stored in f32. `extra` is an absolute allowance per variable (NULL: none).
static void check_probes(const run *r, const char *what, int k, edt_params_arena arena,
                         bool is_slot, double part, const double *extra)
{
    char name[64];
    snprintf(name, sizeof name, "probe_%s%d", what, k);
    const golden_tensor *probe = golden_find(r->file, name);
    if (probe == NULL) {
        return;
    }
    // The value minus its start, where the file has it, hides no small change behind rounding.
    snprintf(name, sizeof name, "probe_change_%s%d", what, k);
    const golden_tensor *change = golden_find(r->file, name);
    const float *start = golden_find(r->file, "probe_step0")->data;
    const int32_t *idx = golden_find(r->file, "probe_idx")->data;
    const float *want = probe->data;
    int n_checked = 0;
    for (int i = 0; i < r->n_variables; i++) {
        const variable *v = &r->variables[i];
        const edt_param_entry *entry = &r->net.params->entries[v->i_param];
        const bool averaged =
            arena != EDT_PARAMS_EMA || strcmp(r->net.hp.semantics, "tf1") == 0;
        if ((is_slot || !averaged) && !v->updated) {
            continue;
        }
        if (v->updated && is_noise(r, v) && (is_slot || extra == NULL)) {
            continue;
        }
        double largest = 0;
        for (int64_t j = v->start; j < v->start + v->n; j++) {
            const double moved = is_slot          ? want[j]
                                 : change != NULL ? ((const float *)change->data)[j]
                                                  : (double)want[j] - (double)start[j];
            largest = fmax(largest, fabs(moved));
        }
        double *values = read_param(r, arena, v->i_param);
        for (int64_t j = v->start; j < v->start + v->n; j++) {
            double got = values[idx[j]];
            double expected = want[j];
            if (change != NULL) {
                got -= start[j];
                expected = ((const float *)change->data)[j];
            }
            const double allowed = part * largest + 6e-8 * fabs(expected) +
                                   (extra == NULL ? 0 : extra[i] + 6e-8 * fabs(values[idx[j]]));
            cr_expect(fabs(got - expected) <= allowed,
                      "%s%d of %s[%d]: %.9g, expected %.9g, off by %.3g, allowed %.3g", what, k,
                      entry->name, idx[j], got, expected, fabs(got - expected), allowed);
            n_checked++;
        }
        edt_mem_free(values);
    }
    cr_expect_gt(n_checked, 100, "%s%d", what, k);
}

static void check_exact_state(const run *r, int k)
{
    const bool adam = strcmp(r->net.hp.optimizer, "adam") == 0;
    check_probes(r, "step", k, EDT_PARAMS_VALUES, false, 1e-4, NULL);
    check_probes(r, "ema", k, EDT_PARAMS_EMA, false, 1e-4, NULL);
    check_probes(r, adam ? "m" : "momentum", k, EDT_PARAMS_SLOT0, true, 1e-4, NULL);
    if (adam) {
        check_probes(r, "v", k, EDT_PARAMS_SLOT1, true, 1e-4, NULL);
    }
}

// f32, step 1: learning rate x gradient tolerance x clip factor; moving statistics as the
// training-mode forward pass. Adam moves a variable by at most the learning rate, whatever its
// gradient's error; check_first_adam_step is the sharp test of those.
static void check_first_f32_step(const run *r, double lr)
{
    double *extra = edt_mem_calloc(EDT_MEM_MISC, MAX_VARIABLES, sizeof *extra);
    const double clip = r->net.hp.clip_gradients_norm;
    const double clip_factor = fmin(1.0, clip / r->raw_norm);
    const bool adam = strcmp(r->net.hp.optimizer, "adam") == 0;
    for (int i = 0; i < r->n_variables; i++) {
        const variable *v = &r->variables[i];
        if (adam) {
            extra[i] = v->updated ? 2 * lr : 0;
        } else {
            extra[i] = lr * gradient_tolerance(r, v) * clip_factor;
            extra[i] += v->updated && is_noise(r, v) ? lr * 1e-6 * r->raw_norm : 0;
        }
    }
    check_probes(r, "step", 1, EDT_PARAMS_VALUES, false, 1e-3, extra);
    edt_mem_free(extra);
}

// Our own gradients at the probes, which the optimizer does not keep.
static double *read_probed_gradients(const run *r)
{
    const golden_tensor *idx = golden_find(r->file, "probe_idx");
    double *own =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)edt_shape_count(&idx->shape), sizeof *own);
    for (int i = 0; i < r->n_variables; i++) {
        const variable *v = &r->variables[i];
        if (!v->updated) {
            continue;
        }
        double *grad = read_gradient(r, v->i_param);
        for (int64_t j = v->start; j < v->start + v->n; j++) {
            own[j] = grad[((const int32_t *)idx->data)[j]];
        }
        edt_mem_free(grad);
    }
    return own;
}

// What Adam's first step (semantics tf2) takes off a variable with gradient g.
static double adam_move(double g, double lr)
{
    return lr * g / (fabs(g) + 1e-7 / sqrt(1 - 0.999));
}

// Adam divides by the gradient, which makes a small one's error large. So each probe is held
// against the formula on our own gradient (already compared), which no missing update and no
// wrong sign passes, and against the stored value within what the gradient's tolerance does to
// the formula at this probe; a gradient that is noise may move it by the learning rate.
static void check_first_adam_step(const run *r, double lr, const double *own)
{
    cr_assert(r->raw_norm < r->net.hp.clip_gradients_norm, "the formula here has no clipping");
    cr_assert_str_eq(r->net.hp.semantics, "tf2");
    const float *want = golden_find(r->file, "probe_step1")->data;
    const float *start = golden_find(r->file, "probe_step0")->data;
    const float *want_grad = golden_find(r->file, "probe_grad")->data;
    const int32_t *idx = golden_find(r->file, "probe_idx")->data;
    int n_checked = 0, n_sharp = 0;
    for (int i = 0; i < r->n_variables; i++) {
        const variable *v = &r->variables[i];
        const char *name = r->net.params->entries[v->i_param].name;
        const double t = gradient_tolerance(r, v);
        double *values = read_param(r, EDT_PARAMS_VALUES, v->i_param);
        for (int64_t j = v->start; v->updated && j < v->start + v->n; j++) {
            const double got = values[idx[j]];
            const double rounding = 1.2e-7 * fabs((double)start[j]);
            const double own_move = adam_move(own[j], lr);
            cr_expect(fabs((double)start[j] - own_move - got) <=
                          1e-4 * fabs(own_move) + 1e-6 * lr + rounding,
                      "step 1 of %s[%d]: moved by %.9g, its gradient %.9g asks for %.9g", name,
                      idx[j], got - (double)start[j], own[j], -own_move);
            const double g = want_grad[j];
            const double move = adam_move(g, lr);
            const double spread =
                is_noise(r, v) ? lr
                               : fmax(adam_move(g + t, lr) - move, move - adam_move(g - t, lr));
            const double allowed = spread + 1e-3 * fabs(move) + rounding;
            cr_expect(fabs(got - (double)want[j]) <= allowed,
                      "step 1 of %s[%d]: %.9g, expected %.9g, off by %.3g, allowed %.3g", name,
                      idx[j], got, (double)want[j], fabs(got - (double)want[j]), allowed);
            n_checked++;
            n_sharp += allowed < fabs(move) / 2;
        }
        edt_mem_free(values);
    }
    cr_expect_gt(n_checked, 100);
    cr_expect(2 * n_sharp > n_checked, "%d of %d bounds are below half the move", n_sharp,
              n_checked);
}

static void check_start(const run *r)
{
    const float *start = golden_find(r->file, "probe_step0")->data;
    const int32_t *idx = golden_find(r->file, "probe_idx")->data;
    for (int i = 0; i < r->n_variables; i++) {
        const variable *v = &r->variables[i];
        double *values = read_param(r, EDT_PARAMS_VALUES, v->i_param);
        for (int64_t j = v->start; j < v->start + v->n; j++) {
            cr_assert_eq((float)values[idx[j]], start[j], "start of %s",
                         r->net.params->entries[v->i_param].name);
        }
        edt_mem_free(values);
    }
}

static void check_file(const golden_file *file, void *user)
{
    run *kind = user;
    if (kind->only != NULL && strstr(golden_path(file), kind->only) == NULL) {
        return;
    }
    kind->n_files++;
    edt_error err = {0};
    run r = {.file = file, .exact = kind->exact, .backend = kind->backend};
    run_create(&r);
    check_start(&r);
    measure_slack(&r);
    for (int k = 1; k <= N_STEPS; k++) {
        const double lr = edt_schedule_lr(&r.schedule, k - 1);
        double stats[EDT_OPTIMIZER_STATS];
        golden_net_run(&r.net);
        double *own = NULL;
        if (k == 1) {
            check_gradients(&r);
            own = read_probed_gradients(&r);
        }
        OK(edt_optimizer_run(r.optimizer, lr, k - 1, &err, stats));
        check_number(&r, "learning_rate", k, lr, 2e-8);
        check_losses(&r, k, stats, r.exact ? 1e-7 : k == 1 ? 1e-5 : 1e-3);
        if (k == 1) {
            cr_expect(fabs(stats[EDT_OPTIMIZER_STAT_RAW_NORM] - r.raw_norm) <=
                          (r.exact ? 1e-7 : 1e-3) * r.raw_norm,
                      "gradient norm %.9g, expected %.9g", stats[EDT_OPTIMIZER_STAT_RAW_NORM],
                      r.raw_norm);
        }
        if (r.exact) {
            check_exact_state(&r, k);
        } else if (k == 1) {
            check_first_f32_step(&r, lr);
            if (strcmp(r.net.hp.optimizer, "adam") == 0) {
                check_first_adam_step(&r, lr, own);
            }
        }
        edt_mem_free(own);
    }
    run_destroy(&r);
}

static void check_some(const char *backend_name, bool exact, const char *only)
{
    EDT_TEST_NEEDS_DIR(edt_test_path(edt_test_golden_dir(), "model"));
    edt_error err = {0};
    edt_backend *backend = NULL;
    const edt_status status = edt_backend_create(
        backend_name, &(edt_backend_options){.n_threads = 1}, &err, &backend);
    if (status == EDT_ERR_UNSUPPORTED) {
        cr_skip_test("%s", err.text);
    }
    cr_assert_eq(status, EDT_OK, "%s", err.text);
    edt_backend_destroy(&backend);
    run kind = {.exact = exact, .backend = backend_name, .only = only};
    golden_for_each("train", check_file, &kind);
    cr_assert_gt(kind.n_files, 0, "no file of this kind");
}

static void check_all(const char *backend_name, bool exact)
{
    check_some(backend_name, exact, NULL);
}

Test(train_golden, three_steps_in_double, .timeout = 600)
{
    check_all("ref", true);
}

Test(train_golden, f32_on_ref, .timeout = 600)
{
    check_all("ref", false);
}

Test(train_golden, f32_on_cpu, .timeout = 600)
{
    check_all("cpu", false);
}

// Small pictures and all losses: enough for a device that may be emulated.
Test(train_golden, f32_on_cuda, .timeout = 600)
{
    check_some("cuda", false, "d0_sgd_128_iou");
}
