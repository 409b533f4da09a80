/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The target room's one door: COST, what an operator costs at each width; prices of candidates and of
 * whole plans; the stopwatch for whole networks.
 */
#ifndef BL_TARGET_H
#define BL_TARGET_H

#include "program/program.h"

/* What a plan costs.  Peak activation memory is no sum over units: it is priced, never budgeted. */
typedef enum bl_metric { BL_M_SIZE, BL_M_BOPS, BL_M_LATENCY, BL_M_MEMORY, BL_M_ENERGY, BL_N_METRIC } bl_metric;
const char *bl_metric_name(bl_metric m);            /* "size", "bops", "latency", "memory", "energy" */
const char *bl_metric_key(bl_metric m);             /* "size_bytes", "bops", "latency_ns", "memory_bytes", "energy_nj" */
bool bl_metric_parse(const char *name, bl_metric *out);

/* Where the weights of a network are when their turn comes: its footprint decides. */
typedef enum bl_state { BL_STATE_L2, BL_STATE_L3, BL_STATE_DRAM, BL_N_STATE } bl_state;
const char *bl_state_name(bl_state s);              /* "L2", "L3", "DRAM" */

typedef struct bl_cost_time {
    double q1_ns, median_ns, p90_ns;
    double ratio;               /* to the shape's widest cell, median over rounds in which both ran; 0: not
                                   known.  Drift of the clock cancels in it */
} bl_cost_time;

/* One measured cell: an operator shape at widths, by one kernel. */
typedef struct bl_cost_cell {
    const char *key;            /* operator, attributes, shapes; bl_edge_key: a network's edge */
    int w_bits, a_in, a_out;    /* w_bits 0: no weights */
    const char *kernel;
    union {                     /* by state; all zero: not measured there.  The near one has its own names */
        bl_cost_time at[BL_N_STATE];
        struct { double q1_ns, median_ns, p90_ns, ratio; };
    };
    double dense_ns;            /* lower quartile on dense data in L2, 0: not measured */
    double energy_nj;           /* of a model; 0: not known */
    double computing_ns;        /* of a model: how long its multipliers work; 0: not known */
    size_t packed_bytes;        /* weights as this kernel reads them */
    bool noisy;                 /* p90 / p10 stayed above 1.15 */
} bl_cost_cell;

typedef struct bl_cost_group {
    const char *key;
    double aa_spread;           /* the same cell measured twice: how far the ratio is from 1 */
} bl_cost_group;

struct bl_cost {
    bl_arena *arena;
    bl_hash hash, graph, menu;
    const char *target;         /* row of targets.def */
    json_t *machine;            /* identity: CPU, caches, instruction set, versions */
    bool has_latency, has_energy;
    bool model;                 /* a closed form or a published table: layers alone cost something, a cell holds for
                                   every output width (a_out 0), and no two prices are a tie */
    double overhead_ns;         /* of a step beside its cell, from one timed network; may be below zero */
    json_t *checks;             /* whole networks: [{plan, predicted_ns, measured_ns, error, state}]; or NULL */
    size_t n_cells, n_groups, cells_cap, groups_cap;
    bl_cost_cell *cells;
    bl_cost_group *groups;
};


/* What a target's prices come from. */
typedef enum bl_source { BL_SOURCE_COUNTED, BL_SOURCE_CLOCK, BL_SOURCE_MODEL } bl_source;

/* A row of targets.def. */
typedef struct bl_target {
    const char *name, *help;
    bl_source source;
    bl_status (*measure)(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_measure_options *options,
                         bl_cost *cost);
} bl_target;
extern const bl_target *const bl_targets[];
extern const size_t bl_n_targets;
const bl_target *bl_target_find(const char *name);
#define X(symbol, label, from, text)                                                             \
    bl_status bl_target_##symbol(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu,         \
                                 const bl_measure_options *options, bl_cost *cost);
#include "target/targets.def"
#undef X

/* ------------------------------------------------------------------ model.c, bismo.c, bitfusion.c */

/* A layer as an accelerator sees it, for one sample: `groups` products of m x k with k x n. */
typedef struct bl_mac_shape {
    int64_t m, n, k, groups;
    int64_t in, out, weights;   /* elements */
    bool depthwise;             /* a channel a group */
    bool product;               /* of two activations: no weights, both operands are values */
} bl_mac_shape;

/* False where the node multiplies nothing. */
bl_status bl_mac_shape_of(bl_ctx *ctx, const bl_graph *graph, int node, bl_mac_shape *out, bool *is_layer);

/* What a layer takes for a whole batch. */
typedef struct bl_work { double cycles, energy_nj, computing; } bl_work; /* computing: cycles that the multipliers work */

/* BISMO, bit serial: a square array of dot products of dot_bits bits; load cycles a row of one bit plane. */
typedef struct bl_bismo { int batch, array, dot_bits, load; double clock_mhz; } bl_bismo;
extern const bl_bismo bl_bismo_edge, bl_bismo_cloud;
bl_work bl_bismo_work(const bl_bismo *accelerator, const bl_mac_shape *shape, int w_bits, int a_bits);

/* Bit Fusion, spatial: rows (reduction) x columns (outputs) of units that split into narrow multipliers. */
typedef struct bl_bitfusion {
    int batch, rows, columns, memory_bits; /* memory_bits: a cycle */
    double clock_mhz, memory_pj_a_bit, unit_pj_a_cycle;
} bl_bitfusion;
extern const bl_bitfusion bl_bitfusion_haq, bl_bitfusion_isca;
bl_work bl_bitfusion_work(const bl_bitfusion *accelerator, const bl_mac_shape *shape, int w_bits, int a_bits);

/* A published table as COST: "FILE.npy" or "FILE.npy@MHZ", [layer][w_bits - 1][a_bits - 1] in cycles (without a
 * clock: in ns), layers in the network's order. */
bool bl_cost_is_table(const char *path);
bl_status bl_cost_read_table(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *path, bl_cost **out);

/* ------------------------------------------------------------------ cells */

/* What binds each layer shape of a measured record, with the best that fewer bits bring where the network's weights
 * are: [{"key", "gain" (1: none beyond a tie), "w_bits", "a_bits", "bound": "computing" | "weights"}]; caller decrefs. */
json_t *bl_cost_roofline(const bl_cost *cost);
/* Which side a cell is on: "computing" or "moving" data; NULL where the record does not say. */
const char *bl_cost_side(const bl_cost *cost, const bl_cost_cell *cell, bl_state state);

/* ------------------------------------------------------------------ explain.c: what a choice does with which layers */

/* "first", "last", "depthwise", "pointwise", "convolution", "fully connected" or "product" (of two activations); NULL: no layer. */
const char *bl_layer_kind(bl_ctx *ctx, const bl_graph *graph, int node);
/* Side of the roofline of a layer at its widths; NULL where the record does not say. */
const char *bl_layer_side(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, int node,
                          const bl_candidate *choice, bl_state state);
/* By kind, in the network's order: [{"kind", "layers", "w_bits", "a_bits" (means; absent: no weights), "ns", "computing", "moving"
 * (layers on that side)}]; caller decrefs.  NULL: see the error. */
json_t *bl_choice_kinds(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, const bl_candidate *choice);

/* Has the whole network an integer form?  Lowers it once on stand-in grids, so that what is refused is
 * refused before hours of work. */
bl_status bl_try_lowering(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu);
/* The program of a choice on stand-in grids, for where only time matters; by the rows of cost, NULL: the first legal. */
bl_status bl_stand_in_program(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const int *choice, const bl_cost *cost,
                              bl_program **out);
bl_stats *bl_stand_in_stats(bl_ctx *ctx, const bl_graph *graph);
/* Sets overhead_ns from the widest plan timed whole, then checks; seconds bounds the timing. */
bl_status bl_cost_check(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, bl_cost *cost, double seconds);
bl_status bl_cost_add(bl_cost *cost, const bl_cost_cell *cell);
bl_status bl_cost_add_group(bl_cost *cost, const char *key, double aa_spread);
const bl_cost_cell *bl_cost_find(const bl_cost *cost, const char *key, int w_bits, int a_in, int a_out);
/* A shape at its widths by the row that is fastest in that state: the first legal one, unless another one was faster by
 * more than a tie. */
const bl_cost_cell *bl_cost_best(const bl_cost *cost, const char *key, int w_bits, int a_in, int a_out, bl_state state);
/* Makes a program ask for those rows; nothing where COST holds no times of rows. */
bl_status bl_cost_prefer(bl_ctx *ctx, const bl_cost *cost, const bl_graph *graph, const bl_plan *plan, bl_program *program);
/* This machine as COST records name it; caller decrefs. */
json_t *bl_machine_json(bl_ctx *ctx);
/* Was the record measured on this machine, capped as now, by this version?  (A record says more than a machine.) */
bool bl_cost_is_here(bl_ctx *ctx, const bl_cost *cost);
/* "AMD EPYC, avx2": who measured; in the arena. */
char *bl_cost_machine_text(bl_arena *arena, const json_t *machine);

/* Operator, attributes and shapes of a node, the key of its cells; in the arena. */
char *bl_node_key(bl_arena *arena, const bl_graph *graph, int node);
/* Key of the cells of a network's input (a_in 0) or output (a_out 0): numbers to codes and back. */
void bl_edge_key(char *buf, size_t cap, bool input, int rank, const int64_t *dim);
/* Is the node an integer step with a price: float output, not a constant? */
bool bl_node_priced(const bl_graph *graph, int node);
/* The value that flows into a node, the first that is no constant; -1: none. */
int bl_node_input(const bl_graph *graph, int node);

/* ------------------------------------------------------------------ prices */

typedef struct bl_prices {
    bl_arena *arena;
    int n_units;
    double **column[BL_N_METRIC]; /* [metric][unit][candidate]; a metric's table NULL when not priced */
} bl_prices;

/* Separable prices for the solver: a node goes to the unit of its input at its dearest output width.
 * Latencies that differ by less than max(3 %, A/A spread) are one: ties go to the wider width. */
bl_status bl_prices_make(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, bl_prices **out);
void bl_prices_free(bl_prices *prices);
/* The state that a choice's weights and activations imply on the record's machine. */
bl_status bl_price_state(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost,
                         const bl_candidate *choice, bl_state *out);
/* Edges of the network whose values are in a unit, at its width: numbers to codes and back. */
double bl_price_edges(const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, int unit, int a_bits);
/* A whole choice with its real neighbours: the only price that is printed. */
bl_status bl_price_exact(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost,
                         const bl_candidate *choice, double total[BL_N_METRIC]);
/* The baseline of every ratio: uniform int8.  Latency is that of the menu's closest candidates where the
 * menu does not hold 8 bits. */
bl_status bl_price_int8(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost,
                        double total[BL_N_METRIC]);
/* Candidate of a unit closest from below to (w, a), its narrowest where none is below. */
int bl_uniform_candidate(const bl_unit *unit, int w_bits, int a_bits);
/* Latency of one node at its widths, weights in `state`: the widest cell's lower quartile times the ratio to
 * it, ties as above, and a step's overhead; NaN where the record lacks the cell. */
double bl_price_node(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_cost *cost, int node,
                     const bl_candidate *choice, bl_state state);

/* ------------------------------------------------------------------ whole networks */

typedef struct bl_timing { double q1_ms, median_ms, p10_ms, p90_ms; int runs; } bl_timing;

/* One thing to time: a program, or a float graph (batch as bound). */
typedef struct bl_bench_item {
    const bl_program *program;
    const bl_graph *graph;
    bl_timing timing;           /* result */
    double *step_us;            /* result, median by step of a program; in the arena given */
} bl_bench_item;
/* Interleaved: every round runs each item once, in rotated order; seconds bounds the whole.  parallel:
 * programs on all threads of the context, else on one, as COST is measured. */
bl_status bl_bench(bl_ctx *ctx, bl_arena *arena, bl_bench_item *items, size_t n, bool parallel, double seconds);

/* Order statistics of a sample (sorted in place). */
double bl_quantile(double *x, size_t n, double q);

#endif
