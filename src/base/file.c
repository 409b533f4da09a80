/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Files: mapped whole for reading, replaced whole for writing, appended line by line.  A file under
 * its final name is always complete: the bytes go to ".NAME.PID.tmp" beside it, are synced, and the
 * rename is synced too.  What is not a regular file (a pipe, /dev/full) is written directly.
 */
#define _GNU_SOURCE 1 /* asprintf */
#include "base/base.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES 65536
#define NAME_PART_MAX 200 /* of NAME in the temporary name, which may have NAME_MAX = 255 bytes */

/* ------------------------------------------------------------------ reading */

static bl_status map_open_file(bl_ctx *ctx, const char *path, int fd, uint64_t size_limit,
                               bl_map *out)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return bl_fail(ctx, BL_NOINPUT, path, "", "cannot be read: %s", strerror(errno));
    if (!S_ISREG(st.st_mode))
        return bl_fail(ctx, BL_NOINPUT, path, "give a regular file", "is not a regular file");
    uint64_t size = (uint64_t)st.st_size;
    if ((size_limit && size > size_limit) || size > SIZE_MAX / 2)
        return bl_fail(ctx, BL_DATA, path, "give a smaller file",
                       "has %llu bytes; the limit is %llu", (unsigned long long)size,
                       (unsigned long long)size_limit);
    if (size == 0) {
        *out = (bl_map){.data = (const uint8_t *)""};
        return BL_OK;
    }
    void *base = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base == MAP_FAILED)
        return bl_fail(ctx, BL_IO, path, "", "cannot be mapped: %s", strerror(errno));
    *out = (bl_map){.data = base, .size = size, .base = base, .base_size = size};
    return BL_OK;
}

bl_status bl_map_file(bl_ctx *ctx, const char *path, uint64_t size_limit, bl_map *out)
{
    if (!path) return bl_pending(ctx);
    /* O_NONBLOCK: opening a pipe must not wait for its writer. */
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return bl_fail(ctx, BL_NOINPUT, path, "check the path", "cannot be opened: %s",
                       strerror(errno));
    bl_status status = map_open_file(ctx, path, fd, size_limit, out);
    close(fd);
    return status;
}

void bl_unmap(bl_map *map)
{
    if (map->base) munmap(map->base, map->base_size);
    *map = (bl_map){0};
}

/* ------------------------------------------------------------------ writing */

struct bl_writer {
    bl_ctx *ctx;
    int fd;
    char *path;       /* as the caller named it */
    char *target;     /* behind symbolic links */
    char *temp;       /* NULL: target is not a regular file and is written directly */
    bl_status status; /* sticks after a failure */
    size_t used;
    uint8_t buffer[BUFFER_BYTES];
};

static bl_status write_all(bl_ctx *ctx, const char *path, int fd, const void *data, size_t size)
{
    const uint8_t *p = data;
    while (size > 0) {
        ssize_t n = write(fd, p, BL_MIN(size, (size_t)1 << 30));
        if (n < 0 && errno == EINTR) continue;
        if (n < 0)
            return bl_fail(ctx, BL_IO, path, errno == ENOSPC ? "free some space" : "",
                           "cannot be written: %s", strerror(errno));
        p += n;
        size -= (size_t)n;
    }
    return BL_OK;
}

/* Pipes, devices and some file systems cannot sync; that is no failure. */
static bl_status sync_file(bl_ctx *ctx, const char *path, int fd)
{
    if (fsync(fd) == 0 || errno == EINVAL || errno == ENOTSUP || errno == EROFS) return BL_OK;
    return bl_fail(ctx, BL_IO, path, "", "cannot be synced: %s", strerror(errno));
}

static void free_writer(bl_writer *w)
{
    free(w->path);
    free(w->target);
    free(w->temp);
    free(w);
}

static bl_status cannot_create(bl_ctx *ctx, const char *path, int error)
{
    return bl_fail(ctx, BL_CANTCREATE, path, "check the path and its permissions",
                   "cannot be created: %s", strerror(error));
}

bl_status bl_can_create(bl_ctx *ctx, const char *path)
{
    struct stat st;
    size_t n = (size_t)(bl_path_base(path) - path);
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) return S_ISDIR(st.st_mode) ? cannot_create(ctx, path, EISDIR) : BL_OK;
    char *folder = n ? strndup(path, n) : strdup(".");
    if (!folder) return bl_fail(ctx, BL_UNAVAILABLE, path, "free some memory", "no memory for its name");
    int error = access(folder, W_OK | X_OK) ? errno : 0;
    free(folder);
    return error ? cannot_create(ctx, path, error) : BL_OK;
}

/* Opens a new file of a name that nobody else uses; a killed process with our number may have left
 * its own behind. */
static bl_status open_temp(bl_writer *w, mode_t mode)
{
    const char *name = bl_path_base(w->target);
    int dir = (int)(name - w->target); /* < PATH_MAX, or the open fails */
    for (int attempt = 0; attempt < 100; attempt++) {
        free(w->temp);
        if (asprintf(&w->temp, "%.*s.%.*s.%ld%s%.0d.tmp", dir, w->target, NAME_PART_MAX, name,
                     (long)getpid(), attempt ? "-" : "", attempt) < 0) {
            w->temp = NULL;
            return cannot_create(w->ctx, w->path, ENOMEM);
        }
        w->fd = open(w->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
        if (w->fd >= 0) return BL_OK;
        if (errno != EEXIST) break;
    }
    return cannot_create(w->ctx, w->path, errno);
}

static bl_status open_target(bl_writer *w)
{
    struct stat st;
    bool exists = stat(w->target, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) return cannot_create(w->ctx, w->path, EISDIR);
    if (exists && !S_ISREG(st.st_mode)) {
        w->fd = open(w->target, O_WRONLY | O_CLOEXEC);
        return w->fd >= 0 ? BL_OK : cannot_create(w->ctx, w->path, errno);
    }
    return open_temp(w, exists ? st.st_mode & 0777 : 0666);
}

bl_status bl_writer_open(bl_ctx *ctx, const char *path, bl_writer **out)
{
    if (!path) return bl_pending(ctx);
    bl_writer *w = calloc(1, sizeof(*w));
    if (!w) return cannot_create(ctx, path, ENOMEM);
    w->ctx = ctx;
    w->fd = -1;
    w->path = strdup(path);
    w->target = realpath(path, NULL); /* follows links, so that they stay links */
    if (!w->target) w->target = strdup(path);
    bl_status status = w->path && w->target ? open_target(w) : cannot_create(ctx, path, ENOMEM);
    if (status != BL_OK) {
        free_writer(w);
        return status;
    }
    *out = w;
    return BL_OK;
}

static bl_status flush(bl_writer *w)
{
    size_t n = w->used;
    w->used = 0;
    return write_all(w->ctx, w->path, w->fd, w->buffer, n);
}

bl_status bl_writer_put(bl_writer *w, const void *data, size_t size)
{
    if (w->status != BL_OK || size == 0) return w->status;
    if (size > BUFFER_BYTES - w->used) w->status = flush(w);
    if (w->status != BL_OK) return w->status;
    if (size >= BUFFER_BYTES) return w->status = write_all(w->ctx, w->path, w->fd, data, size);
    memcpy(w->buffer + w->used, data, size);
    w->used += size;
    return BL_OK;
}

void bl_writer_abort(bl_writer *w)
{
    if (!w) return;
    close(w->fd);
    if (w->temp) unlink(w->temp);
    free_writer(w);
}

/* The rename is only lasting once the folder is synced.  A folder that may not be read cannot be;
 * then the system's own pace has to do. */
static bl_status sync_folder(bl_writer *w)
{
    char *folder = strndup(w->target, (size_t)(bl_path_base(w->target) - w->target));
    if (!folder) return BL_OK;
    int fd = open(folder[0] ? folder : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    free(folder);
    if (fd < 0) return BL_OK;
    bl_status status = sync_file(w->ctx, w->path, fd);
    close(fd);
    return status;
}

bl_status bl_writer_close(bl_writer *w)
{
    if (w->status == BL_OK) w->status = flush(w);
    if (w->status == BL_OK) w->status = sync_file(w->ctx, w->path, w->fd);
    if (w->status != BL_OK) {
        bl_status status = w->status;
        bl_writer_abort(w);
        return status;
    }
    bl_status status = BL_OK;
    if (close(w->fd) != 0)
        status = bl_fail(w->ctx, BL_IO, w->path, "", "cannot be written: %s", strerror(errno));
    if (w->temp && status == BL_OK && rename(w->temp, w->target) != 0)
        status = cannot_create(w->ctx, w->path, errno);
    if (w->temp && status != BL_OK) unlink(w->temp);
    if (w->temp && status == BL_OK) status = sync_folder(w);
    free_writer(w);
    return status;
}

bl_status bl_write_file(bl_ctx *ctx, const char *path, const void *data, size_t size)
{
    bl_writer *w;
    BL_TRY(bl_writer_open(ctx, path, &w));
    (void)bl_writer_put(w, data, size); /* a failure sticks and shows at the close */
    return bl_writer_close(w);
}

/* ------------------------------------------------------------------ appending */

static bl_status append_open_file(bl_ctx *ctx, const char *path, int fd, const char *line)
{
    struct stat st;
    char last = '\n';
    if (fstat(fd, &st) != 0)
        return bl_fail(ctx, BL_IO, path, "", "cannot be read: %s", strerror(errno));
    bool regular = S_ISREG(st.st_mode);
    if (regular && st.st_size > 0 && pread(fd, &last, 1, st.st_size - 1) != 1)
        return bl_fail(ctx, BL_IO, path, "", "cannot be read: %s", strerror(errno));
    /* A line that a kill cut short is ended first: it stays the only bad one. */
    size_t n = strlen(line), lead = last != '\n';
    char *text = malloc(n + 2);
    if (!text) return bl_fail(ctx, BL_UNAVAILABLE, path, "raise --memory", "no memory left");
    text[0] = '\n';
    memcpy(text + lead, line, n);
    text[lead + n] = '\n';
    bl_status status = write_all(ctx, path, fd, text, lead + n + 1);
    free(text);
    if (status == BL_OK) status = sync_file(ctx, path, fd);
    /* Best effort: where even this fails, readers pass over the partial last line. */
    if (status != BL_OK && regular && ftruncate(fd, st.st_size) != 0) return status;
    return status;
}

bl_status bl_append_line(bl_ctx *ctx, const char *path, const char *line)
{
    if (!path || !line) return bl_pending(ctx);
    BL_CHECK(ctx, strchr(line, '\n') == NULL);
    int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0) return cannot_create(ctx, path, errno);
    bl_status status = append_open_file(ctx, path, fd, line);
    close(fd);
    return status;
}

/* ------------------------------------------------------------------ paths */

static bool is_dir(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

bl_status bl_make_dir(bl_ctx *ctx, const char *path)
{
    char partial[PATH_MAX];
    if (!path) return bl_pending(ctx);
    size_t n = strlen(path);
    if (n == 0) return cannot_create(ctx, path, ENOENT);
    if (n >= sizeof(partial)) return cannot_create(ctx, path, ENAMETOOLONG);
    for (size_t i = 1; i <= n; i++) {
        if (path[i] != '/' && path[i] != '\0') continue;
        memcpy(partial, path, i);
        partial[i] = '\0';
        if (mkdir(partial, 0777) == 0) continue;
        int error = errno;
        if (is_dir(partial)) continue;
        return cannot_create(ctx, path, error == EEXIST && i < n ? ENOTDIR : error);
    }
    return BL_OK;
}

bool bl_file_exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

char *bl_path_join(bl_arena *arena, const char *dir, const char *name)
{
    if (!dir || !name) return NULL;
    size_t n = strlen(dir);
    if (n == 0 || name[0] == '/') return bl_strdup(arena, name);
    return bl_format(arena, dir[n - 1] == '/' ? "%s%s" : "%s/%s", dir, name);
}

const char *bl_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}
