/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The emit room's one door: records in other people's forms.  An exporter writes the network with
 * its plan for a tool that is not bitlathe; one row in exporters.def each.
 */
#ifndef BL_EMIT_H
#define BL_EMIT_H

#include "graph/graph.h"
#include "program/program.h"
#include "quant/quant.h"

/* graph: prepared, the one that the plan was made for.  weights may be NULL, options too.  The file
 * is written whole or not at all. */
typedef bl_status bl_export_fn(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan,
                               const bl_weights *weights, const bl_export_options *options,
                               const char *path);

/* The same from a fixed-point network (fixed.json), which stands for graph, plan and weights. */
typedef bl_status bl_export_fixed_fn(bl_ctx *ctx, const bl_fixed_net *net, const bl_export_options *options,
                                     const char *path);

#define BL_NO_FIXED(name, fn, help) bl_export_fn fn;
#define BL_WITH_FIXED(name, fn, fixed_fn, help) bl_export_fn fn; bl_export_fixed_fn fixed_fn;
#include "emit/exporters.def"
#undef BL_NO_FIXED
#undef BL_WITH_FIXED

typedef struct bl_exporter {
    const char *name, *help;
    bl_export_fn *fn;
    bl_export_fixed_fn *fixed;  /* NULL: takes none */
} bl_exporter;
extern const bl_exporter bl_exporters[];
extern const size_t bl_n_exporters;
const bl_exporter *bl_exporter_find(const char *name); /* NULL: unknown */

/*
 * ONNX with QuantizeLinear/DequantizeLinear pairs, in the form that ONNX Runtime turns into the
 * same integers as our executor ("Export choice", [Q13]..[Q16] in docs/arithmetic.md).  The float
 * tensor behind value X keeps the name X, its codes are X_quantized on the grid X_scale,
 * X_zero_point; a graph input X is read as X_dequantized.  Quantizers without such a form
 * (codebook, HGQ's fixed point, groups) are refused, named.
 */

/* The network as it is, in float: opset 13, or what its operators need above that.  Names of values, nodes
 * and constants are kept; activations inside nodes become Relu or Clip.  Atomic. */
bl_status bl_write_onnx(bl_ctx *ctx, const bl_graph *graph, const char *path);

#include "emit/report.h"

#endif
