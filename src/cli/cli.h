/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command line: one file a verb, one row each in commands.def.  Only this room prints and exits.
 */
#ifndef BL_CLI_H
#define BL_CLI_H

#include "emit/emit.h"
#include "search/search.h"

#include <argp.h>

enum { BL_CLI_ARGS_MAX = 64, BL_CLI_DIMS_MAX = 16 };

/* What every verb understands; the first member of each verb's own state. */
typedef struct bl_cli {
    bl_ctx *ctx;
    bl_arena *arena;            /* for what lives as long as the call */
    bl_options options;
    const char *program;        /* "bitlathe eval" */
    const char *output;         /* -o */
    bool json;
    int verbose;
    bl_data_options data;
    bool has_data;
    bl_dim_binding dims[BL_CLI_DIMS_MAX];
    size_t n_dims;
    bool as_written;            /* models keep a batch of several; set by verbs that show or run a file as it is */
    bool told_batch;            /* that one was taken apart has been said */
    bool dequantize;            /* --dequantize: models are made float again */
    bool equalise_noise;        /* --equalise-noise */
    bool equalise;              /* --equalise: and prepared ones equalised */
    const char *args[BL_CLI_ARGS_MAX];
    int n_args;
    int rank, ranks;            /* under mpirun; 0 of 1 without */
    bool shares;                /* set before opening: the verb shares its pieces out to ranks */
    bl_status bad;              /* an option's value made no sense: the error is in early */
    char early[512];
} bl_cli;

typedef struct bl_command {
    const char *name, *words, *help;
    int (*main)(int argc, char **argv);
} bl_command;
#define X(symbol, name, words, help) int bl_cmd_##symbol(int argc, char **argv);
#include "cli/commands.def"
#undef X
extern const bl_command bl_commands[];
extern const size_t bl_n_commands;

/* Parses a verb's command line: the common options, those of data sets when `data`, and the verb's own.
 * `example` ends --help.  Makes the context.  On failure prints the error and returns its exit code;
 * BL_OK (0) to go on. */
typedef struct bl_verb {
    const char *name, *words, *help, *example;
    const struct argp_option *options;  /* may be NULL */
    error_t (*parse)(int key, char *arg, void *state); /* ARGP_ERR_UNKNOWN for what is not its own */
    bool data;
    int args_min, args_max;
} bl_verb;
int bl_cli_open(bl_cli *cli, void *state, const bl_verb *verb, int argc, char **argv);
/* Prints the pending error if status is one, frees everything, returns the exit code. */
int bl_cli_close(bl_cli *cli, bl_status status);
/* ranks.c: how many processes the launcher says there are, and which one this is. */
int bl_ranks_told(int *rank);
bl_status bl_ranks_open(bl_cli *cli);
void bl_ranks_close(const bl_cli *cli, bl_status status);
bl_status bl_ranks_wait(bl_cli *cli);                   /* until every rank has come so far */
bl_status bl_ranks_sum(bl_cli *cli, int64_t *v, int n); /* of all ranks, known to all */

/* For a parse function: an option's value makes no sense. */
error_t bl_cli_bad(bl_cli *cli, const char *option, const char *value, const char *remedy);

/* cmd_import.c: what is in a graph. */
bl_status bl_cli_print_graph(bl_cli *cli, const bl_graph *graph);

/* Prints a JSON object on standard output and takes it. */
bl_status bl_cli_json(bl_cli *cli, json_t *value);

/* The answer of a verb that is one object: takes it, puts it to -o where that is given and on standard
 * output with --json.  false in *text: there is nothing left to say in words. */
bl_status bl_cli_answer(bl_cli *cli, json_t *value, bool *text);

/* Model files: .blp by content, else ONNX.  One of the two results is set. */
bl_status bl_cli_model(bl_cli *cli, const char *path, bool prepared, bl_graph **graph, bl_program **program);
/* The float network that a verb makes something from: prepared or not, never a program or a quantized one. */
bl_status bl_cli_float_model(bl_cli *cli, const char *path, bool prepared, bl_graph **graph);
/* run_folder.c.  The model that a run was made from, by its run.json: the path in the call's arena, and with it --dequantize
 * and --dim. */
bl_status bl_cli_run_model(bl_cli *cli, const char *run_json, const char **model);
bool bl_cli_is_folder(const char *path);
/* Writes run.json into the folder, which is made.  data NULL: its words stay those of an earlier call on this network.  limit: how
 * many of the samples, evenly spaced; 0: all. */
bl_status bl_cli_keep_run(bl_cli *cli, const char *dir, const char *model, const bl_graph *graph, const bl_data *data, int64_t limit);
/* The same, where none of this network is there. */
bl_status bl_cli_begin_run(bl_cli *cli, const char *dir, const char *model, const bl_graph *graph, const bl_data *data, int64_t limit);
/* The data set of --data, else the run's own, which must be what it was; *limit: of --limit, else the run's, else 0. */
bl_status bl_cli_run_data(bl_cli *cli, const char *dir, const bl_graph *graph, bl_data **out, int64_t *limit);
/* The tuned weights that a plan names, given or beside it; NULL: it names none.  Others than those are refused. */
bl_status bl_cli_plan_weights(bl_cli *cli, const bl_graph *g, const bl_plan *plan, const char *plan_path, const char *given, bl_weights **out);
bool bl_cli_run_keeps_data(bl_cli *cli, const char *run_json);
/* The data set of --data for whichever of the two is set. */
bl_status bl_cli_data(bl_cli *cli, const bl_graph *graph, const bl_program *program, bl_data **out);
/* Another data set of the same form, to judge by: preprocessing of --data, but one crop a picture.  limit 0: all. */
bl_status bl_cli_judging_data(bl_cli *cli, const char *spec, int64_t limit, const bl_graph *graph, bl_data **out);
/* bitlathe inspect --worst. */
bl_status bl_inspect_worst(bl_cli *cli);
bl_status bl_inspect_worst_measured(bl_cli *cli); /* inspect_measured.c */
/* bitlathe inspect weights.blw. */
bool bl_cli_is_weights(const bl_map *map);
bl_status bl_inspect_weights(bl_cli *cli);
/* A file that begins as a record does; and a fixed-point network (fixed.json) on --data, predictions and scores in the
 * call's arena. */
bool bl_cli_is_record(bl_cli *cli, const char *path);
/* The first --limit samples; none of data and net is kept. */
bl_status bl_cli_eval_net(bl_cli *cli, const bl_fixed_net *net, bl_data *data, bool scores, bl_eval_result *out);
bl_status bl_cli_eval_fixed(bl_cli *cli, const char *path, bool scores, bl_eval_result *out);
/* bitlathe train --recipe NAME. */
int bl_train_by_recipe(int argc, char **argv);
/* What runs in binary32 between the codes, one line by operator; nothing where there is none. */
void bl_cli_islands(bl_cli *cli, const bl_program *p);

#endif
