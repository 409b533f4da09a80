/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gradients of Conv, Gemm, MatMul and pooling on oneDNN (C API, 2.6), one thread.  A node that oneDNN would
 * run on its slow reference is left to the operator's own facet.
 */
#include "graph/onednn_backward.h"
#include "graph/onednn_job.h"

#ifdef BL_HAVE_ONEDNN

#include <string.h>

typedef struct back_node {
    bl_dnn_job data, weights;   /* gradient by input 0, by input 1 */
    bl_dnn_job again;           /* MaxPool: forward once more, for the places of the maxima */
    bl_dnn_orders orders;
    bool pool, product;         /* product: Gemm, MatMul, both operands may flow */
    int64_t rows, cols;         /* of dy, for Gemm's bias */
} back_node;

struct bl_dnn_back {
    bl_dnn_base base;
    back_node *nodes;
    size_t most_bytes, places_bytes; /* the most that one MaxPool's maxima and their places take */
    void *most, *places;
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

void bl_dnn_back_free(bl_dnn_back *back)
{
    if (!back) return;
    for (int n = 0; n < back->base.graph->n_nodes; n++) {
        bl_dnn_job_free(&back->nodes[n].data);
        bl_dnn_job_free(&back->nodes[n].weights);
        bl_dnn_job_free(&back->nodes[n].again);
    }
    bl_dnn_close(&back->base);
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
        BL_TRY(bl_dnn_job_adopt(&back->base, pd, &b->data, &c.dst, &c.of.given, &c.src));
    }
    if (by_weight) {
        BL_TRY(conv_choose(back, &c, true, by_bias, &pd));
        if (!pd) {
            bl_dnn_job_free(&b->data);
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
        BL_TRY(bl_dnn_job_adopt(&back->base, pd, &b->weights, &c.src, &c.dst, &c.of.given));
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
                             const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *out, bl_dnn_job *j,
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
    return bl_dnn_job_adopt(&back->base, pd, j, a, b, out);
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
        if (!done) bl_dnn_job_free(&b->data);
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

/* ------------------------------------------------------------------ pooling */

/* The forward primitive in training form; NULL: none but the reference. */
static bl_status pool_forward(const bl_dnn_back *back, const bl_dnn_pool *p, dnnl_alg_kind_t alg,
                              const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                              dnnl_primitive_desc_t *pd)
{
    dnnl_pooling_desc_t desc;

    *pd = NULL;
    if (dnnl_pooling_forward_desc_init(&desc, dnnl_forward_training, alg, src, dst, p->stride, p->kernel, p->begin,
                                       p->end) != dnnl_success)
        return BL_OK;
    return bl_dnn_pd_new(&back->base, NULL, &desc, NULL, pd);
}

static bl_status pool_backward(const bl_dnn_back *back, const bl_dnn_pool *p, dnnl_alg_kind_t alg,
                               const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                               dnnl_primitive_desc_t hint, dnnl_primitive_desc_t *pd)
{
    dnnl_pooling_desc_t desc;

    *pd = NULL;
    if (dnnl_pooling_backward_desc_init(&desc, alg, src, dst, p->stride, p->kernel, p->begin, p->end) != dnnl_success)
        return BL_OK;
    return bl_dnn_pd_new(&back->base, NULL, &desc, hint, pd);
}

/* The places of the maxima are oneDNN's own numbers, which only its forward pass in training form gives: the walk's
 * is not, since most walks never go back, so it runs once more here. */
static bl_status adopt_again(bl_dnn_back *back, dnnl_primitive_desc_t forward, bl_dnn_job *again,
                             const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                             const dnnl_memory_desc_t *places)
{
    *again = (bl_dnn_job){.a_arg = DNNL_ARG_SRC, .b_arg = DNNL_ARG_WORKSPACE, .out_arg = DNNL_ARG_DST};
    back->most_bytes = BL_MAX(back->most_bytes, dnnl_memory_desc_get_size(dst));
    back->places_bytes = BL_MAX(back->places_bytes, dnnl_memory_desc_get_size(places));
    return bl_dnn_job_adopt(&back->base, forward, again, src, places, dst);
}

/* In the input's order; of several largest elements in a window the first has the gradient, as in the operator's own
 * facet. */
static bl_status plan_pool(bl_dnn_back *back, int n, const bl_layout *layouts, dnnl_alg_kind_t alg, bool global,
                           bool *taken)
{
    const bl_node *node = &back->base.graph->nodes[n];
    const bl_tensor *x = &back->base.graph->values[node->in[0]].t, *y = &back->base.graph->values[node->out[0]].t;
    bl_layout in = layouts[node->in[0]];
    back_node *b = &back->nodes[n];
    dnnl_primitive_desc_t forward, pd;
    dnnl_memory_desc_t src, dst, given, places;
    bl_dnn_pool p;
    bl_status status;
    bool fits;

    if ((in == BL_LAYOUT_PLAIN && global) || node->n_out > 1) return BL_OK; /* plain planes: the facet's loop is faster */
    BL_TRY(bl_dnn_pool_read(&back->base, node, alg == dnnl_pooling_avg_include_padding, global, &p, &fits));
    if (!fits) return BL_OK;
    src = bl_dnn_layout_md(x, in);
    dst = bl_dnn_layout_md(y, in);
    given = bl_dnn_layout_md(y, layouts[node->out[0]]);
    BL_TRY(pool_forward(back, &p, alg, &src, &dst, &forward));
    if (!forward) return BL_OK;
    status = pool_backward(back, &p, alg, &src, &dst, forward, &pd);
    if (status != BL_OK || !pd) {
        dnnl_primitive_desc_destroy(forward);
        return status;
    }
    b->pool = true;
    b->orders = (bl_dnn_orders){in != BL_LAYOUT_PLAIN, layouts[node->out[0]] != BL_LAYOUT_PLAIN};
    b->data.a_arg = DNNL_ARG_DIFF_DST;
    b->data.out_arg = DNNL_ARG_DIFF_SRC;
    if (alg != dnnl_pooling_max) {
        dnnl_primitive_desc_destroy(forward);
        BL_TRY(bl_dnn_job_adopt(&back->base, pd, &b->data, &given, NULL, &src));
    } else {
        places = bl_dnn_query(forward, DNNL_ARG_WORKSPACE);
        b->data.b_arg = DNNL_ARG_WORKSPACE;
        status = adopt_again(back, forward, &b->again, &src, &dst, &places);
        if (status != BL_OK) {
            dnnl_primitive_desc_destroy(pd);
            return status;
        }
        BL_TRY(bl_dnn_job_adopt(&back->base, pd, &b->data, &given, &places, &src));
    }
    *taken = true;
    return BL_OK;
}

static bl_status plan_average_pool(bl_dnn_back *back, int n, const uint8_t *active, const bl_layout *layouts, bool *taken)
{
    bool padded = bl_attr_int(&back->base.graph->nodes[n], "count_include_pad", 0) != 0;

    (void)active; /* its one input is */
    return plan_pool(back, n, layouts, padded ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding, false,
                     taken);
}

static bl_status plan_max_pool(bl_dnn_back *back, int n, const uint8_t *active, const bl_layout *layouts, bool *taken)
{
    (void)active;
    return plan_pool(back, n, layouts, dnnl_pooling_max, false, taken);
}

static bl_status plan_global_average_pool(bl_dnn_back *back, int n, const uint8_t *active, const bl_layout *layouts,
                                          bool *taken)
{
    (void)active;
    return plan_pool(back, n, layouts, dnnl_pooling_avg_exclude_padding, true, taken);
}

static bl_status plan_global_max_pool(bl_dnn_back *back, int n, const uint8_t *active, const bl_layout *layouts, bool *taken)
{
    (void)active;
    return plan_pool(back, n, layouts, dnnl_pooling_max, true, taken);
}

static bl_status run_pool(bl_dnn_back *back, back_node *b, const void *x, const float *dy, void *to)
{
    if (b->again.run) {
        BL_TRY(bl_dnn_port_fill(&back->base, &b->again.a, x, UINT32_MAX));
        BL_TRY(bl_dnn_port_fill(&back->base, &b->again.b, back->places, UINT32_MAX));
        BL_TRY(bl_dnn_job_run(&back->base, &b->again, back->most, NULL));
        BL_TRY(bl_dnn_port_fill(&back->base, &b->data.b, back->places, UINT32_MAX));
    }
    BL_TRY(bl_dnn_port_fill(&back->base, &b->data.a, dy, UINT32_MAX));
    return bl_dnn_job_run(&back->base, &b->data, to, NULL);
}

/* ------------------------------------------------------------------ the door */

static const struct {
    const char *op;
    bl_status (*plan)(bl_dnn_back *back, int n, const uint8_t *active, const bl_layout *layouts,
                      bool *taken);
} planners[] = {
    {"AveragePool", plan_average_pool},
    {"Conv", plan_conv},
    {"Gemm", plan_gemm},
    {"GlobalAveragePool", plan_global_average_pool},
    {"GlobalMaxPool", plan_global_max_pool},
    {"MatMul", plan_matmul},
    {"MaxPool", plan_max_pool},
};

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
    back->most = bl_alloc(back->base.arena, BL_MAX(back->most_bytes, 1), 1);
    back->places = bl_alloc(back->base.arena, BL_MAX(back->places_bytes, 1), 1);
    BL_ALLOC_TRY(back->base.ctx, back->most);
    BL_ALLOC_TRY(back->base.ctx, back->places);
    for (int n = 0; n < back->base.graph->n_nodes; n++) {
        bl_dnn_job *jobs[] = {&back->nodes[n].data, &back->nodes[n].weights, &back->nodes[n].again};
        for (size_t k = 0; k < BL_COUNTOF(jobs); k++)
            if (jobs[k]->run)
                DNN_TRY(&back->base, dnnl_memory_create(&jobs[k]->scratch, &jobs[k]->scratch_md, back->base.engine,
                                                        back->base.scratch));
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
    const void *x = b->orders.in_packed ? in[0]->packed : in[0]->t.data, *w;
    bool turned = b->product && bl_attr_int(node, "transB", 0) != 0;

    if (b->pool) return run_pool(back, b, x, dy, to[0]);
    w = in[1]->t.data;
    if (b->data.run) {
        BL_TRY(bl_dnn_port_fill(&back->base, &b->data.a, dy, UINT32_MAX));
        BL_TRY(bl_dnn_port_fill(&back->base, &b->data.b, w, version_of(back, node->in[1])));
        BL_TRY(bl_dnn_job_run(&back->base, &b->data, to[0], NULL));
    }
    if (b->weights.run) {
        BL_TRY(bl_dnn_port_fill(&back->base, &b->weights.a, turned ? (const void *)dy : x, UINT32_MAX));
        BL_TRY(bl_dnn_port_fill(&back->base, &b->weights.b, turned ? x : (const void *)dy, UINT32_MAX));
        BL_TRY(bl_dnn_job_run(&back->base, &b->weights, to[1], b->weights.has_bias ? to[2] : NULL));
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
