/* SPDX-License-Identifier: BSD-3-Clause */
/* bl_parallel_for: every piece once, errors of the smallest piece, nesting, interruption. */
#include "support.h"

#include <time.h>

#define N 2000

typedef struct job {
    bl_ctx *ctx;
    int calls[N];
    unsigned worst;   /* largest worker number seen */
    size_t fail_from; /* pieces from here on fail */
    int silent;       /* ... without an error text */
    long sum;
} job;

static bl_status count(void *arg, size_t i, unsigned worker)
{
    job *j = arg;
    __atomic_fetch_add(&j->calls[i], 1, __ATOMIC_RELAXED);
    unsigned seen = __atomic_load_n(&j->worst, __ATOMIC_RELAXED);
    while (worker > seen && !__atomic_compare_exchange_n(&j->worst, &seen, worker, false,
                                                         __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
    if (i < j->fail_from) return BL_OK;
    if (j->silent) return BL_DATA;
    char place[32];
    snprintf(place, sizeof(place), "piece %zu", i);
    bl_fail(j->ctx, BL_DATA, place, "", "went wrong");
    return bl_fail_within(j->ctx, "outer");
}

static void test_every_piece_once(void **state)
{
    (void)state;
    for (unsigned t = 1; t <= 8; t++) {
        bl_ctx *ctx = test_ctx(t, 0);
        for (size_t n = 0; n < 200; n++) {
            job j = {.ctx = ctx, .fail_from = N};
            assert_ok(ctx, bl_parallel_for(ctx, n, count, &j));
            for (size_t i = 0; i < N; i++) assert_int_equal(j.calls[i], i < n);
            assert_true(j.worst < t);
        }
        test_ctx_free(ctx);
    }
}

static void test_smallest_failure_wins(void **state)
{
    (void)state;
    for (unsigned t = 1; t <= 6; t++) {
        bl_ctx *ctx = test_ctx(t, 0);
        for (size_t from = 0; from < 400; from++) {
            job j = {.ctx = ctx, .fail_from = from};
            char place[64];
            snprintf(place, sizeof(place), "outer: piece %zu", from);
            assert_int_equal(bl_parallel_for(ctx, N, count, &j), BL_DATA);
            assert_string_equal(bl_last_error(ctx).place, place);
            for (size_t i = 0; i <= from; i++) assert_int_equal(j.calls[i], 1);
        }
        job j = {.ctx = ctx, .fail_from = 7, .silent = 1};
        bl_fail(ctx, BL_IO, "stale", "", "of an earlier call");
        assert_int_equal(bl_parallel_for(ctx, N, count, &j), BL_DATA);
        if (t > 1) assert_fails(ctx, BL_DATA, BL_DATA, "piece 7");
        test_ctx_free(ctx);
    }
}

static bl_status inner(void *arg, size_t i, unsigned worker)
{
    job *j = arg;
    assert_int_equal(worker, 0); /* serial: one scratch is enough */
    __atomic_fetch_add(&j->sum, (long)i, __ATOMIC_RELAXED);
    if (i >= j->fail_from) return bl_fail(j->ctx, BL_IO, "inner", "", "piece %zu", i);
    return BL_OK;
}

static bl_status outer(void *arg, size_t i, unsigned worker)
{
    (void)i;
    (void)worker;
    job *j = arg;
    return bl_parallel_for(j->ctx, 10, inner, j);
}

static void test_nested_calls_run_serially(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(4, 0);
    job j = {.ctx = ctx, .fail_from = N};
    assert_ok(ctx, bl_parallel_for(ctx, 100, outer, &j));
    assert_int_equal(j.sum, 4500);
    j.fail_from = 3;
    assert_fails(ctx, bl_parallel_for(ctx, 100, outer, &j), BL_IO, "piece 3");
    test_ctx_free(ctx);
}

static bl_status allocate(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    job *j = arg;
    bl_arena *arena = bl_arena_new(j->ctx, "piece");
    BL_ALLOC_TRY(j->ctx, arena);
    void *p = bl_alloc(arena, 1 + i % 100, 100);
    bl_status status = p ? BL_OK : bl_pending(j->ctx);
    bl_arena_free(arena);
    return status;
}

static void test_arenas_in_pieces(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(4, 0);
    job j = {.ctx = ctx};
    assert_ok(ctx, bl_parallel_for(ctx, N, allocate, &j));
    ctx->fail_alloc = 500;
    assert_fails(ctx, bl_parallel_for(ctx, N, allocate, &j), BL_UNAVAILABLE, "piece");
    assert_ok(ctx, bl_parallel_for(ctx, N, allocate, &j));
    test_ctx_free(ctx);
}

static bl_status interrupt_at_50(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    job *j = arg;
    __atomic_fetch_add(&j->calls[i], 1, __ATOMIC_RELAXED);
    if (i == 50) bl_interrupt(j->ctx);
    return BL_OK;
}

static void test_interruption(void **state)
{
    (void)state;
    for (unsigned t = 1; t <= 3; t += 2) {
        bl_ctx *ctx = test_ctx(t, 0);
        job j = {.ctx = ctx};
        assert_fails(ctx, bl_parallel_for(ctx, N, interrupt_at_50, &j), BL_INTERRUPTED,
                     "interrupted");
        assert_int_equal(j.calls[N - 1], 0);
        test_ctx_free(ctx);
    }
}

static void loud(void *user, const char *line)
{
    job *j = user;
    assert_non_null(strstr(line, "note"));
    j->sum++; /* no atomic: notes come one at a time */
}

static bl_status note(void *arg, size_t i, unsigned worker)
{
    (void)worker;
    job *j = arg;
    bl_note(j->ctx, "note %zu", i);
    return BL_OK;
}

static void test_notes_come_one_at_a_time(void **state)
{
    (void)state;
    job j = {0};
    bl_options options = {.threads = 4, .note = loud, .user = &j};
    assert_int_equal(bl_ctx_new(&options, &j.ctx), BL_OK);
    assert_ok(j.ctx, bl_parallel_for(j.ctx, N, note, &j));
    assert_int_equal(j.sum, N);
    test_ctx_free(j.ctx);
}

/* A helper's pieces take so long that the caller, who has the first one, goes to sleep. */
static bl_status linger(void *arg, size_t i, unsigned worker)
{
    job *j = arg;
    __atomic_fetch_add(&j->calls[i], 1, __ATOMIC_RELAXED);
    if (worker > 0) nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
    return BL_OK;
}

/* Whoever sleeps is woken: helpers that waited long for a job, and the caller that waits long for helpers. */
static void test_sleepers_are_woken(void **state)
{
    (void)state;
    for (unsigned t = 2; t <= 5; t++) {
        bl_ctx *ctx = test_ctx(t, 0);
        for (int round = 0; round < 8; round++) {
            job j = {.ctx = ctx, .fail_from = N};
            nanosleep(&(struct timespec){.tv_nsec = round % 2 ? 2000000 : 1000}, NULL);
            assert_ok(ctx, bl_parallel_for(ctx, 3 * t, linger, &j));
            for (size_t i = 0; i < N; i++) assert_int_equal(j.calls[i], i < 3 * t);
        }
        test_ctx_free(ctx);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_piece_once),
        cmocka_unit_test(test_smallest_failure_wins),
        cmocka_unit_test(test_nested_calls_run_serially),
        cmocka_unit_test(test_arenas_in_pieces),
        cmocka_unit_test(test_interruption),
        cmocka_unit_test(test_notes_come_one_at_a_time),
        cmocka_unit_test(test_sleepers_are_woken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
