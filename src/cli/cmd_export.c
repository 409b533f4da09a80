/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe export, bitlathe report: other forms of a finished run. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { KEY_FORMAT = 0x200, KEY_ALL, KEY_INT4, KEY_PLAIN, KEY_REDUCE, KEY_MODEL, KEY_PLAN, KEY_WEIGHTS, KEY_PIPELINE, KEY_DEPTH, KEY_UNSHARED, KEY_STREAM, KEY_LUTS,
       KEY_ROW = 0x400 /* and the exporter's number */ };

typedef struct state {
    bl_cli cli;
    const char *format, *model, *plan, *weights;
    bl_export_options o;
    bl_eval_result result;      /* of the fixed-point network, where labelled samples were given */
    bool evaluated;
} state;

enum { LEVELS_MAX = 1000, EXTRA_DEPTH = 2, PIPELINE = 4, LUTS_MAX = 1182240 /* of a VU9P */, EXPORTERS_MAX = 16 };

static const struct argp_option export_options[] = {
    { "format", KEY_FORMAT, "NAME", 0, "row of `bitlathe list exporters` (qdq)", 1 },
    { "all-outputs", KEY_ALL, NULL, 0, "every quantized value is an output too", 1 },
    { "int4", KEY_INT4, NULL, 0, "weights of at most 4 bits as INT4, opset 21: half the bytes; ONNX Runtime runs these layers in float", 1 },
    { "plain", KEY_PLAIN, NULL, 0, "operators as the model has them, also where another form of the same integers is faster", 1 },
    { "reduce-range", KEY_REDUCE, NULL, 0, "8-bit weights on -64..63, for CPUs without VNNI", 1 },
    { "pipeline", KEY_PIPELINE, "N", 0, "verilog: registers behind every N levels of logic; 0: combinational (4)", 2 },
    { "extra-depth", KEY_DEPTH, "N", 0, "verilog: levels that sharing sums may add to each layer; -1: any (2)", 2 },
    { "luts", KEY_LUTS, "N", 0, "verilog: refuse a design of more look-up tables than this by the estimate; 0: none (1182240)", 2 },
    { "stream", KEY_STREAM, NULL, 0, "verilog: convolutions and pools as one window each that moves over the picture, a position a cycle", 2 },
    { "unshared", KEY_UNSHARED, NULL, 0, "verilog: every sum by itself, for comparison", 2 },
    { "model", KEY_MODEL, "FILE", 0, "the ONNX file, when it is not where the run found it", 1 },
    { "plan", KEY_PLAN, "FILE", 0, "another plan of that network", 1 },
    { "weights", KEY_WEIGHTS, "FILE", 0, "weights.blw that tuning made", 1 },
    { 0 }
};

/* A whole number of levels from lo on. */
static error_t levels(state *s, const char *option, const char *arg, int lo, int *out)
{
    uint64_t v = 0;
    bool minus = lo < 0 && !strcmp(arg, "-1");
    if (!minus && (!bl_parse_u64(arg, &v) || v > LEVELS_MAX)) return bl_cli_bad(&s->cli, option, arg, "give a whole number");
    *out = minus ? -1 : (int)v;
    return 0;
}

static error_t luts(state *s, const char *arg)
{
    uint64_t v;
    if (!bl_parse_u64(arg, &v) || v > INT64_MAX) return bl_cli_bad(&s->cli, "--luts", arg, "give a whole number");
    s->o.luts_max = (int64_t)v;
    return 0;
}

static error_t form(state *s, const char *name)
{
    if (s->format && strcmp(s->format, name)) return bl_cli_bad(&s->cli, "--format", name, "give one form a call");
    s->format = name;
    return 0;
}

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    switch (key) {
    case KEY_FORMAT: return form(s, arg);
    case KEY_ALL: s->o.all_outputs = true; return 0;
    case KEY_INT4: s->o.int4 = true; return 0;
    case KEY_PLAIN: s->o.plain = true; return 0;
    case KEY_REDUCE: s->o.reduce_range = true; return 0;
    case KEY_MODEL: s->model = arg; return 0;
    case KEY_PLAN: s->plan = arg; return 0;
    case KEY_WEIGHTS: s->weights = arg; return 0;
    case KEY_PIPELINE: return levels(s, "--pipeline", arg, 0, &s->o.pipeline);
    case KEY_DEPTH: return levels(s, "--extra-depth", arg, -1, &s->o.extra_depth);
    case KEY_UNSHARED: s->o.unshared = true; return 0;
    case KEY_STREAM: s->o.stream = true; return 0;
    case KEY_LUTS: return luts(s, arg);
    default:
        if (key < KEY_ROW || key >= KEY_ROW + (int)bl_n_exporters) return ARGP_ERR_UNKNOWN;
        return form(s, bl_exporters[key - KEY_ROW].name);
    }
}

static char *in_run(state *s, const char *name)
{
    return bl_path_join(s->cli.arena, s->cli.args[0], name);
}

/* Where the run read its model. */
static bl_status find_model(state *s)
{
    if (s->model) return BL_OK;
    char *file = in_run(s, "run.json");
    return file ? bl_cli_run_model(&s->cli, file, &s->model) : bl_pending(s->cli.ctx);
}

/* A network of fixed point: the file itself, or the one that lies in the folder. */
static bl_status find_fixed(state *s, const bl_exporter *e, const char **path)
{
    const char *arg = s->cli.args[0];
    size_t n = strlen(arg);
    *path = NULL;
    if (n > 5 && !strcmp(arg + n - 5, ".json")) {
        if (!e->fixed) return bl_fail(s->cli.ctx, BL_USAGE, arg, "use --format verilog", "%s takes no fixed-point network", e->name);
        *path = arg;
        return BL_OK;
    }
    char *inside = in_run(s, "fixed.json");
    BL_ALLOC_TRY(s->cli.ctx, inside);
    if (e->fixed && bl_file_exists(inside)) *path = inside;
    return BL_OK;
}

/* Samples for the test bench, in the network's own shape. */
static bl_status open_samples(state *s, int rank, const int64_t *dim, bl_data **out)
{
    bl_tensor input = { .type = BL_F32, .rank = rank };
    *out = NULL;
    if (!s->cli.has_data) return BL_OK;
    memcpy(input.dim, dim, (size_t)rank * sizeof *dim);
    BL_TRY(bl_data_open(s->cli.ctx, &s->cli.data, &input, out));
    s->o.samples = *out;
    s->o.n_samples = s->cli.data.limit;
    return BL_OK;
}

/* The network that the hardware is of, on the samples that its bench feeds. */
static bl_status export_net(state *s, const bl_exporter *e, const bl_fixed_net *net, bl_data *data)
{
    BL_TRY(e->fixed(s->cli.ctx, net, &s->o, s->cli.output));
    if (!data || !bl_data_labelled(data)) return BL_OK;
    BL_TRY(bl_cli_eval_net(&s->cli, net, data, false, &s->result));
    s->evaluated = true;
    return BL_OK;
}

static bl_status export_fixed(state *s, const bl_exporter *e, const char *path)
{
    bl_fixed_net *net = NULL;
    bl_data *data = NULL;
    BL_TRY(bl_fixed_read(s->cli.ctx, path, &net));
    int64_t dim[4] = { 1, net->in_c, net->in_h, net->in_w };
    bl_status st = open_samples(s, net->in_h == 1 && net->in_w == 1 ? 2 : 4, dim, &data);
    if (st == BL_OK) st = export_net(s, e, net, data);
    bl_data_free(data);
    bl_fixed_free(net);
    return st;
}

static bl_status export_plan(state *s, const bl_exporter *e)
{
    bl_ctx *ctx = s->cli.ctx;
    bl_graph *g;
    bl_plan *plan = NULL;
    bl_weights *w = NULL;
    bl_data *data = NULL;
    BL_TRY(find_model(s));
    BL_TRY(bl_cli_float_model(&s->cli, s->model, true, &g));
    if (!s->plan) s->plan = in_run(s, "plan.json");
    bl_status st = s->plan ? bl_plan_read(ctx, g, s->plan, &plan) : bl_pending(ctx);
    if (st == BL_OK) st = bl_cli_plan_weights(&s->cli, g, plan, s->plan, s->weights, &w);
    if (st == BL_OK && s->cli.has_data) st = bl_samples_open(ctx, &s->cli.data, g, NULL, &data);
    s->o.samples = data;
    s->o.n_samples = s->cli.data.limit;
    bl_fixed_net *net = NULL;
    if (st == BL_OK && e->fixed) {
        st = bl_fixed_lower(ctx, g, plan, w, &net);
        if (st == BL_OK) st = export_net(s, e, net, data);
    } else if (st == BL_OK) {
        st = e->fn(ctx, g, plan, w, &s->o, s->cli.output);
    }
    bl_fixed_free(net);
    bl_data_free(data);
    bl_weights_free(w);
    bl_plan_free(plan);
    bl_graph_free(g);
    return st;
}

static bl_status export_run(state *s)
{
    const bl_exporter *e = bl_exporter_find(s->format ? s->format : "qdq");
    const char *fixed;
    if (!e) return bl_fail(s->cli.ctx, BL_USAGE, s->format, "see `bitlathe list exporters`", "unknown format");
    if (!s->cli.output) return bl_fail(s->cli.ctx, BL_USAGE, s->cli.program, "give -o FILE", "no output");
    BL_TRY(find_fixed(s, e, &fixed));
    BL_TRY(fixed ? export_fixed(s, e, fixed) : export_plan(s, e));
    if (!s->cli.json) printf("%s\n", s->cli.output);
    if (!s->cli.json && s->evaluated)
        printf("top-1 %.2f %% of %lld samples, on the integers of the design\n", 100 * s->result.top1, (long long)s->result.samples);
    if (!s->cli.json) return BL_OK;
    json_t *o = json_pack("{s:s, s:s}", "format", e->name, "file", s->cli.output);
    if (s->evaluated) {
        json_object_set_new(o, "samples", json_integer((json_int_t)s->result.samples));
        json_object_set_new(o, "top1", bl_json_real(s->result.top1));
    }
    return bl_cli_json(&s->cli, o);
}

static bl_status read_if_there(state *s, const char *name, json_t **out)
{
    char *path = in_run(s, name);
    BL_ALLOC_TRY(s->cli.ctx, path);
    return bl_file_exists(path) ? bl_json_read(s->cli.ctx, path, out) : BL_OK;
}

static const char *hash_in(const json_t *record, const char *object, const char *key)
{
    return json_string_value(json_object_get(json_object_get(record, object), key));
}

/* Records of other networks make a page of nonsense; another plan, as of a run that was stopped or tuned again, one
 * whose figures are not the plan's.  Prices may come from another network's record (--target FILE). */
static bl_status check_records(state *s, json_t *const *r, const char *const *names)
{
    const char *graph = hash_in(r[0], "hashes", "graph"), *plan = hash_in(r[0], "hashes", "plan"), *again = "give `bitlathe quantize` again";
    char *path = in_run(s, names[0]);
    BL_ALLOC_TRY(s->cli.ctx, path);
    if (!graph || !plan || !json_is_string(json_object_get(r[0], "model")))
        return bl_fail(s->cli.ctx, BL_DATA, path, again, "no summary of a run");
    for (int i = 1; i < 3; i++) {
        const char *of = r[i] ? hash_in(r[i], "made_from", "graph") : NULL;
        if (of && strcmp(of, graph)) return bl_fail(s->cli.ctx, BL_DATA, in_run(s, names[i]), again, "the record of another network than %s", path);
    }
    const char *now = json_string_value(json_object_get(r[1], "hash"));
    if (now && strcmp(now, plan) && !json_object_get(r[0], "refused"))
        bl_note(s->cli.ctx, "%s: the figures are of another plan than %s; %s", path, names[1], again);
    return BL_OK;
}

static bl_status report_run(state *s)
{
    json_t *r[5] = { 0 };
    static const char *const names[] = { "summary.json", "plan.json", "sens.json", "cost.json", "graph.json" };
    bl_status st = BL_OK;
    for (int i = 0; st == BL_OK && i < 5; i++) st = read_if_there(s, names[i], &r[i]);
    if (st == BL_OK && !r[1]) st = read_if_there(s, "plan.refused.json", &r[1]);
    if (st == BL_OK && !r[0])
        st = bl_fail(s->cli.ctx, BL_NOINPUT, s->cli.args[0], "give the folder of `bitlathe quantize -o`", "no summary.json in it");
    if (st == BL_OK) st = check_records(s, r, names);
    bl_report_input in = { .summary = r[0], .plan = r[1], .sens = r[2], .cost = r[3], .graph = r[4] };
    const char *to = s->cli.output ? s->cli.output : in_run(s, "report.html");
    if (st == BL_OK) st = bl_report_write(s->cli.ctx, &in, to);
    if (st == BL_OK && !s->cli.json) printf("%s\n", to);
    if (st == BL_OK && s->cli.json) st = bl_cli_json(&s->cli, json_pack("{s:s}", "file", to));
    for (int i = 0; i < 5; i++) json_decref(r[i]);
    return st;
}

/* Every exporter's name is a switch too. */
static void add_switches(struct argp_option *out)
{
    memcpy(out, export_options, sizeof export_options);
    out += BL_COUNTOF(export_options) - 1;
    for (size_t i = 0; i < BL_MIN(bl_n_exporters, EXPORTERS_MAX); i++)
        *out++ = (struct argp_option){ bl_exporters[i].name, KEY_ROW + (int)i, NULL, 0, "the same as --format with this name", 1 };
    *out = (struct argp_option){ 0 };
}

int bl_cmd_export(int argc, char **argv)
{
    struct argp_option options[BL_COUNTOF(export_options) + EXPORTERS_MAX];
    add_switches(options);
    state s = { .o = { .pipeline = PIPELINE, .extra_depth = EXTRA_DEPTH, .luts_max = LUTS_MAX } };
    const bl_verb verb = { "export", "RUNDIR|FIXED.json", "The quantized network of a run in another tool's form.",
                           "bitlathe export run --qdq -o net.qdq.onnx", options, parse, true, 1, 1 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, export_run(&s));
}

int bl_cmd_report(int argc, char **argv)
{
    state s = { 0 };
    const bl_verb verb = { "report", "RUNDIR", "Writes report.html of a run from its records.", "bitlathe report run -o page.html",
                           NULL, NULL, false, 1, 1 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, report_run(&s));
}
