/* SPDX-License-Identifier: BSD-3-Clause */
/* A small network with normalisations and 96 labelled samples for it: what the tests of training learn from. */
#ifndef BL_TEST_TRAIN_NET_H
#define BL_TEST_TRAIN_NET_H

#include "emit/emit.h"
#include "tiny_graph.h"
#include "train/train.h"

/* x (1,3,6,6): Conv, BatchNormalization, Relu, strided Conv, BatchNormalization beside a 1x1 shortcut, Add, Relu,
 * global average, Gemm, y (1,3). */
static inline bl_graph *normed(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g = NULL;
    float ones[20], zeros[20];
    for (int i = 0; i < 20; i++) {
        ones[i] = 1;
        zeros[i] = 0;
    }
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "a.w", "20,3,3,3", NULL);
    ob_floats(b, "b.w", "20,20,3,3", NULL);
    ob_floats(b, "s.w", "20,20,1,1", NULL);
    ob_floats(b, "f.w", "3,20", NULL);
    ob_floats(b, "f.b", "3", NULL);
    static const char *const of[] = { "na", "nb" };
    for (int i = 0; i < 2; i++) {
        char name[4][16];
        for (int k = 0; k < 4; k++) snprintf(name[k], sizeof name[k], "%s.%c", of[i], "gbmv"[k]);
        ob_floats(b, ob_text(b, name[0]), "20", ones);
        ob_floats(b, ob_text(b, name[1]), "20", zeros);
        ob_floats(b, ob_text(b, name[2]), "20", zeros);
        ob_floats(b, ob_text(b, name[3]), "20", ones);
    }
    ob_ints_attr(ob_node(b, "Conv", "x,a.w", "a0"), b, "pads", "1,1,1,1");
    ob_node(b, "BatchNormalization", "a0,na.g,na.b,na.m,na.v", "a1");
    ob_node(b, "Relu", "a1", "a");
    Onnx__NodeProto *n = ob_node(b, "Conv", "a,b.w", "b0");
    ob_ints_attr(n, b, "pads", "1,1,1,1");
    ob_ints_attr(n, b, "strides", "2,2");
    ob_node(b, "BatchNormalization", "b0,nb.g,nb.b,nb.m,nb.v", "b1");
    ob_ints_attr(ob_node(b, "Conv", "a,s.w", "s"), b, "strides", "2,2");
    ob_node(b, "Add", "b1,s", "sum");
    ob_node(b, "Relu", "sum", "c");
    ob_node(b, "GlobalAveragePool", "c", "p");
    ob_node(b, "Flatten", "p", "f");
    ob_int_attr(ob_node(b, "Gemm", "f,f.w,f.b", "y"), b, "transB", 1);
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    return g;
}

/* 96 samples of three classes: a bright corner each, in noise; written as .npy and .csv. */
static inline bl_data *samples(bl_ctx *ctx, const bl_graph *g, const char *dir)
{
    enum { N = 96, PER = 108 };
    static float x[N * PER];
    char path[256], spec[600], csv[4096] = "label\n";
    bl_rng r = bl_rng_make(3, "samples", 0);
    bl_tensor t = { .type = BL_F32, .rank = 4, .dim = { N, 3, 6, 6 }, .data = x };
    bl_data_options o = { 0 };
    bl_data *data;
    for (int i = 0; i < N; i++) {
        int label = i % 3;
        for (int k = 0; k < PER; k++) x[i * PER + k] = (float)bl_rng_normal(&r) * 0.5f;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < 2; y++)
                for (int z = 0; z < 2; z++) x[i * PER + c * 36 + (y + 4 * (label / 2)) * 6 + z + 4 * (label % 2)] += c == label ? 3 : 1;
        snprintf(csv + strlen(csv), sizeof csv - strlen(csv), "%d\n", label);
    }
    snprintf(path, sizeof path, "%s/x.npy", dir);
    assert_ok(ctx, bl_npy_write(ctx, path, &t));
    snprintf(path, sizeof path, "%s/y.csv", dir);
    assert_ok(ctx, bl_write_file(ctx, path, csv, strlen(csv)));
    snprintf(spec, sizeof spec, "npy:%s/x.npy,%s/y.csv", dir, dir);
    o.spec = spec;
    assert_ok(ctx, bl_data_open(ctx, &o, &g->values[g->inputs[0]].t, &data));
    return data;
}

static inline bl_train_options small(void)
{
    bl_train_options o = bl_train_options_default();
    o.epochs = 6;
    o.batch = 32;
    o.micro = 8;
    o.held_out = 0;
    o.rate = 0.05;
    o.random = true;
    return o;
}

/* normed(), taught with the options on samples() and read back from dir/float.onnx: as imported and prepared. */
static inline void taught(bl_ctx *ctx, const bl_train_options *o, const char *dir, bl_data **data, bl_graph **imported, bl_graph **prepared)
{
    char path[128];
    bl_trained *t;
    bl_graph *g = normed(ctx);
    *data = samples(ctx, g, dir);
    assert_ok(ctx, bl_train(ctx, g, *data, o, &t));
    snprintf(path, sizeof path, "%s/float.onnx", dir);
    assert_ok(ctx, bl_write_onnx(ctx, t->graph, path));
    bl_trained_free(t);
    bl_graph_free(g);
    assert_ok(ctx, bl_import(ctx, path, NULL, imported));
    assert_ok(ctx, bl_prepare(ctx, *imported, prepared));
}

#endif
