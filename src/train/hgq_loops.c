/* SPDX-License-Identifier: BSD-3-Clause */
/* The hot loops of HGQ training on any processor. */
#define HGQ_TABLE bl_hgq_loops_plain
#include "train/hgq_loops.inc"
