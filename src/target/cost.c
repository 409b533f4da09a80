/* SPDX-License-Identifier: BSD-3-Clause */
/* COST: the rows of targets.def, the record and its file, the machine's identity. */
#include "target/probe.h"

#include <string.h>

#define X(symbol, label, from, text)                                                           \
    static const bl_target row_##symbol = { .name = label, .help = text, .source = BL_SOURCE_##from,  \
                                            .measure = bl_target_##symbol };
#include "target/targets.def"
#undef X

const bl_target *const bl_targets[] = {
#define X(symbol, label, from, text) &row_##symbol,
#include "target/targets.def"
#undef X
};
const size_t bl_n_targets = BL_COUNTOF(bl_targets);

const bl_target *bl_target_find(const char *name)
{
    for (size_t i = 0; i < bl_n_targets; i++)
        if (!strcmp(bl_targets[i]->name, name)) return bl_targets[i];
    return NULL;
}

static const char *const metric_names[] = { "size", "bops", "latency", "memory", "energy" };
static const char *const metric_keys[] = { "size_bytes", "bops", "latency_ns", "memory_bytes", "energy_nj" };

const char *bl_metric_name(bl_metric m)
{
    return metric_names[m];
}

const char *bl_metric_key(bl_metric m)
{
    return metric_keys[m];
}

bool bl_metric_parse(const char *name, bl_metric *out)
{
    for (int m = 0; m < BL_N_METRIC; m++)
        if (m != BL_M_MEMORY && !strcmp(metric_names[m], name)) {
            *out = (bl_metric)m;
            return true;
        }
    return false;
}

json_t *bl_machine_json(bl_ctx *ctx)
{
    uint64_t l1d, l2, l3;
    bl_isa isa = BL_ISA_REF;
    bl_cpu_caches(&l1d, &l2, &l3);
    if (bl_isa_resolve(ctx, &isa) != BL_OK) isa = BL_ISA_REF;
    return json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:s}", "cpu", bl_cpu_name(), "isa", bl_isa_name(isa),
                     "isa_best", bl_isa_name(bl_isa_best()), "l1d_bytes", (json_int_t)l1d, "l2_bytes", (json_int_t)l2,
                     "l3_bytes", (json_int_t)l3, "tool", BL_VERSION_STRING, "float", bl_walk_backend());
}

bool bl_cost_is_here(bl_ctx *ctx, const bl_cost *cost)
{
    json_t *here = bl_machine_json(ctx), *value;
    const char *key;
    bool same = true;
    json_object_foreach(here, key, value) same &= json_equal(value, json_object_get(cost->machine, key));
    json_decref(here);
    return same;
}

char *bl_cost_machine_text(bl_arena *arena, const json_t *machine)
{
    const char *cpu = json_string_value(json_object_get(machine, "cpu")), *isa = json_string_value(json_object_get(machine, "isa"));
    const char *tool = json_string_value(json_object_get(machine, "tool"));
    return bl_format(arena, "%s (%s, version %s)", cpu ? cpu : "a CPU without a name", isa ? isa : "any instruction set", tool ? tool : "unknown");
}

bl_cost *bl_cost_new(bl_ctx *ctx)
{
    bl_arena *a = bl_arena_new(ctx, "cost");
    bl_cost *c = a ? BL_NEW(a, bl_cost, 1) : NULL;
    if (!c) bl_arena_free(a);
    else c->arena = a;
    return c;
}

bl_status bl_measure(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *target,
                     const bl_measure_options *options, bl_cost **out)
{
    const bl_target *row = bl_target_find(target);
    if (!row) return bl_fail(ctx, BL_USAGE, target, "see `bitlathe list targets`, or give a COST file", "unknown target");
    bl_cost *c = bl_cost_new(ctx);
    BL_ALLOC_TRY(ctx, c);
    c->graph = graph->hash;
    c->menu = menu->hash;
    c->target = row->name;
    c->has_latency = row->source != BL_SOURCE_COUNTED;
    c->model = row->source == BL_SOURCE_MODEL;
    c->machine = c->model ? NULL : bl_machine_json(ctx); /* a model says what it models */
    bl_status s = row->measure(ctx, graph, menu, options, c);
    if (s == BL_OK && row->source == BL_SOURCE_CLOCK) s = bl_cost_check(ctx, graph, menu, c, options && options->seconds > 0 ? 3 * options->seconds : 1.5);
    if (s != BL_OK) bl_cost_free(c);
    else *out = c;
    return s;
}

/* Size and BOPs need no clock: prices are counted from the graph. */
bl_status bl_target_counted(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu,
                            const bl_measure_options *options, bl_cost *cost)
{
    (void)ctx, (void)graph, (void)menu, (void)options, (void)cost;
    return BL_OK;
}

void bl_cost_free(bl_cost *cost)
{
    if (!cost) return;
    json_decref(cost->machine);
    json_decref(cost->checks);
    bl_arena_free(cost->arena);
}

static bl_status grow(bl_cost *c, void **data, size_t *cap, size_t n, size_t size)
{
    if (n < *cap) return BL_OK;
    size_t to = BL_MAX(64, 2 * *cap);
    void *bigger = bl_alloc(c->arena, to, size);
    BL_ALLOC_TRY(bl_arena_ctx(c->arena), bigger);
    if (n) memcpy(bigger, *data, n * size);
    *data = bigger;
    *cap = to;
    return BL_OK;
}

bl_status bl_cost_add(bl_cost *c, const bl_cost_cell *cell)
{
    BL_TRY(grow(c, (void **)&c->cells, &c->cells_cap, c->n_cells, sizeof *c->cells));
    bl_cost_cell *to = &c->cells[c->n_cells];
    *to = *cell;
    to->key = bl_strdup(c->arena, cell->key);
    to->kernel = bl_strdup(c->arena, cell->kernel);
    if (!to->key || !to->kernel) return bl_pending(bl_arena_ctx(c->arena));
    c->n_cells++;
    return BL_OK;
}

bl_status bl_cost_add_group(bl_cost *c, const char *key, double aa_spread)
{
    BL_TRY(grow(c, (void **)&c->groups, &c->groups_cap, c->n_groups, sizeof *c->groups));
    bl_cost_group *to = &c->groups[c->n_groups];
    *to = (bl_cost_group){ bl_strdup(c->arena, key), aa_spread };
    BL_ALLOC_TRY(bl_arena_ctx(c->arena), to->key);
    c->n_groups++;
    return BL_OK;
}

const bl_cost_cell *bl_cost_find(const bl_cost *c, const char *key, int w_bits, int a_in, int a_out)
{
    for (size_t i = 0; i < c->n_cells; i++) {
        const bl_cost_cell *x = &c->cells[i];
        if (x->w_bits == w_bits && x->a_in == a_in && x->a_out == a_out && !strcmp(x->key, key)) return x;
    }
    return NULL;
}

/* ---- cost.json */

bl_status bl_cost_write(bl_ctx *ctx, bl_cost *c, const char *path)
{
    json_t *r = bl_record_new(ctx, "cost", 1, 2), *cells = json_array(), *groups = json_array();
    json_object_set_new(r, "made_from", json_pack("{s:s, s:s}", "graph", c->graph.hex, "menu", c->menu.hex));
    json_object_set_new(r, "seed", json_integer((json_int_t)ctx->options.seed));
    json_object_set_new(r, "target", json_string(c->target));
    json_object_set_new(r, "latency", json_boolean(c->has_latency));
    if (c->has_energy) json_object_set_new(r, "energy", json_true());
    if (c->model) json_object_set_new(r, "model", json_true());
    json_object_set(r, "machine", c->machine);
    json_object_set_new(r, "overhead_ns", json_real(c->overhead_ns));
    if (c->checks) json_object_set(r, "checks", c->checks);
    for (size_t i = 0; i < c->n_cells; i++) json_array_append_new(cells, bl_cost_cell_json(&c->cells[i]));
    for (size_t i = 0; i < c->n_groups; i++)
        json_array_append_new(groups, json_pack("{s:s, s:f}", "key", c->groups[i].key, "aa_spread", c->groups[i].aa_spread));
    json_object_set_new(r, "cells", cells);
    json_object_set_new(r, "groups", groups);
    bl_status s = bl_record_write(ctx, r, path, &c->hash);
    json_decref(r);
    return s;
}

static bl_status read_cost(bl_ctx *ctx, const char *path, const json_t *r, bl_cost *c)
{
    json_t *from, *cells, *groups, *machine;
    const char *target, *graph, *menu;
    BL_TRY(bl_json_object(ctx, r, "made_from", path, &from));
    BL_TRY(bl_json_str(ctx, from, "graph", path, &graph));
    BL_TRY(bl_json_str(ctx, from, "menu", path, &menu));
    snprintf(c->graph.hex, sizeof c->graph.hex, "%s", graph);
    snprintf(c->menu.hex, sizeof c->menu.hex, "%s", menu);
    BL_TRY(bl_json_str(ctx, r, "target", path, &target));
    BL_TRY(bl_json_bool(ctx, r, "latency", path, &c->has_latency));
    c->has_energy = json_is_true(json_object_get(r, "energy"));
    c->model = json_is_true(json_object_get(r, "model"));
    BL_TRY(bl_json_object(ctx, r, "machine", path, &machine));
    c->machine = json_incref(machine);
    c->target = bl_strdup(c->arena, target);
    BL_ALLOC_TRY(ctx, c->target);
    c->overhead_ns = json_number_value(json_object_get(r, "overhead_ns")); /* absent: 0 */
    c->checks = json_incref(json_object_get(r, "checks"));
    BL_TRY(bl_json_array(ctx, r, "cells", path, 1 << 20, &cells));
    BL_TRY(bl_json_array(ctx, r, "groups", path, 1 << 20, &groups));
    for (size_t i = 0; i < json_array_size(cells); i++) BL_TRY(bl_cost_cell_read(ctx, path, json_array_get(cells, i), c));
    for (size_t i = 0; i < json_array_size(groups); i++) {
        const char *key;
        double spread;
        BL_TRY(bl_json_str(ctx, json_array_get(groups, i), "key", path, &key));
        BL_TRY(bl_json_f64(ctx, json_array_get(groups, i), "aa_spread", path, &spread));
        BL_TRY(bl_cost_add_group(c, key, spread));
    }
    return BL_OK;
}

bl_status bl_cost_read(bl_ctx *ctx, const char *path, bl_cost **out)
{
    json_t *r;
    bl_hash hash;
    BL_TRY(bl_record_read(ctx, path, "cost", 1, NULL, &r, &hash));
    bl_cost *c = bl_cost_new(ctx);
    bl_status s = c ? read_cost(ctx, path, r, c) : bl_pending(ctx);
    json_decref(r);
    if (s != BL_OK) {
        bl_cost_free(c);
        return s;
    }
    c->hash = hash;
    *out = c;
    return BL_OK;
}
