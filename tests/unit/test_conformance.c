/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * ONNX's own operator tests (Debian: libonnx-testdata) through import and the float walk, once on
 * the reference and once on what the walk takes by itself.  A test counts as unsupported where the
 * import refuses it as not available here; anything else that is not the expected output is a
 * failure.  A refused test of nothing but operators that `bitlathe list ops` names, in the types
 * that networks use, is a failure too, unless `excused` says why.  BITLATHE_TEST_VERBOSE=1 prints
 * the figures of each operator.  Tolerances are those of ONNX's runner: rtol 1e-3, atol 1e-7.
 */
#include <dirent.h>
#include <math.h>

#include "graph/graph.h"
#include "onnx.pb-c.h"
#include "support.h"

#define ROOT "/usr/share/libonnx-testdata/data/"
#define INPUTS_MAX 16

typedef enum verdict { PASSED, FAILED, UNSUPPORTED } verdict;

/* A whole file; the arena owns it. */
static bool read_file(bl_ctx *ctx, bl_arena *arena, const char *path, uint8_t **data, size_t *size)
{
    bl_map map;
    if (bl_map_file(ctx, path, 0, &map) != BL_OK) return false;
    *size = map.size;
    *data = bl_alloc(arena, map.size + 1, 1);
    memcpy(*data, map.data, map.size);
    bl_unmap(&map);
    return true;
}

static Onnx__TensorProto *read_tensor(bl_ctx *ctx, bl_arena *arena, const char *folder,
                                      const char *kind, int i)
{
    char path[1024];
    uint8_t *data;
    size_t size;
    snprintf(path, sizeof path, "%s/test_data_set_0/%s_%d.pb", folder, kind, i);
    if (!bl_file_exists(path) || !read_file(ctx, arena, path, &data, &size)) return NULL;
    return onnx__tensor_proto__unpack(NULL, size, data);
}

/* The types of networks: a listed operator must take them. */
static bool common_type(int type)
{
    return type == BL_F32 || type == BL_I64 || type == BL_I32 || type == BL_BOOL || type == BL_U8 ||
           type == BL_I8;
}

static bool known_type(int type)
{
    return common_type(type) || type == BL_F64 || type == BL_U16 || type == BL_I16 ||
           type == BL_U32 || type == BL_U64;
}

static size_t count_of(const Onnx__TensorProto *t)
{
    size_t n = 1;
    for (size_t i = 0; i < t->n_dims; i++) n *= (size_t)t->dims[i];
    return n;
}

/* The elements as the bytes of a bl_tensor, whichever field holds them; false: not here. */
static bool tensor_bytes(bl_arena *arena, const Onnx__TensorProto *t, const void **out)
{
    size_t n = count_of(t), size = bl_dtype_bytes((bl_dtype)t->data_type);
    uint8_t *to = bl_alloc(arena, n + 1, size);
    *out = to;
    if (t->has_raw_data && t->raw_data.len == n * size) {
        memcpy(to, t->raw_data.data, n * size);
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        if (t->n_float_data == n && t->data_type == BL_F32)
            memcpy(to + i * size, &t->float_data[i], size);
        else if (t->n_int64_data == n && t->data_type == BL_I64)
            memcpy(to + i * size, &t->int64_data[i], size);
        else if (t->n_int32_data == n && size <= 4)
            memcpy(to + i * size, &t->int32_data[i], size);
        else if (t->n_double_data == n && t->data_type == BL_F64)
            memcpy(to + i * size, &t->double_data[i], size);
        else if (t->n_uint64_data == n && (size == 4 || size == 8))
            memcpy(to + i * size, &t->uint64_data[i], size);
        else
            return false;
    }
    return true;
}

/* ------------------------------------------------------------------ one test */

typedef struct onnx_case {
    bl_ctx *ctx;
    bl_arena *arena;
    const char *folder;
    Onnx__ModelProto *model;
    Onnx__TensorProto *input[INPUTS_MAX];
    int n_inputs;
    bool fixed[INPUTS_MAX]; /* made a constant of the model */
    const char *why;
} onnx_case;

/* Names of the inputs that are no initializers, in order. */
static const char *input_name(const Onnx__GraphProto *g, size_t n_given, int which)
{
    for (size_t i = 0; i < g->n_input; i++) {
        bool constant = false;
        for (size_t k = 0; k < n_given && !constant; k++)
            constant = strcmp(g->initializer[k]->name, g->input[i]->name) == 0;
        if (!constant && which-- == 0) return g->input[i]->name;
    }
    return NULL;
}

/* The model with inputs put in as constants, all that do not hold the data: what decides about
 * shapes must be known before the walk runs. */
static bl_status write_fixed(onnx_case *c, const char *path)
{
    Onnx__GraphProto *g = c->model->graph;
    Onnx__TensorProto *list[INPUTS_MAX + 256], **old = g->initializer;
    size_t n_old = g->n_initializer, n = n_old, size;
    char *old_name[INPUTS_MAX];
    bl_status status;
    uint8_t *bytes;

    if (n_old > 256) return BL_UNAVAILABLE;
    for (size_t i = 0; i < n_old; i++) list[i] = old[i];
    for (int i = 0; i < c->n_inputs; i++) {
        old_name[i] = c->input[i]->name;
        if (!c->fixed[i]) continue;
        c->input[i]->name = (char *)input_name(g, n_old, i);
        list[n++] = c->input[i];
    }
    g->initializer = list;
    g->n_initializer = n;
    size = onnx__model_proto__get_packed_size(c->model);
    bytes = bl_alloc(c->arena, size, 1);
    onnx__model_proto__pack(c->model, bytes);
    status = bl_write_file(c->ctx, path, bytes, size);
    g->initializer = old;
    g->n_initializer = n_old;
    for (int i = 0; i < c->n_inputs; i++) c->input[i]->name = old_name[i];
    return status;
}

static bool close_enough(bl_dtype type, const void *got, const void *wanted, size_t i)
{
    if (type == BL_F32) {
        float a = ((const float *)got)[i], b = ((const float *)wanted)[i];
        if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
        return a == b || fabsf(a - b) <= 1e-7f + 1e-3f * fabsf(b);
    }
    if (type == BL_F64) {
        double a = ((const double *)got)[i], b = ((const double *)wanted)[i];
        if (isnan(a) || isnan(b)) return isnan(a) && isnan(b);
        return a == b || fabs(a - b) <= 1e-7 + 1e-3 * fabs(b);
    }
    size_t size = bl_dtype_bytes(type);
    return memcmp((const char *)got + i * size, (const char *)wanted + i * size, size) == 0;
}

static verdict compare(onnx_case *c, const bl_graph *graph, const bl_walk *walk)
{
    for (int i = 0; i < graph->n_outputs; i++) {
        Onnx__TensorProto *w = read_tensor(c->ctx, c->arena, c->folder, "output", i);
        const bl_tensor *y = bl_walk_value(walk, graph->outputs[i]);
        const void *wanted = NULL;
        bool same = w && y && (int)y->type == w->data_type && y->rank == (int)w->n_dims;
        bool half = c->model->graph->output[i]->type->tensor_type->elem_type == BL_BF16; /* stored as uint16 */
        if (w && (half || !known_type(w->data_type))) {
            onnx__tensor_proto__free_unpacked(w, NULL);
            return UNSUPPORTED;
        }
        for (int d = 0; same && d < y->rank; d++) same = y->dim[d] == w->dims[d];
        same = same && tensor_bytes(c->arena, w, &wanted);
        c->why = same ? "an element differs" : "type or shape differs";
        for (size_t k = 0; same && k < count_of(w); k++)
            same = close_enough(y->type, y->data, wanted, k);
        if (w) onnx__tensor_proto__free_unpacked(w, NULL);
        if (!same) return FAILED;
    }
    return PASSED;
}

static verdict run(onnx_case *c, const bl_graph *graph, bool reference)
{
    bl_walk_options options = {.reference = reference};
    verdict result = FAILED;
    bl_walk *walk = NULL;
    int which = 0;

    c->why = "the walk failed";
    if (bl_walk_new(c->ctx, graph, &options, &walk) != BL_OK) return FAILED;
    for (int i = 0; i < c->n_inputs; i++) {
        const void *data;
        if (c->fixed[i]) continue;
        bl_tensor *t = bl_walk_input(walk, which++);
        if (!tensor_bytes(c->arena, c->input[i], &data) ||
            (size_t)bl_tensor_count(t) != count_of(c->input[i]) ||
            (int)t->type != c->input[i]->data_type) {
            c->why = "an input does not fit";
            bl_walk_free(walk);
            return FAILED;
        }
        memcpy(t->data, data, bl_tensor_bytes(t));
    }
    if (bl_walk_run(walk, NULL, NULL) == BL_OK) result = compare(c, graph, walk);
    bl_walk_free(walk);
    return result;
}

/* Empty tensors are not supported, but lists of axes may be empty. */
static bool has_empty(const onnx_case *c)
{
    for (int i = 0; i < c->n_inputs; i++)
        if (count_of(c->input[i]) == 0) return true;
    return false;
}

/* Sequences and optional values have other messages in their files. */
static bool only_tensors(const Onnx__GraphProto *g)
{
    for (size_t i = 0; i < g->n_input; i++)
        if (g->input[i]->type->tensor_type == NULL) return false;
    for (size_t i = 0; i < g->n_output; i++)
        if (g->output[i]->type->tensor_type == NULL) return false;
    return true;
}

/* As the file is; where that is refused, with the inputs fixed that are no data; at last with all
 * but the first, for operators whose later inputs are small lists of numbers. */
static bl_status import(onnx_case *c, const char *path, const char *fixed_path, bl_graph **graph)
{
    bl_status status = bl_import(c->ctx, path, NULL, graph);

    for (int attempt = 0; attempt < 2; attempt++) {
        bool some = false;
        if (status == BL_OK || (status != BL_UNAVAILABLE && !has_empty(c))) return status;
        for (int i = 0; i < c->n_inputs; i++) {
            bool many = count_of(c->input[i]) > 1;
            bool data = c->input[i]->data_type == BL_F32 && many;
            c->fixed[i] = i == 0 && (data || (c->n_inputs > 1 && many)) ? false : attempt || !data;
            some = some || c->fixed[i];
        }
        if (!some) continue;
        BL_TRY(write_fixed(c, fixed_path));
        status = bl_import(c->ctx, fixed_path, NULL, graph);
    }
    return status;
}

/* Refused tests of listed operators, and why. */
static const struct {
    const char *name, *reason;
} excused[] = {
    {"test_resize_downsample_scales_cubic_align_corners",
     "expects the unrounded size 2.4 for the last corner; ONNX Runtime leaves it out too"},
    {"test_resize_downsample_scales_linear_align_corners",
     "expects the unrounded size 2.4 for the last corner; ONNX Runtime leaves it out too"},
    {"test_batchnorm_epsilon_training_mode", "trains: mean and variance of the batch"},
    {"test_batchnorm_example_training_mode", "trains: mean and variance of the batch"},
    {"test_training_dropout", "trains: drops at random"},
    {"test_training_dropout_default", "trains: drops at random"},
    {"test_training_dropout_default_mask", "trains: drops at random"},
    {"test_training_dropout_mask", "trains: drops at random"},
    {"test_constantofshape_int_shape_zero", "an empty tensor"},
    {"test_reshape_allowzero_reordered", "an empty tensor"},
    {"test_slice_start_out_of_bounds", "an empty tensor"},
    {"test_split_zero_size_splits", "an empty tensor"},
    {"test_tril_zero", "an empty tensor"},
    {"test_triu_zero", "an empty tensor"},
};

static const char *excuse(const onnx_case *c)
{
    for (size_t i = 0; i < BL_COUNTOF(excused); i++)
        if (strcmp(bl_path_base(c->folder), excused[i].name) == 0) return excused[i].reason;
    return NULL;
}

static bool common_value(const Onnx__ValueInfoProto *v)
{
    return v->type && v->type->tensor_type && common_type(v->type->tensor_type->elem_type);
}

/* Some .pb hold bfloat16 as uint16. */
static bool stored_as_declared(const onnx_case *c)
{
    const Onnx__GraphProto *g = c->model->graph;
    for (size_t i = 0; i < g->n_input && g->n_initializer == 0 && i < (size_t)c->n_inputs; i++)
        if (g->input[i]->type->tensor_type->elem_type != c->input[i]->data_type) return false;
    return true;
}

/* Listed operators, common types and no subgraph: such a test must pass. */
static bool must_pass(const onnx_case *c)
{
    const Onnx__GraphProto *g = c->model->graph;
    for (size_t i = 0; i < g->n_input; i++)
        if (!common_value(g->input[i])) return false;
    for (size_t i = 0; i < g->n_output; i++)
        if (!common_value(g->output[i])) return false;
    for (size_t i = 0; i < g->n_node; i++) {
        const Onnx__NodeProto *n = g->node[i];
        if (strcmp(n->op_type, "Constant") != 0 && !bl_op_find(n->domain, n->op_type)) return false;
        for (size_t k = 0; k < n->n_attribute; k++) {
            const Onnx__AttributeProto *a = n->attribute[k];
            if (a->g || a->n_strings || a->sparse_tensor) return false;
            if (strcmp(a->name, "to") == 0 && !common_type((int)a->i)) return false;
            if (strcmp(a->name, "value_string") == 0) return false;
        }
    }
    return true;
}

static verdict judge(onnx_case *c, const char *path, const char *fixed_path)
{
    bl_graph *graph = NULL;
    verdict result;
    bl_status status;

    if (excuse(c) && strncmp(excuse(c), "expects", 7) == 0) return UNSUPPORTED;
    if (!only_tensors(c->model->graph) || !stored_as_declared(c)) return UNSUPPORTED;
    for (int i = 0; i < c->n_inputs; i++)
        if (!known_type(c->input[i]->data_type)) return UNSUPPORTED;
    status = import(c, path, fixed_path, &graph);
    c->why = "the import failed";
    if (status != BL_OK) return status == BL_UNAVAILABLE || has_empty(c) ? UNSUPPORTED : FAILED;
    result = run(c, graph, true);
    if (result == PASSED) result = run(c, graph, false);
    bl_graph_free(graph);
    return result;
}

/* ------------------------------------------------------------------ figures of each operator */

#define NAMES_MAX 400

typedef struct figures {
    struct {
        char name[64];
        int count[3];
    } item[NAMES_MAX];
    int n;
} figures;

/* A test belongs to its one operator; networks and functions written out stand together. */
static void count_case(figures *f, const onnx_case *c, verdict v)
{
    const char *name = "(several operators)";
    int i = 0, n = 0;
    for (size_t k = 0; k < c->model->graph->n_node; k++) {
        const char *op = c->model->graph->node[k]->op_type;
        if (strcmp(op, "Constant") == 0 && c->model->graph->n_node > 1) continue;
        name = n++ == 0 ? op : "(several operators)";
    }
    while (i < f->n && strcmp(f->item[i].name, name) != 0) i++;
    if (i == f->n) {
        assert_true(f->n < NAMES_MAX);
        snprintf(f->item[f->n++].name, sizeof f->item[0].name, "%s", name);
    }
    f->item[i].count[v]++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(a, b); /* the name comes first in an item */
}

static void print_figures(figures *f)
{
    qsort(f->item, (size_t)f->n, sizeof f->item[0], by_name);
    print_message("%-28s %7s %7s %12s\n", "operator", "passed", "failed", "unsupported");
    for (int i = 0; i < f->n; i++)
        print_message("%-28s %7d %7d %12d%s\n", f->item[i].name, f->item[i].count[PASSED],
                      f->item[i].count[FAILED], f->item[i].count[UNSUPPORTED],
                      bl_op_find("", f->item[i].name) || f->item[i].name[0] == '(' ? ""
                      : strcmp(f->item[i].name, "Constant") == 0                   ? ""
                                                                                   : "  not listed");
}

static verdict run_case(bl_ctx *ctx, const char *folder, const char *scratch, figures *f)
{
    onnx_case c = {.ctx = ctx, .arena = bl_arena_new(ctx, "case"), .folder = folder};
    char path[1100], fixed_path[300];
    verdict result = FAILED;
    uint8_t *data;
    size_t size;

    snprintf(path, sizeof path, "%s/model.onnx", folder);
    snprintf(fixed_path, sizeof fixed_path, "%s/model.onnx", scratch);
    assert_non_null(c.arena);
    if (read_file(ctx, c.arena, path, &data, &size))
        c.model = onnx__model_proto__unpack(NULL, size, data);
    assert_non_null(c.model);
    while (c.n_inputs < INPUTS_MAX &&
           (c.input[c.n_inputs] = read_tensor(ctx, c.arena, folder, "input", c.n_inputs)))
        c.n_inputs++;
    result = judge(&c, path, fixed_path);
    if (result == UNSUPPORTED && must_pass(&c) && !excuse(&c)) {
        c.why = "refused, though its operators are listed";
        result = FAILED;
    }
    if (result == PASSED && excuse(&c)) {
        c.why = "passes, though it is excused";
        result = FAILED;
    }
    count_case(f, &c, result);
    if (result == FAILED)
        print_message("failed: %s: %s (%s: %s)\n", folder + sizeof ROOT - 1, c.why,
                      bl_last_error(ctx).place, bl_last_error(ctx).what);
    if (result == UNSUPPORTED && getenv("BITLATHE_TEST_VERBOSE"))
        print_message("unsupported: %s: %s: %s\n", folder + sizeof ROOT - 1,
                      bl_last_error(ctx).place, bl_last_error(ctx).what);
    for (int i = 0; i < c.n_inputs; i++) onnx__tensor_proto__free_unpacked(c.input[i], NULL);
    onnx__model_proto__free_unpacked(c.model, NULL);
    bl_arena_free(c.arena);
    return result;
}

/* ------------------------------------------------------------------ folders */

/* least: how many passed when this was written; fewer is a loss. */
static void run_folder(const char *name, int least)
{
    int count[3] = {0, 0, 0}, n;
    char scratch[256], folder[1024];
    struct dirent **list;
    static figures all; /* too large for the stack of a test */
    bl_ctx *ctx;

    snprintf(folder, sizeof folder, "%s%s", ROOT, name);
    n = scandir(folder, &list, NULL, alphasort);
    if (n < 0) {
        print_message("skipped: %s: libonnx-testdata is not installed\n", name);
        skip();
    }
    memset(&all, 0, sizeof all);
    ctx = test_ctx(1, 0);
    test_folder(scratch);
    for (int i = 0; i < n; i++) {
        if (list[i]->d_name[0] != '.') {
            snprintf(folder, sizeof folder, "%s%s/%s", ROOT, name, list[i]->d_name);
            count[run_case(ctx, folder, scratch, &all)]++;
        }
        free(list[i]);
    }
    free(list);
    test_folder_remove(scratch);
    test_ctx_free(ctx);
    if (getenv("BITLATHE_TEST_VERBOSE")) print_figures(&all);
    print_message("%s: %d passed, %d failed, %d unsupported\n", name, count[PASSED], count[FAILED],
                  count[UNSUPPORTED]);
    assert_int_equal(count[FAILED], 0);
    assert_true(count[PASSED] >= least);
}

static void test_node(void **state)
{
    (void)state;
    run_folder("node", 662);
}

static void test_simple(void **state)
{
    (void)state;
    run_folder("simple", 7);
}

static void test_pytorch_converted(void **state)
{
    (void)state;
    run_folder("pytorch-converted", 82);
}

static void test_pytorch_operator(void **state)
{
    (void)state;
    run_folder("pytorch-operator", 35);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_node),
        cmocka_unit_test(test_simple),
        cmocka_unit_test(test_pytorch_converted),
        cmocka_unit_test(test_pytorch_operator),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
