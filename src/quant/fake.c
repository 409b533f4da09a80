/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole plan on the float walk: every constant weight replaced by its dequantized codes, every
 * bias by its int32 grid, every value put on its grid by the hook.  What searches and training use;
 * the integer executor is the truth; each operator lies within one step of it (tests/unit/test_steps.c).
 */
#include "quant/quant.h"

#include <string.h>

struct bl_fake {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *g;
    const bl_plan *plan;
    const float **constant;     /* by value number; NULL: the graph's own */
    uint8_t *quantized;         /* by value number: bl_hook_use, the hook writes */
    bl_grid *grid;
};

/* Bias codes as [Q4] has them, back in reals. */
void bl_bias_on_grid(const float *bias, int n, float sx, const bl_quantizer *w, float *out)
{
    for (int c = 0; c < n; c++) {
        float s = sx * w->scale[w->n_scale > 1 ? c : 0];
        float t = bias[c] / s;
        t = t > -1073741824.0f ? t : -1073741824.0f;
        t = t < 1073741824.0f ? t : 1073741824.0f;
        out[c] = rintf(t) * s;
    }
}

static bl_status need_affine(const bl_fake *f, const bl_quantizer *q)
{
    return q->kind == BL_Q_AFFINE || (q->weight && bl_quantizer_has_codes(q))
               ? BL_OK
               : bl_fail(f->ctx, BL_UNAVAILABLE, f->g->values[q->value].name, "use affine grids here",
                         "this kind of quantizer has no fake-quantized form in the float walk");
}

static bl_status fake_layer(bl_fake *f, const bl_weights *weights, int layer)
{
    const bl_node *n = &f->g->nodes[layer];
    int w = bl_layer_weight(f->g, layer), b = bl_layer_bias(f->g, layer);
    int qw = f->plan->of_value[w], qx = f->plan->of_value[n->in[0]];
    if (qw < 0) return BL_OK;
    const bl_quantizer *q = &f->plan->quantizers[qw];
    bl_tensor t = f->g->values[w].t;
    size_t count = (size_t)bl_tensor_count(&t);
    const float *changed = bl_weights_find(weights, w);
    if (changed) t.data = (void *)(uintptr_t)changed;
    BL_TRY(need_affine(f, q));
    int8_t *codes = BL_NEW(f->arena, int8_t, count);
    float *real = BL_NEW(f->arena, float, count);
    if (!codes || !real) return bl_pending(f->ctx);
    bl_weight_grid grid = bl_quantizer_grid(q);
    bl_grid_codes(&t, &grid, codes);
    bl_weight_decode(&t, codes, q->scale, q->n_scale, q->axis, real);
    f->constant[w] = real;
    if (b < 0) return BL_OK;
    const float *bias = bl_weights_find(weights, b);
    if (!bias) bias = f->g->values[b].t.data;
    int64_t n_bias = bl_tensor_count(&f->g->values[b].t);
    if (qx < 0 || (q->n_scale > 1 && n_bias != q->n_scale)) {
        f->constant[b] = bias;
        return BL_OK;
    }
    float *fb = BL_NEW(f->arena, float, (size_t)n_bias);
    BL_ALLOC_TRY(f->ctx, fb);
    bl_bias_on_grid(bias, (int)n_bias, f->plan->quantizers[qx].scale[0], q, fb);
    f->constant[b] = fb;
    return BL_OK;
}

static bl_status fake_operand(bl_fake *f, int v, bl_grid grid)
{
    const bl_tensor *t = &f->g->values[v].t;
    size_t n = (size_t)bl_tensor_count(t);
    float *x = BL_NEW(f->arena, float, n);
    BL_ALLOC_TRY(f->ctx, x);
    memcpy(x, t->data, n * sizeof *x);
    bl_fake_quantize_array(x, n, grid);
    f->constant[v] = x;
    return BL_OK;
}

static bl_status fake_fill(bl_fake *f, const bl_weights *weights)
{
    size_t nv = (size_t)f->g->n_values;
    f->constant = BL_NEW(f->arena, const float *, nv);
    f->quantized = BL_NEW(f->arena, uint8_t, nv);
    f->grid = BL_NEW(f->arena, bl_grid, nv);
    if (!f->constant || !f->quantized || !f->grid) return bl_pending(f->ctx);
    for (int v = 0; v < f->g->n_values; v++) {
        int qi = f->plan->of_value[v];
        if (qi < 0 || f->plan->quantizers[qi].weight) continue;
        BL_TRY(need_affine(f, &f->plan->quantizers[qi]));
        f->grid[v] = bl_affine_grid(&f->plan->quantizers[qi]);
        f->quantized[v] = BL_HOOK_WRITES;
        if (f->g->values[v].t.data) BL_TRY(fake_operand(f, v, f->grid[v]));
    }
    for (int i = 0; i < f->g->n_nodes; i++)
        if (bl_layer_weight(f->g, i) >= 0) BL_TRY(fake_layer(f, weights, i));
    return BL_OK;
}

bl_status bl_fake_new(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                      bl_fake **out)
{
    bl_arena *a = bl_arena_new(ctx, "fake quantization");
    BL_ALLOC_TRY(ctx, a);
    bl_fake *f = BL_NEW(a, bl_fake, 1);
    bl_status s = f ? BL_OK : bl_pending(ctx);
    if (f) {
        *f = (bl_fake){ .ctx = ctx, .arena = a, .g = graph, .plan = plan };
        s = fake_fill(f, weights);
    }
    if (s != BL_OK) bl_arena_free(a);
    else *out = f;
    return s;
}

void bl_fake_free(bl_fake *fake)
{
    if (fake) bl_arena_free(fake->arena);
}

bl_status bl_fake_attach(bl_fake *fake, bl_walk *walk)
{
    for (int v = 0; v < fake->g->n_values; v++)
        if (fake->constant[v]) BL_TRY(bl_walk_set_constant(walk, v, fake->constant[v]));
    bl_walk_hook_uses(walk, fake->quantized);
    return BL_OK;
}

const uint8_t *bl_fake_uses(const bl_fake *fake)
{
    return fake->quantized;
}

bl_status bl_fake_hook(void *fake, int value, bl_tensor *t)
{
    const bl_fake *f = fake;
    if (f->quantized[value]) bl_fake_quantize_array(t->data, (size_t)bl_tensor_count(t), f->grid[value]);
    return BL_OK;
}
