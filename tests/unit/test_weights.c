/* SPDX-License-Identifier: BSD-3-Clause */
/* WEIGHTS: there and back through .blw, bytes, every bit flipped, what is refused under right checksums. */
#include "tiny_graph.h"

#include "base/container.h"

typedef struct net {
    bl_ctx *ctx;
    bl_graph *g;
    char folder[256], path[300], copy[300];
    float a[20], b[5], scale[5];
    bl_weight_item items[2];
    bl_grid_item grid;
    bl_weights *w;
} net;

static int setup(void **state)
{
    net *n = calloc(1, sizeof *n);
    assert_non_null(n);
    if (access("/dev/shm", W_OK) == 0) setenv("TMPDIR", "/dev/shm", 0);
    n->ctx = test_ctx(1, 0);
    n->g = ob_prepared(tiny_dense(n->ctx, false));
    test_folder(n->folder);
    snprintf(n->path, sizeof n->path, "%.256s/w.blw", n->folder);
    snprintf(n->copy, sizeof n->copy, "%.256s/copy.blw", n->folder);
    for (int i = 0; i < 20; i++) n->a[i] = (float)i / 7;
    for (int i = 0; i < 5; i++) n->b[i] = -(float)i / 3;
    for (int i = 0; i < 5; i++) n->scale[i] = 0.1f * (float)(i + 1);
    bl_arena *arena = bl_arena_new(n->ctx, "weights");
    n->w = BL_NEW(arena, bl_weights, 1);
    n->w->arena = arena;
    n->w->n_items = 2;
    n->w->items = n->items;
    n->w->key = bl_hash_of("key", 3);
    const char *names[] = { "a.w", "a.b" };
    for (int i = 0; i < 2; i++) {
        int v = bl_graph_find_value(n->g, names[i]);
        const bl_tensor *t = &n->g->values[v].t;
        n->items[i] = (bl_weight_item){ .value = v, .replaces = bl_hash_of(t->data, bl_tensor_bytes(t)),
                                        .data = i ? n->b : n->a, .count = bl_tensor_count(t) };
    }
    n->grid = (bl_grid_item){ .value = bl_graph_find_value(n->g, "a.w"), .scale = n->scale, .count = 5 };
    n->w->grids = &n->grid;
    n->w->n_grids = 1;
    assert_ok(n->ctx, bl_weights_write(n->ctx, n->g, n->w, n->path));
    *state = n;
    return 0;
}

static int teardown(void **state)
{
    net *n = *state;
    bl_weights_free(n->w);
    bl_graph_free(n->g);
    test_folder_remove(n->folder);
    test_ctx_free(n->ctx);
    free(n);
    return 0;
}

static void there_and_back(void **state)
{
    net *n = *state;
    bl_weights *back = NULL;
    assert_ok(n->ctx, bl_weights_read(n->ctx, n->g, n->path, &back));
    assert_int_equal(back->n_items, 2);
    assert_string_equal(back->hash.hex, n->w->hash.hex);
    assert_string_equal(back->key.hex, n->w->key.hex);
    assert_string_equal(back->graph.hex, n->g->hash.hex);
    for (int i = 0; i < 2; i++) {
        const float *x = bl_weights_find(back, n->items[i].value);
        assert_non_null(x);
        assert_memory_equal(x, n->items[i].data, (size_t)n->items[i].count * sizeof *x);
        assert_string_equal(back->items[i].replaces.hex, n->items[i].replaces.hex);
    }
    assert_int_equal(back->n_grids, 1);
    assert_int_equal(back->grids[0].value, n->grid.value);
    assert_int_equal(back->grids[0].count, 5);
    assert_memory_equal(back->grids[0].scale, n->scale, sizeof n->scale);
    assert_null(bl_weights_find(back, bl_graph_find_value(n->g, "b.w")));
    assert_null(bl_weights_find(NULL, 0));
    assert_ok(n->ctx, bl_weights_write(n->ctx, n->g, back, n->copy));
    size_t one, two;
    uint8_t *first = test_slurp(n->path, &one), *second = test_slurp(n->copy, &two);
    assert_int_equal(one, two);
    assert_memory_equal(first, second, one);
    free(first);
    free(second);
    bl_weights_free(back);
    n->a[3] += 1e-6f; /* another content, another hash */
    bl_hash old = n->w->hash;
    assert_ok(n->ctx, bl_weights_seal(n->ctx, n->g, n->w));
    assert_string_not_equal(old.hex, n->w->hash.hex);
    n->scale[2] *= 2;
    old = n->w->hash;
    assert_ok(n->ctx, bl_weights_seal(n->ctx, n->g, n->w));
    assert_string_not_equal(old.hex, n->w->hash.hex);
    n->w->n_items = n->w->n_grids = 0; /* nothing replaced is a record too */
    assert_ok(n->ctx, bl_weights_write(n->ctx, n->g, n->w, n->copy));
    back = NULL;
    assert_ok(n->ctx, bl_weights_read(n->ctx, n->g, n->copy, &back));
    assert_int_equal(back->n_items, 0);
    bl_weights_free(back);
}

static void every_bit_counts(void **state)
{
    net *n = *state;
    size_t size;
    uint8_t *bytes = test_slurp(n->path, &size);
    bl_weights *back = NULL;
    for (size_t i = 0; i < 8 * size; i += 3) { /* one bit in three: each is a file */
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        test_dump(n->copy, bytes, size);
        bytes[i / 8] ^= (uint8_t)(1 << i % 8);
        if (bl_weights_read(n->ctx, n->g, n->copy, &back) != BL_DATA) fail_msg("bit %zu", i);
    }
    for (size_t i = 0; i < size; i += 7) {
        test_dump(n->copy, bytes, i);
        if (bl_weights_read(n->ctx, n->g, n->copy, &back) != BL_DATA) fail_msg("%zu bytes", i);
    }
    assert_null(back);
    unlink(n->copy);
    assert_fails(n->ctx, bl_weights_read(n->ctx, n->g, n->copy, &back), BL_NOINPUT, "copy.blw");
    free(bytes);
}

/* The sections as they stand, one of them changed. */
static void refused(net *n, uint32_t id, size_t offset, const void *data, size_t bytes, int64_t grow, const char *what)
{
    bl_section s[BL_SECTIONS_MAX];
    bl_map map;
    size_t count;
    bl_weights *back = NULL;
    assert_ok(n->ctx, bl_map_file(n->ctx, n->path, 0, &map));
    assert_ok(n->ctx, bl_container_parse(n->ctx, n->path, map.data, map.size, "WGTS", 1, s, &count));
    uint8_t room[4096] = { 0 };
    for (size_t i = 0; i < count; i++) {
        if (s[i].id != id) continue;
        memcpy(room, s[i].data, s[i].size);
        memcpy(room + offset, data, bytes);
        s[i].data = room;
        s[i].size = (uint64_t)((int64_t)s[i].size + grow);
    }
    assert_ok(n->ctx, bl_container_write(n->ctx, n->copy, "WGTS", 1, 0, s, count));
    bl_unmap(&map);
    assert_fails(n->ctx, bl_weights_read(n->ctx, n->g, n->copy, &back), BL_DATA, what);
    assert_null(back);
}

static void wrong_fields(void **state)
{
    enum { HEAD = 1, ITEMS, NAMES, DATA, GRIDS };
    net *n = *state;
    const uint64_t huge = UINT64_MAX, few = 19, zero = 0;
    const uint32_t name = 1000, past = 12;
    const float nan = NAN, inf = INFINITY, flat = 0;
    refused(n, HEAD, 0, "0123", 4, 0, "another network");
    refused(n, HEAD, 0, "", 0, -1, "wrong size");
    refused(n, ITEMS, 0, "", 0, -1, "wrong size");
    refused(n, ITEMS, 0, "", 0, 56 * 64, "wrong size");
    refused(n, ITEMS, 0, &name, 4, 0, "a name lies outside");
    refused(n, ITEMS, 0, &past, 4, 0, "a name lies outside");
    refused(n, ITEMS, 8, &huge, 8, 0, "outside the file");
    refused(n, ITEMS, 16, &huge, 8, 0, "outside the file");
    refused(n, ITEMS, 16, &few, 8, 0, "another size");
    refused(n, ITEMS, 16, &zero, 8, 0, "another size");
    refused(n, ITEMS, 24, "z", 1, 0, "made for other weights");
    refused(n, NAMES, 0, "b", 1, 0, "another size"); /* b.w: 6 x 5 */
    refused(n, NAMES, 0, "c", 1, 0, "another size");
    refused(n, NAMES, 0, "q", 1, 0, "no constant");
    refused(n, NAMES, 0, "y\0", 2, 0, "no constant");
    refused(n, NAMES, 0, "", 0, -1, "a name lies outside");
    refused(n, DATA, 0, "", 0, -4, "outside the file");
    refused(n, DATA, 12, &nan, 4, 0, "NaN or infinity");
    refused(n, DATA, 84, &inf, 4, 0, "NaN or infinity");
    refused(n, DATA, 108, &flat, 4, 0, "not above zero");
    refused(n, GRIDS, 0, "", 0, -1, "wrong size");
    refused(n, GRIDS, 0, &name, 4, 0, "a name lies outside");
    refused(n, GRIDS, 8, &huge, 8, 0, "outside the file");
    bl_weights *back = NULL;
    bl_graph *other = ob_prepared(tiny_residual(n->ctx));
    assert_fails(n->ctx, bl_weights_read(n->ctx, other, n->path, &back), BL_DATA, "another network");
    bl_graph_free(other);
    size_t size; /* a program is no WEIGHTS */
    uint8_t *bytes = test_slurp(n->path, &size);
    bl_section none[1] = { { 1, bytes, 64 } };
    assert_ok(n->ctx, bl_container_write(n->ctx, n->copy, "PROG", 1, 0, none, 1));
    assert_fails(n->ctx, bl_weights_read(n->ctx, n->g, n->copy, &back), BL_DATA, "another kind");
    assert_ok(n->ctx, bl_container_write(n->ctx, n->copy, "WGTS", 2, 0, none, 1));
    assert_fails(n->ctx, bl_weights_read(n->ctx, n->g, n->copy, &back), BL_DATA, "format version 2.0");
    assert_ok(n->ctx, bl_container_write(n->ctx, n->copy, "WGTS", 1, 0, none, 1));
    assert_fails(n->ctx, bl_weights_read(n->ctx, n->g, n->copy, &back), BL_DATA, "missing");
    free(bytes);
}

#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = { EACH(there_and_back), EACH(every_bit_counts), EACH(wrong_fields) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
