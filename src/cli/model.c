/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening what a verb is given: a model or a program, and a data set for it. */
#include "cli/cli.h"

#include <string.h>

static bl_status is_program(bl_cli *cli, const char *path, bool *yes)
{
    bl_map map;
    BL_TRY(bl_map_file(cli->ctx, path, 0, &map));
    *yes = map.size >= 12 && !memcmp(map.data, "BITLATHE", 8);
    bl_unmap(&map);
    return BL_OK;
}

/* *graph, which is prepared, becomes the equalised one. */
static bl_status equalise(bl_cli *cli, bl_graph **graph)
{
    bl_equalised told;
    bl_graph *from = *graph;
    bl_status s = (cli->equalise_noise ? bl_equalise_tensors : bl_equalise)(cli->ctx, from, &told, graph);
    bl_graph_free(from);
    if (s != BL_OK) *graph = NULL;
    BL_TRY(s);
    if (cli->equalise_noise) {
        bl_note(cli->ctx, "equalised: %d sets of channels, expected noise to signal %.3g before and %.3g after, %d bounds by channel, %d dead channels",
                told.classes, told.noise_first, told.noise_last, told.bounded, told.dead);
        return BL_OK;
    }
    bl_note(cli->ctx, "equalised: %d sets of channels in %d sweeps, %d channels at a bound stay, %d absorbed into the next biases",
            told.classes, told.sweeps, told.held, told.absorbed);
    return BL_OK;
}

/* *graph, raw, for one sample where it was exported for several; where that cannot be, as it is. */
static bl_status one_sample(bl_cli *cli, const char *path, bl_graph **graph)
{
    bl_graph *from = *graph, *one = NULL;
    if (cli->as_written || !bl_graph_is_batched(from)) return BL_OK;
    long long batch = (long long)from->batch;
    uint64_t refusals = bl_refusals(cli->ctx);
    bl_status s = bl_unbatch_graph(cli->ctx, from, &one);
    bool stays = s == BL_UNAVAILABLE && bl_refusals(cli->ctx) == refusals;
    if (s != BL_OK && !stays) {
        bl_graph_free(from);
        *graph = NULL;
        return s;
    }
    bl_error e = bl_last_error(cli->ctx);
    if (stays && !cli->told_batch)
        bl_note(cli->ctx, "%s is made for a batch of %lld and stays so: %s: %s; export it with a batch of 1 or a free one", path, batch,
                e.place, e.what);
    if (!stays && !cli->told_batch) bl_note(cli->ctx, "%s is made for a batch of %lld; it is taken for one sample at a time", path, batch);
    cli->told_batch = true;
    if (stays) return BL_OK;
    bl_graph_free(from);
    *graph = one;
    return BL_OK;
}

/* A run's folder where a file belongs: which of its files, where a program will do. */
static bl_status no_folder(bl_cli *cli, const char *path, bool programs)
{
    if (!bl_cli_is_folder(path)) return BL_OK;
    const char *inside = bl_path_join(cli->arena, path, "model.blp"), *remedy = "give a file in it";
    BL_ALLOC_TRY(cli->ctx, inside);
    if (programs && bl_file_exists(inside)) remedy = bl_format(cli->arena, "give %s", inside);
    BL_ALLOC_TRY(cli->ctx, remedy);
    return bl_fail(cli->ctx, BL_NOINPUT, path, remedy, "is not a regular file");
}

bl_status bl_cli_model(bl_cli *cli, const char *path, bool prepared, bl_graph **graph, bl_program **program)
{
    bool yes;
    *graph = NULL;
    BL_TRY(no_folder(cli, path, program));
    if (program) {
        *program = NULL;
        BL_TRY(is_program(cli, path, &yes));
        if (yes) return bl_program_open(cli->ctx, path, program);
    }
    bl_import_options o = { cli->dims, cli->n_dims };
    bl_graph *raw;
    BL_TRY(bl_import(cli->ctx, path, &o, &raw));
    BL_TRY(one_sample(cli, path, &raw));
    if (cli->dequantize) {
        bl_graph *quantized = raw;
        bl_status s = bl_dequantize_graph(cli->ctx, quantized, &raw);
        bl_graph_free(quantized);
        BL_TRY(s);
    }
    if (!prepared) {
        *graph = raw;
        return BL_OK;
    }
    bl_status s = bl_prepare(cli->ctx, raw, graph);
    bl_graph_free(raw);
    return s == BL_OK && cli->equalise ? equalise(cli, graph) : s;
}

bl_status bl_cli_float_model(bl_cli *cli, const char *path, bool prepared, bl_graph **graph)
{
    bl_graph *g;
    BL_TRY(bl_cli_model(cli, path, prepared, &g, NULL));
    bl_status s = bl_graph_wants_float(cli->ctx, g);
    if (s != BL_OK) bl_graph_free(g);
    else *graph = g;
    return s;
}

bl_status bl_cli_data(bl_cli *cli, const bl_graph *graph, const bl_program *program, bl_data **out)
{
    if (!cli->has_data)
        return bl_fail(cli->ctx, BL_USAGE, cli->program, "give --data, such as --data npy:samples.npy", "no data set");
    return bl_samples_open(cli->ctx, &cli->data, graph, program, out);
}

bl_status bl_cli_judging_data(bl_cli *cli, const char *spec, int64_t limit, const bl_graph *graph, bl_data **out)
{
    bl_data_options o = cli->data;
    BL_TRY(bl_data_option(cli->ctx, "data", spec, &o));
    o.limit = limit;
    o.crops = 0;
    return bl_samples_open(cli->ctx, &o, graph, NULL, out);
}
