/* SPDX-License-Identifier: BSD-3-Clause */
/* Random fixed-point networks, and what they give in binary64 by the text of the rules. */
#ifndef BL_FIXED_BUILD_H
#define BL_FIXED_BUILD_H

#include "support.h"

#include "program/fixed.h"

#include <math.h>

static inline int fixed_between(bl_rng *r, int lo, int hi)
{
    return lo + (int)bl_rng_below(r, (uint64_t)(hi - lo + 1));
}

static inline void fixed_random_layer(bl_fixed_layer *l, bl_rng *r, double zeros)
{
    for (int64_t i = 0; i < l->n_weights; i++) {
        int64_t v = bl_rng_unit(r) < zeros ? 0 : fixed_between(r, -31, 31);
        int f = fixed_between(r, 0, 6);
        bl_fixed_reduce(&v, &f);
        l->weight[i] = (int32_t)v;
        l->weight_f[i] = (int8_t)f;
    }
    bool pool = l->kind == BL_FIXED_MAX_POOL || l->kind == BL_FIXED_AVERAGE_POOL;
    for (int64_t c = 0; c < (pool ? 0 : l->out_c); c++) {
        int64_t v = fixed_between(r, -15, 15);
        int f = fixed_between(r, 0, 4);
        bl_fixed_reduce(&v, &f);
        l->bias[c] = v;
        l->bias_f[c] = (int8_t)f;
    }
    for (int64_t e = 0; e < l->n_out; e++)
        l->out[e] = (bl_fixed_grid){ (int8_t)(!l->relu && bl_rng_below(r, 2)), (int8_t)fixed_between(r, -1, 5), (int8_t)fixed_between(r, -1, 5) };
    l->round = (bl_fixed_round)bl_rng_below(r, BL_FIXED_ROUNDS);
    l->overflow = (bl_fixed_overflow)bl_rng_below(r, BL_FIXED_OVERFLOWS);
}

static inline void fixed_random_input(bl_fixed_net *net, bl_rng *r)
{
    for (int64_t i = 0; i < net->n_in; i++)
        net->in[i] = (bl_fixed_grid){ (int8_t)bl_rng_below(r, 2), (int8_t)fixed_between(r, 0, 3), (int8_t)fixed_between(r, -1, 3) };
    net->in_round = (bl_fixed_round)bl_rng_below(r, BL_FIXED_ROUNDS);
    net->in_overflow = (bl_fixed_overflow)bl_rng_below(r, BL_FIXED_OVERFLOWS);
}

/* in - n[0] - ... - n[layers-1], ReLU between. */
static inline bl_fixed_net *fixed_dense(bl_ctx *ctx, bl_rng *r, int in, const int *n, int layers, double zeros)
{
    bl_fixed_net *net;
    assert_ok(ctx, bl_fixed_new(ctx, "dense", layers, (int32_t[]){ in, 1, 1 }, &net));
    fixed_random_input(net, r);
    for (int i = 0; i < layers; i++) {
        bl_fixed_layer *l = &net->layers[i];
        *l = (bl_fixed_layer){ .kind = BL_FIXED_DENSE, .out_c = n[i], .out_h = 1, .out_w = 1, .kernel_h = 1, .kernel_w = 1,
                               .stride_h = 1, .stride_w = 1, .groups = 1, .relu = i < layers - 1 };
        assert_ok(ctx, bl_fixed_shape(ctx, net, i));
        fixed_random_layer(l, r, zeros);
    }
    assert_ok(ctx, bl_fixed_finish(ctx, net));
    return net;
}

/* conv 3x3, a pool, a grouped conv with padding, dense. */
static inline bl_fixed_net *fixed_windows(bl_ctx *ctx, bl_rng *r, bl_fixed_kind pool)
{
    bl_fixed_net *net;
    assert_ok(ctx, bl_fixed_new(ctx, "windows", 4, (int32_t[]){ 2, 8, 7 }, &net));
    fixed_random_input(net, r);
    bl_fixed_layer *l = net->layers;
    l[0] = (bl_fixed_layer){ .kind = BL_FIXED_CONV, .out_c = 4, .out_h = 6, .out_w = 5, .kernel_h = 3, .kernel_w = 3,
                             .stride_h = 1, .stride_w = 1, .groups = 1, .relu = true };
    l[1] = (bl_fixed_layer){ .kind = pool, .out_c = 4, .out_h = 3, .out_w = 2, .kernel_h = 2, .kernel_w = 2,
                             .stride_h = 2, .stride_w = 2, .groups = 1 };
    l[2] = (bl_fixed_layer){ .kind = BL_FIXED_CONV, .out_c = 6, .out_h = 2, .out_w = 2, .kernel_h = 3, .kernel_w = 2, .stride_h = 2,
                             .stride_w = 1, .pad_top = 1, .pad_left = 1, .groups = 2, .relu = true };
    l[3] = (bl_fixed_layer){ .kind = BL_FIXED_DENSE, .out_c = 5, .out_h = 1, .out_w = 1, .kernel_h = 1, .kernel_w = 1,
                             .stride_h = 1, .stride_w = 1, .groups = 1 };
    for (int i = 0; i < 4; i++) {
        assert_ok(ctx, bl_fixed_shape(ctx, net, i));
        fixed_random_layer(&l[i], r, 0.3);
    }
    assert_ok(ctx, bl_fixed_finish(ctx, net));
    return net;
}

/* ------------------------------------------------------------------ the rules in binary64 */

static inline double fixed_round_f64(double t, bl_fixed_round round)
{
    double down = floor(t), rest = t - down;
    switch (round) {
    case BL_TRN: return down;
    case BL_RND: return floor(t + 0.5);
    case BL_RND_CONV: return nearbyint(t);
    case BL_TRN_ZERO: return trunc(t);
    case BL_RND_ZERO: return rest == 0.5 ? trunc(t) : floor(t + 0.5);
    case BL_RND_INF: return copysign(floor(fabs(t) + 0.5), t);
    default: return ceil(t - 0.5);
    }
}

static inline double fixed_quantize_f64(double x, bl_fixed_grid g, bl_fixed_round round, bl_fixed_overflow overflow)
{
    if (g.k + g.i + g.f <= 0) return 0;
    double step = exp2(-g.f), y = fixed_round_f64(x / step, round) * step, top = exp2(g.i) - step, period = exp2(g.i + g.k);
    if (overflow == BL_WRAP) {
        double up = y + g.k * exp2(g.i);
        return up - period * floor(up / period) - g.k * exp2(g.i);
    }
    double bottom = overflow == BL_SAT ? -g.k * exp2(g.i) : -g.k * top;
    return fmin(fmax(y, bottom), top);
}

static inline double fixed_sum_f64(const bl_fixed_layer *l, const double *x, int64_t e)
{
    int64_t plane = (int64_t)l->out_h * l->out_w, c = e / plane, row = e % plane / l->out_w, col = e % l->out_w;
    double sum = 0, most = -INFINITY;
    if (l->kind == BL_FIXED_DENSE) {
        for (int64_t i = 0; i < l->n_in; i++) sum += x[i] * ldexp(l->weight[e * l->n_in + i], -l->weight_f[e * l->n_in + i]);
        return sum + ldexp((double)l->bias[e], -l->bias_f[e]);
    }
    bool conv = l->kind == BL_FIXED_CONV;
    int depth = conv ? l->in_c / l->groups : 1;
    for (int d = 0; d < depth; d++)
        for (int i = 0; i < l->kernel_h; i++)
            for (int j = 0; j < l->kernel_w; j++) {
                int64_t r = row * l->stride_h - l->pad_top + i, q = col * l->stride_w - l->pad_left + j;
                int64_t channel = conv ? c / (l->out_c / l->groups) * depth + d : c;
                int64_t w = ((c * depth + d) * l->kernel_h + i) * l->kernel_w + j;
                if (r < 0 || r >= l->in_h || q < 0 || q >= l->in_w) continue;
                double v = x[(channel * l->in_h + r) * l->in_w + q];
                sum += conv ? v * ldexp(l->weight[w], -l->weight_f[w]) : v;
                most = fmax(most, v);
            }
    if (l->kind == BL_FIXED_MAX_POOL) return most;
    return conv ? sum + ldexp((double)l->bias[c], -l->bias_f[c]) : sum / (l->kernel_h * l->kernel_w);
}

/* x: n_in numbers; out: the last layer's.  Both buffers have room for the widest layer. */
static inline void fixed_forward_f64(const bl_fixed_net *net, const float *x, double *out, double *work)
{
    for (int64_t i = 0; i < net->n_in; i++) work[i] = fixed_quantize_f64((double)x[i], net->in[i], net->in_round, net->in_overflow);
    for (int n = 0; n < net->n_layers; n++) {
        const bl_fixed_layer *l = &net->layers[n];
        for (int64_t e = 0; e < l->n_out; e++) {
            double v = fixed_sum_f64(l, work, e);
            out[e] = fixed_quantize_f64(l->relu && v < 0 ? 0 : v, l->out[e], l->round, l->overflow);
        }
        memcpy(work, out, (size_t)l->n_out * sizeof *work);
    }
}

#endif
