/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Plain and packed orders of a value, and the way between them: transposing matrices of channels
 * and positions.  A hook on every value passes here twice for each, so it works on whole cache
 * lines.
 */
#include "graph/layout.h"

#include <string.h>

static int64_t block_of(const bl_tensor *t, bl_layout layout)
{
    return layout == BL_LAYOUT_BLOCK8 ? 8 : layout == BL_LAYOUT_BLOCK16 ? 16 : t->dim[1];
}

void bl_layout_view(const bl_tensor *t, bl_layout layout, void *data, bl_tensor *view)
{
    *view = *t;
    view->data = data;
    if (layout == BL_LAYOUT_PLAIN) return;
    for (int d = 2; d < t->rank; d++) view->dim[layout == BL_LAYOUT_LAST ? d - 1 : d] = t->dim[d];
    if (layout == BL_LAYOUT_LAST) {
        view->dim[t->rank - 1] = t->dim[1];
    } else {
        int64_t block = block_of(t, layout);
        view->dim[1] = (t->dim[1] + block - 1) / block;
        view->dim[view->rank++] = block;
    }
}

int64_t bl_layout_block(const bl_tensor *t, bl_layout layout)
{
    return layout == BL_LAYOUT_PLAIN ? 0 : block_of(t, layout);
}

bool bl_layout_rounds(const bl_tensor *t, bl_layout layout)
{
    return layout != BL_LAYOUT_PLAIN && t->dim[1] % block_of(t, layout) != 0;
}

/* ------------------------------------------------------------------ transposing */

typedef float v4 __attribute__((vector_size(16)));

/* dst[j * ds + i] = src[i * ss + j] for i, j in 0..3. */
static inline void transpose_4x4(const float *src, int64_t ss, float *dst, int64_t ds)
{
    v4 r[4], a, b, c, d;

    for (int i = 0; i < 4; i++) memcpy(&r[i], src + i * ss, sizeof r[i]);
    a = __builtin_shufflevector(r[0], r[1], 0, 4, 1, 5);
    b = __builtin_shufflevector(r[2], r[3], 0, 4, 1, 5);
    c = __builtin_shufflevector(r[0], r[1], 2, 6, 3, 7);
    d = __builtin_shufflevector(r[2], r[3], 2, 6, 3, 7);
    r[0] = __builtin_shufflevector(a, b, 0, 1, 4, 5);
    r[1] = __builtin_shufflevector(a, b, 2, 3, 6, 7);
    r[2] = __builtin_shufflevector(c, d, 0, 1, 4, 5);
    r[3] = __builtin_shufflevector(c, d, 2, 3, 6, 7);
    for (int i = 0; i < 4; i++) memcpy(dst + i * ds, &r[i], sizeof r[i]);
}

/* dst[j * ds + i] = src[i * ss + j], i < rows, j < cols. */
static void transpose_any(const float *src, int64_t ss, float *dst, int64_t ds, int64_t rows,
                          int64_t cols)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) dst[j * ds + i] = src[i * ss + j];
}

/* Tiles of 16 x 16, four rows or columns at a time: rows that lie a power of two apart share cache
 * sets, so few of them are open at once and each cache line is finished before it is left. by_rows:
 * the source is the side with distant rows. */
static void transpose(const float *src, int64_t ss, float *dst, int64_t ds, int64_t rows,
                      int64_t cols, bool by_rows)
{
    enum { TILE = 16 };

    for (int64_t i0 = 0; i0 < rows; i0 += TILE)
        for (int64_t j0 = 0; j0 < cols; j0 += TILE) {
            int64_t n = BL_MIN(TILE, rows - i0), m = BL_MIN(TILE, cols - j0);
            const float *s = src + i0 * ss + j0;
            float *d = dst + j0 * ds + i0;
            int64_t n4 = n - n % 4, m4 = m - m % 4;
            if (by_rows)
                for (int64_t i = 0; i < n4; i += 4)
                    for (int64_t j = 0; j < m4; j += 4)
                        transpose_4x4(s + i * ss + j, ss, d + j * ds + i, ds);
            else
                for (int64_t j = 0; j < m4; j += 4)
                    for (int64_t i = 0; i < n4; i += 4)
                        transpose_4x4(s + i * ss + j, ss, d + j * ds + i, ds);
            transpose_any(s + n4 * ss, ss, d + n4, ds, n - n4, m);
            transpose_any(s + m4, ss, d + m4 * ds, ds, n4, m - m4);
        }
}

/* ------------------------------------------------------------------ the two ways */

void bl_layout_pack(const bl_tensor *t, bl_layout layout, const float *plain, float *packed)
{
    int64_t channels = t->dim[1], positions = bl_tensor_count(t) / t->dim[0] / channels;
    int64_t block = block_of(t, layout);

    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t c = 0; c < channels; c += block) {
            int64_t some = BL_MIN(block, channels - c);
            if (some < block) memset(packed, 0, (size_t)(positions * block) * sizeof *packed);
            if (positions == 1)
                memcpy(packed, plain, (size_t)some * sizeof *packed);
            else
                transpose(plain, positions, packed, block, some, positions, true);
            plain += some * positions;
            packed += block * positions;
        }
}

void bl_layout_unpack(const bl_tensor *t, bl_layout layout, const float *packed, float *plain)
{
    int64_t channels = t->dim[1], positions = bl_tensor_count(t) / t->dim[0] / channels;
    int64_t block = block_of(t, layout);

    for (int64_t n = 0; n < t->dim[0]; n++)
        for (int64_t c = 0; c < channels; c += block) {
            int64_t some = BL_MIN(block, channels - c);
            if (positions == 1)
                memcpy(plain, packed, (size_t)some * sizeof *plain);
            else
                transpose(packed, block, plain, positions, positions, some, false);
            plain += some * positions;
            packed += block * positions;
        }
}
