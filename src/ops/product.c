/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The reference's product of matrices.  Every element is one sum in the order of k, so blocking for
 * registers changes no bit.
 */
#include "ops/ops_private.h"

#define ROWS 4
#define COLS 8

/* 4 x 8 elements of c stay in registers while k runs. */
static void product_tile(int64_t k, const float *a, int64_t a_row, int64_t a_col, const float *b,
                         int64_t b_row, float *c, int64_t c_row)
{
    typedef float v4 __attribute__((vector_size(16)));
    v4 sum[ROWS][2];

    for (int i = 0; i < ROWS; i++) memcpy(sum[i], c + i * c_row, sizeof sum[i]);
    for (int64_t p = 0; p < k; p++) {
        v4 lo, hi;
        memcpy(&lo, b + p * b_row, sizeof lo);
        memcpy(&hi, b + p * b_row + 4, sizeof hi);
        for (int i = 0; i < ROWS; i++) {
            float x = a[i * a_row + p * a_col];
            v4 w = {x, x, x, x};
            sum[i][0] += w * lo;
            sum[i][1] += w * hi;
        }
    }
    for (int i = 0; i < ROWS; i++) memcpy(c + i * c_row, sum[i], sizeof sum[i]);
}

static void product_edge(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row,
                         int64_t a_col, const float *restrict b, int64_t b_row, float *restrict c,
                         int64_t c_row)
{
    for (int64_t i = 0; i < m; i++)
        for (int64_t p = 0; p < k; p++) {
            float w = a[i * a_row + p * a_col];
            for (int64_t j = 0; j < n; j++) c[i * c_row + j] += w * b[p * b_row + j];
        }
}

void bl_product(int64_t m, int64_t n, int64_t k, const float *a, int64_t a_row, int64_t a_col,
                const float *b, int64_t b_row, float *c, int64_t c_row)
{
    int64_t whole_m = m - m % ROWS, whole_n = n - n % COLS;

    for (int64_t j = 0; j < whole_n; j += COLS)
        for (int64_t i = 0; i < whole_m; i += ROWS)
            product_tile(k, a + i * a_row, a_row, a_col, b + j, b_row, c + i * c_row + j, c_row);
    if (whole_n < n)
        product_edge(whole_m, n - whole_n, k, a, a_row, a_col, b + whole_n, b_row, c + whole_n,
                     c_row);
    if (whole_m < m)
        product_edge(m - whole_m, n, k, a + whole_m * a_row, a_row, a_col, b, b_row,
                     c + whole_m * c_row, c_row);
}
