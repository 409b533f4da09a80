/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Elementwise, pool and edge rows that the compiler makes for every CPU of the architecture from
 * the loops beside this file.
 */
#define PLAIN_SUFFIX base
#define PLAIN_ISA BL_ISA_REF
#include "kernels/plain/plain.h"

#include "kernels/plain/edge.inc"
#include "kernels/plain/layernorm.inc"
#include "kernels/plain/matmul.inc"
#include "kernels/plain/pair.inc"
#include "kernels/plain/pool.inc"
#include "kernels/plain/softmax.inc"
