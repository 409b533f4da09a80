/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The command lines of the shared models, on the real files: sizes, labels, first values.  Skipped
 * by name where the files are absent.
 */
#include "test_data_files.h"

static char *shared_spec(fixture *f, const char *loader, const char *a, const char *b)
{
    char one[512], two[512];
    test_shared(a, one);
    if (b) test_shared(b, two);
    snprintf(f->spec, sizeof f->spec, b ? "%s:%s,%s" : "%s:%s", loader, one, two);
    return f->spec;
}

static bl_data *open_spec(fixture *f, const char *spec, bl_data_options o, bl_tensor in)
{
    bl_data *d = NULL;
    o.spec = spec;
    assert_ok(f->ctx, bl_data_open(f->ctx, &o, &in, &d));
    return d;
}

static void label_counts(const bl_data *d, int *counts, int classes)
{
    memset(counts, 0, (size_t)classes * sizeof *counts);
    assert_in_range(bl_data_label_max(d), 0, classes - 1);
    for (int64_t i = 0; i < bl_data_files(d); i++) counts[bl_data_label(d, i)]++;
}

static void cifar10(void **state)
{
    fixture *f = *state;
    static const int want[10] = {488, 505, 512, 497, 507, 488, 491, 495, 504, 513};
    int counts[10];
    static float x[3072];
    const char *spec = shared_spec(f, "cifar", "data/cifar10/test_a.bin", NULL);
    bl_data_options o = {.n_mean = 3,
                         .n_std = 3,
                         .mean = {125.307f, 122.961f, 113.8575f},
                         .std = {62.985f, 62.0925f, 66.708f}};
    bl_data *d = open_spec(f, spec, o, input_of(4, 1, 3, 32, 32));
    assert_int_equal(bl_data_samples(d), 5000);
    label_counts(d, counts, 10);
    assert_memory_equal(counts, want, sizeof want);
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 5000; i++) {
        assert_ok(f->ctx, bl_data_read(d, i, 1, x));
        for (int k = 0; k < 3072; k++) {
            sum += (double)x[k];
            squares += (double)x[k] * (double)x[k];
        }
    }
    double n = 5000 * 3072.0; /* the training set's mean and deviation, so about 0 and 1 here */
    assert_true(fabs(sum / n) < 0.05 && fabs(squares / n - 1) < 0.05);
    bl_data_free(d);
}

static void fashion_mnist(void **state)
{
    fixture *f = *state;
    const char *folder = "/usr/share/datasets/fashion-mnist";
    static float x[784];
    int counts[10];
    if (access("/usr/share/datasets/fashion-mnist/t10k-images-idx3-ubyte.gz", R_OK) != 0) {
        print_message("skipped: fashion-mnist: not in /usr/share/datasets\n");
        skip();
    }
    snprintf(f->spec, sizeof f->spec,
             "idx:%s/t10k-images-idx3-ubyte.gz,%s/t10k-labels-idx1-ubyte.gz", folder, folder);
    bl_data_options o = {.n_mean = 1, .n_std = 1, .mean = {72.93f}, .std = {90.015f}};
    bl_data *d = open_spec(f, f->spec, o, input_of(4, 1, 1, 28, 28));
    assert_int_equal(bl_data_samples(d), 10000);
    label_counts(d, counts, 10);
    for (int c = 0; c < 10; c++) assert_int_equal(counts[c], 1000);
    assert_int_equal(bl_data_label(d, 0), 9); /* an ankle boot */
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    assert_true(x[0] == (0.0f - 72.93f) / 90.015f);
    bl_data_free(d);
}

static void keywords(void **state)
{
    fixture *f = *state;
    static float x[490];
    const char *spec = shared_spec(f, "npy", "data/kws/x.npy", "data/kws/labels.csv");
    bl_data_options o = {.n_mean = 1, .n_std = 1, .mean = {83}, .std = {1.710270293f}};
    bl_data *d = open_spec(f, spec, o, input_of(4, 1, 1, 49, 10));
    assert_int_equal(bl_data_samples(d), 500);
    assert_int_equal(bl_data_label(d, 0), 7);
    assert_int_equal(bl_data_label_max(d), 11);
    assert_ok(f->ctx, bl_data_read(d, 499, 1, x));
    for (int i = 0; i < 490; i++) { /* all int8, so whole numbers of steps */
        float q = x[i] * 1.710270293f + 83;
        assert_true(fabsf(q - rintf(q)) < 1e-3f && q > -129 && q < 128);
    }
    bl_data_free(d);
    spec = shared_spec(f, "npy", "data/kws/calib_x.npy", NULL);
    d = open_spec(f, spec, o, input_of(4, 1, 1, 49, 10));
    assert_int_equal(bl_data_samples(d), 64);
    assert_false(bl_data_labelled(d));
    bl_data_free(d);
}

static void wake_words(void **state)
{
    fixture *f = *state;
    static float x[3 * 96 * 96];
    char path[512];
    bl_map map;
    const char *spec = shared_spec(f, "npy", "data/vww/x.npy", "data/vww/labels.csv");
    bl_data_options o = {.n_mean = 1, .n_std = 1, .std = {255}, .nhwc_stored = true};
    bl_data *d = open_spec(f, spec, o, input_of(4, 1, 3, 96, 96));
    assert_int_equal(bl_data_samples(d), 128);
    assert_int_equal(bl_data_label_max(d), 1);
    assert_ok(f->ctx, bl_data_read(d, 127, 1, x));
    bl_data_free(d);
    assert_ok(f->ctx, bl_map_file(f->ctx, test_shared("data/vww/x.npy", path), 0, &map));
    const uint8_t *last = map.data + map.size - sizeof x / sizeof *x;
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 96 * 96; i++)
            assert_true(x[c * 96 * 96 + i] == (float)last[i * 3 + c] / 255);
    bl_unmap(&map);
}

static void anomalies(void **state)
{
    fixture *f = *state;
    static float x[2][640];
    int64_t *list, n;
    const char *spec = shared_spec(f, "npy", "data/ad/x.npy", "data/ad/labels.csv"); /* may skip */
    bl_arena *arena = bl_arena_new(f->ctx, "test");
    bl_data_options o = {.window = 5};
    bl_data *d = open_spec(f, spec, o, input_of(2, 1, 640, 0, 0));
    assert_int_equal(bl_data_files(d), 124);
    assert_int_equal(bl_data_windows(d), 196);
    assert_int_equal(bl_data_samples(d), 124 * 196);
    assert_ok(f->ctx, bl_data_read(d, 196 * 3 + 7, 2, x[0]));
    assert_memory_equal(x[0] + 128, x[1],
                        512 * sizeof(float)); /* the next window is a frame further */
    assert_ok(f->ctx, bl_data_pick(d, 12, arena, &list, &n));
    assert_int_equal(n, 12 * 196);
    assert_int_equal(list[196], 124 / 12 * 196);
    bl_data_free(d);
    bl_arena_free(arena);
}

static void letters(void **state)
{
    fixture *f = *state;
    int counts[26];
    float x[16];
    const char *spec = shared_spec(f, "csv", "data/letter/letter.csv", NULL);
    bl_data *d = open_spec(f, spec, (bl_data_options){0}, input_of(2, 1, 16, 0, 0));
    assert_int_equal(bl_data_samples(d), 20000);
    label_counts(d, counts, 26);
    for (int c = 0; c < 26; c++) assert_in_range(counts[c], 734, 813);
    assert_int_equal(bl_data_label(d, 0), 'T' - 'A');
    static const float first[16] = {2, 8, 3, 5, 1, 8, 13, 0, 6, 6, 10, 8, 0, 8, 0, 8};
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    assert_memory_equal(x, first, sizeof first);
    bl_data_free(d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(cifar10),    TEST(fashion_mnist), TEST(keywords),
        TEST(wake_words), TEST(anomalies),     TEST(letters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
