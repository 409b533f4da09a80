/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NumPy's .npz files: a zip archive of .npy members, stored or deflated.  The central directory is
 * the truth (as zip readers hold); of a local header just its length is used.  Left out by name:
 * zip64 (members from 2 GiB), encryption, several disks.  Format: PKWARE APPNOTE 4.3.
 */
#include "data/data_private.h"

#include <string.h>

enum { END_BYTES = 22, ENTRY_BYTES = 46, LOCAL_BYTES = 30, STORED = 0, DEFLATED = 8 };

static uint32_t get16(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8;
}
static uint32_t get32(const uint8_t *p)
{
    return get16(p) | get16(p + 2) << 16;
}

static bl_status npz_fail(bl_ctx *ctx, const char *place, const char *what)
{
    return bl_fail(ctx, BL_DATA, place, "write it with numpy.savez, or save single .npy files",
                   "%s", what);
}

/* The end record: the last place whose comment reaches just to the end of the file. */
static const uint8_t *end_find(const uint8_t *bytes, size_t size)
{
    for (size_t back = END_BYTES; back <= size && back <= END_BYTES + 65535; back++) {
        const uint8_t *p = bytes + size - back;
        if (get32(p) == 0x06054b50 && get16(p + 20) == back - END_BYTES) return p;
    }
    return NULL;
}

/* One entry of the central directory at p, `left` bytes before its end. */
static bl_status entry_read(bl_arena *arena, const char *place, const uint8_t *bytes,
                            const uint8_t *directory, const uint8_t *p, size_t left,
                            bl_npz_member *m, size_t *entry_bytes)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    if (left < ENTRY_BYTES || get32(p) != 0x02014b50)
        return npz_fail(ctx, place, "its directory is damaged");
    size_t name = get16(p + 28);
    *entry_bytes = ENTRY_BYTES + name + get16(p + 30) + get16(p + 32);
    if (*entry_bytes > left || !bl_utf8_valid((const char *)p + ENTRY_BYTES, name))
        return npz_fail(ctx, place, "its directory is damaged");
    if (get16(p + 8) & 1) return npz_fail(ctx, place, "it is encrypted");
    *m = (bl_npz_member){.method = get16(p + 10),
                         .crc = get32(p + 16),
                         .packed_bytes = get32(p + 20),
                         .bytes = get32(p + 24)};
    size_t at = get32(p + 42), before = (size_t)(directory - bytes);
    if (m->packed_bytes == UINT32_MAX || m->bytes == UINT32_MAX || at == UINT32_MAX)
        return npz_fail(ctx, place, "it is a zip64 archive, with a member of 2 GiB or more");
    if (at > before || before - at < LOCAL_BYTES || get32(bytes + at) != 0x04034b50)
        return npz_fail(ctx, place, "its directory points outside");
    size_t local = LOCAL_BYTES + get16(bytes + at + 26) + get16(bytes + at + 28);
    if (local > before - at || m->packed_bytes > before - at - local)
        return npz_fail(ctx, place, "a member reaches past its end");
    m->offset = at + local;
    const char *text = (const char *)p + ENTRY_BYTES;
    if (name > 4 && memcmp(text + name - 4, ".npy", 4) == 0) name -= 4;
    m->name = bl_strndup(arena, text, name);
    BL_ALLOC_TRY(ctx, m->name);
    return BL_OK;
}

bl_status bl_npz_list(bl_arena *arena, const char *place, const uint8_t *bytes, size_t size,
                      bl_npz_member **members, int *n)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    const uint8_t *end = end_find(bytes, size);
    if (!end) return npz_fail(ctx, place, "this is no .npz file, or it is truncated");
    size_t count = get16(end + 10), length = get32(end + 12), at = get32(end + 16);
    if (count == UINT16_MAX || length == UINT32_MAX || at == UINT32_MAX)
        return npz_fail(ctx, place, "it is a zip64 archive, with a member of 2 GiB or more");
    if (get16(end + 4) != 0 || get16(end + 8) != count || at > (size_t)(end - bytes) ||
        length != (size_t)(end - bytes) - at || count > length / ENTRY_BYTES)
        return npz_fail(ctx, place, "its directory is damaged");
    const uint8_t *directory = bytes + at;
    bl_npz_member *list = BL_NEW(arena, bl_npz_member, count);
    BL_ALLOC_TRY(ctx, list);
    for (size_t i = 0, used = 0, entry = 0; i < count; i++, used += entry)
        BL_TRY(entry_read(arena, place, bytes, directory, directory + used, length - used, &list[i],
                          &entry));
    *members = list;
    *n = (int)count;
    return BL_OK;
}

bl_status bl_npz_view(bl_arena *arena, const char *place, const uint8_t *bytes,
                      const bl_npz_member *m, bl_tensor *out)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    const uint8_t *data = bytes + m->offset;
    if (m->method == DEFLATED) {
        if (m->bytes > bl_inflate_bound(m->packed_bytes))
            return npz_fail(ctx, place, "a member cannot be as large as it says");
        uint8_t *room = BL_NEW(arena, uint8_t, m->bytes);
        BL_ALLOC_TRY(ctx, room);
        BL_TRY(bl_inflate_all(ctx, place, BL_PACKED_RAW, data, m->packed_bytes, room, m->bytes));
        data = room;
    } else if (m->method != STORED || m->packed_bytes != m->bytes) {
        return npz_fail(ctx, place, "a member is packed in an unknown way");
    }
    if (bl_crc32(data, m->bytes) != m->crc)
        return npz_fail(ctx, place, "a member's checksum is wrong: damaged");
    bl_tensor t;
    bl_status status = bl_npy_view(ctx, m->name, data, m->bytes, &t);
    if (status != BL_OK) return bl_fail_within(ctx, "%s", place);
    *out = t;
    return BL_OK;
}
