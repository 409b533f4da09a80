/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Direct tiles with sdot (ARMv8.2 dotprod): four codes of a position meet four weights of each of 16 channels.
 * Both factors are signed there, so codes are taken as q - 128.
 */
#include "kernels/rows.h"

#if defined(__aarch64__)
#define ROW conv_tiles_dotprod
#define ROW_ISA BL_ISA_DOTPROD
#define STEP 4
#define SIGNED 1
#define TILE_P 6
#include "kernels/arm/conv_tiles.inc"

static void tile(const tiles_job *j, const uint8_t *const *x, int32x4_t sums[TILE_P][4])
{
    const int8_t *w = j->w;
    const int8x16_t flip = vdupq_n_s8(-128);
    for (size_t r = 0; r < j->runs; r++)
        for (size_t k = j->run_at[r], end = k + j->run_step; k < end; k += 4, w += 64) {
            int8x16_t w0 = vld1q_s8(w), w1 = vld1q_s8(w + 16), w2 = vld1q_s8(w + 32), w3 = vld1q_s8(w + 48);
            for (int p = 0; p < TILE_P; p++) {
                int32_t four;
                memcpy(&four, x[p] + k, sizeof four);
                int8x16_t v = veorq_s8(vreinterpretq_s8_s32(vdupq_n_s32(four)), flip);
                sums[p][0] = vdotq_s32(sums[p][0], w0, v);
                sums[p][1] = vdotq_s32(sums[p][1], w1, v);
                sums[p][2] = vdotq_s32(sums[p][2], w2, v);
                sums[p][3] = vdotq_s32(sums[p][3], w3, v);
            }
        }
}
#endif
