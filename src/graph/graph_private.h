/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of this room share: names, calls of operators, copies, the working copy of the
 * passes. */
#ifndef BL_GRAPH_PRIVATE_H
#define BL_GRAPH_PRIVATE_H

#include "graph/graph.h"

/* ------------------------------------------------------------------ names.c */

typedef struct bl_name_slot { const char *name; int id, next; } bl_name_slot;

/* Text to number.  Holds pointers to the names, which must outlive it. */
typedef struct bl_names {
    bl_arena *arena;
    bl_name_slot *slots;
    size_t mask, n;
} bl_names;

bl_status bl_names_init(bl_names *names, bl_arena *arena, size_t n_expected);
int bl_names_find(const bl_names *names, const char *name); /* -1: none */
/* *taken: the number that has the name already (nothing is added then), else -1. */
bl_status bl_names_add(bl_names *names, const char *name, int id, int *taken);
/* wish itself, or wish_2, wish_3, ..: one that is free, added with the number id.  The text is
 * wish's own memory or from the table's arena; NULL on failure. */
const char *bl_names_unique(bl_names *names, const char *wish, int id);

/* ------------------------------------------------------------------ build.c */

/* An empty graph that lies in its own arena. */
bl_status bl_graph_new(bl_ctx *ctx, bl_graph **out);
/* bl_graph_finish without the hash: infer computes it anyway. */
bl_status bl_graph_link(bl_ctx *ctx, bl_graph *graph);
bl_status bl_graph_rehash(bl_ctx *ctx, bl_graph *graph);
/* "node "conv3" (Conv)", in a buffer of at least 256 bytes. */
const char *bl_node_place(const bl_node *node, char *buf);

/* ------------------------------------------------------------------ infer.c */

/* A call of a node's facets on tensors[value number]; outputs are fresh, dims open. */
bl_status bl_node_call(bl_ctx *ctx, const bl_node *node, const bl_tensor *tensors,
                       bl_arena *scratch, bl_call *call);
/* Runs the shape facet and checks what it said: known types, ranks, dims without overflow. */
bl_status bl_node_shape(const bl_call *call);
/* All of the node's inputs are known, or it asks only for their shapes. */
bool bl_node_is_known(const bl_call *call);
/* Computes the outputs of a call whose shapes are set, into `arena`.  *done false, and no error,
 * where the operator cannot (no plain form, not for this type) or the effort is beyond the
 * limits. */
bl_status bl_node_evaluate(const bl_call *call, bl_arena *arena, uint64_t limit_bytes, bool *done);
/* bl_graph_infer; known, if not NULL, gets 1 for every value that does not depend on what flows. */
bl_status bl_graph_shapes(bl_ctx *ctx, bl_graph *graph, uint8_t *known);

/* ------------------------------------------------------------------ copy.c */

/* A graph of its own with the inputs and outputs of `from`, its nodes except the dead ones (dead
 * may be NULL) and those that lead to no output, and the values that these need.  Linked; the
 * shapes are copied, not inferred. */
bl_status bl_graph_copy(bl_ctx *ctx, const bl_graph *from, const uint8_t *dead, bl_graph **out);

/* ------------------------------------------------------------------ prepare.c, fold.c, recognise.c, fuse.c */

/*
 * A graph being changed.  Its arrays are its own; names, attributes and constants may be borrowed
 * from the source.  New things live in `arena`; the copy at the end leaves behind what nobody
 * reads. Between two passes values have right producers and reader counts; dead nodes count for
 * nothing.
 */
typedef struct bl_edit {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_graph g;
    uint8_t *dead;          /* by node */
    bool open;              /* activations stay nodes of their own */
    bool norms;             /* BatchNormalizations and factors by channel stay nodes of their own */
    int max_values;
    bl_names names;         /* of values */
} bl_edit;

/* The working copy of a graph. */
bl_status bl_edit_init(bl_edit *e, bl_ctx *ctx, const bl_graph *from, bl_arena *arena);
/* A new constant value named after `wish`; t->data NULL: one that a node gives.  At most three a node. */
bl_status bl_edit_constant(bl_edit *e, const char *wish, const bl_tensor *t, int *value);
/* Input i of a node reads `value` (-1: nothing) from now on. */
void bl_edit_input(bl_edit *e, int node, int i, int value);
void bl_edit_kill(bl_edit *e, int node);
/* Node `by` gives output `value` of the node `from` in place of its own output 0, within the bounds of both;
 * `from` dies. */
void bl_edit_absorb(bl_edit *e, int by, int from);
/* Producers and reader counts from the live nodes. */
void bl_edit_recount(bl_edit *e);
/* The live node that alone feeds input i of `node`, whose value nobody else sees; -1 otherwise. */
int bl_edit_feeder(const bl_edit *e, int node, int i);
bool bl_node_is(const bl_node *node, const char *op);
/* Constant of `type` behind input i of a node; NULL otherwise. */
const bl_tensor *bl_edit_input_constant(const bl_edit *e, const bl_node *node, int i,
                                        bl_dtype type);

/* Both clamps one after the other: min(max(x, lo), hi) of min(max(x, n->lo), n->hi). */
void bl_node_clamp(bl_node *n, float lo, float hi);
/* lo <= hi of a Relu or Clip whose bounds are known. */
bool bl_edit_bounds(const bl_edit *e, const bl_node *n, float *lo, float *hi);

bl_status bl_fold(bl_edit *e);      /* constants, Identity and its like */
bl_status bl_recognise(bl_edit *e); /* functions written out as chains */
bl_status bl_fuse(bl_edit *e);      /* MatMul + Add, BatchNormalization, activations */

#endif
