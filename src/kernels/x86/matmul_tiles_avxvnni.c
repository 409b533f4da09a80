/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Product of two activations with the 256-bit vpdpbusd.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW matmul_tiles_avxvnni
#define ROW_ISA BL_ISA_AVXVNNI
#define WIDENED 0
#define DOT(sum, x, w) __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(w))
#include "kernels/x86/matmul_tiles.inc"
#endif
