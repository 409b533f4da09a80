/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * arff:FILE - Weka's attribute-relation files, dense and with commas: `@attribute NAME numeric` (real, integer) and at
 * most one `@attribute NAME {a,b,c}`, whose words are the labels, numbered as they stand there.  Without one the last
 * attribute is the label, unless the network's input takes all of them.  LHC jets are published in this form.
 */
#include "data/data_private.h"

#include <string.h>
#include <strings.h>

typedef struct arff {
    bl_source *s;
    const char *path, *at, *end;
    int64_t line;
    int n, label;               /* attributes; the one of words, -1: none */
    bl_field words;             /* between its braces */
} arff;

static bool blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r';
}

static bl_field trimmed(const char *p, const char *end)
{
    while (p < end && blank(*p)) p++;
    while (end > p && blank(end[-1])) end--;
    return (bl_field){p, (size_t)(end - p)};
}

static bool starts(bl_field f, const char *word)
{
    size_t n = strlen(word);
    return f.n >= n && strncasecmp(f.text, word, n) == 0;
}

static bl_status refuse(const arff *a, const char *remedy, const char *what)
{
    return bl_fail(a->s->ctx, BL_DATA, a->path, remedy, "line %lld: %s", (long long)a->line, what);
}

/* Without a pair of quotes around it. */
static bl_field bare(bl_field f)
{
    bool quoted = f.n >= 2 && (f.text[0] == '\'' || f.text[0] == '"') && f.text[f.n - 1] == f.text[0];
    return quoted ? (bl_field){f.text + 1, f.n - 2} : f;
}

/* What stands behind "@attribute": a name, in quotes or not, and a type. */
static bl_status attribute(arff *a, bl_field rest)
{
    const char *end = rest.text + rest.n, *p = rest.text;
    char quote = rest.n && (*p == '\'' || *p == '"') ? *p : '\0';
    if (quote) p++;
    while (p < end && (quote ? *p != quote : !blank(*p) && *p != '{')) p++;
    if (quote && p < end) p++;
    bl_field type = trimmed(p, end);
    if (a->n == INT32_MAX - 1) return refuse(a, "give fewer", "too many attributes");
    if (type.n >= 2 && type.text[0] == '{' && type.text[type.n - 1] == '}') {
        if (a->label >= 0) return refuse(a, "leave one class, the others as numbers", "a second attribute of words");
        a->label = a->n;
        a->words = trimmed(type.text + 1, type.text + type.n - 1);
    } else if (!starts(type, "numeric") && !starts(type, "real") && !starts(type, "integer")) {
        return refuse(a, "numeric, real, integer and {words} are known", "an attribute of another type");
    }
    a->n++;
    return BL_OK;
}

/* The lines up to @data. */
static bl_status header(arff *a)
{
    while (a->at < a->end) {
        const char *end = memchr(a->at, '\n', (size_t)(a->end - a->at));
        bl_field f = trimmed(a->at, end ? end : a->end);
        a->at = end ? end + 1 : a->end;
        a->line++;
        if (f.n == 0 || f.text[0] == '%' || starts(f, "@relation")) continue;
        if (starts(f, "@data")) return a->n ? BL_OK : refuse(a, "name the attributes first", "no attributes");
        if (!starts(f, "@attribute")) return refuse(a, "@relation, @attribute and @data belong there", "no such declaration");
        BL_TRY(attribute(a, trimmed(f.text + strlen("@attribute"), f.text + f.n)));
    }
    return bl_fail(a->s->ctx, BL_DATA, a->path, "is it an ARFF file?", "no @data");
}

/* Number of a word between the braces, -1: not there. */
static int32_t class_of(const arff *a, bl_field f)
{
    const char *p = a->words.text, *end = p + a->words.n;
    f = bare(f);
    for (int32_t n = 0; n <= BL_DATA_LABEL_MAX; n++) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        bl_field word = bare(trimmed(p, comma ? comma : end));
        if (word.n == f.n && memcmp(word.text, f.text, f.n) == 0) return n;
        if (!comma) break;
        p = comma + 1;
    }
    return -1;
}

static bl_status row_read(const arff *a, const bl_rows *r, int label, float *out, int32_t *out_label)
{
    for (int i = 0; i < r->n_fields; i++) {
        const bl_field *f = &r->field[i];
        double v = 0;
        bool fine;
        if (i == label && a->label >= 0) fine = (*out_label = class_of(a, *f)) >= 0;
        else fine = i == label ? bl_label_field(f, false, out_label) : bl_field_number(f, &v);
        if (!fine)
            return bl_fail(a->s->ctx, BL_DATA, a->path, i == label ? "give a class of the @attribute line" : "give decimal numbers",
                           "line %lld, field %d: \"%.*s\" is no %s", (long long)r->line, i + 1, (int)BL_MIN(f->n, 60),
                           f->text, i == label ? "class" : "number");
        if (i != label) *out++ = (float)v;
    }
    return BL_OK;
}

static bl_status rows(arff *a, bl_rows *r)
{
    bl_source *s = a->s;
    int label = a->label >= 0 ? a->label : a->n == s->input_count ? -1 : a->n - 1, width = a->n - (label >= 0);
    size_t size = (size_t)(a->end - a->at), cells;
    bool more;
    if (width == 0) return bl_fail(s->ctx, BL_DATA, a->path, "give numbers beside the class", "one attribute only");
    BL_TRY(bl_rows_next(r, &more));
    if (!more) return bl_fail(s->ctx, BL_DATA, a->path, "give a data set with at least one", "no samples");
    if (r->n_fields != a->n)
        return bl_fail(s->ctx, BL_DATA, a->path, "give a field for each attribute, commas between them", "%d fields for %d attributes",
                       r->n_fields, a->n);
    /* Rows and fields are at least a byte each in the file, so this is bounded by its size. */
    int64_t bound = BL_MIN(bl_rows_bound(r) + 1, (int64_t)(size / (size_t)r->n_fields) + 1), n = 0;
    if (!bl_mul_size((size_t)bound, (size_t)width, &cells)) cells = SIZE_MAX;
    float *values = BL_NEW(s->arena, float, cells);
    BL_ALLOC_TRY(s->ctx, values);
    int32_t *labels = BL_NEW(s->arena, int32_t, (size_t)bound);
    BL_ALLOC_TRY(s->ctx, labels);
    for (; more; n++) {
        BL_CHECK(s->ctx, n < bound);
        BL_TRY(row_read(a, r, label, values + n * width, &labels[n]));
        BL_TRY(bl_rows_next(r, &more));
    }
    bl_tensor t = {.type = BL_F32, .rank = 2, .dim = {n, width}, .data = values};
    BL_TRY(bl_source_tensor(s, a->path, &t));
    if (label >= 0) s->labels = labels;
    return BL_OK;
}

bl_status bl_load_arff(bl_source *s)
{
    const uint8_t *bytes;
    size_t size;
    bl_rows r;
    BL_TRY(bl_source_words(s, 1, 1));
    BL_TRY(bl_source_map(s, s->word[0], &bytes, &size));
    arff a = {.s = s, .path = s->word[0], .at = (const char *)bytes, .end = (const char *)bytes + size, .label = -1};
    BL_TRY(header(&a));
    BL_TRY(bl_rows_open(&r, s->arena, a.path, (const uint8_t *)a.at, (size_t)(a.end - a.at)));
    r.line = a.line; /* counted on from the header */
    return rows(&a, &r);
}
