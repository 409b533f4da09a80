/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Any text as a fixed-point network (fixed.json), its hash put right first: what is read is priced, and run on two
 * samples before and after pruning, which must not change an output.
 */
#include "fuzz.h"

#include "program/fixed.h"

#include <math.h>

#define WORK_MOST ((int64_t)1 << 22) /* products of one run: how much work is asked for is no fault */

enum { SAMPLES = 2 };

/* The text with its own hash; NULL where it is no object. */
static char *put_right(const uint8_t *text, size_t n)
{
    json_error_t error;
    json_t *r = json_loadb((const char *)text, n, JSON_REJECT_DUPLICATES, &error);
    char *out = json_is_object(r) ? fuzz_record_text(r) : NULL;
    json_decref(r);
    return out;
}

static bool small(const bl_fixed_net *net)
{
    int64_t work = net->n_in;
    for (int l = 0; l < net->n_layers; l++) {
        const bl_fixed_layer *k = &net->layers[l];
        int64_t taps = k->kind == BL_FIXED_DENSE ? k->n_in : (int64_t)k->kernel_h * k->kernel_w * k->in_c;
        if (k->n_out && taps > WORK_MOST / k->n_out) return false;
        work += k->n_out * taps;
    }
    return work <= WORK_MOST;
}

/* Real outputs of SAMPLES inputs, allocated. */
static double *outputs(const bl_fixed_net *net)
{
    const bl_fixed_layer *last = &net->layers[net->n_layers - 1];
    float *x = calloc((size_t)net->n_in, sizeof *x);
    int64_t *codes = calloc((size_t)net->n_in, sizeof *codes), *y = calloc((size_t)last->n_out, sizeof *y);
    int64_t *work = calloc(bl_fixed_work(net) + 1, sizeof *work);
    double *out = calloc((size_t)(SAMPLES * last->n_out), sizeof *out);
    if (!x || !codes || !y || !work || !out) abort();
    for (int s = 0; s < SAMPLES; s++) {
        for (int64_t e = 0; e < net->n_in; e++) x[e] = (float)((e * 7 + 3 * s) % 11) * 0.75f - 3;
        bl_fixed_input(net, x, codes);
        bl_fixed_run(net, codes, y, work);
        for (int64_t e = 0; e < last->n_out; e++) out[s * last->n_out + e] = ldexp((double)y[e], -last->out[e].f);
    }
    free(x);
    free(codes);
    free(y);
    free(work);
    return out;
}

static void use(bl_ctx *ctx, bl_fixed_net *net)
{
    bl_fixed_cost cost;
    bl_fixed_price(net, &cost);
    if (!(cost.ebops1 >= 0) || !(cost.ebops2 >= 0) || cost.weights_left > cost.weights) abort();
    if (!small(net)) return;
    double *before = outputs(net);
    int64_t n = SAMPLES * net->layers[net->n_layers - 1].n_out;
    if (fuzz_ok(ctx, bl_fixed_prune(ctx, net))) {
        double *after = outputs(net);
        if (memcmp(before, after, (size_t)n * sizeof *after)) abort();
        free(after);
    }
    free(before);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    bl_ctx *ctx = fuzz_ctx();
    bl_fixed_net *net;
    char *text = put_right(bytes, size);
    const char *path = fuzz_file(0, text ? text : (const char *)bytes, text ? strlen(text) : size);
    free(text);
    if (fuzz_ok(ctx, bl_fixed_read(ctx, path, &net))) {
        use(ctx, net);
        bl_fixed_free(net);
    }
    fuzz_ctx_free(ctx);
    return 0;
}
