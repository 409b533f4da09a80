/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Stands in for libFuzzer where there is none: every file in the folders given goes through the
 * target as it is and then damaged in DAMAGES seeded ways.  `make test` runs it over the seeds and over
 * every input that once failed.
 */
#include "base/base.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

enum { DAMAGES = 100, FILE_MOST = 1 << 20 };

/* A few bits, a byte, a run of bytes or the end. */
static size_t damage(bl_rng *r, uint8_t *bytes, size_t size)
{
    for (uint64_t n = 1 + bl_rng_below(r, 4); n > 0; n--) {
        size_t at = (size_t)bl_rng_below(r, size), run = (size_t)bl_rng_below(r, BL_MIN(size - at, 16) + 1);
        switch (bl_rng_below(r, 6)) {
        case 0: bytes[at] ^= (uint8_t)(1u << bl_rng_below(r, 8)); break;
        case 1: bytes[at] = (uint8_t)bl_rng_u64(r); break;
        case 2: memset(bytes + at, bl_rng_below(r, 2) ? 0xff : 0, run); break;
        case 3: bytes[at] = (uint8_t)(bytes[at] + 1 - 2 * bl_rng_below(r, 2)); break;
        case 4: memmove(bytes + bl_rng_below(r, size - run + 1), bytes + at, run); break;
        default:
            if (!bl_rng_below(r, 8)) size = at + 1;
        }
    }
    return size;
}

static bool replay(const char *folder, const char *name)
{
    static uint8_t bytes[FILE_MOST];
    char path[1024];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    printf("%s: %zu bytes\n", name, size);
    fflush(stdout); /* whatever comes, its input is named */
    for (uint64_t i = 0; i <= (size ? DAMAGES : 0); i++) {
        /* On the heap in its own size: a read behind its end is seen. */
        uint8_t *copy = malloc(size ? size : 1);
        size_t n = size;
        if (!copy) return false;
        memcpy(copy, bytes, size);
        bl_rng r = bl_rng_make(1, name, i);
        if (i > 0) n = damage(&r, copy, size);
        LLVMFuzzerTestOneInput(copy, n);
        free(copy);
    }
    return true;
}

int main(int argc, char **argv)
{
    int done = 0;
    for (int i = 1; i < argc; i++) {
        struct dirent **entry;
        int n = scandir(argv[i], &entry, NULL, alphasort);
        for (int k = 0; k < n; k++) {
            if (entry[k]->d_name[0] != '.') {
                if (!replay(argv[i], entry[k]->d_name)) return 1;
                done++;
            }
            free(entry[k]);
        }
        if (n >= 0) free(entry);
    }
    printf("%d inputs, each also damaged in %d ways\n", done, DAMAGES);
    return done ? 0 : 1;
}
