/* SPDX-License-Identifier: BSD-3-Clause */
/* summary.json piece by piece; figures that were not taken are absent, never zero. */
#include "cli/summary.h"

#include "cli/contest.h"

#include <stdio.h>
#include <string.h>

void bl_cli_islands(bl_cli *cli, const bl_program *p)
{
    json_t *islands = bl_islands_json(p), *item;
    json_t *counts = json_object();
    size_t i;
    const char *op;
    json_array_foreach(islands, i, item)
    {
        op = json_string_value(json_object_get(item, "op"));
        if (op) json_object_set_new(counts, op, json_integer(json_integer_value(json_object_get(counts, op)) + 1));
    }
    if (json_array_size(islands) && !cli->json) {
        printf("%zu nodes run in binary32 between codes:", json_array_size(islands));
        json_object_foreach(counts, op, item) printf(" %s x%lld", op, (long long)json_integer_value(item));
        printf("\n");
    }
    json_decref(counts);
    json_decref(islands);
}

void bl_contender_free(bl_contender *c)
{
    bl_plan_free(c->plan);
    bl_weights_free(c->weights);
    bl_program_free(c->program);
    if (c->evaluated) bl_eval_free(&c->eval);
}

static void figure(json_t *o, const char *key, double v)
{
    if (isfinite(v)) json_object_set_new(o, key, json_real(v));
}

static void count(json_t *o, const char *key, uint64_t v)
{
    json_object_set_new(o, key, json_integer((json_int_t)v));
}

static uint64_t float_bytes(const bl_graph *g)
{
    uint64_t n = 0;
    for (int i = 0; i < g->n_nodes; i++)
        if (bl_layer_weight(g, i) >= 0) n += bl_tensor_bytes(&g->values[bl_layer_weight(g, i)].t);
    return n;
}

json_t *bl_contender_json(bl_pipeline *p, const bl_contender *c)
{
    json_t *o = json_object();
    double ebops;
    json_object_set_new(o, "name", json_string(c->name));
    if (c->evaluated) {
        figure(o, "top1", c->eval.top1);
        figure(o, "top5", c->eval.top5);
        figure(o, "auc", c->eval.auc);
        figure(o, "mse", c->eval.mse);
    }
    if (!c->plan) {
        count(o, "size_bytes", float_bytes(p->graph));
    } else {
        figure(o, "size_bytes", bl_plan_predicted(c->plan, "size_bytes"));
        figure(o, "bops", bl_plan_predicted(c->plan, "bops"));
        figure(o, "predicted_latency_ms", bl_plan_predicted(c->plan, "latency_ns") * 1e-6);
        figure(o, "predicted_energy_mj", bl_plan_predicted(c->plan, "energy_nj") * 1e-6);
    }
    if (c->file_bytes) count(o, "file_bytes", c->file_bytes);
    if (c->program) count(o, "memory_bytes", c->program->memory_bytes);
    if (c->program && bl_program_ebops(p->ctx, c->program, &ebops) == BL_OK) figure(o, "ebops", ebops);
    if (c->scored) figure(o, "sqnr_db", c->score.sqnr_db);
    if (c->tuned) json_object_set_new(o, "tuned", json_string(bl_tuner_find(c->tuned)->name));
    double predicted = c->plan && !p->cost->model ? bl_plan_predicted(c->plan, "latency_ns") * 1e-6 : NAN;
    if (c->timed && isfinite(predicted)) figure(o, "prediction_error", predicted / c->timing.q1_ms - 1);
    if (c->timed)
        json_object_set_new(o, "latency_ms", json_pack("{s:f, s:f, s:f, s:f}", "median", c->timing.median_ms, "p10",
                            c->timing.p10_ms, "p90", c->timing.p90_ms, "q1", c->timing.q1_ms));
    return o;
}

static double step_time(const bl_contender *c, const char *name)
{
    double sum = 0;
    bool any = false;
    for (uint32_t s = 0; c->step_us && s < c->program->n_steps; s++)
        if (!strcmp(c->program->strings + c->program->steps[s].name, name)) {
            sum += c->step_us[s];
            any = true;
        }
    return any ? sum : NAN;
}

/* Whether node i has a line among the layers, and the units that its line speaks of; weights, out: -1 for none. */
static bool layer_units(const bl_pipeline *p, int i, int *weights, int *in, int *out)
{
    const bl_node *n = &p->graph->nodes[i];
    if (!bl_node_priced(p->graph, i)) return false;
    *weights = p->menu->unit_of_layer[i];
    *in = p->menu->unit_of_value[n->in[0]];
    *out = n->out[0] >= 0 ? p->menu->unit_of_value[n->out[0]] : -1;
    return *in >= 0;
}

/* How the range of what a layer reads was found, and why so where that was measured. */
static void add_range(const bl_pipeline *p, int in, int a_bits, json_t *o)
{
    const bl_unit *u = &p->menu->units[in];
    const char *range = u->range[a_bits] ? u->range[a_bits] : p->recipe.grids.act_range;
    if (range) json_object_set_new(o, "range", json_string(range));
    if (u->why[a_bits]) json_object_set_new(o, "range_why", json_string(u->why[a_bits]));
}

json_t *bl_layers_json(bl_pipeline *p, const bl_contender *c)
{
    const bl_graph *g = p->graph;
    json_t *layers = json_array();
    bl_state state = BL_STATE_L2;
    if (bl_price_state(p->ctx, g, p->menu, p->cost, c->plan->choice, &state) != BL_OK) state = BL_STATE_L2;
    for (int i = 0; i < g->n_nodes; i++) {
        int u, v, in;
        if (!layer_units(p, i, &u, &in, &v)) continue;
        bool layer = u >= 0;
        const bl_tensor *w = layer ? &g->values[bl_layer_weight(g, i)].t : NULL;
        int64_t macs = 0;
        if (layer && bl_graph_macs(p->ctx, g, i, &macs) != BL_OK) macs = 0;
        int w_bits = layer ? c->plan->choice[u].w_bits : 0;
        json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:i, s:I}", "name", g->nodes[i].name, "op",
            g->nodes[i].op->name, "shape", bl_shape_text(p->cli->arena, &g->values[g->nodes[i].out[0]].t), "macs",
            (json_int_t)macs, "weights", (json_int_t)(w ? bl_tensor_count(w) : 0), "w_bits", w_bits, "a_in_bits",
            c->plan->choice[in].a_bits, "a_out_bits", v >= 0 ? c->plan->choice[v].a_bits : 0, "size_bytes",
            (json_int_t)(w ? bl_layer_weight_bytes(g, p->menu, i, w_bits) : 0));
        const char *kind = bl_layer_kind(p->ctx, g, i), *side = bl_layer_side(p->ctx, g, p->menu, p->cost, i, c->plan->choice, state);
        add_range(p, in, c->plan->choice[in].a_bits, o);
        if (kind) json_object_set_new(o, "kind", json_string(kind));
        if (kind && side) json_object_set_new(o, "side", json_string(side));
        figure(o, "predicted_us", bl_price_node(p->ctx, g, p->menu, p->cost, i, c->plan->choice, state) * 1e-3);
        figure(o, "measured_us", step_time(c, g->nodes[i].name));
        json_array_append_new(layers, o);
    }
    return layers;
}

void bl_cli_kinds(const json_t *kinds, double total_ns)
{
    const json_t *o;
    size_t i;
    printf("  %-16s %6s %8s %8s %8s  %s\n", "kind of layer", "layers", "W bits", "A bits", "of time", "roofline: computing / moving data");
    json_array_foreach(kinds, i, o)
    {
        const json_t *w = json_object_get(o, "w_bits"), *ns = json_object_get(o, "ns");
        printf("  %-16s %6lld", json_string_value(json_object_get(o, "kind")), json_integer_value(json_object_get(o, "layers")));
        if (w) printf(" %8.2f", json_number_value(w));
        else printf(" %8s", "-");
        printf(" %8.2f", json_number_value(json_object_get(o, "a_bits")));
        if (ns && total_ns > 0) printf(" %6.1f %%", 100 * json_number_value(ns) / total_ns);
        else printf(" %8s", "-");
        printf("  %lld / %lld\n", json_integer_value(json_object_get(o, "computing")), json_integer_value(json_object_get(o, "moving")));
    }
}

json_t *bl_budgets_json(bl_pipeline *p, const bl_contender *c, int binding)
{
    json_t *a = json_array();
    for (int b = 0; b < p->n_budgets; b++) {
        const bl_budget *x = &p->budgets[b];
        json_t *o = json_pack("{s:s, s:f, s:f, s:b}", "name", bl_metric_name(x->metric), "limit", x->limit, "baseline",
                              p->int8[x->metric], "binding", binding == b);
        figure(o, "relative", x->relative);
        figure(o, "achieved", bl_plan_predicted(c->plan, bl_metric_key(x->metric)));
        json_array_append_new(a, o);
    }
    return a;
}

/* Widths of a plan, a number for each of the layers. */
static void add_widths(const bl_pipeline *p, const int *choice, json_t *o)
{
    json_t *w = json_array(), *a = json_array();
    for (int i = 0; i < p->graph->n_nodes; i++) {
        int u, in, v;
        if (!layer_units(p, i, &u, &in, &v)) continue;
        json_array_append_new(w, json_integer(u >= 0 ? p->menu->units[u].candidates[choice[u]].w_bits : 0));
        json_array_append_new(a, json_integer(p->menu->units[in].candidates[choice[in]].a_bits));
    }
    json_object_set_new(o, "w_bits", w);
    json_object_set_new(o, "a_in_bits", a);
}

bl_status bl_front_json(bl_pipeline *p, double base_noise, json_t **out)
{
    enum { POINTS = 24 };
    json_t *front = json_array();
    double least = 0, most = 0;
    const bl_search_row *row = bl_search_find(p->recipe.search);
    for (int u = 0; u < p->menu->n_units; u++) {
        double lo = INFINITY, hi = 0;
        for (int c = 0; c < p->menu->units[u].n_candidates; c++) {
            lo = fmin(lo, p->prices->column[BL_M_SIZE][u][c]);
            hi = fmax(hi, p->prices->column[BL_M_SIZE][u][c]);
        }
        least += lo;
        most += hi;
    }
    bl_status s = BL_OK;
    double last = -1;
    for (int i = 0; p->sens && s == BL_OK && i < POINTS; i++) {
        bl_budget b = { .metric = BL_M_SIZE, .limit = least + (most - least) * i / (POINTS - 1), .relative = NAN };
        bl_search_input in = { .graph = p->graph, .menu = p->menu, .stats = p->stats, .sens = p->sens, .cost = p->cost,
                               .prices = p->prices, .budgets = &b, .n_budgets = 1, .seconds = 1 };
        bl_search_result r = { 0 };
        double total[BL_N_METRIC];
        bl_mark mark = bl_arena_mark(p->cli->arena);
        s = row->run(p->ctx, &in, p->cli->arena, &r);
        if (s == BL_OK) s = bl_pipeline_price(p, r.choice, total);
        if (s == BL_OK && r.feasible && total[BL_M_SIZE] != last) {
            json_t *o = json_object();
            figure(o, "size_bytes", last = total[BL_M_SIZE]);
            figure(o, "latency_ns", total[BL_M_LATENCY]);
            figure(o, "objective", r.objective);
            if (bl_objective_is_noise(p->sens)) figure(o, "sqnr_db", bl_objective_sqnr(r.objective + base_noise));
            add_widths(p, r.choice, o);
            json_array_append_new(front, o);
        }
        json_decref(r.solver);
        bl_arena_reset(p->cli->arena, mark);
    }
    if (s != BL_OK) json_decref(front);
    else *out = front;
    return s;
}

/* ---- evaluations that are kept */

static char *eval_key(bl_pipeline *p, const bl_contender *c, const bl_data *data, const bl_eval_options *o)
{
    char *text = bl_format(p->cli->arena, "%s %s %s %lld %s", p->graph->hash.hex, c->plan ? c->program->hash.hex : "float",
                           bl_data_hash(data).hex, (long long)o->limit, o->metric ? o->metric : "");
    if (!text) return NULL;
    return bl_strdup(p->cli->arena, bl_hash_of(text, strlen(text)).hex);
}

static double number_or_nan(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static bool find_evaluation(const bl_map *map, const char *key, bl_eval_result *r)
{
    const char *at = (const char *)map->data, *end = at + map->size;
    bool found = false;
    while (at < end && !found) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        if (!nl) break;
        json_t *o = json_loadb(at, (size_t)(nl - at), 0, NULL);
        const char *k = json_string_value(json_object_get(o, "key"));
        if (k && !strcmp(k, key)) {
            *r = (bl_eval_result){ .samples = json_integer_value(json_object_get(o, "samples")),
                                   .top1 = number_or_nan(o, "top1"), .top5 = number_or_nan(o, "top5"),
                                   .auc = number_or_nan(o, "auc"), .mse = number_or_nan(o, "mse"),
                                   .seconds = number_or_nan(o, "seconds") };
            found = true;
        }
        json_decref(o);
        at = nl + 1;
    }
    return found;
}

bl_status bl_contender_eval(bl_pipeline *p, bl_contender *c, bl_data *data, const bl_eval_options *options)
{
    char *path = bl_pipeline_path(p, "evaluations.jsonl"), *key = eval_key(p, c, data, options);
    if (!path || !key) return bl_pending(p->ctx);
    if (bl_file_exists(path)) {
        bl_map map;
        BL_TRY(bl_map_file(p->ctx, path, (uint64_t)1 << 30, &map));
        c->evaluated = find_evaluation(&map, key, &c->eval);
        bl_unmap(&map);
        if (c->evaluated) return BL_OK;
    }
    bl_eval_subject s = { .graph = c->plan ? NULL : p->graph, .program = c->program };
    BL_TRY(bl_eval(p->ctx, &s, data, options, &c->eval));
    c->evaluated = true;
    json_t *o = json_pack("{s:s, s:s, s:I}", "key", key, "name", c->name, "samples", (json_int_t)c->eval.samples);
    figure(o, "top1", c->eval.top1);
    figure(o, "top5", c->eval.top5);
    figure(o, "auc", c->eval.auc);
    figure(o, "mse", c->eval.mse);
    figure(o, "seconds", c->eval.seconds);
    char *line = bl_json_text(p->cli->arena, o, false);
    json_decref(o);
    return line ? bl_append_line(p->ctx, path, line) : bl_pending(p->ctx);
}
