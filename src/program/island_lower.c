/* SPDX-License-Identifier: BSD-3-Clause */
/* A node of the model into the program's list of islands [Q11]: see island.h. */
#include "program/builder.h"

#include <string.h>

const char *bl_island_refuses(const bl_graph *g, const bl_node *n)
{
    if (!n->op->forward) return "it has no float form";
    for (int i = 0; i < n->n_attr; i++)
        if (n->attr[i].type == BL_ATTR_GRAPH) return "it has a subgraph";
    for (int k = 0; k < n->n_in + n->n_out; k++) {
        int v = k < n->n_in ? n->in[k] : n->out[k - n->n_in];
        if (v >= 0 && !bl_dtype_bytes(g->values[v].t.type)) return "its values are not numbers";
    }
    return NULL;
}

/* Texts one after another, each with its NUL. */
static bl_status texts_blob(bl_lowering *low, const bl_attr *a, bl_pattr *out)
{
    size_t bytes = 0, at = 0;
    for (size_t i = 0; i < a->n; i++) bytes += strlen(a->strings[i]) + 1;
    char *all = BL_NEW(low->scratch, char, bytes);
    BL_ALLOC_TRY(low->ctx, all);
    for (size_t i = 0; i < a->n; i++) {
        size_t n = strlen(a->strings[i]) + 1;
        memcpy(all + at, a->strings[i], n);
        at += n;
    }
    out->bytes = bytes;
    return low->blob(low, all, bytes, &out->data);
}

static bl_status add_attr(bl_pbuilder *b, bl_lowering *low, const bl_attr *a)
{
    BL_TRY(bl_build_grow(b, (void **)&b->attrs, &b->attrs_cap, (size_t)b->p->n_attrs + 1, sizeof *b->attrs));
    bl_pattr *out = &b->attrs[b->p->n_attrs++];
    memset(out, 0, sizeof *out);
    out->type = a->type;
    out->i = a->i;
    out->f = a->f;
    out->n = a->n;
    BL_TRY(bl_build_string(b, a->name, &out->name));
    switch (a->type) {
    case BL_ATTR_STRING:
        out->n = a->s_len;
        out->bytes = a->s_len + 1;
        return low->blob(low, a->s, out->bytes, &out->data);
    case BL_ATTR_STRINGS: return texts_blob(low, a, out);
    case BL_ATTR_FLOATS: out->bytes = a->n * sizeof(float); return low->blob(low, a->floats, out->bytes, &out->data);
    case BL_ATTR_INTS: out->bytes = a->n * sizeof(int64_t); return low->blob(low, a->ints, out->bytes, &out->data);
    case BL_ATTR_TENSOR:
        out->dtype = a->t.type;
        out->rank = a->t.rank;
        memcpy(out->dim, a->t.dim, sizeof out->dim);
        out->bytes = bl_tensor_bytes(&a->t);
        return low->blob(low, a->t.data, out->bytes, &out->data);
    default: return BL_OK;
    }
}

/* The bias of a layer as the float walk has it: on its int32 grid where it has one. */
static bl_status bias_data(bl_pbuilder *b, bl_lowering *low, int node, const bl_tensor *t, const void **data)
{
    int w = bl_layer_weight(b->g, node);
    int qw = w >= 0 ? b->plan->of_value[w] : -1, qx = b->plan->of_value[b->g->nodes[node].in[0]];
    const bl_quantizer *q = qw >= 0 ? &b->plan->quantizers[qw] : NULL;
    int64_t n = bl_tensor_count(t);
    if (!q || qx < 0 || (q->n_scale > 1 && n != q->n_scale)) return BL_OK;
    float *real = BL_NEW(low->scratch, float, (size_t)n);
    BL_ALLOC_TRY(low->ctx, real);
    bl_bias_on_grid(t->data, (int)n, b->plan->quantizers[qx].scale[0], q, real);
    *data = real;
    return BL_OK;
}

static bl_status constant_port(bl_pbuilder *b, bl_lowering *low, int node, int k, bl_pport *p)
{
    const bl_tensor *t = low->constant[k];
    const bl_iweight *w = k == 1 ? low->weight : NULL;
    const void *data = t->data;
    if (w) {
        p->bits = w->bits;
        p->axis = w->n_scale > 1 ? w->axis : -1;
        p->n_scale = w->n_scale;
        BL_TRY(low->blob(low, w->scale, (size_t)w->n_scale * sizeof *w->scale, &p->scale));
        return low->pack(low, w->codes, (size_t)bl_tensor_count(t), w->bits, &p->data);
    }
    if (k == 2 && low->weight && t->type == BL_F32) BL_TRY(bias_data(b, low, node, t, &data));
    return low->blob(low, data, bl_tensor_bytes(t), &p->data);
}

static bl_status add_port(bl_pbuilder *b, bl_lowering *low, int node, int k, bool is_out)
{
    const bl_node *n = &b->g->nodes[node];
    int v = is_out ? n->out[k] : n->in[k];
    bl_pport p;
    memset(&p, 0, sizeof p);
    p.tensor = p.axis = -1;
    if (v >= 0) {
        const bl_tensor *t = &b->g->values[v].t;
        p.type = t->type;
        p.rank = t->rank;
        memcpy(p.dim, t->dim, sizeof p.dim);
        /* a constant operand that the plan put on a grid is a tensor of codes */
        if (!t->data || (!is_out && low->in[k])) p.tensor = b->tensor_of_value[v];
        else BL_TRY(constant_port(b, low, node, k, &p));
    }
    BL_TRY(bl_build_grow(b, (void **)&b->ports, &b->ports_cap, (size_t)b->p->n_ports + 1, sizeof *b->ports));
    b->ports[b->p->n_ports++] = p;
    return BL_OK;
}

bl_status bl_lower_island(bl_pbuilder *b, bl_lowering *low, int node)
{
    const bl_node *n = &b->g->nodes[node];
    bl_pisland is;
    memset(&is, 0, sizeof is);
    is.opset = n->opset;
    is.n_in = (uint32_t)n->n_in;
    is.n_out = (uint32_t)n->n_out;
    is.n_attr = (uint32_t)n->n_attr;
    is.first_port = b->p->n_ports;
    is.first_attr = b->p->n_attrs;
    is.lo = n->lo;
    is.hi = n->hi;
    BL_TRY(bl_build_string(b, n->op->name, &is.op));
    BL_TRY(bl_build_string(b, n->domain, &is.domain));
    for (int k = 0; k < n->n_in; k++) BL_TRY(add_port(b, low, node, k, false));
    for (int k = 0; k < n->n_out; k++) BL_TRY(add_port(b, low, node, k, true));
    for (int i = 0; i < n->n_attr; i++) BL_TRY(add_attr(b, low, &n->attr[i]));
    BL_TRY(bl_build_grow(b, (void **)&b->islands, &b->islands_cap, (size_t)b->p->n_islands + 1, sizeof *b->islands));
    bl_step s;
    memset(&s, 0, sizeof s);
    s.contract = BL_STEP_ISLAND;
    s.in[0] = s.in[1] = s.out = -1;
    s.u.island.island = b->p->n_islands;
    b->islands[b->p->n_islands++] = is;
    return low->emit(low, &s);
}
