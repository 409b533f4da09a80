/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to program: a program while it grows. */
#ifndef BL_PROGRAM_BUILDER_H
#define BL_PROGRAM_BUILDER_H

#include "program/program.h"

typedef struct bl_blob { uint64_t offset, bytes, checksum; } bl_blob;

typedef struct bl_pbuilder {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *g;
    const bl_plan *plan;
    const bl_weights *weights;
    bl_program *p;
    bl_step *steps;
    bl_ptensor *tensors;
    int *alias;                 /* tensor whose memory a tensor shares, -1: its own */
    char *strings;
    uint8_t *constants;
    bl_blob *blobs;
    size_t steps_cap, tensors_cap, alias_cap, strings_cap, constants_cap, n_blobs, blobs_cap;
    bl_pisland *islands;
    bl_pport *ports;
    bl_pattr *attrs;
    size_t islands_cap, ports_cap, attrs_cap;
    uint8_t *spatial;           /* by value number: rank 4 and 5 lie channels-last */
    int *tensor_of_value;       /* -1: none */
    bl_ivalue *ivalues;         /* by value number */
} bl_pbuilder;

/* What lower.c gives to island_lower.c. */
bl_status bl_build_grow(bl_pbuilder *b, void **data, size_t *cap, size_t need, size_t size);
bl_status bl_build_string(bl_pbuilder *b, const char *text, uint32_t *offset);
/* Codes of a layer's weight; *w and what it points to live in scratch. */
bl_status bl_build_weight(bl_pbuilder *b, bl_arena *scratch, int layer, bl_iweight *w);

/* The node as an island: no form is too odd for it but those that bl_island_refuses names. */
bl_status bl_lower_island(bl_pbuilder *b, bl_lowering *low, int node);
/* Why a node can be no island: NULL, or words that end "... has no integer form: ". */
const char *bl_island_refuses(const bl_graph *g, const bl_node *n);

/* Which values lie channels-last: those that window operators touch, and what hangs on them element by
 * element. */
bl_status bl_plan_layout(bl_pbuilder *b);

/* Offsets of all tensors in one working memory: liveness, then first fit, largest first. */
bl_status bl_plan_memory(bl_pbuilder *b);

#endif
