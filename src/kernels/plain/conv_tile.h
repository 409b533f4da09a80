/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The frame of a convolution by matrix product, shared by conv_dot.inc and conv_outer.inc: output
 * positions are taken in tiles of TILE; a tile's windows are gathered, multiplied with the packed
 * weights into int32 sums, and requantized.
 *
 * The zero point of the activations is folded into the bias when packing: sum (q - z) w = sum q w -
 * z sum w.  16-bit activations are two byte planes, q = 256 h + l, each multiplied like 8-bit
 * activations and joined in int64.
 *
 * Exact: |q w| <= 255 * 128 < 2^15, so TILE_K_MAX = 65,793 products fit int32; the sum with the
 * folded bias is taken modulo 2^32, and the true accumulator fits int32 by the caller's proof [Q4].
 * With 16-bit activations the joined sum is an int64 and needs no proof.
 */
#ifndef BL_KERNELS_CONV_TILE_H
#define BL_KERNELS_CONV_TILE_H

#include "kernels/plain/im2col.h"

enum { TILE = 16, TILE_K_MAX = 65793, TILE_STRIP = 16 };

/* Sizes that packing and running agree on; *_bytes are multiples of 64. */
typedef struct tile_plan {
    size_t k, kp;          /* weights of an output, and with padding to whole vectors */
    size_t groups, planes; /* planes: bytes of an activation */
    size_t ocg, ocgp, ocs; /* channels of a group; padded to register blocks; to strips */
    size_t bias_bytes, weight_bytes, group_bytes; /* packed: bias, weights; weights of a group */
    size_t raw_bytes, x_bytes, sum_bytes, code_bytes, mult_bytes; /* work, in this order */
} tile_plan;

/* step: elements that kp is a multiple of; block: of ocgp; x_size, w_size: bytes of an element as
 * the product loop reads them. */
static inline tile_plan tile_plan_of(const bl_conv_shape *s, size_t step, size_t block,
                                     size_t x_size, size_t w_size)
{
    tile_plan p;
    p.k = (size_t)bl_conv_taps(s);
    p.kp = (p.k + step - 1) / step * step;
    p.groups = (size_t)s->groups;
    p.planes = bl_code_bytes(s->in_bits);
    p.ocg = (size_t)(s->out_c / s->groups);
    p.ocgp = (p.ocg + block - 1) / block * block;
    p.ocs = (p.ocg + TILE_STRIP - 1) / TILE_STRIP * TILE_STRIP;
    p.bias_bytes = bl_round64(p.groups * p.ocs * p.planes * sizeof(int32_t));
    p.group_bytes = p.ocgp * p.kp * w_size;
    p.weight_bytes = bl_round64(p.groups * p.group_bytes);
    p.raw_bytes = bl_round64(TILE * p.kp * p.planes);
    p.x_bytes = bl_round64(TILE * p.kp * x_size) * p.planes;
    p.sum_bytes = bl_round64(TILE * p.ocs * sizeof(int32_t)) * p.planes;
    p.code_bytes = bl_round64((TILE * p.ocg + TILE_STRIP) * sizeof(int32_t));
    p.mult_bytes = bl_round64(p.groups * p.ocs * sizeof(float));
    return p;
}

static inline size_t tile_packed_bytes(const tile_plan *p)
{
    return p->bias_bytes + p->weight_bytes;
}

static inline size_t tile_work_bytes(const tile_plan *p)
{
    return p->raw_bytes + p->x_bytes + p->sum_bytes + p->code_bytes + p->mult_bytes;
}

/* Zeroes packed and writes the folded biases. */
static inline void tile_pack_bias(const tile_plan *p, const int8_t *codes, int32_t zero_in,
                                  const int32_t *bias, void *packed)
{
    memset(packed, 0, tile_packed_bytes(p));
    for (size_t c = 0; c < p->groups * p->ocg; c++) {
        size_t to = c / p->ocg * p->ocs + c % p->ocg;
        int64_t sum = 0;
        for (size_t k = 0; k < p->k; k++) sum += codes[c * p->k + k];
        int64_t folded = bias[c] - zero_in * sum;
        if (p->planes == 2)
            ((int64_t *)packed)[to] = folded;
        else
            ((uint32_t *)packed)[to] = (uint32_t)(uint64_t)folded;
    }
}

/* f(acc) * m and the rest of [Q3] for the channels of one position; n: whole strips. */
static inline void tile_row_narrow(const int32_t *restrict sum, const uint32_t *restrict bias,
                                   const float *restrict mult, size_t n, const bl_conv_args *a,
                                   int32_t *restrict codes)
{
    int32_t zero = a->zero_out, lo = a->lo, hi = a->hi;
    n &= ~(size_t)(TILE_STRIP - 1); /* says to the compiler: no remainder */
    for (size_t c = 0; c < n; c++) {
        float acc = (float)(int32_t)((uint32_t)sum[c] + bias[c]);
        codes[c] = bl_requantize_f32(acc, mult[c], zero, lo, hi);
    }
}

static inline void tile_row_wide(const int32_t *restrict low, const int32_t *restrict high,
                                 const int64_t *restrict bias, const float *restrict mult, size_t n,
                                 const bl_conv_args *a, int32_t *restrict codes)
{
    int32_t zero = a->zero_out, lo = a->lo, hi = a->hi;
    n &= ~(size_t)(TILE_STRIP - 1);
    for (size_t c = 0; c < n; c++) {
        float acc = (float)((int64_t)high[c] * 256 + low[c] + bias[c]);
        codes[c] = bl_requantize_f32(acc, mult[c], zero, lo, hi);
    }
}

/* Sums of n positions from pos on, in group g, to the output. */
static inline void tile_finish(const bl_conv_args *a, const tile_plan *p, size_t g, int64_t pos,
                               size_t n, const int32_t *sum, const float *mult, int32_t *codes)
{
    const int32_t *high = sum + p->sum_bytes / 2 / sizeof(int32_t);
    const float *m = mult + g * p->ocs;
    size_t oc = (size_t)a->s.out_c, at = (size_t)pos * oc + g * p->ocg;
    /* Rows of codes lie side by side: the padding of one is overwritten by the next. */
    for (size_t i = 0; i < n; i++)
        if (p->planes == 2)
            tile_row_wide(sum + i * p->ocs, high + i * p->ocs,
                          (const int64_t *)a->packed + g * p->ocs, m, p->ocs, a,
                          codes + i * p->ocg);
        else
            tile_row_narrow(sum + i * p->ocs, (const uint32_t *)a->packed + g * p->ocs, m, p->ocs,
                            a, codes + i * p->ocg);
    if (p->groups == 1)
        codes_store(codes, n * p->ocg, a->s.out_bits, a->out, at);
    else
        for (size_t i = 0; i < n; i++)
            codes_store(codes + i * p->ocg, p->ocg, a->s.out_bits, a->out, at + i * oc);
}

/* Turns n gathered windows into what the product loop reads (both planes), and multiplies n rows of
 * one plane with a group's weights. */
typedef void tile_widen_fn(const tile_plan *p, const uint8_t *raw, size_t n, void *x);
typedef void tile_multiply_fn(const tile_plan *p, const void *x, const void *w, size_t n,
                              int32_t *sum);

/* The loop over tiles.  Inlined, so that both functions are known.  widen NULL: the product loop
 * reads gathered bytes as they are. */
static inline __attribute__((always_inline)) void tile_run(const bl_conv_args *a,
                                                           const tile_plan *p, tile_widen_fn *widen,
                                                           tile_multiply_fn *multiply)
{
    uint8_t *raw = a->work, *x = raw + p->raw_bytes;
    int32_t *sum = (int32_t *)(x + p->x_bytes), *codes = sum + p->sum_bytes / sizeof(int32_t);
    float *mult = (float *)(codes + p->code_bytes / sizeof(int32_t));
    const uint8_t *weights = (const uint8_t *)a->packed + p->bias_bytes;
    int64_t pos = (int64_t)a->row_begin * a->s.out_w, end = (int64_t)a->row_end * a->s.out_w;
    im2col m = im2col_of(a);

    /* Tails of rows (k to kp, ocgp to ocs) meet weights of 0 or are not stored; cleared once. */
    size_t rows = (size_t)BL_MIN((int64_t)TILE, BL_MAX(end - pos, 0));
    memset(raw, 0, rows * p->kp * p->planes);
    for (size_t plane = 0; plane < p->planes; plane++)
        memset((uint8_t *)sum + plane * (p->sum_bytes / 2), 0, rows * p->ocs * sizeof(int32_t));
    memset(mult, 0, p->mult_bytes);
    for (size_t g = 0; g < p->groups; g++)
        memcpy(mult + g * p->ocs, a->mult + g * p->ocg, p->ocg * sizeof(float));
    for (; pos < end; pos += TILE) {
        size_t n = (size_t)BL_MIN((int64_t)TILE, end - pos);
        for (size_t g = 0; g < p->groups; g++) {
            gather_tile(&m, pos, n, g, p->kp * p->planes, raw);
            if (widen) widen(p, raw, n, x);
            for (size_t plane = 0; plane < p->planes; plane++)
                multiply(p, (widen ? x : raw) + plane * (p->x_bytes / 2),
                         weights + g * p->group_bytes, n,
                         sum + plane * (p->sum_bytes / 2 / sizeof(int32_t)));
            tile_finish(a, p, g, pos, n, sum, mult, codes);
        }
    }
}

#endif
