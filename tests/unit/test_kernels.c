/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kernels: the table and the choice of a row, instruction sets, and small vectors of each rule
 * whose results are known, through every row that runs here.
 */
#include "test_kernels_rows.h"

/* ---- the table */

static void test_table_is_in_order(void **state)
{
    (void)state;
    for (int c = 0; c < BL_N_CONTRACT; c++) {
        const bl_kernel_info *last = NULL;
        for (size_t i = 0; i < bl_n_kernels; i++) {
            const bl_kernel_info *k = &bl_kernels[i];
            if ((int)k->contract != c) continue;
            if (last) assert_true(last->isa >= k->isa); /* weaker sets below stronger ones */
            assert_true(strlen(k->summary) > 0);
            last = k;
        }
        assert_non_null(last);
        assert_int_equal(last->isa, BL_ISA_REF);
        char reference[64];
        snprintf(reference, sizeof reference, "%s_ref", bl_contract_name((bl_contract)c));
        assert_string_equal(last->name, reference);
    }
    assert_string_equal(bl_contract_name(BL_N_CONTRACT), "?");
}

/* A row's own name and instruction set are those of its line. */
static void test_rows_agree_with_their_lines(void **state)
{
    (void)state;
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_kernel_info *k = &bl_kernels[i];
        const bl_edge_row *row = k->row; /* every row struct begins with name, isa */
        assert_string_equal(row->name, k->name);
        assert_int_equal(row->isa, k->isa);
        for (size_t j = 0; j < i; j++) assert_string_not_equal(bl_kernels[j].name, k->name);
    }
}

static void test_choice_follows_cap_and_name(void **state)
{
    (void)state;
    bl_table_args t = {.in_bits = 8, .out_bits = 8, .n = 1};
    bl_conv_shape s = {1, 1, 64, 1, 1, 8, 1, 1, 1, 1, 1, 1, 1, 0, 0, 8, 8, 8, 0};
    for (int cap = 0; cap < BL_N_ISA; cap++) {
        const bl_kernel_info *k = bl_kernel_choose(BL_C_CONV, &s, (bl_isa)cap, NULL);
        assert_non_null(k);
        assert_true((int)k->isa <= cap && bl_isa_here(k->isa));
    }
    assert_string_equal(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_REF, NULL)->name, "conv_dot_base");
    assert_string_equal(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_REF, "conv_ref")->name, "conv_ref");
    assert_string_equal(bl_kernel_choose(BL_C_TABLE, &t, BL_ISA_REF, NULL)->name, "table_base");
    assert_null(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_REF, "conv_dot_avx2")); /* above the cap */
    assert_null(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_AMX, "table_ref"));     /* not a conv */
    assert_null(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_AMX, "nonsense"));
    assert_null(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_AMX, "conv_depthwise_base")); /* fits not */
    s.acc64 = 1;
    assert_string_equal(bl_kernel_choose(BL_C_CONV, &s, BL_ISA_REF, NULL)->name, "conv_ref");
}

static void test_instruction_sets(void **state)
{
    (void)state;
    bl_isa isa = BL_ISA_AMX;
    assert_true(bl_isa_parse("avx512", &isa));
    assert_int_equal(isa, BL_ISA_AVX512);
    assert_false(bl_isa_parse("AVX512", &isa));
    assert_false(bl_isa_parse("", &isa));
    assert_int_equal(isa, BL_ISA_AVX512); /* untouched */
    for (int i = 0; i < BL_N_ISA; i++) {
        assert_true(bl_isa_parse(bl_isa_name((bl_isa)i), &isa));
        assert_int_equal(isa, i);
    }
    assert_string_equal(bl_isa_name(BL_N_ISA), "?");
    assert_true(bl_isa_here(BL_ISA_REF));
    assert_false(bl_isa_here(BL_N_ISA));
    assert_true(bl_isa_here(bl_isa_best()));
    if (bl_isa_here(BL_ISA_AVX512)) assert_true(bl_isa_here(BL_ISA_AVX2));
    assert_true(strlen(bl_cpu_name()) > 0);
    uint64_t l1d, l2, l3;
    bl_cpu_caches(&l1d, &l2, &l3);
    if (l1d && l2) assert_true(l1d <= l2);
}

static bl_status resolve(const char *text, bl_isa *isa, bl_ctx **out)
{
    bl_options options = {.threads = 1, .seed = 1, .isa = text};
    assert_int_equal(bl_ctx_new(&options, out), BL_OK);
    return bl_isa_resolve(*out, isa);
}

static void test_resolve(void **state)
{
    (void)state;
    bl_ctx *ctx = NULL;
    bl_isa isa = BL_N_ISA;
    assert_int_equal(resolve(NULL, &isa, &ctx), BL_OK);
    assert_int_equal(isa, bl_isa_best());
    bl_ctx_free(ctx);
    assert_int_equal(resolve("ref", &isa, &ctx), BL_OK);
    assert_int_equal(isa, BL_ISA_REF);
    bl_ctx_free(ctx);
    assert_int_equal(resolve("sse9", &isa, &ctx), BL_USAGE);
    assert_int_equal(isa, BL_ISA_REF);
    assert_non_null(strstr(bl_last_error(ctx).what, "sse9"));
    for (int i = 0; i < BL_N_ISA; i++)
        assert_non_null(strstr(bl_last_error(ctx).remedy, bl_isa_name((bl_isa)i)));
    bl_ctx_free(ctx);
#if defined(__x86_64__)
    assert_int_equal(resolve("neon", &isa, &ctx), BL_UNAVAILABLE);
#else
    assert_int_equal(resolve("avx2", &isa, &ctx), BL_UNAVAILABLE);
#endif
    assert_int_equal(isa, BL_ISA_REF);
    bl_ctx_free(ctx);
}

/* ---- small vectors */

static void test_quantize(void **state)
{
    (void)state;
    static const float x[] = {.05f,   .15f,   .25f,  .35f,   -.05f, -.15f,
                              12.65f, 12.75f, 1e30f, -1e30f, NAN};
    static const uint8_t wanted[] = {128, 130, 130, 132, 128, 126, 254, 255, 255, 0, 0};
    bl_edge_args a = {.in = x,
                      .bits = 8,
                      .rank = 1,
                      .size = {11},
                      .in_stride = {1},
                      .out_stride = {1},
                      .g = {0.1f, 128, 0, 255}};
    EVERY_ROW(BL_C_QUANTIZE, bl_edge_row, a, BL_COUNTOF(wanted), 1, wanted);
}

static void test_dequantize(void **state)
{
    (void)state;
    static const uint16_t q[] = {0, 1, 40000, 40001, 65535};
    float wanted[5];
    for (int i = 0; i < 5; i++) wanted[i] = (float)(q[i] - 40000) * 0.3f;
    bl_edge_args a = {.in = q,
                      .bits = 16,
                      .rank = 1,
                      .size = {5},
                      .in_stride = {1},
                      .out_stride = {1},
                      .g = {0.3f, 40000, 0, 65535}};
    EVERY_ROW(BL_C_DEQUANTIZE, bl_edge_row, a, BL_COUNTOF(wanted), 4, wanted);
}

/* A 1x1 convolution on one pixel: the accumulators are 14045, -18553, 26048, 6415. */
static void test_requantize(void **state)
{
    (void)state;
    static const uint8_t x[4] = {200, 3, 255, 17};
    static const int8_t w[3][4] = {{10, -5, 100, 0}, {-20, 6, -100, 33}, {127, -128, 1, -7}};
    static const float sw[3] = {.011f, .007f, .0031f};
    static const uint8_t wanted[3] = {103, 97, 102};
    static const int32_t bias[3] = {0, 0, 0};
    static const uint32_t m[3] = {0x398028c7, 0x39231ca1, 0x38907871};
    float mult[3];
    for (int c = 0; c < 3; c++) {
        mult[c] = .02f * sw[c] / .9f;
        assert_int_equal(bits_of_float(mult[c]), m[c]);
    }
    bl_conv_args a = {.s = {1, 1, 4, 1, 1, 3, 1, 1, 1, 1, 1, 1, 1, 0, 0, 8, 8, 8, 0},
                      .in = x,
                      .bias = bias,
                      .mult = mult,
                      .zero_in = 128,
                      .zero_out = 100,
                      .hi = 255};
    conv_every_row(a, &w[0][0], wanted);
}

/* Two accumulators at which another order of the scales gives another integer. */
static void test_scale_order(void **state)
{
    (void)state;
    static const struct {
        uint32_t sx, sw, sy;
        int32_t acc;
        uint8_t wanted, other;
    } v[] = {
        {0x3cd19bd1, 0x3bec6f1a, 0x3d9be7e1, -15875, 89, 90},
        {0x3d0067aa, 0x3c111b71, 0x3cbb3e72, -10414, 1, 2},
    };
    for (size_t i = 0; i < BL_COUNTOF(v); i++) {
        float sx = float_of_bits(v[i].sx), sw = float_of_bits(v[i].sw), sy = float_of_bits(v[i].sy);
        float other = sx / sy * sw, mult = sx * sw / sy;
        uint8_t x = 128;
        int8_t w = 1;
        bl_conv_args a = {.s = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 8, 8, 8, 0},
                          .in = &x,
                          .bias = &v[i].acc,
                          .mult = &mult,
                          .zero_in = 128,
                          .zero_out = 128,
                          .hi = 255};
        conv_every_row(a, &w, &v[i].wanted);
        a.mult = &other;
        conv_every_row(a, &w, &v[i].other);
    }
}

static bl_pair_args pair_of(const uint8_t *qa, const uint8_t *qb, bl_grid ga, bl_grid gb,
                            bl_grid gy)
{
    return (bl_pair_args){.a = qa,
                          .b = qb,
                          .a_bits = 8,
                          .b_bits = 8,
                          .out_bits = 8,
                          .rank = 1,
                          .size = {6},
                          .a_stride = {1},
                          .b_stride = {1},
                          .out_stride = {1},
                          .ga = ga,
                          .gb = gb,
                          .gy = gy,
                          .outer_end = 6};
}

static const uint8_t pair_a[6] = {128, 129, 130, 255, 0, 7},
                     pair_b[6] = {127, 129, 128, 255, 0, 130};

static void test_add(void **state)
{
    (void)state;
    static const uint8_t ties[6] = {3, 4, 4, 98, 0, 0}, other[6] = {101, 102, 102, 196, 5, 72};
    bl_pair_args a = pair_of(pair_a, pair_b, (bl_grid){.5f, 128, 0, 255},
                             (bl_grid){.25f, 127, 0, 255}, (bl_grid){1, 3, 0, 255});
    EVERY_ROW(BL_C_ADD, bl_pair_row, a, 6, 1, ties);
    a = pair_of(pair_a, pair_b, (bl_grid){.1f, 5, 0, 255}, (bl_grid){.2f, 9, 0, 255},
                (bl_grid){.4f, 11, 0, 255});
    EVERY_ROW(BL_C_ADD, bl_pair_row, a, 6, 1, other);
}

static void test_mul(void **state)
{
    (void)state;
    static const uint8_t wanted[6] = {32, 34, 36, 255, 15, 0};
    bl_pair_args a = pair_of(pair_a, pair_b, (bl_grid){.03f, 117, 0, 255},
                             (bl_grid){.011f, 3, 0, 255}, (bl_grid){.02f, 9, 0, 255});
    assert_int_equal(bits_of_float(.03f * .011f / .02f), 0x3c872b02);
    EVERY_ROW(BL_C_MUL, bl_pair_row, a, 6, 1, wanted);
}

/* 16-bit codes, products of 32 bits: 65294 * 65401 = 65159.5 * 2^16 - 98 is rounded to binary32
 * before it is scaled, which makes it a tie and 65160; 65293 * 65401 = 65158.5 * 2^16 + 37 likewise
 * 65158. */
static void test_mul_rounds_wide_products_first(void **state)
{
    (void)state;
    static const uint16_t a16[2] = {65294, 65293}, b16[2] = {65401, 65401},
                          wanted[2] = {65160, 65158};
    bl_grid g = {0x1p-16f, 0, 0, 65535};
    bl_pair_args a = {.a = a16,
                      .b = b16,
                      .a_bits = 16,
                      .b_bits = 16,
                      .out_bits = 16,
                      .rank = 1,
                      .size = {2},
                      .a_stride = {1},
                      .b_stride = {1},
                      .out_stride = {1},
                      .ga = g,
                      .gb = g,
                      .gy = g,
                      .outer_end = 2};
    EVERY_ROW(BL_C_MUL, bl_pair_row, a, 2, 2, wanted);
}

/* Padding is a real 0: it contributes the zero point. */
static void test_padding(void **state)
{
    (void)state;
    static const uint8_t x[3] = {10, 200, 3}, wanted[3] = {136, 0, 52};
    static const int8_t w[3] = {1, -2, 127};
    static const int32_t bias = 77;
    float mult = .02f * .01f / .03f;
    bl_conv_args a = {.s = {1, 3, 1, 1, 3, 1, 1, 1, 3, 1, 1, 1, 1, 0, 1, 8, 8, 8, 0},
                      .in = x,
                      .bias = &bias,
                      .mult = &mult,
                      .zero_in = 100,
                      .zero_out = 50,
                      .hi = 255};
    conv_every_row(a, w, wanted);
}

static void test_global_average(void **state)
{
    (void)state;
    /* planes [1 2 3 5] and [200 201 255 0], channels innermost */
    static const uint8_t x[8] = {1, 200, 2, 201, 3, 255, 5, 0}, wanted[2] = {6, 255};
    bl_pool_args a = {.in = x,
                      .bits_in = 8,
                      .bits_out = 8,
                      .in_h = 2,
                      .in_w = 2,
                      .c = 2,
                      .out_h = 1,
                      .out_w = 1,
                      .gx = {.05f, 2, 0, 255},
                      .gy = {.02f, 4, 0, 255},
                      .row_end = 1};
    EVERY_ROW(BL_C_GAP, bl_pool_row, a, 2, 1, wanted);
}

/* A fused activation's bounds hold for the maximum too; the last window lies in the padding. */
static void test_maximum(void **state)
{
    (void)state;
    static const uint8_t x[4] = {9, 30, 200, 4}, wanted[3] = {20, 150, 20};
    bl_grid g = {1, 0, 20, 150};
    bl_pool_args a = {.in = x,
                      .bits_in = 8,
                      .bits_out = 8,
                      .in_h = 1,
                      .in_w = 4,
                      .c = 1,
                      .out_h = 1,
                      .out_w = 3,
                      .kernel_h = 1,
                      .kernel_w = 2,
                      .stride_h = 1,
                      .stride_w = 3,
                      .dilation_h = 1,
                      .dilation_w = 1,
                      .pad_left = 1,
                      .gx = g,
                      .gy = g,
                      .row_end = 1};
    static const uint8_t first[1] = {9};
    EVERY_ROW(BL_C_MAXPOOL, bl_pool_row, a, 3, 1, wanted);
    a.gy.lo = 0;
    a.out_w = 1;
    EVERY_ROW(BL_C_MAXPOOL, bl_pool_row, a, 1, 1, first);
}

static double sigmoid(double x)
{
    return 1 / (1 + exp(-x));
}

static double identity(double x)
{
    return x;
}

static void fill_table(uint8_t *table, double (*g)(double), bl_grid from, bl_grid to)
{
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)bl_quantize((float)g((double)bl_dequantize(i, from)), to);
}

static void test_table(void **state)
{
    (void)state;
    static const uint8_t x[7] = {0, 1, 64, 128, 129, 200, 255};
    static const uint8_t squashed[7] = {1, 1, 12, 128, 131, 248, 255};
    static const uint8_t rescaled[7] = {0, 0, 0, 70, 71, 156, 222};
    uint8_t table[256];
    fill_table(table, sigmoid, (bl_grid){.047f, 128, 0, 255}, (bl_grid){1.0f / 256, 0, 0, 255});
    bl_table_args a = {.in = x, .in_bits = 8, .out_bits = 8, .table = table, .n = 7};
    EVERY_ROW(BL_C_TABLE, bl_table_row, a, 7, 1, squashed);
    fill_table(table, identity, (bl_grid){.03f, 120, 0, 255}, (bl_grid){.025f, 60, 0, 255});
    bl_move_args m = {.in = x,
                      .in_bits = 8,
                      .out_bits = 8,
                      .rank = 1,
                      .size = {7},
                      .in_stride = {1},
                      .out_stride = {1},
                      .table = table};
    EVERY_ROW(BL_C_MOVE, bl_move_row, m, 7, 1, rescaled);
}

/* The signed example 127 100 0 -128 -> 112 -112 -128 -128, codes and zero points raised by 128. */
static void test_softmax(void **state)
{
    (void)state;
    static const uint8_t x[4] = {255, 228, 128, 0}, wanted[4] = {240, 16, 0, 0};
    const float sx = .1f;
    double b = fmax(0, log(3.4028234663852886e38 / 4) - 5) / (double)sx;
    float table[256];
    for (int i = 0; i < 256; i++) table[i] = (float)exp((i - 255 + b) * (double)sx);
    bl_softmax_args a = {.in = x,
                         .in_bits = 8,
                         .out_bits = 8,
                         .rows = 1,
                         .d = 4,
                         .table = table,
                         .gx = {sx, 131, 0, 255},
                         .gy = {1.0f / 256, 0, 0, 255}};
    EVERY_ROW(BL_C_SOFTMAX, bl_softmax_row, a, 4, 1, wanted);
}

/* Codes 0 2 4 6: mean 3, V = 4 * 56 - 12 * 12 = 80; with 20 more r = 1/10 and u r = -1.2 -0.4 0.4 1.2.  The third is a tie. */
static void test_layernorm(void **state)
{
    (void)state;
    static const uint8_t x[8] = {0, 2, 4, 6, 255, 255, 255, 255}, codes[8] = {76, 98, 102, 250, 100, 100, 100, 250};
    static const float gain[4] = {20, 5, 5, 25}, shift[4] = {0, 0.25f, 0.5f, 150};
    bl_layernorm_args a = {.in = x,
                           .in_bits = 8,
                           .out_bits = 8,
                           .rows = 2,
                           .d = 4,
                           .gain = gain,
                           .shift = shift,
                           .floor = 20,
                           .gy = {1, 100, 0, 250}};
    EVERY_ROW(BL_C_LAYERNORM, bl_layernorm_row, a, 8, 1, codes);
    a.gain = shift; /* no variance and nothing beside it: no number, the least code */
    a.floor = 0;
    a.gy.lo = 7;
    a.in = x + 4;
    a.rows = 1;
    static const uint8_t least[4] = {7, 7, 7, 7};
    EVERY_ROW(BL_C_LAYERNORM, bl_layernorm_row, a, 4, 1, least);
}

/* int64 accumulators: 70000 products of 255 * 127 leave int32, and the result is still exact. */
static void test_wide_accumulator(void **state)
{
    (void)state;
    enum { K = 70000 };
    uint8_t *x = test_take(K), out = 0;
    int8_t *w = test_take(K);
    memset(x, 255, K);
    memset(w, 127, K);
    static const int32_t bias = 0;
    float mult = 0x1p-26f; /* 2,266,950,000 * 2^-26 = 33.78 */
    bl_conv_args a = {.s = {1, 1, K, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 8, 8, 8, 1},
                      .in = x,
                      .out = &out,
                      .bias = &bias,
                      .mult = &mult,
                      .hi = 255,
                      .row_end = 1};
    const bl_kernel_info *k = bl_kernel_choose(BL_C_CONV, &a.s, bl_isa_best(), NULL);
    assert_string_equal(k->name, "conv_ref");
    const bl_conv_row *row = k->row;
    void *packed = test_take(row->packed_bytes(&a.s));
    row->pack(&a.s, w, 0, &bias, packed);
    a.packed = packed;
    row->run(&a);
    assert_int_equal(out, 34);
    free(packed);
    free(x);
    free(w);
}

#if defined(__x86_64__)
static int tiles_asked;

static bool granted(void)
{
    tiles_asked++;
    return true;
}

static bool refused(void)
{
    tiles_asked++;
    return false;
}

/* A CPU with everything up to AMX, its system's XCR0 and answer; which sets may run, as a string of 0 and 1. */
static const char *sets_of(uint32_t no_c1, uint64_t xcr0, uint32_t no_d7, bool (*answer)(void))
{
    static char text[BL_N_ISA + 1];
    bool here[BL_N_ISA] = {[BL_ISA_REF] = true};
    bl_x86_facts x = {.c1 = (1u << 12 | 1u << 27 | 1u << 28) & ~no_c1, .a71 = 1u << 4, .c7 = 1u << 1 | 1u << 11, .xcr0 = xcr0,
                      .b7 = 1u << 5 | 1u << 8 | 1u << 16 | 1u << 17 | 1u << 30 | 1u << 31, .d7 = (1u << 24 | 1u << 25) & ~no_d7,
                      .may_use_tiles = answer};
    tiles_asked = 0;
    bl_x86_isas(&x, here);
    for (int i = 0; i < BL_N_ISA; i++) text[i] = here[i] ? '1' : '0';
    text[BL_ISA_AMX + 1] = 0;
    return text;
}

/* What the system does not give is not used, and the next best is: ref, AVX2, AVX-VNNI, AVX-512, VBMI, AMX. */
static void test_what_the_system_refuses(void **state)
{
    (void)state;
    enum { ALL = 0x600e7, NO_TILES = 0xe7, NO_ZMM = 0x60007, SSE = 3 };
    assert_string_equal(sets_of(0, ALL, 0, granted), "111111");
    assert_int_equal(tiles_asked, 1);
    assert_string_equal(sets_of(0, ALL, 0, refused), "111110");
    assert_int_equal(tiles_asked, 1);
    assert_string_equal(sets_of(0, NO_TILES, 0, granted), "111110");
    assert_string_equal(sets_of(0, ALL, 1u << 25, granted), "111110"); /* tiles without int8 */
    assert_string_equal(sets_of(0, NO_ZMM, 0, granted), "111000");
    assert_string_equal(sets_of(0, SSE, 0, granted), "100000");
    assert_string_equal(sets_of(1u << 27, ALL, 0, granted), "100000"); /* no OSXSAVE */
    assert_int_equal(tiles_asked, 0); /* only where all else is there */
}

/* Without tiles a layer that they would have taken goes to a row of the set below. */
static void test_rows_without_tiles(void **state)
{
    (void)state;
    bl_conv_shape s = {28, 28, 128, 28, 28, 128, 1, 3, 3, 1, 1, 1, 1, 1, 1, 8, 8, 8, 0};
    assert_int_equal(((const bl_conv_row *)bl_kernel_choose(BL_C_CONV, &s, BL_ISA_AMX, NULL)->row)->isa,
                     bl_isa_here(BL_ISA_AMX) ? BL_ISA_AMX : BL_MIN(bl_isa_best(), BL_ISA_AVX512));
}

/* Channels that never meet go to rows made for them, whatever else the cap allows. */
static void test_rows_of_depthwise_layers(void **state)
{
    (void)state;
    static const struct { bl_isa cap; const char *slides, *any; } wanted[] = {
        {BL_ISA_REF, "conv_depthwise_base", "conv_depthwise_base"},
        {BL_ISA_AVX2, "conv_depthwise_slide_avx2", "conv_depthwise_avx2"},
        {BL_ISA_AVXVNNI, "conv_depthwise_slide_avxvnni", "conv_depthwise_avx2"},
        {BL_ISA_AVX512, "conv_depthwise_vnni_avx512", "conv_depthwise_vnni_avx512"},
        {BL_ISA_AMX, "conv_depthwise_vnni_avx512", "conv_depthwise_vnni_avx512"},
    };
    for (size_t i = 0; i < BL_COUNTOF(wanted); i++) {
        bl_isa cap = wanted[i].cap;
        if (!bl_isa_here(cap)) {
            print_message("skipped: depthwise layers up to %s: not here\n", bl_isa_name(cap));
            continue;
        }
        for (int32_t c = 32; c <= 96; c += 32)
            for (int32_t k = 3; k <= 7; k += 2)
                for (int32_t stride = 1; stride <= 2; stride++) {
                    int32_t out = (14 + 2 * (k / 2) - k) / stride + 1;
                    bl_conv_shape s = {14, 14, c, out, out, c, c, k, k, stride, stride, 1, 1, k / 2, k / 2, 8, 8, 8, 0};
                    assert_string_equal(bl_kernel_choose(BL_C_CONV, &s, cap, NULL)->name, k <= 5 ? wanted[i].slides : wanted[i].any);
                }
    }
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
#if defined(__x86_64__)
        cmocka_unit_test(test_what_the_system_refuses),
        cmocka_unit_test(test_rows_without_tiles),
        cmocka_unit_test(test_rows_of_depthwise_layers),
#endif
        cmocka_unit_test(test_table_is_in_order),
        cmocka_unit_test(test_rows_agree_with_their_lines),
        cmocka_unit_test(test_choice_follows_cap_and_name),
        cmocka_unit_test(test_instruction_sets),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_quantize),
        cmocka_unit_test(test_dequantize),
        cmocka_unit_test(test_requantize),
        cmocka_unit_test(test_scale_order),
        cmocka_unit_test(test_add),
        cmocka_unit_test(test_mul),
        cmocka_unit_test(test_mul_rounds_wide_products_first),
        cmocka_unit_test(test_padding),
        cmocka_unit_test(test_global_average),
        cmocka_unit_test(test_maximum),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_softmax),
        cmocka_unit_test(test_layernorm),
        cmocka_unit_test(test_wide_accumulator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
