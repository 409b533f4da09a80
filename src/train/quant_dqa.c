/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The row "dqa" (attention over widths, arXiv 2103.13322): a weight is a mixture of itself at the plan's width, at
 * twice that and at 8 bits, over one range.  The shares are softmax(alpha / T), alpha learned for each layer with a
 * price on wide shares; T falls from 100 to 0.03, so that the mixture begins even and ends with one width.  From four
 * fifths of the training on that is the plan's, which the weights then have to themselves.  Scales are learned as LSQ
 * has it.
 */
#include "train/study.h"

#include <math.h>

enum { WIDTHS = 3 };
static const double HOT = 100, COLD = 0.03, ALONE = 0.8, PRICE = 0.1;

static int width(int bits, int j)
{
    return j == 0 ? bits : j == 1 ? BL_MIN(2 * bits, 8) : 8;
}

static double temperature(double done)
{
    return HOT * pow(COLD / HOT, fmin(done / ALONE, 1));
}

void bl_dqa_shares(double done, const float *alpha, double *share)
{
    double t = temperature(done), most = fmax(alpha[0], fmax(alpha[1], alpha[2])), sum = 0;

    for (int j = 0; j < WIDTHS; j++) sum += share[j] = exp((alpha[j] - most) / t);
    for (int j = 0; j < WIDTHS; j++) share[j] = done >= ALONE ? j == 0 : share[j] / sum;
}

static double at_width(const bl_site *site, int j, float x, float scale)
{
    int32_t lo, hi;
    bl_weight_code_range(width(site->bits, j), site->narrow, &lo, &hi);
    double step = (double)scale * (double)site->hi / hi, v = x / step;
    return rint(fmin(fmax(v, lo), hi)) * step;
}

static void mix(const bl_lesson *l, const bl_site *site, const float *alpha, float x, float scale, float *out)
{
    double share[WIDTHS], sum = 0;
    bl_dqa_shares(l->done, alpha, share);
    for (int j = 0; j < WIDTHS; j++)
        if (share[j] > 0) sum += share[j] * at_width(site, j, x, scale);
    *out = (float)sum;
}

/* d mixture / d alpha_j = a_j (Q_j - mixture) / T; the price, a_j (b_j - mean b) / T, is spread over the weights. */
static void slopes(const bl_lesson *l, const bl_site *site, const float *alpha, float x, float scale, double g, double *more)
{
    double share[WIDTHS], q[WIDTHS], mean = 0, bits = 0, t = temperature(l->done);

    if (l->done >= ALONE) return;
    bl_dqa_shares(l->done, alpha, share);
    for (int j = 0; j < WIDTHS; j++) {
        q[j] = at_width(site, j, x, scale);
        mean += share[j] * q[j];
        bits += share[j] * width(site->bits, j);
    }
    double price = PRICE / (double)l->pieces / (double)bl_tensor_count(&l->net->values[site->value].t);
    for (int j = 0; j < WIDTHS; j++) more[j] += share[j] / t * (g * (q[j] - mean) + price * (width(site->bits, j) - bits));
}

const bl_quant_rule bl_quant_rule_dqa = {.weights = true, .more = WIDTHS, .slope = bl_lsq_slope, .mix = mix, .mix_slopes = slopes};
