/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Nodes of the source at the exported file's opset.  The file is never older than the source, so
 * the only differences are ONNX's own changes on the way up: attributes that became inputs,
 * attributes that went away, defaults that changed.  Source: ONNX's operator change log.
 */
#include "emit/qdq_private.h"

#include <string.h>

#define INPUTS_MAX 8 /* of the operators in the table below */

/* Operators younger than opset 13 that prepare may put into an older network. */
static const struct { const char *op; int since; } young[] = {
    { "Gelu", 20 }, { "HardSwish", 14 }, { "LayerNormalization", 17 },
};

/* From opset `since` the attribute is the input of that number. */
static const struct moved { const char *op, *attr; int since, input; } moved[] = {
    { "Clip", "max", 11, 2 },        { "Clip", "min", 11, 1 },
    { "Pad", "pads", 11, 1 },        { "Pad", "value", 11, 2 },
    { "ReduceL1", "axes", 18, 1 },   { "ReduceL2", "axes", 18, 1 },
    { "ReduceLogSum", "axes", 18, 1 }, { "ReduceLogSumExp", "axes", 18, 1 },
    { "ReduceMax", "axes", 18, 1 },  { "ReduceMean", "axes", 18, 1 },
    { "ReduceMin", "axes", 18, 1 },  { "ReduceProd", "axes", 18, 1 },
    { "ReduceSum", "axes", 13, 1 },  { "ReduceSumSquare", "axes", 18, 1 },
    { "Reshape", "shape", 5, 1 },    { "Slice", "axes", 10, 3 },
    { "Slice", "ends", 10, 2 },      { "Slice", "starts", 10, 1 },
    { "Split", "split", 13, 1 },     { "Squeeze", "axes", 13, 1 },
    { "Unsqueeze", "axes", 13, 1 },
};

/* Went away before opset 13; each only repeated a default or asked for what numpy does. */
static const char *const gone[] = { "broadcast", "consumed_inputs", "is_test", "spatial" };

int bl_qdq_opset(const bl_graph *graph)
{
    int opset = BL_MAX(graph->opset, 13);
    for (int i = 0; i < graph->n_nodes; i++)
        for (size_t k = 0; k < BL_COUNTOF(young); k++)
            if (!strcmp(graph->nodes[i].op->name, young[k].op))
                opset = BL_MAX(opset, young[k].since);
    return opset;
}

static const struct moved *find_moved(const bl_qdq *q, const bl_node *n, const char *attr)
{
    for (size_t i = 0; i < BL_COUNTOF(moved); i++)
        if (n->opset < moved[i].since && q->opset >= moved[i].since &&
            !strcmp(n->op->name, moved[i].op) && !strcmp(attr, moved[i].attr))
            return &moved[i];
    return NULL;
}

static bool is_gone(const bl_node *n, const char *attr)
{
    if (n->opset >= 13) return false;
    for (size_t i = 0; i < BL_COUNTOF(gone); i++)
        if (!strcmp(attr, gone[i])) return true;
    return n->opset < 7 && !strcmp(attr, "axis") && bl_node_attr(n, "broadcast");
}

static bool is_softmax(const bl_node *n)
{
    return !strcmp(n->op->name, "Softmax") || !strcmp(n->op->name, "LogSoftmax");
}

static void refuse(bl_qdq *q, const bl_node *n, const char *what)
{
    if (q->status == BL_OK)
        q->status = bl_fail(q->ctx, BL_UNAVAILABLE, n->name, "convert the model to opset 13",
                            "%s of opset %d has no equal in opset %d: %s", n->op->name, n->opset,
                            q->opset, what);
}

/* Before opset 13 everything from the axis on was one axis, and 1 the default.  Gives the axis that
 * says the same today. */
static int64_t softmax_axis(bl_qdq *q, const bl_node *n)
{
    const bl_tensor *x = &q->graph->values[n->in[0]].t;
    int64_t axis = bl_attr_int(n, "axis", 1), behind = 1;
    if (axis < 0) axis += x->rank;
    for (int64_t d = axis + 1; d < x->rank; d++) behind *= x->dim[d];
    if (behind != 1) refuse(q, n, "it runs over several axes");
    return axis;
}

/* Before opset 7 B's first dimension lay at `axis` of A; numpy's rule wants it to end with A. */
static void check_broadcast(bl_qdq *q, const bl_node *n)
{
    const bl_attr *axis = bl_node_attr(n, "axis");
    if (n->opset >= 7 || !axis || !bl_attr_int(n, "broadcast", 0)) return;
    int rank = q->graph->values[n->in[0]].t.rank;
    if (axis->i + (axis->i < 0 ? rank : 0) != rank - q->graph->values[n->in[1]].t.rank)
        refuse(q, n, "its second input is broadcast from the middle");
}

static const char *moved_input(bl_qdq *q, const bl_node *n, const bl_attr *a)
{
    const char *name = bl_qdq_name(q, "%s_%s", n->name, a->name);
    if (a->type == BL_ATTR_FLOAT) return bl_qdq_scalar(q, name, a->f);
    return bl_qdq_ints(q, name, a->ints, a->n);
}

/* Resize of opset 10 knew one mapping of coordinates, which is no longer the default. */
static void resize_attributes(bl_qdq *q, Onnx__NodeProto *node)
{
    static const char *const said[][2] = { { "coordinate_transformation_mode", "asymmetric" },
                                           { "nearest_mode", "floor" } };
    for (size_t i = 0; i < BL_COUNTOF(said); i++)
        bl_qdq_attr(q, node, &(bl_attr){ .name = said[i][0], .type = BL_ATTR_STRING,
                                         .s = said[i][1], .s_len = strlen(said[i][1]) });
}

/* x Sigmoid(alpha x): ONNX's own Swish would need a runtime that knows opset 24. */
static void copy_swish(bl_qdq *q, const bl_node *n, const char *x, const char *y)
{
    const char *gate = bl_qdq_name(q, "%s_gate", y), *inner = x;
    float alpha = bl_attr_float(n, "alpha", 1);
    if (alpha != 1) {
        const char *in[] = { x, bl_qdq_scalar(q, bl_qdq_name(q, "%s_alpha", y), alpha) };
        inner = bl_qdq_name(q, "%s_scaled", y);
        bl_qdq_node(q, "Mul", NULL, in, 2, &inner, 1);
    }
    bl_qdq_node(q, "Sigmoid", NULL, &inner, 1, &gate, 1);
    const char *in[] = { x, gate };
    bl_qdq_node(q, "Mul", n->name, in, 2, &y, 1);
}

void bl_qdq_copy_node(bl_qdq *q, const bl_node *n, const char *const *in, const char *const *out)
{
    const char *own[INPUTS_MAX] = { NULL };
    size_t n_in = (size_t)n->n_in;
    if (!strcmp(n->op->name, "Swish")) {
        copy_swish(q, n, in[0], out[0]);
        return;
    }
    bool old_resize = !strcmp(n->op->name, "Resize") && n->opset < 11;

    if (old_resize) { /* X, scales -> X, roi, scales */
        own[0] = in[0];
        own[2] = in[1];
        in = own;
        n_in = 3;
    }
    for (int i = 0; i < n->n_attr; i++) { /* inputs first: a node's are fixed when it is made */
        const struct moved *m = find_moved(q, n, n->attr[i].name);
        if (!m) continue;
        if (own != in) memcpy(own, in, BL_MIN(n_in, INPUTS_MAX) * sizeof *own);
        in = own;
        own[m->input] = moved_input(q, n, &n->attr[i]);
        n_in = BL_MAX(n_in, (size_t)m->input + 1);
    }
    check_broadcast(q, n);
    Onnx__NodeProto *node = bl_qdq_node(q, n->op->name, n->name, in, n_in, out, (size_t)n->n_out);
    if (!node) return;
    bool old_softmax = is_softmax(n) && n->opset < 13;
    if (old_softmax) bl_qdq_attr_int(q, node, "axis", softmax_axis(q, n));
    for (int i = 0; i < n->n_attr; i++) {
        const bl_attr *a = &n->attr[i];
        if (find_moved(q, n, a->name) || is_gone(n, a->name)) continue;
        if (old_softmax && !strcmp(a->name, "axis")) continue;
        bl_qdq_attr(q, node, a);
    }
    if (old_resize) resize_attributes(q, node);
    if (!strcmp(n->op->name, "Split") && n->opset < 18 && q->opset >= 18 && n_in < 2)
        bl_qdq_attr_int(q, node, "num_outputs", n->n_out);
}
