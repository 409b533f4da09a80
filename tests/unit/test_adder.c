/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adder graphs: signed digits, exact sums against plain multiplication, intervals, depth limits, the 15
 * matrices of da4ml with the adders that the original needed, and matrices as large as layers are.
 */
#include "emit/adder.h"
#include "support.h"

static bl_ctx *ctx;

static int setup(void **state)
{
    (void)state;
    ctx = test_ctx(1, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_ctx_free(ctx);
    return 0;
}

static void digits(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(1, "digits", 0);
    for (int i = 0; i < 20000; i++) {
        int64_t v = i < 4000 ? i - 2000 : (int64_t)(bl_rng_u64(&r) >> (18 + i % 40)) * (i % 2 ? 1 : -1);
        uint64_t p, m;
        bl_csd(v, &p, &m);
        assert_true((int64_t)p - (int64_t)m == v);
        assert_true((p & m) == 0);
        assert_true(((p | m) & ((p | m) << 1)) == 0);
        assert_int_equal(bl_csd_count(v), __builtin_popcountll(p | m));
    }
    assert_int_equal(bl_adder_width(0, 0), 0);
    assert_int_equal(bl_adder_width(0, 255), 8);
    assert_int_equal(bl_adder_width(-128, 127), 8);
    assert_int_equal(bl_adder_width(-129, 0), 9);
    assert_int_equal(bl_adder_width(-1, 0), 1);
}

typedef struct matrix {
    int n_in, n_out;
    int64_t *w, *bias;
    int32_t *bias_exp;
    bl_adder_input *in;
} matrix;

static matrix matrix_random(bl_arena *a, bl_rng *r, int n_in, int n_out, int bits, int kept_of_8)
{
    matrix m = { n_in, n_out, BL_NEW(a, int64_t, (size_t)n_in * (size_t)n_out), BL_NEW(a, int64_t, (size_t)n_out),
                 BL_NEW(a, int32_t, (size_t)n_out), BL_NEW(a, bl_adder_input, (size_t)n_in) };
    assert_true(m.w && m.bias && m.bias_exp && m.in);
    for (int k = 0; k < n_in * n_out; k++)
        if ((int)bl_rng_below(r, 8) < kept_of_8) m.w[k] = (int64_t)bl_rng_below(r, 1u << bits) - (1 << (bits - 1));
    for (int o = 0; o < n_out; o++) {
        m.bias[o] = (int64_t)bl_rng_below(r, 2001) - 1000;
        m.bias_exp[o] = -(int32_t)bl_rng_below(r, 6);
    }
    for (int i = 0; i < n_in; i++) {
        int b = 1 + (int)bl_rng_below(r, 8);
        bool sign = bl_rng_below(r, 2);
        m.in[i] = (bl_adder_input){ sign ? -(1 << (b - 1)) : 0, sign ? (1 << (b - 1)) - 1 : (1 << b) - 1,
                                    -(int32_t)bl_rng_below(r, 5), (int32_t)bl_rng_below(r, 3) };
    }
    return m;
}

/* Outputs in units of 2^-EXP against products, at random points and at the corners; every node stays in its interval. */
enum { EXP = 12 };
static void assert_products(const matrix *m, const bl_adder_graph *g, bl_rng *r)
{
    int64_t *x = malloc((size_t)m->n_in * sizeof *x), *v = malloc((size_t)g->n_nodes * sizeof *v);
    for (int run = 0; run < 40; run++) {
        for (int i = 0; i < m->n_in; i++) {
            uint64_t span = (uint64_t)(m->in[i].hi - m->in[i].lo) + 1;
            x[i] = run == 0 ? m->in[i].lo : run == 1 ? m->in[i].hi : m->in[i].lo + (int64_t)bl_rng_below(r, span);
        }
        bl_adder_evaluate(g, x, v);
        for (int k = 0; k < g->n_nodes; k++) assert_true(v[k] >= g->nodes[k].lo && v[k] <= g->nodes[k].hi);
        for (int o = 0; o < m->n_out; o++) {
            int64_t want = m->bias[o] * (1 << (EXP + m->bias_exp[o])), got = 0;
            for (int i = 0; i < m->n_in; i++) want += x[i] * m->w[i * m->n_out + o] * (1 << (EXP + m->in[i].exp));
            const bl_adder_output *t = &g->outputs[o];
            if (t->node >= 0) got = v[t->node] * ((int64_t)1 << (EXP + g->nodes[t->node].exp + t->shift)) * (t->negative ? -1 : 1);
            assert_true(got == want);
        }
    }
    free(x);
    free(v);
}

static void products(void **state)
{
    (void)state;
    static const bl_adder_method methods[] = { BL_ADDER_NONE, BL_ADDER_COUNT, BL_ADDER_OVERLAP, BL_ADDER_ALIGNED };
    bl_rng r = bl_rng_make(2, "products", 0);
    for (int i = 0; i < 240; i++) {
        bl_arena *a = bl_arena_new(ctx, "test");
        matrix m = matrix_random(a, &r, 1 + (int)bl_rng_below(&r, 12), 1 + (int)bl_rng_below(&r, 12), 1 + i % 9, 1 + i % 8);
        bl_adder_options o = { methods[i % 4], i / 4 % 4 - 1, i % 3 - 2, i % 5 == 0, i % 7 < 3 };
        bl_adder_graph *g = NULL;
        assert_ok(ctx, bl_adder_solve(a, m.w, m.n_in, m.n_out, m.in, m.bias, m.bias_exp, &o, &g));
        assert_products(&m, g, &r);
        bl_arena_free(a);
    }
}

/* No graph goes deeper than it was allowed to. */
static void depth(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(3, "depth", 0);
    for (int i = 0; i < 40; i++) {
        bl_arena *a = bl_arena_new(ctx, "test");
        matrix m = matrix_random(a, &r, 12, 8, 6, 6);
        bl_adder_options o = { BL_ADDER_NONE, BL_ADDER_FREE, BL_ADDER_WHOLE, false, false };
        bl_adder_graph *plain = NULL, *g = NULL;
        assert_ok(ctx, bl_adder_solve(a, m.w, m.n_in, m.n_out, m.in, m.bias, m.bias_exp, &o, &plain));
        for (int n = 0; n < 8; n++) {
            int extra = n / 2;
            o = (bl_adder_options){ BL_ADDER_OVERLAP + (bl_adder_method)(i % 2), extra, BL_ADDER_SEARCH, false, n % 2 };
            assert_ok(ctx, bl_adder_solve(a, m.w, m.n_in, m.n_out, m.in, m.bias, m.bias_exp, &o, &g));
            assert_true(g->depth <= plain->depth + extra);
            assert_true(g->adders <= plain->adders);
        }
        bl_arena_free(a);
    }
}

/* A layer of 64 x 64 weights of 8 bits; sharing halves its adders. */
static void large(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(4, "large", 0);
    bl_arena *a = bl_arena_new(ctx, "test");
    matrix m = matrix_random(a, &r, 64, 64, 8, 8);
    bl_adder_options o = { BL_ADDER_NONE, BL_ADDER_FREE, BL_ADDER_WHOLE, false, false };
    bl_adder_graph *plain = NULL, *g = NULL;
    assert_ok(ctx, bl_adder_solve(a, m.w, m.n_in, m.n_out, m.in, m.bias, m.bias_exp, &o, &plain));
    o.method = BL_ADDER_ALIGNED;
    assert_ok(ctx, bl_adder_solve(a, m.w, m.n_in, m.n_out, m.in, m.bias, m.bias_exp, &o, &g));
    assert_products(&m, g, &r);
    assert_true(g->adders < plain->adders * 6 / 10);
    bl_arena_free(a);
}

static void refused(void **state)
{
    (void)state;
    bl_arena *a = bl_arena_new(ctx, "test");
    bl_adder_options o = { BL_ADDER_OVERLAP, BL_ADDER_FREE, BL_ADDER_WHOLE, false, false };
    bl_adder_input in = { -((int64_t)1 << 40), (int64_t)1 << 40, 0, 0 };
    bl_adder_graph *g = NULL;
    int64_t w = (int64_t)1 << 46;
    assert_fails(ctx, bl_adder_solve(a, &w, 1, 1, &in, NULL, NULL, &o, &g), BL_UNAVAILABLE, "46 bits");
    w = ((int64_t)1 << 40) + 1;
    assert_fails(ctx, bl_adder_solve(a, &w, 1, 1, &in, NULL, NULL, &o, &g), BL_UNAVAILABLE, "62 bits");
    assert_null(g);
    /* All weights 0: outputs without a node. */
    w = 0;
    in.hi = 1;
    assert_ok(ctx, bl_adder_solve(a, &w, 1, 1, &in, NULL, NULL, &o, &g));
    assert_int_equal(g->outputs[0].node, -1);
    /* A graph that computes something else is noticed. */
    w = 3;
    in = (bl_adder_input){ 0, 3, 0, 0 };
    assert_ok(ctx, bl_adder_solve(a, &w, 1, 1, &in, NULL, NULL, &o, &g));
    w = 5;
    assert_fails(ctx, bl_adder_verify(a, g, &w, &in, NULL, NULL), BL_INTERNAL, "weight 0 of output 0");
    bl_arena_free(a);
}

/* ------------------------------------------------------------------ the original's figures */

static int64_t number(const json_t *object, const char *key)
{
    return (int64_t)json_number_value(json_object_get(object, key));
}

/* What a matrix takes at one setting: by the setting's own way of choosing sums, and by the best of all ways, as an
 * export takes it. */
typedef struct few { int own, best; } few;

static few solved(bl_arena *a, const int64_t *w, int n_in, int n_out, const bl_adder_input *in, bl_adder_options o)
{
    static const bl_adder_method all[] = { BL_ADDER_OVERLAP, BL_ADDER_ALIGNED, BL_ADDER_COUNT };
    bl_adder_graph *g = NULL;
    assert_ok(ctx, bl_adder_solve(a, w, n_in, n_out, in, NULL, NULL, &o, &g));
    few f = { g->adders, g->adders };
    for (size_t m = 0; m < 2 * BL_COUNTOF(all) && o.method != BL_ADDER_NONE; m++) {
        o.method = all[m / 2];
        o.exact_depth = m % 2;
        assert_ok(ctx, bl_adder_solve(a, w, n_in, n_out, in, NULL, NULL, &o, &g));
        f.best = BL_MIN(f.best, g->adders);
    }
    return f;
}

static void as_few(const json_t *item, const json_t *result, few *ours, int *original)
{
    const json_t *rows = json_object_get(item, "W"), *stages = json_object_get(result, "stages");
    int n_in = (int)json_array_size(rows), n_out = (int)json_array_size(json_array_get(rows, 0));
    const char *method = json_string_value(json_object_get(result, "method0"));
    bl_adder_options o = { !strcmp(method, "wmc") ? BL_ADDER_OVERLAP : !strcmp(method, "mc") ? BL_ADDER_COUNT : BL_ADDER_NONE,
                           (int)number(result, "hard_dc"),
                           json_is_true(json_object_get(result, "search_all")) ? BL_ADDER_SEARCH : BL_ADDER_WHOLE,
                           number(result, "adder_size") < 0, false };
    bl_arena *a = bl_arena_new(ctx, "golden");
    int64_t *w = BL_NEW(a, int64_t, (size_t)n_in * (size_t)n_out);
    bl_adder_input *in = BL_NEW(a, bl_adder_input, (size_t)n_in);
    int64_t theirs = 0;

    assert_true(w && in);
    for (int i = 0; i < n_in; i++) {
        in[i] = (bl_adder_input){ -128, 127, 0, 0 };
        for (int k = 0; k < n_out; k++) w[i * n_out + k] = json_integer_value(json_array_get(json_array_get(rows, (size_t)i), (size_t)k));
    }
    *ours = solved(a, w, n_in, n_out, in, o);
    for (size_t s = 0; s < json_array_size(stages); s++) theirs += number(json_array_get(stages, s), "adders");
    *original = (int)theirs;
    if (ours->own > theirs)
        print_message("%s, %s, hard_dc %d: %d adders, %d by the best way, the original %d\n", json_string_value(json_object_get(item, "name")),
                      method, o.extra_depth, ours->own, ours->best, *original);
    bl_arena_free(a);
}

/* A case is a matrix; it counts where every one of its settings does. */
static void golden(void **state)
{
    (void)state;
    char path[512];
    json_t *record = NULL;
    size_t k, cases = 0, results = 0, own = 0, best = 0, whole = 0;
    json_t *item, *result;
    assert_ok(ctx, bl_json_read(ctx, test_shared("data/golden/da4ml_cmvm.json", path), &record));
    json_array_foreach(json_object_get(record, "cases"), k, item) {
        size_t r;
        bool all = true;
        cases++;
        json_array_foreach(json_object_get(item, "results"), r, result) {
            few ours;
            int original;
            as_few(item, result, &ours, &original);
            results++;
            own += ours.own <= original;
            best += ours.best <= original;
            all = all && ours.best <= original;
        }
        whole += all;
    }
    print_message("at most the adders of the original: %zu of %zu (a matrix with settings) by the same way of choosing, %zu by the best "
                  "way; %zu of %zu matrices at every setting\n", own, results, best, whole, cases);
    assert_int_equal(cases, 15);
    assert_true(own * 10 >= results * 9);
    assert_true(whole * 10 >= cases * 9);
    json_decref(record);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digits),
        cmocka_unit_test(products),
        cmocka_unit_test(depth),
        cmocka_unit_test(large),
        cmocka_unit_test(refused),
        cmocka_unit_test(golden),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
