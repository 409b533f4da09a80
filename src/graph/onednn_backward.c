/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gradients of Conv, Gemm and MatMul on oneDNN (C API, 2.6), one thread.  Every tensor of a primitive
 * is a port: where the walk's order is not the one that the primitive likes, the port has a buffer of
 * its own and a reorder.  A node that oneDNN would run on its slow reference is left to the
 * operator's own facet.
 */
#include "graph/onednn_backward.h"
#include "graph/onednn_private.h"

#ifdef BL_HAVE_ONEDNN

#include <string.h>

typedef struct port {
    dnnl_memory_t outer, inner; /* the walk's order, handle set for each run; the primitive's */
    dnnl_primitive_t reorder;   /* NULL: inner is outer */
    uint32_t version;           /* a constant: what inner holds; UINT32_MAX: nothing yet */
} port;

typedef struct job {
    dnnl_primitive_t run;
    dnnl_memory_desc_t scratch_md;
    dnnl_memory_t scratch;
    port a, b, out;             /* src or diff_dst, weights or diff_dst, what is computed */
    int a_arg, b_arg, out_arg;
    bool has_bias;
    dnnl_memory_t bias;         /* diff_bias, beside the weights' gradient */
} job;

typedef struct back_node {
    job data, weights;          /* gradient by input 0, by input 1 */
    bl_dnn_orders orders;
    bool product;               /* Gemm, MatMul: both operands may flow */
    int64_t rows, cols;         /* of dy, for Gemm's bias */
} back_node;

struct bl_dnn_back {
    bl_dnn_base base;
    back_node *nodes;
};

bl_status bl_dnn_back_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph,
                          const uint32_t *versions, bool training, bl_dnn_back **out)
{
    bl_dnn_back *back = BL_NEW(arena, bl_dnn_back, 1);
    bl_status status;

    BL_ALLOC_TRY(ctx, back);
    *back = (bl_dnn_back){.base = {.ctx = ctx, .arena = arena, .graph = graph, .versions = versions, .training = training}};
    back->nodes = BL_NEW(arena, back_node, (size_t)graph->n_nodes);
    BL_ALLOC_TRY(ctx, back->nodes);
    status = bl_dnn_open(&back->base);
    if (status != BL_OK) {
        bl_dnn_back_free(back);
        return status;
    }
    *out = back;
    return BL_OK;
}

static void free_port(port *p)
{
    if (p->inner != p->outer) dnnl_memory_destroy(p->inner);
    dnnl_memory_destroy(p->outer);
    dnnl_primitive_destroy(p->reorder);
}

static void free_job(job *j)
{
    dnnl_primitive_destroy(j->run);
    dnnl_memory_destroy(j->scratch);
    dnnl_memory_destroy(j->bias);
    free_port(&j->a);
    free_port(&j->b);
    free_port(&j->out);
    memset(j, 0, sizeof *j);
}

void bl_dnn_back_free(bl_dnn_back *back)
{
    if (!back) return;
    for (int n = 0; n < back->base.graph->n_nodes; n++) {
        free_job(&back->nodes[n].data);
        free_job(&back->nodes[n].weights);
    }
    bl_dnn_close(&back->base);
}

/* ------------------------------------------------------------------ ports and jobs */

/* outwards: the primitive writes it. */
static bl_status make_port(const bl_dnn_back *back, const dnnl_memory_desc_t *outer,
                           const dnnl_memory_desc_t *inner, bool outwards, port *p)
{
    p->version = UINT32_MAX;
    DNN_TRY(&back->base, dnnl_memory_create(&p->outer, outer, back->base.engine, DNNL_MEMORY_NONE));
    p->inner = p->outer;
    if (dnnl_memory_desc_equal(outer, inner)) return BL_OK;
    void *data = bl_alloc(back->base.arena, dnnl_memory_desc_get_size(inner), 1);
    BL_ALLOC_TRY(back->base.ctx, data);
    p->inner = NULL;
    DNN_TRY(&back->base, dnnl_memory_create(&p->inner, inner, back->base.engine, data));
    return outwards ? bl_dnn_reorder_new(&back->base, inner, outer, &p->reorder)
                    : bl_dnn_reorder_new(&back->base, outer, inner, &p->reorder);
}

/* Hands the port its data; version UINT32_MAX: it flows and is converted in every run. */
static bl_status fill_port(const bl_dnn_back *back, port *p, const void *data, uint32_t version)
{
    DNN_TRY(&back->base, dnnl_memory_set_data_handle(p->outer, (void *)(uintptr_t)data));
    if (!p->reorder || (version != UINT32_MAX && version == p->version)) return BL_OK;
    BL_TRY(bl_dnn_reorder_run(&back->base, p->reorder, p->outer, p->inner));
    p->version = version;
    return BL_OK;
}

static bl_status run_job(const bl_dnn_back *back, job *j, void *to, void *bias)
{
    dnnl_exec_arg_t args[5];
    int n = 4;

    DNN_TRY(&back->base, dnnl_memory_set_data_handle(j->out.outer, to));
    args[0] = (dnnl_exec_arg_t){j->a_arg, j->a.inner};
    args[1] = (dnnl_exec_arg_t){j->b_arg, j->b.inner};
    args[2] = (dnnl_exec_arg_t){j->out_arg, j->out.inner};
    args[3] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, j->scratch};
    if (j->has_bias) {
        DNN_TRY(&back->base, dnnl_memory_set_data_handle(j->bias, bias));
        args[n++] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_BIAS, j->bias};
    }
    DNN_TRY(&back->base, dnnl_primitive_execute(j->run, back->base.stream, n, args));
    DNN_TRY(&back->base, dnnl_stream_wait(back->base.stream));
    return j->out.reorder ? bl_dnn_reorder_run(&back->base, j->out.reorder, j->out.inner, j->out.outer) : BL_OK;
}

/* Takes over pd.  a, b, out: the walk's orders of what stands behind the job's three arguments. */
static bl_status adopt(bl_dnn_back *back, dnnl_primitive_desc_t pd, job *j,
                       const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b,
                       const dnnl_memory_desc_t *out)
{
    dnnl_memory_desc_t in_a = bl_dnn_query(pd, j->a_arg), in_b = bl_dnn_query(pd, j->b_arg);
    dnnl_memory_desc_t in_out = bl_dnn_query(pd, j->out_arg);
    dnnl_status_t status = dnnl_primitive_create(&j->run, pd);

    j->scratch_md = bl_dnn_query(pd, DNNL_ARG_SCRATCHPAD);
    back->base.scratch_bytes = BL_MAX(back->base.scratch_bytes, dnnl_memory_desc_get_size(&j->scratch_md));
    dnnl_primitive_desc_destroy(pd);
    BL_TRY(bl_dnn_check(&back->base, status, "primitive"));
    BL_TRY(make_port(back, a, &in_a, false, &j->a));
    BL_TRY(make_port(back, b, &in_b, false, &j->b));
    return make_port(back, out, &in_out, true, &j->out);
}

/* ------------------------------------------------------------------ Conv */

typedef struct conv_back {
    bl_dnn_conv of;
    dnnl_memory_desc_t src, dst; /* the walk's orders */
    bool winograd;
} conv_back;

static bl_status conv_read(const bl_dnn_back *back, const bl_node *node, const bl_layout *layouts,
                           conv_back *c)
{
    const bl_value *values = back->base.graph->values;
    const bl_tensor *x = &values[node->in[0]].t, *y = &values[node->out[0]].t;
    bl_layout in = layouts[node->in[0]], out = layouts[node->out[0]];

    BL_TRY(bl_dnn_conv_read(&back->base, node, &c->of));
    c->winograd = back->base.training && in == BL_LAYOUT_BLOCK16 && out == BL_LAYOUT_BLOCK16 &&
                  bl_dnn_winograd(x, &values[node->in[1]].t, c->of.stride, c->of.dilation);
    c->src = bl_dnn_layout_md(x, in);
    c->dst = bl_dnn_layout_md(y, out);
    return BL_OK;
}

static dnnl_memory_desc_t any_of(const dnnl_memory_desc_t *md)
{
    return bl_dnn_describe(md->ndims, md->dims, dnnl_format_tag_any);
}

/* The forward primitive that oneDNN wants as a hint; NULL: no. */
static dnnl_primitive_desc_t conv_hint(const bl_dnn_back *back, const bl_dnn_conv *c, dnnl_alg_kind_t alg,
                                       const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                                       const dnnl_memory_desc_t *weight, const dnnl_memory_desc_t *bias)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd;

    if (dnnl_dilated_convolution_forward_desc_init(&desc, dnnl_forward_training, alg, src, weight, bias, dst, c->stride,
                                                   c->dilation, c->begin, c->end) != dnnl_success ||
        dnnl_primitive_desc_create(&pd, &desc, NULL, back->base.engine, NULL) != dnnl_success)
        return NULL;
    return pd;
}

/* By the weights, or by the data; in the orders src and dst. */
static bl_status conv_try(const bl_dnn_back *back, const conv_back *back_of, dnnl_alg_kind_t alg, bool weights, bool biased,
                          const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                          dnnl_primitive_desc_t *pd)
{
    const bl_dnn_conv *c = &back_of->of;
    const dnnl_memory_desc_t weight = any_of(&c->given), *bias = biased ? &c->bias : NULL;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint = conv_hint(back, c, alg, src, dst, &weight, bias);
    dnnl_status_t status;
    bl_status result;

    *pd = NULL;
    if (!hint) return BL_OK;
    if (weights)
        status = dnnl_dilated_convolution_backward_weights_desc_init(&desc, alg, src, &weight, bias, dst, c->stride,
                                                                     c->dilation, c->begin, c->end);
    else
        status = dnnl_dilated_convolution_backward_data_desc_init(&desc, alg, src, &weight, dst, c->stride, c->dilation,
                                                                  c->begin, c->end);
    result = status == dnnl_success ? bl_dnn_pd_new(&back->base, NULL, &desc, hint, pd) : BL_OK;
    dnnl_primitive_desc_destroy(hint);
    return result;
}

/* In the walk's orders if oneDNN runs well there, else in its own with reorders around. */
static bl_status conv_choose(const bl_dnn_back *back, const conv_back *c, bool weights, bool biased,
                             dnnl_primitive_desc_t *pd)
{
    dnnl_memory_desc_t src = any_of(&c->src), dst = any_of(&c->dst);

    *pd = NULL;
    if (c->winograd) BL_TRY(conv_try(back, c, dnnl_convolution_winograd, weights, biased, &c->src, &c->dst, pd));
    if (*pd) return BL_OK;
    BL_TRY(conv_try(back, c, dnnl_convolution_direct, weights, biased, &c->src, &c->dst, pd));
    if (*pd && !bl_dnn_is_gemm(*pd)) return BL_OK;
    bl_dnn_pd_drop(pd);
    return conv_try(back, c, dnnl_convolution_direct, weights, biased, &src, &dst, pd);
}

static bl_status plan_conv(bl_dnn_back *back, int n, const uint8_t *active,
                           const bl_layout *layouts, bool *taken)
{
    const bl_node *node = &back->base.graph->nodes[n];
    bool by_data = active[node->in[0]], by_weight = active[node->in[1]];
    bool by_bias = node->n_in > 2 && node->in[2] >= 0 && active[node->in[2]];
    back_node *b = &back->nodes[n];
    dnnl_primitive_desc_t pd;
    conv_back c;

    if (!back->base.graph->values[node->in[1]].t.data || (by_bias && !by_weight)) return BL_OK;
    BL_TRY(conv_read(back, node, layouts, &c));
    b->orders = (bl_dnn_orders){layouts[node->in[0]] != BL_LAYOUT_PLAIN,
                                layouts[node->out[0]] != BL_LAYOUT_PLAIN};
    if (by_data) {
        BL_TRY(conv_choose(back, &c, false, false, &pd));
        if (!pd) return BL_OK;
        b->data.a_arg = DNNL_ARG_DIFF_DST;
        b->data.b_arg = DNNL_ARG_WEIGHTS;
        b->data.out_arg = DNNL_ARG_DIFF_SRC;
        BL_TRY(adopt(back, pd, &b->data, &c.dst, &c.of.given, &c.src));
    }
    if (by_weight) {
        BL_TRY(conv_choose(back, &c, true, by_bias, &pd));
        if (!pd) {
            free_job(&b->data);
            return BL_OK;
        }
        b->weights.a_arg = DNNL_ARG_SRC;
        b->weights.b_arg = DNNL_ARG_DIFF_DST;
        b->weights.out_arg = DNNL_ARG_DIFF_WEIGHTS;
        if (by_bias) {
            dnnl_memory_desc_t bias = bl_dnn_query(pd, DNNL_ARG_DIFF_BIAS);
            b->weights.has_bias = true;
            DNN_TRY(&back->base, dnnl_memory_create(&b->weights.bias, &bias, back->base.engine, DNNL_MEMORY_NONE));
        }
        BL_TRY(adopt(back, pd, &b->weights, &c.src, &c.dst, &c.of.given));
    }
    *taken = true;
    return BL_OK;
}

/* ------------------------------------------------------------------ Gemm, MatMul */

/* Batches of row-major matrices as they lie, or their transposes. */
static bool matrix(dnnl_memory_desc_t *md, int rank, const int64_t *batch, int64_t rows,
                   int64_t cols, bool transposed)
{
    dnnl_dims_t dim = {0};

    for (int d = 0; d < rank - 2; d++) dim[d] = batch[d];
    dim[rank - 2] = transposed ? cols : rows;
    dim[rank - 1] = transposed ? rows : cols;
    return bl_dnn_strided(md, rank, dim, transposed ? 1 : cols, transposed ? cols : 1);
}

static bl_status product_job(bl_dnn_back *back, const dnnl_memory_desc_t *a,
                             const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *out, job *j,
                             bool *taken)
{
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd;

    *taken = false;
    if (dnnl_matmul_desc_init(&desc, a, b, NULL, out) != dnnl_success) return BL_OK;
    BL_TRY(bl_dnn_pd_new(&back->base, NULL, &desc, NULL, &pd));
    if (!pd) return BL_OK;
    j->a_arg = DNNL_ARG_SRC;
    j->b_arg = DNNL_ARG_WEIGHTS;
    j->out_arg = DNNL_ARG_DST;
    *taken = true;
    return adopt(back, pd, j, a, b, out);
}

/* Y (m x n) = X (m x k) W (k x n), W stored transposed or not.  dX = dY W'; dW as it is stored, so
 * that what is written is row-major: X' dY, or dY' X for the transposed one. */
static bl_status plan_product(bl_dnn_back *back, int n, const uint8_t *active, int rank,
                              const int64_t *batch, int64_t m, int64_t k, int64_t cols, bool turned,
                              bool *taken)
{
    const bl_node *node = &back->base.graph->nodes[n];
    back_node *b = &back->nodes[n];
    dnnl_memory_desc_t dy, other, out;
    bool done = true;

    b->product = true;
    b->rows = m;
    b->cols = cols;
    if (active[node->in[0]]) {
        if (!matrix(&dy, rank, batch, m, cols, false) ||
            !matrix(&other, rank, batch, turned ? cols : k, turned ? k : cols, !turned) ||
            !matrix(&out, rank, batch, m, k, false))
            return BL_OK;
        BL_TRY(product_job(back, &dy, &other, &out, &b->data, &done));
    }
    if (done && active[node->in[1]]) {
        bool ok = turned ? matrix(&dy, rank, batch, m, cols, true) &&
                               matrix(&other, rank, batch, m, k, false) &&
                               matrix(&out, rank, batch, cols, k, false)
                         : matrix(&other, rank, batch, m, cols, false) &&
                               matrix(&dy, rank, batch, m, k, true) &&
                               matrix(&out, rank, batch, k, cols, false);
        if (!ok) return BL_OK;
        BL_TRY(product_job(back, &dy, &other, &out, &b->weights, &done));
        if (!done) free_job(&b->data);
    }
    *taken = done;
    return BL_OK;
}

static bl_status plan_gemm(bl_dnn_back *back, int n, const uint8_t *active,
                           const bl_layout *layouts, bool *taken)
{
    const bl_node *node = &back->base.graph->nodes[n];
    const bl_tensor *a = &back->base.graph->values[node->in[0]].t, *y = &back->base.graph->values[node->out[0]].t;
    bool turned = bl_attr_int(node, "transB", 0) != 0;

    if (layouts[node->in[0]] != BL_LAYOUT_PLAIN || layouts[node->out[0]] != BL_LAYOUT_PLAIN ||
        bl_attr_float(node, "alpha", 1.0f) != 1.0f || bl_attr_float(node, "beta", 1.0f) != 1.0f ||
        bl_attr_int(node, "transA", 0))
        return BL_OK;
    if (node->n_in > 2 && node->in[2] >= 0) {
        const bl_tensor *c = &back->base.graph->values[node->in[2]].t;
        if (bl_tensor_count(c) != y->dim[1]) return BL_OK;
    }
    return plan_product(back, n, active, 2, NULL, y->dim[0], a->dim[1], y->dim[1], turned, taken);
}

static bl_status plan_matmul(bl_dnn_back *back, int n, const uint8_t *active,
                             const bl_layout *layouts, bool *taken)
{
    const bl_node *node = &back->base.graph->nodes[n];
    const bl_tensor *a = &back->base.graph->values[node->in[0]].t, *b = &back->base.graph->values[node->in[1]].t;
    int64_t k, cols, m;

    for (int i = 0; i < 2; i++)
        if (layouts[node->in[i]] != BL_LAYOUT_PLAIN) return BL_OK;
    if (layouts[node->out[0]] != BL_LAYOUT_PLAIN || a->rank < 2 || b->rank < 2) return BL_OK;
    k = a->dim[a->rank - 1];
    cols = b->dim[b->rank - 1];
    m = a->dim[a->rank - 2];
    if (b->rank == 2) /* one matrix for all: rows joined */
        return plan_product(back, n, active, 2, NULL, bl_tensor_count(a) / k, k, cols, false, taken);
    if (a->rank != b->rank) return BL_OK;
    for (int d = 0; d < a->rank - 2; d++)
        if (a->dim[d] != b->dim[d]) return BL_OK;
    return plan_product(back, n, active, a->rank, a->dim, m, k, cols, false, taken);
}

/* ------------------------------------------------------------------ the door */

static const struct {
    const char *op;
    bl_status (*plan)(bl_dnn_back *back, int n, const uint8_t *active, const bl_layout *layouts,
                      bool *taken);
} planners[] = {{"Conv", plan_conv}, {"Gemm", plan_gemm}, {"MatMul", plan_matmul}};

bl_status bl_dnn_back_plan(bl_dnn_back *back, int n, const uint8_t *active,
                           const bl_layout *layouts, bool *taken)
{
    *taken = false;
    for (size_t i = 0; i < BL_COUNTOF(planners); i++)
        if (strcmp(back->base.graph->nodes[n].op->name, planners[i].op) == 0)
            return planners[i].plan(back, n, active, layouts, taken);
    return BL_OK;
}

bl_status bl_dnn_back_planned(bl_dnn_back *back)
{
    BL_TRY(bl_dnn_scratch(&back->base));
    for (int n = 0; n < back->base.graph->n_nodes; n++)
        for (int k = 0; k < 2; k++) {
            job *j = k ? &back->nodes[n].weights : &back->nodes[n].data;
            if (j->run)
                DNN_TRY(&back->base, dnnl_memory_create(&j->scratch, &j->scratch_md, back->base.engine, back->base.scratch));
        }
    return BL_OK;
}

bl_dnn_orders bl_dnn_back_orders(const bl_dnn_back *back, int node)
{
    return back->nodes[node].orders;
}

static uint32_t version_of(const bl_dnn_back *back, int value)
{
    const bl_value *v = &back->base.graph->values[value];
    return v->producer < 0 && !v->is_input ? back->base.versions[value] : UINT32_MAX;
}

bl_status bl_dnn_back_run(bl_dnn_back *back, int n, const bl_place *const *in, const float *dy,
                          void *const *to)
{
    const bl_node *node = &back->base.graph->nodes[n];
    back_node *b = &back->nodes[n];
    const void *x = b->orders.in_packed ? in[0]->packed : in[0]->t.data, *w = in[1]->t.data;
    bool turned = b->product && bl_attr_int(node, "transB", 0) != 0;

    if (b->data.run) {
        BL_TRY(fill_port(back, &b->data.a, dy, UINT32_MAX));
        BL_TRY(fill_port(back, &b->data.b, w, version_of(back, node->in[1])));
        BL_TRY(run_job(back, &b->data, to[0], NULL));
    }
    if (b->weights.run) {
        BL_TRY(fill_port(back, &b->weights.a, turned ? (const void *)dy : x, UINT32_MAX));
        BL_TRY(fill_port(back, &b->weights.b, turned ? x : (const void *)dy, UINT32_MAX));
        BL_TRY(run_job(back, &b->weights, to[1], b->weights.has_bias ? to[2] : NULL));
    }
    if (b->product && to[2]) {
        for (int64_t c = 0; c < b->cols; c++) {
            double sum = 0;
            for (int64_t r = 0; r < b->rows; r++) sum += dy[r * b->cols + c];
            ((float *)to[2])[c] = (float)sum;
        }
    }
    return BL_OK;
}

#endif
