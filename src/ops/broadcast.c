/* SPDX-License-Identifier: BSD-3-Clause */
/* Numpy's multidirectional broadcasting, as ONNX's document Broadcasting.md defines it. */
#include "ops/ops_private.h"

bl_status bl_bcast_dims(const bl_call *call, int n, const bl_tensor *const *t, int *rank,
                        int64_t *dim)
{
    int most = 0;

    for (int i = 0; i < n; i++) most = BL_MAX(most, t[i]->rank);
    for (int d = 0; d < most; d++) {
        dim[d] = 1;
        for (int i = 0; i < n; i++) {
            int at = d - (most - t[i]->rank);
            int64_t size = at >= 0 ? t[i]->dim[at] : 1;
            if (size == 1 || size == dim[d]) continue;
            if (dim[d] != 1)
                return bl_op_fail(
                    call, BL_DATA, "repair the model", "shapes %s and %s do not broadcast",
                    bl_shape_text(call->scratch, t[0]), bl_shape_text(call->scratch, t[i]));
            dim[d] = size;
        }
    }
    *rank = most;
    return BL_OK;
}

void bl_bcast_make(bl_bcast *b, int rank, const int64_t *dim, int n, const bl_tensor *const *t)
{
    int64_t stride[BL_BCAST_MAX][BL_MAX_RANK];
    int top = 0;

    for (int i = 0; i < n; i++) {
        int64_t run = 1;
        for (int d = rank - 1; d >= 0; d--) {
            int at = d - (rank - t[i]->rank);
            int64_t size = at >= 0 ? t[i]->dim[at] : 1;
            stride[i][d] = size == 1 ? 0 : run;
            run *= size;
        }
    }
    b->n = n;
    b->rank = 1;
    b->dim[0] = 1;
    for (int i = 0; i < n; i++) b->stride[i][0] = 0;
    /* Outermost first; dimension d joins the one before when every input continues in it. */
    for (int d = 0; d < rank; d++) {
        bool joins = true;
        if (dim[d] == 1) continue;
        for (int i = 0; i < n; i++) joins = joins && b->stride[i][top] == stride[i][d] * dim[d];
        if (b->dim[top] != 1 && !joins) {
            top++;
            b->dim[top] = 1;
        }
        b->dim[top] *= dim[d];
        for (int i = 0; i < n; i++) b->stride[i][top] = stride[i][d];
    }
    b->rank = top + 1;
}

void bl_bcast_run(const bl_bcast *b, size_t out_size, const size_t *in_size, void *out,
                  const void *const *in, bl_bcast_inner *inner, const void *arg)
{
    int64_t index[BL_MAX_RANK] = {0};
    int last = b->rank - 1;
    const char *at[BL_BCAST_MAX];
    int64_t step[BL_BCAST_MAX];
    char *to = out;

    for (int i = 0; i < b->n; i++) {
        at[i] = in[i];
        step[i] = b->stride[i][last];
    }
    for (;;) {
        const void *row[BL_BCAST_MAX] = {0};
        int d = last - 1;
        for (int i = 0; i < b->n; i++) row[i] = at[i];
        inner(arg, b->dim[last], to, row, step);
        to += (size_t)b->dim[last] * out_size;
        for (; d >= 0; d--) {
            for (int i = 0; i < b->n; i++) at[i] += b->stride[i][d] * (int64_t)in_size[i];
            if (++index[d] < b->dim[d]) break;
            for (int i = 0; i < b->n; i++)
                at[i] -= b->stride[i][d] * b->dim[d] * (int64_t)in_size[i];
            index[d] = 0;
        }
        if (d < 0) return;
    }
}

bl_status bl_bcast_sum(const bl_call *call, const bl_tensor *out, const float *full,
                       const bl_tensor *operand, float *to)
{
    int64_t n = bl_tensor_count(out), few = bl_tensor_count(operand);
    int64_t step[BL_MAX_RANK] = {0}, index[BL_MAX_RANK] = {0}, run = 1, at = 0;
    double *sum;

    if (n == few) { /* broadcasting adds elements unless shapes agree but for leading ones */
        memcpy(to, full, (size_t)n * sizeof *to);
        return BL_OK;
    }
    sum = bl_alloc(call->scratch, (size_t)few, sizeof *sum);
    BL_ALLOC_TRY(call->ctx, sum);
    memset(sum, 0, (size_t)few * sizeof *sum);
    for (int d = operand->rank - 1; d >= 0; d--) {
        step[out->rank - operand->rank + d] = operand->dim[d] == 1 ? 0 : run;
        run *= operand->dim[d];
    }
    for (int64_t i = 0; i < n;) {
        int last = out->rank - 1, d = last - 1;
        for (int64_t k = 0; k < out->dim[last]; k++) sum[at + k * step[last]] += full[i++];
        for (; d >= 0; d--) {
            at += step[d];
            if (++index[d] < out->dim[d]) break;
            at -= step[d] * out->dim[d];
            index[d] = 0;
        }
    }
    for (int64_t i = 0; i < few; i++) to[i] = (float)sum[i];
    return BL_OK;
}
