/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Private to program: the executor's inside.  exec_ready.c makes steps ready (kernel rows, their arguments, packed
 * weights, how a step is cut for threads), exec.c owns the memory and runs them.
 */
#ifndef BL_PROGRAM_EXEC_H
#define BL_PROGRAM_EXEC_H

#include "program/island.h"

enum { BL_TABLE_ROW = 1 << 12 }; /* codes of a table that one piece takes at least */

typedef struct bl_ready {
    const bl_kernel_info *kernel;
    int64_t rows;               /* how far the step can be split */
    int64_t parts;              /* into how many pieces it is: 1 where a piece would not pay for waking a helper */
    int dim;                    /* copies and edges: the dimension that is split */
    bool by_channel;            /* convolution: parts of its channels are split, not rows of outputs */
    bool sums;                  /* convolution: the Add behind it is done at its end, `sum` says how */
    bool summed;                /* Add: done by the convolution before it */
    bl_conv_add sum;
    union {
        bl_conv_args conv;
        bl_pair_args pair;
        bl_pool_args pool;
        bl_move_args move;
        bl_table_args table;
        bl_softmax_args softmax;
        bl_edge_args edge;
        bl_matmul_args matmul;
        bl_layernorm_args layernorm;
        bl_island *island;
    } a;
} bl_ready;

struct bl_exec {
    bl_ctx *ctx;
    bl_arena *arena;            /* working memory, edges, steps */
    bl_arena *weights;          /* packed, and scratch of the kernels */
    bl_arena *islands;          /* what they keep: decoded constants */
    const bl_program *p;
    uint8_t *memory;
    float **edge;               /* inputs, then outputs */
    bl_ready *steps;
    uint8_t *work;              /* work_bytes for each thread */
    size_t work_bytes, packed_bytes;
    uint8_t *island_buffer;     /* floats around the island that runs */
    bl_arena *island_scratch;
    uint64_t island_bytes;
    unsigned threads;
    bl_isa cap;
    const char *kernel;
    uint64_t promised_bytes, taken_bytes;
};

static inline void *bl_codes_of(const bl_exec *e, int32_t tensor)
{
    const bl_ptensor *t = &e->p->tensors[tensor];
    if (t->flags & BL_TENSOR_CONSTANT) return (void *)(uintptr_t)(e->p->constants + t->offset);
    return e->memory + t->offset;
}

static inline int64_t bl_code_bytes(int32_t bits)
{
    return bits > 8 ? 2 : 1;
}

/* Kernel and arguments of a step that is no island; what its row packs and wants for work is added up in the executor. */
bl_status bl_ready_step(bl_exec *e, uint32_t i);
/* Into how many pieces each step is cut. */
void bl_ready_parts(bl_exec *e);
/* A convolution whose output goes into the Add step i behind it and nowhere else, in the same place, does the sum too
 * where its row can. */
void bl_ready_sum(bl_exec *e, uint32_t i);
/* Canonical codes of a convolution to the layout of the row that was chosen. */
bl_status bl_ready_weights(bl_exec *e, uint32_t i, bl_arena *scratch);

#endif
