/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * HGQ: gradients of widths against finite differences of the surrogate they are derived from, prices against sums by
 * hand, convolutions and pools against finite differences of the float network, and fixed-point networks against the
 * training's forward pass for every way of rounding and overflowing.
 */
#include "onnx_build.h"

#include "train/hgq_private.h"
#include "train/train.h"

#include <math.h>

enum { ROWS = 96 };

typedef struct task {
    bl_ctx *ctx;
    char folder[256];
    bl_data *data;
    bl_hgq *h;
} task;

/* Rows of `numbers` multiples of 1/8 from -2 to 2, three labels that depend on them. */
static void write_rows(const char *path, int numbers)
{
    bl_rng r = bl_rng_make(3, "rows", (uint64_t)numbers);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    for (int i = 0; i < numbers; i++) fprintf(f, "x%d,", i);
    fprintf(f, "label\n");
    for (int row = 0; row < ROWS; row++) {
        double sum = 0;
        for (int i = 0; i < numbers; i++) {
            double v = ((double)bl_rng_below(&r, 33) - 16) / 8;
            fprintf(f, "%g,", v);
            sum += i % 3 ? v : -v;
        }
        fprintf(f, "%d\n", sum > 1 ? 0 : sum < -1 ? 1 : 2);
    }
    fclose(f);
}

static bl_graph *windows_graph(bl_ctx *ctx, const char *pool)
{
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g;
    ob_input(b, "x", "N,2,6,5");
    ob_floats(b, "a.w", "3,2,3,2", NULL);
    ob_floats(b, "a.b", "3", NULL);
    ob_floats(b, "c.w", "4,3,2,2", NULL);
    ob_floats(b, "f.w", "16,3", NULL);
    Onnx__NodeProto *n = ob_node(b, "Conv", "x,a.w,a.b", "a0");
    ob_ints_attr(n, b, "pads", "1,0,1,1");
    ob_node(b, "Relu", "a0", "a");
    n = ob_node(b, pool, "a", "p");
    ob_ints_attr(n, b, "kernel_shape", "2,2");
    ob_ints_attr(n, b, "strides", "2,2");
    n = ob_node(b, "Conv", "p,c.w", "c0");
    ob_ints_attr(n, b, "pads", "0,1,1,0");
    ob_ints_attr(n, b, "strides", "2,1");
    ob_node(b, "Relu", "c0", "c");
    ob_node(b, "Flatten", "c", "flat");
    ob_node(b, "MatMul", "flat,f.w", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    return g;
}

static bl_hgq_options few(void)
{
    bl_hgq_options o = bl_hgq_options_default();
    o.epochs = 6;
    o.cycles = 3;
    o.batch = 16;
    o.float_batch = 16;
    o.float_epochs = 4;
    o.held_out = 24;
    o.test = 24;
    o.beta = 1e-5;
    o.beta_end = 1e-3;
    return o;
}

/* pool NULL: dense layers of these sizes. */
static void open_task(task *t, const char *sizes, const char *pool, const bl_hgq_options *o)
{
    char path[400], spec[440];
    bl_data_options d = { 0 };
    bl_tensor input;
    bl_graph *g = NULL;
    t->ctx = test_ctx(1, 0);
    snprintf(path, sizeof path, "%s/rows.csv", test_folder(t->folder));
    snprintf(spec, sizeof spec, "csv:%s", path);
    if (pool) g = windows_graph(t->ctx, pool);
    if (pool) input = (bl_tensor){ .type = BL_F32, .rank = 4, .dim = { 1, 2, 6, 5 } };
    else assert_true(bl_hgq_sizes_input(sizes, &input));
    write_rows(path, pool ? 60 : (int)input.dim[1]);
    assert_ok(t->ctx, bl_data_option(t->ctx, "data", spec, &d));
    assert_ok(t->ctx, bl_data_open(t->ctx, &d, &input, &t->data));
    assert_ok(t->ctx, bl_hgq_open(t->ctx, g, sizes, t->data, o, &t->h));
    bl_graph_free(g);
}

static void close_task(task *t)
{
    bl_hgq_close(t->h);
    bl_data_free(t->data);
    test_folder_remove(t->folder);
    test_ctx_free(t->ctx);
}

/* ------------------------------------------------------------------ the surrogate, in binary64 */

/* A quantizer at a fixed state: what it took and where it clipped stay, and scale with f and i. */
static double surrogate(double v, double rest, int clip, double df, double i, double f, double low)
{
    double top = exp2(i) - exp2(-f);
    double c = clip > 0 ? top : clip < 0 ? low : v;
    return c - rest * exp2(-df);
}

typedef struct frozen {
    double rest[ROWS][64];
    signed char clip[ROWS][64];
} frozen;

typedef struct reference {
    bl_hgq *h;
    const double *p;            /* parameters */
    double *base;               /* those that everything is frozen at */
    frozen *in, *out[4];
    double *w_rest[4];
    signed char *w_clip[4];
    bool kbi;
} reference;

/* How far a width's parameter has moved. */
static double moved(const reference *r, bl_hgq_span s, int64_t at)
{
    return r->p[s.at + at] - r->base[s.at + at];
}

static double whole(const reference *r, bl_hgq_span s, int64_t at)
{
    return nearbyint(r->base[s.at + at]);
}

static double weight_of(const reference *r, int l, int64_t j)
{
    const bl_hgq_layer *k = &r->h->layer[l];
    int64_t g = k->w_group[j];
    double w = r->p[k->w.at + j], df = moved(r, k->wf, g), f = whole(r, k->wf, g) + df, i = 0;
    if (!r->kbi) return surrogate(w, r->w_rest[l][j], 0, df, 0, 0, 0);
    i = whole(r, k->wi, g) + moved(r, k->wi, g);
    df -= moved(r, k->wi, g);
    f -= i;
    double top = exp2(i) - exp2(-f);
    return r->w_clip[l][j] ? r->w_clip[l][j] * top : surrogate(w, r->w_rest[l][j], 0, df, i, f, 0);
}

/* Outputs of a grid for one row; freeze: takes down what is to stay. */
static void grid_out(const reference *r, const bl_hgq_grid *g, frozen *z, int row, double *v, bool freeze)
{
    for (int64_t e = 0; e < g->n; e++) {
        int64_t at = g->group[e];
        double di = moved(r, g->i, at), df = moved(r, g->f, at), i0 = fmax(whole(r, g->i, at), -fmin(whole(r, g->f, at), (double)g->f_most));
        double f0 = fmin(whole(r, g->f, at), (double)g->f_most), low = g->relu || !g->sign[e] ? 0 : -exp2(i0 + di);
        bool none = !(g->bits[e] > 0);
        double top = none ? 0 : exp2(i0) - exp2(-f0), bottom = none || g->relu || !g->sign[e] ? 0 : -exp2(i0);
        if (freeze) {
            double c = fmin(fmax(v[e], bottom), top);
            z->clip[row][e] = v[e] > top ? 1 : v[e] < bottom ? -1 : 0;
            z->rest[row][e] = c - floor(c * exp2(f0) + 0.5) * exp2(-f0);
        }
        v[e] = surrogate(v[e], z->rest[row][e], z->clip[row][e], df, i0 + di, f0 + df, low);
    }
}

static double bits_of_grid(const reference *r, const bl_hgq_grid *g, int64_t e)
{
    if (!(g->bits[e] > 0)) return 0;
    return (double)g->bits[e] + moved(r, g->f, g->group[e]) + (g->i_learned ? moved(r, g->i, g->group[e]) : 0);
}

static double price(const reference *r)
{
    const bl_hgq *h = r->h;
    double sum = 0, gamma = 0;
    for (int l = 0; l < h->n_layers; l++) {
        const bl_hgq_layer *k = &h->layer[l];
        const bl_hgq_grid *in = l ? &k[-1].grid : &h->in;
        for (int64_t j = 0; j < k->w.n; j++)
            if (k->bits[j] > 0)
                sum += bits_of_grid(r, in, j / k->out_c) * ((double)k->bits[j] + moved(r, k->wf, k->w_group[j]));
        for (int64_t g = 0; g < k->wf.n; g++) gamma += moved(r, k->wf, g) + (r->kbi ? moved(r, k->wi, g) : 0);
        for (int64_t g = 0; g < k->grid.f.n; g++) gamma += moved(r, k->grid.f, g) + moved(r, k->grid.i, g);
    }
    for (int64_t g = 0; g < h->in.f.n; g++) gamma += moved(r, h->in.f, g);
    return h->beta * sum + h->o.gamma * gamma;
}

static double loss_of(const reference *r, int rows, bool freeze)
{
    const bl_hgq *h = r->h;
    double loss = 0;
    for (int row = 0; row < rows; row++) {
        double v[64], y[64];
        for (int64_t e = 0; e < h->per; e++) v[e] = (double)h->x[row * h->per + e];
        grid_out(r, &h->in, r->in, row, v, freeze);
        for (int l = 0; l < h->n_layers; l++) {
            const bl_hgq_layer *k = &h->layer[l];
            for (int64_t o = 0; o < k->out_c; o++) {
                y[o] = (double)k->bias[o] + moved(r, k->b, o);
                for (int64_t i = 0; i < k->taps; i++) y[o] += v[i] * weight_of(r, l, i * k->out_c + o);
            }
            memcpy(v, y, sizeof v);
            if (k->grid.n) grid_out(r, &k->grid, r->out[l], row, v, freeze);
        }
        double sum = 0, top = v[0];
        for (int64_t c = 0; c < h->classes; c++) top = fmax(top, v[c]);
        for (int64_t c = 0; c < h->classes; c++) sum += exp(v[c] - top);
        loss += log(sum) - (v[h->labels[row]] - top);
    }
    return loss / rows + price(r);
}

static void freeze_weights(reference *r)
{
    for (int l = 0; l < r->h->n_layers; l++) {
        const bl_hgq_layer *k = &r->h->layer[l];
        r->w_rest[l] = calloc((size_t)k->w.n, sizeof(double));
        r->w_clip[l] = calloc((size_t)k->w.n, 1);
        for (int64_t j = 0; j < k->w.n; j++) {
            float w = r->h->params[k->w.at + j];
            r->w_clip[l][j] = w > k->limit[j] ? 1 : w < -k->limit[j] ? -1 : 0;
            r->w_rest[l][j] = r->w_clip[l][j] ? 0 : (double)w - (double)k->q[j];
        }
        r->out[l] = calloc(1, sizeof(frozen));
    }
    r->in = calloc(1, sizeof(frozen));
}

static void check_gradients(const bl_hgq_options *o, double coarse)
{
    task t;
    open_task(&t, "5-7-6-3", NULL, o);
    bl_hgq *h = t.h;
    h->quantized = true;
    assert_ok(t.ctx, bl_hgq_start_widths(h));
    bl_rng r = bl_rng_make(1, "widths", 0);
    for (int64_t j = h->n_values; j < h->n_params; j++) /* coarse grids, some clip, some are gone */
        h->params[j] += (float)(coarse * (bl_rng_unit(&r) - 0.6));
    for (int64_t j = h->n_weights; j < h->n_values; j++) h->params[j] = (float)(bl_rng_unit(&r) - 0.3);
    for (int64_t g = 0; g < h->in.f.n; g++) h->params[h->in.f.at + g] = BL_MIN(h->params[h->in.f.at + g], h->in.f_most);
    h->beta = 1e-3;
    h->o.gamma = 1e-3;
    (void)bl_hgq_gradient(h, h->x, h->wanted, 32);

    size_t n = (size_t)h->n_params;
    double *p = calloc(n, sizeof *p), *base = calloc(n, sizeof *base);
    for (size_t j = 0; j < n; j++) p[j] = base[j] = (double)h->params[j];
    reference ref = { .h = h, .p = p, .base = base, .kbi = o->weights == BL_HGQ_KBI };
    freeze_weights(&ref);
    (void)loss_of(&ref, 32, true);
    int clipped = 0, followed = 0;
    for (int row = 0; row < 32; row++)
        for (int64_t e = 0; e < 7; e++) clipped += ref.out[0]->clip[row][e] == 1;
    for (size_t j = 0; j < n; j++) {
        const double eps = 1e-4;
        bool fixed = false;
        for (int64_t g = 0; g < h->in.i.n; g++) fixed |= (int64_t)j == h->in.i.at + g;
        for (int l = 0; l < h->n_layers && !ref.kbi; l++) fixed |= (int64_t)j >= h->layer[l].wi.at && (int64_t)j < h->layer[l].wi.at + h->layer[l].wi.n;
        p[j] = base[j] + eps;
        double up = loss_of(&ref, 32, false);
        p[j] = base[j] - eps;
        double slope = fixed ? 0 : (up - loss_of(&ref, 32, false)) / (2 * eps);
        p[j] = base[j];
        double got = (double)h->grads[j];
        followed += slope != 0;
        if (fabs(got - slope) > 1e-3 * fabs(slope) + 2e-5) fail_msg("parameter %zu of %zu: %.9g, not %.9g", j, n, got, slope);
    }
    assert_true(clipped > 10);
    assert_true((double)followed > 0.5 * (double)n);
    for (int l = 0; l < h->n_layers; l++) {
        free(ref.w_rest[l]);
        free(ref.w_clip[l]);
        free(ref.out[l]);
    }
    free(ref.in);
    free(p);
    free(base);
    close_task(&t);
}

static void test_gradients(void **state)
{
    (void)state;
    bl_hgq_options o = few();
    o.act_i = 0;
    o.act_f = 2;
    o.weight_bits = 2;
    check_gradients(&o, 3);
    o.weights = BL_HGQ_KBI;
    check_gradients(&o, 2);
    o.group_norm = false;
    o.act_share = BL_HGQ_TENSOR;
    o.weight_share = BL_HGQ_CHANNEL;
    check_gradients(&o, 1);
    o.weights = BL_HGQ_SPAN;
    check_gradients(&o, 1);
}

/* ------------------------------------------------------------------ windows */

static double float_loss(bl_hgq *h, int rows)
{
    (void)bl_hgq_gradient(h, h->x, h->wanted, rows);
    bl_hgq_plain_biases(h);
    const float *y = bl_hgq_forward(h, h->x, rows);
    double loss = 0;
    for (int r = 0; r < rows; r++, y += h->classes) {
        double sum = 0;
        for (int64_t c = 0; c < h->classes; c++) sum += exp((double)y[c]);
        loss += log(sum) - (double)y[h->labels[r]];
    }
    return loss / rows;
}

static void check_windows(const char *pool)
{
    task t;
    bl_hgq_options o = few();
    open_task(&t, NULL, pool, &o);
    bl_hgq *h = t.h;
    int checked = 0;
    for (int64_t j = 0; j < h->n_weights; j++) h->params[j] *= 0.3f;
    for (int64_t j = 0; j < h->n_values; j += 3) {
        (void)float_loss(h, 16);
        (void)bl_hgq_gradient(h, h->x, h->wanted, 16);
        double got = (double)h->grads[j], eps = 2e-3, slope;
        float before = h->params[j];
        h->params[j] = before + (float)eps;
        slope = float_loss(h, 16);
        h->params[j] = before - (float)eps;
        slope = (slope - float_loss(h, 16)) / (2 * eps);
        h->params[j] = before;
        checked += fabs(slope) > 1e-3;
        /* A kink of ReLU or a maximum may lie between. */
        if (fabs(got - slope) > 0.05 * fabs(slope) + 4e-3) fail_msg("%s: parameter %d: %g, not %g", pool, (int)j, got, slope);
    }
    assert_true(checked > 10);
    close_task(&t);
}

static void test_windows(void **state)
{
    (void)state;
    check_windows("MaxPool");
    check_windows("AveragePool");
}

/* The price of a convolution is that of its products, one by one; half of it where half of the positions are there. */
static void test_price(void **state)
{
    (void)state;
    task t;
    bl_hgq_options o = few();
    open_task(&t, NULL, "AveragePool", &o);
    bl_hgq *h = t.h;
    h->quantized = true;
    assert_ok(t.ctx, bl_hgq_start_widths(h));
    bl_hgq_grids(h);
    bl_hgq_price(h);
    double want = 0, first = 0;
    for (int n = 0; n < h->n_layers; n++) {
        const bl_hgq_layer *l = &h->layer[n];
        if (!l->q) continue;
        for (int64_t p = 0; p < l->places; p++)
            for (int64_t k = 0; k < l->taps; k++) {
                int32_t at = l->gather ? l->gather[p * l->taps + k] : (int32_t)k;
                for (int64_t c = 0; at >= 0 && c < l->out_c; c++) want += (double)(l->in_bits[at] * l->bits[k * l->out_c + c]);
            }
        if (!n) first = want;
    }
    assert_true(fabs(h->estimate - want) < 1e-5 * want);
    h->o.parallel = h->layer[0].places / 2;
    bl_hgq_price(h);
    assert_true(fabs(h->estimate - (want - first * (1 - (double)h->o.parallel / (double)h->layer[0].places))) < 1e-5 * want);
    close_task(&t);
}

/* What the price's gradient on a width is divided by: values that share it, times how often they stand in hardware. */
static void test_sharing(void **state)
{
    (void)state;
    for (int parallel = 0; parallel < 3; parallel += 2) {
        task t;
        bl_hgq_options o = few();
        o.parallel = parallel;
        o.act_share = BL_HGQ_TENSOR;
        open_task(&t, NULL, "AveragePool", &o);
        const bl_hgq_layer *l = t.h->layer;
        double there = parallel ? parallel : (double)l->places, pooled = l[1].kind == BL_FIXED_AVERAGE_POOL ? (double)l[1].taps : 1;
        double shared = (double)l->n_out * there / (double)l->places / pooled;
        assert_true(l->places > 2 && pooled > 1);
        assert_true(fabs((double)l->w_norm[0] * sqrt(there) - 1) < 1e-6);
        assert_true(fabs((double)l->grid.norm[0] * sqrt(shared) - 1) < 1e-6);
        assert_true(fabs((double)t.h->in.norm[0] * sqrt(60) - 1) < 1e-6);
        close_task(&t);
    }
}

/* ------------------------------------------------------------------ integers */

static void check_integers(const char *sizes, const char *pool, const bl_hgq_options *o)
{
    task t;
    open_task(&t, sizes, pool, o);
    assert_ok(t.ctx, bl_hgq_train(t.h));
    assert_true(bl_hgq_points(t.h) > 0);
    /* A file's weights are not trained without quantizers first; how well they do is measured all the same. */
    assert_int_equal(bl_hgq_facts_of(t.h).float_steps > 0, pool == NULL);
    assert_true(bl_hgq_facts_of(t.h).float_held >= 0);
    assert_ok(t.ctx, bl_hgq_test(t.h));
    for (size_t p = 0; p < bl_hgq_points(t.h); p++)
        for (int part = BL_HGQ_TRAIN; part <= BL_HGQ_TEST; part++) {
            bl_hgq_agreement a;
            assert_ok(t.ctx, bl_hgq_agree(t.h, p, (bl_hgq_part)part, &a));
            assert_int_equal(a.rows, part == BL_HGQ_TRAIN ? ROWS - 48 : 24);
            assert_int_equal(a.outputs, a.rows * 3);
            if (a.differ) fail_msg("%s: %d outputs of %d differ", pool ? pool : sizes, (int)a.differ, (int)a.outputs);
            const bl_hgq_point *q = bl_hgq_point_at(t.h, p);
            double accuracy = part == BL_HGQ_TEST ? q->test_accuracy : q->held_accuracy;
            if (part != BL_HGQ_TRAIN) assert_true(fabs(accuracy * 24 - (double)a.right) < 1e-6);
            assert_true(q->cost.ebops1 <= q->estimate * (1 + 1e-6) || o->overflow == BL_WRAP);
        }
    close_task(&t);
}

static void test_integers(void **state)
{
    (void)state;
    bl_hgq_options o = few();
    check_integers(NULL, "MaxPool", &o);
    check_integers(NULL, "AveragePool", &o);
    o.act_share = BL_HGQ_CHANNEL;
    o.weight_share = BL_HGQ_TENSOR;
    check_integers(NULL, "AveragePool", &o);
    o.weights = BL_HGQ_KBI;
    o.overflow = BL_WRAP;
    check_integers(NULL, "MaxPool", &o);
    for (int round = 0; round < BL_FIXED_ROUNDS; round++)
        for (int overflow = 0; overflow < BL_FIXED_OVERFLOWS; overflow++) {
            o = few();
            o.round = (bl_fixed_round)round;
            o.overflow = (bl_fixed_overflow)overflow;
            check_integers("5-8-6-3", NULL, &o);
        }
    o = few();
    o.uniform_bits = 4;
    check_integers("5-8-6-3", NULL, &o);
}

/* S_ modes: a step's activations lie on one of the two codes around their sum, on the mean nowhere off it. */
static void test_stochastic(void **state)
{
    (void)state;
    task t;
    bl_hgq_options o = few();
    t.ctx = test_ctx(1, 0);
    assert_ok(t.ctx, bl_hgq_set(t.ctx, &o, "round", "S_RND_CONV"));
    test_ctx_free(t.ctx);
    assert_true(o.stochastic && o.round == BL_RND_CONV);
    check_integers("5-8-6-3", NULL, &o);
    open_task(&t, "5-8-6-3", NULL, &o);
    assert_ok(t.ctx, bl_hgq_train(t.h));
    bl_hgq *h = t.h;
    const bl_hgq_layer *l = &h->layer[0];
    int64_t n = 0, ups = 0;
    double off = 0, variance = 0;
    for (int step = 0; step < 200; step++, h->step++) {
        (void)bl_hgq_gradient(h, h->x, h->wanted, 16);
        for (int64_t k = 0; k < 16 * l->n_out; k++) {
            int64_t e = k % l->n_out;
            double v = fmin(fmax((double)l->y[k], (double)l->grid.lo[e]), (double)l->grid.hi[e]) * (double)l->grid.scale[e];
            double code = (double)l->a[k] * (double)l->grid.scale[e], high = v - floor(v);
            assert_true(code == floor(v) || code == ceil(v));
            if (high == 0) continue;
            ups += code > floor(v);
            off += code - v;
            variance += high * (1 - high);
            n++;
        }
    }
    assert_true(n > 1000 && ups > n / 20 && ups < n - n / 20);
    assert_true(fabs(off) < 5 * sqrt(variance));
    close_task(&t);
}

/* ------------------------------------------------------------------ loops */

#if defined(__x86_64__)
static void fill(float *x, size_t n, bl_rng *r, double by)
{
    for (size_t i = 0; i < n; i++) x[i] = (float)(by * bl_rng_normal(r));
}

static void same_loops(const bl_hgq_loops *a, const bl_hgq_loops *b)
{
    enum { N = 37, M = 19 };
    static float x[2][M * N], y[2][M * N], g[2][M * N], s[2][4][N], scale[N], step[N], lo[N], hi[N], limit[M * N], f[M * N], room[64];
    static float wanted[M * N];
    double loss[2];
    bl_rng r = bl_rng_make(5, "loops", 0);
    for (int j = 0; j < N; j++) {
        scale[j] = exp2f((float)(j % 7));
        step[j] = 1 / scale[j];
        hi[j] = j % 5 ? 1.5f : INFINITY;
        lo[j] = j % 3 ? 0 : -1;
    }
    for (int j = 0; j < M; j++) wanted[j * N + j] = 0.75f, wanted[j * N + j + 1] = 0.25f;
    for (int j = 0; j < M * N; j++) {
        limit[j] = j % 4 ? INFINITY : 0.5f;
        f[j] = (float)(j % 9) - 2.3f;
    }
    bl_hgq_columns c = { .n = N, .scale = scale, .step = step, .lo = lo, .hi = hi };
    for (int t = 0; t < 2; t++) {
        const bl_hgq_loops *l = t ? b : a;
        bl_rng again = r;
        memset(s[t], 0, sizeof s[t]);
        fill(x[t], M * N, &again, 1);
        fill(g[t], M * N, &again, 1);
        l->act(M, &c, lo, x[t], y[t]);
        l->act_back(M, &c, x[t], y[t], g[t], s[t][0], s[t][1], s[t][2], s[t][3]);
        l->weights(M * N, g[t], f, limit, x[t], y[t], g[t]);
        l->width_back(M, N, x[t], y[t], g[t], f, 1e-3f, 1e-4f, y[t]);
        fill(x[t], M * N, &again, 5);
        loss[t] = l->softmax(M, N, x[t], wanted, 0.1f, room);
        l->plain(M, N, lo, 0, x[t], y[t]);
        l->adamw(M * N, y[t], x[t], g[t], x[t], 1e-3f, 1e-4f, 1.1f);
        l->row_sums(M, N, y[t], s[t][3]);
        l->range(M, N, y[t], s[t][0], s[t][2]);
    }
    assert_memory_equal(x[0], x[1], sizeof x[0]);
    assert_memory_equal(y[0], y[1], sizeof y[0]);
    assert_memory_equal(g[0], g[1], sizeof g[0]);
    assert_memory_equal(s[0], s[1], sizeof s[0]);
    assert_true(loss[0] == loss[1]);
}
#endif

static void test_loops(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (bl_isa_here(BL_ISA_AVX2)) same_loops(&bl_hgq_loops_plain, &bl_hgq_loops_of_avx2);
    if (bl_isa_here(BL_ISA_AVX512)) same_loops(&bl_hgq_loops_plain, &bl_hgq_loops_of_avx512);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_gradients), cmocka_unit_test(test_windows),  cmocka_unit_test(test_price),
        cmocka_unit_test(test_sharing),
        cmocka_unit_test(test_integers), cmocka_unit_test(test_stochastic), cmocka_unit_test(test_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
