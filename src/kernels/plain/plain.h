/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Names of rows that one loop file gives for several instruction sets.  A thin file for each set
 * defines PLAIN_SUFFIX (avx2), PLAIN_ISA (BL_ISA_AVX2) and what the loops ask for, includes this
 * and the loop files, and is compiled with that set's flags (its name ends in _avx2.c):
 * PLAIN(conv_dot) is then bl_k_conv_dot_avx2.
 */
#ifndef BL_KERNELS_PLAIN_H
#define BL_KERNELS_PLAIN_H

#include "kernels/rows.h"

#define PLAIN_JOIN_(name, suffix) bl_k_##name##_##suffix
#define PLAIN_JOIN(name, suffix) PLAIN_JOIN_(name, suffix)
#define PLAIN_TEXT_(name, suffix) #name "_" #suffix
#define PLAIN_TEXT(name, suffix) PLAIN_TEXT_(name, suffix)
#define PLAIN(name) PLAIN_JOIN(name, PLAIN_SUFFIX)
#define PLAIN_NAME(name) PLAIN_TEXT(name, PLAIN_SUFFIX)

#endif
