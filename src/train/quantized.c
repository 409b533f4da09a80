/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Training on a plan's grids: forward on rounded weights and values, backward as if rounding were the
 * identity inside the range (the straight-through estimator, arXiv 1308.3432).  A row of
 * quant_trainers.def says what else moves: LSQ the scales, with the gradient round(v) - v inside the
 * range and the bound outside, times 1 / sqrt(n Q_p); PACT the upper end a of a value's range, with the
 * gradient [x >= a].  Values that the menu unites stay on one grid; grids that are given (Softmax, anchors) stay.
 */
#include "train/study.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ the rows: slopes by the learned figure */

double bl_lsq_slope(double v, double lo, double hi)
{
    return v < lo ? lo : v > hi ? hi : rint(v) - v;
}

double bl_pact_slope(double v, double lo, double hi)
{
    (void)lo;
    return v >= hi ? 1 : 0;
}

const bl_quant_rule bl_quant_rule_lsq = {.weights = true, .slope = bl_lsq_slope};
const bl_quant_rule bl_quant_rule_pact = {.ends = true, .decays = true, .slope = bl_pact_slope};
const bl_quant_rule bl_quant_rule_relative = {.weights = true, .relative = true, .slope = bl_lsq_slope};
const bl_quant_rule bl_quant_rule_ste = {0};

static const bl_quant_rule *const rules[] = {
#define X(symbol, name, help) [BL_QT_##symbol] = &bl_quant_rule_##symbol,
#include "train/quant_trainers.def"
#undef X
};

const bl_quant_trainer bl_quant_trainers[] = {
#define X(symbol, name, help) {name, help, BL_QT_##symbol},
#include "train/quant_trainers.def"
#undef X
};
const size_t bl_n_quant_trainers = BL_COUNTOF(bl_quant_trainers);

const bl_quant_trainer *bl_quant_trainer_find(const char *name)
{
    for (size_t i = 0; i < bl_n_quant_trainers; i++)
        if (!strcmp(bl_quant_trainers[i].name, name)) return &bl_quant_trainers[i];
    return NULL;
}

/* ------------------------------------------------------------------ sites */

static bl_status make_site(bl_study *s, bl_lesson *l, int q)
{
    const bl_quantizer *k = &s->plan->quantizers[q];
    const bl_value *of = &s->of->values[k->value];
    int v = bl_graph_find_value(l->net, of->name);
    bl_site *site = &s->site[s->n];

    if (!bl_quantizer_has_codes(k) || k->group || (k->weight && k->bits < 2 && !k->n_table))
        return bl_fail(l->ctx, BL_UNAVAILABLE, of->name, "plan codebooks, or affine grids of 2 bits or more",
                       "this grid cannot be trained");
    if (of->t.data && !k->weight) return BL_OK; /* a constant operand: nothing flows back */
    if (v < 0 || (k->weight && bl_tensor_count(&l->net->values[v].t) != bl_tensor_count(&of->t)))
        return bl_fail(l->ctx, BL_UNAVAILABLE, of->name, "give the model that the plan was made for",
                       "the network that is trained has no such value");
    *site = (bl_site){.value = v, .quantizer = q, .weight = k->weight, .extra = -1, .from = -1, .n_scale = k->n_scale,
                      .axis = k->axis, .bits = k->bits, .narrow = k->narrow, .unit = 1, .scaled = 1,
                      .clamp_lo = -INFINITY, .clamp_hi = INFINITY};
    site->scale = BL_NEW(l->arena, float, (size_t)k->n_scale);
    BL_ALLOC_TRY(l->ctx, site->scale);
    memcpy(site->scale, k->scale, (size_t)k->n_scale * sizeof(float));
    if (k->weight) {
        int32_t lo, hi;
        bl_weight_code_range(k->bits, k->narrow, &lo, &hi);
        site->lo = (float)lo;
        site->hi = (float)hi;
        site->real = BL_NEW(l->arena, float, (size_t)bl_tensor_count(&of->t));
        BL_ALLOC_TRY(l->ctx, site->real);
        if (k->n_table) BL_TRY(bl_study_cluster(s, l, site));
    } else {
        int from = l->net->values[v].producer;
        site->grid = bl_affine_grid(k);
        if (from >= 0 && l->net->nodes[from].out[0] == v) {
            site->clamp_lo = l->net->nodes[from].lo;
            site->clamp_hi = l->net->nodes[from].hi;
        }
        site->lo = (float)(site->grid.lo - site->grid.zero);
        site->hi = (float)(site->grid.hi - site->grid.zero);
    }
    site->now_lo = site->lo;
    site->now_hi = site->hi;
    s->site_of[v] = s->n++;
    return BL_OK;
}

static void learn_scale(bl_study *s, bl_lesson *l, bl_site *site, const bl_menu *menu)
{
    const bl_quantizer *k = &s->plan->quantizers[site->quantizer];
    int unit = site->weight ? -1 : menu->unit_of_value[k->value];

    const bl_quant_rule *rule = s->rule;

    if ((!rule->slope && !rule->wanted) || (site->weight && !rule->weights) || !(site->hi > 0) || site->cluster) return;
    if (unit >= 0 && (menu->units[unit].fixed_grid || menu->units[unit].anchor != 0)) return;
    for (bl_site *other = s->site; unit >= 0 && other < site; other++) {
        const bl_quantizer *o = &s->plan->quantizers[other->quantizer];
        if (other->weight || menu->unit_of_value[o->value] != unit || o->scale[0] != k->scale[0] ||
            o->zero != k->zero || o->bits != k->bits)
            continue;
        site->extra = other->extra;
        site->unit = other->unit;
        site->scaled = other->scaled;
        return;
    }
    double n = (double)bl_tensor_count(&l->net->values[site->value].t) / site->n_scale;
    site->unit = rule->ends ? site->hi : 1;
    site->scaled = rule->ends ? 1 : (float)(1 / sqrt(n * site->hi));
    site->extra = s->n_extra;
    s->extra[s->n_extra++] = (size_t)site->n_scale + (size_t)rule->more;
}

bl_status bl_study_open(bl_study *s, bl_lesson *l)
{
    size_t n = (size_t)s->plan->n_quantizers, values = (size_t)l->net->n_values;
    bl_menu *menu;

    s->rule = rules[s->row->kind];
    s->site = BL_NEW(l->arena, bl_site, n);
    s->extra = BL_NEW(l->arena, size_t, n);
    s->site_of = BL_NEW(l->arena, int, values);
    s->uses = BL_NEW(l->arena, uint8_t, values);
    if (!s->site || !s->extra || !s->site_of || !s->uses) return bl_pending(l->ctx);
    for (size_t v = 0; v < values; v++) s->site_of[v] = -1;
    for (int q = 0; q < s->plan->n_quantizers; q++) BL_TRY(make_site(s, l, q));
    BL_TRY(bl_menu_make(l->ctx, s->of, NULL, &menu));
    for (int i = 0; i < s->n; i++) {
        learn_scale(s, l, &s->site[i], menu);
        s->uses[s->site[i].value] = s->site[i].weight ? BL_HOOK_NONE : BL_HOOK_WRITES;
        s->n_values += !s->site[i].weight;
    }
    bl_menu_free(menu);
    return BL_OK;
}

static const bl_param *figure(const bl_study *s, const bl_lesson *l, int extra)
{
    return &l->params.param[l->params.n - s->n_extra + extra];
}

/* Numbers side by side that have one scale. */
static int64_t run_of(const bl_site *site, const bl_tensor *t)
{
    int64_t inner = 1;
    for (int d = t->rank - 1; site->n_scale > 1 && d > site->axis; d--) inner *= t->dim[d];
    return site->n_scale > 1 ? inner : bl_tensor_count(t);
}

/* A weight that a tuner has put on the grid begins in its own cell, half as far from the middle as it lay from it in float: what was
 * undecided is what moves first. */
static void begin_weight(const bl_study *s, const bl_lesson *l, const bl_param *p, const float *tuned)
{
    float *now = l->params.state + p->first;
    int at = s->site_of[p->value];

    if (at < 0) {
        memcpy(now, tuned, p->n * sizeof *now);
        return;
    }
    const bl_site *site = &s->site[at];
    int64_t inner = run_of(site, &l->net->values[p->value].t);
    for (size_t k = 0; k < p->n; k++) {
        float step = site->scale[(int64_t)k / inner % site->n_scale], off = 0.5f * (now[k] - tuned[k]), most = 0.49f * step;
        now[k] = tuned[k] + (off > most ? most : off < -most ? -most : off);
    }
}

/* n numbers by share; a run of `inner` numbers of the parameter has one. */
static bl_status set_unit(bl_lesson *l, int param, const float *of, int n, int64_t inner, float share)
{
    float *to = BL_NEW(l->arena, float, (size_t)n);
    BL_ALLOC_TRY(l->ctx, to);
    for (int c = 0; c < n; c++) to[c] = share * of[c];
    l->unit[param] = (bl_share){to, n, inner};
    return BL_OK;
}

/* What a rate is a share of: steps of weights, of outputs for biases, a tenth of a scale. */
static bl_status find_units(const bl_study *s, bl_lesson *l)
{
    const bl_params *p = &l->params;

    l->unit = BL_NEW(l->arena, bl_share, (size_t)p->n);
    BL_ALLOC_TRY(l->ctx, l->unit);
    for (int i = 0; i < p->n - s->n_extra; i++) {
        int at = s->site_of[p->param[i].value];
        const bl_site *site = at >= 0 ? &s->site[at] : NULL;
        if (site) BL_TRY(set_unit(l, i, site->scale, site->n_scale, run_of(site, &l->net->values[p->param[i].value].t), 1));
    }
    for (int n = 0; n < l->net->n_nodes; n++) {
        int b = bl_layer_weight(l->net, n) >= 0 ? bl_layer_bias(l->net, n) : -1, out = s->site_of[l->net->nodes[n].out[0]];
        for (int i = 0; b >= 0 && out >= 0 && i < p->n - s->n_extra; i++)
            if (p->param[i].value == b) BL_TRY(set_unit(l, i, s->site[out].scale, 1, 1, 1));
    }
    for (int i = 0; i < s->n; i++)
        if (s->site[i].extra >= 0) BL_TRY(set_unit(l, p->n - s->n_extra + s->site[i].extra, s->site[i].scale, s->site[i].n_scale, 1, 0.1f));
    return BL_OK;
}

bl_status bl_study_begin(bl_study *s, bl_lesson *l)
{
    for (int i = 0; i < s->n; i++)
        for (int c = 0; s->site[i].extra >= 0 && c < s->site[i].n_scale; c++)
            l->params.state[figure(s, l, s->site[i].extra)->first + (size_t)c] = s->site[i].scale[c] * s->site[i].unit;
    for (int i = 0; l->o.start && i < l->params.n - s->n_extra; i++) {
        int v = bl_graph_find_value(s->of, l->net->values[l->params.param[i].value].name);
        const float *tuned = v >= 0 ? bl_weights_find(l->o.start, v) : NULL;
        if (tuned) begin_weight(s, l, &l->params.param[i], tuned);
    }
    for (int n = 0; n < l->net->n_nodes; n++) {
        int w = bl_layer_weight(l->net, n), b = w >= 0 ? bl_layer_bias(l->net, n) : -1;
        if (b < 0 || s->site_of[w] < 0) continue;
        s->site[s->site_of[w]].from = s->site_of[l->net->nodes[n].in[0]];
        s->site[s->site_of[w]].bias = l->net->values[b].t.data;
        s->site[s->site_of[w]].n_bias = bl_tensor_count(&l->net->values[b].t);
    }
    if (l->o.freeze > 0) BL_TRY(bl_study_watch(s, l));
    return s->rule->relative ? find_units(s, l) : BL_OK;
}

/* [Q4]: a bias must fit +-2^30 on its grid, as in a plan; where it no longer does, that channel's scale grows. */
static void widen_for_bias(const bl_study *s, bl_site *site)
{
    if (!site->bias || site->from < 0) return;
    float sx = s->site[site->from].scale[0];
    for (int64_t c = 0; c < site->n_bias; c++) {
        float *scale = &site->scale[site->n_scale > 1 ? c : 0];
        *scale = fmaxf(*scale, fabsf(site->bias[c]) / (sx * 1073000000.0f));
    }
}

/* Scales that follow: a tenth of the way to what this step's values wanted, or a weight's own numbers want. */
static void follow(const bl_study *s, const bl_lesson *l, bl_site *site)
{
    const bl_param *p = figure(s, l, site->extra);
    const bl_tensor *t = &l->net->values[site->value].t;
    size_t n = (size_t)bl_tensor_count(t), inner = 1;
    double weight;

    if (site->weight) {
        for (int d = t->rank - 1; site->n_scale > 1 && d > site->axis; d--) inner *= (size_t)t->dim[d];
        for (int c = 0; c < site->n_scale; c++) {
            size_t at = site->n_scale > 1 ? (size_t)c * inner : 0, each = site->n_scale > 1 ? inner : n;
            double sum = 0, of = 0;
            for (; at < n; at += inner * (size_t)site->n_scale) {
                double want = s->rule->wanted(site, (const float *)t->data + at, each, &weight);
                sum += want * want * weight; /* squares, so that pieces of a channel add up */
                of += weight;
            }
            if (sum > 0) site->scale[c] = (float)sqrt(sum / of);
        }
    } else if (l->grads && l->step > site->followed && (weight = l->grads[p->first + 1]) > 0) {
        site->scale[0] = (float)(0.9 * (double)site->scale[0] + 0.1 * l->grads[p->first] / weight);
    } else if (l->step != site->followed) {
        return; /* as the state has them */
    }
    site->followed = l->step;
    for (int c = 0; c < site->n_scale; c++) l->params.state[p->first + (size_t)c] = site->scale[c] * site->unit;
}

static const float *learned_of(const bl_study *s, const bl_lesson *l, const bl_site *site)
{
    return site->extra >= 0 ? l->params.state + figure(s, l, site->extra)->first : NULL;
}

static void renew_scales(bl_study *s, const bl_lesson *l)
{
    for (int i = 0; i < s->n; i++) {
        bl_site *site = &s->site[i];
        const float *planned = s->plan->quantizers[site->quantizer].scale;
        const float *learned = learned_of(s, l, site);
        if (learned && s->rule->wanted) follow(s, l, site);
        for (int c = 0; learned && c < site->n_scale; c++)
            site->scale[c] = fmaxf(learned[c] / site->unit, planned[c] * 1e-3f); /* a grid never turns over */
    }
    for (int i = 0; i < s->n; i++) {
        if (s->site[i].weight && !s->site[i].cluster) widen_for_bias(s, &s->site[i]);
        s->site[i].grid.scale = s->site[i].scale[0];
    }
}

void bl_study_renew(bl_study *s, const bl_lesson *l)
{
    renew_scales(s, l);
    for (int i = 0; i < s->n; i++) {
        bl_site *site = &s->site[i];
        const float *learned = learned_of(s, l, site);
        if (!site->weight) continue;
        if (site->cluster) {
            bl_study_means(l, site);
            continue;
        }
        const bl_tensor *t = &l->net->values[site->value].t;
        int64_t n = bl_tensor_count(t), inner = 1;
        if (s->rule->levels) s->rule->levels(l, site, &site->now_lo, &site->now_hi);
        for (int d = t->rank - 1; site->n_scale > 1 && d > site->axis; d--) inner *= t->dim[d];
        if (site->swing && l->step > s->settled) bl_study_settle(l, site, inner);
        for (int64_t k = 0; k < n; k++) {
            float step = site->scale[site->n_scale > 1 ? k / inner % site->n_scale : 0], x = ((const float *)t->data)[k];
            if (learned && s->rule->mix) {
                s->rule->mix(l, site, learned + site->n_scale, x, step, &site->real[k]);
                continue;
            }
            float v = x / step;
            v = v > site->now_lo ? v : site->now_lo;
            v = v < site->now_hi ? v : site->now_hi;
            site->real[k] = bl_rne_f32(v) * step;
        }
    }
    s->settled = l->step;
}

bl_status bl_study_attach(const bl_study *s, bl_walk *walk)
{
    for (int i = 0; i < s->n; i++)
        if (s->site[i].weight) BL_TRY(bl_walk_set_constant(walk, s->site[i].value, s->site[i].real));
    bl_walk_hook_uses(walk, s->uses);
    return BL_OK;
}

/* ------------------------------------------------------------------ one piece */

bl_status bl_study_pupil(const bl_study *s, const bl_lesson *l, bl_arena *arena, bl_pupil **out)
{
    bl_pupil *p = BL_NEW(arena, bl_pupil, 1);

    BL_ALLOC_TRY(l->ctx, p);
    p->raw = BL_NEW(arena, float *, (size_t)s->n);
    BL_ALLOC_TRY(l->ctx, p->raw);
    p->grad = BL_NEW(arena, double *, (size_t)s->n_extra);
    BL_ALLOC_TRY(l->ctx, p->grad);
    for (int i = 0; i < s->n; i++) {
        if (s->site[i].weight) continue;
        p->raw[i] = BL_NEW(arena, float, (size_t)bl_tensor_count(&l->drill->values[s->site[i].value].t));
        BL_ALLOC_TRY(l->ctx, p->raw[i]);
    }
    for (int i = 0; i < s->n_extra; i++) {
        p->grad[i] = BL_NEW(arena, double, s->extra[i]);
        BL_ALLOC_TRY(l->ctx, p->grad[i]);
    }
    *out = p;
    return BL_OK;
}

void bl_study_clear(const bl_study *s, bl_pupil *p)
{
    for (int i = 0; i < s->n_extra; i++) memset(p->grad[i], 0, s->extra[i] * sizeof(double));
}

void bl_study_forward(const bl_study *s, bl_pupil *p, int value, bl_tensor *t)
{
    int i = s->site_of[value];
    size_t n = (size_t)bl_tensor_count(t);

    if (i < 0 || s->site[i].weight) return;
    if (p) memcpy(p->raw[i], t->data, n * sizeof(float));
    bl_fake_quantize_array(t->data, n, s->site[i].grid);
}

/* Gradient by the rounded tensor into that by the real one; the learned figures get theirs added.  inner: numbers in a
 * row of one channel. */
static void pass_back(const bl_study *s, const bl_lesson *l, const bl_site *site, const float *x, float *g, int64_t n,
                      int64_t inner, double *learned)
{
    const bl_quant_rule *r = s->rule;
    const float *more = r->mix && learned && site->weight ? l->params.state + figure(s, l, site->extra)->first + site->n_scale : NULL;
    bool straight = !more && !r->pass && (!r->slope || r->slope == bl_lsq_slope);
    float lo = site->now_lo, hi = site->now_hi;

    if (site->n_scale == 1) inner = n;
    for (int64_t first = 0; first < n; first += inner) {
        int64_t c = first / inner % site->n_scale;
        float scale = site->scale[c];
        if (straight) {
            if (r->slope && learned) bl_wide_slopes(x + first, g + first, inner, scale, lo, hi, site->scaled, &learned[c]);
            bl_wide_inside(x + first, g + first, inner, scale, lo, hi);
            continue;
        }
        for (int64_t k = first; k < first + inner; k++) {
            float v = x[k] / scale;
            if (more) r->mix_slopes(l, site, more, x[k], scale, g[k], learned + site->n_scale);
            if (learned && r->slope) learned[c] += (double)g[k] * r->slope(v, lo, hi) * site->scaled;
            if (r->pass) g[k] *= (float)r->pass(v, lo, hi);
            else if (v < lo || v > hi) g[k] = 0;
        }
    }
}

void bl_study_backward(const bl_study *s, const bl_lesson *l, bl_pupil *p, int value, bl_tensor *grad)
{
    int i = s->site_of[value];
    const bl_site *site = &s->site[i];

    if (i < 0 || site->weight) return;
    double *learned = site->extra >= 0 ? p->grad[site->extra] : NULL;
    const float *raw = p->raw[i];
    float *g = grad->data;
    int64_t n = bl_tensor_count(grad);

    pass_back(s, l, site, raw, g, n, n, learned);
    if (learned && s->rule->wanted) {
        double weight, want = s->rule->wanted(site, raw, (size_t)n, &weight);
        learned[0] += want * weight;
        learned[1] += weight;
    }
    bl_wide_between(raw, g, n, site->clamp_lo, site->clamp_hi);
}

void bl_study_finish(const bl_study *s, bl_pupil *p, const bl_lesson *l, float *grads)
{
    for (int i = 0; i < l->params.n - s->n_extra; i++) {
        const bl_param *q = &l->params.param[i];
        int at = s->site_of[q->value];
        if (at < 0 || s->site[at].cluster) continue; /* the mean of a cluster moves as its weights do */
        const bl_site *site = &s->site[at];
        const bl_tensor *t = &l->net->values[q->value].t;
        int64_t inner = 1;
        for (int d = t->rank - 1; site->n_scale > 1 && d > site->axis; d--) inner *= t->dim[d];
        pass_back(s, l, site, t->data, grads + q->first, (int64_t)q->n, inner,
                  site->extra >= 0 ? p->grad[site->extra] : NULL);
    }
    for (int i = 0; i < s->n_extra; i++)
        for (size_t c = 0; c < s->extra[i]; c++) grads[figure(s, l, i)->first + c] = (float)p->grad[i][c];
}

bool bl_study_decays(const bl_quant_trainer *row)
{
    return rules[row->kind]->decays;
}
