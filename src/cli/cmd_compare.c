/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe compare: networks beside the first one on the same samples, what changed and how surely. */
#include "cli/contest.h"

#include <stdio.h>
#include <string.h>

enum { KEY_METRIC = 0x200, KEY_RECIPES, KEY_TARGETS, KEY_BUDGETS, KEY_SETTING, KEY_EVALUATE, KEY_EVALUATE_LIMIT };

/* A network with what it answered. */
typedef struct subject {
    bl_graph *graph;
    bl_program *program;
    bl_data *data;
    bl_eval_result outputs, figures; /* figures: by --metric, where that is not top1 */
    bool evaluated, measured, probabilities;
    bl_compare_result against;  /* the first one */
} subject;

typedef struct state {
    bl_cli cli;
    const char *metric;
    bl_contest contest;
    subject *of;                /* (args) */
} state;

static const struct argp_option options[] = {
    { "metric", KEY_METRIC, "NAME", 0, "top1, mse or reconstruction-auc", 1 },
    { NULL, 0, NULL, 0, "Recipes on one model:", 2 },
    { "recipes", KEY_RECIPES, "NAME[,NAME]", 0, "such as ohq,pmp,haq,amed,uniform: each in a folder under -o", 2 },
    { "target", KEY_TARGETS, "NAME[,NAME]", 0, "on each of these (here)", 2 },
    { "budget", KEY_BUDGETS, "METRIC=R[,R]", 0, "under each of these, such as latency=0.8,0.6 (repeat)", 2 },
    { "set", KEY_SETTING, "KEY=VALUE", 0, "a line on top of every recipe (repeat)", 2 },
    { "eval", KEY_EVALUATE, "SPEC", 0, "accuracy on this data set, read once a plan; without it SQNR on --data", 2 },
    { "eval-limit", KEY_EVALUATE_LIMIT, "N", 0, "its first N samples", 2 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    bl_contest *c = &s->contest;
    uint64_t n;
    switch (key) {
    case KEY_METRIC: s->metric = arg; return 0;
    case KEY_RECIPES: c->recipes = arg; return 0;
    case KEY_TARGETS: c->targets = arg; return 0;
    case KEY_EVALUATE: c->eval = arg; return 0;
    case KEY_BUDGETS:
        if (c->n_budgets == (int)BL_COUNTOF(c->budgets)) return bl_cli_bad(&s->cli, "--budget", arg, "give fewer");
        c->budgets[c->n_budgets++] = arg;
        return 0;
    case KEY_SETTING:
        if (c->n_set == (int)BL_COUNTOF(c->set)) return bl_cli_bad(&s->cli, "--set", arg, "give fewer");
        c->set[c->n_set++] = arg;
        return 0;
    case KEY_EVALUATE_LIMIT:
        if (!bl_parse_u64(arg, &n) || n < 1 || n > INT64_MAX) return bl_cli_bad(&s->cli, "--eval-limit", arg, "give a number of samples");
        c->eval_limit = (int64_t)n;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bool classifies(const state *s)
{
    return !s->metric || !strcmp(s->metric, "top1");
}

static bool ends_in_softmax(const subject *x)
{
    if (x->graph) return bl_metric_value(x->graph, 0) != x->graph->outputs[0];
    for (uint32_t i = x->program->n_steps; i > 0; i--)
        if (x->program->steps[i - 1].contract != BL_C_DEQUANTIZE) return x->program->steps[i - 1].contract == BL_C_SOFTMAX;
    return false;
}

static bl_status open_subject(state *s, subject *x, const char *path)
{
    bl_cli *cli = &s->cli;
    BL_TRY(bl_cli_model(cli, path, true, &x->graph, &x->program));
    BL_TRY(bl_cli_data(cli, x->graph, x->program, &x->data));
    x->probabilities = ends_in_softmax(x);
    bl_eval_subject e = { .graph = x->graph, .program = x->program };
    bl_eval_options o = { .limit = cli->data.limit, .scores = true, .outputs_only = !classifies(s) };
    BL_TRY(bl_eval(cli->ctx, &e, x->data, &o, &x->outputs));
    x->evaluated = true;
    if (classifies(s)) return BL_OK;
    o = (bl_eval_options){ .limit = cli->data.limit, .metric = s->metric };
    BL_TRY(bl_eval(cli->ctx, &e, x->data, &o, &x->figures));
    x->measured = true;
    return BL_OK;
}

static void add(json_t *o, const char *key, double v)
{
    if (isfinite(v)) json_object_set_new(o, key, bl_json_real(v));
}

static json_t *model_json(const state *s, const subject *x, const char *path)
{
    const bl_eval_result *r = x->measured ? &x->figures : &x->outputs;
    json_t *o = json_pack("{s:s, s:s}", "file", path, "kind", x->graph ? "float" : "integer");
    if (classifies(s)) {
        add(o, "top1", r->top1);
        add(o, "top5", r->top5);
    }
    add(o, "auc", r->auc);
    add(o, "mse", r->mse);
    return o;
}

static json_t *pair_json(const state *s, const subject *x, int i)
{
    const bl_compare_result *r = &x->against;
    json_t *o = json_pack("{s:s, s:s}", "a", s->cli.args[0], "b", s->cli.args[i]), *flips = json_object();
    add(o, "drop", r->drop);
    add(o, "drop_standard_error", r->drop_error);
    add(o, "drop_bound95", r->drop_bound95);
    if (classifies(s)) {
        json_object_set_new(flips, "total", json_integer(r->flips));
        if (!isnan(r->drop)) {
            json_object_set_new(flips, "better", json_integer(r->only_b));
            json_object_set_new(flips, "worse", json_integer(r->only_a));
            json_object_set_new(o, "mcnemar", json_pack("{s:I, s:I, s:o}", "only_a", (json_int_t)r->only_a, "only_b",
                                                        (json_int_t)r->only_b, "p", bl_json_real(r->p)));
        }
        json_object_set(o, "flips", flips);
    }
    json_decref(flips);
    add(o, "kl", r->kl);
    add(o, "sqnr_db", r->sqnr_db);
    json_object_set_new(o, "equal", json_boolean(r->equal));
    return o;
}

static json_t *answer_json(state *s)
{
    json_t *o = json_pack("{s:I, s:I}", "samples", (json_int_t)s->of[0].outputs.samples, "inputs",
                          (json_int_t)s->of[0].outputs.n_inputs);
    json_t *models = json_array(), *pairs = json_array();
    for (int i = 0; i < s->cli.n_args; i++) json_array_append_new(models, model_json(s, &s->of[i], s->cli.args[i]));
    for (int i = 1; i < s->cli.n_args; i++) json_array_append_new(pairs, pair_json(s, &s->of[i], i));
    json_object_set_new(o, "models", models);
    json_object_set_new(o, "pairs", pairs);
    return o;
}

/* A figure in a column; one that was not taken is a dash. */
static void cell(int width, const char *format, double v, const char *unit)
{
    char text[64] = "-";
    if (isfinite(v)) {
        int n = snprintf(text, sizeof text, format, v);
        if (n > 0 && (size_t)n < sizeof text) snprintf(text + n, sizeof text - (size_t)n, "%s", unit);
    }
    printf("  %*s", width, text);
}

static void print_answers(const bl_compare_result *r)
{
    char text[64] = "-";
    cell(8, "%+.2f", -100 * r->drop, "");
    cell(5, "%.2f", 100 * r->drop_error, "");
    cell(7, "%+.2f", -100 * r->drop_bound95, "");
    printf("  %6lld", (long long)r->flips);
    if (!isnan(r->drop)) snprintf(text, sizeof text, "%lld/%lld", (long long)r->only_b, (long long)r->only_a);
    printf("  %12s", text);
    cell(8, "%.3g", r->p, "");
    cell(9, "%.3g", r->kl, "");
}

static bl_status print_table(state *s)
{
    bool classes = classifies(s);
    printf("%lld samples; each model beside the first\n", (long long)s->of[0].outputs.samples);
    printf("%-32s  %8s", "model", classes ? "top-1" : s->metric);
    if (classes) printf("  %8s  %5s  %7s  %6s  %12s  %8s  %9s", "points", "s.e.", "95 %", "flips", "better/worse", "p", "KL");
    printf("  %8s\n", "SQNR");
    for (int i = 0; i < s->cli.n_args; i++) {
        const subject *x = &s->of[i];
        const char *name = s->cli.args[i];
        size_t n = strlen(name);
        printf("%-32s", n > 32 ? name + n - 32 : name);
        if (classes) cell(8, "%.2f", 100 * x->outputs.top1, " %");
        else cell(8, "%.5g", isnan(x->figures.auc) ? x->figures.mse : x->figures.auc, "");
        if (i && classes) print_answers(&x->against);
        if (i && x->against.equal) printf("  %8s", "equal");
        else if (i) cell(8, "%.2f", x->against.sqnr_db, " dB");
        printf("\n");
    }
    return BL_OK;
}

static bl_status compare(state *s)
{
    bl_cli *cli = &s->cli;
    s->of = BL_NEW(cli->arena, subject, (size_t)cli->n_args);
    BL_ALLOC_TRY(cli->ctx, s->of);
    for (int i = 0; i < cli->n_args; i++) {
        subject *a = &s->of[0], *b = &s->of[i];
        BL_TRY(open_subject(s, b, cli->args[i]));
        if (!i) continue;
        bool probabilities = a->probabilities || b->probabilities;
        bl_status st = bl_compare(cli->ctx, a->data, &a->outputs, &b->outputs, classifies(s), probabilities, &b->against);
        if (st != BL_OK) return bl_fail_within(cli->ctx, "%s", cli->args[i]);
    }
    bool text;
    BL_TRY(bl_cli_answer(cli, answer_json(s), &text));
    return text ? print_table(s) : BL_OK;
}

int bl_cmd_compare(int argc, char **argv)
{
    state s = { 0 };
    const bl_verb verb = { "compare", "A B... | RUNDIR... | MODEL.onnx [RUNDIR...]", "Models on the same samples, each beside the first: accuracy with its error, flips, KL, SQNR. "
                           "Finished runs, recipes on one model, or both: accuracy against latency, size, energy and EBOPs.",
                           "bitlathe compare net.onnx run/model.blp --data cifar:test.bin --mean 125,123,114 --std 63,62,67",
                           options, parse, true, 1, 16 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    if (code) return code;
    bl_status st = s.contest.recipes ? bl_contest_run(&s.cli, &s.contest) : bl_contest_is_run(&s.cli, s.cli.args[0]) ? bl_contest_of_runs(&s.cli)
                   : s.cli.n_args < 2 ? bl_fail(s.cli.ctx, BL_USAGE, s.cli.program, "give two models, or --recipes", "nothing to compare with")
                                      : compare(&s);
    for (int i = 0; s.of && i < s.cli.n_args; i++) {
        if (s.of[i].evaluated) bl_eval_free(&s.of[i].outputs);
        if (s.of[i].measured) bl_eval_free(&s.of[i].figures);
        bl_data_free(s.of[i].data);
        bl_program_free(s.of[i].program);
        bl_graph_free(s.of[i].graph);
    }
    return bl_cli_close(&s.cli, st);
}
