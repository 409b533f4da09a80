/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The context and its error.  Resolves options against the machine and the environment; which
 * instruction sets exist is not known here (kernels resolves options.isa), nor how threads run
 * (thread.c).
 *
 * Inside a parallel region every thread has an error slot of its own, so that a piece of work can
 * fail and add to its error without locks; thread.c keeps the slot of the smallest failing piece.
 */
#define _GNU_SOURCE 1 /* cpu_set_t */
#include "base/base_private.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS_MAX 1024u

/* ------------------------------------------------------------------ the pending error */

typedef struct error_fields {
    bl_status *code;
    char *place, *what, *remedy; /* sizes as in bl_error_slot */
} error_fields;

static error_fields pending_fields(bl_ctx *ctx)
{
    bl_error_slot *slot = bl_pool_slot(ctx->pool);
    if (slot) return (error_fields){&slot->code, slot->place, slot->what, slot->remedy};
    return (error_fields){&ctx->code, ctx->place, ctx->what, ctx->remedy};
}

/* Drops the bytes of a character that a full buffer cut in two. */
static size_t whole_characters(const char *text, size_t n)
{
    size_t start = n;
    while (start > 0 && n - start < 3 && ((unsigned char)text[start - 1] & 0xC0) == 0x80) start--;
    if (start == 0) return n;
    unsigned char lead = (unsigned char)text[start - 1];
    size_t need = lead >= 0xF0 ? 3 : lead >= 0xE0 ? 2 : lead >= 0xC0 ? 1 : 0;
    return need > n - start ? start - 1 : n;
}

/* One line that no terminal obeys: control bytes (C1 ones too) and, where the text is not UTF-8 at
 * all, every byte above 127 become '?'. */
static void copy_line(char *out, size_t size, const char *text)
{
    size_t n = strnlen(text, size);
    if (n == size) n = whole_characters(text, size - 1);
    bool utf8 = bl_utf8_valid(text, n);
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        bool bad = c < 0x20 || c == 0x7F || (c >= 0x80 && !utf8);
        if (c == 0xC2 && utf8 && (unsigned char)text[i + 1] < 0xA0) {
            out[i++] = '?';
            bad = true;
        }
        out[i] = bad ? '?' : (char)c;
    }
    out[n] = '\0';
}

bl_status bl_fail(bl_ctx *ctx, bl_status code, const char *place, const char *remedy,
                  const char *format, ...)
{
    bl_error_slot fresh;
    char text[sizeof(fresh.what) + 8]; /* longer than what[], so that copy_line sees a cut */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    /* Through a copy of its own: the arguments may point into the error that is replaced. */
    fresh.code = code;
    copy_line(fresh.what, sizeof(fresh.what), text);
    copy_line(fresh.place, sizeof(fresh.place), place ? place : "");
    copy_line(fresh.remedy, sizeof(fresh.remedy), remedy ? remedy : "");
    bl_error_set(ctx, &fresh);
    return code;
}

void bl_error_set(bl_ctx *ctx, const bl_error_slot *slot)
{
    error_fields e = pending_fields(ctx);
    *e.code = slot->code;
    memcpy(e.place, slot->place, sizeof(slot->place));
    memcpy(e.what, slot->what, sizeof(slot->what));
    memcpy(e.remedy, slot->remedy, sizeof(slot->remedy));
}

bl_status bl_fail_within(bl_ctx *ctx, const char *format, ...)
{
    error_fields e = pending_fields(ctx);
    char text[2 * sizeof(ctx->place)];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof(ctx->place), format, args);
    va_end(args);
    size_t n = strlen(text);
    if (e.place[0]) snprintf(text + n, sizeof(text) - n, ": %s", e.place);
    copy_line(e.place, sizeof(ctx->place), text);
    return *e.code;
}

bl_status bl_pending(const bl_ctx *ctx)
{
    return *pending_fields((bl_ctx *)ctx).code;
}

bl_error bl_last_error(const bl_ctx *ctx)
{
    if (!ctx) return (bl_error){BL_UNAVAILABLE, "context", "the system has no memory left", ""};
    error_fields e = pending_fields((bl_ctx *)ctx);
    return (bl_error){*e.code, e.place, e.what, e.remedy};
}

void bl_interrupt(bl_ctx *ctx)
{
    __atomic_store_n(&ctx->interrupted, 1, __ATOMIC_RELAXED);
}

bl_status bl_check_interrupt(bl_ctx *ctx)
{
    if (!__atomic_load_n(&ctx->interrupted, __ATOMIC_RELAXED)) return BL_OK;
    return bl_fail(ctx, BL_INTERRUPTED, *ctx->stage ? ctx->stage : "signal", "the same call resumes", "interrupted");
}

/* ------------------------------------------------------------------ options */

/* Unset or empty gives `otherwise`; text that is no number gives UINT64_MAX, which bl_ctx_new
 * then refuses by the variable's name. */
static uint64_t env_u64(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t v;
    if (!text || !*text) return otherwise;
    return bl_parse_u64(text, &v) ? v : UINT64_MAX;
}

bl_options bl_options_default(void)
{
    const char *isa = getenv("BL_ISA");
    uint64_t threads = env_u64("BL_THREADS", 0);
    return (bl_options){
        .threads = (unsigned)BL_MIN(threads, UINT32_MAX),
        .seed = env_u64("BL_SEED", 1),
        .isa = isa && *isa ? isa : NULL,
    };
}

static unsigned usable_cores(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof(set), &set) == 0 && CPU_COUNT(&set) > 0)
        return BL_MIN((unsigned)CPU_COUNT(&set), THREADS_MAX);
    long n = sysconf(_SC_NPROCESSORS_ONLN); /* more cores than a cpu_set_t holds */
    return n < 1 ? 1 : (unsigned)BL_MIN(n, (long)THREADS_MAX);
}

/* RAM, or what the control group grants of it. */
static uint64_t usable_ram(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t ram = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : UINT64_C(1) << 30;
    FILE *f = fopen("/sys/fs/cgroup/memory.max", "re");
    if (f) {
        uint64_t limit;
        if (fscanf(f, "%" SCNu64, &limit) == 1 && limit > 0) ram = BL_MIN(ram, limit);
        fclose(f);
    }
    return ram;
}

static bl_status check_environment(bl_ctx *ctx)
{
    static const char *const names[] = {"BL_THREADS", "BL_SEED", "BL_FAIL_ALLOC"};
    for (size_t i = 0; i < BL_COUNTOF(names); i++)
        if (env_u64(names[i], 0) == UINT64_MAX)
            return bl_fail(ctx, BL_USAGE, names[i], "give a decimal number or unset it",
                           "'%s' is not a number", getenv(names[i]));
    return BL_OK;
}

static bl_status resolve_options(bl_ctx *ctx, const bl_options *given)
{
    bl_options *o = &ctx->options;
    *o = given ? *given : bl_options_default();
    const char *isa = o->isa;
    o->isa = NULL; /* only ever our own copy, which bl_ctx_free releases */
    BL_TRY(check_environment(ctx));
    if (o->threads == 0) o->threads = usable_cores();
    if (o->threads > THREADS_MAX)
        return bl_fail(ctx, BL_USAGE, "threads", "ask for fewer", "%u threads are more than %u",
                       o->threads, THREADS_MAX);
    if (o->seed > INT64_MAX) /* records keep it as a JSON integer */
        return bl_fail(ctx, BL_USAGE, "seed", "take a smaller one", "is more than 2^63 - 1");
    if (o->memory_bytes == 0) o->memory_bytes = usable_ram() / 4 * 3;
    uint64_t nth = env_u64("BL_FAIL_ALLOC", 0);
    ctx->fail_alloc = nth > 0 && nth <= INT32_MAX ? (long)nth : -1;
    BL_TRY(bl_trace_open(ctx));
    if (isa && !(o->isa = strdup(isa)))
        return bl_fail(ctx, BL_UNAVAILABLE, "context", "", "the system has no memory left");
    return BL_OK;
}

/* ------------------------------------------------------------------ context */

bl_status bl_ctx_new(const bl_options *options, bl_ctx **out)
{
    bl_ctx *ctx = calloc(1, sizeof(*ctx));
    *out = ctx;
    if (!ctx) return BL_UNAVAILABLE;
    ctx->isa = -1;
    ctx->fail_alloc = -1;
    return resolve_options(ctx, options);
}

void bl_ctx_free(bl_ctx *ctx)
{
    if (!ctx) return;
    bl_trace_close(ctx);
    bl_pool_free(ctx->pool);
    free((char *)ctx->options.isa);
    free(ctx);
}

void bl_memory_use(const bl_ctx *ctx, uint64_t *now_bytes, uint64_t *peak_bytes)
{
    if (now_bytes) *now_bytes = __atomic_load_n(&ctx->live_bytes, __ATOMIC_RELAXED);
    if (peak_bytes) *peak_bytes = __atomic_load_n(&ctx->peak_bytes, __ATOMIC_RELAXED);
}
