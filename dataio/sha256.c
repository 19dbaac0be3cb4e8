// See sha256.h.
#include "dataio/sha256.h"

#include <openssl/evp.h>

#include "core/mem.h"

struct edt_sha256 {
    EVP_MD_CTX *context;
    EVP_MD *digest; // fetched once: an implicit fetch at every file takes a lock
};

edt_status edt_sha256_create(edt_error *err, edt_sha256 **out_sha)
{
    edt_sha256 *sha = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *sha);
    if (sha == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for a SHA-256 context");
    }
    sha->context = EVP_MD_CTX_new();
    sha->digest = EVP_MD_fetch(NULL, "SHA256", NULL);
    if (sha->context == NULL || sha->digest == NULL) {
        edt_sha256_destroy(sha);
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED, "libcrypto offers no SHA-256");
    }
    *out_sha = sha;
    return EDT_OK;
}

void edt_sha256_destroy(edt_sha256 *sha)
{
    if (sha != NULL) {
        EVP_MD_CTX_free(sha->context);
        EVP_MD_free(sha->digest);
        edt_mem_free(sha);
    }
}

edt_status edt_sha256_run(edt_sha256 *sha, edt_span bytes, edt_error *err,
                          char out_hex[EDT_SHA256_HEX_BYTES + 1])
{
    unsigned char digest[EDT_SHA256_BYTES];
    if (EVP_DigestInit_ex2(sha->context, sha->digest, NULL) != 1 ||
        EVP_DigestUpdate(sha->context, bytes.data, bytes.n_bytes) != 1 ||
        EVP_DigestFinal_ex(sha->context, digest, NULL) != 1) {
        EDT_FAIL(err, EDT_ERR_INTERNAL, "libcrypto failed to hash %zu bytes", bytes.n_bytes);
    }
    static const char digits[] = "0123456789abcdef";
    for (int i = 0; i < EDT_SHA256_BYTES; ++i) {
        out_hex[2 * i] = digits[digest[i] >> 4];
        out_hex[2 * i + 1] = digits[digest[i] & 15];
    }
    out_hex[EDT_SHA256_HEX_BYTES] = '\0';
    return EDT_OK;
}
