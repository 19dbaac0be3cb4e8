// See set_fingerprint.h.
#include "dataio/set_fingerprint.h"

#include <inttypes.h>
#include <string.h>

edt_status edt_set_fingerprint_add(edt_set_fingerprint *fingerprint, const char *shard_path,
                                   const edt_side_summary *summary, edt_error *err)
{
    const char *slash = strrchr(shard_path, '/');
    edt_strbuf_printf(&fingerprint->lines, "%s\t%" PRIu64 "\t%" PRId64 "\t%08" PRIx32 "\n",
                      slash != NULL ? slash + 1 : shard_path, summary->shard_bytes,
                      summary->n_records, summary->lengths_crc);
    if (fingerprint->lines.failed) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for the fingerprint of a data set");
    }
    return EDT_OK;
}

edt_status edt_set_fingerprint_finish(const edt_set_fingerprint *fingerprint, edt_error *err,
                                      char out_hex[EDT_FINGERPRINT_TEXT_BYTES])
{
    edt_sha256 *sha = NULL;
    EDT_TRY(edt_sha256_create(err, &sha));
    const edt_span lines = {(const uint8_t *)fingerprint->lines.text,
                            fingerprint->lines.n_bytes};
    const edt_status status = edt_sha256_run(sha, lines, err, out_hex);
    edt_sha256_destroy(sha);
    return status;
}

void edt_set_fingerprint_deinit(edt_set_fingerprint *fingerprint)
{
    edt_strbuf_deinit(&fingerprint->lines);
}
