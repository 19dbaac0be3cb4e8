// See device_post.h. The op runs behind the graph, on the memory of the graph's outputs.
#include "eval/device_post.h"

#include <string.h>

#include "core/mem.h"

struct edt_device_post {
    edt_backend *backend;
    edt_op_desc desc;
    edt_kernel *kernel;
    void *in[EDT_OP_MAX_IN];   // the last two are ours: anchors, image scales
    void *out[EDT_OP_MAX_OUT]; // ours
    void *workspace;
    int64_t n_images, max_output;
    // Host copies
    float *image_scales, *rows;
    int32_t *labels, *n_valid;
};

// Describes the op; false where its inputs do not fit.
static bool describe(edt_device_post *d, const edt_graph *graph, const edt_exec *exec,
                     const edt_anchors *anchors, int n_levels, const edt_value_id *cls_value,
                     const edt_value_id *box_value)
{
    if (2 * n_levels + 2 > EDT_OP_MAX_IN) {
        return false;
    }
    for (int l = 0; l < n_levels; ++l) {
        d->desc.in[l] = graph->values[cls_value[l]].desc;
        d->desc.in[n_levels + l] = graph->values[box_value[l]].desc;
        d->in[l] = edt_exec_pointer(exec, cls_value[l]);
        d->in[n_levels + l] = edt_exec_pointer(exec, box_value[l]);
    }
    d->n_images = d->desc.in[0].shape.dim[0];
    d->max_output = d->desc.attrs.detect.max_output;
    d->desc.kind = EDT_OP_DETECT;
    d->desc.in[2 * n_levels] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_2(anchors->n, 4)};
    d->desc.in[2 * n_levels + 1] = (edt_tensor_desc){EDT_DTYPE_F32, edt_shape_1(d->n_images)};
    d->desc.n_in = 2 * n_levels + 2;
    d->desc.n_out = 3;
    return true;
}

static edt_status allocate(edt_device_post *d, const edt_anchors *anchors, edt_error *err)
{
    const edt_backend_table *table = d->backend->table;
    const int i_anchors = d->desc.n_in - 2;
    size_t workspace_bytes = 0;
    EDT_TRY(table->prepare(d->backend, &d->desc, err, &d->kernel, &workspace_bytes));
    if (workspace_bytes > 0) {
        EDT_TRY(
            table->alloc(d->backend, EDT_MEM_WORKSPACE, workspace_bytes, err, &d->workspace));
    }
    for (int i = i_anchors; i < d->desc.n_in; ++i) {
        EDT_TRY(table->alloc(d->backend, EDT_MEM_EVAL, edt_tensor_bytes(&d->desc.in[i]), err,
                             &d->in[i]));
    }
    for (int i = 0; i < d->desc.n_out; ++i) {
        EDT_TRY(table->alloc(d->backend, EDT_MEM_EVAL, edt_tensor_bytes(&d->desc.out[i]), err,
                             &d->out[i]));
    }
    EDT_TRY(table->upload(d->backend, d->in[i_anchors], anchors->boxes,
                          edt_tensor_bytes(&d->desc.in[i_anchors]), err));
    d->image_scales = edt_mem_alloc(EDT_MEM_EVAL, (size_t)d->n_images * sizeof(float));
    d->rows = edt_mem_alloc(EDT_MEM_EVAL, edt_tensor_bytes(&d->desc.out[0]));
    d->labels = edt_mem_alloc(EDT_MEM_EVAL, edt_tensor_bytes(&d->desc.out[1]));
    d->n_valid = edt_mem_alloc(EDT_MEM_EVAL, edt_tensor_bytes(&d->desc.out[2]));
    if (d->image_scales == NULL || d->rows == NULL || d->labels == NULL || d->n_valid == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for detections");
    }
    return EDT_OK;
}

edt_status edt_device_post_create(const edt_exec *exec, const edt_graph *graph,
                                  edt_backend *backend, const edt_post *post,
                                  const edt_anchors *anchors, int n_levels,
                                  const edt_value_id *cls_value, const edt_value_id *box_value,
                                  edt_error *err, edt_device_post **out_device_post)
{
    *out_device_post = NULL;
    edt_detect_attrs attrs;
    if (backend->table->streams == NULL || !edt_post_describe(post, &attrs)) {
        return EDT_OK;
    }
    edt_device_post *d = edt_mem_calloc(EDT_MEM_EVAL, 1, sizeof *d);
    if (d == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory for post-processing on the device");
    }
    d->backend = backend;
    d->desc.attrs.detect = attrs;
    edt_status status = EDT_OK;
    if (!describe(d, graph, exec, anchors, n_levels, cls_value, box_value)) {
        goto fail; // status says that this is no failure
    }
    if (edt_op_infer(&d->desc, NULL) != EDT_OK ||
        backend->table->supports(backend, &d->desc, NULL) != EDT_OK) {
        goto fail;
    }
    EDT_TRY_GOTO(allocate(d, anchors, err));
    *out_device_post = d;
    return EDT_OK;
fail:
    edt_device_post_destroy(d);
    return status;
}

void edt_device_post_destroy(edt_device_post *d)
{
    if (d == NULL) {
        return;
    }
    const edt_backend_table *table = d->backend->table;
    if (d->kernel != NULL) {
        table->release(d->backend, d->kernel);
    }
    for (int i = d->desc.n_in - 2; i >= 0 && i < d->desc.n_in; ++i) {
        table->free(d->backend, d->in[i]);
    }
    for (int i = 0; i < d->desc.n_out; ++i) {
        table->free(d->backend, d->out[i]);
    }
    table->free(d->backend, d->workspace);
    edt_mem_free(d->image_scales);
    edt_mem_free(d->rows);
    edt_mem_free(d->labels);
    edt_mem_free(d->n_valid);
    edt_mem_free(d);
}

static edt_status run(edt_device_post *d, edt_error *err)
{
    const edt_backend_table *table = d->backend->table;
    const int i_scales = d->desc.n_in - 1;
    const edt_run_ctx ctx = {0};
    void *const host[3] = {d->rows, d->labels, d->n_valid};
    EDT_TRY(table->upload(d->backend, d->in[i_scales], d->image_scales,
                          edt_tensor_bytes(&d->desc.in[i_scales]), err));
    EDT_TRY(table->run(d->backend, d->kernel, &ctx, d->in, d->out, d->workspace, err));
    for (int i = 0; i < d->desc.n_out; ++i) {
        EDT_TRY(table->download(d->backend, host[i], d->out[i],
                                edt_tensor_bytes(&d->desc.out[i]), err));
    }
    return EDT_OK;
}

edt_status edt_device_post_run(edt_device_post *d, const float *image_scales, int64_t n_rows,
                               edt_error *err, edt_detection *out_detections,
                               int64_t *out_n_valid, bool *out_done)
{
    for (int64_t i = 0; i < d->n_images; ++i) {
        d->image_scales[i] = i < n_rows ? image_scales[i] : 1.0F;
        if (!(d->image_scales[i] > 0)) {
            EDT_FAIL(err, EDT_ERR_INVALID, "post-processing: image scale %g must be positive",
                     (double)d->image_scales[i]);
        }
    }
    EDT_TRY(run(d, err));
    for (int64_t i = 0; i < n_rows; ++i) {
        if (d->n_valid[i] < 0) {
            *out_done = false;
            return EDT_OK;
        }
    }
    for (int64_t i = 0; i < n_rows * d->max_output; ++i) {
        const float *row = d->rows + i * 5;
        out_detections[i] = (edt_detection){
            .ymin = row[0],
            .xmin = row[1],
            .ymax = row[2],
            .xmax = row[3],
            .score = row[4],
            .label = d->labels[i],
        };
    }
    for (int64_t i = 0; i < n_rows; ++i) {
        out_n_valid[i] = d->n_valid[i];
    }
    *out_done = true;
    return EDT_OK;
}
