/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution rows that the compiler makes for AVX-512 with VNNI from the loops beside this file.
 */
#define PLAIN_SUFFIX avx512
#define PLAIN_ISA BL_ISA_AVX512
#include "kernels/plain/plain.h"

#if defined(__x86_64__)
#define DW_LANES 32
#include "kernels/plain/conv_depthwise.inc"

#endif
