/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Running a fixed-point network on integers alone, and its price in effective bit operations (EBOPs).
 * Everything here may rely on bl_fixed_check: no shift and no sum overflows.
 */
#include "program/fixed.h"

#include <math.h>
#include <string.h>

/* v / 2^shift, rounded; shift >= 1. */
static int64_t rounded(int64_t v, int shift, bl_fixed_round round)
{
    if (shift > 62) shift = 62; /* |v| < 2^62: what is left is 0, -1 or a rounding of them, as before */
    int64_t one = (int64_t)1 << shift, half = one >> 1, rest = v & (one - 1), down = v >> shift;
    switch (round) {
    case BL_TRN: return down;
    case BL_RND: return down + (rest >= half);
    case BL_RND_CONV: return down + (rest > half || (rest == half && (down & 1)));
    case BL_TRN_ZERO: return down + (v < 0 && rest);
    case BL_RND_ZERO: return down + (rest > half || (rest == half && v < 0));
    case BL_RND_INF: return down + (rest > half || (rest == half && v >= 0));
    default: return down + (rest > half); /* BL_RND_MIN_INF */
    }
}

int64_t bl_fixed_quantize(int64_t v, int from, bl_fixed_grid to, bl_fixed_round round, bl_fixed_overflow overflow)
{
    int shift = from - to.f, bits = to.i + to.f;
    if (to.k + bits <= 0 || v == 0) return 0;
    int64_t q = shift > 0 ? rounded(v, shift, round) : v * ((int64_t)1 << -shift);
    if (bits >= 62) return q;
    int64_t span = (int64_t)1 << bits;
    int64_t hi = span - 1, lo = !to.k ? 0 : overflow == BL_SAT_SYM ? -hi : -span;
    if (overflow != BL_WRAP) return q > hi ? hi : q < lo ? lo : q;
    uint64_t mask = ((uint64_t)1 << (bits + to.k)) - 1, low = ((uint64_t)q - (uint64_t)lo) & mask;
    return (int64_t)low + lo;
}

/* The real number is brought to the grid as the training does: x 2^f is exact in binary64, and so are its
 * whole part and the rest. */
static int64_t from_real(float x, bl_fixed_grid g, bl_fixed_round round, bl_fixed_overflow overflow)
{
    double t = ldexp((double)x, g.f + 2), whole; /* two more bits tell halves from what is beside them */
    if (g.k + g.i + g.f <= 0 || !(fabs(t) > 0)) return 0;
    double limit = ldexp(1, 58);
    t = t > limit ? limit : t < -limit ? -limit : t;
    whole = floor(t);
    int64_t v = (int64_t)whole;
    if (whole != t) v |= 1; /* sticky: neither a whole nor a half */
    return bl_fixed_quantize(v, g.f + 2, g, round, overflow);
}

void bl_fixed_input(const bl_fixed_net *net, const float *x, int64_t *codes)
{
    for (int64_t i = 0; i < net->n_in; i++) codes[i] = from_real(x[i], net->in[i], net->in_round, net->in_overflow);
}

/* ------------------------------------------------------------------ layers */

static int64_t shifted(int64_t v, int by)
{
    return v ? v * ((int64_t)1 << by) : 0;
}

static int64_t finish(const bl_fixed_layer *l, int64_t e, int64_t sum)
{
    if (l->relu && sum < 0) sum = 0;
    return bl_fixed_quantize(sum, l->acc_f[e], l->out[e], l->round, l->overflow);
}

static void dense_run(const bl_fixed_layer *l, const bl_fixed_grid *in, const int64_t *x, int64_t *y)
{
    for (int64_t e = 0; e < l->n_out; e++) {
        const int32_t *w = l->weight + e * l->n_in;
        const int8_t *f = l->weight_f + e * l->n_in;
        int64_t sum = shifted(l->bias[e], l->bias[e] ? l->acc_f[e] - l->bias_f[e] : 0);
        for (int64_t i = 0; i < l->n_in; i++)
            if (w[i] && x[i]) sum += shifted(w[i] * x[i], l->acc_f[e] - f[i] - in[i].f);
        y[e] = finish(l, e, sum);
    }
}

/* One output of a window: conv (w not NULL) or pool. */
static int64_t window_sum(const bl_fixed_layer *l, const bl_fixed_grid *in, const int64_t *x, int32_t c, int32_t row, int32_t col)
{
    int64_t e = ((int64_t)c * l->out_h + row) * l->out_w + col, sum = 0;
    bool conv = l->kind == BL_FIXED_CONV, max = l->kind == BL_FIXED_MAX_POOL, any = false;
    int32_t depth = conv ? l->in_c / l->groups : 1, first = conv ? c / (l->out_c / l->groups) * depth : c;
    int part_f = l->acc_f[e];
    if (l->kind == BL_FIXED_AVERAGE_POOL) part_f -= 31 - __builtin_clz((unsigned)l->kernel_h * (unsigned)l->kernel_w);
    if (conv && l->bias[c]) sum = shifted(l->bias[c], l->acc_f[e] - l->bias_f[c]);
    for (int32_t d = 0; d < depth; d++)
        for (int32_t i = 0; i < l->kernel_h; i++)
            for (int32_t j = 0; j < l->kernel_w; j++) {
                int32_t r = row * l->stride_h - l->pad_top + i, q = col * l->stride_w - l->pad_left + j;
                if (r < 0 || r >= l->in_h || q < 0 || q >= l->in_w) continue;
                int64_t at = ((int64_t)(first + d) * l->in_h + r) * l->in_w + q, v = x[at];
                int64_t n = (((int64_t)c * depth + d) * l->kernel_h + i) * l->kernel_w + j;
                if (conv) v = l->weight[n] ? v * l->weight[n] : 0;
                v = shifted(v, v ? part_f - in[at].f - (conv ? l->weight_f[n] : 0) : 0);
                sum = !max ? sum + v : !any || v > sum ? v : sum;
                any = true;
            }
    return finish(l, e, sum);
}

void bl_fixed_layer_run(const bl_fixed_layer *l, const bl_fixed_grid *in, const int64_t *x, int64_t *y)
{
    if (l->kind == BL_FIXED_DENSE) {
        dense_run(l, in, x, y);
        return;
    }
    for (int32_t c = 0; c < l->out_c; c++)
        for (int32_t row = 0; row < l->out_h; row++)
            for (int32_t col = 0; col < l->out_w; col++) *y++ = window_sum(l, in, x, c, row, col);
}

size_t bl_fixed_work(const bl_fixed_net *net)
{
    int64_t most = 0;
    for (int l = 0; l < net->n_layers; l++) most = BL_MAX(most, net->layers[l].n_out);
    return 2 * (size_t)most;
}

void bl_fixed_run(const bl_fixed_net *net, const int64_t *codes, int64_t *out, int64_t *work)
{
    size_t half = bl_fixed_work(net) / 2;
    const int64_t *x = codes;
    for (int l = 0; l < net->n_layers; l++) {
        int64_t *y = l == net->n_layers - 1 ? out : work + (l & 1 ? half : 0);
        bl_fixed_layer_run(&net->layers[l], bl_fixed_reads(net, l), x, y);
        x = y;
    }
}

int64_t bl_fixed_argmax(const bl_fixed_net *net, const int64_t *out)
{
    const bl_fixed_layer *l = &net->layers[net->n_layers - 1];
    int64_t best = 0;
    double most = ldexp((double)out[0], -l->out[0].f); /* exact: sums of training have at most 53 bits */
    for (int64_t e = 1; e < l->n_out; e++) {
        double v = ldexp((double)out[e], -l->out[e].f);
        if (v > most) {
            best = e;
            most = v;
        }
    }
    return best;
}

/* ------------------------------------------------------------------ price */

static double width(bl_fixed_grid g, bool sign)
{
    int b = g.i + g.f;
    return g.k + b <= 0 ? 0 : b + (sign ? g.k : 0);
}

static double span(int64_t odd)
{
    return odd ? 64 - __builtin_clzll((uint64_t)(odd < 0 ? -odd : odd)) : 0;
}

static void dense_price(const bl_fixed_layer *l, const bl_fixed_grid *in, bl_fixed_cost *cost)
{
    for (int64_t e = 0; e < l->n_out; e++)
        for (int64_t i = 0; i < l->n_in; i++) {
            double b = span(l->weight[e * l->n_in + i]);
            cost->ebops1 += b * width(in[i], true);
            cost->ebops2 += b * width(in[i], false);
        }
}

/* Which elements of the input a place of the kernel meets does not depend on the output's channel. */
static void conv_price(const bl_fixed_layer *l, const bl_fixed_grid *in, bl_fixed_cost *cost)
{
    int32_t depth = l->in_c / l->groups, per = l->out_c / l->groups;
    double share = l->parallel ? (double)l->parallel / ((double)l->out_h * l->out_w) : 1;
    for (int32_t n = 0; n < l->in_c * l->kernel_h * l->kernel_w; n++) {
        int32_t j = n % l->kernel_w, i = n / l->kernel_w % l->kernel_h, d = n / l->kernel_w / l->kernel_h;
        double w = 0, with = 0, without = 0;
        for (int32_t c = d / depth * per; c < (d / depth + 1) * per; c++)
            w += span(l->weight[(((int64_t)c * depth + d % depth) * l->kernel_h + i) * l->kernel_w + j]);
        for (int32_t row = 0; row < l->out_h; row++)
            for (int32_t col = 0; col < l->out_w; col++) {
                int32_t r = row * l->stride_h - l->pad_top + i, q = col * l->stride_w - l->pad_left + j;
                if (r < 0 || r >= l->in_h || q < 0 || q >= l->in_w) continue;
                bl_fixed_grid g = in[((int64_t)d * l->in_h + r) * l->in_w + q];
                with += width(g, true);
                without += width(g, false);
            }
        cost->ebops1 += share * w * with;
        cost->ebops2 += share * w * without;
    }
}

/* A sum of n elements: 0.65 (sum of widths - least width). */
static void average_price(const bl_fixed_layer *l, const bl_fixed_grid *in, bl_fixed_cost *cost)
{
    for (int64_t e = 0; e < l->n_out; e++) {
        int64_t plane = (int64_t)l->out_h * l->out_w, row = e % plane / l->out_w, col = e % l->out_w;
        double all = 0, least = INFINITY;
        for (int32_t i = 0; i < l->kernel_h * l->kernel_w; i++) {
            int64_t r = row * l->stride_h - l->pad_top + i / l->kernel_w, q = col * l->stride_w - l->pad_left + i % l->kernel_w;
            if (r < 0 || r >= l->in_h || q < 0 || q >= l->in_w) continue;
            double b = width(in[(e / plane * l->in_h + r) * l->in_w + q], false);
            all += b;
            least = fmin(least, b);
        }
        if (isfinite(least)) cost->ebops2 += 0.65 * (all - least);
    }
}

void bl_fixed_price(const bl_fixed_net *net, bl_fixed_cost *cost)
{
    *cost = (bl_fixed_cost){ 0 };
    for (int n = 0; n < net->n_layers; n++) {
        const bl_fixed_layer *l = &net->layers[n];
        const bl_fixed_grid *in = bl_fixed_reads(net, n);
        double biases = 0;
        cost->acc_bits = BL_MAX(cost->acc_bits, l->acc_bits);
        cost->weights += l->n_weights;
        for (int64_t i = 0; i < l->n_weights; i++) cost->weights_left += l->weight[i] != 0;
        if (l->kind == BL_FIXED_DENSE) dense_price(l, in, cost);
        if (l->kind == BL_FIXED_CONV) conv_price(l, in, cost);
        if (l->kind == BL_FIXED_AVERAGE_POOL) average_price(l, in, cost);
        if (l->kind != BL_FIXED_DENSE && l->kind != BL_FIXED_CONV) continue;
        double share = l->kind == BL_FIXED_CONV && l->parallel ? (double)l->parallel : (double)l->out_h * l->out_w;
        for (int32_t c = 0; c < l->out_c; c++) biases += span(l->bias[c]);
        cost->ebops2 += biases * share; /* their mean times the outputs */
    }
}
