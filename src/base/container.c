/* SPDX-License-Identifier: BSD-3-Clause */
/* The binary file form of PROGRAM and WEIGHTS; see container.h for its picture. */
#include "base/container.h"

#include <string.h>

enum { HEADER_BYTES = 64, ENTRY_BYTES = 32, ALIGN = 64 };

typedef struct header {
    char magic[8], kind[4];
    uint16_t major, minor;
    uint32_t order, n_sections;
    uint64_t file_size, body_checksum, zero[2], header_checksum;
} header;
_Static_assert(sizeof(header) == HEADER_BYTES, "the header is stored as it stands");

typedef struct entry {
    uint32_t id, zero;
    uint64_t offset, size, checksum;
} entry;
_Static_assert(sizeof(entry) == ENTRY_BYTES, "an entry is stored as it stands");

static uint64_t aligned(uint64_t n)
{
    return (n + ALIGN - 1) / ALIGN * ALIGN;
}

bl_status bl_container_write(bl_ctx *ctx, const char *path, const char kind[4], int major, int minor,
                             const bl_section *sections, size_t n)
{
    BL_CHECK(ctx, n <= BL_SECTIONS_MAX);
    uint64_t size = aligned(HEADER_BYTES + n * ENTRY_BYTES);
    for (size_t i = 0; i < n; i++) size = aligned(size + sections[i].size);
    bl_arena *arena = bl_arena_new(ctx, "container");
    BL_ALLOC_TRY(ctx, arena);
    uint8_t *file = bl_alloc(arena, size, 1);
    if (!file) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    header h = { .major = (uint16_t)major, .minor = (uint16_t)minor, .order = 0x01020304,
                 .n_sections = (uint32_t)n, .file_size = size };
    memcpy(h.magic, "BITLATHE", 8);
    memcpy(h.kind, kind, 4);
    uint64_t at = aligned(HEADER_BYTES + n * ENTRY_BYTES);
    for (size_t i = 0; i < n; i++) {
        entry e = { .id = sections[i].id, .offset = at, .size = sections[i].size,
                    .checksum = bl_checksum(sections[i].data, sections[i].size) };
        memcpy(file + HEADER_BYTES + i * ENTRY_BYTES, &e, sizeof e);
        if (e.size) memcpy(file + at, sections[i].data, e.size);
        at = aligned(at + e.size);
    }
    h.body_checksum = bl_checksum(file + HEADER_BYTES, size - HEADER_BYTES);
    h.header_checksum = bl_checksum(&h, offsetof(header, header_checksum));
    memcpy(file, &h, sizeof h);
    bl_status s = bl_write_file(ctx, path, file, size);
    bl_arena_free(arena);
    return s;
}

static bl_status parse_header(bl_ctx *ctx, const char *place, const void *data, size_t size,
                              const char kind[4], int major, header *h)
{
    const char *again = "make the file again from its plan";
    if (size < HEADER_BYTES)
        return bl_fail(ctx, BL_DATA, place, again, "the file is cut off in its header (%zu bytes)", size);
    memcpy(h, data, sizeof *h);
    if (memcmp(h->magic, "BITLATHE", 8))
        return bl_fail(ctx, BL_DATA, place, "give a file that bitlathe wrote", "not a bitlathe file");
    if (memcmp(h->kind, kind, 4))
        return bl_fail(ctx, BL_DATA, place, "give a file of the right kind",
                       "a file of another kind than \"%.4s\"", kind);
    if (bl_checksum(h, offsetof(header, header_checksum)) != h->header_checksum || h->order != 0x01020304)
        return bl_fail(ctx, BL_DATA, place, again, "the header is damaged (checksum)");
    if (h->major > major)
        return bl_fail(ctx, BL_DATA, place, "use a newer bitlathe",
                       "format version %u.%u; this bitlathe reads up to %d", h->major, h->minor, major);
    if (h->file_size != size)
        return bl_fail(ctx, BL_DATA, place, again, "the file has %zu bytes instead of %llu", size,
                       (unsigned long long)h->file_size);
    if (h->n_sections > BL_SECTIONS_MAX || HEADER_BYTES + (uint64_t)h->n_sections * ENTRY_BYTES > size)
        return bl_fail(ctx, BL_DATA, place, again, "a section table of %u entries", h->n_sections);
    return BL_OK;
}

bl_status bl_container_parse(bl_ctx *ctx, const char *place, const void *data, size_t size,
                             const char kind[4], int major, bl_section *sections, size_t *n)
{
    header h;
    const uint8_t *file = data;
    BL_TRY(parse_header(ctx, place, data, size, kind, major, &h));
    bool whole = bl_checksum(file + HEADER_BYTES, size - HEADER_BYTES) == h.body_checksum;
    for (uint32_t i = 0; i < h.n_sections; i++) {
        entry e;
        memcpy(&e, file + HEADER_BYTES + i * ENTRY_BYTES, sizeof e);
        if (e.offset % ALIGN || e.offset > size || e.size > size - e.offset)
            return bl_fail(ctx, BL_DATA, place, "make the file again from its plan",
                           "section %u lies outside the file", i);
        if (!whole && bl_checksum(file + e.offset, e.size) != e.checksum)
            return bl_fail(ctx, BL_DATA, place, "make the file again from its plan",
                           "section %u is damaged (checksum)", i);
        sections[i] = (bl_section){ .id = e.id, .data = file + e.offset, .size = e.size };
    }
    if (!whole)
        return bl_fail(ctx, BL_DATA, place, "make the file again from its plan",
                       "the file is damaged (checksum)");
    *n = h.n_sections;
    return BL_OK;
}

const bl_section *bl_section_find(const bl_section *sections, size_t n, uint32_t id)
{
    for (size_t i = 0; i < n; i++)
        if (sections[i].id == id) return &sections[i];
    return NULL;
}
