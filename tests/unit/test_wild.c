/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Networks found in public repositories (models/wild of the shared folder), each with one input and
 * the outputs of ONNX Runtime in float32: what we give lies within 1e-4 of the largest output.  A
 * network that is refused names every operator that is not listed.  wild.json says how the inputs
 * are made: an array as it is, or bytes repeated by "tile" and put through the formula of "value".
 */
#include <math.h>

#include "data/data.h"
#include "graph/graph.h"
#include "support.h"

#define TOLERANCE 1e-4

typedef struct wild {
    bl_ctx *ctx;
    bl_arena *arena;
    char folder[512];
} wild;

static bl_tensor load(wild *w, const char *file)
{
    char path[1024];
    bl_tensor t;
    bl_map map;
    void *copy;

    snprintf(path, sizeof path, "%s/wild/%s", w->folder, file);
    assert_ok(w->ctx, bl_map_file(w->ctx, path, 0, &map));
    assert_ok(w->ctx, bl_npy_view(w->ctx, path, map.data, map.size, &t));
    copy = bl_alloc(w->arena, bl_tensor_bytes(&t) + 1, 1);
    assert_non_null(copy);
    memcpy(copy, t.data, bl_tensor_bytes(&t));
    t.data = copy;
    bl_unmap(&map);
    return t;
}

/* (u8 - a) * b of the stored array repeated over the shape of `to`. */
static void make_values(const json_t *input, const bl_tensor *from, bl_tensor *to)
{
    const uint8_t *u8 = from->data;
    double a, b;

    assert_int_equal(sscanf(json_string_value(json_object_get(input, "value")),
                            "(u8 - %lf) * %lf", &a, &b), 2);
    assert_int_equal(from->type, BL_U8);
    assert_int_equal(from->rank, to->rank);
    assert_int_equal(to->type, BL_F32);
    for (int64_t i = 0; i < bl_tensor_count(to); i++) {
        int64_t rest = i, at = 0, run = 1, back = bl_tensor_count(to);
        int64_t place[BL_MAX_RANK];
        for (int d = 0; d < to->rank; d++) {
            back /= to->dim[d];
            place[d] = rest / back;
            rest %= back;
        }
        for (int d = to->rank - 1; d >= 0; d--) {
            at += place[d] % from->dim[d] * run;
            run *= from->dim[d];
        }
        ((float *)to->data)[i] = (float)((u8[at] - a) * b);
    }
}

/* Tiling must fill the shape exactly. */
static void check_tile(const json_t *input, const bl_tensor *from, const bl_tensor *to)
{
    const json_t *tile = json_object_get(input, "tile");

    for (int d = 0; d < to->rank; d++) {
        int64_t times = tile ? json_integer_value(json_array_get(tile, (size_t)d)) : 1;
        assert_int_equal(from->dim[d] * times, to->dim[d]);
    }
}

static void fill_input(wild *w, const json_t *input, bl_tensor *to)
{
    bl_tensor from = load(w, json_string_value(json_object_get(input, "file")));

    if (json_object_get(input, "value")) {
        check_tile(input, &from, to);
        make_values(input, &from, to);
        return;
    }
    assert_int_equal(from.type, to->type);
    assert_int_equal(bl_tensor_count(&from), bl_tensor_count(to));
    memcpy(to->data, from.data, bl_tensor_bytes(to));
}

/* Of a large output only every `step`th row and column may be stored ("kept"). */
static int64_t kept_step(const json_t *output)
{
    const char *kept = json_string_value(json_object_get(output, "kept"));
    const char *slice = kept ? strstr(kept, "::") : NULL;
    return slice ? strtoll(slice + 2, NULL, 10) : 1;
}

/* Element of `got` that element i of `wanted` was taken from. */
static int64_t kept_element(const bl_tensor *got, const bl_tensor *wanted, int64_t i, int64_t step)
{
    int64_t at = 0, run = 1;

    for (int d = wanted->rank - 1; d >= 0; d--) {
        at += i % wanted->dim[d] * (d >= wanted->rank - 2 ? step : 1) * run;
        i /= wanted->dim[d];
        run *= got->dim[d];
    }
    return at;
}

/* Largest difference over the largest magnitude. */
static double distance(const bl_tensor *got, const bl_tensor *wanted, int64_t step)
{
    double most = 0, off = 0;

    assert_int_equal(got->type, BL_F32);
    assert_int_equal(wanted->type, BL_F32);
    assert_int_equal(got->rank, wanted->rank);
    for (int d = 0; d < got->rank; d++)
        assert_int_equal((got->dim[d] - 1) / (d >= got->rank - 2 ? step : 1) + 1, wanted->dim[d]);
    for (int64_t i = 0; i < bl_tensor_count(wanted); i++) {
        double a = ((const float *)got->data)[kept_element(got, wanted, i, step)], b = ((const float *)wanted->data)[i];
        assert_true(isfinite(a));
        most = fmax(most, fabs(b));
        off = fmax(off, fabs(a - b));
    }
    return most > 0 ? off / most : off;
}

/* Everything that we do not list stands in the one message. */
static void check_refusal(wild *w, const json_t *model)
{
    const char *what = bl_last_error(w->ctx).what, *op;
    json_t *count;
    int missing = 0;

    json_object_foreach(json_object_get(model, "ops"), op, count) {
        if (bl_op_find("", op) || strcmp(op, "Constant") == 0) continue;
        missing++;
        if (!strstr(what, op)) fail_msg("\"%s\" does not name %s", what, op);
    }
    assert_true(missing > 0);
    print_message("%-28s refused: %s\n", json_string_value(json_object_get(model, "file")) + 5,
                  what);
}

static bl_status import_model(wild *w, const json_t *model, bl_graph **out)
{
    const json_t *inputs = json_object_get(model, "inputs"), *input;
    bl_dim_binding dims[64];
    bl_import_options options = {dims, 0};
    char path[1024];
    size_t i;

    json_array_foreach(inputs, i, input) {
        const json_t *shape = json_object_get(input, "shape");
        for (size_t d = 0; d < json_array_size(shape) && options.n_dims < 64; d++)
            dims[options.n_dims++] = (bl_dim_binding){
                bl_format(w->arena, "%s:%zu", json_string_value(json_object_get(input, "name")), d),
                json_integer_value(json_array_get(shape, d))};
    }
    snprintf(path, sizeof path, "%s/%s", w->folder,
             json_string_value(json_object_get(model, "file")));
    return bl_import(w->ctx, path, &options, out);
}

/* 1 when the network was computed, 0 when it was refused. */
static int run_model(wild *w, const json_t *model)
{
    const json_t *inputs = json_object_get(model, "inputs");
    const json_t *outputs = json_object_get(model, "outputs");
    bl_walk_options options = {0};
    bl_graph *graph, *prepared;
    bl_walk *walk;
    double worst = 0;
    bl_status status = import_model(w, model, &graph);

    if (status == BL_UNAVAILABLE) {
        check_refusal(w, model);
        return 0;
    }
    assert_ok(w->ctx, status);
    assert_ok(w->ctx, bl_prepare(w->ctx, graph, &prepared));
    assert_ok(w->ctx, bl_walk_new(w->ctx, prepared, &options, &walk));
    assert_int_equal(json_array_size(inputs), prepared->n_inputs);
    assert_int_equal(json_array_size(outputs), prepared->n_outputs);
    for (int i = 0; i < prepared->n_inputs; i++)
        fill_input(w, json_array_get(inputs, (size_t)i), bl_walk_input(walk, i));
    assert_ok(w->ctx, bl_walk_run(walk, NULL, NULL));
    for (int i = 0; i < prepared->n_outputs; i++) {
        const json_t *output = json_array_get(outputs, (size_t)i);
        bl_tensor wanted = load(w, json_string_value(json_object_get(output, "file")));
        worst = fmax(worst, distance(bl_walk_value(walk, prepared->outputs[i]), &wanted,
                                     kept_step(output)));
    }
    print_message("%-28s %4d nodes, within %.1e\n",
                  json_string_value(json_object_get(model, "file")) + 5, graph->n_nodes, worst);
    assert_true(worst <= TOLERANCE);
    bl_walk_free(walk);
    bl_graph_free(prepared);
    bl_graph_free(graph);
    return 1;
}

static void wild_networks(void **state)
{
    char path[700];
    json_t *root;
    const json_t *model;
    size_t i;
    int computed = 0, n = 0;
    wild w = {0};

    (void)state;
    test_shared("models", w.folder);
    snprintf(path, sizeof path, "%s/wild/wild.json", w.folder);
    if (access(path, R_OK) != 0) {
        print_message("skipped: wild: models/wild is not in BITLATHE_SHARED\n");
        skip();
    }
    w.ctx = test_ctx(1, 0);
    w.arena = bl_arena_new(w.ctx, "test");
    assert_ok(w.ctx, bl_json_read(w.ctx, path, &root));
    json_array_foreach(json_object_get(root, "models"), i, model) {
        computed += run_model(&w, model);
        n++;
    }
    print_message("%d of %d computed, the others refused\n", computed, n);
    assert_true(computed > 0);
    json_decref(root);
    bl_arena_free(w.arena);
    test_ctx_free(w.ctx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(wild_networks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
