/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * x times a gate of x:
 *
 *   HardSigmoid   c Clip(p x + q, l, h) with c l = 0, c h = 1, written Add, Clip, Div
 *   HardSwish     x HardSigmoid(x; 1/6, 1/2), or x times such a Clip, its factor anywhere
 *   Swish         x Sigmoid(a x): ONNX's own from opset 24 on; a = 1 is SiLU
 */
#include "graph/recognise.h"

/* value = min(max(scale * u + shift, lo), hi) */
typedef struct gate {
    int u;
    double scale, shift, lo, hi;
} gate;

static bool read_gate(bl_match *m, int value, gate *g)
{
    int node = bl_match_inner(m, value, 1);
    const bl_node *n = node < 0 ? NULL : &m->e->g.nodes[node];
    double p = 1, q = 0;
    float lo, hi;

    if (!n) return false;
    if (bl_node_is(n, "HardSigmoid")) {
        g->lo = 0;
        g->hi = 1;
        p = (double)bl_attr_float(n, "alpha", 0.2f);
        q = (double)bl_attr_float(n, "beta", 0.5f);
    } else {
        if (!bl_node_is(n, "Clip") || !bl_edit_bounds(m->e, n, &lo, &hi)) return false;
        g->lo = (double)lo;
        g->hi = (double)hi;
    }
    bl_match_affine(m, n->in[0], &g->u, &g->scale, &g->shift);
    g->scale *= p;
    g->shift = g->shift * p + q;
    return true;
}

/* c times the gate is HardSigmoid of *alpha and *beta. */
static bool is_hard_sigmoid(const gate *g, double c, double *alpha, double *beta)
{
    *alpha = c * g->scale;
    *beta = c * g->shift;
    return c > 0 && g->lo == 0 && bl_match_close(c * g->hi, 1);
}

static bl_status take_hard_sigmoid(bl_match *m, int node, int u, double alpha, double beta)
{
    const bl_attr attr[2] = {{.name = "alpha", .type = BL_ATTR_FLOAT, .f = (float)alpha},
                             {.name = "beta", .type = BL_ATTR_FLOAT, .f = (float)beta}};
    return bl_match_take(m, node, "HardSigmoid", 6, u, attr, 2);
}

bl_status bl_recognise_hard(bl_edit *e, int node)
{
    bl_match m = {.e = e};
    bl_factors f;
    double alpha, beta;
    gate g;
    int y = e->g.nodes[node].n_out == 1 ? e->g.nodes[node].out[0] : -1;

    if (y < 0 || !bl_match_product(&m, node, &f) || f.n > 2) return BL_OK;
    if (f.n == 1)
        return read_gate(&m, f.value[0], &g) && is_hard_sigmoid(&g, f.scale, &alpha, &beta) &&
                       bl_node_is(&e->g.nodes[e->g.values[f.value[0]].producer], "Clip") &&
                       bl_match_same_shape(e, g.u, y)
                   ? take_hard_sigmoid(&m, node, g.u, alpha, beta)
                   : BL_OK;
    for (int i = 0, before = m.n; i < 2; i++, m.n = before)
        if (read_gate(&m, f.value[i], &g) && g.u == f.value[1 - i] &&
            is_hard_sigmoid(&g, f.scale, &alpha, &beta) && bl_match_close(alpha, 1.0 / 6) &&
            bl_match_close(beta, 0.5) && bl_match_same_shape(e, g.u, y))
            return bl_match_take(&m, node, "HardSwish", 14, g.u, NULL, 0);
    return BL_OK;
}

bl_status bl_recognise_swish(bl_edit *e, int node)
{
    bl_match m = {.e = e};
    bl_factors f;
    int y = e->g.nodes[node].n_out == 1 ? e->g.nodes[node].out[0] : -1;

    if (y < 0 || !bl_match_product(&m, node, &f) || f.n != 2 || f.scale != 1) return BL_OK;
    for (int i = 0, before = m.n; i < 2; i++, m.n = before) {
        int u, sigmoid = bl_match_only(&m, f.value[i], "Sigmoid");
        double alpha, shift;
        if (sigmoid < 0) continue;
        bl_match_affine(&m, e->g.nodes[sigmoid].in[0], &u, &alpha, &shift);
        if (u != f.value[1 - i] || shift != 0 || !bl_match_same_shape(e, u, y)) continue;
        const bl_attr attr = {.name = "alpha", .type = BL_ATTR_FLOAT, .f = (float)alpha};
        return bl_match_take(&m, node, "Swish", 24, u, &attr, alpha != 1);
    }
    return BL_OK;
}
