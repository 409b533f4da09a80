/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The integer executor.  At load each step gets a kernel row, its weights are unpacked and packed
 * again for that row, pointers are resolved; after that running is a loop over calls.
 */
#include "program/island.h"

#include <stdlib.h>
#include <string.h>

enum { TABLE_ROW = 1 << 12 }; /* codes of a table that one piece takes at least */

typedef struct ready {
    const bl_kernel_info *kernel;
    int64_t rows;               /* how far the step can be split */
    int64_t parts;              /* into how many pieces it is: 1 where a piece would not pay for waking a helper */
    int dim;                    /* copies and edges: the dimension that is split */
    bool by_channel;            /* convolution: parts of its channels are split, not rows of outputs */
    bool sums;                  /* convolution: the Add behind it is done at its end, `sum` says how */
    bool summed;                /* Add: done by the convolution before it */
    bl_conv_add sum;
    union {
        bl_conv_args conv;
        bl_pair_args pair;
        bl_pool_args pool;
        bl_move_args move;
        bl_table_args table;
        bl_softmax_args softmax;
        bl_edge_args edge;
        bl_matmul_args matmul;
        bl_island *island;
    } a;
} ready;

struct bl_exec {
    bl_ctx *ctx;
    bl_arena *arena;            /* working memory, edges, steps */
    bl_arena *weights;          /* packed, and scratch of the kernels */
    bl_arena *islands;          /* what they keep: decoded constants */
    const bl_program *p;
    uint8_t *memory;
    float **edge;               /* inputs, then outputs */
    ready *steps;
    uint8_t *work;              /* work_bytes for each thread */
    size_t work_bytes, packed_bytes;
    uint8_t *island_buffer;     /* floats around the island that runs */
    bl_arena *island_scratch;
    uint64_t island_bytes;
    unsigned threads;
    bl_isa cap;
    const char *kernel;
    uint64_t promised_bytes, taken_bytes;
};

static void *codes_of(const bl_exec *e, int32_t tensor)
{
    const bl_ptensor *t = &e->p->tensors[tensor];
    if (t->flags & BL_TENSOR_CONSTANT) return (void *)(uintptr_t)(e->p->constants + t->offset);
    return e->memory + t->offset;
}

static void *offset_codes(const bl_exec *e, int32_t tensor, int64_t elements)
{
    return (uint8_t *)codes_of(e, tensor) + elements * (e->p->tensors[tensor].bits <= 8 ? 1 : 2);
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

static int64_t code_bytes(int32_t bits)
{
    return bits > 8 ? 2 : 1;
}

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
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
        .s = v->s, .in = codes_of(e, s->in[0]), .out = codes_of(e, s->out), .bias = (const void *)(e->p->constants + v->bias),
        .mult = (const void *)(e->p->constants + v->mult), .zero_in = v->zero_in, .zero_out = v->zero_out,
        .lo = v->lo, .hi = v->hi };
    return BL_OK;
}

/* Canonical codes to the layout of the row that was chosen. */
static bl_status pack_conv(bl_exec *e, uint32_t i, bl_arena *scratch)
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
    *a = (bl_pair_args){ .a = codes_of(e, s->in[0]), .b = codes_of(e, s->in[1]), .out = codes_of(e, s->out),
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
    *a = (bl_pool_args){ .in = codes_of(e, s->in[0]), .out = codes_of(e, s->out),
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
    *a = (bl_table_args){ .in = codes_of(e, s->in[0]), .out = codes_of(e, s->out), .n = s->u.table.n,
                          .in_bits = e->p->tensors[s->in[0]].bits, .out_bits = e->p->tensors[s->out].bits,
                          .table = e->p->constants + s->u.table.table };
    e->steps[i].rows = (a->n + TABLE_ROW - 1) / TABLE_ROW;
    return choose(e, i, a);
}

static bl_status ready_softmax(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_softmax *v = &s->u.softmax;
    bl_softmax_args *a = &e->steps[i].a.softmax;
    /* 8 bits whatever the tensor has: the table covers the container, so no file can lead beside it. */
    *a = (bl_softmax_args){ .in = codes_of(e, s->in[0]), .out = codes_of(e, s->out), .rows = v->rows, .d = v->d,
                            .in_bits = 8, .out_bits = e->p->tensors[s->out].bits,
                            .table = (const void *)(e->p->constants + v->table), .gx = v->gx, .gy = v->gy };
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
    *a = (bl_edge_args){ .in = in ? (void *)e->edge[s->in[0]] : codes_of(e, tensor),
                         .out = in ? codes_of(e, tensor) : (void *)e->edge[s->out],
                         .bits = e->p->tensors[tensor].bits, .rank = v->rank, .g = v->g };
    memcpy(a->size, v->size, sizeof a->size);
    memcpy(a->in_stride, v->in_stride, sizeof a->in_stride);
    memcpy(a->out_stride, v->out_stride, sizeof a->out_stride);
    e->steps[i].rows = split_dim(a->rank, a->size, a->out_stride, &e->steps[i].dim);
    return choose(e, i, a);
}

static bl_status ready_matmul(bl_exec *e, uint32_t i)
{
    const bl_step *s = &e->p->steps[i];
    const bl_step_matmul *v = &s->u.matmul;
    bl_matmul_args *a = &e->steps[i].a.matmul;
    *a = (bl_matmul_args){ .a = codes_of(e, s->in[0]), .b = codes_of(e, s->in[1]), .out = codes_of(e, s->out),
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

static bl_status ready_island(bl_exec *e, uint32_t i)
{
    bl_island *is = BL_NEW(e->islands, bl_island, 1);
    BL_ALLOC_TRY(e->ctx, is);
    BL_TRY(bl_island_open(e->ctx, e->islands, e->p, e->p->steps[i].u.island.island, true, is));
    is->node.name = e->p->strings + e->p->steps[i].name;
    e->island_bytes = BL_MAX(e->island_bytes, is->buffer_bytes);
    e->steps[i].a.island = is;
    return BL_OK;
}

static bl_status open_islands(bl_exec *e)
{
    for (uint32_t i = 0; i < e->p->n_steps; i++)
        if (e->p->steps[i].contract == BL_STEP_ISLAND) BL_TRY(ready_island(e, i));
    e->island_buffer = bl_alloc(e->islands, BL_MAX(e->island_bytes, 64), 1);
    BL_ALLOC_TRY(e->ctx, e->island_buffer);
    return BL_OK;
}

/* An arena that holds what is planned, counted as promised. */
static bl_status hold(bl_exec *e, const char *tag, size_t bytes, bl_arena **out)
{
    *out = bl_arena_new(e->ctx, tag);
    BL_ALLOC_TRY(e->ctx, *out);
    e->promised_bytes += bl_arena_hold_bytes(bytes);
    return bl_arena_hold(*out, bytes);
}

static void *island_codes(void *exec, int32_t tensor)
{
    return codes_of(exec, tensor);
}

/* One run of each island on empty data tells how much scratch its float form wants; running then takes
 * nothing from the system. */
static bl_status ready_islands(bl_exec *e)
{
    if (!e->p->n_islands) return BL_OK;
    e->islands = bl_arena_new(e->ctx, "islands"); /* opened twice: the first time tells how much it takes */
    BL_ALLOC_TRY(e->ctx, e->islands);
    bl_status s = open_islands(e);
    size_t kept = bl_arena_high_bytes(e->islands);
    bl_arena_free(e->islands);
    e->islands = NULL;
    BL_TRY(s);
    BL_TRY(hold(e, "islands", kept, &e->islands));
    BL_TRY(open_islands(e));
    bl_arena *trial = bl_arena_new(e->ctx, "islands");
    BL_ALLOC_TRY(e->ctx, trial);
    for (uint32_t i = 0; s == BL_OK && i < e->p->n_steps; i++) {
        if (e->p->steps[i].contract != BL_STEP_ISLAND) continue;
        s = bl_island_bind(e->steps[i].a.island, e->p, e->cap, island_codes, e, e->island_buffer);
        if (s == BL_OK) s = bl_island_run(e->steps[i].a.island, trial);
    }
    uint64_t scratch = bl_arena_high_bytes(trial);
    bl_arena_free(trial);
    BL_TRY(s);
    memset(e->memory, 0, e->p->memory_bytes);
    return hold(e, "islands", scratch, &e->island_scratch);
}

static bl_status ready_step(bl_exec *e, uint32_t i)
{
    if (e->p->steps[i].contract == BL_STEP_ISLAND) return BL_OK; /* ready_islands */
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
    default: return ready_edge(e, i);
    }
}

/* Roughly how long a step takes on one core: waking a helper, and fetching what it wrote, costs some
 * microseconds. */
static double step_ns(const bl_step *s, const ready *r)
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
    case BL_C_MOVE:
        for (int d = 0; d < r->a.move.rank; d++) n *= (double)r->a.move.size[d];
        return n / CODES_A_NS;
    default:
        for (int d = 0; d < r->a.edge.rank; d++) n *= (double)r->a.edge.size[d];
        return n / REALS_A_NS;
    }
}

/* Deep layers are split by output channel where the row can: each core then reads its own weights alone, which are
 * more than what goes in, and a fully connected layer has no other way to be split. */
static void split_conv(ready *r)
{
    const bl_conv_shape *s = &r->a.conv.s;
    const bl_conv_row *row = r->kernel->row;
    size_t parts = row->parts ? row->parts(s) : 1;
    if (parts < 2 || row->packed_bytes(s) < (size_t)s->in_h * (size_t)s->in_w * (size_t)s->in_c) return;
    r->by_channel = true;
    r->rows = (int64_t)parts;
}

static void set_parts(const bl_exec *e, uint32_t i)
{
    enum { WORTH_NS = 10000 };
    ready *r = &e->steps[i];
    r->parts = 1;
    if (!r->kernel || e->threads < 2 || step_ns(&e->p->steps[i], r) < WORTH_NS) return;
    if (r->kernel->contract == BL_C_CONV) split_conv(r);
    r->parts = BL_MIN(r->rows, (int64_t)e->threads);
}

static size_t edge_elements(const bl_pedge *edge)
{
    size_t n = 1;
    for (int d = 0; d < edge->rank; d++) n *= (size_t)edge->dim[d];
    return BL_MAX(n, (size_t)16);
}

/* What lies in the first arena, the executor itself counted. */
static size_t fixed_bytes(const bl_program *p)
{
    uint32_t n_edges = p->n_inputs + p->n_outputs;
    size_t sum = bl_arena_room(sizeof(bl_exec)) + bl_arena_room(BL_MAX(p->memory_bytes, 64)) +
                 bl_arena_room(n_edges * sizeof(float *)) + bl_arena_room(p->n_steps * sizeof(ready));
    for (uint32_t i = 0; i < n_edges; i++) sum += bl_arena_room(edge_elements(&p->edges[i]) * sizeof(float));
    return sum;
}

static bl_status take_memory(bl_exec *e)
{
    const bl_program *p = e->p;
    uint32_t n_edges = p->n_inputs + p->n_outputs;
    e->memory = bl_alloc(e->arena, BL_MAX(p->memory_bytes, 64), 1);
    e->edge = BL_NEW(e->arena, float *, n_edges);
    e->steps = BL_NEW(e->arena, ready, p->n_steps);
    if (!e->memory || !e->edge || !e->steps) return bl_pending(e->ctx);
    for (uint32_t i = 0; i < n_edges; i++) {
        e->edge[i] = BL_NEW(e->arena, float, edge_elements(&p->edges[i]));
        BL_ALLOC_TRY(e->ctx, e->edge[i]);
    }
    return BL_OK;
}

static bool overlap(const bl_ptensor *a, const bl_ptensor *b)
{
    return a->offset < b->offset + b->bytes && b->offset < a->offset + a->bytes;
}

/* A convolution whose output goes into the Add step behind it and nowhere else, in the same place, does the sum too
 * where its row can.  In place is what the memory plan makes of it; a program that says otherwise runs step by step. */
static void join_sum(bl_exec *e, uint32_t i)
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
    e->steps[i - 1].sum = bl_conv_add_of(a, first);
    e->steps[i - 1].sums = e->steps[i].summed = true;
}

static bl_status pack_weights(bl_exec *e)
{
    size_t work;
    e->work_bytes = padded(BL_MAX(e->work_bytes, 64));
    if (!bl_mul_size(e->work_bytes, e->threads, &work)) work = SIZE_MAX / 4;
    BL_TRY(hold(e, "packed weights", e->packed_bytes + bl_arena_room(work), &e->weights));
    e->work = bl_alloc(e->weights, e->work_bytes, e->threads);
    bl_arena *scratch = e->work ? bl_arena_new(e->ctx, "unpacking") : NULL;
    BL_ALLOC_TRY(e->ctx, scratch);
    bl_status s = BL_OK;
    for (uint32_t i = 0; s == BL_OK && i < e->p->n_steps; i++) {
        bl_mark mark = bl_arena_mark(scratch);
        if (e->p->steps[i].contract == BL_C_CONV) s = pack_conv(e, i, scratch);
        bl_arena_reset(scratch, mark);
    }
    bl_arena_free(scratch);
    return s;
}

static bl_status exec_fill(bl_exec *e)
{
    BL_TRY(take_memory(e));
    for (uint32_t i = 0; i < e->p->n_steps; i++) BL_TRY(ready_step(e, i));
    for (uint32_t i = 0; i < e->p->n_steps; i++) set_parts(e, i);
    for (uint32_t i = 1; i < e->p->n_steps; i++) join_sum(e, i);
    BL_TRY(pack_weights(e));
    return ready_islands(e);
}

bl_status bl_exec_new(bl_ctx *ctx, const bl_program *program, const bl_exec_options *options, bl_exec **out)
{
    bl_isa cap;
    if (options && options->cap_given) cap = options->cap;
    else BL_TRY(bl_isa_resolve(ctx, &cap));
    uint64_t before = __atomic_load_n(&ctx->live_bytes, __ATOMIC_RELAXED);
    bl_arena *a = bl_arena_new(ctx, "executor");
    BL_ALLOC_TRY(ctx, a);
    bl_status s = bl_arena_hold(a, fixed_bytes(program));
    bl_exec *e = s == BL_OK ? BL_NEW(a, bl_exec, 1) : NULL;
    if (!e) {
        bl_arena_free(a);
        return bl_pending(ctx);
    }
    *e = (bl_exec){ .ctx = ctx, .arena = a, .p = program, .cap = cap, .kernel = options ? options->kernel : NULL,
                    .promised_bytes = bl_arena_hold_bytes(fixed_bytes(program)),
                    .threads = options && options->parallel ? bl_threads(ctx) : 1 };
    s = exec_fill(e);
    if (s != BL_OK) {
        bl_exec_free(e);
        return s;
    }
    e->taken_bytes = __atomic_load_n(&ctx->live_bytes, __ATOMIC_RELAXED) - before;
    *out = e;
    return BL_OK;
}

bl_status bl_exec_open(bl_ctx *ctx, const bl_program *program, bool parallel, bl_exec **out)
{
    bl_exec_options o = { .parallel = parallel };
    return bl_exec_new(ctx, program, &o, out);
}

void bl_exec_free(bl_exec *exec)
{
    if (!exec) return;
    bl_arena_free(exec->island_scratch);
    bl_arena_free(exec->islands);
    bl_arena_free(exec->weights);
    bl_arena_free(exec->arena);
}

/* ---- running */

/* An edge of another type than float32: number by number. */
static void run_raw_edge(const bl_exec *e, const bl_step *s)
{
    bool in = s->contract == BL_C_QUANTIZE;
    const bl_ptensor *t = &e->p->tensors[in ? s->out : s->in[0]];
    bl_tensor raw = { .type = (bl_dtype)t->raw, .rank = t->rank, .data = codes_of(e, in ? s->out : s->in[0]) };
    memcpy(raw.dim, t->dim, sizeof raw.dim);
    float *real = e->edge[in ? s->in[0] : s->out];
    int64_t n = bl_tensor_count(&raw);
    for (int64_t i = 0; i < n; i++) {
        if (in) bl_element_set(&raw, i, (double)real[i]);
        else real[i] = (float)bl_element_f64(&raw, i);
    }
}

/* apart: a sum stays a step of its own. */
static void run_part(const bl_exec *e, const bl_step *s, const ready *r, bool apart, int64_t begin, int64_t end, unsigned worker)
{
    switch ((bl_contract)s->contract) {
    case BL_C_CONV: {
        bl_conv_args a = r->a.conv;
        a.row_begin = r->by_channel ? 0 : (int32_t)begin;
        a.row_end = r->by_channel ? a.s.out_h : (int32_t)end;
        a.part_begin = r->by_channel ? (int32_t)begin : 0;
        a.part_end = r->by_channel ? (int32_t)end : 0;
        a.work = e->work + worker * e->work_bytes;
        a.add = r->sums && !apart ? &r->sum : NULL;
        ((const bl_conv_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_ADD:
    case BL_C_MUL: {
        bl_pair_args a = r->a.pair;
        a.outer_begin = begin;
        a.outer_end = end;
        ((const bl_pair_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL: {
        bl_pool_args a = r->a.pool;
        a.row_begin = (int32_t)begin;
        a.row_end = (int32_t)end;
        ((const bl_pool_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_MATMUL: {
        bl_matmul_args a = r->a.matmul;
        a.begin = begin;
        a.end = end;
        a.work = e->work + worker * e->work_bytes;
        ((const bl_matmul_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_MOVE: {
        bl_move_args a = r->a.move;
        a.in = (const uint8_t *)a.in + begin * a.in_stride[r->dim] * code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * a.out_stride[r->dim] * code_bytes(a.out_bits);
        a.size[r->dim] = a.rank ? end - begin : 1;
        ((const bl_move_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_TABLE: {
        bl_table_args a = r->a.table;
        a.in = (const uint8_t *)a.in + begin * TABLE_ROW * code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * TABLE_ROW * code_bytes(a.out_bits);
        a.n = BL_MIN(a.n, end * TABLE_ROW) - begin * TABLE_ROW;
        ((const bl_table_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_SOFTMAX: {
        bl_softmax_args a = r->a.softmax;
        a.in = (const uint8_t *)a.in + begin * a.d * code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * a.d * code_bytes(a.out_bits);
        a.rows = end - begin;
        ((const bl_softmax_row *)r->kernel->row)->run(&a);
        break;
    }
    default: {
        bl_edge_args a = r->a.edge;
        bool in = s->contract == BL_C_QUANTIZE;
        a.in = (const uint8_t *)a.in + begin * a.in_stride[r->dim] * (in ? (int64_t)sizeof(float) : code_bytes(a.bits));
        a.out = (uint8_t *)a.out + begin * a.out_stride[r->dim] * (in ? code_bytes(a.bits) : (int64_t)sizeof(float));
        a.size[r->dim] = a.rank ? end - begin : 1;
        ((const bl_edge_row *)r->kernel->row)->run(&a);
        break;
    }
    }
}

typedef struct part_run {
    const bl_exec *e;
    const bl_step *s;
    const ready *r;
    int64_t parts;
    bool apart;
} part_run;

static bl_status run_piece(void *arg, size_t i, unsigned worker)
{
    const part_run *p = arg;
    int64_t n = p->r->rows, at = (int64_t)i;
    run_part(p->e, p->s, p->r, p->apart, n * at / p->parts, n * (at + 1) / p->parts, worker);
    return BL_OK;
}

static bl_status run_step(bl_exec *e, uint32_t step, bool apart)
{
    const ready *r = &e->steps[step];
    if (r->summed && !apart) return BL_OK;
    if (e->p->steps[step].contract == BL_STEP_ISLAND) return bl_island_run(r->a.island, e->island_scratch);
    if (!r->kernel) {
        run_raw_edge(e, &e->p->steps[step]);
        return BL_OK;
    }
    part_run p = { .e = e, .s = &e->p->steps[step], .r = r, .parts = r->parts, .apart = apart };
    if (p.parts < 2) {
        run_part(e, p.s, r, apart, 0, r->rows, 0);
        return BL_OK;
    }
    return bl_parallel_for(e->ctx, (size_t)p.parts, run_piece, &p);
}

bl_status bl_exec_step(bl_exec *e, uint32_t step)
{
    return run_step(e, step, false);
}

static bl_status call_hook(bl_exec *e, const bl_step *s, uint32_t step, bl_exec_hook *hook, void *user)
{
    if (s->contract != BL_STEP_ISLAND) return s->contract == BL_C_DEQUANTIZE ? BL_OK : hook(user, step, (uint32_t)s->out);
    const bl_pisland *is = &e->p->islands[s->u.island.island];
    for (uint32_t k = is->n_in; k < is->n_in + is->n_out; k++) {
        int32_t t = e->p->ports[is->first_port + k].tensor;
        if (t >= 0) BL_TRY(hook(user, step, (uint32_t)t));
    }
    return BL_OK;
}

bl_status bl_exec_run(bl_exec *e, bl_exec_hook *hook, void *user)
{
    for (uint32_t i = 0; i < e->p->n_steps; i++) {
        BL_TRY(run_step(e, i, hook != NULL)); /* a hook wants the codes of every step */
        const bl_step *s = &e->p->steps[i];
        if (hook) BL_TRY(call_hook(e, s, i, hook, user));
    }
    return BL_OK;
}

float *bl_exec_input(bl_exec *exec, uint32_t i)
{
    return exec->edge[i];
}

const float *bl_exec_output(const bl_exec *exec, uint32_t i)
{
    return exec->edge[exec->p->n_inputs + i];
}

void *bl_exec_codes(bl_exec *exec, uint32_t tensor)
{
    return codes_of(exec, (int32_t)tensor);
}

const void *bl_exec_packed(const bl_exec *exec, uint32_t step, size_t *bytes)
{
    const bl_step *s = &exec->p->steps[step];
    *bytes = 0;
    if (s->contract != BL_C_CONV) return NULL;
    *bytes = ((const bl_conv_row *)exec->steps[step].kernel->row)->packed_bytes(&s->u.conv.s);
    return exec->steps[step].a.conv.packed;
}

void bl_exec_repoint(bl_exec *exec, uint32_t step, const void *packed)
{
    exec->steps[step].a.conv.packed = packed;
}

void bl_exec_read(const bl_exec *exec, uint32_t tensor, uint16_t *out)
{
    const bl_ptensor *t = &exec->p->tensors[tensor];
    const uint8_t *narrow = codes_of(exec, (int32_t)tensor);
    const uint16_t *wide = (const void *)narrow;
    int64_t index[BL_MAX_RANK] = { 0 }, n = 1;
    for (int d = 0; d < t->rank; d++) n *= t->dim[d];
    for (int64_t i = 0; i < n; i++) {
        int64_t at = 0;
        for (int d = 0; d < t->rank; d++) at += index[d] * t->stride[d];
        out[i] = t->raw ? 0 : t->bits <= 8 ? narrow[at] : wide[at];
        for (int d = t->rank - 1; d >= 0 && ++index[d] == t->dim[d]; d--) index[d] = 0;
    }
}

const char *bl_exec_kernel(const bl_exec *exec, uint32_t step)
{
    if (exec->p->steps[step].contract == BL_STEP_ISLAND) return "island";
    return exec->steps[step].kernel ? exec->steps[step].kernel->name : "convert";
}

size_t bl_exec_rows(const bl_exec *exec, uint32_t step, const char **names, size_t n_max)
{
    const ready *r = &exec->steps[step];
    size_t n = 0;
    if (exec->p->steps[step].contract == BL_STEP_ISLAND || !r->kernel) return 0;
    const void *args = r->kernel->contract == BL_C_CONV ? (const void *)&r->a.conv.s : &r->a;
    for (size_t i = 0; i < bl_n_kernels; i++) {
        const bl_kernel_info *k = &bl_kernels[i];
        if (k->contract != r->kernel->contract || bl_kernel_choose(k->contract, args, exec->cap, k->name) != k) continue;
        if (n < n_max) names[n] = k->name;
        n++;
    }
    return n;
}

void bl_exec_memory(const bl_exec *exec, uint64_t *promised_bytes, uint64_t *taken_bytes)
{
    *promised_bytes = exec->promised_bytes;
    *taken_bytes = exec->taken_bytes;
}
