/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depthwise 3x3 and 5x5 convolution by windows that slide, vpmaddwd on rows widened to words.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW conv_depthwise_slide_avx2
#define ROW_ISA BL_ISA_AVX2
#define DWS_ROWS 2
#include "kernels/x86/conv_depthwise_slide.inc"
#endif
