/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A probe: one node cut out of its graph, given grids, lowered and loaded like any program.  Only its own
 * steps are timed.  Before each run its inputs are written from a copy, as a producer would leave them, and
 * its weights are read (L2) or taken from the next of many copies (L3, DRAM).
 */
#define _GNU_SOURCE
#include "target/probe.h"

#include <sched.h>
#include <string.h>

/* Stand-in statistics: what a ReLU lets through. */
bl_stats *bl_stand_in_stats(bl_ctx *ctx, const bl_graph *g)
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

static bl_status choose_widths(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, const bl_probe *p, int *choice)
{
    int out_unit = m->unit_of_value[g->nodes[0].out[0]];
    for (int u = 0; u < m->n_units; u++) {
        int want = u == out_unit && u != m->unit_of_value[bl_node_input(g, 0)] ? p->a_out : p->a_in;
        choice[u] = -1;
        for (int c = 0; c < m->units[u].n_candidates; c++)
            if (m->units[u].candidates[c].a_bits == want || m->units[u].fixed_grid) choice[u] = c;
        BL_CHECK(ctx, choice[u] >= 0);
    }
    return BL_OK;
}

static bl_status lower_probe(bl_ctx *ctx, const bl_graph *g, bl_probe *p)
{
    bl_menu_options mo = { .w_bits = { p->w_bits ? p->w_bits : 8 }, .n_w = 1, .a_bits = { p->a_in, p->a_out }, .n_a = 2 };
    bl_grid_options go = { .act_range = "minmax", .weight_range = "minmax" };
    bl_menu *m = NULL;
    bl_plan *plan = NULL;
    bl_stats *stats = bl_stand_in_stats(ctx, g);
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

/* Random codes over the whole width; and half of them at the zero point, the rest falling off above it. */
static void fill(bl_rng *r, const bl_ptensor *t, bool dense, void *codes)
{
    uint8_t *narrow = codes;
    uint16_t *wide = codes;
    double most = ldexp(1, t->bits) - 1;
    for (uint64_t k = 0; k < t->bytes / (t->bits <= 8 ? 1 : 2); k++) {
        uint64_t bits = bl_rng_u64(r);
        double above = (double)t->grid.zero + most * 0.1 * (double)(1 + (bits >> 4) % 7) * (double)((bits >> 10) % 16) / 16;
        uint64_t code = dense ? bits >> (64 - t->bits) : bits & 1 ? (uint64_t)BL_MAX(t->grid.zero, 0) : (uint64_t)BL_MIN(above, most);
        if (t->bits <= 8) narrow[k] = (uint8_t)code;
        else wide[k] = (uint16_t)code;
    }
}

static bl_status make_inputs(bl_ctx *ctx, bl_probe *p, const char *key)
{
    bl_rng r = bl_rng_make(ctx->options.seed, key, (uint64_t)(p->w_bits * 1024 + p->a_in * 32 + p->a_out));
    for (uint32_t i = 0; i < p->first_step && p->n_inputs < BL_PROBE_INPUTS_MAX; i++) {
        const bl_ptensor *t = &p->program->tensors[p->program->steps[i].out];
        if (t->raw || !t->bytes) continue;
        uint32_t k = p->n_inputs++;
        p->in[k].bytes = t->bytes;
        p->in[k].codes = bl_exec_codes(p->exec, (uint32_t)p->program->steps[i].out);
        p->in[k].relu = bl_alloc(p->arena, t->bytes, 1);
        p->in[k].dense = bl_alloc(p->arena, t->bytes, 1);
        if (!p->in[k].relu || !p->in[k].dense) return bl_pending(ctx);
        fill(&r, t, false, p->in[k].relu);
        fill(&r, t, true, p->in[k].dense);
    }
    return BL_OK;
}

bl_status bl_probe_make(bl_ctx *ctx, const bl_graph *g, const char *key, bl_probe *p)
{
    bl_exec_options eo = { .kernel = p->kernel_asked };
    p->arena = bl_arena_new(ctx, "probe");
    BL_ALLOC_TRY(ctx, p->arena);
    if (!p->program) BL_TRY(lower_probe(ctx, g, p));
    BL_TRY(bl_exec_new(ctx, p->program, &eo, &p->exec));
    const bl_program *pr = p->program;
    while (p->first_step < pr->n_steps && pr->steps[p->first_step].contract == BL_C_QUANTIZE) p->first_step++;
    p->last_step = p->first_step;
    while (p->last_step < pr->n_steps && pr->steps[p->last_step].contract != BL_C_DEQUANTIZE) {
        size_t bytes;
        const void *packed = bl_exec_packed(p->exec, p->last_step, &bytes);
        if (packed && bytes > p->packed_bytes) { /* a layer is one step; its largest, should it be several */
            p->packed = packed;
            p->packed_bytes = bytes;
            p->weight_step = p->last_step;
        }
        p->last_step++;
    }
    return make_inputs(ctx, p, key);
}

uint32_t bl_probe_step(const bl_probe *p)
{
    return p->packed ? p->weight_step : p->first_step;
}

void bl_probe_free(bl_probe *p)
{
    bl_exec_free(p->exec);
    if (!p->borrowed) bl_program_free(p->program);
    bl_arena_free(p->arena);
}

bl_status bl_probe_copies(bl_probe *p, bl_variant v, uint32_t n)
{
    if (!p->packed || !n) return BL_OK;
    size_t stride = (p->packed_bytes + 63) / 64 * 64;
    p->copies[v] = bl_alloc(p->arena, n, stride);
    BL_ALLOC_TRY(bl_arena_ctx(p->arena), p->copies[v]);
    for (uint32_t i = 0; i < n; i++) memcpy(p->copies[v] + i * stride, p->packed, p->packed_bytes);
    p->n_copies[v] = n;
    return BL_OK;
}

static void read_lines(const uint8_t *x, size_t bytes)
{
    volatile uint8_t sink;
    for (size_t i = 0; i < bytes; i += 64) sink = x[i];
    (void)sink;
}

bl_status bl_probe_sample(bl_probe *p, bl_variant v, double clock_ns, double *ns)
{
    const uint8_t *weights = p->packed;
    if (weights && p->n_copies[v]) {
        weights = p->copies[v] + (size_t)(p->at[v]++ % p->n_copies[v]) * ((p->packed_bytes + 63) / 64 * 64);
    } else if (weights) {
        read_lines(weights, p->packed_bytes);
    }
    if (weights) bl_exec_repoint(p->exec, p->weight_step, weights);
    for (uint32_t i = 0; i < p->n_inputs; i++)
        memcpy(p->in[i].codes, v == BL_V_DENSE ? p->in[i].dense : p->in[i].relu, p->in[i].bytes);
    uint64_t start = bl_now_ns();
    for (uint32_t s = p->first_step; s < p->last_step; s++) BL_TRY(bl_exec_step(p->exec, s));
    *ns = BL_MAX((double)(bl_now_ns() - start) - clock_ns, 1.0);
    return BL_OK;
}

double bl_clock_ns(void)
{
    double d[201];
    for (size_t i = 0; i < BL_COUNTOF(d); i++) {
        uint64_t t = bl_now_ns();
        d[i] = (double)(bl_now_ns() - t);
    }
    return bl_quantile(d, BL_COUNTOF(d), 0.25);
}

/* ---- one core */

void bl_pin_here(bl_pin *pin)
{
    pin->held = false;
#if defined(__linux__)
    cpu_set_t now, one;
    int cpu = sched_getcpu();
    if (cpu < 0 || cpu >= CPU_SETSIZE || sched_getaffinity(0, sizeof now, &now)) return;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    if (sched_setaffinity(0, sizeof one, &one)) return;
    memcpy(pin->mask, &now, BL_MIN(sizeof pin->mask, sizeof now));
    pin->held = true;
#endif
}

void bl_pin_release(const bl_pin *pin)
{
#if defined(__linux__)
    if (pin->held) sched_setaffinity(0, BL_MIN(sizeof pin->mask, sizeof(cpu_set_t)), (const void *)pin->mask);
#endif
}
