/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * images:DIR,LABELS.csv - JPEG and PNG files in a folder, named by the column `file`.  Every file
 * is opened once at first: its bytes are hashed and its size checked.  If all pictures, resized and
 * cropped, fit a quarter of the memory budget, they are decoded then, on all threads; else each is
 * decoded when it is read.  Pixels are 8-bit R, G, B; for a network with one channel, ITU-R 601
 * luma.  With --crops a picture gives several samples, one after the other.  JPEG: slow integer DCT,
 * fancy upsampling, as nearly every decoder does by default.  An alpha channel is dropped.  libjpeg and libpng stand behind this file alone.
 */
#ifdef BL_HAVE_IMAGES

#include "data/data_private.h"

#include <jerror.h>
#include <jpeglib.h>
#include <limits.h>
#include <png.h>
#include <setjmp.h>
#include <string.h>

#define PIXELS_MAX ((int64_t)1 << 26)

typedef struct image_set {
    const char **path;
    int crops;          /* samples a path */
    int64_t channels;
    uint8_t *pixels; /* all samples decoded, or NULL */
} image_set;

static bl_status image_fail(bl_ctx *ctx, const char *path, const char *what)
{
    return bl_fail(ctx, BL_DATA, path, "replace the file or drop its line", "%s", what);
}

/* ---------------------------------------- decoders: rgb NULL asks for the size */

typedef struct jpeg_catch {
    struct jpeg_error_mgr manager; /* first: libjpeg hands its address */
    jmp_buf jump;
} jpeg_catch;

static void jpeg_stop(j_common_ptr info)
{
    longjmp(((jpeg_catch *)info->err)->jump, 1);
}

/* Warnings of damage end the decoding; those of mere oddity do not. */
static void jpeg_warned(j_common_ptr info, int level)
{
    int code = info->err->msg_code;
    if (level < 0 && code != JWRN_EXTRANEOUS_DATA && code != JWRN_ADOBE_XFORM &&
        code != JWRN_JFIF_MAJOR)
        jpeg_stop(info);
}

static bl_status jpeg_read(bl_ctx *ctx, const char *path, const uint8_t *bytes, size_t size,
                           int64_t *h, int64_t *w, uint8_t *rgb)
{
    struct jpeg_decompress_struct info = {0};
    jpeg_catch catch;
    info.err = jpeg_std_error(&catch.manager);
    catch.manager.error_exit = jpeg_stop;
    catch.manager.emit_message = jpeg_warned;
    if (setjmp(catch.jump)) {
        char text[JMSG_LENGTH_MAX];
        info.err->format_message((j_common_ptr)&info, text);
        jpeg_destroy_decompress(&info);
        return bl_fail(ctx, BL_DATA, path, "replace the file or drop its line",
                       "damaged JPEG file: %s", text);
    }
    jpeg_create_decompress(&info);
    info.mem->max_memory_to_use = (long)BL_MIN(ctx->options.memory_bytes, (uint64_t)LONG_MAX);
    jpeg_mem_src(&info, bytes, size);
    jpeg_read_header(&info, TRUE);
    bool known = info.jpeg_color_space == JCS_GRAYSCALE || info.jpeg_color_space == JCS_YCbCr ||
                 info.jpeg_color_space == JCS_RGB;
    *h = info.image_height;
    *w = info.image_width;
    if (known && rgb) {
        info.out_color_space = JCS_RGB;
        info.dct_method = JDCT_ISLOW;
        info.do_fancy_upsampling = TRUE;
        jpeg_start_decompress(&info);
        while (info.output_scanline < info.output_height) {
            JSAMPROW row = rgb + (size_t)info.output_scanline * info.output_width * 3;
            jpeg_read_scanlines(&info, &row, 1);
        }
        jpeg_finish_decompress(&info);
    }
    jpeg_destroy_decompress(&info);
    return known ? BL_OK : image_fail(ctx, path, "a JPEG file that is neither RGB nor grey");
}

static bl_status png_read(bl_ctx *ctx, bl_arena *scratch, const char *path, const uint8_t *bytes,
                          size_t size, int64_t *h, int64_t *w, uint8_t *rgb)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t *rgba = NULL;
    bool fine = png_image_begin_read_from_memory(&image, bytes, size);
    *h = image.height;
    *w = image.width;
    if (fine && rgb) {
        size_t n = (size_t)image.height * image.width;
        image.format = PNG_FORMAT_RGBA;
        rgba = BL_NEW(scratch, uint8_t, n * 4);
        if (!rgba) png_image_free(&image);
        BL_ALLOC_TRY(ctx, rgba);
        fine = png_image_finish_read(&image, NULL, rgba, 0, NULL);
        for (size_t i = 0; i < n; i++) memcpy(rgb + 3 * i, rgba + 4 * i, 3);
    }
    png_image_free(&image);
    if (fine) return BL_OK;
    return bl_fail(ctx, BL_DATA, path, "replace the file or drop its line", "damaged PNG file: %s",
                   image.message);
}

static bl_status picture_read(bl_ctx *ctx, bl_arena *scratch, const char *path, const bl_map *map,
                              int64_t *h, int64_t *w, uint8_t *rgb)
{
    if (map->size >= 8 && memcmp(map->data, "\x89PNG\r\n\x1a\n", 8) == 0)
        BL_TRY(png_read(ctx, scratch, path, map->data, map->size, h, w, rgb));
    else if (map->size >= 3 && memcmp(map->data, "\xff\xd8\xff", 3) == 0)
        BL_TRY(jpeg_read(ctx, path, map->data, map->size, h, w, rgb));
    else
        return image_fail(ctx, path, "neither a JPEG nor a PNG file");
    if (*h < 1 || *w < 1 || *h > PIXELS_MAX / *w)
        return image_fail(ctx, path, "more than 64 million pixels");
    return BL_OK;
}

/* ------------------------------------------------------------------ one sample */

/* The part of an h x w picture that is a sample: v's resized_*, top, left, out_*. */
static bl_status part_make(const bl_source *s, const char *path, int part, int64_t h, int64_t w, bl_view *v)
{
    const bl_data_options *o = s->options;
    v->height = v->out_h = h;
    v->width = v->out_w = w;
    if (o->resize) {
        BL_TRY(bl_resized_size(s->ctx, path, h, w, o->resize, &v->resized_h, &v->resized_w));
        v->out_h = v->resized_h;
        v->out_w = v->resized_w;
    }
    return bl_view_crop(s, path, part, v);
}

/* Y = 0.299 R + 0.587 G + 0.114 B with 16 fraction bits; in place, forwards. */
static void luma(uint8_t *rgb, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        const uint8_t *p = rgb + 3 * i;
        rgb[i] = (uint8_t)((p[0] * 19595u + p[1] * 38470u + p[2] * 7471u + 0x8000u) >> 16);
    }
}

/* Decodes from the map, resizes, and copies the part to out, planar. */
static bl_status sample_make(const bl_source *s, const char *path, int part, const bl_map *map,
                             bl_arena *scratch, uint8_t *out)
{
    const image_set *set = s->state;
    bl_view v = {.channels = set->channels};
    int64_t h, w;
    BL_TRY(picture_read(s->ctx, scratch, path, map, &h, &w, NULL));
    uint8_t *pixels = BL_NEW(scratch, uint8_t, (size_t)(h * w * 3));
    BL_ALLOC_TRY(s->ctx, pixels);
    BL_TRY(picture_read(s->ctx, scratch, path, map, &h, &w, pixels));
    BL_TRY(part_make(s, path, part, h, w, &v));
    if (s->sample.dim[1] != v.out_h || s->sample.dim[2] != v.out_w)
        return image_fail(s->ctx, path, "the file has changed");
    if (v.channels == 1) luma(pixels, h * w);
    v.c_step = 1;
    v.x_step = v.channels;
    v.y_step = w * v.channels;
    if (v.resized_h) {
        int64_t plane = v.resized_h * v.resized_w;
        uint8_t *resized = BL_NEW(scratch, uint8_t, (size_t)(v.channels * plane));
        BL_ALLOC_TRY(s->ctx, resized);
        BL_TRY(bl_resize_u8(scratch, pixels, &v, v.resized_h, v.resized_w, resized));
        pixels = resized;
        v.c_step = plane;
        v.x_step = 1;
        v.y_step = v.resized_w;
    }
    for (int64_t c = 0; c < v.channels; c++)
        for (int64_t y = 0; y < v.out_h; y++) {
            const uint8_t *from =
                pixels + c * v.c_step + (v.top + y) * v.y_step + v.left * v.x_step;
            for (int64_t x = 0; x < v.out_w; x++) *out++ = from[x * v.x_step];
        }
    return BL_OK;
}

static bl_status image_fetch(const bl_source *s, int64_t i, bl_arena *scratch, uint8_t *out)
{
    const image_set *set = s->state;
    const char *path = set->path[i / set->crops];
    bl_map map;
    BL_TRY(bl_map_file(s->ctx, path, 0, &map));
    bl_status status = sample_make(s, path, (int)(i % set->crops), &map, scratch, out);
    bl_unmap(&map);
    return status;
}

static bl_status decode_piece(void *arg, size_t i, unsigned worker)
{
    bl_source *s = arg;
    (void)worker;
    BL_TRY(bl_check_interrupt(s->ctx));
    bl_arena *scratch = bl_arena_new(s->ctx, "pictures");
    BL_ALLOC_TRY(s->ctx, scratch);
    uint8_t *out = ((image_set *)s->state)->pixels + i * s->sample_bytes;
    bl_status status = image_fetch(s, (int64_t)i, scratch, out);
    bl_arena_free(scratch);
    return status;
}

/* ------------------------------------------------------------------ the set */

/* Size of file i, its bytes to the hash; all samples must be of one size. */
static bl_status image_look(bl_source *s, const char *path, bool first, bl_hasher *h)
{
    bl_map map;
    bl_view v = {0};
    int64_t height, width;
    BL_TRY(bl_map_file(s->ctx, path, 0, &map));
    bl_status status = picture_read(s->ctx, NULL, path, &map, &height, &width, NULL);
    bl_hash_i64(h, (int64_t)map.size);
    bl_hash_bytes(h, map.data, map.size);
    bl_unmap(&map);
    if (status != BL_OK) return status;
    BL_TRY(part_make(s, path, 0, height, width, &v));
    if (first) {
        s->sample.dim[1] = v.out_h;
        s->sample.dim[2] = v.out_w;
    }
    if (s->sample.dim[1] == v.out_h && s->sample.dim[2] == v.out_w) return BL_OK;
    return bl_fail(s->ctx, BL_DATA, path, "give --crop, with --resize before it",
                   "%lldx%lld pixels, the first picture has %lldx%lld", (long long)v.out_h,
                   (long long)v.out_w, (long long)s->sample.dim[1], (long long)s->sample.dim[2]);
}

/* Files become samples: as many of each as there are crops. */
static bl_status count_crops(bl_source *s, image_set *set)
{
    int32_t *labels = NULL;
    set->crops = BL_MAX(s->options->crops, 1);
    if (set->crops == 1) return BL_OK;
    if (!s->options->crop) return bl_fail(s->ctx, BL_USAGE, "--crops", "give --crop", "several crops of one picture, and nothing is cropped");
    int64_t n = s->count * set->crops; /* a file has a line of text: no overflow */
    if (s->labels) {
        labels = BL_NEW(s->arena, int32_t, (size_t)n);
        BL_ALLOC_TRY(s->ctx, labels);
        for (int64_t i = 0; i < n; i++) labels[i] = s->labels[i / set->crops];
    }
    s->labels = labels;
    s->count = n;
    return BL_OK;
}

bl_status bl_load_images(bl_source *s)
{
    const char **file;
    BL_TRY(bl_source_words(s, 2, 2));
    BL_TRY(bl_labels_csv(s, s->word[1], &file, &s->labels, &s->count));
    if (s->count == 0)
        return bl_fail(s->ctx, BL_DATA, s->word[1], "give a data set with at least one",
                       "no samples");
    const bl_tensor *in = s->input;
    image_set *set = BL_NEW(s->arena, image_set, 1);
    BL_ALLOC_TRY(s->ctx, set);
    set->path = file;
    set->channels =
        in->rank == 4 && in->dim[1] != 3 && (in->dim[1] == 1 || in->dim[3] == 1) ? 1 : 3;
    s->state = set;
    s->sample = (bl_tensor){.type = BL_U8, .rank = 3, .dim = {set->channels}};
    s->picture = s->prepared = true;

    bl_hasher *h = bl_hasher_new(s->arena);
    BL_ALLOC_TRY(s->ctx, h);
    for (int64_t i = 0; i < s->count; i++) {
        BL_TRY(bl_check_interrupt(s->ctx));
        set->path[i] = bl_path_join(s->arena, s->word[0], file[i]);
        BL_ALLOC_TRY(s->ctx, set->path[i]);
        BL_TRY(image_look(s, set->path[i], i == 0, h));
    }
    BL_TRY(count_crops(s, set));
    if (set->crops > 1) bl_hash_i64(h, set->crops);
    s->content = bl_hash_end(h);
    s->sample_bytes = (size_t)(s->sample.dim[0] * s->sample.dim[1] * s->sample.dim[2]);
    s->stride_bytes = s->sample_bytes;
    s->fetch = image_fetch;
    size_t all;
    if (!bl_mul_size((size_t)s->count, s->sample_bytes, &all) ||
        all > s->ctx->options.memory_bytes / 4)
        return BL_OK;
    set->pixels = BL_NEW(s->arena, uint8_t, all);
    BL_ALLOC_TRY(s->ctx, set->pixels);
    BL_TRY(bl_parallel_for(s->ctx, (size_t)s->count, decode_piece, s));
    s->data = set->pixels;
    s->fetch = NULL;
    return BL_OK;
}

#endif
