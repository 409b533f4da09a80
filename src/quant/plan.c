/* SPDX-License-Identifier: BSD-3-Clause */
/* PLAN from choices: the grid of every value, weight and constant operand. */
#include "quant/quant.h"

#include <math.h>
#include <string.h>

static bool moved(const bl_graph *g, int v)
{
    int p = g->values[v].producer;
    return p >= 0 && (g->nodes[p].op->flags & BL_OP_MOVES);
}

/* Does every reader bound it by a constant, on the same grid?  What lies behind the bound needs no codes: a value cut at
 * the grid's end is cut further by the bound, or was its outermost code anyway. */
static bool bounded(const bl_graph *g, const bl_unit *unit, int v)
{
    int readers = 0;
    for (int i = 0; i < g->n_outputs; i++)
        if (g->outputs[i] == v) return false;
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        for (int k = 0; k < n->n_in; k++) {
            if (n->in[k] != v) continue;
            bool inside = false;
            for (int u = 0; u < unit->n_values; u++) inside |= unit->values[u] == n->out[0];
            if (!inside || n->n_in < 2 || !(n->op->flags & BL_OP_PICKS)) return false;
            readers++;
        }
    }
    return readers > 0;
}

/* Its range is that of other values of its unit. */
static bool follows(const bl_graph *g, const bl_unit *unit, int v)
{
    return unit->n_values > 1 && (moved(g, v) || bounded(g, unit, v));
}

/* What a moved value holds beside its source (the filler of a Pad) widens the range as it is, so that it
 * has a code.  Fillers further out than FILLER_SPANS times what flows (a mask of -1e9, the -inf before a
 * maximum) would leave the rest no codes: they become the outermost one. */
static void add_filler(const bl_graph *g, const bl_stats *stats, int v, double *lo, double *hi)
{
    enum { FILLER_SPANS = 16 };
    const bl_node *n = &g->nodes[g->values[v].producer];
    const bl_value_stats *to = &stats->value[v], *from = n->in[0] >= 0 ? &stats->value[n->in[0]] : to;
    if (!to->count || !from->count) return;
    double low = fmin(from->lo, 0), high = fmax(from->hi, 0), far = FILLER_SPANS * (high - low);
    if (to->lo < from->lo && to->lo >= low - far) *lo = fmin(*lo, to->lo);
    if (to->hi > from->hi && to->hi <= high + far) *hi = fmax(*hi, to->hi);
}

/* The greatest scale not above this one that has the anchor on a code, k steps from 0: at most 1/k less.
 * Not above: a gate that reaches 1 then fills all codes, so that the container itself saturates it. */
static float anchored_scale(float scale, double anchor)
{
    double codes = ceil(fabs(anchor) / (double)scale * (1 - 1e-6));
    return (float)(fabs(anchor) / codes);
}

static bl_grid grid_of_range(double lo, double hi, int bits, double anchor)
{
    double levels = (double)((1u << bits) - 1);
    float scale = (float)((hi - lo) / levels);
    if (!(scale > 0)) scale = 1.0f;
    if (scale < 1e-8f) scale = 1e-8f;
    if (anchor != 0) scale = anchored_scale(scale, anchor);
    double zero = nearbyint(-lo / scale);
    bl_grid g = { .scale = scale, .lo = 0, .hi = (int32_t)levels };
    g.zero = zero < 0 ? 0 : zero > levels ? g.hi : (int32_t)zero;
    return g;
}

/* ---- powers of two */

static double histogram_error(const bl_value_stats *s, bl_grid g)
{
    double error = 0, width = (s->hi - s->lo) / BL_HIST_BINS;
    for (int i = 0; i < BL_HIST_BINS && s->bins; i++) {
        float x = (float)(s->lo + width * (i + 0.5));
        double d = (double)bl_dequantize(bl_quantize(x, g), g) - (double)x;
        error += (double)s->bins[i] * d * d;
    }
    return error;
}

/* The range's scale lies between two powers of two: the one whose squared error is less.  Zero is the first
 * code, or where numbers are negative the middle one: of one bit that is the upper code, for the negative side alone. */
static bl_grid power_of_two_grid(const bl_graph *g, const bl_unit *unit, const bl_stats *stats, double lo, double hi, int bits)
{
    int32_t top = (int32_t)((1u << bits) - 1), zero = (bits > 1 ? lo < 0 : -lo > hi) ? 1 << (bits - 1) : 0;
    double scale = top > zero ? hi / (top - zero) : 0, best = INFINITY;
    if (zero) scale = BL_MAX(scale, -lo / zero);
    if (!(scale > 0)) scale = 1;
    bl_grid out = { .zero = zero, .lo = 0, .hi = top };
    for (double e = floor(log2(scale)); e <= ceil(log2(scale)); e++) {
        bl_grid t = { .scale = (float)exp2(BL_MIN(BL_MAX(e, -40), 40)), .zero = zero, .lo = 0, .hi = top };
        double error = 0;
        for (int i = 0; i < unit->n_values; i++)
            if (!follows(g, unit, unit->values[i])) error += histogram_error(&stats->value[unit->values[i]], t);
        if (error < best) out = t, best = error;
    }
    return out;
}

bl_status bl_act_grid(bl_ctx *ctx, const bl_graph *graph, const bl_unit *unit, const bl_stats *stats, int bits,
                      const bl_observer *observer, bool power_of_two, bl_grid *out)
{
    double lo = 0, hi = 0;
    if (unit->range[bits]) observer = bl_observer_find(unit->range[bits]);
    if (unit->fixed_grid) { /* [Q12]: other scales are silently truncated by the runtimes */
        *out = (bl_grid){ .scale = 1.0f / 256, .zero = 0, .lo = 0, .hi = 255 };
        return BL_OK;
    }
    for (int i = 0; i < unit->n_values; i++) {
        int v = unit->values[i];
        if (moved(graph, v)) add_filler(graph, stats, v, &lo, &hi);
        if (follows(graph, unit, v)) continue; /* the rest is in its source, or behind its bound */
        const bl_value_stats *s = &stats->value[v];
        double a, b;
        if (!s->count)
            return bl_fail(ctx, BL_DATA, graph->values[v].name, "calibrate again", "no statistics of this value");
        const bl_observer *row = s->bins ? observer : bl_observer_find("minmax"); /* stand-ins have no histogram */
        row->range(s, bits, &a, &b);
        lo = BL_MIN(lo, a);
        hi = BL_MAX(hi, b);
    }
    if (unit->stretch > 0) {
        lo *= unit->stretch;
        hi *= unit->stretch;
    }
    *out = power_of_two ? power_of_two_grid(graph, unit, stats, lo, hi, bits) : grid_of_range(lo, hi, bits, unit->anchor);
    return BL_OK;
}

/* ---- what the plan will hold */

static bool is_operand(const bl_graph *g, int v)
{
    if (!g->values[v].t.data || g->values[v].t.type != BL_F32) return false;
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        for (int k = 0; (n->op->flags & BL_OP_JOINS) && n->op->integer && k < n->n_in; k++)
            if (n->in[k] == v) return true;
    }
    return false;
}

bl_plan *bl_plan_alloc(bl_ctx *ctx, const bl_graph *g, size_t n_quantizers, size_t n_units)
{
    bl_arena *a = bl_arena_new(ctx, "plan");
    bl_plan *p = a ? BL_NEW(a, bl_plan, 1) : NULL;
    if (p) {
        p->arena = a;
        p->graph = g->hash;
        p->feasible = true;
        p->quantizers = BL_NEW(a, bl_quantizer, n_quantizers);
        p->of_value = BL_NEW(a, int, (size_t)g->n_values);
        p->unit_name = BL_NEW(a, const char *, n_units);
        p->choice = BL_NEW(a, bl_candidate, n_units);
    }
    if (!p || !p->quantizers || !p->of_value || !p->unit_name || !p->choice) {
        bl_arena_free(a);
        return NULL;
    }
    for (int v = 0; v < g->n_values; v++) p->of_value[v] = -1;
    return p;
}

static bl_quantizer *add(bl_plan *p, int value, int bits, bool weight, const char *range)
{
    bl_quantizer *q = &p->quantizers[p->n_quantizers];
    *q = (bl_quantizer){ .kind = BL_Q_AFFINE, .value = value, .weight = weight, .bits = bits, .range = range,
                         .rounding = "nearest", .axis = -1, .n_scale = 1 };
    p->of_value[value] = p->n_quantizers++;
    return q;
}

static bl_status add_activation(bl_plan *p, int value, int bits, bl_grid grid, const char *range)
{
    bl_quantizer *q = add(p, value, bits, false, range);
    q->scale = BL_NEW(p->arena, float, 1);
    BL_ALLOC_TRY(bl_arena_ctx(p->arena), q->scale);
    q->scale[0] = grid.scale;
    q->zero = grid.zero;
    return BL_OK;
}

static bl_status add_operand(bl_plan *p, const bl_graph *g, int v)
{
    const bl_tensor *t = &g->values[v].t;
    const float *x = t->data;
    float lo = 0, hi = 0;
    for (int64_t i = 0; i < bl_tensor_count(t); i++) {
        lo = BL_MIN(lo, x[i]);
        hi = BL_MAX(hi, x[i]);
    }
    return add_activation(p, v, 8, grid_of_range(lo, hi, 8, 0), "minmax");
}

/* [Q4]: a bias must fit +-2^30 on its grid; where it does not, that channel's scale grows. */
static void widen_for_bias(const bl_graph *g, int layer, float sx, bool power_of_two, bl_quantizer *q)
{
    int b = bl_layer_bias(g, layer);
    if (b < 0) return;
    const float *bias = g->values[b].t.data;
    int64_t n = bl_tensor_count(&g->values[b].t);
    for (int64_t c = 0; c < BL_MAX(n, q->n_scale); c++) { /* one number stands for all channels */
        if (n > 1 && q->n_scale > 1 && n != q->n_scale) return;
        float *s = &q->scale[q->n_scale > 1 ? c : 0];
        float least = fabsf(bias[n > 1 ? c : 0]) / (sx * 1073000000.0f);
        if (*s < least) *s = power_of_two ? (float)exp2(ceil(log2((double)least))) : least;
    }
}

static bl_status add_weights(bl_ctx *ctx, bl_plan *p, const bl_graph *g, const bl_menu *m, const int *choice,
                             const bl_grid_options *o, bl_grid_book *book)
{
    int *layers = BL_NEW(p->arena, int, (size_t)g->n_nodes), *bits = BL_NEW(p->arena, int, (size_t)g->n_nodes);
    bl_weight_grid *grids = BL_NEW(p->arena, bl_weight_grid, (size_t)g->n_nodes);
    size_t n = 0;
    if (!layers || !bits || !grids) return bl_pending(ctx);
    for (int i = 0; i < g->n_nodes; i++)
        if (m->unit_of_layer[i] >= 0) {
            int u = m->unit_of_layer[i];
            layers[n] = i;
            bits[n++] = m->units[u].candidates[choice[u]].w_bits;
        }
    BL_TRY(book ? bl_grid_book_weights(ctx, book, p->arena, layers, bits, n, grids)
                : bl_weight_grids(p->arena, g, layers, bits, n, o, grids));
    for (size_t i = 0; i < n; i++) {
        int w = bl_layer_weight(g, layers[i]);
        bl_quantizer *q = p->of_value[w] >= 0 ? &p->quantizers[p->of_value[w]] : NULL;
        if (q && !q->weight)
            return bl_fail(ctx, BL_UNAVAILABLE, g->values[w].name, "give each its own constant",
                           "a weight that is also added, multiplied or concatenated");
        if (!q) q = add(p, w, 0, true, o && o->weight_range ? o->weight_range : "mse");
        if (q->bits >= bits[i]) continue; /* one weight of two layers: one grid, the wider width */
        q->bits = bits[i];
        q->axis = grids[i].axis;
        q->n_scale = grids[i].n_scale;
        q->scale = grids[i].scale;
        q->narrow = grids[i].narrow;
        q->kind = grids[i].n_table ? BL_Q_CODEBOOK : grids[i].group ? BL_Q_GROUPED : BL_Q_AFFINE;
        q->n_table = grids[i].n_table;
        q->table = grids[i].table;
        q->group = grids[i].group;
        q->n_multiple = grids[i].n_multiple;
        q->multiple = grids[i].multiple;
        if (q->n_table) q->range = "k-means";
    }
    for (size_t i = 0; i < n; i++) /* once all grids stand: layers may share them */
        widen_for_bias(g, layers[i], p->quantizers[p->of_value[g->nodes[layers[i]].in[0]]].scale[0],
                       o && o->power_of_two, &p->quantizers[p->of_value[bl_layer_weight(g, layers[i])]]);
    return BL_OK;
}

static bl_status plan_fill(bl_ctx *ctx, bl_plan *p, const bl_graph *g, const bl_menu *m, const bl_stats *stats,
                           const int *choice, const bl_grid_options *o, bl_grid_book *book)
{
    const char *range = o && o->act_range ? o->act_range : "mse";
    const bl_observer *observer = bl_observer_find(range);
    if (!observer)
        return bl_fail(ctx, BL_USAGE, range, "see `bitlathe list observers`", "unknown range estimator");
    p->stats = stats->hash;
    p->n_units = m->n_units;
    for (int u = 0; u < m->n_units; u++) {
        const bl_unit *unit = &m->units[u];
        BL_CHECK(ctx, choice[u] >= 0 && choice[u] < unit->n_candidates);
        p->choice[u] = unit->candidates[choice[u]];
        p->unit_name[u] = bl_strdup(p->arena, unit->name);
        BL_ALLOC_TRY(ctx, p->unit_name[u]);
        bl_grid grid;
        BL_TRY(book ? bl_grid_book_act(ctx, book, u, p->choice[u].a_bits, &grid)
                    : bl_act_grid(ctx, g, unit, stats, p->choice[u].a_bits, observer, o && o->power_of_two, &grid));
        int bits = p->choice[u].a_bits;
        const char *own = unit->range[bits] ? unit->range[bits] : range;
        const char *why = unit->why[bits] ? bl_strdup(p->arena, unit->why[bits]) : NULL;
        if (unit->why[bits]) BL_ALLOC_TRY(ctx, why);
        for (int i = 0; i < unit->n_values; i++) {
            BL_TRY(add_activation(p, unit->values[i], bits, grid, unit->fixed_grid ? "given" : own));
            p->quantizers[p->n_quantizers - 1].why = why;
        }
    }
    for (int v = 0; v < g->n_values; v++)
        if (is_operand(g, v)) BL_TRY(add_operand(p, g, v));
    return add_weights(ctx, p, g, m, choice, o, book);
}

bl_status bl_plan_make(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_stats *stats,
                       const int *choice, const bl_grid_options *options, const char *recipe, bl_plan **out)
{
    return bl_plan_make_by(ctx, graph, menu, stats, choice, options, recipe, NULL, out);
}

bl_status bl_plan_make_by(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_stats *stats, const int *choice,
                          const bl_grid_options *options, const char *recipe, bl_grid_book *book, bl_plan **out)
{
    bl_plan *p = bl_plan_alloc(ctx, graph, (size_t)graph->n_values, (size_t)menu->n_units);
    BL_ALLOC_TRY(ctx, p);
    p->recipe = bl_strdup(p->arena, recipe);
    p->seed = ctx->options.seed;
    bl_status s = p->recipe ? plan_fill(ctx, p, graph, menu, stats, choice, options, book) : bl_pending(ctx);
    if (s != BL_OK) {
        bl_plan_free(p);
        return s;
    }
    *out = p;
    return BL_OK;
}

bl_status bl_plan_content(bl_ctx *ctx, const bl_plan *plan, bl_hash *out)
{
    bl_arena *a = bl_arena_new(ctx, "plan content");
    BL_ALLOC_TRY(ctx, a);
    bl_hasher *h = bl_hasher_new(a);
    for (int i = 0; h && i < plan->n_quantizers; i++) {
        const bl_quantizer *q = &plan->quantizers[i];
        int64_t head[] = { q->kind, q->value, q->bits, q->zero, q->narrow, q->axis, q->group, q->n_scale, q->n_fixed, q->n_table };
        bl_hash_bytes(h, head, sizeof head);
        bl_hash_bytes(h, q->scale, (size_t)q->n_scale * sizeof *q->scale);
        bl_hash_bytes(h, q->k, (size_t)q->n_fixed * sizeof *q->k);
        bl_hash_bytes(h, q->i, (size_t)q->n_fixed * sizeof *q->i);
        bl_hash_bytes(h, q->f, (size_t)q->n_fixed * sizeof *q->f);
        bl_hash_bytes(h, q->table, (size_t)q->n_table * sizeof *q->table);
        bl_hash_bytes(h, q->multiple, (size_t)q->n_multiple);
    }
    bl_status s = h ? BL_OK : bl_pending(ctx);
    if (h) *out = bl_hash_end(h);
    bl_arena_free(a);
    return s;
}

void bl_plan_free(bl_plan *plan)
{
    if (!plan) return;
    json_decref(plan->solver);
    bl_arena_free(plan->arena);
}

bl_status bl_plan_figure(bl_plan *plan, const char *name, double value)
{
    for (int i = 0; i < plan->n_figures; i++)
        if (!strcmp(plan->figures[i].name, name)) {
            plan->figures[i].value = value;
            return BL_OK;
        }
    bl_figure *f = BL_NEW(plan->arena, bl_figure, (size_t)plan->n_figures + 1);
    const char *copy = bl_strdup(plan->arena, name);
    if (!f || !copy) return bl_pending(bl_arena_ctx(plan->arena));
    if (plan->n_figures) memcpy(f, plan->figures, (size_t)plan->n_figures * sizeof *f);
    f[plan->n_figures++] = (bl_figure){ copy, value };
    plan->figures = f;
    return BL_OK;
}

double bl_plan_predicted(const bl_plan *plan, const char *figure)
{
    for (int i = 0; i < plan->n_figures; i++)
        if (!strcmp(plan->figures[i].name, figure)) return plan->figures[i].value;
    return NAN;
}
