/* SPDX-License-Identifier: BSD-3-Clause */
/* The hot loops of HGQ training for avx512. */
#define HGQ_TABLE bl_hgq_loops_of_avx512
#include "train/hgq_loops.inc"
