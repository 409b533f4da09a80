/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Truth values: Equal, Less, Greater and the like, And, Or, Xor, Not, IsNaN, IsInf,
 * Where.  A bool is one byte, 0 or 1.
 */
#include "ops/ops_private.h"

typedef enum relation { LESS = 1, EQUAL = 2, MORE = 4 } relation;

/* Which of less, equal, more holds; none for a NaN. */
static int relate(const bl_tensor *a, int64_t i, const bl_tensor *b, int64_t j)
{
    if (a->type == BL_F32 || a->type == BL_F64) {
        double x = bl_element_f64(a, i), y = bl_element_f64(b, j);
        return x < y ? LESS : x > y ? MORE : x == y ? EQUAL : 0;
    }
    if (a->type == BL_U64) {
        uint64_t x = (uint64_t)bl_element_i64(a, i), y = (uint64_t)bl_element_i64(b, j);
        return x < y ? LESS : x > y ? MORE : EQUAL;
    }
    int64_t x = bl_element_i64(a, i), y = bl_element_i64(b, j);
    return x < y ? LESS : x > y ? MORE : EQUAL;
}

static bl_status pair_shape(const bl_call *call, unsigned types)
{
    int64_t dim[BL_MAX_RANK];
    int rank;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_one_type(call, types));
    BL_TRY(bl_bcast_dims(call, 2, call->in, &rank, dim));
    return bl_op_out(call, 0, BL_BOOL, rank, dim);
}

static bl_status relation_shape(const bl_call *call)
{
    return pair_shape(call, BL_T_NUMBERS | BL_BIT(BL_BOOL));
}

static bl_status logic_shape(const bl_call *call)
{
    return pair_shape(call, BL_BIT(BL_BOOL));
}

/* arg: the tensors' type and the relations that give true. */
typedef struct question {
    bl_dtype type;
    int wanted;
} question;

static void relation_row(const void *arg, int64_t n, void *out, const void *const *in,
                         const int64_t *step)
{
    const question *q = arg;
    bl_tensor a = {.type = q->type, .data = (void *)in[0]},
              b = {.type = q->type, .data = (void *)in[1]};
    uint8_t *to = out;

    for (int64_t i = 0; i < n; i++)
        to[i] = (relate(&a, i * step[0], &b, i * step[1]) & q->wanted) != 0;
}

/* wanted: the truth table, bit 2 * a + b. */
static void logic_row(const void *arg, int64_t n, void *out, const void *const *in,
                      const int64_t *step)
{
    const question *q = arg;
    const uint8_t *a = in[0], *b = in[1];
    uint8_t *to = out;

    for (int64_t i = 0; i < n; i++)
        to[i] = q->wanted >> (2 * (a[i * step[0]] != 0) + (b[i * step[1]] != 0)) & 1;
}

static bl_status pair_forward(const bl_call *call, bl_bcast_inner *row, int wanted)
{
    const bl_tensor *y = &call->out[0];
    question q = {.type = call->in[0]->type, .wanted = wanted};
    size_t size = bl_dtype_bytes(q.type);
    bl_bcast space;

    bl_bcast_make(&space, y->rank, y->dim, 2, call->in);
    bl_bcast_run(&space, 1, (size_t[]){size, size}, y->data,
                 (const void *[]){call->in[0]->data, call->in[1]->data}, row, &q);
    return BL_OK;
}

static bl_status equal_forward(const bl_call *call)
{
    return pair_forward(call, relation_row, EQUAL);
}

static bl_status less_forward(const bl_call *call)
{
    return pair_forward(call, relation_row, LESS);
}

static bl_status less_or_equal_forward(const bl_call *call)
{
    return pair_forward(call, relation_row, LESS | EQUAL);
}

static bl_status greater_forward(const bl_call *call)
{
    return pair_forward(call, relation_row, MORE);
}

static bl_status greater_or_equal_forward(const bl_call *call)
{
    return pair_forward(call, relation_row, MORE | EQUAL);
}

static bl_status and_forward(const bl_call *call)
{
    return pair_forward(call, logic_row, 8);
}

static bl_status or_forward(const bl_call *call)
{
    return pair_forward(call, logic_row, 14);
}

static bl_status xor_forward(const bl_call *call)
{
    return pair_forward(call, logic_row, 6);
}

static bl_status not_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_BIT(BL_BOOL)));
    return bl_op_like(call);
}

static bl_status not_forward(const bl_call *call)
{
    const uint8_t *x = call->in[0]->data;
    uint8_t *y = call->out[0].data;
    int64_t n = bl_tensor_count(call->in[0]);

    for (int64_t i = 0; i < n; i++) y[i] = !x[i];
    return BL_OK;
}

static bl_status is_shape(const bl_call *call)
{
    BL_TRY(bl_op_begin(call, "detect_negative:i detect_positive:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_F32 | BL_BIT(BL_F64)));
    return bl_op_out(call, 0, BL_BOOL, call->in[0]->rank, call->in[0]->dim);
}

static bl_status is_nan_forward(const bl_call *call)
{
    int64_t n = bl_tensor_count(call->in[0]);

    for (int64_t i = 0; i < n; i++)
        ((uint8_t *)call->out[0].data)[i] = isnan(bl_element_f64(call->in[0], i)) != 0;
    return BL_OK;
}

static bl_status is_inf_forward(const bl_call *call)
{
    bool below = bl_attr_int(call->node, "detect_negative", 1) != 0;
    bool above = bl_attr_int(call->node, "detect_positive", 1) != 0;
    int64_t n = bl_tensor_count(call->in[0]);

    for (int64_t i = 0; i < n; i++) {
        double v = bl_element_f64(call->in[0], i);
        ((uint8_t *)call->out[0].data)[i] = isinf(v) && (v < 0 ? below : above);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ Where */

static bl_status where_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK];
    int rank;

    BL_TRY(bl_op_begin(call, ""));
    BL_TRY(bl_op_type(call, 0, BL_BIT(BL_BOOL)));
    BL_TRY(bl_op_type(call, 1, BL_T_MOVABLE));
    BL_TRY(bl_op_type(call, 2, BL_BIT(call->in[1]->type)));
    BL_TRY(bl_bcast_dims(call, 3, call->in, &rank, dim));
    return bl_op_out(call, 0, call->in[1]->type, rank, dim);
}

static void where_row(const void *arg, int64_t n, void *out, const void *const *in,
                      const int64_t *step)
{
    size_t size = *(const size_t *)arg;
    const uint8_t *truth = in[0];

    for (int64_t i = 0; i < n; i++) {
        int side = truth[i * step[0]] ? 1 : 2;
        memcpy((char *)out + (size_t)i * size,
               (const char *)in[side] + (size_t)(i * step[side]) * size, size);
    }
}

static bl_status where_forward(const bl_call *call)
{
    const bl_tensor *y = &call->out[0];
    size_t size = bl_dtype_bytes(y->type);
    bl_bcast space;

    bl_bcast_make(&space, y->rank, y->dim, 3, call->in);
    bl_bcast_run(&space, size, (size_t[]){1, size, size}, y->data,
                 (const void *[]){call->in[0]->data, call->in[1]->data, call->in[2]->data},
                 where_row, &size);
    return BL_OK;
}

/* ------------------------------------------------------------------ rows */

#define TRUTH(title, symbol, inputs, shapes, backward)                                             \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .min_opset = inputs == 2 ? 7 : 1,                                                          \
        .in_min = inputs,                                                                          \
        .in_max = inputs,                                                                          \
        .out_max = 1,                                                                              \
        .shape = shapes,                                                                           \
        .forward = symbol##_forward,                                                               \
        .gradient = backward,                                                                      \
    }

TRUTH("And", and, 2, logic_shape, NULL);
TRUTH("Equal", equal, 2, relation_shape, NULL);
TRUTH("Greater", greater, 2, relation_shape, NULL);
TRUTH("GreaterOrEqual", greater_or_equal, 2, relation_shape, NULL);
TRUTH("IsInf", is_inf, 1, is_shape, NULL);
TRUTH("IsNaN", is_nan, 1, is_shape, NULL);
TRUTH("Less", less, 2, relation_shape, NULL);
TRUTH("LessOrEqual", less_or_equal, 2, relation_shape, NULL);
TRUTH("Not", not, 1, not_shape, NULL);
TRUTH("Or", or, 2, logic_shape, NULL);
TRUTH("Where", where, 3, where_shape, bl_move_gradient);
TRUTH("Xor", xor, 2, logic_shape, NULL);
