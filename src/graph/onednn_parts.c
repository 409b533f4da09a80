/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the two ways through oneDNN share: an engine and a stream, reorders, primitives that are not its slow reference,
 * how a convolution and a matrix lie.
 */
#include "graph/onednn_private.h"

#ifdef BL_HAVE_ONEDNN

#include <string.h>

bl_status bl_dnn_check(const bl_dnn_base *base, dnnl_status_t status, const char *what)
{
    if (status == dnnl_success) return BL_OK;
    return bl_fail(base->ctx, status == dnnl_out_of_memory ? BL_UNAVAILABLE : BL_INTERNAL, "oneDNN",
                   status == dnnl_out_of_memory ? "free some memory" : "please report this",
                   "%s failed with status %d", what, (int)status);
}

bl_status bl_dnn_open(bl_dnn_base *base)
{
    DNN_TRY(base, dnnl_engine_create(&base->engine, dnnl_cpu, 0));
    DNN_TRY(base, dnnl_stream_create(&base->stream, base->engine, dnnl_stream_default_flags));
    return BL_OK;
}

void bl_dnn_close(bl_dnn_base *base)
{
    dnnl_stream_destroy(base->stream);
    dnnl_engine_destroy(base->engine);
}

bl_status bl_dnn_scratch(bl_dnn_base *base)
{
    base->scratch = bl_alloc(base->arena, BL_MAX(base->scratch_bytes, 1), 1);
    BL_ALLOC_TRY(base->ctx, base->scratch);
    return BL_OK;
}

/* ------------------------------------------------------------------ reorders */

bl_status bl_dnn_reorder_new(const bl_dnn_base *base, const dnnl_memory_desc_t *from, const dnnl_memory_desc_t *to,
                             dnnl_primitive_t *out)
{
    dnnl_primitive_desc_t pd;
    dnnl_status_t status;

    DNN_TRY(base, dnnl_reorder_primitive_desc_create(&pd, from, base->engine, to, base->engine, NULL));
    status = dnnl_primitive_create(out, pd);
    dnnl_primitive_desc_destroy(pd);
    return bl_dnn_check(base, status, "reorder");
}

bl_status bl_dnn_reorder_run(const bl_dnn_base *base, dnnl_primitive_t reorder, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};

    DNN_TRY(base, dnnl_primitive_execute(reorder, base->stream, 2, args));
    DNN_TRY(base, dnnl_stream_wait(base->stream));
    return BL_OK;
}

/* ------------------------------------------------------------------ primitives */

/* User scratch memory, and the fused activation as a post-operation.  oneDNN's relu maps a NaN to 0
 * where ours keeps it: finite weights make one only from values that overflowed. */
static bl_status make_attr(const bl_dnn_base *base, const bl_node *fused, dnnl_primitive_attr_t *out)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t ops = NULL;
    dnnl_status_t status;

    DNN_TRY(base, dnnl_primitive_attr_create(&attr));
    status = dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user);
    if (status == dnnl_success && fused && bl_node_clamps(fused)) {
        bool relu = fused->lo == 0 && fused->hi == INFINITY;
        status = dnnl_post_ops_create(&ops);
        if (status == dnnl_success)
            status = dnnl_post_ops_append_eltwise(ops, 1.0f,
                                                  relu ? dnnl_eltwise_relu : dnnl_eltwise_clip_v2,
                                                  relu ? 0.0f : fused->lo, relu ? 0.0f : fused->hi);
        if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attr, ops);
        dnnl_post_ops_destroy(ops);
    }
    if (status != dnnl_success) {
        dnnl_primitive_attr_destroy(attr);
        return bl_dnn_check(base, status, "attributes");
    }
    *out = attr;
    return BL_OK;
}

static bool implemented_by(dnnl_primitive_desc_t pd, const char *begins, const char *holds)
{
    const char *name = "";
    return dnnl_primitive_desc_query(pd, dnnl_query_impl_info_str, 0, &name) == dnnl_success &&
           (begins ? strncmp(name, begins, strlen(begins)) == 0 : strstr(name, holds) != NULL);
}

bl_status bl_dnn_pd_new(const bl_dnn_base *base, const bl_node *fused, const void *op_desc, dnnl_primitive_desc_t hint,
                        dnnl_primitive_desc_t *pd)
{
    dnnl_primitive_attr_t attr = NULL;
    dnnl_status_t status;

    *pd = NULL;
    BL_TRY(make_attr(base, fused, &attr));
    status = dnnl_primitive_desc_create(pd, op_desc, attr, base->engine, hint);
    dnnl_primitive_attr_destroy(attr);
    if (status == dnnl_out_of_memory) return bl_dnn_check(base, status, "primitive");
    if (status != dnnl_success) *pd = NULL;
    else if (implemented_by(*pd, NULL, "ref")) bl_dnn_pd_drop(pd);
    return BL_OK;
}

void bl_dnn_pd_drop(dnnl_primitive_desc_t *pd)
{
    dnnl_primitive_desc_destroy(*pd);
    *pd = NULL;
}

bool bl_dnn_is_gemm(dnnl_primitive_desc_t pd)
{
    return implemented_by(pd, "gemm", NULL);
}

dnnl_memory_desc_t bl_dnn_query(dnnl_primitive_desc_t pd, int arg)
{
    return *dnnl_primitive_desc_query_md(pd, dnnl_query_exec_arg_md, arg);
}

/* ------------------------------------------------------------------ how things lie */

dnnl_memory_desc_t bl_dnn_describe(int rank, const int64_t *dim, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t md;
    dnnl_dims_t dims = {0};

    for (int i = 0; i < rank; i++) dims[i] = dim[i];
    if (dnnl_memory_desc_init_by_tag(&md, rank, dims, dnnl_f32, tag) != dnnl_success)
        memset(&md, 0, sizeof md);
    return md;
}

bool bl_dnn_strided(dnnl_memory_desc_t *md, int rank, const dnnl_dims_t dim, int64_t row, int64_t col)
{
    dnnl_dims_t stride = {0};
    int64_t run = dim[rank - 1] * dim[rank - 2];

    stride[rank - 1] = col;
    stride[rank - 2] = row;
    for (int d = rank - 3; d >= 0; d--) {
        stride[d] = run;
        run *= dim[d];
    }
    return dnnl_memory_desc_init_by_strides(md, rank, dim, dnnl_f32, stride) == dnnl_success;
}

bl_status bl_dnn_conv_read(const bl_dnn_base *base, const bl_node *node, bl_dnn_conv *c)
{
    static const dnnl_format_tag_t plain[] = {dnnl_abc, dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    const bl_tensor *wt = &base->graph->values[node->in[1]].t;
    bl_call call = {.ctx = base->ctx, .node = node, .scratch = base->arena};
    int64_t group = bl_attr_int(node, "group", 1);
    bl_window w;

    memset(c, 0, sizeof *c);
    BL_TRY(bl_window_read(&call, &base->graph->values[node->in[0]].t, wt->dim + 2, &w));
    for (int i = 0; i < w.dims; i++) {
        c->stride[i] = w.stride[i];
        c->dilation[i] = w.dilation[i] - 1;
        c->begin[i] = w.pad_begin[i];
        c->end[i] = w.pad_end[i];
    }
    if (group > 1) c->weight[c->weight_rank++] = group;
    c->weight[c->weight_rank++] = wt->dim[0] / group;
    for (int i = 1; i < wt->rank; i++) c->weight[c->weight_rank++] = wt->dim[i];
    c->given = bl_dnn_describe(c->weight_rank, c->weight, plain[c->weight_rank - 3]);
    c->bias = bl_dnn_describe(1, wt->dim, dnnl_a);
    return BL_OK;
}

bl_status bl_dnn_pool_read(const bl_dnn_base *base, const bl_node *node, bool counts_padding, bool global, bl_dnn_pool *p,
                           bool *fits)
{
    const bl_tensor *x = &base->graph->values[node->in[0]].t;
    bl_call call = {.ctx = base->ctx, .node = node, .scratch = base->arena};
    bl_window w = {.dims = x->rank - 2};

    memset(p, 0, sizeof *p);
    *fits = false;
    if (!global) BL_TRY(bl_window_read(&call, x, NULL, &w));
    for (int i = 0; i < w.dims; i++) {
        p->kernel[i] = global ? x->dim[2 + i] : w.kernel[i];
        p->stride[i] = global ? 1 : w.stride[i];
        p->begin[i] = w.pad_begin[i];
        p->end[i] = global ? 0 : (w.out[i] - 1) * w.stride[i] + w.kernel[i] - w.in[i] - w.pad_begin[i];
        if ((counts_padding && p->end[i] > w.pad_end[i]) || (!global && w.dilation[i] != 1)) return BL_OK;
        p->end[i] = BL_MAX(p->end[i], 0);
    }
    *fits = true;
    return BL_OK;
}

#endif
