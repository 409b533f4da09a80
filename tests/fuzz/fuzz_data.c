/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes every loader.  Byte 0: the words, and mean and std; byte 1: the size of the network's
 * input and the preprocessing; bytes 2 and 3: the length of the second file, which stands at the
 * end; the rest is the first.  Whatever opens is read to the end.
 */
#include "fuzz.h"

#include <unistd.h>

enum { INPUT_MAX = 4096 };

/* The words; @ is the folder, where a is the first file and b the second, by these and other names. */
static const struct {
    const char *form;
    bl_tensor in;
} forms[] = {
    { "cifar:@/a", { BL_F32, 4, { 1, 3, 32, 32 }, NULL } },
    { "idx:@/a", { BL_F32, 2, { 1, 4 }, NULL } },
    { "idx:@/a,@/b", { BL_F32, 2, { 1, 4 }, NULL } },
    { "npy:@/a", { BL_F32, 2, { 1, 4 }, NULL } },
    { "npy:@/a,@/b.npy", { BL_F32, 2, { 1, 4 }, NULL } },
    { "npy:@/a,@/b.csv", { BL_F32, 2, { 1, 4 }, NULL } },
    { "csv:@/a", { BL_F32, 2, { 1, 4 }, NULL } },
    { "raw:@/a,f32,2x3x4,@/b", { BL_F32, 4, { 1, 1, 3, 4 }, NULL } },
    { "raw:@/a,i16,3x4,@/b.csv", { BL_F32, 2, { 1, 4 }, NULL } },
    { "images:@,@/b.csv", { BL_F32, 4, { 1, 3, 4, 4 }, NULL } },
    { "@/a.json", { BL_F32, 2, { 1, 4 }, NULL } },
    { "arff:@/a", { BL_F32, 2, { 1, 4 }, NULL } },
};

static char folder[256];

static void remove_folder(void)
{
    static const char *const names[] = { "a", "b", "a.json", "b.npy", "b.csv" };
    char path[300];
    for (size_t i = 0; i < BL_COUNTOF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    rmdir(folder);
}

/* Once: a folder of links to the two files in memory. */
static void make_folder(void)
{
    static const char *const names[] = { "a", "a.json", "b", "b.npy", "b.csv" };
    char path[300];
    if (folder[0]) return;
    test_folder(folder);
    atexit(remove_folder);
    for (size_t i = 0; i < BL_COUNTOF(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        if (symlink(fuzz_file(i < 2 ? 0 : 1, "", 0), path)) abort();
    }
}

static void read_through(bl_data *d)
{
    static float x[INPUT_MAX];
    int64_t n = bl_data_samples(d);
    if (bl_data_sample_size(d) > INPUT_MAX) return;
    for (int64_t i = 0; i < n && i < 100; i++)
        if (bl_data_read(d, i, 1, x) != BL_OK) abort();
    if (bl_data_read(d, n - 1, 1, x) != BL_OK) abort();
}

/* The formats' own parsers, on exactly this memory: a read behind its end is seen. */
static void parse(bl_ctx *ctx, const uint8_t *bytes, size_t size)
{
    bl_arena *arena = bl_arena_new(ctx, "fuzz");
    bl_npz_member *m;
    bl_tensor t;
    int n;
    if (!arena) return;
    if (bl_npy_view(ctx, "x.npy", bytes, size, &t) == BL_OK && !t.data) abort();
    if (bl_npz_list(arena, "x.npz", bytes, size, &m, &n) == BL_OK)
        for (int i = 0; i < n && i < 20; i++)
            if (bl_npz_view(arena, "x.npz", bytes, &m[i], &t) == BL_OK && !t.data) abort();
    bl_arena_free(arena);
}

static void spec_of(const char *form, char *out)
{
    for (; *form; form++)
        if (*form == '@') out += sprintf(out, "%s", folder);
        else *out++ = *form;
    *out = 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char spec[1024];
    bl_data *d;
    if (size < 4) return 0;
    make_folder();
    size_t k = (bytes[0] & 0x7f) % BL_COUNTOF(forms), second = BL_MIN(bytes[2] + 256u * bytes[3], size - 4);
    bl_data_options o = { .spec = spec, .nhwc_stored = bytes[1] & 1, .bgr = bytes[1] & 2, .resize = bytes[1] & 4 ? 5 : 0,
                          .crop = bytes[1] & 8 ? 4 : 0, .crops = (bytes[1] & 24) == 24 ? 5 : 0, .window = (bytes[1] & 24) == 16 ? 2 : 0 };
    if (bytes[0] & 0x80) {
        o.n_mean = o.n_std = bytes[1] & 1 ? 3 : 1;
        for (int i = 0; i < 3; i++) o.std[i] = (o.mean[i] = (float)i) + 1;
    }
    bl_tensor in = forms[k].in;
    if (bytes[1] & 32) in.dim[in.rank - 1] = bytes[1] >> 6;
    bytes += 4;
    size -= 4 + second;
    spec_of(forms[k].form, spec);
    fuzz_file(0, bytes, size);
    fuzz_file(1, bytes + size, second);
    bl_ctx *ctx = fuzz_ctx();
    bl_status s = bl_data_open(ctx, &o, &in, &d);
    if (s == BL_OK) {
        read_through(d);
        bl_data_free(d);
    } else if (s == BL_INTERNAL || s == BL_IO || !bl_last_error(ctx).what[0])
        abort();
    parse(ctx, bytes, size);
    fuzz_ctx_free(ctx);
    return 0;
}
