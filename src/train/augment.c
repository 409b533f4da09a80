/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pictures seen a little differently each time: mirrored left to right with probability 1/2, shifted by up
 * to `pad` positions up, down and sideways (pad and crop), or a part of them enlarged to the whole (`zoom`).  Each sample of each epoch has random numbers of
 * its own, so it does not matter who draws them when.
 */
#include "train/trainer.h"

#include <string.h>

bl_status bl_augment_make(bl_ctx *ctx, const bl_train_options *o, const bl_tensor *input, bl_augment *out)
{
    *out = (bl_augment){.pad = o->pad, .zoom = o->zoom, .flip = o->flip};
    if (!bl_augment_does(out)) return BL_OK;
    if (input->rank != 4 || input->dim[1] > BL_DATA_CHANNELS_MAX)
        return bl_fail(ctx, BL_USAGE, "--flip, --pad", "leave them out",
                       "the network's input is no picture of shape N, C, H, W");
    out->channels = input->dim[1];
    out->height = input->dim[2];
    out->width = input->dim[3];
    if (o->pad >= BL_MIN(out->height, out->width))
        return bl_fail(ctx, BL_USAGE, "--pad", "give less than the picture's size",
                       "%lld positions would shift a picture of %lldx%lld out of sight", (long long)o->pad,
                       (long long)out->height, (long long)out->width);
    for (int64_t c = 0; o->stored && c < out->channels; c++) {
        const bl_data_options *d = o->stored;
        float mean = d->n_mean ? d->mean[d->n_mean > 1 ? c : 0] : 0, std = d->n_std ? d->std[d->n_std > 1 ? c : 0] : 1;
        out->black[c] = (0 - mean) / std;
    }
    return BL_OK;
}

bool bl_augment_does(const bl_augment *a)
{
    return a->flip || a->pad > 0 || a->zoom > 0;
}

/* to[x] = from[x + shift], mirrored: from[width - 1 - (x + shift)]; outside is black. */
static void copy_row(const bl_augment *a, const float *from, int64_t shift, bool mirror, float black, float *to)
{
    for (int64_t x = 0; x < a->width; x++) {
        int64_t at = mirror ? a->width - 1 - x + shift : x + shift;
        to[x] = at >= 0 && at < a->width ? from[at] : black;
    }
}

/* Where a position of the enlarged picture lies: its neighbours and the share of the second. */
static void between(double at, int64_t n, int64_t *first, int64_t *second, float *share)
{
    at = at < 0 ? 0 : at > (double)(n - 1) ? (double)(n - 1) : at;
    *first = (int64_t)at;
    *second = BL_MIN(*first + 1, n - 1);
    *share = (float)(at - (double)*first);
}

/* A square part of the side's share z, between neighbours linearly. */
static void enlarge(const bl_augment *a, bl_rng *stream, const float *from, float *to)
{
    double z = a->zoom + (1 - a->zoom) * bl_rng_unit(stream);
    double down = (1 - z) * (double)a->height * bl_rng_unit(stream), right = (1 - z) * (double)a->width * bl_rng_unit(stream);
    bool mirror = a->flip && bl_rng_below(stream, 2) == 1;

    for (int64_t c = 0; c < a->channels; c++)
        for (int64_t y = 0; y < a->height; y++) {
            int64_t y0, y1, x0, x1;
            float fy, fx;
            between(down + ((double)y + 0.5) * z - 0.5, a->height, &y0, &y1, &fy);
            const float *top = from + (c * a->height + y0) * a->width, *low = from + (c * a->height + y1) * a->width;
            for (int64_t x = 0; x < a->width; x++) {
                between(right + ((double)(mirror ? a->width - 1 - x : x) + 0.5) * z - 0.5, a->width, &x0, &x1, &fx);
                float u = top[x0] + fx * (top[x1] - top[x0]), v = low[x0] + fx * (low[x1] - low[x0]);
                *to++ = u + fy * (v - u);
            }
        }
}

void bl_augment_sample(const bl_augment *a, bl_rng *stream, const float *from, float *to)
{
    if (a->zoom > 0) {
        enlarge(a, stream, from, to);
        return;
    }
    int64_t range = 2 * a->pad + 1;
    int64_t down = (int64_t)bl_rng_below(stream, (uint64_t)range) - a->pad;
    int64_t right = (int64_t)bl_rng_below(stream, (uint64_t)range) - a->pad;
    bool mirror = a->flip && bl_rng_below(stream, 2) == 1;

    for (int64_t c = 0; c < a->channels; c++)
        for (int64_t y = 0; y < a->height; y++, to += a->width) {
            int64_t at = y + down;
            const float *row = from + (c * a->height + at) * a->width;
            if (at >= 0 && at < a->height)
                copy_row(a, row, right, mirror, a->black[c], to);
            else
                for (int64_t x = 0; x < a->width; x++) to[x] = a->black[c];
        }
}
