/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The oracle: what a whole plan scores on the quantized float walk.  Answers are kept by plan content
 * in trials.jsonl, one line each, appended and synced: a search that is started again reads them.
 */
#include "sense/sense.h"

#include <stdlib.h>
#include <string.h>

typedef struct answer {
    bl_hash plan;
    bl_score score;
} answer;

enum { PARTS = 7 };

struct bl_oracle {
    bl_ctx *ctx;
    bl_arena *arena;
    const bl_graph *g;
    bl_data *data;
    const char *trials;
    int64_t *index, n;          /* samples */
    int64_t n_out;
    int metric_value;
    uint8_t *looks;             /* by value: the metric's */
    float *clean;               /* float network's output by sample */
    double *part;               /* [n][PARTS] of the plan being scored: signal, noise, hit, agrees, float hit, KL, cross-entropy */
    bool have_clean;
    answer *answers;
    size_t n_answers, cap;
    uint32_t *slot;             /* place of an answer + 1, by hash; 0: free */
    size_t n_slots;             /* a power of two, at least twice the answers */
};

/* A plan's hash is as good as drawn: its first half says where to look. */
static size_t slot_of(const bl_oracle *o, const bl_hash *plan)
{
    char half[17];
    memcpy(half, plan->hex, 16);
    half[16] = 0;
    size_t at = (size_t)strtoull(half, NULL, 16) & (o->n_slots - 1);
    while (o->slot[at] && strcmp(o->answers[o->slot[at] - 1].plan.hex, plan->hex)) at = (at + 1) & (o->n_slots - 1);
    return at;
}

static bl_status grow_slots(bl_oracle *o)
{
    size_t n = BL_MAX(256, 2 * o->n_slots);
    uint32_t *bigger = BL_NEW(o->arena, uint32_t, n);
    BL_ALLOC_TRY(o->ctx, bigger);
    o->slot = bigger;
    o->n_slots = n;
    for (size_t i = 0; i < o->n_answers; i++) {
        size_t at = slot_of(o, &o->answers[i].plan);
        if (!o->slot[at]) o->slot[at] = (uint32_t)i + 1; /* of two lines the first holds */
    }
    return BL_OK;
}

static bl_status remember(bl_oracle *o, bl_hash plan, bl_score score)
{
    if (o->n_answers == o->cap) {
        size_t cap = BL_MAX(64, 2 * o->cap);
        answer *bigger = BL_NEW(o->arena, answer, cap);
        BL_ALLOC_TRY(o->ctx, bigger);
        if (o->n_answers) memcpy(bigger, o->answers, o->n_answers * sizeof *bigger);
        o->answers = bigger;
        o->cap = cap;
    }
    if (2 * (o->n_answers + 1) > o->n_slots) BL_TRY(grow_slots(o));
    size_t at = slot_of(o, &plan);
    o->answers[o->n_answers++] = (answer){ plan, score };
    if (!o->slot[at]) o->slot[at] = (uint32_t)o->n_answers;
    return BL_OK;
}

/* What a score depends on besides the plan. */
static bl_hash frame_hash(const bl_oracle *o)
{
    char text[128];
    snprintf(text, sizeof text, "%s %s %lld", o->g->hash.hex, bl_data_hash(o->data).hex, (long long)o->n);
    return bl_hash_of(text, strlen(text));
}

static double number_or_nan(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);
    return json_is_number(v) ? json_number_value(v) : NAN;
}

static void read_line(bl_oracle *o, const char *line, size_t n, const char *frame)
{
    json_t *j = json_loadb(line, n, 0, NULL);
    const char *plan = json_string_value(json_object_get(j, "plan"));
    const char *of = json_string_value(json_object_get(j, "frame"));
    bool whole = json_object_get(j, "kl") && (!bl_data_labelled(o->data) || json_object_get(j, "drop")); /* older lines lack them */
    if (plan && of && whole && strlen(plan) == 32 && !strcmp(of, frame)) {
        bl_score s = { .sqnr_db = json_number_value(json_object_get(j, "sqnr_db")),
                       .top1 = number_or_nan(j, "top1"),
                       .drop = number_or_nan(j, "drop"), .drop_error = number_or_nan(j, "drop_error"),
                       .agreement = json_number_value(json_object_get(j, "agreement")),
                       .kl = json_number_value(json_object_get(j, "kl")), .cross_entropy = number_or_nan(j, "cross_entropy"),
                       .seconds = json_number_value(json_object_get(j, "seconds")), .remembered = true };
        bl_hash h;
        memcpy(h.hex, plan, 33);
        (void)!remember(o, h, s);
    }
    json_decref(j);
}

/* A partial last line (a kill while it was written) is no JSON and passed over. */
static bl_status read_trials(bl_oracle *o)
{
    bl_map map;
    if (!o->trials || !bl_file_exists(o->trials)) return BL_OK;
    BL_TRY(bl_map_file(o->ctx, o->trials, (uint64_t)1 << 30, &map));
    bl_hash frame = frame_hash(o);
    const char *at = (const char *)map.data, *end = at + map.size;
    while (at < end) {
        const char *nl = memchr(at, '\n', (size_t)(end - at));
        if (!nl) break;
        read_line(o, at, (size_t)(nl - at), frame.hex);
        at = nl + 1;
    }
    bl_unmap(&map);
    return BL_OK;
}

static bl_status oracle_fill(bl_oracle *o, int64_t samples, const char *trials)
{
    const bl_tensor *y = &o->g->values[o->metric_value].t;
    BL_TRY(bl_data_pick(o->data, samples, o->arena, &o->index, &o->n));
    if (y->type != BL_F32)
        return bl_fail(o->ctx, BL_UNAVAILABLE, o->g->source, "give a network with float outputs", "an output of another type");
    o->n_out = bl_tensor_count(y) / o->g->batch;
    o->clean = BL_NEW(o->arena, float, (size_t)(o->n * o->n_out));
    o->part = BL_NEW(o->arena, double, (size_t)o->n * PARTS);
    o->looks = BL_NEW(o->arena, uint8_t, (size_t)o->g->n_values);
    if (!o->clean || !o->part || !o->looks) return bl_pending(o->ctx);
    o->looks[o->metric_value] = 1;
    if (trials) {
        o->trials = bl_strdup(o->arena, trials);
        BL_ALLOC_TRY(o->ctx, o->trials);
    }
    return read_trials(o);
}

bl_status bl_oracle_new(bl_ctx *ctx, const bl_graph *graph, bl_data *data, int64_t samples, const char *trials,
                        bl_oracle **out)
{
    bl_arena *a = bl_arena_new(ctx, "oracle");
    BL_ALLOC_TRY(ctx, a);
    bl_oracle *o = BL_NEW(a, bl_oracle, 1);
    bl_status s = o ? BL_OK : bl_pending(ctx);
    if (o) {
        *o = (bl_oracle){ .ctx = ctx, .arena = a, .g = graph, .data = data, .metric_value = bl_metric_value(graph, 0) };
        s = oracle_fill(o, samples, trials);
    }
    if (s != BL_OK) bl_arena_free(a);
    else *out = o;
    return s;
}

void bl_oracle_free(bl_oracle *oracle)
{
    if (oracle) bl_arena_free(oracle->arena);
}

bl_status bl_oracle_labels_check(const bl_oracle *o)
{
    int64_t windows = bl_data_windows(o->data);
    for (int64_t i = 0; bl_data_labelled(o->data) && i < o->n; i += windows) /* bl_data_pick takes all of a sample's */
        BL_TRY(bl_labels_check(o->ctx, o->data, o->index[i] / windows, 1, o->n_out));
    return BL_OK;
}

static bl_status keep_clean(void *arg, const bl_look *at, int value, const bl_tensor *t)
{
    bl_oracle *o = arg;
    (void)value;
    memcpy(o->clean + at->first * o->n_out, t->data, (size_t)(at->count * o->n_out) * sizeof *o->clean);
    return BL_OK;
}

static int64_t argmax(const float *y, int64_t n)
{
    int64_t best = 0;
    for (int64_t i = 1; i < n; i++)
        if (y[i] > y[best]) best = i;
    return best;
}

/* log sum exp of a row. */
static double log_sum(const float *y, int64_t n)
{
    double most = y[0], sum = 0;
    for (int64_t i = 1; i < n; i++) most = fmax(most, (double)y[i]);
    for (int64_t i = 0; i < n; i++) sum += exp(y[i] - most);
    return most + log(sum);
}

static double divergence(const float *c, double c_sum, const float *y, double y_sum, int64_t n)
{
    double kl = 0;
    for (int64_t i = 0; i < n; i++) {
        double lp = c[i] - c_sum;
        kl += exp(lp) * (lp - (y[i] - y_sum));
    }
    return fmax(kl, 0);
}

static bl_status score_value(void *arg, const bl_look *at, int value, const bl_tensor *t)
{
    bl_oracle *o = arg;
    int64_t first = at->first, count = at->count;
    (void)value;
    const float *y = t->data;
    for (int64_t k = 0; k < count; k++, y += o->n_out) {
        const float *c = o->clean + (first + k) * o->n_out;
        double signal = 0, noise = 0;
        for (int64_t i = 0; i < o->n_out; i++) {
            double e = (double)c[i] - y[i];
            signal += (double)c[i] * c[i];
            noise += e * e;
        }
        int64_t best = argmax(y, o->n_out);
        int label = bl_data_labelled(o->data)
                        ? bl_data_label(o->data, o->index[first + k] / bl_data_windows(o->data)) : -1;
        int64_t clean = argmax(c, o->n_out);
        double *p = o->part + (first + k) * PARTS;
        p[0] = signal;
        p[1] = noise;
        p[2] = label == best;
        p[3] = clean == best;
        p[4] = label == clean;
        double c_sum = log_sum(c, o->n_out), y_sum = log_sum(y, o->n_out);
        p[5] = divergence(c, c_sum, y, y_sum, o->n_out);
        p[6] = label >= 0 && label < o->n_out ? y_sum - y[label] : 0;
    }
    return BL_OK;
}

static bl_hash join(bl_hash plan, const bl_hash *weights)
{
    char text[80];
    snprintf(text, sizeof text, "%s %s", plan.hex, weights->hex);
    return bl_hash_of(text, strlen(text));
}

/* Content of a plan, and of the weights that go with it, as far as they decide the score: by what they
 * were made from (grids that were learned: the plan before), so that an answer is found before they are made again. */
static bl_status plan_content(bl_oracle *o, const bl_plan *p, const bl_hash *weights, bl_hash *out)
{
    BL_TRY(bl_plan_content(o->ctx, p, out));
    if (weights) *out = join(*out, weights);
    return BL_OK;
}

static bl_status write_trial(bl_oracle *o, bl_hash plan, const bl_score *s)
{
    if (!o->trials) return BL_OK;
    json_t *j = json_pack("{s:s, s:s}", "plan", plan.hex, "frame", frame_hash(o).hex);
    json_object_set_new(j, "sqnr_db", bl_json_real(s->sqnr_db));
    json_object_set_new(j, "top1", bl_json_real(s->top1));
    json_object_set_new(j, "drop", bl_json_real(s->drop));
    json_object_set_new(j, "drop_error", bl_json_real(s->drop_error));
    json_object_set_new(j, "agreement", bl_json_real(s->agreement));
    json_object_set_new(j, "kl", bl_json_real(s->kl));
    json_object_set_new(j, "cross_entropy", bl_json_real(s->cross_entropy));
    json_object_set_new(j, "seconds", bl_json_real(s->seconds));
    bl_mark mark = bl_arena_mark(o->arena);
    char *line = bl_json_text(o->arena, j, false);
    json_decref(j);
    bl_status st = line ? bl_append_line(o->ctx, o->trials, line) : bl_pending(o->ctx);
    bl_arena_reset(o->arena, mark);
    return st;
}

int64_t bl_oracle_samples(const bl_oracle *o)
{
    return o->n;
}

static bool find_answer(const bl_oracle *o, const bl_hash *content, bl_score *out)
{
    size_t at = o->n_slots ? slot_of(o, content) : 0;
    if (!o->n_slots || !o->slot[at]) return false;
    *out = o->answers[o->slot[at] - 1].score;
    return true;
}

bl_status bl_oracle_recall(bl_oracle *o, const bl_plan *plan, const bl_hash *tune_key, bl_score *out, bool *known)
{
    bl_hash content;
    BL_TRY(plan_content(o, plan, tune_key, &content));
    *known = find_answer(o, &content, out);
    return BL_OK;
}

/* Of the parts, in sample order. */
static bl_score sum_up(const bl_oracle *o)
{
    double sum[PARTS] = { 0 }, square = 0, n = (double)o->n;
    for (int64_t i = 0; i < o->n; i++) {
        const double *p = o->part + i * PARTS;
        for (int k = 0; k < PARTS; k++) sum[k] += p[k];
        square += (p[4] - p[2]) * (p[4] - p[2]);
    }
    bl_score s = { .sqnr_db = 10 * log10(sum[0] / (sum[1] + 1e-12 * sum[0] + 1e-300)), .top1 = NAN, .drop = NAN,
                   .drop_error = NAN, .agreement = sum[3] / n, .kl = sum[5] / n, .cross_entropy = NAN };
    if (!bl_data_labelled(o->data)) return s;
    s.top1 = sum[2] / n;
    s.cross_entropy = sum[6] / n;
    s.drop = (sum[4] - sum[2]) / n;
    if (o->n > 1) s.drop_error = sqrt(fmax(square / n - s.drop * s.drop, 0) / (n - 1));
    return s;
}

bl_status bl_oracle_score(bl_oracle *o, const bl_plan *plan, const bl_weights *weights, bl_score *out)
{
    bl_hash content;
    const bl_hash *of = !weights ? NULL : weights->key.hex[0] ? &weights->key : &weights->hash;
    if (weights && weights->plan.hex[0]) content = join(weights->plan, of);
    else BL_TRY(plan_content(o, plan, of, &content));
    if (find_answer(o, &content, out)) return BL_OK;
    uint64_t start = bl_now_ns();
    bl_shards s = { .graph = o->g, .data = o->data, .index = o->index, .n = o->n, .looks = o->looks, .look = keep_clean };
    if (!o->have_clean) BL_TRY(bl_shards_run(o->ctx, &s, NULL, o));
    o->have_clean = true;
    BL_TRY(bl_fake_new(o->ctx, o->g, plan, weights, &s.fake));
    s.look = score_value;
    bl_status st = bl_shards_run(o->ctx, &s, NULL, o);
    bl_fake_free(s.fake);
    BL_TRY(st);
    bl_score score = sum_up(o);
    score.seconds = (double)(bl_now_ns() - start) * 1e-9;
    BL_TRY(write_trial(o, content, &score));
    BL_TRY(remember(o, content, score));
    *out = score;
    return BL_OK;
}
