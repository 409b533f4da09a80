/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The tuner "imitate": behind learned rounding the whole network on the plan's grids is trained to answer as the float network
 * does, without labels (Hinton et al., arXiv 1503.02531):
 *
 *   loss = heat^2 KL(float answers / heat || answers / heat) + features * mean over values |y - y_float|^2 / |y_float|^2
 *
 * A layer that is rounded by itself leaves an error that the layers behind it only meet as noise in their inputs; here they
 * learn to take it back.  Weights, scales, ranges and biases learn, each in units of its own grid, from inside the cells that the
 * rounding chose: few samples teach a choice between neighbours, where weights anew would be learned by heart.  The values' term
 * keeps layers near what they were where few samples' answers say little.  Weights that swing between two codes stay, or single steps
 * of a depthwise channel lose nearly all.  Pictures are also seen mirrored.
 */
#include "train/study.h"

enum { LARGE = 96 * 96 }; /* positions of a sample whose values would fill the memory, many at once */

static bl_course course_for(const bl_tune_input *in)
{
    bl_course c = bl_course_default();
    c.start = bl_tuner_find("adaround-bias");
    c.trainer = "relative";
    c.steps = 400;
    c.o.teacher = 1;
    c.o.features = 10;
    c.o.rate = 0.005;
    c.o.freeze = 0.03;
    c.o.warmup = 0;
    c.o.batch = 16;
    c.o.micro = 2;
    if (!in) return c;
    const bl_tensor *x = &in->graph->values[in->graph->inputs[0]].t;
    c.o.flip = x->rank == 4 && x->dim[1] == 3; /* a picture; else left and right may mean something else than sides */
    c.o.batch = BL_MAX(BL_MIN(c.o.batch, bl_data_samples(in->data)), 1);
    c.o.micro = bl_sample_positions(in->graph) >= LARGE ? 1 : c.o.batch % 4 ? c.o.batch % 2 ? 1 : 2 : c.o.batch / 4;
    return c;
}

bl_status bl_tune_words_imitate(bl_ctx *ctx, const char *words)
{
    bl_course c = course_for(NULL);
    return bl_course_words(ctx, words, &c);
}

bl_status bl_tune_imitate(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out)
{
    bl_course c = course_for(in);
    BL_TRY(bl_course_words(ctx, in->words, &c));
    return bl_course_run(ctx, in, &c, out);
}
