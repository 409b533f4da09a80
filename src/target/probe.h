/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to target: one operator at one set of widths, cut out and ready to run; the clock around it. */
#ifndef BL_TARGET_PROBE_H
#define BL_TARGET_PROBE_H

#include "target/target.h"

/* Where the weights are, and what the activations look like. */
typedef enum bl_variant { BL_V_L2, BL_V_L3, BL_V_DRAM, BL_V_DENSE, BL_N_VARIANT } bl_variant;
enum { BL_ROUNDS_MAX = 64, BL_PROBE_INPUTS_MAX = 8 };

typedef struct bl_probe {
    int w_bits, a_in, a_out;
    const char *kernel_asked;   /* row by name; NULL: the first legal one */
    bl_program *program;
    bool borrowed;              /* the program is another probe's */
    bl_exec *exec;
    bl_arena *arena;            /* inputs and copies of weights */
    uint32_t first_step, last_step, weight_step; /* the node's own: [first, last) */
    uint32_t n_inputs;
    struct { uint8_t *codes, *relu, *dense; size_t bytes; } in[BL_PROBE_INPUTS_MAX];
    const uint8_t *packed;
    size_t packed_bytes;
    uint8_t *copies[BL_N_VARIANT]; /* L3 and DRAM: rings of weights */
    uint32_t n_copies[BL_N_VARIANT], at[BL_N_VARIANT];
    double sample[BL_N_VARIANT][BL_ROUNDS_MAX];
} bl_probe;

bl_status bl_probe_make(bl_ctx *ctx, const bl_graph *single, const char *key, bl_probe *p);
void bl_probe_free(bl_probe *p);
/* The step whose row the cell names: the layer's, else the node's first. */
uint32_t bl_probe_step(const bl_probe *p);
/* n copies of the weights for a variant, lines apart; fewer where memory ends. */
bl_status bl_probe_copies(bl_probe *p, bl_variant v, uint32_t n);
/* One run, ns: the inputs are written as their producer would have, the weights are where the variant wants
 * them; clock_ns is taken off. */
bl_status bl_probe_sample(bl_probe *p, bl_variant v, double clock_ns, double *ns);

enum { BL_RIVALS_MAX = 2, BL_HOPELESS_MAX = 16 };

/* Rows that were far too slow at one pair of widths of a shape: not tried at its others. */
typedef struct bl_hopeless { const char *name[BL_HOPELESS_MAX]; int n; } bl_hopeless;

/* Probes of the rows that come near `first`, which holds the first legal one; they share its program and are the
 * caller's: found has BL_RIVALS_MAX places. */
bl_status bl_rivals_find(bl_ctx *ctx, const bl_graph *single, const char *key, const bl_probe *first, double clock_ns,
                         bl_hopeless *hopeless, bl_probe *found, int *n);

/* Reading the clock twice costs this. */
double bl_clock_ns(void);

/* This thread stays on the core where it is until it is let go. */
typedef struct bl_pin { bool held; uint64_t mask[16]; } bl_pin;
void bl_pin_here(bl_pin *pin);
void bl_pin_release(const bl_pin *pin);

/* How far the sums of a layer's weights reach, 0 to 1 (0: no constant weight); cells of rows that look at the weights hold for
 * one class of it alone. */
double bl_weights_reach(const bl_graph *g, int node);
int bl_reach_class(double reach);
/* Is one of the cells from there on of such a row? */
bool bl_cells_by_weights(const bl_cost *cost, size_t first_cell);

/* One shape's cells, kept between runs in a folder of the user. */
bl_status bl_cost_recall(bl_ctx *ctx, const char *folder, bl_hash key, bl_cost *cost, bool *found);
bl_status bl_cost_remember(bl_ctx *ctx, const char *folder, bl_hash key, const bl_cost *cost, size_t first_cell,
                           size_t first_group);

bl_cost *bl_cost_new(bl_ctx *ctx); /* NULL: what is pending says why */
json_t *bl_cost_cell_json(const bl_cost_cell *cell);
bl_status bl_cost_cell_read(bl_ctx *ctx, const char *place, const json_t *o, bl_cost *cost);

#endif
