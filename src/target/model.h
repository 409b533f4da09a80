/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to target: hardware models.  A layer as an accelerator sees it, and what a closed form says of it. */
#ifndef BL_TARGET_MODEL_H
#define BL_TARGET_MODEL_H

#include "target/target.h"

/* Fills w 1..8 x a 1..8 (and a 16) of every layer's shape with `price`. */
typedef bl_work bl_model_fn(const void *accelerator, const bl_mac_shape *shape, int w_bits, int a_bits);
bl_status bl_model_fill(bl_ctx *ctx, const bl_graph *graph, bl_model_fn *price, const void *accelerator, double clock_mhz,
                        bl_cost *cost);

/* Of a record that a model made: the price of a layer at its widths, 0 of anything else. */
double bl_model_node(const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, bl_metric metric, int node,
                     const char *key, bl_candidate in, int other_bits);

#endif
