/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Class numbers of samples: from LABELS.csv, from an array, or one byte each.  A label is a whole
 * number 0..BL_DATA_LABEL_MAX; a column may hold the letters A..Z instead, as 0..25.
 */
#include "data/data_private.h"

#include <string.h>

bool bl_label_field(const bl_field *f, bool letters, int32_t *out)
{
    double v;
    if (letters) {
        if (!bl_field_letter(f)) return false;
        *out = f->text[0] - 'A';
        return true;
    }
    if (!bl_field_number(f, &v) || !(v >= 0 && v <= BL_DATA_LABEL_MAX) || v != (int32_t)v)
        return false;
    *out = (int32_t)v;
    return true;
}

static bl_status count_check(bl_source *s, const char *place, int64_t n)
{
    if (n == s->count) return BL_OK;
    return bl_fail(s->ctx, BL_DATA, place, "give one label a sample",
                   "%lld labels for %lld samples", (long long)n, (long long)s->count);
}

bl_status bl_labels_tensor(bl_source *s, const char *place, const bl_tensor *t)
{
    int64_t n = 1;
    size_t bytes = bl_stored_bytes(t->type);
    BL_CHECK(s->ctx, bytes > 0);
    if (t->type == BL_F32 || t->type == BL_F64)
        return bl_fail(s->ctx, BL_DATA, place, "store labels as whole numbers",
                       "labels have a floating point type");
    for (int i = 0; i < t->rank; i++) n *= t->dim[i]; /* checked where the shape was read */
    if (t->rank == 0 || n != t->dim[0])
        return bl_fail(s->ctx, BL_DATA, place, "store one label a sample",
                       "labels must have one dimension");
    BL_TRY(count_check(s, place, n));
    int32_t *labels = BL_NEW(s->arena, int32_t, (size_t)n);
    BL_ALLOC_TRY(s->ctx, labels);
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *at = (const uint8_t *)t->data + (size_t)i * bytes;
        uint64_t v = 0;
        memcpy(&v, at, bytes); /* little-endian; a negative one is huge, also after widening */
        bool negative =
            (t->type == BL_I8 || t->type == BL_I16 || t->type == BL_I32) && at[bytes - 1] & 0x80;
        if (negative || v > BL_DATA_LABEL_MAX)
            return bl_fail(s->ctx, BL_DATA, place, "labels are 0 to 1000000",
                           "the label of sample %lld is out of range", (long long)i);
        labels[i] = (int32_t)v;
    }
    s->labels = labels;
    return BL_OK;
}

static int column_find(const bl_rows *r, const char *name)
{
    for (int i = 0; i < r->n_fields; i++)
        if (bl_field_is(&r->field[i], name)) return i;
    return -1;
}

static bl_status column_missing(bl_source *s, const char *path, const char *name)
{
    return bl_fail(s->ctx, BL_DATA, path, "its first line must name the columns, label among them",
                   "no column \"%s\"", name);
}

bl_status bl_labels_csv(bl_source *s, const char *path, const char ***files, int32_t **labels,
                        int64_t *n)
{
    const uint8_t *bytes;
    size_t size;
    bl_rows r;
    bool more, letters = false;
    BL_TRY(bl_source_map(s, path, &bytes, &size));
    BL_TRY(bl_rows_open(&r, s->arena, path, bytes, size));
    BL_TRY(bl_rows_next(&r, &more));
    int label = more ? column_find(&r, "label") : -1, file = more ? column_find(&r, "file") : -1;
    if (label < 0) return column_missing(s, path, "label");
    if (files && file < 0) return column_missing(s, path, "file");

    size_t bound = (size_t)bl_rows_bound(&r); /* no more than bytes in the file */
    int32_t *list = BL_NEW(s->arena, int32_t, bound);
    BL_ALLOC_TRY(s->ctx, list);
    const char **names = files ? BL_NEW(s->arena, const char *, bound) : NULL;
    if (files) BL_ALLOC_TRY(s->ctx, names);
    int64_t rows = 0;
    for (;; rows++) {
        BL_TRY(bl_rows_next(&r, &more));
        if (!more) break;
        const bl_field *f = &r.field[label];
        if (rows == 0) letters = bl_field_letter(f);
        if (!bl_label_field(f, letters, &list[rows]))
            return bl_fail(s->ctx, BL_DATA, path, "labels are 0 to 1000000, or all letters A to Z",
                           "line %lld: \"%.*s\" is no label", (long long)r.line,
                           (int)BL_MIN(f->n, 60), f->text);
        if (!files) continue;
        names[rows] = bl_strndup(s->arena, r.field[file].text, r.field[file].n);
        BL_ALLOC_TRY(s->ctx, names[rows]);
    }
    if (files) *files = names;
    *labels = list;
    *n = rows;
    return BL_OK;
}

static bool ends_with(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    return n >= m && strcmp(path + n - m, end) == 0;
}

bl_status bl_labels_read(bl_source *s, const char *path)
{
    const uint8_t *bytes;
    size_t size;
    if (ends_with(path, ".csv")) {
        int32_t *labels;
        int64_t n;
        BL_TRY(bl_labels_csv(s, path, NULL, &labels, &n));
        BL_TRY(count_check(s, path, n));
        s->labels = labels;
        return BL_OK;
    }
    BL_TRY(bl_source_map(s, path, &bytes, &size));
    bl_tensor t = {.type = BL_U8, .rank = 1, .dim = {(int64_t)size}, .data = (void *)bytes};
    if (ends_with(path, ".npy")) BL_TRY(bl_npy_view(s->ctx, path, bytes, size, &t));
    return bl_labels_tensor(s, path, &t);
}
