/* SPDX-License-Identifier: BSD-3-Clause */
/* Files: whole or not at all, failures by their right name, nothing left behind. */
#include <dirent.h>
#include <fcntl.h>

#include "support.h"

typedef struct fixture {
    bl_ctx *ctx;
    bl_arena *arena;
    char folder[256];
} fixture;

static int setup(void **state)
{
    fixture *f = calloc(1, sizeof(*f));
    f->ctx = test_ctx(1, 0);
    f->arena = bl_arena_new(f->ctx, "test");
    test_folder(f->folder);
    *state = f;
    return f->arena ? 0 : -1;
}

static int teardown(void **state)
{
    fixture *f = *state;
    test_folder_remove(f->folder);
    bl_arena_free(f->arena);
    test_ctx_free(f->ctx);
    free(f);
    return 0;
}

static char *in(fixture *f, const char *name)
{
    return bl_path_join(f->arena, f->folder, name);
}

static int entries(const char *folder)
{
    DIR *d = opendir(folder);
    int n = -2; /* . and .. */
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void expect_content(fixture *f, const char *path, const void *data, size_t size)
{
    bl_map map;
    assert_ok(f->ctx, bl_map_file(f->ctx, path, 0, &map));
    assert_int_equal(map.size, size);
    assert_memory_equal(map.data, data, size);
    bl_unmap(&map);
    assert_null(map.data);
}

static void test_write_and_map(void **state)
{
    fixture *f = *state;
    char *path = in(f, "record.json");
    assert_false(bl_file_exists(path));
    assert_ok(f->ctx, bl_write_file(f->ctx, path, "first", 5));
    expect_content(f, path, "first", 5);
    assert_int_equal(chmod(path, 0640), 0);
    assert_ok(f->ctx, bl_write_file(f->ctx, path, "", 0));
    expect_content(f, path, "", 0);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0640); /* keeps its permissions */
    assert_int_equal(entries(f->folder), 1);   /* no temporary file is left */
}

static void test_writer_in_pieces(void **state)
{
    fixture *f = *state;
    char *path = in(f, "pieces");
    static uint8_t wanted[300000];
    for (size_t i = 0; i < sizeof(wanted); i++) wanted[i] = (uint8_t)(i * 31 >> 3);
    bl_writer *w;
    assert_ok(f->ctx, bl_writer_open(f->ctx, path, &w));
    size_t at = 0;
    for (size_t step = 1; at < sizeof(wanted); step = step * 3 + 1) {
        size_t n = BL_MIN(step, sizeof(wanted) - at);
        assert_ok(f->ctx, bl_writer_put(w, wanted + at, n));
        at += n;
    }
    assert_false(bl_file_exists(path)); /* not before it is complete */
    assert_ok(f->ctx, bl_writer_close(w));
    expect_content(f, path, wanted, sizeof(wanted));

    assert_ok(f->ctx, bl_writer_open(f->ctx, path, &w));
    assert_ok(f->ctx, bl_writer_put(w, "other", 5));
    bl_writer_abort(w);
    bl_writer_abort(NULL);
    expect_content(f, path, wanted, sizeof(wanted)); /* the old one is untouched */
    assert_int_equal(entries(f->folder), 1);
}

static void test_two_writers_of_one_file(void **state)
{
    fixture *f = *state;
    char *path = in(f, "both");
    bl_writer *a, *b;
    assert_ok(f->ctx, bl_writer_open(f->ctx, path, &a));
    assert_ok(f->ctx, bl_writer_open(f->ctx, path, &b));
    assert_ok(f->ctx, bl_writer_put(a, "aaaa", 4));
    assert_ok(f->ctx, bl_writer_put(b, "bb", 2));
    assert_ok(f->ctx, bl_writer_close(a));
    assert_ok(f->ctx, bl_writer_close(b));
    expect_content(f, path, "bb", 2);
    assert_int_equal(entries(f->folder), 1);
}

static void test_links_stay_links(void **state)
{
    fixture *f = *state;
    char *file = in(f, "file"), *link = in(f, "link");
    assert_ok(f->ctx, bl_write_file(f->ctx, file, "old", 3));
    assert_int_equal(symlink("file", link), 0);
    assert_ok(f->ctx, bl_write_file(f->ctx, link, "new", 3));
    struct stat st;
    assert_int_equal(lstat(link, &st), 0);
    assert_true(S_ISLNK(st.st_mode));
    expect_content(f, file, "new", 3);
}

static void test_cannot_create(void **state)
{
    fixture *f = *state;
    bl_ctx *ctx = f->ctx;
    assert_fails(ctx, bl_write_file(ctx, in(f, "no/such/folder"), "x", 1), BL_CANTCREATE,
                 "No such file");
    assert_fails(ctx, bl_write_file(ctx, f->folder, "x", 1), BL_CANTCREATE, "directory");
    assert_ok(ctx, bl_write_file(ctx, in(f, "plain"), "x", 1));
    assert_fails(ctx, bl_write_file(ctx, in(f, "plain/below"), "x", 1), BL_CANTCREATE,
                 "Not a directory");
    assert_fails(ctx, bl_write_file(ctx, "", "x", 1), BL_CANTCREATE, "");
    assert_fails(ctx, bl_write_file(ctx, "/proc/bitlathe", "x", 1), BL_CANTCREATE,
                 "/proc/bitlathe");
    char name[300];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    assert_fails(ctx, bl_write_file(ctx, in(f, name), "x", 1), BL_CANTCREATE, "too long");
    name[255] = '\0'; /* the longest that the system takes */
    assert_ok(ctx, bl_write_file(ctx, in(f, name), "x", 1));
    assert_int_equal(entries(f->folder), 2);

    char *locked = in(f, "locked");
    assert_ok(ctx, bl_make_dir(ctx, locked));
    assert_int_equal(chmod(locked, 0555), 0);
    bool root = geteuid() == 0;
    assert_int_equal(chmod(f->folder, 0755), 0);
    if (root) assert_int_equal(seteuid(65534), 0); /* root may write anywhere */
    bl_status status = bl_write_file(ctx, in(f, "locked/new"), "x", 1);
    if (root) assert_int_equal(seteuid(0), 0);
    assert_fails(ctx, status, BL_CANTCREATE, "denied");
}

static void test_full_disk(void **state)
{
    fixture *f = *state;
    bl_ctx *ctx = f->ctx;
    assert_fails(ctx, bl_write_file(ctx, "/dev/full", "x", 1), BL_IO, "No space");
    bl_writer *w;
    static char big[200000];
    assert_ok(ctx, bl_writer_open(ctx, "/dev/full", &w));
    assert_fails(ctx, bl_writer_put(w, big, sizeof(big)), BL_IO, "/dev/full");
    assert_fails(ctx, bl_writer_put(w, "x", 1), BL_IO, "No space"); /* sticks */
    assert_fails(ctx, bl_writer_close(w), BL_IO, "No space");
    assert_fails(ctx, bl_append_line(ctx, "/dev/full", "x"), BL_IO, "No space");
    struct stat st;
    assert_int_equal(stat("/dev/full", &st), 0);
    assert_true(S_ISCHR(st.st_mode)); /* not replaced by a file */
    assert_ok(ctx, bl_write_file(ctx, "/dev/null", "x", 1));
}

static void test_pipe_is_written_directly(void **state)
{
    fixture *f = *state;
    char *path = in(f, "pipe"), got[8] = "";
    assert_int_equal(mkfifo(path, 0600), 0);
    int fd = open(path, O_RDONLY | O_NONBLOCK);
    assert_ok(f->ctx, bl_write_file(f->ctx, path, "through", 7));
    assert_int_equal(read(fd, got, 7), 7);
    assert_string_equal(got, "through");
    close(fd);
    bl_map map;
    assert_fails(f->ctx, bl_map_file(f->ctx, path, 0, &map), BL_NOINPUT,
                 "regular"); /* and no hang */
}

static void test_map_failures(void **state)
{
    fixture *f = *state;
    bl_map map = {.size = 77};
    assert_fails(f->ctx, bl_map_file(f->ctx, in(f, "missing"), 0, &map), BL_NOINPUT,
                 "No such file");
    assert_fails(f->ctx, bl_map_file(f->ctx, f->folder, 0, &map), BL_NOINPUT, "regular");
    assert_ok(f->ctx, bl_write_file(f->ctx, in(f, "ten"), "0123456789", 10));
    assert_fails(f->ctx, bl_map_file(f->ctx, in(f, "ten"), 9, &map), BL_DATA, "10 bytes");
    assert_int_equal(map.size, 77); /* results are untouched on failure */
    assert_ok(f->ctx, bl_map_file(f->ctx, in(f, "ten"), 10, &map));
    bl_unmap(&map);
}

static void test_append(void **state)
{
    fixture *f = *state;
    char *path = in(f, "trials.jsonl");
    assert_ok(f->ctx, bl_append_line(f->ctx, path, "one"));
    assert_ok(f->ctx, bl_append_line(f->ctx, path, ""));
    assert_ok(f->ctx, bl_append_line(f->ctx, path, "two"));
    expect_content(f, path, "one\n\ntwo\n", 9);
    assert_int_equal(truncate(path, 7), 0); /* a kill in the middle of "two" */
    assert_ok(f->ctx, bl_append_line(f->ctx, path, "three"));
    expect_content(f, path, "one\n\ntw\nthree\n", 14);
    assert_fails(f->ctx, bl_append_line(f->ctx, path, "a\nb"), BL_INTERNAL, "strchr");
    assert_fails(f->ctx, bl_append_line(f->ctx, in(f, "no/file"), "x"), BL_CANTCREATE,
                 "No such file");
}

static void test_folders_and_paths(void **state)
{
    fixture *f = *state;
    assert_ok(f->ctx, bl_make_dir(f->ctx, in(f, "a/b//c/")));
    assert_ok(f->ctx, bl_make_dir(f->ctx, in(f, "a/b/c")));
    assert_true(bl_file_exists(in(f, "a/b/c")));
    assert_ok(f->ctx, bl_write_file(f->ctx, in(f, "a/plain"), "x", 1));
    assert_fails(f->ctx, bl_make_dir(f->ctx, in(f, "a/plain")), BL_CANTCREATE, "exists");
    assert_fails(f->ctx, bl_make_dir(f->ctx, in(f, "a/plain/d")), BL_CANTCREATE, "Not a directory");
    assert_fails(f->ctx, bl_make_dir(f->ctx, ""), BL_CANTCREATE, "");
    assert_string_equal(bl_path_join(f->arena, "d", "n"), "d/n");
    assert_string_equal(bl_path_join(f->arena, "d/", "n"), "d/n");
    assert_string_equal(bl_path_join(f->arena, "", "n"), "n");
    assert_string_equal(bl_path_join(f->arena, "d", "/n"), "/n");
    assert_string_equal(bl_path_base("a/b.onnx"), "b.onnx");
    assert_string_equal(bl_path_base("b.onnx"), "b.onnx");
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_write_and_map),
        CASE(test_writer_in_pieces),
        CASE(test_two_writers_of_one_file),
        CASE(test_links_stay_links),
        CASE(test_cannot_create),
        CASE(test_full_disk),
        CASE(test_pipe_is_written_directly),
        CASE(test_map_failures),
        CASE(test_append),
        CASE(test_folders_and_paths),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
