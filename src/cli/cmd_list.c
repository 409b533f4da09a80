/* SPDX-License-Identifier: BSD-3-Clause */
/* bitlathe list: the rows of the tables. */
#include "cli/cli.h"

#include "train/train.h"

#include <stdio.h>
#include <string.h>

/* One row: name, and a few words. */
typedef struct lister {
    bl_cli *cli;
    json_t *rows;
} lister;

static void row(lister *l, const char *name, const char *words)
{
    json_array_append_new(l->rows, json_pack("{s:s, s:s}", "name", name, "help", words));
}

static void print_rows(const json_t *rows)
{
    size_t i;
    json_t *r;
    json_array_foreach((json_t *)rows, i, r)
        printf("%-24s %s\n", json_string_value(json_object_get(r, "name")), json_string_value(json_object_get(r, "help")));
}

static void list_ops(lister *l)
{
    for (size_t i = 0; i < bl_n_ops; i++) {
        const bl_op *o = bl_ops[i];
        char facets[80];
        snprintf(facets, sizeof facets, "%s%s%s%s", o->forward ? "float" : "-", o->integer ? " integer" : "",
                 o->gradient ? " gradient" : "", o->flags & BL_OP_LAYER ? " layer" : "");
        row(l, o->name, facets);
    }
}

static void list_kernels(lister *l)
{
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_kernel_info *k = &bl_kernels[i];
        row(l, k->name, bl_format(l->cli->arena, "%s, %s%s: %s", bl_contract_name(k->contract), bl_isa_name(k->isa),
                                  bl_isa_here(k->isa) ? "" : " (not here)", k->summary));
    }
}

static void list_isas(lister *l)
{
    for (int i = 0; i < BL_N_ISA; i++) row(l, bl_isa_name((bl_isa)i), bl_isa_here((bl_isa)i) ? "here" : "not here");
}

static void list_recipes(lister *l)
{
    for (size_t i = 0; i < bl_recipe_count(); i++) {
        bl_recipe r;
        if (bl_recipe_load(l->cli->ctx, l->cli->arena, bl_recipe_name(i), &r) == BL_OK) row(l, bl_recipe_name(i), r.about ? r.about : "");
    }
}

static void list_targets(lister *l)
{
    for (size_t i = 0; i < bl_n_targets; i++) row(l, bl_targets[i]->name, bl_targets[i]->help);
}

static void list_searches(lister *l)
{
    for (size_t i = 0; i < bl_n_searches; i++) row(l, bl_searches[i]->name, bl_searches[i]->help);
}

static void list_sensitivities(lister *l)
{
    for (size_t i = 0; i < bl_n_sensitivities; i++) row(l, bl_sensitivities[i]->name, bl_sensitivities[i]->help);
}

static void list_observers(lister *l)
{
    for (size_t i = 0; i < bl_n_observers; i++) row(l, bl_observers[i]->name, bl_observers[i]->help);
}

static void list_loaders(lister *l)
{
    for (size_t i = 0; i < bl_n_loader_rows; i++) row(l, bl_loader_rows[i].prefix, bl_loader_rows[i].words);
}

static void list_exporters(lister *l)
{
    for (size_t i = 0; i < bl_n_exporters; i++) row(l, bl_exporters[i].name, bl_exporters[i].help);
}

static void list_tuners(lister *l)
{
    for (size_t i = 0; i < bl_n_tuners; i++) row(l, bl_tuners[i]->name, bl_tuners[i]->help);
}

static void list_losses(lister *l)
{
    for (size_t i = 0; i < bl_n_losses; i++) row(l, bl_losses[i].name, bl_losses[i].help);
}

static void list_optimizers(lister *l)
{
    for (size_t i = 0; i < bl_n_optimizers; i++) row(l, bl_optimizers[i].name, bl_optimizers[i].help);
}

static void list_architectures(lister *l)
{
    for (size_t i = 0; i < bl_n_architectures; i++) row(l, bl_architectures[i].name, bl_architectures[i].help);
}

static void list_quant_trainers(lister *l)
{
    for (size_t i = 0; i < bl_n_quant_trainers; i++) row(l, bl_quant_trainers[i].name, bl_quant_trainers[i].help);
}

static void list_schedules(lister *l)
{
    for (size_t i = 0; i < bl_n_schedules; i++) row(l, bl_schedules[i].name, bl_schedules[i].help);
}

static void list_hgq(lister *l)
{
    for (size_t i = 0; i < bl_n_hgq_networks; i++) row(l, bl_hgq_networks[i].name, bl_format(l->cli->arena, "network %s: %s", bl_hgq_networks[i].sizes, bl_hgq_networks[i].help));
    for (size_t i = 0; i < bl_n_hgq_settings; i++) row(l, bl_hgq_settings[i].key, bl_hgq_settings[i].help);
}

static void list_commands(lister *l)
{
    for (size_t i = 0; i < bl_n_commands; i++) row(l, bl_commands[i].name, bl_commands[i].help);
}

static const struct { const char *name; void (*list)(lister *); } tables[] = {
    { "architectures", list_architectures },
    { "commands", list_commands },   { "exporters", list_exporters }, { "hgq", list_hgq }, { "isas", list_isas },
    { "kernels", list_kernels },     { "loaders", list_loaders },     { "losses", list_losses },
    { "observers", list_observers }, { "ops", list_ops },             { "optimizers", list_optimizers },
    { "quant-trainers", list_quant_trainers }, { "recipes", list_recipes }, { "schedules", list_schedules }, { "searches", list_searches },
    { "sensitivities", list_sensitivities }, { "targets", list_targets }, { "tuners", list_tuners },
};

static bl_status list_tables(bl_cli *cli)
{
    json_t *names = json_array();
    bool text;
    for (size_t i = 0; i < BL_COUNTOF(tables); i++) json_array_append_new(names, json_string(tables[i].name));
    BL_TRY(bl_cli_answer(cli, json_pack("{s:o}", "tables", names), &text));
    for (size_t i = 0; text && i < BL_COUNTOF(tables); i++) printf("%s\n", tables[i].name);
    return BL_OK;
}

static bl_status list(bl_cli *cli)
{
    if (!cli->n_args) return list_tables(cli);
    for (size_t i = 0; i < BL_COUNTOF(tables); i++) {
        if (strcmp(tables[i].name, cli->args[0])) continue;
        lister l = { cli, json_array() };
        bool text;
        tables[i].list(&l);
        json_t *answer = json_pack("{s:o}", cli->args[0], l.rows);
        bl_status s = bl_cli_answer(cli, json_incref(answer), &text);
        if (s == BL_OK && text) print_rows(l.rows);
        json_decref(answer);
        return s;
    }
    return bl_fail(cli->ctx, BL_USAGE, cli->args[0], "see `bitlathe list` for the tables", "no such table");
}

int bl_cmd_list(int argc, char **argv)
{
    bl_cli cli = { 0 };
    const bl_verb verb = { "list", "WHAT", "Rows of a table; without a name, the tables.", "bitlathe list kernels",
                           NULL, NULL, false, 0, 1 };
    int code = bl_cli_open(&cli, &cli, &verb, argc, argv);
    return code ? code : bl_cli_close(&cli, list(&cli));
}
