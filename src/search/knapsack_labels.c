/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Dynamic programming over Pareto labels.  A label is a choice for the first items of a reduced
 * table: its value and costs.  Item by item every label is extended by every option; a label goes
 *  - when it is over a room,
 *  - when value + (bound on the items to come, in the room that is left) is above the target, for
 *    one of up to POOL multiplier vectors, which are renewed at each item from a sample of labels,
 *  - when one that comes before it in the order (value, first budget's cost, choice) costs no more
 *    in any budget.
 * That order is the solver's order of plans, so what remains at the end begins with the best.
 * Values and costs are whole numbers: equal sums are equal, and identical units do not multiply.
 */
#include "search/knapsack_private.h"

#include <math.h>
#include <string.h>

enum {
    POOL = BL_KNAP_POOL,
    SAMPLES = 8,     /* labels whose own multipliers are looked for at each item */
    STEPS = 10,      /* of that search */
    BLOCK_BITS = 15, /* history entries in a block */
    SCAN = 256,      /* labels compared with, for three and more budgets */
    PAUSE = 1 << 16  /* labels between two looks at the clock */
};

typedef struct trace {
    uint32_t parent;
    uint16_t pick;
} trace;

/* An extension that passed the bounds. */
typedef struct cand {
    double v, tie;
    uint32_t parent; /* label of the front */
    uint16_t pick;
} cand;

typedef struct stair {
    double c0, c1;
} stair;

typedef struct labels {
    bl_knap_work *work;
    const bl_knap *t;
    double target;
    size_t limit, kept; /* labels allowed and kept, over all items */
    trace **blocks;     /* history, by label number */
    size_t n;           /* front: in order, rows of 1 + d numbers */
    double *rows;
    uint32_t *node;            /* (n) number of the label */
    bl_arena *front[2], *pass; /* front now and next; scratch of one item */
    bl_mark start[2];          /* of the fronts' arenas, empty */
    int pool_n;
    double lambda[POOL][BL_KNAP_K];
    uint64_t kills[POOL];
} labels;

static trace *trace_at(const labels *s, uint32_t node)
{
    return &s->blocks[node >> BLOCK_BITS][node & ((1u << BLOCK_BITS) - 1)];
}

static uint16_t option_index(const bl_knap *t, int item, uint16_t pick)
{
    return t->option[t->first[item] + pick];
}

/* Which of two labels of the items 0..item-1 comes first by choice: where they differ in the
 * earliest merged item, the larger option wins.  first, option: that item so far and who won. */
static bool earlier_choice(const labels *s, int item, uint32_t a, uint32_t b, uint32_t first,
                           bool won)
{
    while (a != b && item-- > 0) {
        const trace *ta = trace_at(s, a), *tb = trace_at(s, b);
        if (ta->pick != tb->pick && s->t->item[item] < first) {
            first = s->t->item[item];
            won = option_index(s->t, item, ta->pick) > option_index(s->t, item, tb->pick);
        }
        a = ta->parent;
        b = tb->parent;
    }
    return won;
}

static bool cand_before(const labels *s, int item, const cand *a, const cand *b)
{
    if (a->v != b->v) return a->v < b->v;
    if (a->tie != b->tie) return a->tie < b->tie;
    int oa = option_index(s->t, item, a->pick), ob = option_index(s->t, item, b->pick);
    return earlier_choice(s, item, s->node[a->parent], s->node[b->parent],
                          oa != ob ? s->t->item[item] : UINT32_MAX, oa > ob);
}

/* ------------------------------------------------------------------ extending */

/* Bits of the options that each label may take, and how many labels take each.  Limits: option o
 * passes vector p when v + lambda_p . c of the label is at most bar[o][p]. */
static bl_status mark_options(labels *s, int item, const double (*bar)[POOL], uint64_t *bits,
                              size_t words, size_t *taken, size_t *total)
{
    const bl_knap *t = s->t;
    size_t width = 1 + (size_t)t->d, d = (size_t)t->d;
    uint32_t from = t->first[item], count = t->first[item + 1] - from;
    for (size_t l = 0; l < s->n; l++) {
        if (l % PAUSE == PAUSE - 1) {
            BL_TRY(bl_knap_pause(s->work));
            if (s->work->stopped) break;
        }
        const double *row = s->rows + l * width;
        double q[POOL];
        for (int p = 0; p < s->pool_n; p++) {
            q[p] = row[0];
            for (int m = 0; m < t->k; m++) q[p] += s->lambda[p][m] * row[1 + m];
        }
        for (uint32_t o = 0; o < count; o++) {
            const double *c = t->c + (from + o) * d;
            bool good = row[0] + t->v[from + o] <= s->target;
            for (int m = 0; m < t->k; m++) good = good && row[1 + m] + c[m] <= t->room[m];
            for (int p = 0; p < s->pool_n && good; p++)
                if (q[p] > bar[o][p]) {
                    good = false;
                    s->kills[p]++;
                }
            if (!good) continue;
            bits[l * words + o / 64] |= (uint64_t)1 << (o % 64);
            taken[o]++;
            ++*total;
        }
    }
    return BL_OK;
}

static bl_status bars(labels *s, int item, double (**out)[POOL])
{
    const bl_knap *t = s->t;
    uint32_t from = t->first[item], count = t->first[item + 1] - from;
    double(*bar)[POOL] = bl_alloc(s->pass, count, sizeof *bar);
    BL_ALLOC_TRY(s->work->ctx, bar);
    double nothing[BL_KNAP_K] = {0}, use[BL_KNAP_K];
    for (int p = 0; p < s->pool_n; p++) {
        double rest = bl_knap_bound(t, item + 1, s->lambda[p], nothing, use, NULL), paid = 0;
        for (int m = 0; m < t->k; m++) paid += s->lambda[p][m] * t->room[m];
        double top = s->target - rest + paid + 16 * BL_KNAP_EPS * (s->target + rest + paid);
        for (uint32_t o = 0; o < count; o++) {
            double r = t->v[from + o];
            for (int m = 0; m < t->k; m++)
                r += s->lambda[p][m] * t->c[(from + o) * (size_t)t->d + (size_t)m];
            bar[o][p] = top - r;
        }
    }
    *out = bar;
    return BL_OK;
}

/* Extensions as one sorted run for each option: the front is sorted, an option adds constants. */
static void runs_fill(const labels *s, int item, const uint64_t *bits, size_t words, cand *list,
                      size_t *ends)
{
    const bl_knap *t = s->t;
    size_t width = 1 + (size_t)t->d, to = 0;
    uint32_t from = t->first[item], count = t->first[item + 1] - from;
    for (uint32_t o = 0; o < count; o++) {
        double dv = t->v[from + o];
        double dt = t->tie < 0 ? 0 : t->c[(from + o) * (size_t)t->d + (size_t)t->tie];
        for (size_t l = 0; l < s->n; l++) {
            if (!(bits[l * words + o / 64] >> (o % 64) & 1)) continue;
            const double *row = s->rows + l * width;
            list[to++] = (cand){row[0] + dv, t->tie < 0 ? 0 : row[1 + t->tie] + dt, (uint32_t)l,
                                (uint16_t)o};
        }
        ends[o] = to;
    }
}

/* Merges neighbouring runs until one is left; returns where it lies. */
static cand *runs_merge(const labels *s, int item, cand *list, cand *other, size_t *ends,
                        size_t runs)
{
    while (runs > 1) {
        size_t begin = 0, merged = 0;
        for (size_t r = 0; r < runs; r += 2) {
            size_t a = begin, to = begin, mid = ends[r], b = mid;
            size_t end = r + 1 < runs ? ends[r + 1] : mid;
            while (a < mid && b < end)
                other[to++] = cand_before(s, item, &list[b], &list[a]) ? list[b++] : list[a++];
            memcpy(other + to, list + a, (mid - a) * sizeof *list);
            memcpy(other + to + (mid - a), list + b, (end - b) * sizeof *list);
            begin = end;
            ends[merged++] = end;
        }
        runs = merged;
        cand *swap = list;
        list = other;
        other = swap;
    }
    return list;
}

/* ------------------------------------------------------------------ dominance */

/* Two budgets: the least costs so far as a stair, c0 rising and c1 falling.  True when (c0, c1) is
 * on or above it; else it becomes a part. */
static bool stair_covers(stair *stairs, size_t *n, double c0, double c1)
{
    size_t lo = 0, hi = *n;
    while (lo < hi) { /* first step with a larger c0 */
        size_t mid = (lo + hi) / 2;
        if (stairs[mid].c0 <= c0)
            lo = mid + 1;
        else
            hi = mid;
    }
    if (lo > 0 && stairs[lo - 1].c1 <= c1) return true;
    size_t from = lo, end = lo;
    if (from > 0 && stairs[from - 1].c0 == c0) from--;
    while (end < *n && stairs[end].c1 >= c1) end++;
    memmove(stairs + from + 1, stairs + end, (*n - end) * sizeof *stairs);
    stairs[from] = (stair){c0, c1};
    *n = *n - (end - from) + 1;
    return false;
}

/* Three and more: compared with the SCAN labels kept last only, which lie nearest. */
static bool scan_covers(const double *rows, size_t n, size_t width, int k, const double *c)
{
    size_t end = n > SCAN ? n - SCAN : 0;
    for (size_t l = n; l-- > end;) {
        const double *other = rows + l * width + 1;
        bool below = true;
        for (int m = 0; m < k && below; m++) below = other[m] <= c[m];
        if (below) return true;
    }
    return false;
}

/* The front that remains of the ordered extensions. */
static bl_status sweep(labels *s, int item, const cand *list, size_t n)
{
    const bl_knap *t = s->t;
    size_t d = (size_t)t->d, width = 1 + d, to = 0, steps = 0;
    bl_arena *next = s->front[1];
    size_t most = BL_MIN(n, s->limit - s->kept + 1);
    double *rows = bl_alloc(next, most, width * sizeof *rows), least = INFINITY;
    uint32_t *node = BL_NEW(next, uint32_t, most);
    stair *stairs = t->k == 2 ? BL_NEW(s->pass, stair, n + 1) : NULL;
    if (!rows || !node || (t->k == 2 && !stairs)) return bl_pending(s->work->ctx);
    for (size_t i = 0; i < n; i++) {
        const double *from = s->rows + list[i].parent * width;
        const double *c = t->c + (t->first[item] + list[i].pick) * d;
        double *row = rows + to * width;
        row[0] = list[i].v;
        for (size_t m = 0; m < d; m++) row[1 + m] = from[1 + m] + c[m];
        bool covered = false;
        if (t->k == 1)
            covered = row[1] >= least;
        else if (t->k == 2)
            covered = stair_covers(stairs, &steps, row[1], row[2]);
        else
            covered = scan_covers(rows, to, width, t->k, row + 1);
        if (covered) continue;
        if (t->k == 1) least = row[1];
        if (s->kept >= s->limit) {
            s->n = 0;
            s->kept++;
            return BL_OK;
        }
        uint32_t id = (uint32_t)s->kept++;
        if (!s->blocks[id >> BLOCK_BITS]) {
            s->blocks[id >> BLOCK_BITS] = BL_NEW(s->work->arena, trace, (size_t)1 << BLOCK_BITS);
            BL_ALLOC_TRY(s->work->ctx, s->blocks[id >> BLOCK_BITS]);
        }
        *trace_at(s, id) = (trace){s->node[list[i].parent], list[i].pick};
        node[to++] = id;
    }
    s->rows = rows;
    s->node = node;
    s->n = to;
    bl_arena *old = s->front[0];
    s->front[0] = next;
    s->front[1] = old;
    bl_mark start = s->start[0];
    s->start[0] = s->start[1];
    s->start[1] = start;
    return BL_OK;
}

/* ------------------------------------------------------------------ multipliers */

/* Looks for the multipliers of some labels of the front and puts them in place of those that
 * excluded least at this item. */
static void pool_renew(labels *s, int item)
{
    const bl_knap *t = s->t;
    size_t width = 1 + (size_t)t->d;
    if (item + 1 >= t->n) return;
    for (int p = 1; p < s->pool_n; p++) /* most useful first */
        for (int q = p; q > 0 && s->kills[q] > s->kills[q - 1]; q--) {
            double keep[BL_KNAP_K];
            uint64_t kills = s->kills[q];
            memcpy(keep, s->lambda[q], sizeof keep);
            memcpy(s->lambda[q], s->lambda[q - 1], sizeof keep);
            memcpy(s->lambda[q - 1], keep, sizeof keep);
            s->kills[q] = s->kills[q - 1];
            s->kills[q - 1] = kills;
        }
    size_t samples = BL_MIN((size_t)SAMPLES, s->n);
    for (size_t a = 0; a < samples; a++) {
        const double *row = s->rows + (a * s->n / samples + s->n / (2 * samples)) * width;
        double room[BL_KNAP_K] = {0}, use[BL_KNAP_K], lambda[BL_KNAP_K] = {0}, best = -INFINITY;
        for (int m = 0; m < t->k; m++) room[m] = t->room[m] - row[1 + m];
        for (int p = 0; p < s->pool_n; p++) {
            double bound = bl_knap_bound(t, item + 1, s->lambda[p], room, use, NULL);
            if (bound > best) {
                best = bound;
                memcpy(lambda, s->lambda[p], sizeof lambda);
            }
        }
        if (bl_knap_climb(t, item + 1, room, s->target - row[0], STEPS, lambda) <= best) continue;
        int at = s->pool_n < POOL ? s->pool_n++ : POOL - 1 - (int)a;
        memcpy(s->lambda[at], lambda, sizeof lambda);
    }
    memset(s->kills, 0, sizeof s->kills);
}

/* ------------------------------------------------------------------ the walk */

static bl_status extend(labels *s, int item)
{
    const bl_knap *t = s->t;
    size_t count = t->first[item + 1] - t->first[item], words = (count + 63) / 64;
    double(*bar)[POOL] = NULL;
    BL_TRY(bars(s, item, &bar));
    uint64_t *bits = bl_alloc(s->pass, s->n, words * sizeof *bits);
    size_t *ends = BL_NEW(s->pass, size_t, count);
    if (!bits || !ends) return bl_pending(s->work->ctx);
    size_t total = 0;
    BL_TRY(mark_options(s, item, (const double(*)[POOL])bar, bits, words, ends, &total));
    if (s->work->stopped) return BL_OK;
    if (total > 2 * s->limit + 1000) {
        s->n = 0;
        s->kept = s->limit + 1;
        return BL_OK;
    }
    cand *list = BL_NEW(s->pass, cand, total), *other = BL_NEW(s->pass, cand, total);
    if (!list || !other) return bl_pending(s->work->ctx);
    runs_fill(s, item, bits, words, list, ends);
    list = runs_merge(s, item, list, other, ends, count);
    return sweep(s, item, list, total);
}

static void trace_back(const labels *s, uint16_t *full_choice)
{
    const bl_knap *t = s->t;
    memcpy(full_choice, t->fixed, (size_t)t->n_full * sizeof *full_choice);
    uint32_t node = s->node[0];
    for (int item = t->n; item-- > 0; node = trace_at(s, node)->parent)
        full_choice[t->item[item]] = option_index(t, item, trace_at(s, node)->pick);
}

static bl_status walk(labels *s, bl_knap_end *end, uint16_t *full_choice)
{
    const bl_knap *t = s->t;
    bl_ctx *ctx = s->work->ctx;
    s->start[0] = bl_arena_mark(s->front[0]);
    s->start[1] = bl_arena_mark(s->front[1]);
    s->blocks = BL_NEW(s->work->arena, trace *, (s->limit >> BLOCK_BITS) + 2);
    s->rows = bl_alloc(s->front[0], 1, (1 + (size_t)t->d) * sizeof *s->rows);
    s->node = BL_NEW(s->front[0], uint32_t, 1);
    if (!s->blocks || !s->rows || !s->node) return bl_pending(ctx);
    s->node[0] = UINT32_MAX; /* the empty label: only ever compared with itself */
    s->n = 1;
    for (int item = 0; item < t->n && s->n > 0; item++) {
        BL_TRY(bl_knap_pause(s->work));
        if (s->work->stopped) break;
        bl_mark pass = bl_arena_mark(s->pass);
        bl_arena_reset(s->front[1], s->start[1]);
        BL_TRY(extend(s, item));
        bl_arena_reset(s->pass, pass);
        if (s->n > 0) pool_renew(s, item);
    }
    *end = BL_KNAP_EMPTY;
    if (s->kept > s->limit || s->work->stopped)
        *end = BL_KNAP_LIMIT;
    else if (s->n > 0) {
        *end = BL_KNAP_FOUND;
        trace_back(s, full_choice);
    }
    return BL_OK;
}

bl_status bl_knap_labels(bl_knap_work *work, const bl_knap *t, double target,
                         const bl_knap_pool *pool, uint64_t label_limit, bl_knap_end *end,
                         uint16_t *full_choice)
{
    bl_ctx *ctx = work->ctx;
    labels s = {.work = work, .t = t, .target = target, .pool_n = pool->n};
    s.limit = label_limit;
    memcpy(s.lambda, pool->lambda, sizeof s.lambda);
    bl_mark mark = bl_arena_mark(work->arena);
    s.front[0] = bl_arena_new(ctx, "labels");
    s.front[1] = s.front[0] ? bl_arena_new(ctx, "labels") : NULL;
    s.pass = s.front[1] ? bl_arena_new(ctx, "labels") : NULL;
    bl_status status = s.pass ? walk(&s, end, full_choice) : ctx->code;
    if (status == BL_UNAVAILABLE) { /* the memory ceiling: branch and bound needs little */
        *end = BL_KNAP_LIMIT;
        status = BL_OK;
    }
    work->labels += s.kept;
    bl_arena_free(s.front[0]);
    bl_arena_free(s.front[1]);
    bl_arena_free(s.pass);
    bl_arena_reset(work->arena, mark);
    return status;
}
