/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * NumPy's .npy files, versions 1 to 3: reading a header, and writing.  The header is a Python
 * dictionary of three entries; just its literals are understood, nothing is evaluated.  Left out by
 * name: big-endian, Fortran order, structured and object types.  Format: NEP 1 and
 * numpy.lib.format.
 */
#include "data/data_private.h"

#include <stdio.h>
#include <string.h>

typedef struct npy_text {
    bl_ctx *ctx;
    const char *place;
    const char *at, *end;
} npy_text;

static const struct {
    char kind;
    char digit;
    bl_dtype type;
    const char *code;
} npy_types[] = {
    {'b', '1', BL_BOOL, "|b1"}, {'u', '1', BL_U8, "|u1"},  {'i', '1', BL_I8, "|i1"},
    {'u', '2', BL_U16, "<u2"},  {'i', '2', BL_I16, "<i2"}, {'u', '4', BL_U32, "<u4"},
    {'i', '4', BL_I32, "<i4"},  {'u', '8', BL_U64, "<u8"}, {'i', '8', BL_I64, "<i8"},
    {'f', '4', BL_F32, "<f4"},  {'f', '8', BL_F64, "<f8"},
};

static bl_status npy_fail(const npy_text *t, const char *what)
{
    return bl_fail(t->ctx, BL_DATA, t->place, "write it with numpy.save", "%s", what);
}

static void skip(npy_text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n' || *t->at == '\t')) t->at++;
}

static bool take(npy_text *t, char c)
{
    skip(t);
    if (t->at == t->end || *t->at != c) return false;
    t->at++;
    return true;
}

static bool take_word(npy_text *t, const char *word)
{
    size_t n = strlen(word);
    skip(t);
    if ((size_t)(t->end - t->at) < n || memcmp(t->at, word, n) != 0) return false;
    t->at += n;
    return true;
}

/* A string in single or double quotes, no escapes, into buf. */
static bool take_string(npy_text *t, char *buf, size_t room)
{
    char quote = take(t, '\'') ? '\'' : take(t, '"') ? '"' : '\0';
    size_t n = 0;
    if (!quote) return false;
    while (t->at < t->end && *t->at != quote && *t->at != '\\' && n + 1 < room) buf[n++] = *t->at++;
    buf[n] = '\0';
    return t->at < t->end && *t->at++ == quote;
}

static bl_status take_type(npy_text *t, bl_tensor *out)
{
    char code[16];
    if (!take_string(t, code, sizeof code))
        return npy_fail(t, "its element type is structured or unreadable");
    if (strlen(code) == 3 && strchr("<|=>", code[0]))
        for (size_t i = 0; i < BL_COUNTOF(npy_types); i++)
            if (npy_types[i].kind == code[1] && npy_types[i].digit == code[2]) {
                if (code[0] == '>' && code[2] != '1')
                    return bl_fail(t->ctx, BL_DATA, t->place, "save it little-endian",
                                   "its numbers are big-endian (\"%s\")", code);
                out->type = npy_types[i].type;
                return BL_OK;
            }
    return bl_fail(t->ctx, BL_DATA, t->place,
                   "save it as bool, int8 to int64, uint8 to uint64, float32 or float64",
                   "element type \"%s\" is not known here", code);
}

/* (), (5,), (5, 3) ... */
static bl_status take_shape(npy_text *t, bl_tensor *out)
{
    out->rank = 0;
    if (!take(t, '(')) return npy_fail(t, "its shape is unreadable");
    while (!take(t, ')')) {
        int64_t v = 0;
        bool digits = false;
        skip(t);
        for (; t->at < t->end && *t->at >= '0' && *t->at <= '9'; t->at++, digits = true)
            if (!bl_mul_i64(v, 10, &v) || !bl_add_i64(v, *t->at - '0', &v))
                return npy_fail(t, "a dimension is too large");
        if (!digits) return npy_fail(t, "its shape is unreadable");
        if (out->rank == BL_MAX_RANK) return npy_fail(t, "it has more than 8 dimensions");
        out->dim[out->rank++] = v;
        if (!take(t, ',')) {
            if (!take(t, ')') || out->rank == 1) return npy_fail(t, "its shape is unreadable");
            break;
        }
    }
    return BL_OK;
}

/* {'descr': '<f4', 'fortran_order': False, 'shape': (5, 3), } in any order. */
static bl_status header_read(npy_text *t, bl_tensor *out)
{
    enum { DESCR = 1, ORDER = 2, SHAPE = 4 };
    int seen = 0;
    bool fortran = false;
    char key[16];
    if (!take(t, '{')) return npy_fail(t, "its header is unreadable");
    while (!take(t, '}')) {
        if (!take_string(t, key, sizeof key) || !take(t, ':'))
            return npy_fail(t, "its header is unreadable");
        int bit = strcmp(key, "descr") == 0           ? DESCR
                  : strcmp(key, "fortran_order") == 0 ? ORDER
                  : strcmp(key, "shape") == 0         ? SHAPE
                                                      : 0;
        if (!bit || seen & bit) return npy_fail(t, "its header has an unknown or repeated entry");
        seen |= bit;
        if (bit == DESCR) {
            BL_TRY(take_type(t, out));
        } else if (bit == SHAPE) {
            BL_TRY(take_shape(t, out));
        } else {
            fortran = take_word(t, "True");
            if (!fortran && !take_word(t, "False")) return npy_fail(t, "its order is unreadable");
        }
        if (!take(t, ',')) {
            if (!take(t, '}')) return npy_fail(t, "its header is unreadable");
            break;
        }
    }
    skip(t);
    if (seen != (DESCR | ORDER | SHAPE) || t->at != t->end)
        return npy_fail(t, "its header is unreadable");
    if (fortran && out->rank > 1)
        return bl_fail(t->ctx, BL_DATA, t->place, "save numpy.ascontiguousarray of it",
                       "its elements are in Fortran order");
    return BL_OK;
}

bl_status bl_npy_view(bl_ctx *ctx, const char *place, const uint8_t *bytes, size_t size,
                      bl_tensor *out)
{
    npy_text t = {.ctx = ctx, .place = place};
    if (size < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0)
        return npy_fail(&t, "this is no .npy file");
    if (bytes[6] < 1 || bytes[6] > 3)
        return bl_fail(ctx, BL_DATA, place, "write it with numpy.save",
                       ".npy version %d is not known here", bytes[6]);
    size_t start = bytes[6] == 1 ? 10 : 12;
    size_t header = (size_t)bytes[8] | (size_t)bytes[9] << 8;
    if (start == 12 && size >= 12) header |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
    if (size < start || header > size - start) return npy_fail(&t, "ends inside its header");
    t.at = (const char *)bytes + start;
    t.end = t.at + header;
    bl_tensor tensor = {0};
    int64_t count;
    size_t need, have = size - start - header;
    BL_TRY(header_read(&t, &tensor));
    BL_TRY(bl_data_extent(ctx, place, &tensor, &count, &need));
    if (need != have)
        return bl_fail(ctx, BL_DATA, place, "write the file again",
                       "its header says %zu bytes of data, %zu are there", need, have);
    tensor.data = (void *)(bytes + start + header);
    *out = tensor;
    return BL_OK;
}

bl_status bl_npy_write(bl_ctx *ctx, const char *path, const bl_tensor *t)
{
    char header[512], shape[256];
    const char *code = NULL;
    size_t used = 0, bytes;
    int64_t count;
    for (size_t i = 0; i < BL_COUNTOF(npy_types); i++)
        if (npy_types[i].type == t->type) code = npy_types[i].code;
    if (!code)
        return bl_fail(ctx, BL_UNAVAILABLE, path, "", "a .npy file of %s cannot be written",
                       bl_dtype_name(t->type));
    BL_TRY(bl_data_extent(ctx, path, t, &count, &bytes));
    shape[0] = '\0';
    for (int i = 0; i < t->rank; i++)
        used += (size_t)snprintf(shape + used, sizeof shape - used,
                                 t->rank == 1 ? "%lld,"
                                 : i          ? ", %lld"
                                              : "%lld",
                                 (long long)t->dim[i]);
    int n = snprintf(header, sizeof header,
                     "%s{'descr': '%s', 'fortran_order': False, 'shape': (%s), }", "\x93NUMPY\x01",
                     code, shape);
    /* Magic, major, minor (a zero byte), length of what follows, dictionary, blanks up to a
     * multiple of 64, newline. */
    memmove(header + 10, header + 7, (size_t)n - 7);
    size_t total = ((size_t)n + 3 + 1 + 63) / 64 * 64;
    memset(header + n + 3, ' ', total - (size_t)n - 3);
    header[total - 1] = '\n';
    header[7] = 0;
    header[8] = (char)((total - 10) & 0xff);
    header[9] = (char)((total - 10) >> 8);

    bl_writer *w;
    bl_status status;
    BL_TRY(bl_writer_open(ctx, path, &w));
    BL_TRY_GOTO(status, failed, bl_writer_put(w, header, total));
    if (bytes) BL_TRY_GOTO(status, failed, bl_writer_put(w, t->data, bytes));
    return bl_writer_close(w);
failed:
    bl_writer_abort(w);
    return status;
}
