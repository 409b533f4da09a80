/* SPDX-License-Identifier: BSD-3-Clause */
/* JSON text, typed access, and the common head of records. */
#include <math.h>

#include "support.h"

typedef struct fixture {
    bl_ctx *ctx;
    bl_arena *arena;
    char folder[256];
    char *path;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    f->ctx = test_ctx(1, 0);
    f->arena = bl_arena_new(f->ctx, "test");
    test_folder(f->folder);
    f->path = bl_path_join(f->arena, f->folder, "plan.json");
    *state = f;
    return f->path ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    test_folder_remove(f->folder);
    bl_arena_free(f->arena);
    test_ctx_free(f->ctx);
    free(f);
    return 0;
}

static char *content(fixture *f)
{
    bl_map map;
    assert_ok(f->ctx, bl_map_file(f->ctx, f->path, 0, &map));
    char *text = bl_strndup(f->arena, (const char *)map.data, map.size);
    bl_unmap(&map);
    return text;
}

static json_t *parsed(fixture *f, const char *text)
{
    json_t *v = NULL;
    assert_ok(f->ctx, bl_json_parse(f->ctx, "test", text, strlen(text), &v));
    return v;
}

static void test_stable_bytes(void **state)
{
    fixture *f = *state;
    static const char text[] = "{\n"
                               " \"zeta\": 1,\n"
                               " \"alpha\": [\n"
                               "  0.10000000000000001,\n"
                               "  -0.0,\n"
                               "  1e+300,\n"
                               "  5e-324,\n"
                               "  9223372036854775807\n"
                               " ],\n"
                               " \"text\": \"Gr\xc3\xb6\xc3\x9f"
                               "e \\\"\\n\",\n"
                               " \"none\": null\n"
                               "}\n";
    json_t *v = parsed(f, text);
    assert_ok(f->ctx, bl_json_write(f->ctx, f->path, v));
    json_t *again;
    assert_ok(f->ctx, bl_json_read(f->ctx, f->path, &again));
    assert_true(json_equal(v, again));
    char *first = content(f);
    assert_ok(f->ctx, bl_json_write(f->ctx, f->path, again));
    assert_string_equal(content(f), first);
    assert_true(strstr(first, "zeta") < strstr(first, "alpha")); /* order of insertion */
    assert_non_null(strstr(first, "0.10000000000000001,"));
    assert_int_equal(first[strlen(first) - 1], '\n');
    assert_string_equal(bl_json_text(f->arena, json_object_get(v, "zeta"), false), "1");
    assert_string_equal(bl_json_text(f->arena, json_object_get(v, "alpha"), false),
                        "[0.10000000000000001,-0.0,1.0000000000000001e300,4.9406564584124654e-324,"
                        "9223372036854775807]");
    char *indented = bl_json_text(f->arena, v, true);
    assert_int_equal(strlen(indented) + 1, strlen(first));
    json_decref(v);
    json_decref(again);
}

static void test_every_double_comes_back(void **state)
{
    fixture *f = *state;
    bl_rng r = bl_rng_make(1, "doubles", 0);
    for (int i = 0; i < 20000; i++) {
        double d, back;
        uint64_t bits = bl_rng_u64(&r);
        memcpy(&d, &bits, sizeof(d));
        if (!isfinite(d)) continue;
        char text[64];
        json_t *v = json_pack("{s:o}", "d", bl_json_real(d));
        size_t n = json_dumpb(v, text, sizeof(text), JSON_COMPACT | JSON_REAL_PRECISION(17));
        json_t *again;
        assert_ok(f->ctx, bl_json_parse(f->ctx, "test", text, n, &again));
        assert_ok(f->ctx, bl_json_f64(f->ctx, again, "d", "test", &back));
        assert_memory_equal(&d, &back, sizeof(d));
        json_decref(v);
        json_decref(again);
    }
    json_t *null = bl_json_real(NAN), *also = bl_json_real(-INFINITY);
    assert_true(json_is_null(null) && json_is_null(also));
}

static void test_bad_text(void **state)
{
    fixture *f = *state;
    static const char *const bad[] = {
        "",
        "{",
        "[]",
        "3",
        "null",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1e999}",
        "{\"a\":99999999999999999999}",
        "{\"a\":1} x",
        "{\"a\":\"\xff\"}",
        "{a:1}",
        "{\"a\":nan}",
        "{\"a\":1,}",
        "\xef\xbb\xbf{}",
    };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++) {
        json_t *v = NULL;
        assert_fails(f->ctx, bl_json_parse(f->ctx, "p.json", bad[i], strlen(bad[i]), &v), BL_DATA,
                     "p.json");
        assert_null(v);
    }
    json_t *v;
    assert_fails(f->ctx, bl_json_parse(f->ctx, "x", "{\n\n  \"a\" 1}", 11, &v), BL_DATA, "line 3");
    static char deep[100000];
    memset(deep, '[', sizeof(deep));
    memcpy(deep, "{\"a\":", 5);
    assert_fails(f->ctx, bl_json_parse(f->ctx, "x", deep, sizeof(deep), &v), BL_DATA, "depth");
    assert_fails(f->ctx, bl_json_read(f->ctx, f->path, &v), BL_NOINPUT, "plan.json");
    assert_fails(f->ctx, bl_json_write(f->ctx, "/dev/full", json_null()), BL_IO, "No space");
}

static void test_typed_access(void **state)
{
    fixture *f = *state;
    bl_ctx *c = f->ctx;
    json_t *v = parsed(
        f, "{\"i\":-5,\"r\":2.5,\"t\":true,\"s\":\"x\",\"a\":[1,2,3],\"o\":{\"k\":1},\"n\":null}");
    int64_t i = 99;
    double d;
    bool b = false;
    const char *s;
    json_t *item;
    assert_ok(c, bl_json_i64(c, v, "i", "rec", -5, -5, &i));
    assert_int_equal(i, -5);
    assert_ok(c, bl_json_f64(c, v, "r", "rec", &d));
    assert_true(d == 2.5);
    assert_ok(c, bl_json_f64(c, v, "i", "rec", &d)); /* an integer is a number */
    assert_true(d == -5);
    assert_ok(c, bl_json_bool(c, v, "t", "rec", &b));
    assert_true(b);
    assert_ok(c, bl_json_str(c, v, "s", "rec", &s));
    assert_string_equal(s, "x");
    assert_ok(c, bl_json_array(c, v, "a", "rec", 3, &item));
    assert_int_equal(json_array_size(item), 3);
    assert_ok(c, bl_json_object(c, v, "o", "rec", &item));

    i = 7;
    assert_fails(c, bl_json_i64(c, v, "i", "rec", -4, 9, &i), BL_DATA, "\"i\" is -5, not in -4..9");
    assert_fails(c, bl_json_i64(c, v, "i", "rec", -9, -6, &i), BL_DATA, "not in");
    assert_fails(c, bl_json_i64(c, v, "r", "rec", -9, 9, &i), BL_DATA,
                 "a real number, not an integer");
    assert_fails(c, bl_json_i64(c, v, "zzz", "rec", -9, 9, &i), BL_DATA, "\"zzz\" is missing");
    assert_int_equal(i, 7);
    assert_fails(c, bl_json_f64(c, v, "n", "rec", &d), BL_DATA, "null");
    assert_fails(c, bl_json_f64(c, v, "s", "unit 3", &d), BL_DATA, "unit 3");
    assert_fails(c, bl_json_bool(c, v, "i", "rec", &b), BL_DATA, "true or false");
    assert_fails(c, bl_json_str(c, v, "a", "rec", &s), BL_DATA, "an array, not a string");
    assert_fails(c, bl_json_array(c, v, "o", "rec", 3, &item), BL_DATA, "an object, not an array");
    assert_fails(c, bl_json_array(c, v, "a", "rec", 2, &item), BL_DATA, "3 items, more than 2");
    assert_fails(c, bl_json_object(c, v, "t", "rec", &item), BL_DATA, "a truth value");
    json_t *array = json_object_get(v, "a"); /* not an object at all */
    assert_fails(c, bl_json_str(c, array, "a", "rec", &s), BL_DATA, "missing");
    json_decref(v);
}

static void write_record(fixture *f, bl_hash *hash)
{
    json_t *record = bl_record_new(f->ctx, "plan", 1, 2);
    assert_non_null(record);
    json_object_set_new(json_object_get(record, "made_from"), "graph", json_string("abc"));
    json_object_set_new(record, "units", json_pack("[f,i]", 0.1, 3));
    assert_ok(f->ctx, bl_record_write(f->ctx, record, f->path, hash));
    json_decref(record);
}

static void test_record_round_trip(void **state)
{
    fixture *f = *state;
    bl_hash written, read;
    write_record(f, &written);
    json_t *record;
    assert_ok(f->ctx, bl_record_read(f->ctx, f->path, "plan", 1, NULL, &record, &read));
    assert_string_equal(written.hex, read.hex);
    assert_string_equal(json_string_value(json_object_get(record, "hash")), read.hex);
    static const char *const head[] = {"bitlathe", "version", "hash", "made_from",
                                       "seed",     "tool",    "units"};
    size_t k = 0;
    const char *key;
    json_t *value;
    json_object_foreach(record, key, value) assert_string_equal(key, head[k++]);
    assert_int_equal(k, BL_COUNTOF(head));
    /* The hash by its definition: compact text without "hash". */
    json_object_del(record, "hash");
    char *text = bl_json_text(f->arena, record, false);
    assert_string_equal(bl_hash_of(text, strlen(text)).hex, written.hex);
    bl_hash again;
    assert_ok(f->ctx,
              bl_record_write(f->ctx, record, f->path, &again)); /* written twice: the same */
    assert_string_equal(again.hex, written.hex);
    assert_ok(f->ctx, bl_record_write(f->ctx, record, f->path, NULL));
    json_decref(record);
}

static void replace(fixture *f, const char *from, const char *to)
{
    char *text = content(f), *at = strstr(text, from);
    assert_non_null(at);
    char *edited = bl_format(f->arena, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    assert_ok(f->ctx, bl_write_file(f->ctx, f->path, edited, strlen(edited)));
}

static void test_record_edited_by_hand(void **state)
{
    fixture *f = *state;
    bl_hash written, read;
    bool edited = true;
    json_t *record = NULL;
    write_record(f, &written);
    assert_ok(f->ctx, bl_record_read(f->ctx, f->path, "plan", 1, &edited, &record, &read));
    assert_false(edited);
    json_decref(record);
    replace(f, "  3\n", "\t4"); /* another value; spaces alone would not matter */
    assert_fails(f->ctx, bl_record_read(f->ctx, f->path, "plan", 1, NULL, &record, &read), BL_DATA,
                 "does not match its hash");
    assert_ok(f->ctx, bl_record_read(f->ctx, f->path, "plan", 1, &edited, &record, &read));
    assert_true(edited);
    assert_string_not_equal(read.hex, written.hex); /* that of what is there */
    json_decref(record);
    replace(f, "\t4", "3");
    assert_ok(f->ctx, bl_record_read(f->ctx, f->path, "plan", 1, NULL, &record, NULL));
    json_decref(record);
    replace(f, "\"hash\"", "\"hush\"");
    assert_fails(f->ctx, bl_record_read(f->ctx, f->path, "plan", 1, NULL, &record, &read), BL_DATA,
                 "does not match its hash");
}

static void test_record_heads(void **state)
{
    fixture *f = *state;
    bl_ctx *c = f->ctx;
    json_t *record = NULL;
    bool edited;
    write_record(f, NULL);
    assert_fails(c, bl_record_read(c, f->path, "sens", 1, &edited, &record, NULL), BL_DATA,
                 "kind 'plan'");
    assert_fails(c, bl_record_read(c, f->path, "plan", 2, &edited, &record, NULL), BL_DATA,
                 "version 1.2");
    replace(f, "1.2", "7.0");
    assert_fails(c, bl_record_read(c, f->path, "plan", 1, &edited, &record, NULL), BL_DATA,
                 "version 7.0");
    assert_string_equal(bl_last_error(c).remedy, "use a newer bitlathe");
    static const char *const versions[] = {"7", ".0", "", "x.1", "-1.0", "99999999999999999999.0"};
    const char *now = "\"7.0\"";
    for (size_t i = 0; i < BL_COUNTOF(versions); i++) {
        char *next = bl_format(f->arena, "\"%s\"", versions[i]);
        replace(f, now, next);
        now = next;
        assert_fails(c, bl_record_read(c, f->path, "plan", 1, &edited, &record, NULL), BL_DATA,
                     "version");
    }
    replace(f, now, "\"1.9\""); /* a newer minor version is read */
    assert_ok(c, bl_record_read(c, f->path, "plan", 1, &edited, &record, NULL));
    json_decref(record);
    assert_ok(c, bl_write_file(c, f->path, "{}", 2));
    assert_fails(c, bl_record_read(c, f->path, "plan", 1, &edited, &record, NULL), BL_DATA,
                 "not a record");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_stable_bytes),      CASE(test_every_double_comes_back),
        CASE(test_bad_text),          CASE(test_typed_access),
        CASE(test_record_round_trip), CASE(test_record_edited_by_hand),
        CASE(test_record_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
