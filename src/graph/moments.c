/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a network remembers of the values that flowed while it was taught: mean and variance by channel, from the
 * statistics of folded BatchNormalizations alone (DFQ, arXiv 1906.04721, section 4.2.1).
 *
 * In front of an activation a BatchNormalization gave a Gaussian of mean beta and deviation gamma.  Functions of one
 * value, and bounds, are integrated over it; sums, products and weighted sums take their operands for independent;
 * averages keep the mean.  Whatever else stands between (a maximum over places, the network's input) leaves a value
 * unknown, and what hangs on it, until the next BatchNormalization.
 */
#include "graph/graph_private.h"

#include <math.h>
#include <string.h>

enum { NODES = 257 };       /* of the quadrature */
#define ENDS 6.0            /* deviations that it spans on either side */

typedef struct moments {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *g;
    bl_moments *out;        /* by value */
} moments;

static int64_t channels_of(const bl_tensor *t)
{
    return t->rank >= 2 && t->type == BL_F32 ? t->dim[1] : 0;
}

static bl_status make(moments *m, int value, int64_t channels, double **mean, double **variance)
{
    *mean = BL_NEW(m->arena, double, (size_t)channels);
    *variance = BL_NEW(m->arena, double, (size_t)channels);
    if (!*mean || !*variance) return bl_pending(m->ctx);
    m->out[value] = (bl_moments){ channels, *mean, *variance };
    return BL_OK;
}

/* Mean and variance of f(x) within the node's bounds, x Gaussian. */
static void integrate(const bl_node *n, bool unary, double *mean, double *variance)
{
    double deviation = sqrt(fmax(*variance, 0)), sum = 0, square = 0, all = 0, shift = 0;
    for (int i = 0; i < NODES; i++) {
        double z = ENDS * (2.0 * i / (NODES - 1) - 1), p = exp(-z * z / 2), x = *mean + deviation * z;
        double y = unary ? n->op->unary(n, x) : x;
        y = fmin(fmax(y, n->lo), n->hi);
        if (!i) shift = y;
        all += p;
        sum += p * (y - shift);
        square += p * (y - shift) * (y - shift);
    }
    *mean = shift + sum / all;
    *variance = fmax(square / all - sum / all * (sum / all), 0);
}

/* A layer whose input is known and whose output no BatchNormalization took. */
static bl_status weigh(moments *m, const bl_node *n, const bl_moments *x)
{
    const bl_tensor *w = &m->g->values[n->in[1]].t, *y = &m->g->values[n->out[0]].t;
    bool conv = bl_node_is(n, "Conv"), rows = conv || bl_attr_int(n, "transB", 0);
    if (!w->data || w->type != BL_F32 || !(conv || bl_node_is(n, "Gemm")) || (!conv && (w->rank != 2 || bl_attr_int(n, "transA", 0)))) return BL_OK;
    int64_t groups = conv ? bl_attr_int(n, "group", 1) : 1, out = w->dim[rows ? 0 : 1], in = w->dim[rows ? 1 : 0];
    int64_t taps = bl_tensor_count(w) / BL_MAX(out * in, 1);
    if (channels_of(y) != out || in * groups != x->channels || out % groups) return BL_OK;
    const float *bias = n->n_in > 2 && n->in[2] >= 0 ? m->g->values[n->in[2]].t.data : NULL;
    if (n->n_in > 2 && n->in[2] >= 0 && (!bias || bl_tensor_count(&m->g->values[n->in[2]].t) != out)) return BL_OK;
    double *mean, *variance;
    BL_TRY(make(m, n->out[0], out, &mean, &variance));
    for (int64_t o = 0; o < out; o++) {
        mean[o] = bias ? bias[o] : 0;
        for (int64_t i = 0; i < in; i++)
            for (int64_t k = 0; k < taps; k++) {
                double v = ((const float *)w->data)[rows ? (o * in + i) * taps + k : i * out + o];
                int64_t c = o / (out / groups) * in + i;
                mean[o] += v * x->mean[c];
                variance[o] += v * v * x->variance[c];
            }
    }
    return BL_OK;
}

static const bl_moments *known(const moments *m, int value)
{
    return value >= 0 && m->out[value].channels ? &m->out[value] : NULL;
}

/* Add, Sum, Mul of values, each with the output's channels. */
static bl_status join(moments *m, const bl_node *n, bool product)
{
    int64_t channels = channels_of(&m->g->values[n->out[0]].t);
    double *mean, *variance;
    for (int i = 0; i < n->n_in; i++) {
        const bl_moments *x = known(m, n->in[i]);
        if (!x || x->channels != channels) return BL_OK;
    }
    BL_TRY(make(m, n->out[0], channels, &mean, &variance));
    for (int64_t c = 0; c < channels; c++) {
        double a = product, v = 0;
        for (int i = 0; i < n->n_in; i++) {
            double b = m->out[n->in[i]].mean[c], u = m->out[n->in[i]].variance[c];
            v = product ? (a * a + v) * (b * b + u) - a * a * b * b : v + u;
            a = product ? a * b : a + b;
        }
        mean[c] = a;
        variance[c] = v;
    }
    return BL_OK;
}

static bl_status concatenate(moments *m, const bl_node *n)
{
    int64_t channels = channels_of(&m->g->values[n->out[0]].t), sum = 0;
    double *mean, *variance;
    for (int i = 0; i < n->n_in; i++) sum += known(m, n->in[i]) ? m->out[n->in[i]].channels : 0;
    if (bl_attr_int(n, "axis", 1) != 1 || sum != channels) return BL_OK;
    BL_TRY(make(m, n->out[0], channels, &mean, &variance));
    for (int i = 0; i < n->n_in; i++) {
        const bl_moments *x = &m->out[n->in[i]];
        memcpy(mean, x->mean, (size_t)x->channels * sizeof *mean);
        memcpy(variance, x->variance, (size_t)x->channels * sizeof *variance);
        mean += x->channels;
        variance += x->channels;
    }
    return BL_OK;
}

static bool keeps_mean(const moments *m, const bl_node *n)
{
    static const char *const names[] = { "GlobalAveragePool", "AveragePool", "Identity" };
    const bl_tensor *x = &m->g->values[n->in[0]].t, *y = &m->g->values[n->out[0]].t;
    for (size_t i = 0; i < BL_COUNTOF(names); i++)
        if (bl_node_is(n, names[i])) return true;
    return (bl_node_is(n, "Flatten") || bl_node_is(n, "Reshape")) && x->rank >= 2 && y->rank >= 2 && x->dim[0] == y->dim[0] &&
           x->dim[1] == y->dim[1] && bl_tensor_count(x) == x->dim[0] * x->dim[1] && bl_tensor_count(y) == bl_tensor_count(x);
}

static bl_status copy_of(moments *m, int value, const bl_moments *x)
{
    double *mean, *variance;
    BL_TRY(make(m, value, x->channels, &mean, &variance));
    memcpy(mean, x->mean, (size_t)x->channels * sizeof *mean);
    memcpy(variance, x->variance, (size_t)x->channels * sizeof *variance);
    return BL_OK;
}

/* What the node gives before its bounds. */
static bl_status give(moments *m, const bl_node *n, bool *unary)
{
    const bl_moments *x = n->n_in ? known(m, n->in[0]) : NULL;
    *unary = false;
    if (bl_node_is(n, "Mul")) return join(m, n, true);
    if (bl_node_is(n, "Add") || bl_node_is(n, "Sum")) return join(m, n, false);
    if (bl_node_is(n, "Concat")) return concatenate(m, n);
    if (!x) return BL_OK;
    if (n->op->flags & BL_OP_LAYER) return weigh(m, n, x);
    *unary = (n->op->flags & BL_OP_UNARY) && n->op->unary && n->n_in == 1;
    return *unary || keeps_mean(m, n) ? copy_of(m, n->out[0], x) : BL_OK;
}

bl_status bl_channel_moments(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph, const bl_moments **out)
{
    moments m = { ctx, arena, graph, BL_NEW(arena, bl_moments, (size_t)graph->n_values) };
    if (!m.out) return bl_pending(ctx);
    for (int i = 0; i < graph->n_nodes; i++) {
        const bl_node *n = &graph->nodes[i];
        const bl_bn *bn = NULL;
        bool unary = false;
        for (int b = 0; b < graph->n_bn && !bn; b++)
            if (graph->bn[b].value == n->out[0]) bn = &graph->bn[b];
        if (bn) {
            double *mean, *variance;
            BL_TRY(make(&m, bn->value, bn->channels, &mean, &variance));
            for (int c = 0; c < bn->channels; c++) {
                mean[c] = bn->beta[c];
                variance[c] = (double)bn->gamma[c] * bn->gamma[c];
            }
        } else {
            BL_TRY(give(&m, n, &unary));
        }
        const bl_moments *y = known(&m, n->out[0]);
        for (int64_t c = 0; y && (unary || bl_node_clamps(n)) && c < y->channels; c++)
            integrate(n, unary, (double *)&y->mean[c], (double *)&y->variance[c]);
    }
    *out = m.out;
    return BL_OK;
}
