/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A MatMul with a bias.  ONNX has Add behind MatMul for it, which ONNX Runtime rounds twice; the one operator of
 * its that adds an int32 bias to a product before the only rounding is Gemm, which wants two dimensions.  So
 *
 *     codes -> Reshape -> DQ -> Gemm -> Q -> Reshape -> codes
 *
 * On codes, where it is nothing but a name, a Reshape stands in no pattern's way.
 */
#include "emit/qdq_private.h"

#include <string.h>

bool bl_qdq_is_biased(const bl_node *n)
{
    return !strcmp(n->op->name, "MatMul") && n->n_in > 2 && n->in[2] >= 0;
}

void bl_qdq_rows_grow(bl_qdq *q, const bl_graph *other)
{
    for (int i = 0; i < q->graph->n_nodes; i++) {
        if (!bl_qdq_is_biased(&q->graph->nodes[i])) continue;
        int v = q->graph->nodes[i].out[0], same = bl_graph_find_value(other, q->graph->values[v].name);
        const bl_tensor *t = &q->graph->values[v].t;
        q->grows[v] = -1;
        for (int d = 0; same >= 0 && d < t->rank; d++) /* one: all that flows grows as the batch does, or there is no other */
            if (other->values[same].t.dim[d] != t->dim[d]) q->grows[v] = d;
    }
}

const char *bl_qdq_rows(bl_qdq *q, int v)
{
    const bl_tensor *t = &q->graph->values[v].t;
    const char *base = q->graph->values[v].name;
    int64_t shape[] = { -1, t->dim[t->rank - 1] };
    if (q->rows[v]) return q->rows[v];
    const char *codes = bl_qdq_name(q, "%s_rows_quantized", base), *real = bl_qdq_name(q, "%s_rows", base);
    bl_qdq_reshape(q, q->parts[v].codes, bl_qdq_ints(q, bl_qdq_name(q, "%s_rows_shape", base), shape, 2), codes);
    bl_qdq_dequantize(q, q->parts[v], codes, real, -1);
    return q->rows[v] = real;
}

const char *bl_qdq_rows_back(bl_qdq *q, int v)
{
    const bl_tensor *t = &q->graph->values[v].t;
    int64_t shape[BL_MAX_RANK];
    memcpy(shape, t->dim, sizeof shape);
    if (q->free_batch && q->grows[v] >= 0) shape[q->grows[v]] = -1;
    return bl_qdq_ints(q, bl_qdq_name(q, "%s_shape", q->graph->values[v].name), shape, (size_t)t->rank);
}
