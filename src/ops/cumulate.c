/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sums over free choices of indices: CumSum along an axis, Einsum over named dimensions.  float32,
 * float64 and integers (which wrap); real sums run in the tensor's own type, index order.
 */
#include "ops/ops_private.h"

#define SUMMABLE                                                                                   \
    (BL_BIT(BL_F32) | BL_BIT(BL_F64) | BL_BIT(BL_I32) | BL_BIT(BL_I64) | BL_BIT(BL_U32) |          \
     BL_BIT(BL_U64))

/* y[i] += x[from]; whole numbers wrap. */
static void accumulate(bl_tensor *y, int64_t i, const bl_tensor *x, int64_t from)
{
    if (y->type == BL_F32)
        ((float *)y->data)[i] += ((const float *)x->data)[from];
    else if (y->type == BL_F64)
        ((double *)y->data)[i] += ((const double *)x->data)[from];
    else if (bl_dtype_bytes(y->type) == 4)
        ((uint32_t *)y->data)[i] += ((const uint32_t *)x->data)[from];
    else
        ((uint64_t *)y->data)[i] += ((const uint64_t *)x->data)[from];
}

/* ------------------------------------------------------------------ CumSum */

static bl_status cum_sum_shape(const bl_call *call)
{
    int64_t given;
    int n, axis;

    BL_TRY(bl_op_begin(call, "exclusive:i reverse:i"));
    BL_TRY(bl_op_type(call, 0, SUMMABLE));
    BL_TRY(bl_op_ints(call, 1, 1, &given, &n));
    if (n != 1) return bl_op_fail(call, BL_DATA, "repair the model", "the axis is missing");
    BL_TRY(bl_op_axis(call, given, call->in[0]->rank, &axis));
    return bl_op_like(call);
}

static bl_status cum_sum_forward(const bl_call *call)
{
    const bl_tensor *x = call->in[0];
    bl_tensor *y = &call->out[0];
    bool exclusive = bl_attr_int(call->node, "exclusive", 0) != 0;
    bool reverse = bl_attr_int(call->node, "reverse", 0) != 0;
    size_t size = bl_dtype_bytes(x->type);
    int64_t inner = 1, d, lines;
    int axis;

    BL_TRY(bl_op_axis(call, bl_element_i64(call->in[1], 0), x->rank, &axis));
    for (int i = axis + 1; i < x->rank; i++) inner *= x->dim[i];
    d = x->dim[axis];
    lines = bl_tensor_count(x) / d;
    memset(y->data, 0, bl_tensor_bytes(y));
    for (int64_t line = 0; line < lines; line++)
        for (int64_t i = 0; i < d; i++) {
            int64_t base = line / inner * d * inner + line % inner;
            int64_t at = base + (reverse ? d - 1 - i : i) * inner;
            int64_t before = at - (reverse ? -inner : inner);
            if (i > 0)
                memcpy((char *)y->data + (size_t)at * size,
                       (char *)y->data + (size_t)before * size, size);
            if (!exclusive)
                accumulate(y, at, x, at);
            else if (i > 0)
                accumulate(y, at, x, before);
        }
    return BL_OK;
}

/* ------------------------------------------------------------------ Einsum */

/* An ellipsis stands for dimensions that broadcast: labels of their own, from the end. */
enum { LETTERS = 52, LABELS = LETTERS + BL_MAX_RANK, FACTORS_MAX = 8 };

typedef struct einsum {
    int64_t size[LABELS];           /* 0: not used */
    int n_in[FACTORS_MAX], n_out;
    int in[FACTORS_MAX][BL_MAX_RANK], out[BL_MAX_RANK];
} einsum;

static int letter_of(char c)
{
    return c >= 'a' && c <= 'z' ? c - 'a' : c >= 'A' && c <= 'Z' ? c - 'A' + 26 : -1;
}

static bl_status odd_equation(const bl_call *call)
{
    return bl_op_fail(call, BL_DATA, "repair the model", "the equation \"%.100s\" is not understood",
                      bl_attr_string(call->node, "equation", ""));
}

/* One term up to ',', "->" or the end.  rank < 0: the output, whose ellipsis takes `dots`. */
static bl_status read_term(const bl_call *call, const char **text, int rank, int *dots, int *label,
                           int *n)
{
    const char *p = *text;
    int letters = 0, ellipses = 0, own;

    for (; *p && *p != ',' && *p != '-'; p++) {
        if (strncmp(p, "...", 3) == 0) {
            ellipses++;
            p += 2;
        } else if (letter_of(*p) >= 0) {
            letters++;
        } else if (*p != ' ') {
            return odd_equation(call);
        }
    }
    own = rank < 0 ? *dots : rank - letters;
    if (ellipses > 1 || own < 0 || (!ellipses && rank >= 0 && own > 0) ||
        letters + (ellipses ? own : 0) > BL_MAX_RANK)
        return odd_equation(call);
    *n = 0;
    for (p = *text; *p && *p != ',' && *p != '-'; p++) {
        if (letter_of(*p) >= 0) label[(*n)++] = letter_of(*p);
        if (*p != '.') continue;
        for (int i = 0; i < own; i++) label[(*n)++] = LETTERS + BL_MAX_RANK - own + i;
        p += 2;
    }
    if (ellipses) *dots = BL_MAX(*dots, own);
    *text = p;
    return BL_OK;
}

static bl_status size_labels(const bl_call *call, einsum *e, int i)
{
    for (int d = 0; d < e->n_in[i]; d++) {
        int64_t *size = &e->size[e->in[i][d]], have = call->in[i]->dim[d];
        bool wide = e->in[i][d] >= LETTERS; /* broadcasts */
        if (*size == 0 || (wide && *size == 1))
            *size = have;
        else if (*size != have && !(wide && have == 1))
            return bl_op_fail(call, BL_DATA, "repair the model",
                              "dimension %d of input %d is %lld where %lld is meant", d, i,
                              (long long)have, (long long)*size);
    }
    return BL_OK;
}

/* Without "->": the ellipsis, then the letters that occur once, in alphabetical order. */
static bl_status implied_output(const bl_call *call, einsum *e, int dots)
{
    int seen[LABELS] = {0};

    for (int i = 0; i < call->n_in; i++)
        for (int d = 0; d < e->n_in[i]; d++) seen[e->in[i][d]]++;
    for (int i = 0; i < dots; i++) e->out[e->n_out++] = LETTERS + BL_MAX_RANK - dots + i;
    for (int c = 0; c < LETTERS; c++) {
        int label = c < 26 ? c + 26 : c - 26; /* capitals come first */
        if (seen[label] != 1) continue;
        if (e->n_out == BL_MAX_RANK) return odd_equation(call);
        e->out[e->n_out++] = label;
    }
    return BL_OK;
}

static bl_status einsum_read(const bl_call *call, einsum *e)
{
    const char *p = bl_attr_string(call->node, "equation", "");
    int dots = 0;

    memset(e, 0, sizeof *e);
    for (int i = 0; i < call->n_in; i++) {
        BL_TRY(read_term(call, &p, call->in[i]->rank, &dots, e->in[i], &e->n_in[i]));
        if (i + 1 < call->n_in && *p++ != ',') return odd_equation(call);
        BL_TRY(size_labels(call, e, i));
    }
    if (!*p) return implied_output(call, e, dots);
    if (strncmp(p, "->", 2) != 0) return odd_equation(call);
    p += 2;
    BL_TRY(read_term(call, &p, -1, &dots, e->out, &e->n_out));
    if (*p) return odd_equation(call);
    for (int d = 0; d < e->n_out; d++) {
        if (e->size[e->out[d]] == 0) return odd_equation(call);
        for (int k = 0; k < d; k++)
            if (e->out[k] == e->out[d]) return odd_equation(call);
    }
    return BL_OK;
}

static bl_status einsum_shape(const bl_call *call)
{
    int64_t dim[BL_MAX_RANK], work = 1;
    einsum e;

    BL_TRY(bl_op_begin(call, "equation:s"));
    for (int i = 0; i < call->n_in; i++)
        if (!call->in[i])
            return bl_op_fail(call, BL_DATA, "repair the model", "input %d is missing", i);
    BL_TRY(bl_op_one_type(call, SUMMABLE));
    BL_TRY(einsum_read(call, &e));
    for (int i = 0; i < LABELS; i++)
        if (e.size[i] > 0 && !bl_mul_i64(work, e.size[i], &work))
            return bl_op_fail(call, BL_DATA, "repair the model", "the sum has too many terms");
    for (int d = 0; d < e.n_out; d++) dim[d] = e.size[e.out[d]];
    return bl_op_out(call, 0, call->in[0]->type, e.n_out, dim);
}

static int64_t einsum_macs(const bl_call *call)
{
    int64_t work = 1;
    einsum e;

    if (einsum_read(call, &e) != BL_OK) return 0;
    for (int i = 0; i < LABELS; i++) work *= BL_MAX(e.size[i], 1);
    return work;
}

/* The loops: output labels outermost, then those summed over; strides of each factor. */
typedef struct loops {
    int n, n_out;
    int64_t size[LABELS], stride[FACTORS_MAX][LABELS];
} loops;

static void make_loops(const bl_call *call, const einsum *e, loops *l)
{
    int at[LABELS];

    memset(l, 0, sizeof *l);
    for (int i = 0; i < LABELS; i++) at[i] = -1;
    for (int d = 0; d < e->n_out; d++) at[e->out[d]] = l->n++;
    l->n_out = l->n;
    for (int i = 0; i < LABELS; i++)
        if (e->size[i] > 0 && at[i] < 0) at[i] = l->n++;
    for (int i = 0; i < LABELS; i++)
        if (at[i] >= 0) l->size[at[i]] = e->size[i];
    for (int i = 0; i < call->n_in; i++) {
        int64_t stride[BL_MAX_RANK];
        bl_strides(call->in[i]->rank, call->in[i]->dim, stride);
        for (int d = 0; d < e->n_in[i]; d++) /* a label twice walks the diagonal */
            l->stride[i][at[e->in[i][d]]] += call->in[i]->dim[d] == 1 ? 0 : stride[d];
    }
}

static void add_term(const bl_call *call, int64_t to, const int64_t *from)
{
    const bl_tensor *y = &call->out[0];

    if (y->type == BL_F32) {
        float v = ((const float *)call->in[0]->data)[from[0]];
        for (int i = 1; i < call->n_in; i++) v *= ((const float *)call->in[i]->data)[from[i]];
        ((float *)y->data)[to] += v;
    } else if (y->type == BL_F64) {
        double v = ((const double *)call->in[0]->data)[from[0]];
        for (int i = 1; i < call->n_in; i++) v *= ((const double *)call->in[i]->data)[from[i]];
        ((double *)y->data)[to] += v;
    } else {
        uint64_t v = 1;
        size_t size = bl_dtype_bytes(y->type);
        for (int i = 0; i < call->n_in; i++) v *= (uint64_t)bl_element_i64(call->in[i], from[i]);
        v += (uint64_t)bl_element_i64(y, to);
        memcpy((char *)y->data + (size_t)to * size, &v, size); /* little endian */
    }
}

static bl_status einsum_forward(const bl_call *call)
{
    int64_t index[LABELS] = {0}, from[FACTORS_MAX] = {0}, summed = 1, total = 1;
    einsum e;
    loops l;

    BL_TRY(einsum_read(call, &e));
    make_loops(call, &e, &l);
    for (int d = 0; d < l.n; d++) {
        total *= l.size[d];
        summed *= d >= l.n_out ? l.size[d] : 1;
    }
    memset(call->out[0].data, 0, bl_tensor_bytes(&call->out[0]));
    for (int64_t i = 0; i < total; i++) {
        add_term(call, i / summed, from);
        for (int d = l.n - 1; d >= 0; d--) {
            bool more = ++index[d] < l.size[d];
            for (int k = 0; k < call->n_in; k++)
                from[k] += more ? l.stride[k][d] : -l.stride[k][d] * (l.size[d] - 1);
            if (more) break;
            index[d] = 0;
        }
    }
    return BL_OK;
}

const bl_op bl_op_cum_sum = {
    .name = "CumSum",
    .min_opset = 11,
    .in_min = 2,
    .in_max = 2,
    .out_max = 1,
    .shape = cum_sum_shape,
    .forward = cum_sum_forward,
};

const bl_op bl_op_einsum = {
    .name = "Einsum",
    .min_opset = 12,
    .in_min = 1,
    .in_max = FACTORS_MAX,
    .out_max = 1,
    .shape = einsum_shape,
    .forward = einsum_forward,
    .macs = einsum_macs,
};
