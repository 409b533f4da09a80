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

bl_status bl_cli_model(bl_cli *cli, const char *path, bool prepared, bl_graph **graph, bl_program **program)
{
    bool yes;
    *graph = NULL;
    if (program) {
        *program = NULL;
        BL_TRY(is_program(cli, path, &yes));
        if (yes) return bl_program_open(cli->ctx, path, program);
    }
    bl_import_options o = { cli->dims, cli->n_dims };
    bl_graph *raw;
    BL_TRY(bl_import(cli->ctx, path, &o, &raw));
    if (!prepared) {
        *graph = raw;
        return BL_OK;
    }
    bl_status s = bl_prepare(cli->ctx, raw, graph);
    bl_graph_free(raw);
    return s;
}

bl_status bl_cli_data(bl_cli *cli, const bl_graph *graph, const bl_program *program, bl_data **out)
{
    if (!cli->has_data)
        return bl_fail(cli->ctx, BL_USAGE, cli->program, "give --data, such as --data npy:samples.npy", "no data set");
    return bl_samples_open(cli->ctx, &cli->data, graph, program, out);
}
