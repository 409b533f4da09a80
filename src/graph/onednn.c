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

bl_status bl_dnn_check(const bl_dnn *dnn, dnnl_status_t status, const char *what)
{
    if (status == dnnl_success) return BL_OK;
    return bl_fail(dnn->ctx, status == dnnl_out_of_memory ? BL_UNAVAILABLE : BL_INTERNAL, "oneDNN",
                   status == dnnl_out_of_memory ? "free some memory" : "please report this",
                   "%s failed with status %d", what, (int)status);
}

bl_status bl_dnn_new(bl_ctx *ctx, bl_arena *arena, const bl_graph *graph, const uint32_t *versions,
                     unsigned threads, bool training, bl_dnn **out)
{
    bl_dnn *dnn = BL_NEW(arena, bl_dnn, 1);
    bl_status status;

    BL_ALLOC_TRY(ctx, dnn);
    *dnn = (bl_dnn){.ctx = ctx, .arena = arena, .graph = graph, .versions = versions, .threads = (int)BL_MAX(threads, 1u),
                    .training = training};
    dnn->nodes = BL_NEW(arena, dnn_node, (size_t)graph->n_nodes);
    BL_ALLOC_TRY(ctx, dnn->nodes);
    status = bl_dnn_check(dnn, dnnl_engine_create(&dnn->engine, dnnl_cpu, 0), "engine");
    if (status == BL_OK)
        status =
            bl_dnn_check(dnn, dnnl_stream_create(&dnn->stream, dnn->engine, dnnl_stream_default_flags),
                  "stream");
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
        for (int v = 0; sets[s] && v < dnn->graph->n_values; v++) {
            dnnl_memory_destroy(sets[s][v].memory_plain);
            dnnl_memory_destroy(sets[s][v].memory_packed);
        }
    for (int n = 0; n < dnn->graph->n_nodes; n++) {
        dnn_node *d = &dnn->nodes[n];
        dnnl_primitive_destroy(d->run);
        dnnl_memory_destroy(d->scratch);
        dnnl_memory_destroy(d->src);
        dnnl_memory_destroy(d->other);
        dnnl_memory_destroy(d->dst);
        free_constant(&d->weight);
        free_constant(&d->bias);
    }
    dnnl_stream_destroy(dnn->stream);
    dnnl_engine_destroy(dnn->engine);
}

/* ------------------------------------------------------------------ layouts */

dnnl_memory_desc_t bl_dnn_describe(int rank, const int64_t *dim, dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t md;
    dnnl_dims_t dims = {0};

    for (int i = 0; i < rank; i++) dims[i] = dim[i];
    if (dnnl_memory_desc_init_by_tag(&md, rank, dims, dnnl_f32, tag) != dnnl_success)
        memset(&md, 0, sizeof md);
    return md;
}

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
        DNN_TRY(
            dnnl_memory_create(&memory, &md, dnn->engine, plain ? place->t.data : place->packed));
        *kept = memory;
    }
    *out = *kept;
    return BL_OK;
}

static bl_status run_reorder(const bl_dnn *dnn, dnnl_primitive_t reorder, dnnl_memory_t from,
                             dnnl_memory_t to)
{
    dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};

    DNN_TRY(dnnl_primitive_execute(reorder, dnn->stream, 2, args));
    DNN_TRY(dnnl_stream_wait(dnn->stream));
    return BL_OK;
}

bl_status bl_dnn_planned(bl_dnn *dnn)
{
    dnn->scratch = bl_alloc(dnn->arena, dnn->scratch_bytes, 1);
    BL_ALLOC_TRY(dnn->ctx, dnn->scratch);
    for (int n = 0; n < dnn->graph->n_nodes; n++) {
        dnn_node *d = &dnn->nodes[n];
        if (d->run)
            DNN_TRY(dnnl_memory_create(&d->scratch, &d->scratch_md, dnn->engine, dnn->scratch));
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
    if (c->version != dnn->versions[c->value]) {
        DNN_TRY(dnnl_memory_set_data_handle(c->given, place->t.data));
        if (c->reorder) BL_TRY(run_reorder(dnn, c->reorder, c->given, c->wanted));
        c->version = dnn->versions[c->value];
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
        DNN_TRY(dnnl_memory_set_data_handle(d->src, in[0]->t.data));
        DNN_TRY(dnnl_memory_set_data_handle(d->dst, out->t.data));
        args[0].memory = d->src;
        args[1].memory = d->dst;
    } else {
        BL_TRY(place_memory(dnn, in[0], d->src_layout, &args[0].memory));
        BL_TRY(place_memory(dnn, out, d->dst_layout, &args[1].memory));
    }
    if (d->weight_flows) {
        DNN_TRY(dnnl_memory_set_data_handle(d->other, in[1]->t.data));
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
    dnnl_status_t status = dnnl_primitive_execute(d->run, dnn->stream, n_args, args);
    omp_set_num_threads(1);
    BL_TRY(bl_dnn_check(dnn, status, "running a primitive"));
    DNN_TRY(dnnl_stream_wait(dnn->stream));
    return BL_OK;
}

#endif
