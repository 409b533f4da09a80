/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * LayerNormalization (opset 17), written out as torch exports it before:
 *
 *   d = x - ReduceMean(x);  d / Sqrt(ReduceMean(d^2) + epsilon)  [* scale] [+ bias]
 *
 * over the last dimensions, both means over the same.  d^2 is Pow or Mul, d may be there twice, the
 * division may be a product with a reciprocal or a power -1/2.  The division becomes the operator;
 * scale and bias join it when their turn comes.
 */
#include "graph/recognise.h"

#include <string.h>

/* ReduceMean over the dimensions from *axis on, which keeps them as 1. */
static bool is_mean(const bl_edit *e, const bl_node *n, int *axis)
{
    const bl_attr *attr = bl_node_attr(n, "axes");
    const bl_tensor *given = bl_edit_input_constant(e, n, 1, BL_I64);
    int64_t count = attr ? (int64_t)attr->n : given ? bl_tensor_count(given) : 0;
    const int64_t *axes = attr ? attr->ints : given ? given->data : NULL;
    unsigned seen = 0;
    int rank = n->in[0] < 0 ? 0 : e->g.values[n->in[0]].t.rank;

    if (!bl_node_is(n, "ReduceMean") || !bl_attr_int(n, "keepdims", 1) || count < 1 || count > rank)
        return false;
    for (int64_t i = 0; i < count; i++) {
        int64_t a = axes[i] < 0 ? axes[i] + rank : axes[i];
        if (a < 0 || a >= rank) return false;
        seen |= 1u << a;
    }
    *axis = rank - (int)count;
    return seen == (1u << rank) - (1u << *axis);
}

/* value = x - ReduceMean(x), read by `readers`; the mean is read by `mean_readers`. */
static bool is_difference(bl_match *m, int value, int readers, int mean_readers, int *x, int *axis)
{
    int sub = bl_match_inner(m, value, readers), mean;
    const bl_node *n = sub < 0 ? NULL : &m->e->g.nodes[sub];

    if (!n || !bl_node_is(n, "Sub")) return false;
    mean = bl_match_inner(m, n->in[1], mean_readers);
    *x = n->in[0];
    return mean >= 0 && is_mean(m->e, &m->e->g.nodes[mean], axis) && m->e->g.nodes[mean].in[0] == *x;
}

/* value = Sqrt(u) (inverse: 1 / Sqrt(u)) */
static bool is_root(bl_match *m, int value, bool inverse, int *u)
{
    int node = bl_match_inner(m, value, 1);
    const bl_node *n = node < 0 ? NULL : &m->e->g.nodes[node];
    double c;

    if (!n) return false;
    *u = n->in[0];
    if (bl_node_is(n, "Pow")) return bl_match_number(m->e, n, 1, &c) && c == (inverse ? -0.5 : 0.5);
    if (!inverse) return bl_node_is(n, "Sqrt");
    if (bl_node_is(n, "Reciprocal")) return is_root(m, n->in[0], false, u);
    return bl_node_is(n, "Div") && bl_match_number(m->e, n, 0, &c) && c == 1 &&
           is_root(m, n->in[1], false, u);
}

/* value = (ReduceMean(d^2) + epsilon); *readers: how often the square reads d. */
static bool is_variance(bl_match *m, int value, int *d, int *readers, int *axis, double *epsilon)
{
    double scale, c;
    int u, mean, square;

    bl_match_affine(m, value, &u, &scale, epsilon);
    mean = bl_match_only(m, u, "ReduceMean");
    if (scale != 1 || !(*epsilon >= 0) || mean < 0 || !is_mean(m->e, &m->e->g.nodes[mean], axis))
        return false;
    square = bl_match_inner(m, m->e->g.nodes[mean].in[0], 1);
    if (square < 0) return false;
    const bl_node *n = &m->e->g.nodes[square];
    *d = n->in[0];
    *readers = bl_node_is(n, "Mul") ? 2 : 1;
    if (*readers == 2) return n->in[1] == *d;
    return bl_node_is(n, "Pow") && bl_match_number(m->e, n, 1, &c) && c == 2;
}

/* d / root is the normalisation of *x from *axis on. */
static bool is_normalised(bl_match *m, int d, int root, bool inverse, int *x, int *axis, double *epsilon)
{
    const bl_value *values = m->e->g.values;
    int u, d2, x2, axis2, readers;

    if (!is_root(m, root, inverse, &u) || !is_variance(m, u, &d2, &readers, &axis2, epsilon))
        return false;
    if (d2 == d) return is_difference(m, d, readers + 1, 1, x, axis) && *axis == axis2;
    int p = values[d].producer, p2 = values[d2].producer;
    if (p < 0 || p2 < 0 || m->e->g.nodes[p].n_in != 2 || m->e->g.nodes[p2].n_in != 2) return false;
    int mean_readers = m->e->g.nodes[p].in[1] == m->e->g.nodes[p2].in[1] ? 2 : 1;
    return is_difference(m, d, 1, mean_readers, x, axis) &&
           is_difference(m, d2, readers, mean_readers, &x2, &axis2) && *x == x2 && *axis == axis2;
}

static bl_status take(bl_match *m, int node, int x, int axis, double epsilon)
{
    bl_edit *e = m->e;
    const bl_tensor *t = &e->g.values[x].t;
    const bl_attr attr[2] = {{.name = "axis", .type = BL_ATTR_INT, .i = axis - t->rank},
                             {.name = "epsilon", .type = BL_ATTR_FLOAT, .f = (float)epsilon}};
    bl_tensor ones = {.type = BL_F32, .rank = t->rank - axis};
    int value;

    memcpy(ones.dim, t->dim + axis, (size_t)ones.rank * sizeof ones.dim[0]);
    ones.data = BL_NEW(e->arena, float, (size_t)bl_tensor_count(&ones));
    BL_ALLOC_TRY(e->ctx, ones.data);
    for (int64_t i = 0; i < bl_tensor_count(&ones); i++) ((float *)ones.data)[i] = 1;
    char *name = bl_format(e->arena, "%s_scale", e->g.nodes[node].name);
    BL_ALLOC_TRY(e->ctx, name);
    BL_TRY(bl_match_take(m, node, "LayerNormalization", 17, x, attr, 2));
    BL_TRY(bl_edit_constant(e, name, &ones, &value));
    bl_edit_input(e, node, 1, value);
    return BL_OK;
}

/* ------------------------------------------------------------------ scale and bias */

/* t has one number for each normalised element of x, and broadcasts over the rest. */
static bool fits(const bl_tensor *t, const bl_tensor *x, int axis)
{
    int lead = t ? x->rank - t->rank : -1;
    if (lead < 0) return false;
    for (int d = 0; d < x->rank; d++) {
        int64_t have = d < lead ? 1 : t->dim[d - lead];
        if (have != (d >= axis ? x->dim[d] : 1)) return false;
    }
    return true;
}

/* (normalised * ones) * scale and (.. ) + bias: constants of the LayerNormalization before. */
static bl_status join(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    int from = bl_edit_feeder(e, node, 0), value = n->n_in == 2 ? n->in[1] : -1;
    bl_node *norm = from < 0 ? NULL : &e->g.nodes[from];
    const bl_tensor *t = bl_edit_input_constant(e, n, 1, BL_F32);
    bool mul = bl_node_is(n, "Mul");

    if (!norm || !t || bl_node_clamps(norm) || !bl_node_is(norm, "LayerNormalization") ||
        norm->n_in != 2)
        return BL_OK;
    const bl_tensor *x = &e->g.values[norm->in[0]].t;
    const bl_tensor *scale = bl_edit_input_constant(e, norm, 1, BL_F32);
    int axis = (int)bl_attr_int(norm, "axis", -1);
    axis += axis < 0 ? x->rank : 0;
    if (!scale || !fits(t, x, axis)) return BL_OK;
    for (int64_t i = 0; mul && i < bl_tensor_count(scale); i++)
        if (((const float *)scale->data)[i] != 1) return BL_OK; /* another rounding */
    bl_tensor flat = *scale;
    flat.data = t->data;
    if (e->g.values[value].n_readers == 1 && !e->g.values[value].is_output)
        e->g.values[value].t = flat;
    else
        BL_TRY(bl_edit_constant(e, e->g.values[value].name, &flat, &value));
    bl_edit_input(e, from, mul ? 1 : 2, value);
    bl_edit_absorb(e, from, node);
    return BL_OK;
}

bl_status bl_recognise_layer_norm(bl_edit *e, int node)
{
    const bl_node *n = &e->g.nodes[node];
    bool div = bl_node_is(n, "Div"), mul = bl_node_is(n, "Mul");
    double epsilon;
    int x, axis;

    if (bl_node_clamps(n) || n->n_in != 2 || n->in[0] < 0 || n->in[1] < 0) return BL_OK;
    for (int i = 0; i < (div ? 1 : mul ? 2 : 0); i++) {
        bl_match m = {.e = e};
        if (is_normalised(&m, n->in[i], n->in[1 - i], mul, &x, &axis, &epsilon))
            return take(&m, node, x, axis, epsilon);
    }
    return mul || bl_node_is(n, "Add") ? join(e, node) : BL_OK;
}
