/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights on their grids: ranges of codes, scales, codes and back.  The default grid is
 * -2^(b-1)..2^(b-1)-1 for 2..7 bits, -127..127 at 8, {-1,+1} times mean|w| at 1; `narrow` is the
 * restricted symmetric grid of the haq and hawq recipes.
 */
#include "quant/quant.h"

#include <string.h>

void bl_weight_code_range(int bits, bool narrow, int32_t *lo, int32_t *hi)
{
    *hi = bits == 1 ? 1 : (1 << (bits - 1)) - 1;
    *lo = narrow || bits == 8 || bits == 1 ? -*hi : -*hi - 1;
}

int bl_weight_axis(const bl_graph *g, int layer)
{
    const bl_node *n = &g->nodes[layer];
    int w = bl_layer_weight(g, layer);
    if (!strcmp(n->op->name, "MatMul")) return g->values[w].t.rank - 1;
    if (!strcmp(n->op->name, "Gemm")) return bl_attr_int(n, "transB", 0) ? 0 : 1;
    if (!strcmp(n->op->name, "ConvTranspose")) return 1;
    return 0;
}

/* A tensor seen from one axis: outer x size x inner. */
typedef struct slices { size_t outer, size, inner; } slices;

static slices slice(const bl_tensor *w, int axis)
{
    slices s = { 1, 1, 1 };
    for (int d = 0; d < w->rank; d++) {
        size_t n = (size_t)w->dim[d];
        if (axis < 0 || d > axis) s.inner *= n;
        else if (d < axis) s.outer *= n;
        else s.size = n;
    }
    return s;
}

/* One channel copied to consecutive places. */
static void gather(const float *w, slices s, size_t c, float *out)
{
    for (size_t o = 0; o < s.outer; o++)
        memcpy(out + o * s.inner, w + (o * s.size + c) * s.inner, s.inner * sizeof *out);
}

/* The scale's neighbour among the powers of two with the lesser squared error. */
static float power_of_two(const float *w, size_t n, int bits, bool narrow, float scale)
{
    int32_t lo, hi;
    double best = INFINITY;
    float out = scale;
    bl_weight_code_range(bits, narrow, &lo, &hi);
    for (double e = floor(log2((double)scale)); e <= ceil(log2((double)scale)); e++) {
        double s = exp2(e), error = 0;
        for (size_t i = 0; i < n; i++) {
            double q = bits == 1 ? (w[i] >= 0 ? 1 : -1) : rint((double)w[i] / s);
            q = q < lo ? lo : q > hi ? hi : q;
            error += (q * s - (double)w[i]) * (q * s - (double)w[i]);
        }
        if (error < best) out = (float)s, best = error;
    }
    return out;
}

static float slice_scale(const float *w, size_t n, int bits, bool narrow, const bl_observer *observer)
{
    double clip;
    if (bits == 1) {
        clip = 0;
        for (size_t i = 0; i < n; i++) clip += fabsf(w[i]);
        clip /= (double)n;
    } else {
        clip = observer->clip(w, n, 1, bits, narrow) / ((1 << (bits - 1)) - 1);
    }
    float scale = (float)clip;
    if (!(scale > 0) && bits > 1) return 0; /* all zero: see fill_zero_channels; one bit has no code for it */
    return scale < 1e-8f ? 1e-8f : scale;
}

/* One job of bl_weight_grids: everything it needs is allocated before the threads start. */
typedef struct grid_job {
    const bl_tensor *w;
    slices s;
    float *channel;
    double *step;               /* of groups */
    bl_weight_grid *out;
    const bl_observer *observer;
    bool power_of_two;
    bl_ctx *ctx;
} grid_job;

/* Any scale holds zeros, but the channel's bias lies on a grid of it [Q4]: the largest of the others keeps
 * it about as fine as theirs. */
static void fill_zero_channels(bl_weight_grid *grid)
{
    float largest = 0;
    for (int c = 0; c < grid->n_scale; c++) largest = fmaxf(largest, grid->scale[c]);
    for (int c = 0; c < grid->n_scale; c++)
        if (!(grid->scale[c] > 0)) grid->scale[c] = largest > 0 ? largest : 1.0f;
}

static bl_status run_grid_job(void *arg, size_t i, unsigned worker)
{
    grid_job *j = (grid_job *)arg + i;
    size_t n = j->s.outer * j->s.inner;
    (void)worker;
    if (j->out->n_table) return bl_codebook_make(j->ctx, j->w, j->out);
    for (size_t c = 0; c < j->s.size && !j->out->group; c++) {
        gather(j->w->data, j->s, c, j->channel);
        float scale = slice_scale(j->channel, n, j->out->bits, j->out->narrow, j->observer);
        j->out->scale[c] = j->power_of_two && scale > 0 ? power_of_two(j->channel, n, j->out->bits, j->out->narrow, scale) : scale;
    }
    if (j->out->group) bl_grouped_make(j->w, j->observer, j->channel, j->step, j->out);
    fill_zero_channels(j->out);
    return BL_OK;
}

static bl_status room_for_table(bl_ctx *ctx, bl_arena *arena, const bl_grid_options *o, bl_weight_grid *out)
{
    if (o->power_of_two || o->weight_group)
        return bl_fail(ctx, BL_USAGE, "--codebook", "leave one of them out",
                       o->weight_group ? "weights are shared numbers or have scales by groups" : "a codebook's scales are no powers of two");
    out->n_table = 1 << out->bits;
    out->table = BL_NEW(arena, int8_t, (size_t)out->n_table);
    return out->table ? BL_OK : bl_pending(ctx);
}

static bl_status room_for_groups(bl_ctx *ctx, bl_arena *arena, const bl_grid_options *o, grid_job *j)
{
    size_t inputs = j->s.outer * j->s.inner, groups = (size_t)bl_group_count((int64_t)inputs, o->weight_group);
    if (o->power_of_two || o->per_tensor)
        return bl_fail(ctx, BL_USAGE, "--weight-group", "leave one of them out",
                       "groups have multiples of a channel's scale, no %s", o->per_tensor ? "one scale a weight" : "powers of two");
    j->out->group = o->weight_group;
    j->out->n_multiple = (int)(groups * j->s.size);
    j->out->multiple = BL_NEW(arena, uint8_t, groups * j->s.size);
    j->step = BL_NEW(arena, double, groups);
    return j->out->multiple && j->step ? BL_OK : bl_pending(ctx);
}

bl_status bl_weight_grids(bl_arena *arena, const bl_graph *graph, const int *layers, const int *bits, size_t n,
                          const bl_grid_options *options, bl_weight_grid *out)
{
    bl_ctx *ctx = bl_arena_ctx(arena);
    const char *name = options && options->weight_range ? options->weight_range : "mse";
    const bl_observer *observer = bl_observer_find(name);
    if (!observer)
        return bl_fail(ctx, BL_USAGE, name, "see `bitlathe list observers`", "unknown range estimator");
    grid_job *jobs = BL_NEW(arena, grid_job, n);
    BL_ALLOC_TRY(ctx, jobs);
    for (size_t i = 0; i < n; i++) {
        const bl_tensor *w = &graph->values[bl_layer_weight(graph, layers[i])].t;
        int axis = options && options->per_tensor ? -1 : bl_weight_axis(graph, layers[i]);
        slices s = slice(w, axis);
        out[i] = (bl_weight_grid){ .bits = bits[i], .narrow = options && options->narrow, .axis = axis,
                                   .n_scale = (int)s.size, .scale = BL_NEW(arena, float, s.size) };
        jobs[i] = (grid_job){ .ctx = ctx, .w = w, .s = s, .out = &out[i], .observer = observer, .power_of_two = options && options->power_of_two,
                              .channel = BL_NEW(arena, float, s.outer * s.inner) };
        if (!out[i].scale || !jobs[i].channel) return bl_pending(ctx);
        if (options && options->codebook && bl_codebook_width(bits[i])) BL_TRY(room_for_table(ctx, arena, options, &out[i]));
        else if (options && options->weight_group && bl_group_width(bits[i])) BL_TRY(room_for_groups(ctx, arena, options, &jobs[i]));
    }
    return bl_parallel_for(ctx, n, run_grid_job, jobs);
}

bl_weight_grid bl_quantizer_grid(const bl_quantizer *q)
{
    return (bl_weight_grid){ .bits = q->bits, .axis = q->axis, .n_scale = q->n_scale, .narrow = q->narrow, .scale = q->scale,
                             .n_table = q->n_table, .table = q->table, .group = q->group, .n_multiple = q->n_multiple,
                             .multiple = q->multiple };
}

size_t bl_layer_weight_bytes(const bl_graph *graph, const bl_menu *menu, int layer, int bits)
{
    const bl_tensor *w = &graph->values[bl_layer_weight(graph, layer)].t;
    if (menu->codebook) return bl_codebook_bytes((size_t)bl_tensor_count(w), bits);
    if (menu->weight_group) return bl_grouped_bytes(w, bl_weight_axis(graph, layer), bits, menu->weight_group);
    return ((size_t)bl_tensor_count(w) * (size_t)bits + 7) / 8;
}

bool bl_quantizer_has_codes(const bl_quantizer *q)
{
    return q->kind == BL_Q_AFFINE || (q->weight && (q->kind == BL_Q_CODEBOOK || q->kind == BL_Q_GROUPED));
}

int bl_quantizer_code_bits(const bl_quantizer *q)
{
    return q->kind == BL_Q_CODEBOOK || q->kind == BL_Q_GROUPED ? 8 : q->bits;
}

void bl_grid_codes(const bl_tensor *w, const bl_weight_grid *g, int8_t *codes)
{
    slices s = slice(w, g->axis);
    const float *x = w->data;

    if (g->group) {
        bl_grouped_codes(w, g, codes);
        return;
    }
    if (!g->n_table) {
        bl_weight_codes(w, g->scale, g->n_scale, g->axis, g->bits, g->narrow, codes);
        return;
    }
    for (size_t o = 0, i = 0; o < s.outer; o++)
        for (size_t c = 0; c < s.size; c++)
            for (size_t k = 0; k < s.inner; k++, i++)
                codes[i] = g->table[bl_codebook_index(g->table, g->n_table, x[i] / g->scale[g->n_scale > 1 ? c : 0])];
}

void bl_weight_codes(const bl_tensor *w, const float *scale, int n_scale, int axis, int bits, bool narrow,
                     int8_t *codes)
{
    slices s = slice(w, axis);
    const float *x = w->data;
    bl_grid g = { .zero = 0 };
    bl_weight_code_range(bits, narrow, &g.lo, &g.hi);
    for (size_t o = 0, i = 0; o < s.outer; o++)
        for (size_t c = 0; c < s.size; c++) {
            g.scale = scale[n_scale > 1 ? c : 0];
            for (size_t k = 0; k < s.inner; k++, i++)
                codes[i] = (int8_t)(bits == 1 ? (x[i] >= 0 ? 1 : -1) : bl_quantize(x[i], g));
        }
}

void bl_weight_decode(const bl_tensor *w, const int8_t *codes, const float *scale, int n_scale, int axis,
                      float *out)
{
    slices s = slice(w, axis);
    for (size_t o = 0, i = 0; o < s.outer; o++)
        for (size_t c = 0; c < s.size; c++)
            for (size_t k = 0; k < s.inner; k++, i++) out[i] = (float)codes[i] * scale[n_scale > 1 ? c : 0];
}

bl_grid bl_affine_grid(const bl_quantizer *q)
{
    bl_grid g = { .scale = q->scale[0], .zero = q->zero, .lo = 0, .hi = (int32_t)((1u << q->bits) - 1) };
    return g;
}

void bl_fake_quantize_array(float *x, size_t n, bl_grid g)
{
    float lo = (float)(g.lo - g.zero), hi = (float)(g.hi - g.zero), scale = g.scale;
    for (size_t i = 0; i < n; i++) {
        float t = x[i] / scale;
        t = t > lo ? t : lo;
        t = t < hi ? t : hi;
        x[i] = bl_rne_f32(t) * scale;
    }
}
