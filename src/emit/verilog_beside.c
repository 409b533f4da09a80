/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands beside the Verilog: a test bench with its vectors, scripts for synthesis, the fields of the
 * buses, figures that were counted before any synthesis, and a page that says what they mean.
 */
#include "emit/verilog.h"

#include <string.h>

static const char bench[] = {
#include "verilog_tb_embedded.h"
};

static const bl_fixed_layer *last_layer(const bl_circuit *c)
{
    return &c->net->layers[c->net->n_layers - 1];
}

/* ------------------------------------------------------------------ test bench */

static bl_status write_bench(bl_ctx *ctx, const bl_circuit *c, const bl_vectors *v, const char *dir)
{
    bl_text t;
    bl_text_open(ctx, &t, dir, "tb.v");
    bl_text_put(&t, "`timescale 1ns / 1ps\n`default_nettype none\n%s\n", c->stages ? "" : "`define COMBINATIONAL\n");
    bl_text_put(&t, "/* Feeds vectors_in.hex, a sample every cycle, and compares with vectors_out.hex: ");
    bl_text_comment(&t, v->origin);
    bl_text_put(&t, ". */\nmodule tb;\n    localparam N = %lld, NI = %lld, NO = %lld, STAGES = %d;\n", (long long)v->n,
                (long long)BL_MAX(bl_bus_width(c->net->in, c->n_in), 1), (long long)BL_MAX(bl_bus_width(last_layer(c)->out, c->n_out), 1), c->stages);
    bl_text_raw(&t, bench, strlen(bench));
    return bl_text_close(&t);
}

bl_status bl_vectors_write(bl_ctx *ctx, const char *dir, const char *name, const bl_fixed_grid *grid, int64_t n, const int64_t *codes,
                           int64_t samples)
{
    bl_arena *a = bl_arena_new(ctx, "vectors");
    char *line = a ? BL_NEW(a, char, (size_t)bl_bus_width(grid, n) / 4 + 4) : NULL;
    bl_text t;
    if (!line) {
        bl_arena_free(a);
        return bl_pending(ctx);
    }
    bl_text_open(ctx, &t, dir, name);
    for (int64_t s = 0; s < samples && t.status == BL_OK; s++) {
        bl_bus_hex(grid, n, codes + s * n, line);
        size_t length = strlen(line);
        if (!length) line[length++] = '0';
        line[length] = '\n';
        bl_text_raw(&t, line, length + 1);
    }
    bl_arena_free(a);
    return bl_text_close(&t);
}

/* ------------------------------------------------------------------ scripts */

static bl_status write_text(bl_ctx *ctx, const char *dir, const char *name, const char *text)
{
    bl_text t;
    bl_text_open(ctx, &t, dir, name);
    bl_text_raw(&t, text, strlen(text));
    return bl_text_close(&t);
}

static const char vivado[] =
    "# vivado -mode batch -source vivado.tcl [-tclargs PART PERIOD_NS]\n"
    "set part [expr {$argc > 0 ? [lindex $argv 0] : \"xcvu9p-flga2104-2L-e\"}]\n"
    "set period [expr {$argc > 1 ? [lindex $argv 1] : 5.0}]\n"
    "read_verilog net.v\n"
    "synth_design -top bl_net -part $part -mode out_of_context\n"
    "if {[llength [get_ports -quiet clk]]} { create_clock -period $period [get_ports clk] }\n"
    "opt_design\nplace_design\nphys_opt_design\nroute_design\n"
    "report_utilization -file utilization.rpt\n"
    "report_timing_summary -file timing.rpt\n";

static const char quartus[] =
    "# quartus_sh -t quartus.tcl\n"
    "load_package flow\n"
    "project_new bl_net -overwrite\n"
    "set_global_assignment -name FAMILY \"Cyclone V\"\n"
    "set_global_assignment -name DEVICE 5CGXFC9E7F35C8\n"
    "set_global_assignment -name TOP_LEVEL_ENTITY bl_net\n"
    "set_global_assignment -name VERILOG_FILE net.v\n"
    "set_global_assignment -name SDC_FILE net.sdc\n"
    "set_instance_assignment -name VIRTUAL_PIN ON -to x\n"
    "set_instance_assignment -name VIRTUAL_PIN ON -to y\n"
    "execute_flow -compile\n"
    "project_close\n";

static const char xilinx[] =
    "read_verilog net.v\n"
    "synth_xilinx -family xcup -top bl_net -noiopad\n"
    "stat\n";

/* Boundaries fall only after mapping: before it chained adders would be merged. */
static const char ice40[] =
    "read_verilog net.v\n"
    "synth_ice40 -top bl_net\n"
    "stat\n";

bl_status bl_verilog_scripts(bl_ctx *ctx, const char *dir, bool clocked)
{
    BL_TRY(write_text(ctx, dir, "vivado.tcl", vivado));
    BL_TRY(write_text(ctx, dir, "quartus.tcl", quartus));
    BL_TRY(write_text(ctx, dir, "net.sdc", clocked ? "create_clock -name clk -period 5.0 [get_ports clk]\n" : "# combinational\n"));
    BL_TRY(write_text(ctx, dir, "xilinx.ys", xilinx));
    return write_text(ctx, dir, "ice40.ys", ice40);
}

/* ------------------------------------------------------------------ fields and figures */

int64_t bl_circuit_luts(const bl_circuit *c)
{
    return c->luts_sum + c->luts_clip + c->luts_round + c->luts_max;
}

void bl_ports_put(bl_text *t, const char *side, const bl_fixed_grid *grid, int64_t n)
{
    int64_t at = 0;
    for (int64_t i = 0; i < n; i++) {
        int w = bl_grid_width(grid[i]);
        bl_text_put(t, "%s,%lld,%lld,%d,%d,%d\n", side, (long long)i, (long long)at, w, w ? grid[i].k : 0, w ? grid[i].f : 0);
        at += w;
    }
}

static bl_status write_ports(bl_ctx *ctx, const bl_circuit *c, const char *dir)
{
    bl_text t;
    bl_text_open(ctx, &t, dir, "ports.csv");
    bl_text_put(&t, "bus,element,lowest_bit,bits,signed,fraction_bits\n");
    bl_ports_put(&t, "x", c->net->in, c->n_in);
    bl_ports_put(&t, "y", last_layer(c)->out, c->n_out);
    return bl_text_close(&t);
}

bl_status bl_hardware_write(bl_ctx *ctx, const char *dir, json_t *figures)
{
    bl_arena *a = bl_arena_new(ctx, "figures");
    char *path = a ? bl_path_join(a, dir, "hardware.json") : NULL;
    bl_status st = !path ? bl_pending(ctx) : !figures ? bl_fail(ctx, BL_UNAVAILABLE, dir, "free some memory", "no memory for figures")
                                                      : bl_json_write(ctx, path, figures);
    json_decref(figures);
    bl_arena_free(a);
    return st;
}

static bl_status write_figures(bl_ctx *ctx, const bl_circuit *c, const char *dir)
{
    json_t *layers = json_array();
    bl_fixed_cost cost;
    bl_fixed_price(c->net, &cost);
    for (int n = 0; n < c->n_layers; n++) {
        const bl_circuit_layer *l = &c->layers[n];
        json_array_append_new(layers, json_pack("{s:I, s:I, s:I, s:I, s:i}", "adders", (json_int_t)l->adders, "adder_bits",
                                                (json_int_t)l->adder_bits, "adders_csd", (json_int_t)l->adders_unshared, "adder_bits_csd",
                                                (json_int_t)l->bits_unshared, "depth", l->depth));
    }
    json_t *o = json_pack("{s:f, s:f, s:I, s:I, s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:I, s:o}", "ebops1", cost.ebops1, "ebops2",
                          cost.ebops2, "weights_left", (json_int_t)cost.weights_left, "adders", (json_int_t)c->adders, "depth", c->depth,
                          "cycles", c->stages, "pipeline", c->options.pipeline, "luts",
                          (json_int_t)bl_circuit_luts(c), "luts_sums", (json_int_t)c->luts_sum,
                          "luts_clips", (json_int_t)c->luts_clip, "luts_roundings", (json_int_t)c->luts_round, "luts_maxima",
                          (json_int_t)c->luts_max, "flip_flops", (json_int_t)c->flip_flops, "layers", layers);
    return bl_hardware_write(ctx, dir, o);
}

void bl_verilog_meaning(bl_text *t)
{
    bl_text_put(t,
        "The estimate counts a table for each bit that an adder or a clip computes.  yosys rebuilds it closely; it\n"
        "ranks networks.  Neither is what Vivado or Quartus report: they pack, retime and place differently, and\n"
        "their figures, above all clock rates, come from their own runs alone.  The two scripts for them were\n"
        "written by their manuals and not run where this file was made.\n");
}

static bl_status write_readme(bl_ctx *ctx, const bl_circuit *c, const bl_vectors *v, const char *dir)
{
    bl_text t;
    int64_t luts = bl_circuit_luts(c);
    bl_text_open(ctx, &t, dir, "README.txt");
    bl_text_put(&t,
        "The network ");
    bl_text_comment(&t, c->net->name);
    bl_text_put(&t, " in hardware, by bitlathe %s.\n\n"
        "net.v            the network: module bl_net, Verilog-2001, nothing but adders, clips and registers\n"
        "tb.v             a test bench for %lld samples (vectors_in.hex, vectors_out.hex): %s\n"
        "net_fixed.c .h   the same integers in C99\n"
        "ports.csv        where each element lies in x and y, and what its code stands for: code * 2^-fraction_bits\n"
        "hardware.json    what was counted: adders with and without sharing, look-up tables, depth\n"
        "xilinx.ys, ice40.ys    yosys -s FILE\n"
        "vivado.tcl, quartus.tcl, net.sdc    for the vendors' tools; see below\n\n",
        BL_VERSION_STRING, (long long)v->n, v->origin);
    bl_text_put(&t, "Simulate:  iverilog -g2001 -o sim tb.v net.v && ./sim\n"
        "           verilator --binary --timing -Wno-fatal --top-module tb tb.v net.v && obj_dir/Vtb\n\n");
    bl_text_put(&t, "%lld adders, %d levels of logic, ", (long long)c->adders, c->depth);
    if (c->stages) bl_text_put(&t, "%d cycles from x to y, a new sample every cycle, %lld flip-flops.\n", c->stages, (long long)c->flip_flops);
    else bl_text_put(&t, "combinational.\n");
    bl_text_put(&t, "Look-up tables, estimated: %lld (sums %lld, ReLU and saturation %lld, roundings %lld, maxima %lld).\n\n", (long long)luts,
        (long long)c->luts_sum, (long long)c->luts_clip, (long long)c->luts_round, (long long)c->luts_max);
    bl_verilog_meaning(&t);
    return bl_text_close(&t);
}

bl_status bl_verilog_beside(bl_ctx *ctx, const bl_circuit *c, const bl_vectors *v, const char *dir)
{
    BL_TRY(write_bench(ctx, c, v, dir));
    BL_TRY(bl_vectors_write(ctx, dir, "vectors_in.hex", c->net->in, c->n_in, v->in, v->n));
    BL_TRY(bl_vectors_write(ctx, dir, "vectors_out.hex", last_layer(c)->out, c->n_out, v->out, v->n));
    BL_TRY(bl_verilog_scripts(ctx, dir, c->stages > 0));
    BL_TRY(write_ports(ctx, c, dir));
    BL_TRY(write_figures(ctx, c, dir));
    return write_readme(ctx, c, v, dir);
}
