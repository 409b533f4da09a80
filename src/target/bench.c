/* SPDX-License-Identifier: BSD-3-Clause */
/* Whole networks against the clock: interleaved rounds in rotated order, order statistics. */
#include "target/target.h"

#include <string.h>

enum { ROUNDS_MAX = 2000, ROUNDS_MIN = 11 };

typedef struct runner {
    bl_bench_item *item;
    bl_exec *exec;
    bl_walk *walk;
    double *total;              /* [ROUNDS_MAX] ms */
    float *step;                /* [ROUNDS_MAX][n_steps] us */
} runner;

static void fill_random(bl_ctx *ctx, float *x, size_t n, uint64_t which)
{
    bl_rng r = bl_rng_make(ctx->options.seed, "bench", which);
    for (size_t i = 0; i < n; i++) x[i] = (float)bl_rng_normal(&r);
}

static bl_status runner_make(bl_ctx *ctx, bl_arena *a, bool parallel, runner *r)
{
    const bl_program *p = r->item->program;
    r->total = BL_NEW(a, double, ROUNDS_MAX);
    BL_ALLOC_TRY(ctx, r->total);
    if (!p) {
        bl_walk_options wo = { .threads = parallel ? bl_threads(ctx) : 1 };
        BL_TRY(bl_walk_new(ctx, r->item->graph, &wo, &r->walk));
        for (int i = 0; i < r->item->graph->n_inputs; i++) {
            bl_tensor *x = bl_walk_input(r->walk, i);
            fill_random(ctx, x->data, (size_t)bl_tensor_count(x), (uint64_t)i);
        }
        return BL_OK;
    }
    bl_exec_options o = { .parallel = parallel };
    BL_TRY(bl_exec_new(ctx, p, &o, &r->exec));
    r->step = BL_NEW(a, float, (size_t)ROUNDS_MAX * p->n_steps);
    r->item->step_us = BL_NEW(a, double, p->n_steps);
    if (!r->step || !r->item->step_us) return bl_pending(ctx);
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        size_t n = 1;
        for (int d = 0; d < p->edges[i].rank; d++) n *= (size_t)p->edges[i].dim[d];
        fill_random(ctx, bl_exec_input(r->exec, i), n, i);
    }
    return BL_OK;
}

static bl_status run_once(runner *r, int round)
{
    uint64_t start = bl_now_ns(), t = start;
    if (r->walk) {
        BL_TRY(bl_walk_run(r->walk, NULL, NULL));
    } else {
        uint32_t n = r->item->program->n_steps;
        for (uint32_t s = 0; s < n; s++) {
            BL_TRY(bl_exec_step(r->exec, s));
            uint64_t now = bl_now_ns();
            r->step[(size_t)round * n + s] = (float)(now - t) * 1e-3f;
            t = now;
        }
    }
    r->total[round] = (double)(bl_now_ns() - start) * 1e-6;
    return BL_OK;
}

static void finish(runner *r, int rounds, double *column)
{
    bl_timing *t = &r->item->timing;
    size_t n = (size_t)rounds;
    t->runs = rounds;
    t->q1_ms = bl_quantile(r->total, n, 0.25);
    t->median_ms = bl_quantile(r->total, n, 0.5);
    t->p10_ms = bl_quantile(r->total, n, 0.1);
    t->p90_ms = bl_quantile(r->total, n, 0.9);
    for (uint32_t s = 0; r->exec && s < r->item->program->n_steps; s++) {
        for (int k = 0; k < rounds; k++) column[k] = r->step[(size_t)k * r->item->program->n_steps + s];
        r->item->step_us[s] = bl_quantile(column, n, 0.25);
    }
}

static bl_status bench(bl_ctx *ctx, bl_arena *arena, runner *r, size_t n, bool parallel, double seconds)
{
    int rounds = 0;
    double *column = BL_NEW(arena, double, ROUNDS_MAX);
    BL_ALLOC_TRY(ctx, column);
    for (size_t i = 0; i < n; i++) BL_TRY(runner_make(ctx, arena, parallel, &r[i]));
    for (int warm = 0; warm < 3; warm++)
        for (size_t i = 0; i < n; i++) BL_TRY(run_once(&r[i], 0));
    uint64_t start = bl_now_ns();
    for (; rounds < ROUNDS_MAX; rounds++) {
        if (rounds >= ROUNDS_MIN && (double)(bl_now_ns() - start) * 1e-9 > seconds) break;
        BL_TRY(bl_check_interrupt(ctx));
        for (size_t k = 0; k < n; k++) BL_TRY(run_once(&r[(k + (size_t)rounds) % n], rounds));
    }
    for (size_t i = 0; i < n; i++) finish(&r[i], rounds, column);
    return BL_OK;
}

bl_status bl_bench(bl_ctx *ctx, bl_arena *arena, bl_bench_item *items, size_t n, bool parallel, double seconds)
{
    runner *r = BL_NEW(arena, runner, n);
    BL_ALLOC_TRY(ctx, r);
    for (size_t i = 0; i < n; i++) r[i].item = &items[i];
    bl_status s = bench(ctx, arena, r, n, parallel, seconds);
    for (size_t i = 0; i < n; i++) {
        bl_exec_free(r[i].exec);
        bl_walk_free(r[i].walk);
    }
    return s;
}
