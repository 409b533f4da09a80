/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Kendall's tau-b: how far two lists put the same things in the same order.
 * tau_b = (concordant - discordant) / sqrt((n0 - n1)(n0 - n2)), n0 = n(n-1)/2, n1 and n2 the tied pairs of
 * each list (Kendall, Rank Correlation Methods, 3.4).  Pair by pair: lists here have at most some
 * thousand entries, and counting needs no memory.
 */
#include "base/base.h"

#include <math.h>

double bl_kendall_tau_b(const double *a, const double *b, size_t n)
{
    int64_t balance = 0, untied_a = 0, untied_b = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++) {
            int x = (a[i] > a[k]) - (a[i] < a[k]), y = (b[i] > b[k]) - (b[i] < b[k]);
            if (isnan(a[i]) || isnan(a[k]) || isnan(b[i]) || isnan(b[k])) return NAN;
            balance += x * y;
            untied_a += x != 0;
            untied_b += y != 0;
        }
    return untied_a && untied_b ? (double)balance / (sqrt((double)untied_a) * sqrt((double)untied_b)) : NAN;
}
