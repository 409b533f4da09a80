/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Heavy float operators on oneDNN (C API, 2.6): Conv, Gemm, MatMul and pooling.  Primitives,
 * reordered weights and scratch memory are made once for a walker and node; each call runs on the
 * calling thread alone, so walkers may run side by side.  A walker that runs alone may be given more
 * threads: convolutions and pooling, whose sums stay within a thread, use them; products of matrices,
 * which oneDNN may cut along the sum, never do.  Convolutions want blocked channels:
 * between such nodes values stay in that order ("packed"), and the walk asks for the plain one
 * where somebody else reads it. Which nodes, by which primitive: onednn_plan.c.
 */
#include "graph/onednn_private.h"

#ifdef BL_HAVE_ONEDNN

#include <string.h>

int bl_dnn_enter(void)
{
    int before = omp_get_max_threads();
    omp_set_num_threads(1);
    return before;
}

void bl_dnn_leave(int before)
{
    omp_set_num_threads(before);
}

bl_status bl_dnn_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph, const uint32_t *versions,
                     unsigned threads, bool training, bl_dnn **out)
{
    bl_dnn *dnn = BL_NEW(arena, bl_dnn, 1);
    bl_status status;

    BL_ALLOC_TRY(ctx, dnn);
    *dnn = (bl_dnn){.base = {.ctx = ctx, .arena = arena, .graph = graph, .versions = versions, .training = training},
                    .threads = (int)BL_MAX(threads, 1u)};
    dnn->nodes = BL_NEW(arena, dnn_node, (size_t)graph->n_nodes);
    BL_ALLOC_TRY(ctx, dnn->nodes);
    status = bl_dnn_open(&dnn->base);
    if (status != BL_OK) {
        bl_dnn_free(dnn, NULL, 0);
        return status;
    }
    *out = dnn;
    return BL_OK;
}

static void free_constant(dnn_constant *c)
{
    if (c->wanted != c->given) dnnl_memory_destroy(c->wanted);
    dnnl_memory_destroy(c->given);
    dnnl_primitive_destroy(c->reorder);
}

void bl_dnn_free(bl_dnn *dnn, bl_place *const *sets, int n_sets)
{
    if (!dnn) return;
    for (int s = 0; s < n_sets; s++)
        for (int v = 0; sets[s] && v < dnn->base.graph->n_values; v++) {
            dnnl_memory_destroy(sets[s][v].memory_plain);
            dnnl_memory_destroy(sets[s][v].memory_packed);
        }
    for (int n = 0; n < dnn->base.graph->n_nodes; n++) {
        dnn_node *d = &dnn->nodes[n];
        dnnl_primitive_destroy(d->run);
        dnnl_memory_destroy(d->scratch);
        dnnl_memory_destroy(d->src);
        dnnl_memory_destroy(d->other);
        dnnl_memory_destroy(d->dst);
        free_constant(&d->weight);
        free_constant(&d->bias);
    }
    bl_dnn_close(&dnn->base);
}

/* ------------------------------------------------------------------ layouts */

dnnl_memory_desc_t bl_dnn_layout_md(const bl_tensor *t, bl_layout layout)
{
    static const dnnl_format_tag_t plain[] = {dnnl_a,    dnnl_a,     dnnl_ab,    dnnl_abc,
                                              dnnl_abcd, dnnl_abcde, dnnl_abcdef};
    static const dnnl_format_tag_t packed[][3] = {
        [BL_LAYOUT_LAST] = {dnnl_acb, dnnl_acdb, dnnl_acdeb},
        [BL_LAYOUT_BLOCK8] = {dnnl_aBc8b, dnnl_aBcd8b, dnnl_aBcde8b},
        [BL_LAYOUT_BLOCK16] = {dnnl_aBc16b, dnnl_aBcd16b, dnnl_aBcde16b},
    };
    int64_t one = 1;

    if (layout == BL_LAYOUT_PLAIN)
        return t->rank ? bl_dnn_describe(t->rank, t->dim, plain[t->rank]) : bl_dnn_describe(1, &one, dnnl_a);
    return bl_dnn_describe(t->rank, t->dim, packed[layout][t->rank - 3]);
}

/* The layout that `md` describes; false when it is none of ours. */
bool bl_dnn_layout_of(const bl_tensor *t, const dnnl_memory_desc_t *md, bl_layout *out)
{
    for (int l = BL_LAYOUT_PLAIN; l <= BL_LAYOUT_BLOCK16; l++) {
        dnnl_memory_desc_t m = bl_dnn_layout_md(t, (bl_layout)l);
        if (dnnl_memory_desc_equal(&m, md)) {
            *out = (bl_layout)l;
            return true;
        }
    }
    return false;
}

/* oneDNN's description of a place's buffer, made on first use. */
static bl_status place_memory(const bl_dnn *dnn, bl_place *place, bl_layout layout,
                              dnnl_memory_t *out)
{
    bool plain = layout == BL_LAYOUT_PLAIN;
    void **kept = plain ? &place->memory_plain : &place->memory_packed;

    if (!*kept) {
        dnnl_memory_desc_t md = bl_dnn_layout_md(&place->t, layout);
        dnnl_memory_t memory;
        DNN_TRY(&dnn->base, dnnl_memory_create(&memory, &md, dnn->base.engine, plain ? place->t.data : place->packed));
        *kept = memory;
    }
    *out = *kept;
    return BL_OK;
}

bl_status bl_dnn_planned(bl_dnn *dnn)
{
    BL_TRY(bl_dnn_scratch(&dnn->base));
    for (int n = 0; n < dnn->base.graph->n_nodes; n++) {
        dnn_node *d = &dnn->nodes[n];
        if (d->run)
            DNN_TRY(&dnn->base, dnnl_memory_create(&d->scratch, &d->scratch_md, dnn->base.engine, dnn->base.scratch));
    }
    return BL_OK;
}

bool bl_dnn_reads_packed(const bl_dnn *dnn, int node)
{
    return dnn->nodes[node].src_layout != BL_LAYOUT_PLAIN;
}

bool bl_dnn_writes_packed(const bl_dnn *dnn, int node)
{
    return dnn->nodes[node].dst_layout != BL_LAYOUT_PLAIN;
}

/* The constant as the primitive reads it, converted again when it was replaced. */
static bl_status constant_memory(const bl_dnn *dnn, dnn_constant *c, const bl_place *place,
                                 dnnl_memory_t *out)
{
    if (c->version != dnn->base.versions[c->value]) {
        DNN_TRY(&dnn->base, dnnl_memory_set_data_handle(c->given, place->t.data));
        if (c->reorder) BL_TRY(bl_dnn_reorder_run(&dnn->base, c->reorder, c->given, c->wanted));
        c->version = dnn->base.versions[c->value];
    }
    *out = c->wanted;
    return BL_OK;
}

bl_status bl_dnn_run(bl_dnn *dnn, int n, bl_place *const *in, bl_place *out)
{
    dnn_node *d = &dnn->nodes[n];
    dnnl_exec_arg_t args[5] = {{.arg = DNNL_ARG_SRC},
                               {.arg = DNNL_ARG_DST},
                               {.arg = DNNL_ARG_SCRATCHPAD, .memory = d->scratch}};
    int n_args = 3;

    if (d->own_src) {
        DNN_TRY(&dnn->base, dnnl_memory_set_data_handle(d->src, in[0]->t.data));
        DNN_TRY(&dnn->base, dnnl_memory_set_data_handle(d->dst, out->t.data));
        args[0].memory = d->src;
        args[1].memory = d->dst;
    } else {
        BL_TRY(place_memory(dnn, in[0], d->src_layout, &args[0].memory));
        BL_TRY(place_memory(dnn, out, d->dst_layout, &args[1].memory));
    }
    if (d->weight_flows) {
        DNN_TRY(&dnn->base, dnnl_memory_set_data_handle(d->other, in[1]->t.data));
        args[n_args++] = (dnnl_exec_arg_t){DNNL_ARG_WEIGHTS, d->other};
    } else if (d->weight.value >= 0) {
        args[n_args].arg = DNNL_ARG_WEIGHTS;
        BL_TRY(constant_memory(dnn, &d->weight, in[1], &args[n_args++].memory));
    }
    if (d->bias.value >= 0) {
        args[n_args].arg = DNNL_ARG_BIAS;
        BL_TRY(constant_memory(dnn, &d->bias, in[2], &args[n_args++].memory));
    }
    omp_set_num_threads(d->threads); /* what it was made for; 1 otherwise */
    dnnl_status_t status = dnnl_primitive_execute(d->run, dnn->base.stream, n_args, args);
    omp_set_num_threads(1);
    BL_TRY(bl_dnn_check(&dnn->base, status, "running a primitive"));
    DNN_TRY(&dnn->base, dnnl_stream_wait(dnn->base.stream));
    return BL_OK;
}

#endif
