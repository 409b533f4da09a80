/* SPDX-License-Identifier: BSD-3-Clause */
/* cc quantize.c $(pkg-config --cflags --libs bitlathe) && ./a.out net.onnx npy:x.npy size=0.6 net.blp */
#include <bitlathe.h>
#include <stdio.h>
#define DO(call) do { if ((call) != BL_OK) return complain(ctx); } while (0)
static int complain(bl_ctx *ctx)
{
    bl_error e = bl_last_error(ctx);
    fprintf(stderr, "%s: %s; %s\n", e.place, e.what, e.remedy);
    return e.code; /* a program that goes on would free its records here */
}
int main(int argc, char **argv)
{
    bl_ctx *ctx = NULL;
    bl_graph *read, *graph; bl_data *data; bl_menu *menu; bl_stats *stats; bl_sens *sens;
    bl_cost *cost; bl_plan *plan; bl_program *program; bl_exec *exec; bl_port in = {0}, out = {0};
    if (argc != 5) return fprintf(stderr, "quantize NET.onnx SAMPLES size=0.6 OUT.blp\n"), BL_USAGE;
    DO(bl_ctx_new(NULL, &ctx));
    DO(bl_import(ctx, argv[1], NULL, &read));
    DO(bl_prepare(ctx, read, &graph));
    DO(bl_samples_open(ctx, &(bl_data_options){.spec = argv[2]}, graph, NULL, &data));
    DO(bl_menu_make(ctx, graph, NULL, &menu));
    DO(bl_calibrate(ctx, graph, data, NULL, &stats));
    DO(bl_sense(ctx, &(bl_sense_input){graph, menu, stats, data, NULL}, &sens));
    DO(bl_measure(ctx, graph, menu, "counted", NULL, &cost)); /* "here": with a clock */
    bl_search_request ask = {graph, menu, stats, sens, cost, .n_budgets = 1};
    ask.budgets = (const char *const[]){argv[3]};
    DO(bl_search(ctx, &ask, &plan));
    DO(bl_lower(ctx, graph, plan, NULL, &program));
    DO(bl_program_write(ctx, program, argv[4]));
    DO(bl_exec_open(ctx, program, false, &exec));
    if (!bl_program_input(program, 0, &in) || !bl_program_output(program, 0, &out)) return BL_DATA;
    for (size_t i = 0; i < in.count; i++) bl_exec_input(exec, 0)[i] = (float)(i % 7) / 7;
    DO(bl_exec_run(exec, NULL, NULL));
    printf("%.0f bytes of weights, ", bl_plan_predicted(plan, "size_bytes"));
    printf("first of %zu outputs %g\n", out.count, (double)bl_exec_output(exec, 0)[0]);
    bl_exec_free(exec), bl_program_free(program), bl_plan_free(plan), bl_cost_free(cost);
    bl_sens_free(sens), bl_stats_free(stats), bl_menu_free(menu), bl_data_free(data);
    bl_graph_free(graph), bl_graph_free(read), bl_ctx_free(ctx);
}
