/* SPDX-License-Identifier: BSD-3-Clause */
/* What walk.c and walk_plan.c share. */
#ifndef BL_WALK_PRIVATE_H
#define BL_WALK_PRIVATE_H

#include "graph/onednn_backward.h"

struct bl_walk {
    bl_walk *self; /* to convert on demand behind a const pointer */
    bl_ctx *ctx;
    const bl_graph *graph;
    bl_arena *arena, *scratch;
    bl_dnn *dnn;            /* NULL: reference only */
    bl_layout *layout;      /* by value: order of its packed buffer */
    bl_place *base, *trial; /* by value; trial only with keep_all */
    const uint8_t *looks;   /* by value: a trial that stays; NULL: each has its own buffer, made on first use */
    uint8_t *in_trial;      /* by value: the last rerun made it */
    uint8_t *dnn_takes,
        *packs;                /* by node: runs on oneDNN; pointwise on packed values is possible */
    uint32_t *versions;        /* by value: replacements of a constant */
    const uint8_t *uses;       /* by value: bl_hook_use; NULL: every hook may write */
    const bl_tensor **call_in; /* arguments of the call under way */
    bl_tensor *call_view, *call_out;
    bool ran; /* the base set holds a full run */
    bool training;
};

/* Buffers of the trial set, laid out for reuse before the first rerun; `looks` is there. */
bl_status bl_walk_place_trial(bl_walk *walk);

/* Bytes of a value's plain or packed buffer. */
size_t bl_walk_buffer_bytes(const bl_walk *walk, int value, bool packed);

/* Sees to it that the place holds the value in that order. */
bl_status bl_walk_need(bl_walk *walk, int value, bl_place *place, bool packed);

/* wide.c: in place, n elements.  Clamped to lo..hi; gradient g kept where y lies within them; added. */
void bl_wide_clamp(float *x, int64_t n, float lo, float hi);
void bl_wide_mask(float *restrict g, const float *restrict y, int64_t n, float lo, float hi);
void bl_wide_add(float *restrict to, const float *restrict more, int64_t n);

#endif
