/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights fitted again to the inputs that they will have.  Layer after layer, with the network before it quantized:
 *
 *   W' = argmin E |W x - W' x^|^2 + lambda d |W' - W|^2 = W (E[x x^T] + lambda d I) (E[x^ x^T] + lambda d I)^-1
 *
 * x: the layer's input in float, x^: as quantized, both about their means (the bias takes the means), d: mean of the
 * diagonal of E[x^ x^T].  An input that is mostly rounding error is listened to less, its neighbours more: the linear
 * errors-in-variables correction, which nearest rounding and a corrected bias cannot do.  W' is then rounded on the
 * plan's grid, output by output only where that leaves a smaller error than W rounded; at last
 * b' = b + E[W x] - E[W' x^] (DFQ, arXiv 1906.04721, section 4.2, against the float network).
 *
 * A layer with fewer than ROWS_PER_TAP positions for each of its k products keeps its weights: it would learn the
 * samples.  A fixed number of parts shares the sums and they are added in order: the bits do not depend on threads.
 */
#include "train/layer.h"

#include <math.h>
#include <string.h>

enum { PARTS = 4, BLOCK = 128, ROWS_MOST = 16384, ROWS_PER_TAP = 20, TAPS_MOST = 768, WORKERS_MOST = 256 };
#define LAMBDA 3e-2

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
    double *factor;             /* [groups][k][k]: Cholesky */
    uint8_t *solved;            /* by group */
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

static void add_parts(refit *r, int64_t n)
{
    for (int part = 1; part < PARTS; part++)
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

static double ridge_of(const double *gram, int64_t k)
{
    double sum = 0;
    for (int64_t i = 0; i < k; i++) sum += gram[i * k + i];
    return LAMBDA * sum / (double)k;
}

static bl_status factor_piece(void *arg, size_t g, unsigned worker)
{
    refit *r = arg;
    int64_t k = r->l->k, squares = r->l->groups * k * k;
    const double *gram = r->sums[0] + squares + (int64_t)g * k * k;
    double *to = r->factor + (int64_t)g * k * k, ridge = ridge_of(gram, k);
    (void)worker;
    memcpy(to, gram, (size_t)(k * k) * sizeof *to);
    for (int64_t i = 0; i < k; i++) to[i * k + i] += ridge;
    r->solved[g] = ridge > 0 && cholesky(to, k);
    return BL_OK;
}

/* What weights v leave of E |w x - v x^|^2, but for E |w x|^2. */
static double error_of(const double *gram, const double *wanted, const float *v, int64_t k)
{
    double error = 0;
    for (int64_t i = 0; i < k; i++) {
        double dot = 0;
        for (int64_t j = 0; j < k; j++) dot += gram[i * k + j] * v[j];
        error += v[i] * (dot - 2 * wanted[i]);
    }
    return error;
}

/* One output: its new weights on the grid, or the old ones rounded. */
static bl_status output_piece(void *arg, size_t o, unsigned worker)
{
    refit *r = arg;
    const bl_layer *l = r->l;
    int64_t k = l->k, g = (int64_t)o / (l->outputs / l->groups), squares = l->groups * k * k;
    const double *cross = r->sums[0] + g * k * k, *gram = cross + squares;
    const float *w = r->was + (int64_t)o * k;
    float *to = r->fitted + (int64_t)o * k, scale = r->q->scale[r->q->n_scale > 1 ? o : 0];
    double wanted[TAPS_MOST], b[TAPS_MOST], ridge = ridge_of(gram, k);
    int32_t lo, hi;
    (void)worker;
    memcpy(to, r->plain + (int64_t)o * k, (size_t)k * sizeof *to);
    if (!r->solved[g]) return BL_OK;
    for (int64_t j = 0; j < k; j++) wanted[j] = 0;
    for (int64_t i = 0; i < k; i++)
        for (int64_t j = 0; j < k; j++) wanted[j] += w[i] * cross[i * k + j];
    for (int64_t j = 0; j < k; j++) b[j] = wanted[j] + ridge * w[j];
    solve(r->factor + g * k * k, k, b);
    bl_weight_code_range(r->q->bits, r->q->narrow, &lo, &hi);
    float v[TAPS_MOST];
    for (int64_t j = 0; j < k; j++) v[j] = scale * (float)fmin(fmax(rint(b[j] / scale), lo), hi);
    if (error_of(gram, wanted, v, k) < error_of(gram, wanted, to, k)) memcpy(to, v, (size_t)k * sizeof *to);
    return BL_OK;
}

static bl_status fit_weights(refit *r, bl_arena *a)
{
    const bl_layer *l = r->l;
    size_t squares = (size_t)(l->groups * l->k * l->k);
    r->factor = bl_alloc(a, squares, sizeof(double));
    r->solved = bl_alloc(a, (size_t)l->groups, 1);
    if (!r->factor || !r->solved) return bl_pending(r->ctx);
    for (int part = 0; part < PARTS; part++) {
        r->sums[part] = bl_alloc(a, 2 * squares, sizeof(double));
        r->product[part] = bl_alloc(a, (size_t)(l->k * l->k), sizeof(float));
        for (int which = 0; which < 2; which++) {
            r->block[part][which] = bl_alloc(a, (size_t)(BLOCK * r->width), sizeof(float));
            BL_ALLOC_TRY(r->ctx, r->block[part][which]);
        }
        if (!r->sums[part] || !r->product[part]) return bl_pending(r->ctx);
    }
    BL_TRY(bl_parallel_for(r->ctx, PARTS, gram_piece, r));
    add_parts(r, 2 * (int64_t)squares);
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
    add_parts(r, 2 * r->width);
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
