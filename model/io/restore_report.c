// What people read of a restore: the counts and the variables that were left out. See
// restore.h.
#include "core/log.h"
#include "model/io/restore.h"

enum { MAX_WARNINGS = 20 };

void edt_restore_report_deinit(edt_restore_report *report)
{
    edt_arena_deinit(&report->arena);
    *report = (edt_restore_report){0};
}

void edt_restore_report_log(const edt_restore_report *report)
{
    EDT_INFO("loaded %d of %d variables from %s (%s; %d averages, %d optimizer slots)",
             report->n_loaded, report->n_rows, report->prefix,
             edt_weights_format_name(report->format), report->n_averages, report->n_slots);
    if (report->n_fresh > 0) {
        EDT_INFO("%d variables start from their initial values, as asked", report->n_fresh);
    }
    int n_warnings = 0;
    for (int i = 0; i < report->n_rows && n_warnings < MAX_WARNINGS; ++i) {
        const edt_restore_row *row = &report->rows[i];
        char stored[EDT_SHAPE_TEXT_BYTES], wanted[EDT_SHAPE_TEXT_BYTES];
        if (row->outcome == EDT_RESTORE_SHAPE_DIFFERS) {
            EDT_WARN("%s: stored %s, model %s: keeps its initial value", row->name,
                     edt_shape_text(&row->ckpt_shape, stored),
                     edt_shape_text(&row->model_shape, wanted));
            ++n_warnings;
        } else if (row->outcome == EDT_RESTORE_MISSING) {
            EDT_WARN("%s: not in the checkpoint: keeps its initial value", row->name);
            ++n_warnings;
        }
    }
    const int n_skipped = report->n_missing + report->n_shape_differs;
    if (n_skipped > n_warnings) {
        EDT_WARN("... and %d more", n_skipped - n_warnings);
    }
    if (report->n_unused > 0) {
        EDT_INFO("%d tensors of the file are not part of the model, first: %s",
                 report->n_unused, report->unused[0]);
    }
}
