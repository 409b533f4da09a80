/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Energy of a measured cell.  Where the system counts it (RAPL, under powercap), a cell is run again and again
 * for some milliseconds and the package's counter is read before and after: everything that the package does
 * meanwhile is in it.  Elsewhere a model: multiply-accumulates at the widths that the kernel keeps its weights
 * in, and bytes by the memory that they come from, with M. Horowitz's figures for 45 nm (Computing's energy
 * problem, ISSCC 2014).  Newer chips take less of everything; the model is for comparing plans, not for bills.
 */
#include "target/energy.h"

#include "target/probe.h"

#include <stdio.h>
#include <string.h>

/* 8-bit product 0.2 pJ, in proportion to both widths; 32-bit addition 0.1 pJ. */
#define PJ_PRODUCT 0.2
#define PJ_ADD 0.1
/* A byte: 1 MB of SRAM 100 pJ for 8 bytes, DRAM 1.3 to 2.6 nJ for 8; L3 between them in the geometric middle. */
static const double pj_byte[BL_N_STATE] = { 12.5, 55, 240 };

double bl_energy_model_nj(const bl_energy_work *w, bl_state weights)
{
    double mac = PJ_PRODUCT * w->w_bits / 8 * w->a_bits / 8 + PJ_ADD;
    return 1e-3 * (w->macs * mac + w->weight_bytes * pj_byte[weights] + w->value_bytes * pj_byte[BL_STATE_L2]);
}

static bl_status node_work(bl_ctx *ctx, const bl_graph *g, int node, const bl_cost_cell *x, bl_energy_work *out)
{
    const bl_node *n = &g->nodes[node];
    bl_mac_shape s = { 0 };
    bool layer;
    *out = (bl_energy_work){ .w_bits = 8, .a_bits = x->a_in };
    BL_TRY(bl_mac_shape_of(ctx, g, node, &s, &layer));
    for (int i = 0; i < n->n_in; i++)
        if (n->in[i] >= 0 && !g->values[n->in[i]].t.data)
            out->value_bytes += (double)bl_tensor_count(&g->values[n->in[i]].t) / (double)BL_MAX(g->batch, 1) * (x->a_in > 8 ? 2 : 1);
    if (n->n_out > 0 && n->out[0] >= 0)
        out->value_bytes += (double)bl_tensor_count(&g->values[n->out[0]].t) / (double)BL_MAX(g->batch, 1) * (x->a_out > 8 ? 2 : 1);
    if (!layer) return BL_OK;
    out->macs = (double)s.m * (double)s.n * (double)s.k * (double)s.groups;
    if (s.product || s.weights < 1) return BL_OK;
    out->weight_bytes = x->packed_bytes ? (double)x->packed_bytes : (double)s.weights * x->w_bits / 8;
    double kept = out->weight_bytes * 8 / (double)s.weights; /* padding is no width */
    out->w_bits = kept < 8 ? fmax(kept, x->w_bits) : kept > 15 && x->w_bits <= 8 && s.n >= 16 ? 16 : 8;
    return BL_OK;
}

bl_status bl_energy_fill(bl_ctx *ctx, const bl_graph *g, int node, const char *key, bl_state weights, bl_cost *cost)
{
    for (size_t i = 0; i < cost->n_cells; i++) {
        bl_cost_cell *x = &cost->cells[i];
        bl_energy_work w;
        if (strcmp(x->key, key) || !strcmp(x->kernel, "none")) continue;
        BL_TRY(node_work(ctx, g, node, x, &w));
        x->energy_nj = bl_energy_model_nj(&w, weights);
    }
    return BL_OK;
}

bl_state bl_energy_state(const bl_graph *g, uint64_t l2, uint64_t l3)
{
    double bytes = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        int w = bl_layer_weight(g, i);
        if (w >= 0) bytes += (double)bl_tensor_count(&g->values[w].t);
    }
    return !l2 || bytes <= (double)l2 ? BL_STATE_L2 : !l3 || bytes <= (double)l3 ? BL_STATE_L3 : BL_STATE_DRAM;
}

/* ---- the counter */

static bool read_number(const char *path, uint64_t *out)
{
    char text[64];
    FILE *f = fopen(path, "re");
    bool ok = f && fgets(text, sizeof text, f);
    if (f) fclose(f);
    if (!ok) return false;
    text[strcspn(text, "\n")] = 0;
    return bl_parse_u64(text, out);
}

bool bl_rapl_open(bl_rapl *r, const char *folder)
{
    char path[300];
    uint64_t now;
    *r = (bl_rapl){ 0 };
    snprintf(r->counter, sizeof r->counter, "%s/intel-rapl:0/energy_uj", folder); /* AMD's has the same name */
    snprintf(path, sizeof path, "%s/intel-rapl:0/max_energy_range_uj", folder);
    r->there = read_number(r->counter, &now) && read_number(path, &r->range_uj) && r->range_uj > 0;
    return r->there;
}

bool bl_rapl_read(const bl_rapl *r, uint64_t *uj)
{
    return r->there && read_number(r->counter, uj);
}

double bl_rapl_between_nj(const bl_rapl *r, uint64_t before, uint64_t after)
{
    uint64_t uj = after >= before ? after - before : after + r->range_uj - before; /* it wraps */
    return (double)uj * 1e3;
}

bl_status bl_rapl_measure(const bl_rapl *r, bl_probe *p, double ns_once, double *nj)
{
    enum { LEAST_MS = 10 };
    uint64_t before, after, n = (uint64_t)(LEAST_MS * 1e6 / fmax(ns_once, 100)) + 1;
    *nj = 0;
    if (!bl_rapl_read(r, &before)) return BL_OK;
    for (uint64_t i = 0; i < n; i++)
        for (uint32_t s = p->first_step; s < p->last_step; s++) BL_TRY(bl_exec_step(p->exec, s));
    if (bl_rapl_read(r, &after)) *nj = bl_rapl_between_nj(r, before, after) / (double)n;
    return BL_OK;
}
