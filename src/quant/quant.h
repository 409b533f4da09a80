/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The quant room's one door: what flows (STATS, observers), what decides together (units, the menu),
 * what was decided (PLAN, WEIGHTS), and fake quantization of the float walk by a plan.
 */
#ifndef BL_QUANT_H
#define BL_QUANT_H

#include "data/data.h"
#include "graph/graph.h"

/* ------------------------------------------------------------------ samples through the walk */

typedef struct bl_fake bl_fake;
typedef struct bl_grid_book bl_grid_book;

/* Called after the walk of one chunk: samples first..first+count-1 of the index lie in the walker's
 * first count rows; chunk < n. */
typedef bl_status bl_shard_fn(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count,
                              unsigned worker);
/* Of a chunk's `batch` samples the first `count` are samples first..first+count-1 of the index; what follows them repeats the last. */
typedef struct bl_look {
    size_t chunk;
    int64_t first, count, batch;
    unsigned worker;
} bl_look;
/* Sees a value as soon as a chunk's walk, and the fake, have made it; the tensor is lent for the call. */
typedef bl_status bl_shard_look(void *user, const bl_look *at, int value, const bl_tensor *t);

typedef struct bl_shards {
    const bl_graph *graph;
    bl_data *data;
    /* Instead of data: writes sample number `sample`. */
    bl_status (*fill)(void *user, int64_t sample, float *to, size_t n);
    void *fill_user;
    const int64_t *index;       /* sample numbers; NULL: 0..n-1 */
    int64_t n, batch;           /* batch 0: up to 16, by the size of the values; the graph's own where it
                                   cannot be changed */
    bool keep_all, reference;
    const uint8_t *looks;       /* by value: those that `look` sees; without it as in bl_walk_options */
    bl_shard_look *look;        /* instead of fn, which is NULL then: no value has to be kept for it */
    bool run;                   /* the walk is run (else fn runs it itself) */
    bl_fake *fake;              /* runs under this plan */
    const char *stage;          /* progress; NULL: none */
} bl_shards;
bl_status bl_shards_run(bl_ctx *ctx, const bl_shards *s, bl_shard_fn *fn, void *user);

/* ------------------------------------------------------------------ units and the menu */

typedef struct bl_candidate { int w_bits, a_bits; } bl_candidate; /* w_bits 0: unit without weights */

/* A value's grid with the weights of all layers that read it.  Values joined by data-moving operators
 * share the grid. */
typedef struct bl_unit {
    const char *name;           /* of its first value */
    int n_values, n_layers;
    const int *values;          /* value numbers, in graph order */
    const int *layers;          /* nodes whose input 0 is one of the values and whose weight is constant */
    bool end;                   /* network input, first or last layer, or output: kept at 8 bits */
    double anchor;              /* what must be exactly a code; 0: nothing but 0 itself */
    bool fixed_grid;            /* Softmax output: its grid is given by [Q12], not by statistics */
    int n_candidates;
    const bl_candidate *candidates; /* widest first; [0] is the baseline */
    const char *range[17];      /* by width: the row of observers.def that was chosen for it; NULL: as the options say */
    const char *why[17];        /* and on which figures */
    double stretch;             /* the range is taken so many times wider than the samples show; 0: as they show it */
} bl_unit;

struct bl_menu {
    bl_arena *arena;
    bl_hash hash;
    bool codebook;              /* weights of 1 to 7 bits are codebooks: their tables have a price */
    int weight_group;           /* weights of 1 to 6 bits have a multiple for so many inputs, a byte each; 0: none */
    int n_units;
    bl_unit *units;
    int *unit_of_value;         /* -1: not on a grid (constants, integers) */
    int *unit_of_layer;         /* by node number, -1: not a layer with constant weight */
};


int bl_menu_find(const bl_menu *menu, const char *unit); /* -1: none */
/* "W4A8 W8A8,W8A16": pairs instead of every width with every other, and the widths in them; false: no such list. */
bool bl_menu_pairs(const char *text, bl_menu_options *options);
bool bl_menu_offers(const bl_menu_options *options, int w_bits, int a_bits);
/* "W4A8" or "A8"; buf at least 16 bytes. */
char *bl_candidate_name(bl_candidate c, char *buf);

/* ------------------------------------------------------------------ STATS */

#define BL_HIST_BINS 2048

typedef struct bl_value_stats {
    double lo, hi;              /* least and greatest value seen */
    double mean, mean_square;
    uint64_t count;
    uint64_t *bins;             /* BL_HIST_BINS over [lo, hi] */
} bl_value_stats;

struct bl_stats {
    bl_arena *arena;
    bl_hash hash, graph, data;
    int n_values;
    bl_value_stats *value;      /* by value number; count 0 where none */
    int64_t samples;
};



/* ------------------------------------------------------------------ observers (observers.def) */

typedef struct bl_observer {
    const char *name, *help;
    bool measured;              /* stands for another row by unit and width, which bl_ranges_choose finds */
    /* measured: what its own range is where nobody measured; a row that needs a reason to be left */
    void (*fallback)(const bl_value_stats *s, int bits, double *lo, double *hi);
    /* Range of an activation for a width; lo <= 0 <= hi. */
    void (*range)(const bl_value_stats *s, int bits, double *lo, double *hi);
    /* Clipping level c of one slice of a weight (n elements, step elements apart). */
    double (*clip)(const float *w, size_t n, size_t step, int bits, bool narrow);
} bl_observer;
extern const bl_observer *const bl_observers[];
extern const size_t bl_n_observers;
const bl_observer *bl_observer_find(const char *name);

/* ------------------------------------------------------------------ PLAN */

typedef enum bl_qkind { BL_Q_AFFINE, BL_Q_FIXED, BL_Q_CODEBOOK, BL_Q_GROUPED } bl_qkind;

typedef struct bl_quantizer {
    bl_qkind kind;
    int value;                  /* value number: an activation or a constant weight */
    bool weight;
    int bits;
    const char *range, *rounding; /* how the grid was found: "mse", "nearest" ... */
    const char *why;            /* figures that chose this range; NULL: it was asked for */
    /* affine: scale[n_scale] along axis (-1: one), zero; narrow: symmetric restricted grid */
    int axis, n_scale;
    float *scale;
    int32_t zero;
    bool narrow;
    /* fixed (HGQ): sign, integer and fraction bits, one or an element (arrays live in WEIGHTS) */
    int n_fixed;
    int32_t *k, *i, *f;
    const char *round, *overflow;
    /* codebook: 2^bits codes in order; a weight is one of them times its channel's scale (axis, n_scale, scale) */
    int n_table;
    int8_t *table;
    /* grouped (grouped.c): inputs in a group, 0: none; multiple[n_multiple], channel by channel */
    int group, n_multiple;
    uint8_t *multiple;
} bl_quantizer;

typedef struct bl_figure { const char *name; double value; } bl_figure;

struct bl_plan {
    bl_arena *arena;
    bl_hash hash, graph, stats, sens, cost, weights; /* hex[0] == 0 where not made from one */
    const char *recipe;
    uint64_t seed;
    bool feasible;
    bool edited;                /* read from a file whose hash does not fit: changed by hand */
    int n_units, n_quantizers, n_figures;
    const char **unit_name;
    bl_candidate *choice;       /* by unit of the menu it was made with */
    bl_quantizer *quantizers;   /* activations by value, then weights */
    int *of_value;              /* quantizer of each value number, -1: none */
    bl_figure *figures;         /* predicted totals: size_bytes, bops, latency_ns, nsr ... */
    json_t *solver;             /* bound, gap, proof, budgets, refused; may be NULL */
};


/* Grids for the chosen candidate of each unit (choice[n_units], index into its candidates). */
bl_status bl_plan_make(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_stats *stats,
                       const int *choice, const bl_grid_options *options, const char *recipe,
                       bl_plan **out);
/* The same plan, with grids out of a book (of the same graph, menu, statistics and options). */
bl_status bl_plan_make_by(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_stats *stats, const int *choice,
                          const bl_grid_options *options, const char *recipe, bl_grid_book *book, bl_plan **out);
/* An empty plan of the graph with room for so many quantizers and units; NULL: see the error. */
bl_plan *bl_plan_alloc(bl_ctx *ctx, const bl_graph *graph, size_t n_quantizers, size_t n_units);
/* Hash of the grids alone: what decides the integers, whatever the plan says about itself. */
bl_status bl_plan_content(bl_ctx *ctx, const bl_plan *plan, bl_hash *out);
/* Sets one predicted total. */
bl_status bl_plan_figure(bl_plan *plan, const char *name, double value);

/* Grid of one activation value at a width; weights: scales of one constant. */
bl_status bl_act_grid(bl_ctx *ctx, const bl_graph *graph, const bl_unit *unit, const bl_stats *stats,
                      int bits, const bl_observer *observer, bool power_of_two, bl_grid *out);
typedef struct bl_weight_grid {
    int bits, axis, n_scale;
    bool narrow;
    float *scale;               /* in the caller's arena */
    int n_table;                /* 0: the grid of `bits`; else a codebook of 2^bits codes */
    int8_t *table;
    int group, n_multiple;      /* 0: none; else inputs that share one of the multiples */
    uint8_t *multiple;
} bl_weight_grid;
/* Grids of n (layer, bits) pairs at once, side by side; scales live in the arena. */
bl_status bl_weight_grids(bl_arena *arena, const bl_graph *graph, const int *layers, const int *bits, size_t n,
                          const bl_grid_options *options, bl_weight_grid *out);
/* Grids found before, for whoever makes many plans of one network; graph, menu, stats and options are borrowed. */
bl_status bl_grid_book_new(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const bl_stats *stats,
                           const bl_grid_options *options, bl_grid_book **out);
void bl_grid_book_free(bl_grid_book *book);
bl_status bl_grid_book_act(bl_ctx *ctx, bl_grid_book *book, int unit, int bits, bl_grid *out);
bl_status bl_grid_book_weights(bl_ctx *ctx, bl_grid_book *book, bl_arena *arena, const int *layers, const int *bits, size_t n,
                               bl_weight_grid *out);
/* Axis of the output channels of a layer's weight. */
int bl_weight_axis(const bl_graph *graph, int layer);
int bl_layer_weight(const bl_graph *graph, int layer); /* value number of the constant weight, -1 */
int bl_layer_bias(const bl_graph *graph, int layer);   /* value number of the constant bias, -1 */

void bl_weight_code_range(int bits, bool narrow, int32_t *lo, int32_t *hi);
/* Codes of a constant on an affine grid: nearest, ties to even; 1 bit: +1 where w >= 0, else -1. */
void bl_weight_codes(const bl_tensor *w, const float *scale, int n_scale, int axis, int bits, bool narrow,
                     int8_t *codes);
void bl_weight_decode(const bl_tensor *w, const int8_t *codes, const float *scale, int n_scale, int axis,
                      float *out);
/* The same of any grid of weights. */
bl_weight_grid bl_quantizer_grid(const bl_quantizer *q);
void bl_grid_codes(const bl_tensor *w, const bl_weight_grid *grid, int8_t *codes);
bool bl_quantizer_has_codes(const bl_quantizer *q); /* int8 codes times scales: affine, and of weights codebooks and groups */
/* Width of the codes that the kernels see: a codebook's and those in groups are 8 bits wide. */
int bl_quantizer_code_bits(const bl_quantizer *q);
bl_grid bl_affine_grid(const bl_quantizer *q); /* of an activation */

/* ------------------------------------------------------------------ codebooks */

/* k-means of one layer: fills scales and table of a grid; room for both is there. */
bl_status bl_codebook_make(bl_ctx *ctx, const bl_tensor *w, bl_weight_grid *grid);
int bl_codebook_index(const int8_t *table, int n, float v); /* of the nearest code; the table is in order */
bool bl_codebook_width(int bits);               /* 1..7; 8 bits are codes as they are */
size_t bl_codebook_bytes(size_t n, int bits);   /* of n indices and their table */
/* As the menu prices it: codes, and tables or multiples where it has some. */
size_t bl_layer_weight_bytes(const bl_graph *graph, const bl_menu *menu, int layer, int bits);

/* ------------------------------------------------------------------ weights in groups (grouped.c) */

#define BL_WEIGHT_GROUP_MOST (1 << 20)
bool bl_group_width(int bits);                  /* 1..6; wider codes leave no room for a multiple */
int64_t bl_group_count(int64_t inputs, int64_t group);
int bl_group_multiple_most(int bits, bool narrow);
/* Of n codes of `bits` and their multiples (none where the width has none). */
size_t bl_grouped_bytes(const bl_tensor *w, int axis, int bits, int group);
/* Fills scales (0 for a channel of zeros) and multiples of one layer, room for which is there; scratch: channel for the
 * weights of an output channel, step for as many groups as it has. */
void bl_grouped_make(const bl_tensor *w, const bl_observer *observer, float *channel, double *step, bl_weight_grid *grid);
void bl_grouped_codes(const bl_tensor *w, const bl_weight_grid *grid, int8_t *codes);
/* n numbers on the int32 grid of a bias [Q4], back in reals; sx: scale of the layer's input. */
void bl_bias_on_grid(const float *bias, int n, float sx, const bl_quantizer *w, float *out);

/* ------------------------------------------------------------------ WEIGHTS */

typedef struct bl_weight_item {
    int value;                  /* constant that is replaced */
    bl_hash replaces;           /* hash of the float bytes that it replaces */
    const float *data;
    int64_t count;
} bl_weight_item;

/* Scales that were learned for the quantizer of a value, or the codes of its codebook. */
typedef struct bl_grid_item {
    int value;
    const float *scale;
    int64_t count;
    bool table;
} bl_grid_item;

struct bl_weights {
    bl_arena *arena;
    bl_map map;
    bl_hash hash, graph;
    bl_hash key;                /* of what it was made from: plan, data, samples, tuner */
    bl_hash plan;               /* content of the plan before its grids were learned; hex[0] == 0: none were, or not known */
    int n_items, n_grids;
    int room;                   /* of items, where bl_weights_put made them */
    bl_weight_item *items;
    bl_grid_item *grids;
};
const float *bl_weights_find(const bl_weights *weights, int value); /* NULL: not replaced */
/* Data (the caller's, as long as the record) in the place of a constant. */
bl_status bl_weights_put(bl_ctx *ctx, const bl_graph *graph, bl_weights *weights, int value, const float *data);
/* The same with a copy of the constant that the record owns, for the caller to change. */
bl_status bl_weights_replace(bl_ctx *ctx, const bl_graph *graph, bl_weights *weights, int value, float **data);

/* The plan names the weights and takes the grids that were learned with them. */
bl_status bl_plan_use_weights(bl_ctx *ctx, bl_plan *plan, bl_weights *weights);

/* Computes the record's hash; a tuner's last step, done by bl_tune. */
bl_status bl_weights_seal(bl_ctx *ctx, const bl_graph *graph, bl_weights *weights);

/* ------------------------------------------------------------------ tuners (tuners.def) */

typedef struct bl_tune_input {
    const bl_graph *graph;
    bl_plan *plan;
    bl_data *data;
    int64_t samples;
    const char *words;          /* behind the tuner's name: "epochs=3,rate=0.01"; NULL: none */
    const bl_rounded *rounded;  /* sets that are there already (bl_round); changes the time, not the result */
} bl_tune_input;

typedef struct bl_tuner {
    const char *name, *help;
    bool needs_labels;
    bool quick;                 /* a few walks over the samples: searches may ask it for each plan they look at */
    bl_status (*run)(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out); /* fills out->items, and grids */
    bl_status (*check)(bl_ctx *ctx, const char *words); /* of the words; NULL: it takes none */
} bl_tuner;
extern const bl_tuner *const bl_tuners[];
extern const size_t bl_n_tuners;
const bl_tuner *bl_tuner_find(const char *name); /* "NAME" or "NAME:WORDS" */
const char *bl_tuner_words(const char *name);    /* the words, NULL: none */
bl_status bl_tuner_check(bl_ctx *ctx, const char *name); /* is there such a tuner, with such words? */
#define BL_NO_WORDS(symbol) NULL
#define BL_WORDS(symbol) bl_tune_words_##symbol
#define X(symbol, label, labels, few_walks, words, text)                                           \
    bl_status bl_tune_##symbol(bl_ctx *ctx, const bl_tune_input *in, bl_weights *out);             \
    bl_status bl_tune_words_##symbol(bl_ctx *ctx, const char *words);
#include "quant/tuners.def"
#undef X
/* Hash of all that a tuner's result depends on; bl_tune stores it as the record's key. */
bl_status bl_tune_key(bl_ctx *ctx, const bl_tuner *tuner, const bl_tune_input *in, bl_hash *out);
/* What a tuner replaced; the plan names it and has the grids that were learned. */
bl_status bl_tune(bl_ctx *ctx, const bl_tuner *tuner, const bl_tune_input *in, bl_weights **out);

/* ------------------------------------------------------------------ fake quantization */

/* Puts a whole plan on a walker: constants replaced by their dequantized codes (biases on their int32
 * grid), and a hook that quantizes every value.  weights may be NULL. */
bl_status bl_fake_new(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                      bl_fake **out);
void bl_fake_free(bl_fake *fake);
const uint8_t *bl_fake_uses(const bl_fake *fake); /* by value: bl_hook_use of bl_fake_hook */
bl_status bl_fake_attach(bl_fake *fake, bl_walk *walk); /* replaces the walker's constants */
bl_status bl_fake_hook(void *fake, int value, bl_tensor *t);
/* In place, n elements. */
void bl_fake_quantize_array(float *x, size_t n, bl_grid g);

#endif
