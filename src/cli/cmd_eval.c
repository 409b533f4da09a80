/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe eval: accuracy of a float network, a network under a plan, or a program. */
#include "cli/shard.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { KEY_PREDICTIONS = 0x200, KEY_SCORES, KEY_METRIC, KEY_PLAN, KEY_WEIGHTS, KEY_REFERENCE, KEY_SHARD };

typedef struct state {
    bl_cli cli;
    bl_shard shard;
    const char *predictions, *scores, *plan, *weights;
    bl_eval_options o;
} state;

static const struct argp_option options[] = {
    { "predictions", KEY_PREDICTIONS, "FILE", 0, "argmax of each input, little-endian uint16", 1 },
    { "scores", KEY_SCORES, "FILE", 0, "the first output as float32", 1 },
    { "metric", KEY_METRIC, "NAME", 0, "top1, mse or reconstruction-auc", 1 },
    { "plan", KEY_PLAN, "FILE", 0, "a float network quantized by this plan.json", 1 },
    { "weights", KEY_WEIGHTS, "FILE", 0, "weights.blw that the plan names (the one beside it)", 1 },
    { "shard", KEY_SHARD, "I/N", 0, "only the I-th of N parts of the samples: counts for `bitlathe merge`", 1 },
    { "reference", KEY_REFERENCE, NULL, 0, "plain reference operators", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    switch (key) {
    case KEY_PREDICTIONS: s->predictions = arg; return 0;
    case KEY_SCORES: s->scores = arg; return 0;
    case KEY_METRIC: s->o.metric = arg; return 0;
    case KEY_PLAN: s->plan = arg; return 0;
    case KEY_WEIGHTS: s->weights = arg; return 0;
    case KEY_SHARD:
        if (!bl_shard_parse(arg, &s->shard)) return bl_cli_bad(&s->cli, "--shard", arg, "write --shard 1/4");
        return 0;
    case KEY_REFERENCE: s->o.reference = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static void add_figure(json_t *o, const char *key, double v)
{
    if (!isnan(v)) json_object_set_new(o, key, bl_json_real(v));
}

/* Counts, and what was asked: parts of the same fit together. */
static bl_status print_part(state *s, const bl_data *data, const bl_eval_result *r)
{
    bool text;
    char *of = bl_format(s->cli.arena, "%s %s %s %lld", s->cli.args[0], s->plan ? s->plan : "", bl_data_hash(data).hex, (long long)s->cli.data.limit);
    BL_ALLOC_TRY(s->cli.ctx, of);
    json_t *o = json_pack("{s:i, s:i, s:s, s:I}", "part", s->shard.at, "parts", s->shard.of, "of", bl_hash_of(of, strlen(of)).hex, "samples",
                          (json_int_t)r->samples);
    if (!isnan(r->top1)) json_object_set_new(o, "top1_hits", json_integer((json_int_t)llround(r->top1 * (double)r->n_inputs)));
    if (!isnan(r->top5)) json_object_set_new(o, "top5_hits", json_integer((json_int_t)llround(r->top5 * (double)r->n_inputs)));
    BL_TRY(bl_cli_answer(&s->cli, o, &text));
    if (text) printf("part %d of %d: %lld samples, top-1 %.2f %%\n", s->shard.at, s->shard.of, (long long)r->samples, 100 * r->top1);
    return BL_OK;
}

static bl_status print_result(state *s, const bl_eval_result *r)
{
    bool text;
    json_t *o = json_pack("{s:I}", "samples", (json_int_t)r->samples);
    add_figure(o, "top1", r->top1);
    add_figure(o, "top5", r->top5);
    add_figure(o, "auc", r->auc);
    add_figure(o, "mse", r->mse);
    add_figure(o, "seconds", r->seconds);
    BL_TRY(bl_cli_answer(&s->cli, o, &text));
    if (!text) return BL_OK;
    if (isnan(r->top1) && isnan(r->auc) && isnan(r->mse) && !s->predictions && !s->scores)
        bl_note(s->cli.ctx, "the data set has no labels: nothing was measured; --predictions FILE keeps the answers");
    printf("%lld samples", (long long)r->samples);
    if (!isnan(r->top1)) printf(", top-1 %.2f %%", 100 * r->top1);
    if (!isnan(r->top5)) printf(", top-5 %.2f %%", 100 * r->top5);
    if (!isnan(r->auc)) printf(", AUC %.4f", r->auc);
    if (!isnan(r->mse)) printf(", mean squared error %.6g", r->mse);
    printf(" (%.1f s)\n", r->seconds);
    return BL_OK;
}

static bl_status write_results(state *s, const bl_data *data, const bl_eval_result *r)
{
    if (s->predictions)
        BL_TRY(bl_write_file(s->cli.ctx, s->predictions, r->predictions, (size_t)r->n_inputs * sizeof *r->predictions));
    if (s->scores)
        BL_TRY(bl_write_file(s->cli.ctx, s->scores, r->scores, (size_t)r->n_scores * sizeof *r->scores));
    return s->shard.of ? print_part(s, data, r) : print_result(s, r);
}

/* Samples first .. first + limit - 1 of all that would be evaluated. */
static bl_status take_shard(state *s, const bl_data *data)
{
    int64_t all = bl_data_first(data, s->o.limit) / bl_data_windows(data), n = s->shard.of, i = s->shard.at - 1;
    if (s->o.metric && strcmp(s->o.metric, "top1"))
        return bl_fail(s->cli.ctx, BL_USAGE, "--shard", "evaluate the whole", "parts count right answers alone");
    s->o.first = all * i / n;
    s->o.limit = all * (i + 1) / n - s->o.first;
    if (s->o.limit > 0) return BL_OK;
    return bl_fail(s->cli.ctx, BL_USAGE, "--shard", "give fewer parts", "no sample is left for this part");
}

/* Every rank its samples, their counts summed; rank 0 answers. */
static bl_status evaluate_by_ranks(state *s, const bl_eval_subject *subject, bl_data *data)
{
    enum { SAMPLES, INPUTS, TOP1, TOP5, NONE1, NONE5, COUNTS };
    int64_t n[COUNTS] = { 0 };
    uint64_t start = bl_now_ns();
    if (s->shard.of || s->predictions || s->scores)
        return bl_fail(s->cli.ctx, BL_USAGE, s->shard.of ? "--shard" : "--predictions", "leave it away", "ranks share the samples out and keep counts alone");
    s->shard = (bl_shard){ s->cli.rank + 1, s->cli.ranks };
    if (bl_data_first(data, s->o.limit) / bl_data_windows(data) >= s->cli.ranks || s->cli.rank == 0) {
        bl_eval_result r;
        if (bl_data_first(data, s->o.limit) / bl_data_windows(data) >= s->cli.ranks) BL_TRY(take_shard(s, data));
        BL_TRY(bl_eval(s->cli.ctx, subject, data, &s->o, &r));
        n[SAMPLES] = r.samples;
        n[INPUTS] = r.n_inputs;
        n[NONE1] = isnan(r.top1);
        n[NONE5] = isnan(r.top5);
        n[TOP1] = n[NONE1] ? 0 : llround(r.top1 * (double)r.n_inputs);
        n[TOP5] = n[NONE5] ? 0 : llround(r.top5 * (double)r.n_inputs);
        bl_eval_free(&r);
    }
    BL_TRY(bl_ranks_sum(&s->cli, n, COUNTS));
    if (s->cli.rank) return BL_OK;
    bl_eval_result all = { .samples = n[SAMPLES], .auc = NAN, .mse = NAN, .top1 = n[NONE1] ? NAN : (double)n[TOP1] / (double)n[INPUTS],
                           .top5 = n[NONE5] ? NAN : (double)n[TOP5] / (double)n[INPUTS], .seconds = (double)(bl_now_ns() - start) * 1e-9 };
    return print_result(s, &all);
}

static bl_status evaluate(state *s, const bl_eval_subject *subject)
{
    bl_data *data = NULL;
    bl_eval_result r;
    BL_TRY(bl_cli_data(&s->cli, subject->graph, subject->program, &data));
    s->o.limit = s->cli.data.limit;
    s->o.scores = s->scores != NULL;
    if (s->cli.ranks > 1) {
        bl_status shared = evaluate_by_ranks(s, subject, data);
        bl_data_free(data);
        return shared;
    }
    bl_status st = s->shard.of ? take_shard(s, data) : BL_OK;
    if (st == BL_OK) st = bl_eval(s->cli.ctx, subject, data, &s->o, &r);
    if (st == BL_OK) {
        st = write_results(s, data, &r);
        bl_eval_free(&r);
    }
    bl_data_free(data);
    return st;
}

static bl_status run_fixed(state *s)
{
    bl_eval_result r;
    if (s->cli.ranks > 1 || s->shard.of)
        return bl_fail(s->cli.ctx, BL_USAGE, "--shard", "evaluate the whole", "a fixed-point network is evaluated in one part");
    BL_TRY(bl_cli_eval_fixed(&s->cli, s->cli.args[0], s->scores != NULL, &r));
    return write_results(s, NULL, &r);
}

static bl_status run(state *s)
{
    bl_graph *g = NULL;
    bl_program *p = NULL;
    bl_plan *plan = NULL;
    bl_weights *w = NULL;
    bl_eval_subject subject = { 0 };
    if (s->predictions && s->scores && !strcmp(s->predictions, s->scores))
        return bl_fail(s->cli.ctx, BL_USAGE, s->scores, "give each a file of its own", "both predictions and scores would go there");
    if (s->predictions) BL_TRY(bl_can_create(s->cli.ctx, s->predictions));
    if (s->scores) BL_TRY(bl_can_create(s->cli.ctx, s->scores));
    if (bl_cli_is_record(&s->cli, s->cli.args[0])) return run_fixed(s);
    BL_TRY(bl_cli_model(&s->cli, s->cli.args[0], true, &g, &p));
    bl_status st = BL_OK;
    if (s->plan && p)
        st = bl_fail(s->cli.ctx, BL_USAGE, "--plan", "give the float network", "a program holds its plan already");
    if (st == BL_OK && s->plan) st = bl_plan_read(s->cli.ctx, g, s->plan, &plan);
    if (st == BL_OK && plan) st = bl_cli_plan_weights(&s->cli, g, plan, s->plan, s->weights, &w);
    if (st == BL_OK && plan) st = bl_fake_new(s->cli.ctx, g, plan, w, &subject.fake);
    subject.graph = g;
    subject.program = p;
    if (st == BL_OK) st = evaluate(s, &subject);
    bl_fake_free(subject.fake);
    bl_weights_free(w);
    bl_plan_free(plan);
    bl_program_free(p);
    bl_graph_free(g);
    return st;
}

int bl_cmd_eval(int argc, char **argv)
{
    state s = { .cli.shares = true };
    const bl_verb verb = { "eval", "MODEL.onnx|MODEL.blp|FIXED.json", "Accuracy on a data set; samples run side by side.",
                           "bitlathe eval run/model.blp --data cifar:test.bin --mean 125,123,114 --std 63,62,67 --json",
                           options, parse, true, 1, 1 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, run(&s));
}
