/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stand-alone allocation problem: JSON in, JSON out, every kind of wrong input by its sentence,
 * and the LP text.
 */
#include "support.h"

#include "search/knapsack.h"

static bl_status from_text(bl_ctx *ctx, bl_arena *arena, const char *text, bl_mckp **out)
{
    json_t *root = NULL;
    bl_status status = bl_json_parse(ctx, "p.json", text, strlen(text), &root);
    if (status == BL_OK) status = bl_mckp_from_json(ctx, "p.json", root, arena, out);
    json_decref(root);
    return status;
}

static const char *const good_json =
    "{\"version\":1,\"budgets\":[{\"name\":\"size\",\"limit\":10}],\"units\":["
    "{\"name\":\"a\",\"options\":[{\"name\":\"w4\",\"objective\":3.5,\"costs\":[2]},"
    "{\"name\":\"w8\",\"objective\":1,\"costs\":[4]}]},"
    "{\"name\":\"b\",\"options\":[{\"name\":\"w8\",\"objective\":0.25,\"costs\":[5]},"
    "{\"name\":\"w2\",\"objective\":9,\"costs\":[1]},{\"name\":\"w4\",\"objective\":4,\"costs\":[2]"
    "}]},"
    "{\"name\":\"c\",\"options\":[{\"name\":\"only\",\"objective\":-2,\"costs\":[1]}]}],"
    "\"ties\":[[\"b\",\"a\"]]}";

static void json_good(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mckp *p;
    bl_mckp_result r;
    json_t *answer;
    assert_ok(ctx, from_text(ctx, arena, good_json, &p));
    assert_ok(ctx, bl_mckp_solve(ctx, p, NULL, arena, &r));
    assert_ok(ctx, bl_mckp_result_json(ctx, p, &r, &answer));
    char *text = bl_json_text(arena, answer, false);
    json_decref(answer);
    assert_non_null(text);
    assert_non_null(strstr(text, "\"status\":\"optimal\""));
    assert_non_null(strstr(text, "\"choice\":{\"a\":\"w8\",\"b\":\"w8\",\"c\":\"only\"}"));
    assert_non_null(strstr(text, "\"objective\":-0.75"));
    assert_non_null(strstr(text, "\"costs\":[10.0]"));
    p->limits[0] = 4;
    assert_ok(ctx, bl_mckp_solve(ctx, p, NULL, arena, &r));
    assert_int_equal(r.status, BL_MCKP_INFEASIBLE);
    assert_ok(ctx, bl_mckp_result_json(ctx, p, &r, &answer));
    text = bl_json_text(arena, answer, false);
    json_decref(answer);
    assert_non_null(strstr(text, "\"status\":\"infeasible\""));
    assert_non_null(strstr(text, "\"bound\":null"));
    assert_non_null(strstr(text, "\"binding\":\"size\",\"excess\":0.25"));
    assert_non_null(strstr(text, "\"choice\":{\"a\":\"w4\",\"b\":\"w4\",\"c\":\"only\"}"));
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

#define UNITS(options) "\"units\":[{\"name\":\"a\",\"options\":[" options "]}]"
#define TWO                                                                                        \
    "\"units\":[{\"name\":\"a\",\"options\":[{\"name\":\"x\",\"objective\":1,\"costs\":[1]}]},"    \
    "{\"name\":\"b\",\"options\":[{\"name\":\"y\",\"objective\":1,\"costs\":[1]}]}]"
#define HEAD "{\"version\":1,\"budgets\":[{\"name\":\"m\",\"limit\":1}],"

static void json_bad(void **state)
{
    (void)state;
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[]", "not a JSON object"},
        {"{}", "version"},
        {"{\"version\":2,\"budgets\":[],\"units\":[]}", "version"},
        {"{\"version\":1,\"units\":[]}", "budgets"},
        {"{\"version\":1,\"budgets\":[],\"units\":[]}", "empty"},
        {"{\"version\":1,\"budgets\":[1,2,3,4,5],\"units\":[]}", "budgets"},
        {"{\"version\":1,\"budgets\":[{\"name\":\"m\"}]," UNITS("1") "}", "limit"},
        {"{\"version\":1,\"budgets\":[{\"name\":\"m\",\"limit\":\"1\"}]," UNITS("1") "}", "limit"},
        {"{\"version\":1,\"budgets\":[{\"name\":\"m\",\"limit\":1},{\"name\":\"m\",\"limit\":1}]"
         "," UNITS("1") "}",
         "another budget"},
        {HEAD "\"units\":[3]}", "not an object"},
        {HEAD "\"units\":[{\"name\":\"a\"}]}", "options"},
        {HEAD UNITS("") "}", "has no options"},
        {HEAD UNITS("3") "}", "not an object"},
        {HEAD UNITS("{\"objective\":1,\"costs\":[1]}") "}", "name"},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":null,\"costs\":[1]}") "}", "objective"},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":1}") "}", "costs"},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":1,\"costs\":[1,2]}") "}", "2 costs for 1"},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":1,\"costs\":[true]}") "}", "not a number"},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":1e250,\"costs\":[1]}") "}", "out of range"},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":1,\"costs\":[1e999]}") "}", ""},
        {HEAD UNITS("{\"name\":\"x\",\"objective\":1,\"costs\":[1]},"
                    "{\"name\":\"x\",\"objective\":1,\"costs\":[1]}") "}",
         "named \"x\""},
        {HEAD
         "\"units\":[{\"name\":\"a\",\"options\":[{\"name\":\"x\",\"objective\":1,\"costs\":[1]}]},"
         "{\"name\":\"a\",\"options\":[{\"name\":\"x\",\"objective\":1,\"costs\":[1]}]}]}",
         "two units are named \"a\""},
        {HEAD TWO ",\"ties\":3}", "ties"},
        {HEAD TWO ",\"ties\":[[]]}", "not such an array"},
        {HEAD TWO ",\"ties\":[[\"a\",3]]}", "not a string"},
        {HEAD TWO ",\"ties\":[[\"a\",\"zoo\"]]}", "\"zoo\""},
        {HEAD TWO ",\"ties\":[[\"a\",\"b\"]]}", "\"a\", \"b\" have no option in common"},
    };
    bl_ctx *ctx = test_ctx(1, 0);
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        bl_arena *arena = bl_arena_new(ctx, "test");
        bl_mckp *p = NULL;
        assert_fails(ctx, from_text(ctx, arena, cases[i].text, &p), BL_DATA, cases[i].says);
        assert_null(p);
        bl_arena_free(arena);
    }
    test_ctx_free(ctx);
}

static void lp_text(void **state)
{
    (void)state;
    char folder[256], path[320];
    bl_ctx *ctx = test_ctx(1, 0);
    bl_arena *arena = bl_arena_new(ctx, "test");
    bl_mckp *p;
    assert_ok(ctx, from_text(ctx, arena, good_json, &p));
    snprintf(path, sizeof path, "%s/p.lp", test_folder(folder));
    assert_ok(ctx, bl_mckp_write_lp(ctx, p, path));
    char *text = test_slurp(path, NULL);
    static const char *const lines[] = {"\\ budget b0: size\n",
                                        "\\   x1_2: w4\n",
                                        "Minimize\n objective: +3.5 x0_0 +1 x0_1 +0.25 x1_0 +9 "
                                        "x1_1\n  +4 x1_2 -2 x2_0\nSubject To\n",
                                        "b0: +2 x0_0 +4 x0_1",
                                        "<= 10\n",
                                        "u0: +1 x0_0 +1 x0_1 = 1\n",
                                        "t0_1_0: x1_0 - x0_1 = 0\n",
                                        "t0_1_1: x1_1 = 0\n",
                                        "Binary\n x0_0\n",
                                        "End\n"};
    for (size_t i = 0; i < BL_COUNTOF(lines); i++)
        if (!strstr(text, lines[i])) fail_msg("no \"%s\" in %s", lines[i], text);
    free(text);
    assert_fails(ctx, bl_mckp_write_lp(ctx, p, "/nowhere/at/all/p.lp"), BL_CANTCREATE, "nowhere");
    test_folder_remove(folder);
    bl_arena_free(arena);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_good),
        cmocka_unit_test(json_bad),
        cmocka_unit_test(lp_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
