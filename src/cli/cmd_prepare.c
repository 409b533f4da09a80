/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe prepare: a model folded and fused, its channels split on request; told, or written as ONNX. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

enum { KEY_SPLIT = 0x200, KEY_SAMPLES };

typedef struct state {
    bl_cli cli;
    int64_t classes, samples;   /* classes 0: channels stay together */
} state;

static const struct argp_option options[] = {
    { "split-channels", KEY_SPLIT, "N", 0, "what depthwise layers read is cut into up to N classes of channels of similar range, each with a "
                                           "grid of its own (4 is a good number); wants --data", 1 },
    { "samples", KEY_SAMPLES, "N", 0, "to look at for that (256)", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    uint64_t n;
    switch (key) {
    case KEY_SPLIT:
        if (!bl_parse_u64(arg, &n) || n < 2 || n > BL_SPLIT_MOST) return bl_cli_bad(&s->cli, "--split-channels", arg, "give 2 to 16");
        s->classes = (int64_t)n;
        return 0;
    case KEY_SAMPLES:
        if (!bl_parse_u64(arg, &n) || n < 1 || n > 1u << 20) return bl_cli_bad(&s->cli, "--samples", arg, "give a number from 1 on");
        s->samples = (int64_t)n;
        return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

/* *graph becomes the split one. */
static bl_status split(state *s, bl_graph **graph)
{
    bl_data *data;
    bl_split told;
    bl_graph *from = *graph;
    BL_TRY(bl_cli_data(&s->cli, from, NULL, &data));
    bl_status st = bl_split_channels(s->cli.ctx, from, data, s->samples, (int)s->classes, &told, graph);
    bl_data_free(data);
    if (st != BL_OK) {
        *graph = from;
        return st;
    }
    bl_graph_free(from);
    bl_note(s->cli.ctx, "%d of %d values in front of depthwise layers were cut, into %d parts in all", told.cut, told.sites, told.parts);
    return BL_OK;
}

static bool is_onnx(const char *path)
{
    size_t n = path ? strlen(path) : 0;
    return n > 5 && !strcmp(path + n - 5, ".onnx");
}

static bl_status answer(state *s, const bl_graph *g)
{
    bool model = is_onnx(s->cli.output);
    if (model) BL_TRY(bl_write_onnx(s->cli.ctx, g, s->cli.output));
    const char *record = s->cli.output;
    if (model) s->cli.output = NULL; /* the description goes to the terminal alone */
    bl_status st = bl_cli_print_graph(&s->cli, g);
    s->cli.output = record;
    return st;
}

int bl_cmd_prepare(int argc, char **argv)
{
    const bl_verb verb = { "prepare", "MODEL.onnx", "Folds constants and BatchNormalization, fuses activations; says what is left, and "
                           "writes it where -o names an .onnx file.",
                           "bitlathe prepare net.onnx --split-channels 4 --data npy:calib.npy -o split.onnx", options, parse, true, 1, 1 };
    state s = { .samples = 0 };
    bl_graph *g;
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    if (code) return code;
    bl_status st = bl_cli_model(&s.cli, s.cli.args[0], true, &g, NULL);
    if (st == BL_OK) {
        if (s.classes) st = split(&s, &g);
        if (st == BL_OK) st = answer(&s, g);
        bl_graph_free(g);
    }
    return bl_cli_close(&s.cli, st);
}
