/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe bench: whole networks against the clock, interleaved; the first one twice (A/A). */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_SECONDS = 0x200, KEY_LAYERS, KEY_TURNS };
enum { TURN_MAX = 100000 };

typedef struct state {
    bl_cli cli;
    double seconds;
    bool layers, turns;
} state;

static const struct argp_option options[] = {
    { "seconds", KEY_SECONDS, "S", 0, "longest time in all (5)", 1 },
    { "layers", KEY_LAYERS, NULL, 0, "time of every step too", 1 },
    { "turns", KEY_TURNS, NULL, 0, "a number N on standard input: N runs of a program, their nanoseconds printed; till the end", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    if (key == KEY_LAYERS) s->layers = true;
    else if (key == KEY_TURNS) s->turns = true;
    if (key == KEY_LAYERS || key == KEY_TURNS) return 0;
    if (key != KEY_SECONDS) return ARGP_ERR_UNKNOWN;
    if (!bl_parse_f64(arg, &s->seconds) || !(s->seconds > 0) || s->seconds > 36000)
        return bl_cli_bad(&s->cli, "--seconds", arg, "give seconds, such as 5");
    return 0;
}

/* What the plan said that a program was made from, where it still lies as `quantize` left it: plan.json
 * beside model.blp, NAME.plan.json beside NAME.blp.  Another plan's word is none. */
static double predicted_ms(state *s, const char *path, const bl_program *p)
{
    const char *base = bl_path_base(path);
    size_t n = strlen(path), dir = n - strlen(base);
    if (n < 4 || strcmp(path + n - 4, ".blp")) return NAN;
    char *beside[] = { bl_format(s->cli.arena, "%.*splan.json", (int)dir, path),
                       bl_format(s->cli.arena, "%.*s.plan.json", (int)(n - 4), path) };
    for (int i = 0; i < 2; i++) {
        json_t *plan = beside[i] ? json_load_file(beside[i], JSON_REJECT_DUPLICATES, NULL) : NULL;
        const char *hash = json_string_value(json_object_get(plan, "hash"));
        json_t *ns = json_object_get(json_object_get(plan, "predicted"), "latency_ns");
        double ms = hash && !strcmp(hash, p->plan.hex) && json_is_number(ns) ? json_number_value(ns) * 1e-6 : NAN;
        json_decref(plan);
        if (!isnan(ms)) return ms;
    }
    return NAN;
}

/* Multiply-accumulates of a step. */
static double step_macs(const bl_step *st)
{
    if (st->contract == BL_C_CONV) {
        const bl_conv_shape *c = &st->u.conv.s;
        return (double)c->out_h * c->out_w * c->out_c * c->kernel_h * c->kernel_w * (c->in_c / c->groups);
    }
    if (st->contract != BL_C_MATMUL) return 0;
    double macs = (double)st->u.matmul.m * (double)st->u.matmul.n * (double)st->u.matmul.k;
    for (int d = 0; d < st->u.matmul.rank; d++) macs *= (double)st->u.matmul.size[d];
    return macs;
}

static json_t *layers_json(const bl_bench_item *it, const bl_exec *e)
{
    json_t *all = json_array();
    for (uint32_t i = 0; i < it->program->n_steps; i++) {
        const bl_step *st = &it->program->steps[i];
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:f, s:f}", "node", it->program->strings + st->name, "kind",
                                             bl_step_kind(st), "kernel", bl_exec_kernel(e, i), "q1_us", it->step_us[i],
                                             "macs", step_macs(st)));
    }
    return all;
}

static json_t *item_json(state *s, int i, const bl_bench_item *it, const char *isa)
{
    json_t *o = json_pack("{s:s, s:{s:f, s:f, s:f, s:f}, s:i, s:s, s:i}", "model", s->cli.args[i], "latency_ms", "median",
                          it->timing.median_ms, "p10", it->timing.p10_ms, "p90", it->timing.p90_ms, "q1", it->timing.q1_ms,
                          "runs", it->timing.runs, "isa", isa, "threads", (int)bl_threads(s->cli.ctx));
    if (it->program) {
        double predicted = predicted_ms(s, s->cli.args[i], it->program);
        if (!isnan(predicted)) {
            json_object_set_new(o, "predicted_ms", json_real(predicted));
            json_object_set_new(o, "prediction_error", json_real(predicted / it->timing.q1_ms - 1));
        }
        bl_exec_options eo = { .parallel = bl_threads(s->cli.ctx) > 1 };
        bl_exec *e;
        uint64_t promised, taken;
        if (bl_exec_new(s->cli.ctx, it->program, &eo, &e) == BL_OK) {
            bl_exec_memory(e, &promised, &taken);
            json_object_set_new(o, "promised_bytes", json_integer((json_int_t)promised));
            json_object_set_new(o, "peak_bytes", json_integer((json_int_t)taken));
            if (s->layers) json_object_set_new(o, "layers", layers_json(it, e));
            bl_exec_free(e);
        }
    }
    return o;
}

static json_t *answer_json(state *s, const bl_bench_item *items, int n, double aa, const char *isa)
{
    json_t *all = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(all, item_json(s, i, &items[i], isa));
    if (n > 1) return json_pack("{s:o, s:f, s:s}", "items", all, "aa_spread", aa, "cpu", bl_cpu_name());
    json_t *o = json_incref(json_array_get(all, 0)); /* one network: its object is the answer */
    json_object_set_new(o, "aa_spread", json_real(aa));
    json_decref(all);
    return o;
}

static bl_status show_layers(state *s, const bl_bench_item *it, const char *name)
{
    bl_exec_options eo = { .parallel = bl_threads(s->cli.ctx) > 1 };
    bl_exec *e;
    double sum = 0;
    if (!it->program) return BL_OK;
    BL_TRY(bl_exec_new(s->cli.ctx, it->program, &eo, &e));
    for (uint32_t i = 0; i < it->program->n_steps; i++) sum += it->step_us[i];
    printf("%-44.44s %10s %6s %8s  kernel\n", name, "us", "share", "GMAC/s");
    for (uint32_t i = 0; i < it->program->n_steps; i++) {
        const bl_step *st = &it->program->steps[i];
        double us = it->step_us[i], macs = step_macs(st);
        printf("%-10s %-33.33s %10.1f %5.1f%% ", bl_step_kind(st), it->program->strings + st->name, us, 100 * us / sum);
        if (macs > 0) printf("%8.1f  %s\n", macs / us * 1e-3, bl_exec_kernel(e, i));
        else printf("%8s  %s\n", "", bl_exec_kernel(e, i));
    }
    bl_exec_free(e);
    return BL_OK;
}

static bl_status show(state *s, const bl_bench_item *items, int n)
{
    bl_isa isa;
    bool text;
    BL_TRY(bl_isa_resolve(s->cli.ctx, &isa));
    double aa = items[n].timing.q1_ms / items[0].timing.q1_ms - 1;
    BL_TRY(bl_cli_answer(&s->cli, answer_json(s, items, n, aa, bl_isa_name(isa)), &text));
    if (!text) return BL_OK;
    printf("%-40s %10s %10s %10s %8s\n", bl_cpu_name(), "median ms", "p10", "p90", "ratio");
    for (int i = 0; i < n; i++) {
        const bl_timing *t = &items[i].timing;
        printf("%-40s %10.4f %10.4f %10.4f %8.3f\n", bl_path_base(s->cli.args[i]), t->median_ms, t->p10_ms, t->p90_ms,
               t->q1_ms / items[0].timing.q1_ms);
    }
    for (int i = 0; i < n; i++) {
        double predicted = items[i].program ? predicted_ms(s, s->cli.args[i], items[i].program) : NAN;
        if (!isnan(predicted))
            printf("%-40s predicted on one thread: %.4f ms (%+.1f %%)\n", bl_path_base(s->cli.args[i]), predicted,
                   100 * (predicted / items[i].timing.q1_ms - 1));
    }
    for (int i = 0; s->layers && i < n; i++) BL_TRY(show_layers(s, &items[i], bl_path_base(s->cli.args[i])));
    printf("first one again (A/A): %+.1f %%; %s, %u threads, batch 1\n", 100 * aa, bl_isa_name(isa), bl_threads(s->cli.ctx));
    return BL_OK;
}

/* Another process holds the stopwatch's turns, so that programs of different tools can be interleaved. */
static bl_status take_turns(state *s, bl_exec *e)
{
    char line[32];
    uint64_t n;
    while (fgets(line, sizeof line, stdin)) {
        line[strcspn(line, "\n")] = 0;
        if (!bl_parse_u64(line, &n) || n < 1 || n > TURN_MAX)
            return bl_fail(s->cli.ctx, BL_DATA, "standard input", "write lines with a number from 1 to 100000", "\"%s\" is none", line);
        for (uint64_t i = 0; i < n; i++) {
            uint64_t start = bl_now_ns();
            BL_TRY(bl_exec_run(e, NULL, NULL));
            printf("%s%llu", i ? " " : "", (unsigned long long)(bl_now_ns() - start));
        }
        printf("\n");
        fflush(stdout);
    }
    return BL_OK;
}

static void fill_input(bl_ctx *ctx, const bl_program *p, bl_exec *e)
{
    for (uint32_t i = 0; i < p->n_inputs; i++) {
        bl_rng r = bl_rng_make(ctx->options.seed, "bench", i);
        size_t n = 1;
        for (int d = 0; d < p->edges[i].rank; d++) n *= (size_t)p->edges[i].dim[d];
        for (size_t k = 0; k < n; k++) bl_exec_input(e, i)[k] = (float)bl_rng_normal(&r);
    }
}

static bl_status turns(state *s)
{
    bl_graph *g = NULL;
    bl_program *p = NULL;
    bl_exec *e = NULL;
    bl_status st = bl_cli_model(&s->cli, s->cli.args[0], true, &g, &p);
    if (st == BL_OK && (!p || s->cli.n_args > 1))
        st = bl_fail(s->cli.ctx, BL_USAGE, "--turns", "give one model.blp", "only a single program takes turns");
    bl_exec_options eo = { .parallel = bl_threads(s->cli.ctx) > 1 };
    if (st == BL_OK) st = bl_exec_new(s->cli.ctx, p, &eo, &e);
    if (st == BL_OK) {
        fill_input(s->cli.ctx, p, e);
        st = take_turns(s, e);
    }
    bl_exec_free(e);
    bl_program_free(p);
    bl_graph_free(g);
    return st;
}

static bl_status bench(state *s)
{
    int n = s->cli.n_args;
    bl_graph **g = BL_NEW(s->cli.arena, bl_graph *, (size_t)n);
    bl_program **p = BL_NEW(s->cli.arena, bl_program *, (size_t)n);
    bl_bench_item *items = BL_NEW(s->cli.arena, bl_bench_item, (size_t)n + 1);
    if (!g || !p || !items) return bl_pending(s->cli.ctx);
    bl_status st = BL_OK;
    for (int i = 0; st == BL_OK && i < n; i++) {
        st = bl_cli_model(&s->cli, s->cli.args[i], true, &g[i], &p[i]);
        items[i] = (bl_bench_item){ .program = p[i], .graph = g[i] };
    }
    items[n] = items[0];
    if (st == BL_OK) st = bl_bench(s->cli.ctx, s->cli.arena, items, (size_t)n + 1, bl_threads(s->cli.ctx) > 1, s->seconds > 0 ? s->seconds : 5);
    if (st == BL_OK) st = show(s, items, n);
    for (int i = 0; i < n; i++) {
        bl_program_free(p[i]);
        bl_graph_free(g[i]);
    }
    return st;
}

int bl_cmd_bench(int argc, char **argv)
{
    state s = { 0 };
    const bl_verb verb = { "bench", "MODEL.onnx|MODEL.blp...", "Times whole networks at batch 1, interleaved in one run.",
                           "bitlathe bench run/model.blp run/baselines/int8.blp --threads 1", options, parse, false, 1, 16 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, s.turns ? turns(&s) : bench(&s));
}
