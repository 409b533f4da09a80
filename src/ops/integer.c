/* SPDX-License-Identifier: BSD-3-Clause */
/* What the integer facets share: errors, steps, clamped grids, moves. */
#include "ops/ops_private.h"

#include <stdarg.h>
#include <stdio.h>

static bl_status fail(const bl_lowering *low, const char *format, va_list args)
{
    char place[256], what[512];
    vsnprintf(what, sizeof what, format, args);
    snprintf(place, sizeof place, "node \"%s\" (%s)", low->node->name, low->node->op->name);
    return bl_fail(low->ctx, BL_UNAVAILABLE, place, "change the network there or give another width",
                   "no integer form: %s", what);
}

bl_status bl_integer_fail(const bl_lowering *low, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bl_status s = fail(low, format, args);
    va_end(args);
    if (low->no_form) *low->no_form = true;
    return s;
}

bl_status bl_integer_refuse(const bl_lowering *low, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bl_status s = fail(low, format, args);
    va_end(args);
    return s;
}

bl_step bl_step_make(bl_contract contract, const bl_ivalue *a, const bl_ivalue *b, const bl_ivalue *out)
{
    bl_step s;
    memset(&s, 0, sizeof s); /* stored as it stands: no byte left to chance */
    s.contract = contract;
    s.in[0] = a ? a->number : -1;
    s.in[1] = b ? b->number : -1;
    s.out = out->number;
    return s;
}

bl_grid bl_clamped_grid(const bl_node *node, bl_grid g)
{
    bl_grid c = g;
    if (node->lo > -INFINITY) c.lo = bl_quantize(node->lo, g);
    if (node->hi < INFINITY) c.hi = bl_quantize(node->hi, g);
    return c;
}

int64_t bl_ivalue_count(const bl_ivalue *v)
{
    int64_t n = 1;
    for (int d = 0; d < v->rank; d++) n *= v->dim[d];
    return n;
}

bool bl_ivalue_row_major(const bl_ivalue *v)
{
    int64_t expect = 1;
    for (int d = v->rank - 1; d >= 0; d--) {
        if (v->dim[d] == 1) continue;
        if (v->stride[d] != expect) return false;
        expect *= v->dim[d];
    }
    return true;
}

bl_status bl_integer_call(const bl_lowering *low, bl_call *call)
{
    int n = low->node->n_in;
    const bl_tensor **in = BL_NEW(low->scratch, const bl_tensor *, (size_t)n);
    bl_tensor *out = BL_NEW(low->scratch, bl_tensor, (size_t)low->node->n_out);
    if (!in || !out) return bl_pending(low->ctx);
    for (int i = 0; i < n; i++) {
        if (low->constant[i]) {
            in[i] = low->constant[i];
        } else if (low->in[i]) {
            bl_tensor *t = BL_NEW(low->scratch, bl_tensor, 1);
            BL_ALLOC_TRY(low->ctx, t);
            t->type = BL_F32;
            t->rank = low->in[i]->rank;
            memcpy(t->dim, low->in[i]->dim, sizeof t->dim);
            in[i] = t;
        }
    }
    *call = (bl_call){ .ctx = low->ctx, .node = low->node, .n_in = n, .n_out = low->node->n_out, .in = in,
                       .out = out, .scratch = low->scratch };
    return BL_OK;
}

static bool same_grid(bl_grid a, bl_grid b)
{
    return a.scale == b.scale && a.zero == b.zero && a.lo == b.lo && a.hi == b.hi;
}

/* Codes of one container, each through f or as given in values, as the kernels want them: every code that the container can
 * hold has an entry. */
static bl_status table_blob(bl_lowering *low, const bl_ivalue *in, const bl_ivalue *out,
                            double (*f)(const bl_node *, double), const float *values, uint64_t *offset)
{
    int n = in->bits <= 8 ? 256 : 65536;
    bl_grid gy = bl_clamped_grid(low->node, out->grid);
    uint8_t *t8 = BL_NEW(low->scratch, uint8_t, (size_t)n);
    uint16_t *t16 = BL_NEW(low->scratch, uint16_t, (size_t)n);
    if (!t8 || !t16) return bl_pending(low->ctx);
    for (int i = 0; i < n; i++) {
        float x = bl_dequantize(BL_MIN(i, in->grid.hi), in->grid);
        float y = values ? values[i] : f ? (float)f(low->node, (double)x) : x;
        int32_t q = bl_quantize(y, out->grid);
        q = q < gy.lo ? gy.lo : q > gy.hi ? gy.hi : q;
        t8[i] = (uint8_t)q;
        t16[i] = (uint16_t)q;
    }
    return out->bits <= 8 ? low->blob(low, t8, (size_t)n, offset)
                          : low->blob(low, t16, (size_t)n * sizeof *t16, offset);
}

/* Outermost first by the output's strides, extents of 1 dropped: long contiguous runs inside. */
static void fill_move(bl_step_move *m, int rank, const int64_t *size, const int64_t *in_stride, const int64_t *out_stride)
{
    for (int d = 0; d < rank; d++) {
        if (size[d] == 1) continue;
        int at = m->rank++;
        while (at > 0 && out_stride[d] > m->out_stride[at - 1]) {
            m->size[at] = m->size[at - 1];
            m->in_stride[at] = m->in_stride[at - 1];
            m->out_stride[at] = m->out_stride[at - 1];
            at--;
        }
        m->size[at] = size[d];
        m->in_stride[at] = in_stride[d];
        m->out_stride[at] = out_stride[d];
    }
    if (!m->rank) {
        m->rank = 1;
        m->size[0] = 1;
    }
}

bl_status bl_emit_move(bl_lowering *low, const bl_ivalue *in, const bl_ivalue *out, int rank,
                       const int64_t *size, const int64_t *in_stride, int64_t in_first,
                       const int64_t *out_stride, int64_t out_first)
{
    bl_step s = bl_step_make(BL_C_MOVE, in, NULL, out);
    bl_step_move *m = &s.u.move;
    int kept = 0;
    for (int d = 0; d < rank; d++) kept += size[d] > 1;
    if (kept > BL_MAX_RANK) return bl_integer_fail(low, "a copy over %d dimensions", kept);
    fill_move(m, rank, size, in_stride, out_stride);
    m->in_first = in_first;
    m->out_first = out_first;
    if (in->bits != out->bits || !same_grid(in->grid, out->grid) ||
        !same_grid(bl_clamped_grid(low->node, out->grid), out->grid)) {
        m->has_table = 1;
        BL_TRY(table_blob(low, in, out, NULL, NULL, &m->table));
    }
    return low->emit(low, &s);
}

/* Same elements in the same order of memory. */
static bool same_order(const bl_ivalue *x, const bl_ivalue *y)
{
    if (bl_ivalue_row_major(x) && bl_ivalue_row_major(y)) return true;
    if (x->rank != y->rank) return false;
    for (int d = 0; d < x->rank; d++)
        if (x->dim[d] > 1 && x->stride[d] != y->stride[d]) return false;
    return true;
}

bl_status bl_emit_table(bl_lowering *low, const bl_ivalue *x, uint64_t table)
{
    const bl_ivalue *y = low->out;
    bl_step s = bl_step_make(same_order(x, y) ? BL_C_TABLE : BL_C_MOVE, x, NULL, y);
    if (s.contract == BL_C_TABLE) {
        s.u.table.n = bl_ivalue_count(x);
        s.u.table.table = table;
        return low->emit(low, &s);
    }
    if (x->rank != y->rank) return bl_integer_fail(low, "its output has another rank");
    fill_move(&s.u.move, x->rank, x->dim, x->stride, y->stride);
    s.u.move.has_table = 1;
    s.u.move.table = table;
    return low->emit(low, &s);
}

bl_status bl_unary_integer(bl_lowering *low, const bl_node *node)
{
    const bl_ivalue *x = low->in[0];
    uint64_t table;
    if (!x) return bl_integer_fail(low, "its input is constant");
    if (!node->op->unary) return bl_integer_fail(low, "not a function of one number");
    BL_TRY(table_blob(low, x, low->out, node->op->unary, NULL, &table));
    return bl_emit_table(low, x, table);
}

/* The one activation of a node whose other inputs are single numbers; -1: there is none. */
static int lone_input(const bl_lowering *low)
{
    int x = -1;
    for (int k = 0; k < low->node->n_in; k++) {
        if (low->node->in[k] < 0) continue;
        bool number = low->constant[k] && low->constant[k]->type == BL_F32 && bl_tensor_count(low->constant[k]) == 1;
        if (number) continue;
        if (x >= 0 || low->constant[k] || !low->in[k]) return -1;
        x = k;
    }
    return x;
}

bl_status bl_pointwise_integer(bl_lowering *low, const bl_node *node)
{
    int lone = lone_input(low), n_in = node->n_in;
    const bl_ivalue *x = lone >= 0 ? low->in[lone] : NULL;
    if (!(node->op->flags & BL_OP_POINTWISE) || !x || low->n_out != 1 ||
        bl_ivalue_count(x) != bl_ivalue_count(low->out))
        return bl_integer_fail(low, "not a function of one number");
    int n = x->bits <= 8 ? 256 : 65536;
    const bl_tensor **in = BL_NEW(low->scratch, const bl_tensor *, (size_t)n_in);
    bl_tensor *t = BL_NEW(low->scratch, bl_tensor, (size_t)n_in), out = { .type = BL_F32, .rank = 1, .dim = { n } };
    float *codes = BL_NEW(low->scratch, float, (size_t)n);
    out.data = BL_NEW(low->scratch, float, (size_t)n);
    if (!in || !t || !codes || !out.data) return bl_pending(low->ctx);
    for (int i = 0; i < n; i++) codes[i] = bl_dequantize(BL_MIN(i, x->grid.hi), x->grid);
    for (int k = 0; k < n_in; k++) {
        if (node->in[k] < 0) continue;
        t[k] = k == lone ? out : (bl_tensor){ .type = BL_F32, .data = BL_NEW(low->scratch, float, 1) };
        if (!t[k].data) return bl_pending(low->ctx);
        if (k == lone) t[k].data = codes;
        else *(float *)t[k].data = *(const float *)low->constant[k]->data;
        if (k != lone && low->in[k]) *(float *)t[k].data = bl_fake_quantize(*(float *)t[k].data, low->in[k]->grid);
        in[k] = &t[k];
    }
    bl_call call = { .ctx = low->ctx, .node = node, .n_in = n_in, .n_out = 1, .in = in, .out = &out, .scratch = low->scratch };
    uint64_t table;
    BL_TRY(node->op->forward(&call));
    BL_TRY(table_blob(low, x, low->out, NULL, out.data, &table));
    return bl_emit_table(low, x, table);
}

bl_status bl_clip_integer(bl_lowering *low, const bl_node *node)
{
    bl_node bounded = *node;
    for (int i = 1; i < node->n_in; i++) {
        if (node->in[i] < 0) continue;
        if (!low->constant[i] || low->constant[i]->type != BL_F32) return bl_integer_fail(low, "bounds that are not constant");
        float v = *(const float *)low->constant[i]->data;
        if (i == 1) bounded.lo = fmaxf(bounded.lo, v);
        else bounded.hi = fminf(bounded.hi, v);
    }
    bounded.lo = fminf(bounded.lo, bounded.hi); /* bounds that cross: all becomes the upper one */
    low->node = &bounded;
    bl_status s = bl_unary_integer(low, &bounded);
    low->node = node;
    return s;
}

bl_status bl_rows_in(bl_lowering *low, const bl_ivalue *x, bl_ivalue *from)
{
    *from = *x;
    if (bl_ivalue_row_major(x)) return BL_OK;
    BL_TRY(low->temp(low, x, from));
    return bl_emit_move(low, x, from, x->rank, x->dim, x->stride, 0, from->stride, 0);
}

bl_status bl_rows_out(bl_lowering *low, const bl_ivalue *y, bl_ivalue *to)
{
    *to = *y;
    return bl_ivalue_row_major(y) ? BL_OK : low->temp(low, y, to);
}

bl_status bl_rows_done(bl_lowering *low, const bl_ivalue *to, const bl_ivalue *y)
{
    return to->number == y->number ? BL_OK : bl_emit_move(low, to, y, y->rank, y->dim, to->stride, 0, y->stride, 0);
}

/* [Q12].  In double b = max(0, ln(FLT_MAX/D) - 5) / sx; T[i] = f(exp((i - 255 + b) * sx)), for narrower
 * codes too: only differences to the maximum count, and every container has its entry. */
bl_status bl_softmax_integer(bl_lowering *low, const bl_node *node)
{
    const bl_ivalue *x = low->in[0], *y = low->out;
    if (!x || x->rank < 1) return bl_integer_fail(low, "its input is constant");
    bool flat = node->opset < 13; /* everything from the axis on is one row */
    int axis = (int)bl_attr_int(node, "axis", flat ? 1 : -1);
    int64_t d = 1, behind = 1;
    if (axis < 0) axis += x->rank;
    for (int i = axis; i < x->rank; i++) {
        if (flat || i == axis) d *= x->dim[i];
        else behind *= x->dim[i];
    }
    if (behind != 1) return bl_integer_fail(low, "softmax over another axis than the last");
    if (x->bits > 8 || y->bits != 8) return bl_integer_fail(low, "softmax of %d to %d bits", x->bits, y->bits);
    if (y->grid.scale != 1.0f / 256 || y->grid.zero != 0)
        return bl_integer_refuse(low, "softmax wants scale 1/256 and zero point 0 at its output");
    bl_ivalue from, to;
    BL_TRY(bl_rows_in(low, x, &from));
    BL_TRY(bl_rows_out(low, y, &to));
    bl_step s = bl_step_make(BL_C_SOFTMAX, &from, NULL, &to);
    bl_step_softmax *m = &s.u.softmax;
    m->d = d;
    m->rows = bl_ivalue_count(x) / m->d;
    m->gx = x->grid;
    m->gy = bl_clamped_grid(node, y->grid);
    float table[256];
    double sx = (double)x->grid.scale, b = fmax(0, log((double)__FLT_MAX__ / (double)m->d) - 5) / sx;
    for (int i = 0; i < 256; i++) table[i] = (float)exp((i - 255 + b) * sx);
    BL_TRY(low->blob(low, table, sizeof table, &m->table));
    BL_TRY(low->emit(low, &s));
    return bl_rows_done(low, &to, y);
}
