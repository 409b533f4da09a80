/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depthwise 3x3 and 5x5 convolution by windows that slide, the 256-bit vpdpbusd on rows interleaved bytewise.
 */
#include "kernels/rows.h"

#if defined(__x86_64__)
#define ROW conv_depthwise_slide_avxvnni
#define ROW_ISA BL_ISA_AVXVNNI
#define DWS_ROWS 4
#include "kernels/x86/conv_depthwise_slide.inc"
#endif
