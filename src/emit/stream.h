/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A convolutional network in hardware that is used again and again: a layer is one adder graph for one window, which
 * moves over the picture; the picture comes in as a stream, one position (all of its channels) a cycle.  Line
 * buffers keep the rows that a window needs.  What follows the last window layer (dense layers) is unrolled and sees all
 * positions at once.  Private to src/emit.
 */
#ifndef BL_STREAM_H
#define BL_STREAM_H

#include "emit/circuit.h"
#include "emit/verilog.h"

typedef struct bl_stream_stage {
    const bl_fixed_layer *layer;
    const bl_fixed_grid *in;    /* [in_c], [out_c]: one grid a channel, the same at every position */
    const bl_fixed_grid *out;
    int64_t *pad;               /* [in_c]: code outside the picture */
    bl_fixed_net *window;       /* one window, in channels x kernel_h x kernel_w */
    bl_circuit *graph;
    int32_t rows, cols;         /* scanned, what is outside the picture included */
} bl_stream_stage;

typedef struct bl_stream {
    const bl_fixed_net *net;
    int n_stages;
    bl_stream_stage *stages;
    bl_fixed_net *rest;         /* unrolled layers behind; NULL: none */
    bl_circuit *tail;
    int64_t positions;          /* that come out of the last stage */
    int64_t cycles;             /* between samples, where nothing waits: the longest scan */
} bl_stream;

/* BL_UNAVAILABLE, named, where the network does not begin with a window layer or a channel's grid differs from
 * position to position.  net is borrowed; bl_stream_free, always. */
bl_status bl_stream_make(bl_arena *arena, const bl_fixed_net *net, const bl_circuit_options *options, bl_stream **out);
void bl_stream_free(bl_stream *s);

/* Output codes for input codes through the circuits, window by window; work: bl_stream_work(s) numbers. */
size_t bl_stream_work(const bl_stream *s);
void bl_stream_run(const bl_stream *s, const int64_t *in, int64_t *out, int64_t *work);

/* Grids of the y bus. */
const bl_fixed_grid *bl_stream_outputs(const bl_stream *s, int64_t *n);

/* Estimate for all circuits. */
int64_t bl_stream_luts(const bl_stream *s);
/* net.v, tb.v, vectors, ports.csv, hardware.json, scripts, README.txt. */
bl_status bl_stream_write(bl_ctx *ctx, const bl_stream *s, const bl_vectors *v, const char *dir);

#endif
