/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * From a stored sample to the network's input: resizing, centre crop, layout, channel order, and
 * ((float)stored - mean) / std with one rounding to binary32 each, never contracted.  bl_view_make
 * settles once what happens to every sample, so that reading is loops.
 */
#include "data/data_private.h"

#include <stdio.h>
#include <string.h>

/* n elements `step` apart from src to out, out_step floats apart. */
typedef void row_fn(const uint8_t *src, int64_t step, int64_t n, float mean, float std, float *out,
                    int64_t out_step);

/* memcpy because maps give no alignment; the dense case is apart so that it becomes vectors. */
#define ROW(name, type, value)                                                                     \
    static void name(const uint8_t *src, int64_t step, int64_t n, float mean, float std,           \
                     float *out, int64_t out_step)                                                 \
    {                                                                                              \
        type v;                                                                                    \
        if (step == 1 && out_step == 1)                                                            \
            for (int64_t i = 0; i < n; i++) {                                                      \
                memcpy(&v, src + i * (int64_t)sizeof v, sizeof v);                                 \
                out[i] = ((float)(value)-mean) / std;                                              \
            }                                                                                      \
        else                                                                                       \
            for (int64_t i = 0; i < n; i++) {                                                      \
                memcpy(&v, src + i * step * (int64_t)sizeof v, sizeof v);                          \
                out[i * out_step] = ((float)(value)-mean) / std;                                   \
            }                                                                                      \
    }
ROW(row_u8, uint8_t, v)
ROW(row_i8, int8_t, v)
ROW(row_u16, uint16_t, v)
ROW(row_i16, int16_t, v)
ROW(row_u32, uint32_t, v)
ROW(row_i32, int32_t, v)
ROW(row_u64, uint64_t, v)
ROW(row_i64, int64_t, v)
ROW(row_f32, float, v)
ROW(row_f64, double, v)
ROW(row_bool, uint8_t, v != 0)

static row_fn *const row_of[] = {
    [BL_U8] = row_u8,   [BL_I8] = row_i8,   [BL_U16] = row_u16,   [BL_I16] = row_i16,
    [BL_U32] = row_u32, [BL_I32] = row_i32, [BL_U64] = row_u64,   [BL_I64] = row_i64,
    [BL_F32] = row_f32, [BL_F64] = row_f64, [BL_BOOL] = row_bool,
};

int64_t bl_first_not_finite(bl_dtype type, const uint8_t *data, int64_t count)
{
    if (type != BL_F32 && type != BL_F64) return -1;
    for (int64_t i = 0; i < count; i++) {
        float f;
        double d;
        if (type == BL_F32) {
            memcpy(&f, data + i * 4, sizeof f);
        } else {
            memcpy(&d, data + i * 8, sizeof d);
            f = (float)d;
        }
        if (!isfinite(f)) return i;
    }
    return -1;
}

/* ------------------------------------------------------------------ settling */

static bool same_dims(const bl_tensor *sample, const int64_t *d)
{
    for (int i = 0; i < sample->rank; i++)
        if (sample->dim[i] != d[i]) return false;
    return true;
}

static bl_status fit_fail(const bl_source *s, const char *what, const char *shape)
{
    char wants[192];
    const bl_tensor *in = s->input;
    if (in->rank > 1 && in->dim[0] > 1 && s->sample.rank == in->rank - 1 && same_dims(&s->sample, in->dim + 1))
        return bl_fail(s->ctx, BL_DATA, "--data", "export it with a batch of 1 or a free one",
                       "%s %s and the network takes %lld of them at once", what, shape, (long long)in->dim[0]);
    return bl_fail(s->ctx, BL_DATA, "--data", "other data, or --window, --crop, --resize, --layout",
                   "%s %s and the network's input is %s", what, shape,
                   bl_data_shape_text(s->input, wants));
}

/* Windows over the first axis, flattened. */
static bl_status view_windows(const bl_source *s, bl_view *v)
{
    const bl_data_options *o = s->options;
    char text[192];
    int64_t size, inner = 1;
    if (s->picture || o->resize || o->crop || o->bgr || o->nhwc_stored)
        return bl_fail(s->ctx, BL_USAGE, "--window", "leave one of them out",
                       "windows do not go with pictures, --resize, --crop, --channels or --layout");
    if (s->sample.rank == 0 || o->window > s->sample.dim[0])
        return bl_fail(s->ctx, BL_DATA, "--window", "use a smaller window",
                       "a window of %lld rows does not fit a sample of %s", (long long)o->window,
                       bl_data_shape_text(&s->sample, text));
    for (int i = 1; i < s->sample.rank; i++) inner *= s->sample.dim[i];
    size = o->window * inner; /* <= the sample's elements */
    if (size != s->input_count) {
        snprintf(text, sizeof text, "%lld values", (long long)size);
        return fit_fail(s, "a window has", text);
    }
    v->windows = s->sample.dim[0] - o->window + 1;
    v->window_step = inner;
    return BL_OK;
}

/* A sample that just has to have as many elements as the input. */
static bl_status view_plain(const bl_source *s, bl_view *v)
{
    char text[192];
    int64_t size = 1;
    const bl_tensor *in = s->input;
    for (int i = 0; i < s->sample.rank; i++) size *= s->sample.dim[i];
    if (s->options->window)
        BL_TRY(view_windows(s, v));
    else if (size != s->input_count)
        return fit_fail(s, "a sample is", bl_data_shape_text(&s->sample, text));
    v->channels = in->rank == 4 ? in->dim[1] : 1;
    v->height = v->out_h = 1;
    v->width = v->out_w = s->input_count / v->channels;
    v->c_step = v->y_step = v->width;
    v->x_step = 1;
    return BL_OK;
}

/* Channels, height and width of a stored picture. */
static bl_status picture_shape(const bl_source *s, bl_view *v)
{
    const bl_tensor *t = &s->sample, *in = s->input;
    bool nhwc = s->options->nhwc_stored;
    char text[192];
    int64_t size = 1;
    for (int i = 0; i < t->rank; i++) size *= t->dim[i];
    if (t->rank == 3) {
        v->channels = t->dim[nhwc ? 2 : 0];
        v->height = t->dim[nhwc ? 0 : 1];
        v->width = t->dim[nhwc ? 1 : 2];
    } else if (t->rank == 2) {
        v->channels = 1;
        v->height = t->dim[0];
        v->width = t->dim[1];
    } else if (in->rank == 4 && size == s->input_count) {
        v->channels = in->dim[1];
        v->height = in->dim[2];
        v->width = in->dim[3];
    } else {
        return bl_fail(s->ctx, BL_DATA, "--data", "store samples as channels x height x width",
                       "--resize, --crop, --channels and --layout want pictures; a sample is %s",
                       bl_data_shape_text(t, text));
    }
    v->c_step = nhwc ? 1 : v->height * v->width;
    v->y_step = nhwc ? v->width * v->channels : v->width;
    v->x_step = nhwc ? v->channels : 1;
    return BL_OK;
}

static bl_status view_picture(const bl_source *s, bl_view *v)
{
    const bl_data_options *o = s->options;
    const bl_tensor *in = s->input;
    char text[192];
    if (o->window) return view_windows(s, v);
    if (s->picture && o->nhwc_stored)
        return bl_fail(s->ctx, BL_USAGE, "--layout", "leave it out", "%s: knows its own layout",
                       s->row->prefix);
    BL_TRY(picture_shape(s, v));
    v->out_h = v->height;
    v->out_w = v->width;
    if (o->resize && !s->prepared) {
        if (s->sample.type != BL_U8)
            return bl_fail(s->ctx, BL_UNAVAILABLE, "--resize", "resize the data beforehand",
                           "only 8-bit unsigned pictures can be resized");
        BL_TRY(bl_resized_size(s->ctx, "--resize", v->height, v->width, o->resize, &v->resized_h,
                               &v->resized_w));
        v->out_h = v->resized_h;
        v->out_w = v->resized_w;
    }
    if (!s->prepared) BL_TRY(bl_view_crop(s, "--crop", 0, v));
    if (o->bgr && v->channels != 3)
        return bl_fail(s->ctx, BL_DATA, "--channels", "leave it out",
                       "pictures of %lld channel%s have no other order", (long long)v->channels,
                       v->channels == 1 ? "" : "s");
    v->reversed = o->bgr;
    const int64_t *d = in->dim;
    int64_t c = v->channels, h = v->out_h, w = v->out_w;
    bool nchw = in->rank == 4 && d[1] == c && d[2] == h && d[3] == w;
    bool nhwc = in->rank == 4 && d[1] == h && d[2] == w && d[3] == c;
    v->out_nhwc = nhwc && !nchw;
    int64_t size;
    bool equal = bl_mul_i64(h, w, &size) && bl_mul_i64(size, c, &size) && size == s->input_count;
    if (in->rank == 4 ? !nchw && !nhwc : !equal) {
        snprintf(text, sizeof text, "%lldx%lldx%lld", (long long)c, (long long)h, (long long)w);
        return fit_fail(s, "a picture is", text);
    }
    return BL_OK;
}

/* As many means or deviations as a sample has numbers: each is a channel. */
static void view_features(const bl_source *s, bl_view *v)
{
    const bl_data_options *o = s->options;
    if (v->windows > 1 || v->channels > 1 || s->input_count < 2) return;
    if (o->n_mean != s->input_count && o->n_std != s->input_count) return;
    v->channels = s->input_count;
    v->width = v->out_w = 1;
    v->c_step = v->y_step = 1;
}

static bl_status channel_check(const bl_source *s, const bl_view *v, const char *key, int n)
{
    BL_CHECK(s->ctx, n >= 0 && n <= BL_DATA_CHANNELS_MAX);
    if (n <= 1 || n == v->channels) return BL_OK;
    return bl_fail(s->ctx, BL_USAGE, key, "give one number, or one for each channel",
                   "%d numbers for %lld channel%s", n, (long long)v->channels,
                   v->channels == 1 ? "" : "s");
}

bl_status bl_view_crop(const bl_source *s, const char *place, int part, bl_view *v)
{
    int h = s->options->crop, w = s->options->crop_width ? s->options->crop_width : h;
    if (!h) return BL_OK;
    if (h > v->out_h || w > v->out_w)
        return bl_fail(s->ctx, BL_DATA, place, "crop less, or --resize first",
                       "%dx%d pixels do not fit a picture of %lldx%lld", h, w, (long long)v->out_h, (long long)v->out_w);
    v->top = part ? (part > 2) * (v->out_h - h) : (v->out_h - h) / 2;
    v->left = part ? (part % 2 == 0) * (v->out_w - w) : (v->out_w - w) / 2;
    v->out_h = h;
    v->out_w = w;
    return BL_OK;
}

/* An array that has the input's axes with the channels at the other end also has its element count: whoever means
 * pictures says so.  first: the array's channels come first. */
static bool channels_elsewhere(const bl_source *s, bool *first)
{
    const bl_tensor *t = &s->sample, *in = s->input;
    if (t->rank != 3 || in->rank != 4 || same_dims(t, in->dim + 1)) return false;
    const int64_t *d = in->dim, as_first[] = { d[3], d[1], d[2] }, as_last[] = { d[2], d[3], d[1] };
    *first = same_dims(t, as_first);
    return (*first && d[3] > 1) || (same_dims(t, as_last) && d[1] > 1);
}

bl_status bl_view_make(const bl_source *s, bl_view *v)
{
    const bl_data_options *o = s->options;
    char text[192], wants[192];
    bool first = false, picture = s->picture || o->resize || o->crop || o->bgr || o->nhwc_stored;
    if (!picture && !o->window && channels_elsewhere(s, &first)) {
        picture = first && o->nchw_stored;
        if (!picture)
            bl_note(s->ctx, "samples of %s are read as they lie for an input of %s; if they are pictures, give --layout %s",
                    bl_data_shape_text(&s->sample, text), bl_data_shape_text(s->input, wants), first ? "nchw" : "nhwc");
    }
    *v = (bl_view){.windows = 1};
    BL_TRY(picture ? view_picture(s, v) : view_plain(s, v));
    if (!picture) view_features(s, v);
    BL_TRY(channel_check(s, v, "--mean", o->n_mean));
    BL_TRY(channel_check(s, v, "--std", o->n_std));
    v->per_channel = o->n_mean > 1 || o->n_std > 1;
    for (int c = 0; c < BL_DATA_CHANNELS_MAX; c++) {
        v->mean[c] = o->n_mean ? o->mean[o->n_mean > 1 ? c : 0] : 0.0f;
        v->std[c] = o->n_std ? o->std[o->n_std > 1 ? c : 0] : 1.0f;
        if (c < BL_MAX(o->n_std, 1)) BL_CHECK(s->ctx, v->std[c] > 0 && isfinite(v->std[c]));
        if (c < BL_MAX(o->n_mean, 1)) BL_CHECK(s->ctx, isfinite(v->mean[c]));
    }
    return BL_OK;
}

/* ------------------------------------------------------------------ reading */

bl_status bl_view_read(const bl_source *s, const bl_view *v, const uint8_t *stored, int64_t w,
                       bl_arena *scratch, float *out)
{
    row_fn *row = row_of[s->sample.type];
    size_t bytes = bl_stored_bytes(s->sample.type);
    int64_t c_step = v->c_step, y_step = v->y_step, x_step = v->x_step;
    stored += (size_t)(w * v->window_step) * bytes;
    if (v->resized_h) {
        int64_t plane = v->resized_h * v->resized_w;
        uint8_t *resized = BL_NEW(scratch, uint8_t, (size_t)(v->channels * plane));
        BL_ALLOC_TRY(s->ctx, resized);
        BL_TRY(bl_resize_u8(scratch, stored, v, v->resized_h, v->resized_w, resized));
        stored = resized;
        c_step = plane;
        y_step = v->resized_w;
        x_step = 1;
    }
    stored += (size_t)(v->top * y_step + v->left * x_step) * bytes;
    int64_t out_c = v->out_nhwc ? 1 : v->out_h * v->out_w;
    int64_t out_x = v->out_nhwc ? v->channels : 1;
    /* Rows that follow each other without a gap are one row. */
    bool joined = y_step == v->out_w * x_step;
    int64_t rows = joined ? 1 : v->out_h, width = joined ? v->out_h * v->out_w : v->out_w;
    for (int64_t c = 0; c < v->channels; c++) {
        const uint8_t *from =
            stored + (size_t)((v->reversed ? v->channels - 1 - c : c) * c_step) * bytes;
        float mean = v->mean[v->per_channel ? c : 0], std = v->std[v->per_channel ? c : 0];
        for (int64_t y = 0; y < rows; y++)
            row(from + (size_t)(y * y_step) * bytes, x_step, width, mean, std,
                out + c * out_c + y * v->out_w * out_x, out_x);
    }
    return BL_OK;
}
