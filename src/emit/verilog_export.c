/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The exporter `verilog`: a fixed-point network as a folder of hardware.  Test vectors are the executor's
 * own integers, of samples that were given or of random codes.  What the cells compute is compared
 * with the executor on every one of them before a file is written.
 */
#include "emit/emit.h"
#include "emit/stream.h"

#include <string.h>
#include <unistd.h>

enum { RANDOM_VECTORS = 256, RANDOM_PICTURES = 16, VECTORS_BYTES_MAX = 1 << 30 };

typedef struct maker {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_fixed_net *net;
    const bl_export_options *options;
    int64_t n_in, n_out;
    int64_t *in, *out;
    bl_vectors v;
    bl_stream *stream;
    bool writing;               /* files of this export may be there */
} maker;

/* First all codes at their least, then at their greatest, then anything. */
static void random_codes(maker *m)
{
    bl_rng r = bl_rng_make(1, "verilog vectors", 0);
    for (int64_t s = 0; s < m->v.n; s++)
        for (int64_t i = 0; i < m->n_in; i++) {
            bl_fixed_grid g = m->net->in[i];
            int64_t top = bl_grid_width(g) ? ((int64_t)1 << (g.i + g.f)) - 1 : 0;
            int64_t lo = !g.k || !bl_grid_width(g) ? 0 : m->net->in_overflow == BL_SAT_SYM ? -top : -top - 1;
            int64_t span = top - lo + 1;
            m->in[s * m->n_in + i] = s == 0 ? lo : s == 1 ? top : lo + (int64_t)bl_rng_below(&r, (uint64_t)span);
        }
}

static bl_status sample_codes(maker *m)
{
    float *x = BL_NEW(m->arena, float, (size_t)m->n_in);
    if (!x) return bl_pending(m->ctx);
    if (bl_data_sample_size(m->options->samples) != m->n_in)
        return bl_fail(m->ctx, BL_DATA, bl_data_name(m->options->samples), "give samples of this network",
                       "%lld numbers a sample, the network takes %lld", (long long)bl_data_sample_size(m->options->samples),
                       (long long)m->n_in);
    for (int64_t s = 0; s < m->v.n; s++) {
        BL_TRY(bl_data_read(m->options->samples, s, 1, x));
        bl_fixed_input(m->net, x, m->in + s * m->n_in);
    }
    return BL_OK;
}

static bl_status make_vectors(maker *m)
{
    const bl_data *data = m->options->samples;
    size_t n, work = bl_fixed_work(m->net);
    m->v.n = data ? bl_data_samples(data) : m->options->stream ? RANDOM_PICTURES : RANDOM_VECTORS;
    if (data && m->options->n_samples) m->v.n = BL_MIN(m->v.n, m->options->n_samples);
    m->v.origin = data ? bl_data_name(data) : "random codes";
    if (!bl_mul_size((size_t)m->v.n, (size_t)(m->n_in + m->n_out), &n) || n > VECTORS_BYTES_MAX / sizeof(int64_t))
        return bl_fail(m->ctx, BL_UNAVAILABLE, m->net->name, "use --limit", "test vectors of more than 1 GiB");
    m->in = BL_NEW(m->arena, int64_t, (size_t)(m->v.n * m->n_in));
    m->out = BL_NEW(m->arena, int64_t, (size_t)(m->v.n * m->n_out));
    int64_t *scratch = BL_NEW(m->arena, int64_t, work);
    if (!m->in || !m->out || !scratch) return bl_pending(m->ctx);
    if (data) BL_TRY(sample_codes(m));
    else random_codes(m);
    for (int64_t s = 0; s < m->v.n; s++) bl_fixed_run(m->net, m->in + s * m->n_in, m->out + s * m->n_out, scratch);
    m->v.in = m->in;
    m->v.out = m->out;
    return BL_OK;
}

static bl_status differs(const maker *m, int64_t sample)
{
    return bl_fail(m->ctx, BL_INTERNAL, m->net->name, "please report this", "the circuit differs from the executor in sample %lld",
                   (long long)sample);
}

/* One of both is NULL. */
static bl_status compare(const maker *m, const bl_circuit *c, const bl_stream *t)
{
    bl_arena *a = bl_arena_new(m->ctx, "circuit check");
    int64_t *values = a ? BL_NEW(a, int64_t, c ? (size_t)c->n_cells : bl_stream_work(t)) : NULL;
    int64_t *out = a ? BL_NEW(a, int64_t, (size_t)m->n_out) : NULL;
    bl_status st = values && out ? BL_OK : bl_pending(m->ctx);
    for (int64_t s = 0; s < m->v.n && st == BL_OK; s++) {
        if (c) bl_circuit_run(c, m->in + s * m->n_in, out, values);
        else bl_stream_run(t, m->in + s * m->n_in, out, values);
        st = memcmp(out, m->out + s * m->n_out, (size_t)m->n_out * sizeof *out) ? differs(m, s) : bl_check_interrupt(m->ctx);
    }
    bl_arena_free(a);
    return st;
}

static bl_status fits(const maker *m, int64_t luts)
{
    if (!m->options->luts_max || luts <= m->options->luts_max) return BL_OK;
    return bl_fail(m->ctx, BL_UNAVAILABLE, m->net->name, m->options->stream ? "use fewer bits, or say --luts 0" : "use fewer bits, --stream, or --luts 0",
                   "the design takes %lld look-up tables, more than the limit of %lld", (long long)luts, (long long)m->options->luts_max);
}

/* Sharing takes minutes where digits alone take seconds, and has not taken two thirds of the tables off any design yet. */
static bl_status could_fit(const maker *m, const bl_circuit_options *co)
{
    enum { AT_BEST = 3 };
    bl_circuit_options alone = *co;
    bl_circuit *c;
    int64_t luts = 0;
    if (!m->options->luts_max || co->unshared) return BL_OK;
    alone.unshared = true;
    bl_arena *a = bl_arena_new(m->ctx, "circuit of digits alone");
    BL_ALLOC_TRY(m->ctx, a);
    bl_status st = bl_circuit_make(a, m->net, &alone, &c);
    if (st == BL_OK) luts = bl_circuit_luts(c);
    bl_arena_free(a);
    if (st != BL_OK || luts / AT_BEST <= m->options->luts_max) return st;
    return bl_fail(m->ctx, BL_UNAVAILABLE, m->net->name, "use fewer bits, --stream, or --luts 0",
                   "the design takes %lld look-up tables before sums are shared, which saves half of them or less, and the limit is %lld", (long long)luts,
                   (long long)m->options->luts_max);
}

static bl_status write_unrolled(maker *m, const bl_circuit_options *co, const char *path)
{
    bl_circuit *c;
    BL_TRY(could_fit(m, co));
    BL_TRY(bl_circuit_make(m->arena, m->net, co, &c));
    BL_TRY(fits(m, bl_circuit_luts(c)));
    BL_TRY(compare(m, c, NULL));
    BL_TRY(bl_make_dir(m->ctx, path));
    m->writing = true;
    BL_TRY(bl_fixed_c_write(m->ctx, m->net, path));
    BL_TRY(bl_verilog_beside(m->ctx, c, &m->v, path));
    return bl_verilog_write(m->ctx, c, path);
}

static bl_status write_stream(maker *m, const bl_circuit_options *co, const char *path)
{
    BL_TRY(bl_stream_make(m->arena, m->net, co, &m->stream));
    BL_TRY(fits(m, bl_stream_luts(m->stream)));
    BL_TRY(compare(m, NULL, m->stream));
    BL_TRY(bl_make_dir(m->ctx, path));
    m->writing = true;
    BL_TRY(bl_fixed_c_write(m->ctx, m->net, path));
    return bl_stream_write(m->ctx, m->stream, &m->v, path);
}

/* Part of a design is none: what was written goes, and the folder, if nothing else is in it. */
static void take_back(const maker *m, const char *path)
{
    static const char *const names[] = { "net.v", "tb.v", "vectors_in.hex", "vectors_out.hex", "net_fixed.c", "net_fixed.h", "ports.csv",
                                         "hardware.json", "xilinx.ys", "ice40.ys", "vivado.tcl", "quartus.tcl", "net.sdc", "README.txt" };
    for (size_t i = 0; i < BL_COUNTOF(names); i++) {
        char *file = bl_path_join(m->arena, path, names[i]);
        if (file) (void)unlink(file);
    }
    (void)rmdir(path);
}

static bl_status write_all(maker *m, const char *path)
{
    const bl_export_options *o = m->options;
    bl_circuit_options co = { .pipeline = o->pipeline, .extra_depth = o->extra_depth, .unshared = o->unshared };
    BL_TRY(make_vectors(m));
    bl_status st = o->stream ? write_stream(m, &co, path) : write_unrolled(m, &co, path);
    if (st != BL_OK && m->writing) take_back(m, path);
    bl_stream_free(m->stream);
    return st;
}

bl_status bl_export_fixed_verilog(bl_ctx *ctx, const bl_fixed_net *net, const bl_export_options *options, const char *path)
{
    const bl_export_options none = { 0 };
    maker m = { .ctx = ctx, .arena = bl_arena_new(ctx, "verilog"), .net = net, .options = options ? options : &none,
                .n_in = net->n_in, .n_out = net->layers[net->n_layers - 1].n_out };
    if (!m.arena) return bl_pending(ctx);
    bl_status st = write_all(&m, path);
    bl_arena_free(m.arena);
    return st;
}

bl_status bl_export_verilog(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                            const bl_export_options *options, const char *path)
{
    bl_fixed_net *net = NULL;
    BL_TRY(bl_fixed_lower(ctx, graph, plan, weights, &net));
    bl_status st = bl_export_fixed_verilog(ctx, net, options, path);
    bl_fixed_free(net);
    return st;
}
