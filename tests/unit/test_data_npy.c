/* SPDX-License-Identifier: BSD-3-Clause */
/* NumPy's files: headers as NumPy and others write them, archives, and what is refused by name. */
#include "test_data_files.h"

static bl_status view(fixture *f, bl_tensor *t)
{
    bl_status status = bl_npy_view(f->ctx, "test.npy", f->bytes, f->n, t);
    f->n = 0;
    return status;
}

static void headers(void **state)
{
    fixture *f = *state;
    bl_tensor t;
    const struct {
        const char *text;
        int bytes, rank;
        int64_t dim[3];
        bl_dtype type;
    } fine[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 24, 2, {2, 3}, BL_F32},
        {"{'shape': (2, 3), 'descr': '<f8', 'fortran_order': False}", 48, 2, {2, 3}, BL_F64},
        {"{\"descr\": \"|u1\", \"fortran_order\": False, \"shape\": (5,)}", 5, 1, {5}, BL_U8},
        {"{'descr':'=i2','fortran_order':True,'shape':(5,)}", 10, 1, {5}, BL_I16},
        {"{'descr': '>u1', 'fortran_order': False, 'shape': (1, 2, 2), }", 4, 3, {1, 2, 2}, BL_U8},
        {"{'descr': '|b1', 'fortran_order': False, 'shape': (), }", 1, 0, {0}, BL_BOOL},
        {"{'descr': '<i8', 'fortran_order': False, 'shape': (0, 3), }", 0, 2, {0, 3}, BL_I64},
        {"{'descr': '<u4', 'fortran_order': False, 'shape': (1,), }", 4, 1, {1}, BL_U32},
    };
    for (size_t k = 0; k < BL_COUNTOF(fine); k++) {
        put_npy(f, fine[k].text);
        size_t start = f->n;
        for (int i = 0; i < fine[k].bytes; i++) put_le(f, 1, 1);
        assert_ok(f->ctx, view(f, &t));
        assert_int_equal(t.type, fine[k].type);
        assert_int_equal(t.rank, fine[k].rank);
        assert_memory_equal(t.dim, fine[k].dim, (size_t)t.rank * sizeof t.dim[0]);
        assert_ptr_equal(t.data, f->bytes + start);
    }
    const struct {
        const char *text;
        int bytes;
        const char *says;
    } wrong[] = {
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 23, "24 bytes of data, 23"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }", 25, "24 bytes of data, 25"},
        {"{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", 4, "big-endian"},
        {"{'descr': '<f2', 'fortran_order': False, 'shape': (1,), }", 2, "<f2"},
        {"{'descr': '<c8', 'fortran_order': False, 'shape': (1,), }", 8, "<c8"},
        {"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }", 8, "|O"},
        {"{'descr': '<U12', 'fortran_order': False, 'shape': (1,), }", 48, "<U12"},
        {"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", 4, "structured"},
        {"{'descr': '<f4', 'fortran_order': True, 'shape': (2, 3), }", 24, "Fortran"},
        {"{'descr': '<f4', 'fortran_order': Maybe, 'shape': (2, 3), }", 24, "order"},
        {"{'descr': '<f4', 'shape': (2, 3), }", 24, "header"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), 'x': 1}", 24, "unknown"},
        {"{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2, 3)}", 24,
         "repeated"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), } x", 24, "header"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2 3), }", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (6), }", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2,,3), }", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3", 24, "shape"},
        {"{'descr': '<f4', 'fortran_order': False, 'shape': 6, }", 24, "shape"},
        {"{'descr': '<f4, 'fortran_order': False, 'shape': (6,), }", 24, "not known"},
        {"{'descr': '<f4' 'fortran_order': False, 'shape': (6,), }", 24, "header"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (1,1,1,1,1,1,1,1,1), }", 1,
         "8 dimensions"},
        {"{'descr': '|u1', 'fortran_order': False, 'shape': (99999999999999999999,), }", 1,
         "too large"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904, 4), }", 0,
         "cannot be"},
        {"{'descr': '<f8', 'fortran_order': False, 'shape': (4611686018427387904,), }", 0,
         "cannot be"},
        {"", 0, "header"},
    };
    for (size_t k = 0; k < BL_COUNTOF(wrong); k++) {
        put_npy(f, wrong[k].text);
        for (int i = 0; i < wrong[k].bytes; i++) put_le(f, 1, 1);
        assert_fails(f->ctx, view(f, &t), BL_DATA, wrong[k].says);
    }
    put(f, "\x93NUMPX\x01\0\0\0", 10);
    assert_fails(f->ctx, view(f, &t), BL_DATA, "no .npy");
    put_npy_u8(f, "(4,)", 4);
    f->bytes[6] = 4;
    assert_fails(f->ctx, view(f, &t), BL_DATA, "version 4");
    put_npy_u8(f, "(4,)", 4);
    f->bytes[9] = 0xff;
    assert_fails(f->ctx, view(f, &t), BL_DATA, "inside its header");

    /* Version 2: four bytes of length. */
    const char *text = "{'descr': '|i1', 'fortran_order': False, 'shape': (2,), }\n";
    put(f, "\x93NUMPY\x02\x00", 8);
    put_le(f, strlen(text), 4);
    put(f, text, strlen(text));
    put(f, "\xff\x01", 2);
    assert_ok(f->ctx, view(f, &t));
    assert_true(t.type == BL_I8 && t.dim[0] == 2 && *(const int8_t *)t.data == -1);
}

static void writing(void **state)
{
    fixture *f = *state;
    static double room[64];
    char path[512];
    snprintf(path, sizeof path, "%s/w.npy", f->folder);
    const bl_dtype types[] = {BL_BOOL, BL_U8,  BL_I8,  BL_U16, BL_I16, BL_U32,
                              BL_I32,  BL_U64, BL_I64, BL_F32, BL_F64};
    for (size_t k = 0; k < 64; k++) room[k] = (double)k * 1.1;
    for (size_t k = 0; k < BL_COUNTOF(types); k++)
        for (int rank = 0; rank <= 8; rank++) {
            bl_tensor t = {.type = types[k], .rank = rank, .data = room}, back;
            for (int i = 0; i < rank; i++) t.dim[i] = i < 3 ? 3 : 1;
            assert_ok(f->ctx, bl_npy_write(f->ctx, path, &t));
            bl_map map;
            assert_ok(f->ctx, bl_map_file(f->ctx, path, 0, &map));
            assert_ok(f->ctx, bl_npy_view(f->ctx, path, map.data, map.size, &back));
            assert_int_equal((size_t)((const uint8_t *)back.data - map.data) % 64, 0);
            assert_int_equal(back.type, t.type);
            assert_int_equal(back.rank, rank);
            assert_memory_equal(back.dim, t.dim, sizeof t.dim);
            size_t bytes = map.size - (size_t)((const uint8_t *)back.data - map.data);
            assert_memory_equal(back.data, room, bytes);
            bl_unmap(&map);
        }
    bl_tensor wide = {.type = BL_I64, .rank = 8}; /* the longest header: no elements */
    for (int i = 0; i < 8; i++) wide.dim[i] = i ? INT32_MAX : 0;
    wide.dim[1] = 1000000000000;
    assert_ok(f->ctx, bl_npy_write(f->ctx, path, &wide));
    bl_tensor text = {.type = BL_STRING, .rank = 0};
    assert_fails(f->ctx, bl_npy_write(f->ctx, path, &text), BL_UNAVAILABLE, "written");
    snprintf(path, sizeof path, "%s/none/w.npy", f->folder);
    assert_fails(f->ctx, bl_npy_write(f->ctx, path, &wide), BL_CANTCREATE, "none");
}

/* x of shape (3, 2) uint8 and y of 3 int32 as members. */
static void members(fixture *f, uint8_t *x, size_t *x_n, uint8_t *y, size_t *y_n)
{
    put_npy_u8(f, "(3, 2)", 6);
    memcpy(x, f->bytes, *x_n = f->n);
    f->n = 0;
    put_npy(f, "{'descr': '<i4', 'fortran_order': False, 'shape': (3,), }");
    for (int i = 0; i < 3; i++) put_le(f, (uint64_t)(7 - i), 4);
    memcpy(y, f->bytes, *y_n = f->n);
    f->n = 0;
}

static void archives(void **state)
{
    fixture *f = *state;
    uint8_t x[256], y[256];
    size_t x_n, y_n;
    float v[6];
    bl_tensor in = input_of(2, 1, 2, 0, 0);
    members(f, x, &x_n, y, &y_n);
    for (int deflated = 0; deflated < 2; deflated++) {
        put_zip(f, (zip_member[]){{"y.npy", y, y_n, deflated}, {"x.npy", x, x_n, deflated}}, 2);
        save(f, "a.npz");
        bl_data *d = open_fine(f, "npy:@/a.npz", "", in);
        assert_int_equal(bl_data_samples(d), 3);
        assert_ok(f->ctx, bl_data_read(d, 0, 3, v));
        for (size_t i = 0; i < 6; i++) assert_true(v[i] == (float)pattern(i));
        for (int i = 0; i < 3; i++) assert_int_equal(bl_data_label(d, i), 7 - i);
        bl_data_free(d);
        /* A label file that is named comes first; a single member needs no name. */
        save_text(f, "l.csv", "label\n1\n2\n3\n");
        d = open_fine(f, "npy:@/a.npz,@/l.csv", "", in);
        assert_int_equal(bl_data_label(d, 2), 3);
        bl_data_free(d);
        put_zip(f, (zip_member[]){{"arr_0.npy", x, x_n, deflated}}, 1);
        save(f, "one.npz");
        d = open_fine(f, "npy:@/one.npz", "", in);
        assert_false(bl_data_labelled(d));
        bl_data_free(d);
    }
    bl_arena *arena = bl_arena_new(f->ctx, "test");
    bl_npz_member *m;
    int n;
    put_zip(f,
            (zip_member[]){
                {"b.npy", y, y_n, true}, {"notes.txt", x, 5, false}, {"a.npy", x, x_n, false}},
            3);
    assert_ok(f->ctx, bl_npz_list(arena, "t.npz", f->bytes, f->n, &m, &n));
    assert_int_equal(n, 3);
    assert_string_equal(m[0].name, "b");
    assert_string_equal(m[1].name, "notes.txt");
    assert_string_equal(m[2].name, "a");
    bl_tensor t;
    assert_ok(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[0], &t));
    assert_int_equal(((const int32_t *)t.data)[2], 5);
    assert_fails(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[1], &t), BL_DATA, "t.npz");
    m[0].crc ^= 1;
    assert_fails(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[0], &t), BL_DATA, "checksum");
    m[0].bytes++;
    assert_fails(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[0], &t), BL_DATA, "more or less");
    m[0].bytes -= 2;
    assert_fails(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[0], &t), BL_DATA, "more or less");
    m[0].bytes = (size_t)1 << 31;
    assert_fails(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[0], &t), BL_DATA, "as large");
    m[0].method = 9;
    assert_fails(f->ctx, bl_npz_view(arena, "t.npz", f->bytes, &m[0], &t), BL_DATA, "unknown way");
    f->n = 0;
    bl_arena_free(arena);

    put_zip(f, (zip_member[]){{"y.npy", y, y_n, true}, {"z.npy", x, x_n, true}}, 2);
    save(f, "a.npz");
    open_fails(f, "npy:@/a.npz", "", in, BL_DATA, "no member \"x\"");
    put_zip(f, NULL, 0);
    save(f, "a.npz");
    open_fails(f, "npy:@/a.npz", "", in, BL_DATA, "no member");
    put(f, "PK\3\4", 4);
    save(f, "a.npz");
    open_fails(f, "npy:@/a.npz", "", in, BL_DATA, "no .npz");
    put_zip(f, (zip_member[]){{"x.npy", x, x_n, true}}, 1);
    f->bytes[f->n - 22 - 46 - 5 + 8] |= 1;
    save(f, "a.npz");
    open_fails(f, "npy:@/a.npz", "", in, BL_DATA, "encrypted");
    put_zip(f, (zip_member[]){{"x.npy", x, x_n, false}}, 1);
    memset(f->bytes + f->n - 22 - 46 - 5 + 20, 0xff, 8);
    save(f, "a.npz");
    open_fails(f, "npy:@/a.npz", "", in, BL_DATA, "zip64");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {TEST(headers), TEST(writing), TEST(archives)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
