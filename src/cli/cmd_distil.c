/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe distil: samples made from the network itself, for when there are none. */
#include "cli/cli.h"

#include "train/train.h"

#include <stdio.h>

enum { KEY_SAMPLES = 0x200, KEY_STEPS, KEY_CLASS_WEIGHT, KEY_PER_SAMPLE };

typedef struct state {
    bl_cli cli;
    bl_distil_options o;
} state;

static const struct argp_option options[] = {
    { "samples", KEY_SAMPLES, "N", 0, "how many (32; 16 where a network from 128 x 128 positions on has over 2 million values)", 1 },
    { "steps", KEY_STEPS, "N", 0, "of descent (500; 200 from 128 x 128 positions on)", 1 },
    { "class-weight", KEY_CLASS_WEIGHT, "W", 0, "weight of a random class for each sample (1); 0: none", 1 },
    { "per-sample", KEY_PER_SAMPLE, NULL, 0, "match the statistics sample by sample, as ZeroQ does", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    state *s = input;
    uint64_t n;
    switch (key) {
    case KEY_SAMPLES:
    case KEY_STEPS:
        if (!bl_parse_u64(arg, &n) || n < 1 || n > 1u << 20)
            return bl_cli_bad(&s->cli, key == KEY_SAMPLES ? "--samples" : "--steps", arg, "give a number from 1 on");
        *(key == KEY_SAMPLES ? &s->o.samples : &s->o.steps) = (int64_t)n;
        return 0;
    case KEY_CLASS_WEIGHT:
        if (!bl_parse_f64(arg, &s->o.class_weight) || s->o.class_weight < 0)
            return bl_cli_bad(&s->cli, "--class-weight", arg, "give a number from 0 on");
        return 0;
    case KEY_PER_SAMPLE: s->o.per_sample = true; return 0;
    default: return ARGP_ERR_UNKNOWN;
    }
}

static bl_status distil(state *s)
{
    bl_graph *graph = NULL;
    bl_distilled *d = NULL;
    uint64_t start = bl_now_ns();
    if (!s->cli.output)
        return bl_fail(s->cli.ctx, BL_USAGE, s->cli.program, "give -o FILE.npy", "no file for the samples");
    BL_TRY(bl_can_create(s->cli.ctx, s->cli.output));
    BL_TRY(bl_cli_float_model(&s->cli, s->cli.args[0], false, &graph));
    bl_status st = bl_distil(s->cli.ctx, graph, &s->o, &d);
    if (st == BL_OK) st = bl_npy_write(s->cli.ctx, s->cli.output, &d->x);
    double seconds = (double)(bl_now_ns() - start) * 1e-9;
    if (st == BL_OK && s->cli.json) {
        json_t *o = json_pack("{s:s, s:I, s:i, s:I}", "samples_file", s->cli.output, "samples", (json_int_t)d->x.dim[0],
                              "layers", d->n_layers, "steps", (json_int_t)d->steps);
        json_object_set_new(o, "loss_first", bl_json_real(d->loss_first));
        json_object_set_new(o, "loss_last", bl_json_real(d->loss_last));
        json_object_set_new(o, "input_mean", bl_json_real(d->offset));
        json_object_set_new(o, "input_deviation", bl_json_real(d->scale));
        json_object_set_new(o, "seconds", bl_json_real(seconds));
        st = bl_cli_json(&s->cli, o);
    } else if (st == BL_OK && d->n_layers) {
        printf("%s: %lld samples, loss %.4g to %.4g over %d layers in %lld steps, %.1f s; input about %.3g +- %.3g\n",
               s->cli.output, (long long)d->x.dim[0], d->loss_first, d->loss_last, d->n_layers, (long long)d->steps,
               seconds, d->offset, d->scale);
    } else if (st == BL_OK) {
        printf("%s: %lld samples of Gaussian numbers: the model keeps no BatchNormalization to learn from\n",
               s->cli.output, (long long)d->x.dim[0]);
    }
    bl_distilled_free(d);
    bl_graph_free(graph);
    return st;
}

int bl_cmd_distil(int argc, char **argv)
{
    static const bl_verb verb = {
        .name = "distil", .words = "MODEL.onnx", .help = "samples made from the network's own statistics, when there are none",
        .example = "bitlathe distil models/resnet8_fmnist.onnx -o samples.npy",
        .options = options, .parse = parse, .args_min = 1, .args_max = 1 };
    state s = { .o = bl_distil_options_default() };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, distil(&s));
}
