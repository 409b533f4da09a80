/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Large pieces that memory has no room for lie in a file without a name, in $TMPDIR or /var/tmp: the system
 * writes their pages out when it needs the memory, and the file is gone with the mapping or the process.
 */
#define _GNU_SOURCE 1 /* O_TMPFILE, mkostemp */
#include "base/base_private.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* A file that no folder names.  -1: there is none to be had. */
static int nameless(const char *folder)
{
    char path[4096];
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0) return fd;
    if (snprintf(path, sizeof path, "%s/bitlathe-XXXXXX", folder) >= (int)sizeof path) return -1;
    fd = mkostemp(path, O_CLOEXEC); /* a file system without O_TMPFILE */
    if (fd >= 0) unlink(path);
    return fd;
}

void *bl_spill_take(size_t bytes)
{
    const char *folder = getenv("TMPDIR");
    int fd = bytes > 0 ? nameless(folder && *folder ? folder : "/var/tmp") : -1;
    if (fd < 0) return NULL;
    /* Reserved, not only sized: a full disk says so here, not by a signal when a page is written. */
    void *p = posix_fallocate(fd, 0, (off_t)bytes) ? MAP_FAILED : mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return p == MAP_FAILED ? NULL : p;
}

void bl_spill_give_back(void *p, size_t bytes)
{
    munmap(p, bytes);
}
