/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Pictures in files: PNG made here, JPEG from the shared folder against recorded pixels.  Skipped
 * by name in a build without libjpeg and libpng.
 */
#include "test_data_files.h"

static bool have_images(void)
{
    for (size_t i = 0; i < bl_n_loader_rows; i++)
        if (strcmp(bl_loader_rows[i].prefix, "images") == 0) return true;
    return false;
}

static void need_images(void)
{
    if (have_images()) return;
    print_message("skipped: images: built without libjpeg and libpng\n");
    skip();
}

static void png_files(void **state)
{
    fixture *f = *state;
    float x[3 * 5 * 7 * 3], y[3 * 16];
    need_images();
    put_png(f, 5, 7, 2, 0);
    save(f, "a.png");
    put_png(f, 5, 7, 6, 100);
    save(f, "b.png");
    put_png(f, 5, 7, 0, 7);
    save(f, "c.png");
    save_text(f, "l.csv", "label,file\n2,a.png\n0,b.png\n1,\"c.png\"\n");
    bl_data *d = open_fine(f, "images:@,@/l.csv", "", input_of(4, 1, 3, 5, 7));
    assert_int_equal(bl_data_samples(d), 3);
    assert_int_equal(bl_data_label(d, 0), 2);
    assert_ok(f->ctx, bl_data_read(d, 0, 3, x));
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 35; i++) {
            assert_true(x[c * 35 + i] == (float)pattern((size_t)(i * 3 + c)));
            assert_true(x[105 + c * 35 + i] == (float)pattern((size_t)(100 + i * 4 + c)));
            assert_true(x[210 + c * 35 + i] == (float)pattern((size_t)(7 + i)));
        }
    bl_data_free(d);
    /* Cropped, B G R, one mean a channel: top 0, left 1. */
    d = open_fine(f, "images:@,@/l.csv", "crop=4 channels=bgr mean=1,2,3", input_of(4, 1, 3, 4, 4));
    assert_ok(f->ctx, bl_data_read(d, 0, 1, y));
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 16; i++)
            assert_true(y[c * 16 + i] ==
                        (float)pattern((size_t)((i / 4 * 7 + i % 4 + 1) * 3 + 2 - c)) -
                            (float)(c + 1));
    bl_hash cropped = bl_data_hash(d);
    bl_data_free(d);
    /* The middle and the corners, each a sample of its file's label. */
    static const int top[] = { 0, 0, 0, 1, 1 }, left[] = { 1, 0, 3, 0, 3 };
    d = open_fine(f, "images:@,@/l.csv", "crop=4 crops=5", input_of(4, 1, 3, 4, 4));
    assert_int_equal(bl_data_samples(d), 15);
    assert_string_not_equal(bl_data_hash(d).hex, cropped.hex);
    for (int k = 0; k < 15; k++) {
        static const int labels[] = { 2, 0, 1 };
        assert_int_equal(bl_data_label(d, k), labels[k / 5]);
        assert_ok(f->ctx, bl_data_read(d, k, 1, y));
        for (int c = 0; k < 5 && c < 3; c++)
            for (int i = 0; i < 16; i++)
                assert_true(y[c * 16 + i] == (float)pattern((size_t)(((top[k] + i / 4) * 7 + left[k] + i % 4) * 3 + c)));
    }
    bl_data_free(d);
    open_fails(f, "images:@,@/l.csv", "crops=5", input_of(4, 1, 3, 5, 7), BL_USAGE, "nothing is cropped");
    /* A network with one channel gets luma; one with channels last gets them last. */
    d = open_fine(f, "images:@,@/l.csv", "", input_of(4, 1, 1, 5, 7));
    assert_ok(f->ctx, bl_data_read(d, 0, 3, x));
    for (int i = 0; i < 35; i++) {
        double want = 0.299 * pattern((size_t)(i * 3)) + 0.587 * pattern((size_t)(i * 3 + 1)) +
                      0.114 * pattern((size_t)(i * 3 + 2));
        assert_true(fabs((double)x[i] - want) < 0.51);
        assert_true(x[70 + i] == (float)pattern((size_t)(7 + i)));
    }
    bl_data_free(d);
    d = open_fine(f, "images:@,@/l.csv", "", input_of(4, 1, 5, 7, 3));
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    for (size_t i = 0; i < 105; i++) assert_true(x[i] == (float)pattern(i));
    bl_data_free(d);

    /* Decoded one by one under a small ceiling: the same values and the same hash. */
    bl_ctx *small = test_ctx(1, 300 << 10);
    char csv[8192] = "label,file\n";
    for (int i = 0; i < 600; i++) strcat(csv, "1,a.png\n");
    save_text(f, "many.csv", csv);
    bl_data_options o = {.spec = fixture_spec(f, "images:@,@/many.csv")};
    bl_tensor in = input_of(4, 1, 3, 5, 7);
    assert_ok(small, bl_data_open(small, &o, &in, &d));
    assert_ok(small, bl_data_read(d, 599, 1, x));
    for (int c = 0; c < 3; c++)
        for (int i = 0; i < 35; i++)
            assert_true(x[c * 35 + i] == (float)pattern((size_t)(i * 3 + c)));
    bl_hash lazy = bl_data_hash(d);
    bl_data_free(d);
    test_ctx_free(small);
    d = open_fine(f, "images:@,@/many.csv", "", in);
    assert_string_equal(bl_data_hash(d).hex, lazy.hex);
    assert_string_not_equal(cropped.hex, lazy.hex);
    bl_data_free(d);
}

static void wrong_pictures(void **state)
{
    fixture *f = *state;
    bl_tensor in = input_of(4, 1, 3, 5, 7);
    need_images();
    put_png(f, 5, 7, 2, 0);
    size_t n = f->n;
    save(f, "a.png");
    save_text(f, "l.csv", "file,label\na.png,1\nb.png,1\n");
    open_fails(f, "images:@,@/l.csv", "", in, BL_NOINPUT, "b.png");
    put_png(f, 6, 7, 2, 0);
    save(f, "b.png");
    open_fails(f, "images:@,@/l.csv", "", in, BL_DATA, "6x7 pixels, the first picture has 5x7");
    open_fails(f, "images:@,@/l.csv", "crop=6", input_of(4, 1, 3, 6, 6), BL_DATA, "5x7");
    open_fails(f, "images:@,@/l.csv", "layout=nhwc crop=5", input_of(4, 1, 3, 5, 5), BL_USAGE,
               "layout");
    save_text(f, "b.png", "GIF89a");
    open_fails(f, "images:@,@/l.csv", "", in, BL_DATA, "neither");
    save_text(f, "l.csv", "file,label\n");
    open_fails(f, "images:@,@/l.csv", "", in, BL_DATA, "no samples");
    save_text(f, "l.csv", "name,label\na.png,1\n");
    open_fails(f, "images:@,@/l.csv", "", in, BL_DATA, "\"file\"");
    open_fails(f, "images:@", "", in, BL_USAGE, "missing");

    /* Cut at every length: only the very end, behind all pixels, may be gone. */
    save_text(f, "l.csv", "file,label\nb.png,1\n");
    for (size_t cut = 0; cut < n; cut++) {
        save_bytes(f, "b.png", f->bytes, cut);
        bl_data *d;
        bl_status status = open_data(f, "images:@,@/l.csv", "", in, &d);
        if (status == BL_OK ? cut < n - 20 : status != BL_DATA)
            fail_msg("%zu of %zu bytes", cut, n);
        bl_data_free(d);
    }
    int opened = 0;
    for (uint64_t i = 0; i < 2000; i++) {
        bl_rng r = bl_rng_make(1, "png", i);
        put_png(f, 5, 7, bl_rng_below(&r, 2) ? 0 : 2, 0);
        for (uint64_t k = 1 + bl_rng_below(&r, 3); k > 0; k--)
            f->bytes[bl_rng_below(&r, f->n)] = (uint8_t)bl_rng_u64(&r);
        save(f, "b.png");
        bl_data *d;
        opened += open_data(f, "images:@,@/l.csv", "", in, &d) == BL_OK;
        bl_data_free(d);
    }
    assert_true(opened < 500);
}

static void jpeg_files(void **state)
{
    fixture *f = *state;
    char folder[512], csv[512];
    static float x[3 * 224 * 224];
    static const int first[4][3] = {{75, 92, 86}, {72, 89, 83}, {73, 90, 84}, {80, 97, 91}};
    need_images();
    test_shared("data/imagenet500/n01440764.jpg", folder);
    test_shared("data/imagenet500/labels.csv", csv);
    *strrchr(folder, '/') = '\0';
    snprintf(f->spec, sizeof f->spec, "images:%s,%s", folder, csv);
    bl_data_options o = {.spec = f->spec, .crop = 224};
    bl_tensor in = input_of(4, 1, 3, 224, 224);
    bl_data *d;
    assert_ok(f->ctx, bl_data_open(f->ctx, &o, &in, &d));
    assert_int_equal(bl_data_samples(d), 500);
    assert_int_equal(bl_data_label(d, 499), 998);
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    double sum = 0;
    for (size_t i = 0; i < BL_COUNTOF(x); i++) sum += (double)x[i];
    assert_true(sum == 17192586); /* libjpeg-turbo, slow integer DCT, fancy upsampling */
    for (int i = 0; i < 4; i++)
        for (int c = 0; c < 3; c++) assert_true(x[c * 224 * 224 + i] == (float)first[i][c]);
    bl_data_free(d);

    /* Cut and mutated: a sentence, or a picture. */
    bl_map map;
    char path[512];
    test_shared("data/imagenet500/n01440764.jpg", path);
    assert_ok(f->ctx, bl_map_file(f->ctx, path, 0, &map));
    uint8_t *bytes = malloc(map.size);
    assert_non_null(bytes);
    save_text(f, "l.csv", "file,label\nj.jpg,1\n");
    int opened = 0;
    for (uint64_t i = 0; i < 150; i++) {
        bl_rng r = bl_rng_make(1, "jpeg", i);
        size_t n = i < 50 ? map.size * i / 50 : map.size;
        memcpy(bytes, map.data, map.size);
        if (i >= 50)
            for (uint64_t k = 1 + bl_rng_below(&r, 3); k > 0; k--)
                bytes[bl_rng_below(&r, k == 1 ? 700 : n)] = (uint8_t)bl_rng_u64(&r);
        save_bytes(f, "j.jpg", bytes, n);
        bl_status status = open_data(f, "images:@,@/l.csv", "crop=224", in, &d);
        if (status != BL_OK && status != BL_DATA && status != BL_UNAVAILABLE)
            fail_msg("status %d", (int)status);
        if (status == BL_OK && i < 50) fail_msg("cut at %zu of %zu", n, map.size);
        opened += status == BL_OK;
        bl_data_free(d);
    }
    assert_in_range(opened, 1, 99);
    free(bytes);
    bl_unmap(&map);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {TEST(png_files), TEST(wrong_pictures), TEST(jpeg_files)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
