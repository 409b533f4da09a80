/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Cells of a circuit: adding them with their intervals, the quantizer of an element as cells, and
 * running them one by one.  Rounding to the nearest costs nothing: the half step joins the bias
 * and bits are cut off (HGQ, arXiv 2405.00645, section IV); half to even then clears the lowest bit of a
 * tie, which is where all bits cut off are 0.  ReLU and roundings commute, being monotone with 0 fixed.
 */
#include "emit/circuit.h"

#include <string.h>

/* A half step beyond is not worth an addition as wide. */
enum { HALF_BITS_MAX = 40 };

int bl_cell_width(const bl_cell *c)
{
    return bl_adder_width(c->lo, c->hi);
}

bool bl_cell_signed(const bl_cell *c)
{
    return c->lo < 0;
}

int bl_grid_width(bl_fixed_grid g)
{
    int w = g.k + g.i + g.f;
    return w > 0 ? w : 0;
}

int bl_circuit_cell(bl_circuit_build *b, const bl_cell *cell)
{
    bl_circuit *c = b->c;
    if (c->n_cells == b->capacity) {
        int more = b->capacity ? 2 * b->capacity : 4096;
        if (more > BL_CIRCUIT_CELLS_MAX)
            return bl_fail(bl_arena_ctx(b->arena), BL_UNAVAILABLE, b->c->net->name, "use a smaller network",
                           "fully unrolled it takes more than %d cells", BL_CIRCUIT_CELLS_MAX), -1;
        bl_cell *n = BL_NEW(b->arena, bl_cell, (size_t)more);
        if (!n) return -1;
        if (c->n_cells) memcpy(n, c->cells, (size_t)c->n_cells * sizeof *n);
        c->cells = n;
        b->capacity = more;
    }
    c->cells[c->n_cells] = *cell;
    c->cells[c->n_cells].layer = b->layer;
    return c->n_cells++;
}

/* ------------------------------------------------------------------ quantizers */

/* ReLU makes some roundings the same. */
static bl_fixed_round round_of(const bl_fixed_layer *l)
{
    if (!l->relu) return l->round;
    switch (l->round) {
    case BL_TRN_ZERO: return BL_TRN;
    case BL_RND_INF: return BL_RND;
    case BL_RND_ZERO: return BL_RND_MIN_INF;
    default: return l->round;
    }
}

int64_t bl_circuit_half(const bl_fixed_layer *l, int64_t element, int32_t *exp, bool *cut)
{
    int drop = l->acc_f[element] - l->out[element].f;
    bl_fixed_round round = round_of(l);
    *exp = -l->acc_f[element];
    *cut = drop > 0 && drop <= HALF_BITS_MAX && (round == BL_RND || round == BL_RND_CONV || round == BL_RND_MIN_INF);
    if (!*cut) return 0;
    /* Half down: just less than half a step up. */
    return ((int64_t)1 << (drop - 1)) - (round == BL_RND_MIN_INF);
}

static int64_t code_of(int64_t v, int drop, bl_fixed_round round, bool halved)
{
    if (halved) {
        int64_t low = v & (((int64_t)1 << drop) - 1), q = v >> drop;
        return round == BL_RND_CONV && !low ? q & ~(int64_t)1 : q;
    }
    /* An overflow so far away that only the rounding is left. */
    return bl_fixed_quantize(v, drop, (bl_fixed_grid){ 1, 62, 0 }, round, BL_WRAP);
}

static bl_status round_cell(bl_circuit_build *b, bl_circuit_value *v, int drop, bl_fixed_round round, bool halved)
{
    if (halved && round != BL_RND_CONV) round = BL_TRN, halved = false;
    const bl_cell *a = &b->c->cells[v->cell];
    bl_cell c = { .kind = BL_CELL_ROUND, .a = v->cell, .b = -1, .drop = drop, .round = round, .halved = halved,
                  .exp = a->exp + drop, .level = a->level + (round != BL_TRN), .lo = code_of(a->lo, drop, round, halved),
                  .hi = code_of(a->hi, drop, round, halved) };
    v->cell = bl_circuit_cell(b, &c);
    return v->cell < 0 ? bl_pending(bl_arena_ctx(b->arena)) : BL_OK;
}

static bl_status clip_cell(bl_circuit_build *b, bl_circuit_value *v, const bl_fixed_layer *l, bl_fixed_grid g)
{
    const bl_cell *a = &b->c->cells[v->cell];
    int up = a->exp + v->shift + g.f, bits = g.i + g.f;
    /* The grid's ends at the finer of both steps; shifting is only needed where an end is cut to. */
    int64_t lo = l->relu ? BL_MAX(a->lo, 0) : a->lo, hi = l->relu ? BL_MAX(a->hi, 0) : a->hi;
    if (bits < 0) bits = 0;
    if (bits > 61 || up > 61) bits = 62;
    int64_t top = bits < 62 ? ((int64_t)1 << bits) - 1 : INT64_MAX >> 1;
    int64_t bottom = !g.k ? 0 : l->overflow == BL_SAT_SYM ? -top : -top - 1;
    int64_t step = up < 62 ? (int64_t)1 << up : 1;
    bool over = bits < 62 && (hi > top / step || lo < -(-bottom / step));
    if (!over && lo == a->lo && hi == a->hi) return BL_OK;

    bl_cell c = { .kind = BL_CELL_CLIP, .a = v->cell, .b = -1, .relu = l->relu && a->lo < 0, .exp = a->exp, .level = a->level,
                  .lo = lo, .hi = hi };
    if (over) {
        c.saturate = l->overflow != BL_WRAP;
        c.shift_a = up;
        c.exp -= up;
        lo *= step;
        hi *= step;
        c.lo = c.saturate ? BL_MIN(BL_MAX(lo, bottom), top) : bottom;
        c.hi = c.saturate ? BL_MIN(BL_MAX(hi, bottom), top) : top;
    }
    c.level += c.relu || c.saturate;
    v->cell = bl_circuit_cell(b, &c);
    return v->cell < 0 ? bl_pending(bl_arena_ctx(b->arena)) : BL_OK;
}

bl_status bl_circuit_quantize(bl_circuit_build *b, bl_circuit_value v, bool half_added, const bl_fixed_layer *l,
                              int64_t element, bl_circuit_value *out)
{
    bl_fixed_grid g = l->out[element];
    *out = (bl_circuit_value){ -1, 0 };
    if (v.cell < 0 || !bl_grid_width(g)) return BL_OK;
    int drop = -g.f - b->c->cells[v.cell].exp - v.shift;
    if (drop > 0) BL_TRY(round_cell(b, &v, drop, round_of(l), half_added));
    const bl_cell *c = &b->c->cells[v.cell];
    if (c->lo == 0 && c->hi == 0) return BL_OK;
    BL_TRY(clip_cell(b, &v, l, g));
    c = &b->c->cells[v.cell];
    if (c->lo != 0 || c->hi != 0) *out = v;
    return BL_OK;
}

/* ------------------------------------------------------------------ running */

static int64_t up(int64_t v, int by)
{
    return (int64_t)((uint64_t)v << by);
}

static int64_t clip(const bl_cell *c, int64_t v)
{
    if (c->relu && v < 0) return 0;
    v = up(v, c->shift_a);
    if (c->saturate) return BL_MIN(BL_MAX(v, c->lo), c->hi);
    if (v >= c->lo && v <= c->hi) return v;
    /* Low bits: the interval is a whole one of its width. */
    uint64_t mask = ((uint64_t)1 << bl_cell_width(c)) - 1;
    return (int64_t)(((uint64_t)v - (uint64_t)c->lo) & mask) + c->lo;
}

void bl_circuit_run(const bl_circuit *c, const int64_t *in, int64_t *out, int64_t *values)
{
    for (int64_t i = 0; i < c->n_in; i++)
        if (c->in[i].cell >= 0) values[c->in[i].cell] = in[i];
    for (int k = 0; k < c->n_cells; k++) {
        const bl_cell *n = &c->cells[k];
        switch (n->kind) {
        case BL_CELL_INPUT: break;
        case BL_CELL_CONSTANT: values[k] = n->lo; break;
        case BL_CELL_SUM: {
            uint64_t a = (uint64_t)up(values[n->a], n->shift_a), b = (uint64_t)up(values[n->b], n->shift_b);
            values[k] = (int64_t)(n->subtract ? a - b : a + b);
            break;
        }
        case BL_CELL_ROUND: values[k] = code_of(values[n->a], n->drop, n->round, n->halved); break;
        case BL_CELL_CLIP: values[k] = clip(n, values[n->a]); break;
        case BL_CELL_MAX: values[k] = BL_MAX(up(values[n->a], n->shift_a), up(values[n->b], n->shift_b)); break;
        }
    }
    const bl_fixed_layer *last = &c->net->layers[c->net->n_layers - 1];
    for (int64_t e = 0; e < c->n_out; e++) {
        const bl_circuit_value *v = &c->out[e];
        out[e] = v->cell < 0 ? 0 : up(values[v->cell], c->cells[v->cell].exp + v->shift + last->out[e].f);
    }
}
