/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The last position of a falling curve that still meets a target, asked for at as few positions as can be.
 * Source: PMP (arXiv 2302.05397), phase 2.  Bracketing walks run on the curve turned round, cheapest
 * position first, as the method's published code does: their counts depend on it.
 */
#include "search/search.h"

#include <string.h>

enum { BRACKET_SMALL = 8 };     /* binary-interpolation: from here on by interpolation, */
#define SPAN_SMALL 2.0          /* or where the two ends differ by less: points of top-1, dB */

typedef struct curve {
    bl_ctx *ctx;
    const bl_curve *c;
    double *value;              /* by position; NaN: not asked yet */
    int asked;
} curve;

static bl_status ask(curve *q, int position, double *out)
{
    if (isnan(q->value[position])) {
        BL_TRY(bl_check_interrupt(q->ctx));
        BL_TRY(q->c->value(q->c->user, position, &q->value[position]));
        q->asked++;
        if (isnan(q->value[position])) q->value[position] = -INFINITY; /* what cannot be told does not meet it */
    }
    *out = q->value[position];
    return BL_OK;
}

static bl_status walk_sequential(curve *q, int *last)
{
    double v;
    for (*last = -1; *last + 1 < q->c->n; ++*last) {
        BL_TRY(ask(q, *last + 1, &v));
        if (!(v >= q->c->target)) break;
    }
    return BL_OK;
}

static bl_status walk_reverse(curve *q, int *last)
{
    double v;
    for (*last = q->c->n - 1; *last >= 0; --*last) {
        BL_TRY(ask(q, *last, &v));
        if (v >= q->c->target) break;
    }
    return BL_OK;
}

/* Where between a miss (value a) and a hit (value b) to look next. */
typedef double share_fn(const curve *q, int width, double a, double b);

static double share_half(const curve *q, int width, double a, double b)
{
    (void)q, (void)width, (void)a, (void)b;
    return 0.5;
}

static double share_line(const curve *q, int width, double a, double b)
{
    double p = (q->c->target - a) / (b - a);
    (void)width;
    return p >= 0 && p <= 1 ? p : 0.5;
}

static double share_both(const curve *q, int width, double a, double b)
{
    return width + 1 <= BRACKET_SMALL || b - a < SPAN_SMALL ? share_line(q, width, a, b) : 0.5;
}

static bl_status bracket(curve *q, share_fn *share, int *last)
{
    int n = q->c->n, left = 0, right = n - 1; /* of the curve turned round: left misses, right meets */
    double a, b, v;
    *last = n - 1;
    BL_TRY(ask(q, n - 1, &a));
    if (a >= q->c->target) return BL_OK;
    *last = -1;
    BL_TRY(ask(q, 0, &b));
    if (!(b >= q->c->target)) return BL_OK;
    while (right - left > 1) {
        int at = left + (int)((right - left) * share(q, right - left, a, b));
        at = BL_MAX(left + 1, BL_MIN(right - 1, at));
        BL_TRY(ask(q, n - 1 - at, &v));
        if (v >= q->c->target) {
            right = at;
            b = v;
        } else {
            left = at;
            a = v;
        }
    }
    *last = n - 1 - right;
    return BL_OK;
}

static bl_status walk_binary(curve *q, int *last)
{
    return bracket(q, share_half, last);
}

static bl_status walk_interpolation(curve *q, int *last)
{
    return bracket(q, share_line, last);
}

static bl_status walk_both(curve *q, int *last)
{
    return bracket(q, share_both, last);
}

static const struct {
    const char *name;
    bl_status (*run)(curve *q, int *last);
} walks[] = {
    { "binary", walk_binary },
    { "binary-interpolation", walk_both },
    { "interpolation", walk_interpolation },
    { "reverse", walk_reverse },
    { "sequential", walk_sequential },
};

static int find_walk(const char *name)
{
    for (size_t i = 0; i < BL_COUNTOF(walks); i++)
        if (!strcmp(walks[i].name, name ? name : "binary")) return (int)i;
    return -1;
}

bl_status bl_curve_check(bl_ctx *ctx, const char *walk)
{
    if (find_walk(walk) >= 0) return BL_OK;
    return bl_fail(ctx, BL_USAGE, walk, "give binary, binary-interpolation, interpolation, reverse or sequential",
                   "no such walk over the list");
}

bl_status bl_curve_last(bl_ctx *ctx, const bl_curve *c, const char *walk, int *last, int *asked)
{
    BL_TRY(bl_curve_check(ctx, walk));
    bl_arena *a = bl_arena_new(ctx, "curve");
    BL_ALLOC_TRY(ctx, a);
    curve q = { .ctx = ctx, .c = c, .value = BL_NEW(a, double, (size_t)BL_MAX(c->n, 1)) };
    bl_status s = q.value ? BL_OK : bl_pending(ctx);
    for (int i = 0; s == BL_OK && i < c->n; i++) q.value[i] = NAN;
    int at = -1;
    if (s == BL_OK && c->n > 0) s = walks[find_walk(walk)].run(&q, &at);
    bl_arena_free(a);
    BL_TRY(s);
    *last = at;
    *asked = q.asked;
    return BL_OK;
}
