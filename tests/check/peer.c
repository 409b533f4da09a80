/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * oneDNN's int8 convolution and inner product, to be timed beside our rows: u8 x s8 to u8, int32
 * bias, one scale an output channel, NHWC on either side, weights in the order that oneDNN asks
 * for.  One thread.  Built where oneDNN is found; BL_HAVE_ONEDNN says so.
 */
#include "check.h"

#include <stdlib.h>
#include <string.h>

#ifdef BL_HAVE_ONEDNN
#include <dnnl.h>

void omp_set_num_threads(int n);

struct peer {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
    dnnl_primitive_t run;
    dnnl_memory_t src, dst, bias, *weights;
    size_t copies, weight_bytes;
};

static bool describe(dnnl_memory_desc_t *md, int rank, const dnnl_dims_t dims,
                     dnnl_data_type_t type, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(md, rank, dims, type, tag) == dnnl_success;
}

static dnnl_primitive_attr_t scales(const bl_conv_args *a)
{
    dnnl_primitive_attr_t attr;
    if (dnnl_primitive_attr_create(&attr) != dnnl_success) abort();
    if (dnnl_primitive_attr_set_output_scales(attr, a->s.out_c, 1 << 1, a->mult) != dnnl_success)
        abort();
    return attr;
}

/* The primitive, and what it wants of weights. */
static bool make(peer *p, const bl_conv_args *a, dnnl_memory_desc_t md[4])
{
    const bl_conv_shape *s = &a->s;
    int64_t g = s->groups, ocg = s->out_c / g, icg = s->in_c / g;
    bool full = s->in_h == 1 && s->in_w == 1 && g == 1;
    dnnl_dims_t src = {1, s->in_c, s->in_h, s->in_w}, dst = {1, s->out_c, s->out_h, s->out_w};
    dnnl_dims_t w = {ocg, icg, s->kernel_h, s->kernel_w}, bias = {s->out_c};
    dnnl_dims_t grouped = {g, ocg, icg, s->kernel_h, s->kernel_w};
    dnnl_dims_t stride = {s->stride_h, s->stride_w}, dilation = {s->dilation_h - 1, s->dilation_w - 1};
    dnnl_dims_t before = {s->pad_top, s->pad_left}, after;
    after[0] = (s->out_h - 1) * stride[0] + (s->kernel_h - 1) * s->dilation_h + 1 - s->in_h - before[0];
    after[1] = (s->out_w - 1) * stride[1] + (s->kernel_w - 1) * s->dilation_w + 1 - s->in_w - before[1];
    dnnl_primitive_desc_t pd;
    dnnl_primitive_attr_t attr = scales(a);
    dnnl_status_t status;
    if (!describe(&md[0], full ? 2 : 4, src, dnnl_u8, full ? dnnl_ab : dnnl_acdb) ||
        !describe(&md[1], full ? 2 : g > 1 ? 5 : 4, g > 1 ? grouped : w, dnnl_s8, dnnl_format_tag_any) ||
        !describe(&md[2], 1, bias, dnnl_s32, dnnl_a) ||
        !describe(&md[3], full ? 2 : 4, dst, dnnl_u8, full ? dnnl_ab : dnnl_acdb))
        return false;
    if (full) {
        dnnl_inner_product_desc_t d;
        status = dnnl_inner_product_forward_desc_init(&d, dnnl_forward_inference, &md[0], &md[1], &md[2],
                                                      &md[3]);
        if (status == dnnl_success) status = dnnl_primitive_desc_create(&pd, &d, attr, p->engine, NULL);
    } else {
        dnnl_convolution_desc_t d;
        status = dnnl_dilated_convolution_forward_desc_init(
            &d, dnnl_forward_inference, dnnl_convolution_direct, &md[0], &md[1], &md[2], &md[3], stride,
            dilation, before, after);
        if (status == dnnl_success) status = dnnl_primitive_desc_create(&pd, &d, attr, p->engine, NULL);
    }
    dnnl_primitive_attr_destroy(attr);
    if (status != dnnl_success) return false;
    md[1] = *dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
    status = dnnl_primitive_create(&p->run, pd);
    dnnl_primitive_desc_destroy(pd);
    return status == dnnl_success;
}

peer *peer_new(const bl_conv_args *a, size_t cold_bytes)
{
    dnnl_memory_desc_t md[4];
    peer *p = calloc(1, sizeof *p);
    if (!p) abort();
    omp_set_num_threads(1);
    if (dnnl_engine_create(&p->engine, dnnl_cpu, 0) != dnnl_success ||
        dnnl_stream_create(&p->stream, p->engine, dnnl_stream_default_flags) != dnnl_success)
        abort();
    if (!make(p, a, md)) {
        peer_free(p);
        return NULL;
    }
    p->weight_bytes = dnnl_memory_desc_get_size(&md[1]);
    p->copies = cold_bytes / p->weight_bytes + 1;
    p->weights = calloc(p->copies, sizeof *p->weights);
    if (!p->weights) abort();
    for (size_t i = 0; i < p->copies; i++) {
        void *bytes;
        if (dnnl_memory_create(&p->weights[i], &md[1], p->engine, DNNL_MEMORY_ALLOCATE) != dnnl_success ||
            dnnl_memory_get_data_handle(p->weights[i], &bytes) != dnnl_success)
            abort();
        for (size_t k = 0; k < p->weight_bytes; k++) ((uint8_t *)bytes)[k] = (uint8_t)(k * 37 + k / 251);
    }
    if (dnnl_memory_create(&p->src, &md[0], p->engine, (void *)(uintptr_t)a->in) != dnnl_success ||
        dnnl_memory_create(&p->bias, &md[2], p->engine, (void *)(uintptr_t)a->bias) != dnnl_success ||
        dnnl_memory_create(&p->dst, &md[3], p->engine, a->out) != dnnl_success)
        abort();
    return p;
}

void peer_run(peer *p, size_t turn)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_SRC, p->src},
                              {DNNL_ARG_WEIGHTS, p->weights[turn % p->copies]},
                              {DNNL_ARG_BIAS, p->bias},
                              {DNNL_ARG_DST, p->dst}};
    if (dnnl_primitive_execute(p->run, p->stream, 4, args) != dnnl_success ||
        dnnl_stream_wait(p->stream) != dnnl_success)
        abort();
}

size_t peer_copies(const peer *p)
{
    return p->copies;
}

void peer_free(peer *p)
{
    if (!p) return;
    for (size_t i = 0; p->weights && i < p->copies; i++) dnnl_memory_destroy(p->weights[i]);
    dnnl_memory_destroy(p->src);
    dnnl_memory_destroy(p->bias);
    dnnl_memory_destroy(p->dst);
    dnnl_primitive_destroy(p->run);
    dnnl_stream_destroy(p->stream);
    dnnl_engine_destroy(p->engine);
    free(p->weights);
    free(p);
}
#else
peer *peer_new(const bl_conv_args *a, size_t cold_bytes)
{
    (void)a;
    (void)cold_bytes;
    return NULL;
}

void peer_run(peer *p, size_t turn)
{
    (void)p;
    (void)turn;
}

size_t peer_copies(const peer *p)
{
    (void)p;
    return 1;
}

void peer_free(peer *p)
{
    (void)p;
}
#endif
