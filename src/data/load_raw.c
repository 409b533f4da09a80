/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * raw:FILE,DTYPE,SHAPE[,LABELS] - a bare little-endian array in C order; SHAPE is 500x3x32x32, its
 * first number the samples.  Labels: one byte each, or .csv, .npy.
 */
#include "data/data_private.h"

#include <string.h>

static bl_status shape_read(bl_ctx *ctx, const char *text, bl_tensor *t)
{
    for (const char *at = text;; at++) {
        size_t n = strcspn(at, "x");
        char number[24];
        uint64_t v = 0;
        if (n < sizeof number) {
            memcpy(number, at, n);
            number[n] = '\0';
        }
        if (n >= sizeof number || t->rank == BL_MAX_RANK || !bl_parse_u64(number, &v) || v < 1 ||
            v > INT64_MAX)
            return bl_fail(ctx, BL_USAGE, "--data", "write it as 500x3x32x32, samples first",
                           "raw: \"%.100s\" is no shape", text);
        t->dim[t->rank++] = (int64_t)v;
        at += n;
        if (*at == '\0') return BL_OK;
    }
}

bl_status bl_load_raw(bl_source *s)
{
    const uint8_t *bytes;
    size_t size, need;
    int64_t count;
    bl_tensor t = {0};
    BL_TRY(bl_source_words(s, 3, 4));
    t.type = bl_dtype_short(s->word[1]);
    if (t.type == BL_NONE)
        return bl_fail(s->ctx, BL_USAGE, "--data",
                       "use u8, i8, u16, i16, u32, i32, u64, i64, f32, f64 or bool",
                       "raw: \"%.60s\" is no element type", s->word[1]);
    BL_TRY(shape_read(s->ctx, s->word[2], &t));
    BL_TRY(bl_source_map(s, s->word[0], &bytes, &size));
    BL_TRY(bl_data_extent(s->ctx, s->word[0], &t, &count, &need));
    if (need != size)
        return bl_fail(
            s->ctx, BL_DATA, s->word[0], "correct type and shape, or fetch the file again",
            "%s of %s need %zu bytes, the file has %zu", s->word[2], s->word[1], need, size);
    t.data = (void *)bytes;
    BL_TRY(bl_source_tensor(s, s->word[0], &t));
    return s->n_words > 3 ? bl_labels_read(s, s->word[3]) : BL_OK;
}
