/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The words of the command line that speak of data: `--data`, `--mean`, ... .  Whether they suit
 * the files is found out by bl_data_open.
 */
#include "data/data_private.h"

#include <stdio.h>
#include <string.h>

#define SIDE_MAX 16384 /* pixels; keeps products of sides far from overflow */

static bl_status option_fail(bl_ctx *ctx, const char *key, const char *value, const char *wants)
{
    char place[64];
    snprintf(place, sizeof place, "--%.40s", key);
    return bl_fail(ctx, BL_USAGE, place, wants, "\"%.200s\" makes no sense here", value);
}

/* "a" or "a,b,c": decimal numbers, rounded to float32. */
static bl_status option_floats(bl_ctx *ctx, const char *key, const char *value, bool positive,
                               float *out, int *n_out)
{
    float list[BL_DATA_CHANNELS_MAX];
    int n = 0;
    for (const char *at = value;; at++) {
        const char *end = at + strcspn(at, ",");
        char number[64];
        double v = 0;
        size_t length = (size_t)(end - at);
        if (n == BL_DATA_CHANNELS_MAX)
            return option_fail(ctx, key, value, "give at most 64 numbers");
        if (length >= sizeof number)
            return option_fail(ctx, key, value, "give numbers: a or a,b,c");
        memcpy(number, at, length);
        number[length] = '\0';
        if (!bl_parse_f64(number, &v) || !isfinite((float)v))
            return option_fail(ctx, key, value, "give numbers: a or a,b,c");
        if (positive && !((float)v > 0))
            return option_fail(ctx, key, value, "deviations must be above zero");
        list[n++] = (float)v;
        if (*end == '\0') break;
        at = end;
    }
    memcpy(out, list, (size_t)n * sizeof *list);
    *n_out = n;
    return BL_OK;
}

static bl_status option_whole(bl_ctx *ctx, const char *key, const char *value, uint64_t hi,
                              uint64_t *out)
{
    uint64_t v;
    if (!bl_parse_u64(value, &v) || v < 1 || v > hi)
        return option_fail(ctx, key, value,
                           hi == SIDE_MAX ? "give a number of pixels from 1 to 16384"
                                          : "give a whole number from 1");
    *out = v;
    return BL_OK;
}

/* "N" or "HxW". */
static bl_status option_crop(bl_ctx *ctx, const char *key, const char *value, bl_data_options *o)
{
    const char *x = strchr(value, 'x');
    char rows[16];
    uint64_t h, w = 0;
    if (x && (size_t)(x - value) >= sizeof rows)
        return option_fail(ctx, key, value, "give a side, or rows and columns as in 240x320");
    snprintf(rows, sizeof rows, "%.*s", x ? (int)(x - value) : 15, value);
    BL_TRY(option_whole(ctx, key, x ? rows : value, SIDE_MAX, &h));
    if (x) BL_TRY(option_whole(ctx, key, x + 1, SIDE_MAX, &w));
    o->crop = (int)h;
    o->crop_width = (int)w;
    return BL_OK;
}

/* One of two words. */
static bl_status option_word(bl_ctx *ctx, const char *key, const char *value, const char *off,
                             const char *on, bool *out)
{
    if (strcmp(value, on) != 0 && strcmp(value, off) != 0) {
        char wants[64];
        snprintf(wants, sizeof wants, "say %s or %s", off, on);
        return option_fail(ctx, key, value, wants);
    }
    *out = strcmp(value, on) == 0;
    return BL_OK;
}

bl_status bl_data_option(bl_ctx *ctx, const char *key, const char *value, bl_data_options *o)
{
    uint64_t v = 0;
    if (strcmp(key, "data") == 0) {
        if (value[0] == '\0')
            return option_fail(ctx, key, value, "write LOADER:WORDS, such as cifar:test.bin");
        o->spec = value;
        return BL_OK;
    }
    if (strcmp(key, "mean") == 0) return option_floats(ctx, key, value, false, o->mean, &o->n_mean);
    if (strcmp(key, "std") == 0) return option_floats(ctx, key, value, true, o->std, &o->n_std);
    if (strcmp(key, "channels") == 0) return option_word(ctx, key, value, "rgb", "bgr", &o->bgr);
    if (strcmp(key, "layout") == 0) {
        BL_TRY(option_word(ctx, key, value, "nchw", "nhwc", &o->nhwc_stored));
        o->nchw_stored = !o->nhwc_stored;
        return BL_OK;
    }
    if (strcmp(key, "resize") == 0) {
        BL_TRY(option_whole(ctx, key, value, SIDE_MAX, &v));
        o->resize = (int)v;
        return BL_OK;
    }
    if (strcmp(key, "crop") == 0) return option_crop(ctx, key, value, o);
    if (strcmp(key, "crops") == 0) {
        BL_TRY(option_whole(ctx, key, value, INT64_MAX, &v));
        if (v > BL_CROPS_MOST) return option_fail(ctx, key, value, "give a number from 1, the centre alone, to 5, the corners too");
        o->crops = (int)v;
        return BL_OK;
    }
    if (strcmp(key, "window") == 0 || strcmp(key, "limit") == 0) {
        BL_TRY(option_whole(ctx, key, value, INT64_MAX, &v));
        *(key[0] == 'w' ? &o->window : &o->limit) = (int64_t)v;
        return BL_OK;
    }
    return option_fail(
        ctx, key, value,
        "data, mean, std, resize, crop, crops, channels, layout, window and limit are known");
}
