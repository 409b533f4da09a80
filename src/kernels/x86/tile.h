/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AMX tiles: the seven instructions that kernels use, one macro each, in own asm: gcc 12's intrinsics name
 * no memory, so what they read is taken for dead.
 *
 * BL_TILE_EMULATED gives the same macros in plain C, tile registers an array: the very source of a kernel then runs,
 * slowly, where there is no AMX (Intel SDM volume 1, chapter 18; volume 2, TDPBUSD, TILELOADD, TILESTORED, TILEZERO).
 *
 * A kernel keeps a `tile_file` of its own, opens it with a configuration and closes it before it returns: no tile state
 * lives across calls.
 */
#ifndef BL_KERNELS_TILE_H
#define BL_KERNELS_TILE_H

#include <stddef.h>
#include <stdint.h>

enum { TILE_ROWS = 16, TILE_BYTES = 64, TILE_REGISTERS = 8 };

/* As LDTILECFG reads it, palette 1. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];         /* of a row */
    uint8_t rows[16];
} tile_config;
_Static_assert(sizeof(tile_config) == 64, "the configuration is read as it stands");

/* All registers whole: 16 rows of 64 bytes. */
static inline tile_config tile_config_whole(void)
{
    tile_config c = {.palette = 1};
    for (int i = 0; i < TILE_REGISTERS; i++) {
        c.bytes[i] = TILE_BYTES;
        c.rows[i] = TILE_ROWS;
    }
    return c;
}

#if !defined(BL_TILE_EMULATED)

typedef struct tile_file {
    char none;                  /* they are the CPU's */
} tile_file;
#define TILES_OPEN(t, config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)) : "memory")
#define TILES_CLOSE(t) __asm__ volatile("tilerelease" : : : "memory")
#define TILE_LOAD(t, n, from, stride)                                                              \
    __asm__ volatile("tileloadd (%0,%1,1), %%tmm" #n : : "r"(from), "r"((size_t)(stride)) : "memory")
#define TILE_STORE(t, n, to, stride)                                                               \
    __asm__ volatile("tilestored %%tmm" #n ", (%0,%1,1)" : : "r"(to), "r"((size_t)(stride)) : "memory")
#define TILE_ZERO(t, n) __asm__ volatile("tilezero %%tmm" #n : :)
/* Sums c += a (unsigned bytes) * b (signed bytes), four a dword, modulo 2^32. */
#define TILE_DOT(t, c, a, b) __asm__ volatile("tdpbusd %%tmm" #b ", %%tmm" #a ", %%tmm" #c : :)

#else

#include <string.h>

typedef struct tile_file {
    tile_config config;
    uint8_t reg[TILE_REGISTERS][TILE_ROWS][TILE_BYTES];
} tile_file;

static inline void tile_check(const tile_file *t, unsigned n)
{
    if (t->config.palette != 1 || n >= TILE_REGISTERS || t->config.rows[n] > TILE_ROWS || t->config.bytes[n] > TILE_BYTES)
        __builtin_trap(); /* #UD */
}

static inline void tiles_open(tile_file *t, const tile_config *config)
{
    memset(t, 0, sizeof *t);
    t->config = *config;
}

static inline void tile_load(tile_file *t, unsigned n, const void *from, size_t stride)
{
    tile_check(t, n);
    memset(t->reg[n], 0, sizeof t->reg[n]);
    for (size_t r = 0; r < t->config.rows[n]; r++)
        memcpy(t->reg[n][r], (const uint8_t *)from + r * stride, t->config.bytes[n]);
}

static inline void tile_zero(tile_file *t, unsigned n)
{
    tile_check(t, n);
    memset(t->reg[n], 0, sizeof t->reg[n]);
}

static inline void tile_store(const tile_file *t, unsigned n, void *to, size_t stride)
{
    tile_check(t, n);
    for (size_t r = 0; r < t->config.rows[n]; r++)
        memcpy((uint8_t *)to + r * stride, t->reg[n][r], t->config.bytes[n]);
}

static inline void tile_dot(tile_file *t, unsigned c, unsigned a, unsigned b)
{
    const tile_config *k = &t->config;
    tile_check(t, c);
    tile_check(t, a);
    tile_check(t, b);
    if (k->rows[c] != k->rows[a] || k->bytes[a] != k->rows[b] * 4 || k->bytes[c] != k->bytes[b]) __builtin_trap();
    for (size_t row = 0; row < k->rows[c]; row++) {
        uint32_t sum[TILE_BYTES / 4];
        memcpy(sum, t->reg[c][row], sizeof sum);
        for (size_t step = 0; step < k->rows[b]; step++)
            for (size_t i = 0; i < k->bytes[c]; i++)
                sum[i / 4] += (uint32_t)(t->reg[a][row][4 * step + i % 4] * (int8_t)t->reg[b][step][i]);
        memcpy(t->reg[c][row], sum, sizeof sum);
    }
}

#define TILES_OPEN(t, config) tiles_open(t, config)
#define TILES_CLOSE(t) ((t)->config.palette = 0)
#define TILE_LOAD(t, n, from, stride) tile_load(t, n, from, stride)
#define TILE_ZERO(t, n) tile_zero(t, n)
#define TILE_STORE(t, n, to, stride) tile_store(t, n, to, stride)
#define TILE_DOT(t, c, a, b) tile_dot(t, c, a, b)

#endif
#endif
