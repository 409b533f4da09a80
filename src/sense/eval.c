/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Evaluation: samples side by side through a float network, a network under a plan, or a program.
 * What is counted is kept by input number and summed in that order.
 */
#include "sense/sense.h"

#include <string.h>

enum { INPUTS_A_PIECE = 16 };

typedef struct per_input {
    uint16_t argmax;
    uint8_t top1, top5;
    double mse;
} per_input;

typedef struct run {
    bl_ctx *ctx;
    const bl_eval_subject *subject;
    bl_data *data;
    bl_eval_result *out;
    per_input *kept;
    int64_t n_out, n_in;        /* floats of the first output and of the input, one sample */
    bool reconstruct, classes;  /* what is counted: errors against the input, answers against labels */
    size_t first_piece;
    int64_t first;              /* input of the data that is number 0 here */
    int64_t *index;             /* float networks: inputs of the data by number */
    bl_exec **exec;             /* by worker */
} run;

static void keep(run *r, int64_t i, const float *x, const float *y)
{
    per_input *k = &r->kept[i];
    int64_t best = 0, above = 0;
    for (int64_t c = 1; c < r->n_out; c++)
        if (y[c] > y[best]) best = c;
    k->argmax = (uint16_t)best;
    if (r->classes) {
        int label = bl_data_label(r->data, (r->first + i) / bl_data_windows(r->data)); /* a class: bl_labels_check */
        k->top1 = label == best;
        for (int64_t c = 0; c < r->n_out; c++) above += y[c] > y[label] || (y[c] == y[label] && c < label);
        k->top5 = above < 5;
    }
    if (r->reconstruct) {
        double sum = 0;
        for (int64_t c = 0; c < r->n_out; c++) {
            float d = y[c] - x[c];
            sum += (double)d * d;
        }
        k->mse = sum / (double)r->n_out;
    }
    if (r->out->scores && !r->reconstruct) memcpy(r->out->scores + i * r->n_out, y, (size_t)r->n_out * sizeof *y);
}

static bl_status float_chunk(void *arg, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    run *r = arg;
    (void)chunk, (void)worker;
    const bl_graph *g = r->subject->graph;
    const float *x = bl_walk_value(walk, g->inputs[0])->data, *y = bl_walk_value(walk, g->outputs[0])->data;
    for (int64_t k = 0; k < count; k++) keep(r, first + k, x + k * r->n_in, y + k * r->n_out);
    return BL_OK;
}

static bl_status program_piece(void *arg, size_t piece, unsigned worker)
{
    run *r = arg;
    BL_TRY(bl_check_interrupt(r->ctx));
    if (!r->exec[worker]) BL_TRY(bl_exec_new(r->ctx, r->subject->program, NULL, &r->exec[worker]));
    bl_exec *e = r->exec[worker];
    int64_t first = (int64_t)(r->first_piece + piece) * INPUTS_A_PIECE;
    for (int64_t i = first; i < BL_MIN(first + INPUTS_A_PIECE, r->out->n_inputs); i++) {
        BL_TRY(bl_data_read(r->data, r->first + i, 1, bl_exec_input(e, 0)));
        BL_TRY(bl_exec_run(e, NULL, NULL));
        keep(r, i, bl_exec_input(e, 0), bl_exec_output(e, 0));
    }
    return BL_OK;
}

static bl_status run_program(run *r)
{
    unsigned threads = bl_threads(r->ctx);
    size_t pieces = (size_t)((r->out->n_inputs + INPUTS_A_PIECE - 1) / INPUTS_A_PIECE), group = 4 * (size_t)threads;
    r->exec = BL_NEW(r->out->arena, bl_exec *, threads);
    BL_ALLOC_TRY(r->ctx, r->exec);
    bl_status s = BL_OK;
    for (size_t at = 0; at < pieces && s == BL_OK; at += group) {
        r->first_piece = at;
        s = bl_parallel_for(r->ctx, BL_MIN(group, pieces - at), program_piece, r);
        bl_progress(r->ctx, "evaluate", BL_MIN((at + group) * INPUTS_A_PIECE, (uint64_t)r->out->n_inputs),
                    (uint64_t)r->out->n_inputs);
    }
    for (unsigned w = 0; w < threads; w++) bl_exec_free(r->exec[w]);
    return s;
}

static bl_status run_float(run *r, const bl_eval_options *o)
{
    bl_shards s = { .graph = r->subject->graph, .data = r->data, .index = r->index, .n = r->out->n_inputs, .run = true,
                    .fake = r->subject->fake, .reference = o && o->reference, .stage = "evaluate" };
    return bl_shards_run(r->ctx, &s, float_chunk, r);
}

static int64_t count_dims(int rank, const int64_t *dim)
{
    int64_t n = 1;
    for (int d = 0; d < rank; d++) n *= dim[d];
    return n;
}

static bl_status measure_subject(run *r)
{
    const bl_program *p = r->subject->program;
    if (p) {
        if (p->n_inputs != 1)
            return bl_fail(r->ctx, BL_UNAVAILABLE, "eval", "use `bitlathe run`", "%u inputs, and a data set feeds one", p->n_inputs);
        r->n_in = count_dims(p->edges[0].rank, p->edges[0].dim);
        r->n_out = count_dims(p->edges[1].rank, p->edges[1].dim);
        return BL_OK;
    }
    const bl_graph *g = r->subject->graph;
    const bl_tensor *x = &g->values[g->inputs[0]].t, *y = &g->values[g->outputs[0]].t;
    if (y->type != BL_F32)
        return bl_fail(r->ctx, BL_UNAVAILABLE, g->values[g->outputs[0]].name, "use `bitlathe run`",
                       "an output of type %s has no score", bl_dtype_name(y->type));
    if (r->reconstruct && x->type != BL_F32)
        return bl_fail(r->ctx, BL_UNAVAILABLE, g->values[g->inputs[0]].name, "use another --metric",
                       "an input of type %s cannot be reconstructed", bl_dtype_name(x->type));
    r->n_in = bl_tensor_count(x) / g->batch;
    r->n_out = bl_tensor_count(y) / g->batch;
    return BL_OK;
}

bl_status bl_samples_open(bl_ctx *ctx, const bl_data_options *options, const bl_graph *graph,
                          const bl_program *program, bl_data **out)
{
    bl_tensor input = { .type = BL_F32 };
    if (graph) {
        input = graph->values[graph->inputs[0]].t;
    } else {
        input.rank = program->edges[0].rank;
        memcpy(input.dim, program->edges[0].dim, sizeof input.dim);
    }
    return bl_data_open(ctx, options, &input, out);
}

/* Share of (anomaly, normal) pairs with the higher score on the anomaly, ties half. */
static double area_under_curve(const bl_data *d, const double *score, int64_t n)
{
    double won = 0, pairs = 0;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; bl_data_label(d, i) == 1 && j < n; j++) {
            if (bl_data_label(d, j) == 1) continue;
            pairs++;
            won += score[i] > score[j] ? 1 : score[i] == score[j] ? 0.5 : 0;
        }
    return pairs > 0 ? won / pairs : NAN;
}

static bl_status sum_up(run *r, const char *metric)
{
    bl_eval_result *o = r->out;
    double top1 = 0, top5 = 0, mse = 0;
    int64_t windows = bl_data_windows(r->data), n = o->n_inputs;
    o->top1 = o->top5 = o->mse = o->auc = NAN;
    for (int64_t i = 0; i < n; i++) {
        o->predictions[i] = r->kept[i].argmax;
        top1 += r->kept[i].top1;
        top5 += r->kept[i].top5;
        mse += r->kept[i].mse;
    }
    if (r->reconstruct) {
        double *score = BL_NEW(o->arena, double, (size_t)o->samples);
        BL_ALLOC_TRY(r->ctx, score);
        for (int64_t i = 0; i < n; i++) score[i / windows] += r->kept[i].mse / (double)windows;
        for (int64_t f = 0; o->scores && f < o->samples; f++) o->scores[f] = (float)score[f];
        o->mse = mse / (double)n;
        if (!strcmp(metric, "reconstruction-auc")) o->auc = area_under_curve(r->data, score, o->samples);
    } else if (r->classes) {
        o->top1 = top1 / (double)n;
        if (r->n_out > 5) o->top5 = top5 / (double)n;
    }
    return BL_OK;
}

/* A label that is no class of this network would count as a wrong answer: it is a wrong file. */
bl_status bl_labels_check(bl_ctx *ctx, const bl_data *data, int64_t first, int64_t samples, int64_t classes)
{
    for (int64_t i = first; i < first + samples; i++) {
        int label = bl_data_label(data, i);
        if (label < 0 || label >= classes)
            return bl_fail(ctx, BL_DATA, bl_data_name(data), "give labels that count the classes from 0",
                           "sample %lld has label %d, the network has %lld classes", (long long)i, label, (long long)classes);
    }
    return BL_OK;
}

static const char *metric_of(const bl_eval_options *o)
{
    return o && o->metric ? o->metric : "top1";
}

/* What the metric wants of the network and the data; r then knows their sizes and what is counted. */
static bl_status check(run *r, const bl_eval_options *o, const char *metric)
{
    if (strcmp(metric, "top1") && strcmp(metric, "mse") && strcmp(metric, "reconstruction-auc"))
        return bl_fail(r->ctx, BL_USAGE, metric, "use top1, mse or reconstruction-auc", "unknown metric");
    BL_TRY(measure_subject(r));
    r->reconstruct = strcmp(metric, "top1") != 0;
    if (r->reconstruct && r->n_out != r->n_in)
        return bl_fail(r->ctx, BL_USAGE, metric, "use top1", "the network's output is no reconstruction of its input");
    if (!strcmp(metric, "reconstruction-auc") && !bl_data_labelled(r->data))
        return bl_fail(r->ctx, BL_USAGE, metric, "give labels (1: anomaly)", "the data set has no labels");
    if (o && o->metric && !r->reconstruct && !o->outputs_only && !bl_data_labelled(r->data))
        return bl_fail(r->ctx, BL_USAGE, metric, "give labels", "the data set has no labels");
    r->classes = !r->reconstruct && !(o && o->outputs_only) && bl_data_labelled(r->data);
    return BL_OK;
}

bl_status bl_eval_check(bl_ctx *ctx, const bl_eval_subject *subject, bl_data *data, const bl_eval_options *o)
{
    run r = { .ctx = ctx, .subject = subject, .data = data };
    BL_TRY(check(&r, o, metric_of(o)));
    return r.classes ? bl_labels_check(ctx, data, 0, bl_data_first(data, o ? o->limit : 0) / bl_data_windows(data), r.n_out) : BL_OK;
}

static bl_status evaluate(run *r, const bl_eval_options *o)
{
    const char *metric = metric_of(o);
    bl_eval_result *res = r->out;
    BL_TRY(check(r, o, metric));
    if (o && o->first > 0) {
        r->first = bl_data_first(r->data, o->first);
        res->n_inputs = bl_data_first(r->data, o->limit ? o->first + o->limit : 0) - r->first;
        r->index = BL_NEW(res->arena, int64_t, (size_t)BL_MAX(res->n_inputs, 1));
        BL_ALLOC_TRY(r->ctx, r->index);
        for (int64_t i = 0; i < res->n_inputs; i++) r->index[i] = r->first + i;
        if (res->n_inputs < 1) return bl_fail(r->ctx, BL_USAGE, bl_data_name(r->data), "start earlier", "no sample from number %lld on", (long long)o->first);
        if (!strcmp(metric, "reconstruction-auc")) return bl_fail(r->ctx, BL_USAGE, metric, "evaluate the whole", "the area under a curve has no parts");
    } else {
        res->n_inputs = bl_data_first(r->data, o ? o->limit : 0);
    }
    res->samples = res->n_inputs / bl_data_windows(r->data);
    if (r->classes) BL_TRY(bl_labels_check(r->ctx, r->data, r->first / bl_data_windows(r->data), res->samples, r->n_out));
    res->predictions = BL_NEW(res->arena, uint16_t, (size_t)res->n_inputs);
    r->kept = BL_NEW(res->arena, per_input, (size_t)res->n_inputs);
    if (!res->predictions || !r->kept) return bl_pending(r->ctx);
    if (o && o->scores) {
        if (r->reconstruct) res->n_scores = res->samples;
        else if (!bl_mul_i64(res->n_inputs, r->n_out, &res->n_scores))
            return bl_fail(r->ctx, BL_UNAVAILABLE, "scores", "evaluate fewer samples", "too many scores");
        res->scores = BL_NEW(res->arena, float, (size_t)res->n_scores);
        BL_ALLOC_TRY(r->ctx, res->scores);
    }
    BL_TRY(r->subject->program ? run_program(r) : run_float(r, o));
    return sum_up(r, metric);
}

bl_status bl_eval(bl_ctx *ctx, const bl_eval_subject *subject, bl_data *data, const bl_eval_options *options,
                  bl_eval_result *out)
{
    bl_eval_result res = { .arena = bl_arena_new(ctx, "evaluation") };
    BL_ALLOC_TRY(ctx, res.arena);
    run r = { .ctx = ctx, .subject = subject, .data = data, .out = &res };
    uint64_t start = bl_now_ns();
    bl_status s = evaluate(&r, options);
    res.seconds = (double)(bl_now_ns() - start) * 1e-9;
    if (s != BL_OK) bl_arena_free(res.arena);
    else *out = res;
    return s;
}

void bl_eval_free(bl_eval_result *result)
{
    if (result) bl_arena_free(result->arena);
}

bl_status bl_evaluate(bl_ctx *ctx, const bl_graph *graph, const bl_program *program, bl_data *data, int64_t limit,
                      bl_accuracy *out)
{
    bl_eval_result r;
    if (!graph == !program || limit < 0)
        return bl_fail(ctx, BL_USAGE, "bl_evaluate", "give one of them, and a limit of 0 or more",
                       "a network or a program, not both, is evaluated on a number of samples");
    bl_eval_subject subject = { .graph = graph, .program = program };
    BL_TRY(bl_eval(ctx, &subject, data, &(bl_eval_options){ .limit = limit }, &r));
    *out = (bl_accuracy){ r.samples, r.top1, r.top5 };
    bl_eval_free(&r);
    return BL_OK;
}
