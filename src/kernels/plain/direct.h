/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution without im2col: what tile loops share.
 *
 * The weights of one output are a list of *runs*: stretches that are contiguous in an input whose
 * border is filled in.  A whole kernel row is one run where a group is the whole tensor and the
 * columns are not dilated, else each tap is one.  A tile loop then needs a pointer for each output
 * position and the same run offsets for all of them.
 *
 * Where every window lies inside the image and runs are whole steps, the input is read in place.
 * Else a *slab* is made: the input rows of a few output rows, border and all, byte planes apart.
 * Blocks of rows are small enough for the slab to stay in the second cache level while all output
 * channels pass over it.
 */
#ifndef BL_KERNELS_DIRECT_H
#define BL_KERNELS_DIRECT_H

#include "kernels/plain/im2col.h"

enum { DIRECT_SLAB = 192 << 10, DIRECT_POSITIONS = 2048, DIRECT_SLACK = 64 };

typedef struct direct_plan {
    size_t groups, icg, ocg, planes;
    size_t runs, run, run_step; /* run: bytes with weights; run_step: with padding to whole steps */
    bool in_place;
    int64_t span_w;             /* columns that the outputs of a row read, border and all */
    int64_t reach_h;            /* rows that one output reads, from the first to the last */
    int64_t block_rows;         /* output rows of a block */
    size_t slab_row, slab_plane; /* bytes of a slab's row; of all its rows, of one plane */
    size_t slab_bytes, at_bytes, runs_bytes; /* work, in this order */
} direct_plan;

/* step: bytes of an activation run that one instruction takes. */
static inline direct_plan direct_plan_of(const bl_conv_shape *s, size_t step)
{
    direct_plan p;
    p.groups = (size_t)s->groups;
    p.icg = (size_t)(s->in_c / s->groups);
    p.ocg = (size_t)(s->out_c / s->groups);
    p.planes = bl_code_bytes(s->in_bits);
    bool joined = s->groups == 1 && (s->dilation_w == 1 || s->kernel_w == 1);
    p.run = p.icg * (joined ? (size_t)s->kernel_w : 1);
    p.runs = (size_t)s->kernel_h * (joined ? 1 : (size_t)s->kernel_w);
    p.run_step = (p.run + step - 1) / step * step;
    p.reach_h = (int64_t)(s->kernel_h - 1) * s->dilation_h + 1;
    p.span_w = (int64_t)(s->out_w - 1) * s->stride_w + (int64_t)(s->kernel_w - 1) * s->dilation_w + 1;
    int64_t span_h = (int64_t)(s->out_h - 1) * s->stride_h + p.reach_h;
    p.in_place = p.planes == 1 && p.run == p.run_step && s->pad_top <= 0 && s->pad_left <= 0 &&
                 span_h - s->pad_top <= s->in_h && p.span_w - s->pad_left <= s->in_w;
    p.slab_row = (size_t)p.span_w * (size_t)s->in_c;
    int64_t bytes = (int64_t)(p.slab_row * p.planes);
    int64_t rows = (DIRECT_SLAB / BL_MAX(bytes, 1) - p.reach_h) / s->stride_h + 1;
    rows = BL_MIN(rows, DIRECT_POSITIONS / BL_MAX(s->out_w, 1));
    p.block_rows = BL_MAX(1, BL_MIN(rows, (int64_t)s->out_h));
    size_t slab_rows = (size_t)((p.block_rows - 1) * s->stride_h + p.reach_h);
    p.slab_plane = slab_rows * p.slab_row;
    p.slab_bytes = p.in_place ? 0 : bl_round64(p.slab_plane * p.planes + DIRECT_SLACK);
    p.at_bytes = bl_round64((size_t)p.block_rows * (size_t)s->out_w * p.planes * sizeof(size_t));
    p.runs_bytes = bl_round64(p.runs * sizeof(size_t));
    return p;
}

static inline size_t direct_work_bytes(const direct_plan *p)
{
    return p->slab_bytes + p->at_bytes + p->runs_bytes;
}

/* A block of output rows, ready for a tile loop: at[i]: offset of position i's window (two for each
 * position where there are two planes), run_at[r]: offset of a run in a window. */
typedef struct direct_block {
    const uint8_t *in;
    const size_t *at, *run_at;
    size_t positions;
} direct_block;

static inline void direct_fill(const bl_conv_args *a, const direct_plan *p, uint8_t *to, size_t n)
{
    memset(to, a->zero_in & 255, n);
    if (p->planes == 2) memset(to + p->slab_plane, a->zero_in >> 8, n);
}

static inline void direct_copy(const bl_conv_args *a, const direct_plan *p, size_t from,
                               uint8_t *restrict to, size_t n)
{
    if (p->planes == 1) {
        memcpy(to, (const uint8_t *)a->in + from, n);
        return;
    }
    const uint16_t *restrict codes = (const uint16_t *)a->in + from;
    uint8_t *restrict high = to + p->slab_plane;
    for (size_t i = 0; i < n; i++) {
        to[i] = (uint8_t)codes[i];
        high[i] = (uint8_t)(codes[i] >> 8);
    }
}

/* Input rows of output rows oy .. oy + rows - 1, with the zero point outside the image. */
static inline void direct_slab(const bl_conv_args *a, const direct_plan *p, int64_t oy,
                               int64_t rows, uint8_t *slab)
{
    const bl_conv_shape *s = &a->s;
    size_t c = (size_t)s->in_c;
    int64_t x0 = BL_MIN(BL_MAX(0, (int64_t)s->pad_left), p->span_w); /* first column inside */
    int64_t x1 = BL_MAX(x0, BL_MIN(p->span_w, (int64_t)s->in_w + s->pad_left));
    int64_t iy = oy * s->stride_h - s->pad_top, n = (rows - 1) * s->stride_h + p->reach_h;
    for (; n > 0; n--, iy++, slab += p->slab_row) {
        if (iy < 0 || iy >= s->in_h) {
            direct_fill(a, p, slab, p->slab_row);
            continue;
        }
        direct_fill(a, p, slab, (size_t)x0 * c);
        direct_copy(a, p, (size_t)(iy * s->in_w + x0 - s->pad_left) * c, slab + (size_t)x0 * c,
                    (size_t)(x1 - x0) * c);
        direct_fill(a, p, slab + (size_t)x1 * c, (size_t)(p->span_w - x1) * c);
    }
}

/* at and run_at of a block; row, pixel: bytes from row to row and pixel to pixel of what is read. */
static inline direct_block direct_offsets(const bl_conv_shape *s, const direct_plan *p,
                                          int64_t rows, size_t row, size_t pixel, uint8_t *work)
{
    size_t *at = (size_t *)(work + p->slab_bytes), *run_at = at + p->at_bytes / sizeof *at;
    direct_block b = {.in = work, .at = at, .run_at = run_at};
    for (size_t r = 0; r < p->runs; r++) {
        size_t per_row = p->runs / (size_t)s->kernel_h;
        run_at[r] = r / per_row * (size_t)s->dilation_h * row +
                    r % per_row * (size_t)s->dilation_w * pixel;
    }
    for (int64_t y = 0; y < rows; y++) {
        size_t from = (size_t)(y * s->stride_h) * row, step = (size_t)s->stride_w * pixel;
        if (p->planes == 1) {
            for (size_t x = 0; x < (size_t)s->out_w; x++) at[x] = from + x * step; /* eight at a time */
            at += s->out_w;
            continue;
        }
        for (int64_t x = 0; x < s->out_w; x++, from += step) {
            *at++ = from;
            *at++ = from + p->slab_plane;
        }
    }
    b.positions = (size_t)(at - b.at);
    return b;
}

/* The next block of no more rows: offsets stay, the input moves on. */
static inline void direct_next(const bl_conv_args *a, const direct_plan *p, int64_t oy, int64_t rows, uint8_t *work,
                               direct_block *b)
{
    const bl_conv_shape *s = &a->s;
    b->positions = (size_t)(rows * s->out_w) * p->planes;
    if (p->in_place)
        b->in = (const uint8_t *)a->in +
                (size_t)((oy * s->stride_h - s->pad_top) * s->in_w - s->pad_left) * (size_t)s->in_c;
    else
        direct_slab(a, p, oy, rows, work);
}

static inline direct_block direct_start(const bl_conv_args *a, const direct_plan *p, int64_t oy,
                                        int64_t rows, uint8_t *work)
{
    const bl_conv_shape *s = &a->s;
    size_t c = (size_t)s->in_c, row = p->in_place ? (size_t)s->in_w * c : p->slab_row;
    direct_block b = direct_offsets(s, p, rows, row, c, work);
    direct_next(a, p, oy, rows, work, &b);
    return b;
}

#endif
