/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BatchNormalization while a network is trained: mean and variance of the batch itself (ONNX's
 * training_mode: the variance is that of the population), which are outputs 1 and 2, and the gradient
 * through them (Ioffe and Szegedy, arXiv 1502.03167, section 3).
 *
 * Convolutions leave their channels in blocks, so all loops run over rows: positions of one sample and one
 * block of channels.  Within a row sums are binary32 in eight or sixteen lanes, between rows binary64; their
 * order depends on the shape alone.
 */
#include "ops/ops_private.h"

/* The same loops once for each vector width, picked when the program starts; without contraction they give
 * the same bits.  Sanitizers start too late for that. */
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define WIDE __attribute__((target_clones("avx512f", "avx2", "default")))
#else
#define WIDE
#endif
#define LOOP static inline __attribute__((always_inline))

enum { LANES = 16 };
typedef float lanes __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

typedef struct shape {
    int64_t samples, channels, blocks, positions, block; /* block 1: a channel's positions lie together */
} shape;

static shape shape_of(const bl_call *call)
{
    int64_t channels = bl_tensor_count(call->in[1]), block = call->block ? call->block : 1;
    int64_t blocks = (channels + block - 1) / block, samples = call->in[0]->dim[0];

    return (shape){samples, channels, blocks, bl_tensor_count(call->in[0]) / samples / (blocks * block), block};
}

static bl_status training_shape(const bl_call *call)
{
    bl_call first = *call;

    first.n_out = 1;
    BL_TRY(bl_op_batch_normalization.shape(&first));
    for (int i = 1; i < call->n_out; i++) BL_TRY(bl_op_out(call, i, BL_F32, 1, call->in[3]->dim));
    return BL_OK;
}

/* ------------------------------------------------------------------ rows */

/* Sums over a row of one channel: n elements. */
LOOP void sum_row(const float *x, const float *g, int64_t n, float shift, double *first, double *second)
{
    lanes a = {0}, b = {0}, zero = {0};
    int64_t i = 0;
    float s = 0, q = 0;

    for (; i + LANES <= n; i += LANES) {
        lanes v = *(const lanes *)(x + i) - (zero + shift), w = g ? *(const lanes *)(g + i) : v;
        a += w;
        b += w * v;
    }
    for (; i < n; i++) {
        float v = x[i] - shift, w = g ? g[i] : v;
        s += w;
        q += w * v;
    }
    for (int k = 0; k < LANES; k++) {
        s += a[k];
        q += b[k];
    }
    *first += s;
    *second += q;
}

/* The same for `block` channels side by side. */
LOOP void sum_block(const float *x, const float *g, int64_t n, int64_t block, const float *shift, float *a,
                    float *b, double *first, double *second)
{
    int64_t whole = block / LANES * LANES;

    for (int64_t c = 0; c < whole; c += LANES) {
        lanes s = {0}, q = {0}, off = *(const lanes *)(shift + c);
        for (int64_t i = 0; i < n; i++) {
            lanes v = *(const lanes *)(x + i * block + c) - off, w = g ? *(const lanes *)(g + i * block + c) : v;
            s += w;
            q += w * v;
        }
        *(lanes *)(a + c) = s;
        *(lanes *)(b + c) = q;
    }
    for (int64_t c = whole; c < block; c++) a[c] = b[c] = 0;
    for (int64_t i = 0; i < n && whole < block; i++)
        for (int64_t c = whole; c < block; c++) {
            float v = x[i * block + c] - shift[c], w = g ? g[i * block + c] : v;
            a[c] += w;
            b[c] += w * v;
        }
    for (int64_t c = 0; c < block; c++) {
        first[c] += a[c];
        second[c] += b[c];
    }
}

/* first[c]: sum of g (or of x - shift), second[c]: of g (x - shift) (or of its square). */
WIDE static void sum_all(const shape *s, const float *x, const float *g, const float *shift, float *lane,
                         double *first, double *second)
{
    for (int64_t n = 0; n < s->samples; n++)
        for (int64_t b = 0; b < s->blocks; b++) {
            int64_t at = (n * s->blocks + b) * s->positions * s->block, c = b * s->block;
            const float *row = x + at, *grad = g ? g + at : NULL;
            if (s->block == 1)
                sum_row(row, grad, s->positions, shift[c], first + c, second + c);
            else
                sum_block(row, grad, s->positions, s->block, shift + c, lane, lane + s->block, first + c,
                          second + c);
        }
}

/* A row of y = k x + d (+ m g) where `block` channels lie side by side. */
LOOP void apply_block(const float *x, const float *g, int64_t n, int64_t block, const float *k, const float *d,
                      const float *m, float *y)
{
    int64_t whole = block / LANES * LANES;

    for (int64_t c = 0; c < whole; c += LANES) {
        lanes kc = *(const lanes *)(k + c), dc = *(const lanes *)(d + c), mc = kc;
        if (m) mc = *(const lanes *)(m + c);
        for (int64_t i = 0; i < n; i++) {
            lanes v = *(const lanes *)(x + i * block + c) * kc + dc;
            if (g) v += *(const lanes *)(g + i * block + c) * mc;
            *(lanes *)(y + i * block + c) = v;
        }
    }
    for (int64_t i = 0; i < n && whole < block; i++)
        for (int64_t c = whole; c < block; c++) {
            float v = x[i * block + c] * k[c] + d[c];
            y[i * block + c] = g ? v + g[i * block + c] * m[c] : v;
        }
}

/* y = k x + d by channel, and the same with a second tensor: y = k x + d + m g. */
WIDE static void apply_all(const shape *s, const float *x, const float *g, const float *k, const float *d,
                           const float *m, float *y)
{
    for (int64_t n = 0; n < s->samples; n++)
        for (int64_t b = 0; b < s->blocks; b++) {
            int64_t at = (n * s->blocks + b) * s->positions * s->block, c = b * s->block;
            const float *from = x + at, *grad = g ? g + at : NULL;
            float *to = y + at;
            if (s->block == 1) {
                float kc = k[c], dc = d[c], mc = m ? m[c] : 0;
                for (int64_t i = 0; i < s->positions && !grad; i++) to[i] = from[i] * kc + dc;
                for (int64_t i = 0; i < s->positions && grad; i++) to[i] = (from[i] * kc + dc) + grad[i] * mc;
            } else {
                apply_block(from, grad, s->positions, s->block, k + c, d + c, m ? m + c : NULL, to);
            }
        }
}

/* ------------------------------------------------------------------ facets */

/* Vectors by channel, rounded up to whole blocks, zeroed. */
typedef struct room {
    float *shift, *k, *d, *m, *lane;
    double *first, *second;
} room;

static bl_status make_room(const bl_call *call, const shape *s, room *r)
{
    size_t n = (size_t)(s->blocks * s->block);
    float *f = bl_alloc(call->scratch, n, 6 * sizeof *f);
    double *sums = bl_alloc(call->scratch, n, 2 * sizeof *sums);

    BL_ALLOC_TRY(call->ctx, f);
    BL_ALLOC_TRY(call->ctx, sums);
    memset(f, 0, n * 6 * sizeof *f);
    memset(sums, 0, n * 2 * sizeof *sums);
    *r = (room){f, f + n, f + 2 * n, f + 3 * n, f + 4 * n, sums, sums + n};
    return BL_OK;
}

static bl_status training_forward(const bl_call *call)
{
    shape s = shape_of(call);
    const float *x = call->in[0]->data, *scale = call->in[1]->data, *bias = call->in[2]->data;
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    float *mean = call->out[1].data, *var = call->out[2].data;
    double count = (double)(s.samples * s.positions);
    room r;

    BL_TRY(make_room(call, &s, &r));
    for (int64_t c = 0; c < s.channels; c++) /* sums of squares near some value of the channel, not near 0 */
        r.shift[c] = x[c / s.block * s.block * s.positions + c % s.block];
    sum_all(&s, x, NULL, r.shift, r.lane, r.first, r.second);
    for (int64_t c = 0; c < s.channels; c++) {
        double off = r.first[c] / count, square = fmax(r.second[c] / count - off * off, 0);
        double factor = scale[c] / sqrt(square + epsilon);
        mean[c] = (float)(r.shift[c] + off);
        var[c] = (float)square;
        r.k[c] = (float)factor;
        r.d[c] = (float)(bias[c] - (r.shift[c] + off) * factor);
    }
    apply_all(&s, x, NULL, r.k, r.d, NULL, call->out[0].data);
    return BL_OK;
}

/* With u = (x - mean) / deviation: dx = scale / deviation (g - mean(g) - u mean(g u)). */
static bl_status training_gradient(const bl_call *call, const bl_tensor *const *out_grad, bl_tensor *in_grad)
{
    shape s = shape_of(call);
    const float *x = call->in[0]->data, *scale = call->in[1]->data;
    const float *mean = call->out[1].data, *var = call->out[2].data;
    float epsilon = bl_attr_float(call->node, "epsilon", 1e-5f);
    double count = (double)(s.samples * s.positions);
    room r;

    if (!out_grad[0] || (call->n_out > 1 && (out_grad[1] || out_grad[2])))
        return bl_op_fail(call, BL_UNAVAILABLE, "use its first output", "its mean and variance have no gradient");
    BL_TRY(make_room(call, &s, &r));
    memcpy(r.shift, mean, (size_t)s.channels * sizeof *mean);
    sum_all(&s, x, out_grad[0]->data, r.shift, r.lane, r.first, r.second);
    for (int64_t c = 0; c < s.channels; c++) {
        double inverse = 1 / sqrt((double)var[c] + epsilon), by_scale = r.second[c] * inverse;
        double factor = scale[c] * inverse, slope = -factor * inverse * by_scale / count;
        r.m[c] = (float)factor;
        r.k[c] = (float)slope;
        r.d[c] = (float)(-factor * r.first[c] / count - slope * mean[c]);
        if (in_grad[1].data) ((float *)in_grad[1].data)[c] = (float)by_scale;
        if (in_grad[2].data) ((float *)in_grad[2].data)[c] = (float)r.first[c];
    }
    if (in_grad[0].data) apply_all(&s, x, out_grad[0]->data, r.k, r.d, r.m, in_grad[0].data);
    for (int k = 3; k < 5; k++) /* the running figures play no part */
        if (in_grad[k].data) memset(in_grad[k].data, 0, (size_t)s.channels * sizeof(float));
    return BL_OK;
}

const bl_op bl_op_batch_normalization_training = {
    .name = "BatchNormalization",
    .flags = BL_OP_LEARNS | BL_OP_CHANNELS,
    .min_opset = 1,
    .in_min = 5,
    .in_max = 5,
    .out_max = 3,
    .shape = training_shape,
    .forward = training_forward,
    .gradient = training_gradient,
};
