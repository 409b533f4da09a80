/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Comma-separated text, row by row: RFC 4180 less line breaks inside quotes, with blanks around
 * fields dropped, empty lines skipped, LF or CRLF, an optional byte-order mark.  All rows have as
 * many fields as the first.  What a field means is the callers' business.
 */
#include "data/data_private.h"

#include <string.h>

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

bl_status bl_rows_open(bl_rows *r, bl_arena *arena, const char *place, const uint8_t *bytes,
                       size_t size)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    *r = (bl_rows){.arena = arena, .place = place};
    if (size >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0) {
        bytes += 3;
        size -= 3;
    }
    if (size > 0 && memchr(bytes, '\0', size))
        return bl_fail(ctx, BL_DATA, place, "give comma-separated text",
                       "holds a zero byte: no text");
    r->at = (const char *)bytes;
    r->end = r->at + size;
    /* The first row that is not empty decides; commas inside quotes only make room for too many. */
    const char *p = r->at;
    while (p < r->end && (*p == '\n' || blank(*p))) p++;
    for (r->capacity = 1; p < r->end && *p != '\n' && r->capacity < INT32_MAX; p++)
        r->capacity += *p == ',';
    r->field = BL_NEW(arena, bl_field, (size_t)r->capacity);
    BL_ALLOC_TRY(ctx, r->field);
    return BL_OK;
}

int64_t bl_rows_bound(const bl_rows *r)
{
    int64_t n = 1;
    for (const char *p = r->at; p < r->end && (p = memchr(p, '\n', (size_t)(r->end - p))); p++) n++;
    return n;
}

static bl_status row_fail(const bl_rows *r, const char *remedy, const char *what)
{
    return bl_fail(bl_arena_ctx(r->arena), BL_DATA, r->place, remedy, "line %lld: %s",
                   (long long)r->line, what);
}

/* A field in quotes: *at stands after the opening one and is left after the closing one. */
static bl_status field_quoted(bl_rows *r, const char **at, const char *end, bl_field *f)
{
    const char *p = *at;
    size_t doubled = 0;
    for (;; p++) {
        if (p == end) return row_fail(r, "close it on the same line", "a quote is not closed");
        if (*p != '"') continue;
        if (p + 1 == end || p[1] != '"') break;
        doubled++;
        p++;
    }
    *f = (bl_field){*at, (size_t)(p - *at)};
    *at = p + 1;
    if (doubled == 0) return BL_OK;
    char *text = bl_strndup(r->arena, f->text, f->n);
    BL_ALLOC_TRY(bl_arena_ctx(r->arena), text);
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        text[n++] = f->text[i];
        i += f->text[i] == '"'; /* the second of a pair */
    }
    *f = (bl_field){text, n};
    return BL_OK;
}

/* Cuts one line, [p, end), into r->field. */
static bl_status row_cut(bl_rows *r, const char *p, const char *end)
{
    int n = 0;
    for (;;) {
        if (n == r->capacity) return row_fail(r, "give rows of equal length", "too many fields");
        bl_field *f = &r->field[n++];
        while (p < end && blank(*p)) p++;
        if (p < end && *p == '"') {
            p++;
            BL_TRY(field_quoted(r, &p, end, f));
            while (p < end && blank(*p)) p++;
            if (p < end && *p != ',')
                return row_fail(r, "put commas between fields", "text follows a closing quote");
        } else {
            f->text = p;
            while (p < end && *p != ',') p++;
            f->n = (size_t)(p - f->text);
            while (f->n > 0 && blank(f->text[f->n - 1])) f->n--;
        }
        if (p == end) break;
        p++; /* the comma */
    }
    if (r->n_fields == 0) r->n_fields = n;
    if (n < r->n_fields) return row_fail(r, "give rows of equal length", "too few fields");
    if (n > r->n_fields) return row_fail(r, "give rows of equal length", "too many fields");
    return BL_OK;
}

bl_status bl_rows_next(bl_rows *r, bool *more)
{
    while (r->at < r->end) {
        const char *p = r->at;
        const char *end = memchr(p, '\n', (size_t)(r->end - p));
        if (!end) end = r->end;
        r->at = end < r->end ? end + 1 : end;
        r->line++;
        const char *last = end;
        while (last > p && blank(last[-1])) last--;
        if (last == p) continue;
        *more = true;
        return row_cut(r, p, last);
    }
    *more = false;
    return BL_OK;
}

bool bl_field_is(const bl_field *f, const char *word)
{
    return f->n == strlen(word) && memcmp(f->text, word, f->n) == 0;
}

bool bl_field_letter(const bl_field *f)
{
    return f->n == 1 && f->text[0] >= 'A' && f->text[0] <= 'Z';
}

bool bl_field_number(const bl_field *f, double *out)
{
    /* Short whole numbers are most of what there is, and exact. */
    bool minus = f->n > 0 && f->text[0] == '-';
    size_t i = minus;
    int64_t v = 0;
    if (f->n > i && f->n <= 15) {
        for (; i < f->n && f->text[i] >= '0' && f->text[i] <= '9'; i++)
            v = v * 10 + f->text[i] - '0';
        if (i == f->n) {
            *out = minus ? -(double)v : (double)v;
            return true;
        }
    }
    char text[64];
    if (f->n == 0 || f->n >= sizeof text) return false;
    memcpy(text, f->text, f->n);
    text[f->n] = '\0';
    return bl_parse_f64(text, out);
}
