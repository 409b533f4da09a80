/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Weights that swing between two codes (Nagel et al., arXiv 2203.08215): under the straight-through estimator a weight whose best
 * place lies between two codes crosses their boundary again and again, at any rate, and each crossing is a step of the grid, which a
 * depthwise channel of nine weights feels.  A running mean of how often a weight turns back is kept; who does so more often than a
 * threshold, which falls with half a cosine, stays at the code nearest to its running mean for the rest of the training.  Of grids of 8
 * bits and more, whose steps are next to nothing, nobody is watched.
 */
#include "train/study.h"

#include <math.h>

static const float MOMENTUM = 1.0f / 32; /* of the running means: a training of few samples has hundreds of steps */
static const double FIRST = 4;           /* the threshold's beginning, beside its end */

/* Arrays side by side: many weights, of which each has ten bytes. */
typedef struct bl_swing {
    float *often, *mean;        /* share of steps in which it turned back; its code */
    int8_t *code;               /* as of the last step */
    int8_t *mood;               /* the last change's direction; KNOWN: none yet; NEW: no code yet; STAYS */
} bl_swing;
enum { NEW, KNOWN = 2, STAYS };

bl_status bl_study_watch(bl_study *s, bl_lesson *l)
{
    for (int i = 0; i < s->n; i++) {
        bl_site *site = &s->site[i];
        if (!site->weight || site->cluster || site->bits >= 8) continue;
        size_t n = (size_t)bl_tensor_count(&l->net->values[site->value].t);
        bl_swing *w = site->swing = BL_NEW(l->arena, bl_swing, 1);
        BL_ALLOC_TRY(l->ctx, w);
        w->often = BL_NEW(l->arena, float, n);
        w->mean = BL_NEW(l->arena, float, n);
        w->code = BL_NEW(l->arena, int8_t, n);
        w->mood = BL_NEW(l->arena, int8_t, n);
        if (!w->often || !w->mean || !w->code || !w->mood) return bl_pending(l->ctx);
    }
    return BL_OK;
}

void bl_study_settle(const bl_lesson *l, bl_site *site, int64_t inner)
{
    const bl_tensor *t = &l->net->values[site->value].t;
    float *x = t->data, threshold = (float)(l->o.freeze * (1 + (FIRST - 1) * 0.5 * (1 + cos(M_PI * fmin(l->done, 1)))));
    bl_swing *w = site->swing;

    for (int64_t k = 0, n = bl_tensor_count(t); k < n; k++) {
        float step = site->scale[site->n_scale > 1 ? k / inner % site->n_scale : 0], v = x[k] / step;
        float code = bl_rne_f32(fminf(fmaxf(v, site->lo), site->hi));
        if (w->mood[k] == STAYS) {
            x[k] = (float)w->code[k] * step;
            continue;
        }
        bool known = w->mood[k] != NEW;
        int way = known ? (code > (float)w->code[k]) - (code < (float)w->code[k]) : 0;
        bool back = way == -w->mood[k] && way != 0;
        w->mean[k] = known ? w->mean[k] + MOMENTUM * (code - w->mean[k]) : code;
        w->often[k] += MOMENTUM * ((back ? 1.0f : 0.0f) - w->often[k]);
        w->code[k] = (int8_t)code;
        w->mood[k] = (int8_t)(way ? way : known ? w->mood[k] : KNOWN);
        if (w->often[k] <= threshold) continue;
        w->code[k] = (int8_t)bl_rne_f32(w->mean[k]);
        w->mood[k] = STAYS;
        x[k] = (float)w->code[k] * step;
    }
}
