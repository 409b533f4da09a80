/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * bitlathe: the right number of bits for every layer of a neural network on the chip that runs it.
 *
 * This header is the library's manual and its only public one.  The straight way through it:
 *
 *     ONNX file --bl_import--> GRAPH --bl_prepare--> GRAPH'
 *     GRAPH' + samples --bl_calibrate--> STATS
 *     GRAPH' + STATS   --bl_sense--> SENS        what each choice of bits costs in accuracy
 *     GRAPH' + target  --bl_measure--> COST      what it costs in time, bytes, energy on this chip
 *     SENS + COST + budgets --bl_search--> PLAN  a grid for every quantizer
 *     GRAPH' + PLAN --bl_lower--> PROGRAM        integers only
 *     PROGRAM --bl_exec_*--> outputs
 *
 * examples/quantize.c walks it in forty lines.
 *
 * Conventions, everywhere:
 *  - A function that can fail returns bl_status (0 is success), takes the context first and its
 *    results last.  On failure the results are untouched and bl_last_error() says place, what is
 *    wrong and what to do about it.  Nothing here prints, aborts or keeps global state.
 *  - A record (bl_graph, bl_stats, ...) is owned by whoever received it and freed by its own
 *    _free function, which takes NULL.  Records are read-only once made and may be shared by
 *    threads; a context may not: one context for each calling thread.
 *  - A record made from another one (a prepared graph, a program) stays valid after its source
 *    is freed unless its contract says "borrows".
 *  - Sizes end in _bytes, times in _ns or _ms, widths in _bits.
 */
#ifndef BITLATHE_H
#define BITLATHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define BL_VERSION_MAJOR 0
#define BL_VERSION_MINOR 1
#define BL_VERSION_PATCH 0
#define BL_VERSION_STRING "0.1.0"

#if defined(__GNUC__)
#define BL_API __attribute__((visibility("default")))
#else
#define BL_API
#endif

/* Result of a call.  The numbers are the exit codes of the command line (after sysexits.h). */
typedef enum bl_status {
    BL_OK = 0,           /* done */
    BL_GOAL = 1,         /* a goal was not reached: the budgets are infeasible, the plan refused */
    BL_USAGE = 64,       /* an argument makes no sense */
    BL_DATA = 65,        /* bad input data: model, record or samples */
    BL_NOINPUT = 66,     /* an input file is missing or unreadable */
    BL_UNAVAILABLE = 69, /* not available here: operator, instruction set, memory budget */
    BL_INTERNAL = 70,    /* our bug */
    BL_CANTCREATE = 73,  /* an output cannot be created */
    BL_IO = 74,          /* reading or writing failed half-way */
    BL_STOPPED = 75,     /* stopped early; the same call resumes */
    BL_INTERRUPTED = 130 /* interrupted by the user; the same call resumes */
} bl_status;

/* ------------------------------------------------------------------ context */

typedef struct bl_ctx bl_ctx;

/* Called from the calling thread only.  `done` of `total` pieces of `stage` are finished;
 * seconds_left is an estimate, negative while unknown. */
typedef void bl_progress_fn(void *user, const char *stage, uint64_t done, uint64_t total,
                            double seconds_left);

/* Called with one line (no newline) that a person may want to read: warnings and decisions. */
typedef void bl_note_fn(void *user, const char *line);

typedef struct bl_options {
    unsigned threads;       /* 0: one for each core that the process may use */
    uint64_t memory_bytes;  /* ceiling of what input can make us allocate; 0: three quarters of RAM */
    uint64_t seed;          /* every random choice derives from it; default 1 */
    const char *isa;        /* cap on instruction sets: "ref", "avx2", ...; NULL: what the CPU has */
    bl_progress_fn *progress;
    bl_note_fn *note;
    void *user;             /* handed to both callbacks */
} bl_options;

/* Options filled from the environment: BL_THREADS, BL_SEED, BL_ISA; the rest zero. */
BL_API bl_options bl_options_default(void);

/* options may be NULL.  Fails (returns BL_USAGE or BL_UNAVAILABLE) for an unknown instruction set
 * or one that this CPU lacks; *out is then a context that only carries the error (free it too),
 * or NULL when even that could not be allocated. */
BL_API bl_status bl_ctx_new(const bl_options *options, bl_ctx **out);
BL_API void bl_ctx_free(bl_ctx *ctx);

typedef struct bl_error {
    bl_status code;
    const char *place;  /* file, node, option: where it is wrong */
    const char *what;   /* one sentence */
    const char *remedy; /* what to do; may be empty, never NULL */
} bl_error;

/* The error of the last call that failed; strings live until the next call on this context. */
BL_API bl_error bl_last_error(const bl_ctx *ctx);

/* Safe from a signal handler: the running call ends soon with BL_INTERRUPTED, finished work saved. */
BL_API void bl_interrupt(bl_ctx *ctx);

/* Bytes now and at most held in arenas of this context. */
BL_API void bl_memory_use(const bl_ctx *ctx, uint64_t *now_bytes, uint64_t *peak_bytes);

/* ------------------------------------------------------------------ records */

typedef struct bl_graph bl_graph;     /* the network: nodes, values, constants; read-only */
typedef struct bl_data bl_data;       /* samples: an open data set with its preprocessing */
typedef struct bl_stats bl_stats;     /* what flows through each value */
typedef struct bl_menu bl_menu;       /* units x candidates: the common index of SENS and COST */
typedef struct bl_sens bl_sens;       /* accuracy cost per (unit, candidate) */
typedef struct bl_cost bl_cost;       /* chip cost per operator shape and widths */
typedef struct bl_plan bl_plan;       /* the choice: a grid for each quantizer */
typedef struct bl_weights bl_weights; /* constants that tuning replaced */
typedef struct bl_rounded bl_rounded; /* weights rounded by learning, one set a width */
typedef struct bl_program bl_program; /* integers only; what runs */
typedef struct bl_exec bl_exec;       /* a loaded program with its memory */

/* Each takes NULL. */
BL_API void bl_graph_free(bl_graph *graph);
BL_API void bl_data_free(bl_data *data);
BL_API void bl_stats_free(bl_stats *stats);
BL_API void bl_menu_free(bl_menu *menu);
BL_API void bl_sens_free(bl_sens *sens);
BL_API void bl_cost_free(bl_cost *cost);
BL_API void bl_plan_free(bl_plan *plan);
BL_API void bl_weights_free(bl_weights *weights);
BL_API void bl_program_free(bl_program *program);
BL_API void bl_exec_free(bl_exec *exec);

/* ------------------------------------------------------------------ GRAPH */

typedef struct bl_dim_binding { const char *name; int64_t size; } bl_dim_binding;

/* Free dimensions of the inputs.  A name is one of the model's own or "INPUT:AXIS" for a dimension
 * without one.  First dimensions that are not given are 1; others that stay unknown are an error
 * that names them all. */
typedef struct bl_import_options {
    const bl_dim_binding *dims; /* --dim N=1 */
    size_t n_dims;
} bl_import_options;

/* ONNX file to GRAPH: pre-scan, budgeted unpack, checks, shape inference.  Unsupported operators are
 * refused in one message that lists every one (BL_UNAVAILABLE); NaN or infinite weights and damaged
 * files are BL_DATA.  options may be NULL. */
BL_API bl_status bl_import(bl_ctx *ctx, const char *path, const bl_import_options *options, bl_graph **out);
/* The same from memory, which must outlive *out; `name` stands in errors. */
BL_API bl_status bl_import_bytes(bl_ctx *ctx, const char *name, const void *data, size_t size,
                                 const bl_import_options *options, bl_graph **out);

/* A quantized network runs as it is written (QuantizeLinear and DequantizeLinear pairs are computed), but
 * choosing grids once more wants it without: bl_menu_make and bl_calibrate refuse it with BL_USAGE.  This makes it
 * float again: constant codes become the numbers that they stand for, pairs around what flows vanish,
 * and a pair whose saturation may stand for a Relu or Clip that the exporter left out becomes that
 * Clip.  Before bl_prepare.  A network that is float already is copied.  BL_UNAVAILABLE with the list where operators
 * multiply codes (QLinearConv, ...) or codes leave or enter the network. */
BL_API bl_status bl_dequantize_graph(bl_ctx *ctx, const bl_graph *graph, bl_graph **out);

/* The same network for one sample, where it was exported for a batch of several: programs are made for one.  Also constants
 * that hold the batch are written again.  Before bl_prepare.  BL_UNAVAILABLE where samples of a batch meet, or where it is
 * not certain which number is the batch.  A network for one sample is copied. */
BL_API bl_status bl_unbatch_graph(bl_ctx *ctx, const bl_graph *graph, bl_graph **out);

/* Folds constants and BatchNormalization (its statistics are kept), fuses Relu and Clip into their
 * producers, removes what does nothing.  What every later stage wants.  Names that remain are kept. */
BL_API bl_status bl_prepare(bl_ctx *ctx, const bl_graph *graph, bl_graph **out);

typedef struct bl_equalised {
    int classes;            /* sets of channels that were scaled together: a pair of layers in a plain chain */
    int held;               /* channels among them that reach the bound of a Clip (ReLU6) and stay as they are */
    int absorbed;           /* channels whose constant part moved into the next biases */
    int sweeps;
    int bounded;            /* bl_equalise_tensors: Clips that became bounds by channel */
    int dead;               /* channels that never leave 0: nothing writes or reads them any more */
    double noise_first, noise_last; /* sum over layers of expected noise to signal at eight bits */
} bl_equalised;

/* Cross-layer equalisation and bias absorption (DFQ): the same network in real numbers (absorption: nearly),
 * whose channels have weights of one size, for weights with one scale a tensor.  graph: prepared.  told may be
 * NULL. */
BL_API bl_status bl_equalise(bl_ctx *ctx, const bl_graph *graph, bl_equalised *told, bl_graph **out);

/* The same with the factors that leave least expected noise with one scale a weight and one a value, by the
 * statistics of BatchNormalizations.  Upper bounds of Clips become bounds by channel (a Min with a constant). */
BL_API bl_status bl_equalise_tensors(bl_ctx *ctx, const bl_graph *graph, bl_equalised *told, bl_graph **out);

/* ------------------------------------------------------------------ samples */

#define BL_DATA_CHANNELS_MAX 64

/* Where samples lie and what is done to them: ((float)stored - mean) / std.  {0}: nothing changed,
 * all samples. */
typedef struct bl_data_options {
    const char *spec;       /* "cifar:FILE", ...; or a JSON description's path; borrowed */
    float mean[BL_DATA_CHANNELS_MAX], std[BL_DATA_CHANNELS_MAX];
    int n_mean, n_std;      /* 0: mean 0, std 1; 1: for all channels; else one a channel */
    int resize;             /* shorter side of a picture, 0: as stored */
    int crop;               /* rows of what is cut from the middle, 0: none */
    int crop_width;         /* its columns, 0: as many */
    int crops;              /* images: so many crops of a picture, each a sample of its own: the middle, then the corners; 0: 1 */
    bool bgr;               /* pictures are stored R, G, B and the network wants B, G, R */
    bool nhwc_stored;       /* arrays hold height, width, channels */
    bool nchw_stored;       /* they hold channels, height, width, and that was said */
    int64_t window;         /* rows of a sliding window over a sample's first axis, 0: none */
    int64_t limit;          /* samples to use, 0: all; for the caller, open does not apply it */
} bl_data_options;

/* Sets what one option says.  key: data, mean, std, resize, crop, crops, channels, layout, window, limit (the
 * words of the command line without dashes); value is borrowed for `data`.  BL_USAGE when the value
 * makes no sense. */
BL_API bl_status bl_data_option(bl_ctx *ctx, const char *key, const char *value, bl_data_options *options);

/* Opens a data set for a network's (or program's) first input; give one of the two.  Everything that
 * the files say is checked here.  BL_NOINPUT: a file is missing; BL_DATA: what is in it is wrong;
 * BL_USAGE: the words are wrong. */
BL_API bl_status bl_samples_open(bl_ctx *ctx, const bl_data_options *options, const bl_graph *graph,
                                 const bl_program *program, bl_data **out);

/* ------------------------------------------------------------------ units and the menu */

/* A unit is what must decide together: a value's grid with the weights of all layers that read it. */
typedef struct bl_menu_options {
    int w_bits[16], n_w;        /* default 2 3 4 6 8 */
    int a_bits[16], n_a;        /* default 4 8 */
    int pair_w_bits[32], pair_a_bits[32], n_pairs; /* candidates as pairs; 0: every w with every a */
    bool keep_ends;             /* network input, first and last layer, outputs stay at 8 bits */
    bool equal_grids;           /* target adds integers without rescaling: operands share a grid */
    bool equal_concat;          /* a Concat and its parts share a grid: it then only copies */
    bool anchored;              /* where a function takes 0 to a (a gate: 1/2), a is exactly a code of its
                                   output: runtimes then have one more form for it */
    bool codebook;              /* weights of 1 to 7 bits are codebooks: bl_grid_options has the same flag */
    int weight_group;           /* and the same number: inputs that share a scale, 0: all of a channel */
} bl_menu_options;
BL_API bl_menu_options bl_menu_options_default(void);
/* graph must be prepared; options may be NULL. */
BL_API bl_status bl_menu_make(bl_ctx *ctx, const bl_graph *graph, const bl_menu_options *options, bl_menu **out);

/* How a width becomes a grid. */
typedef struct bl_grid_options {
    const char *act_range;      /* observer names; NULL: "mse" */
    const char *weight_range;   /* NULL: "mse" */
    bool per_tensor;            /* weights: one scale a tensor instead of one an output channel */
    bool narrow;                /* restricted symmetric weight grids */
    bool power_of_two;          /* scales are powers of two, zero points 0 or the middle: what hardware of
                                   adders alone needs */
    bool codebook;              /* weights of 1 to 7 bits are a layer's 2^bits shared numbers (k-means) */
    int weight_group;           /* weights of 1 to 6 bits: a scale for so many inputs of an output channel; 0: for all */
} bl_grid_options;

/* ------------------------------------------------------------------ STATS */

typedef struct bl_calibrate_options {
    int64_t samples;            /* evenly spaced over the set; 0: 256 */
} bl_calibrate_options;

/* Two passes of the float walk: ranges, then histograms over them.  Integer counts and sums in sample
 * order: the same bytes for any number of threads.  No labels are used. */
BL_API bl_status bl_calibrate(bl_ctx *ctx, const bl_graph *graph, bl_data *data,
                              const bl_calibrate_options *options, bl_stats **out);
typedef struct bl_split {
    int sites, cut, parts;      /* values that could be cut, those that were, and into how many in all */
} bl_split;

/* What a depthwise layer reads, cut into classes of channels of similar range, each with its own grid: the same network
 * in real numbers, for values whose channels share one grid badly.  Only where two bits are lost on average, into the
 * fewest of at most `classes` (2 to 16) that leave one.  graph: prepared; samples 0: 256; told may be NULL. */
BL_API bl_status bl_split_channels(bl_ctx *ctx, const bl_graph *graph, bl_data *data, int64_t samples, int classes,
                                   bl_split *told, bl_graph **out);
/* Records are written whole or not at all and carry the hash of what they were made from; reading one
 * of another network is BL_DATA.  The same holds for every _write and _read below. */
BL_API bl_status bl_stats_write(bl_ctx *ctx, const bl_graph *graph, bl_stats *stats, const char *path);
BL_API bl_status bl_stats_read(bl_ctx *ctx, const bl_graph *graph, const char *path, bl_stats **out);

/* ------------------------------------------------------------------ weights rounded by learning */

typedef struct bl_round_options {
    int64_t samples;            /* evenly spaced over the set; 0: 256 */
    bl_grid_options grids;      /* of which only those of weights count */
    const char *folder;         /* keeps each set (rounded.w4.blw), also half made: who is stopped goes on from there;
                                   NULL: nowhere */
} bl_round_options;

/* AdaRound of every layer by itself, from the float network's inputs, at each of the menu's widths from 2 to 7 bits:
 * what a plan's weights can be put together from.  No labels are used.  options may be NULL. */
BL_API bl_status bl_round(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, bl_data *data,
                          const bl_round_options *options, bl_rounded **out);
BL_API void bl_rounded_free(bl_rounded *rounded);

/* ------------------------------------------------------------------ SENS */

typedef struct bl_sense_options {
    const char *metric;         /* row of `bitlathe list sensitivities`; NULL: "sqnr" */
    int64_t samples;            /* 0: 128 */
    double sqnr_eps;            /* sqnr: added to the mean squared noise; 0: 1e-12 of the mean squared signal.
                                   1e-4 is what PMP's code adds, and hides what lies above 40 dB */
    bl_grid_options grids;
    int masks;                  /* of each layer, for the metric "mask"; 0: 4 */
    double mask_share;          /* of its weights that a mask sets to zero; 0: 0.125 */
    bool mask_by_width;         /* share 1 - width/8 instead, and no scaling to the width's error */
    bool weights_only;          /* values stay float */
    const bl_rounded *rounded;  /* weights out of these sets; NULL, or a width that they lack: to nearest */
} bl_sense_options;

typedef struct bl_sense_input {
    const bl_graph *graph;
    const bl_menu *menu;
    const bl_stats *stats;
    bl_data *data;
    const bl_sense_options *options; /* may be NULL */
} bl_sense_input;

/* The metric for every candidate of every unit, that unit alone quantized. */
BL_API bl_status bl_sense(bl_ctx *ctx, const bl_sense_input *input, bl_sens **out);
BL_API bl_status bl_sens_write(bl_ctx *ctx, const bl_menu *menu, bl_sens *sens, const char *path);
BL_API bl_status bl_sens_read(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *path,
                              bl_sens **out);

/* ------------------------------------------------------------------ COST */

typedef struct bl_measure_options {
    double seconds;             /* ceiling for one operator shape; 0: 0.5 */
    const char *cache;          /* folder that keeps the cells of a shape for other models; NULL: none */
} bl_measure_options;

/* target: a row of `bitlathe list targets`; "here" times every operator shape at every pair of widths
 * with the kernels that will run. */
BL_API bl_status bl_measure(bl_ctx *ctx, const bl_graph *graph, const bl_menu *menu, const char *target,
                            const bl_measure_options *options, bl_cost **out);
BL_API bl_status bl_cost_write(bl_ctx *ctx, bl_cost *cost, const char *path);
/* A COST record may come from another machine. */
BL_API bl_status bl_cost_read(bl_ctx *ctx, const char *path, bl_cost **out);

/* ------------------------------------------------------------------ PLAN */

typedef struct bl_search_request {
    const bl_graph *graph;
    const bl_menu *menu;
    const bl_stats *stats;
    const bl_sens *sens;        /* NULL where the search needs none */
    const bl_cost *cost;
    const char *search;         /* row of `bitlathe list searches`; NULL: "knapsack" */
    const char *const *budgets; /* "size=0.6", "latency=2ms": ratios are to uniform int8 */
    size_t n_budgets;           /* at most 4 */
    bl_grid_options grids;
} bl_search_request;

/* BL_GOAL when no plan keeps the budgets: *out is then the nearest one (free it too). */
BL_API bl_status bl_search(bl_ctx *ctx, const bl_search_request *request, bl_plan **out);
BL_API bl_status bl_plan_write(bl_ctx *ctx, const bl_graph *graph, bl_plan *plan, const char *path);
/* A plan may be edited by hand: every number is checked against the network. */
BL_API bl_status bl_plan_read(bl_ctx *ctx, const bl_graph *graph, const char *path, bl_plan **out);

/* A figure that the plan's records predict: "size_bytes", "bops", "latency_ns" (one inference), "sqnr_db" (at
 * the network's output); NaN where there is none, such as latency with a target that has no clock. */
BL_API double bl_plan_predicted(const bl_plan *plan, const char *figure);

/* Changes constants so that the network loses less under the plan's grids.  tuner: row of `bitlathe list
 * tuners`; NULL: "bias-correction".  samples: evenly spaced ones, 0: 256.  The plan then names its weights:
 * lower and export it with them. */
BL_API bl_status bl_tune_plan(bl_ctx *ctx, const bl_graph *graph, bl_plan *plan, bl_data *data, const char *tuner,
                              int64_t samples, bl_weights **out);
/* What tuning replaced (.blw); the plan names it by hash. */
BL_API bl_status bl_weights_write(bl_ctx *ctx, const bl_graph *graph, bl_weights *weights, const char *path);
BL_API bl_status bl_weights_read(bl_ctx *ctx, const bl_graph *graph, const char *path, bl_weights **out);

/* ------------------------------------------------------------------ PROGRAM */

/* The only door to a program, whoever made the plan.  Refuses in one message all operators without an
 * integer form, and widths whose accumulators cannot be proven (BL_UNAVAILABLE).  weights may be NULL. */
BL_API bl_status bl_lower(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                          bl_program **out);
BL_API bl_status bl_program_write(bl_ctx *ctx, const bl_program *program, const char *path);
/* Maps the file and checks everything - one flipped bit is found - before anything is used. */
BL_API bl_status bl_program_open(bl_ctx *ctx, const char *path, bl_program **out);

/* A network input or output of a program: float32, row-major, one sample. */
typedef struct bl_port {
    const char *name;           /* of the model; borrowed from the program, as shape is */
    const int64_t *shape;
    int rank;
    size_t count;               /* floats in it */
} bl_port;
/* The i-th one in the model's order; false (and *out as it was) where there are fewer. */
BL_API bool bl_program_input(const bl_program *program, uint32_t i, bl_port *out);
BL_API bool bl_program_output(const bl_program *program, uint32_t i, bl_port *out);

/* Loads a program, which is borrowed: chooses kernels, packs weights, takes all memory; running
 * allocates nothing.  parallel: steps are split over the context's threads.  The integers are the same
 * for any thread count and instruction set. */
BL_API bl_status bl_exec_open(bl_ctx *ctx, const bl_program *program, bool parallel, bl_exec **out);
/* Buffers of the i-th input (to be filled) and output: float32, row-major, one sample; owned by exec. */
BL_API float *bl_exec_input(bl_exec *exec, uint32_t i);
BL_API const float *bl_exec_output(const bl_exec *exec, uint32_t i);
/* hook (may be NULL) is called after each step with its number and that of the tensor it wrote. */
typedef bl_status bl_exec_hook(void *user, uint32_t step, uint32_t tensor);
BL_API bl_status bl_exec_run(bl_exec *exec, bl_exec_hook *hook, void *user);

/* ------------------------------------------------------------------ accuracy */

typedef struct bl_accuracy {
    int64_t samples;
    double top1, top5;          /* shares, 0..1; NaN where the samples have no labels */
} bl_accuracy;

/* Runs a program, or a float network (give one of the two), on the first `limit` samples (0: all), side by
 * side on the context's threads. */
BL_API bl_status bl_evaluate(bl_ctx *ctx, const bl_graph *graph, const bl_program *program, bl_data *data,
                             int64_t limit, bl_accuracy *out);

/* ------------------------------------------------------------------ other forms */

typedef struct bl_export_options {
    bool all_outputs;   /* every quantized value is a graph output too: for comparing integers */
    bool plain;         /* operators as the model has them; else, with the same integers, in forms that
                           ONNX Runtime runs faster: four input channels instead of three, a table
                           instead of a float function where one says the same */
    bool int4;          /* weights of at most 4 bits as INT4 (opset 21): half the file, but ONNX Runtime
                           then runs these layers in float, a step off here and there */
    bool reduce_range;  /* weights of 8 bits are put on -64..63, for CPUs whose u8 x s8 product
                           saturates at int16 (AVX2 and AVX-512 without VNNI): other integers than
                           the program's */
    int pipeline;       /* verilog: registers behind every so many levels of logic; 0: combinational */
    int extra_depth;    /* verilog: levels that sharing sums may add to a layer; -1: any */
    bool unshared;      /* verilog: each sum by itself, for comparison */
    bool stream;        /* verilog: a window layer is one circuit that moves over the picture, a position a cycle */
    int64_t luts_max;   /* verilog: a design of more look-up tables is refused; 0: any */
    const bl_data *samples; /* verilog: what the test bench feeds; NULL: random codes */
    int64_t n_samples;  /* at most so many of them; 0: all */
} bl_export_options;

/* ONNX with QuantizeLinear/DequantizeLinear pairs, in the form that ONNX Runtime turns into the same
 * integers as our executor.  weights and options may be NULL. */
BL_API bl_status bl_export_qdq(bl_ctx *ctx, const bl_graph *graph, const bl_plan *plan, const bl_weights *weights,
                               const bl_export_options *options, const char *path);

#ifdef __cplusplus
}
#endif
#endif
