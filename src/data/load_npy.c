/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * npy:X.npy[,LABELS] - a NumPy array whose first axis counts samples.  npy:X.npz takes the member
 * `x` (or the only one) and, where there is one and no label file is named, the labels `y`.
 */
#include "data/data_private.h"

#include <string.h>

static const bl_npz_member *member_find(const bl_npz_member *list, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0) return &list[i];
    return NULL;
}

static bl_status npz_load(bl_source *s, const char *path, const uint8_t *bytes, size_t size)
{
    bl_npz_member *list;
    int n;
    bl_tensor t;
    BL_TRY(bl_npz_list(s->arena, path, bytes, size, &list, &n));
    const bl_npz_member *x = n == 1 ? &list[0] : member_find(list, n, "x");
    const bl_npz_member *y = n == 1 ? NULL : member_find(list, n, "y");
    if (!x)
        return bl_fail(s->ctx, BL_DATA, path, "name the samples x: numpy.savez(path, x=..., y=...)",
                       "no member \"x\"");
    BL_TRY(bl_npz_view(s->arena, path, bytes, x, &t));
    BL_TRY(bl_source_tensor(s, path, &t));
    if (s->n_words > 1 || !y) return BL_OK;
    BL_TRY(bl_npz_view(s->arena, path, bytes, y, &t));
    return bl_labels_tensor(s, path, &t);
}

bl_status bl_load_npy(bl_source *s)
{
    const uint8_t *bytes;
    size_t size;
    BL_TRY(bl_source_words(s, 1, 2));
    const char *path = s->word[0];
    BL_TRY(bl_source_map(s, path, &bytes, &size));
    if (size >= 2 && memcmp(bytes, "PK", 2) == 0) {
        BL_TRY(npz_load(s, path, bytes, size));
    } else {
        bl_tensor t;
        BL_TRY(bl_npy_view(s->ctx, path, bytes, size, &t));
        BL_TRY(bl_source_tensor(s, path, &t));
    }
    return s->n_words > 1 ? bl_labels_read(s, s->word[1]) : BL_OK;
}
