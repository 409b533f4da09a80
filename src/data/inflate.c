/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Inflating gzip files and members of .npz files into memory whose size the caller knows and has
 * paid for.  zlib stands behind this file alone.
 */
#include "data/data_private.h"

#include <zlib.h>

bool bl_is_gzip(const uint8_t *bytes, size_t size)
{
    return size >= 2 && bytes[0] == 0x1f && bytes[1] == 0x8b;
}

/* A deflate block codes 258 bytes in no less than two bits: 1032 for one. */
uint64_t bl_inflate_bound(uint64_t n)
{
    return n > UINT64_MAX / 1032 ? UINT64_MAX : n * 1032;
}

uint32_t bl_crc32(const uint8_t *bytes, size_t size)
{
    return (uint32_t)crc32_z(0, bytes, size);
}

/* Runs until the output is full or the stream ends.  zlib counts in 32 bits: hand it pieces. */
static int inflate_run(z_stream *z, const uint8_t *in, size_t in_size, uint8_t *out, size_t size,
                       size_t *in_used, size_t *out_used)
{
    const size_t piece = 1u << 30;
    int rc = Z_OK;
    *in_used = *out_used = 0;
    while (rc == Z_OK) {
        uInt give = (uInt)BL_MIN(in_size - *in_used, piece),
             room = (uInt)BL_MIN(size - *out_used, piece);
        z->next_in = (Bytef *)(in + *in_used);
        z->avail_in = give;
        z->next_out = out + *out_used;
        z->avail_out = room;
        rc = inflate(z, Z_NO_FLUSH);
        *in_used += give - z->avail_in;
        *out_used += room - z->avail_out;
        if (rc == Z_OK && z->avail_in == give && z->avail_out == room) rc = Z_BUF_ERROR;
    }
    return rc; /* Z_BUF_ERROR: no more input, or no more room */
}

static bl_status inflate_fail(bl_ctx *ctx, const char *place, int rc)
{
    if (rc == Z_MEM_ERROR)
        return bl_fail(ctx, BL_UNAVAILABLE, place, "free some memory", "no memory to inflate it");
    return bl_fail(ctx, BL_DATA, place, "fetch the file again", "the compressed data are damaged");
}

bl_status bl_inflate_head(bl_ctx *ctx, const char *place, bl_packing packing, const uint8_t *in,
                          size_t in_size, uint8_t *out, size_t size, size_t *got)
{
    z_stream z = {0};
    size_t used;
    int rc = inflateInit2(&z, packing == BL_PACKED_GZIP ? 15 + 16 : -15);
    if (rc != Z_OK) return inflate_fail(ctx, place, rc);
    rc = inflate_run(&z, in, in_size, out, size, &used, got);
    inflateEnd(&z);
    return rc == Z_BUF_ERROR || rc == Z_STREAM_END ? BL_OK : inflate_fail(ctx, place, rc);
}

bl_status bl_inflate_all(bl_ctx *ctx, const char *place, bl_packing packing, const uint8_t *in,
                         size_t in_size, uint8_t *out, size_t size)
{
    z_stream z = {0};
    size_t used, got, more_used = 0, more = 0;
    uint8_t extra;
    int rc = inflateInit2(&z, packing == BL_PACKED_GZIP ? 15 + 16 : -15);
    if (rc != Z_OK) return inflate_fail(ctx, place, rc);
    rc = inflate_run(&z, in, in_size, out, size, &used, &got);
    if (rc == Z_BUF_ERROR && got == size) /* the end of the stream may still stand behind */
        rc = inflate_run(&z, in + used, in_size - used, &extra, 1, &more_used, &more);
    inflateEnd(&z);
    if (rc == Z_BUF_ERROR && got < size)
        return bl_fail(ctx, BL_DATA, place, "fetch the file again",
                       "ends after %zu of %zu bytes: truncated", got, size);
    if (rc == Z_BUF_ERROR && more == 0)
        return bl_fail(ctx, BL_DATA, place, "fetch the file again",
                       "the end is missing: truncated");
    if (rc != Z_STREAM_END && rc != Z_BUF_ERROR) return inflate_fail(ctx, place, rc);
    if (more > 0 || got < size || used + more_used < in_size)
        return bl_fail(ctx, BL_DATA, place, "is the file what the words say?",
                       "holds more or less than its header says");
    return BL_OK;
}
