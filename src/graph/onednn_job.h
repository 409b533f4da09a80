/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One primitive of the way back and the tensors it touches.  Each of these is a port: where the walk's order is not the
 * one that the primitive likes, the port has a buffer of its own and a reorder.  Private to the way back's files.
 */
#ifndef BL_ONEDNN_JOB_H
#define BL_ONEDNN_JOB_H

#include "graph/onednn_private.h"

#ifdef BL_HAVE_ONEDNN

typedef struct bl_dnn_port {
    dnnl_memory_t outer, inner; /* the walk's order, handle set for each run; the primitive's */
    dnnl_primitive_t reorder;   /* NULL: inner is outer */
    uint32_t version;           /* a constant: what inner holds; UINT32_MAX: nothing yet */
} bl_dnn_port;

typedef struct bl_dnn_job {
    dnnl_primitive_t run;
    dnnl_memory_desc_t scratch_md;
    dnnl_memory_t scratch;
    bl_dnn_port a, b, out;      /* what is read, the second perhaps absent, and what is computed */
    int a_arg, b_arg, out_arg;
    bool has_bias;
    dnnl_memory_t bias;         /* diff_bias, beside the weights' gradient */
} bl_dnn_job;

/* Takes over pd.  a, b, out: the walk's orders of what stands behind the job's arguments; b NULL: no second one. */
bl_status bl_dnn_job_adopt(bl_dnn_base *base, dnnl_primitive_desc_t pd, bl_dnn_job *j, const dnnl_memory_desc_t *a,
                           const dnnl_memory_desc_t *b, const dnnl_memory_desc_t *out);
/* Hands the port its data; version UINT32_MAX: it flows and is converted in every run. */
bl_status bl_dnn_port_fill(const bl_dnn_base *base, bl_dnn_port *p, const void *data, uint32_t version);
bl_status bl_dnn_job_run(const bl_dnn_base *base, bl_dnn_job *j, void *to, void *bias);
void bl_dnn_job_free(bl_dnn_job *j); /* one that was never made, too */

#endif
#endif
