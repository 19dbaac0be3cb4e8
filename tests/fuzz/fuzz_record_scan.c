// Any bytes as a shard: the scan ends, hands over every byte of a plain one exactly once, as
// record or as lost, and what it calls a record is one.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "core/crc32c.h"
#include "dataio/record_scan.h"

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

typedef struct seen {
    uint64_t next; // offset up to which bytes are accounted for
    bool ended;
} seen;

static edt_status take(void *ctx, const edt_scan_item *item, edt_error *err)
{
    (void)err;
    seen *s = ctx;
    if (s->ended) {
        abort();
    }
    s->ended = item->kind == EDT_SCAN_FILE_END;
    if (item->kind == EDT_SCAN_RECORD || item->kind == EDT_SCAN_DAMAGE) {
        if (item->offset != s->next) {
            abort();
        }
        s->next +=
            item->kind == EDT_SCAN_RECORD ? item->payload.n_bytes + 16 : item->lost_bytes;
    }
    return EDT_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    const int fd = memfd_create("shard", 0);
    char path[64];
    if (fd < 0 || write(fd, data, n) != (ssize_t)n) {
        abort();
    }
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    const bool plain = edt_shard_detect_format((edt_span){data, n}) == EDT_SHARD_PLAIN;
    seen s = {0};
    const edt_scan_spec spec = {.paths = (const char *const[]){path},
                                .n_files = 1,
                                .n_threads = 1,
                                .check_data_crc = true,
                                .ctx = &s,
                                .consume = take};
    if (edt_record_scan(&spec, NULL) != EDT_OK || !s.ended || (plain && s.next != n)) {
        abort();
    }
    (void)close(fd);
    return 0;
}

static size_t put_record(uint8_t *out, const char *text)
{
    const size_t n = strlen(text);
    edt_tfrecord_put_header(n, out);
    memcpy(out + 12, text, n);
    edt_tfrecord_put_footer(edt_crc32c(0, text, n), out + 12 + n);
    return n + 16;
}

size_t edt_fuzz_seed(int i, uint8_t *out, size_t cap)
{
    if (i > 1 || cap < 256) {
        return 0;
    }
    size_t n = put_record(out, "first");
    if (i == 1) {
        memset(out + n, 0, 21); // damage, then whole records
        n += 21;
    }
    n += put_record(out + n, "");
    n += put_record(out + n, "the second is empty, this is the third");
    return n;
}
