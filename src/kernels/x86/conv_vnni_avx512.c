/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution with vpdpbusd on tiles of up to 6 positions x 64 channels or 8 x 48: four activations
 * are broadcast to all channels of a vector, so no sum across a vector is left to do.  Direct: see
 * direct.h.  Every tile is a function with named accumulators, as gcc 12 spills arrays of them.
 *
 * 16-bit activations are two byte planes, q = 256 h + l, that take two positions of a tile.  Their
 * sums and those of acc64 shapes leave the registers in natural order and are joined in int64;
 * TILE_K_MAX products of a byte fit int32.  All other sums are taken modulo 2^32 [Q4].
 *
 * Packed: folded biases (int32 or int64) of whole vectors, then weights as [group][channel block]
 * [run][4 activations][vector][16 channels][4].
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/plain/direct.h"
#include "kernels/x86/requant_avx512.h"

enum { VNNI_K_MAX = 65793, VNNI_Z = 4, VNNI_P = 8, VNNI_EDGE_W = 32 };

typedef struct vnni_plan {
    direct_plan d;
    size_t vectors;             /* of a group's channels */
    size_t blocks, wide_blocks; /* of a group's vectors; the first wide_blocks have one more */
    size_t least;               /* vectors of the other blocks */
    size_t steps;               /* of 4 activations, in all runs */
    bool wide;                  /* sums joined in int64 */
    bool mixed;                 /* channels in the order of requant_store64 and 32 */
    int64_t out_w;
    size_t edge;                /* positions of a tile that ends with a row of outputs: 7 or 8; or 0 */
    size_t left, right;         /* bytes of a run outside the image at the first, the last output of a row */
    size_t bias_bytes, weight_bytes, group_bytes, mult_bytes;
} vnni_plan;

/* Tiles that end with the rows of outputs pay where rows are short and tiles fill them. */
static void vnni_edges(const bl_conv_shape *s, vnni_plan *p)
{
    int64_t last = (int64_t)(s->out_w - 1) * s->stride_w + s->kernel_w - s->pad_left - s->in_w;
    if (p->d.in_place || p->d.planes == 2 || s->groups > 1 || s->dilation_w > 1 || p->d.icg % 4 ||
        s->out_w > VNNI_EDGE_W || (s->out_w % 7 && s->out_w % 8))
        return;
    p->left = (size_t)BL_MIN(BL_MAX(s->pad_left, 0), s->kernel_w) * p->d.icg;
    p->right = (size_t)BL_MIN(BL_MAX(last, 0), s->kernel_w) * p->d.icg;
    if (p->left + p->right == 0 || p->left + p->right > p->d.run) return;
    p->edge = s->out_w % 8 ? 7 : 8;
}

static vnni_plan vnni_plan_of(const bl_conv_shape *s)
{
    vnni_plan p = {.d = direct_plan_of(s, 4)};
    p.out_w = s->out_w;
    vnni_edges(s, &p);
    size_t most = p.edge ? VNNI_Z - 1 : VNNI_Z;
    p.vectors = (p.d.ocg + 15) / 16;
    p.blocks = (p.vectors + most - 1) / most;
    p.least = p.vectors / p.blocks;
    p.wide_blocks = p.vectors % p.blocks;
    p.steps = p.d.runs * p.d.run_step / 4;
    p.wide = s->acc64 || p.d.planes == 2;
    p.mixed = !p.wide && s->out_bits <= 8;
    p.bias_bytes = p.d.groups * p.vectors * 16 * (p.wide ? sizeof(int64_t) : sizeof(int32_t));
    p.group_bytes = p.vectors * p.steps * 64;
    p.weight_bytes = p.d.groups * p.group_bytes;
    p.mult_bytes = p.d.groups * p.vectors * 16 * sizeof(float);
    return p;
}

static bool vnni_fits(const bl_conv_shape *s)
{
    bool wide = s->acc64 || s->in_bits > 8;
    return !wide || bl_conv_taps(s) <= VNNI_K_MAX;
}

static size_t vnni_packed_bytes(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return bl_round64(p.bias_bytes) + p.weight_bytes;
}

static size_t vnni_work_bytes(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return p.mult_bytes + direct_work_bytes(&p.d);
}

/* Vectors of block b, and its first one. */
static size_t vnni_block(const vnni_plan *p, size_t b, size_t *first)
{
    *first = b * p->least + BL_MIN(b, p->wide_blocks);
    return p->least + (b < p->wide_blocks);
}

/* Place of channel c of a block of z vectors among its z * 16 elements.  Of three vectors the first
 * two are a pair. */
static size_t vnni_place(const vnni_plan *p, size_t z, size_t c)
{
    if (!p->mixed || z == 1 || (z == 3 && c >= 32)) return c;
    if (z == 4) return c / 4 % 4 * 16 + c / 16 * 4 + c % 4;
    return c / 4 % 2 * 16 + c / 8 * 4 + c % 4;
}

static void vnni_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,
                      const int32_t *bias, void *packed)
{
    vnni_plan p = vnni_plan_of(s);
    size_t k = (size_t)bl_conv_taps(s);
    memset(packed, 0, vnni_packed_bytes(s));
    for (size_t g = 0; g < p.d.groups; g++)
        for (size_t b = 0, first; b < p.blocks; b++) {
            size_t z = vnni_block(&p, b, &first);
            int8_t *w = (int8_t *)packed + bl_round64(p.bias_bytes) + g * p.group_bytes +
                        first * p.steps * 64;
            size_t n = BL_MIN(z * 16, p.d.ocg - first * 16);
            for (size_t c = 0; c < n; c++) {
                size_t place = vnni_place(&p, z, c), at = (g * p.vectors + first) * 16 + place;
                size_t channel = g * p.d.ocg + first * 16 + c;
                const int8_t *from = codes + channel * k;
                int64_t sum = 0;
                for (size_t r = 0; r < p.d.runs; r++)
                    for (size_t i = 0; i < p.d.run; i++) {
                        size_t step = r * (p.d.run_step / 4) + i / 4;
                        w[step * z * 64 + place * 4 + i % 4] = from[r * p.d.run + i];
                        sum += from[r * p.d.run + i];
                    }
                int64_t folded = bias[channel] - zero_in * sum;
                if (p.wide)
                    ((int64_t *)packed)[at] = folded;
                else
                    ((uint32_t *)packed)[at] = (uint32_t)(uint64_t)folded;
            }
        }
}

/* Multipliers in the order of the vectors. */
static void vnni_mult(const bl_conv_args *a, const vnni_plan *p, float *to)
{
    memset(to, 0, p->mult_bytes);
    for (size_t g = 0; g < p->d.groups; g++)
        for (size_t b = 0, first; b < p->blocks; b++) {
            size_t z = vnni_block(p, b, &first), n = BL_MIN(z * 16, p->d.ocg - first * 16);
            float *block = to + (g * p->vectors + first) * 16;
            const float *from = a->mult + g * p->d.ocg + first * 16;
            size_t c = 0;
            for (; c + 4 <= n; c += 4) memcpy(block + vnni_place(p, z, c), from + c, 16);
            for (; c < n; c++) block[vnni_place(p, z, c)] = from[c];
        }
}

/* What the tiles of one channel block share. */
typedef struct vnni_job {
    const uint8_t *in;
    const size_t *run_at;
    size_t run_begin, run_end, run_step; /* runs that this tile reads */
    size_t left, right;         /* bytes of each run that lie outside for the first, the last position */
    const int8_t *w;            /* of run run_begin */
    const int32_t *bias;        /* int64 where the sums are wide */
    const float *mult;
    size_t z, channels;         /* vectors; codes to store at a position */
    bool mixed, wide;
    int32_t planes, out_bits;
    void *out;
    size_t pixel;               /* codes from output position to output position */
    requant q;
} vnni_job;

/* Sums of n tile rows to codes, where they do not go straight from registers to bytes. */
static void vnni_finish(const vnni_job *j, const __m512i *sums, size_t n, size_t at)
{
    size_t planes = (size_t)j->planes;
    for (size_t i = 0; i < n; i += planes, at += j->pixel)
        for (size_t z = 0; z < j->z; z++) {
            __m512i low = sums[i * j->z + z], high = _mm512_setzero_si512();
            if (planes == 2) high = sums[(i + 1) * j->z + z];
            if (j->wide) {
                requant_store_wide(&j->q, low, high, (const int64_t *)j->bias + z * 16,
                                   j->mult + z * 16, j->out_bits, j->out, at + z * 16,
                                   j->channels - z * 16);
                continue;
            }
            __m512i t = requant_int(&j->q, low, j->mult + z * 16);
            t = _mm512_max_epi32(t, _mm512_sub_epi32(j->q.lo32, j->q.zero32));
            t = _mm512_add_epi32(t, j->q.zero32);
            size_t left = j->channels - z * 16;
            __mmask16 mask = left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1);
            _mm256_mask_storeu_epi16((uint16_t *)j->out + at + z * 16, mask,
                                     _mm512_cvtepi32_epi16(t));
        }
}

static inline int32_t load4(const uint8_t *from)
{
    int32_t four;
    memcpy(&four, from, sizeof four);
    return four;
}

/* The intrinsic makes gcc 12 copy accumulators around; this does not. */
#define DOT(sum, x, w) __asm__("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(w))

/* Code for one position p of a tile of 1..4 vectors. */
#define X_OF(p) const uint8_t *x##p = j->in + at[p];
#define START_1(p) X_OF(p) __m512i s##p##0 = b0;
#define START_2(p) START_1(p) __m512i s##p##1 = b1;
#define START_3(p) START_2(p) __m512i s##p##2 = b2;
#define START_4(p) START_3(p) __m512i s##p##3 = b3;
#define DOT_1(p) __m512i v##p = _mm512_set1_epi32(load4(x##p + k)); DOT(s##p##0, v##p, w0);
#define DOT_2(p) DOT_1(p) DOT(s##p##1, v##p, w1);
#define DOT_3(p) DOT_2(p) DOT(s##p##2, v##p, w2);
#define DOT_4(p) DOT_3(p) DOT(s##p##3, v##p, w3);
#define STORE_1(p) requant_store16(&j->q, s##p##0, m, out + p * pixel, n);
#define STORE_2(p) requant_store32(&j->q, s##p##0, s##p##1, m, out + p * pixel, n);
#define STORE_3(p)                                                                                 \
    STORE_2(p) requant_store16(&j->q, s##p##2, m + 32, out + p * pixel + 32, n - 32);
#define STORE_4(p) requant_store64(&j->q, s##p##0, s##p##1, s##p##2, s##p##3, m, out + p * pixel, n);
#define KEEP_1(p) sums[p] = s##p##0;
#define KEEP_2(p) sums[p * 2] = s##p##0; sums[p * 2 + 1] = s##p##1;
#define KEEP_3(p) sums[p * 3] = s##p##0; sums[p * 3 + 1] = s##p##1; sums[p * 3 + 2] = s##p##2;
#define KEEP_4(p) sums[p * 4] = s##p##0; sums[p * 4 + 1] = s##p##1; sums[p * 4 + 2] = s##p##2; \
    sums[p * 4 + 3] = s##p##3;

/* What stands once in a tile. */
#define BIAS_1 __m512i b0 = bias ? _mm512_loadu_si512(bias) : zero;
#define BIAS_2 BIAS_1 __m512i b1 = bias ? _mm512_loadu_si512(bias + 16) : zero;
#define BIAS_3 BIAS_2 __m512i b2 = bias ? _mm512_loadu_si512(bias + 32) : zero;
#define BIAS_4 BIAS_3 __m512i b3 = bias ? _mm512_loadu_si512(bias + 48) : zero;
#define WEIGHTS_1 __m512i w0 = _mm512_loadu_si512(w);
#define WEIGHTS_2 WEIGHTS_1 __m512i w1 = _mm512_loadu_si512(w + 64);
#define WEIGHTS_3 WEIGHTS_2 __m512i w2 = _mm512_loadu_si512(w + 128);
#define WEIGHTS_4 WEIGHTS_3 __m512i w3 = _mm512_loadu_si512(w + 192);

#define DO_1(M) M(0)
#define DO_2(M) DO_1(M) M(1)
#define DO_4(M) DO_2(M) M(2) M(3)
#define DO_6(M) DO_4(M) M(4) M(5)
#define DO_7(M) DO_6(M) M(6)
#define DO_8(M) DO_7(M) M(7)
#define DO_TAIL_7(M) M(1) M(2) M(3) M(4) M(5) M(6)
#define DO_HEAD_7(M) DO_6(M)
#define DO_TAIL_8(M) DO_TAIL_7(M) M(7)
#define DO_HEAD_8(M) DO_7(M)

#define STEPS(until, Z, DO)                                                                        \
    for (; k < until; k += 4, w += 64 * Z) {                                                       \
        WEIGHTS_##Z DO(DOT_##Z)                                                                    \
    }
/* All of a run; or its ends without the first and the last position, which lie outside there. */
#define WHOLE(P, Z) STEPS(end, Z, DO_##P)
#define EDGED(P, Z)                                                                                \
    size_t left = k + j->left, right = end - j->right;                                             \
    STEPS(left, Z, DO_TAIL_##P) STEPS(right, Z, DO_##P) STEPS(end, Z, DO_HEAD_##P)

/* Positions at[0..P-1]; the first one's codes go to place `to` of the output. */
#define TILE_AS(name, P, Z, LOOP)                                                                  \
    static __attribute__((noinline)) void name(const vnni_job *j, const size_t *restrict at,       \
                                               size_t to)                                          \
    {                                                                                              \
        const __m512i zero = _mm512_setzero_si512();                                               \
        const int32_t *bias = j->wide ? NULL : j->bias;                                            \
        const int8_t *w = j->w;                                                                    \
        BIAS_##Z DO_##P(START_##Z)                                                                 \
        for (size_t r = j->run_begin; r < j->run_end; r++) {                                       \
            size_t k = j->run_at[r], end = k + j->run_step;                                        \
            LOOP                                                                                   \
        }                                                                                          \
        if (j->mixed) {                                                                            \
            uint8_t *out = (uint8_t *)j->out + to;                                                 \
            const float *m = j->mult;                                                              \
            size_t pixel = j->pixel, n = j->channels;                                              \
            DO_##P(STORE_##Z)                                                                      \
        } else {                                                                                   \
            __m512i sums[P * Z];                                                                   \
            DO_##P(KEEP_##Z)                                                                       \
            vnni_finish(j, sums, P, to);                                                           \
        }                                                                                          \
    }
#define TILE(P, Z) TILE_AS(tile_##P##x##Z, P, Z, WHOLE(P, Z))
#define EDGE_TILE(P, Z) TILE_AS(edge_##P##x##Z, P, Z, EDGED(P, Z))
#define TILES(Z) TILE(8, Z) TILE(6, Z) TILE(4, Z) TILE(2, Z) TILE(1, Z) EDGE_TILE(7, Z) EDGE_TILE(8, Z)
/* clang-format off */
TILES(1) TILES(2) TILES(3)
TILE(6, 4) TILE(4, 4) TILE(2, 4) TILE(1, 4)
/* clang-format on */

typedef void tile_fn(const vnni_job *j, const size_t *at, size_t to);
static tile_fn *const tiles[VNNI_Z][VNNI_P + 1] = {
    {NULL, tile_1x1, tile_2x1, NULL, tile_4x1, NULL, tile_6x1, NULL, tile_8x1},
    {NULL, tile_1x2, tile_2x2, NULL, tile_4x2, NULL, tile_6x2, NULL, tile_8x2},
    {NULL, tile_1x3, tile_2x3, NULL, tile_4x3, NULL, tile_6x3, NULL, tile_8x3},
    {NULL, tile_1x4, tile_2x4, NULL, tile_4x4, NULL, tile_6x4},
};

static tile_fn *const edge_tiles[VNNI_Z - 1][2] = {
    {edge_7x1, edge_8x1}, {edge_7x2, edge_8x2}, {edge_7x3, edge_8x3},
};

static void vnni_positions(const vnni_job *j, const size_t *at, size_t positions, size_t to)
{
    tile_fn *const *row = tiles[j->z - 1];
    size_t p = j->z == 4 ? 6 : 8;
    for (size_t i = 0; i < positions;) {
        while (p > positions - i || !row[p]) p--;
        row[p](j, at + i, to + i / (size_t)j->planes * j->pixel);
        i += p;
    }
}

/* One output row of p.edge positions a tile. */
static void vnni_edge_row(vnni_job *j, const vnni_plan *p, const size_t *at, size_t to)
{
    size_t width = (size_t)p->out_w;
    tile_fn *tile = edge_tiles[j->z - 1][p->edge - 7];
    for (size_t i = 0; i < width; i += p->edge) {
        j->left = i == 0 ? p->left : 0;
        j->right = i + p->edge == width ? p->right : 0;
        tile(j, at + i, to + i * j->pixel);
    }
}

/* Kernel rows of output row oy that lie inside the image, [*begin, *end). */
static void vnni_rows_inside(const bl_conv_shape *s, int64_t oy, int64_t *begin, int64_t *end)
{
    int64_t iy = oy * s->stride_h - s->pad_top, d = s->dilation_h;
    *begin = BL_MIN(BL_MAX((-iy + d - 1) / d, 0), s->kernel_h);
    *end = BL_MAX(BL_MIN((s->in_h - iy + d - 1) / d, s->kernel_h), *begin);
}

/* Where the border holds zeros, kernel rows outside the image are left out: rows of outputs that read the
 * same ones go together.  Columns are left out too where tiles end with the rows. */
static void vnni_rows(vnni_job *j, const vnni_plan *p, const bl_conv_shape *s, const direct_block *d,
                      int64_t oy, int64_t rows, size_t to)
{
    size_t width = (size_t)p->out_w, per_row = p->d.runs / (size_t)s->kernel_h;
    const int8_t *w = j->w;
    for (int64_t y = 0, n; y < rows; y += n) {
        int64_t begin, end, b, e;
        vnni_rows_inside(s, oy + y, &begin, &end);
        for (n = 1; y + n < rows; n++) {
            vnni_rows_inside(s, oy + y + n, &b, &e);
            if (b != begin || e != end) break;
        }
        j->run_begin = (size_t)begin * per_row;
        j->run_end = (size_t)end * per_row;
        j->w = w + j->run_begin * (j->run_step / 4) * j->z * 64;
        const size_t *at = d->at + (size_t)y * width;
        size_t first = to + (size_t)y * width * j->pixel;
        if (!p->edge) vnni_positions(j, at, (size_t)n * width, first);
        for (int64_t i = 0; p->edge && i < n; i++)
            vnni_edge_row(j, p, at + (size_t)i * width, first + (size_t)i * width * j->pixel);
    }
}

static void vnni_run(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    vnni_plan p = vnni_plan_of(s);
    float *mult = a->work;
    const uint8_t *packed = a->packed;
    bool inside = p.d.in_place || p.d.planes == 2 || a->zero_in != 0; /* every window is read whole */
    vnni_job j = {.run_end = p.d.runs, .run_step = p.d.run_step, .mixed = p.mixed, .wide = p.wide,
                  .planes = (int32_t)p.d.planes, .out_bits = s->out_bits, .out = a->out,
                  .pixel = (size_t)s->out_c, .q = requant_of(a)};
    size_t end = a->part_end ? (size_t)a->part_end : p.d.groups * p.blocks;
    vnni_mult(a, &p, mult);
    for (int64_t oy = a->row_begin; oy < a->row_end; oy += p.d.block_rows) {
        int64_t rows = BL_MIN(p.d.block_rows, a->row_end - oy);
        direct_block d = direct_start(a, &p.d, oy, rows, (uint8_t *)a->work + p.mult_bytes);
        j.run_at = d.run_at;
        for (size_t part = (size_t)a->part_begin; part < end; part++) {
            size_t g = part / p.blocks, first;
            j.z = vnni_block(&p, part % p.blocks, &first);
            size_t vector = g * p.vectors + first;
            j.in = d.in + g * p.d.icg;
            j.w = (const int8_t *)packed + bl_round64(p.bias_bytes) + vector * p.steps * 64;
            j.bias = (const int32_t *)packed + vector * 16 * (p.wide ? 2 : 1);
            j.mult = mult + vector * 16;
            j.channels = BL_MIN(j.z * 16, p.d.ocg - first * 16);
            size_t to = (size_t)(oy * s->out_w) * j.pixel + g * p.d.ocg + first * 16;
            if (inside) vnni_positions(&j, d.at, d.positions, to);
            else vnni_rows(&j, &p, s, &d, oy, rows, to);
        }
    }
}

static size_t vnni_parts(const bl_conv_shape *s)
{
    vnni_plan p = vnni_plan_of(s);
    return p.d.groups * p.blocks;
}

const bl_conv_row bl_k_conv_vnni_avx512 = {
    "conv_vnni_avx512", BL_ISA_AVX512, vnni_fits, vnni_packed_bytes, vnni_pack, vnni_work_bytes,
    vnni_run, vnni_parts,
};
#endif
