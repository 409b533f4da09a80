/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the passes that recognise functions written out as chains share (recognise.c): constants,
 * sums and products looked through, and the chain replaced by one operator.  A chain is taken only
 * where nobody else reads the values inside it.
 */
#ifndef BL_RECOGNISE_H
#define BL_RECOGNISE_H

#include "graph/graph_private.h"

enum { BL_MATCH_NODES = 24, BL_MATCH_FACTORS = 4 };

/* Nodes that a match has gone through so far: they die when it is taken. */
typedef struct bl_match {
    bl_edit *e;
    int node[BL_MATCH_NODES];
    int n;
} bl_match;

/* scale * value[0] * .. */
typedef struct bl_factors {
    double scale;
    int n, value[BL_MATCH_FACTORS];
} bl_factors;

/* Equal as far as float32 constants that an exporter rounded can be. */
bool bl_match_close(double a, double b);
/* Input i of a node is one float32 number, known. */
bool bl_match_number(const bl_edit *e, const bl_node *n, int i, double *out);
/* The node that makes `value`, for `readers` reading inputs and no others; -1: none, or it has a
 * fused activation or several outputs.  It joins the match. */
int bl_match_inner(bl_match *m, int value, int readers);
/* The same for one reader and one operator. */
int bl_match_only(bl_match *m, int value, const char *op);
/* value = scale * u + shift, through additions and multiplications of numbers. */
void bl_match_affine(bl_match *m, int value, int *u, double *scale, double *shift);
/* Output of `root`, or `value`, as a product; powers 2 and 3 count twice, thrice.  False: no
 * product, or too large a one. */
bool bl_match_product(bl_match *m, int root, bl_factors *out);
bool bl_match_value_product(bl_match *m, int value, bl_factors *out);
/* Both have the same shape: what was added or multiplied did not broadcast. */
bool bl_match_same_shape(const bl_edit *e, int a, int b);
/* The match is taken: `root` becomes `op` of x (of opset `since` at least), the rest of it dies. */
bl_status bl_match_take(bl_match *m, int root, const char *op, int since, int x, const bl_attr *attr,
                        int n_attr);

/* One pass each: looks at a node as the end of a chain. */
bl_status bl_recognise_hard(bl_edit *e, int node);       /* HardSigmoid, HardSwish */
bl_status bl_recognise_swish(bl_edit *e, int node);
bl_status bl_recognise_gelu(bl_edit *e, int node);
bl_status bl_recognise_layer_norm(bl_edit *e, int node);

#endif
