/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the files of the data room share: the source (what a loader finds), the view (how a sample
 * of it becomes an input), readers of text rows and compressed bytes.
 */
#ifndef BL_DATA_PRIVATE_H
#define BL_DATA_PRIVATE_H

#include "data/data.h"

/* ------------------------------------------------------------ source.c: what a loader finds */

#define BL_SOURCE_MAPS 4
#define BL_WORDS_MAX 8

typedef struct bl_source bl_source;
struct bl_source {
    bl_ctx *ctx;
    bl_arena *arena;            /* lives as long as the data set */
    const bl_data_options *options;
    const bl_tensor *input;     /* the network's; for loaders that must choose (csv, images) */
    int64_t input_count;        /* its elements */
    const bl_loader_row *row;   /* of loaders.def */
    int n_words;                /* the words after the prefix */
    const char *word[BL_WORDS_MAX];

    int64_t count;              /* samples, at least 1 after a successful open */
    bl_tensor sample;           /* type and dimensions of one sample as stored; no data */
    size_t sample_bytes;
    bool picture;               /* samples are known to be channels x height x width */
    const uint8_t *data;        /* sample i at data + i * stride_bytes, unaligned; or NULL: */
    size_t stride_bytes;
    bl_status (*fetch)(const bl_source *s, int64_t i, bl_arena *scratch, uint8_t *out);
    void *state;                /* of fetch */
    bool prepared;              /* the loader resized, cropped and set content, its hash */
    bl_hash content;
    int32_t *labels;            /* count of them, or NULL */
    int n_maps;
    bl_map map[BL_SOURCE_MAPS];
};

/* Maps a file for the life of the source. */
bl_status bl_source_map(bl_source *s, const char *path, const uint8_t **bytes, size_t *size);
/* Between lo and hi words, none empty; else BL_USAGE, saying what the loader's row wants. */
bl_status bl_source_words(bl_source *s, int lo, int hi);
/* Samples along the first axis of t; checks count, type and that float values are finite. */
bl_status bl_source_tensor(bl_source *s, const char *place, const bl_tensor *t);
/* Elements and bytes of a tensor whose dimensions come from a file; BL_DATA on overflow. */
bl_status bl_data_extent(bl_ctx *ctx, const char *place, const bl_tensor *t, int64_t *count,
                         size_t *bytes);
char *bl_data_shape_text(const bl_tensor *t, char buf[static 192]); /* returns buf */

/* The loaders: read words, set count .. labels.  The caller frees arena and maps on failure. */
typedef bl_status bl_load_fn(bl_source *s);
#define X(prefix, symbol, words, help) bl_load_fn bl_load_##symbol;
#include "data/loaders.def"
#undef X

/* describe.c: a JSON description.  Fills in what options leaves open, sets *prefix and s->word;
 * strings live in s->arena. */
bl_status bl_data_describe(bl_source *s, const char *path, bl_data_options *options,
                           const char **prefix);
/* The other way round; see bl_data_description. */
json_t *bl_source_description(const bl_source *s, const char *folder);

/* ------------------------------------------------------------ preprocess.c: stored to input */

/* A sample seen as channels x height x width: element (c, y, x) of the stored sample is
 * c * c_step + y * y_step + x * x_step. */
typedef struct bl_view {
    int64_t channels, height, width;
    int64_t c_step, y_step, x_step;
    int64_t resized_h, resized_w;       /* 0: not resized */
    int64_t top, left, out_h, out_w;    /* the part taken, after resizing */
    bool reversed;                      /* channel c of the output is C-1-c of the stored */
    bool out_nhwc;
    int64_t windows;                    /* inputs a sample */
    int64_t window_step;                /* elements from one window to the next */
    float mean[BL_DATA_CHANNELS_MAX], std[BL_DATA_CHANNELS_MAX];
    bool per_channel;                   /* else mean[0], std[0] everywhere */
} bl_view;

enum { BL_CROPS_MOST = 5 };
/* What --crop keeps of v's out_h x out_w: top, left, out_*.  part: 0 the middle, 1 to 4 the corners. */
bl_status bl_view_crop(const bl_source *s, const char *place, int part, bl_view *v);
bl_status bl_view_make(const bl_source *s, bl_view *out);
/* Window w of the stored sample at `stored`; scratch is for resizing. */
bl_status bl_view_read(const bl_source *s, const bl_view *v, const uint8_t *stored, int64_t w,
                       bl_arena *scratch, float *out);
/* float32 and float64: every value is finite as float32; *bad is the first that is not, else -1. */
int64_t bl_first_not_finite(bl_dtype type, const uint8_t *data, int64_t count);

/* ------------------------------------------------------------ resize.c */

/* Size after the shorter side became `side`; the longer one is rounded down. */
bl_status bl_resized_size(bl_ctx *ctx, const char *place, int64_t h, int64_t w, int side,
                          int64_t *out_h, int64_t *out_w);
/* 8-bit bilinear with antialiasing; element (c, y, x) of src as in bl_view, out is planar. */
bl_status bl_resize_u8(bl_arena *scratch, const uint8_t *src, const bl_view *v, int64_t out_h,
                       int64_t out_w, uint8_t *out);

/* ------------------------------------------------------------ rows.c: comma-separated text */

typedef struct bl_field { const char *text; size_t n; } bl_field; /* not NUL-terminated */

typedef struct bl_rows {
    bl_arena *arena;            /* fields, and text of fields with doubled quotes */
    const char *place;
    const char *at, *end;
    int64_t line;               /* of the row last given, from 1 */
    int n_fields;               /* of the first row, so of every row; 0 before it */
    int capacity;
    bl_field *field;
} bl_rows;

bl_status bl_rows_open(bl_rows *r, bl_arena *arena, const char *place, const uint8_t *bytes,
                       size_t size);
/* The next row that is not empty; *more false at the end. */
bl_status bl_rows_next(bl_rows *r, bool *more);
int64_t bl_rows_bound(const bl_rows *r); /* rows that can still follow, at most */
bool bl_field_is(const bl_field *f, const char *word);
bool bl_field_letter(const bl_field *f); /* one capital letter */
bool bl_field_number(const bl_field *f, double *out);

/* ------------------------------------------------------------ labels.c */

/* Labels of all s->count samples from a file: .csv, .npy, else one byte each. */
bl_status bl_labels_read(bl_source *s, const char *path);
bl_status bl_labels_tensor(bl_source *s, const char *place, const bl_tensor *t);
/* LABELS.csv: labels and, where files is not NULL, the column `file`. */
bl_status bl_labels_csv(bl_source *s, const char *path, const char ***files, int32_t **labels,
                        int64_t *n);
/* A field as label, 0..BL_DATA_LABEL_MAX; letters: A..Z as 0..25 instead of numbers. */
bool bl_label_field(const bl_field *f, bool letters, int32_t *out);

/* ------------------------------------------------------------ inflate.c (zlib behind it) */

typedef enum bl_packing { BL_PACKED_GZIP, BL_PACKED_RAW } bl_packing;

bool bl_is_gzip(const uint8_t *bytes, size_t size);
/* Deflate cannot make more than this of n bytes. */
uint64_t bl_inflate_bound(uint64_t n);
/* At most size bytes from the start; *got says how many there were.  BL_DATA on garbage. */
bl_status bl_inflate_head(bl_ctx *ctx, const char *place, bl_packing packing, const uint8_t *in,
                          size_t in_size, uint8_t *out, size_t size, size_t *got);
/* Exactly size bytes, and the stream (checksum included) ends with the input. */
bl_status bl_inflate_all(bl_ctx *ctx, const char *place, bl_packing packing, const uint8_t *in,
                         size_t in_size, uint8_t *out, size_t size);
uint32_t bl_crc32(const uint8_t *bytes, size_t size);

/* dtypes that samples may have, by their short names u8 .. f64, bool; BL_NONE: none of them. */
bl_dtype bl_dtype_short(const char *name);
size_t bl_stored_bytes(bl_dtype type); /* 0: not a type that samples may have */

#endif
