/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Visits every element of a strided pair of tensors in row-major order, for the reference rows.
 */
#ifndef BL_KERNELS_STRIDED_REF_H
#define BL_KERNELS_STRIDED_REF_H

#include "kernels/rows.h"

typedef struct walk_ref {
    int rank;
    const int64_t *size, *in_stride, *out_stride;
    int64_t index[8], at_in, at_out;
} walk_ref;

/* false: there is no element at all. */
static inline bool walk_ref_start(walk_ref *w, int rank, const int64_t *size,
                                  const int64_t *in_stride, const int64_t *out_stride)
{
    memset(w, 0, sizeof *w);
    w->rank = rank;
    w->size = size;
    w->in_stride = in_stride;
    w->out_stride = out_stride;
    for (int d = 0; d < rank; d++)
        if (size[d] <= 0) return false;
    return true;
}

static inline bool walk_ref_next(walk_ref *w)
{
    int d = w->rank - 1;
    for (; d >= 0; d--) {
        if (++w->index[d] < w->size[d]) break;
        w->index[d] = 0;
    }
    w->at_in = w->at_out = 0;
    for (int i = 0; i < w->rank; i++) {
        w->at_in += w->index[i] * w->in_stride[i];
        w->at_out += w->index[i] * w->out_stride[i];
    }
    return d >= 0;
}

#endif
