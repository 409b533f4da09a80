/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Windows that slide over the spatial dimensions: kernel, strides, dilations, pads and the output
 * size that follows.  Rule for ceil_mode: a window that would start in the padding behind the input
 * is left out, as PyTorch and ONNX Runtime do.
 */
#include "ops/ops_private.h"

/* Extents stay below 2^31, so that (kernel - 1) * dilation + pads fits int64 easily. */
#define EXTENT_MAX INT32_MAX

static bl_status read_list(const bl_call *call, const char *name, int n, int64_t least,
                           int64_t *out)
{
    int got;

    BL_TRY(bl_op_ints_attr(call, name, n, out, &got));
    if (got < 0) return BL_OK;
    if (got != n)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "attribute \"%s\" has %d entries where %d are meant", name, got, n);
    for (int i = 0; i < n; i++)
        if (out[i] < least || out[i] > EXTENT_MAX)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "attribute \"%s\" holds %lld, allowed is %lld to %d", name,
                              (long long)out[i], (long long)least, EXTENT_MAX);
    return BL_OK;
}

static bl_status read_kernel(const bl_call *call, const int64_t *kernel_shape, bl_window *w)
{
    bool given = bl_node_attr(call->node, "kernel_shape") != NULL;

    if (!given && !kernel_shape)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "attribute \"kernel_shape\" is missing");
    BL_TRY(read_list(call, "kernel_shape", w->dims, 1, w->kernel));
    for (int i = 0; i < w->dims && kernel_shape; i++) {
        if (given && w->kernel[i] != kernel_shape[i])
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "attribute \"kernel_shape\" differs from the weight's shape");
        if (kernel_shape[i] < 1 || kernel_shape[i] > EXTENT_MAX)
            return bl_op_fail(call, BL_DATA, "repair the model", "kernel of extent %lld",
                              (long long)kernel_shape[i]);
        w->kernel[i] = kernel_shape[i];
    }
    return BL_OK;
}

/* Padding of one dimension under SAME: out = ceil(in / stride). */
static void pad_same(bl_window *w, int i, int64_t extent, bool upper)
{
    int64_t out = (w->in[i] + w->stride[i] - 1) / w->stride[i];
    int64_t total = BL_MAX((out - 1) * w->stride[i] + extent - w->in[i], 0);

    w->pad_begin[i] = upper ? total / 2 : total - total / 2;
    w->pad_end[i] = total - w->pad_begin[i];
}

bl_status bl_window_read(const bl_call *call, const bl_tensor *x, const int64_t *kernel_shape,
                         bl_window *out)
{
    const char *auto_pad = bl_attr_string(call->node, "auto_pad", "NOTSET");
    bool upper = strcmp(auto_pad, "SAME_UPPER") == 0, lower = strcmp(auto_pad, "SAME_LOWER") == 0;
    bool valid = strcmp(auto_pad, "VALID") == 0;
    bl_window w = {.dims = x->rank - 2};
    int64_t pads[6] = {0};

    if (w.dims < 1 || w.dims > 3)
        return bl_op_fail(call, BL_UNAVAILABLE, "use 1 to 3 spatial dimensions",
                          "%d spatial dimensions are not supported", w.dims);
    if (!upper && !lower && !valid && strcmp(auto_pad, "NOTSET") != 0)
        return bl_op_fail(call, BL_DATA, "repair the model", "auto_pad \"%s\" is unknown",
                          auto_pad);
    for (int i = 0; i < w.dims; i++) {
        w.in[i] = x->dim[2 + i];
        w.stride[i] = w.dilation[i] = 1;
        if (w.in[i] < 1 || w.in[i] > EXTENT_MAX)
            return bl_op_fail(call, BL_DATA, "check the input shape", "spatial extent %lld",
                              (long long)w.in[i]);
    }
    BL_TRY(read_kernel(call, kernel_shape, &w));
    BL_TRY(read_list(call, "strides", w.dims, 1, w.stride));
    BL_TRY(read_list(call, "dilations", w.dims, 1, w.dilation));
    BL_TRY(read_list(call, "pads", 2 * w.dims, 0, pads));
    w.ceil_mode = bl_attr_int(call->node, "ceil_mode", 0) != 0;
    for (int i = 0; i < w.dims; i++) {
        int64_t extent = (w.kernel[i] - 1) * w.dilation[i] + 1, room;
        if (upper || lower) {
            pad_same(&w, i, extent, upper);
        } else if (!valid) {
            w.pad_begin[i] = pads[i];
            w.pad_end[i] = pads[w.dims + i];
        }
        room = w.in[i] + w.pad_begin[i] + w.pad_end[i] - extent;
        if (room < 0)
            return bl_op_fail(call, BL_DATA, "check the input shape",
                              "the kernel covers %lld where the padded input has %lld",
                              (long long)extent, (long long)(room + extent));
        w.out[i] = room / w.stride[i] + 1;
        if (w.ceil_mode && room % w.stride[i] && w.out[i] * w.stride[i] < w.in[i] + w.pad_begin[i])
            w.out[i]++;
    }
    *out = w;
    return BL_OK;
}

void bl_window_lift(const bl_window *w, bl_window *out)
{
    int lead = 3 - w->dims;
    bl_window r = {.dims = 3, .ceil_mode = w->ceil_mode};

    for (int i = 0; i < 3; i++) {
        bool real = i >= lead;
        int k = real ? i - lead : 0;
        r.kernel[i] = real ? w->kernel[k] : 1;
        r.stride[i] = real ? w->stride[k] : 1;
        r.dilation[i] = real ? w->dilation[k] : 1;
        r.pad_begin[i] = real ? w->pad_begin[k] : 0;
        r.pad_end[i] = real ? w->pad_end[k] : 0;
        r.in[i] = real ? w->in[k] : 1;
        r.out[i] = real ? w->out[k] : 1;
    }
    *out = r;
}
