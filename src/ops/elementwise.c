/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Arithmetic on two or more tensors with broadcasting: Add, Sub, Mul, Div, Mod, Pow, PRelu, and
 * Max, Min, Sum, Mean of any number.  float32, float64 and the integers (which wrap); comparisons stand
 * in compare.c.
 */
#include "ops/ops_private.h"

/* ------------------------------------------------------------------ shapes */

/* Before opset 7 the second operand is laid under the first at attribute "axis" (default: the end):
 * the same as trailing dimensions of 1. */
static bl_status legacy_operand(const bl_call *call, bl_tensor *b)
{
    int64_t axis = bl_attr_int(call->node, "axis", call->in[0]->rank - call->in[1]->rank);
    int trail;

    if (call->node->opset >= 7 || !bl_attr_int(call->node, "broadcast", 0)) return BL_OK;
    axis = axis < 0 ? axis + call->in[0]->rank : axis;
    if (axis < 0 || axis + b->rank > call->in[0]->rank)
        return bl_op_fail(call, BL_DATA, "repair the model", "axis %lld does not fit the shapes",
                          (long long)axis);
    trail = call->in[0]->rank - (int)axis - b->rank;
    for (int i = 0; i < trail; i++) b->dim[b->rank++] = 1;
    return BL_OK;
}

bl_status bl_pair_dims(const bl_call *call, bl_tensor *b, int *rank, int64_t *dim)
{
    *b = *call->in[1];
    BL_TRY(legacy_operand(call, b));
    return bl_bcast_dims(call, 2, (const bl_tensor *[]){call->in[0], b}, rank, dim);
}

static bl_status pair_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];
    bl_tensor b;
    int rank;

    BL_TRY(bl_op_begin(call, "axis:i broadcast:i"));
    BL_TRY(bl_op_one_type(call, BL_T_NUMBERS));
    BL_TRY(bl_pair_dims(call, &b, &rank, dim));
    return bl_op_out(call, 0, call->in[0]->type, rank, dim);
}

static bl_status many_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];
    int rank;

    BL_TRY(bl_op_begin(call, ""));
    for (int i = 0; i < call->n_in; i++)
        if (!call->in[i])
            return bl_op_fail(call, BL_DATA, "repair the model", "input %d is missing", i);
    BL_TRY(bl_op_one_type(call, BL_T_NUMBERS));
    BL_TRY(bl_bcast_dims(call, call->n_in, call->in, &rank, dim));
    return bl_op_out(call, 0, call->in[0]->type, rank, dim);
}

/* ------------------------------------------------------------------ loops */

/* A row: both operands run, or one stands still. */
#define ROW(symbol, type, expr)                                                                    \
    static void symbol##_##type(const void *arg, int64_t n, void *out, const void *const *in,      \
                                const int64_t *step)                                               \
    {                                                                                              \
        const type *a = in[0], *b = in[1];                                                         \
        type *o = out;                                                                             \
        (void)arg;                                                                                 \
        if (step[0] && step[1]) {                                                                  \
            for (int64_t i = 0; i < n; i++) {                                                      \
                type x = a[i], y = b[i];                                                           \
                o[i] = (type)(expr);                                                               \
            }                                                                                      \
        } else if (step[0]) {                                                                      \
            type y = b[0];                                                                         \
            for (int64_t i = 0; i < n; i++) {                                                      \
                type x = a[i];                                                                     \
                o[i] = (type)(expr);                                                               \
            }                                                                                      \
        } else {                                                                                   \
            type x = a[0];                                                                         \
            for (int64_t i = 0; i < n; i++) {                                                      \
                type y = b[step[1] ? i : 0];                                                       \
                o[i] = (type)(expr);                                                               \
            }                                                                                      \
        }                                                                                          \
    }

/* Integers through uint64, where overflow wraps instead of being undefined. */
#define WRAP(op) ((uint64_t)x op(uint64_t) y)
#define ROWS(symbol, real, whole)                                                                  \
    ROW(symbol, float, real)                                                                       \
    ROW(symbol, double, real)                                                                      \
    ROW(symbol, uint8_t, whole)                                                                    \
    ROW(symbol, int8_t, whole)                                                                     \
    ROW(symbol, uint16_t, whole)                                                                   \
    ROW(symbol, int16_t, whole)                                                                    \
    ROW(symbol, int32_t, whole)                                                                    \
    ROW(symbol, uint32_t, whole)                                                                   \
    ROW(symbol, int64_t, whole)                                                                    \
    ROW(symbol, uint64_t, whole)                                                                   \
    static bl_bcast_inner *const symbol##_rows[] = {                                               \
        [BL_F32] = symbol##_float,    [BL_F64] = symbol##_double,   [BL_U8] = symbol##_uint8_t,    \
        [BL_I8] = symbol##_int8_t,    [BL_U16] = symbol##_uint16_t, [BL_I16] = symbol##_int16_t,   \
        [BL_I32] = symbol##_int32_t,  [BL_U32] = symbol##_uint32_t, [BL_I64] = symbol##_int64_t,   \
        [BL_U64] = symbol##_uint64_t,                                                              \
    };

ROWS(add, x + y, WRAP(+))
ROWS(sub, x - y, WRAP(-))
ROWS(mul, x *y, WRAP(*))
/* y != 0 was checked; x / -1 is -x, which wraps. */
ROWS(div, x / y, y + 1 == 0 && (uint64_t)y > 1 ? (uint64_t)0 - (uint64_t)x : (uint64_t)(x / y))
/* The divisor's sign; y - y as with prelu below. */
ROWS(mod, fmod((double)x, (double)y),
     y + 1 == 0 && (uint64_t)y > 1                          ? (uint64_t)0
     : x % y != 0 && (x < x - x) != (y < y - y) ? (uint64_t)(x % y) + (uint64_t)y
                                                : (uint64_t)(x % y))
/* The dividend's sign (fmod = 1). */
ROWS(rem, fmod((double)x, (double)y),
     y + 1 == 0 && (uint64_t)y > 1 ? (uint64_t)0 : (uint64_t)(x % y))
ROW(pow, float, pow((double)x, (double)y))
ROW(pow, double, pow((double)x, (double)y))
static bl_bcast_inner *const pow_rows[] = {[BL_F32] = pow_float, [BL_F64] = pow_double};
/* A NaN on either side gives NaN. */
ROWS(max, x > y || x != x ? x : y, x > y ? x : y)
ROWS(min, x < y || x != x ? x : y, x < y ? x : y)
/* y - y is the 0 that unsigned types may be compared with in silence. */
ROWS(prelu, x < 0 ? x * y : x, x < y - y ? WRAP(*) : (uint64_t)x)

static void run_pair(const bl_call *call, bl_bcast_inner *const *rows, const bl_tensor *a,
                     const bl_tensor *b)
{
    const bl_tensor *out = &call->out[0];
    size_t size = bl_dtype_bytes(out->type);
    bl_bcast space;

    bl_bcast_make(&space, out->rank, out->dim, 2, (const bl_tensor *[]){a, b});
    bl_bcast_run(&space, size, (size_t[]){size, size}, out->data,
                 (const void *[]){a->data, b->data}, rows[out->type], NULL);
}

static bl_status pair_forward(const bl_call *call, bl_bcast_inner *const *rows)
{
    int64_t dim[BL_MAX_RANK];
    bl_tensor b;
    int rank;

    BL_TRY(bl_pair_dims(call, &b, &rank, dim));
    run_pair(call, rows, call->in[0], &b);
    return BL_OK;
}

/* The first two, then each further one onto the result, left to right. */
static bl_status many_forward(const bl_call *call, bl_bcast_inner *const *rows)
{
    if (call->n_in == 1) {
        memcpy(call->out[0].data, call->in[0]->data, bl_tensor_bytes(&call->out[0]));
        return BL_OK;
    }
    run_pair(call, rows, call->in[0], call->in[1]);
    for (int i = 2; i < call->n_in; i++) run_pair(call, rows, &call->out[0], call->in[i]);
    return BL_OK;
}

static bl_status add_forward(const bl_call *call)
{
    return pair_forward(call, add_rows);
}

static bl_status sub_forward(const bl_call *call)
{
    return pair_forward(call, sub_rows);
}

static bl_status mul_forward(const bl_call *call)
{
    return pair_forward(call, mul_rows);
}

static bl_status check_divisor(const bl_call *call)
{
    const bl_tensor *b = call->in[1];

    if (b->type != BL_F32 && b->type != BL_F64)
        for (int64_t i = 0; i < bl_tensor_count(b); i++)
            if (bl_element_i64(b, i) == 0)
                return bl_op_fail(call, BL_DATA, "repair the model",
                                  "an integer is divided by zero");
    return BL_OK;
}

static bl_status div_forward(const bl_call *call)
{
    BL_TRY(check_divisor(call));
    return pair_forward(call, div_rows);
}

static bl_status mod_shape(const bl_call *call)
{
    BL_TRY(pair_shape(call));
    BL_TRY(bl_op_begin(call, "fmod:i"));
    if ((call->in[0]->type == BL_F32 || call->in[0]->type == BL_F64) &&
        !bl_attr_int(call->node, "fmod", 0))
        return bl_op_fail(call, BL_DATA, "set fmod=1", "real numbers need fmod=1");
    return BL_OK;
}

static bl_status mod_forward(const bl_call *call)
{
    BL_TRY(check_divisor(call));
    return pair_forward(call, bl_attr_int(call->node, "fmod", 0) ? rem_rows : mod_rows);
}

/* The exponent may have a type of its own. */
static bl_status pow_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];
    bl_tensor b;
    int rank;

    BL_TRY(bl_op_begin(call, "axis:i broadcast:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_NUMBERS));
    BL_TRY(bl_op_type(call, 1, BL_T_NUMBERS));
    BL_TRY(bl_pair_dims(call, &b, &rank, dim));
    return bl_op_out(call, 0, call->in[0]->type, rank, dim);
}

/* Whole number to a whole, not negative power, wrapping; any other power by way of double, cut
 * towards zero and held within int64. */
static int64_t whole_power(const bl_tensor *a, int64_t i, const bl_tensor *b, int64_t j)
{
    bool real = b->type == BL_F32 || b->type == BL_F64;
    uint64_t base = (uint64_t)bl_element_i64(a, i), result = 1;
    double v;

    if (!real && bl_element_f64(b, j) >= 0) {
        for (uint64_t n = (uint64_t)bl_element_i64(b, j); n > 0; n >>= 1, base *= base)
            if (n & 1) result *= base;
        return (int64_t)result;
    }
    v = pow(bl_element_f64(a, i), bl_element_f64(b, j));
    return v != v ? 0 : v >= 0x1p63 ? INT64_MAX : v <= -0x1p63 ? INT64_MIN : (int64_t)v;
}

/* arg: the types of base and exponent. */
static void whole_power_row(const void *arg, int64_t n, void *out, const void *const *in,
                            const int64_t *step)
{
    const bl_dtype *type = arg;
    bl_tensor a = {.type = type[0], .data = (void *)in[0]};
    bl_tensor b = {.type = type[1], .data = (void *)in[1]};
    size_t size = bl_dtype_bytes(type[0]);

    for (int64_t i = 0; i < n; i++) {
        int64_t v = whole_power(&a, i * step[0], &b, i * step[1]);
        memcpy((char *)out + (size_t)i * size, &v, size); /* little endian */
    }
}

static void run_whole_power(const bl_call *call, const bl_tensor *b)
{
    const bl_tensor *a = call->in[0], *y = &call->out[0];
    bl_dtype type[2] = {a->type, b->type};
    bl_bcast space;

    bl_bcast_make(&space, y->rank, y->dim, 2, (const bl_tensor *[]){a, b});
    bl_bcast_run(&space, bl_dtype_bytes(y->type),
                 (size_t[]){bl_dtype_bytes(a->type), bl_dtype_bytes(b->type)}, y->data,
                 (const void *[]){a->data, b->data}, whole_power_row, type);
}

static bl_status pow_forward(const bl_call *call)
{
    bl_tensor b = *call->in[1];
    bl_dtype type = call->in[0]->type;
    int64_t n = bl_tensor_count(&b);

    BL_TRY(legacy_operand(call, &b));
    if (type != BL_F32 && type != BL_F64) {
        run_whole_power(call, &b);
        return BL_OK;
    }
    if (b.type != type) {
        b.type = type;
        b.data = bl_alloc(call->scratch, (size_t)n, bl_dtype_bytes(type));
        BL_ALLOC_TRY(call->ctx, b.data);
        for (int64_t i = 0; i < n; i++) {
            if (type == BL_F32)
                ((float *)b.data)[i] = (float)bl_element_f64(call->in[1], i);
            else
                ((double *)b.data)[i] = bl_element_f64(call->in[1], i);
        }
    }
    if (n == 1 && bl_element_f64(&b, 0) == 2) /* the same bits: a square is exact in double */
        run_pair(call, mul_rows, call->in[0], call->in[0]);
    else
        run_pair(call, pow_rows, call->in[0], &b);
    return BL_OK;
}

/* The slope broadcasts to the input, never the other way; before opset 7 a vector is per channel.
 */
bl_status bl_prelu_slope(const bl_call *call, bl_tensor *slope)
{
    const bl_tensor *x = call->in[0];
    int64_t dim[BL_MAX_RANK];
    int rank;
    bool same;

    *slope = *call->in[1];
    if (call->node->opset < 7 && slope->rank == 1 && x->rank > 2)
        while (slope->rank < x->rank - 1) slope->dim[slope->rank++] = 1;
    BL_TRY(bl_bcast_dims(call, 2, (const bl_tensor *[]){x, slope}, &rank, dim));
    same = rank == x->rank;
    for (int i = 0; i < rank && same; i++) same = dim[i] == x->dim[i];
    if (!same)
        return bl_op_fail(call, BL_DATA, "repair the model", "slope %s does not fit input %s",
                          bl_shape_text(call->scratch, slope), bl_shape_text(call->scratch, x));
    return BL_OK;
}

static bl_status prelu_shape(const bl_call *call)
{
    bl_tensor slope;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_one_type(call, BL_T_NUMBERS));
    BL_TRY(bl_prelu_slope(call, &slope));
    return bl_op_like(call);
}

static bl_status prelu_forward(const bl_call *call)
{
    bl_tensor slope;

    BL_TRY(bl_prelu_slope(call, &slope));
    run_pair(call, prelu_rows, call->in[0], &slope);
    return BL_OK;
}

static bl_status max_forward(const bl_call *call)
{
    return many_forward(call, max_rows);
}

static bl_status min_forward(const bl_call *call)
{
    return many_forward(call, min_rows);
}

static bl_status sum_forward(const bl_call *call)
{
    return many_forward(call, add_rows);
}

static bl_status mean_shape(const bl_call *call)
{
    BL_TRY(many_shape(call));
    return bl_op_type(call, 0, BL_T_F32);
}

static bl_status mean_forward(const bl_call *call)
{
    float *y = call->out[0].data;

    BL_TRY(many_forward(call, add_rows));
    for (int64_t i = 0; i < bl_tensor_count(&call->out[0]); i++) y[i] /= (float)call->n_in;
    return BL_OK;
}

/* A reduction to one tensor of any number of operands. */
#define MANY_MAX 1024

#define PAIR(title, symbol, bits, integer_form)                                                    \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = (bits) | BL_OP_POINTWISE,                                                         \
        .min_opset = 1,                                                                            \
        .in_min = 2,                                                                               \
        .in_max = 2,                                                                               \
        .out_max = 1,                                                                              \
        .shape = pair_shape,                                                                       \
        .forward = symbol##_forward,                                                               \
        .integer = integer_form,                                                                   \
        .gradient = bl_##symbol##_gradient,                                                        \
    }

PAIR("Add", add, BL_OP_JOINS | BL_OP_SUM, bl_add_integer);
PAIR("Sub", sub, BL_OP_JOINS, NULL);
PAIR("Mul", mul, BL_OP_JOINS, bl_mul_integer);
PAIR("Div", div, BL_OP_JOINS, NULL);

const bl_op bl_op_mod = {
    .name = "Mod",
    .flags = BL_OP_POINTWISE,
    .min_opset = 10,
    .in_min = 2,
    .in_max = 2,
    .out_max = 1,
    .shape = mod_shape,
    .forward = mod_forward,
};

const bl_op bl_op_pow = {
    .name = "Pow",
    .flags = BL_OP_POINTWISE,
    .min_opset = 1,
    .in_min = 2,
    .in_max = 2,
    .out_max = 1,
    .shape = pow_shape,
    .forward = pow_forward,
    .gradient = bl_pow_gradient,
};

const bl_op bl_op_prelu = {
    .name = "PRelu",
    .min_opset = 1,
    .in_min = 2,
    .in_max = 2,
    .out_max = 1,
    .shape = prelu_shape,
    .forward = prelu_forward,
    .gradient = bl_prelu_gradient,
};

const bl_op bl_op_max = {
    .name = "Max",
    .flags = BL_OP_JOINS | BL_OP_POINTWISE | BL_OP_PICKS,
    .min_opset = 1,
    .in_min = 1,
    .in_max = MANY_MAX,
    .out_max = 1,
    .shape = many_shape,
    .forward = max_forward,
    .gradient = bl_pick_gradient,
};

const bl_op bl_op_min = {
    .name = "Min",
    .flags = BL_OP_JOINS | BL_OP_POINTWISE | BL_OP_PICKS,
    .min_opset = 1,
    .in_min = 1,
    .in_max = MANY_MAX,
    .out_max = 1,
    .shape = many_shape,
    .forward = min_forward,
    .gradient = bl_pick_gradient,
};

const bl_op bl_op_sum = {
    .name = "Sum",
    .flags = BL_OP_JOINS | BL_OP_POINTWISE,
    .min_opset = 1,
    .in_min = 1,
    .in_max = MANY_MAX,
    .out_max = 1,
    .shape = many_shape,
    .forward = sum_forward,
    .gradient = bl_sum_gradient,
};

const bl_op bl_op_mean = {
    .name = "Mean",
    .flags = BL_OP_JOINS | BL_OP_POINTWISE,
    .min_opset = 1,
    .in_min = 1,
    .in_max = MANY_MAX,
    .out_max = 1,
    .shape = mean_shape,
    .forward = mean_forward,
    .gradient = bl_mean_gradient,
};
