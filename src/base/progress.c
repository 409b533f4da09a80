/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The clock, notes, and progress with an estimate of the time left.  Showing them is the caller's
 * matter.
 */
#include "base/base_private.h"

#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define REPORT_EVERY_NS UINT64_C(100000000)

uint64_t bl_now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * UINT64_C(1000000000) + (uint64_t)t.tv_nsec;
}

uint64_t bl_peak_rss_bytes(void)
{
    struct rusage use;
    return getrusage(RUSAGE_SELF, &use) == 0 ? (uint64_t)use.ru_maxrss * 1024 : 0;
}

void bl_return_freed(void)
{
#ifdef __GLIBC__
    malloc_trim(0);
#endif
}

void bl_note(bl_ctx *ctx, const char *format, ...)
{
    if (!ctx->options.note) return;
    char line[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof(line), format, args);
    va_end(args);
    for (char *p = line; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7F) *p = '?';
    bl_pool_serial(ctx->pool, true);
    ctx->options.note(ctx->options.user, line);
    bl_pool_serial(ctx->pool, false);
}

void bl_progress(bl_ctx *ctx, const char *stage, uint64_t done, uint64_t total)
{
    if ((!ctx->options.progress && !ctx->trace) || bl_pool_is_helper(ctx->pool)) return;
    uint64_t now = bl_now_ns();
    bool fresh = strncmp(ctx->stage, stage, sizeof(ctx->stage) - 1) != 0 || done == 0;
    if (fresh) {
        snprintf(ctx->stage, sizeof(ctx->stage), "%s", stage);
        ctx->stage_start_ns = now;
    } else if (done < total && now - ctx->stage_last_ns < REPORT_EVERY_NS) {
        return;
    }
    ctx->stage_last_ns = now;
    /* Work that was resumed counts from its first report, which says nothing about speed. */
    double left = -1;
    if (done >= total)
        left = 0;
    else if (!fresh && done > 0)
        left = (double)(now - ctx->stage_start_ns) * 1e-9 / (double)done * (double)(total - done);
    if (done >= total) bl_trace_span(ctx, stage, ctx->stage_start_ns);
    if (ctx->options.progress) ctx->options.progress(ctx->options.user, stage, done, total, left);
}
