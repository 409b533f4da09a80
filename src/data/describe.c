/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A data set described by a JSON file, `--data SET.json`: the loader, its words and the
 * preprocessing, so that a command line need not repeat them and paths may hold commas:
 *
 *     {"loader":"npy", "words":["x.npy","labels.csv"], "mean":[83], "std":[1.71], "layout":"nhwc",
 *      "channels":"rgb", "resize":256, "crop":224, "window":5}
 *
 * Words that name files beside the description are taken from its folder.  Numbers that the command
 * line gives as well win.  A run's run.json is one too: its member "data" describes what the run was made from.
 */
#include "data/data_private.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "mean":[...] or a single number. */
static bl_status numbers_read(bl_ctx *ctx, const char *path, const char *key, const json_t *v,
                              bool positive, float *out, int *n_out)
{
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    float list[BL_DATA_CHANNELS_MAX];
    if (n < 1 || n > BL_DATA_CHANNELS_MAX)
        return bl_fail(ctx, BL_DATA, path, "", "\"%s\" wants 1 to %d numbers", key,
                       BL_DATA_CHANNELS_MAX);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_is_array(v) ? json_array_get(v, i) : v;
        list[i] = (float)json_number_value(item);
        if (!json_is_number(item) || !isfinite(list[i]) || (positive && !(list[i] > 0)))
            return bl_fail(ctx, BL_DATA, path, "", "\"%s\" holds something else than %snumbers",
                           key, positive ? "positive " : "");
    }
    if (*n_out == 0) {
        memcpy(out, list, n * sizeof *list);
        *n_out = (int)n;
    }
    return BL_OK;
}

/* A word that names a file beside the description gets its folder. */
static const char *word_place(bl_source *s, const char *path, const char *word)
{
    const char *base = bl_path_base(path);
    if (base == path || word[0] == '/') return bl_strdup(s->arena, word);
    char *folder = bl_strndup(s->arena, path, (size_t)(base - path));
    char *joined = folder ? bl_path_join(s->arena, folder, word) : NULL;
    if (!joined) return NULL;
    return bl_file_exists(joined) ? joined : bl_strdup(s->arena, word);
}

static bl_status words_read(bl_source *s, const char *path, const json_t *list)
{
    size_t n = json_array_size(list);
    if (!json_is_array(list) || n < 1 || n > BL_WORDS_MAX)
        return bl_fail(s->ctx, BL_DATA, path, "as in \"words\":[\"x.npy\",\"labels.csv\"]",
                       "\"words\" wants 1 to %d strings", BL_WORDS_MAX);
    for (size_t i = 0; i < n; i++) {
        const char *word = json_string_value(json_array_get(list, i));
        if (!word)
            return bl_fail(s->ctx, BL_DATA, path, "as in \"words\":[\"x.npy\",\"labels.csv\"]",
                           "\"words\" holds something else than strings");
        s->word[i] = word_place(s, path, word);
        BL_ALLOC_TRY(s->ctx, s->word[i]);
    }
    s->n_words = (int)n;
    return BL_OK;
}

/* Options with the meaning that they have on the command line; what is set already stays. */
static bl_status option_read(bl_ctx *ctx, const char *path, const char *key, const json_t *v,
                             bl_data_options *o)
{
    static const char *const known[] = {"resize", "crop", "crops", "window", "channels", "layout"};
    char number[32];
    const char *text = json_string_value(v);
    size_t k = 0;
    while (k < BL_COUNTOF(known) && strcmp(known[k], key) != 0) k++;
    if (k == BL_COUNTOF(known))
        return bl_fail(
            ctx, BL_DATA, path,
            "loader, words, mean, std, resize, crop, crops, channels, layout and window are known",
            "unknown entry \"%.60s\"", key);
    if (json_is_integer(v)) {
        snprintf(number, sizeof number, "%lld", (long long)json_integer_value(v));
        text = number;
    }
    bl_data_options said = {0};
    bl_status status = bl_data_option(ctx, key, text ? text : "", &said);
    if (status != BL_OK)
        return bl_fail(ctx, BL_DATA, path, bl_last_error(ctx).remedy, "\"%s\": %s", key,
                       bl_last_error(ctx).what);
    if (!o->resize) o->resize = said.resize;
    if (!o->crop) {
        o->crop = said.crop;
        o->crop_width = said.crop_width;
    }
    if (!o->crops) o->crops = said.crops;
    if (!o->window) o->window = said.window;
    o->bgr |= said.bgr;
    if (!o->nhwc_stored && !o->nchw_stored) {
        o->nhwc_stored = said.nhwc_stored;
        o->nchw_stored = said.nchw_stored;
    }
    return BL_OK;
}

/* What run.json says beside the description: how many samples, and which they were. */
static bool of_run(const char *key)
{
    return strcmp(key, "limit") == 0 || strcmp(key, "hash") == 0;
}

static bl_status describe(bl_source *s, const char *path, json_t *root, bool run, bl_data_options *o,
                          const char **prefix)
{
    const char *key, *loader = json_string_value(json_object_get(root, "loader"));
    json_t *v;
    if (!loader)
        return bl_fail(s->ctx, BL_DATA, path, "as in \"loader\":\"npy\"", "\"loader\" is missing");
    *prefix = bl_strdup(s->arena, loader);
    BL_ALLOC_TRY(s->ctx, *prefix);
    BL_TRY(words_read(s, path, json_object_get(root, "words")));
    json_object_foreach(root, key, v)
    {
        if (strcmp(key, "loader") == 0 || strcmp(key, "words") == 0 || (run && of_run(key))) continue;
        if (strcmp(key, "mean") == 0)
            BL_TRY(numbers_read(s->ctx, path, key, v, false, o->mean, &o->n_mean));
        else if (strcmp(key, "std") == 0)
            BL_TRY(numbers_read(s->ctx, path, key, v, true, o->std, &o->n_std));
        else
            BL_TRY(option_read(s->ctx, path, key, v, o));
    }
    return BL_OK;
}

bl_status bl_data_describe(bl_source *s, const char *path, bl_data_options *options,
                           const char **prefix)
{
    json_t *root;
    BL_TRY(bl_json_read(s->ctx, path, &root));
    json_t *data = json_object_get(root, "data");
    bool run = json_is_object(data);
    bl_status status = describe(s, path, run ? data : root, run, options, prefix);
    json_decref(root);
    return status;
}

/* ---- the other way round */

/* A word that names a file, found again from any folder; others, as a type or a shape, as they are. */
static json_t *word_json(const char *word, const char *folder)
{
    size_t n = strlen(folder);
    char *full = bl_file_exists(word) && bl_dtype_short(word) == BL_NONE ? realpath(word, NULL) : NULL;
    bool inside = full && strncmp(full, folder, n) == 0 && full[n] == '/';
    json_t *text = json_string(!full ? word : inside ? full + n + 1 : full);
    free(full);
    return text;
}

/* The float32 in as few digits as give it again. */
static json_t *number_json(float x)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)x);
        if (strtof(text, NULL) == x) break;
    }
    return json_real(strtod(text, NULL));
}

static void add_numbers(json_t *o, const char *key, const float *x, int n)
{
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, number_json(x[i]));
    if (n) json_object_set_new(o, key, list);
    else json_decref(list);
}

static void add_whole(json_t *o, const char *key, int64_t x)
{
    if (x) json_object_set_new(o, key, json_integer((json_int_t)x));
}

json_t *bl_source_description(const bl_source *s, const char *folder)
{
    const bl_data_options *from = s->options;
    json_t *o = json_pack("{s:s}", "loader", s->row->prefix), *words = json_array();
    bool text = o && words;
    for (int i = 0; text && i < s->n_words; i++) text = json_array_append_new(words, word_json(s->word[i], folder)) == 0;
    json_object_set_new(o, "words", words);
    if (!text) {
        json_decref(o);
        return NULL;
    }
    add_numbers(o, "mean", from->mean, from->n_mean);
    add_numbers(o, "std", from->std, from->n_std);
    add_whole(o, "resize", from->resize);
    if (from->crop_width && from->crop_width != from->crop)
        json_object_set_new(o, "crop", json_sprintf("%dx%d", from->crop, from->crop_width));
    else add_whole(o, "crop", from->crop);
    add_whole(o, "crops", from->crops);
    add_whole(o, "window", from->window);
    if (from->bgr) json_object_set_new(o, "channels", json_string("bgr"));
    if (from->nhwc_stored || from->nchw_stored) json_object_set_new(o, "layout", json_string(from->nhwc_stored ? "nhwc" : "nchw"));
    return o;
}
