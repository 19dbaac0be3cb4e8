// Training and an evaluation beside it as threads of one process, for the sanitizers to watch:
// the runs of tests/train are forks, which ThreadSanitizer does not follow.
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "core/log.h"
#include "core/mem.h"
#include "tests/support/test_dirs.h"
#include "tests/support/test_records.h"
#include "tests/support/test_training.h"

Test(beside_training, each_epoch_is_evaluated_beside_the_next, .timeout = 240)
{
    char root[256], shard[300], model_dir[300];
    (void)snprintf(root, sizeof root, "%s", edt_test_temp_dir());
    (void)snprintf(shard, sizeof shard, "%s/shard.tfrecord", root);
    (void)snprintf(model_dir, sizeof model_dir, "%s/model", root);
    edt_test_write_drawn_shard(shard, 6, -1);
    edt_train_options o = edt_test_training_options(model_dir, shard, 2);
    o.mode = EDT_TRAIN_MODE_TRAIN_AND_EVAL;
    o.val_file_pattern = shard;
    o.eval_batch_size = 2;
    o.eval_device = "cpu";
    o.eval_threads = 1;
    edt_error err = {0};
    edt_hparams hp;
    edt_test_train_hparams("num_epochs=2", &hp);
    edt_log_set_level(EDT_LOG_QUIET);
    cr_assert_eq(edt_train_run(&hp, &o, &err), EDT_OK, "%s", err.text);
    edt_hparams_deinit(&hp);
    const edt_span text = edt_test_read_file(edt_test_path(model_dir, "metrics.jsonl"));
    int n_lines = 0;
    static const char mark[] = "\"eval_images\": 6,";
    for (const uint8_t *at = text.data;
         (at = memmem(at, (size_t)(text.data + text.n_bytes - at), mark, sizeof mark - 1)) !=
         NULL;
         ++at) {
        ++n_lines;
    }
    cr_expect_eq(n_lines, 2);
    edt_mem_free((void *)text.data);
    edt_test_remove_tree(root);
}
