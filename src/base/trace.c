/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BL_TRACE=FILE: what ran when and how much memory stood in arenas then, in the JSON that trace viewers
 * open (Perfetto, chrome://tracing; "Trace Event Format", complete events).  Stages come from progress
 * and from whoever times a piece of work by itself; they nest by their times.
 */
#include "base/base_private.h"

#include <stdlib.h>
#include <string.h>

#define EVENTS_MAX 100000

bl_status bl_trace_open(bl_ctx *ctx)
{
    const char *path = getenv("BL_TRACE");
    if (!path || !*path) return BL_OK;
    ctx->trace = json_array();
    ctx->trace_path = strdup(path);
    ctx->trace_start_ns = bl_now_ns();
    if (ctx->trace && ctx->trace_path) return BL_OK;
    return bl_fail(ctx, BL_UNAVAILABLE, "BL_TRACE", "", "the system has no memory left");
}

void bl_trace_span(bl_ctx *ctx, const char *name, uint64_t start_ns)
{
    if (!ctx->trace || json_array_size(ctx->trace) >= EVENTS_MAX || bl_pool_is_helper(ctx->pool)) return;
    uint64_t live;
    bl_memory_use(ctx, &live, NULL);
    json_array_append_new(ctx->trace, json_pack("{s:s, s:s, s:i, s:i, s:f, s:f, s:{s:I}}", "name", name, "ph", "X", "pid", 1,
                          "tid", 1, "ts", (double)(start_ns - ctx->trace_start_ns) * 1e-3, "dur",
                          (double)(bl_now_ns() - start_ns) * 1e-3, "args", "arena_bytes", (json_int_t)live));
}

void bl_trace_close(bl_ctx *ctx)
{
    if (json_array_size(ctx->trace) > 0) {
        json_t *o = json_pack("{s:s, s:O}", "displayTimeUnit", "ms", "traceEvents", ctx->trace);
        if (!o || bl_json_write(ctx, ctx->trace_path, o) != BL_OK)
            bl_note(ctx, "BL_TRACE: %s is not written: %s", ctx->trace_path, bl_last_error(ctx).what);
        json_decref(o);
    }
    json_decref(ctx->trace);
    free(ctx->trace_path);
}
