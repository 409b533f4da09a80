/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The row "dropbits" (Cluster-Promoting Quantization with Bit-Drop, arXiv 2109.02100).  Forward the nearest level;
 * backward as if level i were taken with probability S(i + 1/2) - S(i - 1/2), S the logistic function about the
 * number, of a width that goes with the step (multi-class straight-through): numbers between levels are pulled, those
 * near one rest.  In every step each weight loses its outermost bit with probability 0.1, so that the coarse levels
 * inside must do for the layer by themselves; the trained network has all levels.  The paper learns that probability,
 * and with it widths; here a plan says the widths.
 */
#include "train/study.h"

#include <math.h>

static const double SPREAD = 0.15, DROPPED = 0.1; /* the logistic's width in steps; share of steps without a bit */

/* Slope of the expected level: bumps at the boundaries between levels, of which four are near enough to count.  With
 * t = exp(-distance / SPREAD) a bump is t / (1 + t)^2, and the next boundary's t is a constant times this one's. */
double bl_dropbits_pass(double v, double lo, double hi)
{
    const double next = 0.0012726338013398079; /* exp(-1 / SPREAD) */
    double slope = 0, near = rint(v), k = fmax(near - 2, lo), end = fmin(near + 2, hi);

    if (!(k < end)) return 0;
    for (double t = exp(-(k + 0.5 - v) / SPREAD); k < end; k++, t *= next) slope += t / ((1 + t) * (1 + t));
    return slope / SPREAD;
}

static double slope(double v, double lo, double hi)
{
    double level = v < lo ? lo : v > hi ? hi : rint(v);
    return level - v * bl_dropbits_pass(v, lo, hi);
}

static void levels(const bl_lesson *l, const bl_site *site, float *lo, float *hi)
{
    bl_rng r = bl_rng_make(l->ctx->options.seed, "dropbits", (uint64_t)l->step << 20 | (uint64_t)site->value);
    bool dropped = l->done > 0 && l->done < 1 && site->bits > 2 && bl_rng_unit(&r) < DROPPED;

    *hi = dropped ? (float)((1 << (site->bits - 2)) - 1) : site->hi;
    *lo = dropped ? fmaxf(site->lo, -*hi - 1) : site->lo;
}

const bl_quant_rule bl_quant_rule_dropbits = {.weights = true, .slope = slope, .pass = bl_dropbits_pass, .levels = levels};
