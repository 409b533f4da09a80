/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The range of each value by what the network makes of it: a unit's values alone are put on the grid of every
 * row of observers.def, and the row stays that leaves the output the least noise.  The least squared error of
 * a value is not the least error of the network: behind a depthwise layer a clipped tail may be all that
 * matters, or nothing.
 *
 * The row that `auto` falls back on is left only for a gain of GAIN_DB that both halves of the samples see:
 * smaller ones hang on the samples.  A first round over a quarter of the samples leaves only rows that may still win; grids
 * that are the same are measured once.
 */
#include "sense/probe.h"

#include <math.h>
#include <string.h>

#define GAIN_DB 0.5
#define NEAR_DB 1.0         /* so near to the best of the first round a row stays in */
enum { FIRST_SAMPLES = 16, ROWS_MOST = 32 }; /* samples of the first round at least; rows of observers.def */

/* For one probe, of every second sample from `first` on. */
static double half(const bl_probes *p, size_t i, int64_t first)
{
    return bl_probe_sum(p, i, first, 2).value;
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

/* The least noise among probes i.. of one unit and width, whose first is the usual row. */
static size_t quietest(const bl_probes *p, size_t i, size_t n)
{
    size_t best = i;
    for (size_t k = i + 1; k < i + n; k++)
        if (total(p, k) < total(p, best)) best = k;
    return best;
}

static double gain_db(const bl_probes *p, size_t usual, size_t k)
{
    return 10 * log10((total(p, usual) + 1e-300) / (total(p, k) + 1e-300));
}

static size_t same_unit(const bl_probe *list, size_t i, size_t n)
{
    size_t k = i + 1;
    while (k < n && list[k].unit == list[i].unit && list[k].a_bits == list[i].a_bits) k++;
    return k - i;
}

static bl_status note(bl_ctx *ctx, bl_menu *menu, const bl_probe *q, double gain, const char *usual)
{
    bl_unit *u = &menu->units[q->unit];
    u->range[q->a_bits] = q->range;
    u->why[q->a_bits] = gain > 0 ? bl_format(menu->arena, "%.1f dB less noise at the output than %s", gain, usual)
                                 : bl_format(menu->arena, "no other gains %.1f dB at the output", GAIN_DB);
    return u->why[q->a_bits] ? BL_OK : bl_pending(ctx);
}

static bl_status choose(bl_ctx *ctx, const bl_probes *p, bl_menu *menu, size_t i, size_t n)
{
    size_t best = quietest(p, i, n);
    double gain = gain_db(p, i, best);
    bool both = half(p, best, 0) <= half(p, i, 0) && half(p, best, 1) <= half(p, i, 1);
    if (!(gain >= GAIN_DB && both)) return note(ctx, menu, &p->list[i], 0, NULL);
    return note(ctx, menu, &p->list[best], gain, p->list[i].range);
}

/* Of the first round: rows that may win against the usual one go into `more`; where none may, that one is chosen. */
static bl_status shortlist(bl_ctx *ctx, const bl_probes *p, bl_menu *menu, size_t i, size_t n, bl_probe *more, size_t *n_more)
{
    double most = gain_db(p, i, quietest(p, i, n));
    if (most < GAIN_DB / 2) return note(ctx, menu, &p->list[i], 0, NULL);
    for (size_t k = i; k < i + n; k++)
        if (k == i || gain_db(p, i, k) >= most - NEAR_DB) more[(*n_more)++] = p->list[k];
    return BL_OK;
}

static bl_status grid_of(bl_ctx *ctx, const bl_sense_input *in, const bl_unit *u, int bits, const bl_observer *row, bl_grid *out)
{
    return bl_act_grid(ctx, in->graph, u, in->stats, bits, row, false, out);
}

/* One probe a row, the usual one first; a grid that was there is left out. */
static bl_status list_rows(bl_ctx *ctx, const bl_sense_input *in, const bl_observer *asked, int unit, int bits, bl_probe *list, size_t *n)
{
    const bl_unit *u = &in->menu->units[unit];
    size_t first = *n;
    bl_grid grid[ROWS_MOST];
    for (int usual = 1; usual >= 0; usual--)
        for (size_t o = 0; o < bl_n_observers; o++) {
            const bl_observer *row = bl_observers[o];
            if (row->measured || (row->range == asked->fallback) != (usual == 1) || (usual && *n > first)) continue;
            bl_grid *g = &grid[*n - first];
            bool known = false;
            BL_TRY(grid_of(ctx, in, u, bits, row, g));
            for (size_t k = 0; k < *n - first; k++)
                known |= grid[k].scale == g->scale && grid[k].zero == g->zero && grid[k].lo == g->lo && grid[k].hi == g->hi;
            if (!known) list[(*n)++] = (bl_probe){ .unit = unit, .layer = -1, .a_bits = bits, .mask = -1, .range = row->name };
        }
    return BL_OK;
}

static bl_status measure(bl_ctx *ctx, const bl_sense_input *in, const bl_observer *asked, bl_menu *menu, bl_arena *a)
{
    bl_sens sens = { .act_range = asked->name };
    size_t n = 0, n_more = 0, room = (size_t)menu->n_units * 17 * bl_n_observers;
    int64_t all = in->options->samples ? in->options->samples : 128;
    bl_sense_options quarter = *in->options;
    bl_sense_input few = *in;
    bl_probe *list = BL_NEW(a, bl_probe, room), *more = BL_NEW(a, bl_probe, room);
    if (!list || !more) return bl_pending(ctx);
    BL_CHECK(ctx, bl_n_observers <= ROWS_MOST);
    for (int u = 0; u < menu->n_units; u++)
        for (int bits = 1; bits <= 16 && !menu->units[u].fixed_grid; bits++)
            if (offers(&menu->units[u], bits)) BL_TRY(list_rows(ctx, in, asked, u, bits, list, &n));
    all = BL_MIN(all, bl_data_samples(in->data));
    quarter.samples = BL_MIN(all, BL_MAX(FIRST_SAMPLES, all / 4));
    few.options = &quarter;
    bl_probes first = { .in = &few, .sens = &sens, .list = list, .n = n, .measure = bl_probe_noise };
    BL_TRY(bl_probes_run(ctx, &first, a));
    for (size_t i = 0; i < n; i += same_unit(list, i, n)) BL_TRY(shortlist(ctx, &first, menu, i, same_unit(list, i, n), more, &n_more));
    bl_probes last = { .in = in, .sens = &sens, .list = more, .n = n_more, .measure = bl_probe_noise };
    BL_TRY(bl_probes_run(ctx, &last, a));
    for (size_t i = 0; i < n_more; i += same_unit(more, i, n_more)) BL_TRY(choose(ctx, &last, menu, i, same_unit(more, i, n_more)));
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
