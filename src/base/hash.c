/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Content hashes and checksums: XXH3 of 128 and 64 bits.  They tell files apart and find damage;
 * they are no defence against someone who forges files.  Numbers go in little-endian, and the hex
 * digits are xxHash's canonical (big-endian) form, so that every machine prints the same.
 */
#define XXH_INLINE_ALL /* the library's state type is needed complete, to live in an arena */
#include "base/base_private.h"

#include <endian.h>
#include <string.h>
#include <xxhash.h>

struct bl_hasher {
    XXH3_state_t state; /* wants 64-byte alignment: arenas give it */
};

static bl_hash to_hex(XXH128_hash_t h)
{
    static const char digits[] = "0123456789abcdef";
    XXH128_canonical_t bytes;
    bl_hash out;
    XXH128_canonicalFromHash(&bytes, h);
    for (size_t i = 0; i < 16; i++) {
        out.hex[2 * i] = digits[bytes.digest[i] >> 4];
        out.hex[2 * i + 1] = digits[bytes.digest[i] & 15];
    }
    out.hex[32] = '\0';
    return out;
}

bl_hasher *bl_hasher_new(bl_arena *arena)
{
    bl_hasher *h = BL_NEW(arena, bl_hasher, 1);
    if (h) XXH3_128bits_reset(&h->state);
    return h;
}

void bl_hash_bytes(bl_hasher *h, const void *data, size_t n)
{
    if (n > 0) XXH3_128bits_update(&h->state, data, n);
}

void bl_hash_i64(bl_hasher *h, int64_t v)
{
    uint64_t bits = htole64((uint64_t)v);
    bl_hash_bytes(h, &bits, sizeof(bits));
}

void bl_hash_f64(bl_hasher *h, double v)
{
    int64_t bits;
    memcpy(&bits, &v, sizeof(bits));
    bl_hash_i64(h, bits);
}

void bl_hash_text(bl_hasher *h, const char *text)
{
    size_t n = strlen(text);
    bl_hash_i64(h, (int64_t)n);
    bl_hash_bytes(h, text, n);
}

bl_hash bl_hash_end(bl_hasher *h)
{
    return to_hex(XXH3_128bits_digest(&h->state));
}

bl_hash bl_hash_of(const void *data, size_t n)
{
    return to_hex(XXH3_128bits(n ? data : "", n));
}

uint64_t bl_checksum(const void *data, size_t n)
{
    return XXH3_64bits(n ? data : "", n);
}

static int hash_piece(const char *buffer, size_t size, void *state)
{
    XXH3_128bits_update(state, buffer, size);
    return 0;
}

bool bl_hash_json(const json_t *value, size_t flags, bl_hash *out)
{
    XXH3_state_t state;
    XXH3_INITSTATE(&state);
    XXH3_128bits_reset(&state);
    if (json_dump_callback(value, hash_piece, &state, flags) != 0) return false;
    *out = to_hex(XXH3_128bits_digest(&state));
    return true;
}
