/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Runs of codes between their containers and arrays that vectorize.
 */
#ifndef BL_KERNELS_CODES_H
#define BL_KERNELS_CODES_H

#include "kernels/rows.h"

/* n codes, computed as int32, into their container. */
static inline void codes_store(const int32_t *restrict codes, size_t n, int32_t bits, void *out,
                               size_t at)
{
    if (bits > 8) {
        uint16_t *restrict to = (uint16_t *)out + at;
        for (size_t i = 0; i < n; i++) to[i] = (uint16_t)codes[i];
    } else {
        uint8_t *restrict to = (uint8_t *)out + at;
        for (size_t i = 0; i < n; i++) to[i] = (uint8_t)codes[i];
    }
}

/* The same to every step-th place. */
static inline void codes_scatter(const int32_t *restrict codes, size_t n, int32_t bits, void *out,
                                 int64_t at, int64_t step)
{
    if (step == 1) {
        codes_store(codes, n, bits, out, (size_t)at);
        return;
    }
    for (size_t i = 0; i < n; i++) bl_code_put(out, bits, at + (int64_t)i * step, codes[i]);
}

/* n codes, `step` places apart, as int32. */
static inline void codes_load(const void *in, int32_t bits, int64_t at, int64_t step, size_t n,
                              int32_t *restrict codes)
{
    if (step == 0) {
        int32_t q = bl_code_get(in, bits, at);
        for (size_t i = 0; i < n; i++) codes[i] = q;
    } else if (step != 1) {
        for (size_t i = 0; i < n; i++) codes[i] = bl_code_get(in, bits, at + (int64_t)i * step);
    } else if (bits > 8) {
        const uint16_t *restrict from = (const uint16_t *)in + at;
        for (size_t i = 0; i < n; i++) codes[i] = from[i];
    } else {
        const uint8_t *restrict from = (const uint8_t *)in + at;
        for (size_t i = 0; i < n; i++) codes[i] = from[i];
    }
}

#endif
