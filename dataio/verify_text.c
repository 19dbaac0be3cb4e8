// The report of verify.h, as JSON and for people.
#include <inttypes.h>

#include "dataio/verify.h"

void edt_verify_write_json(const edt_verify_report *report, edt_json_writer *json)
{
    const edt_verify_totals totals = edt_verify_get_totals(report);
    edt_json_begin_object(json);
    edt_json_put_i64(json, "files", totals.n_files);
    edt_json_put_i64(json, "records", totals.n_records);
    edt_json_put_i64(json, "boxes", totals.n_boxes);
    edt_json_put_i64(json, "records_without_boxes", totals.n_empty_records);
    edt_json_put_i64(json, "payload_bytes", (int64_t)totals.payload_bytes);
    edt_json_put_i64(json, "defects", totals.n_defects);
    edt_json_put_i64(json, "warnings", totals.n_warnings);
    edt_json_key(json, "codes");
    edt_json_begin_object(json);
    for (int i = 0; i < EDT_VERIFY_N_CODES; ++i) {
        edt_json_put_i64(json, edt_verify_code_name((edt_verify_code)i),
                         edt_verify_count(report, (edt_verify_code)i));
    }
    edt_json_end_object(json);
    edt_json_key(json, "findings");
    edt_json_begin_array(json);
    for (int64_t i = 0; i < edt_verify_n_findings(report); ++i) {
        const edt_verify_finding *finding = edt_verify_finding_at(report, i);
        edt_json_begin_object(json);
        edt_json_put_text(json, "code", edt_verify_code_name(finding->code));
        edt_json_put_text(json, "file", finding->path);
        edt_json_put_i64(json, "record", finding->i_record);
        edt_json_put_i64(json, "offset", (int64_t)finding->offset);
        edt_json_put_text(json, "id", finding->id);
        edt_json_put_text(json, "what", finding->words);
        edt_json_end_object(json);
    }
    edt_json_end_array(json);
    edt_json_end_object(json);
}

static void put_finding(edt_strbuf *out, const edt_verify_finding *finding)
{
    edt_strbuf_printf(out, "%s: %s", edt_verify_code_name(finding->code), finding->path);
    if (finding->i_record >= 0) {
        edt_strbuf_printf(out, ": record %" PRId64 " (offset %" PRIu64, finding->i_record,
                          finding->offset);
        if (finding->id[0] != '\0') {
            edt_strbuf_printf(out, ", id %s", finding->id);
        }
        edt_strbuf_puts(out, ")");
    }
    edt_strbuf_printf(out, ": %s\n", finding->words);
}

void edt_verify_write_text(const edt_verify_report *report, int64_t max_per_code,
                           edt_strbuf *out)
{
    const edt_verify_totals totals = edt_verify_get_totals(report);
    int64_t shown[EDT_VERIFY_N_CODES] = {0};
    for (int64_t i = 0; i < edt_verify_n_findings(report); ++i) {
        const edt_verify_finding *finding = edt_verify_finding_at(report, i);
        const int64_t n = ++shown[finding->code];
        if (n <= max_per_code) {
            put_finding(out, finding);
        } else if (n == max_per_code + 1) {
            edt_strbuf_printf(out, "%s: … %" PRId64 " in all; --json lists more\n",
                              edt_verify_code_name(finding->code),
                              edt_verify_count(report, finding->code));
        }
    }
    if (totals.n_defects + totals.n_warnings > 0) {
        edt_strbuf_printf(out, "\n%-16s %9s  %s\n", "code", "findings", "what it means");
        for (int i = 0; i < EDT_VERIFY_N_CODES; ++i) {
            const edt_verify_code code = (edt_verify_code)i;
            if (edt_verify_count(report, code) > 0) {
                edt_strbuf_printf(out, "%-16s %9" PRId64 "  %s%s\n", edt_verify_code_name(code),
                                  edt_verify_count(report, code),
                                  code >= EDT_VERIFY_N_DEFECTS ? "(no defect) " : "",
                                  edt_verify_code_advice(code));
            }
        }
        edt_strbuf_puts(out, "\n");
    }
    const double mib = (double)totals.payload_bytes / 1048576.0;
    edt_strbuf_printf(out,
                      "%" PRId64 " records in %" PRId64 " files, %" PRId64 " boxes, %" PRId64
                      " records without boxes: %s\n",
                      totals.n_records, totals.n_files, totals.n_boxes, totals.n_empty_records,
                      totals.n_defects == 0 ? "all good" : "DEFECTIVE");
    edt_strbuf_printf(out,
                      "%" PRId64 " defects, %" PRId64 " warnings; %.1f MiB in %.1f s "
                      "(%.0f records/s)\n",
                      totals.n_defects, totals.n_warnings, mib, totals.seconds,
                      totals.seconds > 0 ? (double)totals.n_records / totals.seconds : 0.0);
}
