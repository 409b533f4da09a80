/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bitlathe inspect weights.blw: which constants tuning replaced, and how far they moved.  The file names constants alone; the network
 * and the plan that it belongs to lie in its run's folder, as `quantize` left them.
 */
#include "cli/cli.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct weights_state {
    bl_cli *cli;
    const char *path, *folder;
    bl_graph *g;
    bl_weights *w;
    bl_plan *plan;              /* that names these weights; NULL: none does */
} weights_state;

/* NAME in the file's folder, or one above (baselines/). */
static bl_status find_run(weights_state *s, const char **run)
{
    bl_cli *cli = s->cli;
    size_t n = (size_t)(bl_path_base(s->path) - s->path);
    s->folder = n ? bl_strndup(cli->arena, s->path, n) : bl_strdup(cli->arena, ".");
    BL_ALLOC_TRY(cli->ctx, s->folder);
    *run = NULL;
    if (cli->n_args > 1) return BL_OK; /* the network is given */
    for (int up = 0; up < 2; up++) {
        *run = bl_path_join(cli->arena, s->folder, up ? "../run.json" : "run.json");
        BL_ALLOC_TRY(cli->ctx, *run);
        if (bl_file_exists(*run)) return BL_OK;
    }
    return bl_fail(cli->ctx, BL_NOINPUT, s->path, "give it too: bitlathe inspect WEIGHTS.blw MODEL.onnx",
                   "its constants are those of a network, and no run.json beside it names that");
}

/* weights.blw has plan.json beside it, NAME.weights.blw has NAME.plan.json. */
static bl_status find_plan(weights_state *s)
{
    bl_cli *cli = s->cli;
    const char *name = bl_path_base(s->path);
    size_t n = strlen(name), tail = strlen("weights.blw");
    if (n < tail || strcmp(name + n - tail, "weights.blw")) return BL_OK;
    char *beside = bl_format(cli->arena, "%.*splan.json", (int)(n - tail), name);
    char *path = beside ? bl_path_join(cli->arena, s->folder, beside) : NULL;
    BL_ALLOC_TRY(cli->ctx, path);
    if (!bl_file_exists(path)) return BL_OK;
    BL_TRY(bl_plan_read(cli->ctx, s->g, path, &s->plan));
    if (!strcmp(s->plan->weights.hex, s->w->hash.hex)) return BL_OK;
    bl_note(cli->ctx, "%s names other weights than these: no widths are known", path);
    bl_plan_free(s->plan);
    s->plan = NULL;
    return BL_OK;
}

/* Codes of the tuned constant that are not those of the network's own: what rounding to the nearest would give. */
static bl_status count_moved(weights_state *s, const bl_quantizer *q, const bl_weight_item *item, int64_t *moved)
{
    bl_tensor was = s->g->values[item->value].t, is = was;
    bl_weight_grid grid = bl_quantizer_grid(q);
    bl_mark mark = bl_arena_mark(s->cli->arena);
    int8_t *a = bl_alloc(s->cli->arena, (size_t)item->count, 1), *b = bl_alloc(s->cli->arena, (size_t)item->count, 1);
    if (!a || !b) return bl_pending(s->cli->ctx);
    is.data = (void *)(uintptr_t)item->data;
    bl_grid_codes(&was, &grid, a);
    bl_grid_codes(&is, &grid, b);
    *moved = 0;
    for (int64_t i = 0; i < item->count; i++) *moved += a[i] != b[i];
    bl_arena_reset(s->cli->arena, mark);
    return BL_OK;
}

static const char *kind_of(const bl_graph *g, int value, const char **layer)
{
    for (int i = 0; i < g->n_nodes; i++) {
        *layer = g->nodes[i].name;
        if (bl_layer_weight(g, i) == value) return "weights";
        if (bl_layer_bias(g, i) == value) return "bias";
    }
    *layer = NULL;
    return "constant";
}

static bl_status describe(weights_state *s, const bl_weight_item *item, json_t *items)
{
    const bl_tensor *t = &s->g->values[item->value].t;
    int at = s->plan ? s->plan->of_value[item->value] : -1;
    const bl_quantizer *q = at >= 0 && bl_quantizer_has_codes(&s->plan->quantizers[at]) ? &s->plan->quantizers[at] : NULL;
    const char *layer, *kind = kind_of(s->g, item->value, &layer);
    int64_t changed = 0;
    double most = 0;
    for (int64_t i = 0; i < item->count; i++) {
        double d = fabs((double)item->data[i] - ((const float *)t->data)[i]);
        changed += d > 0;
        most = fmax(most, d);
    }
    json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:I, s:f, s:s}", "name", s->g->values[item->value].name, "kind", kind, "shape",
                          bl_shape_text(s->cli->arena, t), "count", (json_int_t)item->count, "changed", (json_int_t)changed, "largest_change",
                          most, "replaces", item->replaces.hex);
    if (layer) json_object_set_new(o, "layer", json_string(layer));
    json_array_append_new(items, o);
    if (!q) return BL_OK;
    float lo = INFINITY, hi = 0;
    for (int i = 0; i < q->n_scale; i++) lo = fminf(lo, q->scale[i]), hi = fmaxf(hi, q->scale[i]);
    json_object_set_new(o, "bits", json_integer(q->bits));
    json_object_set_new(o, "scales", json_integer(q->n_scale));
    json_object_set_new(o, "scale_min", bl_json_real((double)lo));
    json_object_set_new(o, "scale_max", bl_json_real((double)hi));
    int64_t moved = 0;
    BL_TRY(count_moved(s, q, item, &moved));
    json_object_set_new(o, "moved", json_integer((json_int_t)moved));
    return BL_OK;
}

static void print_item(const json_t *o)
{
    const char *layer = json_string_value(json_object_get(o, "layer"));
    const json_t *bits = json_object_get(o, "bits");
    long long count = json_integer_value(json_object_get(o, "count")), moved = json_integer_value(json_object_get(o, "moved"));
    printf("  %-8s %-32s %-14s", json_string_value(json_object_get(o, "kind")), layer ? layer : json_string_value(json_object_get(o, "name")),
           json_string_value(json_object_get(o, "shape")));
    if (bits)
        printf(" W%lld, %lld scale%s %.3g to %.3g, %lld of %lld codes not the nearest (%.1f %%)\n", json_integer_value(bits),
               json_integer_value(json_object_get(o, "scales")), json_integer_value(json_object_get(o, "scales")) == 1 ? "" : "s",
               json_number_value(json_object_get(o, "scale_min")), json_number_value(json_object_get(o, "scale_max")), moved, count,
               count ? 100.0 * (double)moved / (double)count : 0);
    else
        printf(" %lld of %lld changed, by at most %.3g\n", json_integer_value(json_object_get(o, "changed")), count,
               json_number_value(json_object_get(o, "largest_change")));
}

static bl_status tell(weights_state *s)
{
    bool text;
    json_t *items = json_array(), *o, *item;
    size_t k;
    bl_status st = BL_OK;
    for (int i = 0; st == BL_OK && i < s->w->n_items; i++) st = describe(s, &s->w->items[i], items);
    if (st != BL_OK) {
        json_decref(items);
        return st;
    }
    o = json_pack("{s:s, s:s, s:s, s:o, s:i}", "file", s->path, "hash", s->w->hash.hex, "graph", s->w->graph.hex, "constants", items, "grids",
                  s->w->n_grids);
    if (s->plan) json_object_set_new(o, "plan", json_string(s->plan->hash.hex));
    json_incref(o);
    st = bl_cli_answer(s->cli, o, &text);
    if (st == BL_OK && text) {
        printf("%s: %d constants replaced, %d grids learned, hash %s\n", s->path, s->w->n_items, s->w->n_grids, s->w->hash.hex);
        printf("  of %s (graph %s)%s%s\n", bl_path_base(s->g->source), s->w->graph.hex, s->plan ? ", plan " : ", no plan that names them",
               s->plan ? s->plan->hash.hex : "");
        json_array_foreach(items, k, item) print_item(item);
    }
    json_decref(o);
    return st;
}

bool bl_cli_is_weights(const bl_map *map)
{
    return map->size >= 12 && !memcmp(map->data, "BITLATHEWGTS", 12);
}

bl_status bl_inspect_weights(bl_cli *cli)
{
    weights_state s = { .cli = cli, .path = cli->args[0] };
    const char *run = NULL, *model;
    BL_TRY(find_run(&s, &run));
    if (run) BL_TRY(bl_cli_run_model(cli, run, &model));
    else model = cli->args[1];
    BL_TRY(bl_cli_float_model(cli, model, true, &s.g));
    bl_status st = bl_weights_read(cli->ctx, s.g, s.path, &s.w);
    if (st == BL_OK) st = find_plan(&s);
    if (st == BL_OK) st = tell(&s);
    bl_plan_free(s.plan);
    bl_weights_free(s.w);
    bl_graph_free(s.g);
    return st;
}
