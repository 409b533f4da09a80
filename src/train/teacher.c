/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The float network as teacher of the one on grids (Hinton et al., arXiv 1503.02531; for quantized pupils: Mishra and
 * Marr, arXiv 1711.05852): it sees each micro-batch as the pupil does, flipped and shifted alike, and the loss is
 *   (1 - share) of the label's + share heat^2 KL(softmax(its answer / heat) || softmax(the pupil's / heat)).
 * A network that was taught with many samples forgets on few of them where labels alone speak; its own answers say
 * how it told the classes apart.  With share 1 no labels are asked for.
 */
#include "train/study.h"

#include <math.h>
#include <string.h>

bl_status bl_teacher_open(bl_lesson *l, const bl_graph *graph)
{
    if (!(l->o.teacher > 0)) return BL_OK;
    if (!l->study || !l->loss->labels)
        return bl_fail(l->ctx, BL_USAGE, "teacher", "train on a plan's grids, with --loss cross-entropy",
                       "a float network does not learn from itself");
    if (!graph->prepared) BL_TRY(bl_prepare(l->ctx, graph, &l->master));
    return bl_graph_rebatch(l->ctx, l->master ? l->master : graph, l->o.micro, &l->teacher);
}

/* Its values lie in buffers that are used again; what the pupil is compared with is copied as it comes by. */
bl_status bl_teacher_walk(bl_lesson *l, bl_worker *w)
{
    if (!l->teacher || w->teacher) return BL_OK;
    size_t n = (size_t)l->teacher->n_values;
    int logits = bl_lesson_logits(l->teacher, true);
    w->want = BL_NEW(w->arena, float *, n);
    BL_ALLOC_TRY(l->ctx, w->want);
    w->asks = BL_NEW(w->arena, uint8_t, n);
    BL_ALLOC_TRY(l->ctx, w->asks);
    for (size_t v = 0; v < n; v++) {
        bool on_grid = l->o.features > 0 && v < (size_t)l->net->n_values && l->study->site_of[v] >= 0;
        w->asks[v] = BL_HOOK_NONE;
        if ((int)v != logits && (!on_grid || l->study->site[l->study->site_of[v]].weight)) continue;
        w->asks[v] = BL_HOOK_READS;
        w->want[v] = BL_NEW(w->arena, float, (size_t)bl_tensor_count(&l->teacher->values[v].t));
        BL_ALLOC_TRY(l->ctx, w->want[v]);
    }
    BL_TRY(bl_walk_new(l->ctx, l->teacher, NULL, &w->teacher));
    bl_walk_hook_uses(w->teacher, w->asks);
    return BL_OK;
}

static bl_status copy_value(void *user, int value, bl_tensor *t)
{
    bl_worker *w = user;
    if (w->want[value]) memcpy(w->want[value], t->data, (size_t)bl_tensor_count(t) * sizeof(float));
    return BL_OK;
}

bl_status bl_teacher_ask(bl_lesson *l, bl_worker *w, const float **says)
{
    *says = NULL;
    if (!l->teacher) return BL_OK;
    bl_tensor *to = bl_walk_input(w->teacher, 0);
    memcpy(to->data, bl_walk_input(w->walk, 0)->data, (size_t)bl_tensor_count(to) * sizeof(float));
    BL_TRY(bl_walk_run(w->teacher, copy_value, w));
    *says = w->want[bl_lesson_logits(l->teacher, true)];
    return BL_OK;
}

/* log of the sum of exp(y / heat), with the largest y / heat taken out of it. */
static double log_sum(const float *y, int64_t n, double heat)
{
    double most = y[0], sum = 0;
    for (int64_t i = 1; i < n; i++) most = fmax(most, (double)y[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(((double)y[i] - most) / heat);
    return most / heat + log(sum);
}

/* Mean over all values on grids of |y - t|^2 / |t|^2, times the weight: layers listen to what is near, where answers come from afar
 * and few samples say little. */
void bl_teacher_features(const bl_lesson *l, const float *want, const bl_tensor *y, double *loss, bl_tensor *grad)
{
    int64_t n = bl_tensor_count(y);
    double signal = 0, noise = 0, share = l->o.features / l->study->n_values * (double)l->o.micro / (double)l->o.batch;

    bl_wide_squares(y->data, want, n, &signal, &noise);
    if (!(signal > 0)) return;
    float weight = (float)(2 * share / signal);
    bl_wide_pull(y->data, want, n, weight, grad->data);
    *loss += share * noise / signal * (double)l->o.batch;
}

double bl_teacher_loss(const bl_train_options *o, const float *y, int64_t n, const float *says, double weight, float *grad)
{
    double heat = o->heat, of_y = log_sum(y, n, heat), of_says = log_sum(says, n, heat), loss = 0;
    for (int64_t i = 0; i < n; i++) {
        double log_p = (double)y[i] / heat - of_y, log_q = (double)says[i] / heat - of_says, q = exp(log_q);
        loss += heat * heat * q * (log_q - log_p);
        if (grad) grad[i] += (float)(weight * heat * (exp(log_p) - q));
    }
    return loss;
}
