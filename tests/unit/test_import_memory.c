/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What reading a network takes: anonymous memory at most 1.3 times the files and 16 MiB, mapped pages not
 * counted.  Networks of 100 MB are written to a temporary folder; a process of its own reads each, while this
 * one looks at its RssAnon every millisecond.  The arenas' own peak, which a look in between cannot
 * miss, is held to the same limit.
 */
#include "support.h"

#include "graph/graph.h"

#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define TOTAL_BYTES ((size_t)100 << 20)

/* ------------------------------------------------------------------ ONNX, a field at a time */

typedef struct message { uint8_t data[2048]; size_t n; } message;

static void put_varint(message *m, uint64_t v)
{
    for (; v >= 128; v >>= 7) m->data[m->n++] = (uint8_t)(v | 128);
    m->data[m->n++] = (uint8_t)v;
}

static void put_int(message *m, unsigned field, uint64_t v)
{
    put_varint(m, field << 3);
    put_varint(m, v);
}

static void put_bytes(message *m, unsigned field, const void *data, size_t n)
{
    put_varint(m, field << 3 | 2);
    put_varint(m, n);
    memcpy(m->data + m->n, data, n);
    m->n += n;
}

static void put_text(message *m, unsigned field, const char *text)
{
    put_bytes(m, field, text, strlen(text));
}

static void put_message(message *m, unsigned field, const message *child)
{
    put_bytes(m, field, child->data, child->n);
}

/* float32 input or output of one dimension. */
static message value_info(const char *name, size_t n)
{
    message dim = {.n = 0}, shape = {.n = 0}, tensor = {.n = 0}, type = {.n = 0}, v = {.n = 0};
    put_int(&dim, 1, n);
    put_message(&shape, 1, &dim);
    put_int(&tensor, 1, BL_F32);
    put_message(&tensor, 2, &shape);
    put_message(&type, 1, &tensor);
    put_text(&v, 1, name);
    put_message(&v, 2, &type);
    return v;
}

/* ------------------------------------------------------------------ networks: a chain of Add */

typedef struct network {
    const char *name;
    size_t elements;        /* of each constant */
    bool external;
} network;

static size_t count_of(const network *w)
{
    return TOTAL_BYTES / (w->elements * sizeof(float));
}

static message add_node(size_t i)
{
    message node = {.n = 0};
    char name[32];
    snprintf(name, sizeof(name), "x%zu", i);
    put_text(&node, 1, name);
    snprintf(name, sizeof(name), "w%zu", i);
    put_text(&node, 1, name);
    snprintf(name, sizeof(name), "x%zu", i + 1);
    put_text(&node, 2, name);
    put_text(&node, 4, "Add");
    return node;
}

/* A constant without its payload: TensorProto up to the length of raw_data, or with its external place. */
static message constant_head(const network *w, size_t i)
{
    message t = {.n = 0};
    char text[32];
    size_t bytes = w->elements * sizeof(float);
    put_int(&t, 1, w->elements);
    put_int(&t, 2, BL_F32);
    snprintf(text, sizeof(text), "w%zu", i);
    put_text(&t, 8, text);
    if (!w->external) {
        put_varint(&t, 9 << 3 | 2);
        put_varint(&t, bytes);
        return t;
    }
    for (int k = 0; k < 3; k++) {
        static const char *const keys[] = {"location", "offset", "length"};
        message entry = {.n = 0};
        snprintf(text, sizeof(text), "%zu", k == 1 ? i * bytes : bytes);
        put_text(&entry, 1, keys[k]);
        put_text(&entry, 2, k == 0 ? "net.data" : text);
        put_message(&t, 13, &entry);
    }
    put_int(&t, 14, 1);
    return t;
}

static void write_all(FILE *f, const void *data, size_t n)
{
    assert_int_equal(fwrite(data, 1, n, f), n);
}

static size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >>= 7) n++;
    return n;
}

static void write_graph(FILE *f, FILE *payloads, const network *w, const float *payload)
{
    size_t bytes = w->elements * sizeof(float), n = count_of(w), graph_bytes = 0;
    char last[32];
    snprintf(last, sizeof(last), "x%zu", n);
    message input = value_info("x0", w->elements), output = value_info(last, w->elements), ends = {.n = 0};
    put_message(&ends, 11, &input);
    put_message(&ends, 12, &output);
    for (int pass = 0; pass < 2; pass++) {
        if (pass == 1) { /* the length of the graph is known now */
            message head = {.n = 0}, opset = {.n = 0};
            put_int(&head, 1, 8);
            put_int(&opset, 2, 13);
            put_message(&head, 8, &opset);
            put_varint(&head, 7 << 3 | 2);
            put_varint(&head, graph_bytes + ends.n);
            write_all(f, head.data, head.n);
            write_all(f, ends.data, ends.n);
        }
        for (size_t i = 0; i < n; i++) {
            message node = add_node(i), t = constant_head(w, i), at = {.n = 0};
            size_t in_place = t.n + (w->external ? 0 : bytes);
            if (pass == 0) {
                graph_bytes += 2 + varint_size(node.n) + node.n + varint_size(in_place) + in_place;
                continue;
            }
            put_message(&at, 1, &node);
            put_varint(&at, 5 << 3 | 2);
            put_varint(&at, in_place);
            write_all(f, at.data, at.n);
            write_all(f, t.data, t.n);
            write_all(payloads, payload, bytes);
        }
    }
}

static uint64_t write_network(const network *w, const char *folder, char *path, size_t path_size)
{
    char data[512];
    struct stat one, two = {.st_size = 0};
    float *payload = malloc(w->elements * sizeof(float));
    assert_non_null(payload);
    for (size_t i = 0; i < w->elements; i++) payload[i] = (float)i;
    snprintf(path, path_size, "%s/net.onnx", folder);
    snprintf(data, sizeof(data), "%s/net.data", folder);
    FILE *f = fopen(path, "wb"), *p = w->external ? fopen(data, "wb") : f;
    assert_true(f && p);
    write_graph(f, p, w, payload);
    assert_int_equal(fclose(f), 0);
    if (p != f) assert_int_equal(fclose(p), 0);
    free(payload);
    assert_int_equal(stat(path, &one), 0);
    if (w->external) assert_int_equal(stat(data, &two), 0);
    return (uint64_t)one.st_size + (uint64_t)two.st_size;
}

static void remove_network(const char *folder)
{
    char path[512];
    snprintf(path, sizeof(path), "%s/net.onnx", folder);
    unlink(path);
    snprintf(path, sizeof(path), "%s/net.data", folder);
    unlink(path);
    rmdir(folder);
}

/* ------------------------------------------------------------------ reading and watching */

/* In the other process: reads, says through the pipe what the arenas held, leaves. */
static void read_network(const char *path, size_t n_nodes, int to)
{
    uint64_t now, peak = 0;
    bl_graph *g;
    bl_ctx *ctx = test_ctx(1, 0);
    if (bl_import(ctx, path, NULL, &g) == BL_OK && (size_t)g->n_nodes == n_nodes) bl_memory_use(ctx, &now, &peak);
    if (write(to, &peak, sizeof(peak)) != (ssize_t)sizeof(peak)) _exit(2);
    _exit(0);
}

static uint64_t anonymous_bytes(pid_t child)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    snprintf(path, sizeof(path), "/proc/%d/status", (int)child);
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "RssAnon: %llu", &kib) == 1) break;
    if (f) fclose(f);
    return kib << 10;
}

static void stays_below(const network *w)
{
    char folder[] = "/tmp/bl-import-memory-XXXXXX", path[512];
    int pipes[2], state = 0;
    uint64_t arenas = 0, most = 0;
    const struct timespec pause = {0, 1000000};
    assert_non_null(mkdtemp(folder));
    uint64_t bytes = write_network(w, folder, path, sizeof(path));
    assert_int_equal(pipe(pipes), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) read_network(path, count_of(w), pipes[1]);
    while (waitpid(child, &state, WNOHANG) == 0) {
        uint64_t held = anonymous_bytes(child);
        most = BL_MAX(most, held);
        nanosleep(&pause, NULL);
    }
    assert_int_equal(read(pipes[0], &arenas, sizeof(arenas)), sizeof(arenas));
    close(pipes[0]);
    close(pipes[1]);
    remove_network(folder);
    assert_true(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    print_message("%s: %.1f MB in %zu constants: anonymous %.1f MB seen, %.1f MB in arenas, %.2f of the files (at most 1.30 and 16 MiB)\n",
                  w->name, 1e-6 * (double)bytes, count_of(w), 1e-6 * (double)most, 1e-6 * (double)arenas,
                  (double)BL_MAX(most, arenas) / (double)bytes);
    assert_true(arenas > 0);
    uint64_t limit = bytes / 10 * 13 + (UINT64_C(16) << 20);
    assert_true(arenas <= limit);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* which keep memory of their own */
    assert_true(most <= limit);
#endif
}

static void large_constants(void **state)
{
    (void)state;
    stays_below(&(network){"large constants", 1638400, false});
}

static void many_constants(void **state)
{
    (void)state;
    stays_below(&(network){"many constants", 1024, false});
}

static void external_large(void **state)
{
    (void)state;
    stays_below(&(network){"large external constants", 1638400, true});
}

static void external_many(void **state)
{
    (void)state;
    stays_below(&(network){"many external constants", 1024, true});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_constants), cmocka_unit_test(many_constants),
        cmocka_unit_test(external_large),  cmocka_unit_test(external_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
