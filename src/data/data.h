/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The data room's one door: samples for calibration and evaluation.  A loader (one row of
 * loaders.def) finds the samples in files; preprocessing turns each into what the network's input
 * takes, float32 in the input's own layout.  Knows nothing of graphs: the caller hands over the
 * input's shape.
 *
 * Words: a *sample* is one entry of the files (a picture, a recording); with --window it gives
 * several *inputs* of the network.  Without windows both are the same.
 */
#ifndef BL_DATA_H
#define BL_DATA_H

#include "ops/op.h"

#define BL_DATA_LABEL_MAX 1000000 /* the largest label that is believed */

/* bl_data_options, bl_data_option, bl_data_free: bitlathe.h. */


/* Rows of loaders.def, for `list` and help. */
typedef struct bl_loader_row { const char *prefix, *words, *help; } bl_loader_row;
extern const bl_loader_row bl_loader_rows[];
extern const size_t bl_n_loader_rows;

/* Opens the data set for a network whose input is `input` (float32 or integers, batch 1).  Everything that the
 * files say is checked here: counts, sizes, labels, NaN and infinity; and that a sample fits the
 * input.  A picture (cifar, images; any loader with --layout nhwc, --channels bgr, --resize or
 * --crop; with --layout nchw what fits an N,H,W,C input so) is channels x height x width and must
 * equal a 4-dimensional input as N,C,H,W or N,H,W,C, in which it is then delivered; other samples only need the input's element count.
 * BL_NOINPUT: a file is missing.  BL_DATA: what is in it is wrong.  BL_USAGE: the words are wrong.
 * Paths with a comma cannot be given on the command line; a JSON description takes them. */
bl_status bl_data_open(bl_ctx *ctx, const bl_data_options *options, const bl_tensor *input,
                       bl_data **out);

int64_t bl_data_samples(const bl_data *data);    /* inputs of the network, windows counted */
int64_t bl_data_files(const bl_data *data);      /* samples before windows */
int64_t bl_data_windows(const bl_data *data);    /* inputs a sample; 1 without windows */
int64_t bl_data_sample_size(const bl_data *data); /* floats of one input */
bool bl_data_labelled(const bl_data *data);
/* Label of a sample before windows: input i belongs to sample i / windows.  -1 when unlabelled. */
int bl_data_label(const bl_data *data, int64_t file);
int bl_data_label_max(const bl_data *data);      /* largest label in use, -1 when unlabelled */
const char *bl_data_name(const bl_data *data);   /* "cifar:test_a.bin" */
/* Of everything that decides what bl_data_read gives: loader, shapes, preprocessing, stored bytes;
 * and the labels.  Independent of paths and of the limit. */
bl_hash bl_data_hash(const bl_data *data);

/* The words that open this data set again, as a JSON description in `folder` (absolute) would have them: what lies in that
 * folder by its name there, what lies elsewhere by its absolute path.  NULL: a path is no UTF-8 text, or no memory. */
json_t *bl_data_description(const bl_data *data, const char *folder);

/* Inputs [first, first + n), preprocessed, sample after sample.  Several threads may read at once.
 * Arithmetic, in float32 at every step: ((float)stored - mean) / std. */
bl_status bl_data_read(const bl_data *data, int64_t first, int64_t n, float *out);

/* One input into the elements from `at` on of a network's input, in its own type: an input of integers takes whole
 * numbers alone, and at most 2^24. */
bl_status bl_data_feed(const bl_data *data, int64_t sample, const bl_tensor *to, int64_t at);

/* Inputs that stand for a sample-limited set, in order; they live in `arena`.  limit 0 or above the
 * number of samples: all.  pick: `limit` evenly spaced samples, number i is floor(i * files /
 * limit), with all their windows (calibration). */
bl_status bl_data_pick(const bl_data *data, int64_t limit, bl_arena *arena, int64_t **indices,
                       int64_t *n);
/* How many inputs the first `limit` samples make: the range [0, that) (evaluation). */
int64_t bl_data_first(const bl_data *data, int64_t limit);

/* ------------------------------------------------------------------ npy.c, npz.c */

/* A .npy file in memory: bool, (u)int8..64, float32, float64, little-endian, C order, at most
 * BL_MAX_RANK dimensions, exactly as long as its header says.  out->data points into bytes (read
 * only, any alignment). */
bl_status bl_npy_view(bl_ctx *ctx, const char *place, const uint8_t *bytes, size_t size,
                      bl_tensor *out);
bl_status bl_npy_write(bl_ctx *ctx, const char *path, const bl_tensor *t);

/* Members of an .npz in memory, stored or deflated, in the file's order, names without ".npy".
 * Deflated ones are inflated into the arena, whose limit holds; CRCs are checked. */
typedef struct bl_npz_member {
    const char *name;
    uint32_t method, crc;
    size_t offset, packed_bytes, bytes;
} bl_npz_member;
bl_status bl_npz_list(bl_arena *arena, const char *place, const uint8_t *bytes, size_t size,
                      bl_npz_member **members, int *n);
bl_status bl_npz_view(bl_arena *arena, const char *place, const uint8_t *bytes,
                      const bl_npz_member *member, bl_tensor *out);

#endif
