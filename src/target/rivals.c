/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Rows beside the first that fits.  A short trial of each legal row of an operator at its widths says which are near
 * enough to take part in the rounds; their times stand in the record as cells of their own, and where one is faster
 * than the first row, beyond a tie, it is what is priced and what a program asks for.
 */
#include "target/probe.h"

#include <string.h>

enum { ROWS_MAX = 32, TRIALS = 3 };
#define NEAR 1.1     /* times the first row's time in the trial: more is no rival */
#define HOPELESS 2.0 /* and more than that at one pair of widths is none at any other */

static bool is_reference(const char *row)
{
    size_t n = strlen(row);
    return n > 4 && !strcmp(row + n - 4, "_ref");
}

/* Shortest of some runs; cut short after the first where that is beyond hope. */
static bl_status trial(bl_probe *p, double clock_ns, double give_up, double *least)
{
    *least = INFINITY;
    for (int i = 0; i <= TRIALS; i++) { /* the first finds caches cold */
        double ns;
        BL_TRY(bl_probe_sample(p, BL_V_L2, clock_ns, &ns));
        if (i || ns > 2 * give_up) *least = fmin(*least, ns);
        if (ns > 2 * give_up) break;
    }
    return BL_OK;
}

static bool in_list(const char *const *list, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(list[i], name)) return true;
    return false;
}

/* The fastest few, the fastest first; takes p over. */
static void insert(bl_probe *found, double *time, int *n, bl_probe *p, double ns)
{
    int at = *n;
    if (at == BL_RIVALS_MAX) {
        bl_probe *last = &found[at - 1];
        bl_probe_free(ns < time[at - 1] ? last : p);
        if (ns >= time[at - 1]) return;
        at--;
    }
    *n = at + 1;
    for (; at > 0 && time[at - 1] > ns; at--) {
        found[at] = found[at - 1];
        time[at] = time[at - 1];
    }
    found[at] = *p;
    time[at] = ns;
}

bl_status bl_rivals_find(bl_ctx *ctx, const bl_graph *single, const char *key, const bl_probe *first, double clock_ns,
                         bl_hopeless *hopeless, bl_probe *found, int *n)
{
    const char *names[ROWS_MAX];
    double base, time[BL_RIVALS_MAX];
    bl_probe *of = (bl_probe *)(uintptr_t)first;
    size_t rows = BL_MIN(bl_exec_rows(first->exec, bl_probe_step(first), names, ROWS_MAX), (size_t)ROWS_MAX);
    const char *own = bl_exec_kernel(first->exec, bl_probe_step(first));
    *n = 0;
    if (rows < 2) return BL_OK;
    BL_TRY(trial(of, clock_ns, INFINITY, &base));
    for (size_t i = 0; i < rows; i++) {
        double ns;
        if (!strcmp(names[i], own) || is_reference(names[i]) || in_list(hopeless->name, hopeless->n, names[i])) continue;
        bl_probe p = { .w_bits = first->w_bits, .a_in = first->a_in, .a_out = first->a_out, .kernel_asked = names[i],
                       .program = first->program, .borrowed = true };
        bl_status s = bl_probe_make(ctx, single, key, &p);
        if (s == BL_OK) s = trial(&p, clock_ns, HOPELESS * base, &ns);
        if (s != BL_OK) {
            bl_probe_free(&p);
            return s;
        }
        if (ns > HOPELESS * base && hopeless->n < BL_HOPELESS_MAX) hopeless->name[hopeless->n++] = names[i];
        if (ns <= NEAR * base) insert(found, time, n, &p, ns);
        else bl_probe_free(&p);
    }
    return BL_OK;
}

/* ---- who won */

static double tie_of(const bl_cost *cost, const char *key)
{
    for (size_t i = 0; i < cost->n_groups; i++)
        if (!strcmp(cost->groups[i].key, key)) return fmax(0.03, cost->groups[i].aa_spread);
    return 0.03;
}

static double time_of(const bl_cost_cell *x, bl_state state)
{
    while (state > BL_STATE_L2 && !(x->at[state].q1_ns > 0)) state--;
    return x->at[state].ratio > 0 ? x->at[state].ratio : x->at[state].q1_ns; /* all cells of a shape have one, or none */
}

const bl_cost_cell *bl_cost_best(const bl_cost *cost, const char *key, int w_bits, int a_in, int a_out, bl_state state)
{
    const bl_cost_cell *first = bl_cost_find(cost, key, w_bits, a_in, a_out), *best = first;
    if (!first || cost->model) return first;
    double limit = time_of(first, state) * (1 - tie_of(cost, key));
    for (const bl_cost_cell *x = first + 1; x < cost->cells + cost->n_cells; x++) {
        if (x->w_bits != w_bits || x->a_in != a_in || x->a_out != a_out || x->noisy || strcmp(x->key, key)) continue;
        if (time_of(x, state) < limit && time_of(x, state) < time_of(best, state)) best = x;
    }
    return best;
}

/* ---- a program asks for them */

static int bits_of(const bl_plan *plan, int value)
{
    int q = value < 0 ? -1 : plan->of_value[value];
    return q < 0 ? 0 : plan->quantizers[q].bits;
}

/* Widths of a node in a plan, as its cells name them. */
static bool widths_of(const bl_graph *g, const bl_plan *plan, int node, int *w, int *in, int *out)
{
    const bl_node *n = &g->nodes[node];
    if (!bl_node_priced(g, node)) return false;
    int weight = bl_layer_weight(g, node);
    *w = weight < 0 ? 0 : bits_of(plan, weight);
    *in = bits_of(plan, bl_node_input(g, node));
    *out = bits_of(plan, n->out[0]);
    return *in > 0 && *out > 0;
}

/* As bl_price_state, of a program that is there. */
static bl_status state_of(const bl_cost *cost, const bl_graph *g, const bl_plan *plan, bl_arena *a, const bl_program *p,
                          bl_state *out)
{
    double l2 = json_number_value(json_object_get(cost->machine, "l2_bytes"));
    double l3 = json_number_value(json_object_get(cost->machine, "l3_bytes")), weights = 0;
    int w, in, to;
    for (int i = 0; i < g->n_nodes; i++) {
        if (bl_layer_weight(g, i) < 0 || !widths_of(g, plan, i, &w, &in, &to)) continue;
        const char *key = bl_node_key(a, g, i);
        BL_ALLOC_TRY(bl_arena_ctx(a), key);
        const bl_cost_cell *x = bl_cost_find(cost, key, w, in, to);
        weights += x ? (double)x->packed_bytes : 0;
    }
    double all = weights + (double)p->memory_bytes;
    *out = l2 <= 0 || all <= l2 ? BL_STATE_L2 : l3 <= 0 || weights <= l3 ? BL_STATE_L3 : BL_STATE_DRAM;
    return BL_OK;
}

static bl_contract contract_of(const char *kernel)
{
    for (size_t i = 0; i < bl_n_kernels; i++)
        if (!strcmp(bl_kernels[i].name, kernel)) return bl_kernels[i].contract;
    return BL_N_CONTRACT;
}

static bl_status find_rows(const bl_cost *cost, const bl_graph *g, const bl_plan *plan, bl_arena *a, const bl_program *p,
                           const char **row)
{
    bl_state state = BL_STATE_L2;
    int w, in, out;
    BL_TRY(state_of(cost, g, plan, a, p, &state));
    for (int i = 0; i < g->n_nodes; i++) {
        if (!widths_of(g, plan, i, &w, &in, &out)) continue;
        const char *key = bl_node_key(a, g, i);
        BL_ALLOC_TRY(bl_arena_ctx(a), key);
        const bl_cost_cell *best = bl_cost_best(cost, key, w, in, out, state);
        if (!best || best == bl_cost_find(cost, key, w, in, out)) continue;
        for (uint32_t s = 0; s < p->n_steps; s++)
            if (p->steps[s].contract == (uint32_t)contract_of(best->kernel) &&
                !strcmp(p->strings + p->steps[s].name, g->nodes[i].name))
                row[s] = best->kernel;
    }
    return BL_OK;
}

bl_status bl_cost_prefer(bl_ctx *ctx, const bl_cost *cost, const bl_graph *graph, const bl_plan *plan, bl_program *program)
{
    const char *cpu = json_string_value(json_object_get(cost->machine, "cpu"));
    const char *isa = json_string_value(json_object_get(cost->machine, "isa"));
    if (cost->model || !cost->has_latency || !cpu || !isa) return BL_OK;
    bl_arena *a = bl_arena_new(ctx, "rows");
    BL_ALLOC_TRY(ctx, a);
    const char **row = BL_NEW(a, const char *, BL_MAX(program->n_steps, 1));
    bl_status s = row ? find_rows(cost, graph, plan, a, program, row) : bl_pending(ctx);
    if (s == BL_OK) s = bl_program_prefer(ctx, program, cpu, isa, row);
    bl_arena_free(a);
    return s;
}
