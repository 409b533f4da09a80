/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one thread pool of a context.  Pieces are handed out in order by an atomic counter, so that
 * every piece before the smallest failing one has run, however many threads there are.
 *
 * A helper that wakes up late finds the job closed and goes back to sleep; the caller therefore
 * never waits for a wake-up, only for helpers that have joined.  Who waits, caller or helper, looks
 * again for some microseconds, then sleeps on a condition variable.
 */
#include "base/base_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>

#define SPINS 2000 /* some tens of microseconds: steps of a network follow each other that closely */

typedef struct helper {
    struct bl_pool *pool;
    pthread_t thread;
    unsigned index; /* of the worker: 1.. */
} helper;

/* How a worker fared in the job, with its pending error. */
struct result {
    bl_status status;
    size_t piece;
    bl_error_slot error;
};

struct bl_pool {
    bl_ctx *ctx;
    pthread_mutex_t lock, callback_lock;
    pthread_cond_t wake, idle;
    unsigned n_helpers;
    bool quit; /* under lock, as the next four */
    bool open; /* the job may still be joined */
    unsigned asleep, joined;
    unsigned active;     /* helpers at work; written under lock, watched without */
    uint64_t generation; /* number of the job; written under lock, watched without */
    bool region;         /* a job is running; written by the caller while no helper is active */
    /* the job */
    bl_piece_fn *fn;
    void *arg;
    size_t n;
    unsigned wanted;        /* helpers that find something to do */
    size_t next;            /* atomically */
    int stop;               /* atomically */
    struct result *results; /* [0] the caller's, [k] helper k's */
    helper helpers[];
};

static void relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/* ------------------------------------------------------------------ who am I */

/* Worker number of the calling thread inside a region, else -1. */
static int worker_index(struct bl_pool *pool)
{
    if (!pool || !__atomic_load_n(&pool->region, __ATOMIC_ACQUIRE)) return -1;
    pthread_t self = pthread_self();
    for (unsigned i = 0; i < pool->n_helpers; i++)
        if (pthread_equal(self, pool->helpers[i].thread)) return (int)pool->helpers[i].index;
    return 0;
}

bl_error_slot *bl_pool_slot(struct bl_pool *pool)
{
    int worker = worker_index(pool);
    return worker < 0 ? NULL : &pool->results[worker].error;
}

bool bl_pool_is_helper(struct bl_pool *pool)
{
    return worker_index(pool) > 0;
}

void bl_pool_serial(struct bl_pool *pool, bool hold)
{
    if (worker_index(pool) < 0) return;
    if (hold)
        pthread_mutex_lock(&pool->callback_lock);
    else
        pthread_mutex_unlock(&pool->callback_lock);
}

/* ------------------------------------------------------------------ work */

static void work(struct bl_pool *pool, unsigned worker)
{
    struct result *r = &pool->results[worker];
    while (!__atomic_load_n(&pool->stop, __ATOMIC_RELAXED)) {
        size_t i = __atomic_fetch_add(&pool->next, 1, __ATOMIC_RELAXED);
        if (i >= pool->n) return;
        bl_status status = bl_check_interrupt(pool->ctx);
        if (status == BL_OK) status = pool->fn(pool->arg, i, worker);
        if (status == BL_OK) continue;
        r->status = status;
        r->piece = i;
        __atomic_store_n(&pool->stop, 1, __ATOMIC_RELAXED);
        return;
    }
}

static void *helper_main(void *argument)
{
    helper *self = argument;
    struct bl_pool *pool = self->pool;
    uint64_t seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS; i++) {
            if (__atomic_load_n(&pool->generation, __ATOMIC_RELAXED) != seen) break;
            relax();
        }
        pthread_mutex_lock(&pool->lock);
        pool->asleep++;
        while (!pool->quit && pool->generation == seen) pthread_cond_wait(&pool->wake, &pool->lock);
        pool->asleep--;
        bool quit = pool->quit;
        seen = pool->generation;
        bool join = !quit && pool->open && pool->joined < pool->wanted;
        if (join) {
            pool->joined++;
            __atomic_fetch_add(&pool->active, 1, __ATOMIC_RELAXED);
        }
        pthread_mutex_unlock(&pool->lock);
        if (quit) return NULL;
        if (!join) continue;
        work(pool, self->index);
        pthread_mutex_lock(&pool->lock);
        if (__atomic_sub_fetch(&pool->active, 1, __ATOMIC_RELAXED) == 0)
            pthread_cond_signal(&pool->idle);
        pthread_mutex_unlock(&pool->lock);
    }
}

/* ------------------------------------------------------------------ the pool */

/* Fewer helpers than asked for when the system gives no more; none is fine too.  Signals stay with
 * the program's own threads. */
static void start_helpers(struct bl_pool *pool, unsigned wanted)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    while (pool->n_helpers < wanted) {
        helper *h = &pool->helpers[pool->n_helpers];
        *h = (helper){.pool = pool, .index = pool->n_helpers + 1};
        if (pthread_create(&h->thread, NULL, helper_main, h) != 0) break;
        pool->n_helpers++;
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static struct bl_pool *pool_new(bl_ctx *ctx)
{
    unsigned threads = ctx->options.threads; /* <= 1024: sizes stay small */
    struct bl_pool *pool = calloc(1, sizeof(*pool) + threads * sizeof(helper));
    if (!pool) return NULL;
    pool->ctx = ctx;
    pool->results = calloc(threads, sizeof(*pool->results));
    if (!pool->results) {
        free(pool);
        return NULL;
    }
    pthread_mutex_init(&pool->lock, NULL);
    pthread_mutex_init(&pool->callback_lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_cond_init(&pool->idle, NULL);
    start_helpers(pool, threads - 1);
    return pool;
}

void bl_pool_free(struct bl_pool *pool)
{
    if (!pool) return;
    pthread_mutex_lock(&pool->lock);
    pool->quit = true;
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
    for (unsigned i = 0; i < pool->n_helpers; i++) pthread_join(pool->helpers[i].thread, NULL);
    pthread_cond_destroy(&pool->idle);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->callback_lock);
    pthread_mutex_destroy(&pool->lock);
    free(pool->results);
    free(pool);
}

/* ------------------------------------------------------------------ regions */

static void open_region(struct bl_pool *pool, size_t n, bl_piece_fn *fn, void *arg)
{
    for (unsigned i = 0; i <= pool->n_helpers; i++) {
        pool->results[i].status = BL_OK;
        pool->results[i].error.code = BL_OK;
    }
    pthread_mutex_lock(&pool->lock);
    pool->fn = fn;
    pool->arg = arg;
    pool->n = n;
    pool->next = 0;
    pool->stop = 0;
    pool->wanted = (unsigned)BL_MIN((size_t)pool->n_helpers, n - 1);
    pool->joined = 0;
    __atomic_store_n(&pool->region, true, __ATOMIC_RELEASE);
    pool->open = true;
    __atomic_store_n(&pool->generation, pool->generation + 1, __ATOMIC_RELAXED);
    unsigned wake = BL_MIN(pool->asleep, pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    for (; wake > 0; wake--) pthread_cond_signal(&pool->wake);
}

static void close_region(struct bl_pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    pool->open = false;
    pthread_mutex_unlock(&pool->lock);
    for (int i = 0; i < SPINS; i++) {
        if (__atomic_load_n(&pool->active, __ATOMIC_RELAXED) == 0) break;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    while (pool->active > 0) pthread_cond_wait(&pool->idle, &pool->lock);
    pthread_mutex_unlock(&pool->lock);
    __atomic_store_n(&pool->region, false, __ATOMIC_RELEASE);
}

/* The smallest failing piece speaks for the region. */
static bl_status outcome(bl_ctx *ctx, struct bl_pool *pool)
{
    struct result *first = NULL;
    for (unsigned i = 0; i <= pool->n_helpers; i++) {
        struct result *r = &pool->results[i];
        if (r->status != BL_OK && (!first || r->piece < first->piece)) first = r;
    }
    if (!first) return BL_OK;
    if (first->error.code == first->status)
        bl_error_set(ctx, &first->error);
    else
        bl_fail(ctx, first->status, ctx->stage, "", "piece %zu of the work failed", first->piece);
    return first->status;
}

static bl_status run_serially(bl_ctx *ctx, size_t n, bl_piece_fn *fn, void *arg)
{
    for (size_t i = 0; i < n; i++) {
        BL_TRY(bl_check_interrupt(ctx));
        BL_TRY(fn(arg, i, 0));
    }
    return BL_OK;
}

bl_status bl_parallel_for(bl_ctx *ctx, size_t n, bl_piece_fn *fn, void *arg)
{
    if (n <= 1 || ctx->options.threads <= 1) return run_serially(ctx, n, fn, arg);
    if (ctx->pool && __atomic_load_n(&ctx->pool->region, __ATOMIC_ACQUIRE))
        return run_serially(ctx, n, fn, arg);
    if (!ctx->pool) ctx->pool = pool_new(ctx);
    if (!ctx->pool) return run_serially(ctx, n, fn, arg);
    open_region(ctx->pool, n, fn, arg);
    work(ctx->pool, 0);
    close_region(ctx->pool);
    return outcome(ctx, ctx->pool);
}

unsigned bl_threads(const bl_ctx *ctx)
{
    return ctx->options.threads;
}
