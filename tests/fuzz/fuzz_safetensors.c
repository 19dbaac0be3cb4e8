// The safetensors reader over arbitrary bytes: whatever it accepts must lie within the input.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/safetensors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    edt_error err = {0};
    edt_safetensors *file = NULL;
    if (edt_safetensors_open_span((edt_span){data, n}, &err, &file) != EDT_OK) {
        if (err.text[0] == '\0') {
            abort();
        }
        return 0;
    }
    unsigned sum = 0;
    for (int64_t i = 0; i < file->n; ++i) {
        const edt_safetensors_item *item = &file->items[i];
        if (item->data.n_bytes != edt_tensor_bytes(&item->desc) ||
            edt_safetensors_find(file, item->name) != item) {
            abort();
        }
        for (size_t k = 0; k < item->data.n_bytes; ++k) {
            sum += item->data.data[k];
        }
    }
    volatile unsigned used = sum;
    (void)used;
    edt_safetensors_close(file);
    return 0;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    static const char *const headers[] = {
        "{\"__metadata__\":{\"format\":\"pt\"},\"a\":{\"dtype\":\"F32\",\"shape\":[2],"
        "\"data_offsets\":[0,8]},\"b\":{\"dtype\":\"U8\",\"shape\":[2,4],\"data_offsets\":[8,"
        "16]}}",
        "{\"x\":{\"dtype\":\"I64\",\"shape\":[],\"data_offsets\":[0,8]},\"y\":{\"dtype\":"
        "\"BF16\","
        "\"shape\":[0,3],\"data_offsets\":[8,8]},\"z\":{\"dtype\":\"F64\",\"shape\":[1],"
        "\"data_offsets\":[8,16]}} "};
    if (i >= 2 || strlen(headers[i]) + 24 > cap) {
        return 0;
    }
    const size_t n = strlen(headers[i]);
    memset(out, 0, n + 24);
    out[0] = (uint8_t)n;
    memcpy(out + 8, headers[i], n);
    return n + 24;
}
