/* SPDX-License-Identifier: BSD-3-Clause */
/* --shard I/N: the numbered pieces of sense, eval and search that one of N machines does. */
#ifndef BL_SHARD_H
#define BL_SHARD_H

#include "cli/cli.h"

typedef struct bl_shard { int at, of; } bl_shard; /* at from 1; of 0: the whole */
bool bl_shard_parse(const char *text, bl_shard *out);
/* The menu with no choice but in the shard's units: what `sense` then asks about.  Borrows from menu. */
bl_status bl_shard_menu(bl_ctx *ctx, bl_arena *arena, const bl_menu *menu, bl_shard shard, bl_menu *out);
/* Parts of a sens record into the whole one at out; parts of an evaluation into *answer (NULL: none may come). */
bl_status bl_shard_merge(bl_ctx *ctx, bl_arena *arena, const char *const *paths, int n, const char *out, json_t **answer);
/* Lines of parts of trials, each once. */
bl_status bl_shard_merge_trials(bl_ctx *ctx, bl_arena *arena, const char *const *paths, int n, const char *out);
/* Says in a finished sens record which part of which whole it is. */
bl_status bl_shard_mark(bl_ctx *ctx, const char *path, bl_shard shard);

#endif
