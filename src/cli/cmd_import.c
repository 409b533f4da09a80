/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe import: what is in a model. */
#include "cli/cli.h"

#include <stdio.h>

bl_status bl_cli_print_graph(bl_cli *cli, const bl_graph *g)
{
    json_t *j = bl_graph_json(cli->ctx, g);
    if (!j) return bl_pending(cli->ctx);
    bool text;
    bl_status s = bl_cli_answer(cli, json_incref(j), &text);
    if (s != BL_OK || !text) {
        json_decref(j);
        return s;
    }
    const json_t *totals = json_object_get(j, "totals"), *ops = json_object_get(j, "operators"), *n;
    char bytes[32];
    const char *op;
    printf("%s: opset %d, %s%s\n", cli->args[0], g->opset, g->prepared ? "prepared, " : "",
           g->producer && *g->producer ? g->producer : "unknown producer");
    for (int i = 0; i < g->n_inputs; i++)
        printf("  input   %-24s %s %s\n", g->values[g->inputs[i]].name, bl_dtype_name(g->values[g->inputs[i]].t.type),
               bl_shape_text(cli->arena, &g->values[g->inputs[i]].t));
    for (int i = 0; i < g->n_outputs; i++)
        printf("  output  %-24s %s %s\n", g->values[g->outputs[i]].name, bl_dtype_name(g->values[g->outputs[i]].t.type),
               bl_shape_text(cli->arena, &g->values[g->outputs[i]].t));
    printf("  %d nodes, %lld parameters, %.1f million multiply-accumulates, %s of constants\n", g->n_nodes,
           (long long)json_integer_value(json_object_get(totals, "params")),
           1e-6 * json_number_value(json_object_get(totals, "macs")),
           bl_human_bytes((uint64_t)json_integer_value(json_object_get(totals, "constant_bytes")), bytes));
    printf("  operators:");
    json_object_foreach((json_t *)ops, op, n) printf(" %s x%lld", op, (long long)json_integer_value(n));
    printf("\n");
    json_decref(j);
    return BL_OK;
}

int bl_cmd_import(int argc, char **argv)
{
    const bl_verb verb = { "import", "MODEL.onnx", "Reads an ONNX file, checks it, says what is in it.",
                           "bitlathe import net.onnx --dim N=1 -o graph.json", NULL, NULL, false, 1, 1 };
    bl_cli cli = { 0 };
    bl_graph *g;
    int code = bl_cli_open(&cli, &cli, &verb, argc, argv);
    if (code) return code;
    cli.as_written = true;
    bl_status s = bl_cli_model(&cli, cli.args[0], false, &g, NULL);
    if (s == BL_OK) {
        s = bl_cli_print_graph(&cli, g);
        bl_graph_free(g);
    }
    return bl_cli_close(&cli, s);
}
