/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The base room's one door: context and errors, arenas, hashing, random numbers, JSON, text,
 * files, threads, clock, progress.  Knows nothing of networks.  Everything above includes this.
 */
#ifndef BL_BASE_H
#define BL_BASE_H

#include <bitlathe.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BL_PRINTF(f, a) __attribute__((format(printf, f, a)))
#define BL_NODISCARD __attribute__((warn_unused_result))
#define BL_COUNTOF(a) (sizeof(a) / sizeof((a)[0]))
#define BL_MIN(a, b) ((a) < (b) ? (a) : (b))
#define BL_MAX(a, b) ((a) > (b) ? (a) : (b))

/* ------------------------------------------------------------------ status.c: context, errors */

struct bl_pool;

struct bl_ctx {
    bl_options options;      /* threads and memory resolved, never 0 */
    int isa;                 /* index into the instruction-set table of kernels; see kernels.h */
    struct bl_pool *pool;    /* made on first use */
    uint64_t live_bytes;     /* arenas, atomically */
    uint64_t peak_bytes;
    uint64_t refusals;       /* allocations that were refused, atomically */
    long fail_alloc;         /* BL_FAIL_ALLOC=n: the n-th allocation from now fails; < 0: never */
    volatile int interrupted;
    bl_status code;          /* the last error */
    char place[512], what[1024], remedy[512];
    char stage[64];          /* progress: stage now running, its start, last report */
    uint64_t stage_start_ns, stage_last_ns;
    json_t *trace;           /* BL_TRACE: events so far, NULL: not asked for */
    char *trace_path;
    uint64_t trace_start_ns;
};

/* Fills the error context and returns `code`, so that `return bl_fail(...)` reads well.  place: where
 * (file, node "conv3", option); remedy: what to do, may be "".  Text is one line: control bytes are
 * replaced.  Safe to call from pool workers: the first error of a parallel region stays. */
bl_status bl_fail(bl_ctx *ctx, bl_status code, const char *place, const char *remedy,
                  const char *format, ...) BL_PRINTF(5, 6);
/* Puts "PREFIX: " before the place of the pending error and returns its code. */
bl_status bl_fail_within(bl_ctx *ctx, const char *format, ...) BL_PRINTF(2, 3);

/* Code of the pending error of this thread (inside a parallel region each thread has its own). */
bl_status bl_pending(const bl_ctx *ctx);

/* One line for a person (warning, decision); goes to the note callback. */
void bl_note(bl_ctx *ctx, const char *format, ...) BL_PRINTF(2, 3);

/* Our own mistakes: fails with BL_INTERNAL, file and line, never aborts. */
#define BL_CHECK(ctx, cond)                                                                       \
    do {                                                                                          \
        if (!(cond))                                                                              \
            return bl_fail((ctx), BL_INTERNAL, __FILE__, "please report this", "line %d: %s",     \
                           __LINE__, #cond);                                                      \
    } while (0)

#define BL_TRY(call)                                                                              \
    do {                                                                                          \
        bl_status bl_try_ = (call);                                                               \
        if (bl_try_ != BL_OK) return bl_try_;                                                     \
    } while (0)
#define BL_TRY_GOTO(status, label, call)                                                          \
    do {                                                                                          \
        (status) = (call);                                                                        \
        if ((status) != BL_OK) goto label;                                                        \
    } while (0)

/* BL_INTERRUPTED once bl_interrupt() was called; long loops ask between pieces of work. */
bl_status bl_check_interrupt(bl_ctx *ctx);

/* Progress of a stage; cheap, rate-limited, from the calling thread only. */
void bl_progress(bl_ctx *ctx, const char *stage, uint64_t done, uint64_t total);

/* BL_TRACE=FILE: a piece of the calling thread's work that began at start_ns and ends now.  The file is
 * written when the context goes. */
void bl_trace_span(bl_ctx *ctx, const char *name, uint64_t start_ns);

uint64_t bl_now_ns(void);        /* monotonic */
uint64_t bl_peak_rss_bytes(void); /* of the process */
void bl_return_freed(void); /* what the C library keeps of freed memory goes back to the system, between stages */

/* ------------------------------------------------------------------ arena.c */

typedef struct bl_arena bl_arena;

/* An arena owns all it gave; bytes are counted against the context's ceiling.  NULL and a pending
 * BL_UNAVAILABLE error ("needs N MiB; raise --memory") when the ceiling or the system says no. */
bl_arena *bl_arena_new(bl_ctx *ctx, const char *tag) BL_NODISCARD;
void bl_arena_free(bl_arena *arena); /* NULL is fine */
/* count x size bytes, zeroed, aligned to 64 bytes when the block is >= 64 bytes, else to 16.  The
 * product is checked for overflow.  count 0 gives a valid pointer to nothing.  Not for two threads
 * at once on the same arena. */
void *bl_alloc(bl_arena *arena, size_t count, size_t size) BL_NODISCARD;
#define BL_NEW(arena, type, count) ((type *)bl_alloc((arena), (count), sizeof(type)))
char *bl_strdup(bl_arena *arena, const char *text) BL_NODISCARD;
char *bl_strndup(bl_arena *arena, const char *text, size_t n) BL_NODISCARD;
char *bl_format(bl_arena *arena, const char *format, ...) BL_PRINTF(2, 3) BL_NODISCARD;
/* Scratch: everything given after the mark is taken back by the reset. */
typedef struct bl_mark { void *block; size_t used, now; } bl_mark;
bl_mark bl_arena_mark(bl_arena *arena);
void bl_arena_reset(bl_arena *arena, bl_mark mark);
bl_ctx *bl_arena_ctx(bl_arena *arena);
/* Most bytes that were given at one time, alignment counted: what bl_arena_hold needs for the same work. */
size_t bl_arena_high_bytes(const bl_arena *arena);
/* Takes that much from the system now; after a mark behind it and as long as it lasts, giving and taking
 * back touches the system no more. */
bl_status bl_arena_hold(bl_arena *arena, size_t bytes);
/* From now on pieces of 1 MiB and more that would take over a quarter of what is left below the ceiling lie on disk
 * (spill.c), uncounted: for what is written and read in long stretches. */
void bl_arena_spill(bl_arena *arena);
/* Allocations that this context has refused so far.  Who goes another way on BL_UNAVAILABLE asks before and
 * after: what does not fit into memory is no reason to compute something else. */
uint64_t bl_refusals(const bl_ctx *ctx);
/* What a piece takes of a held block at most; what an arena takes from the system that holds so many bytes and
 * gives no more. */
size_t bl_arena_room(size_t bytes);
size_t bl_arena_hold_bytes(size_t bytes);
#define BL_ALLOC_TRY(ctx, ptr)                                                                    \
    do {                                                                                          \
        if (!(ptr)) return bl_pending(ctx);                                                       \
    } while (0)

/* a * b (and more) without overflow; false when it would. */
bool bl_mul_size(size_t a, size_t b, size_t *out);
bool bl_mul_i64(int64_t a, int64_t b, int64_t *out);
bool bl_add_i64(int64_t a, int64_t b, int64_t *out);

/* ------------------------------------------------------------------ hash.c (xxHash, 128 bits) */

typedef struct bl_hash { char hex[33]; } bl_hash; /* 32 hex digits and a NUL */
typedef struct bl_hasher bl_hasher;
bl_hasher *bl_hasher_new(bl_arena *arena) BL_NODISCARD;
void bl_hash_bytes(bl_hasher *h, const void *data, size_t n);
void bl_hash_text(bl_hasher *h, const char *text); /* with its length, so that "ab"+"c" != "a"+"bc" */
void bl_hash_i64(bl_hasher *h, int64_t v);
void bl_hash_f64(bl_hasher *h, double v);
bl_hash bl_hash_end(bl_hasher *h); /* frees the state */
bl_hash bl_hash_of(const void *data, size_t n);
uint64_t bl_checksum(const void *data, size_t n); /* 64 bits, for file sections */

/* ------------------------------------------------------------------ random.c (xoshiro256++) */

typedef struct bl_rng { uint64_t s[4]; double spare; int has_spare; } bl_rng;
/* A stream of its own for each (seed, label, index): pieces of work drawn in any order agree. */
bl_rng bl_rng_make(uint64_t seed, const char *label, uint64_t index);
uint64_t bl_rng_u64(bl_rng *r);
uint64_t bl_rng_below(bl_rng *r, uint64_t n); /* unbiased, n > 0 */
double bl_rng_unit(bl_rng *r);                /* [0, 1) */
double bl_rng_normal(bl_rng *r);
void bl_rng_shuffle(bl_rng *r, uint32_t *items, size_t n);

/* ------------------------------------------------------------------ file.c */

/* A path of NULL anywhere here is one that could not be made: what is pending is the answer. */

typedef struct bl_map { const uint8_t *data; size_t size; void *base; size_t base_size; } bl_map;
/* Maps a regular file read-only; an empty file gives size 0.  BL_NOINPUT when missing or not a
 * regular file.  size_limit 0: none; larger: BL_DATA. */
bl_status bl_map_file(bl_ctx *ctx, const char *path, uint64_t size_limit, bl_map *out);
void bl_unmap(bl_map *map);

/* Writes a whole file so that it is either the old or the new one: temporary name in the same
 * folder, fsync, rename, fsync of the folder.  BL_CANTCREATE, or BL_IO on a full disk (the temporary
 * file is removed). */
bl_status bl_write_file(bl_ctx *ctx, const char *path, const void *data, size_t size);
/* The same in pieces. */
typedef struct bl_writer bl_writer;
bl_status bl_writer_open(bl_ctx *ctx, const char *path, bl_writer **out);
bl_status bl_writer_put(bl_writer *w, const void *data, size_t size);
bl_status bl_writer_close(bl_writer *w);  /* completes; frees w also on failure */
void bl_writer_abort(bl_writer *w);       /* removes the temporary file; NULL is fine */

/* Appends one line and syncs (trials.jsonl): a kill leaves at most one partial last line. */
bl_status bl_append_line(bl_ctx *ctx, const char *path, const char *line);

bl_status bl_make_dir(bl_ctx *ctx, const char *path); /* with parents; fine if it exists */
/* Could a file of that name be made?  For what takes long: asked before the work. */
bl_status bl_can_create(bl_ctx *ctx, const char *path);
bool bl_file_exists(const char *path);
char *bl_path_join(bl_arena *arena, const char *dir, const char *name);
const char *bl_path_base(const char *path);

/* ------------------------------------------------------------------ json.c (Jansson behind it) */

/* Reads one JSON object; file at most 256 MiB, nesting as Jansson bounds it.  *out is the caller's
 * (json_decref).  BL_DATA with line and column. */
bl_status bl_json_read(bl_ctx *ctx, const char *path, json_t **out);
bl_status bl_json_parse(bl_ctx *ctx, const char *place, const char *text, size_t n, json_t **out);
/* Stable bytes: insertion order, 17 significant digits, one space of indent, final newline. */
bl_status bl_json_write(bl_ctx *ctx, const char *path, const json_t *value);
char *bl_json_text(bl_arena *arena, const json_t *value, bool indent); /* NULL on failure */
/* Typed access with a range and a place in the error; `place` names the record and item. */
bl_status bl_json_i64(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                      int64_t lo, int64_t hi, int64_t *out);
bl_status bl_json_f64(bl_ctx *ctx, const json_t *obj, const char *key, const char *place, double *out);
bl_status bl_json_bool(bl_ctx *ctx, const json_t *obj, const char *key, const char *place, bool *out);
bl_status bl_json_str(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                      const char **out); /* borrowed from obj */
bl_status bl_json_array(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                        size_t n_max, json_t **out); /* borrowed */
bl_status bl_json_object(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                         json_t **out); /* borrowed */
json_t *bl_json_real(double v); /* a NaN or infinity becomes null */

/* Every text record opens with the same head:
 *   {"bitlathe":"KIND","version":"1.0","hash":"...","made_from":{"graph":"..."},"seed":1,"tool":"0.1.0", ...}
 * The hash is that of the body with "hash" left out.  bl_record_new starts one (caller adds the
 * rest), bl_record_write computes the hash, writes it atomically and gives it back; bl_record_read
 * checks kind, major version, hash (a file edited by hand: pass `edited` non-NULL to be told
 * instead of failing). */
json_t *bl_record_new(bl_ctx *ctx, const char *kind, int major, int minor);
bl_status bl_record_write(bl_ctx *ctx, json_t *record, const char *path, bl_hash *hash);
bl_status bl_record_read(bl_ctx *ctx, const char *path, const char *kind, int major, bool *edited,
                         json_t **out, bl_hash *hash);

/* ------------------------------------------------------------------ thread.c */

/* Calls fn(arg, i, worker) for i = 0..n-1 on at most ctx->options.threads threads, the calling one
 * among them; worker in 0..threads-1 names private scratch.  Which thread takes which i is open, so
 * results must go to places indexed by i.  Returns the status of the smallest i that failed; later
 * pieces may not have run.  Not reentrant: a call from inside runs serially. */
typedef bl_status bl_piece_fn(void *arg, size_t i, unsigned worker);
bl_status bl_parallel_for(bl_ctx *ctx, size_t n, bl_piece_fn *fn, void *arg);
unsigned bl_threads(const bl_ctx *ctx);
void bl_pool_free(struct bl_pool *pool);

/* ------------------------------------------------------------------ text.c */

/* 1.5 KiB, 12.3 MiB; buf at least 32 bytes; returns buf. */
char *bl_human_bytes(uint64_t bytes, char *buf);
/* "4096", "64k", "300KiB", "1.5MB", "2GiB" -> bytes; false if it is none of these. */
bool bl_parse_bytes(const char *text, uint64_t *out);
bool bl_parse_f64(const char *text, double *out);  /* whole text, finite */
bool bl_parse_u64(const char *text, uint64_t *out); /* whole text, decimal */
bool bl_utf8_valid(const char *text, size_t n);     /* no NUL, no surrogates, no overlong */

/* ------------------------------------------------------------------ rank.c */

/* Kendall's tau-b of two lists: 1 the same order, -1 the reverse; NaN where all of one list are equal, or a
 * value is NaN. */
double bl_kendall_tau_b(const double *a, const double *b, size_t n);

#endif
