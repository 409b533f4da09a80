/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Strided tensors side by side: dimensions of one element dropped, neighbours merged where every
 * operand allows, so that the innermost loop is as long as it can be; then a counter over the
 * outer dimensions.
 */
#ifndef BL_KERNELS_STRIDED_H
#define BL_KERNELS_STRIDED_H

#include "kernels/rows.h"

enum { STRIDED_OPERANDS = 3 };

typedef struct strided {
    int operands; /* 2 or 3 */
    int rank;     /* after the start >= 1; the last dimension is the inner loop */
    int64_t size[8], stride[STRIDED_OPERANDS][8];
    int64_t index[8], at[STRIDED_OPERANDS]; /* counter, and where each operand stands */
} strided;

/* Appends a dimension, inside those already there. */
static inline void strided_push(strided *s, int64_t n, const int64_t stride[STRIDED_OPERANDS])
{
    s->size[s->rank] = n;
    for (int o = 0; o < s->operands; o++) s->stride[o][s->rank] = stride[o];
    s->rank++;
}

/* Sets the counter to the first element; false: there is none. */
static inline bool strided_start(strided *s)
{
    int kept = 0;
    for (int d = 0; d < s->rank; d++) {
        if (s->size[d] <= 0) return false;
        if (s->size[d] == 1) continue;
        bool merge = kept > 0;
        for (int o = 0; o < s->operands && merge; o++)
            merge = s->stride[o][kept - 1] == s->stride[o][d] * s->size[d];
        if (merge)
            s->size[--kept] *= s->size[d];
        else
            s->size[kept] = s->size[d];
        for (int o = 0; o < s->operands; o++) s->stride[o][kept] = s->stride[o][d];
        kept++;
    }
    s->rank = kept;
    if (kept == 0) strided_push(s, 1, (const int64_t[STRIDED_OPERANDS]){1, 1, 1});
    memset(s->index, 0, sizeof s->index);
    memset(s->at, 0, sizeof s->at);
    return true;
}

/* Makes dimension d the innermost one; the order of visits is free where outputs do not overlap. */
static inline void strided_innermost(strided *s, int d)
{
    for (; d + 1 < BL_MIN(s->rank, 8); d++) {
        int64_t n = s->size[d];
        s->size[d] = s->size[d + 1];
        s->size[d + 1] = n;
        for (int o = 0; o < s->operands; o++) {
            int64_t stride = s->stride[o][d];
            s->stride[o][d] = s->stride[o][d + 1];
            s->stride[o][d + 1] = stride;
        }
    }
}

/* Next run of the innermost dimension; false after the last. */
static inline bool strided_next(strided *s)
{
    for (int d = s->rank - 2; d >= 0; d--) {
        for (int o = 0; o < s->operands; o++) s->at[o] += s->stride[o][d];
        if (++s->index[d] < s->size[d]) return true;
        for (int o = 0; o < s->operands; o++) s->at[o] -= s->stride[o][d] * s->size[d];
        s->index[d] = 0;
    }
    return false;
}

static inline int64_t strided_inner(const strided *s)
{
    return s->size[s->rank - 1];
}

static inline int64_t strided_step(const strided *s, int operand)
{
    return s->stride[operand][s->rank - 1];
}

#endif
