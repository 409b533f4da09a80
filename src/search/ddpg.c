/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HAQ's search (arXiv 1811.08886; details of its repository): an agent goes through the layers from front to back,
 * two steps a layer, weights and then values, sees ten numbers and answers with one in [0, 1] that stands for a
 * width.  The budget wall narrows what it asked for, the oracle says what the policy is worth, and every step of
 * the episode is rewarded with that.  The best policy of all episodes counts.
 *
 * Every answer of the oracle lies in trials.jsonl, and every random number comes from the seed: a search that was
 * killed is given again, asks for what is not known yet and ends with the same policy.
 *
 * `random` draws every action, with the same wall and as many episodes: what the agent has to be better than.
 *
 * Not HAQ's, and only where asked for (polish): afterwards neighbours of the best policy, with one to three other widths,
 * are drawn and asked about where the budgets hold; a better one takes its place.
 */
#include "search/agent.h"
#include "search/policy.h"

#include <math.h>
#include <string.h>

enum { STATES = 10, WARM_UP = 21, EPISODES = 600, REPLAY_A_LAYER = 128 };
enum { AT_WHICH = 8, AT_LAST = 9 };

typedef struct hunt {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_policy policy;
    bl_reward reward;
    bl_agent *agent;            /* NULL: actions are drawn */
    int64_t episodes, episode;
    float (*seen)[STATES];      /* by layer: what the agent sees of it, scaled; the last two are set at each step */
    float (*state)[STATES];     /* of this episode, by step */
    float *action;
    bl_layer_pick *steps, *best;
    int *choice;
    double best_reward;
    bl_score best_score;
    int64_t best_episode;
    double agent_reward;        /* the best before polishing */
    int64_t neighbours, taken;  /* asked about; better ones among them */
    bool any, feasible;
    int binding;
    json_t *rewards;
    bl_rng rng;
} hunt;

/* ---- what the agent sees */

static int64_t attr_first(const bl_node *n, const char *name, int64_t otherwise)
{
    for (int i = 0; i < n->n_attr; i++)
        if (n->attr[i].type == BL_ATTR_INTS && n->attr[i].n > 0 && !strcmp(n->attr[i].name, name)) return n->attr[i].ints[0];
    return otherwise;
}

/* (k, c_in, c_out, kernel, stride, positions of the input, parameters, depthwise) of a unit's largest layer. */
static bl_status look(hunt *h, int l, float *to)
{
    const bl_graph *g = h->policy.in->graph;
    const bl_unit *u = &h->policy.in->menu->units[h->policy.unit[l]];
    int node = u->layers[0];
    for (int i = 1; i < u->n_layers; i++)
        if (bl_tensor_count(&g->values[bl_layer_weight(g, u->layers[i])].t) > bl_tensor_count(&g->values[bl_layer_weight(g, node)].t))
            node = u->layers[i];
    bl_mac_shape s;
    bool layer;
    BL_TRY(bl_mac_shape_of(h->ctx, g, node, &s, &layer));
    const bl_tensor *w = &g->values[bl_layer_weight(g, node)].t, *x = &g->values[g->nodes[node].in[0]].t;
    double positions = 1;
    for (int d = 2; d < x->rank; d++) positions *= (double)x->dim[d];
    to[0] = (float)l;
    to[1] = (float)(w->rank < 3 ? s.k : bl_weight_axis(g, node) == 0 ? w->dim[1] * s.groups : w->dim[0]);
    to[2] = (float)(s.n * s.groups);
    to[3] = (float)(w->rank > 2 ? w->dim[2] : 1);
    to[4] = (float)(w->rank > 2 ? attr_first(&g->nodes[node], "strides", 1) : 0);
    to[5] = (float)positions;
    to[6] = (float)s.weights;
    to[7] = s.depthwise;
    return BL_OK;
}

/* Every number between 0 and 1 over the layers; one that is the same for all stays as it is. */
static bl_status look_at_all(hunt *h)
{
    for (int l = 0; l < h->policy.n; l++) BL_TRY(look(h, l, h->seen[l]));
    for (int k = 0; k < AT_WHICH; k++) {
        float lo = h->seen[0][k], hi = lo;
        for (int l = 1; l < h->policy.n; l++) {
            lo = fminf(lo, h->seen[l][k]);
            hi = fmaxf(hi, h->seen[l][k]);
        }
        for (int l = 0; l < h->policy.n && hi > lo; l++) h->seen[l][k] = (h->seen[l][k] - lo) / (hi - lo);
    }
    return BL_OK;
}

/* ---- one episode */

/* b = round(b_min - 1/2 + action (b_max - b_min + 1)), for widths that follow each other; else over their places. */
static int place_of(const int *bits, int n, float action)
{
    double least = bits[n - 1] - bits[0] == n - 1 ? bits[0] : 0;
    double b = nearbyint(least - 0.5 + (double)action * n) - least;
    return (int)fmin(fmax(b, 0), n - 1);
}

static float decide(hunt *h, const float *state)
{
    if (!h->agent || h->episode < WARM_UP) return (float)bl_rng_unit(&h->rng);
    double mean = bl_agent_act(h->agent, state), sigma = 0.5 * pow(0.99, (double)(h->episode - (WARM_UP - 1)));
    for (;;) {                  /* cut to [0, 1]: the mean lies within, so at least a quarter of the draws do */
        double x = mean + sigma * bl_rng_normal(&h->rng);
        if (x >= 0 && x <= 1) return (float)x;
    }
}

static void walk_layers(hunt *h)
{
    const bl_policy *p = &h->policy;
    float last = 1;
    for (int l = 0; l < p->n; l++)
        for (int values = 0; values < 2; values++) {
            int k = 2 * l + values, n = values ? p->wall.n_a[l] : p->wall.n_w[l];
            const int *bits = values ? p->a_bits[l] : p->w_bits[l];
            memcpy(h->state[k], h->seen[l], sizeof *h->state);
            h->state[k][AT_WHICH] = values ? 0 : 1;
            h->state[k][AT_LAST] = last;
            h->action[k] = decide(h, h->state[k]);
            int at = place_of(bits, n, h->action[k]);
            *(values ? &h->steps[l].a : &h->steps[l].w) = at;
            last = (float)bits[at] / (float)(values ? p->a_most : p->w_most);
        }
}

static void learn(hunt *h, double reward)
{
    int steps = 2 * h->policy.n;
    for (int k = 0; k < steps; k++)
        bl_agent_remember(h->agent, h->state[k], h->action[k], (float)reward, k + 1 == steps, k + 1 < steps ? h->state[k + 1] : NULL);
    for (int k = 0; k < steps && h->episode >= WARM_UP; k++) bl_agent_learn(h->agent);
}

static bl_status play(hunt *h)
{
    double reward;
    bl_score score;
    int binding;
    h->rng = bl_rng_make(h->ctx->options.seed, "episode", (uint64_t)h->episode);
    walk_layers(h);
    bool holds = bl_wall_enforce(&h->policy.wall, h->steps, NULL, &binding);
    if (!h->any) {
        h->feasible = holds;
        h->binding = binding;
    }
    bl_policy_choice(&h->policy, h->steps, h->choice);
    BL_TRY(bl_reward_ask(&h->reward, h->choice, &reward, &score));
    json_array_append_new(h->rewards, bl_json_real(reward));
    if (!h->any || reward > h->best_reward) {
        memcpy(h->best, h->steps, (size_t)h->policy.n * sizeof *h->best);
        h->best_reward = reward;
        h->best_score = score;
        h->best_episode = h->episode;
    }
    h->any = true;
    if (h->agent && !h->policy.in->shard_of) learn(h, reward);
    return BL_OK;
}

/* ---- neighbours */

/* One to three widths of the best policy changed, half of them by one place; false: beyond the budgets, or the same policy. */
static bool draw_neighbour(hunt *h)
{
    const bl_policy *p = &h->policy;
    int n = 1 + (int)bl_rng_below(&h->rng, 3), binding;
    memcpy(h->steps, h->best, (size_t)p->n * sizeof *h->steps);
    for (int i = 0; i < n; i++) {
        int l = (int)bl_rng_below(&h->rng, (uint64_t)p->n), values = (int)bl_rng_below(&h->rng, 2);
        int *at = values ? &h->steps[l].a : &h->steps[l].w, was = values ? h->best[l].a : h->best[l].w;
        int places = values ? p->wall.n_a[l] : p->wall.n_w[l], to = was + (bl_rng_below(&h->rng, 2) ? 1 : -1);
        if (bl_rng_below(&h->rng, 2)) to = (int)bl_rng_below(&h->rng, (uint64_t)places);
        if (to >= 0 && to < places) *at = to;
    }
    return memcmp(h->steps, h->best, (size_t)p->n * sizeof *h->steps) && bl_wall_holds(&p->wall, h->steps, &binding);
}

static bl_status polish(hunt *h)
{
    enum { TRIES = 50 };        /* draws for an answer: most are beyond a tight budget */
    double reward;
    bl_score score;
    h->agent_reward = h->best_reward;
    h->rng = bl_rng_make(h->ctx->options.seed, "polish", 0);
    for (int64_t i = 0; i < h->policy.in->polish * TRIES && h->neighbours < h->policy.in->polish; i++) {
        if (!draw_neighbour(h)) continue;
        BL_TRY(bl_check_interrupt(h->ctx));
        bl_policy_choice(&h->policy, h->steps, h->choice);
        BL_TRY(bl_reward_ask(&h->reward, h->choice, &reward, &score));
        h->neighbours++;
        if (!(reward > h->best_reward)) continue;
        memcpy(h->best, h->steps, (size_t)h->policy.n * sizeof *h->best);
        h->best_reward = reward;
        h->best_score = score;
        h->taken++;
    }
    return BL_OK;
}

/* ---- the rows */

static bl_status open_hunt(hunt *h, const bl_search_input *in, bool agent)
{
    bl_agent_options o = bl_agent_options_default();
    if (!in->n_budgets) return bl_search_unbounded(h->ctx);
    BL_TRY(bl_policy_make(h->ctx, in, h->arena, &h->policy));
    size_t n = (size_t)h->policy.n;
    h->seen = bl_alloc(h->arena, n, sizeof *h->seen);
    h->state = bl_alloc(h->arena, 2 * n, sizeof *h->state);
    h->action = BL_NEW(h->arena, float, 2 * n);
    h->steps = BL_NEW(h->arena, bl_layer_pick, n);
    h->best = BL_NEW(h->arena, bl_layer_pick, n);
    h->choice = BL_NEW(h->arena, int, (size_t)in->menu->n_units);
    if (!h->seen || !h->state || !h->action || !h->steps || !h->best || !h->choice) return bl_pending(h->ctx);
    BL_TRY(look_at_all(h));
    BL_TRY(bl_reward_open(h->ctx, in, h->arena, &h->reward));
    h->episodes = in->episodes > 0 ? in->episodes : EPISODES;
    if (!agent) return BL_OK;
    o.states = STATES;
    o.replay = (int64_t)REPLAY_A_LAYER * h->policy.n;
    o.seed = h->ctx->options.seed;
    if (in->agent && !strcmp(in->agent, "paper")) o.hidden1 = 400;
    else if (in->agent && strcmp(in->agent, "code"))
        return bl_fail(h->ctx, BL_USAGE, in->agent, "give code or paper", "no agent of that name");
    return bl_agent_new(h->ctx, h->arena, &o, &h->agent);
}

static json_t *solver_json(const hunt *h, const char *method)
{
    json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:o}", "method", method, "reward", bl_reward_name(h->reward.kind), "episodes",
                          (json_int_t)h->episodes, "best_episode", (json_int_t)h->best_episode, "best_reward", bl_json_real(h->best_reward));
    if (h->reward.why) json_object_set_new(o, "why", json_string(h->reward.why));
    if (h->policy.in->polish > 0)
        json_object_set_new(o, "polish", json_pack("{s:I, s:I, s:o}", "answers", (json_int_t)h->neighbours, "better", (json_int_t)h->taken,
                                                  "reward_before", bl_json_real(h->agent_reward)));
    json_object_set(o, "rewards", h->rewards);
    return o;
}

static bl_status search(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, const char *method, bool agent, bl_search_result *out)
{
    hunt h = { .ctx = ctx, .arena = arena, .rewards = json_array(), .binding = -1, .best_reward = NAN };
    bl_status s = open_hunt(&h, in, agent);
    if (in->shard_of && agent) h.episodes = BL_MIN(h.episodes, (int64_t)WARM_UP); /* what follows depends on the answers */
    for (h.episode = 0; s == BL_OK && h.episode < h.episodes; h.episode++) {
        if (in->shard_of && h.episode % in->shard_of != in->shard_at - 1) continue;
        s = bl_check_interrupt(ctx);
        if (s == BL_OK) s = play(&h);
        bl_progress(ctx, "search", (uint64_t)h.episode + 1, (uint64_t)h.episodes);
    }
    if (s == BL_OK && in->polish > 0 && h.feasible && !in->shard_of) s = polish(&h); /* which depends on the answers */
    if (s == BL_OK) {       /* a part may hold no episode at all */
        bl_policy_choice(&h.policy, h.best, h.choice);
        *out = (bl_search_result){ .choice = h.choice, .feasible = h.feasible, .binding = h.feasible ? -1 : h.binding, .score = h.best_score,
                                   .objective = bl_choice_objective(in->menu, in->sens, h.choice), .solver = solver_json(&h, method) };
    }
    json_decref(h.rewards);
    return s;
}

bl_status bl_search_ddpg(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    return search(ctx, in, arena, "ddpg", true, out);
}

bl_status bl_search_random(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_search_result *out)
{
    return search(ctx, in, arena, "random", false, out);
}
