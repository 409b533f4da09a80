/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * BISMO (arXiv 1806.08862), the bit-serial accelerator of HAQ (arXiv 1811.08886): an array x array of dot
 * products of dot_bits bits takes w x a passes for w-bit weights and a-bit values.  One operand stays while the
 * other streams in under compute, one bit plane of one row in `load` cycles; every image of a batch loads the
 * weights again.  The form is fitted to the one table that HAQ published, MobileNetV2 on the cloud chip: 0.93 %
 * mean error over its 3,392 cells, at most 0.78 % over whole networks.  The clock makes it equal to both
 * latencies published for MobileNetV1 at 8 bits.
 */
#include "target/model.h"

const bl_bismo bl_bismo_edge = { .batch = 1, .array = 8, .dot_bits = 256, .load = 8, .clock_mhz = 210.23 };
const bl_bismo bl_bismo_cloud = { .batch = 16, .array = 16, .dot_bits = 256, .load = 1, .clock_mhz = 210.23 };

static int64_t parts(int64_t n, int64_t part)
{
    return (n + part - 1) / part;
}

/* Rows of an operand in parts of the array: for each part the larger of loading it and of `under`, the work that
 * goes on meanwhile; `skip` leaves the first part out. */
static double stream(int64_t rows, int64_t array, double a_row, double under, bool skip)
{
    int64_t full = rows / array, rest = rows % array;
    double sum = (double)full * fmax((double)array * a_row, under);
    if (rest) sum += fmax((double)rest * a_row, under);
    return skip ? sum - fmax((double)BL_MIN(rows, array) * a_row, under) : sum;
}

static bl_work product_work(const bl_bismo *p, int64_t m, int64_t n, int64_t t_k, int w, int a)
{
    double c = (double)w * a, row_a = (double)a * p->load, row_w = (double)w * p->load;
    int64_t t_m = parts(m, p->array), t_n = parts(n, p->array);
    double load_a = stream(m, p->array, row_a, c, false), load_w = stream(n, p->array, row_w, c, false);
    bl_work work = { .computing = (double)t_k * (double)t_m * (double)t_n * c };
    if (t_n == 1) {
        work.cycles = (double)t_k * fmax(load_a, (double)n * row_w + (double)(t_m - 1) * c);
        return work;
    }
    double values_stay = load_a + stream(n, p->array, row_w, (double)t_m * c, true);
    double weights_stay = load_w + (p->load == 1 ? (double)(t_m - 1) * (double)t_n * c
                                                 : stream(m, p->array, row_a, (double)t_n * c, true));
    work.cycles = (double)t_k * fmax(fmax((double)m * row_a, (double)n * row_w), fmin(values_stay, weights_stay));
    return work;
}

bl_work bl_bismo_work(const bl_bismo *p, const bl_mac_shape *s, int w_bits, int a_bits)
{
    bool rows_are_samples = s->m == 1 && !s->product && !s->depthwise; /* a fully connected layer takes the batch as one image */
    int64_t m = rows_are_samples ? p->batch : s->m, times = rows_are_samples ? s->groups : p->batch * s->groups;
    bl_work work;
    if (s->depthwise) { /* groups of as many channels as the array is wide */
        work = product_work(p, s->m, p->array, parts(s->groups, p->array), w_bits, a_bits);
        times = p->batch;
    } else {
        work = product_work(p, m, s->n, parts(s->k, p->dot_bits), w_bits, a_bits);
    }
    return (bl_work){ .cycles = (double)times * work.cycles, .computing = (double)times * work.computing };
}

static bl_work priced(const void *accelerator, const bl_mac_shape *shape, int w_bits, int a_bits)
{
    return bl_bismo_work(accelerator, shape, w_bits, a_bits);
}

static bl_status fill(bl_ctx *ctx, const bl_graph *graph, const char *device, const bl_bismo *p, bl_cost *cost)
{
    cost->machine = json_pack("{s:s, s:s, s:i, s:i, s:i, s:i, s:f}", "model", "BISMO", "device", device, "batch", p->batch, "array",
                              p->array, "dot_bits", p->dot_bits, "load_cycles", p->load, "clock_mhz", p->clock_mhz);
    return bl_model_fill(ctx, graph, priced, p, p->clock_mhz, cost);
}

bl_status bl_target_bismo_edge(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                               bl_cost *cost)
{
    (void)menu, (void)options;
    return fill(ctx, graph, "Zynq-7020", &bl_bismo_edge, cost);
}

bl_status bl_target_bismo_cloud(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                                bl_cost *cost)
{
    (void)menu, (void)options;
    return fill(ctx, graph, "VU9P", &bl_bismo_cloud, cost);
}
