/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Samples through the float walk, side by side: one walker a worker, one chunk a piece.  Chunks are
 * cut by sample number, never by thread count, and results go to places named by the chunk.
 */
#include "quant/quant.h"

#include <string.h>

#define WORKERS_MAX 256
#define BATCH 16
#define VALUES_BYTES ((uint64_t)64 << 20) /* of one chunk, as long as --memory is 1 GiB or more */

typedef struct shard_run {
    bl_ctx *ctx;
    const bl_shards *s;
    bl_graph *batched;          /* NULL: the graph's own batch */
    int64_t batch;
    bl_shard_fn *fn;
    void *user;
    bl_arena *arena;            /* of `uses` */
    uint8_t *uses;              /* by value: what `looking` does; NULL: nobody looks */
    size_t first_chunk;
    bl_walk *walk[WORKERS_MAX];
} shard_run;

static bl_status fill_input(shard_run *r, bl_walk *walk, int64_t first, int64_t count)
{
    bl_tensor *x = bl_walk_input(walk, 0);
    int64_t per = bl_tensor_count(x) / r->batch;
    for (int64_t k = 0; k < r->batch; k++) { /* a short last chunk repeats its last sample */
        int64_t at = first + BL_MIN(k, count - 1);
        int64_t sample = r->s->index ? r->s->index[at] : at;
        if (r->s->fill) BL_TRY(r->s->fill(r->s->fill_user, sample, (float *)x->data + k * per, (size_t)per));
        else BL_TRY(bl_data_feed(r->s->data, sample, x, k * per));
    }
    return BL_OK;
}

typedef struct looking_at {
    const shard_run *r;
    bl_look at;
} looking_at;

static bl_status looking(void *user, int value, bl_tensor *t)
{
    const looking_at *l = user;
    const bl_shards *s = l->r->s;
    if (s->fake) BL_TRY(bl_fake_hook(s->fake, value, t));
    return s->looks[value] ? s->look(l->r->user, &l->at, value, t) : BL_OK;
}

static bl_status run_chunk(void *arg, size_t piece, unsigned worker)
{
    shard_run *r = arg;
    size_t i = r->first_chunk + piece;
    BL_TRY(bl_check_interrupt(r->ctx));
    if (!r->walk[worker]) {
        bl_walk_options o = { .reference = r->s->reference, .keep_all = r->s->keep_all, .looks = r->s->looks };
        BL_TRY(bl_walk_new(r->ctx, r->batched ? r->batched : r->s->graph, &o, &r->walk[worker]));
        if (r->s->fake) BL_TRY(bl_fake_attach(r->s->fake, r->walk[worker]));
    }
    int64_t first = (int64_t)i * r->batch, count = BL_MIN(r->batch, r->s->n - first);
    BL_TRY(fill_input(r, r->walk[worker], first, count));
    if (r->s->look) {
        looking_at l = { r, { i, first, count, r->batch, worker } };
        bl_walk_hook_uses(r->walk[worker], r->uses);
        return bl_walk_run(r->walk[worker], looking, &l);
    }
    if (r->s->fake) BL_TRY(bl_walk_run(r->walk[worker], bl_fake_hook, r->s->fake));
    else if (r->s->run) BL_TRY(bl_walk_run(r->walk[worker], NULL, NULL));
    return r->fn(r->user, r->walk[worker], i, first, count, worker);
}

/* As many samples as their values have room for.  It depends on the network and on --memory, never on the
 * number of threads: sums over chunks keep their order. */
static int64_t batch_for(const bl_ctx *ctx, const bl_graph *g)
{
    uint64_t room = BL_MIN(VALUES_BYTES, ctx->options.memory_bytes / 16), each = 0;
    for (int v = 0; v < g->n_values; v++)
        if (g->values[v].producer >= 0 || g->values[v].is_input)
            each += bl_tensor_bytes(&g->values[v].t) / (uint64_t)BL_MAX(1, g->batch);
    return (int64_t)BL_MIN(BL_MAX(1, room / BL_MAX(1, each)), BATCH);
}

static bl_status mark_uses(shard_run *r)
{
    const uint8_t *fake = r->s->fake ? bl_fake_uses(r->s->fake) : NULL;
    size_t n = (size_t)r->s->graph->n_values;
    BL_ALLOC_TRY(r->ctx, r->arena = bl_arena_new(r->ctx, "looks at values"));
    BL_ALLOC_TRY(r->ctx, r->uses = BL_NEW(r->arena, uint8_t, n));
    for (size_t v = 0; v < n; v++) r->uses[v] = fake && fake[v] ? fake[v] : r->s->looks[v] ? BL_HOOK_READS : BL_HOOK_NONE;
    return BL_OK;
}

bl_status bl_shards_run(bl_ctx *ctx, const bl_shards *s, bl_shard_fn *fn, void *user)
{
    if (s->graph->n_inputs != 1)
        return bl_fail(ctx, BL_UNAVAILABLE, s->graph->source, "give a network with one input",
                       "%d inputs, and a data set feeds one", s->graph->n_inputs);
    if (s->n < 1) return bl_fail(ctx, BL_DATA, "data", "give at least one sample", "no samples");
    shard_run r = { .ctx = ctx, .s = s, .fn = fn, .user = user, .batch = s->graph->batch };
    int64_t want = BL_MIN(s->batch ? s->batch : batch_for(ctx, s->graph), BL_MAX(1, s->n));
    if (want != s->graph->batch) {
        uint64_t refusals = bl_refusals(ctx);
        bl_status st = bl_graph_rebatch(ctx, s->graph, want, &r.batched);
        if (st == BL_OK) r.batch = want;
        else if (st != BL_UNAVAILABLE || bl_refusals(ctx) != refusals) return st;
    }
    size_t chunks = (size_t)((s->n + r.batch - 1) / r.batch), group = 2 * (size_t)bl_threads(ctx);
    BL_CHECK(ctx, bl_threads(ctx) <= WORKERS_MAX);
    bl_status st = s->look ? mark_uses(&r) : BL_OK;
    for (size_t at = 0; at < chunks && st == BL_OK; at += group) {
        /* Groups only so that progress is shown from the calling thread. */
        size_t n = BL_MIN(group, chunks - at);
        r.first_chunk = at;
        st = bl_parallel_for(ctx, n, run_chunk, &r);
        if (s->stage) bl_progress(ctx, s->stage, BL_MIN((at + n) * (size_t)r.batch, (size_t)s->n), (size_t)s->n);
    }
    for (size_t i = 0; i < WORKERS_MAX; i++) bl_walk_free(r.walk[i]);
    bl_graph_free(r.batched);
    bl_arena_free(r.arena);
    return st;
}
