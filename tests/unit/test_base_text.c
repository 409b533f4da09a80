/* SPDX-License-Identifier: BSD-3-Clause */
/* Numbers and sizes as text, UTF-8. */
#include <locale.h>
#include <math.h>

#include "support.h"

static void test_human_bytes(void **state)
{
    (void)state;
    char buf[32];
    assert_string_equal(bl_human_bytes(0, buf), "0 B");
    assert_string_equal(bl_human_bytes(1023, buf), "1023 B");
    assert_string_equal(bl_human_bytes(1024, buf), "1.0 KiB");
    assert_string_equal(bl_human_bytes(1536, buf), "1.5 KiB");
    assert_string_equal(bl_human_bytes(12897485, buf), "12.3 MiB");
    assert_string_equal(bl_human_bytes(UINT64_MAX, buf), "16.0 EiB");
}

static void test_parse_bytes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } good[] = {
        {"0", 0},
        {"4096", 4096},
        {"64k", 65536},
        {"300KiB", 307200},
        {"1.5MB", 1500000},
        {"2GiB", UINT64_C(2) << 30},
        {"1 kB", 1000},
        {"10B", 10},
        {".5k", 512},
        {"1e3", 1000},
        {"3T", UINT64_C(3) << 40},
        {"18446744073709551615", UINT64_MAX},
    };
    for (size_t i = 0; i < BL_COUNTOF(good); i++) {
        uint64_t v = 99;
        if (!bl_parse_bytes(good[i].text, &v) || v != good[i].bytes)
            fail_msg("%s gave %llu", good[i].text, (unsigned long long)v);
    }
    static const char *const bad[] = {
        "",    "k",    "-1",     "+1",         "1kk", "1 k B", "0x10", "nan",
        "inf", "1e30", "5 bits", "9000000TiB", ".",   " 1",    "1,5k", "18446744073709551616"};
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        uint64_t v;
        if (bl_parse_bytes(bad[i], &v))
            fail_msg("'%s' was taken as %llu", bad[i], (unsigned long long)v);
    }
}

static void test_parse_numbers(void **state)
{
    (void)state;
    double d;
    uint64_t u;
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where it exists: no decimal comma in our files */
    assert_true(bl_parse_f64("-1.5e-3", &d) && d == -1.5e-3);
    assert_true(bl_parse_f64("+.25", &d) && d == 0.25);
    assert_true(bl_parse_f64("7.", &d) && d == 7);
    assert_true(bl_parse_f64("-0", &d) && d == 0 && signbit(d));
    assert_true(bl_parse_f64("4.9406564584124654e-324", &d) && d > 0);
    setlocale(LC_ALL, "C");
    static const char *const bad[] = {"",      "-",  ".",  "e5",    "1e",    "1e+", "nan", "inf",
                                      "0x1p3", "1 ", " 1", "1e999", "1.2.3", "--1", "1,5"};
    for (size_t i = 0; i < BL_COUNTOF(bad); i++)
        if (bl_parse_f64(bad[i], &d)) fail_msg("'%s' was taken as %g", bad[i], d);

    assert_true(bl_parse_u64("0", &u) && u == 0);
    assert_true(bl_parse_u64("18446744073709551615", &u) && u == UINT64_MAX);
    static const char *const not_u64[] = {"",
                                          "-1",
                                          "+1",
                                          " 1",
                                          "1 ",
                                          "1.0",
                                          "0x1",
                                          "18446744073709551616",
                                          "99999999999999999999999"};
    for (size_t i = 0; i < BL_COUNTOF(not_u64); i++)
        if (bl_parse_u64(not_u64[i], &u)) fail_msg("'%s' was taken", not_u64[i]);
}

static bool valid(const char *text)
{
    /* A copy of exactly this size: reading past the end is seen by the sanitizer. */
    size_t n = strlen(text);
    char *copy = calloc(n ? n : 1, 1);
    if (n) memcpy(copy, text, n);
    bool answer = bl_utf8_valid(copy, n);
    free(copy);
    return answer;
}

static void test_utf8(void **state)
{
    (void)state;
    assert_true(valid(""));
    assert_true(valid("plain"));
    assert_true(valid("\xc2\x80\xdf\xbf\xe0\xa0\x80\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"));
    assert_true(valid("\xed\x9f\xbf\xee\x80\x80")); /* on both sides of the surrogates */
    static const char *const bad[] = {
        "\x80",
        "\xc0\x80",
        "\xc1\xbf",
        "\xe0\x9f\xbf",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x8f\xbf\xbf",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xff",
        "\xc2",
        "\xe2\x82",
        "\xf0\x9f\x98",
        "a\xc2"
        "b",
        "\xe2\x28\xa1",
    };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++)
        if (valid(bad[i])) fail_msg("bad text %zu was taken", i);
    assert_false(bl_utf8_valid("a\0b", 3));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_human_bytes),
        cmocka_unit_test(test_parse_bytes),
        cmocka_unit_test(test_parse_numbers),
        cmocka_unit_test(test_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
