/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The allocation solver's lead.  The Lagrangian dual gives a lower bound at the root, moves give a
 * plan; between the two lie target rounds: everything that no plan of value <= target can take is
 * removed and the rest searched through, first by labels, by branch and bound once labels were too
 * many.  An empty round proves a better lower bound and the next target is half as far again from
 * the root; the first plan found is the best there is.  How long that takes hardly depends on the
 * first plan.
 *
 * Limits are counts of labels and nodes, the same everywhere; the clock, when asked for, can only
 * end the search, and the result then says so.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <string.h>

enum { FIRST_ROUND = 8, FIRST_BLIND_ROUND = 4096 }; /* the first target: this part of the gap */
/* Work grows with the distance from the root far faster than this: what the last round searches beyond
 * the optimum costs more than the rounds before it. */
#define GROWTH 1.5

bl_status bl_knap_pause(bl_knap_work *work)
{
    if (work->deadline_ns && bl_now_ns() >= work->deadline_ns) work->stopped = true;
    return bl_check_interrupt(work->ctx);
}

/* ------------------------------------------------------------------ rounds */

typedef struct search {
    bl_knap_work *work;
    const bl_knap *full;
    bl_knap_pool pool;        /* of the full table */
    double root, upper;       /* value of the plan known, v_base aside; INFINITY: none */
    double lower;             /* no plan is below it */
    double unit;              /* real value of a whole number in the last round */
    int turn;                 /* see turn_limit; never goes back */
    bool at_root;             /* the plan known is proven best before any round */
    bool proven;              /* the choice is the best; without a plan: there is none */
    uint16_t *choice, *trial; /* (n_full) */
} search;

static double value_of(const bl_knap *full, const uint16_t *choice)
{
    bl_knap_sum v = {0, 0};
    for (int i = 0; i < full->n; i++)
        for (uint32_t o = full->first[i]; o < full->first[i + 1]; o++)
            if (full->option[o] == choice[full->item[i]]) bl_knap_add(&v, full->v[o]);
    return bl_knap_total(v);
}

static void adopt(search *s)
{
    s->upper = value_of(s->full, s->trial);
    memcpy(s->choice, s->trial, (size_t)s->full->n_full * sizeof *s->choice);
}

/* Labels and branch and bound by turns, each turn allowed more: on some tables only one of them
 * ends.  Labels first, since they settle the order among equals. */
static uint64_t turn_limit(const search *s, int turn)
{
    static const uint64_t few[] = {1000000, 100000, 4000000, 0};
    static const uint64_t many[] = {300000, 100000, 4000000, 0};
    if (s->at_root) return 100000;
    if (s->work->label_limit) return turn == 0 ? s->work->label_limit : 0;
    return (s->full->k <= 2 ? few : many)[turn];
}

/* Searches what is left of a round. */
static bl_status round_search(search *s, const bl_knap *t, double target, const bl_knap_pool *pool,
                              bl_knap_end *end, double *bound)
{
    *bound = -INFINITY;
    memset(s->trial, 0xff, (size_t)t->n_full * sizeof *s->trial);
    if (t->n == 0) { /* fixing left one plan, and it fits */
        memcpy(s->trial, t->fixed, (size_t)t->n_full * sizeof *s->trial);
        *end = BL_KNAP_FOUND;
        return BL_OK;
    }
    for (;; s->turn++) {
        uint64_t limit = turn_limit(s, s->turn);
        if (s->turn % 2 == 0)
            BL_TRY(bl_knap_labels(s->work, t, target, pool, limit, end, s->trial));
        else
            BL_TRY(bl_knap_branch(s->work, t, target, pool, limit, end, s->trial, bound));
        if (*end != BL_KNAP_LIMIT || s->work->stopped || s->at_root) return BL_OK;
    }
}

static bl_status round_run(search *s, double target, bool last)
{
    bl_knap_work *work = s->work;
    bl_mark mark = bl_arena_mark(work->arena);
    bl_knap_pool pool = s->pool;
    bl_knap t;
    double whole = 0, bound = -INFINITY;
    bool empty = false;
    bl_knap_end end = BL_KNAP_EMPTY;
    work->rounds++;
    BL_TRY(bl_knap_reduce(work, s->full, target, &pool, &t, &whole, &empty));
    if (!empty && !work->stopped) BL_TRY(round_search(s, &t, whole, &pool, &end, &bound));
    s->unit = ldexp(1.0, -t.shift);
    if (end == BL_KNAP_FOUND) {
        adopt(s);
        s->proven = true;
    } else if (s->at_root) { /* only the order among equals is open, and not at any price */
        s->proven = true;
    } else if (end == BL_KNAP_EMPTY && !work->stopped) {
        s->lower = target;
        s->proven = last;
    } else if (isfinite(bound)) { /* stopped inside the tree */
        double below = ldexp(bound + bl_knap_total(t.v_base), -t.shift) - s->full->n * s->unit;
        s->lower = fmax(s->lower, fmin(below, target));
        if (s->trial[0] != UINT16_MAX && value_of(s->full, s->trial) < s->upper) adopt(s);
    }
    bl_arena_reset(work->arena, mark);
    return BL_OK;
}

static bl_status rounds(search *s)
{
    double top = s->upper, part = FIRST_ROUND;
    if (isinf(top)) {
        bl_knap_sum most = {0, 0};
        for (int i = 0; i < s->full->n; i++) {
            double hi = 0;
            for (uint32_t o = s->full->first[i]; o < s->full->first[i + 1]; o++)
                hi = fmax(hi, s->full->v[o]);
            bl_knap_add(&most, hi);
        }
        top = bl_knap_total(most) * (1 + 8 * BL_KNAP_EPS);
        part = FIRST_BLIND_ROUND;
    }
    double low = fmin(fmax(s->root, 0), top), reach = s->at_root ? top : (top - low) / part;
    while (!s->proven && !s->work->stopped) {
        bool last = low + reach >= top;
        BL_TRY(round_run(s, last ? top : low + reach, last));
        reach *= GROWTH;
        BL_TRY(bl_knap_pause(s->work));
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ a merged problem */

static void answer_fill(const search *s, const bl_knap_merged *g, bl_knap_answer *out)
{
    const bl_knap *full = s->full;
    bool plan = isfinite(s->upper);
    bl_knap_sum v = {0, 0};
    for (int i = 0; i < g->n && plan; i++) bl_knap_add(&v, g->v[g->first[i] + s->choice[i]]);
    out->value = plan ? bl_knap_total(v) : INFINITY;
    out->status = !plan ? BL_MCKP_INFEASIBLE : s->proven ? BL_MCKP_OPTIMAL : BL_MCKP_FEASIBLE;
    out->proof = s->at_root ? BL_MCKP_ROOT : s->proven ? BL_MCKP_SEARCH : BL_MCKP_LIMIT;
    double base = bl_knap_total(full->v_base), lower = s->lower;
    if (s->proven) lower = s->upper - full->n * s->unit;
    out->bound = base + lower - 4 * BL_KNAP_EPS * (fabs(base) + fabs(lower));
    if (s->proven && !plan) out->bound = INFINITY;
    if (plan) out->bound = fmin(out->bound, out->value);
    for (int m = 0; m < full->k && s->pool.n > 0; m++) {
        double lambda = s->pool.lambda[0][m] / full->grain[m];
        out->lambda[full->live[m]] = isfinite(lambda) ? lambda : 0; /* any are valid */
    }
}

bl_status bl_knap_solve(bl_knap_work *work, const bl_knap_merged *merged, bl_arena *arena,
                        bl_knap_answer *answer)
{
    bl_ctx *ctx = work->ctx;
    *answer = (bl_knap_answer){.value = INFINITY, .bound = INFINITY, .status = BL_MCKP_INFEASIBLE};
    BL_ALLOC_TRY(ctx, answer->choice = BL_NEW(arena, uint16_t, (size_t)merged->n));
    bl_mark mark = bl_arena_mark(work->arena); /* behind the choice, where both are one arena */
    bl_knap full;
    bool empty;
    BL_TRY(bl_knap_table(ctx, merged, work->arena, &full, &empty));
    if (empty) {
        bl_arena_reset(work->arena, mark);
        return BL_OK;
    }
    search s = {.work = work, .full = &full, .upper = INFINITY, .choice = answer->choice};
    s.at_root = full.n == 0;
    memcpy(s.choice, full.fixed, (size_t)full.n_full * sizeof *s.choice);
    if (s.at_root) { /* each item's first option, all at once */
        s.proven = true;
        s.upper = 0;
    } else {
        double lambda[BL_KNAP_K] = {0};
        uint16_t *pick = BL_NEW(work->arena, uint16_t, (size_t)full.n);
        s.trial = BL_NEW(work->arena, uint16_t, (size_t)full.n_full);
        if (!pick || !s.trial) return bl_pending(ctx);
        s.lower = s.root = bl_knap_dual(&full, lambda, &s.pool);
        BL_TRY(bl_knap_plan(work, &full, &s.pool, pick, &s.upper));
        for (int i = 0; i < full.n && isfinite(s.upper); i++)
            s.choice[full.item[i]] = full.option[full.first[i] + pick[i]];
        double blur = 64 * BL_KNAP_EPS * (fabs(s.upper) + fabs(s.root));
        s.at_root = s.upper - s.root <= fmax(blur, full.step - blur);
        BL_TRY(rounds(&s));
    }
    answer_fill(&s, merged, answer);
    bl_arena_reset(work->arena, mark);
    return BL_OK;
}

/* ------------------------------------------------------------------ the problem */

/* What the multipliers prove, over all options as the problem states them. */
static double root_bound(const bl_knap_merged *g, const double *lambda)
{
    bl_knap_sum sum = {0, 0}, size = {0, 0};
    for (int i = 0; i < g->n; i++) {
        double least = INFINITY, magnitude = 0;
        for (uint32_t o = g->first[i]; o < g->first[i + 1]; o++) {
            double r = g->v[o], a = fabs(r);
            for (int m = 0; m < g->n_budgets; m++) {
                r += lambda[m] * g->cost[m][o];
                a += fabs(lambda[m] * g->cost[m][o]);
            }
            if (r >= least) continue;
            least = r;
            magnitude = a;
        }
        bl_knap_add(&sum, least);
        bl_knap_add(&size, magnitude);
    }
    for (int m = 0; m < g->n_budgets; m++) {
        double paid = lambda[m] * (g->limit[m] + 1e-12 * fabs(g->limit[m]));
        bl_knap_add(&sum, -paid);
        bl_knap_add(&size, fabs(paid));
    }
    return bl_knap_total(sum) - 16 * BL_KNAP_EPS * bl_knap_total(size);
}

static void result_totals(const bl_mckp *p, bl_mckp_result *r)
{
    bl_knap_sum v = {0, 0}, c[BL_KNAP_K] = {{0, 0}};
    for (int u = 0; u < p->n_units; u++) {
        bl_knap_add(&v, p->units[u].objective[r->choice[u]]);
        for (int m = 0; m < p->n_budgets; m++)
            bl_knap_add(&c[m], p->units[u].cost[m][r->choice[u]]);
    }
    r->objective = bl_knap_total(v);
    for (int m = 0; m < p->n_budgets; m++) r->costs[m] = bl_knap_total(c[m]);
}

static void result_excess(const bl_mckp *p, bl_mckp_result *r)
{
    r->excess = -INFINITY;
    for (int m = 0; m < p->n_budgets; m++) {
        double scale = p->limits[m] != 0 ? fabs(p->limits[m]) : 1;
        double over = (r->costs[m] - p->limits[m]) / scale;
        if (over <= r->excess) continue;
        r->excess = over;
        r->binding = m;
    }
}

static bl_status solve_merged(bl_knap_work *work, const bl_mckp *p, const bl_knap_merged *merged,
                              bl_arena *arena, bl_mckp_result *r)
{
    bl_knap_answer answer;
    BL_TRY(bl_knap_solve(work, merged, arena, &answer));
    r->status = answer.status;
    r->proof = answer.proof;
    r->bound = answer.bound;
    memcpy(r->multipliers, answer.lambda, sizeof r->multipliers);
    r->root_bound = root_bound(merged, r->multipliers);
    if (r->status == BL_MCKP_INFEASIBLE) {
        double excess = 0;
        BL_TRY(bl_knap_near(work, merged, answer.choice, &excess, &r->excess_bound));
        if (excess <= 1e-12) r->status = BL_MCKP_FEASIBLE; /* possible only where a limit was met */
    }
    bl_knap_spread(merged, answer.choice, r->choice);
    result_totals(p, r);
    if (r->status == BL_MCKP_INFEASIBLE) {
        result_excess(p, r);
        return BL_OK;
    }
    r->bound = fmin(fmax(r->bound, r->root_bound), r->objective);
    if (r->objective != r->bound) r->gap = (r->objective - r->bound) / fabs(r->objective);
    return BL_OK;
}

bl_status bl_mckp_solve(bl_ctx *ctx, const bl_mckp *problem, const bl_mckp_limits *limits,
                        bl_arena *arena, bl_mckp_result *result)
{
    uint64_t start = bl_now_ns();
    bl_mckp_result r = {.binding = -1};
    bl_knap_work work = {.ctx = ctx};
    if (limits) {
        work.label_limit = BL_MIN(limits->labels, (uint64_t)1 << 31);
        work.node_limit = limits->nodes;
        if (limits->seconds > 0)
            work.deadline_ns = start + (uint64_t)(fmin(limits->seconds, 1e9) * 1e9);
    }
    BL_ALLOC_TRY(ctx, r.choice = BL_NEW(arena, int, (size_t)BL_MAX(problem->n_units, 1)));
    BL_ALLOC_TRY(ctx, work.arena = bl_arena_new(ctx, "allocation search"));
    bl_knap_merged merged;
    bl_status status = bl_knap_merge(ctx, "allocation problem", problem, work.arena, &merged);
    if (status == BL_OK) status = solve_merged(&work, problem, &merged, work.arena, &r);
    bl_arena_free(work.arena);
    if (status != BL_OK) return status;
    r.labels = work.labels;
    r.nodes = work.nodes;
    r.rounds = work.rounds;
    r.seconds = (double)(bl_now_ns() - start) * 1e-9;
    *result = r;
    return BL_OK;
}
