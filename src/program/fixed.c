/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fixed-point networks: memory, the proof that sums fit, and what can be taken away for nothing.
 *
 * The proof is by intervals (HGQ's export rule: a product has f1 + f2 fraction bits, a sum the finest of its
 * parts): each sum is brought to its finest step, and the magnitudes of all its parts together stay below 2^62,
 * so that no order of adding them leaves 63 bits.
 */
#include "program/fixed.h"

#include <string.h>

enum { SUM_BITS_MAX = 62 };

void bl_fixed_free(bl_fixed_net *net)
{
    if (!net) return;
    json_decref(net->figures);
    bl_arena_free(net->arena);
}

bl_status bl_fixed_new(bl_ctx *ctx, const char *name, int n_layers, const int32_t in[3], bl_fixed_net **out)
{
    int64_t n;
    *out = NULL;
    if (n_layers < 1 || n_layers > BL_FIXED_LAYERS_MAX)
        return bl_fail(ctx, BL_DATA, name, "give 1 to 64", "%d layers", n_layers);
    if (in[0] < 1 || in[1] < 1 || in[2] < 1 || !bl_mul_i64(in[0], in[1], &n) || !bl_mul_i64(n, in[2], &n) ||
        n > BL_FIXED_ELEMENTS_MAX)
        return bl_fail(ctx, BL_DATA, name, "give sizes of at least 1, at most 4 Mi elements", "an input of %d x %d x %d",
                       (int)in[0], (int)in[1], (int)in[2]);
    bl_arena *arena = bl_arena_new(ctx, "fixed-point network");
    if (!arena) return bl_pending(ctx);
    bl_fixed_net *net = BL_NEW(arena, bl_fixed_net, 1);
    if (net) {
        net->arena = arena;
        net->name = bl_strdup(arena, name);
        net->in_c = in[0], net->in_h = in[1], net->in_w = in[2];
        net->n_in = n;
        net->in = BL_NEW(arena, bl_fixed_grid, (size_t)n);
        net->n_layers = n_layers;
        net->layers = BL_NEW(arena, bl_fixed_layer, (size_t)n_layers);
    }
    if (!net || !net->name || !net->in || !net->layers) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    *out = net;
    return BL_OK;
}

/* ------------------------------------------------------------------ sizes */

static bool size_fits(int32_t v)
{
    return v >= 1 && v <= BL_FIXED_ELEMENTS_MAX;
}

/* Do windows of this size fill out_n places of in_n elements, each touching at least one of them? */
static bool window_fits(int32_t in_n, int32_t out_n, int32_t kernel, int32_t stride, int32_t pad)
{
    if (!size_fits(kernel) || !size_fits(stride) || pad < 0 || pad >= kernel) return false;
    return (int64_t)(out_n - 1) * stride - pad < in_n;
}

static bool pools(bl_fixed_kind kind)
{
    return kind == BL_FIXED_MAX_POOL || kind == BL_FIXED_AVERAGE_POOL;
}

static const char *shape_wrong(const bl_fixed_layer *l)
{
    int64_t window = (int64_t)l->kernel_h * l->kernel_w;
    if ((int)l->kind < 0 || l->kind >= BL_FIXED_KINDS) return "is of no known kind";
    if (!size_fits(l->out_c) || !size_fits(l->out_h) || !size_fits(l->out_w)) return "has an output of no size";
    if (l->kind == BL_FIXED_DENSE)
        return l->out_h != 1 || l->out_w != 1 || l->kernel_h != 1 || l->kernel_w != 1 || l->stride_h != 1 ||
                       l->stride_w != 1 || l->pad_top || l->pad_left || l->groups != 1
                   ? "is dense with a window"
                   : NULL;
    if (!window_fits(l->in_h, l->out_h, l->kernel_h, l->stride_h, l->pad_top) ||
        !window_fits(l->in_w, l->out_w, l->kernel_w, l->stride_w, l->pad_left))
        return "has a window that leaves its input";
    if (pools(l->kind)) {
        if (l->out_c != l->in_c || l->groups != 1) return "pools other channels than it reads";
        if (l->kind == BL_FIXED_AVERAGE_POOL && (window & (window - 1)))
            return "averages a number of elements that is no power of two";
        return NULL;
    }
    return l->groups < 1 || l->in_c % l->groups || l->out_c % l->groups ? "has groups that do not divide its channels" : NULL;
}

static int64_t weights_of(const bl_fixed_layer *l)
{
    int64_t n;
    if (pools(l->kind)) return 0;
    if (l->kind == BL_FIXED_DENSE) return bl_mul_i64(l->n_in, l->n_out, &n) ? n : -1;
    return bl_mul_i64((int64_t)l->out_c * (l->in_c / l->groups), (int64_t)l->kernel_h * l->kernel_w, &n) ? n : -1;
}

bl_status bl_fixed_shape(bl_ctx *ctx, bl_fixed_net *net, int number)
{
    bl_fixed_layer *l = &net->layers[number];
    const bl_fixed_layer *before = number ? l - 1 : NULL;
    char place[64];
    snprintf(place, sizeof place, "fixed-point layer %d", number);
    l->in_c = before ? before->out_c : net->in_c;
    l->in_h = before ? before->out_h : net->in_h;
    l->in_w = before ? before->out_w : net->in_w;
    l->n_in = before ? before->n_out : net->n_in;
    const char *wrong = shape_wrong(l);
    if (wrong) return bl_fail(ctx, BL_DATA, place, "give sizes that fit", "%s", wrong);
    int64_t n;
    if (!bl_mul_i64((int64_t)l->out_c * l->out_h, l->out_w, &n) || n > BL_FIXED_ELEMENTS_MAX)
        return bl_fail(ctx, BL_DATA, place, "give at most 4 Mi", "too many outputs");
    l->n_out = n;
    l->n_weights = weights_of(l);
    if (l->n_weights < 0 || l->n_weights > 16 * (int64_t)BL_FIXED_ELEMENTS_MAX)
        return bl_fail(ctx, BL_DATA, place, "give at most 64 Mi", "too many weights");
    size_t biases = pools(l->kind) ? 0 : (size_t)l->out_c;
    BL_ALLOC_TRY(ctx, l->weight = BL_NEW(net->arena, int32_t, (size_t)l->n_weights));
    BL_ALLOC_TRY(ctx, l->weight_f = BL_NEW(net->arena, int8_t, (size_t)l->n_weights));
    BL_ALLOC_TRY(ctx, l->bias = BL_NEW(net->arena, int64_t, biases));
    BL_ALLOC_TRY(ctx, l->bias_f = BL_NEW(net->arena, int8_t, biases));
    BL_ALLOC_TRY(ctx, l->out = BL_NEW(net->arena, bl_fixed_grid, (size_t)n));
    BL_ALLOC_TRY(ctx, l->acc_f = BL_NEW(net->arena, int8_t, (size_t)n));
    BL_ALLOC_TRY(ctx, l->acc_lo = BL_NEW(net->arena, int64_t, (size_t)n));
    BL_ALLOC_TRY(ctx, l->acc_hi = BL_NEW(net->arena, int64_t, (size_t)n));
    return BL_OK;
}

void bl_fixed_reduce(int64_t *v, int *f)
{
    if (*v == 0) {
        *f = 0;
        return;
    }
    int zeros = __builtin_ctzll((uint64_t)*v);
    *v = *v / ((int64_t)1 << zeros);
    *f -= zeros;
}

const bl_fixed_grid *bl_fixed_reads(const bl_fixed_net *net, int l)
{
    return l ? net->layers[l - 1].out : net->in;
}

/* ------------------------------------------------------------------ checking numbers */

static bool grid_fits(bl_fixed_grid g)
{
    int width = g.k + g.i + g.f;
    return (g.k == 0 || g.k == 1) && g.i >= -BL_FIXED_EXPONENT_MAX && g.i <= BL_FIXED_EXPONENT_MAX &&
           g.f >= -BL_FIXED_EXPONENT_MAX && g.f <= BL_FIXED_EXPONENT_MAX && width <= BL_FIXED_WIDTH_MAX;
}

static bool exponent_fits(int f)
{
    return f >= -BL_FIXED_EXPONENT_MAX && f <= BL_FIXED_EXPONENT_MAX;
}

static const char *numbers_wrong(const bl_fixed_layer *l, bool last)
{
    if ((int)l->round < 0 || l->round >= BL_FIXED_ROUNDS) return "has no known rounding";
    if ((int)l->overflow < 0 || l->overflow >= BL_FIXED_OVERFLOWS) return "has no known overflow";
    for (int64_t i = 0; i < l->n_weights; i++)
        if (l->weight[i] ? !(l->weight[i] & 1) || !exponent_fits(l->weight_f[i]) || l->weight[i] == INT32_MIN
                         : l->weight_f[i] != 0)
            return "has a weight that is neither odd nor 0, or an exponent beyond 48";
    for (int64_t i = 0; i < (pools(l->kind) ? 0 : l->out_c); i++)
        if (l->bias[i] ? !(l->bias[i] & 1) || !exponent_fits(l->bias_f[i]) : l->bias_f[i] != 0)
            return "has a bias that is neither odd nor 0, or an exponent beyond 48";
    /* The last layer's codes are sums: as wide as these. */
    for (int64_t i = 0; i < l->n_out; i++)
        if (!grid_fits(l->out[i]) && !(last && exponent_fits(l->out[i].i) && exponent_fits(l->out[i].f) &&
                                       (l->out[i].k == 0 || l->out[i].k == 1)))
            return "has an element whose grid is wider than 32 bits or reaches beyond 2^48";
    return NULL;
}

/* ------------------------------------------------------------------ the proof */

typedef struct sum {
    int f;                      /* finest step so far */
    unsigned __int128 mass;     /* magnitudes of all parts together, at step 2^-f */
    __int128 lo, hi;
    bool wrong;
} sum;

static void grid_range(bl_fixed_grid g, bl_fixed_overflow overflow, int64_t *lo, int64_t *hi)
{
    int bits = g.i + g.f;
    *lo = *hi = 0;
    if (g.k + bits <= 0 || bits < 0) return; /* -1 * 2^-1 and the like: nothing but 0 is in it */
    *hi = ((int64_t)1 << bits) - 1;
    *lo = !g.k ? 0 : overflow == BL_SAT_SYM ? -*hi : -*hi - 1;
}

/* First pass of two: the finest step; the parts come in the second. */
static void sum_step(sum *s, int f)
{
    if (f > s->f) s->f = f;
}

static void sum_add(sum *s, int64_t lo, int64_t hi, int f)
{
    int shift = s->f - f;
    unsigned __int128 a = (unsigned __int128)(lo < 0 ? -(__int128)lo : lo), b = (unsigned __int128)(hi < 0 ? -(__int128)hi : hi);
    unsigned __int128 most = a > b ? a : b;
    if (!most) return;
    if (shift > SUM_BITS_MAX || most > (((unsigned __int128)1 << SUM_BITS_MAX) >> shift)) {
        s->wrong = true;
        return;
    }
    s->mass += most << shift;
    s->lo += (__int128)lo * ((__int128)1 << shift);
    s->hi += (__int128)hi * ((__int128)1 << shift);
    if (s->mass >= (unsigned __int128)1 << SUM_BITS_MAX) s->wrong = true;
}

/* Ranges of what a layer reads, once for all of its outputs. */
typedef struct reads {
    const bl_fixed_grid *grid;
    int64_t *lo, *hi;
} reads;

/* Calls for every product or pooled element of output e: number of the input, of the weight (-1: pooled). */
typedef void each_fn(void *user, int64_t in, int64_t weight);
static void each_part(const bl_fixed_layer *l, int64_t e, each_fn *fn, void *user)
{
    if (l->kind == BL_FIXED_DENSE) {
        for (int64_t i = 0; i < l->n_in; i++) fn(user, i, e * l->n_in + i);
        return;
    }
    int64_t plane = (int64_t)l->out_h * l->out_w, c = e / plane, row = e % plane / l->out_w, col = e % l->out_w;
    bool pool = pools(l->kind);
    int32_t depth = pool ? 1 : l->in_c / l->groups;
    int64_t first = pool ? c : c / (l->out_c / l->groups) * depth;
    for (int32_t d = 0; d < depth; d++)
        for (int32_t y = 0; y < l->kernel_h; y++)
            for (int32_t x = 0; x < l->kernel_w; x++) {
                int64_t r = row * l->stride_h - l->pad_top + y, q = col * l->stride_w - l->pad_left + x;
                if (r < 0 || r >= l->in_h || q < 0 || q >= l->in_w) continue;
                fn(user, ((first + d) * l->in_h + r) * l->in_w + q,
                   pool ? -1 : ((c * depth + d) * l->kernel_h + y) * l->kernel_w + x);
            }
}

typedef struct proof {
    const bl_fixed_layer *l;
    const reads *in;
    sum s;
    int64_t max_lo, max_hi;     /* of a max pool, at s.f */
    bool any, adding;
} proof;

static void proof_part(void *user, int64_t in, int64_t weight)
{
    proof *p = user;
    int64_t lo = p->in->lo[in], hi = p->in->hi[in], w = weight < 0 ? 1 : p->l->weight[weight];
    int f = p->in->grid[in].f + (weight < 0 ? 0 : p->l->weight_f[weight]);
    if ((lo == 0 && hi == 0 && p->l->kind != BL_FIXED_MAX_POOL) || !w) return;
    if (!p->adding) {
        if (lo || hi) sum_step(&p->s, f);
        return;
    }
    if (p->l->kind == BL_FIXED_MAX_POOL) {
        sum one = { .f = p->s.f };
        sum_add(&one, lo, hi, f);
        p->s.wrong |= one.wrong;
        if (!p->any || (int64_t)one.lo > p->max_lo) p->max_lo = (int64_t)one.lo;
        if (!p->any || (int64_t)one.hi > p->max_hi) p->max_hi = (int64_t)one.hi;
        p->any = true;
        return;
    }
    /* Codes have at most 32 bits and weights 31: the products fit. */
    sum_add(&p->s, w > 0 ? lo * w : hi * w, w > 0 ? hi * w : lo * w, f);
}

static int log2_of(int64_t v)
{
    return 63 - __builtin_clzll((uint64_t)v);
}

static int bits_of(int64_t lo, int64_t hi)
{
    int a = hi > 0 ? 65 - __builtin_clzll((uint64_t)hi) : 1, b = lo < -1 ? 65 - __builtin_clzll((uint64_t)(-lo - 1)) : 1;
    return a > b ? a : b;
}

/* false: a sum may leave 62 bits. */
static bool prove_output(bl_fixed_layer *l, const reads *in, int64_t e)
{
    proof p = { .l = l, .in = in, .s = { .f = -128 } };
    int64_t channel = e / ((int64_t)l->out_h * l->out_w);
    bool pool = pools(l->kind);
    each_part(l, e, proof_part, &p);
    if (!pool && l->bias[channel]) sum_step(&p.s, l->bias_f[channel]);
    if (p.s.f == -128) p.s.f = 0; /* nothing but zeros */
    p.adding = true;
    each_part(l, e, proof_part, &p);
    if (!pool && l->bias[channel]) sum_add(&p.s, l->bias[channel], l->bias[channel], l->bias_f[channel]);
    int f = p.s.f + (l->kind == BL_FIXED_AVERAGE_POOL ? log2_of((int64_t)l->kernel_h * l->kernel_w) : 0);
    if (p.s.wrong || f < -100 || f > 120) return false;
    l->acc_f[e] = (int8_t)f;
    l->acc_lo[e] = l->kind == BL_FIXED_MAX_POOL ? p.max_lo : (int64_t)p.s.lo;
    l->acc_hi[e] = l->kind == BL_FIXED_MAX_POOL ? p.max_hi : (int64_t)p.s.hi;
    /* What the quantizer shifts to the left must fit too. */
    int left = l->out[e].f - f, bits = bits_of(l->acc_lo[e], l->acc_hi[e]);
    if (bits > l->acc_bits) l->acc_bits = bits;
    return left <= 0 || (l->acc_lo[e] == 0 && l->acc_hi[e] == 0) || bits + left <= SUM_BITS_MAX;
}

static bl_status layer_check(bl_ctx *ctx, const char *place, bl_fixed_net *net, int number, reads *in)
{
    bl_fixed_layer *l = &net->layers[number];
    const char *wrong = numbers_wrong(l, number == net->n_layers - 1);
    if (wrong) return bl_fail(ctx, BL_DATA, place, "make the record again", "layer %d %s", number, wrong);
    bl_fixed_overflow overflow = number ? l[-1].overflow : net->in_overflow;
    in->grid = bl_fixed_reads(net, number);
    for (int64_t i = 0; i < l->n_in; i++) grid_range(in->grid[i], overflow, &in->lo[i], &in->hi[i]);
    l->acc_bits = 1;
    for (int64_t e = 0; e < l->n_out; e++)
        if (!prove_output(l, in, e))
            return bl_fail(ctx, BL_DATA, place, "use fewer bits", "layer %d: sum %lld may leave 62 bits", number, (long long)e);
    return BL_OK;
}

bl_status bl_fixed_check(bl_ctx *ctx, const char *place, bl_fixed_net *net)
{
    bl_mark mark = bl_arena_mark(net->arena);
    int64_t most = net->n_in;
    bl_status s = BL_OK;
    for (int l = 0; l < net->n_layers; l++) most = BL_MAX(most, net->layers[l].n_out);
    reads in = { .lo = BL_NEW(net->arena, int64_t, (size_t)most), .hi = BL_NEW(net->arena, int64_t, (size_t)most) };
    if (!in.lo || !in.hi) return bl_pending(ctx);
    for (int64_t i = 0; i < net->n_in && s == BL_OK; i++)
        if (!grid_fits(net->in[i]))
            s = bl_fail(ctx, BL_DATA, place, "make the record again", "input %lld is wider than 32 bits", (long long)i);
    if (s == BL_OK && ((int)net->in_round < 0 || net->in_round >= BL_FIXED_ROUNDS || (int)net->in_overflow < 0 ||
                       net->in_overflow >= BL_FIXED_OVERFLOWS))
        s = bl_fail(ctx, BL_DATA, place, "make the record again", "the input has no known rounding or overflow");
    for (int l = 0; l < net->n_layers && s == BL_OK; l++) s = layer_check(ctx, place, net, l, &in);
    bl_arena_reset(net->arena, mark);
    return s;
}

bl_status bl_fixed_finish(bl_ctx *ctx, bl_fixed_net *net)
{
    BL_TRY(bl_fixed_check(ctx, net->name, net));
    bl_fixed_layer *l = &net->layers[net->n_layers - 1];
    for (int64_t e = 0; e < l->n_out; e++) {
        int f = l->acc_f[e], bits = 1; /* without sign */
        int64_t below = l->acc_lo[e] < 0 ? -l->acc_lo[e] - (l->overflow != BL_SAT_SYM) : 0; /* symmetric: -2^bits is no code */
        while (bits < 62 && (l->acc_hi[e] >> bits > 0 || below >> bits > 0)) bits++;
        l->out[e] = (bl_fixed_grid){ l->acc_lo[e] < 0, (int8_t)(bits - f), (int8_t)f };
    }
    return bl_fixed_check(ctx, net->name, net);
}
