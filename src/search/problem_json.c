/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The stand-alone allocation problem as JSON, and its answer:
 *
 *     {"version":1, "budgets":[{"name","limit"}],
 *      "units":[{"name", "options":[{"name","objective","costs":[one for each budget]}]}],
 *      "ties":[["unit","unit"]]}
 *     {"status", "choice":{unit:option}, "objective", "bound", "gap", "proof", "costs",
 *      "multipliers", ...}
 *
 * "ties" may be left out, "costs" too where there is no budget.  Numbers are checked with the
 * problem itself (bl_mckp_check); here it is the form, the counts and the names.
 */
#include "search/knapsack.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct reader {
    bl_ctx *ctx;
    const char *place;
    bl_arena *arena;
    bl_mckp *problem;
} reader;

/* ------------------------------------------------------------------ reading */

static bl_status budgets_read(reader *r, const json_t *list)
{
    size_t m;
    json_t *entry;
    char place[600];
    json_array_foreach(list, m, entry)
    {
        const char *name;
        snprintf(place, sizeof place, "%.500s: budget %zu", r->place, m);
        if (!json_is_object(entry))
            return bl_fail(r->ctx, BL_DATA, place, "give {\"name\",\"limit\"}", "is not an object");
        BL_TRY(bl_json_str(r->ctx, entry, "name", place, &name));
        BL_TRY(bl_json_f64(r->ctx, entry, "limit", place, &r->problem->limits[m]));
        for (size_t other = 0; other < m; other++)
            if (strcmp(r->problem->budget_names[other], name) == 0)
                return bl_fail(r->ctx, BL_DATA, place, "name each budget once",
                               "another budget is named \"%s\"", name);
        BL_ALLOC_TRY(r->ctx, r->problem->budget_names[m] = bl_strdup(r->arena, name));
    }
    return BL_OK;
}

static bl_status option_read(reader *r, bl_mckp_unit *unit, int o, const json_t *entry,
                             const char *unit_place)
{
    char place[900];
    const char *name;
    json_t *costs = NULL;
    size_t n = (size_t)r->problem->n_budgets;
    snprintf(place, sizeof place, "%.700s, option %d", unit_place, o);
    if (!json_is_object(entry))
        return bl_fail(r->ctx, BL_DATA, place, "give {\"name\",\"objective\",\"costs\"}",
                       "is not an object");
    BL_TRY(bl_json_str(r->ctx, entry, "name", place, &name));
    BL_ALLOC_TRY(r->ctx, unit->names[o] = bl_strdup(r->arena, name));
    BL_TRY(bl_json_f64(r->ctx, entry, "objective", place, &unit->objective[o]));
    if (n == 0 && !json_object_get(entry, "costs")) return BL_OK;
    BL_TRY(bl_json_array(r->ctx, entry, "costs", place, BL_MCKP_BUDGETS_MAX, &costs));
    if (json_array_size(costs) != n)
        return bl_fail(r->ctx, BL_DATA, place, "give one cost for each budget",
                       "%zu costs for %zu budgets", json_array_size(costs), n);
    for (size_t m = 0; m < n; m++) {
        const json_t *cost = json_array_get(costs, m);
        if (!json_is_number(cost))
            return bl_fail(r->ctx, BL_DATA, place, "give numbers", "cost %zu is not a number", m);
        unit->cost[m][o] = json_number_value(cost);
    }
    return BL_OK;
}

static bl_status unit_read(reader *r, int u, const json_t *entry)
{
    char place[700];
    const char *name;
    json_t *options;
    snprintf(place, sizeof place, "%.500s: unit %d", r->place, u);
    if (!json_is_object(entry))
        return bl_fail(r->ctx, BL_DATA, place, "give {\"name\",\"options\"}", "is not an object");
    BL_TRY(bl_json_str(r->ctx, entry, "name", place, &name));
    snprintf(place, sizeof place, "%.500s: unit \"%.100s\"", r->place, name);
    BL_TRY(bl_json_array(r->ctx, entry, "options", place, BL_MCKP_OPTIONS_MAX, &options));
    if (json_array_size(options) == 0)
        return bl_fail(r->ctx, BL_DATA, place, "give 1 to 1024 options", "has no options");
    int n = (int)json_array_size(options);
    BL_TRY(bl_mckp_unit_new(r->arena, r->problem, u, name, n));
    for (int o = 0; o < n; o++)
        BL_TRY(option_read(r, &r->problem->units[u], o, json_array_get(options, (size_t)o), place));
    return BL_OK;
}

typedef struct named {
    const char *name;
    int unit;
} named;

static int named_order(const void *a, const void *b)
{
    return strcmp(((const named *)a)->name, ((const named *)b)->name);
}

static bl_status names_sort(reader *r, named **out)
{
    size_t n = (size_t)r->problem->n_units;
    named *list = BL_NEW(r->arena, named, n);
    BL_ALLOC_TRY(r->ctx, list);
    for (size_t u = 0; u < n; u++) list[u] = (named){r->problem->units[u].name, (int)u};
    qsort(list, n, sizeof *list, named_order);
    for (size_t u = 1; u < n; u++)
        if (strcmp(list[u - 1].name, list[u].name) == 0)
            return bl_fail(r->ctx, BL_DATA, r->place, "name each unit once",
                           "two units are named \"%s\"", list[u].name);
    *out = list;
    return BL_OK;
}

static bl_status tie_read(reader *r, size_t at, const json_t *entry, const named *names)
{
    char place[600];
    snprintf(place, sizeof place, "%.500s: tie %zu", r->place, at);
    size_t n = json_array_size(entry); /* 0 for what is no array */
    if (n == 0 || n > BL_MCKP_UNITS_MAX)
        return bl_fail(r->ctx, BL_DATA, place, "give an array of 1 to 100000 unit names",
                       "is not such an array");
    bl_mckp_tie *tie = &r->problem->ties[at];
    BL_ALLOC_TRY(r->ctx, tie->units = BL_NEW(r->arena, int, n));
    tie->n = (int)n;
    for (size_t i = 0; i < n; i++) {
        named key = {json_string_value(json_array_get(entry, i)), 0};
        if (!key.name)
            return bl_fail(r->ctx, BL_DATA, place, "give unit names", "item %zu is not a string",
                           i);
        const named *hit =
            bsearch(&key, names, (size_t)r->problem->n_units, sizeof key, named_order);
        if (!hit)
            return bl_fail(r->ctx, BL_DATA, place, "tie units of the problem",
                           "no unit is named \"%s\"", key.name);
        tie->units[i] = hit->unit;
    }
    return BL_OK;
}

static bl_status ties_read(reader *r, const json_t *root)
{
    json_t *list;
    named *names = NULL;
    BL_TRY(names_sort(r, &names));
    if (!json_object_get(root, "ties")) return BL_OK;
    BL_TRY(bl_json_array(r->ctx, root, "ties", r->place, BL_MCKP_UNITS_MAX, &list));
    size_t n = json_array_size(list);
    BL_ALLOC_TRY(r->ctx, r->problem->ties = BL_NEW(r->arena, bl_mckp_tie, n));
    for (size_t t = 0; t < n; t++) BL_TRY(tie_read(r, t, json_array_get(list, t), names));
    r->problem->n_ties = (int)n;
    return BL_OK;
}

bl_status bl_mckp_from_json(bl_ctx *ctx, const char *place, const json_t *root, bl_arena *arena,
                            bl_mckp **out)
{
    reader r = {.ctx = ctx, .place = place, .arena = arena};
    int64_t version;
    json_t *budgets, *units;
    if (!json_is_object(root))
        return bl_fail(ctx, BL_DATA, place, "give an allocation problem", "is not a JSON object");
    BL_TRY(bl_json_i64(ctx, root, "version", place, 1, 1, &version));
    BL_TRY(bl_json_array(ctx, root, "budgets", place, BL_MCKP_BUDGETS_MAX, &budgets));
    BL_TRY(bl_json_array(ctx, root, "units", place, BL_MCKP_UNITS_MAX, &units));
    if (json_array_size(units) == 0)
        return bl_fail(ctx, BL_DATA, place, "give at least one unit", "\"units\" is empty");
    r.problem = bl_mckp_new(arena, (int)json_array_size(units), (int)json_array_size(budgets));
    BL_ALLOC_TRY(ctx, r.problem);
    BL_TRY(budgets_read(&r, budgets));
    for (int u = 0; u < r.problem->n_units; u++)
        BL_TRY(unit_read(&r, u, json_array_get(units, (size_t)u)));
    BL_TRY(ties_read(&r, root));
    BL_TRY(bl_mckp_check(ctx, place, r.problem));
    *out = r.problem;
    return BL_OK;
}

/* ------------------------------------------------------------------ the answer */

static json_t *numbers(const double *list, int n)
{
    json_t *out = json_array();
    for (int m = 0; m < n; m++) json_array_append_new(out, bl_json_real(list[m]));
    return out;
}

/* Null where the number is infinite: the bound of an infeasible problem. */
bl_status bl_mckp_result_json(bl_ctx *ctx, const bl_mckp *problem, const bl_mckp_result *r,
                              json_t **out)
{
    static const char *const status[] = {"optimal", "feasible", "infeasible"};
    static const char *const proof[] = {"root", "search", "limit"};
    json_t *choice = json_object(), *root = json_object();
    int failed = 0;
    for (int u = 0; u < problem->n_units; u++)
        failed |= json_object_set_new(choice, problem->units[u].name,
                                      json_string(problem->units[u].names[r->choice[u]]));
    failed |= json_object_set_new(root, "status", json_string(status[r->status]));
    failed |= json_object_set_new(root, "choice", choice);
    failed |= json_object_set_new(root, "objective", bl_json_real(r->objective));
    failed |= json_object_set_new(root, "bound", bl_json_real(r->bound));
    failed |= json_object_set_new(root, "gap", bl_json_real(r->gap));
    failed |= json_object_set_new(root, "proof", json_string(proof[r->proof]));
    failed |= json_object_set_new(root, "costs", numbers(r->costs, problem->n_budgets));
    failed |= json_object_set_new(root, "multipliers", numbers(r->multipliers, problem->n_budgets));
    failed |= json_object_set_new(root, "root_bound", bl_json_real(r->root_bound));
    if (r->status == BL_MCKP_INFEASIBLE) {
        failed |=
            json_object_set_new(root, "binding", json_string(problem->budget_names[r->binding]));
        failed |= json_object_set_new(root, "excess", bl_json_real(r->excess));
        failed |= json_object_set_new(root, "excess_bound", bl_json_real(r->excess_bound));
    }
    failed |= json_object_set_new(root, "labels", json_integer((json_int_t)r->labels));
    failed |= json_object_set_new(root, "nodes", json_integer((json_int_t)r->nodes));
    failed |= json_object_set_new(root, "rounds", json_integer((json_int_t)r->rounds));
    if (failed) {
        json_decref(root);
        return bl_fail(ctx, BL_UNAVAILABLE, "allocation result", "use valid UTF-8 names",
                       "cannot be put as JSON");
    }
    *out = root;
    return BL_OK;
}
