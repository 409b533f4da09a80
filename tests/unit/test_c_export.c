/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Exported C: compiled as strict C99 and run on samples, it gives the executor's outputs bit for bit, for
 * random networks and widths; floats between codes are refused by name, and nothing half-written stays.
 */
#include "emit/emit.h"
#include "tiny_graph.h"

#include <math.h>

enum { RUNS = 3 };

static bool have_compiler(void)
{
    return system("cc --version >/dev/null 2>&1") == 0;
}

/* A main() that reads the inputs of RUNS runs from a file and writes the outputs to another. */
static void write_main(const tiny *t, const bl_program *p)
{
    char path[320];
    snprintf(path, sizeof path, "%s/main.c", t->folder);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "#include \"net.h\"\n#include <stdio.h>\nstatic net_memory memory;\n");
    fprintf(f, "int main(int argc, char **argv)\n{\n    FILE *in = fopen(argv[1], \"rb\"), *out = fopen(argv[2], \"wb\");\n");
    fprintf(f, "    static float x[NET_IN0];\n");
    for (uint32_t o = 0; o < p->n_outputs; o++) fprintf(f, "    static float y%u[NET_OUT%u];\n", o, o);
    fprintf(f, "    (void)argc;\n    while (fread(x, sizeof x, 1, in) == 1) {\n        net_run(&memory, x");
    for (uint32_t o = 0; o < p->n_outputs; o++) fprintf(f, ", y%u", o);
    fprintf(f, ");\n");
    for (uint32_t o = 0; o < p->n_outputs; o++) fprintf(f, "        fwrite(y%u, sizeof y%u, 1, out);\n", o, o);
    fprintf(f, "    }\n    return fclose(out);\n}\n");
    assert_int_equal(fclose(f), 0);
}

static void run_command(const char *format, ...) BL_PRINTF(1, 2);
static void run_command(const char *format, ...)
{
    char text[2048];
    va_list a;
    va_start(a, format);
    vsnprintf(text, sizeof text, format, a);
    va_end(a);
    if (system(text) != 0) fail_msg("failed: %s", text);
}

/* Samples through the executor: inputs to in.bin, its outputs to want.bin. */
static void run_executor(tiny *t, const bl_program *p)
{
    char in_path[320], want_path[320];
    bl_exec *e;
    bl_rng r = bl_rng_make(5, "inputs", 0);
    snprintf(in_path, sizeof in_path, "%s/in.bin", t->folder);
    snprintf(want_path, sizeof want_path, "%s/want.bin", t->folder);
    FILE *in = fopen(in_path, "wb"), *want = fopen(want_path, "wb");
    assert_true(in && want);
    assert_ok(t->ctx, bl_exec_open(t->ctx, p, false, &e));
    for (int k = 0; k < RUNS; k++) {
        bl_port port;
        assert_true(bl_program_input(p, 0, &port));
        float *x = bl_exec_input(e, 0);
        for (size_t i = 0; i < port.count; i++) x[i] = (float)(2 * bl_rng_normal(&r)); /* some beyond the grids */
        assert_int_equal(fwrite(x, sizeof *x, port.count, in), port.count);
        assert_ok(t->ctx, bl_exec_run(e, NULL, NULL));
        for (uint32_t o = 0; bl_program_output(p, o, &port); o++)
            assert_int_equal(fwrite(bl_exec_output(e, o), sizeof(float), port.count, want), port.count);
    }
    bl_exec_free(e);
    assert_int_equal(fclose(in) + fclose(want), 0);
}

static void make_plan(tiny *t, uint64_t seed, int a_bits)
{
    bl_menu_options o = bl_menu_options_default();
    bl_rng r = bl_rng_make(seed, "widths", 0);
    o.keep_ends = false;
    o.n_w = 8;
    for (int b = 0; b < 8; b++) o.w_bits[b] = b + 1;
    o.n_a = 1;
    o.a_bits[0] = a_bits;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    for (int u = 0; u < t->menu->n_units; u++)
        t->choice[u] = (int)bl_rng_below(&r, (uint64_t)t->menu->units[u].n_candidates);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "test", &t->plan));
}

/* LayerNormalization over the channels and over all, at every width; a factor of one element, which is in a table then. */
static onnx_build *normalising(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 17);
    ob_input(b, "x", "N,5,7,12");
    ob_positive(b, "scale", "12");
    ob_floats(b, "bias", "12", NULL);
    ob_floats(b, "w", "4,5,1,1", NULL);
    ob_floats(b, "all", "4,7,12", NULL);
    ob_node(b, "LayerNormalization", "x,scale,bias", "n");
    ob_positive(b, "half", "1");
    ob_node(b, "Conv", "n,w", "c");
    ob_node(b, "Sigmoid", "c", "s");
    ob_node(b, "Mul", "s,half", "h");
    ob_int_attr(ob_node(b, "LayerNormalization", "h,all", "y"), b, "axis", 1);
    ob_output(b, "y");
    return b;
}

/* Gives whether there was C to compare; a network by its seed, or where that is SIZE_MAX the one above. */
static bool check_network(uint64_t seed, int a_bits, const char *flags)
{
    bool compared = false;
    tiny *t = calloc(1, sizeof *t);
    bl_program *p = NULL;
    char path[300];
    t->ctx = test_ctx(1, 0);
    test_folder(t->folder);
    t->g = ob_prepared(seed == SIZE_MAX ? normalising(t->ctx) : tiny_random(t->ctx, seed));
    t->data = tiny_data(t, 8, seed, false);
    assert_ok(t->ctx, bl_calibrate(t->ctx, t->g, t->data, NULL, &t->stats));
    make_plan(t, seed, a_bits);
    bl_status lowered = bl_lower(t->ctx, t->g, t->plan, NULL, &p);
    snprintf(path, sizeof path, "%s/net.c", t->folder);
    if (lowered == BL_OK && p->n_islands) {
        assert_fails(t->ctx, bl_export_c(t->ctx, t->g, t->plan, NULL, NULL, path), BL_UNAVAILABLE, "no C form");
        assert_int_not_equal(access(path, F_OK), 0);
    } else if (lowered == BL_OK) { /* some widths cannot be proven: refused by lowering itself */
        assert_ok(t->ctx, bl_export_c(t->ctx, t->g, t->plan, NULL, NULL, path));
        write_main(t, p);
        run_executor(t, p);
        run_command("cd %s && cc -std=c99 -Wall -Wextra -Wno-unknown-pragmas -Werror %s net.c main.c -o net -lm && ./net in.bin got.bin "
                    "&& cmp got.bin want.bin", t->folder, flags);
        compared = true;
    }
    bl_program_free(p);
    tiny_free(t);
    return compared;
}

/* The first n networks that have a C form. */
static void compare_some(int n, int a_bits, const char *flags)
{
    int compared = 0;
    for (uint64_t seed = 0; seed < 100 && compared < n; seed++) compared += check_network(seed, a_bits, flags);
    assert_int_equal(compared, n);
}

static void test_compiled_c_gives_the_same_bits(void **state)
{
    (void)state;
    if (!have_compiler()) {
        printf("skipped: test_compiled_c_gives_the_same_bits: no cc\n");
        skip();
    }
    /* with -march=native products and sums must not be contracted */
    compare_some(8, 8, "-O1");
    compare_some(2, 16, "-O1");
    compare_some(3, 8, "-O2 -march=native");
    compare_some(2, 5, "-O0 -fsanitize=undefined -fno-sanitize-recover=all");
    assert_true(check_network(SIZE_MAX, 8, "-O2 -march=native") && check_network(SIZE_MAX, 16, "-O1"));
}

static void test_names_and_refusals(void **state)
{
    tiny *t = tiny_new_net(1, tiny_residual, 8);
    char path[300];
    (void)state;
    make_plan(t, 1, 8);
    snprintf(path, sizeof path, "%s/net.txt", t->folder);
    assert_fails(t->ctx, bl_export_c(t->ctx, t->g, t->plan, NULL, NULL, path), BL_USAGE, "not the name of a C file");
    snprintf(path, sizeof path, "%s/3 odd-name.c", t->folder);
    assert_ok(t->ctx, bl_export_c(t->ctx, t->g, t->plan, NULL, NULL, path));
    snprintf(path, sizeof path, "%s/3 odd-name.h", t->folder);
    char *text = test_slurp(path, NULL);
    assert_non_null(strstr(text, "void net_3_odd_name_run("));
    free(text);
    snprintf(path, sizeof path, "%s/nowhere/net.c", t->folder);
    assert_int_equal(bl_export_c(t->ctx, t->g, t->plan, NULL, NULL, path), BL_CANTCREATE);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_compiled_c_gives_the_same_bits),
        cmocka_unit_test(test_names_and_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
