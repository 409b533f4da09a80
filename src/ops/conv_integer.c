/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Integer form of the layers: Conv, Gemm, MatMul with a constant weight, all one contract [Q3][Q4].
 * The bound of the int32 accumulator is proven here for the very weights at hand.
 */
#include "ops/ops_private.h"

/* Bias codes [Q4], multipliers [Q3], and the proof; fills conv->s.acc64, lo, hi and the offsets.
 * codes: canonical [out_c][k]. */
static bl_status finish_layer(bl_lowering *low, bl_step *step, const int8_t *codes, const bl_tensor *bias)
{
    bl_step_conv *conv = &step->u.conv;
    const bl_ivalue *x = low->in[0], *y = low->out;
    const bl_iweight *w = low->weight;
    size_t n = (size_t)conv->s.out_c, k = (size_t)conv->s.kernel_h * (size_t)conv->s.kernel_w *
                                          (size_t)(conv->s.in_c / conv->s.groups);
    int32_t *b = BL_NEW(low->scratch, int32_t, n);
    float *m = BL_NEW(low->scratch, float, n);
    if (!b || !m) return bl_pending(low->ctx);
    int64_t n_bias = bias ? bl_tensor_count(bias) : 0;
    if (bias && n_bias != 1 && (n_bias != (int64_t)n || bias->dim[bias->rank - 1] != n_bias))
        return bl_integer_fail(low, "a bias of %lld elements for %zu outputs", (long long)n_bias, n);
    int64_t top = x->bits <= 8 ? 255 : 65535; /* whatever the container can hold */
    int64_t reach = BL_MAX(x->grid.zero, top - x->grid.zero);
    for (size_t c = 0; c < n; c++) {
        float s = x->grid.scale * w->scale[w->n_scale > 1 ? c : 0];
        m[c] = s / y->grid.scale;
        if (bias) {
            float t = ((const float *)bias->data)[n_bias > 1 ? c : 0] / s;
            if (!(fabsf(t) <= 1073741824.0f))
                return bl_integer_refuse(low, "the bias of output %zu does not fit 31 bits on its grid", c);
            b[c] = (int32_t)rintf(t);
        }
        int64_t sum = llabs(b[c]);
        for (size_t i = 0; i < k; i++) sum += reach * (codes[c * k + i] < 0 ? -codes[c * k + i] : codes[c * k + i]);
        if (sum > INT32_MAX) {
            if (x->bits <= 8)
                return bl_integer_refuse(low, "output %zu may overflow its 32-bit accumulator", c);
            conv->s.acc64 = 1;
        }
    }
    bl_grid g = bl_clamped_grid(low->node, y->grid);
    conv->zero_in = x->grid.zero;
    conv->zero_out = y->grid.zero;
    conv->lo = g.lo;
    conv->hi = g.hi;
    conv->s.in_bits = x->bits;
    conv->s.out_bits = y->bits;
    conv->s.weight_bits = w->bits;
    conv->index_bits = w->index_bits;
    if (w->group) {
        conv->group = (int32_t)BL_MIN((size_t)w->group, k);
        BL_TRY(low->grouped(low, codes, n * k, k, w, &conv->weights, &conv->table));
    } else if (w->index_bits) {
        BL_TRY(low->book(low, codes, n * k, w, &conv->weights, &conv->table));
    } else {
        BL_TRY(low->pack(low, codes, n * k, w->bits, &conv->weights));
    }
    BL_TRY(low->blob(low, b, n * sizeof *b, &conv->bias));
    BL_TRY(low->blob(low, m, n * sizeof *m, &conv->mult));
    return low->emit(low, step);
}

static bl_status check_layer(const bl_lowering *low, int axis)
{
    if (!low->in[0] || !low->weight) return bl_integer_fail(low, "its weight is not constant");
    if (low->weight->n_scale > 1 && low->weight->axis != axis)
        return bl_integer_refuse(low, "weight scales along axis %d instead of the output channels",
                               low->weight->axis);
    return BL_OK;
}

bl_status bl_conv_integer(bl_lowering *low, const bl_node *node)
{
    bl_call call;
    bl_window win;
    BL_TRY(check_layer(low, 0));
    const bl_ivalue *x = low->in[0], *y = low->out;
    const bl_tensor *w = low->weight->t;
    const bl_tensor *bias = node->n_in > 2 ? low->constant[2] : NULL;
    if (node->n_in > 2 && node->in[2] >= 0 && !bias) return bl_integer_fail(low, "a bias that is not constant");
    if (x->rank != 4) return bl_integer_fail(low, "a convolution over %d dimensions", x->rank - 2);
    if (x->dim[0] != 1) return bl_integer_fail(low, "a batch of %lld", (long long)x->dim[0]);
    BL_TRY(bl_integer_call(low, &call));
    BL_TRY(bl_window_read(&call, call.in[0], w->dim + 2, &win));
    for (int d = 0; d < 2; d++)
        if (win.pad_begin[d] > (win.kernel[d] - 1) * win.dilation[d] || win.pad_end[d] > (win.kernel[d] - 1) * win.dilation[d])
            return bl_integer_fail(low, "padding wider than the kernel reaches (%lld and %lld), which makes outputs of padding alone",
                                   (long long)win.pad_begin[d], (long long)win.pad_end[d]);
    bl_step step = bl_step_make(BL_C_CONV, x, NULL, y);
    bl_conv_shape *s = &step.u.conv.s;
    *s = (bl_conv_shape){
        .in_h = (int32_t)x->dim[2], .in_w = (int32_t)x->dim[3], .in_c = (int32_t)x->dim[1],
        .out_h = (int32_t)y->dim[2], .out_w = (int32_t)y->dim[3], .out_c = (int32_t)y->dim[1],
        .groups = (int32_t)bl_attr_int(node, "group", 1),
        .kernel_h = (int32_t)win.kernel[0], .kernel_w = (int32_t)win.kernel[1],
        .stride_h = (int32_t)win.stride[0], .stride_w = (int32_t)win.stride[1],
        .dilation_h = (int32_t)win.dilation[0], .dilation_w = (int32_t)win.dilation[1],
        .pad_top = (int32_t)win.pad_begin[0], .pad_left = (int32_t)win.pad_begin[1],
    };
    int64_t O = w->dim[0], I = w->dim[1], H = w->dim[2], W = w->dim[3];
    int8_t *codes = BL_NEW(low->scratch, int8_t, (size_t)bl_tensor_count(w));
    BL_ALLOC_TRY(low->ctx, codes);
    for (int64_t o = 0; o < O; o++) /* (O,I,H,W) -> (O,H,W,I) */
        for (int64_t i = 0; i < I; i++)
            for (int64_t k = 0; k < H * W; k++)
                codes[(o * H * W + k) * I + i] = low->weight->codes[(o * I + i) * H * W + k];
    return finish_layer(low, &step, codes, bias);
}

/* rows x k by a weight that is [n][k] (transposed) or [k][n]. */
static bl_status product(bl_lowering *low, int64_t rows, int64_t k, int64_t n, bool transposed,
                         const bl_tensor *bias)
{
    bl_step step = bl_step_make(BL_C_CONV, low->in[0], NULL, low->out);
    if (rows > INT32_MAX || k > INT32_MAX || n > INT32_MAX) return bl_integer_fail(low, "the product is too large");
    step.u.conv.s = (bl_conv_shape){ .in_h = (int32_t)rows, .in_w = 1, .in_c = (int32_t)k,
                                     .out_h = (int32_t)rows, .out_w = 1, .out_c = (int32_t)n, .groups = 1,
                                     .kernel_h = 1, .kernel_w = 1, .stride_h = 1, .stride_w = 1,
                                     .dilation_h = 1, .dilation_w = 1 };
    int8_t *codes = BL_NEW(low->scratch, int8_t, (size_t)(n * k));
    BL_ALLOC_TRY(low->ctx, codes);
    for (int64_t c = 0; c < n; c++)
        for (int64_t i = 0; i < k; i++)
            codes[c * k + i] = low->weight->codes[transposed ? c * k + i : i * n + c];
    return finish_layer(low, &step, codes, bias);
}

bl_status bl_gemm_integer(bl_lowering *low, const bl_node *node)
{
    bool trans_b = bl_attr_int(node, "transB", 0) != 0;
    BL_TRY(check_layer(low, trans_b ? 0 : 1));
    const bl_ivalue *x = low->in[0];
    const bl_tensor *bias = node->n_in > 2 ? low->constant[2] : NULL;
    if (bl_attr_int(node, "transA", 0)) return bl_integer_fail(low, "transA");
    if (bl_attr_float(node, "alpha", 1) != 1 || bl_attr_float(node, "beta", 1) != 1)
        return bl_integer_fail(low, "alpha or beta other than 1");
    if (node->n_in > 2 && node->in[2] >= 0 && !bias) return bl_integer_fail(low, "a bias that is not constant");
    int64_t n = low->out->dim[1];
    return product(low, x->dim[0], x->dim[1], n, trans_b, bias);
}

/* Product of two activations [Q17]: [Q3] with both zero points, one multiplier, batches broadcast. */
static bl_status activations_product(bl_lowering *low)
{
    const bl_ivalue *a = low->in[0], *b = low->in[1], *y = low->out;
    int ra = a->rank, rb = b->rank, batch = y->rank - 2;
    if (ra < 2 || rb < 2) return bl_integer_fail(low, "a vector as an operand");
    bl_step step = bl_step_make(BL_C_MATMUL, a, b, y);
    bl_step_matmul *v = &step.u.matmul;
    bl_grid g = bl_clamped_grid(low->node, y->grid);
    *v = (bl_step_matmul){ .m = a->dim[ra - 2], .n = b->dim[rb - 1], .k = a->dim[ra - 1], .a_m = a->stride[ra - 2],
                           .a_k = a->stride[ra - 1], .b_k = b->stride[rb - 2], .b_n = b->stride[rb - 1],
                           .out_m = y->stride[batch], .out_n = y->stride[batch + 1], .zero_a = a->grid.zero,
                           .zero_b = b->grid.zero, .zero_out = y->grid.zero, .lo = g.lo, .hi = g.hi };
    for (int d = 0; d < batch; d++) {
        int da = d - (y->rank - ra), db = d - (y->rank - rb);
        if (y->dim[d] == 1) continue;
        if (v->rank == 4) return bl_integer_fail(low, "a batch of more than four dimensions");
        v->size[v->rank] = y->dim[d];
        v->a_stride[v->rank] = da < 0 || a->dim[da] == 1 ? 0 : a->stride[da];
        v->b_stride[v->rank] = db < 0 || b->dim[db] == 1 ? 0 : b->stride[db];
        v->out_stride[v->rank++] = y->stride[d];
    }
    if (!v->rank) v->size[v->rank++] = 1;
    v->mult = a->grid.scale * b->grid.scale;
    v->mult /= y->grid.scale;
    v->acc64 = v->k > bl_matmul_k_max(a->bits, b->bits);
    return low->emit(low, &step);
}

bl_status bl_matmul_integer(bl_lowering *low, const bl_node *node)
{
    const bl_tensor *w = low->weight ? low->weight->t : NULL, *bias = node->n_in > 2 ? low->constant[2] : NULL;
    if (!w && low->in[0] && low->in[1] && !low->constant[0] && !low->constant[1]) return activations_product(low);
    BL_TRY(check_layer(low, w ? w->rank - 1 : 0));
    const bl_ivalue *x = low->in[0];
    if (w->rank != 2 || x->rank < 2) return bl_integer_fail(low, "a weight of rank %d", w->rank);
    if (!bl_ivalue_row_major(x) || !bl_ivalue_row_major(low->out))
        return bl_integer_fail(low, "a product over channels-last data");
    if (node->n_in > 2 && node->in[2] >= 0 && !bias) return bl_integer_fail(low, "a bias that is not constant");
    int64_t k = x->dim[x->rank - 1];
    return product(low, bl_ivalue_count(x) / k, k, w->dim[1], false, bias);
}
