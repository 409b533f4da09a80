/* SPDX-License-Identifier: BSD-3-Clause */
/* Every format is read as it was written, and refused in one sentence where it is wrong. */
#include "test_data_files.h"

static const float *read_all(fixture *f, const bl_data *d, bl_arena *arena)
{
    float *out = BL_NEW(arena, float, (size_t)(bl_data_samples(d) * bl_data_sample_size(d)));
    assert_non_null(out);
    assert_ok(f->ctx, bl_data_read(d, 0, bl_data_samples(d), out));
    return out;
}

static void cifar_records(void **state)
{
    fixture *f = *state;
    bl_arena *arena = bl_arena_new(f->ctx, "test");
    put_cifar(f, 5);
    save(f, "c.bin");
    bl_data *d = open_fine(f, "cifar:@/c.bin", "", input_of(4, 1, 3, 32, 32));
    assert_int_equal(bl_data_samples(d), 5);
    assert_int_equal(bl_data_files(d), 5);
    assert_int_equal(bl_data_windows(d), 1);
    assert_int_equal(bl_data_sample_size(d), 3072);
    assert_true(bl_data_labelled(d));
    assert_string_equal(bl_data_name(d), "cifar:c.bin");
    assert_int_equal(bl_data_label_max(d), 9);
    const float *x = read_all(f, d, arena);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(bl_data_label(d, i), i * 3 % 10);
        for (int k = 0; k < 3072; k++)
            assert_true(x[i * 3072 + k] == (float)pattern((size_t)(i * 3072 + k)));
    }
    assert_int_equal(bl_data_label(d, 5), -1);
    bl_data_free(d);
    bl_arena_free(arena);

    open_fails(f, "cifar:@/none.bin", "", input_of(4, 1, 3, 32, 32), BL_NOINPUT, "none.bin");
    open_fails(f, "cifar:@/c.bin", "", input_of(4, 1, 1, 28, 28), BL_DATA, "3x32x32");
    put_cifar(f, 2);
    f->bytes[3073] = 10;
    save(f, "label.bin");
    open_fails(f, "cifar:@/label.bin", "", input_of(4, 1, 3, 32, 32), BL_DATA, "record 1");
    save(f, "empty.bin");
    open_fails(f, "cifar:@/empty.bin", "", input_of(4, 1, 3, 32, 32), BL_DATA, "no samples");
}

static void put_images(fixture *f)
{
    put_idx(f, 8, 3, (int[]){4, 3, 5});
    for (size_t i = 0; i < 60; i++) put_le(f, pattern(i), 1);
}

static void idx_plain_and_gzip(void **state)
{
    fixture *f = *state;
    bl_arena *arena = bl_arena_new(f->ctx, "test");
    put_images(f);
    save(f, "x");
    put_images(f);
    to_gzip(f);
    save(f, "x.gz");
    put_idx(f, 8, 1, (int[]){4});
    put(f, "\0\7\1\11", 4);
    save(f, "y");
    put_idx(f, 8, 1, (int[]){4});
    put(f, "\0\7\1\11", 4);
    to_gzip(f);
    save(f, "y.gz");
    static const char *const forms[] = {"idx:@/x,@/y", "idx:@/x.gz,@/y.gz", "idx:@/x.gz,@/y",
                                        "idx:@/x.gz"};
    bl_hash hash[4];
    for (int k = 0; k < 4; k++) {
        bl_data *d = open_fine(f, forms[k], "", input_of(4, 1, 1, 3, 5));
        const float *x = read_all(f, d, arena);
        for (size_t i = 0; i < 60; i++) assert_true(x[i] == (float)pattern(i));
        assert_int_equal(bl_data_label(d, 0), k < 3 ? 0 : -1);
        assert_int_equal(bl_data_label(d, 3), k < 3 ? 9 : -1);
        hash[k] = bl_data_hash(d);
        bl_data_free(d);
    }
    assert_string_equal(hash[0].hex, hash[1].hex); /* the content, not the packing */
    assert_string_not_equal(hash[0].hex, hash[3].hex);
    bl_arena_free(arena);

    put_idx(f, 8, 1, (int[]){3});
    put(f, "\0\1\2", 3);
    save(f, "y3");
    open_fails(f, "idx:@/x,@/y3", "", input_of(4, 1, 1, 3, 5), BL_DATA, "3 labels for 4 samples");
    put_idx(f, 8, 3, (int[]){0, 3, 5});
    save(f, "none");
    open_fails(f, "idx:@/none", "", input_of(4, 1, 1, 3, 5), BL_DATA, "no samples");
    /* A gzip file of some bytes cannot hold 2 GB, and the product must not wrap. */
    put_idx(f, 8, 3, (int[]){0x7fffffff, 1, 1});
    to_gzip(f);
    save(f, "bomb.gz");
    open_fails(f, "idx:@/bomb.gz", "", input_of(2, 1, 1, 0, 0), BL_DATA, "more than the file");
    put_idx(f, 0xE, 4, (int[]){0x7fffffff, 0x7fffffff, 0x7fffffff, 8});
    save(f, "wrap");
    open_fails(f, "idx:@/wrap", "", input_of(2, 1, 1, 0, 0), BL_DATA, "cannot be");
    put_images(f);
    to_gzip(f);
    f->bytes[f->n - 6] ^= 1; /* the checksum */
    save(f, "crc.gz");
    open_fails(f, "idx:@/crc.gz", "", input_of(4, 1, 1, 3, 5), BL_DATA, "damaged");
}

static void idx_wide_types(void **state)
{
    fixture *f = *state;
    float x[4];
    for (int gzip = 0; gzip < 2; gzip++) {
        const struct {
            int type, bytes;
            float want[2];
            uint64_t bits[2];
        } row[] = {
            {0x9, 1, {-2, 100}, {0xFE, 100}},
            {0xB, 2, {-300, 1000}, {0xFED4, 1000}},
            {0xC, 4, {-70000, 70000}, {0xFFFEEE90, 70000}},
            {0xD, 4, {1.5f, -2}, {0x3FC00000, 0xC0000000}},
            {0xE, 8, {1.5f, -2}, {0x3FF8000000000000, 0xC000000000000000}},
        };
        for (size_t k = 0; k < BL_COUNTOF(row); k++) {
            put_idx(f, row[k].type, 2, (int[]){2, 1});
            put_be(f, row[k].bits[0], row[k].bytes);
            put_be(f, row[k].bits[1], row[k].bytes);
            if (gzip) to_gzip(f);
            save(f, "w");
            bl_data *d = open_fine(f, "idx:@/w", "", input_of(2, 1, 1, 0, 0));
            assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
            assert_true(x[0] == row[k].want[0] && x[1] == row[k].want[1]);
            bl_data_free(d);
        }
    }
    put_idx(f, 0xD, 2, (int[]){3, 1});
    put_be(f, 0x3F800000, 4);
    put_be(f, 0x7FC00000, 4);
    put_be(f, 0x3F800000, 4);
    save(f, "nan");
    open_fails(f, "idx:@/nan", "", input_of(2, 1, 1, 0, 0), BL_DATA, "sample 1 holds");
}

static void raw_types(void **state)
{
    fixture *f = *state;
    const double d64[2] = {0.1, -1e9};
    const float f32[2] = {0.25f, -3e8f};
    const int64_t i64[2] = {INT64_MIN, 16777217};
    const struct {
        const char *type;
        const void *data;
        size_t bytes;
        float want[2];
    } row[] = {
        {"u8", "\xff\x03", 2, {255, 3}},
        {"i8", "\xff\x03", 2, {-1, 3}},
        {"bool", "\x05\x00", 2, {1, 0}},
        {"u16", "\xff\xff\x00\x80", 4, {65535, 32768}},
        {"i16", "\xff\xff\x00\x80", 4, {-1, -32768}},
        {"u32", "\xff\xff\xff\xff\1\0\0\0", 8, {4294967296.0f, 1}},
        {"i32", "\xff\xff\xff\xff\1\0\0\0", 8, {-1, 1}},
        {"u64", i64, 16, {9223372036854775808.0f, 16777216}},
        {"i64", i64, 16, {-9223372036854775808.0f, 16777216}}, /* ties to even */
        {"f32", f32, 8, {0.25f, -3e8f}},
        {"f64", d64, 16, {0.1f, -1e9f}},
    };
    float x[2];
    char form[64];
    for (size_t k = 0; k < BL_COUNTOF(row); k++) {
        save_bytes(f, "r", row[k].data, row[k].bytes);
        snprintf(form, sizeof form, "raw:@/r,%s,2x1", row[k].type);
        bl_data *d = open_fine(f, form, "", input_of(2, 1, 1, 0, 0));
        assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
        assert_true(x[0] == row[k].want[0] && x[1] == row[k].want[1]);
        bl_data_free(d);
    }
    save_bytes(f, "r", "abcdef", 6);
    save_bytes(f, "l.u8", "\1\0\2", 3);
    save_text(f, "l.csv", "label\n5\n6\n7\n");
    bl_data *d = open_fine(f, "raw:@/r,u8,3x2,@/l.u8", "", input_of(1, 2, 0, 0, 0));
    assert_int_equal(bl_data_label(d, 0), 1);
    assert_int_equal(bl_data_label(d, 2), 2);
    bl_data_free(d);
    d = open_fine(f, "raw:@/r,u8,3x2,@/l.csv", "", input_of(1, 2, 0, 0, 0));
    assert_int_equal(bl_data_label(d, 2), 7);
    bl_data_free(d);

    bl_tensor two = input_of(2, 1, 2, 0, 0);
    open_fails(f, "raw:@/r,u8,3x3", "", two, BL_DATA, "need 9 bytes");
    open_fails(f, "raw:@/r,u7,3x2", "", two, BL_USAGE, "u7");
    open_fails(f, "raw:@/r,u8,3x", "", two, BL_USAGE, "no shape");
    open_fails(f, "raw:@/r,u8,0x2", "", two, BL_USAGE, "no shape");
    open_fails(f, "raw:@/r,u8,-3x2", "", two, BL_USAGE, "no shape");
    open_fails(f, "raw:@/r,u8,1x1x1x1x1x1x1x1x6", "", two, BL_USAGE, "no shape");
    open_fails(f, "raw:@/r,u8,9223372036854775807x3", "", two, BL_DATA, "cannot be");
    open_fails(f, "raw:@/r,u8", "", two, BL_USAGE, "missing");
    open_fails(f, "raw:@/r,u8,2x3,@/l.u8", "", input_of(2, 1, 3, 0, 0), BL_DATA, "3 labels for 2");
}

static void csv_forms(void **state)
{
    fixture *f = *state;
    float x[6];
    const struct {
        const char *text;
        bool labelled;
        int label[2];
        float want[4];
    } row[] = {
        {"1,2,0\n3,4,1\n", true, {0, 1}, {1, 2, 3, 4}},
        {"a,b,c\n1,2,0\n3,4,1", true, {0, 1}, {1, 2, 3, 4}},
        {"x,label,y\r\n1,7,2\r\n\r\n3,1000000,4\r\n", true, {7, 1000000}, {1, 2, 3, 4}},
        {"T,1,2\nA,3,4\n\n",
         true,
         {19, 0},
         {1, 2, 3, 4}}, /* as letter.csv: no header, letter first */
        {"label,p,q\nT,1,2\nA,3,4\n", true, {19, 0}, {1, 2, 3, 4}},
        {"\xef\xbb\xbf\"x\",\"y, too\",\"label\"\n 1 ,\"2\",3\n1e-1,-2.5,\"4\"\n",
         true,
         {3, 4},
         {1, 2, 0.1f, -2.5f}},
        {"1,2\n3,4\n", false, {-1, -1}, {1, 2, 3, 4}}, /* just as many columns as the input takes */
        {"u,v\n1,2\n3,4\n", false, {-1, -1}, {1, 2, 3, 4}},
        {"1,2,3.0\n3,4,0\n", true, {3, 0}, {1, 2, 3, 4}},
    };
    for (size_t k = 0; k < BL_COUNTOF(row); k++) {
        save_text(f, "t.csv", row[k].text);
        bl_data *d = open_fine(f, "csv:@/t.csv", "", input_of(2, 1, 2, 0, 0));
        assert_int_equal(bl_data_samples(d), 2);
        assert_int_equal(bl_data_labelled(d), row[k].labelled);
        assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
        for (int i = 0; i < 4; i++)
            if (x[i] != row[k].want[i]) fail_msg("form %zu value %d: %g", k, i, (double)x[i]);
        for (int i = 0; i < 2; i++) assert_int_equal(bl_data_label(d, i), row[k].label[i]);
        bl_data_free(d);
    }
    const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "no samples"},
        {"\n\n", "no samples"},
        {"a,b,label\n", "no samples"},
        {"1,2,0\n3,4\n", "line 2: too few"},
        {"1,2,0\n\n3,4,5,6\n", "line 3: too many"},
        {"1,2,0\n3,x,1\n", "line 2, field 2: \"x\" is no number"},
        {"1,2,0\n3,,1\n", "line 2, field 2"},
        {"1,2,0\n3,nan,1\n", "no number"},
        {"1,2,0\n3,0x10,1\n", "no number"},
        {"1,2,0\n3,1e39,1\n", "not finite"},
        {"1,2,-1\n", "no label"},
        {"1,2,1000001\n", "no label"},
        {"1,2,0.5\n", "no label"},
        {"A,1,2\n3,1,2\n", "no label"},
        {"0,1,2\nB,1,2\n", "no number"},
        {"label\n5\n", "one column"},
        {"1,2,\"0\n", "quote is not closed"},
        {"1,\"2\"x,0\n", "closing quote"},
        {"1,2,3,0\n", "a sample is 3"},
    };
    for (size_t k = 0; k < BL_COUNTOF(wrong); k++) {
        save_text(f, "t.csv", wrong[k].text);
        open_fails(f, "csv:@/t.csv", "", input_of(2, 1, 2, 0, 0), BL_DATA, wrong[k].says);
    }
    save_bytes(f, "t.csv", "1,2\0,0\n", 7);
    open_fails(f, "csv:@/t.csv", "", input_of(2, 1, 2, 0, 0), BL_DATA, "zero byte");
}

static void label_files(void **state)
{
    fixture *f = *state;
    bl_tensor in = input_of(2, 1, 2, 0, 0);
    put_npy_u8(f, "(3, 2)", 6);
    save(f, "x.npy");
    const struct {
        const char *text;
        int label[3];
    } fine[] = {
        {"file,label\na.bin,4\nb.bin,5\n\"c,d.bin\",6\n", {4, 5, 6}},
        {"label\n0\n1000000\n2", {0, 1000000, 2}},
        {"label,file\nA,\nB,\"say \"\"x\"\"\"\nZ,z\n", {0, 1, 25}},
    };
    for (size_t k = 0; k < BL_COUNTOF(fine); k++) {
        save_text(f, "l.csv", fine[k].text);
        bl_data *d = open_fine(f, "npy:@/x.npy,@/l.csv", "", in);
        for (int i = 0; i < 3; i++) assert_int_equal(bl_data_label(d, i), fine[k].label[i]);
        bl_data_free(d);
    }
    const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "no column"},
        {"file,class\na,1\nb,2\nc,3\n", "no column \"label\""},
        {"label\n1\n2\n", "2 labels for 3"},
        {"label\n1\n2\n3\n4\n", "4 labels for 3"},
        {"label\n1\n-2\n3\n", "line 3: \"-2\" is no label"},
        {"label\n1\nA\n3\n", "no label"},
        {"label\n1\n2\n1000001\n", "no label"},
        {"label\n1\n2\n99999999999999999999\n", "no label"},
    };
    for (size_t k = 0; k < BL_COUNTOF(wrong); k++) {
        save_text(f, "l.csv", wrong[k].text);
        open_fails(f, "npy:@/x.npy,@/l.csv", "", in, BL_DATA, wrong[k].says);
    }
    open_fails(f, "npy:@/x.npy,@/none.csv", "", in, BL_NOINPUT, "none.csv");

    put_npy(f, "{'descr': '<i8', 'fortran_order': False, 'shape': (3,), }");
    for (int i = 0; i < 3; i++) put_le(f, (uint64_t)(i * 70000), 8);
    save(f, "y.npy");
    bl_data *d = open_fine(f, "npy:@/x.npy,@/y.npy", "", in);
    assert_int_equal(bl_data_label(d, 2), 140000);
    bl_data_free(d);
    put_npy(f, "{'descr': '<i2', 'fortran_order': False, 'shape': (3, 1), }");
    for (int i = 0; i < 3; i++) put_le(f, (uint64_t)(i - 1), 2);
    save(f, "y.npy");
    open_fails(f, "npy:@/x.npy,@/y.npy", "", in, BL_DATA, "sample 0 is out of range");
    put_npy(f, "{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }");
    put_le(f, 0, 8);
    put_le(f, 0, 4);
    save(f, "y.npy");
    open_fails(f, "npy:@/x.npy,@/y.npy", "", in, BL_DATA, "floating point");
    put_npy(f, "{'descr': '|u1', 'fortran_order': False, 'shape': (1, 3), }");
    put_le(f, 0, 3);
    save(f, "y.npy");
    open_fails(f, "npy:@/x.npy,@/y.npy", "", in, BL_DATA, "one dimension");
}

static void words(void **state)
{
    fixture *f = *state;
    bl_tensor in = input_of(2, 1, 2, 0, 0);
    put_cifar(f, 1);
    save(f, "a,b.bin");
    open_fails(f, "cifar:@/a,b.bin", "", input_of(4, 1, 3, 32, 32), BL_USAGE, "2 words");
    assert_non_null(strstr(bl_last_error(f->ctx).remedy, "comma cannot be given"));
    open_fails(f, "nonesuch:x", "", in, BL_USAGE, "nonesuch");
    assert_non_null(strstr(bl_last_error(f->ctx).remedy, "cifar, idx, npy, csv, raw"));
    open_fails(f, "x.npy", "", in, BL_USAGE, "names no loader");
    open_fails(f, "cifar:", "", in, BL_USAGE, "word 1 is empty");
    open_fails(f, "idx:a,", "", in, BL_USAGE, "word 2 is empty");
    open_fails(f, "idx:a,b,c", "", in, BL_USAGE, "3 words");
    open_fails(f, "raw:a,b,c,d,e,f,g,h,i", "", in, BL_USAGE, "more than");
    open_fails(f, "", "", in, BL_USAGE, "no sense");
    open_fails(f, "cifar:@", "", in, BL_NOINPUT, "regular");
    for (size_t i = 0; i < bl_n_loader_rows; i++) {
        assert_true(bl_loader_rows[i].prefix[0] && bl_loader_rows[i].words[0]);
        assert_true(bl_loader_rows[i].help[0]);
    }
    bl_data_free(NULL);

    bl_data *d;
    bl_data_options o = {.spec = fixture_spec(f, "cifar:@/c.bin")};
    bl_tensor whole = {.type = BL_F64, .rank = 1, .dim = {1}};
    assert_fails(f->ctx, bl_data_open(f->ctx, &o, &whole, &d), BL_UNAVAILABLE, "float64");
}

static void description(void **state)
{
    fixture *f = *state;
    float x[12];
    put_npy_u8(f, "(2, 2, 1, 3)", 12);
    save(f, "a,b.npy");
    save_text(f, "l.csv", "label\n3\n4\n");
    save_text(f, "d.json",
              "{\"loader\":\"npy\",\"words\":[\"a,b.npy\",\"l.csv\"],\"mean\":[1,2,3],"
              "\"std\":2,\"layout\":\"nhwc\",\"channels\":\"bgr\"}");
    bl_data *d = open_fine(f, "@/d.json", "", input_of(4, 1, 3, 2, 1));
    assert_int_equal(bl_data_label(d, 1), 4);
    assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
    for (int i = 0; i < 2; i++)
        for (int c = 0; c < 3; c++)
            for (int y = 0; y < 2; y++)
                assert_true(x[i * 6 + c * 2 + y] ==
                            ((float)pattern((size_t)(i * 6 + y * 3 + 2 - c)) - (float)(c + 1)) / 2);
    bl_data_free(d);
    d = open_fine(f, "@/d.json", "std=4", input_of(4, 1, 3, 2, 1)); /* the command line wins */
    assert_ok(f->ctx, bl_data_read(d, 0, 1, x));
    assert_true(x[0] == ((float)pattern(2) - 1) / 4);
    bl_data_free(d);

    const struct {
        const char *text, *says;
    } wrong[] = {
        {"{", "d.json"},
        {"{}", "loader"},
        {"{\"loader\":\"npy\"}", "words"},
        {"{\"loader\":\"npy\",\"words\":[]}", "words"},
        {"{\"loader\":\"npy\",\"words\":[1]}", "words"},
        {"{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"men\":1}", "men"},
        {"{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"std\":[1,0]}", "std"},
        {"{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"mean\":[]}", "mean"},
        {"{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"mean\":\"1\"}", "mean"},
        {"{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"crop\":0}", "crop"},
        {"{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"crop\":[]}", "crop"},
    };
    for (size_t k = 0; k < BL_COUNTOF(wrong); k++) {
        save_text(f, "d.json", wrong[k].text);
        open_fails(f, "@/d.json", "", input_of(4, 1, 3, 2, 1), BL_DATA, wrong[k].says);
    }
    save_text(f, "d.json", "{\"loader\":\"x\",\"words\":[\"y\"]}");
    open_fails(f, "@/d.json", "", input_of(4, 1, 3, 2, 1), BL_USAGE, "\"x\"");
}

/* The same samples by what a data set says of itself, as run.json keeps it, from any folder. */
static void words_again(void **state)
{
    fixture *f = *state;
    put_npy_u8(f, "(2, 4, 3, 3)", 72);
    save(f, "a,b.npy");
    for (int i = 0; i < 72; i++) put_le(f, pattern((size_t)i), 1);
    save(f, "x.bin");
    save_text(f, "l.csv", "label\n3\n4\n");
    save_text(f, "d.json", "{\"loader\":\"npy\",\"words\":[\"a,b.npy\",\"l.csv\"]}");
    const struct {
        const char *form, *words;
        bl_tensor in;
        const char *says[4];
    } sets[] = {
        {"@/d.json", "layout=nhwc channels=bgr crop=3x2 mean=0.1,2,123.675 std=62.985",
         input_of(4, 1, 3, 3, 2),
         {"\"words\": [\"a,b.npy\", \"l.csv\"]", "\"mean\": [0.10000000000000001, 2.0, 123.675",
          "\"crop\": \"3x2\"", "\"limit\": 7"}},
        {"raw:@/x.bin,u8,2x36", "", input_of(2, 1, 36, 0, 0), {"[\"x.bin\", \"u8\", \"2x36\"]", "", "", ""}},
        {"raw:@/x.bin,u8,2x4x3x3", "layout=nchw window=2", input_of(4, 1, 2, 3, 3), {"\"layout\": \"nchw\"", "\"window\": 2", "", ""}},
        {"raw:@/x.bin,u8,2x4x3x3", "layout=nhwc resize=3 crop=2", input_of(4, 1, 3, 2, 2), {"\"resize\": 3", "\"crop\": 2", "", ""}},
    };
    for (size_t k = 0; k < BL_COUNTOF(sets); k++) {
        bl_data *d = open_fine(f, sets[k].form, sets[k].words, sets[k].in), *again;
        for (int away = 0; away < 2; away++) { /* beside the files, and elsewhere */
            char folder[300], path[400];
            snprintf(folder, sizeof folder, "%s%s", f->folder, away ? "/run" : "");
            assert_true(mkdir(folder, 0700) == 0 || !away);
            json_t *words = bl_data_description(d, folder), *run;
            assert_non_null(words);
            json_object_set_new(words, "limit", json_integer(7));
            json_object_set_new(words, "hash", json_string(bl_data_hash(d).hex));
            char *text = json_dumps(words, 0);
            for (int i = 0; i < 4 && !away; i++)
                if (!strstr(text, sets[k].says[i])) fail_msg("no %s in %s", sets[k].says[i], text);
            free(text);
            run = json_pack("{s:s, s:o}", "model", "net.onnx", "data", words);
            snprintf(path, sizeof path, "%s/run.json", folder);
            assert_int_equal(json_dump_file(run, path, 0), 0);
            json_decref(run);
            again = open_fine(f, away ? "@/run/run.json" : "@/run.json", "", sets[k].in);
            assert_string_equal(bl_data_hash(again).hex, bl_data_hash(d).hex);
            bl_data_free(again);
            assert_int_equal(unlink(path), 0);
            if (away) assert_int_equal(rmdir(folder), 0);
        }
        bl_data_free(d);
    }
    save_text(f, "d.json", "{\"loader\":\"npy\",\"words\":[\"a,b.npy\"],\"limit\":7}");
    open_fails(f, "@/d.json", "", input_of(2, 1, 36, 0, 0), BL_DATA, "limit"); /* it would not be kept */
}

static void arff_forms(void **state)
{
    fixture *f = *state;
    float x[6];
    const struct {
        const char *text;
        int label[2];
    } row[] = {
        {"% a table\n\n@RELATION 'x y'\n@ATTRIBUTE 'p q' NUMERIC\n@attribute r real\n@attribute class {g, q,'w'}\n@DATA\n1,2,w\n3,4,'g'\n",
         {2, 0}},
        {"@relation x\r\n@attribute class {b,a}\r\n@attribute p integer\r\n@attribute q numeric\r\n@data\r\na,1,2\r\n\r\nb,3,4",
         {1, 0}},
        {"@relation x\n@attribute p numeric\n@attribute q numeric\n@attribute label integer\n@data\n1,2,7\n3,4,0\n", {7, 0}},
        {"@relation x\n@attribute p numeric\n@attribute q numeric\n@data\n1,2\n3,4\n", {-1, -1}},
    };
    for (size_t k = 0; k < BL_COUNTOF(row); k++) {
        save_text(f, "t.arff", row[k].text);
        bl_data *d = open_fine(f, "arff:@/t.arff", "", input_of(2, 1, 2, 0, 0));
        assert_int_equal(bl_data_samples(d), 2);
        assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
        for (int i = 0; i < 4; i++)
            if (x[i] != (float)(i + 1)) fail_msg("form %zu value %d: %g", k, i, (double)x[i]);
        for (int i = 0; i < 2; i++) assert_int_equal(bl_data_label(d, i), row[k].label[i]);
        bl_data_free(d);
    }
    const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "no @data"},
        {"@relation x\n@attribute p numeric\n", "no @data"},
        {"@data\n1,2\n", "line 1: no attributes"},
        {"p,q\n1,2\n", "line 1: no such declaration"},
        {"@attribute p string\n@data\n", "line 1: an attribute of another type"},
        {"@attribute p {a}\n@attribute q {b}\n@data\n", "line 2: a second attribute of words"},
        {"@attribute p {a}\n@data\na\n", "one attribute only"},
        {"@attribute p numeric\n@attribute c {a,b}\n@data\n", "no samples"},
        {"@attribute p numeric\n@attribute c {a,b}\n@data\n1,2,a\n", "3 fields for 2 attributes"},
        {"@attribute p numeric\n@attribute q numeric\n@attribute c {a,b}\n@data\n1,2,a\n3,4,c\n", "line 6, field 3: \"c\" is no class"},
        {"@attribute p numeric\n@attribute q numeric\n@attribute c {a,b}\n@data\n1,?,a\n", "line 5, field 2: \"?\" is no number"},
        {"@attribute p numeric\n@attribute q numeric\n@attribute c {a,b}\n@data\n1,2,a\n3,4\n", "line 6: too few fields"},
    };
    for (size_t k = 0; k < BL_COUNTOF(wrong); k++) {
        save_text(f, "t.arff", wrong[k].text);
        open_fails(f, "arff:@/t.arff", "", input_of(2, 1, 2, 0, 0), BL_DATA, wrong[k].says);
    }
}

/* As many means as numbers: one each. */
static void scaled_one_by_one(void **state)
{
    fixture *f = *state;
    float x[4];
    save_text(f, "t.csv", "1,5,0\n12,7,1\n");
    bl_data *d = open_fine(f, "csv:@/t.csv", "mean=1,5 std=2,4", input_of(2, 1, 2, 0, 0));
    assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
    assert_true(x[0] == 0 && x[1] == 0 && x[2] == 5.5f && x[3] == 0.5f);
    bl_hash one = bl_data_hash(d);
    bl_data_free(d);
    d = open_fine(f, "csv:@/t.csv", "mean=1,5 std=4,2", input_of(2, 1, 2, 0, 0));
    assert_string_not_equal(one.hex, bl_data_hash(d).hex);
    bl_data_free(d);
    d = open_fine(f, "csv:@/t.csv", "mean=1,5 std=2", input_of(2, 1, 2, 0, 0));
    assert_ok(f->ctx, bl_data_read(d, 0, 2, x));
    assert_true(x[2] == 5.5f && x[3] == 1);
    bl_data_free(d);
    open_fails(f, "csv:@/t.csv", "mean=1,5,6", input_of(2, 1, 2, 0, 0), BL_USAGE, "3 numbers for 1 channel");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        TEST(cifar_records), TEST(idx_plain_and_gzip), TEST(idx_wide_types), TEST(raw_types),
        TEST(csv_forms),     TEST(label_files),        TEST(words),          TEST(description),   TEST(words_again),
        TEST(arff_forms),    TEST(scaled_one_by_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
