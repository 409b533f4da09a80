/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * SENS against a walk under a plan that quantizes one unit alone, its record; the oracle and its
 * trials; evaluation of floats, plans and programs.
 */
#include "tiny_graph.h"

#include "sense/probe.h"

static void add_text(const char *path, const char *text)
{
    FILE *f = fopen(path, "ab");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static tiny *sensed_net(unsigned threads, int64_t samples)
{
    tiny *t = tiny_new_net(threads, tiny_residual, samples);
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, NULL, &t->menu));
    return t;
}

static bl_sens *sense(tiny *t)
{
    bl_sens *s = NULL;
    bl_sense_input in = { .graph = t->g, .menu = t->menu, .stats = t->stats, .data = t->data };
    assert_ok(t->ctx, bl_sense(t->ctx, &in, &s));
    return s;
}

/* ------------------------------------------------------------------ a plan of one unit */

static bl_plan *plan_of_one_unit(tiny *t, int unit, int candidate)
{
    bl_plan *whole = NULL;
    memset(t->choice, 0, sizeof t->choice);
    t->choice[unit] = candidate;
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "one", &whole));
    for (int i = 0; i < whole->n_quantizers; i++) {
        int v = whole->quantizers[i].value;
        bool mine = t->menu->unit_of_value[v] == unit;
        for (int l = 0; l < t->menu->units[unit].n_layers; l++)
            mine |= bl_layer_weight(t->g, t->menu->units[unit].layers[l]) == v;
        if (!mine) whole->of_value[v] = -1; /* nobody finds it any more */
    }
    return whole;
}

typedef struct kept { float *y; int64_t per; int value; double signal[8], noise[8]; } kept;

static bl_status keep_clean(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    kept *k = user;
    (void)chunk, (void)worker;
    memcpy(k->y + first * k->per, bl_walk_value(walk, k->value)->data, (size_t)(count * k->per) * sizeof(float));
    return BL_OK;
}

static bl_status compare_noisy(void *user, bl_walk *walk, size_t chunk, int64_t first, int64_t count, unsigned worker)
{
    kept *k = user;
    (void)worker;
    const float *y = bl_walk_value(walk, k->value)->data, *c = k->y + first * k->per;
    for (int64_t i = 0; i < count * k->per; i++) {
        double e = (double)c[i] - (double)y[i];
        k->signal[chunk] += (double)c[i] * (double)c[i];
        k->noise[chunk] += e * e;
    }
    return BL_OK;
}

static void one_unit_alone(void **state)
{
    (void)state;
    enum { SAMPLES = 20, CHUNKS = 2 }; /* 16 and a rest of 4 */
    tiny *t = sensed_net(1, SAMPLES);
    bl_sens *s = sense(t);
    assert_int_equal(s->samples, SAMPLES);
    assert_string_equal(s->metric, "sqnr");
    static const char *const names[] = { "a", "b", "sum", "c" }; /* their layers have no bias to be rounded */
    float clean[SAMPLES * 4];
    int output = bl_metric_value(t->g, 0);
    assert_int_equal(output, bl_graph_find_value(t->g, "y"));
    bl_shards run = { .graph = t->g, .data = t->data, .n = SAMPLES, .keep_all = true, .run = true };
    kept k = { .y = clean, .per = 4, .value = output };
    assert_ok(t->ctx, bl_shards_run(t->ctx, &run, keep_clean, &k));
    for (size_t i = 0; i < BL_COUNTOF(names); i++) {
        int u = bl_menu_find(t->menu, names[i]);
        for (int c = 0; c < t->menu->units[u].n_candidates; c++) {
            bl_plan *plan = plan_of_one_unit(t, u, c);
            bl_fake *fake = NULL;
            assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, plan, NULL, &fake));
            run.fake = fake;
            memset(k.signal, 0, sizeof k.signal);
            memset(k.noise, 0, sizeof k.noise);
            assert_ok(t->ctx, bl_shards_run(t->ctx, &run, compare_noisy, &k));
            double signal = 0, noise = 0;
            for (int n = 0; n < CHUNKS; n++) signal += k.signal[n], noise += k.noise[n];
            double ratio = signal / (noise + 1e-12 * signal);
            const bl_sens_cell *cell = &s->cell[u][c];
            if (!(fabs(cell->value - 10 * log10(ratio)) < 1e-6))
                fail_msg("%s candidate %d: %.9g dB instead of %.9g", names[i], c, cell->value, 10 * log10(ratio));
            assert_true(c ? fabs(cell->objective * ratio - 1) < 1e-6 : cell->objective == 0);
            assert_true(cell->standard_error >= 0 && isfinite(cell->standard_error));
            bl_fake_free(fake);
            bl_plan_free(plan);
        }
        assert_true(s->cell[u][0].value > s->cell[u][t->menu->units[u].n_candidates - 1].value); /* fewer bits hurt */
    }
    for (int u = 0; u < t->menu->n_units; u++) assert_int_equal(s->cell[u] != NULL, t->menu->units[u].n_candidates > 1);
    bl_sens_free(s);
    tiny_free(t);
}

static onnx_build *softmax_net(bl_ctx *ctx)
{
    return tiny_dense(ctx, true);
}

static onnx_build *zero_net(bl_ctx *ctx)
{
    onnx_build *b = tiny_dense(ctx, false);
    for (size_t i = 0; i < b->graph.n_initializer; i++)
        if (!strcmp(b->graph.initializer[i]->name, "c.w"))
            memset(b->graph.initializer[i]->raw_data.data, 0, b->graph.initializer[i]->raw_data.len);
    return b;
}

static void where_the_metric_is_taken(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, softmax_net, 4);
    assert_int_equal(bl_metric_value(t->g, 0), bl_graph_find_value(t->g, "c"));
    tiny_free(t);
    t = tiny_new_net(1, zero_net, 4); /* no signal, no ratio: a sentence instead of infinities */
    bl_sens *s = NULL;
    bl_menu_options o = { .w_bits = { 8, 4 }, .n_w = 2, .a_bits = { 8 }, .n_a = 1 };
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &t->menu));
    bl_sense_input in = { .graph = t->g, .menu = t->menu, .stats = t->stats, .data = t->data };
    assert_fails(t->ctx, bl_sense(t->ctx, &in, &s), BL_DATA, "zero on all samples");
    bl_sense_options bad = { .metric = "taste" };
    in.options = &bad;
    assert_fails(t->ctx, bl_sense(t->ctx, &in, &s), BL_USAGE, "unknown sensitivity");
    bad = (bl_sense_options){ .grids = { .act_range = "none" } };
    assert_fails(t->ctx, bl_sense(t->ctx, &in, &s), BL_USAGE, "unknown range");
    bad = (bl_sense_options){ .grids = { .weight_range = "none" } };
    assert_fails(t->ctx, bl_sense(t->ctx, &in, &s), BL_USAGE, "unknown range");
    assert_null(s);
    tiny_free(t);
}

static void same_bytes_for_any_threads(void **state)
{
    char *first = NULL, path[400];
    (void)state;
    for (unsigned threads = 1; threads <= 3; threads++) {
        size_t size, n;
        tiny *t = sensed_net(threads, 40);
        snprintf(path, sizeof path, "%s/stats.json", t->folder);
        assert_ok(t->ctx, bl_stats_write(t->ctx, t->g, t->stats, path));
        bl_sens *s = sense(t);
        snprintf(path, sizeof path, "%s/sens.json", t->folder);
        assert_ok(t->ctx, bl_sens_write(t->ctx, t->menu, s, path));
        char *text = test_slurp(path, &size);
        if (first) {
            n = strlen(first);
            assert_int_equal(size, n);
            assert_memory_equal(text, first, n);
            free(text);
        } else {
            first = text;
        }
        bl_sens_free(s);
        tiny_free(t);
    }
    free(first);
}

static void record_there_and_back(void **state)
{
    (void)state;
    tiny *t = sensed_net(1, 8);
    char path[400], copy[400];
    size_t n, m;
    bl_sens *s = NULL, *back = NULL;
    snprintf(path, sizeof path, "%s/sens.json", t->folder);
    snprintf(copy, sizeof copy, "%s/copy.json", t->folder);
    assert_ok(t->ctx, bl_stats_write(t->ctx, t->g, t->stats, copy)); /* gives it its hash */
    s = sense(t);
    assert_ok(t->ctx, bl_sens_write(t->ctx, t->menu, s, path));
    assert_ok(t->ctx, bl_sens_read(t->ctx, t->g, t->menu, path, &back));
    assert_string_equal(s->hash.hex, back->hash.hex);
    for (int u = 0; u < s->n_units; u++)
        for (int c = 0; s->cell[u] && c < t->menu->units[u].n_candidates; c++)
            assert_memory_equal(&s->cell[u][c], &back->cell[u][c], sizeof **s->cell);
    assert_ok(t->ctx, bl_sens_write(t->ctx, t->menu, back, copy));
    char *one = test_slurp(path, &n), *two = test_slurp(copy, &m);
    assert_string_equal(one, two);
    free(one);
    free(two);
    bl_sens_free(back);
    back = NULL;
    bl_menu *other_menu = NULL;
    bl_menu_options o = { .w_bits = { 8, 5 }, .n_w = 2, .a_bits = { 8 }, .n_a = 1 };
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, &o, &other_menu));
    assert_fails(t->ctx, bl_sens_read(t->ctx, t->g, other_menu, path, &back), BL_DATA, "other candidate widths");
    bl_menu_free(other_menu);
    bl_graph *other = ob_prepared(tiny_dense(t->ctx, false));
    assert_ok(t->ctx, bl_menu_make(t->ctx, other, NULL, &other_menu));
    assert_fails(t->ctx, bl_sens_read(t->ctx, other, other_menu, path, &back), BL_DATA, "another network");
    bl_menu_free(other_menu);
    bl_graph_free(other);
    static const struct { const char *of, *key, *json, *what; } cases[] = {
        { "", "samples", "0", "samples" },        { "", "units", "[]", "not every unit" }, { "", "metric", "1", "metric" },
        { "unit", "name", "\"nobody\"", "nobody" }, { "unit", "candidates", "[]", "other candidates" },
        { "cell", "candidate", "\"W7A7\"", "W7A7" }, { "cell", "objective", "null", "objective" },
        { "cell", "value", "\"1\"", "value" } };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = NULL;
        bl_hash hash;
        assert_ok(t->ctx, bl_json_read(t->ctx, path, &r));
        json_t *unit = json_array_get(json_object_get(r, "units"), 1);
        json_t *cell = json_array_get(json_object_get(unit, "candidates"), 1);
        json_object_set_new(!*cases[i].of ? r : *cases[i].of == 'u' ? unit : cell, cases[i].key,
                            json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        assert_ok(t->ctx, bl_record_write(t->ctx, r, copy, &hash));
        assert_fails(t->ctx, bl_sens_read(t->ctx, t->g, t->menu, copy, &back), BL_DATA, cases[i].what);
        json_object_set_new(r, "hash", json_string("0123"));
        assert_ok(t->ctx, bl_json_write(t->ctx, copy, r));
        assert_fails(t->ctx, bl_sens_read(t->ctx, t->g, t->menu, copy, &back), BL_DATA, "damaged or edited");
        json_decref(r);
    }
    assert_null(back);
    bl_sens_free(s);
    tiny_free(t);
}

/* ------------------------------------------------------------------ the oracle */

static bl_plan *plan_of(tiny *t, int candidate)
{
    bl_plan *p = NULL;
    for (int u = 0; u < t->menu->n_units; u++) t->choice[u] = BL_MIN(candidate, t->menu->units[u].n_candidates - 1);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "test", &p));
    return p;
}

static size_t lines_of(const char *path)
{
    size_t n, lines = 0;
    char *text = test_slurp(path, &n);
    for (size_t i = 0; i < n; i++) lines += text[i] == '\n';
    free(text);
    return lines;
}

static void assert_same_score(const bl_score *a, const bl_score *b)
{
    assert_true(fabs(a->sqnr_db - b->sqnr_db) < 1e-12 && a->top1 == b->top1 && a->agreement == b->agreement);
}

static void answers_are_remembered(void **state)
{
    (void)state;
    tiny *t = sensed_net(2, 24);
    char trials[400];
    snprintf(trials, sizeof trials, "%s/trials.jsonl", t->folder);
    bl_plan *wide = plan_of(t, 0), *narrow = plan_of(t, 9);
    bl_oracle *o = NULL;
    bl_score first, again, low;
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, t->data, 24, trials, &o));
    assert_ok(t->ctx, bl_oracle_score(o, wide, NULL, &first));
    assert_false(first.remembered);
    assert_ok(t->ctx, bl_oracle_score(o, narrow, NULL, &low));
    assert_true(low.sqnr_db < first.sqnr_db && first.agreement > 0.9 && first.seconds > 0);
    assert_ok(t->ctx, bl_oracle_score(o, wide, NULL, &again));
    assert_same_score(&first, &again);
    assert_int_equal(lines_of(trials), 2);
    bl_oracle_free(o);

    add_text(trials, "this is no JSON\n{\"plan\":7}\n{\"plan\":\"short\",\"frame\":\"x\"}\n[]\n\n{\"plan\":\"0123"); /* killed */
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, t->data, 24, trials, &o));
    assert_ok(t->ctx, bl_oracle_score(o, wide, NULL, &again));
    assert_true(again.remembered);
    assert_same_score(&first, &again);
    bl_plan *third = plan_of(t, 4);
    assert_ok(t->ctx, bl_oracle_score(o, third, NULL, &again));
    assert_false(again.remembered);
    bl_oracle_free(o);
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, t->data, 24, trials, &o)); /* written behind the cut line, and found */
    bl_score later;
    assert_ok(t->ctx, bl_oracle_score(o, third, NULL, &later));
    assert_true(later.remembered);
    assert_same_score(&again, &later);
    third->quantizers[2].scale[0] *= 1.5f; /* another plan */
    assert_ok(t->ctx, bl_oracle_score(o, third, NULL, &later));
    assert_false(later.remembered);
    float bias[4] = { 1, 2, 3, 4 }; /* the same plan with other weights */
    bl_weight_item item = { .value = bl_graph_find_value(t->g, "f.b"), .data = bias, .count = 4 };
    bl_weights w = { .arena = t->stats->arena, .n_items = 1, .items = &item };
    assert_ok(t->ctx, bl_weights_seal(t->ctx, t->g, &w));
    assert_ok(t->ctx, bl_oracle_score(o, wide, &w, &later));
    assert_false(later.remembered);
    assert_true(later.sqnr_db < first.sqnr_db);
    bl_oracle_free(o);

    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, t->data, 12, trials, &o)); /* other samples */
    assert_ok(t->ctx, bl_oracle_score(o, wide, NULL, &again));
    assert_false(again.remembered);
    bl_oracle_free(o);
    tiny *u = tiny_new_net(1, softmax_net, 24); /* another network */
    assert_ok(u->ctx, bl_menu_make(u->ctx, u->g, NULL, &u->menu));
    bl_plan *other = plan_of(u, 0);
    assert_ok(u->ctx, bl_oracle_new(u->ctx, u->g, u->data, 24, trials, &o));
    assert_ok(u->ctx, bl_oracle_score(o, other, NULL, &again));
    assert_false(again.remembered);
    bl_oracle_free(o);
    bl_plan_free(other);
    tiny_free(u);
    bl_plan_free(third);
    bl_plan_free(narrow);
    bl_plan_free(wide);
    tiny_free(t);
}

static void scores_are_those_of_the_walk(void **state)
{
    (void)state;
    tiny *t = sensed_net(2, 37);
    bl_plan *p = plan_of(t, 7);
    bl_oracle *o = NULL;
    bl_score score;
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, t->data, 0, NULL, &o));
    assert_ok(t->ctx, bl_oracle_score(o, p, NULL, &score));
    bl_fake *fake = NULL;
    bl_eval_result clean, noisy;
    bl_eval_options keep = { .scores = true };
    assert_ok(t->ctx, bl_fake_new(t->ctx, t->g, p, NULL, &fake));
    bl_eval_subject subject = { .graph = t->g };
    assert_ok(t->ctx, bl_eval(t->ctx, &subject, t->data, &keep, &clean));
    subject.fake = fake;
    assert_ok(t->ctx, bl_eval(t->ctx, &subject, t->data, &keep, &noisy));
    double signal = 0, noise = 0, agree = 0, hits = 0;
    for (int i = 0; i < 37 * 4; i++) {
        double e = (double)clean.scores[i] - (double)noisy.scores[i];
        signal += (double)clean.scores[i] * (double)clean.scores[i];
        noise += e * e;
    }
    for (int i = 0; i < 37; i++) {
        agree += clean.predictions[i] == noisy.predictions[i];
        hits += noisy.predictions[i] == i % 3;
    }
    assert_true(fabs(score.sqnr_db - 10 * log10(signal / (noise + 1e-12 * signal))) < 1e-6);
    assert_true(score.agreement == agree / 37 && score.top1 == hits / 37 && noisy.top1 == hits / 37);
    bl_eval_free(&clean);
    bl_eval_free(&noisy);
    bl_fake_free(fake);
    bl_oracle_free(o);
    bl_data *plain = tiny_data(t, 5, 1, false);
    assert_ok(t->ctx, bl_oracle_new(t->ctx, t->g, plain, 0, NULL, &o));
    assert_ok(t->ctx, bl_oracle_score(o, p, NULL, &score));
    assert_true(isnan(score.top1));
    bl_oracle_free(o);
    bl_data_free(plain);
    bl_plan_free(p);
    tiny_free(t);
}

static void programs_are_evaluated_alike(void **state)
{
    (void)state;
    for (unsigned threads = 1; threads <= 2; threads++) {
        tiny *t = sensed_net(threads, 50);
        bl_plan *p = plan_of(t, 0);
        bl_program *program = NULL;
        bl_exec *e = NULL;
        bl_eval_result r;
        bl_eval_options o = { .scores = true, .limit = 45 };
        assert_ok(t->ctx, bl_lower(t->ctx, t->g, p, NULL, &program));
        bl_eval_subject subject = { .program = program };
        assert_ok(t->ctx, bl_eval(t->ctx, &subject, t->data, &o, &r));
        assert_int_equal(r.samples, 45);
        assert_true(isnan(r.top5) && isnan(r.mse) && r.top1 >= 0); /* four classes: no top 5 */
        assert_ok(t->ctx, bl_exec_new(t->ctx, program, NULL, &e));
        for (int i = 0; i < 45; i++) {
            assert_ok(t->ctx, bl_data_read(t->data, i, 1, bl_exec_input(e, 0)));
            assert_ok(t->ctx, bl_exec_run(e, NULL, NULL));
            assert_memory_equal(bl_exec_output(e, 0), r.scores + 4 * i, 4 * sizeof(float));
        }
        bl_exec_free(e);
        bl_eval_free(&r);
        o = (bl_eval_options){ .metric = "mse" };
        assert_fails(t->ctx, bl_eval(t->ctx, &subject, t->data, &o, &r), BL_USAGE, "no reconstruction");
        o.metric = "taste";
        assert_fails(t->ctx, bl_eval(t->ctx, &subject, t->data, &o, &r), BL_USAGE, "unknown metric");
        bl_program_free(program);
        bl_plan_free(p);
        tiny_free(t);
    }
}

/* ------------------------------------------------------------------ ranges by the network's output */

/* Noise at the output with one unit's values alone on the grid of one row. */
static double noise_of(tiny *t, int unit, int bits, const char *range)
{
    bl_arena *a = bl_arena_new(t->ctx, "test");
    bl_sens sens = { .act_range = "mse" };
    bl_sense_options o = { .samples = 0 };
    bl_sense_input in = { t->g, t->menu, t->stats, t->data, &o };
    bl_probe q = { .unit = unit, .layer = -1, .a_bits = bits, .mask = -1, .range = range };
    bl_probes p = { .in = &in, .sens = &sens, .list = &q, .n = 1, .measure = bl_probe_noise };
    assert_ok(t->ctx, bl_probes_run(t->ctx, &p, a));
    double sum = bl_probe_sum(&p, 0, 0, 1).value;
    bl_arena_free(a);
    return sum;
}

static void ranges_by_the_output(void **state)
{
    (void)state;
    tiny *t = sensed_net(1, 40);
    bl_sense_options o = { .grids.act_range = "auto" };
    bl_sense_input in = { t->g, t->menu, t->stats, t->data, &o };
    int chosen = 0, left = 0;
    assert_ok(t->ctx, bl_ranges_choose(t->ctx, &in, t->menu));
    for (int u = 0; u < t->menu->n_units; u++)
        for (int bits = 1; bits <= 16; bits++) {
            const bl_unit *unit = &t->menu->units[u];
            bool offered = false;
            for (int c = 0; c < unit->n_candidates; c++) offered |= unit->candidates[c].a_bits == bits;
            assert_int_equal(unit->range[bits] != NULL, offered);
            if (!offered) continue;
            const char *range = unit->range[bits];
            double found, usual;
            t->menu->units[u].range[bits] = NULL; /* else the probe would get it whatever it asks for */
            found = noise_of(t, u, bits, range);
            usual = noise_of(t, u, bits, "mse-ends");
            t->menu->units[u].range[bits] = range;
            chosen++;
            if (!strcmp(range, "mse-ends")) continue;
            left++;
            assert_true(10 * log10(usual / found) >= 0.5);
            assert_non_null(strstr(unit->why[bits], "than mse-ends"));
        }
    assert_true(chosen >= t->menu->n_units && left > 0);
    bl_plan *plan = NULL; /* the plan has the ranges and the reasons */
    bl_grid_options grids = { .act_range = "auto" };
    memset(t->choice, 0, sizeof t->choice);
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, &grids, "one", &plan));
    for (int i = 0; i < plan->n_quantizers; i++) {
        const bl_quantizer *q = &plan->quantizers[i];
        int u = t->menu->unit_of_value[q->value];
        if (u < 0) continue;
        assert_string_equal(q->range, t->menu->units[u].range[q->bits]);
        assert_string_equal(q->why, t->menu->units[u].why[q->bits]);
    }
    bl_plan_free(plan);
    o.grids.act_range = "minmax"; /* a row that stands for itself chooses nothing */
    assert_ok(t->ctx, bl_ranges_choose(t->ctx, &in, t->menu));
    for (int u = 0; u < t->menu->n_units; u++) assert_null(t->menu->units[u].range[8]);
    o.grids.act_range = "none";
    assert_int_equal(bl_ranges_choose(t->ctx, &in, t->menu), BL_USAGE);
    tiny_free(t);
}

static void ranges_there_and_back(void **state)
{
    (void)state;
    const char *path = "ranges_test.json";
    tiny *t = sensed_net(1, 20);
    bl_sense_options o = { .grids.act_range = "auto" };
    bl_sense_input in = { t->g, t->menu, t->stats, t->data, &o };
    bl_menu *other;
    bl_hash key = bl_hash_of("a", 1), wrong = bl_hash_of("b", 1);
    bool fits = true;
    assert_ok(t->ctx, bl_menu_make(t->ctx, t->g, NULL, &other));
    assert_ok(t->ctx, bl_ranges_choose(t->ctx, &in, t->menu));
    assert_ok(t->ctx, bl_ranges_write(t->ctx, t->menu, &key, path));
    assert_ok(t->ctx, bl_ranges_read(t->ctx, other, &wrong, path, &fits));
    assert_false(fits);
    assert_ok(t->ctx, bl_ranges_read(t->ctx, other, &key, path, &fits));
    assert_true(fits);
    for (int u = 0; u < other->n_units; u++)
        for (int bits = 1; bits <= 16; bits++) {
            const bl_unit *a = &t->menu->units[u], *b = &other->units[u];
            assert_int_equal(a->range[bits] != NULL, b->range[bits] != NULL);
            if (!a->range[bits]) continue;
            assert_string_equal(a->range[bits], b->range[bits]);
            assert_string_equal(a->why[bits], b->why[bits]);
        }
    bl_menu_free(other);
    unlink(path);
    tiny_free(t);
}

/* ------------------------------------------------------------------ the worst units */

static void worst_units_first(void **state)
{
    (void)state;
    tiny *t = sensed_net(1, 20);
    bl_plan *plan = NULL;
    bl_sense_input in = { .graph = t->g, .menu = t->menu, .stats = t->stats, .data = t->data };
    bl_arena *a = bl_arena_new(t->ctx, "test");
    bl_worst *list;
    int n, sum = bl_menu_find(t->menu, "sum"), narrow = 0;
    const bl_unit *unit = &t->menu->units[sum];
    for (int c = 0; c < unit->n_candidates; c++) /* all at eight bits but this one's weights */
        if (unit->candidates[c].a_bits == 8 && unit->candidates[c].w_bits == 2) narrow = c;
    assert_true(narrow > 0);
    memset(t->choice, 0, sizeof t->choice);
    t->choice[sum] = narrow;
    assert_ok(t->ctx, bl_plan_make(t->ctx, t->g, t->menu, t->stats, t->choice, NULL, "one", &plan));
    assert_ok(t->ctx, bl_worst_find(t->ctx, &in, plan, 1000, a, &list, &n));
    assert_int_equal(n, t->menu->n_units);
    assert_int_equal(list[0].unit, sum);
    assert_int_equal(list[0].w_bits, 2);
    assert_int_equal(list[0].a_bits, 8);
    assert_true(list[0].weights_db < list[0].values_db && fabs(list[0].weights_db - list[0].alone_db) < 1);
    assert_string_equal(list[0].help, "8-bit weights");
    assert_true(list[0].helped_db > list[0].alone_db + 10);
    double shares = 0;
    for (int i = 0; i < n; i++) {
        shares += list[i].share;
        assert_true(i == 0 || list[i].nsr <= list[i - 1].nsr);
        assert_true(list[i].w_bits > 0 || !isfinite(list[i].weights_db));
    }
    assert_true(fabs(shares - 1) < 1e-9);
    assert_ok(t->ctx, bl_worst_find(t->ctx, &in, plan, 2, a, &list, &n));
    assert_int_equal(n, 2);
    bl_arena_free(a);
    bl_plan_free(plan);
    tiny_free(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_unit_alone),
        cmocka_unit_test(where_the_metric_is_taken),
        cmocka_unit_test(same_bytes_for_any_threads),
        cmocka_unit_test(record_there_and_back),
        cmocka_unit_test(answers_are_remembered),
        cmocka_unit_test(scores_are_those_of_the_walk),
        cmocka_unit_test(programs_are_evaluated_alike),
        cmocka_unit_test(ranges_by_the_output),
        cmocka_unit_test(ranges_there_and_back),
        cmocka_unit_test(worst_units_first),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
