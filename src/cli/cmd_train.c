/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe train: a network learns from labelled samples and becomes an ONNX file. */
#include "cli/cli.h"

#include "train/train.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    KEY_EPOCHS = 0x200, KEY_BATCH, KEY_MICRO, KEY_HELD, KEY_OPTIMIZER, KEY_SCHEDULE, KEY_LOSS, KEY_RATE, KEY_WARMUP,
    KEY_MOMENTUM, KEY_BETA1, KEY_BETA2, KEY_DECAY, KEY_SMOOTHING, KEY_PLAIN, KEY_DECAY_ALL, KEY_RANDOM, KEY_BEST,
    KEY_FLIP, KEY_PAD, KEY_NORMS, KEY_HISTORY, KEY_FRESH, KEY_PLAN, KEY_TRAINER, KEY_ARCH, KEY_SHAPE,
    KEY_CLASSES, KEY_PAGE, KEY_RECIPE
};

typedef struct state {
    bl_cli cli;
    bl_train_options o;
    const char *history, *plan, *trainer, *page;
    const bl_architecture *arch;
    int64_t shape[3], classes;
    bl_status page_status;
    bool keep_norms, fresh;
    uint64_t start_ns;
} state;

static const struct argp_option options[] = {
    { "arch", KEY_ARCH, "NAME", 0, "a row of `bitlathe list architectures` instead of a file, weights drawn by --seed", 1 },
    { "shape", KEY_SHAPE, "C,H,W", 0, "of the architecture's input (its own)", 1 },
    { "classes", KEY_CLASSES, "N", 0, "outputs of the architecture (10)", 1 },
    { "random", KEY_RANDOM, NULL, 0, "draw all weights anew first, by --seed", 1 },
    { "epochs", KEY_EPOCHS, "N", 0, "times that every sample is seen (20)", 1 },
    { "batch", KEY_BATCH, "N", 0, "samples a step (128)", 1 },
    { "micro", KEY_MICRO, "N", 0, "samples that BatchNormalization sees together; divides the batch (32)", 1 },
    { "held-out", KEY_HELD, "N", 0, "samples that are only looked at (a tenth, at most 5000)", 1 },
    { "best", KEY_BEST, NULL, 0, "keep the epoch that was best on these, not the last one", 1 },
    { "loss", KEY_LOSS, "NAME", 0, "row of `bitlathe list losses` (cross-entropy)", 2 },
    { "optimizer", KEY_OPTIMIZER, "NAME", 0, "row of `bitlathe list optimizers` (sgd)", 2 },
    { "schedule", KEY_SCHEDULE, "NAME", 0, "row of `bitlathe list schedules` (cosine)", 2 },
    { "rate", KEY_RATE, "X", 0, "highest learning rate (0.1)", 2 },
    { "warmup", KEY_WARMUP, "EPOCHS", 0, "of a rising rate (1)", 2 },
    { "momentum", KEY_MOMENTUM, "X", 0, "of sgd (0.9)", 2 },
    { "plain-momentum", KEY_PLAIN, NULL, 0, "not Nesterov's", 2 },
    { "beta1", KEY_BETA1, "X", 0, "of adam, adamw (0.9)", 2 },
    { "beta2", KEY_BETA2, "X", 0, "of adam, adamw (0.999)", 2 },
    { "decay", KEY_DECAY, "X", 0, "weight decay (0.0005)", 2 },
    { "decay-all", KEY_DECAY_ALL, NULL, 0, "of biases and normalisations too", 2 },
    { "smoothing", KEY_SMOOTHING, "X", 0, "of labels (0)", 2 },
    { "flip", KEY_FLIP, NULL, 0, "mirror pictures at random", 3 },
    { "pad", KEY_PAD, "N", 0, "shift pictures by up to N positions at random", 3 },
    { "plan", KEY_PLAN, "FILE", 0, "train on the grids of this plan; -o is then a folder for plan.json and weights.blw", 4 },
    { "trainer", KEY_TRAINER, "NAME", 0, "row of `bitlathe list quant-trainers` (lsq)", 4 },
    { "recipe", KEY_RECIPE, "hgq", 0, "learn the bits too: see `bitlathe train --recipe hgq --help`", 4 },
    { "keep-norms", KEY_NORMS, NULL, 0, "leave BatchNormalizations in the file as nodes of their own", 4 },
    { "history", KEY_HISTORY, "FILE", 0, "what each epoch brought, as JSON", 4 },
    { "page", KEY_PAGE, "FILE.html", 0, "curves of loss and accuracy, written after every epoch", 4 },
    { "fresh", KEY_FRESH, NULL, 0, "do not go on from OUT.onnx.part", 4 },
    { 0 }
};

static error_t count(state *s, const char *option, char *arg, uint64_t least, int64_t *out)
{
    uint64_t n;
    if (!bl_parse_u64(arg, &n) || n < least || n > INT32_MAX) return bl_cli_bad(&s->cli, option, arg, "give a whole number");
    *out = (int64_t)n;
    return 0;
}

static error_t number(state *s, const char *option, char *arg, double *out)
{
    if (!bl_parse_f64(arg, out)) return bl_cli_bad(&s->cli, option, arg, "give a number");
    return 0;
}

static error_t shape(state *s, char *arg)
{
    char *save = NULL, copy[32];
    int n = 0;
    uint64_t x;
    snprintf(copy, sizeof copy, "%s", arg); /* what is longer has too many digits */
    for (char *t = strtok_r(copy, ",x", &save); t; t = strtok_r(NULL, ",x", &save)) {
        if (n == 3 || !bl_parse_u64(t, &x) || x < 1 || x > 4096) return bl_cli_bad(&s->cli, "--shape", arg, "give such as 3,32,32");
        s->shape[n++] = (int64_t)x;
    }
    return n == 3 ? 0 : bl_cli_bad(&s->cli, "--shape", arg, "give such as 3,32,32");
}

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    bl_train_options *o = &s->o;
    switch (key) {
    case KEY_EPOCHS: return count(s, "--epochs", arg, 1, &o->epochs);
    case KEY_BATCH: return count(s, "--batch", arg, 1, &o->batch);
    case KEY_MICRO: return count(s, "--micro", arg, 1, &o->micro);
    case KEY_HELD: return count(s, "--held-out", arg, 0, &o->held_out);
    case KEY_PAD: return count(s, "--pad", arg, 0, &o->pad);
    case KEY_OPTIMIZER: o->optimizer = arg; return 0;
    case KEY_SCHEDULE: o->schedule = arg; return 0;
    case KEY_LOSS: o->loss = arg; return 0;
    case KEY_RATE: return number(s, "--rate", arg, &o->rate);
    case KEY_WARMUP: return number(s, "--warmup", arg, &o->warmup);
    case KEY_MOMENTUM: return number(s, "--momentum", arg, &o->momentum);
    case KEY_BETA1: return number(s, "--beta1", arg, &o->beta1);
    case KEY_BETA2: return number(s, "--beta2", arg, &o->beta2);
    case KEY_DECAY: return number(s, "--decay", arg, &o->weight_decay);
    case KEY_SMOOTHING: return number(s, "--smoothing", arg, &o->label_smoothing);
    case KEY_PLAIN: o->plain_momentum = true; return 0;
    case KEY_DECAY_ALL: o->decay_all = true; return 0;
    case KEY_RANDOM: o->random = true; return 0;
    case KEY_BEST: o->best = true; return 0;
    case KEY_FLIP: o->flip = true; return 0;
    case KEY_NORMS: s->keep_norms = true; return 0;
    case KEY_HISTORY: s->history = arg; return 0;
    case KEY_ARCH:
        s->arch = bl_architecture_find(arg);
        return s->arch ? 0 : bl_cli_bad(&s->cli, "--arch", arg, "see `bitlathe list architectures`");
    case KEY_SHAPE: return shape(s, arg);
    case KEY_CLASSES: return count(s, "--classes", arg, 2, &s->classes);
    case KEY_PAGE: s->page = arg; return 0;
    case KEY_PLAN: s->plan = arg; return 0;
    case KEY_TRAINER: s->trainer = arg; return 0;
    case KEY_FRESH: s->fresh = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* The curves so far. */
static bl_status write_page(state *s, const bl_train_epoch *epochs, int64_t n, bool live)
{
    const bl_trained so_far = { .epochs = (bl_train_epoch *)(uintptr_t)epochs, .n_epochs = n };
    json_t *h = bl_trained_history(&so_far, &s->o);
    bl_status st = h ? bl_training_page(s->cli.ctx, h, s->arch ? s->arch->name : bl_path_base(s->cli.args[0]), s->o.epochs, live, s->page)
                     : bl_fail(s->cli.ctx, BL_INTERNAL, "history", "please report this", "cannot be written");
    json_decref(h);
    return st;
}

/* A line for each epoch, as it ends, and the page. */
static void told(void *user, const bl_train_epoch *e)
{
    state *s = user;
    if (s->page && s->page_status == BL_OK) s->page_status = write_page(s, e - (e->epoch - 1), e->epoch, true);
    double seconds = (double)(bl_now_ns() - s->start_ns) * 1e-9;
    if (s->cli.json) return;
    printf("epoch %lld/%lld: loss %.4f", (long long)e->epoch, (long long)s->o.epochs, e->loss);
    if (!isnan(e->held_accuracy)) printf(", held out %.2f %%", 100 * e->held_accuracy);
    else if (!isnan(e->held_loss)) printf(", held out %.5g", e->held_loss);
    printf(", rate %.4g, %.0f s\n", e->rate, seconds);
    fflush(stdout);
}

static bl_status write_network(state *s, const bl_trained *t)
{
    bl_graph *folded = NULL;
    if (s->keep_norms) return bl_write_onnx(s->cli.ctx, t->graph, s->cli.output);
    BL_TRY(bl_prepare(s->cli.ctx, t->graph, &folded));
    bl_status st = bl_write_onnx(s->cli.ctx, folded, s->cli.output);
    bl_graph_free(folded);
    return st;
}

/* The plan with its learned scales, and the weights that it names, into the folder of -o. */
static bl_status write_grids(state *s, const bl_graph *prepared, const bl_data *data, bl_plan *plan, bl_weights *w)
{
    bl_ctx *ctx = s->cli.ctx;
    BL_TRY(bl_cli_begin_run(&s->cli, s->cli.output, s->cli.args[0], prepared, data, s->cli.data.limit)); /* for `lower` of this folder */
    char *weights = bl_path_join(s->cli.arena, s->cli.output, "weights.blw");
    char *to = bl_path_join(s->cli.arena, s->cli.output, "plan.json");
    if (!weights || !to) return bl_pending(ctx);
    BL_TRY(bl_weights_write(ctx, prepared, w, weights));
    plan->weights = w->hash;
    return bl_plan_write(ctx, prepared, plan, to);
}

static bl_status write_history(state *s, const bl_trained *t)
{
    json_t *j, *h;
    bl_hash hash;
    if (!s->history) return BL_OK;
    j = bl_record_new(s->cli.ctx, "history", 1, 0);
    h = bl_trained_history(t, &s->o);
    if (!j || !h) return bl_fail(s->cli.ctx, BL_INTERNAL, "history", "please report this", "cannot be written");
    json_object_update(j, h);
    json_decref(h);
    bl_status st = bl_record_write(s->cli.ctx, j, s->history, &hash);
    json_decref(j);
    return st;
}

static bl_status say(state *s, const bl_trained *t)
{
    double seconds = (double)(bl_now_ns() - s->start_ns) * 1e-9;
    if (s->cli.json) {
        json_t *j = bl_trained_history(t, &s->o);
        json_object_set_new(j, "model_file", json_string(s->cli.output));
        json_object_set_new(j, "resumed_epochs", json_integer((json_int_t)t->resumed));
        json_object_set_new(j, "seconds", bl_json_real(seconds));
        return bl_cli_json(&s->cli, j);
    }
    printf("%s: %lld parameters, %lld samples, weights of epoch %lld\n", s->cli.output, (long long)t->parameters,
           (long long)t->samples, (long long)t->kept);
    return BL_OK;
}

static bl_status teach(state *s)
{
    bl_ctx *ctx = s->cli.ctx;
    bl_graph *graph = NULL;
    bl_data *data = NULL;
    bl_graph *prepared = NULL;
    bl_plan *plan = NULL;
    bl_weights *w = NULL;
    bl_trained *t = NULL;
    char *part;

    if ((s->cli.n_args == 1) == (s->arch != NULL) || (s->arch && s->plan))
        return bl_fail(ctx, BL_USAGE, s->cli.program, "give MODEL.onnx or --arch", "one network is taught");
    if (!s->arch && (s->shape[0] || s->classes != 10)) return bl_fail(ctx, BL_USAGE, s->cli.program, "leave them out", "--shape and --classes are those of --arch");
    if (s->arch) s->o.random = true;
    if (!s->cli.output) return bl_fail(ctx, BL_USAGE, s->cli.program, "give -o OUT.onnx", "no file for the network");
    if (!s->cli.has_data) return bl_fail(ctx, BL_USAGE, s->cli.program, "give --data", "no samples to learn from");
    part = bl_format(s->cli.arena, "%s.part", s->cli.output);
    BL_ALLOC_TRY(ctx, part);
    s->o.checkpoint = part;
    s->o.limit = s->cli.data.limit;
    s->o.stored = &s->cli.data;
    s->o.told = told;
    s->o.user = s;
    s->start_ns = bl_now_ns();
    if (s->fresh) (void)unlink(part);
    if (!s->plan) BL_TRY(bl_can_create(ctx, s->cli.output)); /* with a plan it is a folder */
    if (s->page) BL_TRY(bl_can_create(ctx, s->page));
    if (s->history) BL_TRY(bl_can_create(ctx, s->history));
    bl_status st = s->arch ? bl_architecture_make(ctx, s->arch, s->shape[0] ? s->shape : NULL, s->classes, &graph)
                           : bl_cli_float_model(&s->cli, s->cli.args[0], false, &graph);
    if (st == BL_OK) st = bl_cli_data(&s->cli, graph, NULL, &data);
    if (st == BL_OK && s->plan) st = bl_prepare(ctx, graph, &prepared);
    if (st == BL_OK && s->plan) st = bl_plan_read(ctx, prepared, s->plan, &plan);
    if (st == BL_OK && s->plan) st = bl_train_quantized(ctx, prepared, plan, data, s->trainer, &s->o, &w, &t);
    if (st == BL_OK && !s->plan) st = bl_train(ctx, graph, data, &s->o, &t);
    if (t) {
        bl_status kept = s->plan ? write_grids(s, prepared, data, plan, w) : write_network(s, t);
        if (kept == BL_OK) kept = write_history(s, t);
        if (kept == BL_OK && s->page) kept = write_page(s, t->epochs, t->n_epochs, false);
        if (kept == BL_OK && st == BL_OK) kept = say(s, t);
        if (st == BL_OK) st = kept;
    }
    if (st == BL_OK) (void)unlink(part); /* done: nothing to go on from */
    bl_weights_free(w);
    bl_plan_free(plan);
    bl_graph_free(prepared);
    bl_trained_free(t);
    bl_data_free(data);
    bl_graph_free(graph);
    return st;
}

/* A recipe has other words, and another result: a front. */
static bool names_recipe(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--recipe") || !strncmp(argv[i], "--recipe=", 9)) return true;
    return false;
}

int bl_cmd_train(int argc, char **argv)
{
    if (names_recipe(argc, argv)) return bl_train_by_recipe(argc, argv);
    static const bl_verb verb = {
        .name = "train", .words = "MODEL.onnx | --arch NAME", .help = "Teaches a network with labelled samples and writes it as ONNX.",
        .example = "bitlathe train net.onnx --random --data cifar:train_a.bin --mean 125.3,123,113.9 --std 63,62.1,66.7 "
                   "--flip --pad 4 -o net.trained.onnx",
        .options = options, .parse = parse, .data = true, .args_min = 0, .args_max = 1 };
    state s = { .o = bl_train_options_default(), .trainer = "lsq", .classes = 10 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, teach(&s));
}
