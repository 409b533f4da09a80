/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the unit tests share: cmocka with what it wants included first, contexts, assertions that
 * show the pending error, a folder of one's own, and the folder of shared models and data.
 */
#ifndef BL_TEST_SUPPORT_H
#define BL_TEST_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

/* A context of t threads (0: all cores) and a ceiling (0: the default), never NULL. */
static inline bl_ctx *test_ctx(unsigned t, uint64_t memory_bytes)
{
    bl_options options = {.threads = t, .memory_bytes = memory_bytes, .seed = 1};
    bl_ctx *ctx = NULL;
    if (bl_ctx_new(&options, &ctx) != BL_OK) fail_msg("%s", bl_last_error(ctx).what);
    return ctx;
}

/* Frees the context and checks that every arena was freed before it. */
static inline void test_ctx_free(bl_ctx *ctx)
{
    uint64_t now = 0;
    bl_memory_use(ctx, &now, NULL);
    bl_ctx_free(ctx);
    assert_int_equal(now, 0);
}

/* A group's context as *state, of one thread or two; for cmocka_run_group_tests with test_teardown. */
static inline int test_setup(void **state)
{
    *state = test_ctx(1, 0);
    return 0;
}

static inline int test_setup_two(void **state)
{
    *state = test_ctx(2, 0);
    return 0;
}

static inline int test_teardown(void **state)
{
    test_ctx_free(*state);
    return 0;
}

/* The call succeeds, or its error is shown. */
#define assert_ok(ctx, call)                                                                      \
    do {                                                                                          \
        bl_status status_ = (call);                                                               \
        bl_error error_ = bl_last_error(ctx);                                                     \
        if (status_ != BL_OK)                                                                     \
            fail_msg("%s gave %d: %s: %s; %s", #call, (int)status_, error_.place, error_.what,    \
                     error_.remedy);                                                              \
    } while (0)

/* The call fails with this code, and place or sentence holds the text. */
#define assert_fails(ctx, call, wanted, text)                                                     \
    do {                                                                                          \
        bl_status status_ = (call);                                                               \
        bl_error error_ = bl_last_error(ctx);                                                     \
        if (status_ != (wanted) || error_.code != (wanted))                                       \
            fail_msg("%s gave %d, not %d (pending: %d %s: %s)", #call, (int)status_,              \
                     (int)(wanted), (int)error_.code, error_.place, error_.what);                 \
        if (!strstr(error_.what, (text)) && !strstr(error_.place, (text)))                        \
            fail_msg("%s: \"%s: %s\" does not say \"%s\"", #call, error_.place, error_.what,      \
                     (text));                                                                     \
    } while (0)

/* An empty folder under TMPDIR; out has at least 256 bytes.  test_folder_remove deletes it with
 * everything in it. */
static inline char *test_folder(char *out)
{
    const char *base = getenv("TMPDIR");
    snprintf(out, 256, "%s/bitlathe-test-XXXXXX", base && *base ? base : "/tmp");
    if (!mkdtemp(out)) fail_msg("cannot make %s", out);
    return out;
}

static inline void test_folder_remove(const char *folder)
{
    char command[320];
    snprintf(command, sizeof(command), "rm -rf '%s'", folder);
    assert_int_equal(system(command), 0);
}

/* A whole file in memory, to be freed, with a 0 behind it; size may be NULL. */
static inline void *test_slurp(const char *path, size_t *size)
{
    FILE *f = fopen(path, "rb");
    if (!f || fseek(f, 0, SEEK_END)) fail_msg("cannot read %s", path);
    size_t n = (size_t)ftell(f);
    char *bytes = malloc(n + 1);
    rewind(f);
    if (!bytes || fread(bytes, 1, n, f) != n) fail_msg("cannot read %s", path);
    fclose(f);
    bytes[n] = 0;
    if (size) *size = n;
    return bytes;
}

static inline void test_dump(const char *path, const void *bytes, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f)) fail_msg("cannot write %s", path);
}

/* Path of NAME in the folder of shared models and data, or skips the calling test by that name.
 * out has at least 512 bytes. */
static inline char *test_shared(const char *name, char *out)
{
    const char *base = getenv("BITLATHE_SHARED");
    snprintf(out, 512, "%s/%s", base && *base ? base : "../shared", name);
    if (access(out, R_OK) != 0) {
        print_message("skipped: %s: not in BITLATHE_SHARED\n", name);
        skip();
    }
    return out;
}

#endif
