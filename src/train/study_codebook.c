/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Codebooks in training (Deep Compression, arXiv 1510.00149; HAQ 1811.08886): which weight belongs to which cluster
 * stays; after every step each weight is the mean of its cluster.  Means are taken of weights over their channel's
 * scale, which stays too; forward they stand on int8 codes, as the integers will have them.
 */
#include "train/study.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int64_t inner_of(const bl_tensor *t, const bl_site *site)
{
    int64_t inner = 1;
    for (int d = t->rank - 1; site->n_scale > 1 && d > site->axis; d--) inner *= t->dim[d];
    return inner;
}

bl_status bl_study_cluster(bl_study *s, bl_lesson *l, bl_site *site)
{
    const bl_quantizer *q = &s->plan->quantizers[site->quantizer];
    const bl_tensor *t = &l->net->values[site->value].t;
    int64_t n = bl_tensor_count(t), inner = inner_of(t, site);

    site->n_table = q->n_table;
    site->cluster = BL_NEW(l->arena, uint8_t, (size_t)n);
    site->centre = BL_NEW(l->arena, double, 2 * (size_t)q->n_table); /* means, then how many */
    if (!site->cluster || !site->centre) return bl_pending(l->ctx);
    for (int k = 0; k < q->n_table; k++) site->centre[k] = q->table[k];
    for (int64_t i = 0; i < n; i++) {
        int k = bl_codebook_index(q->table, q->n_table, ((const float *)t->data)[i] / site->scale[site->n_scale > 1 ? i / inner % site->n_scale : 0]);
        site->cluster[i] = (uint8_t)k;
        site->centre[q->n_table + k]++;
    }
    return BL_OK;
}

static double code_of(double mean)
{
    return rint(fmin(fmax(mean, -127), 127));
}

void bl_study_means(const bl_lesson *l, bl_site *site)
{
    const bl_tensor *t = &l->net->values[site->value].t;
    int64_t n = bl_tensor_count(t), inner = inner_of(t, site);
    const double *count = site->centre + site->n_table;
    float *x = t->data;

    for (int k = 0; k < site->n_table; k++)
        if (count[k] > 0) site->centre[k] = 0;
    for (int64_t i = 0; i < n; i++) site->centre[site->cluster[i]] += x[i] / (double)site->scale[site->n_scale > 1 ? i / inner % site->n_scale : 0];
    for (int k = 0; k < site->n_table; k++)
        if (count[k] > 0) site->centre[k] /= count[k];
    for (int64_t i = 0; i < n; i++) {
        float scale = site->scale[site->n_scale > 1 ? i / inner % site->n_scale : 0];
        double mean = site->centre[site->cluster[i]];
        x[i] = (float)(mean * scale);
        site->real[i] = (float)code_of(mean) * scale;
    }
}

static int by_code(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

void bl_study_table(const bl_site *site, float *codes)
{
    for (int k = 0; k < site->n_table; k++) codes[k] = (float)code_of(site->centre[k]);
    qsort(codes, (size_t)site->n_table, sizeof *codes, by_code);
}
