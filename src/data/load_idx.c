/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * idx:IMAGES[,LABELS] - the IDX format of MNIST and its kin, plain or gzipped (told by content):
 * two zero bytes, element type, number of dimensions, the dimensions and all elements big-endian.
 * A gzipped file is inflated once, into the arena.  Source: Y. LeCun's MNIST page.
 */
#include "data/data_private.h"

#include <string.h>

enum { HEADER_MAX = 4 + 4 * BL_MAX_RANK };

static bl_status idx_fail(bl_ctx *ctx, const char *path, const char *what)
{
    return bl_fail(ctx, BL_DATA, path, "is it an IDX file, and whole?", "%s", what);
}

/* Type and shape from the first bytes; *start is where elements begin, *need their bytes. */
static bl_status header_read(bl_ctx *ctx, const char *path, const uint8_t *head, size_t size,
                             bl_tensor *t, size_t *start, size_t *need)
{
    static const bl_dtype types[] = {BL_U8, BL_I8, BL_NONE, BL_I16, BL_I32, BL_F32, BL_F64};
    int64_t count;
    if (size < 4 || head[0] || head[1] || head[2] < 8 || head[2] - 8 >= (int)BL_COUNTOF(types) ||
        types[head[2] - 8] == BL_NONE || head[3] < 1 || head[3] > BL_MAX_RANK)
        return idx_fail(ctx, path, "it has no IDX header");
    *t = (bl_tensor){.type = types[head[2] - 8], .rank = head[3]};
    *start = 4 + 4 * (size_t)t->rank;
    if (size < *start) return idx_fail(ctx, path, "ends inside its header");
    for (int i = 0; i < t->rank; i++) {
        const uint8_t *p = head + 4 + 4 * i;
        t->dim[i] = (int64_t)p[0] << 24 | (int64_t)p[1] << 16 | (int64_t)p[2] << 8 | p[3];
    }
    return bl_data_extent(ctx, path, t, &count, need);
}

static void swap_bytes(uint8_t *data, size_t bytes, size_t width)
{
    for (size_t i = 0; i < bytes; i += width)
        for (size_t a = 0, b = width - 1; a < b; a++, b--) {
            uint8_t keep = data[i + a];
            data[i + a] = data[i + b];
            data[i + b] = keep;
        }
}

static bl_status gzip_read(bl_source *s, const char *path, const uint8_t *bytes, size_t size,
                           bl_tensor *t)
{
    uint8_t head[HEADER_MAX];
    size_t got, start, need;
    BL_TRY(bl_inflate_head(s->ctx, path, BL_PACKED_GZIP, bytes, size, head, sizeof head, &got));
    BL_TRY(header_read(s->ctx, path, head, got, t, &start, &need));
    if (start + need > bl_inflate_bound(size))
        return idx_fail(s->ctx, path, "its header says more than the file can hold: truncated");
    uint8_t *whole = BL_NEW(s->arena, uint8_t, start + need);
    BL_ALLOC_TRY(s->ctx, whole);
    BL_TRY(bl_inflate_all(s->ctx, path, BL_PACKED_GZIP, bytes, size, whole, start + need));
    t->data = whole + start;
    swap_bytes(t->data, need, bl_stored_bytes(t->type));
    return BL_OK;
}

static bl_status plain_read(bl_source *s, const char *path, const uint8_t *bytes, size_t size,
                            bl_tensor *t)
{
    size_t start, need;
    BL_TRY(header_read(s->ctx, path, bytes, size, t, &start, &need));
    if (size - start != need)
        return bl_fail(s->ctx, BL_DATA, path, "is it an IDX file, and whole?",
                       "its header says %zu bytes of data, %zu are there", need, size - start);
    t->data = (void *)(bytes + start);
    if (bl_stored_bytes(t->type) == 1) return BL_OK;
    uint8_t *swapped = BL_NEW(s->arena, uint8_t, need);
    BL_ALLOC_TRY(s->ctx, swapped);
    memcpy(swapped, t->data, need);
    swap_bytes(swapped, need, bl_stored_bytes(t->type));
    t->data = swapped;
    return BL_OK;
}

static bl_status idx_read(bl_source *s, const char *path, bl_tensor *t)
{
    const uint8_t *bytes;
    size_t size;
    BL_TRY(bl_source_map(s, path, &bytes, &size));
    return bl_is_gzip(bytes, size) ? gzip_read(s, path, bytes, size, t)
                                   : plain_read(s, path, bytes, size, t);
}

bl_status bl_load_idx(bl_source *s)
{
    bl_tensor t, labels;
    BL_TRY(bl_source_words(s, 1, 2));
    BL_TRY(idx_read(s, s->word[0], &t));
    BL_TRY(bl_source_tensor(s, s->word[0], &t));
    if (s->n_words == 1) return BL_OK;
    BL_TRY(idx_read(s, s->word[1], &labels));
    return bl_labels_tensor(s, s->word[1], &labels);
}
