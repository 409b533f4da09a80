/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Block-wise reconstruction (BRECQ, arXiv 2102.05426): the layers of a residual block learn their rounding
 * together, so that the block's output stays what it was in float:
 *
 *   loss = mean over samples and positions of sum over channels (y - y~)^2 + lambda sum(1 - |2 h - 1|^beta)
 *
 * Inputs come from the network as quantized so far; inside the block values stay float while its weights learn.
 * A block lies between two values that all of the network passes through; where such values follow each other layer
 * by layer, two layers make a block.  Departures: errors are not weighted by the squared gradient of the loss, and
 * steps of activations stay the plan's.  A fixed number of parts shares a batch: the bits do not depend on the threads.
 */
#include "train/rounding.h"

#include <string.h>

enum { ITERATIONS = 500, MICRO = 8, PARTS = 4, WORKERS_MAX = 256 };
#define RATE 1e-2
#define LAMBDA 0.01

typedef struct block {
    int first, last;            /* nodes */
    int in, out;                /* values */
} block;

/* One layer of the block under way. */
typedef struct pupil {
    bl_layer l;                 /* of the block's own graph */
    int value;                  /* the constant in the whole graph */
    bl_rounding r;
    bl_rounding_step step;
    float *grad[PARTS];
    float *stored;              /* W~ in the model's order */
    int64_t first_piece;
} pupil;

typedef struct lesson {
    bl_ctx *ctx;
    const bl_tune_input *in;
    bl_graph *part, *batched;   /* the block by itself; MICRO samples at once */
    pupil *pupils;
    int n_pupils, number;       /* number: of the block */
    int64_t n, in_size, out_size, channels, pieces, iteration;
    float *x, *t;               /* inputs and wanted outputs, sample after sample */
    uint8_t *marks;
    bl_walk *walk[WORKERS_MAX];
    bl_back *back[WORKERS_MAX];
    int64_t seen[WORKERS_MAX];  /* the iteration whose weights a walker has, from 1 */
} lesson;

/* ------------------------------------------------------------------ blocks */

static const bl_quantizer *rounded_by(const bl_tune_input *in, int node)
{
    int v = bl_layer_weight(in->graph, node), q = v >= 0 ? in->plan->of_value[v] : -1;
    const bl_quantizer *z = q >= 0 ? &in->plan->quantizers[q] : NULL;
    return z && z->kind == BL_Q_AFFINE && bl_round_bits(z->bits) ? z : NULL;
}

/* The value that alone flows on behind a node, -1: several do. */
static int only_value(const bl_graph *g, const int *last_use, int node)
{
    int found = -1;
    for (int v = 0; v < g->n_values; v++) {
        const bl_value *x = &g->values[v];
        bool flows = x->producer >= 0 ? x->producer <= node : x->is_input;
        if (!flows || last_use[v] <= node) continue;
        if (found >= 0 || x->t.type != BL_F32) return -1;
        found = v;
    }
    return found;
}

static bl_status find_blocks(bl_ctx *ctx, const bl_tune_input *in, bl_arena *a, block *blocks, int *n_blocks)
{
    const bl_graph *g = in->graph;
    int *last_use = BL_NEW(a, int, (size_t)g->n_values), pending = 0, fresh = 0;
    block open = {.in = g->inputs[0]};

    BL_ALLOC_TRY(ctx, last_use);
    for (int v = 0; v < g->n_values; v++) last_use[v] = -1;
    for (int i = 0; i < g->n_nodes; i++)
        for (int k = 0; k < g->nodes[i].n_in; k++)
            if (g->nodes[i].in[k] >= 0) last_use[g->nodes[i].in[k]] = i;
    *n_blocks = 0;
    /* `open`: what may still grow, `pending` layers up to open.last; `fresh`: layers since then. */
    for (int i = 0; i < g->n_nodes; i++) {
        int cut = i == g->n_nodes - 1 ? g->outputs[0] : only_value(g, last_use, i);
        fresh += rounded_by(in, i) != NULL;
        if (cut < 0) continue;
        if (!pending && !fresh) { /* nothing to learn before it */
            open = (block){.first = i + 1, .in = cut};
            continue;
        }
        if (pending && pending + fresh > 2) {
            blocks[(*n_blocks)++] = open;
            open = (block){.first = open.last + 1, .in = open.out};
            pending = 0;
        }
        open.last = i;
        open.out = cut;
        pending += fresh;
        fresh = 0;
        if (pending < 2 && i < g->n_nodes - 1) continue;
        if (pending) blocks[(*n_blocks)++] = open;
        open = (block){.first = i + 1, .in = cut};
        pending = 0;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ samples */

typedef struct keeping { int value; int64_t size; float *to; } keeping;

static bl_status keep_value(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    keeping *k = user;
    const bl_tensor *t = bl_walk_value(walk, k->value);
    (void)chunk, (void)worker;
    if (!t) return BL_UNAVAILABLE;
    memcpy(k->to + first * k->size, t->data, (size_t)(count * k->size) * sizeof(float));
    return BL_OK;
}

static bl_status capture(lesson *l, const block *b, const int64_t *index, const bl_weights *so_far, bl_arena *a)
{
    const bl_graph *g = l->in->graph;
    bl_shards s = {.graph = g, .data = l->in->data, .index = index, .n = l->n, .keep_all = true, .run = true};
    keeping x = {b->in, l->in_size, NULL}, t = {b->out, l->out_size, NULL};

    x.to = l->x = bl_alloc(a, (size_t)l->n, (size_t)l->in_size * sizeof(float));
    t.to = l->t = bl_alloc(a, (size_t)l->n, (size_t)l->out_size * sizeof(float));
    if (!l->x || !l->t) return bl_pending(l->ctx);
    BL_TRY(bl_shards_run(l->ctx, &s, keep_value, &t));
    BL_TRY(bl_fake_new(l->ctx, g, l->in->plan, so_far, &s.fake));
    bl_status status = bl_shards_run(l->ctx, &s, keep_value, &x);
    bl_fake_free(s.fake);
    return status;
}

/* ------------------------------------------------------------------ one iteration */

static bl_status open_worker(lesson *l, unsigned w)
{
    bl_walk_options o = {.keep_all = true, .training = true};
    if (!l->walk[w]) BL_TRY(bl_walk_new(l->ctx, l->batched, &o, &l->walk[w]));
    if (!l->back[w]) BL_TRY(bl_back_new(l->ctx, l->walk[w], l->marks, &l->back[w]));
    for (int i = 0; l->seen[w] != l->iteration + 1 && i < l->n_pupils; i++)
        BL_TRY(bl_walk_set_constant(l->walk[w], l->pupils[i].l.weight, l->pupils[i].stored));
    l->seen[w] = l->iteration + 1;
    return BL_OK;
}

typedef struct seeding { const lesson *l; const int64_t *sample; } seeding;

static bl_status seed(void *user, int value, const bl_tensor *y, bl_tensor *grad)
{
    const seeding *s = user;
    const lesson *l = s->l;
    float weight = 2.0f / (float)(MICRO * PARTS * (l->out_size / l->channels));
    (void)value;
    for (int64_t i = 0; i < MICRO; i++) {
        const float *t = l->t + s->sample[i] * l->out_size, *now = (const float *)y->data + i * l->out_size;
        float *g = (float *)grad->data + i * l->out_size;
        for (int64_t k = 0; k < l->out_size; k++) g[k] += weight * (now[k] - t[k]);
    }
    return BL_OK;
}

static bl_status part_piece(void *arg, size_t part, unsigned w)
{
    lesson *l = arg;
    int64_t sample[MICRO];
    seeding s = {l, sample};
    bl_rng rng = bl_rng_make(l->ctx->options.seed, "brecq",
                             (uint64_t)(l->iteration * PARTS + (int64_t)part) ^ ((uint64_t)l->number << 40));

    BL_TRY(open_worker(l, w));
    float *x = bl_walk_input(l->walk[w], 0)->data;
    for (int64_t i = 0; i < MICRO; i++) {
        sample[i] = (int64_t)bl_rng_below(&rng, (uint64_t)l->n);
        memcpy(x + i * l->in_size, l->x + sample[i] * l->in_size, (size_t)l->in_size * sizeof *x);
    }
    BL_TRY(bl_walk_run(l->walk[w], NULL, NULL));
    BL_TRY(bl_back_run(l->back[w], seed, &s));
    for (int i = 0; i < l->n_pupils; i++) {
        pupil *p = &l->pupils[i];
        const bl_tensor *g = bl_back_grad(l->back[w], p->l.weight);
        if (g) bl_layer_weights(&p->l, g->data, p->grad[part]);
        else memset(p->grad[part], 0, (size_t)(p->l.outputs * p->l.k) * sizeof(float));
    }
    return BL_OK;
}

static bl_status move_piece(void *arg, size_t piece, unsigned w)
{
    lesson *l = arg;
    int i = l->n_pupils - 1;
    (void)w;
    while (l->pupils[i].first_piece > (int64_t)piece) i--;
    bl_rounding_move(&l->pupils[i].r, &l->pupils[i].step, (int64_t)piece - l->pupils[i].first_piece);
    return BL_OK;
}

static bl_status learn(lesson *l, uint64_t done, uint64_t total)
{
    for (l->iteration = 0; l->iteration < ITERATIONS; l->iteration++) {
        for (int i = 0; i < l->n_pupils; i++) {
            pupil *p = &l->pupils[i];
            bl_layer_store(&p->l, p->r.w, p->stored);
            p->step = (bl_rounding_step){l->iteration + 1, RATE, LAMBDA, bl_rounding_beta((double)l->iteration / ITERATIONS), p->grad, PARTS};
        }
        BL_TRY(bl_check_interrupt(l->ctx));
        BL_TRY(bl_parallel_for(l->ctx, PARTS, part_piece, l));
        BL_TRY(bl_parallel_for(l->ctx, (size_t)l->pieces, move_piece, l));
        bl_progress(l->ctx, "brecq", done + (uint64_t)l->iteration, total);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ a block */

/* The layers of the block that are rounded, and what they learn with. */
static bl_status open_pupils(lesson *l, bl_arena *a)
{
    const bl_graph *g = l->in->graph, *b = l->batched;

    l->pupils = BL_NEW(a, pupil, (size_t)b->n_nodes);
    l->marks = BL_NEW(a, uint8_t, (size_t)b->n_values);
    if (!l->pupils || !l->marks) return bl_pending(l->ctx);
    for (int i = 0; i < b->n_nodes; i++) {
        pupil *p = &l->pupils[l->n_pupils];
        bool fits = false;
        int here = bl_layer_weight(b, i), v = here >= 0 ? bl_graph_find_value(g, b->values[here].name) : -1;
        if (v < 0 || l->marks[here]) continue;
        const bl_quantizer *q = l->in->plan->of_value[v] >= 0 ? &l->in->plan->quantizers[l->in->plan->of_value[v]] : NULL;
        if (!q || q->kind != BL_Q_AFFINE || !bl_round_bits(q->bits)) continue;
        BL_TRY(bl_layer_describe(l->ctx, b, i, a, &p->l, &fits));
        if (!fits) continue;
        size_t n = (size_t)(p->l.outputs * p->l.k);
        float *canonical = bl_alloc(a, n, sizeof(float));
        p->stored = bl_alloc(a, n, sizeof(float));
        for (int k = 0; k < PARTS; k++) BL_ALLOC_TRY(l->ctx, p->grad[k] = bl_alloc(a, n, sizeof(float)));
        if (!canonical || !p->stored) return bl_pending(l->ctx);
        bl_layer_weights(&p->l, g->values[v].t.data, canonical);
        BL_TRY(bl_rounding_open(l->ctx, &p->l, canonical, q, a, &p->r));
        p->value = v;
        p->first_piece = l->pieces;
        l->pieces += bl_rounding_pieces(&p->r);
        l->marks[here] = BL_BACK_WANTED;
        l->n_pupils++;
    }
    l->marks[b->outputs[0]] |= BL_BACK_SEEDED;
    return BL_OK;
}

static bl_status keep_rounding(lesson *l, bl_weights *out)
{
    for (int i = 0; i < l->n_pupils; i++) {
        float *data;
        BL_TRY(bl_weights_replace(l->ctx, l->in->graph, out, l->pupils[i].value, &data));
        bl_rounding_close(&l->pupils[i].r, data);
    }
    return BL_OK;
}

static bl_status tune_block(lesson *l, const block *b, const int64_t *index, int n_blocks, bl_arena *a, bl_weights *out)
{
    const bl_graph *g = l->in->graph;
    const bl_tensor *y = &g->values[b->out].t;

    l->in_size = bl_tensor_count(&g->values[b->in].t) / g->batch;
    l->out_size = bl_tensor_count(y) / g->batch;
    l->channels = y->rank > 1 && y->dim[1] > 0 ? y->dim[1] : 1;
    BL_TRY(bl_graph_between(l->ctx, g, b->first, b->last, b->in, b->out, &l->part));
    BL_TRY(bl_graph_rebatch(l->ctx, l->part, MICRO, &l->batched));
    BL_TRY(open_pupils(l, a));
    if (!l->n_pupils) return BL_OK;
    BL_TRY(capture(l, b, index, out, a));
    BL_TRY(learn(l, (uint64_t)l->number * ITERATIONS, (uint64_t)n_blocks * ITERATIONS));
    return keep_rounding(l, out);
}

static void close_lesson(lesson *l)
{
    for (int w = 0; w < WORKERS_MAX; w++) {
        bl_back_free(l->back[w]);
        bl_walk_free(l->walk[w]);
    }
    bl_graph_free(l->batched);
    bl_graph_free(l->part);
}

static bl_status tune_blocks(bl_ctx *ctx, const bl_tune_input *in, bl_arena *kept, bl_arena *a, bl_weights *out)
{
    const bl_graph *g = in->graph;
    block *blocks = BL_NEW(kept, block, (size_t)g->n_nodes + 1);
    lesson *l = BL_NEW(kept, lesson, 1);
    int64_t *index, n;
    int n_blocks;

    if (!blocks || !l) return bl_pending(ctx);
    BL_TRY(bl_data_pick(in->data, in->samples, kept, &index, &n));
    BL_TRY(find_blocks(ctx, in, kept, blocks, &n_blocks));
    for (int i = 0; i < n_blocks; i++) {
        bl_mark mark = bl_arena_mark(a);
        *l = (lesson){.ctx = ctx, .in = in, .number = i, .n = n};
        bl_status s = tune_block(l, &blocks[i], index, n_blocks, a, out);
        close_lesson(l);
        bl_arena_reset(a, mark);
        BL_TRY(s);
    }
    bl_progress(ctx, "brecq", (uint64_t)n_blocks * ITERATIONS, (uint64_t)n_blocks * ITERATIONS);
    return BL_OK;
}

bl_status bl_tune_brecq(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    bl_arena *kept = bl_arena_new(ctx, "brecq"), *a = bl_arena_new(ctx, "brecq block");
    if (a) bl_arena_spill(a);
    bl_status s = kept && a ? tune_blocks(ctx, in, kept, a, out) : bl_pending(ctx);
    bl_arena_free(a);
    bl_arena_free(kept);
    return s;
}
