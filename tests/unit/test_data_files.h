/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the data room share: a folder with files made by the test itself in each
 * format, byte by byte and not with the code under test, and short ways to open them.
 */
#ifndef BL_TEST_DATA_FILES_H
#define BL_TEST_DATA_FILES_H

#include <zlib.h>

#include "data/data.h"
#include "support.h"

#define FILE_ROOM (1 << 16)

typedef struct fixture {
    bl_ctx *ctx;
    char folder[256];
    char spec[1600];        /* of the last fixture_spec */
    uint8_t bytes[FILE_ROOM]; /* a file under construction */
    size_t n;
} fixture;

static inline int fixture_setup(void **state)
{
    fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->ctx = test_ctx(2, 0);
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0); /* many small files */
    test_folder(f->folder);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    fixture *f = *state;
    test_folder_remove(f->folder);
    test_ctx_free(f->ctx);
    free(f);
    return 0;
}

/* ---- bytes */

static inline void put(fixture *f, const void *data, size_t n)
{
    assert_true(f->n + n <= sizeof f->bytes);
    memcpy(f->bytes + f->n, data, n);
    f->n += n;
}

static inline void put_le(fixture *f, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++) put(f, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

static inline void put_be(fixture *f, uint64_t v, int bytes)
{
    for (int i = bytes - 1; i >= 0; i--) put(f, &(uint8_t){(uint8_t)(v >> 8 * i)}, 1);
}

static inline void save_bytes(const fixture *f, const char *name, const void *data, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", f->folder, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    if (n) assert_int_equal(fwrite(data, 1, n, file), n);
    assert_int_equal(fclose(file), 0);
}

/* Writes what was put and starts anew. */
static inline void save(fixture *f, const char *name)
{
    save_bytes(f, name, f->bytes, f->n);
    f->n = 0;
}

static inline void save_text(const fixture *f, const char *name, const char *text)
{
    save_bytes(f, name, text, strlen(text));
}

/* What was put becomes its own gzip form. */
static inline void to_gzip(fixture *f)
{
    uint8_t *packed = malloc(FILE_ROOM);
    z_stream z = {0};
    assert_non_null(packed);
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = f->bytes;
    z.avail_in = (uInt)f->n;
    z.next_out = packed;
    z.avail_out = FILE_ROOM;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    f->n = z.total_out;
    memcpy(f->bytes, packed, f->n);
    deflateEnd(&z);
    free(packed);
}

/* ---- formats */

/* Deterministic bytes, no two neighbours alike. */
static inline uint8_t pattern(size_t i) { return (uint8_t)(i * 37 + i / 256 * 11 + 5); }

static inline void put_cifar(fixture *f, int n)
{
    for (int i = 0; i < n; i++) {
        put_le(f, (uint64_t)(i * 3 % 10), 1);
        for (int k = 0; k < 3072; k++) put_le(f, pattern((size_t)(i * 3072 + k)), 1);
    }
}

static inline void put_idx(fixture *f, int type, int rank, const int *dim)
{
    put_be(f, 0, 2);
    put_be(f, (uint64_t)type, 1);
    put_be(f, (uint64_t)rank, 1);
    for (int i = 0; i < rank; i++) put_be(f, (uint64_t)dim[i], 4);
}

/* A version 1 header around this dictionary. */
static inline void put_npy(fixture *f, const char *dictionary)
{
    size_t n = strlen(dictionary), padded = (10 + n + 1 + 63) / 64 * 64 - 10;
    put(f, "\x93NUMPY\x01\x00", 8);
    put_le(f, padded, 2);
    put(f, dictionary, n);
    for (size_t i = n; i + 1 < padded; i++) put(f, " ", 1);
    put(f, "\n", 1);
}

static inline void put_npy_u8(fixture *f, const char *shape, size_t n)
{
    char text[128];
    snprintf(text, sizeof text, "{'descr': '|u1', 'fortran_order': False, 'shape': %s, }", shape);
    put_npy(f, text);
    for (size_t i = 0; i < n; i++) put_le(f, pattern(i), 1);
}

typedef struct zip_member {
    const char *name;
    const uint8_t *bytes;
    size_t n;
    bool deflated;
} zip_member;

static inline void put_zip(fixture *f, const zip_member *m, int n)
{
    size_t at[8], packed_n[8];
    for (int i = 0; i < n; i++) {
        uint8_t *packed = malloc(FILE_ROOM);
        z_stream z = {0};
        assert_non_null(packed);
        deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
        z.next_in = (Bytef *)m[i].bytes;
        z.avail_in = (uInt)m[i].n;
        z.next_out = packed;
        z.avail_out = FILE_ROOM;
        assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
        packed_n[i] = m[i].deflated ? z.total_out : m[i].n;
        deflateEnd(&z);
        at[i] = f->n;
        put_le(f, 0x04034b50, 4);
        put_le(f, 45, 2);
        put_le(f, 0, 2);
        put_le(f, m[i].deflated ? 8 : 0, 2);
        put_le(f, 0, 4);
        put_le(f, crc32(0, m[i].bytes, (uInt)m[i].n), 4);
        put_le(f, UINT32_MAX, 4); /* as NumPy: sizes in a zip64 field of 20 bytes */
        put_le(f, UINT32_MAX, 4);
        put_le(f, strlen(m[i].name), 2);
        put_le(f, 20, 2);
        put(f, m[i].name, strlen(m[i].name));
        put_le(f, 1, 2);
        put_le(f, 16, 2);
        put_le(f, m[i].n, 8);
        put_le(f, packed_n[i], 8);
        put(f, m[i].deflated ? packed : m[i].bytes, packed_n[i]);
        free(packed);
    }
    size_t directory = f->n;
    for (int i = 0; i < n; i++) {
        put_le(f, 0x02014b50, 4);
        put_le(f, 45, 2);
        put_le(f, 45, 2);
        put_le(f, 0, 2);
        put_le(f, m[i].deflated ? 8 : 0, 2);
        put_le(f, 0, 4);
        put_le(f, crc32(0, m[i].bytes, (uInt)m[i].n), 4);
        put_le(f, packed_n[i], 4);
        put_le(f, m[i].n, 4);
        put_le(f, strlen(m[i].name), 2);
        put_le(f, 0, 2 + 2 + 2 + 2);
        put_le(f, 0, 4);
        put_le(f, at[i], 4);
        put(f, m[i].name, strlen(m[i].name));
    }
    size_t end = f->n;
    put_le(f, 0x06054b50, 4);
    put_le(f, 0, 4);
    put_le(f, (uint64_t)n, 2);
    put_le(f, (uint64_t)n, 2);
    put_le(f, end - directory, 4);
    put_le(f, directory, 4);
    put_le(f, 0, 2);
}

static inline void put_chunk(fixture *f, const char *type, const uint8_t *data, size_t n)
{
    put_be(f, n, 4);
    size_t at = f->n;
    put(f, type, 4);
    if (n) put(f, data, n);
    put_be(f, crc32(0, f->bytes + at, (uInt)(n + 4)), 4);
}

/* 8 bits, colour type 0 grey, 2 RGB, 6 RGBA, of the pattern starting at `start`. */
static inline void put_png(fixture *f, int h, int w, int colour, size_t start)
{
    static uint8_t rows[FILE_ROOM], packed[FILE_ROOM];
    int channels = colour == 0 ? 1 : colour == 2 ? 3 : 4;
    size_t n = 0;
    for (int y = 0; y < h; y++) {
        rows[n++] = 0; /* no filter */
        for (int x = 0; x < w * channels; x++)
            rows[n++] = pattern(start + (size_t)(y * w * channels + x));
    }
    uLongf packed_n = sizeof packed;
    assert_int_equal(compress2(packed, &packed_n, rows, n, 6), Z_OK);
    put(f, "\x89PNG\r\n\x1a\n", 8);
    uint8_t head[13] = {0, 0, 0, (uint8_t)h, 0, 0, 0, 0, 8, (uint8_t)colour, 0, 0, 0};
    head[3] = (uint8_t)w;
    head[7] = (uint8_t)h;
    put_chunk(f, "IHDR", head, sizeof head);
    put_chunk(f, "IDAT", packed, packed_n);
    put_chunk(f, "IEND", NULL, 0);
}

/* ---- opening */

static inline bl_tensor input_of(int rank, int64_t a, int64_t b, int64_t c, int64_t d)
{
    return (bl_tensor){.type = BL_F32, .rank = rank, .dim = {a, b, c, d}};
}

/* "cifar:@/x.bin" with @ the folder; lives until the next call. */
static inline const char *fixture_spec(fixture *f, const char *form)
{
    size_t n = 0;
    for (; *form; form++)
        if (*form == '@')
            n += (size_t)snprintf(f->spec + n, sizeof f->spec - n, "%s", f->folder);
        else
            f->spec[n++] = *form;
    f->spec[n] = '\0';
    return f->spec;
}

/* Opens FORM with options given as "key=value" words in between blanks. */
static inline bl_status open_data(fixture *f, const char *form, const char *options,
                                  bl_tensor input, bl_data **out)
{
    bl_data_options o = {0};
    char copy[256], *save_at = NULL;
    bl_status status = bl_data_option(f->ctx, "data", fixture_spec(f, form), &o);
    snprintf(copy, sizeof copy, "%s", options);
    for (char *word = strtok_r(copy, " ", &save_at); word && status == BL_OK;
         word = strtok_r(NULL, " ", &save_at)) {
        char *value = strchr(word, '=');
        *value++ = '\0';
        status = bl_data_option(f->ctx, word, value, &o);
    }
    *out = NULL;
    return status == BL_OK ? bl_data_open(f->ctx, &o, &input, out) : status;
}

static inline bl_data *open_fine(fixture *f, const char *form, const char *options, bl_tensor input)
{
    bl_data *d;
    assert_ok(f->ctx, open_data(f, form, options, input, &d));
    return d;
}

#define open_fails(f, form, options, input, code, text)                                           \
    do {                                                                                          \
        bl_data *d_;                                                                              \
        assert_fails((f)->ctx, open_data((f), (form), (options), (input), &d_), (code), (text));  \
        assert_null(d_);                                                                          \
    } while (0)

#endif
