/* SPDX-License-Identifier: BSD-3-Clause */
/* Any text as a recipe; each of its lines also as a budget, as an option of --data, as a number. */
#include "fuzz.h"
#include "search/search.h"

#include "base/base_private.h"

static void use_line(bl_ctx *ctx, char *line)
{
    bl_budget b;
    bl_data_options o = { 0 };
    uint64_t u;
    double v;
    char human[32];
    if (fuzz_ok(ctx, bl_budget_parse(ctx, line, &b)) && !(b.limit > 0 || b.relative > 0)) abort();
    char *eq = strchr(line, '=');
    if (!eq) return;
    *eq = 0;
    if (fuzz_ok(ctx, bl_data_option(ctx, line, eq + 1, &o)) &&
        (o.n_mean < 0 || o.n_mean > BL_DATA_CHANNELS_MAX || o.n_std < 0 || o.n_std > BL_DATA_CHANNELS_MAX || o.resize < 0 ||
         o.crop < 0 || o.window < 0))
        abort();
    if (bl_parse_bytes(eq + 1, &u)) bl_human_bytes(u, human);
    if (bl_parse_f64(eq + 1, &v) && !isfinite(v)) abort();
    bl_parse_u64(eq + 1, &u);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bl_ctx *ctx = fuzz_ctx();
    bl_arena *a = bl_arena_new(ctx, "fuzz");
    bl_recipe r;
    if (!a) abort();
    if (fuzz_ok(ctx, bl_recipe_load(ctx, a, fuzz_file(0, bytes, size), &r)) &&
        (!r.search || r.calibrate < 1 || r.sense < 1 || r.menu.n_w < 1 || r.menu.n_w > 16))
        abort();
    char *text = bl_strndup(a, (const char *)bytes, size), *save = NULL;
    if (!text) abort();
    for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) use_line(ctx, line);
    bl_arena_free(a);
    fuzz_ctx_free(ctx);
    return 0;
}
