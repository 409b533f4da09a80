/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arenas: memory that is given out upwards and taken back all at once.  Counts every byte taken
 * from the system against the context's ceiling, so that a hostile file ends in a sentence.
 *
 *     top -> [block 2: used .... | free] -> [block 1: full] -> [block 0: full]
 *     large -> own allocation -> own allocation
 *
 * Blocks double from 64 KiB to 4 MiB.  What would fill half a block gets an allocation of its own;
 * its node lies in the block that was on top, so that its place there tells whether it came after a
 * mark.  Memory comes from calloc, or from the system where a piece is large; `dirty` remembers how far a
 * block was ever used, and only that much is cleared again after a reset.
 */
#include "base/base_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#define POISON(p, n) __asan_poison_memory_region((p), (n))
#define UNPOISON(p, n) __asan_unpoison_memory_region((p), (n))
#define RED_ZONE 16 /* between neighbours, so that running over the end is seen */
#else
#define POISON(p, n) ((void)(p), (void)(n))
#define UNPOISON(p, n) ((void)(p), (void)(n))
#define RED_ZONE 0
#endif

#define LINE 64u
#define BLOCK_MIN ((size_t)64 << 10)
#define BLOCK_MAX ((size_t)4 << 20)
#define SPILL_MIN ((size_t)1 << 20)
#define MAP_MIN ((size_t)1 << 20)
#define LARGE_PAGE ((size_t)2 << 20)

typedef struct block {
    struct block *below;
    uint64_t serial;          /* grows upwards */
    size_t size, used, dirty; /* bytes of data; dirty >= used */
    uint8_t *data;            /* aligned to LINE, inside this allocation */
    size_t charged;
} block;

typedef struct large {
    struct large *next;
    void *raw;
    size_t bytes;
    bool spilled;    /* on disk, uncounted */
    uint64_t serial; /* block and place of this node */
    size_t offset;
} large;

struct bl_arena {
    bl_ctx *ctx;
    block *top, *spare; /* spare: one emptied block, against thrashing between mark and reset */
    large *big;
    uint64_t next_serial;
    size_t next_size;
    size_t now, high;   /* bytes given and not taken back; the most ever */
    size_t held;        /* bl_arena_hold: pieces up to this size come from blocks too */
    bool spills;        /* bl_arena_spill */
    char tag[32];
};

/* ------------------------------------------------------------------ sizes */

bool bl_mul_size(size_t a, size_t b, size_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool bl_mul_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_mul_overflow(a, b, out);
}

bool bl_add_i64(int64_t a, int64_t b, int64_t *out)
{
    return !__builtin_add_overflow(a, b, out);
}

/* ------------------------------------------------------------------ the ceiling */

static bool charge(bl_ctx *ctx, size_t bytes)
{
    uint64_t now = __atomic_load_n(&ctx->live_bytes, __ATOMIC_RELAXED), then;
    do {
        if (now > ctx->options.memory_bytes) return false;
        if (bytes > ctx->options.memory_bytes - now) return false;
        then = now + bytes;
    } while (!__atomic_compare_exchange_n(&ctx->live_bytes, &now, then, true, __ATOMIC_RELAXED,
                                          __ATOMIC_RELAXED));
    uint64_t peak = __atomic_load_n(&ctx->peak_bytes, __ATOMIC_RELAXED);
    while (peak < then && !__atomic_compare_exchange_n(&ctx->peak_bytes, &peak, then, true,
                                                       __ATOMIC_RELAXED, __ATOMIC_RELAXED))
        continue;
    return true;
}

static void discharge(bl_ctx *ctx, size_t bytes)
{
    __atomic_fetch_sub(&ctx->live_bytes, bytes, __ATOMIC_RELAXED);
}

/* Pieces from here on are mappings of their own, which go back to the system when they are freed: the C library keeps up to
 * 32 MiB of freed pieces each in its heap.  The address sanitizer's leak check sees pointers in its own heap alone. */
static bool is_mapped(size_t bytes)
{
#if defined(__SANITIZE_ADDRESS__)
    return (void)bytes, false;
#else
    return bytes >= MAP_MIN;
#endif
}

/* Zeroed lazily; NULL: none. */
static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

/* NULL without an error set: the caller may have a smaller wish. */
static void *take(bl_ctx *ctx, size_t bytes)
{
    if (!charge(ctx, bytes)) return NULL;
    void *p = is_mapped(bytes) ? map(bytes) : calloc(1, bytes);
    if (!p) discharge(ctx, bytes);
    return p;
}

/* The same on the boundary of a large page, which the system may then take for every part that fills one: memory that
 * is read over and over spares look-ups of addresses.  A wish: nothing but time depends on it. */
static void *take_large_pages(bl_ctx *ctx, size_t bytes)
{
    if (!is_mapped(bytes)) return take(ctx, bytes);
    if (!charge(ctx, bytes)) return NULL;
    size_t page = (size_t)sysconf(_SC_PAGESIZE), whole = (bytes + page - 1) / page * page; /* <= SIZE_MAX / 2: no overflow */
    uint8_t *p = map(whole + LARGE_PAGE);
    if (!p) {
        discharge(ctx, bytes);
        return NULL;
    }
    size_t before = -(uintptr_t)p & (LARGE_PAGE - 1);
    if (before) munmap(p, before);
    munmap(p + before + whole, LARGE_PAGE - before);
    p += before;
#ifdef MADV_HUGEPAGE
    madvise(p, bytes / LARGE_PAGE * LARGE_PAGE, MADV_HUGEPAGE); /* before the first touch */
#endif
    return p;
}

static void give_back(bl_ctx *ctx, void *p, size_t bytes)
{
    UNPOISON(p, bytes);
    if (is_mapped(bytes)) munmap(p, bytes);
    else free(p);
    discharge(ctx, bytes);
}

uint64_t bl_refusals(const bl_ctx *ctx)
{
    return __atomic_load_n(&ctx->refusals, __ATOMIC_RELAXED);
}

static void *refuse(bl_ctx *ctx, const char *tag, size_t bytes)
{
    char need[32], live[32], ceiling[32];
    __atomic_fetch_add(&ctx->refusals, 1, __ATOMIC_RELAXED);
    bl_fail(ctx, BL_UNAVAILABLE, tag, "raise --memory or use a smaller input",
            "needs %s more; %s of %s are in use", bl_human_bytes(bytes, need),
            bl_human_bytes(__atomic_load_n(&ctx->live_bytes, __ATOMIC_RELAXED), live),
            bl_human_bytes(ctx->options.memory_bytes, ceiling));
    return NULL;
}

/* BL_FAIL_ALLOC: true for the n-th allocation of this context. */
static bool made_to_fail(bl_ctx *ctx)
{
    if (__atomic_load_n(&ctx->fail_alloc, __ATOMIC_RELAXED) <= 0) return false;
    return __atomic_fetch_sub(&ctx->fail_alloc, 1, __ATOMIC_RELAXED) == 1;
}

/* ------------------------------------------------------------------ blocks */

static uint8_t *align_line(uint8_t *p)
{
    return p + (-(uintptr_t)p & (LINE - 1));
}

static block *block_new(bl_arena *arena, size_t size, bool long_lived)
{
    size_t bytes = sizeof(block) + LINE + size; /* size <= SIZE_MAX / 2: no overflow */
    block *b = long_lived && bytes >= LARGE_PAGE ? take_large_pages(arena->ctx, bytes) : take(arena->ctx, bytes);
    if (!b) return NULL;
    b->data = align_line((uint8_t *)(b + 1));
    b->size = size;
    b->charged = bytes;
    return b;
}

/* Puts a block with at least `need` free bytes on top. */
static bool push_block(bl_arena *arena, size_t need)
{
    block *b = arena->spare;
    if (b && b->size >= need)
        arena->spare = NULL;
    else {
        b = block_new(arena, BL_MAX(arena->next_size, need), false);
        /* Close to the ceiling a small block may still fit where a comfortable one does not. */
        if (!b) b = block_new(arena, need, false);
        if (!b) return false;
        arena->next_size = BL_MIN(arena->next_size * 2, BLOCK_MAX);
    }
    b->used = 0;
    b->below = arena->top;
    b->serial = arena->next_serial++;
    arena->top = b;
    POISON(b->data, b->size);
    return true;
}

/* NULL without an error set. */
static void *from_block(bl_arena *arena, size_t size)
{
    size_t align = size >= LINE ? LINE : 16;
    size_t room = BL_MAX((size + 15) & ~(size_t)15, (size_t)16) + RED_ZONE;
    block *b = arena->top;
    size_t start = b ? (b->used + align - 1) & ~(align - 1) : 0;
    if (!b || start > b->size || room > b->size - start) {
        if (!push_block(arena, room)) return NULL;
        b = arena->top;
        start = 0;
    }
    uint8_t *p = b->data + start;
    UNPOISON(p, size);
    if (start < b->dirty) memset(p, 0, BL_MIN(size, b->dirty - start));
    b->used = start + room;
    b->dirty = BL_MAX(b->dirty, b->used);
    return p;
}

/* Should a piece go to disk rather than take most of what is left? */
static bool is_spilled(const bl_arena *arena, size_t size)
{
    uint64_t live = __atomic_load_n(&arena->ctx->live_bytes, __ATOMIC_RELAXED), ceiling = arena->ctx->options.memory_bytes;
    return arena->spills && size >= SPILL_MIN && (live >= ceiling || size > (ceiling - live) / 4);
}

static void *from_system(bl_arena *arena, size_t size)
{
    large *node = from_block(arena, sizeof(large));
    if (!node) return NULL;
    size_t bytes = size + LINE;
    if (bytes < size) return NULL;
    void *raw = is_spilled(arena, size) ? bl_spill_take(bytes) : NULL;
    bool spilled = raw != NULL;
    if (!spilled) raw = take(arena->ctx, bytes);
    if (!raw) return NULL; /* the node stays behind unused; the arena is about to die anyway */
    *node = (large){.next = arena->big,
                    .raw = raw,
                    .bytes = bytes,
                    .spilled = spilled,
                    .serial = arena->top->serial,
                    .offset = (size_t)((uint8_t *)node - arena->top->data)};
    arena->big = node;
    uint8_t *p = align_line(raw);
    POISON(p + size, bytes - size - (size_t)(p - (uint8_t *)raw));
    return p;
}

/* ------------------------------------------------------------------ arenas */

bl_arena *bl_arena_new(bl_ctx *ctx, const char *tag)
{
    if (made_to_fail(ctx)) return refuse(ctx, tag, sizeof(bl_arena));
    bl_arena *arena = take(ctx, sizeof(*arena));
    if (!arena) return refuse(ctx, tag, sizeof(*arena));
    arena->ctx = ctx;
    arena->next_size = BLOCK_MIN;
    arena->next_serial = 1;
    snprintf(arena->tag, sizeof(arena->tag), "%s", tag);
    return arena;
}

void bl_arena_free(bl_arena *arena)
{
    if (!arena) return;
    bl_ctx *ctx = arena->ctx;
    bl_arena_reset(arena, (bl_mark){NULL, 0, 0});
    if (arena->spare) give_back(ctx, arena->spare, arena->spare->charged);
    give_back(ctx, arena, sizeof(*arena));
}

void bl_arena_spill(bl_arena *arena)
{
    arena->spills = true;
}

bl_ctx *bl_arena_ctx(bl_arena *arena)
{
    return arena->ctx;
}

void *bl_alloc(bl_arena *arena, size_t count, size_t size)
{
    size_t bytes;
    if (!bl_mul_size(count, size, &bytes)) {
        bl_fail(arena->ctx, BL_UNAVAILABLE, arena->tag, "use a smaller input",
                "%zu x %zu bytes are more than memory can hold", count, size);
        return NULL;
    }
    if (made_to_fail(arena->ctx)) return refuse(arena->ctx, arena->tag, bytes);
    void *p = bytes <= BL_MAX(BLOCK_MIN / 2, arena->held) ? from_block(arena, bytes) : from_system(arena, bytes);
    if (!p) return refuse(arena->ctx, arena->tag, bytes);
    arena->now += (bytes + LINE - 1) / LINE * LINE + LINE + RED_ZONE;
    arena->high = BL_MAX(arena->high, arena->now);
    return p;
}

bl_mark bl_arena_mark(bl_arena *arena)
{
    return (bl_mark){arena->top, arena->top ? arena->top->used : 0, arena->now};
}

size_t bl_arena_high_bytes(const bl_arena *arena)
{
    return arena->high;
}

size_t bl_arena_room(size_t bytes)
{
    return (BL_MAX(bytes, (size_t)1) + RED_ZONE + LINE - 1) / LINE * LINE;
}

size_t bl_arena_hold_bytes(size_t bytes)
{
    return sizeof(bl_arena) + sizeof(block) + LINE + BL_MAX(bytes, LINE);
}

bl_status bl_arena_hold(bl_arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) {
        refuse(arena->ctx, arena->tag, bytes);
        return BL_UNAVAILABLE;
    }
    block *b = made_to_fail(arena->ctx) ? NULL : block_new(arena, BL_MAX(bytes, LINE), true);
    if (!b) {
        refuse(arena->ctx, arena->tag, bytes);
        return BL_UNAVAILABLE;
    }
    b->below = arena->top;
    b->serial = arena->next_serial++;
    arena->top = b;
    arena->held = bytes;
    POISON(b->data, b->size);
    return BL_OK;
}

/* Keeps the larger of the two as the spare. */
static void retire(bl_arena *arena, block *b)
{
    block *loser = b;
    if (!arena->spare || b->size > arena->spare->size) {
        loser = arena->spare;
        arena->spare = b;
    }
    if (loser) give_back(arena->ctx, loser, loser->charged);
}

void bl_arena_reset(bl_arena *arena, bl_mark mark)
{
    block *keep = mark.block;
    uint64_t serial = keep ? keep->serial : 0; /* 0 lies below every block */
    while (arena->big && (arena->big->serial > serial ||
                          (arena->big->serial == serial && arena->big->offset >= mark.used))) {
        large *node = arena->big;
        arena->big = node->next;
        UNPOISON(node->raw, node->bytes);
        if (node->spilled) bl_spill_give_back(node->raw, node->bytes);
        else give_back(arena->ctx, node->raw, node->bytes);
    }
    while (arena->top != keep) {
        block *b = arena->top;
        arena->top = b->below;
        retire(arena, b);
    }
    if (keep) {
        keep->used = mark.used;
        POISON(keep->data + keep->used, keep->size - keep->used);
    }
    arena->now = mark.now;
}

/* ------------------------------------------------------------------ text in arenas */

char *bl_strndup(bl_arena *arena, const char *text, size_t n)
{
    size_t length = strnlen(text, n);
    char *copy = bl_alloc(arena, length + 1, 1); /* length < SIZE_MAX: it was in memory */
    if (copy) memcpy(copy, text, length);
    return copy;
}

char *bl_strdup(bl_arena *arena, const char *text)
{
    return bl_strndup(arena, text, strlen(text));
}

char *bl_format(bl_arena *arena, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    char *text = NULL;
    if (n < 0)
        bl_fail(arena->ctx, BL_INTERNAL, arena->tag, "please report this", "cannot format a text");
    else
        text = bl_alloc(arena, (size_t)n + 1, 1);
    if (text) vsnprintf(text, (size_t)n + 1, format, again);
    va_end(again);
    va_end(args);
    return text;
}
