/* SPDX-License-Identifier: BSD-3-Clause */
/* WEIGHTS (.blw): constants that tuning replaced, each with the hash of what it replaces, and scales of grids
 * that it learned. */
#include "base/container.h"
#include "quant/quant.h"

#include <string.h>

enum { SECTION_HEAD = 1, SECTION_ITEMS = 2, SECTION_NAMES = 3, SECTION_DATA = 4, SECTION_GRIDS = 5 };

typedef struct stored_item {
    uint32_t name, table;       /* offset into the names; a grid: 1 for a codebook's codes */
    uint64_t offset, count;     /* floats in the data */
    char replaces[32];          /* of a grid: zeros */
} stored_item;
_Static_assert(sizeof(stored_item) == 56, "an item is stored as it stands");

void bl_weights_free(bl_weights *weights)
{
    if (!weights) return;
    bl_unmap(&weights->map);
    bl_arena_free(weights->arena);
}

const float *bl_weights_find(const bl_weights *weights, int value)
{
    for (int i = 0; weights && i < weights->n_items; i++)
        if (weights->items[i].value == value) return weights->items[i].data;
    return NULL;
}

bl_status bl_weights_put(bl_ctx *ctx, const bl_graph *g, bl_weights *w, int value, const float *data)
{
    const bl_tensor *t = &g->values[value].t;
    if (w->n_items >= w->room) {
        int room = BL_MAX(16, 2 * w->n_items);
        bl_weight_item *items = BL_NEW(w->arena, bl_weight_item, (size_t)room);
        BL_ALLOC_TRY(ctx, items);
        if (w->n_items) memcpy(items, w->items, (size_t)w->n_items * sizeof *items);
        w->items = items;
        w->room = room;
    }
    w->items[w->n_items++] = (bl_weight_item){ .value = value, .replaces = bl_hash_of(t->data, bl_tensor_bytes(t)), .data = data,
                                               .count = bl_tensor_count(t) };
    return BL_OK;
}

bl_status bl_weights_replace(bl_ctx *ctx, const bl_graph *g, bl_weights *w, int value, float **data)
{
    const bl_tensor *t = &g->values[value].t;
    *data = bl_alloc(w->arena, (size_t)bl_tensor_count(t), sizeof(float));
    BL_ALLOC_TRY(ctx, *data);
    memcpy(*data, t->data, bl_tensor_bytes(t));
    return bl_weights_put(ctx, g, w, value, *data);
}

bl_status bl_weights_seal(bl_ctx *ctx, const bl_graph *g, bl_weights *w)
{
    bl_hasher *h = bl_hasher_new(w->arena);
    BL_ALLOC_TRY(ctx, h);
    bl_hash_text(h, g->hash.hex);
    for (int i = 0; i < w->n_items; i++) {
        bl_hash_text(h, g->values[w->items[i].value].name);
        bl_hash_bytes(h, w->items[i].data, (size_t)w->items[i].count * sizeof(float));
    }
    for (int i = 0; i < w->n_grids; i++) {
        bl_hash_text(h, g->values[w->grids[i].value].name);
        bl_hash_bytes(h, w->grids[i].scale, (size_t)w->grids[i].count * sizeof(float));
    }
    w->hash = bl_hash_end(h);
    return BL_OK;
}

static bool grid_fits(const bl_plan *plan, const bl_grid_item *item)
{
    const bl_quantizer *q = plan->of_value[item->value] >= 0 ? &plan->quantizers[plan->of_value[item->value]] : NULL;
    if (!q || !bl_quantizer_has_codes(q)) return false;
    if (!item->table) return q->n_scale == item->count;
    return q->weight && bl_codebook_width(q->bits) && item->count == 1 << q->bits;
}

/* Codes of a codebook: the plan's weight becomes one where it was none. */
static bl_status use_table(bl_ctx *ctx, bl_plan *plan, const bl_grid_item *item)
{
    bl_quantizer *q = &plan->quantizers[plan->of_value[item->value]];
    int8_t *table = BL_NEW(plan->arena, int8_t, (size_t)item->count);

    BL_ALLOC_TRY(ctx, table);
    for (int64_t i = 0; i < item->count; i++) table[i] = (int8_t)item->scale[i];
    q->kind = BL_Q_CODEBOOK;
    q->range = "k-means";
    q->n_table = (int)item->count;
    q->table = table;
    return BL_OK;
}

bl_status bl_plan_use_weights(bl_ctx *ctx, bl_plan *plan, bl_weights *w)
{
    for (int i = 0; i < w->n_grids; i++)
        if (!grid_fits(plan, &w->grids[i]))
            return bl_fail(ctx, BL_DATA, "weights", "give the weights that the plan names", "grids of another plan");
    if (w->n_grids) BL_TRY(bl_plan_content(ctx, plan, &w->plan));
    for (int i = 0; i < w->n_grids; i++) {
        const bl_grid_item *item = &w->grids[i];
        if (item->table) BL_TRY(use_table(ctx, plan, item));
        else memcpy(plan->quantizers[plan->of_value[item->value]].scale, item->scale, (size_t)item->count * sizeof(float));
    }
    plan->weights = w->hash;
    return BL_OK;
}

typedef struct packing { char *text; float *data; size_t at_name, at; } packing;

static stored_item pack(packing *p, const char *name, const float *data, int64_t count)
{
    stored_item item = { .name = (uint32_t)p->at_name, .offset = p->at, .count = (uint64_t)count };
    memcpy(p->text + p->at_name, name, strlen(name) + 1);
    memcpy(p->data + p->at, data, (size_t)count * sizeof *data);
    p->at_name += strlen(name) + 1;
    p->at += (size_t)count;
    return item;
}

bl_status bl_weights_write(bl_ctx *ctx, const bl_graph *graph, bl_weights *weights, const char *path)
{
    size_t names = 0, floats = 0;
    for (int i = 0; i < weights->n_items; i++) {
        names += strlen(graph->values[weights->items[i].value].name) + 1;
        floats += (size_t)weights->items[i].count;
    }
    for (int i = 0; i < weights->n_grids; i++) {
        names += strlen(graph->values[weights->grids[i].value].name) + 1;
        floats += (size_t)weights->grids[i].count;
    }
    bl_arena *a = bl_arena_new(ctx, "weights");
    BL_ALLOC_TRY(ctx, a);
    stored_item *items = BL_NEW(a, stored_item, (size_t)weights->n_items), *grids = BL_NEW(a, stored_item, (size_t)weights->n_grids);
    char *text = BL_NEW(a, char, names + 1);
    float *data = BL_NEW(a, float, floats);
    bl_status s = items && grids && text && data ? bl_weights_seal(ctx, graph, weights) : bl_pending(ctx);
    packing p = { text, data, 0, 0 };
    for (int i = 0; s == BL_OK && i < weights->n_items; i++) {
        const bl_weight_item *w = &weights->items[i];
        items[i] = pack(&p, graph->values[w->value].name, w->data, w->count);
        memcpy(items[i].replaces, w->replaces.hex, 32);
    }
    for (int i = 0; s == BL_OK && i < weights->n_grids; i++) {
        const bl_grid_item *item = &weights->grids[i];
        grids[i] = pack(&p, graph->values[item->value].name, item->scale, item->count);
        grids[i].table = item->table;
    }
    if (s == BL_OK) {
        char head[64] = { 0 };
        memcpy(head, graph->hash.hex, 32);
        memcpy(head + 32, weights->key.hex, 32);
        bl_section sections[] = { { SECTION_HEAD, head, sizeof head },
                                  { SECTION_ITEMS, items, (uint64_t)weights->n_items * sizeof *items },
                                  { SECTION_NAMES, text, names }, { SECTION_DATA, data, floats * sizeof *data },
                                  { SECTION_GRIDS, grids, (uint64_t)weights->n_grids * sizeof *grids } };
        size_t n = BL_COUNTOF(sections) - (weights->n_grids ? 0 : 1);
        s = bl_container_write(ctx, path, "WGTS", 1, weights->n_grids ? 1 : 0, sections, n);
    }
    bl_arena_free(a);
    return s;
}

static bl_status read_floats(bl_ctx *ctx, const char *path, const stored_item *in, const bl_section *names,
                             const bl_section *data, const char **name, const float **x)
{
    const char *again = "make the file again";
    if (in->name >= names->size || !memchr((const char *)names->data + in->name, 0, names->size - in->name))
        return bl_fail(ctx, BL_DATA, path, again, "a name lies outside the file");
    *name = (const char *)names->data + in->name;
    uint64_t floats = data->size / sizeof(float);
    if (in->offset > floats || in->count > floats - in->offset)
        return bl_fail(ctx, BL_DATA, path, again, "constant \"%s\" lies outside the file", *name);
    *x = (const float *)data->data + in->offset;
    for (uint64_t i = 0; i < in->count; i++)
        if (!isfinite((*x)[i])) return bl_fail(ctx, BL_DATA, path, again, "\"%s\" holds NaN or infinity", *name);
    return BL_OK;
}

static bl_status read_item(bl_ctx *ctx, const bl_graph *g, const char *path, const stored_item *in,
                           const bl_section *names, const bl_section *data, bl_weight_item *out)
{
    const char *name;
    const float *x;
    BL_TRY(read_floats(ctx, path, in, names, data, &name, &x));
    int v = bl_graph_find_value(g, name);
    if (v < 0 || !g->values[v].t.data || g->values[v].t.type != BL_F32)
        return bl_fail(ctx, BL_DATA, path, "give the weights of this network",
                       "\"%s\" is no constant of the network", name);
    if ((uint64_t)bl_tensor_count(&g->values[v].t) != in->count)
        return bl_fail(ctx, BL_DATA, path, "give the weights of this network", "\"%s\" has another size", name);
    bl_hash h = bl_hash_of(g->values[v].t.data, bl_tensor_bytes(&g->values[v].t));
    if (memcmp(h.hex, in->replaces, 32))
        return bl_fail(ctx, BL_DATA, path, "give the weights of this network",
                       "\"%s\" was made for other weights", name);
    *out = (bl_weight_item){ .value = v, .replaces = h, .count = (int64_t)in->count, .data = x };
    return BL_OK;
}

static bl_status read_grid(bl_ctx *ctx, const bl_graph *g, const char *path, const stored_item *in,
                           const bl_section *names, const bl_section *data, bl_grid_item *out)
{
    const char *name;
    const float *x;
    BL_TRY(read_floats(ctx, path, in, names, data, &name, &x));
    int v = bl_graph_find_value(g, name);
    if (v < 0) return bl_fail(ctx, BL_DATA, path, "give the weights of this network", "\"%s\" is no value of the network", name);
    for (uint64_t i = 0; in->table == 1 && i < in->count; i++)
        if (fabsf(x[i]) > 127 || x[i] != rintf(x[i]) || (i && x[i] < x[i - 1]))
            return bl_fail(ctx, BL_DATA, path, "make the file again", "the codes of \"%s\" are no table in order", name);
    for (uint64_t i = 0; in->table != 1 && i < in->count; i++)
        if (!(x[i] > 0)) return bl_fail(ctx, BL_DATA, path, "make the file again", "a scale of \"%s\" is not above zero", name);
    *out = (bl_grid_item){ .value = v, .count = (int64_t)in->count, .scale = x, .table = in->table == 1 };
    return BL_OK;
}

static bl_status read_items(bl_ctx *ctx, const bl_graph *g, const char *path, bl_weights *w)
{
    bl_section s[BL_SECTIONS_MAX];
    size_t n;
    BL_TRY(bl_container_parse(ctx, path, w->map.data, w->map.size, "WGTS", 1, s, &n));
    const bl_section *head = bl_section_find(s, n, SECTION_HEAD), *items = bl_section_find(s, n, SECTION_ITEMS);
    const bl_section *names = bl_section_find(s, n, SECTION_NAMES), *data = bl_section_find(s, n, SECTION_DATA);
    const bl_section *grids = bl_section_find(s, n, SECTION_GRIDS);
    const char *again = "make the file again", *wrong = "a section is missing or has a wrong size";
    if (!head || !items || !names || !data || head->size != 64) return bl_fail(ctx, BL_DATA, path, again, "%s", wrong);
    if (memcmp(head->data, g->hash.hex, 32)) /* before sizes are held against this network's */
        return bl_fail(ctx, BL_DATA, path, "give the weights of this network", "the record of another network");
    if (items->size % sizeof(stored_item) || items->size / sizeof(stored_item) > (uint64_t)g->n_values ||
        (grids && (grids->size % sizeof(stored_item) || grids->size / sizeof(stored_item) > 2 * (uint64_t)g->n_values)))
        return bl_fail(ctx, BL_DATA, path, again, "%s", wrong);
    memcpy(w->key.hex, (const char *)head->data + 32, 32);
    w->n_items = (int)(items->size / sizeof(stored_item));
    w->items = BL_NEW(w->arena, bl_weight_item, (size_t)w->n_items);
    BL_ALLOC_TRY(ctx, w->items);
    for (int i = 0; i < w->n_items; i++) {
        stored_item in;
        memcpy(&in, (const char *)items->data + (size_t)i * sizeof in, sizeof in);
        BL_TRY(read_item(ctx, g, path, &in, names, data, &w->items[i]));
    }
    w->n_grids = grids ? (int)(grids->size / sizeof(stored_item)) : 0;
    w->grids = BL_NEW(w->arena, bl_grid_item, (size_t)w->n_grids);
    BL_ALLOC_TRY(ctx, w->grids);
    for (int i = 0; i < w->n_grids; i++) {
        stored_item in;
        memcpy(&in, (const char *)grids->data + (size_t)i * sizeof in, sizeof in);
        BL_TRY(read_grid(ctx, g, path, &in, names, data, &w->grids[i]));
    }
    w->graph = g->hash;
    return bl_weights_seal(ctx, g, w);
}

bl_status bl_weights_read(bl_ctx *ctx, const bl_graph *graph, const char *path, bl_weights **out)
{
    bl_arena *a = bl_arena_new(ctx, "weights");
    BL_ALLOC_TRY(ctx, a);
    bl_weights *w = BL_NEW(a, bl_weights, 1);
    bl_status s = w ? BL_OK : bl_pending(ctx);
    if (!w) {
        bl_arena_free(a);
        return s;
    }
    w->arena = a;
    s = bl_map_file(ctx, path, 0, &w->map);
    if (s == BL_OK) s = read_items(ctx, graph, path, w);
    if (s != BL_OK) bl_weights_free(w);
    else *out = w;
    return s;
}
