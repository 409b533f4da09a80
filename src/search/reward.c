/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a policy is worth.  HAQ (arXiv 1811.08886) takes lambda times the points of accuracy beside the float
 * network, lambda = 0.1.  Where the float network answers nearly all samples right (it was taught with them), the
 * points say nothing: the divergence of the answers takes their place.  KL and noise are rewarded on a
 * logarithmic scale: -log10, so that small differences between good policies are still seen.
 */
#include "search/policy.h"

#include <string.h>

#define LAMBDA 0.1
#define TAUGHT 0.97             /* float accuracy above which points say nothing */

static const char *const names[BL_N_REWARD] = { "auto", "accuracy", "cross-entropy", "kl", "sqnr", "table" };

const char *bl_reward_name(bl_reward_kind kind)
{
    return names[kind];
}

bool bl_reward_parse(const char *name, bl_reward_kind *out)
{
    for (int k = 0; k < BL_N_REWARD; k++)
        if (!strcmp(names[k], name)) {
            *out = (bl_reward_kind)k;
            return true;
        }
    return false;
}

bl_status bl_reward_open(bl_ctx *ctx, const bl_search_input *in, bl_arena *arena, bl_reward *out)
{
    bl_reward r = { .in = in, .base = NAN };
    bl_score widest;
    if (in->reward && !bl_reward_parse(in->reward, &r.kind))
        return bl_fail(ctx, BL_USAGE, in->reward, "give auto, accuracy, cross-entropy, kl, sqnr or table", "no reward of that name");
    if (r.kind == BL_REWARD_TABLE && !in->sens)
        return bl_fail(ctx, BL_USAGE, "reward", "set sensitivity=kl, or another reward", "a recipe without sensitivities has no table");
    if (r.kind == BL_REWARD_TABLE || r.kind == BL_REWARD_KL || r.kind == BL_REWARD_SQNR) {
        *out = r;
        return BL_OK;
    }
    int *choice = BL_NEW(arena, int, (size_t)BL_MAX(in->menu->n_units, 1));
    BL_ALLOC_TRY(ctx, choice);
    if (in->oracle) BL_TRY(bl_oracle_labels_check(in->oracle));
    BL_TRY(in->score(in->score_user, choice, &widest));
    r.base = widest.top1 + widest.drop;
    bool labelled = isfinite(r.base);
    if ((r.kind == BL_REWARD_ACCURACY || r.kind == BL_REWARD_CROSS_ENTROPY) && !labelled)
        return bl_fail(ctx, BL_DATA, bl_reward_name(r.kind), "give labels, or reward=kl", "this reward needs labelled samples");
    if (r.kind == BL_REWARD_AUTO) {
        r.kind = !labelled ? BL_REWARD_SQNR : r.base > TAUGHT ? BL_REWARD_KL : BL_REWARD_ACCURACY;
        r.why = !labelled ? bl_format(arena, "reward: noise at the output, the samples have no labels")
                : r.base > TAUGHT
                    ? bl_format(arena, "reward: KL from the float network's answers; it has %.1f %% of these samples right, points would say nothing", 100 * r.base)
                    : bl_format(arena, "reward: accuracy beside the float network's %.1f %%", 100 * r.base);
        BL_ALLOC_TRY(ctx, r.why);
        bl_note(ctx, "%s", r.why);
    }
    *out = r;
    return BL_OK;
}

bl_status bl_reward_ask(bl_reward *r, const int *choice, double *reward, bl_score *score)
{
    const bl_search_input *in = r->in;
    *score = (bl_score){ .sqnr_db = NAN, .top1 = NAN, .drop = NAN, .drop_error = NAN, .agreement = NAN, .kl = NAN, .cross_entropy = NAN };
    if (r->kind == BL_REWARD_TABLE) {
        *reward = -log10(fmax(bl_choice_objective(in->menu, in->sens, choice), 1e-12));
        return BL_OK;
    }
    BL_TRY(in->score(in->score_user, choice, score));
    r->asked++;
    r->remembered += score->remembered;
    *reward = r->kind == BL_REWARD_ACCURACY        ? LAMBDA * -100 * score->drop
              : r->kind == BL_REWARD_CROSS_ENTROPY ? -log10(fmax(score->cross_entropy, 1e-12))
              : r->kind == BL_REWARD_KL            ? -log10(fmax(score->kl, 1e-12))
                                                   : score->sqnr_db / 10;
    return isfinite(*reward) ? BL_OK : bl_fail(bl_arena_ctx(in->menu->arena), BL_DATA, bl_reward_name(r->kind), "give another reward",
                                               "the oracle's answer is no number");
}
