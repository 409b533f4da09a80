/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Data-free samples (ZeroQ, arXiv 2001.00281, section 3.1; DeepInversion, arXiv 1912.08795 for the class
 * term): Adam on the input until the outputs of the layers in front of BatchNormalizations have the
 * means mu and deviations sigma that those remember.
 *
 * The network is prepared without fusing activations, so a folded layer's output y is what its
 * BatchNormalization gave, and (y - beta) sigma / gamma + mu is what it took.  Gradients by the input
 * come from the reverse-mode walk.  The rate falls along a cosine: waiting for a plateau, as ZeroQ does, leaves
 * the loss ten times higher after the same steps.  Samples go side by side in chunks cut by number; every sum runs in
 * sample order.
 */
#include "train/train.h"

#include <math.h>
#include <string.h>

#define WORKERS_MAX 256
#define ADAM_BETA1 0.9
#define ADAM_BETA2 0.999
#define ADAM_EPSILON 1e-8
enum { POSITIONS_A_CHUNK = 96 * 96 };
#define RATE 0.5
#define VARIANCE_FLOOR 1e-6
#define ALONG 0.93          /* how far neighbours in photographs agree */
#define ACROSS 0.9          /* and channels */
#define REACH 2.0f          /* deviations that numbers of a known reach stay within */
#define BOUND 3.0           /* deviations that pixels stay within: they have ends, which Adam does not know */
enum { PICTURE_SIDE = 16 }; /* what is smaller may be a table of features without ends */

/* A BatchNormalization: its statistics by channel and what the samples have of them. */
typedef struct layer {
    int value;
    int64_t channels, first;    /* of the sums below */
    const bl_bn *bn;
} layer;

typedef struct worker {
    bl_walk *walk;
    bl_back *back;
} worker;

typedef struct distil {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_distil_options o;
    bl_graph *plain, *g;        /* as prepared; one chunk a batch */
    int64_t batch, chunks, per; /* per: elements of a sample */
    int input, logits;          /* value numbers; logits -1: no class term */
    layer *layers;
    int *layer_of;              /* by value, -1: none */
    int n_layers;
    int64_t n_sums;             /* channels of all layers */
    double *sums;               /* [chunk][2 * n_sums]: sum and sum of squares (all together) */
    double *mean, *deviation;   /* n_sums: of all samples */
    float *z, *x;               /* [samples][per]: what is optimised, and the input that it stands for */
    float *m, *v;               /* Adam's moments */
    float *offset, *scale;      /* by element of a sample: x = offset + scale z */
    double *loss;               /* [samples] */
    int *label;                 /* [samples] */
    double rate;
    float bound;                /* of z */
    int64_t step;
    uint8_t *marks;
    worker workers[WORKERS_MAX];
} distil;

/* ------------------------------------------------------------------ the loss */

typedef struct chunk_state {
    distil *d;
    int64_t first;              /* sample */
} chunk_state;

/* Mean and squared distance from it over n elements. */
static void moments(const float *y, int64_t n, double *mean, double *square)
{
    double sum = 0, sq = 0;
    for (int64_t i = 0; i < n; i++) sum += y[i];
    *mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) sq += (y[i] - *mean) * (y[i] - *mean);
    *square = sq;
}

/* Distance of mean and deviation of k (y - shift) to target 0 and sd, its gradient added to grad.  n elements
 * in one place; mean and square are of y over `all` elements. */
static double pull(const float *y, float *grad, int64_t n, double all, double mean, double square,
                   double k, double shift, double sd)
{
    double off = (mean - shift) * k;
    double loss = off * off, by_mean = 2 * off * k / all, by_dev = 0;

    if (all > 1) {
        double now = sqrt(square * k * k / (all - 1) + VARIANCE_FLOOR);
        loss += (now - sd) * (now - sd);
        by_dev = 2 * (now - sd) / now * k * k / (all - 1);
    }
    for (int64_t i = 0; i < n; i++) grad[i] += (float)(by_mean + by_dev * (y[i] - mean));
    return loss;
}

static void pull_layer(chunk_state *c, const layer *l, const bl_tensor *y, bl_tensor *grad)
{
    distil *d = c->d;
    int64_t batch = y->dim[0], places = bl_tensor_count(y) / batch / l->channels;

    for (int64_t s = 0; s < batch; s++)
        for (int64_t ch = 0; ch < l->channels; ch++) {
            int64_t at = (s * l->channels + ch) * places, i = l->first + ch;
            double gamma = l->bn->gamma[ch], sigma = l->bn->sigma[ch];
            if (fabs(gamma) < 1e-6 * sigma || !(sigma > 0)) continue; /* says nothing about its input */
            double mean, square, all = (double)places;
            if (d->o.per_sample) {
                moments((const float *)y->data + at, places, &mean, &square);
            } else {
                all *= (double)(d->chunks * d->batch);
                mean = d->mean[i];
                square = d->deviation[i];
            }
            double loss = pull((const float *)y->data + at, (float *)grad->data + at, places, all, mean,
                               square, sigma / gamma, l->bn->beta[ch], sigma);
            d->loss[c->first + s] += d->o.per_sample ? loss : loss / (double)(d->chunks * d->batch);
        }
}

/* The samples themselves: mean 0, deviation 1 of z. */
static void pull_input(chunk_state *c, const bl_tensor *x, bl_tensor *grad)
{
    distil *d = c->d;
    int64_t channels = x->rank > 1 ? x->dim[1] : 1, places = d->per / channels;

    for (int64_t s = 0; s < x->dim[0]; s++)
        for (int64_t ch = 0; ch < channels; ch++) {
            int64_t at = s * d->per + ch * places;
            double mean, square, k = 1 / d->scale[ch * places];
            moments((const float *)x->data + at, places, &mean, &square);
            d->loss[c->first + s] +=
                pull((const float *)x->data + at, (float *)grad->data + at, places, (double)places, mean,
                     square, k, d->offset[ch * places], 1);
        }
}

static void pull_class(chunk_state *c, const bl_tensor *y, bl_tensor *grad)
{
    distil *d = c->d;
    int64_t n = bl_tensor_count(y) / y->dim[0];
    double weight = d->o.class_weight * (d->o.per_sample ? 1 : 1.0 / (double)(d->chunks * d->batch));

    for (int64_t s = 0; s < y->dim[0]; s++) {
        const float *row = (const float *)y->data + s * n;
        float *to = (float *)grad->data + s * n;
        double most = row[0], sum = 0;
        for (int64_t i = 1; i < n; i++) most = fmax(most, (double)row[i]);
        for (int64_t i = 0; i < n; i++) sum += exp(row[i] - most);
        for (int64_t i = 0; i < n; i++)
            to[i] += (float)(weight * (exp(row[i] - most) / sum - (i == d->label[c->first + s])));
        d->loss[c->first + s] += weight * (log(sum) + most - row[d->label[c->first + s]]);
    }
}

static bl_status pull_value(void *user, int value, const bl_tensor *x, bl_tensor *grad)
{
    chunk_state *c = user;
    if (c->d->layer_of[value] >= 0) pull_layer(c, &c->d->layers[c->d->layer_of[value]], x, grad);
    if (value == c->d->input) pull_input(c, x, grad);
    if (value == c->d->logits) pull_class(c, x, grad);
    return BL_OK;
}

/* ------------------------------------------------------------------ one step */

static bl_status run_forward(distil *d, size_t chunk, unsigned w)
{
    worker *wk = &d->workers[w];
    bl_tensor *x;

    BL_TRY(bl_check_interrupt(d->ctx));
    if (!wk->walk) {
        bl_walk_options o = {.keep_all = true};
        BL_TRY(bl_walk_new(d->ctx, d->g, &o, &wk->walk));
        BL_TRY(bl_back_new(d->ctx, wk->walk, d->marks, &wk->back));
    }
    x = bl_walk_input(wk->walk, 0);
    memcpy(x->data, d->x + (int64_t)chunk * d->batch * d->per,
           (size_t)(d->batch * d->per) * sizeof(float));
    return bl_walk_run(wk->walk, NULL, NULL);
}

/* All together: sums of the chunk's outputs, before anybody can know the means of all. */
static bl_status sum_piece(void *arg, size_t chunk, unsigned w)
{
    distil *d = arg;
    double *sums = d->sums + (int64_t)chunk * 2 * d->n_sums;

    BL_TRY(run_forward(d, chunk, w));
    for (int k = 0; k < d->n_layers; k++) {
        const layer *l = &d->layers[k];
        const bl_tensor *y = bl_walk_value(d->workers[w].walk, l->value);
        if (!y) return bl_pending(d->ctx);
        int64_t places = bl_tensor_count(y) / y->dim[0] / l->channels;
        for (int64_t ch = 0; ch < l->channels; ch++) {
            double sum = 0, square = 0, shift = l->bn->beta[ch];
            for (int64_t s = 0; s < y->dim[0]; s++) {
                const float *p = (const float *)y->data + (s * l->channels + ch) * places;
                for (int64_t i = 0; i < places; i++) {
                    sum += p[i] - shift;
                    square += (p[i] - shift) * (p[i] - shift);
                }
            }
            sums[2 * (l->first + ch)] = sum;
            sums[2 * (l->first + ch) + 1] = square;
        }
    }
    return BL_OK;
}

static void combine_sums(distil *d)
{
    for (int k = 0; k < d->n_layers; k++) {
        const layer *l = &d->layers[k];
        double all = (double)(d->chunks * d->batch) *
                     (double)(bl_tensor_count(&d->g->values[l->value].t) / d->batch / l->channels);
        for (int64_t ch = 0; ch < l->channels; ch++) {
            double sum = 0, square = 0;
            for (int64_t c = 0; c < d->chunks; c++) {
                sum += d->sums[(c * d->n_sums + l->first + ch) * 2];
                square += d->sums[(c * d->n_sums + l->first + ch) * 2 + 1];
            }
            d->mean[l->first + ch] = sum / all + l->bn->beta[ch];
            d->deviation[l->first + ch] = fmax(square - sum * sum / all, 0);
        }
    }
}

static bl_status step_piece(void *arg, size_t chunk, unsigned w)
{
    distil *d = arg;
    int64_t first = (int64_t)chunk * d->batch, n = d->batch * d->per;
    chunk_state c = {d, first};
    double fix1 = 1 - pow(ADAM_BETA1, (double)d->step), fix2 = 1 - pow(ADAM_BETA2, (double)d->step);
    const bl_tensor *grad;

    BL_TRY(run_forward(d, chunk, w));
    for (int64_t s = 0; s < d->batch; s++) d->loss[first + s] = 0;
    BL_TRY(bl_back_run(d->workers[w].back, pull_value, &c));
    grad = bl_back_grad(d->workers[w].back, d->input);
    if (!grad) return bl_pending(d->ctx);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = first * d->per + i;
        double g = (double)((const float *)grad->data)[i] * d->scale[i % d->per];
        d->m[at] = (float)(ADAM_BETA1 * d->m[at] + (1 - ADAM_BETA1) * g);
        d->v[at] = (float)(ADAM_BETA2 * d->v[at] + (1 - ADAM_BETA2) * g * g);
        d->z[at] -= (float)(d->rate * (d->m[at] / fix1) / (sqrt(d->v[at] / fix2) + ADAM_EPSILON));
        d->z[at] = fminf(fmaxf(d->z[at], -d->bound), d->bound);
        d->x[at] = d->offset[i % d->per] + d->scale[i % d->per] * d->z[at];
    }
    return BL_OK;
}

static bl_status descend(distil *d, bl_distilled *out)
{
    for (d->step = 1; d->step <= d->o.steps; d->step++) {
        double loss = 0;
        d->rate = 0.5 * RATE * (1 + cos(M_PI * (double)(d->step - 1) / (double)d->o.steps));
        if (!d->o.per_sample) {
            BL_TRY(bl_parallel_for(d->ctx, (size_t)d->chunks, sum_piece, d));
            combine_sums(d);
        }
        BL_TRY(bl_parallel_for(d->ctx, (size_t)d->chunks, step_piece, d));
        for (int64_t s = 0; s < d->chunks * d->batch; s++) loss += d->loss[s];
        if (d->o.per_sample) loss /= (double)(d->chunks * d->batch);
        if (!isfinite(loss))
            return bl_fail(d->ctx, BL_DATA, d->g->source, "give samples with --data",
                           "distilling diverged at step %lld", (long long)d->step);
        if (d->step == 1) out->loss_first = loss;
        out->loss_last = loss;
        bl_progress(d->ctx, "distil", (uint64_t)d->step, (uint64_t)d->o.steps);
    }
    out->steps = d->o.steps;
    return BL_OK;
}

/* ------------------------------------------------------------------ the start */

/* The Conv that reads the network's input and whose output a BatchNormalization took; NULL: none. */
static const bl_node *first_conv(const distil *d, const layer **l)
{
    for (int n = 0; n < d->g->n_nodes; n++) {
        const bl_node *node = &d->g->nodes[n];
        if (strcmp(node->op->name, "Conv") || node->in[0] != d->input) continue;
        if (d->layer_of[node->out[0]] < 0) continue;
        *l = &d->layers[d->layer_of[node->out[0]]];
        return node;
    }
    return NULL;
}

/* Solves the n x n system a x = b (rows of n + 1) by elimination with pivots; false: singular. */
static bool solve(double *a, int n, double *x)
{
    for (int i = 0; i < n; i++) {
        int p = i;
        for (int r = i + 1; r < n; r++)
            if (fabs(a[r * (n + 1) + i]) > fabs(a[p * (n + 1) + i])) p = r;
        if (fabs(a[p * (n + 1) + i]) < 1e-9) return false;
        for (int c = 0; c <= n; c++) {
            double t = a[i * (n + 1) + c];
            a[i * (n + 1) + c] = a[p * (n + 1) + c];
            a[p * (n + 1) + c] = t;
        }
        for (int r = 0; r < n; r++) {
            double f = r == i ? 0 : a[r * (n + 1) + i] / a[i * (n + 1) + i];
            for (int c = i; c <= n; c++) a[r * (n + 1) + c] -= f * a[i * (n + 1) + c];
        }
    }
    for (int i = 0; i < n; i++) x[i] = a[i * (n + 1) + n] / a[i * (n + 1) + i];
    return true;
}

enum { CHANNELS_MAX = 16 };

/*
 * Mean and deviation of the input from the first Conv's remembered output: mean_f = sum_c W_fc o_c + b_f
 * is linear in the channels' means o (least squares over the filters), and for samples whose
 * neighbours agree like those of photographs the variance of filter f is s^2 w' R w.  s^2 by least squares too:
 * filters that take differences or are dead say little, and have small w' R w.
 */
static void recover_input(distil *d)
{
    const layer *l = NULL;
    const bl_node *node = first_conv(d, &l);
    const bl_tensor *x = &d->g->values[d->input].t;

    for (int64_t i = 0; i < d->per; i++) {
        d->offset[i] = 0;
        d->scale[i] = 1;
    }
    if (!node || x->rank != 4 || x->dim[1] > CHANNELS_MAX || bl_attr_int(node, "group", 1) != 1) return;
    const bl_tensor *w = &d->g->values[node->in[1]].t;
    const float *bias = node->n_in > 2 && node->in[2] >= 0 ? d->g->values[node->in[2]].t.data : NULL;
    int n = (int)x->dim[1];
    int64_t filters = w->dim[0], taps = w->dim[2] * w->dim[3];
    double a[CHANNELS_MAX * (CHANNELS_MAX + 1)] = {0}, o[CHANNELS_MAX], top = 0, bottom = 0;
    if (!w->data || filters < n) return;
    for (int64_t f = 0; f < filters; f++) {
        double sum[CHANNELS_MAX + 1] = {0};
        for (int c = 0; c < n; c++)
            for (int64_t t = 0; t < taps; t++) sum[c] += ((const float *)w->data)[(f * n + c) * taps + t];
        sum[n] = l->bn->beta[f] - (bias ? bias[f] : 0); /* mean of the folded output is beta */
        for (int i = 0; i < n; i++)
            for (int j = 0; j <= n; j++) a[i * (n + 1) + j] += sum[i] * sum[j];
    }
    for (int i = 0; i < n; i++) a[i * (n + 1) + i] *= 1 + 1e-6;
    if (!solve(a, n, o)) return;
    for (int64_t f = 0; f < filters; f++) {
        const float *wf = (const float *)w->data + f * n * taps;
        double variance = 0;
        for (int64_t p = 0; p < n * taps; p++)
            for (int64_t q = 0; q < n * taps; q++) {
                int64_t tp = p % taps, tq = q % taps;
                double dy = (double)(tp / w->dim[3] - tq / w->dim[3]), dx = (double)(tp % w->dim[3] - tq % w->dim[3]);
                variance += (double)wf[p] * wf[q] * pow(ALONG, sqrt(dx * dx + dy * dy)) * (p / taps == q / taps ? 1 : ACROSS);
            }
        double gamma = l->bn->gamma[f], sigma = l->bn->sigma[f];
        if (fabs(gamma) < 1e-6 * sigma) continue;
        variance *= sigma * sigma / (gamma * gamma); /* of the filter before its BatchNormalization was folded in */
        top += sigma * sigma * variance;
        bottom += variance * variance;
    }
    if (!(top > 0 && bottom > 0)) return;
    int64_t places = d->per / n;
    for (int64_t i = 0; i < d->per; i++) {
        d->offset[i] = (float)o[i / places];
        d->scale[i] = (float)sqrt(top / bottom);
    }
}

static bl_status find_layers(distil *d)
{
    const bl_graph *g = d->g;

    d->layers = BL_NEW(d->arena, layer, (size_t)BL_MAX(g->n_bn, 1));
    d->layer_of = BL_NEW(d->arena, int, (size_t)g->n_values);
    d->marks = BL_NEW(d->arena, uint8_t, (size_t)g->n_values);
    if (!d->layers || !d->layer_of || !d->marks) return bl_pending(d->ctx);
    for (int v = 0; v < g->n_values; v++) d->layer_of[v] = -1;
    for (int i = 0; i < g->n_bn; i++) {
        const bl_bn *bn = &g->bn[i];
        d->layers[d->n_layers] = (layer){bn->value, bn->channels, d->n_sums, bn};
        d->layer_of[bn->value] = d->n_layers++;
        d->n_sums += bn->channels;
        d->marks[bn->value] |= BL_BACK_SEEDED;
    }
    d->input = g->inputs[0];
    d->marks[d->input] |= BL_BACK_WANTED | BL_BACK_SEEDED;
    d->logits = -1;
    int out = g->outputs[0], p = g->values[out].producer;
    if (p >= 0 && !strcmp(g->nodes[p].op->name, "Softmax")) out = g->nodes[p].in[0];
    if (d->o.class_weight > 0 && g->values[out].t.rank == 2 && g->values[out].t.type == BL_F32) {
        d->logits = out;
        d->marks[out] |= BL_BACK_SEEDED;
    }
    return BL_OK;
}

/* Numbers of one sample whose neighbours, in a plane and from channel to channel, agree as those of photographs do; deviation 1
 * as before.  White noise of the same deviation hardly reaches through smoothing filters. */
static void agree(const distil *d, float *z)
{
    const bl_tensor *x = &d->g->values[d->input].t;
    const float along = (float)ALONG, fresh = sqrtf(1 - along * along), shared = sqrtf((float)ACROSS), own = sqrtf(1 - (float)ACROSS);
    int64_t h = x->dim[2], w = x->dim[3];
    for (int64_t i = h * w; i < d->per; i++) z[i] = shared * z[i % (h * w)] + own * z[i];
    for (int64_t row = 0; row < d->per / w; row++)
        for (int64_t i = 1; i < w; i++) z[row * w + i] = along * z[row * w + i - 1] + fresh * z[row * w + i];
    for (int64_t i = 0; i < d->per; i++)
        if (i / w % h) z[i] = along * z[i - w] + fresh * z[i];
}

/* Mean and deviation of each channel whose ends are known.  Channels are the second axis, or the last. */
static bool take_reach(distil *d)
{
    const bl_tensor *x = &d->g->values[d->input].t;
    int64_t n = d->o.n_reach;
    bool second = x->rank > 1 && x->dim[1] == n, last = x->rank > 0 && x->dim[x->rank - 1] == n;
    if (n < 1 || n > (int64_t)BL_COUNTOF(d->o.reach) || (n > 1 && !second && !last)) return false;
    for (int64_t i = 0; i < d->per; i++) {
        const double *ends = d->o.reach[n == 1 ? 0 : second ? i / (d->per / n) : i % n];
        d->offset[i] = (float)((ends[0] + ends[1]) / 2);
        d->scale[i] = (float)((ends[1] - ends[0]) / (2 * REACH));
    }
    return true;
}

static bl_status make_buffers(distil *d, bl_distilled *out)
{
    size_t samples = (size_t)(d->chunks * d->batch), n = samples * (size_t)d->per;
    bl_tensor x = d->g->values[d->input].t;

    x.dim[0] = (int64_t)samples;
    x.data = d->x = bl_alloc(out->arena, n, sizeof(float));
    out->x = x;
    d->z = bl_alloc(d->arena, n, sizeof(float));
    d->m = BL_NEW(d->arena, float, n);
    d->v = BL_NEW(d->arena, float, n);
    d->offset = BL_NEW(d->arena, float, (size_t)d->per);
    d->scale = BL_NEW(d->arena, float, (size_t)d->per);
    d->loss = BL_NEW(d->arena, double, samples);
    d->label = BL_NEW(d->arena, int, samples);
    d->sums = BL_NEW(d->arena, double, (size_t)(d->chunks * 2 * d->n_sums) + 1);
    d->mean = BL_NEW(d->arena, double, (size_t)d->n_sums + 1);
    d->deviation = BL_NEW(d->arena, double, (size_t)d->n_sums + 1);
    if (!d->x || !d->z || !d->m || !d->v || !d->offset || !d->scale || !d->loss || !d->label ||
        !d->sums || !d->mean || !d->deviation)
        return bl_pending(d->ctx);
    memset(d->m, 0, n * sizeof *d->m);
    memset(d->v, 0, n * sizeof *d->v);
    recover_input(d);
    d->bound = x.rank == 4 && x.dim[1] <= 4 && x.dim[2] >= PICTURE_SIDE && x.dim[3] >= PICTURE_SIDE ? (float)BOUND : INFINITY;
    const bool reach = out->reach = !d->n_layers && take_reach(d);
    for (size_t s = 0; s < samples; s++) {
        bl_rng r = bl_rng_make(d->ctx->options.seed, "distil", s);
        for (int64_t i = 0; i < d->per; i++) {
            int64_t at = (int64_t)s * d->per + i;
            d->z[at] = (float)bl_rng_normal(&r);
        }
        float *z = d->z + (int64_t)s * d->per, *to = d->x + (int64_t)s * d->per;
        if (reach && isfinite(d->bound)) agree(d, z);
        for (int64_t i = 0; reach && i < d->per; i++) z[i] = fminf(fmaxf(z[i], -REACH), REACH);
        for (int64_t i = 0; i < d->per; i++) to[i] = d->offset[i] + d->scale[i] * z[i];
        if (d->logits >= 0) {
            int64_t classes = d->g->values[d->logits].t.dim[1];
            d->label[s] = (int)bl_rng_below(&r, (uint64_t)classes);
        }
    }
    out->offset = d->offset[0];
    out->scale = d->scale[0];
    return BL_OK;
}

static bl_status open_graph(distil *d, const bl_graph *graph)
{
    bl_status s;

    if (graph->n_inputs != 1 || graph->values[graph->inputs[0]].t.type != BL_F32)
        return bl_fail(d->ctx, BL_UNAVAILABLE, graph->source, "give samples with --data",
                       "samples are distilled for networks with one float32 input");
    BL_TRY(bl_prepare_open(d->ctx, graph, &d->plain));
    d->o = bl_distil_resolve(d->plain, &d->o);
    /* Cut by numbers alone: four chunks or more, so that cores have something to share; samples of 96 x 96
     * positions and more one by one, since a chunk's values are all kept and one of them is many. */
    d->batch = BL_MAX(1, BL_MIN(POSITIONS_A_CHUNK / BL_MAX(bl_sample_positions(d->plain), 1), BL_MIN(16, d->o.samples / 4)));
    d->chunks = (d->o.samples + d->batch - 1) / d->batch;
    s = bl_graph_rebatch(d->ctx, d->plain, d->batch, &d->g);
    if (s == BL_UNAVAILABLE) { /* the model fixes its batch */
        d->batch = d->plain->batch;
        d->chunks = (d->o.samples + d->batch - 1) / d->batch;
        s = bl_graph_rebatch(d->ctx, d->plain, d->batch, &d->g);
    }
    BL_TRY(s);
    d->per = bl_tensor_count(&d->g->values[d->g->inputs[0]].t) / d->batch;
    return BL_OK;
}

static bl_status run(distil *d, const bl_graph *graph, bl_distilled *out)
{
    BL_TRY(open_graph(d, graph));
    BL_TRY(find_layers(d));
    BL_TRY(make_buffers(d, out));
    BL_CHECK(d->ctx, bl_threads(d->ctx) <= WORKERS_MAX);
    out->n_layers = d->n_layers;
    return d->n_layers ? descend(d, out) : BL_OK;
}

bl_status bl_distil(bl_ctx *ctx, const bl_graph *graph, const bl_distil_options *options,
                    bl_distilled **out)
{
    bl_arena *arena = bl_arena_new(ctx, "distilled samples"), *work = bl_arena_new(ctx, "distilling");
    bl_distilled *result = arena ? BL_NEW(arena, bl_distilled, 1) : NULL;
    distil *d = work ? BL_NEW(work, distil, 1) : NULL;
    bl_status s = BL_OK;

    if (!result || !d) {
        s = bl_pending(ctx);
    } else {
        result->arena = arena;
        *d = (distil){.ctx = ctx, .arena = work};
        d->o = options ? *options : bl_distil_options_default();
        s = run(d, graph, result);
        for (int w = 0; w < WORKERS_MAX; w++) {
            bl_back_free(d->workers[w].back);
            bl_walk_free(d->workers[w].walk);
        }
        bl_graph_free(d->g);
        bl_graph_free(d->plain);
    }
    bl_arena_free(work);
    if (s != BL_OK) bl_arena_free(arena);
    else *out = result;
    return s;
}

void bl_distilled_free(bl_distilled *distilled)
{
    if (distilled) bl_arena_free(distilled->arena);
}
