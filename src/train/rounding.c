/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Learned rounding; see rounding.h.  The loop over elements is written for vectors: exponentials and logarithms
 * are polynomials of its own (relative error below 1e-6), since the library's come one by one and took a quarter
 * of the time.
 */
#include "train/rounding.h"

#include <math.h>
#include <string.h>

#define STRETCH 1.2f            /* zeta - gamma */
#define OFFSET (-0.1f)          /* gamma */
#define WARM_UP 0.2

/* 2^x for x of -126 to 126. */
static inline float power_of_two(float x)
{
    float whole = (x + 12582912.0f) - 12582912.0f, f = x - whole, y; /* 1.5 * 2^23: rounds to an integer */
    union { int32_t i; float f; } scale;

    y = 1.5403530e-4f;
    y = y * f + 1.3333558e-3f;
    y = y * f + 9.6181291e-3f;
    y = y * f + 5.5504109e-2f;
    y = y * f + 2.4022651e-1f;
    y = y * f + 6.9314718e-1f;
    y = y * f + 1.0f;
    scale.i = ((int32_t)whole + 127) << 23;
    return y * scale.f;
}

/* log2 of a normal number above 0. */
static inline float log_of_two(float x)
{
    union { float f; int32_t i; } u = {.f = x};
    int32_t e = (u.i - 0x3f3504f3) >> 23; /* mantissas from sqrt(1/2) to sqrt(2) */
    float m, t, t2, y;

    u.i -= e * (1 << 23);
    m = u.f;
    t = (m - 1.0f) / (m + 1.0f);
    t2 = t * t;
    y = 0.4121986f;
    y = y * t2 + 0.5770780f;
    y = y * t2 + 0.9617967f;
    y = y * t2 + 2.8853901f;
    return y * t + (float)e;
}

static inline float clipped(float x, float lo, float hi)
{
    x = x > lo ? x : lo;
    return x < hi ? x : hi;
}

static inline float sigmoid(float v)
{
    return 1.0f / (1.0f + power_of_two(clipped(v * -1.44269504f, -120.0f, 120.0f)));
}

static float scale_of(const bl_rounding *r, int64_t output)
{
    return r->scale[r->n_scale > 1 ? output : 0];
}

bl_status bl_rounding_open(bl_ctx *ctx, const bl_layer *l, const float *canonical, const bl_quantizer *q, bl_arena *a,
                           bl_rounding *out)
{
    size_t n = (size_t)(l->outputs * l->k);
    int32_t lo, hi;

    bl_weight_code_range(q->bits, q->narrow, &lo, &hi);
    *out = (bl_rounding){.layer = l, .scale = q->scale, .n_scale = q->n_scale, .code_lo = (float)lo, .code_hi = (float)hi};
    out->base = bl_alloc(a, n, sizeof(float));
    out->v = bl_alloc(a, n, sizeof(float));
    out->w = bl_alloc(a, n, sizeof(float));
    out->m1 = BL_NEW(a, float, n);
    out->m2 = BL_NEW(a, float, n);
    if (!out->base || !out->v || !out->w || !out->m1 || !out->m2) return bl_pending(ctx);
    memset(out->m1, 0, n * sizeof(float));
    memset(out->m2, 0, n * sizeof(float));
    for (size_t i = 0; i < n; i++) {
        float u = canonical[i] / scale_of(out, (int64_t)i / l->k), part;
        out->base[i] = floorf(u);
        part = clipped((u - out->base[i] - OFFSET) / STRETCH, 1e-4f, 1.0f - 1e-4f);
        out->v[i] = logf(part / (1.0f - part));
        out->w[i] = canonical[i];
    }
    return BL_OK;
}

double bl_rounding_beta(double done)
{
    return done < WARM_UP ? 0 : 20 - 18 * (done - WARM_UP) / (1 - WARM_UP);
}

int64_t bl_rounding_pieces(const bl_rounding *r)
{
    return (r->layer->outputs + BL_ROUNDING_ROWS - 1) / BL_ROUNDING_ROWS;
}

/* One output's elements. */
typedef struct row {
    int64_t n;
    float s, lo, hi, push, power, rate, fix1, fix2;
} row;

static void move_row(const row *o, const float *restrict base, const float *restrict grad, float *restrict v,
                     float *restrict m1, float *restrict m2, float *restrict w)
{
    const float s = o->s, lo = o->lo, hi = o->hi, push = o->push, power = o->power, rate = o->rate;
    const float fix1 = o->fix1, fix2 = o->fix2;

    for (int64_t i = 0; i < o->n; i++) {
        float sig = sigmoid(v[i]), raw = STRETCH * sig + OFFSET, h = clipped(raw, 0.0f, 1.0f);
        float slope = STRETCH * sig * (1.0f - sig), code = base[i] + h, u = 2.0f * h - 1.0f, a = fabsf(u);
        float pull = push * power_of_two(clipped(power * log_of_two(clipped(a, 1e-30f, 1.0f)), -126.0f, 0.0f));
        float g = grad[i] * s, move;
        slope = raw > 0.0f ? slope : 0.0f;
        slope = raw < 1.0f ? slope : 0.0f;
        g = code > lo ? g : 0.0f;
        g = code < hi ? g : 0.0f;
        g -= u < 0.0f ? -pull : pull;
        g *= slope;
        m1[i] = 0.9f * m1[i] + 0.1f * g;
        m2[i] = 0.999f * m2[i] + 0.001f * g * g;
        move = rate * (m1[i] * fix1) / (sqrtf(m2[i] * fix2) + 1e-8f);
        v[i] -= move;
        h = clipped(STRETCH * sigmoid(v[i]) + OFFSET, 0.0f, 1.0f);
        w[i] = s * clipped(base[i] + h, lo, hi);
    }
}

void bl_rounding_move(const bl_rounding *r, const bl_rounding_step *p, int64_t piece)
{
    int64_t first = piece * BL_ROUNDING_ROWS, last = BL_MIN(first + BL_ROUNDING_ROWS, r->layer->outputs), k = r->layer->k;
    row o = {.n = k, .lo = r->code_lo, .hi = r->code_hi, .rate = (float)p->rate, .push = (float)(p->lambda * p->beta * 2),
             .power = p->beta > 0 ? (float)p->beta - 1.0f : 1.0f, .fix1 = (float)(1 / (1 - pow(0.9, (double)p->number))),
             .fix2 = (float)(1 / (1 - pow(0.999, (double)p->number)))};

    for (int64_t out = first; out < last; out++) {
        int64_t at = out * k;
        float *sum = p->grad[0] + at;
        for (int part = 1; part < p->parts; part++)
            for (int64_t i = 0; i < k; i++) sum[i] += p->grad[part][at + i];
        o.s = scale_of(r, out);
        move_row(&o, r->base + at, sum, r->v + at, r->m1 + at, r->m2 + at, r->w + at);
    }
}

void bl_rounding_close(const bl_rounding *r, float *stored)
{
    const bl_layer *l = r->layer;
    for (int64_t i = 0; i < l->outputs * l->k; i++)
        r->w[i] = clipped(r->base[i] + (r->v[i] >= 0.0f ? 1.0f : 0.0f), r->code_lo, r->code_hi) * scale_of(r, i / l->k);
    bl_layer_store(l, r->w, stored);
}
