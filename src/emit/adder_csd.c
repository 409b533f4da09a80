/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adder graphs: signed digits, powers of two, and the first stage of da4ml (arXiv 2507.04535, 2.1):
 * columns of W that resemble each other are made from each other.  A minimum spanning tree over
 * the columns and zero, distances in signed digits of the difference or sum, splits W in two
 * factors: the edges' columns, and how they add up.
 */
#include "emit/adder.h"

void bl_csd(int64_t v, uint64_t *plus, uint64_t *minus)
{
    uint64_t m = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;
    /* Non-adjacent form: bits of 3m above m are +1, bits of m above 3m -1, each at half the place. */
    uint64_t m3 = m * 3, p = (m3 & ~m) >> 1, n = (m & ~m3) >> 1;
    *plus = v < 0 ? n : p;
    *minus = v < 0 ? p : n;
}

int bl_csd_count(int64_t v)
{
    uint64_t p, n;
    bl_csd(v, &p, &n);
    return __builtin_popcountll(p | n);
}

static int zeros_below(uint64_t bits)
{
    return bits ? __builtin_ctzll(bits) : 0;
}

void bl_adder_normalise(int64_t *w, int n_in, int n_out, int32_t *row_shift, int32_t *column_shift)
{
    for (int o = 0; o < n_out; o++) {
        uint64_t any = 0;
        for (int i = 0; i < n_in; i++) any |= (uint64_t)w[(size_t)i * (size_t)n_out + (size_t)o];
        column_shift[o] = zeros_below(any);
        for (int i = 0; i < n_in; i++) w[(size_t)i * (size_t)n_out + (size_t)o] /= (int64_t)1 << column_shift[o];
    }
    for (int i = 0; i < n_in; i++) {
        int64_t *row = w + (size_t)i * (size_t)n_out;
        uint64_t any = 0;
        for (int o = 0; o < n_out; o++) any |= (uint64_t)row[o];
        row_shift[i] = zeros_below(any);
        for (int o = 0; o < n_out; o++) row[o] /= (int64_t)1 << row_shift[i];
    }
}

static int ceil_log2_i(int64_t v)
{
    int n = 0;
    while (((int64_t)1 << n) < v) n++;
    return n;
}

/* Digits of a -+ b over all rows; column -1 is zero. */
static int distance(const int64_t *w, int n_in, int n_out, int a, int b, bool *negative)
{
    int less = 0, more = 0;
    for (int i = 0; i < n_in; i++) {
        const int64_t *row = w + (size_t)i * (size_t)n_out;
        int64_t x = a < 0 ? 0 : row[a], y = b < 0 ? 0 : row[b];
        less += bl_csd_count(x - y);
        more += bl_csd_count(x + y);
    }
    *negative = more < less;
    return BL_MIN(less, more);
}

typedef struct tree {
    int n;            /* columns and the root, which is vertex 0 */
    int32_t *cost;    /* n x n */
    uint8_t *negative;
    int32_t *parent, *level;
    int32_t *from, *to; /* edges in the order in which they were taken */
} tree;

/* Prim from the root; an edge that would make the tree too deep is taken only when nothing else is
 * left, and then it is the first one. */
static void grow(tree *t, int dc)
{
    int n = t->n, limit = INT32_MAX;
    if (dc >= 0) {
        int32_t most = 0;
        for (int j = 1; j < n; j++) most = BL_MAX(most, t->cost[j]);
        limit = (1 << dc) - 1 + ceil_log2_i(BL_MAX(most, 1));
    }
    for (int v = 1; v < n; v++) t->parent[v] = -2;
    t->parent[0] = -1;
    for (int k = 0; k + 1 < n; k++) {
        int64_t best = INT64_MAX;
        int bi = -1, bj = -1;
        for (int j = 1; j < n; j++) {
            if (t->parent[j] != -2) continue;
            for (int i = 0; i < n; i++) {
                int32_t c = t->cost[(size_t)j * (size_t)n + (size_t)i];
                if (t->parent[i] == -2) continue;
                int deep = BL_MAX(ceil_log2_i(BL_MAX(c, 1)), t->level[i]) + 1;
                int64_t price = deep <= limit ? c : INT32_MAX;
                if (price < best) best = price, bi = i, bj = j;
            }
        }
        int32_t c = t->cost[(size_t)bj * (size_t)n + (size_t)bi];
        t->parent[bj] = bi;
        t->level[bj] = BL_MAX(ceil_log2_i(BL_MAX(c, 1)), t->level[bi]) + 1;
        t->from[k] = bi;
        t->to[k] = bj;
    }
}

static bl_status tree_make(bl_arena *arena, const int64_t *w, int n_in, int n_out, tree *t)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    size_t n = (size_t)n_out + 1;
    *t = (tree){ .n = (int)n, .cost = BL_NEW(arena, int32_t, n * n), .negative = BL_NEW(arena, uint8_t, n * n),
                 .parent = BL_NEW(arena, int32_t, n), .level = BL_NEW(arena, int32_t, n),
                 .from = BL_NEW(arena, int32_t, n), .to = BL_NEW(arena, int32_t, n) };
    if (!t->cost || !t->negative || !t->parent || !t->level || !t->from || !t->to) return bl_pending(ctx);
    for (size_t a = 0; a < n; a++) {
        for (size_t b = 0; b < a; b++) {
            bool negative;
            int32_t d = distance(w, n_in, n_out, (int)a - 1, (int)b - 1, &negative);
            t->cost[a * n + b] = t->cost[b * n + a] = d;
            t->negative[a * n + b] = t->negative[b * n + a] = negative;
        }
    }
    return BL_OK;
}

bl_status bl_adder_decompose(bl_arena *arena, const int64_t *w, int n_in, int n_out, int dc,
                             int64_t **first, int64_t **second, int *n_mid)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    size_t ni = (size_t)n_in, no = (size_t)n_out, mid = 0;
    int64_t *f = BL_NEW(arena, int64_t, ni * no), *s = BL_NEW(arena, int64_t, no * no);
    tree t;

    if (!f || !s) return bl_pending(ctx);
    BL_TRY(tree_make(arena, w, n_in, n_out, &t));
    grow(&t, dc);
    /* Edges in order: `from` is made before `to`, so its row of the second factor is complete. */
    for (size_t k = 0; k < no; k++) {
        size_t to = (size_t)t.to[k] - 1;
        int from = t.from[k] - 1;
        int64_t sign = t.negative[(size_t)t.to[k] * (size_t)t.n + (size_t)t.from[k]] ? -1 : 1;
        bool any = false;
        for (size_t i = 0; i < ni; i++) {
            int64_t d = w[i * no + to] - (from < 0 ? 0 : sign * w[i * no + (size_t)from]);
            f[i * no + mid] = d;
            any |= d != 0;
        }
        for (size_t m = 0; m < no; m++) s[m * no + to] = from < 0 ? 0 : sign * s[m * no + (size_t)from];
        if (any) s[mid++ * no + to] = 1;
    }
    /* Rows of the first factor close up: fewer edges than columns where some are equal. */
    for (size_t i = 0; i < ni; i++)
        for (size_t m = 0; m < mid; m++) f[i * mid + m] = f[i * no + m];
    *first = f;
    *second = s;
    *n_mid = (int)mid;
    return BL_OK;
}
