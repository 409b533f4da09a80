/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A number times and a number plus for each channel, y = k x + d, beside a layer that multiplies:
 *
 *   behind Conv, ConvTranspose, Gemm, MatMul: weights k w, bias k b + d
 *   before Conv, Gemm, MatMul:                weights k_i w_oi, bias b_o + sum_i w_oi d_i; before a Conv
 *                                             with padding only where d is 0, as the border stays 0
 *
 * BatchNormalization: k = gamma / sqrt(var + epsilon), d = beta - k mean.  Mul, Div, Add and Sub of a
 * constant with one number for each channel, or one for all.  In double, rounded once.
 */
#include "graph/fuse.h"

#include <math.h>

enum { WEIGHT = BL_FUSE_WEIGHT, BIAS = BL_FUSE_BIAS };

static bl_status cannot(bl_edit *e, const bl_node *n, const char *what, int channel)
{
    char place[256];
    return bl_fail(e->ctx, BL_DATA, bl_node_place(n, place), "export the network again",
                   "channel %d: %s", channel, what);
}

bool bl_fuse_is_vector(const bl_tensor *t, int64_t n)
{
    return t && bl_tensor_count(t) == n && t->rank >= 1 && t->rank <= 2 && t->dim[t->rank - 1] == n;
}

/* The weight (K, N) of a MatMul of rank 2 that can become a Gemm; NULL otherwise. */
const bl_tensor *bl_fuse_gemm_weight(const bl_edit *e, const bl_node *n)
{
    const bl_op *gemm = bl_op_find("", "Gemm");
    if (!bl_node_is(n, "MatMul") || !gemm || n->opset < gemm->min_opset) return NULL;
    const bl_tensor *w = bl_edit_input_constant(e, n, WEIGHT, BL_F32);
    return w && w->rank == 2 && n->in[0] >= 0 && e->g.values[n->in[0]].t.rank == 2 ? w : NULL;
}

void bl_fuse_make_gemm(bl_edit *e, int node)
{
    bl_node *n = &e->g.nodes[node];
    n->op = bl_op_find("", "Gemm"); /* alpha, beta 1 and nothing transposed by default */
    n->attr = NULL;
    n->n_attr = 0;
}

/* t adds one number to each of n channels of a Conv's output (N, C, ...). */
bool bl_fuse_is_channels(const bl_tensor *t, int64_t n, int out_rank)
{
    int axis = t ? t->rank - (out_rank - 1) : -1; /* of t, shapes aligned at the right */
    return axis >= 0 && t->rank <= out_rank && t->dim[axis] == n && bl_tensor_count(t) == n;
}

/* ------------------------------------------------------------------ layers */

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
    return l->bias && (bl_fuse_is_vector(l->bias, l->channels) || bl_tensor_count(l->bias) == 1);
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
    if (w->rank != 2 || !(gemm || bl_fuse_gemm_weight(e, n))) return false;
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

/* y = k x + d by channel; norm: a BatchNormalization, whose statistics bn describes. */
typedef struct affine {
    int channels;
    double *k, *d;
    bool norm, shifts; /* shifts: some d is not 0 */
    bl_bn bn;
} affine;

static bl_status norm_affine(bl_edit *e, const bl_node *n, const float *const p[4], affine *a)
{
    double epsilon = bl_attr_float(n, "epsilon", 1e-5f);
    float *sigma = BL_NEW(e->arena, float, (size_t)a->channels), *gamma = BL_NEW(e->arena, float, (size_t)a->channels);
    if (!sigma || !gamma) return bl_pending(e->ctx);
    for (int c = 0; c < a->channels; c++) {
        double variance = (double)p[3][c] + epsilon;
        if (!(variance > 0)) return cannot(e, n, "its variance is not positive", c);
        a->k[c] = (double)p[0][c] / sqrt(variance);
        a->d[c] = (double)p[1][c] - a->k[c] * (double)p[2][c];
        /* Of a channel that hardly moved epsilon is the variance: what it remembers is what it saw. */
        sigma[c] = sqrtf(fmaxf(p[3][c], 0));
        gamma[c] = (float)(a->k[c] * (double)sigma[c]);
    }
    a->norm = true;
    a->bn = (bl_bn){.name = n->name, .channels = a->channels, .mean = p[2], .sigma = sigma,
                    .gamma = gamma, .beta = p[1]};
    return BL_OK;
}

/* The constant of x op c, with a number for each channel of x or one for all; NULL: none such. */
static const bl_tensor *channel_constant(const bl_edit *e, const bl_node *n, int64_t channels)
{
    const bl_tensor *c = n->n_in == 2 ? bl_edit_input_constant(e, n, 1, BL_F32) : NULL;
    int rank = n->in[0] < 0 ? 0 : e->g.values[n->in[0]].t.rank;
    if (!c || c->rank > rank) return NULL;
    if (bl_tensor_count(c) == 1) return c;
    return (rank == 2 ? bl_fuse_is_vector(c, channels) : bl_fuse_is_channels(c, channels, rank)) ? c : NULL;
}

static bool constant_affine(const bl_edit *e, const bl_node *n, affine *a)
{
    const bl_tensor *t = channel_constant(e, n, a->channels);
    bool mul = bl_node_is(n, "Mul"), div = bl_node_is(n, "Div");
    bool add = bl_node_is(n, "Add"), sub = bl_node_is(n, "Sub");
    if (!t || !(mul || div || add || sub)) return false;
    for (int c = 0; c < a->channels; c++) {
        double v = (double)((const float *)t->data)[bl_tensor_count(t) == 1 ? 0 : c];
        a->k[c] = mul ? v : div ? 1 / v : 1;
        a->d[c] = add ? v : sub ? -v : 0;
        if (!isfinite(a->k[c]) || !isfinite(a->d[c])) return false;
    }
    return true;
}

/* *found false: the node is nothing of the kind, or has an activation fused into it. */
static bl_status read_affine(bl_edit *e, const bl_node *n, int64_t channels, affine *a, bool *found)
{
    const float *p[4];
    *a = (affine){.channels = (int)channels};
    *found = false;
    a->k = BL_NEW(e->arena, double, (size_t)channels);
    BL_ALLOC_TRY(e->ctx, a->k);
    a->d = BL_NEW(e->arena, double, (size_t)channels);
    BL_ALLOC_TRY(e->ctx, a->d);
    if (read_norm(e, n, channels, p)) {
        BL_TRY(norm_affine(e, n, p, a));
        *found = true;
    } else {
        *found = constant_affine(e, n, a);
    }
    for (int c = 0; c < a->channels; c++) a->shifts |= a->d[c] != 0;
    return BL_OK;
}

static bool may_be_affine(const bl_node *n)
{
    static const char *const ops[] = {"BatchNormalization", "Mul", "Div", "Add", "Sub"};
    for (size_t i = 0; i < BL_COUNTOF(ops); i++)
        if (bl_node_is(n, ops[i])) return n->n_out == 1;
    return false;
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

/* ------------------------------------------------------------------ alpha and beta */

/* *out NULL: a product is beyond float32. */
static bl_status times(bl_edit *e, const bl_tensor *t, float factor, float **out)
{
    int64_t n = bl_tensor_count(t);
    float *to = BL_NEW(e->arena, float, (size_t)n);
    BL_ALLOC_TRY(e->ctx, to);
    *out = to;
    for (int64_t i = 0; i < n; i++) {
        to[i] = ((const float *)t->data)[i] * factor;
        if (!isfinite(to[i])) *out = NULL;
    }
    return BL_OK;
}

bl_status bl_fuse_factors(bl_edit *e, int node)
{
    bl_node *n = &e->g.nodes[node];
    float alpha = bl_attr_float(n, "alpha", 1), beta = bl_attr_float(n, "beta", 1), *data[3] = {NULL};
    const bl_tensor *part[3] = {NULL, bl_edit_input_constant(e, n, WEIGHT, BL_F32), bl_edit_input_constant(e, n, BIAS, BL_F32)};
    bool biased = n->n_in > BIAS && n->in[BIAS] >= 0;
    if ((alpha == 1 && beta == 1) || (alpha != 1 && !part[WEIGHT]) || (biased && beta != 1 && !part[BIAS] && beta != 0)) return BL_OK;
    if (alpha != 1) {
        BL_TRY(times(e, part[WEIGHT], alpha, &data[WEIGHT]));
        if (!data[WEIGHT]) return BL_OK;
    }
    if (biased && beta != 1 && beta != 0) {
        BL_TRY(times(e, part[BIAS], beta, &data[BIAS]));
        if (!data[BIAS]) return BL_OK;
    }
    for (int i = WEIGHT; i <= BIAS; i++) {
        if (!data[i]) continue;
        bl_tensor t = *part[i];
        t.data = data[i];
        BL_TRY(replace_constant(e, node, i, i == WEIGHT ? "weight" : "bias", &t));
    }
    if (biased && beta == 0) {
        bl_edit_input(e, node, BIAS, -1);
        n->n_in = BIAS;
    }
    return drop_factors(e, n);
}

/* ------------------------------------------------------------------ behind a layer */

/* Statistics kept of an earlier BatchNormalization follow what comes after it. */
static bl_status follow(bl_edit *e, int value, const affine *a)
{
    for (int i = 0; i < e->g.n_bn; i++) {
        bl_bn *bn = &e->g.bn[i];
        if (bn->value != value) continue;
        float *gamma = BL_NEW(e->arena, float, (size_t)bn->channels);
        BL_ALLOC_TRY(e->ctx, gamma);
        float *beta = BL_NEW(e->arena, float, (size_t)bn->channels);
        BL_ALLOC_TRY(e->ctx, beta);
        for (int c = 0; c < bn->channels; c++) {
            gamma[c] = (float)(a->k[c] * (double)bn->gamma[c]);
            beta[c] = (float)(a->k[c] * (double)bn->beta[c] + a->d[c]);
        }
        bn->gamma = gamma;
        bn->beta = beta;
    }
    return BL_OK;
}

bl_status bl_fuse_behind(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    affine a;
    layer l;
    bool found;
    int from = may_be_affine(n) ? bl_edit_feeder(e, node, 0) : -1;
    if (from < 0 || !describe_layer(e, &e->g.nodes[from], &l)) return BL_OK;
    BL_TRY(read_affine(e, n, l.channels, &a, &found));
    if (!found) return BL_OK;
    bl_tensor weight, bias;
    BL_TRY(scale_weight(e, n, &l, a.k, &weight));
    BL_TRY(scale_bias(e, n, &l, a.k, a.d, &bias));
    if (bl_node_is(&e->g.nodes[from], "MatMul")) bl_fuse_make_gemm(e, from);
    if (bl_node_is(&e->g.nodes[from], "Gemm")) BL_TRY(drop_factors(e, &e->g.nodes[from]));
    BL_TRY(replace_constant(e, from, WEIGHT, "weight", &weight));
    if (l.bias || a.norm || a.shifts) BL_TRY(replace_constant(e, from, BIAS, "bias", &bias));
    BL_TRY(follow(e, e->g.nodes[from].out[0], &a));
    bl_edit_absorb(e, from, node);
    if (a.norm) {
        a.bn.value = e->g.nodes[from].out[0];
        e->g.bn[e->g.n_bn++] = a.bn;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ before a layer */

static bool is_padded(const bl_node *n)
{
    const bl_attr *pads = bl_node_attr(n, "pads");
    const char *automatic = bl_attr_string(n, "auto_pad", "NOTSET");
    if (strcmp(automatic, "NOTSET") != 0 && strcmp(automatic, "VALID") != 0) return true;
    for (size_t i = 0; pads && i < pads->n; i++)
        if (pads->ints[i] != 0) return true;
    return false;
}

/* Input channels and output channels of a layer whose input can be scaled by channel. */
typedef struct reader {
    bool conv, rows; /* rows: a Gemm's weight (N, K) */
    int64_t groups, in, out, taps;
} reader;

static bool describe_reader(const bl_edit *e, const bl_node *n, const bl_tensor *w, reader *r)
{
    bool gemm = bl_node_is(n, "Gemm");
    *r = (reader){.conv = bl_node_is(n, "Conv"), .groups = 1, .taps = 1};
    if (r->conv && w->rank >= 3) {
        r->groups = bl_attr_int(n, "group", 1);
        r->out = w->dim[0];
        r->in = w->dim[1] * r->groups;
        r->taps = bl_tensor_count(w) / (w->dim[0] * w->dim[1]);
        return r->groups >= 1 && r->out % r->groups == 0;
    }
    if (w->rank != 2 || !(gemm || bl_fuse_gemm_weight(e, n)) || bl_attr_int(n, "transA", 0)) return false;
    r->rows = gemm && bl_attr_int(n, "transB", 0) != 0;
    r->in = w->dim[r->rows];
    r->out = w->dim[!r->rows];
    return true;
}

/* to = k_i w_oi; add[o] = sum_i w_oi d_i. */
static void scale_inputs(const reader *r, const affine *a, const float *w, float *to, double *add)
{
    int64_t each = r->in / r->groups;
    for (int64_t o = 0; o < r->out; o++)
        for (int64_t i = 0; i < each; i++) {
            int64_t c = r->conv ? o / (r->out / r->groups) * each + i : i;
            int64_t at = r->conv || r->rows ? (o * each + i) * r->taps : i * r->out + o;
            for (int64_t t = 0; t < r->taps; t++, at++) {
                add[o] += (double)w[at] * a->d[c];
                to[at] = (float)((double)w[at] * a->k[c]);
            }
        }
}

static bl_status put_before(bl_edit *e, int node, const reader *r, const layer *l, const affine *a)
{
    const bl_tensor *w = &l->weight;
    bl_tensor weight = *w, bias = {.type = BL_F32, .rank = 1, .dim = {r->out}};
    bool one = l->bias && bl_tensor_count(l->bias) == 1;
    double *add = BL_NEW(e->arena, double, (size_t)r->out);
    BL_ALLOC_TRY(e->ctx, add);
    weight.data = BL_NEW(e->arena, float, (size_t)bl_tensor_count(w));
    BL_ALLOC_TRY(e->ctx, weight.data);
    float *to = bias.data = BL_NEW(e->arena, float, (size_t)r->out);
    BL_ALLOC_TRY(e->ctx, bias.data);
    scale_inputs(r, a, w->data, weight.data, add);
    for (int64_t o = 0; o < r->out; o++) {
        double b = l->bias ? (double)((const float *)l->bias->data)[one ? 0 : o] : 0;
        to[o] = (float)(b + add[o]);
        if (!isfinite(to[o])) return BL_OK; /* stays as it is */
    }
    for (int64_t i = 0; i < bl_tensor_count(w); i++)
        if (!isfinite(((float *)weight.data)[i])) return BL_OK;
    int before = e->g.values[e->g.nodes[node].in[0]].producer;
    if (a->shifts && bl_node_is(&e->g.nodes[node], "MatMul")) bl_fuse_make_gemm(e, node);
    BL_TRY(replace_constant(e, node, WEIGHT, "weight", &weight));
    if (a->shifts) BL_TRY(replace_constant(e, node, BIAS, "bias", &bias));
    int x = e->g.nodes[before].in[0];
    bl_edit_input(e, node, 0, x);
    bl_edit_kill(e, before);
    return BL_OK;
}

bl_status bl_fuse_before(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    int before = bl_edit_feeder(e, node, 0);
    bool found;
    affine a;
    reader r;
    layer l;
    if (before < 0 || !may_be_affine(&e->g.nodes[before]) || bl_node_clamps(&e->g.nodes[before]))
        return BL_OK;
    if (!describe_layer(e, n, &l) || l.alpha != 1 || l.beta != 1 ||
        !describe_reader(e, n, &l.weight, &r))
        return BL_OK;
    BL_TRY(read_affine(e, &e->g.nodes[before], r.in, &a, &found));
    if (!found || (a.shifts && r.conv && is_padded(n))) return BL_OK;
    return put_before(e, node, &r, &l, &a);
}
