/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution rows that the compiler makes for every CPU of the architecture (x86-64: SSE2) from
 * the loops beside this file.
 */
#define PLAIN_SUFFIX base
#define PLAIN_ISA BL_ISA_REF
#include "kernels/plain/plain.h"

/* Dot products: pmaddwd. */
#define DOT_X int16_t
#define DOT_W int16_t
#define DOT_PRODUCT int32_t
#define DOT_STEP 8
#define DOT_P 4
#define DOT_C 2
#include "kernels/plain/conv_dot.inc"

#define OUTER_BYTES 16
#define OUTER_K 32
#include "kernels/plain/conv_outer.inc"

#define DW_LANES 8
#include "kernels/plain/conv_depthwise.inc"
