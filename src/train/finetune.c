/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tuner "finetune": a plan's network is trained on the plan's grids, by labels or by the float network.  How, its words
 * say: "epochs=3,rate=0.001,trainer=lsq".  "imitate" (imitate.c) is the same with other words to begin with.
 */
#include "train/study.h"

#include <string.h>

#define REMEDY "give words such as epochs=3,rate=0.001,trainer=lsq"

/* *known: the word was one of these. */
static bl_status set_number(bl_ctx *ctx, bl_course *c, const char *key, const char *value, bool *known)
{
    struct { const char *key; double *to, least, most; } numbers[] = {
        { "rate", &c->o.rate, 1e-12, 1e3 }, { "warmup", &c->o.warmup, 0, 1e6 }, { "decay", &c->o.weight_decay, 0, 1 },
        { "momentum", &c->o.momentum, 0, 0.9999 }, { "teacher", &c->o.teacher, 0, 1 }, { "features", &c->o.features, 0, 1e6 },
        { "heat", &c->o.heat, 1e-3, 1e3 }, { "smoothing", &c->o.label_smoothing, 0, 0.9999 }, { "zoom", &c->o.zoom, 0, 1 },
        { "mix", &c->o.mix, 0, 1 }, { "freeze", &c->o.freeze, 0, 1 } };
    struct { const char *key; int64_t *to, least, most; } counts[] = {
        { "epochs", &c->o.epochs, 1, 1000000 }, { "samples", &c->o.limit, 1, INT32_MAX }, { "batch", &c->o.batch, 1, 65536 },
        { "micro", &c->o.micro, 1, 65536 }, { "pad", &c->o.pad, 0, 1024 }, { "steps", &c->steps, 0, 1000000 } };

    for (size_t i = 0; i < BL_COUNTOF(numbers); i++)
        if (!strcmp(numbers[i].key, key)) {
            double x;
            if (!bl_parse_f64(value, &x) || x < numbers[i].least || x > numbers[i].most)
                return bl_fail(ctx, BL_USAGE, key, REMEDY, "\"%s\" makes no sense", value);
            *numbers[i].to = x;
            return BL_OK;
        }
    for (size_t i = 0; i < BL_COUNTOF(counts); i++)
        if (!strcmp(counts[i].key, key)) {
            uint64_t n;
            if (!bl_parse_u64(value, &n) || n > INT32_MAX || (int64_t)n < counts[i].least || (int64_t)n > counts[i].most)
                return bl_fail(ctx, BL_USAGE, key, REMEDY, "\"%s\" makes no sense", value);
            *counts[i].to = (int64_t)n;
            return BL_OK;
        }
    *known = false;
    return BL_OK;
}

static bl_status set_word(bl_ctx *ctx, bl_course *c, const char *key, const char *value)
{
    bool known = true;
    BL_TRY(set_number(ctx, c, key, value, &known));
    if (known) return BL_OK;
    if (!strcmp(key, "flip")) {
        c->o.flip = !strcmp(value, "1");
        return c->o.flip || !strcmp(value, "0") ? BL_OK : bl_fail(ctx, BL_USAGE, key, REMEDY, "\"%s\" is neither 0 nor 1", value);
    }
    if (!strcmp(key, "optimizer")) {
        const bl_optimizer *row = bl_optimizer_find(value);
        if (!row) return bl_fail(ctx, BL_USAGE, value, "see `bitlathe list optimizers`", "no such optimizer");
        c->o.optimizer = row->name;
        return BL_OK;
    }
    if (!strcmp(key, "start")) {
        c->start = strcmp(value, "none") ? bl_tuner_find(value) : NULL;
        if (c->start ? c->start->check != NULL : strcmp(value, "none") != 0)
            return bl_fail(ctx, BL_USAGE, value, "give none, or a row of `bitlathe list tuners` that takes no words", "training cannot start from it");
        return BL_OK;
    }
    if (strcmp(key, "trainer")) return bl_fail(ctx, BL_USAGE, key, REMEDY, "fine-tuning knows no such word");
    const bl_quant_trainer *row = bl_quant_trainer_find(value);
    if (!row) return bl_fail(ctx, BL_USAGE, value, "see `bitlathe list quant-trainers`", "no such trainer");
    c->trainer = row->name;
    return BL_OK;
}

bl_course bl_course_default(void)
{
    bl_course c = {.o = bl_train_options_default(), .trainer = "lsq"};
    c.o.epochs = 2;
    c.o.batch = 32;
    c.o.micro = 16;
    c.o.held_out = 0;
    c.o.optimizer = "adam"; /* folded weights of a few channels are far larger than the others' */
    c.o.rate = 0.0005;
    c.o.warmup = 0.1;
    c.o.weight_decay = 0;
    return c;
}

bl_status bl_course_words(bl_ctx *ctx, const char *words, bl_course *c)
{
    while (words && *words) {
        char word[64], *eq;
        size_t n = strcspn(words, ",");
        if (n >= sizeof word) return bl_fail(ctx, BL_USAGE, "finetune", REMEDY, "a word is too long");
        memcpy(word, words, n);
        word[n] = 0;
        eq = strchr(word, '=');
        if (!eq) return bl_fail(ctx, BL_USAGE, word, REMEDY, "no KEY=VALUE");
        *eq = 0;
        BL_TRY(set_word(ctx, c, word, eq + 1));
        words += n + (words[n] == ',');
    }
    if (c->o.batch % c->o.micro) c->o.micro = c->o.batch;
    return BL_OK;
}

/* What the first tuner gives, as a record of its own. */
static bl_status start_with(bl_ctx *ctx, const bl_tune_input *in, const bl_tuner *tuner, bl_weights *w)
{
    bl_tune_input first = *in;
    first.words = NULL;
    w->graph = in->graph->hash;
    BL_TRY(bl_tune_key(ctx, tuner, &first, &w->key));
    return tuner->run(ctx, &first, w);
}

static bl_status train(bl_ctx *ctx, const bl_tune_input *in, bl_course *c, bl_weights *out)
{
    bl_trained *trained = NULL;
    int64_t n = c->o.limit > 0 ? bl_data_first(in->data, c->o.limit) : bl_data_samples(in->data);

    if (c->steps > 0) {
        c->o.steps = BL_MIN(c->steps, BL_MAX(n / c->o.batch, 1));
        c->o.epochs = c->steps / c->o.steps;
    }
    bl_status status = bl_train_grids(ctx, in->graph, in->plan, in->data, c->trainer, &c->o, out, &trained);
    bl_trained_free(trained);
    return status;
}

bl_status bl_course_run(bl_ctx *ctx, const bl_tune_input *in, bl_course *c, bl_weights *out)
{
    bl_weights start = {0};

    if (c->o.teacher < 1 && !bl_data_labelled(in->data))
        return bl_fail(ctx, BL_DATA, bl_data_name(in->data), "give labels, or finetune:teacher=1", "finetune needs labelled samples");
    int64_t samples = c->o.limit > 0 ? bl_data_first(in->data, c->o.limit) : bl_data_samples(in->data);
    if (samples < c->o.batch)
        return bl_fail(ctx, BL_USAGE, "--tune", "give more samples, or a smaller batch among its words, as in finetune:batch=8",
                       "%lld samples are less than one batch of %lld", (long long)samples, (long long)c->o.batch);
    if (!c->start) return train(ctx, in, c, out);
    start.arena = bl_arena_new(ctx, "weights to start with");
    bl_status status = start.arena ? start_with(ctx, in, c->start, &start) : bl_pending(ctx);
    c->o.start = &start;
    if (status == BL_OK) status = train(ctx, in, c, out);
    bl_arena_free(start.arena);
    return status;
}

bl_status bl_tune_words_finetune(bl_ctx *ctx, const char *words)
{
    bl_course c = bl_course_default();
    return bl_course_words(ctx, words, &c);
}

bl_status bl_tune_finetune(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    bl_course c = bl_course_default();
    BL_TRY(bl_course_words(ctx, in->words, &c));
    return bl_course_run(ctx, in, &c, out);
}
