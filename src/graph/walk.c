/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one float walk: runs a graph node by node in binary32 with static buffers.  Heavy nodes go to
 * oneDNN (onednn.c), whose convolutions like their values in blocked order ("packed"); a value is
 * turned into the plain order only when a hook, an operator that needs it or a caller looks at it.
 * Pointwise operators work on whichever order is there.  Memory is laid out in walk_plan.c.
 */
#include "graph/walk_private.h"

#include <math.h>
#include <string.h>

#ifdef BL_HAVE_ONEDNN
#include <dnnl_version.h>
#define TEXT(x) #x
#define VERSION(a, b, c) "oneDNN " TEXT(a) "." TEXT(b) "." TEXT(c)
#define BACKEND VERSION(DNNL_VERSION_MAJOR, DNNL_VERSION_MINOR, DNNL_VERSION_PATCH)
#else
#define BACKEND "reference"
#endif

const char *bl_walk_backend(void)
{
    return BACKEND;
}

/* ------------------------------------------------------------------ places */

static bool is_constant(const bl_walk *walk, int value)
{
    const bl_value *v = &walk->graph->values[value];
    return v->producer < 0 && !v->is_input;
}

/* Where the value is in this pass: the trial set if the pass made it, else the base. */
static bl_place *place_of(const bl_walk *walk, int value)
{
    return walk->in_trial && walk->in_trial[value] ? &walk->trial[value] : &walk->base[value];
}

/* Buffers of a trial set that nobody laid out are made on first use; those of the base exist. */
static bl_status give_buffer(bl_walk *walk, int value, bl_place *place, bool packed)
{
    void **data = packed ? &place->packed : &place->t.data;

    if (*data) return BL_OK;
    *data = bl_alloc(walk->arena, bl_walk_buffer_bytes(walk, value, packed), 1);
    BL_ALLOC_TRY(walk->ctx, *data);
    return BL_OK;
}

bl_status bl_walk_need(bl_walk *walk, int value, bl_place *place, bool packed)
{
    if (packed ? place->has_packed : place->has_plain) return BL_OK;
    BL_TRY(give_buffer(walk, value, place, packed));
    if (packed)
        bl_layout_pack(&place->t, walk->layout[value], place->t.data, place->packed);
    else
        bl_layout_unpack(&place->t, walk->layout[value], place->packed, place->t.data);
    place->has_plain = place->has_packed = true;
    return BL_OK;
}

/* The output is written next, in one order. */
static bl_status open_output(bl_walk *walk, int value, bl_place *place, bool packed)
{
    BL_TRY(give_buffer(walk, value, place, packed));
    place->has_plain = !packed;
    place->has_packed = packed;
    return BL_OK;
}

/* ------------------------------------------------------------------ nodes */

static void clamp(const bl_node *node, bl_tensor *t)
{
    if (t->type == BL_F32 && t->data && bl_node_clamps(node)) bl_wide_clamp(t->data, bl_tensor_count(t), node->lo, node->hi);
}

static bl_status run_dnn(bl_walk *walk, int n)
{
    const bl_node *node = &walk->graph->nodes[n];
    bl_place *in[3] = {NULL, NULL, NULL}, *out = place_of(walk, node->out[0]);

    for (int i = 0; i < node->n_in && i < 3; i++) {
        if (node->in[i] < 0) continue;
        in[i] = place_of(walk, node->in[i]);
        BL_TRY(bl_walk_need(walk, node->in[i], in[i], i == 0 && bl_dnn_reads_packed(walk->dnn, n)));
    }
    BL_TRY(open_output(walk, node->out[0], out, bl_dnn_writes_packed(walk->dnn, n)));
    return bl_dnn_run(walk->dnn, n, in, out);
}

/* Pointwise, all in the output's layout: worth it when that takes no more conversions. */
static bool prefers_packed(const bl_walk *walk, int n)
{
    const bl_node *node = &walk->graph->nodes[n];
    int lack_plain = 0, lack_packed = 0;

    if (!walk->packs[n]) return false;
    for (int i = 0; i < node->n_in; i++) {
        if (node->in[i] < 0) continue;
        const bl_place *p = place_of(walk, node->in[i]);
        if (walk->layout[node->in[i]] == BL_LAYOUT_PLAIN)
            continue; /* a constant that broadcasts to everything */
        lack_plain += !p->has_plain;
        lack_packed += !p->has_packed;
    }
    return lack_packed <= lack_plain;
}

static bl_status run_own(bl_walk *walk, int n)
{
    const bl_node *node = &walk->graph->nodes[n];
    bool packed = prefers_packed(walk, n);
    bl_call call = {.ctx = walk->ctx,
                    .node = node,
                    .n_in = node->n_in,
                    .n_out = node->n_out,
                    .in = walk->call_in,
                    .out = walk->call_out,
                    .scratch = walk->scratch};
    bl_mark mark = bl_arena_mark(walk->scratch);
    bl_status status;

    for (int i = 0; i < node->n_in; i++) {
        bl_layout layout;
        bl_place *p;
        walk->call_in[i] = NULL;
        if (node->in[i] < 0) continue;
        p = place_of(walk, node->in[i]);
        layout = packed ? walk->layout[node->in[i]] : BL_LAYOUT_PLAIN;
        BL_TRY(bl_walk_need(walk, node->in[i], p, layout != BL_LAYOUT_PLAIN));
        bl_layout_view(&p->t, layout, layout != BL_LAYOUT_PLAIN ? p->packed : p->t.data,
                       &walk->call_view[i]);
        walk->call_in[i] = &walk->call_view[i];
    }
    for (int i = 0; i < node->n_out; i++) {
        bl_layout layout;
        bl_place *p;
        memset(&walk->call_out[i], 0, sizeof walk->call_out[i]);
        if (node->out[i] < 0) continue;
        p = place_of(walk, node->out[i]);
        layout = packed ? walk->layout[node->out[i]] : BL_LAYOUT_PLAIN;
        BL_TRY(open_output(walk, node->out[i], p, layout != BL_LAYOUT_PLAIN));
        bl_layout_view(&p->t, layout, layout != BL_LAYOUT_PLAIN ? p->packed : p->t.data, &walk->call_out[i]);
    }
    if (packed && (node->op->flags & BL_OP_CHANNELS))
        call.block = bl_layout_block(&walk->base[node->in[0]].t, walk->layout[node->in[0]]);
    status = node->op->forward(&call);
    bl_arena_reset(walk->scratch, mark);
    if (status != BL_OK) return status;
    clamp(node, &walk->call_out[0]);
    return BL_OK;
}

static bl_status call_hook(bl_walk *walk, int value, bl_walk_hook *hook, void *user)
{
    bl_hook_use use = walk->uses ? (bl_hook_use)walk->uses[value] : BL_HOOK_WRITES;
    bl_place *place = place_of(walk, value);

    if (!hook || use == BL_HOOK_NONE || place->t.type != BL_F32) return BL_OK;
    BL_TRY(bl_walk_need(walk, value, place, false));
    BL_TRY(hook(user, value, &place->t));
    if (use == BL_HOOK_WRITES) place->has_packed = false;
    return BL_OK;
}

static bl_status run_node(bl_walk *walk, int n, bl_walk_hook *hook, void *user)
{
    const bl_node *node = &walk->graph->nodes[n];

    BL_TRY(walk->dnn_takes[n] ? run_dnn(walk, n) : run_own(walk, n));
    for (int i = 0; i < node->n_out; i++)
        if (node->out[i] >= 0) BL_TRY(call_hook(walk, node->out[i], hook, user));
    return BL_OK;
}

/* ------------------------------------------------------------------ runs */

static bl_status run_all(bl_walk *walk, bl_walk_hook *hook, void *user)
{
    const bl_graph *g = walk->graph;

    for (int i = 0; i < g->n_inputs; i++) {
        bl_place *p = &walk->base[g->inputs[i]];
        p->has_plain = true; /* the caller has filled it */
        p->has_packed = false;
        BL_TRY(call_hook(walk, g->inputs[i], hook, user));
    }
    for (int n = 0; n < g->n_nodes; n++) {
        BL_TRY(bl_check_interrupt(walk->ctx));
        BL_TRY(run_node(walk, n, hook, user));
    }
    return BL_OK;
}

bl_status bl_walk_run(bl_walk *walk, bl_walk_hook *hook, void *user)
{
    int before = bl_dnn_enter();
    bl_status status;

    if (walk->in_trial) memset(walk->in_trial, 0, (size_t)walk->graph->n_values);
    walk->ran = false;
    status = run_all(walk, hook, user);
    walk->ran = status == BL_OK;
    bl_dnn_leave(before);
    return status;
}

/* The clean value into the trial set, in the order that needs no conversion. */
static bl_status copy_clean(bl_walk *walk, int value)
{
    bl_place *from = &walk->base[value], *to = &walk->trial[value];
    bool packed = !from->has_plain;
    size_t bytes = bl_walk_buffer_bytes(walk, value, packed);

    BL_TRY(open_output(walk, value, to, packed));
    memcpy(packed ? to->packed : to->t.data, packed ? from->packed : from->t.data, bytes);
    walk->in_trial[value] = 1;
    return BL_OK;
}

static bl_status try_clean(bl_walk *walk, int value, const uint8_t *dirty_values, bl_walk_hook *hook, void *user)
{
    if (value < 0 || !dirty_values || !dirty_values[value] || is_constant(walk, value)) return BL_OK;
    BL_TRY(copy_clean(walk, value));
    return call_hook(walk, value, hook, user);
}

/* Clean values are copied when their node would run: that is when their buffer becomes theirs. */
static bl_status rerun_all(bl_walk *walk, const uint8_t *dirty_nodes, const uint8_t *dirty_values,
                           bl_walk_hook *hook, void *user)
{
    const bl_graph *g = walk->graph;

    for (int i = 0; i < g->n_inputs; i++) BL_TRY(try_clean(walk, g->inputs[i], dirty_values, hook, user));
    for (int n = 0; n < g->n_nodes; n++) {
        const bl_node *node = &g->nodes[n];
        if (dirty_nodes[n]) BL_TRY(bl_check_interrupt(walk->ctx));
        for (int i = 0; i < node->n_out; i++) {
            if (!dirty_nodes[n]) BL_TRY(try_clean(walk, node->out[i], dirty_values, hook, user));
            else if (node->out[i] >= 0) walk->in_trial[node->out[i]] = 1;
        }
        if (dirty_nodes[n]) BL_TRY(run_node(walk, n, hook, user));
    }
    return BL_OK;
}

bl_status bl_walk_rerun(bl_walk *walk, const uint8_t *dirty_nodes, const uint8_t *dirty_values,
                        bl_walk_hook *hook, void *user)
{
    bl_status status;
    int before;

    BL_CHECK(walk->ctx, walk->in_trial && walk->ran); /* keep_all, after a full run */
    if (walk->looks) BL_TRY(bl_walk_place_trial(walk));
    before = bl_dnn_enter();
    memset(walk->in_trial, 0, (size_t)walk->graph->n_values);
    status = rerun_all(walk, dirty_nodes, dirty_values, hook, user);
    bl_dnn_leave(before);
    return status;
}

/* ------------------------------------------------------------------ looking in */

bl_tensor *bl_walk_input(bl_walk *walk, int which)
{
    return &walk->base[walk->graph->inputs[which]].t;
}

/* The walk behind the const pointer converts on demand; NULL when memory is short (error pending).
 */
static const bl_tensor *look(const bl_walk *walk, int value, bl_place *place)
{
    return bl_walk_need(walk->self, value, place, false) == BL_OK ? &place->t : NULL;
}

const bl_tensor *bl_walk_value(const bl_walk *walk, int value)
{
    return look(walk, value, &walk->base[value]);
}

const bl_tensor *bl_walk_trial_value(const bl_walk *walk, int value)
{
    return look(walk, value, place_of(walk, value));
}

bl_status bl_walk_set_constant(bl_walk *walk, int value, const float *data)
{
    const bl_tensor *t = &walk->graph->values[value].t;

    BL_CHECK(walk->ctx, is_constant(walk, value) && t->type == BL_F32);
    walk->base[value].t.data = data ? (void *)data : t->data;
    walk->versions[value]++;
    return BL_OK;
}

void bl_walk_hook_uses(bl_walk *walk, const uint8_t *uses)
{
    walk->uses = uses;
}
