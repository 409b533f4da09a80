/* SPDX-License-Identifier: BSD-3-Clause */
/* The rows of tuners.def, and what they share. */
#include "quant/quant.h"

#include <string.h>

#define X(symbol, label, labels, few_walks, words, text)                                           \
    static const bl_tuner row_##symbol = { .name = label, .help = text, .needs_labels = labels, .quick = few_walks, \
                                           .run = bl_tune_##symbol, .check = words(symbol) };
#include "quant/tuners.def"
#undef X

const bl_tuner *const bl_tuners[] = {
#define X(symbol, label, labels, few_walks, words, text) &row_##symbol,
#include "quant/tuners.def"
#undef X
};
const size_t bl_n_tuners = BL_COUNTOF(bl_tuners);

const bl_tuner *bl_tuner_find(const char *name)
{
    size_t n = strcspn(name, ":");
    for (size_t i = 0; i < bl_n_tuners; i++)
        if (strlen(bl_tuners[i]->name) == n && !memcmp(bl_tuners[i]->name, name, n)) return bl_tuners[i];
    return NULL;
}

const char *bl_tuner_words(const char *name)
{
    const char *colon = name ? strchr(name, ':') : NULL;
    return colon ? colon + 1 : NULL;
}

bl_status bl_tuner_check(bl_ctx *ctx, const char *name)
{
    const bl_tuner *tuner = bl_tuner_find(name);
    const char *words = bl_tuner_words(name);
    if (!tuner) return bl_fail(ctx, BL_USAGE, name, "see `bitlathe list tuners`", "unknown tuner");
    if (words && !tuner->check) return bl_fail(ctx, BL_USAGE, name, "leave them out", "this tuner takes no words behind its name");
    return words ? tuner->check(ctx, words) : BL_OK;
}

bl_status bl_tune_key(bl_ctx *ctx, const bl_tuner *tuner, const bl_tune_input *in, bl_hash *out)
{
    bl_hash plan;
    char text[512];
    BL_TRY(bl_plan_content(ctx, in->plan, &plan));
    snprintf(text, sizeof text, "%s %s %s %s %lld %llu%s%.200s", tuner->name, in->graph->hash.hex, plan.hex, bl_data_hash(in->data).hex,
             (long long)in->samples, (unsigned long long)ctx->options.seed, in->words ? " " : "", in->words ? in->words : "");
    *out = bl_hash_of(text, strlen(text));
    return BL_OK;
}

bl_status bl_tune(bl_ctx *ctx, const bl_tuner *tuner, const bl_tune_input *in, bl_weights **out)
{
    if (tuner->needs_labels && !bl_data_labelled(in->data))
        return bl_fail(ctx, BL_DATA, bl_data_name(in->data), "give labels", "%s needs labelled samples", tuner->name);
    bl_arena *a = bl_arena_new(ctx, "weights");
    BL_ALLOC_TRY(ctx, a);
    bl_weights *w = BL_NEW(a, bl_weights, 1);
    bl_status s = w ? BL_OK : bl_pending(ctx);
    if (w) {
        w->arena = a;
        w->graph = in->graph->hash;
        s = bl_tune_key(ctx, tuner, in, &w->key);
        if (s == BL_OK) s = tuner->run(ctx, in, w);
        if (s == BL_OK) s = bl_weights_seal(ctx, in->graph, w);
        if (s == BL_OK) s = bl_plan_use_weights(ctx, in->plan, w);
    }
    if (s != BL_OK) bl_arena_free(a);
    else *out = w;
    return s;
}

bl_status bl_tune_plan(bl_ctx *ctx, const bl_graph *graph, bl_plan *plan, bl_data *data, const char *tuner,
                       int64_t samples, bl_weights **out)
{
    tuner = tuner ? tuner : "bias-correction";
    BL_TRY(bl_tuner_check(ctx, tuner));
    const bl_tuner *row = bl_tuner_find(tuner);
    if (samples < 0) return bl_fail(ctx, BL_USAGE, row->name, "give 0 or more", "a negative number of samples");
    bl_tune_input in = { .graph = graph, .plan = plan, .data = data, .samples = samples ? samples : 256, .words = bl_tuner_words(tuner) };
    return bl_tune(ctx, row, &in, out);
}
