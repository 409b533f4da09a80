/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The row "daq" (Distribution-Aware Quantization, arXiv 2012.11230): a scale is g(b) times the standard deviation of the
 * numbers, g the step of the best uniform quantizer of a Gaussian.  The paper takes the deviation of every sample
 * and channel as it runs; a program's grids are fixed, so the scales follow the batches while the weights are trained.
 * Values behind a Relu: deviation of those above zero.
 */
#include "train/study.h"

#include <math.h>

double bl_daq_step(int bits)
{
    static const double step[9] = {0, 1.596, 0.996, 0.586, 0.335, 0.188, 0.104, 0.057, 0.031};
    return bits >= 1 && bits <= 8 ? step[bits] : 0;
}

double bl_daq_wanted(const bl_site *site, const float *x, size_t n, double *weight)
{
    bool above = !site->weight && !(site->lo < 0);
    double sum = 0, square = 0, count = 0;

    for (size_t i = 0; i < n; i++) {
        if (above && !(x[i] > 0)) continue;
        sum += x[i];
        square += (double)x[i] * x[i];
        count++;
    }
    double mean = site->weight ? 0 : sum / (count + 1);
    *weight = bl_daq_step(site->bits) > 0 ? count : 0;
    return bl_daq_step(site->bits) * sqrt(fmax(square / (count + (above ? 1 : 0) + (count > 0 ? 0 : 1)) - mean * mean, 0));
}

const bl_quant_rule bl_quant_rule_daq = {.weights = true, .more = 1, .wanted = bl_daq_wanted};
