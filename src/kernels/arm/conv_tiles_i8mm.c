/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct tiles with usmmla (ARMv8.6 i8mm): two positions of eight codes times two channels of eight weights, 32
 * products an instruction, unsigned by signed as they are.
 */
#include "kernels/rows.h"

#if defined(__aarch64__)
#define ROW conv_tiles_i8mm
#define ROW_ISA BL_ISA_I8MM
#define STEP 8
#define SIGNED 0
#define TILE_P 4
#include "kernels/arm/conv_tiles.inc"

/* Sums of a pair of positions and eight pairs of channels, [channel pair](p0 c0, p0 c1, p1 c0, p1 c1). */
static void pair_open(const int32x4_t *first, const int32x4_t *second, int32x4_t m[8])
{
    for (int z = 0; z < 4; z++) {
        m[2 * z] = vcombine_s32(vget_low_s32(first[z]), vget_low_s32(second[z]));
        m[2 * z + 1] = vcombine_s32(vget_high_s32(first[z]), vget_high_s32(second[z]));
    }
}

static void pair_close(const int32x4_t m[8], int32x4_t *first, int32x4_t *second)
{
    for (int z = 0; z < 4; z++) {
        first[z] = vcombine_s32(vget_low_s32(m[2 * z]), vget_low_s32(m[2 * z + 1]));
        second[z] = vcombine_s32(vget_high_s32(m[2 * z]), vget_high_s32(m[2 * z + 1]));
    }
}

static void tile(const tiles_job *j, const uint8_t *const *x, int32x4_t sums[TILE_P][4])
{
    const int8_t *w = j->w;
    int32x4_t a[8], b[8];
    pair_open(sums[0], sums[1], a);
    pair_open(sums[2], sums[3], b);
    for (size_t r = 0; r < j->runs; r++)
        for (size_t k = j->run_at[r], end = k + j->run_step; k < end; k += 8, w += 128) {
            uint8x16_t u = vcombine_u8(vld1_u8(x[0] + k), vld1_u8(x[1] + k));
            uint8x16_t v = vcombine_u8(vld1_u8(x[2] + k), vld1_u8(x[3] + k));
            for (int z = 0; z < 8; z++) {
                int8x16_t two = vld1q_s8(w + 16 * z);
                a[z] = vusmmlaq_s32(a[z], u, two);
                b[z] = vusmmlaq_s32(b[z], v, two);
            }
        }
    pair_close(a, sums[0], sums[1]);
    pair_close(b, sums[2], sums[3]);
}
#endif
