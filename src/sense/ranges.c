/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The range of each value by what the network makes of it: a unit's values alone are put on the grid of every
 * row of observers.def, and the row stays that leaves the output the least noise.  The least squared error of
 * a value is not the least error of the network: behind a depthwise layer a clipped tail may be all that
 * matters, or nothing.
 *
 * The row that `auto` falls back on is left only for a gain of GAIN_DB that both halves of the samples see:
 * smaller ones hang on the samples.
 */
#include "sense/probe.h"

#include <math.h>
#include <string.h>

#define GAIN_DB 0.5

static double noise(const bl_probes *p, const float *clean, const float *changed, int64_t rows, int64_t cols)
{
    double sum = 0;
    (void)p;
    for (int64_t i = 0; i < rows * cols; i++) {
        double e = (double)clean[i] - changed[i];
        sum += e * e;
    }
    return sum;
}

/* For one probe, of every second chunk from `first` on. */
static double half(const bl_probes *p, size_t i, size_t first)
{
    double sum = 0;
    for (size_t c = first; c < p->n_chunks; c += 2) sum += p->answer[c * p->n + i];
    return sum;
}

static double total(const bl_probes *p, size_t i)
{
    return half(p, i, 0) + half(p, i, 1);
}

static bool offers(const bl_unit *u, int bits)
{
    for (int c = 0; c < u->n_candidates; c++)
        if (u->candidates[c].a_bits == bits) return true;
    return false;
}

/* Probes i.. of one unit and width, one a row: the best, and how it compares with the row that is usual. */
static bl_status choose(bl_ctx *ctx, const bl_probes *p, const bl_observer *asked, bl_menu *menu, size_t i, size_t n)
{
    const bl_probe *q = &p->list[i];
    bl_unit *u = &menu->units[q->unit];
    double least = INFINITY, usual = INFINITY;
    size_t best = i, fallback = i;
    for (size_t k = i; k < i + n; k++) {
        double x = total(p, k);
        if (bl_observer_find(p->list[k].range)->range == asked->fallback) {
            usual = x;
            fallback = k;
        }
        if (x < least) {
            least = x;
            best = k;
        }
    }
    double gain = 10 * log10((usual + 1e-300) / (least + 1e-300));
    bool both = half(p, best, 0) <= half(p, fallback, 0) && half(p, best, 1) <= half(p, fallback, 1);
    if (!(gain >= GAIN_DB && both)) best = fallback;
    u->range[q->a_bits] = p->list[best].range;
    u->why[q->a_bits] = best == fallback
                            ? bl_format(menu->arena, "no other gains %.1f dB at the output", GAIN_DB)
                            : bl_format(menu->arena, "%.1f dB less noise at the output than %s", gain, p->list[fallback].range);
    return u->why[q->a_bits] ? BL_OK : bl_pending(ctx);
}

static bl_status measure(bl_ctx *ctx, const bl_sense_input *in, const bl_observer *asked, bl_menu *menu, bl_arena *a)
{
    bl_sens sens = { .act_range = asked->name };
    size_t rows = 0, n = 0;
    bl_probe *list = BL_NEW(a, bl_probe, (size_t)menu->n_units * 17 * bl_n_observers);
    bl_probes p = { .in = in, .sens = &sens, .list = list, .measure = noise };
    BL_ALLOC_TRY(ctx, list);
    for (int u = 0; u < menu->n_units; u++)
        for (int bits = 1; bits <= 16 && !menu->units[u].fixed_grid; bits++) {
            if (!offers(&menu->units[u], bits)) continue;
            rows = 0;
            for (size_t o = 0; o < bl_n_observers; o++) {
                if (bl_observers[o]->measured) continue;
                list[n++] = (bl_probe){ .unit = u, .layer = -1, .a_bits = bits, .mask = -1, .range = bl_observers[o]->name };
                rows++;
            }
        }
    p.n = n;
    BL_TRY(bl_probes_run(ctx, &p, a));
    for (size_t i = 0; i < n; i += rows) BL_TRY(choose(ctx, &p, asked, menu, i, rows));
    return BL_OK;
}

bl_status bl_ranges_choose(bl_ctx *ctx, const bl_sense_input *in, bl_menu *menu)
{
    const char *name = in->options && in->options->grids.act_range ? in->options->grids.act_range : "mse";
    const bl_observer *asked = bl_observer_find(name);
    if (!asked) return bl_fail(ctx, BL_USAGE, name, "see `bitlathe list observers`", "unknown range estimator");
    for (int u = 0; u < menu->n_units; u++) {
        memset(menu->units[u].range, 0, sizeof menu->units[u].range);
        memset(menu->units[u].why, 0, sizeof menu->units[u].why);
    }
    if (!asked->measured) return BL_OK;
    bl_arena *a = bl_arena_new(ctx, "ranges");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = measure(ctx, in, asked, menu, a);
    bl_arena_free(a);
    return s;
}

/* ------------------------------------------------------------------ ranges.json */

static json_t *unit_json(const bl_unit *u)
{
    json_t *by = json_object();
    for (int bits = 1; bits <= 16; bits++) {
        char key[8];
        if (!u->range[bits]) continue;
        snprintf(key, sizeof key, "A%d", bits);
        json_object_set_new(by, key, json_pack("{s:s, s:s}", "range", u->range[bits], "why", u->why[bits] ? u->why[bits] : ""));
    }
    return by;
}

bl_status bl_ranges_write(bl_ctx *ctx, const bl_menu *menu, const bl_hash *key, const char *path)
{
    json_t *r = bl_record_new(ctx, "ranges", 1, 0), *units = json_object();
    bl_hash hash;
    json_object_set_new(r, "made_from", json_pack("{s:s, s:s}", "menu", menu->hash.hex, "key", key->hex));
    for (int u = 0; u < menu->n_units; u++) json_object_set_new(units, menu->units[u].name, unit_json(&menu->units[u]));
    json_object_set_new(r, "units", units);
    bl_status s = bl_record_write(ctx, r, path, &hash);
    json_decref(r);
    return s;
}

static bl_status read_unit(bl_ctx *ctx, const json_t *by, const char *path, bl_arena *arena, bl_unit *u)
{
    for (int bits = 1; bits <= 16; bits++) {
        char key[8];
        const char *range, *why;
        snprintf(key, sizeof key, "A%d", bits);
        const json_t *o = json_object_get(by, key);
        if (!o) continue;
        BL_TRY(bl_json_str(ctx, o, "range", path, &range));
        BL_TRY(bl_json_str(ctx, o, "why", path, &why));
        const bl_observer *row = bl_observer_find(range);
        if (!row) return bl_fail(ctx, BL_DATA, path, "remove the file", "unknown range estimator \"%s\"", range);
        u->range[bits] = row->name;
        u->why[bits] = bl_strdup(arena, why);
        BL_ALLOC_TRY(ctx, u->why[bits]);
    }
    return BL_OK;
}

bl_status bl_ranges_read(bl_ctx *ctx, bl_menu *menu, const bl_hash *key, const char *path, bool *fits)
{
    json_t *r, *from, *units;
    bl_hash hash;
    const char *made = NULL, *of = NULL;
    *fits = false;
    BL_TRY(bl_record_read(ctx, path, "ranges", 1, NULL, &r, &hash));
    bl_status s = bl_json_object(ctx, r, "made_from", path, &from);
    if (s == BL_OK) s = bl_json_str(ctx, from, "key", path, &made);
    if (s == BL_OK) s = bl_json_str(ctx, from, "menu", path, &of);
    if (s == BL_OK) s = bl_json_object(ctx, r, "units", path, &units);
    bool same = s == BL_OK && !strcmp(made, key->hex) && !strcmp(of, menu->hash.hex);
    for (int u = 0; same && s == BL_OK && u < menu->n_units; u++)
        s = read_unit(ctx, json_object_get(units, menu->units[u].name), path, menu->arena, &menu->units[u]);
    json_decref(r);
    *fits = same && s == BL_OK;
    return s;
}
