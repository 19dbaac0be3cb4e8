// Reading over values of the pull parser. The bulk of annotation files are polygons nobody asks
// for: lists of plain numbers are checked 64 bytes at a time where SSE2 exists, everything else
// is left to the parser.
#include "core/json_pull_priv.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#ifdef __SSE2__
// One bit for each of 64 bytes: which kind it is.
typedef struct number_bits {
    uint64_t digit, zero, dot, comma, blank, minus;
} number_bits;

static inline uint64_t equal_bits(__m128i x, __m128i y)
{
    return (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(x, y));
}

static inline number_bits classify(const uint8_t *p)
{
    number_bits bits = {0};
    for (int i = 0; i < 64; i += 16) {
        const __m128i x = _mm_loadu_si128((const __m128i *)(const void *)(p + i));
        const __m128i digit = _mm_sub_epi8(x, _mm_set1_epi8('0'));
        bits.digit |= equal_bits(_mm_min_epu8(digit, _mm_set1_epi8(9)), digit) << i;
        bits.zero |= equal_bits(x, _mm_set1_epi8('0')) << i;
        bits.dot |= equal_bits(x, _mm_set1_epi8('.')) << i;
        bits.comma |= equal_bits(x, _mm_set1_epi8(',')) << i;
        bits.blank |= equal_bits(x, _mm_set1_epi8(' ')) << i;
        bits.minus |= equal_bits(x, _mm_set1_epi8('-')) << i;
    }
    return bits;
}

// Of the 64 bytes where an item begins: reads over all items with a comma behind them, checking
// 64 bytes at once by which kind may follow which. Returns their number and the offset of the
// last comma; 0 also when a look at each byte is needed.
static int skip_number_block(const uint8_t *p, int *out_comma)
{
    number_bits b = classify(p);
    const uint64_t other = ~(b.digit | b.dot | b.comma | b.blank | b.minus);
    const uint64_t known = other != 0 ? (other & (0 - other)) - 1 : ~UINT64_C(0);
    b.comma &= known;
    if (b.comma == 0) {
        return 0;
    }
    const int last = 63 - __builtin_clzll(b.comma);
    const uint64_t range = ~UINT64_C(0) >> (63 - last);
    b.digit &= range;
    b.zero &= range;
    b.dot &= range;
    b.blank &= range;
    b.minus &= range;
    const uint64_t after_digit = b.digit << 1;
    const uint64_t after_comma = b.comma << 1 | 1;
    uint64_t bad = (b.dot | b.comma) & ~after_digit;
    bad |= b.blank & ~after_comma;
    bad |= b.minus & ~(after_comma | b.blank << 1);
    // A leading zero with a digit behind it.
    bad |= (b.zero & ~(after_digit | b.dot << 1)) << 1 & b.digit;
    // The sum carries each dot's bit to the end of the digits behind it: no second dot there.
    bad |= ((b.dot << 1) + b.digit) & ~b.digit & b.dot;
    *out_comma = last;
    return bad == 0 ? __builtin_popcountll(b.comma) : 0;
}
#endif

// Reads over "1.5, -2, 3" at the begin of the rest of an array. Stops before the first item
// that is no plain number, or before the blanks and the comma that lead to it, so that the
// parser's state stays true.
static void skip_numbers(edt_json_pull *pull)
{
    const uint8_t *p = pull->p, *end = pull->end;
    int64_t n = 0;
    for (;;) {
        const uint8_t *q = p;
        if (n > 0 || pull->state == EDT_JSON_STATE_AFTER_VALUE) {
            if (q == end || *q != ',') {
                break;
            }
            ++q;
        }
#ifdef __SSE2__
        int comma;
        const int n_block = end - q >= 64 ? skip_number_block(q, &comma) : 0;
        if (n_block > 0) {
            n += n_block;
            p = q + comma;
            continue;
        }
#endif
        q += q < end && *q == ' ';
        q += q < end && *q == '-';
        const uint8_t *digits = q;
        while (edt_json_is_digit(q, end)) {
            ++q;
        }
        if (q == digits || (*digits == '0' && q - digits > 1)) {
            break;
        }
        if (q < end && *q == '.') {
            const uint8_t *fraction = ++q;
            while (edt_json_is_digit(q, end)) {
                ++q;
            }
            if (q == fraction) {
                break;
            }
        }
        if (q < end && (*q | 0x20) == 'e') {
            break;
        }
        p = q;
        ++n;
    }
    if (n > 0) {
        pull->p = p;
        pull->frames[pull->depth - 1].index += n;
        pull->state = EDT_JSON_STATE_AFTER_VALUE;
    }
}

edt_status edt_json_pull_skip_rest(edt_json_pull *pull, edt_error *err)
{
    const int depth = pull->depth;
    while (pull->depth >= depth) {
        if (pull->depth > 0 && !pull->frames[pull->depth - 1].is_object) {
            skip_numbers(pull);
        }
        edt_json_event event;
        EDT_TRY(edt_json_pull_next(pull, err, &event));
    }
    return EDT_OK;
}

edt_status edt_json_pull_skip_value(edt_json_pull *pull, edt_error *err, edt_span *out_raw)
{
    edt_json_event event;
    EDT_TRY(edt_json_pull_next(pull, err, &event));
    const uint8_t *begin = pull->value;
    if (event == EDT_JSON_OBJECT_BEGIN || event == EDT_JSON_ARRAY_BEGIN) {
        EDT_TRY(edt_json_pull_skip_rest(pull, err));
    } else if (event == EDT_JSON_KEY || event == EDT_JSON_OBJECT_END ||
               event == EDT_JSON_ARRAY_END || event == EDT_JSON_END) {
        return edt_json_pull_fail(pull, EDT_ERR_FORMAT, err, "expected a value, found %s",
                                  edt_json_event_name(event));
    }
    if (out_raw != NULL) {
        *out_raw = (edt_span){begin, (size_t)(pull->p - begin)};
    }
    return EDT_OK;
}
