/* SPDX-License-Identifier: BSD-3-Clause */
/* A table from names to numbers: open addressing, at most half full, growing in an arena. */
#include "graph/graph_private.h"

#include <string.h>

static bl_status resize(bl_names *t, size_t n_slots)
{
    bl_name_slot *old = t->slots;
    size_t n_old = old ? t->mask + 1 : 0;
    bl_name_slot *slots = BL_NEW(t->arena, bl_name_slot, n_slots);
    BL_ALLOC_TRY(bl_arena_ctx(t->arena), slots);
    t->slots = slots;
    t->mask = n_slots - 1;
    for (size_t i = 0; i < n_old; i++) {
        if (!old[i].name) continue;
        size_t at = bl_checksum(old[i].name, strlen(old[i].name)) & t->mask;
        while (slots[at].name) at = (at + 1) & t->mask;
        slots[at] = old[i];
    }
    return BL_OK;
}

bl_status bl_names_init(bl_names *names, bl_arena *arena, size_t n_expected)
{
    size_t n_slots = 16;
    while (n_slots / 2 < n_expected && n_slots <= SIZE_MAX / 4) n_slots *= 2;
    *names = (bl_names){.arena = arena};
    return resize(names, n_slots);
}

/* The slot of a name, or the empty one where it belongs. */
static bl_name_slot *slot_of(const bl_names *t, const char *name)
{
    size_t at = bl_checksum(name, strlen(name)) & t->mask;
    while (t->slots[at].name && strcmp(t->slots[at].name, name) != 0) at = (at + 1) & t->mask;
    return &t->slots[at];
}

int bl_names_find(const bl_names *names, const char *name)
{
    const bl_name_slot *s = slot_of(names, name);
    return s->name ? s->id : -1;
}

bl_status bl_names_add(bl_names *names, const char *name, int id, int *taken)
{
    if (names->n >= (names->mask + 1) / 2) BL_TRY(resize(names, (names->mask + 1) * 2));
    bl_name_slot *s = slot_of(names, name);
    *taken = s->name ? s->id : -1;
    if (s->name) return BL_OK;
    *s = (bl_name_slot){name, id, 2};
    names->n++;
    return BL_OK;
}

const char *bl_names_unique(bl_names *names, const char *wish, int id)
{
    const char *name = wish;
    int taken;
    if (bl_names_add(names, name, id, &taken) != BL_OK) return NULL;
    while (taken >= 0) {
        /* The counter lies with the wish, so that n equal wishes cost n steps, not n * n. */
        int number = slot_of(names, wish)->next++;
        name = bl_format(names->arena, "%s_%d", wish, number);
        if (!name || bl_names_add(names, name, id, &taken) != BL_OK) return NULL;
    }
    return name;
}
