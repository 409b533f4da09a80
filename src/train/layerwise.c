/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reconstruction of one layer (AdaRound, arXiv 2004.10568):
 *
 *   loss = mean over positions of |act(W x + b) - act(W~ x^ + b)|^2 + lambda sum(1 - |2 h - 1|^beta)
 *
 * A bias may learn beside the weights: rounded inputs shift a layer's outputs, which no rounding of weights takes back.
 * Its steps are as large as a share of its output's deviation, and shrink to nothing.
 *
 * An iteration takes output positions of all samples at random instead of whole samples: products of a few
 * hundred rows, where neighbouring positions would say the same twice.  A fixed number of parts shares an
 * iteration and their sums are added in order: the bits do not depend on the threads.
 */
#include "train/rounding.h"

#include <math.h>
#include <string.h>

enum { POSITIONS = 512, PARTS = 4 };
#define RATE 1e-2
#define LAMBDA 0.01
#define BIAS_RATE 1e-3 /* of an output's root mean square, at the start */

typedef struct learning {
    bl_ctx *ctx;
    const bl_layer *l;
    const bl_layer_samples *s;
    bl_rounding r;
    bl_rounding_step step;
    float *x[PARTS], *y[PARTS], *grad[PARTS], *turned[PARTS]; /* gathered inputs, outputs, gradients by W~ */
    float *bias;                /* the layer's, or what learns in its place; NULL: none */
    bool moves_bias;
    double *bias_grad[PARTS], *bias_m1, *bias_m2, *bias_unit;
    int64_t iteration, per_part;
} learning;

/* What z of an output should be moved by: the gradient of the squared error through the activation. */
static inline float pull(const bl_layer *l, float z, float target, float weight)
{
    float a = z < l->lo ? l->lo : z > l->hi ? l->hi : z;
    return z > l->lo && z < l->hi ? weight * (a - target) : 0.0f;
}

static void gather(learning *r, size_t part, const float **targets)
{
    const bl_layer *l = r->l;
    bl_rng rng = bl_rng_make(r->ctx->options.seed, "adaround",
                             (uint64_t)(r->iteration * PARTS + (int64_t)part) ^ ((uint64_t)l->node << 40));
    for (int64_t i = 0; i < r->per_part; i++) {
        int64_t sample = (int64_t)bl_rng_below(&rng, (uint64_t)r->s->n);
        int64_t position = (int64_t)bl_rng_below(&rng, (uint64_t)l->positions);
        float *to = r->x[part] + (l->depthwise ? i * l->groups * l->k : i * l->k);
        bl_layer_gather(l, r->s->x + sample * l->in_size, position, to, r->per_part * l->k);
        targets[i] = r->s->t + sample * l->out_size + position * l->outputs;
    }
}

/* Groups of channels: one product each way. */
static void part_of_groups(learning *r, size_t part, const float *const *targets)
{
    const bl_layer *l = r->l;
    int64_t per = l->outputs / l->groups, p = r->per_part;
    float *x = r->x[part], *y = r->y[part], weight = 2.0f / (float)(p * PARTS);

    for (int64_t g = 0; g < l->groups; g++) {
        float *yg = y + g * p * per;
        bl_product_f32(false, true, p, per, l->k, x + g * p * l->k, r->r.w + g * per * l->k, yg);
        for (int64_t i = 0; i < p; i++)
            for (int64_t o = 0; o < per; o++) {
                int64_t out = g * per + o;
                float z = yg[i * per + o] + (r->bias ? r->bias[out] : 0.0f);
                yg[i * per + o] = pull(l, z, targets[i][out], weight);
                if (r->moves_bias) r->bias_grad[part][out] += yg[i * per + o];
            }
        bl_product_f32(true, false, per, l->k, p, yg, x + g * p * l->k, r->grad[part] + g * per * l->k);
    }
}

/* One channel a group: all channels side by side, tap after tap. */
static void part_of_channels(learning *r, size_t part, const float *const *targets)
{
    const bl_layer *l = r->l;
    int64_t n = l->outputs, taps = l->taps, p = r->per_part;
    float *x = r->x[part], *restrict z = r->y[part], *w = r->turned[part], *sum = w + n * taps, weight = 2.0f / (float)(p * PARTS);

    for (int64_t c = 0; c < n; c++)
        for (int64_t t = 0; t < taps; t++) w[t * n + c] = r->r.w[c * taps + t];
    memset(sum, 0, (size_t)(n * taps) * sizeof *sum);
    for (int64_t i = 0; i < p; i++, x += n * taps) {
        for (int64_t c = 0; c < n; c++) z[c] = r->bias ? r->bias[c] : 0.0f;
        for (int64_t t = 0; t < taps; t++) {
            const float *restrict xt = x + t * n, *restrict wt = w + t * n;
            for (int64_t c = 0; c < n; c++) z[c] += xt[c] * wt[c];
        }
        for (int64_t c = 0; c < n; c++) z[c] = pull(l, z[c], targets[i][c], weight);
        for (int64_t c = 0; r->moves_bias && c < n; c++) r->bias_grad[part][c] += z[c];
        for (int64_t t = 0; t < taps; t++) {
            const float *restrict xt = x + t * n;
            float *restrict st = sum + t * n;
            for (int64_t c = 0; c < n; c++) st[c] += xt[c] * z[c];
        }
    }
    for (int64_t c = 0; c < n; c++)
        for (int64_t t = 0; t < taps; t++) r->grad[part][c * taps + t] = sum[t * n + c];
}

static bl_status part_piece(void *arg, size_t part, unsigned worker)
{
    learning *r = arg;
    const float *targets[POSITIONS / PARTS];

    (void)worker;
    gather(r, part, targets);
    if (r->moves_bias) memset(r->bias_grad[part], 0, (size_t)r->l->outputs * sizeof(double));
    if (r->l->depthwise) part_of_channels(r, part, targets);
    else part_of_groups(r, part, targets);
    return BL_OK;
}

static bl_status move_piece(void *arg, size_t piece, unsigned worker)
{
    learning *r = arg;
    (void)worker;
    bl_rounding_move(&r->r, &r->step, (int64_t)piece);
    return BL_OK;
}

static bl_status make_room(learning *r, bl_arena *a)
{
    const bl_layer *l = r->l;
    size_t n = (size_t)(l->outputs * l->k);

    for (int p = 0; p < PARTS; p++) {
        r->x[p] = bl_alloc(a, (size_t)(r->per_part * l->groups), (size_t)l->k * sizeof(float));
        r->y[p] = bl_alloc(a, (size_t)r->per_part, (size_t)l->outputs * sizeof(float));
        r->grad[p] = bl_alloc(a, n, sizeof(float));
        r->turned[p] = bl_alloc(a, l->depthwise ? 2 * n : 1, sizeof(float));
        if (!r->x[p] || !r->y[p] || !r->grad[p] || !r->turned[p]) return bl_pending(r->ctx);
    }
    return BL_OK;
}

/* Root mean square of the wanted outputs by channel: what a bias's step is measured in. */
static void find_units(learning *r)
{
    const bl_layer *l = r->l;
    int64_t rows = r->s->n * l->positions;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t o = 0; o < l->outputs; o++) r->bias_unit[o] += (double)r->s->t[i * l->outputs + o] * r->s->t[i * l->outputs + o];
    for (int64_t o = 0; o < l->outputs; o++) r->bias_unit[o] = sqrt(r->bias_unit[o] / (double)BL_MAX(rows, 1));
}

/* One step of Adam. */
static void move_bias(learning *r)
{
    double n = (double)r->iteration + 1, rate = BIAS_RATE * (1 - (double)r->iteration / BL_ROUND_ITERATIONS);
    for (int64_t o = 0; o < r->l->outputs; o++) {
        double g = 0;
        for (int p = 0; p < PARTS; p++) g += r->bias_grad[p][o];
        r->bias_m1[o] = 0.9 * r->bias_m1[o] + 0.1 * g;
        r->bias_m2[o] = 0.999 * r->bias_m2[o] + 0.001 * g * g;
        double m = r->bias_m1[o] / (1 - pow(0.9, n)), v = r->bias_m2[o] / (1 - pow(0.999, n));
        r->bias[o] -= (float)(rate * r->bias_unit[o] * m / (sqrt(v) + 1e-20));
    }
}

static bl_status make_bias_room(learning *r, bl_arena *a)
{
    size_t n = (size_t)r->l->outputs;
    for (int p = 0; p < PARTS; p++) BL_ALLOC_TRY(r->ctx, r->bias_grad[p] = BL_NEW(a, double, n));
    r->bias_m1 = BL_NEW(a, double, n);
    r->bias_m2 = BL_NEW(a, double, n);
    r->bias_unit = BL_NEW(a, double, n);
    if (!r->bias_m1 || !r->bias_m2 || !r->bias_unit) return bl_pending(r->ctx);
    find_units(r);
    return BL_OK;
}

static bl_status learn(learning *r, uint64_t done, uint64_t total)
{
    for (r->iteration = 0; r->iteration < BL_ROUND_ITERATIONS; r->iteration++) {
        r->step.number = r->iteration + 1;
        r->step.beta = bl_rounding_beta((double)r->iteration / BL_ROUND_ITERATIONS);
        BL_TRY(bl_check_interrupt(r->ctx));
        BL_TRY(bl_parallel_for(r->ctx, PARTS, part_piece, r));
        BL_TRY(bl_parallel_for(r->ctx, (size_t)bl_rounding_pieces(&r->r), move_piece, r));
        if (r->moves_bias) move_bias(r);
        bl_progress(r->ctx, "adaround", done + (uint64_t)r->iteration, total);
    }
    return BL_OK;
}

bl_status bl_layer_round(bl_ctx *ctx, const bl_layer *layer, const bl_layer_samples *samples, const float *constant,
                         const bl_quantizer *q, uint64_t done, uint64_t total, bl_arena *arena, float *stored, float *bias)
{
    learning r = {.ctx = ctx, .l = layer, .s = samples, .per_part = POSITIONS / PARTS};
    bl_mark mark = bl_arena_mark(arena);
    float *canonical = bl_alloc(arena, (size_t)(layer->outputs * layer->k), sizeof(float));
    bl_status s = canonical ? make_room(&r, arena) : bl_pending(ctx);

    r.bias = bias ? bias : (float *)(uintptr_t)layer->bias_data; /* written where it learns alone */
    r.moves_bias = bias != NULL;
    if (s == BL_OK && bias) s = make_bias_room(&r, arena);
    r.step = (bl_rounding_step){.rate = RATE, .lambda = LAMBDA, .grad = r.grad, .parts = PARTS};
    if (s == BL_OK) {
        bl_layer_weights(layer, constant, canonical);
        s = bl_rounding_open(ctx, layer, canonical, q, arena, &r.r);
    }
    if (s == BL_OK) s = learn(&r, done, total);
    if (s == BL_OK) bl_rounding_close(&r.r, stored);
    bl_arena_reset(arena, mark);
    return s;
}
