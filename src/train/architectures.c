/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Networks that are trained without a file (architectures.def).  A sketch is a graph under construction; the first
 * thing that goes wrong stays in its status, so that an architecture reads as a list of layers.  All weights are
 * zero, variances and scales of normalisations one: training draws them.
 *
 * resnet: He et al., arXiv 1512.03385, section 4.2; mobilenetv3s: after Howard et al., arXiv 1905.02244.
 */
#include "train/train.h"

#include <math.h>
#include <string.h>

enum { VALUES_MAX = 1024, NODES_MAX = 256, IN_MAX = 5, ATTRS_MAX = 8 };

typedef struct sketch {
    bl_ctx *ctx;
    bl_graph *g;
    bl_status status;
    int n_attr;                 /* of the node to come */
    bl_attr attr[ATTRS_MAX];
    int64_t classes;
    bool unpadded;              /* convolutions stay inside the picture */
} sketch;

static const char *text(sketch *s, const char *stem, const char *end)
{
    const char *t = bl_format(s->g->arena, "%s%s", stem, end);
    if (!t && s->status == BL_OK) s->status = bl_pending(s->ctx);
    return t ? t : "";
}

static int add_value(sketch *s, const char *name, int rank, const int64_t *dim)
{
    bl_graph *g = s->g;

    if (s->status != BL_OK) return 0;
    if (g->n_values == VALUES_MAX) {
        s->status = bl_fail(s->ctx, BL_INTERNAL, name, "please report this", "too many values");
        return 0;
    }
    g->values[g->n_values] = (bl_value){.name = name, .t = {.type = BL_F32, .rank = rank}, .producer = -1};
    for (int i = 0; i < rank; i++) g->values[g->n_values].t.dim[i] = dim[i];
    return g->n_values++;
}

/* A constant, all elements alike. */
static int constant(sketch *s, const char *name, int rank, const int64_t *dim, float x)
{
    int v = add_value(s, name, rank, dim);
    bl_tensor *t = &s->g->values[v].t;

    if (s->status != BL_OK) return 0;
    size_t n = (size_t)bl_tensor_count(t);
    float *data = BL_NEW(s->g->arena, float, n);
    if (!data) {
        s->status = bl_pending(s->ctx);
        return 0;
    }
    for (size_t i = 0; i < n; i++) data[i] = x;
    t->data = data;
    return v;
}

static void ints(sketch *s, const char *name, int n, const int64_t *x)
{
    int64_t *copy = BL_NEW(s->g->arena, int64_t, (size_t)n);

    if (!copy || s->n_attr == ATTRS_MAX) {
        if (s->status == BL_OK) s->status = bl_pending(s->ctx);
        return;
    }
    memcpy(copy, x, (size_t)n * sizeof *copy);
    s->attr[s->n_attr++] = (bl_attr){.name = name, .type = BL_ATTR_INTS, .n = (size_t)n, .ints = copy};
}

static void number(sketch *s, const char *name, int64_t x)
{
    s->attr[s->n_attr++] = (bl_attr){.name = name, .type = BL_ATTR_INT, .i = x};
}

static void real(sketch *s, const char *name, float x)
{
    s->attr[s->n_attr++] = (bl_attr){.name = name, .type = BL_ATTR_FLOAT, .f = x};
}

/* A node with the attributes that were set before it; its output. */
static int apply(sketch *s, const char *op, const char *name, int n_in, const int *in)
{
    bl_graph *g = s->g;
    int y = add_value(s, text(s, name, ".y"), 0, NULL);
    int *list = BL_NEW(g->arena, int, IN_MAX + 1);
    bl_attr *attr = BL_NEW(g->arena, bl_attr, ATTRS_MAX);

    if (s->status == BL_OK && (!list || !attr)) s->status = bl_pending(s->ctx);
    if (s->status == BL_OK && g->n_nodes == NODES_MAX)
        s->status = bl_fail(s->ctx, BL_INTERNAL, name, "please report this", "too many nodes");
    if (s->status != BL_OK) return 0;
    memcpy(list, in, (size_t)n_in * sizeof *list);
    list[IN_MAX] = y;
    memcpy(attr, s->attr, (size_t)s->n_attr * sizeof *attr);
    g->nodes[g->n_nodes++] = (bl_node){.op = bl_op_find("", op), .name = name, .domain = "", .opset = g->opset, .n_in = n_in,
                                       .n_out = 1, .n_attr = s->n_attr, .in = list, .out = list + IN_MAX, .attr = attr,
                                       .lo = -INFINITY, .hi = INFINITY};
    s->n_attr = 0;
    return y;
}

static int unary(sketch *s, const char *op, const char *name, int x)
{
    return apply(s, op, name, 1, &x);
}

/* ------------------------------------------------------------------ layers */

typedef struct conv { int64_t from, to, kernel, stride, groups; bool biased; } conv;

static int convolve(sketch *s, const char *name, int x, conv c)
{
    int64_t w[] = {c.to, c.from / c.groups, c.kernel, c.kernel}, half = s->unpadded ? 0 : c.kernel / 2;
    int in[] = {x, constant(s, text(s, name, ".w"), 4, w, 0), 0};

    if (c.biased) in[2] = constant(s, text(s, name, ".b"), 1, w, 0);
    ints(s, "kernel_shape", 2, (int64_t[]){c.kernel, c.kernel});
    ints(s, "pads", 4, (int64_t[]){half, half, half, half});
    ints(s, "strides", 2, (int64_t[]){c.stride, c.stride});
    number(s, "group", c.groups);
    return apply(s, "Conv", name, c.biased ? 3 : 2, in);
}

/* Convolution and normalisation. */
static int normed(sketch *s, const char *name, int x, conv c)
{
    const char *norm = text(s, name, "/norm");
    int in[] = {convolve(s, name, x, c), constant(s, text(s, norm, ".scale"), 1, &c.to, 1), constant(s, text(s, norm, ".bias"), 1, &c.to, 0),
                constant(s, text(s, norm, ".mean"), 1, &c.to, 0), constant(s, text(s, norm, ".var"), 1, &c.to, 1)};

    real(s, "epsilon", 1e-5f);
    real(s, "momentum", 0.9f);
    return apply(s, "BatchNormalization", norm, 5, in);
}

static int dense(sketch *s, const char *name, int x, int64_t from, int64_t to)
{
    int64_t w[] = {to, from};
    int in[] = {x, constant(s, text(s, name, ".w"), 2, w, 0), constant(s, text(s, name, ".b"), 1, w, 0)};

    number(s, "transB", 1);
    return apply(s, "Gemm", name, 3, in);
}

static int pooled(sketch *s, int x)
{
    return unary(s, "Flatten", "flatten", unary(s, "GlobalAveragePool", "pool", x));
}

static int residual(sketch *s, const char *name, int x, int64_t from, int64_t to, int64_t stride)
{
    int y = unary(s, "Relu", text(s, name, "/relu1"), normed(s, text(s, name, "/conv1"), x, (conv){from, to, 3, stride, 1, false}));
    int in[] = {normed(s, text(s, name, "/conv2"), y, (conv){to, to, 3, 1, 1, false}), x};

    if (from != to || stride != 1) in[1] = normed(s, text(s, name, "/shortcut"), x, (conv){from, to, 1, stride, 1, false});
    return unary(s, "Relu", text(s, name, "/relu2"), apply(s, "Add", text(s, name, "/add"), 2, in));
}

static int resnet(sketch *s, int x, int64_t channels, int blocks)
{
    int64_t width = 16;

    x = unary(s, "Relu", "stem/relu", normed(s, "stem", x, (conv){channels, width, 3, 1, 1, false}));
    for (int stage = 0; stage < 3; stage++)
        for (int b = 0; b < blocks; b++) {
            const char *name = bl_format(s->g->arena, "stage%d/block%d", stage + 1, b + 1);
            int64_t to = 16 << stage;
            x = residual(s, name ? name : "", x, width, to, stage && !b ? 2 : 1);
            width = to;
        }
    return dense(s, "fc", pooled(s, x), width, s->classes);
}

static int squeeze_excite(sketch *s, const char *name, int x, int64_t channels, int64_t middle)
{
    int y = unary(s, "GlobalAveragePool", text(s, name, "/pool"), x);

    y = unary(s, "Relu", text(s, name, "/relu"), convolve(s, text(s, name, "/down"), y, (conv){channels, middle, 1, 1, 1, true}));
    y = convolve(s, text(s, name, "/up"), y, (conv){middle, channels, 1, 1, 1, true});
    real(s, "alpha", 1.0f / 6);
    real(s, "beta", 0.5f);
    return apply(s, "Mul", text(s, name, "/scale"), 2, (int[]){x, unary(s, "HardSigmoid", text(s, name, "/gate"), y)});
}

typedef struct inverted { int64_t from, kernel, middle, to, squeeze; const char *activation; int64_t stride; } inverted;

static int inverted_residual(sketch *s, const char *name, int x, inverted b)
{
    int y = x;

    if (b.middle != b.from)
        y = unary(s, b.activation, text(s, name, "/act1"), normed(s, text(s, name, "/expand"), y, (conv){b.from, b.middle, 1, 1, 1, false}));
    y = normed(s, text(s, name, "/depthwise"), y, (conv){b.middle, b.middle, b.kernel, b.stride, b.middle, false});
    y = unary(s, b.activation, text(s, name, "/act2"), y);
    if (b.squeeze) y = squeeze_excite(s, text(s, name, "/se"), y, b.middle, b.squeeze);
    y = normed(s, text(s, name, "/project"), y, (conv){b.middle, b.to, 1, 1, 1, false});
    return b.stride == 1 && b.from == b.to ? apply(s, "Add", text(s, name, "/add"), 2, (int[]){x, y}) : y;
}

/* ------------------------------------------------------------------ the rows */

static int draw_resnet8(sketch *s, int x, int64_t channels)
{
    return resnet(s, x, channels, 1);
}

static int draw_resnet20(sketch *s, int x, int64_t channels)
{
    return resnet(s, x, channels, 3);
}

static int draw_mobilenetv3s(sketch *s, int x, int64_t channels)
{
    static const inverted blocks[] = {
        {16, 3, 16, 16, 8, "Relu", 1},      {16, 3, 48, 24, 0, "Relu", 2},      {24, 3, 64, 24, 0, "Relu", 1},
        {24, 5, 72, 32, 16, "HardSwish", 2}, {32, 5, 96, 32, 24, "HardSwish", 1}, {32, 5, 96, 40, 24, "HardSwish", 1},
    };

    x = unary(s, "HardSwish", "stem/act", normed(s, "stem", x, (conv){channels, 16, 3, 1, 1, false}));
    for (size_t i = 0; i < BL_COUNTOF(blocks); i++) {
        const char *name = bl_format(s->g->arena, "block%zu", i + 1);
        x = inverted_residual(s, name ? name : "", x, blocks[i]);
    }
    x = unary(s, "HardSwish", "last/act", normed(s, "last", x, (conv){40, 120, 1, 1, 1, false}));
    x = unary(s, "HardSwish", "fc1/act", dense(s, "fc1", pooled(s, x), 120, 160));
    return dense(s, "fc2", x, 160, s->classes);
}

/* Where a picture is too small for it, inference says so. */
static int draw_conv3(sketch *s, int x, int64_t channels)
{
    static const int64_t width[] = {16, 16, 24};
    int64_t side[] = {s->g->values[x].t.dim[2], s->g->values[x].t.dim[3]};

    s->unpadded = true;
    for (int i = 0; i < 3; i++) {
        const char *name = bl_format(s->g->arena, "conv%d", i + 1);
        if (!name) name = "";
        x = unary(s, "Relu", text(s, name, "/relu"), normed(s, name, x, (conv){channels, width[i], 3, 1, 1, false}));
        channels = width[i];
        for (int d = 0; d < 2; d++) side[d] = BL_MAX((side[d] - 2) / (i < 2 ? 2 : 1), 1);
        if (i == 2) continue;
        ints(s, "kernel_shape", 2, (int64_t[]){2, 2});
        ints(s, "strides", 2, (int64_t[]){2, 2});
        x = unary(s, "MaxPool", text(s, name, "/pool"), x);
    }
    return dense(s, "fc", unary(s, "Flatten", "flatten", x), channels * side[0] * side[1], s->classes);
}

const bl_architecture bl_architectures[] = {
#define X(symbol, name, channels, height, width, help) {name, help, {channels, height, width}, BL_ARCH_##symbol},
#include "train/architectures.def"
#undef X
};
const size_t bl_n_architectures = BL_COUNTOF(bl_architectures);

static int (*const draw[])(sketch *s, int x, int64_t channels) = {
#define X(symbol, name, channels, height, width, help) draw_##symbol,
#include "train/architectures.def"
#undef X
};

const bl_architecture *bl_architecture_find(const char *name)
{
    for (size_t i = 0; i < bl_n_architectures; i++)
        if (!strcmp(bl_architectures[i].name, name)) return &bl_architectures[i];
    return NULL;
}

static bl_status fill(sketch *s, const bl_architecture *row, const int64_t *shape)
{
    bl_graph *g = s->g;
    int64_t dim[] = {1, shape[0], shape[1], shape[2]};

    g->values = BL_NEW(g->arena, bl_value, VALUES_MAX);
    g->nodes = BL_NEW(g->arena, bl_node, NODES_MAX);
    g->inputs = BL_NEW(g->arena, int, 1);
    g->outputs = BL_NEW(g->arena, int, 1);
    if (!g->values || !g->nodes || !g->inputs || !g->outputs) return bl_pending(s->ctx);
    g->n_inputs = g->n_outputs = 1;
    g->inputs[0] = add_value(s, "input", 4, dim);
    g->values[g->inputs[0]].is_input = true;
    g->outputs[0] = draw[row->kind](s, g->inputs[0], shape[0]);
    BL_TRY(s->status);
    g->values[g->outputs[0]].is_output = true;
    g->values[g->outputs[0]].name = "logits";
    BL_TRY(bl_graph_finish(s->ctx, g));
    return bl_graph_infer(s->ctx, g);
}

bl_status bl_architecture_make(bl_ctx *ctx, const bl_architecture *row, const int64_t shape[3], int64_t classes, bl_graph **out)
{
    bl_arena *arena;

    if (!shape) shape = row->shape;
    for (int i = 0; i < 3; i++)
        if (shape[i] < (i ? 8 : 1) || shape[i] > 4096)
            return bl_fail(ctx, BL_USAGE, "--shape", "give CHANNELS,HEIGHT,WIDTH such as 3,32,32", "%lld makes no sense", (long long)shape[i]);
    if (classes < 2 || classes > 65536) return bl_fail(ctx, BL_USAGE, "--classes", "give 2 or more", "%lld makes no sense", (long long)classes);
    arena = bl_arena_new(ctx, "graph");
    BL_ALLOC_TRY(ctx, arena);
    bl_graph *g = BL_NEW(arena, bl_graph, 1);
    bl_status status = g ? BL_OK : bl_pending(ctx);
    if (g) {
        sketch s = {.ctx = ctx, .g = g, .classes = classes};
        *g = (bl_graph){.arena = arena, .source = row->name, .name = row->name, .producer = "", .batch = 1, .ir_version = 8, .opset = 14};
        status = fill(&s, row, shape);
    }
    if (status != BL_OK) bl_arena_free(arena);
    else *out = g;
    return status;
}
