/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Functions of one number.  The unary facet is the definition: double in, double out, the caller
 * rounds to binary32 [Q9].  HardSigmoid, HardSwish and LeakyRelu are defined by binary32 steps
 * [Q11] and evaluate those.  A NaN stays a NaN.
 */
#include "ops/ops_private.h"

/* ------------------------------------------------------------------ the functions */

static double relu_unary(const bl_node *node, double x)
{
    (void)node;
    return x < 0 ? 0 : x;
}

static double abs_unary(const bl_node *node, double x)
{
    (void)node;
    return fabs(x);
}

static double ceil_unary(const bl_node *node, double x)
{
    (void)node;
    return ceil(x);
}

static double floor_unary(const bl_node *node, double x)
{
    (void)node;
    return floor(x);
}

static double round_unary(const bl_node *node, double x)
{
    (void)node;
    return nearbyint(x); /* ties to even */
}

static double neg_unary(const bl_node *node, double x)
{
    (void)node;
    return -x;
}

static double sign_unary(const bl_node *node, double x)
{
    (void)node;
    return x > 0 ? 1 : x < 0 ? -1 : x;
}

static double sqrt_unary(const bl_node *node, double x)
{
    (void)node;
    return sqrt(x);
}

static double reciprocal_unary(const bl_node *node, double x)
{
    (void)node;
    return 1.0 / x;
}

static double exp_unary(const bl_node *node, double x)
{
    (void)node;
    return exp(x);
}

static double log_unary(const bl_node *node, double x)
{
    (void)node;
    return log(x);
}

static double sin_unary(const bl_node *node, double x)
{
    (void)node;
    return sin(x);
}

static double cos_unary(const bl_node *node, double x)
{
    (void)node;
    return cos(x);
}

static double erf_unary(const bl_node *node, double x)
{
    (void)node;
    return erf(x);
}

static double tanh_unary(const bl_node *node, double x)
{
    (void)node;
    return tanh(x);
}

static double sigmoid_unary(const bl_node *node, double x)
{
    (void)node;
    return 1.0 / (1.0 + exp(-x));
}

static double swish_unary(const bl_node *node, double x)
{
    return x / (1.0 + exp(-(double)bl_attr_float(node, "alpha", 1.0f) * x));
}

static double softplus_unary(const bl_node *node, double x)
{
    (void)node;
    return x > 0 ? x + log1p(exp(-x)) : log1p(exp(x));
}

static double softsign_unary(const bl_node *node, double x)
{
    (void)node;
    return x / (1.0 + fabs(x));
}

static double elu_unary(const bl_node *node, double x)
{
    return x < 0 ? (double)bl_attr_float(node, "alpha", 1.0f) * expm1(x) : x;
}

static double selu_unary(const bl_node *node, double x)
{
    double alpha = bl_attr_float(node, "alpha", 1.67326319217681884765625f);
    double gamma = bl_attr_float(node, "gamma", 1.05070102214813232421875f);
    return gamma * (x <= 0 ? alpha * expm1(x) : x);
}

static double thresholded_relu_unary(const bl_node *node, double x)
{
    return x <= (double)bl_attr_float(node, "alpha", 1.0f) ? 0 : x;
}

static double acos_unary(const bl_node *node, double x)
{
    (void)node;
    return acos(x);
}

static double acosh_unary(const bl_node *node, double x)
{
    (void)node;
    return acosh(x);
}

static double asin_unary(const bl_node *node, double x)
{
    (void)node;
    return asin(x);
}

static double asinh_unary(const bl_node *node, double x)
{
    (void)node;
    return asinh(x);
}

static double atan_unary(const bl_node *node, double x)
{
    (void)node;
    return atan(x);
}

static double atanh_unary(const bl_node *node, double x)
{
    (void)node;
    return atanh(x);
}

static double cosh_unary(const bl_node *node, double x)
{
    (void)node;
    return cosh(x);
}

static double sinh_unary(const bl_node *node, double x)
{
    (void)node;
    return sinh(x);
}

static double tan_unary(const bl_node *node, double x)
{
    (void)node;
    return tan(x);
}

static double celu_unary(const bl_node *node, double x)
{
    double alpha = bl_attr_float(node, "alpha", 1.0f);
    return x < 0 ? alpha * expm1(x / alpha) : x;
}

static double shrink_unary(const bl_node *node, double x)
{
    double bias = bl_attr_float(node, "bias", 0.0f), lambd = bl_attr_float(node, "lambd", 0.5f);
    return x < -lambd ? x + bias : x > lambd ? x - bias : x != x ? x : 0;
}

static double gelu_unary(const bl_node *node, double x)
{
    if (strcmp(bl_attr_string(node, "approximate", "none"), "tanh") == 0)
        return 0.5 * x * (1.0 + tanh(sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
    return 0.5 * x * (1.0 + erf(x * M_SQRT1_2));
}

static double mish_unary(const bl_node *node, double x)
{
    return x * tanh(softplus_unary(node, x));
}

static double leaky_relu_unary(const bl_node *node, double x)
{
    float v = (float)x;
    return v < 0 ? bl_attr_float(node, "alpha", 0.01f) * v : v;
}

static float hard_sigmoid(float x, float alpha, float beta)
{
    float t = alpha * x;
    t = t + beta;
    t = t < 0.0f ? 0.0f : t;
    return t > 1.0f ? 1.0f : t;
}

static double hard_sigmoid_unary(const bl_node *node, double x)
{
    return hard_sigmoid((float)x, bl_attr_float(node, "alpha", 0.2f),
                        bl_attr_float(node, "beta", 0.5f));
}

static double hard_swish_unary(const bl_node *node, double x)
{
    float v = (float)x;
    (void)node;
    return v * hard_sigmoid(v, 1.0f / 6.0f, 0.5f);
}

/* ------------------------------------------------------------------ facets */

static bl_status unary_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, "alpha:f approximate:s beta:f bias:f gamma:f lambd:f"));
    BL_TRY(bl_op_type(call, 0, BL_BIT(BL_F32) | BL_BIT(BL_F64)));
    return bl_op_like(call);
}

/* Relu, Abs, Neg and Sign know integers too (their opsets 13, 14). */
static bl_status unary_number_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_T_NUMBERS));
    return bl_op_like(call);
}

static bl_status unary_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    double (*f)(const bl_node *, double) = call->node->op->unary;
    int64_t n = bl_tensor_count(x);

    for (int64_t i = 0; i < n; i++) {
        if (x->type == BL_F32)
            ((float *)call->out[0].data)[i] = (float)f(call->node, ((const float *)x->data)[i]);
        else
            ((double *)call->out[0].data)[i] = f(call->node, ((const double *)x->data)[i]);
    }
    return BL_OK;
}

/* Small magnitudes only matter to shape chains; int64 beyond 2^53 would lose digits in a double, so
 * the sign is handled in integers. */
static bl_status unary_number_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    int64_t n = bl_tensor_count(x);
    size_t size = bl_dtype_bytes(x->type);

    if (x->type == BL_F32 || x->type == BL_F64) return unary_forward(call);
    for (int64_t i = 0; i < n; i++) {
        bool unsigned64 = x->type == BL_U64;
        int64_t v = bl_element_i64(x, i);
        bool negative = v < 0 && !unsigned64;
        uint64_t flip = (uint64_t)0 - (uint64_t)v, r = (uint64_t)v;
        if (call->node->op->unary == relu_unary)
            r = negative ? 0 : r;
        else if (call->node->op->unary == abs_unary)
            r = negative ? flip : r;
        else if (call->node->op->unary == neg_unary)
            r = flip;
        else
            r = negative ? (uint64_t)-1 : v != 0;
        memcpy((char *)call->out[0].data + (size_t)i * size, &r, size); /* little endian */
    }
    return BL_OK;
}

static bl_status relu_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data;
    int64_t n = bl_tensor_count(call->in[0]);

    if (call->in[0]->type != BL_F32) return unary_number_forward(call);
    for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0.0f ? 0.0f : x[i];
    return BL_OK;
}

static bl_status leaky_relu_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data, alpha = bl_attr_float(call->node, "alpha", 0.01f);
    int64_t n = bl_tensor_count(call->in[0]);

    for (int64_t i = 0; i < n; i++) y[i] = x[i] < 0.0f ? alpha * x[i] : x[i];
    return BL_OK;
}

static bl_status hard_sigmoid_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data, alpha = bl_attr_float(call->node, "alpha", 0.2f);
    float beta = bl_attr_float(call->node, "beta", 0.5f);
    int64_t n = bl_tensor_count(call->in[0]);

    for (int64_t i = 0; i < n; i++) y[i] = hard_sigmoid(x[i], alpha, beta);
    return BL_OK;
}

static bl_status hard_swish_forward(const bl_call *call)
{
    const float *x = call->in[0]->data;
    float *y = call->out[0].data;
    int64_t n = bl_tensor_count(call->in[0]);

    for (int64_t i = 0; i < n; i++) y[i] = x[i] * hard_sigmoid(x[i], 1.0f / 6.0f, 0.5f);
    return BL_OK;
}

static bl_status unary_float_shape(const bl_call *call)
{
    BL_TRY(unary_shape(call));
    return bl_op_type(call, 0, BL_T_F32);
}

/* ------------------------------------------------------------------ Clip */

/* Bounds are attributes before opset 11 and inputs since. */
static bl_status clip_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, "min:f max:f"));
    BL_TRY(bl_op_one_type(call, BL_T_NUMBERS));
    if (call->node->opset < 11 && call->n_in > 1)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "bounds are attributes before opset 11");
    for (int i = 1; i < call->n_in; i++)
        if (call->in[i] && bl_tensor_count(call->in[i]) != 1)
            return bl_op_fail(call, BL_DATA, "repair the model", "bound %d is not one number",
                              i - 1);
    return bl_op_like(call);
}

static bl_status clip_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    const bl_tensor *lo = bl_op_has(call, 1) ? call->in[1] : NULL;
    const bl_tensor *hi = bl_op_has(call, 2) ? call->in[2] : NULL;
    size_t size = bl_dtype_bytes(x->type);
    int64_t n = bl_tensor_count(x);

    if (x->type == BL_F32) {
        float least = lo ? *(const float *)lo->data : bl_attr_float(call->node, "min", -INFINITY);
        float most = hi ? *(const float *)hi->data : bl_attr_float(call->node, "max", INFINITY);
        const float *from = x->data;
        float *to = call->out[0].data;
        for (int64_t i = 0; i < n; i++) {
            float v = from[i] < least ? least : from[i];
            to[i] = v > most ? most : v;
        }
        return BL_OK;
    }
    for (int64_t i = 0; i < n; i++) { /* min(max(x, lo), hi): which of three elements is copied */
        const char *pick = (const char *)x->data + (size_t)i * size;
        bool real = x->type == BL_F64, big = x->type == BL_U64;
        bl_tensor v = {.type = x->type, .data = (void *)pick};
        if (lo && (real  ? bl_element_f64(&v, 0) < bl_element_f64(lo, 0)
                   : big ? (uint64_t)bl_element_i64(&v, 0) < (uint64_t)bl_element_i64(lo, 0)
                         : bl_element_i64(&v, 0) < bl_element_i64(lo, 0)))
            v.data = lo->data;
        if (hi && (real  ? bl_element_f64(&v, 0) > bl_element_f64(hi, 0)
                   : big ? (uint64_t)bl_element_i64(&v, 0) > (uint64_t)bl_element_i64(hi, 0)
                         : bl_element_i64(&v, 0) > bl_element_i64(hi, 0)))
            v.data = hi->data;
        memcpy((char *)call->out[0].data + (size_t)i * size, v.data, size);
    }
    return BL_OK;
}

/* Bounds that are inputs are out of this facet's sight: since opset 11 they count only once a pass
 * has put them into lo and hi of the node. */
static double clip_unary(const bl_node *node, double x)
{
    double lo = bl_attr_float(node, "min", -INFINITY), hi = bl_attr_float(node, "max", INFINITY);

    lo = BL_MAX(lo, (double)node->lo);
    hi = BL_MIN(hi, (double)node->hi);
    x = x < lo ? lo : x;
    return x > hi ? hi : x;
}

/* ------------------------------------------------------------------ rows */

#define UNARY(title, symbol, checks, runs)                                                         \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = BL_OP_UNARY | BL_OP_POINTWISE,                                                    \
        .min_opset = 1,                                                                            \
        .in_min = 1,                                                                               \
        .in_max = 1,                                                                               \
        .out_max = 1,                                                                              \
        .shape = checks,                                                                           \
        .forward = runs,                                                                           \
        .unary = symbol##_unary,                                                                   \
        .slope = bl_slope_##symbol,                                                                \
        .gradient = bl_unary_gradient,                                                             \
        .integer = bl_unary_integer,                                                               \
    }

UNARY("Abs", abs, unary_number_shape, unary_number_forward);
UNARY("Acos", acos, unary_shape, unary_forward);
UNARY("Acosh", acosh, unary_shape, unary_forward);
UNARY("Asin", asin, unary_shape, unary_forward);
UNARY("Asinh", asinh, unary_shape, unary_forward);
UNARY("Atan", atan, unary_shape, unary_forward);
UNARY("Atanh", atanh, unary_shape, unary_forward);
UNARY("Ceil", ceil, unary_shape, unary_forward);
UNARY("Celu", celu, unary_shape, unary_forward);
UNARY("Cos", cos, unary_shape, unary_forward);
UNARY("Cosh", cosh, unary_shape, unary_forward);
UNARY("Elu", elu, unary_shape, unary_forward);
UNARY("Erf", erf, unary_shape, unary_forward);
UNARY("Exp", exp, unary_shape, unary_forward);
UNARY("Floor", floor, unary_shape, unary_forward);
UNARY("Gelu", gelu, unary_shape, unary_forward);
UNARY("HardSigmoid", hard_sigmoid, unary_float_shape, hard_sigmoid_forward);
UNARY("HardSwish", hard_swish, unary_float_shape, hard_swish_forward);
UNARY("LeakyRelu", leaky_relu, unary_float_shape, leaky_relu_forward);
UNARY("Log", log, unary_shape, unary_forward);
UNARY("Mish", mish, unary_shape, unary_forward);
UNARY("Neg", neg, unary_number_shape, unary_number_forward);
UNARY("Reciprocal", reciprocal, unary_shape, unary_forward);
UNARY("Relu", relu, unary_number_shape, relu_forward);
UNARY("Round", round, unary_shape, unary_forward);
UNARY("Selu", selu, unary_shape, unary_forward);
UNARY("Shrink", shrink, unary_shape, unary_forward);
UNARY("Sigmoid", sigmoid, unary_shape, unary_forward);
UNARY("Sign", sign, unary_number_shape, unary_number_forward);
UNARY("Sin", sin, unary_shape, unary_forward);
UNARY("Sinh", sinh, unary_shape, unary_forward);
UNARY("Softplus", softplus, unary_shape, unary_forward);
UNARY("Softsign", softsign, unary_shape, unary_forward);
UNARY("Sqrt", sqrt, unary_shape, unary_forward);
UNARY("Swish", swish, unary_shape, unary_forward);
UNARY("Tan", tan, unary_shape, unary_forward);
UNARY("Tanh", tanh, unary_shape, unary_forward);
UNARY("ThresholdedRelu", thresholded_relu, unary_shape, unary_forward);

const bl_op bl_op_clip = {
    .name = "Clip",
    .flags = BL_OP_UNARY | BL_OP_POINTWISE,
    .min_opset = 1,
    .in_min = 1,
    .in_max = 3,
    .out_max = 1,
    .shape = clip_shape,
    .forward = clip_forward,
    .unary = clip_unary,
    .gradient = bl_clip_gradient,
    .integer = bl_clip_integer,
};
