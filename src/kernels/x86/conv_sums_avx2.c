/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Convolution with vpmaddubsw where its 16-bit sum of two products cannot saturate: 2 x w <= 32,767
 * for every x < 2^in_bits and |w| <= 2^(weight_bits-1), such as weights of 7 bits (2 * 255 * 64 =
 * 32,640) or activations of 7.  Such sums are added up in 16 bits as often as the weights prove to fit.
 */
#include "kernels/rows.h"

#include <math.h>
#include <stdlib.h>

#if defined(__x86_64__)
#define ROW conv_sums_avx2
#define ROW_ISA BL_ISA_AVX2
#define WIDENED 0
#define SUMS
#define ROW_FITS(s) (2 << ((s)->weight_bits - 1)) * ((1 << (s)->in_bits) - 1) <= 32767
#include "kernels/x86/conv_tiles.inc"
#endif
