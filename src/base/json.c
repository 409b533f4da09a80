/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * JSON text and the records made of it.  Jansson reads and writes; what is added here is stable
 * bytes, typed access with a place in the error, and the common head of every record with the hash
 * of its content.
 */
#include "base/base_private.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX_BYTES (UINT64_C(256) << 20)
#define STABLE (JSON_REAL_PRECISION(17) | JSON_ENCODE_ANY)

/* ------------------------------------------------------------------ whole texts */

bl_status bl_json_parse(bl_ctx *ctx, const char *place, const char *text, size_t n, json_t **out)
{
    json_error_t error;
    json_t *value = json_loadb(text, n, JSON_REJECT_DUPLICATES, &error);
    if (!value && json_error_code(&error) == json_error_out_of_memory)
        return bl_fail(ctx, BL_UNAVAILABLE, place, "use a smaller input", "no memory left");
    if (!value)
        return bl_fail(ctx, BL_DATA, place, "correct the text", "line %d column %d: %s", error.line,
                       error.column, error.text);
    if (!json_is_object(value)) {
        json_decref(value);
        return bl_fail(ctx, BL_DATA, place, "", "is not a JSON object");
    }
    *out = value;
    return BL_OK;
}

bl_status bl_json_read(bl_ctx *ctx, const char *path, json_t **out)
{
    bl_map map;
    BL_TRY(bl_map_file(ctx, path, FILE_MAX_BYTES, &map));
    bl_status status = bl_json_parse(ctx, path, (const char *)map.data, map.size, out);
    bl_unmap(&map);
    return status;
}

static int put_piece(const char *buffer, size_t size, void *writer)
{
    return bl_writer_put(writer, buffer, size) == BL_OK ? 0 : -1;
}

bl_status bl_json_write(bl_ctx *ctx, const char *path, const json_t *value)
{
    bl_writer *writer;
    BL_TRY(bl_writer_open(ctx, path, &writer));
    if (json_dump_callback(value, put_piece, writer, STABLE | JSON_INDENT(1)) != 0) {
        /* Either the writer failed and has said so, or the value holds what JSON cannot. */
        if (bl_writer_put(writer, "", 0) != BL_OK) return bl_writer_close(writer);
        bl_writer_abort(writer);
        return bl_fail(ctx, BL_INTERNAL, path, "please report this", "cannot be put as JSON");
    }
    (void)bl_writer_put(writer, "\n", 1); /* a failure shows at the close */
    return bl_writer_close(writer);
}

char *bl_json_text(bl_arena *arena, const json_t *value, bool indent)
{
    size_t flags = STABLE | (indent ? JSON_INDENT(1) : JSON_COMPACT);
    size_t n = json_dumpb(value, NULL, 0, flags);
    if (n == 0) {
        bl_fail(bl_arena_ctx(arena), BL_INTERNAL, "JSON", "please report this",
                "a value cannot be put as JSON");
        return NULL;
    }
    char *text = bl_alloc(arena, n + 1, 1); /* n is what fits in memory: no overflow */
    if (text) json_dumpb(value, text, n, flags);
    return text;
}

json_t *bl_json_real(double v)
{
    return isfinite(v) ? json_real(v) : json_null();
}

/* ------------------------------------------------------------------ typed access */

static const char *kind_name(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "an array";
    case JSON_STRING: return "a string";
    case JSON_INTEGER: return "an integer";
    case JSON_REAL: return "a real number";
    case JSON_TRUE:
    case JSON_FALSE: return "a truth value";
    case JSON_NULL: return "null";
    }
    return "unknown";
}

/* The item if it is there and `right`, else NULL and the error. */
static json_t *item(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                    bool (*right)(const json_t *), const char *wanted)
{
    json_t *v = json_object_get(obj, key);
    if (!v)
        bl_fail(ctx, BL_DATA, place, "add it", "\"%s\" is missing", key);
    else if (!right(v))
        bl_fail(ctx, BL_DATA, place, "correct it", "\"%s\" is %s, not %s", key, kind_name(v),
                wanted);
    else
        return v;
    return NULL;
}

/* clang-format off */
static bool is_integer(const json_t *v) { return json_is_integer(v); }
static bool is_number(const json_t *v) { return json_is_number(v); }
static bool is_boolean(const json_t *v) { return json_is_boolean(v); }
static bool is_string(const json_t *v) { return json_is_string(v); }
static bool is_array(const json_t *v) { return json_is_array(v); }
static bool is_object(const json_t *v) { return json_is_object(v); }
/* clang-format on */

bl_status bl_json_i64(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                      int64_t lo, int64_t hi, int64_t *out)
{
    json_t *v = item(ctx, obj, key, place, is_integer, "an integer");
    if (!v) return BL_DATA;
    int64_t n = json_integer_value(v);
    if (n < lo || n > hi)
        return bl_fail(ctx, BL_DATA, place, "correct it",
                       "\"%s\" is %" PRId64 ", not in %" PRId64 "..%" PRId64, key, n, lo, hi);
    *out = n;
    return BL_OK;
}

bl_status bl_json_f64(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                      double *out)
{
    json_t *v = item(ctx, obj, key, place, is_number, "a number");
    if (!v) return BL_DATA;
    *out = json_number_value(v); /* finite: JSON knows nothing else, and Jansson refuses 1e999 */
    return BL_OK;
}

bl_status bl_json_bool(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                       bool *out)
{
    json_t *v = item(ctx, obj, key, place, is_boolean, "true or false");
    if (!v) return BL_DATA;
    *out = json_is_true(v);
    return BL_OK;
}

bl_status bl_json_str(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                      const char **out)
{
    json_t *v = item(ctx, obj, key, place, is_string, "a string");
    if (!v) return BL_DATA;
    *out = json_string_value(v);
    return BL_OK;
}

bl_status bl_json_array(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                        size_t n_max, json_t **out)
{
    json_t *v = item(ctx, obj, key, place, is_array, "an array");
    if (!v) return BL_DATA;
    if (json_array_size(v) > n_max)
        return bl_fail(ctx, BL_DATA, place, "shorten it", "\"%s\" has %zu items, more than %zu",
                       key, json_array_size(v), n_max);
    *out = v;
    return BL_OK;
}

bl_status bl_json_object(bl_ctx *ctx, const json_t *obj, const char *key, const char *place,
                         json_t **out)
{
    json_t *v = item(ctx, obj, key, place, is_object, "an object");
    if (!v) return BL_DATA;
    *out = v;
    return BL_OK;
}

/* ------------------------------------------------------------------ records */

json_t *bl_record_new(bl_ctx *ctx, const char *kind, int major, int minor)
{
    char version[32];
    snprintf(version, sizeof(version), "%d.%d", major, minor);
    /* The empty hash keeps the place of the real one. */
    json_t *record = json_pack("{s:s, s:s, s:s, s:{}, s:I, s:s}", "bitlathe", kind, "version",
                               version, "hash", "", "made_from", "seed",
                               (json_int_t)ctx->options.seed, "tool", BL_VERSION_STRING);
    if (!record) bl_fail(ctx, BL_UNAVAILABLE, kind, "raise --memory", "no memory left");
    return record;
}

/* Over the compact text of the object without its "hash".  Reals are written with 17 digits, so
 * that reading a file back gives the same text and the same hash. */
static bl_status content_hash(bl_ctx *ctx, const json_t *record, const char *place, bl_hash *out)
{
    json_t *body = json_copy((json_t *)record); /* shallow; copying changes nothing */
    if (!body) return bl_fail(ctx, BL_UNAVAILABLE, place, "raise --memory", "no memory left");
    json_object_del(body, "hash");
    bool fine = bl_hash_json(body, JSON_COMPACT | JSON_REAL_PRECISION(17), out);
    json_decref(body);
    if (!fine)
        return bl_fail(ctx, BL_INTERNAL, place, "please report this", "cannot be put as JSON");
    return BL_OK;
}

bl_status bl_record_write(bl_ctx *ctx, json_t *record, const char *path, bl_hash *hash)
{
    bl_hash fresh;
    BL_TRY(content_hash(ctx, record, path, &fresh));
    if (json_object_set_new(record, "hash", json_string(fresh.hex)) != 0)
        return bl_fail(ctx, BL_UNAVAILABLE, path, "raise --memory", "no memory left");
    BL_TRY(bl_json_write(ctx, path, record));
    if (hash) *hash = fresh;
    return BL_OK;
}

static bl_status check_head(bl_ctx *ctx, const json_t *record, const char *path, const char *kind,
                            int major)
{
    const char *found, *version;
    if (!json_object_get(record, "bitlathe"))
        return bl_fail(ctx, BL_DATA, path, "give a file that bitlathe wrote",
                       "is not a record of bitlathe");
    BL_TRY(bl_json_str(ctx, record, "bitlathe", path, &found));
    if (strcmp(found, kind) != 0)
        return bl_fail(ctx, BL_DATA, path, "give another file",
                       "is a record of kind '%s', not '%s'", found, kind);
    BL_TRY(bl_json_str(ctx, record, "version", path, &version));
    char major_text[12];
    uint64_t of_file;
    size_t digits = strspn(version, "0123456789");
    snprintf(major_text, sizeof(major_text), "%.*s", (int)BL_MIN(digits, (size_t)11), version);
    if (version[digits] != '.' || !bl_parse_u64(major_text, &of_file))
        return bl_fail(ctx, BL_DATA, path, "", "version '%s' is not of the form 1.0", version);
    if (of_file != (uint64_t)major)
        return bl_fail(ctx, BL_DATA, path,
                       of_file > (uint64_t)major ? "use a newer bitlathe" : "make it again",
                       "is a %s of version %s; this bitlathe (%s) reads version %d", kind, version,
                       BL_VERSION_STRING, major);
    return BL_OK;
}

/* *wrong: the stated hash is missing or another one. */
static bl_status check_hash(bl_ctx *ctx, const json_t *record, const char *path, bl_hash *hash,
                            bool *wrong)
{
    BL_TRY(content_hash(ctx, record, path, hash));
    const char *stated = json_string_value(json_object_get(record, "hash"));
    *wrong = !stated || strcmp(stated, hash->hex) != 0;
    return BL_OK;
}

bl_status bl_record_read(bl_ctx *ctx, const char *path, const char *kind, int major, bool *edited,
                         json_t **out, bl_hash *hash)
{
    json_t *record;
    bl_hash actual;
    bool wrong;
    bl_status status;
    BL_TRY(bl_json_read(ctx, path, &record));
    BL_TRY_GOTO(status, fail, check_head(ctx, record, path, kind, major));
    BL_TRY_GOTO(status, fail, check_hash(ctx, record, path, &actual, &wrong));
    if (wrong && !edited) {
        status = bl_fail(ctx, BL_DATA, path, "make it again",
                         "its content does not match its hash: damaged or edited");
        goto fail;
    }
    if (edited) *edited = wrong;
    if (hash) *hash = actual;
    *out = record;
    return BL_OK;
fail:
    json_decref(record);
    return status;
}
