// See rank_sum.h. All ranks run the same graph, so they make these calls in the same order.
#include "train/rank_sum.h"

#include "dist/bucket.h"

struct edt_rank_sum {
    edt_rank_sum_spec spec;
    edt_bucket_plan buckets;
    int64_t next_bucket;
    int norm_node; // the last node that runs before the first loss, -1: none does
};

static bool is_loss(edt_op_kind kind)
{
    return kind == EDT_OP_FOCAL_LOSS || kind == EDT_OP_BOX_LOSS || kind == EDT_OP_IOU_LOSS ||
           kind == EDT_OP_SEGMENTATION_LOSS;
}

static int find_norm_node(const edt_rank_sum_spec *spec)
{
    int last = -1;
    for (int i = 0; i < spec->graph->n_nodes; ++i) {
        edt_op_desc desc;
        if (edt_exec_describe(spec->exec, i, &desc)) {
            if (is_loss(desc.kind)) {
                break;
            }
            last = i;
        }
    }
    return last;
}

// One segment for each gradient that a node writes, ready after the last one that does.
static int64_t collect_segments(const edt_rank_sum_spec *spec, edt_bucket_segment *segments)
{
    const edt_graph *graph = spec->graph;
    for (int p = 0; p < graph->n_params; ++p) {
        segments[p] = (edt_bucket_segment){.ready_at = -1};
    }
    for (int i = 0; i < graph->n_nodes; ++i) {
        edt_op_desc desc;
        const edt_node *node = &graph->nodes[i];
        for (int k = 0; k < node->n_out && edt_exec_describe(spec->exec, i, &desc); ++k) {
            if (node->out[k] != EDT_NO_VALUE &&
                graph->values[node->out[k]].role == EDT_VALUE_PARAM_GRAD) {
                segments[graph->values[node->out[k]].i_param].ready_at = i;
            }
        }
    }
    int64_t n = 0;
    for (int p = 0; p < graph->n_params; ++p) {
        if (segments[p].ready_at >= 0) {
            const edt_param_entry *e = &spec->params->entries[p];
            segments[n++] = (edt_bucket_segment){
                .offset = e->offset, .n = e->n, .ready_at = segments[p].ready_at};
        }
    }
    return n;
}

static edt_status start_ready_buckets(edt_rank_sum *s, int64_t i_node, edt_error *err)
{
    const edt_params *params = s->spec.params;
    char *grads = params->memory[EDT_PARAMS_GRADS];
    while (s->next_bucket < s->buckets.n_buckets &&
           s->buckets.buckets[s->next_bucket].ready_at <= i_node) {
        const edt_bucket_segment *b = &s->buckets.buckets[s->next_bucket++];
        EDT_TRY(edt_comm_all_reduce(s->spec.comm,
                                    grads + (size_t)b->offset * edt_dtype_bytes(params->real),
                                    b->n, params->real, err));
    }
    return EDT_OK;
}

static edt_status after_node(void *user, const edt_exec_node_done *done, edt_error *err)
{
    edt_rank_sum *s = user;
    if (done->i_node == s->norm_node) {
        EDT_TRY(edt_comm_join(s->spec.comm, err));
    }
    if (done->reduce_over_ranks) {
        EDT_TRY(edt_comm_all_reduce(s->spec.comm, done->out, done->n, done->dtype, err));
        EDT_TRY(edt_comm_join(s->spec.comm, err));
    }
    return start_ready_buckets(s, done->i_node, err);
}

edt_status edt_rank_sum_create(const edt_rank_sum_spec *spec, edt_error *err,
                               edt_rank_sum **out_sum)
{
    const edt_backend *backend = spec->params->backend;
    const bool on_device = backend->table->streams != NULL;
    if (edt_comm_on_device(spec->comm) != on_device) {
        EDT_FAIL(err, EDT_ERR_UNSUPPORTED,
                 "%d ranks on backend %s cannot add up gradients through '%s': a device with "
                 "streams needs nccl, other backends shm or mpi",
                 edt_comm_world_size(spec->comm), backend->table->name,
                 edt_comm_kind(spec->comm));
    }
    edt_rank_sum *s = edt_mem_calloc(EDT_MEM_MISC, 1, sizeof *s);
    edt_bucket_segment *segments =
        edt_mem_calloc(EDT_MEM_MISC, (size_t)spec->graph->n_params + 1, sizeof *segments);
    edt_status status;
    if (s == NULL || segments == NULL) {
        status = edt_error_set(err, EDT_ERR_NOMEM, "no memory for the sums of ranks");
        goto fail;
    }
    s->spec = *spec;
    s->norm_node = find_norm_node(spec);
    const int64_t bucket_bytes = on_device ? EDT_BUCKET_DEVICE_BYTES : EDT_BUCKET_HOST_BYTES;
    EDT_TRY_GOTO(edt_bucket_plan_init(
        segments, collect_segments(spec, segments),
        bucket_bytes / (int64_t)edt_dtype_bytes(spec->params->real), err, &s->buckets));
    edt_mem_free(segments);
    edt_exec_set_hook(spec->exec, after_node, s);
    *out_sum = s;
    return EDT_OK;
fail:
    edt_mem_free(segments);
    edt_mem_free(s);
    return status;
}

void edt_rank_sum_destroy(edt_rank_sum *s)
{
    if (s == NULL) {
        return;
    }
    edt_exec_set_hook(s->spec.exec, NULL, NULL);
    edt_bucket_plan_deinit(&s->buckets);
    edt_mem_free(s);
}

edt_status edt_rank_sum_begin(edt_rank_sum *s, bool first, bool last, edt_error *err)
{
    s->next_bucket = last && !s->spec.own_gradients ? 0 : s->buckets.n_buckets;
    if (!first || s->spec.own_gradients) {
        return EDT_OK;
    }
    EDT_TRY(edt_comm_all_reduce(s->spec.comm, s->spec.norm, s->spec.n_norm,
                                s->spec.params->real, err));
    return s->norm_node < 0 ? edt_comm_join(s->spec.comm, err) : EDT_OK;
}

edt_status edt_rank_sum_end(edt_rank_sum *s, edt_error *err)
{
    EDT_TRY(start_ready_buckets(s, INT64_MAX, err));
    EDT_TRY(edt_comm_all_reduce(s->spec.comm, s->spec.losses, s->spec.n_losses,
                                s->spec.params->real, err));
    return edt_comm_join(s->spec.comm, err);
}
