// The few hyper-parameters that anchors read, for tests that want nothing else.
#ifndef EDT_TESTS_SUPPORT_TEST_ANCHOR_HPARAMS_H
#define EDT_TESTS_SUPPORT_TEST_ANCHOR_HPARAMS_H

#include "core/hparams.h"

// Levels 3..max_level, 3 scales, aspect ratios 1, 2, 1/2; 90 classes and the default
// nms_configs. Owns no memory.
edt_hparams edt_test_anchor_hparams(int64_t h, int64_t w, int64_t max_level,
                                    double anchor_scale);

#endif
