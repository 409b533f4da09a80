/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution with vpmaddubsw whose sums of two products, 2 x w at most, are added up in 16 bits as
 * often as that is proven to fit: 8 times for weights of 4 bits and activations of 8, 136 times where
 * both have 4.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW conv_sums_avx2
#define ROW_ISA BL_ISA_AVX2
#define WIDENED 0
#define PAIRS(x, w) _mm256_maddubs_epi16(x, w)
#define PAIRS_MOST(s)                                                                              \
    (32767u / ((2u << ((s)->weight_bits - 1)) * ((1u << (s)->in_bits) - 1)))
#define ROW_FITS(s) PAIRS_MOST(s) >= 4
#include "kernels/x86/conv_tiles.inc"
#endif
