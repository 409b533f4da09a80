/* SPDX-License-Identifier: BSD-3-Clause */
/* HAQ's clipping, for its row of observers.def.  Private to src/quant. */
#ifndef BL_CUMULATIVE_H
#define BL_CUMULATIVE_H

#include "quant/quant.h"

void bl_cumulative_range(const bl_value_stats *s, int bits, double *lo, double *hi);
double bl_cumulative_clip(const float *w, size_t n, size_t step, int bits, bool narrow);
/* Where |x| is cut: counts of bins over [0, most]. */
double bl_cumulative_cut(const double *counts, int bins, double most, int bits);
int bl_cumulative_bins(double least, double most, double n);

#endif
