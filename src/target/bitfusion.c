/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Bit Fusion (arXiv 1712.01507), the spatial accelerator of HAQ (arXiv 1811.08886): each unit splits into
 * floor(8/a) x floor(8/w) multipliers, so 3 bits cost as much as 4, and 5 to 7 as much as 8.  A layer takes
 * whichever lasts longer, computing or moving its weights once and its values once a sample.  Fitted to the
 * latencies and energies that HAQ published for MobileNetV1: within 5.1 % and 6.0 %.
 */
#include "target/model.h"

const bl_bitfusion bl_bitfusion_haq = { .batch = 16, .rows = 32, .columns = 32, .memory_bits = 512, .clock_mhz = 500,
                                        .memory_pj_a_bit = 15, .unit_pj_a_cycle = 1.11 };
const bl_bitfusion bl_bitfusion_isca = { .batch = 16, .rows = 16, .columns = 32, .memory_bits = 192, .clock_mhz = 500,
                                         .memory_pj_a_bit = 15, .unit_pj_a_cycle = 1.11 };

static int64_t parts(int64_t n, int64_t part)
{
    return (n + part - 1) / part;
}

/* How many operands of a width lie side by side; 9 to 16 bits take two turns. */
static double fused(int bits)
{
    return bits > 8 ? 0.5 : (double)(8 / BL_MAX(bits, 2));
}

bl_work bl_bitfusion_work(const bl_bitfusion *p, const bl_mac_shape *s, int w_bits, int a_bits)
{
    double rows = ceil((double)s->k / (p->rows * fused(w_bits) * fused(a_bits)));
    double columns = s->depthwise ? (double)parts(s->groups, p->columns) : (double)s->groups * (double)parts(s->n, p->columns);
    double compute = p->batch * (double)s->m * columns * rows;
    double moved = (double)s->weights * w_bits + p->batch * (double)(s->in + s->out) * a_bits;
    bl_work work = { .cycles = fmax(compute, moved / p->memory_bits), .computing = compute };
    work.energy_nj = 1e-3 * (p->memory_pj_a_bit * moved + p->unit_pj_a_cycle * p->rows * p->columns * work.cycles);
    return work;
}

static bl_work priced(const void *accelerator, const bl_mac_shape *shape, int w_bits, int a_bits)
{
    return bl_bitfusion_work(accelerator, shape, w_bits, a_bits);
}

static bl_status fill(bl_ctx *ctx, const bl_graph *graph, const bl_bitfusion *p, bl_cost *cost)
{
    cost->has_energy = true;
    cost->machine = json_pack("{s:s, s:i, s:i, s:i, s:i, s:f, s:f, s:f}", "model", "Bit Fusion", "batch", p->batch, "rows", p->rows,
                              "columns", p->columns, "memory_bits_a_cycle", p->memory_bits, "clock_mhz", p->clock_mhz,
                              "memory_pj_a_bit", p->memory_pj_a_bit, "unit_pj_a_cycle", p->unit_pj_a_cycle);
    return bl_model_fill(ctx, graph, priced, p, p->clock_mhz, cost);
}

bl_status bl_target_bitfusion(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                              bl_cost *cost)
{
    (void)menu, (void)options;
    return fill(ctx, graph, &bl_bitfusion_haq, cost);
}

bl_status bl_target_bitfusion_isca(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                                   bl_cost *cost)
{
    (void)menu, (void)options;
    return fill(ctx, graph, &bl_bitfusion_isca, cost);
}
