/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Fuzzes every loader.  The first byte chooses the words, the second the size of the network's
 * input and the preprocessing; the rest is the file.  Whatever opens is read to the end.
 */
#define _GNU_SOURCE 1 /* memfd_create */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "data/data.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { INPUT_MAX = 4096 };

static const struct {
    const char *form;
    bl_tensor in;
} forms[] = {
    {"cifar:%s", {BL_F32, 4, {1, 3, 32, 32}, NULL}},
    {"idx:%s", {BL_F32, 2, {1, 4}, NULL}},
    {"idx:%s,%s", {BL_F32, 2, {1, 1}, NULL}},
    {"npy:%s", {BL_F32, 2, {1, 4}, NULL}},
    {"npy:%s,%s", {BL_F32, 2, {1, 1}, NULL}},
    {"csv:%s", {BL_F32, 2, {1, 4}, NULL}},
    {"raw:%s,f32,2x3x4", {BL_F32, 4, {1, 1, 3, 4}, NULL}},
    {"images:%s,%s", {BL_F32, 4, {1, 3, 4, 4}, NULL}},
};

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

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    char path[64], spec[256];
    bl_options options = {.threads = 1, .memory_bytes = 64 << 20, .seed = 1};
    bl_ctx *ctx = NULL;
    bl_data *d = NULL;
    if (size < 2) return 0;
    size_t k = bytes[0] % BL_COUNTOF(forms);
    bl_data_options o = {.spec = spec,
                         .nhwc_stored = bytes[1] & 1,
                         .bgr = bytes[1] & 2,
                         .resize = bytes[1] & 4 ? 5 : 0,
                         .crop = bytes[1] & 8 ? 4 : 0,
                         .window = bytes[1] & 16 ? 2 : 0};
    bl_tensor in = forms[k].in;
    if (bytes[1] & 32) in.dim[in.rank - 1] = bytes[1] >> 6;
    bytes += 2;
    size -= 2;
    int fd = memfd_create("fuzz", 0);
    if (fd < 0 || (size && write(fd, bytes, size) != (ssize_t)size)) abort();
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    snprintf(spec, sizeof spec, forms[k].form, path, path);
    if (bl_ctx_new(&options, &ctx) == BL_OK) {
        if (bl_data_open(ctx, &o, &in, &d) == BL_OK) read_through(d);
        bl_data_free(d);
        parse(ctx, bytes, size);
        uint64_t now;
        bl_memory_use(ctx, &now, NULL);
        if (now != 0) abort();
    }
    bl_ctx_free(ctx);
    close(fd);
    return 0;
}
