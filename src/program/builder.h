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
    int *tensor_of_value;       /* -1: none */
    bl_ivalue *ivalues;         /* by value number */
} bl_pbuilder;

/* Offsets of all tensors in one working memory: liveness, then first fit, largest first. */
bl_status bl_plan_memory(bl_pbuilder *b);

#endif
