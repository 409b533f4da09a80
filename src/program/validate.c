/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A program is foreign bytes until this has passed: every number that the executor will use as an
 * index, size or divisor is bounded here, for mapped files and freshly lowered programs alike.
 */
#include "program/island.h"

#include <string.h>

typedef struct check {
    bl_ctx *ctx;
    const char *place;
    const bl_program *p;
    uint32_t step;
} check;

static bl_status bad(const check *c, const char *what)
{
    return bl_fail(c->ctx, BL_DATA, c->place, "make the program again from its plan", "step %u: %s", c->step, what);
}

#define NEED(cond, what)                                                                          \
    do {                                                                                          \
        if (!(cond)) return bad(c, what);                                                         \
    } while (0)

static bool grid_ok(bl_grid g, int bits)
{
    int32_t top = (int32_t)((1u << bits) - 1);
    return g.scale >= 1e-30f && g.scale <= 1e30f && g.zero >= 0 && g.zero <= top && g.lo >= 0 && g.hi <= top &&
           g.lo <= g.hi;
}

static size_t element_bytes(const bl_ptensor *t)
{
    return t->raw ? bl_dtype_bytes((bl_dtype)t->raw) : t->bits <= 8 ? 1 : 2;
}

/* Plain elements for islands lie row-major. */
static bool raw_ok(const bl_ptensor *t)
{
    int64_t row = 1;
    if (t->raw < 0 || !bl_dtype_bytes((bl_dtype)t->raw) || (t->flags & BL_TENSOR_CONSTANT)) return false;
    for (int d = t->rank - 1; d >= 0; d--)
        if (t->dim[d] < 1 || t->stride[d] != row || !bl_mul_i64(row, t->dim[d], &row)) return false;
    return true;
}

static int64_t elements(const bl_ptensor *t)
{
    return (int64_t)(t->bytes / element_bytes(t));
}

/* Lowest and highest offset of a strided box; false on overflow. */
static bool box(int rank, const int64_t *size, const int64_t *stride, int64_t first, int64_t *lo, int64_t *hi)
{
    *lo = *hi = first;
    for (int d = 0; d < rank; d++) {
        int64_t span;
        if (size[d] < 1 || !bl_mul_i64(size[d] - 1, stride[d], &span)) return false;
        if (!bl_add_i64(span < 0 ? *lo : *hi, span, span < 0 ? lo : hi)) return false;
    }
    return true;
}

static bool inside(int rank, const int64_t *size, const int64_t *stride, int64_t first, int64_t count)
{
    int64_t lo, hi;
    return box(rank, size, stride, first, &lo, &hi) && lo >= 0 && hi < count;
}

/* Does a step write at most as many elements as there are?  Strides of zero let sizes be anything, and
 * the step last as long. */
static bool once(int rank, const int64_t *size, int64_t most)
{
    int64_t n = 1;
    for (int d = 0; d < rank; d++)
        if (!bl_mul_i64(n, size[d], &n)) return false;
    return n <= most;
}

static bl_status check_tensor(const check *c, const bl_ptensor *t)
{
    const bl_program *p = c->p;
    uint64_t room = t->flags & BL_TENSOR_CONSTANT ? p->constants_bytes : p->memory_bytes;
    NEED(t->rank >= 0 && t->rank <= BL_MAX_RANK, "a tensor of unknown rank");
    NEED(t->raw ? raw_ok(t) : (t->bits >= 1 && t->bits <= 8) || t->bits == 16, "a tensor of unknown width");
    NEED(t->name < p->strings_bytes, "a name outside the file");
    NEED(t->alias >= -1 && t->alias < (int32_t)p->n_tensors && (t->alias < 0 || t->alias < t - p->tensors),
         "a tensor that shares unknown memory");
    NEED(t->raw || grid_ok(t->grid, t->bits), "a grid that is none");
    NEED(t->offset % element_bytes(t) == 0 && t->offset <= room && t->bytes <= room - t->offset,
         "a tensor outside the memory");
    for (int d = 0; d < t->rank; d++) NEED(t->stride[d] >= 0, "a negative stride");
    NEED(inside(t->rank, t->dim, t->stride, 0, elements(t)), "a tensor larger than its memory");
    return BL_OK;
}

static bool blob_ok(const bl_program *p, uint64_t offset, uint64_t bytes)
{
    return offset % 64 == 0 && offset <= p->constants_bytes && bytes <= p->constants_bytes - offset;
}

static bool between(int64_t v, int64_t lo, int64_t hi)
{
    return v >= lo && v <= hi;
}

/* The accumulator's bound, for these very weights: a file could hold others than lowering proved.  With
 * every code that the container can hold, since a hostile file may put any there. */
static bl_status check_bound(const check *c, const bl_step_conv *v, const bl_ptensor *x, uint64_t k)
{
    const bl_conv_shape *s = &v->s;
    const uint8_t *packed = c->p->constants + v->weights;
    const int32_t *bias = (const int32_t *)(const void *)(c->p->constants + v->bias);
    int64_t top = x->bits <= 8 ? 255 : 65535, reach = BL_MAX(v->zero_in, top - v->zero_in);
    const int8_t *table = v->index_bits ? (const int8_t *)c->p->constants + v->table : NULL; /* checked only then */
    int bits = v->index_bits ? v->index_bits : s->weight_bits;
    uint64_t groups = v->group ? (k + (uint64_t)v->group - 1) / (uint64_t)v->group : 0;
    size_t at = 0;
    for (int32_t o = 0; o < s->out_c; o++) {
        int64_t sum = llabs((int64_t)bias[o]);
        for (uint64_t i = 0; i < k; i++, at += (size_t)bits) {
            unsigned word = packed[at / 8];
            if (at % 8 + (size_t)bits > 8) word |= (unsigned)packed[at / 8 + 1] << 8;
            int code = (int)((word >> (at % 8)) & ((1u << bits) - 1));
            if (v->index_bits && !v->group) code = abs(table[(unsigned)code ^ (bits == 1 ? 0 : 1u << (bits - 1))]);
            else code = bits == 1 ? 1 : code >= 1 << (bits - 1) ? (1 << bits) - code : code;
            if (v->group) code *= ((const uint8_t *)table)[o * groups + i / (uint64_t)v->group];
            NEED(!v->group || code <= 127, "a group of weights beyond 8 bits");
            sum += reach * code;
        }
        NEED(s->acc64 || sum <= INT32_MAX, "the weights may overflow the accumulator");
    }
    return BL_OK;
}

static bl_status check_conv(const check *c, const bl_step_conv *v, const bl_ptensor *x, const bl_ptensor *y)
{
    const bl_conv_shape *s = &v->s;
    const int64_t most = 1 << 24;
    NEED(between(s->in_h, 1, most) && between(s->in_w, 1, most) && between(s->in_c, 1, most) &&
         between(s->out_h, 1, most) && between(s->out_w, 1, most) && between(s->out_c, 1, most) &&
         between(s->groups, 1, s->in_c) && s->in_c % s->groups == 0 && s->out_c % s->groups == 0 &&
         between(s->kernel_h, 1, 4096) && between(s->kernel_w, 1, 4096) && between(s->stride_h, 1, 4096) &&
         between(s->stride_w, 1, 4096) && between(s->dilation_h, 1, 4096) && between(s->dilation_w, 1, 4096) &&
         between(s->weight_bits, 1, 8) && between(s->acc64, 0, 1) && s->in_bits == x->bits && s->out_bits == y->bits,
         "a convolution of impossible shape");
    int64_t reach_h = (int64_t)(s->kernel_h - 1) * s->dilation_h, reach_w = (int64_t)(s->kernel_w - 1) * s->dilation_w;
    NEED(between(s->pad_top, 0, reach_h) && between(s->pad_left, 0, reach_w) &&
         (int64_t)(s->out_h - 1) * s->stride_h - s->pad_top < s->in_h &&
         (int64_t)(s->out_w - 1) * s->stride_w - s->pad_left < s->in_w, "a convolution beside its input");
    int64_t n_in, n_out, n_w;
    NEED(bl_mul_i64(s->in_h, s->in_w, &n_in) && bl_mul_i64(n_in, s->in_c, &n_in) && n_in <= elements(x) &&
         bl_mul_i64(s->out_h, s->out_w, &n_out) && bl_mul_i64(n_out, s->out_c, &n_out) && n_out <= elements(y),
         "a convolution larger than its tensors");
    int64_t k = (int64_t)s->kernel_h * s->kernel_w * (s->in_c / s->groups);
    NEED(bl_mul_i64(k, s->out_c, &n_w) && n_w <= (int64_t)1 << 40, "a weight too large");
    uint64_t table = v->group > 0 ? (uint64_t)s->out_c * (uint64_t)((k + v->group - 1) / v->group) : (uint64_t)1 << (v->index_bits & 7);
    NEED(between(v->group, 0, BL_MIN(k, INT32_MAX)) && between(v->index_bits, v->group ? 1 : 0, v->group ? 6 : 7) &&
         (!v->index_bits || (s->weight_bits == 8 && blob_ok(c->p, v->table, table))), "a codebook or groups of impossible shape");
    NEED(blob_ok(c->p, v->weights, bl_conv_weight_bytes(v, (size_t)n_w)) &&
         blob_ok(c->p, v->bias, 4 * (uint64_t)s->out_c) && blob_ok(c->p, v->mult, 4 * (uint64_t)s->out_c),
         "constants outside the file");
    int32_t in_top = (1 << x->bits) - 1, out_top = (1 << y->bits) - 1;
    NEED(between(v->zero_in, 0, in_top) && between(v->zero_out, 0, out_top) && between(v->lo, 0, out_top) &&
         between(v->hi, v->lo, out_top), "bounds outside the codes");
    return check_bound(c, v, x, (uint64_t)k);
}

static bl_status check_pair(const check *c, const bl_step_pair *v, const bl_ptensor *a, const bl_ptensor *b,
                            const bl_ptensor *y)
{
    NEED(b, "an operand is missing");
    NEED(between(v->rank, 1, 6), "a rank beyond six");
    for (int d = 0; d < v->rank; d++)
        NEED(v->a_stride[d] >= 0 && v->b_stride[d] >= 0 && v->out_stride[d] >= 0, "a negative stride");
    NEED(inside(v->rank, v->size, v->a_stride, 0, elements(a)) && inside(v->rank, v->size, v->b_stride, 0, elements(b)) &&
         inside(v->rank, v->size, v->out_stride, 0, elements(y)) && once(v->rank, v->size, elements(y)),
         "elements outside a tensor");
    NEED(grid_ok(v->ga, a->bits) && grid_ok(v->gb, b->bits) && grid_ok(v->gy, y->bits), "a grid that is none");
    return BL_OK;
}

static bl_status check_pool(const check *c, const bl_step_pool *v, const bl_ptensor *x, const bl_ptensor *y)
{
    const int64_t most = 1 << 24;
    NEED(between(v->in_h, 1, most) && between(v->in_w, 1, most) && between(v->c, 1, most) && between(v->out_h, 1, most) &&
         between(v->out_w, 1, most) && between(v->kernel_h, 1, most) && between(v->kernel_w, 1, most) &&
         between(v->stride_h, 1, most) && between(v->stride_w, 1, most) && between(v->dilation_h, 1, 4096) &&
         between(v->dilation_w, 1, 4096) && between(v->count_include_pad, 0, 1), "a pool of impossible shape");
    int64_t reach_h = (int64_t)(v->kernel_h - 1) * v->dilation_h, reach_w = (int64_t)(v->kernel_w - 1) * v->dilation_w;
    NEED((int64_t)v->kernel_h * v->kernel_w < 1 << 24, "a window too large");
    NEED(between(v->pad_top, 0, reach_h) && between(v->pad_left, 0, reach_w) &&
         (int64_t)(v->out_h - 1) * v->stride_h - v->pad_top < v->in_h &&
         (int64_t)(v->out_w - 1) * v->stride_w - v->pad_left < v->in_w, "a pool beside its input");
    int64_t n_in, n_out;
    NEED(bl_mul_i64(v->in_h, v->in_w, &n_in) && bl_mul_i64(n_in, v->c, &n_in) && n_in <= elements(x) &&
         bl_mul_i64(v->out_h, v->out_w, &n_out) && bl_mul_i64(n_out, v->c, &n_out) && n_out <= elements(y),
         "a pool larger than its tensors");
    NEED(grid_ok(v->gx, x->bits) && grid_ok(v->gy, y->bits), "a grid that is none");
    return BL_OK;
}

/* One entry for every code of the input's container. */
static uint64_t table_bytes(const bl_ptensor *x, const bl_ptensor *y)
{
    return (x->bits <= 8 ? 256 : 65536) * (uint64_t)element_bytes(y);
}

static bl_status check_move(const check *c, const bl_step_move *v, const bl_ptensor *x, const bl_ptensor *y)
{
    NEED(between(v->rank, 1, BL_MAX_RANK) && between(v->has_table, 0, 1), "a move of impossible shape");
    NEED(inside(v->rank, v->size, v->in_stride, v->in_first, elements(x)) &&
         inside(v->rank, v->size, v->out_stride, v->out_first, elements(y)) && once(v->rank, v->size, elements(y)),
         "elements outside a tensor");
    NEED(v->has_table || (x->bits <= 8) == (y->bits <= 8), "a copy between containers");
    NEED(!v->has_table || blob_ok(c->p, v->table, table_bytes(x, y)), "a table outside the file");
    return BL_OK;
}

static bl_status check_softmax(const check *c, const bl_step_softmax *v, const bl_ptensor *x, const bl_ptensor *y)
{
    int64_t n;
    NEED(v->rows >= 1 && v->d >= 1 && bl_mul_i64(v->rows, v->d, &n) && n <= elements(x) && n <= elements(y),
         "a softmax larger than its tensors");
    NEED(x->bits <= 8 && y->bits <= 8 && blob_ok(c->p, v->table, 256 * sizeof(float)), "a table outside the file");
    NEED(grid_ok(v->gx, x->bits) && grid_ok(v->gy, y->bits) && v->gy.scale <= 1, "a grid that is none");
    return BL_OK;
}

static bl_status check_layernorm(const check *c, const bl_step_layernorm *v, const bl_ptensor *x, const bl_ptensor *y)
{
    int64_t n;
    NEED(v->rows >= 1 && v->d >= 1 && bl_mul_i64(v->rows, v->d, &n) && n <= elements(x) && n <= elements(y),
         "a normalisation larger than its tensors");
    NEED(v->d <= bl_layernorm_d_max(x->bits), "the sums may overflow the accumulator");
    NEED(blob_ok(c->p, v->gain, 4 * (uint64_t)v->d) && blob_ok(c->p, v->shift, 4 * (uint64_t)v->d), "constants outside the file");
    NEED(grid_ok(v->gy, y->bits) && v->floor >= 0 && v->floor <= 1e300, "a grid that is none");
    return BL_OK;
}

static bl_status check_matmul(const check *c, const bl_step_matmul *v, const bl_ptensor *a, const bl_ptensor *b,
                              const bl_ptensor *y)
{
    const int64_t most = 1 << 24;
    int64_t batches = 1;
    NEED(b && between(v->rank, 1, 4) && between(v->m, 1, most) && between(v->n, 1, most) && between(v->k, 1, most) &&
         between(v->acc64, 0, 1), "a product of impossible shape");
    int64_t size[6], sa[6], sb[6], so[6];
    for (int d = 0; d < v->rank; d++) {
        size[d] = v->size[d];
        sa[d] = v->a_stride[d];
        sb[d] = v->b_stride[d];
        so[d] = v->out_stride[d];
        NEED(size[d] >= 1 && bl_mul_i64(batches, size[d], &batches) && batches <= most, "a product of impossible shape");
    }
    int r = v->rank;
    for (int d = 0; d < r; d++) NEED(sa[d] >= 0 && sb[d] >= 0 && so[d] >= 0, "a negative stride");
    NEED(v->a_m >= 0 && v->a_k >= 0 && v->b_k >= 0 && v->b_n >= 0 && v->out_m >= 0 && v->out_n >= 0, "a negative stride");
    size[r] = v->m, sa[r] = v->a_m, so[r] = v->out_m;
    size[r + 1] = v->k, sa[r + 1] = v->a_k;
    NEED(inside(r + 2, size, sa, 0, elements(a)), "elements outside a tensor");
    size[r + 1] = v->n, so[r + 1] = v->out_n;
    NEED(inside(r + 2, size, so, 0, elements(y)), "elements outside a tensor");
    size[r] = v->k, sb[r] = v->b_k, sb[r + 1] = v->b_n;
    NEED(inside(r + 2, size, sb, 0, elements(b)), "elements outside a tensor");
    NEED(v->acc64 || v->k <= bl_matmul_k_max(a->bits, b->bits), "the sums may overflow the accumulator");
    int32_t out_top = (1 << y->bits) - 1;
    NEED(between(v->zero_a, 0, (1 << a->bits) - 1) && between(v->zero_b, 0, (1 << b->bits) - 1) &&
         between(v->zero_out, 0, out_top) && between(v->lo, 0, out_top) && between(v->hi, v->lo, out_top),
         "bounds outside the codes");
    return BL_OK;
}

static int64_t edge_count(const bl_pedge *e)
{
    int64_t n = 1;
    for (int d = 0; d < e->rank; d++)
        if (e->dim[d] < 1 || !bl_mul_i64(n, e->dim[d], &n)) return -1;
    return n;
}

static bl_status check_edge(const check *c, const bl_step *s)
{
    const bl_step_edge *v = &s->u.edge;
    bool in = s->contract == BL_C_QUANTIZE;
    uint32_t side = in ? c->p->n_inputs : c->p->n_inputs + c->p->n_outputs;
    int32_t number = in ? s->in[0] : s->out, tensor = in ? s->out : s->in[0];
    NEED(number >= (in ? 0 : (int32_t)c->p->n_inputs) && (uint32_t)number < side && tensor >= 0 &&
         (uint32_t)tensor < c->p->n_tensors, "an unknown input or output");
    const bl_ptensor *t = &c->p->tensors[tensor];
    int64_t n = edge_count(&c->p->edges[number]);
    NEED(!in || !(t->flags & BL_TENSOR_CONSTANT), "a constant would be written");
    NEED(n > 0 && between(v->rank, 1, BL_MAX_RANK), "an input or output of impossible shape");
    NEED(inside(v->rank, v->size, in ? v->in_stride : v->out_stride, 0, n) &&
         inside(v->rank, v->size, in ? v->out_stride : v->in_stride, 0, elements(t)) &&
         once(v->rank, v->size, in ? elements(t) : n), "elements outside a tensor");
    if (t->raw) {
        NEED(n == elements(t), "a tensor of another size");
        return BL_OK;
    }
    NEED(grid_ok(v->g, t->bits), "a grid that is none");
    return BL_OK;
}

/* A dense sum may take the place of an operand. */
static bool in_place(const bl_step *s, const bl_ptensor *in, const bl_ptensor *out)
{
    return in && s->contract == BL_C_ADD && in->offset == out->offset && in->bytes == out->bytes;
}

/* Kernels may read after they wrote, so what a step writes lies beside what it reads.  Whether a sum in place is dense is asked
 * of sound arguments, in check_add. */
static bool apart(const bl_step *s, const bl_ptensor *in, const bl_ptensor *out)
{
    return !in || in_place(s, in, out) || (in->flags & BL_TENSOR_CONSTANT) || in->offset + in->bytes <= out->offset ||
           out->offset + out->bytes <= in->offset;
}

static bl_status check_add(const check *c, const bl_step *s, const bl_ptensor *a, const bl_ptensor *b, const bl_ptensor *y)
{
    BL_TRY(check_pair(c, &s->u.pair, a, b, y));
    NEED((!in_place(s, a, y) && !in_place(s, b, y)) || bl_pair_dense(&s->u.pair), "its output lies over its input");
    return BL_OK;
}

static bl_status check_step(const check *c, const bl_step *s)
{
    const bl_program *p = c->p;
    NEED(s->name < p->strings_bytes, "a name outside the file");
    if (s->contract == BL_C_QUANTIZE || s->contract == BL_C_DEQUANTIZE) return check_edge(c, s);
    if (s->contract == BL_STEP_ISLAND) {
        NEED(s->u.island.island < p->n_islands, "an unknown island");
        return BL_OK;
    }
    NEED(s->contract < BL_N_CONTRACT, "an unknown kind of step");
    NEED(s->in[0] >= 0 && (uint32_t)s->in[0] < p->n_tensors && s->out >= 0 && (uint32_t)s->out < p->n_tensors &&
         s->in[1] >= -1 && s->in[1] < (int32_t)p->n_tensors, "an unknown tensor");
    const bl_ptensor *x = &p->tensors[s->in[0]], *y = &p->tensors[s->out];
    const bl_ptensor *b = s->in[1] < 0 ? NULL : &p->tensors[s->in[1]];
    NEED(!x->raw && !y->raw && (!b || !b->raw), "a tensor that holds no codes");
    NEED(!(y->flags & BL_TENSOR_CONSTANT), "a constant would be written");
    NEED(apart(s, x, y) && apart(s, b, y), "its output lies over its input");
    switch ((bl_contract)s->contract) {
    case BL_C_CONV: return check_conv(c, &s->u.conv, x, y);
    case BL_C_ADD: return check_add(c, s, x, b, y);
    case BL_C_MUL: return check_pair(c, &s->u.pair, x, b, y);
    case BL_C_GAP:
    case BL_C_AVGPOOL:
    case BL_C_MAXPOOL: return check_pool(c, &s->u.pool, x, y);
    case BL_C_MOVE: return check_move(c, &s->u.move, x, y);
    case BL_C_MATMUL: return check_matmul(c, &s->u.matmul, x, b, y);
    case BL_C_SOFTMAX: return check_softmax(c, &s->u.softmax, x, y);
    case BL_C_LAYERNORM: return check_layernorm(c, &s->u.layernorm, x, y);
    case BL_C_TABLE:
        NEED(s->u.table.n >= 1 && s->u.table.n <= elements(x) && s->u.table.n <= elements(y) &&
             blob_ok(p, s->u.table.table, table_bytes(x, y)), "a table outside its tensors");
        return BL_OK;
    default: return bad(c, "an unknown kind of step");
    }
}

bl_status bl_program_validate(bl_ctx *ctx, const char *place, const bl_program *program)
{
    check state = { .ctx = ctx, .place = place, .p = program }, *c = &state;
    NEED(program->strings_bytes && program->strings[program->strings_bytes - 1] == 0, "names without an end");
    NEED(program->meta_bytes && program->meta[program->meta_bytes - 1] == 0, "a description without an end");
    NEED(program->memory_bytes % 64 == 0 && program->memory_bytes < (uint64_t)1 << 46, "an impossible memory size");
    NEED(program->n_inputs >= 1 && program->n_outputs >= 1 && program->n_inputs < 4096 && program->n_outputs < 4096,
         "no inputs or outputs");
    for (uint32_t i = 0; i < program->n_inputs + program->n_outputs; i++) {
        const bl_pedge *e = &program->edges[i];
        NEED(e->rank >= 0 && e->rank <= BL_MAX_RANK && edge_count(e) > 0 && edge_count(e) < (int64_t)1 << 40 &&
             e->name < program->strings_bytes && e->tensor < program->n_tensors, "an impossible input or output");
    }
    for (uint32_t t = 0; t < program->n_tensors; t++) {
        state.step = t;
        BL_TRY(check_tensor(c, &program->tensors[t]));
    }
    BL_TRY(bl_islands_validate(ctx, place, program));
    for (state.step = 0; state.step < program->n_steps; state.step++)
        BL_TRY(check_step(c, &program->steps[state.step]));
    return BL_OK;
}
