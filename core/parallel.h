// A loop whose iterations are independent, spread over threads for the duration of the call.
#ifndef EDT_CORE_PARALLEL_H
#define EDT_CORE_PARALLEL_H

#include <stdint.h>

#include "core/error.h"

// One iteration; 0 <= worker < n_threads, one iteration at a time per index.
typedef edt_status edt_parallel_fn(void *ctx, int worker, int64_t i, edt_error *err);

// Runs fn for i in [0, n) on up to n_threads threads (0: all cores), the caller's thread alone
// when there is one thread or one item. After a failure no iteration begins any more; of
// several failures one is returned. Calls from several threads at once have nothing in common.
edt_status edt_parallel_for(int n_threads, int64_t n, edt_parallel_fn *fn, void *ctx,
                            edt_error *err);

#endif
