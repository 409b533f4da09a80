/* SPDX-License-Identifier: BSD-3-Clause */
/* What every verb understands, progress on a terminal, errors in one line. */
#define _GNU_SOURCE /* asprintf */
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { KEY_SEED = 0x100, KEY_THREADS, KEY_MEMORY, KEY_ISA, KEY_JSON, KEY_DIM, KEY_DATA, KEY_MEAN, KEY_STD, KEY_RESIZE,
       KEY_CROP, KEY_CROPS, KEY_CHANNELS, KEY_LAYOUT, KEY_WINDOW, KEY_LIMIT, KEY_USAGE, KEY_DEQUANTIZE, KEY_EQUALISE, KEY_EQUALISE_NOISE };

static const struct argp_option common_options[] = {
    { NULL, 0, NULL, 0, "Common options:", 90 },
    { "output", 'o', "PATH", 0, "where the result goes", 90 },
    { "json", KEY_JSON, NULL, 0, "one JSON object on standard output", 90 },
    { "seed", KEY_SEED, "N", 0, "every random choice derives from it (1)", 90 },
    { "threads", KEY_THREADS, "N", 0, "at most so many (one a core)", 90 },
    { "memory", KEY_MEMORY, "SIZE", 0, "ceiling of what input can make us allocate (3/4 of RAM)", 90 },
    { "isa", KEY_ISA, "NAME", 0, "strongest instruction set to use", 90 },
    { "dim", KEY_DIM, "NAME=N", 0, "binds a free dimension of the model", 90 },
    { "dequantize", KEY_DEQUANTIZE, NULL, 0, "a quantized model is made float again", 90 },
    { "equalise", KEY_EQUALISE, NULL, 0, "layers share the ranges of their channels, biases move on [DFQ]: for --per-tensor", 90 },
    { "equalise-noise", KEY_EQUALISE_NOISE, NULL, 0, "the same for least expected noise, with bounds by channel", 90 },
    { "verbose", 'v', NULL, 0, "say more", 90 },
    { "help", '?', NULL, 0, "this list", 90 },
    { "usage", KEY_USAGE, NULL, 0, "the options alone", 90 },
    { 0 }
};

static const struct argp_option data_options[] = {
    { NULL, 0, NULL, 0, "Data:", 50 },
    { "data", KEY_DATA, "SPEC", 0, "cifar:FILE, idx:IMAGES,LABELS, npy:X.npy[,LABELS.csv], csv:FILE, ...", 50 },
    { "mean", KEY_MEAN, "A[,B,C]", 0, "subtracted from the stored values", 50 },
    { "std", KEY_STD, "A[,B,C]", 0, "then divided by", 50 },
    { "resize", KEY_RESIZE, "N", 0, "shorter side of pictures", 50 },
    { "crop", KEY_CROP, "N|HxW", 0, "centre crop of pictures", 50 },
    { "crops", KEY_CROPS, "N", 0, "so many crops of a picture, each a sample: the centre, then the corners (images:, 1 to 5)", 50 },
    { "channels", KEY_CHANNELS, "rgb|bgr", 0, "order the network wants", 50 },
    { "layout", KEY_LAYOUT, "nchw|nhwc", 0, "of the stored arrays", 50 },
    { "window", KEY_WINDOW, "N", 0, "sliding windows over a sample's first axis", 50 },
    { "limit", KEY_LIMIT, "N", 0, "samples to use", 50 },
    { 0 }
};

error_t bl_cli_bad(bl_cli *cli, const char *option, const char *value, const char *remedy)
{
    if (cli->bad == BL_OK) {
        cli->bad = BL_USAGE;
        snprintf(cli->early, sizeof cli->early, "%s: \"%.200s\" makes no sense; %s", option, value, remedy);
    }
    return 0;
}

static error_t parse_dim(bl_cli *cli, char *arg)
{
    char *eq = strchr(arg, '=');
    uint64_t n;
    if (!eq || cli->n_dims == BL_CLI_DIMS_MAX || !bl_parse_u64(eq + 1, &n) || n < 1 || n > INT32_MAX)
        return bl_cli_bad(cli, "--dim", arg, "write --dim NAME=SIZE");
    *eq = 0;
    cli->dims[cli->n_dims++] = (bl_dim_binding){ arg, (int64_t)n };
    return 0;
}

/* Prints and exits.  Errors are ours to print (ARGP_NO_ERRS), and that silences help as well. */
static error_t show_help(struct argp_state *state, unsigned what)
{
    state->flags &= ~(unsigned)ARGP_NO_ERRS;
    argp_state_help(state, stdout, what);
    return 0;
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
    bl_cli *cli = state->input;
    uint64_t n;
    switch (key) {
    case '?': return show_help(state, ARGP_HELP_STD_HELP);
    case KEY_USAGE: return show_help(state, ARGP_HELP_USAGE | ARGP_HELP_EXIT_OK);
    case 'o': cli->output = arg; return 0;
    case 'v': cli->verbose++; return 0;
    case KEY_JSON: cli->json = true; return 0;
    case KEY_ISA: cli->options.isa = arg; return 0;
    case KEY_DIM: return parse_dim(cli, arg);
    case KEY_DEQUANTIZE: cli->dequantize = true; return 0;
    case KEY_EQUALISE: cli->equalise = true; return 0;
    case KEY_EQUALISE_NOISE: cli->equalise = cli->equalise_noise = true; return 0;
    case KEY_SEED:
        if (!bl_parse_u64(arg, &n) || n > INT64_MAX) return bl_cli_bad(cli, "--seed", arg, "give a whole number");
        cli->options.seed = n;
        return 0;
    case KEY_THREADS:
        if (!bl_parse_u64(arg, &n) || n < 1 || n > 256) return bl_cli_bad(cli, "--threads", arg, "give 1 to 256");
        cli->options.threads = (unsigned)n;
        return 0;
    case KEY_MEMORY:
        if (!bl_parse_bytes(arg, &n) || n < 1 << 20) return bl_cli_bad(cli, "--memory", arg, "give at least 1MiB, such as 4GiB");
        cli->options.memory_bytes = n;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static error_t parse_data(int key, char *arg, struct argp_state *state)
{
    static const char *const names[] = { "data", "mean", "std", "resize", "crop", "crops", "channels", "layout", "window", "limit" };
    bl_cli *cli = state->input;
    if (key < KEY_DATA || key > KEY_LIMIT) return ARGP_ERR_UNKNOWN;
    if (key == KEY_DATA) cli->has_data = true;
    bl_status s = bl_data_option(cli->ctx, names[key - KEY_DATA], arg, &cli->data);
    if (s != BL_OK && cli->bad == BL_OK) {
        bl_error e = bl_last_error(cli->ctx);
        cli->bad = s;
        snprintf(cli->early, sizeof cli->early, "%s: %s; %s", e.place, e.what, e.remedy);
    }
    return 0;
}

typedef struct parsing {
    const bl_verb *verb;
    bl_cli *cli;
    void *state;
} parsing;

static error_t parse_verb(int key, char *arg, struct argp_state *state)
{
    parsing *p = state->input;
    switch (key) {
    case ARGP_KEY_INIT:
        state->child_inputs[0] = p->cli;
        if (p->verb->data) state->child_inputs[1] = p->cli;
        return 0;
    case ARGP_KEY_ARG:
        if (p->cli->n_args >= p->verb->args_max || p->cli->n_args == BL_CLI_ARGS_MAX)
            return bl_cli_bad(p->cli, p->verb->name, arg, "too many arguments; see --help");
        p->cli->args[p->cli->n_args++] = arg;
        return 0;
    case ARGP_KEY_END:
        if (p->cli->n_args < p->verb->args_min && p->cli->bad == BL_OK) {
            p->cli->bad = BL_USAGE;
            snprintf(p->cli->early, sizeof p->cli->early, "%s: %s is missing; see --help", p->verb->name, p->verb->words);
        }
        return 0;
    case ARGP_KEY_ERROR:
        return bl_cli_bad(p->cli, p->verb->name, state->argv[BL_MAX(state->next - 1, 0)],
                          "no such option, or its value is missing; see --help");
    default: return p->verb->parse ? p->verb->parse(key, arg, p->state) : ARGP_ERR_UNKNOWN;
    }
}

/* ---- callbacks */

static bool progress_shown;

static void show_progress(void *user, const char *stage, uint64_t done, uint64_t total, double seconds_left)
{
    (void)user;
    char left[32] = "";
    if (seconds_left >= 0) snprintf(left, sizeof left, ", %.0f s left", seconds_left);
    fprintf(stderr, "\r\033[K%s %llu/%llu%s", stage, (unsigned long long)done, (unsigned long long)total, left);
    progress_shown = true;
    if (done >= total) {
        fprintf(stderr, "\r\033[K");
        progress_shown = false;
    }
    fflush(stderr);
}

static void show_note(void *user, const char *line)
{
    (void)user;
    if (progress_shown) fprintf(stderr, "\r\033[K");
    fprintf(stderr, "bitlathe: note: %s\n", line);
}

static bl_ctx *interruptible;
static volatile sig_atomic_t signalled;

static void on_signal(int number)
{
    signalled = number;
    bl_interrupt(interruptible);
}

/* A person's Ctrl-C, or a queue that wants the machine back. */
static bl_status print_stopped(bl_cli *cli)
{
    bool asked = signalled == SIGTERM;
    if (progress_shown) fprintf(stderr, "\r\033[K");
    fprintf(stderr, "bitlathe: %s: %s; %s\n", bl_last_error(cli->ctx).place, asked ? "stopped" : "interrupted",
            cli->output ? "finished work is kept, the same command goes on from there" : "nothing was kept");
    return asked ? BL_STOPPED : BL_INTERRUPTED;
}

static int print_error(bl_cli *cli, bl_status s)
{
    bl_error e = bl_last_error(cli->ctx);
    if (progress_shown) fprintf(stderr, "\r\033[K");
    fprintf(stderr, "bitlathe: %s: %s%s%s\n", e.place, e.what, *e.remedy ? "; " : "", e.remedy);
    return (int)s;
}

int bl_cli_open(bl_cli *cli, void *state, const bl_verb *verb, int argc, char **argv)
{
    static char name[64];
    parsing p = { verb, cli, state };
    char *doc = NULL;
    if (asprintf(&doc, "%s\v%s%s", verb->help, verb->example ? "Example:\n  " : "", verb->example ? verb->example : "") < 0)
        return BL_UNAVAILABLE;
    snprintf(name, sizeof name, "bitlathe %s", verb->name);
    struct argp common = { common_options, parse_common, NULL, NULL, NULL, NULL, NULL };
    struct argp data = { data_options, parse_data, NULL, NULL, NULL, NULL, NULL };
    struct argp_child children[] = { { &common, 0, NULL, 90 }, { verb->data ? &data : NULL, 0, NULL, 50 }, { 0 } };
    struct argp argp = { verb->options, parse_verb, verb->words, doc, children, NULL, NULL };
    cli->program = name;
    cli->options = bl_options_default();
    bl_options before = cli->options; /* the parser of data options needs somewhere to put errors */
    bl_status s = bl_ctx_new(&before, &cli->ctx);
    if (s != BL_OK) {
        free(doc);
        return cli->ctx ? bl_cli_close(cli, s) : (int)s;
    }
    argp_err_exit_status = BL_USAGE;
    argv[0] = name;
    error_t refused = argp_parse(&argp, argc, argv, ARGP_NO_ERRS | ARGP_NO_HELP, NULL, &p);
    free(doc);
    bl_ctx_free(cli->ctx);
    cli->ctx = NULL;
    if (refused) bl_cli_bad(cli, verb->name, argv[argc - 1], "see --help");
    if (cli->bad != BL_OK) {
        for (char *c = cli->early; *c; c++)
            if ((unsigned char)*c < 0x20 || *c == 0x7F) *c = '?'; /* one line that no terminal obeys */
        fprintf(stderr, "bitlathe: %s\n", cli->early);
        return (int)cli->bad;
    }
    int rank;
    bl_ranks_told(&rank);
    if (!rank) cli->options.note = show_note; /* the others would say the same */
    if (!rank && isatty(STDERR_FILENO)) cli->options.progress = show_progress;
    s = bl_ctx_new(&cli->options, &cli->ctx);
    if (s == BL_OK) s = (cli->arena = bl_arena_new(cli->ctx, "command")) ? BL_OK : cli->ctx->code;
    bl_isa isa;
    if (s == BL_OK) s = bl_isa_resolve(cli->ctx, &isa);
    if (s == BL_OK) s = bl_ranks_open(cli);
    if (s != BL_OK) return cli->ctx ? bl_cli_close(cli, s) : (int)s;
    interruptible = cli->ctx;
    struct sigaction on = { .sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND }; /* a second Ctrl-C kills */
    sigaction(SIGINT, &on, NULL);
    sigaction(SIGTERM, &on, NULL);
    return 0;
}

int bl_cli_close(bl_cli *cli, bl_status status)
{
    if (status == BL_INTERRUPTED) status = print_stopped(cli);
    else if (status != BL_OK && status != BL_GOAL) print_error(cli, status);
    if (fflush(stdout) != 0 && status == BL_OK) {
        fprintf(stderr, "bitlathe: standard output: cannot be written; free some space\n");
        status = BL_IO;
    }
    bl_ranks_close(cli, status);
    bl_arena_free(cli->arena);
    signal(SIGINT, SIG_DFL);
    signal(SIGTERM, SIG_DFL);
    bl_ctx_free(cli->ctx);
    cli->ctx = NULL;
    return (int)status;
}

bl_status bl_cli_json(bl_cli *cli, json_t *value)
{
    if (!value) return bl_fail(cli->ctx, BL_INTERNAL, "json", "please report this", "cannot be written");
    char *text = bl_json_text(cli->arena, value, true);
    json_decref(value);
    BL_ALLOC_TRY(cli->ctx, text);
    printf("%s\n", text);
    return BL_OK;
}

bl_status bl_cli_answer(bl_cli *cli, json_t *value, bool *text)
{
    *text = !cli->json;
    if (!value) return bl_fail(cli->ctx, BL_INTERNAL, "json", "please report this", "cannot be written");
    bl_status s = cli->output ? bl_json_write(cli->ctx, cli->output, value) : BL_OK;
    if (s != BL_OK || *text) {
        json_decref(value);
        return s;
    }
    return bl_cli_json(cli, value);
}
