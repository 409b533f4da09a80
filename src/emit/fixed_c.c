/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fixed-point network as C99: its numbers as tables and the loops of c/fixed.c.in over them.  The same
 * integers as the executor and as the Verilog beside it, made from the network and not from the circuit,
 * so that it checks both.
 */
#include "emit/verilog.h"

#include <string.h>

static const char loops[] = {
#include "c_fixed_embedded.h"
};

static void put_i8(bl_text *t, const char *name, int layer, const int8_t *v, int64_t n)
{
    bl_text_put(t, "static const signed char %s%d[] = {", name, layer);
    for (int64_t i = 0; i < n; i++) bl_text_put(t, "%s%d,", i % 24 ? " " : "\n    ", v[i]);
    bl_text_put(t, "%s\n};\n", n ? "" : " 0");
}

static void put_grids(bl_text *t, const char *name, int layer, const bl_fixed_grid *g, int64_t n)
{
    bl_text_put(t, "static const signed char %s%d[] = {", name, layer);
    for (int64_t i = 0; i < n; i++) bl_text_put(t, "%s%d, %d, %d,", i % 8 ? "  " : "\n    ", g[i].k, g[i].i, g[i].f);
    bl_text_put(t, "\n};\n");
}

static void put_layer_tables(bl_text *t, const bl_fixed_layer *l, int n)
{
    int64_t biases = l->n_weights ? l->out_c : 0;
    bl_text_put(t, "\n/* layer %d: %s ", n, bl_fixed_kind_name(l->kind));
    bl_text_comment(t, l->name);
    bl_text_put(t, " */\nstatic const int32_t w%d[] = {", n);
    for (int64_t i = 0; i < l->n_weights; i++) bl_text_put(t, "%s%d,", i % 20 ? " " : "\n    ", l->weight[i]);
    bl_text_put(t, "%s\n};\nstatic const int64_t b%d[] = {", l->n_weights ? "" : " 0", n);
    for (int64_t i = 0; i < biases; i++) bl_text_put(t, "%s%lld,", i % 12 ? " " : "\n    ", (long long)l->bias[i]);
    bl_text_put(t, "%s\n};\n", biases ? "" : " 0");
    put_i8(t, "wf", n, l->weight_f, l->n_weights);
    put_i8(t, "bf", n, l->bias_f, biases);
    put_i8(t, "af", n, l->acc_f, l->n_out);
    put_grids(t, "grid", n, l->out, l->n_out);
}

static void put_chain(bl_text *t, const bl_fixed_net *net)
{
    bl_text_put(t, "\nstatic const layer layers[] = {\n");
    for (int n = 0; n < net->n_layers; n++) {
        const bl_fixed_layer *l = &net->layers[n];
        bl_text_put(t, "    { %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, %d, w%d, wf%d, bf%d, af%d, b%d, grid%d },\n",
                    l->kind, l->relu, l->round, l->overflow, l->in_c, l->in_h, l->in_w, l->out_c, l->out_h, l->out_w, l->kernel_h,
                    l->kernel_w, l->stride_h, l->stride_w, l->pad_top, l->pad_left, l->groups, n, n, n, n, n, n);
    }
    bl_text_put(t, "};\n\nvoid net_fixed_run(int64_t *work, const int64_t *x, int64_t *y)\n{\n");
    bl_text_put(t, "    const signed char *grid = grid_in0;\n    for (int n = 0; n < %d; n++) {\n", net->n_layers);
    bl_text_put(t, "        int64_t *to = n == %d ? y : work + n %% 2 * (NET_FIXED_WORK / 2);\n", net->n_layers - 1);
    bl_text_put(t, "        run(&layers[n], grid, x, to);\n        x = to;\n        grid = layers[n].grid;\n    }\n}\n");
}

bl_status bl_fixed_c_write(bl_ctx *ctx, const bl_fixed_net *net, const char *dir)
{
    bl_text t;
    int64_t n_out = net->layers[net->n_layers - 1].n_out;
    bl_text_open(ctx, &t, dir, "net_fixed.h");
    bl_text_put(&t, "/* Made by bitlathe %s from ", BL_VERSION_STRING);
    bl_text_comment(&t, net->name);
    bl_text_put(&t, ". */\n#ifndef NET_FIXED_H\n#define NET_FIXED_H\n#include <stdint.h>\n\n");
    bl_text_put(&t, "enum { NET_FIXED_IN = %lld, NET_FIXED_OUT = %lld, NET_FIXED_WORK = %lld };\n\n", (long long)net->n_in,
                (long long)n_out, (long long)BL_MAX(bl_fixed_work(net), 2));
    bl_text_put(&t, "/* Codes of the outputs for codes of the inputs; ports.csv says what a code stands for.  work: NET_FIXED_WORK\n"
                    " * numbers. */\nvoid net_fixed_run(int64_t *work, const int64_t *x, int64_t *y);\n\n#endif\n");
    BL_TRY(bl_text_close(&t));

    bl_text_open(ctx, &t, dir, "net_fixed.c");
    bl_text_put(&t, "/* Made by bitlathe %s from ", BL_VERSION_STRING);
    bl_text_comment(&t, net->name);
    bl_text_put(&t, ": the integers of net.v in C99. */\n#include \"net_fixed.h\"\n");
    bl_text_raw(&t, loops, strlen(loops));
    put_grids(&t, "grid_in", 0, net->in, net->n_in);
    for (int n = 0; n < net->n_layers && t.status == BL_OK; n++) put_layer_tables(&t, &net->layers[n], n);
    put_chain(&t, net);
    return bl_text_close(&t);
}
