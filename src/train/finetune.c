/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tuner "finetune": a plan's network is trained on the plan's grids, by labels or by the float network.  How, its words
 * say: "epochs=3,rate=0.001,trainer=lsq".
 */
#include "train/train.h"

#include <string.h>

typedef struct course {
    bl_train_options o;
    const char *trainer;
} course;

static bl_status set_word(bl_ctx *ctx, course *c, const char *key, const char *value)
{
    struct { const char *key; double *to, least, most; } numbers[] = {
        { "rate", &c->o.rate, 1e-12, 1e3 }, { "warmup", &c->o.warmup, 0, 1e6 }, { "decay", &c->o.weight_decay, 0, 1 },
        { "momentum", &c->o.momentum, 0, 0.9999 }, { "teacher", &c->o.teacher, 0, 1 },
        { "heat", &c->o.heat, 1e-3, 1e3 }, { "smoothing", &c->o.label_smoothing, 0, 0.9999 } };
    struct { const char *key; int64_t *to, least, most; } counts[] = {
        { "epochs", &c->o.epochs, 1, 1000000 }, { "samples", &c->o.limit, 1, INT32_MAX }, { "batch", &c->o.batch, 1, 65536 },
        { "micro", &c->o.micro, 1, 65536 }, { "pad", &c->o.pad, 0, 1024 } };
    const char *remedy = "give words such as epochs=3,rate=0.001,trainer=lsq";

    for (size_t i = 0; i < BL_COUNTOF(numbers); i++)
        if (!strcmp(numbers[i].key, key)) {
            double x;
            if (!bl_parse_f64(value, &x) || x < numbers[i].least || x > numbers[i].most)
                return bl_fail(ctx, BL_USAGE, key, remedy, "\"%s\" makes no sense", value);
            *numbers[i].to = x;
            return BL_OK;
        }
    for (size_t i = 0; i < BL_COUNTOF(counts); i++)
        if (!strcmp(counts[i].key, key)) {
            uint64_t n;
            if (!bl_parse_u64(value, &n) || n > INT32_MAX || (int64_t)n < counts[i].least || (int64_t)n > counts[i].most)
                return bl_fail(ctx, BL_USAGE, key, remedy, "\"%s\" makes no sense", value);
            *counts[i].to = (int64_t)n;
            return BL_OK;
        }
    if (!strcmp(key, "flip")) {
        c->o.flip = !strcmp(value, "1");
        return c->o.flip || !strcmp(value, "0") ? BL_OK : bl_fail(ctx, BL_USAGE, key, remedy, "\"%s\" is neither 0 nor 1", value);
    }
    if (!strcmp(key, "optimizer")) {
        const bl_optimizer *row = bl_optimizer_find(value);
        if (!row) return bl_fail(ctx, BL_USAGE, value, "see `bitlathe list optimizers`", "no such optimizer");
        c->o.optimizer = row->name;
        return BL_OK;
    }
    if (strcmp(key, "trainer")) return bl_fail(ctx, BL_USAGE, key, remedy, "fine-tuning knows no such word");
    const bl_quant_trainer *row = bl_quant_trainer_find(value);
    if (!row) return bl_fail(ctx, BL_USAGE, value, "see `bitlathe list quant-trainers`", "no such trainer");
    c->trainer = row->name;
    return BL_OK;
}

static bl_status read_words(bl_ctx *ctx, const char *words, course *c)
{
    *c = (course){.o = bl_train_options_default(), .trainer = "lsq"};
    c->o.epochs = 2;
    c->o.batch = 32;
    c->o.micro = 16;
    c->o.held_out = 0;
    c->o.optimizer = "adam"; /* folded weights of a few channels are far larger than the others' */
    c->o.rate = 0.0005;
    c->o.warmup = 0.1;
    c->o.weight_decay = 0;
    while (words && *words) {
        char word[64], *eq;
        size_t n = strcspn(words, ",");
        if (n >= sizeof word) return bl_fail(ctx, BL_USAGE, "finetune", "give words such as epochs=3,rate=0.01", "a word is too long");
        memcpy(word, words, n);
        word[n] = 0;
        eq = strchr(word, '=');
        if (!eq) return bl_fail(ctx, BL_USAGE, word, "give words such as epochs=3,rate=0.01", "no KEY=VALUE");
        *eq = 0;
        BL_TRY(set_word(ctx, c, word, eq + 1));
        words += n + (words[n] == ',');
    }
    if (c->o.batch % c->o.micro) c->o.micro = c->o.batch;
    return BL_OK;
}

bl_status bl_tune_words_finetune(bl_ctx *ctx, const char *words)
{
    course c;
    return read_words(ctx, words, &c);
}

bl_status bl_tune_finetune(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    course c;
    bl_trained *trained;

    BL_TRY(read_words(ctx, in->words, &c));
    if (c.o.teacher < 1 && !bl_data_labelled(in->data))
        return bl_fail(ctx, BL_DATA, bl_data_name(in->data), "give labels, or finetune:teacher=1", "finetune needs labelled samples");
    bl_status status = bl_train_grids(ctx, in->graph, in->plan, in->data, c.trainer, &c.o, out, &trained);
    bl_trained_free(trained);
    return status;
}
