/* SPDX-License-Identifier: BSD-3-Clause */
/* One product of matrices for whoever trains: oneDNN's where it is there, plain loops else. */
#include "graph/onednn.h"

void bl_product_f32(bool turn_a, bool turn_b, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                    float *c)
{
    int64_t lda = turn_a ? m : k, ldb = turn_b ? k : n;
#ifdef BL_HAVE_ONEDNN
    int before = bl_dnn_enter();
    bool done = dnnl_sgemm(turn_a ? 'T' : 'N', turn_b ? 'T' : 'N', m, n, k, 1.0f, a, lda, b, ldb, 0.0f, c, n) == dnnl_success;
    bl_dnn_leave(before);
    if (done) return;
#endif
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) {
            float sum = 0;
            for (int64_t p = 0; p < k; p++)
                sum += a[turn_a ? p * lda + i : i * lda + p] * b[turn_b ? j * ldb + p : p * ldb + j];
            c[i * n + j] = sum;
        }
}
