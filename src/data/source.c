/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Helpers that every loader uses to fill in its source: mapped files, words, arrays.  Sizes that a
 * file states are multiplied with overflow checks and compared with the file's real size before
 * anything is allocated by them.
 */
#include "data/data_private.h"

#include <stdio.h>
#include <string.h>

/* The element types that samples may have: NumPy's codes are the same words with < > | removed. */
static const struct {
    const char *name;
    bl_dtype type;
    size_t bytes;
} stored_types[] = {
    {"u8", BL_U8, 1},   {"i8", BL_I8, 1},   {"bool", BL_BOOL, 1}, {"u16", BL_U16, 2},
    {"i16", BL_I16, 2}, {"u32", BL_U32, 4}, {"i32", BL_I32, 4},   {"u64", BL_U64, 8},
    {"i64", BL_I64, 8}, {"f32", BL_F32, 4}, {"f64", BL_F64, 8},
};

bl_dtype bl_dtype_short(const char *name)
{
    for (size_t i = 0; i < BL_COUNTOF(stored_types); i++)
        if (strcmp(stored_types[i].name, name) == 0) return stored_types[i].type;
    return BL_NONE;
}

size_t bl_stored_bytes(bl_dtype type)
{
    for (size_t i = 0; i < BL_COUNTOF(stored_types); i++)
        if (stored_types[i].type == type) return stored_types[i].bytes;
    return 0;
}

bl_status bl_source_map(bl_source *s, const char *path, const uint8_t **bytes, size_t *size)
{
    BL_CHECK(s->ctx, s->n_maps < BL_SOURCE_MAPS);
    bl_map *map = &s->map[s->n_maps];
    BL_TRY(bl_map_file(s->ctx, path, 0, map));
    s->n_maps++;
    *bytes = map->data;
    *size = map->size;
    return BL_OK;
}

bl_status bl_source_words(bl_source *s, int lo, int hi)
{
    for (int i = 0; i < s->n_words; i++)
        if (s->word[i][0] == '\0')
            return bl_fail(s->ctx, BL_USAGE, "--data", "leave no word between commas empty",
                           "%s:%s: word %d is empty", s->row->prefix, s->row->words, i + 1);
    if (s->n_words < lo)
        return bl_fail(s->ctx, BL_USAGE, "--data", "give all its words", "%s:%s: a word is missing",
                       s->row->prefix, s->row->words);
    if (s->n_words > hi)
        return bl_fail(s->ctx, BL_USAGE, "--data",
                       "a path with a comma cannot be given: link it to another name or write a "
                       "JSON description",
                       "%s:%s: %d words where at most %d belong", s->row->prefix, s->row->words,
                       s->n_words, hi);
    return BL_OK;
}

char *bl_data_shape_text(const bl_tensor *t, char buf[static 192])
{
    size_t used = 0;
    strcpy(buf, "scalar");
    for (int i = 0; i < t->rank; i++) /* at most 8 * 21 characters */
        used +=
            (size_t)snprintf(buf + used, 192 - used, i ? "x%lld" : "%lld", (long long)t->dim[i]);
    return buf;
}

bl_status bl_data_extent(bl_ctx *ctx, const char *place, const bl_tensor *t, int64_t *count,
                         size_t *bytes)
{
    int64_t n = 1;
    bool fits = bl_stored_bytes(t->type) > 0;
    for (int i = 0; i < t->rank && fits; i++) fits = t->dim[i] >= 0 && bl_mul_i64(n, t->dim[i], &n);
    /* 2^48 bytes are beyond every address space that we run in, and leave room for sums. */
    if (!fits || !bl_mul_size((size_t)n, bl_stored_bytes(t->type), bytes) || *bytes >> 48) {
        char text[192];
        return bl_fail(ctx, BL_DATA, place, "is the file what the words say?",
                       "an array of %s elements cannot be", bl_data_shape_text(t, text));
    }
    *count = n;
    return BL_OK;
}

bl_status bl_source_tensor(bl_source *s, const char *place, const bl_tensor *t)
{
    int64_t elements;
    size_t bytes;
    BL_TRY(bl_data_extent(s->ctx, place, t, &elements, &bytes));
    if (t->rank == 0)
        return bl_fail(s->ctx, BL_DATA, place, "the first axis must count the samples",
                       "the array has no dimension");
    if (elements == 0)
        return bl_fail(s->ctx, BL_DATA, place, "give a data set with at least one", "no samples");
    s->count = t->dim[0];
    s->sample = (bl_tensor){.type = t->type, .rank = t->rank - 1};
    memcpy(s->sample.dim, t->dim + 1, (size_t)(t->rank - 1) * sizeof t->dim[0]);
    s->sample_bytes = s->stride_bytes = bytes / (size_t)t->dim[0];
    s->data = t->data;
    int64_t bad = bl_first_not_finite(t->type, s->data, elements);
    if (bad >= 0)
        return bl_fail(s->ctx, BL_DATA, place, "remove or repair that sample",
                       "sample %lld holds a value that is not finite in float32",
                       (long long)(bad / (elements / s->count)));
    return BL_OK;
}
