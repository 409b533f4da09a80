/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any 8-bit convolution with vpmaddwd: activations widened to 16 bits once for all channels, weights
 * stored so; |q w| <= 255 * 128, so that pairs are exact.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW conv_exact_avx2
#define ROW_ISA BL_ISA_AVX2
#define ROW_FITS(s) (s)->in_bits > 0
#define WIDENED 1
#define DOT(sum, x, w) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
#include "kernels/x86/conv_tiles.inc"
#endif
