// See preflight.h.
#include "train/preflight.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/path.h"
#include "dataio/record_index.h"
#include "train/epochs.h"
#include "train/replicas.h"

edt_status edt_preflight_check_hparams(const edt_hparams *hp, const char *device,
                                       edt_error *err)
{
    const struct {
        bool refused;
        const char *name, *instead;
    } rows[] = {
        {hp->loss_scale != 0.0 && !hp->mixed_precision, "loss_scale",
         "None: a loss scale goes with mixed_precision=true"},
        {hp->loss_scale != 0.0 && strcmp(device, "cuda") != 0, "loss_scale",
         "None: it asks for f16, and a processor computes in bf16, which wants none"},
        {strcmp(hp->grad_reduce, "global") != 0 && hp->loss_scale != 0.0, "grad_reduce",
         "global: loss scaling needs to see the gradient of all ranks"},
        {edt_epochs_parse_save_freq(hp->save_freq) < 0, "save_freq",
         "epoch, or give the number of steps between checkpoints, 1 or more"},
        {!hp->use_keras_model, "use_keras_model", "true: there is one model builder"},
        {!hp->is_training_bn, "is_training_bn",
         "true; freeze_bn=true trains with the moving statistics"},
        {hp->map_freq != 5 && strcmp(hp->semantics, "tf2") != 0, "map_freq",
         "5, which semantics=tf1 does not read (--mode=train_and_eval evaluates after each "
         "epoch, --mode=eval every checkpoint), or set semantics=tf2"},
        {hp->seg_num_classes != 3 && !edt_hparams_has_head(hp, "segmentation"),
         "seg_num_classes", "3: heads names no segmentation"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        if (rows[i].refused) {
            EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                     "hparam %s has a value that training does not act on; leave it at %s",
                     rows[i].name, rows[i].instead);
        }
    }
    const char *sample = hp->sample_image;
    if (sample != NULL && sample[0] != '\0' && !edt_path_exists(sample)) {
        EDT_FAIL(err, EDT_ERR_NOT_FOUND,
                 "hparam sample_image=%s: there is no such file; name a picture, or leave it "
                 "at None",
                 sample);
    }
    return EDT_OK;
}

edt_status edt_preflight_count_records(const char *file_pattern, edt_error *err, int64_t *out_n)
{
    // Whether their order suits the shards is the loader's to say.
    static const edt_shard_reader_options shards = {.take_streams = true};
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_record_index *index = NULL;
    edt_path_list files;
    edt_status status = EDT_OK;
    EDT_TRY_GOTO(edt_path_glob(file_pattern, &arena, err, &files));
    EDT_TRY_GOTO(edt_record_index_create(files.path, files.n, &shards, err, &index));
    const int64_t n = edt_record_index_n_records(index);
    if (n == 0) {
        status =
            edt_error_set(err, EDT_ERR_INVALID, "%s: the shards hold no record", file_pattern);
        goto fail;
    }
    *out_n = n;
fail:
    edt_record_index_destroy(index);
    edt_arena_deinit(&arena);
    return status;
}

static void print_row(const char *what, int64_t n_bytes)
{
    printf("  %-28s %10.1f MiB\n", what, (double)n_bytes / (1024.0 * 1024.0));
}

// What the run needs beside the fixed arenas grows linearly with the pictures that go through
// the network at once, so one plan of n_at_once tells how many would fit.
static int64_t largest_that_fits(const edt_step_plan *plan, int64_t n_at_once,
                                 int64_t memory_bytes)
{
    const int64_t per_image =
        (plan->graph.activation_bytes + plan->graph.input_bytes) / n_at_once;
    const int64_t fixed = plan->total_bytes - per_image * n_at_once;
    return per_image > 0 && memory_bytes > fixed ? (memory_bytes - fixed) / per_image : 0;
}

// How the batch fits, of which no more than `largest` pictures do at once.
static void print_way(int64_t batch_size, int64_t largest, const char *settings)
{
    int64_t parts = 1;
    while (largest > 0 && (batch_size % parts != 0 || batch_size / parts > largest)) {
        ++parts;
    }
    if (largest < 1) {
        return;
    }
    printf("  batch %" PRId64 " fits with --hparams=%s", batch_size, settings);
    if (parts > 1) {
        printf("%saccumulate_steps=%" PRId64, settings[0] == '\0' ? "" : ",", parts);
    }
    printf("\n");
}

// `other`: with the other value of grad_checkpoint.
static void print_fit(const edt_hparams *hp, const edt_step_plan *plan,
                      const edt_step_plan *other, int64_t batch_size, int64_t memory_bytes)
{
    static const char checkpoint[] = "grad_checkpoint=true";
    const int64_t n_at_once = batch_size / hp->accumulate_steps;
    const int64_t largest = largest_that_fits(plan, n_at_once, memory_bytes);
    printf("  this machine has %.1f GiB: the largest batch that fits is %" PRId64 "\n",
           (double)memory_bytes / (1024.0 * 1024.0 * 1024.0), largest);
    if (largest >= n_at_once) {
        return;
    }
    if (!hp->grad_checkpoint) {
        print_way(batch_size, largest_that_fits(other, n_at_once, memory_bytes), checkpoint);
    }
    print_way(batch_size, largest, hp->grad_checkpoint ? checkpoint : "");
}

edt_status edt_preflight_print_plan(const edt_hparams *hp, const edt_step_options *options,
                                    const char *device, const char *eval_device,
                                    int64_t eval_bytes, edt_error *err)
{
    edt_step_plan plan, other;
    edt_hparams other_hp = *hp; // borrows its texts
    other_hp.grad_checkpoint = !hp->grad_checkpoint;
    EDT_TRY(edt_step_make_plan(hp, options, err, &plan));
    EDT_TRY(edt_step_make_plan(&other_hp, options, err, &other));
    // Two devices have two memories.
    const bool on_gpu = strcmp(device, "cuda") == 0;
    const bool evaluates = eval_bytes > 0;
    if (evaluates && !on_gpu && strcmp(eval_device, "cuda") != 0) {
        plan.total_bytes += eval_bytes;
        other.total_bytes += eval_bytes;
    }
    const int64_t memory_bytes =
        (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    printf("%s, %" PRId64 "x%" PRId64 " pixels, batch %" PRId64, hp->name, hp->image_size.h,
           hp->image_size.w, options->batch_size);
    const int64_t n_at_once = options->batch_size / hp->accumulate_steps;
    if (hp->accumulate_steps > 1) {
        printf(" in %" PRId64 " parts of %" PRId64, hp->accumulate_steps, n_at_once);
    }
    printf("\n");
    printf("  %-28s %10" PRId64 "\n", "trainable parameters", plan.n_parameters);
    printf("  %-28s %10.3f GMAC\n", "forward, per image", (double)plan.forward_macs * 1e-9);
    printf("  %-28s %10.3f GMAC\n", "forward and backward, batch",
           (double)(plan.graph.conv_macs * hp->accumulate_steps) * 1e-9);
    const int64_t again_macs = hp->grad_checkpoint ? plan.again_macs : other.again_macs;
    printf("  %-28s %10.3f GMAC\n", "again with grad_checkpoint",
           (double)(again_macs * hp->accumulate_steps) * 1e-9);
    print_row("parameters", plan.param_bytes);
    print_row("gradients", plan.gradient_bytes);
    print_row("optimizer slots", plan.slot_bytes);
    print_row("moving averages", plan.ema_bytes);
    if (plan.low_bytes > 0) {
        print_row("16-bit copy of parameters", plan.low_bytes);
    }
    print_row("inputs and targets", plan.input_bytes);
    print_row("activations (planned)", plan.graph.activation_bytes);
    print_row(hp->grad_checkpoint ? "with grad_checkpoint=false" : "with grad_checkpoint=true",
              other.graph.activation_bytes);
    print_row("activations without reuse", plan.graph.naive_bytes);
    if (evaluates) {
        char what[64];
        (void)snprintf(what, sizeof what, "evaluation beside, on %s", eval_device);
        print_row(what, eval_bytes);
    }
    print_row("total", plan.total_bytes);
    if (on_gpu) {
        return EDT_OK;
    }
    print_fit(hp, &plan, &other, options->batch_size, memory_bytes);
    return EDT_OK;
}

void edt_preflight_log_start(const edt_hparams *hp, const edt_step_options *options,
                             int64_t batch_size, int64_t n_records, int64_t examples_per_epoch,
                             int64_t first_step)
{
    const edt_schedule *s = &options->schedule;
    EDT_INFO("%s at %" PRId64 "x%" PRId64 ", batch %" PRId64 ", %" PRId64
             " records, steps %" PRId64 " to %" PRId64 " (%g epochs of %.1f steps)",
             hp->name, hp->image_size.h, hp->image_size.w, batch_size, n_records, first_step,
             s->total_steps, hp->num_epochs, s->steps_per_epoch);
    char warmup[96] = "";
    if (s->method != EDT_LR_CONSTANT && s->warmup_steps > 0) {
        (void)snprintf(warmup, sizeof warmup,
                       "after a warm-up of %" PRId64 " steps from %g; then ", s->warmup_steps,
                       s->warmup_lr);
        if (s->warmup_lr > s->base_lr) {
            EDT_WARN("the warm-up begins at %g, above the learning rate that it is to lead to: "
                     "lower hparam lr_warmup_init (%g), or set lr_warmup_epoch=0",
                     s->warmup_lr, hp->lr_warmup_init);
        }
    }
    EDT_INFO("learning rate %g = %g x batch %" PRId64 " / 64, %s%s", s->base_lr,
             hp->learning_rate, batch_size, warmup, hp->lr_decay_method);
    if (hp->accumulate_steps > 1) {
        EDT_INFO("each step adds up the gradients of %" PRId64 " parts of %" PRId64
                 " pictures per rank; %s",
                 hp->accumulate_steps, options->batch_size / hp->accumulate_steps,
                 hp->freeze_bn ? "freeze_bn=true: that equals one large batch"
                               : "batch norm sees a part at a time");
    }
    if (edt_comm_world_size(options->comm) > 1) {
        EDT_INFO("%d ranks (%s), %" PRId64 " of the batch on each, batch norm: sync_bn=%s",
                 edt_comm_world_size(options->comm), edt_comm_kind(options->comm),
                 options->batch_size, hp->sync_bn);
    }
    if (edt_replicas_are_wanted(hp, options->comm)) {
        EDT_INFO("grad_reduce=%s: each rank normalises its loss and clips its gradient, then "
                 "they are %s; results depend on the number of ranks",
                 hp->grad_reduce,
                 strcmp(hp->grad_reduce, "tpu") == 0 ? "averaged" : "added up");
    }
    if (examples_per_epoch != n_records) {
        EDT_WARN("--num_examples_per_epoch=%" PRId64 " but the shards hold %" PRId64
                 " records: epochs of the schedule are not passes over the data",
                 examples_per_epoch, n_records);
    }
}

void edt_preflight_log_frozen(const edt_params *params, const bool *frozen)
{
    int n_frozen = 0, n_trainable = 0;
    int64_t learning = 0, all = 0;
    for (int i = 0; i < params->n_params; ++i) {
        const edt_param_entry *e = &params->entries[i];
        if (e->trainable) {
            ++n_trainable;
            n_frozen += frozen[i];
            all += e->n;
            learning += frozen[i] ? 0 : e->n;
        }
    }
    if (n_frozen > 0) {
        EDT_INFO("var_freeze_expr keeps %d of %d variables as they are; %" PRId64 " of %" PRId64
                 " parameters are trained",
                 n_frozen, n_trainable, learning, all);
    }
}
