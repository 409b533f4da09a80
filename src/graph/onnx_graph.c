/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The parsed model becomes a GRAPH.  Here: the checks of the model as a whole, constants, outputs,
 * the order of the steps.  Inputs, nodes and tensors have files of their own.  The graph is
 * faithful: nothing is folded, every name is the model's.
 */
#include "graph/onnx_private.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#define NEWEST_OPSET 25 /* of the operator documents that src/ops was written from */
#define NEWEST_IR 13

bl_status bl_onnx_fail(const bl_onnx *in, bl_status code, const char *subject, const char *remedy,
                       const char *format, ...)
{
    char place[512], what[1024];
    va_list args;
    snprintf(place, sizeof(place), "%.300s: %.200s", in->place, subject);
    va_start(args, format);
    vsnprintf(what, sizeof(what), format, args);
    va_end(args);
    return bl_fail(in->ctx, code, place, remedy, "%s", what);
}

bl_status bl_onnx_value(bl_onnx *in, const char *subject, const char *name, const bl_tensor *t,
                        int *value)
{
    bl_graph *g = in->graph;
    int taken, number = g->n_values;
    if (!*name) return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "has no name");
    char *own = bl_strdup(g->arena, name);
    BL_ALLOC_TRY(in->ctx, own);
    BL_TRY(bl_names_add(&in->values, own, number, &taken));
    if (taken >= 0)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                            "another constant, input or node already gives the value \"%.200s\"",
                            name);
    g->values[number] = (bl_value){.name = own, .t = *t, .producer = -1};
    g->n_values++;
    *value = number;
    return BL_OK;
}

/* ------------------------------------------------------------------ the model as a whole */

static bool is_onnx_domain(const char *domain)
{
    return !domain || !*domain || strcmp(domain, "ai.onnx") == 0;
}

static bl_status check_model(bl_onnx *in)
{
    const Onnx__ModelProto *m = in->model;
    int64_t opset = 0;
    if (m->ir_version < 1 || m->ir_version > INT_MAX)
        return bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED,
                       "it names no version of the format");
    for (size_t i = 0; i < m->n_opset_import; i++) {
        int64_t version = m->opset_import[i]->version;
        if (version < 1 || version > INT_MAX)
            return bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED,
                           "the operator set \"%.100s\" has the version %" PRId64,
                           m->opset_import[i]->domain, version);
        if (is_onnx_domain(m->opset_import[i]->domain)) opset = BL_MAX(opset, version);
    }
    if (m->n_opset_import == 0 || m->n_opset_import > 1000)
        return bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED, "it names %zu operator sets",
                       m->n_opset_import);
    if (m->graph->n_output == 0)
        return bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED, "its graph has no output");
    if (m->graph->n_sparse_initializer > 0)
        return bl_fail(in->ctx, BL_UNAVAILABLE, in->place,
                       "export the network with dense constants", "%zu constants are sparse",
                       m->graph->n_sparse_initializer);
    if (opset > NEWEST_OPSET || m->ir_version > NEWEST_IR)
        bl_note(in->ctx,
                "%s: opset %" PRId64 ", format %" PRId64 " are newer than the newest known "
                "here (%d, %d); operators are read as of then",
                in->place, opset, m->ir_version, NEWEST_OPSET, NEWEST_IR);
    in->graph->ir_version = (int)m->ir_version;
    in->graph->opset = (int)opset;
    return BL_OK;
}

static bl_status copy_texts(bl_onnx *in)
{
    const Onnx__ModelProto *m = in->model;
    bl_graph *g = in->graph;
    const char *version = m->producer_version ? m->producer_version : "";
    g->source = bl_strdup(g->arena, in->place);
    g->name = bl_strdup(g->arena, m->graph->name ? m->graph->name : "");
    g->producer = bl_format(g->arena, "%s%s%s", m->producer_name ? m->producer_name : "",
                            *version ? " " : "", version);
    return g->source && g->name && g->producer ? BL_OK : bl_pending(in->ctx);
}

/* Room for every value that can be: constants, inputs, outputs of nodes. */
static bl_status make_room(bl_onnx *in)
{
    const Onnx__GraphProto *p = in->model->graph;
    size_t n = p->n_initializer + p->n_input; /* each took a byte of the file: no overflow */
    for (size_t i = 0; i < p->n_node; i++) n += p->node[i]->n_output;
    in->graph->values = BL_NEW(in->graph->arena, bl_value, n);
    BL_ALLOC_TRY(in->ctx, in->graph->values);
    return bl_names_init(&in->values, in->scratch, n);
}

static bl_status read_constants(bl_onnx *in)
{
    const Onnx__GraphProto *p = in->model->graph;
    for (size_t i = 0; i < p->n_initializer; i++) {
        const Onnx__TensorProto *from = p->initializer[i];
        char subject[128];
        bl_tensor t;
        int value;
        snprintf(subject, sizeof(subject), "constant \"%.100s\"", from->name ? from->name : "");
        BL_TRY(bl_onnx_tensor(in, from, subject, &t));
        BL_TRY(bl_onnx_finite(in, subject, &t));
        BL_TRY(bl_onnx_value(in, subject, from->name ? from->name : "", &t, &value));
        if ((i & 255) == 0) BL_TRY(bl_check_interrupt(in->ctx));
    }
    return BL_OK;
}

static bl_status read_outputs(bl_onnx *in)
{
    const Onnx__GraphProto *p = in->model->graph;
    bl_graph *g = in->graph;
    g->outputs = BL_NEW(g->arena, int, p->n_output);
    BL_ALLOC_TRY(in->ctx, g->outputs);
    for (size_t i = 0; i < p->n_output; i++) {
        const char *name = p->output[i]->name ? p->output[i]->name : "";
        int value = bl_names_find(&in->values, name);
        if (value < 0)
            return bl_fail(in->ctx, BL_DATA, in->place, BL_ONNX_DAMAGED,
                           "nothing produces the graph output \"%.200s\"", name);
        g->outputs[g->n_outputs++] = value;
    }
    return BL_OK;
}

bl_status bl_onnx_graph(bl_onnx *in)
{
    BL_TRY(check_model(in));
    BL_TRY(bl_onnx_check_operators(in));
    BL_TRY(copy_texts(in));
    BL_TRY(make_room(in));
    BL_TRY(read_constants(in));
    BL_TRY(bl_onnx_inputs(in));
    BL_TRY(bl_onnx_nodes(in));
    BL_TRY(read_outputs(in));
    if (in->widened)
        bl_note(in->ctx, "%s holds numbers of 16 bits (float16, bfloat16); it is computed in float32", in->place);
    for (int i = 0; i < in->graph->n_nodes; i++)
        in->graph->quantized |= (in->graph->nodes[i].op->flags & BL_OP_CODES) != 0;
    if (bl_graph_link(in->ctx, in->graph) != BL_OK || bl_graph_infer(in->ctx, in->graph) != BL_OK)
        return bl_fail_within(in->ctx, "%s", in->place);
    return BL_OK;
}
