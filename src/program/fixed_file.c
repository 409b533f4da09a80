/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The record of a fixed-point network (fixed.json): numbers as they are, one list an array.
 *
 *     {"bitlathe":"fixed", ..., "name", "input":{"size":[c,h,w],"k","i","f","round","overflow"},
 *      "layers":[{"kind","name","size":[c,h,w],"kernel":[h,w],"stride":[h,w],"pad":[top,left],"groups","parallel",
 *                 "relu","round","overflow","weights","weight_f","bias","bias_f","k","i","f"}],
 *      "figures":{...}}
 */
#include "program/fixed.h"

#include <string.h>

static const char *const kinds[] = { "dense", "conv", "max-pool", "average-pool" };
static const char *const rounds[] = { "TRN", "RND", "RND_CONV", "TRN_ZERO", "RND_ZERO", "RND_INF", "RND_MIN_INF" };
static const char *const overflows[] = { "WRAP", "SAT", "SAT_SYM" };

static int find(const char *name, const char *const *list, int n)
{
    for (int i = 0; i < n; i++)
        if (!strcmp(name, list[i])) return i;
    return -1;
}

const char *bl_fixed_kind_name(bl_fixed_kind kind)
{
    return kinds[kind];
}

const char *bl_fixed_round_name(bl_fixed_round round)
{
    return rounds[round];
}

const char *bl_fixed_overflow_name(bl_fixed_overflow overflow)
{
    return overflows[overflow];
}

bool bl_fixed_round_find(const char *name, bl_fixed_round *out)
{
    int n = find(name, rounds, BL_FIXED_ROUNDS);
    if (n >= 0) *out = (bl_fixed_round)n;
    return n >= 0;
}

bool bl_fixed_overflow_find(const char *name, bl_fixed_overflow *out)
{
    int n = find(name, overflows, BL_FIXED_OVERFLOWS);
    if (n >= 0) *out = (bl_fixed_overflow)n;
    return n >= 0;
}

/* ------------------------------------------------------------------ writing */

/* Integers of 1, 4 or 8 bytes, `stride` bytes apart. */
static void put(json_t *o, const char *key, const void *at, size_t bytes, size_t stride, int64_t n)
{
    json_t *list = json_array();
    for (int64_t i = 0; i < n; i++) {
        const char *p = (const char *)at + (size_t)i * stride;
        int32_t v32;
        int64_t v = *(const int8_t *)p;
        if (bytes == 4) {
            memcpy(&v32, p, 4);
            v = v32;
        }
        if (bytes == 8) memcpy(&v, p, 8);
        json_array_append_new(list, json_integer(v));
    }
    json_object_set_new(o, key, list);
}

static void put_grids(json_t *o, const bl_fixed_grid *g, int64_t n)
{
    put(o, "k", &g->k, 1, sizeof *g, n);
    put(o, "i", &g->i, 1, sizeof *g, n);
    put(o, "f", &g->f, 1, sizeof *g, n);
}

static json_t *layer_json(const bl_fixed_layer *l)
{
    bool pool = l->kind == BL_FIXED_MAX_POOL || l->kind == BL_FIXED_AVERAGE_POOL;
    json_t *o = json_pack("{s:s, s:s, s:[i,i,i]}", "kind", kinds[l->kind], "name", l->name ? l->name : "", "size",
                          (int)l->out_c, (int)l->out_h, (int)l->out_w);
    if (!o) return NULL;
    if (l->kind != BL_FIXED_DENSE)
        json_object_update_new(o, json_pack("{s:[i,i], s:[i,i], s:[i,i]}", "kernel", (int)l->kernel_h, (int)l->kernel_w, "stride",
                                            (int)l->stride_h, (int)l->stride_w, "pad", (int)l->pad_top, (int)l->pad_left));
    if (l->kind == BL_FIXED_CONV)
        json_object_update_new(o, json_pack("{s:i, s:i}", "groups", (int)l->groups, "parallel", (int)l->parallel));
    json_object_update_new(o, json_pack("{s:b, s:s, s:s}", "relu", (int)l->relu, "round", rounds[l->round], "overflow",
                                        overflows[l->overflow]));
    if (!pool) {
        put(o, "weights", l->weight, 4, 4, l->n_weights);
        put(o, "weight_f", l->weight_f, 1, 1, l->n_weights);
        put(o, "bias", l->bias, 8, 8, l->out_c);
        put(o, "bias_f", l->bias_f, 1, 1, l->out_c);
    }
    put_grids(o, l->out, l->n_out);
    return o;
}

bl_status bl_fixed_write(bl_ctx *ctx, bl_fixed_net *net, const char *path)
{
    json_t *record = bl_record_new(ctx, "fixed", 1, 0), *layers = json_array();
    json_t *in = json_pack("{s:[i,i,i]}", "size", (int)net->in_c, (int)net->in_h, (int)net->in_w);
    if (!record || !layers || !in) {
        json_decref(record);
        json_decref(layers);
        json_decref(in);
        return bl_fail(ctx, BL_INTERNAL, path, "please report this", "cannot be written");
    }
    put_grids(in, net->in, net->n_in);
    json_object_set_new(in, "round", json_string(rounds[net->in_round]));
    json_object_set_new(in, "overflow", json_string(overflows[net->in_overflow]));
    for (int l = 0; l < net->n_layers; l++) json_array_append_new(layers, layer_json(&net->layers[l]));
    json_object_set_new(record, "name", json_string(net->name));
    json_object_set_new(record, "input", in);
    json_object_set_new(record, "layers", layers);
    if (net->figures) json_object_set(record, "figures", net->figures);
    bl_status s = bl_record_write(ctx, record, path, &net->hash);
    json_decref(record);
    return s;
}

/* ------------------------------------------------------------------ reading */

typedef struct reader {
    bl_ctx *ctx;
    const char *place;
    bl_fixed_net *net;
} reader;

static bl_status numbers(reader *r, const json_t *o, const char *key, int64_t least, int64_t most, void *to, size_t bytes,
                         size_t stride, int64_t n)
{
    json_t *list;
    BL_TRY(bl_json_array(r->ctx, o, key, r->place, (size_t)n, &list));
    if ((int64_t)json_array_size(list) != n)
        return bl_fail(r->ctx, BL_DATA, r->place, "make the record again", "\"%s\" has %zu numbers where %lld belong", key,
                       json_array_size(list), (long long)n);
    for (int64_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(list, (size_t)i);
        int64_t v = json_integer_value(item);
        int32_t v32 = (int32_t)v;
        char *p = (char *)to + (size_t)i * stride;
        if (!json_is_integer(item) || v < least || v > most)
            return bl_fail(r->ctx, BL_DATA, r->place, "make the record again", "\"%s\": number %lld is none from %lld to %lld",
                           key, (long long)i, (long long)least, (long long)most);
        if (bytes == 1) *(int8_t *)p = (int8_t)v;
        else if (bytes == 4) memcpy(p, &v32, 4);
        else memcpy(p, &v, 8);
    }
    return BL_OK;
}

static bl_status sizes(reader *r, const json_t *o, const char *key, int64_t least, int32_t *to, int64_t n)
{
    return numbers(r, o, key, least, BL_FIXED_ELEMENTS_MAX, to, 4, 4, n);
}

static bl_status grids(reader *r, const json_t *o, bl_fixed_grid *g, int64_t n)
{
    BL_TRY(numbers(r, o, "k", 0, 1, &g->k, 1, sizeof *g, n));
    BL_TRY(numbers(r, o, "i", -100, 100, &g->i, 1, sizeof *g, n));
    return numbers(r, o, "f", -100, 100, &g->f, 1, sizeof *g, n);
}

static bl_status word(reader *r, const json_t *o, const char *key, const char *const *list, int n, int *out)
{
    const char *name;
    BL_TRY(bl_json_str(r->ctx, o, key, r->place, &name));
    *out = find(name, list, n);
    if (*out < 0) return bl_fail(r->ctx, BL_DATA, r->place, "make the record again", "\"%s\": unknown word \"%.40s\"", key, name);
    return BL_OK;
}

static bl_status ways(reader *r, const json_t *o, bl_fixed_round *round, bl_fixed_overflow *overflow)
{
    int a, b;
    BL_TRY(word(r, o, "round", rounds, BL_FIXED_ROUNDS, &a));
    BL_TRY(word(r, o, "overflow", overflows, BL_FIXED_OVERFLOWS, &b));
    *round = (bl_fixed_round)a;
    *overflow = (bl_fixed_overflow)b;
    return BL_OK;
}

static bl_status layer_read(reader *r, int number, const json_t *o)
{
    bl_fixed_layer *l = &r->net->layers[number];
    const char *name;
    int32_t size[3], kernel[2] = { 1, 1 }, stride[2] = { 1, 1 }, pad[2] = { 0, 0 };
    int64_t groups = 1, parallel = 0;
    int kind;
    if (!json_is_object(o)) return bl_fail(r->ctx, BL_DATA, r->place, "make the record again", "layer %d is no object", number);
    BL_TRY(word(r, o, "kind", kinds, BL_FIXED_KINDS, &kind));
    BL_TRY(bl_json_str(r->ctx, o, "name", r->place, &name));
    BL_ALLOC_TRY(r->ctx, l->name = bl_strdup(r->net->arena, name));
    BL_TRY(sizes(r, o, "size", 1, size, 3));
    if (kind != BL_FIXED_DENSE) {
        BL_TRY(sizes(r, o, "kernel", 1, kernel, 2));
        BL_TRY(sizes(r, o, "stride", 1, stride, 2));
        BL_TRY(sizes(r, o, "pad", 0, pad, 2));
    }
    if (kind == BL_FIXED_CONV) {
        BL_TRY(bl_json_i64(r->ctx, o, "groups", r->place, 1, BL_FIXED_ELEMENTS_MAX, &groups));
        BL_TRY(bl_json_i64(r->ctx, o, "parallel", r->place, 0, BL_FIXED_ELEMENTS_MAX, &parallel));
    }
    BL_TRY(bl_json_bool(r->ctx, o, "relu", r->place, &l->relu));
    BL_TRY(ways(r, o, &l->round, &l->overflow));
    l->kind = (bl_fixed_kind)kind;
    l->out_c = size[0], l->out_h = size[1], l->out_w = size[2];
    l->kernel_h = kernel[0], l->kernel_w = kernel[1], l->stride_h = stride[0], l->stride_w = stride[1];
    l->pad_top = pad[0], l->pad_left = pad[1];
    l->groups = (int32_t)groups, l->parallel = (int32_t)parallel;
    BL_TRY(bl_fixed_shape(r->ctx, r->net, number));
    if (kind == BL_FIXED_DENSE || kind == BL_FIXED_CONV) {
        BL_TRY(numbers(r, o, "weights", -INT32_MAX, INT32_MAX, l->weight, 4, 4, l->n_weights));
        BL_TRY(numbers(r, o, "weight_f", -100, 100, l->weight_f, 1, 1, l->n_weights));
        BL_TRY(numbers(r, o, "bias", -((int64_t)1 << 62), (int64_t)1 << 62, l->bias, 8, 8, l->out_c));
        BL_TRY(numbers(r, o, "bias_f", -100, 100, l->bias_f, 1, 1, l->out_c));
    }
    return grids(r, o, l->out, l->n_out);
}

/* The last layer's codes are its sums: does the grid of output e neither round nor clip them? */
static bool holds_sum(const bl_fixed_layer *l, int64_t e)
{
    bl_fixed_grid g = l->out[e];
    int64_t lo = l->relu && l->acc_lo[e] < 0 ? 0 : l->acc_lo[e], hi = l->relu && l->acc_hi[e] < 0 ? 0 : l->acc_hi[e];
    int shift = g.f - l->acc_f[e], bits = g.i + g.f;
    if (!lo && !hi) return true;
    if (shift < 0 || shift > 60 || bits < 0 || g.k + bits <= 0) return false;
    __int128 span = (__int128)1 << BL_MIN(bits, 126), one = 1;
    return hi * (one << shift) < span && lo * (one << shift) >= (!g.k ? 0 : l->overflow == BL_SAT_SYM ? 1 - span : -span);
}

static bl_status all_read(reader *r, const json_t *record, bl_ctx *ctx, const char *path)
{
    const char *name;
    json_t *in, *layers;
    int32_t size[3];
    BL_TRY(bl_json_str(ctx, record, "name", path, &name));
    BL_TRY(bl_json_object(ctx, record, "input", path, &in));
    BL_TRY(bl_json_array(ctx, record, "layers", path, BL_FIXED_LAYERS_MAX, &layers));
    BL_TRY(sizes(r, in, "size", 1, size, 3));
    BL_TRY(bl_fixed_new(ctx, name, (int)json_array_size(layers), size, &r->net));
    BL_TRY(ways(r, in, &r->net->in_round, &r->net->in_overflow));
    BL_TRY(grids(r, in, r->net->in, r->net->n_in));
    for (int l = 0; l < r->net->n_layers; l++) BL_TRY(layer_read(r, l, json_array_get(layers, (size_t)l)));
    r->net->figures = json_incref(json_object_get(record, "figures"));
    BL_TRY(bl_fixed_check(ctx, path, r->net));
    const bl_fixed_layer *last = &r->net->layers[r->net->n_layers - 1];
    for (int64_t e = 0; e < last->n_out; e++)
        if (!holds_sum(last, e))
            return bl_fail(ctx, BL_DATA, path, "give its grids the sums' own steps and ranges",
                           "output %lld of the last layer does not hold its sum as it is", (long long)e);
    return BL_OK;
}

bl_status bl_fixed_read(bl_ctx *ctx, const char *path, bl_fixed_net **out)
{
    json_t *record = NULL;
    bl_hash hash;
    reader r = { .ctx = ctx, .place = path };
    *out = NULL;
    BL_TRY(bl_record_read(ctx, path, "fixed", 1, NULL, &record, &hash));
    bl_status s = all_read(&r, record, ctx, path);
    json_decref(record);
    if (s != BL_OK) {
        bl_fixed_free(r.net);
        return s;
    }
    r.net->hash = hash;
    *out = r.net;
    return BL_OK;
}
