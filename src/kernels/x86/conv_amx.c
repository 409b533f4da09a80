/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution on AMX tiles: 32 positions x 32 channels in four accumulators, 64 bytes of activations a step.
 * Direct: positions that follow each other lie one stride apart, so a block of them is a strided tile of the
 * input itself, the same for every tap but for its offset.  Three ways to get there:
 *   in place  1x1, stride 1, no border: the tensor as it stands (its end is copied, tiles read past it);
 *   phased    a slab whose columns and rows are sorted by their rest modulo the stride: outputs of several rows
 *             are then one line, a few of whose positions are nobody's;
 *   by rows   a slab as it is, tiles within a row of outputs: for short K and long rows (first layers).
 * The cheaper of the last two, in steps times tiles, is taken.
 *
 * A tile starts from its bias (a row of it, loaded with stride 0); its sums are stored and requantized while the next
 * block multiplies.  What a run of taps leaves of 64 bytes meets weights of zero.  A product waits 52 cycles for the one
 * before it on the same sums and the next may start after 16, so blocks of fewer than four tiles keep their odd steps in
 * tiles of their own, which are added up where sums become codes.
 *
 * Packed: folded biases [32 channels], then weights [32 channels][step][tile][4 bytes of K x 16][16 channels][4].
 * conv_stream_amx has them at 1, 2 or 4 bits and unpacks those of 32 channels two steps ahead of their first use.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#include "kernels/x86/requant_avx512.h"
#include "kernels/x86/tile.h"

enum { AMX_N = 32, AMX_M = 32, AMX_STEP = 64, AMX_TILE = 1024, AMX_SLAB = 192 << 10, AMX_POSITIONS = 2048 };
enum { AMX_POSITIONS_MIN = 4, AMX_STREAM_MIN = 1 << 20, AMX_AHEAD = 2 };

typedef struct amx_plan {
    size_t c, oc, taps_w;       /* taps_w: of a run at most */
    bool in_place, phased;
    size_t steps, blocks;       /* of K; of channels */
    size_t phases_h, phases_w;  /* of a phased slab; else 1, 1 */
    size_t columns;             /* of a slab's row (of one phase) */
    size_t reach;               /* rows of a slab (of one phase) beyond those of outputs, or that one output reads */
    size_t stride;              /* bytes from position to position */
    size_t block_rows, lines, positions; /* rows of outputs; lines of a block; positions of a line */
    size_t bits, block_bytes;   /* of a stored weight; of all steps of 32 channels, as stored */
    size_t bias_bytes, mult_bytes, sums_bytes, slab_bytes, at_bytes, to_bytes, tail_bytes, b_bytes; /* work: from mult on */
} amx_plan;

/* ---- runs: taps of a kernel row that lie side by side in what is read */

typedef struct amx_run {
    size_t ky, kx, step, n;     /* n taps, from column kx on, step columns apart */
} amx_run;

static size_t amx_runs_of_row(const bl_conv_shape *s, const amx_plan *p)
{
    if (s->dilation_w > 1 && s->kernel_w > 1) return (size_t)s->kernel_w;
    return p->phased ? BL_MIN((size_t)s->stride_w, (size_t)s->kernel_w) : 1;
}

static amx_run amx_run_of(const bl_conv_shape *s, const amx_plan *p, size_t index)
{
    size_t per_row = amx_runs_of_row(s, p), i = index % per_row, kw = (size_t)s->kernel_w;
    amx_run r = {.ky = index / per_row, .kx = i, .step = 1, .n = 1};
    if (per_row == kw && kw > 1) return r;
    r.step = per_row;
    r.n = (kw - i + per_row - 1) / per_row;
    return r;
}

static size_t amx_run_steps(const amx_plan *p, const amx_run *r)
{
    return (r->n * p->c + AMX_STEP - 1) / AMX_STEP;
}

/* Where a run begins in the window of the first position of a line. */
static size_t amx_run_offset(const bl_conv_shape *s, const amx_plan *p, const amx_run *r)
{
    size_t y = r->ky * (size_t)s->dilation_h, x = r->kx * (size_t)s->dilation_w;
    if (!p->phased) return (y * p->columns + x) * p->c;
    size_t sh = (size_t)s->stride_h, sw = (size_t)s->stride_w, rows = p->block_rows + p->reach;
    size_t plane = y % sh * p->phases_w + x % sw;
    return ((plane * rows + y / sh) * p->columns + x / sw) * p->c;
}

static size_t amx_steps(const bl_conv_shape *s, const amx_plan *p)
{
    size_t steps = 0, runs = (size_t)s->kernel_h * amx_runs_of_row(s, p);
    for (size_t i = 0; i < runs; i++) {
        amx_run r = amx_run_of(s, p, i);
        steps += amx_run_steps(p, &r);
    }
    return steps;
}

/* ---- the plan */

static void amx_phased(const bl_conv_shape *s, amx_plan *p)
{
    size_t kh = (size_t)s->kernel_h, kw = (size_t)s->kernel_w, sh = (size_t)s->stride_h, sw = (size_t)s->stride_w;
    p->phased = true;
    p->phases_h = s->dilation_h == 1 || kh == 1 ? BL_MIN(sh, kh) : sh;
    p->phases_w = s->dilation_w == 1 || kw == 1 ? BL_MIN(sw, kw) : sw;
    p->columns = (size_t)s->out_w + (kw - 1) * (size_t)s->dilation_w / sw;
    p->reach = (kh - 1) * (size_t)s->dilation_h / sh;
    p->stride = p->c;
}

static void amx_by_rows(const bl_conv_shape *s, amx_plan *p)
{
    p->phased = false;
    p->phases_h = p->phases_w = 1;
    p->columns = (size_t)(s->out_w - 1) * (size_t)s->stride_w + (size_t)(s->kernel_w - 1) * (size_t)s->dilation_w + 1;
    p->reach = (size_t)(s->kernel_h - 1) * (size_t)s->dilation_h + 1;
    p->stride = p->c * (size_t)s->stride_w;
}

static size_t amx_rows_read(const bl_conv_shape *s, const amx_plan *p, size_t rows)
{
    if (p->phased) return p->phases_h * p->phases_w * (rows + p->reach);
    return (rows - 1) * (size_t)s->stride_h + p->reach;
}

static void amx_blocks(const bl_conv_shape *s, amx_plan *p)
{
    size_t rows = (size_t)s->out_h, most = (size_t)AMX_POSITIONS / p->columns;
    rows = BL_MAX(BL_MIN(rows, most), (size_t)1);
    while (!p->in_place && rows > 1 && amx_rows_read(s, p, rows) * p->columns * p->c > AMX_SLAB) rows--;
    p->block_rows = rows;
    p->lines = p->phased || p->in_place ? 1 : rows;
    p->positions = p->lines == 1 ? (rows - 1) * p->columns + (size_t)s->out_w : (size_t)s->out_w;
}

static amx_plan amx_plan_of(const bl_conv_shape *s, size_t bits)
{
    amx_plan p = {.c = (size_t)s->in_c, .oc = (size_t)s->out_c, .bits = bits};
    p.in_place = s->kernel_h == 1 && s->kernel_w == 1 && s->stride_h == 1 && s->stride_w == 1 && s->pad_top == 0 &&
                 s->pad_left == 0 && s->in_w == s->out_w && s->in_h >= s->out_h;
    amx_by_rows(s, &p);
    size_t tiles = (size_t)s->out_h * (((size_t)s->out_w + 15) / 16), by_rows = amx_steps(s, &p) * tiles;
    amx_phased(s, &p);
    if (!p.in_place && amx_steps(s, &p) * (((size_t)s->out_h * p.columns + 15) / 16) >= by_rows) amx_by_rows(s, &p);
    amx_blocks(s, &p);
    p.steps = amx_steps(s, &p);
    p.blocks = (p.oc + AMX_N - 1) / AMX_N;
    p.block_bytes = p.steps * 2 * AMX_TILE * bits / 8;
    p.bias_bytes = bl_round64(p.blocks * AMX_N * sizeof(int32_t));
    p.mult_bytes = p.blocks * AMX_N * sizeof(float);
    p.sums_bytes = 2 * AMX_M * AMX_N * sizeof(int32_t);
    size_t past = AMX_M * p.stride + 2 * AMX_STEP; /* tiles read past the last position */
    p.slab_bytes = p.in_place ? 0 : bl_round64(amx_rows_read(s, &p, p.block_rows) * p.columns * p.c + past);
    p.at_bytes = bl_round64(p.steps * sizeof(size_t));
    p.to_bytes = bl_round64((p.lines * p.positions + AMX_M) * sizeof(int32_t));
    p.tail_bytes = p.in_place ? bl_round64(past) : 0;
    p.b_bytes = bits < 8 ? p.steps * 2 * AMX_TILE : 0;
    return p;
}

static bool amx_fits(const bl_conv_shape *s)
{
    return s->groups == 1 && s->in_bits <= 8 && s->out_bits <= 8 && !s->acc64 &&
           (int64_t)s->out_h * s->out_w >= AMX_POSITIONS_MIN &&
           BL_MAX((int64_t)AMX_POSITIONS, (int64_t)s->out_w) * s->out_c < INT32_MAX;
}

static bool amx_stream_fits(const bl_conv_shape *s)
{
    return amx_fits(s) && s->weight_bits <= 4 && bl_conv_taps(s) * s->out_c >= AMX_STREAM_MIN;
}

/* One bit has no zero to fill a run's last step with: whole steps alone. */
static size_t amx_bits(const bl_conv_shape *s)
{
    if (s->weight_bits >= 3) return 4;
    return s->weight_bits == 1 && s->in_c % AMX_STEP == 0 ? 1 : 2;
}

/* Tiles of a block of channels: the last has one where 16 channels are enough. */
static size_t amx_tiles(const amx_plan *p, size_t block)
{
    return p->oc - block * AMX_N > 16 ? 2 : 1;
}

static size_t amx_plan_packed(const amx_plan *p)
{
    return p->bias_bytes + p->blocks * p->block_bytes;
}

static size_t amx_plan_work(const amx_plan *p)
{
    return p->mult_bytes + p->sums_bytes + p->slab_bytes + p->at_bytes + p->to_bytes + p->tail_bytes + p->b_bytes;
}

/* Place of channel c of a block: of two tiles in the order of requant_codes64, two positions at a time. */
static size_t amx_place(size_t tiles, size_t c)
{
    return tiles == 1 ? c : c / 4 % 2 * 16 + c / 8 * 4 + c % 4;
}

/* Code at byte `at` of a block's expanded weights; of narrow ones, where its bits go. */
static void amx_put(const amx_plan *p, uint8_t *block, size_t at, int8_t code)
{
    if (p->bits == 8) {
        block[at] = (uint8_t)code;
        return;
    }
    size_t parts = 8 / p->bits, vector = at / 64, byte = vector / parts * 64 + at % 64;
    unsigned u = p->bits == 1 ? code > 0 : (unsigned)code & ((1u << p->bits) - 1);
    block[byte] |= (uint8_t)(u << vector % parts * p->bits);
}

static void amx_pack_plan(const bl_conv_shape *s, const amx_plan *p, const int8_t *codes, int32_t zero_in,
                          const int32_t *bias, void *packed)
{
    size_t taps = (size_t)bl_conv_taps(s), runs = (size_t)s->kernel_h * amx_runs_of_row(s, p);
    memset(packed, 0, amx_plan_packed(p));
    for (size_t o = 0; o < p->oc; o++) {
        size_t b = o / AMX_N, tiles = amx_tiles(p, b), place = amx_place(tiles, o % AMX_N), step = 0;
        uint8_t *block = (uint8_t *)packed + p->bias_bytes + b * p->block_bytes;
        int64_t sum = 0;
        for (size_t i = 0; i < runs; i++) {
            amx_run r = amx_run_of(s, p, i);
            for (size_t k = 0; k < r.n * p->c; k++) {
                size_t tap = r.ky * (size_t)s->kernel_w + r.kx + k / p->c * r.step;
                int8_t code = codes[o * taps + tap * p->c + k % p->c];
                size_t tile = (step + k / AMX_STEP) * tiles + place / 16;
                amx_put(p, block, tile * AMX_TILE + k % AMX_STEP / 4 * 64 + place % 16 * 4 + k % 4, code);
                sum += code;
            }
            step += amx_run_steps(p, &r);
        }
        ((uint32_t *)packed)[b * AMX_N + place] = (uint32_t)(uint64_t)(bias[o] - zero_in * sum);
    }
}

/* ---- running */

typedef struct amx_pending {
    const int32_t *sums;        /* [32 positions][32 channels] */
    const int32_t *to;          /* where a position's codes go; -1: nobody's */
    const float *mult;
    uint8_t *out;
    size_t done, positions, channels, tiles;
    size_t odd;                 /* where the sums of odd steps lie behind those of even ones; 0: there are none */
} amx_pending;

typedef struct amx_job {
    tile_file t;
    const size_t *at;           /* offset of each step */
    size_t steps, stride, bits;
    size_t drain;               /* positions whose sums become codes in one step */
    const int32_t *bias;
    int8_t *b;                  /* expanded weights of the channels at hand */
    const uint8_t *stored;      /* to be unpacked there; NULL: they are there */
    int32_t *sums;              /* two blocks, in turn */
    bool turn;
    int kind;                   /* of requantization */
    amx_pending wait;
    requant q;
} amx_job;

static inline __attribute__((always_inline)) __m512i amx_sums(const int32_t *sums, size_t odd)
{
    __m512i v = _mm512_loadu_si512(sums);
    return odd ? _mm512_add_epi32(v, _mm512_loadu_si512(sums + odd)) : v;
}

/* Two positions of two tiles, or four of one, become codes at once. */
static inline __attribute__((always_inline)) void amx_drain_as(amx_job *j, size_t n, int kind, size_t tiles)
{
    const amx_pending w = j->wait;
    const requant q = j->q;
    const size_t end = BL_MIN(w.done + n, w.positions), many = tiles == 2 ? 2 : 4, apart = tiles == 2 ? 16 : AMX_N;
    const __mmask32 mask = (__mmask32)(0xffffffffu >> (32 - w.channels));
    const __m512 m0 = _mm512_loadu_ps(w.mult), m1 = tiles == 2 ? _mm512_loadu_ps(w.mult + 16) : m0;
    /* Lanes of 16 bytes hold 8 of the one position, 8 of the other; or 4 of each of four. */
    const __m512i order = tiles == 2 ? _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15)
                                     : _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    size_t i = w.done;
    for (; i < end; i += many) {
        const int32_t *sums = w.sums + i * AMX_N;
        __m512i a = amx_sums(sums, w.odd), b = amx_sums(sums + apart, w.odd);
        __m512i c = amx_sums(sums + 2 * apart, w.odd), d = amx_sums(sums + 3 * apart, w.odd);
        __m512i codes = _mm512_permutexvar_epi32(order, requant_codes64(&q, kind, a, b, c, d, m0, m1, m0, m1));
        int32_t to[4];
        for (size_t k = 0; k < many; k++) to[k] = i + k < w.positions ? w.to[i + k] : -1;
        if (tiles == 2 && w.channels == AMX_N) {
            if (to[0] >= 0) _mm256_storeu_si256((__m256i *)(w.out + to[0]), _mm512_castsi512_si256(codes));
            if (to[1] >= 0) _mm256_storeu_si256((__m256i *)(w.out + to[1]), _mm512_extracti64x4_epi64(codes, 1));
        } else if (tiles == 2) {
            if (to[0] >= 0) _mm256_mask_storeu_epi8(w.out + to[0], mask, _mm512_castsi512_si256(codes));
            if (to[1] >= 0) _mm256_mask_storeu_epi8(w.out + to[1], mask, _mm512_extracti64x4_epi64(codes, 1));
        } else {
            if (to[0] >= 0) _mm_mask_storeu_epi8(w.out + to[0], (__mmask16)mask, _mm512_castsi512_si128(codes));
            if (to[1] >= 0) _mm_mask_storeu_epi8(w.out + to[1], (__mmask16)mask, _mm512_extracti32x4_epi32(codes, 1));
            if (to[2] >= 0) _mm_mask_storeu_epi8(w.out + to[2], (__mmask16)mask, _mm512_extracti32x4_epi32(codes, 2));
            if (to[3] >= 0) _mm_mask_storeu_epi8(w.out + to[3], (__mmask16)mask, _mm512_extracti32x4_epi32(codes, 3));
        }
    }
    j->wait.done = i;
}

#define DRAIN(kind, KIND, tiles)                                                                   \
    static __attribute__((noinline)) void amx_drain_##kind##tiles(amx_job *j, size_t n)            \
    {                                                                                              \
        amx_drain_as(j, n, REQUANT_##KIND, tiles);                                                 \
    }
DRAIN(bare, BARE, 1)
DRAIN(fast, FAST, 1)
DRAIN(sure, SURE, 1)
DRAIN(bare, BARE, 2)
DRAIN(fast, FAST, 2)
DRAIN(sure, SURE, 2)

static inline void amx_drain(amx_job *j, size_t n)
{
    static void (*const drain[REQUANT_KINDS][2])(amx_job *, size_t) = {
        [REQUANT_BARE] = {amx_drain_bare1, amx_drain_bare2},
        [REQUANT_FAST] = {amx_drain_fast1, amx_drain_fast2},
        [REQUANT_SURE] = {amx_drain_sure1, amx_drain_sure2}};
    if (j->wait.done < j->wait.positions) drain[j->kind][j->wait.tiles - 1](j, n);
}

/* One step's weights: each byte holds codes of 8 / bits vectors; a table makes them signed. */
static inline __attribute__((always_inline)) void amx_unpack_at(const amx_job *j, size_t step, size_t tiles, size_t bits)
{
    static const int8_t signs[4][16] = {{-1, 1}, {0, 1, -2, -1}, {0}, {0, 1, 2, 3, 4, 5, 6, 7, -8, -7, -6, -5, -4, -3, -2, -1}};
    const size_t parts = 8 / bits, n = tiles * 16 / parts;
    const uint8_t *from = j->stored + step * tiles * AMX_TILE / parts;
    int8_t *to = j->b + step * tiles * AMX_TILE;
    const __m512i mask = _mm512_set1_epi8((char)((1u << bits) - 1));
    const __m512i table = _mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i *)signs[bits - 1]));
    for (size_t i = 0; i < n; i++, from += 64) {
        __m512i v = _mm512_loadu_si512(from);
        for (size_t k = 0; k < parts; k++, to += 64) {
            _mm512_storeu_si512(to, _mm512_shuffle_epi8(table, _mm512_and_si512(v, mask)));
            v = _mm512_srli_epi16(v, (unsigned)bits);
        }
    }
}

static void amx_unpack(const amx_job *j, size_t step, size_t tiles)
{
    if (j->bits == 4) amx_unpack_at(j, step, tiles, 4);
    else if (j->bits == 2) amx_unpack_at(j, step, tiles, 2);
    else amx_unpack_at(j, step, tiles, 1);
}

/* One step: tiles 0 and 2 are of the first 16 channels, 1 and 3 of the others, 0 and 1 of the first 16 positions.  Where there are fewer,
 * odd steps take what would lie idle: 2 and 3 of 16 positions, 1 and 3 of 16 channels, 2 of both. */
static inline __attribute__((always_inline)) void amx_step(amx_job *j, const uint8_t *x, const int8_t *w, bool m2, bool n2, bool odd)
{
    tile_file *t = &j->t;
    (void)t;
    TILE_LOAD(t, 4, x, j->stride);
    TILE_LOAD(t, 6, w, TILE_BYTES);
    if (!odd) TILE_DOT(t, 0, 4, 6);
    else if (m2) TILE_DOT(t, 1, 4, 6);
    else TILE_DOT(t, 2, 4, 6);
    if (n2) {
        TILE_LOAD(t, 7, w + AMX_TILE, TILE_BYTES);
        if (!odd) TILE_DOT(t, 1, 4, 7);
        else TILE_DOT(t, 3, 4, 7);
    }
    if (m2) {
        TILE_LOAD(t, 5, x + 16 * j->stride, j->stride);
        if (!odd) TILE_DOT(t, 2, 5, 6);
        else TILE_DOT(t, 3, 5, 6);
        if (n2) TILE_DOT(t, 3, 5, 7);
    }
}

/* Two or one tile of positions times two or one of channels; the last block's sums become codes meanwhile. */
static inline __attribute__((always_inline)) void amx_block(amx_job *j, const uint8_t *in, bool m2, bool n2)
{
    tile_file *t = &j->t;
    const size_t n = n2 ? 2 : 1, steps = j->steps;
    const bool odd = !(m2 && n2) && steps > 1;
    const int8_t *w = j->b;
    int32_t *sums = j->sums + (j->turn ? AMX_M * AMX_N : 0);
    (void)t;
    TILE_LOAD(t, 0, j->bias, 0);
    if (n2) TILE_LOAD(t, 1, j->bias + 16, 0);
    else if (m2) TILE_ZERO(t, 1);
    if (m2) TILE_LOAD(t, 2, j->bias, 0);
    else TILE_ZERO(t, 2);
    if (m2 && n2) TILE_LOAD(t, 3, j->bias + 16, 0);
    else if (m2 || n2) TILE_ZERO(t, 3);
    for (size_t k = 0; j->stored && k < BL_MIN(steps, (size_t)AMX_AHEAD); k++) amx_unpack(j, k, n);
    for (size_t k = 0; k < steps; k++, w += n * AMX_TILE) {
        if (j->stored && k + AMX_AHEAD < steps) amx_unpack(j, k + AMX_AHEAD, n);
        if (odd && k % 2) amx_step(j, in + j->at[k], w, m2, n2, true);
        else amx_step(j, in + j->at[k], w, m2, n2, false);
        amx_drain(j, j->drain);
    }
    amx_drain(j, AMX_M);
    TILE_STORE(t, 0, sums, AMX_N * sizeof(int32_t));
    if (n2 || odd) TILE_STORE(t, 1, sums + 16, AMX_N * sizeof(int32_t));
    if (m2 || odd) TILE_STORE(t, 2, sums + 16 * AMX_N, AMX_N * sizeof(int32_t));
    if ((m2 && n2) || odd) TILE_STORE(t, 3, sums + 16 * AMX_N + 16, AMX_N * sizeof(int32_t));
}

static __attribute__((noinline)) void amx_block_2x2(amx_job *j, const uint8_t *in) { amx_block(j, in, true, true); }
static __attribute__((noinline)) void amx_block_2x1(amx_job *j, const uint8_t *in) { amx_block(j, in, true, false); }
static __attribute__((noinline)) void amx_block_1x2(amx_job *j, const uint8_t *in) { amx_block(j, in, false, true); }
static __attribute__((noinline)) void amx_block_1x1(amx_job *j, const uint8_t *in) { amx_block(j, in, false, false); }

/* What is read for a block of rows: lines of positions. */
typedef struct amx_lines {
    const uint8_t *in, *end;    /* end: of what may be read; NULL: no end to mind */
    size_t line_bytes, lines, positions;
    const int32_t *to;          /* [line][position] */
    uint8_t *tail;
    const uint8_t *tail_of;     /* what was copied there */
} amx_lines;

/* All positions times the channels of one block, which are set up in *next. */
static void amx_line(amx_job *j, const amx_plan *p, amx_lines *l, size_t line, const amx_pending *next)
{
    const uint8_t *in = l->in + line * l->line_bytes;
    for (size_t i = 0; i < l->positions; i += AMX_M) {
        size_t n = BL_MIN(l->positions - i, (size_t)AMX_M), rows = n > 16 ? 32 : 16;
        const uint8_t *x = in + i * j->stride;
        if (l->end && (size_t)(l->end - x) < (rows - 1) * j->stride + (p->c + 63) / 64 * 64) {
            if (l->tail_of != x) memcpy(l->tail, x, n * p->c); /* once for all blocks of channels */
            l->tail_of = x;
            x = l->tail;
        }
        if (next->tiles == 2) (n > 16 ? amx_block_2x2 : amx_block_1x2)(j, x);
        else (n > 16 ? amx_block_2x1 : amx_block_1x1)(j, x);
        j->stored = NULL;
        j->wait = *next;
        j->wait.sums = j->sums + (j->turn ? AMX_M * AMX_N : 0);
        j->wait.to = l->to + line * l->positions + i;
        j->wait.positions = n;
        if (j->steps > 1 && !(next->tiles == 2 && n > 16)) j->wait.odd = n > 16 ? 16 : 16 * AMX_N;
        j->turn = !j->turn;
    }
}

/* n pixels of c bytes that lie `step` bytes apart, side by side. */
static void amx_gather(uint8_t *to, const uint8_t *from, size_t n, size_t c, size_t step)
{
    const __mmask64 last = ~0ull >> (-c & 63);
    for (; n; n--, to += c, from += step) {
        size_t k = 0;
        for (; k + 64 < c; k += 64) _mm512_storeu_si512(to + k, _mm512_loadu_si512(from + k));
        _mm512_mask_storeu_epi8(to + k, last, _mm512_maskz_loadu_epi8(last, from + k));
    }
}

/* The input rows of `rows` rows of outputs from oy on, sorted by phase. */
static void amx_slab_phased(const bl_conv_args *a, const amx_plan *p, int64_t oy, size_t rows, uint8_t *slab)
{
    const bl_conv_shape *s = &a->s;
    int64_t c = (int64_t)p->c, columns = (int64_t)p->columns;
    for (size_t plane = 0; plane < p->phases_h * p->phases_w; plane++) {
        int64_t first_x = (int64_t)(plane % p->phases_w) - s->pad_left;
        for (size_t y = 0; y < rows + p->reach; y++) {
            uint8_t *to = slab + (plane * (p->block_rows + p->reach) + y) * p->columns * p->c;
            int64_t iy = (oy + (int64_t)y) * s->stride_h + (int64_t)(plane / p->phases_w) - s->pad_top;
            if (iy < 0 || iy >= s->in_h) {
                memset(to, a->zero_in, p->columns * p->c);
                continue;
            }
            const uint8_t *row = (const uint8_t *)a->in + iy * s->in_w * c;
            int64_t sw = s->stride_w, x0 = first_x < 0 ? BL_MIN((-first_x + sw - 1) / sw, columns) : 0;
            int64_t x1 = first_x < s->in_w ? BL_MIN((s->in_w - first_x + sw - 1) / sw, columns) : 0;
            x1 = BL_MAX(x1, x0);
            memset(to, a->zero_in, (size_t)(x0 * c));
            if (sw == 1) memcpy(to + x0 * c, row + (x0 + first_x) * c, (size_t)((x1 - x0) * c));
            else if (x1 > x0) amx_gather(to + x0 * c, row + (x0 * sw + first_x) * c, (size_t)(x1 - x0), p->c, (size_t)(sw * c));
            memset(to + x1 * c, a->zero_in, (size_t)((columns - x1) * c));
        }
    }
}

static void amx_slab_by_rows(const bl_conv_args *a, const amx_plan *p, int64_t oy, size_t rows, uint8_t *slab)
{
    const bl_conv_shape *s = &a->s;
    int64_t c = (int64_t)p->c, columns = (int64_t)p->columns;
    int64_t x0 = BL_MIN(BL_MAX((int64_t)s->pad_left, 0), columns), x1 = BL_MAX(x0, BL_MIN(columns, (int64_t)s->in_w + s->pad_left));
    for (size_t y = 0; y < (rows - 1) * (size_t)s->stride_h + p->reach; y++, slab += columns * c) {
        int64_t iy = oy * s->stride_h + (int64_t)y - s->pad_top;
        if (iy < 0 || iy >= s->in_h) {
            memset(slab, a->zero_in, (size_t)(columns * c));
            continue;
        }
        memset(slab, a->zero_in, (size_t)(x0 * c));
        memcpy(slab + x0 * c, (const uint8_t *)a->in + (iy * s->in_w + x0 - s->pad_left) * c, (size_t)((x1 - x0) * c));
        memset(slab + x1 * c, a->zero_in, (size_t)((columns - x1) * c));
    }
}

/* Lines of a block of rows, and where its positions' codes go, counted from its first output. */
static amx_lines amx_read(const bl_conv_args *a, const amx_plan *p, int64_t oy, size_t rows, uint8_t *slab, int32_t *to, uint8_t *tail)
{
    const bl_conv_shape *s = &a->s;
    size_t width = (size_t)s->out_w;
    amx_lines l = {.in = slab, .lines = p->lines == 1 ? 1 : rows, .to = to, .tail = tail,
                   .line_bytes = (size_t)s->stride_h * p->columns * p->c,
                   .positions = p->lines == 1 ? (rows - 1) * p->columns + width : width};
    if (p->in_place) {
        l.in = (const uint8_t *)a->in + (size_t)oy * width * p->c;
        l.end = (const uint8_t *)a->in + (size_t)s->in_h * (size_t)s->in_w * p->c;
    } else if (p->phased) {
        amx_slab_phased(a, p, oy, rows, slab);
    } else {
        amx_slab_by_rows(a, p, oy, rows, slab);
    }
    const __m512i lanes = _mm512_mullo_epi32(_mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15), _mm512_set1_epi32((int)p->oc));
    const size_t columns = p->lines == 1 ? p->columns : width;
    for (size_t y = 0; y < rows; y++, to += columns) {
        size_t n = y + 1 < rows ? columns : width;
        for (size_t x = 0; x < n; x += 16) {
            __mmask16 whose = (__mmask16)(width >= x + 16 ? 0xffff : width > x ? (1u << (width - x)) - 1 : 0);
            __mmask16 all = (__mmask16)(n >= x + 16 ? 0xffff : (1u << (n - x)) - 1);
            __m512i v = _mm512_add_epi32(lanes, _mm512_set1_epi32((int)((y * width + x) * p->oc)));
            _mm512_mask_storeu_epi32(to + x, all, _mm512_mask_mov_epi32(_mm512_set1_epi32(-1), whose, v));
        }
    }
    return l;
}

/* Multipliers of blocks begin to end - 1 in the order of their tiles; amx_place() of four at a time, for this is done in every run. */
static void amx_mult(const bl_conv_args *a, const amx_plan *p, size_t begin, size_t end, float *mult)
{
    for (size_t b = begin; b < end; b++) {
        const float *from = a->mult + b * AMX_N;
        float *to = mult + b * AMX_N;
        size_t n = BL_MIN(p->oc - b * AMX_N, (size_t)AMX_N), tiles = amx_tiles(p, b), c = 0;
        if (n < AMX_N) memset(to, 0, AMX_N * sizeof *to);
        for (; c + 4 <= n; c += 4) memcpy(to + amx_place(tiles, c), from + c, 4 * sizeof *to);
        for (; c < n; c++) to[amx_place(tiles, c)] = from[c];
    }
}

static void amx_run_plan(const bl_conv_args *a, const amx_plan *p)
{
    const bl_conv_shape *s = &a->s;
    const tile_config config = tile_config_whole();
    uint8_t *work = (uint8_t *)a->work + p->mult_bytes, *packed = (uint8_t *)(uintptr_t)a->packed;
    float *mult = a->work;
    amx_job j = {.steps = p->steps, .stride = p->stride, .bits = p->bits, .sums = (int32_t *)work,
                 .kind = requant_kind(a), .q = requant_of(a)};
    uint8_t *slab = work + p->sums_bytes, *tail = slab + p->slab_bytes + p->at_bytes + p->to_bytes;
    size_t *at = (size_t *)(slab + p->slab_bytes), part_end = a->part_end ? (size_t)a->part_end : p->blocks;
    int32_t *to = (int32_t *)((uint8_t *)at + p->at_bytes);
    for (size_t i = 0, k = 0; k < p->steps; i++) {
        amx_run r = amx_run_of(s, p, i);
        size_t first = amx_run_offset(s, p, &r), n = amx_run_steps(p, &r);
        for (size_t e = 0; e < n; e++) at[k++] = first + e * AMX_STEP;
    }
    j.at = at;
    j.drain = (AMX_M + p->steps - 1) / p->steps;
    j.drain = (j.drain + 3) / 4 * 4;
    amx_mult(a, p, (size_t)a->part_begin, part_end, mult);
    TILES_OPEN(&j.t, &config);
    for (int64_t oy = a->row_begin; oy < a->row_end; oy += (int64_t)p->block_rows) {
        size_t rows = (size_t)BL_MIN((int64_t)p->block_rows, a->row_end - oy);
        amx_drain(&j, AMX_M); /* what waits points into the lines of the last rows */
        amx_lines l = amx_read(a, p, oy, rows, slab, to, tail);
        for (size_t b = (size_t)a->part_begin; b < part_end; b++) {
            amx_pending next = {.mult = mult + b * AMX_N, .tiles = amx_tiles(p, b), .channels = BL_MIN(p->oc - b * AMX_N, (size_t)AMX_N),
                                .out = (uint8_t *)a->out + (size_t)oy * (size_t)s->out_w * p->oc + b * AMX_N};
            uint8_t *weights = packed + p->bias_bytes + b * p->block_bytes;
            j.bias = (const int32_t *)packed + b * AMX_N;
            j.stored = p->bits < 8 ? weights : NULL;
            j.b = (int8_t *)(p->bits < 8 ? tail + p->tail_bytes : weights);
            for (size_t line = 0; line < l.lines; line++) amx_line(&j, p, &l, line, &next);
        }
    }
    amx_drain(&j, AMX_M);
    TILES_CLOSE(&j.t);
}

static size_t amx_parts(const bl_conv_shape *s)
{
    return ((size_t)s->out_c + AMX_N - 1) / AMX_N;
}

/* ---- the rows: weights as bytes, weights at their width */

#define ROW(name, label, fits, bits_of)                                                            \
    static size_t name##_packed_bytes(const bl_conv_shape *s)                                      \
    {                                                                                              \
        amx_plan p = amx_plan_of(s, bits_of);                                                      \
        return amx_plan_packed(&p);                                                                \
    }                                                                                              \
    static void name##_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,          \
                            const int32_t *bias, void *packed)                                     \
    {                                                                                              \
        amx_plan p = amx_plan_of(s, bits_of);                                                      \
        amx_pack_plan(s, &p, codes, zero_in, bias, packed);                                        \
    }                                                                                              \
    static size_t name##_work_bytes(const bl_conv_shape *s)                                        \
    {                                                                                              \
        amx_plan p = amx_plan_of(s, bits_of);                                                      \
        return amx_plan_work(&p);                                                                  \
    }                                                                                              \
    static void name##_run(const bl_conv_args *a)                                                  \
    {                                                                                              \
        const bl_conv_shape *s = &a->s;                                                            \
        amx_plan p = amx_plan_of(s, bits_of);                                                      \
        amx_run_plan(a, &p);                                                                       \
    }                                                                                              \
    const bl_conv_row bl_k_##label = {#label, BL_ISA_AMX, fits, name##_packed_bytes, name##_pack,  \
                                      name##_work_bytes, name##_run, amx_parts, NULL, false};
ROW(amx_whole, conv_amx, amx_fits, 8)
ROW(amx_stream, conv_stream_amx, amx_stream_fits, amx_bits(s))
#endif
