// See state.h.
#include "train/state.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/path.h"
#include "model/io/checkpoint.h"
#include "model/io/restore.h"
#include "train/optimizer.h"

// Extras that every checkpoint has, and with those of some recipes.
enum { N_ALWAYS = 7, MAX_EXTRAS = 9 };

static const char cursor_name[] = "edt/cursor";
static const char seed_name[] = "edt/seed";
static const char skipped_name[] = "edt/n_skipped";
static const char fingerprint_name[] = "edt/data_fingerprint";
static const char loss_scale_name[] = "edt/loss_scale";
static const char loss_watch_name[] = "edt/loss_watch";
static const char normalizer_name[] = "moving_normalizer"; // the reference's
static const char total_steps_name[] = "edt/total_steps";
static const char config_name[] = "edt/config";

void edt_train_slot_names(const edt_hparams *hp, const char *out_names[static 2])
{
    if (strcmp(hp->optimizer, "adam") == 0) {
        out_names[0] = "Adam";
        out_names[1] = "Adam_1";
    } else {
        out_names[0] = strcmp(hp->semantics, "tf2") == 0 ? "KerasMomentum" : "Momentum";
        out_names[1] = NULL;
    }
}

edt_status edt_train_state_save(const char *model_dir, const edt_hparams *hp,
                                edt_params *params, const bool *frozen,
                                const edt_train_state *state, const char *spared,
                                edt_error *err)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_status status = EDT_OK;
    const char *config;
    EDT_TRY_GOTO(edt_hparams_to_yaml(hp, &arena, err, &config));
    char name[64];
    (void)snprintf(name, sizeof name, "model.ckpt-%" PRId64, state->global_step);
    const char *prefix = edt_path_join(&arena, model_dir, name);
    bool *has_slot = edt_arena_calloc(&arena, (size_t)params->n_params, sizeof *has_slot);
    if (prefix == NULL || has_slot == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory to write a checkpoint");
        goto fail;
    }
    for (int i = 0; i < params->n_params; ++i) {
        has_slot[i] = params->entries[i].trainable && !frozen[i];
    }
    const int64_t cursor[2] = {state->cursor.epoch, state->cursor.position};
    int64_t fingerprint[EDT_TRAIN_FINGERPRINT_BYTES / 8];
    memcpy(fingerprint, state->data_fingerprint, sizeof fingerprint);
    const float loss_scale[2] = {state->loss_scale.scale, state->loss_scale.n_good};
    const double loss_watch[3] = {state->loss_watch.n, state->loss_watch.mean,
                                  state->loss_watch.variance};
    edt_checkpoint_extra extras[MAX_EXTRAS] = {
        {.name = cursor_name, .desc = {EDT_DTYPE_I64, edt_shape_1(2)}, .data = cursor},
        {.name = seed_name, .desc = {EDT_DTYPE_I64, {0}}, .data = &state->seed},
        {.name = skipped_name, .desc = {EDT_DTYPE_I64, {0}}, .data = &state->n_skipped},
        {.name = total_steps_name, .desc = {EDT_DTYPE_I64, {0}}, .data = &state->total_steps},
        {.name = loss_watch_name, .desc = {EDT_DTYPE_F64, edt_shape_1(3)}, .data = loss_watch},
        {.name = fingerprint_name,
         .desc = {EDT_DTYPE_I64, edt_shape_1(EDT_TRAIN_FINGERPRINT_BYTES / 8)},
         .data = fingerprint},
        {.name = config_name, .text = {config, strlen(config)}},
    };
    int n_extras = N_ALWAYS;
    if (state->loss_scale.scale > 0.0F) {
        extras[n_extras++] = (edt_checkpoint_extra){.name = loss_scale_name,
                                                    .desc = {EDT_DTYPE_F32, edt_shape_1(2)},
                                                    .data = loss_scale};
    }
    if (hp->positives_momentum > 0.0) {
        extras[n_extras++] = (edt_checkpoint_extra){.name = normalizer_name,
                                                    .desc = {EDT_DTYPE_F32, {0}},
                                                    .data = &state->moving_normalizer};
    }
    edt_checkpoint_save_options options = {
        .global_step = state->global_step,
        .has_slot = has_slot,
        .n_extras = n_extras,
        .extras = extras,
    };
    edt_train_slot_names(hp, options.slot_names);
    EDT_TRY_GOTO(edt_checkpoint_save(params, prefix, &options, err));
    EDT_TRY_GOTO(
        edt_checkpoint_enter_sparing(model_dir, name, EDT_CHECKPOINT_KEEP, spared, err));
fail:
    edt_arena_deinit(&arena);
    return status;
}

// Our own entries; a checkpoint of the reference has none of them.
static edt_status read_extras(const char *prefix, edt_error *err, edt_train_state *state)
{
    edt_tf_bundle *bundle = NULL;
    EDT_TRY(edt_tf_bundle_open(prefix, err, &bundle));
    edt_status status = EDT_OK;
    int64_t cursor[2];
    const edt_tensor_desc cursor_desc = {EDT_DTYPE_I64, edt_shape_1(2)};
    const edt_tensor_desc seed_desc = {EDT_DTYPE_I64, {0}};
    if (edt_tf_bundle_find(bundle, cursor_name) >= 0) {
        EDT_TRY_GOTO(edt_checkpoint_read_extra(bundle, cursor_name, &cursor_desc, cursor, err));
        state->cursor = (edt_cursor){.epoch = cursor[0], .position = cursor[1]};
        EDT_TRY_GOTO(
            edt_checkpoint_read_extra(bundle, seed_name, &seed_desc, &state->seed, err));
    } else {
        EDT_WARN(
            "%s holds no loader position: its step and weights are taken, the pictures start "
            "from the beginning of the data set",
            prefix);
    }
    if (edt_tf_bundle_find(bundle, skipped_name) >= 0) {
        EDT_TRY_GOTO(edt_checkpoint_read_extra(bundle, skipped_name, &seed_desc,
                                               &state->n_skipped, err));
    }
    if (edt_tf_bundle_find(bundle, total_steps_name) >= 0) {
        EDT_TRY_GOTO(edt_checkpoint_read_extra(bundle, total_steps_name, &seed_desc,
                                               &state->total_steps, err));
    }
    if (edt_tf_bundle_find(bundle, loss_watch_name) >= 0) {
        double watch[3];
        const edt_tensor_desc desc = {EDT_DTYPE_F64, edt_shape_1(3)};
        EDT_TRY_GOTO(edt_checkpoint_read_extra(bundle, loss_watch_name, &desc, watch, err));
        state->loss_watch =
            (edt_loss_watch){.n = watch[0], .mean = watch[1], .variance = watch[2]};
    }
    if (edt_tf_bundle_find(bundle, normalizer_name) >= 0) {
        const edt_tensor_desc desc = {EDT_DTYPE_F32, {0}};
        EDT_TRY_GOTO(edt_checkpoint_read_extra(bundle, normalizer_name, &desc,
                                               &state->moving_normalizer, err));
    }
    if (edt_tf_bundle_find(bundle, loss_scale_name) >= 0) {
        float pair[2];
        const edt_tensor_desc desc = {EDT_DTYPE_F32, edt_shape_1(2)};
        EDT_TRY_GOTO(edt_checkpoint_read_extra(bundle, loss_scale_name, &desc, pair, err));
        state->loss_scale = (edt_loss_scale_state){.scale = pair[0], .n_good = pair[1]};
    }
    if (edt_tf_bundle_find(bundle, fingerprint_name) >= 0) {
        int64_t fingerprint[EDT_TRAIN_FINGERPRINT_BYTES / 8];
        const edt_tensor_desc desc = {EDT_DTYPE_I64,
                                      edt_shape_1(EDT_TRAIN_FINGERPRINT_BYTES / 8)};
        EDT_TRY_GOTO(
            edt_checkpoint_read_extra(bundle, fingerprint_name, &desc, fingerprint, err));
        memcpy(state->data_fingerprint, fingerprint, sizeof state->data_fingerprint);
    }
fail:
    edt_tf_bundle_close(bundle);
    return status;
}

// Which parameters the run updates, in `arena`: the ones whose slots it needs.
static edt_status select_updated(const edt_hparams *hp, const edt_params *params,
                                 edt_arena *arena, edt_error *err, const bool **out_updated)
{
    const size_t n = (size_t)params->n_params;
    const char **names = edt_arena_calloc(arena, n + 1, sizeof *names);
    bool *trainable = edt_arena_calloc(arena, n + 1, sizeof *trainable);
    bool *frozen = edt_arena_calloc(arena, n + 1, sizeof *frozen);
    if (names == NULL || trainable == NULL || frozen == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to resume a run of %d variables",
                 params->n_params);
    }
    for (size_t i = 0; i < n; ++i) {
        names[i] = params->entries[i].name;
        trainable[i] = params->entries[i].trainable;
    }
    EDT_TRY(edt_freeze_select(hp->var_freeze_expr, params->n_params, names, trainable, err,
                              frozen));
    for (size_t i = 0; i < n; ++i) {
        trainable[i] = trainable[i] && !frozen[i];
    }
    *out_updated = trainable;
    return EDT_OK;
}

// The directory names no checkpoint to resume from. One without a state file beside complete
// checkpoints (a kill before its first line was written, a copy that left it out) goes on from
// the newest: an .index is there only when everything else is. A state file that names a
// checkpoint that is gone is an error: starting anew would write over what may be days of work.
// EDT_END: a new run.
static edt_status find_unnamed(const char *model_dir, edt_arena *arena, edt_error *err,
                               const char **out_prefix)
{
    if (!edt_path_is_dir(model_dir)) {
        return EDT_END;
    }
    edt_path_list files;
    EDT_TRY(edt_path_list_dir(model_dir, arena, err, &files));
    const char *newest = NULL;
    bool has_state = false;
    for (int64_t i = 0; i < files.n; ++i) {
        const char *path = files.path[i];
        const char *slash = strrchr(path, '/');
        const char *name = slash != NULL ? slash + 1 : path;
        has_state |= strcmp(name, "checkpoint") == 0;
        if (strncmp(name, "model.ckpt-", 11) == 0 && edt_path_has_suffix(name, ".index")) {
            const char *prefix = edt_arena_strndup(arena, path, strlen(path) - 6);
            if (prefix == NULL) {
                EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the files of %s", model_dir);
            }
            if (newest == NULL || edt_checkpoint_step(prefix) > edt_checkpoint_step(newest)) {
                newest = prefix;
            }
        }
    }
    if (has_state) {
        EDT_FAIL(
            err, EDT_ERR_NOT_FOUND,
            "%s/checkpoint names a checkpoint whose .index file is gone; restore its files, "
            "or remove %s/checkpoint to go on from %s, or give another --model_dir to start "
            "anew",
            model_dir, model_dir, newest != NULL ? newest : "the beginning");
    }
    if (newest == NULL) {
        return EDT_END;
    }
    EDT_WARN("%s has no file 'checkpoint'; going on from the newest checkpoint there, %s",
             model_dir, newest);
    *out_prefix = newest;
    return EDT_OK;
}

edt_status edt_train_state_resume(const char *model_dir, const edt_hparams *hp,
                                  edt_params *params, int64_t default_seed, edt_error *err,
                                  edt_train_state *out_state)
{
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_restore_report report = {0};
    const char *prefix;
    edt_status status = edt_checkpoint_latest(model_dir, &arena, err, &prefix);
    if (status == EDT_END) {
        status = find_unnamed(model_dir, &arena, err, &prefix);
    }
    if (status != EDT_OK) {
        edt_arena_deinit(&arena);
        return status;
    }
    edt_restore_options options = {
        .load_ema = hp->moving_average_decay > 0.0,
        .strict = true,
        .weights_only_allowed = true,
    };
    edt_train_slot_names(hp, options.slot_names);
    EDT_TRY_GOTO(select_updated(hp, params, &arena, err, &options.has_slot));
    EDT_TRY_GOTO(edt_restore(params, prefix, &options, err, &report));
    if (report.global_step < 0) {
        status =
            edt_error_set(err, EDT_ERR_FORMAT,
                          "%s has no global_step: it cannot be resumed; start a new model_dir "
                          "with --ckpt=%s",
                          prefix, prefix);
        goto fail;
    }
    edt_train_state state = {.global_step = report.global_step, .seed = default_seed};
    EDT_TRY_GOTO(read_extras(prefix, err, &state));
    EDT_INFO("resuming from %s at step %" PRId64, prefix, state.global_step);
    *out_state = state;
fail:
    edt_restore_report_deinit(&report);
    edt_arena_deinit(&arena);
    return status;
}

static int hex_value(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

edt_status edt_train_state_set_data(edt_train_state *state, const char *fingerprint,
                                    const char *file_pattern, edt_error *err)
{
    static const uint8_t unknown[EDT_TRAIN_FINGERPRINT_BYTES];
    uint8_t bytes[EDT_TRAIN_FINGERPRINT_BYTES];
    for (int i = 0; i < EDT_TRAIN_FINGERPRINT_BYTES; ++i) {
        const int high = hex_value(fingerprint[2 * i]);
        const int low = high >= 0 ? hex_value(fingerprint[2 * i + 1]) : -1;
        if (low < 0) {
            EDT_FAIL(err, EDT_ERR_INTERNAL, "'%s' is no fingerprint of a data set",
                     fingerprint);
        }
        bytes[i] = (uint8_t)(16 * high + low);
    }
    const uint8_t *have = state->data_fingerprint;
    if (memcmp(have, unknown, sizeof unknown) != 0 && memcmp(have, bytes, sizeof bytes) != 0) {
        EDT_FAIL(
            err, EDT_ERR_MISMATCH,
            "%s is not the data set that the checkpoint of step %" PRId64
            " was trained on (fingerprint %.8s..., the checkpoint has "
            "%02x%02x%02x%02x...): its shards, their names, sizes or order differ, so the "
            "position in it means nothing; restore the data set, or start on this one in a "
            "new --model_dir with --ckpt",
            file_pattern, state->global_step, fingerprint, have[0], have[1], have[2], have[3]);
    }
    memcpy(state->data_fingerprint, bytes, sizeof bytes);
    return EDT_OK;
}

static edt_status choose_init(const edt_train_init *from, edt_error *err, const char **out_flag,
                              const char **out_path)
{
    const char *const rows[][2] = {{"ckpt", from->ckpt},
                                   {"pretrained_ckpt", from->pretrained_ckpt},
                                   {"backbone_ckpt", from->backbone_ckpt}};
    *out_path = *out_flag = NULL;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; ++i) {
        if (rows[i][1] == NULL || rows[i][1][0] == '\0' || strcmp(rows[i][1], "_") == 0) {
            continue;
        }
        if (*out_path != NULL) {
            EDT_FAIL(err, EDT_ERR_USAGE, "give either --%s or --%s, not both", *out_flag,
                     rows[i][0]);
        }
        *out_flag = rows[i][0];
        *out_path = rows[i][1];
    }
    return EDT_OK;
}

edt_status edt_train_state_init_from(const edt_train_init *from, const edt_hparams *hp,
                                     edt_params *params, edt_error *err)
{
    const char *flag, *path;
    EDT_TRY(choose_init(from, err, &flag, &path));
    if (path == NULL) {
        return EDT_OK;
    }
    edt_arena arena;
    edt_arena_init(&arena, EDT_MEM_ARENA, 0);
    edt_restore_report report = {0};
    edt_status status = EDT_OK;
    edt_restore_options options = {
        .load_ema = hp->moving_average_decay > 0.0,
        .skip_mismatch = hp->skip_mismatch && !from->strict,
        .refuse_unused = from->strict,
    };
    edt_train_slot_names(hp, options.slot_names);
    if (path == from->pretrained_ckpt) {
        options.fresh_scopes[0] = "class_net/";
        options.fresh_scopes[1] = "box_net/";
    }
    if (path == from->backbone_ckpt) {
        const char *scope = hp->ckpt_var_scope != NULL ? hp->ckpt_var_scope : hp->backbone_name;
        options.model_scope = edt_arena_printf(&arena, "%s/", hp->backbone_name);
        options.ckpt_scope = edt_arena_printf(&arena, "%s/", scope);
        if (options.model_scope == NULL || options.ckpt_scope == NULL) {
            status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for variable scopes");
            goto fail;
        }
    }
    EDT_TRY_GOTO(edt_restore(params, path, &options, err, &report));
    edt_restore_report_log(&report);
fail:
    edt_restore_report_deinit(&report);
    edt_arena_deinit(&arena);
    return status == EDT_OK ? EDT_OK : edt_error_add_context(err, status, "--%s", flag);
}
