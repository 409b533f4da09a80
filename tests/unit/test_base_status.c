/* SPDX-License-Identifier: BSD-3-Clause */
/* Context, options from the environment, the pending error. */
#include "support.h"

static void test_default_options(void **state)
{
    (void)state;
    setenv("BL_THREADS", "3", 1);
    setenv("BL_SEED", "77", 1);
    setenv("BL_ISA", "ref", 1);
    bl_ctx *ctx;
    assert_int_equal(bl_ctx_new(NULL, &ctx), BL_OK);
    unsetenv("BL_THREADS");
    unsetenv("BL_SEED");
    unsetenv("BL_ISA");
    assert_int_equal(bl_threads(ctx), 3);
    assert_int_equal(ctx->options.seed, 77);
    assert_string_equal(ctx->options.isa, "ref"); /* a copy: the variable is gone */
    assert_int_equal(ctx->isa, -1);
    assert_true(ctx->options.memory_bytes > 1 << 20);
    bl_ctx_free(ctx);

    bl_options options = bl_options_default();
    assert_int_equal(options.threads, 0);
    assert_int_equal(options.seed, 1);
    assert_null(options.isa);
    ctx = test_ctx(0, 0);
    assert_true(bl_threads(ctx) >= 1);
    bl_ctx_free(ctx);
    bl_ctx_free(NULL);
}

static void test_bad_options(void **state)
{
    (void)state;
    bl_ctx *ctx;
    static const char *const bad[] = {"many", "-1", "1.5", "0x10", "99999999999999999999"};
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        setenv("BL_THREADS", bad[i], 1);
        assert_fails(ctx, bl_ctx_new(NULL, &ctx), BL_USAGE, "BL_THREADS");
        bl_ctx_free(ctx);
    }
    unsetenv("BL_THREADS");
    setenv("BL_FAIL_ALLOC", "x", 1);
    assert_fails(ctx, bl_ctx_new(NULL, &ctx), BL_USAGE, "BL_FAIL_ALLOC");
    bl_ctx_free(ctx);
    unsetenv("BL_FAIL_ALLOC");
    bl_options options = {.threads = 100000};
    assert_fails(ctx, bl_ctx_new(&options, &ctx), BL_USAGE, "threads");
    bl_ctx_free(ctx);
    options = (bl_options){.seed = UINT64_MAX - 1};
    assert_fails(ctx, bl_ctx_new(&options, &ctx), BL_USAGE, "seed");
    bl_ctx_free(ctx);
    assert_int_equal(bl_last_error(NULL).code, BL_UNAVAILABLE);
}

static void test_error_text(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    assert_string_equal(bl_last_error(ctx).remedy, "");
    assert_int_equal(bl_fail(ctx, BL_DATA, "node \"conv3\"", "make it 2", "group %d", 3), BL_DATA);
    assert_int_equal(bl_pending(ctx), BL_DATA);
    assert_string_equal(bl_last_error(ctx).what, "group 3");
    assert_int_equal(bl_fail_within(ctx, "%s", "model.onnx"), BL_DATA);
    assert_string_equal(bl_last_error(ctx).place, "model.onnx: node \"conv3\"");
    assert_string_equal(bl_last_error(ctx).remedy, "make it 2");

    /* The arguments may be parts of the error itself. */
    bl_error before = bl_last_error(ctx);
    bl_fail(ctx, BL_IO, before.what, before.place, "%s again", before.what);
    assert_string_equal(bl_last_error(ctx).what, "group 3 again");
    assert_string_equal(bl_last_error(ctx).place, "group 3");
    assert_string_equal(bl_last_error(ctx).remedy, "model.onnx: node \"conv3\"");

    bl_fail(ctx, BL_IO, NULL, NULL, "x");
    assert_int_equal(bl_fail_within(ctx, "outer"), BL_IO);
    assert_string_equal(bl_last_error(ctx).place, "outer");
    bl_ctx_free(ctx);
}

static void test_error_is_one_clean_line(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_fail(ctx, BL_DATA, "a\nb\x1b[31m", "\x7f",
            "Gr\xc3\xb6\xc3\x9f"
            "e \xc2\x9bX");
    assert_string_equal(bl_last_error(ctx).place, "a?b?[31m");
    assert_string_equal(bl_last_error(ctx).remedy, "?");
    assert_string_equal(bl_last_error(ctx).what, "Gr\xc3\xb6\xc3\x9f"
                                                 "e ??X");
    bl_fail(ctx, BL_DATA, "bad \xff utf8 \xc3\xb6", "", "x");
    assert_string_equal(bl_last_error(ctx).place, "bad ? utf8 ??");

    /* Too long: cut, but never inside a character. */
    char longer[3000];
    memset(longer, 'x', sizeof(longer));
    longer[sizeof(longer) - 1] = '\0';
    for (size_t i = 0; i + 2 < sizeof(longer); i += 2) memcpy(longer + i, "\xc3\xb6", 2);
    bl_fail(ctx, BL_DATA, longer, longer, "%s", longer);
    bl_error e = bl_last_error(ctx);
    assert_int_equal(strlen(e.place), 510); /* 511 would halve the last one */
    assert_int_equal(strlen(e.what), 1022);
    assert_true(bl_utf8_valid(e.what, strlen(e.what)));
    for (int i = 0; i < 5; i++) bl_fail_within(ctx, "%s", longer);
    assert_true(strlen(bl_last_error(ctx).place) <= 511);
    bl_ctx_free(ctx);
}

static bl_status checked(bl_ctx *ctx, int v)
{
    BL_CHECK(ctx, v == 1);
    return BL_OK;
}

static void test_check_and_interrupt(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    assert_ok(ctx, checked(ctx, 1));
    assert_fails(ctx, checked(ctx, 2), BL_INTERNAL, "v == 1");
    assert_ok(ctx, bl_check_interrupt(ctx));
    bl_interrupt(ctx);
    assert_fails(ctx, bl_check_interrupt(ctx), BL_INTERRUPTED, "interrupted");
    bl_ctx_free(ctx);
}

typedef struct heard {
    char line[256], stage[64];
    int notes, reports;
    uint64_t done, total;
    double left;
} heard;

static void hear_note(void *user, const char *line)
{
    heard *h = user;
    h->notes++;
    snprintf(h->line, sizeof(h->line), "%s", line);
}

static void hear_progress(void *user, const char *stage, uint64_t done, uint64_t total, double left)
{
    heard *h = user;
    h->reports++;
    h->done = done;
    h->total = total;
    h->left = left;
    snprintf(h->stage, sizeof(h->stage), "%s", stage);
}

static void test_notes_and_progress(void **state)
{
    (void)state;
    heard h = {.left = 99};
    bl_options options = {.threads = 1, .note = hear_note, .progress = hear_progress, .user = &h};
    bl_ctx *ctx;
    assert_int_equal(bl_ctx_new(&options, &ctx), BL_OK);
    bl_note(ctx, "%d\tthings", 2);
    assert_string_equal(h.line, "2?things");

    uint64_t start = bl_now_ns();
    for (uint64_t i = 0; i <= 1000; i++) bl_progress(ctx, "sense", i, 1000);
    uint64_t spent = bl_now_ns() - start;
    assert_true(h.reports >= 2 && (uint64_t)h.reports <= 3 + spent / 100000000); /* rate-limited */
    assert_int_equal(h.done, 1000); /* first and last are always told */
    assert_true(h.left == 0);
    bl_progress(ctx, "search", 5, 10);
    assert_string_equal(h.stage, "search");
    assert_true(h.left < 0); /* unknown */
    ctx->stage_last_ns -= 200000000;
    ctx->stage_start_ns -= 1000000000;
    bl_progress(ctx, "search", 8, 10);
    assert_true(h.left > 0.2 && h.left < 60);
    bl_ctx_free(ctx);

    ctx = test_ctx(1, 0); /* without callbacks nothing happens */
    bl_note(ctx, "x");
    bl_progress(ctx, "x", 1, 2);
    bl_ctx_free(ctx);
    assert_true(bl_peak_rss_bytes() > 100000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_options),     cmocka_unit_test(test_bad_options),
        cmocka_unit_test(test_error_text),          cmocka_unit_test(test_error_is_one_clean_line),
        cmocka_unit_test(test_check_and_interrupt), cmocka_unit_test(test_notes_and_progress),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
