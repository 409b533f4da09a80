/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The searches that are arithmetic on two tables: the knapsack (SENS objectives under COST budgets)
 * and the uniform baseline.
 */
#include "search/search.h"

#include <string.h>

#define X(symbol, label, sens, cost, oracle, labels, budget, text)                                \
    static const bl_search_row row_##symbol = { .name = label, .help = text, .needs_sens = sens,  \
                                                .needs_cost = cost, .needs_oracle = oracle,       \
                                                .needs_labels = labels, .needs_budget = budget, .run = bl_search_##symbol };
#include "search/searches.def"
#undef X

const bl_search_row *const bl_searches[] = {
#define X(symbol, label, sens, cost, oracle, labels, budget, text) &row_##symbol,
#include "search/searches.def"
#undef X
};
const size_t bl_n_searches = BL_COUNTOF(bl_searches);

const bl_search_row *bl_search_find(const char *name)
{
    for (size_t i = 0; i < bl_n_searches; i++)
        if (!strcmp(bl_searches[i]->name, name)) return bl_searches[i];
    return NULL;
}

bl_status bl_search_unbounded(bl_ctx *ctx)
{
    return bl_fail(ctx, BL_USAGE, "--budget", "give one, such as latency=0.6", "without a budget the widest policy is the best");
}

double bl_choice_objective(const bl_menu *menu, const bl_sens *sens, const int *choice)
{
    double sum = 0;
    if (!sens) return NAN;
    for (int u = 0; u < menu->n_units; u++)
        if (sens->cell[u]) sum += sens->cell[u][choice[u]].objective;
    return sum;
}

bool bl_objective_is_noise(const bl_sens *sens)
{
    const bl_sensitivity *row = sens && sens->metric ? bl_sensitivity_find(sens->metric) : NULL;
    return row && row->noise;
}

double bl_objective_sqnr(double objective)
{
    return objective > 0 ? -10 * log10(objective) : INFINITY;
}

static bl_status not_priced(bl_ctx *ctx, const bl_search_input *in, bl_metric metric)
{
    return bl_fail(ctx, BL_USAGE, bl_metric_name(metric), "give a --target that does (`bitlathe list targets`)",
                   "the target \"%s\" does not price it", in->cost ? in->cost->target : "none");
}

bl_status bl_search_uniform(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    double total[BL_N_METRIC];
    bl_candidate *c = BL_NEW(arena, bl_candidate, (size_t)in->menu->n_units);
    *out = (bl_search_result){ .choice = BL_NEW(arena, int, (size_t)in->menu->n_units), .feasible = true,
                               .binding = -1, .objective = NAN };
    if (!out->choice || !c) return bl_pending(ctx);
    for (int u = 0; u < in->menu->n_units; u++) c[u] = in->menu->units[u].candidates[0];
    BL_TRY(bl_price_exact(ctx, in->graph, in->menu, in->cost, c, total));
    double most = 0;
    for (int b = 0; b < in->n_budgets; b++) {
        double cost = total[in->budgets[b].metric], limit = in->budgets[b].limit;
        if (isnan(cost)) return not_priced(ctx, in, in->budgets[b].metric);
        if (cost <= limit * (1 + 1e-12)) continue;
        out->feasible = false;
        if (out->binding < 0 || (cost - limit) / limit > most) {
            most = (cost - limit) / limit;
            out->binding = b;
        }
    }
    out->objective = bl_choice_objective(in->menu, in->sens, out->choice);
    return BL_OK;
}

bl_metric bl_search_cost(const bl_search_input *in)
{
    return in->prices->column[BL_M_LATENCY] ? BL_M_LATENCY : BL_M_BOPS;
}

bool bl_search_weighs(const bl_search_input *in)
{
    return in->beta > 0 && !in->n_budgets && !in->n_floors;
}

/* OHQ's weighted form: sensitivity as a share of its sum at the narrowest candidates, cost as a share of
 * int8's. */
static void weigh(const bl_search_input *in, bl_mckp *p)
{
    double noise = 0, cost = 0;
    double **column = in->prices->column[bl_search_cost(in)];
    for (int u = 0; u < in->menu->n_units; u++) {
        const bl_unit *unit = &in->menu->units[u];
        noise += in->sens->cell[u] ? in->sens->cell[u][unit->n_candidates - 1].objective : 0;
        cost += column[u][bl_uniform_candidate(unit, 8, 8)];
    }
    for (int u = 0; u < in->menu->n_units; u++) {
        int n = in->menu->units[u].n_candidates;
        for (int k = 0; k < n; k++)
            p->units[u].objective[k] = (noise > 0 ? in->alpha * p->units[u].objective[k] / noise : 0) +
                                       (cost > 0 ? in->beta * column[u][n - 1 - k] / cost : 0);
    }
}

/* Candidate c of unit u as the solver's option k. */
static void set_option(const bl_search_input *in, bl_mckp *p, int u, int c, int k)
{
    double noise = in->sens->cell[u] ? in->sens->cell[u][c].objective : 0;
    int first = in->n_floors > 0;
    p->units[u].objective[k] = first ? in->prices->column[in->minimize][u][c] : noise;
    if (first) p->units[u].cost[0][k] = noise;
    for (int b = 0; b < in->n_budgets; b++) p->units[u].cost[first + b][k] = in->prices->column[in->budgets[b].metric][u][c];
}

/* The problem's options stand narrowest first, as the solver's tie rule wants; candidates widest first.  With
 * floors the noise is the first budget: among plans of equal cost the best one is taken. */
bl_status bl_search_problem(bl_ctx *ctx, const bl_search_input *in, double noise, bl_arena *arena, bl_mckp **out)
{
    int first = in->n_floors > 0;
    bl_mckp *p = bl_mckp_new(arena, in->menu->n_units, first + in->n_budgets);
    BL_ALLOC_TRY(ctx, p);
    if (first) {
        p->budget_names[0] = "noise";
        p->limits[0] = noise;
    }
    for (int b = 0; b < in->n_budgets; b++) {
        p->budget_names[first + b] = bl_metric_name(in->budgets[b].metric);
        p->limits[first + b] = in->budgets[b].limit;
        if (!in->prices->column[in->budgets[b].metric]) return not_priced(ctx, in, in->budgets[b].metric);
    }
    for (int u = 0; u < in->menu->n_units; u++) {
        const bl_unit *unit = &in->menu->units[u];
        int n = unit->n_candidates;
        BL_TRY(bl_mckp_unit_new(arena, p, u, unit->name, n));
        for (int k = 0; k < n; k++) {
            char name[16];
            p->units[u].names[k] = bl_strdup(arena, bl_candidate_name(unit->candidates[n - 1 - k], name));
            BL_ALLOC_TRY(ctx, p->units[u].names[k]);
            set_option(in, p, u, n - 1 - k, k);
        }
    }
    if (bl_search_weighs(in)) weigh(in, p);
    *out = p;
    return BL_OK;
}

/* The solver's own answer was that there is none: what it says of other limits proves nothing about these. */
static void say_relaxed(json_t *solver)
{
    static const char *const unproven[] = { "bound", "gap", "root_bound" };
    for (size_t i = 0; i < BL_COUNTOF(unproven); i++) json_object_set_new(solver, unproven[i], json_null());
    json_object_del(solver, "binding");
    json_object_del(solver, "excess");
    json_object_del(solver, "excess_bound");
    json_object_set_new(solver, "status", json_string("feasible"));
    json_object_set_new(solver, "proof", json_string("none"));
    json_object_set_new(solver, "relaxed", json_true());
}

bl_status bl_search_knapsack(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    bl_mckp *p = NULL;
    bl_mckp_result r;
    /* Counted in nodes, not seconds, so that the plan does not depend on the machine; about half a minute. */
    bl_mckp_limits limits = { .seconds = in->seconds, .nodes = 200000 };
    if (in->n_floors) return bl_search_floor(ctx, in, arena, out);
    BL_TRY(bl_search_problem(ctx, in, INFINITY, arena, &p));
    BL_TRY(bl_mckp_solve(ctx, p, &limits, arena, &r));
    *out = (bl_search_result){ .choice = BL_NEW(arena, int, (size_t)in->menu->n_units),
                               .feasible = r.status != BL_MCKP_INFEASIBLE, .binding = r.binding };
    BL_ALLOC_TRY(ctx, out->choice);
    for (int u = 0; u < in->menu->n_units; u++) out->choice[u] = in->menu->units[u].n_candidates - 1 - r.choice[u];
    bool relaxed = false;
    if (!out->feasible) BL_TRY(bl_relax_choice(ctx, in, p, arena, &r, out->choice, &relaxed));
    if (relaxed) {
        out->feasible = true;
        out->binding = -1;
    }
    if (out->feasible) BL_TRY(bl_improve_choice(ctx, in, arena, out->choice));
    BL_TRY(bl_mckp_result_json(ctx, p, &r, &out->solver));
    json_object_del(out->solver, "choice"); /* stands in the plan's units */
    if (relaxed) say_relaxed(out->solver);
    if (bl_search_weighs(in)) {
        json_object_set_new(out->solver, "alpha", bl_json_real(in->alpha));
        json_object_set_new(out->solver, "beta", bl_json_real(in->beta));
        json_object_set_new(out->solver, "weighed_cost", json_string(bl_metric_name(bl_search_cost(in))));
    }
    out->objective = bl_choice_objective(in->menu, in->sens, out->choice);
    return BL_OK;
}

bl_status bl_search(bl_ctx *ctx, const bl_search_request *q, bl_plan **out)
{
    const bl_search_row *row = bl_search_find(q->search ? q->search : "knapsack");
    bl_budget budgets[BL_MCKP_BUDGETS_MAX];
    bl_prices *prices = NULL;
    bl_search_result r = { 0 };
    if (!row) return bl_fail(ctx, BL_USAGE, q->search, "see `bitlathe list searches`", "unknown search");
    if (row->needs_oracle || (row->needs_sens && !q->sens) || q->n_budgets > BL_MCKP_BUDGETS_MAX)
        return bl_fail(ctx, BL_USAGE, row->name, "give what the search needs, and at most four budgets",
                       "sensitivities or an oracle are missing, or there are too many budgets");
    bl_arena *a = bl_arena_new(ctx, "search");
    BL_ALLOC_TRY(ctx, a);
    double int8[BL_N_METRIC];
    bl_status s = bl_prices_make(ctx, q->graph, q->menu, q->cost, &prices);
    if (s == BL_OK) s = bl_price_int8(ctx, q->graph, q->menu, q->cost, int8);
    for (size_t b = 0; s == BL_OK && b < q->n_budgets; b++) {
        s = bl_budget_parse(ctx, q->budgets[b], &budgets[b]);
        if (s == BL_OK) bl_budget_resolve(&budgets[b], int8);
    }
    bl_search_input in = { .graph = q->graph, .menu = q->menu, .stats = q->stats, .sens = q->sens, .cost = q->cost,
                           .prices = prices, .budgets = budgets, .n_budgets = (int)q->n_budgets };
    if (s == BL_OK) s = row->run(ctx, &in, a, &r);
    bl_plan *plan = NULL;
    if (s == BL_OK) s = bl_choice_plan(ctx, &in, r.choice, &q->grids, row->name, &plan);
    if (s == BL_OK) {
        plan->feasible = r.feasible;
        plan->solver = json_incref(r.solver);
        *out = plan;
        if (!r.feasible)
            s = bl_fail(ctx, BL_GOAL, in.n_budgets ? bl_metric_name(budgets[BL_MAX(r.binding, 0)].metric) : row->name,
                        "give a larger budget", "no plan keeps the budgets; this is the nearest one");
    }
    json_decref(r.solver);
    bl_prices_free(prices);
    bl_arena_free(a);
    return s;
}
