/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Slopes of the functions of one number, x in and f'(x) out, in double.  At a kink the slope from
 * above zero is not taken: Relu and its like have slope 0 at 0, as training frameworks do.
 */
#include "ops/ops_private.h"

#define SLOPE(symbol, expr)                                                                        \
    double bl_slope_##symbol(const bl_node *node, double x)                                    \
    {                                                                                              \
        (void)node, (void)x;                                                                       \
        return (expr);                                                                             \
    }

static double sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double attr(const bl_node *node, const char *name, float otherwise)
{
    return bl_attr_float(node, name, otherwise);
}

static double step(double x)
{
    return x > 0 ? 1 : 0;
}

SLOPE(abs, x > 0 ? 1 : x < 0 ? -1 : 0)
SLOPE(acos, -1 / sqrt(1 - x * x))
SLOPE(acosh, 1 / sqrt(x * x - 1))
SLOPE(asin, 1 / sqrt(1 - x * x))
SLOPE(asinh, 1 / sqrt(x * x + 1))
SLOPE(atan, 1 / (1 + x * x))
SLOPE(atanh, 1 / (1 - x * x))
SLOPE(ceil, 0 * x)
SLOPE(celu, x > 0 ? 1 : exp(x / attr(node, "alpha", 1.0f)))
SLOPE(cos, -sin(x))
SLOPE(cosh, sinh(x))
SLOPE(elu, x > 0 ? 1 : attr(node, "alpha", 1.0f) * exp(x))
SLOPE(erf, 1.1283791670955126 * exp(-x * x))
SLOPE(exp, exp(x))
SLOPE(floor, 0 * x)
SLOPE(leaky_relu, x > 0 ? 1 : attr(node, "alpha", 0.01f))
SLOPE(log, 1 / x)
SLOPE(neg, -1)
SLOPE(reciprocal, -1 / (x * x))
SLOPE(relu, step(x))
SLOPE(round, 0 * x)
SLOPE(selu, attr(node, "gamma", 1.05070102214813232421875f) *
                (x > 0 ? 1 : attr(node, "alpha", 1.67326319217681884765625f) * exp(x)))
SLOPE(shrink, fabs(x) > attr(node, "lambd", 0.5f) ? 1 : 0)
SLOPE(sigmoid, sigmoid(x) * (1 - sigmoid(x)))
SLOPE(sign, 0 * x)
SLOPE(sin, cos(x))
SLOPE(sinh, cosh(x))
SLOPE(softplus, sigmoid(x))
SLOPE(softsign, 1 / ((1 + fabs(x)) * (1 + fabs(x))))
SLOPE(sqrt, 0.5 / sqrt(x))
SLOPE(tan, 1 + tan(x) * tan(x))
SLOPE(tanh, 1 - tanh(x) * tanh(x))
SLOPE(thresholded_relu, x > attr(node, "alpha", 1.0f) ? 1 : 0)

double bl_slope_hard_sigmoid(const bl_node *node, double x)
{
    double alpha = attr(node, "alpha", 0.2f), y = alpha * x + attr(node, "beta", 0.5f);
    return y > 0 && y < 1 ? alpha : 0;
}

double bl_slope_hard_swish(const bl_node *node, double x)
{
    (void)node;
    return x <= -3 ? 0 : x >= 3 ? 1 : (2 * x + 3) / 6;
}

double bl_slope_gelu(const bl_node *node, double x)
{
    const double root = 0.7978845608028654; /* sqrt(2 / pi) */

    if (strcmp(bl_attr_string(node, "approximate", "none"), "tanh") == 0) {
        double t = tanh(root * (x + 0.044715 * x * x * x));
        return 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * root * (1 + 3 * 0.044715 * x * x);
    }
    return 0.5 * (1 + erf(x * 0.7071067811865476)) + x * 0.5 * root * exp(-0.5 * x * x);
}

double bl_slope_mish(const bl_node *node, double x)
{
    double t = tanh(x > 0 ? x + log1p(exp(-x)) : log1p(exp(x)));
    (void)node;
    return t + x * sigmoid(x) * (1 - t * t);
}

double bl_slope_swish(const bl_node *node, double x)
{
    double alpha = attr(node, "alpha", 1.0f), s = sigmoid(alpha * x);
    return s * (1 + alpha * x * (1 - s));
}

/* The two that stand in every network, without a call for each element. */
static bool plain_loops(const bl_call *call, const float *g, float *to, int64_t n)
{
    const float *x = call->in[0]->data;
    double (*slope)(const bl_node *, double) = call->node->op->slope;

    if (slope == bl_slope_relu) {
        for (int64_t i = 0; i < n; i++) to[i] = x[i] > 0.0f ? g[i] : 0.0f;
        return true;
    }
    if (slope == bl_slope_hard_swish) {
        for (int64_t i = 0; i < n; i++) {
            float s = x[i] <= -3.0f ? 0.0f : x[i] >= 3.0f ? 1.0f : (2.0f * x[i] + 3.0f) / 6.0f;
            to[i] = g[i] * s;
        }
        return true;
    }
    return false;
}

bl_status bl_unary_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                            bl_tensor *in_grad)
{
    int64_t n = bl_tensor_count(call->in[0]);
    const float *x = call->in[0]->data, *g = out_grad[0]->data;
    double (*slope)(const bl_node *, double) = call->node->op->slope;
    float *to = in_grad[0].data;

    if (!to) return BL_OK;
    if (plain_loops(call, g, to, n)) return BL_OK;
    for (int64_t i = 0; i < n; i++) to[i] = (float)(g[i] * slope(call->node, x[i]));
    return BL_OK;
}

/* g where x lies between the bounds, else 0; without branches, for compilers that then work on blocks. */
static void pass_between(const float *restrict x, const float *restrict g, int64_t n, float least, float most,
                         float *restrict to)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits, all = -(uint32_t)((x[i] > least) & (x[i] < most));
        memcpy(&bits, &g[i], sizeof bits);
        bits &= all;
        memcpy(&to[i], &bits, sizeof bits);
    }
}

/* Bounds as clip_forward reads them; one that cuts takes the gradient over. */
bl_status bl_clip_gradient(const bl_call *call, const bl_tensor *const *out_grad,
                           bl_tensor *in_grad)
{
    const bl_tensor *lo = bl_op_has(call, 1) ? call->in[1] : NULL;
    const bl_tensor *hi = bl_op_has(call, 2) ? call->in[2] : NULL;
    float least = lo ? *(const float *)lo->data : bl_attr_float(call->node, "min", -INFINITY);
    float most = hi ? *(const float *)hi->data : bl_attr_float(call->node, "max", INFINITY);
    const float *x = call->in[0]->data, *g = out_grad[0]->data;
    int64_t n = bl_tensor_count(call->in[0]);

    if (in_grad[0].data) pass_between(x, g, n, least, most, in_grad[0].data);
    for (int k = 1; k < call->n_in; k++) {
        double sum = 0;
        if (!in_grad[k].data) continue;
        for (int64_t i = 0; i < n; i++) sum += (k == 1 ? x[i] < least : x[i] > most) ? g[i] : 0.0f;
        *(float *)in_grad[k].data = (float)sum;
    }
    return BL_OK;
}
