/* SPDX-License-Identifier: BSD-3-Clause */
/* Primitives of the way back with ports around them: onednn_job.h. */
#include "graph/onednn_job.h"

#ifdef BL_HAVE_ONEDNN

#include <string.h>

static void free_port(bl_dnn_port *p)
{
    if (p->inner != p->outer) dnnl_memory_destroy(p->inner);
    dnnl_memory_destroy(p->outer);
    dnnl_primitive_destroy(p->reorder);
}

void bl_dnn_job_free(bl_dnn_job *j)
{
    dnnl_primitive_destroy(j->run);
    dnnl_memory_destroy(j->scratch);
    dnnl_memory_destroy(j->bias);
    free_port(&j->a);
    free_port(&j->b);
    free_port(&j->out);
    memset(j, 0, sizeof *j);
}

/* outwards: the primitive writes it. */
static bl_status make_port(const bl_dnn_base *base, const dnnl_memory_desc_t *outer, const dnnl_memory_desc_t *inner,
                           bool outwards, bl_dnn_port *p)
{
    p->version = UINT32_MAX;
    DNN_TRY(base, dnnl_memory_create(&p->outer, outer, base->engine, DNNL_MEMORY_NONE));
    p->inner = p->outer;
    if (dnnl_memory_desc_equal(outer, inner)) return BL_OK;
    void *data = bl_alloc(base->arena, dnnl_memory_desc_get_size(inner), 1);
    BL_ALLOC_TRY(base->ctx, data);
    p->inner = NULL;
    DNN_TRY(base, dnnl_memory_create(&p->inner, inner, base->engine, data));
    return outwards ? bl_dnn_reorder_new(base, inner, outer, &p->reorder)
                    : bl_dnn_reorder_new(base, outer, inner, &p->reorder);
}

bl_status bl_dnn_port_fill(const bl_dnn_base *base, bl_dnn_port *p, const void *data, uint32_t version)
{
    DNN_TRY(base, dnnl_memory_set_data_handle(p->outer, (void *)(uintptr_t)data));
    if (!p->reorder || (version != UINT32_MAX && version == p->version)) return BL_OK;
    BL_TRY(bl_dnn_reorder_run(base, p->reorder, p->outer, p->inner));
    p->version = version;
    return BL_OK;
}

bl_status bl_dnn_job_run(const bl_dnn_base *base, bl_dnn_job *j, void *to, void *bias)
{
    dnnl_exec_arg_t args[5];
    int n = 0;

    DNN_TRY(base, dnnl_memory_set_data_handle(j->out.outer, to));
    args[n++] = (dnnl_exec_arg_t){j->a_arg, j->a.inner};
    if (j->b.inner) args[n++] = (dnnl_exec_arg_t){j->b_arg, j->b.inner};
    args[n++] = (dnnl_exec_arg_t){j->out_arg, j->out.inner};
    args[n++] = (dnnl_exec_arg_t){DNNL_ARG_SCRATCHPAD, j->scratch};
    if (j->has_bias) {
        DNN_TRY(base, dnnl_memory_set_data_handle(j->bias, bias));
        args[n++] = (dnnl_exec_arg_t){DNNL_ARG_DIFF_BIAS, j->bias};
    }
    DNN_TRY(base, dnnl_primitive_execute(j->run, base->stream, n, args));
    DNN_TRY(base, dnnl_stream_wait(base->stream));
    return j->out.reorder ? bl_dnn_reorder_run(base, j->out.reorder, j->out.inner, j->out.outer) : BL_OK;
}

bl_status bl_dnn_job_adopt(bl_dnn_base *base, dnnl_primitive_desc_t pd, bl_dnn_job *j, const dnnl_memory_desc_t *a,
                           const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *out)
{
    dnnl_memory_desc_t in_a = bl_dnn_query(pd, j->a_arg), in_b = {0};
    dnnl_memory_desc_t in_out = bl_dnn_query(pd, j->out_arg);
    dnnl_status_t status = dnnl_primitive_create(&j->run, pd);

    if (b) in_b = bl_dnn_query(pd, j->b_arg);
    j->scratch_md = bl_dnn_query(pd, DNNL_ARG_SCRATCHPAD);
    base->scratch_bytes = BL_MAX(base->scratch_bytes, dnnl_memory_desc_get_size(&j->scratch_md));
    dnnl_primitive_desc_destroy(pd);
    BL_TRY(bl_dnn_check(base, status, "primitive"));
    BL_TRY(make_port(base, a, &in_a, false, &j->a));
    if (b) BL_TRY(make_port(base, b, &in_b, false, &j->b));
    return make_port(base, out, &in_out, true, &j->out);
}

#endif
