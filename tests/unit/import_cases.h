/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of the ONNX reader share: a context each, small models, what a refusal looks like. */
#ifndef BL_TEST_IMPORT_CASES_H
#define BL_TEST_IMPORT_CASES_H

#include "onnx_build.h"

static inline int setup(void **state)
{
    *state = test_ctx(1, 0);
    return 0;
}

static inline int teardown(void **state)
{
    test_ctx_free(*state);
    return 0;
}

static inline const bl_value *value(const bl_graph *g, const char *name)
{
    int i = bl_graph_find_value(g, name);
    if (i < 0) fail_msg("no value \"%s\"", name);
    return &g->values[i];
}

static inline void assert_shape(const bl_graph *g, const char *name, int rank, const int64_t *dim)
{
    const bl_value *v = value(g, name);
    assert_int_equal(v->t.rank, rank);
    for (int i = 0; i < rank; i++) assert_int_equal(v->t.dim[i], dim[i]);
}
#define SHAPE(...)                                                                                \
    (int)(sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t)), (int64_t[]){__VA_ARGS__}

/* The model is refused with this code and text; one line, nothing left over. */
static inline void refuses(onnx_build *b, bl_status code, const char *says)
{
    bl_graph *g;
    assert_fails(b->ctx, ob_import(b, &g), code, says);
    assert_null(g);
    bl_error e = bl_last_error(b->ctx);
    assert_non_null(strstr(e.place, "by_hand.onnx"));
    assert_null(strchr(e.what, '\n'));
    ob_free(b);
}

/* x (1,4) -> Relu -> y, to which tests add what they are about. */
static inline onnx_build *tiny(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,4");
    ob_node(b, "Relu", "x", "y");
    ob_output(b, "y");
    return b;
}

static inline bl_status import_dims(onnx_build *b, const bl_dim_binding *dims, size_t n, bl_graph **g)
{
    size_t size;
    const uint8_t *bytes = ob_pack(b, &size);
    bl_import_options o = {dims, n};
    *g = NULL;
    return bl_import_bytes(b->ctx, "by_hand.onnx", bytes, size, &o, g);
}

static inline onnx_build *unary(bl_ctx *ctx, const char *dims)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", dims);
    ob_node(b, "Relu", "x", "y");
    ob_output(b, "y");
    return b;
}

#endif
