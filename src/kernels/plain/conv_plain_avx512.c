/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution rows that the compiler makes for AVX-512 with VNNI from the loops beside this file.
 */
#define PLAIN_SUFFIX avx512
#define PLAIN_ISA BL_ISA_AVX512
#include "kernels/plain/plain.h"

#if defined(__x86_64__)
/* Dot products: vpdpbusd, u8 x s8. */
#define DOT_X uint8_t
#define DOT_W int8_t
#define DOT_PRODUCT int16_t
#define DOT_STEP 64
#define DOT_P 4
#define DOT_C 4
#include "kernels/plain/conv_dot.inc"

#define OUTER_BYTES 64
#define OUTER_K 48
#include "kernels/plain/conv_outer.inc"

#define DW_LANES 32
#include "kernels/plain/conv_depthwise.inc"

#endif
