/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The hot loops of HGQ training, compiled once for each instruction set (hgq_loops*.c) and chosen when a training
 * opens.  They add in one order, whatever the instruction set, and know nothing of networks.
 */
#ifndef BL_HGQ_LOOPS_H
#define BL_HGQ_LOOPS_H

#include "program/program.h"

/* Grids of a row's columns, as the loops want them. */
typedef struct bl_hgq_columns {
    int64_t n;
    const float *scale, *step;  /* 2^f, 2^-f */
    const float *lo, *hi;       /* clipping before rounding; -inf and inf where there is none */
} bl_hgq_columns;

typedef struct bl_hgq_loops {
    /* a = quantized(clip(y += bias)) in `rows` rows of c->n. */
    void (*act)(int64_t rows, const bl_hgq_columns *c, const float *bias, float *y, float *a);
    /* The same of one row of sums in binary64, which stay. */
    void (*act_wide)(const bl_hgq_columns *c, const float *bias, const double *y, float *a);
    /* The way back: g, gradient at a, becomes that at y; sums by column are added to: of g inside (gb), of
     * g (clip(y) - a) (gf), of g above hi (gu) and below lo (gl). */
    void (*act_back)(int64_t rows, const bl_hgq_columns *c, const float *y, const float *a, float *g, float *gb,
                     float *gf, float *gu, float *gl);
    /* Least and greatest of each column are widened. */
    void (*range)(int64_t rows, int64_t n, const float *a, float *lo, float *hi);
    /* Weights: q the quantized one, d = clip(w) - q, out = -1 below -limit, 1 above it.  bits: of q's own span up to
     * its last fraction bit, f counted. */
    void (*weights)(int64_t n, const float *w, const float *f, const float *limit, float *q, float *d, float *bits);
    /* softmax cross-entropy of `rows` rows with what is wanted, shares that add to 1: y becomes its gradient times
     * `weight`; sum of losses.  room: n rounded up to 16. */
    double (*softmax)(int64_t rows, int64_t n, float *y, const float *wanted, float weight, float *room);
    /* AdamW with bias-corrected rate: w -= w decay + rate m / (sqrt(v) * c + epsilon). */
    void (*adamw)(int64_t n, float *w, const float *g, float *m, float *v, float rate, float decay, float c);
    /* m += share (x - m). */
    void (*follow)(int64_t n, float *m, const float *x, float share);
    /* y[rows][n] = x[rows][k] w[k][n], in binary64. */
    void (*product)(int64_t rows, int64_t n, int64_t k, const float *x, const double *w, double *y);
    /* out[row] = sum of a row of n. */
    void (*row_sums)(int64_t rows, int64_t n, const float *x, float *out);
    /* Gradient of a weight's width: gf = ln2 gw d + gamma, + cost[row] times `beta` where bits > 0. */
    void (*width_back)(int64_t rows, int64_t n, const float *gw, const float *d, const float *bits, const float *cost,
                       float beta, float gamma, float *gf);
    /* Without quantizers: a = y += bias, a = 0 below `least`; the way back, with sums of g by column. */
    void (*plain)(int64_t rows, int64_t n, const float *bias, float least, float *y, float *a);
    void (*plain_back)(int64_t rows, int64_t n, const float *y, float least, float *g, float *gb);
    /* to[j] = x[at[j]], 0 where at[j] < 0. */
    void (*gather)(int64_t n, const int32_t *at, const float *x, float *to);
    /* One place of a pool over c channels that lie together: the greatest of `taps` positions (at; < 0: outside) and where
     * it stands, the first of equal ones; or their sum times `share`. */
    void (*pool_max)(int64_t taps, int64_t c, const int32_t *at, const float *x, float *a, int32_t *winner);
    void (*pool_mean)(int64_t taps, int64_t c, const int32_t *at, const float *x, float share, float *a);
} bl_hgq_loops;

extern const bl_hgq_loops bl_hgq_loops_plain;
#if defined(__x86_64__)
extern const bl_hgq_loops bl_hgq_loops_of_avx2, bl_hgq_loops_of_avx512;
#endif

#endif
