/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Product of two activations with vpmaddwd: codes widened to words, |a b'| <= 255 * 128, so that pairs are exact.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW matmul_tiles_avx2
#define ROW_ISA BL_ISA_AVX2
#define WIDENED 1
#define DOT(sum, x, w) sum = _mm256_add_epi32(sum, _mm256_madd_epi16(x, w))
#include "kernels/x86/matmul_tiles.inc"
#endif
