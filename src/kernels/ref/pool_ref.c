/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Global average pool [Q7], average pool [Q8], maximum pool [Q10] by their definition.
 */
#include "kernels/rows.h"

static bool pool_ref_fits(const bl_pool_args *a)
{
    (void)a;
    return true;
}

static int32_t input_code(const bl_pool_args *a, int64_t y, int64_t x, int32_t c)
{
    return bl_code_get(a->in, a->bits_in, (y * a->in_w + x) * a->c + c);
}

static bool inside(const bl_pool_args *a, int64_t y, int64_t x)
{
    return y >= 0 && y < a->in_h && x >= 0 && x < a->in_w;
}

/* The whole image is one window; the window fields are not read. */
static void gap_ref_run(const bl_pool_args *a)
{
    int64_t n = (int64_t)a->in_h * a->in_w;
    if (a->row_begin >= a->row_end) return;
    for (int32_t c = 0; c < a->c; c++) {
        int64_t acc = -n * a->gx.zero;
        for (int32_t y = 0; y < a->in_h; y++)
            for (int32_t x = 0; x < a->in_w; x++) acc += input_code(a, y, x, c);
        int32_t q =
            bl_requantize_f32((float)acc, bl_gap_mult(a, n), a->gy.zero, a->gy.lo, a->gy.hi);
        bl_code_put(a->out, a->bits_out, c, q);
    }
}

static int32_t average(const bl_pool_args *a, int32_t oy, int32_t ox, int32_t c)
{
    float sum = 0;
    int32_t taps = 0;
    for (int32_t ky = 0; ky < a->kernel_h; ky++)
        for (int32_t kx = 0; kx < a->kernel_w; kx++) {
            int64_t y = (int64_t)oy * a->stride_h - a->pad_top + (int64_t)ky * a->dilation_h;
            int64_t x = (int64_t)ox * a->stride_w - a->pad_left + (int64_t)kx * a->dilation_w;
            if (!inside(a, y, x)) continue;
            sum = sum + bl_dequantize(input_code(a, y, x, c), a->gx);
            taps++;
        }
    if (a->count_include_pad) taps = a->kernel_h * a->kernel_w;
    float mean = taps ? sum / (float)taps : 0; /* a window wholly in the padding holds real zeros */
    float t = mean / a->gy.scale;
    t = t + (float)a->gy.zero;
    return bl_round_clamp(t, a->gy.lo, a->gy.hi);
}

/* Bounds of a fused activation apply to the maximum; a window wholly in the padding gives lo. */
static int32_t maximum(const bl_pool_args *a, int32_t oy, int32_t ox, int32_t c)
{
    int32_t most = a->gy.lo;
    for (int32_t ky = 0; ky < a->kernel_h; ky++)
        for (int32_t kx = 0; kx < a->kernel_w; kx++) {
            int64_t y = (int64_t)oy * a->stride_h - a->pad_top + (int64_t)ky * a->dilation_h;
            int64_t x = (int64_t)ox * a->stride_w - a->pad_left + (int64_t)kx * a->dilation_w;
            if (inside(a, y, x)) most = BL_MAX(most, input_code(a, y, x, c));
        }
    return BL_MIN(most, a->gy.hi);
}

typedef int32_t window_fn(const bl_pool_args *a, int32_t oy, int32_t ox, int32_t c);

static void for_each_window(const bl_pool_args *a, window_fn *fn)
{
    for (int32_t oy = a->row_begin; oy < a->row_end; oy++)
        for (int32_t ox = 0; ox < a->out_w; ox++)
            for (int32_t c = 0; c < a->c; c++)
                bl_code_put(a->out, a->bits_out, ((int64_t)oy * a->out_w + ox) * a->c + c,
                            fn(a, oy, ox, c));
}

static void avgpool_ref_run(const bl_pool_args *a)
{
    for_each_window(a, average);
}

static void maxpool_ref_run(const bl_pool_args *a)
{
    for_each_window(a, maximum);
}

const bl_pool_row bl_k_gap_ref = {"gap_ref", BL_ISA_REF, pool_ref_fits, gap_ref_run};
const bl_pool_row bl_k_avgpool_ref = {"avgpool_ref", BL_ISA_REF, pool_ref_fits, avgpool_ref_run};
const bl_pool_row bl_k_maxpool_ref = {"maxpool_ref", BL_ISA_REF, pool_ref_fits, maxpool_ref_run};
