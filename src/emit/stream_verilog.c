/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Verilog of a stream (stream.h) and what stands beside it.  v/stream.v.in has the moving parts: scan, hold, gather;
 * a stage joins a scan, the circuit of one window and a hold; all wires between them are made here.
 */
#include "emit/stream.h"

#include <string.h>

static const char moving_parts[] = {
#include "verilog_stream_embedded.h"
};
static const char bench[] = {
#include "verilog_tb_stream_embedded.h"
};

static int64_t bus(const bl_fixed_grid *g, int64_t n)
{
    return BL_MAX(bl_bus_width(g, n), 1);
}

static int64_t input_bus(const bl_stream *s)
{
    return bus(s->stages[0].in, s->net->in_c);
}

const bl_fixed_grid *bl_stream_outputs(const bl_stream *s, int64_t *n)
{
    const bl_fixed_layer *last = &s->net->layers[s->net->n_layers - 1];
    *n = last->n_out;
    return last->out;
}

/* Places that a hold needs so that nothing ever waits for it. */
static int hold_log2(int stages)
{
    int n = 1;
    while (1 << n < stages + 3) n++;
    return n;
}

/* ------------------------------------------------------------------ modules */

/* Field by field from one wire to another. */
static void put_field(bl_text *t, int64_t to, int64_t from, int width)
{
    if (width) bl_text_put(t, "    assign g[%lld +: %d] = seen[%lld +: %d];\n", (long long)to, width, (long long)from, width);
}

/* Windows come column by column; circuits want channel, row, column. */
static void put_window(bl_text *t, const bl_stream_stage *s)
{
    const bl_fixed_layer *l = s->layer;
    int64_t word = bus(s->in, l->in_c), at = 0, channel = 0;
    for (int32_t c = 0; c < l->in_c; c++) {
        int width = bl_grid_width(s->in[c]);
        for (int32_t i = 0; i < l->kernel_h; i++)
            for (int32_t j = 0; j < l->kernel_w; j++, at += width) put_field(t, at, ((int64_t)j * l->kernel_h + i) * word + channel, width);
        channel += width;
    }
}

static void put_head(bl_text *t, const char *name, int64_t in, int64_t out)
{
    bl_text_put(t, "module %s (input wire clk, input wire rst, input wire x_valid, output wire x_ready, input wire [%lld:0] x,\n"
                   "    output wire y_valid, input wire y_ready, output wire [%lld:0] y);\n    wire ahead, issue, room;\n", name,
                (long long)in - 1, (long long)out - 1);
}

static void put_graph(bl_text *t, const bl_circuit *c, const char *name, int number, int64_t out)
{
    bl_text_put(t, "    wire [%lld:0] d;\n    %s%d graph (%s.x(g), .y(d));\n", (long long)out - 1, name, number, c->stages ? ".clk(clk), " : "");
}

static void put_hold(bl_text *t, int64_t out, int stages)
{
    bl_text_put(t, "    bl_hold #(.W(%lld), .STAGES(%d), .LOG2(%d)) hold (.clk(clk), .rst(rst), .ahead(ahead), .issue(issue), .room(room),\n"
                   "        .d(d), .y_valid(y_valid), .y_ready(y_ready), .y(y));\nendmodule\n", (long long)out, stages, hold_log2(stages));
}

static bl_status put_stage(bl_text *t, const bl_stream *s, int number)
{
    const bl_stream_stage *g = &s->stages[number];
    const bl_fixed_layer *l = g->layer;
    int64_t in = bus(g->in, l->in_c), out = bus(g->out, l->out_c), wide = bus(g->window->in, g->window->n_in);
    bl_arena *a = bl_arena_new(t->ctx, "padding");
    char name[32], *pad = a ? BL_NEW(a, char, (size_t)in / 4 + 4) : NULL;
    if (!pad) {
        bl_arena_free(a);
        return bl_pending(t->ctx);
    }
    bl_bus_hex(g->in, l->in_c, g->pad, pad);
    snprintf(name, sizeof name, "bl_graph%d", number);
    bl_text_put(t, "\n/* layer %d: %s ", number, bl_fixed_kind_name(l->kind));
    bl_text_comment(t, l->name);
    bl_text_put(t, ": one window of %d x %d */\n", (int)l->kernel_h, (int)l->kernel_w);
    bl_verilog_module(t, g->graph, name);
    snprintf(name, sizeof name, "bl_stage%d", number);
    bl_text_put(t, "\n");
    put_head(t, name, in, out);
    bl_text_put(t, "    wire [%lld:0] seen;\n    wire [%lld:0] g;\n", (long long)(in * l->kernel_h * l->kernel_w) - 1, (long long)wide - 1);
    bl_text_put(t, "    bl_scan #(.W(%lld), .ROWS(%d), .COLS(%d), .IN_H(%d), .IN_W(%d), .KH(%d), .KW(%d), .SH(%d), .SW(%d), .PT(%d), .PL(%d),\n"
                   "        .OUT_H(%d), .OUT_W(%d), .PAD(%lld'h", (long long)in, (int)g->rows, (int)g->cols, (int)l->in_h, (int)l->in_w,
                (int)l->kernel_h, (int)l->kernel_w, (int)l->stride_h, (int)l->stride_w, (int)l->pad_top, (int)l->pad_left, (int)l->out_h,
                (int)l->out_w, (long long)in);
    bl_text_raw(t, *pad ? pad : "0", BL_MAX(strlen(pad), 1));
    bl_text_put(t, ")) scan (.clk(clk), .rst(rst), .x_valid(x_valid),\n"
                   "        .x_ready(x_ready), .x(x), .room(room), .ahead(ahead), .issue(issue), .seen(seen));\n");
    put_window(t, g);
    put_graph(t, g->graph, "bl_graph", number, out);
    put_hold(t, out, g->graph->stages);
    bl_arena_free(a);
    return t->status;
}

/* All positions at once, and what is unrolled behind them. */
static void put_tail(bl_text *t, const bl_stream *s)
{
    const bl_stream_stage *last = &s->stages[s->n_stages - 1];
    int64_t n, word = bus(last->out, last->layer->out_c), at = 0, channel = 0;
    const bl_fixed_grid *grid = bl_stream_outputs(s, &n);
    int64_t out = bus(grid, n), wide = s->tail ? bus(s->rest->in, s->rest->n_in) : out;
    bl_text_put(t, "\n/* Behind all windows. */\n");
    if (s->tail) bl_verilog_module(t, s->tail, "bl_rest0");
    put_head(t, "bl_tail", word, out);
    bl_text_put(t, "    wire [%lld:0] seen;\n    wire [%lld:0] g;\n", (long long)(word * s->positions) - 1, (long long)wide - 1);
    bl_text_put(t, "    bl_gather #(.W(%lld), .N(%lld)) gather (.clk(clk), .rst(rst), .x_valid(x_valid), .x_ready(x_ready), .x(x), .room(room),\n"
                   "        .ahead(ahead), .issue(issue), .seen(seen));\n", (long long)word, (long long)s->positions);
    for (int32_t c = 0; c < last->layer->out_c; c++) {
        int width = bl_grid_width(last->out[c]);
        for (int64_t p = 0; p < s->positions; p++, at += width) put_field(t, at, p * word + channel, width);
        channel += width;
    }
    if (s->tail) put_graph(t, s->tail, "bl_rest", 0, out);
    else bl_text_put(t, "    wire [%lld:0] d = g;\n", (long long)out - 1);
    put_hold(t, out, s->tail ? s->tail->stages : 0);
}

static void put_top(bl_text *t, const bl_stream *s)
{
    int64_t n, in = input_bus(s);
    const bl_fixed_grid *grid = bl_stream_outputs(s, &n);
    bl_text_put(t, "\n/* The network: words of x are positions, row by row; a word of y is a sample.  ports.csv has all fields. */\n"
                   "module bl_net (input wire clk, input wire rst, input wire x_valid, output wire x_ready, input wire [%lld:0] x,\n"
                   "    output wire y_valid, input wire y_ready, output wire [%lld:0] y);\n", (long long)in - 1, (long long)bus(grid, n) - 1);
    for (int l = 0; l < s->n_stages; l++) {
        const bl_stream_stage *g = &s->stages[l];
        bl_text_put(t, "    wire valid%d, ready%d;\n    wire [%lld:0] word%d;\n", l, l, (long long)bus(g->out, g->layer->out_c) - 1, l);
        bl_text_put(t, "    bl_stage%d stage%d (.clk(clk), .rst(rst), ", l, l);
        if (l) bl_text_put(t, ".x_valid(valid%d), .x_ready(ready%d), .x(word%d), ", l - 1, l - 1, l - 1);
        else bl_text_put(t, ".x_valid(x_valid), .x_ready(x_ready), .x(x), ");
        bl_text_put(t, ".y_valid(valid%d), .y_ready(ready%d), .y(word%d));\n", l, l, l);
    }
    int l = s->n_stages - 1;
    bl_text_put(t, "    bl_tail tail (.clk(clk), .rst(rst), .x_valid(valid%d), .x_ready(ready%d), .x(word%d), .y_valid(y_valid), .y_ready(y_ready), .y(y));\n"
                   "endmodule\n", l, l, l);
}

static bl_status write_net(bl_ctx *ctx, const bl_stream *s, const char *dir)
{
    bl_text t;
    bl_text_open(ctx, &t, dir, "net.v");
    bl_text_put(&t, "/* Made by bitlathe %s from ", BL_VERSION_STRING);
    bl_text_comment(&t, s->net->name);
    bl_text_put(&t, ".\n * Fixed-point network as a stream: %d window layers, a position a cycle, a sample every %lld cycles. */\n`default_nettype none\n\n",
                s->n_stages, (long long)s->cycles);
    bl_verilog_parts(&t);
    bl_text_raw(&t, moving_parts, strlen(moving_parts));
    for (int l = 0; l < s->n_stages && t.status == BL_OK; l++) t.status = put_stage(&t, s, l);
    put_tail(&t, s);
    put_top(&t, s);
    bl_text_put(&t, "`default_nettype wire\n");
    return bl_text_close(&t);
}

/* ------------------------------------------------------------------ beside */

static bl_status write_bench(bl_ctx *ctx, const bl_stream *s, const bl_vectors *v, const char *dir)
{
    bl_text t;
    int64_t n;
    const bl_fixed_grid *grid = bl_stream_outputs(s, &n);
    bl_text_open(ctx, &t, dir, "tb.v");
    bl_text_put(&t, "`timescale 1ns / 1ps\n`default_nettype none\n\n/* Feeds vectors_in.hex, a position a line, and compares with vectors_out.hex: ");
    bl_text_comment(&t, v->origin);
    bl_text_put(&t, ". */\nmodule tb;\n    localparam N = %lld, P = %lld, NI = %lld, NO = %lld, LIMIT = %lld;\n", (long long)v->n,
                (long long)s->net->in_h * s->net->in_w, (long long)input_bus(s), (long long)bus(grid, n), (long long)(4 * s->cycles + 1000));
    bl_text_raw(&t, bench, strlen(bench));
    return bl_text_close(&t);
}

/* A line a position. */
static bl_status write_vectors(bl_ctx *ctx, const bl_stream *s, const bl_vectors *v, const char *dir)
{
    const bl_fixed_net *net = s->net;
    int64_t plane = (int64_t)net->in_h * net->in_w, n;
    bl_arena *a = bl_arena_new(ctx, "vectors");
    int64_t *turned = a ? BL_NEW(a, int64_t, (size_t)(v->n * net->n_in)) : NULL, *to = turned;
    bl_status st = turned ? BL_OK : bl_pending(ctx);
    for (int64_t m = 0; m < v->n && st == BL_OK; m++)
        for (int64_t p = 0; p < plane; p++)
            for (int32_t c = 0; c < net->in_c; c++) *to++ = v->in[m * net->n_in + c * plane + p];
    if (st == BL_OK) st = bl_vectors_write(ctx, dir, "vectors_in.hex", s->stages[0].in, net->in_c, turned, v->n * plane);
    bl_arena_free(a);
    BL_TRY(st);
    const bl_fixed_grid *grid = bl_stream_outputs(s, &n);
    return bl_vectors_write(ctx, dir, "vectors_out.hex", grid, n, v->out, v->n);
}

static bl_status write_ports(bl_ctx *ctx, const bl_stream *s, const char *dir)
{
    bl_text t;
    int64_t n;
    const bl_fixed_grid *grid = bl_stream_outputs(s, &n);
    bl_text_open(ctx, &t, dir, "ports.csv");
    bl_text_put(&t, "bus,element,lowest_bit,bits,signed,fraction_bits\n");
    bl_ports_put(&t, "x", s->stages[0].in, s->net->in_c);
    bl_ports_put(&t, "y", grid, n);
    return bl_text_close(&t);
}

/* ------------------------------------------------------------------ figures */

typedef struct totals {
    int64_t adders, luts, flip_flops, line_bits;
    int latency;
} totals;

/* A look-up table for each bit that a circuit computes; registers of pipelines, windows and of the gathered words;
 * what moves them is left out. */
static totals count(const bl_stream *s)
{
    totals n = { 0 };
    for (int l = 0; l < s->n_stages; l++) {
        const bl_stream_stage *g = &s->stages[l];
        int64_t word = bl_bus_width(g->in, g->layer->in_c);
        n.adders += g->graph->adders;
        n.luts += bl_circuit_luts(g->graph);
        n.flip_flops += g->graph->flip_flops + word * g->layer->kernel_h * g->layer->kernel_w;
        n.line_bits += (int64_t)(g->layer->kernel_h - 1) * g->cols * word;
        n.latency += g->graph->stages + 2;
    }
    const bl_stream_stage *last = &s->stages[s->n_stages - 1];
    n.flip_flops += s->positions * bl_bus_width(last->out, last->layer->out_c);
    n.latency += 2;
    if (!s->tail) return n;
    n.adders += s->tail->adders;
    n.luts += bl_circuit_luts(s->tail);
    n.flip_flops += s->tail->flip_flops;
    n.latency += s->tail->stages;
    return n;
}

int64_t bl_stream_luts(const bl_stream *s)
{
    return count(s).luts;
}

static void put_layers(json_t *to, const bl_circuit *c, int64_t positions)
{
    for (int l = 0; l < c->n_layers; l++)
        json_array_append_new(to, json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:i}", "kind", bl_fixed_kind_name(c->net->layers[l].kind),
                                            "positions", (json_int_t)positions, "adders", (json_int_t)c->layers[l].adders, "adder_bits",
                                            (json_int_t)c->layers[l].adder_bits, "adders_csd", (json_int_t)c->layers[l].adders_unshared,
                                            "adder_bits_csd", (json_int_t)c->layers[l].bits_unshared, "depth", c->layers[l].depth));
}

static bl_status write_figures(bl_ctx *ctx, const bl_stream *s, const char *dir)
{
    json_t *layers = json_array();
    bl_fixed_cost all;
    totals n = count(s);
    bl_fixed_price(s->net, &all);
    for (int l = 0; l < s->n_stages; l++)
        put_layers(layers, s->stages[l].graph, (int64_t)s->stages[l].layer->out_h * s->stages[l].layer->out_w);
    if (s->tail) put_layers(layers, s->tail, 1);
    json_t *o = json_pack("{s:b, s:f, s:f, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:o}", "stream", 1, "ebops1", all.ebops1, "ebops2",
                          all.ebops2, "weights_left", (json_int_t)all.weights_left, "adders", (json_int_t)n.adders, "cycles_a_sample",
                          (json_int_t)s->cycles, "pipeline_cycles", (json_int_t)n.latency, "pipeline",
                          s->stages[0].graph->options.pipeline, "luts", (json_int_t)n.luts, "flip_flops", (json_int_t)n.flip_flops,
                          "line_buffer_bits", (json_int_t)n.line_bits, "layers", layers);
    return bl_hardware_write(ctx, dir, o);
}

static bl_status write_readme(bl_ctx *ctx, const bl_stream *s, const bl_vectors *v, const char *dir)
{
    bl_text t;
    totals n = count(s);
    bl_text_open(ctx, &t, dir, "README.txt");
    bl_text_put(&t, "The network ");
    bl_text_comment(&t, s->net->name);
    bl_text_put(&t, " in hardware as a stream, by bitlathe %s.\n\n"
        "net.v            module bl_net, Verilog-2001: adders, clips, registers, line buffers\n"
        "tb.v             a test bench for %lld samples (vectors_in.hex, vectors_out.hex): %s; the first ones wait at random\n"
        "net_fixed.c .h   the same integers in C99\n"
        "ports.csv        the fields of a word of x (one position, all channels) and of y; a code stands for code * 2^-fraction_bits\n"
        "hardware.json    what was counted\n"
        "xilinx.ys, ice40.ys    yosys -s FILE\n"
        "vivado.tcl, quartus.tcl, net.sdc    for the vendors' tools; see below\n\n",
        BL_VERSION_STRING, (long long)v->n, v->origin);
    bl_text_put(&t, "Simulate:  iverilog -g2001 -o sim tb.v net.v && ./sim\n"
        "           verilator --binary --timing -Wno-fatal --top-module tb tb.v net.v && obj_dir/Vtb\n\n"
        "Hold rst at 1 for a cycle first.  A word passes where valid and ready are both 1 at an edge of clk.\n\n");
    bl_text_put(&t, "%lld adders; a sample every %lld cycles where nothing waits.  Look-up tables of the circuits, estimated: %lld; flip-flops of\n"
        "pipelines, windows and gathered words: %lld; line buffers: %lld bits.  Counters and holds are not counted.\n\n", (long long)n.adders,
        (long long)s->cycles, (long long)n.luts, (long long)n.flip_flops, (long long)n.line_bits);
    bl_verilog_meaning(&t);
    return bl_text_close(&t);
}

bl_status bl_stream_write(bl_ctx *ctx, const bl_stream *s, const bl_vectors *v, const char *dir)
{
    BL_TRY(write_bench(ctx, s, v, dir));
    BL_TRY(write_vectors(ctx, s, v, dir));
    BL_TRY(bl_verilog_scripts(ctx, dir, true));
    BL_TRY(write_ports(ctx, s, dir));
    BL_TRY(write_figures(ctx, s, dir));
    BL_TRY(write_readme(ctx, s, v, dir));
    return write_net(ctx, s, dir);
}
