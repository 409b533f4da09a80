/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The HTML page, the trade-off picture and the table of the terminal: that nothing in a record
 * becomes markup, that missing and mistyped figures are left out, that what is wrong is said, and
 * that the same records give the same bytes.
 */
#include "support.h"

#include "test_report_page.h"

#include <locale.h>

/* ------------------------------------------------------------------ the page */

static void test_whole(void **state)
{
    (void)state;
    static const char *const parts[] = {
        "<h1>net.onnx</h1>",
        "Mixed precision keeps <b>93.1&nbsp;%</b> top-1 (\xE2\x88\x92"
        "0.1 points",
        "<b>0.59</b> of the int8 size",
        "<b>800 \xC2\xB5s</b>, 0.80 of int8's, measured",
        "id=\"results\"",
        "id=\"tradeoff\"",
        "id=\"bits\"",
        "id=\"sensitivity\"",
        "id=\"latency\"",
        "id=\"memory\"",
        "id=\"budgets\"",
        "id=\"machine\"",
        "id=\"stages\"",
        "id=\"again\"",
        "id=\"words\"",
        "uniform W4A8",
        "W2A8 \xE2\x86\x93 41.0",
        "#2 middle\nConv 16x28x28\nweights 4 bits",
        "100.0\xC2\xA0%, W4A4",
        "1 of 1 operator shapes run faster",
        "binding",
        "root: the multipliers",
        "bitlathe quantize net.onnx",
        "A processor",
        "<li>a note</li>",
        "data-v=\"0.93110000000000004\""};
    run r = run_new();
    char *text = page(&r, ALL);
    assert_sound(text);
    for (size_t i = 0; i < BL_COUNTOF(parts); i++) assert_has(text, parts[i]);
    assert_int_equal(count(text, "class=\"ring\"") % 2, 0); /* each picture: wide and narrow */
    assert_null(strstr(text, "Not feasible"));
    assert_null(strstr(text, "Refused"));
    assert_null(strstr(text, "class=\"alert"));
    free(text);
    run_free(&r);
}

static void test_any_records(void **state)
{
    (void)state;
    run r = run_new();
    for (unsigned which = 1; which <= ALL; which++) {
        char *text = page(&r, which);
        assert_sound(text);
        assert_has(text, "What the words mean");
        free(text);
    }
    assert_fails(r.ctx, bl_report_write(r.ctx, &(bl_report_input){0}, r.path), BL_USAGE,
                 "no record");
    run_free(&r);
}

static void test_same_bytes(void **state)
{
    (void)state;
    run r = run_new();
    char *first = page(&r, ALL);
    setlocale(LC_ALL, "de_DE.UTF-8"); /* where it exists: no decimal commas */
    char *second = page(&r, ALL);
    setlocale(LC_ALL, "C");
    assert_string_equal(first, second);
    free(first);
    free(second);
    run_free(&r);
}

/* One file that needs nothing else, in both colour schemes, at the width of what shows it.  How it
 * then looks is for tools/look. */
static void test_stands_alone(void **state)
{
    (void)state;
    run r = run_new();
    char *text = page(&r, ALL);
    assert_has(text, "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">");
    assert_has(text, "<meta name=\"color-scheme\" content=\"light dark\">");
    assert_has(text, "color-scheme:light dark");
    assert_has(text, "@media (prefers-color-scheme:dark)");
    assert_has(text, "@media (max-width:760px)");
    assert_has(text, "default-src 'none'");
    assert_null(strstr(text, "@import"));
    assert_null(strstr(text, "<iframe"));
    assert_null(strstr(text, "<object"));
    for (const char *at = text; (at = strstr(at, "href=\"")); at++) /* within the page, or no icon */
        assert_true(at[6] == '#' || !strncmp(at + 6, "data:,\"", 7));
    static const char *const schemes[] = {":root{\n--ground:#ffffff;", ":root{\n--ground:#13161b;"};
    for (size_t i = 0; i < BL_COUNTOF(schemes); i++) assert_has(text, schemes[i]);
    static const char *const words[] = {"weights, activations", "bits, width", "unit", "SQNR", "BOPs"};
    for (size_t i = 0; i < BL_COUNTOF(words); i++) {
        char term[64];
        snprintf(term, sizeof term, "<dt>%s</dt>", words[i]);
        assert_has(text, term);
    }
    assert_true(count(text, "class=\"caption\"") >= 8); /* a sentence with each figure and table */
    free(text);
    run_free(&r);
}

/* ------------------------------------------------------------------ hostile text */

/* Every string and every key that is data becomes the evil text; keys of records stay. */
static void poison(json_t *value)
{
    static const char *const named[] = {"machine", "seconds", "hashes", "samples", "multipliers"};
    const char *key;
    json_t *item;
    void *next;
    for (size_t i = 0; i < json_array_size(value); i++) {
        if (json_is_string(json_array_get(value, i)))
            json_array_set_new(value, i, json_string(EVIL));
        else
            poison(json_array_get(value, i));
    }
    json_object_foreach_safe(value, next, key, item)
    {
        if (json_is_string(item))
            json_object_set_new(value, key, json_string(EVIL));
        else
            poison(item);
        for (size_t k = 0; k < BL_COUNTOF(named); k++)
            if (!strcmp(key, named[k]) && json_is_object(item))
                json_object_set_new(item, EVIL, json_integer(7));
    }
}

static void test_escaping(void **state)
{
    (void)state;
    run r = run_new();
    json_object_set_new(r.records[0], "refused", json_string("x"));
    for (size_t i = 0; i < 5; i++) poison(r.records[i]);
    for (unsigned which = 1; which <= ALL; which++) {
        char *text = page(&r, which);
        assert_sound(text);
        assert_null(strstr(text, "<b>\"'"));
        assert_null(strstr(text, "\"'&"));
        assert_null(strstr(text, "\xE2\x80\xAE"));
        assert_has(text, EVIL_ESCAPED);
        free(text);
    }
    char svg[300];
    snprintf(svg, sizeof svg, "%.256s/t.svg", r.folder);
    assert_ok(r.ctx, bl_tradeoff_svg(r.ctx, r.records[0], svg));
    char *text = read_all(svg);
    assert_balanced(text);
    assert_null(strstr(text, "<b>"));
    assert_has(text, EVIL_ESCAPED);
    free(text);
    run_free(&r);
}

static void test_long_names(void **state)
{
    (void)state;
    run r = run_new();
    json_t *layers = json_object_get(r.records[0], "layers");
    char name[400] = "";
    for (size_t i = 0; i < 66; i++) strcat(name, "\xC3\xA4\xF0\x9F\x98\x80"); /* 2 and 4 bytes */
    for (size_t i = 0; i < 200; i++) {
        json_t *layer = json_deep_copy(json_array_get(layers, i % 3));
        json_object_set_new(layer, "name", json_string(name));
        json_array_append_new(layers, layer);
    }
    char *text = page(&r, ALL);
    assert_sound(text);
    assert_true(bl_utf8_valid(text, strlen(text)));
    free(text);
    run_free(&r);
}

/* ------------------------------------------------------------------ odd figures */

static const char *const odd_texts[] = {"0",    "-1",     "1e300", "-1e300", "1e-300",
                                        "null", "'text'", "[]",    "{}",     "true"};

/* Replaces place number `at` of the value, counted from *n in walking order, or with chance > 0
 * each place by that chance in 256. */
static void make_odd(json_t *value, size_t at, unsigned chance, bl_rng *rng, size_t *n)
{
    const char *key;
    json_t *item;
    void *next;
    for (size_t i = 0; i < json_array_size(value); i++) {
        const char *odd = odd_texts[bl_rng_below(rng, BL_COUNTOF(odd_texts))];
        make_odd(json_array_get(value, i), at, chance, rng, n);
        if (chance ? bl_rng_below(rng, 256) < chance : *n == at)
            json_array_set_new(value, i, parse(odd));
        ++*n;
    }
    json_object_foreach_safe(value, next, key, item)
    {
        const char *odd = odd_texts[bl_rng_below(rng, BL_COUNTOF(odd_texts))];
        make_odd(item, at, chance, rng, n);
        if (chance ? bl_rng_below(rng, 256) < chance : *n == at)
            json_object_set_new(value, key, parse(odd));
        ++*n;
    }
}

static void try_odd(run *r, size_t record, size_t at, unsigned chance, uint64_t seed, size_t *n)
{
    json_t *whole = r->records[record];
    bl_rng rng = bl_rng_make(seed, "odd", record);
    r->records[record] = json_deep_copy(whole);
    *n = 0;
    make_odd(r->records[record], at, chance, &rng, n);
    char *text = page(r, ALL);
    assert_sound(text);
    free(text);
    json_decref(r->records[record]);
    r->records[record] = whole;
}

static void test_odd_figures(void **state)
{
    (void)state;
    run r = run_new();
    size_t n = 1;
    for (size_t record = 0; record < 4; record++) {
        for (size_t at = 0; at == 0 || at < n; at++) try_odd(&r, record, at, 0, at, &n);
        for (uint64_t seed = 0; seed < 40; seed++) try_odd(&r, record, 0, 20, seed, &n);
    }
    run_free(&r);
}

/* Nothing but a name and one figure: nothing else is on the page, not even as a zero. */
static void test_missing(void **state)
{
    (void)state;
    run r = run_new();
    json_decref(r.records[0]);
    r.records[0] = parse("{'model':'m','mixed':{'size_bytes':1024}}");
    char *text = page(&r, 1);
    assert_sound(text);
    assert_has(text, "Mixed precision takes <b>1.0 KiB</b>.");
    assert_null(strstr(text, "id=\"tradeoff\""));
    assert_null(strstr(text, "id=\"bits\""));
    assert_null(strstr(text, "id=\"latency\""));
    assert_null(strstr(text, "id=\"budgets\""));
    assert_null(strstr(text, ">0 "));
    assert_null(strstr(text, " 0.00"));
    assert_null(strstr(text, ">top-1<"));
    free(text);
    run_free(&r);
}

/* ------------------------------------------------------------------ what is said loudly */

static void test_alerts(void **state)
{
    (void)state;
    run r = run_new();
    json_t *s = r.records[0], *mixed = json_object_get(s, "mixed");
    json_t *size = json_array_get(json_object_get(s, "budgets"), 0);
    json_object_set_new(s, "feasible", json_false());
    json_object_set_new(size, "achieved", json_integer(6600));
    char *text = page(&r, ALL);
    assert_has(text, "<b>Not feasible.</b>");
    assert_has(text, "Over its limit: size, by 10.0&nbsp;%.");
    assert_has(text, "The nearest plan keeps");
    assert_has(text, "nearest plan</th>");
    free(text);

    json_object_set_new(s, "refused", json_string("slower than int8"));
    text = page(&r, ALL);
    assert_has(text, "<b>Refused.</b> slower than int8");
    assert_has(text, "The refused plan keeps");
    free(text);

    json_object_set_new(mixed, "latency_ms",
                        json_real(0.98)); /* within 3 % of the median of int8 */
    text = page(&r, ALL);
    assert_has(text, "Narrow widths gain no time on this chip.");
    free(text);
    json_object_set_new(mixed, "latency_ms", json_real(1.2));
    text = page(&r, ALL);
    assert_has(text, "Slower than int8 on this chip.");
    free(text);
    /* Nobody expects time from a plan without narrow widths. */
    json_object_del(s, "layers");
    json_object_del(r.records[1], "units");
    text = page(&r, ALL);
    assert_null(strstr(text, "Slower than int8"));
    free(text);
    run_free(&r);
}

static void test_int8_is_the_plan(void **state)
{
    (void)state;
    run r = run_new();
    json_object_del(r.records[0], "mixed");
    char *text = page(&r, 1);
    assert_sound(text);
    assert_has(text, "Uniform int8 keeps <b>93.2&nbsp;%</b> top-1");
    assert_has(text, "in <b>9.8 KiB</b>; latency <b>1.00 ms</b>, measured.");
    free(text);
    run_free(&r);
}

/* ------------------------------------------------------------------ the picture alone */

static void test_tradeoff(void **state)
{
    (void)state;
    run r = run_new();
    char path[300];
    snprintf(path, sizeof path, "%.256s/t.svg", r.folder);
    assert_ok(r.ctx, bl_tradeoff_svg(r.ctx, r.records[0], path));
    char *text = read_all(path);
    assert_balanced(text);
    assert_int_equal(strncmp(text, "<svg xmlns=\"http://www.w3.org/2000/svg\"", 39), 0);
    assert_null(strstr(text, "var("));
    assert_null(strstr(text, "&nbsp;")); /* no entity of XML */
    assert_int_equal(count(text, "<g transform="), 2);
    assert_int_equal(count(text, "class=\"front\""), 1);
    assert_has(text, ">W4A8</text>");
    free(text);

    json_t *one = parse("{'model':'m','int8':{'size_bytes':1000,'top1':0.9},'front':[]}");
    assert_fails(r.ctx, bl_tradeoff_svg(r.ctx, one, path), BL_DATA, "fewer than two points");
    json_decref(one);
    run_free(&r);
}

/* ------------------------------------------------------------------ plans behind the points */

static void test_plans(void **state)
{
    (void)state;
    run r = run_new();
    char *text = page(&r, ALL);
    assert_sound(text);
    /* The second point's widths are of another network, the third has none. */
    assert_int_equal(count(text, "class=\"plan\""), 1);
    assert_has(text, "<div class=\"plan\" id=\"plan1\">");
    assert_true(count(text, "<a href=\"#plan1\">") >= 2); /* wide and narrow pictures */
    assert_null(strstr(text, "#plan2"));
    assert_has(text, "<li class=\"same\" title=\"first\"><b>W8</b><span>A8</span></li>"
                     "<li class=\"moved\" title=\"middle\"><b>W2</b><span>A4</span></li>"
                     "<li class=\"same\" title=\"add\"><span>A16</span></li>");
    assert_has(text, "<pre>bitlathe quantize net.onnx --seed 7 --budget size=0.3000 -o RUN</pre>");
    free(text);

    json_t *point = json_array_get(json_object_get(r.records[0], "front"), 0);
    json_object_del(point, "w_bits");
    text = page(&r, ALL);
    assert_null(strstr(text, "class=\"plan\""));
    assert_null(strstr(text, "#plan"));
    free(text);
    run_free(&r);
}

/* ------------------------------------------------------------------ the table */

/* Longest line in characters, ANSI sequences apart. */
static size_t widest(const char *text)
{
    size_t most = 0, n = 0;
    for (; *text; text++) {
        if (*text == '\n')
            n = 0;
        else if (*text == '\x1b')
            text += strcspn(text, "m");
        else
            n += ((unsigned char)*text & 0xC0) != 0x80;
        most = BL_MAX(most, n);
    }
    return most;
}

static void test_table(void **state)
{
    (void)state;
    run r = run_new();
    bl_arena *a = bl_arena_new(r.ctx, "test");
    char *text = bl_table_text(a, r.records[0], false, 200);
    assert_non_null(text);
    assert_has(text, "93.11 %");
    assert_has(text, "-0.11");
    assert_has(text, "5.8 KiB");
    assert_has(text, "32.0 M");
    assert_has(text, "chosen plan");
    assert_has(text, "\nweights      84.\n");
    assert_has(text, "\nactivations  84+\n");
    for (int columns = 24; columns < 140; columns++)
        for (int color = 0; color < 2; color++) {
            text = bl_table_text(a, r.records[0], color, columns);
            assert_non_null(text);
            if (widest(text) > (size_t)columns) fail_msg("%d columns:\n%s", columns, text);
            assert_has(text, "93.11 %");
        }
    text = bl_table_text(a, r.records[0], true, 0);
    assert_has(text, "\x1b[1mchosen plan");
    assert_has(text, "\xE2\x96\x84"); /* four of eight */
    assert_true(widest(text) <= 80);
    bl_arena_free(a);
    run_free(&r);
}

static void test_table_is_plain(void **state)
{
    (void)state;
    run r = run_new();
    json_t *uniform = json_object_get(r.records[0], "uniform");
    json_object_set_new(json_array_get(uniform, 0), "name",
                        json_string("\x1b[31m\xC3\xA4\x07\xE2\x80\xAE"));
    bl_arena *a = bl_arena_new(r.ctx, "test");
    char *text = bl_table_text(a, r.records[0], false, 0);
    for (const char *p = text; *p; p++)
        if ((*p < ' ' && *p != '\n') || *p > '~') fail_msg("byte %d in the table", *p);
    text = bl_table_text(a, r.records[0], true, 0);
    assert_null(strstr(text, "\x1b[31m"));
    json_object_clear(json_object_get(r.records[0], "mixed"));
    text = bl_table_text(a, r.records[0], false, 0);
    assert_has(text, "chosen plan");
    assert_without(text, "nan");
    json_t *nothing = json_object();
    assert_string_equal(bl_table_text(a, nothing, false, 0), "");
    assert_string_equal(bl_table_text(a, NULL, true, 0), "");
    json_decref(nothing);
    bl_arena_free(a);
    run_free(&r);
}

/* What made samples look like is an address: only base64 gets into it. */
static void test_made_samples(void **state)
{
    (void)state;
    run r = run_new();
    const char *const pictures[] = {"iVBORw0KGgo=", "\"><script>x</script>"};
    for (int layers = 0; layers < 2; layers++)
        for (size_t i = 0; i < BL_COUNTOF(pictures); i++) {
            json_t *made = json_pack("{s:s, s:i, s:i, s:i, s:s}", "method", "m", "samples", 8, "steps", 9, "layers", layers,
                                     "picture", pictures[i]);
            bl_report_input in = {.summary = r.records[0], .samples = made};
            assert_ok(r.ctx, bl_report_write(r.ctx, &in, r.path));
            char *text = read_all(r.path);
            assert_int_equal(strstr(text, "data:image/png;base64,iVBORw0KGgo=") != NULL, i == 0);
            assert_null(strstr(text, "<script>x"));
            assert_non_null(strstr(text, layers ? "made from the network itself" : "Gaussian numbers"));
            free(text);
            json_decref(made);
        }
    run_free(&r);
}

/* ------------------------------------------------------------------ failing */

static void test_no_memory(void **state)
{
    (void)state;
    run r = run_new();
    bl_report_input in = {r.records[0], r.records[1], r.records[2], r.records[3], r.records[4], NULL};
    char svg[300];
    snprintf(svg, sizeof svg, "%.256s/t.svg", r.folder);
    for (int call = 0; call < 3; call++) {
        long n = 1;
        for (bl_status status = BL_UNAVAILABLE; status != BL_OK; n++) {
            bl_arena *a = bl_arena_new(r.ctx, "test");
            unlink(r.path);
            unlink(svg);
            r.ctx->code = BL_OK;
            r.ctx->fail_alloc = n;
            if (call == 0)
                status = bl_report_write(r.ctx, &in, r.path);
            else if (call == 1)
                status = bl_tradeoff_svg(r.ctx, r.records[0], svg);
            else
                status = bl_table_text(a, r.records[0], true, 100) ? BL_OK : bl_pending(r.ctx);
            r.ctx->fail_alloc = -1;
            bl_arena_free(a);
            if (status == BL_OK) continue;
            assert_int_equal(status, BL_UNAVAILABLE);
            assert_false(bl_file_exists(call ? svg : r.path));
        }
        assert_true(n > 3);
    }
    run_free(&r);
}

static void test_no_folder(void **state)
{
    (void)state;
    run r = run_new();
    char path[300];
    snprintf(path, sizeof path, "%.256s/none/report.html", r.folder);
    bl_report_input in = {.summary = r.records[0]};
    assert_fails(r.ctx, bl_report_write(r.ctx, &in, path), BL_CANTCREATE, "none/report.html");
    assert_fails(r.ctx, bl_tradeoff_svg(r.ctx, r.records[0], path), BL_CANTCREATE,
                 "none/report.html");
    run_free(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),
        cmocka_unit_test(test_stands_alone),
        cmocka_unit_test(test_any_records),
        cmocka_unit_test(test_same_bytes),
        cmocka_unit_test(test_escaping),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_odd_figures),
        cmocka_unit_test(test_missing),
        cmocka_unit_test(test_alerts),
        cmocka_unit_test(test_int8_is_the_plan),
        cmocka_unit_test(test_tradeoff),
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_table_is_plain),
        cmocka_unit_test(test_made_samples),
        cmocka_unit_test(test_no_memory),
        cmocka_unit_test(test_no_folder),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
