/* SPDX-License-Identifier: BSD-3-Clause */
/* The hot loops of HGQ training for avx2. */
#define HGQ_TABLE bl_hgq_loops_of_avx2
#include "train/hgq_loops.inc"
