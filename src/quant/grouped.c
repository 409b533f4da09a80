/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights with a scale for every group of G inputs of an output channel, in two levels (VS-Quant, arXiv 2102.04503): the
 * channel's scale is real, a group's an integer multiple of it.  A weight is then code x multiple x scale with
 * |code x multiple| <= 127, which is an int8 code: kernels for 8 bits and ONNX Runtime compute it exactly, the file
 * keeps narrow codes and a byte a group.
 *
 * Groups are runs of the order in which the kernels sum: tap after tap, in each the channels of the layer's input; the
 * last of a channel may be short.
 */
#include "quant/quant.h"

enum { CODE_MAX = 127, WIDTH_MOST = 6 };

/* A constant seen from its output channels, and where its elements stand in the order of the sums. */
typedef struct layout { size_t outer, channels, inner, taps, in; } layout;

static layout layout_of(const bl_tensor *w, int axis)
{
    layout l = { 1, 1, 1, 1, 1 };
    for (int d = 0; d < w->rank; d++) {
        size_t n = (size_t)w->dim[d];
        if (d < axis) l.outer *= n;
        else if (d == axis) l.channels = n;
        else l.inner *= n;
    }
    l.in = w->rank > 2 && axis == 0 ? (size_t)w->dim[1] : l.inner;
    l.taps = l.in ? l.inner / l.in : 1;
    return l;
}

static size_t element(const layout *l, size_t channel, size_t place)
{
    if (l->outer > 1) return (place / l->inner * l->channels + channel) * l->inner + place % l->inner;
    return channel * l->inner + place % l->in * l->taps + place / l->in;
}

bool bl_group_width(int bits)
{
    return bits >= 1 && bits <= WIDTH_MOST;
}

int64_t bl_group_count(int64_t inputs, int64_t group)
{
    return inputs / group + (inputs % group != 0);
}

size_t bl_grouped_bytes(const bl_tensor *w, int axis, int bits, int group)
{
    int64_t n = bl_tensor_count(w), channels = w->dim[axis];
    size_t multiples = channels && bl_group_width(bits) ? (size_t)(channels * bl_group_count(n / channels, group)) : 0;
    return ((size_t)n * (size_t)bits + 7) / 8 + multiples;
}

int bl_group_multiple_most(int bits, bool narrow)
{
    int32_t lo, hi;
    bl_weight_code_range(bits, narrow, &lo, &hi);
    return CODE_MAX / -lo;
}

/* The codes of a width; the multiple gives the scale. */
typedef struct codes { int bits; bl_grid grid; } codes;

static codes codes_of(const bl_weight_grid *g)
{
    codes c = { .bits = g->bits };
    bl_weight_code_range(g->bits, g->narrow, &c.grid.lo, &c.grid.hi);
    return c;
}

static int code_of(codes c, float x, float scale)
{
    c.grid.scale = scale;
    return c.bits == 1 ? (x >= 0 ? 1 : -1) : bl_quantize(x, c.grid);
}

/* The better of two neighbours for a step of `want`. */
static uint8_t multiple_of(const float *x, size_t n, float scale, double want, codes q, int most)
{
    double best = INFINITY;
    int out = 1, first = (int)floor(want);
    for (int m = BL_MAX(first, 1); m <= BL_MIN(first + 1, most) || m == 1; m++) {
        double error = 0;
        for (size_t i = 0; i < n; i++) {
            double d = (double)x[i] - (double)scale * (m * code_of(q, x[i], scale * (float)m));
            error += d * d;
        }
        if (error < best) out = m, best = error;
    }
    return (uint8_t)out;
}

void bl_grouped_make(const bl_tensor *w, const bl_observer *observer, float *channel, double *step, bl_weight_grid *g)
{
    layout l = layout_of(w, g->axis);
    size_t n = l.outer * l.inner, group = (size_t)g->group, groups = (size_t)bl_group_count((int64_t)n, g->group);
    codes q = codes_of(g);
    int most = bl_group_multiple_most(g->bits, g->narrow);
    for (size_t c = 0; c < l.channels; c++) {
        double longest = 0;
        for (size_t i = 0; i < n; i++) channel[i] = ((const float *)w->data)[element(&l, c, i)];
        for (size_t k = 0; k < groups; k++) {
            const float *x = channel + k * group;
            size_t size = BL_MIN(group, n - k * group);
            step[k] = 0;
            for (size_t i = 0; g->bits == 1 && i < size; i++) step[k] += fabs((double)x[i]) / (double)size;
            if (g->bits > 1) step[k] = observer->clip(x, size, 1, g->bits, g->narrow) / q.grid.hi;
            longest = fmax(longest, step[k]);
        }
        g->scale[c] = longest > 0 ? fmaxf((float)(longest / most), 1e-8f) : 0;
        for (size_t k = 0; k < groups; k++)
            g->multiple[c * groups + k] = g->scale[c] > 0 ? multiple_of(channel + k * group, BL_MIN(group, n - k * group), g->scale[c],
                                                                        step[k] / (double)g->scale[c], q, most) : 1;
    }
}

void bl_grouped_codes(const bl_tensor *w, const bl_weight_grid *g, int8_t *out)
{
    layout l = layout_of(w, g->axis);
    size_t n = l.outer * l.inner, group = (size_t)g->group, groups = (size_t)bl_group_count((int64_t)n, g->group);
    codes q = codes_of(g);
    for (size_t c = 0; c < l.channels; c++)
        for (size_t i = 0; i < n; i++) {
            size_t at = element(&l, c, i);
            int m = g->multiple[c * groups + i / group];
            out[at] = (int8_t)(m * code_of(q, ((const float *)w->data)[at], g->scale[c] * (float)m));
        }
}
