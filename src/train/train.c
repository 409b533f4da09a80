/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole training: samples set aside, epochs of shuffled batches, what each brought, the best of them,
 * and a file from which to go on.
 */
#include "train/study.h"

#include <math.h>
#include <string.h>

bl_train_options bl_train_options_default(void)
{
    return (bl_train_options){.epochs = 20, .batch = 128, .micro = 32, .held_out = -1, .optimizer = "sgd",
                              .schedule = "cosine", .loss = "cross-entropy", .rate = 0.1, .warmup = 1,
                              .momentum = 0.9, .beta1 = 0.9, .beta2 = 0.999, .weight_decay = 5e-4, .heat = 2};
}

typedef struct school {
    bl_lesson l;
    bl_study study;
    bl_train_state s;
    uint32_t *order;            /* samples: those held out, then the others */
    uint32_t *mine;             /* the others, as this epoch takes them */
    int64_t held, kept, steps;  /* steps: of an epoch */
} school;

/* ------------------------------------------------------------------ before */

static bl_status bad(bl_ctx *ctx, const char *option, const char *remedy, const char *what)
{
    return bl_fail(ctx, BL_USAGE, option, remedy, "%s", what);
}

static bl_status check(bl_lesson *l)
{
    const bl_train_options *o = &l->o;
    bl_ctx *ctx = l->ctx;

    l->optimizer = bl_optimizer_find(o->optimizer);
    l->schedule = bl_schedule_find(o->schedule);
    l->loss = bl_loss_find(o->loss);
    if (!l->optimizer) return bad(ctx, "--optimizer", "see `bitlathe list optimizers`", "no such optimizer");
    if (!l->schedule) return bad(ctx, "--schedule", "see `bitlathe list schedules`", "no such schedule");
    if (!l->loss) return bad(ctx, "--loss", "see `bitlathe list losses`", "no such loss");
    if (o->epochs < 0 || o->epochs > 1000000) return bad(ctx, "--epochs", "give 0 to 1000000", "makes no sense");
    if (o->micro < 1 || o->batch < o->micro || o->batch % o->micro || o->batch > 1 << 20)
        return bad(ctx, "--batch, --micro", "give a batch of whole micro-batches", "they do not fit each other");
    if (!(o->rate > 0) || !(o->warmup >= 0) || !(o->weight_decay >= 0))
        return bad(ctx, "--rate, --warmup, --decay", "give positive numbers", "they make no sense");
    if (!(o->teacher >= 0 && o->teacher <= 1) || !(o->heat > 0 && o->heat <= 1000))
        return bad(ctx, "teacher, heat", "give a share from 0 to 1, and a heat above 0", "they make no sense");
    if (!(o->momentum >= 0 && o->momentum < 1) || !(o->label_smoothing >= 0 && o->label_smoothing < 1) ||
        !(o->beta1 >= 0 && o->beta1 < 1) || !(o->beta2 >= 0 && o->beta2 < 1))
        return bad(ctx, "--momentum, --smoothing, --beta1, --beta2", "give numbers from 0 on, below 1",
                   "they make no sense");
    return BL_OK;
}

static bl_status split(school *c)
{
    bl_lesson *l = &c->l;
    const bl_train_options *o = &l->o;
    int64_t n = o->limit > 0 ? bl_data_first(l->data, o->limit) : bl_data_samples(l->data);
    bl_rng r = bl_rng_make(l->ctx->options.seed, "held out", 0);

    if (n > UINT32_MAX) return bad(l->ctx, "--data", "use --limit", "more samples than can be counted");
    c->held = o->held_out < 0 ? BL_MIN(n / 10, 5000) : o->held_out;
    c->kept = n - c->held;
    c->steps = o->steps > 0 ? BL_MIN(c->kept / o->batch, o->steps) : c->kept / o->batch;
    if (c->held >= n || c->steps < 1)
        return bl_fail(l->ctx, BL_USAGE, "--held-out, --batch", "give a smaller number",
                       "%lld samples are too few for %lld held out and batches of %lld", (long long)n,
                       (long long)c->held, (long long)o->batch);
    c->order = BL_NEW(l->arena, uint32_t, (size_t)n);
    BL_ALLOC_TRY(l->ctx, c->order);
    c->mine = BL_NEW(l->arena, uint32_t, (size_t)c->kept);
    BL_ALLOC_TRY(l->ctx, c->mine);
    for (int64_t i = 0; i < n; i++) c->order[i] = (uint32_t)i;
    bl_rng_shuffle(&r, c->order, (size_t)n);
    return BL_OK;
}

/* Of all that the numbers depend on. */
static bl_status make_key(school *c, const bl_graph *graph, bl_hash *out)
{
    const bl_train_options *o = &c->l.o;
    bl_hasher *h = bl_hasher_new(c->l.arena);
    const char *words[] = {"train 1", BL_VERSION_STRING, graph->hash.hex, bl_data_hash(c->l.data).hex,
                           bl_walk_backend(), o->optimizer, o->schedule, o->loss};
    const int64_t counts[] = {o->epochs, o->batch, o->micro, c->held, c->kept, o->plain_momentum, o->decay_all,
                              o->random, o->flip, o->pad, (int64_t)c->l.ctx->options.seed};
    const double rates[] = {o->rate, o->warmup, o->momentum, o->beta1, o->beta2, o->weight_decay, o->label_smoothing};

    BL_ALLOC_TRY(c->l.ctx, h);
    for (size_t i = 0; i < BL_COUNTOF(words); i++) bl_hash_text(h, words[i]);
    if (c->l.study) {
        bl_hash content;
        BL_TRY(bl_plan_content(c->l.ctx, c->study.plan, &content));
        bl_hash_text(h, content.hex);
        bl_hash_text(h, c->study.row->name);
    }
    for (size_t i = 0; i < BL_COUNTOF(counts); i++) bl_hash_i64(h, counts[i]);
    for (size_t i = 0; i < BL_COUNTOF(rates); i++) bl_hash_f64(h, rates[i]);
    if (o->teacher > 0) {
        bl_hash_f64(h, o->teacher);
        bl_hash_f64(h, o->heat);
    }
    if (o->freeze > 0) bl_hash_f64(h, o->freeze);
    if (o->zoom > 0 || o->mix > 0 || o->features > 0 || o->steps > 0 || o->start) {
        bl_hash_i64(h, o->steps);
        bl_hash_f64(h, o->zoom);
        bl_hash_f64(h, o->mix);
        bl_hash_f64(h, o->features);
        bl_hash_text(h, o->start ? o->start->key.hex : "");
    }
    *out = bl_hash_end(h);
    return BL_OK;
}

static bl_status open_school(school *c, const bl_graph *graph)
{
    bl_lesson *l = &c->l;
    bl_train_state *s = &c->s;

    BL_TRY(check(l));
    BL_TRY(bl_lesson_open(l, graph));
    BL_TRY(split(c));
    BL_TRY(make_key(c, graph, &s->key));
    s->n_state = l->params.all;
    s->n_moments = l->n_moments;
    s->state = l->params.state;
    s->moments = l->moments;
    if (!l->study || l->o.best || l->o.checkpoint || l->o.told) { /* else who stops a tuner gets nothing */
        s->best_state = BL_NEW(l->arena, float, s->n_state);
        BL_ALLOC_TRY(l->ctx, s->best_state);
        memcpy(s->best_state, s->state, s->n_state * sizeof(float));
    }
    if (l->o.start) { /* it is in the state now */
        bl_arena_free(l->o.start->arena);
        l->o.start->arena = NULL;
        l->o.start->n_items = 0;
    }
    s->epochs = BL_NEW(l->arena, bl_train_epoch, (size_t)l->o.epochs);
    BL_ALLOC_TRY(l->ctx, s->epochs);
    if (l->o.checkpoint) BL_TRY(bl_checkpoint_read(l->ctx, l->o.checkpoint, l->o.epochs, s));
    if (l->study) bl_study_renew(l->study, l);
    return BL_OK;
}

/* ------------------------------------------------------------------ epochs */

/* By accuracy where there is one, then by loss; without held-out samples the later one. */
static bool is_better(const bl_train_epoch *a, const bl_train_epoch *b)
{
    if (a->held_accuracy != b->held_accuracy && !isnan(a->held_accuracy)) return a->held_accuracy > b->held_accuracy;
    return isnan(a->held_loss) || a->held_loss < b->held_loss;
}

static bl_status run_epoch(school *c, bl_train_epoch *e)
{
    bl_lesson *l = &c->l;
    bl_rng r = bl_rng_make(l->ctx->options.seed, "order", (uint64_t)c->s.done);

    *e = (bl_train_epoch){.epoch = c->s.done + 1};
    l->epoch = c->s.done;
    memcpy(c->mine, c->order + c->held, (size_t)c->kept * sizeof *c->mine);
    bl_rng_shuffle(&r, c->mine, (size_t)c->kept);
    for (int64_t i = 0; i < c->steps; i++) {
        double loss;
        l->step = c->s.done * c->steps + i;
        l->rate = bl_train_rate(&l->o, l->schedule, l->step, c->steps);
        l->done = (double)l->step / (double)(l->o.epochs * c->steps);
        BL_TRY(bl_lesson_step(l, c->mine + i * l->o.batch, &loss));
        e->loss += loss / (double)c->steps;
        e->rate = l->rate;
        bl_progress(l->ctx, "train", (uint64_t)l->step, (uint64_t)(l->o.epochs * c->steps));
    }
    return bl_lesson_judge(l, c->order, c->held, &e->held_loss, &e->held_accuracy);
}

static bl_status run_epochs(school *c)
{
    bl_train_state *s = &c->s;
    bl_lesson *l = &c->l;

    while (s->done < l->o.epochs) {
        bl_train_epoch *e = &s->epochs[s->done];
        BL_TRY(run_epoch(c, e));
        s->done++;
        if (s->best == 0 || is_better(e, &s->epochs[s->best - 1])) {
            s->best = s->done;
            if (s->best_state) memcpy(s->best_state, s->state, s->n_state * sizeof(float));
        }
        if (l->o.checkpoint) BL_TRY(bl_checkpoint_write(l->ctx, l->o.checkpoint, s));
        if (l->o.told) l->o.told(l->o.user, e);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ after */

static bl_status hand_over(school *c, bool best, int64_t resumed, bl_trained **out)
{
    bl_lesson *l = &c->l;
    bl_trained *t = BL_NEW(l->arena, bl_trained, 1);

    BL_ALLOC_TRY(l->ctx, t);
    *t = (bl_trained){.arena = l->arena, .graph = l->net, .n_epochs = c->s.done, .epochs = c->s.epochs,
                      .kept = best ? c->s.best : c->s.done, .samples = c->kept, .held_out = c->held,
                      .resumed = resumed};
    for (int i = 0; i < l->params.n; i++) t->parameters += (int64_t)l->params.param[i].n;
    BL_TRY(bl_graph_finish(l->ctx, t->graph)); /* the hash: the constants are others now */
    l->net = NULL;
    *out = t;
    return BL_OK;
}

/* What was learned: constants of the plan's graph that changed, and scales. */
static bl_status take_weights(school *c, bl_weights *w)
{
    bl_lesson *l = &c->l;
    bl_study *s = &c->study;

    for (int i = 0; i < l->params.n - s->n_extra; i++) {
        const bl_param *p = &l->params.param[i];
        int v = bl_graph_find_value(s->of, l->net->values[p->value].name);
        const bl_tensor *t = v >= 0 ? &s->of->values[v].t : NULL;
        float *copy;
        if (!t || !t->data || (size_t)bl_tensor_count(t) != p->n)
            return bl_fail(l->ctx, BL_UNAVAILABLE, l->net->values[p->value].name, "train without a plan",
                           "the plan's network has no such constant");
        BL_TRY(bl_weights_replace(l->ctx, s->of, w, v, &copy));
        memcpy(copy, l->params.state + p->first, p->n * sizeof *copy);
    }
    return BL_OK;
}

static bl_status take_grids(school *c, bl_weights *w)
{
    bl_study *s = &c->study;

    bl_study_renew(s, &c->l);
    w->grids = BL_NEW(w->arena, bl_grid_item, 2 * (size_t)s->n);
    BL_ALLOC_TRY(c->l.ctx, w->grids);
    for (int i = 0; i < s->n; i++) {
        const bl_site *site = &s->site[i];
        float *copy = BL_NEW(w->arena, float, (size_t)site->n_scale);
        BL_ALLOC_TRY(c->l.ctx, copy);
        memcpy(copy, site->scale, (size_t)site->n_scale * sizeof *copy);
        w->grids[w->n_grids++] = (bl_grid_item){s->plan->quantizers[site->quantizer].value, copy, site->n_scale, false};
        if (!site->cluster) continue;
        float *codes = BL_NEW(w->arena, float, (size_t)site->n_table);
        BL_ALLOC_TRY(c->l.ctx, codes);
        bl_study_table(site, codes);
        w->grids[w->n_grids++] = (bl_grid_item){s->plan->quantizers[site->quantizer].value, codes, site->n_table, true};
    }
    return BL_OK;
}

static bl_status run_school(bl_ctx *ctx, const bl_graph *graph, bl_data *data, const bl_train_options *options,
                            const bl_study *study, bl_weights *weights, bl_trained **out)
{
    bl_arena *arena = bl_arena_new(ctx, "training");
    school *c;
    bl_status status, kept = BL_OK;

    BL_ALLOC_TRY(ctx, arena);
    *out = NULL;
    c = BL_NEW(arena, school, 1);
    if (!c) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    c->l.ctx = ctx;
    c->l.arena = arena;
    c->l.data = data;
    c->l.o = options ? *options : bl_train_options_default();
    if (study) {
        c->study = *study;
        c->l.study = &c->study;
    }
    status = open_school(c, graph);
    int64_t resumed = c->s.done;
    if (status == BL_OK) status = run_epochs(c);
    bool stopped = status == BL_INTERRUPTED;
    if (stopped) ctx->interrupted = 0; /* the caller may still write what there is */
    bl_lesson_leave(&c->l);
    if (status == BL_OK || (stopped && c->s.best > 0 && c->s.best_state)) {
        bool best = stopped || c->l.o.best;
        if (best) memcpy(c->s.state, c->s.best_state, c->s.n_state * sizeof(float));
        if (study) kept = take_weights(c, weights);
        if (study && kept == BL_OK) kept = take_grids(c, weights);
        if (kept == BL_OK) kept = hand_over(c, best, resumed, out);
    }
    bl_lesson_close(&c->l);
    if (!*out) bl_arena_free(arena);
    return status != BL_OK ? status : kept;
}

bl_status bl_train(bl_ctx *ctx, const bl_graph *graph, bl_data *data, const bl_train_options *options,
                   bl_trained **out)
{
    return run_school(ctx, graph, data, options, NULL, NULL, out);
}

bl_status bl_train_grids(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, bl_data *data, const char *trainer,
                         const bl_train_options *options, bl_weights *out, bl_trained **trained)
{
    bl_study study = {.row = bl_quant_trainer_find(trainer), .plan = plan, .of = graph};

    *trained = NULL;
    if (!study.row) return bad(ctx, "--trainer", "see `bitlathe list quant-trainers`", "no such trainer");
    return run_school(ctx, graph, data, options, &study, out, trained);
}

bl_status bl_train_quantized(bl_ctx *ctx, const bl_graph *graph, bl_plan *plan, bl_data *data, const char *trainer,
                             const bl_train_options *options, bl_weights **out, bl_trained **trained)
{
    bl_arena *arena = bl_arena_new(ctx, "weights");
    bl_status status, kept = BL_OK;

    *out = NULL;
    *trained = NULL;
    BL_ALLOC_TRY(ctx, arena);
    bl_weights *w = BL_NEW(arena, bl_weights, 1);
    status = w ? BL_OK : bl_pending(ctx);
    if (w) {
        *w = (bl_weights){.arena = arena, .graph = graph->hash};
        status = bl_train_grids(ctx, graph, plan, data, trainer, options, w, trained);
    }
    if (*trained) kept = bl_weights_seal(ctx, graph, w);
    if (*trained && kept == BL_OK) kept = bl_plan_use_weights(ctx, plan, w);
    if (!*trained || kept != BL_OK) {
        bl_trained_free(*trained);
        *trained = NULL;
        bl_arena_free(arena);
    } else {
        *out = w;
    }
    return status != BL_OK ? status : kept;
}

void bl_trained_free(bl_trained *trained)
{
    if (!trained) return;
    bl_graph_free(trained->graph);
    bl_arena_free(trained->arena);
}

json_t *bl_trained_history(const bl_trained *t, const bl_train_options *o)
{
    json_t *epochs = json_array();
    for (int64_t i = 0; i < t->n_epochs; i++) {
        const bl_train_epoch *e = &t->epochs[i];
        json_t *one = json_pack("{s:I}", "epoch", (json_int_t)e->epoch);
        json_object_set_new(one, "loss", bl_json_real(e->loss));
        if (!isnan(e->held_loss)) json_object_set_new(one, "held_loss", bl_json_real(e->held_loss));
        if (!isnan(e->held_accuracy)) json_object_set_new(one, "held_accuracy", bl_json_real(e->held_accuracy));
        json_object_set_new(one, "rate", bl_json_real(e->rate));
        json_array_append_new(epochs, one);
    }
    json_t *j = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "parameters", (json_int_t)t->parameters,
                          "samples", (json_int_t)t->samples, "held_out", (json_int_t)t->held_out, "batch",
                          (json_int_t)o->batch, "micro", (json_int_t)o->micro, "kept_epoch", (json_int_t)t->kept,
                          "optimizer", o->optimizer, "schedule", o->schedule, "loss", o->loss);
    json_object_set_new(j, "epochs", epochs);
    return j;
}
