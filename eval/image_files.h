// Which pictures a user means and which image ids they have, for programs that take picture
// files (design/cli.md, `detect`).
#ifndef EDT_EVAL_IMAGE_FILES_H
#define EDT_EVAL_IMAGE_FILES_H

#include "core/path.h"
#include "eval/coco_eval.h"

// `input`: files and globs (with commas), or a directory, of which files are taken that are
// named as pictures are or begin as a JPEG does. EDT_ERR_NOT_FOUND when there is none. Names in
// `arena`.
edt_status edt_image_files_list(const char *input, edt_arena *arena, edt_error *err,
                                edt_path_list *out_files);

// EDT_ERR_USAGE when one of the files lies in `dir`, where it could be written over.
edt_status edt_image_files_check_output(const edt_path_list *files, const char *dir,
                                        edt_error *err);

// out_ids[files->n]. With `gt` whose images have file names: the id of the image with the
// file's name (without directories); EDT_ERR_MISMATCH for a file that it does not have or has
// twice. Else the numbers that the files are named by, when all are and differ
// (EDT_ERR_MISMATCH for one that `gt` lacks); else 1, 2, 3, ... with a warning. `gt` may be
// NULL; `gt_path` is for messages.
edt_status edt_image_files_ids(const edt_path_list *files, const edt_coco_gt *gt,
                               const char *gt_path, int64_t *out_ids, edt_error *err);

#endif
