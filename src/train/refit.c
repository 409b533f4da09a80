/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights fitted again to the inputs that they will have.  Layer after layer, with the network before it quantized:
 *
 *   W' = argmin E |W x - W' x^|^2 + lambda d |W' - W|^2 = W (E[x x^T] + lambda d I) (E[x^ x^T] + lambda d I)^-1
 *
 * x: the layer's input in float, x^: as quantized, both about their means (the bias takes the means), d: mean of the
 * diagonal of E[x^ x^T].  An input that is mostly rounding error is listened to less, its neighbours more: the linear
 * errors-in-variables correction, which nearest rounding and a corrected bias cannot do.
 *
 * W' is then rounded on the plan's grid one input after the other, the largest first, and what a rounding leaves is taken back by the
 * inputs that are not rounded yet, as far as they vary with it (GPTQ, arXiv 2210.17323, section 3, without its inverse: with
 * E[x^ x^T] + lambda d I = L L^T the error is |L^T (q - W')|^2, which is rounded from its last row on).  Then single weights move as
 * long as that makes it smaller.  An output takes it only where it leaves a smaller error than W rounded; at last
 * b' = b + E[W x] - E[W' x^] (DFQ, arXiv 1906.04721, section 4.2, against the float network).
 *
 * lambda decides how far the samples are believed: of RIDGES the one whose rounded weights, found from three quarters of the positions,
 * leave the smallest error on the last quarter, which are other samples.
 *
 * A layer with fewer than ROWS_PER_TAP positions for each of its k products keeps its weights: it would learn the
 * samples.  A fixed number of parts shares the sums and they are added in order: the bits do not depend on threads.
 */
#include "train/layer.h"

#include <math.h>
#include <string.h>

enum { PARTS = 4, BLOCK = 128, ROWS_MOST = 16384, ROWS_PER_TAP = 3, TAPS_MOST = 1024, WORKERS_MOST = 256, OUTPUTS_ASKED = 64, PASSES = 20 };
static const double RIDGES[] = { 0.01, 0.03, 0.1, 0.3, 1 };

typedef struct refit {
    bl_ctx *ctx;
    const bl_layer *l;
    const bl_quantizer *q;
    const float *x[2];          /* inputs of all samples: float, quantized */
    float *rows[2];             /* instead of them, where that is less: [n_rows][width] as gathered; NULL: x */
    int64_t n_rows, n_positions; /* rows: positions that are looked at; of all samples together */
    int64_t width;              /* groups * k: numbers of one row */
    double *mean[2];            /* [width] */
    bool centred;
    double *sums[PARTS];        /* means: [2][width]; then [2][groups][k][k]: x x^T, x^ x^T */
    float *block[PARTS][2];     /* [BLOCK rows] gathered, group by group */
    float *row[PARTS];          /* [width]: of a depthwise layer, as it is gathered */
    float *product[PARTS];      /* k x k */
    float *was, *fitted;        /* canonical weights */
    const float *plain;         /* W rounded */
    double ridge;               /* lambda */
    double *factor;             /* [groups][k][k]: Cholesky, of inputs in the order below */
    int32_t *order;             /* [groups][k]: inputs, those that vary most last */
    uint8_t *solved;            /* by group */
    int64_t step;               /* every so many outputs are asked about a ridge */
    double *error;              /* [outputs]: on the last part, of those that were asked */
} refit;

/* Position of a row: evenly spread with a random offset, so that no stride of the picture repeats in it. */
static int64_t row_position(const refit *r, int64_t row)
{
    if (r->n_rows == r->n_positions) return row;
    bl_rng rng = bl_rng_make(r->ctx->options.seed, "refit", (uint64_t)row ^ ((uint64_t)r->l->node << 40));
    int64_t lo = row * r->n_positions / r->n_rows, hi = (row + 1) * r->n_positions / r->n_rows;
    return lo + (int64_t)bl_rng_below(&rng, (uint64_t)(hi - lo));
}

/* One position of one sample x, group by group, also where the layer is depthwise; room: [width], of depthwise layers. */
static void gather_from(const bl_layer *l, const float *x, int64_t position, float *room, float *to, int64_t stride)
{
    bl_layer_gather(l, x, position, l->depthwise ? room : to, stride);
    for (int64_t g = 0; l->depthwise && g < l->groups; g++)
        for (int64_t j = 0; j < l->k; j++) to[g * stride + j] = room[j * l->groups + g];
}

static void gather(const refit *r, size_t part, int which, int64_t row, float *to, int64_t stride)
{
    const bl_layer *l = r->l;
    if (r->rows[which]) {
        const float *from = r->rows[which] + row * r->width;
        for (int64_t g = 0; g < l->groups; g++) memcpy(to + g * stride, from + g * l->k, (size_t)l->k * sizeof *to);
        return;
    }
    int64_t at = row_position(r, row);
    gather_from(l, r->x[which] + at / l->positions * l->in_size, at % l->positions, r->row[part], to, stride);
}

/* ------------------------------------------------------------------ inputs */

typedef struct keeping {
    const refit *r;
    int which;
    float *input[WORKERS_MOST], *room[WORKERS_MOST]; /* a sample turned, a row */
} keeping;

static bl_status keep_rows(void *user, const bl_look *at, int value, const bl_tensor *t)
{
    const keeping *k = user;
    const refit *r = k->r;
    const bl_layer *l = r->l;
    float *x = k->input[at->worker];
    if (value != l->input) return BL_OK;
    for (int64_t s = 0; s < at->count; s++) {
        int64_t first = (at->first + s) * l->positions, row = first * r->n_rows / r->n_positions, position;
        bl_layer_turn_input(l, (const float *)t->data + s * l->in_size, x);
        for (; row < r->n_rows && (position = row_position(r, row)) < first + l->positions; row++)
            if (position >= first)
                gather_from(l, x, position - first, k->room[at->worker], r->rows[k->which] + row * r->width, l->k);
    }
    return BL_OK;
}

/* What is looked at of a layer's inputs, or all of them where that is less.  fake: as quantized. */
static bl_status capture(refit *r, int which, const bl_tune_input *in, const int64_t *index, int64_t n, bl_fake *fake, bl_arena *a)
{
    const bl_layer *l = r->l;
    if (r->n_rows * r->width >= n * l->in_size) {
        bl_layer_samples x = { .n = n, .x = bl_alloc(a, (size_t)n, (size_t)l->in_size * sizeof(float)) };
        BL_ALLOC_TRY(r->ctx, x.x);
        r->x[which] = x.x;
        return bl_layers_capture(r->ctx, in->graph, l, &x, 1, in->data, index, fake, true, false);
    }
    r->rows[which] = bl_alloc(a, (size_t)r->n_rows, (size_t)r->width * sizeof(float));
    BL_ALLOC_TRY(r->ctx, r->rows[which]);
    keeping k = { .r = r, .which = which };
    bl_mark mark = bl_arena_mark(a);
    for (unsigned w = 0; w < bl_threads(r->ctx); w++) {
        k.input[w] = bl_alloc(a, (size_t)l->in_size, sizeof(float));
        k.room[w] = bl_alloc(a, (size_t)r->width, sizeof(float));
        if (!k.input[w] || !k.room[w]) return bl_pending(r->ctx);
    }
    uint8_t *looks = BL_NEW(a, uint8_t, (size_t)in->graph->n_values);
    BL_ALLOC_TRY(r->ctx, looks);
    looks[l->input] = 1;
    bl_shards s = { .graph = in->graph, .data = in->data, .index = index, .n = n, .looks = looks, .look = keep_rows, .fake = fake };
    bl_status status = bl_shards_run(r->ctx, &s, NULL, &k);
    bl_arena_reset(a, mark);
    return status;
}

static void part_rows(const refit *r, size_t part, int64_t *first, int64_t *last)
{
    *first = (int64_t)part * r->n_rows / PARTS;
    *last = ((int64_t)part + 1) * r->n_rows / PARTS;
}

static bl_status mean_piece(void *arg, size_t part, unsigned worker)
{
    refit *r = arg;
    int64_t first, last;
    double *sum = r->sums[part];
    (void)worker;
    part_rows(r, part, &first, &last);
    memset(sum, 0, 2 * (size_t)r->width * sizeof *sum);
    for (int64_t row = first; row < last; row++)
        for (int which = 0; which < 2; which++) {
            gather(r, part, which, row, r->block[part][0], r->l->k);
            for (int64_t i = 0; i < r->width; i++) sum[which * r->width + i] += r->block[part][0][i];
        }
    return BL_OK;
}

/* Rows of one block about their means; group g's rows lie together, k numbers each. */
static void gather_block(const refit *r, size_t part, int which, int64_t first, int64_t n)
{
    const bl_layer *l = r->l;
    float *to = r->block[part][which];
    for (int64_t i = 0; i < n; i++) gather(r, part, which, first + i, to + i * l->k, n * l->k);
    if (!r->centred) return;
    for (int64_t g = 0; g < l->groups; g++)
        for (int64_t i = 0; i < n; i++)
            for (int64_t j = 0; j < l->k; j++) to[(g * n + i) * l->k + j] -= (float)r->mean[which][g * l->k + j];
}

static bl_status gram_piece(void *arg, size_t part, unsigned worker)
{
    refit *r = arg;
    int64_t first, last, k = r->l->k, squares = r->l->groups * k * k;
    (void)worker;
    part_rows(r, part, &first, &last);
    memset(r->sums[part], 0, 2 * (size_t)squares * sizeof(double));
    for (int64_t at = first; at < last; at += BLOCK) {
        int64_t n = BL_MIN(last - at, (int64_t)BLOCK);
        for (int which = 0; which < 2; which++) gather_block(r, part, which, at, n);
        for (int which = 0; which < 2; which++)
            for (int64_t g = 0; g < r->l->groups; g++) {
                double *sum = r->sums[part] + which * squares + g * k * k;
                bl_product_f32(true, false, k, k, n, r->block[part][which] + g * n * k, r->block[part][1] + g * n * k, r->product[part]);
                for (int64_t i = 0; i < k * k; i++) sum[i] += r->product[part][i];
            }
        BL_TRY(bl_check_interrupt(r->ctx));
    }
    return BL_OK;
}

static void add_parts(refit *r, int first, int last, int64_t n)
{
    for (int part = first; part <= last; part++)
        for (int64_t i = 0; i < n; i++) r->sums[0][i] += r->sums[part][i];
}

/* ------------------------------------------------------------------ solving */

/* Lower factor of the k x k matrix in place; false where it is not positive definite. */
static bool cholesky(double *a, int64_t k)
{
    for (int64_t j = 0; j < k; j++) {
        for (int64_t i = 0; i <= j; i++) {
            double sum = a[j * k + i];
            for (int64_t m = 0; m < i; m++) sum -= a[j * k + m] * a[i * k + m];
            if (i < j) a[j * k + i] = sum / a[i * k + i];
            else if (sum > 0 && isfinite(sum)) a[j * k + j] = sqrt(sum);
            else return false;
        }
    }
    return true;
}

static void solve(const double *factor, int64_t k, double *b)
{
    for (int64_t i = 0; i < k; i++) {
        for (int64_t m = 0; m < i; m++) b[i] -= factor[i * k + m] * b[m];
        b[i] /= factor[i * k + i];
    }
    for (int64_t i = k - 1; i >= 0; i--) {
        b[i] /= factor[i * k + i];
        for (int64_t m = 0; m < i; m++) b[m] -= factor[i * k + m] * b[i];
    }
}

/* lambda d */
static double ridge_of(const refit *r, const double *gram)
{
    double sum = 0;
    for (int64_t i = 0; i < r->l->k; i++) sum += gram[i * r->l->k + i];
    return r->ridge * sum / (double)r->l->k;
}

static bl_status factor_piece(void *arg, size_t g, unsigned worker)
{
    refit *r = arg;
    int64_t k = r->l->k, squares = r->l->groups * k * k;
    const double *gram = r->sums[0] + squares + (int64_t)g * k * k;
    double *to = r->factor + (int64_t)g * k * k, ridge = ridge_of(r, gram);
    int32_t *at = r->order + (int64_t)g * k;
    (void)worker;
    for (int64_t i = 0; i < k; i++) {
        int64_t j = i;
        for (; j > 0 && gram[at[j - 1] * k + at[j - 1]] > gram[i * k + i]; j--) at[j] = at[j - 1];
        at[j] = (int32_t)i;
    }
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) to[i * k + j] = gram[at[i] * k + at[j]] + (i == j ? ridge : 0);
    r->solved[g] = ridge > 0 && cholesky(to, k);
    return BL_OK;
}

/* An output's matrices: sums of x x^T and x^ x^T of its group. */
typedef struct squares { const double *cross, *gram; } squares;

static squares squares_of(const refit *r, int part, int64_t o)
{
    int64_t k = r->l->k, g = o / (r->l->outputs / r->l->groups);
    const double *cross = r->sums[part] + g * k * k;
    return (squares){ cross, cross + r->l->groups * k * k };
}

/* to = row v of k numbers times a k x k matrix. */
static void times(const float *v, const double *matrix, int64_t k, double *restrict to)
{
    for (int64_t j = 0; j < k; j++) to[j] = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) to[j] += v[i] * matrix[i * k + j];
}

/* What weights v leave of E |w x - v x^|^2, but for E |w x|^2; wanted: w E[x x^T]. */
static double error_of(const double *gram, const double *wanted, const float *v, int64_t k)
{
    double error = 0, product[TAPS_MOST];
    times(v, gram, k, product);
    for (int64_t i = 0; i < k; i++) error += v[i] * (product[i] - 2 * wanted[i]);
    return error;
}

/* An output's weights on their way to the grid. */
typedef struct rounding {
    double b[TAPS_MOST];        /* as fitted */
    float v[TAPS_MOST], scale;  /* on the grid */
    int32_t lo, hi;
} rounding;

static double nearest(const rounding *p, double x)
{
    return p->scale * fmin(fmax(rint(x / p->scale), p->lo), p->hi);
}

static void round_in_order(const double *factor, const int32_t *order, int64_t k, rounding *p)
{
    double left[TAPS_MOST]; /* what later rows leave for each */
    for (int64_t i = 0; i < k; i++) left[i] = 0;
    for (int64_t i = k - 1; i >= 0; i--) {
        const double *row = factor + i * k;
        double q = nearest(p, p->b[order[i]] - left[i] / row[i]), off = q - p->b[order[i]];
        p->v[order[i]] = (float)q;
        for (int64_t m = 0; m < i; m++) left[m] += row[m] * off;
    }
}

static void move_single(const double *gram, double ridge, int64_t k, rounding *p)
{
    float off[TAPS_MOST];
    double slope[TAPS_MOST];
    for (int64_t i = 0; i < k; i++) off[i] = (float)(p->v[i] - p->b[i]);
    times(off, gram, k, slope);
    for (int64_t i = 0; i < k; i++) slope[i] += ridge * off[i];
    for (int pass = 0, moved = 1; moved && pass < PASSES; pass++) {
        moved = 0;
        for (int64_t i = 0; i < k; i++) {
            double bend = gram[i * k + i] + ridge, by = nearest(p, p->v[i] - slope[i] / bend) - p->v[i];
            if (fabs(by) < 0.5 * (double)p->scale || by * (2 * slope[i] + by * bend) >= 0) continue;
            for (int64_t j = 0; j < k; j++) slope[j] += gram[i * k + j] * by;
            slope[i] += ridge * by;
            p->v[i] = (float)(p->v[i] + by);
            moved = 1;
        }
    }
}

/* One output: its new weights on the grid, or the old ones rounded. */
static void fit_output(const refit *r, int64_t o)
{
    const bl_layer *l = r->l;
    int64_t k = l->k, g = o / (l->outputs / l->groups);
    squares s = squares_of(r, 0, o);
    const float *w = r->was + o * k;
    const int32_t *order = r->order + g * k;
    float *to = r->fitted + o * k;
    double wanted[TAPS_MOST], sorted[TAPS_MOST], ridge = ridge_of(r, s.gram);
    rounding p = { .scale = r->q->scale[r->q->n_scale > 1 ? o : 0] };
    memcpy(to, r->plain + o * k, (size_t)k * sizeof *to);
    if (!r->solved[g]) return;
    times(w, s.cross, k, wanted);
    for (int64_t j = 0; j < k; j++) sorted[j] = wanted[order[j]] + ridge * w[order[j]];
    solve(r->factor + g * k * k, k, sorted);
    for (int64_t j = 0; j < k; j++) p.b[order[j]] = sorted[j];
    bl_weight_code_range(r->q->bits, r->q->narrow, &p.lo, &p.hi);
    round_in_order(r->factor + g * k * k, order, k, &p);
    move_single(s.gram, ridge, k, &p);
    if (error_of(s.gram, wanted, p.v, k) < error_of(s.gram, wanted, to, k)) memcpy(to, p.v, (size_t)k * sizeof *to);
}

static bl_status output_piece(void *arg, size_t o, unsigned worker)
{
    (void)worker;
    fit_output(arg, (int64_t)o);
    return BL_OK;
}

static bl_status ask_piece(void *arg, size_t piece, unsigned worker)
{
    refit *r = arg;
    int64_t o = (int64_t)piece * r->step, k = r->l->k;
    squares s = squares_of(r, PARTS - 1, o);
    double wanted[TAPS_MOST];
    (void)worker;
    fit_output(r, o);
    times(r->was + o * k, s.cross, k, wanted);
    r->error[piece] = error_of(s.gram, wanted, r->fitted + o * k, k);
    return BL_OK;
}

/* With the sums of all parts but the last; of a few outputs. */
static bl_status choose_ridge(refit *r)
{
    int64_t asked = (r->l->outputs + r->step - 1) / r->step;
    double least = INFINITY, best = RIDGES[0];
    for (size_t i = 0; i < BL_COUNTOF(RIDGES); i++) {
        double sum = 0;
        r->ridge = RIDGES[i];
        BL_TRY(bl_parallel_for(r->ctx, (size_t)r->l->groups, factor_piece, r));
        BL_TRY(bl_parallel_for(r->ctx, (size_t)asked, ask_piece, r));
        for (int64_t k = 0; k < asked; k++) sum += r->error[k];
        if (sum < least) least = sum, best = RIDGES[i];
        BL_TRY(bl_check_interrupt(r->ctx));
    }
    r->ridge = best;
    return BL_OK;
}

static bl_status fit_weights(refit *r, bl_arena *a)
{
    const bl_layer *l = r->l;
    size_t all = (size_t)(l->groups * l->k * l->k);
    r->step = (l->outputs + OUTPUTS_ASKED - 1) / OUTPUTS_ASKED;
    r->factor = bl_alloc(a, all, sizeof(double));
    r->order = bl_alloc(a, (size_t)(l->groups * l->k), sizeof(int32_t));
    r->solved = bl_alloc(a, (size_t)l->groups, 1);
    r->error = bl_alloc(a, OUTPUTS_ASKED, sizeof(double));
    if (!r->factor || !r->order || !r->solved || !r->error) return bl_pending(r->ctx);
    for (int part = 0; part < PARTS; part++) {
        r->sums[part] = bl_alloc(a, 2 * all, sizeof(double));
        r->product[part] = bl_alloc(a, (size_t)(l->k * l->k), sizeof(float));
        for (int which = 0; which < 2; which++) {
            r->block[part][which] = bl_alloc(a, (size_t)(BLOCK * r->width), sizeof(float));
            BL_ALLOC_TRY(r->ctx, r->block[part][which]);
        }
        if (!r->sums[part] || !r->product[part]) return bl_pending(r->ctx);
    }
    BL_TRY(bl_parallel_for(r->ctx, PARTS, gram_piece, r));
    add_parts(r, 1, PARTS - 2, 2 * (int64_t)all);
    BL_TRY(choose_ridge(r));
    add_parts(r, PARTS - 1, PARTS - 1, 2 * (int64_t)all);
    BL_TRY(bl_parallel_for(r->ctx, (size_t)l->groups, factor_piece, r));
    return bl_parallel_for(r->ctx, (size_t)l->outputs, output_piece, r);
}

static bl_status find_means(refit *r, bl_arena *a)
{
    for (int which = 0; which < 2; which++) r->mean[which] = bl_alloc(a, (size_t)r->width, sizeof(double));
    if (!r->mean[0] || !r->mean[1]) return bl_pending(r->ctx);
    for (int part = 0; part < PARTS; part++) {
        r->sums[part] = bl_alloc(a, 2 * (size_t)r->width, sizeof(double));
        r->block[part][0] = bl_alloc(a, (size_t)r->width, sizeof(float));
        r->row[part] = bl_alloc(a, (size_t)r->width, sizeof(float));
        if (!r->sums[part] || !r->block[part][0] || !r->row[part]) return bl_pending(r->ctx);
    }
    BL_TRY(bl_parallel_for(r->ctx, PARTS, mean_piece, r));
    add_parts(r, 1, PARTS - 1, 2 * r->width);
    for (int which = 0; which < 2; which++)
        for (int64_t i = 0; i < r->width; i++) r->mean[which][i] = r->sums[0][which * r->width + i] / (double)r->n_rows;
    return BL_OK;
}

/* ------------------------------------------------------------------ a layer */

static bl_status round_plainly(refit *r, const bl_tensor *w, bl_arena *a)
{
    size_t n = (size_t)bl_tensor_count(w);
    int8_t *codes = bl_alloc(a, n, 1);
    float *real = bl_alloc(a, n, sizeof(float)), *plain = bl_alloc(a, n, sizeof(float));
    r->was = bl_alloc(a, n, sizeof(float));
    r->fitted = bl_alloc(a, n, sizeof(float));
    if (!codes || !real || !plain || !r->was || !r->fitted) return bl_pending(r->ctx);
    bl_weight_codes(w, r->q->scale, r->q->n_scale, r->q->axis, r->q->bits, r->q->narrow, codes);
    bl_weight_decode(w, codes, r->q->scale, r->q->n_scale, r->q->axis, real);
    bl_layer_weights(r->l, real, plain);
    bl_layer_weights(r->l, w->data, r->was);
    memcpy(r->fitted, plain, n * sizeof(float));
    r->plain = plain;
    return BL_OK;
}

static bl_status fit_layer(refit *r, const bl_graph *g, bl_arena *a, bl_weights *out)
{
    const bl_layer *l = r->l;
    float *data;
    BL_TRY(round_plainly(r, &g->values[l->weight].t, a));
    BL_TRY(find_means(r, a));
    if (r->q->bits > 1 && l->k <= TAPS_MOST && r->n_rows >= ROWS_PER_TAP * l->k) {
        BL_TRY(fit_weights(r, a));
        BL_TRY(bl_weights_replace(r->ctx, g, out, l->weight, &data));
        bl_layer_store(l, r->fitted, data);
    }
    if (l->bias < 0) return BL_OK;
    BL_TRY(bl_weights_replace(r->ctx, g, out, l->bias, &data));
    for (int64_t o = 0; o < l->outputs; o++) {
        double shift = 0;
        int64_t first = o / (l->outputs / l->groups) * l->k;
        for (int64_t j = 0; j < l->k; j++)
            shift += r->was[o * l->k + j] * r->mean[0][first + j] - r->fitted[o * l->k + j] * r->mean[1][first + j];
        data[o] = (float)(l->bias_data[o] + shift);
    }
    return BL_OK;
}

static bl_status tune_layer(refit *r, const bl_tune_input *in, const int64_t *index, int64_t n, bl_arena *a, bl_weights *out)
{
    bl_fake *fake = NULL;
    r->n_positions = n * r->l->positions;
    r->n_rows = BL_MIN(r->n_positions, (int64_t)ROWS_MOST);
    r->width = r->l->groups * r->l->k;
    r->centred = r->l->bias >= 0;
    BL_TRY(capture(r, 0, in, index, n, NULL, a));
    BL_TRY(bl_fake_new(r->ctx, in->graph, in->plan, out, &fake));
    bl_status s = capture(r, 1, in, index, n, fake, a);
    bl_fake_free(fake);
    BL_TRY(s);
    return fit_layer(r, in->graph, a, out);
}

static bl_status tune_all(bl_ctx *ctx, const bl_tune_input *in, bl_arena *kept, bl_arena *a, bl_weights *out)
{
    int64_t *index, n;
    bl_layer *layers;
    int n_layers;

    BL_TRY(bl_data_pick(in->data, in->samples, kept, &index, &n));
    BL_TRY(bl_layers_rounded(ctx, in->graph, in->plan, kept, &layers, &n_layers));
    for (int k = 0; k < n_layers; k++) {
        refit r = { .ctx = ctx, .l = &layers[k], .q = &in->plan->quantizers[in->plan->of_value[layers[k].weight]] };
        bl_mark mark = bl_arena_mark(a);
        bl_progress(ctx, "refit", (uint64_t)k, (uint64_t)n_layers);
        bl_status s = tune_layer(&r, in, index, n, a, out);
        bl_arena_reset(a, mark);
        BL_TRY(s);
    }
    bl_progress(ctx, "refit", (uint64_t)n_layers, (uint64_t)n_layers);
    return BL_OK;
}

bl_status bl_tune_refit(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    bl_arena *kept = bl_arena_new(ctx, "refit"), *a = bl_arena_new(ctx, "refit layer");
    if (a) bl_arena_spill(a);
    bl_status s = kept && a ? tune_all(ctx, in, kept, a, out) : bl_pending(ctx);
    bl_arena_free(a);
    bl_arena_free(kept);
    return s;
}
