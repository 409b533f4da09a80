/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The graph room's one door: the network (GRAPH), reading it from ONNX, the passes that prepare it,
 * and the float walk.  A graph is immutable: a pass makes a new one.
 */
#ifndef BL_GRAPH_H
#define BL_GRAPH_H

#include "ops/op.h"

/* A value: a tensor that flows, or a constant (t.data != NULL and no producer). */
typedef struct bl_value {
    const char *name;       /* the model's own, unique */
    bl_tensor t;            /* static shape, batch bound; t.data only for constants */
    int producer;           /* node number, -1: graph input or constant */
    int n_readers;          /* nodes that read it, counted once a reading input */
    bool is_input, is_output;
} bl_value;

/* Statistics of a folded BatchNormalization (distilling needs them): per channel of `value`, the
 * convolution output that it normalised, mean and standard deviation BEFORE folding, and gamma,
 * beta, so that the folded layer's output has mean beta and deviation gamma. */
typedef struct bl_bn {
    const char *name;       /* of the BatchNormalization node */
    int value;              /* the folded layer's output in this graph */
    int channels;
    const float *mean, *sigma, *gamma, *beta; /* sigma = sqrt(running_var); gamma: that times what was folded in */
} bl_bn;

/* A file beside the model that constants point into. */
typedef struct bl_external {
    struct bl_external *next;
    const char *path;
    bl_map map;
} bl_external;

struct bl_graph {
    bl_arena *arena;
    bl_map map;             /* the file, when constants point into it */
    bl_external *external;  /* its data files; NULL: none */
    bl_hash hash;           /* of the content: operators, attributes, shapes, constants, names */
    const char *source;     /* path as given */
    const char *name, *producer;
    int ir_version, opset;
    int n_values, n_nodes, n_inputs, n_outputs, n_bn;
    bl_value *values;
    bl_node *nodes;         /* in topological order */
    int *inputs, *outputs;  /* value numbers, in the model's order */
    bl_bn *bn;
    bool quantized;         /* some node works on codes, or did before it was folded: see bl_dequantize_graph */
    bool prepared;          /* folded and fused: what calibrate, sense, lower want */
    int64_t batch;          /* what the free batch dimension was bound to */
};

/* bl_dim_binding, bl_import_options, bl_import, bl_dequantize_graph, bl_unbatch_graph, bl_prepare, bl_graph_free: bitlathe.h. */

/* What chooses grids wants a network without any: one sentence that names --dequantize otherwise. */
bl_status bl_graph_wants_float(bl_ctx *ctx, const bl_graph *graph);

/* Made for several samples at once: what bl_unbatch_graph is for. */
bool bl_graph_is_batched(const bl_graph *graph);

/* One TensorProto (.pb); data lives in the arena. */
bl_status bl_tensor_from_pb(bl_ctx *ctx, const char *place, const void *data, size_t size,
                            bl_arena *arena, bl_tensor *out);

/* bl_prepare: constant folding, Dropout/Identity removal; chains of arithmetic that are HardSwish,
 * HardSigmoid, Swish, Gelu or LayerNormalization become that operator; a bias that is added behind
 * goes into Conv or MatMul, which becomes Gemm at rank 2 and has a third input at others;
 * BatchNormalization into Conv/ConvTranspose/Gemm (statistics kept in bn[]), and so constants by
 * channel; Relu/Clip into their producer (node->lo, hi).  Names of values and nodes that remain are kept; a folded node's
 * output name moves to the node that now produces it. */

/* bl_prepare without fusing activations: a folded layer's output is then just what its BatchNormalization
 * gave (bn[]), which is what distilling looks at. */
bl_status bl_prepare_open(bl_ctx *ctx, const bl_graph *graph, bl_graph **out);

/* bl_prepare without folding BatchNormalizations and factors by channel: what is trained.  Not `prepared`:
 * bl_prepare can follow. */
bl_status bl_prepare_norms(bl_ctx *ctx, const bl_graph *graph, bl_graph **out);

/* The same graph with operators in the form that they have while they are trained (op->training), which give
 * the batch's own figures as new values behind the old ones; numbers of the old ones stay.  Constants are
 * borrowed: `graph` must outlive *out. */
bl_status bl_graph_training(bl_ctx *ctx, const bl_graph *graph, bl_graph **out);

/* The same graph at another batch size (shapes inferred again).  Constants are borrowed: `graph` must
 * outlive *out.  BL_UNAVAILABLE when some node fixes the batch (a hard-coded Reshape). */
bl_status bl_graph_rebatch(bl_ctx *ctx, const bl_graph *graph, int64_t batch, bl_graph **out);

/* ---- split.c: channels of what a depthwise Conv reads, on several grids */
enum { BL_SPLIT_MOST = 16 };
typedef struct bl_split_site {
    int layer, function, depthwise; /* nodes: Conv, elementwise function of its output (-1: none), reader */
    int value;                  /* what is cut */
    int64_t channels;
    int n_classes;              /* below 2: left alone */
    const int *class_of;        /* [channels] */
    double loss, loss_split;    /* mean over channels of (greatest span on the grid / own span)^2, whole and cut */
} bl_split_site;
/* All values of a prepared graph that could be cut; in the arena. */
bl_status bl_split_find(bl_ctx *ctx, const bl_graph *graph, bl_arena *arena, bl_split_site **sites, int *n);
/* The same network with these values cut. */
bl_status bl_graph_split(bl_ctx *ctx, const bl_graph *graph, const bl_split_site *sites, int n, bl_graph **out);

/* What folded BatchNormalizations say about a value's channels; channels 0: nothing. */
typedef struct bl_moments {
    int64_t channels;
    const double *mean, *variance;
} bl_moments;

/* By value number, in the arena.  graph: prepared. */
bl_status bl_channel_moments(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph, const bl_moments **out);
/* The same, measured on samples of noise: for networks whose statistics are lost. */
bl_status bl_channel_moments_measured(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph, const bl_moments **out);

/* One node with its inputs as graph inputs (constants stay constants): what `measure` lowers. */
bl_status bl_graph_extract(bl_ctx *ctx, const bl_graph *graph, int node, bl_graph **out);

/* What nodes first..last make of value `in`, up to value `out`: one input, one output, BL_INTERNAL where another value
 * flows in.  Names stay; node numbers do not. */
bl_status bl_graph_between(bl_ctx *ctx, const bl_graph *graph, int first, int last, int in, int out, bl_graph **result);

/* graph.json for `inspect`: nodes, values, shapes, constants' sizes, MACs.  Caller decrefs. */
json_t *bl_graph_json(bl_ctx *ctx, const bl_graph *graph);

/* Call of node n's facets with shapes only (in[i].data for constants).  For macs and shape. */
bl_status bl_graph_macs(bl_ctx *ctx, const bl_graph *graph, int node, int64_t *macs);
int bl_graph_find_value(const bl_graph *graph, const char *name); /* -1: none */

/* ---- building (import and passes) */
/* Recomputes producers, readers, topological order, hash; checks that every value has one producer and
 * every input of a node exists.  graph must hold arena, values, nodes, inputs, outputs. */
bl_status bl_graph_finish(bl_ctx *ctx, bl_graph *graph);
/* Runs every node's shape facet in order; folds nothing. */
bl_status bl_graph_infer(bl_ctx *ctx, bl_graph *graph);

/* ------------------------------------------------------------------ walk.c: the one float walk */

/*
 * One walker: a batched executor of a prepared graph in binary32 with its own buffers; not for two
 * threads at once.  Parallel work runs one walker a worker, each on its own chunk of samples, so
 * results do not depend on the number of threads.  Heavy operators go to oneDNN (one thread inside
 * each walker, unless it was made for a single sample on several) unless reference is asked for.
 */
typedef struct bl_walk bl_walk;

typedef struct bl_walk_options {
    bool reference;         /* plain reference for every operator */
    bool keep_all;          /* every value keeps its own buffer (prefix reuse); else static reuse */
    unsigned threads;       /* of a walker that runs alone, never beside the pool: one operator spreads
                             * over so many; 0 is 1.  The bits do not depend on it */
    const uint8_t *looks;   /* by value, with keep_all: whose bl_walk_trial_value is asked for, besides outputs; NULL: of any,
                             * and no buffer of a rerun is used twice.  Borrowed */
    bool training;          /* of a network that learns: convolutions may go by Winograd's transform, whose last
                             * bits are others */
} bl_walk_options;

/* graph is borrowed and has the walker's batch (bl_graph_rebatch). */
bl_status bl_walk_new(bl_ctx *ctx, const bl_graph *graph, const bl_walk_options *options, bl_walk **out);
void bl_walk_free(bl_walk *walk);

/* Called after a node's outputs are computed (fused activation applied) and once for each graph input
 * before the walk: may read or overwrite t->data (float32). */
typedef bl_status bl_walk_hook(void *user, int value, bl_tensor *t);

/* What the hook does with a value: by value number, borrowed until replaced; NULL (at first): it may
 * write all of them.  A value that it leaves alone or only reads is spared a conversion. */
typedef enum bl_hook_use { BL_HOOK_NONE, BL_HOOK_READS, BL_HOOK_WRITES } bl_hook_use;
void bl_walk_hook_uses(bl_walk *walk, const uint8_t *uses);

/* Buffer of a graph input, to be filled before the run: float32, t->dim[0] = batch. */
bl_tensor *bl_walk_input(bl_walk *walk, int which);
bl_status bl_walk_run(bl_walk *walk, bl_walk_hook *hook, void *user);
/* Value after the last run (keep_all, or a graph output or input). */
const bl_tensor *bl_walk_value(const bl_walk *walk, int value);

/*
 * Prefix reuse (keep_all): computes again only the nodes marked in dirty[n_nodes] into a second set
 * of buffers; clean values come from the last full run, which stays intact.  For value_dirty[v]
 * (graph inputs and clean values whose quantizer is on trial) the clean value is first copied to
 * the second set and passed to the hook.  Results: bl_walk_trial_value().
 */
bl_status bl_walk_rerun(bl_walk *walk, const uint8_t *dirty_nodes, const uint8_t *dirty_values,
                        bl_walk_hook *hook, void *user);
const bl_tensor *bl_walk_trial_value(const bl_walk *walk, int value);

/* Replaces a constant for this walker (quantized weights); data is borrowed until replaced again;
 * NULL restores the graph's own. */
bl_status bl_walk_set_constant(bl_walk *walk, int value, const float *data);

/* ------------------------------------------------------------------ backward.c: reverse mode */

/*
 * The way back through the last full run of a keep_all walker: gradients of a loss that the caller
 * adds at the values it likes.  Each node's gradient facet does the work, oneDNN that of the heavy
 * ones.  One walker and one of these a worker; sums have one order, so the bits depend on nothing
 * else.
 */
typedef struct bl_back bl_back;

/* What a value is to the caller, by value number. */
enum {
    BL_BACK_WANTED = 1,     /* its gradient stays readable after the run: inputs, constants, values */
    BL_BACK_SEEDED = 2,     /* the loss depends on it directly: the hook adds that */
    BL_BACK_MASKED = 4      /* the hook itself lets nothing through where a fused activation does not */
};

/* walk is borrowed and keeps every value.  marks is copied.  BL_UNAVAILABLE with the operator's name
 * where a node between a wanted and a seeded value has no gradient. */
bl_status bl_back_new(bl_ctx *ctx, bl_walk *walk, const uint8_t *marks, bl_back **out);
void bl_back_free(bl_back *back);
/* Called for each seeded value, last one first, when the gradients of all its readers are in (zeros where
 * there are none): adds to grad->data, or changes it.  x: the value itself. */
typedef bl_status bl_back_hook(void *user, int value, const bl_tensor *x, bl_tensor *grad);
bl_status bl_back_run(bl_back *back, bl_back_hook *hook, void *user);
/* Gradient of a wanted value after the run; NULL where the loss does not depend on it. */
const bl_tensor *bl_back_grad(bl_back *back, int value);

/* c (m x n) = a b, row-major and dense; a is stored k x m where turned, b n x k.  On the calling thread. */
void bl_product_f32(bool turn_a, bool turn_b, int64_t m, int64_t n, int64_t k, const float *a, const float *b,
                    float *c);

/* Names what is behind the heavy operators: "oneDNN 2.6.3" or "reference". */
const char *bl_walk_backend(void);

#endif
