/* SPDX-License-Identifier: BSD-3-Clause */
/* Private to target: energy of measured cells, counted by the system or modelled. */
#ifndef BL_TARGET_ENERGY_H
#define BL_TARGET_ENERGY_H

#include "target/probe.h"

typedef struct bl_energy_work {
    double macs, w_bits, a_bits; /* widths that are multiplied */
    double weight_bytes, value_bytes;
} bl_energy_work;
double bl_energy_model_nj(const bl_energy_work *work, bl_state weights);
/* Every cell of a node's shape, by the model. */
bl_status bl_energy_fill(bl_ctx *ctx, const bl_graph *graph, int node, const char *key, bl_state weights, bl_cost *cost);
/* Where weights of eight bits are when their turn comes. */
bl_state bl_energy_state(const bl_graph *graph, uint64_t l2, uint64_t l3);

/* The package's counter under a powercap folder. */
typedef struct bl_rapl { char counter[256]; uint64_t range_uj; bool there; } bl_rapl;
bool bl_rapl_open(bl_rapl *rapl, const char *folder);
bool bl_rapl_read(const bl_rapl *rapl, uint64_t *uj);
double bl_rapl_between_nj(const bl_rapl *rapl, uint64_t before, uint64_t after);
/* Energy of one run of a probe's steps; 0 where the counter cannot be read. */
bl_status bl_rapl_measure(const bl_rapl *rapl, bl_probe *probe, double ns_once, double *nj);

#endif
