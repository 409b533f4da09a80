/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Allocation problems: making, checking, and merging tied units into one item whose options are
 * those that all its units name and whose numbers are sums.  Everything that can be wrong with a
 * problem is said here, so that the solver behind it trusts its input.
 */
#include "search/knapsack_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

bl_mckp *bl_mckp_new(bl_arena *arena, int n_units, int n_budgets)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    if (n_units < 1 || n_units > BL_MCKP_UNITS_MAX || n_budgets < 0 ||
        n_budgets > BL_MCKP_BUDGETS_MAX) {
        bl_fail(ctx, BL_DATA, "allocation problem", "give 1 to 100000 units and at most 4 budgets",
                "%d units and %d budgets", n_units, n_budgets);
        return NULL;
    }
    bl_mckp *p = BL_NEW(arena, bl_mckp, 1);
    if (!p) return NULL;
    p->n_units = n_units;
    p->n_budgets = n_budgets;
    p->units = BL_NEW(arena, bl_mckp_unit, (size_t)n_units);
    return p->units ? p : NULL;
}

bl_status bl_mckp_unit_new(bl_arena *arena, bl_mckp *problem, int u, const char *name,
                           int n_options)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    BL_CHECK(ctx, u >= 0 && u < problem->n_units);
    if (n_options < 1 || n_options > BL_MCKP_OPTIONS_MAX)
        return bl_fail(ctx, BL_DATA, name, "give 1 to 1024 options", "%d options", n_options);
    bl_mckp_unit *unit = &problem->units[u];
    unit->n_options = n_options;
    BL_ALLOC_TRY(ctx, unit->name = bl_strdup(arena, name));
    BL_ALLOC_TRY(ctx, unit->names = BL_NEW(arena, const char *, (size_t)n_options));
    BL_ALLOC_TRY(ctx, unit->objective = BL_NEW(arena, double, (size_t)n_options));
    for (int m = 0; m < problem->n_budgets; m++)
        BL_ALLOC_TRY(ctx, unit->cost[m] = BL_NEW(arena, double, (size_t)n_options));
    return BL_OK;
}

/* ------------------------------------------------------------------ checking */

typedef struct named {
    const char *name;
    uint16_t index;
} named;

static int named_order(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

/* The options of a unit by name; at most BL_MCKP_OPTIONS_MAX. */
static void names_sort(const bl_mckp_unit *unit, named *out)
{
    for (int o = 0; o < unit->n_options; o++) out[o] = (named){unit->names[o], (uint16_t)o};
    qsort(out, (size_t)unit->n_options, sizeof *out, named_order);
}

static bool number_good(double x)
{
    return x >= -BL_MCKP_NUMBER_MAX && x <= BL_MCKP_NUMBER_MAX; /* false for a NaN */
}

static bl_status unit_check(bl_ctx *ctx, const char *place, const bl_mckp *p, int u, named *scratch)
{
    const bl_mckp_unit *unit = &p->units[u];
    if (!unit->name || unit->n_options < 1 || unit->n_options > BL_MCKP_OPTIONS_MAX)
        return bl_fail(ctx, BL_DATA, place, "give 1 to 1024 options",
                       "unit %d (\"%s\"): %d options", u, unit->name ? unit->name : "",
                       unit->n_options);
    for (int o = 0; o < unit->n_options; o++) {
        if (!unit->names[o])
            return bl_fail(ctx, BL_DATA, place, "name every option",
                           "unit \"%s\": option %d has no name", unit->name, o);
        bool good = number_good(unit->objective[o]);
        for (int m = 0; m < p->n_budgets; m++) good = good && number_good(unit->cost[m][o]);
        if (!good)
            return bl_fail(ctx, BL_DATA, place, "give finite numbers of at most 1e200",
                           "unit \"%s\", option \"%s\": a number is out of range", unit->name,
                           unit->names[o]);
    }
    names_sort(unit, scratch);
    for (int o = 1; o < unit->n_options; o++)
        if (strcmp(scratch[o - 1].name, scratch[o].name) == 0)
            return bl_fail(ctx, BL_DATA, place, "name each option once",
                           "unit \"%s\": two options are named \"%s\"", unit->name,
                           scratch[o].name);
    return BL_OK;
}

static bl_status parts_check(bl_ctx *ctx, const char *place, const bl_mckp *p, named *scratch)
{
    if (p->n_units < 1 || p->n_units > BL_MCKP_UNITS_MAX || p->n_budgets < 0 ||
        p->n_budgets > BL_MCKP_BUDGETS_MAX)
        return bl_fail(ctx, BL_DATA, place, "give 1 to 100000 units and at most 4 budgets",
                       "%d units and %d budgets", p->n_units, p->n_budgets);
    for (int m = 0; m < p->n_budgets; m++)
        if (!number_good(p->limits[m]))
            return bl_fail(ctx, BL_DATA, place, "give finite numbers of at most 1e200",
                           "the limit of budget \"%s\" is out of range",
                           p->budget_names[m] ? p->budget_names[m] : "");
    for (int u = 0; u < p->n_units; u++) BL_TRY(unit_check(ctx, place, p, u, scratch));
    for (int t = 0; t < p->n_ties; t++)
        for (int i = 0; i < p->ties[t].n; i++)
            if (p->ties[t].units[i] < 0 || p->ties[t].units[i] >= p->n_units)
                return bl_fail(ctx, BL_DATA, place, "tie units of the problem",
                               "tie %d names unit %d of %d", t, p->ties[t].units[i], p->n_units);
    return BL_OK;
}

/* ------------------------------------------------------------------ merging */

static int root_of(int *parent, int u)
{
    while (parent[u] != u) {
        parent[u] = parent[parent[u]];
        u = parent[u];
    }
    return u;
}

/* Items by their first unit, members ascending: the smaller unit is always the root. */
static bl_status group(bl_ctx *ctx, const bl_mckp *p, bl_arena *arena, bl_knap_merged *out)
{
    size_t n = (size_t)p->n_units;
    int *parent = BL_NEW(arena, int, n), *number = BL_NEW(arena, int, n);
    uint32_t *at = BL_NEW(arena, uint32_t, n + 1);
    out->member = BL_NEW(arena, int, n);
    out->member_first = BL_NEW(arena, uint32_t, n + 1);
    if (!parent || !number || !at || !out->member || !out->member_first) return bl_pending(ctx);
    for (int u = 0; u < p->n_units; u++) parent[u] = u;
    for (int t = 0; t < p->n_ties; t++)
        for (int i = 1; i < p->ties[t].n; i++) {
            int a = root_of(parent, p->ties[t].units[0]), b = root_of(parent, p->ties[t].units[i]);
            parent[BL_MAX(a, b)] = BL_MIN(a, b);
        }
    for (int u = 0; u < p->n_units; u++) {
        int r = root_of(parent, u);
        number[u] = r == u ? out->n++ : number[r];
        out->member_first[number[u] + 1]++;
    }
    for (int i = 0; i < out->n; i++) at[i + 1] = out->member_first[i + 1] += out->member_first[i];
    for (int u = 0; u < p->n_units; u++) out->member[at[number[u]]++] = u;
    return BL_OK;
}

static bl_status empty_intersection(bl_ctx *ctx, const char *place, const bl_mckp *p,
                                    const int *members, int n)
{
    char text[400];
    int used = 0, i = 0;
    for (; i < n && used < 300; i++) {
        int wrote = snprintf(text + used, sizeof text - (size_t)used, "%s\"%.60s\"", i ? ", " : "",
                             p->units[members[i]].name);
        used += wrote > 0 ? wrote : 0;
    }
    return bl_fail(ctx, BL_DATA, place, "give tied units at least one option of the same name",
                   "tied units %s%s have no option in common", text, i < n ? ", ..." : "");
}

/* Which options of a group's first unit all units name, and each unit's own number of them; returns
 * how many.  pick: (members, options of the first unit) on entry, (members, common) on exit;
 * alive: (BL_MCKP_OPTIONS_MAX) scratch. */
static int intersect(const bl_mckp *p, const int *members, int n, uint16_t *pick, bool *alive,
                     named *names)
{
    const bl_mckp_unit *lead = &p->units[members[0]];
    int all = lead->n_options, common = 0;
    for (int o = 0; o < all; o++) alive[o] = true;
    for (int k = 0; k < n; k++) {
        const bl_mckp_unit *unit = &p->units[members[k]];
        names_sort(unit, names);
        for (int o = 0; o < all; o++) {
            named key = {lead->names[o], 0};
            const named *hit =
                bsearch(&key, names, (size_t)unit->n_options, sizeof key, named_order);
            if (hit)
                pick[(size_t)k * (size_t)all + (size_t)o] = hit->index;
            else
                alive[o] = false;
        }
    }
    for (int o = 0; o < all; o++) common += alive[o];
    size_t to = 0; /* never overtakes the place read */
    for (int k = 0; k < n; k++)
        for (int o = 0; o < all; o++)
            if (alive[o]) pick[to++] = pick[(size_t)k * (size_t)all + (size_t)o];
    return common;
}

/* Options of item i: sums over its units, in unit order. */
static void item_sum(const bl_mckp *p, const bl_knap_merged *out, int i)
{
    const int *members = out->member + out->member_first[i];
    int n = (int)(out->member_first[i + 1] - out->member_first[i]);
    size_t options = out->first[i + 1] - out->first[i];
    const uint16_t *pick = n > 1 ? out->pick + out->pick_first[i] : NULL;
    for (size_t o = 0; o < options; o++)
        for (int m = -1; m < p->n_budgets; m++) {
            bl_knap_sum sum = {0, 0};
            for (int k = 0; k < n; k++) {
                const bl_mckp_unit *unit = &p->units[members[k]];
                size_t own = pick ? pick[(size_t)k * options + o] : o;
                bl_knap_add(&sum, m < 0 ? unit->objective[own] : unit->cost[m][own]);
            }
            (m < 0 ? out->v : out->cost[m])[out->first[i] + o] = bl_knap_total(sum);
        }
}

static bl_status merged_space(bl_ctx *ctx, const bl_mckp *p, bl_arena *arena, bl_knap_merged *out)
{
    size_t options = 0, picks = 0;
    for (int i = 0; i < out->n; i++) {
        size_t lead = (size_t)p->units[out->member[out->member_first[i]]].n_options;
        size_t n = out->member_first[i + 1] - out->member_first[i];
        options += lead;
        picks += n > 1 ? n * lead : 0;
    }
    out->first = BL_NEW(arena, uint32_t, (size_t)out->n + 1);
    out->pick_first = BL_NEW(arena, size_t, (size_t)out->n + 1);
    out->pick = BL_NEW(arena, uint16_t, picks);
    out->v = BL_NEW(arena, double, options);
    if (!out->first || !out->pick_first || !out->pick || !out->v) return bl_pending(ctx);
    for (int m = 0; m < p->n_budgets; m++)
        BL_ALLOC_TRY(ctx, out->cost[m] = BL_NEW(arena, double, options));
    return BL_OK;
}

bl_status bl_knap_merge(bl_ctx *ctx, const char *place, const bl_mckp *p, bl_arena *arena,
                        bl_knap_merged *out)
{
    *out = (bl_knap_merged){.n_budgets = p->n_budgets};
    named *names = BL_NEW(arena, named, BL_MCKP_OPTIONS_MAX);
    bool *alive = BL_NEW(arena, bool, BL_MCKP_OPTIONS_MAX);
    if (!names || !alive) return bl_pending(ctx);
    BL_TRY(parts_check(ctx, place, p, names));
    BL_TRY(group(ctx, p, arena, out));
    BL_TRY(merged_space(ctx, p, arena, out));
    for (int m = 0; m < p->n_budgets; m++) out->limit[m] = p->limits[m];
    for (int i = 0; i < out->n; i++) {
        const int *members = out->member + out->member_first[i];
        int n = (int)(out->member_first[i + 1] - out->member_first[i]);
        int options = p->units[members[0]].n_options;
        if (n > 1) options = intersect(p, members, n, out->pick + out->pick_first[i], alive, names);
        if (options == 0) return empty_intersection(ctx, place, p, members, n);
        out->first[i + 1] = out->first[i] + (uint32_t)options;
        out->pick_first[i + 1] = out->pick_first[i] + (n > 1 ? (size_t)n * (size_t)options : 0);
        item_sum(p, out, i);
    }
    return BL_OK;
}

bl_status bl_mckp_check(bl_ctx *ctx, const char *place, const bl_mckp *problem)
{
    bl_arena *arena = bl_arena_new(ctx, "allocation check");
    if (!arena) return bl_pending(ctx);
    bl_knap_merged merged;
    bl_status status = bl_knap_merge(ctx, place, problem, arena, &merged);
    bl_arena_free(arena);
    return status;
}

void bl_knap_spread(const bl_knap_merged *merged, const uint16_t *items, int *units)
{
    for (int i = 0; i < merged->n; i++) {
        uint32_t from = merged->member_first[i], n = merged->member_first[i + 1] - from;
        size_t options = merged->first[i + 1] - merged->first[i];
        const uint16_t *pick = merged->pick + merged->pick_first[i];
        for (uint32_t k = 0; k < n; k++)
            units[merged->member[from + k]] = n > 1 ? pick[k * options + items[i]] : items[i];
    }
}
