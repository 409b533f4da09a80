/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The float walk on random graphs: what oneDNN computes against the reference within a bound
 * derived for each element, buffer reuse against keep_all, reruns against full runs, replaced
 * constants, several walkers at once, and no allocation once a walker runs.
 */
#include <math.h>

#include "graph/graph.h"
#include "support.h"

/* ------------------------------------------------------------------ random graphs */

enum { VALUES_MAX = 256, NODES_MAX = 96 };

typedef struct maker {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_rng rng;
    bl_graph *graph;
} maker;

static int64_t pick(maker *m, int64_t least, int64_t most)
{
    return least + (int64_t)bl_rng_below(&m->rng, (uint64_t)(most - least + 1));
}

static int add_value(maker *m, int rank, const int64_t *dim, float *data)
{
    bl_graph *g = m->graph;
    bl_value *v = &g->values[g->n_values];
    assert_true(g->n_values < VALUES_MAX);
    *v = (bl_value){.name = bl_format(m->arena, "v%d", g->n_values), .producer = -1};
    v->t.type = BL_F32;
    v->t.rank = rank;
    for (int i = 0; i < rank; i++) v->t.dim[i] = dim[i];
    v->t.data = data;
    return g->n_values++;
}

static int add_constant(maker *m, int rank, const int64_t *dim, float scale)
{
    bl_tensor t = {.type = BL_F32, .rank = rank};
    for (int i = 0; i < rank; i++) t.dim[i] = dim[i];
    int64_t n = bl_tensor_count(&t);
    float *data = BL_NEW(m->arena, float, (size_t)n);
    for (int64_t i = 0; i < n; i++) data[i] = scale * (float)bl_rng_normal(&m->rng);
    return add_value(m, rank, dim, data);
}

/* Attributes of INTS and INT only; n_ints 0 makes it an INT of ints[0]. */
static void add_attr(maker *m, bl_node *node, const char *name, int n_ints, const int64_t *ints)
{
    bl_attr *list = BL_NEW(m->arena, bl_attr, (size_t)node->n_attr + 1);
    int64_t *kept = BL_NEW(m->arena, int64_t, 8);
    for (int i = 0; i < node->n_attr; i++) list[i] = node->attr[i];
    for (int i = 0; i < BL_MAX(n_ints, 1); i++) kept[i] = ints[i];
    list[node->n_attr] =
        n_ints ? (bl_attr){.name = name, .type = BL_ATTR_INTS, .n = (size_t)n_ints, .ints = kept}
               : (bl_attr){.name = name, .type = BL_ATTR_INT, .i = ints[0]};
    node->attr = list;
    node->n_attr++;
}

/* A node with a fresh output; shape inference follows node by node, so makers can look at dims. */
static bl_node *add_node(maker *m, const char *op, int n_in, const int *in)
{
    bl_graph *g = m->graph;
    bl_node *node = &g->nodes[g->n_nodes];
    int *list = BL_NEW(m->arena, int, 8);
    assert_true(g->n_nodes < NODES_MAX);
    for (int i = 0; i < n_in; i++) list[i] = in[i];
    *node = (bl_node){.op = bl_op_find("", op),
                      .name = bl_format(m->arena, "n%d", g->n_nodes),
                      .domain = "",
                      .opset = 13,
                      .n_in = n_in,
                      .n_out = 1,
                      .in = list,
                      .lo = -INFINITY,
                      .hi = INFINITY};
    assert_non_null(node->op);
    g->n_nodes++;
    return node;
}

/* Runs the shape facet; gives the output value's number. */
static int finish_node(maker *m, bl_node *node)
{
    const bl_tensor *in[8];
    bl_tensor out = {0};
    int *number = BL_NEW(m->arena, int, 1);
    bl_call call = {.ctx = m->ctx,
                    .node = node,
                    .n_in = node->n_in,
                    .n_out = 1,
                    .in = in,
                    .out = &out,
                    .scratch = m->arena};
    for (int i = 0; i < node->n_in; i++) in[i] = &m->graph->values[node->in[i]].t;
    node->out = number;
    assert_ok(m->ctx, node->op->shape(&call));
    *number = add_value(m, out.rank, out.dim, NULL);
    return *number;
}

static void add_clamp(maker *m, bl_node *node)
{
    int64_t kind = pick(m, 0, 3);
    if (kind == 1) node->lo = 0;
    if (kind == 2) {
        node->lo = 0;
        node->hi = 1.5f;
    }
    if (kind == 3) {
        node->lo = 0.25f; /* zeros do not stay zero */
        node->hi = 2;
    }
}

static const bl_tensor *dims_of(const maker *m, int value)
{
    return &m->graph->values[value].t;
}

static int add_conv(maker *m, int x, int64_t filters, int64_t kernel, int64_t stride, int kind)
{
    const bl_tensor *t = dims_of(m, x);
    int spatial = t->rank - 2;
    int64_t c = t->dim[1], group = kind == 1                                     ? c
                                   : kind == 2 && c % 2 == 0 && filters % 2 == 0 ? 2
                                                                                 : 1;
    int64_t wd[5] = {kind == 1 ? c : filters, c / group, kernel, kernel, kernel};
    int64_t strides[3] = {stride, stride, stride}, pads[6], dilations[3] = {1, 1, 1};
    int64_t dilation = kernel > 1 ? pick(m, 1, 2) : 1;
    int w = add_constant(m, t->rank, wd, 1 / sqrtf((float)(wd[1] * kernel * kernel)));
    int b = add_constant(m, 1, wd, 0.3f);
    bl_node *node = add_node(m, "Conv", (int)pick(m, 2, 3), (int[]){x, w, b});
    for (int i = 0; i < spatial; i++) {
        dilations[i] = dilation;
        pads[i] = pick(m, 0, kernel - 1) * dilation;
        pads[spatial + i] = (kernel - 1) * dilation - pads[i]; /* same size at stride 1 */
    }
    add_attr(m, node, "group", 0, &group);
    add_attr(m, node, "strides", spatial, strides);
    add_attr(m, node, "pads", 2 * spatial, pads);
    add_attr(m, node, "dilations", spatial, dilations);
    add_clamp(m, node);
    return finish_node(m, node);
}

static int add_pool(maker *m, int x, bool average)
{
    int spatial = dims_of(m, x)->rank - 2;
    int64_t kernel[3] = {3, 3, 3}, stride[3] = {2, 2, 2}, pads[6] = {1, 1, 1, 1, 1, 1};
    int64_t include = pick(m, 0, 1), ceiling = pick(m, 0, 1);
    bl_node *node = add_node(m, average ? "AveragePool" : "MaxPool", 1, &x);
    add_attr(m, node, "kernel_shape", spatial, kernel);
    add_attr(m, node, "strides", spatial, stride);
    add_attr(m, node, "pads", 2 * spatial, pads);
    add_attr(m, node, "ceil_mode", 0, &ceiling);
    if (average) add_attr(m, node, "count_include_pad", 0, &include);
    return finish_node(m, node);
}

static int add_plain(maker *m, const char *op, int n_in, const int *in)
{
    return finish_node(m, add_node(m, op, n_in, in));
}

/* y = x * sigmoid-ish(conv(relu(conv(pool(x))))) */
static int add_excite(maker *m, int x)
{
    int64_t c = dims_of(m, x)->dim[1];
    int p = add_plain(m, "GlobalAveragePool", 1, &x);
    p = add_conv(m, p, BL_MAX(c / 4, 1), 1, 1, 0);
    p = add_conv(m, p, c, 1, 1, 0);
    p = add_plain(m, "HardSigmoid", 1, &p);
    return add_plain(m, "Mul", 2, (int[]){x, p});
}

static int add_block(maker *m, int x)
{
    static const char *const functions[] = {"HardSwish", "Relu", "Sigmoid", "Neg"};
    int64_t c = dims_of(m, x)->dim[1], one = 1;
    int y = x;

    switch (pick(m, 0, 7)) {
    case 0: return add_conv(m, x, pick(m, 1, 40), pick(m, 1, 3), pick(m, 1, 2), 0);
    case 1: return add_conv(m, x, c, 3, pick(m, 1, 2), 1);
    case 2: return add_conv(m, x, 2 * pick(m, 1, 12), 3, 1, 2);
    case 3: /* residual */
        y = add_conv(m, x, c, 3, 1, 0);
        return add_plain(m, "Add", 2, (int[]){y, x});
    case 4: return add_excite(m, x);
    case 5: return add_plain(m, functions[pick(m, 0, 3)], 1, &x);
    case 6: return add_pool(m, x, pick(m, 0, 1) == 1);
    default: y = add_constant(m, 1, &one, 1); return add_plain(m, "Mul", 2, (int[]){x, y});
    }
}

static bl_graph *make_graph(bl_ctx *ctx, uint64_t seed)
{
    bl_arena *arena = bl_arena_new(ctx, "graph");
    maker m = {.ctx = ctx, .arena = arena, .rng = bl_rng_make(seed, "graph", 0)};
    bl_graph *g = BL_NEW(arena, bl_graph, 1);
    int rank = pick(&m, 0, 5) == 0 ? 3 : 4, x, n;
    int64_t dim[5] = {pick(&m, 1, 3), pick(&m, 1, 20), pick(&m, 5, 14), pick(&m, 5, 14), 0};

    m.graph = g;
    *g = (bl_graph){
        .arena = arena, .source = "", .name = "", .producer = "", .opset = 13, .batch = dim[0]};
    g->values = BL_NEW(arena, bl_value, VALUES_MAX);
    g->nodes = BL_NEW(arena, bl_node, NODES_MAX);
    g->inputs = BL_NEW(arena, int, 1);
    g->outputs = BL_NEW(arena, int, 2);
    g->n_inputs = 1;
    g->n_outputs = 2;
    x = add_value(&m, rank, dim, NULL);
    g->inputs[0] = x;
    g->values[x].is_input = true;
    n = (int)pick(&m, 3, 9);
    for (int i = 0; i < n; i++) {
        x = add_block(&m, x);
        if (i == n / 2) g->outputs[1] = x;
    }
    g->values[g->outputs[1]].is_output = true;
    x = add_plain(&m, "GlobalAveragePool", 1, &x);
    x = add_plain(&m, "Flatten", 1, &x);
    int64_t wd[2] = {dims_of(&m, x)->dim[1], 10};
    int w = add_constant(&m, 2, wd, 1), b = add_constant(&m, 1, wd + 1, 1);
    bl_node *gemm = add_node(&m, "Gemm", 3, (int[]){x, w, b});
    x = finish_node(&m, gemm);
    g->outputs[0] = x;
    g->values[x].is_output = true;
    assert_ok(ctx, bl_graph_finish(ctx, g));
    return g;
}

static void fill_input(bl_walk *walk, uint64_t seed)
{
    bl_rng rng = bl_rng_make(seed, "input", 0);
    bl_tensor *t = bl_walk_input(walk, 0);
    for (int64_t i = 0; i < bl_tensor_count(t); i++)
        ((float *)t->data)[i] = (float)bl_rng_normal(&rng);
}

static void same_bits(const bl_tensor *a, const bl_tensor *b)
{
    assert_non_null(a);
    assert_non_null(b);
    assert_int_equal(bl_tensor_bytes(a), bl_tensor_bytes(b));
    assert_memory_equal(a->data, b->data, bl_tensor_bytes(a));
}

static bl_walk *make_walk(bl_ctx *ctx, const bl_graph *g, bool reference, bool keep_all)
{
    bl_walk *walk = NULL;
    bl_walk_options options = {.reference = reference, .keep_all = keep_all};
    assert_ok(ctx, bl_walk_new(ctx, g, &options, &walk));
    return walk;
}

/* ------------------------------------------------------------------ oneDNN against the reference
 */

typedef struct judge {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *graph;
    const bl_walk *reference;
    double worst; /* of |difference| / bound */
    int64_t compared, differ;
} judge;

static bl_tensor absolute(judge *j, const bl_tensor *t)
{
    bl_tensor out = *t;
    int64_t n = bl_tensor_count(t);
    float *data = BL_NEW(j->arena, float, (size_t)n);
    for (int64_t i = 0; i < n; i++) data[i] = fabsf(((const float *)t->data)[i]);
    out.data = data;
    return out;
}

/* sum |x||w| + |b| by the reference itself, on absolute values. */
static bl_tensor magnitudes(judge *j, const bl_node *node)
{
    const bl_tensor *in[4];
    bl_tensor abs[4], out = j->graph->values[node->out[0]].t;
    bl_call call = {.ctx = j->ctx,
                    .node = node,
                    .n_in = node->n_in,
                    .n_out = 1,
                    .in = in,
                    .out = &out,
                    .scratch = j->arena};
    for (int i = 0; i < node->n_in; i++) {
        abs[i] = absolute(j, bl_walk_value(j->reference, node->in[i]));
        in[i] = &abs[i];
    }
    out.data = BL_NEW(j->arena, float, (size_t)bl_tensor_count(&out));
    assert_ok(j->ctx, node->op->forward(&call));
    return out;
}

/* Sums of the node's output elements have this many terms; 0: no sum, the bits are the same. */
static int64_t terms(const judge *j, const bl_node *node)
{
    int64_t macs = 0;
    const bl_tensor *x = &j->graph->values[node->in[0]].t, *y = &j->graph->values[node->out[0]].t;
    if (node->op->macs) {
        assert_ok(j->ctx, bl_graph_macs(j->ctx, j->graph, (int)(node - j->graph->nodes), &macs));
        return macs / bl_tensor_count(y) + 1;
    }
    if (strcmp(node->op->name, "GlobalAveragePool") == 0)
        return bl_tensor_count(x) / bl_tensor_count(y);
    return strcmp(node->op->name, "AveragePool") == 0 ? 27 : 0;
}

/* Each node gets the reference's inputs (the hook puts them there), so that the bound is one
 * node's: each path is within (K+6) u of sum |x||w| + |b|, u = 2^-24. */
static bl_status judge_hook(void *user, int value, bl_tensor *t)
{
    judge *j = user;
    const bl_tensor *wanted = bl_walk_value(j->reference, value);
    int producer = j->graph->values[value].producer;
    bl_mark mark = bl_arena_mark(j->arena);

    if (producer >= 0) {
        const bl_node *node = &j->graph->nodes[producer];
        int64_t k = terms(j, node);
        bl_tensor size = k ? magnitudes(j, node) : *wanted;
        for (int64_t i = 0; i < bl_tensor_count(t); i++) {
            double a = ((float *)t->data)[i], b = ((float *)wanted->data)[i];
            double bound = k ? 2.0 * (double)(k + 6) * 0x1p-24 * ((float *)size.data)[i] : 0;
            if (!(fabs(a - b) <= bound))
                fail_msg("%s \"%s\" element %d: %.9g, reference %.9g, bound %g", node->op->name,
                         node->name, (int)i, a, b, bound);
            if (bound > 0) j->worst = BL_MAX(j->worst, fabs(a - b) / bound);
            j->compared++;
            j->differ += a != b;
        }
    }
    bl_arena_reset(j->arena, mark);
    memcpy(t->data, wanted->data, bl_tensor_bytes(t));
    return BL_OK;
}

static void test_backend_against_reference(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    judge j = {.ctx = ctx, .arena = bl_arena_new(ctx, "judge")};
    for (uint64_t seed = 0; seed < 150; seed++) {
        bl_graph *g = make_graph(ctx, seed);
        bl_walk *ours = make_walk(ctx, g, true, true), *theirs = make_walk(ctx, g, false, seed % 2);
        j.graph = g;
        j.reference = ours;
        fill_input(ours, seed);
        fill_input(theirs, seed);
        assert_ok(ctx, bl_walk_run(ours, NULL, NULL));
        assert_ok(ctx, bl_walk_run(theirs, judge_hook, &j));
        bl_walk_free(theirs);
        bl_walk_free(ours);
        bl_graph_free(g);
    }
    print_message("%s: %lld elements, %lld differ from the reference, at most %.3f of the bound\n",
                  bl_walk_backend(), (long long)j.compared, (long long)j.differ, j.worst);
    if (strcmp(bl_walk_backend(), "reference") != 0)
        assert_true(j.differ > 0); /* it did take nodes */
    bl_arena_free(j.arena);
    test_ctx_free(ctx);
}

/* Without a hook values stay packed between nodes: the same bits as when a hook looks at each. */
static bl_status look_hook(void *user, int value, bl_tensor *t)
{
    (void)value;
    (*(int64_t *)user) += bl_tensor_count(t);
    return BL_OK;
}

static void test_hooks_change_nothing(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        bl_graph *g = make_graph(ctx, seed);
        bl_walk *a = make_walk(ctx, g, false, true), *b = make_walk(ctx, g, false, true);
        uint8_t *uses = calloc((size_t)g->n_values, 1);
        int64_t seen = 0;
        for (int v = 0; v < g->n_values; v++) uses[v] = (uint8_t)((seed + (uint64_t)v) % 3);
        if (seed % 2) bl_walk_hook_uses(b, uses);
        fill_input(a, seed);
        fill_input(b, seed);
        assert_ok(ctx, bl_walk_run(a, NULL, NULL));
        assert_ok(ctx, bl_walk_run(b, look_hook, &seen));
        assert_true(seen > 0);
        for (int v = 0; v < g->n_values; v++) same_bits(bl_walk_value(a, v), bl_walk_value(b, v));
        free(uses);
        bl_walk_free(a);
        bl_walk_free(b);
        bl_graph_free(g);
    }
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ memory */

static void test_reuse_equals_keep_all(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        bl_graph *g = make_graph(ctx, seed);
        for (int reference = 0; reference < 2; reference++) {
            bl_walk *a = make_walk(ctx, g, reference, true),
                    *b = make_walk(ctx, g, reference, false);
            fill_input(a, seed);
            fill_input(b, seed);
            assert_ok(ctx, bl_walk_run(a, NULL, NULL));
            assert_ok(ctx, bl_walk_run(b, NULL, NULL));
            for (int i = 0; i < g->n_outputs; i++)
                same_bits(bl_walk_value(a, g->outputs[i]), bl_walk_value(b, g->outputs[i]));
            same_bits(bl_walk_value(a, g->inputs[0]), bl_walk_value(b, g->inputs[0]));
            bl_walk_free(a);
            bl_walk_free(b);
        }
        bl_graph_free(g);
    }
    test_ctx_free(ctx);
}

static bl_status scale_hook(void *user, int value, bl_tensor *t)
{
    const uint8_t *on = user;
    float *x = t->data;
    if (on[value])
        for (int64_t i = 0; i < bl_tensor_count(t); i++) x[i] = rintf(x[i] * 8) / 8;
    return BL_OK;
}

static void test_no_allocation(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = make_graph(ctx, 7);
    bl_walk *walk = make_walk(ctx, g, false, true);
    uint8_t *nodes = malloc((size_t)g->n_nodes), *on = calloc((size_t)g->n_values, 1);
    uint64_t before, after;
    memset(nodes, 1, (size_t)g->n_nodes);
    for (int round = 0; round < 3; round++) {
        fill_input(walk, 1);
        assert_ok(ctx, bl_walk_run(walk, scale_hook, on));
        assert_ok(ctx, bl_walk_rerun(walk, nodes, NULL, scale_hook, on));
        bl_memory_use(ctx, &after, NULL);
        if (round) assert_int_equal(after, before);
        before = after;
    }
    free(nodes);
    free(on);
    bl_walk_free(walk);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

static void test_memory_ceiling(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0), *small = test_ctx(1, 1 << 13);
    bl_graph *g = make_graph(ctx, 3);
    bl_walk *walk = NULL;
    assert_fails(small, bl_walk_new(small, g, NULL, &walk), BL_UNAVAILABLE, "");
    assert_null(walk);
    bl_graph_free(g);
    test_ctx_free(small);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ reruns */

/* Nodes that read, straight or not, a value that is on. */
static void spread(const bl_graph *g, const uint8_t *on, uint8_t *dirty_nodes)
{
    uint8_t *dirty = malloc((size_t)g->n_values);
    memcpy(dirty, on, (size_t)g->n_values);
    for (int n = 0; n < g->n_nodes; n++) {
        dirty_nodes[n] = 0;
        for (int i = 0; i < g->nodes[n].n_in; i++)
            if (g->nodes[n].in[i] >= 0) dirty_nodes[n] |= dirty[g->nodes[n].in[i]];
        for (int i = 0; i < g->nodes[n].n_out; i++) dirty[g->nodes[n].out[i]] |= dirty_nodes[n];
    }
    free(dirty);
}

static void test_rerun_equals_run(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        bl_graph *g = make_graph(ctx, seed);
        bl_walk *a = make_walk(ctx, g, false, true), *b = make_walk(ctx, g, false, true);
        uint8_t *on = calloc((size_t)g->n_values, 1), *none = calloc((size_t)g->n_values, 1);
        uint8_t *nodes = malloc((size_t)g->n_nodes);
        bl_rng rng = bl_rng_make(seed, "rerun", 0);
        for (int round = 0; round < 4; round++) {
            memset(on, 0, (size_t)g->n_values);
            for (int k = 0; k < 2; k++) {
                int v = (int)bl_rng_below(&rng, (uint64_t)g->n_values);
                on[v] = g->values[v].t.data == NULL;
            }
            fill_input(a, seed);
            fill_input(b, seed);
            assert_ok(ctx, bl_walk_run(a, round % 2 ? NULL : scale_hook, none));
            assert_ok(ctx, bl_walk_run(b, scale_hook, on));
            spread(g, on, nodes);
            assert_ok(ctx, bl_walk_rerun(a, nodes, on, scale_hook, on));
            for (int v = 0; v < g->n_values; v++)
                same_bits(bl_walk_trial_value(a, v), bl_walk_value(b, v));
            /* the full run is intact */
            fill_input(b, seed);
            assert_ok(ctx, bl_walk_run(b, NULL, NULL));
            for (int v = 0; v < g->n_values; v++)
                same_bits(bl_walk_value(a, v), bl_walk_value(b, v));
        }
        free(on);
        free(none);
        free(nodes);
        bl_walk_free(a);
        bl_walk_free(b);
        bl_graph_free(g);
    }
    test_ctx_free(ctx);
}

/* Buffers that reruns use again change nothing in what was announced to be looked at. */
static void test_rerun_shares_buffers(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 60; seed++) {
        bl_graph *g = make_graph(ctx, seed);
        uint8_t *on = calloc((size_t)g->n_values, 1), *looks = calloc((size_t)g->n_values, 1), *nodes = malloc((size_t)g->n_nodes);
        bl_rng rng = bl_rng_make(seed, "shares", 0);
        bl_walk_options options = {.keep_all = true, .looks = looks};
        bl_walk *a = make_walk(ctx, g, false, true), *b;
        for (int k = 0; k < 2; k++) looks[bl_rng_below(&rng, (uint64_t)g->n_values)] = 1;
        assert_ok(ctx, bl_walk_new(ctx, g, &options, &b));
        fill_input(a, seed);
        fill_input(b, seed);
        assert_ok(ctx, bl_walk_run(a, NULL, NULL));
        assert_ok(ctx, bl_walk_run(b, NULL, NULL));
        for (int round = 0; round < 4; round++) {
            memset(on, 0, (size_t)g->n_values);
            for (int k = 0; k < 3; k++) {
                int v = (int)bl_rng_below(&rng, (uint64_t)g->n_values);
                on[v] = g->values[v].t.data == NULL;
            }
            spread(g, on, nodes);
            assert_ok(ctx, bl_walk_rerun(a, nodes, on, scale_hook, on));
            assert_ok(ctx, bl_walk_rerun(b, nodes, on, scale_hook, on));
            for (int v = 0; v < g->n_values; v++)
                if (looks[v] || g->values[v].is_output) same_bits(bl_walk_trial_value(a, v), bl_walk_trial_value(b, v));
            for (int v = 0; v < g->n_values; v++) same_bits(bl_walk_value(a, v), bl_walk_value(b, v));
        }
        free(on);
        free(looks);
        free(nodes);
        bl_walk_free(a);
        bl_walk_free(b);
        bl_graph_free(g);
    }
    test_ctx_free(ctx);
}

static void test_rerun_needs_a_run(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = make_graph(ctx, 1);
    bl_walk *walk = make_walk(ctx, g, false, true), *lean = make_walk(ctx, g, false, false);
    uint8_t *nodes = calloc((size_t)g->n_nodes, 1);
    assert_fails(ctx, bl_walk_rerun(walk, nodes, NULL, NULL, NULL), BL_INTERNAL, "ran");
    fill_input(lean, 1);
    assert_ok(ctx, bl_walk_run(lean, NULL, NULL));
    assert_fails(ctx, bl_walk_rerun(lean, nodes, NULL, NULL, NULL), BL_INTERNAL, "trial");
    free(nodes);
    bl_walk_free(walk);
    bl_walk_free(lean);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* A hook's failure ends the run with its status. */
static bl_status failing_hook(void *user, int value, bl_tensor *t)
{
    (void)value;
    (void)t;
    return bl_fail(user, BL_GOAL, "hook", "", "enough");
}

static void test_hook_fails(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = make_graph(ctx, 1);
    bl_walk *walk = make_walk(ctx, g, false, true);
    uint8_t *nodes = calloc((size_t)g->n_nodes, 1);
    fill_input(walk, 1);
    assert_fails(ctx, bl_walk_run(walk, failing_hook, ctx), BL_GOAL, "enough");
    assert_fails(ctx, bl_walk_rerun(walk, nodes, NULL, NULL, NULL), BL_INTERNAL, "ran");
    free(nodes);
    bl_walk_free(walk);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ constants */

static void test_set_constant(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 30; seed++) {
        bl_graph *g = make_graph(ctx, seed), *changed = make_graph(ctx, seed);
        bl_walk *walk = make_walk(ctx, g, false, true), *other,
                *again = make_walk(ctx, g, false, true);
        float *copy[VALUES_MAX] = {NULL};
        fill_input(walk, seed);
        assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
        for (int v = 0; v < g->n_values; v++) {
            int64_t n = bl_tensor_count(&g->values[v].t);
            if (!g->values[v].t.data) continue;
            copy[v] = malloc((size_t)n * sizeof(float));
            memset(copy[v], 0, (size_t)n * sizeof(float));
            assert_ok(ctx, bl_walk_set_constant(walk, v, copy[v]));
            for (int64_t i = 0; i < n; i++)
                ((float *)changed->values[v].t.data)[i] = copy[v][i] =
                    rintf(((float *)g->values[v].t.data)[i] * 4) / 4;
            /* the same address with other numbers counts as a replacement too */
            assert_ok(ctx, bl_walk_set_constant(walk, v, copy[v]));
        }
        other = make_walk(ctx, changed, false, true);
        fill_input(walk, seed);
        fill_input(other, seed);
        assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
        assert_ok(ctx, bl_walk_run(other, NULL, NULL));
        for (int v = 0; v < g->n_values; v++)
            same_bits(bl_walk_value(walk, v), bl_walk_value(other, v));
        for (int v = 0; v < g->n_values; v++) {
            if (!copy[v]) continue;
            assert_ok(ctx, bl_walk_set_constant(walk, v, NULL));
            free(copy[v]);
        }
        fill_input(walk, seed);
        fill_input(again, seed);
        assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
        assert_ok(ctx, bl_walk_run(again, NULL, NULL));
        for (int v = 0; v < g->n_values; v++)
            same_bits(bl_walk_value(walk, v), bl_walk_value(again, v));
        bl_walk_free(walk);
        bl_walk_free(other);
        bl_walk_free(again);
        bl_graph_free(g);
        bl_graph_free(changed);
    }
    test_ctx_free(ctx);
}

/* ------------------------------------------------------------------ side by side */

typedef struct crowd {
    bl_walk *walk[16];
} crowd;

static bl_status crowd_run(void *arg, size_t i, unsigned worker)
{
    crowd *c = arg;
    (void)worker;
    for (int round = 0; round < 5; round++) {
        fill_input(c->walk[i], i % 4);
        BL_TRY(bl_walk_run(c->walk[i], NULL, NULL));
    }
    return BL_OK;
}

static void test_walkers_side_by_side(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(4, 0);
    bl_graph *g = make_graph(ctx, 11);
    crowd c;
    for (int i = 0; i < 16; i++) c.walk[i] = make_walk(ctx, g, false, false);
    assert_ok(ctx, bl_parallel_for(ctx, 16, crowd_run, &c));
    for (int i = 0; i < 16; i++) {
        bl_walk *alone = make_walk(ctx, g, false, false);
        fill_input(alone, (uint64_t)i % 4);
        assert_ok(ctx, bl_walk_run(alone, NULL, NULL));
        same_bits(bl_walk_value(alone, g->outputs[0]), bl_walk_value(c.walk[i], g->outputs[0]));
        bl_walk_free(alone);
    }
    for (int i = 0; i < 16; i++) bl_walk_free(c.walk[i]);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* One walker whose operators run on several threads: not one bit of any value differs. */
static void test_threads_keep_bits(void **state)
{
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    for (uint64_t seed = 0; seed < 12; seed++) {
        bl_graph *g = make_graph(ctx, seed);
        bl_walk *alone = make_walk(ctx, g, false, true);
        fill_input(alone, seed);
        assert_ok(ctx, bl_walk_run(alone, NULL, NULL));
        for (unsigned threads = 2; threads <= 5; threads++) {
            bl_walk_options options = {.keep_all = true, .threads = threads};
            bl_walk *walk;
            assert_ok(ctx, bl_walk_new(ctx, g, &options, &walk));
            fill_input(walk, seed);
            assert_ok(ctx, bl_walk_run(walk, NULL, NULL));
            for (int v = 0; v < g->n_values; v++)
                if (g->values[v].producer >= 0) same_bits(bl_walk_value(alone, v), bl_walk_value(walk, v));
            bl_walk_free(walk);
        }
        bl_walk_free(alone);
        bl_graph_free(g);
    }
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_backend_against_reference),
        cmocka_unit_test(test_hooks_change_nothing),
        cmocka_unit_test(test_reuse_equals_keep_all),
        cmocka_unit_test(test_no_allocation),
        cmocka_unit_test(test_memory_ceiling),
        cmocka_unit_test(test_rerun_equals_run),
        cmocka_unit_test(test_rerun_shares_buffers),
        cmocka_unit_test(test_rerun_needs_a_run),
        cmocka_unit_test(test_hook_fails),
        cmocka_unit_test(test_set_constant),
        cmocka_unit_test(test_walkers_side_by_side),
        cmocka_unit_test(test_threads_keep_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
