/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any text as trials.jsonl.  Byte 1 stands for the hash of network, data and samples, byte 2 for that of
 * a plan, so that lines can be answers to the question asked; then the plan is scored.
 */
#include "fuzz.h"
#include "sense/sense.h"

enum { SAMPLES = 3 };

typedef struct scene {
    bl_data *data;
    bl_plan *plan;
    bl_hash frame, content;
} scene;

static const scene *set_up(const fuzz_net *net)
{
    static scene s;
    static float x[SAMPLES * 4] = { 1, -1, 0.5f, 2, -0.5f, 0, 1, 3, -2, 0.25f, 1.5f, -1.5f };
    static bl_value_stats value[64];
    const bl_tensor in = { .type = BL_F32, .rank = 2, .dim = { 1, 4 } };
    if (s.data) return &s;
    char spec[64], frame[128];
    snprintf(spec, sizeof spec, "raw:%s,f32,%dx4", fuzz_file(1, x, sizeof x), SAMPLES);
    const bl_data_options o = { .spec = spec };
    const bl_grid_options grids = { .act_range = "minmax", .weight_range = "minmax" };
    const int choice[64] = { 0 };
    for (size_t v = 0; v < BL_COUNTOF(value); v++) value[v] = (bl_value_stats){ .lo = -3, .hi = 4, .count = 1 };
    const bl_stats stats = { .n_values = BL_COUNTOF(value), .value = value };
    if (bl_data_open(net->ctx, &o, &in, &s.data) != BL_OK ||
        bl_plan_make(net->ctx, net->g, net->menu, &stats, choice, &grids, "fuzz", &s.plan) != BL_OK ||
        bl_plan_content(net->ctx, s.plan, &s.content) != BL_OK)
        abort();
    snprintf(frame, sizeof frame, "%s %s %d", net->g->hash.hex, bl_data_hash(s.data).hex, SAMPLES);
    s.frame = bl_hash_of(frame, strlen(frame));
    return &s;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    const fuzz_net *net = fuzz_network();
    const scene *s = set_up(net);
    bool asked = false;
    char *text = malloc(32 * size + 1);
    size_t n = 0;
    if (!text) abort();
    for (size_t i = 0; i < size; i++) {
        const bl_hash *h = bytes[i] == 1 ? &s->frame : &s->content;
        if (bytes[i] != 1 && bytes[i] != 2) text[n++] = (char)bytes[i];
        else {
            memcpy(text + n, h->hex, 32);
            n += 32;
            asked |= bytes[i] == 2;
        }
    }
    bl_ctx *ctx = fuzz_ctx();
    bl_oracle *o;
    bl_score score;
    if (fuzz_ok(ctx, bl_oracle_new(ctx, net->g, s->data, SAMPLES, fuzz_file(0, text, n), &o))) {
        if (asked) fuzz_ok(ctx, bl_oracle_score(o, s->plan, NULL, &score));
        bl_oracle_free(o);
    }
    free(text);
    fuzz_ctx_free(ctx);
    return 0;
}
