/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Least cost above a floor of accuracy.  The solver needs a limit on something that adds up, and that
 * is the predicted noise; whether the floor holds is for the judge to say, who runs the whole quantized
 * network.  So the limit on the predicted noise is bisected, on a logarithmic scale, between a plan that
 * holds and one that does not: about a dozen plans are judged, and the cheapest that holds is taken.
 *
 * The first limit of an SQNR floor is the predicted one; a floor of top-1 has no prediction.
 */
#include "search/search.h"

#include <string.h>

enum { JUDGED_MOST = 24 };
#define CLOSE_ENOUGH 1.005 /* of two limits on the noise: 0.02 dB */

bl_status bl_floor_parse(bl_ctx *ctx, const char *text, bl_floor *out)
{
    const char *eq = strchr(text, '='), *remedy = "write top1=-1.0 (points below float) or sqnr=30 (dB)";
    bl_floor f;
    if (!eq || !bl_parse_f64(eq + 1, &f.value)) return bl_fail(ctx, BL_USAGE, text, remedy, "a floor that is none");
    if (!strncmp(text, "top1=", 5)) f.kind = BL_FLOOR_TOP1;
    else if (!strncmp(text, "sqnr=", 5)) f.kind = BL_FLOOR_SQNR;
    else return bl_fail(ctx, BL_USAGE, text, remedy, "a floor of something else");
    if (f.kind == BL_FLOOR_TOP1 && (f.value > 0 || f.value < -100))
        return bl_fail(ctx, BL_USAGE, text, remedy, "points below float lie between -100 and 0");
    *out = f;
    return BL_OK;
}

const char *bl_floor_name(bl_floor_kind kind)
{
    return kind == BL_FLOOR_TOP1 ? "top1" : "sqnr";
}

double bl_floor_measured(const bl_floor *f, const bl_score *score)
{
    return f->kind == BL_FLOOR_TOP1 ? -100 * score->drop : score->sqnr_db;
}

bool bl_floors_hold(const bl_floor *floors, int n, const bl_score *score)
{
    for (int i = 0; i < n; i++) /* a hundredth of a point and of a dB are far below what samples tell apart */
        if (!(bl_floor_measured(&floors[i], score) >= floors[i].value - 1e-9)) return false;
    return true;
}

typedef struct hunt {
    bl_ctx *ctx;
    const bl_search_input *in;
    bl_arena *arena;
    int *best, *tried;          /* the cheapest plan that holds; the one at hand */
    double best_cost, tried_cost;
    bl_score best_score, tried_score;
    bool holds;                 /* the one at hand */
    json_t *best_solver, *solver, *trace;
    int judged;
} hunt;

static size_t choice_bytes(const hunt *h)
{
    return (size_t)h->in->menu->n_units * sizeof *h->best;
}

static bl_status price(hunt *h, const int *choice, double total[BL_N_METRIC])
{
    bl_mark mark = bl_arena_mark(h->arena);
    bl_candidate *c = BL_NEW(h->arena, bl_candidate, (size_t)h->in->menu->n_units);
    BL_ALLOC_TRY(h->ctx, c);
    for (int u = 0; u < h->in->menu->n_units; u++) c[u] = h->in->menu->units[u].candidates[choice[u]];
    bl_status s = bl_price_exact(h->ctx, h->in->graph, h->in->menu, h->in->cost, c, total);
    bl_arena_reset(h->arena, mark);
    return s;
}

static void keep(hunt *h)
{
    memcpy(h->best, h->tried, choice_bytes(h));
    h->best_cost = h->tried_cost;
    h->best_score = h->tried_score;
    json_decref(h->best_solver);
    h->best_solver = json_incref(h->solver);
}

/* Asks the judge about the plan at hand and keeps it where it holds and is the cheapest so far. */
static bl_status judge(hunt *h)
{
    double total[BL_N_METRIC];
    BL_TRY(price(h, h->tried, total));
    BL_TRY(bl_check_interrupt(h->ctx));
    BL_TRY(h->in->judge(h->in->judge_user, h->tried, &h->tried_score));
    h->tried_cost = total[h->in->minimize];
    h->holds = bl_floors_hold(h->in->floors, h->in->n_floors, &h->tried_score);
    h->judged++;
    json_t *o = json_pack("{s:f, s:b}", "cost", h->tried_cost, "holds", h->holds);
    if (bl_objective_is_noise(h->in->sens))
        json_object_set_new(o, "predicted_sqnr_db", bl_json_real(bl_objective_sqnr(bl_choice_objective(h->in->menu, h->in->sens, h->tried))));
    for (int i = 0; i < h->in->n_floors; i++)
        json_object_set_new(o, bl_floor_name(h->in->floors[i].kind), bl_json_real(bl_floor_measured(&h->in->floors[i], &h->tried_score)));
    json_array_append_new(h->trace, o);
    if (h->holds && (isnan(h->best_cost) || h->tried_cost < h->best_cost)) keep(h);
    return BL_OK;
}

/* The cheapest plan with at most so much predicted noise. */
static bl_status solve(hunt *h, double noise, bool *found)
{
    bl_mckp *p = NULL;
    bl_mckp_result r;
    bl_mckp_limits limits = { .seconds = h->in->seconds, .nodes = 200000 };
    bl_mark mark = bl_arena_mark(h->arena);
    BL_TRY(bl_search_problem(h->ctx, h->in, noise, h->arena, &p));
    BL_TRY(bl_mckp_solve(h->ctx, p, &limits, h->arena, &r));
    *found = r.status != BL_MCKP_INFEASIBLE;
    for (int u = 0; u < h->in->menu->n_units; u++) h->tried[u] = h->in->menu->units[u].n_candidates - 1 - r.choice[u];
    if (*found) BL_TRY(bl_cheapen_choice(h->ctx, h->in, noise, h->arena, h->tried));
    json_decref(h->solver);
    h->solver = NULL;
    BL_TRY(bl_mckp_result_json(h->ctx, p, &r, &h->solver));
    json_object_del(h->solver, "choice");
    bl_arena_reset(h->arena, mark);
    return BL_OK;
}

/* Sum over units of the largest noise, and the least noise that is not zero. */
static void noise_range(const hunt *h, double *least, double *most)
{
    *least = INFINITY;
    *most = 0;
    for (int u = 0; u < h->in->menu->n_units; u++) {
        double top = 0;
        for (int c = 0; h->in->sens->cell[u] && c < h->in->menu->units[u].n_candidates; c++) {
            double v = h->in->sens->cell[u][c].objective;
            top = fmax(top, v);
            if (v > 0) *least = fmin(*least, v);
        }
        *most += top;
    }
}

/* The limit that the prediction gives: what a floor of SQNR leaves above the noise of the baseline. */
static double first_limit(const hunt *h, double lo, double hi)
{
    double limit = sqrt(lo * hi);
    for (int i = 0; i < h->in->n_floors && bl_objective_is_noise(h->in->sens); i++)
        if (h->in->floors[i].kind == BL_FLOOR_SQNR) {
            double base = pow(10, -h->best_score.sqnr_db / 10) - bl_choice_objective(h->in->menu, h->in->sens, h->best);
            limit = pow(10, -h->in->floors[i].value / 10) - fmax(base, 0);
        }
    return limit > lo && limit < hi ? limit : sqrt(lo * hi);
}

static bl_status bisect(hunt *h, double lo, double hi)
{
    double limit = first_limit(h, lo, hi);
    int *low = BL_NEW(h->arena, int, (size_t)h->in->menu->n_units), *high = BL_NEW(h->arena, int, (size_t)h->in->menu->n_units);
    if (!low || !high) return bl_pending(h->ctx);
    memcpy(low, h->best, choice_bytes(h));
    memcpy(high, h->tried, choice_bytes(h));
    while (hi > lo * CLOSE_ENOUGH && h->judged < JUDGED_MOST) {
        bool found;
        BL_TRY(solve(h, limit, &found));
        if (!memcmp(h->tried, low, choice_bytes(h))) { /* nothing cheaper below this limit */
            lo = limit;
        } else if (!found || !memcmp(h->tried, high, choice_bytes(h))) {
            hi = limit;
        } else {
            BL_TRY(judge(h));
            memcpy(h->holds ? low : high, h->tried, choice_bytes(h));
            if (h->holds) lo = limit;
            else hi = fmax(lo, bl_choice_objective(h->in->menu, h->in->sens, h->tried)); /* the best from there on */
        }
        limit = sqrt(lo * hi);
    }
    return BL_OK;
}

static bool within_budgets(const hunt *h, const double total[BL_N_METRIC])
{
    for (int b = 0; b < h->in->n_budgets; b++)
        if (!(total[h->in->budgets[b].metric] <= h->in->budgets[b].limit * (1 + 1e-12))) return false;
    return true;
}

static bool offered(const bl_menu *m, int w, int a)
{
    for (int u = 0; u < m->n_units; u++)
        for (int c = 0; c < m->units[u].n_candidates; c++)
            if (m->units[u].n_candidates > 1 && m->units[u].candidates[c].w_bits == w && m->units[u].candidates[c].a_bits == a) return true;
    return false;
}

/* Noise of single units says little about plans far from them: uniform plans are asked about as well, but
 * for those with no more bits than one that failed. */
static bl_status try_uniform(hunt *h)
{
    enum { WIDEST = 16 };
    const bl_menu *m = h->in->menu;
    double total[BL_N_METRIC];
    int failed_w[WIDEST * WIDEST], failed_a[WIDEST * WIDEST], n_failed = 0;
    for (int w = WIDEST; w > 0; w--)
        for (int a = WIDEST; a > 0; a--) {
            bool hopeless = !offered(m, w, a);
            for (int f = 0; f < n_failed; f++) hopeless |= w <= failed_w[f] && a <= failed_a[f];
            if (hopeless) continue;
            for (int u = 0; u < m->n_units; u++) h->tried[u] = bl_uniform_candidate(&m->units[u], w, a);
            BL_TRY(price(h, h->tried, total));
            if (!within_budgets(h, total) || !(total[h->in->minimize] < h->best_cost)) continue;
            json_decref(h->solver); /* no solver's plan */
            h->solver = json_object();
            BL_TRY(judge(h));
            if (h->holds) continue;
            failed_w[n_failed] = w;
            failed_a[n_failed++] = a;
        }
    return BL_OK;
}

static bl_status hunt_down(hunt *h, bl_search_result *out)
{
    bl_search_input plain = *h->in;
    bl_search_result first = { 0 };
    double least, most;
    bool found;
    plain.n_floors = 0;
    BL_TRY(bl_search_knapsack(h->ctx, &plain, h->arena, &first)); /* the best metric within the budgets */
    *out = first;
    if (!first.feasible) return BL_OK;
    h->solver = first.solver;
    out->solver = NULL;
    memcpy(h->tried, first.choice, choice_bytes(h));
    BL_TRY(judge(h));
    if (!h->holds) { /* the nearest plan there is */
        out->feasible = false;
        keep(h);
        return BL_OK;
    }
    noise_range(h, &least, &most);
    if (!(most > 0)) return BL_OK;
    double lo = fmax(bl_choice_objective(h->in->menu, h->in->sens, h->best), least / 2);
    BL_TRY(solve(h, most * 2, &found));
    BL_TRY(judge(h));
    if (!h->holds) BL_TRY(bisect(h, lo, fmax(lo, bl_choice_objective(h->in->menu, h->in->sens, h->tried))));
    return try_uniform(h);
}

bl_status bl_search_floor(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    size_t n = (size_t)in->menu->n_units;
    hunt h = { .ctx = ctx, .in = in, .arena = arena, .best = BL_NEW(arena, int, n), .tried = BL_NEW(arena, int, n),
               .best_cost = NAN, .trace = json_array() };
    bl_search_result r = { 0 };
    bl_status s = h.best && h.tried ? BL_OK : bl_pending(ctx);
    if (s == BL_OK && !in->prices->column[in->minimize])
        s = bl_fail(ctx, BL_UNAVAILABLE, bl_metric_name(in->minimize), "measure this machine (--target here), or minimize another",
                    "the target \"%s\" does not price it", in->cost->target);
    if (s == BL_OK) s = hunt_down(&h, &r);
    if (s == BL_OK && h.judged) {
        memcpy(r.choice, h.best, choice_bytes(&h));
        r.objective = bl_choice_objective(in->menu, in->sens, r.choice);
        r.score = h.best_score;
        r.judged = true;
        r.solver = h.best_solver ? json_incref(h.best_solver) : json_object();
        json_object_set_new(r.solver, "minimize", json_string(bl_metric_name(in->minimize)));
        json_object_set(r.solver, "judged", h.trace);
    }
    json_decref(h.solver);
    json_decref(h.best_solver);
    json_decref(h.trace);
    if (s != BL_OK) json_decref(r.solver);
    else *out = r;
    return s;
}
