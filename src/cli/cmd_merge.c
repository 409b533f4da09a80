/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe merge: parts that --shard left, joined. */
#include "cli/shard.h"

#include <stdio.h>
#include <string.h>

static bool is_lines(const char *path)
{
    size_t n = strlen(path);
    return n > 6 && !strcmp(path + n - 6, ".jsonl");
}

static bl_status merge(bl_cli *cli)
{
    json_t *answer = NULL;
    bool text;
    if (!cli->output) return bl_fail(cli->ctx, BL_USAGE, cli->program, "give -o FILE", "no file for the whole");
    if (is_lines(cli->args[0])) BL_TRY(bl_shard_merge_trials(cli->ctx, cli->arena, cli->args, cli->n_args, cli->output));
    else BL_TRY(bl_shard_merge(cli->ctx, cli->arena, cli->args, cli->n_args, cli->output, &answer));
    if (answer) return bl_cli_answer(cli, answer, &text);
    if (cli->json) return bl_cli_json(cli, json_pack("{s:s, s:i}", "record", cli->output, "parts", cli->n_args));
    printf("%s\n", cli->output);
    return BL_OK;
}

int bl_cmd_merge(int argc, char **argv)
{
    bl_cli cli = { 0 };
    const bl_verb verb = { "merge", "PART...", "Joins what --shard I/N of sense, eval or search left, into what one call would have written.",
                           "bitlathe merge part1/sens.1-of-2.json part2/sens.2-of-2.json -o run/sens.json", NULL, NULL, false, 1, BL_CLI_ARGS_MAX };
    int code = bl_cli_open(&cli, &cli, &verb, argc, argv);
    return code ? code : bl_cli_close(&cli, merge(&cli));
}
