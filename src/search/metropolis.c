/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * AMED (arXiv 2205.15437, order and constants of its repository): a Markov walk over whole policies.  Each layer keeps a
 * score for each of its widths; after every step the widths at hand are credited with how the policy did,
 * log10(zeta_ref / zeta), zeta = cross-entropy + latency beside int8; then every layer draws a width from the
 * softmax of its scores and takes it by the rule of Metropolis and Hastings.  The best policy is the one with
 * the most accuracy for its latency.  Post-training: the network is not taught between the steps.
 *
 * Departures: zeta_ref's latency is 1 (the repository mixes absolute and relative figures), scores forget half at
 * each step (with its 1 every width that is not at hand would be forgotten at once).  Where the float network was
 * taught with these very samples, KL from its answers takes the place of the cross-entropy.
 */
#include "search/policy.h"

#include <math.h>
#include <string.h>

enum { STEPS = 300, START_BITS = 4 };
#define FORGET 0.5
#define REFERENCE_LOSS 2.0
#define CLOSE_LATENCY 0.05      /* of int8's: a policy so close may win by accuracy alone */
#define WORTH_POINTS 0.005

typedef struct chain {
    bl_ctx *ctx;
    const bl_search_input *in;
    bl_arena *arena;
    bl_reward reward;           /* says whether the loss is cross-entropy or KL */
    bl_metric cost;
    double int8;                /* of that cost */
    double **score;             /* by unit and candidate; NULL: no choice */
    int *choice, *best;
    double best_right, best_cost, best_over;
    bool any, best_fits;
    int64_t steps, best_step, taken;
    int binding;
    json_t *trace;
} chain;

static int start_of(const bl_unit *u)
{
    return u->n_layers ? bl_uniform_candidate(u, START_BITS, START_BITS) : 0;
}

static bl_status open_chain(chain *c)
{
    const bl_menu *m = c->in->menu;
    double total[BL_N_METRIC];
    bl_rng r = bl_rng_make(c->ctx->options.seed, "metropolis", 0);
    c->score = BL_NEW(c->arena, double *, (size_t)m->n_units);
    c->choice = BL_NEW(c->arena, int, (size_t)m->n_units);
    c->best = BL_NEW(c->arena, int, (size_t)m->n_units);
    if (!c->score || !c->choice || !c->best) return bl_pending(c->ctx);
    for (int u = 0; u < m->n_units; u++) {
        int n = m->units[u].n_candidates;
        c->choice[u] = start_of(&m->units[u]);
        if (!m->units[u].n_layers || n < 2) continue;
        c->score[u] = BL_NEW(c->arena, double, (size_t)n);
        BL_ALLOC_TRY(c->ctx, c->score[u]);
        for (int k = 0; k < n; k++) c->score[u][k] = bl_rng_unit(&r);
    }
    c->cost = bl_search_cost(c->in);
    c->steps = c->in->episodes > 0 ? c->in->episodes : STEPS;
    BL_TRY(bl_price_int8(c->ctx, c->in->graph, m, c->in->cost, total));
    c->int8 = total[c->cost];
    return bl_reward_open(c->ctx, c->in, c->arena, &c->reward);
}

static bl_status price(chain *c, double total[BL_N_METRIC])
{
    const bl_menu *m = c->in->menu;
    bl_mark mark = bl_arena_mark(c->arena);
    bl_candidate *k = BL_NEW(c->arena, bl_candidate, (size_t)m->n_units);
    BL_ALLOC_TRY(c->ctx, k);
    for (int u = 0; u < m->n_units; u++) k[u] = m->units[u].candidates[c->choice[u]];
    bl_status s = bl_price_exact(c->ctx, c->in->graph, m, c->in->cost, k, total);
    bl_arena_reset(c->arena, mark);
    return s;
}

/* How far the budgets are exceeded: the largest share. */
static bl_status exceeds(chain *c, const double total[BL_N_METRIC], double *most, int *binding)
{
    *most = 0;
    *binding = -1;
    for (int b = 0; b < c->in->n_budgets; b++) {
        double cost = total[c->in->budgets[b].metric], over = (cost - c->in->budgets[b].limit) / c->in->budgets[b].limit;
        if (isnan(cost))
            return bl_fail(c->ctx, BL_USAGE, bl_metric_name(c->in->budgets[b].metric), "give a --target that does (`bitlathe list targets`)",
                           "the target \"%s\" does not price it", c->in->cost->target);
        if (over <= 1e-12 || over <= *most) continue;
        *most = over;
        *binding = b;
    }
    return BL_OK;
}

/* Most accuracy for its latency; or clearly more accuracy at about the latency.  Budgets come first. */
static bool better(const chain *c, double right, double cost, double over)
{
    if (!c->any) return true;
    if (over > 0 || !c->best_fits) return over < c->best_over;
    return right / cost > c->best_right / c->best_cost || (right > c->best_right + WORTH_POINTS && cost <= c->best_cost + CLOSE_LATENCY);
}

static void credit(chain *c, double by)
{
    for (int u = 0; u < c->in->menu->n_units; u++)
        for (int k = 0; c->score[u] && k < c->in->menu->units[u].n_candidates; k++)
            c->score[u][k] = (1 - FORGET) * c->score[u][k] + (k == c->choice[u] ? FORGET * by : 0);
}

/* A width from the softmax of the scores, taken or not. */
static void move_layer(chain *c, bl_rng *r, int u)
{
    const double *s = c->score[u];
    int n = c->in->menu->units[u].n_candidates, to = 0;
    double sum = 0, at;
    for (int k = 0; k < n; k++) sum += exp(s[k]);
    at = bl_rng_unit(r) * sum;
    while (to < n - 1 && (at -= exp(s[to])) >= 0) to++;
    double ratio = exp(s[to] - s[c->choice[u]]);
    if (ratio < 1 && ratio <= bl_rng_unit(r)) return;
    c->taken += to != c->choice[u];
    c->choice[u] = to;
}

static bl_status step(chain *c, int64_t i)
{
    double total[BL_N_METRIC], over, unused;
    int binding;
    bl_score s;
    bl_rng r = bl_rng_make(c->ctx->options.seed, "metropolis step", (uint64_t)i);
    BL_TRY(price(c, total));
    BL_TRY(exceeds(c, total, &over, &binding));
    BL_TRY(bl_reward_ask(&c->reward, c->choice, &unused, &s));
    double loss = c->reward.kind == BL_REWARD_ACCURACY || c->reward.kind == BL_REWARD_CROSS_ENTROPY ? s.cross_entropy : s.kl;
    double right = isnan(s.top1) ? s.agreement : s.top1, cost = total[c->cost] / c->int8;
    double zeta = loss + cost, by = log10((REFERENCE_LOSS + 1) / fmax(zeta, 1e-9));
    json_array_append_new(c->trace, json_pack("{s:f, s:f, s:f}", "zeta", zeta, "right", right, "cost", cost));
    if (better(c, right, cost, over)) {
        memcpy(c->best, c->choice, (size_t)c->in->menu->n_units * sizeof *c->best);
        c->best_right = right;
        c->best_cost = cost;
        c->best_over = over;
        c->best_fits = over <= 0;
        c->best_step = i;
        c->binding = binding;
        c->any = true;
    }
    credit(c, by);
    for (int u = 0; u < c->in->menu->n_units; u++)
        if (c->score[u]) move_layer(c, &r, u);
    return BL_OK;
}

bl_status bl_search_metropolis(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    chain c = { .ctx = ctx, .in = in, .arena = arena, .trace = json_array(), .binding = -1 };
    if (in->reward && !strcmp(in->reward, "table")) {
        json_decref(c.trace);
        return bl_fail(ctx, BL_USAGE, "reward", "give another reward", "a walk by accuracy and latency needs the oracle");
    }
    bl_status s = open_chain(&c);
    if (in->shard_of) c.steps = in->shard_at == 1; /* each step depends on the one before: nothing to share out */
    for (int64_t i = 0; s == BL_OK && i < c.steps; i++) {
        s = bl_check_interrupt(ctx);
        if (s == BL_OK) s = step(&c, i);
        bl_progress(ctx, "search", (uint64_t)i + 1, (uint64_t)c.steps);
    }
    if (s == BL_OK) {
        *out = (bl_search_result){ .choice = c.best, .feasible = c.best_fits, .binding = c.best_fits ? -1 : c.binding,
                                   .objective = bl_choice_objective(in->menu, in->sens, c.best) };
        out->solver = json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:f, s:f, s:O}", "method", "metropolis", "loss",
                                c.reward.kind == BL_REWARD_ACCURACY || c.reward.kind == BL_REWARD_CROSS_ENTROPY ? "cross-entropy" : "kl", "cost",
                                bl_metric_name(c.cost), "steps", (json_int_t)c.steps, "best_step", (json_int_t)c.best_step, "moves",
                                (json_int_t)c.taken, "right", c.best_right, "cost_of_int8", c.best_cost, "trace", c.trace);
        if (c.reward.why) json_object_set_new(out->solver, "why", json_string(c.reward.why));
    }
    json_decref(c.trace);
    return s;
}
