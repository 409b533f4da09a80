/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which nodes oneDNN takes, by which primitive and in which orders of elements: Conv, pooling, Gemm, MatMul.  A node
 * that it would run on its own slow reference is left to ours.
 */
#include "graph/onednn_private.h"

#ifdef BL_HAVE_ONEDNN

#include <string.h>

/* Takes over pd: makes the primitive and remembers its orders. */
static bl_status adopt(bl_dnn *dnn, dnn_node *d, dnnl_primitive_desc_t pd)
{
    dnnl_status_t status = dnnl_primitive_create(&d->run, pd);

    d->threads = omp_get_max_threads();
    d->src_md = bl_dnn_query(pd, DNNL_ARG_SRC);
    d->dst_md = bl_dnn_query(pd, DNNL_ARG_DST);
    d->scratch_md = bl_dnn_query(pd, DNNL_ARG_SCRATCHPAD);
    dnn->base.scratch_bytes = BL_MAX(dnn->base.scratch_bytes, dnnl_memory_desc_get_size(&d->scratch_md));
    dnnl_primitive_desc_destroy(pd);
    return bl_dnn_check(&dnn->base, status, "primitive");
}

/* given_md: how the graph has it; wanted_md: how the primitive reads it. */
static bl_status make_constant(bl_dnn *dnn, int value, const dnnl_memory_desc_t *given_md,
                               const dnnl_memory_desc_t *wanted_md, dnn_constant *c)
{
    c->value = value;
    c->version = UINT32_MAX;
    DNN_TRY(&dnn->base, dnnl_memory_create(&c->given, given_md, dnn->base.engine, DNNL_MEMORY_NONE));
    c->wanted = c->given;
    if (!dnnl_memory_desc_equal(given_md, wanted_md)) {
        void *data = bl_alloc(dnn->base.arena, dnnl_memory_desc_get_size(wanted_md), 1);
        BL_ALLOC_TRY(dnn->base.ctx, data);
        DNN_TRY(&dnn->base, dnnl_memory_create(&c->wanted, wanted_md, dnn->base.engine, data));
        BL_TRY(bl_dnn_reorder_new(&dnn->base, given_md, wanted_md, &c->reorder));
    }
    return BL_OK;
}

static bool is_constant(const bl_dnn *dnn, int value)
{
    return value >= 0 && dnn->base.graph->values[value].producer < 0 && bl_dnn_value(dnn, value)->data;
}

/* Settles the input's and the output's layouts from what the primitive chose. */
static void settle(bl_dnn *dnn, int n, bl_layout *layouts)
{
    const bl_node *node = &dnn->base.graph->nodes[n];
    dnn_node *d = &dnn->nodes[n];

    (void)bl_dnn_layout_of(bl_dnn_value(dnn, node->in[0]), &d->src_md,
                    &d->src_layout); /* known to be ours */
    (void)bl_dnn_layout_of(bl_dnn_value(dnn, node->out[0]), &d->dst_md, &d->dst_layout);
    if (d->src_layout != BL_LAYOUT_PLAIN) layouts[node->in[0]] = d->src_layout;
    layouts[node->out[0]] = d->dst_layout;
}

/* ------------------------------------------------------------------ Conv */

/* Tries one pair of orders; *pd NULL when there is nothing fast.  In training Winograd's transform of the weights is part
 * of the primitive, which does it by its own loops; beforehand it is a slow reorder, once a step. */
static bl_status conv_try(const bl_dnn *dnn, const bl_node *node, const bl_dnn_conv *c, dnnl_alg_kind_t alg,
                          const dnnl_memory_desc_t *src, const dnnl_memory_desc_t *dst,
                          dnnl_primitive_desc_t *pd)
{
    dnnl_memory_desc_t weight = bl_dnn_describe(c->weight_rank, c->weight, dnnl_format_tag_any);
    dnnl_convolution_desc_t desc;
    bool biased = node->n_in > 2 && node->in[2] >= 0;

    *pd = NULL;
    if (dnnl_dilated_convolution_forward_desc_init(
            &desc, dnn->base.training ? dnnl_forward_training : dnnl_forward_inference, alg, src, &weight,
            biased ? &c->bias : NULL, dst, c->stride, c->dilation, c->begin, c->end) != dnnl_success)
        return BL_OK;
    return bl_dnn_pd_new(&dnn->base, node, &desc, NULL, pd);
}

bool bl_dnn_winograd(const bl_tensor *x, const bl_tensor *weight, const int64_t *stride, const int64_t *dilation)
{
    return x->rank == 4 && weight->dim[2] == 3 && weight->dim[3] == 3 && stride[0] == 1 && stride[1] == 1 && !dilation[0] &&
           !dilation[1] && x->dim[1] == weight->dim[1] && x->dim[1] % 16 == 0 && weight->dim[0] % 16 == 0;
}

/* While a network learns: blocks of 16 channels, in which the way back runs well too, and Winograd's transform
 * where it fits.  *pd NULL: neither. */
static bl_status conv_for_training(const bl_dnn *dnn, const bl_node *node, const bl_dnn_conv *c, bl_layout settled,
                                   dnnl_primitive_desc_t *pd)
{
    const bl_tensor *x = bl_dnn_value(dnn, node->in[0]), *y = bl_dnn_value(dnn, node->out[0]);
    dnnl_memory_desc_t sx, sy;

    *pd = NULL;
    if (x->rank != 4 || (settled != BL_LAYOUT_PLAIN && settled != BL_LAYOUT_BLOCK16) || y->dim[1] % 16 != 0) return BL_OK;
    sx = bl_dnn_layout_md(x, settled);
    sy = bl_dnn_layout_md(y, BL_LAYOUT_BLOCK16);
    if (settled == BL_LAYOUT_BLOCK16 && bl_dnn_winograd(x, bl_dnn_value(dnn, node->in[1]), c->stride, c->dilation))
        BL_TRY(conv_try(dnn, node, c, dnnl_convolution_winograd, &sx, &sy, pd));
    if (!*pd) BL_TRY(conv_try(dnn, node, c, dnnl_convolution_direct, &sx, &sy, pd));
    if (*pd && bl_dnn_is_gemm(*pd)) {
        bl_dnn_pd_drop(pd);
    }
    return BL_OK;
}

/* The input's layout if it has one and oneDNN runs well in it; else what oneDNN likes best, and for
 * an input that it cannot read there, the plain order. */
static bl_status conv_choose(const bl_dnn *dnn, const bl_node *node, const bl_dnn_conv *c,
                             bl_layout settled, dnnl_primitive_desc_t *pd)
{
    const bl_tensor *x = bl_dnn_value(dnn, node->in[0]), *y = bl_dnn_value(dnn, node->out[0]);
    dnnl_memory_desc_t any_x = bl_dnn_describe(x->rank, x->dim, dnnl_format_tag_any);
    dnnl_memory_desc_t any_y = bl_dnn_describe(y->rank, y->dim, dnnl_format_tag_any);
    bl_layout src, dst;

    if (dnn->base.training) BL_TRY(conv_for_training(dnn, node, c, settled, pd));
    if (dnn->base.training && *pd) return BL_OK;
    if (settled != BL_LAYOUT_PLAIN) {
        dnnl_memory_desc_t sx = bl_dnn_layout_md(x, settled), sy = bl_dnn_layout_md(y, settled);
        BL_TRY(conv_try(dnn, node, c, dnnl_convolution_direct, &sx, &sy, pd));
        if (*pd && bl_dnn_is_gemm(*pd)) {
            dnnl_primitive_desc_destroy(*pd);
            *pd = NULL;
        }
        if (*pd) return BL_OK;
    }
    BL_TRY(conv_try(dnn, node, c, dnnl_convolution_direct, &any_x, &any_y, pd));
    if (*pd) {
        dnnl_memory_desc_t sx = bl_dnn_query(*pd, DNNL_ARG_SRC), sy = bl_dnn_query(*pd, DNNL_ARG_DST);
        bool ours = bl_dnn_layout_of(x, &sx, &src) && bl_dnn_layout_of(y, &sy, &dst) &&
                    (src == BL_LAYOUT_PLAIN || settled == BL_LAYOUT_PLAIN || src == settled);
        if (ours) return BL_OK;
        bl_dnn_pd_drop(pd);
    }
    any_x = bl_dnn_layout_md(x, BL_LAYOUT_PLAIN);
    any_y = bl_dnn_layout_md(y, BL_LAYOUT_PLAIN);
    return conv_try(dnn, node, c, dnnl_convolution_direct, &any_x, &any_y, pd);
}

static bl_status plan_conv(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    const bl_node *node = &dnn->base.graph->nodes[n];
    bool biased = node->n_in > 2 && node->in[2] >= 0;
    dnn_node *d = &dnn->nodes[n];
    dnnl_memory_desc_t wanted;
    dnnl_primitive_desc_t pd;
    bl_dnn_conv c;

    if (!is_constant(dnn, node->in[1]) || (biased && !is_constant(dnn, node->in[2])) ||
        is_constant(dnn, node->in[0]))
        return BL_OK;
    BL_TRY(bl_dnn_conv_read(&dnn->base, node, &c));
    BL_TRY(conv_choose(dnn, node, &c, layouts[node->in[0]], &pd));
    if (pd && bl_dnn_is_gemm(pd) && dnn->threads > 1) {
        dnnl_primitive_desc_destroy(pd);
        omp_set_num_threads(1);
        BL_TRY(conv_choose(dnn, node, &c, layouts[node->in[0]], &pd));
    }
    if (!pd) return BL_OK;
    wanted = bl_dnn_query(pd, DNNL_ARG_WEIGHTS);
    BL_TRY(adopt(dnn, d, pd));
    settle(dnn, n, layouts);
    BL_TRY(make_constant(dnn, node->in[1], &c.given, &wanted, &d->weight));
    if (biased) BL_TRY(make_constant(dnn, node->in[2], &c.bias, &c.bias, &d->bias));
    *taken = true;
    return BL_OK;
}

/* ------------------------------------------------------------------ pooling */

/* Only where the input is packed already: on plain rows our own loops do as well. */
static bl_status plan_pool(bl_dnn *dnn, int n, bl_layout *layouts, dnnl_alg_kind_t alg, bool global,
                           bool *taken)
{
    const bl_node *node = &dnn->base.graph->nodes[n];
    const bl_tensor *x = bl_dnn_value(dnn, node->in[0]), *y = bl_dnn_value(dnn, node->out[0]);
    bl_layout layout = layouts[node->in[0]];
    dnnl_memory_desc_t src, dst;
    dnnl_pooling_desc_t desc;
    dnnl_primitive_desc_t pd;
    bl_dnn_pool p;
    bool fits;

    if (layout == BL_LAYOUT_PLAIN || x->type != BL_F32 || node->n_out > 1) return BL_OK;
    BL_TRY(bl_dnn_pool_read(&dnn->base, node, alg == dnnl_pooling_avg_include_padding, global, &p, &fits));
    if (!fits) return BL_OK;
    src = bl_dnn_layout_md(x, layout);
    dst = bl_dnn_layout_md(y, layout);
    if (dnnl_pooling_forward_desc_init(&desc, dnnl_forward_inference, alg, &src, &dst, p.stride, p.kernel, p.begin,
                                       p.end) != dnnl_success)
        return BL_OK;
    BL_TRY(bl_dnn_pd_new(&dnn->base, node, &desc, NULL, &pd));
    if (!pd) return BL_OK;
    BL_TRY(adopt(dnn, &dnn->nodes[n], pd));
    settle(dnn, n, layouts);
    *taken = true;
    return BL_OK;
}

/* ------------------------------------------------------------------ Gemm, MatMul */

/* src (.. m k), weight (.. k n), dst (.. m n), all as the graph has them; bias 1 x n. */
static bl_status plan_product(bl_dnn *dnn, int n, dnnl_memory_desc_t *src,
                              dnnl_memory_desc_t *weight, dnnl_memory_desc_t *dst, int bias_value,
                              bool *taken)
{
    const bl_node *node = &dnn->base.graph->nodes[n];
    dnn_node *d = &dnn->nodes[n];
    bool fixed = is_constant(dnn, node->in[1]);
    dnnl_memory_desc_t any = *weight, bias = {0}, wanted;
    dnnl_dims_t bias_dim = {0}, bias_stride = {0};
    dnnl_primitive_desc_t pd;
    dnnl_matmul_desc_t desc;
    int rank = dst->ndims;

    if (fixed) any = bl_dnn_describe(weight->ndims, weight->dims, dnnl_format_tag_any);
    for (int i = 0; i < rank; i++) bias_dim[i] = bias_stride[i] = 1;
    bias_dim[rank - 1] = dst->dims[rank - 1];
    for (int i = 0; i < rank - 1; i++) bias_stride[i] = bias_dim[rank - 1];
    if (bias_value >= 0)
        DNN_TRY(&dnn->base, dnnl_memory_desc_init_by_strides(&bias, rank, bias_dim, dnnl_f32, bias_stride));
    if (dnnl_matmul_desc_init(&desc, src, &any, bias_value >= 0 ? &bias : NULL, dst) !=
        dnnl_success)
        return BL_OK;
    BL_TRY(bl_dnn_pd_new(&dnn->base, node, &desc, NULL, &pd));
    if (!pd) return BL_OK;
    wanted = bl_dnn_query(pd, DNNL_ARG_WEIGHTS);
    BL_TRY(adopt(dnn, d, pd));
    d->own_src = true;
    DNN_TRY(&dnn->base, dnnl_memory_create(&d->src, &d->src_md, dnn->base.engine, DNNL_MEMORY_NONE));
    DNN_TRY(&dnn->base, dnnl_memory_create(&d->dst, &d->dst_md, dnn->base.engine, DNNL_MEMORY_NONE));
    if (fixed) {
        BL_TRY(make_constant(dnn, node->in[1], weight, &wanted, &d->weight));
    } else {
        d->weight_flows = true;
        DNN_TRY(&dnn->base, dnnl_memory_create(&d->other, weight, dnn->base.engine, DNNL_MEMORY_NONE));
    }
    if (bias_value >= 0) BL_TRY(make_constant(dnn, bias_value, &bias, &bias, &d->bias));
    *taken = true;
    return BL_OK;
}

static bl_status plan_gemm(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    const bl_node *node = &dnn->base.graph->nodes[n];
    const bl_tensor *a = bl_dnn_value(dnn, node->in[0]), *b = bl_dnn_value(dnn, node->in[1]);
    const bl_tensor *y = bl_dnn_value(dnn, node->out[0]);
    bool ta = bl_attr_int(node, "transA", 0) != 0, tb = bl_attr_int(node, "transB", 0) != 0;
    int bias = node->n_in > 2 ? node->in[2] : -1;
    dnnl_dims_t sd = {y->dim[0], a->dim[!ta]}, wd = {a->dim[!ta], y->dim[1]};
    dnnl_dims_t dd = {y->dim[0], y->dim[1]};
    dnnl_memory_desc_t src, weight, dst;

    (void)layouts; /* plain on both sides */
    if (bl_attr_float(node, "alpha", 1.0f) != 1.0f || bl_attr_float(node, "beta", 1.0f) != 1.0f ||
        is_constant(dnn, node->in[0]))
        return BL_OK;
    if (bias >= 0) {
        const bl_tensor *c = bl_dnn_value(dnn, bias);
        if (!is_constant(dnn, bias) || bl_tensor_count(c) != y->dim[1] ||
            c->dim[c->rank - 1] != y->dim[1])
            return BL_OK;
    }
    if (!bl_dnn_strided(&src, 2, sd, ta ? 1 : a->dim[1], ta ? a->dim[1] : 1) ||
        !bl_dnn_strided(&weight, 2, wd, tb ? 1 : b->dim[1], tb ? b->dim[1] : 1) ||
        !bl_dnn_strided(&dst, 2, dd, y->dim[1], 1))
        return BL_OK;
    return plan_product(dnn, n, &src, &weight, &dst, bias, taken);
}

static bl_status plan_matmul(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    const bl_node *node = &dnn->base.graph->nodes[n];
    const bl_tensor *t[3] = {bl_dnn_value(dnn, node->in[0]), bl_dnn_value(dnn, node->in[1]),
                             bl_dnn_value(dnn, node->out[0])};
    bool tall = t[1]->rank == 2; /* one matrix for all: rows joined to a single tall one */
    int rank = tall ? 2 : BL_MAX(t[0]->rank, t[1]->rank), bias = node->n_in > 2 ? node->in[2] : -1;
    dnnl_memory_desc_t md[3];
    dnnl_dims_t dim[3];

    (void)layouts; /* plain on both sides */
    if (t[0]->rank < 2 || t[1]->rank < 2 || is_constant(dnn, node->in[0]) || (bias >= 0 && !is_constant(dnn, bias)))
        return BL_OK;
    for (int i = 0; i < 3; i++) {
        memset(dim[i], 0, sizeof dim[i]);
        for (int d = 0; d < rank; d++) {
            int at = d - (rank - t[i]->rank);
            dim[i][d] = at >= 0 ? t[i]->dim[at] : 1;
        }
        if (tall) dim[i][0] = bl_tensor_count(t[i]) / dim[i][1];
    }
    for (int i = 0; i < 3; i++)
        if (!bl_dnn_strided(&md[i], rank, dim[i], dim[i][rank - 1], 1)) return BL_OK;
    return plan_product(dnn, n, &md[0], &md[1], &md[2], bias, taken);
}

/* ------------------------------------------------------------------ by operator */

static bl_status plan_max_pool(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    return plan_pool(dnn, n, layouts, dnnl_pooling_max, false, taken);
}

static bl_status plan_average_pool(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    bool padded = bl_attr_int(&dnn->base.graph->nodes[n], "count_include_pad", 0) != 0;
    return plan_pool(dnn, n, layouts,
                     padded ? dnnl_pooling_avg_include_padding : dnnl_pooling_avg_exclude_padding,
                     false, taken);
}

static bl_status plan_global_pool(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    return plan_pool(dnn, n, layouts, dnnl_pooling_avg_exclude_padding, true, taken);
}

static const struct {
    const char *op;
    bl_status (*plan)(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken);
    bool spreads; /* each sum stays within one thread, however many there are */
} planners[] = {
    {"AveragePool", plan_average_pool, true},
    {"Conv", plan_conv, true},
    {"Gemm", plan_gemm, false},
    {"GlobalAveragePool", plan_global_pool, true},
    {"MatMul", plan_matmul, false},
    {"MaxPool", plan_max_pool, true},
};

bl_status bl_dnn_plan(bl_dnn *dnn, int n, bl_layout *layouts, bool *taken)
{
    const bl_node *node = &dnn->base.graph->nodes[n];

    *taken = false;
    dnn->nodes[n].weight.value = dnn->nodes[n].bias.value = -1;
    if (node->n_in < 1 || node->in[0] < 0 || bl_dnn_value(dnn, node->in[0])->type != BL_F32)
        return BL_OK;
    for (size_t i = 0; i < BL_COUNTOF(planners); i++) {
        if (strcmp(node->op->name, planners[i].op) != 0) continue;
        omp_set_num_threads(planners[i].spreads ? dnn->threads : 1);
        bl_status status = planners[i].plan(dnn, n, layouts, taken);
        omp_set_num_threads(1);
        return status;
    }
    return BL_OK;
}

#endif
