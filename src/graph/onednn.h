/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The walk's door to oneDNN: which nodes it takes and in which order of elements it likes their
 * values. Private to src/graph.  Built without oneDNN, it takes nothing.
 */
#ifndef BL_ONEDNN_H
#define BL_ONEDNN_H

#include "graph/layout.h"

#ifdef BL_HAVE_ONEDNN
#include <dnnl.h>
#endif

/* Where a value lies in one of the walk's two sets of buffers.  The two orders hold the same
 * numbers where both are there. */
typedef struct bl_place {
    bl_tensor t;                        /* plain; data NULL until it has a buffer */
    void *packed;                       /* in the value's layout; NULL until it has a buffer */
    bool has_plain, has_packed;         /* holds the value now */
    void *memory_plain, *memory_packed; /* oneDNN's own descriptions of the buffers */
} bl_place;

typedef struct bl_dnn bl_dnn;

#ifdef BL_HAVE_ONEDNN

/* versions[value] counts replacements of a constant.  All memory that sizes decide is arena's.
 * threads: how many one operator may use; 0 is 1.  training: as in bl_walk_options. */
bl_status bl_dnn_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph, const uint32_t *versions,
                     unsigned threads, bool training, bl_dnn **out);
void bl_dnn_free(bl_dnn *dnn, bl_place *const *sets, int n_sets);
/* In node order, before any run.  *taken: oneDNN runs this node, its fused activation too.  Sets
 * the layout of its output, and of its input where that has none yet. */
bl_status bl_dnn_plan(bl_dnn *dnn, int node, bl_layout *layouts, bool *taken);
bl_status bl_dnn_planned(bl_dnn *dnn); /* after the last of them */
/* oneDNN's description of a value's order in memory. */
dnnl_memory_desc_t bl_dnn_layout_md(const bl_tensor *t, bl_layout layout);
/* A convolution that Winograd's transform suits: dilation counts from 0. */
bool bl_dnn_winograd(const bl_tensor *x, const bl_tensor *weight, const int64_t *stride, const int64_t *dilation);
/* Between enter and leave oneDNN runs on the calling thread alone but for what bl_dnn_new allowed. */
int bl_dnn_enter(void);
void bl_dnn_leave(int before);
/* Which order of its input the node reads and of its output it writes. */
bool bl_dnn_reads_packed(const bl_dnn *dnn, int node);
bool bl_dnn_writes_packed(const bl_dnn *dnn, int node);
/* in: one for each input, NULL where absent; the order it reads is there. */
bl_status bl_dnn_run(bl_dnn *dnn, int node, bl_place *const *in, bl_place *out);

#else

static inline bl_status bl_dnn_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph,
                                   const uint32_t *versions, unsigned threads, bool training, bl_dnn **out)
{
    (void)ctx, (void)arena, (void)graph, (void)versions, (void)threads, (void)training;
    *out = NULL;
    return BL_OK;
}
static inline void bl_dnn_free(bl_dnn *dnn, bl_place *const *sets, int n_sets)
{
    (void)dnn, (void)sets, (void)n_sets;
}
static inline bl_status bl_dnn_plan(bl_dnn *dnn, int node, bl_layout *layouts, bool *taken)
{
    (void)dnn, (void)node, (void)layouts;
    *taken = false;
    return BL_OK;
}
static inline bl_status bl_dnn_planned(bl_dnn *dnn)
{
    (void)dnn;
    return BL_OK;
}
static inline int bl_dnn_enter(void)
{
    return 1;
}
static inline void bl_dnn_leave(int before)
{
    (void)before;
}
static inline bool bl_dnn_reads_packed(const bl_dnn *dnn, int node)
{
    (void)dnn, (void)node;
    return false;
}
static inline bool bl_dnn_writes_packed(const bl_dnn *dnn, int node)
{
    (void)dnn, (void)node;
    return false;
}
static inline bl_status bl_dnn_run(bl_dnn *dnn, int node, bl_place *const *in, bl_place *out)
{
    (void)dnn, (void)node, (void)in, (void)out;
    return BL_OK;
}

#endif
#endif
