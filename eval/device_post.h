// Post-processing on the device that ran the network: only final rows come back to the host.
#ifndef EDT_EVAL_DEVICE_POST_H
#define EDT_EVAL_DEVICE_POST_H

#include "model/exec.h"
#include "model/postprocess.h"

typedef struct edt_device_post edt_device_post;

// For the outputs cls_value[i], box_value[i] of `exec`'s graph, with the settings of `post`;
// all borrowed. *out_device_post is NULL, without an error, where the backend works in the
// host's memory or has no op for these settings: then edt_post_run on the host is the way.
edt_status edt_device_post_create(const edt_exec *exec, const edt_graph *graph,
                                  edt_backend *backend, const edt_post *post,
                                  const edt_anchors *anchors, int n_levels,
                                  const edt_value_id *cls_value, const edt_value_id *box_value,
                                  edt_error *err, edt_device_post **out_device_post);
void edt_device_post_destroy(edt_device_post *device_post); // NULL is fine

// After a run of the executor: rows [0, n_rows) of its batch. Writes what edt_post_run would,
// [n_rows][max_output_size] and [n_rows]. *out_done false: the device cannot vouch for one of
// the pictures (DETECT, n_valid -1); nothing is written then.
edt_status edt_device_post_run(edt_device_post *device_post, const float *image_scales,
                               int64_t n_rows, edt_error *err, edt_detection *out_detections,
                               int64_t *out_n_valid, bool *out_done);

#endif
