/* SPDX-License-Identifier: BSD-3-Clause */
/* The straight way through the public header alone, as a program that uses the library walks it. */
#include <bitlathe.h>

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SAMPLES = 32, PIXELS = 28 * 28 };

static char folder[] = "/tmp/bitlathe-public-XXXXXX";

static void ok(bl_ctx *ctx, bl_status s)
{
    if (s != BL_OK) print_error("%s: %s\n", bl_last_error(ctx).place, bl_last_error(ctx).what);
    assert_int_equal(s, BL_OK);
}

static const char *path(const char *name)
{
    static char text[4][256];
    static int at;
    at = (at + 1) % 4;
    snprintf(text[at], sizeof text[at], "%s/%s", folder, name);
    return text[at];
}

static int make_folder(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    FILE *f = fopen(path("x.raw"), "wb");
    uint32_t r = 1;
    for (int i = 0; f && i < SAMPLES * PIXELS; i++) fputc((int)((r = r * 1664525u + 1013904223u) >> 24), f);
    return f ? fclose(f) : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    static const char *const names[] = { "x.raw", "plan.json", "model.blp", "model.qdq.onnx" };
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(path(names[i]));
    return rmdir(folder);
}

typedef struct records {
    bl_ctx *ctx;
    bl_graph *raw, *graph;
    bl_data *data;
    bl_menu *menu;
    bl_stats *stats;
    bl_sens *sens;
    bl_cost *cost;
} records;

static void open_records(records *r)
{
    char spec[300];
    bl_options o = bl_options_default();
    bl_data_options d = { 0 };
    o.threads = 2;
    ok(NULL, bl_ctx_new(&o, &r->ctx));
    ok(r->ctx, bl_import(r->ctx, "models/resnet8_fmnist.onnx", NULL, &r->raw));
    ok(r->ctx, bl_prepare(r->ctx, r->raw, &r->graph));
    snprintf(spec, sizeof spec, "raw:%s,u8,%dx1x28x28", path("x.raw"), SAMPLES);
    ok(r->ctx, bl_data_option(r->ctx, "data", spec, &d));
    ok(r->ctx, bl_data_option(r->ctx, "mean", "72.93", &d));
    ok(r->ctx, bl_data_option(r->ctx, "std", "90.015", &d));
    ok(r->ctx, bl_samples_open(r->ctx, &d, r->graph, NULL, &r->data));
    bl_menu_options m = bl_menu_options_default();
    m.n_w = 2;
    m.w_bits[0] = 4;
    m.w_bits[1] = 8;
    ok(r->ctx, bl_menu_make(r->ctx, r->graph, &m, &r->menu));
    ok(r->ctx, bl_calibrate(r->ctx, r->graph, r->data, NULL, &r->stats));
    bl_sense_options so = { .samples = 16 };
    bl_sense_input si = { r->graph, r->menu, r->stats, r->data, &so };
    ok(r->ctx, bl_sense(r->ctx, &si, &r->sens));
    ok(r->ctx, bl_measure(r->ctx, r->graph, r->menu, "counted", NULL, &r->cost));
}

static void close_records(records *r)
{
    bl_cost_free(r->cost);
    bl_sens_free(r->sens);
    bl_stats_free(r->stats);
    bl_menu_free(r->menu);
    bl_data_free(r->data);
    bl_graph_free(r->graph);
    bl_graph_free(r->raw);
    bl_ctx_free(r->ctx);
}

static bl_plan *search(records *r, const char *budget, bl_status expect)
{
    const char *budgets[] = { budget };
    bl_search_request q = { .graph = r->graph, .menu = r->menu, .stats = r->stats, .sens = r->sens, .cost = r->cost,
                            .budgets = budgets, .n_budgets = 1 };
    bl_plan *plan = NULL;
    assert_int_equal(bl_search(r->ctx, &q, &plan), expect);
    return plan;
}

static void check_ports(const bl_program *program)
{
    bl_port p = { 0 };
    assert_true(bl_program_input(program, 0, &p));
    assert_int_equal(p.count, PIXELS);
    assert_int_equal(p.rank, 4);
    assert_int_equal(p.shape[2], 28);
    assert_true(*p.name);
    assert_true(bl_program_output(program, 0, &p));
    assert_int_equal(p.count, 10);
    assert_false(bl_program_input(program, 1, &p));
    assert_false(bl_program_output(program, UINT32_MAX, &p));
    assert_int_equal(p.count, 10); /* untouched */
}

/* Without labels there is a count and nothing else; one subject, not two or none. */
static void check_accuracy(records *r, const bl_program *program)
{
    bl_accuracy a = { .top1 = -1 };
    assert_int_equal(bl_evaluate(r->ctx, r->graph, program, r->data, 0, &a), BL_USAGE);
    assert_int_equal(bl_evaluate(r->ctx, NULL, NULL, r->data, 0, &a), BL_USAGE);
    assert_int_equal(bl_evaluate(r->ctx, r->graph, NULL, r->data, -1, &a), BL_USAGE);
    assert_true(a.top1 == -1);
    ok(r->ctx, bl_evaluate(r->ctx, NULL, program, r->data, 9, &a));
    assert_int_equal(a.samples, 9);
    assert_true(isnan(a.top1) && isnan(a.top5));
    ok(r->ctx, bl_evaluate(r->ctx, r->graph, NULL, r->data, 0, &a));
    assert_int_equal(a.samples, SAMPLES);
}

static void check_figures(records *r, const bl_plan *plan)
{
    bl_plan *wide = search(r, "size=1.0", BL_OK);
    double size = bl_plan_predicted(plan, "size_bytes"), whole = bl_plan_predicted(wide, "size_bytes");
    assert_true(size > 0.4 * whole && size <= 0.6 * whole);
    assert_true(bl_plan_predicted(plan, "sqnr_db") > 5);
    assert_true(bl_plan_predicted(plan, "bops") < bl_plan_predicted(wide, "bops"));
    assert_true(isnan(bl_plan_predicted(plan, "latency_ns"))); /* the target has no clock */
    assert_true(isnan(bl_plan_predicted(plan, "taste")));
    bl_plan_free(wide);
}

/* The plan names what tuning made; the program of both differs from the plan's alone. */
static void test_tune(void **state)
{
    (void)state;
    records r = { 0 };
    bl_weights *w = NULL;
    bl_program *plain, *tuned;
    bl_exec *exec[2];
    float out[2][10];
    open_records(&r);
    bl_plan *plan = search(&r, "size=0.6", BL_OK);
    ok(r.ctx, bl_lower(r.ctx, r.graph, plan, NULL, &plain));
    assert_int_equal(bl_tune_plan(r.ctx, r.graph, plan, r.data, "taste", 0, &w), BL_USAGE);
    assert_int_equal(bl_tune_plan(r.ctx, r.graph, plan, r.data, NULL, -1, &w), BL_USAGE);
    assert_null(w);
    ok(r.ctx, bl_tune_plan(r.ctx, r.graph, plan, r.data, NULL, 0, &w));
    ok(r.ctx, bl_lower(r.ctx, r.graph, plan, w, &tuned));
    for (int k = 0; k < 2; k++) {
        ok(r.ctx, bl_exec_open(r.ctx, k ? tuned : plain, false, &exec[k]));
        for (int i = 0; i < PIXELS; i++) bl_exec_input(exec[k], 0)[i] = (float)(i % 19) / 8 - 1;
        ok(r.ctx, bl_exec_run(exec[k], NULL, NULL));
        memcpy(out[k], bl_exec_output(exec[k], 0), sizeof out[k]);
        bl_exec_free(exec[k]);
    }
    assert_memory_not_equal(out[0], out[1], sizeof out[0]);
    bl_program_free(tuned);
    bl_program_free(plain);
    bl_weights_free(w);
    bl_plan_free(plan);
    close_records(&r);
}

static void test_straight_way(void **state)
{
    (void)state;
    records r = { 0 };
    bl_plan *again;
    bl_program *program;
    bl_exec *one, *many;
    open_records(&r);
    bl_plan *plan = search(&r, "size=0.6", BL_OK);
    check_figures(&r, plan);
    ok(r.ctx, bl_plan_write(r.ctx, r.graph, plan, path("plan.json")));
    ok(r.ctx, bl_plan_read(r.ctx, r.graph, path("plan.json"), &again));
    ok(r.ctx, bl_export_qdq(r.ctx, r.graph, again, NULL, NULL, path("model.qdq.onnx")));
    ok(r.ctx, bl_lower(r.ctx, r.graph, again, NULL, &program));
    ok(r.ctx, bl_program_write(r.ctx, program, path("model.blp")));
    bl_program_free(program);
    ok(r.ctx, bl_program_open(r.ctx, path("model.blp"), &program));
    check_ports(program);
    check_accuracy(&r, program);
    ok(r.ctx, bl_exec_open(r.ctx, program, false, &one));
    ok(r.ctx, bl_exec_open(r.ctx, program, true, &many));
    for (int i = 0; i < PIXELS; i++) bl_exec_input(one, 0)[i] = bl_exec_input(many, 0)[i] = (float)(i % 19) / 8 - 1;
    ok(r.ctx, bl_exec_run(one, NULL, NULL));
    ok(r.ctx, bl_exec_run(many, NULL, NULL));
    assert_memory_equal(bl_exec_output(one, 0), bl_exec_output(many, 0), 10 * sizeof(float));
    bl_exec_free(one);
    bl_exec_free(many);
    bl_program_free(program);
    bl_plan_free(again);
    bl_plan_free(plan);
    close_records(&r);
}

static void test_infeasible_gives_the_nearest(void **state)
{
    (void)state;
    records r = { 0 };
    open_records(&r);
    bl_plan *plan = search(&r, "size=0.05", BL_GOAL);
    assert_non_null(plan);
    assert_non_null(strstr(bl_last_error(r.ctx).place, "size"));
    bl_plan_free(plan);
    assert_null(search(&r, "size=0", BL_USAGE));
    assert_null(search(&r, "latency=0.5", BL_USAGE)); /* the target has no clock */
    close_records(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_straight_way),
        cmocka_unit_test(test_tune),
        cmocka_unit_test(test_infeasible_gives_the_nearest),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
