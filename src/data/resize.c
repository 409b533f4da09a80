/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bilinear resizing of 8-bit pictures, with antialiasing when they shrink: each output pixel is the
 * mean of the input under a triangle two output (at least two input) pixels wide.  First rows, then
 * columns, each rounded to 8 bits; weights have 22 fraction bits.  This is the arithmetic of
 * Pillow's BILINEAR, with which most data sets and published preprocessing were made, so that
 * pictures resized here and there are the same bytes.
 */
#include "data/data_private.h"

#define WEIGHT_BITS 22
#define SIDE_MAX 65536

typedef struct axis {
    int64_t n;              /* output pixels */
    int64_t taps;           /* weights a pixel, at most */
    int32_t *first, *count; /* of the input pixels that a pixel is made of */
    int32_t *weight;        /* n x taps */
} axis;

bl_status bl_resized_size(bl_ctx *ctx, const char *place, int64_t h, int64_t w, int side,
                          int64_t *out_h, int64_t *out_w)
{
    int64_t small = BL_MIN(h, w), large = BL_MAX(h, w), other;
    if (small < 1 || large > SIDE_MAX || (other = side * large / small) > SIDE_MAX)
        return bl_fail(ctx, BL_DATA, place, "sides are at most 65536 pixels",
                       "%lldx%lld pixels cannot be resized to %d", (long long)h, (long long)w,
                       side);
    *out_h = h <= w ? side : other;
    *out_w = h <= w ? other : side;
    return BL_OK;
}

static bl_status axis_make(bl_arena *scratch, int64_t in, int64_t out, axis *a)
{
    bl_ctx *ctx = bl_arena_ctx(scratch);
    double scale = (double)in / (double)out, reach = scale > 1 ? scale : 1; /* half the triangle */
    a->n = out;
    a->taps = 2 * (int64_t)ceil(reach) + 1;
    a->first = BL_NEW(scratch, int32_t, (size_t)out);
    BL_ALLOC_TRY(ctx, a->first);
    a->count = BL_NEW(scratch, int32_t, (size_t)out);
    BL_ALLOC_TRY(ctx, a->count);
    a->weight = BL_NEW(scratch, int32_t, (size_t)(out * a->taps));
    BL_ALLOC_TRY(ctx, a->weight);
    double *real = BL_NEW(scratch, double, (size_t)a->taps);
    BL_ALLOC_TRY(ctx, real);
    for (int64_t i = 0; i < out; i++) {
        double centre = ((double)i + 0.5) * scale, sum = 0;
        int64_t first = (int64_t)(centre - reach + 0.5), end = (int64_t)(centre + reach + 0.5);
        first = BL_MAX(first, 0);
        end = BL_MIN(end, in);
        for (int64_t k = 0; k < end - first; k++) {
            double distance = fabs(((double)(first + k) - centre + 0.5) * (1.0 / reach));
            real[k] = distance < 1 ? 1 - distance : 0;
            sum += real[k];
        }
        for (int64_t k = 0; k < end - first;
             k++) /* the pixel nearest the centre is below 1: sum > 0 */
            a->weight[i * a->taps + k] = (int32_t)(0.5 + real[k] / sum * (1 << WEIGHT_BITS));
        a->first[i] = (int32_t)first;
        a->count[i] = (int32_t)(end - first);
    }
    return BL_OK;
}

/* One output pixel.  Weights add up to one, so the sum stays near 255 * 2^22 < 2^30. */
static uint8_t pixel(const axis *a, int64_t i, const uint8_t *src, int64_t step)
{
    const int32_t *weight = a->weight + i * a->taps;
    int32_t sum = 1 << (WEIGHT_BITS - 1);
    src += a->first[i] * step;
    for (int32_t k = 0; k < a->count[i]; k++) sum += weight[k] * src[k * step];
    sum >>= WEIGHT_BITS;
    return (uint8_t)BL_MIN(sum, 255);
}

bl_status bl_resize_u8(bl_arena *scratch, const uint8_t *src, const bl_view *v, int64_t out_h,
                       int64_t out_w, uint8_t *out)
{
    axis across, down;
    BL_TRY(axis_make(scratch, v->width, out_w, &across));
    BL_TRY(axis_make(scratch, v->height, out_h, &down));
    uint8_t *narrow = BL_NEW(scratch, uint8_t, (size_t)(v->height * out_w)); /* height x out_w */
    BL_ALLOC_TRY(bl_arena_ctx(scratch), narrow);
    for (int64_t c = 0; c < v->channels; c++) {
        for (int64_t y = 0; y < v->height; y++)
            for (int64_t x = 0; x < out_w; x++)
                narrow[y * out_w + x] =
                    pixel(&across, x, src + c * v->c_step + y * v->y_step, v->x_step);
        for (int64_t y = 0; y < out_h; y++)
            for (int64_t x = 0; x < out_w; x++) *out++ = pixel(&down, y, narrow + x, out_w);
    }
    return BL_OK;
}
