/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Effective bit operations of a program, by the rule that prices fixed-point networks (ebops1): over all products of a
 * layer, bits of the input times the span of the weight's code from its highest to its lowest bit that is not 0.  What
 * scales the sums is not counted.  A product of two activations counts the bits of both.
 */
#include "cli/contest.h"

static double span(int code)
{
    unsigned v = (unsigned)(code < 0 ? -code : code);
    return v ? 32 - __builtin_clz(v) - __builtin_ctz(v) : 0;
}

/* Output positions at which tap k of `kernel` lies inside the input. */
static double inside(int32_t out, int32_t in, int32_t stride, int32_t pad, int32_t offset)
{
    double n = 0;
    for (int32_t o = 0; o < out; o++) {
        int64_t at = (int64_t)o * stride - pad + offset;
        n += at >= 0 && at < in;
    }
    return n;
}

static bl_status conv_ebops(bl_ctx *ctx, const bl_program *p, const bl_step_conv *v, int in_bits, double *sum)
{
    const bl_conv_shape *s = &v->s;
    size_t depth = (size_t)(s->in_c / s->groups), taps = (size_t)s->kernel_h * (size_t)s->kernel_w;
    size_t n = (size_t)s->out_c * taps * depth;
    bl_arena *scratch = bl_arena_new(ctx, "ebops");
    BL_ALLOC_TRY(ctx, scratch);
    int8_t *codes = BL_NEW(scratch, int8_t, n);
    if (!codes) {
        bl_arena_free(scratch);
        return bl_pending(ctx);
    }
    bl_conv_codes(p, v, n, codes);
    for (size_t t = 0; t < taps; t++) {
        int32_t i = (int32_t)(t / (size_t)s->kernel_w), j = (int32_t)(t % (size_t)s->kernel_w);
        double bits = 0, places = inside(s->out_h, s->in_h, s->stride_h, s->pad_top, i * s->dilation_h) *
                                  inside(s->out_w, s->in_w, s->stride_w, s->pad_left, j * s->dilation_w);
        for (size_t c = 0; c < (size_t)s->out_c; c++)
            for (size_t d = 0; d < depth; d++) bits += span(codes[(c * taps + t) * depth + d]);
        *sum += bits * places * in_bits;
    }
    bl_arena_free(scratch);
    return BL_OK;
}

static double products(const bl_step_matmul *m)
{
    double n = (double)m->m * (double)m->n * (double)m->k;
    for (int32_t r = 0; r < m->rank; r++) n *= (double)m->size[r];
    return n;
}

bl_status bl_program_ebops(bl_ctx *ctx, const bl_program *p, double *out)
{
    double sum = 0;
    *out = NAN;
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const bl_step *s = &p->steps[i];
        if (s->contract == BL_C_CONV) BL_TRY(conv_ebops(ctx, p, &s->u.conv, p->tensors[s->in[0]].bits, &sum));
        if (s->contract == BL_C_MATMUL)
            sum += products(&s->u.matmul) * p->tensors[s->in[0]].bits * p->tensors[s->in[1]].bits;
    }
    *out = sum;
    return BL_OK;
}
