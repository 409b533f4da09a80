/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * csv:FILE - one sample a line, numbers and a label.  A first line that names the columns is told
 * by the word "label", by two fields that are no numbers, or by one that is neither a number nor a
 * capital letter.  The label is the column `label`; else the one column that holds a letter; else
 * the last - unless the network's input takes all columns, then there are no labels.
 */
#include "data/data_private.h"

#include <string.h>

static bool header_is(const bl_rows *r)
{
    double v;
    int words = 0;
    for (int i = 0; i < r->n_fields; i++) {
        if (bl_field_is(&r->field[i], "label")) return true;
        if (bl_field_number(&r->field[i], &v)) continue;
        if (!bl_field_letter(&r->field[i])) return true;
        words++;
    }
    return words > 1;
}

/* Which column holds labels, -1: none.  `row` is the first row with values. */
static int label_column(const bl_source *s, const bl_rows *row, int named)
{
    if (named >= 0) return named;
    for (int i = 0; i < row->n_fields; i++)
        if (bl_field_letter(&row->field[i])) return i;
    return row->n_fields == s->input_count ? -1 : row->n_fields - 1;
}

static bl_status row_read(bl_source *s, const bl_rows *r, int label, bool letters, float *out,
                          int32_t *out_label)
{
    for (int i = 0; i < r->n_fields; i++) {
        const bl_field *f = &r->field[i];
        double v = 0;
        bool fine = i == label ? bl_label_field(f, letters, out_label) : bl_field_number(f, &v);
        if (!fine)
            return bl_fail(s->ctx, BL_DATA, s->word[0],
                           i == label ? "labels are 0 to 1000000, or all letters A to Z"
                                      : "give decimal numbers",
                           "line %lld, field %d: \"%.*s\" is no %s", (long long)r->line, i + 1,
                           (int)BL_MIN(f->n, 60), f->text, i == label ? "label" : "number");
        if (i != label) *out++ = (float)v;
    }
    return BL_OK;
}

bl_status bl_load_csv(bl_source *s)
{
    const uint8_t *bytes;
    size_t size;
    bl_rows r;
    bool more;
    int named = -1;
    BL_TRY(bl_source_words(s, 1, 1));
    const char *path = s->word[0];
    BL_TRY(bl_source_map(s, path, &bytes, &size));
    BL_TRY(bl_rows_open(&r, s->arena, path, bytes, size));
    BL_TRY(bl_rows_next(&r, &more));
    if (more && header_is(&r)) {
        for (int i = 0; i < r.n_fields; i++)
            if (bl_field_is(&r.field[i], "label")) named = i;
        BL_TRY(bl_rows_next(&r, &more));
    }
    if (!more)
        return bl_fail(s->ctx, BL_DATA, path, "give a data set with at least one", "no samples");
    int label = label_column(s, &r, named), width = r.n_fields - (label >= 0);
    bool letters = label >= 0 && bl_field_letter(&r.field[label]);
    if (width == 0)
        return bl_fail(s->ctx, BL_DATA, path, "give numbers beside the label", "one column only");

    /* Rows and fields are at least a byte each in the file, so this is bounded by its size. */
    int64_t bound = BL_MIN(bl_rows_bound(&r) + 1, (int64_t)(size / (size_t)r.n_fields) + 1);
    size_t cells;
    if (!bl_mul_size((size_t)bound, (size_t)width, &cells)) cells = SIZE_MAX;
    float *values = BL_NEW(s->arena, float, cells);
    BL_ALLOC_TRY(s->ctx, values);
    int32_t *labels = BL_NEW(s->arena, int32_t, (size_t)bound);
    BL_ALLOC_TRY(s->ctx, labels);
    int64_t rows = 0;
    do {
        BL_CHECK(s->ctx, rows < bound);
        BL_TRY(
            row_read(s, &r, label, letters, values + (size_t)rows * (size_t)width, &labels[rows]));
        rows++;
        BL_TRY(bl_rows_next(&r, &more));
    } while (more);
    bl_tensor t = {.type = BL_F32, .rank = 2, .dim = {rows, width}, .data = values};
    BL_TRY(bl_source_tensor(s, path, &t));
    if (label >= 0) s->labels = labels;
    return BL_OK;
}
