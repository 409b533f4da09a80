/* SPDX-License-Identifier: BSD-3-Clause */
/* One application of an operator on tensors written down in a test: what it gives, what it refuses. */
#ifndef BL_TEST_OP_APPLY_H
#define BL_TEST_OP_APPLY_H

#include <math.h>

#include "ops/op.h"
#include "support.h"

typedef struct fixture {
    bl_ctx *ctx;
    bl_arena *arena;
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    f->ctx = test_ctx(1, 0);
    f->arena = bl_arena_new(f->ctx, "test");
    *state = f;
    return f->arena ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    bl_arena_free(f->arena);
    test_ctx_free(f->ctx);
    free(f);
    return 0;
}

#define DIMS(...)                                                                                  \
    .rank = (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), .dim = {__VA_ARGS__}
#define F32(...)                                                                                   \
    .type = BL_F32, .data = (float[])                                                              \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define U8(...)                                                                                    \
    .type = BL_U8, .data = (uint8_t[])                                                             \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define I64(...)                                                                                   \
    .type = BL_I64, .data = (int64_t[])                                                            \
    {                                                                                              \
        __VA_ARGS__                                                                                \
    }
#define INTS(text, ...)                                                                            \
    {                                                                                              \
        .name = text, .type = BL_ATTR_INTS,                                                        \
        .n = sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), .ints = (int64_t[])               \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }
#define INT(text, value)                                                                           \
    {                                                                                              \
        .name = text, .type = BL_ATTR_INT, .i = value                                              \
    }
#define FLOAT(text, value)                                                                         \
    {                                                                                              \
        .name = text, .type = BL_ATTR_FLOAT, .f = value                                            \
    }
#define STRING(text, value)                                                                        \
    {                                                                                              \
        .name = text, .type = BL_ATTR_STRING, .s = value, .s_len = sizeof(value) - 1               \
    }

/* One application; attributes end at the first without a name, inputs are n. */
typedef struct subject {
    const char *op;
    int opset, n, outs;
    bl_attr attr[8];
    bl_tensor in[9];
    unsigned absent; /* bit i: input i is not given */
} subject;

static bl_status apply(fixture *f, const subject *s, bl_tensor *out)
{
    static const int numbers[9] = {0, 1, 2, 3, 4, 5, 6, 7, 8};
    bl_node node = {.op = bl_op_find("", s->op),
                    .name = "n",
                    .domain = "",
                    .opset = s->opset,
                    .n_in = s->n,
                    .n_out = s->outs ? s->outs : 1,
                    .in = numbers,
                    .out = numbers,
                    .attr = s->attr,
                    .lo = -INFINITY,
                    .hi = INFINITY};
    const bl_tensor *in[9];
    bl_call call = {.ctx = f->ctx,
                    .node = &node,
                    .n_in = s->n,
                    .n_out = node.n_out,
                    .in = in,
                    .out = out,
                    .scratch = f->arena};
    assert_non_null(node.op);
    while (node.n_attr < 8 && s->attr[node.n_attr].name) node.n_attr++;
    for (int i = 0; i < s->n; i++) in[i] = s->absent & (1u << i) ? NULL : &s->in[i];
    BL_TRY(node.op->shape(&call));
    for (int i = 0; i < call.n_out; i++) {
        out[i].data = bl_alloc(f->arena, bl_tensor_bytes(&out[i]), 1);
        assert_non_null(out[i].data);
    }
    return node.op->forward(&call);
}

static void expect(fixture *f, const subject *s, const bl_tensor *wanted)
{
    bl_tensor out[8] = {0};
    assert_ok(f->ctx, apply(f, s, out));
    assert_int_equal(out[0].type, wanted->type);
    assert_int_equal(out[0].rank, wanted->rank);
    for (int i = 0; i < wanted->rank; i++) assert_int_equal(out[0].dim[i], wanted->dim[i]);
    for (int64_t i = 0; i < bl_tensor_count(wanted); i++) {
        if (wanted->type == BL_F32) {
            float a = ((float *)out[0].data)[i], b = ((float *)wanted->data)[i];
            if (!(a == b || (isnan(a) && isnan(b))))
                fail_msg("%s: element %d is %.9g, not %.9g", s->op, (int)i, (double)a, (double)b);
        } else {
            size_t size = bl_dtype_bytes(wanted->type);
            assert_memory_equal((char *)out[0].data + i * size, (char *)wanted->data + i * size,
                                size);
        }
    }
}

#define EXPECT(state, wanted_dims, values, ...)                                                    \
    expect(*(state), &(subject){__VA_ARGS__}, &(bl_tensor){wanted_dims, values})
#define REFUSE(state, code, text, ...)                                                             \
    do {                                                                                           \
        fixture *f_ = *(state);                                                                    \
        bl_tensor out_[8] = {0};                                                                   \
        assert_fails(f_->ctx, apply(f_, &(subject){__VA_ARGS__}, out_), code, text);               \
    } while (0)

#endif
