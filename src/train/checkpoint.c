/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a training has reached, after each epoch, in one file that is written whole or not at all: the
 * state, the optimizer's moments, the best epoch's state and what each epoch brought.  It carries the hash of
 * all that the training depends on, so nothing else goes on from it.
 */
#include "train/trainer.h"

#include "base/container.h"

#include <string.h>

enum { HEAD = 1, EPOCHS, STATE, MOMENTS, BEST };

typedef struct head {
    char key[40];
    int64_t done, best;
} head;

bl_status bl_checkpoint_write(bl_ctx *ctx, const char *path, const bl_train_state *s)
{
    head h = {.done = s->done, .best = s->best};
    size_t bytes = s->n_state * sizeof(float);
    bl_section sections[] = {
        {HEAD, &h, sizeof h},
        {EPOCHS, s->epochs, (uint64_t)s->done * sizeof *s->epochs},
        {STATE, s->state, bytes},
        {MOMENTS, s->moments, s->n_moments * sizeof(float)},
        {BEST, s->best_state, bytes},
    };
    memcpy(h.key, s->key.hex, sizeof s->key.hex);
    return bl_container_write(ctx, path, "TRNS", 1, 0, sections, BL_COUNTOF(sections));
}

static bool take(const bl_section *all, size_t n, uint32_t id, void *to, size_t bytes)
{
    const bl_section *s = bl_section_find(all, n, id);
    if (!s || s->size != bytes) return false;
    if (bytes) memcpy(to, s->data, bytes);
    return true;
}

static bl_status parse(bl_ctx *ctx, const char *path, const bl_map *map, int64_t epochs, bl_train_state *s)
{
    bl_section all[BL_SECTIONS_MAX];
    size_t n, bytes = s->n_state * sizeof(float);
    head h;

    BL_TRY(bl_container_parse(ctx, path, map->data, map->size, "TRNS", 1, all, &n));
    if (!take(all, n, HEAD, &h, sizeof h) || memcmp(h.key, s->key.hex, sizeof s->key.hex) != 0)
        return bl_fail(ctx, BL_DATA, path, "give the same options again, or remove the file",
                       "it was left by a training with other options, data or weights");
    if (h.done < 0 || h.done > epochs || h.best < 0 || h.best > h.done ||
        !take(all, n, EPOCHS, s->epochs, (size_t)h.done * sizeof *s->epochs) ||
        !take(all, n, STATE, s->state, bytes) || !take(all, n, BEST, s->best_state, bytes) ||
        !take(all, n, MOMENTS, s->moments, s->n_moments * sizeof(float)))
        return bl_fail(ctx, BL_DATA, path, "remove the file", "it holds less than a training leaves");
    s->done = h.done;
    s->best = h.best;
    return BL_OK;
}

bl_status bl_checkpoint_read(bl_ctx *ctx, const char *path, int64_t epochs, bl_train_state *s)
{
    bl_map map;

    if (!bl_file_exists(path)) return BL_OK;
    BL_TRY(bl_map_file(ctx, path, 0, &map));
    bl_status status = parse(ctx, path, &map, epochs, s);
    bl_unmap(&map);
    return status;
}
