/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One static memory plan: each tensor lives from the step that makes it to the last that reads it;
 * largest first, each takes the lowest place where no living neighbour is.  A sum behind a convolution takes the
 * place of the convolution's output where that ends there: then the two can run as one step.
 */
#include "program/builder.h"

#include <stdlib.h>

typedef struct life {
    uint64_t bytes, offset;
    uint32_t first, last;
    int tensor;
} life;

static int root_of(const bl_pbuilder *b, int t)
{
    while (b->alias[t] >= 0) t = b->alias[t];
    return t;
}

static int largest_first(const void *a, const void *b)
{
    const life *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return x->tensor - y->tensor;
}

static int by_offset(const void *a, const void *b)
{
    const life *x = *(life *const *)a, *y = *(life *const *)b;
    return x->offset < y->offset ? -1 : x->offset > y->offset ? 1 : x->tensor - y->tensor;
}

static void touch(life *l, const bl_pbuilder *b, int tensor, uint32_t step)
{
    if (tensor < 0 || (b->tensors[tensor].flags & BL_TENSOR_CONSTANT)) return;
    life *of = &l[root_of(b, tensor)];
    of->bytes = BL_MAX(of->bytes, b->tensors[tensor].bytes);
    of->first = BL_MIN(of->first, step);
    of->last = BL_MAX(of->last, step);
}

/* Lowest gap among the placed ones that live at the same time. */
static void place(life *l, life **placed, size_t n_placed, life **alive)
{
    size_t n = 0;
    uint64_t at = 0;
    for (size_t i = 0; i < n_placed; i++)
        if (placed[i]->first <= l->last && l->first <= placed[i]->last) alive[n++] = placed[i];
    qsort(alive, n, sizeof *alive, by_offset);
    for (size_t i = 0; i < n; i++) {
        if (alive[i]->offset >= at + l->bytes) break;
        uint64_t end = (alive[i]->offset + alive[i]->bytes + 63) / 64 * 64;
        at = BL_MAX(at, end);
    }
    l->offset = at;
}

bool bl_pair_dense(const bl_step_pair *v)
{
    int64_t dense = 1;
    for (int d = v->rank - 1; d >= 0; dense *= v->size[d--])
        if (v->size[d] > 1 && (v->a_stride[d] != dense || v->b_stride[d] != dense || v->out_stride[d] != dense)) return false;
    return true;
}

/* Add step i takes the place of what the convolution before it made: one life for both.  The root of the sum, or
 * -1; it lies where *host lies. */
static int join_sum(const bl_pbuilder *b, life *l, uint32_t i, int *host)
{
    const bl_step *s = &b->steps[i], *conv = &b->steps[i - 1];
    if (s->contract != BL_C_ADD || conv->contract != BL_C_CONV || s->in[0] == s->in[1]) return -1;
    if ((conv->out != s->in[0] && conv->out != s->in[1]) || !bl_pair_dense(&s->u.pair)) return -1;
    int from = root_of(b, conv->out), to = root_of(b, s->out);
    if (from == to || l[from].first != i - 1 || l[from].last != i || l[to].first != i || l[from].bytes != l[to].bytes) return -1;
    l[from].last = l[to].last;
    l[to].first = UINT32_MAX;
    *host = from;
    return to;
}

bl_status bl_plan_memory(bl_pbuilder *b)
{
    uint32_t n = b->p->n_tensors;
    life *l = BL_NEW(b->arena, life, n), **placed = BL_NEW(b->arena, life *, n), **alive = BL_NEW(b->arena, life *, n);
    uint64_t *offset = BL_NEW(b->arena, uint64_t, n);
    int *host = BL_NEW(b->arena, int, n);
    if (!l || !placed || !alive || !offset || !host) return bl_pending(b->ctx);
    bl_program view = *b->p; /* the lists as they stand now */
    view.islands = b->islands;
    view.ports = b->ports;
    for (uint32_t t = 0; t < n; t++) l[t] = (life){ .first = UINT32_MAX, .tensor = (int)t };
    for (uint32_t i = 0; i < b->p->n_steps; i++) {
        for (int written = 0; written < 2; written++) {
            uint32_t n_step = bl_step_tensors(&view, &b->steps[i], written != 0, NULL, 0);
            bl_mark mark = bl_arena_mark(b->arena);
            int32_t *at = BL_NEW(b->arena, int32_t, n_step);
            BL_ALLOC_TRY(b->ctx, at);
            bl_step_tensors(&view, &b->steps[i], written != 0, at, n_step);
            for (uint32_t k = 0; k < n_step; k++) touch(l, b, at[k], i);
            bl_arena_reset(b->arena, mark);
        }
    }
    for (uint32_t t = 0; t < n; t++) host[t] = (int)t;
    for (uint32_t i = 1; i < b->p->n_steps; i++) {
        int from = 0, to = join_sum(b, l, i, &from);
        if (to >= 0) host[to] = from;
    }
    qsort(l, n, sizeof *l, largest_first);
    size_t n_placed = 0;
    for (uint32_t i = 0; i < n; i++) {
        if (l[i].first == UINT32_MAX) continue;
        place(&l[i], placed, n_placed, alive);
        placed[n_placed++] = &l[i];
        offset[l[i].tensor] = l[i].offset;
        b->p->memory_bytes = BL_MAX(b->p->memory_bytes, (l[i].offset + l[i].bytes + 63) / 64 * 64);
    }
    for (uint32_t t = 0; t < n; t++)
        if (!(b->tensors[t].flags & BL_TENSOR_CONSTANT)) b->tensors[t].offset = offset[host[root_of(b, (int)t)]];
    return BL_OK;
}
