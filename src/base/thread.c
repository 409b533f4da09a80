/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The one thread pool of a context.  Pieces are handed out in order by an atomic counter, so that
 * every piece before the smallest failing one has run, however many threads there are.
 *
 * A helper that wakes up late finds the job closed and goes back to sleep; the caller therefore
 * never waits for a wake-up, only for helpers that have joined.  Who waits, caller or helper, looks
 * again for some microseconds, then sleeps on a condition variable.
 *
 * Steps of small networks take some microseconds, and every cache line that goes from one core to
 * another takes a tenth of one.  So no lock is taken while nobody sleeps: a job is announced, joined
 * and closed by one word, which shares its line with the job, and each helper that ends adds to a
 * counter that is never set back.
 */
#include "base/base_private.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

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
    unsigned wanted;        /* helpers that find something to do; the caller's own, as the next two */
    unsigned due;           /* what `finished` will be */
    bool region;            /* a job is running; written by the caller while no helper is active */
    struct result *results; /* [0] the caller's, [k] helper k's */
    unsigned asleep;        /* written under lock, watched without, as the next two */
    bool quit;
    bool waiting;           /* the caller sleeps */
    struct {
        _Alignas(64) uint64_t gate; /* number of the job << PLACES, and how many helpers may still join */
        bl_piece_fn *fn;
        void *arg;
        size_t n;
        size_t next;        /* piece; beyond n where one has failed */
    } job;
    _Alignas(64) unsigned finished; /* helpers that have left a job, all in all */
    _Alignas(64) helper helpers[];
};

enum { PLACES = 16 };

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

static size_t next_piece(struct bl_pool *pool)
{
    return __atomic_fetch_add(&pool->job.next, 1, __ATOMIC_RELAXED);
}

/* i: the first piece.  Who had the last one need not ask for another. */
static void work(struct bl_pool *pool, unsigned worker, size_t i)
{
    struct result *r = &pool->results[worker];
    const size_t n = pool->job.n;
    for (; i < n; i = i + 1 < n ? next_piece(pool) : n) {
        bl_status status = bl_check_interrupt(pool->ctx);
        if (status == BL_OK) status = pool->job.fn(pool->job.arg, i, worker);
        if (status == BL_OK) continue;
        r->status = status;
        r->piece = i;
        __atomic_store_n(&pool->job.next, SIZE_MAX / 2, __ATOMIC_RELAXED);
        return;
    }
}

/* Waits for a job that the helper has not seen, or the end. */
static uint64_t next_job(struct bl_pool *pool, uint64_t seen)
{
    for (int i = 0; i < SPINS; i++) {
        uint64_t gate = __atomic_load_n(&pool->job.gate, __ATOMIC_RELAXED);
        if (gate >> PLACES != seen) return gate;
        relax();
    }
    pthread_mutex_lock(&pool->lock);
    /* Announced first, then looked: open_region() does it the other way round, so one sees the other. */
    __atomic_fetch_add(&pool->asleep, 1, __ATOMIC_SEQ_CST);
    uint64_t gate;
    while (gate = __atomic_load_n(&pool->job.gate, __ATOMIC_SEQ_CST), gate >> PLACES == seen && !pool->quit)
        pthread_cond_wait(&pool->wake, &pool->lock);
    __atomic_fetch_sub(&pool->asleep, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&pool->lock);
    return gate;
}

static void *helper_main(void *argument)
{
    helper *self = argument;
    struct bl_pool *pool = self->pool;
    for (uint64_t seen = 0;;) {
        uint64_t gate = next_job(pool, seen);
        if (gate >> PLACES == seen) return NULL; /* nothing new: the end */
        bool join = false;
        while (!join && gate & ((1u << PLACES) - 1))
            join = __atomic_compare_exchange_n(&pool->job.gate, &gate, gate - 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED);
        seen = gate >> PLACES;
        if (!join) continue;
        work(pool, self->index, next_piece(pool));
        __atomic_fetch_add(&pool->finished, 1, __ATOMIC_SEQ_CST);
        if (!__atomic_load_n(&pool->waiting, __ATOMIC_SEQ_CST)) continue;
        pthread_mutex_lock(&pool->lock);
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
    size_t bytes = (sizeof(struct bl_pool) + threads * sizeof(helper) + 63) / 64 * 64;
    struct bl_pool *pool = aligned_alloc(64, bytes);
    if (!pool) return NULL;
    memset(pool, 0, bytes);
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
    pool->quit = true; /* helpers that still look again find nothing and come here to sleep */
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
    pool->wanted = (unsigned)BL_MIN((size_t)pool->n_helpers, n - 1);
    pool->job.fn = fn;
    pool->job.arg = arg;
    pool->job.n = n;
    pool->job.next = 1; /* the first is the caller's, who wrote what comes first in memory the last time too */
    __atomic_store_n(&pool->region, true, __ATOMIC_RELEASE);
    uint64_t number = (__atomic_load_n(&pool->job.gate, __ATOMIC_RELAXED) >> PLACES) + 1;
    __atomic_store_n(&pool->job.gate, number << PLACES | pool->wanted, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pool->asleep, __ATOMIC_SEQ_CST) == 0) return;
    pthread_mutex_lock(&pool->lock);
    unsigned wake = BL_MIN(pool->asleep, pool->wanted);
    pthread_mutex_unlock(&pool->lock);
    for (; wake > 0; wake--) pthread_cond_signal(&pool->wake);
}

static bool all_finished(struct bl_pool *pool)
{
    return __atomic_load_n(&pool->finished, __ATOMIC_SEQ_CST) == pool->due;
}

static void close_region(struct bl_pool *pool)
{
    uint64_t places = (1u << PLACES) - 1, gate = __atomic_fetch_and(&pool->job.gate, ~places, __ATOMIC_ACQ_REL);
    pool->due += pool->wanted - (unsigned)(gate & places);
    for (int i = 0; i < SPINS && !all_finished(pool); i++) relax();
    if (!all_finished(pool)) {
        pthread_mutex_lock(&pool->lock);
        __atomic_store_n(&pool->waiting, true, __ATOMIC_SEQ_CST);
        while (!all_finished(pool)) pthread_cond_wait(&pool->idle, &pool->lock);
        __atomic_store_n(&pool->waiting, false, __ATOMIC_RELAXED);
        pthread_mutex_unlock(&pool->lock);
    }
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
    work(ctx->pool, 0, 0);
    close_region(ctx->pool);
    return outcome(ctx, ctx->pool);
}

unsigned bl_threads(const bl_ctx *ctx)
{
    return ctx->options.threads;
}
