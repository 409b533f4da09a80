/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the fuzz targets share: contexts with a small budget, the judgement of an error, files that
 * live in memory alone, the network that records and weights are made for, and checksums put right
 * so that a changed byte reaches the reader behind them (that wrong ones are refused is
 * test_container's).
 */
#ifndef BL_FUZZ_H
#define BL_FUZZ_H

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base_private.h"
#include "tiny_graph.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

#define FUZZ_MEMORY ((uint64_t)64 << 20)

static inline bl_ctx *fuzz_ctx(void)
{
    const bl_options options = { .threads = 1, .memory_bytes = FUZZ_MEMORY, .seed = 1 };
    bl_ctx *ctx;
    if (bl_ctx_new(&options, &ctx) != BL_OK) abort();
    return ctx;
}

/* Everything was given back. */
static inline void fuzz_ctx_free(bl_ctx *ctx)
{
    uint64_t left, peak;
    bl_memory_use(ctx, &left, &peak);
    if (left != 0 || peak > FUZZ_MEMORY) abort();
    bl_ctx_free(ctx);
}

/* Foreign bytes may be bad data or ask for too much; they are never our bug, and there is always a
 * sentence. */
static inline bool fuzz_ok(bl_ctx *ctx, bl_status s)
{
    if (s == BL_OK) return true;
    if (s == BL_INTERNAL || s == BL_IO || s == BL_NOINPUT || !bl_last_error(ctx).what[0]) abort();
    return false;
}

/* A record's text with its own hash put right.  Allocated. */
static inline char *fuzz_record_text(json_t *record)
{
    const size_t form = JSON_COMPACT | JSON_REAL_PRECISION(17);
    bl_hash h;
    json_object_del(record, "hash");
    if (bl_hash_json(record, form, &h)) json_object_set_new(record, "hash", json_string(h.hex));
    return json_dumps(record, form);
}

/* A file of these bytes: number 0..3, each with one fixed descriptor that is filled anew. */
static inline const char *fuzz_file(int number, const void *bytes, size_t size)
{
    static const char *const path[] = { "/proc/self/fd/100", "/proc/self/fd/101", "/proc/self/fd/102",
                                        "/proc/self/fd/103" };
    static bool open[4];
    int fd = 100 + number;
    if (!open[number]) {
        int made = (int)syscall(SYS_memfd_create, "fuzz", 0u); /* needs no _GNU_SOURCE first */
        if (made < 0 || dup2(made, fd) != fd) abort();
        close(made);
        open[number] = true;
    }
    if (ftruncate(fd, 0) || (size && pwrite(fd, bytes, size, 0) != (ssize_t)size)) abort();
    return path[number];
}

/* The network of the records: prepared once, in a context that stays. */
typedef struct fuzz_net {
    bl_ctx *ctx;
    bl_graph *g;
    bl_menu *menu;
} fuzz_net;

static inline const fuzz_net *fuzz_network(void)
{
    static fuzz_net net;
    if (net.g) return &net;
    net.ctx = fuzz_ctx();
    net.g = ob_prepared(tiny_dense(net.ctx, true));
    if (bl_menu_make(net.ctx, net.g, NULL, &net.menu) != BL_OK) abort();
    return &net;
}

/* Puts size, checksums and byte order of a container (base/container.h) right, in place. */
static inline void fuzz_seal(uint8_t *file, size_t size)
{
    uint64_t value = size;
    uint32_t order = 0x01020304;
    if (size < 64) return;
    memcpy(file + 16, &order, 4);
    memcpy(file + 24, &value, 8);
    value = bl_checksum(file + 64, size - 64);
    memcpy(file + 32, &value, 8);
    value = bl_checksum(file, 56);
    memcpy(file + 56, &value, 8);
}

#endif
