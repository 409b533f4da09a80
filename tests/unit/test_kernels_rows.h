/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For tests of kernels: runs every row of a contract that this CPU has and that fits, and compares
 * each with the wanted codes.
 */
#ifndef BL_TEST_KERNELS_ROWS_H
#define BL_TEST_KERNELS_ROWS_H

#include <math.h>

#include "kernels/kernels.h"
#include "support.h"

static inline float float_of_bits(uint32_t bits)
{
    float f;
    memcpy(&f, &bits, sizeof f);
    return f;
}

static inline uint32_t bits_of_float(float f)
{
    uint32_t bits;
    memcpy(&bits, &f, sizeof bits);
    return bits;
}

/* The row may run here, fits the arguments, and belongs to the contract. */
static inline bool row_usable(size_t i, bl_contract contract, const void *args)
{
    const bl_kernel_info *k = &bl_kernels[i];
    return k->contract == contract && bl_kernel_choose(contract, args, k->isa, k->name) == k;
}

static inline void compare_codes(const char *row, const void *got, const void *wanted, size_t n,
                                 size_t code_bytes)
{
    for (size_t i = 0; i < n; i++) {
        uint32_t a = 0, b = 0;
        memcpy(&a, (const uint8_t *)got + i * code_bytes, code_bytes);
        memcpy(&b, (const uint8_t *)wanted + i * code_bytes, code_bytes);
        if (a != b) fail_msg("%s: element %zu is %u, not %u", row, i, a, b);
    }
}

static inline void *test_take(size_t bytes)
{
    void *p = aligned_alloc(64, (bytes + 127) / 64 * 64);
    assert_non_null(p);
    memset(p, 0xa5, bytes);
    return p;
}

/* a: everything but packed, work, out and rows; codes: [out_c][kernel_h][kernel_w][in_c/groups]. */
static inline void conv_every_row(bl_conv_args a, const int8_t *codes, const void *wanted)
{
    size_t rows = 0, size = a.s.out_bits > 8 ? 2 : 1;
    size_t n = (size_t)a.s.out_h * (size_t)a.s.out_w * (size_t)a.s.out_c;
    for (size_t i = 0; i < bl_n_kernels; i++) {
        if (!row_usable(i, BL_C_CONV, &a.s)) continue;
        const bl_conv_row *row = bl_kernels[i].row;
        void *out = test_take(n * size), *work = test_take(row->work_bytes(&a.s));
        void *packed = test_take(row->packed_bytes(&a.s));
        row->pack(&a.s, codes, a.zero_in, a.bias, packed);
        a.packed = packed;
        a.work = work;
        a.out = out;
        for (int32_t y = 0; y < a.s.out_h; y++) { /* row by row, as threads might */
            a.row_begin = y;
            a.row_end = y + 1;
            row->run(&a);
        }
        compare_codes(row->name, out, wanted, n, size);
        free(out);
        free(work);
        free(packed);
        rows++;
    }
    assert_true(rows >= 2); /* the reference and at least one more */
}

/* One test body for the contracts whose arguments alone say what to do. */
#define EVERY_ROW(contract, row_type, args, n, code_bytes, wanted)                                 \
    do {                                                                                           \
        size_t rows_ = 0;                                                                          \
        for (size_t i_ = 0; i_ < bl_n_kernels; i_++) {                                             \
            if (!row_usable(i_, contract, &(args))) continue;                                      \
            const row_type *row_ = bl_kernels[i_].row;                                             \
            (args).out = test_take((n) * (code_bytes));                                            \
            row_->run(&(args));                                                                    \
            compare_codes(row_->name, (args).out, wanted, n, code_bytes);                          \
            free((args).out);                                                                      \
            rows_++;                                                                               \
        }                                                                                          \
        assert_true(rows_ >= 1);                                                                   \
    } while (0)

#endif
