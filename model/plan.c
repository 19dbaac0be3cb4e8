// Liveness and placement. An output may take over the memory of an input that dies in the same
// node where the op allows it (edt_op_info.alias_in); such chains form one group with one
// interval. Groups are placed largest first, each into the smallest gap that is free for its
// whole life, as in Pisarchyk and Lee, "Efficient memory management for deep neural net
// inference" (2020), greedy by size.
#include "model/plan.h"

#include <stdlib.h>
#include <string.h>

typedef struct group {
    int first, last; // node indices, both inclusive
    int64_t bytes, offset;
} group;

typedef struct planner {
    const edt_graph *graph;
    const edt_node *nodes;
    const bool *dead;
    int n_values;
    int *last_use; // by value: node index, -1 never read
    int *group_of; // by value, -1
    int n_groups;
    group *groups;
    group **order;  // by size, then by placement
    group **placed; // by offset
} planner;

static bool is_inout(const edt_node *node)
{
    return edt_op_get_info(node->kind)->inout_mask != 0;
}

edt_status edt_plan_mark_dead(const edt_graph *graph, const edt_node *nodes, bool *dead,
                              edt_error *err)
{
    bool *read = edt_mem_calloc(EDT_MEM_MISC, (size_t)graph->n_values + 1, sizeof *read);
    if (read == NULL) {
        EDT_FAIL(err, EDT_ERR_NOMEM, "no memory to plan %d values", graph->n_values);
    }
    for (int i = 0; i < graph->n_outputs; i++) {
        read[graph->outputs[i].value] = true;
    }
    for (int i = graph->n_nodes - 1; i >= 0; i--) {
        const edt_node *node = &nodes[i];
        if (dead[i]) {
            continue;
        }
        bool live = is_inout(node);
        for (int j = 0; j < node->n_out; j++) {
            const edt_value_id out = node->out[j];
            live = live || (out != EDT_NO_VALUE &&
                            (read[out] || graph->values[out].role == EDT_VALUE_PARAM_GRAD));
        }
        dead[i] = !live;
        for (int j = 0; live && j < node->n_in; j++) {
            read[node->in[j]] = true;
        }
    }
    edt_mem_free(read);
    return EDT_OK;
}

static int64_t rounded_bytes(const edt_graph *graph, edt_value_id value)
{
    const int64_t bytes = (int64_t)edt_tensor_bytes(&graph->values[value].desc);
    return (bytes + EDT_MEM_ALIGN - 1) / EDT_MEM_ALIGN * EDT_MEM_ALIGN;
}

static void find_last_uses(planner *p)
{
    memset(p->last_use, 0xff, (size_t)p->n_values * sizeof *p->last_use); // -1
    for (int i = 0; i < p->graph->n_nodes; i++) {
        for (int j = 0; !p->dead[i] && j < p->nodes[i].n_in; j++) {
            p->last_use[p->nodes[i].in[j]] = i;
        }
    }
    for (int i = 0; i < p->graph->n_outputs; i++) {
        p->last_use[p->graph->outputs[i].value] = p->graph->n_nodes;
    }
}

// The group whose memory output 0 of node i can take over, or -1.
static int reusable_group(const planner *p, int i)
{
    const edt_node *node = &p->nodes[i];
    const int alias = edt_op_get_info(node->kind)->alias_in;
    if (alias < 0 || alias >= node->n_in || node->out[0] == EDT_NO_VALUE) {
        return -1;
    }
    const edt_value_id in = node->in[alias];
    if (p->graph->values[in].role != EDT_VALUE_ACTIVATION ||
        p->graph->values[node->out[0]].role != EDT_VALUE_ACTIVATION || p->last_use[in] != i) {
        return -1;
    }
    const int g = p->group_of[in];
    // The group's `last` also covers older members, whose memory this is too.
    if (g < 0 || p->groups[g].last != i ||
        rounded_bytes(p->graph, node->out[0]) != p->groups[g].bytes) {
        return -1;
    }
    for (int j = 0; j < node->n_in; j++) {
        if (j != alias && node->in[j] == in) {
            return -1;
        }
    }
    return g;
}

static void make_groups(planner *p, int64_t *out_naive_bytes)
{
    const edt_graph *graph = p->graph;
    memset(p->group_of, 0xff, (size_t)p->n_values * sizeof *p->group_of);
    for (int i = 0; i < graph->n_nodes; i++) {
        for (int j = 0; !p->dead[i] && j < p->nodes[i].n_out; j++) {
            const edt_value_id out = p->nodes[i].out[j];
            if (out == EDT_NO_VALUE || graph->values[out].role != EDT_VALUE_ACTIVATION) {
                continue;
            }
            const int last = p->last_use[out] > i ? p->last_use[out] : i;
            const int64_t bytes = rounded_bytes(graph, out);
            *out_naive_bytes += bytes;
            const int g = j == 0 ? reusable_group(p, i) : -1;
            if (g >= 0) {
                p->groups[g].last = last;
                p->group_of[out] = g;
                continue;
            }
            p->groups[p->n_groups] = (group){.first = i, .last = last, .bytes = bytes};
            p->group_of[out] = p->n_groups++;
        }
    }
}

static int compare_size(const void *a, const void *b)
{
    const group *x = *(group *const *)a;
    const group *y = *(group *const *)b;
    if (x->bytes != y->bytes) {
        return x->bytes < y->bytes ? 1 : -1;
    }
    return (x->first > y->first) - (x->first < y->first);
}

static int64_t place_groups(planner *p)
{
    for (int i = 0; i < p->n_groups; i++) {
        p->order[i] = &p->groups[i];
    }
    qsort(p->order, (size_t)p->n_groups, sizeof(group *), compare_size);
    int64_t block_bytes = 0;
    for (int i = 0; i < p->n_groups; i++) {
        group *g = p->order[i];
        int64_t end = 0; // of the occupied bytes passed so far
        int64_t best = -1;
        int64_t best_gap = INT64_MAX;
        for (int k = 0; k < i; k++) {
            const group *other = p->placed[k];
            if (other->first > g->last || other->last < g->first) {
                continue;
            }
            const int64_t gap = other->offset - end;
            if (gap >= g->bytes && gap < best_gap) {
                best = end;
                best_gap = gap;
            }
            const int64_t other_end = other->offset + other->bytes;
            end = other_end > end ? other_end : end;
        }
        g->offset = best >= 0 ? best : end;
        if (g->offset + g->bytes > block_bytes) {
            block_bytes = g->offset + g->bytes;
        }
        int at = i;
        while (at > 0 && p->placed[at - 1]->offset > g->offset) {
            p->placed[at] = p->placed[at - 1];
            at--;
        }
        p->placed[at] = g;
    }
    return block_bytes;
}

edt_status edt_plan_create(const edt_graph *graph, const edt_node *nodes, const bool *dead,
                           edt_error *err, edt_plan *out_plan)
{
    const size_t n = (size_t)graph->n_values + 1;
    planner p = {
        .graph = graph,
        .nodes = nodes,
        .dead = dead,
        .n_values = graph->n_values,
        .last_use = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(int)),
        .group_of = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(int)),
        .groups = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(group)),
        .order = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(group *)),
        .placed = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(group *)),
    };
    edt_plan plan = {.n_values = graph->n_values,
                     .offset = edt_mem_alloc(EDT_MEM_MISC, n * sizeof(int64_t))};
    edt_status status = EDT_OK;
    if (p.last_use == NULL || p.group_of == NULL || p.groups == NULL || p.order == NULL ||
        p.placed == NULL || plan.offset == NULL) {
        status =
            edt_error_set(err, EDT_ERR_NOMEM, "no memory to plan %d values", graph->n_values);
        edt_plan_deinit(&plan);
    } else {
        find_last_uses(&p);
        make_groups(&p, &plan.naive_bytes);
        plan.block_bytes = place_groups(&p);
        for (int v = 0; v < graph->n_values; v++) {
            plan.offset[v] = p.group_of[v] < 0 ? -1 : p.groups[p.group_of[v]].offset;
        }
        *out_plan = plan;
    }
    edt_mem_free(p.last_use);
    edt_mem_free(p.group_of);
    edt_mem_free(p.groups);
    edt_mem_free(p.order);
    edt_mem_free(p.placed);
    return status;
}

void edt_plan_deinit(edt_plan *plan)
{
    edt_mem_free(plan->offset);
    *plan = (edt_plan){0};
}
