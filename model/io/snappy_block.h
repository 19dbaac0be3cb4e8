// The raw block format of the Snappy compressor, reading only: LevelDB tables may use it.
#ifndef EDT_MODEL_IO_SNAPPY_BLOCK_H
#define EDT_MODEL_IO_SNAPPY_BLOCK_H

#include <stdbool.h>

#include "core/span.h"
#include "model/io/tf_table_format.h"

typedef enum edt_snappy_result {
    EDT_SNAPPY_OK,
    EDT_SNAPPY_MALFORMED,
    EDT_SNAPPY_NO_MEMORY
} edt_snappy_result;

// Replaces the contents of `out`. A claimed length that `block` cannot unpack to is malformed
// before memory is asked for.
edt_snappy_result edt_snappy_unpack(edt_span block, edt_tf_bytes *out);

#endif
