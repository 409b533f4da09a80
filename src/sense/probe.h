/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Probes: the network with one small thing changed, against the network as it is, on the same samples.
 * What sensitivities are made of.  Private to src/sense.
 */
#ifndef BL_PROBE_H
#define BL_PROBE_H

#include "sense/sense.h"

/* What is changed: the weights of one layer of a unit (layer -1: of all), the unit's values, or both. */
typedef struct bl_probe {
    int unit, layer;
    int w_bits;                 /* weights on their grid of this width; 0: as they are */
    int a_bits;                 /* values on theirs; 0: as they are */
    int mask;                   /* >= 0: a share of the weights is zero, seeded mask of this number */
    double share;
    const char *range;          /* of a_bits: row of observers.def; NULL: as sens says */
} bl_probe;

typedef struct bl_probes bl_probes;

/* Of one sample, or added up over samples. */
typedef struct bl_probe_answer {
    double value;               /* noise, divergence, what was lost */
    double signal;              /* energy that it is compared with; 0 where it is compared with nothing */
} bl_probe_answer;

/* Clean and changed outputs of one sample, rows x cols: what is kept of them. */
typedef bl_probe_answer bl_probe_measure(const float *clean, const float *changed, int64_t rows, int64_t cols);

typedef double bl_probe_judge(const int *label, const float *clean, const float *changed, int64_t rows, int64_t cols);

struct bl_probes {
    const bl_sense_input *in;
    const bl_sens *sens;        /* how values and weights are put on grids */
    const bl_probe *list;
    size_t n;
    bl_probe_measure *measure;
    bl_probe_judge *judge;      /* instead of measure, where samples have labels, a row each; NULL: measure */
    /* results, in the caller's arena */
    bl_probe_answer *answer;    /* [sample][probe]: never by chunk, whose size hangs on --memory */
    int64_t samples, rows;      /* rows: of one sample */
};

bl_status bl_probes_run(bl_ctx *ctx, bl_probes *probes, bl_arena *arena);
/* ||W - Q_b(W)||^2 / ||W||^2 of a layer. */
bl_status bl_weight_error(bl_ctx *ctx, const bl_sense_input *in, const bl_sens *sens, bl_arena *arena, int layer,
                          int bits, double *out);

/* Of probe i: every step-th sample from `first` on, added up in the order of samples. */
bl_probe_answer bl_probe_sum(const bl_probes *probes, size_t i, int64_t first, int64_t step);

/* Energies of the difference and of the clean output. */
bl_probe_answer bl_probe_noise(const float *clean, const float *changed, int64_t rows, int64_t cols);
/* KL(softmax(clean) || softmax(changed)), summed over rows, in nats. */
bl_probe_answer bl_probe_kl(const float *clean, const float *changed, int64_t rows, int64_t cols);

#endif
