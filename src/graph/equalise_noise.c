/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Equalisation for one scale a weight and one a value: the factors of all channel classes together that leave the
 * least expected noise.
 *
 * DFQ balances greatest weights.  What counts is noise beside signal: a step of the weight's grid, Delta, in every weight
 * that reads channel c adds Delta^2/12 Var(x_c) to each output; a step of the value's grid adds Delta_x^2/12 w^2.  Signal is
 * the variance of the output, gamma^2 of its BatchNormalization.  With t_c = ln s_c of what flows (x_c / s_c), for
 * each layer
 *
 *   weights:  M^2 / (12 127^2)  sum_c Var(x_c) taps e^(-2 t_c)     mean_o e^(2 u_o) / gamma_o^2
 *   values:   R^2 / (12 255^2)  sum_c e^(2 t_c)  mean_o sum_k w_ock^2 / gamma_o^2
 *
 * where M = max |w_ock| e^(t_c - u_o) and R = max_c reach_c e^(-t_c), both as soft maxima.  The sum over layers is
 * descended (Adam, rate along a cosine).  Bias correction takes the mean's part back, so variances count alone.
 *
 * Upper bounds need not hold channels: Clip(0, h) of x / s is a bound h / s_c by channel, a Min with a constant.  Channels
 * that 6 deviations leave below 0 are dead: nobody reads them any more, or their readers' weights would set the scale.
 * Networks without BatchNormalization have their variances measured on noise.
 */
#include "graph/equalise.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STEPS = 300 };
#define RATE 0.05
#define BETA1 0.9
#define BETA2 0.99
#define SOFT 24.0           /* power of the soft maximum */
#define REACH 6.0           /* deviations that a channel reaches */
#define WEIGHT_NOISE (1 / (12.0 * 127 * 127))
#define VALUE_NOISE (1 / (12.0 * 255 * 255))
#define DEPENDENT 0.1       /* of an output's variance, were its inputs independent, there is at least so much */
#define LEAST_SIGNAL 0.02   /* of the mean of live outputs: noise in an output that hardly moves says little */

/* A layer as the noise sees it. */
typedef struct term {
    const bl_eq_layer *l;
    int64_t from, to;           /* place of its input's and output's factors in t; -1: they stay */
    int64_t n_in;
    const double *size;         /* [out][in]: ln of the greatest |weight|; -INFINITY: all zero */
    const double *spread;       /* by input channel: variance times taps */
    const double *reach;        /* and ln of how far it goes */
    const double *quiet;        /* by output: 1 / (signal x outputs); 0: dead */
    const double *pull;         /* by input channel: sum over outputs of quiet w^2 */
} term;

typedef struct noise {
    bl_eq *p;
    bl_arena *a;
    const bl_moments *moments;  /* by value */
    term *terms;
    int n_terms;
    int64_t *first, n;          /* by class: place of its factors; -1: it stays */
    double *t, *grad, *m, *v;
    double *soft;               /* of one layer: shares in its maximum */
} noise;

static const bl_bn *statistics_of(const bl_graph *g, int value)
{
    for (int i = 0; i < g->n_bn; i++)
        if (g->bn[i].value == value) return &g->bn[i];
    return NULL;
}

/* Ends of channel c of a value within REACH deviations. */
static void ends_of(const noise *n, int value, int64_t c, double *lo, double *hi)
{
    const bl_graph *g = n->p->g;
    const bl_bn *bn = statistics_of(g, value);
    const bl_moments *m = &n->moments[value];
    int from = g->values[value].producer;
    double mean = bn ? bn->beta[c] : m->mean[c], deviation = bn ? fabs((double)bn->gamma[c]) : sqrt(m->variance[c]);
    *lo = mean - REACH * deviation;
    *hi = mean + REACH * deviation;
    if (from < 0) return;
    *lo = fmin(fmax(*lo, g->nodes[from].lo), g->nodes[from].hi);
    *hi = fmin(fmax(*hi, g->nodes[from].lo), g->nodes[from].hi);
}

/* ------------------------------------------------------------------ dead channels */

static bool is_dead(const noise *n, int value, int64_t c)
{
    double lo, hi;
    int from = n->p->g->values[value].producer;
    if (from < 0 || n->p->g->nodes[from].lo != 0 || !statistics_of(n->p->g, value)) return false;
    ends_of(n, value, c, &lo, &hi);
    return hi <= 0;
}

/* Dead in every layer that writes the class. */
static bool class_is_dead(noise *n, int class, int64_t c)
{
    bl_eq *p = n->p;
    for (int k = 0; k < p->g->n_nodes; k++) {
        bool inside = bl_eq_root(p, p->g->nodes[k].out[0]) == class;
        if (inside && bl_eq_writes(p, k, class) && !is_dead(n, p->g->nodes[k].out[0], c)) return false;
    }
    return true;
}

static void silence(noise *n, int class)
{
    bl_eq *p = n->p;
    for (int64_t c = 0; c < bl_eq_channels(p, class); c++) {
        if (!class_is_dead(n, class, c)) continue;
        p->told->dead++;
        for (int k = 0; k < p->g->n_nodes; k++) {
            const bl_eq_layer *l = &p->layers[k];
            bool writes = bl_eq_writes(p, k, class), reads = bl_eq_reads(p, k, class);
            for (int64_t o = 0; (writes || reads) && o < l->out; o++)
                for (int64_t i = 0; i < l->in; i++)
                    if ((writes && o == c) || (reads && bl_eq_input(l, o, i) == c))
                        memset(l->w + o * l->step_out + i * l->step_in, 0, (size_t)l->taps * sizeof(float));
            if (writes && l->b) l->b[c] = 0;
        }
    }
}

/* ------------------------------------------------------------------ terms */

static void fill_signal(const term *t, const bl_bn *bn, const bl_moments *y, const double *variance, double *quiet)
{
    const bl_eq_layer *l = t->l;
    double all = 0;
    int64_t live = 0;
    for (int64_t o = 0; o < l->out; o++) {
        double sum = 0;
        bool alive = false;
        for (int64_t i = 0; i < l->in && !bn; i++)
            for (int64_t k = 0; k < l->taps; k++) {
                double w = l->w[o * l->step_out + i * l->step_in + k];
                sum += w * w * variance[bl_eq_input(l, o, i)];
            }
        quiet[o] = bn ? (double)bn->gamma[o] * bn->gamma[o] : y->channels == l->out ? fmax(y->variance[o], DEPENDENT * sum) : sum;
        for (int64_t i = 0; i < l->in; i++) alive |= !isinf(t->size[o * l->in + i]);
        quiet[o] = alive ? fmax(quiet[o], 1e-30) : 0; /* a dead one's deviation says nothing, and may be of any size */
        all += quiet[o];
        live += alive;
    }
    double least = LEAST_SIGNAL * all / (double)BL_MAX(live, 1);
    for (int64_t o = 0; o < l->out; o++) quiet[o] = quiet[o] > 0 ? 1 / fmax(quiet[o], least) : 0;
    for (int64_t o = 0; o < l->out; o++) quiet[o] /= (double)BL_MAX(live, 1);
}

static bl_status add_term(noise *n, int node)
{
    const bl_graph *g = n->p->g;
    const bl_eq_layer *l = &n->p->layers[node];
    const bl_node *nd = &g->nodes[node];
    const bl_moments *x = &n->moments[nd->in[0]];
    term *t = &n->terms[n->n_terms++];
    int64_t n_in = l->in * l->groups;
    double *size = BL_NEW(n->a, double, (size_t)(l->out * l->in)), *spread = BL_NEW(n->a, double, (size_t)n_in);
    double *variance = BL_NEW(n->a, double, (size_t)n_in), *reach = BL_NEW(n->a, double, (size_t)n_in);
    double *quiet = BL_NEW(n->a, double, (size_t)l->out), *pull = BL_NEW(n->a, double, (size_t)n_in);
    if (!size || !spread || !variance || !reach || !quiet || !pull) return bl_pending(n->p->ctx);
    *t = (term){ l, n->first[bl_eq_root(n->p, nd->in[0])], n->first[bl_eq_root(n->p, nd->out[0])], n_in, size, spread, reach, quiet, pull };
    for (int64_t c = 0; c < n_in; c++) {
        double lo = -1, hi = 1;
        bool known = x->channels == n_in;
        variance[c] = known ? x->variance[c] : 1;
        if (known) ends_of(n, nd->in[0], c, &lo, &hi);
        spread[c] = variance[c] * (double)l->taps;
        reach[c] = log(fmax(fmax(hi, 0) - fmin(lo, 0), 1e-30));
    }
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t i = 0; i < l->in; i++) {
            double most = 0;
            for (int64_t k = 0; k < l->taps; k++) most = fmax(most, fabs((double)l->w[o * l->step_out + i * l->step_in + k]));
            size[o * l->in + i] = most > 0 ? log(most) : -INFINITY;
        }
    fill_signal(t, statistics_of(g, nd->out[0]), &n->moments[nd->out[0]], variance, quiet);
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t i = 0; i < l->in; i++)
            for (int64_t k = 0; k < l->taps; k++) {
                double w = l->w[o * l->step_out + i * l->step_in + k];
                pull[bl_eq_input(l, o, i)] += quiet[o] * w * w;
            }
    return BL_OK;
}

static double at(const noise *n, int64_t first, int64_t c) { return first < 0 ? 0 : n->t[first + c]; }

/* Soft maximum of soft[count] (logarithms, -INFINITY: none), which become the shares in it. */
static double soft_maximum(double *soft, int64_t count)
{
    double most = -INFINITY, sum = 0;
    for (int64_t i = 0; i < count; i++) most = fmax(most, soft[i]);
    if (isinf(most)) return -INFINITY;
    for (int64_t i = 0; i < count; i++) {
        double d = SOFT * (soft[i] - most);
        sum += soft[i] = d > -40 ? exp(d) : 0;
    }
    for (int64_t i = 0; i < count; i++) soft[i] /= sum;
    return most + log(sum) / SOFT;
}

/* Noise of the weight's grid; its gradient is added. */
static double weight_noise(noise *n, const term *t)
{
    const bl_eq_layer *l = t->l;
    int64_t out = l->out / l->groups;
    double all = 0;
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t i = 0; i < l->in; i++)
            n->soft[o * l->in + i] = t->size[o * l->in + i] + at(n, t->from, bl_eq_input(l, o, i)) - at(n, t->to, o);
    double step = soft_maximum(n->soft, l->out * l->in);
    if (isinf(step)) return 0;
    double k = WEIGHT_NOISE * exp(2 * step);
    for (int64_t g = 0; g < l->groups; g++) {
        double in = 0, outs = 0;
        for (int64_t i = 0; i < l->in; i++) in += t->spread[g * l->in + i] * exp(-2 * at(n, t->from, g * l->in + i));
        for (int64_t o = g * out; o < (g + 1) * out; o++) outs += t->quiet[o] * exp(2 * at(n, t->to, o));
        for (int64_t i = 0; i < l->in && t->from >= 0; i++)
            n->grad[t->from + g * l->in + i] -= 2 * k * outs * t->spread[g * l->in + i] * exp(-2 * at(n, t->from, g * l->in + i));
        for (int64_t o = g * out; o < (g + 1) * out && t->to >= 0; o++)
            n->grad[t->to + o] += 2 * k * in * t->quiet[o] * exp(2 * at(n, t->to, o));
        all += k * in * outs;
    }
    for (int64_t o = 0; o < l->out; o++)
        for (int64_t i = 0; i < l->in; i++) {
            double share = 2 * all * n->soft[o * l->in + i];
            if (share == 0) continue;
            if (t->from >= 0) n->grad[t->from + bl_eq_input(l, o, i)] += share;
            if (t->to >= 0) n->grad[t->to + o] -= share;
        }
    return all;
}

/* Noise of the grid of what the layer reads. */
static double value_noise(noise *n, const term *t)
{
    double sum = 0;
    if (t->from < 0) return 0; /* nothing to choose */
    for (int64_t c = 0; c < t->n_in; c++) {
        n->soft[c] = t->pull[c] > 0 ? t->reach[c] - n->t[t->from + c] : -INFINITY;
        sum += t->pull[c] * exp(2 * n->t[t->from + c]);
    }
    double range = soft_maximum(n->soft, t->n_in);
    if (isinf(range)) return 0;
    double k = VALUE_NOISE * exp(2 * range);
    for (int64_t c = 0; c < t->n_in; c++)
        n->grad[t->from + c] += 2 * k * (t->pull[c] * exp(2 * n->t[t->from + c]) - (t->pull[c] > 0 ? sum * n->soft[c] : 0));
    return k * sum;
}

static void descend(noise *n)
{
    double *best = n->m + 2 * n->n, least = INFINITY;
    for (int step = 1; step <= STEPS + 1; step++) {
        double all = 0, rate = 0.5 * RATE * (1 + cos(M_PI * (step - 1) / STEPS));
        memset(n->grad, 0, (size_t)n->n * sizeof *n->grad);
        for (int i = 0; i < n->n_terms; i++) all += weight_noise(n, &n->terms[i]) + value_noise(n, &n->terms[i]);
        if (step == 1) n->p->told->noise_first = all;
        if (all < least) {
            least = all;
            memcpy(best, n->t, (size_t)n->n * sizeof *best);
        }
        double fix1 = 1 - pow(BETA1, step), fix2 = 1 - pow(BETA2, step);
        for (int64_t i = 0; i < n->n; i++) {
            n->m[i] = BETA1 * n->m[i] + (1 - BETA1) * n->grad[i];
            n->v[i] = BETA2 * n->v[i] + (1 - BETA2) * n->grad[i] * n->grad[i];
            n->t[i] -= rate * (n->m[i] / fix1) / (sqrt(n->v[i] / fix2) + 1e-30);
        }
    }
    memcpy(n->t, best, (size_t)n->n * sizeof *best);
    n->p->told->noise_last = least;
}

/* ------------------------------------------------------------------ bounds by channel */

static bl_status free_name(bl_eq *p, const char *stem, const char *ending, const char **name)
{
    char *text = bl_format(p->g->arena, "%s%s", stem, ending);
    while (text && bl_graph_find_value(p->g, text) >= 0) text = bl_format(p->g->arena, "%s_", text);
    *name = text;
    return text ? BL_OK : bl_pending(p->ctx);
}

/* Behind the node a Min with hi / s by channel gives its old output; the node keeps the widest bound. */
static bl_status bound(bl_eq *p, int node, const double *s)
{
    bl_graph *g = p->g;
    bl_node *n = &g->nodes[node], *min = &g->nodes[g->n_nodes];
    int value = n->out[0], inner = g->n_values, limit = inner + 1;
    bl_tensor *y = &g->values[value].t, t = { .type = BL_F32, .rank = y->rank };
    int *in = BL_NEW(g->arena, int, 2), *out = BL_NEW(g->arena, int, 1), *own = BL_NEW(g->arena, int, (size_t)n->n_out);
    float *data = BL_NEW(g->arena, float, (size_t)y->dim[1]);
    if (!in || !out || !own || !data) return bl_pending(p->ctx);
    float widest = 0;
    for (int64_t c = 0; c < y->dim[1]; c++) widest = fmaxf(widest, data[c] = (float)(n->hi / s[c]));
    for (int d = 0; d < t.rank; d++) t.dim[d] = d == 1 ? y->dim[1] : 1;
    t.data = data;
    const char *before, *by, *name = bl_format(g->arena, "%s_bound", n->name);
    BL_ALLOC_TRY(p->ctx, name);
    BL_TRY(free_name(p, g->values[value].name, "_unbounded", &before));
    BL_TRY(free_name(p, g->values[value].name, "_bound", &by));
    g->values[inner] = (bl_value){ .name = before, .t = *y, .producer = node };
    g->values[limit] = (bl_value){ .name = by, .t = t, .producer = -1 };
    g->n_values += 2;
    memcpy(own, n->out, (size_t)n->n_out * sizeof *own);
    own[0] = in[0] = inner;
    in[1] = limit;
    out[0] = value;
    *min = (bl_node){ .op = bl_op_find("", "Min"), .name = name, .domain = "", .opset = BL_MAX(g->opset, 8), .n_in = 2, .n_out = 1,
                      .in = in, .out = out, .lo = -INFINITY, .hi = INFINITY };
    n->out = own;
    n->hi = widest;
    for (int i = 0; i < g->n_bn; i++)
        if (g->bn[i].value == value) g->bn[i].value = inner;
    g->n_nodes++;
    p->told->bounded++;
    return BL_OK;
}

static bl_status bound_classes(noise *n)
{
    bl_eq *p = n->p;
    bl_graph *g = p->g;
    int nodes = g->n_nodes;
    bl_node *more = BL_NEW(g->arena, bl_node, 2 * (size_t)nodes);
    bl_value *values = BL_NEW(g->arena, bl_value, (size_t)g->n_values + 2 * (size_t)nodes);
    if (!more || !values) return bl_pending(p->ctx);
    memcpy(more, g->nodes, (size_t)nodes * sizeof *more);
    memcpy(values, g->values, (size_t)g->n_values * sizeof *values);
    g->nodes = more;
    g->values = values;
    for (int i = 0; i < nodes; i++) {
        int64_t first = n->first[bl_eq_root(p, g->nodes[i].out[0])];
        if (first >= 0 && g->nodes[i].hi != INFINITY) BL_TRY(bound(p, i, n->t + first));
    }
    return bl_graph_link(p->ctx, g);
}

/* ------------------------------------------------------------------ the pass */

static bl_status find_places(noise *n)
{
    bl_graph *g = n->p->g;
    n->first = BL_NEW(n->a, int64_t, (size_t)g->n_values);
    if (!n->first) return bl_pending(n->p->ctx);
    for (int v = 0; v < g->n_values; v++) {
        n->first[v] = -1;
        if (!bl_eq_live(n->p, v)) continue;
        bool known = true;
        for (int k = 0; k < g->n_nodes; k++)
            if (bl_eq_reads(n->p, k, v)) known &= n->moments[g->nodes[k].in[0]].channels > 0;
        if (!known) continue;
        if (g->n_bn) silence(n, v);
        n->first[v] = n->n;
        n->n += bl_eq_channels(n->p, v);
    }
    return BL_OK;
}

static bl_status make_terms(noise *n)
{
    bl_graph *g = n->p->g;
    size_t most = 1;
    n->terms = BL_NEW(n->a, term, (size_t)g->n_nodes);
    if (!n->terms) return bl_pending(n->p->ctx);
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_eq_layer *l = &n->p->layers[i];
        if (!l->out) continue;
        BL_TRY(add_term(n, i));
        most = BL_MAX(most, (size_t)BL_MAX(l->out * l->in, l->in * l->groups));
    }
    n->soft = BL_NEW(n->a, double, most);
    n->t = BL_NEW(n->a, double, (size_t)n->n);
    n->grad = BL_NEW(n->a, double, (size_t)n->n);
    n->m = BL_NEW(n->a, double, 3 * (size_t)n->n);
    if (!n->soft || !n->t || !n->grad || !n->m) return bl_pending(n->p->ctx);
    n->v = n->m + n->n;
    return BL_OK;
}

bl_status bl_eq_noise(bl_eq *p)
{
    noise n = { .p = p, .a = p->arena };
    BL_TRY((p->g->n_bn ? bl_channel_moments : bl_channel_moments_measured)(p->ctx, p->arena, p->g, &n.moments));
    BL_TRY(find_places(&n));
    if (!n.n) return BL_OK;
    BL_TRY(make_terms(&n));
    descend(&n);
    for (int64_t i = 0; i < n.n; i++) n.t[i] = exp(n.t[i]);
    for (int v = 0; v < p->g->n_values; v++)
        if (n.first[v] >= 0) bl_eq_scale(p, v, n.t + n.first[v]);
    return bound_classes(&n);
}
