/* SPDX-License-Identifier: BSD-3-Clause */
/* Moving elements without looking at them, and reading one of any type. */
#include "ops/ops_private.h"

void bl_strides(int rank, const int64_t *dim, int64_t *stride)
{
    int64_t run = 1;
    for (int d = rank - 1; d >= 0; d--) {
        stride[d] = run;
        run *= dim[d];
    }
}

#define COPY_ROW(type)                                                                             \
    do {                                                                                           \
        type *d = dst;                                                                             \
        const type *s = src;                                                                       \
        if (ds == 1)                                                                               \
            for (int64_t i = 0; i < n; i++) d[i] = s[i * ss];                                      \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++) d[i * ds] = s[i * ss];                                 \
    } while (0)

static void copy_row(size_t size, int64_t n, void *dst, int64_t ds, const void *src, int64_t ss)
{
    if (ds == 1 && ss == 1) {
        memcpy(dst, src, (size_t)n * size);
        return;
    }
    switch (size) {
    case 1: COPY_ROW(uint8_t); break;
    case 2: COPY_ROW(uint16_t); break;
    case 4: COPY_ROW(uint32_t); break;
    default: COPY_ROW(uint64_t); break;
    }
}

void bl_copy_strided(size_t size, int rank, const int64_t *dim, void *dst,
                     const int64_t *dst_stride, const void *src, const int64_t *src_stride)
{
    int64_t n[BL_MAX_RANK + 1] = {1}, ds[BL_MAX_RANK + 1] = {0}, ss[BL_MAX_RANK + 1] = {0};
    int64_t index[BL_MAX_RANK + 1] = {0};
    int top = 0;
    char *to = dst;
    const char *from = src;

    for (int d = 0; d < rank; d++) { /* join dimensions that both sides walk through in one go */
        if (dim[d] == 1) continue;
        if (n[top] != 1 && (ds[top] != dst_stride[d] * dim[d] || ss[top] != src_stride[d] * dim[d]))
            n[++top] = 1;
        n[top] *= dim[d];
        ds[top] = dst_stride[d];
        ss[top] = src_stride[d];
    }
    for (;;) {
        int d = top - 1;
        copy_row(size, n[top], to, ds[top], from, ss[top]);
        for (; d >= 0; d--) {
            to += ds[d] * (int64_t)size;
            from += ss[d] * (int64_t)size;
            if (++index[d] < n[d]) break;
            to -= ds[d] * n[d] * (int64_t)size;
            from -= ss[d] * n[d] * (int64_t)size;
            index[d] = 0;
        }
        if (d < 0) return;
    }
}

void bl_fill(size_t size, int64_t n, void *dst, const void *value)
{
    for (int64_t i = 0; i < n; i++) memcpy((char *)dst + (size_t)i * size, value, size);
}

double bl_element_f64(const bl_tensor *t, int64_t i)
{
    switch (t->type) {
    case BL_F32: return ((const float *)t->data)[i];
    case BL_F64: return ((const double *)t->data)[i];
    case BL_U64: return (double)((const uint64_t *)t->data)[i];
    default: return (double)bl_element_i64(t, i);
    }
}

/* double to an integer type without what C leaves undefined. */
#define PUT(ctype, least, most)                                                                    \
    ((ctype *)t->data)[i] = !(x == x)              ? 0                                             \
                            : x <= (double)(least) ? (ctype)(least)                                \
                            : x >= (double)(most)  ? (ctype)(most)                                 \
                                                   : (ctype)x

void bl_element_set(const bl_tensor *t, int64_t i, double x)
{
    switch (t->type) {
    case BL_F32: ((float *)t->data)[i] = (float)x; break;
    case BL_F64: ((double *)t->data)[i] = x; break;
    case BL_BOOL: ((uint8_t *)t->data)[i] = x != 0; break;
    case BL_U8: PUT(uint8_t, 0, UINT8_MAX); break;
    case BL_I8: PUT(int8_t, INT8_MIN, INT8_MAX); break;
    case BL_U16: PUT(uint16_t, 0, UINT16_MAX); break;
    case BL_I16: PUT(int16_t, INT16_MIN, INT16_MAX); break;
    case BL_I32: PUT(int32_t, INT32_MIN, INT32_MAX); break;
    case BL_U32: PUT(uint32_t, 0, UINT32_MAX); break;
    case BL_I64: PUT(int64_t, INT64_MIN, INT64_MAX); break;
    case BL_U64: PUT(uint64_t, 0, UINT64_MAX); break;
    default: break;
    }
}

int64_t bl_element_i64(const bl_tensor *t, int64_t i)
{
    switch (t->type) {
    case BL_U8:
    case BL_U4:
    case BL_U2:
    case BL_BOOL: return ((const uint8_t *)t->data)[i];
    case BL_I8:
    case BL_I4:
    case BL_I2: return ((const int8_t *)t->data)[i];
    case BL_U16: return ((const uint16_t *)t->data)[i];
    case BL_I16: return ((const int16_t *)t->data)[i];
    case BL_I32: return ((const int32_t *)t->data)[i];
    case BL_U32: return ((const uint32_t *)t->data)[i];
    case BL_I64: return ((const int64_t *)t->data)[i];
    case BL_U64: return (int64_t)((const uint64_t *)t->data)[i];
    case BL_F32: return (int64_t)((const float *)t->data)[i];
    case BL_F64: return (int64_t)((const double *)t->data)[i];
    default: return 0;
    }
}
