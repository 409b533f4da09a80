/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Steps made ready: each gets a kernel row and the arguments that the row is called with, its weights in the row's
 * layout, and the number of pieces that threads share.
 */
#include "program/exec.h"

#include <string.h>

static void *offset_codes(const bl_exec *e, int32_t tensor, int64_t elements)
{
    return (uint8_t *)bl_codes_of(e, tensor) + elements * (e->p->tensors[tensor].bits <= 8 ? 1 : 2);
}

/* Of the row with that name; convolution, whose absence is then said, where there is none. */
static bl_contract contract_of(const char *kernel)
{
    for (size_t i = 0; i < bl_n_kernels; i++)
        if (!strcmp(bl_kernels[i].name, kernel)) return bl_kernels[i].contract;
    return BL_C_CONV;
}

static bl_status choose(bl_exec *e, uint32_t i, const void *args)
{
    const bl_step *s = &e->p->steps[i];
    const char *name = e->kernel && contract_of(e->kernel) == (bl_contract)s->contract ? e->kernel : NULL;
    const char *row = name ? NULL : bl_program_row(e->p, i, e->cap);
    if (row) e->steps[i].kernel = bl_kernel_choose((bl_contract)s->contract, args, e->cap, row);
    if (!e->steps[i].kernel) e->steps[i].kernel = bl_kernel_choose((bl_contract)s->contract, args, e->cap, name);
    if (!e->steps[i].kernel)
        return bl_fail(e->ctx, BL_UNAVAILABLE, e->p->strings + s->name, "see `bitlathe list kernels`",
                       "no kernel %sfor this step here", name ? "of that name " : "");
    return BL_OK;
}

/* ---- one contract each: kernel arguments of a step */

static bl_status ready_conv(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_conv *v = &s->u.conv;
    BL_TRY(choose(e, i, &v->s));
    const bl_conv_row *row = e->steps[i].kernel->row;
    e->packed_bytes += bl_arena_room(row->packed_bytes(&v->s));
    e->work_bytes = BL_MAX(e->work_bytes, row->work_bytes(&v->s));
    e->steps[i].rows = v->s.out_h;
    e->steps[i].a.conv = (bl_conv_args){
        .s = v->s, .in = bl_codes_of(e, s->in[0]), .out = bl_codes_of(e, s->out), .bias = (const void *)(e->p->constants + v->bias),
        .mult = (const void *)(e->p->constants + v->mult), .zero_in = v->zero_in, .zero_out = v->zero_out,
        .lo = v->lo, .hi = v->hi };
    return BL_OK;
}

bl_status bl_ready_weights(bl_exec *e, uint32_t i, bl_arena *scratch)
{
    const bl_step_conv *v = &e->p->steps[i].u.conv;
    const bl_conv_row *row = e->steps[i].kernel->row;
    size_t n = (size_t)v->s.out_c * (size_t)v->s.kernel_h * (size_t)v->s.kernel_w * (size_t)(v->s.in_c / v->s.groups);
    int8_t *codes = BL_NEW(scratch, int8_t, n);
    void *packed = bl_alloc(e->weights, row->packed_bytes(&v->s), 1);
    if (!codes || !packed) return bl_pending(e->ctx);
    bl_conv_codes(e->p, v, n, codes);
    row->pack(&v->s, codes, v->zero_in, e->steps[i].a.conv.bias, packed);
    e->steps[i].a.conv.packed = packed;
    return BL_OK;
}

static bl_status ready_pair(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_pair *v = &s->u.pair;
    bl_pair_args *a = &e->steps[i].a.pair;
    *a = (bl_pair_args){ .a = bl_codes_of(e, s->in[0]), .b = bl_codes_of(e, s->in[1]), .out = bl_codes_of(e, s->out),
                         .a_bits = e->p->tensors[s->in[0]].bits, .b_bits = e->p->tensors[s->in[1]].bits,
                         .out_bits = e->p->tensors[s->out].bits, .rank = v->rank, .ga = v->ga, .gb = v->gb,
                         .gy = v->gy, .outer_end = v->size[0] };
    memcpy(a->size, v->size, sizeof a->size);
    memcpy(a->a_stride, v->a_stride, sizeof a->a_stride);
    memcpy(a->b_stride, v->b_stride, sizeof a->b_stride);
    memcpy(a->out_stride, v->out_stride, sizeof a->out_stride);
    e->steps[i].rows = v->size[0];
    return choose(e, i, a);
}

static bl_status ready_pool(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_pool *v = &s->u.pool;
    bl_pool_args *a = &e->steps[i].a.pool;
    *a = (bl_pool_args){ .in = bl_codes_of(e, s->in[0]), .out = bl_codes_of(e, s->out),
                         .bits_in = e->p->tensors[s->in[0]].bits, .bits_out = e->p->tensors[s->out].bits,
                         .in_h = v->in_h, .in_w = v->in_w, .c = v->c, .out_h = v->out_h, .out_w = v->out_w,
                         .kernel_h = v->kernel_h, .kernel_w = v->kernel_w, .stride_h = v->stride_h,
                         .stride_w = v->stride_w, .dilation_h = v->dilation_h, .dilation_w = v->dilation_w,
                         .pad_top = v->pad_top, .pad_left = v->pad_left, .count_include_pad = v->count_include_pad,
                         .gx = v->gx, .gy = v->gy, .row_end = v->out_h };
    e->steps[i].rows = v->out_h;
    return choose(e, i, a);
}

/* The dimension whose steps lie furthest apart in the output, and its size. */
static int64_t split_dim(int rank, const int64_t *size, const int64_t *out_stride, int *dim)
{
    *dim = 0;
    for (int d = 1; d < rank; d++)
        if (size[d] > 1 && (size[*dim] <= 1 || llabs(out_stride[d]) > llabs(out_stride[*dim]))) *dim = d;
    return rank ? size[*dim] : 1;
}

static bl_status ready_move(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_move *v = &s->u.move;
    bl_move_args *a = &e->steps[i].a.move;
    *a = (bl_move_args){ .in = offset_codes(e, s->in[0], v->in_first), .out = offset_codes(e, s->out, v->out_first),
                         .in_bits = e->p->tensors[s->in[0]].bits, .out_bits = e->p->tensors[s->out].bits,
                         .rank = v->rank, .table = v->has_table ? e->p->constants + v->table : NULL };
    memcpy(a->size, v->size, sizeof a->size);
    memcpy(a->in_stride, v->in_stride, sizeof a->in_stride);
    memcpy(a->out_stride, v->out_stride, sizeof a->out_stride);
    e->steps[i].rows = split_dim(a->rank, a->size, a->out_stride, &e->steps[i].dim);
    return choose(e, i, a);
}

static bl_status ready_table(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    bl_table_args *a = &e->steps[i].a.table;
    *a = (bl_table_args){ .in = bl_codes_of(e, s->in[0]), .out = bl_codes_of(e, s->out), .n = s->u.table.n,
                          .in_bits = e->p->tensors[s->in[0]].bits, .out_bits = e->p->tensors[s->out].bits,
                          .table = e->p->constants + s->u.table.table };
    e->steps[i].rows = (a->n + BL_TABLE_ROW - 1) / BL_TABLE_ROW;
    return choose(e, i, a);
}

static bl_status ready_softmax(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_softmax *v = &s->u.softmax;
    bl_softmax_args *a = &e->steps[i].a.softmax;
    /* 8 bits whatever the tensor has: the table covers the container, so no file can lead beside it. */
    *a = (bl_softmax_args){ .in = bl_codes_of(e, s->in[0]), .out = bl_codes_of(e, s->out), .rows = v->rows, .d = v->d,
                            .in_bits = 8, .out_bits = e->p->tensors[s->out].bits,
                            .table = (const void *)(e->p->constants + v->table), .gx = v->gx, .gy = v->gy };
    e->steps[i].rows = v->rows;
    return choose(e, i, a);
}

static bl_status ready_layernorm(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_layernorm *v = &s->u.layernorm;
    bl_layernorm_args *a = &e->steps[i].a.layernorm;
    *a = (bl_layernorm_args){ .in = bl_codes_of(e, s->in[0]), .out = bl_codes_of(e, s->out), .rows = v->rows, .d = v->d,
                              .in_bits = e->p->tensors[s->in[0]].bits, .out_bits = e->p->tensors[s->out].bits,
                              .gain = (const void *)(e->p->constants + v->gain),
                              .shift = (const void *)(e->p->constants + v->shift), .floor = v->floor, .gy = v->gy };
    e->steps[i].rows = v->rows;
    return choose(e, i, a);
}

static bl_status ready_edge(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_edge *v = &s->u.edge;
    bool in = s->contract == BL_C_QUANTIZE;
    int32_t tensor = in ? s->out : s->in[0];
    if (e->p->tensors[tensor].raw) return BL_OK; /* run_raw_edge */
    bl_edge_args *a = &e->steps[i].a.edge;
    *a = (bl_edge_args){ .in = in ? (void *)e->edge[s->in[0]] : bl_codes_of(e, tensor),
                         .out = in ? bl_codes_of(e, tensor) : (void *)e->edge[s->out],
                         .bits = e->p->tensors[tensor].bits, .rank = v->rank, .g = v->g };
    memcpy(a->size, v->size, sizeof a->size);
    memcpy(a->in_stride, v->in_stride, sizeof a->in_stride);
    memcpy(a->out_stride, v->out_stride, sizeof a->out_stride);
    if (in) bl_edge_inverse(a->g, &a->inverse, &a->rest);
    e->steps[i].rows = split_dim(a->rank, a->size, a->out_stride, &e->steps[i].dim);
    return choose(e, i, a);
}

static bl_status ready_matmul(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_matmul *v = &s->u.matmul;
    bl_matmul_args *a = &e->steps[i].a.matmul;
    *a = (bl_matmul_args){ .a = bl_codes_of(e, s->in[0]), .b = bl_codes_of(e, s->in[1]), .out = bl_codes_of(e, s->out),
                           .a_bits = e->p->tensors[s->in[0]].bits, .b_bits = e->p->tensors[s->in[1]].bits,
                           .out_bits = e->p->tensors[s->out].bits, .rank = v->rank, .m = v->m, .n = v->n, .k = v->k,
                           .a_m = v->a_m, .a_k = v->a_k, .b_k = v->b_k, .b_n = v->b_n, .out_m = v->out_m,
                           .out_n = v->out_n, .zero_a = v->zero_a, .zero_b = v->zero_b, .zero_out = v->zero_out,
                           .lo = v->lo, .hi = v->hi, .mult = v->mult, .acc64 = v->acc64 };
    memcpy(a->size, v->size, sizeof a->size);
    memcpy(a->a_stride, v->a_stride, sizeof a->a_stride);
    memcpy(a->b_stride, v->b_stride, sizeof a->b_stride);
    memcpy(a->out_stride, v->out_stride, sizeof a->out_stride);
    a->end = v->m;
    for (int d = 0; d < v->rank; d++) a->end *= v->size[d];
    e->steps[i].rows = a->end;
    BL_TRY(choose(e, i, a));
    e->work_bytes = BL_MAX(e->work_bytes, ((const bl_matmul_row *)e->steps[i].kernel->row)->work_bytes(a));
    return BL_OK;
}

bl_status bl_ready_step(bl_exec *e, uint32_t i)
{
    switch ((bl_contract)e->p->steps[i].contract) {
    case BL_C_MATMUL: return ready_matmul(e, i);
    case BL_C_CONV: return ready_conv(e, i);
    case BL_C_ADD:
    case BL_C_MUL: return ready_pair(e, i);
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL: return ready_pool(e, i);
    case BL_C_MOVE: return ready_move(e, i);
    case BL_C_TABLE: return ready_table(e, i);
    case BL_C_SOFTMAX: return ready_softmax(e, i);
    case BL_C_LAYERNORM: return ready_layernorm(e, i);
    default: return ready_edge(e, i);
    }
}

/* Roughly how long a step takes on one core. */
static double step_ns(const bl_step *s, const bl_ready *r)
{
    enum { MACS_A_NS = 120, CODES_A_NS = 20, REALS_A_NS = 6 };
    double n = 1;
    switch ((bl_contract)s->contract) {
    case BL_C_CONV: {
        const bl_conv_shape *c = &r->a.conv.s;
        return (double)c->out_h * c->out_w * c->out_c *
               ((double)c->kernel_h * c->kernel_w * (c->in_c / c->groups) / MACS_A_NS + 1.0 / CODES_A_NS);
    }
    case BL_C_MATMUL: return (double)r->a.matmul.end * (double)r->a.matmul.n * (double)r->a.matmul.k / MACS_A_NS * 3;
    case BL_C_ADD:
    case BL_C_MUL:
        for (int d = 0; d < r->a.pair.rank; d++) n *= (double)r->a.pair.size[d];
        return n / CODES_A_NS;
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL:
        return (double)r->a.pool.out_h * r->a.pool.out_w * r->a.pool.c * r->a.pool.kernel_h * r->a.pool.kernel_w / CODES_A_NS;
    case BL_C_TABLE: return (double)r->a.table.n / CODES_A_NS;
    case BL_C_SOFTMAX: return (double)r->a.softmax.rows * (double)r->a.softmax.d;
    case BL_C_LAYERNORM: return (double)r->a.layernorm.rows * (double)r->a.layernorm.d / REALS_A_NS;
    case BL_C_MOVE:
        for (int d = 0; d < r->a.move.rank; d++) n *= (double)r->a.move.size[d];
        return n / CODES_A_NS;
    default:
        for (int d = 0; d < r->a.edge.rank; d++) n *= (double)r->a.edge.size[d];
        return n / REALS_A_NS;
    }
}

/* What the busiest of some threads has of n pieces. */
static double busiest(int64_t n, int64_t threads)
{
    return (double)((n + threads - 1) / threads) / (double)n;
}

/* Deep layers are split by output channel where the row can: each core then reads its own weights alone, which are
 * more than what goes in, and a fully connected layer has no other way to be split.  Weights that either core has room
 * for are no reason to leave one of them idle at the end.  A depthwise layer reads its own channels alone either way, and
 * whole columns of them begin less often; but behind rows, or before what is no convolution, each core would read what
 * the other wrote. */
static bool splits_by_channel(const bl_ready *r, bool between, size_t parts, int64_t threads)
{
    enum { NEAR_BYTES = 128 << 10 };
    const bl_conv_shape *s = &r->a.conv.s;
    double by_parts = busiest((int64_t)parts, threads), by_rows = busiest(r->rows, threads);
    if (s->groups > 1 && s->groups == s->in_c) return between && by_parts <= by_rows;
    size_t weights = ((const bl_conv_row *)r->kernel->row)->packed_bytes(s);
    return weights >= (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c && (weights > NEAR_BYTES || by_rows >= 0.95 * by_parts);
}

/* between: behind a convolution split by channel, and before one. */
static void split_conv(bl_ready *r, bool between, int64_t threads)
{
    const bl_conv_row *row = r->kernel->row;
    size_t parts = row->parts ? row->parts(&r->a.conv.s) : 1;
    r->by_channel = parts > 1 && splits_by_channel(r, between, parts, threads);
    if (r->by_channel) r->rows = (int64_t)parts;
}

/* The step behind step i is a convolution of what i gives. */
static bool feeds(const bl_program *p, uint32_t i)
{
    return i + 1 < p->n_steps && p->steps[i + 1].contract == BL_C_CONV && p->steps[i + 1].in[0] == p->steps[i].out;
}

/* A helper that is awake joins within a fifth of a microsecond; to wake one takes the caller ten, so networks that may
 * be over by then have to bring longer steps. */
void bl_ready_parts(bl_exec *e)
{
    enum { WORTH_NS = 3000, WORTH_WAKING_NS = 10000, LONG_NS = 200000 };
    double all = 0;
    for (uint32_t i = 0; i < e->p->n_steps; i++) {
        e->steps[i].parts = 1;
        if (e->steps[i].kernel) all += step_ns(&e->p->steps[i], &e->steps[i]);
    }
    for (uint32_t i = 0; i < e->p->n_steps && e->threads > 1; i++) {
        bl_ready *r = &e->steps[i];
        if (!r->kernel || step_ns(&e->p->steps[i], r) < (all < LONG_NS ? WORTH_WAKING_NS : WORTH_NS)) continue;
        if (r->kernel->contract == BL_C_CONV) split_conv(r, i > 0 && e->steps[i - 1].by_channel && feeds(e->p, i - 1) && feeds(e->p, i), (int64_t)e->threads);
        r->parts = BL_MIN(r->rows, (int64_t)e->threads);
    }
}

static bool overlap(const bl_ptensor *a, const bl_ptensor *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* In place is what the memory plan makes of it; a program that says otherwise runs step by step. */
void bl_ready_sum(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i], *conv = &e->p->steps[i - 1];
    const bl_ptensor *t = e->p->tensors;
    if (s->contract != BL_C_ADD || conv->contract != BL_C_CONV || s->in[0] == s->in[1]) return;
    bool first = conv->out == s->in[0];
    const bl_conv_shape *shape = &conv->u.conv.s;
    const bl_pair_args *a = &e->steps[i].a.pair;
    const bl_conv_row *row = e->steps[i - 1].kernel->row;
    int32_t with = s->in[first];
    if (!first && conv->out != s->in[1]) return;
    if (!row->adds || !row->adds(shape) || a->a_bits > 8 || a->b_bits > 8 || a->out_bits > 8 || !bl_pair_dense(&s->u.pair)) return;
    int64_t n = 1;
    for (int d = 0; d < a->rank; d++) n *= a->size[d];
    if (n != (int64_t)shape->out_h * shape->out_w * shape->out_c || a->out != (first ? a->a : a->b)) return;
    if (overlap(&t[with], &t[s->out]) || t[with].flags & BL_TENSOR_CONSTANT) return;
    for (uint32_t k = i + 1; k < e->p->n_steps; k++) { /* nobody else wants the convolution's own codes */
        const bl_step *later = &e->p->steps[k];
        if (later->contract == BL_STEP_ISLAND || later->in[0] == conv->out || later->in[1] == conv->out) return;
    }
    bl_conv_add sum = bl_conv_add_of(a, first);
    if (!sum.bounded) return;
    e->steps[i - 1].sum = sum;
    e->steps[i - 1].sums = e->steps[i].summed = true;
}
