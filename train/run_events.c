// See run_events.h.
#include "train/run_events.h"

#include "train/event_histogram.h"
#include "train/event_pictures.h"

edt_status edt_run_events_open(edt_training *r, edt_error *err)
{
    if (!edt_training_writes(r) || r->options->overfit_one_batch) {
        return EDT_OK;
    }
    const edt_summaries_options so = {
        .model_dir = r->options->model_dir,
        .eval_name = r->options->eval_name,
        .steps_per_epoch = r->schedule.steps_per_epoch,
        .batch_size = r->options->train_batch_size,
        .resumed_step = r->state.global_step,
    };
    EDT_TRY(edt_summaries_create(r->hp, &so, err, &r->summaries));
    r->sampled_step = -1;
    if (r->hp->sample_image == NULL || r->hp->sample_image[0] == '\0') {
        return EDT_OK;
    }
    return edt_sample_image_create(r->hp, edt_step_params(r->step), r->n_threads, err,
                                   &r->sample);
}

void edt_run_events_close(edt_training *r, bool succeeded)
{
    edt_sample_image_destroy(r->sample);
    edt_summaries_destroy(r->summaries, succeeded);
    r->sample = NULL;
    r->summaries = NULL;
}

bool edt_run_events_wants_groundtruth(const edt_training *r)
{
    return r->hp->img_summary_steps > 0 && edt_training_writes(r);
}

edt_status edt_run_events_batch(edt_training *r, const edt_batch *batch, edt_error *err)
{
    const int64_t every = r->hp->img_summary_steps;
    const int64_t step = r->state.global_step + 1;
    if (r->summaries == NULL || every <= 0 || (step % every != 0 && step != 1)) {
        return EDT_OK;
    }
    return edt_event_pictures_write(r->hp, r->loader, batch, step,
                                    edt_summaries_file(r->summaries, EDT_SUMMARY_BATCH), err);
}

edt_status edt_run_events_sample(edt_training *r, edt_error *err)
{
    if (r->sample == NULL || r->sampled_step == r->state.global_step) {
        return EDT_OK;
    }
    r->sampled_step = r->state.global_step;
    EDT_TRY(edt_step_complete_ema(r->step, err));
    return edt_sample_image_write(r->sample, r->state.global_step,
                                  edt_summaries_file(r->summaries, EDT_SUMMARY_SAMPLE), err);
}

edt_status edt_run_events_step(edt_training *r, edt_error *err)
{
    const int64_t step = r->state.global_step;
    const int64_t histograms = r->options->histogram_steps;
    const int64_t pictures = r->hp->img_summary_steps;
    if (r->summaries != NULL && histograms > 0 && step % histograms == 0) {
        EDT_TRY(edt_event_histogram_write(
            edt_step_params(r->step), edt_step_frozen(r->step), step,
            edt_summaries_file(r->summaries, EDT_SUMMARY_TRAIN), err));
    }
    return pictures > 0 && step % pictures == 0 ? edt_run_events_sample(r, err) : EDT_OK;
}
