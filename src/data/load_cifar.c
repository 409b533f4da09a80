/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * cifar:FILE - CIFAR-10's binary version: records of one label byte 0..9 and 3 x 32 x 32 pixel
 * bytes, channels R, G, B outermost.  Source: A. Krizhevsky, the data set's own page.
 */
#include "data/data_private.h"

enum { PIXELS = 3 * 32 * 32, RECORD = 1 + PIXELS, CLASSES = 10 };

bl_status bl_load_cifar(bl_source *s)
{
    const uint8_t *bytes;
    size_t size;
    BL_TRY(bl_source_words(s, 1, 1));
    const char *path = s->word[0];
    BL_TRY(bl_source_map(s, path, &bytes, &size));
    if (size == 0)
        return bl_fail(s->ctx, BL_DATA, path, "give a data set with at least one", "no samples");
    if (size % RECORD)
        return bl_fail(s->ctx, BL_DATA, path, "is it CIFAR-10's binary version, and whole?",
                       "%zu bytes are no whole number of records of %d", size, RECORD);
    s->count = (int64_t)(size / RECORD);
    s->labels = BL_NEW(s->arena, int32_t, (size_t)s->count);
    BL_ALLOC_TRY(s->ctx, s->labels);
    for (int64_t i = 0; i < s->count; i++) {
        s->labels[i] = bytes[(size_t)i * RECORD];
        if (s->labels[i] >= CLASSES)
            return bl_fail(s->ctx, BL_DATA, path, "is it CIFAR-10's binary version?",
                           "record %lld has the label %d", (long long)i, s->labels[i]);
    }
    s->sample = (bl_tensor){.type = BL_U8, .rank = 3, .dim = {3, 32, 32}};
    s->picture = true;
    s->data = bytes + 1;
    s->sample_bytes = PIXELS;
    s->stride_bytes = RECORD;
    return BL_OK;
}
