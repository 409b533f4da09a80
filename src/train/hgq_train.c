/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A whole HGQ training: without quantizers first, then cycles of the rate under a rising price.  Right after a
 * cycle's restart accuracy is low, so only the last epochs of each are looked at for the front.
 */
#include "train/hgq_private.h"

#include <math.h>
#include <string.h>

static const bl_hgq_loops *loops_here(bl_ctx *ctx)
{
    bl_isa isa = BL_ISA_REF;
    if (bl_isa_resolve(ctx, &isa) != BL_OK) return &bl_hgq_loops_plain;
#if defined(__x86_64__)
    if (isa >= BL_ISA_AVX512 && isa <= BL_ISA_AMX) return &bl_hgq_loops_of_avx512;
    if (isa >= BL_ISA_AVX2 && isa <= BL_ISA_AMX) return &bl_hgq_loops_of_avx2;
#endif
    return &bl_hgq_loops_plain;
}

static bl_status open_parts(bl_hgq *h, const bl_graph *graph, const char *sizes, bl_data *data)
{
    bl_graph *prepared = NULL;
    bl_hgq_source source[BL_FIXED_LAYERS_MAX] = { { 0 } };
    bl_status s = BL_OK;
    if (graph) {
        BL_TRY(bl_prepare(h->ctx, graph, &prepared));
        s = bl_hgq_chain(h, prepared, source);
    } else {
        s = bl_hgq_chain_sizes(h, sizes);
    }
    if (s == BL_OK) s = bl_hgq_build(h, source);
    bl_graph_free(prepared);
    if (s == BL_OK) s = bl_hgq_rows(h, data);
    return s;
}

bl_status bl_hgq_open(bl_ctx *ctx, const bl_graph *graph, const char *sizes, bl_data *data, const bl_hgq_options *options,
                      bl_hgq **out)
{
    *out = NULL;
    bl_arena *arena = bl_arena_new(ctx, "hgq");
    BL_ALLOC_TRY(ctx, arena);
    bl_hgq *h = BL_NEW(arena, bl_hgq, 1);
    if (!h) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    *h = (bl_hgq){ .ctx = ctx, .arena = arena, .o = *options, .loops = loops_here(ctx) };
    if (graph && !options->random) h->o.float_epochs = 0; /* it has been trained already */
    h->batch_most = BL_MAX(BL_MAX(options->batch, options->float_batch), 256);
    h->facts.float_held = h->facts.float_test = h->facts.teacher_held = NAN;
    bl_status s = BL_OK;
    if (options->uniform_real && !options->uniform_bits)
        s = bl_fail(ctx, BL_USAGE, "uniform_real", "set uniform_bits as well", "learned widths lie at powers of two");
    if (options->cycles > options->epochs)
        s = bl_fail(ctx, BL_USAGE, "hgq", "set fewer cycles", "%lld cycles in %lld epochs", (long long)options->cycles,
                    (long long)options->epochs);
    if (s == BL_OK) s = open_parts(h, graph, sizes, data);
    if (s == BL_OK) s = bl_hgq_front_open(h);
    if (s == BL_OK) s = bl_hgq_key(h, data);
    if (s != BL_OK) {
        bl_hgq_close(h);
        return s;
    }
    h->facts.samples = h->rows;
    h->facts.held_out = h->held;
    h->facts.test = h->test;
    *out = h;
    return BL_OK;
}

void bl_hgq_close(bl_hgq *h)
{
    if (!h) return;
    for (size_t p = 0; p < h->n_points; p++) bl_fixed_free(h->net[p]);
    bl_arena_free(h->arena);
}

bl_hgq_facts bl_hgq_facts_of(const bl_hgq *h)
{
    bl_hgq_facts f = h->facts;
    f.cycles_done = h->cycle;
    f.steps = h->step;
    return f;
}

/* ------------------------------------------------------------------ looking at rows */

int64_t bl_hgq_part_rows(const bl_hgq *h, bl_hgq_part part, int64_t *first)
{
    *first = part == BL_HGQ_TRAIN ? 0 : part == BL_HGQ_HELD ? h->rows : h->rows + h->held;
    return part == BL_HGQ_TRAIN ? h->rows : part == BL_HGQ_HELD ? h->held : h->test;
}

double bl_hgq_accuracy(bl_hgq *h, bl_hgq_part part)
{
    int64_t first, n = bl_hgq_part_rows(h, part, &first), right = 0;
    for (int64_t r = 0; r < n; r += h->batch_most) {
        int64_t rows = BL_MIN(h->batch_most, n - r);
        const float *y = bl_hgq_forward(h, h->x + (first + r) * h->per, rows);
        for (int64_t k = 0; k < rows; k++, y += h->classes) {
            int64_t best = 0;
            for (int64_t c = 1; c < h->classes; c++)
                if (y[c] > y[best]) best = c;
            right += best == h->labels[first + r + k];
        }
    }
    return n ? (double)right / (double)n : NAN;
}

/* ------------------------------------------------------------------ epochs */

static void shuffle(bl_hgq *h, const char *label, int64_t epoch)
{
    bl_rng r = bl_rng_make(h->ctx->options.seed, label, (uint64_t)epoch);
    for (int64_t i = 0; i < h->rows; i++) h->order[i] = (uint32_t)i;
    bl_rng_shuffle(&r, h->order, (size_t)h->rows);
}

static void collect(bl_hgq *h, int64_t first, int64_t n)
{
    for (int64_t r = 0; r < n; r++) {
        uint32_t at = h->order[first + r];
        memcpy(h->gathered + r * h->per, h->x + at * h->per, (size_t)h->per * sizeof(float));
        memcpy(h->batch_wanted + r * h->classes, h->wanted + at * h->classes, (size_t)h->classes * sizeof(float));
    }
}

static double cosine(double from, double to, double t)
{
    return to + (from - to) * 0.5 * (1 + cos(M_PI * t));
}

bl_status bl_hgq_float_epochs(bl_hgq *h, const char *stage)
{
    int64_t batch = BL_MIN(h->o.float_batch, h->rows), steps = h->rows / batch, all = steps * h->o.float_epochs;
    uint64_t start = bl_now_ns();
    h->quantized = false;
    for (int64_t e = 0; e < h->o.float_epochs; e++) {
        BL_TRY(bl_check_interrupt(h->ctx));
        shuffle(h, "hgq float epoch", e);
        for (int64_t s = 0; s < steps; s++) {
            collect(h, s * batch, batch);
            (void)bl_hgq_gradient(h, h->gathered, h->batch_wanted, batch);
            bl_hgq_move(h, cosine(h->o.float_rate, 0, (double)(e * steps + s) / (double)all));
        }
        bl_progress(h->ctx, stage, (uint64_t)e + 1, (uint64_t)h->o.float_epochs);
    }
    h->facts.float_steps = all;
    h->facts.float_seconds = (double)(bl_now_ns() - start) * 1e-9;
    bl_hgq_plain_biases(h);
    h->facts.float_held = bl_hgq_accuracy(h, BL_HGQ_HELD);
    if (h->test) h->facts.float_test = bl_hgq_accuracy(h, BL_HGQ_TEST);
    memset(h->m, 0, (size_t)h->n_params * sizeof(float));
    memset(h->v, 0, (size_t)h->n_params * sizeof(float));
    h->step = 0;
    return BL_OK;
}

/* Towards a number of EBOPs: beta = 10^(e + I sum of e), e in decades. */
static void pid(bl_hgq *h)
{
    const double gain = 2e-3, warm = 10;
    double e = log10(fmax(h->estimate, 1) / fmax(h->o.target, 1));
    if (h->epoch < (int64_t)warm) {
        h->beta = h->o.beta;
        h->integral = (log10(h->o.beta) - e) / gain;
        return;
    }
    h->integral += e;
    h->beta = pow(10, fmin(fmax(e + gain * h->integral, -10), 0));
}

static void set_beta(bl_hgq *h, double t)
{
    double hold = h->o.beta_hold;
    if (h->o.ramp == BL_HGQ_PID) return;
    h->beta = h->o.beta;
    if (h->o.ramp != BL_HGQ_LOG || t <= hold) return;
    if (h->o.beta_ramp > 0) h->beta = h->o.beta_ramp;
    if (h->beta > 0) h->beta *= pow(h->o.beta_end / h->beta, (t - hold) / (1 - hold));
}

/* The epoch that ends cycle c, from 0. */
static int64_t cycle_end(const bl_hgq *h, int64_t c)
{
    return (c + 1) * h->o.epochs / h->o.cycles;
}

static double epoch(bl_hgq *h, int64_t begin, int64_t end)
{
    int64_t batch = BL_MIN(h->o.batch, h->rows), steps = h->rows / batch;
    double loss = 0, top = h->o.rate * pow(h->o.cycle_factor, (double)h->cycle);
    shuffle(h, "hgq epoch", h->epoch);
    if (h->o.ramp == BL_HGQ_PID) pid(h);
    for (int64_t s = 0; s < steps; s++) {
        double done = (double)(h->epoch * steps + s), t = (done - (double)(begin * steps)) / (double)((end - begin) * steps);
        set_beta(h, done / (double)(h->o.epochs * steps));
        collect(h, s * batch, batch);
        loss += bl_hgq_gradient(h, h->gathered, h->batch_wanted, batch);
        bl_hgq_move(h, cosine(top, BL_MIN(top, h->o.rate_end), t));
    }
    h->epoch++;
    return loss / (double)steps;
}

void bl_hgq_count_live(const bl_fixed_net *net, bl_hgq_point *p)
{
    for (int l = 0; l < net->n_layers; l++)
        for (int64_t e = 0; e < net->layers[l].n_out; e++) {
            bl_fixed_grid g = net->layers[l].out[e];
            p->live[l] += g.k + g.i + g.f > 0;
        }
}

/* The network as it is becomes a point, if it can be one.  last: of its cycle, which is looked at in any case. */
static bl_status look_at(bl_hgq *h, double loss, bool last, bl_hgq_point *p)
{
    bl_fixed_net *net;
    *p = (bl_hgq_point){ .cycle = h->cycle + 1, .epoch = h->epoch, .beta = h->beta, .loss = loss, .test_accuracy = NAN };
    bl_hgq_grids(h);
    bl_hgq_price(h);
    p->estimate = h->estimate;
    p->held_accuracy = bl_hgq_accuracy(h, BL_HGQ_HELD);
    if (!last && bl_hgq_beaten(h, p)) return BL_OK;
    BL_TRY(bl_hgq_fixed(h, &net));
    bl_fixed_price(net, &p->cost);
    bl_hgq_count_live(net, p);
    return bl_hgq_keep(h, p, net);
}

/* That, or its running mean. */
static bl_status look(bl_hgq *h, double loss, bool last, bl_hgq_point *p)
{
    float *own = h->params;
    if (h->average) h->params = h->average;
    bl_status s = look_at(h, loss, last, p);
    h->params = own;
    return s;
}

static bl_status end_cycle(bl_hgq *h, double loss)
{
    bl_hgq_point p;
    BL_TRY(look(h, loss, true, &p));
    h->cycle++;
    if (h->o.told) h->o.told(h->o.user, &p, "cycle");
    return bl_hgq_save(h);
}

bl_status bl_hgq_train(bl_hgq *h)
{
    BL_TRY(bl_hgq_load(h));
    h->facts.resumed = h->cycle;
    if (!h->cycle) {
        BL_TRY(bl_hgq_float_epochs(h, "float"));
        h->quantized = true;
        BL_TRY(bl_hgq_start_widths(h));
        if (h->average) memcpy(h->average, h->params, (size_t)h->n_params * sizeof(float));
    }
    if (h->o.teacher) BL_TRY(bl_hgq_teach(h));
    h->quantized = true;
    uint64_t start = bl_now_ns();
    while (h->cycle < h->o.cycles) {
        int64_t begin = h->cycle ? cycle_end(h, h->cycle - 1) : 0, end = cycle_end(h, h->cycle);
        double loss = 0;
        bl_hgq_point passing;
        while (h->epoch < end) {
            BL_TRY(bl_check_interrupt(h->ctx));
            loss = epoch(h, begin, end);
            if (h->epoch < end && (double)(end - h->epoch) <= h->o.look * (double)(end - begin)) BL_TRY(look(h, loss, false, &passing));
            bl_progress(h->ctx, "hgq", (uint64_t)h->epoch, (uint64_t)h->o.epochs);
        }
        BL_TRY(end_cycle(h, loss));
    }
    h->facts.seconds = (double)(bl_now_ns() - start) * 1e-9;
    return bl_hgq_settle(h);
}
