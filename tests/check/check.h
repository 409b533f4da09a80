/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * kernel-check: every row of kernels.def that this CPU can run, compared bit for bit with the last
 * row of its contract, its reference.  What the files of the program share.
 */
#ifndef BL_CHECK_H
#define BL_CHECK_H

#include "kernels/kernels.h"

typedef struct check {
    const char *only;       /* --row: this row alone; NULL: all */
    uint64_t seed;
    uint64_t one_of;        /* --one-of: one of so many hand-picked convolutions is run, which ones by the seed */
    uint64_t deadline_ns;   /* random cases of the running contract end here */
    size_t *passed, *failed; /* by row number in bl_kernels */
} check;

/* ---- guard.c: buffers between pages that cannot be touched */

typedef struct guard {
    uint8_t *data;          /* size bytes, flush with the page after or before them */
    size_t size;
    uint8_t *map;
    size_t map_size;
} guard;

/* at_end: the end of the data meets the guard page, else its start does.  Filled with a pattern.
 * Aborts the program when memory runs out: there is nothing to check then. */
guard guard_new(size_t size, bool at_end);
bool guard_intact(const guard *g); /* no byte between the data and its pages' ends was written */
bool guard_free(guard *g);         /* the same, and frees */
/* Installs a handler that names the running case when a guard page is touched. */
void guard_watch(void);
/* What runs now: "conv_dot_avx2: case 17 ..."; kept for the handler. */
void guard_case(const char *row, const char *what);

/* ---- one function for each group of contracts: corners, then random cases to the deadline */

void check_conv(check *k);
void check_pair(check *k);
void check_pool(check *k);
void check_move(check *k);
void check_edge(check *k);
void check_matmul(check *k);
void check_layernorm(check *k);

/* Rows other than the reference that are here and asked for. */
bool check_wanted(const check *k, size_t row, bl_contract contract);
const bl_kernel_info *check_reference(bl_contract contract);
/* Compares two outputs and counts; prints the first difference.  code_bytes: of an element. */
void check_compare(check *k, size_t row, const char *what, const void *got, const void *wanted,
                   size_t bytes, size_t code_bytes, bool intact);
bool check_time_left(const check *k);

/* A code of the given width; extremes more often than their share. */
int32_t random_code(bl_rng *r, int32_t bits);
int64_t random_between(bl_rng *r, int64_t lo, int64_t hi);
bool random_chance(bl_rng *r, double p);
double random_log(bl_rng *r, double lo, double hi); /* uniform in the logarithm */
int32_t random_bits(bl_rng *r);                     /* 1..8 mostly, else 9..16 */
bl_grid random_grid(bl_rng *r, int32_t bits);
/* n codes; pattern 0: random, 1: all 0, 2: all greatest, 3: 0 and greatest in turn. */
void random_codes(bl_rng *r, void *codes, int32_t bits, size_t n, int pattern);

/* ---- bench.c */
void bench_rows(const char *only, double seconds);

/* ---- peaks.c */
void bench_peaks(void);

/* ---- layers.c: net of its table, or "all".  What takes turns beside 8/8 and the peer: widths for which another row is
 * chosen, all widths, or every row that can do 8/8 */
typedef enum bench_which { BENCH_CHOSEN, BENCH_WIDTHS, BENCH_ROWS } bench_which;
typedef enum bench_where { BENCH_WARM, BENCH_L3, BENCH_COLD } bench_where; /* the weights */
void bench_layers(const char *net, bl_isa cap, bench_which which, bench_where where, double seconds);

/* ---- peer.c: oneDNN's int8 for the same shape; NULL where it is not built in or cannot */
typedef struct peer peer;
peer *peer_new(const bl_conv_args *a, size_t cold_bytes);
void peer_run(peer *p, size_t turn);
size_t peer_copies(const peer *p); /* of the weights, which turns walk over */
void peer_free(peer *p);

#endif
