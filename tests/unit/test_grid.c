/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one definition of scale and rounding: ties, ends, not-a-number, what a round trip keeps, and
 * why a fused activation may be a clamp of the code.
 */
#include <fenv.h>
#include <math.h>

#include "base/grid.h"
#include "support.h"

/* The addition trick is rint() wherever it is used, to both ends of its range. */
static void test_rounding_is_to_even(void **state)
{
    (void)state;
    static const float ties[][2] = {{0.5f, 0},         {1.5f, 2},          {2.5f, 2},
                                    {-0.5f, 0},        {-1.5f, -2},        {-2.5f, -2},
                                    {65534.5f, 65534}, {-65535.5f, -65536}};
    for (size_t i = 0; i < BL_COUNTOF(ties); i++) assert_true(bl_rne_f32(ties[i][0]) == ties[i][1]);
    bl_rng r = bl_rng_make(1, "rounding", 0);
    for (int i = 0; i < 200000; i++) {
        float t = (float)((bl_rng_unit(&r) * 2 - 1) * (i % 2 ? 4194303.0 : 300.0));
        assert_true(bl_rne_f32(t) == rintf(t));
        float tie = floorf(t / 16) + 0.5f;
        assert_true(bl_rne_f32(tie) == rintf(tie));
    }
}

static void test_quantize_clamps_before_it_rounds(void **state)
{
    (void)state;
    bl_grid g = {0.1f, 128, 0, 255};
    assert_int_equal(bl_quantize(NAN, g), 0);
    assert_int_equal(bl_quantize(INFINITY, g), 255);
    assert_int_equal(bl_quantize(-INFINITY, g), 0);
    assert_int_equal(bl_quantize(3.4e38f, g), 255);
    assert_int_equal(bl_quantize(-0.0f, g), 128);
    assert_int_equal(bl_quantize(0.05f, g), 128); /* a tie: 0.5 goes to 0 */
    bl_grid s = {0.25f, -3, -128, 127};
    assert_int_equal(bl_quantize(0.125f, s), -3);
    assert_int_equal(bl_quantize(0.375f, s), -1);
    assert_int_equal(bl_quantize(-1e9f, s), -128);
    bl_grid one = {2, 0, 0, 0}; /* a grid of one code */
    assert_int_equal(bl_quantize(77, one), 0);
    bl_grid wide = {1e-3f, 65535, 0, 65535};
    assert_int_equal(bl_quantize(-65.5351f, wide), 0);
    assert_int_equal(bl_quantize(-0.0005f, wide), 65535);
}

/* A division, not a product with the reciprocal: this x tells them apart. */
static void test_quantize_divides(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(1, "division", 0);
    int different = 0;
    for (int i = 0; i < 300000; i++) {
        float s = (float)(0.001 + bl_rng_unit(&r));
        float x = ((float)bl_rng_below(&r, 255) + 0.5f) * s;
        bl_grid g = {s, 0, 0, 255};
        int32_t wanted = (int32_t)rintf(x / s), product = (int32_t)rintf(x * (1 / s));
        assert_int_equal(bl_quantize(x, g), wanted);
        different += product != wanted;
    }
    assert_true(different > 0);
}

/* Every code of every width comes back from its real number. */
static void test_round_trip(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(1, "round trip", 0);
    for (int bits = 1; bits <= 16; bits++)
        for (int k = 0; k < 5; k++) {
            int32_t hi = (1 << bits) - 1;
            bl_grid g = {(float)exp(bl_rng_normal(&r) * 5),
                         (int32_t)bl_rng_below(&r, (uint64_t)hi + 1), 0, hi};
            for (int32_t q = 0; q <= hi; q += 1 + hi / 2000) {
                assert_int_equal(bl_quantize(bl_dequantize(q, g), g), q);
                assert_true(bl_fake_quantize(bl_dequantize(q, g), g) == bl_dequantize(q, g));
            }
        }
}

/* clamp(round(t)) = round(clamp(t)) for integer bounds: a fused activation needs no second pass. */
static void test_fused_bounds(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(1, "bounds", 0);
    for (int i = 0; i < 200000; i++) {
        float acc = (float)((int32_t)bl_rng_below(&r, 2000001) - 1000000);
        float m = (float)exp(bl_rng_normal(&r) * 2 - 8);
        int32_t zero = (int32_t)bl_rng_below(&r, 256);
        int32_t lo = (int32_t)bl_rng_below(&r, 256),
                hi = lo + (int32_t)bl_rng_below(&r, (uint64_t)(256 - lo));
        int32_t whole = bl_requantize_f32(acc, m, zero, 0, 255);
        int32_t cut = whole < lo ? lo : whole > hi ? hi : whole;
        assert_int_equal(bl_requantize_f32(acc, m, zero, lo, hi), cut);
    }
}

/* The rounding mode is the default one, and nothing here changes it. */
static void test_rounding_mode(void **state)
{
    (void)state;
    assert_int_equal(fegetround(), FE_TONEAREST);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rounding_is_to_even),
        cmocka_unit_test(test_quantize_clamps_before_it_rounds),
        cmocka_unit_test(test_quantize_divides),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_fused_bounds),
        cmocka_unit_test(test_rounding_mode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
