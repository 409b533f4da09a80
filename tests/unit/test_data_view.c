/* SPDX-License-Identifier: BSD-3-Clause */
/* From stored samples to inputs: arithmetic, layouts, crops, windows, choosing samples. */
#include "test_data_files.h"

/* Element (i, c, y, x) of an N,H,W,C array of the pattern. */
static float nhwc_at(int i, int c, int y, int x, int channels, int h, int w)
{
    return (float)pattern((size_t)(((i * h + y) * w + x) * channels + c));
}

/* Rounded after each operation, whatever the compiler would like to do. */
static float normalise(float v, float mean, float std)
{
    volatile float difference = v - mean;
    volatile float quotient = difference / std;
    return quotient;
}

static void mean_and_std(void **state)
{
    fixture *f = *state;
    static float x[2 * 3072];
    const float mean[3] = {123.675f, 116.28f, 103.53f}, std[3] = {58.395f, 57.12f, 57.375f};
    put_cifar(f, 2);
    save(f, "c.bin");
    bl_data *d = open_fine(f, "cifar:@/c.bin", "mean=123.675,116.28,103.53 std=58.395,57.12,57.375",
                           input_of(4, 1, 3, 32, 32));
    assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
    for (int i = 0; i < 2 * 3072; i++) {
        int c = i % 3072 / 1024;
        assert_true(x[i] == normalise((float)pattern((size_t)i), mean[c], std[c]));
    }
    /* A piece in the middle is the same piece. */
    float y[3072];
    assert_ok(f->ctx, bl_data_read(d, 1, 1, y));
    assert_memory_equal(y, x + 3072, sizeof y);
    bl_data_free(d);

    /* One number for all channels, also mixed with one a channel. */
    d = open_fine(f, "cifar:@/c.bin", "mean=83 std=1,2,4", input_of(4, 1, 3, 32, 32));
    assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
    for (int i = 0; i < 2 * 3072; i++)
        assert_true(x[i] == ((float)pattern((size_t)i) - 83) / (float)(1 << i % 3072 / 1024));
    bl_data_free(d);
    /* Pictures keep their channels when the network takes them flat. */
    d = open_fine(f, "cifar:@/c.bin", "mean=83 std=1,2,4", input_of(2, 1, 3072, 0, 0));
    assert_ok(f->ctx, bl_data_read(d, 1, 1, y));
    assert_memory_equal(y, x + 3072, sizeof y);
    bl_data_free(d);
    bl_tensor in = input_of(4, 1, 3, 32, 32);
    open_fails(f, "cifar:@/c.bin", "mean=1,2", in, BL_USAGE, "2 numbers for 3 channels");
    open_fails(f, "cifar:@/c.bin", "std=1,2,3,4", in, BL_USAGE, "4 numbers for 3 channels");
    open_fails(f, "cifar:@/c.bin", "layout=nhwc", in, BL_USAGE, "own layout");
    open_fails(f, "cifar:@/c.bin", "window=2", in, BL_USAGE, "windows do not go");

    /* Arrays: the channels are the input's dimension 1. */
    put_npy_u8(f, "(2, 12)", 24);
    save(f, "a.npy");
    d = open_fine(f, "npy:@/a.npy", "mean=1,2,3", input_of(4, 1, 3, 2, 2));
    assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
    for (int i = 0; i < 24; i++)
        assert_true(x[i] == (float)pattern((size_t)i) - (float)(i % 12 / 4 + 1));
    bl_data_free(d);
    open_fails(f, "npy:@/a.npy", "mean=1,2,3", input_of(2, 1, 12, 0, 0), BL_USAGE, "1 channel");
}

/* An input of integers gets the stored numbers, or none: what it cannot hold is refused. */
static void integers(void **state)
{
    fixture *f = *state;
    int32_t got[12];
    int8_t small[12];
    float real[12];
    bl_tensor input = input_of(2, 1, 6, 0, 0), to = {.type = BL_I32, .rank = 1, .dim = {12}, .data = got};
    put_npy_u8(f, "(2, 6)", 12);
    save(f, "i.npy");
    input.type = BL_I32;
    bl_data *d = open_fine(f, "npy:@/i.npy", "", input);
    for (int i = 0; i < 2; i++) assert_ok(f->ctx, bl_data_feed(d, i, &to, 6 * i));
    for (int i = 0; i < 12; i++) assert_int_equal(got[i], pattern((size_t)i));
    to = (bl_tensor){.type = BL_F32, .rank = 1, .dim = {12}, .data = real};
    assert_ok(f->ctx, bl_data_feed(d, 1, &to, 6));
    for (int i = 6; i < 12; i++) assert_true(real[i] == (float)pattern((size_t)i));
    bl_data_free(d);

    to = (bl_tensor){.type = BL_I8, .rank = 1, .dim = {12}, .data = small};
    input.type = BL_I8;
    d = open_fine(f, "npy:@/i.npy", "mean=-200", input); /* up to 200 and more */
    assert_fails(f->ctx, bl_data_feed(d, 0, &to, 0), BL_DATA, "int8");
    bl_data_free(d);
    d = open_fine(f, "npy:@/i.npy", "std=1000", input);
    assert_fails(f->ctx, bl_data_feed(d, 1, &to, 0), BL_DATA, "is no number that");
    bl_data_free(d);
}

static void layouts(void **state)
{
    fixture *f = *state;
    float x[120];
    enum { N = 2, H = 4, W = 5, C = 3 };
    put_npy_u8(f, "(2, 4, 5, 3)", 120);
    save(f, "x.npy");
    /* Stored N,H,W,C: to N,C,H,W; as it is for a network that takes it so; each also B, G, R. */
    for (int bgr = 0; bgr < 2; bgr++) {
        const char *options =
            bgr ? "layout=nhwc mean=1,2,3 channels=bgr" : "layout=nhwc mean=1,2,3";
        for (int last = 0; last < 2; last++) {
            bl_tensor in = last ? input_of(4, 1, H, W, C) : input_of(4, 1, C, H, W);
            bl_data *d = open_fine(f, "npy:@/x.npy", options, in);
            assert_ok(f->ctx, bl_data_read(d, 0, N, x));
            for (int i = 0; i < N; i++)
                for (int c = 0; c < C; c++)
                    for (int y = 0; y < H; y++)
                        for (int w = 0; w < W; w++) {
                            int at = last ? ((i * H + y) * W + w) * C + c
                                          : ((i * C + c) * H + y) * W + w;
                            float want = nhwc_at(i, bgr ? C - 1 - c : c, y, w, C, H, W);
                            assert_true(x[at] == want - (float)(c + 1));
                        }
            bl_data_free(d);
        }
    }
    /* Without --layout the same bytes only have to fit. */
    bl_data *d = open_fine(f, "npy:@/x.npy", "", input_of(4, 1, 4, 5, 3));
    assert_ok(f->ctx, bl_data_read(d, 0, N, x));
    for (size_t i = 0; i < 120; i++) assert_true(x[i] == (float)pattern(i));
    bl_data_free(d);
    /* Stored N,C,H,W: as it is; to N,H,W,C where --layout says that it is so stored. */
    put_npy_u8(f, "(2, 3, 4, 5)", 120);
    save(f, "first.npy");
    for (int told = 0; told < 2; told++)
        for (int last = 0; last < 2; last++) {
            bl_tensor in = last ? input_of(4, 1, H, W, C) : input_of(4, 1, C, H, W);
            bl_data *p = open_fine(f, "npy:@/first.npy", told ? "layout=nchw" : "", in);
            assert_ok(f->ctx, bl_data_read(p, 0, N, x));
            for (size_t i = 0; i < 120; i++) {
                size_t c = i % C, at = i / 60 * 60 + c * H * W + i % 60 / C;
                assert_true(x[i] == (float)pattern(told && last ? at : i));
            }
            bl_data_free(p);
        }
    open_fails(f, "npy:@/first.npy", "", input_of(4, 7, C, H, W), BL_DATA, "takes 7 of them at once");
    /* A flat sample takes the input's shape, here stored channels last. */
    put_npy_u8(f, "(2, 60)", 120);
    save(f, "flat.npy");
    d = open_fine(f, "npy:@/flat.npy", "layout=nhwc", input_of(4, 1, C, H, W));
    assert_ok(f->ctx, bl_data_read(d, 1, 1, x));
    assert_true(x[(2 * H + 3) * W + 1] == nhwc_at(1, 2, 3, 1, C, H, W));
    bl_data_free(d);
    open_fails(f, "npy:@/x.npy", "layout=nhwc", input_of(4, 1, 5, 3, 4), BL_DATA, "3x4x5");
    open_fails(f, "npy:@/flat.npy", "layout=nhwc", input_of(2, 1, 60, 0, 0), BL_DATA,
               "want pictures");
    put_npy_u8(f, "(2, 4, 5)", 40);
    save(f, "grey.npy");
    open_fails(f, "npy:@/grey.npy", "channels=bgr", input_of(4, 1, 4, 5, 1), BL_DATA, "1 channel");
    d = open_fine(f, "npy:@/flat.npy", "channels=bgr", input_of(4, 1, C, H, W));
    bl_data_free(d);
}

static void crops(void **state)
{
    fixture *f = *state;
    float x[27];
    put_npy_u8(f, "(2, 4, 6, 3)", 144);
    save(f, "x.npy");
    /* top = (4 - 3) / 2 = 0, left = (6 - 3) / 2 = 1 */
    bl_data *d = open_fine(f, "npy:@/x.npy", "layout=nhwc crop=3", input_of(4, 1, 3, 3, 3));
    assert_ok(f->ctx, bl_data_read(d, 1, 1, x));
    for (int c = 0; c < 3; c++)
        for (int y = 0; y < 3; y++)
            for (int w = 0; w < 3; w++)
                assert_true(x[(c * 3 + y) * 3 + w] == nhwc_at(1, c, y, w + 1, 3, 4, 6));
    bl_data_free(d);
    /* Channels first, and a sample without channels. */
    put_npy_u8(f, "(2, 2, 5, 4)", 80);
    save(f, "x.npy");
    d = open_fine(f, "npy:@/x.npy", "crop=2", input_of(4, 1, 2, 2, 2));
    assert_ok(f->ctx, bl_data_read(d, 1, 1, x));
    for (int i = 0; i < 8; i++) /* top 1, left 1 */
        assert_true(x[i] ==
                    (float)pattern((size_t)(40 + i / 4 * 20 + (1 + i / 2 % 2) * 4 + 1 + i % 2)));
    bl_data_free(d);
    d = open_fine(f, "npy:@/x.npy", "crop=1x4", input_of(4, 1, 2, 1, 4)); /* top 2 */
    assert_ok(f->ctx, bl_data_read(d, 1, 1, x));
    for (int i = 0; i < 8; i++) assert_true(x[i] == (float)pattern((size_t)(40 + i / 4 * 20 + 2 * 4 + i % 4)));
    bl_data_free(d);
    open_fails(f, "npy:@/x.npy", "crop=2 crops=5", input_of(4, 1, 2, 2, 2), BL_USAGE, "one sample an entry");
    open_fails(f, "npy:@/x.npy", "crop=1x5", input_of(4, 1, 2, 1, 5), BL_DATA, "1x5 pixels do not fit");
    put_npy_u8(f, "(2, 5)", 10);
    save(f, "x.npy");
    open_fails(f, "npy:@/x.npy", "crop=2", input_of(4, 1, 1, 2, 2), BL_DATA, "want pictures");
    save_bytes(f, "r", "0123456789abcdefghij", 20);
    d = open_fine(f, "raw:@/r,u8,1x4x5", "crop=2", input_of(4, 1, 1, 2, 2));
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    assert_true(x[0] == '6' && x[1] == '7' && x[2] == 'b' && x[3] == 'c');
    bl_data_free(d);
}

static void windows(void **state)
{
    fixture *f = *state;
    bl_arena *arena = bl_arena_new(f->ctx, "test");
    float x[6 * 6];
    int64_t *list, n;
    put_npy_u8(f, "(3, 5, 2)", 30);
    save(f, "x.npy");
    save_text(f, "l.csv", "label\n0\n1\n2\n");
    bl_data *d = open_fine(f, "npy:@/x.npy,@/l.csv", "window=3", input_of(2, 1, 6, 0, 0));
    assert_int_equal(bl_data_files(d), 3);
    assert_int_equal(bl_data_windows(d), 3);
    assert_int_equal(bl_data_samples(d), 9);
    assert_int_equal(bl_data_label(d, 2), 2);
    assert_ok(f->ctx, bl_data_read(d, 2, 6, x));
    for (int i = 0; i < 6; i++)
        for (int k = 0; k < 6; k++) {
            int file = (i + 2) / 3, w = (i + 2) % 3;
            assert_true(x[i * 6 + k] == (float)pattern((size_t)(file * 10 + w * 2 + k)));
        }
    assert_int_equal(bl_data_first(d, 2), 6);
    assert_int_equal(bl_data_first(d, 0), 9);
    assert_int_equal(bl_data_first(d, 4), 9);
    assert_ok(f->ctx, bl_data_pick(d, 2, arena, &list, &n)); /* samples 0 and floor(3/2) = 1 */
    assert_int_equal(n, 6);
    for (int i = 0; i < 6; i++) assert_int_equal(list[i], i);
    bl_data_free(d);
    bl_arena_free(arena);
    d = open_fine(f, "npy:@/x.npy", "window=5", input_of(4, 1, 2, 5, 1)); /* just one window */
    assert_int_equal(bl_data_windows(d), 1);
    bl_data_free(d);
    open_fails(f, "npy:@/x.npy", "window=6", input_of(2, 1, 12, 0, 0), BL_DATA, "6 rows");
    open_fails(f, "npy:@/x.npy", "window=2", input_of(2, 1, 6, 0, 0), BL_DATA, "4 values");
    open_fails(f, "npy:@/x.npy", "window=9223372036854775807", input_of(2, 1, 6, 0, 0), BL_DATA,
               "rows");
    open_fails(f, "npy:@/x.npy", "window=3 layout=nhwc", input_of(2, 1, 6, 0, 0), BL_USAGE,
               "windows");
}

static void picking(void **state)
{
    fixture *f = *state;
    bl_arena *arena = bl_arena_new(f->ctx, "test");
    int64_t *list, n;
    put_npy_u8(f, "(10, 1)", 10);
    save(f, "x.npy");
    bl_data *d = open_fine(f, "npy:@/x.npy", "", input_of(2, 1, 1, 0, 0));
    const struct {
        int64_t limit, n, want[10];
    } row[] = {
        {1, 1, {0}},
        {3, 3, {0, 3, 6}},
        {4, 4, {0, 2, 5, 7}},
        {9, 9, {0, 1, 2, 3, 4, 5, 6, 7, 8}},
        {10, 10, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
        {11, 10, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
        {0, 10, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}},
    };
    for (size_t k = 0; k < BL_COUNTOF(row); k++) {
        assert_ok(f->ctx, bl_data_pick(d, row[k].limit, arena, &list, &n));
        assert_int_equal(n, row[k].n);
        assert_memory_equal(list, row[k].want, (size_t)n * sizeof *list);
    }
    float x;
    assert_fails(f->ctx, bl_data_read(d, 10, 1, &x), BL_INTERNAL, "first");
    assert_fails(f->ctx, bl_data_read(d, -1, 1, &x), BL_INTERNAL, "first");
    assert_ok(f->ctx, bl_data_read(d, 10, 0, &x));
    bl_data_free(d);
    bl_arena_free(arena);
}

/* Resizing in real numbers: the mean under a triangle, rows and columns apart. */
static double resized_at(const uint8_t *src, int h, int w, int channels, int c, int oh, int ow,
                         int y, int x)
{
    double sy = (double)h / oh, sx = (double)w / ow, ry = sy > 1 ? sy : 1, rx = sx > 1 ? sx : 1;
    double sum = 0, weight = 0;
    for (int i = 0; i < h; i++)
        for (int j = 0; j < w; j++) {
            double a = 1 - fabs((i + 0.5 - (y + 0.5) * sy) / ry);
            double b = 1 - fabs((j + 0.5 - (x + 0.5) * sx) / rx);
            if (a <= 0 || b <= 0) continue;
            sum += a * b * src[(i * w + j) * channels + c];
            weight += a * b;
        }
    return sum / weight;
}

static void resizing(void **state)
{
    fixture *f = *state;
    static float x[3 * 40 * 60];
    /* sum: of pixels times (1 + index % 251), by Pillow 9.4's BILINEAR; 0: not taken */
    const struct {
        int h, w, side, oh, ow;
        int64_t sum;
    } row[] = {
        {12, 18, 6, 6, 9, 0},          {12, 18, 8, 8, 12, 0},           {18, 12, 5, 7, 5, 0},
        {12, 18, 12, 12, 18, 0},       {12, 18, 40, 40, 60, 114869718}, {4, 6, 40, 40, 60, 0},
        {17, 23, 10, 10, 13, 5249556},
    };
    char shape[64], options[64];
    for (size_t k = 0; k < BL_COUNTOF(row); k++) {
        int h = row[k].h, w = row[k].w, oh = row[k].oh, ow = row[k].ow;
        static uint8_t src[3 * 23 * 23];
        for (int i = 0; i < h * w * 3; i++) src[i] = pattern((size_t)i);
        snprintf(shape, sizeof shape, "(1, %d, %d, 3)", h, w);
        put_npy_u8(f, shape, (size_t)(h * w * 3));
        save(f, "x.npy");
        snprintf(options, sizeof options, "layout=nhwc resize=%d", row[k].side);
        bl_data *d = open_fine(f, "npy:@/x.npy", options, input_of(4, 1, 3, oh, ow));
        assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
        bl_data_free(d);
        int64_t sum = 0;
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < oh; y++)
                for (int z = 0; z < ow; z++) {
                    float got = x[(c * oh + y) * ow + z];
                    double want = resized_at(src, h, w, 3, c, oh, ow, y, z);
                    /* half a step from each of two roundings to 8 bits, and the weights' */
                    if (fabs(got - want) > 1.01)
                        fail_msg("%dx%d: %g, not %g", h, w, (double)got, want);
                    sum += (int64_t)got * (1 + ((c * oh + y) * ow + z) % 251);
                    if (h == oh && (double)got != want) fail_msg("unchanged size, changed pixel");
                }
        if (row[k].sum) assert_int_equal(sum, row[k].sum);
    }
    /* Then a crop: of 12 x 18 to 6 x 9, the middle 6 x 6. */
    put_npy_u8(f, "(1, 12, 18, 3)", 648);
    save(f, "x.npy");
    float y[108];
    bl_data *d = open_fine(f, "npy:@/x.npy", "layout=nhwc resize=6", input_of(4, 1, 3, 6, 9));
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    bl_data_free(d);
    d = open_fine(f, "npy:@/x.npy", "layout=nhwc resize=6 crop=6", input_of(4, 1, 3, 6, 6));
    assert_ok(f->ctx, bl_data_read(d, 0, 1, y));
    bl_data_free(d);
    for (int i = 0; i < 108; i++) assert_true(y[i] == x[i / 6 * 9 + i % 6 + 1]);

    open_fails(f, "npy:@/x.npy", "layout=nhwc crop=13", input_of(4, 1, 3, 13, 13), BL_DATA,
               "13 pixels");
    put_npy(f, "{'descr': '<i2', 'fortran_order': False, 'shape': (1, 2, 2), }");
    put_le(f, 0, 8);
    save(f, "w.npy");
    open_fails(f, "npy:@/w.npy", "resize=4", input_of(4, 1, 1, 4, 4), BL_UNAVAILABLE, "8-bit");
}

static void option_words(void **state)
{
    fixture *f = *state;
    bl_data_options o = {0};
    assert_ok(f->ctx, bl_data_option(f->ctx, "mean", "-1.5,2e1,.25", &o));
    assert_int_equal(o.n_mean, 3);
    assert_true(o.mean[0] == -1.5f && o.mean[1] == 20 && o.mean[2] == 0.25f);
    assert_ok(f->ctx, bl_data_option(f->ctx, "std", "1.710270293", &o));
    assert_true(o.n_std == 1 && o.std[0] == 1.710270293f);
    assert_ok(f->ctx, bl_data_option(f->ctx, "channels", "bgr", &o));
    assert_ok(f->ctx, bl_data_option(f->ctx, "layout", "nhwc", &o));
    assert_true(o.bgr && o.nhwc_stored);
    assert_ok(f->ctx, bl_data_option(f->ctx, "channels", "rgb", &o));
    assert_ok(f->ctx, bl_data_option(f->ctx, "layout", "nchw", &o));
    assert_true(!o.bgr && !o.nhwc_stored);
    assert_ok(f->ctx, bl_data_option(f->ctx, "resize", "256", &o));
    assert_ok(f->ctx, bl_data_option(f->ctx, "crop", "224", &o));
    assert_ok(f->ctx, bl_data_option(f->ctx, "window", "5", &o));
    assert_ok(f->ctx, bl_data_option(f->ctx, "limit", "100", &o));
    assert_true(o.crop_width == 0);
    assert_ok(f->ctx, bl_data_option(f->ctx, "crop", "240x320", &o));
    assert_true(o.crop == 240 && o.crop_width == 320);
    assert_ok(f->ctx, bl_data_option(f->ctx, "crop", "224", &o));
    assert_true(o.crop_width == 0 && o.resize == 256 && o.crop == 224 && o.window == 5 && o.limit == 100);
    bl_data_options before = o;
    static const char *const wrong[][2] = {
        {"mean", ""},     {"mean", "1,"},      {"mean", ",1"},
        {"mean", "x"},    {"mean", "nan"},     {"mean", "1e39"},
        {"std", "0"},     {"std", "-1"},       {"std", "1e-60"},
        {"std", "1,0,1"}, {"channels", "grb"}, {"layout", "chwn"},
        {"resize", "0"},  {"resize", "16385"}, {"crop", "-1"},
        {"crop", "1.5"}, {"crops", "0"}, {"crops", "6"}, {"crops", "two"},
        {"crop", "3x"}, {"crop", "x3"}, {"crop", "2x0"}, {"crop", "12345678901234567x2"},  {"window", "0"},     {"window", "9223372036854775808"},
        {"limit", "0"},   {"limit", "many"},   {"limit", ""},
        {"data", ""},     {"colour", "red"},
    };
    for (size_t k = 0; k < BL_COUNTOF(wrong); k++)
        assert_fails(f->ctx, bl_data_option(f->ctx, wrong[k][0], wrong[k][1], &o), BL_USAGE,
                     wrong[k][0]);
    char many[2 * 65 + 1];
    for (int i = 0; i < 65; i++) memcpy(many + 2 * i, i < 64 ? "1," : "1", 2);
    assert_fails(f->ctx, bl_data_option(f->ctx, "mean", many, &o), BL_USAGE, "mean");
    assert_memory_equal(&o, &before, sizeof o); /* untouched by failures */
}

static void hashes(void **state)
{
    fixture *f = *state;
    put_npy_u8(f, "(4, 2, 2, 3)", 48);
    save(f, "x.npy");
    put_npy_u8(f, "(4, 2, 2, 3)", 48);
    save(f, "same.npy");
    put_npy_u8(f, "(4, 2, 2, 3)", 48);
    f->bytes[f->n - 1] ^= 1;
    save(f, "bit.npy");
    save_text(f, "l.csv", "label\n0\n1\n2\n3\n");
    const struct {
        const char *form, *options;
        bool same;
    } row[] = {
        {"npy:@/x.npy", "layout=nhwc", true},
        {"npy:@/same.npy", "layout=nhwc mean=0 std=1", true},
        {"npy:@/x.npy", "layout=nhwc limit=2", true},
        {"npy:@/bit.npy", "layout=nhwc", false},
        {"npy:@/x.npy", "layout=nhwc mean=1", false},
        {"npy:@/x.npy", "layout=nhwc mean=0 std=1,1,2", false},
        {"npy:@/x.npy", "layout=nhwc channels=bgr", false},
        {"npy:@/x.npy", "", false},
        {"npy:@/x.npy,@/l.csv", "layout=nhwc", false},
    };
    bl_hash first = {""};
    for (size_t k = 0; k < BL_COUNTOF(row); k++) {
        bl_data *d = open_fine(f, row[k].form, row[k].options, input_of(4, 1, 3, 2, 2));
        bl_hash h = bl_data_hash(d);
        if (k == 0) first = h;
        if ((strcmp(h.hex, first.hex) == 0) != row[k].same) fail_msg("row %zu", k);
        bl_data_free(d);
    }
}

typedef struct reading {
    const bl_data *d;
    float *out;
} reading;

static bl_status read_piece(void *arg, size_t i, unsigned worker)
{
    reading *r = arg;
    (void)worker;
    return bl_data_read(r->d, (int64_t)i, 1, r->out + i * 48);
}

static void many_readers(void **state)
{
    fixture *f = *state;
    static float alone[64 * 48], together[64 * 48];
    bl_ctx *ctx = test_ctx(4, 0);
    put_npy_u8(f, "(64, 6, 5, 3)", 64 * 90);
    save(f, "x.npy");
    bl_data_options o = {
        .spec = fixture_spec(f, "npy:@/x.npy"), .nhwc_stored = true, .resize = 4, .crop = 4};
    bl_tensor in = input_of(4, 1, 3, 4, 4);
    bl_data *d;
    assert_ok(ctx, bl_data_open(ctx, &o, &in, &d));
    assert_ok(ctx, bl_data_read(d, 0, 64, alone));
    assert_ok(ctx, bl_parallel_for(ctx, 64, read_piece, &(reading){d, together}));
    assert_memory_equal(alone, together, sizeof alone);
    bl_data_free(d);
    test_ctx_free(ctx);
}

/* Each allocation fails in turn: a sentence every time, nothing kept. */
static void failing_allocations(void **state)
{
    fixture *f = *state;
    float x[12];
    put_npy_u8(f, "(2, 3, 4, 1)", 24);
    save(f, "x.npy");
    save_text(f, "l.csv", "file,label\n\"a\"\"b\",1\nb,2\n");
    put_idx(f, 0xB, 3, (int[]){2, 3, 4});
    for (int i = 0; i < 24; i++) put_be(f, (uint64_t)i, 2);
    to_gzip(f);
    save(f, "i.gz");
    save_text(f, "t.csv", "1,2,3,4,5,6,7,8,9,10,11,12,0\n1,2,3,4,5,6,7,8,9,10,11,12,1\n");
    save_text(f, "d.json",
              "{\"loader\":\"npy\",\"words\":[\"x.npy\",\"l.csv\"],\"layout\":\"nhwc\"}");
    static const char *const forms[] = {"npy:@/x.npy,@/l.csv", "idx:@/i.gz", "csv:@/t.csv",
                                        "@/d.json"};
    for (size_t k = 0; k < BL_COUNTOF(forms); k++) {
        bool done = false;
        int n;
        for (n = 1; !done && n < 200; n++) {
            bl_data *d = NULL;
            bl_data_options o = {.spec = fixture_spec(f, forms[k])};
            bl_tensor in = input_of(4, 1, 1, 3, 4);
            if (k == 0) {
                o.resize = 3; /* to the size that it has: all of the path, nothing changed */
                o.nhwc_stored = true;
            }
            f->ctx->fail_alloc = n;
            bl_status status = bl_data_open(f->ctx, &o, &in, &d);
            if (status == BL_OK) status = bl_data_read(d, 0, 1, x);
            done = f->ctx->fail_alloc > 0;
            if (!done) assert_int_equal(status, BL_UNAVAILABLE);
            f->ctx->fail_alloc = -1;
            bl_data_free(d);
            uint64_t now;
            bl_memory_use(f->ctx, &now, NULL);
            assert_int_equal(now, 0);
            if (done) assert_ok(f->ctx, status);
        }
        assert_true(done && n > 3);
    }
}

static void memory_ceiling(void **state)
{
    fixture *f = *state;
    bl_ctx *ctx = test_ctx(1, 200 << 10);
    uint8_t *zeros = calloc(1, 8 + 4 * 4 + (1 << 20));
    assert_non_null(zeros);
    memcpy(zeros, "\0\0\x8\x2\0\0\x4\0\0\0\x4\0", 12); /* 1024 x 1024 */
    gzFile gz;
    char path[512];
    snprintf(path, sizeof path, "%s/z.gz", f->folder);
    gz = gzopen(path, "wb9");
    assert_int_equal(gzwrite(gz, zeros, 12 + (1 << 20)), 12 + (1 << 20));
    assert_int_equal(gzclose(gz), Z_OK);
    free(zeros);
    bl_data *d;
    bl_data_options o = {.spec = fixture_spec(f, "idx:@/z.gz")};
    bl_tensor in = input_of(2, 1, 1024, 0, 0);
    assert_fails(ctx, bl_data_open(ctx, &o, &in, &d), BL_UNAVAILABLE, "needs");
    test_ctx_free(ctx);
    d = open_fine(f, "idx:@/z.gz", "", in);
    assert_int_equal(bl_data_samples(d), 1024);
    bl_data_free(d);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(mean_and_std),   TEST(layouts),
        TEST(integers),
        TEST(crops),          TEST(windows),
        TEST(picking),        TEST(resizing),
        TEST(hashes),         TEST(option_words),
        TEST(many_readers),   TEST(failing_allocations),
        TEST(memory_ceiling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
