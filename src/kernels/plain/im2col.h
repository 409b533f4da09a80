/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The activations that one output of a convolution reads, in the order of its weights (kernel row,
 * kernel column, channel), with the zero point where the window leaves the image [Q4], so that the
 * loops behind it need no branches.  Codes are bytes or pairs of bytes.
 */
#ifndef BL_KERNELS_IM2COL_H
#define BL_KERNELS_IM2COL_H

#include "kernels/plain/codes.h"

/* memcpy for short runs of any length: fixed-size copies that overlap at the end instead of a call.
 * Touches no byte outside the run. */
static inline void copy_run(uint8_t *restrict to, const uint8_t *restrict from, size_t n)
{
    if (n >= 16) {
        for (size_t i = 0; i + 16 <= n; i += 16) memcpy(to + i, from + i, 16);
        memcpy(to + n - 16, from + n - 16, 16);
    } else if (n >= 8) {
        memcpy(to, from, 8);
        memcpy(to + n - 8, from + n - 8, 8);
    } else if (n >= 4) {
        memcpy(to, from, 4);
        memcpy(to + n - 4, from + n - 4, 4);
    } else {
        for (size_t i = 0; i < n; i++) to[i] = from[i];
    }
}

/* n codes equal to the zero point. */
static inline void fill_run(uint8_t *to, int32_t zero, size_t code_bytes, size_t n)
{
    if (code_bytes == 2)
        for (size_t i = 0; i < n; i++) ((uint16_t *)to)[i] = (uint16_t)zero;
    else
        memset(to, zero, n);
}

/* A convolution's geometry in bytes. */
typedef struct im2col {
    const bl_conv_args *a;
    size_t code_bytes; /* of an activation */
    size_t tap;        /* bytes that one kernel position reads: a group's channels */
    size_t pixel, row; /* bytes from pixel to pixel, row to row */
    size_t run;        /* bytes of one kernel row in the gathered window */
    bool joined;       /* a kernel row inside the image is one run of memory */
    bool dense;        /* 1x1 on every pixel: windows lie in memory as they are gathered */
} im2col;

static inline im2col im2col_of(const bl_conv_args *a)
{
    im2col m;
    m.a = a;
    m.code_bytes = bl_code_bytes(a->s.in_bits);
    m.tap = (size_t)(a->s.in_c / a->s.groups) * m.code_bytes;
    m.pixel = (size_t)a->s.in_c * m.code_bytes;
    m.row = (size_t)a->s.in_w * m.pixel;
    m.run = (size_t)a->s.kernel_w * m.tap;
    m.joined = a->s.groups == 1 && (a->s.dilation_w == 1 || a->s.kernel_w == 1);
    m.dense = m.joined && a->s.kernel_h == 1 && a->s.kernel_w == 1 && a->s.stride_h == 1 &&
              a->s.stride_w == 1 && a->s.pad_top == 0 && a->s.pad_left == 0 &&
              a->s.out_w == a->s.in_w && a->s.out_h <= a->s.in_h;
    return m;
}

/* Kernel row by kernel row with a look at every tap; `in` is the group's first channel. */
static inline void gather_edge(const im2col *m, const uint8_t *in, int64_t iy, int64_t ix,
                               uint8_t *to)
{
    const bl_conv_shape *s = &m->a->s;
    for (int32_t ky = 0; ky < s->kernel_h; ky++, iy += s->dilation_h, to += m->run) {
        if (iy < 0 || iy >= s->in_h) {
            fill_run(to, m->a->zero_in, m->code_bytes, m->run / m->code_bytes);
            continue;
        }
        int64_t x = ix;
        for (int32_t kx = 0; kx < s->kernel_w; kx++, x += s->dilation_w) {
            uint8_t *at = to + (size_t)kx * m->tap;
            if (x < 0 || x >= s->in_w)
                fill_run(at, m->a->zero_in, m->code_bytes, m->tap / m->code_bytes);
            else
                copy_run(at, in + (size_t)iy * m->row + (size_t)x * m->pixel, m->tap);
        }
    }
}

/* Windows of n outputs from position pos on, of one group, `stride` bytes apart. */
static inline void gather_tile(const im2col *m, int64_t pos, size_t n, size_t group, size_t stride,
                               uint8_t *to)
{
    const bl_conv_shape *s = &m->a->s;
    const uint8_t *in = (const uint8_t *)m->a->in + group * m->tap;
    if (m->dense && stride == m->pixel) {
        memcpy(to, in + (size_t)pos * m->pixel, n * m->pixel);
        return;
    }
    int64_t oy = pos / s->out_w, ox = pos % s->out_w;
    int64_t reach_h = (int64_t)(s->kernel_h - 1) * s->dilation_h;
    int64_t reach_w = (int64_t)(s->kernel_w - 1) * s->dilation_w;
    for (size_t i = 0; i < n; i++, to += stride) {
        int64_t iy = oy * s->stride_h - s->pad_top, ix = ox * s->stride_w - s->pad_left;
        bool inside = iy >= 0 && iy + reach_h < s->in_h && ix >= 0 && ix + reach_w < s->in_w;
        if (inside && m->joined) {
            const uint8_t *from = in + (size_t)iy * m->row + (size_t)ix * m->pixel;
            for (int32_t ky = 0; ky < s->kernel_h; ky++)
                copy_run(to + (size_t)ky * m->run, from + (size_t)(ky * s->dilation_h) * m->row,
                         m->run);
        } else {
            gather_edge(m, in, iy, ix, to);
        }
        if (++ox == s->out_w) {
            ox = 0;
            oy++;
        }
    }
}

#endif
