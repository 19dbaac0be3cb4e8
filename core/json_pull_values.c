// Typed values on top of the pull parser's events: exact doubles, integers with overflow
// checks, and the "this must come next" calls.
#include <math.h>
#include <stdlib.h>

#include "core/json_number.h"
#include "core/json_pull.h"

edt_status edt_json_pull_get_f64(const edt_json_pull *pull, edt_error *err, double *out_value)
{
    if (pull->n_digits < 0) {
        const double x = edt_text_is(pull->text, "NaN") ? (double)NAN : (double)INFINITY;
        *out_value = pull->negative ? -x : x;
        return EDT_OK;
    }
    double magnitude;
    if (pull->n_digits <= 19 &&
        edt_json_number_to_f64(pull->mantissa, pull->exponent, &magnitude)) {
        *out_value = pull->negative ? -magnitude : magnitude;
        return EDT_OK;
    }
    char local[64];
    const size_t n = pull->text.n_bytes;
    char *copy = n < sizeof local ? local : edt_mem_alloc(EDT_MEM_TEXT, n + 1);
    if (copy == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "out of memory for a JSON number of %zu bytes", n);
    }
    memcpy(copy, pull->text.data, n);
    copy[n] = '\0';
    const double x = strtod(copy, NULL);
    if (copy != local) {
        edt_mem_free(copy);
    }
    if (isinf(x) && !pull->allow_nan) {
        return edt_json_pull_fail(pull, EDT_ERR_INVALID, err, "%.*s is too large for a number",
                                  (int)(n < 60 ? n : 60), pull->text.data);
    }
    *out_value = x;
    return EDT_OK;
}

edt_status edt_json_pull_get_i64(const edt_json_pull *pull, edt_error *err, int64_t *out_value)
{
    const int n_shown = pull->text.n_bytes < 60 ? (int)pull->text.n_bytes : 60;
    if (pull->n_digits >= 0 && pull->integral && pull->n_digits <= 19) {
        // 19 digits fit uint64_t.
        const uint64_t limit = (uint64_t)INT64_MAX + pull->negative;
        if (pull->mantissa <= limit) {
            *out_value = (int64_t)(pull->negative ? 0 - pull->mantissa : pull->mantissa);
            return EDT_OK;
        }
    }
    double x = 0;
    const bool whole = pull->n_digits >= 0 && !pull->integral;
    if (whole) {
        EDT_TRY(edt_json_pull_get_f64(pull, err, &x));
        if (fabs(x) <= 9007199254740992.0 && x == floor(x)) {
            *out_value = (int64_t)x;
            return EDT_OK;
        }
    }
    return edt_json_pull_fail(pull, EDT_ERR_INVALID, err, "%.*s is %s", n_shown,
                              pull->text.data,
                              whole ? "no integer" : "outside the range of 64-bit integers");
}

static edt_status wrong_type(const edt_json_pull *pull, edt_error *err, const char *expected,
                             edt_json_event found)
{
    return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "expected %s, found %s", expected,
                              edt_json_event_name(found));
}

edt_status edt_json_pull_expect(edt_json_pull *pull, edt_json_event event, edt_error *err)
{
    edt_json_event found;
    EDT_TRY(edt_json_pull_next(pull, err, &found));
    return found == event ? EDT_OK : wrong_type(pull, err, edt_json_event_name(event), found);
}

edt_status edt_json_pull_expect_f64(edt_json_pull *pull, edt_error *err, double *out_value)
{
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_NUMBER, err));
    return edt_json_pull_get_f64(pull, err, out_value);
}

edt_status edt_json_pull_expect_i64(edt_json_pull *pull, edt_error *err, int64_t *out_value)
{
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_NUMBER, err));
    return edt_json_pull_get_i64(pull, err, out_value);
}

edt_status edt_json_pull_expect_bool(edt_json_pull *pull, edt_error *err, bool *out_value)
{
    edt_json_event found;
    EDT_TRY(edt_json_pull_next(pull, err, &found));
    if (found != EDT_JSON_TRUE && found != EDT_JSON_FALSE) {
        return wrong_type(pull, err, "true or false", found);
    }
    *out_value = found == EDT_JSON_TRUE;
    return EDT_OK;
}

edt_status edt_json_pull_expect_text(edt_json_pull *pull, edt_error *err, edt_text *out_value)
{
    EDT_TRY(edt_json_pull_expect(pull, EDT_JSON_STRING, err));
    *out_value = pull->text;
    return EDT_OK;
}
