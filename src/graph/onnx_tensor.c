/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * TensorProto to bl_tensor, in every storage form the format has for our element types: raw bytes
 * (copied by the parser, or left in the file), the typed lists, or an external file.  Payload and
 * dims must agree.  A payload that already lies in a mapping, aligned for its element type, is not
 * copied.  float16 and bfloat16 become float32, which holds each of their numbers.
 */
#include "graph/onnx_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "raw_data is little-endian; this reader takes it as it is"
#endif

/* Lists that can hold an element type beside raw_data. */
typedef enum list { NO_LIST, FLOAT_DATA, INT32_DATA, INT64_DATA, DOUBLE_DATA, UINT64_DATA } list;

static const struct {
    const char *name;
    bl_dtype type;          /* BL_NONE: in the format, but not here */
    list list;
    int64_t lo, hi;         /* of an entry of int32_data or uint64_data */
} types[] = {
    [0] = {"undefined", BL_NONE, NO_LIST, 0, 0},
    [1] = {"float32", BL_F32, FLOAT_DATA, 0, 0},
    [2] = {"uint8", BL_U8, INT32_DATA, 0, UINT8_MAX},
    [3] = {"int8", BL_I8, INT32_DATA, INT8_MIN, INT8_MAX},
    [4] = {"uint16", BL_U16, INT32_DATA, 0, UINT16_MAX},
    [5] = {"int16", BL_I16, INT32_DATA, INT16_MIN, INT16_MAX},
    [6] = {"int32", BL_I32, INT32_DATA, INT32_MIN, INT32_MAX},
    [7] = {"int64", BL_I64, INT64_DATA, 0, 0},
    [8] = {"string", BL_NONE, NO_LIST, 0, 0},
    [9] = {"bool", BL_BOOL, INT32_DATA, 0, 1},
    [10] = {"float16", BL_F16, INT32_DATA, 0, UINT16_MAX},
    [11] = {"float64", BL_F64, DOUBLE_DATA, 0, 0},
    [12] = {"uint32", BL_U32, UINT64_DATA, 0, UINT32_MAX},
    [13] = {"uint64", BL_U64, UINT64_DATA, 0, 0},
    [14] = {"complex64", BL_NONE, NO_LIST, 0, 0},
    [15] = {"complex128", BL_NONE, NO_LIST, 0, 0},
    [16] = {"bfloat16", BL_BF16, INT32_DATA, 0, UINT16_MAX},
    [17] = {"float8e4m3fn", BL_NONE, NO_LIST, 0, 0},
    [18] = {"float8e4m3fnuz", BL_NONE, NO_LIST, 0, 0},
    [19] = {"float8e5m2", BL_NONE, NO_LIST, 0, 0},
    [20] = {"float8e5m2fnuz", BL_NONE, NO_LIST, 0, 0},
    [21] = {"uint4", BL_U4, INT32_DATA, 0, 0},
    [22] = {"int4", BL_I4, INT32_DATA, 0, 0},
    [23] = {"float4e2m1", BL_NONE, NO_LIST, 0, 0},
    [24] = {"float8e8m0", BL_NONE, NO_LIST, 0, 0},
    [25] = {"uint2", BL_U2, INT32_DATA, 0, 0},
    [26] = {"int2", BL_I2, INT32_DATA, 0, 0},
};

const char *bl_onnx_dtype_name(int32_t code)
{
    return code >= 0 && (size_t)code < BL_COUNTOF(types) ? types[code].name : NULL;
}

bool bl_onnx_dtype(int32_t code, bl_dtype *out)
{
    if (!bl_onnx_dtype_name(code) || types[code].type == BL_NONE) return false;
    *out = types[code].type;
    return true;
}

bool bl_onnx_is_half(int64_t code)
{
    return code == BL_F16 || code == BL_BF16;
}

static float from_half(uint16_t code)
{
    int exponent = code >> 10 & 31, fraction = code & 1023;
    float v = exponent == 31 ? (fraction ? NAN : INFINITY)
              : exponent     ? ldexpf((float)(1024 + fraction), exponent - 25)
                             : ldexpf((float)fraction, -24);
    return code >> 15 ? -v : v;
}

static float from_brain(uint16_t code)
{
    uint32_t bits = (uint32_t)code << 16;
    float v;
    memcpy(&v, &bits, sizeof(v));
    return v;
}

static bl_status widen(bl_onnx *in, bl_tensor *t)
{
    if (!bl_onnx_is_half(t->type)) return BL_OK;
    int64_t n = bl_tensor_count(t);
    const uint16_t *from = t->data;
    float *to = bl_alloc(in->graph->arena, (size_t)n, sizeof(float));
    BL_ALLOC_TRY(in->ctx, to);
    for (int64_t i = 0; i < n; i++) to[i] = t->type == BL_F16 ? from_half(from[i]) : from_brain(from[i]);
    t->type = BL_F32;
    t->data = to;
    in->widened = true;
    return BL_OK;
}

/* ------------------------------------------------------------------ type and dims */

static bl_status set_shape(bl_onnx *in, const Onnx__TensorProto *from, const char *subject,
                           bl_tensor *out)
{
    int64_t count = 1, bytes;
    *out = (bl_tensor){0};
    if (!bl_onnx_dtype_name(from->data_type))
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                            "has the element type %d, which the format does not know",
                            (int)from->data_type);
    if (!bl_onnx_dtype(from->data_type, &out->type))
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "export the network in float32",
                            "has the unsupported element type %s",
                            bl_onnx_dtype_name(from->data_type));
    if (from->n_dims > BL_MAX_RANK)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "use fewer dimensions",
                            "has %zu dimensions; at most %d are supported", from->n_dims,
                            BL_MAX_RANK);
    out->rank = (int)from->n_dims;
    for (size_t i = 0; i < from->n_dims; i++) {
        out->dim[i] = from->dims[i];
        if (from->dims[i] < 0)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "dimension %zu is negative: %" PRId64, i, from->dims[i]);
        if (!bl_mul_i64(count, from->dims[i], &count))
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "its dimensions overflow");
    }
    if (!bl_mul_i64(count, (int64_t)bl_dtype_bytes(out->type), &bytes) || bytes > PTRDIFF_MAX)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "its dimensions overflow");
    return BL_OK;
}

/* ------------------------------------------------------------------ bytes that lie somewhere */

/* Width of an element whose codes lie several to a byte in the file; 0: it has bytes of its own. */
static int packed_bits(bl_dtype type)
{
    return type == BL_U4 || type == BL_I4 ? 4 : type == BL_U2 || type == BL_I2 ? 2 : 0;
}

/* Bytes of the elements in the file. */
static size_t stored_bytes(const bl_tensor *t)
{
    int64_t n = bl_tensor_count(t), per_byte = packed_bits(t->type) ? 8 / packed_bits(t->type) : 0;
    return per_byte ? (size_t)(n / per_byte + (n % per_byte != 0)) : bl_tensor_bytes(t);
}

static bl_status wrong_size(const bl_onnx *in, const char *subject, const bl_tensor *t,
                            uint64_t bytes)
{
    char *shape = bl_shape_text(in->scratch, t);
    BL_ALLOC_TRY(in->ctx, shape);
    return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                        "%s %s needs %zu bytes, %" PRIu64 " are stored", shape,
                        bl_dtype_name(t->type), stored_bytes(t), bytes);
}

/* One code from each `bits` of bytes that lie `step` apart, low bits first, to a byte of its own. */
static bl_status unpack(bl_onnx *in, const uint8_t *p, size_t step, bl_tensor *out)
{
    int bits = packed_bits(out->type), per_byte = 8 / bits;
    bool is_signed = out->type == BL_I4 || out->type == BL_I2;
    int64_t n = bl_tensor_count(out);
    int8_t *to = bl_alloc(in->graph->arena, (size_t)n, 1);
    BL_ALLOC_TRY(in->ctx, to);
    for (int64_t i = 0; i < n; i++) {
        int code = p[(size_t)(i / per_byte) * step] >> (int)(i % per_byte) * bits & ((1 << bits) - 1);
        to[i] = (int8_t)(is_signed && code >> (bits - 1) ? code - (1 << bits) : code);
    }
    out->data = to;
    return BL_OK;
}

/* stays: p is in a mapping that lives as long as the graph. */
static bl_status set_bytes(bl_onnx *in, const char *subject, const uint8_t *p, uint64_t bytes,
                           bool stays, bl_tensor *out)
{
    size_t need = stored_bytes(out), unit = bl_dtype_bytes(out->type);
    if (bytes != need) return wrong_size(in, subject, out, bytes);
    if (packed_bits(out->type)) return unpack(in, p, 1, out);
    if (stays && need > 0 && (uintptr_t)p % unit == 0) {
        out->data = (void *)p; /* constants are never written */
        return BL_OK;
    }
    void *copy = bl_alloc(in->graph->arena, need, 1);
    BL_ALLOC_TRY(in->ctx, copy);
    if (need > 0) memcpy(copy, p, need);
    out->data = copy;
    return BL_OK;
}

static bl_status check_bools(const bl_onnx *in, const char *subject, const bl_tensor *t)
{
    const uint8_t *p = t->data;
    int64_t n = t->type == BL_BOOL ? bl_tensor_count(t) : 0;
    for (int64_t i = 0; i < n; i++)
        if (p[i] > 1)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "element %" PRId64 " is %d, neither true nor false", i, p[i]);
    return BL_OK;
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return v;
}

/* What onnx_scan.c left in place: offset and length in the file. */
static bl_status set_left_in_file(bl_onnx *in, const Onnx__TensorProto *from, const char *subject,
                                  bl_tensor *out)
{
    BL_CHECK(in->ctx, from->left_in_file.len == 16);
    uint64_t offset = get_u64(from->left_in_file.data),
             length = get_u64(from->left_in_file.data + 8);
    BL_CHECK(in->ctx, offset <= in->size && length <= in->size - offset);
    return set_bytes(in, subject, in->data + offset, length, in->borrow, out);
}

/* ------------------------------------------------------------------ the typed lists */

/* n entries in width-bit pieces, each within lo..hi. */
static bl_status narrow(bl_onnx *in, const char *subject, const Onnx__TensorProto *from,
                        bl_tensor *out)
{
    int64_t lo = types[from->data_type].lo, hi = types[from->data_type].hi;
    size_t unit = bl_dtype_bytes(out->type), n = (size_t)bl_tensor_count(out);
    bool wide = types[from->data_type].list == UINT64_DATA;
    uint8_t *to = bl_alloc(in->graph->arena, n, unit);
    BL_ALLOC_TRY(in->ctx, to);
    for (size_t i = 0; i < n; i++) {
        int64_t v = wide ? (int64_t)from->uint64_data[i] : from->int32_data[i];
        if (v < lo || v > hi)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "element %zu does not fit %s", i, bl_dtype_name(out->type));
        memcpy(to + i * unit, &v, unit); /* little-endian: the low bytes come first */
    }
    out->data = to;
    return BL_OK;
}

static bl_status set_list(bl_onnx *in, const Onnx__TensorProto *from, const char *subject,
                          bl_tensor *out)
{
    const struct {
        size_t n, unit;
        const void *data;
    } lists[] = {
        [NO_LIST] = {0, 1, NULL},
        [FLOAT_DATA] = {from->n_float_data, 4, from->float_data},
        [INT32_DATA] = {from->n_int32_data, 4, from->int32_data},
        [INT64_DATA] = {from->n_int64_data, 8, from->int64_data},
        [DOUBLE_DATA] = {from->n_double_data, 8, from->double_data},
        [UINT64_DATA] = {from->n_uint64_data, 8, from->uint64_data},
    };
    list l = types[from->data_type].list;
    bool packed = packed_bits(out->type) != 0;
    uint64_t need = packed ? stored_bytes(out) : (uint64_t)bl_tensor_count(out);
    if (lists[l].n != need) {
        char *shape = bl_shape_text(in->scratch, out);
        BL_ALLOC_TRY(in->ctx, shape);
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                            "%s %s needs %" PRIu64 " numbers, %zu are stored", shape,
                            bl_dtype_name(out->type), need, lists[l].n);
    }
    for (size_t i = 0; packed && i < lists[l].n; i++)
        if (from->int32_data[i] < INT8_MIN || from->int32_data[i] > UINT8_MAX)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "entry %zu does not fit %s", i, bl_dtype_name(out->type));
    if (packed) /* an entry holds one byte of the packed form, its lowest in memory */
        return unpack(in, (const uint8_t *)from->int32_data, sizeof(*from->int32_data), out);
    if (lists[l].unit != bl_dtype_bytes(out->type)) return narrow(in, subject, from, out);
    return set_bytes(in, subject, lists[l].data, (uint64_t)lists[l].n * lists[l].unit, false, out);
}

/* ------------------------------------------------------------------ external data */

static bool has_parent_step(const char *path)
{
    while (*path) {
        size_t n = strcspn(path, "/\\");
        if (n == 2 && path[0] == '.' && path[1] == '.') return true;
        path += n;
        path += *path != '\0';
    }
    return false;
}

/* The file behind `location`, which must lie in the model's folder however links turn. */
static bl_status resolve(bl_onnx *in, const char *subject, const char *location, char **out)
{
    if (!in->folder)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "read the model from a file",
                            "its data lie in another file");
    if (*location == '\0' || *location == '/' || *location == '\\' || has_parent_step(location))
        return bl_onnx_fail(in, BL_DATA, subject, "keep the data file in the model's folder",
                            "its data file \"%s\" lies outside the model's folder", location);
    char *path = bl_path_join(in->scratch, in->folder, location);
    BL_ALLOC_TRY(in->ctx, path);
    char *folder = realpath(in->folder, NULL), *real = realpath(path, NULL);
    size_t n = folder ? strlen(folder) : 0;
    bool inside = real && folder && strncmp(real, folder, n) == 0 &&
                  (real[n] == '/' || (n > 0 && folder[n - 1] == '/'));
    char *copy = inside ? bl_strdup(in->graph->arena, real) : NULL;
    bool missing = !real || !folder;
    free(folder);
    free(real);
    if (missing)
        return bl_onnx_fail(in, BL_NOINPUT, subject, "keep the data file beside the model",
                            "its data file \"%s\" is missing", location);
    if (!inside)
        return bl_onnx_fail(in, BL_DATA, subject, "keep the data file in the model's folder",
                            "its data file \"%s\" links to outside the model's folder", location);
    BL_ALLOC_TRY(in->ctx, copy);
    *out = copy;
    return BL_OK;
}

/* Each file is mapped once; most models have one. */
static bl_status map_external(bl_onnx *in, const char *subject, const char *path,
                              const bl_map **out)
{
    bl_graph *g = in->graph;
    for (bl_external *e = g->external; e; e = e->next)
        if (strcmp(e->path, path) == 0) {
            *out = &e->map;
            return BL_OK;
        }
    bl_external *e = BL_NEW(g->arena, bl_external, 1);
    BL_ALLOC_TRY(in->ctx, e);
    if (bl_map_file(in->ctx, path, 0, &e->map) != BL_OK)
        return bl_fail_within(in->ctx, "%s: %s", in->place, subject);
    e->path = path;
    e->next = g->external;
    g->external = e;
    *out = &e->map;
    return BL_OK;
}

static bl_status set_external(bl_onnx *in, const Onnx__TensorProto *from, const char *subject,
                              bl_tensor *out)
{
    const char *location = NULL;
    char *path = NULL;
    const bl_map *map = NULL;
    uint64_t offset = 0, length = stored_bytes(out);
    for (size_t i = 0; i < from->n_external_data; i++) {
        const char *key = from->external_data[i]->key, *value = from->external_data[i]->value;
        bool number = true;
        if (!key || !value) continue;
        if (strcmp(key, "location") == 0) location = value;
        if (strcmp(key, "offset") == 0) number = bl_parse_u64(value, &offset);
        if (strcmp(key, "length") == 0) number = bl_parse_u64(value, &length);
        if (!number)
            return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED,
                                "its %s \"%s\" in the data file is no number", key, value);
    }
    if (!location)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "no data file is named");
    BL_TRY(resolve(in, subject, location, &path));
    BL_TRY(map_external(in, subject, path, &map));
    if (offset > map->size || length > map->size - offset)
        return bl_onnx_fail(in, BL_DATA, subject, "fetch model and data file again",
                            "its bytes %" PRIu64 " + %" PRIu64
                            " pass the end of \"%s\" (%zu bytes)",
                            offset, length, location, map->size);
    return set_bytes(in, subject, map->data + offset, length, true, out);
}

/* ------------------------------------------------------------------ one tensor */

bl_status bl_onnx_tensor(bl_onnx *in, const Onnx__TensorProto *from, const char *subject,
                         bl_tensor *out)
{
    bl_tensor t;
    BL_TRY(set_shape(in, from, subject, &t));
    bool listed = from->n_float_data || from->n_int32_data || from->n_int64_data ||
                  from->n_double_data || from->n_uint64_data || from->n_string_data;
    bool external = from->data_location == 1;
    bool raw = from->has_raw_data && from->raw_data.len > 0;
    if (raw + from->has_left_in_file + listed + external > 1)
        return bl_onnx_fail(in, BL_DATA, subject, BL_ONNX_DAMAGED, "its data are stored twice");
    if (from->segment)
        return bl_onnx_fail(in, BL_UNAVAILABLE, subject, "store it whole", "is stored in segments");
    if (external)
        BL_TRY(set_external(in, from, subject, &t));
    else if (from->has_left_in_file)
        BL_TRY(set_left_in_file(in, from, subject, &t));
    else if (raw)
        BL_TRY(set_bytes(in, subject, from->raw_data.data, from->raw_data.len, false, &t));
    else
        BL_TRY(set_list(in, from, subject, &t));
    BL_TRY(check_bools(in, subject, &t));
    BL_TRY(widen(in, &t));
    *out = t;
    return BL_OK;
}

bl_status bl_onnx_finite(const bl_onnx *in, const char *subject, const bl_tensor *t)
{
    const float *p = t->data;
    int64_t n = t->type == BL_F32 ? bl_tensor_count(t) : 0;
    for (int64_t i = 0; i < n; i++)
        if (isnan(p[i]) || (isinf(p[i]) && t->rank > 0))
            return bl_onnx_fail(in, BL_DATA, subject, "export the network again",
                                "element %" PRId64 " is %s", i,
                                isnan(p[i]) ? "not a number" : "infinite");
    return BL_OK;
}
