// CRC-32C (Castagnoli, reflected polynomial 0x82F63B78) and the masked form that TFRecord files
// and TensorFlow checkpoints store. Pure functions, safe from any thread.
#ifndef EDT_CORE_CRC32C_H
#define EDT_CORE_CRC32C_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

// The CRC of `data` appended to what `crc` covers; start with 0. `data` may be NULL when
// n_bytes is 0. Takes the fastest path that the processor has.
uint32_t edt_crc32c(uint32_t crc, const void *data, size_t n_bytes);

// The same value by tables, eight bytes at a time: the path of processors without the
// instructions, here for tests and benchmarks.
uint32_t edt_crc32c_portable(uint32_t crc, const void *data, size_t n_bytes);

// True when edt_crc32c runs on CRC instructions of this processor.
bool edt_crc32c_is_accelerated(void);

// The masked form (spec/data.md 1): a CRC stored beside the bytes that it covers.
uint32_t edt_crc32c_mask(uint32_t crc);
uint32_t edt_crc32c_unmask(uint32_t masked);

#endif
