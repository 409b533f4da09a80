/* SPDX-License-Identifier: BSD-3-Clause */
/* What the files of base know of each other and nobody else does. */
#ifndef BL_BASE_PRIVATE_H
#define BL_BASE_PRIVATE_H

#include "base/base.h"

/* An error on its way up inside one thread of a parallel region. */
typedef struct bl_error_slot {
    bl_status code;
    char place[512], what[1024], remedy[512];
} bl_error_slot;

/* The slot of the calling thread while the pool is inside a parallel region, else NULL: then the
 * context's own fields are meant.  pool may be NULL. */
bl_error_slot *bl_pool_slot(struct bl_pool *pool);

/* True on a pool thread other than the one that called bl_parallel_for. */
bool bl_pool_is_helper(struct bl_pool *pool);

/* Holds (true) and releases (false) the lock under which user callbacks run; no-op outside a
 * parallel region. */
void bl_pool_serial(struct bl_pool *pool, bool hold);

/* Overwrites the pending error with a finished one (no formatting). */
void bl_error_set(bl_ctx *ctx, const bl_error_slot *slot);

/* Hash of what json_dump would write under these flags; false when it cannot be written. */
bool bl_hash_json(const json_t *value, size_t flags, bl_hash *out);

/* ------------------------------------------------------------------ spill.c */

/* Zeroed bytes of a page-aligned mapping of a nameless file; NULL, without an error, where no file or no room on
 * the disk is to be had. */
void *bl_spill_take(size_t bytes);
void bl_spill_give_back(void *p, size_t bytes);

/* ------------------------------------------------------------------ trace.c */

bl_status bl_trace_open(bl_ctx *ctx); /* as BL_TRACE says */
void bl_trace_close(bl_ctx *ctx);     /* writes the file where there is something in it */

#endif
