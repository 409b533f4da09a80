/* SPDX-License-Identifier: BSD-3-Clause */
/* Arenas: alignment, zeroing, marks, the ceiling, and allocations made to fail. */
#include "support.h"

#include <stdlib.h>
#include <unistd.h>

static void test_alignment_and_zero(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    assert_non_null(arena);
    assert_ptr_equal(bl_arena_ctx(arena), ctx);
    bl_rng r = bl_rng_make(1, "sizes", 0);
    for (int i = 0; i < 3000; i++) {
        size_t size = (size_t)bl_rng_below(&r, i % 50 == 0 ? 200000 : 300);
        uint8_t *p = bl_alloc(arena, size, 1);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (size >= 64 ? 64 : 16), 0);
        for (size_t k = 0; k < size; k++) assert_int_equal(p[k], 0);
        memset(p, 0xA5, size); /* a neighbour that overlaps would see it */
    }
    assert_non_null(bl_alloc(arena, 0, 8));
    assert_non_null(bl_alloc(arena, 8, 0));
    bl_arena_free(arena);
    bl_arena_free(NULL);
    test_ctx_free(ctx);
}

/* Every size around the switch from blocks to own allocations, with the last byte used. */
static void test_boundary_sizes(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    for (size_t size = 32700; size < 32840; size++) {
        char *p = bl_alloc(arena, 1, size);
        p[0] = p[size - 1] = 1;
    }
    for (size_t size = 65500; size < 65560; size++) {
        char *p = bl_alloc(arena, 1, size);
        p[0] = p[size - 1] = 1;
    }
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

static void test_marks(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mark empty = bl_arena_mark(arena);
    uint64_t bare, now;
    bl_memory_use(ctx, &bare, NULL);
    char *keep = bl_strdup(arena, "kept");
    char *big = bl_alloc(arena, 1, 1 << 20); /* before the mark: stays */
    memset(big, 7, 1 << 20);
    bl_mark mark = bl_arena_mark(arena);
    uint64_t held;
    bl_memory_use(ctx, &held, NULL);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 300; i++) {
            size_t size = i % 40 == 0 ? 400000 : 1000;
            uint8_t *p = bl_alloc(arena, size, 1);
            for (size_t k = 0; k < size; k += 97) assert_int_equal(p[k], 0); /* again zero */
            memset(p, 0xFF, size);
        }
        bl_arena_reset(arena, mark);
        bl_memory_use(ctx, &now, NULL);
        assert_true(now <= held + (4u << 20) + 4096); /* at most the spare block more */
    }
    assert_string_equal(keep, "kept");
    assert_int_equal(big[0], 7);
    assert_int_equal(big[(1 << 20) - 1], 7);

    bl_mark inner = bl_arena_mark(arena);
    assert_non_null(bl_alloc(arena, 1, 1 << 20)); /* first thing after a mark */
    bl_arena_reset(arena, inner);
    assert_int_equal(big[5], 7);
    bl_arena_reset(arena, empty);
    uint8_t *p = bl_alloc(arena, 1, 60000);
    for (size_t k = 0; k < 60000; k++) assert_int_equal(p[k], 0);
    bl_arena_reset(arena, empty);
    bl_memory_use(ctx, &now, NULL);
    assert_true(now <= bare + (4u << 20) + 4096);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

static void test_ceiling(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 1 << 20);
    bl_arena *arena = bl_arena_new(ctx, "weights");
    assert_null(bl_alloc(arena, 1, 1 << 20));
    bl_error e = bl_last_error(ctx);
    assert_int_equal(e.code, BL_UNAVAILABLE);
    assert_string_equal(e.place, "weights");
    assert_non_null(strstr(e.what, "needs 1.0 MiB"));
    assert_non_null(strstr(e.remedy, "--memory"));
    assert_null(bl_alloc(arena, SIZE_MAX / 2, 3)); /* the product overflows */
    assert_int_equal(bl_last_error(ctx).code, BL_UNAVAILABLE);
    assert_null(bl_alloc(arena, 1, SIZE_MAX - 8)); /* the padding would */

    /* Near the ceiling small requests are still served, and nothing beyond it ever. */
    size_t got = 0;
    while (bl_alloc(arena, 1, 1000)) got += 1000;
    assert_true(got > 900000);
    uint64_t now, peak;
    bl_memory_use(ctx, &now, &peak);
    assert_true(now <= 1 << 20 && peak <= 1 << 20 && peak >= now);
    bl_arena *second = bl_arena_new(ctx, "second");
    if (second) assert_null(bl_alloc(second, 1, 100000));
    bl_arena_free(second);
    bl_arena_free(arena);
    bl_memory_use(ctx, &now, &peak);
    assert_int_equal(now, 0);
    assert_true(peak > 900000);
    arena = bl_arena_new(ctx, "again"); /* what was given back can be had again */
    assert_non_null(bl_alloc(arena, 1, 900000));
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

/* Held blocks on both sides of a large page: zeroed, of exactly the promised size, given out again zeroed after a reset,
 * and given back. */
static void test_hold(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    static const size_t sizes[] = {1, 60000, (2 << 20) - 4096, 2 << 20, (2 << 20) + 1, (5 << 20) + 77};
    for (size_t i = 0; i < BL_COUNTOF(sizes); i++) {
        uint64_t before, held, now;
        bl_memory_use(ctx, &before, NULL);
        bl_arena *arena = bl_arena_new(ctx, "held");
        assert_non_null(arena);
        size_t room = bl_arena_room(sizes[i]);
        assert_int_equal(bl_arena_hold(arena, room), BL_OK);
        bl_memory_use(ctx, &held, NULL);
        assert_int_equal(held - before, bl_arena_hold_bytes(room));
        bl_mark mark = bl_arena_mark(arena);
        for (int round = 0; round < 2; round++) {
            uint8_t *p = bl_alloc(arena, sizes[i], 1);
            assert_non_null(p);
            assert_int_equal((uintptr_t)p % (sizes[i] >= 64 ? 64 : 16), 0);
            for (size_t k = 0; k < sizes[i]; k++) assert_int_equal(p[k], 0);
            memset(p, 0xA5, sizes[i]);
            bl_memory_use(ctx, &now, NULL);
            assert_int_equal(now, held); /* nothing more from the system */
            bl_arena_reset(arena, mark);
        }
        bl_arena_free(arena);
        bl_memory_use(ctx, &now, NULL);
        assert_int_equal(now, before);
    }
    test_ctx_free(ctx);
    ctx = test_ctx(1, 3 << 20);
    bl_arena *arena = bl_arena_new(ctx, "held");
    assert_non_null(arena);
    assert_int_equal(bl_arena_hold(arena, 4 << 20), BL_UNAVAILABLE);
    assert_int_equal(bl_arena_hold(arena, 2 << 20), BL_OK);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

/* What memory has no room for lies on disk: zeroed, uncounted, gone with the reset; where no disk is to be had the
 * ceiling holds. */
static void test_spill(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 8 << 20);
    bl_arena *arena = bl_arena_new(ctx, "samples");
    uint64_t before, now;
    char folder[] = "/tmp/bitlathe-spill-XXXXXX";
    assert_non_null(mkdtemp(folder));
    setenv("TMPDIR", folder, 1);
    assert_null(bl_alloc(arena, 16, 1 << 20)); /* nobody asked for the disk yet */
    bl_arena_spill(arena);
    bl_mark mark = bl_arena_mark(arena);
    for (int round = 0; round < 2; round++) {
        uint8_t *small = bl_alloc(arena, 3, 512 << 10); /* fits: counted */
        bl_memory_use(ctx, &before, NULL);
        assert_true(before > 3 << 19);
        uint8_t *p = bl_alloc(arena, 16, 1 << 20), *q = bl_alloc(arena, 5, 1 << 20);
        assert_true(small && p && q && (uintptr_t)p % 64 == 0);
        bl_memory_use(ctx, &now, NULL);
        assert_true(now < before + (1 << 17));
        for (size_t i = 0; i < 16 << 20; i += 4093) assert_int_equal(p[i], 0);
        memset(p, round + 1, 16 << 20);
        memset(q, 9, 5 << 20);
        assert_int_equal(p[(16 << 20) - 1], round + 1);
        assert_int_equal(small[1234], 0);
        bl_arena_reset(arena, mark);
    }
    assert_int_equal(rmdir(folder), 0); /* no file has a name */
    assert_null(bl_alloc(arena, 16, 1 << 20));
    assert_non_null(strstr(bl_last_error(ctx).what, "needs 16.0 MiB"));
    unsetenv("TMPDIR");
    bl_arena_free(arena);
    bl_memory_use(ctx, &now, NULL);
    assert_int_equal(now, 0);
    test_ctx_free(ctx);
}

static bl_status three_allocations(bl_ctx *ctx)
{
    bl_arena *arena = bl_arena_new(ctx, "a");
    BL_ALLOC_TRY(ctx, arena);
    bl_status status = BL_OK;
    char *text = bl_format(arena, "%d-%s", 12, "x");
    int32_t *numbers = BL_NEW(arena, int32_t, 100000);
    if (!text || !numbers)
        status = bl_pending(ctx);
    else
        assert_string_equal(text, "12-x");
    bl_arena_free(arena);
    return status;
}

static void test_failing_allocations(void **state)
{
    (void)state;
    for (int n = 1; n <= 4; n++) {
        char text[16];
        snprintf(text, sizeof(text), "%d", n);
        setenv("BL_FAIL_ALLOC", text, 1);
        bl_ctx *ctx = test_ctx(1, 0);
        unsetenv("BL_FAIL_ALLOC");
        /* The n-th allocation, only that one, and the fourth is the first of the second call. */
        assert_int_equal(three_allocations(ctx), n <= 3 ? BL_UNAVAILABLE : BL_OK);
        assert_int_equal(three_allocations(ctx), n <= 3 ? BL_OK : BL_UNAVAILABLE);
        assert_ok(ctx, three_allocations(ctx));
        test_ctx_free(ctx);
    }
}

static void test_text_and_products(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    assert_string_equal(bl_strndup(arena, "abcdef", 3), "abc");
    assert_string_equal(bl_strndup(arena, "ab", 9), "ab");
    assert_string_equal(bl_strdup(arena, ""), "");
    size_t s;
    int64_t v;
    assert_true(bl_mul_size(SIZE_MAX / 3, 3, &s) && s == SIZE_MAX / 3 * 3);
    assert_false(bl_mul_size(SIZE_MAX / 2, 3, &s));
    assert_true(bl_mul_i64(INT64_MIN, 1, &v) && v == INT64_MIN);
    assert_false(bl_mul_i64(INT64_MIN, -1, &v));
    assert_true(bl_add_i64(INT64_MAX, -1, &v) && v == INT64_MAX - 1);
    assert_false(bl_add_i64(INT64_MAX, 1, &v));
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_alignment_and_zero),
        cmocka_unit_test(test_boundary_sizes),
        cmocka_unit_test(test_marks),
        cmocka_unit_test(test_ceiling),
        cmocka_unit_test(test_hold),
        cmocka_unit_test(test_spill),
        cmocka_unit_test(test_failing_allocations),
        cmocka_unit_test(test_text_and_products),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
