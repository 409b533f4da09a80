/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bitlathe: the right number of bits for every layer of a neural network on the chip that runs it.
 *
 * This header is the library's manual and its only public one.  The straight way through it:
 *
 *     ONNX file --bl_import--> GRAPH --bl_prepare--> GRAPH'
 *     GRAPH' + samples --bl_calibrate--> STATS
 *     GRAPH' + STATS   --bl_sense--> SENS        what each choice of bits costs in accuracy
 *     GRAPH' + target  --bl_measure--> COST      what it costs in time, bytes, energy on this chip
 *     SENS + COST + budgets --bl_search--> PLAN  a grid for every quantizer
 *     GRAPH' + PLAN --bl_lower--> PROGRAM        integers only
 *     PROGRAM --bl_exec_*--> outputs
 *
 * Conventions, everywhere:
 *  - A function that can fail returns bl_status (0 is success), takes the context first and its
 *    results last.  On failure the results are untouched and bl_last_error() says place, what is
 *    wrong and what to do about it.  Nothing here prints, aborts or keeps global state.
 *  - A record (bl_graph, bl_stats, ...) is owned by whoever received it and freed by its own
 *    _free function, which takes NULL.  Records are read-only once made and may be shared by
 *    threads; a context may not: one context for each calling thread.
 *  - A record made from another one (a prepared graph, a program) stays valid after its source
 *    is freed unless its contract says "borrows".
 *  - Sizes end in _bytes, times in _ns or _ms, widths in _bits.
 */
#ifndef BITLATHE_H
#define BITLATHE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BL_VERSION_MAJOR 0
#define BL_VERSION_MINOR 1
#define BL_VERSION_PATCH 0
#define BL_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define BL_API __attribute__((visibility("default")))
#else
#define BL_API
#endif

/* Result of a call.  The numbers are the exit codes of the command line (after sysexits.h). */
typedef enum bl_status {
    BL_OK = 0,           /* done */
    BL_GOAL = 1,         /* a goal was not reached: the budgets are infeasible, the plan refused */
    BL_USAGE = 64,       /* an argument makes no sense */
    BL_DATA = 65,        /* bad input data: model, record or samples */
    BL_NOINPUT = 66,     /* an input file is missing or unreadable */
    BL_UNAVAILABLE = 69, /* not available here: operator, instruction set, memory budget */
    BL_INTERNAL = 70,    /* our bug */
    BL_CANTCREATE = 73,  /* an output cannot be created */
    BL_IO = 74,          /* reading or writing failed half-way */
    BL_STOPPED = 75,     /* stopped early; the same call resumes */
    BL_INTERRUPTED = 130 /* interrupted by the user; the same call resumes */
} bl_status;

/* ------------------------------------------------------------------ context */

typedef struct bl_ctx bl_ctx;

/* Called from the calling thread only.  `done` of `total` pieces of `stage` are finished;
 * seconds_left is an estimate, negative while unknown. */
typedef void bl_progress_fn(void *user, const char *stage, uint64_t done, uint64_t total,
                            double seconds_left);

/* Called with one line (no newline) that a person may want to read: warnings and decisions. */
typedef void bl_note_fn(void *user, const char *line);

typedef struct bl_options {
    unsigned threads;       /* 0: one for each core that the process may use */
    uint64_t memory_bytes;  /* ceiling of what input can make us allocate; 0: three quarters of RAM */
    uint64_t seed;          /* every random choice derives from it; default 1 */
    const char *isa;        /* cap on instruction sets: "ref", "avx2", ...; NULL: what the CPU has */
    bl_progress_fn *progress;
    bl_note_fn *note;
    void *user;             /* handed to both callbacks */
} bl_options;

/* Options filled from the environment: BL_THREADS, BL_SEED, BL_ISA; the rest zero. */
BL_API bl_options bl_options_default(void);

/* options may be NULL.  Fails (returns BL_USAGE or BL_UNAVAILABLE) for an unknown instruction set
 * or one that this CPU lacks; *out is then a context that only carries the error (free it too),
 * or NULL when even that could not be allocated. */
BL_API bl_status bl_ctx_new(const bl_options *options, bl_ctx **out);
BL_API void bl_ctx_free(bl_ctx *ctx);

typedef struct bl_error {
    bl_status code;
    const char *place;  /* file, node, option: where it is wrong */
    const char *what;   /* one sentence */
    const char *remedy; /* what to do; may be empty, never NULL */
} bl_error;

/* The error of the last call that failed; strings live until the next call on this context. */
BL_API bl_error bl_last_error(const bl_ctx *ctx);

/* Safe from a signal handler: the running call ends soon with BL_INTERRUPTED, finished work saved. */
BL_API void bl_interrupt(bl_ctx *ctx);

/* Bytes now and at most held in arenas of this context. */
BL_API void bl_memory_use(const bl_ctx *ctx, uint64_t *now_bytes, uint64_t *peak_bytes);

/* ------------------------------------------------------------------ records */

typedef struct bl_graph bl_graph;     /* the network: nodes, values, constants; read-only */
typedef struct bl_data bl_data;       /* samples: an open data set with its preprocessing */
typedef struct bl_stats bl_stats;     /* what flows through each value */
typedef struct bl_menu bl_menu;       /* units x candidates: the common index of SENS and COST */
typedef struct bl_sens bl_sens;       /* accuracy cost per (unit, candidate) */
typedef struct bl_cost bl_cost;       /* chip cost per operator shape and widths */
typedef struct bl_plan bl_plan;       /* the choice: a grid for each quantizer */
typedef struct bl_weights bl_weights; /* constants that tuning replaced */
typedef struct bl_program bl_program; /* integers only; what runs */

#ifdef __cplusplus
}
#endif
#endif
