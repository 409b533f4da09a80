/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The program's edges by their definition: real numbers to codes [Q1] and back [Q2], strided.
 */
#include "kernels/ref/strided_ref.h"

static bool edge_ref_fits(const bl_edge_args *a)
{
    return a->rank >= 0 && a->rank <= 8;
}

static void quantize_ref_run(const bl_edge_args *a)
{
    walk_ref w;
    if (!walk_ref_start(&w, a->rank, a->size, a->in_stride, a->out_stride)) return;
    do bl_code_put(a->out, a->bits, w.at_out, bl_quantize(((const float *)a->in)[w.at_in], a->g));
    while (walk_ref_next(&w));
}

static void dequantize_ref_run(const bl_edge_args *a)
{
    walk_ref w;
    if (!walk_ref_start(&w, a->rank, a->size, a->in_stride, a->out_stride)) return;
    do ((float *)a->out)[w.at_out] = bl_dequantize(bl_code_get(a->in, a->bits, w.at_in), a->g);
    while (walk_ref_next(&w));
}

const bl_edge_row bl_k_quantize_ref = {"quantize_ref", BL_ISA_REF, edge_ref_fits, quantize_ref_run};
const bl_edge_row bl_k_dequantize_ref = {"dequantize_ref", BL_ISA_REF, edge_ref_fits,
                                         dequantize_ref_run};
