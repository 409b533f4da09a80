/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Forms of a node that ONNX Runtime runs faster and that give the same integers, whatever the
 * numbers: a first convolution over four channels (its kernels multiply four at a time), and a
 * function of one value as the table [Q9] of a rescaling instead of a float operator between two
 * conversions [Q11].  Nothing here is taken on trust: a rescaling is used where all 256 codes agree.
 */
#include "emit/qdq_private.h"

#include <stdlib.h>
#include <string.h>

#define TOGETHER 4     /* input channels that one multiplication takes */
#define FILTERS_MIN 16 /* fewer do not pay for the channels: measured, docs/decisions.md */

/* ------------------------------------------------------------------ channels */

int bl_qdq_more_channels(const bl_qdq *q, int layer)
{
    const bl_node *n = &q->graph->nodes[layer];
    const bl_quantizer *kx = bl_qdq_act(q, n->in[0]);
    const bl_value *w = &q->graph->values[n->in[1]];

    if (q->options.plain || strcmp(n->op->name, "Conv") != 0 || bl_attr_int(n, "group", 1) != 1)
        return 0;
    if (!kx || kx->bits > 8 || !q->graph->values[n->in[0]].is_input) return 0;
    if (w->n_readers != 1 || w->is_output || w->t.rank != 4 || w->t.dim[0] < FILTERS_MIN) return 0;
    return (int)((TOGETHER - w->t.dim[1] % TOGETHER) % TOGETHER);
}

const char *bl_qdq_pad_channels(bl_qdq *q, int layer, int more)
{
    int v = q->graph->nodes[layer].in[0];
    const char *base = q->graph->values[v].name;
    bl_qdq_parts p = q->parts[v];
    int64_t pads[2 * BL_MAX_RANK] = { 0 };
    int rank = q->graph->values[v].t.rank;
    pads[rank + 1] = more;
    const char *codes = bl_qdq_name(q, "%s_padded_quantized", base);
    const char *out = bl_qdq_name(q, "%s_padded", base);
    const char *in[] = { p.codes, bl_qdq_ints(q, bl_qdq_name(q, "%s_pads", base), pads, (size_t)rank * 2),
                         p.zero };
    bl_qdq_node(q, "Pad", NULL, in, 3, &codes, 1); /* a code of zero point is a real 0 */
    bl_qdq_dequantize(q, p, codes, out, -1);
    return out;
}

/* ------------------------------------------------------------------ functions */

/* The codes of a function: as the executor's table has them. */
static void codes_of(const bl_node *n, bl_grid gx, bl_grid gy, uint8_t *table)
{
    bl_grid cut = bl_clamped_grid(n, gy);
    for (int i = 0; i <= gx.hi; i++) {
        int32_t c = bl_quantize((float)n->op->unary(n, (double)bl_dequantize(i, gx)), gy);
        table[i] = (uint8_t)(c < cut.lo ? cut.lo : c > cut.hi ? cut.hi : c);
    }
}

static bool is_rescaling(const uint8_t *table, bl_grid gx, bl_grid to)
{
    for (int i = 0; i <= gx.hi; i++)
        if (table[i] != bl_quantize(bl_dequantize(i, gx), to)) return false;
    return true;
}

static bool is_identity(const uint8_t *table, bl_grid gx)
{
    for (int i = 0; i <= gx.hi; i++)
        if (table[i] != i) return false;
    return true;
}

/*
 * In its straight part the function is a*x + b: code zy + (a*x + b)/sy, which is quantizing x with
 * scale sy/a and zero point zy + b/sy.  The part is looked for around the code in the middle of the
 * output's range.
 */
static bool find_rescaling(const bl_node *n, const uint8_t *table, bl_grid gx, bl_grid gy, bl_grid *to)
{
    int mid = 0;
    for (int i = 0; i <= gx.hi; i++)
        if (abs(table[i] - gy.hi / 2) < abs(table[mid] - gy.hi / 2)) mid = i;
    double x = bl_dequantize(mid, gx), h = gx.scale / 4.0;
    double a = (n->op->unary(n, x + h) - n->op->unary(n, x - h)) / (2 * h);
    double b = n->op->unary(n, x) - a * x, zero = rint(gy.zero + b / gy.scale);
    if (!(a > 0) || !(zero >= 0 && zero <= UINT8_MAX)) return false;
    float scale = (float)(gy.scale / a);
    *to = (bl_grid){ .scale = scale, .zero = (int32_t)zero, .lo = 0, .hi = UINT8_MAX };
    for (int ulp = 0; ulp <= 2; ulp++) /* the slope is known to a few units in the last place */
        for (int up = -1; up <= 1; up += 2) {
            to->scale = scale;
            for (int i = 0; i < ulp; i++) to->scale = nextafterf(to->scale, up > 0 ? INFINITY : 0);
            if (to->scale > 0 && isfinite(to->scale) && is_rescaling(table, gx, *to)) return true;
        }
    return false;
}

/* y's codes are x's on another grid. */
static void relabel(bl_qdq *q, int x, int y)
{
    const char *own = q->parts[y].codes;
    if (q->options.all_outputs) bl_qdq_node(q, "Identity", NULL, &q->parts[x].codes, 1, &own, 1);
    else q->parts[y].codes = q->parts[x].codes;
}

/* A LeakyRelu that leaks everything: ONNX Runtime has no other operator that is only a table. */
static void rescale(bl_qdq *q, const bl_node *n, const char *x, int y, bl_grid to)
{
    const char *base = q->graph->values[y].name, *real = bl_qdq_name(q, "%s_float", base);
    bl_qdq_parts through = { q->parts[y].codes, bl_qdq_name(q, "%s_rescale", base),
                             bl_qdq_name(q, "%s_rescale_zero_point", base) };
    Onnx__NodeProto *node = bl_qdq_node(q, "LeakyRelu", n->name, &x, 1, &real, 1);
    bl_qdq_attr(q, node, &(bl_attr){ .name = "alpha", .type = BL_ATTR_FLOAT, .f = 1 });
    bl_qdq_grid(q, through, to.scale, to.zero, 8);
    bl_qdq_quantize(q, through, real, through.codes);
}

bool bl_qdq_rescaling(bl_qdq *q, const bl_node *n)
{
    int x = n->in[0], y = n->out[0];
    const bl_quantizer *kx = x >= 0 ? bl_qdq_act(q, x) : NULL, *ky = bl_qdq_act(q, y);
    uint8_t table[256];
    bl_grid to;

    if (q->options.plain || !n->op->unary || n->n_in != 1 || n->n_out != 1 || !kx || !ky) return false;
    if (kx->bits > 8 || ky->bits > 8 || !q->parts[x].codes) return false;
    bl_grid gx = bl_affine_grid(kx), gy = bl_affine_grid(ky);
    codes_of(n, gx, gy, table);
    bool same = is_identity(table, gx);
    if (!same && !find_rescaling(n, table, gx, gy, &to)) return false;
    q->parts[y] = bl_qdq_parts_new(q, q->graph->values[y].name);
    bl_qdq_grid(q, q->parts[y], gy.scale, gy.zero, ky->bits);
    if (q->options.all_outputs) bl_qdq_port(q, &q->more_outputs, q->parts[y].codes, BL_U8, NULL);
    if (same) relabel(q, x, y);
    else rescale(q, n, bl_qdq_read(q, n, x), y, to);
    return true;
}
