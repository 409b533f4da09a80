/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The rules of descent, one row of a table each: how a weight moves (optimizers.def), how the rate falls
 * (schedules.def), what is lost (losses.def).
 *
 * SGD with momentum as in Sutskever et al. 2013 (v = m v + g; the step is v, or g + m v for Nesterov's);
 * Adam: Kingma and Ba, arXiv 1412.6980, algorithm 1; AdamW: Loshchilov and Hutter, arXiv 1711.05101.
 */
#include "train/trainer.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ optimizers */

void bl_move_sgd(const bl_train_options *o, const bl_move *m, float *w, const float *g, float *v, float *unused)
{
    float rate = (float)m->rate, momentum = (float)o->momentum, decay = (float)m->decay;
    (void)unused;
    for (size_t i = 0; i < m->n; i++) {
        float grad = g[i] + decay * w[i];
        v[i] = momentum * v[i] + grad;
        w[i] -= rate * (o->plain_momentum ? v[i] : grad + momentum * v[i]);
    }
}

static void adam(const bl_train_options *o, const bl_move *m, float *w, const float *g, float *first,
                 float *second, bool apart)
{
    double fix1 = 1 - pow(o->beta1, (double)m->step), fix2 = 1 - pow(o->beta2, (double)m->step);
    float b1 = (float)o->beta1, b2 = (float)o->beta2, rate = (float)(m->rate / fix1), fix = (float)(1 / fix2);
    float decay = apart ? 0 : (float)m->decay, shrink = apart ? (float)(m->rate * m->decay) : 0;
    for (size_t i = 0; i < m->n; i++) {
        float grad = g[i] + decay * w[i];
        first[i] = b1 * first[i] + (1 - b1) * grad;
        second[i] = b2 * second[i] + (1 - b2) * grad * grad;
        float move = rate * first[i] / (sqrtf(second[i] * fix) + 1e-8f);
        w[i] -= shrink * w[i] + (m->unit ? move * m->unit[i] : move);
    }
}

void bl_move_adam(const bl_train_options *o, const bl_move *m, float *w, const float *g, float *a, float *b)
{
    adam(o, m, w, g, a, b, false);
}

void bl_move_adamw(const bl_train_options *o, const bl_move *m, float *w, const float *g, float *a, float *b)
{
    adam(o, m, w, g, a, b, true);
}

/* ------------------------------------------------------------------ schedules: t from 0 to 1 */

static double factor_constant(double t)
{
    return t >= 0 ? 1 : 1;
}

static double factor_cosine(double t)
{
    return 0.5 * (1 + cos(M_PI * t));
}

static double factor_linear(double t)
{
    return 1 - t;
}

static double factor_step(double t)
{
    return t < 0.5 ? 1 : t < 0.75 ? 0.1 : 0.01;
}

double bl_train_rate(const bl_train_options *o, const bl_schedule *s, int64_t step, int64_t per_epoch)
{
    double warm = o->warmup * (double)per_epoch, all = (double)(o->epochs * per_epoch), at = (double)step;
    if (at < warm) return o->rate * (0.1 + 0.9 * at / warm);
    return o->rate * s->factor(all > warm ? (at - warm) / (all - warm) : 0);
}

/* ------------------------------------------------------------------ losses: one sample */

double bl_loss_cross_entropy(const bl_train_options *o, const float *y, int64_t n, const float *x, int label,
                             double weight, float *grad)
{
    double most = y[0], sum = 0, loss = 0, off = o->label_smoothing / (double)n, on = 1 - o->label_smoothing + off;
    (void)x;
    for (int64_t i = 1; i < n; i++) most = fmax(most, (double)y[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(y[i] - most);
    for (int64_t i = 0; i < n; i++) {
        double target = i == label ? on : off, log_p = y[i] - most - log(sum);
        loss -= target * log_p;
        if (grad) grad[i] += (float)(weight * (exp(log_p) - target));
    }
    return loss;
}

double bl_loss_mse(const bl_train_options *o, const float *y, int64_t n, const float *x, int label, double weight,
                   float *grad)
{
    double loss = 0;
    (void)o, (void)label;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)y[i] - x[i];
        loss += d * d / (double)n;
        if (grad) grad[i] += (float)(weight * 2 * d / (double)n);
    }
    return loss;
}

/* ------------------------------------------------------------------ the tables */

const bl_optimizer bl_optimizers[] = {
#define X(symbol, name, moments, help) {name, help, moments, bl_move_##symbol},
#include "train/optimizers.def"
#undef X
};
const size_t bl_n_optimizers = BL_COUNTOF(bl_optimizers);

const bl_schedule bl_schedules[] = {
#define X(symbol, name, help) {name, help, factor_##symbol},
#include "train/schedules.def"
#undef X
};
const size_t bl_n_schedules = BL_COUNTOF(bl_schedules);

const bl_loss bl_losses[] = {
#define X(symbol, name, labels, help) {name, help, labels, bl_loss_##symbol},
#include "train/losses.def"
#undef X
};
const size_t bl_n_losses = BL_COUNTOF(bl_losses);

#define FIND(table, count)                                                                        \
    for (size_t i = 0; i < (count); i++)                                                          \
        if (!strcmp((table)[i].name, name)) return &(table)[i];                                   \
    return NULL

const bl_optimizer *bl_optimizer_find(const char *name)
{
    FIND(bl_optimizers, bl_n_optimizers);
}

const bl_schedule *bl_schedule_find(const char *name)
{
    FIND(bl_schedules, bl_n_schedules);
}

const bl_loss *bl_loss_find(const char *name)
{
    FIND(bl_losses, bl_n_losses);
}
