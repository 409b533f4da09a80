/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depthwise 3x3 at stride 1 with a border of one column, as networks have it, as a window that slides along rows of outputs.
 * Unlike in depthwise_slide.inc a vector of 64 lanes goes along a row twice, once for the half of them that the low unpacking gives
 * and once for the other: with two vectors of sums for an output instead of four all weights, biases and multipliers stay in
 * registers, over as many rows as are asked for, and what is complete becomes bytes two outputs later, beside products that do not
 * wait for it.  Bytes leave for two outputs at a time, eight of each lane's sixteen.
 */
#ifndef BL_KERNELS_DEPTHWISE_HALVES_AVX512_H
#define BL_KERNELS_DEPTHWISE_HALVES_AVX512_H

/* What the lanes are: 64 channels; fewer of them; all 32 channels of two pixels side by side. */
enum { HALVES_WHOLE, HALVES_PART, HALVES_NEXT, HALVES_LAYOUTS };

#define H_KEEP(to, from) __asm__("vmovdqu64 %1, %0" : "=v"(to) : "m"(*(from))) /* gcc would load it again and again */
#define H_USE(a, x, k)                                                                             \
    DOT_REG(a##0, x##0, w##k##0);                                                                    \
    DOT_REG(a##1, x##1, w##k##1);
#define H_SUM(a) __m512i a##0, a##1;
#define H_SET(a, b) a##0 = b##0, a##1 = b##1;

static inline __attribute__((always_inline)) __m512i halves_load(const uint8_t *x, int layout, __mmask64 mask)
{
    return layout == HALVES_PART ? _mm512_maskz_loadu_epi8(mask, x) : _mm512_loadu_epi8(x);
}

/* Three rows of a column as dwords: what the low or the high unpacking gives. */
#define H_COLUMN(x, at)                                                                            \
    H_SUM(x)                                                                                       \
    {                                                                                              \
        const __m512i l0 = halves_load(r0 + (at), layout, mask), l1 = halves_load(r1 + (at), layout, mask); \
        const __m512i l2 = halves_load(r2 + (at), layout, mask);                                   \
        const __m512i p01 = high ? _mm512_unpackhi_epi8(l0, l1) : _mm512_unpacklo_epi8(l0, l1);    \
        const __m512i p22 = high ? _mm512_unpackhi_epi8(l2, l2) : _mm512_unpacklo_epi8(l2, l2); /* the last meets weights of 0 */ \
        x##0 = _mm512_unpacklo_epi16(p01, p22), x##1 = _mm512_unpackhi_epi16(p01, p22);            \
    }
/* Of two pixels: the neighbours that lie half in each of two columns. */
#define H_BETWEEN(x, a, b)                                                                         \
    H_SUM(x) x##0 = _mm512_alignr_epi64(b##0, a##0, 4), x##1 = _mm512_alignr_epi64(b##1, a##1, 4);

/* From one output to the next: a is complete, n begins.  One pixel: d is between them.  Two: o is the column before. */
#define H_TURN_ONE(a, d, n)                                                                        \
    H_COLUMN(e, walk)                                                                              \
    walk += pixel;                                                                                 \
    H_USE(a, e, 2) H_USE(d, e, 1)                                                                  \
    H_SET(n, bias) H_USE(n, e, 0)
#define H_TURN_TWO(a, n)                                                                           \
    H_COLUMN(f, walk) H_BETWEEN(e, o, f)                                                           \
    walk += pixel;                                                                                 \
    H_USE(a, e, 2)                                                                                 \
    H_SET(n, bias) H_USE(n, e, 0) H_USE(n, f, 1)                                                   \
    H_SET(o, f)
/* The last of a row, whose last column lies outside. */
#define H_FINISH(a)                                                                                \
    if (layout == HALVES_NEXT) { H_BETWEEN(e, o, z) H_USE(a, e, 2) }                               \
    else a##0 = _mm512_add_epi32(a##0, right0), a##1 = _mm512_add_epi32(a##1, right1);

/* Two outputs that follow each other, or only the first. */
static inline __attribute__((always_inline)) void halves_put(const requant *q, int kind, __m512i first, __m512i second, uint8_t *to,
                                                             size_t pixel, bool both, bool high, int layout, __mmask64 mask)
{
    __m512i codes = dwv_codes(q, kind, high ? second : first, high ? first : second);
    const __mmask64 low = 0x00ff00ff00ff00ff, top = ~low;
    __mmask64 at = high ? top : low, then = high ? low : top;
    uint8_t *next = high ? to + pixel + 8 : to + pixel - 8; /* the second lies in the other eight bytes of each lane */
    if (layout == HALVES_PART) at &= mask, then &= high ? mask >> 8 : mask << 8;
    _mm512_mask_storeu_epi8(to, at, codes);
    if (both) _mm512_mask_storeu_epi8(next, then, codes);
}

#define H_ROUND(x, a) const __m512i x = dwv_round(q, kind, a##0, a##1, m0, m1);
/* They go to `late`; what is complete now, to `to` the next time. */
#define H_PUT(both)                                                                                \
    halves_put(q, kind, first, second, late, pixel, both, high, layout, mask);                     \
    late = to;                                                                                     \
    to += 2 * pixel;
/* Output rows oy to end - 1 of block b, the first at `out`; in: row 0, column 0 of its channels.  Where outputs are odd in number, the
 * last of a row leaves with one that is none, at the place of the next row's first, which comes later; so do the first two. */
static inline __attribute__((always_inline)) void halves_walk(const dwv_job *j, size_t b, const uint8_t *in, int64_t oy, int64_t end,
                                                              uint8_t *out, int layout, int kind, bool high)
{
    const size_t skip = high ? 2 : 0, c = j->p->c, pixel = layout == HALVES_NEXT ? 64 : c; /* skip: vectors of the other half */
    const uint8_t *block = j->packed + b * j->p->block_bytes, *w = block + j->p->bias_bytes + skip * 64;
    const float *mult = j->mult + b * 64 + skip * 16;
    const requant *q = &j->q;
    const __mmask64 mask = c - b * 64 >= 64 ? ~0ull : (1ull << (c - b * 64)) - 1;
    const size_t outputs = (size_t)j->out_w >> (layout == HALVES_NEXT), pairs = (outputs - 1) / 2;
    const bool odd = outputs % 2 != 0;
    H_SUM(w0) H_SUM(w1) H_SUM(w2) H_SUM(bias) H_SUM(left) H_SUM(right)
    __m512 m0, m1;
    H_KEEP(w00, (const __m512i_u *)w);
    H_KEEP(w01, (const __m512i_u *)(w + 64));
    H_KEEP(w10, (const __m512i_u *)(w + 256));
    H_KEEP(w11, (const __m512i_u *)(w + 320));
    H_KEEP(w20, (const __m512i_u *)(w + 512));
    H_KEEP(w21, (const __m512i_u *)(w + 576));
    H_KEEP(bias0, (const __m512i_u *)(block + skip * 64));
    H_KEEP(bias1, (const __m512i_u *)(block + skip * 64 + 64));
    H_KEEP(m0, (const __m512i_u *)mult);
    H_KEEP(m1, (const __m512i_u *)(mult + 16));
    const __m512i z0 = _mm512_set1_epi8((char)*j->zeros), z1 = z0; /* a column outside */
    H_SET(left, bias)
    right0 = right1 = _mm512_setzero_si512();
    H_USE(left, z, 0) H_USE(right, z, 2)
    H_SUM(t) H_SUM(u) H_SUM(a) H_SUM(d) H_SUM(o)
    H_SET(t, z) H_SET(u, z)
    uint8_t *late = out;
    for (; oy < end; oy++, out += j->out_row) {
        const int64_t iy = oy - j->pad_top;
        const uint8_t *r0 = dwv_row_at(j, in, iy), *r1 = dwv_row_at(j, in, iy + 1), *r2 = dwv_row_at(j, in, iy + 2);
        size_t walk = pixel, n = pairs;
        uint8_t *to = out;
        if (layout == HALVES_NEXT) {
            H_COLUMN(f, 0) H_BETWEEN(e, z, f)
            H_SET(a, bias) H_USE(a, e, 0) H_USE(a, f, 1)
            H_SET(o, f)
        } else {
            H_COLUMN(e, 0)
            H_SET(a, left) H_SET(d, bias) H_USE(a, e, 1) H_USE(d, e, 0)
        }
        for (; n > 0; n--) {
            H_SUM(g) H_SUM(h)
            if (layout == HALVES_NEXT) { H_TURN_TWO(a, g) }
            else { H_TURN_ONE(a, d, g) }
            H_ROUND(first, t)
            if (layout == HALVES_NEXT) { H_TURN_TWO(g, h) }
            else { H_TURN_ONE(d, g, h) }
            H_ROUND(second, u)
            H_PUT(true)
            H_SET(t, a)
            if (layout == HALVES_NEXT) { H_SET(u, g) H_SET(a, h) }
            else { H_SET(u, d) H_SET(a, g) H_SET(d, h) }
        }
        H_ROUND(first, t) H_ROUND(second, u)
        H_PUT(true)
        H_SET(t, a)
        if (odd) {
            H_FINISH(t)
        } else {
            if (layout == HALVES_NEXT) { H_TURN_TWO(t, u) }
            else {
                H_TURN_ONE(t, d, u) /* what begins there is none */
                H_SET(u, d)
            }
            H_FINISH(u)
        }
    }
    H_ROUND(first, t) H_ROUND(second, u)
    halves_put(q, kind, first, second, late, pixel, !odd, high, layout, mask);
}

typedef void halves_fn(const dwv_job *j, size_t b, const uint8_t *in, int64_t oy, int64_t end, uint8_t *out);
#define HALVES(name, layout, kind)                                                                 \
    static __attribute__((noinline)) void name(const dwv_job *j, size_t b, const uint8_t *in, int64_t oy, int64_t end, uint8_t *out) \
    {                                                                                              \
        halves_walk(j, b, in, oy, end, out, layout, kind, false);                                  \
        halves_walk(j, b, in, oy, end, out, layout, kind, true);                                   \
    }
#define HALVES_OF(kind, is_kind)                                                                   \
    HALVES(halves_whole_##kind, HALVES_WHOLE, is_kind) HALVES(halves_part_##kind, HALVES_PART, is_kind) \
    HALVES(halves_next_##kind, HALVES_NEXT, is_kind)
/* clang-format off */
HALVES_OF(bare, REQUANT_BARE) HALVES_OF(fast, REQUANT_FAST) HALVES_OF(sure, REQUANT_SURE)
/* clang-format on */
#define HALVES_ROW(kind) {halves_whole_##kind, halves_part_##kind, halves_next_##kind}
static halves_fn *const halves_rows[REQUANT_KINDS][HALVES_LAYOUTS] = {HALVES_ROW(bare), HALVES_ROW(fast), HALVES_ROW(sure)};

#endif
