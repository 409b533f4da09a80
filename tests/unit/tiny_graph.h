/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small prepared networks for the tests of the rooms from quant on: fixed ones by name, seeded random
 * ones that use every operator with an integer form, samples in a .npy file, and the whole way from
 * calibration to a plan.  Built on onnx_build.h; import and prepare have tests of their own.
 */
#ifndef BL_TEST_TINY_GRAPH_H
#define BL_TEST_TINY_GRAPH_H

#include "onnx_build.h"

#include "program/program.h"

#include <math.h>

/* ------------------------------------------------------------------ fixed networks */

/* x (1,3,6,6): conv a, conv b beside a slice and pad of a, Add, average pool, Flatten, Gemm, y (1,4).
 * Every kind of join and move that a residual network has. */
static inline onnx_build *tiny_residual(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_floats(b, "a.w", "4,3,3,3", NULL);
    ob_floats(b, "a.b", "4", NULL);
    ob_floats(b, "b.w", "4,4,3,3", NULL);
    ob_floats(b, "c.w", "4,4,1,1", NULL);
    ob_floats(b, "f.w", "4,16", NULL);
    ob_floats(b, "f.b", "4", NULL);
    ob_int64s(b, "from", "1");
    ob_int64s(b, "to", "6");
    ob_int64s(b, "axis", "2");
    ob_int64s(b, "pads", "0,0,1,0,0,0,0,0");
    ob_ints_attr(ob_node(b, "Conv", "x,a.w,a.b", "a0"), b, "pads", "1,1,1,1");
    ob_node(b, "Relu", "a0", "a");
    ob_ints_attr(ob_node(b, "Conv", "a,b.w", "b"), b, "pads", "1,1,1,1");
    ob_node(b, "Slice", "a,from,to,axis", "cut");
    ob_node(b, "Pad", "cut,pads", "padded");
    ob_node(b, "Add", "b,padded", "sum0");
    ob_node(b, "Relu", "sum0", "sum");
    ob_node(b, "Conv", "sum,c.w", "c");
    Onnx__NodeProto *n = ob_node(b, "AveragePool", "c", "pool");
    ob_ints_attr(n, b, "kernel_shape", "3,3");
    ob_ints_attr(n, b, "strides", "3,3");
    ob_node(b, "Flatten", "pool", "flat");
    ob_int_attr(ob_node(b, "Gemm", "flat,f.w,f.b", "y"), b, "transB", 1);
    ob_output(b, "y");
    return b;
}

/* x (1,4) -> Gemm (5) -> Relu -> Gemm (3): the least that has a choice of widths. */
static inline onnx_build *tiny_dense(bl_ctx *ctx, bool softmax)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,4");
    ob_floats(b, "a.w", "5,4", NULL);
    ob_floats(b, "a.b", "5", NULL);
    ob_floats(b, "b.w", "6,5", NULL);
    ob_floats(b, "b.b", "6", NULL);
    ob_floats(b, "c.w", "3,6", NULL);
    ob_int_attr(ob_node(b, "Gemm", "x,a.w,a.b", "a0"), b, "transB", 1);
    ob_node(b, "Relu", "a0", "a");
    ob_int_attr(ob_node(b, "Gemm", "a,b.w,b.b", "b0"), b, "transB", 1);
    ob_node(b, "Relu", "b0", "b");
    ob_int_attr(ob_node(b, "Gemm", "b,c.w", softmax ? "c" : "y"), b, "transB", 1);
    if (softmax) ob_node(b, "Softmax", "c", "y");
    ob_output(b, "y");
    return b;
}

/* ------------------------------------------------------------------ random networks */

typedef struct tiny_value { char name[16]; int c, h, w; } tiny_value;

typedef struct tiny_maker {
    onnx_build *b;
    bl_rng r;
    tiny_value v[64];           /* rank 4, batch 1 */
    int n, made;
} tiny_maker;

static inline int tiny_pick(tiny_maker *m, int lo, int hi)
{
    return lo + (int)bl_rng_below(&m->r, (uint64_t)(hi - lo + 1));
}

static inline tiny_value *tiny_new(tiny_maker *m, int c, int h, int w)
{
    assert_true(m->n < 64);
    tiny_value *v = &m->v[m->n++];
    *v = (tiny_value){ .c = c, .h = h, .w = w };
    snprintf(v->name, sizeof v->name, "v%d", m->made++);
    return v;
}

/* A constant with a name of its own; numbers hang on the name and so on the seed. */
static inline const char *tiny_const(tiny_maker *m, const char *dims, float scale)
{
    char *name = ob_alloc(m->b, 32, 1);
    snprintf(name, 32, "k%d.%u", m->made++, (unsigned)(m->r.s[0] & 0xffffff));
    Onnx__TensorProto *t = ob_floats(m->b, name, dims, NULL);
    for (size_t i = 0; i < ob_count(t); i++) ((float *)(void *)t->raw_data.data)[i] *= scale;
    return name;
}

static inline const char *tiny_text(tiny_maker *m, const char *format, ...) BL_PRINTF(2, 3);
static inline const char *tiny_text(tiny_maker *m, const char *format, ...)
{
    char *text = ob_alloc(m->b, 160, 1);
    va_list args;
    va_start(args, format);
    vsnprintf(text, 160, format, args);
    va_end(args);
    return text;
}

static inline const char *tiny_ints(tiny_maker *m, const char *numbers)
{
    const char *name = tiny_text(m, "i%d", m->made++);
    ob_int64s(m->b, name, numbers);
    return name;
}

static inline void tiny_unary(tiny_maker *m, tiny_value x)
{
    static const char *const ops[] = { "Relu", "Clip", "HardSigmoid", "HardSwish", "Sigmoid", "LeakyRelu", "Tanh" };
    int which = tiny_pick(m, 0, 6);
    tiny_value *y = tiny_new(m, x.c, x.h, x.w);
    if (which == 1) {
        float lo = -0.5f, hi = 0.25f * (float)tiny_pick(m, 1, 8);
        const char *a = tiny_text(m, "lo%d", m->made), *z = tiny_text(m, "hi%d", m->made);
        ob_floats(m->b, a, "", &lo);
        ob_floats(m->b, z, "", &hi);
        ob_node(m->b, "Clip", tiny_text(m, "%s,%s,%s", x.name, tiny_pick(m, 0, 1) ? a : "", z), y->name);
        return;
    }
    Onnx__NodeProto *n = ob_node(m->b, ops[which], x.name, y->name);
    if (which == 5) ob_float_attr(n, m->b, "alpha", 0.1f);
}

static inline void tiny_conv(tiny_maker *m, tiny_value x)
{
    int kh = tiny_pick(m, 1, BL_MIN(3, x.h)), kw = tiny_pick(m, 1, BL_MIN(3, x.w));
    int sh = tiny_pick(m, 1, 2), sw = tiny_pick(m, 1, 2), groups = 1, oc = tiny_pick(m, 1, 9);
    int dh = kh > 1 && (kh - 1) * 2 < x.h && !tiny_pick(m, 0, 3) ? 2 : 1;
    int p[4];
    for (int i = 0; i < 4; i++) p[i] = tiny_pick(m, 0, i % 2 ? kw - 1 : (kh - 1) * dh);
    if (!tiny_pick(m, 0, 2)) { /* depthwise, or some groups */
        groups = tiny_pick(m, 0, 1) || x.c % 2 ? x.c : 2;
        oc = groups * tiny_pick(m, 1, 2);
    }
    int oh = (x.h + p[0] + p[2] - (kh - 1) * dh - 1) / sh + 1, ow = (x.w + p[1] + p[3] - kw) / sw + 1;
    const char *w = tiny_const(m, tiny_text(m, "%d,%d,%d,%d", oc, x.c / groups, kh, kw), 0.5f);
    const char *in = tiny_text(m, "%s,%s", x.name, w);
    if (tiny_pick(m, 0, 2)) in = tiny_text(m, "%s,%s", in, tiny_const(m, tiny_text(m, "%d", oc), 0.7f));
    Onnx__NodeProto *n = ob_node(m->b, "Conv", in, tiny_new(m, oc, oh, ow)->name);
    ob_ints_attr(n, m->b, "pads", tiny_text(m, "%d,%d,%d,%d", p[0], p[1], p[2], p[3]));
    ob_ints_attr(n, m->b, "strides", tiny_text(m, "%d,%d", sh, sw));
    ob_ints_attr(n, m->b, "dilations", tiny_text(m, "%d,1", dh));
    ob_int_attr(n, m->b, "group", groups);
    if (!tiny_pick(m, 0, 1)) tiny_unary(m, m->v[m->n - 1]);
}

static inline void tiny_pair(tiny_maker *m, tiny_value x)
{
    const char *op = tiny_pick(m, 0, 1) ? "Add" : "Mul", *other = NULL;
    if (!tiny_pick(m, 0, 1))
        for (int i = 0; i < m->n; i++)
            if (m->v[i].c == x.c && m->v[i].h == x.h && m->v[i].w == x.w) other = m->v[i].name;
    switch (other ? 9 : tiny_pick(m, 0, 6)) {
    case 0: other = tiny_const(m, tiny_text(m, "1,%d,1,1", x.c), 1); break;
    case 1: other = tiny_const(m, tiny_text(m, "%d,%d", x.h, x.w), 1); break;
    case 2: other = tiny_const(m, tiny_text(m, "%d", x.w), 1); break;
    case 3: other = tiny_const(m, "", 1); break;
    case 4: other = tiny_const(m, tiny_text(m, "1,%d,%d,%d", x.c, x.h, x.w), 1); break;
    case 9: break;
    default: { /* a gate */
        tiny_value *gap = tiny_new(m, x.c, 1, 1);
        ob_node(m->b, "GlobalAveragePool", x.name, gap->name);
        other = gap->name;
    }
    }
    bool first = tiny_pick(m, 0, 1);
    tiny_value *y = tiny_new(m, x.c, x.h, x.w);
    ob_node(m->b, op, tiny_text(m, "%s,%s", first ? x.name : other, first ? other : x.name), y->name);
    if (!tiny_pick(m, 0, 2)) {
        tiny_value *z = tiny_new(m, x.c, x.h, x.w);
        ob_node(m->b, "Relu", m->v[m->n - 2].name, z->name);
    }
}

static inline void tiny_pool(tiny_maker *m, tiny_value x)
{
    bool max = tiny_pick(m, 0, 1);
    int kh = tiny_pick(m, 1, BL_MIN(3, x.h)), kw = tiny_pick(m, 1, BL_MIN(3, x.w));
    int sh = tiny_pick(m, 1, 2), sw = tiny_pick(m, 1, 2), p[4];
    for (int i = 0; i < 4; i++) p[i] = tiny_pick(m, 0, (i % 2 ? kw : kh) - 1);
    tiny_value *y = tiny_new(m, x.c, (x.h + p[0] + p[2] - kh) / sh + 1, (x.w + p[1] + p[3] - kw) / sw + 1);
    Onnx__NodeProto *n = ob_node(m->b, max ? "MaxPool" : "AveragePool", x.name, y->name);
    ob_ints_attr(n, m->b, "kernel_shape", tiny_text(m, "%d,%d", kh, kw));
    ob_ints_attr(n, m->b, "strides", tiny_text(m, "%d,%d", sh, sw));
    ob_ints_attr(n, m->b, "pads", tiny_text(m, "%d,%d,%d,%d", p[0], p[1], p[2], p[3]));
    if (!max) ob_int_attr(n, m->b, "count_include_pad", tiny_pick(m, 0, 1));
}

static inline void tiny_slice(tiny_maker *m, tiny_value x)
{
    int axis = tiny_pick(m, 1, 3), n = axis == 1 ? x.c : axis == 2 ? x.h : x.w, step = tiny_pick(m, 1, 2);
    int from = tiny_pick(m, 0, n / 3), count = (n - from + step - 1) / step;
    const char *lo = tiny_text(m, "%d", from), *hi = tiny_text(m, "%d", n);
    if (tiny_pick(m, 0, 1)) { /* backwards from the end */
        step = -step;
        lo = "-1";
        hi = tiny_text(m, "%d", from - n - 1); /* exclusive: from stays in */
    }
    const char *in = tiny_text(m, "%s,%s,%s,%s,%s", x.name, tiny_ints(m, lo), tiny_ints(m, hi),
                               tiny_ints(m, tiny_text(m, "%d", tiny_pick(m, 0, 1) ? axis : axis - 4)),
                               tiny_ints(m, tiny_text(m, "%d", step)));
    tiny_value *y = tiny_new(m, axis == 1 ? count : x.c, axis == 2 ? count : x.h, axis == 3 ? count : x.w);
    ob_node(m->b, "Slice", in, y->name);
}

/* A value by its own transpose; a repetition; two halves the other way round; its rows by a matrix, with a bias. */
static inline void tiny_mix(tiny_maker *m, tiny_value x)
{
    int which = tiny_pick(m, 0, 4);
    const char *t = tiny_text(m, "t%d", m->made++), *u = tiny_text(m, "u%d", m->made++);
    if (which == 4) {
        int n = tiny_pick(m, 1, 20), ones = tiny_pick(m, 0, 2);
        const char *bias = tiny_const(m, tiny_text(m, "%s%d", ones == 2 ? "1,1," : ones ? "1," : "", n), 0.5f);
        const char *rows = tiny_text(m, "r%d", m->made++), *sum = tiny_text(m, "s%d", m->made++);
        bool left = tiny_pick(m, 0, 1) != 0, relu = tiny_pick(m, 0, 1) != 0;
        ob_node(m->b, "Reshape", tiny_text(m, "%s,%s", x.name, tiny_ints(m, tiny_text(m, "1,%d,%d", x.c * x.h, x.w))), rows);
        ob_node(m->b, "MatMul", tiny_text(m, "%s,%s", rows, tiny_const(m, tiny_text(m, "%d,%d", x.w, n), 0.4f)), t);
        ob_node(m->b, "Add", tiny_text(m, "%s,%s", left ? bias : t, left ? t : bias), u);
        if (relu) ob_node(m->b, "Relu", u, sum);
        tiny_value *y = tiny_new(m, x.c, x.h, n);
        ob_node(m->b, "Reshape", tiny_text(m, "%s,%s", relu ? sum : u, tiny_ints(m, tiny_text(m, "1,%d,%d,%d", x.c, x.h, n))), y->name);
    } else if (which < 2) {
        bool left = tiny_pick(m, 0, 1) != 0;
        ob_ints_attr(ob_node(m->b, "Transpose", x.name, t), m->b, "perm", "0,1,3,2");
        tiny_value *y = tiny_new(m, x.c, left ? x.w : x.h, left ? x.w : x.h);
        ob_node(m->b, "MatMul", tiny_text(m, "%s,%s", left ? t : x.name, left ? x.name : t), y->name);
    } else if (which == 2) {
        tiny_value *y = tiny_new(m, x.c, x.h * 2, x.w);
        ob_node(m->b, "Tile", tiny_text(m, "%s,%s", x.name, tiny_ints(m, "1,1,2,1")), y->name);
    } else {
        tiny_value *y = tiny_new(m, x.c, x.h * 2, x.w);
        ob_int_attr(ob_node(m->b, "Split", tiny_text(m, "%s,%s", y->name, tiny_ints(m, tiny_text(m, "%d,%d", x.h, x.h))),
                            tiny_text(m, "%s,%s", t, u)), m->b, "axis", 2);
        tiny_value *z = tiny_new(m, x.c, x.h * 2, x.w);
        ob_int_attr(ob_node(m->b, "Concat", tiny_text(m, "%s,%s", x.name, x.name), y->name), m->b, "axis", 2);
        ob_int_attr(ob_node(m->b, "Concat", tiny_text(m, "%s,%s", u, t), z->name), m->b, "axis", 2);
    }
}

static inline void tiny_move(tiny_maker *m, tiny_value x)
{
    int which = tiny_pick(m, 0, 3);
    if (which == 0) {
        int p[6];
        for (int i = 0; i < 6; i++) p[i] = tiny_pick(m, x.h > 2 && x.w > 2 && x.c > 2 ? -1 : 0, 2);
        float value = 0.5f;
        const char *in = tiny_text(m, "%s,%s", x.name, tiny_ints(m, tiny_text(m, "0,%d,%d,%d,0,%d,%d,%d", p[0], p[1],
                                                                              p[2], p[3], p[4], p[5])));
        if (tiny_pick(m, 0, 1)) {
            const char *fill = tiny_text(m, "fill%d", m->made++);
            ob_floats(m->b, fill, "", &value);
            in = tiny_text(m, "%s,%s", in, fill);
        }
        ob_node(m->b, "Pad", in, tiny_new(m, x.c + p[0] + p[3], x.h + p[1] + p[4], x.w + p[2] + p[5])->name);
    } else if (which == 1) {
        tiny_value *y = tiny_new(m, x.c, x.w, x.h);
        ob_ints_attr(ob_node(m->b, "Transpose", x.name, y->name), m->b, "perm", "0,1,3,2");
    } else if (which == 2) {
        tiny_value *y = tiny_new(m, x.h, x.c, x.w);
        ob_node(m->b, "Reshape", tiny_text(m, "%s,%s", x.name, tiny_ints(m, tiny_text(m, "1,%d,%d,%d", x.h, x.c, x.w))),
                y->name);
    } else {
        int axis = tiny_pick(m, 1, 3);
        const tiny_value *o = &m->v[m->n - 1 - tiny_pick(m, 0, BL_MIN(m->n - 1, 2))];
        bool fits = (axis == 1 || o->c == x.c) && (axis == 2 || o->h == x.h) && (axis == 3 || o->w == x.w);
        tiny_value other = fits ? *o : x;
        const char *in = tiny_text(m, "%s,%s", x.name, other.name);
        if (axis == 1 && tiny_pick(m, 0, 1)) {
            in = tiny_text(m, "%s,%s", in, tiny_const(m, tiny_text(m, "1,1,%d,%d", x.h, x.w), 1));
            other.c++;
        }
        tiny_value *y = tiny_new(m, axis == 1 ? x.c + other.c : x.c, axis == 2 ? x.h + other.h : x.h,
                                 axis == 3 ? x.w + other.w : x.w);
        ob_int_attr(ob_node(m->b, "Concat", in, y->name), m->b, "axis", axis);
    }
}

/* Flatten or global pool, then dense layers; perhaps a Softmax, perhaps a second output. */
static inline void tiny_head(tiny_maker *m)
{
    tiny_value x = m->v[m->n - 1];
    int k = x.c * x.h * x.w;
    if (tiny_pick(m, 0, 2) == 0) {
        ob_node(m->b, "GlobalAveragePool", x.name, "gap");
        ob_node(m->b, "Flatten", "gap", "flat");
        k = x.c;
    } else if (tiny_pick(m, 0, 1)) ob_node(m->b, "Flatten", x.name, "flat");
    else ob_node(m->b, "Reshape", tiny_text(m, "%s,%s", x.name, tiny_ints(m, tiny_text(m, "1,%d", k))), "flat");
    const char *f = tiny_const(m, tiny_text(m, "6,%d", k), 0.3f), *bias = tiny_const(m, "6", 1);
    ob_int_attr(ob_node(m->b, "Gemm", tiny_text(m, "flat,%s,%s", f, bias), "hidden0"), m->b, "transB", 1);
    ob_node(m->b, "Relu", "hidden0", "hidden");
    if (tiny_pick(m, 0, 1)) ob_node(m->b, "MatMul", tiny_text(m, "hidden,%s", tiny_const(m, "6,5", 0.5f)), "logits");
    else
        ob_node(m->b, "Gemm", tiny_text(m, "hidden,%s,%s", tiny_const(m, "6,5", 0.5f), tiny_const(m, "5", 1)), "logits");
    bool softmax = tiny_pick(m, 0, 1);
    if (softmax) ob_node(m->b, "Softmax", "logits", "y");
    ob_output(m->b, softmax ? "y" : "logits");
    if (!tiny_pick(m, 0, 3)) ob_output(m->b, x.name);
}

static inline onnx_build *tiny_random(bl_ctx *ctx, uint64_t seed)
{
    tiny_maker m = { .b = ob_new(ctx, 13), .r = bl_rng_make(seed, "tiny network", 0) };
    tiny_value *x = tiny_new(&m, tiny_pick(&m, 1, 5), tiny_pick(&m, 3, 8), tiny_pick(&m, 3, 8));
    ob_input(m.b, x->name, tiny_text(&m, "N,%d,%d,%d", x->c, x->h, x->w));
    tiny_conv(&m, *x);
    for (int i = tiny_pick(&m, 2, 6); i > 0; i--) {
        tiny_value v = m.v[m.n - 1];
        if (v.c > 24 || v.h * v.w > 150) break;
        switch (tiny_pick(&m, 0, 7)) {
        case 7: tiny_mix(&m, v); break;
        case 0:
        case 1: tiny_conv(&m, v); break;
        case 2: tiny_pair(&m, v); break;
        case 3: tiny_pool(&m, v); break;
        case 4: tiny_unary(&m, v); break;
        case 5: tiny_slice(&m, v); break;
        default: tiny_move(&m, v); break;
        }
    }
    tiny_head(&m);
    return m.b;
}

/* LayerNormalization (opset 17) of one, two or three dimensions, between convolutions or before a dense layer. */
static inline onnx_build *tiny_normalising(bl_ctx *ctx, uint64_t seed)
{
    tiny_maker m = { .b = ob_new(ctx, 17), .r = bl_rng_make(seed, "tiny normalising network", 0) };
    tiny_value *x = tiny_new(&m, tiny_pick(&m, 1, 5), tiny_pick(&m, 3, 8), tiny_pick(&m, 3, 20));
    ob_input(m.b, x->name, tiny_text(&m, "N,%d,%d,%d", x->c, x->h, x->w));
    if (tiny_pick(&m, 0, 1)) tiny_conv(&m, *x);
    for (int i = 0; i < 2; i++) {
        tiny_value v = m.v[m.n - 1];
        int dims = tiny_pick(&m, 1, 3);
        const char *shape = dims == 3 ? tiny_text(&m, "%d,%d,%d", v.c, v.h, v.w)
                          : dims == 2 ? tiny_text(&m, "%d,%d", v.h, v.w) : tiny_text(&m, "%d", v.w);
        const char *scale = tiny_text(&m, "g%d", m.made++), *bias = tiny_text(&m, "s%d", m.made++);
        ob_positive(m.b, scale, shape);
        ob_floats(m.b, bias, shape, NULL);
        tiny_value *y = tiny_new(&m, v.c, v.h, v.w);
        const char *in = tiny_pick(&m, 0, 1) ? tiny_text(&m, "%s,%s,%s", v.name, scale, bias) : tiny_text(&m, "%s,%s", v.name, scale);
        ob_int_attr(ob_node(m.b, "LayerNormalization", in, y->name), m.b, "axis", -dims);
        if (tiny_pick(&m, 0, 1)) tiny_conv(&m, *y);
    }
    tiny_head(&m);
    return m.b;
}

/* ------------------------------------------------------------------ samples and the whole way */

typedef struct tiny {
    bl_ctx *ctx;
    char folder[256], path[300], labels[300];
    bl_graph *g;
    bl_data *data;
    bl_menu *menu;
    bl_stats *stats;
    bl_plan *plan;
    int choice[256];
} tiny;

/* n normal samples for the graph's input, seeded; labels 0..2 where asked for. */
static inline bl_data *tiny_data(tiny *t, int64_t n, uint64_t seed, bool labelled)
{
    bl_tensor x = t->g->values[t->g->inputs[0]].t, all = x;
    char spec[700];
    all.dim[0] = n;
    bl_rng r = bl_rng_make(seed, "samples", 0);
    float *data = malloc(bl_tensor_bytes(&all));
    assert_non_null(data);
    for (int64_t i = 0; i < bl_tensor_count(&all); i++) data[i] = (float)bl_rng_normal(&r);
    all.data = data;
    snprintf(t->path, sizeof t->path, "%s/samples.npy", t->folder);
    snprintf(t->labels, sizeof t->labels, "%s/labels.csv", t->folder);
    assert_ok(t->ctx, bl_npy_write(t->ctx, t->path, &all));
    free(data);
    FILE *f = fopen(t->labels, "w");
    assert_non_null(f);
    fputs("label\n", f);
    for (int64_t i = 0; i < n; i++) fprintf(f, "%d\n", (int)(i % 3));
    fclose(f);
    snprintf(spec, sizeof spec, labelled ? "npy:%s,%s" : "npy:%s", t->path, t->labels);
    bl_data_options o = { .spec = spec };
    bl_data *out = NULL;
    assert_ok(t->ctx, bl_data_open(t->ctx, &o, &x, &out));
    return out;
}


/* A context, a folder, the graph, n samples and their statistics. */
static inline tiny *tiny_new_net(unsigned threads, onnx_build *(*make)(bl_ctx *), int64_t samples)
{
    tiny *t = calloc(1, sizeof *t);
    assert_non_null(t);
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0); /* many small files */
    t->ctx = test_ctx(threads, 0);
    test_folder(t->folder);
    t->g = ob_prepared(make(t->ctx));
    t->data = tiny_data(t, samples, 1, true);
    assert_ok(t->ctx, bl_calibrate(t->ctx, t->g, t->data, NULL, &t->stats));
    return t;
}

static inline void tiny_free(tiny *t)
{
    bl_plan_free(t->plan);
    bl_stats_free(t->stats);
    bl_menu_free(t->menu);
    bl_data_free(t->data);
    bl_graph_free(t->g);
    test_folder_remove(t->folder);
    test_ctx_free(t->ctx);
    free(t);
}

static inline int tiny_node_of(const bl_graph *g, const char *output)
{
    int v = bl_graph_find_value(g, output);
    if (v < 0 || g->values[v].producer < 0) fail_msg("nothing makes \"%s\"", output);
    return g->values[v].producer;
}

static inline int tiny_unit_of(const bl_menu *m, const bl_graph *g, const char *value)
{
    int v = bl_graph_find_value(g, value);
    if (v < 0) fail_msg("no value \"%s\"", value);
    return m->unit_of_value[v];
}

#endif
