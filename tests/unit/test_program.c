/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Lowering: bit-packed codes, what is refused and how that is said, the accumulator's proof, single
 * operators whose forms random networks seldom meet, replaced weights; and every allocation of the
 * whole way from ONNX bytes to outputs failing in turn.  That the integers are right: test_exec.
 */
#include "tiny_graph.h"

/* ------------------------------------------------------------------ packing */

static void packed_codes_come_back(void **state)
{
    (void)state;
    for (int bits = 1; bits <= 8; bits++)
        for (size_t n = 0; n <= 41; n++) {
            int8_t codes[41], back[41];
            uint8_t packed[64];
            int32_t lo, hi;
            bl_rng r = bl_rng_make(n, "codes", (uint64_t)bits);
            bl_weight_code_range(bits, false, &lo, &hi);
            for (size_t i = 0; i < n; i++) {
                codes[i] = (int8_t)(lo + (int32_t)bl_rng_below(&r, (uint64_t)(hi - lo + 1)));
                if (bits == 1) codes[i] = codes[i] > 0 ? 1 : -1;
                if (i < 2) codes[i] = (int8_t)(i ? lo : hi);
            }
            size_t bytes = bl_packed_bytes(n, bits);
            assert_int_equal(bytes, (n * (size_t)bits + 7) / 8);
            memset(packed, 0xa5, sizeof packed);
            bl_pack_codes(codes, n, bits, packed);
            for (size_t i = bytes; i < sizeof packed; i++) assert_int_equal(packed[i], 0xa5);
            bl_unpack_codes(packed, n, bits, back);
            assert_memory_equal(codes, back, n);
            for (size_t i = 0; i < n; i++) { /* low bits first, two's complement; one bit: 1 is +1 */
                unsigned code = 0;
                for (int k = 0; k < bits; k++) {
                    size_t at = i * (size_t)bits + (size_t)k;
                    code |= (packed[at / 8] >> at % 8 & 1u) << k;
                }
                assert_int_equal(code, bits == 1 ? codes[i] > 0 : (unsigned)codes[i] & ((1u << bits) - 1));
            }
        }
}

/* ------------------------------------------------------------------ lowering one small network */

typedef struct low {
    bl_ctx *ctx;
    bl_arena *a;
    bl_graph *g;
    bl_menu *menu;
    bl_plan *plan;
    bl_program *program;
    bl_exec *exec;
} low;

/* Plans with every value's range -3..4; the status is lowering's. */
static bl_status lower(onnx_build *b, int w_bits, int a_bits, low *out)
{
    bl_menu_options m = { .w_bits = { w_bits }, .n_w = 1, .a_bits = { a_bits }, .n_a = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "minmax" };
    int choice[256] = { 0 };
    *out = (low){ .ctx = b->ctx, .a = bl_arena_new(b->ctx, "lowering") };
    out->g = ob_prepared(b);
    bl_value_stats *value = BL_NEW(out->a, bl_value_stats, (size_t)out->g->n_values);
    bl_stats stats = { .n_values = out->g->n_values, .value = value };
    for (int v = 0; v < out->g->n_values; v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
    assert_ok(out->ctx, bl_menu_make(out->ctx, out->g, &m, &out->menu));
    assert_ok(out->ctx, bl_plan_make(out->ctx, out->g, out->menu, &stats, choice, &o, "test", &out->plan));
    return bl_lower(out->ctx, out->g, out->plan, NULL, &out->program);
}

static void low_free(low *l)
{
    bl_exec_free(l->exec);
    bl_program_free(l->program);
    bl_plan_free(l->plan);
    bl_menu_free(l->menu);
    bl_graph_free(l->g);
    bl_arena_free(l->a);
}

static const float *run(low *l, const float *x, size_t n)
{
    if (!l->exec) assert_ok(l->ctx, bl_exec_new(l->ctx, l->program, NULL, &l->exec));
    memcpy(bl_exec_input(l->exec, 0), x, n * sizeof *x);
    assert_ok(l->ctx, bl_exec_run(l->exec, NULL, NULL));
    return bl_exec_output(l->exec, 0);
}

static float on_grid(const low *l, const char *value, float x)
{
    const bl_quantizer *q = &l->plan->quantizers[l->plan->of_value[bl_graph_find_value(l->g, value)]];
    return bl_fake_quantize(x, bl_affine_grid(q));
}

/* An operator without a float form, as no row of ops.def is one. */
static bl_status lower_crippled(onnx_build *b, low *l)
{
    bl_status s = lower(b, 8, 8, l);
    assert_ok(l->ctx, s);
    bl_program_free(l->program);
    l->program = NULL;
    static bl_op crippled;
    crippled = *bl_op_find("", "Sub");
    crippled.forward = NULL;
    for (int i = 0; i < l->g->n_nodes; i++)
        if (!strcmp(l->g->nodes[i].op->name, "Sub")) l->g->nodes[i].op = &crippled;
    return bl_lower(l->ctx, l->g, l->plan, NULL, &l->program);
}

static void all_missing_operators_in_one_message(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    low l;
    char from[32] = "x", to[32], name[300];
    ob_input(b, "x", "N,2,4,4");
    ob_floats(b, "w", "3,2,1,1", NULL);
    ob_node(b, "Conv", "x,w", "a");
    ob_node(b, "Sub", "a,a", "s")->name = ob_text(b, "minus");
    ob_node(b, "Sub", "s,a", "t")->name = ob_text(b, "again");
    ob_output(b, "t");
    assert_fails(*state, lower_crippled(b, &l), BL_UNAVAILABLE, "2 nodes have no integer form");
    const char *what = bl_last_error(*state).what;
    assert_non_null(strstr(what, "Sub \"minus\""));
    assert_non_null(strstr(what, "Sub \"again\""));
    assert_null(strstr(what, "Conv"));
    low_free(&l);
    b = ob_new(*state, 13); /* a hundred with long names: one line all the same */
    ob_input(b, "x", "N,4");
    memset(name, 'n', sizeof name - 1);
    name[sizeof name - 1] = 0;
    for (int i = 0; i < 100; i++) {
        snprintf(to, sizeof to, "v%d", i);
        char in[80];
        snprintf(in, sizeof in, "%s,x", from);
        ob_node(b, "Sub", in, to)->name = ob_text(b, name);
        name[i % 50] = (char)('A' + i % 26);
        memcpy(from, to, sizeof from);
    }
    ob_output(b, "v99");
    assert_fails(*state, lower_crippled(b, &l), BL_UNAVAILABLE, "100 nodes");
    assert_null(strchr(bl_last_error(*state).what, '\n'));
    low_free(&l);
}

/* sum |w| * reach + |b| < 2^31 or not: 8-bit activations are refused, 16-bit ones take 64 bits. */
static void the_accumulator_is_proven(void **state)
{
    enum { MOST = 120000 }; /* reach is 146 codes of 8 bits, 37449 of 16 */
    float *w = malloc(MOST * sizeof *w);
    assert_non_null(w);
    for (int i = 0; i < MOST; i++) w[i] = i % 2 ? 1 : -1;
    for (int form = 0; form < 5; form++) {
        int k = form == 0 || form == 4 ? MOST : form == 1 ? 110000 : form == 2 ? 500 : 400;
        int a_bits = form < 2 || form == 4 ? 8 : 16;
        char dims[32], shape[32];
        onnx_build *b = ob_new(*state, 13);
        low l;
        snprintf(dims, sizeof dims, "1,%d", k);
        snprintf(shape, sizeof shape, "N,%d", k);
        ob_input(b, "x", shape);
        ob_floats(b, "w", dims, w);
        ob_int_attr(ob_node(b, "Gemm", "x,w", "y"), b, "transB", 1);
        ob_output(b, "y");
        if (form == 0) {
            assert_fails(*state, lower(b, 8, a_bits, &l), BL_UNAVAILABLE, "may overflow");
        } else { /* form 4: seven bits are fewer than eight */
            assert_ok(*state, lower(b, form == 4 ? 7 : 8, a_bits, &l));
            assert_int_equal(l.program->steps[1].contract, BL_C_CONV);
            assert_int_equal(l.program->steps[1].u.conv.s.acc64, form == 2);
        }
        low_free(&l);
    }
    free(w);
}

/* ------------------------------------------------------------------ single forms */

static void flatten_of_the_input_is_no_work(void **state)
{
    onnx_build *b = ob_new(*state, 13); /* one channel: channels-last is row-major */
    low l;
    float x[9] = { -3, 4, 0.5f, 1, 2, 3, -1, -2, 0.25f };
    ob_input(b, "x", "N,1,3,3");
    ob_node(b, "Flatten", "x", "y");
    ob_output(b, "y");
    assert_ok(*state, lower(b, 8, 8, &l));
    assert_int_equal(l.program->n_steps, 2);
    assert_int_equal(l.program->tensors[1].alias, 0);
    const float *y = run(&l, x, 9);
    for (int i = 0; i < 9; i++) assert_true(y[i] == on_grid(&l, "x", x[i]));
    low_free(&l);
    b = ob_new(*state, 13); /* two channels: one copy */
    ob_input(b, "x", "N,2,2,2");
    ob_node(b, "Flatten", "x", "y");
    ob_output(b, "y");
    assert_ok(*state, lower(b, 8, 8, &l));
    assert_int_equal(l.program->n_steps, 2); /* no window wants channels-last */
    y = run(&l, x, 8);
    for (int i = 0; i < 8; i++) assert_true(y[i] == on_grid(&l, "x", x[i]));
    low_free(&l);
    b = ob_new(*state, 13); /* behind a pool: one copy */
    ob_input(b, "x", "N,2,2,2");
    ob_ints_attr(ob_node(b, "MaxPool", "x", "p"), b, "kernel_shape", "1,1");
    ob_node(b, "Flatten", "p", "y");
    ob_output(b, "y");
    assert_ok(*state, lower(b, 8, 8, &l));
    assert_int_equal(l.program->n_steps, 4);
    y = run(&l, x, 8);
    for (int i = 0; i < 8; i++) assert_true(y[i] == on_grid(&l, "x", x[i]));
    low_free(&l);
}

static void negative_steps_and_cuts(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    low l;
    float x[24], fill = 2;
    for (int i = 0; i < 24; i++) x[i] = (float)i / 8 - 1;
    ob_input(b, "x", "N,2,3,4");
    ob_int64s(b, "from", "-1,-1,1");
    ob_int64s(b, "to", "-9,0,-1");
    ob_int64s(b, "axes", "-1,2,1");
    ob_int64s(b, "steps", "-2,-1,1");
    ob_int64s(b, "pads", "0,0,-1,1,0,0,1,0");
    ob_floats(b, "fill", "", &fill);
    ob_int64s(b, "to2", "-9,-9,2");
    ob_node(b, "Slice", "x,from,to2,axes,steps", "s"); /* channel 1, rows 2,1,0, columns 3,1 */
    ob_node(b, "Pad", "s,pads,fill", "y");               /* less its first row, a row behind, a column before */
    ob_output(b, "y");
    assert_ok(*state, lower(b, 8, 8, &l));
    const float *y = run(&l, x, 24);
    static const int from[9] = { -1, 19, 17, -1, 15, 13, -1, -1, -1 };
    for (int i = 0; i < 9; i++) assert_true(y[i] == on_grid(&l, "x", from[i] < 0 ? fill : x[from[i]]));
    low_free(&l);
}

static void clips_with_inputs(void **state)
{
    static const struct { float lo, hi; } bounds[] = { { -1, 2 }, { 0.5f, 0.5f }, { 3, 1 }, { -9, 9 } };
    float x[7] = { -3, -1, -0.3f, 0.6f, 1.7f, 2.2f, 4 };
    for (size_t i = 0; i < BL_COUNTOF(bounds); i++) {
        onnx_build *b = ob_new(*state, 13);
        low l;
        ob_input(b, "x", "N,7");
        ob_floats(b, "lo", "", &bounds[i].lo);
        ob_floats(b, "hi", "", &bounds[i].hi);
        ob_node(b, "Clip", "x,lo,hi", "y");
        ob_output(b, "y");
        assert_ok(*state, lower(b, 8, 8, &l));
        assert_int_equal(l.program->steps[1].contract, BL_C_TABLE);
        const float *y = run(&l, x, 7);
        for (int k = 0; k < 7; k++)
            assert_true(y[k] == on_grid(&l, "y", fminf(fmaxf(on_grid(&l, "x", x[k]), bounds[i].lo), bounds[i].hi)));
        low_free(&l);
    }
}

/* [Q9], [Q11]: one entry for every code of the container, those beyond the width like the last. */
static void tables_cover_the_container(void **state)
{
    for (int form = 0; form < 4; form++) {
        int bits = form < 2 ? 3 : 16;
        onnx_build *b = ob_new(*state, 14);
        low l;
        ob_input(b, "x", "N,5");
        ob_node(b, form % 2 ? "Sin" : "HardSwish", "x", "y");
        ob_output(b, "y");
        assert_ok(*state, lower(b, 8, bits, &l));
        const bl_step *s = &l.program->steps[1];
        const bl_grid gx = l.program->tensors[s->in[0]].grid, gy = l.program->tensors[s->out].grid;
        for (int i = 0; i < (bits == 16 ? 65536 : 256); i++) {
            float x = bl_dequantize(BL_MIN(i, gx.hi), gx), t = 1.0f / 6 * x;
            t = t + 0.5f;
            t = t < 0 ? 0 : t > 1 ? 1 : t;
            float want = form % 2 ? (float)sin((double)x) : x * t;
            const uint8_t *table = l.program->constants + s->u.table.table;
            assert_int_equal(bits == 16 ? ((const uint16_t *)(const void *)table)[i] : table[i], bl_quantize(want, gy));
        }
        low_free(&l);
    }
}

/* [Q12], vector 10 of arithmetic.md in its unsigned form, and with narrower codes. */
static void softmax_by_the_rule(void **state)
{
    for (int bits = 1; bits <= 8; bits++) {
        onnx_build *b = ob_new(*state, 13);
        low l;
        float x[4] = { 3.9f, 1, 0, -3 };
        ob_input(b, "x", "N,4");
        ob_node(b, "Softmax", "x", "y");
        ob_output(b, "y");
        assert_ok(*state, lower(b, 8, bits, &l));
        const bl_grid gx = l.program->tensors[0].grid;
        const float *y = run(&l, x, 4);
        double sx = (double)gx.scale, c = (log(3.4028234663852886e38 / 4) - 5) / sx;
        float sum = 0, e[4];
        for (int i = 0; i < 4; i++) {
            e[i] = (float)exp((bl_quantize(x[i], gx) - bl_quantize(x[0], gx) + c) * sx);
            sum = sum + e[i];
        }
        for (int i = 0; i < 4; i++) {
            float q = fminf(255, rintf(e[i] * 256 / sum));
            assert_true(y[i] == q / 256);
        }
        low_free(&l);
    }
}

static void equal_blobs_share_one_place(void **state)
{
    onnx_build *b = ob_new(*state, 13);
    low l;
    ob_input(b, "x", "N,2,3,3");
    ob_floats(b, "w", "2,2,3,3", NULL);
    for (int i = 0; i < 3; i++) {
        char in[16], out[8];
        snprintf(in, sizeof in, i ? "v%d,w" : "x,w", i - 1);
        snprintf(out, sizeof out, "v%d", i);
        ob_ints_attr(ob_node(b, "Conv", in, out), b, "pads", "1,1,1,1");
    }
    ob_output(b, "v2");
    assert_ok(*state, lower(b, 4, 8, &l));
    const bl_step *s = l.program->steps;
    assert_int_equal(s[1].u.conv.weights, s[2].u.conv.weights);
    assert_int_equal(s[1].u.conv.weights, s[3].u.conv.weights);
    assert_int_equal(s[1].u.conv.bias, s[3].u.conv.bias);
    assert_int_equal(s[1].u.conv.weights % 64, 0);
    json_t *j = bl_program_json(*state, l.program);
    assert_non_null(j);
    assert_int_equal(json_array_size(json_object_get(j, "steps")), 5);
    json_decref(j);
    low_free(&l);
}

static void replaced_weights_are_lowered(void **state)
{
    onnx_build *b = tiny_dense(*state, false);
    low l;
    float zeros[20] = { 0 }, bias[5] = { 1, 2, 3, -1, 0.5f }, x[4] = { 1, 2, -1, 0.5f };
    assert_ok(*state, lower(b, 8, 8, &l));
    bl_weight_item items[2] = { { .value = bl_graph_find_value(l.g, "a.w"), .data = zeros, .count = 20 },
                                { .value = bl_graph_find_value(l.g, "a.b"), .data = bias, .count = 5 } };
    bl_weights w = { .n_items = 2, .items = items };
    bl_program *plain = l.program;
    l.program = NULL;
    assert_ok(*state, bl_lower(l.ctx, l.g, l.plan, &w, &l.program));
    bl_program_free(plain);
    const float *unused = run(&l, x, 4);
    uint16_t codes[5];
    assert_non_null(unused);
    assert_ok(*state, bl_exec_step(l.exec, 0));
    assert_ok(*state, bl_exec_step(l.exec, 1));
    bl_exec_read(l.exec, (uint32_t)l.program->steps[1].out, codes);
    for (int i = 0; i < 5; i++) {
        bl_grid g = l.program->tensors[l.program->steps[1].out].grid;
        assert_true(fabsf(bl_dequantize(codes[i], g) - fmaxf(0, fminf(bias[i], 4))) <= g.scale);
    }
    low_free(&l);
}

/* ------------------------------------------------------------------ each allocation failing in turn */

/* From ONNX bytes to outputs; everything is freed whatever happens. */
static bl_status whole_way(bl_ctx *ctx, const uint8_t *bytes, size_t size, const char *plan_path, float *y)
{
    bl_graph *g = NULL, *p = NULL;
    bl_menu *m = NULL;
    bl_plan *plan = NULL, *back = NULL;
    bl_program *program = NULL;
    bl_exec *e = NULL;
    bl_fake *fake = NULL;
    bl_value_stats value[64];
    bl_stats stats = { .n_values = 64, .value = value };
    int choice[32] = { 0 };
    for (int v = 0; v < 64; v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
    bl_grid_options o = { .act_range = "minmax", .weight_range = "mse" };
    bl_status s = bl_import_bytes(ctx, "tiny.onnx", bytes, size, NULL, &g);
    if (s == BL_OK) s = bl_prepare(ctx, g, &p);
    if (s == BL_OK) s = bl_menu_make(ctx, p, NULL, &m);
    if (s == BL_OK) s = bl_plan_make(ctx, p, m, &stats, choice, &o, "test", &plan);
    if (s == BL_OK) s = bl_plan_write(ctx, p, plan, plan_path);
    if (s == BL_OK) s = bl_plan_read(ctx, p, plan_path, &back);
    if (s == BL_OK) s = bl_fake_new(ctx, p, back, NULL, &fake);
    if (s == BL_OK) s = bl_lower(ctx, p, back, NULL, &program);
    if (s == BL_OK) s = bl_exec_new(ctx, program, NULL, &e);
    for (int i = 0; s == BL_OK && i < 4; i++) bl_exec_input(e, 0)[i] = (float)(i - 1);
    if (s == BL_OK) s = bl_exec_run(e, NULL, NULL);
    if (s == BL_OK) memcpy(y, bl_exec_output(e, 0), 3 * sizeof *y);
    bl_exec_free(e);
    bl_program_free(program);
    bl_fake_free(fake);
    bl_plan_free(back);
    bl_plan_free(plan);
    bl_menu_free(m);
    bl_graph_free(p);
    bl_graph_free(g);
    return s;
}

static void every_allocation_fails_in_turn(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    char folder[256], path[300];
    size_t size;
    float want[3], y[3];
    (void)state;
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    snprintf(path, sizeof path, "%.256s/plan.json", test_folder(folder));
    onnx_build *b = tiny_dense(ctx, true);
    const uint8_t *bytes = ob_pack(b, &size);
    uint64_t before, now;
    bl_memory_use(ctx, &before, NULL);
    assert_ok(ctx, whole_way(ctx, bytes, size, path, want));
    long n = 1;
    for (;; n++) {
        ctx->fail_alloc = n;
        bl_status s = whole_way(ctx, bytes, size, path, y);
        bool failed = ctx->fail_alloc <= 0;
        ctx->fail_alloc = -1;
        bl_memory_use(ctx, &now, NULL);
        if (now != before) fail_msg("allocation %ld failed and %lld bytes leaked", n, (long long)(now - before));
        if (!failed) break;
        if (s == BL_OK) fail_msg("allocation %ld failed and nobody said so", n);
        if (s != BL_UNAVAILABLE)
            fail_msg("allocation %ld: %d: %s: %s", n, (int)s, bl_last_error(ctx).place, bl_last_error(ctx).what);
        assert_true(bl_last_error(ctx).what[0] != 0);
        assert_true(n < 100000);
    }
    assert_memory_equal(y, want, sizeof y);
    print_message("%ld allocations failed in turn\n", n - 1);
    assert_true(n > 100);
    ob_free(b);
    test_folder_remove(folder);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(packed_codes_come_back),
        cmocka_unit_test(all_missing_operators_in_one_message),
        cmocka_unit_test(the_accumulator_is_proven),
        cmocka_unit_test(flatten_of_the_input_is_no_work),
        cmocka_unit_test(negative_steps_and_cuts),
        cmocka_unit_test(clips_with_inputs),
        cmocka_unit_test(tables_cover_the_container),
        cmocka_unit_test(softmax_by_the_rule),
        cmocka_unit_test(equal_blobs_share_one_place),
        cmocka_unit_test(replaced_weights_are_lowered),
        cmocka_unit_test(every_allocation_fails_in_turn),
    };
    return cmocka_run_group_tests(tests, test_setup, test_teardown);
}
