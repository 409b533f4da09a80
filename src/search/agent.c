/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Deep deterministic policy gradient (arXiv 1509.02971) as HAQ uses it (arXiv 1811.08886, sizes of its repository):
 * an actor state -> action in [0, 1] and a critic (state, action) -> value, both with two hidden layers, slow
 * copies of both, a ring of transitions, Adam; rewards are taken beside their moving average.  Float32,
 * products by the float walk's library, sums over a batch in one order: the same seed gives the same numbers on
 * one machine.
 */
#include "search/agent.h"

#include "graph/graph.h"

#include <math.h>
#include <string.h>

/* Three layers with one output; parameters in one block: w1 [in][h1], b1, (a second b1 where two layers are added:
 * state and action), w2 [h1][h2], b2, w3 [h2], b3. */
typedef struct net {
    int in, h1, h2;
    int split;                  /* inputs of the second of two first layers; 0: one first layer */
    size_t n;
    float *w, *g, *m, *v;       /* parameters, gradients, Adam's moments */
} net;

/* What one pass leaves behind; n rows. */
typedef struct pass { float *x, *a1, *a2, *y, *d1, *d2, *dx; } pass;

struct bl_agent {
    bl_agent_options o;
    net actor, critic, slow_actor, slow_critic;
    pass actor_pass, critic_pass;
    float *one, *target, *dy;   /* per row of a batch */
    bl_rng rng;
    int64_t stored, learned;
    float *state, *next, *action, *reward;
    bool *last;
    bool have_baseline;
    double baseline;
};

bl_agent_options bl_agent_options_default(void)
{
    return (bl_agent_options){ .hidden1 = 300, .hidden2 = 300, .batch = 64, .tau = 0.01f, .actor_rate = 1e-4f, .critic_rate = 1e-3f,
                               .discount = 1, .baseline_rate = 0.5, .seed = 1 };
}

/* ---- one network */

static size_t at_b1(const net *t) { return (size_t)t->in * (size_t)t->h1; }
static size_t at_w2(const net *t) { return at_b1(t) + (size_t)t->h1 * (t->split ? 2 : 1); }
static size_t at_b2(const net *t) { return at_w2(t) + (size_t)t->h1 * (size_t)t->h2; }
static size_t at_w3(const net *t) { return at_b2(t) + (size_t)t->h2; }

static bl_status net_new(bl_ctx *ctx, bl_arena *a, int in, int split, const bl_agent_options *o, net *t)
{
    *t = (net){ .in = in, .h1 = o->hidden1, .h2 = o->hidden2, .split = split };
    t->n = at_w3(t) + (size_t)t->h2 + 1;
    t->w = BL_NEW(a, float, t->n);
    t->g = BL_NEW(a, float, t->n);
    t->m = BL_NEW(a, float, t->n);
    t->v = BL_NEW(a, float, t->n);
    return t->w && t->g && t->m && t->v ? BL_OK : bl_pending(ctx);
}

static void draw(bl_rng *r, float *w, size_t n, int fan_in)
{
    double bound = 1 / sqrt((double)fan_in);
    for (size_t i = 0; i < n; i++) w[i] = (float)((2 * bl_rng_unit(r) - 1) * bound);
}

static void net_draw(net *t, bl_rng *r)
{
    int first = t->in - t->split;
    draw(r, t->w, (size_t)first * (size_t)t->h1, first);
    if (t->split) draw(r, t->w + (size_t)first * (size_t)t->h1, (size_t)t->split * (size_t)t->h1, t->split);
    draw(r, t->w + at_b1(t), (size_t)t->h1, first);
    if (t->split) draw(r, t->w + at_b1(t) + t->h1, (size_t)t->h1, t->split);
    draw(r, t->w + at_w2(t), (size_t)t->h1 * (size_t)t->h2 + (size_t)t->h2, t->h1);
    draw(r, t->w + at_w3(t), (size_t)t->h2 + 1, t->h2);
}

static bl_status pass_new(bl_ctx *ctx, bl_arena *a, const net *t, int rows, pass *p)
{
    size_t n = (size_t)rows;
    *p = (pass){ .x = BL_NEW(a, float, n * (size_t)t->in), .a1 = BL_NEW(a, float, n * (size_t)t->h1), .a2 = BL_NEW(a, float, n * (size_t)t->h2),
                 .y = BL_NEW(a, float, n), .d1 = BL_NEW(a, float, n * (size_t)t->h1), .d2 = BL_NEW(a, float, n * (size_t)t->h2),
                 .dx = BL_NEW(a, float, n * (size_t)t->in) };
    return p->x && p->a1 && p->a2 && p->y && p->d1 && p->d2 && p->dx ? BL_OK : bl_pending(ctx);
}

static void bias_relu(float *y, int rows, int n, const float *b, const float *more)
{
    for (int r = 0; r < rows; r++, y += n)
        for (int i = 0; i < n; i++) {
            float s = y[i] + b[i] + (more ? more[i] : 0);
            y[i] = s > 0 ? s : 0;
        }
}

/* p->y from p->x. */
static void forward(const net *t, pass *p, int rows, bool sigmoid)
{
    const float *b1 = t->w + at_b1(t), *w3 = t->w + at_w3(t);
    bl_product_f32(false, false, rows, t->h1, t->in, p->x, t->w, p->a1);
    bias_relu(p->a1, rows, t->h1, b1, t->split ? b1 + t->h1 : NULL);
    bl_product_f32(false, false, rows, t->h2, t->h1, p->a1, t->w + at_w2(t), p->a2);
    bias_relu(p->a2, rows, t->h2, t->w + at_b2(t), NULL);
    for (int r = 0; r < rows; r++) {
        float s = w3[t->h2];
        for (int i = 0; i < t->h2; i++) s += p->a2[r * t->h2 + i] * w3[i];
        p->y[r] = sigmoid ? 1 / (1 + expf(-s)) : s;
    }
}

static void sum_rows(const float *d, int rows, int n, float *out)
{
    memset(out, 0, (size_t)n * sizeof *out);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < n; i++) out[i] += d[r * n + i];
}

/* dy: of the loss by what comes before the sigmoid.  Parameters' gradients to t->g (where wanted), inputs' to p->dx. */
static void backward(net *t, pass *p, int rows, const float *dy, bool parameters, bool inputs)
{
    const float *w3 = t->w + at_w3(t);
    for (int r = 0; r < rows; r++)
        for (int i = 0; i < t->h2; i++) p->d2[r * t->h2 + i] = p->a2[r * t->h2 + i] > 0 ? dy[r] * w3[i] : 0;
    bl_product_f32(false, true, rows, t->h1, t->h2, p->d2, t->w + at_w2(t), p->d1);
    for (int i = 0; i < rows * t->h1; i++)
        if (!(p->a1[i] > 0)) p->d1[i] = 0;
    if (inputs) bl_product_f32(false, true, rows, t->in, t->h1, p->d1, t->w, p->dx);
    if (!parameters) return;
    float *g3 = t->g + at_w3(t);
    memset(g3, 0, ((size_t)t->h2 + 1) * sizeof *g3);
    for (int r = 0; r < rows; r++) {
        for (int i = 0; i < t->h2; i++) g3[i] += dy[r] * p->a2[r * t->h2 + i];
        g3[t->h2] += dy[r];
    }
    bl_product_f32(true, false, t->h1, t->h2, rows, p->a1, p->d2, t->g + at_w2(t));
    sum_rows(p->d2, rows, t->h2, t->g + at_b2(t));
    bl_product_f32(true, false, t->in, t->h1, rows, p->x, p->d1, t->g);
    sum_rows(p->d1, rows, t->h1, t->g + at_b1(t));
    if (t->split) memcpy(t->g + at_b1(t) + t->h1, t->g + at_b1(t), (size_t)t->h1 * sizeof *t->g);
}

static void adam(net *t, float rate, int64_t step)
{
    const float b1 = 0.9f, b2 = 0.999f;
    float c1 = (float)(1 - pow(0.9, (double)step)), c2 = (float)(1 - pow(0.999, (double)step));
    for (size_t i = 0; i < t->n; i++) {
        t->m[i] = b1 * t->m[i] + (1 - b1) * t->g[i];
        t->v[i] = b2 * t->v[i] + (1 - b2) * t->g[i] * t->g[i];
        t->w[i] -= rate * (t->m[i] / c1) / (sqrtf(t->v[i] / c2) + 1e-8f);
    }
}

static void follow(net *slow, const net *t, float tau)
{
    for (size_t i = 0; i < t->n; i++) slow->w[i] += tau * (t->w[i] - slow->w[i]);
}

/* ---- the agent */

static bl_status make_nets(bl_ctx *ctx, bl_arena *a, bl_agent *g)
{
    const bl_agent_options *o = &g->o;
    bl_rng r = bl_rng_make(o->seed, "agent", 0);
    BL_TRY(net_new(ctx, a, o->states, 0, o, &g->actor));
    BL_TRY(net_new(ctx, a, o->states, 0, o, &g->slow_actor));
    BL_TRY(net_new(ctx, a, o->states + 1, 1, o, &g->critic));
    BL_TRY(net_new(ctx, a, o->states + 1, 1, o, &g->slow_critic));
    net_draw(&g->actor, &r);
    net_draw(&g->critic, &r);
    memcpy(g->slow_actor.w, g->actor.w, g->actor.n * sizeof *g->actor.w);
    memcpy(g->slow_critic.w, g->critic.w, g->critic.n * sizeof *g->critic.w);
    BL_TRY(pass_new(ctx, a, &g->actor, o->batch, &g->actor_pass));
    return pass_new(ctx, a, &g->critic, o->batch, &g->critic_pass);
}

bl_status bl_agent_new(bl_ctx *ctx, bl_arena *arena, const bl_agent_options *options, bl_agent **out)
{
    bl_agent *g = BL_NEW(arena, bl_agent, 1);
    BL_ALLOC_TRY(ctx, g);
    g->o = *options;
    g->rng = bl_rng_make(options->seed, "replay", 0);
    size_t n = (size_t)options->replay, s = (size_t)options->states, b = (size_t)options->batch;
    BL_TRY(make_nets(ctx, arena, g));
    g->one = BL_NEW(arena, float, s);
    g->target = BL_NEW(arena, float, b);
    g->dy = BL_NEW(arena, float, b);
    g->state = BL_NEW(arena, float, n * s);
    g->next = BL_NEW(arena, float, n * s);
    g->action = BL_NEW(arena, float, n);
    g->reward = BL_NEW(arena, float, n);
    g->last = BL_NEW(arena, bool, n);
    if (!g->one || !g->target || !g->dy || !g->state || !g->next || !g->action || !g->reward || !g->last) return bl_pending(ctx);
    *out = g;
    return BL_OK;
}

float bl_agent_act(bl_agent *g, const float *state)
{
    memcpy(g->actor_pass.x, state, (size_t)g->o.states * sizeof *state);
    forward(&g->actor, &g->actor_pass, 1, true);
    return g->actor_pass.y[0];
}

float bl_agent_value(bl_agent *g, const float *state, float action)
{
    memcpy(g->critic_pass.x, state, (size_t)g->o.states * sizeof *state);
    g->critic_pass.x[g->o.states] = action;
    forward(&g->critic, &g->critic_pass, 1, false);
    return g->critic_pass.y[0];
}

void bl_agent_remember(bl_agent *g, const float *state, float action, float reward, bool last, const float *next)
{
    size_t s = (size_t)g->o.states, at = (size_t)(g->stored++ % g->o.replay);
    memcpy(g->state + at * s, state, s * sizeof *state);
    if (last) memset(g->next + at * s, 0, s * sizeof *state);
    else memcpy(g->next + at * s, next, s * sizeof *state);
    g->action[at] = action;
    g->reward[at] = reward;
    g->last[at] = last;
}

/* Rows of the critic's input: a state with an action. */
static void put_rows(bl_agent *g, const float *states, const int64_t *pick, const float *actions, bool by_pick)
{
    size_t s = (size_t)g->o.states;
    for (int r = 0; r < g->o.batch; r++) {
        float *x = g->critic_pass.x + (size_t)r * (s + 1);
        memcpy(x, states + (size_t)pick[r] * s, s * sizeof *x);
        x[s] = actions[by_pick ? pick[r] : r];
    }
}

static void act_rows(bl_agent *g, const net *actor, const float *states, const int64_t *pick)
{
    size_t s = (size_t)g->o.states;
    for (int r = 0; r < g->o.batch; r++)
        memcpy(g->actor_pass.x + (size_t)r * s, states + (size_t)pick[r] * s, s * sizeof *states);
    forward(actor, &g->actor_pass, g->o.batch, true);
}

/* Rewards of the batch beside their moving average, plus what is still to come by the slow copies. */
static void make_targets(bl_agent *g, const int64_t *pick)
{
    int n = g->o.batch;
    double mean = 0;
    for (int r = 0; r < n; r++) mean += g->reward[pick[r]] / n;
    g->baseline = g->have_baseline ? g->baseline + g->o.baseline_rate * (mean - g->baseline) : mean;
    g->have_baseline = true;
    act_rows(g, &g->slow_actor, g->next, pick);
    put_rows(g, g->next, pick, g->actor_pass.y, false);
    forward(&g->slow_critic, &g->critic_pass, n, false);
    for (int r = 0; r < n; r++)
        g->target[r] = (float)(g->reward[pick[r]] - g->baseline) + (g->last[pick[r]] ? 0 : g->o.discount * g->critic_pass.y[r]);
}

void bl_agent_learn(bl_agent *g)
{
    int n = g->o.batch;
    int64_t pick[256], have = BL_MIN(g->stored, g->o.replay);
    for (int r = 0; r < n; r++) pick[r] = (int64_t)bl_rng_below(&g->rng, (uint64_t)have);
    g->learned++;
    make_targets(g, pick);

    put_rows(g, g->state, pick, g->action, true);
    forward(&g->critic, &g->critic_pass, n, false);
    for (int r = 0; r < n; r++) g->dy[r] = 2 * (g->critic_pass.y[r] - g->target[r]) / (float)n;
    backward(&g->critic, &g->critic_pass, n, g->dy, true, false);
    adam(&g->critic, g->o.critic_rate, g->learned);

    act_rows(g, &g->actor, g->state, pick);
    put_rows(g, g->state, pick, g->actor_pass.y, false);
    forward(&g->critic, &g->critic_pass, n, false);
    for (int r = 0; r < n; r++) g->dy[r] = -1 / (float)n; /* the mean value rises */
    backward(&g->critic, &g->critic_pass, n, g->dy, false, true);
    for (int r = 0; r < n; r++) {
        float y = g->actor_pass.y[r];
        g->dy[r] = g->critic_pass.dx[r * (g->o.states + 1) + g->o.states] * y * (1 - y);
    }
    backward(&g->actor, &g->actor_pass, n, g->dy, true, false);
    adam(&g->actor, g->o.actor_rate, g->learned);

    follow(&g->slow_actor, &g->actor, g->o.tau);
    follow(&g->slow_critic, &g->critic, g->o.tau);
}
