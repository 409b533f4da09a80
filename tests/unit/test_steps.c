/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Whole networks on real samples: how far the fake-quantized walk and the integer program lie apart, in
 * steps of each value's grid.  Three figures for a network: each operator alone (it reads the integers'
 * values), the whole walk (it reads its own), and, as the scale for the second, the integer program
 * against itself with one element of its input one step off: what one step does to this network by
 * itself.  The first figure is held; the others are printed.  Quick networks, all of models.json
 * with BL_TEST_LONG=1, one by name with BITLATHE_STEPS=NAME.
 */
#include "fake_net.h"

#include "data/data.h"

enum { CALIBRATION = 16, PLACES = 5 };

typedef struct seen {
    net *t;
    uint16_t **code;            /* by value number: the integers */
    bl_grid *grid;
    int64_t *flipped;           /* by value number: the operator alone, one step or more off */
    int64_t values, one, more, local_one, local_more;
} seen;

/* ------------------------------------------------------------------ steps */

static bl_status keep_codes(void *user, uint32_t step, uint32_t tensor)
{
    seen *s = user;
    const bl_program *p = s->t->program;
    for (uint32_t later = step + 1; later < p->n_steps; later++)
        if (bl_step_writes(p, &p->steps[later], (int32_t)tensor)) return BL_OK;
    for (uint32_t i = tensor; i < p->n_tensors; i++) { /* and what shares its memory */
        uint32_t root = i;
        const bl_ptensor *x = &p->tensors[i];
        while (p->tensors[root].alias >= 0) root = (uint32_t)p->tensors[root].alias;
        if (root != tensor || x->raw || x->flags & BL_TENSOR_INNER) continue;
        int v = bl_graph_find_value(s->t->g, p->strings + x->name);
        if (!s->code[v]) s->code[v] = BL_NEW(s->t->a, uint16_t, (size_t)bl_tensor_count(&s->t->g->values[v].t));
        s->grid[v] = x->grid;
        bl_exec_read(s->t->exec, i, s->code[v]);
    }
    return BL_OK;
}

static void count_steps(const seen *s, int v, const float *x, int64_t *one, int64_t *more)
{
    for (int64_t i = 0; i < bl_tensor_count(&s->t->g->values[v].t); i++) {
        int32_t d = abs(bl_quantize(x[i], s->grid[v]) - s->code[v][i]);
        *one += d == 1;
        *more += d > 1;
    }
}

/* Each value is compared, then replaced by the integers': how far one operator alone goes astray. */
static bl_status follow_integers(void *user, int v, bl_tensor *t)
{
    seen *s = user;
    if (!s->code[v]) return BL_OK;
    int64_t before = s->local_one + s->local_more;
    count_steps(s, v, t->data, &s->local_one, &s->local_more);
    s->flipped[v] = s->local_one + s->local_more - before;
    s->values += bl_tensor_count(t);
    for (int64_t i = 0; i < bl_tensor_count(t); i++) ((float *)t->data)[i] = bl_dequantize(s->code[v][i], s->grid[v]);
    return BL_OK;
}

/* Where the whole walk first leaves the integers, and where by more than a step. */
static void print_first(const seen *s, const bl_walk *walk)
{
    const bl_graph *g = s->t->g;
    int flip = -1;
    for (int n = 0; n < g->n_nodes; n++) {
        int v = g->nodes[n].out[0];
        if (!s->code[v]) continue;
        int64_t one = 0, more = 0;
        count_steps(s, v, bl_walk_value(walk, v)->data, &one, &more);
        if (one + more && flip < 0) {
            flip = n;
            print_message("    first difference: %s %s, node %d of %d, %lld values, %lld of them the operator's own\n", g->nodes[n].op->name,
                          g->values[v].name, n, g->n_nodes, (long long)(one + more), (long long)s->flipped[v]);
        }
        if (!more) continue;
        print_message("    first beyond one step: %s %s, node %d, %lld of %lld values, %lld the operator's own\n", g->nodes[n].op->name,
                      g->values[v].name, n, (long long)more, (long long)bl_tensor_count(&g->values[v].t), (long long)s->flipped[v]);
        return;
    }
}

static void compare_walks(net *t, seen *s, const float *const *x)
{
    bl_fake *fake = NULL;
    bl_walk *whole = run_fake(t, x, false, &fake), *walk = NULL;
    bl_walk_options o = { .keep_all = true };
    for (int v = 0; v < t->g->n_values; v++)
        if (s->code[v]) count_steps(s, v, bl_walk_value(whole, v)->data, &s->one, &s->more);
    assert_ok(t->ctx, bl_walk_new(t->ctx, t->g, &o, &walk));
    assert_ok(t->ctx, bl_fake_attach(fake, walk));
    for (int i = 0; i < t->g->n_inputs; i++) memcpy(bl_walk_input(walk, i)->data, x[i], bl_tensor_bytes(bl_walk_input(walk, i)));
    assert_ok(t->ctx, bl_walk_run(walk, follow_integers, s));
    print_first(s, whole);
    bl_walk_free(walk);
    bl_walk_free(whole);
    bl_fake_free(fake);
}

/* The integers against themselves: element `at` of the input one step further. */
static void count_one_step(net *t, const seen *s, seen *moved, const float *x, int64_t at, int64_t *one, int64_t *more)
{
    int input = t->g->inputs[0];
    int64_t n = bl_tensor_count(&t->g->values[input].t);
    float *to = bl_exec_input(t->exec, 0);
    bl_grid grid = s->grid[input];
    memcpy(to, x, (size_t)n * sizeof *to);
    int32_t q = bl_quantize(to[at], grid);
    to[at] = bl_dequantize(q < grid.hi ? q + 1 : q - 1, grid);
    assert_ok(t->ctx, bl_exec_run(t->exec, keep_codes, moved));
    *one = *more = 0;
    for (int v = 0; v < t->g->n_values; v++)
        for (int64_t i = 0; s->code[v] && i < bl_tensor_count(&t->g->values[v].t); i++) {
            int d = abs(s->code[v][i] - moved->code[v][i]);
            *one += d == 1;
            *more += d > 1;
        }
}

/* Of some elements, spread over the input, the one that does most. */
static void worst_step(net *t, const seen *s, const float *x, int64_t *one, int64_t *more)
{
    seen moved = { .t = t, .code = BL_NEW(t->a, uint16_t *, (size_t)t->g->n_values), .grid = s->grid };
    int64_t n = bl_tensor_count(&t->g->values[t->g->inputs[0]].t);
    *one = *more = 0;
    for (int k = 1; k < PLACES; k++) {
        int64_t o, m;
        count_one_step(t, s, &moved, x, n * k / PLACES, &o, &m);
        if (m > *more || (m == *more && o > *one)) *one = o, *more = m;
    }
}

/* ------------------------------------------------------------------ networks and their samples */

/* "--key value ..." of models.json, paths below ../shared turned to where that is. */
static void read_words(net *t, const char *words, bl_data_options *o)
{
    const char *base = getenv("BITLATHE_SHARED"), *from = "../shared";
    char *text = BL_NEW(t->a, char, 4096), *to = text, *save = NULL;
    if (!base || !*base) base = from;
    while (*words) {
        assert_true(to - text < 2048);
        if (strncmp(words, from, strlen(from)) == 0) to += sprintf(to, "%s", base), words += strlen(from);
        else *to++ = *words++;
    }
    *to = 0;
    *o = (bl_data_options){ 0 };
    for (char *key = strtok_r(text, " ", &save); key; key = strtok_r(NULL, " ", &save)) {
        char *value = strtok_r(NULL, " ", &save);
        assert_non_null(value);
        if (strcmp(key, "--metric") != 0) assert_ok(t->ctx, bl_data_option(t->ctx, key + 2, value, o));
    }
}

static const char *words_of(bl_ctx *ctx, const char *file, json_t **keep)
{
    char path[512];
    size_t i;
    json_t *m;
    assert_ok(ctx, bl_json_read(ctx, test_shared("models/models.json", path), keep));
    json_t *list = json_is_array(*keep) ? *keep : json_object_get(*keep, "models");
    json_array_foreach(list, i, m)
    if (strcmp(json_string_value(json_object_get(m, "file")), file) == 0) return json_string_value(json_object_get(m, "calib_args"));
    fail_msg("models.json does not know %s", file);
    return NULL;
}

static void compare_network(bl_ctx *ctx, const char *file, const char *words)
{
    char path[512], name[300];
    bl_graph *g = NULL, *prepared = NULL;
    json_t *models = NULL;
    bl_data *data = NULL;
    bl_data_options d;
    int64_t one = 0, more = 0;
    snprintf(name, sizeof name, "models/%s", file);
    test_shared(name, path);
    assert_ok(ctx, bl_import(ctx, path, NULL, &g));
    assert_ok(ctx, bl_prepare(ctx, g, &prepared));
    bl_graph_free(g);
    net t = { .ctx = ctx, .a = bl_arena_new(ctx, "net"), .g = prepared };
    read_words(&t, words ? words : words_of(ctx, file, &models), &d);
    assert_ok(ctx, bl_samples_open(ctx, &d, prepared, NULL, &data));
    bl_calibrate_options c = { .samples = CALIBRATION };
    assert_ok(ctx, bl_calibrate(ctx, prepared, data, &c, &t.stats));
    lower_net(&t, 8);
    float *x = BL_NEW(t.a, float, (size_t)bl_data_sample_size(data));
    assert_ok(ctx, bl_data_read(data, 1, 1, x));
    size_t n_values = (size_t)prepared->n_values;
    seen s = { .t = &t, .code = BL_NEW(t.a, uint16_t *, n_values), .grid = BL_NEW(t.a, bl_grid, n_values),
               .flipped = BL_NEW(t.a, int64_t, n_values) };
    const float *inputs[] = { x };
    assert_ok(ctx, bl_exec_new(ctx, t.program, NULL, &t.exec));
    memcpy(bl_exec_input(t.exec, 0), x, (size_t)bl_data_sample_size(data) * sizeof(float));
    assert_ok(ctx, bl_exec_run(t.exec, keep_codes, &s));
    compare_walks(&t, &s, inputs);
    worst_step(&t, &s, x, &one, &more);
    double n = (double)s.values / 100;
    print_message("%-30s values %8.0f; an operator alone: one step %.4f %%, more %.4f %%; whole walk: %.3f %%, %.4f %%; one element of the "
                  "input a step off, integers alone: %.3f %%, %.4f %%\n", file, (double)s.values, (double)s.local_one / n,
                  (double)s.local_more / n, (double)s.one / n, (double)s.more / n, (double)one / n, (double)more / n);
    json_decref(models);
    bl_data_free(data);
    bl_stats_free(t.stats);
    net_free(&t);
    assert_true(s.local_more * 1000 <= s.values);
    assert_true(s.local_one * 1000 <= s.values);
}

#define PICTURES "--data images:../shared/data/imagenet_calib,../shared/data/imagenet_calib/labels.csv "

static const struct {
    const char *file, *words;   /* words NULL: those of models.json */
    bool quick;
} networks[] = {
    { "mlperf_tiny_kws.onnx", NULL, true },
    { "mlperf_tiny_resnet8_cifar10.onnx", NULL, true },
    { "mlperf_tiny_vww.onnx", NULL, true },
    { "mlperf_tiny_ad.onnx", NULL, true },
    { "resnet20_cifar10.onnx", NULL, true },
    { "mobilenetv3s_cifar10.onnx", NULL, true },
    { "vit_tiny_fmnist_op17.onnx", NULL, true },
    { "resnet56_cifar10.onnx", NULL, false },
    { "mobilenet_v1_0.25_224.onnx", NULL, true },
    { "mobilenet_v1_0.75_224.onnx", NULL, false },
    { "mobilenet_v2_1.0_224_dequant.onnx", NULL, false },
    { "mobilenet_v3_small_dequant.onnx", NULL, true },
    { "squeezenet1_1.onnx", NULL, false },
    { "wild/fastestdet.onnx", PICTURES "--resize 352 --crop 352 --mean 0 --std 255", false },
};

static void within_a_step(void **state)
{
    int i = *(int *)*state;
    bl_ctx *ctx = test_ctx(0, 0);
    const char *file = networks[i].file, *words = networks[i].words, *only = getenv("BITLATHE_STEPS"), *all = getenv("BL_TEST_LONG");
    bool chosen = only ? strncmp(file, only, strlen(only)) == 0 : networks[i].quick || (all && *all);
    if (!chosen) print_message("skipped: %s: for BL_TEST_LONG=1\n", file);
    if (chosen) compare_network(ctx, file, words);
    test_ctx_free(ctx);
    if (!chosen) skip();
}

int main(void)
{
    struct CMUnitTest tests[BL_COUNTOF(networks)];
    int number[BL_COUNTOF(networks)];
    for (size_t i = 0; i < BL_COUNTOF(networks); i++) {
        number[i] = (int)i;
        tests[i] = (struct CMUnitTest){ .name = networks[i].file, .test_func = within_a_step, .initial_state = &number[i] };
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
