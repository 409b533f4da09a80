/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gradients of Conv, Gemm and MatMul on oneDNN (C API, 2.6), one thread.  Every tensor of a primitive
 * is a port: where the walk's order is not the one that the primitive likes, the port has a buffer of
 * its own and a reorder.  A node that oneDNN would run on its slow reference is left to the
 * operator's own facet.
 */
#include "graph/onednn_backward.h"

#ifdef BL_HAVE_ONEDNN

#include <dnnl.h>
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
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *graph;
    const uint32_t *versions;
    bool training;
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    back_node *nodes;
    size_t scratch_bytes;
    void *scratch;
};

static bl_status check(const bl_dnn_back *back, dnnl_status_t status, const char *what)
{
    if (status == dnnl_success) return BL_OK;
    return bl_fail(back->ctx, status == dnnl_out_of_memory ? BL_UNAVAILABLE : BL_INTERNAL, "oneDNN",
                   status == dnnl_out_of_memory ? "free some memory" : "please report this",
                   "%s failed with status %d", what, (int)status);
}

#define DNN_TRY(call) BL_TRY(check(back, (call), #call))

bl_status bl_dnn_back_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph,
                          const uint32_t *versions, bool training, bl_dnn_back **out)
{
    bl_dnn_back *back = BL_NEW(arena, bl_dnn_back, 1);
    bl_status status;

    BL_ALLOC_TRY(ctx, back);
    *back = (bl_dnn_back){.ctx = ctx, .arena = arena, .graph = graph, .versions = versions,
                          .training = training};
    back->nodes = BL_NEW(arena, back_node, (size_t)graph->n_nodes);
    BL_ALLOC_TRY(ctx, back->nodes);
    status = check(back, dnnl_engine_create(&back->engine, dnnl_cpu, 0), "engine");
    if (status == BL_OK)
        status = check(
            back, dnnl_stream_create(&back->stream, back->engine, dnnl_stream_default_flags),
            "stream");
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
    for (int n = 0; n < back->graph->n_nodes; n++) {
        free_job(&back->nodes[n].data);
        free_job(&back->nodes[n].weights);
    }
    dnnl_stream_destroy(back->stream);
    dnnl_engine_destroy(back->engine);
}

/* ------------------------------------------------------------------ ports and jobs */

static bl_status make_reorder(const bl_dnn_back *back, const dnnl_memory_desc_t *from,
                              const dnnl_memory_desc_t *to, dnnl_primitive_t *out)
{
    dnnl_primitive_desc_t pd;
    dnnl_status_t status;

    DNN_TRY(dnnl_reorder_primitive_desc_create(&pd, from, back->engine, to, back->engine, NULL));
    status = dnnl_primitive_create(out, pd);
    dnnl_primitive_desc_destroy(pd);
    return check(back, status, "reorder");
}

/* outwards: the primitive writes it. */
static bl_status make_port(const bl_dnn_back *back, const dnnl_memory_desc_t *outer,
                           const dnnl_memory_desc_t *inner, bool outwards, port *p)
{
    p->version = UINT32_MAX;
    DNN_TRY(dnnl_memory_create(&p->outer, outer, back->engine, DNNL_MEMORY_NONE));
    p->inner = p->outer;
    if (dnnl_memory_desc_equal(outer, inner)) return BL_OK;
    void *data = bl_alloc(back->arena, dnnl_memory_desc_get_size(inner), 1);
    BL_ALLOC_TRY(back->ctx, data);
    p->inner = NULL;
    DNN_TRY(dnnl_memory_create(&p->inner, inner, back->engine, data));
    return outwards ? make_reorder(back, inner, outer, &p->reorder)
                    : make_reorder(back, outer, inner, &p->reorder);
}

static bl_status reorder(const bl_dnn_back *back, dnnl_primitive_t run, dnnl_memory_t from,
                         dnnl_memory_t to)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};

    DNN_TRY(dnnl_primitive_execute(run, back->stream, 2, args));
    DNN_TRY(dnnl_stream_wait(back->stream));
    return BL_OK;
}

/* Hands the port its data; version UINT32_MAX: it flows and is converted in every run. */
static bl_status fill_port(const bl_dnn_back *back, port *p, const void *data, uint32_t version)
{
    DNN_TRY(dnnl_memory_set_data_handle(p->outer, (void *)(uintptr_t)data));
    if (!p->reorder || (version != UINT32_MAX && version == p->version)) return BL_OK;
    BL_TRY(reorder(back, p->reorder, p->outer, p->inner));
    p->version = version;
    return BL_OK;
}

static bl_status run_job(const bl_dnn_back *back, job *j, void *to, void *bias)
{
    dnnl_exec_arg_t args[5];
    int n = 4;

    DNN_TRY(dnnl_memory_set_data_handle(j->out.outer, to));
    args[0] = (dnnl_exec_arg_t){j->a_arg, j->a.inner};
    args[1] = (dnnl_exec_arg_t){j->b_arg, j->b.inner};
    args[2] = (dnnl_exec_arg_t){j->out_arg, j->out.inner};
    args[3] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, j->scratch};
    if (j->has_bias) {
        DNN_TRY(dnnl_memory_set_data_handle(j->bias, bias));
        args[n++] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_BIAS, j->bias};
    }
    DNN_TRY(dnnl_primitive_execute(j->run, back->stream, n, args));
    DNN_TRY(dnnl_stream_wait(back->stream));
    return j->out.reorder ? reorder(back, j->out.reorder, j->out.inner, j->out.outer) : BL_OK;
}

/* A primitive of op_desc on the way back of `hint` (NULL for a matmul), or *pd NULL where oneDNN has
 * none but its reference. */
static bl_status make_pd(const bl_dnn_back *back, const void *op_desc, dnnl_primitive_desc_t hint,
                         dnnl_primitive_desc_t *pd)
{
    dnnl_primitive_attr_t attr;
    dnnl_status_t status;
    const char *name = "";

    *pd = NULL;
    DNN_TRY(dnnl_primitive_attr_create(&attr));
    status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success)
        status = dnnl_primitive_desc_create(pd, op_desc, attr, back->engine, hint);
    dnnl_primitive_attr_destroy(attr);
    if (status == dnnl_out_of_memory) return check(back, status, "primitive");
    if (status != dnnl_success) {
        *pd = NULL;
        return BL_OK;
    }
    if (dnnl_primitive_desc_query(*pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
        strstr(name, "ref")) {
        dnnl_primitive_desc_destroy(*pd);
        *pd = NULL;
    }
    return BL_OK;
}

static dnnl_memory_desc_t query_md(dnnl_primitive_desc_t pd, int arg)
{
    return *dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, arg);
}

/* Takes over pd.  a, b, out: the walk's orders of what stands behind the job's three arguments. */
static bl_status adopt(bl_dnn_back *back, dnnl_primitive_desc_t pd, job *j,
                       const dnnl_memory_desc_t *a, const dnnl_memory_desc_t *b,
                       const dnnl_memory_desc_t *out)
{
    dnnl_memory_desc_t in_a = query_md(pd, j->a_arg), in_b = query_md(pd, j->b_arg);
    dnnl_memory_desc_t in_out = query_md(pd, j->out_arg);
    dnnl_status_t status = dnnl_primitive_create(&j->run, pd);

    j->scratch_md = query_md(pd, DNNL_ARG_SCRATCHPAD);
    back->scratch_bytes = BL_MAX(back->scratch_bytes, dnnl_memory_desc_get_size(&j->scratch_md));
    dnnl_primitive_desc_destroy(pd);
    BL_TRY(check(back, status, "primitive"));
    BL_TRY(make_port(back, a, &in_a, false, &j->a));
    BL_TRY(make_port(back, b, &in_b, false, &j->b));
    return make_port(back, out, &in_out, true, &j->out);
}

/* ------------------------------------------------------------------ Conv */

typedef struct conv_back {
    const bl_node *node;
    const bl_tensor *x, *y;
    dnnl_dims_t stride, dilation, begin, end, weight, filters;
    int weight_rank;
    dnnl_memory_desc_t src, dst, given; /* the walk's orders; the weight as the graph has it */
    bool winograd;
} conv_back;

static bl_status conv_read(const bl_dnn_back *back, const bl_node *node, const bl_layout *layouts,
                           conv_back *c)
{
    static const dnnl_format_tag_t plain[] = {dnnl_abc, dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    const bl_tensor *wt = &back->graph->values[node->in[1]].t;
    bl_call call = {.ctx = back->ctx, .node = node, .scratch = back->arena};
    int64_t group = bl_attr_int(node, "group", 1);
    bl_window w;

    memset(c, 0, sizeof *c);
    c->node = node;
    c->x = &back->graph->values[node->in[0]].t;
    c->y = &back->graph->values[node->out[0]].t;
    BL_TRY(bl_window_read(&call, c->x, wt->dim + 2, &w));
    for (int i = 0; i < w.dims; i++) {
        c->stride[i] = w.stride[i];
        c->dilation[i] = w.dilation[i] - 1;
        c->begin[i] = w.pad_begin[i];
        c->end[i] = w.pad_end[i];
    }
    if (group > 1) c->weight[c->weight_rank++] = group;
    c->weight[c->weight_rank++] = wt->dim[0] / group;
    for (int i = 1; i < wt->rank; i++) c->weight[c->weight_rank++] = wt->dim[i];
    c->filters[0] = wt->dim[0];
    c->winograd = back->training && layouts[node->in[0]] == BL_LAYOUT_BLOCK16 && layouts[node->out[0]] == BL_LAYOUT_BLOCK16 &&
                  bl_dnn_winograd(c->x, wt, c->stride, c->dilation);
    c->src = bl_dnn_layout_md(c->x, layouts[node->in[0]]);
    c->dst = bl_dnn_layout_md(c->y, layouts[node->out[0]]);
    DNN_TRY(dnnl_memory_desc_init_by_tag(&c->given, c->weight_rank, c->weight, dnnl_f32,
                                         plain[c->weight_rank - 3]));
    return BL_OK;
}

/* The forward primitive that oneDNN wants as a hint; NULL: no. */
static dnnl_primitive_desc_t conv_hint(const bl_dnn_back *back, const conv_back *c, dnnl_alg_kind_t alg,
                                       const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                                       const dnnl_memory_desc_t *weight,
                                       const dnnl_memory_desc_t *bias)
{
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t pd;

    if (dnnl_dilated_convolution_forward_desc_init(&desc, dnnl_forward_training,
                                                   alg, src, weight, bias, dst,
                                                   c->stride, c->dilation, c->begin,
                                                   c->end) != dnnl_success ||
        dnnl_primitive_desc_create(&pd, &desc, NULL, back->engine, NULL) != dnnl_success)
        return NULL;
    return pd;
}

static dnnl_memory_desc_t any_of(const dnnl_memory_desc_t *md)
{
    dnnl_memory_desc_t any;

    if (dnnl_memory_desc_init_by_tag(&any, md->ndims, md->dims, dnnl_f32, dnnl_format_tag_any) !=
        dnnl_success)
        memset(&any, 0, sizeof any);
    return any;
}

/* By the weights, or by the data; in the orders src and dst. */
static bl_status conv_try(const bl_dnn_back *back, const conv_back *c, dnnl_alg_kind_t alg, bool weights, bool biased,
                          const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                          dnnl_primitive_desc_t *pd)
{
    dnnl_memory_desc_t weight = any_of(&c->given), bias;
    dnnl_convolution_desc_t desc;
    dnnl_primitive_desc_t hint;
    dnnl_status_t status;
    bl_status result;

    *pd = NULL;
    DNN_TRY(dnnl_memory_desc_init_by_tag(&bias, 1, c->filters, dnnl_f32, dnnl_a));
    hint = conv_hint(back, c, alg, src, dst, &weight, biased ? &bias : NULL);
    if (!hint) return BL_OK;
    if (weights)
        status = dnnl_dilated_convolution_backward_weights_desc_init(
            &desc, alg, src, &weight, biased ? &bias : NULL, dst, c->stride,
            c->dilation, c->begin, c->end);
    else
        status = dnnl_dilated_convolution_backward_data_desc_init(
            &desc, alg, src, &weight, dst, c->stride, c->dilation, c->begin,
            c->end);
    result = status == dnnl_success ? make_pd(back, &desc, hint, pd) : BL_OK;
    dnnl_primitive_desc_destroy(hint);
    return result;
}

static bool is_gemm(dnnl_primitive_desc_t pd)
{
    const char *name = "";
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           strncmp(name, "gemm", 4) == 0;
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
    if (*pd && !is_gemm(*pd)) return BL_OK;
    dnnl_primitive_desc_destroy(*pd);
    return conv_try(back, c, dnnl_convolution_direct, weights, biased, &src, &dst, pd);
}

static bl_status plan_conv(bl_dnn_back *back, int n, const uint8_t *active,
                           const bl_layout *layouts, bool *taken)
{
    const bl_node *node = &back->graph->nodes[n];
    bool by_data = active[node->in[0]], by_weight = active[node->in[1]];
    bool by_bias = node->n_in > 2 && node->in[2] >= 0 && active[node->in[2]];
    back_node *b = &back->nodes[n];
    dnnl_primitive_desc_t pd;
    conv_back c;

    if (!back->graph->values[node->in[1]].t.data || (by_bias && !by_weight)) return BL_OK;
    BL_TRY(conv_read(back, node, layouts, &c));
    b->orders = (bl_dnn_orders){layouts[node->in[0]] != BL_LAYOUT_PLAIN,
                                layouts[node->out[0]] != BL_LAYOUT_PLAIN};
    if (by_data) {
        BL_TRY(conv_choose(back, &c, false, false, &pd));
        if (!pd) return BL_OK;
        b->data.a_arg = DNNL_ARG_DIFF_DST;
        b->data.b_arg = DNNL_ARG_WEIGHTS;
        b->data.out_arg = DNNL_ARG_DIFF_SRC;
        BL_TRY(adopt(back, pd, &b->data, &c.dst, &c.given, &c.src));
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
            dnnl_memory_desc_t bias = query_md(pd, DNNL_ARG_DIFF_BIAS);
            b->weights.has_bias = true;
            DNN_TRY(dnnl_memory_create(&b->weights.bias, &bias, back->engine, DNNL_MEMORY_NONE));
        }
        BL_TRY(adopt(back, pd, &b->weights, &c.src, &c.dst, &c.given));
    }
    *taken = true;
    return BL_OK;
}

/* ------------------------------------------------------------------ Gemm, MatMul */

/* Batches of row-major matrices as they lie, or their transposes. */
static bool matrix(dnnl_memory_desc_t *md, int rank, const int64_t *batch, int64_t rows,
                   int64_t cols, bool transposed)
{
    dnnl_dims_t dim = {0}, stride = {0};
    int64_t run = rows * cols;

    dim[rank - 2] = transposed ? cols : rows;
    dim[rank - 1] = transposed ? rows : cols;
    stride[rank - 2] = transposed ? 1 : cols;
    stride[rank - 1] = transposed ? cols : 1;
    for (int d = rank - 3; d >= 0; d--) {
        dim[d] = batch[d];
        stride[d] = run;
        run *= batch[d];
    }
    return dnnl_memory_desc_init_by_strides(md, rank, dim, dnnl_f32, stride) == dnnl_success;
}

static bl_status product_job(bl_dnn_back *back, const dnnl_memory_desc_t *a,
                             const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *out, job *j,
                             bool *taken)
{
    dnnl_matmul_desc_t desc;
    dnnl_primitive_desc_t pd;

    *taken = false;
    if (dnnl_matmul_desc_init(&desc, a, b, NULL, out) != dnnl_success) return BL_OK;
    BL_TRY(make_pd(back, &desc, NULL, &pd));
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
    const bl_node *node = &back->graph->nodes[n];
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
    const bl_node *node = &back->graph->nodes[n];
    const bl_tensor *a = &back->graph->values[node->in[0]].t, *y = &back->graph->values[node->out[0]].t;
    bool turned = bl_attr_int(node, "transB", 0) != 0;

    if (layouts[node->in[0]] != BL_LAYOUT_PLAIN || layouts[node->out[0]] != BL_LAYOUT_PLAIN ||
        bl_attr_float(node, "alpha", 1.0f) != 1.0f || bl_attr_float(node, "beta", 1.0f) != 1.0f ||
        bl_attr_int(node, "transA", 0))
        return BL_OK;
    if (node->n_in > 2 && node->in[2] >= 0) {
        const bl_tensor *c = &back->graph->values[node->in[2]].t;
        if (bl_tensor_count(c) != y->dim[1]) return BL_OK;
    }
    return plan_product(back, n, active, 2, NULL, y->dim[0], a->dim[1], y->dim[1], turned, taken);
}

static bl_status plan_matmul(bl_dnn_back *back, int n, const uint8_t *active,
                             const bl_layout *layouts, bool *taken)
{
    const bl_node *node = &back->graph->nodes[n];
    const bl_tensor *a = &back->graph->values[node->in[0]].t, *b = &back->graph->values[node->in[1]].t;
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
        if (strcmp(back->graph->nodes[n].op->name, planners[i].op) == 0)
            return planners[i].plan(back, n, active, layouts, taken);
    return BL_OK;
}

bl_status bl_dnn_back_planned(bl_dnn_back *back)
{
    back->scratch = bl_alloc(back->arena, BL_MAX(back->scratch_bytes, 1), 1);
    BL_ALLOC_TRY(back->ctx, back->scratch);
    for (int n = 0; n < back->graph->n_nodes; n++)
        for (int k = 0; k < 2; k++) {
            job *j = k ? &back->nodes[n].weights : &back->nodes[n].data;
            if (j->run)
                DNN_TRY(dnnl_memory_create(&j->scratch, &j->scratch_md, back->engine, back->scratch));
        }
    return BL_OK;
}

bl_dnn_orders bl_dnn_back_orders(const bl_dnn_back *back, int node)
{
    return back->nodes[node].orders;
}

static uint32_t version_of(const bl_dnn_back *back, int value)
{
    const bl_value *v = &back->graph->values[value];
    return v->producer < 0 && !v->is_input ? back->versions[value] : UINT32_MAX;
}

bl_status bl_dnn_back_run(bl_dnn_back *back, int n, const bl_place *const *in, const float *dy,
                          void *const *to)
{
    const bl_node *node = &back->graph->nodes[n];
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
