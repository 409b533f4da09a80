/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * STATS: what flows is counted, bytes for any number of threads, round trip, what is refused.
 */
#include "tiny_graph.h"

static void stats_count_what_flows(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(2, tiny_residual, 21);
    const bl_value_stats *x = &t->stats->value[t->g->inputs[0]];
    double lo = INFINITY, hi = -INFINITY, sum = 0;
    uint64_t bins[BL_HIST_BINS] = { 0 };
    float sample[108];
    assert_int_equal(t->stats->samples, 21);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t s = 0; s < 21; s++) {
            assert_ok(t->ctx, bl_data_read(t->data, s, 1, sample));
            for (int i = 0; i < 108; i++) {
                if (pass) {
                    int b = (int)((sample[i] - (float)lo) * (float)(BL_HIST_BINS / (hi - lo)));
                    bins[BL_MIN(b, BL_HIST_BINS - 1)]++;
                    continue;
                }
                lo = fmin(lo, (double)sample[i]);
                hi = fmax(hi, (double)sample[i]);
                sum += (double)sample[i];
            }
        }
    assert_int_equal(x->count, 21 * 108);
    assert_true(x->lo == lo && x->hi == hi && fabs(x->mean - sum / (21 * 108)) < 1e-12);
    assert_memory_equal(x->bins, bins, sizeof bins);
    for (int v = 0; v < t->g->n_values; v++) {
        const bl_value_stats *s = &t->stats->value[v];
        bool watched = !t->g->values[v].t.data && t->g->values[v].t.type == BL_F32;
        uint64_t total = 0;
        assert_int_equal(s->count, watched ? 21 * bl_tensor_count(&t->g->values[v].t) : 0);
        for (int b = 0; s->count && b < BL_HIST_BINS; b++) total += s->bins[b];
        assert_int_equal(total, s->count);
        if (s->count) assert_true(s->lo <= s->mean && s->mean <= s->hi && s->mean_square >= s->mean * s->mean * 0.999);
    }
    tiny_free(t);
}

/* x (N,3,6,6) of which the samples come to lie in the second dimension, (3,N,36), and in the third. */
static onnx_build *turned_net(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    ob_input(b, "x", "N,3,6,6");
    ob_int64s(b, "rows", "-1,3,36");
    ob_ints_attr(ob_node(b, "Transpose", "x", "t"), b, "perm", "1,2,0,3");
    ob_ints_attr(ob_node(b, "Transpose", "t", "u"), b, "perm", "0,2,1,3");
    ob_ints_attr(ob_node(b, "Transpose", "u", "back"), b, "perm", "1,0,2,3");
    ob_node(b, "Reshape", "back,rows", "r");
    ob_node(b, "Tanh", "r", "y");
    ob_output(b, "y");
    return b;
}

/* Every value counts each sample once, wherever the samples lie and however many a chunk has. */
static void stats_of_turned_samples(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(2, turned_net, 21);
    const bl_value_stats *x = &t->stats->value[t->g->inputs[0]];
    for (int v = 0; v < t->g->n_values; v++) {
        const bl_value_stats *s = &t->stats->value[v];
        if (t->g->values[v].t.data || t->g->values[v].t.type != BL_F32) continue;
        assert_int_equal(s->count, 21 * 108);
        if (!strcmp(t->g->values[v].name, "y")) continue;
        assert_true(s->lo == x->lo && s->hi == x->hi && fabs(s->mean - x->mean) < 1e-12);
        assert_memory_equal(s->bins, x->bins, sizeof *s->bins * BL_HIST_BINS);
    }
    tiny_free(t);
}

/* x (N,4) of int32 -> Cast -> Gemm -> y (N,3). */
static onnx_build *counted_net(bl_ctx *ctx)
{
    onnx_build *b = ob_new(ctx, 13);
    b->graph.input[b->graph.n_input++] = ob_value(b, "x", BL_I32, "N,4");
    ob_floats(b, "a.w", "3,4", NULL);
    ob_int_attr(ob_node(b, "Cast", "x", "xf"), b, "to", 1);
    ob_int_attr(ob_node(b, "Gemm", "xf,a.w", "y"), b, "transB", 1);
    ob_output(b, "y");
    return b;
}

/* An input that holds no reals is not looked at; the last chunk's rows that repeat a sample are left out all the same. */
static void stats_of_integer_inputs(void **state)
{
    enum { SAMPLES = 17 };
    int32_t codes[SAMPLES][4];
    char folder[256], path[300], spec[320];
    (void)state;
    bl_ctx *ctx = test_ctx(2, 0);
    bl_graph *g = ob_prepared(counted_net(ctx));
    bl_tensor x = g->values[g->inputs[0]].t, all = x;
    double sum = 0;
    for (int s = 0; s < SAMPLES; s++)
        for (int i = 0; i < 4; i++) sum += codes[s][i] = 100 * s + i;
    all.dim[0] = SAMPLES;
    all.data = codes;
    test_folder(folder);
    snprintf(path, sizeof path, "%s/samples.npy", folder);
    snprintf(spec, sizeof spec, "npy:%s", path);
    assert_ok(ctx, bl_npy_write(ctx, path, &all));
    bl_data_options o = {.spec = spec};
    bl_data *data = NULL;
    bl_stats *stats = NULL;
    assert_ok(ctx, bl_data_open(ctx, &o, &x, &data));
    assert_ok(ctx, bl_calibrate(ctx, g, data, NULL, &stats));
    const bl_value_stats *real = &stats->value[bl_graph_find_value(g, "xf")], *y = &stats->value[bl_graph_find_value(g, "y")];
    assert_int_equal(stats->value[g->inputs[0]].count, 0);
    assert_int_equal(real->count, SAMPLES * 4);
    assert_int_equal(y->count, SAMPLES * 3);
    assert_true(real->lo == 0 && real->hi == 100 * (SAMPLES - 1) + 3 && fabs(real->mean - sum / (SAMPLES * 4)) < 1e-9);
    bl_stats_free(stats);
    bl_data_free(data);
    bl_graph_free(g);
    test_folder_remove(folder);
    test_ctx_free(ctx);
}

static void stats_bytes_for_any_threads(void **state)
{
    char *first = NULL, path[400];
    size_t n = 0;
    (void)state;
    for (unsigned threads = 1; threads <= 3; threads++) {
        size_t size;
        tiny *t = tiny_new_net(threads, tiny_residual, 53);
        snprintf(path, sizeof path, "%s/stats.json", t->folder);
        assert_ok(t->ctx, bl_stats_write(t->ctx, t->g, t->stats, path));
        char *text = test_slurp(path, &size);
        if (first) {
            assert_int_equal(size, n);
            assert_memory_equal(text, first, n);
            free(text);
        } else {
            first = text;
            n = size;
        }
        tiny_free(t);
    }
    free(first);
}

typedef struct stats_file { tiny *t; char path[400], copy[400]; char *text; size_t size; } stats_file;

static stats_file stats_written(void)
{
    stats_file f = { .t = tiny_new_net(1, tiny_residual, 5) };
    snprintf(f.path, sizeof f.path, "%s/stats.json", f.t->folder);
    snprintf(f.copy, sizeof f.copy, "%s/copy.json", f.t->folder);
    assert_ok(f.t->ctx, bl_stats_write(f.t->ctx, f.t->g, f.t->stats, f.path));
    f.text = test_slurp(f.path, &f.size);
    return f;
}

static void stats_there_and_back(void **state)
{
    (void)state;
    stats_file f = stats_written();
    bl_stats *back = NULL;
    size_t n;
    assert_ok(f.t->ctx, bl_stats_read(f.t->ctx, f.t->g, f.path, &back));
    assert_string_equal(back->hash.hex, f.t->stats->hash.hex);
    assert_string_equal(back->data.hex, bl_data_hash(f.t->data).hex);
    for (int v = 0; v < f.t->g->n_values; v++)
        if (back->value[v].count)
            assert_memory_equal(back->value[v].bins, f.t->stats->value[v].bins, BL_HIST_BINS * sizeof(uint64_t));
    assert_ok(f.t->ctx, bl_stats_write(f.t->ctx, f.t->g, back, f.copy));
    char *copy = test_slurp(f.copy, &n);
    assert_int_equal(n, f.size);
    assert_memory_equal(copy, f.text, n);
    free(copy);
    bl_stats_free(back);
    bl_graph *other = ob_prepared(tiny_dense(f.t->ctx, false));
    back = NULL;
    assert_fails(f.t->ctx, bl_stats_read(f.t->ctx, other, f.path, &back), BL_DATA, "another network");
    assert_null(back);
    bl_graph_free(other);
    free(f.text);
    tiny_free(f.t);
}

static void stats_damaged(void **state)
{
    (void)state;
    stats_file f = stats_written();
    bl_ctx *ctx = f.t->ctx;
    bl_stats *back = NULL;
    bl_rng r = bl_rng_make(1, "damage", 0);
    for (int i = 0; i < 200; i++) { /* cut off, or one byte another */
        size_t at = (size_t)bl_rng_below(&r, f.size - 2), n = i % 2 ? f.size : at;
        char old = f.text[at];
        f.text[at] = i % 2 ? (char)bl_rng_u64(&r) : old;
        test_dump(f.copy, f.text, n);
        bool same = n == f.size && f.text[at] == old;
        f.text[at] = old;
        bl_status s = bl_stats_read(ctx, f.t->g, f.copy, &back);
        if (s != BL_OK) assert_int_equal(s, BL_DATA);
        if (s != BL_OK) continue;
        if (!same) assert_string_equal(back->hash.hex, f.t->stats->hash.hex); /* white space */
        bl_stats_free(back);
    }
    free(f.text);
    tiny_free(f.t);
}

/* Nonsense with a right hash. */
/* Numbers that no grid reaches are said where they flow, not when the program is made. */
static void stats_of_giants(void **state)
{
    (void)state;
    tiny *t = tiny_new_net(1, turned_net, 3);
    bl_stats *none = NULL;
    char folder[256], path[300], spec[320];
    bl_tensor all = t->g->values[t->g->inputs[0]].t;
    float *x = calloc(3 * 108, sizeof *x);
    assert_non_null(x);
    x[200] = -2e29f;
    all.dim[0] = 3;
    all.data = x;
    test_folder(folder);
    snprintf(path, sizeof path, "%s/samples.npy", folder);
    snprintf(spec, sizeof spec, "npy:%s", path);
    assert_ok(t->ctx, bl_npy_write(t->ctx, path, &all));
    bl_data *data;
    bl_data_options o = { .spec = spec };
    assert_ok(t->ctx, bl_data_open(t->ctx, &o, &t->g->values[t->g->inputs[0]].t, &data));
    assert_fails(t->ctx, bl_calibrate(t->ctx, t->g, data, NULL, &none), BL_DATA, "numbers of -2e+29 in this value");
    assert_null(none);
    bl_data_free(data);
    free(x);
    tiny_free(t);
}

static void stats_of_nonsense(void **state)
{
    (void)state;
    stats_file f = stats_written();
    bl_ctx *ctx = f.t->ctx;
    static const struct { const char *key; const char *json; const char *what; } cases[] = {
        { "lo", "1e9", "lo > hi" },         { "lo", "null", "lo" },       { "hi", "\"7\"", "hi" },
        { "count", "0", "count" },          { "count", "-4", "count" },   { "histogram", "[1,-1]", "histogram entry 1" },
        { "histogram", "[1.5]", "histogram" }, { "histogram", "7", "histogram" }, { "name", "\"nobody\"", "nobody" },
        { "mean", "\"\"", "mean" } };
    for (size_t i = 0; i < BL_COUNTOF(cases); i++) {
        json_t *r = NULL;
        bl_hash hash;
        bl_stats *back = NULL;
        assert_ok(ctx, bl_json_read(ctx, f.path, &r));
        json_object_set_new(json_array_get(json_object_get(r, "values"), 2), cases[i].key,
                            json_loads(cases[i].json, JSON_DECODE_ANY, NULL));
        assert_ok(ctx, bl_record_write(ctx, r, f.copy, &hash));
        json_decref(r);
        assert_fails(ctx, bl_stats_read(ctx, f.t->g, f.copy, &back), BL_DATA, cases[i].what);
        assert_null(back);
    }
    free(f.text);
    tiny_free(f.t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stats_count_what_flows),
        cmocka_unit_test(stats_of_turned_samples),
        cmocka_unit_test(stats_of_integer_inputs),
        cmocka_unit_test(stats_bytes_for_any_threads),
        cmocka_unit_test(stats_there_and_back),
        cmocka_unit_test(stats_damaged),
        cmocka_unit_test(stats_of_giants),
        cmocka_unit_test(stats_of_nonsense),
    };
    return cmocka_run_group_tests(tests, test_setup_two, test_teardown);
}
