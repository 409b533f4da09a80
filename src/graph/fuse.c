/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Second pass of prepare: nodes that belong to the one before them.
 *
 *   MatMul (rank 2, constant weight) + Add of a vector           -> Gemm
 *   Conv without bias + Add of a number for each channel         -> Conv with bias
 *   Conv, ConvTranspose, Gemm, MatMul + BatchNormalization       -> the layer; bn[] keeps it
 *   layer, Add, Mul, Sub, Sum, BatchNormalization + Relu or Clip -> the producer's bounds
 *
 * Only where the producer feeds nothing else and is no graph output.  Nodes are visited in
 * topological order, so a chain Conv, BatchNormalization, Relu collapses from its head.
 *
 * BatchNormalization: y = gamma (x - mean) / sqrt(var + epsilon) + beta = k x + d per channel,
 * with x = w * in + b: weights k w, bias k b + d.  In double, rounded once.
 */
#include "graph/graph_private.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum { WEIGHT = 1, BIAS = 2 }; /* inputs of every layer that takes part */

static bl_status cannot(bl_edit *e, const bl_node *n, const char *what, int channel)
{
    char place[256];
    return bl_fail(e->ctx, BL_DATA, bl_node_place(n, place), "export the network again",
                   "channel %d: %s", channel, what);
}

static bool is_vector(const bl_tensor *t, int64_t n)
{
    return t && bl_tensor_count(t) == n && t->rank >= 1 && t->rank <= 2 && t->dim[t->rank - 1] == n;
}

/* ------------------------------------------------------------------ MatMul + Add */

/* The weight (K, N) of a MatMul of rank 2 that can become a Gemm; NULL otherwise. */
static const bl_tensor *gemm_weight(const bl_edit *e, const bl_node *n)
{
    const bl_op *gemm = bl_op_find("", "Gemm");
    if (!bl_node_is(n, "MatMul") || !gemm || n->opset < gemm->min_opset) return NULL;
    const bl_tensor *w = bl_edit_input_constant(e, n, WEIGHT, BL_F32);
    return w && w->rank == 2 && n->in[0] >= 0 && e->g.values[n->in[0]].t.rank == 2 ? w : NULL;
}

static void make_gemm(bl_edit *e, int node)
{
    bl_node *n = &e->g.nodes[node];
    n->op = bl_op_find("", "Gemm"); /* alpha, beta 1 and nothing transposed by default */
    n->attr = NULL;
    n->n_attr = 0;
}

/* t adds one number to each of n channels of a Conv's output (N, C, ...). */
static bool is_channel_vector(const bl_tensor *t, int64_t n, int out_rank)
{
    int axis = t ? t->rank - (out_rank - 1) : -1; /* of t, shapes aligned at the right */
    return axis >= 0 && t->rank <= out_rank && t->dim[axis] == n && bl_tensor_count(t) == n;
}

/* The bias that `add` brings to the layer `from`: its length, 0 if it is none. */
static int64_t bias_length(const bl_edit *e, const bl_node *from, const bl_tensor *bias)
{
    const bl_tensor *w = bl_edit_input_constant(e, from, WEIGHT, BL_F32);
    if (!w || from->n_in > BIAS || bl_node_clamps(from)) return 0;
    if (gemm_weight(e, from)) return is_vector(bias, w->dim[1]) ? w->dim[1] : 0;
    if (!bl_node_is(from, "Conv") || w->rank < 3) return 0;
    return is_channel_vector(bias, w->dim[0], w->rank) ? w->dim[0] : 0;
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
        if (gemm_weight(e, &e->g.nodes[from])) make_gemm(e, from);
        bl_edit_input(e, from, BIAS, value);
        bl_edit_absorb(e, from, add);
        break;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ BatchNormalization */

/* What k and d do to a layer: output channel of each weight element, and where the bias stands. */
typedef struct layer {
    bl_tensor weight;
    int64_t channels;
    /* element (a, b, c) of the weight seen as (A, B, C) belongs to channel b, or, by groups of a
     * (ConvTranspose), to a / (A / groups) * B + b */
    int64_t outer, middle, inner, groups;
    double alpha, beta;     /* Gemm's, which go into the constants */
    const bl_tensor *bias;  /* NULL: none */
} layer;

/* The bias is absent or a constant with a number for each channel (or one for all of them). */
static bool find_bias(const bl_edit *e, const bl_node *n, layer *l)
{
    bool given = n->n_in > BIAS && n->in[BIAS] >= 0;
    l->bias = bl_edit_input_constant(e, n, BIAS, BL_F32);
    if (!given) return true;
    return l->bias && (is_vector(l->bias, l->channels) || bl_tensor_count(l->bias) == 1);
}

static bool describe_conv(const bl_node *n, const bl_tensor *w, layer *l)
{
    bool transposed = bl_node_is(n, "ConvTranspose");
    if (!(transposed || bl_node_is(n, "Conv")) || w->rank < 3) return false;
    l->groups = transposed ? bl_attr_int(n, "group", 1) : 1;
    if (l->groups < 1 || w->dim[0] % l->groups != 0) return false;
    l->outer = transposed ? w->dim[0] : 1;
    l->middle = transposed ? w->dim[1] : w->dim[0];
    l->channels = l->middle * l->groups;
    l->inner = bl_tensor_count(w) / (l->outer * l->middle);
    return true;
}

static bool describe_product(const bl_edit *e, const bl_node *n, const bl_tensor *w, layer *l)
{
    bool gemm = bl_node_is(n, "Gemm"), rows = gemm && bl_attr_int(n, "transB", 0) != 0;
    if (w->rank != 2 || !(gemm || gemm_weight(e, n))) return false;
    l->groups = 1;
    l->outer = rows ? 1 : w->dim[0];
    l->middle = l->channels = rows ? w->dim[0] : w->dim[1];
    l->inner = rows ? w->dim[1] : 1;
    l->alpha = gemm ? bl_attr_float(n, "alpha", 1) : 1;
    l->beta = gemm ? bl_attr_float(n, "beta", 1) : 1;
    return true;
}

static bool describe_layer(const bl_edit *e, const bl_node *n, layer *l)
{
    const bl_tensor *w = bl_edit_input_constant(e, n, WEIGHT, BL_F32);
    *l = (layer){.alpha = 1, .beta = 1};
    if (!w || bl_node_clamps(n) || bl_tensor_count(w) == 0) return false;
    if (!describe_conv(n, w, l) && !describe_product(e, n, w, l)) return false;
    l->weight = *w;
    return find_bias(e, n, l);
}

/* gamma, beta, mean, var of a BatchNormalization that only scales; false if it does more. */
static bool read_norm(const bl_edit *e, const bl_node *n, int64_t channels, const float *p[4])
{
    if (!bl_node_is(n, "BatchNormalization") || n->n_in != 5 || n->n_out != 1) return false;
    if (n->opset < 7 ? !bl_attr_int(n, "is_test", 0) : bl_attr_int(n, "training_mode", 0) != 0)
        return false;
    if (n->opset < 9 && bl_attr_int(n, "spatial", 1) != 1) return false;
    for (int i = 0; i < 4; i++) {
        const bl_tensor *t = bl_edit_input_constant(e, n, 1 + i, BL_F32);
        if (!t || bl_tensor_count(t) != channels) return false;
        p[i] = t->data;
    }
    return true;
}

/* k, d and the statistics that distilling wants. */
static bl_status scales(bl_edit *e, const bl_node *n, const float *const p[4], int channels,
                        double *k, double *d, bl_bn *bn)
{
    double epsilon = bl_attr_float(n, "epsilon", 1e-5f);
    float *sigma = BL_NEW(e->arena, float, (size_t)channels);
    BL_ALLOC_TRY(e->ctx, sigma);
    for (int c = 0; c < channels; c++) {
        double variance = (double)p[3][c] + epsilon;
        if (!(variance > 0)) return cannot(e, n, "its variance is not positive", c);
        k[c] = (double)p[0][c] / sqrt(variance);
        d[c] = (double)p[1][c] - k[c] * (double)p[2][c];
        sigma[c] = (float)sqrt(variance);
    }
    *bn = (bl_bn){.name = n->name, .channels = channels, .mean = p[2], .sigma = sigma,
                  .gamma = p[0], .beta = p[1]};
    return BL_OK;
}

static bl_status scale_weight(bl_edit *e, const bl_node *bn, const layer *l, const double *k,
                              bl_tensor *out)
{
    const float *from = l->weight.data;
    float *to = BL_NEW(e->arena, float, (size_t)bl_tensor_count(&l->weight));
    BL_ALLOC_TRY(e->ctx, to);
    int64_t at = 0;
    for (int64_t a = 0; a < l->outer; a++)
        for (int64_t b = 0; b < l->middle; b++) {
            int64_t channel = l->groups > 1 ? a / (l->outer / l->groups) * l->middle + b : b;
            double factor = k[channel] * l->alpha;
            for (int64_t c = 0; c < l->inner; c++, at++) {
                to[at] = (float)((double)from[at] * factor);
                if (!isfinite(to[at]))
                    return cannot(e, bn, "weights grow beyond float32 by it", (int)channel);
            }
        }
    *out = l->weight;
    out->data = to;
    return BL_OK;
}

static bl_status scale_bias(bl_edit *e, const bl_node *bn, const layer *l, const double *k,
                            const double *d, bl_tensor *out)
{
    float *to = BL_NEW(e->arena, float, (size_t)l->channels);
    BL_ALLOC_TRY(e->ctx, to);
    const float *from = l->bias ? l->bias->data : NULL;
    bool one = l->bias && bl_tensor_count(l->bias) == 1;
    for (int64_t c = 0; c < l->channels; c++) {
        double b = from ? (double)from[one ? 0 : c] * l->beta : 0;
        to[c] = (float)(k[c] * b + d[c]);
        if (!isfinite(to[c])) return cannot(e, bn, "biases grow beyond float32 by it", (int)c);
    }
    *out = (bl_tensor){.type = BL_F32, .rank = 1, .dim = {l->channels}, .data = to};
    return BL_OK;
}

/* alpha and beta are in the constants now. */
static bl_status drop_factors(bl_edit *e, bl_node *n)
{
    bl_attr *kept = BL_NEW(e->arena, bl_attr, (size_t)n->n_attr);
    BL_ALLOC_TRY(e->ctx, kept);
    int n_kept = 0;
    for (int i = 0; i < n->n_attr; i++)
        if (strcmp(n->attr[i].name, "alpha") != 0 && strcmp(n->attr[i].name, "beta") != 0)
            kept[n_kept++] = n->attr[i];
    n->attr = kept;
    n->n_attr = n_kept;
    return BL_OK;
}

/* A constant that only this node read gives its name to the one that takes its place. */
static bl_status replace_constant(bl_edit *e, int node, int i, const char *wish, const bl_tensor *t)
{
    const bl_node *n = &e->g.nodes[node];
    int old = i < n->n_in ? n->in[i] : -1, value;
    if (old >= 0 && e->g.values[old].n_readers == 1 && !e->g.values[old].is_output) {
        e->g.values[old].t = *t;
        return BL_OK;
    }
    char *text = bl_format(e->arena, "%s_%s", n->name, wish);
    BL_ALLOC_TRY(e->ctx, text);
    BL_TRY(bl_edit_constant(e, text, t, &value));
    bl_edit_input(e, node, i, value);
    return BL_OK;
}

static bl_status fold_norm(bl_edit *e, int node)
{
    const bl_node *bn = &e->g.nodes[node];
    const float *p[4];
    layer l;
    int from = bl_edit_feeder(e, node, 0);
    if (from < 0 || !describe_layer(e, &e->g.nodes[from], &l) || !read_norm(e, bn, l.channels, p))
        return BL_OK;
    bl_tensor weight, bias;
    double *k = BL_NEW(e->arena, double, (size_t)l.channels);
    BL_ALLOC_TRY(e->ctx, k);
    double *d = BL_NEW(e->arena, double, (size_t)l.channels);
    BL_ALLOC_TRY(e->ctx, d);
    bl_bn *kept = &e->g.bn[e->g.n_bn];
    BL_TRY(scales(e, bn, p, (int)l.channels, k, d, kept));
    BL_TRY(scale_weight(e, bn, &l, k, &weight));
    BL_TRY(scale_bias(e, bn, &l, k, d, &bias));
    if (bl_node_is(&e->g.nodes[from], "MatMul")) make_gemm(e, from);
    if (bl_node_is(&e->g.nodes[from], "Gemm")) BL_TRY(drop_factors(e, &e->g.nodes[from]));
    BL_TRY(replace_constant(e, from, WEIGHT, "weight", &weight));
    BL_TRY(replace_constant(e, from, BIAS, "bias", &bias));
    bl_edit_absorb(e, from, node);
    kept->value = e->g.nodes[from].out[0];
    e->g.n_bn++;
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

/* lo <= hi of a Relu or Clip whose bounds are known. */
static bool read_bounds(const bl_edit *e, const bl_node *n, float *lo, float *hi)
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

/* Both clamps one after the other: min(max(x, lo), hi) of min(max(x, n->lo), n->hi). */
static void clamp_also(bl_node *n, float lo, float hi)
{
    n->lo = fminf(fmaxf(n->lo, lo), hi);
    n->hi = fminf(fmaxf(n->hi, lo), hi);
}

static bl_status fuse_activation(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    float lo, hi;
    if (n->n_out != 1 || !read_bounds(e, n, &lo, &hi)) return BL_OK;
    int from = bl_edit_feeder(e, node, 0);
    if (from < 0 || !takes_bounds(&e->g.nodes[from])) return BL_OK;
    if (e->g.values[n->in[0]].t.type != BL_F32) return BL_OK;
    clamp_also(&e->g.nodes[from], lo, hi);
    bl_edit_absorb(e, from, node);
    return BL_OK;
}

bl_status bl_fuse(bl_edit *e)
{
    for (int i = 0; i < e->g.n_nodes; i++) {
        if (e->dead[i]) continue;
        const bl_node *n = &e->g.nodes[i];
        if ((i & 63) == 0) BL_TRY(bl_check_interrupt(e->ctx));
        if (bl_node_is(n, "Add"))
            BL_TRY(join_bias(e, i));
        else if (bl_node_is(n, "BatchNormalization"))
            BL_TRY(fold_norm(e, i));
        else
            BL_TRY(fuse_activation(e, i));
    }
    return BL_OK;
}
