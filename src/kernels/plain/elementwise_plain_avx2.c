/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Elementwise, pool and edge rows that the compiler makes for AVX2 from the loops beside this
 * file.
 */
#define PLAIN_SUFFIX avx2
#define PLAIN_ISA BL_ISA_AVX2
#include "kernels/plain/plain.h"

#if defined(__x86_64__)
#include "kernels/plain/edge.inc"
#include "kernels/plain/layernorm.inc"
#include "kernels/plain/pair.inc"
#include "kernels/plain/pool.inc"
#include "kernels/plain/softmax.inc"
#endif
