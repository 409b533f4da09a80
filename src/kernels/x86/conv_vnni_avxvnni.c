/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution with the 256-bit vpdpbusd of CPUs that have AVX-VNNI and not AVX-512.  Depthwise layers, of which a step
 * would fill one product in four, are left to the rows below.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW conv_vnni_avxvnni
#define ROW_ISA BL_ISA_AVXVNNI
#define ROW_FITS(s) (s)->groups != (s)->in_c || (s)->out_c != (s)->in_c
#define WIDENED 0
#define DOT(sum, four, weights)                                                                    \
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(four), "x"(weights))
#include "kernels/x86/conv_tiles.inc"
#endif
