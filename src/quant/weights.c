/* SPDX-License-Identifier: BSD-3-Clause */
/* WEIGHTS (.blw): constants that tuning replaced, each with the hash of what it replaces. */
#include "base/container.h"
#include "quant/quant.h"

#include <string.h>

enum { SECTION_HEAD = 1, SECTION_ITEMS = 2, SECTION_NAMES = 3, SECTION_DATA = 4 };

typedef struct stored_item {
    uint32_t name, zero;        /* offset into the names */
    uint64_t offset, count;     /* floats in the data */
    char replaces[32];
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

bl_status bl_weights_seal(bl_ctx *ctx, const bl_graph *g, bl_weights *w)
{
    bl_hasher *h = bl_hasher_new(w->arena);
    BL_ALLOC_TRY(ctx, h);
    bl_hash_text(h, g->hash.hex);
    for (int i = 0; i < w->n_items; i++) {
        bl_hash_text(h, g->values[w->items[i].value].name);
        bl_hash_bytes(h, w->items[i].data, (size_t)w->items[i].count * sizeof(float));
    }
    w->hash = bl_hash_end(h);
    return BL_OK;
}

bl_status bl_weights_write(bl_ctx *ctx, const bl_graph *graph, bl_weights *weights, const char *path)
{
    size_t names = 0, floats = 0;
    for (int i = 0; i < weights->n_items; i++) {
        names += strlen(graph->values[weights->items[i].value].name) + 1;
        floats += (size_t)weights->items[i].count;
    }
    bl_arena *a = bl_arena_new(ctx, "weights");
    BL_ALLOC_TRY(ctx, a);
    stored_item *items = BL_NEW(a, stored_item, (size_t)weights->n_items);
    char *text = BL_NEW(a, char, names + 1);
    float *data = BL_NEW(a, float, floats);
    bl_status s = items && text && data ? bl_weights_seal(ctx, graph, weights) : bl_pending(ctx);
    size_t at_name = 0, at = 0;
    for (int i = 0; s == BL_OK && i < weights->n_items; i++) {
        const bl_weight_item *w = &weights->items[i];
        const char *name = graph->values[w->value].name;
        items[i] = (stored_item){ .name = (uint32_t)at_name, .offset = at, .count = (uint64_t)w->count };
        memcpy(items[i].replaces, w->replaces.hex, 32);
        memcpy(text + at_name, name, strlen(name) + 1);
        memcpy(data + at, w->data, (size_t)w->count * sizeof *data);
        at_name += strlen(name) + 1;
        at += (size_t)w->count;
    }
    if (s == BL_OK) {
        char head[64] = { 0 };
        memcpy(head, graph->hash.hex, 32);
        memcpy(head + 32, weights->key.hex, 32);
        bl_section sections[] = { { SECTION_HEAD, head, sizeof head },
                                  { SECTION_ITEMS, items, (uint64_t)weights->n_items * sizeof *items },
                                  { SECTION_NAMES, text, names }, { SECTION_DATA, data, floats * sizeof *data } };
        s = bl_container_write(ctx, path, "WGTS", 1, 0, sections, BL_COUNTOF(sections));
    }
    bl_arena_free(a);
    return s;
}

static bl_status read_item(bl_ctx *ctx, const bl_graph *g, const char *path, const stored_item *in,
                           const bl_section *names, const bl_section *data, bl_weight_item *out)
{
    const char *again = "make the file again";
    if (in->name >= names->size || !memchr((const char *)names->data + in->name, 0, names->size - in->name))
        return bl_fail(ctx, BL_DATA, path, again, "a name lies outside the file");
    const char *name = (const char *)names->data + in->name;
    uint64_t floats = data->size / sizeof(float);
    if (in->offset > floats || in->count > floats - in->offset)
        return bl_fail(ctx, BL_DATA, path, again, "constant \"%s\" lies outside the file", name);
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
    const float *x = (const float *)data->data + in->offset;
    for (uint64_t i = 0; i < in->count; i++)
        if (!isfinite(x[i]))
            return bl_fail(ctx, BL_DATA, path, again, "\"%s\" holds NaN or infinity", name);
    *out = (bl_weight_item){ .value = v, .replaces = h, .count = (int64_t)in->count, .data = x };
    return BL_OK;
}

static bl_status read_items(bl_ctx *ctx, const bl_graph *g, const char *path, bl_weights *w)
{
    bl_section s[BL_SECTIONS_MAX];
    size_t n;
    BL_TRY(bl_container_parse(ctx, path, w->map.data, w->map.size, "WGTS", 1, s, &n));
    const bl_section *head = bl_section_find(s, n, SECTION_HEAD), *items = bl_section_find(s, n, SECTION_ITEMS);
    const bl_section *names = bl_section_find(s, n, SECTION_NAMES), *data = bl_section_find(s, n, SECTION_DATA);
    if (!head || !items || !names || !data || head->size != 64 || items->size % sizeof(stored_item) ||
        items->size / sizeof(stored_item) > (uint64_t)g->n_values)
        return bl_fail(ctx, BL_DATA, path, "make the file again", "a section is missing or has a wrong size");
    if (memcmp(head->data, g->hash.hex, 32))
        return bl_fail(ctx, BL_DATA, path, "give the weights of this network", "the record of another network");
    memcpy(w->key.hex, (const char *)head->data + 32, 32);
    w->n_items = (int)(items->size / sizeof(stored_item));
    w->items = BL_NEW(w->arena, bl_weight_item, (size_t)w->n_items);
    BL_ALLOC_TRY(ctx, w->items);
    for (int i = 0; i < w->n_items; i++) {
        stored_item in;
        memcpy(&in, (const char *)items->data + (size_t)i * sizeof in, sizeof in);
        BL_TRY(read_item(ctx, g, path, &in, names, data, &w->items[i]));
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
