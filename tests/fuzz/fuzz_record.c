/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any text as STATS, SENS, COST or PLAN of a small network: its hashes are put right first, and
 * what is read is used as the next stage would.  The first byte chooses the record.
 */
#include "fuzz.h"
#include "tiny_cost.h"

/* Good records of the network, for the stages that need more than the one under test. */
typedef struct good {
    bl_stats *stats;
    bl_sens *sens;
    bl_cost *cost;
} good;

static const good *good_records(const fuzz_net *net)
{
    static good g;
    tiny t = { .ctx = net->ctx, .g = net->g, .menu = net->menu };
    if (g.stats) return &g;
    bl_arena *a = bl_arena_new(net->ctx, "stats");
    bl_stats *s = BL_NEW(a, bl_stats, 1);
    *s = (bl_stats){ .arena = a, .graph = net->g->hash, .n_values = net->g->n_values, .samples = 1,
                     .value = BL_NEW(a, bl_value_stats, (size_t)net->g->n_values) };
    for (int v = 0; v < s->n_values; v++)
        s->value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = BL_HIST_BINS,
                                        .bins = BL_NEW(a, uint64_t, BL_HIST_BINS) };
    for (int v = 0; v < s->n_values; v++)
        for (int i = 0; i < BL_HIST_BINS; i++) s->value[v].bins[i] = 1;
    g.sens = tiny_sens(&t, 1);
    g.cost = tiny_timed(&t, 1);
    g.stats = s;
    return &g;
}

/* The text with the network's hashes and its own; NULL where it is no object. */
static char *put_right(const fuzz_net *net, const uint8_t *text, size_t n, size_t *out_n)
{
    json_error_t error;
    json_t *r = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, &error);
    json_t *from = json_object_get(r, "made_from");
    char *out = NULL;
    if (json_is_object(r)) {
        if (json_object_get(from, "graph")) json_object_set_new(from, "graph", json_string(net->g->hash.hex));
        if (json_object_get(from, "menu")) json_object_set_new(from, "menu", json_string(net->menu->hash.hex));
        out = fuzz_record_text(r);
        *out_n = out ? strlen(out) : 0;
    }
    json_decref(r);
    return out;
}

static void search(bl_ctx *ctx, const fuzz_net *net, const good *g, const bl_sens *sens, const bl_cost *cost)
{
    static const char *const budgets[] = { "size=0.6", "latency=0.9" };
    bl_search_request q = { .graph = net->g, .menu = net->menu, .stats = g->stats, .sens = sens, .cost = cost,
                            .budgets = budgets, .n_budgets = cost->has_latency ? 2 : 1,
                            .grids = { .act_range = "minmax", .weight_range = "minmax" } };
    bl_plan *plan = NULL;
    bl_status s = bl_search(ctx, &q, &plan);
    if (s != BL_GOAL && !fuzz_ok(ctx, s)) return;
    if (!plan) abort();
    bl_plan_free(plan);
}

static void use_stats(bl_ctx *ctx, const fuzz_net *net, const char *path)
{
    bl_stats *s;
    bl_plan *plan;
    static const char *const ranges[] = { "minmax", "mse", "golden" };
    if (!fuzz_ok(ctx, bl_stats_read(ctx, net->g, path, &s))) return;
    for (size_t i = 0; i < BL_COUNTOF(ranges); i++) {
        const int choice[64] = { 0 };
        const bl_grid_options o = { .act_range = ranges[i], .weight_range = "minmax" };
        if (bl_observer_find(ranges[i]) &&
            fuzz_ok(ctx, bl_plan_make(ctx, net->g, net->menu, s, choice, &o, "fuzz", &plan)))
            bl_plan_free(plan);
    }
    bl_stats_free(s);
}

static void use_sens(bl_ctx *ctx, const fuzz_net *net, const char *path)
{
    bl_sens *s;
    if (!fuzz_ok(ctx, bl_sens_read(ctx, net->g, net->menu, path, &s))) return;
    search(ctx, net, good_records(net), s, good_records(net)->cost);
    bl_sens_free(s);
}

static void use_cost(bl_ctx *ctx, const fuzz_net *net, const char *path)
{
    bl_cost *c;
    if (!fuzz_ok(ctx, bl_cost_read(ctx, path, &c))) return;
    search(ctx, net, good_records(net), good_records(net)->sens, c);
    bl_cost_free(c);
}

static void use_plan(bl_ctx *ctx, const fuzz_net *net, const char *path)
{
    bl_plan *p;
    bl_program *program;
    bl_fake *fake;
    bl_exec *e;
    if (!fuzz_ok(ctx, bl_plan_read(ctx, net->g, path, &p))) return;
    if (fuzz_ok(ctx, bl_fake_new(ctx, net->g, p, NULL, &fake))) bl_fake_free(fake);
    if (fuzz_ok(ctx, bl_lower(ctx, net->g, p, NULL, &program))) {
        if (fuzz_ok(ctx, bl_exec_new(ctx, program, NULL, &e))) {
            for (int i = 0; i < 4; i++) bl_exec_input(e, 0)[i] = (float)(i - 1);
            if (bl_exec_run(e, NULL, NULL) != BL_OK) abort();
            bl_exec_free(e);
        }
        bl_program_free(program);
    }
    bl_plan_free(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static void (*const use[])(bl_ctx *, const fuzz_net *, const char *) = { use_stats, use_sens, use_cost, use_plan };
    const fuzz_net *net = fuzz_network();
    size_t n = 0;
    if (size < 1) return 0;
    char *text = put_right(net, bytes + 1, size - 1, &n);
    bl_ctx *ctx = fuzz_ctx();
    const char *path = text ? fuzz_file(0, text, n) : fuzz_file(0, bytes + 1, size - 1);
    use[bytes[0] % BL_COUNTOF(use)](ctx, net, path);
    free(text);
    fuzz_ctx_free(ctx);
    return 0;
}
