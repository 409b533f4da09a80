/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Picking elements by index or by rank: GatherElements, GatherND, TopK, OneHot, Trilu, EyeLike.
 * Gather stands in index.c, slices in slice.c.
 */
#include "ops/ops_private.h"

#define INDICES (BL_BIT(BL_I32) | BL_BIT(BL_I64))

static bl_status outside(const bl_call *call, int64_t at, int64_t extent)
{
    return bl_op_fail(call, BL_DATA, "repair the model", "index %lld is outside of %lld",
                      (long long)at, (long long)extent);
}

/* ------------------------------------------------------------------ GatherElements */

static bl_status gather_elements_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    int axis;

    BL_TRY(bl_op_begin(call, "axis:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_type(call, 1, INDICES));
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, &axis));
    BL_TRY(bl_op_rank(call, 1, x->rank, x->rank));
    for (int i = 0; i < x->rank; i++)
        if (i != axis && index->dim[i] > x->dim[i])
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "indices of shape %s reach beyond %s",
                              bl_shape_text(call->scratch, index), bl_shape_text(call->scratch, x));
    return bl_op_out(call, 0, x->type, index->rank, index->dim);
}

static bl_status gather_elements_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    size_t size = bl_dtype_bytes(x->type);
    int64_t stride[BL_MAX_RANK], place[BL_MAX_RANK] = {0}, n = bl_tensor_count(index);
    char *to = call->out[0].data;
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", 0), x->rank, &axis));
    bl_strides(x->rank, x->dim, stride);
    for (int64_t i = 0; i < n; i++) {
        int64_t at = bl_element_i64(index, i), from = 0;
        if (at < -x->dim[axis] || at >= x->dim[axis]) return outside(call, at, x->dim[axis]);
        for (int d = 0; d < x->rank; d++)
            from += stride[d] * (d != axis ? place[d] : at < 0 ? at + x->dim[axis] : at);
        memcpy(to + (size_t)i * size, (const char *)x->data + (size_t)from * size, size);
        for (int d = x->rank - 1; d >= 0 && ++place[d] == index->dim[d]; d--) place[d] = 0;
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ GatherND */

/* The first `batch` dimensions go together; the last of the indices names `depth` more of x. */
static bl_status gather_nd_read(const bl_call *call, int *batch, int *depth)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    int64_t given = bl_attr_int(call->node, "batch_dims", 0), last;

    BL_TRY(bl_op_rank(call, 0, 1, BL_MAX_RANK));
    BL_TRY(bl_op_rank(call, 1, 1, BL_MAX_RANK));
    last = index->dim[index->rank - 1];
    if (given < 0 || given >= BL_MIN(x->rank, index->rank) || last > x->rank - given)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "indices of shape %s do not fit %s with %lld shared dimensions",
                          bl_shape_text(call->scratch, index), bl_shape_text(call->scratch, x),
                          (long long)given);
    for (int i = 0; i < given; i++)
        if (x->dim[i] != index->dim[i])
            return bl_op_fail(call, BL_DATA, "repair the model", "shared dimension %d differs", i);
    *batch = (int)given;
    *depth = (int)last;
    return BL_OK;
}

static bl_status gather_nd_shape(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    int64_t dim[2 * BL_MAX_RANK];
    int batch, depth, rank = 0;

    BL_TRY(bl_op_begin(call, "batch_dims:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_type(call, 1, BL_BIT(BL_I64)));
    BL_TRY(gather_nd_read(call, &batch, &depth));
    for (int i = 0; i < index->rank - 1; i++) dim[rank++] = index->dim[i];
    for (int i = batch + depth; i < x->rank; i++) dim[rank++] = x->dim[i];
    return bl_op_out(call, 0, x->type, rank, dim);
}

static bl_status gather_nd_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0], *index = call->in[1];
    int64_t stride[BL_MAX_RANK], batches = 1, tuples, block = 1;
    char *to = call->out[0].data;
    int batch, depth;

    BL_TRY(gather_nd_read(call, &batch, &depth));
    bl_strides(x->rank, x->dim, stride);
    for (int i = 0; i < batch; i++) batches *= x->dim[i];
    for (int i = batch + depth; i < x->rank; i++) block *= x->dim[i];
    tuples = bl_tensor_count(index) / depth / batches;
    block *= (int64_t)bl_dtype_bytes(x->type);
    for (int64_t t = 0; t < batches * tuples; t++, to += block) {
        int64_t from = batch > 0 ? t / tuples * stride[batch - 1] : 0;
        for (int d = 0; d < depth; d++) {
            int64_t at = bl_element_i64(index, t * depth + d), extent = x->dim[batch + d];
            if (at < -extent || at >= extent) return outside(call, at, extent);
            from += stride[batch + d] * (at < 0 ? at + extent : at);
        }
        memcpy(to, (const char *)x->data + (size_t)from * bl_dtype_bytes(x->type), (size_t)block);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ TopK */

/* How many is an attribute before opset 10, input 1 since. */
static bl_status top_k_read(const bl_call *call, int *axis, int64_t *k)
{
    const bl_tensor *x = call->in[0];
    int n = 1;

    BL_TRY(bl_op_rank(call, 0, 1, BL_MAX_RANK));
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), x->rank, axis));
    if (call->node->opset < 10) {
        *k = bl_attr_int(call->node, "k", 0);
    } else if (bl_op_has(call, 1)) {
        BL_TRY(bl_op_ints(call, 1, 1, k, &n));
    } else {
        n = 0;
    }
    if (n != 1 || *k < 1 || *k > x->dim[*axis])
        return bl_op_fail(call, BL_DATA, "repair the model", "the best %lld of %lld are asked for",
                          n == 1 ? (long long)*k : 0LL, (long long)x->dim[*axis]);
    return BL_OK;
}

static bl_status top_k_shape(const bl_call *call)
{
    int64_t k, dim[BL_MAX_RANK];
    int axis;

    BL_TRY(bl_op_begin(call, "axis:i k:i largest:i sorted:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_NUMBERS));
    BL_TRY(top_k_read(call, &axis, &k));
    memcpy(dim, call->in[0]->dim, sizeof dim);
    dim[axis] = k;
    if (call->n_out > 1) BL_TRY(bl_op_out(call, 1, BL_I64, call->in[0]->rank, dim));
    return bl_op_out(call, 0, call->in[0]->type, call->in[0]->rank, dim);
}

/* An order of the elements of x for bl_heap: better ones first, equal ones by their place. */
typedef struct ranking {
    const bl_tensor *x;
    int64_t base, step;
    bool largest;
} ranking;

static bool is_better(const ranking *r, int64_t a, int64_t b)
{
    int64_t i = r->base + a * r->step, j = r->base + b * r->step;
    bool less, more;

    if (r->x->type == BL_F32 || r->x->type == BL_F64) {
        double v = bl_element_f64(r->x, i), w = bl_element_f64(r->x, j);
        less = v < w || (w != w && v == v); /* a NaN is the largest */
        more = v > w || (v != v && w == w);
    } else if (r->x->type == BL_U64) {
        uint64_t v = (uint64_t)bl_element_i64(r->x, i), w = (uint64_t)bl_element_i64(r->x, j);
        less = v < w;
        more = v > w;
    } else {
        int64_t v = bl_element_i64(r->x, i), w = bl_element_i64(r->x, j);
        less = v < w;
        more = v > w;
    }
    if (less == more) return a < b;
    return r->largest ? more : less;
}

/* Heap of `n` with the worst on top: sinks entry `at`. */
static void sink(const ranking *r, int64_t *heap, int64_t n, int64_t at)
{
    for (;;) {
        int64_t worst = at, t;
        for (int64_t c = 2 * at + 1; c <= 2 * at + 2 && c < n; c++)
            if (is_better(r, heap[worst], heap[c])) worst = c;
        if (worst == at) return;
        t = heap[at];
        heap[at] = heap[worst];
        heap[worst] = t;
        at = worst;
    }
}

/* The k best of d in order, by a heap of the best so far. */
static void pick_best(const ranking *r, int64_t d, int64_t k, int64_t *heap)
{
    for (int64_t i = 0; i < k; i++) heap[i] = i;
    for (int64_t i = k / 2; i-- > 0;) sink(r, heap, k, i);
    for (int64_t i = k; i < d; i++)
        if (is_better(r, i, heap[0])) {
            heap[0] = i;
            sink(r, heap, k, 0);
        }
    for (int64_t n = k; n-- > 1;) {
        int64_t t = heap[0];
        heap[0] = heap[n];
        heap[n] = t;
        sink(r, heap, n, 0);
    }
}

static bl_status top_k_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    size_t size = bl_dtype_bytes(x->type);
    int64_t *index = call->n_out > 1 ? call->out[1].data : NULL, *heap;
    char *value = call->out[0].data;
    int64_t k, outer = 1, inner = 1;
    ranking r = {.x = x, .largest = bl_attr_int(call->node, "largest", 1) != 0};
    int axis;

    BL_TRY(top_k_read(call, &axis, &k));
    heap = bl_alloc(call->scratch, (size_t)k, sizeof *heap);
    BL_ALLOC_TRY(call->ctx, heap);
    for (int i = 0; i < x->rank; i++) {
        outer *= i < axis ? x->dim[i] : 1;
        inner *= i > axis ? x->dim[i] : 1;
    }
    r.step = inner;
    for (int64_t o = 0; o < outer; o++)
        for (int64_t in = 0; in < inner; in++) {
            r.base = o * x->dim[axis] * inner + in;
            pick_best(&r, x->dim[axis], k, heap);
            for (int64_t i = 0; i < k; i++) {
                int64_t to = (o * k + i) * inner + in;
                if (value)
                    memcpy(value + (size_t)to * size,
                           (const char *)x->data + (size_t)(r.base + heap[i] * inner) * size, size);
                if (index) index[to] = heap[i];
            }
        }
    return BL_OK;
}

/* ------------------------------------------------------------------ OneHot */

/* A new axis of `depth`: the second of `values` where the index says so, the first elsewhere. */
static bl_status one_hot_shape(const bl_call *call)
{
    const bl_tensor *index = call->in[0], *depth = call->in[1];
    int64_t dim[BL_MAX_RANK + 1];
    int axis;
    double d;

    BL_TRY(bl_op_begin(call, "axis:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_NUMBERS));
    BL_TRY(bl_op_type(call, 1, BL_T_NUMBERS));
    BL_TRY(bl_op_type(call, 2, BL_T_MOVABLE));
    if (bl_tensor_count(depth) != 1 || call->in[2]->rank != 1 || call->in[2]->dim[0] != 2)
        return bl_op_fail(call, BL_DATA, "repair the model",
                          "depth is not one number or the values are not two");
    if (!depth->data)
        return bl_op_fail(call, BL_UNAVAILABLE, "bind the dynamic dimensions or fold the model",
                          "the depth must be known before the network runs");
    d = bl_element_f64(depth, 0);
    if (!(d >= 1 && d <= (double)INT32_MAX))
        return bl_op_fail(call, BL_DATA, "repair the model", "a depth of %g", d);
    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), index->rank + 1, &axis));
    for (int i = 0, from = 0; i <= index->rank; i++)
        dim[i] = i == axis ? (int64_t)d : index->dim[from++];
    return bl_op_out(call, 0, call->in[2]->type, index->rank + 1, dim);
}

static bl_status one_hot_forward(const bl_call *call)
{
    const bl_tensor *index = call->in[0], *values = call->in[2], *y = &call->out[0];
    size_t size = bl_dtype_bytes(y->type);
    int64_t inner = 1, n = bl_tensor_count(index);
    int axis;

    BL_TRY(bl_op_axis(call, bl_attr_int(call->node, "axis", -1), index->rank + 1, &axis));
    for (int i = axis + 1; i < y->rank; i++) inner *= y->dim[i];
    bl_fill(size, bl_tensor_count(y), y->data, values->data);
    for (int64_t i = 0; i < n; i++) {
        double at = bl_element_f64(index, i);
        at = at < 0 ? at + (double)y->dim[axis] : at;
        if (!(at >= 0 && at < (double)y->dim[axis])) continue; /* all off */
        memcpy((char *)y->data +
                   (size_t)((i / inner * y->dim[axis] + (int64_t)at) * inner + i % inner) * size,
               (const char *)values->data + size, size);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ Trilu, EyeLike */

static bl_status trilu_shape(const bl_call *call)
{
    int64_t k;
    int n = 1;

    BL_TRY(bl_op_begin(call, "upper:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_MOVABLE));
    BL_TRY(bl_op_rank(call, 0, 2, BL_MAX_RANK));
    if (bl_op_has(call, 1)) BL_TRY(bl_op_ints(call, 1, 1, &k, &n));
    if (n != 1) return bl_op_fail(call, BL_DATA, "repair the model", "k is not one number");
    return bl_op_like(call);
}

/* Keeps column - row >= k (upper) or <= k. */
static bl_status trilu_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    bool upper = bl_attr_int(call->node, "upper", 1) != 0;
    size_t size = bl_dtype_bytes(x->type);
    int64_t rows = x->dim[x->rank - 2], columns = x->dim[x->rank - 1], n = bl_tensor_count(x);
    double k = bl_op_has(call, 1) ? (double)bl_element_i64(call->in[1], 0) : 0;
    char *y = call->out[0].data;

    memcpy(y, x->data, bl_tensor_bytes(x));
    for (int64_t i = 0; i < n; i++) {
        double off = (double)(i % columns) - (double)(i / columns % rows);
        if (upper ? off < k : off > k) memset(y + (size_t)i * size, 0, size);
    }
    return BL_OK;
}

static bl_status eye_like_shape(const bl_call *call)
{
    int64_t type;

    BL_TRY(bl_op_begin(call, "dtype:i k:i"));
    BL_TRY(bl_op_type(call, 0, BL_T_NUMBERS | BL_BIT(BL_BOOL)));
    BL_TRY(bl_op_rank(call, 0, 2, 2));
    type = bl_attr_int(call->node, "dtype", call->in[0]->type);
    if (type < 0 || type >= 32 || !((BL_T_NUMBERS | BL_BIT(BL_BOOL)) & BL_BIT(type)))
        return bl_op_fail(call, BL_UNAVAILABLE, "use float32", "type %lld is not supported",
                          (long long)type);
    return bl_op_out(call, 0, (bl_dtype)type, 2, call->in[0]->dim);
}

static bl_status eye_like_forward(const bl_call *call)
{
    const bl_tensor *y = &call->out[0];
    size_t size = bl_dtype_bytes(y->type);
    int64_t k = bl_attr_int(call->node, "k", 0), whole = 1;
    float f = 1.0f;
    double d = 1.0;
    const void *one = y->type == BL_F32 ? (const void *)&f : y->type == BL_F64 ? (void *)&d : &whole;

    memset(y->data, 0, bl_tensor_bytes(y));
    for (int64_t i = 0; i < y->dim[0]; i++) {
        int64_t column;
        if (bl_add_i64(i, k, &column) && column >= 0 && column < y->dim[1])
            memcpy((char *)y->data + (size_t)(i * y->dim[1] + column) * size, one, size);
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ rows */

#define SELECT(title, symbol, bits, inputs_min, inputs_max, outputs)                               \
    const bl_op bl_op_##symbol = {                                                                 \
        .name = title,                                                                             \
        .flags = bits,                                                                             \
        .min_opset = 1,                                                                            \
        .in_min = inputs_min,                                                                      \
        .in_max = inputs_max,                                                                      \
        .out_max = outputs,                                                                        \
        .shape = symbol##_shape,                                                                   \
        .forward = symbol##_forward,                                                               \
    }

SELECT("EyeLike", eye_like, 0, 1, 1, 1);
SELECT("GatherElements", gather_elements, BL_OP_MOVES, 2, 2, 1);
SELECT("GatherND", gather_nd, BL_OP_MOVES, 2, 2, 1);
SELECT("OneHot", one_hot, 0, 3, 3, 1);
SELECT("TopK", top_k, 0, 1, 2, 2);
SELECT("Trilu", trilu, 0, 1, 2, 1);
