/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A part of the work on one of many machines: --shard I/N, and what `bitlathe merge` makes of the parts.  Pieces are
 * numbered and go round the parts in turn; a part depends on nothing that another one finds, so the whole has the
 * same bytes however many took part.
 */
#include "cli/shard.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bool bl_shard_parse(const char *text, bl_shard *out)
{
    unsigned at, of;
    int used = 0;
    if (sscanf(text, "%u/%u%n", &at, &of, &used) != 2 || text[used] || at < 1 || at > of || of > 100000) return false;
    *out = (bl_shard){ (int)at, (int)of };
    return true;
}

bl_status bl_shard_menu(bl_ctx *ctx, bl_arena *arena, const bl_menu *menu, bl_shard shard, bl_menu *out)
{
    int choices = 0;
    *out = *menu;
    out->units = BL_NEW(arena, bl_unit, (size_t)BL_MAX(menu->n_units, 1));
    BL_ALLOC_TRY(ctx, out->units);
    for (int u = 0; u < menu->n_units; u++) {
        out->units[u] = menu->units[u];
        if (menu->units[u].n_candidates > 1 && choices++ % shard.of != shard.at - 1) out->units[u].n_candidates = 1;
    }
    return BL_OK;
}

bl_status bl_shard_mark(bl_ctx *ctx, const char *path, bl_shard shard)
{
    json_t *r;
    bl_hash hash;
    BL_TRY(bl_record_read(ctx, path, "sens", 1, NULL, &r, &hash));
    json_object_set_new(r, "part", json_integer(shard.at));
    json_object_set_new(r, "parts", json_integer(shard.of));
    bl_status s = bl_record_write(ctx, r, path, &hash);
    json_decref(r);
    return s;
}

/* ---- merge */

typedef struct part { json_t *body; int at; } part;

/* All of one whole, each once: *of parts, sorted. */
static bl_status check_parts(bl_ctx *ctx, const char *const *paths, part *p, int n)
{
    for (int i = 0; i < n; i++) {
        int64_t at, of;
        BL_TRY(bl_json_i64(ctx, p[i].body, "part", paths[i], 1, 100000, &at));
        BL_TRY(bl_json_i64(ctx, p[i].body, "parts", paths[i], 1, 100000, &of));
        if (of != n) return bl_fail(ctx, BL_USAGE, paths[i], "give all parts, each once", "a part of %lld, and %d are given", (long long)of, n);
        p[i].at = (int)at;
        for (int k = 0; k < i; k++)
            if (p[k].at == p[i].at) return bl_fail(ctx, BL_USAGE, paths[i], "give all parts, each once", "part %d stands in %s too", p[i].at, paths[k]);
    }
    return BL_OK;
}

static int by_number(const void *a, const void *b)
{
    return ((const part *)a)->at - ((const part *)b)->at;
}

static void forget(json_t *o)
{
    json_object_del(o, "part");
    json_object_del(o, "parts");
    json_object_del(o, "hash");
}

/* The same but for what parts differ in. */
static bool alike(const json_t *a, const json_t *b, const char *content)
{
    json_t *x = json_copy((json_t *)a), *y = json_copy((json_t *)b);
    forget(x);
    forget(y);
    json_object_del(x, content);
    json_object_del(y, content);
    bool same = json_equal(x, y);
    json_decref(x);
    json_decref(y);
    return same;
}

static bl_status merge_sens(bl_ctx *ctx, const char *const *paths, part *p, int n, const char *out)
{
    json_t *units = json_array();
    size_t most = 0;
    bl_status s = BL_OK;
    for (int i = 0; i < n; i++) {
        most = BL_MAX(most, json_array_size(json_object_get(p[i].body, "units")));
        if (!alike(p[0].body, p[i].body, "units")) s = bl_fail(ctx, BL_DATA, paths[i], "make all parts with the same words", "a part of another record");
    }
    for (size_t k = 0; k < most; k++)
        for (int i = 0; i < n; i++) {
            json_t *unit = json_array_get(json_object_get(p[i].body, "units"), k);
            if (unit) json_array_append(units, unit);
        }
    json_t *ordered = json_object(), *v;
    const char *key;
    json_object_foreach(p[0].body, key, v)  /* keys stand where a whole record has them */
        if (strcmp(key, "part") && strcmp(key, "parts")) json_object_set(ordered, key, strcmp(key, "units") ? v : units);
    bl_hash hash;
    if (s == BL_OK) s = bl_record_write(ctx, ordered, out, &hash);
    json_decref(ordered);
    json_decref(units);
    return s;
}

static bl_status merge_evals(bl_ctx *ctx, const char *const *paths, part *p, int n, json_t **answer)
{
    int64_t samples = 0, hits[2] = { 0 };
    static const char *const keys[2] = { "top1_hits", "top5_hits" }, *const shares[2] = { "top1", "top5" };
    bool has[2] = { true, true };
    for (int i = 0; i < n; i++) {
        const char *subject = json_string_value(json_object_get(p[i].body, "of")), *first = json_string_value(json_object_get(p[0].body, "of"));
        int64_t m;
        if (!subject || !first || strcmp(subject, first))
            return bl_fail(ctx, BL_DATA, paths[i], "make all parts with the same words", "a part of another evaluation");
        BL_TRY(bl_json_i64(ctx, p[i].body, "samples", paths[i], 0, INT64_MAX / 2, &m));
        samples += m;
        for (int k = 0; k < 2; k++) {
            has[k] &= json_is_integer(json_object_get(p[i].body, keys[k]));
            hits[k] += json_integer_value(json_object_get(p[i].body, keys[k]));
        }
    }
    *answer = json_pack("{s:I}", "samples", (json_int_t)samples);
    for (int k = 0; k < 2; k++)
        if (has[k] && samples) json_object_set_new(*answer, shares[k], json_real((double)hits[k] / (double)samples));
    return BL_OK;
}

/* ---- lines of trials: each once, in the order of the parts */

static bl_status take_lines(bl_ctx *ctx, bl_arena *a, const char *path, json_t *seen, char **text, size_t *used, size_t *room)
{
    bl_map map;
    BL_TRY(bl_map_file(ctx, path, (uint64_t)1 << 30, &map));
    const char *at = (const char *)map.data, *end = at + map.size, *nl;
    bl_status s = BL_OK;
    for (; s == BL_OK && at < end && (nl = memchr(at, '\n', (size_t)(end - at))); at = nl + 1) {
        json_t *o = json_loadb(at, (size_t)(nl - at), 0, NULL);
        const char *plan = json_string_value(json_object_get(o, "plan")), *frame = json_string_value(json_object_get(o, "frame"));
        char key[80];
        size_t n = (size_t)(nl - at) + 1;
        bool fresh = plan && frame && strlen(plan) < 34 && strlen(frame) < 34;
        if (fresh) {
            snprintf(key, sizeof key, "%s %s", plan, frame);
            fresh = !json_object_get(seen, key);
            json_object_set_new(seen, key, json_true());
        }
        json_decref(o);
        if (!fresh) continue;
        if (*used + n > *room) {
            size_t bigger = BL_MAX(2 * *room, *used + n + 65536);
            char *to = bl_alloc(a, bigger, 1);
            if (!to) s = bl_pending(ctx);
            else {
                if (*used) memcpy(to, *text, *used);
                *text = to;
                *room = bigger;
            }
        }
        if (s == BL_OK) memcpy(*text + *used, at, n);
        if (s == BL_OK) *used += n;
    }
    bl_unmap(&map);
    return s;
}

bl_status bl_shard_merge_trials(bl_ctx *ctx, bl_arena *arena, const char *const *paths, int n, const char *out)
{
    json_t *seen = json_object();
    char *text = NULL;
    size_t used = 0, room = 0;
    bl_status s = BL_OK;
    for (int i = 0; i < n && s == BL_OK; i++) s = take_lines(ctx, arena, paths[i], seen, &text, &used, &room);
    if (s == BL_OK && !used) s = bl_fail(ctx, BL_DATA, paths[0], "give parts that a search wrote", "no answer of an oracle in it");
    if (s == BL_OK) s = bl_write_file(ctx, out, text, used);
    json_decref(seen);
    return s;
}

bl_status bl_shard_merge(bl_ctx *ctx, bl_arena *arena, const char *const *paths, int count, const char *out, json_t **answer)
{
    part *p = BL_NEW(arena, part, (size_t)count);
    BL_ALLOC_TRY(ctx, p);
    bl_status s = BL_OK;
    int n = 0;
    for (; n < count && s == BL_OK; n++) s = bl_json_read(ctx, paths[n], &p[n].body);
    if (s != BL_OK) n--;
    if (s == BL_OK) s = check_parts(ctx, paths, p, n);
    if (s == BL_OK) {
        qsort(p, (size_t)n, sizeof *p, by_number);
        const char *kind = json_string_value(json_object_get(p[0].body, "bitlathe"));
        if (!kind && answer) s = merge_evals(ctx, paths, p, n, answer);
        else if (kind && !strcmp(kind, "sens")) s = merge_sens(ctx, paths, p, n, out);
        else s = bl_fail(ctx, BL_USAGE, paths[0], "give parts of sense, eval or search", "a record of kind \"%s\" has no parts", kind ? kind : "none");
    }
    for (int i = 0; i < n; i++) json_decref(p[i].body);
    return s;
}
