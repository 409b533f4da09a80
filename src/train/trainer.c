/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One step of descent.  A batch is cut into micro-batches of a fixed size: numbered pieces, of which as many run side by side as
 * there are threads, and as memory has places for.  Each runs the training graph forward and back and leaves its loss and its
 * batch statistics under its own number, its gradient at its place; gradients are added in the order of the pieces before the next
 * ones begin.  BatchNormalization sees a micro-batch (ghost batch normalisation, Hoffer et al., arXiv 1705.08741), so nothing
 * depends on the number of threads or on --memory.
 */
#include "train/study.h"

#include <math.h>
#include <string.h>

/* ------------------------------------------------------------------ making */

/* A softmax at the end is part of the loss: what is trained is its input. */
int bl_lesson_logits(const bl_graph *g, bool labels)
{
    int v = g->outputs[0], producer = g->values[v].producer;
    bool softmax = producer >= 0 && strcmp(g->nodes[producer].op->name, "Softmax") == 0;
    return labels && softmax ? g->nodes[producer].in[0] : v;
}

static bl_status check_shapes(const bl_lesson *l)
{
    const bl_graph *g = l->net;
    const bl_tensor *x = &g->values[g->inputs[0]].t, *y = &g->values[l->logits].t;
    int64_t inputs = bl_tensor_count(x), outputs = bl_tensor_count(y);

    if (x->type != BL_F32 || y->type != BL_F32)
        return bl_fail(l->ctx, BL_UNAVAILABLE, g->source, "", "its input or output is not float32");
    if (l->loss->labels && l->o.teacher < 1 && !bl_data_labelled(l->data))
        return bl_fail(l->ctx, BL_USAGE, "--data", "give samples with labels, or --loss mse",
                       "the loss compares with labels, and there are none");
    if (l->loss->labels && bl_data_labelled(l->data) && bl_data_label_max(l->data) >= outputs)
        return bl_fail(l->ctx, BL_DATA, "--data", "give a network with as many outputs as classes",
                       "label %d, but the network has %lld outputs", bl_data_label_max(l->data), (long long)outputs);
    if (!l->loss->labels && inputs != outputs)
        return bl_fail(l->ctx, BL_DATA, g->source, "give an autoencoder",
                       "the loss compares input and output, but they have %lld and %lld elements",
                       (long long)inputs, (long long)outputs);
    return BL_OK;
}

static bl_status make_graphs(bl_lesson *l, const bl_graph *graph)
{
    bl_ctx *ctx = l->ctx;

    bl_figures more = {0};

    BL_TRY(l->study ? bl_prepare(ctx, graph, &l->net) : bl_prepare_norms(ctx, graph, &l->net));
    if (l->study) {
        BL_TRY(bl_study_open(l->study, l));
        more = (bl_figures){l->study->n_extra, l->study->extra, bl_study_decays(l->study->row)};
    }
    l->logits = bl_lesson_logits(l->net, l->loss->labels);
    BL_TRY(check_shapes(l));
    BL_TRY(bl_teacher_open(l, graph));
    BL_TRY(bl_graph_rebatch(ctx, l->net, l->o.micro, &l->plain));
    BL_TRY(bl_graph_training(ctx, l->plain, &l->drill));
    BL_TRY(bl_params_find(l->arena, l->net, l->drill, l->o.decay_all, &more, &l->params));
    bl_params_point(&l->params, l->plain);
    bl_params_point(&l->params, l->drill);
    if (l->o.random) bl_params_random(&l->params, l->net, ctx->options.seed);
    l->marks = BL_NEW(l->arena, uint8_t, (size_t)l->drill->n_values);
    BL_ALLOC_TRY(ctx, l->marks);
    for (int i = 0; i < l->params.n - more.n; i++) l->marks[l->params.param[i].value] = BL_BACK_WANTED;
    for (int i = 0; l->study && i < l->study->n; i++)
        if (!l->study->site[i].weight) l->marks[l->study->site[i].value] |= BL_BACK_SEEDED | BL_BACK_MASKED;
    if (l->study) {
        BL_TRY(bl_study_begin(l->study, l));
        bl_study_renew(l->study, l);
    }
    l->marks[l->logits] |= BL_BACK_SEEDED;
    return BL_OK;
}

bl_status bl_lesson_open(bl_lesson *l, const bl_graph *graph)
{
    bl_ctx *ctx = l->ctx;

    BL_TRY(make_graphs(l, graph));
    size_t running = l->params.all - l->params.learned;
    l->per = bl_data_sample_size(l->data);
    l->pieces = l->o.batch / l->o.micro;
    BL_TRY(bl_augment_make(ctx, &l->o, &l->net->values[l->net->inputs[0]].t, &l->augment));
#define ROOM(field, type, a, b)                                                                    \
    do {                                                                                           \
        size_t n_;                                                                                 \
        if (!bl_mul_size((size_t)(a), (size_t)(b), &n_)) return bl_fail(ctx, BL_UNAVAILABLE, "train", "", "too large"); \
        l->field = BL_NEW(l->arena, type, n_);                                                     \
        BL_ALLOC_TRY(ctx, l->field);                                                               \
    } while (0)
    ROOM(figures, float, l->pieces, running);
    ROOM(losses, double, l->pieces, 1);
    ROOM(moments, float, l->params.learned, l->optimizer->moments);
#undef ROOM
    l->n_moments = l->params.learned * (size_t)l->optimizer->moments;
    return BL_OK;
}

void bl_lesson_leave(bl_lesson *l)
{
    for (int i = 0; i < BL_TRAINERS_MAX; i++) {
        bl_back_free(l->worker[i].back);
        bl_walk_free(l->worker[i].walk);
        bl_walk_free(l->worker[i].judge);
        bl_walk_free(l->worker[i].teacher);
        bl_arena_free(l->worker[i].arena);
        l->worker[i] = (bl_worker){0};
    }
}

void bl_lesson_close(bl_lesson *l)
{
    bl_lesson_leave(l);
    bl_graph_free(l->drill);
    bl_graph_free(l->plain);
    bl_graph_free(l->net);
    bl_graph_free(l->teacher);
    bl_graph_free(l->master);
}

/* ------------------------------------------------------------------ pieces */

static bl_status open_worker(bl_lesson *l, bl_worker *w, bool judge)
{
    if (!w->arena) {
        w->arena = bl_arena_new(l->ctx, "training samples");
        BL_ALLOC_TRY(l->ctx, w->arena);
        w->sample = BL_NEW(w->arena, float, (size_t)l->per);
        w->other = BL_NEW(w->arena, float, l->o.mix > 0 ? (size_t)l->per : 1);
        if (!w->sample || !w->other) return bl_pending(l->ctx);
    }
    bl_walk_options o = {.keep_all = true}; /* the logits may not be the output */
    if (!judge) BL_TRY(bl_teacher_walk(l, w));
    if (l->study && !judge && !w->pupil) BL_TRY(bl_study_pupil(l->study, l, w->arena, &w->pupil));
    if (judge && !w->judge) BL_TRY(bl_walk_new(l->ctx, l->plain, &o, &w->judge));
    o.training = !judge;
    if (!judge && !w->walk) {
        BL_TRY(bl_walk_new(l->ctx, l->drill, &o, &w->walk));
        BL_TRY(bl_back_new(l->ctx, w->walk, l->marks, &w->back));
    }
    return BL_OK;
}

/* The constants have changed in place. */
static bl_status refresh(bl_lesson *l, bl_walk *walk, uint64_t *version)
{
    if (*version == l->version + 1) return BL_OK;
    for (int i = 0; i < l->params.n; i++)
        if (l->params.param[i].value >= 0) BL_TRY(bl_walk_set_constant(walk, l->params.param[i].value, NULL));
    if (l->study) BL_TRY(bl_study_attach(l->study, walk));
    *version = l->version + 1;
    return BL_OK;
}

/* One sample, changed at random by a stream of its own. */
static bl_status read_changed(bl_lesson *l, bl_worker *w, uint32_t index, bl_rng *r, float *to)
{
    if (!bl_augment_does(&l->augment)) return bl_data_read(l->data, index, 1, to);
    BL_TRY(bl_data_read(l->data, index, 1, w->sample));
    bl_augment_sample(&l->augment, r, w->sample, to);
    return BL_OK;
}

/* Samples of a micro-batch into the walk's input; where they are mixed, with another one of the step. */
static bl_status fill(bl_lesson *l, bl_worker *w, bl_walk *walk, const uint32_t *index, int64_t n, bool changed)
{
    float *to = bl_walk_input(walk, 0)->data;

    for (int64_t i = 0; i < n; i++, to += l->per) {
        bl_rng r = bl_rng_make(l->ctx->options.seed, "augment", (uint64_t)l->epoch << 32 | index[i]);
        if (!changed) {
            BL_TRY(bl_data_read(l->data, index[i], 1, to));
            continue;
        }
        BL_TRY(read_changed(l, w, index[i], &r, to));
        if (!(l->o.mix > 0) || bl_rng_unit(&r) >= l->o.mix) continue;
        float share = (float)bl_rng_unit(&r);
        BL_TRY(read_changed(l, w, l->batch[bl_rng_below(&r, (uint64_t)l->o.batch)], &r, w->other));
        for (int64_t k = 0; k < l->per; k++) to[k] += share * (w->other[k] - to[k]);
    }
    return BL_OK;
}

static int label_of(const bl_lesson *l, uint32_t sample)
{
    return l->loss->labels && bl_data_labelled(l->data) ? bl_data_label(l->data, sample / bl_data_windows(l->data)) : -1;
}

typedef struct seeding {
    bl_lesson *l;
    bl_pupil *pupil;
    bl_walk *walk;
    size_t piece;
    const float *says;          /* the teacher's answers; NULL: none */
    float *const *features;     /* the teacher's values; NULL: the loss is not of them */
} seeding;

static bl_status seed_loss(void *user, int value, const bl_tensor *y, bl_tensor *grad)
{
    seeding *s = user;
    bl_lesson *l = s->l;
    const float *x = bl_walk_input(s->walk, 0)->data;
    int64_t n = bl_tensor_count(y) / y->dim[0];
    const uint32_t *index = l->batch + (int64_t)s->piece * l->o.micro;

    if (value == l->logits) l->losses[s->piece] = 0;
    for (int64_t i = 0; value == l->logits && i < l->o.micro; i++) {
        double share = s->says ? l->o.teacher : 0, weight = 1.0 / (double)l->o.batch, loss = 0;
        const float *at = (const float *)y->data + i * n;
        float *to = (float *)grad->data + i * n;
        if (share < 1) loss += (1 - share) * l->loss->of(&l->o, at, n, x + i * l->per, label_of(l, index[i]), (1 - share) * weight, to);
        if (share > 0) loss += share * bl_teacher_loss(&l->o, at, n, s->says + i * n, share * weight, to);
        l->losses[s->piece] += loss;
    }
    if (s->features && l->study->site_of[value] >= 0) bl_teacher_features(l, s->features[value], y, &l->losses[s->piece], grad);
    if (s->pupil) bl_study_backward(l->study, l, s->pupil, value, grad);
    return BL_OK;
}

static bl_status round_value(void *user, int value, bl_tensor *t)
{
    seeding *s = user;
    bl_study_forward(s->l->study, s->pupil, value, t);
    return BL_OK;
}

static bl_status keep_piece(bl_lesson *l, bl_worker *w, size_t piece, float *grads)
{
    const bl_params *p = &l->params;
    float *figures = l->figures + piece * (p->all - p->learned);

    for (int i = 0; i < p->n; i++) {
        const bl_tensor *g = p->param[i].value >= 0 ? bl_back_grad(w->back, p->param[i].value) : NULL;
        if (g) memcpy(grads + p->param[i].first, g->data, p->param[i].n * sizeof(float));
        else memset(grads + p->param[i].first, 0, p->param[i].n * sizeof(float));
    }
    if (w->pupil) bl_study_finish(l->study, w->pupil, l, grads);
    for (int i = 0; i < p->n_running; i++) {
        const bl_tensor *t = bl_walk_value(w->walk, p->running[i].batch);
        if (!t) return bl_pending(l->ctx);
        memcpy(figures + p->running[i].first - p->learned, t->data, p->running[i].n * sizeof(float));
    }
    return BL_OK;
}

/* Some pieces of a step or of a judgement, side by side. */
typedef struct turn {
    bl_lesson *l;
    bl_status (*work)(void *arg, size_t piece, size_t place);
    void *arg;
    size_t first;               /* piece */
} turn;

static bl_status take_turn(void *arg, size_t place, unsigned worker)
{
    turn *t = arg;
    (void)worker; /* places are fewer than threads where memory is short */
    return t->work(t->arg, t->first + place, place);
}

/* Where the gradient of a piece lies: the step's first piece begins the sum. */
static float *grads_of(const bl_lesson *l, size_t piece, size_t place)
{
    return l->grads + (piece == 0 ? 0 : place + 1) * l->params.learned;
}

static bl_status train_piece(void *arg, size_t piece, size_t place)
{
    bl_lesson *l = arg;
    bl_worker *w = &l->worker[place];
    seeding s = {.l = l, .piece = piece};

    BL_TRY(open_worker(l, w, false));
    BL_TRY(refresh(l, w->walk, &w->walk_version));
    BL_TRY(fill(l, w, w->walk, l->batch + (int64_t)piece * l->o.micro, l->o.micro, true));
    s.walk = w->walk;
    s.pupil = w->pupil;
    if (w->pupil) bl_study_clear(l->study, w->pupil);
    BL_TRY(bl_teacher_ask(l, w, &s.says));
    s.features = l->o.features > 0 ? w->want : NULL;
    BL_TRY(bl_walk_run(w->walk, l->study ? round_value : NULL, &s));
    BL_TRY(bl_back_run(w->back, seed_loss, &s));
    return keep_piece(l, w, piece, grads_of(l, piece, place));
}

/* ------------------------------------------------------------------ the step */

/* The first place is made to see what one takes; the others follow where their walks and gradients fit into what is left. */
static bl_status find_places(bl_lesson *l)
{
    const uint64_t ceiling = l->ctx->options.memory_bytes, gradient = l->params.learned * sizeof(float);
    uint64_t before = l->ctx->live_bytes, all = BL_MIN((uint64_t)l->pieces, BL_MIN(bl_threads(l->ctx), BL_TRAINERS_MAX));

    BL_TRY(open_worker(l, &l->worker[0], false));
    uint64_t each = l->ctx->live_bytes - before + gradient, used = l->ctx->live_bytes + 2 * gradient;
    uint64_t room = used < ceiling ? (ceiling - used) / 8 * 7 : 0;
    l->places = (int64_t)BL_MIN(all, 1 + room / BL_MAX(each, 1));
    l->grads = bl_alloc(l->arena, (size_t)l->places + 1, (size_t)gradient);
    BL_ALLOC_TRY(l->ctx, l->grads);
    return BL_OK;
}

typedef struct adding { bl_lesson *l; size_t first, n; } adding;

static bl_status add_piece(void *arg, size_t i, unsigned worker)
{
    adding *a = arg;
    const bl_params *p = &a->l->params;
    size_t at = p->param[p->stretch[i].param].first + p->stretch[i].from, n = p->stretch[i].n;
    float *sum = a->l->grads + at;

    (void)worker;
    for (size_t k = 0; k < a->n; k++) {
        const float *more = grads_of(a->l, a->first + k, k) + at;
        for (size_t j = 0; more != sum && j < n; j++) sum[j] += more[j];
    }
    return BL_OK;
}

/* add: the sum of the gradients grows by these pieces', in their order. */
static bl_status work_through(bl_lesson *l, size_t n, bl_status (*work)(void *, size_t, size_t), void *arg, bool add)
{
    if (!l->places) BL_TRY(find_places(l));
    for (size_t first = 0; first < n; first += (size_t)l->places) {
        turn t = {l, work, arg, first};
        adding a = {l, first, BL_MIN((size_t)l->places, n - first)};
        BL_TRY(bl_parallel_for(l->ctx, a.n, take_turn, &t));
        if (add) BL_TRY(bl_parallel_for(l->ctx, (size_t)l->params.n_stretch, add_piece, &a));
    }
    return BL_OK;
}

static bl_status move_piece(void *arg, size_t i, unsigned worker)
{
    bl_lesson *l = arg;
    const bl_params *p = &l->params;
    const bl_stretch *s = &p->stretch[i];
    const bl_param *q = &p->param[s->param];
    size_t at = q->first + s->from;
    float *sum = l->grads + at, *second = l->optimizer->moments > 1 ? l->moments + p->learned + at : NULL;
    const bl_share *u = l->unit && l->unit[s->param].of ? &l->unit[s->param] : NULL;
    float unit[BL_STRETCH];
    for (size_t k = 0; u && k < s->n; k++) unit[k] = u->of[(int64_t)(s->from + k) / u->inner % u->n];
    bl_move m = {u ? unit : NULL, s->n, l->step, l->rate, q->decays ? l->o.weight_decay : 0};

    (void)worker;
    l->optimizer->move(&l->o, &m, p->state + at, sum, l->moments + at, second);
    return BL_OK;
}

static void move_running(bl_lesson *l)
{
    const bl_params *p = &l->params;

    for (int64_t k = 0; k < l->pieces; k++)
        for (int i = 0; i < p->n_running; i++) {
            const bl_running *r = &p->running[i];
            const float *now = l->figures + (size_t)k * (p->all - p->learned) + r->first - p->learned;
            float *mean = p->state + r->first;
            for (size_t j = 0; j < r->n; j++) mean[j] = r->momentum * mean[j] + (1 - r->momentum) * now[j];
        }
}

bl_status bl_lesson_step(bl_lesson *l, const uint32_t *batch, double *loss)
{
    l->batch = batch;
    l->step++;
    BL_TRY(work_through(l, (size_t)l->pieces, train_piece, l, true));
    BL_TRY(bl_parallel_for(l->ctx, (size_t)l->params.n_stretch, move_piece, l));
    move_running(l);
    if (l->study) bl_study_renew(l->study, l);
    l->version++;
    *loss = 0;
    for (int64_t k = 0; k < l->pieces; k++) *loss += l->losses[k] / (double)l->o.batch;
    if (!isfinite(*loss))
        return bl_fail(l->ctx, BL_GOAL, l->net->source, "give a smaller --rate or a longer --warmup",
                       "training diverged at step %lld", (long long)l->step);
    return BL_OK;
}

/* ------------------------------------------------------------------ judging */

typedef struct judging {
    bl_lesson *l;
    const uint32_t *index;
    int64_t n;
    double *loss;               /* by sample */
    uint8_t *right;
} judging;

static bl_status judge_piece(void *arg, size_t piece, size_t place)
{
    judging *j = arg;
    bl_lesson *l = j->l;
    bl_worker *w = &l->worker[place];
    int64_t first = (int64_t)piece * l->o.micro, count = BL_MIN(l->o.micro, j->n - first);
    bl_train_options plain = l->o;
    seeding s = {.l = l};

    plain.label_smoothing = 0;
    BL_TRY(open_worker(l, w, true));
    BL_TRY(refresh(l, w->judge, &w->judge_version));
    BL_TRY(fill(l, w, w->judge, j->index + first, count, false));
    BL_TRY(bl_walk_run(w->judge, l->study ? round_value : NULL, &s));
    const bl_tensor *out = bl_walk_value(w->judge, l->logits);
    if (!out) return bl_pending(l->ctx);
    int64_t n = bl_tensor_count(out) / out->dim[0];
    for (int64_t i = 0; i < count; i++) {
        const float *y = (const float *)out->data + i * n, *x = bl_walk_input(w->judge, 0)->data;
        int label = label_of(l, j->index[first + i]);
        int64_t best = 0;
        for (int64_t k = 1; k < n; k++)
            if (y[k] > y[best]) best = k;
        j->right[first + i] = best == label;
        j->loss[first + i] = l->loss->of(&plain, y, n, x + i * l->per, label, 0, NULL);
    }
    return BL_OK;
}

bl_status bl_lesson_judge(bl_lesson *l, const uint32_t *index, int64_t n, double *loss, double *accuracy)
{
    bl_arena *arena = bl_arena_new(l->ctx, "held-out samples");
    BL_ALLOC_TRY(l->ctx, arena);
    judging j = {l, index, n, BL_NEW(arena, double, (size_t)n), BL_NEW(arena, uint8_t, (size_t)n)};
    bl_status status = j.loss && j.right ? BL_OK : bl_pending(l->ctx);
    size_t pieces = (size_t)((n + l->o.micro - 1) / l->o.micro);

    if (status == BL_OK) status = work_through(l, pieces, judge_piece, &j, false);
    *loss = *accuracy = NAN;
    if (status == BL_OK && n > 0) {
        double sum = 0, right = 0;
        for (int64_t i = 0; i < n; i++) {
            sum += j.loss[i];
            right += j.right[i];
        }
        *loss = sum / (double)n;
        if (l->loss->labels && bl_data_labelled(l->data)) *accuracy = right / (double)n;
    }
    bl_arena_free(arena);
    return status;
}
