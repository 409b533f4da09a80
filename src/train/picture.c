/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A small picture of samples for the report: tiles side by side, contrast stretched to mean +- 2.5
 * deviations of each sample, as base64 of a PNG (W3C PNG specification; zlib packs and sums).
 */
#include "train/train.h"

#include <math.h>
#include <string.h>
#include <zlib.h>

enum { TILE_MOST = 48, TILES_MOST = 16, TILES_A_ROW = 8 };

/* How a sample lies in memory. */
typedef struct layout {
    int64_t channels, height, width;
    int64_t by_channel, by_row, by_column; /* steps in floats */
} layout;

static bool find_layout(const bl_tensor *x, layout *l)
{
    if (x->rank != 4) return false;
    if (x->dim[1] == 1 || x->dim[1] == 3)
        *l = (layout){ x->dim[1], x->dim[2], x->dim[3], x->dim[2] * x->dim[3], x->dim[3], 1 };
    else if (x->dim[3] == 1 || x->dim[3] == 3)
        *l = (layout){ x->dim[3], x->dim[1], x->dim[2], 1, x->dim[2] * x->dim[3], x->dim[3] };
    else
        return false;
    return l->height > 0 && l->width > 0;
}

static void stretch(const float *x, int64_t n, double *lo, double *step)
{
    double sum = 0, square = 0;
    for (int64_t i = 0; i < n; i++) sum += x[i];
    for (int64_t i = 0; i < n; i++) square += (x[i] - sum / (double)n) * (x[i] - sum / (double)n);
    double deviation = sqrt(square / (double)n);
    *lo = sum / (double)n - 2.5 * deviation;
    *step = deviation > 0 ? 255 / (5 * deviation) : 0;
}

typedef struct canvas {
    int64_t width, height, tile_width, tile_height;
    uint8_t *rows;              /* each a filter byte, then R, G, B */
} canvas;

static void draw_tile(const canvas *c, const layout *l, const float *x, int64_t number)
{
    int64_t left = number % TILES_A_ROW * (c->tile_width + 1), top = number / TILES_A_ROW * (c->tile_height + 1);
    double lo, step;
    stretch(x, l->channels * l->height * l->width, &lo, &step);
    for (int64_t i = 0; i < c->tile_height; i++)
        for (int64_t j = 0; j < c->tile_width; j++) {
            const float *p = x + i * l->height / c->tile_height * l->by_row + j * l->width / c->tile_width * l->by_column;
            uint8_t *to = c->rows + (top + i) * (1 + 3 * c->width) + 1 + 3 * (left + j);
            for (int k = 0; k < 3; k++)
                to[k] = (uint8_t)fmin(255, fmax(0, (p[l->channels == 3 ? k * l->by_channel : 0] - lo) * step));
        }
}

static uint8_t *put_u32(uint8_t *to, uint32_t v)
{
    for (int i = 0; i < 4; i++) *to++ = (uint8_t)(v >> (24 - 8 * i));
    return to;
}

/* Length, type, content, and the CRC of the last two. */
static uint8_t *put_chunk(uint8_t *to, const char type[4], const uint8_t *content, uint32_t n)
{
    uint8_t *from = to + 4;
    to = put_u32(to, n);
    memcpy(to, type, 4);
    if (n) memcpy(to + 4, content, n);
    to += 4 + n;
    return put_u32(to, (uint32_t)crc32(crc32(0, NULL, 0), from, n + 4));
}

static bl_status encode_png(bl_ctx *ctx, bl_arena *arena, const canvas *c, uint8_t **png, size_t *n)
{
    uLong raw = (uLong)(c->height * (1 + 3 * c->width));
    uLongf packed = compressBound(raw);
    uint8_t *content = bl_alloc(arena, packed, 1), head[13], *at;
    *png = bl_alloc(arena, packed + 64, 1);
    if (!content || !*png) return bl_pending(ctx);
    BL_CHECK(ctx, compress2(content, &packed, c->rows, raw, 9) == Z_OK);
    at = put_u32(put_u32(head, (uint32_t)c->width), (uint32_t)c->height);
    memcpy(at, "\10\2\0\0", 5); /* eight bits, RGB, the only ways to pack and filter, no interlacing */
    memcpy(*png, "\x89PNG\r\n\x1a\n", 8);
    at = put_chunk(*png + 8, "IHDR", head, sizeof head);
    at = put_chunk(at, "IDAT", content, (uint32_t)packed);
    at = put_chunk(at, "IEND", NULL, 0);
    *n = (size_t)(at - *png);
    return BL_OK;
}

static char *encode_base64(bl_arena *arena, const uint8_t *bytes, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char *text = bl_alloc(arena, (n + 2) / 3 * 4 + 1, 1), *to = text;
    if (!text) return NULL;
    for (size_t i = 0; i < n; i += 3) {
        uint32_t v = (uint32_t)bytes[i] << 16 | (i + 1 < n ? (uint32_t)bytes[i + 1] << 8 : 0) | (i + 2 < n ? bytes[i + 2] : 0);
        for (int k = 0; k < 4; k++) *to++ = i + (size_t)k > n ? '=' : digits[v >> (18 - 6 * k) & 63];
    }
    *to = 0;
    return text;
}

bl_status bl_samples_picture(bl_ctx *ctx, bl_arena *arena, const bl_tensor *x, char **out)
{
    layout l;
    uint8_t *png = NULL;
    size_t n = 0;

    *out = NULL;
    if (!find_layout(x, &l)) return BL_OK;
    int64_t tiles = BL_MIN(x->dim[0], TILES_MOST), per = bl_tensor_count(x) / x->dim[0];
    canvas c = { .tile_width = BL_MIN(l.width, TILE_MOST), .tile_height = BL_MIN(l.height, TILE_MOST) };
    c.width = BL_MIN(tiles, TILES_A_ROW) * (c.tile_width + 1) - 1;
    c.height = (tiles + TILES_A_ROW - 1) / TILES_A_ROW * (c.tile_height + 1) - 1;
    c.rows = BL_NEW(arena, uint8_t, (size_t)(c.height * (1 + 3 * c.width)));
    BL_ALLOC_TRY(ctx, c.rows);
    for (int64_t i = 0; i < tiles; i++) draw_tile(&c, &l, (const float *)x->data + i * per, i);
    BL_TRY(encode_png(ctx, arena, &c, &png, &n));
    *out = encode_base64(arena, png, n);
    return *out ? BL_OK : bl_pending(ctx);
}
