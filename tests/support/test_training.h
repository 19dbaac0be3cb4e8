// Small training runs for tests: a drawn data set in shards, lite0 at 96x96 over it, and child
// processes to run it in, because what is tested includes being killed.
#ifndef EDT_TESTS_SUPPORT_TEST_TRAINING_H
#define EDT_TESTS_SUPPORT_TEST_TRAINING_H

#include "core/span.h"
#include "train/trainer.h"

// A JPEG of 80x64 pixels with one bright rectangle at box (ymin,xmin,ymax,xmax, normalised) on
// a background that `seed` chooses. Free `data` with edt_mem_free.
edt_span edt_test_draw_jpeg(uint64_t seed, const float box[4]);

// A shard of n_pictures such pictures, source ids 100, 101, ..., classes 1 to 3. Picture
// `i_bad`
// (-1: none) is cut off in the middle.
void edt_test_write_drawn_shard(const char *path, int n_pictures, int i_bad);

// lite0, 96x96, 3 classes, one epoch, warm-up of a quarter; then `overrides` ("k=v,k=v").
void edt_test_train_hparams(const char *overrides, edt_hparams *out_hp);
// Mode train, batch 2, `n_steps` steps on `pattern` into `model_dir`, a line of metrics each
// step, backend "cpu" with one thread. Texts are borrowed.
edt_train_options edt_test_training_options(const char *model_dir, const char *pattern,
                                            int64_t n_steps);

// A training run in a process of its own, interrupts handled, log lines dropped. A run that
// fails writes its message to <model_dir>.error and exits with its edt_status.
int edt_test_train_fork(const char *overrides, const edt_train_options *options); // pid
// Waits; the exit status, or 1000 + the signal.
int edt_test_train_wait(int pid);
// Both, with the error's text in a static buffer ("" when it ended well).
int edt_test_train_run(const char *overrides, const edt_train_options *options,
                       const char **out_error);

// True when both files exist and hold the same bytes.
bool edt_test_files_equal(const char *path_a, const char *path_b);

#endif
