/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution rows that the compiler makes for AVX2 from the loops beside this file.
 */
#define PLAIN_SUFFIX avx2
#define PLAIN_ISA BL_ISA_AVX2
#include "kernels/plain/plain.h"

#if defined(__x86_64__)
/* Dot products: vpmaddwd. */
#define DOT_X int16_t
#define DOT_W int16_t
#define DOT_PRODUCT int32_t
#define DOT_STEP 16
#define DOT_P 4
#define DOT_C 2
#include "kernels/plain/conv_dot.inc"

#define DW_LANES 16
#include "kernels/plain/conv_depthwise.inc"

#endif
