/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution by its definition [Q3] [Q4]: the row that every other one is compared with.  Any
 * stride, dilation, padding and group count, dense and depthwise, fully connected as 1x1; 8- and
 * 16-bit codes; accumulates in int64.
 */
#include "kernels/rows.h"

static bool conv_ref_fits(const bl_conv_shape *s)
{
    (void)s;
    return true;
}

static size_t conv_ref_packed_bytes(const bl_conv_shape *s)
{
    return bl_round64((size_t)s->out_c * (size_t)bl_conv_taps(s));
}

static void conv_ref_pack(const bl_conv_shape *s, const int8_t *codes, int32_t zero_in,
                          const int32_t *bias, void *packed)
{
    (void)zero_in;
    (void)bias;
    memcpy(packed, codes, (size_t)s->out_c * (size_t)bl_conv_taps(s));
}

static size_t conv_ref_work_bytes(const bl_conv_shape *s)
{
    (void)s;
    return 0;
}

/* acc of [Q4] for one output; positions outside the image hold a real 0 and add nothing. */
static int64_t accumulate(const bl_conv_args *a, int32_t oy, int32_t ox, int32_t oc)
{
    const bl_conv_shape *s = &a->s;
    int32_t icg = s->in_c / s->groups, first = oc / (s->out_c / s->groups) * icg;
    const int8_t *w = (const int8_t *)a->packed + oc * bl_conv_taps(s);
    int64_t acc = a->bias[oc];
    for (int32_t ky = 0; ky < s->kernel_h; ky++)
        for (int32_t kx = 0; kx < s->kernel_w; kx++) {
            int64_t iy = (int64_t)oy * s->stride_h - s->pad_top + (int64_t)ky * s->dilation_h;
            int64_t ix = (int64_t)ox * s->stride_w - s->pad_left + (int64_t)kx * s->dilation_w;
            if (iy < 0 || iy >= s->in_h || ix < 0 || ix >= s->in_w) continue;
            for (int32_t ic = 0; ic < icg; ic++) {
                int32_t q =
                    bl_code_get(a->in, s->in_bits, (iy * s->in_w + ix) * s->in_c + first + ic);
                acc += (int64_t)(q - a->zero_in) * w[((int64_t)ky * s->kernel_w + kx) * icg + ic];
            }
        }
    return acc;
}

static void conv_ref_run(const bl_conv_args *a)
{
    const bl_conv_shape *s = &a->s;
    for (int32_t oy = a->row_begin; oy < a->row_end; oy++)
        for (int32_t ox = 0; ox < s->out_w; ox++)
            for (int32_t oc = 0; oc < s->out_c; oc++) {
                int64_t acc = accumulate(a, oy, ox, oc);
                /* Without acc64 it fits int32 by proof; where it would not, ORT wraps as well. */
                float f = s->acc64 ? (float)acc : (float)(int32_t)(uint32_t)(uint64_t)acc;
                int32_t q = bl_requantize_f32(f, a->mult[oc], a->zero_out, a->lo, a->hi);
                bl_code_put(a->out, s->out_bits, ((int64_t)oy * s->out_w + ox) * s->out_c + oc, q);
            }
}

const bl_conv_row bl_k_conv_ref = {
    "conv_ref",    BL_ISA_REF,          conv_ref_fits, conv_ref_packed_bytes,
    conv_ref_pack, conv_ref_work_bytes, conv_ref_run, NULL, NULL, false,
};
