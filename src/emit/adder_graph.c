/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Adder graphs: the driver of both stages (da4ml, arXiv 2507.04535, 2.1) and the proof that a graph
 * computes W.  Every depth of the tree of columns is tried once, the cheapest total stays; where a
 * depth is asked for, a stage that goes beyond it makes the tree flatter, and in the end both stages
 * look at depth.  Trees whose digits alone need more levels than that are not tried.
 */
#include "emit/adder.h"

#include <string.h>

/* Below so many levels to spare the second stage minds depth. */
enum { AUTO_DEPTH = 6 };

typedef struct problem {
    bl_ctx *ctx;
    const int64_t *w;
    int n_in, n_out;
    const bl_adder_input *inputs;
    const int64_t *bias;
    const int32_t *bias_exp;
    const bl_adder_options *options;
    int depth;          /* allowed; BL_ADDER_ANY_DEPTH: any */
} problem;

/* How the factors are shared. */
typedef struct way { bl_adder_method method; bool first_by_depth, second_by_depth; int limit; } way;

/* W = first x second at one depth of the tree; first NULL: columns whole. */
typedef struct factors { int64_t *first, *second; int n_mid; } factors;

static int count_sums(const bl_adder_graph *g)
{
    int n = 0;
    for (int i = 0; i < g->n_nodes; i++) n += g->nodes[i].kind == BL_ADDER_SUM;
    return n;
}

static int output_depth(const bl_adder_graph *g, const bl_adder_output *o, int n)
{
    int depth = 0;
    for (int i = 0; i < n; i++)
        if (o[i].node >= 0) depth = BL_MAX(depth, g->nodes[o[i].node].level);
    return depth;
}

static bl_status build_start(const problem *p, bl_arena *arena, bl_adder_build *b)
{
    *b = (bl_adder_build){ .arena = arena, .unit_cost = p->options->unit_cost, .g = BL_NEW(arena, bl_adder_graph, 1) };
    if (!b->g) return bl_pending(p->ctx);
    b->g->n_in = p->n_in;
    b->g->n_out = p->n_out;
    b->g->outputs = BL_NEW(arena, bl_adder_output, (size_t)p->n_out);
    if (!b->g->outputs) return bl_pending(p->ctx);
    for (int i = 0; i < p->n_in; i++) {
        const bl_adder_input *in = &p->inputs[i];
        bl_adder_node n = { .kind = BL_ADDER_INPUT, .a = -1, .b = -1, .lo = in->lo, .hi = in->hi, .exp = in->exp, .level = in->level };
        if (bl_adder_node_add(b, &n) < 0) return bl_pending(p->ctx);
    }
    return BL_OK;
}

static bl_adder_term *input_terms(bl_arena *arena, int n)
{
    bl_adder_term *t = BL_NEW(arena, bl_adder_term, (size_t)n);
    for (int i = 0; t && i < n; i++) t[i].node = i;
    return t;
}

/* Columns that vanish in the first factor keep a term of no digits: row of zeros in the second. */
static bl_status second_factor(const problem *p, bl_adder_build *b, const way *v, const int64_t *second,
                               int n_mid, const bl_adder_output *mid)
{
    bl_adder_term *terms = BL_NEW(b->arena, bl_adder_term, (size_t)n_mid);
    if (!terms) return bl_pending(p->ctx);
    for (int i = 0; i < n_mid; i++) terms[i] = (bl_adder_term){ mid[i].node, mid[i].shift, mid[i].negative };
    return bl_adder_share(b, v->method, v->second_by_depth, v->limit, second, n_mid, p->n_out, terms, p->bias, p->bias_exp, b->g->outputs);
}

static void finish(bl_adder_graph *g)
{
    g->adders = count_sums(g);
    g->depth = output_depth(g, g->outputs, g->n_out);
    g->cost = 0;
    for (int i = 0; i < g->n_nodes; i++) g->cost += g->nodes[i].cost_bits;
}

/* ------------------------------------------------------------------ levels */

static int ceil_log2_u64(uint64_t v)
{
    return v > 1 ? 64 - __builtin_clzll(v - 1) : 0;
}

enum { LEVEL_NONE = INT32_MIN, LEVEL_FAR = 38 };

/* Levels that balanced sums of the digits need, which no graph of them undercuts: 2^level of what is added never sums to more
 * than 2^(level of the sum).  What is 0 stands on LEVEL_NONE. */
static void least_levels(const int64_t *w, int n_in, int n_out, const int32_t *in, const int64_t *bias, int32_t *out)
{
    for (int o = 0; o < n_out; o++) {
        int32_t top = bias && bias[o] ? 0 : LEVEL_NONE;
        for (int i = 0; i < n_in; i++)
            if (w[(size_t)i * (size_t)n_out + (size_t)o]) top = BL_MAX(top, in[i]);
        out[o] = top;
        if (top == LEVEL_NONE) continue;
        /* In 2^(top - LEVEL_FAR), so the sum is exact; what is smaller is left out, and the bound is still one. */
        uint64_t load = bias && bias[o] && top <= LEVEL_FAR ? (uint64_t)1 << (LEVEL_FAR - top) : 0;
        for (int i = 0; i < n_in; i++) {
            int64_t v = w[(size_t)i * (size_t)n_out + (size_t)o];
            if (v && in[i] != LEVEL_NONE && top - in[i] <= LEVEL_FAR) load += (uint64_t)bl_csd_count(v) << (LEVEL_FAR - (top - in[i]));
        }
        out[o] = top - LEVEL_FAR + ceil_log2_u64(load);
    }
}

static int deepest(const int32_t *levels, int n)
{
    int depth = 0;
    for (int o = 0; o < n; o++) depth = BL_MAX(depth, levels[o]);
    return depth;
}

/* Whether no graph of these factors can keep the depth. */
static bl_status too_deep(const problem *p, bl_arena *arena, const factors *f, bool *deep)
{
    bl_mark mark = bl_arena_mark(arena);
    int32_t *in = BL_NEW(arena, int32_t, (size_t)p->n_in), *mid = BL_NEW(arena, int32_t, (size_t)f->n_mid);
    int32_t *out = BL_NEW(arena, int32_t, (size_t)p->n_out);
    if (!in || !mid || !out) return bl_pending(p->ctx);
    for (int i = 0; i < p->n_in; i++) in[i] = p->inputs[i].level;
    least_levels(f->first, p->n_in, f->n_mid, in, NULL, mid);
    least_levels(f->second, f->n_mid, p->n_out, mid, p->bias, out);
    *deep = deepest(mid, f->n_mid) > p->depth || deepest(out, p->n_out) > p->depth;
    bl_arena_reset(arena, mark);
    return BL_OK;
}

/* Levels of balanced sums of digits: what no graph of the digits can undercut. */
static bl_status least_depth(const problem *p, bl_arena *arena, int *depth)
{
    bl_mark mark = bl_arena_mark(arena);
    int32_t *in = BL_NEW(arena, int32_t, (size_t)p->n_in), *out = BL_NEW(arena, int32_t, (size_t)p->n_out);
    if (!in || !out) return bl_pending(p->ctx);
    for (int i = 0; i < p->n_in; i++) in[i] = p->inputs[i].level;
    least_levels(p->w, p->n_in, p->n_out, in, p->bias, out);
    *depth = deepest(out, p->n_out);
    bl_arena_reset(arena, mark);
    return BL_OK;
}

/* ------------------------------------------------------------------ tries */

/* *deep: the graph went beyond the allowed depth, and there may be none. */
static bl_status try_factors(const problem *p, bl_arena *arena, const factors *f, way v, bl_adder_graph **out, bool *deep)
{
    bl_adder_build b;
    BL_TRY(build_start(p, arena, &b));
    bl_adder_term *terms = input_terms(arena, p->n_in);
    if (!terms) return bl_pending(p->ctx);
    *deep = false;
    if (!f->first) {
        BL_TRY(bl_adder_share(&b, v.method, v.first_by_depth, v.limit, p->w, p->n_in, p->n_out, terms, p->bias, p->bias_exp,
                              b.g->outputs));
        b.g->stage_adders[0] = count_sums(b.g);
    } else {
        BL_TRY(too_deep(p, arena, f, deep));
        if (*deep) return BL_OK;
        bl_adder_output *mid = BL_NEW(arena, bl_adder_output, (size_t)f->n_mid);
        if (!mid) return bl_pending(p->ctx);
        BL_TRY(bl_adder_share(&b, v.method, v.first_by_depth, v.limit, f->first, p->n_in, f->n_mid, terms, NULL, NULL, mid));
        b.g->stage_adders[0] = count_sums(b.g);
        *deep = output_depth(b.g, mid, f->n_mid) > p->depth;
        if (*deep) return BL_OK;
        BL_TRY(second_factor(p, &b, &v, f->second, f->n_mid, mid));
        b.g->stage_adders[1] = count_sums(b.g) - b.g->stage_adders[0];
    }
    finish(b.g);
    *deep = b.g->depth > p->depth;
    *out = b.g;
    return BL_OK;
}

static bl_status factors_at(const problem *p, bl_arena *arena, int dc, factors *f)
{
    *f = (factors){ 0 };
    if (dc < 0) return BL_OK;
    return bl_adder_decompose(arena, p->w, p->n_in, p->n_out, dc, &f->first, &f->second, &f->n_mid);
}

static bool same_factors(const problem *p, const factors *a, const factors *b)
{
    size_t mid = (size_t)a->n_mid;
    return a->first && b->first && a->n_mid == b->n_mid
        && !memcmp(a->first, b->first, (size_t)p->n_in * mid * sizeof *a->first)
        && !memcmp(a->second, b->second, mid * (size_t)p->n_out * sizeof *a->second);
}

/* One depth of the tree; columns whole, what flatter trees end in, are shared by depth where one is asked for. */
static way way_at(const problem *p, int dc)
{
    bool limited = p->options->extra_depth >= 0, exact = p->options->exact_depth;
    return (way){ p->options->method, limited && !exact && dc < 0,
                  limited && !exact && p->options->extra_depth < AUTO_DEPTH, exact ? p->depth : BL_ADDER_ANY_DEPTH };
}

/* Columns whole; where sharing by depth is still a level too deep, balanced sums of the digits, which never are. */
static bl_status try_whole(const problem *p, bl_arena *arena, bl_adder_graph **out)
{
    const factors whole = { 0 };
    bl_mark mark = bl_arena_mark(arena);
    bool deep;
    BL_TRY(try_factors(p, arena, &whole, way_at(p, -1), out, &deep));
    if (!deep) return BL_OK;
    bl_arena_reset(arena, mark);
    return try_factors(p, arena, &whole, (way){ .method = BL_ADDER_NONE, .limit = BL_ADDER_ANY_DEPTH }, out, &deep);
}

/* From dc down to what keeps the depth. */
static bl_status solve_from(const problem *p, bl_arena *arena, int dc, bl_adder_graph **out)
{
    for (; dc >= 0; dc--) {
        bl_mark mark = bl_arena_mark(arena);
        factors f;
        bool deep;
        BL_TRY(factors_at(p, arena, dc, &f));
        BL_TRY(try_factors(p, arena, &f, way_at(p, dc), out, &deep));
        if (!deep) return BL_OK;
        bl_arena_reset(arena, mark);
    }
    return try_whole(p, arena, out);
}

/* Takes a graph into another arena. */
static bl_status graph_copy(bl_arena *arena, const bl_adder_graph *g, bl_adder_graph **out)
{
    bl_adder_graph *c = BL_NEW(arena, bl_adder_graph, 1);
    bl_adder_node *nodes = BL_NEW(arena, bl_adder_node, (size_t)g->n_nodes);
    bl_adder_output *outputs = BL_NEW(arena, bl_adder_output, (size_t)g->n_out);
    if (!c || !nodes || !outputs) return bl_pending(bl_arena_ctx(arena));
    *c = *g;
    c->nodes = memcpy(nodes, g->nodes, (size_t)g->n_nodes * sizeof *nodes);
    c->outputs = memcpy(outputs, g->outputs, (size_t)g->n_out * sizeof *outputs);
    *out = c;
    return BL_OK;
}

/* Every depth of the tree, each once: one too deep stands for a flatter one, and so does one that splits W in the same way. */
static bl_status search_in(const problem *p, bl_arena *trees, bl_arena *arena, int top, bl_adder_graph **out)
{
    factors last = { 0 };
    for (int dc = -1; dc <= top; dc++) {
        bl_arena *scratch;
        bl_adder_graph *g = NULL;
        factors f;
        bool deep = false;
        BL_TRY(factors_at(p, trees, dc, &f));
        if (same_factors(p, &f, &last)) continue;
        last = f;
        scratch = bl_arena_new(p->ctx, "adder search");
        if (!scratch) return bl_pending(p->ctx);
        bl_status st = dc < 0 ? try_whole(p, scratch, &g) : try_factors(p, scratch, &f, way_at(p, dc), &g, &deep);
        if (st == BL_OK && !deep && (!*out || g->cost < (*out)->cost)) st = graph_copy(arena, g, out);
        bl_arena_free(scratch);
        BL_TRY(st);
    }
    return BL_OK;
}

static bl_status search_depths(const problem *p, bl_arena *arena, int top, bl_adder_graph **out)
{
    bl_arena *trees = bl_arena_new(p->ctx, "adder trees");
    if (!trees) return bl_pending(p->ctx);
    *out = NULL;
    bl_status st = search_in(p, trees, arena, top, out);
    bl_arena_free(trees);
    return st;
}

static bl_status check_input(const problem *p)
{
    size_t n;
    if (p->n_in < 1 || p->n_out < 1 || !bl_mul_size((size_t)p->n_in, (size_t)p->n_out, &n))
        return bl_fail(p->ctx, BL_USAGE, "adder graph", "give a matrix", "%d x %d", p->n_in, p->n_out);
    for (size_t i = 0; i < n; i++)
        if (p->w[i] >= (int64_t)1 << 46 || p->w[i] <= -((int64_t)1 << 46))
            return bl_fail(p->ctx, BL_UNAVAILABLE, "adder graph", "give weights of a layer closer exponents",
                           "a weight needs more than 46 bits");
    return BL_OK;
}

bl_status bl_adder_solve(bl_arena *arena, const int64_t *w, int n_in, int n_out,
                         const bl_adder_input *inputs, const int64_t *bias, const int32_t *bias_exp,
                         const bl_adder_options *options, bl_adder_graph **out)
{
    problem p = { .ctx = bl_arena_ctx(arena), .w = w, .n_in = n_in, .n_out = n_out, .inputs = inputs, .bias = bias,
                  .bias_exp = bias_exp, .options = options, .depth = BL_ADDER_ANY_DEPTH };
    bool searched = options->decompose == BL_ADDER_SEARCH;
    int extra = options->extra_depth < 0 ? BL_ADDER_ANY_DEPTH : options->extra_depth;
    int top = BL_MIN(extra, ceil_log2_u64((uint64_t)n_in));

    BL_TRY(check_input(&p));
    if (extra != BL_ADDER_ANY_DEPTH) {
        int least = 0;
        BL_TRY(least_depth(&p, arena, &least));
        p.depth = least + extra;
    }
    if (searched && options->method != BL_ADDER_NONE) BL_TRY(search_depths(&p, arena, top, out));
    else BL_TRY(solve_from(&p, arena, BL_MIN(BL_MAX(options->decompose, -1), top), out));
    return bl_adder_verify(arena, *out, w, inputs, bias, bias_exp);
}

/* ------------------------------------------------------------------ proof */

void bl_adder_evaluate(const bl_adder_graph *g, const int64_t *in, int64_t *values)
{
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_adder_node *n = &g->nodes[i];
        if (n->kind == BL_ADDER_INPUT) values[i] = in[i];
        else if (n->kind == BL_ADDER_CONSTANT) values[i] = n->lo;
        else {
            int up_a = g->nodes[n->a].exp + n->shift_a - n->exp, up_b = g->nodes[n->b].exp + n->shift_b - n->exp;
            uint64_t a = (uint64_t)values[n->a] << up_a, b = (uint64_t)values[n->b] << up_b;
            values[i] = (int64_t)(n->subtract ? a - b : a + b);
        }
    }
}

/* What an output is, as a multiple of 2^exp; false where it is not a whole one. */
static bool output_value(const bl_adder_graph *g, const bl_adder_output *o, const int64_t *values, int exp, int64_t *out)
{
    *out = 0;
    if (o->node < 0) return true;
    int up = g->nodes[o->node].exp + o->shift - exp;
    int64_t v = values[o->node];
    if (up < 0) {
        if (-up > 62 || v % ((int64_t)1 << -up)) return false;
        v /= (int64_t)1 << -up;
    } else if (up > 62 || !bl_mul_i64(v, (int64_t)1 << up, &v)) {
        return v == 0;
    }
    *out = o->negative ? -v : v;
    return true;
}

static bl_status wrong(bl_arena *arena, int i, int o)
{
    return bl_fail(bl_arena_ctx(arena), BL_INTERNAL, "adder graph", "please report this",
                   "weight %d of output %d is not what was asked for", i, o);
}

/* The constants of all nodes with every input at 0; then one input at 1 gives the coefficients. */
static bl_status prove_weights(bl_arena *arena, const bl_adder_graph *g, const int64_t *w, const bl_adder_input *inputs,
                               const int64_t *constant, int64_t *in, int64_t *values, int64_t *lo, int64_t *hi)
{
    size_t no = (size_t)g->n_out;
    for (int i = 0; i < g->n_in; i++) {
        in[i] = 1;
        bl_adder_evaluate(g, in, values);
        in[i] = 0;
        for (int n = 0; n < g->n_nodes; n++) {
            int64_t c = values[n] - constant[n], a, b;
            if (!bl_mul_i64(c, inputs[i].lo, &a) || !bl_mul_i64(c, inputs[i].hi, &b)) return wrong(arena, i, -1);
            if (!bl_add_i64(lo[n], BL_MIN(a, b), &lo[n]) || !bl_add_i64(hi[n], BL_MAX(a, b), &hi[n])) return wrong(arena, i, -1);
            values[n] = c;
        }
        for (int o = 0; o < g->n_out; o++) {
            int64_t v;
            if (!output_value(g, &g->outputs[o], values, inputs[i].exp, &v) || v != w[(size_t)i * no + (size_t)o])
                return wrong(arena, i, o);
        }
    }
    return BL_OK;
}

bl_status bl_adder_verify(bl_arena *arena, bl_adder_graph *g, const int64_t *w, const bl_adder_input *inputs,
                          const int64_t *bias, const int32_t *bias_exp)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    size_t n = (size_t)g->n_nodes;
    bl_mark mark = bl_arena_mark(arena);
    int64_t *in = BL_NEW(arena, int64_t, (size_t)g->n_in), *values = BL_NEW(arena, int64_t, n);
    int64_t *constant = BL_NEW(arena, int64_t, n), *lo = BL_NEW(arena, int64_t, n), *hi = BL_NEW(arena, int64_t, n);

    if (!in || !values || !constant || !lo || !hi) return bl_pending(ctx);
    bl_adder_evaluate(g, in, constant);
    memcpy(lo, constant, n * sizeof *lo);
    memcpy(hi, constant, n * sizeof *hi);
    for (int o = 0; o < g->n_out; o++) {
        int64_t v;
        if (!output_value(g, &g->outputs[o], constant, bias ? bias_exp[o] : 0, &v) || v != (bias ? bias[o] : 0))
            return wrong(arena, -1, o);
    }
    BL_TRY(prove_weights(arena, g, w, inputs, constant, in, values, lo, hi));
    for (size_t k = 0; k < n; k++) {
        bl_adder_node *node = &g->nodes[k];
        if (lo[k] < node->lo || hi[k] > node->hi)
            return bl_fail(ctx, BL_INTERNAL, "adder graph", "please report this", "node %zu leaves its interval", k);
        node->lo = lo[k];
        node->hi = hi[k];
    }
    bl_arena_reset(arena, mark);
    return BL_OK;
}
