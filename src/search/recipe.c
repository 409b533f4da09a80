/* SPDX-License-Identifier: BSD-3-Clause */
/* Recipe files: which row of which table to use.  The built-in ones are recipes/ of the source. */
#include "search/search.h"

#include <ctype.h>
#include <string.h>

typedef struct builtin { const char *name, *text; } builtin;
static const builtin builtins[] = {
#include "recipes_embedded.h"
};

bool bl_recipe_needs_sens(const bl_recipe *r)
{
    const bl_search_row *row = bl_search_find(r->search);
    return row->needs_sens || (row->needs_oracle && r->sensitivity && r->reward && !strcmp(r->reward, "table"));
}

size_t bl_recipe_count(void)
{
    return BL_COUNTOF(builtins);
}

const char *bl_recipe_name(size_t i)
{
    return builtins[i].name;
}

const char *bl_recipe_text(size_t i)
{
    return builtins[i].text;
}

typedef struct parser {
    bl_ctx *ctx;
    bl_arena *arena;
    const char *place;
    int line;
    bool word;                  /* of the command line, not of a file */
    bl_recipe *r;
} parser;

static bl_status bad(const parser *p, const char *what, const char *value)
{
    char place[256];
    if (p->word) {
        snprintf(place, sizeof place, "--set %.200s", p->place);
        return bl_fail(p->ctx, BL_USAGE, place, "see `bitlathe list recipes`", "%s: \"%s\"", what, value);
    }
    snprintf(place, sizeof place, "%.200s line %d", p->place, p->line);
    return bl_fail(p->ctx, BL_DATA, place, "see `bitlathe list recipes`", "%s: \"%s\"", what, value);
}

static bl_status set_count(const parser *p, const char *value, int64_t *out)
{
    uint64_t n;
    if (!bl_parse_u64(value, &n) || n < 1 || n > 1u << 30) return bad(p, "not a number of samples", value);
    *out = (int64_t)n;
    return BL_OK;
}

static bl_status set_share(const parser *p, const char *value, double most, double *out)
{
    return bl_parse_f64(value, out) && *out >= 0 && *out <= most ? BL_OK : bad(p, "not a number that makes sense", value);
}

static bl_status set_flag(const parser *p, const char *value, bool *out)
{
    *out = !strcmp(value, "yes");
    return *out || !strcmp(value, "no") ? BL_OK : bad(p, "neither yes nor no", value);
}

static bl_status set_widths(const parser *p, const char *value, int *bits, int *n, int *n_pairs)
{
    char *text = bl_strdup(p->arena, value), *save = NULL;
    BL_ALLOC_TRY(p->ctx, text);
    *n = *n_pairs = 0; /* what stands last holds */
    for (char *t = strtok_r(text, " ,", &save); t; t = strtok_r(NULL, " ,", &save)) {
        uint64_t b;
        if (!bl_parse_u64(t, &b) || b < 1 || b > 16 || *n == 16) return bad(p, "not a list of widths", value);
        bits[(*n)++] = (int)b;
    }
    return *n ? BL_OK : bad(p, "not a list of widths", value);
}

static bl_status set_groups(const parser *p, const char *value, bool *out)
{
    *out = !strcmp(value, "amp");
    return *out || !strcmp(value, "grids") ? BL_OK : bad(p, "neither amp nor grids", value);
}

static bl_status set_eps(const parser *p, const char *value, double *out)
{
    return bl_parse_f64(value, out) && *out >= 0 ? BL_OK : bad(p, "not a number of at least 0", value);
}

/* What a training is told: it knows its own words. */
static bl_status set_setting(const parser *p, const char *key, const char *value)
{
    bl_recipe *r = p->r;
    if (r->n_settings == (int)BL_COUNTOF(r->setting)) return bad(p, "more than 64 settings", key);
    BL_ALLOC_TRY(p->ctx, r->setting[r->n_settings][0] = bl_strdup(p->arena, key));
    BL_ALLOC_TRY(p->ctx, r->setting[r->n_settings][1] = bl_strdup(p->arena, value));
    r->n_settings++;
    return BL_OK;
}

static bl_status set_key(const parser *p, const char *key, const char *value)
{
    bl_recipe *r = p->r;
    if (r->train && strcmp(key, "about") != 0) return set_setting(p, key, value);
    struct { const char *key; const char **to; } texts[] = {
        { "about", &r->about }, { "train", &r->train }, { "sensitivity", &r->sensitivity }, { "target", &r->target },
        { "search", &r->search }, { "walk", &r->walk }, { "tune", &r->tune }, { "act_range", &r->grids.act_range },
        { "weight_range", &r->grids.weight_range }, { "reward", &r->reward }, { "agent", &r->agent },
        { "loop_tune", &r->loop_tune }, { "rounding", &r->rounding } };
    for (size_t i = 0; i < BL_COUNTOF(texts); i++)
        if (!strcmp(texts[i].key, key)) {
            *texts[i].to = bl_strdup(p->arena, value);
            return *texts[i].to ? BL_OK : bl_pending(p->ctx);
        }
    if (!strcmp(key, "calibrate")) return set_count(p, value, &r->calibrate);
    if (!strcmp(key, "sense")) return set_count(p, value, &r->sense);
    if (!strcmp(key, "weight_bits") || !strcmp(key, "act_bits") || !strcmp(key, "candidates")) r->candidates_priced = NULL;
    if (!strcmp(key, "weight_bits")) return set_widths(p, value, r->menu.w_bits, &r->menu.n_w, &r->menu.n_pairs);
    if (!strcmp(key, "act_bits")) return set_widths(p, value, r->menu.a_bits, &r->menu.n_a, &r->menu.n_pairs);
    if (!strcmp(key, "candidates")) return bl_menu_pairs(value, &r->menu) ? BL_OK : bad(p, "not a list such as W4A8 W8A8", value);
    if (!strcmp(key, "candidates_priced")) {
        bl_menu_options pairs = r->menu;
        r->candidates_priced = bl_strdup(p->arena, value);
        if (!r->candidates_priced) return bl_pending(p->ctx);
        return bl_menu_pairs(value, &pairs) ? BL_OK : bad(p, "not a list such as W4A4 W8A8", value);
    }
    if (!strcmp(key, "groups")) return set_groups(p, value, &r->menu.equal_grids);
    if (!strcmp(key, "rescue")) return set_share(p, value, 200, &r->rescue);
    if (!strcmp(key, "sqnr_eps")) return set_eps(p, value, &r->sqnr_eps);
    if (!strcmp(key, "spend")) return set_flag(p, value, &r->spend);
    if (!strcmp(key, "keep_ends")) {
        r->small_ends = !strcmp(value, "small");
        r->menu.keep_ends = r->small_ends || !strcmp(value, "yes");
        return r->menu.keep_ends || !strcmp(value, "no") ? BL_OK : bad(p, "neither yes, no nor small", value);
    }
    if (!strcmp(key, "equal_grids")) return set_flag(p, value, &r->menu.equal_grids);
    if (!strcmp(key, "equal_concat")) return set_flag(p, value, &r->menu.equal_concat);
    if (!strcmp(key, "anchored")) return set_flag(p, value, &r->menu.anchored);
    if (!strcmp(key, "per_tensor")) return set_flag(p, value, &r->grids.per_tensor);
    if (!strcmp(key, "narrow")) return set_flag(p, value, &r->grids.narrow);
    if (!strcmp(key, "codebook")) {
        BL_TRY(set_flag(p, value, &r->grids.codebook));
        r->menu.codebook = r->grids.codebook;
        return BL_OK;
    }
    if (!strcmp(key, "weight_group")) {
        uint64_t n;
        if (!bl_parse_u64(value, &n) || n == 1 || n > BL_WEIGHT_GROUP_MOST) return bad(p, "not a number of inputs", value);
        r->menu.weight_group = r->grids.weight_group = (int)n;
        return BL_OK;
    }
    if (!strcmp(key, "power_of_two")) return set_flag(p, value, &r->grids.power_of_two);
    if (!strcmp(key, "data")) {
        r->beside = !strcmp(value, "both");
        r->distilled = r->beside || !strcmp(value, "distilled");
        return r->distilled || !strcmp(value, "given") ? BL_OK : bad(p, "neither given, distilled nor both", value);
    }
    if (!strcmp(key, "distil_samples")) return set_count(p, value, &r->distil_samples);
    if (!strcmp(key, "distil_steps")) return set_count(p, value, &r->distil_steps);
    if (!strcmp(key, "alpha")) return set_share(p, value, 1e9, &r->alpha);
    if (!strcmp(key, "beta")) return set_share(p, value, 1e9, &r->beta);
    if (!strcmp(key, "mask_share")) return set_share(p, value, 1, &r->mask_share);
    if (!strcmp(key, "masks")) {
        int64_t n = 0;
        BL_TRY(set_count(p, value, &n));
        if (n > 1000) return bad(p, "more than 1000 masks", value);
        r->masks = (int)n;
        return BL_OK;
    }
    if (!strcmp(key, "mask_mode")) {
        r->mask_by_width = !strcmp(value, "ratio");
        return r->mask_by_width || !strcmp(value, "energy") ? BL_OK : bad(p, "neither energy nor ratio", value);
    }
    if (!strcmp(key, "episodes")) return set_count(p, value, &r->episodes);
    if (!strcmp(key, "polish")) return set_count(p, value, &r->polish);
    if (!strcmp(key, "weights_only")) return set_flag(p, value, &r->weights_only);
    return bad(p, "unknown key", key);
}

static char *trim(char *s)
{
    while (isspace((unsigned char)*s)) s++;
    for (size_t n = strlen(s); n && isspace((unsigned char)s[n - 1]);) s[--n] = 0;
    return s;
}

/* Rows that are there, and what a search needs. */
static bl_status check_recipe(const parser *p)
{
    if (p->r->train) return BL_OK; /* the training reads it */
    if (!p->r->search || !bl_search_find(p->r->search)) return bad(p, "unknown search", p->r->search ? p->r->search : "");
    if (p->r->walk) BL_TRY(bl_curve_check(p->ctx, p->r->walk));
    if (p->r->sensitivity && !bl_sensitivity_find(p->r->sensitivity)) return bad(p, "unknown sensitivity", p->r->sensitivity);
    if (p->r->rounding && !strcmp(p->r->rounding, "nearest")) p->r->rounding = NULL;
    if (p->r->rounding && strcmp(p->r->rounding, "adaround")) return bad(p, "neither nearest nor adaround", p->r->rounding);
    if (p->r->tune && !strcmp(p->r->tune, "none")) p->r->tune = NULL;
    if (p->r->tune && !bl_tuner_find(p->r->tune)) return bad(p, "unknown tuner", p->r->tune);
    if (p->r->tune) BL_TRY(bl_tuner_check(p->ctx, p->r->tune));
    if (bl_search_find(p->r->search)->needs_sens && !p->r->sensitivity) return bad(p, "this search needs a sensitivity", p->r->search);
    return BL_OK;
}

static bl_status parse_recipe(parser *p, const char *text, size_t n)
{
    char *copy = bl_strndup(p->arena, text, n);
    BL_ALLOC_TRY(p->ctx, copy);
    if (strlen(copy) != n || !bl_utf8_valid(copy, n)) return bad(p, "not a text file", "");
    for (char *line = copy, *next; line; line = next) { /* not strtok: empty lines count */
        next = strchr(line, '\n');
        if (next) *next++ = 0;
        p->line++;
        char *hash = strchr(line, '#');
        if (hash) *hash = 0;
        char *key = trim(line), *eq = strchr(key, '=');
        if (!*key) continue;
        if (!eq) return bad(p, "no `key = value`", key);
        *eq = 0;
        BL_TRY(set_key(p, trim(key), trim(eq + 1)));
    }
    return check_recipe(p);
}

bl_status bl_recipe_set(bl_ctx *ctx, bl_arena *arena, bl_recipe *recipe, const char *line)
{
    parser p = { .ctx = ctx, .arena = arena, .place = line, .word = true, .r = recipe };
    if (!line[strspn(line, " \t\n")]) return bad(&p, "no `key = value`", line);
    return parse_recipe(&p, line, strlen(line));
}

bl_status bl_recipe_load(bl_ctx *ctx, bl_arena *arena, const char *name, bl_recipe *out)
{
    bl_recipe r = { .calibrate = 256, .sense = 128, .target = "here", .menu = bl_menu_options_default() };
    parser p = { .ctx = ctx, .arena = arena, .place = name, .r = &r };
    r.name = bl_strdup(arena, bl_path_base(name));
    BL_ALLOC_TRY(ctx, r.name);
    for (size_t i = 0; i < BL_COUNTOF(builtins); i++)
        if (!strcmp(builtins[i].name, name)) {
            BL_TRY(parse_recipe(&p, builtins[i].text, strlen(builtins[i].text)));
            *out = r;
            return BL_OK;
        }
    if (!strchr(name, '/') && !(strlen(name) > 7 && !strcmp(name + strlen(name) - 7, ".recipe")))
        return bl_fail(ctx, BL_USAGE, name, "see `bitlathe list recipes`, or give a file", "unknown recipe");
    bl_map map;
    BL_TRY(bl_map_file(ctx, name, 1 << 16, &map));
    bl_status s = parse_recipe(&p, map.size ? (const char *)map.data : "", map.size);
    bl_unmap(&map);
    if (s == BL_OK) *out = r;
    return s;
}
