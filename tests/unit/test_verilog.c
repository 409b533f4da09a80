/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Circuits and their Verilog: random fixed-point networks with every rounding and overflow give the
 * executor's integers cell by cell, in iverilog at several pipeline depths, and in the C beside them; names
 * of a model never become text of the hardware; a wrong vector is noticed.
 */
#include "emit/emit.h"
#include "emit/stream.h"
#include "fixed_build.h"

#include <unistd.h>

static bl_ctx *ctx;
static char folder[256];

static int setup(void **state)
{
    (void)state;
    ctx = test_ctx(1, 0);
    test_folder(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    test_folder_remove(folder);
    test_ctx_free(ctx);
    return 0;
}

static bl_fixed_net *random_net(bl_rng *r, int kind)
{
    static const int sizes[] = { 7, 6, 4 };
    if (kind % 4 == 0) return fixed_windows(ctx, r, BL_FIXED_MAX_POOL);
    if (kind % 4 == 1) return fixed_windows(ctx, r, BL_FIXED_AVERAGE_POOL);
    return fixed_dense(ctx, r, 9, sizes, 3, kind % 4 == 2 ? 0.2 : 0.7);
}

/* Tables of the design that the exporter makes when nothing else is asked for. */
static int64_t luts_of(const bl_fixed_net *net)
{
    bl_circuit_options o = { 0 };
    bl_circuit *c = NULL;
    bl_arena *a = bl_arena_new(ctx, "circuit");
    assert_ok(ctx, bl_circuit_make(a, net, &o, &c));
    int64_t luts = bl_circuit_luts(c);
    bl_arena_free(a);
    return luts;
}

static int64_t random_code(bl_rng *r, bl_fixed_grid g, bl_fixed_overflow overflow)
{
    if (!bl_grid_width(g)) return 0;
    int64_t top = ((int64_t)1 << (g.i + g.f)) - 1, lo = !g.k ? 0 : overflow == BL_SAT_SYM ? -top : -top - 1;
    return lo + (int64_t)bl_rng_below(r, (uint64_t)(top - lo + 1));
}

static void assert_circuit(const bl_fixed_net *net, const bl_circuit *c, bl_rng *r)
{
    int64_t *in = calloc((size_t)c->n_in, sizeof *in), *want = calloc((size_t)c->n_out, sizeof *want);
    int64_t *got = calloc((size_t)c->n_out, sizeof *got), *work = calloc(bl_fixed_work(net) + 1, sizeof *work);
    int64_t *values = calloc((size_t)c->n_cells + 1, sizeof *values);
    for (int run = 0; run < 60; run++) {
        for (int64_t i = 0; i < c->n_in; i++) in[i] = random_code(r, net->in[i], net->in_overflow);
        bl_fixed_run(net, in, want, work);
        bl_circuit_run(c, in, got, values);
        assert_memory_equal(got, want, (size_t)c->n_out * sizeof *got);
        for (int k = 0; k < c->n_cells; k++) assert_true(values[k] >= c->cells[k].lo && values[k] <= c->cells[k].hi);
    }
    free(in), free(want), free(got), free(work), free(values);
}

static void circuits(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(7, "circuits", 0);
    for (int n = 0; n < 60; n++) {
        bl_fixed_net *net = random_net(&r, n);
        bl_arena *a = bl_arena_new(ctx, "test");
        bl_circuit_options o = { .pipeline = n % 5, .extra_depth = n % 4 - 1, .unshared = n % 7 == 0 };
        bl_circuit *c;
        assert_ok(ctx, bl_circuit_make(a, net, &o, &c));
        assert_circuit(net, c, &r);
        assert_int_equal(c->stages, o.pipeline ? (BL_MAX(c->depth, 1) + o.pipeline - 1) / o.pipeline : 0);
        bl_arena_free(a);
        bl_fixed_free(net);
    }
}

/* ------------------------------------------------------------------ streams */

/* A convolution with padding and stride, a pool with padding, a grouped convolution, two dense layers or none: one grid a
 * channel. */
static bl_fixed_net *stream_net(bl_rng *r, bool dense_behind)
{
    bl_fixed_net *net;
    int n = dense_behind ? 5 : 2;
    bool max = bl_rng_below(r, 2), pad = dense_behind && bl_rng_below(r, 2), ever = dense_behind && bl_rng_below(r, 2);
    assert_ok(ctx, bl_fixed_new(ctx, "stream", n, (int32_t[]){ 3, 9, 8 }, &net));
    fixed_random_input(net, r);
    for (int64_t i = 0; i < net->n_in; i++) net->in[i] = net->in[i / 72 * 72];
    bl_fixed_layer *l = net->layers;
    l[0] = (bl_fixed_layer){ .kind = BL_FIXED_CONV, .out_c = 4, .out_h = pad ? 9 : 7, .out_w = pad ? 8 : 6, .kernel_h = 3, .kernel_w = 3,
                             .stride_h = 1, .stride_w = 1, .pad_top = pad, .pad_left = pad, .groups = 1, .relu = true };
    l[1] = (bl_fixed_layer){ .kind = max ? BL_FIXED_MAX_POOL : BL_FIXED_AVERAGE_POOL, .out_c = 4, .out_h = 3, .out_w = 3, .kernel_h = 2,
                             .kernel_w = 2, .stride_h = 2, .stride_w = 2, .pad_top = ever, .pad_left = ever, .groups = 1 };
    if (dense_behind) {
        l[2] = (bl_fixed_layer){ .kind = BL_FIXED_CONV, .out_c = 6, .out_h = 3, .out_w = 2, .kernel_h = 1, .kernel_w = 2, .stride_h = 1,
                                 .stride_w = 1, .groups = 2, .relu = true };
        for (int i = 3; i < 5; i++)
            l[i] = (bl_fixed_layer){ .kind = BL_FIXED_DENSE, .out_c = 5, .out_h = 1, .out_w = 1, .kernel_h = 1, .kernel_w = 1,
                                     .stride_h = 1, .stride_w = 1, .groups = 1, .relu = i == 3 };
    }
    for (int i = 0; i < n; i++) {
        assert_ok(ctx, bl_fixed_shape(ctx, net, i));
        fixed_random_layer(&l[i], r, 0.4);
        int64_t plane = (int64_t)l[i].out_h * l[i].out_w;
        for (int64_t e = 0; e < l[i].n_out; e++) l[i].out[e] = l[i].out[e / plane * plane];
    }
    if (dense_behind && bl_rng_below(r, 2)) assert_ok(ctx, bl_fixed_prune(ctx, net));
    else assert_ok(ctx, bl_fixed_finish(ctx, net));
    return net;
}

/* Pruning may leave a channel grids that no one grid can stand for; most networks are streams. */
static void streams(void **state)
{
    (void)state;
    bl_rng r = bl_rng_make(12, "streams", 0);
    int made = 0;
    for (int n = 0; n < 60; n++) {
        bl_fixed_net *net = stream_net(&r, n % 4 != 0);
        bl_arena *a = bl_arena_new(ctx, "test");
        bl_circuit_options o = { .pipeline = n % 4, .extra_depth = 1 };
        bl_stream *s = NULL;
        bl_status st = bl_stream_make(a, net, &o, &s);
        if (st != BL_OK) assert_fails(ctx, st, BL_UNAVAILABLE, "different grids");
        made += st == BL_OK;
        const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
        int64_t *in = calloc((size_t)net->n_in, sizeof *in), *want = calloc((size_t)last->n_out, sizeof *want);
        int64_t *got = calloc((size_t)last->n_out, sizeof *got), *work = calloc(bl_fixed_work(net) + 1, sizeof *work);
        int64_t *values = st == BL_OK ? calloc(bl_stream_work(s), sizeof *values) : NULL;
        for (int run = 0; run < 20 && st == BL_OK; run++) {
            for (int64_t i = 0; i < net->n_in; i++) in[i] = random_code(&r, net->in[i], net->in_overflow);
            bl_fixed_run(net, in, want, work);
            bl_stream_run(s, in, got, values);
            assert_memory_equal(got, want, (size_t)last->n_out * sizeof *got);
        }
        free(in), free(want), free(got), free(work), free(values);
        bl_stream_free(s);
        bl_arena_free(a);
        bl_fixed_free(net);
    }
    assert_true(made >= 40);
    bl_fixed_net *flat = random_net(&r, 2);
    bl_export_options o = { .stream = true };
    assert_fails(ctx, bl_export_fixed_verilog(ctx, flat, &o, folder), BL_UNAVAILABLE, "begins with");
    bl_fixed_free(flat);
}

/* ------------------------------------------------------------------ simulated */

static bool have(const char *tool)
{
    char command[128];
    snprintf(command, sizeof command, "command -v %s >/dev/null 2>&1", tool);
    return system(command) == 0;
}

static int run_command(char *answer, size_t size, const char *format, ...) BL_PRINTF(3, 4);
static int run_command(char *answer, size_t size, const char *format, ...)
{
    char text[2048];
    va_list a;
    va_start(a, format);
    vsnprintf(text, sizeof text, format, a);
    va_end(a);
    FILE *f = popen(text, "r");
    assert_non_null(f);
    size_t n = fread(answer, 1, size - 1, f);
    answer[n] = 0;
    return pclose(f);
}

static void assert_simulated(const char *dir, const char *wanted)
{
    char answer[4096];
    if (run_command(answer, sizeof answer, "cd '%s' && iverilog -g2001 -Wall -Wno-timescale -o sim tb.v net.v 2>&1", dir) != 0 || answer[0])
        fail_msg("iverilog: %s", answer);
    assert_int_equal(run_command(answer, sizeof answer, "cd '%s' && vvp -n sim", dir), 0);
    if (!strstr(answer, wanted)) fail_msg("%s: %s", dir, answer);
}

static void simulated(void **state)
{
    (void)state;
    if (!have("iverilog")) {
        print_message("skipped: iverilog: not installed\n");
        skip();
    }
    bl_rng r = bl_rng_make(8, "simulated", 0);
    for (int n = 0; n < 12; n++) {
        char dir[300];
        snprintf(dir, sizeof dir, "%s/sim%d", folder, n);
        bl_fixed_net *net = random_net(&r, n);
        bl_export_options o = { .pipeline = n % 4, .extra_depth = n % 3, .unshared = n == 9 };
        assert_ok(ctx, bl_export_fixed_verilog(ctx, net, &o, dir));
        assert_simulated(dir, "256 samples, 0 wrong");
        bl_fixed_free(net);
    }
    for (int n = 0; n < 5; n++) {
        char dir[300];
        snprintf(dir, sizeof dir, "%s/stream%d", folder, n);
        bl_fixed_net *net = stream_net(&r, n != 3);
        bl_export_options o = { .pipeline = n % 4, .stream = true };
        bl_status st = bl_export_fixed_verilog(ctx, net, &o, dir);
        if (st == BL_OK) assert_simulated(dir, "16 samples, 0 wrong");
        else assert_fails(ctx, st, BL_UNAVAILABLE, "different grids");
        bl_fixed_free(net);
    }
    /* The bench notices one wrong digit. */
    char answer[4096], dir[300];
    snprintf(dir, sizeof dir, "%s/sim3", folder);
    assert_int_equal(run_command(answer, sizeof answer, "cd '%s' && awk 'NR==9 { c = substr($0, length($0)); sub(/.$/, c == \"0\" ? \"1\" : \"0\") } 1' "
                                 "vectors_out.hex >new && mv new vectors_out.hex", dir), 0);
    assert_simulated(dir, "256 samples, 1 wrong");
}

/* ------------------------------------------------------------------ C */

static void write_c_main(const char *dir, const bl_fixed_net *net, bl_rng *r)
{
    char path[320];
    const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
    int64_t *in = calloc((size_t)net->n_in, sizeof *in), *out = calloc((size_t)last->n_out, sizeof *out);
    int64_t *work = calloc(bl_fixed_work(net) + 1, sizeof *work);
    snprintf(path, sizeof path, "%s/main.c", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#include \"net_fixed.h\"\nstatic int64_t work[NET_FIXED_WORK];\nstatic const int64_t v[][NET_FIXED_IN + NET_FIXED_OUT] = {\n");
    for (int run = 0; run < 40; run++) {
        for (int64_t i = 0; i < net->n_in; i++) in[i] = random_code(r, net->in[i], net->in_overflow);
        bl_fixed_run(net, in, out, work);
        fprintf(f, "{ ");
        for (int64_t i = 0; i < net->n_in; i++) fprintf(f, "%lld, ", (long long)in[i]);
        for (int64_t i = 0; i < last->n_out; i++) fprintf(f, "%lld, ", (long long)out[i]);
        fprintf(f, "},\n");
    }
    fprintf(f, "};\nint main(void)\n{\n    int64_t y[NET_FIXED_OUT];\n    for (int n = 0; n < 40; n++) {\n"
               "        net_fixed_run(work, v[n], y);\n        for (int i = 0; i < NET_FIXED_OUT; i++)\n"
               "            if (y[i] != v[n][NET_FIXED_IN + i]) return 1;\n    }\n    return 0;\n}\n");
    assert_int_equal(fclose(f), 0);
    free(in), free(out), free(work);
}

static void in_c(void **state)
{
    (void)state;
    if (!have("cc")) {
        print_message("skipped: cc: not installed\n");
        skip();
    }
    bl_rng r = bl_rng_make(9, "c", 0);
    for (int n = 0; n < 8; n++) {
        char dir[300], answer[4096];
        snprintf(dir, sizeof dir, "%s/c%d", folder, n);
        bl_fixed_net *net = random_net(&r, n);
        assert_ok(ctx, bl_make_dir(ctx, dir));
        assert_ok(ctx, bl_fixed_c_write(ctx, net, dir));
        write_c_main(dir, net, &r);
        if (run_command(answer, sizeof answer, "cd '%s' && cc -std=c99 -Wall -Wextra -pedantic -Werror -o net net_fixed.c main.c 2>&1", dir))
            fail_msg("cc: %s", answer);
        assert_int_equal(run_command(answer, sizeof answer, "cd '%s' && ./net", dir), 0);
        bl_fixed_free(net);
    }
}

/* ------------------------------------------------------------------ names, refusals */

static void names(void **state)
{
    (void)state;
    char dir[300], answer[4096];
    bl_rng r = bl_rng_make(10, "names", 0);
    bl_fixed_net *net = random_net(&r, 2);
    net->name = "*/ module evil; endmodule /* \n`include \"x\"";
    net->layers[0].name = "*/ initial $finish; /*\\\n";
    snprintf(dir, sizeof dir, "%s/names", folder);
    assert_ok(ctx, bl_export_fixed_verilog(ctx, net, NULL, dir));
    assert_int_equal(run_command(answer, sizeof answer, "cd '%s' && grep -lE '\\*/ (module|initial)|`include|finish; /' net.v tb.v net_fixed.c net_fixed.h README.txt", dir) != 0, 1);
    assert_string_equal(answer, "");
    bl_fixed_free(net);
}

static void refused(void **state)
{
    (void)state;
    char dir[300];
    bl_rng r = bl_rng_make(11, "refused", 0);
    bl_fixed_net *net = random_net(&r, 2);
    snprintf(dir, sizeof dir, "%s/file", folder);
    FILE *f = fopen(dir, "w");
    assert_int_equal(fclose(f), 0);
    assert_fails(ctx, bl_export_fixed_verilog(ctx, net, NULL, dir), BL_CANTCREATE, "file");
    /* Too large: nothing is made.  A file that cannot be written: nothing of the others stays. */
    bl_export_options small = { .luts_max = 3 };
    snprintf(dir, sizeof dir, "%s/large", folder);
    assert_fails(ctx, bl_export_fixed_verilog(ctx, net, &small, dir), BL_UNAVAILABLE, "before sums are shared");
    small.luts_max = luts_of(net) - 1;
    assert_fails(ctx, bl_export_fixed_verilog(ctx, net, &small, dir), BL_UNAVAILABLE, "more than the limit of ");
    assert_int_equal(access(dir, F_OK), -1);
    snprintf(dir, sizeof dir, "%s/part/net.v", folder);
    assert_ok(ctx, bl_make_dir(ctx, dir));
    snprintf(dir, sizeof dir, "%s/part", folder);
    assert_int_not_equal(bl_export_fixed_verilog(ctx, net, NULL, dir), BL_OK);
    snprintf(dir, sizeof dir, "%s/part/tb.v", folder);
    assert_int_equal(access(dir, F_OK), -1);
    bl_fixed_free(net);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(circuits), cmocka_unit_test(streams), cmocka_unit_test(simulated), cmocka_unit_test(in_c),
        cmocka_unit_test(names),    cmocka_unit_test(refused),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
