/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe inspect: describes a model, a program or a record. */
#include "cli/cli.h"

#include <stdio.h>
#include <string.h>

static bl_status inspect_program(bl_cli *cli, const bl_program *p)
{
    char a[32], b[32];
    bool text;
    BL_TRY(bl_cli_answer(cli, bl_program_json(cli->ctx, p), &text));
    if (!text) return BL_OK;
    printf("%s: integer program, %u steps, %u tensors, weights %s, working memory %s\n", cli->args[0], p->n_steps,
           p->n_tensors, bl_human_bytes(p->weight_bytes, a), bl_human_bytes(p->memory_bytes, b));
    printf("  made from %s, graph %s, plan %s\n", p->meta, p->graph.hex, p->plan.hex);
    if (p->row) printf("  rows measured on %s, %s\n", p->row_cpu, p->row_isa);
    for (uint32_t i = 0; i < p->n_steps; i++) {
        const bl_step *s = &p->steps[i];
        printf("  %4u %-10s %-32s", i, bl_step_kind(s), p->strings + s->name);
        if (s->contract == BL_C_CONV) printf(" W%d A%d->A%d", s->u.conv.s.weight_bits, s->u.conv.s.in_bits, s->u.conv.s.out_bits);
        if (s->contract == BL_STEP_ISLAND) printf(" %s in binary32", p->strings + p->islands[s->u.island.island].op);
        if (p->row && p->row[i]) printf(" %s", p->row[i]);
        printf("\n");
    }
    return BL_OK;
}

static bl_status inspect_graph(bl_cli *cli, const bl_graph *g)
{
    json_t *j = bl_graph_json(cli->ctx, g);
    if (!j) return bl_pending(cli->ctx);
    bool text;
    BL_TRY(bl_cli_answer(cli, j, &text));
    if (!text) return BL_OK;
    for (int i = 0; i < g->n_nodes; i++) {
        const bl_node *n = &g->nodes[i];
        printf("%4d %-22s %-32s", i, n->op->name, n->name);
        for (int k = 0; k < n->n_out; k++)
            if (n->out[k] >= 0) printf(" %s", bl_shape_text(cli->arena, &g->values[n->out[k]].t));
        printf("\n");
    }
    return BL_OK;
}

static bl_status inspect(bl_cli *cli)
{
    bl_map map;
    if (bl_cli_is_folder(cli->args[0]))
        return bl_fail(cli->ctx, BL_NOINPUT, cli->args[0], "give --worst with a run's folder, or one of its files", "is not a regular file");
    BL_TRY(bl_map_file(cli->ctx, cli->args[0], 0, &map));
    bool record = map.size && map.data[0] == '{', weights = bl_cli_is_weights(&map);
    bl_unmap(&map);
    if (weights) return bl_inspect_weights(cli);
    if (cli->n_args > 1) return bl_fail(cli->ctx, BL_USAGE, cli->args[1], "give one file", "a second file, which only weights want");
    if (record) { /* a record says itself what it is; its hash is checked where it has one */
        json_t *j;
        bool text;
        BL_TRY(bl_json_read(cli->ctx, cli->args[0], &j));
        json_t *words = json_incref(j);
        bl_status st = bl_cli_answer(cli, j, &text);
        if (st == BL_OK && text && !cli->output) return bl_cli_json(cli, words);
        json_decref(words);
        return st;
    }
    bl_graph *g = NULL;
    bl_program *p = NULL;
    cli->as_written = true;
    BL_TRY(bl_cli_model(cli, cli->args[0], false, &g, &p));
    bl_status s = p ? inspect_program(cli, p) : inspect_graph(cli, g);
    bl_program_free(p);
    bl_graph_free(g);
    return s;
}

typedef struct state {
    bl_cli cli;
    bool worst;
} state;

enum { KEY_WORST = 0x200 };

static const struct argp_option options[] = {
    { "worst", KEY_WORST, NULL, 0, "of a run's folder: the layers that lose most at the output, and what would help; with --data measured", 1 },
    { 0 }
};

static error_t parse(int key, char *arg, void *input)
{
    (void)arg;
    if (key != KEY_WORST) return ARGP_ERR_UNKNOWN;
    ((state *)input)->worst = true;
    return 0;
}

int bl_cmd_inspect(int argc, char **argv)
{
    state s = { 0 };
    const bl_verb verb = { "inspect", "FILE | RUNDIR | WEIGHTS.blw MODEL.onnx", "Describes a model, a program (.blp), weights (.blw, in their run's folder or with their network) or a record; --worst: a run.",
                           "bitlathe inspect run --worst", options, parse, true, 1, 2 };
    int code = bl_cli_open(&s.cli, &s, &verb, argc, argv);
    return code ? code : bl_cli_close(&s.cli, !s.worst ? inspect(&s.cli) : s.cli.has_data ? bl_inspect_worst_measured(&s.cli) : bl_inspect_worst(&s.cli));
}
