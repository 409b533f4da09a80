/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Elementwise, pool and edge rows that the compiler makes for AVX-512 from the loops beside this
 * file.
 */
#define PLAIN_SUFFIX avx512
#define PLAIN_ISA BL_ISA_AVX512
#include "kernels/plain/plain.h"

#if defined(__x86_64__)
#include "kernels/x86/pair_avx512.h"
#define PAIR_DIRECT
#include "kernels/x86/edge_avx512.h"
#define EDGE_DIRECT

#include "kernels/plain/edge.inc"
#include "kernels/plain/pair.inc"
#include "kernels/plain/pool.inc"
#endif
