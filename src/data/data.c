/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Opening a data set: the words, the loader, the view of its samples, labels and hash; and reading
 * inputs from it.  What a file means is the loaders' business (load_*.c), what is done to a sample
 * preprocess.c's.
 */
#include "data/data_private.h"

#include <stdio.h>
#include <string.h>

#define INTEGER_MOST 16777216.0f

struct bl_data {
    bl_ctx *ctx;
    bl_arena *arena;
    bl_data_options options;
    bl_tensor input;
    bl_source source;
    bl_view view;
    int64_t size; /* floats of one input */
    int label_max;
    const char *name;
    bl_hash hash;
};

const bl_loader_row bl_loader_rows[] = {
#define X(prefix, symbol, words, help) {#prefix, words, help},
#include "data/loaders.def"
#undef X
};
const size_t bl_n_loader_rows = BL_COUNTOF(bl_loader_rows);

static bl_load_fn *const loaders[] = {
#define X(prefix, symbol, words, help) bl_load_##symbol,
#include "data/loaders.def"
#undef X
};

/* NAME.prefix, as the files of some loaders are called. */
static bool ends_as(const char *spec, const char *prefix)
{
    size_t n = strcspn(spec, ","), m = strlen(prefix);
    return n > m + 1 && spec[n - m - 1] == '.' && strncmp(spec + n - m, prefix, m) == 0;
}

/* Cuts "PREFIX:WORD,WORD" into s->word and *prefix, copies in the arena. */
static bl_status spec_split(bl_source *s, const char *spec, const char **prefix)
{
    char *text = bl_strdup(s->arena, spec);
    BL_ALLOC_TRY(s->ctx, text);
    char *colon = strchr(text, ':');
    if (!colon) {
        char remedy[300] = "write LOADER:WORDS, such as cifar:test.bin";
        for (size_t i = 0; i < bl_n_loader_rows; i++)
            if (ends_as(spec, bl_loader_rows[i].prefix)) snprintf(remedy, sizeof remedy, "write %s:%.200s", bl_loader_rows[i].prefix, spec);
        return bl_fail(s->ctx, BL_USAGE, "--data", remedy, "\"%.200s\" names no loader", spec);
    }
    *colon = '\0';
    *prefix = text;
    char *word = colon + 1;
    for (;;) {
        if (s->n_words == BL_WORDS_MAX)
            return bl_fail(s->ctx, BL_USAGE, "--data",
                           "a path with a comma cannot be given: link it to another name or write "
                           "a JSON description",
                           "more than %d words", BL_WORDS_MAX);
        s->word[s->n_words++] = word;
        word = strchr(word, ',');
        if (!word) return BL_OK;
        *word++ = '\0';
    }
}

static bl_status loader_find(bl_source *s, const char *prefix, bl_load_fn **load)
{
    char known[256] = "";
    size_t used = 0;
    for (size_t i = 0; i < bl_n_loader_rows; i++) {
        if (strcmp(bl_loader_rows[i].prefix, prefix) == 0) {
            s->row = &bl_loader_rows[i];
            *load = loaders[i];
            return BL_OK;
        }
        used += (size_t)snprintf(known + used, sizeof known - used, i ? ", %s" : "%s",
                                 bl_loader_rows[i].prefix);
        used = BL_MIN(used, sizeof known - 1);
    }
    char remedy[300];
    snprintf(remedy, sizeof remedy, "the loaders are %s", known);
    return bl_fail(s->ctx, BL_USAGE, "--data", remedy, "no loader is called \"%.60s\"", prefix);
}

/* The hash of what read gives: shapes and preprocessing as they take effect, then the bytes. */
static bl_status data_hash(bl_data *d)
{
    const bl_source *s = &d->source;
    const bl_view *v = &d->view;
    bl_hasher *h = bl_hasher_new(d->arena);
    BL_ALLOC_TRY(d->ctx, h);
    bl_hash_text(h, s->row->prefix);
    const int64_t numbers[] = {
        s->count,        s->sample.type, v->channels,    v->height,      v->width,
        v->c_step,       v->y_step,      v->x_step,      v->resized_h,   v->resized_w,
        v->top,          v->left,        v->out_h,       v->out_w,       v->reversed,
        v->out_nhwc,     v->windows,     v->window_step, v->per_channel, d->options.resize,
        d->options.crop,
    };
    for (size_t i = 0; i < BL_COUNTOF(numbers); i++) bl_hash_i64(h, numbers[i]);
    int64_t n = v->per_channel ? v->channels : 1;
    for (int64_t c = 0; c < n; c++) {
        bl_hash_f64(h, v->mean[c]);
        bl_hash_f64(h, v->std[c]);
    }
    if (s->prepared)
        bl_hash_text(h, s->content.hex);
    else
        for (int64_t i = 0; i < s->count; i++)
            bl_hash_bytes(h, s->data + (size_t)i * s->stride_bytes, s->sample_bytes);
    bl_hash_i64(h, s->labels != NULL);
    if (s->labels) bl_hash_bytes(h, s->labels, (size_t)s->count * sizeof *s->labels);
    d->hash = bl_hash_end(h);
    return BL_OK;
}

/* Samples pass as float32, which holds whole numbers up to INTEGER_MOST. */
static bool input_type_ok(bl_dtype type)
{
    switch (type) {
    case BL_F32: case BL_BOOL: case BL_U8: case BL_I8: case BL_U16: case BL_I16: case BL_U32: case BL_I32: case BL_U64: case BL_I64:
        return true;
    default: return false;
    }
}

static bl_status input_check(bl_data *d, const bl_tensor *input)
{
    size_t bytes;
    if (!input_type_ok(input->type))
        return bl_fail(d->ctx, BL_UNAVAILABLE, "--data", "use a network with an input of float32 or integers",
                       "the network's input is %s", bl_dtype_name(input->type));
    BL_CHECK(d->ctx, input->rank >= 0 && input->rank <= BL_MAX_RANK);
    d->input = *input;
    d->input.data = NULL;
    return bl_data_extent(d->ctx, "the network's input", &d->input, &d->size, &bytes);
}

/* NAME.json; with a colon only where there is such a file. */
static bool names_description(const char *spec)
{
    size_t n = strlen(spec);
    return n > 5 && strcmp(spec + n - 5, ".json") == 0 && (!strchr(spec, ':') || bl_file_exists(spec));
}

static bl_status data_fill(bl_data *d, const bl_data_options *options, const bl_tensor *input)
{
    bl_source *s = &d->source;
    const char *prefix;
    bl_load_fn *load;
    BL_TRY(input_check(d, input));
    d->options = *options;
    s->ctx = d->ctx;
    s->arena = d->arena;
    s->options = &d->options;
    s->input = &d->input;
    s->input_count = d->size;
    if (!options->spec || options->spec[0] == '\0')
        return bl_fail(d->ctx, BL_USAGE, "--data", "give --data LOADER:WORDS", "no data set given");
    if (names_description(options->spec))
        BL_TRY(bl_data_describe(s, options->spec, &d->options, &prefix));
    else
        BL_TRY(spec_split(s, options->spec, &prefix));
    BL_TRY(loader_find(s, prefix, &load));
    if (d->options.crops > 1 && strcmp(prefix, "images") != 0)
        return bl_fail(d->ctx, BL_USAGE, "--crops", "leave it out, or store the crops as samples", "%s: gives one sample an entry", prefix);
    BL_TRY(load(s));
    BL_CHECK(d->ctx, s->count > 0 && s->sample_bytes > 0 && (s->data || s->fetch));
    BL_TRY(bl_view_make(s, &d->view));
    d->label_max = -1;
    for (int64_t i = 0; s->labels && i < s->count; i++)
        d->label_max = BL_MAX(d->label_max, s->labels[i]);
    d->name = bl_format(d->arena, "%s:%s", prefix, bl_path_base(s->word[0]));
    BL_ALLOC_TRY(d->ctx, d->name);
    d->options.spec = bl_strdup(d->arena, options->spec);
    BL_ALLOC_TRY(d->ctx, d->options.spec);
    return data_hash(d);
}

bl_status bl_data_open(bl_ctx *ctx, const bl_data_options *options, const bl_tensor *input,
                       bl_data **out)
{
    bl_arena *arena = bl_arena_new(ctx, "data");
    BL_ALLOC_TRY(ctx, arena);
    bl_data *d = BL_NEW(arena, bl_data, 1);
    if (!d) {
        bl_arena_free(arena);
        return bl_pending(ctx);
    }
    d->ctx = ctx;
    d->arena = arena;
    bl_status status = data_fill(d, options, input);
    if (status == BL_OK)
        *out = d;
    else
        bl_data_free(d);
    return status;
}

void bl_data_free(bl_data *d)
{
    if (!d) return;
    for (int i = 0; i < d->source.n_maps; i++) bl_unmap(&d->source.map[i]);
    bl_arena_free(d->arena);
}

int64_t bl_data_samples(const bl_data *d)
{
    return d->source.count * d->view.windows;
}
int64_t bl_data_files(const bl_data *d)
{
    return d->source.count;
}
int64_t bl_data_windows(const bl_data *d)
{
    return d->view.windows;
}
int64_t bl_data_sample_size(const bl_data *d)
{
    return d->size;
}
bool bl_data_labelled(const bl_data *d)
{
    return d->source.labels != NULL;
}
int bl_data_label_max(const bl_data *d)
{
    return d->label_max;
}
const char *bl_data_name(const bl_data *d)
{
    return d->name;
}
bl_hash bl_data_hash(const bl_data *d)
{
    return d->hash;
}
json_t *bl_data_description(const bl_data *d, const char *folder)
{
    return bl_source_description(&d->source, folder);
}

int bl_data_label(const bl_data *d, int64_t file)
{
    return d->source.labels && file >= 0 && file < d->source.count ? d->source.labels[file] : -1;
}

bl_status bl_data_read(const bl_data *d, int64_t first, int64_t n, float *out)
{
    const bl_source *s = &d->source;
    BL_CHECK(d->ctx, first >= 0 && n >= 0 && first <= bl_data_samples(d) - n);
    bl_arena *scratch = NULL;
    uint8_t *fetched = NULL;
    bl_status status = BL_OK;
    if (s->fetch || d->view.resized_h) {
        scratch = bl_arena_new(d->ctx, "samples");
        BL_ALLOC_TRY(d->ctx, scratch);
        if (s->fetch && !(fetched = BL_NEW(scratch, uint8_t, s->sample_bytes)))
            status = bl_pending(d->ctx);
    }
    for (int64_t i = first; status == BL_OK && i < first + n; i++, out += d->size) {
        int64_t file = i / d->view.windows;
        const uint8_t *stored = fetched;
        bl_mark mark = {0};
        if (scratch) mark = bl_arena_mark(scratch);
        if (s->fetch)
            status = s->fetch(s, file, scratch, fetched);
        else
            stored = s->data + (size_t)file * s->stride_bytes;
        if (status == BL_OK)
            status = bl_view_read(s, &d->view, stored, i % d->view.windows, scratch, out);
        if (scratch) bl_arena_reset(scratch, mark);
    }
    bl_arena_free(scratch);
    return status;
}

/* As an input of integers takes them; what it cannot hold is refused, not rounded. */
static bl_status put_integers(const bl_data *d, const float *from, const bl_tensor *to, int64_t at)
{
    for (int64_t i = 0; i < d->size; i++) {
        bool whole = from[i] == rintf(from[i]) && fabsf(from[i]) <= INTEGER_MOST;
        if (whole) bl_element_set(to, at + i, from[i]);
        if (whole && bl_element_f64(to, at + i) == from[i]) continue;
        return bl_fail(d->ctx, BL_DATA, d->name, "give whole numbers without --mean and --std",
                       "%.9g is no number that the network's input of %s takes", from[i], bl_dtype_name(to->type));
    }
    return BL_OK;
}

bl_status bl_data_feed(const bl_data *d, int64_t sample, const bl_tensor *to, int64_t at)
{
    if (to->type == BL_F32) return bl_data_read(d, sample, 1, (float *)to->data + at);
    bl_arena *a = bl_arena_new(d->ctx, "sample");
    float *real = a ? bl_alloc(a, (size_t)d->size, sizeof *real) : NULL;
    bl_status s = real ? bl_data_read(d, sample, 1, real) : bl_pending(d->ctx);
    if (s == BL_OK) s = put_integers(d, real, to, at);
    bl_arena_free(a);
    return s;
}

bl_status bl_data_pick(const bl_data *d, int64_t limit, bl_arena *arena, int64_t **indices,
                       int64_t *n)
{
    int64_t files = d->source.count, windows = d->view.windows;
    int64_t picked = limit > 0 && limit < files ? limit : files;
    int64_t *list =
        BL_NEW(arena, int64_t, (size_t)(picked * windows)); /* <= samples: no overflow */
    BL_ALLOC_TRY(d->ctx, list);
    for (int64_t i = 0; i < picked; i++) {
        int64_t file = (int64_t)((unsigned __int128)i * (uint64_t)files / (uint64_t)picked);
        for (int64_t w = 0; w < windows; w++) list[i * windows + w] = file * windows + w;
    }
    *indices = list;
    *n = picked * windows;
    return BL_OK;
}

int64_t bl_data_first(const bl_data *d, int64_t limit)
{
    return (limit > 0 && limit < d->source.count ? limit : d->source.count) * d->view.windows;
}
