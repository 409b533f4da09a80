/* SPDX-License-Identifier: BSD-3-Clause */
/* SENS: the table of rows, the record and its file. */
#include "sense/sense.h"

#include <string.h>

#define X(symbol, label, unit_text, labels, is_noise, text)                                       \
    static const bl_sensitivity row_##symbol = { .name = label, .unit = unit_text, .help = text,  \
                                                 .needs_labels = labels, .noise = is_noise, .run = bl_sense_##symbol };
#include "sense/sensitivities.def"
#undef X

const bl_sensitivity *const bl_sensitivities[] = {
#define X(symbol, label, unit_text, labels, is_noise, text) &row_##symbol,
#include "sense/sensitivities.def"
#undef X
};
const size_t bl_n_sensitivities = BL_COUNTOF(bl_sensitivities);

const bl_sensitivity *bl_sensitivity_find(const char *name)
{
    for (size_t i = 0; i < bl_n_sensitivities; i++)
        if (!strcmp(bl_sensitivities[i]->name, name)) return bl_sensitivities[i];
    return NULL;
}

char *bl_sense_settings(bl_arena *arena, const bl_sense_options *o)
{
    bl_mask_options m = bl_mask_options_of(o), usual = bl_mask_options_of(NULL);
    bool masks = m.masks != usual.masks || m.share != usual.share || m.by_width != usual.by_width;
    const char *share = !masks || m.by_width ? "1 - width/8" : bl_format(arena, "%.6g", m.share);
    if (!share) return NULL;
    const char *text = masks ? bl_format(arena, "%d masks of %s", m.masks, share) : "";
    if (text && o && o->weights_only) text = bl_format(arena, "%s%sweights only", text, *text ? ", " : "");
    if (text && o && o->rounded) text = bl_format(arena, "%s%srounded by learning", text, *text ? ", " : "");
    return text ? bl_strdup(arena, text) : NULL;
}

int bl_metric_value(const bl_graph *graph, int output)
{
    int v = graph->outputs[output], p = graph->values[v].producer;
    return p >= 0 && !strcmp(graph->nodes[p].op->name, "Softmax") ? graph->nodes[p].in[0] : v;
}

static bl_sens *sens_new(bl_ctx *ctx, const bl_menu *menu)
{
    bl_arena *a = bl_arena_new(ctx, "sens");
    bl_sens *s = a ? BL_NEW(a, bl_sens, 1) : NULL;
    bool ok = s && (s->cell = BL_NEW(a, bl_sens_cell *, (size_t)menu->n_units)) != NULL;
    for (int u = 0; ok && u < menu->n_units; u++)
        if (menu->units[u].n_candidates > 1)
            ok = (s->cell[u] = BL_NEW(a, bl_sens_cell, (size_t)menu->units[u].n_candidates)) != NULL;
    if (!ok) {
        bl_arena_free(a);
        return NULL;
    }
    s->arena = a;
    s->n_units = menu->n_units;
    s->menu = menu->hash;
    return s;
}

bl_status bl_sense(bl_ctx *ctx, const bl_sense_input *in, bl_sens **out)
{
    const char *name = in->options && in->options->metric ? in->options->metric : "sqnr";
    const bl_sensitivity *row = bl_sensitivity_find(name);
    if (!row)
        return bl_fail(ctx, BL_USAGE, name, "see `bitlathe list sensitivities`", "unknown sensitivity metric");
    if (row->needs_labels && !bl_data_labelled(in->data))
        return bl_fail(ctx, BL_DATA, bl_data_name(in->data), "give labels", "%s needs labelled samples", name);
    bl_sens *s = sens_new(ctx, in->menu);
    BL_ALLOC_TRY(ctx, s);
    s->metric = row->name;
    s->graph = in->graph->hash;
    s->stats = in->stats->hash;
    s->data = bl_data_hash(in->data);
    const bl_grid_options *g = in->options ? &in->options->grids : NULL;
    s->weight_range = bl_strdup(s->arena, g && g->weight_range ? g->weight_range : "mse");
    s->act_range = bl_strdup(s->arena, g && g->act_range ? g->act_range : "mse");
    s->per_tensor = g && g->per_tensor;
    s->narrow = g && g->narrow;
    s->power_of_two = g && g->power_of_two;
    s->codebook = g && g->codebook;
    s->weight_group = g ? g->weight_group : 0;
    s->sqnr_eps = in->options ? in->options->sqnr_eps : 0;
    s->settings = bl_sense_settings(s->arena, in->options);
    bl_status status = s->weight_range && s->act_range && s->settings ? row->run(ctx, in, s) : bl_pending(ctx);
    if (status != BL_OK) bl_sens_free(s);
    else *out = s;
    return status;
}

void bl_sens_free(bl_sens *sens)
{
    if (sens) bl_arena_free(sens->arena);
}

/* ---- sens.json */

bl_status bl_sens_write(bl_ctx *ctx, const bl_menu *menu, bl_sens *sens, const char *path)
{
    const bl_sensitivity *row = bl_sensitivity_find(sens->metric);
    json_t *r = bl_record_new(ctx, "sens", 1, 0), *units = json_array();
    json_object_set_new(r, "made_from", json_pack("{s:s, s:s, s:s, s:s}", "graph", sens->graph.hex, "stats",
                        sens->stats.hex, "menu", sens->menu.hex, "data", sens->data.hex));
    json_object_set_new(r, "seed", json_integer((json_int_t)ctx->options.seed));
    json_object_set_new(r, "metric", json_string(sens->metric));
    json_object_set_new(r, "unit", json_string(row ? row->unit : ""));
    json_object_set_new(r, "samples", json_integer(sens->samples));
    json_object_set_new(r, "weight_range", json_string(sens->weight_range));
    json_object_set_new(r, "act_range", json_string(sens->act_range));
    json_object_set_new(r, "per_tensor", json_boolean(sens->per_tensor));
    json_object_set_new(r, "narrow", json_boolean(sens->narrow));
    if (sens->power_of_two) json_object_set_new(r, "power_of_two", json_true());
    if (sens->codebook) json_object_set_new(r, "codebook", json_true());
    if (sens->weight_group) json_object_set_new(r, "weight_group", json_integer(sens->weight_group));
    if (sens->sqnr_eps > 0) json_object_set_new(r, "sqnr_eps", json_real(sens->sqnr_eps));
    if (sens->settings && *sens->settings) json_object_set_new(r, "settings", json_string(sens->settings));
    for (int u = 0; u < sens->n_units; u++) {
        if (!sens->cell[u]) continue;
        json_t *cells = json_array();
        for (int c = 0; c < menu->units[u].n_candidates; c++) {
            char name[16];
            const bl_sens_cell *x = &sens->cell[u][c];
            json_t *o = json_pack("{s:s}", "candidate", bl_candidate_name(menu->units[u].candidates[c], name));
            json_object_set_new(o, "value", bl_json_real(x->value));
            json_object_set_new(o, "standard_error", bl_json_real(x->standard_error));
            json_object_set_new(o, "objective", bl_json_real(x->objective));
            json_array_append_new(cells, o);
        }
        json_array_append_new(units, json_pack("{s:s, s:o}", "name", menu->units[u].name, "candidates", cells));
    }
    json_object_set_new(r, "units", units);
    bl_status s = bl_record_write(ctx, r, path, &sens->hash);
    json_decref(r);
    return s;
}

static bl_status read_unit(bl_ctx *ctx, const bl_menu *menu, const char *path, const json_t *o, bl_sens *s)
{
    const char *name, *candidate;
    json_t *cells;
    char expect[16];
    BL_TRY(bl_json_str(ctx, o, "name", path, &name));
    int u = bl_menu_find(menu, name);
    if (u < 0 || !s->cell[u])
        return bl_fail(ctx, BL_DATA, path, "measure the sensitivities again", "unit \"%s\" has no choice", name);
    BL_TRY(bl_json_array(ctx, o, "candidates", path, 1024, &cells));
    if ((int)json_array_size(cells) != menu->units[u].n_candidates)
        return bl_fail(ctx, BL_DATA, path, "measure the sensitivities again", "unit \"%s\": other candidates", name);
    for (size_t c = 0; c < json_array_size(cells); c++) {
        const json_t *x = json_array_get(cells, c);
        BL_TRY(bl_json_str(ctx, x, "candidate", path, &candidate));
        if (strcmp(candidate, bl_candidate_name(menu->units[u].candidates[c], expect)))
            return bl_fail(ctx, BL_DATA, path, "measure the sensitivities again", "unit \"%s\": %s stands for %s",
                           name, candidate, expect);
        BL_TRY(bl_json_f64(ctx, x, "value", path, &s->cell[u][c].value));
        BL_TRY(bl_json_f64(ctx, x, "standard_error", path, &s->cell[u][c].standard_error));
        BL_TRY(bl_json_f64(ctx, x, "objective", path, &s->cell[u][c].objective));
    }
    return BL_OK;
}

static bl_status read_hash(bl_ctx *ctx, const json_t *from, const char *key, const char *path, bl_hash *out)
{
    const char *text;
    BL_TRY(bl_json_str(ctx, from, key, path, &text));
    if (strlen(text) != 32) return bl_fail(ctx, BL_DATA, path, "make the record again", "\"%s\" is no hash", key);
    memcpy(out->hex, text, 33);
    return BL_OK;
}

static bl_status read_sens(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *path, const json_t *r,
                           bl_sens *s)
{
    json_t *from, *units;
    const char *metric, *wr, *ar;
    BL_TRY(bl_json_object(ctx, r, "made_from", path, &from));
    BL_TRY(read_hash(ctx, from, "graph", path, &s->graph));
    BL_TRY(read_hash(ctx, from, "stats", path, &s->stats));
    BL_TRY(read_hash(ctx, from, "menu", path, &s->menu));
    BL_TRY(read_hash(ctx, from, "data", path, &s->data));
    if (strcmp(s->graph.hex, graph->hash.hex))
        return bl_fail(ctx, BL_DATA, path, "measure the sensitivities of this network", "the record of another network");
    if (strcmp(s->menu.hex, menu->hash.hex))
        return bl_fail(ctx, BL_DATA, path, "measure the sensitivities again", "made for other candidate widths");
    BL_TRY(bl_json_str(ctx, r, "metric", path, &metric));
    BL_TRY(bl_json_str(ctx, r, "weight_range", path, &wr));
    BL_TRY(bl_json_str(ctx, r, "act_range", path, &ar));
    BL_TRY(bl_json_bool(ctx, r, "per_tensor", path, &s->per_tensor));
    BL_TRY(bl_json_bool(ctx, r, "narrow", path, &s->narrow));
    s->power_of_two = json_is_true(json_object_get(r, "power_of_two")); /* absent: no */
    s->codebook = json_is_true(json_object_get(r, "codebook"));
    if (json_object_get(r, "weight_group")) {
        int64_t group;
        BL_TRY(bl_json_i64(ctx, r, "weight_group", path, 1, INT32_MAX, &group));
        s->weight_group = (int)group;
    }
    s->sqnr_eps = json_number_value(json_object_get(r, "sqnr_eps")); /* absent: 0 */
    BL_TRY(bl_json_i64(ctx, r, "samples", path, 1, INT64_MAX, &s->samples));
    BL_TRY(bl_json_array(ctx, r, "units", path, (size_t)menu->n_units, &units));
    const char *settings = json_string_value(json_object_get(r, "settings")); /* absent: as usual */
    s->settings = bl_strdup(s->arena, settings ? settings : "");
    s->metric = bl_strdup(s->arena, metric);
    s->weight_range = bl_strdup(s->arena, wr);
    s->act_range = bl_strdup(s->arena, ar);
    if (!s->settings || !s->metric || !s->weight_range || !s->act_range) return bl_pending(ctx);
    size_t expect = 0;
    for (int u = 0; u < menu->n_units; u++) expect += s->cell[u] != NULL;
    if (json_array_size(units) != expect)
        return bl_fail(ctx, BL_DATA, path, "measure the sensitivities again", "not every unit is in it");
    for (size_t i = 0; i < expect; i++) BL_TRY(read_unit(ctx, menu, path, json_array_get(units, i), s));
    return BL_OK;
}

bl_status bl_sens_read(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *path, bl_sens **out)
{
    json_t *r;
    bl_hash hash;
    BL_TRY(bl_record_read(ctx, path, "sens", 1, NULL, &r, &hash));
    bl_sens *s = sens_new(ctx, menu);
    bl_status status = s ? read_sens(ctx, graph, menu, path, r, s) : bl_pending(ctx);
    json_decref(r);
    if (status != BL_OK) {
        bl_sens_free(s);
        return status;
    }
    s->hash = hash;
    *out = s;
    return BL_OK;
}
