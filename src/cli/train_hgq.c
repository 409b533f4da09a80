/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe train --recipe hgq: the training chooses the bits, and leaves one front of accuracy against EBOPs. */
#include "cli/cli.h"

#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { KEY_RECIPE = 0x300, KEY_SET, KEY_BUDGET, KEY_FLOOR, KEY_FRESH, KEY_POINTS };
enum { SETS_MAX = 64 };

typedef struct state {
    bl_cli cli;
    const char *recipe, *set[SETS_MAX];
    int n_set;
    double budget, floor;       /* EBOPs; points of top-1 below float; NaN: not given */
    bool fresh, points;
    bl_hgq_options o;
    bl_hgq *h;
    const char *model;
    size_t chosen;
    bool feasible;
    char *part, *front, *page;
    bl_status written;          /* of the front so far */
    bl_hgq_agreement agree[2];  /* held out, test */
} state;

static const struct argp_option options[] = {
    { "recipe", KEY_RECIPE, "NAME", 0, "hgq, or a recipe file that says `train = hgq`", 1 },
    { "set", KEY_SET, "KEY=VALUE", 0, "a setting of `bitlathe list hgq` on top of the recipe's", 1 },
    { "budget", KEY_BUDGET, "ebops=N", 0, "fixed.json is the most accurate point with at most so many EBOPs", 2 },
    { "floor", KEY_FLOOR, "top1=-X", 0, "or the cheapest at most X points of accuracy below float", 2 },
    { "points", KEY_POINTS, NULL, 0, "write every point of the front, points/NN.json", 2 },
    { "fresh", KEY_FRESH, NULL, 0, "do not go on from what a stopped run left", 3 },
    { 0 }
};

static error_t limit(state *s, const char *option, char *arg, const char *word, double *out)
{
    size_t n = strlen(word);
    bool fine = !strncmp(arg, word, n) && arg[n] == '=' && bl_parse_f64(arg + n + 1, out);
    if (!fine || (out == &s->budget && *out <= 0))
        return bl_cli_bad(&s->cli, option, arg, "write ebops=25000 or top1=-0.5");
    return 0;
}

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    switch (key) {
    case KEY_RECIPE: s->recipe = arg; return 0;
    case KEY_SET:
        if (s->n_set == SETS_MAX) return bl_cli_bad(&s->cli, "--set", arg, "at most 64 settings");
        s->set[s->n_set++] = arg;
        return 0;
    case KEY_BUDGET: return limit(s, "--budget", arg, "ebops", &s->budget);
    case KEY_FLOOR: return limit(s, "--floor", arg, "top1", &s->floor);
    case KEY_POINTS: s->points = true; return 0;
    case KEY_FRESH: s->fresh = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* ------------------------------------------------------------------ settings */

static bl_status settings(state *s)
{
    bl_ctx *ctx = s->cli.ctx;
    bl_recipe r;
    BL_TRY(bl_recipe_load(ctx, s->cli.arena, s->recipe, &r));
    if (!r.train || strcmp(r.train, "hgq"))
        return bl_fail(ctx, BL_USAGE, s->recipe, "use `bitlathe quantize --recipe`", "this recipe trains nothing");
    for (int i = 0; i < s->n_set; i++) BL_TRY(bl_recipe_set(ctx, s->cli.arena, &r, s->set[i]));
    s->o = bl_hgq_options_default();
    for (int i = 0; i < r.n_settings; i++) BL_TRY(bl_hgq_set(ctx, &s->o, r.setting[i][0], r.setting[i][1]));
    return BL_OK;
}

/* ------------------------------------------------------------------ what is written */

static json_t *point_json(const state *s, const bl_hgq_point *p)
{
    json_t *o = json_pack("{s:I, s:I}", "cycle", (json_int_t)p->cycle, "epoch", (json_int_t)p->epoch), *live = json_array();
    (void)s;
    json_object_set_new(o, "beta", bl_json_real(p->beta));
    json_object_set_new(o, "loss", bl_json_real(p->loss));
    json_object_set_new(o, "held_out_top1", bl_json_real(p->held_accuracy));
    if (!isnan(p->test_accuracy)) json_object_set_new(o, "test_top1", bl_json_real(p->test_accuracy));
    json_object_set_new(o, "ebops1", bl_json_real(p->cost.ebops1));
    json_object_set_new(o, "ebops2", bl_json_real(p->cost.ebops2));
    json_object_set_new(o, "estimate", bl_json_real(p->estimate));
    json_object_set_new(o, "weights", json_integer((json_int_t)p->cost.weights));
    json_object_set_new(o, "weights_left", json_integer((json_int_t)p->cost.weights_left));
    json_object_set_new(o, "sum_bits", json_integer(p->cost.acc_bits));
    for (int l = 0; l < BL_FIXED_LAYERS_MAX && p->live[l]; l++) json_array_append_new(live, json_integer((json_int_t)p->live[l]));
    json_object_set_new(o, "live", live);
    return o;
}

static json_t *agreement_json(const bl_hgq_agreement *a)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:s}", "rows", (json_int_t)a->rows, "outputs", (json_int_t)a->outputs, "differ",
                     (json_int_t)a->differ, "right", (json_int_t)a->right, "sums", a->wide ? "binary64" : "binary32");
}

static json_t *scaled_json(const bl_hgq_facts *f)
{
    json_t *mean = json_array(), *deviation = json_array();
    for (int64_t e = 0; e < f->scaled; e++) {
        json_array_append_new(mean, bl_json_real((double)f->mean[e]));
        json_array_append_new(deviation, bl_json_real((double)f->deviation[e]));
    }
    return json_pack("{s:o, s:o}", "mean", mean, "std", deviation);
}

/* front.json as it stands; the chosen point where the training is over. */
static json_t *front_json(state *s, bool over)
{
    bl_hgq_facts f = bl_hgq_facts_of(s->h);
    json_t *o = bl_record_new(s->cli.ctx, "front", 1, 0), *points = json_array(), *flt = json_object();
    if (!o || !points || !flt) return NULL;
    json_object_set_new(o, "model", json_string(s->model));
    json_object_set_new(o, "recipe", json_string(s->recipe));
    json_object_set_new(o, "metric", json_string("ebops1"));
    json_object_set_new(o, "rows", json_pack("{s:I, s:I, s:I}", "learned", (json_int_t)f.samples, "held_out",
                                             (json_int_t)f.held_out, "test", (json_int_t)f.test));
    json_object_set_new(o, "parameters", json_integer((json_int_t)f.parameters));
    if (!isnan(f.float_held)) json_object_set_new(flt, "held_out_top1", bl_json_real(f.float_held));
    if (!isnan(f.float_test)) json_object_set_new(flt, "test_top1", bl_json_real(f.float_test));
    json_object_set_new(o, "float", flt);
    if (f.scaled) json_object_set_new(o, "scaled", scaled_json(&f));
    for (size_t p = 0; p < bl_hgq_points(s->h); p++) json_array_append_new(points, point_json(s, bl_hgq_point_at(s->h, p)));
    json_object_set_new(o, "points", points);
    json_object_set_new(o, "done", json_boolean(over));
    if (over) {
        json_object_set_new(o, "chosen", json_integer((json_int_t)s->chosen));
        json_object_set_new(o, "feasible", json_boolean(s->feasible));
    }
    if (over && !s->o.uniform_real) {
        json_object_set_new(o, "integers", json_pack("{s:o, s:o}", "held_out", agreement_json(&s->agree[0]), "test",
                                                     agreement_json(&s->agree[1])));
    }
    json_object_set_new(o, "settings", bl_hgq_settings_json(&s->o));
    return o;
}

static bl_status write_front(state *s, bool over)
{
    bl_hash hash;
    json_t *o = front_json(s, over);
    if (!o) return bl_fail(s->cli.ctx, BL_INTERNAL, "front", "please report this", "cannot be written");
    bl_status st = bl_record_write(s->cli.ctx, o, s->front, &hash);
    if (st == BL_OK) st = bl_front_write(s->cli.ctx, o, s->page);
    json_decref(o);
    return st;
}

static void told(void *user, const bl_hgq_point *p, const char *stage)
{
    state *s = user;
    (void)stage;
    if (s->written == BL_OK) s->written = write_front(s, false);
    if (s->cli.json) return;
    printf("cycle %lld/%lld: loss %.4f, held out %.2f %%, %.0f EBOPs, %lld weights, price %.3g\n", (long long)p->cycle,
           (long long)s->o.cycles, p->loss, 100 * p->held_accuracy, p->cost.ebops1, (long long)p->cost.weights_left, p->beta);
    fflush(stdout);
}

/* ------------------------------------------------------------------ choosing */

static bool allowed(const state *s, const bl_hgq_point *p, double flt)
{
    return (isnan(s->budget) || p->cost.ebops1 <= s->budget) &&
           (isnan(s->floor) || 100 * (p->held_accuracy - flt) >= s->floor - 1e-9);
}

/* The front is sorted by price, and accuracy rises with it. */
static void choose(state *s)
{
    double flt = bl_hgq_facts_of(s->h).float_held;
    size_t n = bl_hgq_points(s->h);
    bool cheapest = !isnan(s->floor) && isnan(s->budget);
    s->feasible = false;
    s->chosen = isnan(s->floor) ? 0 : n - 1; /* the nearest, where none is allowed */
    for (size_t p = 0; p < n; p++) {
        if (!allowed(s, bl_hgq_point_at(s->h, p), flt) || (s->feasible && cheapest)) continue;
        s->chosen = p;
        s->feasible = true;
    }
}

static bl_status write_net(state *s, size_t which, const char *path)
{
    /* The figures go with the network. */
    bl_fixed_net net = *bl_hgq_net_at(s->h, which);
    net.figures = point_json(s, bl_hgq_point_at(s->h, which));
    bl_status st = bl_fixed_write(s->cli.ctx, &net, path);
    json_decref(net.figures);
    return st;
}

static bl_status write_points(state *s)
{
    char *folder = bl_path_join(s->cli.arena, s->cli.output, "points");
    BL_TRY(bl_make_dir(s->cli.ctx, folder));
    for (size_t p = 0; p < bl_hgq_points(s->h); p++)
        BL_TRY(write_net(s, p, bl_path_join(s->cli.arena, folder, bl_format(s->cli.arena, "%02zu.json", p))));
    return BL_OK;
}

/* ------------------------------------------------------------------ what is said */

static void say_point(const state *s, size_t which)
{
    const bl_hgq_point *p = bl_hgq_point_at(s->h, which);
    printf("%s%9.0f %9.0f %9.2f ", which == s->chosen ? "*" : " ", p->cost.ebops1, p->cost.ebops2, 100 * p->held_accuracy);
    if (isnan(p->test_accuracy)) printf("%7s", "-");
    else printf("%7.2f", 100 * p->test_accuracy);
    printf(" %8lld %5d %9.3g %7lld\n", (long long)p->cost.weights_left, p->cost.acc_bits, p->beta, (long long)p->epoch);
}

static void say_agreement(const char *what, const bl_hgq_agreement *a)
{
    if (a->rows)
        printf("integers: %lld of %lld outputs of %lld %s rows differ from the training's forward pass%s, %.2f %% right\n",
               (long long)a->differ, (long long)a->outputs, (long long)a->rows, what, a->wide ? " (sums in binary64)" : "", 100.0 * (double)a->right / (double)a->rows);
}

/* The words with which other verbs read the same rows. */
static void say_scaled(const bl_hgq_facts *f)
{
    if (!f->scaled) return;
    printf("rows were scaled as by --mean ");
    for (int64_t e = 0; e < f->scaled; e++) printf("%s%.9g", e ? "," : "", (double)f->mean[e]);
    printf(" --std ");
    for (int64_t e = 0; e < f->scaled; e++) printf("%s%.9g", e ? "," : "", (double)f->deviation[e]);
    printf("\n");
}

static bl_status say(state *s)
{
    bl_hgq_facts f = bl_hgq_facts_of(s->h);
    double batch = (double)BL_MIN(s->o.batch, f.samples), step = f.seconds / (double)BL_MAX(f.steps, 1);
    if (s->cli.json) {
        json_t *o = front_json(s, true);
        json_object_set_new(o, "seconds", bl_json_real(f.seconds));
        json_object_set_new(o, "float_seconds", bl_json_real(f.float_seconds));
        return bl_cli_json(&s->cli, o);
    }
    printf("  %8s %9s %9s %7s %8s %5s %9s %7s\n", "EBOPs", "ebops2", "held out", "test", "weights", "sums", "price", "epoch");
    for (size_t p = 0; p < bl_hgq_points(s->h); p++) say_point(s, p);
    if (!isnan(f.float_held)) {
        printf("float: held out %.2f %%", 100 * f.float_held);
        if (!isnan(f.float_test)) printf(", test %.2f %%", 100 * f.float_test);
        if (!isnan(f.teacher_held)) printf(", its teacher held out %.2f %%", 100 * f.teacher_held);
        printf(", %lld weights and biases\n", (long long)f.parameters);
    }
    printf("%lld steps of %.0f rows in %.1f s: %.0f us a step, %.2f M rows a second", (long long)f.steps, batch, f.seconds,
           1e6 * step, 1e-6 * batch / step);
    if (f.float_steps)
        printf("; float %.0f us a step of %lld", 1e6 * f.float_seconds / (double)f.float_steps,
               (long long)BL_MIN(s->o.float_batch, f.samples));
    printf("\n");
    say_scaled(&f);
    say_agreement("held-out", &s->agree[0]);
    say_agreement("test", &s->agree[1]);
    return BL_OK;
}

/* ------------------------------------------------------------------ all of it */

static bl_status write_integers(state *s)
{
    BL_TRY(bl_hgq_agree(s->h, s->chosen, BL_HGQ_HELD, &s->agree[0]));
    BL_TRY(bl_hgq_agree(s->h, s->chosen, BL_HGQ_TEST, &s->agree[1]));
    BL_TRY(write_net(s, s->chosen, bl_path_join(s->cli.arena, s->cli.output, "fixed.json")));
    return s->points ? write_points(s) : BL_OK;
}

static bl_status finish(state *s)
{
    if (!bl_hgq_points(s->h)) return bl_fail(s->cli.ctx, BL_INTERNAL, "hgq", "please report this", "no point");
    BL_TRY(bl_hgq_test(s->h));
    choose(s);
    if (!s->o.uniform_real) BL_TRY(write_integers(s));
    BL_TRY(write_front(s, true));
    BL_TRY(say(s));
    (void)unlink(s->part);
    if (s->feasible) return BL_OK;
    fprintf(stderr, "bitlathe: %s: no point of the front keeps the limits; the nearest one is written, give higher ones or a longer training\n",
            s->cli.output);
    return BL_GOAL;
}

/* An architecture has no weights yet. */
static bl_status open_graph(state *s, bl_graph **graph)
{
    const bl_architecture *arch = bl_architecture_find(s->model);
    if (!arch) return bl_cli_float_model(&s->cli, s->model, false, graph);
    s->o.random = true;
    return bl_architecture_make(s->cli.ctx, arch, NULL, 10, graph);
}

static bl_status open_all(state *s, bl_data **data)
{
    bl_ctx *ctx = s->cli.ctx;
    bl_tensor input;
    bl_graph *graph = NULL;
    const char *list = bl_hgq_network_sizes(s->model);
    bool sizes = bl_hgq_sizes_input(list, &input);
    s->o.limit = s->cli.data.limit;
    if (!sizes) BL_TRY(open_graph(s, &graph));
    bl_status st = sizes ? bl_data_open(ctx, &s->cli.data, &input, data) : bl_cli_data(&s->cli, graph, NULL, data);
    if (st == BL_OK) st = bl_hgq_open(ctx, graph, sizes ? list : NULL, *data, &s->o, &s->h);
    bl_graph_free(graph);
    return st;
}

static bl_status teach(state *s)
{
    bl_ctx *ctx = s->cli.ctx;
    bl_data *data = NULL;
    if (!s->recipe) return bl_fail(ctx, BL_USAGE, s->cli.program, "give --recipe hgq", "no recipe");
    if (!s->cli.output) return bl_fail(ctx, BL_USAGE, s->cli.program, "give -o RUNDIR", "no folder for the front");
    if (!s->cli.has_data) return bl_fail(ctx, BL_USAGE, s->cli.program, "give --data", "no rows to learn from");
    s->model = s->cli.args[0];
    BL_TRY(settings(s));
    BL_ALLOC_TRY(ctx, s->part = bl_path_join(s->cli.arena, s->cli.output, "hgq.part"));
    BL_ALLOC_TRY(ctx, s->front = bl_path_join(s->cli.arena, s->cli.output, "front.json"));
    BL_ALLOC_TRY(ctx, s->page = bl_path_join(s->cli.arena, s->cli.output, "report.html"));
    s->o.checkpoint = s->part;
    s->o.told = told;
    s->o.user = s;
    bl_status st = open_all(s, &data);
    /* Bad data leave no folder behind. */
    if (st == BL_OK) st = bl_make_dir(ctx, s->cli.output);
    if (st == BL_OK && s->fresh) (void)unlink(s->part);
    if (st == BL_OK) st = bl_hgq_train(s->h);
    if (st == BL_OK) st = s->written;
    if (st == BL_OK) st = finish(s);
    bl_hgq_close(s->h);
    bl_data_free(data);
    return st;
}

int bl_train_by_recipe(int argc, char **argv)
{
    static const bl_verb verb = {
        .name = "train", .words = "MODEL.onnx | SIZES | NAME", .options = options, .parse = parse, .data = true, .args_min = 1, .args_max = 1,
        .help = "Teaches a network, one of dense layers by their sizes, or a named one (`bitlathe list hgq`, `list architectures`), and the bits of its every weight and activation.",
        .example = "bitlathe train 16-64-32-32-26 --recipe hgq --data csv:letter.csv --mean 8 --std 4 --set held_out=2400 "
                   "--set test=4000 --budget ebops=25000 -o run" };
    state s = { .budget = NAN, .floor = NAN };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, teach(&s));
}
