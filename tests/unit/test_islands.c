/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Islands and the integer forms of operators beside the layers: single operators equal the fake-quantized
 * reference walk bit for bit (Q1 of the float operator of Q2, [Q9][Q10][Q11]), the right form is chosen,
 * running allocates nothing, programs survive their file, damaged ones are refused or harmless.  Whole
 * networks: test_steps.c.
 */
#include "fake_net.h"

/* ------------------------------------------------------------------ one operator */

typedef struct single {
    const char *op, *in, *out, *x; /* inputs by name: x, y activations, others constants below */
    const char *ints[4][2];     /* attributes: name, numbers */
    const char *text[2];
    int opset;
    const char *kinds;          /* kinds of steps between the edges, each once */
} single;

static const single singles[] = {
    { "LayerNormalization", "x,v4", "z,mean", "1,3,4", { { 0 } }, { 0 }, 17, "island" },
    { "InstanceNormalization", "x,v3,w3", "z", "1,3,4,4", { { 0 } }, { 0 }, 13, "island" },
    { "Sub", "x,y", "z", "1,3,4", { { 0 } }, { 0 }, 13, "island" },
    { "Div", "x,v4", "z", "1,3,4", { { 0 } }, { 0 }, 13, "island" },
    { "Max", "x,y,w4", "z", "1,3,4", { { 0 } }, { 0 }, 13, "island" },
    { "Sub", "x,one", "z", "1,3,4", { { 0 } }, { 0 }, 13, "table" },
    { "Div", "one,x", "z", "1,3,4", { { 0 } }, { 0 }, 13, "table" },
    { "Pow", "x,two", "z", "1,3,4", { { 0 } }, { 0 }, 13, "table" },
    { "PRelu", "x,one", "z", "1,3,4,4", { { 0 } }, { 0 }, 13, "island" },
    { "Erf", "x", "z", "1,3,4", { { 0 } }, { 0 }, 13, "table" },
    { "Gelu", "x", "z", "1,3,4", { { 0 } }, { 0 }, 20, "table" },
    { "Softmax", "x", "z", "1,3,4", { { "axis", "1" } }, { 0 }, 13, "island" },
    { "LogSoftmax", "x", "z", "1,3,4", { { 0 } }, { 0 }, 13, "island" },
    { "Conv", "x,k1,b2", "z", "1,3,8", { { 0 } }, { 0 }, 13, "island" },
    { "Conv", "x,k3,b2", "z", "1,3,3,4,4", { { 0 } }, { 0 }, 13, "island" },
    { "ConvTranspose", "x,t2", "z", "1,3,4,4", { { "strides", "2,2" } }, { 0 }, 13, "island" },
    { "MaxPool", "x", "z", "1,3,8", { { "kernel_shape", "2" } }, { 0 }, 13, "island" },
    { "Pad", "x,pads", "z", "1,3,4,4", { { 0 } }, { "mode", "reflect" }, 13, "island" },
    { "Resize", "x,,scales2", "z", "1,3,4,4", { { 0 } }, { "mode", "linear" }, 13, "island" },
    { "Resize", "x,,scales3", "z", "1,3,4,4", { { 0 } }, { "coordinate_transformation_mode", "asymmetric" }, 13, "island" },
    { "Resize", "x,,scales2", "z", "1,3,4,4", { { 0 } }, { "nearest_mode", "round_prefer_floor" }, 13, "move" },
    { "Gather", "x,i2", "z", "1,3,4", { { "axis", "2" } }, { 0 }, 13, "move" },
    { "Gather", "x,i0", "z", "1,3,4,4", { { "axis", "1" } }, { 0 }, 13, "move" },
    { "Gather", "x,i22", "z", "1,3,4", { { "axis", "1" } }, { 0 }, 13, "island" },
    { "Split", "x", "z,z2", "1,3,4,4", { { "axis", "2" } }, { 0 }, 13, "move" },
    { "DepthToSpace", "x", "z", "1,8,3,4", { { "blocksize", "2" } }, { 0 }, 13, "move" },
    { "DepthToSpace", "x", "z", "1,8,3,4", { { "blocksize", "2" } }, { "mode", "CRD" }, 13, "move" },
    { "SpaceToDepth", "x", "z", "1,3,4,6", { { "blocksize", "2" } }, { 0 }, 13, "move" },
    { "Tile", "x,times", "z", "1,3,4,4", { { 0 } }, { 0 }, 13, "move" },
    { "Expand", "x,shape", "z", "1,3,1,4", { { 0 } }, { 0 }, 13, "move" },
    { "ReduceMax", "x", "z", "1,3,4", { { "axes", "1" } }, { 0 }, 13, "maxpool" },
    { "ReduceMax", "x", "z", "1,3,4", { { "axes", "2" } }, { 0 }, 13, "island" },
    { "ReduceMean", "x", "z", "1,3,4", { { "axes", "2" } }, { 0 }, 13, "island" },
    { "ReduceSum", "x", "z", "1,3,4,4", { { 0 } }, { 0 }, 13, "island" },
};

static void constants(onnx_build *b)
{
    float one = 1.5f, two = 2, f2[] = { 1, 1, 2, 2 }, f3[] = { 1, 1, 1.5f, 1.75f };
    ob_positive(b, "v4", "4");
    ob_floats(b, "w4", "4", NULL);
    ob_positive(b, "v3", "3");
    ob_floats(b, "w3", "3", NULL);
    ob_floats(b, "k1", "2,3,3", NULL);
    ob_floats(b, "k3", "2,3,2,2,2", NULL);
    ob_floats(b, "b2", "2", NULL);
    ob_floats(b, "t2", "3,2,3,3", NULL);
    ob_floats(b, "one", "", &one);
    ob_floats(b, "two", "1", &two);
    ob_floats(b, "scales2", "4", f2);
    ob_floats(b, "scales3", "4", f3);
    ob_int64s(b, "pads", "0,0,1,2,0,0,2,1");
    ob_int64s(b, "i2", "3,0,-3,-1");
    ob_int64s(b, "times", "1,2,1,3");
    ob_int64s(b, "shape", "2,3,5,4");
    int64_t index[4] = { 2, 0, 1, 1 }, zero = 1;
    ob_raw(b, ob_constant(b, ob_tensor(b, "i22", BL_I64, "2,2")), index, sizeof index);
    ob_raw(b, ob_constant(b, ob_tensor(b, "i0", BL_I64, "")), &zero, sizeof zero);
}

static onnx_build *single_build(bl_ctx *ctx, const single *s)
{
    onnx_build *b = ob_new(ctx, s->opset);
    ob_input(b, "x", s->x);
    if (strstr(s->in, ",y")) ob_input(b, "y", s->x);
    constants(b);
    Onnx__NodeProto *n = ob_node(b, s->op, s->in, s->out);
    for (int i = 0; i < 4 && s->ints[i][0]; i++) {
        if (!strcmp(s->ints[i][0], "axis") || !strcmp(s->ints[i][0], "blocksize"))
            ob_int_attr(n, b, s->ints[i][0], atoi(s->ints[i][1]));
        else ob_ints_attr(n, b, s->ints[i][0], s->ints[i][1]);
    }
    if (s->text[0]) {
        Onnx__AttributeProto *a = ob_attr(n, b, s->text[0], BL_ATTR_STRING);
        a->has_s = 1;
        a->s.data = (uint8_t *)ob_text(b, s->text[1]);
        a->s.len = strlen(s->text[1]);
    }
    ob_output(b, "z");
    if (strstr(s->out, ",z2")) ob_output(b, "z2");
    if (strstr(s->out, ",mean")) ob_output(b, "mean");
    return b;
}

static void check_kinds(const net *t, const single *s)
{
    bool any = false;
    for (uint32_t i = 0; i < t->program->n_steps; i++) {
        const char *kind = bl_step_kind(&t->program->steps[i]);
        if (!strcmp(kind, "quantize") || !strcmp(kind, "dequantize")) continue;
        any = true;
        if (strcmp(kind, s->kinds)) fail_msg("%s became a step of %s, not %s", s->op, kind, s->kinds);
    }
    assert_true(any);
}

static void operators_equal_the_walk(void **state)
{
    int64_t values = 0;
    for (size_t i = 0; i < BL_COUNTOF(singles); i++)
        for (int a_bits = 8; a_bits <= 16; a_bits += 8) {
            const single *s = &singles[i];
            net t = { .ctx = *state, .a = bl_arena_new(*state, "net"), .g = ob_prepared(single_build(*state, s)) };
            const float **x = samples(&t, i);
            bl_fake *fake = NULL;
            take_stats(&t, x);
            lower_net(&t, a_bits);
            check_kinds(&t, s);
            run_program(&t, x);
            bl_walk *walk = run_fake(&t, x, true, &fake);
            for (int o = 0; o < t.g->n_outputs; o++) {
                const float *wanted = bl_walk_value(walk, t.g->outputs[o])->data, *got = bl_exec_output(t.exec, (uint32_t)o);
                int64_t n = bl_tensor_count(&t.g->values[t.g->outputs[o]].t);
                for (int64_t k = 0; k < n; k++)
                    if (got[k] != wanted[k])
                        fail_msg("%s (%s) A%d output %d [%d]: %g instead of %g", s->op, s->in, a_bits, o, (int)k, (double)got[k],
                                 (double)wanted[k]);
                values += n;
            }
            bl_walk_free(walk);
            bl_fake_free(fake);
            net_free(&t);
        }
    print_message("%lld values equal the walk\n", (long long)values);
}

/* ------------------------------------------------------------------ LayerNormalization [Q18] */

/* A convolution puts its output channels-last: rows are then copied together first.  form 0: rows of the last dimension,
 * 1: of the last two, without a bias, 2: behind a convolution, 3: Relu behind it. */
static onnx_build *norm_build(bl_ctx *ctx, int form)
{
    onnx_build *b = ob_new(ctx, 17);
    ob_input(b, "x", form == 2 ? "1,3,9,24" : "1,40,24");
    ob_positive(b, "scale", form == 1 ? "40,24" : "24");
    ob_floats(b, "bias", "24", NULL);
    ob_floats(b, "k", "8,3,1,1", NULL);
    if (form == 2) ob_node(b, "Conv", "x,k", "c");
    const char *x = form == 2 ? "c,scale,bias" : form == 1 ? "x,scale" : "x,scale,bias";
    Onnx__NodeProto *n = ob_node(b, "LayerNormalization", x, form == 3 ? "n" : "z");
    if (form == 1) ob_int_attr(n, b, "axis", 1);
    if (form == 3) ob_node(b, "Relu", "n", "z");
    ob_output(b, "z");
    return b;
}

/* What [Q18] says, from the codes that went in: mean and variance as exact integers. */
static void norm_by_the_rule(const bl_step *s, const float *scale, const float *bias, const uint16_t *q,
                             float epsilon, bl_grid gx, uint16_t *out)
{
    int64_t d = s->u.layernorm.d;
    bl_grid gy = s->u.layernorm.gy;
    for (int64_t r = 0; r < s->u.layernorm.rows; r++, q += d, out += d) {
        int64_t s1 = 0, s2 = 0;
        for (int64_t i = 0; i < d; i++) s1 += q[i], s2 += (int64_t)q[i] * q[i];
        double ratio = (double)d / (double)gx.scale, room = (double)epsilon * (ratio * ratio);
        float factor = (float)(1.0 / sqrt((double)(d * s2 - s1 * s1) + room));
        for (int64_t i = 0; i < d; i++) {
            float g = scale[i] / gy.scale, b = bias ? bias[i] / gy.scale : 0;
            float v = (float)(d * q[i] - s1) * factor;
            v = v * g;
            v = v + b;
            out[i] = (uint16_t)(gy.zero + (int32_t)rintf(fminf(fmaxf(v, (float)(gy.lo - gy.zero)), (float)(gy.hi - gy.zero))));
        }
    }
}

static const bl_step *norm_step(const net *t)
{
    for (uint32_t i = 0; i < t->program->n_steps; i++)
        if (t->program->steps[i].contract == BL_C_LAYERNORM) return &t->program->steps[i];
    fail_msg("no step of that kind");
    return NULL;
}

/* What goes into a step and what comes out, when it has been made: its place may be another's later. */
typedef struct catch { const bl_exec *exec; const bl_step *step; uint16_t *in, *out; } catch;

static bl_status catch_codes(void *user, uint32_t step, uint32_t tensor)
{
    const catch *c = user;
    (void)step;
    if ((int32_t)tensor == c->step->in[0]) bl_exec_read(c->exec, tensor, c->in);
    if ((int32_t)tensor == c->step->out) bl_exec_read(c->exec, tensor, c->out);
    return BL_OK;
}

/* The rule to the bit; beside the float operator never more than a step, and at 8 bits in one value of ten thousand. */
static void normalisation_by_the_rule(void **state)
{
    int64_t values = 0, off[2] = { 0, 0 };
    for (int run = 0; run < 4 * 2 * 20; run++) {
        int form = run % 4, wide = run / 4 % 2;
        net t = { .ctx = *state, .a = bl_arena_new(*state, "net"), .g = ob_prepared(norm_build(*state, form)) };
        const float **x = samples(&t, (uint64_t)run);
        bl_fake *fake = NULL;
        take_stats(&t, x);
        lower_net(&t, wide ? 16 : 8);
        assert_int_equal(t.program->n_islands, 0);
        run_program(&t, x);
        bl_walk *walk = run_fake(&t, x, true, &fake);
        const bl_step *s = norm_step(&t);
        const bl_ptensor *in = &t.program->tensors[s->in[0]];
        size_t n = (size_t)(s->u.layernorm.rows * s->u.layernorm.d);
        uint16_t *q = BL_NEW(t.a, uint16_t, n), *got = BL_NEW(t.a, uint16_t, n), *wanted = BL_NEW(t.a, uint16_t, n);
        catch c = { t.exec, s, q, got };
        assert_ok(t.ctx, bl_exec_run(t.exec, catch_codes, &c));
        const bl_node *node = &t.g->nodes[form == 2];
        const float *bias = node->n_in > 2 ? t.g->values[node->in[2]].t.data : NULL;
        norm_by_the_rule(s, t.g->values[node->in[1]].t.data, bias, q, 1e-5f, in->grid, wanted);
        const float *near = bl_walk_value(walk, node->out[0])->data;
        bl_grid gy = s->u.layernorm.gy;
        for (size_t i = 0; i < n; i++) {
            int32_t by = abs(got[i] - gy.zero - (int32_t)rintf(near[i] / gy.scale));
            assert_int_equal(got[i], wanted[i]);
            if (form == 2) continue; /* the walk's convolution is off by itself */
            if (by > 1) fail_msg("form %d: %d instead of %g", form, got[i] - gy.zero, (double)(near[i] / gy.scale));
            off[wide] += by;
        }
        values += wide || form == 2 ? 0 : (int64_t)n;
        bl_walk_free(walk);
        bl_fake_free(fake);
        net_free(&t);
    }
    print_message("%lld values, beside the float operator %lld (8 bits) and %lld (16 bits) a step off\n", (long long)values,
                  (long long)off[0], (long long)off[1]);
    assert_true(off[0] * 10000 <= values);
}

/* ------------------------------------------------------------------ what is not real numbers */

/* Greater (bool) into Where, ArgMax as an output: plain elements flow between islands. */
static onnx_build *mixed_types(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    float zero = 0.25f;
    ob_input(b, "x", "1,3,4");
    ob_floats(b, "limit", "", &zero);
    ob_floats(b, "w", "4,4", NULL);
    ob_node(b, "MatMul", "x,w", "m");
    ob_node(b, "Greater", "m,limit", "mask");
    ob_node(b, "Where", "mask,m,x", "z");
    ob_int_attr(ob_node(b, "ArgMax", "z", "best"), b, "axis", 2);
    ob_output(b, "z");
    ob_value(b, "best", BL_I64, "1,3,1");
    ob_output(b, "best");
    return b;
}

static void plain_elements_flow(void **state)
{
    net t = { .ctx = *state, .a = bl_arena_new(*state, "net"), .g = ob_prepared(mixed_types(*state)) };
    const float **x = samples(&t, 3);
    bl_fake *fake = NULL;
    take_stats(&t, x);
    lower_net(&t, 8);
    run_program(&t, x);
    assert_int_equal(bl_edge_type(t.program, 2), BL_I64);
    bl_walk *walk = run_fake(&t, x, true, &fake);
    const float *z = bl_exec_output(t.exec, 0), *best = bl_exec_output(t.exec, 1);
    const int64_t *wanted = bl_walk_value(walk, t.g->outputs[1])->data;
    assert_memory_equal(z, bl_walk_value(walk, t.g->outputs[0])->data, 12 * sizeof *z);
    for (int i = 0; i < 3; i++) assert_true((int64_t)best[i] == wanted[i]);
    json_t *list = bl_islands_json(t.program);
    assert_int_equal(json_array_size(list), 3);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 1), "op")), "Where");
    json_decref(list);
    bl_walk_free(walk);
    bl_fake_free(fake);
    net_free(&t);
}

/* Rows of an image whose channels lie innermost are no rows in memory: the product is a float operator, its bias, which
 * no file's MatMul has, on its grid all the same. */
static onnx_build *product_of_images(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "1,3,6,6");
    ob_floats(b, "k", "5,3,3,3", NULL);
    ob_floats(b, "w", "4,7", NULL);
    ob_floats(b, "b", "7", NULL);
    ob_floats(b, "l", "5,5,3,3", NULL);
    ob_node(b, "Conv", "x,k", "c");
    ob_node(b, "MatMul", "c,w", "m");
    ob_node(b, "Add", "b,m", "a");
    ob_node(b, "Relu", "a", "r");
    ob_node(b, "Conv", "r,l", "z");
    ob_output(b, "z");
    return b;
}

static void a_biased_product_in_float(void **state)
{
    net t = { .ctx = *state, .a = bl_arena_new(*state, "net"), .g = ob_prepared(product_of_images(*state)) };
    const float **x = samples(&t, 3);
    bl_fake *fake = NULL;
    char folder[256], path[300];
    assert_int_equal(t.g->n_nodes, 3);
    take_stats(&t, x);
    lower_net(&t, 8);
    json_t *list = bl_islands_json(t.program);
    assert_int_equal(json_array_size(list), 1);
    assert_string_equal(json_string_value(json_object_get(json_array_get(list, 0), "op")), "MatMul");
    json_decref(list);
    snprintf(path, sizeof path, "%.256s/p.blp", test_folder(folder));
    assert_ok(*state, bl_program_write(*state, t.program, path));
    bl_program_free(t.program);
    assert_ok(*state, bl_program_open(*state, path, &t.program));
    run_program(&t, x);
    bl_walk *walk = run_fake(&t, x, true, &fake);
    assert_memory_equal(bl_exec_output(t.exec, 0), bl_walk_value(walk, t.g->outputs[0])->data, 5 * 2 * 5 * sizeof(float));
    bl_walk_free(walk);
    bl_fake_free(fake);
    test_folder_remove(folder);
    net_free(&t);
}

/* ------------------------------------------------------------------ memory, files, damage */

/* InstanceNormalization, a convolution over one dimension (decoded weights), linear Resize (scratch). */
static onnx_build *several(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 17);
    ob_input(b, "x", "1,3,8");
    constants(b);
    float s[] = { 1, 1, 100 };
    ob_floats(b, "up", "3", s);
    ob_node(b, "InstanceNormalization", "x,v3,w3", "n");
    ob_node(b, "Conv", "n,k1,b2", "c");
    Onnx__NodeProto *r = ob_node(b, "Resize", "c,,up", "z");
    Onnx__AttributeProto *a = ob_attr(r, b, "mode", BL_ATTR_STRING);
    a->has_s = 1;
    a->s.data = (uint8_t *)ob_text(b, "linear");
    a->s.len = 6;
    ob_output(b, "z");
    return b;
}

static net several_net(bl_ctx *ctx, const float ***x)
{
    net t = { .ctx = ctx, .a = bl_arena_new(ctx, "net"), .g = ob_prepared(several(ctx)) };
    *x = samples(&t, 1);
    take_stats(&t, *x);
    lower_net(&t, 8);
    return t;
}

static void running_takes_no_memory(void **state)
{
    const float **x;
    (void)state;
    bl_ctx *ctx = test_ctx(1, 0);
    net t = several_net(ctx, &x);
    uint64_t before, after, promised, taken, ceiling = ctx->options.memory_bytes;
    run_program(&t, x);
    bl_exec_memory(t.exec, &promised, &taken);
    assert_int_equal(promised, taken);
    bl_memory_use(ctx, &before, NULL);
    ctx->options.memory_bytes = before; /* whatever is taken from the system now fails */
    for (int i = 0; i < 5; i++) assert_ok(ctx, bl_exec_run(t.exec, NULL, NULL));
    ctx->options.memory_bytes = ceiling;
    bl_memory_use(ctx, &after, NULL);
    assert_int_equal(before, after);
    net_free(&t);
    test_ctx_free(ctx);
}

static void there_and_back(void **state)
{
    const float **x;
    char folder[256], path[300];
    net t = several_net(*state, &x);
    test_folder(folder);
    snprintf(path, sizeof path, "%s/m.blp", folder);
    run_program(&t, x);
    assert_ok(t.ctx, bl_program_write(t.ctx, t.program, path));
    net u = t;
    u.exec = NULL;
    assert_ok(t.ctx, bl_program_open(t.ctx, path, &u.program));
    run_program(&u, x);
    assert_memory_equal(bl_exec_output(t.exec, 0), bl_exec_output(u.exec, 0), 2 * 600 * sizeof(float));
    assert_int_equal(u.program->weight_bytes, 18);
    bl_exec_free(u.exec);
    bl_program_free(u.program);
    net_free(&t);
    test_folder_remove(folder);
}

static void *copy_of(bl_arena *a, const void *from, size_t n)
{
    void *to = bl_alloc(a, BL_MAX(n, 64), 1);
    assert_non_null(to);
    memcpy(to, from, n);
    return to;
}

/* Every field of every list in turn gets odd numbers: refused, or it runs without harm. */
static void damage_is_refused_or_harmless(void **state)
{
    const float **x;
    (void)state;
    bl_ctx *ctx = test_ctx(1, (uint64_t)64 << 20);
    net t = several_net(ctx, &x);
    const bl_program *p = t.program;
    static const int32_t odd[] = { -1, 0, 1, 2, 7, 255, 1 << 20, INT32_MAX, INT32_MIN };
    size_t sizes[] = { p->n_islands * sizeof *p->islands, p->n_ports * sizeof *p->ports, p->n_attrs * sizeof *p->attrs,
                       p->n_steps * sizeof *p->steps, p->n_tensors * sizeof *p->tensors };
    int refused = 0, harmless = 0;
    for (int list = 0; list < 5; list++)
        for (size_t at = 0; at + 4 <= sizes[list]; at += 4)
            for (size_t k = 0; k < BL_COUNTOF(odd); k += list == 3 ? 4 : 1) {
                bl_arena *a = bl_arena_new(ctx, "damage");
                bl_program d = *p;
                void *copy[5] = { copy_of(a, p->islands, sizes[0]), copy_of(a, p->ports, sizes[1]), copy_of(a, p->attrs, sizes[2]),
                                  copy_of(a, p->steps, sizes[3]), copy_of(a, p->tensors, sizes[4]) };
                memcpy((uint8_t *)copy[list] + at, &odd[k], 4);
                d.islands = copy[0], d.ports = copy[1], d.attrs = copy[2], d.steps = copy[3], d.tensors = copy[4];
                bl_exec *e = NULL;
                bl_status s = bl_program_validate(ctx, "damaged", &d);
                if (s == BL_OK) s = bl_exec_new(ctx, &d, NULL, &e);
                if (s == BL_OK) s = bl_exec_run(e, NULL, NULL);
                *(s == BL_OK ? &harmless : &refused) += 1;
                bl_exec_free(e);
                bl_arena_free(a);
            }
    print_message("%d damages refused, %d harmless\n", refused, harmless);
    assert_true(refused > 500);
    net_free(&t);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operators_equal_the_walk),
        cmocka_unit_test(normalisation_by_the_rule),
        cmocka_unit_test(plain_elements_flow),
        cmocka_unit_test(a_biased_product_in_float),
        cmocka_unit_test(running_takes_no_memory),
        cmocka_unit_test(there_and_back),
        cmocka_unit_test(damage_is_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
