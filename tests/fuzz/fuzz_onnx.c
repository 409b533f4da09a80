/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any bytes as an ONNX file: read, prepared, at another batch, as JSON; and as a single tensor.
 * Nothing is written and nothing but the bytes is read.  A corpus of real models helps: fuzz_onnx
 * FOLDER.
 */
#include "graph/graph.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void use(bl_ctx *ctx, const bl_graph *graph)
{
    bl_graph *prepared, *batch, *node;
    json_decref(bl_graph_json(ctx, graph));
    if (bl_prepare(ctx, graph, &prepared) != BL_OK) return;
    if (bl_graph_rebatch(ctx, prepared, 3, &batch) == BL_OK) bl_graph_free(batch);
    for (int i = 0; i < BL_MIN(prepared->n_nodes, 4); i++)
        if (bl_graph_extract(ctx, prepared, i, &node) == BL_OK) bl_graph_free(node);
    bl_graph_free(prepared);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const bl_options options = {.threads = 1, .memory_bytes = 64 << 20, .seed = 1};
    bl_ctx *ctx;
    bl_graph *graph;
    uint64_t left;
    if (bl_ctx_new(&options, &ctx) != BL_OK) abort();
    bl_status status = bl_import_bytes(ctx, "fuzz", data, size, NULL, &graph);
    if (status == BL_OK) {
        use(ctx, graph);
        bl_graph_free(graph);
    } else if (status != BL_DATA && status != BL_UNAVAILABLE)
        abort(); /* our own mistake, or a file was opened */
    bl_arena *arena = bl_arena_new(ctx, "fuzz");
    bl_tensor t;
    if (arena) bl_tensor_from_pb(ctx, "fuzz", data, size, arena, &t);
    bl_arena_free(arena);
    bl_memory_use(ctx, &left, NULL);
    if (left != 0) abort();
    bl_ctx_free(ctx);
    return 0;
}
