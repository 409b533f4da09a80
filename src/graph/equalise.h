/* SPDX-License-Identifier: BSD-3-Clause */
/* What the two ways of equalising share: channel classes and the layers that write and read them. */
#ifndef BL_EQUALISE_H
#define BL_EQUALISE_H

#include "graph/graph_private.h"

/* A layer's weight by (output channel, input channel of its group, tap). */
typedef struct bl_eq_layer {
    float *w, *b;               /* b NULL: none */
    int64_t out, in, taps, groups;
    int64_t step_out, step_in;  /* elements from one channel to the next */
    bool writes, reads;         /* its output and input channels may be scaled */
    bool pads;
} bl_eq_layer;

typedef struct bl_eq {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_graph *g;
    int *parent;                /* classes: union-find over values */
    uint8_t *blocked;           /* by value; what counts is the class's */
    bl_eq_layer *layers;        /* by node; out 0: not one */
    double *made, *read;        /* of the class at hand, by channel: r1 and r2 */
    double *least;              /* and the least factor that keeps it below an upper bound; INFINITY: must not move */
    bl_equalised *told;
} bl_eq;

int bl_eq_root(bl_eq *p, int value);
int64_t bl_eq_channels(const bl_eq *p, int value); /* 0: none that could be scaled */
bool bl_eq_writes(bl_eq *p, int node, int class);
bool bl_eq_reads(bl_eq *p, int node, int class);
/* A class worth a look: open, with layers that write and layers that read. */
bool bl_eq_live(bl_eq *p, int class);
/* Input channel of (output o, channel i of its group). */
int64_t bl_eq_input(const bl_eq_layer *l, int64_t o, int64_t i);
/* What writes the class is divided by s, what reads it multiplied, statistics follow. */
void bl_eq_scale(bl_eq *p, int class, const double *s);

/* equalise_noise.c: factors for one scale a weight; bounds by channel. */
bl_status bl_eq_noise(bl_eq *p);

#endif
