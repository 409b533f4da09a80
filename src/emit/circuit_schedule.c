/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a circuit needs of each cell: low bits that somebody reads (sums are exact modulo a power of two,
 * so bits that a wrapping quantizer drops are never made), the pipeline stage, and the estimate of
 * look-up tables and flip-flops: a table for each bit of a sum that is not passed through, for each bit
 * behind a ReLU or saturation, two for each bit of a maximum.
 */
#include "emit/circuit.h"

static int operand_width(const bl_circuit *c, int32_t cell)
{
    return cell < 0 ? 0 : bl_cell_width(&c->cells[cell]);
}

static void reads(bl_circuit *c, int32_t cell, int bits)
{
    if (cell < 0 || bits <= 0) return;
    bl_cell *a = &c->cells[cell];
    a->need = BL_MAX(a->need, BL_MIN(bits, bl_cell_width(a)));
}

static void find_needs(bl_circuit *c)
{
    for (int64_t e = 0; e < c->n_out; e++) reads(c, c->out[e].cell, operand_width(c, c->out[e].cell));
    for (int k = c->n_cells; k-- > 0;) {
        const bl_cell *n = &c->cells[k];
        if (!n->need) continue;
        bool whole = n->kind == BL_CELL_MAX || n->relu || n->saturate || (n->kind == BL_CELL_ROUND && n->round != BL_TRN && !n->halved);
        int bits = n->need + (n->kind == BL_CELL_ROUND ? n->drop : 0);
        reads(c, n->a, whole ? operand_width(c, n->a) : bits - n->shift_a);
        reads(c, n->b, whole ? operand_width(c, n->b) : bits - n->shift_b);
    }
}

/* ------------------------------------------------------------------ stages */

static void find_stages(bl_circuit *c)
{
    int step = c->options.pipeline, final = 0;
    for (int k = 0; k < c->n_cells; k++) {
        bl_cell *n = &c->cells[k];
        n->stage = n->last = step && n->level ? (n->level - 1) / step : 0;
        for (int s = 0; s < 2; s++) {
            int32_t from = s ? n->b : n->a;
            if (n->need && from >= 0) c->cells[from].last = BL_MAX(c->cells[from].last, n->stage);
        }
    }
    for (int64_t e = 0; e < c->n_out; e++)
        if (c->out[e].cell >= 0) {
            c->depth = BL_MAX(c->depth, c->cells[c->out[e].cell].level);
            final = BL_MAX(final, c->cells[c->out[e].cell].stage);
        }
    for (int64_t e = 0; e < c->n_out; e++)
        if (c->out[e].cell >= 0) c->cells[c->out[e].cell].last = final;
    c->stages = step ? final + 1 : 0;
}

/* ------------------------------------------------------------------ counts */

static int sum_luts(const bl_circuit *c, const bl_cell *n)
{
    const bl_cell *fine = &c->cells[n->shift_a ? n->b : n->a];
    int low = n->shift_a + n->shift_b;
    if (n->subtract && n->shift_a) return n->need; /* what is taken away is negated from its lowest bit on */
    if (!n->subtract && fine->lo >= 0 && bl_cell_width(fine) <= low) return 0;
    return BL_MAX(n->need - low, 0);
}

static int clip_luts(const bl_circuit *c, const bl_cell *n)
{
    if (!n->relu && !n->saturate) return 0;
    /* Finding an overflow: five bits a table. */
    int above = n->saturate ? bl_cell_width(&c->cells[n->a]) + n->shift_a - n->need : 0;
    return n->need + (above > 0 ? (above + 4) / 5 : 0);
}

static void count(bl_circuit *c)
{
    for (int k = 0; k < c->n_cells; k++) {
        const bl_cell *n = &c->cells[k];
        if (!n->need) continue;
        if (n->kind == BL_CELL_SUM) {
            c->adders++;
            c->luts_sum += sum_luts(c, n);
        }
        if (n->kind == BL_CELL_CLIP) c->luts_clip += clip_luts(c, n);
        if (n->kind == BL_CELL_ROUND && n->round != BL_TRN) c->luts_round += n->halved ? (n->drop + 5) / 6 + 1 : n->need + 1;
        if (n->kind == BL_CELL_MAX) c->luts_max += 2 * n->need;
        if (n->kind != BL_CELL_CONSTANT) c->flip_flops += (int64_t)n->need * (n->last - n->stage);
    }
    for (int64_t e = 0; e < c->n_out && c->stages; e++)
        if (c->out[e].cell >= 0) c->flip_flops += c->cells[c->out[e].cell].need;
}

void bl_circuit_schedule(bl_circuit *c)
{
    find_needs(c);
    find_stages(c);
    count(c);
}
