// Detection on picture files: drawn boxes for people, COCO result rows for programs
// (design/cli.md, `detect`; spec/eval_infer_export.md 1.1, 3.5).
#ifndef EDT_EVAL_DETECT_H
#define EDT_EVAL_DETECT_H

#include "core/hparams.h"
#include "model/params.h"

typedef struct edt_detect_options {
    const char *ckpt;             // prefix, or NULL: random weights
    const char *input_image;      // files, globs (with commas) or a directory
    const char *output_image_dir; // NULL: no pictures
    const char *output_json;      // NULL: no file
    const char *val_json_file;    // NULL: no evaluation
    double min_score_thresh;      // of drawn boxes
    int64_t max_boxes_to_draw;
    double line_thickness;
    const char *nms_method;       // of drawn boxes: "hard" or "gaussian"
    int64_t batch_size;
    int n_threads;
    bool show_timing;
} edt_detect_options;

// With a segmentation head pictures get the classes of their pixels as colours, under the boxes.
// Drawn boxes: global NMS over the best class of each anchor, clipped. Result rows: as evaluation
// inside train (per class, best 5000 candidates, hp's method, not clipped); image ids as
// edt_image_files_ids has them: by the ground truth's file names, else the numbers that all files
// are named by, else 1, 2, 3 in the order of names. A file that cannot be decoded is named and
// skipped; EDT_ERR_FORMAT at the end when there was one.
edt_status edt_detect_run(const edt_hparams *hp, edt_backend *backend,
                          const edt_detect_options *options, edt_error *err);

#endif
