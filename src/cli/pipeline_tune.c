/* SPDX-License-Identifier: BSD-3-Clause */
/* Tuners in a run: the recipe's, whose record is used again where it fits, and the quick one that others are screened with. */
#include "cli/pipeline.h"

#include <string.h>

bl_status bl_pipeline_tune_by(bl_pipeline *p, const char *name, bl_plan *plan, const char *path, bl_weights **out)
{
    *out = NULL;
    if (!name) return BL_OK;
    const bl_tuner *tuner = bl_tuner_find(name);
    BL_TRY(bl_pipeline_rounded(p)); /* a search without sensitivities has not asked yet */
    bl_tune_input in = { p->graph, plan, p->data, p->stats->samples, bl_tuner_words(name), p->rounded };
    bl_hash key;
    BL_TRY(bl_tune_key(p->ctx, tuner, &in, &key));
    if (path && bl_file_exists(path)) {
        bl_status s = bl_weights_read(p->ctx, p->graph, path, out);
        if (s == BL_OK && !strcmp((*out)->key.hex, key.hex)) return bl_plan_use_weights(p->ctx, plan, *out);
        if (s != BL_OK && p->cli->verbose) bl_note(p->ctx, "%s is made again: %s", bl_path_base(path), bl_last_error(p->ctx).what);
        if (s == BL_OK) bl_weights_free(*out);
        *out = NULL;
    }
    uint64_t start = bl_now_ns();
    BL_TRY(bl_tune(p->ctx, tuner, &in, out));
    bl_pipeline_time(p, "tune", start);
    return path ? bl_weights_write(p->ctx, p->graph, *out, path) : BL_OK;
}

bl_status bl_pipeline_tune(bl_pipeline *p, bl_plan *plan, const char *path, bl_weights **out)
{
    return bl_pipeline_tune_by(p, p->recipe.tune, plan, path, out);
}

const char *bl_pipeline_quick_tune(const bl_pipeline *p)
{
    if (!p->recipe.tune || bl_tuner_find(p->recipe.tune)->quick) return p->recipe.tune;
    if (p->recipe.rounding) return "stitched"; /* its sets are there */
    for (size_t i = 0; i < bl_n_tuners; i++)
        if (bl_tuners[i]->quick) return bl_tuners[i]->name;
    return p->recipe.tune;
}
