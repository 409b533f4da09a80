/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Networks for tools/test-clients, each with samples beside it:  make-random FOLDER COUNT
 * FOLDER/random-SEED.onnx and .npy are the random networks of tests/unit/tiny_graph.h, silu and swish
 * have x Sigmoid(x) and x Sigmoid(1.7 x) behind convolutions.
 */
#include "tiny_graph.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define SAMPLES 64

static onnx_build *gated(bl_ctx *ctx, bool scaled)
{
    onnx_build *b = ob_new(ctx, 13);
    float alpha = 1.7f;
    ob_input(b, "x", "N,3,32,32");
    ob_floats(b, "a.w", "16,3,3,3", NULL);
    ob_floats(b, "a.b", "16", NULL);
    ob_floats(b, "b.w", "24,16,3,3", NULL);
    ob_floats(b, "f.w", "10,24", NULL);
    ob_floats(b, "alpha", "", &alpha);
    ob_node(b, "Conv", "x,a.w,a.b", "a");
    if (scaled) ob_node(b, "Mul", "a,alpha", "a.scaled");
    ob_node(b, "Sigmoid", scaled ? "a.scaled" : "a", "a.gate");
    ob_node(b, "Mul", "a,a.gate", "a.out");
    ob_node(b, "Conv", "a.out,b.w", "b");
    ob_node(b, "Sigmoid", "b", "b.gate");
    ob_node(b, "Mul", "b.gate,b", "b.out");
    ob_node(b, "GlobalAveragePool", "b.out", "pool");
    ob_node(b, "Flatten", "pool", "flat");
    ob_int_attr(ob_node(b, "Gemm", "flat,f.w", "y"), b, "transB", 1);
    ob_output(b, "y");
    return b;
}

/* Normal numbers, seeded by the network's name. */
static void write_samples(bl_ctx *ctx, const bl_graph *g, const char *name, const char *path)
{
    bl_tensor all = g->values[g->inputs[0]].t;
    all.dim[0] = SAMPLES;
    float *x = malloc(bl_tensor_bytes(&all));
    assert_non_null(x);
    bl_rng r = bl_rng_make(1, name, 0);
    for (int64_t i = 0; i < bl_tensor_count(&all); i++) x[i] = (float)bl_rng_normal(&r);
    all.data = x;
    assert_ok(ctx, bl_npy_write(ctx, path, &all));
    free(x);
}

static void write_network(bl_ctx *ctx, const char *folder, const char *name, onnx_build *b)
{
    char path[4096];
    size_t size;
    bl_graph *g = NULL;
    const uint8_t *bytes = ob_pack(b, &size);
    snprintf(path, sizeof path, "%s/%s.onnx", folder, name);
    assert_ok(ctx, bl_write_file(ctx, path, bytes, size));
    assert_ok(ctx, ob_import(b, &g));
    snprintf(path, sizeof path, "%s/%s.npy", folder, name);
    write_samples(ctx, g, name, path);
    bl_graph_free(g);
    ob_free(b);
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: make-random FOLDER COUNT\n");
        return 64;
    }
    bl_ctx *ctx = test_ctx(1, 0);
    mkdir(argv[1], 0777);
    write_network(ctx, argv[1], "silu", gated(ctx, false));
    write_network(ctx, argv[1], "swish", gated(ctx, true));
    for (uint64_t seed = 0; seed < strtoull(argv[2], NULL, 10); seed++) {
        char name[32];
        snprintf(name, sizeof name, "random-%llu", (unsigned long long)seed);
        write_network(ctx, argv[1], name, tiny_random(ctx, seed));
    }
    test_ctx_free(ctx);
    return 0;
}
