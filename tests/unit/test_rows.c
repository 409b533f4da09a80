/* SPDX-License-Identifier: BSD-3-Clause */
/* Kernel rows that a COST record found fastest: which one wins, what a program asks for, the same bits by each. */
#include "tiny_cost.h"

#include "base/container.h"

enum { ROWS_MAX = 32 };

/* A small network, its plan and its program; a record without cells. */
typedef struct net {
    tiny *t;
    bl_plan *plan;
    bl_program *program;
    bl_cost *cost;
} net;

static net net_new(int w_bits)
{
    net n = { .t = tiny_new_net(1, tiny_residual, 4) };
    bl_menu_options m = { .w_bits = { w_bits }, .n_w = 1, .a_bits = { 8 }, .n_a = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    int choice[64] = { 0 };
    assert_ok(n.t->ctx, bl_menu_make(n.t->ctx, n.t->g, &m, &n.t->menu));
    bl_stats *stats = bl_stand_in_stats(n.t->ctx, n.t->g);
    assert_ok(n.t->ctx, bl_plan_make(n.t->ctx, n.t->g, n.t->menu, stats, choice, &o, "test", &n.plan));
    assert_ok(n.t->ctx, bl_lower(n.t->ctx, n.t->g, n.plan, NULL, &n.program));
    n.cost = tiny_counted(n.t);
    n.cost->has_latency = true;
    bl_stats_free(stats);
    return n;
}

static void net_free(net *n)
{
    bl_cost_free(n->cost);
    bl_program_free(n->program);
    bl_plan_free(n->plan);
    tiny_free(n->t);
}

static void add(net *n, const char *key, int w, int in, int out, const char *kernel, double ns, double ns_l3, bool noisy)
{
    bl_cost_cell c = { .key = key, .w_bits = w, .a_in = in, .a_out = out, .kernel = kernel, .noisy = noisy };
    c.at[BL_STATE_L2] = (bl_cost_time){ ns, ns, ns, ns / 1000 };
    if (ns_l3 > 0) c.at[BL_STATE_L3] = (bl_cost_time){ ns_l3, ns_l3, ns_l3, ns_l3 / 1000 };
    assert_ok(n->t->ctx, bl_cost_add(n->cost, &c));
}

/* Range estimators that were chosen by value want a histogram, which numbers that stand in for samples do not have. */
static void stands_in_under_chosen_ranges(void **state)
{
    (void)state;
    net n = net_new(8);
    bl_program *program = NULL;
    int choice[64] = { 0 };
    for (int u = 0; u < n.t->menu->n_units; u++) n.t->menu->units[u].range[8] = "mse";
    assert_ok(n.t->ctx, bl_stand_in_program(n.t->ctx, n.t->g, n.t->menu, choice, NULL, &program));
    bl_program_free(program);
    net_free(&n);
}

static void the_fastest_beyond_a_tie_wins(void **state)
{
    (void)state;
    net n = net_new(8);
    const char *key = "Conv(some)";
    add(&n, key, 8, 8, 8, "first", 1000, 2000, false);
    add(&n, key, 8, 8, 8, "tie", 975, 1500, false);
    add(&n, key, 8, 8, 8, "noisy", 100, 100, true);
    add(&n, key, 4, 8, 8, "other widths", 10, 10, false);
    assert_string_equal(bl_cost_best(n.cost, key, 8, 8, 8, BL_STATE_L2)->kernel, "first");
    assert_string_equal(bl_cost_best(n.cost, key, 8, 8, 8, BL_STATE_L3)->kernel, "tie");
    assert_string_equal(bl_cost_best(n.cost, key, 8, 8, 8, BL_STATE_DRAM)->kernel, "tie"); /* as in L3: not measured */
    add(&n, key, 8, 8, 8, "fast", 900, 0, false);
    add(&n, key, 8, 8, 8, "faster", 800, 1990, false);
    assert_string_equal(bl_cost_best(n.cost, key, 8, 8, 8, BL_STATE_L2)->kernel, "faster");
    assert_string_equal(bl_cost_best(n.cost, key, 4, 8, 8, BL_STATE_L2)->kernel, "other widths");
    assert_ok(n.t->ctx, bl_cost_add_group(n.cost, key, 0.3)); /* the same cell twice was 30 % apart */
    assert_string_equal(bl_cost_best(n.cost, key, 8, 8, 8, BL_STATE_L2)->kernel, "first");
    assert_null(bl_cost_best(n.cost, key, 2, 8, 8, BL_STATE_L2));
    assert_null(bl_cost_best(n.cost, "Conv(other)", 8, 8, 8, BL_STATE_L2));
    net_free(&n);
}

static int node_named(const bl_graph *g, const char *name)
{
    for (int i = 0; i < g->n_nodes; i++)
        if (!strcmp(g->nodes[i].name, name)) return i;
    return -1;
}

/* Every priced node's first row at 1000 ns, and its last legal one but the reference at `rival_ns`. */
static int made_up(net *n, double rival_ns)
{
    bl_exec *e = NULL;
    int rivals = 0;
    assert_ok(n->t->ctx, bl_exec_new(n->t->ctx, n->program, NULL, &e));
    for (uint32_t s = 0; s < n->program->n_steps; s++) {
        const char *row[ROWS_MAX];
        size_t rows = bl_exec_rows(e, s, row, ROWS_MAX);
        int node = node_named(n->t->g, n->program->strings + n->program->steps[s].name);
        assert_true(rows >= 1 && rows <= ROWS_MAX && !strcmp(row[0], bl_exec_kernel(e, s)));
        if (node < 0 || !bl_node_priced(n->t->g, node) || rows < 3) continue;
        const bl_node *x = &n->t->g->nodes[node];
        int weight = bl_layer_weight(n->t->g, node), w = weight < 0 ? 0 : n->plan->quantizers[n->plan->of_value[weight]].bits;
        const char *key = bl_node_key(n->cost->arena, n->t->g, node);
        int in = n->plan->quantizers[n->plan->of_value[x->in[0]]].bits, out = n->plan->quantizers[n->plan->of_value[x->out[0]]].bits;
        if (bl_cost_find(n->cost, key, w, in, out)) continue;
        add(n, key, w, in, out, row[0], 1000, 0, false);
        add(n, key, w, in, out, row[rows - 2], rival_ns, 0, false);
        rivals++;
    }
    bl_exec_free(e);
    return rivals;
}

static void run_all(bl_ctx *ctx, const bl_program *p, bl_arena *a, uint16_t **codes, const char **kernel)
{
    bl_exec *e = NULL;
    assert_ok(ctx, bl_exec_new(ctx, p, NULL, &e));
    for (int i = 0; i < 3 * 36; i++) bl_exec_input(e, 0)[i] = (float)(i % 17) / 4 - 1;
    assert_ok(ctx, bl_exec_run(e, NULL, NULL));
    for (uint32_t t = 0; t < p->n_tensors; t++) {
        codes[t] = bl_alloc(a, 1 << 12, sizeof **codes);
        bl_exec_read(e, t, codes[t]);
    }
    for (uint32_t s = 0; s < p->n_steps; s++) kernel[s] = bl_exec_kernel(e, s);
    bl_exec_free(e);
}

/* Measured, asked for, written, read, run: other rows, the same bits. */
static void a_program_asks_for_its_rows(void **state)
{
    (void)state;
    for (int w = 8; w >= 2; w -= 6) {
        net n = net_new(w);
        bl_ctx *ctx = n.t->ctx;
        bl_arena *a = bl_arena_new(ctx, "codes");
        bl_program *back = NULL;
        uint16_t *plain[256], *asked[256];
        const char *k0[256], *k1[256];
        char path[400];
        int rivals = made_up(&n, 990), other = 0;
        assert_true(rivals >= 3 && n.program->n_tensors < 256 && n.program->n_steps < 256);
        run_all(ctx, n.program, a, plain, k0);
        assert_ok(ctx, bl_cost_prefer(ctx, n.cost, n.t->g, n.plan, n.program));
        assert_null(n.program->row_text); /* ties: nothing to ask for */
        n.cost->n_cells = 0;
        made_up(&n, 500);
        assert_ok(ctx, bl_cost_prefer(ctx, n.cost, n.t->g, n.plan, n.program));
        assert_non_null(n.program->row_text);
        snprintf(path, sizeof path, "%s/rows.blp", n.t->folder);
        assert_ok(ctx, bl_program_write(ctx, n.program, path));
        assert_ok(ctx, bl_program_open(ctx, path, &back));
        run_all(ctx, back, a, asked, k1);
        for (uint32_t s = 0; s < back->n_steps; s++) {
            const char *row = bl_program_row(back, s, bl_isa_best());
            if (row) assert_string_equal(k1[s], row);
            else assert_string_equal(k1[s], k0[s]);
            other += strcmp(k1[s], k0[s]) != 0;
        }
        assert_true(other >= rivals);
        for (uint32_t t = 0; t < back->n_tensors; t++) assert_memory_equal(plain[t], asked[t], (1 << 12) * sizeof *plain[t]);
        bl_program_free(back);
        bl_arena_free(a);
        net_free(&n);
    }
}

/* Advice that is not for here, or of rows that are none, changes nothing; damaged advice is refused. */
static void advice_holds_where_it_was_measured(void **state)
{
    (void)state;
    net n = net_new(8);
    bl_ctx *ctx = n.t->ctx;
    const char *row[256] = { NULL };
    bl_exec *e = NULL;
    uint32_t conv = 0;
    while (n.program->steps[conv].contract != BL_C_CONV) conv++;
    row[conv] = "conv_dot_base";
    assert_ok(ctx, bl_program_prefer(ctx, n.program, "another CPU", bl_isa_name(bl_isa_best()), row));
    assert_null(bl_program_row(n.program, conv, bl_isa_best()));
    assert_ok(ctx, bl_program_prefer(ctx, n.program, bl_cpu_name(), bl_isa_name(bl_isa_best()), row));
    assert_string_equal(bl_program_row(n.program, conv, bl_isa_best()), "conv_dot_base");
    if (bl_isa_best() != BL_ISA_REF) assert_null(bl_program_row(n.program, conv, BL_ISA_REF)); /* another cap */
    assert_null(bl_program_row(n.program, conv + 1, bl_isa_best()));
    assert_ok(ctx, bl_exec_new(ctx, n.program, NULL, &e));
    assert_string_equal(bl_exec_kernel(e, conv), "conv_dot_base");
    bl_exec_free(e);
    static const char *const none[] = { "conv_none", "table_base", "" };
    for (size_t i = 0; i < BL_COUNTOF(none); i++) {
        row[conv] = none[i];
        assert_ok(ctx, bl_program_prefer(ctx, n.program, bl_cpu_name(), bl_isa_name(bl_isa_best()), row));
        assert_ok(ctx, bl_exec_new(ctx, n.program, NULL, &e));
        assert_string_not_equal(bl_exec_kernel(e, conv), none[i]);
        bl_exec_free(e);
    }
    static const char *const bad[] = { "", "7", "{", "{}", "{\"cpu\":1,\"isa\":\"\",\"rows\":[]}", "{\"cpu\":\"\",\"isa\":\"\",\"rows\":7}",
                                       "{\"cpu\":\"\",\"isa\":\"\",\"rows\":[{\"step\":-1,\"kernel\":\"\"}]}",
                                       "{\"cpu\":\"\",\"isa\":\"\",\"rows\":[{\"step\":100000,\"kernel\":\"\"}]}",
                                       "{\"cpu\":\"\",\"isa\":\"\",\"rows\":[{\"step\":0}]}" };
    for (size_t i = 0; i < BL_COUNTOF(bad); i++)
        assert_int_equal(bl_program_rows_read(ctx, "x.blp", n.program, bad[i], strlen(bad[i]) + 1), BL_DATA);
    assert_fails(ctx, bl_program_rows_read(ctx, "x.blp", n.program, "{}", 2), BL_DATA, "kernels"); /* no end */
    net_free(&n);
}

/* Rivals found by a real measurement are legal rows, and the record with them prices and lowers. */
static void rivals_are_measured(void **state)
{
    (void)state;
    net n = net_new(8);
    bl_measure_options m = { .seconds = 0.001 };
    bl_cost *cost = NULL;
    bl_prices *prices = NULL;
    assert_ok(n.t->ctx, bl_measure(n.t->ctx, n.t->g, n.t->menu, "here", &m, &cost));
    for (size_t i = 0; i < cost->n_cells; i++) {
        bool known = !strcmp(cost->cells[i].kernel, "none") || !strcmp(cost->cells[i].kernel, "convert");
        for (size_t k = 0; k < bl_n_kernels; k++) known |= !strcmp(cost->cells[i].kernel, bl_kernels[k].name);
        assert_true(known);
        for (size_t k = 0; k < i; k++) { /* a row once at its widths */
            const bl_cost_cell *x = &cost->cells[i], *y = &cost->cells[k];
            assert_false(x->w_bits == y->w_bits && x->a_in == y->a_in && x->a_out == y->a_out && !strcmp(x->key, y->key) &&
                         !strcmp(x->kernel, y->kernel));
        }
    }
    assert_ok(n.t->ctx, bl_prices_make(n.t->ctx, n.t->g, n.t->menu, cost, &prices));
    assert_ok(n.t->ctx, bl_cost_prefer(n.t->ctx, cost, n.t->g, n.plan, n.program));
    bl_prices_free(prices);
    bl_cost_free(cost);
    net_free(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stands_in_under_chosen_ranges),
        cmocka_unit_test(the_fastest_beyond_a_tie_wins),
        cmocka_unit_test(a_program_asks_for_its_rows),
        cmocka_unit_test(advice_holds_where_it_was_measured),
        cmocka_unit_test(rivals_are_measured),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
