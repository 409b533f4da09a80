/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Second pass of prepare: functions that an exporter wrote out as chains of arithmetic become one
 * operator again.  One operator has one table and one rounding in integers where the chain has a
 * grid after every step.  Here: the order, and what the passes have in common.
 */
#include "graph/recognise.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ numbers */

bool bl_match_close(double a, double b)
{
    return fabs(a - b) <= 2e-6 * fmax(fabs(b), 1e-3);
}

bool bl_match_number(const bl_edit *e, const bl_node *n, int i, double *out)
{
    const bl_tensor *t = bl_edit_input_constant(e, n, i, BL_F32);
    if (!t || bl_tensor_count(t) != 1) return false;
    *out = (double)*(const float *)t->data;
    return isfinite(*out);
}

bool bl_match_same_shape(const bl_edit *e, int a, int b)
{
    const bl_tensor *ta = &e->g.values[a].t, *tb = &e->g.values[b].t;
    return ta->type == BL_F32 && tb->type == BL_F32 && ta->rank == tb->rank &&
           memcmp(ta->dim, tb->dim, (size_t)ta->rank * sizeof ta->dim[0]) == 0;
}

/* ------------------------------------------------------------------ going up a chain */

int bl_match_inner(bl_match *m, int value, int readers)
{
    const bl_value *v = value < 0 ? NULL : &m->e->g.values[value];
    if (!v || v->producer < 0 || v->is_output || v->n_readers != readers) return -1;
    const bl_node *n = &m->e->g.nodes[v->producer];
    if (n->n_out != 1 || bl_node_clamps(n) || m->n == BL_MATCH_NODES) return -1;
    m->node[m->n++] = v->producer;
    return v->producer;
}

int bl_match_only(bl_match *m, int value, const char *op)
{
    int before = m->n, node = bl_match_inner(m, value, 1);
    if (node >= 0 && bl_node_is(&m->e->g.nodes[node], op)) return node;
    m->n = before;
    return -1;
}

/* One step up: *u was a sum or product of a number and another value. */
static bool peel(bl_match *m, int *u, double *scale, double *shift)
{
    int before = m->n, node = bl_match_inner(m, *u, 1);
    const bl_node *n = node < 0 ? NULL : &m->e->g.nodes[node];
    bool add = n && bl_node_is(n, "Add"), sub = n && bl_node_is(n, "Sub");
    bool mul = n && bl_node_is(n, "Mul"), div = n && bl_node_is(n, "Div");
    double c;

    if ((add || sub || mul || (div && bl_match_number(m->e, n, 1, &c) && c != 0)) && n->n_in == 2)
        for (int i = 1; i >= (div ? 1 : 0); i--) {
            if (!bl_match_number(m->e, n, i, &c)) continue;
            if (add) *shift += *scale * c;
            if (sub) *shift += *scale * (i == 1 ? -c : c);
            if (sub && i == 0) *scale = -*scale;
            if (mul) *scale *= c;
            if (div) *scale /= c;
            *u = n->in[1 - i];
            return true;
        }
    m->n = before;
    return false;
}

void bl_match_affine(bl_match *m, int value, int *u, double *scale, double *shift)
{
    *u = value;
    *scale = 1;
    *shift = 0;
    while (peel(m, u, scale, shift)) continue;
}

static bool add_factor(bl_factors *f, int value, int times)
{
    if (value < 0 || f->n + times > BL_MATCH_FACTORS) return false;
    while (times-- > 0) f->value[f->n++] = value;
    return true;
}

static bool multiply_value(bl_match *m, int value, bl_factors *f);

/* False: the node is no product.  Depth is bounded by the nodes that a match holds. */
static bool multiply_node(bl_match *m, int node, bl_factors *f)
{
    const bl_node *n = &m->e->g.nodes[node];
    double c;

    if (n->n_in != 2 || bl_node_clamps(n)) return false;
    if (bl_node_is(n, "Pow"))
        return bl_match_number(m->e, n, 1, &c) && (c == 2 || c == 3) &&
               add_factor(f, n->in[0], (int)c);
    if (bl_node_is(n, "Div")) {
        if (!bl_match_number(m->e, n, 1, &c) || c == 0) return false;
        f->scale /= c;
        return multiply_value(m, n->in[0], f);
    }
    if (!bl_node_is(n, "Mul")) return false;
    for (int i = 0; i < 2; i++) {
        if (bl_match_number(m->e, n, i, &c)) f->scale *= c;
        else if (!multiply_value(m, n->in[i], f)) return false;
    }
    return true;
}

static bool multiply_value(bl_match *m, int value, bl_factors *f)
{
    bl_factors before = *f;
    int n = m->n, node = bl_match_inner(m, value, 1);

    if (node >= 0 && multiply_node(m, node, f)) return true;
    m->n = n;
    *f = before;
    return add_factor(f, value, 1);
}

bool bl_match_product(bl_match *m, int root, bl_factors *out)
{
    *out = (bl_factors){.scale = 1};
    return multiply_node(m, root, out) && out->n > 0;
}

bool bl_match_value_product(bl_match *m, int value, bl_factors *out)
{
    *out = (bl_factors){.scale = 1};
    return multiply_value(m, value, out);
}

/* ------------------------------------------------------------------ taking a match */

bl_status bl_match_take(bl_match *m, int root, const char *op, int since, int x, const bl_attr *attr,
                        int n_attr)
{
    bl_edit *e = m->e;
    bl_node *n = &e->g.nodes[root];
    bl_attr *kept = BL_NEW(e->arena, bl_attr, (size_t)BL_MAX(n_attr, 1));
    BL_ALLOC_TRY(e->ctx, kept);
    if (n_attr > 0) memcpy(kept, attr, (size_t)n_attr * sizeof *attr);
    for (int i = 0; i < n->n_in; i++) bl_edit_input(e, root, i, -1);
    for (int i = 0; i < m->n; i++)
        if (!e->dead[m->node[i]]) bl_edit_kill(e, m->node[i]);
    n->n_in = 0;
    bl_edit_input(e, root, 0, x);
    n->op = bl_op_find("", op);
    BL_CHECK(e->ctx, n->op);
    n->opset = BL_MAX(n->opset, since);
    n->attr = kept;
    n->n_attr = n_attr;
    return BL_OK;
}

/* ------------------------------------------------------------------ the passes, in order */

/* 3 + x is x + 3: whoever comes later finds a constant in second place. */
static bl_status constant_second(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    int *in = (int *)n->in;
    if (n->n_in != 2 || !(bl_node_is(n, "Add") || bl_node_is(n, "Mul"))) return BL_OK;
    if (in[0] < 0 || in[1] < 0 || !e->g.values[in[0]].t.data || e->g.values[in[1]].t.data) return BL_OK;
    int constant = in[0];
    in[0] = in[1];
    in[1] = constant;
    return BL_OK;
}

static bl_status (*const passes[])(bl_edit *e, int node) = {
    constant_second,    bl_recognise_hard,       bl_recognise_swish,
    bl_recognise_gelu,  bl_recognise_layer_norm,
};

bl_status bl_recognise(bl_edit *e)
{
    for (int i = 0; i < e->g.n_nodes; i++) {
        if ((i & 63) == 0) BL_TRY(bl_check_interrupt(e->ctx));
        for (size_t k = 0; k < BL_COUNTOF(passes) && !e->dead[i]; k++) BL_TRY(passes[k](e, i));
    }
    return BL_OK;
}
