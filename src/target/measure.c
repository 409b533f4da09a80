/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * COST of this machine (OQA, arXiv 2309.01945): every operator shape at every width pair, timed with
 * the very kernels that will run.  A probe is the node cut out of its graph, given grids, lowered and
 * loaded like any program; only its own steps are timed.  Candidates of one shape are interleaved in
 * rotated order, the widest one twice (A/A).
 */
#include "target/target.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS_MAX = 60, ROUNDS_MIN = 7 };

typedef struct probe {
    int w_bits, a_in, a_out;
    bl_program *program;
    bl_exec *exec;
    uint32_t first_step, last_step; /* the node's own: [first, last) */
    double sample[ROUNDS_MAX];
} probe;

typedef struct shape {
    const char *key;
    int node;
    int n;                      /* candidates, without the A/A twin */
    struct widths { int w, in, out; } *pair;
} shape;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bl_quantile(double *x, size_t n, double q)
{
    qsort(x, n, sizeof *x, ascending);
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

/* ---- a probe */

/* Stand-in statistics: what a ReLU lets through. */
static bl_stats *plain_stats(bl_ctx *ctx, const bl_graph *g)
{
    bl_arena *a = bl_arena_new(ctx, "probe");
    bl_stats *s = a ? BL_NEW(a, bl_stats, 1) : NULL;
    bl_value_stats *v = s ? BL_NEW(a, bl_value_stats, (size_t)g->n_values) : NULL;
    if (!v) {
        bl_arena_free(a);
        return NULL;
    }
    *s = (bl_stats){ .arena = a, .n_values = g->n_values, .value = v };
    for (int i = 0; i < g->n_values; i++) v[i] = (bl_value_stats){ .lo = 0, .hi = 4, .count = 1 };
    return s;
}

bl_status bl_try_lowering(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu)
{
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    bl_plan *plan = NULL;
    bl_program *program = NULL;
    bl_stats *stats = plain_stats(ctx, graph);
    int *choice = stats ? BL_NEW(stats->arena, int, (size_t)menu->n_units) : NULL; /* the widest everywhere */
    bl_status s = choice ? bl_plan_make(ctx, graph, menu, stats, choice, &o, "trial", &plan) : bl_pending(ctx);
    if (s == BL_OK) s = bl_lower(ctx, graph, plan, NULL, &program);
    bl_program_free(program);
    bl_plan_free(plan);
    bl_stats_free(stats);
    return s;
}

static bl_status choose_widths(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const probe *p, int *choice)
{
    int out_unit = m->unit_of_value[g->nodes[0].out[0]];
    for (int u = 0; u < m->n_units; u++) {
        int want = u == out_unit && u != m->unit_of_value[g->nodes[0].in[0]] ? p->a_out : p->a_in;
        choice[u] = -1;
        for (int c = 0; c < m->units[u].n_candidates; c++)
            if (m->units[u].candidates[c].a_bits == want || m->units[u].fixed_grid) choice[u] = c;
        BL_CHECK(ctx, choice[u] >= 0);
    }
    return BL_OK;
}

static bl_status lower_probe(bl_ctx *ctx, const bl_graph *g, probe *p)
{
    bl_menu_options mo = { .w_bits = { p->w_bits ? p->w_bits : 8 }, .n_w = 1, .a_bits = { p->a_in, p->a_out }, .n_a = 2 };
    bl_grid_options go = { .act_range = "minmax", .weight_range = "minmax" };
    bl_menu *m = NULL;
    bl_plan *plan = NULL;
    bl_stats *stats = plain_stats(ctx, g);
    bl_status s = stats ? bl_menu_make(ctx, g, &mo, &m) : bl_pending(ctx);
    int *choice = s == BL_OK ? BL_NEW(stats->arena, int, (size_t)m->n_units) : NULL;
    if (s == BL_OK) s = choice ? choose_widths(ctx, g, m, p, choice) : bl_pending(ctx);
    if (s == BL_OK) s = bl_plan_make(ctx, g, m, stats, choice, &go, "probe", &plan);
    if (s == BL_OK) s = bl_lower(ctx, g, plan, NULL, &p->program);
    bl_plan_free(plan);
    bl_menu_free(m);
    bl_stats_free(stats);
    return s;
}

/* Random codes over the whole width in every tensor that the node reads: never zeros. */
static void fill_inputs(bl_ctx *ctx, probe *p, const char *key)
{
    bl_rng r = bl_rng_make(ctx->options.seed, key, (uint64_t)(p->w_bits * 1024 + p->a_in * 32 + p->a_out));
    for (uint32_t i = 0; i < p->first_step; i++) {
        const bl_ptensor *t = &p->program->tensors[p->program->steps[i].out];
        uint8_t *narrow = bl_exec_codes(p->exec, (uint32_t)p->program->steps[i].out);
        uint16_t *wide = (void *)narrow;
        for (uint64_t k = 0; k < t->bytes / (t->bits <= 8 ? 1 : 2); k++) {
            uint64_t code = bl_rng_u64(&r) >> (64 - t->bits);
            if (t->bits <= 8) narrow[k] = (uint8_t)code;
            else wide[k] = (uint16_t)code;
        }
    }
}

static bl_status probe_make(bl_ctx *ctx, const bl_graph *g, const char *key, probe *p)
{
    BL_TRY(lower_probe(ctx, g, p));
    BL_TRY(bl_exec_new(ctx, p->program, NULL, &p->exec));
    const bl_program *pr = p->program;
    while (p->first_step < pr->n_steps && pr->steps[p->first_step].contract == BL_C_QUANTIZE) p->first_step++;
    p->last_step = p->first_step;
    while (p->last_step < pr->n_steps && pr->steps[p->last_step].contract != BL_C_DEQUANTIZE) p->last_step++;
    fill_inputs(ctx, p, key);
    return BL_OK;
}

static void probe_free(probe *p)
{
    bl_exec_free(p->exec);
    bl_program_free(p->program);
}

static bl_status run_probe(probe *p, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        for (uint32_t s = p->first_step; s < p->last_step; s++) BL_TRY(bl_exec_step(p->exec, s));
    return BL_OK;
}

/* ---- one shape */

static bl_status time_probes(probe *p, int n, double seconds, int *rounds)
{
    uint64_t start = bl_now_ns(), t = start;
    for (int i = 0; i < n; i++) BL_TRY(run_probe(&p[i], 3)); /* warm-up */
    unsigned times = (unsigned)BL_MIN(1000, 1 + 20000ull * 3 * (uint64_t)n / (bl_now_ns() - t + 1)); /* about 20 us */
    for (*rounds = 0; *rounds < ROUNDS_MAX; ++*rounds) {
        if (*rounds >= ROUNDS_MIN && (double)(bl_now_ns() - start) * 1e-9 > seconds) break;
        for (int k = 0; k < n; k++) {
            probe *x = &p[(k + *rounds) % n];
            t = bl_now_ns();
            BL_TRY(run_probe(x, times));
            x->sample[*rounds] = (double)(bl_now_ns() - t) / times;
        }
    }
    return BL_OK;
}

/* Median of round-by-round ratios: a machine whose speed drifts moves both. */
static double paired_ratio(const probe *p, const probe *base, int rounds)
{
    double r[ROUNDS_MAX];
    for (int i = 0; i < rounds; i++) r[i] = p->sample[i] / base->sample[i];
    return bl_quantile(r, (size_t)rounds, 0.5);
}

static bl_status measure_shape(bl_ctx *ctx, const bl_graph *graph, const shape *s, double seconds, bl_cost *cost)
{
    bl_graph *g = NULL;
    int n = s->n + 1, rounds = 0;
    BL_TRY(bl_graph_extract(ctx, graph, s->node, &g));
    bl_arena *a = bl_arena_new(ctx, "probes");
    probe *p = a ? BL_NEW(a, probe, (size_t)n) : NULL;
    bl_cost_cell *cells = a ? BL_NEW(a, bl_cost_cell, (size_t)n) : NULL;
    bl_status st = p && cells ? BL_OK : bl_pending(ctx);
    for (int i = 0; st == BL_OK && i < n; i++) { /* the last is the first one's A/A twin */
        p[i].w_bits = s->pair[i % s->n].w;
        p[i].a_in = s->pair[i % s->n].in;
        p[i].a_out = s->pair[i % s->n].out;
        st = probe_make(ctx, g, s->key, &p[i]);
    }
    if (st == BL_OK) st = time_probes(p, n, seconds, &rounds);
    bool none_at_all = st == BL_OK && p[0].first_step == p[0].last_step;
    double twin = st != BL_OK || none_at_all ? 1 : paired_ratio(&p[n - 1], &p[0], rounds);
    for (int i = 0; st == BL_OK && i < s->n; i++) { /* the ratio before the samples are sorted: [0] last */
        bl_cost_cell *c = &cells[i];
        c->ratio = none_at_all ? 1 : paired_ratio(&p[i], &p[0], rounds);
    }
    for (int i = 0; st == BL_OK && i < s->n; i++) {
        bool none = p[i].first_step == p[i].last_step; /* shares its input's memory: costs nothing */
        bl_cost_cell c = { .key = s->key, .w_bits = p[i].w_bits, .a_in = p[i].a_in, .a_out = p[i].a_out,
                           .kernel = none ? "none" : bl_exec_kernel(p[i].exec, p[i].first_step),
                           .ratio = cells[i].ratio };
        if (!none) {
            c.q1_ns = bl_quantile(p[i].sample, (size_t)rounds, 0.25);
            c.median_ns = bl_quantile(p[i].sample, (size_t)rounds, 0.5);
            c.p90_ns = bl_quantile(p[i].sample, (size_t)rounds, 0.9);
        }
        st = bl_cost_add(cost, &c);
    }
    if (st == BL_OK) st = bl_cost_add_group(cost, s->key, fabs(twin - 1));
    for (int i = 0; p && i < n; i++) probe_free(&p[i]);
    bl_arena_free(a);
    bl_graph_free(g);
    return st;
}

/* ---- all shapes */

static void add_pair(shape *s, int w, int in, int out)
{
    for (int i = 0; i < s->n; i++)
        if (s->pair[i].w == w && s->pair[i].in == in && s->pair[i].out == out) return;
    s->pair[s->n].w = w;
    s->pair[s->n].in = in;
    s->pair[s->n++].out = out;
}

static void add_node(const bl_graph *g, const bl_menu *m, int node, shape *s)
{
    int u = m->unit_of_value[g->nodes[node].in[0]], v = m->unit_of_value[g->nodes[node].out[0]];
    const bl_unit *in = &m->units[u], *out = &m->units[v];
    bool layer = m->unit_of_layer[node] >= 0;
    for (int c = 0; c < in->n_candidates; c++)
        for (int o = 0; o < (u == v ? 1 : out->n_candidates); o++)
            add_pair(s, layer ? in->candidates[c].w_bits : 0, in->candidates[c].a_bits,
                     u == v ? in->candidates[c].a_bits : out->candidates[o].a_bits);
}

static bl_status collect_shapes(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, bl_arena *a, shape **out, size_t *n)
{
    shape *shapes = BL_NEW(a, shape, (size_t)g->n_nodes);
    BL_ALLOC_TRY(ctx, shapes);
    *n = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        if (!bl_node_priced(g, i) || m->unit_of_value[g->nodes[i].in[0]] < 0) continue;
        const char *key = bl_node_key(a, g, i);
        BL_ALLOC_TRY(ctx, key);
        size_t k = 0;
        while (k < *n && strcmp(shapes[k].key, key)) k++;
        if (k == *n) {
            shapes[k] = (shape){ .key = key, .node = i, .pair = bl_alloc(a, 16 * 16 * 16, sizeof *shapes->pair) };
            BL_ALLOC_TRY(ctx, shapes[k].pair);
            ++*n;
        }
        add_node(g, m, i, &shapes[k]);
    }
    *out = shapes;
    return BL_OK;
}

bl_status bl_target_here(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                         bl_cost *cost)
{
    double seconds = options && options->seconds > 0 ? options->seconds : 0.5;
    shape *shapes = NULL;
    size_t n = 0;
    bl_arena *a = bl_arena_new(ctx, "shapes");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = collect_shapes(ctx, graph, menu, a, &shapes, &n);
    for (size_t i = 0; s == BL_OK && i < n; i++) {
        s = bl_check_interrupt(ctx);
        if (s == BL_OK) s = measure_shape(ctx, graph, &shapes[i], seconds, cost);
        bl_progress(ctx, "measure", i + 1, n);
    }
    bl_arena_free(a);
    return s;
}
