/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The integer executor on random networks that use every operator with an integer form, at every
 * width: each tensor equals a naive evaluation by the rules [Q1]..[Q12] written here once more, the
 * fake-quantized float walk stays within one step, and bits, memory and allocations are as promised.
 */
#include "tiny_graph.h"

#include "kernels/kernels.h"

/* ------------------------------------------------------------------ the rules once more */

typedef struct world {
    bl_ctx *ctx;
    bl_arena *a;
    const bl_graph *g;
    const bl_plan *p;
    int32_t **code;             /* by value, in the model's order */
} world;

static bl_grid grid_of(const world *w, int v)
{
    const bl_quantizer *q = &w->p->quantizers[w->p->of_value[v]];
    return (bl_grid){ .scale = q->scale[0], .zero = q->zero, .lo = 0, .hi = (1 << q->bits) - 1 };
}

static int32_t clamp_round(float t, int32_t lo, int32_t hi)
{
    if (!(t > (float)lo)) return lo;
    return t < (float)hi ? (int32_t)rintf(t) : hi;
}

static int32_t q1(float x, bl_grid g)
{
    return clamp_round(x / g.scale, g.lo - g.zero, g.hi - g.zero) + g.zero;
}

static float q2(int32_t q, bl_grid g)
{
    return (float)(q - g.zero) * g.scale;
}

static int64_t count_of(const world *w, int v)
{
    return bl_tensor_count(&w->g->values[v].t);
}

/* Output grid with the fused activation's bounds. */
static bl_grid out_grid(const world *w, const bl_node *n)
{
    bl_grid g = grid_of(w, n->out[0]), c = g;
    if (n->lo > -INFINITY) c.lo = q1(n->lo, g);
    if (n->hi < INFINITY) c.hi = q1(n->hi, g);
    return c;
}

static float scale_of(const bl_quantizer *q, int64_t c)
{
    return q->scale[q->n_scale > 1 ? c : 0];
}

static int32_t weight_code(const bl_quantizer *q, float x, float s)
{
    int32_t lo = q->narrow || q->bits == 8 ? 1 - (1 << (q->bits - 1)) : -(1 << (q->bits - 1));
    if (q->bits == 1) return x >= 0 ? 1 : -1;
    return clamp_round(x / s, lo, (1 << (q->bits - 1)) - 1);
}

/* [Q4] and [Q3] of one output: products is the exact sum. */
static int32_t finish(const world *w, const bl_node *n, const bl_quantizer *qw, int64_t c, int64_t products)
{
    bl_grid gx = grid_of(w, n->in[0]), gy = out_grid(w, n);
    float sxw = gx.scale * scale_of(qw, c), m = sxw / gy.scale;
    int64_t b = 0;
    if (n->n_in > 2) {
        const bl_tensor *t = &w->g->values[n->in[2]].t;
        b = (int64_t)rintf(((const float *)t->data)[bl_tensor_count(t) > 1 ? c : 0] / sxw);
    }
    float f = (float)(products + b) * m;
    return clamp_round(f, gy.lo - gy.zero, gy.hi - gy.zero) + gy.zero;
}

static void naive_conv(world *w, const bl_node *n)
{
    const int64_t *x = w->g->values[n->in[0]].t.dim, *k = w->g->values[n->in[1]].t.dim, *y = w->g->values[n->out[0]].t.dim;
    const float *weight = w->g->values[n->in[1]].t.data;
    const bl_quantizer *qw = &w->p->quantizers[w->p->of_value[n->in[1]]];
    const int64_t *pad = bl_node_attr(n, "pads")->ints, *stride = bl_node_attr(n, "strides")->ints;
    const int64_t *dil = bl_node_attr(n, "dilations")->ints;
    int64_t groups = bl_attr_int(n, "group", 1);
    int32_t zero = grid_of(w, n->in[0]).zero;
    for (int64_t o = 0, at = 0; o < y[1]; o++)
        for (int64_t i = 0; i < y[2]; i++)
            for (int64_t j = 0; j < y[3]; j++, at++) {
                int64_t sum = 0;
                for (int64_t c = 0; c < k[1]; c++)
                    for (int64_t u = 0; u < k[2]; u++)
                        for (int64_t v = 0; v < k[3]; v++) {
                            int64_t r = i * stride[0] - pad[0] + u * dil[0], s = j * stride[1] - pad[1] + v * dil[1];
                            int64_t channel = o / (y[1] / groups) * k[1] + c;
                            if (r < 0 || s < 0 || r >= x[2] || s >= x[3]) continue;
                            float f = weight[((o * k[1] + c) * k[2] + u) * k[3] + v];
                            sum += (int64_t)(w->code[n->in[0]][(channel * x[2] + r) * x[3] + s] - zero) *
                                   weight_code(qw, f, scale_of(qw, o));
                        }
                w->code[n->out[0]][at] = finish(w, n, qw, o, sum);
            }
}

static void naive_product(world *w, const bl_node *n)
{
    const bl_tensor *t = &w->g->values[n->in[1]].t;
    const bl_quantizer *qw = &w->p->quantizers[w->p->of_value[n->in[1]]];
    bool trans = bl_attr_int(n, "transB", 0) != 0;
    int64_t cols = t->dim[trans ? 0 : 1], k = t->dim[trans ? 1 : 0], rows = count_of(w, n->out[0]) / cols;
    int32_t zero = grid_of(w, n->in[0]).zero;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < cols; c++) {
            int64_t sum = 0;
            for (int64_t i = 0; i < k; i++)
                sum += (int64_t)(w->code[n->in[0]][r * k + i] - zero) *
                       weight_code(qw, ((const float *)t->data)[trans ? c * k + i : i * cols + c], scale_of(qw, c));
            w->code[n->out[0]][r * cols + c] = finish(w, n, qw, c, sum);
        }
}

/* Two activations of rank 4 with equal batches: [Q3], both zero points, one multiplier. */
static void naive_matmul(world *w, const bl_node *n)
{
    const int64_t *a = w->g->values[n->in[0]].t.dim, *b = w->g->values[n->in[1]].t.dim;
    bl_grid ga = grid_of(w, n->in[0]), gb = grid_of(w, n->in[1]), gy = out_grid(w, n);
    float s = ga.scale * gb.scale, m = s / gy.scale;
    for (int64_t i = 0, at = 0; i < a[0] * a[1]; i++)
        for (int64_t r = 0; r < a[2]; r++)
            for (int64_t c = 0; c < b[3]; c++, at++) {
                int64_t sum = 0;
                for (int64_t k = 0; k < a[3]; k++)
                    sum += (int64_t)(w->code[n->in[0]][(i * a[2] + r) * a[3] + k] - ga.zero) *
                           (w->code[n->in[1]][(i * a[3] + k) * b[3] + c] - gb.zero);
                w->code[n->out[0]][at] = clamp_round((float)sum * m, gy.lo - gy.zero, gy.hi - gy.zero) + gy.zero;
            }
}

/* Element of an operand for element `at` of the output: numpy's broadcasting. */
static int64_t operand_at(const bl_tensor *v, const bl_tensor *y, int64_t at)
{
    int64_t index = 0, step = 1;
    for (int d = y->rank - 1, e = v->rank - 1; d >= 0; d--, e--) {
        int64_t i = at % y->dim[d];
        at /= y->dim[d];
        if (e < 0) continue;
        index += (v->dim[e] == 1 ? 0 : i) * step;
        step *= v->dim[e];
    }
    return index;
}

static void naive_pair(world *w, const bl_node *n, bool add)
{
    int a = n->in[0], b = n->in[1];
    if (count_of(w, a) < count_of(w, b)) a = n->in[1], b = n->in[0]; /* the full-size operand first */
    bl_grid ga = grid_of(w, a), gb = grid_of(w, b), gy = out_grid(w, n);
    float ra = ga.scale / gy.scale, rb = gb.scale / gy.scale;
    float f = (float)gy.zero - fmaf(ra, (float)ga.zero, rb * (float)gb.zero), r = ga.scale * gb.scale / gy.scale;
    const bl_tensor *y = &w->g->values[n->out[0]].t;
    for (int64_t i = 0; i < bl_tensor_count(y); i++) {
        int32_t x = w->code[a][operand_at(&w->g->values[a].t, y, i)], z = w->code[b][operand_at(&w->g->values[b].t, y, i)];
        float t;
        if (add) {
            t = fmaf((float)x, ra, fmaf((float)z, rb, f));
        } else {
            t = (float)((int64_t)(x - ga.zero) * (z - gb.zero)) * r;
            t = t + (float)gy.zero;
        }
        w->code[n->out[0]][i] = clamp_round(t, gy.lo, gy.hi);
    }
}

static void naive_pool(world *w, const bl_node *n)
{
    const int64_t *x = w->g->values[n->in[0]].t.dim, *y = w->g->values[n->out[0]].t.dim;
    bool global = !strncmp(n->op->name, "Global", 6), max = strstr(n->op->name, "Max") != NULL;
    bl_grid gx = grid_of(w, n->in[0]), gy = out_grid(w, n);
    for (int64_t c = 0, at = 0; c < y[1]; c++)
        for (int64_t i = 0; i < y[2]; i++)
            for (int64_t j = 0; j < y[3]; j++, at++) {
                const int32_t *plane = w->code[n->in[0]] + c * x[2] * x[3];
                const int64_t *k = global ? x + 2 : bl_node_attr(n, "kernel_shape")->ints;
                static const int64_t none[] = { 0, 0, 0, 0 }, ones[] = { 1, 1 };
                const int64_t *pad = global ? none : bl_node_attr(n, "pads")->ints;
                const int64_t *stride = global ? ones : bl_node_attr(n, "strides")->ints;
                float sum = 0;
                int64_t taps = 0, acc = 0;
                int32_t most = -1;
                for (int64_t u = 0; u < k[0]; u++)
                    for (int64_t v = 0; v < k[1]; v++) {
                        int64_t r = i * stride[0] - pad[0] + u, s = j * stride[1] - pad[1] + v;
                        if (r < 0 || s < 0 || r >= x[2] || s >= x[3]) continue;
                        sum = sum + q2(plane[r * x[3] + s], gx);
                        acc += plane[r * x[3] + s] - gx.zero;
                        most = BL_MAX(most, plane[r * x[3] + s]);
                        taps++;
                    }
                if (bl_attr_int(n, "count_include_pad", 0)) taps = k[0] * k[1];
                float m = gx.scale / (gy.scale * (float)taps), mean = sum / (float)taps, t = mean / gy.scale;
                w->code[n->out[0]][at] = max ? most
                    : global ? clamp_round((float)acc * m, gy.lo - gy.zero, gy.hi - gy.zero) + gy.zero
                             : clamp_round(t + (float)gy.zero, gy.lo, gy.hi);
            }
}

static float unary_of(const world *w, const bl_node *n, float x)
{
    const char *name = n->op->name;
    if (!strcmp(name, "Relu")) return x > 0 ? x : 0;
    if (!strcmp(name, "Sigmoid")) return (float)(1 / (1 + exp(-(double)x)));
    if (!strcmp(name, "Tanh")) return (float)tanh((double)x);
    if (!strcmp(name, "LeakyRelu")) return x < 0 ? bl_attr_float(n, "alpha", 0.01f) * x : x;
    if (!strcmp(name, "Clip")) {
        if (n->in[1] >= 0) x = fmaxf(x, *(const float *)w->g->values[n->in[1]].t.data);
        return fminf(x, *(const float *)w->g->values[n->in[2]].t.data);
    }
    bool swish = !strcmp(name, "HardSwish"); /* [Q11] */
    if (!swish && strcmp(name, "HardSigmoid")) fail_msg("no rule for %s here", name);
    float t = (swish ? 1.0f / 6 : 0.2f) * x;
    t = fminf(1, fmaxf(0, t + 0.5f));
    return swish ? x * t : t;
}

static void naive_softmax(world *w, const bl_node *n)
{
    bl_grid gx = grid_of(w, n->in[0]), gy = out_grid(w, n);
    const bl_tensor *t = &w->g->values[n->in[0]].t;
    int64_t d = t->dim[t->rank - 1];
    double sx = (double)gx.scale, b = fmax(0, log((double)3.4028234663852886e38f / (double)d) - 5) / sx;
    for (int64_t r = 0; r < bl_tensor_count(t) / d; r++) {
        const int32_t *x = w->code[n->in[0]] + r * d;
        int32_t most = 0;
        float sum = 0;
        for (int64_t i = 0; i < d; i++) most = BL_MAX(most, x[i]);
        for (int64_t i = 0; i < d; i++) sum = sum + (float)exp((x[i] - most + b) * sx);
        for (int64_t i = 0; i < d; i++) {
            float e = (float)exp((x[i] - most + b) * sx), q = e * floorf(1 / gy.scale);
            w->code[n->out[0]][r * d + i] = BL_MIN((int32_t)rintf(q / sum) + gy.zero, gy.hi);
        }
    }
}

/* [Q18]: from exact sums, whatever the zero point. */
static void naive_layernorm(world *w, const bl_node *n)
{
    bl_grid gx = grid_of(w, n->in[0]), gy = out_grid(w, n);
    const float *gain = w->g->values[n->in[1]].t.data, *bias = n->n_in > 2 ? w->g->values[n->in[2]].t.data : NULL;
    int64_t d = bl_tensor_count(&w->g->values[n->in[1]].t);
    double ratio = (double)d / (double)gx.scale;
    for (int64_t r = 0; r < count_of(w, n->in[0]); r += d) {
        const int32_t *x = w->code[n->in[0]] + r;
        int64_t s1 = 0, s2 = 0;
        for (int64_t i = 0; i < d; i++) s1 += x[i], s2 += (int64_t)x[i] * x[i];
        float f = (float)(1.0 / sqrt((double)(d * s2 - s1 * s1) + (double)1e-5f * (ratio * ratio)));
        for (int64_t i = 0; i < d; i++) {
            float t = (float)(d * x[i] - s1) * f, g = gain[i] / gy.scale;
            t = t * g;
            t = t + (bias ? bias[i] / gy.scale : 0);
            w->code[n->out[0]][r + i] = clamp_round(t, gy.lo - gy.zero, gy.hi - gy.zero) + gy.zero;
        }
    }
}

/* [Q10]: Q1 of the float operator of Q2. */
static void naive_island(world *w, const bl_node *n)
{
    bl_tensor in[16], out[4];
    const bl_tensor *at[16];
    bl_grid gy = out_grid(w, n);
    for (int i = 0; i < n->n_in; i++) {
        in[i] = n->in[i] < 0 ? (bl_tensor){ 0 } : w->g->values[n->in[i]].t;
        at[i] = n->in[i] < 0 ? NULL : &in[i];
        if (n->in[i] < 0 || !w->code[n->in[i]]) continue;
        float *x = BL_NEW(w->a, float, (size_t)bl_tensor_count(&in[i]));
        for (int64_t k = 0; k < bl_tensor_count(&in[i]); k++) x[k] = q2(w->code[n->in[i]][k], grid_of(w, n->in[i]));
        in[i].data = x;
    }
    for (int i = 0; i < n->n_out; i++) {
        out[i] = w->g->values[n->out[i]].t;
        out[i].data = BL_NEW(w->a, float, (size_t)bl_tensor_count(&out[i]));
    }
    bl_call call = { .ctx = w->ctx, .node = n, .n_in = n->n_in, .n_out = n->n_out, .in = at, .out = out, .scratch = w->a };
    assert_ok(w->ctx, n->op->forward(&call));
    for (int i = 0; i < n->n_out; i++) /* outputs of one operator share the grid here */
        for (int64_t k = 0; k < bl_tensor_count(&out[i]); k++)
            w->code[n->out[i]][k] = q1(((const float *)out[i].data)[k], gy);
}

static void naive_run(world *w, const float *sample)
{
    for (int v = 0; v < w->g->n_values; v++) {
        const bl_value *x = &w->g->values[v];
        int q = w->p->of_value[v];
        w->code[v] = q >= 0 && !w->p->quantizers[q].weight ? BL_NEW(w->a, int32_t, (size_t)bl_tensor_count(&x->t)) : NULL;
        const float *from = x->t.data ? x->t.data : sample;
        if (w->code[v] && (x->is_input || x->t.data))
            for (int64_t i = 0; i < bl_tensor_count(&x->t); i++) w->code[v][i] = q1(from[i], grid_of(w, v));
    }
    for (int i = 0; i < w->g->n_nodes; i++) {
        const bl_node *n = &w->g->nodes[i];
        const char *op = n->op->name;
        if (!strcmp(op, "Conv")) naive_conv(w, n);
        else if (!strcmp(op, "MatMul") && !w->g->values[n->in[1]].t.data) naive_matmul(w, n);
        else if (!strcmp(op, "Gemm") || !strcmp(op, "MatMul")) naive_product(w, n);
        else if (!strcmp(op, "Add") || !strcmp(op, "Mul")) naive_pair(w, n, *op == 'A');
        else if (strstr(op, "Pool")) naive_pool(w, n);
        else if (!strcmp(op, "Softmax")) naive_softmax(w, n);
        else if (!strcmp(op, "LayerNormalization")) naive_layernorm(w, n);
        else if (n->op->flags & BL_OP_UNARY)
            for (int64_t k = 0; k < count_of(w, n->out[0]); k++)
                w->code[n->out[0]][k] = q1(unary_of(w, n, q2(w->code[n->in[0]][k], grid_of(w, n->in[0]))), out_grid(w, n));
        else naive_island(w, n);
    }
}

/* ------------------------------------------------------------------ what the executor has */

typedef struct seen {
    bl_exec *e;
    const bl_program *p;
    uint16_t **code;            /* by tensor: its codes after the last step that wrote it */
} seen;

static bl_status see(void *user, uint32_t step, uint32_t tensor)
{
    seen *s = user;
    (void)step;
    for (uint32_t t = 0; t < s->p->n_tensors; t++) {
        uint32_t root = t;
        while (root != tensor && s->p->tensors[root].alias >= 0) root = (uint32_t)s->p->tensors[root].alias;
        if (root == tensor) bl_exec_read(s->e, t, s->code[t]);
    }
    return BL_OK;
}

static void exec_codes(bl_ctx *ctx, bl_arena *a, const bl_program *p, const bl_exec_options *o, const float *sample,
                       size_t n, uint16_t **code)
{
    seen s = { .p = p, .code = code };
    assert_ok(ctx, bl_exec_new(ctx, p, o, &s.e));
    memcpy(bl_exec_input(s.e, 0), sample, n * sizeof *sample);
    for (uint32_t t = 0; t < p->n_tensors; t++) {
        size_t count = 1;
        for (int d = 0; d < p->tensors[t].rank; d++) count *= (size_t)p->tensors[t].dim[d];
        code[t] = BL_NEW(a, uint16_t, count);
    }
    assert_ok(ctx, bl_exec_run(s.e, see, &s));
    bl_exec_free(s.e);
}

static int value_of(const bl_graph *g, const bl_program *p, uint32_t tensor)
{
    const bl_ptensor *t = &p->tensors[tensor];
    if (t->flags & (BL_TENSOR_CONSTANT | BL_TENSOR_INNER)) return -1;
    int v = bl_graph_find_value(g, p->strings + t->name);
    assert_true(v >= 0);
    return v;
}

/* ------------------------------------------------------------------ one random network at random widths */

typedef struct trial {
    bl_ctx *ctx;
    bl_arena *a;
    bl_graph *g;
    bl_menu *menu;
    bl_stats *stats;
    bl_plan *plan;
    bl_program *program;
    float *sample;
    size_t n;                   /* of the sample */
} trial;

static void choose_widths(const trial *t, bl_rng *r, int w_bits, int a_bits, int *choice)
{
    for (int u = 0; u < t->menu->n_units; u++) {
        const bl_unit *unit = &t->menu->units[u];
        int most = 16;
        for (int i = 0; i < t->g->n_nodes; i++) /* Softmax takes at most 8 bits */
            if (!strcmp(t->g->nodes[i].op->name, "Softmax") && t->menu->unit_of_value[t->g->nodes[i].in[0]] == u) most = 8;
        do choice[u] = (int)bl_rng_below(r, (uint64_t)unit->n_candidates);
        while (unit->candidates[choice[u]].a_bits > most);
        for (int c = 0; w_bits && c < unit->n_candidates; c++)
            if (unit->candidates[c].a_bits == BL_MIN(a_bits, most) && (!unit->n_layers || unit->candidates[c].w_bits == w_bits))
                choice[u] = c;
    }
}

/* Statistics of four normal samples, without files; the last one is what runs. */
static void make_stats(trial *t, uint64_t seed)
{
    bl_walk_options o = { .reference = true, .keep_all = true };
    bl_walk *walk = NULL;
    bl_rng r = bl_rng_make(seed, "samples", 0);
    bl_value_stats *value = BL_NEW(t->a, bl_value_stats, (size_t)t->g->n_values);
    t->stats = BL_NEW(t->a, bl_stats, 1);
    *t->stats = (bl_stats){ .n_values = t->g->n_values, .value = value };
    assert_ok(t->ctx, bl_walk_new(t->ctx, t->g, &o, &walk));
    t->n = (size_t)bl_tensor_count(bl_walk_input(walk, 0));
    t->sample = BL_NEW(t->a, float, t->n);
    for (int s = 0; s < 4; s++) {
        for (size_t i = 0; i < t->n; i++) t->sample[i] = (float)bl_rng_normal(&r);
        memcpy(bl_walk_input(walk, 0)->data, t->sample, t->n * sizeof(float));
        assert_ok(t->ctx, bl_walk_run(walk, NULL, NULL));
        for (int v = 0; v < t->g->n_values; v++) {
            if (t->g->values[v].t.data || t->g->values[v].t.type != BL_F32) continue;
            const float *x = bl_walk_value(walk, v)->data;
            for (int64_t i = 0; i < bl_tensor_count(&t->g->values[v].t); i++) {
                if (!value[v].count++) value[v].lo = value[v].hi = (double)x[i];
                value[v].lo = fmin(value[v].lo, (double)x[i]);
                value[v].hi = fmax(value[v].hi, (double)x[i]);
            }
        }
    }
    bl_walk_free(walk);
}

/* w_bits 0: a random candidate for each unit. */
static trial trial_new(bl_ctx *ctx, uint64_t seed, int w_bits, int a_bits)
{
    bl_menu_options m = { .w_bits = { 1, 2, 3, 4, 5, 6, 7, 8 }, .n_w = 8, .a_bits = { 1, 2, 3, 4, 5, 6, 7, 8, 16 }, .n_a = 9 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax", .narrow = seed % 3 == 0, .per_tensor = seed % 5 == 0 };
    trial t = { .ctx = ctx, .a = bl_arena_new(ctx, "trial"), .g = ob_prepared((seed % 16 == 15 ? tiny_normalising : tiny_random)(ctx, seed)) };
    bl_rng r = bl_rng_make(seed, "widths", (uint64_t)(w_bits * 32 + a_bits));
    int choice[256];
    make_stats(&t, seed);
    assert_ok(ctx, bl_menu_make(ctx, t.g, &m, &t.menu));
    choose_widths(&t, &r, w_bits, a_bits, choice);
    assert_ok(ctx, bl_plan_make(ctx, t.g, t.menu, t.stats, choice, &o, "test", &t.plan));
    bl_status s = bl_lower(ctx, t.g, t.plan, NULL, &t.program);
    if (s != BL_OK) fail_msg("seed %d: %s: %s", (int)seed, bl_last_error(ctx).place, bl_last_error(ctx).what);
    return t;
}

static void trial_free(trial *t)
{
    bl_program_free(t->program);
    bl_plan_free(t->plan);
    bl_menu_free(t->menu);
    bl_graph_free(t->g);
    bl_arena_free(t->a);
}

static uint16_t **codes_now(trial *t, const bl_exec_options *o)
{
    uint16_t **code = BL_NEW(t->a, uint16_t *, t->program->n_tensors);
    exec_codes(t->ctx, t->a, t->program, o, t->sample, t->n, code);
    return code;
}

static const struct widths { int w, a; } uniform[] = { { 0, 0 }, { 8, 8 }, { 0, 0 }, { 1, 8 }, { 2, 2 }, { 3, 5 }, { 4, 4 },
                                                      { 0, 0 }, { 5, 3 }, { 6, 6 }, { 7, 7 }, { 8, 1 }, { 8, 16 }, { 3, 16 } };

static void equals_the_rules(void **state)
{
    int64_t values = 0, n_ops[BL_N_CONTRACT] = { 0 };
    for (uint64_t seed = 0; seed < 800; seed++) {
        struct widths b = uniform[seed % BL_COUNTOF(uniform)];
        trial t = trial_new(*state, seed, b.w, b.a);
        world w = { .ctx = t.ctx, .a = t.a, .g = t.g, .p = t.plan };
        w.code = BL_NEW(t.a, int32_t *, (size_t)t.g->n_values);
        naive_run(&w, t.sample);
        uint16_t **code = codes_now(&t, NULL);
        for (uint32_t i = 0; i < t.program->n_tensors; i++) {
            int v = value_of(t.g, t.program, i);
            if (v < 0) continue;
            for (int64_t k = 0; k < count_of(&w, v); k++)
                if (code[i][k] != w.code[v][k])
                    fail_msg("seed %d W%dA%d: %s of \"%s\"[%d]: %d instead of %d", (int)seed, b.w, b.a,
                             t.g->values[v].producer < 0 ? "input" : t.g->nodes[t.g->values[v].producer].op->name,
                             t.g->values[v].name, (int)k, code[i][k], w.code[v][k]);
            values += count_of(&w, v);
        }
        for (uint32_t i = 0; i < t.program->n_steps; i++)
            if (t.program->steps[i].contract < BL_N_CONTRACT) n_ops[t.program->steps[i].contract]++;
        trial_free(&t);
    }
    print_message("%lld values equal the rules\n", (long long)values);
    for (int c = 0; c < BL_N_CONTRACT; c++)
        if (n_ops[c] < 10) fail_msg("only %d steps of %s", (int)n_ops[c], bl_contract_name((bl_contract)c));
}

/* design.md section 4: within one step on all but 0.1 % of the values. */
static void fake_walk_is_within_a_step(void **state)
{
    int64_t values = 0, one = 0, more = 0;
    for (uint64_t seed = 0; seed < 800; seed++) {
        struct widths b = uniform[seed % BL_COUNTOF(uniform)];
        trial t = trial_new(*state, 5000 + seed, b.w, b.a);
        uint16_t **code = codes_now(&t, NULL);
        bl_fake *fake = NULL;
        bl_walk *walk = NULL;
        bl_walk_options o = { .keep_all = true };
        assert_ok(t.ctx, bl_fake_new(t.ctx, t.g, t.plan, NULL, &fake));
        assert_ok(t.ctx, bl_walk_new(t.ctx, t.g, &o, &walk));
        assert_ok(t.ctx, bl_fake_attach(fake, walk));
        memcpy(bl_walk_input(walk, 0)->data, t.sample, t.n * sizeof(float));
        assert_ok(t.ctx, bl_walk_run(walk, bl_fake_hook, fake));
        world w = { .g = t.g, .p = t.plan };
        for (uint32_t i = 0; i < t.program->n_tensors; i++) {
            int v = value_of(t.g, t.program, i);
            if (v < 0) continue;
            const float *x = bl_walk_value(walk, v)->data;
            bl_grid g = grid_of(&w, v);
            for (int64_t k = 0; k < count_of(&w, v); k++) {
                int32_t d = abs((int32_t)rintf(x[k] / g.scale) + g.zero - code[i][k]);
                one += d == 1;
                more += d > 1;
                values++;
            }
        }
        bl_walk_free(walk);
        bl_fake_free(fake);
        trial_free(&t);
    }
    print_message("fake against integers: %lld values, %lld one step off, %lld more\n", (long long)values, (long long)one,
                  (long long)more);
    assert_true(more * 1000 < values);
    assert_true(one * 100 < values);
}

static void same_bits_for_threads_and_instruction_sets(void **state)
{
    (void)state;
    bl_ctx *ctx[3];
    for (unsigned i = 0; i < 3; i++) ctx[i] = test_ctx(i + 1, 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        struct widths b = uniform[seed % BL_COUNTOF(uniform)];
        trial t = trial_new(ctx[0], 9000 + seed, b.w, b.a);
        bl_exec_options plain = { .cap_given = true, .cap = BL_ISA_REF };
        uint16_t **want = codes_now(&t, &plain);
        for (int isa = 0; isa < BL_N_ISA; isa++)
            for (unsigned threads = 0; threads < 3; threads++) {
                if (!bl_isa_here((bl_isa)isa)) continue;
                bl_exec_options o = { .cap_given = true, .cap = (bl_isa)isa, .parallel = threads > 0 };
                uint16_t **code = BL_NEW(t.a, uint16_t *, t.program->n_tensors);
                exec_codes(ctx[threads], t.a, t.program, &o, t.sample, t.n, code);
                for (uint32_t i = 0; i < t.program->n_tensors; i++) {
                    size_t n = t.program->tensors[i].bytes / (t.program->tensors[i].bits <= 8 ? 1 : 2);
                    if (memcmp(code[i], want[i], n * sizeof **want))
                        fail_msg("seed %d, %s, %u threads: tensor %u", (int)seed, bl_isa_name((bl_isa)isa), threads + 1, i);
                }
            }
        trial_free(&t);
    }
    for (unsigned i = 0; i < 3; i++) test_ctx_free(ctx[i]);
}

/* Outputs are the codes put back into reals, in the model's order. */
static void outputs_are_dequantized(void **state)
{
    for (uint64_t seed = 0; seed < 20; seed++) {
        trial t = trial_new(*state, seed, 8, 8);
        world w = { .g = t.g, .p = t.plan };
        uint16_t **code = codes_now(&t, NULL);
        bl_exec *e = NULL;
        assert_ok(t.ctx, bl_exec_new(t.ctx, t.program, NULL, &e));
        memcpy(bl_exec_input(e, 0), t.sample, t.n * sizeof(float));
        assert_ok(t.ctx, bl_exec_run(e, NULL, NULL));
        for (int o = 0; o < t.g->n_outputs; o++)
            for (uint32_t i = 0; i < t.program->n_tensors; i++) {
                if (value_of(t.g, t.program, i) != t.g->outputs[o]) continue;
                const float *y = bl_exec_output(e, (uint32_t)o);
                for (int64_t k = 0; k < count_of(&w, t.g->outputs[o]); k++)
                    assert_true(y[k] == q2(code[i][k], grid_of(&w, t.g->outputs[o])));
            }
        bl_exec_free(e);
        trial_free(&t);
    }
}

static void no_allocation_while_running(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        bl_ctx *ctx = test_ctx(threads, 0);
        for (uint64_t seed = 0; seed < 10; seed++) {
            trial t = trial_new(ctx, seed, 4, 8);
            bl_exec *e = NULL;
            bl_exec_options o = { .parallel = threads > 1 };
            uint64_t before, after, peak;
            assert_ok(ctx, bl_exec_new(ctx, t.program, &o, &e));
            memcpy(bl_exec_input(e, 0), t.sample, t.n * sizeof(float));
            assert_ok(ctx, bl_exec_run(e, NULL, NULL));
            bl_memory_use(ctx, &before, NULL);
            ctx->fail_alloc = 1; /* the very next one would fail */
            for (int i = 0; i < 10; i++) assert_ok(ctx, bl_exec_run(e, NULL, NULL));
            assert_int_equal(ctx->fail_alloc, 1);
            ctx->fail_alloc = -1;
            bl_memory_use(ctx, &after, &peak);
            assert_int_equal(before, after);
            bl_exec_free(e);
            trial_free(&t);
        }
        test_ctx_free(ctx);
    }
}

/* What is taken is what was promised. */
static void memory_as_promised(void **state)
{
    bl_ctx *ctx = *state;
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,16,96,96");
    ob_floats(b, "w", "96,16,3,3", NULL);
    ob_floats(b, "v", "96,96,3,3", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,w", "a"), b, "pads", "1,1,1,1");
    ob_ints_attr(ob_node(b, "Conv", "a,v", "b"), b, "pads", "1,1,1,1");
    ob_node(b, "Add", "a,b", "y");
    ob_output(b, "y");
    trial t = { .ctx = ctx, .a = bl_arena_new(ctx, "trial"), .g = ob_prepared(b) };
    bl_value_stats *value = BL_NEW(t.a, bl_value_stats, (size_t)t.g->n_values);
    bl_stats stats = { .n_values = t.g->n_values, .value = value };
    for (int v = 0; v < t.g->n_values; v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
    int choice[8] = { 0 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    assert_ok(ctx, bl_menu_make(ctx, t.g, NULL, &t.menu));
    assert_ok(ctx, bl_plan_make(ctx, t.g, t.menu, &stats, choice, &o, "test", &t.plan));
    assert_ok(ctx, bl_lower(ctx, t.g, t.plan, NULL, &t.program));
    assert_int_equal(t.program->weight_bytes, 96 * 16 * 9 + 96 * 96 * 9); /* the promised size, at 8 bits */
    uint64_t elements = 96 * 96 * 96;
    /* x and a, then a and b; the sum takes b's place */
    assert_true(t.program->memory_bytes >= 2 * elements && t.program->memory_bytes <= 2 * elements + 96 * 96 * 16);
    bl_exec *e = NULL;
    uint64_t promised, taken, before, after;
    bl_memory_use(ctx, &before, NULL);
    assert_ok(ctx, bl_exec_new(ctx, t.program, NULL, &e));
    bl_memory_use(ctx, &after, NULL);
    bl_exec_memory(e, &promised, &taken);
    assert_int_equal(taken, after - before);
    print_message("promised %llu, taken %llu bytes\n", (unsigned long long)promised, (unsigned long long)taken);
    assert_int_equal(promised, taken);
    assert_true(promised >= t.program->memory_bytes + t.program->weight_bytes + 4 * (96 * 96 * 16 + elements));
    bl_exec_free(e);
    trial_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_the_rules),
        cmocka_unit_test(fake_walk_is_within_a_step),
        cmocka_unit_test(same_bits_for_threads_and_instruction_sets),
        cmocka_unit_test(outputs_are_dequantized),
        cmocka_unit_test(no_allocation_while_running),
        cmocka_unit_test(memory_as_promised),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
