/* SPDX-License-Identifier: BSD-3-Clause */
/* Prices: counted ones by hand, measured ones from made-up cells, the COST record, a real measurement. */
#include "tiny_cost.h"

static tiny *priced_net(void)
{
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, NULL, &t->menu));
    return t;
}

static void random_choice(const tiny *t, bl_rng *r, int *choice)
{
    for (int u = 0; u < t->menu->n_units; u++) choice[u] = (int)bl_rng_below(r, (uint64_t)t->menu->units[u].n_candidates);
}

static void counted_by_hand(void **state)
{
    /* layer, its input's unit, weights, multiply-accumulates */
    static const struct { const char *unit; double weights, macs; } layers[] = {
        { "x", 4 * 3 * 9, 4 * 3 * 9 * 36 }, { "a", 4 * 4 * 9, 4 * 4 * 9 * 36 }, { "sum", 4 * 4, 4 * 4 * 36 },
        { "pool", 4 * 16, 4 * 16 } };
    (void)state;
    tiny *t = priced_net();
    bl_cost *cost = tiny_counted(t);
    bl_prices *prices = NULL;
    bl_rng r = bl_rng_make(1, "choices", 0);
    assert_false(cost->has_latency);
    assert_ok(t->ctx, bl_prices_make(t->ctx, t->g, t->menu, cost, &prices));
    assert_null(prices->column[BL_M_LATENCY]);
    for (int trial = 0; trial < 50; trial++) {
        double total[BL_N_METRIC], size = 0, bops = 0, sum_size = 0, sum_bops = 0;
        bl_candidate c[16];
        int choice[16];
        random_choice(t, &r, choice);
        tiny_candidates(t, choice, c);
        for (size_t l = 0; l < BL_COUNTOF(layers); l++) {
            int u = bl_menu_find(t->menu, layers[l].unit);
            size += ceil(layers[l].weights * c[u].w_bits / 8);
            bops += layers[l].macs * c[u].w_bits * c[u].a_bits;
            assert_true(prices->column[BL_M_SIZE][u][choice[u]] == ceil(layers[l].weights * c[u].w_bits / 8));
        }
        for (int u = 0; u < t->menu->n_units; u++) {
            sum_size += prices->column[BL_M_SIZE][u][choice[u]];
            sum_bops += prices->column[BL_M_BOPS][u][choice[u]];
        }
        assert_ok(t->ctx, bl_price_exact(t->ctx, t->g, t->menu, cost, c, total));
        assert_true(total[BL_M_SIZE] == size && sum_size == size);
        assert_true(total[BL_M_BOPS] == bops && sum_bops == bops);
        assert_true(isnan(total[BL_M_LATENCY]));
        assert_true(isnan(bl_price_node(t->ctx, t->g, t->menu, cost, 0, c, BL_STATE_L2)));
        /* a and the padded cut of it, b: three planes of 4 x 6 x 6 bytes while they are added, and the sum */
        assert_true(total[BL_M_MEMORY] >= 3 * 144 && total[BL_M_MEMORY] <= 5 * 144);
    }
    double int8[BL_N_METRIC];
    assert_ok(t->ctx, bl_price_int8(t->ctx, t->g, t->menu, cost, int8));
    assert_true(int8[BL_M_SIZE] == 108 + 144 + 16 + 64);
    assert_true(int8[BL_M_BOPS] == 64.0 * (3888 + 5184 + 576 + 64));
    bl_prices_free(prices);
    bl_cost_free(cost);
    tiny_free(t);
}

static void separable_is_never_below_exact(void **state)
{
    (void)state;
    tiny *t = priced_net();
    for (uint64_t seed = 0; seed < 10; seed++) {
        bl_cost *cost = tiny_timed(t, seed);
        bl_prices *prices = NULL;
        bl_rng r = bl_rng_make(seed, "choices", 0);
        assert_ok(t->ctx, bl_prices_make(t->ctx, t->g, t->menu, cost, &prices));
        for (int trial = 0; trial < 100; trial++) {
            double total[BL_N_METRIC], sum = 0, nodes = 0;
            bl_candidate c[16];
            int choice[16];
            random_choice(t, &r, choice);
            tiny_candidates(t, choice, c);
            for (int u = 0; u < t->menu->n_units; u++) sum += prices->column[BL_M_LATENCY][u][choice[u]];
            for (int i = 0; i < t->g->n_nodes; i++) nodes += bl_price_node(t->ctx, t->g, t->menu, cost, i, c, BL_STATE_L2);
            assert_ok(t->ctx, bl_price_exact(t->ctx, t->g, t->menu, cost, c, total));
            assert_true(sum >= total[BL_M_LATENCY] * (1 - 1e-12));
            assert_true(fabs(nodes - total[BL_M_LATENCY]) <= 1e-9 * nodes);
        }
        bl_prices_free(prices);
        bl_cost_free(cost);
    }
    tiny_free(t);
}

static bool constant_first;

/* A constant beside a value that flows, in one order or the other: no bias to fold it into. */
static onnx_build *with_constant(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "w", "3,3,3,3", NULL);
    ob_floats(b, "c", "3,1,1", NULL);
    ob_floats(b, "d", "3,1,1", NULL);
    ob_node(b, "Conv", "x,w", "a0");
    ob_node(b, "Relu", "a0", "a");
    ob_node(b, "Add", constant_first ? "c,a" : "a,c", "sum0");
    ob_node(b, "Relu", "sum0", "sum");
    ob_node(b, "Mul", constant_first ? "d,sum" : "sum,d", "y");
    ob_output(b, "y");
    return b;
}

static void constants_cost_in_either_place(void **state)
{
    double latency[2] = { 0 };
    (void)state;
    for (int first = 0; first < 2; first++) {
        constant_first = first;
        tiny *t = tiny_new_net(1, with_constant, 4);
        assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, NULL, &t->menu));
        bl_cost *cost = tiny_timed(t, 1);
        bl_candidate c[16];
        double total[BL_N_METRIC];
        int priced = 0;
        for (int u = 0; u < t->menu->n_units; u++) c[u] = t->menu->units[u].candidates[0];
        assert_ok(t->ctx, bl_price_exact(t->ctx, t->g, t->menu, cost, c, total));
        for (int i = 0; i < t->g->n_nodes; i++) priced += bl_price_node(t->ctx, t->g, t->menu, cost, i, c, BL_STATE_L2) > 0;
        assert_int_equal(priced, t->g->n_nodes);
        latency[first] = total[BL_M_LATENCY];
        bl_cost_free(cost);
        tiny_free(t);
    }
    assert_true(latency[0] > 0 && latency[0] == latency[1]);
}

/* Operators that cannot swap their operands, the constant first. */
static onnx_build *with_constants_first(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "w", "3,3,3,3", NULL);
    ob_floats(b, "c", "3,1,1", NULL);
    ob_floats(b, "d", "3,1,1", NULL);
    ob_floats(b, "m", "6,4", NULL);
    ob_node(b, "Conv", "x,w", "a0");
    ob_node(b, "Relu", "a0", "a");
    ob_node(b, "Sub", "c,a", "difference");
    ob_node(b, "MatMul", "m,difference", "product");
    ob_node(b, "Div", "d,product", "y");
    ob_output(b, "y");
    return b;
}

static void what_flows_in_second_costs_too(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, with_constants_first, 4);
    bl_menu_options o = { .w_bits = { 8 }, .n_w = 1, .a_bits = { 8, 4 }, .n_a = 2 };
    bl_measure_options m = { .seconds = 0.001 };
    bl_cost *cost = NULL;
    bl_prices *prices = NULL;
    bl_candidate c[16];
    int priced = 0;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    assert_ok(t->ctx, bl_measure(t->ctx, t->g, t->menu, "here", &m, &cost));
    assert_ok(t->ctx, bl_prices_make(t->ctx, t->g, t->menu, cost, &prices));
    for (int u = 0; u < t->menu->n_units; u++) c[u] = t->menu->units[u].candidates[0];
    for (int i = 0; i < t->g->n_nodes; i++) {
        double ns = bl_price_node(t->ctx, t->g, t->menu, cost, i, c, BL_STATE_L2);
        priced += isfinite(ns);
        assert_true(bl_node_input(t->g, i) >= 0 && !t->g->values[bl_node_input(t->g, i)].t.data);
    }
    assert_int_equal(priced, t->g->n_nodes);
    assert_true(t->g->n_nodes >= 4);
    bl_prices_free(prices);
    bl_cost_free(cost);
    tiny_free(t);
}

/* Within max(3 %, A/A spread) of the widest cell a width has its price. */
static void ties_go_to_the_wider_width(void **state)
{
    (void)state;
    tiny *t = priced_net();
    bl_cost *cost = tiny_counted(t);
    int node = tiny_node_of(t->g, "b"), u = tiny_unit_of(t->menu, t->g, "a"), v = tiny_unit_of(t->menu, t->g, "b");
    const char *key = bl_node_key(cost->arena, t->g, node);
    static const struct { int w; double ns; } cells[] = { { 8, 1000 }, { 6, 1029 }, { 4, 971 }, { 3, 960 }, { 2, 500 } };
    bl_candidate c[16];
    cost->has_latency = true;
    for (size_t i = 0; i < BL_COUNTOF(cells); i++) {
        bl_cost_cell cell = { .key = key, .w_bits = cells[i].w, .a_in = 8, .a_out = 8, .kernel = "k", .q1_ns = cells[i].ns };
        assert_ok(t->ctx, bl_cost_add(cost, &cell));
    }
    for (int k = 0; k < t->menu->n_units; k++) c[k] = t->menu->units[k].candidates[0];
    c[v].a_bits = 8;
    static const double narrow_tie[] = { 1000, 1000, 1000, 960, 500 }, wide_tie[] = { 1000, 1000, 1000, 1000, 500 };
    for (int wide = 0; wide < 2; wide++) {
        for (size_t i = 0; i < BL_COUNTOF(cells); i++) {
            c[u].w_bits = cells[i].w;
            assert_true(bl_price_node(t->ctx, t->g, t->menu, cost, node, c, BL_STATE_L2) == (wide ? wide_tie : narrow_tie)[i]);
        }
        assert_ok(t->ctx, bl_cost_add_group(cost, key, 0.05));
    }
    c[u].w_bits = 5; /* no such cell */
    assert_true(isnan(bl_price_node(t->ctx, t->g, t->menu, cost, node, c, BL_STATE_L2)));
    bl_prices *prices = NULL;
    double total[BL_N_METRIC];
    assert_fails(t->ctx, bl_prices_make(t->ctx, t->g, t->menu, cost, &prices), BL_DATA, "no cell");
    assert_fails(t->ctx, bl_price_exact(t->ctx, t->g, t->menu, cost, c, total), BL_DATA, "no cell");
    assert_null(prices);
    bl_cost_free(cost);
    tiny_free(t);
}

static void keys_name_what_costs(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    (void)state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,2,6,6");
    ob_floats(b, "w", "2,2,3,3", NULL);
    ob_floats(b, "v", "2,2,3,3", NULL);
    ob_int64s(b, "zero", "0");
    ob_int64s(b, "one", "1");
    ob_int64s(b, "two", "2");
    ob_int64s(b, "end", "5");
    for (int i = 0; i < 3; i++) { /* the second with other numbers only, the third padded otherwise */
        char out[8];
        snprintf(out, sizeof out, "c%d", i);
        ob_ints_attr(ob_node(b, "Conv", i == 1 ? "x,v" : "x,w", out), b, "pads", i == 2 ? "1,1,0,0" : "0,0,0,0");
        ob_output(b, out);
    }
    ob_node(b, "Relu", "c3", "r3");
    ob_node(b, "Conv", "x,w", "c3");
    ob_ints_attr(b->graph.node[4], b, "pads", "0,0,0,0");
    ob_output(b, "r3");
    ob_node(b, "Slice", "x,zero,end,two", "s0");
    ob_node(b, "Slice", "x,one,end,two", "s1");
    ob_output(b, "s0");
    ob_output(b, "s1");
    bl_graph *g = ob_prepared(b);
    bl_arena *a = bl_arena_new(ctx, "keys");
    const char *c0 = bl_node_key(a, g, tiny_node_of(g, "c0")), *c1 = bl_node_key(a, g, tiny_node_of(g, "c1"));
    const char *c2 = bl_node_key(a, g, tiny_node_of(g, "c2")), *r3 = bl_node_key(a, g, tiny_node_of(g, "r3"));
    assert_string_equal(c0, c1);
    assert_string_not_equal(c0, c2);
    assert_string_not_equal(c0, r3);
    assert_string_not_equal(bl_node_key(a, g, tiny_node_of(g, "s0")), bl_node_key(a, g, tiny_node_of(g, "s1")));
    bl_arena_free(a);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* A whole record of another machine is read, is not taken for one of this, and both identities can be told. */
static void record_of_another_machine(void **state)
{
    (void)state;
    tiny *t = priced_net();
    char path[400];
    const char *const changed[] = { "cpu", "isa", "tool", "l2_bytes" };
    snprintf(path, sizeof path, "%s/elsewhere.json", t->folder);
    for (size_t i = 0; i < BL_COUNTOF(changed); i++) {
        bl_cost *cost = tiny_timed(t, 5), *back = NULL;
        json_decref(cost->machine);
        cost->machine = bl_machine_json(t->ctx);
        assert_true(bl_cost_is_here(t->ctx, cost));
        json_object_set_new(cost->machine, changed[i], i == 3 ? json_integer(7) : json_string("Elsewhere 9000"));
        assert_ok(t->ctx, bl_cost_write(t->ctx, cost, path));
        assert_ok(t->ctx, bl_cost_read(t->ctx, path, &back));
        assert_false(bl_cost_is_here(t->ctx, back));
        json_t *here = bl_machine_json(t->ctx);
        const char *there = bl_cost_machine_text(back->arena, back->machine), *this = bl_cost_machine_text(back->arena, here);
        assert_true((strstr(there, "Elsewhere 9000") != NULL) == (i < 3));
        assert_true(strstr(this, bl_cpu_name()) && !strstr(this, "Elsewhere"));
        json_decref(here);
        bl_cost_free(back);
        bl_cost_free(cost);
    }
    tiny_free(t);
}

static void record_there_and_back(void **state)
{
    (void)state;
    tiny *t = priced_net();
    bl_cost *cost = tiny_timed(t, 5), *back = NULL;
    char path[400], copy[400];
    snprintf(path, sizeof path, "%s/cost.json", t->folder);
    snprintf(copy, sizeof copy, "%s/copy.json", t->folder);
    assert_ok(t->ctx, bl_cost_write(t->ctx, cost, path));
    assert_ok(t->ctx, bl_cost_read(t->ctx, path, &back));
    assert_string_equal(cost->hash.hex, back->hash.hex);
    assert_string_equal(back->target, "counted");
    assert_true(back->has_latency && json_equal(back->machine, cost->machine));
    assert_int_equal(back->n_cells, cost->n_cells);
    assert_int_equal(back->n_groups, cost->n_groups);
    for (size_t i = 0; i < cost->n_cells; i += 17) {
        const bl_cost_cell *x = &cost->cells[i], *y = bl_cost_find(back, x->key, x->w_bits, x->a_in, x->a_out);
        assert_true(y && x->q1_ns == y->q1_ns && x->median_ns == y->median_ns && x->p90_ns == y->p90_ns);
        assert_string_equal(x->kernel, y->kernel);
    }
    assert_null(bl_cost_find(back, "Conv()", 8, 8, 8));
    bl_cost_free(back);
    back = NULL;
    static const struct { const char *of, *key, *json, *what; } cases[] = {
        { "cell", "q1_ns", "-1", "negative time" }, { "cell", "p90_ns", "null", "p90_ns" },  { "cell", "key", "7", "key" },
        { "cell", "w_bits", "33", "w_bits" },       { "cell", "kernel", "null", "kernel" }, { "group", "aa_spread", "\"\"", "aa_spread" },
        { "", "machine", "7", "machine" },          { "", "target", "null", "target" },     { "", "cells", "{}", "cells" } };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = NULL;
        bl_hash hash;
        assert_ok(t->ctx, bl_json_read(t->ctx, path, &r));
        json_t *of = *cases[i].of == 'c' ? json_array_get(json_object_get(r, "cells"), 1)
                                         : *cases[i].of == 'g' ? json_array_get(json_object_get(r, "groups"), 1) : r;
        json_object_set_new(of, cases[i].key, json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        assert_ok(t->ctx, bl_record_write(t->ctx, r, copy, &hash));
        json_decref(r);
        assert_fails(t->ctx, bl_cost_read(t->ctx, copy, &back), BL_DATA, cases[i].what);
        assert_null(back);
    }
    bl_cost_free(cost);
    assert_fails(t->ctx, bl_measure(t->ctx, t->g, t->menu, "there", NULL, &back), BL_USAGE, "unknown target");
    tiny_free(t);
}

static void this_machine_is_measured(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, tiny_residual, 4);
    bl_menu_options o = { .w_bits = { 8, 2 }, .n_w = 2, .a_bits = { 8, 4 }, .n_a = 2, .keep_ends = true };
    bl_measure_options m = { .seconds = 0.001 };
    bl_cost *cost = NULL;
    bl_prices *prices = NULL;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    assert_ok(t->ctx, bl_measure(t->ctx, t->g, t->menu, "here", &m, &cost));
    assert_true(cost->has_latency && cost->n_groups >= 8);
    for (size_t i = 0; i < cost->n_cells; i++) {
        const bl_cost_cell *x = &cost->cells[i];
        if (strcmp(x->kernel, "none")) assert_true(x->q1_ns > 0 && x->q1_ns <= x->median_ns && x->median_ns <= x->p90_ns);
    }
    assert_ok(t->ctx, bl_prices_make(t->ctx, t->g, t->menu, cost, &prices)); /* no cell is missing */
    assert_non_null(prices->column[BL_M_LATENCY]);
    bl_prices_free(prices);
    bl_cost_free(cost);
    tiny_free(t);
}

static void names_and_quantiles(void **state)
{
    bl_metric m;
    double x[] = { 5, 1, 4, 2, 3 }, one[] = { 7 };
    (void)state;
    for (int i = 0; i < BL_N_METRIC; i++)
        assert_int_equal(bl_metric_parse(bl_metric_name((bl_metric)i), &m), i != BL_M_MEMORY); /* a price, no budget */
    assert_false(bl_metric_parse("size_bytes", &m));
    assert_false(bl_metric_parse("", &m));
    assert_true(bl_quantile(x, 5, 0.5) == 3 && bl_quantile(x, 5, 0) == 1 && bl_quantile(x, 5, 1) == 5);
    assert_true(bl_quantile(x, 5, 0.25) == 2 && fabs(bl_quantile(x, 5, 0.9) - 4.6) < 1e-12 && bl_quantile(one, 1, 0.9) == 7);
    bl_candidate c[] = { { 8, 8 }, { 4, 8 }, { 8, 4 }, { 4, 4 } };
    bl_unit u = { .candidates = c, .n_candidates = 4 };
    assert_int_equal(bl_uniform_candidate(&u, 8, 8), 0);
    assert_int_equal(bl_uniform_candidate(&u, 6, 8), 1);
    assert_int_equal(bl_uniform_candidate(&u, 8, 5), 2);
    assert_int_equal(bl_uniform_candidate(&u, 2, 2), 3); /* none is below: the narrowest */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(counted_by_hand),
        cmocka_unit_test(separable_is_never_below_exact),
        cmocka_unit_test(constants_cost_in_either_place),
        cmocka_unit_test(what_flows_in_second_costs_too),
        cmocka_unit_test(ties_go_to_the_wider_width),
        cmocka_unit_test(keys_name_what_costs),
        cmocka_unit_test(record_of_another_machine),
        cmocka_unit_test(record_there_and_back),
        cmocka_unit_test(this_machine_is_measured),
        cmocka_unit_test(names_and_quantiles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
