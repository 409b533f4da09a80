/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Third pass of prepare: nodes that belong to the one before or behind them.
 *
 *   MatMul (rank 2, constant weight) + Add of a vector           -> Gemm
 *   MatMul (any rank, constant matrix) + Add of a vector         -> MatMul with a bias, an input of our own
 *   alpha and beta of a Gemm                                     -> its constants (fuse_scale.c)
 *   Conv without bias + Add of a number for each channel         -> Conv with bias
 *   BatchNormalization, Mul, Add by channel beside a layer       -> the layer (fuse_scale.c)
 *   layer, Add, Mul, Sub, Sum, BatchNormalization + Relu or Clip -> the producer's bounds
 *
 * Only where the producer feeds nothing else and is no graph output.  Nodes are visited in
 * topological order, so a chain Conv, BatchNormalization, Relu collapses from its head.
 */
#include "graph/fuse.h"

#include <float.h>
#include <math.h>

enum { WEIGHT = BL_FUSE_WEIGHT, BIAS = BL_FUSE_BIAS };

/* ------------------------------------------------------------------ MatMul + Add */

/* A product of rows of any rank by one constant matrix (K, N): ONNX has no name for one with a bias. */
static bool is_tall_product(const bl_edit *e, const bl_node *n, const bl_tensor *w)
{
    return bl_node_is(n, "MatMul") && w->rank == 2 && n->in[0] >= 0 && e->g.values[n->in[0]].t.rank > 2;
}

/* n numbers along the last dimension of a value of that rank, the same for all places before it. */
static bool is_last(const bl_tensor *t, int64_t n, int out_rank)
{
    return t->rank >= 1 && t->rank <= out_rank && t->dim[t->rank - 1] == n && bl_tensor_count(t) == n;
}

/* The bias that `add` brings to the layer `from`: its length, 0 if it is none. */
static int64_t bias_length(const bl_edit *e, const bl_node *from, const bl_tensor *bias)
{
    const bl_tensor *w = bl_edit_input_constant(e, from, WEIGHT, BL_F32);
    if (!w || from->n_in > BIAS || bl_node_clamps(from)) return 0;
    if (bl_fuse_gemm_weight(e, from)) return bl_fuse_is_vector(bias, w->dim[1]) ? w->dim[1] : 0;
    if (is_tall_product(e, from, w)) return is_last(bias, w->dim[1], e->g.values[from->in[0]].t.rank) ? w->dim[1] : 0;
    if (!bl_node_is(from, "Conv") || w->rank < 3) return 0;
    return bl_fuse_is_channels(bias, w->dim[0], w->rank) ? w->dim[0] : 0;
}

static bl_status join_bias(bl_edit *e, int add)
{
    const bl_node *n = &e->g.nodes[add];
    for (int i = 0; i < 2 && n->n_in == 2; i++) {
        int from = bl_edit_feeder(e, add, i), value = n->in[1 - i];
        const bl_tensor *bias = bl_edit_input_constant(e, n, 1 - i, BL_F32);
        int64_t length = from < 0 || !bias ? 0 : bias_length(e, &e->g.nodes[from], bias);
        if (length == 0) continue;
        bl_tensor flat = {.type = BL_F32, .rank = 1, .dim = {length}, .data = bias->data};
        if (e->g.values[value].n_readers > 1 || e->g.values[value].is_output)
            BL_TRY(bl_edit_constant(e, e->g.values[value].name, &flat, &value));
        else
            e->g.values[value].t = flat;
        if (bl_fuse_gemm_weight(e, &e->g.nodes[from])) bl_fuse_make_gemm(e, from);
        bl_edit_input(e, from, BIAS, value);
        bl_edit_absorb(e, from, add);
        break;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ activations */

/* A bound beyond every finite number is none. */
static float opened(float bound)
{
    return bound <= -FLT_MAX ? -INFINITY : bound >= FLT_MAX ? INFINITY : bound;
}

/* Clip's bound from input i; absent is `otherwise`.  False where it is not known. */
static bool clip_input(const bl_edit *e, const bl_node *n, int i, float otherwise, float *out)
{
    *out = otherwise;
    if (i >= n->n_in || n->in[i] < 0) return true;
    const bl_tensor *t = bl_edit_input_constant(e, n, i, BL_F32);
    if (!t || bl_tensor_count(t) != 1) return false;
    *out = *(const float *)t->data;
    return !isnan(*out);
}

bool bl_edit_bounds(const bl_edit *e, const bl_node *n, float *lo, float *hi)
{
    *lo = -INFINITY;
    *hi = INFINITY;
    if (bl_node_is(n, "Relu")) {
        *lo = 0;
        return true;
    }
    if (!bl_node_is(n, "Clip")) return false;
    if (n->opset < 11) {
        *lo = bl_attr_float(n, "min", -INFINITY);
        *hi = bl_attr_float(n, "max", INFINITY);
        if (isnan(*lo) || isnan(*hi)) return false;
    } else if (!clip_input(e, n, 1, -INFINITY, lo) || !clip_input(e, n, 2, INFINITY, hi))
        return false;
    *lo = opened(*lo);
    *hi = opened(*hi);
    *lo = fminf(*lo, *hi); /* bounds that cross: all becomes the upper one */
    return true;
}

static bool takes_bounds(const bl_node *n)
{
    static const char *const joins[] = {"Add", "Mul", "Sub", "Sum", "BatchNormalization"};
    if (n->op->flags & BL_OP_LAYER) return true;
    for (size_t i = 0; i < BL_COUNTOF(joins); i++)
        if (bl_node_is(n, joins[i])) return true;
    return false;
}

void bl_node_clamp(bl_node *n, float lo, float hi)
{
    n->lo = fminf(fmaxf(n->lo, lo), hi);
    n->hi = fminf(fmaxf(n->hi, lo), hi);
}

static bl_status fuse_activation(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    float lo, hi;
    if (n->n_out != 1 || !bl_edit_bounds(e, n, &lo, &hi)) return BL_OK;
    int from = bl_edit_feeder(e, node, 0);
    if (from < 0 || !takes_bounds(&e->g.nodes[from])) return BL_OK;
    if (e->g.values[n->in[0]].t.type != BL_F32) return BL_OK;
    bl_node_clamp(&e->g.nodes[from], lo, hi);
    bl_edit_absorb(e, from, node);
    return BL_OK;
}

bl_status bl_fuse(bl_edit *e)
{
    for (int i = 0; i < e->g.n_nodes; i++) {
        if (e->dead[i]) continue;
        const bl_node *n = &e->g.nodes[i];
        if ((i & 63) == 0) BL_TRY(bl_check_interrupt(e->ctx));
        if (bl_node_is(n, "Add")) BL_TRY(join_bias(e, i));
        if (bl_node_is(n, "Gemm")) BL_TRY(bl_fuse_factors(e, i));
        if (!e->dead[i] && !e->norms) BL_TRY(bl_fuse_behind(e, i));
        if (!e->dead[i] && !e->open) BL_TRY(fuse_activation(e, i));
        if (!e->dead[i] && !e->norms) BL_TRY(bl_fuse_before(e, i));
    }
    return BL_OK;
}
