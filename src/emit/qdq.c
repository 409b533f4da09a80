/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Where quantizers stand in an ONNX QDQ model, so that ONNX Runtime runs the integers of our
 * executor: u8 activations, s8 weights by channel, int32 biases at f(sx*sw), Q/DQ behind every
 * operator and every graph input, no activation function where Q's saturation is one.  Rules [Q4],
 * [Q5], [Q12] to [Q16] and "Export choice" of docs/arithmetic.md.  Leaves ONNX's messages to
 * qdq_build.c and opset changes to qdq_node.c.
 */
#include "emit/qdq_private.h"

#include <string.h>

static const bl_quantizer *quantizer_of(const bl_qdq *q, int v)
{
    return v >= 0 && q->plan->of_value[v] >= 0 ? &q->plan->quantizers[q->plan->of_value[v]] : NULL;
}

const bl_quantizer *bl_qdq_act(const bl_qdq *q, int v)
{
    const bl_quantizer *k = quantizer_of(q, v);
    return k && !k->weight ? k : NULL;
}

static const char *value_name(const bl_qdq *q, int v)
{
    return q->graph->values[v].name;
}

static void fail(bl_qdq *q, const char *place, const char *remedy, const char *what)
{
    if (q->status == BL_OK) q->status = bl_fail(q->ctx, BL_UNAVAILABLE, place, remedy, "%s", what);
}

/* Container of codes: u8, from 9 bits on u16 [Q16]. */
static bl_dtype code_type(int bits)
{
    return bits > 8 ? BL_U16 : BL_U8;
}

/* ------------------------------------------------------------------ pieces */

bl_qdq_parts bl_qdq_parts_new(bl_qdq *q, const char *base)
{
    bl_qdq_parts p;
    p.codes = bl_qdq_name(q, "%s_quantized", base);
    p.scale = bl_qdq_name(q, "%s_scale", base);
    p.zero = bl_qdq_name(q, "%s_zero_point", base);
    return p;
}

void bl_qdq_grid(bl_qdq *q, bl_qdq_parts p, float scale, int32_t zero_point, int bits)
{
    uint16_t *zero = bl_qdq_alloc(q, 1, sizeof *zero); /* little endian: its first byte is the u8 */
    if (!zero) return;
    *zero = (uint16_t)zero_point;
    bl_qdq_scalar(q, p.scale, scale);
    bl_qdq_tensor(q, p.zero, code_type(bits), 0, NULL, zero);
}

void bl_qdq_quantize(bl_qdq *q, bl_qdq_parts p, const char *x, const char *codes)
{
    const char *in[] = { x, p.scale, p.zero };
    bl_qdq_node(q, "QuantizeLinear", NULL, in, 3, &codes, 1);
}

void bl_qdq_dequantize(bl_qdq *q, bl_qdq_parts p, const char *codes, const char *x, int axis)
{
    const char *in[] = { codes, p.scale, p.zero };
    Onnx__NodeProto *n = bl_qdq_node(q, "DequantizeLinear", NULL, in, 3, &x, 1);
    if (axis >= 0) bl_qdq_attr_int(q, n, "axis", axis);
}

void bl_qdq_reshape(bl_qdq *q, const char *x, const char *shape, const char *y)
{
    const char *in[] = { x, shape };
    bl_qdq_node(q, "Reshape", NULL, in, 2, &y, 1);
}

static void clip_node(bl_qdq *q, const char *base, const char *x, float lo, float hi, const char *y)
{
    const char *in[] = { x, NULL, NULL };
    if (lo > -INFINITY) in[1] = bl_qdq_scalar(q, bl_qdq_name(q, "%s_least", base), lo);
    if (hi < INFINITY) in[2] = bl_qdq_scalar(q, bl_qdq_name(q, "%s_greatest", base), hi);
    bl_qdq_node(q, "Clip", NULL, in, 3, &y, 1);
}

/*
 * Value v, real numbers in x, becomes codes.  Codes outside lo..hi of the grid are cut in between, x -> Q -> DQ -> Clip -> Q
 * on one grid: a Clip before the first Q would make the operator in front of it float [Q13]
 * [Q14].  Both ends of the Clip are images of codes, so the second Q gives back the first's codes.
 * shape: x is a matrix, and the codes become v's own; NULL: x has v's shape.
 */
static void put_on_grid(bl_qdq *q, int v, const bl_quantizer *k, const char *x, int32_t lo,
                        int32_t hi, const char *shape)
{
    const char *base = value_name(q, v);
    bl_grid g = bl_affine_grid(k);
    bl_dtype type = code_type(k->bits);
    bl_qdq_parts p = q->parts[v] = bl_qdq_parts_new(q, base);

    bl_qdq_grid(q, p, k->scale[0], k->zero, k->bits);
    if (lo > 0 || hi < (type == BL_U8 ? UINT8_MAX : UINT16_MAX)) {
        const char *codes = bl_qdq_name(q, "%s_unclipped_quantized", base);
        const char *real = bl_qdq_name(q, "%s_unclipped", base);
        bl_qdq_quantize(q, p, x, codes);
        bl_qdq_dequantize(q, p, codes, real, -1);
        x = bl_qdq_name(q, "%s_clipped", base);
        clip_node(q, base, real, bl_dequantize(lo, g), bl_dequantize(hi, g), x);
    }
    const char *last = shape ? bl_qdq_name(q, "%s_matrix_quantized", base) : p.codes;
    bl_qdq_quantize(q, p, x, last);
    if (shape) bl_qdq_reshape(q, last, shape, p.codes);
    if (q->options.all_outputs) bl_qdq_port(q, &q->more_outputs, p.codes, type, NULL);
}

/* The real numbers behind a value's codes, made for its first reader. */
static const char *real_value(bl_qdq *q, int v)
{
    bool input = q->graph->values[v].is_input; /* its name is taken by what comes in */
    const char *name = value_name(q, v);
    if (input) name = bl_qdq_name(q, "%s_dequantized", name);
    bl_qdq_dequantize(q, q->parts[v], q->parts[v].codes, name, -1);
    return q->name[v] = name;
}

/* ------------------------------------------------------------------ constants */

static const float *constant_data(const bl_qdq *q, int v)
{
    const float *changed = bl_weights_find(q->weights, v);
    return changed ? changed : q->graph->values[v].t.data;
}

/* As it stands, once. */
static const char *plain_constant(bl_qdq *q, int v)
{
    const bl_tensor *t = &q->graph->values[v].t;
    if (!q->name[v]) {
        q->name[v] = value_name(q, v);
        bl_qdq_tensor(q, q->name[v], t->type, t->rank, t->dim,
                      t->type == BL_F32 ? (const void *)constant_data(q, v) : t->data);
    }
    return q->name[v];
}

/* An operand of Add, Mul, Concat on its grid: codes and a DequantizeLinear; a bare float constant
 * would make the operator float. */
static const char *operand(bl_qdq *q, int v, const bl_quantizer *k)
{
    const bl_tensor *t = &q->graph->values[v].t;
    if (q->name[v]) return q->name[v];
    const float *x = t->data; /* tuning replaces weights and biases only */
    bl_grid g = bl_affine_grid(k);
    size_t n = (size_t)bl_tensor_count(t);
    uint8_t *narrow = bl_qdq_alloc(q, n, 2); /* room for either container */
    uint16_t *wide = (void *)narrow;
    if (!narrow) return NULL;
    for (size_t i = 0; i < n; i++) {
        int32_t code = bl_quantize(x[i], g);
        if (k->bits > 8) wide[i] = (uint16_t)code;
        else narrow[i] = (uint8_t)code;
    }
    bl_qdq_parts p = bl_qdq_parts_new(q, value_name(q, v));
    bl_qdq_grid(q, p, k->scale[0], k->zero, k->bits);
    bl_qdq_tensor(q, p.codes, code_type(k->bits), t->rank, t->dim, narrow);
    bl_qdq_dequantize(q, p, p.codes, value_name(q, v), -1);
    return q->name[v] = value_name(q, v);
}

/* The grid that a weight has in the file. */
static const float *weight_scale(bl_qdq *q, const bl_quantizer *k)
{
    float *s = bl_qdq_alloc(q, (size_t)k->n_scale, sizeof *s);
    bool halved = q->options.reduce_range && k->bits == 8;
    for (int c = 0; s && c < k->n_scale; c++) s[c] = halved ? 2 * k->scale[c] : k->scale[c];
    return s;
}

/* A Conv's weight (O, C, ...) with `more` input channels of zeros. */
static int8_t *more_zeros(bl_qdq *q, bl_tensor *t, const int8_t *codes, int more)
{
    size_t filters = (size_t)t->dim[0], one = (size_t)bl_tensor_count(t) / filters;
    size_t added = one / (size_t)t->dim[1] * (size_t)more;
    int8_t *wide = bl_qdq_alloc(q, filters, one + added); /* zeroed */
    for (size_t o = 0; wide && o < filters; o++)
        memcpy(wide + o * (one + added), codes + o * one, one);
    t->dim[1] += more;
    return wide;
}

/* [Q15]: any width in an int8 tensor (int4 on request), zero point 0, one scale a channel or one in
 * all. */
static const char *weight(bl_qdq *q, int v, const bl_quantizer *k, const float *scale, int more)
{
    bl_tensor t = q->graph->values[v].t;
    if (q->name[v]) return q->name[v];
    int64_t n_scale = k->n_scale;
    int rank = k->axis >= 0 ? 1 : 0;
    bool halved = q->options.reduce_range && k->bits == 8;
    int8_t *codes = bl_qdq_alloc(q, (size_t)bl_tensor_count(&t), 1);
    int8_t *zero = bl_qdq_alloc(q, (size_t)n_scale, 1);
    bl_qdq_parts p = bl_qdq_parts_new(q, value_name(q, v));
    if (!codes || !zero || !scale) return NULL;
    t.data = (void *)(uintptr_t)constant_data(q, v);
    bl_weight_grid grid = bl_quantizer_grid(k);
    if (halved) grid.bits = 7, grid.narrow = false;
    grid.scale = (float *)(uintptr_t)scale;
    bl_grid_codes(&t, &grid, codes);
    if (more) codes = more_zeros(q, &t, codes, more);
    bl_qdq_tensor(q, p.scale, BL_F32, rank, &n_scale, scale);
    if (q->options.int4 && k->bits <= 4 && bl_quantizer_code_bits(k) <= 4) {
        bl_qdq_tensor_int4(q, p.codes, t.rank, t.dim, codes);
        bl_qdq_tensor_int4(q, p.zero, rank, &n_scale, zero);
        q->n_int4++;
    } else {
        bl_qdq_tensor(q, p.codes, BL_I8, t.rank, t.dim, codes);
        bl_qdq_tensor(q, p.zero, BL_I8, rank, &n_scale, zero);
    }
    bl_qdq_dequantize(q, p, p.codes, value_name(q, v), k->axis);
    return q->name[v] = value_name(q, v);
}

/* [Q4]: b = rint(f(bias / f(sx*sw[c]))), clamped to +-2^30 in binary32.  The scale depends on the
 * layer, so a bias that two layers share is written twice. */
static const char *bias(bl_qdq *q, const bl_node *n, int v, float sx, const float *sw, int n_sw,
                        int64_t channels)
{
    int64_t count = bl_tensor_count(&q->graph->values[v].t);
    const float *x = constant_data(q, v);
    int64_t n_scale = n_sw > 1 ? channels : 1;
    int rank = n_sw > 1 ? 1 : 0;
    if ((count != channels && count != 1) || (n_sw > 1 && n_sw != channels)) {
        fail(q, n->name, "", "its third input is not one bias for each output channel");
        return NULL;
    }
    int32_t *codes = bl_qdq_alloc(q, (size_t)channels, sizeof *codes);
    int32_t *zero = bl_qdq_alloc(q, (size_t)n_scale, sizeof *zero);
    float *scale = bl_qdq_alloc(q, (size_t)n_scale, sizeof *scale);
    const char *out = q->name[v] ? bl_qdq_name(q, "%s_bias", n->name) : value_name(q, v);
    bl_qdq_parts p = out ? bl_qdq_parts_new(q, out) : (bl_qdq_parts){ NULL, NULL, NULL };
    if (!codes || !zero || !scale || !out) return NULL;
    for (int64_t c = 0; c < n_scale; c++) scale[c] = sx * sw[c];
    for (int64_t c = 0; c < channels; c++) {
        float t = x[count > 1 ? c : 0] / scale[n_scale > 1 ? c : 0];
        t = t > -1073741824.0f ? t : -1073741824.0f;
        t = t < 1073741824.0f ? t : 1073741824.0f;
        codes[c] = (int32_t)rintf(t);
    }
    bl_qdq_tensor(q, p.codes, BL_I32, 1, &channels, codes);
    bl_qdq_tensor(q, p.scale, BL_F32, rank, &n_scale, scale);
    bl_qdq_tensor(q, p.zero, BL_I32, rank, &n_scale, zero);
    bl_qdq_dequantize(q, p, p.codes, out, rank ? 0 : -1);
    if (!q->name[v]) q->name[v] = out;
    return out;
}

/* ------------------------------------------------------------------ nodes */

const char *bl_qdq_read(bl_qdq *q, const bl_node *n, int v)
{
    const bl_value *value = &q->graph->values[v];
    if (q->name[v]) return q->name[v];
    if (q->parts[v].codes) return real_value(q, v);
    const bl_quantizer *k = bl_qdq_act(q, v);
    if (k && value->t.data && value->t.type == BL_F32) return operand(q, v, k);
    if (value->t.data) return plain_constant(q, v);
    fail(q, n->name, "please report this", "it reads a value that nothing has computed");
    return NULL;
}

/* Weight and bias of a layer. */
static void layer_inputs(bl_qdq *q, int layer, const char **in)
{
    const bl_node *n = &q->graph->nodes[layer];
    int w = bl_layer_weight(q->graph, layer), b = bl_layer_bias(q->graph, layer);
    const bl_quantizer *kw = quantizer_of(q, w), *kx = bl_qdq_act(q, n->in[0]);
    const bl_tensor *t = &q->graph->values[w].t;

    if (!strcmp(n->op->name, "Gemm") &&
        (bl_attr_float(n, "alpha", 1) != 1 || (b >= 0 && bl_attr_float(n, "beta", 1) != 1)))
        return fail(q, n->name, "fold them into weight and bias",
                    "alpha or beta of this Gemm is not 1");
    if (!kw || !kw->weight) return;
    const float *scale = weight_scale(q, kw);
    int more = bl_qdq_more_channels(q, layer);
    if (more) in[0] = bl_qdq_pad_channels(q, layer, more);
    in[1] = weight(q, w, kw, scale, more);
    if (b < 0 || !kx || !scale) return;
    int axis = bl_weight_axis(q->graph, layer);
    int64_t channels = t->dim[axis];
    in[2] = bias(q, n, b, kx->scale[0], scale, kw->n_scale, channels);
}

/* [Q5]: the full-size operand goes first. */
static void order_operands(const bl_qdq *q, const bl_node *n, const char **in)
{
    bool pair = !strcmp(n->op->name, "Add") || !strcmp(n->op->name, "Mul");
    if (!pair || n->n_in != 2) return;
    const bl_tensor *a = &q->graph->values[n->in[0]].t, *b = &q->graph->values[n->in[1]].t;
    if (bl_tensor_count(a) >= bl_tensor_count(b)) return;
    const char *swap = in[0];
    in[0] = in[1];
    in[1] = swap;
}

/* Same codes in and out: nothing new can lie outside the output's range. */
static bool keeps_codes(const bl_qdq *q, const bl_node *n)
{
    bool moves = n->op->flags & BL_OP_MOVES && strcmp(n->op->name, "Pad") != 0;
    if (!moves || bl_node_clamps(n)) return false;
    const bl_quantizer *x = bl_qdq_act(q, n->in[0]), *y = bl_qdq_act(q, n->out[0]);
    return x && y && x->bits == y->bits && x->zero == y->zero && x->scale[0] == y->scale[0];
}

/* A layer whose weights the plan leaves in float, between grids. */
static bool keeps_float_weights(const bl_qdq *q, const bl_node *n)
{
    static const char *const layers[] = { "Conv", "ConvTranspose", "Gemm" };
    bool layer = false;
    for (size_t i = 0; i < BL_COUNTOF(layers); i++) layer |= !strcmp(n->op->name, layers[i]);
    return layer && n->n_in > 1 && q->graph->values[n->in[1]].t.data && !quantizer_of(q, n->in[1]) &&
           bl_qdq_act(q, n->in[0]) && bl_qdq_act(q, n->out[0]);
}

/* ONNX Runtime puts float weights between DQ and Q on 8-bit grids of its own: a Sum of one keeps the Q
 * away from the layer. */
static const char *apart(bl_qdq *q, const bl_node *n, const char *raw)
{
    if (!keeps_float_weights(q, n)) return raw;
    const char *y = bl_qdq_name(q, "%s_apart", value_name(q, n->out[0]));
    bl_qdq_node(q, "Sum", NULL, &raw, 1, &y, 1);
    return y;
}

/* Output 0 carries the fused activation.  shape: raw is a matrix that takes it; NULL: it has the value's. */
static void node_output(bl_qdq *q, const bl_node *n, int which, const char *raw, const char *shape)
{
    int v = n->out[which];
    const char *name = value_name(q, v);
    const bl_quantizer *k = bl_qdq_act(q, v);
    bool clamps = which == 0 && bl_node_clamps(n);

    if (k) {
        bl_grid g = bl_affine_grid(k);
        if (clamps) g = bl_clamped_grid(n, g);
        if (keeps_codes(q, n)) g = (bl_grid){ .lo = 0, .hi = UINT16_MAX };
        put_on_grid(q, v, k, raw, g.lo, g.hi, shape);
        return;
    }
    if (shape) {
        const char *own = clamps ? bl_qdq_name(q, "%s_reshaped", name) : name;
        bl_qdq_reshape(q, raw, shape, own);
        raw = own;
    }
    if (clamps && n->lo == 0 && n->hi == INFINITY) bl_qdq_node(q, "Relu", NULL, &raw, 1, &name, 1);
    else if (clamps) clip_node(q, name, raw, n->lo, n->hi, name);
    q->name[v] = name;
}

static void check_softmax(bl_qdq *q, const bl_node *n)
{
    const bl_quantizer *k = bl_qdq_act(q, n->out[0]);
    if (strcmp(n->op->name, "Softmax") != 0 || !k) return;
    if (k->bits != 8 || k->zero != 0 || k->scale[0] != 1.0f / 256)
        fail(q, n->name, "give its output 8 bits, scale 1/256 and zero 0 in the plan",
             "ONNX Runtime would run this Softmax on another grid than the plan's");
}

/* MatMul with a bias: integers as a Gemm, numbers as MatMul and Add. */
static void biased(bl_qdq *q, int number)
{
    const bl_node *n = &q->graph->nodes[number];
    const bl_quantizer *kw = quantizer_of(q, n->in[1]);
    const char *in[3] = { NULL }, *name = value_name(q, n->out[0]), *raw = bl_qdq_name(q, "%s_float", name);
    bool codes = kw && kw->weight && q->parts[n->in[0]].codes;
    layer_inputs(q, number, in);
    if (codes) in[0] = bl_qdq_rows(q, n->in[0]);
    for (int i = 0; i < 3 && q->status == BL_OK; i++)
        if (!in[i]) in[i] = bl_qdq_read(q, n, n->in[i]);
    if (q->status != BL_OK) return;
    if (codes) {
        bl_qdq_node(q, "Gemm", n->name, in, 3, &raw, 1);
        node_output(q, n, 0, raw, bl_qdq_rows_back(q, n->out[0]));
        return;
    }
    const char *sum = bl_qdq_name(q, "%s_product", name);
    if (!bl_qdq_act(q, n->out[0]) && !bl_node_clamps(n)) raw = name;
    bl_qdq_node(q, "MatMul", n->name, in, 2, &sum, 1);
    bl_qdq_node(q, "Add", NULL, (const char *[]){ sum, in[2] }, 2, &raw, 1);
    node_output(q, n, 0, raw, NULL);
}

static void node(bl_qdq *q, int number)
{
    const bl_node *n = &q->graph->nodes[number];
    if (bl_qdq_is_biased(n)) return biased(q, number);
    const char **in = bl_qdq_alloc(q, (size_t)n->n_in, sizeof *in);
    const char **out = bl_qdq_alloc(q, (size_t)n->n_out, sizeof *out);
    if (!in || !out) return;
    check_softmax(q, n);
    if (bl_qdq_rescaling(q, n)) return;
    if (bl_layer_weight(q->graph, number) >= 0) layer_inputs(q, number, in);
    for (int i = 0; i < n->n_in && q->status == BL_OK; i++)
        if (n->in[i] >= 0 && !in[i]) in[i] = bl_qdq_read(q, n, n->in[i]);
    order_operands(q, n, in);
    for (int i = 0; i < n->n_out; i++) {
        if (n->out[i] < 0) continue;
        bool direct = !bl_qdq_act(q, n->out[i]) && !(i == 0 && bl_node_clamps(n));
        const char *name = value_name(q, n->out[i]);
        out[i] = direct ? name : bl_qdq_name(q, "%s_float", name);
    }
    bl_qdq_copy_node(q, n, in, out);
    for (int i = 0; i < n->n_out && q->status == BL_OK; i++)
        if (n->out[i] >= 0) node_output(q, n, i, i ? out[i] : apart(q, n, out[i]), NULL);
}

/* ------------------------------------------------------------------ the whole */

static void check_quantizer(bl_qdq *q, const bl_quantizer *k)
{
    const char *place = value_name(q, k->value);
    const bl_tensor *t = &q->graph->values[k->value].t;
    if (!bl_quantizer_has_codes(k))
        return fail(q, place, "use affine grids, or another exporter", "a fixed-point quantizer has no QDQ form");
    if ((k->n_table || k->group) && q->options.reduce_range)
        return fail(q, place, "leave out --reduce-range", "codes of codebooks and of groups reach 127");
    if (k->bits < 1 || k->bits > (k->weight ? 8 : 16) || k->n_scale < 1)
        return fail(q, place, "plan it with 1 to 8 bits", "its width has no QDQ form");
    if (k->weight ? k->n_scale > 1 && k->axis < 0 : k->n_scale > 1)
        return fail(q, place, "use one scale a tensor or an output channel",
                    "ONNX Runtime has no integer kernel for these scales");
    if (k->weight && k->axis >= 0 && (k->axis >= t->rank || k->n_scale != t->dim[k->axis]))
        fail(q, place, "make the plan again", "the plan's scales do not fit this weight");
}

/* What carries the model's names keeps them; everything else gets out of its way. */
static void claim_names(bl_qdq *q)
{
    for (int v = 0; v < q->graph->n_values && q->status == BL_OK; v++)
        (void)bl_qdq_name(q, "%s", value_name(q, v));
    for (int i = 0; i < q->graph->n_nodes; i++) bl_qdq_claim_node(q, q->graph->nodes[i].name);
}

/* Inputs and outputs say "N" for the batch where the network runs at any. */
static void find_batch(bl_qdq *q)
{
    bl_graph *other;
    bl_status s = bl_graph_rebatch(q->ctx, q->graph, q->graph->batch + 1, &other);
    if (s == BL_OK) {
        q->free_batch = true;
        bl_qdq_rows_grow(q, other);
        bl_graph_free(other);
    } else if (s != BL_UNAVAILABLE || strstr(bl_last_error(q->ctx).remedy, "--memory")) {
        q->status = s; /* not the network's fault */
    }
}

static void graph_inputs(bl_qdq *q)
{
    for (int i = 0; i < q->graph->n_inputs && q->status == BL_OK; i++) {
        int v = q->graph->inputs[i];
        const bl_value *value = &q->graph->values[v];
        const bl_quantizer *k = bl_qdq_act(q, v);
        bl_qdq_port(q, &q->inputs, value->name, value->t.type, &value->t);
        if (k && value->t.type == BL_F32) {
            bl_grid g = bl_affine_grid(k);
            put_on_grid(q, v, k, value->name, g.lo, g.hi, NULL);
        } else {
            q->name[v] = value->name;
        }
    }
}

static void graph_outputs(bl_qdq *q)
{
    for (int i = 0; i < q->graph->n_outputs && q->status == BL_OK; i++) {
        int v = q->graph->outputs[i];
        const bl_value *value = &q->graph->values[v];
        if (value->t.data && !q->name[v]) (void)plain_constant(q, v);
        if (q->parts[v].codes && !q->name[v]) (void)real_value(q, v);
        bl_qdq_port(q, &q->outputs, value->name, value->t.type, &value->t);
    }
}

/* {"conv1":"W4A8", ...}: by layer, weight and input. */
static const char *bits_text(bl_qdq *q)
{
    json_t *o = json_object();
    for (int i = 0; i < q->graph->n_nodes; i++) {
        int w = bl_layer_weight(q->graph, i);
        const bl_quantizer *kw = quantizer_of(q, w);
        if (!kw) continue;
        const bl_quantizer *kx = bl_qdq_act(q, q->graph->nodes[i].in[0]);
        char name[16];
        bl_candidate_name((bl_candidate){ kw->bits, kx ? kx->bits : 0 }, name);
        json_object_set_new(o, q->graph->nodes[i].name, json_string(name));
    }
    const char *text = bl_json_text(q->arena, o, false);
    json_decref(o);
    if (!text && q->status == BL_OK) q->status = bl_pending(q->ctx);
    return text;
}

static void properties(bl_qdq *q)
{
    const char *seed = bl_format(q->arena, "%llu", (unsigned long long)q->plan->seed);
    bl_qdq_property(q, "bitlathe.tool", "bitlathe");
    bl_qdq_property(q, "bitlathe.version", BL_VERSION_STRING);
    if (!q->plan->n_quantizers) return; /* a float network */
    bl_qdq_property(q, "bitlathe.model", q->graph->hash.hex);
    bl_qdq_property(q, "bitlathe.plan", q->plan->hash.hex);
    bl_qdq_property(q, "bitlathe.seed", seed);
    bl_qdq_property(q, "bitlathe.bits", bits_text(q));
    bl_qdq_property(q, "bitlathe.recipe", q->plan->recipe);
    if (q->options.int4) bl_qdq_property(q, "bitlathe.int4", bl_format(q->arena, "%d", q->n_int4));
    if (q->options.reduce_range) bl_qdq_property(q, "bitlathe.reduce_range", "1");
    if (!seed && q->status == BL_OK) q->status = bl_pending(q->ctx);
}

static bl_status build(bl_qdq *q, const char *path)
{
    const bl_plan *plan = q->plan;
    q->name = bl_qdq_alloc(q, (size_t)q->graph->n_values, sizeof *q->name);
    q->parts = bl_qdq_alloc(q, (size_t)q->graph->n_values, sizeof *q->parts);
    q->rows = bl_qdq_alloc(q, (size_t)q->graph->n_values, sizeof *q->rows);
    q->grows = bl_qdq_alloc(q, (size_t)q->graph->n_values, sizeof *q->grows);
    q->opset = bl_qdq_opset(q->graph);
    for (int i = 0; i < plan->n_quantizers && q->status == BL_OK; i++) {
        check_quantizer(q, &plan->quantizers[i]);
        bool int4 = q->options.int4 && plan->quantizers[i].weight && plan->quantizers[i].bits <= 4;
        if (plan->quantizers[i].bits > 8 || int4) q->opset = BL_MAX(q->opset, 21); /* the first with u16, int4 */
    }
    if (q->status == BL_OK) find_batch(q);
    claim_names(q);
    graph_inputs(q);
    for (int i = 0; i < q->graph->n_nodes && q->status == BL_OK; i++) node(q, i);
    graph_outputs(q);
    bl_qdq_join(q, &q->outputs, &q->more_outputs);
    properties(q);
    if (q->n_int4 && q->status == BL_OK)
        bl_note(q->ctx, "%s: %d weights are INT4: ONNX Runtime computes these layers in float, not in our "
                "integers", path, q->n_int4);
    return bl_qdq_write(q, path);
}

bl_status bl_export_qdq(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan,
                        const bl_weights *weights, const bl_export_options *options,
                        const char *path)
{
    BL_CHECK(ctx, graph->prepared);
    if (plan->graph.hex[0] && strcmp(plan->graph.hex, graph->hash.hex) != 0)
        return bl_fail(ctx, BL_DATA, path, "export with the network that the plan was made for",
                       "the plan is of another network");
    bl_arena *arena = bl_arena_new(ctx, "QDQ export");
    BL_ALLOC_TRY(ctx, arena);
    bl_qdq q = { .ctx = ctx, .arena = arena, .graph = graph, .plan = plan, .weights = weights };
    if (options) q.options = *options;
    bl_status status = build(&q, path);
    bl_arena_free(arena);
    return status;
}

bl_status bl_write_onnx(bl_ctx *ctx, const bl_graph *graph, const char *path)
{
    bl_plan *none = bl_plan_alloc(ctx, graph, 0, 0);
    bl_arena *arena = bl_arena_new(ctx, "ONNX file");
    bl_status status = none && arena ? BL_OK : bl_pending(ctx);

    if (status == BL_OK) {
        bl_qdq q = { .ctx = ctx, .arena = arena, .graph = graph, .plan = none };
        status = build(&q, path);
    }
    bl_arena_free(arena);
    bl_plan_free(none);
    return status;
}
