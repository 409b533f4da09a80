/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Gemm and MatMul in float32.  Each element is one sum over k from low to high: MatMul starts at 0,
 * Gemm is f( f(alpha * sum) + f(beta * c) ), without the products where alpha or beta is 1.  The bias
 * that prepare gives a MatMul is added to the finished sum, as the Add was that it stood in.
 */
#include "ops/ops_private.h"

/* ------------------------------------------------------------------ Gemm */

typedef struct gemm {
    bool trans_a, trans_b;
    int64_t m, n, k;
} gemm;

static gemm gemm_read(const bl_call *call)
{
    const int64_t *a = call->in[0]->dim, *b = call->in[1]->dim;
    gemm g = {.trans_a = bl_attr_int(call->node, "transA", 0) != 0,
              .trans_b = bl_attr_int(call->node, "transB", 0) != 0};

    g.m = a[g.trans_a];
    g.k = a[!g.trans_a];
    g.n = b[!g.trans_b];
    return g;
}

static bl_status gemm_shape(const bl_call *call)
{
    gemm g;

    BL_TRY(bl_op_begin(call, "alpha:f beta:f transA:i transB:i"));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_op_rank(call, 0, 2, 2));
    BL_TRY(bl_op_rank(call, 1, 2, 2));
    g = gemm_read(call);
    if (call->in[1]->dim[g.trans_b] != g.k)
        return bl_op_fail(call, BL_DATA, "repair the model", "inner sizes %lld and %lld differ",
                          (long long)g.k, (long long)call->in[1]->dim[g.trans_b]);
    if (bl_op_has(call, 2)) {
        const bl_tensor *c = call->in[2];
        bool fits = c->rank <= 2;
        for (int i = 0; i < c->rank && fits; i++) {
            int64_t want = i == c->rank - 1 ? g.n : g.m;
            fits = c->dim[i] == 1 || c->dim[i] == want;
        }
        if (!fits)
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "input 2 of shape %s does not broadcast to %lldx%lld",
                              bl_shape_text(call->scratch, c), (long long)g.m, (long long)g.n);
    }
    return bl_op_out(call, 0, BL_F32, 2, (int64_t[]){g.m, g.n});
}

static int64_t gemm_macs(const bl_call *call)
{
    gemm g = gemm_read(call);
    return g.m * g.n * g.k;
}

/* y (m x n) += a b with b at b[k * b_row + j * b_col]; columns of b are packed when they are apart.
 */
static bl_status multiply(const bl_call *call, gemm g, const float *a, int64_t a_row, int64_t a_col,
                          const float *b, int64_t b_row, int64_t b_col, float *y)
{
    enum { PANEL = 64 };
    bl_mark mark = bl_arena_mark(call->scratch);
    float *panel;

    if (b_col == 1) {
        bl_product(g.m, g.n, g.k, a, a_row, a_col, b, b_row, y, g.n);
        return BL_OK;
    }
    panel = bl_alloc(call->scratch, (size_t)g.k, PANEL * sizeof *panel);
    BL_ALLOC_TRY(call->ctx, panel);
    for (int64_t j = 0; j < g.n; j += PANEL) {
        int64_t n = BL_MIN(PANEL, g.n - j);
        for (int64_t c = 0; c < n; c++)
            for (int64_t p = 0; p < g.k; p++) panel[p * PANEL + c] = b[p * b_row + (j + c) * b_col];
        bl_product(g.m, n, g.k, a, a_row, a_col, panel, PANEL, y + j, g.n);
    }
    bl_arena_reset(call->scratch, mark);
    return BL_OK;
}

static bl_status gemm_forward(const bl_call *call)
{
    gemm g = gemm_read(call);
    float alpha = bl_attr_float(call->node, "alpha", 1.0f);
    float beta = bl_attr_float(call->node, "beta", 1.0f);
    float *y = call->out[0].data;
    bl_bcast b;
    const bl_tensor *c = bl_op_has(call, 2) ? call->in[2] : NULL;

    memset(y, 0, bl_tensor_bytes(&call->out[0]));
    BL_TRY(multiply(call, g, call->in[0]->data, g.trans_a ? 1 : g.k, g.trans_a ? g.m : 1,
                    call->in[1]->data, g.trans_b ? 1 : g.n, g.trans_b ? g.k : 1, y));
    if (alpha != 1.0f)
        for (int64_t i = 0; i < g.m * g.n; i++) y[i] *= alpha;
    if (!c) return BL_OK;
    bl_bcast_make(&b, 2, (int64_t[]){g.m, g.n}, 1, &c);
    for (int64_t i = 0; i < g.m * g.n; i++) {
        int64_t row = i / g.n, col = i % g.n;
        int64_t at = b.rank == 2 ? row * b.stride[0][0] + col * b.stride[0][1] : i * b.stride[0][0];
        float add = ((const float *)c->data)[at];
        y[i] += beta != 1.0f ? beta * add : add;
    }
    return BL_OK;
}

/* to[i * to_row + j * to_col] (+)= sum over p of a[i, p] b[p, j], p in double. */
static void product_back(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                         int64_t a_col, const float *b, int64_t b_row, int64_t b_col, float factor,
                         float *to, int64_t to_row, int64_t to_col, bool add)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            double sum = 0;
            for (int64_t p = 0; p < k; p++)
                sum += (double)a[i * a_row + p * a_col] * b[p * b_row + j * b_col];
            sum *= factor;
            to[i * to_row + j * to_col] = (float)(add ? to[i * to_row + j * to_col] + sum : sum);
        }
}

/* Y = alpha A B + beta C: dA = alpha dY B', dB = alpha A' dY, dC = beta dY summed as C broadcasts. */
static bl_status gemm_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                               bl_tensor *in_grad)
{
    gemm g = gemm_read(call);
    float alpha = bl_attr_float(call->node, "alpha", 1.0f);
    float beta = bl_attr_float(call->node, "beta", 1.0f);
    const float *a = call->in[0]->data, *b = call->in[1]->data, *dy = out_grad[0]->data;
    int64_t a_row = g.trans_a ? 1 : g.k, a_col = g.trans_a ? g.m : 1;
    int64_t b_row = g.trans_b ? 1 : g.n, b_col = g.trans_b ? g.k : 1;

    if (in_grad[0].data)
        product_back(g.m, g.k, g.n, dy, g.n, 1, b, b_col, b_row, alpha, in_grad[0].data, a_row,
                     a_col, false);
    if (in_grad[1].data)
        product_back(g.k, g.n, g.m, a, a_col, a_row, dy, g.n, 1, alpha, in_grad[1].data, b_row,
                     b_col, false);
    if (bl_op_has(call, 2) && in_grad[2].data) {
        BL_TRY(bl_bcast_sum(call, &call->out[0], dy, call->in[2], in_grad[2].data));
        for (int64_t i = 0; i < bl_tensor_count(call->in[2]); i++)
            ((float *)in_grad[2].data)[i] *= beta;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ MatMul */

/* Both operands as stacks of matrices: rank >= 2, a vector becoming one row or one column. */
static void matmul_operands(bl_tensor *a, bl_tensor *b)
{
    if (a->rank == 1) {
        a->rank = 2;
        a->dim[1] = a->dim[0];
        a->dim[0] = 1;
    }
    if (b->rank == 1) {
        b->rank = 2;
        b->dim[1] = 1;
    }
}

bl_status bl_stack_read(const bl_call *call, const bl_tensor *first, const bl_tensor *second,
                        bl_stack *s, int *rank, int64_t *dim)
{
    bl_tensor a = *first, b = *second;

    if (a.rank < 1 || b.rank < 1)
        return bl_op_fail(call, BL_DATA, "repair the model", "an operand is one number");
    matmul_operands(&a, &b);
    *s = (bl_stack){.batches = 1, .m = a.dim[a.rank - 2], .n = b.dim[b.rank - 1],
                    .k = a.dim[a.rank - 1]};
    if (s->k != b.dim[b.rank - 2])
        return bl_op_fail(call, BL_DATA, "repair the model", "inner sizes %lld and %lld differ",
                          (long long)s->k, (long long)b.dim[b.rank - 2]);
    a.rank -= 2; /* the dimensions before the last two */
    b.rank -= 2;
    BL_TRY(bl_bcast_dims(call, 2, (const bl_tensor *[]){&a, &b}, rank, dim));
    bl_bcast_make(&s->space, *rank, dim, 2, (const bl_tensor *[]){&a, &b});
    for (int d = 0; d < s->space.rank; d++)
        if (!bl_mul_i64(s->batches, s->space.dim[d], &s->batches))
            return bl_op_fail(call, BL_DATA, "repair the model", "too many matrices");
    if (first->rank > 1) dim[(*rank)++] = s->m;
    if (second->rank > 1) dim[(*rank)++] = s->n;
    return BL_OK;
}

void bl_stack_at(const bl_stack *s, int64_t i, int64_t *at_a, int64_t *at_b)
{
    *at_a = *at_b = 0;
    for (int d = s->space.rank - 1; d >= 0; d--) {
        *at_a += i % s->space.dim[d] * s->space.stride[0][d] * s->m * s->k;
        *at_b += i % s->space.dim[d] * s->space.stride[1][d] * s->k * s->n;
        i /= s->space.dim[d];
    }
}

static bl_status matmul_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];
    bl_stack s;
    int rank;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_one_type(call, BL_T_F32));
    BL_TRY(bl_stack_read(call, call->in[0], call->in[1], &s, &rank, dim));
    if (bl_op_has(call, 2)) {
        const bl_tensor *c = call->in[2];
        if (call->in[1]->rank != 2 || c->rank != 1 || c->dim[0] != s.n)
            return bl_op_fail(call, BL_DATA, "repair the model", "a bias of shape %s is not one for each of %lld outputs",
                              bl_shape_text(call->scratch, c), (long long)s.n);
    }
    return bl_op_out(call, 0, BL_F32, rank, dim);
}

static int64_t matmul_macs(const bl_call *call)
{
    return bl_tensor_count(&call->out[0]) * call->in[0]->dim[call->in[0]->rank - 1];
}

static bl_status matmul_forward(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK], at_a, at_b;
    float *y = call->out[0].data;
    bl_stack s;
    int rank;
    gemm g;

    BL_TRY(bl_stack_read(call, call->in[0], call->in[1], &s, &rank, dim));
    g = (gemm){.m = s.m, .n = s.n, .k = s.k};
    memset(y, 0, bl_tensor_bytes(&call->out[0]));
    for (int64_t i = 0; i < s.batches; i++) {
        bl_stack_at(&s, i, &at_a, &at_b);
        BL_TRY(multiply(call, g, (const float *)call->in[0]->data + at_a, g.k, 1,
                        (const float *)call->in[1]->data + at_b, g.n, 1, y + i * g.m * g.n));
    }
    if (!bl_op_has(call, 2)) return BL_OK;
    for (int64_t i = 0; i < s.batches * g.m; i++)
        for (int64_t j = 0; j < g.n; j++) y[i * g.n + j] += ((const float *)call->in[2]->data)[j];
    return BL_OK;
}

/* Matrix by matrix over the broadcast batch; an operand read by several of them gathers its sum. */
static bl_status matmul_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                                 bl_tensor *in_grad)
{
    const float *a = call->in[0]->data, *b = call->in[1]->data;
    int64_t dim[BL_MAX_RANK], at_a, at_b;
    bl_stack s;
    int rank;

    BL_TRY(bl_stack_read(call, call->in[0], call->in[1], &s, &rank, dim));
    for (int i = 0; i < 2; i++)
        if (in_grad[i].data) memset(in_grad[i].data, 0, bl_tensor_bytes(&in_grad[i]));
    for (int64_t i = 0; i < s.batches; i++) {
        const float *dy = (const float *)out_grad[0]->data + i * s.m * s.n;
        bl_stack_at(&s, i, &at_a, &at_b);
        if (in_grad[0].data)
            product_back(s.m, s.k, s.n, dy, s.n, 1, b + at_b, 1, s.n, 1.0f,
                         (float *)in_grad[0].data + at_a, s.k, 1, true);
        if (in_grad[1].data)
            product_back(s.k, s.n, s.m, a + at_a, 1, s.k, dy, s.n, 1, 1.0f,
                         (float *)in_grad[1].data + at_b, s.n, 1, true);
    }
    if (bl_op_has(call, 2) && in_grad[2].data)
        BL_TRY(bl_bcast_sum(call, &call->out[0], out_grad[0]->data, call->in[2], in_grad[2].data));
    return BL_OK;
}

const bl_op bl_op_gemm = {
    .name = "Gemm",
    .flags = BL_OP_LAYER,
    .min_opset = 1,
    .in_min = 2,
    .in_max = 3,
    .out_max = 1,
    .shape = gemm_shape,
    .forward = gemm_forward,
    .gradient = gemm_gradient,
    .integer = bl_gemm_integer,
    .macs = gemm_macs,
};

const bl_op bl_op_mat_mul = {
    .name = "MatMul",
    .flags = BL_OP_LAYER | BL_OP_OWN_BIAS,
    .min_opset = 1,
    .in_min = 2,
    .in_max = 3,
    .out_max = 1,
    .shape = matmul_shape,
    .forward = matmul_forward,
    .gradient = matmul_gradient,
    .integer = bl_matmul_integer,
    .macs = matmul_macs,
};
