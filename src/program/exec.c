/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The integer executor: its memory, planned before it is taken, and the loop over calls that running is.  What each
 * step is called with is resolved at load (exec_ready.c).
 */
#include "program/exec.h"

#include <stdlib.h>
#include <string.h>

static uint64_t padded(uint64_t bytes)
{
    return (bytes + 63) / 64 * 64;
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
    return bl_codes_of(exec, tensor);
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
                 bl_arena_room(n_edges * sizeof(float *)) + bl_arena_room(p->n_steps * sizeof(bl_ready));
    for (uint32_t i = 0; i < n_edges; i++) sum += bl_arena_room(edge_elements(&p->edges[i]) * sizeof(float));
    return sum;
}

static bl_status take_memory(bl_exec *e)
{
    const bl_program *p = e->p;
    uint32_t n_edges = p->n_inputs + p->n_outputs;
    e->memory = bl_alloc(e->arena, BL_MAX(p->memory_bytes, 64), 1);
    e->edge = BL_NEW(e->arena, float *, n_edges);
    e->steps = BL_NEW(e->arena, bl_ready, p->n_steps);
    if (!e->memory || !e->edge || !e->steps) return bl_pending(e->ctx);
    for (uint32_t i = 0; i < n_edges; i++) {
        e->edge[i] = BL_NEW(e->arena, float, edge_elements(&p->edges[i]));
        BL_ALLOC_TRY(e->ctx, e->edge[i]);
    }
    return BL_OK;
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
        if (e->p->steps[i].contract == BL_C_CONV) s = bl_ready_weights(e, i, scratch);
        bl_arena_reset(scratch, mark);
    }
    bl_arena_free(scratch);
    return s;
}

static bl_status exec_fill(bl_exec *e)
{
    BL_TRY(take_memory(e));
    for (uint32_t i = 0; i < e->p->n_steps; i++) if (e->p->steps[i].contract != BL_STEP_ISLAND) BL_TRY(bl_ready_step(e, i)); /* those: ready_islands */
    bl_ready_parts(e);
    for (uint32_t i = 1; i < e->p->n_steps; i++) bl_ready_sum(e, i);
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
    bl_tensor raw = { .type = (bl_dtype)t->raw, .rank = t->rank, .data = bl_codes_of(e, in ? s->out : s->in[0]) };
    memcpy(raw.dim, t->dim, sizeof raw.dim);
    float *real = e->edge[in ? s->in[0] : s->out];
    int64_t n = bl_tensor_count(&raw);
    for (int64_t i = 0; i < n; i++) {
        if (in) bl_element_set(&raw, i, (double)real[i]);
        else real[i] = (float)bl_element_f64(&raw, i);
    }
}

/* apart: a sum stays a step of its own. */
static void run_part(const bl_exec *e, const bl_step *s, const bl_ready *r, bool apart, int64_t begin, int64_t end, unsigned worker)
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
        a.in = (const uint8_t *)a.in + begin * a.in_stride[r->dim] * bl_code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * a.out_stride[r->dim] * bl_code_bytes(a.out_bits);
        a.size[r->dim] = a.rank ? end - begin : 1;
        ((const bl_move_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_TABLE: {
        bl_table_args a = r->a.table;
        a.in = (const uint8_t *)a.in + begin * BL_TABLE_ROW * bl_code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * BL_TABLE_ROW * bl_code_bytes(a.out_bits);
        a.n = BL_MIN(a.n, end * BL_TABLE_ROW) - begin * BL_TABLE_ROW;
        ((const bl_table_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_SOFTMAX: {
        bl_softmax_args a = r->a.softmax;
        a.in = (const uint8_t *)a.in + begin * a.d * bl_code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * a.d * bl_code_bytes(a.out_bits);
        a.rows = end - begin;
        ((const bl_softmax_row *)r->kernel->row)->run(&a);
        break;
    }
    case BL_C_LAYERNORM: {
        bl_layernorm_args a = r->a.layernorm;
        a.in = (const uint8_t *)a.in + begin * a.d * bl_code_bytes(a.in_bits);
        a.out = (uint8_t *)a.out + begin * a.d * bl_code_bytes(a.out_bits);
        a.rows = end - begin;
        ((const bl_layernorm_row *)r->kernel->row)->run(&a);
        break;
    }
    default: {
        bl_edge_args a = r->a.edge;
        bool in = s->contract == BL_C_QUANTIZE;
        a.in = (const uint8_t *)a.in + begin * a.in_stride[r->dim] * (in ? (int64_t)sizeof(float) : bl_code_bytes(a.bits));
        a.out = (uint8_t *)a.out + begin * a.out_stride[r->dim] * (in ? bl_code_bytes(a.bits) : (int64_t)sizeof(float));
        a.size[r->dim] = a.rank ? end - begin : 1;
        ((const bl_edge_row *)r->kernel->row)->run(&a);
        break;
    }
    }
}

typedef struct part_run {
    const bl_exec *e;
    const bl_step *s;
    const bl_ready *r;
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
    const bl_ready *r = &e->steps[step];
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
    return bl_codes_of(exec, (int32_t)tensor);
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
    const uint8_t *narrow = bl_codes_of(exec, (int32_t)tensor);
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
    const bl_ready *r = &exec->steps[step];
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
