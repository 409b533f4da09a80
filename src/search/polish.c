/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A plan of a sensitivity table looked at again.  The table adds what every unit does by itself; in the plan their
 * noises meet.  So the oracle is asked about the plan with one unit a step narrower or wider, for all units that the
 * limit of answers reaches, the exact solver puts those steps together within the budgets, and the sum is taken if the
 * oracle finds it better.  Ours, in none of the papers; the table is the start, a local model replaces it.
 */
#include "search/policy.h"

#include <math.h>
#include <string.h>

enum { BACK_OFF = 3 };          /* smaller sums that are tried where the whole one is no better */

typedef struct polishing {
    bl_ctx *ctx;
    const bl_search_input *in;
    bl_arena *arena;
    bl_reward reward;
    int n;                      /* units */
    int *choice, *trial, *order;
    int (*step)[2];             /* by unit: candidates a step cheaper and a step dearer, -1: none asked */
    double (*more)[2];          /* what they add to the plan's harm */
    double harm, start;         /* 10^-reward: a noise to signal ratio, or a KL; of the plan now, and at first */
    int64_t answers, taken;
} polishing;

static double table_noise(const polishing *p, int u, int c)
{
    return p->in->sens && p->in->sens->cell[u] ? p->in->sens->cell[u][c].objective : 0;
}

/* Of all budgets together, as a share. */
static double price(const polishing *p, int u, int c)
{
    double sum = 0;
    for (int b = 0; b < p->in->n_budgets; b++)
        sum += p->in->prices->column[p->in->budgets[b].metric][u][c] / p->in->budgets[b].limit;
    return sum;
}

/* The candidate whose price is next to the choice's on one side; of several the least harmful by the table. */
static int next_to(const polishing *p, int u, int side)
{
    int now = p->choice[u], best = -1;
    double here = price(p, u, now), at = 0;
    for (int c = 0; c < p->in->menu->units[u].n_candidates; c++) {
        double there = price(p, u, c), away = side ? there - here : here - there;
        if (!(away > 1e-12 * here)) continue;
        if (side && !(table_noise(p, u, c) < table_noise(p, u, now))) continue; /* pays for nothing */
        if (best >= 0 && (away > at || (away == at && table_noise(p, u, c) >= table_noise(p, u, best)))) continue;
        best = c;
        at = away;
    }
    return best;
}

static bl_status ask(polishing *p, const int *choice, double *harm)
{
    double reward;
    bl_score score;
    BL_TRY(bl_check_interrupt(p->ctx));
    BL_TRY(bl_reward_ask(&p->reward, choice, &reward, &score));
    *harm = pow(10, -reward);
    p->answers++;
    bl_progress(p->ctx, "polish", (uint64_t)p->answers, (uint64_t)p->in->polish);
    return BL_OK;
}

/* Units that the table calls noisy first: a limit of answers may not reach all. */
static void sort_units(polishing *p)
{
    for (int i = 0; i < p->n; i++) {
        double mine = table_noise(p, i, p->choice[i]);
        int at = i;
        for (; at > 0 && table_noise(p, p->order[at - 1], p->choice[p->order[at - 1]]) < mine; at--) p->order[at] = p->order[at - 1];
        p->order[at] = i;
    }
}

static bl_status measure_steps(polishing *p, bool *any)
{
    sort_units(p);
    *any = false;
    for (int u = 0; u < p->n; u++) p->step[u][0] = p->step[u][1] = -1;
    memcpy(p->trial, p->choice, (size_t)p->n * sizeof *p->trial);
    for (int i = 0; i < p->n; i++)
        for (int side = 0; side < 2; side++) {
            int u = p->order[i], c = next_to(p, u, side);
            double harm;
            if (c < 0 || p->answers + 1 >= p->in->polish) continue; /* one is kept for the sum */
            p->trial[u] = c;
            BL_TRY(ask(p, p->trial, &harm));
            p->trial[u] = p->choice[u];
            p->step[u][side] = c;
            p->more[u][side] = harm - p->harm;
            *any = true;
        }
    return BL_OK;
}

static bl_status set_unit(const polishing *p, bl_arena *a, bl_mckp *problem, int u, double toll)
{
    static const char *const name[] = { "stay", "cheaper", "dearer" };
    const int candidate[] = { p->choice[u], p->step[u][0], p->step[u][1] };
    int n = 1 + (candidate[1] >= 0) + (candidate[2] >= 0), k = 0;
    BL_TRY(bl_mckp_unit_new(a, problem, u, p->in->menu->units[u].name, n));
    for (int o = 0; o < 3; o++) {
        if (candidate[o] < 0) continue;
        problem->units[u].names[k] = name[o];
        problem->units[u].objective[k] = o ? p->more[u][o - 1] + toll : 0;
        for (int b = 0; b < p->in->n_budgets; b++)
            problem->units[u].cost[b][k] = p->in->prices->column[p->in->budgets[b].metric][u][candidate[o]];
        k++;
    }
    return BL_OK;
}

/* The best sum of steps within the budgets, each move at a toll, into trial; moves: how many differ. */
static bl_status put_together(polishing *p, double toll, int *moves, double *gain)
{
    bl_mckp_limits limits = { .nodes = 200000 };
    bl_mckp_result r;
    bl_mckp *problem = bl_mckp_new(p->arena, p->n, p->in->n_budgets);
    BL_ALLOC_TRY(p->ctx, problem);
    for (int b = 0; b < p->in->n_budgets; b++) {
        double now = 0;         /* exact latency may keep a budget that separable prices do not */
        for (int u = 0; u < p->n; u++) now += p->in->prices->column[p->in->budgets[b].metric][u][p->choice[u]];
        problem->budget_names[b] = bl_metric_name(p->in->budgets[b].metric);
        problem->limits[b] = fmax(now, p->in->budgets[b].limit);
    }
    for (int u = 0; u < p->n; u++) BL_TRY(set_unit(p, p->arena, problem, u, toll));
    BL_TRY(bl_mckp_solve(p->ctx, problem, &limits, p->arena, &r));
    *moves = 0;
    *gain = 0;
    for (int u = 0; u < p->n; u++) {
        int side = -1;          /* options are to stay, then the steps that were asked about */
        for (int i = 0, k = r.choice[u]; i < 2 && k > 0; i++)
            if (p->step[u][i] >= 0 && --k == 0) side = i;
        p->trial[u] = side < 0 ? p->choice[u] : p->step[u][side];
        *moves += side >= 0;
        if (side >= 0) *gain -= p->more[u][side];
    }
    return BL_OK;
}

/* The sum of steps, or a smaller one, if it is better than the plan. */
static bl_status take_steps(polishing *p, bool *better)
{
    double toll = 0, gain = 0, harm;
    int moves = 0, before = 0;
    *better = false;
    for (int i = 0; i <= BACK_OFF && !*better && p->answers < p->in->polish; i++) {
        BL_TRY(put_together(p, toll, &moves, &gain));
        if (!moves) break;
        toll = fmax(2 * toll, gain / moves / 2);
        if (moves == before) continue;
        before = moves;
        BL_TRY(ask(p, p->trial, &harm));
        if (!(harm < p->harm * (1 - 1e-9))) continue;
        memcpy(p->choice, p->trial, (size_t)p->n * sizeof *p->choice);
        p->harm = harm;
        p->taken += moves;
        *better = true;
    }
    return BL_OK;
}

static bl_status run(polishing *p)
{
    bool any = true;
    BL_TRY(ask(p, p->choice, &p->harm));
    p->start = p->harm;
    while (any && p->answers + 1 < p->in->polish) {
        BL_TRY(measure_steps(p, &any));
        if (any) BL_TRY(take_steps(p, &any));
    }
    return BL_OK;
}

bl_status bl_polish_choice(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, int *choice, json_t **record)
{
    bl_search_input noise = *in;
    polishing p = { .ctx = ctx, .in = in, .arena = arena, .n = in->menu->n_units, .choice = choice };
    size_t n = (size_t)BL_MAX(p.n, 1);
    if (!noise.reward || !strcmp(noise.reward, "auto")) noise.reward = "sqnr";
    if (strcmp(noise.reward, "sqnr") && strcmp(noise.reward, "kl") && strcmp(noise.reward, "cross-entropy"))
        return bl_fail(ctx, BL_USAGE, noise.reward, "give reward = sqnr, kl or cross-entropy", "this reward does not add up over units, polish needs one that does");
    BL_TRY(bl_reward_open(ctx, &noise, arena, &p.reward));
    p.reward.in = in;
    p.trial = BL_NEW(arena, int, n);
    p.order = BL_NEW(arena, int, n);
    p.step = bl_alloc(arena, n, sizeof *p.step);
    p.more = bl_alloc(arena, n, sizeof *p.more);
    if (!p.trial || !p.order || !p.step || !p.more) return bl_pending(ctx);
    BL_TRY(run(&p));
    *record = json_pack("{s:s, s:I, s:I, s:o, s:o}", "reward", bl_reward_name(p.reward.kind), "answers", (json_int_t)p.answers, "moves",
                        (json_int_t)p.taken, "reward_before", bl_json_real(-log10(p.start)), "reward_after", bl_json_real(-log10(p.harm)));
    return BL_OK;
}
