/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * COST of this machine (OQA, arXiv 2309.01945): every operator shape at every width pair, timed with the very
 * kernels that will run, single calls in seeded random order between those of the other candidates, on one
 * core.  Weights in L2, in L3 and in memory; data as a ReLU leaves them, and dense.  The widest candidate runs
 * twice (A/A).
 */
#include "target/energy.h"

#include <stdlib.h>
#include <string.h>

enum { ROUNDS = 32, ROUNDS_MIN = 7, ROUNDS_DENSE = 9, ROUNDS_DRAM = 7, ATTEMPTS = 3, PAIRS_MAX = 4096 };
#define SPREAD_MAX 1.15         /* p90 / p10 above which a cell is measured again, then marked */
#define COPIES_MAX ((size_t)96 << 20)

typedef struct widths { int w, in, out; } widths;

typedef struct shape {
    const char *key;
    int node, n;                /* candidates */
    widths *pair;
    double reach;               /* of the weights it is measured with */
} shape;

/* What all shapes share. */
typedef struct session {
    bl_ctx *ctx;
    const bl_graph *graph;
    double seconds, clock_ns;
    uint64_t l2, l3;
    uint8_t *sweep;             /* reading it empties every cache; NULL: no memory for it */
    size_t sweep_bytes;
    const char *cache;
    bl_hash identity;
    bl_cost *cost;
    bl_rapl rapl;
} session;

static int ascending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double bl_quantile(double *x, size_t n, double q)
{
    qsort(x, n, sizeof *x, ascending);
    double at = q * (double)(n - 1);
    size_t i = (size_t)at;
    return i + 1 < n ? x[i] + (at - (double)i) * (x[i + 1] - x[i]) : x[n - 1];
}

bl_status bl_try_lowering(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu)
{
    bl_program *program = NULL;
    int *choice = NULL;
    bl_arena *a = bl_arena_new(ctx, "trial");
    BL_ALLOC_TRY(ctx, a);
    choice = BL_NEW(a, int, (size_t)menu->n_units); /* the widest everywhere */
    bl_status s = choice ? bl_stand_in_program(ctx, graph, menu, choice, NULL, &program) : bl_pending(ctx);
    bl_program_free(program);
    bl_arena_free(a);
    return s;
}

/* ---- rounds */

typedef struct contest {
    session *s;
    bl_probe *p;
    int n;                      /* probes, the last one the A/A twin of the first */
    bl_rng rng;
    bool *active;               /* the base always is */
} contest;

/* Every probe once, in an order of its own each time. */
static bl_status one_round(contest *c, bl_variant v, int round)
{
    uint32_t order[PAIRS_MAX];
    for (int i = 0; i < c->n; i++) order[i] = (uint32_t)i;
    bl_rng_shuffle(&c->rng, order, (size_t)c->n);
    for (int i = 0; i < c->n; i++) {
        bl_probe *p = &c->p[order[i]];
        if (c->active[order[i]]) BL_TRY(bl_probe_sample(p, v, c->s->clock_ns, &p->sample[v][round]));
    }
    return BL_OK;
}

static bl_status rounds(contest *c, bl_variant v, int most, double seconds, int *done)
{
    uint64_t start = bl_now_ns();
    for (*done = 0; *done < most; ++*done) {
        if (*done >= BL_MIN(most, ROUNDS_MIN) && (double)(bl_now_ns() - start) * 1e-9 > seconds) break;
        BL_TRY(one_round(c, v, *done));
    }
    return BL_OK;
}

/* Copies enough that a weight's next use finds it pushed out of the near caches. */
static bl_status spread_weights(contest *c)
{
    size_t sum = 0;
    for (int i = 0; i < c->n; i++) sum += c->p[i].packed_bytes;
    if (!sum) return BL_OK;
    uint64_t far = BL_MIN(4 * BL_MAX(c->s->l2, 1 << 18), BL_MAX(c->s->l3, 4 << 20) / 2);
    uint32_t n3 = (uint32_t)BL_MIN(1 + far / sum, 4096), nd = (uint32_t)BL_MIN(ROUNDS_DRAM, COPIES_MAX / sum);
    for (int i = 0; i < c->n; i++) BL_TRY(bl_probe_copies(&c->p[i], BL_V_L3, n3));
    for (int i = 0; c->s->sweep && i < c->n; i++) BL_TRY(bl_probe_copies(&c->p[i], BL_V_DRAM, nd));
    return BL_OK;
}

static void sweep(const session *s)
{
    volatile uint64_t sink = 0;
    for (size_t i = 0; i < s->sweep_bytes; i += 64) sink += s->sweep[i];
}

/* ---- from samples to cells */

/* Median of round-by-round ratios: a machine whose speed drifts moves both. */
static double paired_ratio(const bl_probe *p, const bl_probe *base, bl_variant v, int n)
{
    double r[BL_ROUNDS_MAX];
    for (int i = 0; i < n; i++) r[i] = p->sample[v][i] / base->sample[v][i];
    return bl_quantile(r, (size_t)n, 0.5);
}

static bl_cost_time time_of(const bl_probe *p, const bl_probe *base, bl_variant v, int n, double *spread)
{
    double x[BL_ROUNDS_MAX];
    if (n < 1) return (bl_cost_time){ 0 };
    memcpy(x, p->sample[v], (size_t)n * sizeof *x);
    bl_cost_time t = { .q1_ns = bl_quantile(x, (size_t)n, 0.25), .median_ns = bl_quantile(x, (size_t)n, 0.5),
                       .p90_ns = bl_quantile(x, (size_t)n, 0.9), .ratio = paired_ratio(p, base, v, n) };
    if (spread) *spread = t.p90_ns / bl_quantile(x, (size_t)n, 0.1);
    return t;
}

typedef struct result { bl_cost_cell cell; double spread; } result;

/* Near caches: again where a cell will not hold still, and the calmest attempt counts. */
static bl_status near_times(contest *c, result *r, double *aa)
{
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
        int n, unstable = 0;
        BL_TRY(rounds(c, BL_V_L2, ROUNDS, 0.4 * c->s->seconds / (1 << attempt), &n));
        if (!attempt) *aa = fabs(paired_ratio(&c->p[c->n - 1], &c->p[0], BL_V_L2, n) - 1);
        for (int i = 0; i < c->n; i++) {
            double spread;
            if (!c->active[i]) continue;
            bl_cost_time t = time_of(&c->p[i], &c->p[0], BL_V_L2, n, &spread);
            if (!attempt || spread < r[i].spread) {
                r[i].cell.at[BL_STATE_L2] = t;
                r[i].spread = spread;
            }
            c->active[i] = i == 0 || r[i].spread > SPREAD_MAX;
            unstable += r[i].spread > SPREAD_MAX;
        }
        if (!unstable) break;
    }
    for (int i = 0; i < c->n; i++) {
        r[i].cell.noisy = r[i].spread > SPREAD_MAX;
        c->active[i] = true;
    }
    return BL_OK;
}

static bl_status far_times(contest *c, result *r)
{
    int n3 = 0, nd = 0, dense;
    BL_TRY(rounds(c, BL_V_DENSE, ROUNDS_DENSE, 0.1 * c->s->seconds, &dense));
    for (int i = 0; i < c->n; i++) r[i].cell.dense_ns = time_of(&c->p[i], &c->p[0], BL_V_DENSE, dense, NULL).q1_ns;
    if (!c->p[0].packed) return BL_OK;
    BL_TRY(spread_weights(c));
    BL_TRY(rounds(c, BL_V_L3, ROUNDS, 0.4 * c->s->seconds, &n3));
    if (c->p[0].n_copies[BL_V_DRAM] >= 3) {
        sweep(c->s);
        BL_TRY(rounds(c, BL_V_DRAM, (int)c->p[0].n_copies[BL_V_DRAM], c->s->seconds, &nd));
    }
    for (int i = 0; i < c->n; i++) {
        r[i].cell.at[BL_STATE_L3] = time_of(&c->p[i], &c->p[0], BL_V_L3, n3, NULL);
        r[i].cell.at[BL_STATE_DRAM] = time_of(&c->p[i], &c->p[0], BL_V_DRAM, nd, NULL);
    }
    return BL_OK;
}

/* ---- one shape */

static bl_status measure_probes(contest *c, result *r, double *aa)
{
    bl_pin pin;
    double ns;
    bl_status s = BL_OK;
    for (int i = 0; i < c->n; i++) c->active[i] = true;
    bl_pin_here(&pin);
    for (int warm = 0; s == BL_OK && warm < 2; warm++)
        for (int i = 0; s == BL_OK && i < c->n; i++) s = bl_probe_sample(&c->p[i], BL_V_L2, 0, &ns);
    if (s == BL_OK) s = near_times(c, r, aa);
    if (s == BL_OK) s = far_times(c, r);
    for (int i = 0; s == BL_OK && c->s->rapl.there && i < c->n; i++)
        s = bl_rapl_measure(&c->s->rapl, &c->p[i], r[i].cell.q1_ns, &r[i].cell.energy_nj);
    bl_pin_release(&pin);
    return s;
}

/* Where a network's edge is this node, what turning numbers into codes and back costs is measured with it. */
static bl_status edge_cells(session *s, const bl_graph *single, bl_probe *p)
{
    for (uint32_t i = 0; i < p->program->n_steps; i++) {
        if (i >= p->first_step && i < p->last_step) continue;
        bool in = i < p->first_step;
        const bl_step *step = &p->program->steps[i];
        uint32_t edge = in ? (uint32_t)step->in[0] : (uint32_t)step->out;
        const bl_pedge *e = &p->program->edges[edge];
        double x[BL_ROUNDS_MAX];
        if (p->program->tensors[in ? step->out : step->in[0]].raw) continue;
        (void)single;
        char key[256];
        bl_edge_key(key, sizeof key, in, e->rank, e->dim);
        int bits = p->program->tensors[in ? step->out : step->in[0]].bits;
        if (bl_cost_find(s->cost, key, 0, in ? 0 : bits, in ? bits : 0)) continue;
        for (int k = 0; k < ROUNDS; k++) {
            uint64_t t = bl_now_ns();
            BL_TRY(bl_exec_step(p->exec, i));
            x[k] = BL_MAX((double)(bl_now_ns() - t) - s->clock_ns, 1);
        }
        bl_cost_cell c = { .key = key, .a_in = in ? 0 : bits, .a_out = in ? bits : 0, .kernel = bl_exec_kernel(p->exec, i) };
        c.at[0] = (bl_cost_time){ bl_quantile(x, ROUNDS, 0.25), bl_quantile(x, ROUNDS, 0.5), bl_quantile(x, ROUNDS, 0.9), 1 };
        BL_TRY(bl_cost_add(s->cost, &c));
    }
    return BL_OK;
}

static bl_status add_cells(session *s, const shape *sh, const bl_probe *p, int n, const result *r, double aa)
{
    for (int i = 0; i < n; i++) {
        bool none = p[i].first_step == p[i].last_step; /* shares its input's memory: costs nothing */
        bl_cost_cell c = r[i].cell;
        if (none) memset(&c, 0, sizeof c);
        c.key = sh->key;
        c.w_bits = p[i].w_bits;
        c.a_in = p[i].a_in;
        c.a_out = p[i].a_out;
        c.packed_bytes = p[i].packed_bytes;
        c.kernel = none ? "none" : bl_exec_kernel(p[i].exec, bl_probe_step(&p[i]));
        if (none) c.at[0].ratio = 1;
        BL_TRY(bl_cost_add(s->cost, &c));
    }
    return bl_cost_add_group(s->cost, sh->key, aa);
}

/* A probe for every pair of widths, then those of rows that rival the first legal one, last the first one's A/A twin. */
static bl_status enter(session *s, const shape *sh, const bl_graph *g, bl_probe *p, int *n)
{
    bl_hopeless hopeless = { .n = 0 };
    for (*n = 0; *n < sh->n; ++*n) {
        const widths *w = &sh->pair[*n];
        p[*n] = (bl_probe){ .w_bits = w->w, .a_in = w->in, .a_out = w->out };
        bl_status st = bl_probe_make(s->ctx, g, sh->key, &p[*n]);
        if (st != BL_OK) bl_probe_free(&p[*n]);
        BL_TRY(st);
    }
    for (int i = 0, found; i < sh->n && p[i].first_step < p[i].last_step && *n + BL_RIVALS_MAX < PAIRS_MAX; i++, *n += found)
        BL_TRY(bl_rivals_find(s->ctx, g, sh->key, &p[i], s->clock_ns, &hopeless, &p[*n], &found));
    p[*n] = (bl_probe){ .w_bits = p[0].w_bits, .a_in = p[0].a_in, .a_out = p[0].a_out };
    return bl_probe_make(s->ctx, g, sh->key, &p[(*n)++]);
}

static bl_status measure_shape(session *s, const shape *sh)
{
    bl_graph *g = NULL;
    int n = 0;
    double aa = 0;
    bl_ctx *ctx = s->ctx;
    if (sh->n + 1 > PAIRS_MAX) return bl_fail(ctx, BL_USAGE, sh->key, "give fewer widths", "too many pairs of widths");
    BL_TRY(bl_graph_extract(ctx, s->graph, sh->node, &g));
    bl_arena *a = bl_arena_new(ctx, "probes");
    size_t most = (size_t)BL_MIN(sh->n * (1 + BL_RIVALS_MAX) + 1, PAIRS_MAX);
    bl_probe *p = a ? BL_NEW(a, bl_probe, most) : NULL;
    result *r = a ? BL_NEW(a, result, most) : NULL;
    bool *active = a ? BL_NEW(a, bool, most) : NULL;
    bl_status st = p && r && active ? enter(s, sh, g, p, &n) : bl_pending(ctx);
    contest c = { .s = s, .p = p, .n = n, .active = active, .rng = bl_rng_make(ctx->options.seed, sh->key, 1) };
    if (st == BL_OK && p[0].first_step < p[0].last_step) st = measure_probes(&c, r, &aa);
    if (st == BL_OK) st = add_cells(s, sh, p, n - 1, r, aa);
    for (int i = 0; st == BL_OK && i < sh->n; i++) st = edge_cells(s, g, &p[i]);
    while (n > 0) bl_probe_free(&p[--n]); /* those that borrow a program before its owner */
    bl_arena_free(a);
    bl_graph_free(g);
    return st;
}

/* ---- all shapes */

static void add_pair(shape *s, int w, int in, int out)
{
    for (int i = 0; i < s->n; i++)
        if (s->pair[i].w == w && s->pair[i].in == in && s->pair[i].out == out) return;
    s->pair[s->n++] = (widths){ w, in, out };
}

static void add_node(const bl_graph *g, const bl_menu *m, int node, shape *s)
{
    int u = m->unit_of_value[bl_node_input(g, node)], v = m->unit_of_value[g->nodes[node].out[0]];
    const bl_unit *in = &m->units[u], *out = &m->units[v];
    bool layer = m->unit_of_layer[node] >= 0;
    for (int c = 0; c < in->n_candidates; c++)
        for (int o = 0; o < (u == v ? 1 : out->n_candidates); o++)
            add_pair(s, layer ? in->candidates[c].w_bits : 0, in->candidates[c].a_bits,
                     u == v ? in->candidates[c].a_bits : out->candidates[o].a_bits);
}

typedef struct owner { int node, shape; double reach; } owner;

static int by_reach(const void *a, const void *b)
{
    const owner *x = a, *y = b;
    if (x->shape != y->shape) return x->shape - y->shape;
    return x->reach != y->reach ? (x->reach > y->reach) - (x->reach < y->reach) : x->node - y->node;
}

/* Of the nodes that have one shape the middle one by its weights stands for all. */
static void choose_nodes(shape *shapes, owner *of, size_t n_nodes)
{
    qsort(of, n_nodes, sizeof *of, by_reach);
    for (size_t from = 0, to; from < n_nodes; from = to) {
        for (to = from; to < n_nodes && of[to].shape == of[from].shape;) to++;
        const owner *middle = &of[from + (to - from - 1) / 2];
        shapes[middle->shape].node = middle->node;
        shapes[middle->shape].reach = middle->reach;
    }
}

static bl_status collect_shapes(bl_ctx *ctx, const bl_graph *g, const bl_menu *m, bl_arena *a, shape **out, size_t *n)
{
    shape *shapes = BL_NEW(a, shape, (size_t)g->n_nodes);
    owner *of = BL_NEW(a, owner, (size_t)g->n_nodes);
    size_t n_nodes = 0;
    if (!shapes || !of) return bl_pending(ctx);
    *n = 0;
    for (int i = 0; i < g->n_nodes; i++) {
        if (!bl_node_priced(g, i) || m->unit_of_value[bl_node_input(g, i)] < 0) continue;
        const char *key = bl_node_key(a, g, i);
        BL_ALLOC_TRY(ctx, key);
        size_t k = 0;
        while (k < *n && strcmp(shapes[k].key, key)) k++;
        if (k == *n) {
            shapes[k] = (shape){ .key = key, .pair = BL_NEW(a, widths, PAIRS_MAX) };
            BL_ALLOC_TRY(ctx, shapes[k].pair);
            ++*n;
        }
        add_node(g, m, i, &shapes[k]);
        of[n_nodes++] = (owner){ i, (int)k, bl_weights_reach(g, i) };
    }
    choose_nodes(shapes, of, n_nodes);
    *out = shapes;
    return BL_OK;
}

/* What a shape's cells depend on: the machine, the code, the widths, the time given, and where a row looks at them the
 * weights. */
static bl_status shape_hash(session *s, bl_arena *a, const shape *sh, bool weights, bl_hash *out)
{
    bl_hasher *h = bl_hasher_new(a);
    BL_ALLOC_TRY(s->ctx, h);
    bl_hash_text(h, s->identity.hex);
    bl_hash_text(h, sh->key);
    bl_hash_f64(h, s->seconds);
    bl_hash_i64(h, (int64_t)s->ctx->options.seed);
    for (int i = 0; i < sh->n; i++) bl_hash_i64(h, sh->pair[i].w * 1024 + sh->pair[i].in * 32 + sh->pair[i].out);
    if (weights) bl_hash_i64(h, bl_reach_class(sh->reach));
    *out = bl_hash_end(h);
    return BL_OK;
}

static bl_status one_shape(session *s, bl_arena *a, const shape *sh)
{
    bl_hash key[2];             /* whatever the weights; with these */
    bool found = false;
    size_t cells = s->cost->n_cells, groups = s->cost->n_groups;
    BL_TRY(bl_check_interrupt(s->ctx));
    for (int k = 0; k < 2; k++) {
        BL_TRY(shape_hash(s, a, sh, k, &key[k]));
        if (s->cache && !found) BL_TRY(bl_cost_recall(s->ctx, s->cache, key[k], s->cost, &found));
    }
    if (found) return BL_OK;
    BL_TRY(measure_shape(s, sh));
    return s->cache ? bl_cost_remember(s->ctx, s->cache, key[bl_cells_by_weights(s->cost, cells)], s->cost, cells, groups) : BL_OK;
}

/* The machine as COST names it, and the code that runs: kernels change without a new version. */
static bl_status identify(session *s, bl_arena *a)
{
    bl_hasher *h = bl_hasher_new(a);
    char *text = bl_json_text(a, s->cost->machine, false);
    bl_map self = { 0 };
    if (!h || !text) return bl_pending(s->ctx);
    bl_hash_text(h, text);
    if (s->cache && bl_map_file(s->ctx, "/proc/self/exe", 0, &self) == BL_OK) {
        bl_hash_bytes(h, self.data, self.size);
        bl_unmap(&self);
    } else {
        s->cache = NULL;
    }
    s->identity = bl_hash_end(h);
    return BL_OK;
}

static bl_status measure_all(session *s, bl_arena *a, const bl_menu *menu)
{
    shape *shapes = NULL;
    size_t n = 0;
    BL_TRY(collect_shapes(s->ctx, s->graph, menu, a, &shapes, &n));
    BL_TRY(identify(s, a));
    for (size_t i = 0; i < n; i++) {
        BL_TRY(one_shape(s, a, &shapes[i]));
        bl_progress(s->ctx, "measure", i + 1, n);
    }
    bl_state weights = bl_energy_state(s->graph, s->l2, s->l3);
    for (size_t i = 0; i < n && !s->rapl.there; i++)
        BL_TRY(bl_energy_fill(s->ctx, s->graph, shapes[i].node, shapes[i].key, weights, s->cost));
    return BL_OK;
}

bl_status bl_target_here(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                         bl_cost *cost)
{
    uint64_t l1;
    session s = { .ctx = ctx, .graph = graph, .cost = cost, .seconds = options && options->seconds > 0 ? options->seconds : 0.5,
                  .cache = options ? options->cache : NULL, .clock_ns = bl_clock_ns() };
    bl_cpu_caches(&l1, &s.l2, &s.l3);
    bool counted = bl_rapl_open(&s.rapl, "/sys/class/powercap");
    cost->has_energy = true;
    json_object_set_new(cost->machine, "energy", json_string(counted ? "RAPL, package" : "model, 45 nm (Horowitz 2014)"));
    s.sweep_bytes = BL_MIN(2 * BL_MAX(s.l3, 16 << 20), (uint64_t)256 << 20);
    bl_arena *a = bl_arena_new(ctx, "shapes");
    BL_ALLOC_TRY(ctx, a);
    if (ctx->options.memory_bytes / 4 > s.sweep_bytes) {
        s.sweep = bl_alloc(a, s.sweep_bytes, 1);
        if (s.sweep) memset(s.sweep, 1, s.sweep_bytes); /* pages of its own, not the one of zeros */
    }
    bl_status st = measure_all(&s, a, menu);
    bl_arena_free(a);
    return st;
}
