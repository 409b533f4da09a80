/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Distilled samples: the remembered statistics are reached, the input's own mean and deviation are
 * recovered, the bytes hang on the seed alone, and networks that remember nothing give Gaussian
 * numbers.
 */
#include <math.h>

#include "onnx_build.h"
#include "train/train.h"

/* Conv, BatchNormalization, Relu, Conv, BatchNormalization, pool, Gemm. */
static bl_graph *network(bl_ctx *ctx, bool norms)
{
    static const float mean[8] = {0.3f, -0.2f, 0.1f, 0.5f, -0.4f, 0, 0.2f, -0.1f};
    static const float var[8] = {4, 3, 5, 2, 6, 3, 4, 5};
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g = NULL;
    ob_input(b, "x", "N,3,12,12");
    ob_floats(b, "w1", "8,3,3,3", NULL);
    ob_ints_attr(ob_node(b, "Conv", "x,w1", "c1"), b, "pads", "1,1,1,1");
    ob_positive(b, "g1", "8");
    ob_floats(b, "b1", "8", NULL);
    ob_floats(b, "m1", "8", mean);
    ob_floats(b, "v1", "8", var);
    if (norms) ob_node(b, "BatchNormalization", "c1,g1,b1,m1,v1", "n1");
    ob_node(b, "Relu", norms ? "n1" : "c1", "r1");
    ob_floats(b, "w2", "8,8,3,3", NULL);
    ob_node(b, "Conv", "r1,w2", "c2");
    ob_node(b, "GlobalAveragePool", "c2", "p");
    ob_node(b, "Flatten", "p", "f");
    ob_floats(b, "w3", "8,5", NULL);
    ob_node(b, "Gemm", "f,w3", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    return g;
}

static void test_statistics_are_reached(void **state)
{
    bl_ctx *ctx = test_ctx(2, 0);
    bl_graph *g = network(ctx, true);
    bl_distil_options o = bl_distil_options_default();
    bl_distilled *all, *each;
    (void)state;
    o.samples = 8;
    o.steps = 60;
    assert_ok(ctx, bl_distil(ctx, g, &o, &all));
    assert_int_equal(all->x.dim[0], 8);
    assert_int_equal(all->n_layers, 1);
    assert_true(all->loss_last < 0.5 * all->loss_first);
    for (int64_t i = 0; i < bl_tensor_count(&all->x); i++) assert_true(isfinite(((float *)all->x.data)[i]));
    o.per_sample = true;
    assert_ok(ctx, bl_distil(ctx, g, &o, &each));
    assert_true(each->loss_last < 0.5 * each->loss_first);
    bl_distilled_free(all);
    bl_distilled_free(each);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* The bytes are those of the seed, whatever runs side by side. */
static void test_bytes_hang_on_the_seed(void **state)
{
    bl_distilled *d[3];
    size_t bytes = 0;
    float *copy[3];
    (void)state;
    for (int k = 0; k < 3; k++) {
        bl_options options = {.threads = k == 1 ? 1 : 2, .seed = k == 2 ? 2 : 1};
        bl_ctx *ctx = NULL;
        bl_distil_options o = bl_distil_options_default();
        assert_int_equal(bl_ctx_new(&options, &ctx), BL_OK);
        bl_graph *g = network(ctx, true);
        o.samples = 8;
        o.steps = 5;
        assert_ok(ctx, bl_distil(ctx, g, &o, &d[k]));
        bytes = bl_tensor_bytes(&d[k]->x);
        copy[k] = malloc(bytes);
        memcpy(copy[k], d[k]->x.data, bytes);
        bl_distilled_free(d[k]);
        bl_graph_free(g);
        test_ctx_free(ctx);
    }
    assert_memory_equal(copy[0], copy[1], bytes);
    assert_true(memcmp(copy[0], copy[2], bytes) != 0);
    for (int k = 0; k < 3; k++) free(copy[k]);
}

static void test_without_norms_gaussian(void **state)
{
    bl_ctx *ctx = test_ctx(2, 0);
    bl_graph *g = network(ctx, false);
    bl_distilled *d;
    double sum = 0, square = 0;
    (void)state;
    assert_ok(ctx, bl_distil(ctx, g, NULL, &d));
    assert_int_equal(d->n_layers, 0);
    assert_int_equal(d->steps, 0);
    int64_t n = bl_tensor_count(&d->x);
    for (int64_t i = 0; i < n; i++) {
        double x = ((float *)d->x.data)[i];
        sum += x;
        square += x * x;
    }
    assert_true(fabs(sum / (double)n) < 0.05);
    assert_true(fabs(square / (double)n - 1) < 0.05);
    bl_distilled_free(d);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* A first layer that remembers an input of mean 100 and deviation 50; half of its filters are dead and say
 * nothing.  A picture's elements stay within three deviations. */
static void test_input_is_recovered(void **state)
{
    bl_ctx *ctx = test_ctx(1, 0);
    onnx_build *b = ob_new(ctx, 13);
    bl_graph *g = NULL;
    bl_distilled *d;
    float w[6 * 9], mean[6], var[6], one[6], zero[6] = {0};
    bl_rng r = bl_rng_make(3, "recover", 0);
    (void)state;
    for (int f = 0; f < 6; f++) {
        double sum = 0;
        for (int k = 0; k < 9; k++) sum += w[f * 9 + k] = (float)(bl_rng_normal(&r) * (f % 2 ? 1e-9 : 1));
        double variance = 0;
        for (int p = 0; p < 9; p++)
            for (int q = 0; q < 9; q++)
                variance += (double)w[f * 9 + p] * w[f * 9 + q] * pow(0.93, hypot(p / 3 - q / 3, p % 3 - q % 3));
        mean[f] = (float)(100 * sum);
        var[f] = (float)(2500 * variance + (f % 2 ? 1e-3 : 0));
        one[f] = 1;
    }
    ob_input(b, "x", "N,1,16,16");
    ob_floats(b, "w", "6,1,3,3", w);
    ob_floats(b, "g", "6", one);
    ob_floats(b, "b", "6", zero);
    ob_floats(b, "m", "6", mean);
    ob_floats(b, "v", "6", var);
    ob_node(b, "Conv", "x,w", "c");
    ob_node(b, "BatchNormalization", "c,g,b,m,v", "y");
    ob_output(b, "y");
    assert_ok(ctx, ob_import(b, &g));
    ob_free(b);
    bl_distil_options o = {.samples = 4, .steps = 8};
    assert_ok(ctx, bl_distil(ctx, g, &o, &d));
    assert_true(fabs(d->offset - 100) < 1);
    assert_true(fabs(d->scale - 50) < 1);
    double most = 0;
    for (int64_t i = 0; i < bl_tensor_count(&d->x); i++)
        most = fmax(most, fabs((double)((float *)d->x.data)[i] - d->offset) / d->scale);
    assert_true(most <= 3 + 1e-5 && most > 2); /* of 1,024 elements some would go beyond */
    bl_distilled_free(d);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

static void test_files_and_their_picture(void **state)
{
    static const char head[] = "iVBORw0KGgo"; /* base64 of a PNG's signature */
    bl_ctx *ctx = test_ctx(1, 0);
    bl_graph *g = network(ctx, true);
    bl_distil_options o = {.samples = 9, .steps = 2}, other = {.samples = 9, .steps = 3};
    bl_distilled *d;
    bl_arena *a = bl_arena_new(ctx, "picture");
    char folder[256], npy[300], record[300], *picture;
    bool yes;
    (void)state;
    test_folder(folder);
    snprintf(npy, sizeof npy, "%s/d.npy", folder);
    snprintf(record, sizeof record, "%s/d.json", folder);
    assert_ok(ctx, bl_distil(ctx, g, &o, &d));
    assert_ok(ctx, bl_distilled_write(ctx, g, &o, d, npy, record));
    assert_ok(ctx, bl_distilled_fits(ctx, g, &o, npy, record, &yes));
    assert_true(yes);
    assert_ok(ctx, bl_distilled_fits(ctx, g, &other, npy, record, &yes));
    assert_false(yes);
    assert_ok(ctx, bl_samples_picture(ctx, a, &d->x, &picture));
    assert_memory_equal(picture, head, sizeof head - 1);
    assert_int_equal(strlen(picture) % 4, 0);
    bl_tensor flat = d->x;
    flat.rank = 2; /* nothing to look at */
    flat.dim[1] = 3 * 12 * 12;
    assert_ok(ctx, bl_samples_picture(ctx, a, &flat, &picture));
    assert_null(picture);
    ((float *)d->x.data)[0] += 1; /* another array under the same record */
    assert_ok(ctx, bl_npy_write(ctx, npy, &d->x));
    assert_ok(ctx, bl_distilled_fits(ctx, g, &o, npy, record, &yes));
    assert_false(yes);
    assert_ok(ctx, bl_write_file(ctx, record, "{}", 2));
    assert_int_equal(bl_distilled_fits(ctx, g, &o, npy, record, &yes), BL_DATA);
    test_folder_remove(folder);
    bl_distilled_free(d);
    bl_arena_free(a);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

/* Numbers of a known reach stay within it, and fill it. */
static void test_reach(void **state)
{
    bl_ctx *ctx = test_ctx(2, 0);
    bl_graph *g = network(ctx, false);
    bl_distil_options o = bl_distil_options_default();
    bl_distilled *d;
    double sum = 0, least = INFINITY, most = -INFINITY;
    (void)state;
    o.n_reach = 1;
    o.reach[0][0] = -100;
    o.reach[0][1] = 156;
    assert_ok(ctx, bl_distil(ctx, g, &o, &d));
    int64_t n = bl_tensor_count(&d->x);
    for (int64_t i = 0; i < n; i++) {
        double x = ((float *)d->x.data)[i];
        sum += x;
        least = fmin(least, x);
        most = fmax(most, x);
    }
    assert_true(fabs(sum / (double)n - 28) < 8);
    assert_true(least >= -100 && least < -80);
    assert_true(most <= 156 && most > 136);
    bl_distilled_free(d);
    o.n_reach = 7; /* no axis has so many */
    assert_ok(ctx, bl_distil(ctx, g, &o, &d));
    assert_true(d->offset == 0 && d->scale == 1);
    bl_distilled_free(d);
    bl_graph_free(g);
    test_ctx_free(ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_statistics_are_reached),
        cmocka_unit_test(test_bytes_hang_on_the_seed),
        cmocka_unit_test(test_without_norms_gaussian),
        cmocka_unit_test(test_reach),
        cmocka_unit_test(test_input_is_recovered),
        cmocka_unit_test(test_files_and_their_picture),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
