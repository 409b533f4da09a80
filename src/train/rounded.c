/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sets of rounded weights, one a width: what PMP (arXiv 2302.05397) stitches a mixed plan from.  Every layer is
 * rounded by itself, its inputs those of the float network, so that it does not matter which widths the others have.
 * Layers share a walk as long as their samples take no more room than the largest layer's; a set lies on disk as a WEIGHTS
 * record, also half made.
 */
#include "train/rounding.h"

#include <stdio.h>
#include <string.h>

enum { WIDTHS = 8, SAVE_SECONDS = 10 };

/* ------------------------------------------------------------------ jobs */

typedef struct batch {
    bl_ctx *ctx;
    const bl_graph *g;
    bl_data *data;
    const int64_t *index;
    int64_t n;
    bl_round_job *jobs;
    size_t n_jobs;
    bl_status (*told)(void *user, size_t job);
    void *user;
    bl_layer *layers;           /* of a walk */
    bl_layer_samples *samples;
    size_t *first;              /* its first job; one more at the end */
    uint64_t room;              /* bytes of layers that share a walk */
} batch;

static uint64_t bytes_of(const batch *b, const bl_layer *l)
{
    return (uint64_t)(b->n * (l->in_size + l->out_size)) * sizeof(float);
}

/* What the largest layer takes is needed anyway; a small ceiling has it on disk, one layer after the other. */
static bl_status find_room(batch *b, bl_arena *a)
{
    for (size_t i = 0; i < b->n_jobs; i++) {
        bl_mark mark = bl_arena_mark(a);
        bl_layer l;
        bool fits = false;
        BL_TRY(bl_layer_describe(b->ctx, b->g, b->jobs[i].node, a, &l, &fits));
        if (fits) b->room = BL_MAX(b->room, bytes_of(b, &l));
        bl_arena_reset(a, mark);
    }
    b->room = BL_MIN(b->room, b->ctx->options.memory_bytes / 8);
    return BL_OK;
}

/* The layers from job `at` on that share a walk; the job after them. */
static bl_status next_layers(batch *b, size_t at, bl_arena *a, int *n_layers, size_t *end)
{
    uint64_t used = 0;

    for (*n_layers = 0; at < b->n_jobs;) {
        int node = b->jobs[at].node;
        bl_layer *l = &b->layers[*n_layers];
        bool fits = false;
        size_t after = at;
        while (after < b->n_jobs && b->jobs[after].node == node) after++;
        BL_TRY(bl_layer_describe(b->ctx, b->g, node, a, l, &fits));
        if (fits) {
            if (*n_layers && used + bytes_of(b, l) > b->room) break;
            used += bytes_of(b, l);
            b->first[(*n_layers)++] = at;
        }
        at = after;
    }
    *end = at;
    return BL_OK;
}

static bl_status round_layers(batch *b, int n_layers, bl_arena *a)
{
    for (int i = 0; i < n_layers; i++) BL_TRY(bl_layer_room(b->ctx, &b->layers[i], b->n, a, &b->samples[i]));
    if (n_layers)
        BL_TRY(bl_layers_capture(b->ctx, b->g, b->layers, b->samples, n_layers, b->data, b->index, NULL, true, true));
    for (int i = 0; i < n_layers; i++) {
        const float *constant = b->g->values[b->layers[i].weight].t.data;
        for (size_t k = b->first[i]; k < b->n_jobs && b->jobs[k].node == b->layers[i].node; k++) {
            BL_TRY(bl_layer_round(b->ctx, &b->layers[i], &b->samples[i], constant, &b->jobs[k].q,
                                  (uint64_t)k * BL_ROUND_ITERATIONS, (uint64_t)b->n_jobs * BL_ROUND_ITERATIONS, a, b->jobs[k].stored, NULL));
            b->jobs[k].done = true;
            if (b->told) BL_TRY(b->told(b->user, k));
        }
    }
    return BL_OK;
}

static bl_status run_jobs(batch *b, int64_t samples, bl_arena *kept, bl_arena *a)
{
    int64_t *index;
    size_t most = (size_t)b->g->n_nodes;

    BL_TRY(bl_data_pick(b->data, samples, kept, &index, &b->n));
    b->index = index;
    b->layers = BL_NEW(kept, bl_layer, most);
    b->samples = BL_NEW(kept, bl_layer_samples, most);
    b->first = BL_NEW(kept, size_t, most);
    if (!b->layers || !b->samples || !b->first) return bl_pending(b->ctx);
    BL_TRY(find_room(b, a));
    for (size_t at = 0; at < b->n_jobs;) {
        bl_mark mark = bl_arena_mark(a);
        int n_layers;
        BL_TRY(next_layers(b, at, kept, &n_layers, &at));
        BL_TRY(round_layers(b, n_layers, a));
        bl_arena_reset(a, mark);
    }
    return BL_OK;
}

bl_status bl_round_jobs(bl_ctx *ctx, const bl_graph *graph, bl_data *data, int64_t samples, bl_round_job *jobs, size_t n,
                        bl_status (*told)(void *user, size_t job), void *user)
{
    bl_arena *kept = bl_arena_new(ctx, "adaround"), *a = bl_arena_new(ctx, "adaround layers");
    batch b = {.ctx = ctx, .g = graph, .data = data, .jobs = jobs, .n_jobs = n, .told = told, .user = user};
    if (a) bl_arena_spill(a);
    bl_status s = kept && a ? run_jobs(&b, samples, kept, a) : bl_pending(ctx);

    if (s == BL_OK && n) bl_progress(ctx, "adaround", n * BL_ROUND_ITERATIONS, n * BL_ROUND_ITERATIONS);
    bl_arena_free(a);
    bl_arena_free(kept);
    return s;
}

/* ------------------------------------------------------------------ sets */

struct bl_rounded {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *g;
    bl_data *data;
    bl_round_options o;
    bl_weights *set[WIDTHS];    /* by bits; NULL: nobody asked */
    bl_weights *read[WIDTHS];   /* the file that a set began with */
    bool changed[WIDTHS];
    uint64_t saved_ns;
    bl_round_job *jobs;
};

const float *bl_rounded_find(const bl_rounded *r, int value, int bits)
{
    return bl_round_bits(bits) && r->set[bits] ? bl_weights_find(r->set[bits], value) : NULL;
}

static bl_status set_key(const bl_rounded *r, int bits, bl_hash *out)
{
    const bl_grid_options *g = &r->o.grids;
    char text[512];
    snprintf(text, sizeof text, "adaround set 1 %d %s %s %lld %.60s %d%d%d %d %llu", bits, r->g->hash.hex, bl_data_hash(r->data).hex,
             (long long)r->o.samples, g->weight_range ? g->weight_range : "mse", g->per_tensor, g->narrow, g->power_of_two,
             BL_ROUND_ITERATIONS, (unsigned long long)r->ctx->options.seed);
    *out = bl_hash_of(text, strlen(text));
    return BL_OK;
}

static char *set_path(const bl_rounded *r, int bits)
{
    return bl_format(r->arena, "%s/rounded.w%d.blw", r->o.folder, bits);
}

static bool is_weight(const bl_graph *g, int value)
{
    bool found = false;
    for (int i = 0; i < g->n_nodes && !found; i++) found = bl_layer_weight(g, i) == value;
    return found;
}

/* An empty set, or what was made of it before. */
static bl_status open_set(bl_rounded *r, int bits)
{
    bl_weights *w = BL_NEW(r->arena, bl_weights, 1);
    char *path = r->o.folder ? set_path(r, bits) : NULL;

    if (!w || (r->o.folder && !path)) return bl_pending(r->ctx);
    *w = (bl_weights){.arena = r->arena, .graph = r->g->hash};
    BL_TRY(set_key(r, bits, &w->key));
    r->set[bits] = w;
    if (!path || !bl_file_exists(path)) return BL_OK;
    if (bl_weights_read(r->ctx, r->g, path, &r->read[bits]) != BL_OK) return BL_OK; /* is made again */
    if (strcmp(r->read[bits]->key.hex, w->key.hex)) return BL_OK;
    for (int i = 0; i < r->read[bits]->n_items; i++) {
        const bl_weight_item *item = &r->read[bits]->items[i];
        if (is_weight(r->g, item->value) && !bl_weights_find(w, item->value))
            BL_TRY(bl_weights_put(r->ctx, r->g, w, item->value, item->data));
    }
    return BL_OK;
}

static bl_status save(bl_rounded *r)
{
    for (int b = 0; b < WIDTHS && r->o.folder; b++) {
        char *path = r->changed[b] ? set_path(r, b) : NULL;
        if (!r->changed[b]) continue;
        BL_ALLOC_TRY(r->ctx, path);
        BL_TRY(bl_weights_write(r->ctx, r->g, r->set[b], path));
        r->changed[b] = false;
    }
    r->saved_ns = bl_now_ns();
    return BL_OK;
}

static bl_status keep_job(void *user, size_t i)
{
    bl_rounded *r = user;
    const bl_round_job *job = &r->jobs[i];
    int v = bl_layer_weight(r->g, job->node), b = job->q.bits;

    BL_TRY(bl_weights_put(r->ctx, r->g, r->set[b], v, job->stored));
    r->changed[b] = true;
    return bl_now_ns() - r->saved_ns > (uint64_t)SAVE_SECONDS * 1000000000u ? save(r) : BL_OK;
}

/* What the menu offers and no set has, in the order of the nodes. */
static bl_status find_jobs(bl_rounded *r, const bl_menu *menu, size_t *n)
{
    *n = 0;
    for (int i = 0; i < r->g->n_nodes; i++) {
        int u = menu->unit_of_layer[i], v = bl_layer_weight(r->g, i);
        size_t first = *n;
        for (int c = 0; u >= 0 && v >= 0 && c < menu->units[u].n_candidates; c++) {
            int bits = menu->units[u].candidates[c].w_bits;
            bool known = !bl_round_bits(bits);
            for (size_t k = 0; k < *n && !known; k++) /* a constant that layers share is rounded for the first */
                known = bl_layer_weight(r->g, r->jobs[k].node) == v && (k < first || r->jobs[k].q.bits == bits);
            if (known) continue;
            if (!r->set[bits]) BL_TRY(open_set(r, bits));
            if (!bl_rounded_find(r, v, bits)) r->jobs[(*n)++] = (bl_round_job){.node = i, .q = {.bits = bits}};
        }
    }
    return BL_OK;
}

static bl_status make_sets(bl_rounded *r, const bl_menu *menu)
{
    bl_grid_options o = r->o.grids;
    size_t n = 0;

    if (o.codebook || o.weight_group)
        return bl_fail(r->ctx, BL_USAGE, o.codebook ? "--codebook" : "--weight-group", "give --set rounding=nearest",
                       "weights are rounded by learning on one grid a channel alone");
    r->jobs = BL_NEW(r->arena, bl_round_job, (size_t)r->g->n_nodes * WIDTHS);
    BL_ALLOC_TRY(r->ctx, r->jobs);
    BL_TRY(find_jobs(r, menu, &n));
    int *layers = BL_NEW(r->arena, int, n + 1), *bits = BL_NEW(r->arena, int, n + 1);
    bl_weight_grid *grids = BL_NEW(r->arena, bl_weight_grid, n + 1);
    if (!layers || !bits || !grids) return bl_pending(r->ctx);
    for (size_t i = 0; i < n; i++) {
        layers[i] = r->jobs[i].node;
        bits[i] = r->jobs[i].q.bits;
    }
    if (n) BL_TRY(bl_weight_grids(r->arena, r->g, layers, bits, n, &o, grids));
    for (size_t i = 0; i < n; i++) {
        bl_round_job *job = &r->jobs[i];
        job->q = (bl_quantizer){.bits = bits[i], .narrow = grids[i].narrow, .scale = grids[i].scale, .n_scale = grids[i].n_scale};
        job->stored = bl_alloc(r->arena, (size_t)bl_tensor_count(&r->g->values[bl_layer_weight(r->g, layers[i])].t), sizeof(float));
        BL_ALLOC_TRY(r->ctx, job->stored);
    }
    r->saved_ns = bl_now_ns();
    bl_status s = bl_round_jobs(r->ctx, r->g, r->data, r->o.samples, r->jobs, n, keep_job, r);
    bl_status kept = s == BL_OK || s == BL_INTERRUPTED ? save(r) : s;
    return s == BL_OK ? kept : s;
}

bl_status bl_round(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, bl_data *data, const bl_round_options *options,
                   bl_rounded **out)
{
    bl_arena *a = bl_arena_new(ctx, "rounded weights");
    bl_rounded *r = a ? BL_NEW(a, bl_rounded, 1) : NULL;
    bl_status s = r ? BL_OK : bl_pending(ctx);

    if (s == BL_OK) {
        *r = (bl_rounded){.ctx = ctx, .arena = a, .g = graph, .data = data};
        if (options) r->o = *options;
        if (!r->o.samples) r->o.samples = 256;
        s = make_sets(r, menu);
    }
    if (s == BL_OK) *out = r;
    else if (r) bl_rounded_free(r);
    else bl_arena_free(a);
    return s;
}

void bl_rounded_free(bl_rounded *r)
{
    if (!r) return;
    for (int b = 0; b < WIDTHS; b++) bl_weights_free(r->read[b]);
    bl_arena_free(r->arena);
}
