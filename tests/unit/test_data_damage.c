/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Damaged files: cut at every length, and ten thousand seeded mutations of each format.  Whatever
 * is opened must be readable to the end; all else is a status from the contract, one sentence, and
 * no memory kept.  (Run it with the address sanitizer, too.)
 */
#include "test_data_files.h"

/* Tells if it opened. */
static bool try_open(fixture *f, const char *form, const char *options, bl_tensor in)
{
    static float x[4096];
    bl_data *d = NULL;
    bl_status status = open_data(f, form, options, in, &d);
    if (status == BL_OK) {
        assert_true(bl_data_sample_size(d) <= (int64_t)BL_COUNTOF(x));
        for (int64_t i = 0; i < BL_MIN(bl_data_samples(d), 50); i++) {
            assert_in_range((uint64_t)(bl_data_label(d, i / bl_data_windows(d)) + 1), 0,
                            BL_DATA_LABEL_MAX + 1);
            assert_ok(f->ctx, bl_data_read(d, i, 1, x));
        }
        if (bl_data_samples(d) > 50)
            assert_ok(f->ctx, bl_data_read(d, bl_data_samples(d) - 1, 1, x));
        bl_data_free(d);
        return true;
    }
    bool names_files = strstr(form, "json") != NULL; /* a damaged name is of a missing file */
    if (status != BL_DATA && status != BL_UNAVAILABLE && status != BL_USAGE &&
        !(names_files && status == BL_NOINPUT))
        fail_msg("status %d: %s", (int)status, bl_last_error(f->ctx).what);
    assert_true(bl_last_error(f->ctx).what[0] != '\0');
    uint64_t now;
    bl_memory_use(f->ctx, &now, NULL);
    assert_int_equal(now, 0);
    return false;
}

typedef struct format {
    const char *name, *form, *options;
    bl_tensor in;
    void (*make)(fixture *f);
    bool whole; /* no proper beginning of it is a data set */
} format;

static void make_cifar(fixture *f)
{
    put_cifar(f, 1);
}

static void make_idx(fixture *f)
{
    put_idx(f, 8, 3, (int[]){6, 3, 4});
    for (size_t i = 0; i < 72; i++) put_le(f, pattern(i), 1);
}

static void make_gzip(fixture *f)
{
    make_idx(f);
    to_gzip(f);
}

static void make_wide(fixture *f)
{
    put_idx(f, 0xD, 3, (int[]){2, 3, 4});
    for (int i = 0; i < 24; i++) put_be(f, 0x3F800000u + (unsigned)i * 999, 4);
}

static void make_npy(fixture *f)
{
    put_npy_u8(f, "(2, 3, 4)", 24);
}

static void make_npz(fixture *f, bool deflated)
{
    uint8_t x[256], y[256];
    make_npy(f);
    size_t x_n = f->n;
    memcpy(x, f->bytes, x_n);
    f->n = 0;
    put_npy_u8(f, "(2,)", 2);
    size_t y_n = f->n;
    memcpy(y, f->bytes, y_n);
    f->n = 0;
    put_zip(f, (zip_member[]){{"x.npy", x, x_n, deflated}, {"y.npy", y, y_n, deflated}}, 2);
}

static void make_stored(fixture *f)
{
    make_npz(f, false);
}

static void make_deflated(fixture *f)
{
    make_npz(f, true);
}

static void make_csv(fixture *f)
{
    const char *text = "a,\"b\"\"c\",c,d,e,f,g,h,i,j,k,l,label\n1,2,3,4,5,6,7,8,9,10,11,1e1,0\r\n"
                       "1.5,2,-3,4,5,6,7,8,9,10,11,12,\"3\"\n\n";
    put(f, text, strlen(text));
}

static void make_labels(fixture *f)
{
    make_npy(f);
    save(f, "labelled.npy");
    const char *text = "file,\"label\"\n\"a\"\"x\",3\nb,1000000\n";
    put(f, text, strlen(text));
}

static void make_json(fixture *f)
{
    make_npy(f);
    save(f, "labelled.npy");
    const char *text =
        "{\"loader\":\"npy\",\"words\":[\"labelled.npy\"],\"mean\":[1.5],\"std\":2,\"crop\":3,"
        "\"layout\":\"nchw\",\"channels\":\"rgb\"}";
    put(f, text, strlen(text));
}

static const format formats[] = {
    {"cifar", "cifar:@/t", "", {BL_F32, 4, {1, 3, 32, 32}, NULL}, make_cifar, true},
    {"idx", "idx:@/t", "", {BL_F32, 4, {1, 1, 3, 4}, NULL}, make_idx, true},
    {"idx.gz", "idx:@/t", "", {BL_F32, 4, {1, 1, 3, 4}, NULL}, make_gzip, true},
    {"idx float32", "idx:@/t", "crop=3", {BL_F32, 4, {1, 1, 3, 3}, NULL}, make_wide, true},
    {"npy", "npy:@/t", "layout=nhwc", {BL_F32, 4, {1, 1, 3, 4}, NULL}, make_npy, true},
    {"npy windows", "npy:@/t", "window=2", {BL_F32, 2, {1, 8}, NULL}, make_npy, true},
    {"npz stored", "npy:@/t", "", {BL_F32, 2, {1, 12}, NULL}, make_stored, true},
    {"npz deflated", "npy:@/t", "", {BL_F32, 2, {1, 12}, NULL}, make_deflated, true},
    {"raw", "raw:@/t,u8,8x11", "", {BL_F32, 2, {1, 11}, NULL}, make_idx, true},
    {"csv", "csv:@/t", "", {BL_F32, 2, {1, 12}, NULL}, make_csv, false},
    {"labels", "npy:@/labelled.npy,@/t.csv", "", {BL_F32, 2, {1, 12}, NULL}, make_labels, false},
    {"json", "@/t.json", "", {BL_F32, 4, {1, 1, 3, 3}, NULL}, make_json, true},
};

static const char *damaged_name(const format *k)
{
    return strstr(k->form, "t.csv") ? "t.csv" : strstr(k->form, "t.json") ? "t.json" : "t";
}

static void truncations(void **state)
{
    fixture *f = *state;
    for (size_t k = 0; k < BL_COUNTOF(formats); k++) {
        formats[k].make(f);
        size_t n = f->n, step = n > 1000 ? 7 : 1;
        f->n = 0;
        for (size_t cut = 0; cut < n; cut += step) {
            save_bytes(f, damaged_name(&formats[k]), f->bytes, cut);
            bool opened = try_open(f, formats[k].form, formats[k].options, formats[k].in);
            if (opened && formats[k].whole)
                fail_msg("%s: %zu of %zu bytes", formats[k].name, cut, n);
        }
        save_bytes(f, damaged_name(&formats[k]), f->bytes, n);
        if (!try_open(f, formats[k].form, formats[k].options, formats[k].in))
            fail_msg("%s: %s", formats[k].name, bl_last_error(f->ctx).what);
    }
}

/* Mostly in the first bytes, where headers are, and with bytes that matter to parsers. */
static void mutate(bl_rng *r, uint8_t *bytes, size_t *n)
{
    static const char tempting[] = "0123456789-,.\"'(){}[]:xAZ\n\r<>|\xff\x80\x01\x1f\x8b";
    for (uint64_t left = 1 + bl_rng_below(r, 4); left > 0 && *n > 0; left--) {
        size_t area = bl_rng_below(r, 3) ? BL_MIN(*n, (size_t)160) : *n;
        size_t at = bl_rng_below(r, 8) ? (size_t)bl_rng_below(r, area)
                                       : *n - 1 - (size_t)bl_rng_below(r, area);
        switch (bl_rng_below(r, 5)) {
        case 0: bytes[at] ^= (uint8_t)(1u << bl_rng_below(r, 8)); break;
        case 1: bytes[at] = (uint8_t)bl_rng_u64(r); break;
        case 2: bytes[at] = (uint8_t)tempting[bl_rng_below(r, sizeof tempting - 1)]; break;
        case 3: /* a byte goes */
            memmove(bytes + at, bytes + at + 1, *n - at - 1);
            --*n;
            break;
        default: /* a piece is doubled */ memmove(bytes + at + 1, bytes + at, *n - at); ++*n;
        }
    }
}

static void mutations(void **state)
{
    fixture *f = *state;
    for (size_t k = 0; k < BL_COUNTOF(formats); k++) {
        formats[k].make(f);
        size_t n = f->n;
        f->n = 0;
        uint8_t *bytes = malloc(n + 16);
        assert_non_null(bytes);
        int opened = 0;
        enum { rounds = 10000 };
        for (int i = 0; i < rounds; i++) {
            bl_rng r = bl_rng_make(1, formats[k].name, (uint64_t)i);
            size_t m = n;
            memcpy(bytes, f->bytes, n);
            mutate(&r, bytes, &m);
            save_bytes(f, damaged_name(&formats[k]), bytes, m);
            opened += try_open(f, formats[k].form, formats[k].options, formats[k].in);
        }
        free(bytes);
        assert_true(opened < rounds);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {TEST(truncations), TEST(mutations)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
