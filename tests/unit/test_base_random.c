/* SPDX-License-Identifier: BSD-3-Clause */
/* Random numbers that must never change, their ranges; hashes that must never change. */
#include <math.h>

#include "support.h"

/* First outputs of the authors' C code for the state 1, 2, 3, 4. */
static void test_generator_is_xoshiro256pp(void **state)
{
    (void)state;
    static const uint64_t wanted[] = {
        UINT64_C(41943041),
        UINT64_C(58720359),
        UINT64_C(3588806011781223),
        UINT64_C(3591011842654386),
        UINT64_C(9228616714210784205),
        UINT64_C(9973669472204895162),
    };
    bl_rng r = {.s = {1, 2, 3, 4}};
    for (size_t i = 0; i < BL_COUNTOF(wanted); i++) assert_true(bl_rng_u64(&r) == wanted[i]);
}

/* Records and golden files lean on these. */
static void test_streams_stay(void **state)
{
    (void)state;
    bl_rng a = bl_rng_make(1, "weights", 0);
    assert_true(bl_rng_u64(&a) == UINT64_C(0x68119203fcd2c541));
    assert_true(bl_rng_u64(&a) == UINT64_C(0x4b27e4c9dfdb6246));
    bl_rng b = bl_rng_make(1, "weights", 1);
    assert_true(bl_rng_u64(&b) == UINT64_C(0x8a763fcd9a1d7590));
    bl_rng c = bl_rng_make(1, "weight", 0), d = bl_rng_make(2, "weights", 0);
    assert_true(bl_rng_u64(&c) != UINT64_C(0x68119203fcd2c541) &&
                bl_rng_u64(&d) != UINT64_C(0x68119203fcd2c541));
    bl_rng again = bl_rng_make(1, "weights", 0);
    assert_true(bl_rng_u64(&again) == UINT64_C(0x68119203fcd2c541));
    uint32_t items[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    static const uint32_t shuffled[8] = {4, 5, 1, 3, 7, 2, 0, 6};
    bl_rng s = bl_rng_make(7, "shuffle", 0);
    bl_rng_shuffle(&s, items, 8);
    assert_memory_equal(items, shuffled, sizeof(items));
}

static void test_ranges(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(3, "ranges", 0);
    int seen[7] = {0};
    double sum = 0, squares = 0;
    for (int i = 0; i < 70000; i++) {
        uint64_t k = bl_rng_below(&r, 7);
        assert_true(k < 7);
        seen[k]++;
        double u = bl_rng_unit(&r);
        assert_true(u >= 0 && u < 1);
        double n = bl_rng_normal(&r);
        sum += n;
        squares += n * n;
    }
    /* 10000 +- 5 standard deviations (92.6); mean and variance likewise. */
    for (int k = 0; k < 7; k++) assert_true(abs(seen[k] - 10000) < 463);
    assert_true(fabs(sum / 70000) < 0.019);
    assert_true(fabs(squares / 70000 - 1) < 0.027);
    assert_int_equal(bl_rng_below(&r, 1), 0);
    for (int i = 0; i < 1000; i++) assert_true(bl_rng_below(&r, UINT64_MAX) < UINT64_MAX);
    /* n just above 2^63 throws nearly half of the draws away. */
    for (int i = 0; i < 1000; i++)
        assert_true(bl_rng_below(&r, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
    bl_rng_shuffle(&r, NULL, 0);
}

static void test_hashes_stay(void **state)
{
    (void)state;
    assert_string_equal(bl_hash_of(NULL, 0).hex, "99aa06d3014798d86001c324468d497f");
    assert_true(bl_checksum(NULL, 0) == UINT64_C(0x2d06800538d394c2));
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    char text[5000];
    for (size_t i = 0; i < sizeof(text); i++) text[i] = (char)(i * 7);
    bl_hash whole = bl_hash_of(text, sizeof(text));
    for (size_t step = 1; step < 3000; step = step * 2 + 1) { /* in pieces: the same */
        bl_hasher *h = bl_hasher_new(arena);
        for (size_t at = 0; at < sizeof(text); at += step)
            bl_hash_bytes(h, text + at, BL_MIN(step, sizeof(text) - at));
        assert_string_equal(bl_hash_end(h).hex, whole.hex);
    }
    text[4321] ^= 1;
    assert_string_not_equal(bl_hash_of(text, sizeof(text)).hex, whole.hex);

    bl_hasher *h = bl_hasher_new(arena);
    bl_hash_text(h, "ab");
    bl_hash_text(h, "c");
    bl_hasher *g = bl_hasher_new(arena);
    bl_hash_text(g, "a");
    bl_hash_text(g, "bc");
    assert_string_not_equal(bl_hash_end(h).hex, bl_hash_end(g).hex);
    h = bl_hasher_new(arena);
    bl_hash_i64(h, -2);
    bl_hash_f64(h, 0.1);
    bl_hash_text(h, "conv3");
    assert_string_equal(bl_hash_end(h).hex, "c2c0f46394b38fc55ab66f9deb97c7d2");
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_generator_is_xoshiro256pp),
        cmocka_unit_test(test_streams_stay),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_hashes_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
