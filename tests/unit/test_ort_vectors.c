/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The 26 vectors that ONNX Runtime produced (ort_quant_vectors.json among the shared data), through
 * every row that runs here, to the bit.  ORT's tensors are NCHW and may be signed; here they become
 * NHWC, and signed activations become unsigned: code and zero point raised by 128, which changes no
 * real number.  Scales come from their bits.
 */
#include "test_kernels_rows.h"

enum { MOST = 8192 };

/* A tensor of the file: integers (raised to unsigned when signed and `raise`) in NHWC, or reals. */
typedef struct vector {
    int rank;
    int64_t dim[4];
    size_t n;
    int32_t codes[MOST]; /* NHWC for rank 4 */
    float reals[MOST];
    bool is_signed;
} vector;

typedef struct ort_case {
    const json_t *json;
    const char *name;
} ort_case;

static float real_of(const json_t *bits)
{
    return float_of_bits((uint32_t)strtoul(json_string_value(bits), NULL, 16));
}

/* Place in NHWC of the i-th element in NCHW. */
static size_t nhwc_place(const vector *v, size_t i)
{
    if (v->rank != 4) return i;
    size_t c = (size_t)v->dim[1], pixels = (size_t)(v->dim[2] * v->dim[3]);
    return (i / (c * pixels) * pixels + i % pixels) * c + i / pixels % c;
}

static void read_vector(const json_t *t, bool raise, vector *v)
{
    const char *type = json_string_value(json_object_get(t, "type"));
    const json_t *shape = json_object_get(t, "shape"), *data = json_object_get(t, "data");
    const json_t *bits = json_object_get(t, "bits");
    memset(v, 0, sizeof *v);
    v->rank = (int)json_array_size(shape);
    v->n = json_array_size(data ? data : bits);
    assert_true(v->rank <= 4 && v->n > 0 && v->n <= MOST);
    for (int d = 0; d < v->rank; d++)
        v->dim[d] = json_integer_value(json_array_get(shape, (size_t)d));
    v->is_signed = strcmp(type, "int8") == 0;
    for (size_t i = 0; i < v->n; i++) {
        size_t to = nhwc_place(v, i);
        if (data)
            v->codes[to] = (int32_t)json_integer_value(json_array_get(data, i)) +
                           (v->is_signed && raise ? 128 : 0);
        else
            v->reals[to] = real_of(json_array_get(bits, i));
    }
}

static vector *input(const ort_case *c, const char *name, bool raise)
{
    const json_t *t = json_object_get(json_object_get(c->json, "inputs"), name);
    if (!t) return NULL;
    vector *v = malloc(sizeof *v);
    assert_non_null(v);
    read_vector(t, raise, v);
    return v;
}

static vector *expected(const ort_case *c)
{
    vector *v = malloc(sizeof *v);
    assert_non_null(v);
    read_vector(json_object_get(c->json, "expected"), true, v);
    return v;
}

/* Codes in their container of 8 bits. */
static uint8_t *bytes_of(const vector *v)
{
    uint8_t *b = test_take(v->n);
    for (size_t i = 0; i < v->n; i++) {
        assert_in_range(v->codes[i], 0, 255);
        b[i] = (uint8_t)v->codes[i];
    }
    return b;
}

/* scale and zero point `prefix_scale`, `prefix_zp`, entry i of a list or its only one. */
static bl_grid grid_of(const ort_case *c, const char *prefix, size_t i, bool is_signed)
{
    char key[32];
    const json_t *params = json_object_get(c->json, "params");
    snprintf(key, sizeof key, "%s%s", prefix, *prefix ? "_scale" : "scale");
    const json_t *bits = json_object_get(json_object_get(params, key), "bits");
    snprintf(key, sizeof key, "%s%s", prefix, *prefix ? "_zp" : "zero_point");
    const json_t *zero = json_object_get(params, key);
    assert_true(json_array_size(bits) > 0 && json_array_size(zero) > 0);
    size_t of_scale = json_array_size(bits) > 1 ? i : 0,
           of_zero = json_array_size(zero) > 1 ? i : 0;
    int32_t z = (int32_t)json_integer_value(json_array_get(zero, of_zero));
    return (bl_grid){real_of(json_array_get(bits, of_scale)), z + (is_signed ? 128 : 0), 0, 255};
}

static int32_t attribute(const ort_case *c, const char *name, size_t i, int32_t otherwise)
{
    const json_t *a = json_object_get(json_object_get(c->json, "attributes"), name);
    if (json_is_array(a)) a = json_array_get(a, i);
    return a ? (int32_t)json_integer_value(a) : otherwise;
}

/* ---- one function for each operator */

static void run_quantize(const ort_case *c)
{
    vector *x = input(c, "x", true), *y = expected(c);
    uint8_t *wanted = bytes_of(y);
    bl_edge_args a = {.in = x->reals,
                      .bits = 8,
                      .rank = 1,
                      .size = {(int64_t)x->n},
                      .in_stride = {1},
                      .out_stride = {1},
                      .g = grid_of(c, "", 0, y->is_signed)};
    EVERY_ROW(BL_C_QUANTIZE, bl_edge_row, a, x->n, 1, wanted);
    free(wanted);
    free(x);
    free(y);
}

/*
 * Convolution from codes in [out_c][taps][in_c/groups] that may hold weights minus their zero
 * point beyond s8 (u8 weights with zero point 121: -121..134).  Then every input channel is given
 * twice and w = (w >> 1) + (w - (w >> 1)) is shared between the two, -61..67 each: the same
 * accumulator.
 */
static void run_conv(const ort_case *c, bl_conv_args a, const vector *x, const int32_t *w,
                     const vector *bias, const vector *y)
{
    const bl_conv_shape *s = &a.s;
    size_t oc = (size_t)s->out_c, icg = (size_t)(s->in_c / s->groups);
    size_t k = (size_t)s->kernel_h * (size_t)s->kernel_w * icg;
    bool wide = false;
    for (size_t i = 0; i < oc * k; i++) wide = wide || w[i] < -128 || w[i] > 127;
    if (wide) assert_int_equal(s->groups, 1);
    size_t copies = wide ? 2 : 1;
    uint8_t *in = test_take(x->n * copies), *wanted = bytes_of(y);
    int8_t *codes = test_take(oc * k * copies);
    for (size_t i = 0; i < x->n; i++)
        for (size_t j = 0; j < copies; j++) in[i * copies + j] = (uint8_t)x->codes[i];
    for (size_t i = 0; i < oc * k; i++) {
        int32_t half = w[i] >> 1;
        codes[i * copies] = (int8_t)(wide ? half : w[i]);
        if (wide) codes[i * copies + 1] = (int8_t)(w[i] - half);
    }
    a.s.in_c *= (int32_t)copies;
    float *mult = test_take(oc * sizeof(float));
    int32_t *b = test_take(oc * sizeof(int32_t));
    bl_grid gx = grid_of(c, "x", 0, x->is_signed), gy = grid_of(c, "y", 0, y->is_signed);
    for (size_t i = 0; i < oc; i++) {
        mult[i] = gx.scale * grid_of(c, "w", i, false).scale / gy.scale;
        b[i] = bias ? bias->codes[i] : 0;
    }
    a.in = in;
    a.mult = mult;
    a.bias = b;
    a.zero_in = gx.zero;
    a.zero_out = gy.zero;
    a.hi = 255;
    conv_every_row(a, codes, wanted);
    free(in);
    free(wanted);
    free(codes);
    free(mult);
    free(b);
}

static void run_qlinear_conv(const ort_case *c)
{
    vector *x = input(c, "x", true), *w = input(c, "w", false), *b = input(c, "b", false);
    vector *y = expected(c);
    bl_conv_args a = {0};
    /* NHWC of [O][I][H][W] is [O][H][W][I]: the canonical order. */
    a.s = (bl_conv_shape){
        .in_h = (int32_t)x->dim[2],
        .in_w = (int32_t)x->dim[3],
        .in_c = (int32_t)x->dim[1],
        .out_h = (int32_t)y->dim[2],
        .out_w = (int32_t)y->dim[3],
        .out_c = (int32_t)y->dim[1],
        .groups = attribute(c, "group", 0, 1),
        .kernel_h = (int32_t)w->dim[2],
        .kernel_w = (int32_t)w->dim[3],
        .stride_h = attribute(c, "strides", 0, 1),
        .stride_w = attribute(c, "strides", 1, 1),
        .dilation_h = attribute(c, "dilations", 0, 1),
        .dilation_w = attribute(c, "dilations", 1, 1),
        .pad_top = attribute(c, "pads", 0, 0),
        .pad_left = attribute(c, "pads", 1, 0),
        .in_bits = 8,
        .out_bits = 8,
        .weight_bits = 8,
    };
    size_t k = w->n / (size_t)w->dim[0];
    for (size_t i = 0; i < w->n; i++) w->codes[i] -= grid_of(c, "w", i / k, false).zero;
    run_conv(c, a, x, w->codes, b, y);
    free(x);
    free(w);
    free(b);
    free(y);
}

/* [M, K] times [K, N] as a 1x1 convolution on M rows of one pixel. */
static void run_matmul(const ort_case *c)
{
    vector *x = input(c, "x", true), *w = input(c, "w", false), *b = input(c, "b", false);
    vector *y = expected(c);
    bl_conv_args a = {0};
    a.s = (bl_conv_shape){.in_h = (int32_t)x->dim[0],
                          .in_w = 1,
                          .in_c = (int32_t)x->dim[1],
                          .out_h = (int32_t)x->dim[0],
                          .out_w = 1,
                          .out_c = (int32_t)w->dim[1],
                          .groups = 1,
                          .kernel_h = 1,
                          .kernel_w = 1,
                          .stride_h = 1,
                          .stride_w = 1,
                          .dilation_h = 1,
                          .dilation_w = 1,
                          .in_bits = 8,
                          .out_bits = 8,
                          .weight_bits = 8};
    size_t k = (size_t)w->dim[0], n = (size_t)w->dim[1];
    int32_t *turned = test_take(w->n * sizeof(int32_t));
    for (size_t i = 0; i < w->n; i++)
        turned[i % n * k + i / n] = w->codes[i] - grid_of(c, "w", i % n, false).zero;
    run_conv(c, a, x, turned, b, y);
    free(turned);
    free(x);
    free(w);
    free(b);
    free(y);
}

/*
 * Add of signed tensors: [Q5] multiplies raw codes, so that raising them by 128 changes what is
 * rounded, though no real number.  The rule itself on signed codes gives ORT's integers; rows,
 * which see unsigned codes only, stay within one step of them.
 */
static void run_signed_add(const ort_case *c)
{
    vector *va = input(c, "a", false), *vb = input(c, "b", false), *y = expected(c);
    bl_grid ga = grid_of(c, "a", 0, false), gb = grid_of(c, "b", 0, false),
            gy = grid_of(c, "y", 0, false);
    float ra = ga.scale / gy.scale, rb = gb.scale / gy.scale;
    float f = (float)gy.zero - fmaf(ra, (float)ga.zero, rb * (float)gb.zero);
    uint8_t *raised_a = test_take(y->n), *raised_b = test_take(y->n), *out = test_take(y->n);
    for (size_t i = 0; i < y->n; i++) {
        float t = fmaf((float)va->codes[i], ra, fmaf((float)vb->codes[i], rb, f));
        int32_t q = (int32_t)rintf(fminf(fmaxf(t, -128), 127));
        assert_int_equal(q + 128, y->codes[i]);
        raised_a[i] = (uint8_t)(va->codes[i] + 128);
        raised_b[i] = (uint8_t)(vb->codes[i] + 128);
    }
    int64_t n = (int64_t)y->n;
    bl_pair_args a = {.a = raised_a,
                      .b = raised_b,
                      .out = out,
                      .a_bits = 8,
                      .b_bits = 8,
                      .out_bits = 8,
                      .rank = 1,
                      .size = {n},
                      .a_stride = {1},
                      .b_stride = {1},
                      .out_stride = {1},
                      .ga = grid_of(c, "a", 0, true),
                      .gb = grid_of(c, "b", 0, true),
                      .gy = grid_of(c, "y", 0, true),
                      .outer_end = n};
    for (size_t i = 0; i < bl_n_kernels; i++) {
        if (!row_usable(i, BL_C_ADD, &a)) continue;
        ((const bl_pair_row *)bl_kernels[i].row)->run(&a);
        size_t different = 0;
        for (size_t j = 0; j < y->n; j++) {
            assert_true(abs(out[j] - y->codes[j]) <= 1);
            different += out[j] != y->codes[j];
        }
        assert_int_equal(different, 4); /* of 256 values chosen to be sensitive */
    }
    free(raised_a);
    free(raised_b);
    free(out);
    free(va);
    free(vb);
    free(y);
}

static void run_pair(const ort_case *c, bl_contract contract)
{
    vector *va = input(c, "a", true), *vb = input(c, "b", true), *y = expected(c);
    uint8_t *a_codes = bytes_of(va), *b_codes = bytes_of(vb), *wanted = bytes_of(y);
    bl_pair_args a = {
        .a = a_codes, .b = b_codes, .a_bits = 8, .b_bits = 8, .out_bits = 8, .rank = 2};
    int64_t inner = y->rank == 4 ? y->dim[1] : y->dim[y->rank - 1];
    a.size[0] = a.outer_end = (int64_t)y->n / inner;
    a.size[1] = inner;
    a.a_stride[0] = a.out_stride[0] = inner;
    a.b_stride[0] = vb->n == y->n ? inner : 0; /* [N,C,1,1] is one pixel for all */
    a.a_stride[1] = a.b_stride[1] = a.out_stride[1] = 1;
    a.ga = grid_of(c, "a", 0, va->is_signed);
    a.gb = grid_of(c, "b", 0, vb->is_signed);
    a.gy = grid_of(c, "y", 0, y->is_signed);
    EVERY_ROW(contract, bl_pair_row, a, y->n, 1, wanted);
    free(a_codes);
    free(b_codes);
    free(wanted);
    free(va);
    free(vb);
    free(y);
}

static void run_pool(const ort_case *c, bl_contract contract)
{
    vector *x = input(c, "x", true), *y = expected(c);
    uint8_t *in = bytes_of(x), *wanted = bytes_of(y);
    bl_pool_args a = {
        .in = in,
        .bits_in = 8,
        .bits_out = 8,
        .in_h = (int32_t)x->dim[2],
        .in_w = (int32_t)x->dim[3],
        .c = (int32_t)x->dim[1],
        .out_h = (int32_t)y->dim[2],
        .out_w = (int32_t)y->dim[3],
        .kernel_h = attribute(c, "kernel_shape", 0, 1),
        .kernel_w = attribute(c, "kernel_shape", 1, 1),
        .stride_h = attribute(c, "strides", 0, 1),
        .stride_w = attribute(c, "strides", 1, 1),
        .dilation_h = 1,
        .dilation_w = 1,
        .pad_top = attribute(c, "pads", 0, 0),
        .pad_left = attribute(c, "pads", 1, 0),
        .count_include_pad = attribute(c, "count_include_pad", 0, 0),
        .gy = {1, 0, 0, 255},
        .row_end = (int32_t)y->dim[2],
    };
    if (contract != BL_C_MAXPOOL) {
        a.gx = grid_of(c, "x", 0, x->is_signed);
        a.gy = grid_of(c, "y", 0, y->is_signed);
    }
    EVERY_ROW(contract, bl_pool_row, a, y->n, 1, wanted);
    free(in);
    free(wanted);
    free(x);
    free(y);
}

/* ---- functions of one tensor: tables [Q9] [Q11] */

static float sigmoid(float x, float alpha, float beta)
{
    (void)alpha;
    (void)beta;
    return (float)(1 / (1 + exp(-(double)x)));
}

static float leaky_relu(float x, float alpha, float beta)
{
    (void)beta;
    return x < 0 ? alpha * x : x;
}

static float hard_sigmoid(float x, float alpha, float beta)
{
    float t = alpha * x;
    return fminf(1, fmaxf(0, t + beta));
}

static float hard_swish(float x, float alpha, float beta)
{
    (void)alpha;
    (void)beta;
    return x * hard_sigmoid(x, (float)(1.0 / 6), 0.5f);
}

static float same(float x, float alpha, float beta)
{
    (void)alpha;
    (void)beta;
    return x;
}

typedef float unary_fn(float x, float alpha, float beta);

static void make_table(const ort_case *c, unary_fn *g, bl_grid from, bl_grid to, uint8_t *table)
{
    const json_t *attributes = json_object_get(c->json, "attributes");
    float alpha = (float)json_number_value(json_object_get(attributes, "alpha"));
    float beta = (float)json_number_value(json_object_get(attributes, "beta"));
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)bl_quantize(g(bl_dequantize(i, from), alpha, beta), to);
}

static void run_unary(const ort_case *c, unary_fn *g)
{
    vector *x = input(c, "x", true), *y = expected(c);
    uint8_t table[256], *in = bytes_of(x), *wanted = bytes_of(y);
    make_table(c, g, grid_of(c, "x", 0, x->is_signed), grid_of(c, "y", 0, y->is_signed), table);
    bl_table_args a = {.in = in, .in_bits = 8, .out_bits = 8, .table = table, .n = (int64_t)x->n};
    EVERY_ROW(BL_C_TABLE, bl_table_row, a, x->n, 1, wanted);
    free(in);
    free(wanted);
    free(x);
    free(y);
}

/* Parts of a Concat along channels: each moved through its rescaling table to its place. */
static void run_concat(const ort_case *c)
{
    static const char *const names[2] = {"a", "b"};
    vector *y = expected(c);
    uint8_t *wanted = bytes_of(y), *whole = test_take(y->n);
    assert_int_equal(attribute(c, "axis", 0, 0), 1);
    for (size_t row = 0; row < bl_n_kernels; row++) {
        int64_t channel = 0;
        bool fits = true;
        if (bl_kernels[row].contract != BL_C_MOVE || !bl_isa_here(bl_kernels[row].isa)) continue;
        for (int part = 0; part < 2; part++) {
            vector *x = input(c, names[part], true);
            uint8_t table[256], *in = bytes_of(x);
            make_table(c, same, grid_of(c, names[part], 0, x->is_signed),
                       grid_of(c, "y", 0, y->is_signed), table);
            bl_move_args a = {.in = in,
                              .out = whole + channel,
                              .in_bits = 8,
                              .out_bits = 8,
                              .rank = 2,
                              .size = {x->dim[2] * x->dim[3], x->dim[1]},
                              .in_stride = {x->dim[1], 1},
                              .out_stride = {y->dim[1], 1},
                              .table = table};
            const bl_move_row *r = bl_kernels[row].row;
            fits = fits && r->fits(&a);
            if (fits) r->run(&a);
            channel += x->dim[1];
            free(in);
            free(x);
        }
        if (fits) compare_codes(bl_kernels[row].name, whole, wanted, y->n, 1);
    }
    free(wanted);
    free(whole);
    free(y);
}

static bool is_signed(const ort_case *c, const char *name)
{
    const json_t *t = json_object_get(json_object_get(c->json, "inputs"), name);
    return strcmp(json_string_value(json_object_get(t, "type")), "int8") == 0;
}

static bool run_case(const ort_case *c, const char *op)
{
#define IS(name) (strcmp(op, name) == 0 || strcmp(op, "com.microsoft." name) == 0)
    if (IS("QuantizeLinear"))
        run_quantize(c);
    else if (IS("QLinearConv"))
        run_qlinear_conv(c);
    else if (IS("QLinearMatMul") || IS("QGemm"))
        run_matmul(c);
    else if (IS("QLinearAdd") && is_signed(c, "a"))
        run_signed_add(c);
    else if (IS("QLinearAdd"))
        run_pair(c, BL_C_ADD);
    else if (IS("QLinearMul"))
        run_pair(c, BL_C_MUL);
    else if (IS("QLinearGlobalAveragePool"))
        run_pool(c, BL_C_GAP);
    else if (IS("QLinearAveragePool"))
        run_pool(c, BL_C_AVGPOOL);
    else if (IS("MaxPool"))
        run_pool(c, BL_C_MAXPOOL);
    else if (IS("QLinearConcat"))
        run_concat(c);
    else if (IS("QLinearSigmoid"))
        run_unary(c, sigmoid);
    else if (IS("QLinearLeakyRelu"))
        run_unary(c, leaky_relu);
    else if (IS("DQ-HardSigmoid-Q"))
        run_unary(c, hard_sigmoid);
    else if (IS("DQ-HardSwish-Q"))
        run_unary(c, hard_swish);
    else
        return false;
#undef IS
    return true;
}

static void test_every_case(void **state)
{
    (void)state;
    char path[512];
    test_shared("data/golden/ort_quant_vectors.json", path);
    bl_ctx *ctx = test_ctx(1, 0);
    json_t *file = NULL;
    assert_ok(ctx, bl_json_read(ctx, path, &file));
    const json_t *cases = json_object_get(file, "cases"), *item;
    size_t i;
    assert_int_equal(json_array_size(cases), 26);
    json_array_foreach(cases, i, item)
    {
        ort_case c = {item, json_string_value(json_object_get(item, "name"))};
        const char *op = json_string_value(json_object_get(item, "op"));
        print_message("    %s\n", c.name); /* the one that fails is the last one named */
        if (!run_case(&c, op)) fail_msg("%s: nothing here runs %s", c.name, op);
    }
    json_decref(file);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_case)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
