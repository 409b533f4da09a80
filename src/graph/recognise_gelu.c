/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gelu (opset 20), written out:
 *
 *   x (1 + Erf(x / sqrt 2)) / 2
 *   x (1 + Tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2        the tanh form
 *
 * with its factors in any place and order, divisions for multiplications, x^3 as Pow or as Muls,
 * and x (1 + 0.044715 x^2) for the sum.
 */
#include "graph/recognise.h"

#include <math.h>

#define CUBIC 0.044715

static bool all_are(const bl_factors *f, int n, int x)
{
    if (f->n != n) return false;
    for (int i = 0; i < n; i++)
        if (f->value[i] != x) return false;
    return true;
}

/* scale * sum, with sum = a x + b x^3. */
static bool is_cubic_sum(bl_match *m, int sum, double scale, int x)
{
    int add = bl_match_only(m, sum, "Add");
    bl_factors l, r;

    if (add < 0) return false;
    const bl_node *n = &m->e->g.nodes[add];
    if (!bl_match_value_product(m, n->in[0], &l) || !bl_match_value_product(m, n->in[1], &r))
        return false;
    const bl_factors *one = l.n == 1 ? &l : &r, *three = l.n == 1 ? &r : &l;
    return all_are(one, 1, x) && all_are(three, 3, x) &&
           bl_match_close(scale * one->scale, sqrt(2 / M_PI)) &&
           bl_match_close(scale * three->scale, sqrt(2 / M_PI) * CUBIC);
}

/* scale * x * (a + b x^2), the bracket being value. */
static bool is_square_sum(bl_match *m, int value, double scale, int x)
{
    bl_factors f;
    double b, a;
    int u;

    bl_match_affine(m, value, &u, &b, &a);
    return bl_match_value_product(m, u, &f) && all_are(&f, 2, x) &&
           bl_match_close(scale * a, sqrt(2 / M_PI)) &&
           bl_match_close(scale * b * f.scale, sqrt(2 / M_PI) * CUBIC);
}

static bool is_tanh_argument(bl_match *m, int value, int x)
{
    bl_factors f;

    if (!bl_match_value_product(m, value, &f)) return false;
    if (f.n == 1) return is_cubic_sum(m, f.value[0], f.scale, x);
    if (f.n != 2 || (f.value[0] != x && f.value[1] != x)) return false;
    return is_square_sum(m, f.value[f.value[0] == x], f.scale, x);
}

static bool is_erf_argument(bl_match *m, int value, int x)
{
    double scale, shift;
    int u;

    bl_match_affine(m, value, &u, &scale, &shift);
    return u == x && shift == 0 && bl_match_close(scale, M_SQRT1_2);
}

/* c * value = (1 + erf or tanh) / 2 of what belongs there. */
static bool is_gate(bl_match *m, int value, double c, int x, bool *tanh_form)
{
    double scale, shift;
    int u, node;

    bl_match_affine(m, value, &u, &scale, &shift);
    if (!bl_match_close(c * scale, 0.5) || !bl_match_close(c * shift, 0.5)) return false;
    node = bl_match_only(m, u, "Erf");
    *tanh_form = node < 0;
    if (node < 0) node = bl_match_only(m, u, "Tanh");
    if (node < 0) return false;
    value = m->e->g.nodes[node].in[0];
    return *tanh_form ? is_tanh_argument(m, value, x) : is_erf_argument(m, value, x);
}

bl_status bl_recognise_gelu(bl_edit *e, int node)
{
    static const bl_attr tanh_attr = {
        .name = "approximate", .type = BL_ATTR_STRING, .s = "tanh", .s_len = 4};
    bl_match m = {.e = e};
    bl_factors f;
    bool tanh_form;
    int y = e->g.nodes[node].n_out == 1 ? e->g.nodes[node].out[0] : -1;

    if (y < 0 || !bl_match_product(&m, node, &f) || f.n != 2) return BL_OK;
    for (int i = 0, before = m.n; i < 2; i++, m.n = before)
        if (is_gate(&m, f.value[i], f.scale, f.value[1 - i], &tanh_form) &&
            bl_match_same_shape(e, f.value[1 - i], y))
            return bl_match_take(&m, node, "Gelu", 20, f.value[1 - i], &tanh_attr, tanh_form);
    return BL_OK;
}
