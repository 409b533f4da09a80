/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel-check --bench: every row that is here, on fixed shapes, one thread.  The rows of a shape
 * run in turn within each round, the order moving on by one, so that the machine's mood hits all
 * alike; the figure is the lower quartile of the rounds.  The first row runs twice, as a control:
 * differences smaller than A/A are ties.
 */
#include "check.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ROWS = 16, MAX_ROUNDS = 2000 };

/* A row with its arguments ready: run(row, args) is what is timed. */
typedef struct contender {
    const bl_kernel_info *info;
    void *packed, *work;
    double ns[MAX_ROUNDS];
} contender;

typedef struct contest {
    const char *text;
    bl_contract contract;
    double amount; /* multiply-accumulates or elements of one run */
    const char *unit;
    union {
        bl_conv_args conv;
        bl_pair_args pair;
        bl_pool_args pool;
        bl_move_args move;
        bl_table_args table;
        bl_softmax_args softmax;
        bl_matmul_args matmul;
        bl_layernorm_args layernorm;
        bl_edge_args edge;
    } a;
    contender *rows;
    size_t n_rows;
} contest;

static void *take(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    if (!p) abort();
    return p;
}

static void run_once(const contest *t, const contender *c)
{
    const void *row = c->info->row;
    switch (t->contract) {
    case BL_C_CONV: {
        bl_conv_args a = t->a.conv;
        a.packed = c->packed;
        a.work = c->work;
        ((const bl_conv_row *)row)->run(&a);
        break;
    }
    case BL_C_ADD:
    case BL_C_MUL: ((const bl_pair_row *)row)->run(&t->a.pair); break;
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL: ((const bl_pool_row *)row)->run(&t->a.pool); break;
    case BL_C_MOVE: ((const bl_move_row *)row)->run(&t->a.move); break;
    case BL_C_TABLE: ((const bl_table_row *)row)->run(&t->a.table); break;
    case BL_C_SOFTMAX: ((const bl_softmax_row *)row)->run(&t->a.softmax); break;
    case BL_C_QUANTIZE:
    case BL_C_DEQUANTIZE: ((const bl_edge_row *)row)->run(&t->a.edge); break;
    case BL_C_MATMUL: {
        bl_matmul_args a = t->a.matmul;
        a.work = c->work;
        ((const bl_matmul_row *)row)->run(&a);
        break;
    }
    case BL_C_LAYERNORM: ((const bl_layernorm_row *)row)->run(&t->a.layernorm); break;
    case BL_N_CONTRACT: break;
    }
}

static void add_row(contest *t, const bl_kernel_info *info)
{
    contender *c = &t->rows[t->n_rows++];
    c->info = info;
    c->packed = c->work = NULL;
    if (t->contract == BL_C_MATMUL) c->work = take(((const bl_matmul_row *)info->row)->work_bytes(&t->a.matmul));
    if (t->contract != BL_C_CONV) return;
    const bl_conv_row *row = info->row;
    const bl_conv_shape *s = &t->a.conv.s;
    size_t n = (size_t)s->out_c * (size_t)s->kernel_h * (size_t)s->kernel_w *
               (size_t)(s->in_c / s->groups);
    int8_t *codes = take(n);
    bl_rng r = bl_rng_make(1, "weights", 0);
    for (size_t i = 0; i < n; i++)
        codes[i] = (int8_t)random_between(&r, -(1 << (s->weight_bits - 1)),
                                          (1 << (s->weight_bits - 1)) - 1);
    for (size_t i = 0; i < n && s->weight_bits == 1; i++) codes[i] = codes[i] ? 1 : -1;
    c->packed = take(row->packed_bytes(s));
    c->work = take(row->work_bytes(s));
    row->pack(s, codes, t->a.conv.zero_in, t->a.conv.bias, c->packed);
    free(codes);
}

static int by_time(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* Rounds until the time is over, then one line a row. */
static void hold(contest *t, double seconds)
{
    size_t rounds = 0;
    uint64_t start = bl_now_ns();
    for (size_t i = 0; i < t->n_rows; i++) run_once(t, &t->rows[i]);
    uint64_t each = (bl_now_ns() - start) / t->n_rows + 1;
    unsigned repeats =
        each < 20000 ? (unsigned)(20000 / each) + 1 : 1; /* a timed piece: >= 20 us */
    while (rounds < MAX_ROUNDS && (rounds < 9 || (double)(bl_now_ns() - start) < seconds * 1e9)) {
        for (size_t i = 0; i < t->n_rows; i++) {
            contender *c = &t->rows[(i + rounds) % t->n_rows];
            uint64_t before = bl_now_ns();
            for (unsigned k = 0; k < repeats; k++) run_once(t, c);
            c->ns[rounds] = (double)(bl_now_ns() - before) / repeats;
        }
        rounds++;
    }
    printf("%s\n", t->text);
    for (size_t i = 0; i < t->n_rows; i++) {
        contender *c = &t->rows[i];
        qsort(c->ns, rounds, sizeof *c->ns, by_time);
        double q1 = c->ns[rounds / 4], median = c->ns[rounds / 2];
        printf("    %-22s %9.2f us %9.2f %s  median +%.0f %%%s\n", c->info->name, q1 / 1e3,
               t->amount / q1, t->unit, (median / q1 - 1) * 100,
               t->n_rows > 1 && i + 1 == t->n_rows ? "  (again: A/A)" : "");
        free(c->packed);
        free(c->work);
    }
}

static bool fits(const contest *t, const bl_kernel_info *info)
{
    return bl_kernel_choose(t->contract, &t->a, info->isa, info->name) != NULL;
}

static void bench_contest(contest *t, const char *only, double seconds)
{
    t->rows = calloc(MAX_ROWS, sizeof *t->rows);
    if (!t->rows) abort();
    t->n_rows = 0;
    for (size_t i = 0; i < bl_n_kernels && t->n_rows + 1 < MAX_ROWS; i++) {
        const bl_kernel_info *info = &bl_kernels[i];
        if (info->contract == t->contract && fits(t, info) &&
            (!only || strcmp(only, info->name) == 0))
            add_row(t, info);
    }
    if (t->n_rows > 0) {
        add_row(t, t->rows[0].info);
        hold(t, seconds);
    }
    free(t->rows);
}

/* clang-format off */
typedef struct conv_bench {
    const char *text;
    int32_t h, w, ic, oc, groups, k, stride, pad, bits, weight_bits;
} conv_bench;
static const conv_bench convs[] = {
    {"conv 3x3 32x32 16->16",        32, 32,   16,  16,  1, 3, 1, 1,  8, 8},
    {"conv 3x3 16x16 32->32",        16, 16,   32,  32,  1, 3, 1, 1,  8, 8},
    {"conv 3x3 8x8 64->64",           8,  8,   64,  64,  1, 3, 1, 1,  8, 8},
    {"conv 3x3/2 32x32 16->32",      32, 32,   16,  32,  1, 3, 2, 1,  8, 8},
    {"conv 1x1 32x32 16->32",        32, 32,   16,  32,  1, 1, 1, 0,  8, 8},
    {"conv 1x1 16x16 64->64",        16, 16,   64,  64,  1, 1, 1, 0,  8, 8},
    {"conv 1x1 14x14 256->256",      14, 14,  256, 256,  1, 1, 1, 0,  8, 8},
    {"conv 3x3 32x32 3->16",         32, 32,    3,  16,  1, 3, 1, 1,  8, 8},
    {"conv 7x7/2 112x112 3->32",    112, 112,   3,  32,  1, 7, 2, 3,  8, 8},
    {"fully connected 1024->256",     1,  1, 1024, 256,  1, 1, 1, 0,  8, 8},
    {"fully connected 64->10",        1,  1,   64,  10,  1, 1, 1, 0,  8, 8},
    {"depthwise 3x3 16x16 64",       16, 16,   64,  64, 64, 3, 1, 1,  8, 8},
    {"depthwise 3x3 16x16 64, W4",   16, 16,   64,  64, 64, 3, 1, 1,  8, 4},
    {"depthwise 5x5/2 14x14 96",     14, 14,   96,  96, 96, 5, 2, 2,  8, 8},
    {"grouped 4, 3x3 16x16 32->32",  16, 16,   32,  32,  4, 3, 1, 1,  8, 8},
    {"conv 3x3 16x16 32->32, A16",   16, 16,   32,  32,  1, 3, 1, 1, 16, 8},
    {"conv 1x1 16x16 64->64, A16",   16, 16,   64,  64,  1, 1, 1, 0, 16, 8},
    {"depthwise 3x3 16x16 64, A16",  16, 16,   64,  64, 64, 3, 1, 1, 16, 8},
};
/* clang-format on */

static void bench_conv(const conv_bench *b, const char *only, double seconds)
{
    bl_conv_shape s = {
        .in_h = b->h,
        .in_w = b->w,
        .in_c = b->ic,
        .out_c = b->oc,
        .groups = b->groups,
        .kernel_h = b->k,
        .kernel_w = b->k,
        .stride_h = b->stride,
        .stride_w = b->stride,
        .dilation_h = 1,
        .dilation_w = 1,
        .pad_top = b->pad,
        .pad_left = b->pad,
        .in_bits = b->bits,
        .out_bits = b->bits,
        .weight_bits = b->weight_bits,
        .acc64 = b->bits > 8,
        .out_h = (b->h + 2 * b->pad - b->k) / b->stride + 1,
        .out_w = (b->w + 2 * b->pad - b->k) / b->stride + 1,
    };
    size_t code = b->bits > 8 ? 2 : 1, n_in = (size_t)b->h * (size_t)b->w * (size_t)b->ic;
    double k = (double)b->k * b->k * b->ic / b->groups;
    contest t = {.text = b->text,
                 .contract = BL_C_CONV,
                 .unit = "GMAC/s",
                 .amount = k * s.out_h * s.out_w * b->oc};
    uint8_t *in = take(n_in * code),
            *out = take((size_t)s.out_h * (size_t)s.out_w * (size_t)b->oc * code);
    int32_t *bias = take((size_t)b->oc * sizeof(int32_t));
    float *mult = take((size_t)b->oc * sizeof(float));
    bl_rng r = bl_rng_make(1, b->text, 0);
    random_codes(&r, in, b->bits, n_in, 0);
    for (int32_t c = 0; c < b->oc; c++) {
        bias[c] = (int32_t)random_between(&r, -1000, 1000);
        mult[c] = (float)(1 / sqrt(k) / 60);
    }
    t.a.conv = (bl_conv_args){.s = s,
                              .in = in,
                              .out = out,
                              .bias = bias,
                              .mult = mult,
                              .zero_in = 100,
                              .zero_out = 110,
                              .lo = 0,
                              .hi = (1 << b->bits) - 1,
                              .row_end = s.out_h};
    bench_contest(&t, only, seconds);
    free(in);
    free(out);
    free(bias);
    free(mult);
}

static const bl_grid grid_a = {0.03f, 117, 0, 255}, grid_b = {0.011f, 3, 0, 255},
                     grid_y = {0.04f, 9, 0, 255};

/* 32x32x64 values and what each contract does with them. */
static void bench_others(const char *only, double seconds)
{
    enum { H = 32, W = 32, C = 64, N = H * W * C };
    uint8_t *a = take(N), *b = take(N), *out = take(N), *table = take(256);
    float *real = take(N * sizeof(float)), *exps = take(256 * sizeof(float));
    bl_rng r = bl_rng_make(1, "bench", 0);
    random_codes(&r, a, 8, N, 0);
    random_codes(&r, b, 8, N, 0);
    random_codes(&r, table, 8, 256, 0);
    for (int i = 0; i < N; i++) real[i] = (float)(bl_rng_normal(&r) * 3);
    for (int i = 0; i < 256; i++) exps[i] = expf((float)(i - 255) * 0.1f);
    bl_pair_args same = {.a = a,
                         .b = b,
                         .out = out,
                         .a_bits = 8,
                         .b_bits = 8,
                         .out_bits = 8,
                         .rank = 2,
                         .size = {H * W, C},
                         .a_stride = {C, 1},
                         .b_stride = {C, 1},
                         .out_stride = {C, 1},
                         .ga = grid_a,
                         .gb = grid_b,
                         .gy = grid_y,
                         .outer_end = H * W};
    bl_pair_args gate = same;
    gate.b_stride[0] = 0;
    bl_pool_args pool = {.in = a,
                         .out = out,
                         .bits_in = 8,
                         .bits_out = 8,
                         .in_h = H,
                         .in_w = W,
                         .c = C,
                         .out_h = 16,
                         .out_w = 16,
                         .kernel_h = 2,
                         .kernel_w = 2,
                         .stride_h = 2,
                         .stride_w = 2,
                         .dilation_h = 1,
                         .dilation_w = 1,
                         .gx = grid_a,
                         .gy = grid_y,
                         .row_end = 16};
    bl_pool_args global = pool;
    global.out_h = global.out_w = global.row_end = 1;
    bl_move_args transpose = {.in = a,
                              .out = out,
                              .in_bits = 8,
                              .out_bits = 8,
                              .rank = 2,
                              .size = {C, H * W},
                              .in_stride = {1, C},
                              .out_stride = {H * W, 1}};
    bl_move_args part = {.in = a,
                         .out = out,
                         .in_bits = 8,
                         .out_bits = 8,
                         .rank = 2,
                         .size = {H * W, 32},
                         .in_stride = {32, 1},
                         .out_stride = {C, 1}};
    bl_table_args look = {.in = a, .out = out, .in_bits = 8, .out_bits = 8, .table = table, .n = N};
    bl_softmax_args soft = {.in = a,
                            .out = out,
                            .in_bits = 8,
                            .out_bits = 8,
                            .rows = N / 64,
                            .d = 64,
                            .table = exps,
                            .gx = grid_a,
                            .gy = {1.0f / 256, 0, 0, 255}};
    bl_layernorm_args norm = {.in = a,
                              .out = out,
                              .in_bits = 8,
                              .out_bits = 8,
                              .rows = 49,
                              .d = 96,
                              .gain = exps,
                              .shift = exps + 96,
                              .floor = 100,
                              .gy = grid_y};
    bl_edge_args in = {.in = real,
                       .out = out,
                       .bits = 8,
                       .rank = 3,
                       .size = {C, H, W},
                       .in_stride = {H * W, W, 1},
                       .out_stride = {1, W * C, C},
                       .g = grid_a};
    bl_edge_inverse(in.g, &in.inverse, &in.rest);
    bl_edge_args dense = in, back = in;
    memcpy(dense.out_stride, dense.in_stride, sizeof dense.out_stride);
    back.in = a;
    back.out = real;
    memcpy(back.in_stride, in.out_stride, sizeof back.in_stride);
    memcpy(back.out_stride, in.in_stride, sizeof back.out_stride);
    bl_matmul_args product = {.a = a,
                              .b = b,
                              .out = out,
                              .a_bits = 8,
                              .b_bits = 8,
                              .out_bits = 8,
                              .rank = 1,
                              .size = {4},
                              .a_stride = {64 * 32},
                              .b_stride = {64 * 32},
                              .out_stride = {64 * 64},
                              .m = 64,
                              .n = 64,
                              .k = 32,
                              .a_m = 32,
                              .a_k = 1,
                              .b_k = 1,
                              .b_n = 32,
                              .out_m = 64,
                              .out_n = 1,
                              .zero_a = 128,
                              .zero_b = 120,
                              .zero_out = 128,
                              .hi = 255,
                              .mult = 1e-3f,
                              .end = 4 * 64};
    contest list[] = {
        {"matmul 4x 64x32x64", BL_C_MATMUL, 4 * 64 * 32 * 64, "Gmac/s", {.matmul = product}, NULL, 0},
        {"add 32x32x64", BL_C_ADD, N, "Gel/s", {.pair = same}, NULL, 0},
        {"mul 32x32x64 by 64", BL_C_MUL, N, "Gel/s", {.pair = gate}, NULL, 0},
        {"global average 32x32x64", BL_C_GAP, N, "Gel/s", {.pool = global}, NULL, 0},
        {"average pool 2x2/2 32x32x64", BL_C_AVGPOOL, N, "Gel/s", {.pool = pool}, NULL, 0},
        {"maximum pool 2x2/2 32x32x64", BL_C_MAXPOOL, N, "Gel/s", {.pool = pool}, NULL, 0},
        {"transpose 1024x64", BL_C_MOVE, N, "Gel/s", {.move = transpose}, NULL, 0},
        {"concat part 32 of 64 channels", BL_C_MOVE, N / 2, "Gel/s", {.move = part}, NULL, 0},
        {"table 65536", BL_C_TABLE, N, "Gel/s", {.table = look}, NULL, 0},
        {"softmax 1024x64", BL_C_SOFTMAX, N, "Gel/s", {.softmax = soft}, NULL, 0},
        {"layernorm 49x96", BL_C_LAYERNORM, 49 * 96, "Gel/s", {.layernorm = norm}, NULL, 0},
        {"quantize 64x32x32 to NHWC", BL_C_QUANTIZE, N, "Gel/s", {.edge = in}, NULL, 0},
        {"quantize 65536, same order", BL_C_QUANTIZE, N, "Gel/s", {.edge = dense}, NULL, 0},
        {"dequantize to 64x32x32", BL_C_DEQUANTIZE, N, "Gel/s", {.edge = back}, NULL, 0},
    };
    for (size_t i = 0; i < BL_COUNTOF(list); i++) bench_contest(&list[i], only, seconds);
    free(a);
    free(b);
    free(out);
    free(table);
    free(real);
    free(exps);
}

void bench_rows(const char *only, double seconds)
{
    uint64_t l1d, l2, l3;
    char text[3][32];
    bl_cpu_caches(&l1d, &l2, &l3);
    printf("caches %s, %s, %s; one thread; lower quartile of rounds, rows in turn\n",
           bl_human_bytes(l1d, text[0]), bl_human_bytes(l2, text[1]), bl_human_bytes(l3, text[2]));
    double each = seconds / (double)(BL_COUNTOF(convs) + 14);
    for (size_t i = 0; i < BL_COUNTOF(convs); i++) bench_conv(&convs[i], only, each);
    bench_others(only, each);
}
