/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to program: an island ready to run.  A node of the model whose operator has no integer form
 * runs in binary32: its inputs are dequantized [Q2] into the model's own order, the operator's float
 * form runs, the fused activation clamps, its outputs are quantized [Q1].  Rule [Q11].
 */
#ifndef BL_PROGRAM_ISLAND_H
#define BL_PROGRAM_ISLAND_H

#include "program/program.h"

typedef struct bl_island {
    bl_node node;
    bl_call call;
    const bl_pport *port;       /* n_in inputs, then n_out outputs */
    bl_tensor *t;               /* by port */
    uint64_t buffer_bytes;      /* floats of all ports that are codes */
    uint64_t *buffer_at;        /* by port */
    bl_edge_args *edge;         /* by port: how codes become floats or come from them */
    const bl_kernel_info **kernel;
    uint64_t decoded_bytes;     /* weights that were turned into floats at load */
} bl_island;

/* Node, attributes and constants of island i from a program whose numbers were checked; tensors have
 * type and shape, constants their data.  Weights are decoded when asked.  All lives in the arena. */
bl_status bl_island_open(bl_ctx *ctx, bl_arena *arena, const bl_program *p, uint32_t i, bool decode, bl_island *out);
/* Kernels and addresses: codes(user, tensor) gives a tensor's memory; buffer has buffer_bytes. */
bl_status bl_island_bind(bl_island *is, const bl_program *p, bl_isa cap, void *(*codes)(void *, int32_t), void *user,
                         uint8_t *buffer);
bl_status bl_island_run(bl_island *is, bl_arena *scratch);

/* Every number of islands, ports and attributes, and each operator's own check of shapes. */
bl_status bl_islands_validate(bl_ctx *ctx, const char *place, const bl_program *p);

#endif
