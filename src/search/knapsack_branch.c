/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Depth-first branch and bound on Lagrangian bounds, for tables on which labels multiply (three and
 * more budgets, tied units).  At each node a few Polyak steps towards the best value known lift the
 * multipliers of the parent; options whose reduced cost passes it go; the search branches on the
 * item whose minimiser changed most in those steps, one child for each option, cheapest first.
 *
 * Values are whole numbers with a known step, so a node whose bound is above best - step holds
 * nothing better.  Items with the same table are interchangeable: an earlier one never takes a
 * smaller option than a later one.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { STEPS = 10, ROUNDS = 3 };

typedef struct child {
    double bound;
    uint16_t pick;
} child;

typedef struct frame {
    int item;
    uint32_t trail, first, n, next; /* children first..first+n-1 of `children`; the one to try */
    double lambda[BL_KNAP_K];
} frame;

typedef struct tree {
    bl_knap_work *work;
    const bl_knap *t;
    uint64_t last_node; /* where this search gives up */
    bool gave_up;
    double cutoff; /* plans above it are of no use */
    bool found;
    uint16_t *best, *now; /* (n) picks */
    uint16_t *live;       /* (options) per item: the live picks first */
    uint16_t *count;      /* (n) live picks */
    int *active, *place;  /* (n) items with a choice first, and where each stands */
    int n_active;
    uint32_t *kind;                  /* (n) items of the same number are interchangeable */
    double fixed_v, room[BL_KNAP_K]; /* of the items without a choice; what they leave */
    uint32_t *trail;                 /* (options + n) item << 1: lost its last pick; | 1: settled */
    uint32_t n_trail;
    uint16_t *waver; /* (n) */
    child *children; /* (options) stack */
    frame *frames;   /* (n + 1) */
    int depth;
    double lambda[BL_KNAP_K], bound; /* of the node at hand */
} tree;

static size_t option_of(const tree *s, int item, uint16_t pick)
{
    return s->t->first[item] + pick;
}

static const double *cost_of(const tree *s, int item, uint16_t pick)
{
    return s->t->c + option_of(s, item, pick) * (size_t)s->t->d;
}

/* ------------------------------------------------------------------ changes and their undoing */

static void settle_item(tree *s, int item)
{
    uint16_t pick = s->live[s->t->first[item]];
    int at = s->place[item], last = s->active[--s->n_active];
    s->active[at] = last;
    s->place[last] = at;
    s->active[s->n_active] = item;
    s->place[item] = s->n_active;
    s->fixed_v += s->t->v[option_of(s, item, pick)];
    for (int m = 0; m < s->t->k; m++) s->room[m] -= cost_of(s, item, pick)[m];
    s->trail[s->n_trail++] = (uint32_t)item << 1 | 1;
}

/* Removes the live pick at `at`; false when it was the last. */
static bool remove_pick(tree *s, int item, int at)
{
    if (s->count[item] == 1) return false;
    uint16_t *live = s->live + s->t->first[item], pick = live[at];
    live[at] = live[--s->count[item]];
    live[s->count[item]] = pick;
    s->trail[s->n_trail++] = (uint32_t)item << 1;
    if (s->count[item] == 1) settle_item(s, item);
    return true;
}

static void undo(tree *s, uint32_t to)
{
    while (s->n_trail > to) {
        uint32_t entry = s->trail[--s->n_trail];
        int item = (int)(entry >> 1);
        if (!(entry & 1)) {
            s->count[item]++;
            continue;
        }
        uint16_t pick = s->live[s->t->first[item]];
        s->n_active++; /* it stands just behind the active ones */
        s->fixed_v -= s->t->v[option_of(s, item, pick)];
        for (int m = 0; m < s->t->k; m++) s->room[m] += cost_of(s, item, pick)[m];
    }
}

/* Keeps only picks whose option index is in lo..hi; false when none is left. */
static bool keep_range(tree *s, int item, int lo, int hi)
{
    const uint16_t *live = s->live + s->t->first[item];
    for (int at = s->count[item]; at-- > 0;) {
        int index = s->t->option[option_of(s, item, live[at])];
        if ((index < lo || index > hi) && !remove_pick(s, item, at)) return false;
    }
    return true;
}

static bool take(tree *s, int item, uint16_t pick)
{
    int index = s->t->option[option_of(s, item, pick)];
    if (!keep_range(s, item, index, index)) return false;
    for (int other = 0; other < s->t->n; other++) { /* active ones and settled ones alike */
        if (other == item || s->kind[other] != s->kind[item]) continue;
        bool earlier = s->t->item[other] < s->t->item[item];
        if (!keep_range(s, other, earlier ? index : 0, earlier ? BL_MCKP_OPTIONS_MAX : index))
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ bounds */

/* Lagrangian bound of the node; now: the minimisers; use: their costs. */
static double node_bound(tree *s, const double *lambda, double *use)
{
    const bl_knap *t = s->t;
    double sum = 0, paid = 0;
    memset(use, 0, BL_KNAP_K * sizeof *use);
    for (int a = 0; a < s->n_active; a++) {
        int item = s->active[a];
        const uint16_t *live = s->live + t->first[item];
        double least = INFINITY;
        uint16_t pick = 0;
        for (int l = 0; l < s->count[item]; l++) {
            const double *c = cost_of(s, item, live[l]);
            double r = t->v[option_of(s, item, live[l])];
            for (int m = 0; m < t->k; m++) r += lambda[m] * c[m];
            if (r < least || (r == least && live[l] < pick)) {
                least = r;
                pick = live[l];
            }
        }
        if (s->now[item] != pick) s->waver[item]++;
        s->now[item] = pick;
        sum += least;
        for (int m = 0; m < t->k; m++) use[m] += cost_of(s, item, pick)[m];
    }
    for (int m = 0; m < t->k; m++) paid += lambda[m] * s->room[m];
    double magnitude = s->fixed_v + sum + fabs(paid);
    return s->fixed_v + sum - paid - (s->n_active + 16) * BL_KNAP_EPS * magnitude;
}

/* The minimisers as a plan, when they fit. */
static void plan_try(tree *s, const double *use)
{
    const bl_knap *t = s->t;
    for (int m = 0; m < t->k; m++)
        if (use[m] > s->room[m]) return;
    double v = s->fixed_v;
    for (int a = 0; a < s->n_active; a++)
        v += t->v[option_of(s, s->active[a], s->now[s->active[a]])];
    if (v > s->cutoff) return;
    s->cutoff = v - t->step;
    s->found = true;
    for (int i = 0; i < t->n; i++) s->best[i] = s->count[i] == 1 ? s->live[t->first[i]] : s->now[i];
}

/* Polyak steps; the best multipliers stay in s->lambda, their bound in s->bound. */
static bl_status climb(tree *s, int steps)
{
    const bl_knap *t = s->t;
    double at[BL_KNAP_K], use[BL_KNAP_K], stride = 1;
    memcpy(at, s->lambda, sizeof at);
    s->bound = -INFINITY;
    for (int step = 0; step < steps; step++) {
        double value = node_bound(s, at, use), length = 0, g[BL_KNAP_K];
        plan_try(s, use);
        if (value > s->bound) {
            s->bound = value;
            memcpy(s->lambda, at, sizeof at);
            if (value > s->cutoff) break;
        } else {
            stride *= 0.7;
        }
        for (int m = 0; m < t->k; m++) {
            double scale = fmax(t->room[m], 1);
            g[m] = (use[m] - s->room[m]) / scale;
            if (at[m] == 0 && g[m] < 0) g[m] = 0;
            length += g[m] * g[m];
        }
        if (!(length > 0)) break;
        double pace = stride * (s->cutoff + t->step - value) / length;
        for (int m = 0; m < t->k; m++) at[m] = fmax(0, at[m] + pace * g[m] / fmax(t->room[m], 1));
    }
    return bl_knap_pause(s->work);
}

/* Removes what the node's multipliers and rooms exclude; false when nothing is left. */
static bool exclude(tree *s, bool *changed)
{
    const bl_knap *t = s->t;
    double spare[BL_KNAP_K], r[BL_MCKP_OPTIONS_MAX];
    memcpy(spare, s->room, sizeof spare);
    for (int a = 0; a < s->n_active; a++)
        for (int m = 0; m < t->k; m++) {
            int item = s->active[a];
            double least = INFINITY;
            for (int l = 0; l < s->count[item]; l++)
                least = fmin(least, cost_of(s, item, s->live[t->first[item] + (uint32_t)l])[m]);
            spare[m] -= least;
        }
    for (int m = 0; m < t->k; m++)
        if (spare[m] < 0) return false;
    for (int a = s->n_active; a-- > 0;) { /* a settled item leaves its place to one already seen */
        int item = s->active[a];
        const uint16_t *live = s->live + t->first[item];
        double least = INFINITY, low[BL_KNAP_K] = {INFINITY, INFINITY, INFINITY, INFINITY};
        for (int l = 0; l < s->count[item]; l++) {
            const double *c = cost_of(s, item, live[l]);
            r[l] = t->v[option_of(s, item, live[l])];
            for (int m = 0; m < t->k; m++) {
                r[l] += s->lambda[m] * c[m];
                low[m] = fmin(low[m], c[m]);
            }
            least = fmin(least, r[l]);
        }
        for (int l = s->count[item]; l-- > 0;) {
            const double *c = cost_of(s, item, live[l]);
            bool out = s->bound + (r[l] - least) - 8 * BL_KNAP_EPS * (r[l] + least) > s->cutoff;
            for (int m = 0; m < t->k; m++) out = out || c[m] - low[m] > spare[m];
            if (!out) continue;
            if (!remove_pick(s, item, l)) return false;
            *changed = true;
        }
    }
    return true;
}

/* ------------------------------------------------------------------ the walk */

/* False when the node holds nothing of use. */
static bl_status examine(tree *s, bool *open)
{
    *open = false;
    memset(s->waver, 0, (size_t)s->t->n * sizeof *s->waver);
    for (int round = 0; round < ROUNDS; round++) {
        bool changed = false;
        for (int m = 0; m < s->t->k; m++)
            if (s->room[m] < 0) return BL_OK;
        BL_TRY(climb(s, STEPS));
        if (s->bound > s->cutoff || !exclude(s, &changed)) return BL_OK;
        if (!changed) break;
    }
    if (s->n_active == 0) { /* settled while excluding: a plan, if it fits */
        double none[BL_KNAP_K] = {0};
        plan_try(s, none);
        return BL_OK;
    }
    *open = true;
    return BL_OK;
}

static int child_order(const void *pa, const void *pb)
{
    const child *a = pa, *b = pb;
    if (a->bound != b->bound) return a->bound < b->bound ? -1 : 1;
    return a->pick < b->pick ? -1 : a->pick > b->pick;
}

/* Opens the node at hand: a frame whose children are the picks of the item that wavers most. */
static void branch(tree *s)
{
    const bl_knap *t = s->t;
    int item = s->active[0];
    for (int a = 1; a < s->n_active; a++) {
        int other = s->active[a];
        if (s->waver[other] > s->waver[item] ||
            (s->waver[other] == s->waver[item] && t->item[other] < t->item[item]))
            item = other;
    }
    frame *f = &s->frames[s->depth];
    f->item = item;
    f->trail = s->n_trail;
    f->first = s->depth ? f[-1].first + f[-1].n : 0;
    f->n = s->count[item];
    f->next = 0;
    memcpy(f->lambda, s->lambda, sizeof f->lambda);
    child *list = s->children + f->first;
    double least = INFINITY;
    for (uint32_t l = 0; l < f->n; l++) {
        uint16_t pick = s->live[t->first[item] + l];
        double r = t->v[option_of(s, item, pick)];
        for (int m = 0; m < t->k; m++) r += s->lambda[m] * cost_of(s, item, pick)[m];
        list[l] = (child){r, pick};
        least = fmin(least, r);
    }
    for (uint32_t l = 0; l < f->n; l++)
        list[l].bound =
            s->bound + (list[l].bound - least) * (1 - 8 * BL_KNAP_EPS) - 8 * BL_KNAP_EPS * least;
    qsort(list, f->n, sizeof *list, child_order);
    s->depth++;
}

static bl_status walk(tree *s)
{
    bool open;
    BL_TRY(examine(s, &open));
    if (open) branch(s);
    while (s->depth > 0 && !s->work->stopped && !s->gave_up) {
        frame *f = &s->frames[s->depth - 1];
        undo(s, f->trail);
        if (f->next == f->n || s->children[f->first + f->next].bound > s->cutoff) {
            s->depth--;
            continue;
        }
        if (s->work->node_limit && s->work->nodes >= s->work->node_limit) {
            s->work->stopped = true;
            break;
        }
        if (s->work->nodes >= s->last_node) {
            s->gave_up = true;
            break;
        }
        s->work->nodes++;
        child c = s->children[f->first + f->next++];
        memcpy(s->lambda, f->lambda, sizeof s->lambda);
        if (!take(s, f->item, c.pick)) continue;
        BL_TRY(examine(s, &open));
        if (open && s->work->stopped)
            f->next--; /* not gone into: still open */
        else if (open)
            branch(s);
    }
    return BL_OK;
}

/* Numbers items so that equal tables share a number. */
typedef struct twin {
    const bl_knap *t;
    int item;
} twin;

static int twin_order(const void *pa, const void *pb)
{
    const twin *a = pa, *b = pb;
    const bl_knap *t = a->t;
    uint32_t fa = t->first[a->item], fb = t->first[b->item];
    uint32_t na = t->first[a->item + 1] - fa, nb = t->first[b->item + 1] - fb;
    size_t d = (size_t)t->d;
    if (na != nb) return na < nb ? -1 : 1;
    for (size_t o = 0; o < na; o++) {
        int oa = t->option[fa + o], ob = t->option[fb + o];
        if (oa != ob) return oa < ob ? -1 : 1;
        if (t->v[fa + o] != t->v[fb + o]) return t->v[fa + o] < t->v[fb + o] ? -1 : 1;
        for (size_t m = 0; m < d; m++) {
            double ca = t->c[(fa + o) * d + m], cb = t->c[(fb + o) * d + m];
            if (ca != cb) return ca < cb ? -1 : 1;
        }
    }
    return 0;
}

static bl_status kinds(tree *s)
{
    size_t n = (size_t)s->t->n;
    twin *twins = BL_NEW(s->work->arena, twin, n);
    BL_ALLOC_TRY(s->work->ctx, twins);
    for (size_t i = 0; i < n; i++) twins[i] = (twin){s->t, (int)i};
    qsort(twins, n, sizeof *twins, twin_order);
    for (size_t i = 0; i < n; i++)
        s->kind[twins[i].item] = i > 0 && twin_order(&twins[i - 1], &twins[i]) == 0
                                     ? s->kind[twins[i - 1].item]
                                     : (uint32_t)i;
    return BL_OK;
}

static bl_status tree_space(tree *s)
{
    const bl_knap *t = s->t;
    bl_arena *arena = s->work->arena;
    size_t n = (size_t)t->n, options = t->first[n];
    s->best = BL_NEW(arena, uint16_t, n);
    s->now = BL_NEW(arena, uint16_t, n);
    s->count = BL_NEW(arena, uint16_t, n);
    s->waver = BL_NEW(arena, uint16_t, n);
    s->live = BL_NEW(arena, uint16_t, options);
    s->active = BL_NEW(arena, int, n);
    s->place = BL_NEW(arena, int, n);
    s->kind = BL_NEW(arena, uint32_t, n);
    s->trail = BL_NEW(arena, uint32_t, options + n);
    s->children = BL_NEW(arena, child, options);
    s->frames = BL_NEW(arena, frame, n + 1);
    if (!s->best || !s->now || !s->count || !s->waver || !s->live || !s->active || !s->place ||
        !s->kind || !s->trail || !s->children || !s->frames)
        return bl_pending(s->work->ctx);
    s->n_active = t->n;
    for (int i = 0; i < t->n; i++) {
        s->active[i] = s->place[i] = i;
        s->count[i] = (uint16_t)(t->first[i + 1] - t->first[i]);
        for (uint16_t o = 0; o < s->count[i]; o++) s->live[t->first[i] + o] = o;
    }
    return kinds(s);
}

bl_status bl_knap_branch(bl_knap_work *work, const bl_knap *t, double target,
                         const bl_knap_pool *pool, uint64_t node_limit, bl_knap_end *end,
                         uint16_t *full_choice, double *bound)
{
    tree s = {.work = work, .t = t, .cutoff = target};
    s.last_node = node_limit ? work->nodes + node_limit : UINT64_MAX;
    memcpy(s.room, t->room, sizeof s.room);
    if (pool->n > 0) memcpy(s.lambda, pool->lambda[0], sizeof s.lambda);
    bl_mark mark = bl_arena_mark(work->arena);
    BL_TRY(tree_space(&s));
    BL_TRY(walk(&s));
    *bound = s.cutoff;
    for (int f = 0; f < s.depth; f++)
        for (uint32_t c = s.frames[f].next; c < s.frames[f].n; c++)
            *bound = fmin(*bound, s.children[s.frames[f].first + c].bound);
    *end = work->stopped || s.gave_up ? BL_KNAP_LIMIT : s.found ? BL_KNAP_FOUND : BL_KNAP_EMPTY;
    if (s.found) {
        memcpy(full_choice, t->fixed, (size_t)t->n_full * sizeof *full_choice);
        for (int i = 0; i < t->n; i++)
            full_choice[t->item[i]] = t->option[option_of(&s, i, s.best[i])];
    }
    bl_arena_reset(work->arena, mark);
    return BL_OK;
}
